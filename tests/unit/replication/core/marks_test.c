#include "replication/core/marks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void only_what_will_stay_is_published(void **state)
{
    (void)state;
    struct marks m = {
        .durable = {10}, .commit = {7}, .visible = {9}, .applied = {9}, .checkpoint = {5}};
    assert_true(marks_are_sound(&m));
    assert_int_equal(marks_publish_to(&m).v, 7); /* 8, applied in local mode, may yet be undone */
    m.durable.v = 6;
    assert_int_equal(marks_publish_to(&m).v, 6); /* the log does not reach it here */
}

static void the_archive_gets_what_is_committed_and_applied(void **state)
{
    (void)state;
    struct marks m = {
        .commit = {7}, .visible = {9}, .applied = {9}, .archived = {2}, .archives = true};
    assert_int_equal(marks_archive_to(&m).v, 7);
    m.applied.v = 4;
    assert_int_equal(marks_archive_to(&m).v, 4);
    m.archives = false;
    assert_int_equal(marks_archive_to(&m).v, 2);
}

static void nothing_needed_is_recycled(void **state)
{
    (void)state;
    struct marks m = {
        .checkpoint = {100}, .archived = {60}, .archives = true, .needed = {40}, .retain = {1}};
    assert_int_equal(marks_recycle_below(&m).v, 41); /* the slowest site */
    m.needed.v = 90;
    assert_int_equal(marks_recycle_below(&m).v, 61); /* the archive */
    m.archives = false;
    assert_int_equal(marks_recycle_below(&m).v, 91);
    m.needed.v = 500;
    assert_int_equal(marks_recycle_below(&m).v, 101); /* recovery */
}

static void a_dead_site_is_waited_for_only_within_the_limit(void **state)
{
    (void)state;
    struct marks m = {.checkpoint = {1000}, .needed = {0}, .retain = {1}};
    assert_int_equal(marks_recycle_below(&m).v, 1);
    m.retain.v = 700; /* the retention limit has moved on */
    assert_int_equal(marks_recycle_below(&m).v, 700);
}

static void unsound_marks_are_recognised(void **state)
{
    (void)state;
    struct marks sound = {.commit = {5},
                          .visible = {5},
                          .applied = {5},
                          .checkpoint = {5},
                          .archived = {5},
                          .archives = true};
    assert_true(marks_are_sound(&sound));
    struct marks m = sound;
    m.applied.v = 6;
    assert_false(marks_are_sound(&m));
    m = sound;
    m.checkpoint.v = 6;
    assert_false(marks_are_sound(&m));
    m = sound;
    m.archived.v = 6;
    assert_false(marks_are_sound(&m));
    m = sound;
    m.commit.v = 6;
    assert_false(marks_are_sound(&m));
    /* Visible and not committed: only where nobody archives. */
    m = sound;
    m.visible.v = 6;
    assert_false(marks_are_sound(&m));
    m.archives = false;
    assert_true(marks_are_sound(&m));
}

static void a_cut_leaves_sound_marks_however_far_the_state_was(void **state)
{
    (void)state;
    for (uint64_t keep = 5; keep <= 9; keep++) {
        for (uint64_t applied = 5; applied <= 9; applied++) {
            struct marks m = {
                .durable = {9}, .commit = {5}, .visible = {9}, .applied = {5}, .checkpoint = {4}};
            struct lsn holds = {applied <= keep ? applied : 4};
            assert_int_equal(marks_must_undo(&m, (struct lsn){keep}), keep < 9);
            marks_cut(&m, (struct lsn){keep}, holds);
            assert_true(marks_are_sound(&m));
            assert_int_equal(m.visible.v, keep);
            assert_int_equal(m.durable.v, keep);
        }
    }
}

static void an_archive_ahead_of_the_known_commit_is_believed_later(void **state)
{
    (void)state;
    struct marks m;
    marks_start(&m, (struct lsn){100}, (struct lsn){60}, true);
    struct marks_news news =
        marks_progress(&m, (struct lsn){60}, (struct lsn){60}, (struct lsn){90});
    assert_true(marks_are_sound(&m));
    assert_int_equal(m.archived.v, 60);
    marks_commit(&m, (struct lsn){95}, (struct lsn){95});
    news = marks_progress(&m, (struct lsn){60}, (struct lsn){60}, (struct lsn){90});
    assert_true(news.archived && news.recyclable && !news.applied);
    assert_int_equal(m.archived.v, 90);
}

static void the_log_is_kept_for_the_repository_until_it_is_archived(void **state)
{
    (void)state;
    struct repl_view v = {.role = REPL_PRIMARY};
    v.peers[1].durable.v = 80;
    v.peers[2] = (struct repl_peer_view){.durable = {90}, .archived = {70}};
    struct marks m = {.checkpoint = {100}};
    const bool archives[] = {false, false, true};
    marks_peers(&m, &v, 0, 3, archives);
    assert_int_equal(marks_recycle_below(&m).v, 71);
    marks_peers(&m, &v, 0, 1, archives); /* nobody else */
    assert_int_equal(marks_recycle_below(&m).v, 101);
    v.role = REPL_STANDBY;
    marks_peers(&m, &v, 0, 3, archives);
    assert_int_equal(m.needed.v, 0);
}

static void a_primary_is_ready_when_it_knows_its_past(void **state)
{
    (void)state;
    const struct lsn term_start = {8};
    struct repl_view v = {.role = REPL_PRIMARY, .serving = true};
    struct marks m = {.applied = {7}};
    assert_false(marks_ready(&m, &v, term_start, false));
    assert_true(marks_ready(&m, &v, term_start, true));
    assert_false(marks_settled(&m, &v, term_start));
    m.applied.v = 8;
    assert_true(marks_ready(&m, &v, term_start, false));
    assert_true(marks_settled(&m, &v, term_start));
    v.serving = false;
    assert_false(marks_ready(&m, &v, term_start, true));
    v = (struct repl_view){.role = REPL_STANDBY, .serving = true};
    assert_false(marks_ready(&m, &v, term_start, true));
}

