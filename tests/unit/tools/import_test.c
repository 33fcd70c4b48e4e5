/* Lines and what they say: line ends, places of errors, limits, and the kinds of TSV and JSON Lines. */
#include "tools/import.h"
#include "tools/lines.h"
#include "tools/load_progress.h"

#include "store/core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- lines ---- */

static void write_all(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t put = write(fd, at, n);
        assert_true(put > 0);
        at += put;
        n -= (size_t)put;
    }
}

static void open_text(struct lines *l, const void *text, size_t n, size_t longest)
{
    char name[] = "/tmp/import_test.XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    write_all(fd, text, n);
    assert_int_equal(close(fd), 0);
    struct err e = ERR_NONE;
    assert_int_equal(lines_open(l, name, longest, &e), 0);
    assert_int_equal(unlink(name), 0);
}

static void line_ends(void **state)
{
    (void)state;
    static const char text[] = "one\ntwo\r\n\nfour\rx\n\0five\nlast";
    static const struct {
        const char *text;
        size_t n;
        uint64_t end;
    } expected[] = {{"one", 3, 4},      {"two", 3, 9},     {"", 0, 10},
                    {"four\rx", 6, 17}, {"\0five", 5, 23}, {"last", 4, 27}};
    struct lines l;
    struct line line;
    struct err e = ERR_NONE;
    open_text(&l, text, sizeof text - 1, 4096);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(lines_next(&l, &line, &e), 1);
        assert_int_equal(line.number, i + 1);
        assert_int_equal(line.end, expected[i].end);
        assert_int_equal(line.text.n, expected[i].n);
        assert_memory_equal(line.text.p, expected[i].text, expected[i].n);
        assert_int_equal(line.open, i == 5);
        assert_false(line.too_long);
    }
    assert_int_equal(lines_next(&l, &line, &e), 0);
    assert_int_equal(lines_next(&l, &line, &e), 0);
    assert_int_equal(l.crc, hash_crc32c(0, bytes_of(text, sizeof text - 1)));
    lines_close(&l);
}

static void empty_input(void **state)
{
    (void)state;
    struct lines l;
    struct line line;
    open_text(&l, "", 0, 4096);
    assert_int_equal(lines_next(&l, &line, NULL), 0);
    lines_close(&l);
}

/* A line longer than the buffer and than the limit: told, skipped whole, and the next one is right. */
static void huge_lines(void **state)
{
    (void)state;
    enum { HUGE_BYTES = 5 << 20, LIMIT = 2 << 20 };
    char *text = malloc(2 * HUGE_BYTES + 16);
    assert_non_null(text);
    memset(text, 'a', LIMIT);
    text[LIMIT] = '\n';
    memset(text + LIMIT + 1, 'b', HUGE_BYTES);
    memcpy(text + LIMIT + 1 + HUGE_BYTES, "\nnext\n", 6);
    size_t n = LIMIT + 1 + HUGE_BYTES + 6;
    struct lines l;
    struct line line;
    struct err e = ERR_NONE;
    open_text(&l, text, n, LIMIT);
    assert_int_equal(lines_next(&l, &line, &e), 1);
    assert_false(line.too_long);
    assert_int_equal(line.text.n, LIMIT);
    assert_int_equal(lines_next(&l, &line, &e), 1);
    assert_true(line.too_long);
    assert_int_equal(line.text.n, LINES_HEAD_BYTES);
    assert_int_equal(line.text.p[0], 'b');
    assert_int_equal(line.end, n - 5);
    assert_int_equal(lines_next(&l, &line, &e), 1);
    assert_int_equal(line.text.n, 4);
    assert_memory_equal(line.text.p, "next", 4);
    assert_int_equal(line.number, 3);
    assert_int_equal(lines_next(&l, &line, &e), 0);
    assert_int_equal(l.crc, hash_crc32c(0, bytes_of(text, n)));
    lines_close(&l);
    free(text);
}

