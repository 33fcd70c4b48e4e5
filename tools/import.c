/* Lines into records.
 *
 * JSON Lines: the value is the line itself, byte for byte, so that nothing is lost to a parser. TSV: columns are what
 * tabs divide, without escapes, as PostgreSQL's and most tools' "text" TSV without special characters; a file with escapes or
 * quoting is better converted to JSON Lines. Dump: what `triveni dump` writes. */
#include "tools/import.h"

#include "store/core/body.h"
#include "tools/json.h"
#include "tools/options.h"
#include "tools/text.h"

#include <stdlib.h>
#include <string.h>

static int grow(struct import *im, size_t n, struct err *e)
{
    if (n <= im->scratch_bytes)
        return 0;
    uint8_t *larger = realloc(im->scratch, n);
    if (larger == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a line of %zu bytes", n);
    im->scratch = larger;
    im->scratch_bytes = n;
    return 0;
}

/* "3" -> 2; a name only with a header, which is read later. */
static int column_number(const struct import *im, const char *option, const char *text, size_t *out,
                         struct err *e)
{
    uint64_t v = 0;
    *out = SIZE_MAX;
    if (parse_number(option, text, IMPORT_COLUMNS_MAX, &v, NULL) == 0) {
        if (v == 0)
            return err_set(e, ERR_USAGE, "%s: columns are counted from 1", option);
        *out = (size_t)v - 1;
        return 0;
    }
    if (!im->header)
        return err_set(
            e, ERR_USAGE,
            "%s '%.60s' is not a column number from 1 to %d; with --header columns can be named",
            option, text, IMPORT_COLUMNS_MAX);
    return 0;
}

int import_begin(struct import *im, struct err *e)
{
    im->key_column = 0;
    im->value_column = im->header ? SIZE_MAX : 1;
    if (im->format == IMPORT_DUMP && (im->key != NULL || im->value != NULL || im->header))
        return err_set(
            e, ERR_USAGE,
            "--key, --value and --header do not go with --format dump: its lines say it all");
    if (im->format == IMPORT_JSONL && im->header)
        return err_set(e, ERR_USAGE, "--header goes with --format tsv");
    if (im->format == IMPORT_JSONL && im->key == NULL)
        return err_set(
            e, ERR_USAGE,
            "--key is needed: the member (id) or JSON pointer (/person/id) that holds the key");
    if (im->format != IMPORT_TSV)
        return 0;
    int rc = im->key == NULL ? 0 : column_number(im, "--key", im->key, &im->key_column, e);
    if (rc == 0 && im->value != NULL)
        rc = column_number(im, "--value", im->value, &im->value_column, e);
    return rc;
}

void import_end(struct import *im)
{
    free(im->header_text);
    free(im->scratch);
    im->header_text = NULL;
    im->scratch = NULL;
}

static int bad(size_t *column, size_t at, struct err *e, const char *what)
{
    *column = at + 1;
    return err_set(e, ERR_FORMAT, "%s", what);
}

static int check_key(struct bytes key, size_t at, size_t *column, struct err *e)
{
    if (key.n >= 1 && key.n <= KEY_MAX_BYTES)
        return 0;
    *column = at + 1;
    return err_set(e, ERR_FORMAT, "the key has %zu bytes: 1 to %d are allowed", key.n,
                   KEY_MAX_BYTES);
}

static int check_value(struct bytes value, size_t at, size_t *column, struct err *e)
{
    if (value.n <= VALUE_MAX_BYTES)
        return 0;
    *column = at + 1;
    return err_set(e, ERR_FORMAT, "the value has %zu bytes: at most %d are allowed", value.n,
                   VALUE_MAX_BYTES);
}

/* ---- JSON Lines ---- */

static bool select_json(struct bytes line, const char *which, struct bytes *out)
{
    return which[0] == '/' ? json_pointer(line, which, out) : json_member(line, which, out);
}

static int whole_json(struct bytes line, size_t *column, struct err *e)
{
    size_t at = 0;
    enum json_shape shape = json_shape(line, &at);
    if (shape == JSON_SHAPE_NONE && at >= line.n)
        return bad(column, at, e, "not JSON: the line ends too early");
    if (shape == JSON_SHAPE_NONE && utf8_length(bytes_of(line.p + at, line.n - at)) == 0)
        return bad(column, at, e, "not JSON: a byte that is not UTF-8");
    if (shape == JSON_SHAPE_NONE)
        return bad(column, at, e, "not JSON");
    return shape == JSON_SHAPE_OBJECT ? 0 : bad(column, 0, e, "not a JSON object");
}

static int jsonl_line(struct import *im, struct bytes line, struct imported *out, size_t *column,
                      struct err *e)
{
    struct bytes v;
    int rc = whole_json(line, column, e);
    if (rc == 0)
        rc = grow(im, 2 * line.n, e);
    if (rc != 0)
        return rc;
    if (!select_json(line, im->key, &v)) {
        *column = 1;
        return err_set(e, ERR_FORMAT, "there is no '%.60s' to take the key from", im->key);
    }
    size_t at = (size_t)(v.p - line.p);
    if (v.p[0] == '"') {
        long n = json_unescape(v, im->scratch);
        if (n < 0)
            return bad(column, at, e, "the key holds half of a surrogate pair");
        out->key = bytes_of(im->scratch, (size_t)n);
    } else if (v.p[0] == '-' || (v.p[0] >= '0' && v.p[0] <= '9')) {
        out->key = v;
    } else {
        return bad(column, at, e, "the key is neither a string nor a number");
    }
    if ((rc = check_key(out->key, at, column, e)) != 0)
        return rc;
    out->value = line;
    at = 0;
    if (im->value != NULL) {
        if (!select_json(line, im->value, &v)) {
            *column = 1;
            return err_set(e, ERR_FORMAT, "there is no '%.60s' to take the value from", im->value);
        }
        at = (size_t)(v.p - line.p);
        long n = json_take_value(v, im->scratch + line.n);
        if (n < 0)
            return bad(column, at, e, "the value is not well formed");
        out->value = bytes_of(im->scratch + line.n, (size_t)n);
    }
    rc = check_value(out->value, at, column, e);
    return rc != 0 ? rc : 1;
}

static int dump_line(struct import *im, struct bytes line, struct imported *out, size_t *column,
                     struct err *e)
{
    static const char *const names[] = {"collection", "key", "value"};
    struct bytes *const to[] = {&out->collection, &out->key, &out->value};
    int rc = whole_json(line, column, e);
    if (rc == 0)
        rc = grow(im, line.n, e);
    size_t used = 0;
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        struct bytes v;
        *column = 1;
        if (!json_member(line, names[i], &v))
            return err_set(e, ERR_FORMAT, "member \"%s\" is missing: is this a dump?", names[i]);
        size_t at = (size_t)(v.p - line.p);
        bool text = v.p[0] == '"' || (i > 0 && v.p[0] == '{');
        long n = i == 2 || text ? json_take_value(v, im->scratch + used) : -1;
        if (n < 0)
            return bad(column, at, e, "not what a dump holds there");
        *to[i] = bytes_of(im->scratch + used, (size_t)n);
        used += (size_t)n;
        rc = i == 1   ? check_key(*to[i], at, column, e)
             : i == 2 ? check_value(*to[i], at, column, e)
                      : 0;
    }
    if (rc != 0)
        return rc;
    const struct op op = {OP_PUT, out->collection, out->key, out->value};
    struct err why = ERR_NONE;
    return op_check(&op, false, &why) == 0 ? 1 : bad(column, 0, e, why.text);
}

