/* Records as programs read them, operands, and what --as-of takes. */
#include "temp_dir.h"

#include "tools/record.h"

static void assert_json(const struct shown_record *r, const char *expected)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    record_json(f, r);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void json_is_shown_as_json_and_all_else_so_that_it_comes_back(void **state)
{
    (void)state;
    struct shown_record r = {.collection = bytes_str("deeds"),
                             .key = bytes_str("k\"1"),
                             .value = bytes_str("{\"b\":1,\"a\":[true,null]}"),
                             .lsn = 7,
                             .time_us = 1764057599000001};
    assert_json(&r, "{\"collection\":\"deeds\",\"key\":\"k\\\"1\",\"lsn\":7,\"time\":\"2025-11-"
                    "25T07:59:59.000001Z\","
                    "\"value\":{\"b\":1,\"a\":[true,null]}}\n");
    r.value = bytes_str("plain");
    r.time_us = 0;
    assert_json(&r, "{\"collection\":\"deeds\",\"key\":\"k\\\"1\",\"lsn\":7,\"time\":\"1970-01-"
                    "01T00:00:00.000000Z\","
                    "\"value\":\"plain\"}\n");
}

static void a_record_of_a_scan_by_an_index_has_its_token(void **state)
{
    (void)state;
    const struct shown_record r = {.collection = bytes_str("deeds"),
                                   .key = bytes_str("k"),
                                   .value = bytes_str("1"),
                                   .lsn = 7,
                                   .token = bytes_of((const uint8_t *)"\x20\0\xff", 3)};
    assert_json(&r, "{\"collection\":\"deeds\",\"key\":\"k\",\"lsn\":7,\"time\":\"1970-01-01T00:00:"
                    "00.000000Z\","
                    "\"value\":1,\"token\":\"2000ff\"}\n");
}

static void an_operand_is_taken_as_it_is_or_from_base64(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct tvn_bytes b;
    char plain[] = "AAEC", coded[] = "AAEC", bad[] = "A*EC", open[] = "AAE";
    assert_int_equal(operand_bytes(plain, false, &b, &e), 0);
    assert_int_equal(b.size, 4);
    assert_int_equal(operand_bytes(coded, true, &b, &e), 0);
    assert_int_equal(b.size, 3);
    assert_memory_equal(b.data, "\0\1\2", 3);
    assert_int_equal(operand_bytes(bad, true, &b, &e), ERR_USAGE);
    assert_string_equal(e.text, "'A*EC' is not base64 (RFC 4648, with padding)");
    assert_int_equal(operand_bytes(open, true, &b, &e), ERR_USAGE);
}

static void as_of_takes_an_lsn_or_a_time_with_its_offset(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct tvn_read how = {0};
    assert_int_equal(as_of_parse(NULL, &how, &e), 0);
    assert_true(how.as_of_lsn == 0 && how.as_of_time_us == 0);
    assert_int_equal(as_of_parse("18446744073709551615", &how, &e), 0);
    assert_true(how.as_of_lsn == UINT64_MAX);
    how = (struct tvn_read){0};
    assert_int_equal(as_of_parse("2025-11-25T13:29:59+05:30", &how, &e), 0);
    assert_true(how.as_of_time_us == 1764057599000000 && how.as_of_lsn == 0);
    static const char *const bad[] = {"0",
                                      "18446744073709551616",
                                      "",
                                      "-1",
                                      "yesterday",
                                      "2025-11-25T13:29:59",
                                      "1970-01-01T00:00:00Z"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        e = (struct err)ERR_NONE;
        if (as_of_parse(bad[i], &how, &e) != ERR_USAGE)
            fail_msg("'%s': %d %s", bad[i], e.code, e.text);
        assert_non_null(strstr(e.text, "--as-of"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_shown_as_json_and_all_else_so_that_it_comes_back),
        cmocka_unit_test(a_record_of_a_scan_by_an_index_has_its_token),
        cmocka_unit_test(an_operand_is_taken_as_it_is_or_from_base64),
        cmocka_unit_test(as_of_takes_an_lsn_or_a_time_with_its_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
