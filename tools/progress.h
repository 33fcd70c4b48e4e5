/* How far a long command is: a bar on stderr when that is a terminal, else a line every five seconds. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* "load", borrowed */
    const char *unit; /* of the second figure, "records"; NULL: only bytes */
    bool terminal;
    bool counts; /* the figures are of `unit`, not bytes */
    uint64_t began_ms, shown_ms;
    uint64_t
        first; /* bytes done when it began, so that a resumed run does not count them into its rate */
};

void progress_begin(struct progress *p, const char *what, const char *unit, uint64_t first);
/* The same for what is counted: done and total are numbers of `unit`. */
void progress_begin_count(struct progress *p, const char *what, const char *unit);
/* total 0: unknown. Cheap; prints at most ten times a second (terminal) or once in five seconds. */
void progress_show(struct progress *p, uint64_t done_bytes, uint64_t total_bytes, uint64_t items);
/* Clear the bar. */
void progress_end(struct progress *p);
double progress_seconds(const struct progress *p);

/* "12.3 MiB" into out; returns it. */
const char *bytes_text(uint64_t bytes, char out[24]);
uint64_t monotonic_ms(void);

#endif