/* ---- TSV ---- */

/* Column `index` of the line, and where it begins; false when there are fewer. */
static bool column_of(struct bytes line, size_t index, struct bytes *out)
{
    size_t from = 0;
    for (size_t i = 0;; i++) {
        const uint8_t *tab = line.n > from ? memchr(line.p + from, '\t', line.n - from) : NULL;
        size_t to = tab != NULL ? (size_t)(tab - line.p) : line.n;
        if (i == index) {
            *out = bytes_of(line.p + from, to - from);
            return true;
        }
        if (tab == NULL)
            return false;
        from = to + 1;
    }
}

static int named_column(const struct import *im, const char *option, const char *name, size_t *out,
                        struct err *e)
{
    if (name == NULL || *out != SIZE_MAX)
        return 0;
    struct bytes header = bytes_of(im->header_text, im->header_bytes);
    struct bytes column;
    for (size_t i = 0; column_of(header, i, &column); i++)
        if (bytes_equal(column, bytes_str(name))) {
            *out = i;
            return 0;
        }
    return err_set(e, ERR_USAGE, "%s: the header has no column '%.60s'", option, name);
}

static int take_header(struct import *im, struct bytes line, size_t *column, struct err *e)
{
    size_t at = 0;
    *column = 1;
    if (!utf8_valid(line, &at))
        return bad(column, at, e, "the header is not UTF-8");
    im->header_text = malloc(line.n + 1);
    if (im->header_text == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    memcpy(im->header_text, line.p, line.n);
    im->header_bytes = line.n;
    im->columns = 1;
    for (size_t i = 0; i < line.n; i++)
        im->columns += line.p[i] == '\t';
    if (im->columns > IMPORT_COLUMNS_MAX)
        return err_set(e, ERR_USAGE, "the header has %zu columns: at most %d are allowed",
                       im->columns, IMPORT_COLUMNS_MAX);
    if (im->key != NULL && parse_number("", im->key, IMPORT_COLUMNS_MAX, &(uint64_t){0}, NULL) != 0)
        im->key_column = SIZE_MAX;
    int rc = named_column(im, "--key", im->key, &im->key_column, e);
    return rc != 0 ? rc : named_column(im, "--value", im->value, &im->value_column, e);
}

/* {"name":"text",...} of all columns, into scratch. */
static int tsv_object(struct import *im, struct bytes line, struct bytes *out, size_t *column,
                      struct err *e)
{
    size_t bad_at = 0;
    if (!utf8_valid(line, &bad_at))
        return bad(column, bad_at, e,
                   "not UTF-8, which JSON needs; name one column with --value to take its bytes");
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    struct bytes header = bytes_of(im->header_text, im->header_bytes);
    for (size_t i = 0; i < im->columns; i++) {
        struct bytes name = {NULL, 0};
        struct bytes cell = {NULL, 0};
        (void)column_of(header, i, &name);
        (void)column_of(line, i, &cell);
        (void)fputc(i == 0 ? '{' : ',', f);
        json_put_string(f, name);
        (void)fputc(':', f);
        json_put_string(f, cell);
    }
    (void)fputc('}', f);
    bool failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed) {
        free(text);
        return err_set(e, ERR_NO_MEMORY, "no memory");
    }
    free(im->scratch);
    im->scratch = (uint8_t *)text;
    im->scratch_bytes = n;
    *out = bytes_of(text, n);
    return 0;
}

