/* Holds and disposals, folded from warrants: what is in force, what is refused, what a text must say. */
#include "replication/core/custody.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct custody));
    return *state == NULL;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static struct custody_order hold(const char *name, const char *prefix, const char *key)
{
    return (struct custody_order){.act = CUSTODY_HOLD,
                                  .name = bytes_str(name),
                                  .collection = bytes_str("land"),
                                  .prefix = bytes_str(prefix),
                                  .key = bytes_str(key),
                                  .reason = bytes_str("why")};
}

static struct custody_order release(const char *name)
{
    return (struct custody_order){
        .act = CUSTODY_RELEASE, .name = bytes_str(name), .reason = bytes_str("why")};
}

static struct custody_order dispose(uint64_t before)
{
    return (struct custody_order){
        .act = CUSTODY_DISPOSE, .before = {before}, .reason = bytes_str("law")};
}

/* The lsn of the hold that it ends; 1: in force, and it ends none; 0: not in force. */
static uint64_t apply(struct custody *c, struct custody_order o, uint64_t lsn)
{
    struct custody_logged ended = {.lsn = {1}};
    return custody_apply(c, &o, &(struct custody_logged){.lsn = {lsn}}, &ended) ? ended.lsn.v : 0;
}

static void a_hold_is_in_force_until_it_is_released(void **state)
{
    struct custody *c = *state;
    struct err e = ERR_NONE;
    assert_int_equal(apply(c, hold("b", "plot-", ""), 5), 1);
    (void)apply(c, hold("a", "", "plot-1"), 6);
    (void)apply(c, hold("c", "", ""), 7);
    assert_int_equal(c->hold_count, 3);
    assert_string_equal(c->holds[0].name, "a");
    assert_string_equal(c->holds[0].key, "plot-1");
    assert_false(c->holds[0].is_prefix);
    assert_true(c->holds[1].is_prefix);
    assert_string_equal(c->holds[1].key, "plot-");
    assert_true(c->holds[2].is_prefix && c->holds[2].key[0] == '\0');
    assert_int_equal(c->holds[1].by.lsn.v, 5);
    struct custody_order again = hold("b", "", "");
    assert_int_equal(custody_admit(c, &again, &e), ERR_EXISTS);
    assert_int_equal(apply(c, again, 8),
                     0); /* logged all the same, at the same time: nothing changes */
    assert_int_equal(c->hold_count, 3);
    assert_int_equal(c->holds[1].by.lsn.v, 5);
    assert_int_equal(apply(c, release("b"), 9), 5);
    assert_int_equal(c->hold_count, 2);
    assert_string_equal(c->holds[1].name, "c");
    struct custody_order none = release("b");
    assert_int_equal(custody_admit(c, &none, &e), ERR_NOT_FOUND);
    assert_int_equal(apply(c, none, 10), 0);
    assert_int_equal(c->hold_count, 2);
    assert_int_equal(custody_admit(c, &again, &e), 0);
    assert_int_equal(apply(c, again, 11), 1);
    assert_int_equal(apply(c, release("b"), 12), 11); /* the second one of that name */
}

static void holds_have_a_limit(void **state)
{
    struct custody *c = *state;
    struct err e = ERR_NONE;
    for (unsigned i = 0; i < CUSTODY_HOLDS_MAX; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "hold-%u", i * 37 % CUSTODY_HOLDS_MAX);
        (void)apply(c, hold(name, "", ""), i + 1);
    }
    assert_int_equal(c->hold_count, CUSTODY_HOLDS_MAX);
    for (unsigned i = 1; i < CUSTODY_HOLDS_MAX; i++)
        assert_true(strcmp(c->holds[i - 1].name, c->holds[i].name) < 0);
    struct custody_order more = hold("one more", "", "");
    assert_int_equal(custody_admit(c, &more, &e), ERR_LIMIT);
    (void)apply(c, more, 100);
    assert_int_equal(c->hold_count, CUSTODY_HOLDS_MAX);
}

static void each_disposal_reaches_further(void **state)
{
    struct custody *c = *state;
    struct err e = ERR_NONE;
    (void)apply(c, dispose(100), 200);
    struct custody_order less = dispose(100);
    assert_int_equal(custody_admit(c, &less, &e), ERR_EXISTS);
    (void)apply(c, less, 201);
    assert_int_equal(c->disposal_count, 1);
    for (uint64_t i = 1; i <= CUSTODY_DISPOSALS_MAX; i++)
        (void)apply(c, dispose(100 + i), 300 + i);
    assert_int_equal(c->disposal_count, CUSTODY_DISPOSALS_MAX);
    assert_int_equal(c->disposals[0].before.v, 101); /* the oldest is forgotten */
    assert_int_equal(c->disposals[CUSTODY_DISPOSALS_MAX - 1].before.v, 100 + CUSTODY_DISPOSALS_MAX);
}

