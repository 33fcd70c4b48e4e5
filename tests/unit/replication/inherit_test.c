/* A new primary whose state stands still answers from what it has inherited, and what needs the state waits for it. */
#include "tests/unit/replication/hold_kit.h"

static int write_if(struct tvn *db, const char *key, bool absent, uint64_t version,
                    const char *idempotency, struct tvn_result *done)
{
    struct tvn_txn *txn = tvn_txn_new();
    struct tvn_error e;
    if (absent)
        (void)tvn_txn_if_absent(txn, "land", tvn_str(key));
    if (version != 0)
        (void)tvn_txn_if_version(txn, "land", tvn_str(key), version);
    if (idempotency != NULL)
        (void)tvn_txn_set_idempotency_key(txn, tvn_str(idempotency));
    (void)tvn_txn_put(txn, "land", tvn_str(key), tvn_str("new"));
    int rc = tvn_txn_commit(db, txn, done, &e);
    tvn_txn_free(txn);
    return rc;
}

/* One state of everything. */
static int snapshot(struct tvn *db, uint32_t timeout_ms)
{
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_snapshot *snap;
    struct tvn_error e;
    how.timeout_ms = timeout_ms;
    int rc = tvn_snapshot_open(db, &how, &snap, &e);
    if (rc == 0)
        tvn_snapshot_close(snap);
    return rc;
}

static void is_gone(struct tvn *db, const char *key)
{
    struct tvn_records *found;
    struct tvn_error e;
    assert_int_equal(tvn_get(db, "land", tvn_str(key), NULL, &found, &e), TVN_NOT_FOUND);
}

static void what_is_logged_is_known_before_it_is_applied(void **state)
{
    (void)state;
    struct running site;
    struct holder h;
    struct tvn_result first, done;
    struct tvn_error e;
    hold_begin(&h, "inherit");
    make_and_start("inherit", &site);
    struct tvn *db = connect_with(NULL);
    const uint64_t version = put(db, "there", "old");
    put(db, "gone", "old");
    assert_int_equal(tvn_del(db, "land", tvn_str("gone"), NULL, &e), 0);
    assert_int_equal(write_if(db, "keyed", true, 0, "once", &first), 0);
    tvn_close(db);
    stop(&site);

    start_held(&site, &h);
    db = connect_with(NULL);
    assert_value(db, "there", "old");
    is_gone(db, "gone");
    assert_int_equal(write_if(db, "there", true, 0, NULL, &done), TVN_CONDITION);
    assert_int_equal(write_if(db, "there", false, version + 1, NULL, &done), TVN_CONDITION);
    assert_int_equal(write_if(db, "there", false, version, NULL, &done), 0);
    assert_value(db, "there", "new");
    assert_int_equal(write_if(db, "gone", true, 0, NULL, &done), 0);
    assert_int_equal(write_if(db, "keyed", true, 0, "once", &done), 0);
    assert_int_equal(done.lsn, first.lsn);
    assert_int_equal(write_if(db, "other", true, 0, "once", &done), TVN_KEY_USED);
    assert_int_not_equal(snapshot(db, 300), 0);
    assert_true(held_status(db, "applied") < (json_int_t)version);
    hold_order(&h, 'r');
    assert_int_equal(snapshot(db, 60000), 0);
    assert_true(held_status(db, "applied") >= (json_int_t)done.lsn);
    assert_value(db, "there", "new");
    tvn_close(db);
    stop(&site);
    hold_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_logged_is_known_before_it_is_applied),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
