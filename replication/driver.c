/* The driver: feeds events to the protocol core and executes its actions, in order, one at a time.
 *
 * ORDER. The core's promise is that nothing after SAVE_VOTE or TRUNCATE may begin before they are complete: here both are
 * synchronous calls, so the order of the loop below is the order on disk and wire. Appending is not: the log thread reports
 * DURABLE later, and whatever must wait for it (acknowledgements, commit) waits inside the core. Nor is exporting, which may take
 * long: exporter.c reports EXPORTED later, and TRUNCATE comes after that.
 *
 * FEEDBACK. Some actions have an outcome that the core must know (APPENDED, SENT, GONE). Those events are queued and
 * fed after the actions at hand are done, so that the core never runs inside itself.
 *
 * FAILURE MODES. A failed vote or log write stops the site (site_fail); from then on no action is executed, so nothing is
 * acknowledged that did not become durable. */
#include "replication/site_parts.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum {
    PUSH_BYTES = 32 << 10, /* the disk can begin, while the loop goes on with the turn */
    LEND_BYTES = 16 << 10,
    LEND_TURNS = 16, /* so many with one writer: then there is one */
};

bool site_is_ready(const struct site *s)
{
    const bool inherited = s->inherited.term.v == s->view.term.v;
    return marks_ready(&s->marks, &s->view, s->term_start, inherited) && s->fatal.code == 0;
}

bool site_is_settled(const struct site *s)
{
    return marks_settled(&s->marks, &s->view, s->term_start) && s->fatal.code == 0;
}

bool site_common(const struct site *s, struct lsn lsn)
{
    return !s->view.cut.asked || lsn.v <= s->view.cut.keep.v;
}

const struct site_member *site_member(const struct site *s, uint8_t index)
{
    return index < s->config->member_count ? &s->config->members[index] : NULL;
}

static void feed_back(struct site *s, struct repl_event event)
{
    check(s->feedback.count < sizeof s->feedback.queue / sizeof s->feedback.queue[0]);
    uint32_t at = (s->feedback.head + s->feedback.count) %
                  (uint32_t)(sizeof s->feedback.queue / sizeof s->feedback.queue[0]);
    s->feedback.queue[at] = event;
    s->feedback.count++;
}

/* ---- the log's end ---- */

/* Remember how many bytes each stretch of the log takes, to turn the retention limit into an lsn. */
static void note_retained(struct site *s, struct lsn last, size_t bytes)
{
    s->retained.bytes += bytes;
    uint32_t size = (uint32_t)(sizeof s->retained.at / sizeof s->retained.at[0]);
    uint64_t step = s->config->log_retain_bytes / size + 1;
    uint32_t newest = (s->retained.head + s->retained.count - 1) % size;
    if (s->retained.count == 0 || s->retained.bytes - s->retained.at[newest].bytes >= step) {
        uint32_t at = (s->retained.head + s->retained.count) % size;
        if (s->retained.count == size)
            s->retained.head = (s->retained.head + 1) % size;
        else
            s->retained.count++;
        s->retained.at[at].lsn = last;
        s->retained.at[at].bytes = s->retained.bytes;
    }
    while (s->retained.count > 0 && s->retained.bytes - s->retained.at[s->retained.head].bytes >
                                        s->config->log_retain_bytes) {
        s->retain = s->retained.at[s->retained.head].lsn;
        s->retained.head = (s->retained.head + 1) % size;
        s->retained.count--;
    }
}

void driver_retain_from(struct site *s, const struct log_status *log)
{
    enum { STRETCHES = 64 }; /* the log does not tell where its bytes are: taken as even */
    uint64_t entries = log->last.lsn.v - log->first.lsn.v;
    for (uint64_t i = 1; i <= STRETCHES && entries > 0; i++)
        note_retained(s, (struct lsn){log->first.lsn.v + entries * i / STRETCHES},
                      log->disk_bytes / STRETCHES);
}

/* Is there one writer, who waits for the disk alone? Then the loop, which has nothing else to do, writes for it: waking a thread
 * and being woken by it takes half as long as the disk. Only at a site that is alone: others are owed heartbeats, however slow
 * the disk is. */
static bool lends(struct site *s)
{
    bool single = s->unpushed == 1 && s->unpushed_bytes <= LEND_BYTES &&
                  s->marks.durable.v + 1 == s->tail.lsn.v;
    s->single_turns = single ? s->single_turns + 1 : 0;
    return s->single_turns > LEND_TURNS && s->config->member_count == 1;
}

