/* What a failover would lose, and where it must not be ordered: from what three sites say, whatever is missing of it. */
#include "tools/forecast.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* dc is lost; dr and gsr answer. What a case does not change is: term 3, mode majority, all equal at lsn 100. */
struct word {
    const char *site, *kind, *role, *mode, *why; /* why: it may not stand; NULL: it may */
    bool serving, votes, mode_known, hears, sees_dr, sees_dc;
    const char *dr2; /* a fourth row: "voter", "replica", "removed"; NULL: none */
    int term, last, heard_last, heard_commit, ms_ago;
};
static struct word dr, gsr;
static struct views views;
static struct forecast f;
static struct err e;

static int set_up(void **state)
{
    (void)state;
    dr = (struct word){.site = "dr",
                       .kind = "data",
                       .role = "standby",
                       .mode = "majority",
                       .votes = true,
                       .mode_known = true,
                       .hears = true,
                       .sees_dr = true,
                       .term = 3,
                       .last = 100,
                       .heard_last = 100,
                       .heard_commit = 100,
                       .ms_ago = 9000};
    gsr = dr;
    gsr.site = "gsr";
    gsr.kind = "repository";
    gsr.why = "it is a repository site and never becomes primary";
    return 0;
}

static json_t *status_of(const struct word *w)
{
    json_t *heard =
        w->hears ? json_pack("{s:s, s:i, s:i, s:i, s:i}", "primary", "dc", "term", w->term,
                             "ms_ago", w->ms_ago, "last", w->heard_last, "commit", w->heard_commit)
                 : json_null();
    json_t *failover =
        json_pack("{s:b, s:s?, s:i, s:b, s:i, s:i, s:o}", "may_stand", w->why == NULL, "why",
                  w->why, "last_term", w->term, "mode_known", w->mode_known, "lease_ms", 400,
                  "election_ms", 500, "heard", heard);
    json_t *sites = json_array();
    static const char *const names[] = {"dc", "dr", "gsr"};
    for (int i = 0; i < 3; i++) {
        bool own = strcmp(names[i], w->site) == 0;
        bool up = i == 0 ? w->sees_dc : w->sees_dr;
        json_array_append_new(
            sites,
            own ? json_pack("{s:s, s:s, s:b, s:b, s:i, s:O}", "name", w->site, "kind", w->kind,
                            "up", true, "votes", w->votes, "last", w->last, "failover", failover)
                : json_pack("{s:s, s:b, s:b}", "name", names[i], "up", up, "member", true));
    }
    json_decref(failover);
    if (w->dr2 != NULL)
        json_array_append_new(sites, json_pack("{s:s, s:b, s:b, s:b}", "name", "dr2", "up", true,
                                               "member", strcmp(w->dr2, "removed") != 0, "replica",
                                               strcmp(w->dr2, "replica") == 0));
    return json_pack("{s:s, s:s, s:s, s:b, s:i, s:o}", "site", w->site, "role", w->role, "mode",
                     w->mode, "serving", w->serving, "term", w->term, "sites", sites);
}

static int make(const char *site, bool depose)
{
    e = (struct err)ERR_NONE;
    views = (struct views){.count = 3 + (dr.dr2 != NULL)};
    if (dr.dr2 != NULL)
        views.v[3].status =
            json_pack("{s:s, s:s, s:[{s:s, s:b, s:i, s:{s:i}}]}", "site", "dr2", "role", "standby",
                      "sites", "name", "dr2", "votes", 1, "last", 500, "failover", "last_term", 3);
    (void)err_set(&views.v[0].why, ERR_UNREACHABLE, "no route");
    views.v[1].status = dr.site != NULL ? status_of(&dr) : NULL;
    views.v[2].status = gsr.site != NULL ? status_of(&gsr) : NULL;
    int rc = forecast_make(&views, site, depose, &f, &e);
    views_free(&views);
    return rc;
}

static void nothing_is_lost_in_mode_majority(void **state)
{
    (void)state;
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.loss, FORECAST_NOTHING);
    assert_string_equal(f.primary, "dc");
    assert_int_equal(f.end, 100);
    assert_int_equal(f.reached, 2);
    assert_int_equal(f.members, 3);
    dr.heard_last = 107;
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.loss, FORECAST_UNACKNOWLEDGED);
    assert_int_equal(f.from, 101);
    assert_int_equal(f.to, 107);
}

