/* Holds and disposals of the archive: ordered at the primary, in force by the log, carried out at the archive's site.
 *
 * The primary checks a warrant (warrants.c) and whether it would change anything, and logs it whole. Nothing else is written:
 * what is in force is folded from the warrants in the state (replication/core/custody.h), by whoever asks.
 *
 * WHO BELIEVES WHOM. The archive's site destroys keys on nobody's word: it checks both signatures itself, against its own
 * trusted CAs, that the warrant is of this cluster, and that it was logged before it expired. When it cannot check one of them
 * (its CA is not trusted any more, the record is damaged), it says so and disposes of nothing: that one might be a hold. For
 * the same reason it disposes of nothing while it follows no primary, or has not applied what its log had when it began to
 * look.
 *
 * The archive's operations log names each hold and each release: all that ever came into force, as the fold meets them, is
 * handed to the archive thread, which adds what the log lacks. While a warrant is in doubt nothing is handed over: what came
 * into force behind it might be something else. What is applied at the archive's site is committed, so nothing of it is ever
 * undone. */
#include "replication/service.h"

#include "store/core/hash.h"
#include "store/core/hex.h"

#include <stdlib.h>

enum { LOOK_MS = 1000, MUST_MS = 10000 };

/* ---- what is in force ---- */

struct spent {
    struct lsn lsn;
    char nonce[WARRANT_NONCE_TEXT];
};
struct list {
    struct spent *at;
    size_t count;
};

