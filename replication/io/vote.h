/* The promise of a site: term, vote, incarnation. Two slots of one preallocated file, written in turn and synced before
 * vote_save returns, so that a torn write leaves the other one (R1). */
#ifndef REPLICATION_IO_VOTE_H
#define REPLICATION_IO_VOTE_H

#include "store/core/err.h"
#include "store/core/ids.h"

#include <stdbool.h>

enum { VOTE_NAME_BYTES = 32 };

struct vote {
    struct uuid cluster_id;
    struct term term;
    /* By name, for a place in a list may become another site's. "" nobody. */
    char voted_for[VOTE_NAME_BYTES + 1];
    bool may_vote;        /* R5: false for a site rebuilt from nothing, until it has caught up */
    bool log_begun;       /* R5: the log has a segment since; without any it was lost */
    uint64_t incarnation; /* of this site's storage */
};

struct vote_file; /* opaque */

/* The two slots as they are on disk, for tools: read only. */
struct vote_slot {
    bool valid;
    uint64_t sequence;
    struct vote vote;
};
enum { VOTE_SLOTS = 2, VOTE_SLOT_BYTES = 4096 };
/* 0, whatever the slots hold; ERR_NEWER when one is of a later format; ERR_NOT_FOUND, ERR_IO. */
int vote_inspect(int dir_fd, const char *name, struct vote_slot out[VOTE_SLOTS], struct err *e);

/* Make a new file; ERR_EXISTS when there is one. */
int vote_create(const char *path, const struct vote *v, struct err *e);
/* Open and read the newest valid slot. ERR_NOT_FOUND, ERR_NEWER, ERR_INTEGRITY when neither slot is valid. */
int vote_open(struct vote_file **out, const char *path, struct vote *v, struct err *e);
/* Durable when it returns 0; any other result is fatal to the site. */
int vote_save(struct vote_file *f, const struct vote *v, struct err *e);
void vote_close(struct vote_file *f);

#endif
