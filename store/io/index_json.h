/* JSON to index keys and back: declarations, documents and the bounds that a user gives.
 *
 * A document is in an index when it is JSON (RFC 8259; also a lone scalar) of at most INDEX_VALUE_MAX_BYTES, nested no deeper
 * than jansson takes (2,048), and each pointer of the declaration leads to a string, a number or a boolean. Of members with one
 * name the last counts. Numbers are read as IEEE doubles; a document with a number beyond those (1e999) counts as no JSON. All
 * functions may be called from any thread. */
#ifndef STORE_IO_INDEX_JSON_H
#define STORE_IO_INDEX_JSON_H

#include "store/core/index_key.h"

enum { INDEX_VALUE_MAX_BYTES = 1 << 20 };

/* ---- declarations: {"on":["/owner","/born"],"unique":true,"enforced":false} ---- */
/* 0; ERR_FORMAT, ERR_USAGE or ERR_LIMIT with what is wrong: no JSON, a member that is unknown or of the wrong type, no pointer or
 * more than INDEX_POINTERS_MAX, one that is none, or one twice; ERR_NO_MEMORY. `unique` and `enforced` may be missing: false. */
int index_declaration_parse(struct bytes json, struct index_declaration *out, struct err *e);
/* The JSON text of a declaration, with a zero byte behind it. The text is the caller's to free(). ERR_NO_MEMORY. */
int index_declaration_write(const struct index_declaration *d, char **json, size_t *bytes,
                            struct err *e);

/* ---- documents ---- */
struct index_document; /* opaque */
/* 0, and *out is NULL when the value is in no index, whatever the pointers; ERR_NO_MEMORY: whether it is in one is not known.
 * The value is not looked at again. */
int index_document_open(struct bytes value, struct index_document **out, struct err *e);
void index_document_close(struct index_document *doc); /* NULL is allowed */
/* The document's key in an index with this declaration. False: it is not in it. `doc` may be NULL. */
bool index_document_key(const struct index_document *doc, const struct index_declaration *d,
                        struct index_key *out);

/* ---- bounds ---- */
/* What a user asks for. Each is empty or JSON: a scalar, or an array of as many scalars as the first pointers that are bounded.
 * `prefix` is plain text: the value behind those of `equal` begins with it. from is inclusive, to is exclusive. */
struct index_bounds {
    struct bytes equal, from, to, prefix;
};
/* 0; ERR_USAGE or ERR_LIMIT with which of them and why; ERR_NO_MEMORY. Bounds that no key meets give an empty range, not an
 * error. */
int index_range_parse(struct index_range *out, const struct index_declaration *d,
                      const struct index_bounds *bounds, struct err *e);

#endif
