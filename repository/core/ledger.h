/* The verification ledger: which part of an archive (names.h) was verified last when, and whether it was whole. A text that
 * its site keeps beside its own data; nothing of the archive depends on it, and without one every object counts as verified
 * when it was sealed.
 *
 * FORMAT, lines that end with a line feed:
 *   triveni archive ledger 1
 *   round <time_us> <id> <checked> <damaged>     when it began, 16 hex digits; none: no round was begun
 *   <time_us> <level> <state> <part>       by name; level: readable; state: whole or damaged
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
/* Once round the whole archive: it is over when no object was verified before it began. */
struct repo_ledger_round {
    struct utc began; /* 0: there is none */
    uint64_t id;      /* of the operation that it will be */
    uint64_t checked,
        damaged; /* objects that were verified in it, each once; that were found damaged, healed or not */
};
/* The lines are sorted by name; the memory, room for `cap` of them, is the caller's. */
struct repo_ledger {
    struct repo_ledger_line *at;
    size_t n, cap;
    struct repo_ledger_round round;
};

/* NULL: not in it. Valid until the next call that adds. */
struct repo_ledger_line *repo_ledger_find(const struct repo_ledger *l, const char *name);
/* The line of that name, a new one with everything else zero; NULL: there is no room for a new one. */
struct repo_ledger_line *repo_ledger_add(struct repo_ledger *l, const char *name);

/* Which object is to be verified next: the one that was longest not, and of those whose state is damaged the one that was
 * looked at longest ago, after `again_us`; never one that was verified less than `rest_us` ago. A time in the future (the
 * clock was set back) counts as never. NULL: none is due. */
struct repo_ledger_line *repo_ledger_next(const struct repo_ledger *l, struct utc now,
                                          uint64_t rest_us, uint64_t again_us);
/* The one that was longest not verified; NULL: it is empty. */
const struct repo_ledger_line *repo_ledger_oldest(const struct repo_ledger *l);

/* It was verified now, and found whole or not; what it is now, after healing, is `still`. */
void repo_ledger_note(struct repo_ledger *l, struct repo_ledger_line *x, struct utc now,
                      bool damaged, bool still);
/* False also when there is none, or when it began in the future (the clock was set back): begin another one. */
bool repo_ledger_round_over(const struct repo_ledger *l, struct utc now);

/* ---- the file ---- */
enum { REPO_LEDGER_FILE_BYTES = 40 };
/* What it is called in its site's data directory: "archive.ledger"; of a copy of the archive "archive.copy-<hex>.ledger", by the
 * place as the configuration names it, without options (all from '?' on). So it stays with the place when the list of copies
 * changes. `copy` is NULL for the archive itself. */
void repo_ledger_file(const char *copy, char out[REPO_LEDGER_FILE_BYTES]);

/* ---- the text ---- */
enum { REPO_LEDGER_LINE_BYTES = 160 };
extern const char repo_ledger_head[]; /* the first line */
/* A line, or the last one over all bytes before it; with the line feed. Returns its length. */
size_t repo_ledger_round_write(const struct repo_ledger_round *x, char out[REPO_LEDGER_LINE_BYTES]);
size_t repo_ledger_line_write(const struct repo_ledger_line *x, char out[REPO_LEDGER_LINE_BYTES]);
size_t repo_ledger_end_write(uint32_t crc32c, char out[REPO_LEDGER_LINE_BYTES]);
/* The lines between the first and the last of a whole text. ERR_FORMAT. */
int repo_ledger_lines(struct bytes text, struct bytes *out, struct err *e);
/* The round, if the first of the lines is one: it is passed over. ERR_FORMAT. */
int repo_ledger_round_read(struct bytes *lines, struct repo_ledger_round *out);
/* The line at *at, which moves behind it. 0, ERR_FORMAT, or ERR_NOT_FOUND at the end. */
int repo_ledger_line_read(struct bytes lines, size_t *at, struct repo_ledger_line *out);

#endif
