#include "store/scrub.h"

struct teller {
    void (*found)(void *arg, const char *what);
    void *arg;
};

static void tell(struct scrub *s, const struct teller *t, const struct err *why)
{
    s->damaged++;
    t->found(t->arg, why->text);
}

static void remember(struct scrub *s, const struct record *r)
{
    memcpy(s->collection, r->collection.p, r->collection.n);
    s->collection_bytes = r->collection.n;
    memcpy(s->key, r->key.p, r->key.n);
    s->key_bytes = r->key.n;
}

static bool fits(const struct record *r)
{
    return r->collection.n <= COLLECTION_MAX_BYTES && r->key.n != 0 && r->key.n <= KEY_MAX_BYTES;
}

/* ERR_NOT_FOUND at the end of the records, or where damage bars the way to the rest. */
static int scan_some(struct scrub *s, struct state_scan *scan, size_t max_bytes,
                     const struct teller *t, struct err *e)
{
    for (size_t bytes = 0; bytes < max_bytes;) {
        struct record r;
        int rc = state_scan_next(scan, &r, e);
        if (rc == ERR_INTEGRITY)
            tell(s, t, e);
        if (rc != 0 && (rc != ERR_INTEGRITY || !fits(&r)))
            return rc == ERR_INTEGRITY ? ERR_NOT_FOUND : rc;
        const size_t n = r.key.n + (rc == 0 ? r.value.n : 0);
        remember(s, &r);
        bytes += n;
        s->bytes += n;
    }
    return 0;
}

/* ERR_NOT_FOUND at the end, or where damage bars the way. */
static int step_past(struct scrub *s, struct state *state, size_t max_bytes, const struct teller *t,
                     struct err *e)
{
    struct state_snapshot *snap;
    size_t bytes = 0;
    int rc = state_snapshot_open(state, &snap, e);
    if (rc != 0 && rc != ERR_INTEGRITY)
        return rc;
    const bool open = rc == 0;
    if (open)
        rc = state_past_check(snap, &s->past, max_bytes, &bytes, e);
    state_snapshot_close(snap);
    s->bytes += bytes;
    if (rc == ERR_INTEGRITY)
        tell(s, t, e);
    return rc != ERR_INTEGRITY ? rc : open && bytes != 0 ? 0 : ERR_NOT_FOUND;
}

static int step_state(struct scrub *s, struct state *state, size_t max_bytes,
                      const struct teller *t, struct err *e)
{
    struct state_snapshot *snap;
    struct state_scan *scan = NULL;
    const struct scan_options after = {.after = bytes_of(s->key, s->key_bytes),
                                       .after_collection =
                                           bytes_of(s->collection, s->collection_bytes)};
    int rc = state_snapshot_open(state, &snap, e);
    if (rc != 0 && rc != ERR_INTEGRITY)
        return rc;
    if (rc == 0)
        rc = state_scan_open(snap, &after, &scan, e);
    if (rc == ERR_INTEGRITY) {
        tell(s, t, e);
        rc = ERR_NOT_FOUND;
    }
    if (rc == 0)
        rc = scan_some(s, scan, max_bytes, t, e);
    state_scan_close(scan);
    state_snapshot_close(snap);
    return rc;
}

int scrub_step(struct scrub *s, struct state *state, struct log *log, size_t max_bytes,
               void (*found)(void *arg, const char *what), void *arg, struct err *e)
{
    const struct teller t = {found, arg};
    size_t bytes;
    int rc;
    if (!s->in_past && !s->in_log) {
        rc = step_state(s, state, max_bytes, &t, e);
        s->in_past = rc == ERR_NOT_FOUND;
        return s->in_past ? 0 : rc;
    }
    if (!s->in_log) {
        rc = step_past(s, state, max_bytes, &t, e);
        s->in_log = rc == ERR_NOT_FOUND;
        return s->in_log ? 0 : rc;
    }
    rc = log_check(log, s->next, max_bytes, &s->next, &bytes, e);
    s->bytes += bytes;
    if (rc == ERR_INTEGRITY)
        tell(s, &t, e);
    return rc == ERR_INTEGRITY ? 0 : rc;
}
