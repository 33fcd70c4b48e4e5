#include "store/core/hex.h"

#include "store/core/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void hex_is_strict(void **state)
{
    (void)state;
    uint8_t b[2];
    char text[5];
    assert_int_equal(hex_parse("0aff", b, 2), 0);
    assert_int_equal(b[0], 0x0a);
    assert_int_equal(b[1], 0xff);
    hex_format(b, sizeof b, text);
    assert_string_equal(text, "0aff");
    assert_int_equal(hex_parse("", b, 0), 0);
    static const char *const bad[] = {"", "0", "0a", "0af", "0afff", "0AFF", "0a f", "0afg"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(hex_parse(bad[i], b, 2), ERR_FORMAT);
}

static void a_uuid_has_one_form(void **state)
{
    (void)state;
    struct uuid u = {{0}}, before;
    char text[UUID_TEXT_BYTES];
    assert_int_equal(uuid_of_text("C1020304-0506-0708-090a-0b0c0d0e0fFF", &u), 0);
    assert_int_equal(u.b[0], 0xc1);
    assert_int_equal(u.b[15], 0xff);
    assert_string_equal(uuid_text(&u, text), "c1020304-0506-0708-090a-0b0c0d0e0fff");
    static const char *const bad[] = {
        "",
        "c10203040506-0708-090a-0b0c0d0e0fff",
        "c1020304-0506-0708-090a-0b0c0d0e0fff0",
        "c1020304-0506-0708-090a-0b0c0d0e0ff",
        "c10203040-506-0708-090a-0b0c0d0e0fff",
        "c1020304-0506-0708-090a-0b0c0d0e0ffg",
        "c1020304-0506-0708-090a-0b0c0d0e-fff",
        "c1020304050600708-090a-0b0c0d0e0ffff",
        "{c1020304-0506-0708-090a-0b0c0d0e0ff",
    };
    before = u;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(uuid_of_text(bad[i], &u), ERR_FORMAT);
    assert_true(uuid_equal(&u, &before));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hex_is_strict),
        cmocka_unit_test(a_uuid_has_one_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
