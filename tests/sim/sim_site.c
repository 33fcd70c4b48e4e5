/* One site: the driver of the core over a simulated disk.
 *
 * DISK MODEL. Appended entries are volatile until a write that covers them is complete; one write is in flight at a time, the
 * next takes all that has gathered. A crash keeps what is complete, loses what was not begun, and keeps a random prefix of the
 * write in flight (its torn rest is cut by recovery). The vote file and a truncation block all later actions until they are
 * complete, and a crash inside them leaves either the old or the new state. A crash may come between any two actions.
 *
 * ORDER. As in replication/driver.c: outcomes of actions are fed before anything else, then the marks are followed and clients
 * answered, and only then does the loop look at what its threads and the network have brought. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

static const struct uuid cluster = {{'s', 'i', 'm'}};

static struct entry_position position_in(const struct sim *s, const uint32_t *ids, uint64_t lsn)
{
    if (lsn == 0)
        return (struct entry_position){0};
    const struct sim_entry *e = &s->entries[ids[lsn - 1]];
    return (struct entry_position){e->header.lsn, e->header.term, e->header.time, e->hash};
}

static struct entry_position position_of(const struct sim *s, const struct sim_site *site,
                                         uint64_t lsn)
{
    check(lsn <= site->n);
    return position_in(s, site->ids, lsn);
}

/* ---- start and crash ---- */

void sim_site_start(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    static struct repl_run runs[SIM_LOG_MAX];
    uint32_t run_count = 0;
    for (uint64_t lsn = site->first > 0 ? site->first : 1; lsn <= site->n; lsn++) {
        struct term term = s->entries[site->ids[lsn - 1]].header.term;
        if (run_count == 0 || runs[run_count - 1].term.v != term.v)
            runs[run_count++] = (struct repl_run){term, {lsn}};
    }
    site->alive = true;
    site->paused = false;
    site->boot++;
    site->sealed.id = 0;
    site->orders = (struct orders){.pending = 0};
    memset(site->given_up, 0, sizeof site->given_up);
    site->export = (struct sim_export){.number = site->export.number};
    site->waits.phase = REPL_HANDOVER_NONE;
    site->ordered = 0;
    site->commit_clock = (struct commit_clock){0};
    (void)sim_commit_us(s, site);
    sim_state_start(s, i);
    struct repl_options options = s->options;
    options.self = i;
    options.seed = sim_election_seed(s, i);
    struct repl_start start = {
        .now_ms = sim_clock_ms(s, site),
        .term = site->disk_term,
        .voted_for = site->disk_voted,
        .incarnation = site->incarnation,
        .may_vote = site->disk_may_vote || s->mutant == MUTANT_REBUILT_VOTES,
        .first = {site->first},
        .last = position_of(s, site, site->n),
        .runs = runs,
        .run_count = run_count,
        .commit = site->marks.commit,
        .mode = (enum commit_mode)site->state.mode,
    };
    if (s->mutant == MUTANT_NO_WAIT_AFTER_START)
        start.now_ms -= 4 * options.election_ms;
    static struct repl_member_list lists[SIM_LOG_MAX];
    sim_members_start(s, site, &start, lists);
    repl_init(site->r, &options, &start);
    sim_plant_start(s, site);
    repl_view(site->r, &site->view);
    sim_say(s, i, "process starts: term %llu, log ends at %llu, commit %llu%s",
            U(site->disk_term.v), U(site->n), U(site->checkpoint.lsn),
            site->disk_may_vote ? "" : ", rebuilt");
    site->tick_at_us = UINT64_MAX;
    site->barred = site->unfit;
    if (site->unfit && s->mutant != MUTANT_UNFIT_STANDS)
        sim_site_post(s, i, &(struct sim_inbox){.type = REPL_EV_FIT, .site = i});
    sim_site_run(s, i);
}

static void release_message(struct sim *s, uint32_t *message)
{
    if (*message != 0)
        s->free_message[s->free_messages++] = *message - 1;
    *message = 0;
}

