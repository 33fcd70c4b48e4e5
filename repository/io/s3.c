/* The S3 backend.
 *
 * An object is put in one PUT (a multipart upload ignores the lock's headers on Ceph RGW), from a file that was written and
 * read back before. A PUT that was answered well is not believed: the version that counts is looked up, read back whole by
 * its id and compared, and its lock must be there and last. Then it counts.
 *
 * Which version counts is decided by their order alone (core/s3_text.h), not by the newest: whoever has the access key can put a
 * delete marker or another version on top, and hides nothing by it. So nothing has to be remembered about versions, and a
 * bucket that was copied somewhere else, where ids are new, is as good. If-None-Match is not relied on: RGW ignores it in a
 * bucket with versions. The checkpoint is the one object whose newest version is read, and an older one when that is not signed.
 *
 * FAILURE MODES
 *   No answer to a PUT: it may have taken effect, or may still. After the attempts of s3_http.c the caller gets ERR_IO, opens
 *     the archive anew and goes on from what is there.
 *   A process that dies: what it had put lies there without a meta, as in a directory.
 *
 * DESTROYING a name (keys of what was disposed of) deletes each of its versions by its id; a delete marker would hide them and
 * no more. What is locked stays until its date, and is asked for again then.
 *
 * READING goes ahead of the reader: as long as it reads on, each request asks for twice as much, up to AHEAD_MAX_BYTES. Files
 * that are open are read by several threads at the same time, each over a connection of its own (s3_http.c). */
#include "repository/io/s3.h"

#include "repository/io/container.h"
#include "repository/io/s3_list.h"
#include "repository/io/s3_xml.h"
#include "store/core/check.h"
#include "store/core/hex.h"
#include "store/core/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    FOLDERS = 10,
    AHEAD_MIN_BYTES = 128 << 10,
    AHEAD_MAX_BYTES = 4 << 20,
    MD5_BYTES = 16,
    DAY_S = 86400,
    PUT_MAX_GIB = 5, /* of one PUT, on AWS and by default on RGW */
};

/* What was listed; good until it is listed again. */
struct folder {
    char name[REPO_NAME_BYTES];
    struct s3_entries entries;
};

struct s3 {
    struct repo_backend backend; /* first */
    struct s3_place place;
    struct s3_client *client;
    struct folder folder[FOLDERS];
    uint32_t default_days; /* the bucket's own rule; 0: none */
    bool versioned;
    uint64_t destroyed; /* objects: what was listed before does not hold any more */
};

static struct s3 *s3_of(struct repo_backend *b)
{
    return (struct s3 *)(void *)b;
}

static void s3_close(struct repo_backend *b)
{
    struct s3 *s = s3_of(b);
    for (size_t i = 0; i < FOLDERS; i++)
        s3_entries_release(&s->folder[i].entries);
    s3_client_close(s->client);
    free(s);
}

/* ---- listing ---- */

static struct folder *folder_slot(struct s3 *s, const char *name, size_t n)
{
    for (size_t i = 0; i < FOLDERS; i++)
        if (strlen(s->folder[i].name) == n && memcmp(s->folder[i].name, name, n) == 0)
            return &s->folder[i];
    return NULL;
}

static int s3_list_folder(struct repo_backend *b, const char *folder,
                          int (*each)(void *arg, const char *name), void *arg, struct err *e)
{
    struct s3 *s = s3_of(b);
    struct s3_entries found;
    int rc = s3_list(s->client, s->place.prefix, folder, &found, e);
    if (rc != 0)
        return rc;
    const uint64_t destroyed = s->destroyed;
    for (size_t i = 0; rc == 0 && i < found.n; i++)
        rc = each(arg, found.at[i].name);
    if (s->destroyed != destroyed) {
        s3_entries_release(&found);
        return rc;
    }
    struct folder *slot = folder_slot(s, folder, strlen(folder));
    if (slot == NULL && (slot = folder_slot(s, "", 0)) != NULL)
        (void)snprintf(slot->name, sizeof slot->name, "%s", folder);
    if (slot == NULL) {
        s3_entries_release(&found);
        return rc;
    }
    s3_entries_release(&slot->entries);
    slot->entries = found;
    return rc;
}

/* What was listed knows it, or the service is asked. */
static int locate(struct s3 *s, const char *name, struct s3_version *out, struct err *e)
{
    const char *slash = strrchr(name, '/');
    const struct folder *f = slash == NULL ? NULL : folder_slot(s, name, (size_t)(slash - name));
    const struct s3_entry *x = f == NULL ? NULL : s3_entries_find(&f->entries, name);
    if (x == NULL)
        return s3_locate(s->client, s->place.prefix, name, false, 0, out, e);
    *out = x->version;
    return 0;
}

