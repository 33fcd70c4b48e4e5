/* The client service: connections of clients, dispatch of their requests, answers, back-pressure.
 *
 * A request is answered at once, waits in a ring until its lsn reaches its level (writes), or is parked whole and
 * tried again when the state, the lease or the primary is there (reads). Whoever is waiting when this site stops being primary
 * loses the connection, without an answer: what became of the write is for the new primary to say (P6), never for us to guess.
 *
 * TURNS. Answers to waiting writes go out as soon as something moves (service_progress). Parked requests are tried once per turn
 * of the loop (service_turn), never from inside a step: a request may itself propose an entry, and so step.
 *
 * BOUNDS: max_clients connections; WAITERS_MAX waiting writes; PARKED_MAX and memory_bytes of parked requests, each for
 * PARKED_MS; when the effects in flight exceed memory_bytes no client is read until a sixteenth of it is applied, except
 * operators, who want to know why. Answers that wait to be read: 64 MiB of one client, of all memory_bytes (bound_answers). */
#include "replication/service.h"

#include "store/core/check.h"
#include "store/io/json_memory.h"

/* ---- clients ---- */

uint8_t *service_buffer(struct service *v, size_t bytes, struct err *e)
{
    if (bytes > v->out_capacity) {
        uint8_t *larger = realloc(v->out, bytes);
        if (larger == NULL) {
            err_set(e, ERR_NO_MEMORY, "out of memory for an answer of %zu bytes", bytes);
            return NULL;
        }
        v->out = larger;
        v->out_capacity = bytes;
    }
    return v->out;
}

/* Answers that nobody takes hold memory, and one connection may have ANSWERS_MIN_BYTES of them. When those of all come to more
 * than is granted to all, the one that has most goes: that is who does not read. Looked at after each sixteenth of it. */
static void bound_answers(struct service *v, size_t bytes)
{
    const uint64_t memory = v->site->config->memory_bytes;
    const uint64_t limit = memory > ANSWERS_MIN_BYTES ? memory : ANSWERS_MIN_BYTES;
    v->answered_bytes += bytes;
    if (v->answered_bytes < limit / 16)
        return;
    v->answered_bytes = 0;
    uint64_t all = 0;
    struct client *most = NULL;
    for (struct client *c = v->clients; c != NULL; c = c->next) {
        if (c->cut)
            continue;
        all += conn_queued_bytes(c->conn);
        if (most == NULL || conn_queued_bytes(c->conn) > conn_queued_bytes(most->conn))
            most = c;
    }
    if (all <= limit)
        return;
    struct err why = ERR_NONE;
    err_set(&why, ERR_BUSY,
            "it has not read %zu bytes of its answers, and all clients together %llu, of which "
            "%llu are allowed (store.memory_mib)",
            conn_queued_bytes(most->conn), (unsigned long long)all, (unsigned long long)limit);
    most->cut = true;
    conn_cut(most->conn, &why);
}

static void send_frame(struct client *c, enum frame_type type, uint64_t request, struct bytes body)
{
    if (c->conn == NULL)
        return;
    struct err e = ERR_NONE;
    /* A client that does not read its answers is cut off; it asks again for what it missed. */
    if (conn_send(c->conn, type, c->service->site->view.term, request, &body, 1, &e) != 0)
        conn_close(c->conn, &e);
    bound_answers(c->service, body.n);
}

void service_reply(struct client *c, enum frame_type request_type, uint64_t request,
                   struct bytes body)
{
    send_frame(c, (enum frame_type)((unsigned)request_type | FRAME_REPLY), request, body);
}

static struct bytes primary_endpoint(const struct site *s)
{
    const struct site_member *primary = site_member(s, s->view.primary);
    bool self = s->view.primary == s->config->self;
    return primary != NULL && (!self || s->view.role == REPL_PRIMARY) ? bytes_str(primary->client)
                                                                      : (struct bytes){NULL, 0};
}

void service_error_details(struct client *c, uint64_t request, const struct wire_error *error)
{
    uint8_t body[ERR_TEXT_BYTES + SITE_ENDPOINT_BYTES + 64];
    struct writer w = writer_of(body, sizeof body);
    wire_write_error(&w, error);
    check(!w.bad);
    send_frame(c, FRAME_ERROR, request, bytes_of(body, w.at));
}

