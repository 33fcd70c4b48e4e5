/* How far a load is: written and read without loss, and never read out of a record that is something else. */
#include "tools/load_progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void progress_is_read_as_it_was_written(void **state)
{
    (void)state;
    const struct load_progress p = {.lines = UINT64_MAX / 2,
                                    .offset = UINT64_MAX / 2,
                                    .crc = UINT32_MAX,
                                    .open_end = true,
                                    .records = UINT64_MAX / 2,
                                    .rejected = UINT64_MAX / 2,
                                    .rejects_bytes = UINT64_MAX / 2,
                                    .done = true};
    struct load_progress back;
    struct err e = ERR_NONE;
    char text[LOAD_PROGRESS_BYTES];
    size_t n = load_progress_write(&p, text);
    assert_true(n < sizeof text);
    assert_int_equal(load_progress_read(bytes_of(text, n), &back, &e), 0);
    assert_int_equal(back.lines, p.lines);
    assert_int_equal(back.offset, p.offset);
    assert_int_equal(back.crc, p.crc);
    assert_int_equal(back.records, p.records);
    assert_int_equal(back.rejected, p.rejected);
    assert_int_equal(back.rejects_bytes, p.rejects_bytes);
    assert_true(back.open_end && back.done);
}

static void a_record_of_something_else_is_no_progress(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "not JSON",
        "{\"lines\":-1,\"offset\":0,\"crc32c\":0,\"open_end\":false,\"records\":0,\"rejected\":0,"
        "\"rejects_bytes\":0,\"done\":false}",
        "{\"lines\":1,\"offset\":0,\"crc32c\":4294967296,\"open_end\":false,\"records\":0,"
        "\"rejected\":0,\"rejects_bytes\":0,"
        "\"done\":false}",
        "{\"lines\":1,\"lines\":2,\"offset\":0,\"crc32c\":0,\"open_end\":false,\"records\":0,"
        "\"rejected\":0,\"rejects_bytes\":0,"
        "\"done\":false}",
        "{\"lines\":1,\"offset\":0,\"crc32c\":0,\"open_end\":0,\"records\":0,\"rejected\":0,"
        "\"rejects_bytes\":0,\"done\":false}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct load_progress p;
        struct err e = ERR_NONE;
        if (load_progress_read(bytes_str(bad[i]), &p, &e) != ERR_FORMAT)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(strstr(e.text, "--name"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_is_read_as_it_was_written),
        cmocka_unit_test(a_record_of_something_else_is_no_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
