/* Replacing a member: each step follows from the list alone, whoever looks and however often it was interrupted. */
#include "tools/replace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { SITES = 4 };
static const char *const names[SITES] = {"dc", "dr", "gsr", "dr2"};

static struct cluster {
    bool member[SITES], votes[SITES], up;
    int primary, last, durable; /* of dr2 */
    bool needs_refill, uncommitted;
    const char *kind; /* of dr2 */
} c;
static struct replace r;
static struct err e;

static int set_up(void **state)
{
    (void)state;
    c = (struct cluster){.member = {true, true, true},
                         .votes = {true, true, true},
                         .up = true,
                         .last = 9000,
                         .durable = 9000,
                         .kind = "data"};
    r = (struct replace){.leaves = "dr", .comes = "dr2"};
    return 0;
}

static int look(enum replace_step *step)
{
    json_t *members = json_array(), *sites = json_array();
    for (int i = 0; i < SITES; i++) {
        const char *kind = i == 2 ? "repository" : i == 3 ? c.kind : "data";
        if (c.member[i])
            json_array_append_new(members, json_pack("{s:s, s:s, s:b}", "name", names[i], "kind",
                                                     kind, "votes", c.votes[i]));
        json_array_append_new(
            sites, json_pack("{s:s, s:b, s:b, s:o, s:o}", "name", names[i], "up", i != 3 || c.up,
                             "needs_refill", i == 3 && c.needs_refill, "durable",
                             i == 3 && c.durable > 0 ? json_integer(c.durable) : json_null(),
                             "last", i == c.primary ? json_integer(c.last) : json_null()));
    }
    json_t *list = json_pack("{s:b, s:o}", "committed", !c.uncommitted, "members", members);
    json_t *status = json_pack("{s:s, s:o}", "site", names[c.primary], "sites", sites);
    e = (struct err)ERR_NONE;
    int rc = replace_look(&r, list, status, step, &e);
    r.kind = NULL;
    json_decref(list);
    json_decref(status);
    return rc;
}

static enum replace_step next(void)
{
    enum replace_step step;
    if (look(&step) != 0)
        fail_msg("%s", e.text);
    return step;
}

static unsigned voters(void)
{
    unsigned n = 0;
    for (int i = 0; i < SITES; i++)
        n += c.votes[i];
    return n;
}

/* As the cluster does it. */
static void done(enum replace_step step)
{
    c.member[3] |= step == REPLACE_ADD;
    c.votes[3] |= step == REPLACE_PROMOTE;
    r.promoted |= step == REPLACE_PROMOTE;
    if (step == REPLACE_HAND_OVER)
        c.primary = 3;
    if (step == REPLACE_REMOVE)
        c.member[1] = c.votes[1] = false;
}

static void the_new_site_votes_before_the_old_one_goes(void **state)
{
    (void)state;
    static const enum replace_step steps[] = {REPLACE_ADD, REPLACE_PROMOTE, REPLACE_REMOVE,
                                              REPLACE_DONE};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_int_equal(next(), steps[i]);
        done(steps[i]);
        assert_in_range(voters(), 3, 4);
    }
}

/* Killed after any of its steps, and given again: promoted is not known any more. */
static void whoever_gives_it_again_goes_on(void **state)
{
    (void)state;
    for (int killed_after = 0; killed_after < 5; killed_after++) {
        (void)set_up(NULL);
        c.primary = 1; /* dr itself */
        unsigned n = 0;
        for (enum replace_step step = next(); step != REPLACE_DONE; step = next()) {
            done(step);
            if ((int)n++ == killed_after)
                r.promoted = false;
            assert_in_range(voters(), 3, 4);
        }
        assert_int_equal(n, 4); /* add, promote, hand over, remove */
        assert_int_equal(c.primary, 3);
        assert_false(c.member[1]);
    }
}

static void it_waits_for_who_has_not_caught_up_and_says_why(void **state)
{
    (void)state;
    done(REPLACE_ADD);
    c.up = false;
    assert_int_equal(next(), REPLACE_WAIT);
    assert_string_equal(r.why, "dc has no link to dr2: is it started?");
    c.up = true;
    c.needs_refill = true;
    assert_int_equal(next(), REPLACE_WAIT);
    assert_string_equal(r.why, "dr2 refills from the archive");
    c.needs_refill = false;
    c.durable = 0;
    assert_int_equal(next(), REPLACE_WAIT);
    c.durable = 4000;
    assert_int_equal(next(), REPLACE_WAIT);
    assert_string_equal(r.why, "dr2 is 5000 transactions behind");
    assert_true(r.durable == 4000 && r.last == 9000);
    c.durable = 8000;
    assert_int_equal(next(), REPLACE_PROMOTE);
    c.uncommitted = true;
    assert_int_equal(next(), REPLACE_WAIT);
}

/* It was promoted, and died before dr was taken from the list: dr is worth more than it now. */
static void the_old_site_does_not_go_while_the_new_one_is_away(void **state)
{
    (void)state;
    done(REPLACE_ADD);
    done(REPLACE_PROMOTE);
    c.up = false;
    assert_int_equal(next(), REPLACE_WAIT);
    c.up = true;
    assert_int_equal(next(), REPLACE_REMOVE);
}

static void a_replica_is_replaced_by_a_replica(void **state)
{
    (void)state;
    c.votes[1] = false;
    assert_int_equal(next(), REPLACE_ADD);
    done(REPLACE_ADD);
    assert_int_equal(next(), REPLACE_REMOVE);
}

static void refused(int code, const char *text)
{
    enum replace_step step;
    assert_int_equal(look(&step), code);
    if (strstr(e.text, text) == NULL)
        fail_msg("%s", e.text);
}

static void what_would_take_a_vote_away_is_refused(void **state)
{
    (void)state;
    r.comes = "dc"; /* both have voted all the time */
    refused(ERR_CONDITION, "'triveni member remove dr'");
    r.comes = "gsr";
    refused(ERR_CONDITION, "dr is a data site and gsr a repository one");
    r.comes = "dr";
    refused(ERR_CONDITION, "a site is not replaced by itself");
    r = (struct replace){.leaves = "dx", .comes = "dr2"};
    refused(ERR_NOT_FOUND, "no member is called 'dx'");
    c.member[3] = true;
    refused(ERR_NOT_FOUND, "'triveni member promote dr2' gives it one");
    c.votes[3] = true; /* it took somebody's place, and that is all that can be known */
    assert_int_equal(next(), REPLACE_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_new_site_votes_before_the_old_one_goes, set_up),
        cmocka_unit_test_setup(whoever_gives_it_again_goes_on, set_up),
        cmocka_unit_test_setup(it_waits_for_who_has_not_caught_up_and_says_why, set_up),
        cmocka_unit_test_setup(the_old_site_does_not_go_while_the_new_one_is_away, set_up),
        cmocka_unit_test_setup(a_replica_is_replaced_by_a_replica, set_up),
        cmocka_unit_test_setup(what_would_take_a_vote_away_is_refused, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