static void a_writer_waits_at_the_level_that_its_entry_names(void **state)
{
    (void)state;
    assert_int_equal(marks_answer_level(LEVEL_MODE, COMMIT_MAJORITY), LEVEL_MAJORITY);
    assert_int_equal(marks_answer_level(LEVEL_LOCAL, COMMIT_MAJORITY), LEVEL_MAJORITY);
    assert_int_equal(marks_answer_level(LEVEL_MODE, COMMIT_LOCAL), LEVEL_LOCAL);
    assert_int_equal(marks_answer_level(LEVEL_MAJORITY, COMMIT_LOCAL), LEVEL_MAJORITY);
    assert_int_equal(marks_answer_level(LEVEL_ALL, COMMIT_MAJORITY), LEVEL_ALL);
    assert_int_equal(marks_repeat_level(LEVEL_MODE, COMMIT_LOCAL), LEVEL_MAJORITY);
    struct marks m = {.commit = {5}, .visible = {9}};
    assert_int_equal(marks_local_to(&m, true).v, 9);
    assert_int_equal(marks_local_to(&m, false).v, 5);
}

static void a_small_pack_waits_longer_and_not_for_ever(void **state)
{
    (void)state;
    enum { FULL = 16 << 20, ENOUGH = FULL / MARKS_SMALL_PART, PATIENCE = 10000 };
    assert_false(marks_seal_due(FULL - 1, 0, FULL, PATIENCE));
    assert_true(marks_seal_due(FULL, 0, FULL, PATIENCE));
    assert_false(marks_seal_due(ENOUGH, PATIENCE - 1, FULL, PATIENCE));
    assert_true(marks_seal_due(ENOUGH, PATIENCE, FULL, PATIENCE));
    assert_false(marks_seal_due(ENOUGH - 1, PATIENCE, FULL, PATIENCE));
    assert_false(marks_seal_due(148, 6 * PATIENCE - 1, FULL, PATIENCE));
    assert_true(marks_seal_due(148, 6 * PATIENCE, FULL, PATIENCE));
    assert_true(marks_seal_due(0, 6 * PATIENCE, FULL, PATIENCE)); /* counted near enough only */
    /* A transaction of 200 bytes a second, for a day. */
    unsigned packs = 0;
    for (uint64_t second = 0, since = 0, bytes = 0; second < 86400; second++) {
        bytes += 200;
        if (!marks_seal_due(bytes, (second - since) * 1000, FULL, PATIENCE))
            continue;
        packs++;
        since = second;
        bytes = 0;
    }
    assert_int_equal(packs, 1439);
}

static void snapshots_take_no_more_than_the_packs_however_large_the_state_is(void **state)
{
    (void)state;
    assert_false(marks_snapshot_due(1000000, 0, 1 << 30, 0));
    assert_false(marks_snapshot_due(99, 100, 1 << 30, 0));
    assert_true(marks_snapshot_due(100, 100, 0, 0)); /* the first one */
    assert_false(marks_snapshot_due(100, 100, 4095, 4096));
    assert_true(marks_snapshot_due(100, 100, 4096, 4096));
    /* A state of 1 GiB that stays so large, entries of 1 KiB, snapshots of 100,000 of them. */
    const uint64_t state_bytes = 1u << 30;
    uint64_t packed = 0, entries = 0, log = 0, snapshots = 1;
    for (; log < 10 * state_bytes; log += 1024, packed += 1024, entries++) {
        if (!marks_snapshot_due(entries, 100000, packed, state_bytes))
            continue;
        snapshots++;
        packed = entries = 0;
    }
    assert_int_equal(snapshots, 10);
}

static void a_snapshot_is_taken_by_time_only_when_something_was_sealed(void **state)
{
    const struct utc then = {1000}, later = {1000 + 60};
    (void)state;
    assert_true(marks_snapshot_old(1, 60, later, then));
    assert_false(marks_snapshot_old(1, 61, later, then));
    assert_false(marks_snapshot_old(0, 60, later, then)); /* nothing since */
    assert_false(marks_snapshot_old(1, 0, later, then));  /* switched off */
    assert_false(marks_snapshot_old(1, 60, then, later)); /* no overflow */
    assert_false(marks_snapshot_old(1, 60, then, then));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_will_stay_is_published),
        cmocka_unit_test(the_archive_gets_what_is_committed_and_applied),
        cmocka_unit_test(nothing_needed_is_recycled),
        cmocka_unit_test(a_dead_site_is_waited_for_only_within_the_limit),
        cmocka_unit_test(a_snapshot_is_taken_by_time_only_when_something_was_sealed),
        cmocka_unit_test(unsound_marks_are_recognised),
        cmocka_unit_test(a_cut_leaves_sound_marks_however_far_the_state_was),
        cmocka_unit_test(an_archive_ahead_of_the_known_commit_is_believed_later),
        cmocka_unit_test(the_log_is_kept_for_the_repository_until_it_is_archived),
        cmocka_unit_test(a_small_pack_waits_longer_and_not_for_ever),
        cmocka_unit_test(snapshots_take_no_more_than_the_packs_however_large_the_state_is),
        cmocka_unit_test(a_primary_is_ready_when_it_knows_its_past),
        cmocka_unit_test(a_writer_waits_at_the_level_that_its_entry_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
