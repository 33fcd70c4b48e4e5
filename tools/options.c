/* The option parser and the suggestion of what may have been meant; see options.h.
 *
 * getopt_long is not used because it keeps global state, prints by itself, accepts abbreviations (an abbreviation
 * in a script becomes ambiguous with the next release) and cannot suggest. */
#include "tools/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BEGINNING_MIN = 3, CANDIDATES_MAX = 128, WORD_MAX = 48 };

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment distance; words longer than WORD_MAX are never near. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a);
    size_t m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX)
        return SIZE_MAX;
    size_t d[3][WORD_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = d[i % 3];
        const size_t *last = d[(i + 2) % 3];
        const size_t *before = d[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = last[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min3(last[j] + 1, row[j - 1] + 1, change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
    }
    return d[n % 3][m];
}

const char *nearest(const char *text, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t least = strlen(text) / 3 > 1 ? strlen(text) / 3 : 1;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(text, candidates[i]);
        if (d < least || (d == least && best == NULL)) {
            least = d;
            best = candidates[i];
        }
    }
    return best;
}

int parse_number(const char *what, const char *text, uint64_t max, uint64_t *out, struct err *e)
{
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return err_set(e, ERR_USAGE, "%s '%.40s' is too large: at most %llu", what, text,
                           (unsigned long long)max);
        v = v * 10 + digit;
    }
    if (p == text || *p != '\0')
        return err_set(e, ERR_USAGE, "%s '%.40s' is not a whole number", what, text);
    if (v > max)
        return err_set(e, ERR_USAGE, "%s %llu is too large: at most %llu", what,
                       (unsigned long long)v, (unsigned long long)max);
    *out = v;
    return 0;
}

int parse_duration(const char *what, const char *text, uint64_t *ms, struct err *e)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 1000}};
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 9)
        return err_set(e, ERR_USAGE, "%s '%.40s' is not a duration: write 500ms, 5s, 2m or 1h",
                       what, text);
    uint64_t v = 0;
    for (size_t i = 0; i < digits; i++)
        v = v * 10 + (uint64_t)(text[i] - '0');
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(text + digits, units[i].unit) == 0) {
            *ms = v * units[i].ms;
            return 0;
        }
    return err_set(e, ERR_USAGE, "%s '%.40s' has unit '%.8s': use ms, s, m or h", what, text,
                   text + digits);
}

/* ---- tables ---- */

static const struct option *find(const struct option *const *tables, const char *name, size_t n,
                                 char letter)
{
    for (size_t t = 0; tables[t] != NULL; t++)
        for (const struct option *o = tables[t]; o->name != NULL; o++)
            if (letter != 0 ? o->letter == letter
                            : strlen(o->name) == n && memcmp(o->name, name, n) == 0)
                return o;
    return NULL;
}

static int unknown(const struct option *const *tables, const char *name, size_t n, struct err *e)
{
    const char *known[CANDIDATES_MAX] = {NULL};
    size_t count = 0;
    for (size_t t = 0; tables[t] != NULL; t++)
        for (const struct option *o = tables[t]; o->name != NULL && count < CANDIDATES_MAX; o++)
            known[count++] = o->name;
    char word[WORD_MAX + 1] = {0};
    memcpy(word, name, n < WORD_MAX ? n : WORD_MAX);
    const char *near = nearest(word, known, count);
    /* Left unfinished, it may be far from the whole. */
    for (size_t i = 0; i < count && near == NULL && strlen(word) >= BEGINNING_MIN; i++)
        if (strncmp(known[i], word, strlen(word)) == 0)
            near = known[i];
    if (near != NULL)
        return err_set(e, ERR_USAGE, "unknown option '--%s': did you mean '--%s'?", word, near);
    return err_set(e, ERR_USAGE, "unknown option '--%s'", word);
}

static int store(const struct option *o, void *into, const char *shown, const char *value,
                 struct err *e)
{
    char *at = (char *)into + o->at;
    struct option_number number = {true, 0};
    int rc = 0;
    switch (o->kind) {
    case OPTION_FLAG: {
        bool on = true;
        memcpy(at, &on, sizeof on);
        return 0;
    }
    case OPTION_TEXT:
        memcpy(at, &value, sizeof value);
        return 0;
    case OPTION_LIST: {
        struct option_list *list = (struct option_list *)(void *)at;
        if (list->count == OPTION_LIST_MAX)
            return err_set(e, ERR_USAGE, "%s is given more than %d times", shown, OPTION_LIST_MAX);
        list->v[list->count++] = value;
        return 0;
    }
    case OPTION_NUMBER:
        rc = parse_number(shown, value, UINT64_MAX, &number.v, e);
        break;
    case OPTION_DURATION:
        rc = parse_duration(shown, value, &number.v, e);
        break;
    }
    if (rc == 0)
        memcpy(at, &number, sizeof number);
    return rc;
}

static int from_environment(const struct option *const *tables, void *into, struct err *e)
{
    for (size_t t = 0; tables[t] != NULL; t++)
        for (const struct option *o = tables[t]; o->name != NULL; o++) {
            const char *value = o->env != NULL ? getenv(o->env) : NULL;
            if (value == NULL || value[0] == '\0')
                continue;
            int rc = store(o, into, o->env, value, e);
            if (rc != 0)
                return rc;
        }
    return 0;
}

/* One option at argv[*i]; moves *i over a value that is an argument of its own. */
static int parse_one(const struct option *const *tables, void *into, int argc, char **argv, int *i,
                     struct err *e)
{
    const char *arg = argv[*i];
    const struct option *o;
    const char *value = NULL;
    char shown[WORD_MAX + 4];
    if (arg[1] == '-') {
        size_t n = strcspn(arg + 2, "=");
        o = find(tables, arg + 2, n, 0);
        if (o == NULL)
            return unknown(tables, arg + 2, n, e);
        if (arg[2 + n] == '=')
            value = arg + 3 + n;
        (void)snprintf(shown, sizeof shown, "--%s", o->name);
    } else {
        o = find(tables, "", 0, arg[1]);
        if (o == NULL)
            return err_set(e, ERR_USAGE, "unknown option '-%c'", arg[1]);
        if (arg[2] != '\0')
            value = arg + 2;
        (void)snprintf(shown, sizeof shown, "-%c", o->letter);
    }
    if (o->kind == OPTION_FLAG && value != NULL)
        return err_set(e, ERR_USAGE, "%s takes no value, got '%.40s'", shown, value);
    if (o->kind != OPTION_FLAG && value == NULL) {
        if (*i + 1 >= argc)
            return err_set(e, ERR_USAGE, "%s needs a value: %s %s", shown, shown, o->value);
        value = argv[++*i];
    }
    return store(o, into, shown, value, e);
}

int options_parse(const struct option *const *tables, void *into, int argc, char **argv,
                  int *operands, bool *help, struct err *e)
{
    *operands = 0;
    *help = false;
    int rc = from_environment(tables, into, e);
    bool ended = false;
    for (int i = 0; i < argc && rc == 0; i++) {
        char *arg = argv[i];
        if (!ended && (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0)) {
            *help = true;
            return 0;
        }
        if (!ended && strcmp(arg, "--") == 0)
            ended = true;
        else if (ended || arg[0] != '-' || arg[1] == '\0')
            argv[(*operands)++] = arg;
        else
            rc = parse_one(tables, into, argc, argv, &i, e);
    }
    return rc;
}