/* ---- reading ---- */

struct s3_file {
    char name[REPO_NAME_BYTES];
    char query[3 * S3_VERSION_BYTES + 16];
    struct s3_answer ahead; /* bytes from `from` on; its lock is the object's */
    uint64_t from, next;    /* where a reader that reads on reads next */
    uint64_t step;
};

static bool replaced(const char *name)
{
    return strcmp(name, "tree/checkpoint") == 0 || strcmp(name, "operations/checkpoint") == 0 ||
           strcmp(name, "operations/next") == 0;
}

static int open_version(struct s3 *s, const char *name, const struct s3_version *v,
                        struct repo_blob *out, struct err *e)
{
    char id[3 * S3_VERSION_BYTES];
    struct s3_file *f = calloc(1, sizeof *f);
    if (f == NULL || !s3_encode(v->id, id, sizeof id)) {
        free(f);
        return err_set(e, ERR_NO_MEMORY, "%s: no memory to read it", name);
    }
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    (void)snprintf(f->query, sizeof f->query, "versionId=%s", id);
    f->step = AHEAD_MIN_BYTES;
    *out = (struct repo_blob){.backend = &s->backend, .own = f, .fd = -1, .bytes = v->bytes};
    return 0;
}

static int s3_open(struct repo_backend *b, const char *name, unsigned older, struct repo_blob *out,
                   struct err *e)
{
    struct s3 *s = s3_of(b);
    struct s3_version v;
    int rc = replaced(name) ? s3_locate(s->client, s->place.prefix, name, true, older, &v, e)
             : older != 0   ? err_set(e, ERR_NOT_FOUND, "%s: is written once", name)
                            : locate(s, name, &v, e);
    return rc == 0 ? open_version(s, name, &v, out, e) : rc;
}

static void s3_close_blob(struct repo_blob *b)
{
    struct s3_file *f = b->own;
    s3_answer_release(&f->ahead);
    free(f);
}

static int fetch(const struct s3 *s, struct s3_file *f, uint64_t offset, size_t n, uint64_t bytes,
                 struct err *e)
{
    f->step = offset != f->next           ? AHEAD_MIN_BYTES
              : f->step < AHEAD_MAX_BYTES ? 2 * f->step
                                          : f->step;
    uint64_t want = n > f->step ? n : f->step;
    if (want > AHEAD_MAX_BYTES)
        want = AHEAD_MAX_BYTES;
    if (want > bytes - offset)
        want = bytes - offset;
    const struct s3_request r = {
        .key = f->name, .query = f->query, .range_from = offset, .range_bytes = want};
    s3_answer_release(&f->ahead);
    f->from = offset;
    int rc = s3_call(s->client, &r, &f->ahead, e);
    if (rc == 0 && f->ahead.n != want)
        rc = err_set(e, ERR_FORMAT, "%s: %zu bytes where %llu were asked for at byte %llu", f->name,
                     f->ahead.n, (unsigned long long)want, (unsigned long long)offset);
    return rc;
}

static int s3_read(struct repo_blob *b, uint64_t offset, void *p, size_t n, struct err *e)
{
    struct s3_file *f = b->own;
    uint8_t *at = p;
    if (offset > b->bytes || n > b->bytes - offset)
        return err_set(e, ERR_FORMAT, "the object ends at byte %llu, before byte %llu",
                       (unsigned long long)b->bytes, (unsigned long long)(offset + n));
    while (n != 0) {
        if (f->ahead.n == 0 || offset < f->from || offset >= f->from + f->ahead.n) {
            int rc = fetch(s3_of(b->backend), f, offset, n, b->bytes, e);
            if (rc != 0)
                return rc;
        }
        size_t skip = (size_t)(offset - f->from), have = f->ahead.n - skip;
        size_t step = have < n ? have : n;
        memcpy(at, f->ahead.body + skip, step);
        at += step;
        offset += step;
        n -= step;
        f->next = offset;
    }
    return 0;
}

/* ---- putting ---- */

static int s3_create(struct repo_backend *b, const char *name, struct repo_temp *t, struct err *e)
{
    const struct s3 *s = s3_of(b);
    char path[S3_TEXT_BYTES + 32];
    const char *dir = s->place.spool;
    if (dir[0] == '\0')
        dir = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): nothing here sets it */
    if (dir == NULL || dir[0] == '\0')
        dir = "/var/tmp";
    (void)snprintf(path, sizeof path, "%.255s/triveni-XXXXXX", dir);
    t->fd = mkostemp(path, O_CLOEXEC);
    if (t->fd < 0)
        return err_set(e, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO,
                       "%s: cannot be written to %s first (spool=DIR): %s", name, dir,
                       strerror(errno));
    (void)unlink(path);
    return 0;
}

