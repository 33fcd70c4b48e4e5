/* What of a JSON document is indexed, what is not, and how declarations and bounds are read. */
#include "store/io/index_json.h"
#include "store/io/json_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

static struct index_declaration declare(const char *json)
{
    struct index_declaration d;
    struct err e = ERR_NONE;
    if (index_declaration_parse(bytes_str(json), &d, &e) != 0)
        fail_msg("%s: %s", json, e.text);
    return d;
}

static bool key_of(const struct index_declaration *d, struct bytes value, struct index_key *out)
{
    struct index_document *doc;
    assert_int_equal(index_document_open(value, &doc, NULL), 0);
    bool in = index_document_key(doc, d, out);
    index_document_close(doc);
    return in;
}

static void scalars_are_indexed_and_nothing_else(void **unused)
{
    (void)unused;
    const struct index_declaration d = declare("{\"on\":[\"/a\"]}");
    static const struct {
        const char *doc;
        const char *scalar; /* whose key as a whole document is the same; NULL: not in the index */
    } t[] = {
        {"{\"a\":\"x\"}", "\"x\""},
        {"{\"a\":1}", "1.0"},
        {"{\"a\":-0.0}", "0"},
        {"{\"a\":true}", "true"},
        {"{\"a\":false}", "false"},
        {"{\"a\":null}", NULL},
        {"{\"a\":[1]}", NULL},
        {"{\"a\":{}}", NULL},
        {"{\"b\":1}", NULL},
        {"[1]", NULL},
        {"1", NULL},
        {"", NULL},
        {"{\"a\":1", NULL},
        {"{\"a\":1} x", NULL},
        {"not JSON", NULL},
        {"{\"a\":1,\"a\":2}", "2"}, /* the last one counts */
        {"{\"a\":\"\\u0000\"}", "\"\\u0000\""},
        {"{\"a\":1e999}", NULL},
        {"{\"a\":1,\"b\":1e999}", NULL},
        {"{\"a\":18446744073709551616}", "18446744073709551616.0"},
    };
    const struct index_declaration whole = declare("{\"on\":[\"\"]}");
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct index_key a, b;
        bool in = key_of(&d, bytes_str(t[i].doc), &a);
        if (in != (t[i].scalar != NULL))
            fail_msg("%s is%s in the index", t[i].doc, in ? "" : " not");
        if (!in)
            continue;
        assert_true(key_of(&whole, bytes_str(t[i].scalar), &b));
        assert_true(bytes_equal(index_key_bytes(&a), index_key_bytes(&b)));
    }
}

static void pointers_lead_through_objects_and_arrays(void **unused)
{
    (void)unused;
    static const char doc[] = "{\"a/b\":{\"~\":[10,[20]]},\"\":1,\"0\":2}";
    static const struct {
        const char *pointer;
        double want; /* 0: nothing there */
    } t[] = {{"/a~1b/~0/0", 10}, {"/a~1b/~0/1/0", 20},
             {"/a~1b/~0/01", 0}, {"/a~1b/~0/-", 0},
             {"/a~1b/~0/2", 0},  {"/", 1},
             {"/0", 2},          {"/1", 0},
             {"/a", 0}};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char json[200];
        (void)snprintf(json, sizeof json, "{\"on\":[\"%s\"]}", t[i].pointer);
        const struct index_declaration d = declare(json);
        struct index_key k, want;
        const struct index_part part = {.kind = INDEX_NUMBER, .number = t[i].want};
        assert_int_equal(key_of(&d, bytes_str(doc), &k), t[i].want != 0);
        index_key_encode(&want, &part, 1);
        if (t[i].want != 0)
            assert_true(bytes_equal(index_key_bytes(&k), index_key_bytes(&want)));
    }
}

static void a_composite_needs_all_of_its_parts(void **unused)
{
    (void)unused;
    const struct index_declaration d = declare("{\"on\":[\"/a\",\"/b\"]}");
    struct index_key k;
    assert_true(key_of(&d, bytes_str("{\"a\":1,\"b\":\"x\"}"), &k));
    assert_int_equal(k.n, 9 + 4);
    assert_false(key_of(&d, bytes_str("{\"a\":1}"), &k));
    assert_false(key_of(&d, bytes_str("{\"a\":1,\"b\":null}"), &k));
}