/* What one turn of the loop appends is one batch of the log: with many clients each write of the disk serves many of them. */
bool driver_push(struct site *s)
{
    if (s->unpushed == 0)
        return false;
    const bool lent = lends(s);
    if (lent)
        site_log_lend(s);
    else
        log_push(s->log);
    s->unpushed_bytes = s->unpushed = 0;
    return lent;
}

/* And one message for each link: it is encoded, compressed, checked, written and acknowledged once for all that it carries. */
void driver_ship(struct site *s)
{
    if (!s->unshipped || s->stepping)
        return;
    s->unshipped = false;
    driver_step(s, &(struct repl_event){.type = REPL_EV_SHIP, .now_ms = site_now_ms()});
}

static void append(struct site *s, const struct entry_view *entries, size_t n)
{
    struct err e = ERR_NONE;
    if (log_append(s->log, entries, n, &e) != 0) {
        err_wrap(&e, "appending lsn %llu to the log", (unsigned long long)entries[0].header.lsn.v);
        site_fail(s, &e);
        return;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += ENTRY_HEADER_BYTES + entries[i].header.body_bytes;
        if (entries[i].header.kind == ENTRY_CONFIG)
            s->mode_after = entries[i].header.lsn;
        s->list_moved |= entries[i].header.kind == ENTRY_MEMBERS;
    }
    s->unpushed_bytes += bytes;
    s->unpushed += (uint32_t)n;
    if (s->unpushed_bytes >= PUSH_BYTES)
        (void)driver_push(s); /* too much to be lent for */
    s->tail = entry_position_of(&entries[n - 1]);
    timeline_note(&s->timeline, entries[0].header.lsn, entries[0].header.time, bytes);
    note_retained(s, s->tail.lsn, bytes);
}

/* Body of the entry that the core wants: the proposal at hand, or the no-op that begins a term. */
static struct bytes own_body(struct site *s, enum entry_kind kind, uint8_t *scratch, size_t cap,
                             struct err *e)
{
    if (s->proposal.active && s->proposal.kind == kind)
        return s->proposal.body;
    check(kind == ENTRY_NOOP);
    uint8_t salt[ENTRY_SALT_BYTES];
    if (salts_next(&s->salts, salt, e) != 0)
        return (struct bytes){NULL, 0};
    struct writer w = writer_of(scratch, cap);
    body_write_noop(&w, salt,
                    &(struct body_noop){bytes_str(s->config->members[s->config->self].name)});
    check(!w.bad);
    return bytes_of(scratch, w.at);
}

struct utc site_commit_time(struct site *s)
{
    return entry_next_time(&s->clock, s->tail.time, (struct utc){site_now_us()}, site_boot_us());
}

void driver_watch_clock(struct site *s)
{
    (void)site_commit_time(s);
    int64_t jump = commit_time_jump_us(&s->clock, (struct utc){site_now_us()}, site_boot_us());
    bool told = s->clock_jump_us != 0;
    s->clock_jump_us = jump;
    if (jump != 0 && !told)
        events_add(s->events,
                   "clock: this site's is %lld s %s commit time, which does not follow it "
                   "(store/core/commit_time.h)",
                   (long long)((jump < 0 ? -jump : jump) / 1000000),
                   jump < 0 ? "behind" : "ahead of");
    else if (jump == 0 && told)
        events_add(s->events, "clock: commit time follows this site's again");
}

static void append_own(struct site *s, const struct repl_action *a)
{
    uint8_t scratch[256], raw[ENTRY_HEADER_BYTES];
    struct err e = ERR_NONE;
    struct bytes body = own_body(s, a->kind, scratch, sizeof scratch, &e);
    if (body.p == NULL) {
        site_fail(s, &e);
        return;
    }
    check(a->lsn.v == s->tail.lsn.v + 1);
    const bool begins =
        a->term.v != s->tail.term.v; /* with a no-op, or with a list (repl_solo.c) */
    struct entry_view v = {.header = {.kind = a->kind,
                                      .cluster_id = s->config->cluster_id,
                                      .term = a->term,
                                      .lsn = a->lsn,
                                      .time = site_commit_time(s),
                                      .prev_hash = s->tail.hash},
                           .raw = raw,
                           .body = body.p};
    v.hash = entry_seal(&v.header, body, raw);
    append(s, &v, 1);
    if (s->fatal.code == 0 && overlay_add(s->overlay, &v, &e) != 0) {
        err_wrap(&e, "remembering lsn %llu", (unsigned long long)a->lsn.v);
        site_fail(s, &e);
    }
    if (begins) {
        s->urgent = s->term_start = a->lsn; /* who reads the state alone waits for it */
        answered_begin(&s->answered, a->term);
        s->primary_since_ms = site_now_ms();
    }
    if (s->proposal.active) {
        s->proposal.lsn = a->lsn;
        s->proposal.time = v.header.time;
    }
    feed_back(s, (struct repl_event){.type = REPL_EV_APPENDED, .position = s->tail});
}

