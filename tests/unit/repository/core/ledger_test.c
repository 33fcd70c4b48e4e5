/* The verification ledger: which object comes next, and its text. */
#include "repository/core/ledger.h"
#include "store/core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

enum { ROOM = 8 };
#define HOUR (UINT64_C(3600) * 1000000)
#define NOW (UINT64_C(1700000000) * 1000000)

static struct repo_ledger_line memory[ROOM];
static struct repo_ledger ledger;

static const char *name_of(unsigned i)
{
    static char name[REPO_NAME_BYTES];
    (void)snprintf(name, sizeof name, "packs/%020u-%020u-1-0000000%u.pack", 10 * i + 1, 10 * i + 10,
                   i);
    return name;
}

static int setup(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    ledger = (struct repo_ledger){.at = memory, .cap = ROOM};
    return 0;
}

static struct repo_ledger_line *add(unsigned i, uint64_t verified_us)
{
    struct repo_ledger_line *x = repo_ledger_add(&ledger, name_of(i));
    assert_non_null(x);
    x->verified.us = verified_us;
    return x;
}

static void lines_are_sorted_and_found(void **state)
{
    static const unsigned order[] = {3, 1, 4, 0, 2};
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        add(order[i], NOW + order[i]);
    assert_ptr_equal(repo_ledger_add(&ledger, name_of(3)), repo_ledger_find(&ledger, name_of(3)));
    assert_int_equal(ledger.n, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_string_equal(ledger.at[i].name, name_of(i));
    assert_null(repo_ledger_find(&ledger, name_of(7)));
    assert_int_equal(repo_ledger_find(&ledger, name_of(4))->verified.us, NOW + 4);
}

static void nothing_is_added_beyond_the_room(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROOM; i++)
        add(i, NOW);
    assert_null(repo_ledger_add(&ledger, name_of(9)));
    assert_non_null(repo_ledger_add(&ledger, name_of(5)));
    assert_int_equal(ledger.n, ROOM);
}

static const char *next(uint64_t now)
{
    const struct repo_ledger_line *x =
        repo_ledger_next(&ledger, (struct utc){now}, 24 * HOUR, HOUR);
    return x == NULL ? "none" : x->name;
}

static void the_one_that_was_longest_not_verified_is_next(void **state)
{
    (void)state;
    assert_string_equal(next(NOW), "none");
    add(0, NOW - 30 * HOUR);
    add(1, NOW - 40 * HOUR);
    add(2, NOW - 25 * HOUR);
    assert_string_equal(next(NOW), name_of(1));
    assert_ptr_equal(repo_ledger_oldest(&ledger), repo_ledger_find(&ledger, name_of(1)));
    add(3, 0); /* never */
    assert_string_equal(next(NOW), name_of(3));
}

static void what_was_verified_just_now_rests(void **state)
{
    (void)state;
    add(0, NOW - 24 * HOUR + 1);
    assert_string_equal(next(NOW), "none");
    assert_string_equal(next(NOW + 1), name_of(0));
}

static void what_is_damaged_is_looked_at_again_sooner(void **state)
{
    (void)state;
    add(0, NOW - 2 * HOUR);
    add(1, NOW - HOUR)->damaged = true;
    assert_string_equal(next(NOW), name_of(1));
    assert_string_equal(next(NOW - 1), "none");
}

static void a_clock_that_was_set_back_does_not_stop_it(void **state)
{
    (void)state;
    add(0, NOW + 1000 * HOUR);
    assert_string_equal(next(NOW), name_of(0));
}

/* ---- rounds ---- */

static void a_round_is_over_when_nothing_was_verified_before_it_began(void **state)
{
    (void)state;
    const struct utc now = {NOW + HOUR};
    struct repo_ledger_line *a = add(0, NOW - 5), *b = add(1, NOW - 3);
    assert_false(repo_ledger_round_over(&ledger, now)); /* none was begun */
    ledger.round.began.us = NOW;
    assert_false(repo_ledger_round_over(&ledger, now));
    repo_ledger_note(&ledger, a, now, true, true);
    repo_ledger_note(&ledger, a, now, true, true); /* what is damaged is looked at again */
    assert_false(repo_ledger_round_over(&ledger, now));
    repo_ledger_note(&ledger, b, now, true, false); /* healed */
    assert_true(a->damaged && !b->damaged);
    assert_true(ledger.round.checked == 2 && ledger.round.damaged == 2);
    assert_true(repo_ledger_round_over(&ledger, now));
    assert_false(
        repo_ledger_round_over(&ledger, (struct utc){NOW - 1})); /* the clock was set back */
    add(2, NOW + 2); /* sealed meanwhile: read back then */
    assert_true(repo_ledger_round_over(&ledger, now));
    add(3, 0); /* damaged, as a listing showed */
    assert_false(repo_ledger_round_over(&ledger, now));
}

static void an_empty_archive_has_no_round_that_is_over(void **state)
{
    (void)state;
    ledger.round.began.us = NOW;
    assert_false(repo_ledger_round_over(&ledger, (struct utc){NOW + 1}));
}

/* ---- the text ---- */

static char text[4096];

static struct bytes write_text(void)
{
    size_t n = (size_t)snprintf(text, sizeof text, "%s", repo_ledger_head);
    char line[REPO_LEDGER_LINE_BYTES];
    if (ledger.round.began.us != 0) {
        size_t head = repo_ledger_round_write(&ledger.round, line);
        memcpy(text + n, line, head);
        n += head;
    }
    for (size_t i = 0; i < ledger.n; i++) {
        size_t length = repo_ledger_line_write(&ledger.at[i], line);
        memcpy(text + n, line, length);
        n += length;
    }
    size_t length = repo_ledger_end_write(hash_crc32c(0, bytes_of(text, n)), line);
    memcpy(text + n, line, length);
    return bytes_of(text, n + length);
}