static void values_above_the_limit_are_not_indexed(void **unused)
{
    (void)unused;
    const struct index_declaration d = declare("{\"on\":[\"/a\"]}");
    char *value = malloc(INDEX_VALUE_MAX_BYTES + 2);
    struct index_key k;
    assert_non_null(value);
    memset(value, ' ', INDEX_VALUE_MAX_BYTES + 2);
    memcpy(value, "{\"a\":1}", 7);
    assert_true(key_of(&d, bytes_of(value, INDEX_VALUE_MAX_BYTES), &k));
    assert_false(key_of(&d, bytes_of(value, INDEX_VALUE_MAX_BYTES + 1), &k));
    free(value);
}

static void absurd_nesting_is_refused_by_the_parser(void **unused)
{
    (void)unused;
    const struct index_declaration d = declare("{\"on\":[\"\"]}");
    static char value[200000];
    struct index_key k;
    memset(value, '[', sizeof value);
    assert_false(key_of(&d, bytes_of(value, sizeof value), &k));
}

/* ---- declarations ---- */

static void a_declaration_is_written_as_it_was_read(void **unused)
{
    (void)unused;
    static const char *const t[] = {
        "{\"on\":[\"/owner\",\"/born\"],\"unique\":true,\"enforced\":false}",
        "{\"on\":[\"\"],\"unique\":false,\"enforced\":false}",
        "{\"on\":[\"/a~1b\",\"/\",\"/x\",\"/y\"],\"unique\":true,\"enforced\":true}",
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        const struct index_declaration d = declare(t[i]);
        char *json;
        size_t n;
        assert_int_equal(index_declaration_write(&d, &json, &n, NULL), 0);
        assert_string_equal(json, t[i]);
        assert_int_equal(n, strlen(t[i]));
        free(json);
    }
    const struct index_declaration d = declare("{\"on\":[\"/a\"]}");
    assert_false(d.unique || d.enforced);
}

static void a_bad_declaration_is_refused_with_the_reason(void **unused)
{
    (void)unused;
    static const struct {
        const char *json;
        int rc;
        const char *says;
    } t[] = {
        {"", ERR_FORMAT, "no JSON"},
        {"[]", ERR_FORMAT, "no JSON object"},
        {"{}", ERR_FORMAT, "\"on\""},
        {"{\"on\":\"/a\"}", ERR_FORMAT, "\"on\""},
        {"{\"on\":[]}", ERR_LIMIT, "1 to 4"},
        {"{\"on\":[\"/a\",\"/b\",\"/c\",\"/d\",\"/e\"]}", ERR_LIMIT, "1 to 4"},
        {"{\"on\":[1]}", ERR_FORMAT, "no string"},
        {"{\"on\":[\"a\"]}", ERR_USAGE, "begins with '/'"},
        {"{\"on\":[\"/a\",\"/a\"]}", ERR_USAGE, "twice"},
        {"{\"on\":[\"/a\"],\"unique\":1}", ERR_FORMAT, "neither true nor false"},
        {"{\"on\":[\"/a\"],\"sparse\":true}", ERR_FORMAT, "\"sparse\" is unknown"},
        {"{\"on\":[\"/a\"],\"enforced\":true}", ERR_FORMAT, "not unique"},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct index_declaration d;
        struct err e = ERR_NONE;
        assert_int_equal(index_declaration_parse(bytes_str(t[i].json), &d, &e), t[i].rc);
        if (strstr(e.text, t[i].says) == NULL)
            fail_msg("%s: '%s' is not in: %s", t[i].json, t[i].says, e.text);
    }
}

/* ---- bounds ---- */

static bool in(const struct index_range *r, const struct index_declaration *d, const char *doc)
{
    struct index_key k;
    assert_true(key_of(d, bytes_str(doc), &k));
    return bytes_compare(index_key_bytes(&k), index_key_bytes(&r->low)) >= 0 &&
           (r->high.n == 0 || bytes_compare(index_key_bytes(&k), index_key_bytes(&r->high)) < 0);
}

