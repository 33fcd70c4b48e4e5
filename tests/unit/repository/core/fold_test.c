/* Folding: random histories, cut into runs in any way, give the records that replaying them one by one gives, and the
 * digest that the state had at the boundary. */
#include "repository/core/fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { KEYS = 24, EFFECTS = 400, RUNS_MAX = 12, COLLECTIONS = 2 };

static uint64_t random_state = 1;

static uint64_t draw(uint64_t n)
{
    /* xorshift64*, Vigna 2014 */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 2685821657736338717ull >> 33) % n;
}

/* ---- a history, and what it leaves ---- */

static char keys[KEYS][8], values[EFFECTS][12];
static struct repo_effect history[EFFECTS];

static void make_history(void)
{
    uint64_t lsn = 0;
    for (unsigned k = 0; k < KEYS; k++) /* some are prefixes of others */
        (void)snprintf(keys[k], sizeof keys[k], "%.*s%u", (int)(k % 3), "aaa", k % 8);
    for (unsigned i = 0; i < EFFECTS; i++) {
        lsn += draw(3) != 0; /* several effects of one entry */
        lsn = lsn == 0 ? 1 : lsn;
        (void)snprintf(values[i], sizeof values[i], "v%u", i);
        const bool put = draw(4) != 0;
        history[i] = (struct repo_effect){bytes_str(draw(COLLECTIONS) == 0 ? "c" : "d"),
                                          bytes_str(keys[draw(KEYS)]),
                                          put ? bytes_str(values[i]) : bytes_str(""),
                                          {lsn},
                                          {lsn * 10},
                                          put};
    }
}

/* The last effect of the key up to lsn; NULL when it is not there then. */
static const struct repo_effect *at(const char *collection, const char *key, uint64_t lsn)
{
    const struct repo_effect *found = NULL;
    for (unsigned i = 0; i < EFFECTS && history[i].lsn.v <= lsn; i++)
        if (bytes_equal(history[i].collection, bytes_str(collection)) &&
            bytes_equal(history[i].key, bytes_str(key)))
            found = &history[i];
    return found != NULL && found->put ? found : NULL;
}

static struct digest digest_at(uint64_t lsn)
{
    struct digest sum = {0, 0};
    for (unsigned c = 0; c < COLLECTIONS; c++)
        for (unsigned k = 0; k < KEYS; k++) {
            const struct repo_effect *x = at(c == 0 ? "c" : "d", keys[k], lsn);
            bool again = false; /* keys may be drawn twice */
            for (unsigned j = 0; j < k; j++)
                again |= strcmp(keys[j], keys[k]) == 0;
            if (x != NULL && !again)
                sum = digest_add(sum, digest_record(x->collection, x->key, x->lsn, x->value));
        }
    return sum;
}

/* ---- runs ---- */

static struct repo_effect runs[RUNS_MAX][EFFECTS];
static size_t lengths[RUNS_MAX];

static int by_order(const void *a, const void *b)
{
    const struct repo_effect *x = a, *y = b;
    int c = repo_effect_compare(x, y);
    /* of one entry the later effect first: values tell which */
    return c != 0 ? c : (x->value.p < y->value.p) - (x->value.p > y->value.p);
}

/* Consecutive pieces of the history up to lsn, sorted, and of each record only what must be kept. */
static uint32_t cut(uint64_t upto, struct lsn boundary)
{
    const uint32_t n = 1 + (uint32_t)draw(RUNS_MAX);
    unsigned i = 0;
    for (uint32_t r = 0; r < n; r++) {
        struct repo_effect piece[EFFECTS];
        size_t got = 0;
        const unsigned end = r + 1 == n ? EFFECTS : i + (unsigned)draw(EFFECTS / n + 20);
        /* an entry is never cut */
        for (; i < EFFECTS && history[i].lsn.v <= upto &&
               (i < end || (i != 0 && history[i].lsn.v == history[i - 1].lsn.v));
             i++)
            piece[got++] = history[i];
        /* deletes have no value of their own to tell the order of effects of one entry */
        for (size_t k = 0; k + 1 < got; k++)
            for (size_t j = k + 1; j < got; j++)
                if (piece[k].lsn.v == piece[j].lsn.v && piece[k].key.p == piece[j].key.p &&
                    bytes_equal(piece[k].collection, piece[j].collection))
                    piece[k].lsn.v = 0; /* replaced within its entry */
        size_t kept = 0;
        for (size_t k = 0; k < got; k++)
            if (piece[k].lsn.v != 0)
                piece[kept++] = piece[k];
        qsort(piece, kept, sizeof *piece, by_order);
        struct repo_keep keep = {false, false};
        lengths[r] = 0;
        for (size_t k = 0; k < kept; k++) {
            if (k == 0 || !bytes_equal(piece[k].key, piece[k - 1].key) ||
                !bytes_equal(piece[k].collection, piece[k - 1].collection))
                keep = (struct repo_keep){false, false};
            if (repo_keep(&keep, piece[k].lsn, boundary))
                runs[r][lengths[r]++] = piece[k];
        }
    }
    return n;
}

