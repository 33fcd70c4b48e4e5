/* Unique indexes at a whole site: many transactions in flight at once, each accepted or refused. What was accepted is replayed in
 * order of lsn against a model: no two records ever have one value. What was refused is tried there, at the lsn at which it was
 * decided: it would have given two records one value. */
#include "tests/unit/replication/hold_kit.h"

#include <jansson.h>

enum { PATIENCE_MS = 60000 };

/* ---- the index ---- */

static void declare(struct tvn *db, const char *name, const char *pointer)
{
    char arguments[256], *reply;
    struct tvn_error e;
    (void)snprintf(arguments, sizeof arguments,
                   "{\"collection\":\"land\",\"name\":\"%s\",\"on\":[\"%s\"],\"unique\":true}",
                   name, pointer);
    if (tvn_admin(db, "index-create", arguments, 0, &reply, &e) != 0)
        fail_msg("%s", e.text);
    tvn_free(reply);
}

static json_t *list(struct tvn *db)
{
    char *reply;
    struct tvn_error e;
    if (tvn_admin(db, "index-list", "{\"collection\":\"land\"}", 0, &reply, &e) != 0)
        fail_msg("%s", e.text);
    json_t *o = json_loads(reply, 0, NULL);
    tvn_free(reply);
    return o;
}

/* Of the first index. */
static bool is(struct tvn *db, const char *what, json_int_t value)
{
    json_t *l = list(db),
           *o = json_object_get(json_array_get(json_object_get(l, "indexes"), 0), what);
    const bool same =
        json_is_boolean(o) ? json_is_true(o) == (value != 0) : json_integer_value(o) == value;
    json_decref(l);
    return same;
}

static void wait_until(struct tvn *db, const char *what, json_int_t value)
{
    for (unsigned ms = 0; !is(db, what, value); ms += 10) {
        if (ms > PATIENCE_MS)
            fail_msg("%s is not %lld in time", what, (long long)value);
        (void)usleep(10000);
    }
}

/* ---- a load, and the model ---- */

enum { KEYS = 12, VALUES = 8, OPS = 4, TXNS = 6000, NO_VALUE = -1, NO_RECORD = -2 };

struct attempt {
    struct {
        int key, value; /* NO_RECORD: a delete */
    } op[OPS];
    int ops;
    int code;
    uint64_t lsn;
};

static struct attempt attempts[TXNS];
static atomic_uint answered;

static void on_done(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct attempt *a = arg;
    a->code = error->code;
    a->lsn = error->code == 0 ? result->lsn : error->lsn;
    if (error->code != 0)
        check(error->outcome == TVN_NOT_DONE);
    atomic_fetch_add(&answered, 1);
}

static uint64_t seed = 7;
static int below(int n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (unsigned)n);
}

static void submit(struct tvn *db, struct tvn_txn *txn, struct attempt *a)
{
    struct tvn_error e;
    tvn_txn_reset(txn);
    a->ops = 1 + below(OPS);
    for (int i = 0; i < a->ops; i++) {
        char key[16], value[32];
        a->op[i].key = below(KEYS);
        a->op[i].value = below(6) == 0 ? NO_RECORD : below(8) == 0 ? NO_VALUE : below(VALUES);
        (void)snprintf(key, sizeof key, "k%d", a->op[i].key);
        if (a->op[i].value == NO_VALUE)
            (void)snprintf(value, sizeof value, "{\"w\":1}");
        else
            (void)snprintf(value, sizeof value, "{\"v\":%d}", a->op[i].value);
        int rc = a->op[i].value == NO_RECORD
                     ? tvn_txn_del(txn, "land", tvn_str(key))
                     : tvn_txn_put(txn, "land", tvn_str(key), tvn_str(value));
        assert_int_equal(rc, 0);
    }
    int rc;
    while ((rc = tvn_submit(db, txn, on_done, a, &e)) == TVN_BUSY)
        (void)usleep(100);
    assert_int_equal(rc, 0);
}

static bool has_twins(const int record[KEYS])
{
    for (int i = 0; i < KEYS; i++)
        for (int k = 0; k < i; k++)
            if (record[i] >= 0 && record[i] == record[k])
                return true;
    return false;
}

static void apply(const struct attempt *a, int record[KEYS])
{
    for (int i = 0; i < a->ops; i++)
        record[a->op[i].key] = a->op[i].value;
}

/* By lsn; at one lsn what was accepted there comes before what was refused after it. */
static int by_lsn(const void *pa, const void *pb)
{
    const struct attempt *a = pa, *b = pb;
    if (a->lsn != b->lsn)
        return a->lsn < b->lsn ? -1 : 1;
    return (a->code != 0) - (b->code != 0);
}

