/* JSON and indexes, through jansson: a declaration's text, the keys of documents, and the bounds of a scan. Numbers are
 * read as doubles from the start (JSON_DECODE_INT_AS_REAL): jansson would refuse a document for one integer above 2^63,
 * and the key is a double in any case. Zero bytes in strings are allowed, as JSON allows them; in names of members jansson
 * does not take them, and the document is then in no index. What is read lies in an arena (json_memory.h). */
#include "store/io/index_json.h"

#include "store/io/json_memory.h"

#include <stdlib.h>

struct index_document {
    json_t *root;
    struct json_arena *arena; /* it lies in it */
};

/* 0; ERR_FORMAT: it is no JSON, as `error` says; ERR_NO_MEMORY, said in `e`. What is in the document is read only. */
static int read_json(struct bytes text, struct index_document **out, json_error_t *error,
                     struct err *e)
{
    json_t *root = NULL;
    struct json_arena *arena = NULL;
    *out = NULL;
    int rc = json_arena_read(text, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL,
                             &arena, &root, error);
    if (rc == 0 && (*out = json_arena_take(arena, sizeof **out)) == NULL) {
        json_arena_free(arena);
        rc = ERR_NO_MEMORY;
    }
    if (rc == 0)
        **out = (struct index_document){root, arena};
    return rc != ERR_NO_MEMORY ? rc : err_set(e, rc, "no memory to read %zu bytes of JSON", text.n);
}

/* ---- declarations ---- */

static struct bytes text_of(const json_t *v)
{
    return bytes_of(json_string_value(v), json_string_length(v));
}

static int read_pointers(const json_t *on, struct index_declaration *out, struct err *e)
{
    const size_t n = json_array_size(on);
    if (!json_is_array(on) || n == 0 || n > INDEX_POINTERS_MAX)
        return err_set(e, json_is_array(on) ? ERR_LIMIT : ERR_FORMAT,
                       "\"on\" is a list of 1 to %d JSON pointers", INDEX_POINTERS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(on, i);
        if (!json_is_string(v))
            return err_set(e, ERR_FORMAT, "\"on\" has something that is no string");
        const struct bytes pointer = text_of(v);
        int rc = index_pointer_check(pointer, e);
        if (rc != 0)
            return rc;
        for (uint32_t k = 0; k < i; k++)
            if (bytes_equal(index_pointer(out, k), pointer))
                return err_set(e, ERR_USAGE, "the JSON pointer '%s' is there twice",
                               json_string_value(v));
        memcpy(out->pointer[i], pointer.p, pointer.n);
        out->pointer_bytes[i] = (uint16_t)pointer.n;
        out->pointers++;
    }
    return 0;
}

static int read_members(json_t *root, struct index_declaration *out, struct err *e)
{
    const char *name;
    json_t *v;
    if (!json_is_object(root))
        return err_set(e, ERR_FORMAT, "it is no JSON object");
    json_object_foreach(root, name, v)
    {
        const bool unique = strcmp(name, "unique") == 0;
        if (strcmp(name, "on") == 0)
            continue;
        if (!unique && strcmp(name, "enforced") != 0)
            return err_set(e, ERR_FORMAT, "its member \"%.64s\" is unknown to this program", name);
        if (!json_is_boolean(v))
            return err_set(e, ERR_FORMAT, "its member \"%s\" is neither true nor false", name);
        *(unique ? &out->unique : &out->enforced) = json_is_true(v);
    }
    if (out->enforced && !out->unique)
        return err_set(e, ERR_FORMAT, "it is enforced, but not unique");
    return read_pointers(json_object_get(root, "on"), out, e);
}

int index_declaration_parse(struct bytes json, struct index_declaration *out, struct err *e)
{
    json_error_t error = {.position = 0};
    *out = (struct index_declaration){.pointers = 0};
    struct index_document *doc;
    int rc = read_json(json, &doc, &error, e);
    if (rc == ERR_FORMAT)
        return err_set(e, rc, "it is no JSON: %s at byte %d", error.text, error.position);
    if (rc == 0)
        rc = read_members(doc->root, out, e);
    index_document_close(doc);
    return rc;
}

