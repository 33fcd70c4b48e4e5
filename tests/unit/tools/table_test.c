/* Table layout, and that data cannot steer a terminal. */
#include "tools/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const heads[] = {"NAME", ">LSN", "NOTE"};

static char *print(struct table *t)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    table_print(t, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void layout(void **state)
{
    (void)state;
    struct table t;
    table_init(&t, heads, 3);
    table_cell(&t, STYLE_GOOD, "dc");
    table_cell(&t, STYLE_NONE, "%d", 5);
    table_cell(&t, STYLE_NONE, "x");
    table_cell(&t, STYLE_NONE, "gsr-archive");
    table_cell(&t, STYLE_NONE, "%d", 12345);
    table_cell(&t, STYLE_NONE, "%s", "");
    char *text = print(&t);
    assert_string_equal(text, "NAME           LSN  NOTE\n"
                              "dc               5  x\n"
                              "gsr-archive  12345  \n");
    free(text);
    /* The next page: no heads again, columns not narrower. */
    table_cell(&t, STYLE_NONE, "a");
    table_cell(&t, STYLE_NONE, "b");
    table_cell(&t, STYLE_NONE, "c");
    text = print(&t);
    assert_string_equal(text, "a                b  c\n");
    free(text);
    table_free(&t);
}

static void heads_only(void **state)
{
    (void)state;
    struct table t;
    table_init(&t, heads, 3);
    char *text = print(&t);
    assert_string_equal(text, "NAME  LSN  NOTE\n");
    free(text);
    table_free(&t);
}

static void escapes(void **state)
{
    (void)state;
    struct table t;
    static const char *const one[] = {"VALUE"};
    table_init(&t, one, 1);
    table_bytes(&t, bytes_of("\033[2Jx\n\0\x7f\xff\xc2\x9b", 11));
    table_bytes(&t, bytes_str("\xe0\xa4\x85 ok"));
    char *text = print(&t);
    assert_string_equal(text, "VALUE\n\\x1b[2Jx\\x0a\\x00\\x7f\\xff\\xc2\\x9b\n\xe0\xa4\x85 ok\n");
    free(text);
    table_free(&t);
}

/* Long cells are cut, never inside a character. */
static void cut(void **state)
{
    (void)state;
    struct table t;
    static const char *const one[] = {"V"};
    char value[3 * 200];
    for (size_t i = 0; i < 200; i++)
        memcpy(value + 3 * i, "\xe0\xa4\x85", 3);
    table_init(&t, one, 1);
    table_bytes(&t, bytes_of(value, sizeof value));
    char *text = print(&t);
    size_t n = strlen(text);
    assert_true(n > 200 && n < 2 + TABLE_CELL_BYTES + 2);
    assert_string_equal(text + n - 4, "...\n");
    assert_int_equal((n - 2 - 4) % 3, 0);
    free(text);
    table_free(&t);
}

static void many_rows(void **state)
{
    (void)state;
    struct table t;
    table_init(&t, heads, 3);
    for (unsigned i = 0; i < 3000; i++)
        table_cell(&t, STYLE_NONE, "%u", i);
    char *text = print(&t);
    size_t lines = 0;
    for (const char *p = text; *p != '\0'; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 1001);
    free(text);
    table_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout), cmocka_unit_test(heads_only), cmocka_unit_test(escapes),
        cmocka_unit_test(cut),    cmocka_unit_test(many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
