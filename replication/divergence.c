/* Divergence bundles: what a site had in its log and the common history does not have (P4, R9). A thread of
 * replication/exporter.c writes them.
 *
 * One JSON Lines file per undo under <data>/divergence/, named <term>-<first>-<last>.jsonl after the entries in it;
 * docs/FORMATS.md has the format. The tail is read twice: to count, and to look up which version each record had below the cut;
 * then to write. So the first line can say what is in the file. The last one is a checksum over all of it.
 *
 * "acknowledged" says whether the client had been told that its transaction was done, as exactly as that can be known
 * (replication/core/answered.h):
 *   "yes"      certain: this very process, as primary, sent the answer, when its own disk had the entry (level local)
 *   "no"       certain: this very process was the one to answer, and has answered nobody
 *   "possible" everything else: another process, here before a restart or at another site, was the one to answer, and what
 *              that one did is not known here. That nothing committed is ever cut holds only as long as no site lost its disk or
 *              was set back
 *
 * The file is written as NAME.part, synced, renamed to NAME.uncut, and the directory synced. That is durable, and says nothing
 * yet: the log is whole. When the log is about to be cut it is renamed to NAME, durably, and only then it is listed and believed.
 * A site that stops between comes here again, and knows less then: the bundle that is there, NAME.uncut too, is used as it
 * is. One that nobody asks for again is swept (divergence_left.c). */
#include "replication/bundle.h"
#include "replication/site_parts.h"

#include "store/core/hex.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

struct bundle_writer {
    FILE *out;
    struct divergence *of;
    struct bases *bases;
    EVP_MD_CTX *hash;
    struct bundle head;
    uint64_t operation; /* number of the one that was written last, from 1 */
};

static bool is_long_as_json(struct bytes b)
{
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] < 0x20 && b.p[i] != '\n' && b.p[i] != '\r' && b.p[i] != '\t')
            return true; /* six characters for one */
    return false;
}

json_t *json_bytes(struct bytes b)
{
    json_t *text = is_long_as_json(b) ? NULL : json_stringn(b.n != 0 ? (const char *)b.p : "", b.n);
    if (text != NULL)
        return text;
    size_t cap = 4 * ((b.n + 2) / 3) + 1;
    char *encoded = malloc(cap);
    if (encoded == NULL)
        return json_null();
    (void)EVP_EncodeBlock((unsigned char *)encoded, b.p, (int)b.n);
    json_t *object = json_pack("{s:s}", "base64", encoded);
    free(encoded);
    return object;
}

/* ---- reading the tail ---- */

static int grow(struct divergence *d, size_t need, struct err *e)
{
    uint8_t *larger = realloc(d->buffer, need);
    if (larger == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of entries", need);
    d->buffer = larger;
    d->capacity = need;
    return 0;
}

int divergence_walk(struct divergence *d, struct lsn from, struct lsn to,
                    int (*each)(void *arg, const struct entry_view *v, struct err *e), void *arg,
                    struct err *e)
{
    int rc = d->buffer == NULL ? grow(d, REPL_BATCH_BYTES, e) : 0;
    while (rc == 0 && from.v <= to.v) {
        size_t used = 0, count = 0;
        rc = log_read(d->site->log, from, to, d->buffer, d->capacity, &used, &count, e);
        if (rc == ERR_LIMIT) {
            rc = grow(d, used, e);
            continue;
        }
        struct bytes in = bytes_of(d->buffer, rc == 0 ? used : 0);
        for (size_t i = 0; rc == 0 && i < count; i++) {
            struct entry_view v;
            size_t taken;
            if (atomic_load(&d->unwanted))
                return err_set(e, ERR_CANCELLED, "divergence bundle: not wanted any more");
            rc = entry_decode(in, &v, &taken, e);
            if (rc == 0)
                rc = each(arg, &v, e);
            in = bytes_of(in.p + taken, in.n - taken);
        }
        from.v += count;
    }
    return rc;
}

static enum acknowledged acknowledged(const struct bundle_writer *w, const struct entry_view *v,
                                      enum level level)
{
    const struct divergence *d = w->of;
    return answered_what(&d->answered, v->header.term, v->header.lsn, level, d->commit);
}

/* ---- the first pass ---- */

static int count_txn(struct bundle_writer *w, const struct entry_view *v, struct err *e)
{
    struct body_txn txn;
    struct bundle *head = &w->head;
    int rc = body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, e);
    if (rc != 0)
        return rc;
    enum acknowledged a = acknowledged(w, v, txn.level);
    uint64_t *of = a == ACKNOWLEDGED_YES  ? &head->yes
                   : a == ACKNOWLEDGED_NO ? &head->no
                                          : &head->possible;
    *of += txn.op_count;
    head->operations += txn.op_count;
    head->transactions++;
    struct reader ops = txn.ops;
    for (uint32_t i = 0; rc == 0 && i < txn.op_count; i++) {
        struct op op;
        rc = body_next_op(&ops, &op, e);
        if (rc == 0)
            bases_want(w->bases, op.collection, op.key);
    }
    return rc;
}