/* The applier was told to go beyond `keep` (local mode). Whatever it has applied of that is undone by going back to the
 * checkpoint, which is never beyond what is committed (M2). A site that archives never comes here (M7): the archiver reads the
 * state, and a snapshot of it may take minutes. */
static int undo_state(struct site *s, struct lsn keep, struct err *e)
{
    check(s->archiver == NULL);
    scrubber_stop(s->scrubber); /* it reads the state, and lets the applier count */
    s->scrubber = NULL;
    care_pause(s->care);
    applier_stop(s->applier);
    s->applier = NULL;
    if (state_applied(s->state).lsn.v > keep.v) {
        service_undo(s);
        site_snapshot_drop(s);
        int rc = state_reset_to_checkpoint(s->state, e);
        if (rc != 0)
            return rc;
        events_add(s->events, "state: went back to the checkpoint at lsn %llu",
                   (unsigned long long)state_applied(s->state).lsn.v);
    }
    freshness_undone(&s->freshness);
    check(state_applied(s->state).lsn.v <= keep.v);
    int rc = applier_start(s, &s->applier, e);
    if (rc == 0)
        care_resume(s->care);
    return rc != 0 ? rc : scrubber_start(s, &s->scrubber, e);
}

/* Undo everything after `keep`, which is exported: the bundle gets its name, the state is put back, the log is cut. Each step is
 * durable before the next begins. */
static void truncate_to(struct site *s, struct lsn keep)
{
    struct err e = ERR_NONE;
    events_add(s->events, "log: undoing entries %llu..%llu, which are exported",
               (unsigned long long)keep.v + 1, (unsigned long long)s->tail.lsn.v);
    if (exporter_name(s->exporter, keep, &e) != 0)
        goto failed;
    struct lsn applied = s->marks.applied;
    if (marks_must_undo(&s->marks, keep)) {
        if (undo_state(s, keep, &e) != 0)
            goto failed;
        applied = state_applied(s->state).lsn;
    }
    overlay_truncate(s->overlay, keep);
    ahead_forget(s->ahead);
    if (log_truncate(s->log, keep, &e) != 0 || log_position(s->log, keep, &s->tail, &e) != 0)
        goto failed;
    marks_cut(&s->marks, keep, applied);
    s->list_moved = true;
    timeline_cut(&s->timeline, keep);
    site_log_durable(s, s->tail); /* in place of what was told of entries that are no more */
    return;
failed:
    err_wrap(&e, "undoing the log after lsn %llu", (unsigned long long)keep.v);
    site_fail(s, &e);
}

/* ---- shipping ---- */

static int grow(uint8_t **buffer, size_t *capacity, size_t need, struct err *e)
{
    if (need <= *capacity)
        return 0;
    uint8_t *p = realloc(*buffer, need);
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of entries", need);
    *buffer = p;
    *capacity = need;
    return 0;
}

struct entry_position driver_last_position(const uint8_t *p, size_t count)
{
    struct entry_header h;
    const uint8_t *raw = p;
    check(count > 0);
    for (size_t i = 1; i < count; i++)
        raw += entry_stored_bytes(raw);
    check(entry_header_decode(raw, &h, NULL) == 0);
    return (struct entry_position){h.lsn, h.term, h.time,
                                   hash_sha256(bytes_of(raw, ENTRY_HEADER_BYTES))};
}

