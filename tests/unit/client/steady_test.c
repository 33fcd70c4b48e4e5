/* The library's share of a request, in a steady state: neither the thread that asks nor the handle's own allocates for it. The
 * cluster of puppets runs in this process, so each thread counts its own. */
#include "client/internal.h"
#include "tests/unit/client/cluster.h"
#include "tests/unit/count_mallocs.h"

#include <openssl/crypto.h>
#include <stdatomic.h>

enum { WARM = 300, MEASURED = 2000, DEEP = 32 };

struct run {
    struct cluster *c;
    struct tvn *db;
    atomic_uint answered;
    /* Of the handle's thread, which runs the callback and asks there for all but the first. */
    struct tvn_txn *txn;
    unsigned asked;
    unsigned long io_before, io_made;
};

static void on_done(void *arg, const struct tvn_result *result, const struct tvn_error *error);

static void ask(struct run *r, struct tvn_txn *txn)
{
    struct tvn_error error;
    tvn_txn_reset(txn);
    assert_int_equal(tvn_txn_put(txn, "titles", tvn_str("AB-12"), tvn_str("{\"owner\":\"Asha\"}")),
                     0);
    assert_ok(tvn_submit(r->db, txn, on_done, r, &error), error);
}

static void on_done(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct run *r = arg;
    (void)result;
    assert_int_equal(error->code, 0);
    const unsigned answered = r->answered + 1;
    if (answered == WARM)
        r->io_before = mallocs_here;
    if (answered == WARM + MEASURED)
        r->io_made = mallocs_here - r->io_before;
    for (; r->asked < WARM + MEASURED && r->asked - answered < DEEP; r->asked++)
        ask(r, r->txn);
    r->answered = answered;
}

static void two_thousand_transactions_in_flight_allocate_nothing(void **state)
{
    (void)state;
    struct run r = {.c = cluster_start(1), .txn = tvn_txn_new(), .asked = 1};
    struct tvn_txn *first = tvn_txn_new();
    struct tvn_error error;
    r.db = open_client(r.c);
    ask(&r, first);
    while (r.answered < WARM + MEASURED)
        assert_ok(tvn_flush(r.db, 0, &error), error);
    print_message("%lu allocations for %d transactions\n", r.io_made, MEASURED);
    assert_true(r.io_made < MEASURED / 100);
    assert_int_equal(tvn_close(r.db), 0);
    tvn_txn_free(r.txn);
    tvn_txn_free(first);
    cluster_stop(r.c);
}

static void calls_that_wait_allocate_what_they_give(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_records *records;
    unsigned long before = 0;
    for (unsigned i = 0; i < WARM + MEASURED; i++) {
        if (i == WARM)
            before = mallocs_here;
        assert_ok(tvn_put(db, "titles", tvn_str("AB-12"), tvn_str("Asha"), NULL, &error), error);
        assert_ok(tvn_get(db, "titles", tvn_str("AB-12"), NULL, &records, &error), error);
        tvn_records_free(records);
        assert_ok(tvn_del(db, "titles", tvn_str("AB-12"), NULL, &error), error);
    }
    print_message("%lu allocations for %d calls\n", mallocs_here - before, 3 * MEASURED);
    assert_true(mallocs_here - before < MEASURED / 100);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static unsigned spares(struct tvn *db)
{
    pthread_mutex_lock(&db->lock);
    unsigned n = db->spare_count;
    pthread_mutex_unlock(&db->lock);
    return n;
}

static void a_request_with_a_large_body_is_not_kept(void **state)
{
    (void)state;
    static uint8_t value[CLIENT_SPARE_BODY_BYTES];
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    assert_int_equal(spares(db), 0);
    assert_ok(tvn_put(db, "titles", tvn_str("AB-12"), tvn_view(value, sizeof value), NULL, &error),
              error);
    assert_int_equal(spares(db), 0);
    assert_ok(tvn_put(db, "titles", tvn_str("AB-12"), tvn_view(value, 100), NULL, &error), error);
    assert_ok(tvn_put(db, "titles", tvn_str("AB-12"), tvn_view(value, 200), NULL, &error), error);
    assert_int_equal(spares(db), 1);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void no_more_are_kept_than_can_be_in_flight(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    static struct request *many[CLIENT_SPARES + 10];
    for (unsigned i = 0; i < CLIENT_SPARES + 10; i++)
        assert_non_null(many[i] = client_request_new(db, FRAME_POINT, i));
    for (unsigned i = 0; i < CLIENT_SPARES + 10; i++)
        client_request_free(db, many[i]);
    assert_int_equal(spares(db), CLIENT_SPARES);
    struct request *again = client_request_new(db, FRAME_GET, CLIENT_SPARE_BODY_BYTES);
    assert_int_equal(spares(db), CLIENT_SPARES - 1);
    memset(again->body, 0xee, CLIENT_SPARE_BODY_BYTES); /* it has the room: the sanitizers watch */
    client_request_free(db, again);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* OpenSSL takes four small blocks for each record that it writes. How many records that are depends on how the threads meet, and
 * it is not the library's. */
static void *openssl_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    void *p = malloc(n);
    mallocs_here -= p != NULL;
    return p;
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    void *larger = realloc(p, n);
    mallocs_here -= larger != NULL;
    return larger;
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

int main(void)
{
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_thousand_transactions_in_flight_allocate_nothing),
        cmocka_unit_test(calls_that_wait_allocate_what_they_give),
        cmocka_unit_test(a_request_with_a_large_body_is_not_kept),
        cmocka_unit_test(no_more_are_kept_than_can_be_in_flight),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