struct seen {
    struct repo_effect last;
    uint64_t records, upto;
};

static int note(void *arg, const struct repo_effect *x)
{
    struct seen *s = arg;
    char collection[4] = {0}, key[8] = {0};
    assert_true(s->records == 0 || repo_effect_compare(&s->last, x) < 0);
    memcpy(collection, x->collection.p, x->collection.n);
    memcpy(key, x->key.p, x->key.n);
    const struct repo_effect *wanted = at(collection, key, s->upto);
    assert_non_null(wanted);
    assert_int_equal(x->lsn.v, wanted->lsn.v);
    assert_int_equal(x->time.us, wanted->time.us);
    assert_true(bytes_equal(x->value, wanted->value));
    s->last = *x;
    s->records++;
    return 0;
}

static void folding_is_replaying(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 500; round++) {
        make_history();
        const uint64_t upto = 1 + draw(history[EFFECTS - 1].lsn.v);
        const struct lsn boundary = {draw(upto + 1)};
        struct seen seen = {.upto = upto};
        struct repo_fold fold = {.boundary = boundary, .each = note, .arg = &seen};
        const uint32_t n = cut(upto, boundary);
        struct repo_effect heads[RUNS_MAX];
        size_t next[RUNS_MAX] = {0};
        uint32_t order[RUNS_MAX], run_of[RUNS_MAX], open = 0;
        for (uint32_t r = 0; r < n; r++)
            if (lengths[r] != 0) {
                run_of[open] = r;
                next[open] = 1;
                heads[open++] = runs[r][0];
            }
        struct repo_merge merge;
        repo_merge_begin(&merge, heads, order, open);
        while (merge.n != 0) {
            const uint32_t i = repo_merge_first(&merge);
            assert_int_equal(repo_fold_take(&fold, &heads[i]), 0);
            const bool ended = next[i] == lengths[run_of[i]];
            if (!ended)
                heads[i] = runs[run_of[i]][next[i]++];
            repo_merge_next(&merge, ended);
        }
        assert_int_equal(repo_fold_end(&fold), 0);
        assert_int_equal(fold.records, seen.records);
        assert_true(digest_equal(fold.digest, digest_at(upto)));
        assert_true(digest_equal(fold.bounded, digest_at(boundary.v)));
    }
}

static int stop(void *arg, const struct repo_effect *x)
{
    (void)arg;
    (void)x;
    return 7;
}

static void whoever_takes_records_can_stop(void **state)
{
    (void)state;
    struct repo_fold fold = {.each = stop};
    struct repo_effect x = {bytes_str("c"), bytes_str("k"), bytes_str("v"), {1}, {1}, true};
    assert_int_equal(repo_fold_take(&fold, &x), 0);
    x.key = bytes_str("l");
    assert_int_equal(repo_fold_take(&fold, &x), 7);
}

static void rows_are_read_as_written_and_nothing_else_is(void **state)
{
    (void)state;
    uint8_t buffer[REPO_EFFECT_HEAD_MAX_BYTES + 16];
    struct repo_effect out;
    struct err e = ERR_NONE;
    for (int put = 0; put < 2; put++) {
        const struct repo_effect x = {
            bytes_str("land"), bytes_str("key"), put ? bytes_str("value") : bytes_str(""), {7}, {8},
            put != 0};
        struct writer w = writer_of(buffer, sizeof buffer);
        repo_effect_write(&w, &x);
        write_bytes(&w, x.value);
        assert_false(w.bad);
        struct reader in = reader_of(bytes_of(buffer, w.at));
        assert_int_equal(repo_effect_read(&in, &out, &e), 0);
        assert_int_equal(in.at, w.at);
        assert_int_equal(repo_effect_compare(&x, &out), 0);
        assert_int_equal(out.put, x.put);
        assert_true(bytes_equal(out.value, x.value));
        assert_int_equal(out.time.us, 8);
        for (size_t n = 0; n < w.at; n++) {
            in = reader_of(bytes_of(buffer, n));
            assert_int_equal(repo_effect_read(&in, &out, &e), ERR_FORMAT);
        }
        buffer[0] = 2;
        in = reader_of(bytes_of(buffer, w.at));
        assert_int_equal(repo_effect_read(&in, &out, &e), ERR_FORMAT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folding_is_replaying),
        cmocka_unit_test(whoever_takes_records_can_stop),
        cmocka_unit_test(rows_are_read_as_written_and_nothing_else_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
