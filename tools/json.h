/* JSON without loss, pure but for writing to a FILE: values pass on byte for byte, so that numbers of any size, repeated names
 * and the order of members survive. (jansson serves where an answer is built or taken apart as a tree.) */
#ifndef TOOLS_JSON_H
#define TOOLS_JSON_H

#include "store/core/bytes.h"

#include <stdbool.h>
#include <stdio.h>

enum json_shape {
    JSON_SHAPE_NONE = 0,
    JSON_SHAPE_STRING,
    JSON_SHAPE_OBJECT,
    JSON_SHAPE_ARRAY,
    JSON_SHAPE_OTHER, /* number, true, false, null */
};
/* Strict RFC 8259 check of the whole text, nesting up to 512. JSON_SHAPE_NONE when it is not JSON; *bad_at (may be NULL) is then
 * the offset of the first wrong byte. */
enum json_shape json_shape(struct bytes b, size_t *bad_at);

/* The functions below want text that json_shape() found good; all pieces are views into it, names and strings with their
 * quotes. */

/* Next member or element of an object or array; *at is 0 to begin. *name is empty in an array. */
bool json_next(struct bytes container, size_t *at, struct bytes *name, struct bytes *value);
bool json_member(struct bytes object, const char *name, struct bytes *out);
/* RFC 6901: "" is the whole, "/a/0" an element. */
bool json_pointer(struct bytes value, const char *pointer, struct bytes *out);
/* Of a string with its quotes; `out` has room for s.n bytes. Length, or -1 for half a surrogate pair. */
long json_unescape(struct bytes s, uint8_t *out);

/* Text as a JSON string; the caller knows that it is UTF-8. */
void json_put_string(FILE *f, struct bytes b);
/* A string when it is UTF-8, otherwise {"base64": "..."}. */
void json_put_text(FILE *f, struct bytes b);
/* A record's value: objects, arrays, numbers, true, false and null as they are (without line ends); other UTF-8 text as
 * a string; other bytes as {"base64": "..."}. Different values never print the same, but for line ends and space around
 * JSON. */
void json_put_value(FILE *f, struct bytes b);
/* The reverse; any text. `out` has room for json.n bytes and may be json.p. Length, or -1. */
long json_take_value(struct bytes json, uint8_t *out);

#endif