static void bounds_are_read_from_json(void **unused)
{
    (void)unused;
    const struct index_declaration d = declare("{\"on\":[\"/a\",\"/b\"]}");
    static const struct {
        const char *equal, *from, *to, *prefix, *doc;
        bool in;
    } t[] = {
        {"", "", "", "", "{\"a\":1,\"b\":2}", true},
        {"1", "", "", "", "{\"a\":1,\"b\":2}", true},
        {"[1]", "", "", "", "{\"a\":1,\"b\":2}", true},
        {"2", "", "", "", "{\"a\":1,\"b\":2}", false},
        {"[1,2]", "", "", "", "{\"a\":1,\"b\":2}", true},
        {"[1,3]", "", "", "", "{\"a\":1,\"b\":2}", false},
        {"", "[1,2]", "", "", "{\"a\":1,\"b\":2}", true},
        {"", "[1,3]", "", "", "{\"a\":1,\"b\":2}", false},
        {"", "", "[1,2]", "", "{\"a\":1,\"b\":2}", false},
        {"", "", "[1,3]", "", "{\"a\":1,\"b\":2}", true},
        {"", "", "", "an", "{\"a\":\"ann\",\"b\":2}", true},
        {"", "", "", "bn", "{\"a\":\"ann\",\"b\":2}", false},
        {"1", "", "", "an", "{\"a\":1,\"b\":\"ann\"}", true},
        {"2", "", "", "an", "{\"a\":1,\"b\":\"ann\"}", false},
        {"1", "[1,5]", "", "", "{\"a\":1,\"b\":4}", false},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct index_range r;
        const struct index_bounds b = {bytes_str(t[i].equal), bytes_str(t[i].from),
                                       bytes_str(t[i].to), bytes_str(t[i].prefix)};
        assert_int_equal(index_range_parse(&r, &d, &b, NULL), 0);
        if (in(&r, &d, t[i].doc) != t[i].in)
            fail_msg("case %zu", i);
    }
}

static void bad_bounds_are_refused_with_the_reason(void **unused)
{
    (void)unused;
    const struct index_declaration d = declare("{\"on\":[\"/a\",\"/b\"]}");
    char text[400];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    char json[410];
    (void)snprintf(json, sizeof json, "\"%s\"", text);
    const struct {
        const char *equal, *from, *to, *prefix;
        int rc;
        const char *says;
    } t[] = {
        {"ann", "", "", "", ERR_USAGE, "equal: 'ann' is no JSON"},
        {"", "null", "", "", ERR_USAGE, "from: only strings"},
        {"", "", "[1,2,3]", "", ERR_USAGE, "to: 3 values are given, the index has 2"},
        {"", "", "[]", "", ERR_USAGE, "0 values"},
        {"[1,2]", "", "", "x", ERR_USAGE, "prefix: 'equal' bounds all"},
        {json, "", "", "", ERR_LIMIT, "equal: a bound"},
        {"", json, "", "", ERR_LIMIT, "from: a bound"},
        {"", "", json, "", ERR_LIMIT, "to: a bound"},
        {"", "", "", text, ERR_LIMIT, "prefix: a bound"},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct index_range r;
        struct err e = ERR_NONE;
        const struct index_bounds b = {bytes_str(t[i].equal), bytes_str(t[i].from),
                                       bytes_str(t[i].to), bytes_str(t[i].prefix)};
        assert_int_equal(index_range_parse(&r, &d, &b, &e), t[i].rc);
        if (strstr(e.text, t[i].says) == NULL)
            fail_msg("'%s' is not in: %s", t[i].says, e.text);
    }
}

/* ---- memory ---- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static unsigned fail_at; /* the so many-th allocation from now on; 0: none */
static bool for_ever;    /* ... and all behind it */
static unsigned failed_count;

void *__libc_malloc(size_t n);
void *malloc(size_t n)
{
    if (fail_at == 0 || (fail_at > 1 && --fail_at > 0))
        return __libc_malloc(n);
    fail_at = for_ever ? 1 : 0;
    failed_count++;
    return NULL;
}

static const char declaration[] = "{\"on\":[\"/a/1/deep\",\"/b\"],\"unique\":true}";

