/* What the newest packs hold, noted while they were read back as they were sealed: the headers of their entries for the tree, and
 * the references of their keys for the index. So neither reads a pack again that this process has sealed a moment ago.
 *
 * It is a memory and never needed: what it does not have, after a restart, after trouble, or because it was too much, is read
 * from the packs. Consecutive entries only; HEADERS and references are each kept up to 16 MiB, and let go when they were used. */
#ifndef REPOSITORY_IO_RECENT_H
#define REPOSITORY_IO_RECENT_H

#include "repository/io/index.h"

struct repo_recent; /* opaque */

/* A pack behind `prev` is being read back. What was noted before stays when this continues it. */
int repo_recent_begin(struct repo_recent **m, const struct entry_position *prev, struct err *e);
int repo_recent_note(struct repo_recent *m, const struct entry_view *v, struct err *e);
/* All of it, since the pack did not come to be. NULL is taken. */
void repo_recent_forget(struct repo_recent *m);
void repo_recent_free(struct repo_recent *m); /* NULL is taken */

/* The first lsn whose header is here; all up to the newest pack's end follow it. 0: none. */
struct lsn repo_recent_first(const struct repo_recent *m);
/* Entry `lsn`, by its header alone: body NULL. ERR_INTEGRITY: the memory holds it otherwise than it was noted. */
int repo_recent_entry(const struct repo_recent *m, struct lsn lsn, struct entry_view *out,
                      struct err *e);
void repo_recent_used(struct repo_recent *m, struct lsn to); /* headers up to here */

/* The references of all entries from `first` on, to *end; *out is the caller's then. False: they are not here. What is here
 * of entries behind `first` alone is let go: they are about to be read from their packs. */
bool repo_recent_take(struct repo_recent *m, struct lsn first, struct lsn *end,
                      struct repo_refs *out);

#endif
