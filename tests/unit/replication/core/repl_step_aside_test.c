/* A primary with a slow disk, from what it says to who leads then. */
#include "tests/unit/replication/core/repl_kit.h"

static void tick(void)
{
    feed((struct repl_event){.type = REPL_EV_TICK});
}

/* An entry that the own disk does not take, and that the named sites have on theirs. */
static void written_elsewhere(bool dr, bool gsr)
{
    propose();
    sealed();
    filled(DR);
    filled(GSR);
    now += 3;
    if (dr)
        acked(DR, r.log.last.v);
    if (gsr)
        acked(GSR, r.log.last.v);
}

/* Ticks while all answer their heartbeats, until the hand-over is asked for, at most so long. How long it took. */
static uint64_t until_asked(uint64_t most_ms, bool dr, bool gsr)
{
    const uint64_t from = now;
    while (now - from < most_ms && r.handover == REPL_HANDOVER_NONE) {
        now += 10;
        if (dr)
            acked(DR, r.peers[DR].match.v);
        if (gsr)
            acked(GSR, r.peers[GSR].match.v);
        tick();
    }
    return now - from;
}

static void it_hands_over_with_its_reason_and_what_it_has_not_written_itself(void **state)
{
    (void)state;
    serve();
    for (int i = 0; i < 400; i++) { /* a second and more of writes, three milliseconds each */
        written_elsewhere(true, true);
        durable(r.log.last.v);
    }
    written_elsewhere(true, true);
    assert_int_equal(r.commit.v, r.log.last.v); /* two have it: committed without this disk */
    assert_in_range(until_asked(2000, true, true), 480, 520);
    assert_true(told("term 2: stepping aside: the disk has not finished a batch in 503 ms (usually "
                     "3 ms), dr acknowledged it within 4 ms -> handing over"));
    assert_int_equal(r.handover, REPL_HANDOVER_ASKED);
    assert_int_equal(r.successor, DR);
    const struct repl_message *m = sent(REPL_MSG_TAKE_OVER, DR);
    assert_non_null(m);
    assert_int_equal(m->lsn.v, r.log.last.v);
    assert_true(r.log.durable.v < r.log.last.v);
}

static void it_stays_without_the_others_or_against_the_policy(void **state)
{
    (void)state;
    static const struct {
        enum repl_policy policy;
        bool dr, gsr;
    } cases[] = {{REPL_AUTOMATIC, true, false},
                 {REPL_AUTOMATIC, false, true},
                 {REPL_MANUAL, true, true},
                 {REPL_OBSERVE, true, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start_at(DC, REPL_AUTOMATIC, 10, 10);
        serve();
        r.options.policy = cases[i].policy;
        written_elsewhere(cases[i].dr, cases[i].gsr);
        (void)until_asked(10000, true, true);
        assert_int_equal(r.role, REPL_PRIMARY);
        assert_int_equal(r.handover, REPL_HANDOVER_NONE);
    }
}

/* Disks that become slow one after the other, as those of one storage do: dr still took what this one waits for. */
static void it_stays_when_the_others_are_late_with_what_came_later(void **state)
{
    (void)state;
    serve();
    written_elsewhere(true, true);
    const uint64_t probe = r.log.last.v;
    now += 3;
    written_elsewhere(false, true);
    for (unsigned i = 0; i < 100 && r.handover == REPL_HANDOVER_NONE; i++) {
        now += 10;
        struct repl_message received = ack_of(DR, probe);
        received.last = r.log.last;
        feed_message(&received, NULL);
        acked(GSR, r.log.last.v);
        tick();
    }
    assert_int_equal(r.handover, REPL_HANDOVER_NONE);
    assert_int_equal(r.role, REPL_PRIMARY);
    acked(DR, r.log.last.v);
    tick();
    assert_int_equal(r.handover, REPL_HANDOVER_ASKED);
}

static void one_that_nobody_took_is_not_tried_again_for_two_minutes(void **state)
{
    (void)state;
    serve();
    written_elsewhere(true, true);
    (void)until_asked(2000, true, true);
    assert_int_equal(r.handover, REPL_HANDOVER_ASKED);
    for (unsigned i = 0; i < 110 && r.handover != REPL_HANDOVER_NONE; i++) {
        now += 10; /* dr does not stand; the role is taken back */
        tick();
    }
    assert_int_equal(r.handover, REPL_HANDOVER_NONE);
    assert_int_equal(r.role, REPL_PRIMARY);
    const uint64_t stepped_ms = r.stepped_ms;
    (void)until_asked(200000, true, true);
    assert_int_equal(r.handover, REPL_HANDOVER_ASKED);
    assert_in_range(now - stepped_ms, SLOW_DISK_EVERY_MS, SLOW_DISK_EVERY_MS + 20);
}

/* Who was handed the role does not hand it on at once, whatever its disk does. */
static void what_was_handed_over_is_not_handed_on(void **state)
{
    (void)state;
    serve();
    r.transfer = true;
    written_elsewhere(true, true);
    const uint64_t led_from_ms = r.led_from_ms;
    (void)until_asked(200000, true, true);
    assert_int_equal(r.handover, REPL_HANDOVER_ASKED);
    assert_in_range(now - led_from_ms, SLOW_DISK_EVERY_MS, SLOW_DISK_EVERY_MS + 20);
}

/* It has entries that its disk does not take, and the primary falls silent. */
static void while_its_disk_is_slow_it_lets_others_stand_and_stands_when_nobody_does(void **state)
{
    (void)state;
    struct repl_entry_meta meta = {.lsn = {11},
                                   .term = {2},
                                   .kind = ENTRY_TXN,
                                   .hash = hash_of(11, 2),
                                   .prev_hash = hash_of(10, 1)};
    struct repl_message m = from(REPL_MSG_ENTRIES, DR);
    m.term.v = 2;
    m.lsn.v = 10;
    m.lsn_term.v = 1;
    m.hash = hash_of(10, 1);
    m.round = 1;
    m.count = 1;
    feed_message(&m, &meta);
    m.lsn.v = 11;
    m.lsn_term.v = 2;
    m.hash = hash_of(11, 2);
    m.count = 0;
    for (unsigned i = 0; i < 20; i++) {
        now += 30;
        m.round++;
        feed_message(&m, NULL);
    }
    assert_int_equal(r.role, REPL_STANDBY);
    const uint64_t heard_ms = now;
    bool let = false;
    while (r.role == REPL_STANDBY && now < heard_ms + 5000) {
        now += 10;
        tick();
        for (uint32_t i = 0; i < out.n; i++)
            let = let || strstr(repl_text(&out, &out.a[i]), "letting others stand first") != NULL;
    }
    assert_true(let);
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    assert_in_range(now - heard_ms, 1500,
                    2000 + 20); /* an ordinary one is there after 500 to 1,000 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_hands_over_with_its_reason_and_what_it_has_not_written_itself),
        TEST(it_stays_without_the_others_or_against_the_policy),
        TEST(it_stays_when_the_others_are_late_with_what_came_later),
        TEST(one_that_nobody_took_is_not_tried_again_for_two_minutes),
        TEST(what_was_handed_over_is_not_handed_on),
        TEST(while_its_disk_is_slow_it_lets_others_stand_and_stands_when_nobody_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