static struct warrant warrant(const char *act, const char *const *facts)
{
    struct warrant w = {.act = bytes_str(act)};
    for (; facts[0] != NULL; facts += 2)
        warrant_say(&w, facts[0], bytes_str(facts[1]));
    return w;
}

static void a_warrant_says_all_that_it_must_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *act, *facts[13];
    } cases[] = {
        {0, "archive-hold", {"name", "n", "collection", "c", "reason", "r"}},
        {0, "archive-hold", {"name", "n", "collection", "c", "prefix", "p", "reason", "r"}},
        {0, "archive-hold", {"name", "n", "collection", "c", "key", "k", "reason", "r"}},
        {ERR_FORMAT,
         "archive-hold",
         {"name", "n", "collection", "c", "key", "k", "prefix", "p", "reason", "r"}},
        {ERR_FORMAT, "archive-hold", {"name", "n", "reason", "r"}},
        {ERR_FORMAT, "archive-hold", {"collection", "c", "reason", "r"}},
        {ERR_FORMAT, "archive-hold", {"name", "n", "collection", "c"}},
        {ERR_FORMAT, "archive-hold", {"name", "n", "name", "m", "collection", "c", "reason", "r"}},
        {ERR_FORMAT, "archive-hold", {"name", "n", "collection", "c", "reason", "r", "site", "x"}},
        {0, "archive-release", {"name", "n", "reason", "r"}},
        {ERR_FORMAT, "archive-release", {"name", "n", "reason", "r", "collection", "c"}},
        {0, "archive-dispose", {"before-lsn", "7", "before-time", "t", "reason", "r"}},
        {0,
         "archive-dispose",
         {"before-lsn", "7", "before-time", "t", "takes", "2", "reason", "r"}},
        {ERR_FORMAT, "archive-dispose", {"before-lsn", "0", "before-time", "t", "reason", "r"}},
        {ERR_FORMAT, "archive-dispose", {"before-lsn", "x", "before-time", "t", "reason", "r"}},
        {ERR_FORMAT, "archive-dispose", {"before-time", "t", "reason", "r"}},
        {ERR_FORMAT, "archive-dispose", {"before-lsn", "7", "reason", "r"}},
        {ERR_NOT_FOUND, "failover-solo", {"site", "dr"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct custody_order o;
        struct err e = ERR_NONE;
        const struct warrant w = warrant(cases[i].act, cases[i].facts);
        if (custody_read(&w, &o, &e) != cases[i].code)
            fail_msg("case %zu: %s", i, e.text);
        if (cases[i].code == 0)
            assert_string_equal(custody_act_name(o.act), cases[i].act);
    }
}

static void what_is_too_long_is_refused(void **state)
{
    (void)state;
    char name[CUSTODY_NAME_MAX_BYTES + 2], key[KEY_MAX_BYTES + 2];
    struct custody_order o;
    struct err e = ERR_NONE;
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    memset(key, 'k', sizeof key);
    key[sizeof key - 1] = '\0';
    const char *long_name[] = {"name", name, "collection", "c", "reason", "r", NULL};
    const char *long_key[] = {"name", "n", "collection", "c", "key", key, "reason", "r", NULL};
    struct warrant w = warrant("archive-hold", long_name);
    assert_int_equal(custody_read(&w, &o, &e), ERR_FORMAT);
    w = warrant("archive-hold", long_key);
    assert_int_equal(custody_read(&w, &o, &e), ERR_FORMAT);
    name[sizeof name - 2] = key[sizeof key - 2] = '\0';
    w = warrant("archive-hold", long_name);
    assert_int_equal(custody_read(&w, &o, &e), 0);
    w = warrant("archive-hold", long_key);
    assert_int_equal(custody_read(&w, &o, &e), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_hold_is_in_force_until_it_is_released),
        CASE(holds_have_a_limit),
        CASE(each_disposal_reaches_further),
        CASE(a_warrant_says_all_that_it_must_and_nothing_else),
        CASE(what_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
