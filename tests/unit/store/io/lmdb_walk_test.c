/* Trees of LMDB's data file made by hand, with each thing in them that a damaged file could say: the walk tells what it can read,
 * names the rest with the keys that are lost with it, reads no page twice and always ends. */
#include "store/io/lmdb_walk.h"

#include "store/core/body.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

enum { PAGE = 4096, PAGES = 16, META_PAGE_BYTES_AT = 16 + 24, META_LAST_PAGE_AT = 16 + 120 };
enum { BIG = 1, TREE = 2 };

struct file {
    uint8_t p[PAGES][PAGE];
    struct slot slot;
};
static struct file f;

static int set_up(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    put_le32(f.slot.meta + META_PAGE_BYTES_AT, PAGE);
    put_le64(f.slot.meta + META_LAST_PAGE_AT, PAGES - 1);
    f.slot.file_bytes = sizeof f.p;
    assert_int_equal(slot_page_bytes(&f.slot), PAGE);
    return 0;
}

static void page(unsigned number, unsigned flags)
{
    uint8_t *p = f.p[number];
    put_le64(p, number);
    put_le16(p + 10, (uint16_t)flags);
    put_le16(p + 12, LMDB_PAGE_HEADER_BYTES);
    put_le16(p + 14, PAGE);
}

/* Behind the nodes that are there: `low` is the size of the data or the child, `data` may be NULL. */
static void node(unsigned number, const char *key, uint32_t low, unsigned flags, const void *data,
                 size_t n)
{
    uint8_t *p = f.p[number];
    const size_t lower = get_le16(p + 12), key_bytes = strlen(key);
    const size_t upper = (get_le16(p + 14) - 8 - key_bytes - n) & ~(size_t)1;
    put_le16(p + lower, (uint16_t)upper);
    put_le16(p + 12, (uint16_t)(lower + 2));
    put_le16(p + 14, (uint16_t)upper);
    put_le32(p + upper, low);
    put_le16(p + upper + 4, (uint16_t)flags);
    put_le16(p + upper + 6, (uint16_t)key_bytes);
    memcpy(p + upper + 8, key, key_bytes);
    if (n != 0)
        memcpy(p + upper + 8 + key_bytes, data, n);
}

static void row(unsigned number, const char *key)
{
    node(number, key, 1, 0, "v", 1);
}

static void leaf(unsigned number, const char *a, const char *b)
{
    page(number, LMDB_LEAF);
    row(number, a);
    row(number, b);
}

static void big(unsigned number, const char *key, uint32_t bytes, uint64_t at)
{
    uint8_t raw[8];
    put_le64(raw, at);
    node(number, key, bytes, BIG, raw, 8);
}

/* Pages 3 and 4 below 2: a, b; m, n. */
static void two_leaves(void)
{
    page(2, LMDB_BRANCH);
    node(2, "", 3, 0, NULL, 0);
    node(2, "m", 4, 0, NULL, 0);
    leaf(3, "a", "b");
    leaf(4, "m", "n");
}

/* ---- what a walk tells: "a b !3[m,) ..." ---- */

struct told {
    char text[512];
    char why[512];
    unsigned progress;
};

static void add(struct told *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct told *t, const char *format, ...)
{
    va_list args;
    size_t at = strlen(t->text);
    va_start(args, format);
    (void)vsnprintf(t->text + at, sizeof t->text - at, format, args);
    va_end(args);
}

static int on_row(void *arg, struct bytes key, struct bytes data, bool is_tree, uint64_t number)
{
    (void)number;
    add(arg, "%.*s%s", (int)key.n, (const char *)key.p, is_tree ? "+" : "");
    add(arg, data.n == 1 ? " " : "(%zu) ", data.n);
    return key.n == 4 && memcmp(key.p, "stop", 4) == 0 ? ERR_CANCELLED : 0;
}

static int on_damage(void *arg, uint64_t number, struct bytes low, struct bytes high,
                     const char *why)
{
    struct told *t = arg;
    add(t, "!%u[%.*s,%.*s) ", (unsigned)number, (int)low.n, (const char *)low.p, (int)high.n,
        (const char *)high.p);
    (void)snprintf(t->why, sizeof t->why, "%s", why);
    return 0;
}

static void on_progress(void *arg, uint64_t bytes)
{
    ((struct told *)arg)->progress += (unsigned)bytes;
}

