/* The verification ledger: which object of an archive was verified last when, and whether it was whole. A text that its site
 * keeps beside its own data; nothing of the archive depends on it, and without one every object counts as verified when it
 * was sealed.
 *
 * FORMAT, lines that end with a line feed:
 *   triveni archive ledger 1
 *   <time_us> <level> <state> <object>     by name; level: readable; state: whole or damaged
 *   crc32c <8 hex digits>                  of all bytes before this line */
#ifndef REPOSITORY_CORE_LEDGER_H
#define REPOSITORY_CORE_LEDGER_H

#include "repository/core/names.h"
#include "store/core/bytes.h"
#include "store/core/err.h"

struct repo_ledger_line {
    char name[REPO_NAME_BYTES];
    struct utc verified; /* 0: never */
    bool damaged;
    bool listed; /* for whoever follows a listing; not kept */
};
/* The lines are sorted by name; the memory, room for `cap` of them, is the caller's. */
struct repo_ledger {
    struct repo_ledger_line *at;
    size_t n, cap;
};

/* NULL: not in it. Valid until the next call that adds or removes. */
struct repo_ledger_line *repo_ledger_find(const struct repo_ledger *l, const char *name);
/* The line of that name, a new one with everything else zero; NULL: there is no room for a new one. */
struct repo_ledger_line *repo_ledger_add(struct repo_ledger *l, const char *name);
void repo_ledger_remove(struct repo_ledger *l, const char *name);

/* Which object is to be verified next: the one that was longest not, and of those whose state is damaged the one that was
 * looked at longest ago, after `again_us`; never one that was verified less than `rest_us` ago. A time in the future (the
 * clock was set back) counts as never. NULL: none is due. */
struct repo_ledger_line *repo_ledger_next(const struct repo_ledger *l, struct utc now,
                                          uint64_t rest_us, uint64_t again_us);
/* The one that was longest not verified; NULL: it is empty. */
const struct repo_ledger_line *repo_ledger_oldest(const struct repo_ledger *l);

/* ---- the text ---- */
enum { REPO_LEDGER_LINE_BYTES = 160 };
extern const char repo_ledger_head[]; /* the first line */
/* A line, or the last one over all bytes before it; with the line feed. Returns its length. */
size_t repo_ledger_line_write(const struct repo_ledger_line *x, char out[REPO_LEDGER_LINE_BYTES]);
size_t repo_ledger_end_write(uint32_t crc32c, char out[REPO_LEDGER_LINE_BYTES]);
/* The lines between the first and the last of a whole text. ERR_FORMAT. */
int repo_ledger_lines(struct bytes text, struct bytes *out, struct err *e);
/* The line at *at, which moves behind it. 0, ERR_FORMAT, or ERR_NOT_FOUND at the end. */
int repo_ledger_line_read(struct bytes lines, size_t *at, struct repo_ledger_line *out);

#endif
