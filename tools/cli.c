/* From argv to a command and from its error to an exit code.
 *
 * A command's name has one or two words ("put", "point list"); the longest that fits argv wins, and `--` before an operand
 * keeps it from being taken for the second word. */
#include "tools/cli.h"

#include "store/core/check.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define COMMON(member) offsetof(struct common, member)

const struct option output_options[] = {
    {"output", 'o', OPTION_TEXT, COMMON(output), "FORMAT", "TRIVENI_OUTPUT",
     "table (for people, may change) or json (stable)"},
    {0},
};
const struct option connection_options[] = {
    {"profile", 0, OPTION_TEXT, COMMON(profile), "FILE", "TRIVENI_PROFILE",
     "YAML file with any of: endpoints, ca, cert, key, crl, cluster, id, ack, timeout"},
    {"endpoints", 0, OPTION_TEXT, COMMON(endpoints), "HOST:PORT,...", "TRIVENI_ENDPOINTS",
     "client ports of the sites"},
    {"ca", 0, OPTION_TEXT, COMMON(ca), "FILE", "TRIVENI_CA",
     "certificates of the trusted authorities"},
    {"cert", 0, OPTION_TEXT, COMMON(cert), "FILE", "TRIVENI_CERT",
     "own certificate, client or operator"},
    {"key", 0, OPTION_TEXT, COMMON(key), "FILE", "TRIVENI_KEY",
     "its key, which others must not be able to read"},
    {"crl", 0, OPTION_TEXT, COMMON(crl), "FILE", "TRIVENI_CRL", "revoked certificates"},
    {"cluster", 0, OPTION_TEXT, COMMON(cluster), "NAME", "TRIVENI_CLUSTER",
     "name of the cluster; default: the one in the certificate"},
    {"id", 0, OPTION_TEXT, COMMON(id), "UUID", "TRIVENI_ID", "identity of the cluster"},
    {"timeout", 0, OPTION_DURATION, COMMON(timeout), "TIME", "TRIVENI_TIMEOUT",
     "give up after this: 500ms, 5s, 2m; default 10s"},
    {0},
};
const struct option standby_options[] = {
    {"standby", 0, OPTION_FLAG, COMMON(standby), NULL, NULL,
     "let a standby answer; how old the answer may be is said"},
    {0},
};
const struct option ack_options[] = {
    {"ack", 0, OPTION_TEXT, COMMON(ack), "LEVEL", "TRIVENI_ACK",
     "durability to wait for: mode, local, majority, dr, gsr or all; default: the cluster's mode"},
    {0},
};

/* ---- finding the command ---- */

static const struct command *find_command(const char *one, const char *two)
{
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name;
        size_t n = strlen(one);
        if (two == NULL
                ? strcmp(name, one) == 0
                : strncmp(name, one, n) == 0 && name[n] == ' ' && strcmp(name + n + 1, two) == 0)
            return commands[i];
    }
    return NULL;
}

/* Is `word` the first word of two-word commands? */
static bool is_family(const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strncmp(commands[i]->name, word, n) == 0 && commands[i]->name[n] == ' ')
            return true;
    return false;
}

enum { COMMANDS_MAX = 64 };

/* The nearest among first words (family NULL), or among the second words of a family. */
static const char *suggest(const char *family, const char *word)
{
    static char firsts[COMMANDS_MAX][24];
    const char *known[COMMANDS_MAX];
    size_t n = 0;
    size_t f = family == NULL ? 0 : strlen(family);
    for (size_t i = 0; commands[i] != NULL && n < COMMANDS_MAX; i++) {
        const char *name = commands[i]->name;
        if (family != NULL && (strncmp(name, family, f) != 0 || name[f] != ' '))
            continue;
        const char *from = family == NULL ? name : name + f + 1;
        (void)snprintf(firsts[n], sizeof firsts[n], "%.*s", (int)strcspn(from, " "), from);
        known[n] = firsts[n];
        n++;
    }
    return nearest(word, known, n);
}

static int unknown_command(const char *family, const char *word)
{
    const char *near = suggest(family, word);
    const char *space = family != NULL ? " " : "";
    if (family == NULL)
        family = "";
    if (near != NULL)
        say("unknown command '%s%s%s': did you mean '%s%s%s'?", family, space, word, family, space,
            near);
    else
        say("unknown command '%s%s%s': 'triveni help' lists all", family, space, word);
    return err_exit_code(ERR_USAGE);
}

