/* For cppcheck only, which does not read system headers: loops that are macros. */
#define json_array_foreach(array, i, v)                                                            \
    for (i = 0; i < json_array_size(array) && (v = json_array_get(array, i)) != NULL; i++)
#define json_object_foreach(object, name, v)                                                       \
    for (name = json_object_iter_key(json_object_iter(object));                                    \
         name != NULL && (v = json_object_get(object, name)) != NULL;                              \
         name =                                                                                    \
             json_object_iter_key(json_object_iter_next(object, json_object_key_to_iter(name))))