static void no_two_records_ever_have_one_value(void **state)
{
    (void)state;
    struct running site;
    struct tvn_error e;
    make_and_start("unique", &site);
    struct tvn_options options = TVN_OPTIONS_INIT;
    options.max_in_flight = 200;
    struct tvn *db = connect_with(&options);
    struct tvn_txn *txn = tvn_txn_new();
    declare(db, "by-v", "/v");
    wait_until(db, "enforced", 1);
    for (int i = 0; i < TXNS; i++) {
        submit(db, txn, &attempts[i]);
        if (below(400) == 0) /* now and then nothing is in flight */
            assert_int_equal(tvn_flush(db, 0, &e), 0);
    }
    assert_int_equal(tvn_flush(db, 0, &e), 0);
    assert_int_equal(atomic_load(&answered), TXNS);
    qsort(attempts, TXNS, sizeof attempts[0], by_lsn);
    int record[KEYS], refused = 0;
    for (int i = 0; i < KEYS; i++)
        record[i] = NO_RECORD;
    for (int i = 0; i < TXNS; i++) {
        int tried[KEYS];
        memcpy(tried, record, sizeof tried);
        apply(&attempts[i], tried);
        assert_true(attempts[i].code == 0 || attempts[i].code == TVN_UNIQUE);
        assert_int_equal(has_twins(tried), attempts[i].code == TVN_UNIQUE);
        if (attempts[i].code == 0)
            memcpy(record, tried, sizeof record);
        else
            refused++;
    }
    assert_true(refused > TXNS / 20 && refused < TXNS - TXNS / 20);
    assert_true(is(db, "duplicates", 0));
    tvn_txn_free(txn);
    tvn_close(db);
    stop(&site);
}

/* ---- from duplicates to none ---- */

static int try_put(struct tvn *db, const char *key, const char *value, struct tvn_error *e)
{
    return tvn_put(db, "land", tvn_str(key), tvn_str(value), NULL, e);
}

static void what_is_not_unique_is_not_enforced_until_it_is(void **state)
{
    (void)state;
    struct running site;
    struct tvn_error e;
    make_and_start("duplicates", &site);
    struct tvn *db = connect_with(NULL);
    put(db, "a", "{\"v\":\"x\"}");
    put(db, "b", "{\"v\":\"x\"}");
    declare(db, "by-v", "/v");
    wait_until(db, "duplicates", 1);
    json_t *l = list(db), *index = json_array_get(json_object_get(l, "indexes"), 0),
           *example = json_object_get(index, "example");
    assert_false(json_is_true(json_object_get(index, "enforced")));
    assert_string_equal(json_string_value(json_array_get(example, 0)), "a");
    assert_string_equal(json_string_value(json_array_get(example, 1)), "b");
    json_decref(l);
    assert_int_equal(try_put(db, "c", "{\"v\":\"x\"}", &e), 0); /* not promised yet */
    put(db, "a", "{\"v\":\"y\"}");
    put(db, "c", "{\"v\":\"z\"}");
    wait_until(db, "enforced", 1);
    assert_int_equal(try_put(db, "c", "{\"v\":\"x\"}", &e), TVN_UNIQUE);
    assert_int_equal(e.outcome, TVN_NOT_DONE);
    assert_int_equal(e.retryable, 0);
    assert_int_equal(tvn_exit_code(e.code), 5);
    assert_non_null(strstr(e.text, "operation 0: index 'by-v' of collection 'land' is unique, and "
                                   "record 'b' has the value already that 'c' would get"));
    assert_int_equal(try_put(db, "b", "{\"v\":\"x\"}", &e), 0); /* its own */
    assert_int_equal(tvn_del(db, "land", tvn_str("b"), NULL, &e), 0);
    assert_int_equal(try_put(db, "c", "{\"v\":\"x\"}", &e), 0);
    tvn_close(db);
    stop(&site);
    start(&site); /* the primary of the next term knows, too */
    db = connect_with(NULL);
    int rc;
    for (unsigned ms = 0; (rc = try_put(db, "d", "{\"v\":\"x\"}", &e)) == TVN_NOT_READY; ms += 10) {
        assert_true(ms < PATIENCE_MS); /* there was no checkpoint: it is built again */
        (void)usleep(10000);
    }
    assert_int_equal(rc, TVN_UNIQUE);
    assert_int_equal(try_put(db, "d", "not JSON", &e), 0);
    assert_int_equal(try_put(db, "e", "not JSON", &e), 0);
    tvn_close(db);
    stop(&site);
}