/* JSON that takes several allocations, for a long text and for many values. */
static char *large_document(void)
{
    static const char head[] = "{\"b\":\"\\u0041\",\"a\":[true,{\"deep\":\"",
                      middle[] = "\"}],\"c\":[", tail[] = "2]}";
    enum { TEXT = 100000, VALUES = 3000 };
    char *json = malloc(sizeof head + TEXT + sizeof middle + 2 * VALUES + sizeof tail), *at = json;
    assert_non_null(json);
    memcpy(at, head, sizeof head - 1);
    at += sizeof head - 1;
    memset(at, 'x', TEXT);
    at += TEXT;
    memcpy(at, middle, sizeof middle - 1);
    at += sizeof middle - 1;
    for (unsigned i = 0; i < VALUES; i++, at += 2)
        memcpy(at, "1,", 2);
    memcpy(at, tail, sizeof tail);
    return json;
}

/* Whatever is allocated: what could not be read is never taken for a value that is no JSON, nor for a shorter one. */
static void a_lack_of_memory_is_told_and_not_taken_for_other_json(void **unused)
{
    (void)unused;
    const struct index_declaration d = declare(declaration);
    struct index_declaration again;
    struct index_document *doc;
    struct index_range range;
    struct index_key whole, key;
    const struct index_bounds b = {.equal = bytes_str("[\"a text of more than some bytes\",1]")};
    char *document = large_document();
    assert_true(key_of(&d, bytes_str(document), &whole));
    for (unsigned kind = 0; kind < 6; kind++)
        for (unsigned tries = 0, failed = 1; failed != 0; tries++) {
            struct err e = ERR_NONE;
            failed_count = 0;
            for_ever = kind >= 3;
            fail_at = tries + 1;
            int rc = kind % 3 == 0   ? index_document_open(bytes_str(document), &doc, &e)
                     : kind % 3 == 1 ? index_declaration_parse(bytes_str(declaration), &again, &e)
                                     : index_range_parse(&range, &d, &b, &e);
            fail_at = 0;
            failed = failed_count;
            assert_int_equal(rc, failed != 0 ? ERR_NO_MEMORY : 0);
            assert_true(failed == 0 || strstr(e.text, "no memory to read") != NULL);
            assert_true(failed == 0 ? tries >= (kind % 3 == 0 ? 10 : 1) : tries < 1000);
            if (kind % 3 == 0 && failed != 0)
                assert_null(doc);
            if (kind % 3 == 0 && failed == 0) {
                assert_true(index_document_key(doc, &d, &key));
                assert_true(bytes_equal(index_key_bytes(&key), index_key_bytes(&whole)));
                index_document_close(doc);
            }
        }
    free(document);
}

/* An answer that lacks a member would look whole. */
static void what_was_built_without_memory_is_known(void **unused)
{
    (void)unused;
    unsigned failed = 1, tries = 0;
    for (; failed != 0; tries++) {
        json_memory_watch();
        failed_count = 0;
        fail_at = tries + 1;
        json_t *o = json_object();
        (void)json_object_set_new(o, "a", json_integer(1));
        (void)json_object_set_new(o, "b", json_string("two"));
        char *text = json_dumps(o, JSON_COMPACT);
        fail_at = 0;
        failed = failed_count;
        assert_int_equal(json_memory_lacked(), failed != 0);
        if (failed == 0)
            assert_string_equal(text, "{\"a\":1,\"b\":\"two\"}");
        free(text);
        json_decref(o);
    }
    assert_true(tries > 8);
    json_memory_watch();
    assert_false(json_memory_lacked());
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_are_indexed_and_nothing_else),
        cmocka_unit_test(pointers_lead_through_objects_and_arrays),
        cmocka_unit_test(a_composite_needs_all_of_its_parts),
        cmocka_unit_test(values_above_the_limit_are_not_indexed),
        cmocka_unit_test(absurd_nesting_is_refused_by_the_parser),
        cmocka_unit_test(a_declaration_is_written_as_it_was_read),
        cmocka_unit_test(a_bad_declaration_is_refused_with_the_reason),
        cmocka_unit_test(bounds_are_read_from_json),
        cmocka_unit_test(bad_bounds_are_refused_with_the_reason),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(a_lack_of_memory_is_told_and_not_taken_for_other_json),
        cmocka_unit_test(what_was_built_without_memory_is_known),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
