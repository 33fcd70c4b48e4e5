/* Secondary indexes: what is declared, and the bytes by which an index is ordered.
 *
 * FORMAT of an index key: for each pointer of the declaration, in order, one part:
 *   false    0x10
 *   true     0x11
 *   number   0x20, IEEE 754 double be64, its sign bit flipped when it is not negative, else all its bits; -0 is 0
 *   string   0x30, its UTF-8 bytes with 0x00 written as 0x00 0xff, then 0x00 0x01
 * so that bytes compare as values do: false < true < numbers < strings, strings by their bytes, the first part before the
 * second. No key is a prefix of another of as many parts. Integers above 2^53 count as the double that is nearest.
 *
 * A key of more than INDEX_KEY_WHOLE_BYTES is cut before a part or a character, at or before INDEX_KEY_CUT_BYTES, and goes on
 * with 0x00 0x02 and 16 bytes of SHA-256: equal keys still are equal values, but those that agree up to the cut are not in order
 * of value among each other. The hash is the chain h = sha256(h, tag, raw bytes) over the parts, h of 32 zeros to begin.
 *
 * FORMAT of a row's key in the database `index`: id be64, index key, record key; of a record key above INDEX_RECORD_WHOLE_BYTES
 * the first 247 bytes and 16 bytes of its SHA-256. No two records of an index share one.
 *
 * FORMAT of a token, the place of a row that a scan can go on at, at each site that has the index: tag be64, then the row's key
 * without its id. The tag is the low half of XXH3-128 over collection, '/', name, zero, and for each pointer its length u16 and
 * itself: what decides which records the rows are of and how they are ordered, and nothing else. So a token stays good when the
 * index is built anew, and when it is dropped and declared again as it was. */
#ifndef STORE_CORE_INDEX_KEY_H
#define STORE_CORE_INDEX_KEY_H

#include "store/core/body.h"

enum {
    INDEX_POINTERS_MAX = 4,
    INDEX_POINTER_MAX_BYTES = 256,
    INDEX_KEY_MAX_BYTES = 240,
    INDEX_KEY_CUT_BYTES = INDEX_KEY_MAX_BYTES - 18,
    INDEX_KEY_WHOLE_BYTES = INDEX_KEY_MAX_BYTES - 1,
    INDEX_BOUND_MAX_BYTES =
        INDEX_KEY_CUT_BYTES - 9, /* shorter than any cut: so bounds are exact, see below */
    INDEX_RECORD_WHOLE_BYTES = 262,
    INDEX_ROW_KEY_MAX_BYTES =
        8 + INDEX_KEY_MAX_BYTES + INDEX_RECORD_WHOLE_BYTES + 1, /* 511: LMDB's largest key */
    INDEX_TOKEN_TAG_BYTES = 8,
    INDEX_TOKEN_MAX_BYTES = INDEX_TOKEN_TAG_BYTES + INDEX_ROW_KEY_MAX_BYTES - 8,
};

/* What the record of `_indexes` says; its key says of which collection, and the name. */
struct index_declaration {
    uint32_t pointers;
    uint16_t pointer_bytes[INDEX_POINTERS_MAX];
    uint8_t pointer[INDEX_POINTERS_MAX][INDEX_POINTER_MAX_BYTES]; /* RFC 6901, as declared */
    bool unique;
    bool enforced; /* no two records have one value, and the primary lets none in */
};
static inline struct bytes index_pointer(const struct index_declaration *d, uint32_t i)
{
    return bytes_of(d->pointer[i], d->pointer_bytes[i]);
}
/* The same pointers in the same order, and the same answer to `unique`: the rows of one are those of the other. */
bool index_declaration_same_rows(const struct index_declaration *a,
                                 const struct index_declaration *b);

/* Is it "" or a sequence of "/token", with '~' only as "~0" and "~1", of at most INDEX_POINTER_MAX_BYTES? 0, ERR_USAGE or
 * ERR_LIMIT. */
int index_pointer_check(struct bytes pointer, struct err *e);
/* The next token of a pointer, unescaped into `out`; *at begins as 0. False at the end. The pointer has passed the check. */
bool index_pointer_next(struct bytes pointer, size_t *at, uint8_t out[INDEX_POINTER_MAX_BYTES],
                        struct bytes *token);

/* Key of the declaration's record: "<collection>/<name>". */
enum { INDEX_NAME_MAX_BYTES = COLLECTION_MAX_BYTES };
enum { INDEX_DECLARED_KEY_MAX_BYTES = COLLECTION_MAX_BYTES + 1 + INDEX_NAME_MAX_BYTES };
/* Both names as users may give them to collections (op_check). 0 or ERR_USAGE. */
int index_names_check(struct bytes collection, struct bytes name, struct err *e);
struct bytes index_declared_key(struct bytes collection, struct bytes name,
                                uint8_t out[INDEX_DECLARED_KEY_MAX_BYTES]);
/* Views into `key`. 0 or ERR_FORMAT with what is wrong. */
int index_read_declared_key(struct bytes key, struct bytes *collection, struct bytes *name,
                            struct err *e);

/* ---- keys ---- */
enum index_kind { INDEX_FALSE = 0x10, INDEX_TRUE = 0x11, INDEX_NUMBER = 0x20, INDEX_STRING = 0x30 };
struct index_part {
    enum index_kind kind;
    double number; /* of INDEX_NUMBER; not a NaN */
    struct bytes text;
};
struct index_key {
    uint8_t b[INDEX_KEY_MAX_BYTES];
    size_t n;
    bool is_cut;
};
static inline struct bytes index_key_bytes(const struct index_key *k)
{
    return bytes_of(k->b, k->n);
}
/* At most INDEX_POINTERS_MAX parts. */
void index_key_encode(struct index_key *out, const struct index_part *parts, size_t n);

/* Which keys are meant: low <= key < high as bytes; a bound of no bytes is none. Zero is all. Each function narrows one side or
 * both. */
struct index_range {
    struct index_key low, high;
};
/* Those whose first n parts are these. ERR_LIMIT: they need to be cut and are not all of the index's `pointers` parts. */
int index_range_equal(struct index_range *r, const struct index_part *parts, size_t n,
                      uint32_t pointers, struct err *e);
/* Those at or after (before) the parts. ERR_LIMIT: above INDEX_BOUND_MAX_BYTES. */
int index_range_from(struct index_range *r, const struct index_part *parts, size_t n,
                     struct err *e);
int index_range_to(struct index_range *r, const struct index_part *parts, size_t n, struct err *e);
/* Those whose first n parts are these, and the next a string that begins with `prefix`. ERR_LIMIT as above. */
int index_range_prefix(struct index_range *r, const struct index_part *parts, size_t n,
                       struct bytes prefix, struct err *e);

/* The first bytes of each token of this index. The names have passed index_names_check. */
void index_token_tag(struct bytes collection, struct bytes name, const struct index_declaration *d,
                     uint8_t out[INDEX_TOKEN_TAG_BYTES]);

/* Key of a row in the database `index`. The value is an index key's bytes. */
struct bytes index_row_key(uint64_t id, struct bytes value, struct bytes record_key,
                           uint8_t out[INDEX_ROW_KEY_MAX_BYTES]);

#endif
