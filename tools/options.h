/* Options of the command line: described by tables, stored into a struct of the command's by offset, so that one table
 * gives the parser, the --help text, the manual page and the completion.
 *
 * Order of precedence: flag, environment variable of the option, what the caller fills in afterwards (profile file,
 * default). Texts stay argv's or the environment's; nothing is copied. */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include "store/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG = 1,   /* bool */
    OPTION_TEXT = 2,   /* const char *, NULL when not given */
    OPTION_NUMBER = 3, /* struct option_number */
    OPTION_DURATION =
        4, /* struct option_number, milliseconds: "500ms", "5s", "2m", "1h"; a bare number is seconds */
    OPTION_LIST = 5, /* struct option_list: may be given several times */
};

struct option_number {
    bool given;
    uint64_t v;
};

enum { OPTION_LIST_MAX = 64 };
struct option_list {
    size_t count;
    const char *v[OPTION_LIST_MAX];
};

struct option {
    const char *name; /* without dashes; NULL ends a table */
    char letter;      /* 0: none */
    enum option_kind kind;
    size_t at;         /* offsetof the member in the command's struct */
    const char *value; /* name of the value in help; NULL for a flag */
    const char *env;   /* environment variable, or NULL */
    const char *help;
};

/* Parse argv[0..argc) (no program or command name in it) by the tables (a NULL-terminated list). Operands are moved to the
 * front of argv in their order, *operands tells how many. "--" ends the options, "-" is an operand. ERR_USAGE names what is
 * wrong with the nearest known option. `help` is set and parsing stops at -h or --help. */
int options_parse(const struct option *const *tables, void *into, int argc, char **argv,
                  int *operands, bool *help, struct err *e);

/* Whole text as an unsigned decimal number up to max; ERR_USAGE with the reason. `what` names it in the message. */
int parse_number(const char *what, const char *text, uint64_t max, uint64_t *out, struct err *e);
int parse_duration(const char *what, const char *text, uint64_t *ms, struct err *e);

/* Of n candidates the one nearest to `text` (Damerau-Levenshtein, restricted), or NULL when none is near enough to be what was
 * meant: at most a third of its length, at least 1. */
const char *nearest(const char *text, const char *const *candidates, size_t n);

#endif
