/* The witness' files: key, record, evidence. Contract and rules: repository/witness.h.
 *
 * The record has two slots, written in turn, so that a torn write leaves the other one, and is preallocated, so that a full disk
 * does not stop it. What was read at the start is synced once before anything is signed after it: a process that was killed may
 * have written it and not synced it. */
#include "repository/witness.h"

#include "repository/core/witness.h"
#include "repository/io/operations.h"
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

struct record_file {
    char path[PATH_BYTES];
    int fd;
    uint64_t sequence;
    unsigned next;              /* slot to write */
    struct witness_record last; /* as it is on disk */
    bool failed;                /* a write failed: what is on disk is not known */
};

struct witness {
    char dir[PATH_BYTES - 128];
    char origin[TLOG_NAME_BYTES], operations_origin[TLOG_NAME_BYTES];
    struct repo_signer *signer;
    struct record_file entries, operations;
    struct witness_range now; /* ahead of the record */
    bool foreign;             /* W3 */
};

void witness_name(const struct uuid *cluster, const char *site, char out[TLOG_NAME_BYTES])
{
    char id[UUID_TEXT_BYTES];
    (void)snprintf(out, TLOG_NAME_BYTES, "triveni/%s/%s", uuid_text(cluster, id), site);
}

/* ---- the records ---- */

static int read_slots(struct record_file *f, struct err *e)
{
    uint8_t raw[WITNESS_RECORD_BYTES];
    struct witness_record *found = malloc(sizeof *found);
    bool any = false;
    int rc =
        found == NULL ? err_set(e, ERR_NO_MEMORY, "no memory for the record of the cosigner") : 0;
    for (unsigned slot = 0; rc == 0 && slot < SLOTS; slot++) {
        uint64_t sequence;
        size_t got;
        rc = file_read_at(f->fd, f->path, raw, sizeof raw, (uint64_t)slot * sizeof raw, &got, e);
        if (rc != 0 || got != sizeof raw)
            continue;
        int how = witness_record_read(raw, found, &sequence, e);
        if (how == ERR_NEWER)
            rc = how;
        if (how != 0 || (any && sequence < f->sequence))
            continue;
        any = true;
        f->last = *found;
        f->sequence = sequence;
        f->next = 1 - slot;
    }
    free(found);
    if (rc == 0 && !any)
        rc = err_set(
            e, ERR_INTEGRITY,
            "%s: neither slot is valid, so this site cannot know what it cosigned: remove it "
            "and cosigner.key, and tell those who verify the new key",
            f->path);
    return rc;
}

static int write_slot(struct record_file *f, struct err *e)
{
    uint8_t raw[WITNESS_RECORD_BYTES];
    witness_record_write(&f->last, f->sequence + 1, raw);
    int rc = file_write_at(f->fd, f->path, raw, sizeof raw, (uint64_t)f->next * sizeof raw, e);
    if (rc == 0 && fdatasync(f->fd) != 0)
        rc = file_error(e, f->path, "sync", errno);
    f->failed = rc != 0;
    if (rc == 0) {
        f->sequence++;
        f->next = 1 - f->next;
    }
    return rc;
}

static int make_record(struct record_file *f, struct err *e)
{
    f->fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (f->fd < 0)
        return file_error(e, f->path, "create", errno);
    int rc = write_slot(f, e);
    if (rc == 0)
        rc = write_slot(f, e);
    return rc == 0 ? file_sync_parent(f->path, e) : rc;
}

/* Make it when there is none. */
static int open_record(struct record_file *f, struct err *e)
{
    const struct uuid cluster = f->last.cluster_id;
    f->fd = open(f->path, O_RDWR | O_CLOEXEC);
    if (f->fd < 0)
        return errno == ENOENT ? make_record(f, e) : file_error(e, f->path, "open", errno);
    int rc = read_slots(f, e);
    if (rc == 0 && !uuid_equal(&f->last.cluster_id, &cluster))
        rc = err_set(e, ERR_INTEGRITY, "%s belongs to another cluster", f->path);
    if (rc == 0 && fdatasync(f->fd) != 0)
        rc = file_error(e, f->path, "sync", errno);
    return rc;
}

/* The records are made before the key: so a key without a record of the entries has lost it. That of the operations log may be
 * missing, for who begins with it anew begins on trust, and says so. */
