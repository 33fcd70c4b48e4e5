/* What a standby may say of how old its state is: it has everything that was acknowledged before the primary's newest word, or
 * it does not know. */
#include "tests/unit/replication/parts_kit.h"

enum { RECORDS = 5, HEARD_MS = 1000 };

/* A standby that has applied everything, and has heard that this is what the primary has committed. */
static int set_up(void **state)
{
    if (parts_setup(state) != 0)
        return -1;
    struct parts *p = *state;
    for (unsigned i = 0; i < RECORDS; i++)
        history_put(&p->h, "deeds", "k", "value");
    parts_apply(p, RECORDS);
    const struct entry_position applied = state_applied(p->site.state);
    p->site.view.may_vote = true;
    p->site.primary_commit = applied.lsn;
    p->site.primary_commit_term = applied.term;
    p->site.primary_commit_ms = HEARD_MS;
    return 0;
}

static uint64_t caught_up_ms(struct parts *p)
{
    site_note_caught_up(&p->site);
    return p->site.caught_up_ms;
}

static void who_has_applied_what_the_primary_committed_is_as_old_as_its_word(void **state)
{
    assert_int_equal(caught_up_ms(*state), HEARD_MS);
}

static void who_has_applied_less_does_not_know(void **state)
{
    struct parts *p = *state;
    p->site.primary_commit.v++;
    assert_int_equal(caught_up_ms(p), 0);
}

static void who_has_heard_nothing_does_not_know(void **state)
{
    struct parts *p = *state;
    p->site.primary_commit_ms = 0;
    p->site.primary_commit.v = 0;
    assert_int_equal(caught_up_ms(p), 0);
}

/* Its commit index may be below what its predecessor has acknowledged. */
static void a_new_primary_is_not_believed_before_an_entry_of_its_term_is_committed(void **state)
{
    struct parts *p = *state;
    p->site.primary_commit_term.v++;
    assert_int_equal(caught_up_ms(p), 0);
}

static void a_rebuilt_site_does_not_know_whether_the_primary_was_replaced(void **state)
{
    struct parts *p = *state;
    p->site.view.may_vote = false;
    assert_int_equal(caught_up_ms(p), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, parts_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_has_applied_what_the_primary_committed_is_as_old_as_its_word),
        TEST(who_has_applied_less_does_not_know),
        TEST(who_has_heard_nothing_does_not_know),
        TEST(a_new_primary_is_not_believed_before_an_entry_of_its_term_is_committed),
        TEST(a_rebuilt_site_does_not_know_whether_the_primary_was_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
