/* The whole path of a transaction in a steady state: a real site in this process, and a client of it. Connection, service,
 * driver, log and overlay allocate nothing for it, and neither does the client; what is left belongs to a segment.
 *
 * Counted apart: OpenSSL, which takes a few blocks for each record that it writes (many answers share one), and the applier's
 * thread, where LMDB takes cursors, and pages that it has not had before, for each batch. An allocation for each transaction
 * there would be at least MEASURED; half of that is the bound. */
#include "tests/unit/replication/site_kit.h"

#include "tests/unit/count_mallocs.h"

#include <openssl/crypto.h>

enum { WARM = 8000, MEASURED = 8000, DEEP = 64, KEYS = 500, VALUE_BYTES = 200 };

/* ---- by thread ---- */

static atomic_ulong by_openssl;

static void *openssl_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    void *p = malloc(n);
    if (p != NULL) {
        atomic_fetch_sub(&malloc_thread->made, 1);
        atomic_fetch_add(&by_openssl, 1);
    }
    return p;
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    void *larger = realloc(p, n);
    if (larger != NULL) {
        atomic_fetch_sub(&malloc_thread->made, 1);
        atomic_fetch_add(&by_openssl, 1);
    }
    return larger;
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

/* "" of one that has ended. */
static void name_of(pid_t tid, char out[32])
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/comm", (int)tid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fgets(out, 32, f) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (f != NULL)
        (void)fclose(f);
}

/* ---- transactions ---- */

struct run {
    struct tvn *db;
    struct tvn_txn *txn;
    uint64_t asked;
    atomic_ulong answered, failed;
    unsigned long before[MALLOC_THREADS_MAX], made[MALLOC_THREADS_MAX], openssl;
};

static void on_done(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct run *r = arg;
    (void)result;
    r->failed += error->code != 0;
    r->answered++;
}

/* A put of one of KEYS records on a condition that holds, and a delete of another. */
static void ask(struct run *r)
{
    static char value[VALUE_BYTES];
    struct tvn_error e;
    char key[2][16];
    int rc;
    memset(value, 'a' + (int)(r->asked % 26), sizeof value);
    (void)snprintf(key[0], sizeof key[0], "k%u", (unsigned)(r->asked * 7919 % KEYS));
    (void)snprintf(key[1], sizeof key[1], "k%u", (unsigned)(r->asked * 104729 % KEYS));
    tvn_txn_reset(r->txn);
    (void)tvn_txn_if_exists(r->txn, "land", tvn_str("first"));
    (void)tvn_txn_put(r->txn, "land", tvn_str(key[0]), tvn_view(value, sizeof value));
    if (r->asked % 4 == 0)
        (void)tvn_txn_del(r->txn, "land", tvn_str(key[1]));
    while ((rc = tvn_submit(r->db, r->txn, on_done, r, &e)) == TVN_BUSY)
        (void)usleep(100);
    assert_int_equal(rc, 0);
    r->asked++;
}

static void go_on_to(struct run *r, uint64_t n)
{
    while (r->answered < n) {
        if (r->asked < n && r->asked - r->answered < DEEP)
            ask(r);
        else
            (void)usleep(50);
    }
}

static void a_transaction_allocates_nothing_on_its_way_through_a_site(void **state)
{
    (void)state;
    struct running site;
    static struct run r;
    make_and_start("steady", &site);
    r.db = connect_with(NULL);
    r.txn = tvn_txn_new();
    (void)put(r.db, "first", "v");
    go_on_to(&r, WARM);
    for (unsigned i = 0; i < MALLOC_THREADS_MAX; i++)
        r.before[i] = malloc_threads[i].made;
    r.openssl = by_openssl;
    go_on_to(&r, WARM + MEASURED);
    for (unsigned i = 0; i < MALLOC_THREADS_MAX; i++)
        r.made[i] = malloc_threads[i].made - r.before[i];
    r.openssl = by_openssl - r.openssl;
    assert_int_equal(r.failed, 0);
    unsigned long ours = 0, applier = 0;
    for (unsigned i = 0; i < MALLOC_THREADS_MAX; i++) {
        char name[32] = "";
        if (r.made[i] != 0)
            name_of(malloc_threads[i].tid, name);
        *(strcmp(name, "applier") == 0 ? &applier : &ours) += r.made[i];
    }
    print_message("%d transactions: %lu allocations, %lu in the applier, %lu by OpenSSL\n",
                  MEASURED, ours, applier, r.openssl);
    assert_true(ours < MEASURED / 100);
    assert_true(applier < MEASURED / 2);
    tvn_txn_free(r.txn);
    assert_int_equal(tvn_close(r.db), 0);
    stop(&site);
}

int main(void)
{
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transaction_allocates_nothing_on_its_way_through_a_site),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