struct sums {
    uint64_t bytes;
    struct sha256 sha256;
    char hex[65], md5[32];
};

static int count_sums(const struct repo_temp *t, struct sums *out, struct err *e)
{
    enum { STEP = 64 << 10 };
    struct repo_blob f = repo_temp_blob(t);
    unsigned char md5[EVP_MAX_MD_SIZE];
    uint8_t *buf = malloc(STEP);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int rc = buf != NULL && ctx != NULL && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1
                 ? repo_blob_hash(&f, &out->sha256, e)
                 : err_set(e, ERR_NO_MEMORY, "%s: MD5, which S3 wants, cannot be had", t->name);
    for (uint64_t at = 0; rc == 0 && at < f.bytes; at += STEP) {
        size_t n = f.bytes - at < STEP ? (size_t)(f.bytes - at) : STEP;
        rc = repo_blob_read(&f, at, buf, n, e);
        if (rc == 0 && EVP_DigestUpdate(ctx, buf, n) != 1)
            rc = err_set(e, ERR_FAILED, "%s: MD5 failed", t->name);
    }
    if (rc == 0 && EVP_DigestFinal_ex(ctx, md5, NULL) != 1)
        rc = err_set(e, ERR_FAILED, "%s: MD5 failed", t->name);
    if (rc == 0) {
        out->bytes = f.bytes;
        hex_format(out->sha256.b, sizeof out->sha256.b, out->hex);
        out->md5[base64_encode(bytes_of(md5, MD5_BYTES), out->md5)] = '\0';
    }
    EVP_MD_CTX_free(ctx);
    free(buf);
    return rc;
}

