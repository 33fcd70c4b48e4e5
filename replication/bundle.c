/* Reading divergence bundles.
 *
 * FORMAT (docs/FORMATS.md): JSON Lines. The first line is the header, the last one is {"end":...,"sha256":...} over every byte
 * before it. Between them one line for each operation, and one for each entry that is no transaction.
 *
 * The checksum proves that a file is what the site wrote: not cut short, and not edited by accident. Who can write the file can
 * write another checksum; the sign-off in the audit trail holds the one that was decided about. */
#include "replication/bundle.h"

#include "store/core/hex.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { END_MAX_BYTES = 256, CHUNK_BYTES = 1 << 16 };

bool bundle_matters(const struct bundle *b)
{
    return b->format == 1 || b->operations + b->points + b->modes + b->audits > 0;
}

bool bundle_is_name(const char *name)
{
    size_t n = strlen(name);
    return name[0] != '.' && n > 6 && n < BUNDLE_NAME_BYTES - sizeof BUNDLE_DECIDED &&
           strchr(name, '/') == NULL && strcmp(name + n - 6, ".jsonl") == 0;
}

/* ---- the first line ---- */

static int damaged(const char *path, struct err *e, const char *what)
{
    return err_set(e, ERR_INTEGRITY,
                   "%s: %s: it is not as the site wrote it. Look for a copy; 'triveni divergence "
                   "show' prints what is there",
                   path, what);
}

