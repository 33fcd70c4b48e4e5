/* The steady checkpoint's file work: the side slots, and putting LMDB's meta page back.
 *
 * Why. With MDB_NOSYNC a commit costs no sync, but after a power cut both of LMDB's meta pages may name pages that never
 * reached the disk. A steady checkpoint is a transaction S whose pages are durable and cannot be reused, because
 * a read transaction is kept ("pinned") at S, and whose meta page is kept here, since two commits after S LMDB's own
 * two meta pages both name later transactions.
 *
 * Order of steps, each of them needed (without: most power cuts leave a broken file):
 *   open      choose the slot; write it again, durable (a slot read from the page cache may not be on the disk); put
 *             its meta page into both of LMDB's; sync; remove lock.mdb; open LMDB; pin, and check that the pin is at S;
 *             only then write
 *   publish   pin S' (begin); sync the data file; write the slot that is not in use, copy by copy, each
 *             synced; only then let go of the pin at S
 * No stop is trusted, a clean one neither: opening always begins from S.
 *
 * Not thread-safe by itself; store/io/state.c sees to it that one thread at a time is here. */
#ifndef STORE_IO_CHECKPOINT_H
#define STORE_IO_CHECKPOINT_H

#include "store/core/slot.h"

#define CHECKPOINT_FILE "checkpoint"
#define CHECKPOINT_DATA "data.mdb"
#define CHECKPOINT_LOCK "lock.mdb"

/* Open the side file and choose. ERR_NOT_FOUND when there is none; ERR_INTEGRITY, see slot_choose. On success *fd is
 * the caller's. */
int checkpoint_open(int dir_fd, int *fd, struct slot *out, struct err *e);

/* Create the side file with its first slot, durable, all at once (temporary name, rename). */
int checkpoint_create(int dir_fd, const struct slot *first, int *fd, struct err *e);

/* Write both copies of a slot, durable when it returns. Never retried: an error is fatal to the site. */
int checkpoint_write(int fd, const struct slot *slot, struct err *e);

/* Put the slot's meta page into both of LMDB's, durable, and remove LMDB's lock file. LMDB must not be open.
 * ERR_INTEGRITY when the data file is missing or shorter than when it was synced. */
int checkpoint_put_back(int dir_fd, const struct slot *slot, struct err *e);

/* The boot id of this machine; zero where the system has none. */
struct uuid checkpoint_boot_id(void);

#endif
