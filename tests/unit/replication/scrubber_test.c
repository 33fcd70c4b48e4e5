/* The scrub of a running site: a pass reads all records, finds what is whole whole, and reads no faster than it may. */
#include "tests/unit/replication/site_kit.h"

enum { RECORDS = 24, VALUE = 64 << 10, RATE = 1 << 20 };

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* What status says of the scrub; 0 while the site does not answer yet. */
static json_int_t scrub_field(struct tvn *db, const char *name)
{
    struct tvn_error e;
    char *reply;
    if (tvn_admin(db, "status", NULL, 0, &reply, &e) != 0)
        return 0;
    json_t *status = json_loads(reply, 0, NULL);
    tvn_free(reply);
    const json_t *self = json_array_get(json_object_get(status, "sites"), 0);
    const json_t *scrub = json_object_get(self, "scrub");
    const json_int_t v = json_integer_value(json_object_get(scrub, name));
    json_decref(status);
    return v;
}

static void a_pass_keeps_its_budget_of_bytes_a_second(void **state)
{
    (void)state;
    static char value[VALUE + 1];
    struct running site;
    memset(value, 'v', VALUE);
    make_and_start("scrub", &site); /* without a scrub */
    struct tvn *db = connect_with(NULL);
    for (unsigned i = 0; i < RECORDS; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%u", i);
        (void)put(db, key, value);
    }
    tvn_close(db);
    stop(&site);

    config.scrub_bytes = RATE;
    config.scrub_ms = 3600 * 1000;
    const uint64_t began = now_ms();
    start(&site);
    db = connect_with(NULL);
    while (scrub_field(db, "passes") == 0) {
        assert_true(now_ms() - began < 60000);
        (void)usleep(20000);
    }
    const uint64_t took = now_ms() - began, bytes = (uint64_t)scrub_field(db, "last_pass_bytes");
    print_message("%llu bytes in %llu ms\n", (unsigned long long)bytes, (unsigned long long)took);
    assert_true(bytes >= (uint64_t)RECORDS * VALUE);
    assert_true(took >= bytes * 1000 / RATE * 3 / 4); /* behind the last step it does not wait */
    assert_int_equal(scrub_field(db, "damaged"), 0);
    tvn_close(db);
    stop(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_keeps_its_budget_of_bytes_a_second),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