static int count_entry(void *arg, const struct entry_view *v, struct err *e)
{
    struct bundle_writer *w = arg;
    w->head.entries++;
    w->head.points += v->header.kind == ENTRY_RESTORE_POINT;
    w->head.modes += v->header.kind == ENTRY_CONFIG;
    w->head.audits += v->header.kind == ENTRY_AUDIT;
    return v->header.kind == ENTRY_TXN ? count_txn(w, v, e) : 0;
}

/* ---- the second ---- */

static int put_line(struct bundle_writer *w, json_t *line, struct err *e)
{
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (text == NULL)
        return err_set(e, ERR_NO_MEMORY, "divergence bundle: out of memory");
    size_t n = strlen(text);
    text[n++] = '\n'; /* in place of the NUL */
    int rc = EVP_DigestUpdate(w->hash, text, n) == 1 && fwrite(text, 1, n, w->out) == n
                 ? 0
                 : err_set(e, ERR_IO, "divergence bundle: %s", strerror(errno));
    free(text);
    return rc;
}

static json_t *entry_line(const struct entry_view *v)
{
    return json_pack("{s:I, s:I, s:I}", "lsn", (json_int_t)v->header.lsn.v, "term",
                     (json_int_t)v->header.term.v, "time_us", (json_int_t)v->header.time.us);
}

static void add_session(json_t *line, const struct uuid *session)
{
    char text[2 * sizeof session->b + 1];
    hex_format(session->b, sizeof session->b, text);
    if (!uuid_is_zero(session))
        (void)json_object_set_new(line, "session", json_string(text));
}

static json_t *base_json(struct base base)
{
    return base.kind == BASE_VERSION ? json_integer((json_int_t)base.version.v)
                                     : json_string(base.kind == BASE_ABSENT ? "absent" : "unknown");
}

static json_t *op_line(struct bundle_writer *w, const struct entry_view *v,
                       const struct body_txn *txn, const struct op *op)
{
    json_t *line = entry_line(v);
    (void)json_object_set_new(line, "operation", json_integer((json_int_t)++w->operation));
    (void)json_object_set_new(line, "client", json_bytes(txn->client));
    add_session(line, &txn->session);
    if (!uuid_is_zero(&txn->session))
        (void)json_object_set_new(line, "sequence", json_integer((json_int_t)txn->sequence));
    (void)json_object_set_new(line, "acknowledged",
                              json_string(acknowledged_name(acknowledged(w, v, txn->level))));
    (void)json_object_set_new(line, "op", json_string(op->kind == OP_PUT ? "put" : "del"));
    (void)json_object_set_new(line, "collection", json_bytes(op->collection));
    (void)json_object_set_new(line, "key", json_bytes(op->key));
    (void)json_object_set_new(line, "base",
                              base_json(bases_find(w->bases, op->collection, op->key)));
    if (op->kind == OP_PUT)
        (void)json_object_set_new(line, "value", json_bytes(op->value));
    return line;
}

static int write_txn(struct bundle_writer *w, const struct entry_view *v, struct err *e)
{
    struct body_txn txn;
    int rc = body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, e);
    struct reader ops = rc == 0 ? txn.ops : (struct reader){0};
    for (uint32_t i = 0; rc == 0 && i < txn.op_count; i++) {
        struct op op;
        rc = body_next_op(&ops, &op, e);
        if (rc == 0)
            rc = put_line(w, op_line(w, v, &txn, &op), e);
    }
    return rc;
}

static int add_point(json_t *line, struct bytes body, struct err *e)
{
    struct body_restore_point b;
    int rc = body_read_restore_point(body, &b, e);
    if (rc == 0) {
        (void)json_object_set_new(line, "name", json_bytes(b.name));
        (void)json_object_set_new(line, "client", json_bytes(b.client));
    }
    return rc;
}

static int add_mode(json_t *line, struct bytes body, struct err *e)
{
    struct body_config b;
    int rc = body_read_config(body, &b, e);
    if (rc == 0) {
        (void)json_object_set_new(line, "mode", json_string(commit_mode_name(b.mode)));
        (void)json_object_set_new(line, "client", json_bytes(b.client));
    }
    return rc;
}

