/* A bundle is read only as the site wrote it: cut short, edited, of a later version or of something else, it is refused and
 * said why. */
#include "replication/bundle.h"

#include "tests/unit/tools/temp_dir.h"

#include <openssl/evp.h>

static char path[128];

static int set_up(void **state)
{
    int rc = temp_dir_set_up(state);
    (void)snprintf(path, sizeof path, "%s/5-3-4.jsonl", temp_dir);
    return rc;
}

static const char head_of_2[] =
    "{\"bundle\":\"triveni divergence 2\",\"id\":\"ab\",\"cluster\":\"gov\",\"cluster_id\":\"07\","
    "\"site\":\"dr\",\"term\":5,\"common\":2,\"first\":3,\"last\":4,\"written_us\":9,\"entries\":2,"
    "\"transactions\":1,\"operations\":2,\"acknowledged\":{\"yes\":1,\"possible\":1,\"no\":0},"
    "\"points\":0,\"modes\":0,\"audits\":0}\n";
static const char line_of_2[] = "{\"lsn\":3,\"op\":\"del\"}\n";

static void write_file(const char *text, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* A bundle of that text, with its checksum. */
static size_t whole(char *out, size_t room, const char *head, const char *lines)
{
    uint8_t digest[32];
    size_t n = (size_t)snprintf(out, room, "%s%s", head, lines);
    assert_int_equal(EVP_Digest(out, n, digest, NULL, EVP_sha256(), NULL), 1);
    n += (size_t)snprintf(out + n, room - n, "{\"end\":\"%s\",\"sha256\":\"", BUNDLE_FORMAT);
    for (size_t i = 0; i < sizeof digest; i++)
        n += (size_t)snprintf(out + n, room - n, "%02x", digest[i]);
    n += (size_t)snprintf(out + n, room - n, "\"}\n");
    write_file(out, n);
    return n;
}

static void a_whole_one_is_read(void **state)
{
    (void)state;
    char text[2048];
    struct err e = ERR_NONE;
    struct bundle b;
    struct bundle_lines lines;
    json_t *line;
    size_t n = whole(text, sizeof text, head_of_2, line_of_2);
    assert_int_equal(bundle_check(path, &b, &e), 0);
    assert_int_equal(b.format, 2);
    assert_string_equal(b.site, "dr");
    assert_int_equal(b.common, 2);
    assert_int_equal(b.operations, 2);
    assert_int_equal(b.yes, 1);
    assert_int_equal(b.bytes, n);
    assert_int_equal(strlen(b.sha256), 64);
    assert_true(bundle_matters(&b));
    assert_int_equal(bundle_open(&lines, path, &e), 0);
    assert_int_equal(bundle_next(&lines, &line, &e), 1);
    assert_string_equal(json_string_value(json_object_get(line, "op")), "del");
    json_decref(line);
    assert_int_equal(bundle_next(&lines, &line, &e), 0); /* the checksum is none of them */
    bundle_close(&lines);
}

static void every_cut_is_found(void **state)
{
    (void)state;
    char text[2048];
    struct bundle b;
    size_t n = whole(text, sizeof text, head_of_2, line_of_2);
    for (size_t keep = 0; keep < n; keep++) {
        struct err e = ERR_NONE;
        write_file(text, keep);
        assert_int_equal(bundle_check(path, &b, &e), ERR_INTEGRITY);
        assert_non_null(strstr(e.text, "not as the site wrote it"));
    }
}

static void every_changed_byte_is_found(void **state)
{
    (void)state;
    char text[2048];
    struct bundle b;
    size_t n = whole(text, sizeof text, head_of_2, line_of_2);
    for (size_t i = 0; i < n; i++) {
        struct err e = ERR_NONE;
        text[i] ^= 1;
        write_file(text, n);
        int rc = bundle_check(path, &b, &e);
        assert_true(rc == ERR_INTEGRITY || rc == ERR_NEWER); /* the name of the format itself */
        text[i] ^= 1;
    }
}

static void one_of_a_later_version_is_said_to_be_one(void **state)
{
    (void)state;
    struct bundle b;
    struct err e = ERR_NONE;
    static const char later[] = "{\"bundle\":\"triveni divergence 3\"}\n";
    write_file(later, sizeof later - 1);
    assert_int_equal(bundle_check(path, &b, &e), ERR_NEWER);
}

static void one_of_an_earlier_version_can_be_signed_off(void **state)
{
    (void)state;
    struct bundle b;
    struct err e = ERR_NONE;
    static const char earlier[] = "{\"bundle\":\"triveni divergence 1\",\"cluster\":\"gov\","
                                  "\"site\":\"dr\",\"term\":5,\"first\":3,\"last\":4}\n";
    write_file(earlier, sizeof earlier - 1);
    assert_int_equal(bundle_check(path, &b, &e), 0);
    assert_int_equal(b.format, 1);
    assert_int_equal(strlen(b.sha256), 64);
    assert_true(bundle_matters(&b));
}

static void names_are_names(void **state)
{
    (void)state;
    assert_true(bundle_is_name("5-3-4.jsonl"));
    assert_false(bundle_is_name("5-3-4.jsonl.part"));
    assert_false(bundle_is_name("5-3-4.jsonl.decided"));
    assert_false(bundle_is_name("../5-3-4.jsonl"));
    assert_false(bundle_is_name(".jsonl"));
}

static void a_decision_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct bundle_decision back, d = {.what = "discarded",
                                      .by = "op",
                                      .time_us = 7,
                                      .lsn = 42,
                                      .sha256 = "ab",
                                      .reason = "said \"so\""};
    assert_int_equal(bundle_decision_read(path, &back, &e), 0);
    assert_string_equal(back.what, "");
    assert_int_equal(bundle_decision_write(path, &d, &e), 0);
    assert_int_equal(bundle_decision_read(path, &back, &e), 0);
    assert_memory_equal(&back, &d, sizeof d);
    char beside[160];
    (void)snprintf(beside, sizeof beside, "%s.decided", path);
    assert_int_equal(truncate(beside, 10), 0);
    assert_int_equal(bundle_decision_read(path, &back, &e), ERR_INTEGRITY);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, temp_dir_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_whole_one_is_read),
        CASE(every_cut_is_found),
        CASE(every_changed_byte_is_found),
        CASE(one_of_a_later_version_is_said_to_be_one),
        CASE(one_of_an_earlier_version_can_be_signed_off),
        CASE(names_are_names),
        CASE(a_decision_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
