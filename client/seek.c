/* Finding a site: which endpoint to try next, when, and what to do when a connection is made, refused, lost or redirected.
 *
 * A round tries every endpoint once: first where the primary is said to be, then the others in turn. For the primary and a
 * standby the next try starts when the one before has failed or is STAGGER_MS old, so that a site that has vanished
 * without a word costs a fraction of a second and not a connect timeout; for the nearest site all start together. The first
 * that is ready is used and the others are closed. Being ready is not being primary: NOT_PRIMARY or a push from the site
 * leads on, to the endpoint that it names at once, otherwise to the next of the round. Between rounds the route
 * rests, 10 ms at first and up to 1 s, with jitter, so that clients do not return in step after an outage.
 *
 * THE WARM LINK. A handshake costs both ends about a millisecond of processor and the handle some round trips, and when a primary
 * goes all its clients want theirs at once, of the site that is busy becoming primary. So a handle keeps one connection more,
 * idle, to the first endpoint of its list that is not the primary's (`warm`). Its site tells it that it has become primary, and
 * the link is used in that very turn. When the primary is lost, that word is waited for STAGGER_MS before others are asked; then
 * the warm link has its turn as any endpoint, without a handshake. A site that answers "not primary" and names no other is
 * kept as the warm one, because it is as likely as any to be the next. One that cannot be had is tried again after 1 s, at last
 * 60 s: nothing depends on it.
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
        10000, /* said to a site when there is nothing else to say; sites wait 30 s and more */
    WARM_AFTER_MS =
        2000, /* a handle that lives shorter needs none, and after a move sites have better to do */
    WARM_BACKOFF_MIN_MS = 1000,
    WARM_BACKOFF_MAX_MS = 60000,
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

static bool warm_ready(const struct route *rt)
{
    return rt->warm != NULL && rt->warm->ready;
}

static void step_now(struct route *rt)
{
    if (rt->active == NULL && rt->wanted && !rt->resting)
        rt->step_at_ms = client_now_ms();
}

/* The active link, to `endpoint`, is gone, and nobody has said yet where the primary is. The warm site may be about to, and is
 * asked first after a while. */
static void step_after(struct route *rt, const char *endpoint)
{
    step_now(rt);
    if (!warm_ready(rt))
        return;
    rt->step_at_ms += STAGGER_MS;
    if (strcmp(rt->hint, endpoint) == 0)
        rt->hint[0] = '\0';
}

static void leave_warm(struct link *l)
{
    struct route *rt = l->route;
    if (rt->warm != l)
        return;
    rt->warm = NULL;
    rt->warm_at_ms = client_now_ms() + client_jitter(rt->db, rt->warm_backoff_ms);
    rt->warm_backoff_ms = rt->warm_backoff_ms * 2 < WARM_BACKOFF_MAX_MS ? rt->warm_backoff_ms * 2
                                                                        : WARM_BACKOFF_MAX_MS;
}