static void release_inbox(struct sim *s, struct sim_site *site)
{
    release_message(s, &site->current.message);
    for (uint32_t k = 0; k < site->in_n; k++)
        release_message(s, &site->inbox[(site->in_first + k) % SIM_INBOX_MAX].message);
    site->in_n = site->out_first = site->out_n = 0;
    site->unshipped = false;
    site->actions.n = site->action = 0;
    site->current = (struct sim_inbox){0};
}

/* MUTANT_TORN_WRITE_KEPT, MUTANT_HASH_NOT_COMPARED: recovery takes a torn entry for a whole one. */
static uint32_t damaged_copy(struct sim *s, uint32_t id)
{
    if (s->entries_n + 1 >= SIM_ENTRIES_MAX)
        return id;
    uint32_t copy = ++s->entries_n;
    s->entries[copy] = s->entries[id];
    s->contents[copy] = s->contents[id];
    s->entries[copy].hash.b[0] ^= 1;
    return copy;
}

void sim_site_crash(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    if (!site->alive)
        return;
    s->truth.crashes++;
    site->alive = false;
    site->blocked = false;
    release_inbox(s, site);
    uint64_t kept = site->stable;
    if (site->writing_to > site->stable)
        kept += sim_rng_below(&s->crash, site->writing_to - site->stable + 1);
    bool torn = s->mutant == MUTANT_TORN_WRITE_KEPT || s->mutant == MUTANT_HASH_NOT_COMPARED;
    if (torn && site->writing_to > kept) {
        site->ids[kept] = damaged_copy(s, site->ids[kept]);
        kept++;
    }
    if (site->ghost_n > kept) {
        memcpy(site->ids, site->ghost, site->ghost_n * sizeof site->ids[0]);
        kept = site->ghost_n;
    }
    sim_say(s, i, "CRASH: log ended at %llu, %llu was durable, %llu is found again", U(site->n),
            U(site->stable), U(kept));
    site->n = site->stable = kept;
    site->writing_to = 0;
    site->disk_generation++;
    sim_service_closed(s, i);
    sim_state_stop(site);
    /* A process that dies is noticed at once, a host that dies after a while. */
    uint64_t notice = sim_rng_chance(&s->crash, 700000) ? 2 * SIM_MS : 1500 * SIM_MS;
    for (uint8_t k = 0; k < s->sites_n; k++) {
        if (k == i)
            continue;
        sim_link_close(s, i, k, notice);
        struct sim_link *l = i < k ? &s->links[i][k] : &s->links[k][i];
        l->side_up[i > k] = false;
    }
}

void sim_site_wipe(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    check(!site->alive);
    sim_say(s, i, "disk lost, site rebuilt from nothing");
    memcpy(site->former, site->ids, site->stable * sizeof site->ids[0]);
    site->former_n = site->stable;
    site->n = site->stable = site->first = 0;
    site->checkpoint = sim_state_empty(s);
    site->ghost_n = 0;
    site->disk_term.v = 0;
    site->disk_voted = REPL_NOBODY;
    site->disk_may_vote = false;
    site->unfit = site->joins = false;
    if (s->mutant != MUTANT_REBUILT_VOTES)
        site->incarnation++;
    s->truth.wipes++;
}

/* ---- disk ---- */

static void disk_write(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    if (site->writing_to != 0 || site->n == site->stable)
        return;
    site->writing_to = site->n;
    uint64_t took = sim_rng_between(&s->disk, 100, 2000);
    if (site->disk_slow)
        took *= 200;
    else
        took = sim_disk_us(s, site, took);
    sim_at(s, s->now_us + took, SIM_EV_DISK, i, site->disk_generation);
}

static void post_durable(struct sim *s, uint8_t i, uint64_t lsn)
{
    sim_site_post(s, i,
                  &(struct sim_inbox){.type = REPL_EV_DURABLE,
                                      .position = position_of(s, &s->sites[i], lsn)});
}

