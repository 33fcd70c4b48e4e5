#include "repository/core/bag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static char out[16384];

/* What is written by `call`, with `w` as the writer. */
#define WRITTEN(call)                                                                              \
    ({                                                                                             \
        struct writer w = writer_of(out, sizeof out - 1);                                          \
        call;                                                                                      \
        assert_false(w.bad);                                                                       \
        out[w.at] = '\0';                                                                          \
        out;                                                                                       \
    })

static void a_line_of_a_manifest_stays_one_line(void **state)
{
    (void)state;
    assert_string_equal(WRITTEN(bag_manifest_line(&w, "ab12", bytes_str("data/records.jsonl"))),
                        "ab12  data/records.jsonl\n");
    assert_string_equal(WRITTEN(bag_manifest_line(&w, "ab12", bytes_str("data/a\r\nb%0A c"))),
                        "ab12  data/a%0D%0Ab%250A c\n");
}

static void a_proof_is_named_by_its_line_and_sorts_by_it(void **state)
{
    (void)state;
    char a[BAG_NAME_BYTES];
    char b[BAG_NAME_BYTES];
    bag_proof_name(9, (struct lsn){1000}, a);
    bag_proof_name(10, (struct lsn){2}, b);
    assert_string_equal(a, "data/proofs/0000000009-1000.tlog-proof");
    assert_true(strcmp(a, b) < 0);
    bag_proof_name(UINT64_MAX, (struct lsn){UINT64_MAX}, a);
    assert_string_equal(a, "data/proofs/18446744073709551615-18446744073709551615.tlog-proof");
}

static void a_value_of_bag_info_is_one_line_of_text(void **state)
{
    (void)state;
    char long_text[1001];
    memset(long_text, 'x', sizeof long_text);
    assert_true(bag_info_value(bytes_str("Land Registry: \xe0\xa4\xad\xe0\xa5\x82")));
    assert_true(bag_info_value(bytes_of(long_text, 1000)));
    assert_false(bag_info_value(bytes_of(long_text, 1001)));
    assert_false(bag_info_value(bytes_str("")));
    assert_false(bag_info_value(bytes_str("a\nPayload-Oxum: 0.0")));
    assert_false(bag_info_value(bytes_str("a\rb")));
    assert_false(bag_info_value(bytes_str("a\x7f")));
    assert_false(bag_info_value(bytes_str("\xff")));
}

static const char *xml(const void *p, size_t n)
{
    return WRITTEN(bag_xml_text(&w, bytes_of(p, n)));
}
#define XML(literal) xml(literal, sizeof(literal) - 1)

static void no_bytes_are_markup_or_break_xml(void **state)
{
    (void)state;
    assert_string_equal(XML("<a b=\"c\">&amp;"), "&lt;a b=&quot;c&quot;&gt;&amp;amp;");
    assert_string_equal(XML("\xe0\xa4\xad \xf0\x9f\x98\x80"), "\xe0\xa4\xad \xf0\x9f\x98\x80");
    assert_string_equal(XML("a\0b\n\r\t\x1f\x7f%"), "a%00b%0A%0D%09%1F%7F%25");
    assert_string_equal(XML("\xff\xc3("), "%FF%C3(");
    assert_string_equal(XML("\xed\xa0\x80"), "%ED%A0%80");           /* half a surrogate pair */
    assert_string_equal(XML("\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd"), /* U+FFFE, U+FFFF, U+FFFD */
                        "%EF%BF%BE%EF%BF%BF\xef\xbf\xbd");
    assert_string_equal(XML(""), "");
}

static void one_byte_becomes_at_most_six(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        uint8_t byte = (uint8_t)c;
        struct writer w = writer_of(out, 6);
        bag_xml_text(&w, bytes_of(&byte, 1));
        assert_false(w.bad);
        assert_true(w.at >= 1);
    }
}

static void premis_says_what_it_was_given_and_escapes_it(void **state)
{
    (void)state;
    const struct bag_object o = {"data/x", "5a", "b5", "JSON Lines", 42};
    const char *text = WRITTEN(bag_premis_object(&w, &o));
    assert_non_null(strstr(text, "<objectIdentifierValue>data/x</objectIdentifierValue>"));
    assert_non_null(strstr(text, "<messageDigestAlgorithm>SHA-256</messageDigestAlgorithm>"
                                 "<messageDigest>5a</messageDigest>"));
    assert_non_null(strstr(text, "<messageDigestAlgorithm>SHA-512</messageDigestAlgorithm>"
                                 "<messageDigest>b5</messageDigest>"));
    assert_non_null(strstr(text, "<size>42</size>"));
    assert_non_null(strstr(text, "<formatName>JSON Lines</formatName>"));
    const struct bag_event event = {7,     "ingestion", "2026-11-27T00:00:00.000000Z",
                                    "log", "data/x",    bytes_str("wrote </event>\n")};
    text = WRITTEN(bag_premis_event(&w, &event));
    assert_non_null(strstr(text, "<eventIdentifierValue>event-7</eventIdentifierValue>"));
    assert_non_null(strstr(text, "<eventType>ingestion</eventType>"
                                 "<eventDateTime>2026-11-27T00:00:00.000000Z</eventDateTime>"));
    assert_non_null(strstr(text, "<eventDetail>wrote &lt;/event&gt;%0A</eventDetail>"));
    assert_non_null(strstr(text, "<linkingAgentIdentifierValue>log<"));
    assert_non_null(strstr(text, "<linkingObjectIdentifierValue>data/x<"));
    text = WRITTEN(bag_premis_agent(&w, "organization", bytes_str("A & B"), "organization"));
    assert_non_null(strstr(text, "<agentName>A &amp; B</agentName>"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_a_manifest_stays_one_line),
        cmocka_unit_test(a_proof_is_named_by_its_line_and_sorts_by_it),
        cmocka_unit_test(a_value_of_bag_info_is_one_line_of_text),
        cmocka_unit_test(no_bytes_are_markup_or_break_xml),
        cmocka_unit_test(one_byte_becomes_at_most_six),
        cmocka_unit_test(premis_says_what_it_was_given_and_escapes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
