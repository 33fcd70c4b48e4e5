/* How far a site has come that takes what is committed from another site than the primary (replication/core/repl_relay.c): told
 * in events when it takes long, and in `status`. */
#include "replication/site_parts.h"

enum {
    TELL_MS = 10000,    /* at most one line of progress in this time */
    RATE_MS = 2000,     /* a rate is of so long at least */
    LAG_ENTRIES = 4096, /* behind by fewer is following, not refilling */
};

static uint64_t left(const struct site *s)
{
    const struct repl_relay_view *v = &s->view.relay;
    return v->of.v > s->tail.lsn.v ? v->of.v - s->tail.lsn.v : 0;
}

/* Takes entries from another site, and it takes long? */
static bool refills(const struct site *s)
{
    const struct repl_relay_view *v = &s->view.relay;
    return v->from != REPL_NOBODY && (v->refill || left(s) > LAG_ENTRIES);
}

static void measure(struct site *s, uint64_t now)
{
    struct refill *r = &s->refill;
    uint64_t ms = now > r->mark_ms ? now - r->mark_ms : 0;
    if (ms < RATE_MS)
        return;
    r->bytes_per_second = (r->bytes - r->mark_bytes) * 1000 / ms;
    r->entries_per_second = (s->tail.lsn.v - r->mark.v) * 1000 / ms;
    r->mark_ms = now;
    r->mark_bytes = r->bytes;
    r->mark = s->tail.lsn;
}

static void time_left(const struct site *s, char *text, size_t n)
{
    uint64_t rate = s->refill.entries_per_second, seconds = rate > 0 ? left(s) / rate + 1 : 0;
    if (rate == 0)
        (void)snprintf(text, n, "time left unknown");
    else if (seconds < 90)
        (void)snprintf(text, n, "about %llu s", (unsigned long long)seconds);
    else
        (void)snprintf(text, n, "about %llu min", (unsigned long long)(seconds + 30) / 60);
}

static void sentence(const struct site *s, char text[ERR_TEXT_BYTES])
{
    char rest[32];
    time_left(s, rest, sizeof rest);
    (void)snprintf(text, ERR_TEXT_BYTES, "refilling from %s: at lsn %llu of %llu, %.1f MB/s, %s",
                   site_member(s, s->view.relay.from)->name, (unsigned long long)s->tail.lsn.v,
                   (unsigned long long)s->view.relay.of.v, (double)s->refill.bytes_per_second / 1e6,
                   rest);
}

void refill_progress(struct site *s)
{
    struct refill *r = &s->refill;
    uint64_t now = site_now_ms();
    char text[ERR_TEXT_BYTES];
    if (refills(s) && r->began_ms == 0) {
        *r = (struct refill){.began_ms = now,
                             .told_ms = now,
                             .began = s->tail.lsn,
                             .mark = s->tail.lsn,
                             .mark_ms = now};
        events_add(s->events, "refilling from %s: from lsn %llu on, of %llu",
                   site_member(s, s->view.relay.from)->name, (unsigned long long)s->tail.lsn.v + 1,
                   (unsigned long long)s->view.relay.of.v);
    }
    if (r->began_ms == 0)
        return;
    measure(s, now);
    if (refills(s)) {
        r->seen_ms = now;
        if (now < r->told_ms + TELL_MS)
            return;
        r->told_ms = now;
        sentence(s, text);
        events_add(s->events, "%s", text);
    } else if (now > r->seen_ms + RATE_MS) { /* not only between two questions */
        uint64_t ms = r->seen_ms - r->began_ms;
        events_add(s->events, "refilled up to lsn %llu: %llu entries, %.1f MB in %.1f s",
                   (unsigned long long)s->tail.lsn.v,
                   (unsigned long long)(s->tail.lsn.v - r->began.v), (double)r->bytes / 1e6,
                   (double)ms / 1e3);
        r->began_ms = 0;
    }
}

json_t *refill_json(const struct site *s)
{
    const struct repl_relay_view *v = &s->view.relay;
    const struct site_member *from = site_member(s, v->from);
    if (from == NULL || (!v->hears && s->refill.began_ms == 0))
        return json_null();
    uint64_t rate = s->refill.entries_per_second;
    bool known = s->refill.began_ms != 0 && rate > 0;
    return json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:o}", "from", from->name, "hears_primary",
                     v->hears, "refill", s->refill.began_ms != 0, "at", (json_int_t)s->tail.lsn.v,
                     "of", (json_int_t)v->of.v, "bytes_per_second",
                     (json_int_t)(s->refill.began_ms != 0 ? s->refill.bytes_per_second : 0),
                     "seconds_left",
                     known ? json_integer((json_int_t)(left(s) / rate + 1)) : json_null());
}

bool refill_trouble(struct site *s, char text[ERR_TEXT_BYTES])
{
    const struct repl_relay_view *v = &s->view.relay;
    const struct site_member *from = site_member(s, v->from);
    if (v->refill && v->vain) {
        (void)snprintf(text, ERR_TEXT_BYTES,
                       "needs what follows lsn %llu, which no site in reach can give: see what the "
                       "repository's site says, or restore by hand (triveni init --help)",
                       (unsigned long long)s->tail.lsn.v);
    } else if (s->refill.began_ms != 0 && from != NULL) {
        sentence(s, text);
    } else if (v->hears && from != NULL) {
        (void)snprintf(text, ERR_TEXT_BYTES,
                       "the primary is not reachable from here: followed through %s", from->name);
    } else {
        return false;
    }
    return true;
}
