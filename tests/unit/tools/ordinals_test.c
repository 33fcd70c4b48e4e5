/* A set of numbers as ranges: against a plain table, in any order; and its text. */
#include "tools/ordinals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void it_holds_what_was_added_in_any_order(void **state)
{
    (void)state;
    enum { N = 300 };
    struct err e = ERR_NONE;
    struct ordinals o = {.count = 0}, back = {.count = 0};
    bool in[N + 1] = {false};
    uint64_t random = 7;
    for (int i = 0; i < 1000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t n = (random >> 33) % N + 1;
        in[n] = true;
        assert_int_equal(ordinals_add(&o, n, &e), 0);
        for (size_t r = 1; r < o.count; r++)
            assert_true(o.ranges[r - 1].last + 1 < o.ranges[r].first);
        for (uint64_t k = 1; k <= N; k++)
            assert_int_equal(ordinals_has(&o, k), in[k]);
    }
    char *text = ordinals_text(&o);
    assert_int_equal(ordinals_read(&back, text, &e), 0);
    assert_int_equal(back.count, o.count);
    assert_memory_equal(back.ranges, o.ranges, o.count * sizeof o.ranges[0]);
    free(text);
    ordinals_free(&o);
    ordinals_free(&back);
}

static void its_text_is_for_people(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct ordinals o = {.count = 0};
    char *text = ordinals_text(&o);
    assert_string_equal(text, "");
    free(text);
    for (uint64_t n = 5; n > 1; n--)
        assert_int_equal(ordinals_add(&o, n, &e), 0);
    assert_int_equal(ordinals_add(&o, 9, &e), 0);
    text = ordinals_text(&o);
    assert_string_equal(text, "2-5,9");
    free(text);
    ordinals_free(&o);
}

static void what_is_no_such_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"0",
                                      "x",
                                      "1,",
                                      ",1",
                                      "1-",
                                      "5-2",
                                      "3,2",
                                      "1,2",
                                      "1 2",
                                      "1-2-3",
                                      "1-3,3",
                                      "-1",
                                      "99999999999999999999999"};
    struct ordinals o = {.count = 0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = ERR_NONE;
        assert_int_equal(ordinals_read(&o, bad[i], &e), ERR_FORMAT);
    }
    ordinals_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_what_was_added_in_any_order),
        cmocka_unit_test(its_text_is_for_people),
        cmocka_unit_test(what_is_no_such_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
