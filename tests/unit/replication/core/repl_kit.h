/* One site of the machine, its peers played by hand, for the tests of replication/core/repl_*.c. */
#ifndef TESTS_REPL_KIT_H
#define TESTS_REPL_KIT_H

#include "replication/core/repl_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { DC, DR, GSR };

static struct repl r;
static struct repl_actions out;
static uint64_t now;

static inline struct sha256 hash_of(uint64_t lsn, uint64_t term)
{
    struct sha256 h = {{0}};
    put_le64(h.b, lsn);
    put_le64(h.b + 8, term + 1);
    return h;
}

static inline void feed(struct repl_event e)
{
    e.now_ms = now;
    repl_step(&r, &e, &out);
}

static inline void feed_message(const struct repl_message *m, const struct repl_entry_meta *metas)
{
    feed((struct repl_event){.type = REPL_EV_MESSAGE, .message = m, .metas = metas});
}

static inline const struct repl_action *find(enum repl_action_type type, uint32_t nth)
{
    for (uint32_t i = 0; i < out.n; i++)
        if (out.a[i].type == type && nth-- == 0)
            return &out.a[i];
    return NULL;
}

static inline const struct repl_message *sent(enum repl_message_type type, uint8_t to)
{
    for (uint32_t i = 0; i < out.n; i++) {
        const struct repl_action *a = &out.a[i];
        if ((a->type == REPL_ACT_SEND || a->type == REPL_ACT_SEND_ENTRIES) &&
            a->message.type == type && a->message.to == to)
            return &a->message;
    }
    return NULL;
}

static inline bool told(const char *text)
{
    for (uint32_t i = 0; i < out.n; i++)
        if (strcmp(repl_text(&out, &out.a[i]), text) == 0)
            return true;
    for (uint32_t i = 0; i < out.n; i++)
        if (out.a[i].text != 0)
            print_message("told: %s\n", repl_text(&out, &out.a[i]));
    return false;
}

static inline struct repl_options options_of(uint8_t self)
{
    return (struct repl_options){.names = {"dc", "dr", "gsr"},
                                 .self = self,
                                 .sites = 3,
                                 .electable = {true, true, false},
                                 .policy = REPL_AUTOMATIC,
                                 .heartbeat_ms = 50,
                                 .election_ms = 500,
                                 .lease_ms = 400,
                                 .seed = 1};
}

/* A log of `n` entries of term 1, all durable, `commit` of them known committed. */
static inline void start_at(uint8_t self, enum repl_policy policy, uint64_t n, uint64_t commit)
{
    static const struct repl_run runs[] = {{{1}, {1}}};
    struct repl_options o = options_of(self);
    o.policy = policy;
    struct repl_start s = {.now_ms = now,
                           .term = {1},
                           .voted_for = REPL_NOBODY,
                           .incarnation = 1,
                           .may_vote = true,
                           .last = {.lsn = {n}, .term = {n > 0 ? 1 : 0}, .hash = hash_of(n, 1)},
                           .runs = runs,
                           .run_count = n > 0,
                           .commit = {commit},
                           .mode = COMMIT_MAJORITY};
    repl_init(&r, &o, &s);
    for (uint8_t i = 0; i < 3; i++)
        if (i != self)
            feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = i});
}

static inline int begin(void **state)
{
    (void)state;
    now = 100000;
    start_at(DC, REPL_AUTOMATIC, 10, 10);
    return 0;
}

static inline struct repl_message from(enum repl_message_type type, uint8_t site)
{
    return (struct repl_message){
        .type = type, .from = site, .to = r.options.self, .term = r.term, .incarnation = 1};
}

static inline struct repl_message ack_of(uint8_t site, uint64_t lsn)
{
    struct repl_message m = from(REPL_MSG_ACK, site);
    m.lsn.v = lsn;
    m.lsn_term = repl_log_term(&r.log, m.lsn);
    m.hash = hash_of(lsn, m.lsn_term.v);
    m.last = m.lsn;
    m.last_term = m.lsn_term;
    m.counts = true;
    m.round = r.round;
    return m;
}

