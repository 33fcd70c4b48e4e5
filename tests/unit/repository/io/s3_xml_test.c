/* S3's XML: what is found in it, and what is refused. */
#include "repository/io/s3_xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

struct seen {
    char all[400];
    int stop_at, n;
};

static int note(void *arg, const char *path, const char *text)
{
    struct seen *s = arg;
    size_t at = strlen(s->all);
    (void)snprintf(s->all + at, sizeof s->all - at, "%s=%s;", path, text);
    return ++s->n == s->stop_at ? 7 : 0;
}

static void each_element_is_told_when_it_ends(void **state)
{
    (void)state;
    static const char text[] = "<?xml version=\"1.0\"?>\n<A xmlns=\"http://s3\"><B><C>x &amp; y</C>"
                               "<D/></B><B>2</B></A>";
    struct seen s = {.all = ""};
    assert_int_equal(s3_xml_read(bytes_str(text), note, &s, NULL), 0);
    assert_string_equal(s.all, "A/B/C=x & y;A/B/D=;A/B=;A/B=2;A=;");
    struct seen stopped = {.stop_at = 2};
    assert_int_equal(s3_xml_read(bytes_str(text), note, &stopped, NULL), 7);
    assert_int_equal(stopped.n, 2);
}

static void what_is_no_answer_is_refused(void **state)
{
    (void)state;
    struct seen s = {.all = ""};
    struct err e = ERR_NONE;
    char deep[2000] = "";
    assert_int_equal(s3_xml_read(bytes_str("<A><B></A>"), note, &s, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "line 1: mismatched tag"));
    assert_int_equal(s3_xml_read(bytes_str(""), note, &s, &e), ERR_FORMAT);
    assert_int_equal(
        s3_xml_read(bytes_str("<!DOCTYPE A [<!ENTITY x \"y\">]><A>&x;</A>"), note, &s, &e),
        ERR_FORMAT);
    assert_non_null(strstr(e.text, "a document type"));
    for (int i = 0; i < 400; i++)
        memcpy(deep + (size_t)4 * (size_t)i, "<ab>", 5);
    assert_int_equal(s3_xml_read(bytes_str(deep), note, &s, &e), ERR_FORMAT);
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    char text[3000];
    struct seen s = {.all = ""};
    int n = snprintf(text, sizeof text, "<A>%02000d</A>", 1);
    assert_int_equal(s3_xml_read(bytes_of(text, (size_t)n), note, &s, NULL), 0);
    assert_int_equal(s.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_element_is_told_when_it_ends),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(a_long_text_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
