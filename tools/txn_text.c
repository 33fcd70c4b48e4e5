/* A transaction from text. Both forms end in the same struct step, which is checked in one place; the message gets its line or
 * step put in front by the loop that knows it. JSON values are taken as they stand in the text (tools/json.h). */
#include "tools/txn_text.h"

#include "store/core/body.h"
#include "tools/json.h"
#include "tools/options.h"
#include "tools/text.h"

#include <stdlib.h>
#include <string.h>

struct step {
    char op[16];
    char collection[TVN_COLLECTION_MAX_BYTES + 1];
    struct tvn_bytes key, value;
    bool has_value;
    uint64_t lsn;
    bool has_lsn;
};

static const char *const ops[] = {"put", "del", "if-absent", "if-exists", "if-version"};
enum { OPS = sizeof ops / sizeof ops[0] };

static int find_op(const char *name, size_t *out, struct err *e)
{
    for (*out = 0; *out < OPS; ++*out)
        if (strcmp(ops[*out], name) == 0)
            return 0;
    const char *near = nearest(name, ops, OPS);
    if (near != NULL)
        return err_set(e, ERR_USAGE, "unknown step '%s': did you mean '%s'?", name, near);
    return err_set(e, ERR_USAGE,
                   "unknown step '%s': use put, del, if-absent, if-exists or if-version", name);
}

/* Add one step; the message has no place in front yet. */
static int add_step(struct tvn_txn *txn, const struct step *s, struct err *e)
{
    size_t op;
    int rc = find_op(s->op, &op, e);
    if (rc != 0)
        return rc;
    if ((op == 0) != s->has_value)
        return err_set(e, ERR_USAGE, op == 0 ? "put needs a value" : "%s takes no value", s->op);
    if ((op == 4) != s->has_lsn)
        return err_set(e, ERR_USAGE, op == 4 ? "if-version needs an lsn" : "%s takes no lsn",
                       s->op);
    const struct op checked = {OP_PUT, bytes_str(s->collection), bytes_of(s->key.data, s->key.size),
                               bytes_of(s->value.data, s->value.size)};
    if ((rc = op_check(&checked, false, e)) != 0)
        return rc;
    rc = op == 0   ? tvn_txn_put(txn, s->collection, s->key, s->value)
         : op == 1 ? tvn_txn_del(txn, s->collection, s->key)
         : op == 2 ? tvn_txn_if_absent(txn, s->collection, s->key)
         : op == 3 ? tvn_txn_if_exists(txn, s->collection, s->key)
                   : tvn_txn_if_version(txn, s->collection, s->key, s->lsn);
    return rc == 0 ? 0 : err_set(e, rc, "%s", tvn_strerror(rc));
}

/* ---- lines ---- */

static struct bytes take_word(struct bytes *line)
{
    while (line->n > 0 && (line->p[0] == ' ' || line->p[0] == '\t'))
        *line = bytes_of(line->p + 1, line->n - 1);
    size_t n = 0;
    while (n < line->n && line->p[n] != ' ' && line->p[n] != '\t')
        n++;
    struct bytes word = bytes_of(line->p, n);
    *line = bytes_of(line->p + n, line->n - n);
    return word;
}

static int copy_word(const char *what, struct bytes word, char *out, size_t room, struct err *e)
{
    if (word.n == 0)
        return err_set(e, ERR_USAGE, "%s is missing", what);
    if (word.n >= room || memchr(word.p, 0, word.n) != NULL)
        return err_set(e, ERR_USAGE,
                       "%s '%.*s' has %zu bytes: at most %zu, without NUL, are allowed", what,
                       (int)(word.n < 40 ? word.n : 40), (const char *)word.p, word.n, room - 1);
    memcpy(out, word.p, word.n);
    out[word.n] = '\0';
    return 0;
}

/* A JSON string at the start of the line; moves the line past it. */
static int take_quoted(struct bytes *line, uint8_t *key, struct tvn_bytes *out, struct err *e)
{
    size_t end = 1;
    while (end < line->n && line->p[end] != '"')
        end += line->p[end] == '\\' ? 2 : 1;
    struct bytes quoted = bytes_of(line->p, end < line->n ? end + 1 : line->n);
    long n = json_shape(quoted, NULL) == JSON_SHAPE_STRING && quoted.n <= 6 * TVN_KEY_MAX_BYTES
                 ? json_unescape(quoted, key)
                 : -1;
    if (n < 0)
        return err_set(e, ERR_USAGE, "the quoted key is not a JSON string");
    *out = tvn_view(key, (size_t)n);
    *line = bytes_of(line->p + quoted.n, line->n - quoted.n);
    return 0;
}