void client_link_drop(struct link *l, const struct err *why)
{
    if (l->dropped)
        return;
    l->dropped = true;
    leave_active(l->route, l);
    leave_warm(l);
    client_link_lost(l, why);
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
    if (l == rt->warm)
        rt->warm = NULL;
    rt->active = l;
    rt->step_at_ms = 0;
    rt->resting = false;
    rt->warm_at_ms = client_now_ms() + client_jitter(db, WARM_AFTER_MS);
    rt->warm_backoff_ms = WARM_BACKOFF_MIN_MS;
    rt->warm_same = 0;
    l->spare = false;
    for (struct link *o = rt->links; o != NULL; o = o->next)
        if (o != l && o != rt->warm && !o->retiring)
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

/* It is there, and there is a primary: keep it, unless it is the same site under another name. */
static void keep_warm(struct link *l)
{
    struct route *rt = l->route;
    if (strcmp(l->site, rt->active->site) != 0) {
        rt->warm_backoff_ms = WARM_BACKOFF_MIN_MS;
        client_event(rt->db, "connected to %s at %s, in case that the primary goes", l->site,
                     l->endpoint);
        return;
    }
    rt->warm_same |= l->endpoint_bit;
    client_link_drop(l, NULL);
    rt->warm_at_ms = client_now_ms();
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
    if (l == rt->warm && rt->active != NULL) {
        keep_warm(l);
        return;
    }
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
    bool was_active = rt->active == l, was_warm = rt->warm == l;
    if (was_warm && !l->dropped) {
        l->dropped = true;
        leave_warm(l);
        client_event(rt->db, "lost the connection that was for later: %s",
                     why == NULL ? l->endpoint : why->text);
    } else if (!l->dropped) {
        l->dropped = true;
        leave_active(rt, l);
        client_link_lost(l, why);
        note_failure(rt, l->endpoint, why);
        client_event(rt->db, "%s%s", l->ready ? "lost " : "", rt->why.text);
        if (why != NULL && why->code == ERR_NOT_PRIMARY)
            rt->tried |=
                l->endpoint_bit; /* it says itself that it is not the one: the others first */
        if (!l->ready && rt->why.code == ERR_DENIED)
            rt->denied++;
        else if (!l->ready)
            rt->others++;
    }
    if (was_active)
        step_after(rt, l->endpoint);
    link_free(l);
    if (!was_active && !was_warm && (round_has_candidate(rt) || !any_connecting(rt)))
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

static struct link *link_open(struct route *rt, const char *endpoint, uint32_t bit)
{
    struct tvn *db = rt->db;
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL) {
        err_set(&rt->why, ERR_NO_MEMORY, "%s: out of memory", endpoint);
        return NULL;
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
        return l;
    note_failure(rt, endpoint, &e);
    rt->others++;
    link_free(l);
    return NULL;
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
    if (warm_ready(rt) && (rt->tried & rt->warm->endpoint_bit) == 0) {
        *bit = rt->warm->endpoint_bit;
        return rt->warm->endpoint;
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

/* The warm link when that is the way to `endpoint`, or to the site that is said to be primary. */
static struct link *warm_at(const struct route *rt, const char *endpoint)
{
    struct link *w = rt->warm;
    bool there = w != NULL && (strcmp(w->endpoint, endpoint) == 0 ||
                               (strcmp(rt->hint, endpoint) == 0 && is_primary(rt->db, w)));
    return there ? w : NULL;
}

/* Begin with one endpoint. */
static void try_endpoint(struct route *rt, const char *endpoint, uint32_t bit)
{
    struct link *w = warm_at(rt, endpoint);
    if (w == NULL) {
        (void)link_open(rt, endpoint, bit);
    } else if (w->ready) {
        rt->reached = true;
        rt->ready++;
        activate(rt, w);
    } else {
        rt->warm = NULL; /* one of the round, on its way already */
    }
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
            try_endpoint(rt, endpoint, bit);
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

/* ---- the warm link ---- */

static bool warm_allowed(const struct route *rt)
{
    return rt->db->config.warm && rt->db->config.target == TVN_TARGET_PRIMARY &&
           rt->target == TVN_TARGET_PRIMARY;
}

/* Which endpoint, when `active` is the primary: the first of the list that does not lead there. NULL: there is none. */
static const char *warm_endpoint(const struct route *rt, const struct link *active, uint32_t *bit)
{
    const struct config *c = &rt->db->config;
    *bit = 0;
    for (uint32_t i = 0; i < c->endpoint_count; i++) {
        *bit = 1u << i;
        if (*bit != active->endpoint_bit && (rt->warm_same & *bit) == 0)
            return c->endpoints[i];
    }
    return NULL;
}

static bool warm_is_due(const struct route *rt)
{
    uint32_t bit;
    return rt->active != NULL && rt->active->proved && rt->warm == NULL && warm_allowed(rt) &&
           warm_endpoint(rt, rt->active, &bit) != NULL;
}

uint64_t client_warm_due_ms(const struct route *rt)
{
    return warm_is_due(rt) ? rt->warm_at_ms : UINT64_MAX;
}

void client_warm_tick(struct route *rt, uint64_t now_ms)
{
    uint32_t bit = 0;
    if (!warm_is_due(rt) || now_ms < rt->warm_at_ms)
        return;
    if (rt->warm_backoff_ms > WARM_BACKOFF_MIN_MS)
        client_reload_tls(rt->db); /* it failed before: perhaps the certificate was renewed */
    rt->warm = link_open(rt, warm_endpoint(rt, rt->active, &bit), bit);
    if (rt->warm == NULL)
        rt->warm_at_ms = now_ms + WARM_BACKOFF_MAX_MS;
}

/* It is not primary, and knows of none: may it be the warm one now? Only who could be it at another time, which is one of the
 * first two of the list. */
static bool may_be_warm(const struct route *rt, const struct link *l)
{
    return rt->warm == NULL && warm_allowed(rt) && l->watches == 0 && (l->endpoint_bit & 3) != 0;
}

static void cool(struct route *rt)
{
    struct link *l = rt->active;
    leave_active(rt, l);
    l->session_sent = l->session_confirmed = l->proved = false;
    rt->warm = l;
    step_now(rt);
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
        if (endpoint.n == 0 && may_be_warm(rt, rt->active))
            cool(rt);
        else
            client_link_retire(rt->active);
    } else if (fresh && rt->wanted) {
        rt->resting = false;
        step_now(rt);
    }
}