/* Copy what fits one message, beginning after m->lsn, to the read buffer, and name the entry before it in `m`. */
static int fill_message(struct site *s, struct repl_message *m, size_t *used, struct err *e)
{
    struct entry_position before;
    size_t count = 0;
    *used = 0;
    m->count = 0;
    int rc = log_position(s->log, m->lsn, &before, e);
    if (rc != 0)
        return rc;
    m->lsn_term = before.term;
    m->hash = before.hash;
    if (m->lsn.v >= s->tail.lsn.v || (m->type == REPL_MSG_GIVE && m->lsn.v >= m->last.v))
        return 0;
    struct lsn from = {m->lsn.v + 1}, to = {m->lsn.v + REPL_BATCH_ENTRIES_MAX};
    if (m->type == REPL_MSG_GIVE && m->last.v < to.v)
        to = m->last; /* only what is committed */
    rc = log_read(s->log, from, to, s->read_buffer, REPL_BATCH_BYTES, used, &count, e);
    if (rc == ERR_LIMIT && grow(&s->read_buffer, &s->read_capacity, *used, e) == 0)
        rc = log_read(s->log, from, from, s->read_buffer, s->read_capacity, used, &count, e);
    m->count = rc == 0 ? (uint32_t)count : 0;
    return rc;
}

/* An old entry that cannot be read is as good as gone for the site that needs it: that one is refilled from elsewhere, and this
 * one, which has acknowledged and applied it long ago, goes on. */
static void note_unreadable(struct site *s, uint8_t site, int rc, const struct err *why)
{
    char *text = s->unreadable[site];
    if (rc == 0) {
        text[0] = '\0';
        return;
    }
    if (strcmp(text, why->text) != 0)
        events_add(s->events, "log: what %s needs cannot be read here: %s",
                   site_member(s, site)->name, why->text);
    (void)snprintf(text, ERR_TEXT_BYTES, "%s", why->text);
}

/* The log does not have it: from packs, read beside the loop. False: not from there either. */
static bool send_from_packs(struct site *s, const struct repl_action *a, struct repl_event *outcome)
{
    struct repl_message m = a->message;
    struct entry_position last;
    struct bytes entries;
    struct err e = ERR_NONE;
    if (m.type != REPL_MSG_GIVE || s->packs == NULL)
        return false;
    int rc = packs_borrow(s->packs, &m, &entries, &last, &e);
    if (rc == ERR_BUSY)
        return true; /* SENT with nothing: the core asks again */
    if (rc != 0)
        return false;
    bool committed = last.lsn.v <= m.last.v, sent = committed && peers_send(s, &m, entries);
    packs_return(s->packs, sent);
    if (sent) {
        outcome->position = last;
        outcome->bytes = (uint32_t)entries.n;
    }
    return true; /* what is archived, but not known to be committed yet, is given when it is */
}

/* The log does not have it in memory: from its disk, read beside the loop. False: it is in memory. */
static bool send_old(struct site *s, const struct repl_action *a, struct repl_event *outcome)
{
    struct repl_message m = a->message;
    const struct ahead_piece *piece;
    struct err e = ERR_NONE;
    if (m.type != REPL_MSG_ENTRIES || m.lsn.v >= s->tail.lsn.v)
        return false;
    if (log_in_memory(s->log, (struct lsn){m.lsn.v + 1})) {
        ahead_done(s->ahead, m.to);
        return false;
    }
    int rc = ahead_borrow(s->ahead, m.to, m.lsn, &piece, &e);
    if (rc == ERR_BUSY)
        return true; /* SENT with nothing: the core asks again, when it is read at the latest */
    note_unreadable(s, m.to, rc != ERR_GAP ? rc : 0, &e);
    if (rc != 0) {
        outcome->type = REPL_EV_GONE;
        return true;
    }
    m.lsn_term = piece->before.term;
    m.hash = piece->before.hash;
    m.count = piece->count;
    if (!peers_send(s, &m, bytes_of(piece->bytes, piece->used)))
        return true;
    outcome->position = piece->last;
    outcome->bytes = (uint32_t)piece->used;
    ahead_sent(s->ahead, m.to);
    return true;
}

static void send_entries(struct site *s, const struct repl_action *a)
{
    struct repl_message m = a->message;
    struct repl_event outcome = {.type = REPL_EV_SENT, .site = m.to, .sent = m.type};
    struct err e = ERR_NONE;
    size_t used;
    if (send_old(s, a, &outcome)) {
        feed_back(s, outcome);
        return;
    }
    int rc = fill_message(s, &m, &used, &e);
    if (rc == ERR_NO_MEMORY) {
        err_wrap(&e, "reading the log for %s", site_member(s, m.to)->name);
        site_fail(s, &e);
        return;
    }
    bool packs = rc != 0 && send_from_packs(s, a, &outcome);
    note_unreadable(s, m.to, rc != ERR_GAP && !packs ? rc : 0, &e);
    if (packs) {
        /* sent, or will be */
    } else if (rc != 0) {
        outcome.type = REPL_EV_GONE;
    } else if (peers_send(s, &m, bytes_of(s->read_buffer, used)) && m.count > 0) {
        outcome.position = driver_last_position(s->read_buffer, m.count);
        outcome.bytes = (uint32_t)used;
    }
    feed_back(s, outcome);
}

