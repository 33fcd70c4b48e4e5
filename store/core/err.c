#include "store/core/err.h"

#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e == NULL)
        return code;
    e->code = code;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return code;
}

/* Put `more` at `at` of the message, as much of it as fits; returns where it ends. */
static size_t put(struct err *e, size_t at, const char *more)
{
    size_t n = strlen(more), room = sizeof e->text - 1 - at;
    if (n > room)
        n = room;
    memcpy(e->text + at, more, n);
    e->text[at + n] = '\0';
    return at + n;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (e == NULL)
        return ERR_FAILED;
    char inner[ERR_TEXT_BYTES];
    memcpy(inner, e->text, sizeof inner);
    inner[sizeof inner - 1] = '\0';
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    size_t used = (size_t)n < sizeof e->text ? (size_t)n : sizeof e->text - 1;
    (void)put(e, put(e, used, ": "), inner);
    return e->code;
}

int err_advise(struct err *e, const char *advice)
{
    if (e == NULL)
        return ERR_FAILED;
    e->text[sizeof e->text - 1] = '\0';
    (void)put(e, put(e, strlen(e->text), "; "), advice);
    return e->code;
}

int err_newer(struct err *e, const char *what, unsigned format, unsigned reads)
{
    return err_set(e, ERR_NEWER,
                   "%s was written by a newer triveni (format %u, this one reads %u): use that "
                   "version. Nothing was changed",
                   what, format, reads);
}

const char *err_name(int code)
{
    switch (code) {
    case 0:
        return "ok";
#define X(c, value, name, exit)                                                                    \
    case c:                                                                                        \
        return name;
        ERR_TABLE(X)
#undef X
    default:
        return "failed";
    }
}

int err_exit_code(int code)
{
    switch (code) {
    case 0:
        return 0;
#define X(c, value, name, exit)                                                                    \
    case c:                                                                                        \
        return exit;
        ERR_TABLE(X)
#undef X
    default:
        return 1;
    }
}