static int add_act(json_t *line, struct bytes body, struct err *e)
{
    static const char *const acts[] = {"", "open", "close", "expire"};
    struct body_session b;
    int rc = body_read_session(body, &b, e);
    if (rc == 0) {
        (void)json_object_set_new(line, "act", json_string(acts[b.act]));
        add_session(line, &b.session);
        (void)json_object_set_new(line, "client", json_bytes(b.client));
    }
    return rc;
}

static int add_audit(json_t *line, struct bytes body, struct err *e)
{
    struct body_audit b;
    int rc = body_read_audit(body, &b, e);
    if (rc == 0) {
        (void)json_object_set_new(line, "client", json_bytes(b.client));
        (void)json_object_set_new(line, "act", json_bytes(b.act));
        (void)json_object_set_new(line, "details", json_bytes(b.details));
    }
    return rc;
}

static int add_members(json_t *line, struct bytes body, struct err *e)
{
    struct body_members b;
    int rc = body_read_members(body, &b, e);
    json_t *members = json_array();
    for (uint32_t i = 0; rc == 0 && i < b.count; i++)
        (void)json_array_append_new(members,
                                    json_pack("{s:o, s:b}", "name", json_bytes(b.members[i].name),
                                              "votes", b.members[i].votes));
    (void)json_object_set_new(line, "members", members);
    if (rc == 0)
        (void)json_object_set_new(line, "client", json_bytes(b.by));
    return rc;
}

static int add_site(json_t *line, struct bytes body, struct err *e)
{
    struct body_noop b;
    int rc = body_read_noop(body, &b, e);
    if (rc == 0)
        (void)json_object_set_new(line, "site", json_bytes(b.site));
    return rc;
}

static int write_entry(void *arg, const struct entry_view *v, struct err *e)
{
    struct bundle_writer *w = arg;
    struct bytes body = bytes_of(v->body, v->header.body_bytes);
    int rc = 0;
    if (v->header.kind == ENTRY_TXN)
        return write_txn(w, v, e);
    json_t *line = entry_line(v);
    (void)json_object_set_new(line, "entry", json_string(entry_kind_name(v->header.kind)));
    if (v->header.kind != ENTRY_NOOP && v->header.kind != ENTRY_AUDIT)
        (void)json_object_set_new(line, "acknowledged",
                                  json_string(acknowledged_name(acknowledged(w, v, LEVEL_MODE))));
    switch (v->header.kind) {
    case ENTRY_TXN:
        break;
    case ENTRY_NOOP:
        rc = add_site(line, body, e);
        break;
    case ENTRY_CONFIG:
        rc = add_mode(line, body, e);
        break;
    case ENTRY_RESTORE_POINT:
        rc = add_point(line, body, e);
        break;
    case ENTRY_SESSION:
        rc = add_act(line, body, e);
        break;
    case ENTRY_AUDIT:
        rc = add_audit(line, body, e);
        break;
    case ENTRY_MEMBERS:
        rc = add_members(line, body, e);
        break;
    }
    if (rc == 0)
        return put_line(w, line, e);
    json_decref(line);
    return rc;
}

/* ---- the file ---- */

static json_t *head_line(const struct bundle_writer *w)
{
    const struct divergence *d = w->of;
    const struct site_config *c = d->site->config;
    const struct bundle *b = &w->head;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:I, "
        "s:I, s:I}",
        "bundle", BUNDLE_FORMAT, "id", b->id, "cluster", c->cluster, "cluster_id", b->cluster,
        "site", c->members[c->self].name, "term", (json_int_t)d->end.term.v, "common",
        (json_int_t)d->keep.v, "first", (json_int_t)d->keep.v + 1, "last", (json_int_t)d->end.lsn.v,
        "written_us", (json_int_t)site_now_us(), "entries", (json_int_t)b->entries, "transactions",
        (json_int_t)b->transactions, "operations", (json_int_t)b->operations, "acknowledged", "yes",
        (json_int_t)b->yes, "possible", (json_int_t)b->possible, "no", (json_int_t)b->no, "points",
        (json_int_t)b->points, "modes", (json_int_t)b->modes, "audits", (json_int_t)b->audits);
}

static int put_end(struct bundle_writer *w, struct err *e)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char text[2 * EVP_MAX_MD_SIZE + 1];
    if (EVP_DigestFinal_ex(w->hash, digest, &n) != 1)
        return err_set(e, ERR_FAILED, "divergence bundle: SHA-256 failed");
    hex_format(digest, n, text);
    return fprintf(w->out, "{\"end\":\"%s\",\"sha256\":\"%s\"}\n", BUNDLE_FORMAT, text) > 0
               ? 0
               : err_set(e, ERR_IO, "divergence bundle: %s", strerror(errno));
}

