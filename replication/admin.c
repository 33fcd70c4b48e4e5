/* Operators' commands: JSON in, JSON out. Reading ones are for every client, changing ones need an operator's certificate. A
 * value that this site does not know is null, never 0 (P10). An argument "primary": true has only the primary answer; every site
 * answers what is read, otherwise. */
#include "replication/service.h"

#include "store/core/check.h"
#include "store/core/hex.h"

#include <sys/statvfs.h>

static json_t *lsn_or_null(struct lsn lsn)
{
    return lsn.v != 0 ? json_integer((json_int_t)lsn.v) : json_null();
}

static int totals_now(struct site *s, struct state_snapshot **snap, struct state_totals *totals,
                      struct err *e)
{
    int rc = site_snapshot(s, snap, e);
    return rc != 0 ? rc : state_totals(*snap, totals, e);
}

/* What a site knows of another one. */
static json_t *peer_json(struct site *s, uint8_t i)
{
    const struct site_member *m = &s->config->members[i];
    const struct repl_peer_view *p = &s->view.peers[i];
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", m->name, "kind",
                          m->kind == SITE_REPOSITORY ? "repository" : "data", "client", m->client,
                          "peer", m->peer, "up", s->peers[i].up);
    json_object_set_new(o, "role", s->view.primary == i ? json_string("primary") : json_null());
    json_object_set_new(o, "durable", lsn_or_null(p->durable));
    json_object_set_new(o, "applied", lsn_or_null(p->applied));
    json_object_set_new(o, "archived", lsn_or_null(p->archived));
    json_object_set_new(o, "ages", ages_json(s, i));
    json_object_set_new(o, "history", json_null());
    json_object_set_new(o, "heard_ms_ago",
                        p->heard_ms != 0 ? json_integer((json_int_t)(site_now_ms() - p->heard_ms))
                                         : json_null());
    const struct repl_members *list = &s->view.list.members;
    json_object_set_new(o, "member", json_boolean(list->all >> i & 1));
    json_object_set_new(o, "lost", json_boolean(list->lost >> i & 1));
    json_object_set_new(o, "replica", json_boolean((list->all & ~list->voters) >> i & 1));
    json_object_set_new(o, "answer_ms",
                        p->answer_ms != 0 ? json_integer((json_int_t)p->answer_ms) : json_null());
    json_object_set_new(o, "needs_refill", json_boolean(p->needs_refill));
    return o;
}

static void add_log(struct site *s, json_t *o)
{
    struct log_status log;
    log_status(s->log, &log);
    json_object_set_new(o, "first", json_integer((json_int_t)log.first.lsn.v + 1));
    json_object_set_new(o, "log_bytes", json_integer((json_int_t)log.disk_bytes));
    json_object_set_new(o, "engine", json_string(log_engine_name(log.engine)));
    json_object_set_new(o, "engine_reason", json_string(log.engine_reason));
    json_object_set_new(o, "log_note", log.note[0] != '\0' ? json_string(log.note) : json_null());
}

static void add_disk(struct site *s, json_t *o)
{
    struct statvfs fs;
    bool known = statvfs(s->config->data_dir, &fs) == 0;
    json_object_set_new(o, "disk_free_bytes",
                        known ? json_integer((json_int_t)(fs.f_bavail * fs.f_frsize))
                              : json_null());
    json_object_set_new(o, "state_bytes", json_integer((json_int_t)state_file_bytes(s->state)));
}

/* Who reads an old state keeps its pages from being used again: the file grows meanwhile. */
static void add_snapshots(struct site *s, json_t *o)
{
    uint64_t now = site_now_ms(), opened = service_oldest_snapshot_ms(s->service);
    json_object_set_new(o, "open_snapshots", json_integer((json_int_t)s->service->snapshot_count));
    json_object_set_new(o, "oldest_snapshot_ms",
                        opened != UINT64_MAX ? json_integer((json_int_t)(now - opened))
                                             : json_null());
    uint64_t reading = s->archiver != NULL ? archiver_reading_since_ms(s->archiver) : 0;
    json_object_set_new(o, "archive_reads_ms",
                        reading != 0 ? json_integer((json_int_t)(now - reading)) : json_null());
}

static void add_certificate(struct site *s, json_t *o)
{
    int64_t seconds;
    bool known = tls_seconds_left(s->config->cert, &seconds, NULL) == 0;
    json_object_set_new(o, "cert_days", known ? json_integer(seconds / 86400) : json_null());
}

