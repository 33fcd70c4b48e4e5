/* Help in four shapes from one table: a command's page, the overview, triveni(1) for scdoc, and a bash completion. */
#include "tools/cli.h"

#include "store/core/err.h"

#include <string.h>

static const char *const exit_texts[] = {
    "done",
    "failed: the message says why",
    "wrong usage or configuration; nothing was done",
    "there is no such record, restore point or object",
    "no site could be reached, or none answered in time",
    "a condition did not hold; nothing was changed",
    "sites answered, none of them is primary",
    "stored data is damaged or does not prove true",
    "the certificate or its role does not permit it",
    "the outcome is unknown: ask 'triveni outcome' before doing it again",
};

static const char *table_title(const struct option *t)
{
    return t == connection_options ? "Connection (flag over environment over profile)"
           : t == output_options   ? "Output"
                                   : NULL;
}

static void option_left(const struct option *o, char *out, size_t room)
{
    int n = o->letter != 0 ? snprintf(out, room, "-%c, --%s", o->letter, o->name)
                           : snprintf(out, room, "    --%s", o->name);
    if (o->value != NULL && n > 0 && (size_t)n < room)
        (void)snprintf(out + n, room - (size_t)n, " %s", o->value);
}

static void print_options(FILE *f, const struct command *c)
{
    const char *last = "";
    for (size_t t = 0; c->tables[t] != NULL; t++) {
        const char *title = table_title(c->tables[t]);
        if (title == NULL)
            title = "Options";
        if (strcmp(title, last) != 0)
            (void)fprintf(f, "\n%s:\n", title);
        last = title;
        for (const struct option *o = c->tables[t]; o->name != NULL; o++) {
            char left[64];
            option_left(o, left, sizeof left);
            (void)fprintf(f, "  %-30s %s%s%s%s\n", left, o->help, o->env != NULL ? " [" : "",
                          o->env != NULL ? o->env : "", o->env != NULL ? "]" : "");
        }
    }
}

static bool exit_listed(const struct command *c, int code)
{
    char digit[2] = {(char)('0' + code), '\0'};
    return code <= 2 || strstr(c->exits, digit) != NULL;
}

