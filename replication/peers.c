/* Links between sites: one connection a pair, opened by the site with the lesser name, tried again with growing pauses.
 *
 * An accepted connection from a site that already has one replaces it: the other side would not have opened a second
 * one if the first were alive. Received entries are decoded and checked (checksums, hashes, chain) before the core hears of
 * them; the core decides whether they fit. */
#include "replication/site_parts.h"

#include "store/core/check.h"

enum {
    RETRY_MIN_MS = 50,
    RETRY_MAX_MS = 1000,
    REFUSED_TOLD_MS = 1000, /* entries that found no room for so long are a trouble */
    /* Two standbys have nothing to tell each other for days. A path that has forgotten them (a firewall that was restarted, a
     * machine without power) is noticed by this, so that the link is made anew before a vote needs it. */
    ALIVE_MS = 5000,
    SILENT_MS = 15000,
};

static struct {
    struct repl_entry_meta metas[REPL_BATCH_ENTRIES_MAX];
    struct entry_view views[REPL_BATCH_ENTRIES_MAX];
} received; /* of the message at hand; the loop handles one at a time */

static void connect_later(struct peer *p);

/* The slot of this site itself has no link: it stands for accepted connections whose site is not known yet, or that were
 * replaced. */
static struct peer *nobody(struct site *s)
{
    return &s->peers[s->config->self];
}

/* ---- receiving ---- */

static int decode_entries(struct site *s, const struct repl_message *m, struct bytes in,
                          struct err *e)
{
    if (m->count > REPL_BATCH_ENTRIES_MAX)
        return err_set(e, ERR_LIMIT, "message carries %u entries, at most %d", m->count,
                       REPL_BATCH_ENTRIES_MAX);
    for (uint32_t i = 0; i < m->count; i++) {
        struct entry_view *v = &received.views[i];
        size_t used;
        int rc = entry_decode(in, v, &used, e);
        if (rc == 0 && !uuid_equal(&v->header.cluster_id, &s->config->cluster_id))
            rc = err_set(e, ERR_FORMAT, "entry belongs to another cluster");
        if (rc == 0 && i > 0) {
            struct entry_position prev = entry_position_of(&received.views[i - 1]);
            rc = entry_follows(&prev, &v->header, e);
        }
        if (rc != 0)
            return err_wrap(e, "entry %u of %u", i, m->count);
        received.metas[i] = (struct repl_entry_meta){
            v->header.lsn, v->header.term, v->header.kind, v->hash, v->header.prev_hash, {0}};
        if (v->header.kind == ENTRY_MEMBERS)
            rc = members_read(s, bytes_of(v->body, v->header.body_bytes),
                              &received.metas[i].members, e);
        if (rc != 0)
            return err_wrap(e, "entry %u of %u", i, m->count);
        in = bytes_of(in.p + used, in.n - used);
    }
    return in.n == 0 ? 0 : err_set(e, ERR_FORMAT, "%zu bytes are left over", in.n);
}

void peers_heard(struct site *s, struct lsn commit, struct term term, uint64_t as_of_ms)
{
    const struct entry_position at = state_applied(s->state);
    freshness_told(&s->freshness, commit, term, as_of_ms);
    (void)freshness_applied(&s->freshness, at.lsn, at.term, s->view.may_vote);
}

static void note_primary_commit(struct site *s, const struct repl_message *m)
{
    if (m->type == REPL_MSG_ENTRIES && m->granted && m->term.v >= s->view.term.v)
        peers_heard(s, m->commit, m->term, site_now_ms());
}

/* Without room in the log a message is heard, but its entries are not taken. Who sent them sees no progress and sends again
 * later. While much is taken at once, as in a refill, that is flow control; it is told when it lasts. */