static int parse_line(struct bytes line, struct tvn_txn *txn, struct err *e)
{
    uint8_t key[6 * TVN_KEY_MAX_BYTES + 2];
    char lsn[24];
    struct step s = {.has_value = false};
    size_t op;
    int rc = copy_word("the step", take_word(&line), s.op, sizeof s.op, e);
    if (rc == 0)
        rc = find_op(s.op, &op, e);
    if (rc == 0)
        rc = copy_word("the collection", take_word(&line), s.collection, sizeof s.collection, e);
    if (rc != 0)
        return rc;
    while (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
        line = bytes_of(line.p + 1, line.n - 1);
    if (line.n > 0 && line.p[0] == '"') {
        if ((rc = take_quoted(&line, key, &s.key, e)) != 0)
            return rc;
    } else {
        struct bytes word = take_word(&line);
        s.key = tvn_view(word.p, word.n);
    }
    if (s.key.size == 0)
        return err_set(e, ERR_USAGE, "the key is missing");
    if (strcmp(s.op, "put") == 0) {
        s.has_value =
            line.n > 0; /* one space or tab divides; the rest is the value, byte for byte */
        s.value = s.has_value ? tvn_view(line.p + 1, line.n - 1) : s.value;
        return add_step(txn, &s, e);
    }
    if (strcmp(s.op, "if-version") == 0) {
        rc = copy_word("the lsn", take_word(&line), lsn, sizeof lsn, e);
        if (rc == 0)
            rc = parse_number("the lsn", lsn, UINT64_MAX, &s.lsn, e);
        if (rc != 0)
            return rc;
        s.has_lsn = true;
    }
    if (take_word(&line).n > 0)
        return err_set(e, ERR_USAGE,
                       "there is more in the line than '%s' takes; quote a key that has spaces",
                       s.op);
    return add_step(txn, &s, e);
}

static int parse_lines(const char *file, struct bytes text, struct tvn_txn *txn, size_t *steps,
                       struct err *e)
{
    size_t number = 0;
    for (size_t at = 0; at < text.n;) {
        const uint8_t *end = memchr(text.p + at, '\n', text.n - at);
        size_t n = end != NULL ? (size_t)(end - (text.p + at)) : text.n - at;
        struct bytes line = bytes_of(text.p + at, n);
        at += n + 1;
        number++;
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n == 0 || line.p[0] == '#')
            continue;
        int rc = parse_line(line, txn, e);
        if (rc != 0) {
            (void)err_wrap(e, "%s:%zu", file, number);
            return rc;
        }
        ++*steps;
    }
    return 0;
}

/* ---- JSON ---- */

static int json_word(struct bytes object, const char *name, char *out, size_t room, struct err *e)
{
    struct bytes v;
    if (!json_member(object, name, &v))
        return err_set(e, ERR_USAGE, "member \"%s\" is missing", name);
    if (v.p[0] != '"' || v.n > 2 * room)
        return err_set(e, ERR_USAGE, "member \"%s\" must be a string of at most %zu bytes", name,
                       room - 1);
    uint8_t plain[256];
    long n = v.n <= sizeof plain ? json_unescape(v, plain) : -1;
    if (n < 0)
        return err_set(e, ERR_USAGE, "member \"%s\" is not well formed", name);
    return copy_word(name, bytes_of(plain, (size_t)n), out, room, e);
}

/* Parse into scratch, which has room for the whole step. */
static int parse_object(struct bytes object, uint8_t *scratch, struct tvn_txn *txn, struct err *e)
{
    struct step s = {.has_value = false};
    struct bytes v;
    int rc = json_word(object, "op", s.op, sizeof s.op, e);
    if (rc == 0)
        rc = json_word(object, "collection", s.collection, sizeof s.collection, e);
    if (rc != 0)
        return rc;
    if (!json_member(object, "key", &v))
        return err_set(e, ERR_USAGE, "member \"key\" is missing");
    long n = v.p[0] == '"' || v.p[0] == '{' ? json_take_value(v, scratch) : -1;
    if (n < 0)
        return err_set(e, ERR_USAGE, "member \"key\" must be a string or {\"base64\": \"...\"}");
    s.key = tvn_view(scratch, (size_t)n);
    if (json_member(object, "value", &v)) {
        long length = json_take_value(v, scratch + n);
        if (length < 0)
            return err_set(e, ERR_USAGE, "member \"value\" is not well formed");
        s.value = tvn_view(scratch + n, (size_t)length);
        s.has_value = true;
    }
    if (json_member(object, "lsn", &v)) {
        char digits[24];
        rc = copy_word("the lsn", v, digits, sizeof digits, e);
        if (rc == 0)
            rc = parse_number("the lsn", digits, UINT64_MAX, &s.lsn, e);
        if (rc != 0)
            return rc;
        s.has_lsn = true;
    }
    return add_step(txn, &s, e);
}

static int parse_json(const char *file, struct bytes text, struct tvn_txn *txn, size_t *steps,
                      struct err *e)
{
    size_t bad_at = 0;
    if (json_shape(text, &bad_at) != JSON_SHAPE_ARRAY) {
        size_t line = 1;
        size_t start = 0;
        for (size_t i = 0; i < bad_at && i < text.n; i++)
            if (text.p[i] == '\n') {
                line++;
                start = i + 1;
            }
        return err_set(e, ERR_USAGE, "%s:%zu:%zu: not JSON", file, line, bad_at - start + 1);
    }
    uint8_t *scratch = malloc(text.n + 1);
    if (scratch == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    struct bytes name;
    struct bytes object;
    int rc = 0;
    for (size_t at = 0; rc == 0 && json_next(text, &at, &name, &object);) {
        ++*steps;
        rc = object.p[0] == '{' ? parse_object(object, scratch, txn, e)
                                : err_set(e, ERR_USAGE, "must be an object");
        if (rc != 0)
            (void)err_wrap(e, "%s: step %zu", file, *steps);
    }
    free(scratch);
    return rc;
}

int txn_text_parse(const char *file, struct bytes text, struct tvn_txn *txn, size_t *steps,
                   struct err *e)
{
    const char *name = strcmp(file, "-") == 0 ? "standard input" : file;
    *steps = 0;
    size_t first = 0;
    while (first < text.n && (text.p[first] == ' ' || text.p[first] == '\n' ||
                              text.p[first] == '\t' || text.p[first] == '\r'))
        first++;
    bool json = first < text.n && text.p[first] == '[';
    int rc = json ? parse_json(name, text, txn, steps, e) : parse_lines(name, text, txn, steps, e);
    if (rc == 0 && *steps == 0)
        return err_set(e, ERR_USAGE, "%s holds no steps", name);
    return rc;
}
