/* Entries in memory: all or none, the limits of what waits, and what is given back. Appends are seen through the batches that a
 * writer would take. */
#include "store/io/log_memory.h"
#include "tests/unit/count_mallocs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

enum { LIMIT = 1 << 20, BATCH = 64 << 10, BODY_MAX = 65 << 20 };

static uint8_t *body;
static uint8_t raw[3000][ENTRY_HEADER_BYTES];

static int set_up(void **state)
{
    body = calloc(1, BODY_MAX);
    *state = calloc(1, sizeof(struct memory));
    assert_true(body != NULL && *state != NULL);
    memory_init(*state, LIMIT, BATCH, (struct lsn){10});
    return 0;
}

static int tear_down(void **state)
{
    memory_deinit(*state);
    free(*state);
    free(body);
    return 0;
}

/* Entry `lsn` with a body of so many bytes; its header tells its lsn. */
static struct entry_view entry(uint64_t lsn, size_t bytes)
{
    uint8_t *p = raw[lsn % 3000];
    put_le64(p, lsn);
    return (struct entry_view){.header = {.lsn = {lsn}, .term = {1}, .body_bytes = (uint32_t)bytes},
                               .raw = p,
                               .body = body};
}

static int append(struct memory *m, uint64_t lsn, size_t n, size_t bytes, struct err *e)
{
    struct entry_view v[3000];
    for (size_t i = 0; i < n; i++)
        v[i] = entry(lsn + i, bytes);
    return memory_append(m, v, n, e);
}

static void holds(const struct memory *m, uint64_t from, uint64_t to)
{
    assert_null(memory_find(m, (struct lsn){from - 1}));
    assert_null(memory_find(m, (struct lsn){to + 1}));
    for (uint64_t lsn = from; lsn <= to; lsn++) {
        const uint8_t *p = memory_find(m, (struct lsn){lsn});
        assert_non_null(p);
        assert_int_equal(get_le64(p), lsn);
    }
}

/* Everything that waits is written: how many batches, and that they follow each other. */
static unsigned write_all(struct memory *m, uint64_t first, uint64_t last)
{
    unsigned n = 0;
    while (memory_next(m) != NULL) {
        struct pending b;
        memory_take(m, &b);
        assert_int_equal(b.first.v, first);
        assert_int_equal(b.last.lsn.v, first + b.count - 1);
        assert_int_equal((uintptr_t)b.p % BATCH_BLOCK_BYTES, 0);
        const uint8_t *end = memory_find(m, b.last.lsn);
        assert_true(end > b.p && end + ENTRY_HEADER_BYTES <= b.p + b.bytes); /* without gaps */
        first += b.count;
        memory_written(m);
        n++;
    }
    assert_int_equal(first, last + 1);
    assert_int_equal(m->waiting_bytes, 0);
    return n;
}

static void small_entries_share_a_batch_until_it_is_full_or_taken(void **state)
{
    struct memory *m = *state;
    struct pending taken;
    assert_int_equal(append(m, 11, 100, 100, NULL), 0);
    holds(m, 11, 110);
    assert_int_equal(m->queue_count, 1);
    memory_take(m, &taken);
    assert_int_equal(taken.count, 100);
    assert_null(memory_next(m));
    assert_int_equal(append(m, 111, 1, 100, NULL), 0); /* not into the one that is being written */
    assert_int_equal(m->queue_count, 2);
    assert_int_equal(memory_next(m)->first.v, 111);
    memory_written(m);
    assert_int_equal(write_all(m, 111, 111), 1);
    assert_int_equal(append(m, 112, 10, BATCH / 3, NULL), 0);
    unsigned batches = write_all(m, 112, 121); /* of two each, and one more where a chunk ends */
    assert_true(batches >= 5 && batches <= 6);
    holds(m, 11, 121);
}

static void an_entry_larger_than_a_batch_has_one_of_its_own(void **state)
{
    struct memory *m = *state;
    assert_int_equal(append(m, 11, 1, 10, NULL), 0);
    assert_int_equal(append(m, 12, 1, 5 * LIMIT, NULL), 0);
    assert_int_equal(append(m, 13, 1, 10, NULL), 0);
    assert_int_equal(write_all(m, 11, 13), 3);
    holds(m, 11, 13);
}

static void what_waits_has_a_limit_and_one_entry_is_always_taken(void **state)
{
    struct memory *m = *state;
    struct err e = ERR_NONE;
    assert_int_equal(memory_room(m, 2ull * MEMORY_WAITING_MAX, &e),
                     ERR_BUSY); /* too many batches */
    assert_int_equal(append(m, 11, 1, BODY_MAX, &e), 0);
    assert_int_equal(append(m, 12, 1, BODY_MAX, &e), ERR_BUSY);
    assert_non_null(strstr(e.text, "bytes wait to be written to the log, at most 67108864 may"));
    assert_int_equal(memory_room(m, BODY_MAX, &e), ERR_BUSY);
    assert_int_equal(m->last.v, 11);
    holds(m, 11, 11);
    assert_int_equal(write_all(m, 11, 11), 1);
    assert_int_equal(append(m, 12, 1, BODY_MAX, &e), 0);
}

