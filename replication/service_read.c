/* Reads. At the primary they are linearizable: the site is ready, its lease is valid (R3, R4), point reads see everything
 * visible (the overlay first, then the state) and scans and snapshots wait until the state has caught up with what was visible
 * when they came. The past is read from the state alone, which has to hold all of it. Standbys answer those who allow it, from
 * a state not older than the caller's token, and say how old it may be. */
#include "replication/service.h"

#include "store/core/check.h"

/* How old what is answered may be; `overlay`: it is from there, too. A primary without a lease may have been replaced, and does
 * not know since when. */
static uint64_t age_us(const struct site *s, bool overlay)
{
    if (overlay || site_is_settled(s))
        return repl_lease_valid(s->repl, site_now_ms()) ? 0 : UINT64_MAX;
    return freshness_age_us(&s->freshness, site_now_ms());
}

static int park(struct client *c, const struct frame *f, struct bytes body, struct lsn need,
                struct err *e)
{
    int rc = service_park(c, f, body, need, e);
    return rc != 0 ? rc : SERVICE_LATER;
}

/* May this read be answered now? SERVICE_LATER: it will be, and is parked until then. `whole`: it reads the state alone (scan,
 * snapshot), so everything visible must be applied. */
static int read_readiness(struct client *c, const struct frame *f, struct bytes body,
                          uint32_t flags, struct lsn min_lsn, bool whole, struct err *e)
{
    struct site *s = c->service->site;
    const struct parked *earlier = c->service->trying;
    bool standby = (flags & WIRE_READ_STANDBY) != 0;
    struct lsn need = earlier != NULL && earlier->need.v > min_lsn.v ? earlier->need : min_lsn;
    if (s->view.role != REPL_PRIMARY && !standby) {
        const struct site_member *primary = site_member(s, s->view.primary);
        return err_set(e, ERR_NOT_PRIMARY,
                       "%s is not the primary: %s; ask there, or allow reads at standbys",
                       s->config->members[s->config->self].name,
                       primary != NULL ? primary->client : "none is known now");
    }
    if (s->view.role == REPL_PRIMARY && !standby) {
        bool ready = site_is_ready(s) && repl_lease_valid(s->repl, site_now_ms());
        if (!whole && ready)
            return 0; /* the overlay holds what is not applied */
        if (!whole)
            need.v = 0;
        else if (earlier == NULL && s->marks.visible.v > need.v)
            need = s->marks.visible;
        if (whole && !ready && s->term_start.v > need.v)
            need = s->term_start;
        if (!ready)
            return park(c, f, body, need, e);
    }
    if (need.v > s->marks.applied.v || !site_common(s, need))
        return park(c, f, body, need, e);
    return 0;
}

static int find_snapshot(struct client *c, uint64_t id, struct state_snapshot **out, struct err *e)
{
    *out = NULL;
    for (unsigned i = 0; i < CLIENT_SNAPSHOTS_MAX; i++) {
        if (c->snapshots[i].id != id)
            continue;
        *out = c->snapshots[i].snap;
        return *out != NULL
                   ? 0
                   : err_set(
                         e, ERR_STALE,
                         "snapshot %llu was closed here: it was open for %u s, the longest that "
                         "store.snapshot_seconds allows, or the site had to undo; open a new one",
                         (unsigned long long)id, c->service->site->config->snapshot_ms / 1000);
    }
    return err_set(
        e, ERR_NOT_FOUND,
        "snapshot %llu is not open on this connection: snapshots end with theirs; open a "
        "new one",
        (unsigned long long)id);
}

/* The state to read: the client's snapshot, or this turn's. */
static int pick_snapshot(struct client *c, uint64_t id, struct state_snapshot **out, struct err *e)
{
    if (id == 0)
        return site_snapshot(c->service->site, out, e);
    return find_snapshot(c, id, out, e);
}

/* A past that is over: an lsn that is in the history, a time that commit time has behind it. Which lsn must be applied
 * before it can be answered, whatever is committed later; *flags loses WIRE_READ_STANDBY where only a primary with its lease
 * can tell. Commit time and not the clock, which can be set: what this site seals from here on gets no earlier time
 * (store/core/commit_time.h). Another primary, whose clock is behind, still may. */
