/* Waiting for an index: when it is there, when it never will be, and when the answer is too old to tell. */
#include "tools/index_wait.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

/* One look at an answer of a state at `lsn` with these indexes (JSON with ' for "). */
static int look(struct index_wait *w, int lsn, const char *indexes, struct err *e)
{
    char text[1024];
    (void)snprintf(text, sizeof text, "{'site':'dc','lsn':%d,'indexes':[%s]}", lsn, indexes);
    for (char *p = text; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *reply = json_loads(text, 0, NULL);
    assert_non_null(reply);
    *e = (struct err)ERR_NONE;
    int rc = index_wait_look(w, reply, e);
    json_decref(reply);
    return rc;
}

#define PLAIN(status) "{'name':'x','unique':false,'enforced':false,'status':'" status "'}"
#define UNIQUE(enforced, n, example)                                                               \
    "{'name':'x','unique':true,'enforced':" enforced ",'status':'ready','duplicates':" n           \
    ",'example':" example "}"

static void it_is_done_when_it_is_ready_and_a_unique_one_when_it_is_enforced(void **state)
{
    (void)state;
    struct err e;
    struct index_wait w = {.name = "x", .lsn = 9};
    assert_int_equal(look(&w, 9, PLAIN("ready"), &e), 1);
    assert_int_equal(look(&w, 9, "{'name':'y','status':'building'}," PLAIN("ready"), &e), 1);
    assert_int_equal(
        look(&w, 9, "{'name':'x','status':'building','passed':3,'records':70,'rows':2}", &e), 0);
    assert_true(w.passed == 3 && w.records == 70);
    w.unique = true;
    assert_int_equal(look(&w, 9, UNIQUE("false", "0", "null"), &e), 0);
    assert_int_equal(look(&w, 10, UNIQUE("true", "0", "null"), &e), 1);
}

/* The primary acknowledges what its state does not show yet: an older one of that name is still there, or none. */
static void a_state_before_the_declaration_tells_nothing(void **state)
{
    (void)state;
    struct err e;
    struct index_wait w = {.name = "x", .lsn = 9};
    assert_int_equal(look(&w, 8, PLAIN("ready"), &e), 0);
    assert_int_equal(look(&w, 8, PLAIN("dropping"), &e), 0);
    assert_int_equal(look(&w, 8, "", &e), 0);
    assert_int_equal(look(&w, 9, PLAIN("dropping") "," PLAIN("building"), &e), 0);
    assert_int_equal(look(&w, 9, PLAIN("dropping") "," PLAIN("ready"), &e), 1);
}

static void one_that_is_dropped_meanwhile_is_not_waited_for(void **state)
{
    (void)state;
    struct err e;
    struct index_wait w = {.name = "x", .lsn = 9};
    assert_int_equal(look(&w, 9, "{'name':'y','status':'ready'}", &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "index 'x' was dropped while it was waited for");
    assert_int_equal(look(&w, 12, PLAIN("dropping"), &e), ERR_NOT_FOUND);
    w.unique = true; /* this would never be enforced */
    assert_int_equal(look(&w, 12, PLAIN("ready"), &e), ERR_NOT_FOUND);
    assert_string_equal(
        e.text, "index 'x' was dropped and declared anew, not as unique, while it was waited for");
}

static void one_that_the_site_cannot_keep_says_why(void **state)
{
    (void)state;
    struct err e;
    struct index_wait w = {.name = "x", .lsn = 9};
    assert_int_equal(look(&w, 9, "{'name':'x','status':'invalid','why':'it is no JSON'}", &e),
                     ERR_FAILED);
    assert_string_equal(e.text, "the site cannot keep it: it is no JSON");
}

static void duplicates_are_believed_when_they_stay(void **state)
{
    (void)state;
    struct err e;
    struct index_wait w = {.name = "x", .unique = true, .lsn = 9};
    for (int i = 0; i < 4; i++)
        assert_int_equal(look(&w, 9, UNIQUE("false", "2", "['a','b']"), &e), 0);
    assert_int_equal(look(&w, 9, UNIQUE("false", "0", "null"), &e), 0); /* and from the start */
    for (int i = 0; i < 4; i++)
        assert_int_equal(look(&w, 9, UNIQUE("false", "1", "['a','b']"), &e), 0);
    assert_int_equal(look(&w, 9, UNIQUE("false", "1", "['a','b']"), &e), ERR_UNIQUE);
    assert_string_equal(
        e.text, "it is built, but 1 record has a value that another has already, as 'a' and 'b': "
                "until they are changed it is not enforced, then it is by itself");
    /* Keys that are no text are not shown. */
    assert_int_equal(look(&w, 9, UNIQUE("false", "2", "['a',{'base64':'/w=='}]"), &e), ERR_UNIQUE);
    assert_string_equal(e.text,
                        "it is built, but 2 records have a value that another has already: until "
                        "they are changed it is not enforced");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_done_when_it_is_ready_and_a_unique_one_when_it_is_enforced),
        cmocka_unit_test(a_state_before_the_declaration_tells_nothing),
        cmocka_unit_test(one_that_is_dropped_meanwhile_is_not_waited_for),
        cmocka_unit_test(one_that_the_site_cannot_keep_says_why),
        cmocka_unit_test(duplicates_are_believed_when_they_stay),
    };
    return cmocka_run_group_tests_name("index_wait", tests, NULL, NULL);
}
