/* JSON that is passed on byte for byte. */
#include "tools/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void shapes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum json_shape shape;
    } good[] = {
        {"{}", JSON_SHAPE_OBJECT},
        {" [1 , 2.5e-3, -0, true,false,null] ", JSON_SHAPE_ARRAY},
        {"\"a\\u00e9\\n\"", JSON_SHAPE_STRING},
        {"123456789012345678901234567890", JSON_SHAPE_OTHER},
        {"{\"a\":{\"b\":[{},[]]},\"a\":1}", JSON_SHAPE_OBJECT},
        {"null", JSON_SHAPE_OTHER},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(json_shape(bytes_str(good[i].text), NULL), good[i].shape);
}

static void not_json(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t at;
    } bad[] = {
        {"", 0},           {"  ", 2},    {"{", 1},     {"[1,]", 3},      {"{\"a\" 1}", 5},
        {"{\"a\":1,}", 7}, {"[1 2]", 3}, {"tru", 0},   {"01", 2},        {"1.", 2},
        {"-", 1},          {"1e", 2},    {"\"a", 2},   {"\"\\x\"", 1},   {"\"\\u12g4\"", 1},
        {"{} x", 3},       {"[}", 1},    {"{1:2}", 1}, {"\"\xff\"", 1},  {"\"a\nb\"", 2},
        {"nan", 0},        {"'a'", 0},   {"[1]]", 3},  {"{\"a\":1]", 6},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t at = 999;
        if (json_shape(bytes_str(bad[i].text), &at) != JSON_SHAPE_NONE)
            fail_msg("accepted: %s", bad[i].text);
        if (at != bad[i].at)
            fail_msg("%s: at %zu, expected %zu", bad[i].text, at, bad[i].at);
    }
    assert_int_equal(json_shape(bytes_of("{}\0", 3), NULL),
                     JSON_SHAPE_NONE); /* an embedded NUL is no space */
}

static void depth(void **state)
{
    (void)state;
    char text[2000];
    memset(text, '[', 512);
    memset(text + 512, ']', 512);
    assert_int_equal(json_shape(bytes_of(text, 1024), NULL), JSON_SHAPE_ARRAY);
    memset(text, '[', 513);
    memset(text + 513, ']', 513);
    assert_int_equal(json_shape(bytes_of(text, 1026), NULL), JSON_SHAPE_NONE);
}

static void assert_bytes(struct bytes b, const char *text)
{
    assert_int_equal(b.n, strlen(text));
    assert_memory_equal(b.p, text, b.n);
}

static void members_and_pointers(void **state)
{
    (void)state;
    struct bytes doc = bytes_str(" {\"id\" : \"x\", \"a/b\":{\"~\":[10, {\"k\":\"v\"} ,30]}, "
                                 "\"n\":1.10, \"id\":\"y\", \"\\u0065\":5, \"\":7} ");
    struct bytes out;
    assert_true(json_member(doc, "id", &out)); /* of a repeated name the last */
    assert_bytes(out, "\"y\"");
    assert_true(json_member(doc, "n", &out));
    assert_bytes(out, "1.10");
    assert_true(json_member(doc, "e", &out)); /* an escaped name is the same name */
    assert_bytes(out, "5");
    assert_false(json_member(doc, "x", &out));
    assert_false(json_member(bytes_str("[1]"), "x", &out));
    assert_true(json_pointer(doc, "/a~1b/~0/1/k", &out));
    assert_bytes(out, "\"v\"");
    assert_true(json_pointer(doc, "/a~1b/~0/2", &out));
    assert_bytes(out, "30");
    assert_true(json_pointer(doc, "/", &out));
    assert_bytes(out, "7");
    assert_true(json_pointer(bytes_str("[1]"), "", &out));
    assert_bytes(out, "[1]");
    static const char *const none[] = {"/a~1b/~0/3", "/a~1b/~0/01", "/a~1b/~0/-", "/a~1b/~0/",
                                       "/n/0",       "/zz",         "id",         "/id/x"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (json_pointer(doc, none[i], &out))
            fail_msg("found: %s", none[i]);
}

static void unescape(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u0905\"", "A\xc3\xa9\xe0\xa4\x85"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\"", ""},
    };
    uint8_t out[64];
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        long n = json_unescape(bytes_str(pairs[i][0]), out);
        assert_int_equal(n, strlen(pairs[i][1]));
        assert_memory_equal(out, pairs[i][1], (size_t)n);
    }
    assert_int_equal(json_unescape(bytes_str("\"\\u0000\""), out), 1);
    assert_int_equal(out[0], 0);
    assert_int_equal(json_unescape(bytes_str("\"\\ud83d\""), out), -1);
    assert_int_equal(json_unescape(bytes_str("\"\\ud83d\\u0041\""), out), -1);
    assert_int_equal(json_unescape(bytes_str("\"\\ude00\""), out), -1);
}

/* What json_put_value writes, json_take_value reads, to the same bytes. */
static void values_round_trip(void **state)
{
    (void)state;
    static const struct {
        struct bytes value;
        const char *json;
    } cases[] = {
        {{(const uint8_t *)"{\"a\": 1.10}", 11}, "{\"a\": 1.10}"},
        {{(const uint8_t *)"12345678901234567890123", 23}, "12345678901234567890123"},
        {{(const uint8_t *)"plain", 5}, "\"plain\""},
        {{(const uint8_t *)"\"quoted\"", 8}, "\"\\\"quoted\\\"\""},
        {{(const uint8_t *)"", 0}, "\"\""},
        {{(const uint8_t *)"a\0b", 3}, "\"a\\u0000b\""},
        {{(const uint8_t *)"\xff\xfe", 2}, "{\"base64\":\"//4=\"}"},
        {{(const uint8_t *)"{\"base64\":\"//4=\"}", 17},
         "{\"base64\":\"eyJiYXNlNjQiOiIvLzQ9In0=\"}"},
        {{(const uint8_t *)"{\"base64\":1}", 12}, "{\"base64\":\"eyJiYXNlNjQiOjF9\"}"},
        {{(const uint8_t *)"true", 4}, "true"},
        {{(const uint8_t *)"\x1b[31m\x7f", 6}, "\"\\u001b[31m\\u007f\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        json_put_value(f, cases[i].value);
        assert_int_equal(fclose(f), 0);
        assert_string_equal(text, cases[i].json);
        assert_int_not_equal(json_shape(bytes_of(text, n), NULL), JSON_SHAPE_NONE);
        long back = json_take_value(bytes_of(text, n), (uint8_t *)text); /* in place */
        assert_int_equal(back, cases[i].value.n);
        assert_memory_equal(text, cases[i].value.p, (size_t)back);
        free(text);
    }
    uint8_t out[32];
    assert_int_equal(json_take_value(bytes_str("{\"base64\":\"!!!!\"}"), out), -1);
    assert_int_equal(json_take_value(bytes_str("nonsense"), out), -1);
}

/* A value that is JSON over several lines stays one line. */
static void one_line(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    json_put_value(f, bytes_str("\n{\n  \"a\": 1,\r\n  \"b\": \"x\\ny\"\n}\n"));
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, "{  \"a\": 1,  \"b\": \"x\\ny\"}");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),   cmocka_unit_test(not_json),
        cmocka_unit_test(depth),    cmocka_unit_test(members_and_pointers),
        cmocka_unit_test(unescape), cmocka_unit_test(values_round_trip),
        cmocka_unit_test(one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
