#include "store/core/jump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

enum { LIST = 200000 };

/* Myers' own rule builds the same pointers: as far as the jump of the predecessor and the one behind it are of one length,
 * they are joined, otherwise the predecessor is the target. */
static void the_target_is_the_one_of_myers_rule(void **unused)
{
    (void)unused;
    uint32_t *jump = calloc(LIST, sizeof *jump);
    assert_non_null(jump);
    for (uint32_t d = 1; d < LIST; d++) {
        uint32_t p = d - 1;
        jump[d] = p - jump[p] == jump[p] - jump[jump[p]] ? jump[jump[p]] : p;
        assert_int_equal(jump_depth(d), jump[d]);
    }
    free(jump);
}

static void every_depth_leads_to_a_smaller_one(void **unused)
{
    (void)unused;
    assert_int_equal(jump_depth(0), 0);
    assert_int_equal(jump_depth(UINT32_MAX), 0);
    assert_int_equal(jump_depth(UINT32_MAX - 1), UINT32_MAX / 2);
    for (uint32_t d = 1; d < LIST; d++)
        assert_true(jump_depth(d) < d);
}

static void any_element_is_found_in_few_steps(void **unused)
{
    (void)unused;
    for (uint32_t want = 0; want < LIST; want += 97) {
        unsigned steps = 0;
        for (uint32_t at = LIST - 1; at != want; steps++)
            at = jump_depth(at) >= want ? jump_depth(at) : at - 1;
        assert_true(steps <= 3 * 17 - 2); /* three times the binary logarithm */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_is_the_one_of_myers_rule),
        cmocka_unit_test(every_depth_leads_to_a_smaller_one),
        cmocka_unit_test(any_element_is_found_in_few_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