/* An order is remembered with its answer, also when nobody is there any more to hear it: then it will be asked again. */
static void note_order(struct client *c, uint64_t request, int code, const char *answer)
{
    if (orders_answered(&c->service->orders, c, request, code, answer))
        client_unref(c);
}

/* Those that have expired by `now`. */
static void forget_orders(struct service *v, struct utc now)
{
    for (struct order k; (k = orders_forget(&v->orders, now)).state != ORDER_FREE;)
        if (k.state == ORDER_PENDING)
            client_unref(k.asker);
}

void service_error(struct client *c, uint64_t request, const struct err *why)
{
    struct wire_error error = {
        .code = why->code, .text = bytes_str(why->text), .failed_condition = -1};
    /* A primary that refuses, because it has no majority or has only just been elected, sends nobody to itself. */
    if (why->code == ERR_NOT_PRIMARY && c->service->site->view.role != REPL_PRIMARY)
        error.primary = primary_endpoint(c->service->site);
    service_error_details(c, request, &error);
    note_order(c, request, why->code, why->text);
}

void service_reply_json(struct client *c, uint64_t request, json_t *reply)
{
    char *text = json_memory_lacked() ? NULL : json_dumps(reply, JSON_COMPACT);
    json_decref(reply);
    json_memory_watch();
    struct err e = ERR_NONE;
    size_t n = text != NULL ? strlen(text) : 0;
    uint8_t *body = text != NULL ? service_buffer(c->service, n + 16, &e) : NULL;
    if (body == NULL) {
        err_set(&e, ERR_NO_MEMORY, "out of memory for the answer");
        service_error(c, request, &e);
    } else {
        struct writer w = writer_of(body, n + 16);
        wire_write_admin_reply(&w, &(struct wire_admin_reply){bytes_of(text, n)});
        check(!w.bad);
        service_reply(c, FRAME_ADMIN, request, bytes_of(body, w.at));
        note_order(c, request, 0, text);
    }
    free(text);
}

static void on_ready(struct conn *conn, const struct wire_hello *hello)
{
    (void)hello;
    struct service *v = ((struct client *)conn_arg(conn))->service;
    struct client *c = calloc(1, sizeof *c);
    struct err e = ERR_NONE;
    if (c == NULL) {
        err_set(&e, ERR_NO_MEMORY, "out of memory for one more client");
        conn_close(conn, &e);
        return;
    }
    const struct identity *id = conn_identity(conn);
    *c = (struct client){
        .service = v, .conn = conn, .references = 1, .kind = id->kind, .next = v->clients};
    (void)snprintf(c->name, sizeof c->name, "%s", id->name);
    if (v->clients != NULL)
        v->clients->prev = c;
    v->clients = c;
    v->client_count++;
    conn_set_arg(conn, c);
    if (v->paused && c->kind != WIRE_OPERATOR)
        conn_pause(conn);
}

static void on_closed(struct conn *conn, const struct err *why)
{
    struct client *c = conn_arg(conn);
    if (c->conn != conn) { /* never became ready: still the listener's nobody */
        struct site *s = c->service->site;
        peers_refused(s, &s->refused_clients, conn, why);
        return;
    }
    struct service *v = c->service;
    /* The certificates were read again; it said nothing for too long, or does not end what it began; or it does not read. */
    if (why != NULL &&
        (why->code == ERR_DENIED || why->code == ERR_TIMEOUT || why->code == ERR_BUSY))
        events_add(v->site->events, "connection of %s %s is cut off: %s",
                   identity_kind_name(c->kind), c->name, why->text);
    client_close_snapshots(c, UINT64_MAX);
    service_watch_drop(c);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        v->clients = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    v->client_count--;
    c->conn = NULL;
    client_unref(c);
}

/* ---- requests ---- */

