#include "repository/core/snaprec.h"

#include "store/core/check.h"

/* A record's size is known when all of it but the value is written: reserve the head, fill it in afterwards. */
static size_t begin(struct writer *w, enum repo_snap_type type)
{
    size_t at = w->at;
    write_u8(w, (uint8_t)type);
    write_u32(w, 0);
    return at;
}

static void end(struct writer *w, size_t at, size_t more)
{
    check(!w->bad);
    put_le32(w->p + at + 1, (uint32_t)(w->at - at - REPO_SNAP_PREFIX_BYTES + more));
}

static void write_position(struct writer *w, const struct entry_position *p)
{
    write_u64(w, p->lsn.v);
    write_u64(w, p->term.v);
    write_u64(w, p->time.us);
    write_sha256(w, &p->hash);
}

static struct entry_position read_position(struct reader *r)
{
    struct entry_position p;
    p.lsn.v = read_u64(r);
    p.term.v = read_u64(r);
    p.time.us = read_u64(r);
    p.hash = read_sha256(r);
    return p;
}

void repo_snap_write_header(struct writer *w, const struct repo_snap_header *h)
{
    size_t at = begin(w, REPO_SNAP_HEADER);
    write_u32(w, REPO_SNAP_MAGIC);
    write_u16(w, REPO_SNAP_FORMAT);
    write_u8(w, (uint8_t)h->mode);
    write_u8(w, 0);
    write_uuid(w, &h->cluster_id);
    write_position(w, &h->at);
    write_u64(w, h->records);
    write_u64(w, h->collections);
    write_digest(w, h->digest);
    end(w, at, 0);
}

void repo_snap_write_row(struct writer *w, const struct repo_snap_row *r)
{
    size_t at = begin(w, REPO_SNAP_ROW);
    write_bytes16(w, r->collection);
    write_bytes16(w, r->key);
    write_u64(w, r->lsn.v);
    write_u64(w, r->time.us);
    write_u32(w, (uint32_t)r->value.n);
    end(w, at, r->value.n);
}

void repo_snap_write_session(struct writer *w, const struct repo_snap_session *s)
{
    size_t at = begin(w, REPO_SNAP_SESSION);
    write_uuid(w, &s->id);
    write_u64(w, s->opened.v);
    write_u64(w, s->last.us);
    write_bytes16(w, s->client);
    end(w, at, 0);
}

void repo_snap_write_result(struct writer *w, const struct repo_snap_result *r)
{
    size_t at = begin(w, REPO_SNAP_RESULT);
    write_uuid(w, &r->id);
    write_u64(w, r->sequence);
    write_position(w, &r->at);
    end(w, at, 0);
}

void repo_snap_write_point(struct writer *w, const struct repo_snap_point *p)
{
    size_t at = begin(w, REPO_SNAP_POINT);
    write_bytes16(w, p->name);
    write_u64(w, p->lsn.v);
    write_u64(w, p->time.us);
    write_digest(w, p->digest);
    end(w, at, 0);
}

void repo_snap_write_trailer(struct writer *w, const struct repo_snap_trailer *t)
{
    size_t at = begin(w, REPO_SNAP_TRAILER);
    write_u64(w, t->records);
    write_u64(w, t->sessions);
    write_u64(w, t->results);
    write_u64(w, t->points);
    write_digest(w, t->digest);
    end(w, at, 0);
}

/* ---- reading ---- */

static const char *read_header(struct reader *r, struct repo_snap_header *h)
{
    if (read_u32(r) != REPO_SNAP_MAGIC)
        return "this is no snapshot: wrong magic";
    if (read_u16(r) != REPO_SNAP_FORMAT)
        return "its format is unknown to this program";
    uint8_t mode = read_u8(r);
    if (mode != COMMIT_MAJORITY && mode != COMMIT_LOCAL)
        return "its commit mode is unknown";
    h->mode = (enum commit_mode)mode;
    if (read_u8(r) != 0)
        return "a reserved byte is not zero";
    h->cluster_id = read_uuid(r);
    h->at = read_position(r);
    h->records = read_u64(r);
    h->collections = read_u64(r);
    h->digest = read_digest(r);
    return NULL;
}

static const char *read_payload(struct reader *r, struct repo_snap_record *out)
{
    switch (out->type) {
    case REPO_SNAP_HEADER:
        return read_header(r, &out->u.header);
    case REPO_SNAP_ROW: {
        struct op limits = {.kind = OP_PUT};
        out->u.row.collection = limits.collection = read_bytes16(r);
        out->u.row.key = limits.key = read_bytes16(r);
        out->u.row.lsn.v = read_u64(r);
        out->u.row.time.us = read_u64(r);
        out->u.row.value = limits.value = read_bytes32(r);
        return r->bad || op_check(&limits, true, NULL) == 0 ? NULL
                                                            : "a record is outside the limits";
    }
    case REPO_SNAP_SESSION:
        out->u.session.id = read_uuid(r);
        out->u.session.opened.v = read_u64(r);
        out->u.session.last.us = read_u64(r);
        out->u.session.client = read_bytes16(r);
        return NULL;
    case REPO_SNAP_RESULT:
        out->u.result.id = read_uuid(r);
        out->u.result.sequence = read_u64(r);
        out->u.result.at = read_position(r);
        return NULL;
    case REPO_SNAP_POINT:
        out->u.point.name = read_bytes16(r);
        out->u.point.lsn.v = read_u64(r);
        out->u.point.time.us = read_u64(r);
        out->u.point.digest = read_digest(r);
        return NULL;
    case REPO_SNAP_TRAILER:
        out->u.trailer.records = read_u64(r);
        out->u.trailer.sessions = read_u64(r);
        out->u.trailer.results = read_u64(r);
        out->u.trailer.points = read_u64(r);
        out->u.trailer.digest = read_digest(r);
        return NULL;
    }
    return "its type is unknown";
}

int repo_snap_read(struct reader *in, struct repo_snap_record *out, struct err *e)
{
    size_t at = in->at;
    memset(out, 0, sizeof *out);
    unsigned type = read_u8(in);
    struct reader r = reader_of(read_bytes32(in));
    out->type = (enum repo_snap_type)type;
    const char *wrong = in->bad ? "it is cut" : read_payload(&r, out);
    if (wrong == NULL && !reader_done(&r))
        wrong = r.bad ? "a length goes past its end" : "bytes are left over";
    if (wrong != NULL)
        return err_set(e, ERR_FORMAT, "snapshot record of type %u at byte %zu: %s", type, at,
                       wrong);
    return 0;
}