static int list_family(const char *word, FILE *f)
{
    size_t n = strlen(word);
    (void)fprintf(f, "Usage: triveni %s COMMAND [OPTIONS]\n\n", word);
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strncmp(commands[i]->name, word, n) == 0 && commands[i]->name[n] == ' ')
            (void)fprintf(f, "  %-22s %s\n", commands[i]->name, commands[i]->purpose);
    (void)fprintf(f, "\n'triveni help %s COMMAND' tells more.\n", word);
    return f == stdout ? 0 : err_exit_code(ERR_USAGE);
}

/* ---- running ---- */

static int usage_error(const struct command *c, const struct err *e)
{
    say("%s: %s", c->name, e->text);
    (void)fprintf(stderr, "Usage: triveni %s%s%s [OPTIONS]   ('triveni help %s' tells more)\n",
                  c->name, c->operands[0] != '\0' ? " " : "", c->operands, c->name);
    return err_exit_code(ERR_USAGE);
}

static int check_operands(const struct command *c, int count, char **operands, struct err *e)
{
    if (count < c->least)
        return err_set(e, ERR_USAGE, "%s",
                       count == 0 ? "operands are missing" : "an operand is missing");
    if (c->most >= 0 && count > c->most)
        return err_set(e, ERR_USAGE, "unexpected operand '%.60s'", operands[c->most]);
    return 0;
}

static bool has_output(const struct command *c)
{
    for (size_t i = 0; c->tables[i] != NULL; i++)
        if (c->tables[i] == output_options)
            return true;
    return false;
}

static int run_command(const struct command *c, int argc, char **argv)
{
    struct err e = ERR_NONE;
    struct invocation in = {.command = c, .operands = argv};
    bool help = false;
    check(c->options_bytes >= sizeof(struct common));
    in.options = calloc(1, c->options_bytes);
    if (in.options == NULL) {
        say("no memory");
        return 1;
    }
    int exit_code = 0;
    int rc = options_parse(c->tables, in.options, argc, argv, &in.count, &help, &e);
    struct common *common = in.options;
    if (help)
        help_command(stdout, c);
    else if (rc != 0 || check_operands(c, in.count, in.operands, &e) != 0 ||
             (has_output(c) && output_format_parse(common->output, &common->format, &e) != 0))
        exit_code = usage_error(c, &e);
    else
        rc = c->run(&in, &e);
    if (exit_code == 0 && rc == 0)
        rc = output_finish(&e);
    if (exit_code == 0 && rc != 0) {
        (void)fflush(stdout);
        if (e.text[0] != '\0')
            say("%s: %s", c->name, e.text);
        exit_code = err_exit_code(rc);
    }
    free(in.options);
    return exit_code;
}

static int help_main(int argc, char **argv)
{
    if (argc == 0)
        help_overview(stdout);
    else if (strcmp(argv[0], "--scdoc") == 0)
        help_scdoc(stdout);
    else if (strcmp(argv[0], "--bash") == 0)
        help_bash(stdout);
    else {
        const struct command *c =
            argc > 1 ? find_command(argv[0], argv[1]) : find_command(argv[0], NULL);
        if (c != NULL)
            help_command(stdout, c);
        else if (argc == 1 && is_family(argv[0]))
            return list_family(argv[0], stdout);
        else if (argc > 1 && is_family(argv[0]))
            return unknown_command(argv[0], argv[1]);
        else
            return unknown_command(NULL, argv[0]);
    }
    struct err e = ERR_NONE;
    return err_exit_code(output_finish(&e));
}

int cli_main(int argc, char **argv)
{
    (void)setlocale(LC_CTYPE, "");
    (void)signal(
        SIGPIPE,
        SIG_IGN); /* a closed pipe is an error of write() that is reported, not a silent death */
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        help_overview(stderr);
        return err_exit_code(ERR_USAGE);
    }
    if (strcmp(word, "help") == 0)
        return help_main(argc - 2, argv + 2);
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
        return help_main(0, NULL);
    if (strcmp(word, "--version") == 0)
        word = "version";
    const struct command *c = argc > 2 ? find_command(word, argv[2]) : NULL;
    if (c != NULL)
        return run_command(c, argc - 3, argv + 3);
    c = find_command(word, NULL);
    if (c != NULL)
        return run_command(c, argc - 2, argv + 2);
    if (!is_family(word))
        return unknown_command(NULL, word);
    if (argc == 2)
        return list_family(word, stderr);
    if (strcmp(argv[2], "-h") == 0 || strcmp(argv[2], "--help") == 0)
        return list_family(word, stdout);
    return unknown_command(word, argv[2]);
}
