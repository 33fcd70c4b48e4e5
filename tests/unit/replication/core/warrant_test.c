/* The text of warrants, and which may be carried out. */
#include "replication/core/warrant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static const char good[] = "triveni warrant 1\n"
                           "act failover-solo\n"
                           "cluster gov 00112233-4455-6677-8899-aabbccddeeff\n"
                           "asked-by asha\n"
                           "nonce 000102030405060708090a0b0c0d0e0f\n"
                           "made 2026-11-24T03:18:21Z\n"
                           "expires 2026-11-24T04:18:21Z\n"
                           "\n"
                           "site dr\n"
                           "lost dc\n"
                           "lost gsr\n"
                           "last-lsn 1041\n"
                           "note what is lost, and why \xe0\xa4\x95\n";
static const struct utc made = {UINT64_C(1795490301000000)};
static struct warrant w;
static struct err e;

static int begin(void **state)
{
    (void)state;
    e = (struct err)ERR_NONE;
    assert_int_equal(warrant_read(bytes_str(good), &w, &e), 0);
    return 0;
}

static void what_is_read_is_what_was_written(void **state)
{
    (void)state;
    uint8_t text[WARRANT_TEXT_MAX];
    struct writer out = writer_of(text, sizeof text);
    uint64_t lsn = 0;
    warrant_write(&out, &w);
    assert_true(bytes_equal(bytes_of(text, out.at), bytes_str(good)));
    assert_int_equal(w.made.us, made.us);
    assert_int_equal(w.expires.us, made.us + UINT64_C(3600000000));
    assert_true(bytes_equal(warrant_fact(&w, "lost", 1), bytes_str("gsr")));
    assert_null(warrant_fact(&w, "lost", 2).p);
    assert_null(warrant_fact(&w, "found", 0).p);
    assert_int_equal(warrant_number(&w, "last-lsn", &lsn, &e), 0);
    assert_int_equal(lsn, 1041);
}

static void a_fact_that_is_asked_for_as_a_number_is_one_and_is_there_once(void **state)
{
    (void)state;
    uint64_t n;
    assert_int_equal(warrant_number(&w, "site", &n, &e), ERR_FORMAT);
    assert_int_equal(warrant_number(&w, "lost", &n, &e), ERR_FORMAT);
    assert_int_equal(warrant_number(&w, "found", &n, &e), ERR_FORMAT);
}

static void a_fact_that_is_not_understood_is_refused(void **state)
{
    (void)state;
    static const char *const all[] = {"site", "lost", "last-lsn", "note", NULL};
    static const char *const some[] = {"site", "lost", "last-lsn", NULL};
    assert_int_equal(warrant_only(&w, all, &e), 0);
    assert_int_equal(warrant_only(&w, some, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "'note' is not understood"));
}

/* Replace the first `from` by `to`. */
static int read_changed(const char *from, const char *to)
{
    static char text[WARRANT_TEXT_MAX * 2];
    const char *at = strstr(good, from);
    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    return warrant_read(bytes_str(text), &w, &e);
}

static void there_is_no_second_way_to_write_it(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        {"warrant 1", "warrant 2"},
        {"warrant 1\n", "warrant 1\r\n"},
        {"act failover-solo", "act Failover"},
        {"act failover-solo\n", ""},
        {"cluster gov ", "cluster gov  "},
        {"aabbccddeeff", "AABBCCDDEEFF"},
        {"cluster gov 0011", "cluster gov 001"},
        {"asked-by asha", "asked-by "},
        {"nonce 00", "nonce 0"},
        {"0a0b", "0A0B"},
        {"2026-11-24T03", "2026-02-30T03"},
        {"2026-11-24T03", "2026-13-24T03"},
        {"2026-11-24T03", "2026-00-24T03"},
        {"2026-11-24T03", "1826-11-24T03"},
        {"03:18:21Z", "03:18:61Z"},
        {"03:18:21Z", "03:18:21"},
        {"03:18:21Z", "03:18:21.5Z"},
        {"T04:18:21Z", "T03:18:21Z"},       /* lives no time */
        {"2026-11-24T04", "2026-11-25T04"}, /* lives too long */
        {"\n\nsite", "\nsite"},
        {"\n\nsite", "\n\n\nsite"},
        {"lost dc", "lost  dc\tx"},
        {"lost dc", "lost"},
        {"lost dc", "lost "},
        {"lost dc", "Lost dc"},
        {"lost dc", "lost \x1b[2J"},
        {"lost dc", "lost \xc2\x9b"},
        {"lost dc", "lost \xff"},
        {"\xe0\xa4\x95\n", "\xe0\xa4\x95"},
        {"\xe0\xa4\x95\n", "\xe0\xa4\x95\n\n"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        if (read_changed(changes[i][0], changes[i][1]) != ERR_FORMAT)
            fail_msg("'%s' for '%s' was taken", changes[i][1], changes[i][0]);
        assert_non_null(strstr(e.text, "warrant: "));
    }
}