static void add_archive(struct site *s, json_t *o)
{
    if (s->archiver == NULL)
        return;
    struct repository_status r;
    char trouble[ERR_TEXT_BYTES];
    archiver_status(s->archiver, &r, trouble);
    json_object_set_new(o, "archive",
                        json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:b, s:o, s:o, s:o}",
                                  "archived", lsn_or_null(r.archived.lsn), "packs",
                                  (json_int_t)r.packs, "snapshots", (json_int_t)r.snapshots,
                                  "points", (json_int_t)r.points, "bytes", (json_int_t)r.pack_bytes,
                                  "plain_bytes", (json_int_t)r.plain_bytes, "newest_snapshot",
                                  lsn_or_null(r.newest_snapshot), "proven", lsn_or_null(r.proven),
                                  "signs", archiver_signs(s->archiver), "cosigners",
                                  collector_json(s), "indexed", lsn_or_null(r.indexed), "trouble",
                                  trouble[0] != '\0' ? json_string(trouble) : json_null()));
    json_t *copies = copies_json(archiver_copies(s->archiver));
    for (size_t i = 0; i < json_array_size(copies); i++)
        json_object_set_new(json_array_get(copies, i), "scrub",
                            archive_scrub_json(s->archive_scrub, (int)i));
    json_object_set_new(json_object_get(o, "archive"), "copies", copies);
    json_object_set_new(json_object_get(o, "archive"), "custody",
                        disposer_json(archiver_disposer(s->archiver)));
    json_object_set_new(json_object_get(o, "archive"), "key_generation",
                        json_integer((json_int_t)r.generation));
    json_object_set_new(json_object_get(o, "archive"), "awaited_generation",
                        r.awaited_generation != 0 ? json_integer((json_int_t)r.awaited_generation)
                                                  : json_null());
    json_object_set_new(json_object_get(o, "archive"), "drill", drills_json(s->drills));
    json_object_set_new(json_object_get(o, "archive"), "scrub",
                        archive_scrub_json(s->archive_scrub, -1));
    json_object_set_new(o, "archived", lsn_or_null(r.archived.lsn));
}

/* Since when the past can be read here. */
static void add_history(json_t *o, const struct state_snapshot *snap)
{
    const struct state_window w = state_window(snap);
    json_object_set_new(o, "history",
                        json_pack("{s:I, s:I, s:I, s:I}", "from", (json_int_t)w.from.v,
                                  "from_time_us", (json_int_t)w.from_time.us, "rows",
                                  (json_int_t)w.rows, "bytes", (json_int_t)w.bytes));
}

/* What this site knows of itself. */
/* Large requests that are coming, and how many clients wait with one until there is room. */
static void add_receiving(const struct site *s, json_t *o)
{
    json_object_set_new(o, "receiving",
                        json_pack("{s:I, s:I, s:I}", "bytes",
                                  (json_int_t)listener_receiving_bytes(s->client_listener), "limit",
                                  (json_int_t)s->config->receive_bytes, "waiting",
                                  (json_int_t)listener_waiting(s->client_listener)));
}

/* null: none is under way. */
static json_t *handover_json(const struct site *s)
{
    const struct site_member *to = site_member(s, s->view.handing_over_to);
    if (to == NULL)
        return json_null();
    return json_pack("{s:s, s:s}", "to", to->name, "phase", repl_handover_name(s->view.handover));
}