static int tsv_line(struct import *im, struct bytes line, struct imported *out, size_t *column,
                    struct err *e)
{
    if (im->header && im->columns == 0)
        return take_header(im, line, column, e);
    size_t count = 1;
    for (size_t i = 0; i < line.n; i++)
        count += line.p[i] == '\t';
    *column = line.n + 1;
    if (im->columns != 0 && count != im->columns)
        return err_set(e, ERR_FORMAT, "%zu columns, the header has %zu", count, im->columns);
    if (!column_of(line, im->key_column, &out->key))
        return err_set(e, ERR_FORMAT, "%zu columns: there is no column %zu to take the key from",
                       count, im->key_column + 1);
    int rc = check_key(out->key, (size_t)(out->key.p - line.p), column, e);
    if (rc != 0)
        return rc;
    if (im->value_column == SIZE_MAX)
        rc = tsv_object(im, line, &out->value, column, e);
    else if (!column_of(line, im->value_column, &out->value))
        return err_set(e, ERR_FORMAT, "%zu columns: there is no column %zu to take the value from",
                       count, im->value_column + 1);
    if (rc == 0)
        rc = check_value(out->value, 0, column, e);
    return rc != 0 ? rc : 1;
}

int import_line(struct import *im, struct bytes line, struct imported *out, size_t *column,
                struct err *e)
{
    *out = (struct imported){{NULL, 0}, {NULL, 0}, {NULL, 0}};
    *column = 1;
    size_t i = 0;
    while (i < line.n && (line.p[i] == ' ' || line.p[i] == '\t'))
        i++;
    if (line.n == 0 || (i == line.n && im->format != IMPORT_TSV))
        return 0;
    if (im->format == IMPORT_JSONL)
        return jsonl_line(im, line, out, column, e);
    return im->format == IMPORT_DUMP ? dump_line(im, line, out, column, e)
                                     : tsv_line(im, line, out, column, e);
}