/* ---- actions ---- */

static void save_vote(struct site *s, struct term term, uint8_t voted_for, bool may_vote)
{
    if (may_vote && !s->vote.may_vote)
        events_add(s->events, "caught up: this rebuilt site votes from now on");
    s->vote.term = term;
    const struct site_member *to = site_member(s, voted_for);
    /* One that is no member any more was voted for before the list changed: its name stays. */
    if (to != NULL || voted_for == REPL_NOBODY)
        (void)snprintf(s->vote.voted_for, sizeof s->vote.voted_for, "%s",
                       to != NULL ? to->name : "");
    s->vote.may_vote = may_vote;
    struct err e = ERR_NONE;
    if (vote_save(s->vote_file, &s->vote, &e) != 0)
        site_fail(s, &e);
}

int driver_log_begun(struct site *s, struct err *e)
{
    if (s->vote.log_begun)
        return 0;
    s->vote.log_begun = true;
    return vote_save(s->vote_file, &s->vote, e);
}

static void role_changed(struct site *s, const struct repl_action *a, enum repl_role before)
{
    const struct site_member *primary = site_member(s, a->site);
    events_add(s->events, "term %llu: this site is %s; primary: %s", (unsigned long long)a->term.v,
               repl_role_name(a->role), primary != NULL ? primary->name : "none known");
    if (before == REPL_PRIMARY && a->role != REPL_PRIMARY)
        overlay_truncate(s->overlay, s->marks.applied); /* nothing of ours is in flight any more */
}

static void execute(struct site *s, const struct repl_event *event, const struct repl_action *a,
                    const struct entry_view *entries)
{
    switch (a->type) {
    case REPL_ACT_SAVE_VOTE:
        save_vote(s, a->term, a->site, a->granted);
        break;
    case REPL_ACT_TRUNCATE:
        truncate_to(s, a->lsn);
        break;
    case REPL_ACT_EXPORT:
        exporter_begin(s->exporter, a->lsn, a->granted);
        break;
    case REPL_ACT_APPEND_OWN:
        append_own(s, a);
        break;
    case REPL_ACT_APPEND:
        check(event->type == REPL_EV_MESSAGE && entries != NULL && a->count > 0);
        check(a->first + a->count <= event->message->count);
        append(s, entries + a->first, a->count);
        if (event->message->type == REPL_MSG_GIVE)
            for (uint32_t i = a->first; i < a->first + a->count; i++)
                s->refill.bytes += ENTRY_HEADER_BYTES + entries[i].header.body_bytes;
        break;
    case REPL_ACT_SEND:
        (void)peers_send(s, &a->message, (struct bytes){NULL, 0});
        break;
    case REPL_ACT_SEND_ENTRIES:
        send_entries(s, a);
        break;
    case REPL_ACT_COMMIT:
        marks_commit(&s->marks, a->lsn, a->visible);
        break;
    case REPL_ACT_ROLE:
        role_changed(s, a, s->view.role);
        break;
    case REPL_ACT_REFUSED:
        (void)snprintf(s->proposal.refused, sizeof s->proposal.refused, "%s",
                       repl_text(s->actions, a));
        break;
    case REPL_ACT_SWITCHOVER:
        s->handover.told = true;
        s->handover.done = a->granted;
        (void)snprintf(s->handover.why, sizeof s->handover.why, "%s", repl_text(s->actions, a));
        break;
    case REPL_ACT_HEARD:
        peers_heard(s, a->lsn, a->term, a->as_of_ms);
        break;
    case REPL_ACT_TRACE:
        events_add(s->events, "%s", repl_text(s->actions, a));
        break;
    }
}

static void step_once(struct site *s, const struct repl_event *event,
                      const struct entry_view *entries)
{
    enum repl_role before = s->view.role;
    uint8_t primary_before = s->view.primary;
    bool stopped_before = s->view.handover > REPL_HANDOVER_WAIT;
    repl_step(s->repl, event, s->actions);
    for (uint32_t i = 0; i < s->actions->n && s->fatal.code == 0; i++)
        execute(s, event, &s->actions->a[i], entries);
    repl_view(s->repl, &s->view);
    s->marks.durable = s->view.durable; /* the core knows what of it was cut meanwhile */
    exporter_follow(s->exporter);
    if (before != s->view.role || primary_before != s->view.primary)
        service_role_changed(s, before == REPL_PRIMARY && s->view.role != REPL_PRIMARY);
    if (!stopped_before && s->view.handover > REPL_HANDOVER_WAIT)
        service_handover_stops_writes(s);
    if (s->handover.told) {
        s->handover.told = false;
        if (s->leave_by_ms != 0)
            site_stop(s);
        service_handover_done(s, s->handover.done, s->handover.why);
    }
}

