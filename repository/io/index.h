/* Indexes of keys, read: which entries wrote a record. docs/REPOSITORY-FORMAT.md has the format, repository/history.h the
 * questions that they answer.
 *
 * An index is derived from packs, and nothing is lost with it. It is used when it authenticates and belongs to the chain of
 * packs; what is damaged is passed over, and the packs are read instead. */
#ifndef REPOSITORY_IO_INDEX_H
#define REPOSITORY_IO_INDEX_H

#include "repository/core/keyref.h"
#include "repository/io/archive.h"

/* Blocks and top of an index are cut into frames of at most this. */
enum { REPO_INDEX_FRAME_BYTES = 64 << 10 };

/* Open, and read its top; does nothing when it is open. About 200 KiB, and 50 bytes for each 64 KiB of references. ERR_INTEGRITY
 * names the index. */
int repo_index_open(struct repository *r, struct repo_index *x, struct err *e);
void repo_index_close(struct repo_index *x); /* closed already: nothing */
/* The last block that begins at or before `ref`; -1: none does. */
int64_t repo_index_block_of(const struct repo_index *x, const struct repo_keyref *ref);
/* The first reference of a block. */
const struct repo_keyref *repo_index_first(const struct repo_index *x, uint32_t block);
/* References of a block, back to back; valid until the next call on this index. ERR_INTEGRITY names the index. */
int repo_index_block(struct repo_index *x, uint32_t block, struct bytes *out, struct err *e);
/* Read all of it: every reference in order, and together those that the meta names. ERR_INTEGRITY. */
int repo_index_check(struct repository *r, struct repo_index *x, struct err *e);
/* It proved wrong: not asked any more, and told by repository_status. */
void repo_index_distrust(struct repository *r, struct repo_index *x, const struct err *why);

/* ---- references in memory: 40 bytes each, and their keys ---- */
struct repo_refs {
    struct repo_keyref *at;
    size_t count, cap;
    struct repo_refs_arena *arena; /* collections and keys */
    struct err *e;                 /* for the callback, which has no other place */
};
/* Copies what it is given. arg is a struct repo_refs. ERR_NO_MEMORY. */
int repo_refs_add(void *arg, const struct repo_keyref *ref);
void repo_refs_sort(struct repo_refs *refs);
void repo_refs_free(struct repo_refs *refs);

/* ---- a walk through the references of one index, in order ---- */
struct repo_index_walk {
    struct repo_index *index;
    uint32_t next_block;
    uint8_t *block; /* own copy: several walks and lookups may use one index */
    size_t cap;
    struct reader at;
    bool end;
    struct repo_keyref now;              /* unless end; valid until the next call */
    uint8_t last[REPO_KEYREF_MAX_BYTES]; /* the reference before: nothing goes backwards */
    size_t last_bytes;
};
/* Begin at the first reference at or behind `from` (NULL: the first of all). ERR_INTEGRITY. */
int repo_index_walk_begin(struct repo_index_walk *w, struct repository *r, struct repo_index *x,
                          const struct repo_keyref *from, struct err *e);
int repo_index_walk_next(struct repo_index_walk *w, struct err *e);
void repo_index_walk_end(struct repo_index_walk *w);
/* Of n walks, the one whose reference comes first; NULL: all are at their end. */
struct repo_index_walk *repo_index_walk_least(struct repo_index_walk *walks, size_t n);

/* ---- history.c ---- */
struct repository_query; /* repository/history.h */
/* Does the archive reach q->to? *from is q->from, or where the archive begins. ERR_NOT_FOUND. */
int repo_query_range(struct repository *r, const struct repository_query *q, struct lsn *from,
                     struct err *e);

#endif
