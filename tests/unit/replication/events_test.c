#include "replication/site_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

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

/* Stderr is a pipe that nobody reads, as when a journal hangs. */
static void a_reader_that_hangs_stops_nobody_and_loss_is_counted(void **state)
{
    (void)state;
    int ends[2], err = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    struct events *own = events_new("dr");
    uint64_t began = site_now_ms();
    for (int i = 0; i < 5000; i++)
        events_add(own, "%0300d", i);
    uint64_t took = site_now_ms() - began;
    char *all = calloc(1, 1 << 21);
    size_t n = 0;
    assert_non_null(all);
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    for (int idle = 0; idle < 300 && strstr(all, "4999\n") == NULL; idle++) {
        ssize_t got;
        while ((got = read(ends[0], all + n, (1 << 21) - 1 - n)) > 0)
            n += (size_t)got;
        (void)usleep(10000);
    }
    events_free(own);
    (void)dup2(err, STDERR_FILENO);
    assert_true(took < 5000); /* a bound, not a measurement: it used to be for ever */
    assert_non_null(strstr(all, "events could not be written here in time"));
    assert_non_null(strstr(all, " dr: "));
    unsigned long long lost = 0;
    size_t lines = 0;
    for (char *line = all, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        const char *count = strstr(line, " events could not");
        if (count == NULL)
            lines++;
        else
            lost += strtoull(strstr(line, " dr: ") + 5, NULL, 10);
    }
    assert_int_equal(lines + lost, 5000);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(err);
    free(all);
}

static void what_is_left_at_the_end_is_written(void **state)
{
    (void)state;
    int ends[2], err = dup(STDERR_FILENO);
    char text[4096] = "";
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    struct events *own = events_new("dr");
    for (int i = 0; i < 20; i++)
        events_add(own, "event %d", i);
    events_free(own);
    (void)dup2(err, STDERR_FILENO);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    const char *at = text;
    for (int i = 0; i < 20; i++) {
        char wanted[32];
        (void)snprintf(wanted, sizeof wanted, " dr: event %d\n", i);
        at = strstr(at, wanted);
        assert_non_null(at);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(err);
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
        cmocka_unit_test(a_reader_that_hangs_stops_nobody_and_loss_is_counted),
        cmocka_unit_test(what_is_left_at_the_end_is_written),
        cmocka_unit_test_setup_teardown(what_is_not_utf8_is_named_so, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
