/* Memory for jansson, which does not tell that there was none.
 *
 * READING. A value that could not be read for want of memory is not one that is no JSON: it would be missing in an index, or
 * twice in a unique one, and nobody would know. jansson does not tell the two apart, and where it gathers a text it takes no
 * notice of an allocation that fails, and then reads beyond what it has. So no allocation fails under it: what it reads into
 * is an arena, and where that cannot grow the reading is left at once (longjmp). The arena is given back whole.
 *
 * WRITING. json_object_set_new() of what could not be made leaves the member out, and an answer without it looks whole: who
 * builds one watches whether memory lacked meanwhile.
 */
#ifndef STORE_IO_JSON_MEMORY_H
#define STORE_IO_JSON_MEMORY_H

#include "store/core/bytes.h"

#include <jansson.h>
#include <stdbool.h>

struct json_arena; /* opaque */

/* Read JSON text with jansson's `flags`. *root is read only and lies in *arena, to be freed with it. 0; ERR_FORMAT: it is none,
 * as `error` says; ERR_NO_MEMORY: after both nothing is to be freed. Any thread. */
int json_arena_read(struct bytes text, size_t flags, struct json_arena **arena, json_t **root,
                    json_error_t *error);
void *json_arena_take(struct json_arena *a, size_t n); /* aligned for anything; NULL: no memory */
void json_arena_free(struct json_arena *a);            /* NULL is taken */

/* From here on it is noted when an allocation of jansson fails in this thread. */
void json_memory_watch(void);
/* Did one since then? What was built is not to be believed. */
bool json_memory_lacked(void);

#endif