static json_t *self_json(struct site *s, const struct state_totals *totals,
                         const struct state_snapshot *snap)
{
    const struct lsn digest_lsn = state_snapshot_position(snap).lsn;
    char digest[DIGEST_HEX_BYTES];
    digest_hex(totals->digest, digest);
    json_t *o = peer_json(s, (uint8_t)s->config->self);
    json_object_set_new(o, "up", json_true());
    json_object_set_new(o, "role", json_string(repl_role_name(s->view.role)));
    json_object_set_new(o, "handover", handover_json(s));
    json_object_set_new(o, "last", json_integer((json_int_t)s->tail.lsn.v));
    json_object_set_new(o, "durable", json_integer((json_int_t)s->marks.durable.v));
    json_object_set_new(o, "commit", json_integer((json_int_t)s->marks.commit.v));
    json_object_set_new(o, "visible", json_integer((json_int_t)s->marks.visible.v));
    json_object_set_new(o, "applied", json_integer((json_int_t)s->marks.applied.v));
    json_object_set_new(o, "checkpoint", json_integer((json_int_t)s->marks.checkpoint.v));
    json_object_set_new(o, "records", json_integer((json_int_t)totals->records));
    json_object_set_new(o, "digest", json_string(digest));
    json_object_set_new(o, "digest_lsn", json_integer((json_int_t)digest_lsn.v));
    json_object_set_new(o, "heard_ms_ago", json_integer(0));
    json_object_set_new(o, "votes", json_boolean(s->view.may_vote));
    json_object_set_new(o, "incarnation", json_integer((json_int_t)s->vote.incarnation));
    add_log(s, o);
    add_disk(s, o);
    add_history(o, snap);
    add_snapshots(s, o);
    add_certificate(s, o);
    add_archive(s, o);
    add_receiving(s, o);
    json_object_set_new(o, "isolated", isolation_json(s));
    json_object_set_new(o, "relay", refill_json(s));
    json_object_set_new(o, "failover", forecast_json(s));
    json_object_set_new(o, "scrub", scrubber_json(s->scrubber));
    json_object_set_new(o, "care", care_json(s->care));
    json_object_set_new(o, "cosigner", cosigner_json(s->cosigner));
    json_object_set_new(o, "trouble", trouble_json(s));
    return o;
}

static int command_status(struct site *s, json_t **reply, struct err *e)
{
    static const char *const policies[] = {"", "automatic", "observe", "manual"};
    struct state_snapshot *snap;
    struct state_totals totals;
    int rc = totals_now(s, &snap, &totals, e);
    if (rc != 0)
        return rc;
    const struct site_member *primary = site_member(s, s->view.primary);
    char id[37];
    const uint8_t *b = s->config->cluster_id.b;
    (void)snprintf(id, sizeof id,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
    json_t *sites = json_array();
    for (uint8_t i = 0; i < s->config->member_count; i++)
        json_array_append_new(sites,
                              i == s->config->self ? self_json(s, &totals, snap) : peer_json(s, i));
    *reply =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:s, s:s, s:b, s:I, s:o}", "version",
                  TRIVENI_VERSION, "cluster", s->config->cluster, "id", id, "site",
                  s->config->members[s->config->self].name, "role", repl_role_name(s->view.role),
                  "term", (json_int_t)s->view.term.v, "time_us", (json_int_t)site_commit_time(s).us,
                  "primary", primary != NULL ? json_string(primary->name) : json_null(), "policy",
                  policies[s->config->policy], "mode", commit_mode_name(totals.mode), "serving",
                  site_is_ready(s) && repl_lease_valid(s->repl, site_now_ms()), "clients",
                  (json_int_t)s->service->client_count, "sites", sites);
    return *reply != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory for the status");
}

static int add_collection(void *arg, const struct collection_info *info)
{
    char digest[DIGEST_HEX_BYTES];
    digest_hex(info->digest, digest);
    json_array_append_new(arg, json_pack("{s:o, s:I, s:s}", "name", json_bytes(info->name),
                                         "records", (json_int_t)info->records, "digest", digest));
    return 0;
}

static int command_digest(struct site *s, json_t **reply, struct err *e)
{
    struct state_snapshot *snap;
    struct state_totals totals;
    int rc = totals_now(s, &snap, &totals, e);
    json_t *collections = json_array();
    if (rc == 0)
        rc = state_collections(snap, add_collection, collections, e);
    if (rc != 0) {
        json_decref(collections);
        return rc;
    }
    char digest[DIGEST_HEX_BYTES];
    digest_hex(totals.digest, digest);
    *reply = json_pack("{s:I, s:s, s:I, s:o}", "lsn",
                       (json_int_t)state_snapshot_position(snap).lsn.v, "digest", digest, "records",
                       (json_int_t)totals.records, "collections", collections);
    return 0;
}

static int add_point(void *arg, const struct restore_point *p)
{
    char digest[DIGEST_HEX_BYTES];
    digest_hex(p->digest, digest);
    json_array_append_new(arg, json_pack("{s:o, s:I, s:I, s:s}", "name", json_bytes(p->name), "lsn",
                                         (json_int_t)p->lsn.v, "time_us", (json_int_t)p->time.us,
                                         "digest", digest));
    return 0;
}

