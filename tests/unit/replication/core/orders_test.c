/* R7: which orders of an operator are carried out. */
#include "replication/core/orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct orders o;
static struct order *got;
static struct err e;
static int asker;
static const struct utc now = {UINT64_C(1800000000000000)};

static int begin(void **state)
{
    (void)state;
    o = (struct orders){0};
    e = (struct err)ERR_NONE;
    return 0;
}

static struct order_terms asked(const char *nonce)
{
    return (struct order_terms){true, {5}, bytes_str(nonce), {now.us + 60000000}};
}

static int admit(struct order_terms terms, uint64_t term, uint64_t later_us)
{
    return orders_admit(&o, "switchover", &terms, (struct term){term},
                        (struct utc){now.us + later_us}, &got, &e);
}

static void an_order_without_what_it_expects_is_refused(void **state)
{
    (void)state;
    struct order_terms none = {0}, no_term = asked("0123456789abcdef"), no_nonce = no_term,
                       no_expiry = no_term;
    no_term.has_term = false;
    no_nonce.nonce.n = 0;
    no_expiry.expires.us = 0;
    assert_int_equal(admit(none, 5, 0), ERR_USAGE);
    assert_int_equal(admit(no_term, 5, 0), ERR_USAGE);
    assert_int_equal(admit(no_nonce, 5, 0), ERR_USAGE);
    assert_int_equal(admit(no_expiry, 5, 0), ERR_USAGE);
    assert_non_null(strstr(e.text, "switchover needs term, nonce and expires_us"));
    assert_int_equal(admit(asked("short"), 5, 0), ERR_USAGE);
    assert_int_equal(admit(asked("with a blank in it"), 5, 0), ERR_USAGE);
    assert_int_equal(o.pending, 0);
}

static void an_order_for_another_term_does_nothing(void **state)
{
    (void)state;
    assert_int_equal(admit(asked("0123456789abcdef"), 6, 0), ERR_CONDITION);
    assert_non_null(strstr(e.text, "ordered for term 5, and this site is in term 6"));
    assert_int_equal(admit(asked("0123456789abcdef"), 5, 0), 0); /* it is not remembered either */
}

static void an_order_that_expired_does_nothing(void **state)
{
    (void)state;
    assert_int_equal(admit(asked("0123456789abcdef"), 5, 63000000), ERR_TIMEOUT);
    assert_non_null(strstr(e.text, "expired 3 s ago"));
    struct order_terms forever = asked("0123456789abcdef");
    forever.expires.us = now.us + UINT64_C(601000000);
    assert_int_equal(admit(forever, 5, 0), ERR_USAGE);
    assert_non_null(strstr(e.text, "600 s at most"));
}

/* The first has changed the term, so the repeat must be known before its term is looked at. */
static void a_repeat_is_answered_as_the_first_time(void **state)
{
    (void)state;
    assert_int_equal(admit(asked("0123456789abcdef"), 5, 0), 0);
    got->asker = &asker;
    got->request = 7;
    assert_int_equal(admit(asked("0123456789abcdef"), 5, 1), ERR_BUSY);
    assert_false(orders_answered(&o, &asker, 8, 0, "another request"));
    assert_false(orders_answered(&o, &o, 7, 0, "another asker"));
    assert_true(orders_answered(&o, &asker, 7, ERR_FAILED, "dr did not catch up"));
    assert_false(orders_answered(&o, &asker, 7, 0, "twice"));
    assert_int_equal(admit(asked("0123456789abcdef"), 6, 2), 1);
    assert_int_equal(got->code, ERR_FAILED);
    assert_string_equal(got->answer, "dr did not catch up");
    assert_int_equal(admit(asked("another-nonce-16"), 5, 2), 0);
}

static void not_now_is_no_answer(void **state)
{
    (void)state;
    static const int codes[] = {ERR_NOT_PRIMARY, ERR_BUSY};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(admit(asked("0123456789abcdef"), 5, 0), 0);
        got->asker = &asker;
        assert_true(orders_answered(&o, &asker, 0, codes[i], "not now"));
    }
    assert_int_equal(admit(asked("0123456789abcdef"), 5, 0), 0);
}

static void what_is_remembered_is_bounded_and_forgotten_when_it_expires(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ORDERS_KEPT; i++) {
        char nonce[32];
        (void)snprintf(nonce, sizeof nonce, "nonce-number-%06u", i);
        assert_int_equal(admit(asked(nonce), 5, 0), 0);
        got->asker = &asker;
        got->request = i;
    }
    assert_int_equal(admit(asked("0123456789abcdef"), 5, 0), ERR_BUSY);
    assert_non_null(strstr(e.text, "64 orders are remembered"));
    assert_true(orders_answered(&o, &asker, 0, 0, "{}"));
    assert_int_equal(orders_forget(&o, (struct utc){now.us + 59000000}).state, ORDER_FREE);
    unsigned pending = 0, answered = 0;
    for (struct order k;
         (k = orders_forget(&o, (struct utc){now.us + 60000000})).state != ORDER_FREE;) {
        pending += k.state == ORDER_PENDING && k.asker == &asker;
        answered += k.state == ORDER_ANSWERED;
    }
    assert_int_equal(pending, ORDERS_KEPT - 1);
    assert_int_equal(answered, 1);
    assert_int_equal(o.pending, 0);
    assert_int_equal(admit(asked("0123456789abcdef"), 5, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_order_without_what_it_expects_is_refused, begin),
        cmocka_unit_test_setup(an_order_for_another_term_does_nothing, begin),
        cmocka_unit_test_setup(an_order_that_expired_does_nothing, begin),
        cmocka_unit_test_setup(a_repeat_is_answered_as_the_first_time, begin),
        cmocka_unit_test_setup(not_now_is_no_answer, begin),
        cmocka_unit_test_setup(what_is_remembered_is_bounded_and_forgotten_when_it_expires, begin),
    };
    return cmocka_run_group_tests_name("orders", tests, NULL, NULL);
}
