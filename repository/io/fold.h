/* The records as of an lsn, in order, out of a snapshot and the packs behind it: the fast half of a restore.
 *
 * Why not apply the entries one after the other, as a site does: their keys come in any order, so each batch rewrites
 * much of the tree, and most of what is written is replaced again by a later entry. Here the packs are read by several
 * threads, each of which sorts what it read into a run (run.h) and keeps of each record the newest effect; then the runs
 * are merged with the snapshot, which is sorted as it is, and every record comes once, in order, ready to be appended to
 * an empty state.
 *
 * Memory: for each thread the entries of a chunk, about REPO_CHUNK_BYTES, and as much again for small records; some threads less
 * where chunks must be larger; 32 MiB at most for what is known to be newer (core/newest.h). Disk: the runs, at most what
 * the packs hold uncompressed. */
#ifndef REPOSITORY_IO_FOLD_H
#define REPOSITORY_IO_FOLD_H

#include "repository/core/fold.h"
#include "repository/io/archive.h"

enum {
    REPO_CHUNK_BYTES =
        16 << 20, /* of entries in a run, unless a pack is larger or there would be too many runs */
    REPO_READERS_MAX = 8, /* threads; from a bucket always so many, for they mostly wait */
};

struct repo_fold_job {
    /* given */
    struct repository *r;
    const struct repo_plan *plan;
    const struct repository_selection *only; /* NULL: every record */
    struct lsn boundary;                     /* where the digest is to be known, too; 0: nowhere */
    int dir;                                 /* of the runs; nobody else's */
    repository_stage_fn progress;            /* may be NULL; called by the calling thread */
    void *progress_arg;

    /* made by repo_fold_gather() */
    size_t runs;
    struct entry_position end; /* the last entry: that of plan->lsn */
    enum commit_mode mode;     /* at the end; 0: as the snapshot has it */
    uint64_t rows;             /* in all runs */
    uint64_t entries;          /* that were folded */
    uint64_t kept;             /* runs that were there from an interrupted restore */
};

/* Read the packs, as many threads as there are processors (eight from a bucket), into runs. Runs that are there and whole are
 * taken as they are: the caller sees to it that they are of this plan, selection and boundary. Errors as of repo_pack_walk(),
 * and ERR_NO_SPACE; what was made stays for the next try. */
int repo_fold_gather(struct repo_fold_job *job, struct err *e);

struct repo_fold_sink {
    int (*record)(void *arg, const struct repo_effect *); /* in order; each once */
    int (*other)(
        void *arg,
        const struct repo_snap_record *); /* of the snapshot, but its trailer; may be NULL */
    void *arg;
};
/* Merge the runs with the snapshot, on another thread; the sink is called by the calling one. *digest is that of all records,
 * *bounded that at the boundary. */
int repo_fold_merge(struct repo_fold_job *job, const struct repo_fold_sink *sink,
                    struct digest *digest, struct digest *bounded, struct err *e);

/* What the entries did to sessions, in order, some thousand at a time; the array may be reordered. */
int repo_fold_events(struct repo_fold_job *job,
                     int (*each)(void *arg, struct state_session_event *, size_t n), void *arg,
                     struct err *e);

/* Is the record one of those? NULL selects all. */
bool repo_selected(const struct repository_selection *only, struct bytes collection,
                   struct bytes key);

#endif