/* 0: answered or waiting; otherwise `e` is sent as the answer. */
static int serve_request(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    switch ((unsigned)f->type) {
    case FRAME_TXN:
        return service_txn(c, f, body, e);
    case FRAME_GET:
        return service_get(c, f, body, e);
    case FRAME_SCAN:
        return service_scan(c, f, body, e);
    case FRAME_SESSION_OPEN:
        return service_session_open(c, f, body, e);
    case FRAME_SESSION_CLOSE:
        return service_session_close(c, f, body, e);
    case FRAME_SNAPSHOT_OPEN:
        return service_snapshot_open(c, f, body, e);
    case FRAME_SNAPSHOT_CLOSE:
        return service_snapshot_close(c, f, body, e);
    case FRAME_OUTCOME:
        return service_outcome(c, f, body, e);
    case FRAME_OUTCOME_BY_KEY:
        return service_outcome_by_key(c, f, body, e);
    case FRAME_POINT:
        return service_point(c, f, body, e);
    case FRAME_WATCH_OPEN:
        return service_watch_open(c, f, body, e);
    case FRAME_WATCH_CREDIT:
        return service_watch_credit(c, body, e);
    case FRAME_WATCH_CLOSE:
        return service_watch_close(c, f, body, e);
    case FRAME_ADMIN:
        break;
    default:
        return err_set(e, ERR_FORMAT, "request type %u is unknown to triveni %s", (unsigned)f->type,
                       TRIVENI_VERSION);
    }
    struct wire_admin admin;
    int rc = wire_read_admin(body, &admin, e);
    if (rc != 0)
        return rc;
    json_error_t where;
    json_memory_watch();
    json_t *arguments = admin.arguments.n == 0 ? json_object()
                                               : json_loadb((const char *)admin.arguments.p,
                                                            admin.arguments.n, 0, &where);
    if (!json_is_object(arguments)) {
        json_decref(arguments);
        if (json_memory_lacked())
            return err_set(e, ERR_NO_MEMORY, "out of memory for the arguments of an order");
        return err_set(e, ERR_USAGE, "arguments of %.*s: not a JSON object: %s",
                       (int)admin.command.n, (const char *)admin.command.p, where.text);
    }
    json_t *reply = NULL;
    rc = admin_command(c->service->site, c, f->request, admin.command, arguments, &reply, e);
    json_decref(arguments);
    if (rc == 0)
        service_reply_json(c, f->request, reply);
    return rc == SERVICE_LATER ? 0 : rc;
}

static void pause_when_full(struct service *v)
{
    struct site *s = v->site;
    struct err why;
    if (v->paused || overlay_bytes(s->overlay) <= s->config->memory_bytes ||
        applier_disk_full(s->applier, &why))
        return; /* with a full disk writes are refused (driver_propose), and reads go on */
    v->paused = true;
    for (struct client *c = v->clients; c != NULL; c = c->next)
        if (c->kind != WIRE_OPERATOR)
            conn_pause(c->conn);
}

/* A sixteenth of the default is a batch or two of the applier. With half of it the throughput was the same, and the pauses ten
 * times as long: at the limit they are what a client waits for. */
static void resume_when_drained(struct service *v)
{
    struct site *s = v->site;
    struct err why;
    if (!v->paused || (overlay_bytes(s->overlay) > s->config->memory_bytes / 16 * 15 &&
                       !applier_disk_full(s->applier, &why)))
        return;
    v->paused = false;
    for (struct client *c = v->clients; c != NULL; c = c->next)
        conn_resume(c->conn);
}

static int on_frame(struct conn *conn, const struct frame *f, struct bytes body, struct err *why)
{
    struct client *c = conn_arg(conn);
    struct service *v = c->service;
    if (f->type == FRAME_ERROR || (unsigned)f->type < FRAME_SESSION_OPEN)
        return err_set(why, ERR_FORMAT, "frame type %u is not a request", (unsigned)f->type);
    struct err e = ERR_NONE;
    bool isolated = isolation_cuts(v->site, ISOLATE_CLIENTS) && f->type != FRAME_ADMIN;
    int rc = isolated ? isolation_refuse(v->site, &e) : serve_request(c, f, body, &e);
    if (rc != 0)
        service_error(c, f->request, &e);
    pause_when_full(v);
    return 0;
}

/* ---- parking ---- */

