/* Errors: one table of codes, and a caller-owned message that is wrapped from the inside out.
 *
 * A function that can fail returns 0 or one of the negative codes below and, where it takes a
 * `struct err *`, has then filled it: what failed, where (file, offset, lsn, site), and, at the outermost
 * level that knows, what to do next. Each layer may put its own context in front with err_wrap(), so that a
 * message reads "restore to lsn 42: pack 3-1-900.pack: frame 7 at byte 8192: tag mismatch". */
#ifndef STORE_CORE_ERR_H
#define STORE_CORE_ERR_H

#include <stdarg.h>
#include <stddef.h>

/* X(code, value, stable name for JSON and logs, exit code of the command line) */
#define ERR_TABLE(X)                                                                               \
    X(ERR_FAILED, -1, "failed", 1)                                                                 \
    X(ERR_USAGE, -2, "usage", 2)                                                                   \
    X(ERR_NOT_FOUND, -3, "not-found", 3)                                                           \
    X(ERR_UNREACHABLE, -4, "unreachable", 4)                                                       \
    X(ERR_TIMEOUT, -5, "timeout", 4)                                                               \
    X(ERR_CONDITION, -6, "condition-failed", 5)                                                    \
    X(ERR_NOT_PRIMARY, -7, "not-primary", 6)                                                       \
    X(ERR_INTEGRITY, -8, "integrity", 7)                                                           \
    X(ERR_DENIED, -9, "denied", 8)                                                                 \
    X(ERR_OUTCOME_UNKNOWN, -10, "outcome-unknown", 9)                                              \
    X(ERR_IO, -11, "io", 1)                                                                        \
    X(ERR_NO_SPACE, -12, "no-space", 1)                                                            \
    X(ERR_NO_MEMORY, -13, "no-memory", 1)                                                          \
    X(ERR_LIMIT, -14, "limit", 2)                                                                  \
    X(ERR_FORMAT, -15, "format", 7)                                                                \
    X(ERR_BUSY, -16, "busy", 1)                                                                    \
    X(ERR_EXISTS, -17, "exists", 1)                                                                \
    X(ERR_SESSION_EXPIRED, -18, "session-expired", 1)                                              \
    X(ERR_GAP, -19, "gap", 1)                                                                      \
    X(ERR_CONFIG, -20, "config", 2)                                                                \
    X(ERR_CANCELLED, -21, "cancelled", 1)                                                          \
    X(ERR_STALE, -22, "stale", 1)                                                                  \
    X(ERR_NEWER, -23, "newer-format", 1)                                                           \
    X(ERR_UNIQUE, -24, "unique", 5)                                                                \
    X(ERR_NOT_READY, -25, "not-ready", 1)                                                          \
    X(ERR_KEY_USED, -26, "key-used", 5)

enum err_code {
#define X(code, value, name, exit) code = value,
    ERR_TABLE(X)
#undef X
};

enum { ERR_TEXT_BYTES = 512 };

/* Owned by the caller; zero-initialise with ERR_NONE. A message that does not fit is cut, never overrun. */
struct err {
    int code;
    char text[ERR_TEXT_BYTES];
};
#define ERR_NONE                                                                                   \
    {                                                                                              \
        0,                                                                                         \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* The same for an error that is rarely needed, where each read of a record has one: ERR_NONE clears all of its text. */
static inline void err_init(struct err *e)
{
    e->code = 0;
    e->text[0] = '\0';
}

/* Set code and message; returns `code`, so that `return err_set(e, ERR_IO, ...)` works. `e` may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "<context>: " in front of the message; returns the code that `e` holds. `e` may be NULL: then
 * ERR_FAILED is returned. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "; <advice>" behind the message: what to do next. Returns the code as err_wrap does. */
int err_advise(struct err *e, const char *advice);

/* What is stored has a format above the one that this program reads: not damage, and nothing to repair. Whoever finds it stops
 * before it changes anything. Decided only when the checksum holds, which every format has at the same place. */
int err_newer(struct err *e, const char *what, unsigned format, unsigned reads);

/* Stable name ("not-primary") and exit code of a code; unknown codes give "failed" and 1. 0 gives "ok", 0. */
const char *err_name(int code);
int err_exit_code(int code);

#endif