static void take_or_leave(struct site *s, struct repl_message *m, size_t bytes)
{
    struct err why = ERR_NONE;
    if (m->count == 0) { /* nothing to take, or there is room again for what was not taken */
        if (s->log_refused.code == 0 || log_room(s->log, s->log_refused_bytes, &why) != 0)
            return;
    } else if (log_room(s->log, bytes, &why) != 0) {
        if (s->log_refused.code == 0)
            s->log_refused_ms = site_now_ms();
        if (!s->log_refused_told && site_now_ms() >= s->log_refused_ms + REFUSED_TOLD_MS) {
            s->log_refused_told = true;
            events_add(s->events, "log: entries from %s are not taken: %s",
                       s->config->members[m->from].name, why.text);
        }
        m->count = 0;
        s->log_refused_bytes = bytes;
    }
    if (why.code == 0 && s->log_refused_told)
        events_add(s->events, "log: entries are taken again");
    s->log_refused_told &= why.code != 0;
    s->log_refused = why;
}

static int cosign_frame(struct site *s, uint8_t from, struct bytes body, struct err *why)
{
    struct cosign_message m;
    const bool archive = s->config->members[from].kind == SITE_REPOSITORY;
    int rc = cosign_read(body, &m, why);
    const bool to_witness = m.kind == COSIGN_ASK || m.kind == COSIGN_ROW || m.kind == COSIGN_ADD;
    if (rc == 0 && (to_witness ? !archive || s->cosigner == NULL : archive || s->collector == NULL))
        rc = err_set(why, ERR_FORMAT, "cosign message '%s' is not for this site",
                     cosign_kind_name(m.kind));
    if (rc != 0)
        return err_wrap(why, "from %s", s->config->members[from].name);
    if (to_witness)
        cosigner_message(s->cosigner, from, &m);
    else
        collector_message(s->collector, from, &m);
    return 0;
}

static int on_frame(struct conn *c, const struct frame *f, struct bytes body, struct err *why)
{
    struct peer *p = conn_arg(c);
    struct site *s = p->site;
    if (p == nobody(s))
        return err_set(why, ERR_DENIED, "this link has been replaced by a newer one");
    if (f->type == FRAME_ERROR) {
        struct wire_error error;
        if (wire_read_error(body, &error, why) != 0)
            return why->code;
        return err_set(why, error.code < 0 ? error.code : ERR_FAILED, "%s says: %.*s",
                       s->config->members[p->index].name, (int)error.text.n,
                       (const char *)error.text.p);
    }
    const bool lost = (s->view.list.members.lost >> p->index & 1) != 0; /* repl_solo.c */
    if (f->type == FRAME_CARE && lost)
        return 0;
    if (f->type == FRAME_CARE) {
        int care = care_frame(s, p->index, body, why);
        return care == 0 ? 0 : err_wrap(why, "from %s", s->config->members[p->index].name);
    }
    if (f->type == FRAME_COSIGN)
        return cosign_frame(s, p->index, body, why);
    if (f->type != FRAME_PEER)
        return err_set(why, ERR_FORMAT, "frame type %d is not for sites", (int)f->type);
    struct repl_message m;
    struct bytes entries;
    int rc = message_read(body, &m, &entries, why);
    if (rc == 0)
        rc = decode_entries(s, &m, entries, why);
    if (rc != 0)
        return err_wrap(why, "message from %s", s->config->members[p->index].name);
    m.from = p->index;
    m.to = (uint8_t)s->config->self;
    take_or_leave(s, &m, entries.n);
    if (m.type == REPL_MSG_TAKE_OVER && !driver_may_stand(s, NULL))
        return 0; /* the primary takes it back when nobody stands */
    if (!lost)
        note_primary_commit(s, &m);
    driver_step_entries(s,
                        &(struct repl_event){.type = REPL_EV_MESSAGE,
                                             .now_ms = site_now_ms(),
                                             .site = p->index,
                                             .message = &m,
                                             .metas = received.metas},
                        received.views);
    return 0;
}

/* ---- links ---- */

