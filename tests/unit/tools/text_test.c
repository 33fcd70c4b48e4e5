/* Times at their edges. */
#include "tools/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void times_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t us;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-24T08:48:21Z", 1795510101000000},
        {"2026-11-24T14:18:21+05:30", 1795510101000000},
        {"2026-11-24 14:18:21 +0530", 1795510101000000},
        {"2026-11-24T03:48:21-05", 1795510101000000},
        {"2026-11-24T08:48:21.5Z", 1795510101500000},
        {"2026-11-24T08:48:21,000001Z", 1795510101000001},
        {"2026-11-24T08:48Z", 1795510080000000},
        {"2024-02-29T00:00:00Z", 1709164800000000},
        {"2000-02-29T23:59:59Z", 951868799000000},
    };
    struct utc t;
    struct err e = ERR_NONE;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (utc_parse(good[i].text, &t, &e) != 0)
            fail_msg("%s: %s", good[i].text, e.text);
        assert_int_equal(t.us, good[i].us);
    }
}

static void times_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "now",
        "2026",
        "2026-11-24",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T08:60:00Z",
        "2026-11-24T08:48:60Z",
        "2026-11-24T08:48:21.1234567Z",
        "2026-11-24T08:48:21.Z",
        "2026-11-24T08:48:21ZZ",
        "2026-11-24T08:48:21+5:30",
        "2026-11-24T08:48:21+15:00",
        "2026-11-24T08:48:21 IST",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+05:30",
        "26-11-24T08:48:21Z",
        "2026-11-24T08:48:21+05:3",
    };
    struct utc t;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (utc_parse(bad[i], &t, NULL) != ERR_USAGE)
            fail_msg("accepted: %s", bad[i]);
    struct err e = ERR_NONE;
    assert_int_equal(utc_parse("2026-11-24T08:48:21", &t, &e), ERR_USAGE);
    assert_string_equal(
        e.text,
        "time '2026-11-24T08:48:21' has no offset: the same words mean different instants in "
        "different places; append Z for UTC or an offset such as +05:30");
    assert_int_equal(utc_parse("2026-11-24T08:4x:21Z", &t, &e), ERR_USAGE);
    assert_string_equal(
        e.text,
        "time '2026-11-24T08:4x:21Z' is not understood at character 16: write 2026-11-24T08:48:21Z "
        "or 2026-11-24T14:18:21+05:30");
}

/* Clocks that are put back show an hour twice, clocks that are put forward leave one out, and the machine that runs the restore
 * may be in another zone: whatever TZ says, words without an offset mean no instant. With one, each of the two is meant apart. */
static void a_local_time_is_refused_and_its_offset_decides(void **state)
{
    (void)state;
    static const char *const zones[] = {"CET-1CEST,M3.5.0,M10.5.0/3", "UTC0", "IST-5:30"};
    static const char *const bad[] = {
        "2026-10-25T02:30:00",                      /* twice in Berlin */
        "2026-03-29T02:30:00",                      /* never in Berlin */
        "2026-07-01T12:00:00",                      /* once, but where? */
        "2026-10-25T02:30:00 CEST",                 /* one of the two, by a name */
        "2026-11-24T08:48:21 IST",                  /* Ireland, Israel, India */
        "2026-10-25T02:30:00 Europe/Berlin",        /* both of the two */
        "2026-10-25T02:30:00+02:00[Europe/Berlin]", /* RFC 9557: may contradict itself */
        "2026-10-25T02:30:00[Europe/Berlin]",
        "2026-10-25T02:30:00 Mars/Olympus",
        "2026-10-25T02:30:00 local",
        "2026-10-25T02:30:00+25:00",
    };
    struct utc summer, winter;
    char local[LOCAL_TEXT_BYTES];
    for (size_t z = 0; z < sizeof zones / sizeof zones[0]; z++) {
        assert_int_equal(setenv("TZ", zones[z], 1), 0);
        tzset();
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
            if (utc_parse(bad[i], &summer, NULL) != ERR_USAGE)
                fail_msg("accepted in %s: %s", zones[z], bad[i]);
        assert_int_equal(utc_parse("2026-10-25T02:30:00+02:00", &summer, NULL), 0);
        assert_int_equal(utc_parse("2026-10-25T02:30:00+01:00", &winter, NULL), 0);
        assert_int_equal(summer.us, 1792888200000000);
        assert_int_equal(winter.us - summer.us, 3600000000);
    }
    assert_int_equal(setenv("TZ", zones[0], 1), 0);
    tzset();
    assert_string_equal(local_text(summer, local), "2026-10-25 02:30:00.000000 +0200 (CEST)");
    assert_string_equal(local_text(winter, local), "2026-10-25 02:30:00.000000 +0100 (CET)");

    struct err e = ERR_NONE;
    assert_int_equal(utc_parse("2026-11-24T08:48:21 IST", &summer, &e), ERR_USAGE);
    assert_string_equal(e.text,
                        "time '2026-11-24T08:48:21 IST': 'IST' is the name of a zone, which "
                        "means several offsets in different places and seasons; write the "
                        "one that is meant, such as +05:30");
}

static void times_written(void **state)
{
    (void)state;
    char text[UTC_TEXT_BYTES];
    char local[LOCAL_TEXT_BYTES];
    struct utc t = {1795510101000042};
    assert_string_equal(utc_text(t, text), "2026-11-24T08:48:21.000042Z");
    struct utc back;
    assert_int_equal(utc_parse(text, &back, NULL), 0);
    assert_int_equal(back.us, t.us);
    assert_string_equal(utc_text((struct utc){UINT64_MAX}, text), "after-9999");
    assert_int_equal(setenv("TZ", "IST-5:30", 1), 0);
    tzset();
    assert_string_equal(local_text(t, local), "2026-11-24 14:18:21.000042 +0530 (IST)");
    assert_string_equal(local_text((struct utc){UINT64_MAX}, local), "after-9999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_read),
        cmocka_unit_test(times_refused),
        cmocka_unit_test(a_local_time_is_refused_and_its_offset_decides),
        cmocka_unit_test(times_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
