#include "tools/changes.h"

#include "store/core/hex.h"
#include "store/core/text.h"
#include "store/io/file.h"
#include "tools/json.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A control character takes six bytes in JSON. */
enum { LINE_MAX_BYTES = 6 * (VALUE_MAX_BYTES + KEY_MAX_BYTES) + 4096, SUM_STEP_BYTES = 64 << 10 };

static const char *const names[] = {"", "create", "replace", "delete"};

const char *change_name(enum change_kind kind)
{
    return names[kind];
}

/* ---- making ---- */

int changes_begin(struct changes_writer *w, FILE *f, struct err *e)
{
    *w = (struct changes_writer){.f = f, .sum = EVP_MD_CTX_new()};
    if (w->sum != NULL && EVP_DigestInit_ex(w->sum, EVP_sha256(), NULL) == 1)
        return 0;
    changes_abandon(w);
    return err_set(e, ERR_NO_MEMORY, "no memory");
}

static void put_version(FILE *f, const char *name, struct change_version v)
{
    (void)fprintf(f, ",\"%s\":{\"lsn\":%llu,\"time\":%llu}", name, (unsigned long long)v.lsn,
                  (unsigned long long)v.time_us);
}

int changes_add(struct changes_writer *w, const struct change *c, struct err *e)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    (void)fprintf(f, "{\"change\":\"%s\",\"collection\":", names[c->kind]);
    json_put_text(f, c->collection);
    (void)fputs(",\"key\":", f);
    json_put_text(f, c->key);
    if (c->kind != CHANGE_CREATE)
        put_version(f, "now", c->now);
    if (c->kind != CHANGE_DELETE) {
        put_version(f, "then", c->then);
        (void)fputs(",\"value\":", f);
        json_put_text(f, c->value);
    }
    (void)fputs("}\n", f);
    int rc = fclose(f) != 0 || EVP_DigestUpdate(w->sum, text, n) != 1
                 ? err_set(e, ERR_NO_MEMORY, "no memory")
                 : 0;
    if (rc == 0 && w->f != NULL && fwrite(text, 1, n, w->f) != n)
        rc = err_set(e, ERR_IO, "the list of changes cannot be written: %s", strerror(errno));
    w->count[c->kind] += rc == 0;
    free(text);
    return rc;
}

static int end_sum(void *sum, char hex[65], struct err *e)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(sum, hash, &n) != 1 || n != 32)
        return err_set(e, ERR_FAILED, "SHA-256 cannot be counted");
    hex_format(hash, n, hex);
    return 0;
}

int changes_end(struct changes_writer *w, char hex[65], struct err *e)
{
    int rc = end_sum(w->sum, hex, e);
    if (rc == 0 && w->f != NULL && fflush(w->f) != 0)
        rc = err_set(e, ERR_IO, "the list of changes cannot be written: %s", strerror(errno));
    changes_abandon(w);
    return rc;
}

void changes_abandon(struct changes_writer *w)
{
    EVP_MD_CTX_free(w->sum);
    w->sum = NULL;
}

/* ---- reading ---- */

int changes_check(const char *path, const char *hex, struct err *e)
{
    char found[65] = "";
    uint8_t *chunk = malloc(SUM_STEP_BYTES);
    EVP_MD_CTX *sum = EVP_MD_CTX_new();
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t got = SUM_STEP_BYTES;
    int rc = fd < 0 ? file_error(e, path, "be opened", errno) : 0;
    if (rc == 0 &&
        (chunk == NULL || sum == NULL || EVP_DigestInit_ex(sum, EVP_sha256(), NULL) != 1))
        rc = err_set(e, ERR_NO_MEMORY, "no memory");
    for (uint64_t at = 0; rc == 0 && got == SUM_STEP_BYTES; at += got) {
        rc = file_read_at(fd, path, chunk, SUM_STEP_BYTES, at, &got, e);
        if (rc == 0 && EVP_DigestUpdate(sum, chunk, got) != 1)
            rc = err_set(e, ERR_FAILED, "SHA-256 cannot be counted");
    }
    if (rc == 0)
        rc = end_sum(sum, found, e);
    if (rc == 0 && strcmp(found, hex) != 0)
        rc = err_set(e, ERR_INTEGRITY,
                     "%s is not the list that was signed: its SHA-256 is %s, the warrant says %s",
                     path, found, hex);
    if (fd >= 0)
        (void)close(fd);
    EVP_MD_CTX_free(sum);
    free(chunk);
    return rc;
}

