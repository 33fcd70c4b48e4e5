/* Finding a site: which endpoint to try next, when, and what to do when a connection is made, refused, lost or redirected.
 *
 * A round tries every endpoint once: first where the primary is said to be, then the others in turn. For the primary and a
 * standby the next try starts when the one before has failed or is STAGGER_MS old, so that a site that has vanished
 * without a word costs a fraction of a second and not a connect timeout; for the nearest site all start together. The first
 * that is ready is used and the others are closed. Being ready is not being primary: NOT_PRIMARY or a push from the site
 * leads on, to the endpoint that it names at once, otherwise to the next of the round. Between rounds the route
 * rests, 10 ms at first and up to 1 s, with jitter, so that clients do not return in step after an outage.
 *
 * A link that gave way is retired, not cut: its requests are about to be answered (mostly NOT_PRIMARY, which tells "not
 * done" from "unknown"), an operator's command must not be lost in its own switchover, and its site will push the news of
 * the next primary, which ends the rest at once. */
#include "client/internal.h"

#include <stdio.h>

enum {
    STAGGER_MS = 200,
    RETIRE_MS = 1000, /* how long a retired link is listened to before its transactions move on */
    RETIRED_MAX = 4,
    ALIVE_MS =
        10000,      /* said to a site when there is nothing else to say; sites wait 30 s and more */
    SPARE_MS = 500, /* how long a standby is preferred to a primary that is ready */
};

static bool connecting(const struct link *l)
{
    return !l->ready && !l->dropped;
}

static bool any_connecting(const struct route *rt)
{
    for (const struct link *l = rt->links; l != NULL; l = l->next)
        if (connecting(l))
            return true;
    return false;
}

static bool round_has_candidate(const struct route *rt);

/* ---- links ---- */

static void link_free(struct link *l)
{
    struct link **at = &l->route->links;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    free(l);
}

static void note_reader(struct route *rt)
{
    struct tvn *db = rt->db;
    if (rt != db->reader)
        return;
    pthread_mutex_lock(&db->lock);
    db->reader_site[0] = db->reader_endpoint[0] = '\0';
    if (rt->active != NULL) {
        memcpy(db->reader_site, rt->active->site, sizeof db->reader_site);
        memcpy(db->reader_endpoint, rt->active->endpoint, sizeof db->reader_endpoint);
    }
    pthread_mutex_unlock(&db->lock);
}

static void leave_active(struct route *rt, struct link *l)
{
    if (rt->active != l)
        return;
    rt->active = NULL;
    note_reader(rt);
}

static void step_now(struct route *rt)
{
    if (rt->active == NULL && rt->wanted && !rt->resting)
        rt->step_at_ms = client_now_ms();
}

void client_link_drop(struct link *l, const struct err *why)
{
    if (l->dropped)
        return;
    l->dropped = true;
    leave_active(l->route, l);
    client_link_lost(l);
    conn_close(l->conn, why);
}

void client_link_retire(struct link *l)
{
    struct route *rt = l->route;
    unsigned retired = 0;
    for (struct link *o = rt->links; o != NULL; o = o->next)
        retired += o->retiring && !o->dropped;
    leave_active(rt, l);
    l->retiring = true;
    l->retire_at_ms = client_now_ms() + RETIRE_MS;
    if (retired >= RETIRED_MAX)
        client_link_drop(l, NULL);
    step_now(rt);
}

static void activate(struct route *rt, struct link *l)
{
    struct tvn *db = rt->db;
    rt->active = l;
    rt->step_at_ms = 0;
    rt->resting = false;
    l->spare = false;
    for (struct link *o = rt->links; o != NULL; o = o->next)
        if (o != l && !o->retiring)
            client_link_drop(o, NULL);
    note_reader(rt);
    pthread_mutex_lock(&db->lock);
    db->connects++;
    pthread_mutex_unlock(&db->lock);
    client_event(db, "connected to %s at %s", l->site, l->endpoint);
    if (rt->target != TVN_TARGET_PRIMARY)
        client_link_proved(l);
}

static bool is_primary(const struct tvn *db, const struct link *l)
{
    return l->site[0] != '\0' && strcmp(db->primary_news.site, l->site) == 0;
}

