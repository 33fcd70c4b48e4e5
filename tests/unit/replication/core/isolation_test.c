#include "replication/core/isolation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define S UINT64_C(1000000)
#define WALL (UINT64_C(1790000000) * S)

static struct isolation_now at(uint8_t boot, uint64_t boot_us, uint64_t wall_us)
{
    struct isolation_now now = {.boot_us = boot_us, .wall = {wall_us}};
    now.boot.b[0] = boot;
    return now;
}

static struct isolation begun(uint64_t for_us)
{
    struct isolation i;
    const struct isolation_now now = at(1, 100 * S, WALL);
    isolation_begin(&i, ISOLATE_SITES, for_us, "ops", &now);
    return i;
}

static void it_ends_by_the_clock_that_no_one_sets(void **state)
{
    (void)state;
    const struct isolation i = begun(30 * S);
    assert_int_equal(i.until.us, WALL + 30 * S);
    assert_int_equal(isolation_left_us(&i, 100 * S), 30 * S);
    assert_int_equal(isolation_left_us(&i, 130 * S - 1), 1);
    assert_int_equal(isolation_left_us(&i, 130 * S), 0);
    assert_int_equal(isolation_left_us(&i, 131 * S), 0);
    assert_int_equal(isolation_left_us(&(struct isolation){.until_boot_us = 9}, 0), 0);
}

/* In the same run of the machine the wall clock has no say, whatever it shows. */
static void a_restart_of_the_process_keeps_the_end(void **state)
{
    (void)state;
    static const uint64_t walls[] = {WALL + 10 * S, 0, WALL - 86400 * S, WALL + 86400 * S};
    for (size_t k = 0; k < sizeof walls / sizeof walls[0]; k++) {
        struct isolation i = begun(30 * S);
        const struct isolation_now now = at(1, 110 * S, walls[k]);
        isolation_renew(&i, &now);
        assert_int_equal(i.links, ISOLATE_SITES);
        assert_int_equal(i.until_boot_us, 130 * S);
        assert_int_equal(i.left_us, 20 * S);
        assert_int_equal(i.until.us, walls[k] + 20 * S);
        assert_string_equal(i.by, "ops");
    }
    struct isolation i = begun(30 * S);
    const struct isolation_now late = at(1, 130 * S, WALL);
    isolation_renew(&i, &late);
    assert_int_equal(i.links, 0);
}

static void
a_restart_of_the_machine_goes_by_the_wall_clock_and_never_beyond_what_was_left(void **state)
{
    (void)state;
    static const struct {
        uint64_t wall, left;
    } cases[] = {
        {WALL + 10 * S, 20 * S},    {WALL + 30 * S, 0}, {WALL + 86400 * S, 0},
        {WALL - 86400 * S, 30 * S}, {0, 30 * S},        {WALL + 30 * S - 1, 1},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct isolation i = begun(30 * S);
        const struct isolation_now now = at(2, 5 * S, cases[k].wall);
        isolation_renew(&i, &now);
        assert_int_equal(i.links != 0, cases[k].left != 0);
        assert_int_equal(i.left_us, cases[k].left);
        assert_int_equal(isolation_left_us(&i, 5 * S), cases[k].left);
    }
}

/* A machine without a clock of its own that starts again and again: what was written last bounds each. */
static void a_clock_that_stands_still_cannot_make_it_last_for_ever(void **state)
{
    (void)state;
    struct isolation i = begun(180 * S);
    uint8_t boot = 2;
    unsigned minutes = 0;
    while (i.links != 0 && minutes < 100) {
        struct isolation_now now = at(boot++, 5 * S, 0);
        isolation_renew(&i, &now);
        now.boot_us += 60 * S;
        isolation_renew(&i, &now);
        minutes++;
    }
    assert_int_equal(minutes, 3);
}

/* Zero stands for "not known", which is never the same run. */
static void a_run_of_the_machine_that_is_not_known_is_another_one(void **state)
{
    (void)state;
    struct isolation i;
    const struct isolation_now began = at(0, 100 * S, WALL), now = at(0, 3 * S, WALL + 10 * S);
    isolation_begin(&i, ISOLATE_CLIENTS, 30 * S, "ops", &began);
    isolation_renew(&i, &now);
    assert_int_equal(i.left_us, 20 * S);
    assert_int_equal(i.until_boot_us, 23 * S);
}

static void what_is_written_is_read_again_and_every_flipped_bit_is_found(void **state)
{
    (void)state;
    uint8_t bytes[ISOLATION_BYTES];
    struct isolation i = begun(30 * S), back;
    struct err e = ERR_NONE;
    memset(i.by, 'x', CLIENT_NAME_MAX_BYTES);
    isolation_encode(&i, bytes);
    assert_int_equal(isolation_decode(bytes_of(bytes, sizeof bytes), &back, &e), 0);
    assert_int_equal(back.links, i.links);
    assert_true(uuid_equal(&back.boot, &i.boot));
    assert_int_equal(back.until_boot_us, i.until_boot_us);
    assert_int_equal(back.until.us, i.until.us);
    assert_int_equal(back.left_us, i.left_us);
    assert_string_equal(back.by, i.by);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(isolation_decode(bytes_of(bytes, sizeof bytes), &back, NULL), ERR_FORMAT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(isolation_decode(bytes_of(bytes, sizeof bytes - 1), &back, NULL), ERR_FORMAT);
}

static void what_no_site_writes_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[ISOLATION_BYTES];
    struct isolation back, none = begun(30 * S), more = begun(30 * S), long_one = begun(30 * S);
    none.links = 0;
    more.links = 4 | ISOLATE_SITES;
    long_one.left_us = UINT64_C(1000) * ISOLATION_MAX_MS + 1;
    const struct isolation *const bad[] = {&none, &more, &long_one};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        isolation_encode(bad[k], bytes);
        assert_int_equal(isolation_decode(bytes_of(bytes, sizeof bytes), &back, NULL), ERR_FORMAT);
    }
}

static void links_have_names(void **state)
{
    (void)state;
    assert_int_equal(isolation_links("sites"), ISOLATE_SITES);
    assert_int_equal(isolation_links("clients"), ISOLATE_CLIENTS);
    assert_int_equal(isolation_links("both"), ISOLATE_SITES | ISOLATE_CLIENTS);
    assert_int_equal(isolation_links("all"), 0);
    assert_string_equal(isolation_links_name(0), "none");
    assert_string_equal(isolation_links_name(3), "both");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_by_the_clock_that_no_one_sets),
        cmocka_unit_test(a_restart_of_the_process_keeps_the_end),
        cmocka_unit_test(
            a_restart_of_the_machine_goes_by_the_wall_clock_and_never_beyond_what_was_left),
        cmocka_unit_test(a_clock_that_stands_still_cannot_make_it_last_for_ever),
        cmocka_unit_test(a_run_of_the_machine_that_is_not_known_is_another_one),
        cmocka_unit_test(what_is_written_is_read_again_and_every_flipped_bit_is_found),
        cmocka_unit_test(what_no_site_writes_is_refused),
        cmocka_unit_test(links_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