static void it_has_limits(void **state)
{
    (void)state;
    static char text[WARRANT_TEXT_MAX + 512];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", good);
    for (unsigned i = w.count; i < WARRANT_FACTS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "lost x%u\n", i);
    assert_int_equal(warrant_read(bytes_of(text, n), &w, &e), 0);
    assert_int_equal(w.count, WARRANT_FACTS_MAX);
    n += (size_t)snprintf(text + n, sizeof text - n, "lost y\n");
    assert_int_equal(warrant_read(bytes_of(text, n), &w, &e), ERR_FORMAT);
    memset(text, 'x', sizeof text);
    assert_int_equal(warrant_read(bytes_of(text, sizeof text), &w, &e), ERR_FORMAT);
    assert_int_equal(warrant_read((struct bytes){NULL, 0}, &w, &e), ERR_FORMAT);
}

static int admit(const char *act, const char *one, const char *two, uint64_t after_s)
{
    const struct warrant_place here = {act, "gov", w.cluster_id};
    const char *names[] = {one, two};
    return warrant_admit(&w, &here, names, two != NULL ? 2 : 1,
                         (struct utc){made.us + after_s * 1000000}, &e);
}

static void two_different_operators_of_whom_one_asked_are_needed(void **state)
{
    (void)state;
    assert_int_equal(admit("failover-solo", "asha", "ravi", 60), 0);
    assert_int_equal(admit("failover-solo", "ravi", "asha", 60), 0);
    assert_int_equal(admit("failover-solo", "asha", NULL, 60), ERR_DENIED);
    assert_int_equal(admit("failover-solo", "asha", "asha", 60), ERR_DENIED);
    assert_int_equal(admit("failover-solo", "ravi", "meena", 60), ERR_DENIED);
    assert_non_null(strstr(e.text, "asked for by 'asha', who did not sign it"));
    const char *three[] = {"asha", "ravi", "meena"};
    const struct warrant_place here = {"failover-solo", "gov", w.cluster_id};
    assert_int_equal(warrant_admit(&w, &here, three, 3, made, &e), ERR_DENIED);
}

static void it_is_for_one_act_one_cluster_and_one_time(void **state)
{
    (void)state;
    assert_int_equal(admit("dispose", "asha", "ravi", 60), ERR_USAGE);
    assert_int_equal(admit("failover-solo", "asha", "ravi", 3599), 0);
    assert_int_equal(admit("failover-solo", "asha", "ravi", 3600), ERR_TIMEOUT);
    const char *names[] = {"asha", "ravi"};
    struct warrant_place here = {"failover-solo", "gov2", w.cluster_id};
    assert_int_equal(warrant_admit(&w, &here, names, 2, made, &e), ERR_CONDITION);
    here.cluster = "gov";
    here.cluster_id.b[0]++;
    assert_int_equal(warrant_admit(&w, &here, names, 2, made, &e), ERR_CONDITION);
    here.cluster_id.b[0]--; /* a clock that is years behind: it would never expire */
    assert_int_equal(warrant_admit(&w, &here, names, 2, (struct utc){1}, &e), ERR_USAGE);
}

static void times_are_those_of_the_calendar(void **state)
{
    (void)state;
    static const char *const times[] = {"2000-02-29T00:00:00Z", "2024-02-29T23:59:59Z",
                                        "1999-12-31T12:00:00Z", "2100-03-01T00:00:00Z"};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char text[WARRANT_TIME_BYTES], both[128];
        (void)snprintf(both, sizeof both, "made %s\nexpires %s", times[i], times[i]);
        /* lives no time: so all of it was read */
        assert_int_equal(
            read_changed("made 2026-11-24T03:18:21Z\nexpires 2026-11-24T04:18:21Z", both),
            ERR_FORMAT);
        assert_non_null(strstr(e.text, "it lives for less than"));
        warrant_time_text(w.made, text);
        assert_string_equal(text, times[i]);
    }
    assert_int_equal(read_changed("2026-11-24T03", "2100-02-29T03"), ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_read_is_what_was_written, begin),
        cmocka_unit_test_setup(a_fact_that_is_asked_for_as_a_number_is_one_and_is_there_once,
                               begin),
        cmocka_unit_test_setup(a_fact_that_is_not_understood_is_refused, begin),
        cmocka_unit_test_setup(there_is_no_second_way_to_write_it, begin),
        cmocka_unit_test_setup(it_has_limits, begin),
        cmocka_unit_test_setup(two_different_operators_of_whom_one_asked_are_needed, begin),
        cmocka_unit_test_setup(it_is_for_one_act_one_cluster_and_one_time, begin),
        cmocka_unit_test_setup(times_are_those_of_the_calendar, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
