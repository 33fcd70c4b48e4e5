#include "replication/site_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct events *ev;

static int setup(void **state)
{
    (void)state;
    ev = events_new("dc");
    return ev == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    events_free(ev);
    return 0;
}

static const char *text_at(const json_t *list, size_t i)
{
    return json_string_value(json_object_get(json_array_get(list, i), "text"));
}

static void the_newest_are_told_in_order(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) /* more than are kept */
        events_add(ev, "event %d", i);
    json_t *list = events_json(ev, 3);
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(text_at(list, 0), "event 2997");
    assert_string_equal(text_at(list, 2), "event 2999");
    json_decref(list);
    list = events_json(ev, SIZE_MAX);
    assert_int_equal(json_array_size(list), 2048);
    assert_string_equal(text_at(list, 0), "event 952");
    json_decref(list);
}

static void nothing_is_told_of_nothing(void **state)
{
    (void)state;
    json_t *list = events_json(ev, 100);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
}

static void a_name_cannot_forge_a_line(void **state)
{
    (void)state;
    events_add(ev, "link to %s: up", "dr\n2026-01-01T00:00:00Z dc: all is well\x1b[2J\x7f");
    json_t *list = events_json(ev, 1);
    assert_string_equal(text_at(list, 0),
                        "link to dr?2026-01-01T00:00:00Z dc: all is well?[2J?: up");
    json_decref(list);
}

/* The devanagari letter has three bytes; whichever of them does not fit, what is left can be shown. */
static void a_long_one_is_cut_between_characters(void **state)
{
    (void)state;
    char filler[420];
    for (size_t n = 390; n < 402; n++) {
        memset(filler, 'x', n);
        filler[n] = '\0';
        events_add(ev, "%s\u0905\u0905\u0905\u0905", filler);
        json_t *list = events_json(ev, 1);
        size_t length = strlen(text_at(list, 0));
        assert_true(length > 396 && length < 400);
        assert_memory_equal(text_at(list, 0), filler, n < length ? n : length);
        json_decref(list);
    }
}

static void what_is_not_utf8_is_named_so(void **state)
{
    (void)state;
    events_add(ev, "name %s", "\xff\xfe");
    json_t *list = events_json(ev, 1);
    assert_string_equal(text_at(list, 0), "(not UTF-8)");
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_are_told_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_told_of_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_cannot_forge_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_one_is_cut_between_characters, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_utf8_is_named_so, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
