#include "replication/core/repl_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { MODEL_MAX = 20000 };

static uint64_t random_next(uint64_t *s)
{
    *s = *s * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *s >> 33;
}

static struct sha256 hash_of(uint64_t lsn, uint64_t term)
{
    struct sha256 h = {{0}};
    memcpy(h.b, &lsn, sizeof lsn);
    memcpy(h.b + 8, &term, sizeof term);
    return h;
}

static void compare(const struct repl_log *l, const uint64_t *terms, uint64_t n, uint64_t lsn,
                    uint64_t term)
{
    struct term known = repl_log_term(l, (struct lsn){lsn});
    if (lsn == 0 || lsn > n)
        assert_int_equal(known.v, 0);
    else
        assert_true(known.v == terms[lsn] || (known.v == 0 && l->run_count == REPL_RUNS_MAX));
    const struct sha256 *hash = repl_log_hash(l, (struct lsn){lsn});
    if (hash != NULL && lsn > 0) {
        struct sha256 expected = hash_of(lsn, terms[lsn]);
        assert_memory_equal(hash, &expected, sizeof expected);
    }
    uint64_t floor = lsn < n ? lsn : n;
    while (floor > 0 && terms[floor] > term)
        floor--;
    struct lsn got = repl_log_floor(l, (struct lsn){lsn}, (struct term){term});
    assert_true(got.v == floor || (got.v == 0 && l->run_count == REPL_RUNS_MAX));
}

/* Random appends and cuts against an array of all terms. */
static void it_answers_as_a_whole_log_would(void **state)
{
    (void)state;
    static uint64_t terms[MODEL_MAX];
    static struct repl_log l;
    repl_log_init(&l, &(struct repl_start){.voted_for = REPL_NOBODY});
    uint64_t seed = 11, n = 0, term = 1;
    for (int step = 0; step < 60000; step++) {
        uint64_t what = random_next(&seed) % 1000;
        if (what < 10) {
            term++;
        } else if (what < 14 && n > 0) {
            n -= random_next(&seed) % (n < 40 ? n : 40);
            repl_log_truncate(&l, (struct lsn){n});
            term = term > terms[n] ? term : terms[n];
        } else if (n + 1 < MODEL_MAX) {
            terms[++n] = term;
            struct sha256 hash = hash_of(n, term);
            bool later = what % 2 == 0;
            repl_log_append(&l, (struct lsn){n}, (struct term){term}, later ? NULL : &hash);
            if (later)
                repl_log_sealed(&l, (struct lsn){n}, &hash);
            assert_non_null(repl_log_hash(&l, (struct lsn){n}));
        }
        assert_int_equal(l.last.v, n);
        assert_true(n == 0 || l.last_term.v == terms[n] || l.run_count == 0);
        compare(&l, terms, n, random_next(&seed) % (n + 3), random_next(&seed) % (term + 2));
    }
}

static void a_long_history_keeps_its_newest_runs(void **state)
{
    (void)state;
    static struct repl_run runs[400];
    for (uint32_t i = 0; i < 400; i++)
        runs[i] = (struct repl_run){{i + 1}, {i * 10 + 1}};
    static struct repl_log l;
    struct repl_start start = {
        .runs = runs, .run_count = 400, .last = {.lsn = {4000}, .term = {400}}};
    repl_log_init(&l, &start);
    assert_int_equal(l.run_count, REPL_RUNS_MAX);
    assert_int_equal(repl_log_term(&l, (struct lsn){4000}).v, 400);
    assert_int_equal(repl_log_term(&l, (struct lsn){1441}).v, 145);
    assert_int_equal(repl_log_term(&l, (struct lsn){1440}).v, 0);
    assert_int_equal(repl_log_floor(&l, (struct lsn){4000}, (struct term){200}).v, 2000);
    assert_int_equal(repl_log_floor(&l, (struct lsn){4000}, (struct term){100}).v, 0);
}

static void a_log_after_a_restored_state_knows_where_it_begins(void **state)
{
    (void)state;
    static struct repl_log l;
    struct repl_start start = {.first = {50}, .last = {.lsn = {50}, .term = {3}}};
    repl_log_init(&l, &start);
    assert_int_equal(repl_log_term(&l, (struct lsn){50}).v, 3);
    assert_int_equal(repl_log_term(&l, (struct lsn){49}).v, 0);
    assert_non_null(repl_log_hash(&l, (struct lsn){50}));
    assert_null(repl_log_hash(&l, (struct lsn){49}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers_as_a_whole_log_would),
        cmocka_unit_test(a_long_history_keeps_its_newest_runs),
        cmocka_unit_test(a_log_after_a_restored_state_knows_where_it_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