int service_park(struct client *c, const struct frame *f, struct bytes body, struct lsn need,
                 struct err *e)
{
    struct service *v = c->service;
    if (v->parked_count >= PARKED_MAX || v->parked_bytes + body.n > v->site->config->memory_bytes)
        return err_set(e, ERR_BUSY, "%u requests of %llu bytes wait already; try again",
                       v->parked_count, (unsigned long long)v->parked_bytes);
    struct parked *p = malloc(sizeof *p + body.n);
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *p = (struct parked){.client = client_ref(c),
                         .frame = *f,
                         .body = (uint8_t *)(p + 1),
                         .bytes = body.n,
                         .until_ms =
                             v->trying != NULL ? v->trying->until_ms : site_now_ms() + PARKED_MS,
                         .need = need};
    memcpy(p->body, body.p, body.n);
    *v->parked_last = p;
    v->parked_last = &p->next;
    v->parked_count++;
    v->parked_bytes += body.n;
    /* It may have met a moment without a lease that is over by the end of the turn. */
    v->seen_ready = false;
    if (need.v > v->site->urgent.v) {
        v->site->urgent = need;
        driver_give_orders(v->site);
    }
    return 0;
}

static void unpark(struct service *v, struct parked *p)
{
    v->parked_count--;
    v->parked_bytes -= p->bytes;
    client_unref(p->client);
    free(p);
}

/* Answer it, or park it anew. */
static void try_again(struct service *v, struct parked *p, bool late)
{
    struct site *s = v->site;
    struct err e = ERR_NONE;
    int rc = 0;
    if (p->client->conn != NULL && late) {
        rc =
            err_set(&e, ERR_STALE,
                    "the state here is at lsn %llu and has not reached lsn %llu within %d s, or no "
                    "majority confirms the primary; see triveni status",
                    (unsigned long long)s->marks.applied.v, (unsigned long long)p->need.v,
                    PARKED_MS / 1000);
    } else if (p->client->conn != NULL) {
        v->trying = p;
        rc = serve_request(p->client, &p->frame, bytes_of(p->body, p->bytes), &e);
        v->trying = NULL;
    }
    if (rc != 0)
        service_error(p->client, p->frame.request, &e);
    unpark(v, p);
}

/* Try every parked request once more; those that cannot be answered yet park themselves again. */
static void retry_parked(struct service *v)
{
    struct parked *list = v->parked_first;
    v->parked_first = NULL;
    v->parked_last = &v->parked_first;
    uint64_t now = list != NULL ? site_now_ms() : 0;
    while (list != NULL) {
        struct parked *p = list;
        list = p->next;
        p->next = NULL;
        bool late = now >= p->until_ms;
        if (p->client->conn != NULL && !late && p->need.v > v->site->marks.applied.v) {
            *v->parked_last = p;
            v->parked_last = &p->next;
        } else {
            try_again(v, p, late);
        }
    }
}

static void drop_parked(struct service *v)
{
    while (v->parked_first != NULL) {
        struct parked *p = v->parked_first;
        v->parked_first = p->next;
        unpark(v, p);
    }
    v->parked_last = &v->parked_first;
}

/* ---- what the rest of the site tells ---- */

static void failover_done(struct service *v, bool done, const char *why)
{
    struct site *s = v->site;
    v->failover.active = false;
    if (done && v->failover.warrant != NULL)
        solo_done(s, v->failover.client);
    else if (done)
        service_audit(s, v->failover.client, "failover",
                      json_pack("{s:s}", "to", s->config->members[s->config->self].name));
    if (done) {
        const char *self = s->config->members[s->config->self].name;
        const struct site_member *from = site_member(s, v->failover.from);
        service_reply_json(v->failover.client, v->failover.request,
                           json_pack("{s:s, s:s?, s:s, s:I, s:I}", "primary", self, "from",
                                     from != NULL ? from->name : NULL, "to", self, "term",
                                     (json_int_t)s->view.term.v, "lsn",
                                     (json_int_t)s->term_start.v));
    } else {
        struct err e = ERR_NONE;
        err_set(&e, ERR_FAILED, "failover to %s did not happen: %s; see triveni events",
                s->config->members[s->config->self].name, why);
        service_error(v->failover.client, v->failover.request, &e);
    }
    solo_forget(v);
    client_unref(v->failover.client);
}

void service_progress(struct site *s)
{
    struct service *v = s->service;
    if (v == NULL)
        return;
    service_answer_waiters(v);
    service_watch_progress(v);
    resume_when_drained(v);
}

