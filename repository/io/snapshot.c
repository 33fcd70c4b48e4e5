/* Snapshots: the whole state as one object, written from a read transaction while the site goes on, read front to end.
 *
 * Small records are gathered into frames of about 1 MiB; a value that is larger than that is a frame of its own and goes
 * through without being copied. The digest is counted from the records on the way and compared with the one that the
 * state keeps: a state that differs from its own digest is not archived.
 *
 * INVARIANTS
 *   I1  Header first, trailer last, types never go down, records in strict order of (collection, key): checked by the
 *       reader, so that a snapshot that decodes is one that was written whole.
 *   I2  Counts and digest of the trailer, of the header and of the meta are those of the records. */
#include "repository/io/archive.h"

#include "store/core/check.h"

#include <stdio.h>

#define LSN(x) ((unsigned long long)(x).v)

enum { FRAME_BYTES = 1 << 20 };

/* ---- writing ---- */

struct snap_writer {
    struct repo_writer *out;
    struct state_snapshot *snap;
    struct repo_snap_trailer count;
    struct writer frame; /* records gathered for the next frame */
    struct err *e;
};

static int flush_frame(struct snap_writer *w)
{
    struct bytes frame = bytes_of(w->frame.p, w->frame.at);
    w->frame.at = 0;
    return frame.n == 0 ? 0 : repo_writer_frame(w->out, &frame, 1, w->e);
}

/* Room for one record's head and n bytes of value, if the frame can have it at all. */
static int make_room(struct snap_writer *w, size_t n)
{
    size_t room = w->frame.cap - w->frame.at;
    return room < REPO_SNAP_HEAD_MAX_BYTES || room - REPO_SNAP_HEAD_MAX_BYTES < n ? flush_frame(w)
                                                                                  : 0;
}

static int write_row(struct snap_writer *w, const struct repo_snap_row *r)
{
    w->count.records++;
    w->count.digest =
        digest_add(w->count.digest, digest_record(r->collection, r->key, r->lsn, r->value));
    int rc = make_room(w, r->value.n);
    if (rc != 0)
        return rc;
    repo_snap_write_row(&w->frame, r);
    if (r->value.n <= w->frame.cap - w->frame.at) {
        write_bytes(&w->frame, r->value);
        return 0;
    }
    struct bytes pieces[] = {bytes_of(w->frame.p, w->frame.at), r->value};
    w->frame.at = 0;
    return repo_writer_frame(w->out, pieces, 2, w->e);
}