static void a_full_queue_takes_none_of_an_append_and_forgets_nothing(void **state)
{
    struct memory *m = *state;
    struct err e = ERR_NONE;
    const size_t half = BATCH / 2 + 100; /* one a batch */
    assert_int_equal(append(m, 11, MEMORY_BATCHES_MAX - 1, half, &e), 0);
    const uint64_t last = 10 + MEMORY_BATCHES_MAX - 1;
    const uint64_t waiting = m->waiting_bytes, total = m->total_bytes;
    const struct entry_view three[] = {entry(last + 1, 100), entry(last + 2, half),
                                       entry(last + 3, half)};
    assert_int_equal(memory_append(m, three, 3, &e), ERR_BUSY); /* the first two had a place */
    assert_non_null(strstr(e.text, "255 batches wait to be written to the log"));
    assert_int_equal(m->last.v, last);
    assert_int_equal(m->waiting_bytes, waiting);
    assert_int_equal(m->total_bytes, total);
    holds(m, 11, last);
    assert_int_equal(append(m, last + 1, 1, 100, &e), 0); /* into the last, which still gathers */
    assert_int_equal(append(m, last + 2, 1, half, &e), 0);
    assert_int_equal(append(m, last + 3, 1, half, &e), ERR_BUSY);
    assert_int_equal(write_all(m, 11, last + 2), MEMORY_BATCHES_MAX);
    holds(m, 11, last + 2);
}

static void the_first_append_that_fails_leaves_nothing(void **state)
{
    struct memory *m = *state;
    struct err e = ERR_NONE;
    assert_int_equal(append(m, 11, MEMORY_BATCHES_MAX + 1, BATCH / 2 + 100, &e), ERR_BUSY);
    assert_null(m->head);
    assert_null(memory_next(m));
    assert_int_equal(m->total_bytes, 0);
    assert_null(memory_find(m, (struct lsn){11}));
    assert_int_equal(append(m, 11, 5, 100, &e), 0);
    holds(m, 11, 15);
    assert_int_equal(write_all(m, 11, 15), 1);
}

static void what_has_room_is_taken(void **state)
{
    struct memory *m = *state;
    struct err e = ERR_NONE;
    uint64_t lsn = 11;
    const size_t each = 3000;
    while (memory_room(m, ENTRY_HEADER_BYTES + each, &e) == 0) {
        assert_int_equal(append(m, lsn, 1, each, &e), 0);
        lsn++;
    }
    assert_true(m->queue_count > MEMORY_BATCHES_MAX / 2);
    assert_true(write_all(m, 11, lsn - 1) <= MEMORY_BATCHES_MAX);
}

static void only_what_is_durable_is_given_back_and_the_oldest_first(void **state)
{
    struct memory *m = *state;
    assert_int_equal(append(m, 11, 1000, 3000, NULL), 0);
    assert_true(m->total_bytes > 2 * LIMIT);
    (void)write_all(m, 11, 1010);
    memory_trim(m, (struct lsn){10});
    holds(m, 11, 1010);
    memory_trim(m, (struct lsn){500});
    assert_true(m->first.v > 11 && m->first.v <= 501);
    holds(m, m->first.v, 1010);
    memory_trim(m, (struct lsn){1010});
    assert_true(m->total_bytes <= LIMIT + m->chunk_bytes);
    assert_true(m->first.v > 501);
    holds(m, m->first.v, 1010);
}

static void cutting_forgets_the_end_or_all(void **state)
{
    struct memory *m = *state;
    assert_int_equal(append(m, 11, 500, 3000, NULL), 0);
    (void)write_all(m, 11, 510);
    memory_truncate(m, (struct lsn){300});
    holds(m, 11, 300);
    assert_int_equal(append(m, 301, 100, 3000, NULL), 0);
    holds(m, 11, 400);
    (void)write_all(m, 301, 400);
    memory_trim(m, (struct lsn){400});
    assert_true(m->first.v > 21);
    memory_truncate(m, (struct lsn){20}); /* before all that is here */
    assert_int_equal(m->first.v, 21);
    memory_truncate(m, (struct lsn){10});
    assert_null(memory_find(m, (struct lsn){11}));
    assert_int_equal(m->first.v, 11);
    assert_int_equal(append(m, 11, 1, 10, NULL), 0);
    holds(m, 11, 11);
    (void)write_all(m, 11, 11);
}

static void a_steady_stream_allocates_nothing(void **state)
{
    struct memory *m = *state;
    uint64_t lsn = 11;
    unsigned long before = 0;
    for (unsigned i = 0; i < 4000; i++, lsn++) {
        if (i == 1500)
            before = atomic_load(&mallocs);
        assert_int_equal(append(m, lsn, 1, 1000, NULL), 0);
        (void)write_all(m, lsn, lsn);
        memory_trim(m, (struct lsn){lsn});
    }
    assert_int_equal(atomic_load(&mallocs), before);
}

int main(void)
{
#define in_memory(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        in_memory(small_entries_share_a_batch_until_it_is_full_or_taken),
        in_memory(an_entry_larger_than_a_batch_has_one_of_its_own),
        in_memory(what_waits_has_a_limit_and_one_entry_is_always_taken),
        in_memory(a_full_queue_takes_none_of_an_append_and_forgets_nothing),
        in_memory(the_first_append_that_fails_leaves_nothing),
        in_memory(what_has_room_is_taken),
        in_memory(only_what_is_durable_is_given_back_and_the_oldest_first),
        in_memory(cutting_forgets_the_end_or_all),
        in_memory(a_steady_stream_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