static void on_ready(struct conn *c, const struct wire_hello *hello)
{
    struct link *l = conn_arg(c);
    if (l->dropped)
        return;
    struct route *rt = l->route;
    size_t n = hello->name.n < sizeof l->site ? hello->name.n : sizeof l->site - 1;
    memcpy(l->site, hello->name.p, n);
    l->site[n] = '\0';
    l->ready = true;
    l->heard_ms = client_now_ms();
    rt->reached = true;
    rt->ready++;
    if (rt->active != NULL)
        client_link_drop(l, NULL);
    else if (rt->target == TVN_TARGET_STANDBY && is_primary(rt->db, l))
        l->spare = true;
    else
        activate(rt, l);
    l->retire_at_ms = client_now_ms() + SPARE_MS;
}

/* What a connection ended with, for people: begins with the endpoint as they know it. */
static void note_failure(struct route *rt, const char *endpoint, const struct err *why)
{
    if (why == NULL)
        err_set(&rt->why, ERR_UNREACHABLE, "%s: closed", endpoint);
    else if (strncmp(why->text, endpoint, strlen(endpoint)) == 0)
        rt->why = *why;
    else
        err_set(&rt->why, why->code, "%s: %s", endpoint, why->text);
}

static void on_closed(struct conn *c, const struct err *why)
{
    struct link *l = conn_arg(c);
    struct route *rt = l->route;
    bool was_active = rt->active == l;
    if (!l->dropped) {
        l->dropped = true;
        leave_active(rt, l);
        client_link_lost(l);
        note_failure(rt, l->endpoint, why);
        client_event(rt->db, "%s%s", l->ready ? "lost " : "", rt->why.text);
        if (!l->ready && rt->why.code == ERR_DENIED)
            rt->denied++;
        else if (!l->ready)
            rt->others++;
    }
    link_free(l);
    if (was_active || round_has_candidate(rt) || !any_connecting(rt))
        step_now(rt);
}

static int on_frame(struct conn *c, const struct frame *f, struct bytes body, struct err *why)
{
    struct link *l = conn_arg(c);
    return l->dropped ? 0 : client_answer_frame(l, f, body, why);
}

static void on_drained(struct conn *c)
{
    (void)c; /* the loop has turned, and each turn sends what can be sent */
}

static const struct conn_callbacks callbacks = {on_ready, on_frame, on_closed, on_drained};

static void link_open(struct route *rt, const char *endpoint, uint32_t bit)
{
    struct tvn *db = rt->db;
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL) {
        err_set(&rt->why, ERR_NO_MEMORY, "%s: out of memory", endpoint);
        return;
    }
    l->route = rt;
    l->number = ++db->links;
    l->endpoint_bit = bit;
    (void)snprintf(l->endpoint, sizeof l->endpoint, "%s", endpoint);
    l->next = rt->links;
    rt->links = l;
    char software[48];
    (void)snprintf(software, sizeof software, "libtriveni %s", tvn_version());
    struct conn_options options = {
        .loop = &db->loop,
        .tls = db->tls,
        .cluster = db->config.cluster,
        .cluster_id = db->config.id,
        .hello = {.version = WIRE_VERSION,
                  .kind = db->identity.kind,
                  .name = bytes_str(db->identity.name),
                  .software = bytes_str(software)},
        .accept_kinds = 1u << WIRE_SITE,
        .max_body = FRAME_CLIENT_MAX_BYTES,
        .alive_ms = ALIVE_MS,
        .callbacks = &callbacks,
    };
    struct err e = ERR_NONE;
    if (conn_connect(&l->conn, &options, endpoint, NULL, l, &e) == 0)
        return;
    note_failure(rt, endpoint, &e);
    rt->others++;
    link_free(l);
}

/* ---- rounds ---- */

static uint32_t bit_of(const struct route *rt, const char *endpoint)
{
    const struct config *c = &rt->db->config;
    for (uint32_t i = 0; i < c->endpoint_count; i++)
        if (strcmp(c->endpoints[i], endpoint) == 0)
            return 1u << i;
    return HINT_BIT;
}

/* The next endpoint of the round; NULL: all were tried. */
static const char *candidate(const struct route *rt, uint32_t *bit)
{
    const struct config *c = &rt->db->config;
    if (rt->target == TVN_TARGET_PRIMARY && rt->hint[0] != '\0') {
        *bit = bit_of(rt, rt->hint);
        if ((rt->tried & *bit) == 0)
            return rt->hint;
    }
    const char *last = NULL;
    for (uint32_t i = 0; i < c->endpoint_count; i++) {
        uint32_t at = (rt->first + i) % c->endpoint_count;
        if ((rt->tried & 1u << at) != 0)
            continue;
        *bit = 1u << at;
        if (rt->target != TVN_TARGET_STANDBY ||
            strcmp(c->endpoints[at], rt->db->primary_news.endpoint) != 0)
            return c->endpoints[at];
        last = c->endpoints[at];
    }
    if (last != NULL)
        *bit = bit_of(rt, last);
    return last;
}

