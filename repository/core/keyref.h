/* References from records to the entries that wrote them: what an index of keys is made of.
 *
 * FORMAT (little-endian): collection str16, key str16, lsn u64. One for each operation of each transaction, so equal ones
 * follow each other where a transaction writes a record twice. ORDER: collection, key (bytes, a prefix before what it is a
 * prefix of), lsn. */
#ifndef REPOSITORY_CORE_KEYREF_H
#define REPOSITORY_CORE_KEYREF_H

#include "store/core/body.h"
#include "store/core/digest.h"

struct repo_keyref {
    struct bytes collection, key;
    struct lsn lsn;
};

enum { REPO_KEYREF_MAX_BYTES = 2 + COLLECTION_MAX_BYTES + 2 + KEY_MAX_BYTES + 8 };

int repo_keyref_compare(const struct repo_keyref *a, const struct repo_keyref *b);
bool repo_keyref_same_record(const struct repo_keyref *a, const struct repo_keyref *b);
void repo_keyref_write(struct writer *w, const struct repo_keyref *r);
/* Views into the reader's bytes; behind the last byte it is not asked. ERR_FORMAT with the offset. */
int repo_keyref_read(struct reader *r, struct repo_keyref *out, struct err *e);
/* What it adds to the sum of an index: the digest of a record without a value. */
struct digest repo_keyref_digest(const struct repo_keyref *r);

/* One reference for each operation of an entry, in order; none for other kinds than transactions. ERR_FORMAT, or the
 * callback's non-zero result. */
int repo_keyrefs_of(const struct entry_view *v, int (*each)(void *arg, const struct repo_keyref *),
                    void *arg, struct err *e);

#endif