void sim_site_disk_done(struct sim *s, uint8_t i, uint32_t generation)
{
    struct sim_site *site = &s->sites[i];
    if (!site->alive || generation != site->disk_generation)
        return;
    site->stable = site->writing_to;
    site->writing_to = 0;
    if (s->mutant != MUTANT_ACK_BEFORE_SYNC)
        post_durable(s, i, site->stable);
    disk_write(s, i);
    sim_site_run(s, i);
}

static void append(struct sim *s, uint8_t i, uint32_t id)
{
    struct sim_site *site = &s->sites[i];
    struct entry_position prev = position_of(s, site, site->n);
    struct err e = ERR_NONE;
    if (entry_follows(&prev, &s->entries[id].header, &e) != 0) {
        sim_fail(s, "chain: %s appends to its log at %llu: %s", sim_names[i], U(site->n), e.text);
        return;
    }
    if (site->n >= SIM_LOG_MAX)
        return;
    site->ids[site->n++] = id;
    if (s->mutant == MUTANT_ACK_BEFORE_SYNC)
        post_durable(s, i, site->n);
}

/* Sealed, decoded again and checked: what goes into logs are entries of the real format. */
static void write_txn(const struct sim *s, const struct sim_site *site, struct writer *w,
                      const uint8_t *salt, enum level level)
{
    const uint32_t asked = site->current.op;
    const struct sim_op *op = &s->ops[sim_key_logged(s, asked)];
    const uint32_t own = op->kind < SIM_OP_OPEN;
    uint8_t value[8], key = (uint8_t)('a' + op->key);
    struct body_txn t = {.sequence = op->sequence, .level = level, .client = bytes_str("sim")};
    if (op->name == 0 && own != 0)
        t.session = sim_session_id(op->client, op->session);
    body_write_txn(w, salt, &t, NULL);
    put_le32(w->p + w->at - 4, own + sim_key_ops(s, site, asked));
    if (own != 0) {
        write_u8(w, op->kind == SIM_OP_DELETE ? OP_DELETE : OP_PUT);
        write_bytes16(w, bytes_str("c"));
        write_bytes16(w, bytes_of(&key, 1));
    }
    put_le64(value, op->value);
    if (own != 0 && op->kind != SIM_OP_DELETE)
        write_bytes32(w, bytes_of(value, sizeof value));
    sim_key_write(s, site, asked, level, w);
}

uint64_t sim_commit_us(const struct sim *s, struct sim_site *site)
{
    return entry_next_time(&site->commit_clock, position_of(s, site, site->n).time,
                           (struct utc){sim_wall_us(s, site)}, sim_clock_ms(s, site) * 1000)
        .us;
}

static void write_members(struct writer *w, const uint8_t *salt, const struct repl_members *m)
{
    static const uint8_t by_name[SIM_SITES] = {SIM_DC, SIM_DR, 3, 4, SIM_GSR};
    struct body_members b = {.cluster_id = cluster, .by = bytes_str("op")};
    for (uint8_t k = 0; k < SIM_SITES; k++) {
        uint8_t i = by_name[k];
        if (repl_in(m->all | m->lost, i))
            b.members[b.count++] =
                (struct body_member){.name = bytes_str(sim_names[i]),
                                     .kind = i == SIM_GSR ? MEMBER_REPOSITORY : MEMBER_DATA,
                                     .votes = repl_in(m->voters, i),
                                     .lost = repl_in(m->lost, i)};
    }
    body_write_members(w, salt, &b);
}

