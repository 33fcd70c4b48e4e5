/* The path of a transaction through the store, in a steady state: salt, log and overlay allocate nothing for it. What is left
 * is the state's (LMDB) and what belongs to a segment, not to a transaction. */
#include "store/io/salts.h"
#include "store/log.h"
#include "store/overlay.h"

#include "tests/unit/count_mallocs.h"
#include "tests/unit/store/io/state_kit.h"

static void ten_thousand_transactions_allocate_nothing_of_their_own(void **state)
{
    (void)state;
    enum { WARM = 20000, MEASURED = 10000, IN_FLIGHT = 4000, AT_ONCE = 50 };
    char dir[64];
    struct history h = {.n = 0};
    struct log *log;
    struct overlay *o = overlay_new(1);
    static struct salts salts;
    kit_dir_new(dir);
    for (unsigned i = 0; i < WARM + MEASURED; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%05u", i % 7000);
        history_put(&h, "land", key, "a value of some forty bytes, as they often are");
    }
    const struct entry_position zero = {.lsn = {0}};
    must(log_open(&log,
                  &(struct log_options){.dir = dir,
                                        .cluster_id = h.v[0].header.cluster_id,
                                        .segment_bytes = 4 << 20,
                                        .memory_bytes = 4 << 20},
                  &zero, &e));
    unsigned long before = 0;
    for (size_t i = 0; i < h.n; i += AT_ONCE) {
        uint8_t salt[ENTRY_SALT_BYTES];
        if (i == WARM)
            before = mallocs;
        int rc;
        while ((rc = log_append(log, h.v + i, AT_ONCE, NULL)) == ERR_BUSY)
            (void)usleep(1000);
        assert_int_equal(rc, 0);
        for (size_t k = i; k < i + AT_ONCE; k++) {
            must(salts_next(&salts, salt, &e));
            must(overlay_add(o, &h.v[k], &e));
        }
        if (i >= IN_FLIGHT) /* as much as an applier takes at once */
            overlay_drop(o, (struct lsn){i % IN_FLIGHT == 0 ? i : 0});
    }
    unsigned long made = mallocs - before;
    print_message("%lu allocations for %d transactions\n", made, MEASURED);
    assert_true(made < MEASURED / 100);
    must(log_close(log, &e));
    overlay_free(o);
    history_free(&h);
    kit_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_transactions_allocate_nothing_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
