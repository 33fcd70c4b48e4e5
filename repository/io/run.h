/* A run: what some consecutive packs did to the records, sorted and folded, in a file of its own beside what is being
 * restored. Packs are read by several threads, and more than once when a restore is interrupted; a run that is whole is
 * never made again.
 *
 * FORMAT, private to one restore: rows (core/fold.h), then events of sessions, then a trailer of RUN_TRAILER_BYTES: magic
 * u32 "TVNR", crc u32 (CRC32C of all before), rows u64, bytes of rows u64, events u64, position of the last entry (lsn
 * u64, term u64, time u64, hash 32), commit mode u8 (0: unchanged), 3 zeros. An event: kind u8, session 16, sequence u64,
 * position as above, client str16. */
#ifndef REPOSITORY_IO_RUN_H
#define REPOSITORY_IO_RUN_H

#include "repository/core/fold.h"
#include "store/state.h"

struct repo_run_facts {
    uint64_t rows, row_bytes, events;
    struct entry_position end; /* the last entry that was folded */
    enum commit_mode mode;     /* that its last configuration set; 0: it has none */
};

/* ---- writing: one thread ---- */
struct repo_run_writer; /* opaque; 1 MiB */
/* `name` in the directory; it has a temporary name until it is whole. */
int repo_run_create(struct repo_run_writer **out, int dir, const char *name, struct err *e);
int repo_run_row(struct repo_run_writer *w, const struct repo_effect *x, struct err *e);
/* Only behind all rows. */
int repo_run_event(struct repo_run_writer *w, const struct state_session_event *x, struct err *e);
/* Whole: it gets its name. Not synced: a run that a power cut has hurt is found by its checksum. */
int repo_run_finish(struct repo_run_writer *w, struct entry_position end, enum commit_mode mode,
                    struct err *e);
void repo_run_free(struct repo_run_writer *w); /* removes the file when it was not finished */

/* ---- reading: one thread ---- */
struct repo_run; /* opaque: the file, mapped; pages that were read are given back as it goes */
/* ERR_NOT_FOUND: it is not there; ERR_INTEGRITY: it is not whole. With `verify` its checksum is counted, too. */
int repo_run_open(struct repo_run **out, int dir, const char *name, bool verify, struct err *e);
const struct repo_run_facts *repo_run_facts(const struct repo_run *r);
/* The next row; views that are valid until the run is closed. ERR_NOT_FOUND behind the last. */
int repo_run_next_row(struct repo_run *r, struct repo_effect *out, struct err *e);
/* The next event; behind the rows, which need not have been read. ERR_NOT_FOUND behind the last. */
int repo_run_next_event(struct repo_run *r, struct state_session_event *out, struct err *e);
void repo_run_close(struct repo_run *r);

#endif