/* Why there is no link, told whenever it is another reason than before: what is repeated every second is not. */
static void note_down(struct peer *p, const char *why)
{
    struct site *s = p->site;
    if (p->up || !quiet_same(p->why, why))
        events_add(s->events, "link to %s: %s", s->config->members[p->index].name, why);
    (void)snprintf(p->why, sizeof p->why, "%s", why);
}

/* Strangers knock as often as they like, so a limit holds; but a site of ours that is refused must be found in this log, since
 * here is where the reason is known. One that ended by itself (a probe of the port) was not refused. */
void peers_refused(struct site *s, struct quiet *q, const struct conn *c, const struct err *why)
{
    uint32_t silent;
    if (s->stopping || why == NULL || why->code == ERR_UNREACHABLE || why->code == ERR_CANCELLED)
        return;
    size_t n = strlen(conn_remote(c));
    bool address = strncmp(why->text, conn_remote(c), n) == 0; /* the port is new each time */
    if (quiet_tell(q, why->text + (address ? n : 0), site_now_ms(), &silent)) {
        char more[48] = "";
        if (silent > 0)
            (void)snprintf(more, sizeof more, " (and %u more were refused before)", silent);
        events_add(s->events, "%s refused: %s%s",
                   q == &s->refused_sites ? "link from a site" : "connection from a client",
                   why->text, more);
    }
    if (q != &s->refused_sites)
        return;
    const struct identity *id = conn_identity(c);
    for (uint8_t i = 0; i < s->config->member_count; i++)
        if (id->kind == WIRE_SITE && i != s->config->self && !s->peers[i].up &&
            strcmp(s->config->members[i].name, id->name) == 0) {
            (void)snprintf(s->peers[i].why, sizeof s->peers[i].why, "%s", why->text);
            return;
        }
    (void)snprintf(s->refused_last, sizeof s->refused_last, "%s", why->text);
    s->refused_last_ms = site_now_ms();
}

static void link_down(struct peer *p)
{
    p->conn = NULL;
    if (!p->up)
        return;
    p->up = false;
    driver_step(p->site, &(struct repl_event){
                             .type = REPL_EV_PEER_DOWN, .now_ms = site_now_ms(), .site = p->index});
}

static void on_closed(struct conn *c, const struct err *why)
{
    struct peer *p = conn_arg(c);
    struct site *s = p->site;
    if (p->conn != c) { /* an accepted one that never became ready, or one that was replaced */
        peers_refused(s, &s->refused_sites, c, why);
        return;
    }
    if (p->up && site_now_ms() - p->up_since_ms > RETRY_MAX_MS)
        p->retry_ms =
            RETRY_MIN_MS; /* it was a link; one that ends at once is not tried faster and faster */
    note_down(p, why != NULL && why->text[0] != '\0' ? why->text : "closed");
    link_down(p);
    if (!s->stopping && peers_opens(s, p->index))
        connect_later(p);
}

static void link_up(struct peer *p, struct conn *c)
{
    struct site *s = p->site;
    p->conn = c;
    p->up = true;
    p->why[0] = '\0';
    p->up_since_ms = site_now_ms();
    events_add(s->events, "link to %s: up (%s)", s->config->members[p->index].name, conn_remote(c));
    driver_step(s, &(struct repl_event){
                       .type = REPL_EV_PEER_UP, .now_ms = site_now_ms(), .site = p->index});
}

static void on_ready_out(struct conn *c, const struct wire_hello *hello)
{
    (void)hello;
    link_up(conn_arg(c), c);
}

/* The slot of the site that connected to us; REPL_NOBODY: none that may. */
static uint8_t slot_of(const struct site *s, const struct conn *c)
{
    for (uint8_t i = 0; i < s->config->member_count; i++)
        if (strcmp(s->config->members[i].name, conn_identity(c)->name) == 0)
            return i == s->config->self || peers_opens(s, i) ? REPL_NOBODY : i;
    return REPL_NOBODY;
}

