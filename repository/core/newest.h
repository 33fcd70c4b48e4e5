/* Of which records is something newer known already? A restore reads the packs from the newest back, and asks before it keeps
 * what an entry did to a record: most of it was done over by a later entry, and need be neither copied nor sorted nor written.
 *
 * A table of names in memory that the caller gives, which never grows: what finds no room in it is kept, and falls when the runs
 * are merged (fold.h). So nothing rests on the table but time. */
#ifndef REPOSITORY_CORE_NEWEST_H
#define REPOSITORY_CORE_NEWEST_H

#include "repository/core/fold.h"

enum { REPO_NEWEST_CELL_BYTES = 64 }; /* a line of the processor's cache */

struct repo_newest_cell;
struct repo_newest {
    struct repo_newest_cell *cells;
    size_t count; /* a power of two */
};
/* `memory`: `count` cells of zeros, aligned as one cell is long, which live as long as the table. */
void repo_newest_init(struct repo_newest *t, void *memory, size_t count);

/* The name of a record, as the table keeps it: sizes of collection and key, and the bytes of both when they fit, otherwise
 * their SHA-256, which no two names share. */
struct repo_newest_name {
    uint8_t b[48];
    uint64_t hash; /* of b: also to choose between several tables */
};
struct repo_newest_name repo_newest_name(const struct repo_effect *x);

/* The question is going to be asked soon: the processor may fetch what it needs. For any thread at any time. */
void repo_newest_hint(const struct repo_newest *t, const struct repo_newest_name *name);
/* Must a run hold this effect at lsn, too, besides those that this table was asked about before? False: one of them is newer, and
 * when lsn is at or before the boundary, one of them is newer and at or before it as well. In either case it is known from now
 * on. */
bool repo_newest_ask(struct repo_newest *t, const struct repo_newest_name *name, struct lsn lsn,
                     struct lsn boundary);

#endif