static int list_add(struct list *l, const struct record *r, struct err *e)
{
    struct spent *more = realloc(l->at, (l->count + 1) * sizeof *more);
    if (more == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for the warrants");
    l->at = more;
    struct spent *x = &more[l->count++];
    *x = (struct spent){.lsn = r->lsn};
    memcpy(x->nonce, r->key.p, r->key.n < sizeof x->nonce ? r->key.n : sizeof x->nonce - 1);
    return 0;
}

static int by_lsn(const void *a, const void *b)
{
    const struct spent *x = a, *y = b;
    return x->lsn.v < y->lsn.v ? -1 : x->lsn.v > y->lsn.v;
}

static int list_warrants(struct state_snapshot *snap, struct list *out, struct err *e)
{
    struct state_scan *scan;
    struct record r;
    int rc = state_scan_open(
        snap, &(struct scan_options){.collection = bytes_str(WARRANTS_COLLECTION)}, &scan, e);
    if (rc != 0)
        return rc;
    while ((rc = state_scan_next(scan, &r, e)) == 0 && (rc = list_add(out, &r, e)) == 0)
        ;
    state_scan_close(scan);
    if (rc == ERR_NOT_FOUND && out->count != 0)
        qsort(out->at, out->count, sizeof *out->at, by_lsn);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* As signed, and logged in time. */
static int check_logged(const struct site *s, const struct record *r, const struct cosigned *by,
                        struct warrant *says, struct err *e)
{
    char act[WARRANT_NAME_MAX_BYTES + 1] = "";
    const char *names[COSIGN_SIGNERS_MAX];
    int rc = warrant_read(bytes_of(by->text, by->bytes), says, e);
    if (rc != 0)
        return rc;
    memcpy(act, says->act.p, says->act.n);
    for (uint32_t i = 0; i < by->count; i++) {
        names[i] = by->who[i].name;
        if (strcmp(by->who[i].cluster, s->config->cluster) != 0)
            return err_set(e, ERR_DENIED, "signed by an operator of cluster %s",
                           by->who[i].cluster);
    }
    const struct warrant_place here = {act, s->config->cluster, s->config->cluster_id};
    return warrant_admit(says, &here, names, by->count, r->time, e);
}

static struct repository_order order_of(const struct custody_logged *by)
{
    struct repository_order o = {.lsn = by->lsn, .time = by->time, .warrant = by->file};
    memcpy(o.nonce, by->nonce, sizeof o.nonce);
    return o;
}

/* `orders` has room for it, or is NULL: nobody asks. */
static void apply_order(struct custody *out, const struct custody_order *o,
                        const struct custody_logged *by, struct repository_orders *orders)
{
    struct custody_logged ended = {.lsn = {0}};
    if (!custody_apply(out, o, by, &ended) || o->act == CUSTODY_DISPOSE || orders == NULL)
        return;
    struct repository_ordered *x = &orders->at[orders->n++];
    *x = (struct repository_ordered){.release = o->act == CUSTODY_RELEASE, .by = order_of(by)};
    memcpy(x->ends, ended.nonce, sizeof x->ends);
}

static int apply_one(struct site *s, struct state_snapshot *snap, const struct spent *x,
                     struct custody *out, struct repository_orders *orders, struct err *e)
{
    struct record r;
    struct cosigned by;
    struct warrant says;
    struct custody_order order;
    int rc = state_get(snap, bytes_str(WARRANTS_COLLECTION), bytes_str(x->nonce), &r, e);
    if (rc == 0)
        rc = cosign_open_logged(r.value, s->tls, &by, e);
    if (rc != 0)
        return rc;
    rc = check_logged(s, &r, &by, &says, e);
    if (rc == 0 && (rc = custody_read(&says, &order, e)) == 0) {
        struct custody_logged logged = {.lsn = r.lsn, .time = r.time, .file = hash_sha256(r.value)};
        memcpy(logged.nonce, says.nonce, sizeof logged.nonce);
        apply_order(out, &order, &logged, orders);
    }
    cosign_close(&by);
    return rc == ERR_NOT_FOUND ? 0 : rc; /* it orders something else */
}

/* Fold those on the list. ERR_*: of the first that cannot be believed; the others are folded all the same. `orders` (may be
 * NULL) has room for as many. */
static int fold(struct site *s, struct state_snapshot *snap, const struct list *l,
                struct custody *out, struct repository_orders *orders, struct err *e)
{
    int rc = 0;
    *out = (struct custody){.hold_count = 0};
    for (size_t i = 0; i < l->count; i++) {
        struct err why = ERR_NONE;
        int one = apply_one(s, snap, &l->at[i], out, orders, &why);
        if (one != 0 && rc == 0)
            rc = err_set(e, one,
                         "warrant %s (lsn %llu) cannot be verified here, so nothing of the archive "
                         "is disposed of: %.300s",
                         l->at[i].nonce, (unsigned long long)l->at[i].lsn.v, why.text);
    }
    return rc;
}

/* *out is the caller's to free. ERR_NO_MEMORY and errors of the state; `doubt` (may be NULL) as fold(). */
static int in_force(struct site *s, struct custody **out, struct err *doubt, struct err *e)
{
    struct state_snapshot *snap;
    struct list l = {NULL, 0};
    *out = calloc(1, sizeof **out);
    int rc = *out != NULL ? site_snapshot(s, &snap, e) : err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0)
        rc = list_warrants(snap, &l, e);
    if (rc == 0)
        (void)fold(s, snap, &l, *out, NULL, doubt);
    free(l.at);
    if (rc != 0) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

/* ---- at the archive's site ---- */

/* Has everything that is known here been applied, a second ago at least? */
static bool is_current(struct site *s)
{
    const uint64_t now = site_now_ms();
    if (s->view.primary == REPL_NOBODY) {
        s->custody.must.v = 0;
        disposer_pause(archiver_disposer(s->archiver));
        return false;
    }
    if (s->custody.must.v == 0 || now >= s->custody.must_until_ms) {
        s->custody.must = s->tail.lsn;
        s->custody.must_until_ms = now + MUST_MS;
    }
    if (s->marks.applied.v < s->custody.must.v)
        return false;
    s->custody.must.v = 0;
    return true;
}

void custody_turn(struct site *s)
{
    struct state_snapshot *snap;
    struct list l = {NULL, 0};
    struct err e = ERR_NONE;
    if (s->archiver == NULL || site_now_ms() < s->custody.at_ms)
        return;
    s->custody.at_ms = site_now_ms() + LOOK_MS;
    if (!is_current(s))
        return;
    int rc = site_snapshot(s, &snap, &e);
    if (rc == 0)
        rc = list_warrants(snap, &l, &e);
    const struct lsn newest = l.count != 0 ? l.at[l.count - 1].lsn : (struct lsn){0};
    const bool same = rc == 0 && s->custody.told && s->custody.count == l.count &&
                      s->custody.newest.v == newest.v;
    if (same)
        disposer_resume(archiver_disposer(s->archiver));
    struct custody *now = same ? NULL : calloc(1, sizeof *now);
    struct repository_orders orders = {.at = same ? NULL : calloc(l.count + 1, sizeof *orders.at)};
    if (now != NULL && orders.at != NULL) {
        if (rc == 0)
            rc = fold(s, snap, &l, now, &orders, &e);
        disposer_orders(archiver_disposer(s->archiver), now, &orders, rc != 0 ? e.text : "");
        s->custody.told = rc == 0; /* otherwise it is looked at again: certificates can change */
        s->custody.count = l.count;
        s->custody.newest = newest;
    }
    free(orders.at);
    free(now);
    free(l.at);
}

/* ---- orders ---- */

static void tell(struct site *s, const struct client *c, const struct site_warrant *w,
                 const struct custody_order *o)
{
    char by[WARRANT_BY_BYTES], nonce[WARRANT_NONCE_TEXT], what[128];
    warrants_names(w, by, sizeof by);
    if (o->act == CUSTODY_DISPOSE)
        (void)snprintf(what, sizeof what, "before lsn %llu", (unsigned long long)o->before.v);
    else
        (void)snprintf(what, sizeof what, "%.*s", (int)o->name.n, (const char *)o->name.p);
    hex_format(w->says.nonce, sizeof w->says.nonce, nonce);
    events_add(s->events, "operator %s: %s %s, by a warrant of %s", c->name,
               custody_act_name(o->act), what, by);
    service_audit(s, c, custody_act_name(o->act),
                  json_pack("{s:s, s:s, s:s}", "what", what, "signed_by", by, "nonce", nonce));
}

/* Which of the acts the caller says it is; the warrant must say the same. */
static const char *act_of(json_t *arguments)
{
    const char *act = json_string_value(json_object_get(arguments, "act"));
    for (enum custody_act i = CUSTODY_HOLD; act != NULL && i <= CUSTODY_DISPOSE; i++)
        if (strcmp(act, custody_act_name(i)) == 0)
            return custody_act_name(i);
    return NULL;
}

static int admit(struct site *s, const struct site_warrant *w, struct custody_order *o,
                 struct err *e)
{
    struct custody *now = NULL;
    int rc = custody_read(&w->says, o, e);
    if (rc == 0)
        rc = in_force(s, &now, NULL, e);
    if (rc == 0)
        rc = custody_admit(now, o, e);
    free(now);
    return rc;
}

int custody_command(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                    struct err *e)
{
    json_t *file = json_object_get(arguments, "warrant");
    const char *act = act_of(arguments);
    struct waiter waiter = {
        .client = c, .request = request, .type = FRAME_ADMIN, .failed_condition = -1};
    struct custody_order o;
    struct site_warrant w;
    int rc = admin_require_serving(s, e);
    if (rc == 0 && (!json_is_string(file) || act == NULL))
        rc = err_set(e, ERR_USAGE,
                     "a warrant that two operators have signed is needed, and its act");
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MAJORITY, e);
    if (rc == 0)
        rc = warrants_open(s, bytes_of(json_string_value(file), json_string_length(file)), act, &w,
                           e);
    if (rc != 0)
        return rc;
    rc = admit(s, &w, &o, e);
    if (rc == 0)
        rc = warrants_spend(s, &w, &waiter, e);
    if (rc == 0) {
        tell(s, c, &w, &o);
        service_wait(c, LEVEL_MAJORITY, &waiter);
    }
    warrants_close(&w);
    return rc != 0 ? rc : SERVICE_LATER;
}

/* ---- what is asked ---- */

static json_t *logged_json(const struct custody_logged *by)
{
    char nonce[WARRANT_NONCE_TEXT];
    hex_format(by->nonce, sizeof by->nonce, nonce);
    return json_pack("{s:s, s:I, s:I}", "nonce", nonce, "lsn", (json_int_t)by->lsn.v, "time_us",
                     (json_int_t)by->time.us);
}

static json_t *holds_json(const struct custody *c)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < c->hold_count; i++) {
        const struct custody_hold *h = &c->holds[i];
        json_t *o = json_pack("{s:s, s:s, s:s, s:o}", "name", h->name, "collection", h->collection,
                              "reason", h->reason, "warrant", logged_json(&h->by));
        if (h->key[0] != '\0')
            json_object_set_new(o, h->is_prefix ? "prefix" : "key", json_string(h->key));
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *disposals_json(const struct custody *c)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < c->disposal_count; i++)
        (void)json_array_append_new(list, json_pack("{s:I, s:s, s:o}", "before",
                                                    (json_int_t)c->disposals[i].before.v, "reason",
                                                    c->disposals[i].reason, "warrant",
                                                    logged_json(&c->disposals[i].by)));
    return list;
}

int custody_status(struct site *s, json_t **reply, struct err *e)
{
    struct custody *now;
    struct err doubt = ERR_NONE;
    int rc = in_force(s, &now, &doubt, e);
    if (rc != 0)
        return rc;
    *reply = json_pack(
        "{s:s, s:o, s:o, s:o, s:o}", "site", s->config->members[s->config->self].name, "holds",
        holds_json(now), "disposals", disposals_json(now), "doubt",
        doubt.code != 0 ? json_string(doubt.text) : json_null(), "archive",
        s->archiver != NULL ? disposer_json(archiver_disposer(s->archiver)) : json_null());
    free(now);
    return *reply != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory for the answer");
}
