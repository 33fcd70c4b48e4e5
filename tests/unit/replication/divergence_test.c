/* The bundle of what is about to be undone: complete, in order, told apart by who may have been told, and whole before anything
 * goes. The log is a real one; the site is no more than what the export reads. */
#include "replication/site_parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];
static struct site_config config;
static struct site site;
static json_t *lines[16];
static size_t line_count;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct entry_position zero = {{0}, {0}, {0}, {{0}}};
    char dir[100];
    (void)snprintf(root, sizeof root, "/tmp/triveni-divergence-XXXXXX");
    assert_non_null(mkdtemp(root));
    config = (struct site_config){.cluster = "gov",
                                  .member_count = 2,
                                  .members = {{.name = "dc"}, {.name = "dr"}},
                                  .self = 1};
    (void)snprintf(config.data_dir, sizeof config.data_dir, "%s", root);
    (void)snprintf(dir, sizeof dir, "%s/log", root);
    site = (struct site){.config = &config, .events = events_new("dr")};
    assert_int_equal(log_open(&site.log,
                              &(struct log_options){.dir = dir,
                                                    .segment_bytes = 32 << 20,
                                                    .engine = LOG_ENGINE_PLAIN},
                              &zero, &e),
                     0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    while (line_count > 0)
        json_decref(lines[--line_count]);
    assert_int_equal(log_close(site.log, &e), 0);
    events_free(site.events);
    free(site.read_buffer);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void append(enum entry_kind kind, uint64_t term, struct bytes body)
{
    struct err e = ERR_NONE;
    uint8_t header[ENTRY_HEADER_BYTES];
    struct entry_view v = {.header = {.kind = kind,
                                      .term = {term},
                                      .lsn = {site.tail.lsn.v + 1},
                                      .time = {1000000 + site.tail.lsn.v},
                                      .prev_hash = site.tail.hash},
                           .raw = header,
                           .body = body.p};
    v.hash = entry_seal(&v.header, body, header);
    assert_int_equal(log_append(site.log, &v, 1, &e), 0);
    site.tail = entry_position_of(&v);
}

static void append_txn(uint64_t term, enum level level, const struct op *ops, uint32_t n)
{
    const size_t cap = body_txn_bytes(ops, n, 8);
    struct writer w = writer_of(malloc(cap), cap);
    static const uint8_t salt[ENTRY_SALT_BYTES] = {7};
    body_write_txn(
        &w, salt,
        &(struct body_txn){.level = level, .client = bytes_str("registry"), .op_count = n}, ops);
    assert_false(w.bad);
    append(ENTRY_TXN, term, bytes_of(w.p, w.at));
    free(w.p);
}

static void append_noop(uint64_t term)
{
    uint8_t space[64];
    struct writer w = writer_of(space, sizeof space);
    static const uint8_t salt[ENTRY_SALT_BYTES] = {9};
    body_write_noop(&w, salt, &(struct body_noop){bytes_str("dr")});
    append(ENTRY_NOOP, term, bytes_of(w.p, w.at));
}

static const struct op two_ops[] = {
    {OP_PUT,
     {(const uint8_t *)"deeds", 5},
     {(const uint8_t *)"k1", 2},
     {(const uint8_t *)"\xff\x01", 2}},
    {OP_DELETE, {(const uint8_t *)"deeds", 5}, {(const uint8_t *)"k\0z", 3}, {NULL, 0}},
};

/* Export, and read the one bundle that must be there. */
static void export_and_read(uint64_t keep, const char *name)
{
    struct err e = ERR_NONE;
    char path[200];
    if (divergence_export(&site, (struct lsn){keep}, &e) != 0)
        fail_msg("%s", e.text);
    (void)snprintf(path, sizeof path, "%s/divergence/%s", root, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    json_error_t why;
    json_t *line;
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, &why)) != NULL)
        lines[line_count++] = line;
    (void)fclose(f);
    (void)snprintf(path, sizeof path, "%s/divergence", root);
    DIR *dir = opendir(path);
    const struct dirent *d;
    while ((d = readdir(dir)) != NULL)
        assert_true(d->d_name[0] == '.' ||
                    strcmp(d->d_name, name) == 0); /* nothing half-written is left */
    (void)closedir(dir);
}

static const char *text(size_t line, const char *member)
{
    const char *s = json_string_value(json_object_get(lines[line], member));
    return s != NULL ? s : "";
}