static uint32_t seal(struct sim *s, uint8_t i, const struct repl_action *a, struct entry_view *v)
{
    struct sim_site *site = &s->sites[i];
    struct entry_position prev = position_of(s, site, site->n);
    uint8_t salt[ENTRY_SALT_BYTES];
    check(s->entries_n + 1 < SIM_ENTRIES_MAX);
    uint32_t id = ++s->entries_n;
    struct sim_entry *e = &s->entries[id];
    uint8_t *raw = s->contents[id].raw;
    put_le64(salt, sim_rng_next(&s->disk));
    put_le64(salt + 8, a->lsn.v);
    struct writer w = writer_of(raw + ENTRY_HEADER_BYTES, SIM_RAW_BYTES - ENTRY_HEADER_BYTES);
    if (a->kind == ENTRY_NOOP) {
        body_write_noop(&w, salt, &(struct body_noop){bytes_str(sim_names[i])});
    } else if (a->kind == ENTRY_CONFIG) {
        e->mode = site->current.mode;
        body_write_config(&w, salt, &(struct body_config){e->mode, bytes_str("operator")});
    } else if (a->kind == ENTRY_SESSION) {
        e->op = site->current.op;
        e->level = marks_answer_level(LEVEL_MODE, site->view.mode);
        const struct sim_op *op = &s->ops[e->op];
        body_write_session(
            &w, salt,
            &(struct body_session){op->kind == SIM_OP_OPEN ? SESSION_OPEN : SESSION_EXPIRE,
                                   sim_session_id(op->client, op->session), bytes_str("sim")});
    } else if (a->kind == ENTRY_MEMBERS) {
        e->members = site->current.members;
        write_members(&w, salt, &e->members);
        s->truth.list_of[a->term.v % SIM_TERMS_MAX] = id;
    } else {
        const struct sim_op *op = &s->ops[site->current.op];
        e->op = sim_key_logged(s, site->current.op);
        e->level = op->kind > SIM_OP_OUTCOME ? LEVEL_MAJORITY
                                             : marks_answer_level(op->level, site->view.mode);
        write_txn(s, site, &w, salt, e->level);
    }
    check(!w.bad);
    struct utc wall = {sim_wall_us(s, site)}, time = wall;
    if (s->mutant != MUTANT_WALL_CLOCK_FOLLOWED)
        time.us = sim_commit_us(s, site);
    else if (time.us < prev.time.us)
        time = prev.time;
    if (s->mutant == MUTANT_TIME_FALLS)
        time = wall;
    e->header = (struct entry_header){.kind = a->kind,
                                      .cluster_id = cluster,
                                      .term = a->term,
                                      .lsn = a->lsn,
                                      .time = time,
                                      .prev_hash = prev.hash};
    (void)entry_seal(&e->header, bytes_of(raw + ENTRY_HEADER_BYTES, w.at), raw);
    size_t used;
    struct err err = ERR_NONE;
    check(entry_decode(bytes_of(raw, ENTRY_HEADER_BYTES + w.at), v, &used, &err) == 0);
    e->header = v->header;
    e->hash = v->hash;
    e->sealed_us = s->now_us;
    s->contents[id].model = sim_model_at(s, site, site->n);
    sim_state_apply(s, &s->contents[id].model, id);
    return id;
}

/* ---- actions ---- */

static void do_append_own(struct sim *s, uint8_t i, const struct repl_action *a)
{
    struct sim_site *site = &s->sites[i];
    if (a->lsn.v != site->n + 1) {
        sim_fail(s, "%s is to append %llu, but its log ends at %llu", sim_names[i], U(a->lsn.v),
                 U(site->n));
        return;
    }
    const struct term prev_term = position_of(s, site, site->n).term;
    struct entry_view v;
    struct err err = ERR_NONE;
    uint32_t id = seal(s, i, a, &v);
    sim_check_sealed(s, i, id);
    sim_check_time(s, i, &v.header);
    if (overlay_add(site->overlay, &v, &err) != 0)
        sim_fail(s, "S13: %s cannot remember what it appends: %s", sim_names[i], err.text);
    if (prev_term.v != a->term.v) { /* it begins the term */
        site->term_start = a->lsn;
        site->primary_since_ms = sim_clock_ms(s, site);
        answered_begin(&site->answered, a->term);
    }
    append(s, i, id);
    disk_write(s, i);
    site->outcomes[site->out_n++] =
        (struct sim_inbox){.type = REPL_EV_APPENDED, .position = position_of(s, site, site->n)};
}