static int walk(struct lmdb_tree tree, struct told *t)
{
    char path[] = "/tmp/triveni-walk-XXXXXX";
    int fd = mkstemp(path);
    struct lmdb_file *file;
    struct err e = ERR_NONE;
    *t = (struct told){.text = ""};
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(fd, f.p, (size_t)f.slot.file_bytes), f.slot.file_bytes);
    assert_int_equal(lmdb_file_open(&file, fd, &f.slot, &e), 0);
    const struct lmdb_visitor v = {on_row, on_damage, on_progress, t};
    int rc = lmdb_walk(file, &tree, &v, &e);
    lmdb_file_close(file);
    (void)close(fd);
    return rc;
}

static void tells(uint16_t depth, const char *text, const char *why)
{
    struct told t;
    assert_int_equal(
        walk((struct lmdb_tree){.depth = depth, .root = depth == 0 ? lmdb_no_page : 2}, &t), 0);
    assert_string_equal(t.text, text);
    if (strstr(t.why, why) == NULL)
        fail_msg("'%s' does not say '%s'", t.why, why);
}

/* ---- cases ---- */

static void whole_trees_of_any_depth_are_told_in_order(void **state)
{
    (void)state;
    tells(0, "", "");
    leaf(2, "a", "b");
    node(2, "c", 48, TREE, f.p[9], 48);
    tells(1, "a b c+(48) ", "");
    two_leaves();
    tells(2, "a b m n ", "");
    page(5, LMDB_BRANCH); /* a root above it, and a second branch */
    node(5, "", 2, 0, NULL, 0);
    node(5, "p", 6, 0, NULL, 0);
    page(6, LMDB_BRANCH);
    node(6, "", 7, 0, NULL, 0);
    node(6, "r", 8, 0, NULL, 0);
    leaf(7, "p", "q");
    leaf(8, "r", "s");
    struct told t;
    assert_int_equal(walk((struct lmdb_tree){.depth = 3, .root = 5}, &t), 0);
    assert_string_equal(t.text, "a b m n p q r s ");
    assert_int_equal(t.progress, 6 * PAGE);
}

static void a_callback_stops_the_walk(void **state)
{
    (void)state;
    struct told t;
    leaf(2, "a", "stop");
    row(2, "z");
    assert_int_equal(walk((struct lmdb_tree){.depth = 1, .root = 2}, &t), ERR_CANCELLED);
    assert_string_equal(t.text, "a stop ");
}

static void a_page_that_cannot_be_is_told_with_the_keys_it_leads_to(void **state)
{
    (void)state;
    static const unsigned numbers[] = {0, 1, PAGES};
    for (size_t i = 0; i < 3; i++) {
        two_leaves();
        put_le32(f.p[2] + get_le16(f.p[2] + 18), numbers[i]); /* the second child */
        char text[40];
        (void)snprintf(text, sizeof text, "a b !%u[m,) ", numbers[i]);
        tells(2, text, "is beyond the last one, 15");
    }
    two_leaves();
    put_le32(f.p[2] + get_le16(f.p[2] + 18), 3);
    tells(2, "a b !3[m,) ", "page 3 is used twice");
    two_leaves();
    put_le32(f.p[2] + get_le16(f.p[2] + 16), 2); /* a circle */
    tells(2, "!2[,m) m n ", "page 2 is used twice");
    two_leaves();
    put_le64(f.p[3], 9); /* another page stands there */
    tells(2, "!3[,m) m n ", "");
}

static void a_page_of_the_wrong_kind_for_its_place_is_told(void **state)
{
    (void)state;
    two_leaves();
    tells(1, "!2[,) ", "of the wrong kind for its place");
    tells(3, "!3[,m) !4[m,) ", "of the wrong kind for its place");
    leaf(2, "a", "b");
    tells(2, "!2[,) ", "of the wrong kind for its place");
}

static void what_lies_beyond_the_size_at_the_checkpoint_is_not_read(void **state)
{
    (void)state;
    two_leaves();
    f.slot.file_bytes = 4 * PAGE; /* page 4 is not part of it, though the meta page counts it */
    tells(2, "a b !4[m,) ", "the file ends in it");
    f.slot.file_bytes = 3 * PAGE;
    tells(2, "!3[,m) !4[m,) ", "page 4 is beyond the last one, 3");
}

