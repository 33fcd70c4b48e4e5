/* The list that two operators sign: written and read again to the byte, and nothing else is taken for one. */
#include "tools/changes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/triveni-changes-XXXXXX";

static void write_text(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static const struct change samples[] = {
    {.kind = CHANGE_CREATE,
     .collection = {(const uint8_t *)"titles", 6},
     .key = {(const uint8_t *)"AB\"\n", 4},
     .value = {(const uint8_t *)"{ \"a\":\n1}\0x", 11},
     .then = {7, 1000}},
    {.kind = CHANGE_REPLACE,
     .collection = {(const uint8_t *)"titles", 6},
     .key = {(const uint8_t *)"\xff\x00\x01", 3},
     .value = {(const uint8_t *)"\x80", 1},
     .now = {9, 2000},
     .then = {7, 1000}},
    {.kind = CHANGE_REPLACE,
     .collection = {(const uint8_t *)"titles", 6},
     .key = {(const uint8_t *)"empty", 5},
     .value = {(const uint8_t *)"", 0},
     .now = {9, 2000},
     .then = {7, 1000}},
    {.kind = CHANGE_DELETE,
     .collection = {(const uint8_t *)"titles", 6},
     .key = {(const uint8_t *)"Z", 1},
     .now = {9, 2000}},
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

static void write_samples(char hex[65])
{
    struct changes_writer w;
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(changes_begin(&w, f, NULL), 0);
    for (size_t i = 0; i < SAMPLES; i++)
        assert_int_equal(changes_add(&w, &samples[i], NULL), 0);
    assert_int_equal(w.count[CHANGE_CREATE], 1);
    assert_int_equal(w.count[CHANGE_REPLACE], 2);
    assert_int_equal(w.count[CHANGE_DELETE], 1);
    assert_int_equal(changes_end(&w, hex, NULL), 0);
    assert_int_equal(fclose(f), 0);
}

static void a_list_is_read_as_it_was_written(void **state)
{
    (void)state;
    char hex[65];
    struct changes_reader r;
    struct change c;
    write_samples(hex);
    assert_int_equal(changes_check(path, hex, NULL), 0);
    assert_int_equal(changes_open(&r, path, NULL), 0);
    for (size_t i = 0; i < SAMPLES; i++) {
        assert_int_equal(changes_next(&r, &c, NULL), 1);
        assert_int_equal(c.kind, samples[i].kind);
        assert_int_equal(c.number, i + 1);
        assert_true(bytes_equal(c.collection, samples[i].collection));
        assert_true(bytes_equal(c.key, samples[i].key));
        assert_true(bytes_equal(c.value, samples[i].value));
        assert_memory_equal(&c.now, &samples[i].now, sizeof c.now);
        assert_memory_equal(&c.then, &samples[i].then, sizeof c.then);
        change_free(&c);
    }
    assert_int_equal(changes_next(&r, &c, NULL), 0);
    changes_close(&r);
}

/* As tools/changes.h says it, so that others can write and check one. */
static void the_bytes_are_those_of_the_format(void **state)
{
    (void)state;
    char hex[65], line[512];
    write_samples(hex);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    static const char *const wanted[] = {
        "{\"change\":\"create\",\"collection\":\"titles\",\"key\":\"AB\\\"\\n\",\"then\":{\"lsn\":"
        "7,"
        "\"time\":1000},\"value\":\"{ \\\"a\\\":\\n1}\\u0000x\"}\n",
        "{\"change\":\"replace\",\"collection\":\"titles\",\"key\":{\"base64\":\"/wAB\"},\"now\":{"
        "\"lsn\":9,\"time\":2000},\"then\":{\"lsn\":7,\"time\":1000},\"value\":{\"base64\":\"gA=="
        "\"}"
        "}\n",
        "{\"change\":\"replace\",\"collection\":\"titles\",\"key\":\"empty\",\"now\":{\"lsn\":9,"
        "\"time\":2000},\"then\":{\"lsn\":7,\"time\":1000},\"value\":\"\"}\n",
        "{\"change\":\"delete\",\"collection\":\"titles\",\"key\":\"Z\",\"now\":{\"lsn\":9,"
        "\"time\":"
        "2000}}\n",
    };
    for (size_t i = 0; i < SAMPLES; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        assert_string_equal(line, wanted[i]);
    }
    assert_null(fgets(line, sizeof line, f));
    assert_int_equal(fclose(f), 0);
}

static void another_list_is_not_the_one_that_was_signed(void **state)
{
    (void)state;
    char hex[65];
    struct err e = ERR_NONE;
    write_samples(hex);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, 20, SEEK_SET), 0);
    assert_int_equal(fputc('x', f), 'x');
    assert_int_equal(fclose(f), 0);
    assert_int_equal(changes_check(path, hex, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "is not the list that was signed"));
    assert_int_equal(changes_check("/tmp/triveni-no-such-list", hex, NULL), ERR_NOT_FOUND);
}

static void what_is_no_change_is_refused_with_its_line(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x",
        "{}",
        "{\"change\":\"move\",\"collection\":\"c\",\"key\":\"k\",\"now\":{\"lsn\":1,\"time\":1}}",
        "{\"change\":\"delete\",\"collection\":\"c\",\"key\":\"k\"}",
        "{\"change\":\"delete\",\"collection\":\"c\",\"key\":\"\",\"now\":{\"lsn\":1,\"time\":1}}",
        "{\"change\":\"delete\",\"collection\":\"_c\",\"key\":\"k\",\"now\":{\"lsn\":1,\"time\":1}"
        "}",
        "{\"change\":\"delete\",\"collection\":\"c\",\"key\":\"k\",\"now\":{\"lsn\":1,\"time\":1},"
        "\"value\":\"v\"}",
        "{\"change\":\"create\",\"collection\":\"c\",\"key\":\"k\",\"then\":{\"lsn\":1,\"time\":1}"
        "}",
        "{\"change\":\"create\",\"collection\":\"c\",\"key\":\"k\",\"now\":{\"lsn\":1,\"time\":1},"
        "\"then\":{\"lsn\":1,\"time\":1},\"value\":\"v\"}",
        "{\"change\":\"replace\",\"collection\":\"c\",\"key\":\"k\",\"now\":{\"lsn\":0,\"time\":1},"
        "\"then\":{\"lsn\":1,\"time\":1},\"value\":\"v\"}",
        "{\"change\":\"replace\",\"collection\":\"c\",\"key\":{\"base64\":\"?\"},\"now\":{\"lsn\":"
        "1,"
        "\"time\":1},\"then\":{\"lsn\":1,\"time\":1},\"value\":\"v\"}",
        "{\"change\":\"delete\",\"change\":\"delete\",\"collection\":\"c\",\"key\":\"k\",\"now\":{"
        "\"lsn\":1,\"time\":1}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct changes_reader r;
        struct change c;
        struct err e = ERR_NONE;
        write_text(bad[i]);
        assert_int_equal(changes_open(&r, path, NULL), 0);
        if (changes_next(&r, &c, &e) != ERR_FORMAT)
            fail_msg("taken for a change: %s", bad[i]);
        assert_non_null(strstr(e.text, ":1: is no change of records"));
        changes_close(&r);
    }
}

int main(void)
{
    const int fd = mkstemp(path);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_read_as_it_was_written),
        cmocka_unit_test(the_bytes_are_those_of_the_format),
        cmocka_unit_test(another_list_is_not_the_one_that_was_signed),
        cmocka_unit_test(what_is_no_change_is_refused_with_its_line),
    };
    (void)close(fd);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