void help_command(FILE *f, const struct command *c)
{
    (void)fprintf(f, "triveni %s - %s\n\nUsage: triveni %s%s%s [OPTIONS]\n", c->name, c->purpose,
                  c->name, c->operands[0] != '\0' ? " " : "", c->operands);
    if (c->about != NULL)
        (void)fprintf(f, "\n%s\n", c->about);
    if (c->literal != NULL)
        (void)fputc('\n', f);
    for (const char *line = c->literal; line != NULL && *line != '\0';) {
        size_t n = strcspn(line, "\n");
        (void)fprintf(f, "  %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    print_options(f, c);
    (void)fputs("\nExamples:\n", f);
    for (size_t i = 0; i < EXAMPLES_MAX && c->examples[i].line != NULL; i++)
        (void)fprintf(f, "  # %s\n  %s\n", c->examples[i].what, c->examples[i].line);
    (void)fputs("\nExit codes:\n", f);
    for (int code = 0; code < 10; code++)
        if (exit_listed(c, code))
            (void)fprintf(f, "  %d  %s\n", code, exit_texts[code]);
}

static bool new_group(size_t i)
{
    return i == 0 || strcmp(commands[i]->group, commands[i - 1]->group) != 0;
}

void help_overview(FILE *f)
{
    (void)fputs("triveni - a replicated record store for records that must not be lost\n\n"
                "Usage: triveni COMMAND [OPTIONS]\n",
                f);
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (new_group(i))
            (void)fprintf(f, "\n%s:\n", commands[i]->group);
        (void)fprintf(f, "  %-20s %s\n", commands[i]->name, commands[i]->purpose);
    }
    (void)fputs("\n'triveni help COMMAND' tells more, with examples. New here? 'triveni help "
                "quickstart'.\n",
                f);
}

/* ---- scdoc ---- */

/* scdoc gives a meaning to '_' and '*' around words, '\\' and '#' at the start of a line. */
static void scdoc_text(FILE *f, const char *s)
{
    for (; *s != '\0'; s++) {
        if (strchr("_*\\#<>[]~", *s) != NULL)
            (void)fputc('\\', f);
        (void)fputc(*s, f);
    }
}

/* Paragraphs; runs of lines that begin with two spaces become literal blocks. */
static void scdoc_about(FILE *f, const char *about)
{
    bool literal = false;
    for (const char *line = about; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        bool wants = n >= 2 && line[0] == ' ' && line[1] == ' ';
        if (wants != literal)
            (void)fputs("```\n", f);
        literal = wants;
        if (literal)
            (void)fprintf(f, "%.*s\n", (int)n - 2, line + 2);
        else {
            char text[512];
            (void)snprintf(text, sizeof text, "%.*s", (int)n, line);
            if (text[0] == '-') /* not the start of a list */
                (void)fputc('\\', f);
            scdoc_text(f, text);
            (void)fputc('\n', f);
        }
        line += n + (line[n] == '\n');
    }
    (void)fputs(literal ? "```\n\n" : "\n", f);
}

static void scdoc_options(FILE *f, const struct option *table)
{
    for (const struct option *o = table; o->name != NULL; o++) {
        if (o->letter != 0)
            (void)fprintf(f, "*-%c*, ", o->letter);
        (void)fprintf(f, "*--%s*", o->name);
        if (o->value != NULL) {
            (void)fputc(' ', f);
            scdoc_text(f, o->value);
        }
        (void)fputs("\n\t", f);
        scdoc_text(f, o->help);
        if (o->env != NULL) {
            (void)fputs(" (environment: ", f);
            scdoc_text(f, o->env);
            (void)fputc(')', f);
        }
        (void)fputs("\n\n", f);
    }
}

static void scdoc_command(FILE *f, const struct command *c)
{
    (void)fprintf(f, "## triveni %s ", c->name);
    scdoc_text(f, c->operands);
    (void)fputs("\n\n", f);
    scdoc_text(f, c->purpose);
    (void)fputs(".\n\n", f);
    if (c->about != NULL)
        scdoc_about(f, c->about);
    if (c->literal != NULL)
        (void)fprintf(f, "```\n%s```\n\n", c->literal);
    bool connects = false;
    for (size_t t = 0; c->tables[t] != NULL; t++) {
        if (c->tables[t] == connection_options)
            connects = true;
        else if (c->tables[t] != output_options)
            scdoc_options(f, c->tables[t]);
        else
            (void)fputs("*-o*, *--output* FORMAT\n\ttable or json\n\n", f);
    }
    if (connects)
        (void)fputs("The options under CONNECTION apply.\n\n", f);
    (void)fputs("```\n", f);
    for (size_t i = 0; i < EXAMPLES_MAX && c->examples[i].line != NULL; i++)
        (void)fprintf(f, "# %s\n%s\n", c->examples[i].what, c->examples[i].line);
    (void)fputs("```\n\n", f);
}

void help_scdoc(FILE *f)
{
    (void)fputs("triveni(1)\n\n# NAME\n\ntriveni - replicated record store for records that must "
                "not be lost\n\n"
                "# SYNOPSIS\n\n*triveni* COMMAND \\[OPTIONS\\]\n\n# DESCRIPTION\n\n"
                "Data goes to standard output, messages go to standard error. With *-o json* the "
                "output is one JSON object, "
                "or one for each line, and stable; tables are for people and may change. Colours "
                "and progress bars appear "
                "on terminals only, and not when NO\\_COLOR is set.\n\n"
                "This page is printed by *triveni help --scdoc*; *triveni help* COMMAND shows one "
                "section.\n\n",
                f);
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (new_group(i)) {
            (void)fputs("# ", f);
            for (const char *p = commands[i]->group; *p != '\0'; p++)
                (void)fputc(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p, f);
            (void)fputs("\n\n", f);
        }
        scdoc_command(f, commands[i]);
    }
    (void)fputs(
        "# CONNECTION\n\nA flag wins over the environment, which wins over the profile.\n\n", f);
    scdoc_options(f, connection_options);
    (void)fputs("# EXIT STATUS\n\n", f);
    for (int code = 0; code < 10; code++)
        (void)fprintf(f, "*%d*\n\t%s\n\n", code, exit_texts[code]);
    (void)fputs("# SEE ALSO\n\n*triveni.yaml*(5)\n", f);
}

/* ---- bash ---- */

void help_bash(FILE *f)
{
    (void)fputs("# bash completion of triveni; printed by 'triveni help --bash'\n_triveni()\n{\n"
                "    local word=${COMP_WORDS[COMP_CWORD]} list\n    case "
                "\"${COMP_WORDS[*]:1:COMP_CWORD-1}\" in\n",
                f);
    /* Two-word names first: the first pattern that fits wins. */
    for (int words = 2; words > 0; words--)
        for (size_t i = 0; commands[i] != NULL; i++) {
            const struct command *c = commands[i];
            if ((strchr(c->name, ' ') != NULL) != (words == 2))
                continue;
            (void)fprintf(f, "    \"%s\"*) list=\"", c->name);
            size_t n = strlen(c->name);
            for (size_t k = 0; words == 1 && commands[k] != NULL; k++)
                if (strncmp(commands[k]->name, c->name, n) == 0 && commands[k]->name[n] == ' ')
                    (void)fprintf(f, "%s ", commands[k]->name + n + 1);
            for (size_t t = 0; c->tables[t] != NULL; t++)
                for (const struct option *o = c->tables[t]; o->name != NULL; o++)
                    (void)fprintf(f, "--%s ", o->name);
            (void)fputs("--help\" ;;\n", f);
        }
    (void)fputs("    *) list=\"", f);
    for (size_t i = 0; commands[i] != NULL; i++)
        (void)fprintf(f, "%s ", commands[i]->name);
    (void)fputs("help\" ;;\n    esac\n    COMPREPLY=($(compgen -W \"$list\" -f -- \"$word\"))\n}\n"
                "complete -F _triveni triveni\n",
                f);
}