static int write_bundle(struct bundle_writer *w, struct err *e)
{
    struct divergence *d = w->of;
    struct lsn from = {d->keep.v + 1};
    w->bases = bases_open(d);
    int rc = divergence_walk(d, from, d->end.lsn, count_entry, w, e);
    bases_end(w->bases);
    if (rc == 0 && EVP_DigestInit_ex(w->hash, EVP_sha256(), NULL) != 1)
        rc = err_set(e, ERR_FAILED, "divergence bundle: SHA-256 failed");
    if (rc == 0)
        rc = put_line(w, head_line(w), e);
    if (rc == 0)
        rc = divergence_walk(d, from, d->end.lsn, write_entry, w, e);
    return rc == 0 ? put_end(w, e) : rc;
}

/* Under a temporary name, and durable there. */
static int write_file(struct bundle_writer *w, const char *path, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    w->out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (w->out == NULL) {
        int rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    w->hash = EVP_MD_CTX_new();
    int rc = w->hash == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory") : write_bundle(w, e);
    if (rc == 0 && (fflush(w->out) != 0 || fsync(fd) != 0))
        rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (fclose(w->out) != 0 && rc == 0)
        rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    EVP_MD_CTX_free(w->hash);
    bases_free(w->bases);
    return rc;
}

/* Was the same tail exported before, by a process that did not come to the cut? */
static bool is_there(const char *path, const char *id)
{
    struct bundle old;
    struct err e;
    err_init(&e);
    return bundle_check(path, &old, &e) == 0 && strcmp(old.id, id) == 0;
}

struct paths {
    char dir[SITE_PATH_BYTES + 16], name[SITE_PATH_BYTES + 128];
    char part[SITE_PATH_BYTES + 136], uncut[SITE_PATH_BYTES + 136];
};

static struct paths paths_of(const struct divergence *d)
{
    struct paths p;
    (void)snprintf(p.dir, sizeof p.dir, "%s/divergence", d->site->config->data_dir);
    (void)snprintf(p.name, sizeof p.name, "%s/%llu-%llu-%llu.jsonl", p.dir,
                   (unsigned long long)d->end.term.v, (unsigned long long)d->keep.v + 1,
                   (unsigned long long)d->end.lsn.v);
    (void)snprintf(p.part, sizeof p.part, "%s.part", p.name);
    (void)snprintf(p.uncut, sizeof p.uncut, "%s.uncut", p.name);
    return p;
}

static int rename_to(const char *from, const char *to, const char *dir, struct err *e)
{
    if (rename(from, to) != 0)
        return err_set(e, ERR_IO, "%s: %s", to, strerror(errno));
    return file_sync_path(dir, e);
}

void divergence_begin(struct divergence *d, struct site *s, struct lsn keep)
{
    *d = (struct divergence){.site = s,
                             .keep = keep,
                             .end = s->tail,
                             .commit = s->marks.commit,
                             .answered = s->answered};
}

int divergence_export(struct divergence *d, struct err *e)
{
    const struct paths p = paths_of(d);
    if (mkdir(p.dir, 0700) == 0 &&
        file_sync_parent(p.dir, e) != 0) /* made at init; somebody took it away */
        return e->code;

    struct bundle_writer w = {.of = d};
    hex_format(d->end.hash.b, sizeof d->end.hash.b, w.head.id);
    hex_format(d->site->config->cluster_id.b, sizeof d->site->config->cluster_id.b, w.head.cluster);
    d->named = is_there(p.name, w.head.id);
    d->before = d->named || is_there(p.uncut, w.head.id);
    if (d->before) /* whoever renamed it may not have come to what makes that durable */
        return file_sync_path(p.dir, e);
    int rc = write_file(&w, p.part, e);
    if (rc == 0)
        rc = rename_to(p.part, p.uncut, p.dir, e);
    else
        (void)unlink(p.part);
    d->operations = w.head.operations;
    d->yes = w.head.yes;
    d->possible = w.head.possible;
    return rc;
}

int divergence_name(struct divergence *d, struct err *e)
{
    const struct paths p = paths_of(d);
    int rc = d->named ? 0 : rename_to(p.uncut, p.name, p.dir, e);
    if (rc == 0 && d->before)
        events_add(d->site->events, "divergence: %s was written before, and stays", p.name);
    else if (rc == 0)
        events_add(d->site->events,
                   "divergence: %llu operations exported to %s (%llu acknowledged, %llu possibly); "
                   "see triveni divergence list",
                   (unsigned long long)d->operations, p.name, (unsigned long long)d->yes,
                   (unsigned long long)d->possible);
    d->named |= rc == 0;
    return rc;
}

void divergence_forget(struct divergence *d)
{
    const struct paths p = paths_of(d);
    if (!d->named)
        (void)unlink(p.uncut);
}

void divergence_end(struct divergence *d)
{
    free(d->buffer);
    *d = (struct divergence){.site = NULL};
}
