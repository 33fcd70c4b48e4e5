/* Names of buckets, versions that count, dates, and what trouble means. */
#include "repository/core/s3_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void a_place_is_read_with_its_options(void **state)
{
    (void)state;
    struct s3_place p;
    struct err e = ERR_NONE;
    assert_int_equal(s3_text_parse("s3:https://s3.example:9443/archive/land/2026?region=eu-1&"
                                   "credentials=/etc/c&ca=/etc/ca.crt&retention=3650&timeout=5&"
                                   "spool=/srv/spool",
                                   &p, &e),
                     0);
    assert_string_equal(p.endpoint, "https://s3.example:9443");
    assert_string_equal(p.bucket, "archive");
    assert_string_equal(p.prefix, "land/2026/");
    assert_string_equal(p.region, "eu-1");
    assert_string_equal(p.credentials, "/etc/c");
    assert_string_equal(p.ca, "/etc/ca.crt");
    assert_string_equal(p.spool, "/srv/spool");
    assert_int_equal(p.retention_days, 3650);
    assert_int_equal(p.timeout_s, 5);
    assert_false(p.governance || p.unlocked);
    assert_int_equal(s3_text_parse("s3:http://127.0.0.1:80/b?mode=governance&lock=off", &p, &e), 0);
    assert_string_equal(p.prefix, "");
    assert_string_equal(p.region, "us-east-1");
    assert_true(p.governance && p.unlocked);
    assert_int_equal(s3_text_parse("s3:https://h/b/?retention=1", &p, &e), 0);
    assert_string_equal(p.prefix, "");
}

static void a_place_that_is_wrong_says_what(void **state)
{
    (void)state;
    static const struct {
        const char *where, *says;
    } cases[] = {
        {"/srv/archive", "does not begin with s3:"},
        {"s3:archive", "it must be s3:https://HOST"},
        {"s3:https:///archive", "it must be s3:https://HOST"},
        {"s3:https://host", "names no bucket"},
        {"s3:https://host/", "bucket's name is missing"},
        {"s3:https://key:secret@host/b", "credentials do not belong here"},
        {"s3:http://host.example/b", "plain http is for this machine alone"},
        {"s3:http://127.0.0.1.example/b", "plain http is for this machine alone"},
        {"s3:https://host/b/a=b", "the prefix has other than"},
        {"s3:https://host/b?retention=0",
         "retention (days) must be a whole number from 1 to 36500"},
        {"s3:https://host/b?retention=ten", "must be a whole number"},
        {"s3:https://host/b?lock=no", "lock must be on or off"},
        {"s3:https://host/b?mode=none", "mode must be compliance or governance"},
        {"s3:https://host/b?secret=x", "option 'secret' is unknown"},
        {"s3:https://host/b?region", "option 'region' has no value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct s3_place p;
        struct err e = ERR_NONE;
        assert_int_equal(s3_text_parse(cases[i].where, &p, &e), ERR_USAGE);
        if (strstr(e.text, cases[i].says) == NULL)
            fail_msg("%s: '%s' does not say '%s'", cases[i].where, e.text, cases[i].says);
    }
}

static void what_is_too_long_is_refused_and_not_cut(void **state)
{
    (void)state;
    char where[1000];
    struct s3_place p;
    struct err e = ERR_NONE;
    (void)snprintf(where, sizeof where, "s3:https://host/%064d", 1);
    assert_int_equal(s3_text_parse(where, &p, &e), ERR_USAGE);
    (void)snprintf(where, sizeof where, "s3:https://host/b/%0127d", 1);
    assert_int_equal(s3_text_parse(where, &p, &e), ERR_USAGE);
    (void)snprintf(where, sizeof where, "s3:https://host/b?ca=/%0256d", 1);
    assert_int_equal(s3_text_parse(where, &p, &e), ERR_USAGE);
}

static void the_oldest_version_decides_and_its_newest_copy_is_read(void **state)
{
    (void)state;
    const struct s3_version one[] = {{"1", "a", 5}};
    const struct s3_version covered[] = {{"3", "b", 5}, {"2", "a", 6}, {"1", "a", 5}};
    const struct s3_version healed[] = {{"4", "b", 5}, {"3", "a", 5}, {"2", "b", 5}, {"1", "a", 5}};
    assert_int_equal(s3_version_choose(one, 1), 0);
    assert_int_equal(s3_version_choose(covered, 3), 2);
    assert_int_equal(s3_version_choose(healed, 4), 1);
}

static void what_a_query_cannot_have_is_encoded(void **state)
{
    (void)state;
    char out[16];
    assert_true(s3_encode("a/b+c~", out, sizeof out));
    assert_string_equal(out, "a%2Fb%2Bc~");
    assert_true(s3_encode("", out, sizeof out));
    assert_string_equal(out, "");
    assert_true(s3_encode("\xff", out, 4));
    assert_string_equal(out, "%FF");
    assert_false(s3_encode("\xff", out, 3));
}

static void a_date_is_read_as_it_was_written(void **state)
{
    (void)state;
    static const uint64_t times[] = {0,          951782399,  951782400,   1709164800,
                                     4102444800, 1795779993, 253402300799};
    char text[S3_DATE_BYTES];
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        uint64_t again;
        s3_date_format(times[i], text);
        assert_int_equal(s3_date_parse(text, &again), 0);
        assert_int_equal(again, times[i]);
    }
    uint64_t t;
    s3_date_format(951782400, text);
    assert_string_equal(text, "2000-02-29T00:00:00Z");
    assert_int_equal(s3_date_parse("2000-02-29T00:00:00.000000000Z", &t), 0);
    assert_int_equal(t, 951782400);
    assert_int_equal(s3_date_parse("2000-02-29", &t), ERR_FORMAT);
    assert_int_equal(s3_date_parse("2000-13-29T00:00:00Z", &t), ERR_FORMAT);
    assert_int_equal(s3_date_parse("Tue, 29 Feb 2000 00:00:00 GMT", &t), ERR_FORMAT);
}

static void trouble_has_a_code_and_advice(void **state)
{
    (void)state;
    const char *advice;
    assert_int_equal(s3_trouble(403, "QuotaExceeded", &advice), ERR_NO_SPACE);
    assert_int_equal(s3_trouble(403, "SignatureDoesNotMatch", &advice), ERR_DENIED);
    assert_non_null(strstr(advice, "secret key"));
    assert_int_equal(s3_trouble(403, "", &advice), ERR_DENIED);
    assert_int_equal(s3_trouble(404, "NoSuchKey", &advice), ERR_NOT_FOUND);
    assert_null(advice);
    assert_int_equal(s3_trouble(404, "NoSuchBucket", &advice), ERR_CONFIG);
    assert_int_equal(s3_trouble(500, "InternalError", &advice), ERR_IO);
    assert_true(s3_passing(503, "SlowDown") && s3_passing(500, "") && s3_passing(429, ""));
    assert_false(s3_passing(403, "AccessDenied") || s3_passing(501, "") || s3_passing(404, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_read_with_its_options),
        cmocka_unit_test(a_place_that_is_wrong_says_what),
        cmocka_unit_test(what_is_too_long_is_refused_and_not_cut),
        cmocka_unit_test(the_oldest_version_decides_and_its_newest_copy_is_read),
        cmocka_unit_test(what_a_query_cannot_have_is_encoded),
        cmocka_unit_test(a_date_is_read_as_it_was_written),
        cmocka_unit_test(trouble_has_a_code_and_advice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