static bool round_has_candidate(const struct route *rt)
{
    uint32_t bit;
    return candidate(rt, &bit) != NULL;
}

static void round_begin(struct route *rt)
{
    rt->resting = false;
    rt->tried = 0;
    rt->denied = rt->others = rt->ready = 0;
    for (struct link *l = rt->links; l != NULL; l = l->next)
        if (connecting(l))
            rt->tried |= l->endpoint_bit;
    client_reload_tls(rt->db);
}

/* Every endpoint was tried. */
static void round_end(struct route *rt, uint64_t now_ms)
{
    if (rt->denied > 0 && rt->ready == 0 && rt->others == 0 && !any_connecting(rt)) {
        client_route_fail_waiting(rt, 0, &rt->why); /* waiting does not make a certificate valid */
        if (rt == rt->db->reader)
            client_watch_fail_all(rt->db, &rt->why);
    }
    rt->first = (rt->first + 1) % rt->db->config.endpoint_count;
    rt->reached = rt->ready > 0;
    rt->resting = true;
    rt->step_at_ms = now_ms + client_jitter(rt->db, rt->backoff_ms);
    rt->backoff_ms = rt->backoff_ms * 2 < BACKOFF_MAX_MS ? rt->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* A primary that is ready, where a standby would be better, is taken when no standby answered. */
static bool take_spare(struct route *rt, uint64_t now_ms)
{
    for (struct link *l = rt->links; l != NULL; l = l->next)
        if (l->spare && !l->dropped && (!any_connecting(rt) || now_ms >= l->retire_at_ms)) {
            activate(rt, l);
            return true;
        }
    return false;
}

void client_route_seek(struct route *rt, uint64_t now_ms)
{
    while (rt->wanted && rt->active == NULL && rt->step_at_ms != 0 && rt->step_at_ms <= now_ms) {
        if (rt->resting)
            round_begin(rt);
        uint32_t bit;
        const char *endpoint = candidate(rt, &bit);
        if (endpoint != NULL) {
            rt->tried |= bit;
            rt->step_at_ms = now_ms + (rt->target == TVN_TARGET_NEAREST ? 0 : STAGGER_MS);
            link_open(rt, endpoint, bit);
        } else if (!take_spare(rt, now_ms)) {
            round_end(rt, now_ms);
        }
    }
}

void client_route_want(struct route *rt)
{
    if (rt->wanted)
        return;
    rt->wanted = true;
    step_now(rt);
}

void client_link_proved(struct link *l)
{
    struct route *rt = l->route;
    l->proved = true;
    l->route->said[0] = '\0';
    if (l != rt->active)
        return;
    rt->tried = 0;
    rt->backoff_ms = BACKOFF_MIN_MS;
}

void client_route_redirect(struct route *rt, struct bytes endpoint, bool fresh)
{
    if (endpoint.n > 0 && endpoint.n < sizeof rt->hint) {
        bool same = bytes_equal(endpoint, bytes_str(rt->hint));
        memcpy(rt->hint, endpoint.p, endpoint.n);
        rt->hint[endpoint.n] = '\0';
        if (fresh || (!same && bit_of(rt, rt->hint) == HINT_BIT))
            rt->tried &= ~bit_of(rt, rt->hint);
    }
    if (rt->active != NULL) {
        rt->tried |= rt->active->endpoint_bit;
        if (rt->said[0] == '\0' && endpoint.n == 0)
            (void)snprintf(rt->said, sizeof rt->said,
                           "%s answers and knows of none: perhaps there is no majority of sites",
                           rt->active->site);
        client_event(rt->db, "%s is not primary, %s%s", rt->active->site,
                     endpoint.n == 0 ? "and knows of none" : "the primary is at ",
                     endpoint.n == 0 ? "" : rt->hint);
        client_link_retire(rt->active);
    } else if (fresh && rt->wanted) {
        rt->resting = false;
        step_now(rt);
    }
}
