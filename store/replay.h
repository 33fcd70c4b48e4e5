/* Replay: entries of the log into the state, in batches as large as pay.
 *
 * LMDB writes whole pages, so ten thousand sorted puts in one transaction cost a small part of the same puts one by one; and
 * reading and checking a batch takes about half as long as applying it. So while there is more than one batch to apply, the
 * next is read by a thread of its own meanwhile. Who is only a little behind (a site at work) never wakes that thread.
 *
 * One caller at a time: the applier, which is also the state's only writer. */
#ifndef STORE_REPLAY_H
#define STORE_REPLAY_H

#include "store/log.h"
#include "store/state.h"

struct replay; /* opaque */

/* Neither log nor state becomes the replay's. ERR_NO_MEMORY also when there is no thread to be had. */
int replay_open(struct replay **out, struct log *log, struct state *state, struct err *e);
void replay_close(struct replay *r); /* NULL is allowed */

/* Apply the next batch after the state's position, at most up to `to`, which the state has not reached. What is at or below
 * `to` must not be cut from the log while the replay is open. Returns how many bytes of log it was, or a code of log_read or
 * state_apply; after ERR_NO_SPACE the same call may be made again. */
int64_t replay_step(struct replay *r, struct lsn to, struct err *e);

#endif
