#include "replication/core/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void what_is_an_endpoint(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
    } cases[] = {
        {"10.0.0.1:7400", "10.0.0.1", 7400},
        {"dc.example:1", "dc.example", 1},
        {"[::1]:65535", "::1", 65535},
        {"[fe80::1%eth0]:7400", "fe80::1%eth0", 7400},
        {"h:0", "h", 0},
        {"h:00080", "h", 80},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes host;
        uint16_t port;
        if (!endpoint_parse(bytes_str(cases[i].text), &host, &port))
            fail_msg("%s is one", cases[i].text);
        assert_true(bytes_equal(host, bytes_str(cases[i].host)));
        assert_int_equal(port, cases[i].port);
    }
}

static void what_is_not(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",      ":",      "h",       ":1",       "h:",       "h:x",       "h:1x",     "h:+1",
        "h: 1",  "h:-1",   "h:65536", "h:000001", "::1:7400", "fd00::1:1", "[:1",      "[]:1",
        "]:1",   "[::1:1", "::1]:1",  "[[::1]:1", "[::1]]:1", "[::1]x:1",  "x[::1]:1", "[h:1",
        "h]:1",  "a b:1",  " h:1",    "a/b:1",    "a@b:1",    "a,b:1",     "h\t:1",    "[::1] :1",
        "[::1]", "[:",     "[",       "[]:",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes host;
        uint16_t port;
        if (endpoint_parse(bytes_str(cases[i]), &host, &port))
            fail_msg("'%s' is none", cases[i]);
    }
}

/* What is taken is written as it was understood, and understood so again. */
static void what_is_taken_is_taken_whole(void **state)
{
    (void)state;
    static const char letters[] = "[]:1a.%";
    unsigned taken = 0;
    for (uint32_t n = 0; n < 7 * 7 * 7 * 7 * 7 * 7; n++) {
        char text[7], again[16];
        struct bytes host;
        uint16_t port;
        for (uint32_t i = 0, rest = n; i < 6; i++, rest /= 7)
            text[i] = letters[rest % 7];
        text[6] = '\0';
        if (!endpoint_parse(bytes_str(text), &host, &port))
            continue;
        taken++;
        const bool v6 = memchr(host.p, ':', host.n) != NULL;
        const bool brackets = text[0] == '[';
        assert_true(!v6 || brackets);
        (void)snprintf(again, sizeof again, "%s%.*s%s:%u", brackets ? "[" : "", (int)host.n,
                       (const char *)host.p, brackets ? "]" : "", port);
        assert_string_equal(again, text);
    }
    assert_true(taken > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_an_endpoint),
        cmocka_unit_test(what_is_not),
        cmocka_unit_test(what_is_taken_is_taken_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