static bool take_text(const json_t *o, const char *name, char *out, size_t room)
{
    const char *text = json_string_value(json_object_get(o, name));
    if (text == NULL || strlen(text) >= room)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static bool take_number(const json_t *o, const char *name, uint64_t *out)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool take_counts(const json_t *o, struct bundle *b)
{
    const json_t *acknowledged = json_object_get(o, "acknowledged");
    return take_text(o, "id", b->id, sizeof b->id) &&
           take_text(o, "cluster_id", b->cluster, sizeof b->cluster) &&
           take_number(o, "common", &b->common) && take_number(o, "written_us", &b->written_us) &&
           take_number(o, "entries", &b->entries) &&
           take_number(o, "transactions", &b->transactions) &&
           take_number(o, "operations", &b->operations) && take_number(o, "points", &b->points) &&
           take_number(o, "modes", &b->modes) && take_number(o, "audits", &b->audits) &&
           take_number(acknowledged, "yes", &b->yes) &&
           take_number(acknowledged, "possible", &b->possible) &&
           take_number(acknowledged, "no", &b->no);
}

static int parse_head(const char *path, const char *text, size_t n, struct bundle *b, struct err *e)
{
    json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    const char *format = json_string_value(json_object_get(o, "bundle"));
    int rc = 0;
    if (format == NULL)
        rc = damaged(path, e, "it does not begin as a divergence bundle");
    else if (strcmp(format, BUNDLE_FORMAT) == 0)
        b->format = 2;
    else if (strcmp(format, BUNDLE_FORMAT_1) == 0)
        b->format = 1;
    else
        rc = err_set(e, ERR_NEWER, "%s: its format is '%.60s', which this version does not know",
                     path, format);
    if (rc == 0 && (!take_text(o, "site", b->site, sizeof b->site) ||
                    !take_number(o, "term", &b->term) || !take_number(o, "first", &b->first) ||
                    !take_number(o, "last", &b->last) || (b->format == 2 && !take_counts(o, b))))
        rc = damaged(path, e, "its first line is not complete");
    json_decref(o);
    return rc;
}

static int read_head(int fd, const char *path, struct bundle *b, struct err *e)
{
    char text[BUNDLE_HEADER_MAX_BYTES];
    struct stat st;
    ssize_t n = pread(fd, text, sizeof text, 0);
    if (n < 0 || fstat(fd, &st) != 0)
        return file_error(e, path, "read", errno);
    b->bytes = (uint64_t)st.st_size;
    const char *end = memchr(text, '\n', (size_t)n);
    return end == NULL ? damaged(path, e, "it has no first line")
                       : parse_head(path, text, (size_t)(end - text), b, e);
}

static int open_bundle(const char *path, struct bundle *b, int *fd, struct err *e)
{
    memset(b, 0, sizeof *b);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return file_error(e, path, "open", errno);
    int rc = read_head(*fd, path, b, e);
    if (rc != 0) {
        (void)close(*fd);
        *fd = -1;
    }
    return rc;
}

int bundle_head(const char *path, struct bundle *out, struct err *e)
{
    int fd;
    int rc = open_bundle(path, out, &fd, e);
    if (rc == 0)
        (void)close(fd);
    return rc;
}

/* ---- the whole file ---- */

/* Where the last line begins, and the checksum that it names. */
static int read_end(int fd, const char *path, uint64_t size, uint64_t *at, char sha256[65],
                    struct err *e)
{
    char text[END_MAX_BYTES];
    uint64_t from = size > sizeof text ? size - sizeof text : 0;
    ssize_t n = pread(fd, text, sizeof text, (off_t)from);
    if (n < 0)
        return file_error(e, path, "read", errno);
    size_t begin = n > 0 ? (size_t)n - 1 : 0;
    while (begin > 0 && text[begin - 1] != '\n')
        begin--;
    json_t *o = n > 0 && text[n - 1] == '\n'
                    ? json_loadb(text + begin, (size_t)n - begin, JSON_REJECT_DUPLICATES, NULL)
                    : NULL;
    const char *format = json_string_value(json_object_get(o, "end"));
    bool good =
        format != NULL && strcmp(format, BUNDLE_FORMAT) == 0 && take_text(o, "sha256", sha256, 65);
    json_decref(o);
    *at = from + begin;
    return good ? 0 : damaged(path, e, "its end is missing");
}

static int hash_file(int fd, const char *path, uint64_t n, char out[65], struct err *e)
{
    static const size_t bytes = 32;
    uint8_t digest[EVP_MAX_MD_SIZE];
    char *chunk = malloc(CHUNK_BYTES);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    int rc = chunk == NULL || hash == NULL || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1
                 ? err_set(e, ERR_NO_MEMORY, "no memory to check %s", path)
                 : 0;
    for (uint64_t at = 0; rc == 0 && at < n;) {
        size_t want = n - at < CHUNK_BYTES ? (size_t)(n - at) : CHUNK_BYTES;
        ssize_t got = pread(fd, chunk, want, (off_t)at);
        if (got <= 0)
            rc = file_error(e, path, "read", got < 0 ? errno : EIO);
        else
            (void)EVP_DigestUpdate(hash, chunk, (size_t)got);
        at += got > 0 ? (uint64_t)got : 0;
    }
    if (rc == 0 && EVP_DigestFinal_ex(hash, digest, NULL) == 1)
        hex_format(digest, bytes, out);
    EVP_MD_CTX_free(hash);
    free(chunk);
    return rc;
}

int bundle_check(const char *path, struct bundle *out, struct err *e)
{
    int fd;
    char told[65];
    int rc = open_bundle(path, out, &fd, e);
    if (rc != 0)
        return rc;
    uint64_t covered = out->bytes;
    if (out->format > 1)
        rc = read_end(fd, path, out->bytes, &covered, told, e);
    if (rc == 0)
        rc = hash_file(fd, path, covered, out->sha256, e);
    if (rc == 0 && out->format > 1 && strcmp(out->sha256, told) != 0)
        rc = damaged(path, e, "its checksum does not fit what is in it");
    (void)close(fd);
    return rc;
}

/* ---- lines ---- */

int bundle_open(struct bundle_lines *l, const char *path, struct err *e)
{
    *l = (struct bundle_lines){.path = path, .in = fopen(path, "re")};
    if (l->in == NULL)
        return file_error(e, path, "open", errno);
    if (getline(&l->text, &l->capacity, l->in) < 0) {
        bundle_close(l);
        return damaged(path, e, "it has no first line");
    }
    l->number = 1;
    return 0;
}

int bundle_next(struct bundle_lines *l, json_t **out, struct err *e)
{
    errno = 0;
    ssize_t n = getline(&l->text, &l->capacity, l->in);
    if (n < 0)
        return ferror(l->in) || errno == ENOMEM ? file_error(e, l->path, "read", errno) : 0;
    l->number++;
    *out = json_loadb(l->text, (size_t)n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (!json_is_object(*out)) {
        json_decref(*out);
        return err_set(e, ERR_INTEGRITY, "%s:%llu: the line is no JSON object", l->path,
                       (unsigned long long)l->number);
    }
    if (json_object_get(*out, "end") == NULL)
        return 1;
    json_decref(*out);
    return 0;
}

void bundle_close(struct bundle_lines *l)
{
    if (l->in != NULL)
        (void)fclose(l->in);
    free(l->text);
    *l = (struct bundle_lines){0};
}

/* ---- the decision ---- */

static int decided_path(const char *path, char out[BUNDLE_PATH_BYTES], struct err *e)
{
    int n = snprintf(out, BUNDLE_PATH_BYTES, "%s%s", path, BUNDLE_DECIDED);
    return n > 0 && n < BUNDLE_PATH_BYTES ? 0 : err_set(e, ERR_LIMIT, "%s: too long a path", path);
}

int bundle_decision_read(const char *path, struct bundle_decision *out, struct err *e)
{
    char name[BUNDLE_PATH_BYTES];
    memset(out, 0, sizeof *out);
    int rc = decided_path(path, name, e);
    if (rc != 0 || access(name, F_OK) != 0)
        return rc;
    json_t *o = json_load_file(name, JSON_REJECT_DUPLICATES, NULL);
    bool good = take_text(o, "decision", out->what, sizeof out->what) &&
                take_text(o, "by", out->by, sizeof out->by) &&
                take_text(o, "sha256", out->sha256, sizeof out->sha256) &&
                take_text(o, "reason", out->reason, sizeof out->reason) &&
                take_number(o, "time_us", &out->time_us) && take_number(o, "lsn", &out->lsn);
    json_decref(o);
    if (!good)
        return err_set(e, ERR_INTEGRITY,
                       "%s cannot be read as a decision: remove it, and decide again", name);
    return 0;
}

int bundle_decision_write(const char *path, const struct bundle_decision *d, struct err *e)
{
    char name[BUNDLE_PATH_BYTES], part[BUNDLE_PATH_BYTES + 8];
    int rc = decided_path(path, name, e);
    if (rc != 0)
        return rc;
    (void)snprintf(part, sizeof part, "%s.part", name);
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "decision", d->what, "by", d->by,
                          "time_us", (json_int_t)d->time_us, "lsn", (json_int_t)d->lsn, "sha256",
                          d->sha256, "reason", d->reason);
    FILE *out = fopen(part, "we");
    if (o == NULL || out == NULL)
        rc = o == NULL ? err_set(e, ERR_USAGE, "the reason is not UTF-8")
                       : file_error(e, part, "create", errno);
    if (rc == 0 && (json_dumpf(o, out, JSON_COMPACT) != 0 || fputc('\n', out) == EOF ||
                    fflush(out) != 0 || fsync(fileno(out)) != 0))
        rc = file_error(e, part, "write", errno);
    if (out != NULL && fclose(out) != 0 && rc == 0)
        rc = file_error(e, part, "write", errno);
    json_decref(o);
    if (rc == 0 && rename(part, name) != 0)
        rc = file_error(e, name, "create", errno);
    return rc == 0 ? file_sync_parent(name, e) : rc;
}