static void keys_rise_and_stay_within_the_bounds_above_them(void **state)
{
    (void)state;
    static const char *const firsts[] = {"b", "c"};
    for (size_t i = 0; i < 2; i++) { /* the same again, and one that is lower */
        leaf(2, firsts[i], "b");
        row(2, "z");
        char text[24];
        (void)snprintf(text, sizeof text, "%s !2[%s,) ", firsts[i], firsts[i]);
        tells(1, text, "a key is out of order");
    }
    two_leaves();
    leaf(3, "a", "m"); /* belongs into the next page */
    tells(2, "a !3[a,m) m n ", "a key is out of order");
    two_leaves();
    leaf(4, "l", "n"); /* belongs into the page before */
    tells(2, "a b !4[b,) ", "a key is out of order");
    leaf(2, "", "n");
    tells(1, "!2[,) ", "a key of 0 bytes");
    char key[514] = "";
    memset(key, 'k', 513);
    leaf(2, "a", key);
    tells(1, "a !2[a,) ", "a key of 513 bytes");
}

static void nodes_that_lie_outside_of_their_page_are_told(void **state)
{
    (void)state;
    leaf(2, "a", "b");
    put_le16(f.p[2] + 18, PAGE - 4);
    tells(1, "a !2[a,) ", "node 1 begins at byte 4092");
    two_leaves();
    put_le16(f.p[2] + 18, 20); /* of a branch: neither child can be told from the other */
    tells(2, "!2[,) ", "node 1 begins at byte 20");
    leaf(2, "a", "b");
    page(2, LMDB_LEAF);
    big(2, "a", 100, 3);
    put_le16(f.p[2] + get_le16(f.p[2] + 16) + 6,
             9); /* a key so long that no page number has room */
    tells(1, "!2[,) ", "node 0 is cut short");
}

/* ---- values on pages of their own ---- */

static void overflow(unsigned number, uint32_t pages)
{
    page(number, LMDB_OVERFLOW);
    put_le32(f.p[number] + 12, pages);
}

static void big_values_are_told_whole(void **state)
{
    (void)state;
    page(2, LMDB_LEAF);
    big(2, "a", 10, 7);
    big(2, "b", 2 * PAGE - LMDB_PAGE_HEADER_BYTES, 3);
    big(2, "c", PAGE, 5);
    overflow(3, 2);
    overflow(5, 2);
    overflow(7, 1);
    tells(1, "a(10) b(8176) c(4096) ", "");
}

static void a_big_value_that_cannot_be_is_told_with_its_key(void **state)
{
    (void)state;
    static const struct {
        uint32_t bytes;
        uint64_t at;
        uint32_t pages;
        const char *text, *why;
    } wrong[] = {
        {VALUE_MAX_BYTES + 4097, 3, 1, "!3[a,a) b ", "a value of "},
        {PAGE, 3, 1, "!3[a,a) b ", "it is no overflow page of 2 pages"},
        {PAGE, PAGES - 1, 2, "!15[a,a) b ", "page 16 is beyond the last one, 15"},
        {PAGE, UINT64_MAX, 2, "!4294967295[a,a) b ", "is beyond the last one, 15"},
        {10, 2, 1, "!2[a,a) b ", "page 2 is used twice"},
        {10, 4, 1, "!4[a,a) b ", ""}, /* a leaf */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        page(2, LMDB_LEAF);
        big(2, "a", wrong[i].bytes, wrong[i].at);
        row(2, "b");
        overflow(3, wrong[i].pages);
        leaf(4, "x", "y");
        tells(1, wrong[i].text, wrong[i].why);
    }
}

int main(void)
{
#define in_file(f) cmocka_unit_test_setup(f, set_up)
    const struct CMUnitTest tests[] = {
        in_file(whole_trees_of_any_depth_are_told_in_order),
        in_file(a_callback_stops_the_walk),
        in_file(a_page_that_cannot_be_is_told_with_the_keys_it_leads_to),
        in_file(a_page_of_the_wrong_kind_for_its_place_is_told),
        in_file(what_lies_beyond_the_size_at_the_checkpoint_is_not_read),
        in_file(keys_rise_and_stay_within_the_bounds_above_them),
        in_file(nodes_that_lie_outside_of_their_page_are_told),
        in_file(big_values_are_told_whole),
        in_file(a_big_value_that_cannot_be_is_told_with_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
