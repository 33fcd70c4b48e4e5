/* Messages and events that no peer of ours would send, at random, in every role. */
#include "tests/unit/replication/core/repl_kit.h"

static uint64_t fuzz_state;
static uint64_t fuzz(uint64_t n)
{
    fuzz_state = fuzz_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (fuzz_state >> 33) % n;
}

static uint64_t fuzz_near(uint64_t v)
{
    switch (fuzz(8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - fuzz(3);
    case 2:
        return REPL_NUMBER_MAX - 1 + fuzz(2);
    default:
        return v + fuzz(5) - (v < 2 ? 0 : 2);
    }
}

static void fuzz_message(struct repl_message *m, struct repl_entry_meta *metas)
{
    *m = (struct repl_message){.type = (enum repl_message_type)(1 + fuzz(11)),
                               .from = (uint8_t)fuzz(4),
                               .to = r.options.self,
                               .term = {fuzz_near(r.term.v + 1)},
                               .incarnation = 1 + fuzz(50) / 49,
                               .lsn = {fuzz_near(r.log.last.v)},
                               .lsn_term = {fuzz_near(r.log.last_term.v)},
                               .last = {fuzz_near(r.log.last.v)},
                               .last_term = {fuzz_near(r.log.last_term.v)},
                               .granted = fuzz(2),
                               .transfer = fuzz(2),
                               .rejected = fuzz(2),
                               .counts = fuzz(2),
                               .commit = {fuzz_near(r.log.last.v)},
                               .round = fuzz_near(fuzz(2) ? r.round : r.attempt),
                               .readmit = fuzz(3),
                               .applied = {fuzz(100)},
                               .archived = {fuzz(100)}};
    if (m->type == REPL_MSG_PULL || m->type == REPL_MSG_GIVE)
        m->round = fuzz_near(r.relay.round);
    m->age_ms = fuzz(300);
    if (m->type == REPL_MSG_ENTRIES || m->type == REPL_MSG_TAIL || m->type == REPL_MSG_GIVE)
        m->count = (uint32_t)fuzz(4);
    uint64_t term = m->lsn_term.v;
    for (uint32_t i = 0; i < m->count; i++) {
        metas[i] = meta_of(m->lsn.v + 1 + i, term + fuzz(2), term);
        term = metas[i].term.v;
    }
}

static void random_event(void)
{
    struct repl_entry_meta metas[4];
    struct repl_message m;
    uint8_t peer = (uint8_t)((r.options.self + 1 + fuzz(2)) % 3);
    now += fuzz(30);
    switch (fuzz(14)) {
    case 0:
        feed((struct repl_event){.type = REPL_EV_TICK, .full = fuzz(8) == 0});
        break;
    case 1:
        feed((struct repl_event){.type = fuzz(2) ? REPL_EV_PEER_UP : REPL_EV_PEER_DOWN,
                                 .site = peer});
        break;
    case 2:
        durable(r.log.last.v - fuzz(2) * (r.log.last.v > 0));
        break;
    case 3:
        propose();
        break;
    case 4:
        filled(peer);
        feed((struct repl_event){.type = REPL_EV_SENT,
                                 .site = peer,
                                 .sent = REPL_MSG_GIVE,
                                 .position = {.lsn = r.commit},
                                 .bytes = (uint32_t)fuzz(2)});
        break;
    case 5:
        feed((struct repl_event){.type = REPL_EV_GONE,
                                 .site = peer,
                                 .sent = fuzz(2)   ? REPL_MSG_ENTRIES
                                         : fuzz(2) ? REPL_MSG_TAIL
                                                   : REPL_MSG_GIVE});
        break;
    case 6:
        feed((struct repl_event){.type = fuzz(2) ? REPL_EV_SWITCHOVER : REPL_EV_FAILOVER,
                                 .site = peer});
        break;
    case 7:
        feed((struct repl_event){.type = REPL_EV_MODE,
                                 .mode = fuzz(2) ? COMMIT_LOCAL : COMMIT_MAJORITY});
        break;
    default:
        fuzz_message(&m, metas);
        feed_message(&m, metas);
        break;
    }
    if (find(REPL_ACT_APPEND_OWN, 0) != NULL)
        sealed();
}

/* Whatever peers send, the machine neither stops nor breaks its own rules. */
static void nonsense_from_outside_is_survived(void **state)
{
    (void)state;
    uint32_t roles[5] = {0};
    for (uint64_t run = 0; run < 300; run++) {
        fuzz_state = run;
        now = 100000;
        start_at((uint8_t)(run % 3), run % 7 == 0 ? REPL_MANUAL : REPL_AUTOMATIC, 10, run % 11);
        uint64_t term = r.term.v, commit = r.commit.v;
        for (int i = 0; i < 400; i++) {
            random_event();
            assert_true(r.term.v >= term && r.commit.v >= commit);
            assert_true(r.commit.v <= r.visible.v && r.visible.v <= r.log.last.v);
            assert_true(r.log.durable.v <= r.log.last.v && !r.vote_dirty);
            assert_true(!r.broken || r.role == REPL_STANDBY);
            assert_true(repl_next_tick_ms(&r) > 0);
            term = r.term.v;
            commit = r.commit.v;
            roles[r.role]++;
        }
    }
    assert_true(roles[REPL_STANDBY] > 100 && roles[REPL_PRE_CANDIDATE] > 100 &&
                roles[REPL_CANDIDATE] > 100 && roles[REPL_PRIMARY] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nonsense_from_outside_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