static void do_append(struct sim *s, uint8_t i, const struct repl_action *a)
{
    struct sim_site *site = &s->sites[i];
    const struct sim_message *m = &s->messages[site->current.message - 1];
    for (uint32_t k = a->first; k < a->first + a->count && !s->failed; k++)
        append(s, i, m->ids[k]);
    disk_write(s, i);
}

static void do_send(struct sim *s, const struct repl_action *a)
{
    struct repl_message m = sim_plant_out(s, &a->message);
    s->truth.fetches += m.type == REPL_MSG_FETCH;
    if (s->mutant == MUTANT_PULL_OFF && m.type == REPL_MSG_PULL)
        return;
    if (s->mutant == MUTANT_FETCH_OFF && m.type == REPL_MSG_FETCH)
        return;
    if (s->mutant == MUTANT_PAST_TERM_NOT_TOLD && m.type == REPL_MSG_ACK && m.rejected && !m.counts)
        return;
    sim_send(s, &m, NULL, 0);
}

static void do_send_entries(struct sim *s, uint8_t i, const struct repl_action *a)
{
    struct sim_site *site = &s->sites[i];
    struct repl_message m = sim_plant_out(s, &a->message);
    struct sim_inbox outcome = {.site = m.to, .sent = m.type};
    const uint32_t *ids = site->ids;
    uint64_t end = site->n;
    bool there = m.lsn.v >= site->first && m.lsn.v <= site->n &&
                 (m.lsn.v >= site->checkpoint.lsn || s->now_us >= site->unreadable_until_us);
    enum sim_archive_says archive =
        there ? SIM_ARCHIVE_HAS : sim_archive_gives(s, i, &m, &ids, &end);
    if (archive == SIM_ARCHIVE_READS) {
        outcome.type = REPL_EV_SENT;
    } else if (archive == SIM_ARCHIVE_LACKS) {
        outcome.type = s->mutant == MUTANT_GONE_NOT_TOLD ? REPL_EV_SENT : REPL_EV_GONE;
    } else {
        struct entry_position at = position_in(s, ids, m.lsn.v);
        m.lsn_term = at.term;
        m.hash = at.hash;
        if (m.type == REPL_MSG_GIVE && m.last.v < end)
            end = m.last.v;
        uint64_t n = end - m.lsn.v;
        if (n > SIM_BATCH_MAX)
            n = SIM_BATCH_MAX;
        if (n > 1 && sim_rng_chance(&s->net, s->swarm.short_batches))
            n = sim_rng_between(&s->net, 1, n);
        if (n > 1 && s->now_us < s->one_by_one_until_us)
            n = 1;
        m.count = (uint32_t)n;
        sim_send(s, &m, ids + m.lsn.v, m.count);
        outcome.type = REPL_EV_SENT;
        outcome.position = position_in(s, ids, m.lsn.v + n);
        outcome.bytes = (uint32_t)n * 200;
    }
    site->outcomes[site->out_n++] = outcome;
}

static void do_truncate(struct sim *s, uint8_t i, uint64_t last)
{
    struct sim_site *site = &s->sites[i];
    if (site->writing_to > site->stable)
        site->stable = site->writing_to; /* the writer is waited for */
    site->writing_to = 0;
    site->disk_generation++;
    sim_export_named(s, i, last);
    sim_check_cut(s, i, last);
    if (s->mutant == MUTANT_CUT_NOT_DURABLE) {
        memcpy(site->ghost, site->ids, site->stable * sizeof site->ids[0]);
        site->ghost_n = site->stable;
    }
    s->truth.cuts++;
    s->truth.cut_entries += site->n - last;
    struct lsn keep = {last}, applied = site->marks.applied;
    if (marks_must_undo(&site->marks, keep))
        applied.v = sim_undo(s, i, last);
    if (s->mutant != MUTANT_OVERLAY_KEPT)
        overlay_truncate(site->overlay, keep);
    site->n = last;
    if (site->stable > last)
        site->stable = last;
    marks_cut(&site->marks, keep, applied);
    if (s->mutant == MUTANT_CUT_BELOW_APPLIED)
        site->marks.visible = site->marks.commit;
}