static int command_points(struct site *s, json_t **reply, struct err *e)
{
    struct state_snapshot *snap;
    json_t *points = json_array();
    int rc = site_snapshot(s, &snap, e);
    if (rc == 0)
        rc = state_restore_points(snap, add_point, points, e);
    if (rc != 0) {
        json_decref(points);
        return rc;
    }
    *reply = json_pack("{s:o}", "points", points);
    return 0;
}

static int add_session(void *arg, const struct uuid *id, const struct session_info *info)
{
    char text[33];
    hex_format(id->b, sizeof id->b, text);
    json_array_append_new(
        arg, json_pack("{s:s, s:o, s:I, s:I}", "session", text, "client", json_bytes(info->client),
                       "opened", (json_int_t)info->opened.v, "last_us", (json_int_t)info->last.us));
    return json_array_size(arg) >= 10000;
}

static int command_sessions(struct site *s, json_t **reply, struct err *e)
{
    struct state_snapshot *snap;
    json_t *sessions = json_array();
    int rc = site_snapshot(s, &snap, e);
    if (rc == 0)
        rc = state_sessions(snap, add_session, sessions, e);
    if (rc < 0) {
        json_decref(sessions);
        return rc;
    }
    *reply = json_pack("{s:o}", "sessions", sessions);
    return 0;
}

/* ---- commands that change something ---- */

int admin_require_serving(struct site *s, struct err *e)
{
    const struct site_member *primary = site_member(s, s->view.primary);
    const char *self = s->config->members[s->config->self].name;
    if (site_is_settled(s))
        return 0;
    if (s->view.role == REPL_PRIMARY)
        return err_set(e, ERR_NOT_PRIMARY, "%s is the primary of term %llu, but %s; try again",
                       self, (unsigned long long)s->view.term.v,
                       s->view.handover > REPL_HANDOVER_WAIT ? "is handing over"
                       : s->view.serving ? "has not applied yet what was logged before"
                                         : "no majority has taken its first entry yet");
    return err_set(e, ERR_NOT_PRIMARY, "%s is not the primary: %s", self,
                   primary != NULL ? primary->client : "none is known now");
}

/* How long a switchover may wait while writes go on: a client's usual ten seconds, less the phases after it; and no longer than
 * the order is good for (R7). */
static uint32_t wait_of(struct site *s, const json_t *arguments)
{
    enum { WAIT_MOST_MS = 5000 };
    const uint64_t now_us = site_commit_time(s).us;
    const json_int_t expires_us = json_integer_value(json_object_get(arguments, "expires_us"));
    const uint64_t left_ms =
        (uint64_t)expires_us > now_us ? ((uint64_t)expires_us - now_us) / 1000 : 0;
    return left_ms < WAIT_MOST_MS ? (uint32_t)left_ms : WAIT_MOST_MS;
}

static int command_switchover(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                              json_t **reply, struct err *e)
{
    struct service *v = s->service;
    int rc = admin_require_serving(s, e);
    if (rc != 0)
        return rc;
    if (v->switchover.active)
        return err_set(e, ERR_FAILED, "a switchover is under way already; see triveni status");
    const char *to = json_string_value(json_object_get(arguments, "to"));
    uint8_t target = REPL_NOBODY;
    for (uint8_t i = 0; to != NULL && i < s->config->member_count; i++)
        if (strcmp(to, s->config->members[i].name) == 0)
            target = i;
    if (to != NULL && target == REPL_NOBODY)
        return err_set(e, ERR_NOT_FOUND, "no site is called '%.40s'", to);
    if (target == s->config->self) { /* it is as the operator wants it, so a script may ask twice */
        *reply = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "from", to, "to", to, "term",
                           (json_int_t)s->view.term.v, "lsn", (json_int_t)s->tail.lsn.v,
                           "waited_ms", (json_int_t)0, "pause_ms", (json_int_t)0);
        return 0;
    }
    service_audit(s, c, "switchover", json_pack("{s:s?}", "to", to));
    v->switchover.active = true;
    v->switchover.client = client_ref(c);
    v->switchover.request = request;
    v->switchover.began_ms = site_now_ms();
    v->switchover.to = target;
    driver_step(s, &(struct repl_event){.type = REPL_EV_SWITCHOVER,
                                        .now_ms = site_now_ms(),
                                        .site = target,
                                        .wait_ms = wait_of(s, arguments)});
    return SERVICE_LATER;
}