static int past_needs(struct client *c, struct as_of as_of, uint32_t *flags, struct lsn *need,
                      struct err *e)
{
    struct site *s = c->service->site;
    const bool primary = s->view.role == REPL_PRIMARY;
    if (as_of.kind == AS_OF_LSN) {
        if (primary && as_of.value > s->tail.lsn.v)
            return err_set(e, ERR_USAGE, "lsn %llu is not written yet: the newest is %llu",
                           (unsigned long long)as_of.value, (unsigned long long)s->tail.lsn.v);
        if (as_of.value > need->v)
            need->v = as_of.value;
        return 0;
    }
    if (as_of.value >= site_commit_time(s).us)
        return err_set(e, ERR_USAGE,
                       "that time is not over yet in the commit time of %s: leave the past out to "
                       "read the present",
                       s->config->members[s->config->self].name);
    if (as_of.value < state_applied(s->state).time.us)
        return 0; /* every entry up to it is applied: times never decrease along the log */
    if (!primary && (*flags & WIRE_READ_STANDBY) != 0) {
        const struct site_member *m = site_member(s, s->view.primary);
        return err_set(
            e, ERR_NOT_PRIMARY,
            "%s has not seen a transaction after that time, so it cannot tell whether it "
            "has all up to it; ask the primary: %s",
            s->config->members[s->config->self].name, m != NULL ? m->client : "none is known now");
    }
    *flags &= ~(uint32_t)WIRE_READ_STANDBY;
    if (c->service->trying == NULL && s->tail.lsn.v > need->v)
        *need = s->tail.lsn; /* what is not committed yet may be from before that time */
    return 0;
}

/* May a get or a scan be answered now? */
static int records_readiness(struct client *c, const struct frame *f, struct bytes body,
                             uint32_t flags, struct lsn min_lsn, struct as_of as_of, bool scan,
                             struct err *e)
{
    const bool past = as_of.kind != AS_OF_NONE;
    int rc = past ? past_needs(c, as_of, &flags, &min_lsn, e) : 0;
    return rc != 0 ? rc : read_readiness(c, f, body, flags, min_lsn, scan || past, e);
}

/* The lsn as of which the snapshot is read. */
static int resolve(struct state_snapshot *snap, bool own, struct as_of *as_of, struct lsn *lsn,
                   struct err *e)
{
    const struct entry_position at = state_snapshot_position(snap);
    if (own && as_of->kind == AS_OF_TIME && as_of->value >= at.time.us)
        return err_set(e, ERR_USAGE,
                       "the snapshot is at lsn %llu and cannot tell what came later, up to that "
                       "time",
                       (unsigned long long)at.lsn.v);
    int rc = state_as_of(snap, *as_of, lsn, e);
    if (as_of->kind != AS_OF_NONE)
        *as_of = (struct as_of){AS_OF_LSN, lsn->v};
    return rc;
}

int service_newest(struct site *s, struct bytes collection, struct bytes key, struct record *out,
                   struct err *e)
{
    struct state_snapshot *snap;
    switch (overlay_get(s->overlay, collection, key, SERVICE_NEWEST, out)) {
    case OVERLAY_THERE:
        return 0;
    case OVERLAY_GONE:
        return ERR_NOT_FOUND;
    case OVERLAY_UNKNOWN:
        break;
    }
    int rc = site_snapshot(s, &snap, e);
    return rc != 0 ? rc : state_get(snap, collection, key, out, e);
}

/* One record, as it is visible now. 0 or ERR_NOT_FOUND. */
static int get_visible(struct site *s, struct state_snapshot *snap, bool overlay,
                       struct as_of as_of, struct bytes collection, struct bytes key,
                       struct record *out, struct err *e)
{
    if (overlay)
        switch (overlay_get(s->overlay, collection, key, s->marks.visible, out)) {
        case OVERLAY_THERE:
            return 0;
        case OVERLAY_GONE:
            return ERR_NOT_FOUND;
        case OVERLAY_UNKNOWN:
            break;
        }
    int rc = as_of.kind == AS_OF_NONE ? state_get(snap, collection, key, out, e)
                                      : state_get_as_of(snap, as_of, collection, key, out, e);
    if (rc == ERR_INTEGRITY && as_of.kind == AS_OF_NONE)
        care_suspect(s, collection, key);
    return rc;
}