static int admit(const struct conn *c, struct err *why)
{
    const struct site *s = ((struct peer *)conn_arg(c))->site;
    uint8_t slot = slot_of(s, c);
    if (slot == REPL_NOBODY)
        return err_set(why, ERR_DENIED,
                       "site '%s' has no business connecting to %s; compare the members in both "
                       "configurations",
                       conn_identity(c)->name, s->config->members[s->config->self].name);
    return members_linked(s, slot, why) ? 0 : why->code;
}

static void on_ready_in(struct conn *c, const struct wire_hello *hello)
{
    (void)hello;
    struct site *s = ((struct peer *)conn_arg(c))->site;
    struct peer *p = &s->peers[slot_of(s, c)];
    if (p->conn != NULL) {
        struct conn *old = p->conn;
        link_down(p);
        conn_set_arg(old, nobody(s));
        conn_close(old, NULL);
    }
    conn_set_arg(c, p);
    link_up(p, c);
}

static struct conn_options link_options(struct site *s, const struct conn_callbacks *callbacks)
{
    return (struct conn_options){
        .loop = &s->loop,
        .tls = s->tls,
        .cluster = s->config->cluster,
        .cluster_id = s->config->cluster_id,
        .hello = {.version = WIRE_VERSION,
                  .kind = WIRE_SITE,
                  .name = bytes_str(s->config->members[s->config->self].name),
                  .incarnation = s->vote.incarnation,
                  .software = bytes_str("triveni " TRIVENI_VERSION),
                  .members = bytes_str(s->members),
                  .election_ms = s->config->election_ms,
                  .lease_ms = s->config->lease_ms},
        .accept_kinds = 1u << WIRE_SITE,
        .max_body = FRAME_PEER_MAX_BYTES,
        .queue_limit_bytes = 2 * FRAME_PEER_MAX_BYTES,
        .idle_ms = SILENT_MS,
        .alive_ms = ALIVE_MS,
        .admit = admit,
        .zstd_level = s->config->zstd_level,
        .callbacks = callbacks,
    };
}

static void try_connect(uv_timer_t *timer)
{
    static const struct conn_callbacks callbacks = {on_ready_out, on_frame, on_closed, NULL};
    struct peer *p = timer->data;
    struct site *s = p->site;
    if (s->stopping || p->conn != NULL || isolation_cuts(s, ISOLATE_SITES) ||
        !members_linked(s, p->index, NULL))
        return;
    struct conn_options options = link_options(s, &callbacks);
    const struct site_member *member = &s->config->members[p->index];
    struct err e = ERR_NONE;
    if (conn_connect(&p->conn, &options, member->peer, member->name, p, &e) != 0) {
        note_down(p, e.text);
        p->conn = NULL;
        connect_later(p);
    }
}

static void connect_later(struct peer *p)
{
    (void)uv_timer_start(&p->retry, try_connect, p->retry_ms, 0);
    p->retry_ms = p->retry_ms * 2 < RETRY_MAX_MS ? p->retry_ms * 2 : RETRY_MAX_MS;
}

int peers_start(struct site *s, struct err *e)
{
    static const struct conn_callbacks callbacks = {on_ready_in, on_frame, on_closed, NULL};
    for (int i = 0; i < REPL_SITES_MAX; i++) {
        struct peer *p = &s->peers[i];
        *p = (struct peer){.site = s, .index = (uint8_t)i, .retry_ms = RETRY_MIN_MS};
        check(uv_timer_init(&s->loop, &p->retry) == 0);
        p->retry.data = p;
    }
    s->began_ms = site_now_ms();
    struct conn_options options = link_options(s, &callbacks);
    int rc = conn_listen(&s->peer_listener, &options, s->config->members[s->config->self].peer, 64,
                         nobody(s), e);
    if (rc != 0)
        return err_wrap(e, "listening for sites");
    for (uint8_t i = 0; i < s->config->member_count; i++)
        peers_added(s, i);
    return 0;
}