/* Two in one transaction; one that gives its value to another; a swap. */
static void a_transaction_counts_as_a_whole(void **state)
{
    (void)state;
    struct running site;
    struct tvn_error e;
    make_and_start("whole", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_txn *txn = tvn_txn_new();
    declare(db, "by-v", "/v");
    wait_until(db, "enforced", 1);
    (void)tvn_txn_put(txn, "land", tvn_str("a"), tvn_str("{\"v\":1}"));
    (void)tvn_txn_put(txn, "land", tvn_str("b"), tvn_str("{\"v\":1.0}"));
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &e), TVN_UNIQUE);
    assert_non_null(strstr(e.text, "operation 1"));
    tvn_txn_reset(txn);
    (void)tvn_txn_put(txn, "land", tvn_str("b"), tvn_str("{\"v\":1}"));
    (void)tvn_txn_put(txn, "land", tvn_str("a"), tvn_str("{\"v\":1}"));
    (void)tvn_txn_put(txn, "land", tvn_str("b"), tvn_str("{\"v\":2}")); /* the last op counts */
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &e), 0);
    tvn_txn_reset(txn);
    (void)tvn_txn_put(txn, "land", tvn_str("a"), tvn_str("{\"v\":2}"));
    (void)tvn_txn_put(txn, "land", tvn_str("b"), tvn_str("{\"v\":1}"));
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &e), 0);
    tvn_txn_reset(txn);
    (void)tvn_txn_put(txn, "land", tvn_str("c"), tvn_str("{\"v\":2}"));
    (void)tvn_txn_del(txn, "land", tvn_str("a"));
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &e), 0);
    /* A condition comes first. */
    tvn_txn_reset(txn);
    (void)tvn_txn_if_absent(txn, "land", tvn_str("c"));
    (void)tvn_txn_put(txn, "land", tvn_str("d"), tvn_str("{\"v\":2}"));
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &e), TVN_CONDITION);
    tvn_txn_free(txn);
    tvn_close(db);
    stop(&site);
}

static void a_transaction_has_a_weight(void **state)
{
    (void)state;
    struct running site;
    struct tvn_error e;
    make_and_start("weight", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_txn *txn = tvn_txn_new();
    declare(db, "by-v", "/v");
    wait_until(db, "enforced", 1);
    for (unsigned i = 0; i < TVN_TXN_MAX_OPS / 3; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%u", i);
        (void)tvn_txn_put(txn, "land", tvn_str(key), tvn_str("v"));
    }
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &e), 0); /* 65,535 */
    (void)tvn_txn_put(txn, "land", tvn_str("more"), tvn_str("v"));
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &e), TVN_LIMIT);
    assert_non_null(strstr(e.text, "21846 operations weigh 65538"));
    tvn_txn_free(txn);
    tvn_close(db);
    stop(&site);
}

/* The state knows neither the index nor the record that has the value. */
static void what_a_new_primary_inherits_is_unique(void **state)
{
    (void)state;
    struct running site;
    struct holder h;
    struct tvn_error e;
    struct attempt twin = {.code = -1000};
    hold_begin(&h, "inherited");
    make_and_start("inherited", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_txn *txn = tvn_txn_new();
    declare(db, "by-v", "/v");
    wait_until(db, "enforced", 1);
    put(db, "a", "{\"v\":1}");
    tvn_close(db);
    stop(&site);

    start_held(&site, &h);
    db = connect_with(NULL);
    assert_value(db, "a", "{\"v\":1}");
    (void)tvn_txn_put(txn, "land", tvn_str("b"), tvn_str("{\"v\":1}"));
    assert_int_equal(tvn_submit(db, txn, on_done, &twin, &e), 0);
    (void)usleep(300000);
    assert_int_equal(twin.code, -1000);
    hold_order(&h, 'r');
    for (int i = 0; i < 1000; i++) { /* or its rows are not built yet */
        assert_int_equal(tvn_flush(db, 0, &e), 0);
        if (twin.code != TVN_NOT_READY)
            break;
        (void)usleep(10000);
        assert_int_equal(tvn_submit(db, txn, on_done, &twin, &e), 0);
    }
    assert_int_equal(twin.code, TVN_UNIQUE);
    tvn_txn_free(txn);
    tvn_close(db);
    stop(&site);
    hold_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_two_records_ever_have_one_value),
        cmocka_unit_test(what_is_not_unique_is_not_enforced_until_it_is),
        cmocka_unit_test(a_transaction_counts_as_a_whole),
        cmocka_unit_test(a_transaction_has_a_weight),
        cmocka_unit_test(what_a_new_primary_inherits_is_unique),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
