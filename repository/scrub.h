/* The archive read again, object by object: what a site does all the time, within a budget, so that damage is found while a
 * copy still has what was lost.
 *
 * Threads: one thread uses a repository. */
#ifndef REPOSITORY_SCRUB_H
#define REPOSITORY_SCRUB_H

#include "repository/core/ledger.h"
#include "repository/repository.h"

/* A ledger in the heap: zero is an empty one. */
void repository_ledger_release(struct repo_ledger *l);
/* From its file; a missing or damaged one is an empty ledger (*whole tells), for it can be made again. */
int repository_ledger_load(const char *path, struct repo_ledger *out, bool *whole, struct err *e);
/* Over its file, in one step and durably. */
int repository_ledger_save(const char *path, const struct repo_ledger *l, struct err *e);

/* What it names are the parts of an archive (core/names.h): objects, stretches of the signed tree, generations of keys, and the
 * files on which everything rests. */

bool repository_is_object(const char *part);

/* Bring the ledger up to what the archive holds: an object that is new in it counts as verified when it was sealed, for then
 * it was read back; an index that is gone was replaced, and so was a pack whose entries another one has. Other packs and
 * snapshots that are gone stay: repository_check finds them missing. `of` is NULL; or `r` is a copy, and that is the ledger of
 * the archive that it is a copy of: then the indexes that count are those that the archive has. Parts that are no objects
 * count as never verified when they are new, but repository.json and generations of keys, which were written then; and they
 * stay when they are gone. */
int repository_ledger_follow(struct repository *r, struct repo_ledger *l,
                             const struct repo_ledger *of, struct err *e);

/* Is this one part what was sealed or signed? Of an object key and meta are read again, everything in it is decrypted,
 * decompressed and decoded:
 * level readable, of one object. Of one that was disposed of, the mark and the SHA-256 that it names. A stretch of the
 * tree must lead from its headers to the signed root, the operations log from its leaves; of a generation of keys those are read
 * that another one opens, too: what is wrong there loses no record. `progress` (may be NULL) is
 * told bytes of it that were read. 0; ERR_INTEGRITY with what is wrong; ERR_NOT_READY: its key is not under our KEK; others: it
 * could not be said. */
int repository_check(struct repository *r, const char *object,
                     void (*progress)(void *arg, uint64_t bytes), void *arg, struct err *e);

/* Is the round over? Then it is handed in to the operations log as one operation, "verify", with what it found (*ended), and the
 * next one begins; so does the first one. Save the ledger then. Called again after a crash between the two it hands in nothing
 * twice, for a round has its id from its beginning. Errors as repository_operations_add: it is not over, try again. An archive
 * with no pack that can be read has no rounds. */
int repository_ledger_round(struct repository *r, struct repo_ledger *l, struct utc now,
                            bool *ended, struct err *e);

/* The records that entries from..to wrote, by the index of keys, so that it can be told when their pack cannot be read: each
 * reference, in the order of the records. A non-zero result of `each` ends it and is returned. ERR_NOT_FOUND when no index
 * covers the range. */
int repository_affected(struct repository *r, struct lsn from, struct lsn to,
                        int (*each)(void *arg, struct bytes collection, struct bytes key,
                                    struct lsn lsn),
                        void *arg, struct err *e);
/* The lsns of an object and the times of them, as far as its meta and its neighbours tell; zero: not known. `r` may be NULL. */
struct repository_extent {
    struct lsn first, last;
    struct utc from, to;
};
void repository_extent(const struct repository *r, const char *object,
                       struct repository_extent *out);

/* In an archive that is open for writing: make a pack again that is damaged or missing, from its entries (each header and
 * body, back to back). They must lead from where it begins to exactly where it ends, as its meta, the signed tree or the
 * packs beside it say: each is proven by the chain of hashes in between. Of a last pack of which nothing says that, `own`
 * entries are taken, for which the caller vouches as for those that he seals. The new one has the old one's restore points
 * and digests, and a name of its own, that `named` (REPO_NAME_BYTES) gets; it takes the old one's place, durably when 0 is
 * returned. The operations log says so when it is settled. `object` may have been made again before. ERR_NOT_FOUND: there is
 * no such pack, or it was disposed of; ERR_INTEGRITY: these are not its entries. */
int repository_heal_pack(struct repository *r, const char *object, struct bytes entries, bool own,
                         char *named, struct err *e);

/* The same, of the entries in the pack's own file, when only its meta is damaged or missing: they are authentic under its key, so
 * those of a last pack are taken, too. Errors as above; ERR_INTEGRITY, ERR_NOT_FOUND, ERR_IO: the file is no better. Takes as
 * much memory as the entries. */
int repository_salvage_pack(struct repository *r, const char *object, char *named, struct err *e);
/* Every pack of the archive that is damaged while its file is there: so made again, or told why not. `told` gets its name
 * and what was done, *made how many were. ERR_NO_MEMORY; ERR_IO: nothing more is written. */
int repository_salvage(struct repository *r,
                       void (*told)(void *arg, const char *object, const char *what), void *arg,
                       uint64_t *made, struct err *e);
/* How many there are. */
uint64_t repository_salvageable(struct repository *r);

/* In an archive that is open for writing, its tree too: put right a part that is no object, from what else lies in the
 * archive and from those of its `copies` (n places) that answer. Whatever is put leads to the checkpoint that lies there signed;
 * where that is lost it comes from what this process published, or from a copy, signed by the site's key. *used: which copy
 * something came from, n: none. ERR_NOT_READY: the tree is not open; ERR_INTEGRITY, ERR_NOT_FOUND, ERR_STALE: nobody has what
 * it takes. */
int repository_heal_part(struct repository *r, const char *part, const char *const copies[],
                         size_t n, size_t *used, struct err *e);

/* Put one object with its keys and its meta, or another part, where they are missing or damaged in `c`, from `from`, where
 * it is verified first;
 * of what was disposed of, the mark instead of keys, and no key where it was disposed of in `c`. ERR_NOT_FOUND when `from` has no
 * such object, or it is an index over what was disposed of in `c`; ERR_INTEGRITY when it is damaged in `from`, too. */
int repository_copy_object(struct repository_copy *c, struct repository *from, const char *object,
                           struct repository_copy_report *out, struct err *e);

#endif
