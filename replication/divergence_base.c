/* Which version the records of a divergent tail had below the cut: what tells later whether somebody has changed them since.
 *
 * The state is at some lsn P. If P is beyond the cut (a primary in mode local), its past is asked as of the cut; if not (a site
 * that has just started), what the log has between P and the cut is added. What neither can tell is unknown, and said so:
 * whoever applies the bundle then asks the cluster, whose history has the same entries up to the cut.
 *
 * A wrong answer of the map would at worst be another record's version, and the operation be refused when it is applied. */
#include "replication/record_map.h"
#include "replication/site_parts.h"

#define UNKNOWN UINT64_MAX
#define ABSENT (UINT64_MAX - 1)

struct bases {
    struct divergence *of;
    struct state_snapshot *snap; /* NULL: closed, or could not be opened */
    struct lsn at;               /* the state is at `at` */
    bool unknown;                /* all of them */
    struct record_map map;       /* to a version, or one of the above */
};

struct bases *bases_open(struct divergence *d)
{
    struct bases *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->of = d;
    b->map.most = BASE_RECORDS_MAX;
    if (state_snapshot_open(d->site->state, &b->snap, NULL) != 0)
        b->snap = NULL;
    else
        b->at = state_snapshot_position(b->snap).lsn;
    return b;
}

static uint64_t look(const struct bases *b, struct bytes collection, struct bytes key)
{
    struct record r;
    struct err why;
    err_init(&why);
    int rc = b->at.v > b->of->keep.v
                 ? state_get_as_of(b->snap, (struct as_of){AS_OF_LSN, b->of->keep.v}, collection,
                                   key, &r, &why)
                 : state_get(b->snap, collection, key, &r, &why);
    return rc == 0 ? r.lsn.v : rc == ERR_NOT_FOUND ? ABSENT : UNKNOWN;
}

void bases_want(struct bases *b, struct bytes collection, struct bytes key)
{
    uint64_t *base = b != NULL && b->snap != NULL ? record_map_at(&b->map, collection, key) : NULL;
    if (base != NULL && *base == 0)
        *base = look(b, collection, key);
}

/* An entry between the state and the cut. */
static int passed(void *arg, const struct entry_view *v, struct err *e)
{
    struct bases *b = arg;
    struct body_txn txn;
    if (v->header.kind != ENTRY_TXN)
        return 0;
    int rc = body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, e);
    struct reader ops = rc == 0 ? txn.ops : (struct reader){0};
    for (uint32_t i = 0; rc == 0 && i < txn.op_count; i++) {
        struct op op;
        rc = body_next_op(&ops, &op, e);
        uint64_t *base = rc == 0 ? record_map_find(&b->map, op.collection, op.key) : NULL;
        if (base != NULL)
            *base = op.kind == OP_PUT ? v->header.lsn.v : ABSENT;
    }
    return rc;
}

void bases_end(struct bases *b)
{
    if (b == NULL || b->snap == NULL)
        return;
    state_snapshot_close(b->snap);
    b->snap = NULL;
    struct err why;
    err_init(&why);
    if (b->map.count == 0 || b->at.v >= b->of->keep.v ||
        divergence_walk(b->of, (struct lsn){b->at.v + 1}, b->of->keep, passed, b, &why) == 0)
        return;
    events_add(b->of->site->events,
               "divergence: the versions below the cut are not known, the log cannot be read: %s",
               why.text);
    b->unknown = true;
}

struct base bases_find(const struct bases *b, struct bytes collection, struct bytes key)
{
    const uint64_t *base =
        b != NULL && !b->unknown ? record_map_find(&b->map, collection, key) : NULL;
    if (base == NULL || *base == UNKNOWN)
        return (struct base){BASE_UNKNOWN, {0}};
    return *base == ABSENT ? (struct base){BASE_ABSENT, {0}} : (struct base){BASE_VERSION, {*base}};
}

void bases_free(struct bases *b)
{
    if (b == NULL)
        return;
    if (b->snap != NULL)
        state_snapshot_close(b->snap);
    record_map_free(&b->map);
    free(b);
}
