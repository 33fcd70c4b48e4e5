#include "repository/io/belt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MANY = 20000, LARGE = 3 << 20 };

struct both {
    uint64_t most;       /* records to make */
    size_t value_bytes;  /* of every hundredth */
    uint64_t break_at;   /* 0: making does not fail */
    uint64_t stop_at;    /* 0: taking does not */
    uint64_t made;       /* of the thread that makes */
    uint64_t refused_at; /* the record at which it was told to stop */
    uint64_t taken, told;
    uint8_t *value;
};

/* One buffer for all: what was put must not be looked at in it any more. */
static int make(void *arg, struct repo_belt *b, struct err *e)
{
    struct both *x = arg;
    char key[32];
    for (uint64_t i = 1; i <= x->most; i++) {
        if (i == x->break_at)
            return err_set(e, ERR_INTEGRITY, "record %llu is damaged", (unsigned long long)i);
        const size_t n = i % 100 == 0 ? x->value_bytes : 8;
        (void)snprintf(key, sizeof key, "key-%08llu", (unsigned long long)i);
        memset(x->value, (int)(i % 251), n);
        struct repo_snap_record r = {.type = REPO_SNAP_ROW};
        r.u.row.collection = bytes_str("deeds");
        r.u.row.key = bytes_str(key);
        r.u.row.value = bytes_of(x->value, n);
        r.u.row.lsn.v = i;
        if (i % 7 == 0) {
            r = (struct repo_snap_record){.type = REPO_SNAP_SESSION};
            r.u.session.client = bytes_str(key);
            r.u.session.opened.v = i;
        }
        int rc = repo_belt_put(b, &r, i, e);
        memset(key, 'x', sizeof key);
        x->made = i;
        if (rc != 0)
            return x->refused_at = i, rc;
    }
    return 0;
}

static int take(void *arg, const struct repo_snap_record *r)
{
    struct both *x = arg;
    char key[32];
    const uint64_t i = ++x->taken;
    (void)snprintf(key, sizeof key, "key-%08llu", (unsigned long long)i);
    if (i % 7 == 0) {
        assert_int_equal(r->type, REPO_SNAP_SESSION);
        assert_int_equal(r->u.session.opened.v, i);
        assert_true(bytes_equal(r->u.session.client, bytes_str(key)));
    } else {
        const size_t n = i % 100 == 0 ? x->value_bytes : 8;
        assert_int_equal(r->type, REPO_SNAP_ROW);
        assert_int_equal(r->u.row.lsn.v, i);
        assert_true(bytes_equal(r->u.row.collection, bytes_str("deeds")));
        assert_true(bytes_equal(r->u.row.key, bytes_str(key)));
        assert_int_equal(r->u.row.value.n, n);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(r->u.row.value.p[k], i % 251);
    }
    return i == x->stop_at ? 42 : 0;
}

static void told(void *arg, uint64_t done)
{
    struct both *x = arg;
    assert_int_equal(done, x->taken);
    x->told = done;
}

static int run(struct both *x, struct err *e)
{
    x->value = malloc(x->value_bytes + 8);
    assert_non_null(x->value);
    int rc = repo_belt_run(&(struct repo_belt_ends){make, take, told, x}, e);
    free(x->value);
    return rc;
}

static void what_is_made_is_taken_in_order_and_whole(void **state)
{
    (void)state;
    struct both x = {.most = MANY, .value_bytes = 700};
    struct err e = ERR_NONE;
    assert_int_equal(run(&x, &e), 0);
    assert_int_equal(x.taken, MANY);
    assert_int_equal(x.told, MANY);
}

static void a_value_larger_than_a_tray_gets_one(void **state)
{
    (void)state;
    struct both x = {.most = 450, .value_bytes = LARGE};
    struct err e = ERR_NONE;
    assert_int_equal(run(&x, &e), 0);
    assert_int_equal(x.taken, 450);
}

static void nothing_made_is_nothing_taken(void **state)
{
    (void)state;
    struct both x = {.most = 0};
    struct err e = ERR_NONE;
    assert_int_equal(run(&x, &e), 0);
    assert_int_equal(x.taken, 0);
}

static void who_stops_taking_stops_the_making(void **state)
{
    (void)state;
    struct both x = {.most = UINT64_MAX, .value_bytes = 700, .stop_at = 5000};
    struct err e = ERR_NONE;
    assert_int_equal(run(&x, &e), 42);
    assert_int_equal(x.taken, 5000);
    assert_true(x.refused_at == x.made && x.made >= 5000);
}

static void an_error_of_making_is_told_with_its_words(void **state)
{
    (void)state;
    struct both x = {.most = MANY, .value_bytes = 700, .break_at = 9000};
    struct err e = ERR_NONE;
    assert_int_equal(run(&x, &e), ERR_INTEGRITY);
    assert_string_equal(e.text, "record 9000 is damaged");
    assert_true(x.taken < 9000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_is_taken_in_order_and_whole),
        cmocka_unit_test(a_value_larger_than_a_tray_gets_one),
        cmocka_unit_test(nothing_made_is_nothing_taken),
        cmocka_unit_test(who_stops_taking_stops_the_making),
        cmocka_unit_test(an_error_of_making_is_told_with_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