int service_get(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct site *s = c->service->site;
    struct wire_get m;
    int rc = wire_read_get(body, &m, e);
    if (rc == 0 && m.snapshot == 0)
        rc = records_readiness(c, f, body, m.flags, m.min_lsn, m.as_of, false, e);
    struct state_snapshot *snap;
    struct lsn lsn = {0};
    if (rc == 0)
        rc = pick_snapshot(c, m.snapshot, &snap, e);
    if (rc == 0)
        rc = resolve(snap, m.snapshot != 0, &m.as_of, &lsn, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    bool past = m.as_of.kind != AS_OF_NONE;
    bool overlay = m.snapshot == 0 && !past && site_is_ready(s);
    struct wire_read_header header = {overlay ? s->marks.visible : lsn,
                                      m.snapshot == 0 && !past ? age_us(s, overlay) : 0, m.count};

    size_t need = 64;
    struct record r;
    struct bytes collection, key;
    struct reader keys = m.keys;
    for (uint32_t i = 0; i < m.count; i++) {
        rc = wire_next_key(&keys, &collection, &key, e);
        if (rc == 0)
            rc = get_visible(s, snap, overlay, m.as_of, collection, key, &r, e);
        if (rc != 0 && rc != ERR_NOT_FOUND)
            return rc;
        need += 32 + (rc == 0 ? r.value.n : 0);
    }
    if (need > FRAME_CLIENT_MAX_BYTES)
        return err_set(
            e, ERR_LIMIT,
            "the %u records take %zu bytes together, an answer at most %d: ask for fewer", m.count,
            need, FRAME_CLIENT_MAX_BYTES);
    uint8_t *out = service_buffer(c->service, need, e);
    if (out == NULL)
        return e->code;
    struct writer w = writer_of(out, need);
    wire_write_read_header(&w, &header);
    keys = m.keys;
    for (uint32_t i = 0; i < m.count; i++) {
        check(wire_next_key(&keys, &collection, &key, NULL) == 0);
        bool found = get_visible(s, snap, overlay, m.as_of, collection, key, &r, e) == 0;
        struct wire_record record = {.found = found};
        if (found)
            record = (struct wire_record){true, collection, key, r.value, r.lsn, r.time};
        wire_write_get_record(&w, &record);
    }
    check(!w.bad);
    c->service->reads++;
    service_reply(c, FRAME_GET, f->request, bytes_of(out, w.at));
    return 0;
}

/* After the records: the key that the scan is at. */
static int add_after(struct service *v, struct writer *w, struct bytes key, struct err *e)
{
    w->p = service_buffer(v, w->at + 2 + key.n, e);
    if (w->p == NULL)
        return e->code;
    w->cap = v->out_capacity;
    write_bytes16(w, key);
    check(!w->bad);
    return 0;
}

int service_scan_add(struct service *v, const struct wire_scan *m, const struct record *r,
                     struct bytes token, struct scan_page *page, struct err *e)
{
    struct writer *w = &page->w;
    const size_t need = r->value.n + r->key.n + r->collection.n + token.n + 40;
    if (page->count == m->limit || (page->count > 0 && w->at + need > WIRE_SCAN_MAX_BYTES)) {
        page->more = WIRE_MORE_AFTER_LAST;
        return 1;
    }
    uint8_t *out = service_buffer(v, w->at + need, e);
    if (out == NULL)
        return e->code;
    w->p = out;
    w->cap = v->out_capacity;
    wire_write_scan_record(
        w, &(struct wire_record){true, r->collection, r->key, r->value, r->lsn, r->time});
    if (token.n != 0)
        wire_write_scan_token(w, token);
    check(!w->bad);
    page->count++;
    return 0;
}

/* Copy records until the limit, the size bound, too many that were not there then, or the end. */
static int scan_into(struct service *v, struct state_snapshot *snap, const struct wire_scan *m,
                     struct scan_page *page, struct err *e)
{
    struct state_scan *scan;
    struct scan_options options = {.collection = m->collection,
                                   .from = m->from,
                                   .to = m->to,
                                   .prefix = m->prefix,
                                   .after = m->after,
                                   .reverse = m->reverse,
                                   .as_of = m->as_of,
                                   .skip_max = WIRE_SCAN_MAX_SKIPS};
    int rc = state_scan_open(snap, &options, &scan, e);
    if (rc != 0)
        return rc;
    while (rc == 0) {
        struct record r = {.lsn = {0}};
        rc = state_scan_next(scan, &r, e);
        if (rc == ERR_INTEGRITY)
            care_suspect(v->site, r.collection, r.key);
        if (rc == 0) {
            rc = service_scan_add(v, m, &r, (struct bytes){NULL, 0}, page, e);
        } else if (rc == ERR_LIMIT) {
            page->more = WIRE_MORE_AFTER_KEY;
            rc = add_after(v, &page->w, r.key, e);
            break;
        }
    }
    state_scan_close(scan);
    return rc == ERR_NOT_FOUND || rc == 1 ? 0 : rc;
}

int service_scan(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct site *s = c->service->site;
    struct wire_scan m;
    int rc = wire_read_scan(body, &m, e);
    if (rc == 0 && m.snapshot == 0)
        rc = records_readiness(c, f, body, m.flags, m.min_lsn, m.as_of, true, e);
    struct state_snapshot *snap;
    struct lsn lsn = {0};
    if (rc == 0)
        rc = pick_snapshot(c, m.snapshot, &snap, e);
    if (rc == 0)
        rc = resolve(snap, m.snapshot != 0, &m.as_of, &lsn, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    struct wire_read_header header = {
        lsn, m.snapshot == 0 && m.as_of.kind == AS_OF_NONE ? age_us(s, false) : 0, 0};
    uint8_t *out = service_buffer(c->service, 1 << 16, e);
    if (out == NULL)
        return e->code;
    struct scan_page page = {.w = writer_of(out, c->service->out_capacity), .more = WIRE_MORE_NONE};
    wire_write_read_header(&page.w, &header);
    size_t header_end = page.w.at;
    write_u8(&page.w, 0);
    rc = m.index.n != 0 ? service_index_scan(c->service, snap, &m, &page, e)
                        : scan_into(c->service, snap, &m, &page, e);
    if (rc != 0)
        return rc;
    size_t end = page.w.at;
    page.w.at = 0;
    header.count = page.count;
    wire_write_read_header(&page.w, &header);
    check(page.w.at == header_end);
    write_u8(&page.w, (uint8_t)page.more);
    c->service->reads++;
    service_reply(c, FRAME_SCAN, f->request, bytes_of(page.w.p, end));
    return 0;
}

/* ---- snapshots ---- */

int service_snapshot_open(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct site *s = c->service->site;
    struct wire_snapshot_open m;
    int rc = wire_read_snapshot_open(body, &m, e);
    if (rc == 0)
        rc = read_readiness(c, f, body, m.flags, m.min_lsn, true, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    unsigned slot = 0;
    while (slot < CLIENT_SNAPSHOTS_MAX && c->snapshots[slot].snap != NULL)
        slot++;
    if (slot == CLIENT_SNAPSHOTS_MAX)
        return err_set(e, ERR_LIMIT, "%d snapshots are open on this connection: close one first",
                       CLIENT_SNAPSHOTS_MAX);
    if (c->service->snapshot_count >= SNAPSHOTS_MAX)
        return err_set(e, ERR_BUSY,
                       "%d snapshots are open here already: try again or at another site",
                       SNAPSHOTS_MAX);
    rc = state_snapshot_open(s->state, &c->snapshots[slot].snap, e);
    if (rc != 0)
        return rc;
    c->service->snapshot_count++;
    c->snapshots[slot].id = ++c->service->next_snapshot;
    c->snapshots[slot].opened_ms = site_now_ms();
    struct entry_position at = state_snapshot_position(c->snapshots[slot].snap);
    uint8_t out[64];
    struct writer w = writer_of(out, sizeof out);
    wire_write_snapshot(&w, &(struct wire_snapshot){c->snapshots[slot].id, at.lsn, at.time});
    check(!w.bad);
    service_reply(c, FRAME_SNAPSHOT_OPEN, f->request, bytes_of(out, w.at));
    return 0;
}

static void close_slot(struct client *c, unsigned slot)
{
    if (c->snapshots[slot].snap == NULL)
        return;
    state_snapshot_close(c->snapshots[slot].snap);
    c->snapshots[slot].snap = NULL;
    c->service->snapshot_count--;
}

uint64_t service_oldest_snapshot_ms(const struct service *v)
{
    uint64_t oldest = UINT64_MAX;
    for (const struct client *c = v->clients; c != NULL; c = c->next)
        for (unsigned i = 0; i < CLIENT_SNAPSHOTS_MAX; i++)
            if (c->snapshots[i].snap != NULL && c->snapshots[i].opened_ms < oldest)
                oldest = c->snapshots[i].opened_ms;
    return oldest;
}

void client_close_snapshots(struct client *c, uint64_t older_than_ms)
{
    for (unsigned i = 0; i < CLIENT_SNAPSHOTS_MAX; i++)
        if (c->snapshots[i].opened_ms <= older_than_ms)
            close_slot(c, i);
}

int service_snapshot_close(struct client *c, const struct frame *f, struct bytes body,
                           struct err *e)
{
    struct wire_snapshot_close m;
    int rc = wire_read_snapshot_close(body, &m, e);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; i < CLIENT_SNAPSHOTS_MAX; i++)
        if (m.id != 0 && c->snapshots[i].id == m.id) {
            close_slot(c, i);
            c->snapshots[i].id = 0;
        }
    uint8_t out[64];
    struct writer w = writer_of(out, sizeof out);
    wire_write_done(&w, &(struct wire_done){.level = LEVEL_MODE});
    check(!w.bad);
    service_reply(c, FRAME_SNAPSHOT_CLOSE, f->request, bytes_of(out, w.at));
    return 0;
}

/* ---- outcomes ---- */

int service_outcome(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct site *s = c->service->site;
    struct wire_outcome_ask m;
    int rc = wire_read_outcome_ask(body, &m, e);
    if (rc == 0)
        rc = read_readiness(c, f, body, 0, (struct lsn){0}, true, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    struct state_snapshot *snap;
    struct session_info info;
    struct entry_position at = {0};
    /* "Not committed" is for ever (R10), so nothing of that transaction may be on its way: what is logged is waited for, and what
     * came before the question and is parked, as all is that comes to a primary which does not serve yet. */
    if (overlay_result(s->overlay, &m.session, m.sequence, SERVICE_NEWEST, &at) == OVERLAY_THERE &&
        at.lsn.v > s->marks.applied.v)
        return service_park(c, f, body, at.lsn, e);
    if (service_txn_parked(c->service, &m.session, m.sequence))
        return service_park(c, f, body, (struct lsn){0}, e);
    rc = site_snapshot(s, &snap, e);
    if (rc == 0)
        rc = state_session(snap, &m.session, &info, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(
            e, ERR_SESSION_EXPIRED,
            "the session is unknown here: it was closed or has expired, and its outcomes with it");
    if (rc == 0)
        rc = state_result(snap, &m.session, m.sequence, &at, e);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    if (rc == ERR_NOT_FOUND && bytes_equal(info.client, bytes_str(c->name)))
        service_claim_session(c, &m.session); /* a copy may be under way on an older connection */
    if (rc == 0 && at.lsn.v > s->marks.commit.v) /* in mode local: it may be undone yet */
        answered_outcome(&s->answered, at.lsn);
    uint8_t out[64];
    struct writer w = writer_of(out, sizeof out);
    wire_write_outcome(&w, &(struct wire_outcome){rc == 0, at.lsn, at.time});
    check(!w.bad);
    service_reply(c, FRAME_OUTCOME, f->request, bytes_of(out, w.at));
    return 0;
}