static uint64_t now_s(void)
{
    struct timespec t;
    check(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return (uint64_t)t.tv_sec;
}

/* Until when must it be locked, as seen by this machine's clock, a day's difference granted? 0: it need not. */
static int check_lock(const struct s3 *s, const struct s3_answer *a, const char *name,
                      uint64_t put_at, struct err *e)
{
    uint64_t until = 0,
             days = s->place.retention_days != 0 ? s->place.retention_days : s->default_days;
    if (s->place.unlocked && days == 0)
        return 0;
    if (a->lock_mode[0] == '\0' || s3_date_parse(a->lock_until, &until) != 0)
        return err_set(e, ERR_INTEGRITY,
                       "%s: was put and is not locked: the service ignores Object Lock, or the key "
                       "lacks GetObjectRetention; do not use this bucket",
                       name);
    if (strcmp(a->lock_mode, "COMPLIANCE") != 0 && !s->place.governance)
        return err_set(e, ERR_INTEGRITY,
                       "%s: is locked in mode %s, which can be bypassed: set the bucket's rule to "
                       "COMPLIANCE, or allow it (mode=governance)",
                       name, a->lock_mode);
    if (until + DAY_S < put_at + days * DAY_S || until <= put_at)
        return err_set(e, ERR_INTEGRITY, "%s: is locked until %s, not for %llu days", name,
                       a->lock_until, (unsigned long long)days);
    return 0;
}

/* Read it whole by its version. The lock comes with the first bytes of it. */
static int read_back(struct s3 *s, const char *name, const struct s3_version *v,
                     const struct sums *sums, uint64_t put_at, struct err *e)
{
    struct repo_blob f = REPO_BLOB_NONE;
    struct sha256 again;
    uint8_t first;
    int rc = open_version(s, name, v, &f, e);
    if (rc != 0)
        return rc;
    if (v->bytes != 0 && (rc = repo_blob_read(&f, 0, &first, 1, e)) == 0)
        rc = check_lock(s, &((const struct s3_file *)f.own)->ahead, name, put_at, e);
    if (rc == 0)
        rc = repo_blob_hash(&f, &again, e);
    if (rc == 0 && !sha256_equal(&again, &sums->sha256))
        rc = err_set(e, ERR_INTEGRITY,
                     "%s: reads back otherwise than it was put; check the service", name);
    repo_blob_close(&f);
    return rc;
}

/* What was listed says what counts now. */
static void note_version(struct s3 *s, const char *name, const struct s3_version *v)
{
    const char *slash = strrchr(name, '/');
    const struct folder *f = slash == NULL ? NULL : folder_slot(s, name, (size_t)(slash - name));
    struct s3_entry *x = f == NULL ? NULL : s3_entries_find(&f->entries, name);
    if (x != NULL)
        x->version = *v;
}

/* PUT, and then look at what counts now. ERR_EXISTS when something else counts. */
static int put(struct s3 *s, struct repo_temp *t, bool replace, struct err *e)
{
    struct sums sums;
    struct s3_version v;
    struct s3_answer a;
    char until[S3_DATE_BYTES];
    uint64_t put_at = now_s(), days = s->place.retention_days;
    s3_date_format(put_at + days * DAY_S, until);
    int rc = count_sums(t, &sums, e);
    if (rc == 0 && sums.bytes > (uint64_t)PUT_MAX_GIB << 30)
        rc = err_set(e, ERR_LIMIT, "%s: %llu bytes, S3 takes at most %d GiB in one piece", t->name,
                     (unsigned long long)sums.bytes, PUT_MAX_GIB);
    if (rc == 0 && !s->versioned && !replace) { /* a PUT would go over what is there */
        rc = s3_locate(s->client, s->place.prefix, t->name, false, 0, &v, e);
        rc = rc == 0 ? ERR_EXISTS : rc == ERR_NOT_FOUND ? 0 : rc;
    }
    if (rc == 0) {
        const struct s3_request r = {.key = t->name,
                                     .put = true,
                                     .fd = t->fd,
                                     .bytes = sums.bytes,
                                     .sha256 = sums.hex,
                                     .md5 = sums.md5,
                                     .lock_mode = s->place.governance ? "GOVERNANCE" : "COMPLIANCE",
                                     .lock_until = days != 0 ? until : NULL};
        rc = s3_call(s->client, &r, &a, e);
        if (rc == 0)
            rc = s3_locate(s->client, s->place.prefix, t->name, replaced(t->name), 0, &v, e);
        if (rc == 0)
            note_version(s, t->name, &v);
        /* Nothing was said against a copy with the same bytes: it is the same object. */
        if (rc == 0 && strcmp(v.id, a.version) != 0 && s->versioned)
            rc = ERR_EXISTS;
        if (rc == 0)
            rc = read_back(s, t->name, &v, &sums, put_at, e);
        s3_answer_release(&a);
    }
    if (rc == ERR_EXISTS)
        err_set(e, rc, "%s: is there already; objects are written once", t->name);
    return rc;
}

/* What is not known to have happened, or may happen later, is as a failed sync: the archive is opened anew. */
static int put_or_fail(struct repo_temp *t, bool replace, struct err *e)
{
    int rc = put(s3_of(t->backend), t, replace, e);
    if (rc != ERR_UNREACHABLE && rc != ERR_TIMEOUT && rc != ERR_IO && rc != ERR_INTEGRITY)
        return rc;
    t->sync_failed = true;
    if (e != NULL)
        e->code = ERR_IO;
    return ERR_IO;
}

static int s3_name(struct repo_temp *t, struct err *e)
{
    return put_or_fail(t, false, e);
}

static int s3_replace(struct repo_temp *t, struct err *e)
{
    return put_or_fail(t, true, e);
}

static int s3_settle(struct repo_backend *b, const char *const *names, size_t n, struct err *e)
{
    (void)b;
    (void)names;
    (void)n;
    (void)e;
    return 0;
}

static void s3_forget(struct repo_backend *b, const char *folder)
{
    (void)b; /* nothing is removed but what must not be there any more: s3_destroy */
    (void)folder;
}

/* The folder is listed anew when it is asked for. */
static void forget_listing(struct s3 *s, const char *name)
{
    const char *slash = strrchr(name, '/');
    struct folder *f = slash == NULL ? NULL : folder_slot(s, name, (size_t)(slash - name));
    s->destroyed++;
    if (f == NULL)
        return;
    s3_entries_release(&f->entries);
    f->name[0] = '\0';
}

/* One version. False: the service does not let it go, and *until is moved on to its date. */
static bool destroy_version(struct s3 *s, const char *name, const struct s3_version *v,
                            uint64_t *until)
{
    struct repo_blob f = REPO_BLOB_NONE;
    struct s3_answer a;
    uint8_t first;
    uint64_t date = 0;
    if (open_version(s, name, v, &f, NULL) != 0)
        return false;
    struct s3_file *own = f.own;
    int rc =
        s3_call(s->client, &(struct s3_request){.key = name, .query = own->query, .remove = true},
                &a, NULL);
    if (rc == 0)
        s3_answer_release(&a);
    /* Its date comes with its first byte. */
    else if (rc != ERR_NOT_FOUND && v->bytes != 0 && repo_blob_read(&f, 0, &first, 1, NULL) == 0 &&
             own->ahead.lock_until[0] != '\0' && s3_date_parse(own->ahead.lock_until, &date) == 0)
        *until = date > *until ? date : *until;
    repo_blob_close(&f);
    return rc == 0 || rc == ERR_NOT_FOUND;
}

/* The newest first: whatever comes in between, the oldest one says what the object is as long as there is any. */
static bool s3_destroy(struct repo_backend *b, const char *name, struct utc *until)
{
    struct s3 *s = s3_of(b);
    struct s3_version *v;
    uint64_t date = 0;
    size_t n, gone = 0;
    if (s3_versions(s->client, s->place.prefix, name, &v, &n, NULL) != 0) {
        free(v);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        gone += destroy_version(s, name, &v[i], &date);
    free(v);
    if (gone != 0)
        forget_listing(s, name);
    until->us = date * 1000000;
    return gone == n;
}

static void s3_drop(struct repo_temp *t)
{
    (void)t;
}

/* ---- opening ---- */

struct lock_rule {
    bool enabled, governance, versioned;
    uint32_t days;
};

static int note_rule(void *arg, const char *path, const char *text)
{
    struct lock_rule *r = arg;
    static const char rule[] = "ObjectLockConfiguration/Rule/DefaultRetention/";
    if (strcmp(path, "ObjectLockConfiguration/ObjectLockEnabled") == 0)
        r->enabled = strcmp(text, "Enabled") == 0;
    if (strcmp(path, "VersioningConfiguration/Status") == 0)
        r->versioned = strcmp(text, "Enabled") == 0;
    if (strncmp(path, rule, sizeof rule - 1) != 0)
        return 0;
    path += sizeof rule - 1;
    if (strcmp(path, "Mode") == 0)
        r->governance = strcmp(text, "COMPLIANCE") != 0;
    else if (strcmp(path, "Days") == 0)
        r->days = (uint32_t)strtoul(text, NULL, 10);
    else if (strcmp(path, "Years") == 0)
        r->days = 365 * (uint32_t)strtoul(text, NULL, 10);
    return 0;
}

static int ask(struct s3 *s, const char *query, struct lock_rule *rule, struct err *e)
{
    struct s3_answer a;
    int rc = s3_call(s->client, &(struct s3_request){.query = query}, &a, e);
    if (rc == 0)
        rc = s3_xml_read(bytes_of(a.body, a.n), note_rule, rule, e);
    s3_answer_release(&a);
    return rc;
}

/* May objects of an archive be put here? */
static int check_bucket(struct s3 *s, struct err *e)
{
    struct lock_rule rule = {0};
    const struct s3_place *p = &s->place;
    int rc = ask(s, "versioning=", &rule, e);
    if (rc == 0 && (rc = ask(s, "object-lock=", &rule, e)) == ERR_NOT_FOUND)
        rc = 0;
    s->versioned = rule.versioned;
    s->default_days = rule.days;
    if (rc != 0 || p->unlocked)
        return rc;
    if (!rule.enabled)
        return err_set(
            e, ERR_CONFIG,
            "bucket '%s' has no Object Lock: whoever holds its key could remove the archive. "
            "Make another with Object Lock (it cannot be turned on later everywhere), or say "
            "that it is not wanted (lock=off)",
            p->bucket);
    if (p->retention_days == 0 && rule.days == 0)
        return err_set(
            e, ERR_CONFIG,
            "bucket '%s' has no default retention, and none is asked for: set one, or add "
            "retention=DAYS",
            p->bucket);
    if (p->retention_days == 0 && rule.governance && !p->governance)
        return err_set(
            e, ERR_CONFIG,
            "bucket '%s' locks in governance mode, which can be bypassed: set its rule to "
            "COMPLIANCE, or allow it (mode=governance)",
            p->bucket);
    return 0;
}

static const struct repo_backend_kind s3_kind = {
    .remote = true,
    .close = s3_close,
    .list = s3_list_folder,
    .open = s3_open,
    .read = s3_read,
    .close_blob = s3_close_blob,
    .create = s3_create,
    .name = s3_name,
    .settle = s3_settle,
    .replace = s3_replace,
    .drop = s3_drop,
    .forget = s3_forget,
    .destroy = s3_destroy,
};

int repo_s3_open(const char *where, bool write, struct repo_backend **out, struct err *e)
{
    *out = NULL;
    struct s3 *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for an archive");
    s->backend.kind = &s3_kind;
    int rc = s3_text_parse(where, &s->place, e);
    if (rc == 0)
        rc = s3_client_open(&s->place, &s->client, e);
    if (rc == 0 && write)
        rc = check_bucket(s, e);
    if (rc != 0) {
        s3_close(&s->backend);
        return rc;
    }
    *out = &s->backend;
    return 0;
}