static int open_records(struct witness *w, struct err *e)
{
    char key[PATH_BYTES];
    (void)snprintf(w->entries.path, PATH_BYTES, "%s/cosigner", w->dir);
    (void)snprintf(w->operations.path, PATH_BYTES, "%s/cosigner-operations", w->dir);
    (void)snprintf(key, sizeof key, "%s/cosigner.key", w->dir);
    if (access(w->entries.path, F_OK) != 0 && errno == ENOENT && access(key, F_OK) == 0)
        return err_set(e, ERR_INTEGRITY,
                       "%s is missing, so this site cannot know what it cosigned: put it back, or "
                       "remove %s as well and tell those who verify the new key",
                       w->entries.path, key);
    int rc = open_record(&w->entries, e);
    return rc == 0 ? open_record(&w->operations, e) : rc;
}

static int open_key(struct witness *w, const char *name, bool *made, struct err *e)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/cosigner.key", w->dir);
    int rc = repo_signer_load(path, name, TLOG_KEY_COSIGNER, &w->signer, e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (w->entries.last.range.size != 0 || w->operations.last.note_bytes != 0)
        return err_set(
            e, ERR_INTEGRITY,
            "%s is missing, and checkpoints were cosigned with it: put it back, or, when "
            "it is lost, remove %s/cosigner and cosigner-operations as well and tell those who "
            "verify the new key",
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
    w->entries.fd = w->operations.fd = -1;
    (void)snprintf(w->dir, sizeof w->dir, "%s", data_dir);
    w->entries.last.cluster_id = w->operations.last.cluster_id = *cluster;
    repo_tree_origin(cluster, w->origin);
    repo_operations_origin(cluster, w->operations_origin);
    witness_name(cluster, site, name);
    int rc = open_records(w, e);
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
    if (w->entries.fd >= 0)
        (void)close(w->entries.fd);
    if (w->operations.fd >= 0)
        (void)close(w->operations.fd);
    free(w);
}

const struct tlog_key *witness_key(const struct witness *w)
{
    return repo_signer_key(w->signer);
}

uint64_t witness_cosigned(const struct witness *w)
{
    return w->entries.last.range.size;
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
    w->now = w->entries.last.range;
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
        (!uuid_equal(&h.cluster_id, &w->entries.last.cluster_id) || h.lsn.v != w->now.size + 1))
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
static void keep_evidence(const struct witness *w, const struct record_file *f, struct bytes note,
                          const struct tlog_checkpoint *c)
{
    char dir[PATH_BYTES], name[96], root[2 * 4 + 1];
    int fd = -1;
    (void)snprintf(dir, sizeof dir, "%s/cosigner-evidence", w->dir);
    if (witness_evidence(w->dir, name) >= EVIDENCE_MAX || file_open_dir(dir, &fd, NULL) != 0)
        return;
    hex_format(c->root.b, 4, root);
    (void)snprintf(name, sizeof name, "%llu-%s.cosigned", (unsigned long long)c->size, root);
    if (f->last.note_bytes != 0)
        (void)keep(dir, name, bytes_of(f->last.note, f->last.note_bytes), NULL);
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

/* Is it a checkpoint of that log, signed with the key? */
static int check_signed(const char *origin, struct bytes note, struct bytes vkey,
                        struct tlog_checkpoint *c, struct tlog_note *parsed, struct err *e)
{
    struct tlog_key key;
    int rc = tlog_key_parse(vkey, &key, e);
    if (rc == 0)
        rc = tlog_checkpoint_parse(note, c, parsed, e);
    if (rc == 0 && (key.type != TLOG_KEY_LOG || strcmp(key.name, origin) != 0 ||
                    strcmp(c->origin, origin) != 0))
        rc = err_set(e, ERR_INTEGRITY, "the checkpoint is of another log than %s", origin);
    return rc == 0 ? repo_note_verify(parsed, &key, NULL, e) : rc;
}

int witness_look(struct witness *w, struct bytes note, struct bytes vkey, struct tlog_checkpoint *c,
                 struct err *e)
{
    struct tlog_note parsed;
    int rc = check_signed(w->origin, note, vkey, c, &parsed, e);
    if (rc == 0 && c->size < w->entries.last.range.size) {
        keep_evidence(w, &w->entries, note, c);
        rc = err_set(e, ERR_STALE,
                     "ROLLBACK: the archive shows a history of %llu entries, after one of %llu was "
                     "cosigned here",
                     (unsigned long long)c->size, (unsigned long long)w->entries.last.range.size);
    }
    return rc;
}

/* The note without other signatures than the log's, which is its first. */
static void remember(struct witness_record *r, struct bytes note, const struct tlog_note *parsed)
{
    const uint8_t *end = memchr(parsed->signatures.p, '\n', parsed->signatures.n);
    size_t n = end == NULL ? note.n : (size_t)(end + 1 - note.p);
    r->note_bytes = 0;
    if (n <= WITNESS_NOTE_MAX_BYTES) {
        memcpy(r->note, note.p, n);
        r->note_bytes = (uint16_t)n;
    }
}

int witness_cosign(struct witness *w, struct bytes note, const struct tlog_checkpoint *c,
                   uint64_t time_s, struct writer *line, struct err *e)
{
    struct record_file *f = &w->entries;
    struct tlog_note parsed;
    check(!w->foreign);
    if (f->failed)
        return err_set(e, ERR_IO, "the record of the cosigner could not be written before");
    int rc = tlog_note_parse(note, &parsed, e);
    if (rc != 0)
        return rc;
    if (witness_judge(f->last.range.size, &w->now, c) != WITNESS_SIGN) {
        keep_evidence(w, f, note, c);
        witness_reset(w);
        return err_set(
            e, ERR_INTEGRITY,
            "SPLIT VIEW: the archive shows a history of %llu entries that is not the one "
            "of this site's log",
            (unsigned long long)c->size);
    }
    if (c->size > f->last.range.size) { /* W1 */
        f->last.range = w->now;
        remember(&f->last, note, &parsed);
        rc = write_slot(f, e);
    }
    return rc == 0 ? repo_note_cosign(w->signer, parsed.text, time_s, line, e) : rc;
}

/* ---- the operations log ---- */

/* What was cosigned last; false: nothing yet. */
static bool operations_last(const struct witness *w, struct tlog_checkpoint *out)
{
    const struct witness_record *r = &w->operations.last;
    struct tlog_note note;
    out->size = 0;
    return r->note_bytes != 0 &&
           tlog_checkpoint_parse(bytes_of(r->note, r->note_bytes), out, &note, NULL) == 0;
}

uint64_t witness_operations(const struct witness *w)
{
    struct tlog_checkpoint c;
    (void)operations_last(w, &c);
    return c.size;
}

static int refuse(const struct witness *w, struct bytes note, enum witness_verdict verdict,
                  uint64_t cosigned, const struct tlog_checkpoint *c, struct err *e)
{
    const unsigned long long was = cosigned, is = c->size;
    if (verdict == WITNESS_ELSEWHERE)
        return err_set(e, ERR_CONDITION, "a proof from the %llu operations is needed", was);
    keep_evidence(w, &w->operations, note, c);
    if (verdict == WITNESS_ROLLBACK)
        return err_set(e, ERR_STALE,
                       "ROLLBACK: the archive shows a log of %llu operations, after one of %llu "
                       "was cosigned here",
                       is, was);
    return err_set(e, ERR_INTEGRITY,
                   "SPLIT VIEW: the archive shows a log of %llu operations that does not begin "
                   "with the %llu that were cosigned here",
                   is, was);
}

int witness_cosign_operations(struct witness *w, struct bytes proof, struct bytes vkey,
                              uint64_t time_s, struct writer *line, struct err *e)
{
    struct record_file *f = &w->operations;
    struct tlog_proof_text p;
    struct tlog_checkpoint c, before;
    struct tlog_note note;
    const bool any = operations_last(w, &before);
    if (f->failed)
        return err_set(e, ERR_IO, "the record of the cosigner could not be written before");
    int rc = tlog_proof_parse(proof, &p, e);
    if (rc == 0 && !p.consistency)
        rc = err_set(e, ERR_FORMAT, "no proof of consistency");
    if (rc == 0)
        rc = check_signed(w->operations_origin, p.checkpoint, vkey, &c, &note, e);
    if (rc != 0)
        return rc;
    enum witness_verdict verdict =
        witness_judge_proof(any ? &before : NULL, &c, p.number, &p.proof);
    if (verdict != WITNESS_SIGN)
        return refuse(w, p.checkpoint, verdict, before.size, &c, e);
    if (!any || c.size > before.size) { /* W1 */
        remember(&f->last, p.checkpoint, &note);
        if (f->last.note_bytes == 0)
            return err_set(e, ERR_FORMAT, "the checkpoint is larger than any of the log");
        rc = write_slot(f, e);
    }
    return rc == 0 ? repo_note_cosign(w->signer, note.text, time_s, line, e) : rc;
}