bool peers_opens(const struct site *s, uint8_t slot)
{
    const struct site_config *c = s->config;
    return strcmp(c->members[c->self].name, c->members[slot].name) < 0;
}

void peers_added(struct site *s, uint8_t slot)
{
    struct peer *p = &s->peers[slot];
    if (p->site != NULL && !s->stopping && slot != s->config->self && peers_opens(s, slot) &&
        p->conn == NULL && !uv_is_active((uv_handle_t *)&p->retry))
        (void)uv_timer_start(&p->retry, try_connect, 0, 0);
}

/* What still comes on a connection that is being closed is nobody's: on_frame refuses it. */
static void drop(struct peer *p, const struct err *why)
{
    struct conn *old = p->conn;
    (void)uv_timer_stop(&p->retry);
    note_down(p, why->text);
    if (old == NULL)
        return;
    link_down(p);
    conn_set_arg(old, nobody(p->site));
    conn_close(old, why);
}

void peers_drop(struct site *s, uint8_t slot, const struct err *why)
{
    if (s->peers[slot].site != NULL)
        drop(&s->peers[slot], why);
}

void peers_isolate(struct site *s, bool isolated, const struct err *why)
{
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        struct peer *p = &s->peers[i];
        if (i == s->config->self)
            continue;
        if (isolated) {
            drop(p, why);
        } else if (p->conn == NULL) {
            p->why[0] = '\0';
            p->retry_ms = RETRY_MIN_MS;
            if (peers_opens(s, i))
                try_connect(&p->retry);
        }
    }
}

void peers_stop(struct site *s)
{
    if (s->peer_listener != NULL)
        listener_close(s->peer_listener);
    s->peer_listener = NULL;
    for (int i = 0; i < REPL_SITES_MAX; i++) {
        struct peer *p = &s->peers[i];
        if (p->site == NULL)
            continue;
        if (p->conn != NULL) {
            conn_set_arg(p->conn, nobody(s));
            conn_close(p->conn, NULL);
            p->conn = NULL;
        }
        if (!uv_is_closing((uv_handle_t *)&p->retry))
            uv_close((uv_handle_t *)&p->retry, NULL);
    }
}

static bool send_frame(struct site *s, uint8_t to, enum frame_type type, struct term term,
                       const struct bytes *pieces, size_t n)
{
    check(to < s->config->member_count);
    struct peer *p = &s->peers[to];
    struct err e = ERR_NONE;
    if (!p->up)
        return false;
    if (conn_send(p->conn, type, term, 0, pieces, n, &e) == 0)
        return true;
    if (e.code != ERR_BUSY)
        events_add(s->events, "link to %s: %s", s->config->members[to].name, e.text);
    return false;
}

bool peers_send(struct site *s, const struct repl_message *m, struct bytes entries)
{
    uint8_t fixed[MESSAGE_FIXED_BYTES];
    struct writer w = writer_of(fixed, sizeof fixed);
    message_write(&w, m);
    check(!w.bad);
    const struct bytes pieces[] = {bytes_of(fixed, w.at), entries};
    return send_frame(s, m->to, FRAME_PEER, m->term, pieces, 2);
}

bool peers_send_care(struct site *s, uint8_t to, struct bytes body)
{
    return send_frame(s, to, FRAME_CARE, s->view.term, &body, 1);
}

bool peers_send_cosign(struct site *s, uint8_t to, const struct cosign_message *m)
{
    uint8_t fixed[COSIGN_FIXED_BYTES + 2 + COSIGN_KEY_MAX_BYTES + 4];
    struct writer w = writer_of(fixed, sizeof fixed);
    cosign_write_head(&w, m);
    check(!w.bad);
    const struct bytes pieces[] = {bytes_of(fixed, w.at), m->payload};
    return send_frame(s, to, FRAME_COSIGN, s->view.term, pieces, 2);
}