static void what_gsr_has_beyond_is_fetched_and_not_lost(void **state)
{
    (void)state;
    gsr.last = 105;
    gsr.heard_last = 107;
    gsr.heard_commit = 104;
    assert_int_equal(make("dr", false), 0);
    assert_string_equal(f.ahead, "gsr");
    assert_int_equal(f.end, 105);
    assert_int_equal(f.site_last, 100);
    assert_int_equal(f.from, 106);
    assert_int_equal(forecast_lost(&f, 106), 2);
    assert_int_equal(forecast_lost(&f, 108), 0);
}

/* It is in reach, and its log goes further than any voter's: neither is to be counted on. */
static void a_site_without_a_vote_is_no_voter(void **state)
{
    (void)state;
    static const char *const rows[] = {"replica", "removed"};
    for (size_t i = 0; i < 2; i++) {
        (void)set_up(NULL);
        dr.dr2 = rows[i];
        assert_int_equal(make("dr", false), 0);
        assert_int_equal(f.members, 3);
        assert_int_equal(f.reached, 2);
        assert_int_equal(f.end, 100);
        dr.sees_dr = false; /* of gsr: what is left is dr2 */
        assert_int_equal(make("dr", false), ERR_UNREACHABLE);
        assert_int_equal(f.reached, 1);
    }
    (void)set_up(NULL);
    dr.dr2 = "voter"; /* the same site, promoted: now its log is one that is fetched */
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.members, 4);
    assert_int_equal(f.reached, 3);
    assert_int_equal(f.end, 500);
}

static void in_mode_local_the_range_is_told_and_never_nothing(void **state)
{
    (void)state;
    dr.mode = gsr.mode = "local";
    dr.heard_last = 103;
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.loss, FORECAST_LOCAL);
    assert_int_equal(f.from, 101);
    assert_int_equal(f.to, 103);
    json_t *o = forecast_as_json(&f);
    assert_int_equal(json_integer_value(json_object_get(o, "transactions")), 3);
    assert_true(json_is_null(json_object_get(o, "records")));
    json_decref(o);
    dr.heard_last = 100;
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.loss, FORECAST_UNKNOWN);
    assert_non_null(strstr(f.why, "for up to 400 ms after its last word"));
    o = forecast_as_json(&f);
    assert_true(json_is_null(json_object_get(o, "transactions")));
    json_decref(o);
}

static void what_nobody_heard_is_unknown(void **state)
{
    (void)state;
    dr.hears = gsr.hears = false;
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.loss, FORECAST_UNKNOWN);
    assert_non_null(strstr(f.why, "has heard the primary"));
    assert_int_equal(forecast_lost(&f, 101), 0);
    set_up(NULL);
    gsr.term = 4; /* it has entries of a later primary than dr has heard */
    gsr.hears = false;
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.loss, FORECAST_UNKNOWN);
}

/* A change to local may be committed and be obeyed before any other site has applied it. */
static void a_mode_that_may_have_changed_is_not_believed(void **state)
{
    (void)state;
    dr.mode_known = gsr.mode_known = false;
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.loss, FORECAST_UNKNOWN);
    dr.heard_last = 103;
    assert_int_equal(make("dr", false), 0);
    assert_int_equal(f.loss, FORECAST_LOCAL);
    dr.mode_known = true; /* of the shorter log: the longer one may hold the change */
    gsr.last = 101;
    assert_int_equal(make("dr", false), 0);
    assert_null(f.mode);
}

static void a_living_primary_is_not_replaced(void **state)
{
    (void)state;
    dr.ms_ago = 40;
    dr.sees_dc = true;
    assert_int_equal(make("dr", false), ERR_CONDITION);
    assert_non_null(strstr(e.text, "triveni switchover --to dr"));
    assert_int_equal(make("dr", true), 0);
    dr.sees_dc = false; /* the link is closed: it is gone */
    assert_int_equal(make("dr", false), 0);
    gsr.role = "primary";
    gsr.serving = true;
    assert_int_equal(make("dr", false), ERR_CONDITION);
    gsr.serving = false; /* it has lost its majority */
    assert_int_equal(make("dr", false), 0);
}

static void sites_that_may_not_stand_are_refused(void **state)
{
    (void)state;
    assert_int_equal(make("gsr", false), ERR_USAGE);
    assert_int_equal(make("dx", false), ERR_NOT_FOUND);
    assert_int_equal(make("dc", false), ERR_UNREACHABLE);
    dr.why = "its state differs from the others'";
    assert_int_equal(make("dr", false), ERR_FAILED);
    assert_non_null(strstr(e.text, "its state differs"));
    dr.why = NULL;
    dr.role = "primary";
    assert_int_equal(make("dr", false), ERR_USAGE);
}