static void missing_file(void **state)
{
    (void)state;
    struct lines l;
    struct err e = ERR_NONE;
    assert_int_equal(lines_open(&l, "/nonexistent/x", 4096, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "/nonexistent/x: cannot be opened: No such file or directory");
}

/* ---- records ---- */

struct got {
    int rc;
    size_t column;
    struct imported r;
    struct err e;
};

static struct got import_bytes(struct import *im, struct bytes line)
{
    struct got g = {.rc = 0};
    g.rc = import_line(im, line, &g.r, &g.column, &g.e);
    return g;
}

static void assert_record(struct import *im, const char *line, const char *key, const char *value)
{
    struct got g = import_bytes(im, bytes_str(line));
    if (g.rc != 1)
        fail_msg("%s: %s", line, g.e.text);
    assert_int_equal(g.r.key.n, strlen(key));
    assert_memory_equal(g.r.key.p, key, g.r.key.n);
    assert_int_equal(g.r.value.n, strlen(value));
    assert_memory_equal(g.r.value.p, value, g.r.value.n);
}

static void assert_bad(struct import *im, const char *line, size_t column, const char *message)
{
    struct got g = import_bytes(im, bytes_str(line));
    assert_int_equal(g.rc, ERR_FORMAT);
    assert_string_equal(g.e.text, message);
    assert_int_equal(g.column, column);
}

static void begin(struct import *im)
{
    struct err e = ERR_NONE;
    if (import_begin(im, &e) != 0)
        fail_msg("%s", e.text);
}

static void jsonl(void **state)
{
    (void)state;
    struct import im = {.format = IMPORT_JSONL, .key = "id"};
    begin(&im);
    assert_record(&im, "{\"id\":\"a\\u00e9\",\"n\":1.10}", "a\xc3\xa9",
                  "{\"id\":\"a\\u00e9\",\"n\":1.10}");
    assert_record(&im, " {\"id\": 12345678901234567890 } ", "12345678901234567890",
                  " {\"id\": 12345678901234567890 } ");
    assert_int_equal(import_bytes(&im, bytes_str("")).rc, 0);
    assert_int_equal(import_bytes(&im, bytes_str(" \t ")).rc, 0);
    assert_bad(&im, "{\"id\":1", 8, "not JSON: the line ends too early");
    assert_bad(&im, "{\"id\":1,}", 9, "not JSON");
    assert_bad(&im, "{\"id\":\"\xff\"}", 8, "not JSON: a byte that is not UTF-8");
    assert_bad(&im, "[1]", 1, "not a JSON object");
    assert_bad(&im, "{\"ID\":1}", 1, "there is no 'id' to take the key from");
    assert_bad(&im, "{\"id\":null}", 7, "the key is neither a string nor a number");
    assert_bad(&im, "{\"id\":\"\"}", 7, "the key has 0 bytes: 1 to 480 are allowed");
    assert_bad(&im, "{\"id\":\"\\ud800\"}", 7, "the key holds half of a surrogate pair");
    struct got g = import_bytes(&im, bytes_of("{\"id\":1}\0", 9));
    assert_int_equal(g.rc, ERR_FORMAT);
    assert_int_equal(g.column, 9);
    char wide[600];
    int n = snprintf(wide, sizeof wide, "{\"id\":\"%0481d\"}", 7);
    assert_true(n > 0 && (size_t)n < sizeof wide);
    assert_bad(&im, wide, 7, "the key has 481 bytes: 1 to 480 are allowed");
    import_end(&im);
}

static void jsonl_pointers(void **state)
{
    (void)state;
    struct import im = {.format = IMPORT_JSONL, .key = "/person/ids/0", .value = "/person/name"};
    begin(&im);
    assert_record(&im, "{\"person\":{\"ids\":[\"x\",2],\"name\":\"A\\nB\"}}", "x", "A\nB");
    assert_record(&im, "{\"person\":{\"ids\":[7],\"name\":{\"f\":1.0}}}", "7", "{\"f\":1.0}");
    assert_bad(&im, "{\"person\":{\"ids\":[7]}}", 1,
               "there is no '/person/name' to take the value from");
    assert_bad(&im, "{\"person\":{\"ids\":[]}}", 1,
               "there is no '/person/ids/0' to take the key from");
    import_end(&im);
}

static void tsv(void **state)
{
    (void)state;
    struct import im = {.format = IMPORT_TSV};
    begin(&im);
    assert_record(&im, "k\tv\tmore", "k", "v");
    assert_record(&im, "k\t", "k", "");
    assert_record(&im, "\xff\t\xfe", "\xff", "\xfe"); /* bytes are bytes */
    assert_bad(&im, "k", 2, "1 columns: there is no column 2 to take the value from");
    assert_bad(&im, "\tv", 1, "the key has 0 bytes: 1 to 480 are allowed");
    struct got g = import_bytes(&im, bytes_of("a\0b\tc\0d", 7));
    assert_int_equal(g.rc, 1);
    assert_int_equal(g.r.key.n, 3);
    assert_int_equal(g.r.value.n, 3);
    import_end(&im);
    im = (struct import){.format = IMPORT_TSV, .key = "3", .value = "1"};
    begin(&im);
    assert_record(&im, "a\tb\tc", "c", "a");
    import_end(&im);
}

static void tsv_header(void **state)
{
    (void)state;
    struct import im = {.format = IMPORT_TSV, .header = true, .key = "no"};
    begin(&im);
    assert_int_equal(import_bytes(&im, bytes_str("name\tno\t\"q\"")).rc, 0);
    assert_record(&im, "As\\ha\t7\tx y", "7",
                  "{\"name\":\"As\\\\ha\",\"no\":\"7\",\"\\\"q\\\"\":\"x y\"}");
    assert_bad(&im, "a\tb", 4, "2 columns, the header has 3");
    assert_bad(&im, "\xff\tb\tc", 1,
               "not UTF-8, which JSON needs; name one column with --value to take its bytes");
    import_end(&im);
    im = (struct import){.format = IMPORT_TSV, .header = true, .key = "no", .value = "name"};
    begin(&im);
    assert_int_equal(import_bytes(&im, bytes_str("name\tno")).rc, 0);
    assert_record(&im, "\xff\t7", "7", "\xff");
    import_end(&im);
    im = (struct import){.format = IMPORT_TSV, .header = true, .key = "nope"};
    begin(&im);
    struct got g = import_bytes(&im, bytes_str("name\tno"));
    assert_int_equal(g.rc, ERR_USAGE);
    assert_string_equal(g.e.text, "--key: the header has no column 'nope'");
    import_end(&im);
}

static void dumps(void **state)
{
    (void)state;
    struct import im = {.format = IMPORT_DUMP};
    begin(&im);
    assert_record(
        &im, "{\"collection\":\"t\",\"key\":\"k\",\"lsn\":1,\"time\":\"x\",\"value\":{\"a\":1}}",
        "k", "{\"a\":1}");
    assert_record(
        &im, "{\"collection\":\"t\",\"key\":{\"base64\":\"/w==\"},\"value\":{\"base64\":\"/v8=\"}}",
        "\xff", "\xfe\xff");
    assert_record(&im, "{\"collection\":\"t\",\"key\":\"k\",\"value\":\"text\"}", "k", "text");
    assert_bad(&im, "{\"collection\":\"t\",\"key\":\"k\"}", 1,
               "member \"value\" is missing: is this a dump?");
    assert_bad(&im, "{\"collection\":7,\"key\":\"k\",\"value\":1}", 15,
               "not what a dump holds there");
    assert_bad(&im, "{\"collection\":\"_x\",\"key\":\"k\",\"value\":1}", 1,
               "collection names that begin with '_' belong to the system");
    import_end(&im);
}

static void wrong_options(void **state)
{
    (void)state;
    static const struct {
        struct import im;
        const char *message;
    } cases[] = {
        {{.format = IMPORT_JSONL},
         "--key is needed: the member (id) or JSON pointer (/person/id) that holds the key"},
        {{.format = IMPORT_JSONL, .key = "id", .header = true}, "--header goes with --format tsv"},
        {{.format = IMPORT_TSV, .key = "0"}, "--key: columns are counted from 1"},
        {{.format = IMPORT_TSV, .value = "name"},
         "--value 'name' is not a column number from 1 to 1024; with --header columns can be "
         "named"},
        {{.format = IMPORT_DUMP, .key = "id"},
         "--key, --value and --header do not go with --format dump: its lines say it all"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct import im = cases[i].im;
        struct err e = ERR_NONE;
        assert_int_equal(import_begin(&im, &e), ERR_USAGE);
        assert_string_equal(e.text, cases[i].message);
    }
}

/* ---- progress ---- */

static void progress_round_trip(void **state)
{
    (void)state;
    const struct load_progress in = {.lines = 5,
                                     .offset = 1ull << 40,
                                     .crc = UINT32_MAX,
                                     .open_end = true,
                                     .records = 4,
                                     .rejected = 1,
                                     .rejects_bytes = 77,
                                     .done = true};
    struct load_progress out;
    char text[LOAD_PROGRESS_BYTES];
    size_t n = load_progress_write(&in, text);
    struct err e = ERR_NONE;
    assert_int_equal(load_progress_read(bytes_of(text, n), &out, &e), 0);
    assert_int_equal(out.lines, 5);
    assert_int_equal(out.offset, 1ull << 40);
    assert_int_equal(out.crc, UINT32_MAX);
    assert_true(out.open_end && out.done);
    assert_int_equal(out.records, 4);
    assert_int_equal(out.rejected, 1);
    assert_int_equal(out.rejects_bytes, 77);
    static const char *const bad[] = {
        "", "{}", "[]",
        "{\"lines\":-1,\"offset\":0,\"crc32c\":0,\"open_end\":false,\"records\":0,\"rejected\":0,"
        "\"rejects_bytes\":0,\"done\":false}",
        "{\"lines\":1,\"offset\":0,\"crc32c\":4294967296,\"open_end\":false,\"records\":0,"
        "\"rejected\":0,\"rejects_bytes\":0,\"done\":false}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(load_progress_read(bytes_str(bad[i]), &out, &e), ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_ends),
        cmocka_unit_test(empty_input),
        cmocka_unit_test(huge_lines),
        cmocka_unit_test(missing_file),
        cmocka_unit_test(jsonl),
        cmocka_unit_test(jsonl_pointers),
        cmocka_unit_test(tsv),
        cmocka_unit_test(tsv_header),
        cmocka_unit_test(dumps),
        cmocka_unit_test(wrong_options),
        cmocka_unit_test(progress_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
