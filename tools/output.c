#include "tools/output.h"

#include "tools/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAY_BYTES = 8192 }; /* an error and some paths */

int output_format_parse(const char *text, enum output_format *out, struct err *e)
{
    if (text == NULL || strcmp(text, "table") == 0)
        *out = OUTPUT_TABLE;
    else if (strcmp(text, "json") == 0)
        *out = OUTPUT_JSON;
    else
        return err_set(e, ERR_USAGE, "output format '%.40s' is unknown: use table or json", text);
    return 0;
}

bool output_colour(FILE *f)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return (no == NULL || no[0] == '\0') && (term == NULL || strcmp(term, "dumb") != 0) &&
           isatty(fileno(f)) == 1;
}

const char *style_on(enum style s)
{
    static const char *const on[] = {"", "\033[32m", "\033[33m", "\033[31m", "\033[2m", "\033[1m"};
    return on[s];
}

const char *style_off(void)
{
    return "\033[0m";
}

void say(const char *fmt, ...)
{
    char text[SAY_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)fputs("triveni: ", stderr);
    output_text(stderr, n < 0 ? bytes_str("") : bytes_str(text), 0);
    (void)fputc('\n', stderr);
}

void output_json(json_t *value)
{
    (void)json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    (void)putchar('\n');
    json_decref(value);
}

void output_text(FILE *f, struct bytes b, size_t columns)
{
    size_t shown = 0;
    for (size_t i = 0; i < b.n; shown++) {
        if (columns != 0 && shown == columns) {
            (void)fputs("...", f);
            return;
        }
        size_t n = utf8_length(bytes_of(b.p + i, b.n - i));
        bool control =
            n == 0 || b.p[i] < 0x20 || b.p[i] == 0x7f || (b.p[i] == 0xc2 && b.p[i + 1] < 0xa0);
        if (n == 0)
            n = 1;
        for (size_t k = 0; k < n; k++)
            if (control)
                (void)fprintf(f, "\\x%02x", b.p[i + k]);
            else
                (void)fputc(b.p[i + k], f);
        i += n;
    }
}

int output_finish(struct err *e)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_set(e, ERR_IO, "standard output: %s: what was printed is not complete",
                       errno != 0 ? strerror(errno) : "write failed");
    return 0;
}

bool confirm(const char *question)
{
    if (isatty(STDIN_FILENO) != 1)
        return false;
    (void)fprintf(stderr, "%s Type 'yes' to go on: ", question);
    char answer[8] = {0};
    return fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0;
}
