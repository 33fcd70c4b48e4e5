/* Lines: their ends, their places, their bound, and the checksum by which a load knows its input again. */
#include "temp_dir.h"

#include "store/core/hash.h"
#include "tools/lines.h"

#include <pthread.h>
#include <sys/ioctl.h>

static struct lines l;

static void open_text(const char *text, size_t n, size_t longest)
{
    struct err e = ERR_NONE;
    assert_int_equal(lines_open(&l, temp_file("in", bytes_of(text, n)), longest, &e), 0);
}

static void expect(const char *text, uint64_t number, uint64_t end, bool open)
{
    struct err e = ERR_NONE;
    struct line line;
    assert_int_equal(lines_next(&l, &line, &e), 1);
    assert_int_equal(line.text.n, strlen(text));
    assert_memory_equal(line.text.p, text, line.text.n);
    assert_int_equal(line.number, number);
    assert_int_equal(line.end, end);
    assert_int_equal(line.open, open);
    assert_false(line.too_long);
}

static void expect_end(void)
{
    struct err e = ERR_NONE;
    struct line line;
    assert_int_equal(lines_next(&l, &line, &e), 0);
    assert_int_equal(lines_next(&l, &line, &e), 0);
}

static void a_line_ends_with_either_end_or_with_the_input(void **state)
{
    (void)state;
    static const char text[] = "one\ntwo\r\n\n\r\nth\rree";
    open_text(text, sizeof text - 1, 1000);
    expect("one", 1, 4, false);
    expect("two", 2, 9, false);
    expect("", 3, 10, false);
    expect("", 4, 12, false);
    expect("th\rree", 5, 18, true);
    expect_end();
    assert_int_equal(l.crc, hash_crc32c(0, bytes_of(text, sizeof text - 1)));
    lines_close(&l);
}

static void an_empty_input_has_no_line(void **state)
{
    (void)state;
    open_text("", 0, 1000);
    expect_end();
    lines_close(&l);
}

/* The buffer is 1 MiB at first: both sides of that. */
static void a_line_may_be_as_long_as_allowed_and_no_longer(void **state)
{
    (void)state;
    static const size_t bounds[] = {300, 1 << 20, 3 << 20};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        const size_t longest = bounds[i], n = 3 * longest + 20;
        char *text = malloc(n);
        struct line line;
        struct err e = ERR_NONE;
        memset(text, 'a', n);
        text[longest] = '\n';
        text[2 * longest + 2] = '\n';        /* one too many */
        memcpy(text + n - 6, "\nlast\n", 6); /* far too many before it */
        open_text(text, n, longest);
        assert_int_equal(lines_next(&l, &line, &e), 1);
        assert_int_equal(line.text.n, longest);
        assert_false(line.too_long);
        for (uint64_t number = 2; number <= 3; number++) {
            assert_int_equal(lines_next(&l, &line, &e), 1);
            assert_int_equal(line.number, number);
            /* The second has one byte too many, the third is what is left: longest + 11. */
            assert_true(line.too_long);
            assert_int_equal(line.text.n, LINES_HEAD_BYTES);
            assert_int_equal(line.text.p[0], 'a');
        }
        expect("last", 4, n, false);
        expect_end();
        assert_int_equal(l.offset, n);
        assert_int_equal(l.crc, hash_crc32c(0, bytes_of(text, n)));
        lines_close(&l);
        free(text);
    }
}

/* A line of the longest length, its "\r" and its "\n" in two writes: the second when the first was read. */
static void *write_in_two(void *arg)
{
    const int fd = *(const int *)arg;
    char text[301];
    int unread = 1;
    memset(text, 'a', sizeof text);
    text[300] = '\r';
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    while (ioctl(fd, FIONREAD, &unread) == 0 && unread > 0)
        (void)usleep(1000);
    assert_int_equal(write(fd, "\n", 1), 1);
    (void)close(fd);
    return NULL;
}

static void whether_a_line_is_too_long_does_not_hang_on_how_it_arrives(void **state)
{
    (void)state;
    int ends[2];
    pthread_t writer;
    char path[32];
    struct err e = ERR_NONE;
    struct line line;
    assert_int_equal(pipe(ends), 0);
    (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_int_equal(lines_open(&l, path, 300, &e), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_in_two, &ends[1]), 0);
    assert_int_equal(lines_next(&l, &line, &e), 1);
    assert_false(line.too_long);
    assert_int_equal(line.text.n, 300);
    assert_int_equal(pthread_join(writer, NULL), 0);
    expect_end();
    lines_close(&l);
    (void)close(ends[0]);
}

static void what_cannot_be_read_is_named(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct line line;
    assert_int_equal(lines_open(&l, temp_path("absent"), 1000, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "absent: cannot be opened"));
    assert_int_equal(lines_open(&l, temp_dir, 1000, &e),
                     0); /* a directory opens, but does not read */
    assert_int_equal(lines_next(&l, &line, &e), ERR_IO);
    assert_non_null(strstr(e.text, "byte 0: cannot be read"));
    lines_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_ends_with_either_end_or_with_the_input,
                                        temp_dir_set_up, temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(an_empty_input_has_no_line, temp_dir_set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(a_line_may_be_as_long_as_allowed_and_no_longer,
                                        temp_dir_set_up, temp_dir_tear_down),
        cmocka_unit_test(whether_a_line_is_too_long_does_not_hang_on_how_it_arrives),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_named, temp_dir_set_up,
                                        temp_dir_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
