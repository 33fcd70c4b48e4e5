/* Reading a log directory without opening it: nothing is changed, nothing has to be whole, and the reading goes on after
 * damage. For tools that show and check a log; the site's own way in is log_open (store/log.h). */
#ifndef STORE_IO_LOG_SCAN_H
#define STORE_IO_LOG_SCAN_H

#include "store/core/recovery.h"
#include "store/finding.h"

struct log_scan_segment {
    const char *file;
    uint64_t bytes;
    struct segment_header head;
    bool counts;   /* part of the log; otherwise a later segment begins at or before its start */
    bool inferred; /* its header is damaged, `head` is what its batches tell */
};

struct log_scan_options {
    int dir_fd;
    /* Where the state ends: the log must go on from there. Lsn 0: not known. */
    struct entry_position checkpoint;
    struct lsn from, to; /* only segments with entries in this range are read; 0: no bound */
    struct finding_sink sink;
    /* Each may be NULL. A non-zero result ends the scan and is returned. */
    int (*segment)(void *arg, const struct log_scan_segment *s);
    int (*batch)(void *arg, const struct log_scan_segment *s, uint64_t offset,
                 const struct batch_header *h);
    int (*entry)(void *arg, const struct log_scan_segment *s, uint64_t offset,
                 const struct entry_view *v);
    void *arg; /* of the three above */
};

struct log_scan_totals {
    uint64_t segments, bytes; /* of those that count */
    uint64_t batches, entries;
    struct entry_position first, last; /* before the first entry, and the last one */
};

/* Walk all segments that count, in order. 0, also when damage was found (the sink was told); the result of a callback; ERR_IO,
 * ERR_NO_MEMORY. */
int log_scan(const struct log_scan_options *options, struct log_scan_totals *out, struct err *e);

/* Bytes that log_scan will read, for a progress bar. */
int log_scan_bytes(int dir_fd, uint64_t *out, struct err *e);

#endif
