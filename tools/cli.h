/* Commands: one table entry each, from which come parsing, --help, triveni(1) and the completion. */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include "tools/options.h"
#include "tools/output.h"

struct invocation {
    const struct command *command;
    void *
        options; /* the command's struct, filled; begins with struct common when the tables below are used */
    int count; /* operands */
    char **operands;
};

struct example {
    const char *what, *line;
};

enum { TABLES_MAX = 5, EXAMPLES_MAX = 5 };

struct command {
    const char *name;     /* "put", "point list" */
    const char *group;    /* heading in `triveni help` */
    const char *purpose;  /* one line */
    const char *operands; /* "COLLECTION KEY [VALUE]" or "" */
    int least, most;      /* operands; most < 0: any number */
    size_t options_bytes;
    const struct option *tables[TABLES_MAX]; /* NULL-terminated; the command's own first */
    const char *
        about; /* paragraphs, NULL: none. Lines that begin with two spaces are shown as they are. */
    const char *literal; /* shown as it is after `about`, indented; NULL: none */
    struct example examples[EXAMPLES_MAX];
    const char *exits; /* digits of the exit codes beside 0, 1 and 2 */
    int (*run)(struct invocation *in, struct err *e); /* 0 or an err code */
};

extern const struct command *const commands[]; /* NULL-terminated, in the order of help */

/* ---- options that commands share ---- */

struct common {
    const char *output; /* -o */
    enum output_format format;
    const char *profile, *endpoints, *ca, *cert, *key, *crl, *cluster, *id, *ack;
    struct option_number timeout;
    bool standby;
};
extern const struct option output_options[];     /* -o */
extern const struct option connection_options[]; /* how to reach a cluster */
extern const struct option standby_options[];    /* --standby */
extern const struct option ack_options[];        /* --ack */

/* Everything: find the command, parse, run, say what went wrong; returns the exit code. */
int cli_main(int argc, char **argv);

/* Text of a command's help to `f`. */
void help_command(FILE *f, const struct command *c);
void help_overview(FILE *f);
void help_scdoc(FILE *f); /* triveni(1) */
void help_bash(FILE *f);  /* completion */

#endif