int changes_open(struct changes_reader *r, const char *path, struct err *e)
{
    return lines_open(&r->lines, path, LINE_MAX_BYTES, e);
}

void changes_close(struct changes_reader *r)
{
    lines_close(&r->lines);
}

/* A member as bytes: text, or {"base64": ...}, which is decoded into *decoded. */
static bool take_bytes(const json_t *v, uint8_t **decoded, struct bytes *out)
{
    const json_t *base64 = json_object_get(v, "base64");
    if (json_is_string(v)) {
        *out = bytes_of(json_string_value(v), json_string_length(v));
        return true;
    }
    if (!json_is_string(base64))
        return false;
    const struct bytes text = bytes_of(json_string_value(base64), json_string_length(base64));
    *decoded = malloc(text.n / 4 * 3 + 1);
    const long n = *decoded != NULL ? base64_decode(text, *decoded) : -1;
    *out = bytes_of(*decoded, n > 0 ? (size_t)n : 0);
    return n >= 0;
}

static bool take_version(const json_t *v, bool wanted, struct change_version *out)
{
    const json_int_t lsn = json_integer_value(json_object_get(v, "lsn")),
                     time = json_integer_value(json_object_get(v, "time"));
    *out = (struct change_version){lsn > 0 ? (uint64_t)lsn : 0, time > 0 ? (uint64_t)time : 0};
    return wanted ? lsn > 0 && time > 0 : v == NULL;
}

static bool take_change(const json_t *o, struct change *out)
{
    const char *name = json_string_value(json_object_get(o, "change"));
    const json_t *value = json_object_get(o, "value");
    struct op op;
    for (int kind = CHANGE_CREATE; name != NULL && kind <= CHANGE_DELETE; kind++)
        if (strcmp(name, names[kind]) == 0)
            out->kind = (enum change_kind)kind;
    uint8_t *none = NULL;
    const bool good =
        out->kind != 0 && take_bytes(json_object_get(o, "collection"), &none, &out->collection) &&
        none == NULL && take_bytes(json_object_get(o, "key"), &out->decoded[0], &out->key) &&
        take_version(json_object_get(o, "now"), out->kind != CHANGE_CREATE, &out->now) &&
        take_version(json_object_get(o, "then"), out->kind != CHANGE_DELETE, &out->then) &&
        (out->kind == CHANGE_DELETE ? value == NULL
                                    : take_bytes(value, &out->decoded[1], &out->value));
    free(none);
    op = (struct op){OP_PUT, out->collection, out->key, out->value};
    return good && op_check(&op, false, NULL) == 0;
}

int changes_next(struct changes_reader *r, struct change *out, struct err *e)
{
    struct line line;
    *out = (struct change){.kind = 0};
    int rc = lines_next(&r->lines, &line, e);
    if (rc <= 0)
        return rc;
    out->number = line.number;
    if (!line.too_long)
        out->line = json_loadb((const char *)line.text.p, line.text.n,
                               JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (take_change(out->line, out))
        return 1;
    change_free(out);
    return err_set(e, ERR_FORMAT, "%s:%llu: is no change of records", r->lines.name,
                   (unsigned long long)line.number);
}

void change_free(struct change *c)
{
    json_decref(c->line);
    free(c->decoded[0]);
    free(c->decoded[1]);
    *c = (struct change){.kind = 0};
}