void service_turn(struct site *s)
{
    struct service *v = s->service;
    if (v == NULL)
        return;
    if (v->failover.active && site_is_settled(s))
        failover_done(v, true, "");
    service_unique_progress(v);
    service_keys_progress(v);
    custody_turn(s);
    if (v->parked_count == 0)
        return;
    bool ready = site_is_ready(s) && repl_lease_valid(s->repl, site_now_ms());
    if (s->marks.applied.v == v->seen_applied.v && ready == v->seen_ready)
        return;
    v->seen_applied = s->marks.applied;
    v->seen_ready = ready;
    retry_parked(v);
}

void service_role_changed(struct site *s, bool demoted)
{
    struct service *v = s->service;
    if (v == NULL)
        return;
    const struct site_member *primary = site_member(s, s->view.primary);
    uint8_t body[SITE_NAME_MAX_BYTES + SITE_ENDPOINT_BYTES + 32];
    struct writer w = writer_of(body, sizeof body);
    wire_write_primary(
        &w, &(struct wire_primary){s->view.term,
                                   primary != NULL ? bytes_str(primary->name) : (struct bytes){0},
                                   primary_endpoint(s)});
    check(!w.bad);
    if (demoted)
        service_drop_waiters(v);
    service_unique_forget(v);
    v->declared_ahead_count = 0;
    for (struct client *c = v->clients, *next; c != NULL; c = next) {
        next = c->next;
        send_frame(c, FRAME_PRIMARY, 0, bytes_of(body, w.at));
        bool waits_for_switchover = v->switchover.active && v->switchover.client == c;
        if (demoted && c->conn != NULL && !waits_for_switchover) {
            struct err why = ERR_NONE;
            err_set(&why, ERR_NOT_PRIMARY, "this site is no longer the primary");
            conn_close(c->conn, &why);
        }
    }
}

static void switchover_done(struct service *v, bool done, const char *why)
{
    struct site *s = v->site;
    struct client *c = v->switchover.client;
    v->switchover.active = false;
    if (done) {
        const struct site_member *to =
            site_member(s, s->view.primary != REPL_NOBODY ? s->view.primary : v->switchover.to);
        service_reply_json(
            c, v->switchover.request,
            json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "from",
                      s->config->members[s->config->self].name, "to", to != NULL ? to->name : "",
                      "term", (json_int_t)s->view.term.v, "lsn", (json_int_t)v->switchover.lsn.v,
                      "waited_ms", (json_int_t)(v->switchover.stopped_ms - v->switchover.began_ms),
                      "pause_ms", (json_int_t)(site_now_ms() - v->switchover.stopped_ms)));
    } else {
        struct err e = ERR_NONE;
        err_set(&e, ERR_FAILED, "switchover did not happen: %s", why);
        service_error(c, v->switchover.request, &e);
    }
    client_unref(c);
}

void service_handover_stops_writes(struct site *s)
{
    if (s->service == NULL)
        return;
    s->service->switchover.stopped_ms = site_now_ms();
    s->service->switchover.lsn = s->tail.lsn;
}

void service_handover_done(struct site *s, bool done, const char *why)
{
    struct service *v = s->service;
    if (v == NULL)
        return;
    /* Nobody ordered it: a stop that found no successor has been told by the machine. */
    if (done || v->switchover.active || v->failover.active)
        events_add(s->events, "hand-over %s%s%s", done ? "done" : "not done",
                   why[0] != '\0' ? ": " : "", why);
    if (v->switchover.active)
        switchover_done(v, done, why);
    else if (v->failover.active && !done)
        failover_done(v, false, why);
}

void service_isolate(struct site *s, const struct err *why)
{
    for (struct client *c = s->service->clients, *next; c != NULL; c = next) {
        next = c->next;
        if (c->kind != WIRE_OPERATOR && c->conn != NULL)
            conn_close(c->conn, why);
    }
}

void service_undo(struct site *s)
{
    for (struct client *c = s->service->clients; c != NULL; c = c->next)
        client_close_snapshots(c, UINT64_MAX);
}

