/* The scrub of a running site: a pass reads all records, finds what is whole whole, and reads no faster than it may. */
#include "tests/unit/replication/site_kit.h"

#include <sys/stat.h>

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

static void wait_passes(struct tvn *db, json_int_t wanted)
{
    const uint64_t began = now_ms();
    while (scrub_field(db, "passes") < wanted) {
        assert_true(now_ms() - began < 60000);
        (void)usleep(20000);
    }
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
    wait_passes(db, 1);
    const uint64_t took = now_ms() - began, bytes = (uint64_t)scrub_field(db, "last_pass_bytes");
    print_message("%llu bytes in %llu ms\n", (unsigned long long)bytes, (unsigned long long)took);
    assert_true(bytes >= (uint64_t)RECORDS * VALUE);
    assert_true(took >= bytes * 1000 / RATE * 3 / 4); /* behind the last step it does not wait */
    assert_int_equal(scrub_field(db, "damaged"), 0);
    tvn_close(db);
    stop(&site);
}

/* Does status say so of the site? */
static bool troubled(struct tvn *db, const char *part)
{
    struct tvn_error e;
    char *reply;
    if (tvn_admin(db, "status", NULL, 0, &reply, &e) != 0)
        return false;
    json_t *status = json_loads(reply, 0, NULL);
    tvn_free(reply);
    const json_t *self = json_array_get(json_object_get(status, "sites"), 0), *line;
    bool found = false;
    size_t i;
    json_array_foreach(json_object_get(self, "trouble"), i, line)
    {
        found |= strstr(json_string_value(line), part) != NULL;
    }
    json_decref(status);
    return found;
}

static void wait_troubled(struct tvn *db, bool wanted)
{
    const uint64_t began = now_ms();
    while (troubled(db, "the scrub cannot go on: ") != wanted) {
        assert_true(now_ms() - began < 30000);
        (void)usleep(20000);
    }
}

/* A step that cannot be done is neither damage nor a pass that takes its time. */
static void a_pass_that_does_not_get_on_is_trouble(void **state)
{
    (void)state;
    char path[600], aside[600];
    struct running site;
    config.scrub_bytes = 0;
    make_and_start("stuck", &site);
    struct tvn *db = connect_with(NULL);
    (void)put(db, "k", "v");
    tvn_close(db);
    stop(&site);
    config.scrub_bytes = 1 << 20;
    config.scrub_ms = 10;
    start(&site);
    db = connect_with(NULL);
    wait_passes(db, 1);
    (void)snprintf(path, sizeof path, "%s/state/checkpoint", config.data_dir);
    (void)snprintf(aside, sizeof aside, "%s/state/aside", config.data_dir);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* can be opened, and not be read */
    wait_troubled(db, true);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rename(aside, path), 0);
    wait_troubled(db, false);
    wait_passes(db, scrub_field(db, "passes") + 1);
    tvn_close(db);
    stop(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_keeps_its_budget_of_bytes_a_second),
        cmocka_unit_test(a_pass_that_does_not_get_on_is_trouble),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
