/* The witness' files: key, record, evidence. Contract and rules: repository/witness.h.
 *
 * The record has two slots, written in turn, so that a torn write leaves the other one, and is preallocated, so that a full disk
 * does not stop it. What was read at the start is synced once before anything is signed after it: a process that was killed may
 * have written it and not synced it. */
#include "repository/witness.h"

#include "repository/core/witness.h"
#include "repository/io/sign.h"
#include "repository/io/tree.h"
#include "store/core/check.h"
#include "store/core/hash.h"
#include "store/core/hex.h"
#include "store/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SLOTS = 2, PATH_BYTES = 640, EVIDENCE_MAX = 64 /* of a log that lies without end */ };

struct witness {
    char dir[PATH_BYTES - 128];
    char origin[TLOG_NAME_BYTES];
    struct repo_signer *signer;
    int fd; /* of the record */
    uint64_t sequence;
    unsigned next;                /* slot to write */
    struct witness_record record; /* as it is on disk */
    struct witness_range now;     /* ahead of it */
    bool foreign;                 /* W3 */
    bool failed;                  /* a write failed: what is on disk is not known */
};

void witness_name(const struct uuid *cluster, const char *site, char out[TLOG_NAME_BYTES])
{
    char id[UUID_TEXT_BYTES];
    (void)snprintf(out, TLOG_NAME_BYTES, "triveni/%s/%s", uuid_text(cluster, id), site);
}

/* ---- the record ---- */

static int read_slots(struct witness *w, const char *path, struct err *e)
{
    uint8_t raw[WITNESS_RECORD_BYTES];
    struct witness_record *found = malloc(sizeof *found);
    bool any = false;
    int rc =
        found == NULL ? err_set(e, ERR_NO_MEMORY, "no memory for the record of the cosigner") : 0;
    for (unsigned slot = 0; rc == 0 && slot < SLOTS; slot++) {
        uint64_t sequence;
        size_t got;
        rc = file_read_at(w->fd, path, raw, sizeof raw, (uint64_t)slot * sizeof raw, &got, e);
        if (rc != 0 || got != sizeof raw)
            continue;
        int how = witness_record_read(raw, found, &sequence, e);
        if (how == ERR_NEWER)
            rc = how;
        if (how != 0 || (any && sequence < w->sequence))
            continue;
        any = true;
        w->record = *found;
        w->sequence = sequence;
        w->next = 1 - slot;
    }
    free(found);
    if (rc == 0 && !any)
        rc = err_set(
            e, ERR_INTEGRITY,
            "%s: neither slot is valid, so this site cannot know what it cosigned: remove it "
            "and cosigner.key, and tell those who verify the new key",
            path);
    return rc;
}

static int write_slot(struct witness *w, const char *path, struct err *e)
{
    uint8_t raw[WITNESS_RECORD_BYTES];
    witness_record_write(&w->record, w->sequence + 1, raw);
    int rc = file_write_at(w->fd, path, raw, sizeof raw, (uint64_t)w->next * sizeof raw, e);
    if (rc == 0 && fdatasync(w->fd) != 0)
        rc = file_error(e, path, "sync", errno);
    w->failed = rc != 0;
    if (rc == 0) {
        w->sequence++;
        w->next = 1 - w->next;
    }
    return rc;
}

static int make_record(struct witness *w, const char *path, struct err *e)
{
    w->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (w->fd < 0)
        return file_error(e, path, "create", errno);
    int rc = write_slot(w, path, e);
    if (rc == 0)
        rc = write_slot(w, path, e);
    return rc == 0 ? file_sync_parent(path, e) : rc;
}

/* The record is made before the key: so a key without a record has lost it. */
static int open_record(struct witness *w, struct err *e)
{
    char path[PATH_BYTES], key[PATH_BYTES];
    const struct uuid cluster = w->record.cluster_id;
    (void)snprintf(path, sizeof path, "%s/cosigner", w->dir);
    (void)snprintf(key, sizeof key, "%s/cosigner.key", w->dir);
    w->fd = open(path, O_RDWR | O_CLOEXEC);
    if (w->fd < 0 && errno == ENOENT && access(key, F_OK) == 0)
        return err_set(e, ERR_INTEGRITY,
                       "%s is missing, so this site cannot know what it cosigned: put it back, or "
                       "remove %s as well and tell those who verify the new key",
                       path, key);
    if (w->fd < 0)
        return errno == ENOENT ? make_record(w, path, e) : file_error(e, path, "open", errno);
    int rc = read_slots(w, path, e);
    if (rc == 0 && !uuid_equal(&w->record.cluster_id, &cluster))
        rc = err_set(e, ERR_INTEGRITY, "%s belongs to another cluster", path);
    if (rc == 0 && fdatasync(w->fd) != 0)
        rc = file_error(e, path, "sync", errno);
    return rc;
}