static void do_commit(struct sim *s, uint8_t i, const struct repl_action *a)
{
    struct sim_site *site = &s->sites[i];
    sim_check_commit(s, i, a->lsn.v, a->visible.v);
    marks_commit(&site->marks, a->lsn, a->visible);
}

static void save_vote(struct sim *s, struct sim_site *site, const struct repl_action *a)
{
    if (s->mutant == MUTANT_VOTE_NOT_SAVED)
        return;
    struct repl_action last = site->unsaved;
    site->unsaved = *a;
    if (s->mutant == MUTANT_VOTE_SAVED_LATE)
        a = &last;
    if (a->term.v == 0)
        return;
    site->disk_term = a->term;
    site->disk_voted = a->site;
    site->disk_may_vote = a->granted;
}

static bool is_barrier(enum repl_action_type type)
{
    return type == REPL_ACT_SAVE_VOTE || type == REPL_ACT_TRUNCATE;
}

/* True: the action takes time and the rest has to wait. */
static bool execute(struct sim *s, uint8_t i, const struct repl_action *a)
{
    struct sim_site *site = &s->sites[i];
    sim_mix(s, (uint64_t)a->type << 32 ^ a->lsn.v ^ (uint64_t)i << 60);
    switch (a->type) {
    case REPL_ACT_SAVE_VOTE:
        save_vote(s, site, a);
        break;
    case REPL_ACT_TRUNCATE:
        do_truncate(s, i, a->lsn.v);
        break;
    case REPL_ACT_EXPORT:
        sim_export_begin(s, i, a);
        break;
    case REPL_ACT_APPEND_OWN:
        do_append_own(s, i, a);
        break;
    case REPL_ACT_APPEND:
        do_append(s, i, a);
        break;
    case REPL_ACT_SEND:
        do_send(s, a);
        break;
    case REPL_ACT_SEND_ENTRIES:
        do_send_entries(s, i, a);
        break;
    case REPL_ACT_COMMIT:
        do_commit(s, i, a);
        break;
    case REPL_ACT_ROLE:
        sim_say(s, i, "role: %s of term %llu, primary %s", repl_role_name(a->role), U(a->term.v),
                a->site < s->sites_n ? sim_names[a->site] : "unknown");
        if (a->role == REPL_PRIMARY) {
            if (s->solo.term.v != 0 && a->term.v == s->solo.term.v)
                sim_solo_granted(s, i);
            sim_check_role(s, i, a->term);
            site->quorum_us = s->now_us;
            memset(site->answered_us, 0, sizeof site->answered_us);
            sim_note_handed(s, i);
            sim_election_fault(s, i);
            sim_plot_election(s, i);
        }
        break;
    case REPL_ACT_REFUSED:
        if (site->current.op != 0) {
            struct sim_client *c = sim_client_of(s, i, site->current.op, site->current.attempt);
            if (c != NULL)
                sim_client_refused(s, c, true);
        }
        break;
    case REPL_ACT_SWITCHOVER:
        sim_say(s, i, "operator is told: %s: %s", a->granted ? "done" : "not done",
                repl_text(&site->actions, a));
        s->truth.switchovers += a->granted;
        sim_order_answered(s, i, a->granted);
        break;
    case REPL_ACT_HEARD:
        sim_relay_heard(s, i, a);
        break;
    case REPL_ACT_TRACE:
        sim_say(s, i, "%s", repl_text(&site->actions, a));
        break;
    }
    return is_barrier(a->type);
}

static void crash_here(struct sim *s, uint8_t i)
{
    sim_site_crash(s, i);
    sim_at(s, s->now_us + sim_restart_delay_us(&s->crash), SIM_EV_RESTART, i, 0);
}