static void every_operation_is_there_with_who_wrote_it(void **state)
{
    (void)state;
    append_noop(1);
    append_txn(1, LEVEL_MAJORITY, two_ops, 2); /* lsn 2: is kept */
    append_noop(3);
    append_txn(3, LEVEL_MAJORITY, two_ops, 2);
    export_and_read(2, "3-3-4.jsonl");
    assert_int_equal(line_count, 4);
    assert_string_equal(text(0, "bundle"), "triveni divergence 1");
    assert_string_equal(text(0, "cluster"), "gov");
    assert_string_equal(text(0, "site"), "dr");
    assert_int_equal(json_integer_value(json_object_get(lines[0], "first")), 3);
    assert_int_equal(json_integer_value(json_object_get(lines[0], "last")), 4);
    assert_string_equal(text(1, "entry"), entry_kind_name(ENTRY_NOOP));
    for (size_t i = 2; i < 4; i++) {
        assert_int_equal(json_integer_value(json_object_get(lines[i], "lsn")), 4);
        assert_int_equal(json_integer_value(json_object_get(lines[i], "term")), 3);
        assert_string_equal(text(i, "client"), "registry");
        assert_string_equal(text(i, "collection"), "deeds");
    }
    assert_string_equal(text(2, "op"), "put");
    assert_string_equal(text(2, "key"), "k1");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(lines[2], "value"), "base64")), "/wE=");
    assert_string_equal(text(3, "op"), "del");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(lines[3], "key"), "base64")), "awB6");
    assert_null(json_object_get(lines[3], "value"));
}

/* Who was primary when, and what it had seen committed, decides what "no" may be said of. */
static void only_what_this_process_would_have_answered_is_surely_not_acknowledged(void **state)
{
    (void)state;
    append_noop(2);                            /* 1 */
    append_txn(2, LEVEL_MAJORITY, two_ops, 1); /* 2: of a term that another one led */
    append_noop(5);                            /* 3: this process leads from here on */
    append_txn(5, LEVEL_MAJORITY, two_ops, 1); /* 4: seen committed */
    append_txn(5, LEVEL_MAJORITY, two_ops, 1); /* 5 */
    append_txn(5, LEVEL_LOCAL, two_ops, 1);    /* 6: was answered by this disk */
    append_txn(5, LEVEL_ALL, two_ops, 1);      /* 7 */
    append_noop(6);                            /* 8: another one leads again, */
    append_txn(6, LEVEL_MAJORITY, two_ops, 1); /* 9: and was to answer this */
    site.term_led.v = 5;
    site.term_start.v = 3;
    site.marks.commit.v = 4;
    export_and_read(0, "6-1-9.jsonl");
    static const char *const expected[] = {"",   "",         "possible", "", "possible",
                                           "no", "possible", "no",       "", "possible"};
    assert_int_equal(line_count, 10);
    for (size_t i = 1; i < 10; i++)
        assert_string_equal(text(i, "acknowledged"), expected[i]);
}

static void after_a_restart_nothing_is_sure(void **state)
{
    (void)state;
    append_noop(5);
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    export_and_read(0, "5-1-2.jsonl"); /* term_led is 0: another process led */
    assert_int_equal(line_count, 3);
    assert_string_equal(text(2, "acknowledged"), "possible");
}

static void an_entry_larger_than_the_buffer_is_exported_whole(void **state)
{
    (void)state;
    const size_t n = 9 << 20;
    char *large = malloc(n);
    memset(large, 'x', n);
    const struct op op = {OP_PUT, bytes_str("deeds"), bytes_str("large"), bytes_of(large, n)};
    append_txn(1, LEVEL_MAJORITY, &op, 1);
    append_txn(1, LEVEL_MAJORITY, two_ops, 2);
    export_and_read(0, "1-1-2.jsonl");
    assert_int_equal(line_count, 4);
    assert_int_equal(strlen(text(1, "value")), n);
    free(large);
}

static void a_bundle_that_cannot_be_written_is_an_error_and_leaves_none(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    char path[200];
    append_noop(1);
    (void)snprintf(path, sizeof path, "%s/divergence", root);
    int fd = open(path, O_WRONLY | O_CREAT, 0600); /* a file has the directory's name */
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(divergence_export(&site, (struct lsn){0}, &e), ERR_IO);
    assert_non_null(strstr(e.text, "divergence/1-1-1.jsonl.part: Not a directory"));
}

/* What cannot be read completely must not be undone. */
static void a_range_that_the_log_does_not_have_is_an_error_and_no_bundle(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    char path[200];
    struct stat st;
    append_noop(1);
    site.tail.lsn.v = 3; /* two that are not there */
    assert_int_not_equal(divergence_export(&site, (struct lsn){0}, &e), 0);
    (void)snprintf(path, sizeof path, "%s/divergence/1-1-3.jsonl", root);
    assert_int_not_equal(stat(path, &st), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_operation_is_there_with_who_wrote_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            only_what_this_process_would_have_answered_is_surely_not_acknowledged, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(after_a_restart_nothing_is_sure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_larger_than_the_buffer_is_exported_whole, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_bundle_that_cannot_be_written_is_an_error_and_leaves_none,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_range_that_the_log_does_not_have_is_an_error_and_no_bundle, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