static int write_records(struct snap_writer *w)
{
    struct scan_options all = {.reverse = false};
    struct state_scan *scan;
    int rc = state_scan_open(w->snap, &all, &scan, w->e);
    if (rc != 0)
        return rc;
    struct record r;
    while (rc == 0 && (rc = state_scan_next(scan, &r, w->e)) == 0) {
        struct repo_snap_row row = {r.collection, r.key, r.value, r.lsn, r.time};
        rc = write_row(w, &row);
    }
    state_scan_close(scan);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int write_session(void *arg, const struct uuid *id, const struct session_info *info)
{
    struct snap_writer *w = arg;
    int rc = make_room(w, 0);
    repo_snap_write_session(
        &w->frame, &(struct repo_snap_session){*id, info->client, info->opened, info->last});
    w->count.sessions++;
    return rc;
}

static int write_result(void *arg, const struct uuid *id, uint64_t sequence,
                        const struct entry_position *at)
{
    struct snap_writer *w = arg;
    int rc = make_room(w, 0);
    repo_snap_write_result(&w->frame, &(struct repo_snap_result){*id, sequence, *at});
    w->count.results++;
    return rc;
}

static int write_point(void *arg, const struct restore_point *p)
{
    struct snap_writer *w = arg;
    int rc = make_room(w, 0);
    repo_snap_write_point(&w->frame,
                          &(struct repo_snap_point){p->name, p->lsn, p->time, p->digest});
    w->count.points++;
    return rc;
}

static int check_counts(const struct repo_snap_header *h, const struct repo_snap_trailer *t,
                        struct err *e)
{
    char kept[DIGEST_HEX_BYTES], counted[DIGEST_HEX_BYTES];
    digest_hex(h->digest, kept);
    digest_hex(t->digest, counted);
    if (h->records == t->records && digest_equal(h->digest, t->digest))
        return 0;
    return err_set(
        e, ERR_INTEGRITY,
        "the state at lsn %llu claims %llu records with digest %s, and %llu with digest %s were "
        "counted",
        LSN(h->at.lsn), (unsigned long long)h->records, kept, (unsigned long long)t->records,
        counted);
}

static int write_all(struct snap_writer *w, const struct repo_snap_header *header)
{
    repo_snap_write_header(&w->frame, header);
    int rc = write_records(w);
    if (rc == 0)
        rc = check_counts(header, &w->count, w->e);
    if (rc == 0)
        rc = state_sessions(w->snap, write_session, w, w->e);
    if (rc == 0)
        rc = state_results(w->snap, write_result, w, w->e);
    if (rc == 0)
        rc = state_restore_points(w->snap, write_point, w, w->e);
    if (rc == 0)
        rc = make_room(w, 0);
    if (rc == 0) {
        repo_snap_write_trailer(&w->frame, &w->count);
        rc = flush_frame(w);
    }
    return rc;
}

static int write_object(struct repository *r, struct repo_draft *d, struct state_snapshot *snap,
                        const struct repo_snap_header *header, struct repo_snapshot *out,
                        struct err *e)
{
    uint8_t *buffer = malloc(FRAME_BYTES);
    if (buffer == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a snapshot's frame");
    struct snap_writer w = {
        .out = d->writer, .snap = snap, .frame = writer_of(buffer, FRAME_BYTES), .e = e};
    int rc = write_all(&w, header);
    free(buffer);
    if (rc == 0)
        rc = repo_draft_seal(r, d, NULL, NULL, e);
    if (rc != 0)
        return rc;
    repo_draft_object(d, &out->o);
    out->o.end = header->at;
    out->o.digest_known = true;
    out->o.digest = header->digest;
    out->records = w.count.records;
    out->sessions = w.count.sessions;
    out->results = w.count.results;
    out->points = w.count.points;
    return 0;
}

static int publish(struct repository *r, struct repo_draft *d, const struct repo_snapshot *s,
                   struct err *e)
{
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    uint8_t *meta = NULL;
    size_t n = 0;
    repo_name_meta(d->name, name);
    repo_identity_of(r, name, identity);
    int rc = repo_snapshot_write(s, &r->about.cluster_id, &d->key, identity, &meta, &n, e);
    if (rc == 0)
        rc = repo_draft_publish(r, d, bytes_of(meta, n), e);
    free(meta);
    return rc;
}

/* Room for one more, and where it belongs; ERR_EXISTS when a usable one is there. */
static int find_place(struct repository *r, struct lsn lsn, size_t *place, struct err *e)
{
    struct repo_inventory *inv = &r->inv;
    struct repo_snapshot *more = realloc(inv->snapshots, (inv->snapshot_count + 1) * sizeof *more);
    if (more == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of snapshots");
    inv->snapshots = more;
    for (*place = inv->snapshot_count; *place > 0 && more[*place - 1].o.end.lsn.v >= lsn.v;
         (*place)--)
        if (more[*place - 1].o.end.lsn.v == lsn.v && !more[*place - 1].o.damaged)
            return err_set(e, ERR_EXISTS, "%s: a snapshot at lsn %llu is there already",
                           more[*place - 1].o.name, LSN(lsn));
    return 0;
}

int repository_snapshot(struct repository *r, struct state_snapshot *snap, struct err *e)
{
    struct repo_draft d = REPO_DRAFT_NONE;
    struct repo_snapshot made = {0};
    struct state_totals totals;
    struct repo_snap_header header = {.cluster_id = r->about.cluster_id,
                                      .at = state_snapshot_position(snap)};
    struct repo_name name = {.kind = REPO_SNAPSHOT, .last = header.at.lsn};
    size_t place = 0;
    if (r->read_only)
        return err_set(e, ERR_DENIED, "the archive was opened for reading only");
    if (r->failed.code != 0)
        return err_set(e, r->failed.code, "nothing is written any more after: %.400s",
                       r->failed.text);
    if (header.at.lsn.v == 0)
        return err_set(e, ERR_USAGE, "the state is empty: there is nothing to take a snapshot of");
    int rc = find_place(r, header.at.lsn, &place, e);
    if (rc == 0)
        rc = state_totals(snap, &totals, e);
    if (rc == 0) {
        header.mode = totals.mode;
        header.records = totals.records;
        header.collections = totals.collections;
        header.digest = totals.digest;
        rc = repo_draft_begin(r, &d, &name, e);
    }
    if (rc == 0)
        rc = write_object(r, &d, snap, &header, &made, e);
    if (rc == 0)
        rc = publish(r, &d, &made, e);
    if (rc == 0) {
        struct repo_snapshot *list = r->inv.snapshots;
        memmove(list + place + 1, list + place, (r->inv.snapshot_count - place) * sizeof *list);
        list[place] = made;
        r->inv.snapshot_count++;
    } else if (rc != ERR_EXISTS) {
        err_wrap(e, "snapshot at lsn %llu", LSN(header.at.lsn));
    }
    repo_draft_drop(&d);
    return rc;
}

/* ---- reading ---- */

struct snap_checker {
    const struct repo_snapshot *s;
    enum repo_snap_type last;
    struct repo_snap_header header;
    struct repo_snap_trailer count;
    uint8_t collection[COLLECTION_MAX_BYTES], key[KEY_MAX_BYTES];
    size_t collection_bytes, key_bytes;
};

static const char *check_row(struct snap_checker *c, const struct repo_snap_row *r)
{
    struct bytes collection = bytes_of(c->collection, c->collection_bytes);
    int order = bytes_compare(collection, r->collection);
    if (order == 0)
        order = bytes_compare(bytes_of(c->key, c->key_bytes), r->key);
    if (order >= 0)
        return "records are out of order";
    memcpy(c->collection, r->collection.p, r->collection.n);
    memcpy(c->key, r->key.p, r->key.n);
    c->collection_bytes = r->collection.n;
    c->key_bytes = r->key.n;
    c->count.records++;
    c->count.digest =
        digest_add(c->count.digest, digest_record(r->collection, r->key, r->lsn, r->value));
    return r->lsn.v == 0 || r->lsn.v > c->header.at.lsn.v ? "a record is newer than the snapshot"
                                                          : NULL;
}

static const char *check_trailer(const struct snap_checker *c, const struct repo_snap_trailer *t)
{
    const struct repo_snapshot *s = c->s;
    bool same = t->records == c->count.records && t->sessions == c->count.sessions &&
                t->results == c->count.results && t->points == c->count.points &&
                digest_equal(t->digest, c->count.digest);
    bool as_named = s->records == t->records && s->sessions == t->sessions &&
                    s->results == t->results && s->points == t->points &&
                    digest_equal(s->o.digest, t->digest) &&
                    digest_equal(c->header.digest, t->digest) && c->header.records == t->records;
    return !same      ? "the trailer's counts or digest are not those of the records"
           : as_named ? NULL
                      : "its meta or header names other counts or another digest";
}

/* NULL when the record may stand here. */
static const char *check_next(struct snap_checker *c, const struct uuid *cluster,
                              const struct repo_snap_record *x)
{
    if (c->last == 0 ? x->type != REPO_SNAP_HEADER : x->type == REPO_SNAP_HEADER)
        return "the header must be the first record, and only that";
    if (x->type < c->last || c->last == REPO_SNAP_TRAILER)
        return "a record stands where its type cannot stand";
    c->last = x->type;
    switch (x->type) {
    case REPO_SNAP_HEADER:
        c->header = x->u.header;
        if (!uuid_equal(&c->header.cluster_id, cluster))
            return "it is of another cluster";
        return repo_position_equal(&c->header.at, &c->s->o.end) ? NULL
                                                                : "its meta names another position";
    case REPO_SNAP_ROW:
        return check_row(c, &x->u.row);
    case REPO_SNAP_SESSION:
        c->count.sessions++;
        return NULL;
    case REPO_SNAP_RESULT:
        c->count.results++;
        return NULL;
    case REPO_SNAP_POINT:
        c->count.points++;
        return NULL;
    case REPO_SNAP_TRAILER:
        return check_trailer(c, &x->u.trailer);
    }
    return "its type is unknown";
}

struct snap_walk {
    const struct repository *r;
    struct snap_checker check;
    int (*each)(void *arg, const struct repo_snap_record *);
    void *arg;
    bool stopped; /* by the callback */
};

static int walk_frame(struct snap_walk *w, struct bytes frame, struct err *e)
{
    struct reader in = reader_of(frame);
    while (in.at < in.n) {
        struct repo_snap_record x;
        size_t at = in.at;
        int rc = repo_snap_read(&in, &x, e);
        if (rc != 0)
            return rc;
        const char *wrong = check_next(&w->check, &w->r->about.cluster_id, &x);
        if (wrong != NULL)
            return err_set(e, ERR_INTEGRITY, "record at byte %zu of its content: %s", at, wrong);
        rc = w->each(w->arg, &x);
        if (rc != 0) {
            w->stopped = true;
            return rc;
        }
    }
    return 0;
}

static int walk_object(struct snap_walk *w, struct repo_reader *reader,
                       void (*after_frame)(void *arg, uint64_t bytes), struct err *e)
{
    for (uint32_t i = 0; i < repo_reader_frames(reader); i++) {
        struct bytes frame;
        int rc = repo_reader_frame(reader, i, &frame, e);
        if (rc == 0 && (rc = walk_frame(w, frame, e)) != 0 && !w->stopped)
            err_wrap(e, "frame %u", i);
        if (rc != 0)
            return rc;
        if (after_frame != NULL)
            after_frame(w->arg, repo_reader_position(reader, i));
    }
    return w->check.last == REPO_SNAP_TRAILER
               ? 0
               : err_set(e, ERR_INTEGRITY, "it ends without a trailer");
}

int repo_snapshot_walk(struct repository *r, const struct repo_snapshot *s,
                       int (*each)(void *arg, const struct repo_snap_record *),
                       void (*after_frame)(void *arg, uint64_t bytes), void *arg, struct err *e)
{
    char identity[REPO_IDENTITY_BYTES];
    struct snap_walk *w = calloc(1, sizeof *w);
    struct repo_reader *reader = NULL;
    struct repo_key key;
    struct repo_blob file = REPO_BLOB_NONE;
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to read a snapshot");
    *w = (struct snap_walk){.r = r, .check = {.s = s}, .each = each, .arg = arg};
    repo_identity_of(r, s->o.name, identity);
    int rc = repo_object_key(r, &s->o, &key, e);
    const bool gone = rc == ERR_NOT_FOUND;
    if (rc == 0)
        rc = repo_blob_open(&file, r->backend, s->o.name, e);
    if (rc == 0)
        rc = repo_reader_new(&reader, &file, &key, identity, e);
    if (rc == 0)
        rc = walk_object(w, reader, after_frame, e);
    if (rc != 0 && !w->stopped && !gone) {
        err_wrap(e, "%s (lsn %llu)", s->o.name, LSN(s->o.end.lsn));
        rc = repo_damage(e);
    }
    repo_reader_free(reader);
    repo_wipe(&key, sizeof key);
    repo_blob_close(&file);
    free(w);
    return rc;
}