static void what_is_written_is_read_again(void **state)
{
    struct bytes lines;
    struct repo_ledger_line x;
    size_t at = 0;
    struct err e = ERR_NONE;
    (void)state;
    add(0, NOW);
    add(1, 0)->damaged = true;
    struct bytes b = write_text();
    assert_int_equal(repo_ledger_lines(b, &lines, &e), 0);
    assert_int_equal(repo_ledger_line_read(lines, &at, &x), 0);
    assert_string_equal(x.name, name_of(0));
    assert_int_equal(x.verified.us, NOW);
    assert_false(x.damaged);
    assert_int_equal(repo_ledger_line_read(lines, &at, &x), 0);
    assert_string_equal(x.name, name_of(1));
    assert_true(x.damaged);
    assert_int_equal(repo_ledger_line_read(lines, &at, &x), ERR_NOT_FOUND);
}

static void a_round_is_read_again_and_a_ledger_without_one_has_none(void **state)
{
    static const char *const bad[] = {
        "round 1 00000000000000ff 1", "round x 00000000000000ff 1 1\n",
        "round 1 00000000000000f 1 1\n", "round 1 00000000000000fg 1 1\n",
        "round 1 00000000000000ff 1 -\n"};
    struct bytes lines;
    struct repo_ledger_round x;
    struct err e = ERR_NONE;
    (void)state;
    add(0, NOW);
    assert_int_equal(repo_ledger_lines(write_text(), &lines, &e), 0);
    const size_t whole = lines.n;
    assert_int_equal(repo_ledger_round_read(&lines, &x), 0);
    assert_true(x.began.us == 0 && lines.n == whole);
    ledger.round = (struct repo_ledger_round){{NOW}, 0xfedcba9876543210, 7, 1};
    assert_int_equal(repo_ledger_lines(write_text(), &lines, &e), 0);
    assert_int_equal(repo_ledger_round_read(&lines, &x), 0);
    assert_memory_equal(&x, &ledger.round, sizeof x);
    assert_int_equal(lines.n, whole);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lines = bytes_str(bad[i]);
        assert_int_equal(repo_ledger_round_read(&lines, &x), ERR_FORMAT);
    }
}

static void every_flipped_bit_and_every_cut_is_found(void **state)
{
    struct bytes lines;
    struct err e = ERR_NONE;
    (void)state;
    add(0, NOW);
    add(1, NOW);
    struct bytes b = write_text();
    for (size_t i = 0; i < 8 * b.n; i++) {
        text[i / 8] ^= (char)(1 << i % 8);
        assert_int_equal(repo_ledger_lines(b, &lines, &e), ERR_FORMAT);
        text[i / 8] ^= (char)(1 << i % 8);
    }
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(repo_ledger_lines(bytes_of(text, n), &lines, &e), ERR_FORMAT);
    assert_int_equal(repo_ledger_lines(b, &lines, &e), 0);
}

static void a_line_of_another_form_is_refused(void **state)
{
    static const char *const bad[] = {
        "x readable whole packs/1\n",
        "1 readable whole packs/1\n", /* no name of an object */
        "1 intact whole packs/00000000000000000001-00000000000000000010-1-00000000.pack\n",
        "1 readable well packs/00000000000000000001-00000000000000000010-1-00000000.pack\n",
        ("18446744073709551616 readable whole "
         "packs/00000000000000000001-00000000000000000010-1-00000000.pack\n"),
        "1 readable whole packs/00000000000000000001-00000000000000000010-1-00000000.pack",
        "\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct repo_ledger_line x;
        size_t at = 0;
        assert_int_equal(repo_ledger_line_read(bytes_str(bad[i]), &at, &x), ERR_FORMAT);
    }
}

static void each_place_has_a_file_of_its_own_whatever_its_options(void **state)
{
    char archive[REPO_LEDGER_FILE_BYTES], one[REPO_LEDGER_FILE_BYTES], two[REPO_LEDGER_FILE_BYTES],
        again[REPO_LEDGER_FILE_BYTES];
    (void)state;
    repo_ledger_file(NULL, archive);
    assert_string_equal(archive, "archive.ledger");
    repo_ledger_file("/srv/copy", one);
    assert_string_equal(one, "archive.copy-67779493fc9a7a34.ledger"); /* by sha256sum(1) */
    repo_ledger_file("/srv/copy?spool=/tmp", again);
    assert_string_equal(one, again);
    repo_ledger_file("s3:https://rgw.example/land?credentials=/etc/s3", two);
    assert_string_not_equal(one, two);
}

int main(void)
{
#define fresh(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        fresh(lines_are_sorted_and_found),
        fresh(nothing_is_added_beyond_the_room),
        fresh(the_one_that_was_longest_not_verified_is_next),
        fresh(what_was_verified_just_now_rests),
        fresh(a_round_is_over_when_nothing_was_verified_before_it_began),
        fresh(an_empty_archive_has_no_round_that_is_over),
        fresh(a_round_is_read_again_and_a_ledger_without_one_has_none),
        fresh(what_is_damaged_is_looked_at_again_sooner),
        fresh(a_clock_that_was_set_back_does_not_stop_it),
        fresh(what_is_written_is_read_again),
        fresh(every_flipped_bit_and_every_cut_is_found),
        fresh(a_line_of_another_form_is_refused),
        fresh(each_place_has_a_file_of_its_own_whatever_its_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
