/* What the program says: data to stdout, messages to stderr, colours only for people. */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include "store/core/bytes.h"
#include "store/core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum output_format { OUTPUT_TABLE = 0, OUTPUT_JSON = 1 };
int output_format_parse(const char *text, enum output_format *out, struct err *e); /* NULL: table */

/* A terminal that is not TERM=dumb, and NO_COLOR is not set. */
bool output_colour(FILE *f);

enum style {
    STYLE_NONE = 0,
    STYLE_GOOD = 1,
    STYLE_WARN = 2,
    STYLE_BAD = 3,
    STYLE_DIM = 4,
    STYLE_HEAD = 5
};
const char *style_on(enum style s); /* escape sequences; callers ask output_colour() first */
const char *style_off(void);

/* "triveni: <text>\n" to stderr. Control characters and what is no UTF-8 are escaped: messages name keys and files. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* One JSON value and a newline to stdout; takes the reference. Members stay in the order they were set. */
void output_json(json_t *value);

/* Bytes with control characters, DEL and bytes that are not UTF-8 escaped as \xNN, so that data cannot steer a
 * terminal; at most `columns` code points (0: no limit), then "...". */
void output_text(FILE *f, struct bytes b, size_t columns);

/* Flush stdout; ERR_IO when anything written to it was lost (a full disk, a closed pipe). */
int output_finish(struct err *e);

/* Ask on the terminal; true for "yes". Without a terminal: false. */
bool confirm(const char *question);

#endif