static void without_a_majority_the_way_out_is_named(void **state)
{
    (void)state;
    dr.sees_dr = false; /* of gsr */
    assert_int_equal(make("dr", false), ERR_UNREACHABLE);
    assert_non_null(strstr(e.text, "--solo"));
    dr.sees_dr = true;
    gsr.votes = false; /* it is up, but was rebuilt */
    assert_int_equal(make("dr", false), ERR_UNREACHABLE);
    gsr.site = NULL; /* it does not answer here, but dr sees it */
    assert_int_equal(make("dr", false), 0);
}

static void what_was_committed_must_be_somewhere(void **state)
{
    (void)state;
    dr.heard_commit = dr.heard_last = 120;
    assert_int_equal(make("dr", false), ERR_INTEGRITY);
    gsr.site = NULL; /* it may have it */
    assert_int_equal(make("dr", false), 0);
}

/* ---- alone ---- */

static int make_alone(void)
{
    const json_t *status;
    e = (struct err)ERR_NONE;
    views = (struct views){.count = 2};
    views.v[0].status = dr.site != NULL ? status_of(&dr) : NULL;
    views.v[1].status = gsr.site != NULL ? status_of(&gsr) : NULL;
    int rc = forecast_make_alone(&views, "dr", &f, &status, &e);
    views_free(&views);
    return rc;
}

static void alone_when_nobody_else_is_heard(void **state)
{
    (void)state;
    gsr.site = NULL;
    dr.sees_dr = false;
    assert_int_equal(make_alone(), 0);
    assert_int_equal(f.members, 3);
    assert_int_equal(f.reached, 1);
    assert_int_equal(f.loss, FORECAST_NOTHING);
    dr.heard_last = 105;
    assert_int_equal(make_alone(), 0);
    assert_int_equal(f.loss, FORECAST_UNACKNOWLEDGED);
    assert_true(f.from == 101 && f.to == 105);
}

static void not_alone_while_a_lost_site_answers_or_is_linked(void **state)
{
    (void)state;
    assert_int_equal(make_alone(), ERR_CONDITION);
    assert_non_null(strstr(e.text, "gsr lives"));
    gsr.site = NULL;
    dr.sees_dr = true; /* its link to gsr */
    assert_int_equal(make_alone(), ERR_CONDITION);
    assert_non_null(strstr(e.text, "it has a link to the site"));
    dr.sees_dr = false;
    dr.sees_dc = true;
    assert_int_equal(make_alone(), ERR_CONDITION);
    assert_non_null(strstr(e.text, "dc lives"));
}

static void not_alone_by_a_site_that_may_not_lead(void **state)
{
    (void)state;
    gsr.site = NULL;
    dr.sees_dr = false;
    dr.why = "it was rebuilt and has not caught up";
    assert_int_equal(make_alone(), ERR_FAILED);
    dr.why = NULL;
    dr.role = "primary";
    assert_int_equal(make_alone(), ERR_USAGE);
    dr.site = NULL;
    gsr.site = "gsr";
    assert_int_equal(make_alone(), ERR_UNREACHABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_is_lost_in_mode_majority, set_up),
        cmocka_unit_test_setup(what_gsr_has_beyond_is_fetched_and_not_lost, set_up),
        cmocka_unit_test_setup(a_site_without_a_vote_is_no_voter, set_up),
        cmocka_unit_test_setup(in_mode_local_the_range_is_told_and_never_nothing, set_up),
        cmocka_unit_test_setup(what_nobody_heard_is_unknown, set_up),
        cmocka_unit_test_setup(a_mode_that_may_have_changed_is_not_believed, set_up),
        cmocka_unit_test_setup(a_living_primary_is_not_replaced, set_up),
        cmocka_unit_test_setup(sites_that_may_not_stand_are_refused, set_up),
        cmocka_unit_test_setup(without_a_majority_the_way_out_is_named, set_up),
        cmocka_unit_test_setup(what_was_committed_must_be_somewhere, set_up),
        cmocka_unit_test_setup(alone_when_nobody_else_is_heard, set_up),
        cmocka_unit_test_setup(not_alone_while_a_lost_site_answers_or_is_linked, set_up),
        cmocka_unit_test_setup(not_alone_by_a_site_that_may_not_lead, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