/* Go on with the actions of the last step. False: it has to wait, or has crashed. */
static bool execute_rest(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    while (site->action < site->actions.n && !s->failed) {
        if (sim_rng_chance(&s->crash, s->swarm.crash_at_action)) {
            crash_here(s, i);
            return false;
        }
        const struct repl_action *a = &site->actions.a[site->action++];
        if (!execute(s, i, a))
            continue;
        if (s->swarm.crash_at_action != 0 && sim_rng_chance(&s->crash, 20000)) {
            crash_here(s, i);
            return false;
        }
        site->blocked = true;
        uint64_t took = sim_rng_between(&s->disk, 100, site->disk_slow ? 200000 : 3000);
        sim_at(s, s->now_us + (site->disk_slow ? took : sim_disk_us(s, site, took)), SIM_EV_RESUME,
               i, site->boot);
        return false;
    }
    return !s->failed;
}

void sim_site_resume(struct sim *s, uint8_t i, uint32_t boot)
{
    struct sim_site *site = &s->sites[i];
    if (!site->alive || site->boot != boot)
        return;
    site->blocked = false;
    sim_site_run(s, i);
}

/* ---- events ---- */

void sim_site_post(struct sim *s, uint8_t i, const struct sim_inbox *e)
{
    struct sim_site *site = &s->sites[i];
    (void)s;
    check(site->in_n < SIM_INBOX_MAX);
    site->inbox[(site->in_first + site->in_n++) % SIM_INBOX_MAX] = *e;
}

void sim_site_deliver(struct sim *s, uint32_t message)
{
    uint8_t i = s->messages[message].to;
    struct sim_site *site = &s->sites[i];
    if (site->in_n >= SIM_INBOX_MAX / 4 * 3) {
        s->free_message[s->free_messages++] = message;
        return;
    }
    sim_site_post(s, i, &(struct sim_inbox){.type = REPL_EV_MESSAGE, .message = message + 1});
    sim_site_run(s, i);
}

void sim_site_tick(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    if (!site->alive || s->now_us < site->tick_at_us)
        return;
    site->tick_at_us = UINT64_MAX;
    sim_site_post(s, i, &(struct sim_inbox){.type = REPL_EV_TICK});
    sim_site_run(s, i);
}

static void rearm_tick(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    uint64_t due = repl_next_tick_ms(site->r);
    if (due == UINT64_MAX)
        return;
    uint64_t at = sim_when_us(s, site, due);
    if (at <= s->now_us)
        at = s->now_us + 200; /* the loop of a busy process turns this often */
    if (at >= site->tick_at_us)
        return;
    site->tick_at_us = at;
    sim_at(s, at, SIM_EV_TICK, i, 0);
}

static void metas_of(const struct sim *s, const struct sim_message *m,
                     struct repl_entry_meta *metas)
{
    for (uint32_t k = 0; k < m->n; k++) {
        const struct sim_entry *e = &s->entries[m->ids[k]];
        metas[k] = (struct repl_entry_meta){e->header.lsn, e->header.term,      e->header.kind,
                                            e->hash,       e->header.prev_hash, e->members};
    }
}

