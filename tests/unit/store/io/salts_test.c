/* Salts drawn many at a time. The generator is this file's. */
#include "store/io/salts.h"

#include <openssl/rand.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static unsigned asked;
static bool fails;
static uint64_t counter;

/* In place of OpenSSL's: distinct numbers, so that a salt that is given out twice is seen. */
int RAND_bytes(unsigned char *p, int n)
{
    asked++;
    for (int i = 0; i + 8 <= n; i += 8) {
        uint64_t v = ++counter * 0x9e3779b97f4a7c15u;
        memcpy(p + i, &v, 8);
    }
    return fails ? 0 : 1;
}

static bool is_zero(const struct salts *s)
{
    static const struct salts zero;
    return memcmp(s, &zero, sizeof zero) == 0;
}

static void no_salt_is_given_out_twice_and_the_generator_is_seldom_asked(void **state)
{
    (void)state;
    enum { N = 3 * SALTS_DRAWN };
    static struct salts salts;
    static uint8_t out[N][ENTRY_SALT_BYTES];
    asked = 0;
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(salts_next(&salts, out[i], NULL), 0);
    assert_int_equal(asked, 3);
    for (unsigned i = 0; i < N; i++)
        for (unsigned k = 0; k < i; k++)
            assert_memory_not_equal(out[i], out[k], ENTRY_SALT_BYTES);
}

static void what_was_given_out_or_is_left_is_wiped(void **state)
{
    (void)state;
    static struct salts salts;
    uint8_t out[ENTRY_SALT_BYTES];
    for (unsigned i = 0; i < SALTS_DRAWN; i++)
        assert_int_equal(salts_next(&salts, out, NULL), 0);
    assert_true(is_zero(&salts));
    assert_int_equal(salts_next(&salts, out, NULL), 0);
    assert_false(is_zero(&salts));
    salts_wipe(&salts);
    assert_true(is_zero(&salts));
}

static void a_generator_that_fails_gives_no_salt(void **state)
{
    (void)state;
    static struct salts salts;
    uint8_t out[ENTRY_SALT_BYTES];
    struct err e = ERR_NONE;
    fails = true;
    assert_int_equal(salts_next(&salts, out, &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "nothing can be written"));
    assert_int_equal(salts_next(&salts, out, &e), ERR_FAILED);
    fails = false;
    assert_int_equal(salts_next(&salts, out, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_salt_is_given_out_twice_and_the_generator_is_seldom_asked),
        cmocka_unit_test(what_was_given_out_or_is_left_is_wiped),
        cmocka_unit_test(a_generator_that_fails_gives_no_salt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