int index_declaration_write(const struct index_declaration *d, char **json, size_t *bytes,
                            struct err *e)
{
    json_t *on = json_array();
    for (uint32_t i = 0; i < d->pointers; i++)
        (void)json_array_append_new(on,
                                    json_stringn((const char *)d->pointer[i], d->pointer_bytes[i]));
    json_t *root =
        json_pack("{s:o, s:b, s:b}", "on", on, "unique", d->unique, "enforced", d->enforced);
    *json = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (*json == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a declaration, or a pointer is no UTF-8");
    *bytes = strlen(*json);
    return 0;
}

/* ---- documents ---- */

int index_document_open(struct bytes value, struct index_document **out, struct err *e)
{
    json_error_t error;
    *out = NULL;
    if (value.n == 0 || value.n > INDEX_VALUE_MAX_BYTES)
        return 0;
    int rc = read_json(value, out, &error, e);
    return rc == ERR_FORMAT ? 0 : rc;
}

void index_document_close(struct index_document *doc)
{
    if (doc != NULL)
        json_arena_free(doc->arena);
}

/* A token as an index of an array (RFC 6901, section 4): digits without a leading zero. */
static bool array_index(struct bytes token, size_t *out)
{
    *out = 0;
    if (token.n == 0 || token.n > 9 || (token.n > 1 && token.p[0] == '0'))
        return false;
    for (size_t i = 0; i < token.n; i++) {
        if (token.p[i] < '0' || token.p[i] > '9')
            return false;
        *out = *out * 10 + (size_t)(token.p[i] - '0');
    }
    return true;
}

static const json_t *follow(const json_t *v, struct bytes pointer)
{
    uint8_t buffer[INDEX_POINTER_MAX_BYTES];
    struct bytes token;
    size_t at = 0, i;
    while (v != NULL && index_pointer_next(pointer, &at, buffer, &token)) {
        if (json_is_object(v))
            v = json_object_getn(v, (const char *)token.p, token.n);
        else
            v = json_is_array(v) && array_index(token, &i) ? json_array_get(v, i) : NULL;
    }
    return v;
}

/* False: it is no scalar that can be indexed. */
static bool part_of(const json_t *v, struct index_part *out)
{
    *out = (struct index_part){.kind = INDEX_FALSE};
    switch (v == NULL ? JSON_NULL : json_typeof(v)) {
    case JSON_TRUE:
        out->kind = INDEX_TRUE;
        return true;
    case JSON_FALSE:
        return true;
    case JSON_INTEGER:
    case JSON_REAL:
        out->kind = INDEX_NUMBER;
        out->number = json_number_value(v);
        return true;
    case JSON_STRING:
        out->kind = INDEX_STRING;
        out->text = text_of(v);
        return true;
    case JSON_NULL:
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    return false;
}

bool index_document_key(const struct index_document *doc, const struct index_declaration *d,
                        struct index_key *out)
{
    struct index_part parts[INDEX_POINTERS_MAX];
    if (doc == NULL)
        return false;
    for (uint32_t i = 0; i < d->pointers; i++)
        if (!part_of(follow(doc->root, index_pointer(d, i)), &parts[i]))
            return false;
    index_key_encode(out, parts, d->pointers);
    return true;
}

/* ---- bounds ---- */

/* The parts are views of *doc, which is the caller's to close, also after an error. Nothing given: no parts. */
static int read_parts(struct bytes json, uint32_t most, struct index_part *parts, size_t *n,
                      struct index_document **doc, struct err *e)
{
    json_error_t error;
    *n = 0;
    *doc = NULL;
    if (json.n == 0)
        return 0;
    int rc = read_json(json, doc, &error, e);
    if (rc == ERR_NO_MEMORY)
        return rc;
    if (rc != 0)
        return err_set(e, ERR_USAGE,
                       "'%.*s' is no JSON (%s); a text is given in double quotes, like '\"ann\"'",
                       (int)(json.n < 60 ? json.n : 60), (const char *)json.p, error.text);
    const json_t *root = (*doc)->root;
    const bool list = json_is_array(root);
    const size_t count = list ? json_array_size(root) : 1;
    if (count == 0 || count > most)
        return err_set(e, ERR_USAGE, "%zu values are given, the index has %u", count, most);
    for (size_t i = 0; i < count; i++)
        if (!part_of(list ? json_array_get(root, i) : root, &parts[i]))
            return err_set(e, ERR_USAGE, "only strings, numbers, true and false are in an index");
    *n = count;
    return 0;
}

static int narrow(struct index_range *out, const struct index_declaration *d, const char *name,
                  struct bytes json, struct bytes prefix, struct err *e)
{
    struct index_part parts[INDEX_POINTERS_MAX];
    struct index_document *doc;
    size_t n;
    int rc = read_parts(json, d->pointers, parts, &n, &doc, e);
    if (rc == 0 && name[0] == 'p' && n == d->pointers)
        rc = err_set(e, ERR_USAGE, "'equal' bounds all values already");
    else if (rc == 0 && name[0] == 'p')
        rc = index_range_prefix(out, parts, n, prefix, e);
    else if (rc == 0 && n != 0)
        rc = name[0] == 'e'   ? index_range_equal(out, parts, n, d->pointers, e)
             : name[0] == 'f' ? index_range_from(out, parts, n, e)
                              : index_range_to(out, parts, n, e);
    index_document_close(doc);
    return rc == 0 ? 0 : err_wrap(e, "%s", name);
}

int index_range_parse(struct index_range *out, const struct index_declaration *d,
                      const struct index_bounds *bounds, struct err *e)
{
    static const struct bytes none = {NULL, 0};
    struct err own = ERR_NONE;
    e = e == NULL ? &own : e;
    *out = (struct index_range){.low = {.n = 0}};
    int rc = narrow(out, d, "from", bounds->from, none, e);
    if (rc == 0)
        rc = narrow(out, d, "to", bounds->to, none, e);
    if (rc == 0)
        rc = narrow(out, d, "equal", bounds->equal, none, e);
    if (rc == 0 && bounds->prefix.n != 0)
        rc = narrow(out, d, "prefix", bounds->equal, bounds->prefix, e);
    return rc;
}
