/* Checking a state's directory on disk, as of its published checkpoint: every page, row and record, and the sums over them.
 * Nothing is written, liblmdb is not used, and the check goes on behind whatever it finds. */
#ifndef STORE_IO_STATE_CHECK_H
#define STORE_IO_STATE_CHECK_H

#include "store/core/digest.h"
#include "store/core/slot.h"
#include "store/finding.h"

struct state_check_totals {
    bool known; /* there is a checkpoint that can be believed; otherwise all below is empty */
    struct slot slot;
    uint64_t records, collections;
    struct digest digest;
};

/* Of the directory `dir_fd`. 0, also when damage was found (the sink was told); ERR_NOT_FOUND: there is no state (neither
 * checkpoint nor data.mdb), and nothing was told; ERR_IO, ERR_NO_MEMORY. */
int state_check(int dir_fd, const struct finding_sink *sink, struct state_check_totals *out,
                struct err *e);
/* Only the checkpoint file: fills known and slot. */
int state_check_slots(int dir_fd, const struct finding_sink *sink, struct state_check_totals *out,
                      struct err *e);

#endif