void driver_step_entries(struct site *s, const struct repl_event *event,
                         const struct entry_view *entries)
{
    check(!s->stepping);
    if (s->fatal.code != 0)
        return;
    s->stepping = true;
    step_once(s, event, entries);
    while (s->feedback.count > 0 && s->fatal.code == 0) {
        struct repl_event next = s->feedback.queue[s->feedback.head];
        s->feedback.head = (s->feedback.head + 1) %
                           (uint32_t)(sizeof s->feedback.queue / sizeof s->feedback.queue[0]);
        s->feedback.count--;
        next.now_ms = site_now_ms();
        step_once(s, &next, NULL);
    }
    s->stepping = false;
    if (s->fatal.code == 0)
        members_follow(s);
    driver_follow_marks(s);
}

void driver_step(struct site *s, const struct repl_event *event)
{
    driver_step_entries(s, event, NULL);
}

int driver_propose(struct site *s, enum entry_kind kind, struct bytes body, struct lsn *lsn,
                   struct utc *time, struct err *e)
{
    if (applier_disk_full(s->applier, e))
        return err_wrap(e, "the state cannot take more");
    int rc = log_room(s->log, ENTRY_HEADER_BYTES + body.n, e);
    if (rc != 0)
        return rc;
    if (applier_disk_low(s->applier, e))
        return err_wrap(e, "the state takes no more");
    struct repl_members members = {0};
    if (kind == ENTRY_MEMBERS && (rc = members_read(s, body, &members, e)) != 0)
        return rc;
    s->proposal.active = true;
    s->proposal.kind = kind;
    s->proposal.body = body;
    s->proposal.lsn.v = 0;
    s->proposal.refused[0] = '\0';
    driver_step(s, &(struct repl_event){.type = REPL_EV_PROPOSE,
                                        .now_ms = site_now_ms(),
                                        .kind = kind,
                                        .more = true,
                                        .members = members});
    s->proposal.active = false;
    if (s->proposal.lsn.v == 0)
        return err_set(e, ERR_NOT_PRIMARY, "%s; nothing was written",
                       s->proposal.refused[0] != '\0' ? s->proposal.refused
                                                      : "the site is stopping");
    *lsn = s->proposal.lsn;
    *time = s->proposal.time;
    s->unshipped = s->config->member_count > 1;
    if (s->unpushed == 0) /* the disk has begun, so may the others */
        driver_ship(s);
    return 0;
}

void driver_solo(struct site *s, const struct repl_event *order, struct bytes body)
{
    s->proposal.active = true;
    s->proposal.kind = ENTRY_MEMBERS;
    s->proposal.body = body;
    s->proposal.lsn.v = 0;
    driver_step(s, order);
    s->proposal.active = false;
}

bool driver_may_stand(struct site *s, struct err *e)
{
    struct err low;
    if (log_room(s->log, 2 * ENTRY_HEADER_BYTES + SITE_NAME_MAX_BYTES, e) == ERR_NO_SPACE)
        return false;
    if (!applier_disk_low(s->applier, &low))
        return true;
    (void)err_set(e, low.code, "the state takes no more: %s", low.text);
    return false;
}

void driver_tick(struct site *s)
{
    driver_step(s, &(struct repl_event){.type = REPL_EV_TICK,
                                        .now_ms = site_now_ms(),
                                        .full = s->view.role != REPL_PRIMARY &&
                                                !driver_may_stand(s, NULL)});
}

void driver_give_orders(struct site *s)
{
    applier_orders(s->applier, marks_apply_to(&s->marks), marks_publish_to(&s->marks), s->urgent);
    if (s->archiver != NULL)
        archiver_orders(s->archiver, marks_archive_to(&s->marks), s->retained.bytes);
}

void driver_follow_marks(struct site *s)
{
    if (s->fatal.code != 0)
        return;
    check(marks_are_sound(&s->marks));
    driver_give_orders(s);
    service_progress(s);
}