static void housekeeping(uv_timer_t *timer)
{
    struct service *v = timer->data;
    struct site *s = v->site;
    uint64_t now = site_now_ms();
    for (struct client *c = v->clients; c != NULL; c = c->next)
        client_close_snapshots(c, now > s->config->snapshot_ms ? now - s->config->snapshot_ms : 0);
    service_expire_sessions(v);
    forget_orders(v, site_commit_time(s));
    service_unique_progress(v);
    driver_watch_clock(s);
    certificates_look(s, false);
    retry_parked(v); /* answers those whose patience is over */
    if (v->failover.active && now >= v->failover.until_ms)
        failover_done(v, false,
                      s->view.role == REPL_PRIMARY
                          ? "it was elected, but no majority has taken its first entry yet"
                          : "it needs the vote of one more site, and a log that is not behind that "
                            "site's");
}

int service_start(struct site *s, struct err *e)
{
    static const struct conn_callbacks callbacks = {on_ready, on_frame, on_closed, NULL};
    struct service *v = calloc(1, sizeof *v);
    if (v == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    v->site = s;
    v->nobody.service = v;
    v->parked_last = &v->parked_first;
    s->service = v;
    const struct site_member *self = &s->config->members[s->config->self];
    struct conn_options options = {
        .loop = &s->loop,
        .tls = s->tls,
        .cluster = s->config->cluster,
        .cluster_id = s->config->cluster_id,
        .hello = {.version = WIRE_VERSION,
                  .kind = WIRE_SITE,
                  .name = bytes_str(self->name),
                  .incarnation = s->vote.incarnation,
                  .software = bytes_str("triveni " TRIVENI_VERSION)},
        .accept_kinds = 1u << WIRE_CLIENT | 1u << WIRE_OPERATOR,
        .max_body = FRAME_CLIENT_MAX_BYTES,
        .idle_ms = s->config->client_idle_ms,
        .receive_limit_bytes = s->config->receive_bytes,
        .max_per_identity = s->config->max_per_identity,
        .more_for_operators = OPERATORS_MORE,
        .callbacks = &callbacks,
    };
    int rc = conn_listen(&s->client_listener, &options, self->client, s->config->max_clients,
                         &v->nobody, e);
    if (rc != 0)
        return err_wrap(e, "listening for clients");
    check(uv_timer_init(&s->loop, &v->housekeeping) == 0);
    v->housekeeping.data = v;
    (void)uv_timer_start(&v->housekeeping, housekeeping, 1000, 1000);
    return 0;
}

/* Who waits for the outcome of a hand-over hears what is known of it. */
static void end_handovers(struct service *v)
{
    struct err e = ERR_NONE;
    if (v->switchover.active && v->site->view.handover >= REPL_HANDOVER_ASKED) {
        v->switchover.active = false;
        err_set(&e, ERR_OUTCOME_UNKNOWN,
                "the site stops, and its successor was asked to take over: see triveni status at "
                "another site");
        service_error(v->switchover.client, v->switchover.request, &e);
        client_unref(v->switchover.client);
    } else if (v->switchover.active) {
        switchover_done(v, false, "the site stops before its successor has everything");
    }
    if (v->failover.active)
        failover_done(v, false, "the site stops");
}

void service_stop(struct site *s)
{
    struct service *v = s->service;
    if (v == NULL)
        return;
    if (s->client_listener != NULL)
        listener_close(s->client_listener);
    s->client_listener = NULL;
    if (v->housekeeping.data != NULL && !uv_is_closing((uv_handle_t *)&v->housekeeping))
        uv_close((uv_handle_t *)&v->housekeeping, NULL);
    end_handovers(v);
    service_tell_operators(v);
    service_drop_waiters(v);
    drop_parked(v);
    service_watch_stop(v);
    service_unique_forget(v);
    service_keys_free(v);
    free(v->declared_ahead);
    v->declared_ahead = NULL;
    v->declared_ahead_count = 0;
    forget_orders(v, (struct utc){UINT64_MAX});
    struct err why = ERR_NONE;
    err_set(&why, ERR_CANCELLED, "the site is stopping");
    for (struct client *c = v->clients; c != NULL; c = c->next) {
        client_close_snapshots(c, UINT64_MAX);
        conn_close(c->conn, &why);
    }
}