static void step(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    struct repl_entry_meta metas[SIM_BATCH_MAX];
    struct repl_message m = {.type = 0};
    const struct sim_inbox *in = &site->current;
    s->steps++;
    if (in->type == REPL_EV_FIT && in->site == i)
        site->barred = !in->fit;
    if (in->type == REPL_EV_PROPOSE && in->op != 0 && !sim_service_request(s, i)) {
        site->actions.n = site->action = 0;
        return;
    }
    struct repl_event e = {
        .type = in->type,
        .now_ms = sim_clock_ms(s, site),
        .site = in->site,
        .position = in->position,
        .bytes = in->bytes,
        .sent = in->sent,
        .wait_ms = in->wait_ms,
        .mode = in->mode,
        .fit = in->fit,
        .kind = in->op == 0 ? (in->members.all != 0 ? ENTRY_MEMBERS : ENTRY_CONFIG)
                : s->ops[in->op].kind == SIM_OP_OPEN || s->ops[in->op].kind == SIM_OP_EXPIRE
                    ? ENTRY_SESSION
                    : ENTRY_TXN,
        .members = in->members,
        .term = in->term,
        .keep = in->keep,
        .applied = site->marks.applied,
        .archived = site->marks.archived};
    /* As driver_propose() has it, always. */
    e.more = in->type == REPL_EV_PROPOSE && s->swarm.bursts != 0 &&
             sim_rng_chance(&s->net, s->swarm.bursts);
    /* As driver_tick() and take_or_leave() have it. */
    bool full = s->now_us < site->log_full_until_us;
    if (in->type == REPL_EV_TICK) {
        site->knows_it_is_full = full && site->view.role != REPL_PRIMARY;
        e.full = site->knows_it_is_full && s->mutant != MUTANT_FULL_STANDS;
    }
    if (in->type == REPL_EV_MESSAGE) {
        const struct sim_message *sm = &s->messages[in->message - 1];
        struct bytes rest;
        struct err err = ERR_NONE;
        check(message_read(bytes_of(sm->fixed, sizeof sm->fixed), &m, &rest, &err) == 0 ||
              m.count > 0);
        m.from = sm->from;
        m.to = sm->to;
        metas_of(s, sm, metas);
        if (full)
            m.count = 0;
        sim_plant_in(s, site, &m, metas);
        sim_standby_told(s, site, &m, sm->sent_us);
        e.message = &m;
        e.metas = metas;
    }
    bool answer = in->type == REPL_EV_MESSAGE && m.type == REPL_MSG_ACK;
    if (answer && m.term.v == site->r->term.v)
        site->answered_us[m.from] = s->now_us;
    if (site->r->handover == REPL_HANDOVER_ASKED)
        site->quorum_us = s->now_us;
    sim_plant_before(s, site, &e);
    site->unshipped |= e.more;
    const uint64_t stepped_ms = site->r->stepped_ms;
    struct term seen_term = site->r->seen_term;
    uint64_t seen_round = site->r->seen_round;
    repl_step(site->r, &e, &site->actions);
    if (in->type == REPL_EV_MESSAGE)
        sim_relay_word(s, i, &m, s->messages[in->message - 1].sent_us, seen_term, seen_round);
    if (site->r->stepped_ms != stepped_ms)
        sim_check_stepped_aside(s, i);
    sim_plant_after(s, site, &e);
    site->action = 0;
    sim_mix(s, site->actions.n ^ (uint64_t)in->type << 40);
}

/* All actions of a step are done. */
static void step_done(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    enum repl_role before = site->view.role;
    repl_view(site->r, &site->view);
    site->marks.durable = site->view.durable;
    if (before == REPL_PRIMARY && site->view.role != REPL_PRIMARY)
        sim_service_demoted(s, i);
    if (site->out_first == site->out_n) {
        sim_follow_marks(s, i);
        sim_service_progress(s, i);
    }
    sim_check_step(s, i);
    sim_check_list(s, i);
    sim_check_handover(s, i);
    if (site->current.type == REPL_EV_TICK) {
        sim_check_quorum(s, i);
        sim_sessions_tick(s, i);
        sim_keys_tick(s, i);
    }
}

/* Work through what waits, unless the process is down, paused or at a barrier. */
void sim_site_run(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    while (site->alive && !site->paused && !site->blocked && !s->failed) {
        if (!execute_rest(s, i))
            break;
        step_done(s, i);
        release_message(s, &site->current.message);
        if (site->out_first < site->out_n) {
            site->current = site->outcomes[site->out_first++];
            if (site->out_first == site->out_n)
                site->out_first = site->out_n = 0;
        } else if (site->news) {
            sim_take_progress(s, i);
            site->current = (struct sim_inbox){.type = 0};
            site->actions.n = site->action = 0;
            continue;
        } else if (site->in_n > 0) {
            site->current = site->inbox[site->in_first];
            site->in_first = (site->in_first + 1) % SIM_INBOX_MAX;
            site->in_n--;
        } else if (site->unshipped) { /* as driver_ship() at the end of a turn */
            site->unshipped = false;
            site->current = (struct sim_inbox){.type = REPL_EV_SHIP};
        } else {
            break;
        }
        step(s, i);
    }
    if (site->alive && !site->paused && !site->blocked)
        rearm_tick(s, i);
}