static int open_key(struct witness *w, const char *name, bool *made, struct err *e)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/cosigner.key", w->dir);
    int rc = repo_signer_load(path, name, TLOG_KEY_COSIGNER, &w->signer, e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (w->record.range.size != 0)
        return err_set(
            e, ERR_INTEGRITY,
            "%s is missing, and checkpoints were cosigned with it: put it back, or, when "
            "it is lost, remove %s/cosigner as well and tell those who verify the new key",
            path, w->dir);
    *made = true;
    rc = repo_signer_make(path, e);
    return rc == 0 ? repo_signer_load(path, name, TLOG_KEY_COSIGNER, &w->signer, e) : rc;
}

int witness_open(struct witness **out, const char *data_dir, const struct uuid *cluster,
                 const char *site, bool *made, struct err *e)
{
    char name[TLOG_NAME_BYTES];
    *out = NULL;
    *made = false;
    struct witness *w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a cosigner");
    w->fd = -1;
    (void)snprintf(w->dir, sizeof w->dir, "%s", data_dir);
    w->record.cluster_id = *cluster;
    repo_tree_origin(cluster, w->origin);
    witness_name(cluster, site, name);
    int rc = open_record(w, e);
    if (rc == 0)
        rc = open_key(w, name, made, e);
    if (rc == 0) {
        witness_reset(w);
        *out = w;
    } else {
        err_wrap(e, "cosigner");
        witness_close(w);
    }
    return rc;
}

void witness_close(struct witness *w)
{
    if (w == NULL)
        return;
    repo_signer_free(w->signer);
    if (w->fd >= 0)
        (void)close(w->fd);
    free(w);
}

const struct tlog_key *witness_key(const struct witness *w)
{
    return repo_signer_key(w->signer);
}

uint64_t witness_cosigned(const struct witness *w)
{
    return w->record.range.size;
}

uint64_t witness_size(const struct witness *w)
{
    return w->now.size;
}

bool witness_is_foreign(const struct witness *w)
{
    return w->foreign;
}

void witness_reset(struct witness *w)
{
    w->now = w->record.range;
    w->foreign = false;
}

/* ---- the tree ---- */

/* Does the header come right behind the last one? */
static int fits(const struct witness *w, struct bytes header, bool own, struct err *e)
{
    struct entry_header h;
    check(header.n == ENTRY_HEADER_BYTES);
    int rc = entry_header_decode(header.p, &h, e);
    if (rc == 0 &&
        (!uuid_equal(&h.cluster_id, &w->record.cluster_id) || h.lsn.v != w->now.size + 1))
        rc = err_set(e, ERR_INTEGRITY, "lsn %llu of the cluster follows, not this header",
                     (unsigned long long)w->now.size + 1);
    if (rc == 0 && !sha256_equal(&h.prev_hash, &w->now.last))
        rc = err_set(e, ERR_INTEGRITY,
                     !own ? "the headers of the archive's site are no chain behind lsn %llu"
                     : w->foreign
                         ? "SPLIT VIEW: the headers of the archive's site up to lsn %llu are "
                           "not the past of this site's log"
                         : "this site's log is not what it cosigned up to lsn %llu",
                     (unsigned long long)w->now.size);
    return rc;
}

int witness_follow(struct witness *w, struct bytes header, bool own, struct err *e)
{
    int rc = fits(w, header, own, e);
    if (rc != 0)
        return rc;
    struct sha256 hash = hash_sha256(header);
    witness_add(&w->now, header, &hash);
    w->foreign = !own;
    return 0;
}

int witness_confirm(struct witness *w, struct bytes header, struct err *e)
{
    int rc = fits(w, header, true, e);
    if (rc == 0)
        w->foreign = false;
    return rc;
}

/* ---- evidence ---- */

static int keep(const char *dir, const char *name, struct bytes text, struct err *e)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0 : file_error(e, path, "create", errno);
    int rc = file_write_at(fd, path, text.p, text.n, 0, e);
    if (rc == 0 && fsync(fd) != 0)
        rc = file_error(e, path, "sync", errno);
    (void)close(fd);
    return rc;
}

