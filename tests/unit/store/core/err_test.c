#include "store/core/err.h"

#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void set_keeps_code_and_text(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    assert_int_equal(err_set(&e, ERR_IO, "disk %d: %s", 3, "gone"), ERR_IO);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.text, "disk 3: gone");
    assert_int_equal(err_set(NULL, ERR_LIMIT, "nobody listens"), ERR_LIMIT);
}

static void wrapping_puts_context_in_front(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    (void)err_set(&e, ERR_FORMAT, "tag mismatch");
    assert_int_equal(err_wrap(&e, "frame %d", 7), ERR_FORMAT);
    assert_int_equal(err_wrap(&e, "restore to lsn %d", 42), ERR_FORMAT);
    assert_string_equal(e.text, "restore to lsn 42: frame 7: tag mismatch");
    assert_int_equal(err_wrap(NULL, "x"), ERR_FAILED);
}

static void advice_comes_last(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    (void)err_set(&e, ERR_IO, "cannot sync");
    assert_int_equal(err_advise(&e, "look at the disk"), ERR_IO);
    (void)err_wrap(&e, "log");
    assert_string_equal(e.text, "log: cannot sync; look at the disk");
    assert_int_equal(err_advise(NULL, "x"), ERR_FAILED);
}

static void a_long_message_is_cut_never_overrun(void **state)
{
    (void)state;
    struct {
        struct err e;
        char guard[8];
    } s = {.guard = "guarded"};
    char longer[2 * ERR_TEXT_BYTES];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    (void)err_set(&s.e, ERR_IO, "%s", longer);
    assert_int_equal(strlen(s.e.text), ERR_TEXT_BYTES - 1);
    (void)err_wrap(&s.e, "outer");
    assert_int_equal(strlen(s.e.text), ERR_TEXT_BYTES - 1);
    assert_int_equal(memcmp(s.e.text, "outer: x", 8), 0);
    (void)err_wrap(&s.e, "%s", longer);
    assert_int_equal(strlen(s.e.text), ERR_TEXT_BYTES - 1);
    (void)err_advise(&s.e, longer);
    assert_int_equal(strlen(s.e.text), ERR_TEXT_BYTES - 1);
    assert_string_equal(s.guard, "guarded");
}

static void each_code_has_a_name_and_an_exit_code_of_the_manual(void **state)
{
    (void)state;
    const int codes[] = {
#define X(code, value, name, exit) code,
        ERR_TABLE(X)
#undef X
    };
    const size_t n = sizeof codes / sizeof codes[0];
    for (size_t i = 0; i < n; i++) {
        assert_true(codes[i] < 0);
        assert_in_range(err_exit_code(codes[i]), 1, 9);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(codes[i], codes[j]);
            assert_string_not_equal(err_name(codes[i]), err_name(codes[j]));
        }
    }
    assert_string_equal(err_name(ERR_NOT_PRIMARY), "not-primary");
    assert_int_equal(err_exit_code(ERR_NOT_PRIMARY), 6);
    assert_int_equal(err_exit_code(ERR_INTEGRITY), 7);
    assert_int_equal(err_exit_code(ERR_OUTCOME_UNKNOWN), 9);
    assert_string_equal(err_name(0), "ok");
    assert_int_equal(err_exit_code(0), 0);
    assert_string_equal(err_name(-999), "failed");
    assert_int_equal(err_exit_code(-999), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_keeps_code_and_text),
        cmocka_unit_test(wrapping_puts_context_in_front),
        cmocka_unit_test(advice_comes_last),
        cmocka_unit_test(advice_comes_last),
        cmocka_unit_test(a_long_message_is_cut_never_overrun),
        cmocka_unit_test(each_code_has_a_name_and_an_exit_code_of_the_manual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