int admin_may_fail_over(const struct site *s, struct err *e)
{
    const struct site_member *self = &s->config->members[s->config->self];
    if (s->view.role == REPL_PRIMARY)
        return err_set(e, ERR_USAGE, "%s is the primary already", self->name);
    if (self->kind == SITE_REPOSITORY)
        return err_set(e, ERR_USAGE, "%s is a repository site and never becomes primary",
                       self->name);
    if (s->service->failover.active)
        return err_set(e, ERR_FAILED, "a failover is under way already; see triveni events");
    return 0;
}

static int command_failover(struct site *s, struct client *c, uint64_t request, struct err *e)
{
    struct service *v = s->service;
    const struct site_member *self = &s->config->members[s->config->self];
    if (admin_may_fail_over(s, e) != 0)
        return e->code;
    if (!driver_may_stand(s, e))
        return err_wrap(e, "%s cannot become primary", self->name);
    events_add(s->events, "operator %s: failover to %s", c->name, self->name);
    v->failover.active = true;
    v->failover.from = s->view.heard.site;
    v->failover.client = client_ref(c);
    v->failover.request = request;
    v->failover.until_ms =
        site_now_ms() + 10 * (uint64_t)s->config->election_ms; /* the core gives up at 8 */
    driver_step(s, &(struct repl_event){.type = REPL_EV_FAILOVER, .now_ms = site_now_ms()});
    return SERVICE_LATER;
}

static int command_mode(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                        struct err *e)
{
    const char *text = json_string_value(json_object_get(arguments, "mode"));
    enum commit_mode mode;
    if (text != NULL && strcmp(text, "majority") == 0)
        mode = COMMIT_MAJORITY;
    else if (text != NULL && strcmp(text, "local") == 0)
        mode = COMMIT_LOCAL;
    else
        return err_set(e, ERR_USAGE, "mode must be majority or local");
    int rc = admin_require_serving(s, e);
    if (rc == 0) {
        service_audit(s, c, "mode", json_pack("{s:s}", "mode", text));
        rc = service_mode(c, request, mode, e);
    }
    return rc != 0 ? rc : SERVICE_LATER;
}

static int command_members(struct site *s, struct client *c, uint64_t request, const char *what,
                           json_t *arguments, struct err *e)
{
    int rc = admin_require_serving(s, e);
    if (rc == 0)
        rc = service_members(c, request, what, arguments, e);
    if (rc != 0)
        return rc;
    service_audit(s, c, what, json_pack("{s:O?}", "name", json_object_get(arguments, "name")));
    return SERVICE_LATER;
}

static int command_seal(struct site *s, json_t **reply, struct err *e)
{
    if (s->archiver == NULL)
        return err_set(e, ERR_USAGE, "%s keeps no archive: ask a repository site",
                       s->config->members[s->config->self].name);
    archiver_seal_now(s->archiver);
    *reply = json_pack("{s:I}", "applied", (json_int_t)s->marks.applied.v);
    return 0;
}

static int command_drill(struct site *s, const struct client *c, json_t **reply, struct err *e)
{
    if (s->drills == NULL)
        return err_set(e, ERR_USAGE, "%s keeps no archive: ask a repository site",
                       s->config->members[s->config->self].name);
    events_add(s->events, "operator %s: a restore drill now", c->name);
    *reply = json_pack("{s:I}", "count", (json_int_t)drills_ask(s->drills));
    return 0;
}

/* The fields that every order carries; missing ones stay zero. */
static struct order_terms terms_of(json_t *arguments)
{
    json_t *told = json_object_get(arguments, "term");
    json_int_t term = json_integer_value(told);
    json_int_t expires = json_integer_value(json_object_get(arguments, "expires_us"));
    const char *nonce = json_string_value(json_object_get(arguments, "nonce"));
    return (struct order_terms){json_is_integer(told) && term >= 0,
                                {term > 0 ? (uint64_t)term : 0},
                                bytes_str(nonce != NULL ? nonce : ""),
                                {expires > 0 ? (uint64_t)expires : 0}};
}