/* What cannot be kept is told all the same: the message has size and root. */
static void keep_evidence(struct witness *w, struct bytes note, const struct tlog_checkpoint *c)
{
    char dir[PATH_BYTES], name[96], root[2 * 4 + 1];
    int fd = -1;
    (void)snprintf(dir, sizeof dir, "%s/cosigner-evidence", w->dir);
    if (witness_evidence(w->dir, name) >= EVIDENCE_MAX || file_open_dir(dir, &fd, NULL) != 0)
        return;
    hex_format(c->root.b, 4, root);
    (void)snprintf(name, sizeof name, "%llu-%s.cosigned", (unsigned long long)c->size, root);
    if (w->record.note_bytes != 0)
        (void)keep(dir, name, bytes_of(w->record.note, w->record.note_bytes), NULL);
    (void)snprintf(name, sizeof name, "%llu-%s.shown", (unsigned long long)c->size, root);
    (void)keep(dir, name, note, NULL);
    (void)file_sync_dir(fd, dir, NULL);
    (void)close(fd);
}

unsigned witness_evidence(const char *data_dir, char name[96])
{
    static const char ending[] = ".shown";
    char path[PATH_BYTES];
    unsigned n = 0;
    name[0] = '\0';
    (void)snprintf(path, sizeof path, "%s/cosigner-evidence", data_dir);
    DIR *d = opendir(path);
    for (const struct dirent *f = NULL; d != NULL && (f = readdir(d)) != NULL;) {
        size_t length = strlen(f->d_name);
        if (length < sizeof ending || length >= 64 ||
            strcmp(f->d_name + length - (sizeof ending - 1), ending) != 0)
            continue;
        n++;
        (void)snprintf(name, 96, "cosigner-evidence/%.64s", f->d_name);
    }
    if (d != NULL)
        (void)closedir(d);
    return n;
}

/* ---- cosigning ---- */

int witness_look(struct witness *w, struct bytes note, struct bytes vkey, struct tlog_checkpoint *c,
                 struct err *e)
{
    struct tlog_key key;
    struct tlog_note parsed;
    int rc = tlog_key_parse(vkey, &key, e);
    if (rc == 0)
        rc = tlog_checkpoint_parse(note, c, &parsed, e);
    if (rc == 0 && (key.type != TLOG_KEY_LOG || strcmp(key.name, w->origin) != 0 ||
                    strcmp(c->origin, w->origin) != 0))
        rc = err_set(e, ERR_INTEGRITY, "the checkpoint is of another log than %s", w->origin);
    if (rc == 0)
        rc = repo_note_verify(&parsed, &key, NULL, e);
    if (rc == 0 && c->size < w->record.range.size) {
        keep_evidence(w, note, c);
        rc = err_set(e, ERR_STALE,
                     "ROLLBACK: the archive shows a history of %llu entries, after one of %llu was "
                     "cosigned here",
                     (unsigned long long)c->size, (unsigned long long)w->record.range.size);
    }
    return rc;
}

/* The note without other signatures than the log's, which is its first. */
static void remember(struct witness *w, struct bytes note)
{
    struct tlog_note parsed;
    w->record.range = w->now;
    w->record.note_bytes = 0;
    if (tlog_note_parse(note, &parsed, NULL) != 0)
        return;
    const uint8_t *end = memchr(parsed.signatures.p, '\n', parsed.signatures.n);
    size_t n = end == NULL ? note.n : (size_t)(end + 1 - note.p);
    if (n <= WITNESS_NOTE_MAX_BYTES) {
        memcpy(w->record.note, note.p, n);
        w->record.note_bytes = (uint16_t)n;
    }
}

int witness_cosign(struct witness *w, struct bytes note, const struct tlog_checkpoint *c,
                   uint64_t time_s, struct writer *line, struct err *e)
{
    char path[PATH_BYTES];
    struct tlog_note parsed;
    check(!w->foreign);
    if (w->failed)
        return err_set(e, ERR_IO, "the record of the cosigner could not be written before");
    int rc = tlog_note_parse(note, &parsed, e);
    if (rc != 0)
        return rc;
    if (witness_judge(w->record.range.size, &w->now, c) != WITNESS_SIGN) {
        keep_evidence(w, note, c);
        witness_reset(w);
        return err_set(
            e, ERR_INTEGRITY,
            "SPLIT VIEW: the archive shows a history of %llu entries that is not the one "
            "of this site's log",
            (unsigned long long)c->size);
    }
    (void)snprintf(path, sizeof path, "%s/cosigner", w->dir);
    if (c->size > w->record.range.size) { /* W1 */
        remember(w, note);
        rc = write_slot(w, path, e);
    }
    return rc == 0 ? repo_note_cosign(w->signer, parsed.text, time_s, line, e) : rc;
}