static inline void acked(uint8_t site, uint64_t lsn)
{
    struct repl_message m = ack_of(site, lsn);
    feed_message(&m, NULL);
}

static inline struct repl_entry_meta meta_of(uint64_t lsn, uint64_t term, uint64_t prev_term)
{
    return (struct repl_entry_meta){
        {lsn}, {term}, ENTRY_TXN, hash_of(lsn, term), hash_of(lsn - 1, prev_term), {0}};
}

static inline struct repl_message entries_after(uint64_t term, uint64_t lsn, uint64_t lsn_term,
                                                uint32_t count, uint64_t commit)
{
    struct repl_message m = from(REPL_MSG_ENTRIES, DR);
    m.term.v = term;
    m.lsn.v = lsn;
    m.lsn_term.v = lsn_term;
    m.hash = hash_of(lsn, lsn_term);
    m.count = count;
    m.commit.v = commit;
    m.round = r.seen_round + 1;
    return m;
}

static inline void sealed(void)
{
    struct entry_position p = {.lsn = r.log.last,
                               .term = r.log.last_term,
                               .hash = hash_of(r.log.last.v, r.log.last_term.v)};
    feed((struct repl_event){.type = REPL_EV_APPENDED, .position = p});
}

static inline void durable(uint64_t lsn)
{
    struct entry_position p = {.lsn = {lsn}, .term = repl_log_term(&r.log, (struct lsn){lsn})};
    feed((struct repl_event){.type = REPL_EV_DURABLE, .position = p});
}

/* The bundle that was ordered last is durable. */
static inline void exported(void)
{
    struct entry_position end = {.lsn = r.cut.last, .term = r.cut.last_term};
    assert_true(r.cut.asked);
    feed((struct repl_event){.type = REPL_EV_EXPORTED, .keep = r.cut.keep, .position = end});
}

/* What has to be cut is exported, and then it is cut. */
static inline void feed_message_that_cuts(const struct repl_message *m,
                                          const struct repl_entry_meta *metas)
{
    feed_message(m, metas);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_non_null(find(REPL_ACT_EXPORT, 0));
    exported();
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    feed_message(m, metas);
}

/* The link took everything that it was given. */
static inline void filled(uint8_t site)
{
    struct entry_position p = {.lsn = r.log.last, .term = r.log.last_term};
    feed((struct repl_event){
        .type = REPL_EV_SENT, .site = site, .sent = REPL_MSG_ENTRIES, .position = p, .bytes = 200});
}

/* This voter says that it would vote for us. */
static inline void become_candidate(uint8_t voter)
{
    now += 1000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    struct repl_message yes = from(REPL_MSG_PREVOTE_REPLY, voter);
    yes.term.v++;
    yes.granted = true;
    yes.round = r.attempt;
    feed_message(&yes, NULL);
    assert_int_equal(r.role, REPL_CANDIDATE);
}

static inline void become_primary(void)
{
    become_candidate(GSR);
    assert_int_equal(out.a[1].type, REPL_ACT_SAVE_VOTE);
    struct repl_message vote = from(REPL_MSG_VOTE_REPLY, GSR);
    vote.granted = true;
    feed_message(&vote, NULL);
    assert_int_equal(r.role, REPL_PRIMARY);
    const struct repl_action *own = find(REPL_ACT_APPEND_OWN, 0);
    assert_non_null(own);
    assert_int_equal(own->kind, ENTRY_NOOP);
    sealed();
    filled(DR);
    filled(GSR);
}

static inline void serve(void)
{
    become_primary();
    durable(r.log.last.v);
    acked(GSR, r.log.last.v);
    acked(DR, r.log.last.v);
    assert_int_equal(r.commit.v, r.log.last.v);
}

static inline void propose(void)
{
    feed((struct repl_event){.type = REPL_EV_PROPOSE, .kind = ENTRY_TXN});
}

#define TEST(f) cmocka_unit_test_setup(f, begin)

#endif