/* What changes something is carried out once, and only where it finds what it expects (R7). */
static int give_order(struct site *s, struct client *c, uint64_t request, const char *what,
                      json_t *arguments, json_t **reply, struct err *e)
{
    struct order_terms terms = terms_of(arguments);
    struct order *order;
    int rc = orders_admit(&s->service->orders, what, &terms, s->view.term, site_commit_time(s),
                          &order, e);
    if (rc == 1 && order->code != 0)
        return err_set(e, order->code, "%s", order->answer);
    if (rc == 1) {
        *reply = json_loads(order->answer, 0, NULL);
        return *reply != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory for the answer");
    }
    if (rc != 0)
        return rc;
    order->asker = client_ref(c);
    order->request = request;
    if (strcmp(what, "switchover") == 0)
        return command_switchover(s, c, request, arguments, reply, e);
    if (strcmp(what, "failover") == 0)
        return command_failover(s, c, request, e);
    if (strcmp(what, "solo") == 0)
        return solo_command(s, c, request, arguments, e);
    if (strcmp(what, "archive-order") == 0)
        return custody_command(s, c, request, arguments, e);
    if (strcmp(what, "isolate") == 0)
        return isolation_command(s, c, arguments, reply, e);
    if (strncmp(what, "member-", 7) == 0)
        return command_members(s, c, request, what, arguments, e);
    return command_mode(s, c, request, arguments, e);
}

/* Orders carry term, nonce and expiry (R7). They and the other acts need an operator's certificate. */
static const char *const orders[] = {
    "switchover", "failover",       "solo",          "archive-order", "mode", "isolate",
    "member-add", "member-promote", "member-demote", "member-remove", NULL};
static const char *const other_acts[] = {
    "divergence", "seal", "drill", "index-create", "index-drop", "restore-records", NULL};
static const char *const of_indexes[] = {"index-create", "index-drop", "index-list", NULL};

/* The one of these names that the command has, or NULL. */
static const char *one_of(const char *const *names, struct bytes command)
{
    while (*names != NULL && !bytes_equal(command, bytes_str(*names)))
        names++;
    return *names;
}

int admin_command(struct site *s, struct client *c, uint64_t request, struct bytes command,
                  json_t *arguments, json_t **reply, struct err *e)
{
    const char *order = one_of(orders, command);
    const char *act = order != NULL ? order : one_of(other_acts, command);
    if (act != NULL && c->kind != WIRE_OPERATOR)
        return err_set(e, ERR_DENIED, "%s needs an operator's certificate, yours is client '%s'",
                       act, c->name);
    if (json_is_true(json_object_get(arguments, "primary"))) {
        int rc = admin_require_serving(s, e);
        if (rc != 0)
            return rc;
    }
    if (bytes_equal(command, bytes_str("status")))
        return command_status(s, reply, e);
    if (bytes_equal(command, bytes_str("events"))) {
        json_int_t limit = json_integer_value(json_object_get(arguments, "limit"));
        *reply =
            json_pack("{s:o}", "events", events_json(s->events, limit > 0 ? (size_t)limit : 100));
        return 0;
    }
    if (bytes_equal(command, bytes_str("digest")))
        return command_digest(s, reply, e);
    if (bytes_equal(command, bytes_str("points")))
        return command_points(s, reply, e);
    if (bytes_equal(command, bytes_str("sessions")))
        return command_sessions(s, reply, e);
    if (bytes_equal(command, bytes_str("receipt")))
        return receipts_command(s, arguments, reply, e);
    if (bytes_equal(command, bytes_str("member-list"))) {
        *reply = members_json(s);
        return 0;
    }
    if (bytes_equal(command, bytes_str("custody")))
        return custody_status(s, reply, e);
    if (order != NULL)
        return give_order(s, c, request, order, arguments, reply, e);
    if (bytes_equal(command, bytes_str("seal")))
        return command_seal(s, reply, e);
    if (bytes_equal(command, bytes_str("drill")))
        return command_drill(s, c, reply, e);
    if (bytes_equal(command, bytes_str("history")))
        return past_ask(s, c, request, arguments, e);
    if (bytes_equal(command, bytes_str("divergence")))
        return admin_divergence(s, c, request, arguments, e);
    if (bytes_equal(command, bytes_str("restore-records")))
        return putback_command(s, c, request, arguments, e);
    if (one_of(of_indexes, command) != NULL)
        return service_index_command(s, c, request, command, arguments, reply, e);
    return err_set(e, ERR_USAGE, "command '%.*s' is unknown to triveni %s",
                   (int)(command.n < 40 ? command.n : 40), (const char *)command.p,
                   TRIVENI_VERSION);
}
