/* The state's promises one by one: chain, conditions of use, damage and its messages, full disks, limits, threads. */
#include "store/core/slot.h"
#include "tests/unit/store/io/state_kit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>

static int tear_down(void **state)
{
    struct rlimit size; /* a failed test may have left it low */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &size), 0);
    size.rlim_cur = size.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &size), 0);
    return kit_state_tear_down(state);
}

/* Apply what was added to the history since. */
static void catch_up(struct kit_state *f)
{
    size_t at = state_applied(f->s).lsn.v;
    must(state_apply(f->s, f->h.v + at, f->h.n - at, &e));
}

static void close_it(struct kit_state *f)
{
    state_close(f->s);
    f->s = NULL;
}

static void reopen(struct kit_state *f)
{
    close_it(f);
    must(state_open(&f->s, &f->o, &e));
}

static int get(struct kit_state *f, const char *collection, const char *key, char value[64],
               struct err *e)
{
    struct state_snapshot *snap;
    struct record r;
    int rc = state_snapshot_open(f->s, &snap, e);
    assert_int_equal(rc, 0);
    rc = state_get(snap, bytes_str(collection), bytes_str(key), &r, e);
    if (rc == 0)
        (void)snprintf(value, 64, "%.*s@%llu", (int)r.value.n, (const char *)r.value.p,
                       (unsigned long long)r.lsn.v);
    state_snapshot_close(snap);
    return rc;
}

static void assert_get(struct kit_state *f, const char *collection, const char *key,
                       const char *want)
{
    char value[64] = "";
    must(get(f, collection, key, value, &e));
    assert_string_equal(value, want);
}

/* ---- the common way ---- */

static void a_new_state_is_empty(void **state)
{
    struct kit_state *f = *state;
    struct model m;
    model_init(&m);
    model_compare(&m, f->s);
    assert_int_equal(state_checkpoint(f->s).lsn.v, 0);
    must_fail(get(f, "a", "k", (char[64]){0}, &e), ERR_NOT_FOUND, "no such collection");
    model_free(&m);
}

static void only_what_was_published_survives(void **state)
{
    struct kit_state *f = *state;
    history_put(&f->h, "a", "k", "one");
    catch_up(f);
    kit_publish(f);
    history_put(&f->h, "a", "k", "two");
    catch_up(f);
    assert_get(f, "a", "k", "two@2");
    reopen(f);
    assert_get(f, "a", "k", "one@1");
    assert_int_equal(state_applied(f->s).lsn.v, 1);
    catch_up(f);
    assert_get(f, "a", "k", "two@2");
    must(state_reset_to_checkpoint(f->s, &e));
    assert_get(f, "a", "k", "one@1");
}

static void a_put_of_the_same_bytes_is_a_change(void **state)
{
    struct kit_state *f = *state;
    history_put(&f->h, "a", "k", "same");
    history_put(&f->h, "a", "k", "same");
    must(state_apply(f->s, f->h.v, 1, &e));
    assert_get(f, "a", "k", "same@1");
    catch_up(f);
    assert_get(f, "a", "k", "same@2");
}

static void only_the_next_entry_is_applied(void **state)
{
    struct kit_state *f = *state;
    history_put(&f->h, "a", "k", "1");
    history_put(&f->h, "a", "k", "2");
    history_put(&f->h, "a", "k", "3");
    must_fail(state_apply(f->s, f->h.v + 1, 1, &e), ERR_INTEGRITY,
              "apply after lsn 0: lsn 2 does not follow lsn 0");
    must(state_apply(f->s, f->h.v, 1, &e));
    must_fail(state_apply(f->s, f->h.v, 1, &e), ERR_INTEGRITY, "lsn 1 does not follow lsn 1");
    /* Another history: the same lsn, but it does not hash to ours. */
    struct history other = {.n = 0};
    history_put(&other, "a", "k", "x");
    history_put(&other, "a", "k", "y");
    must_fail(state_apply(f->s, other.v + 1, 1, &e), ERR_INTEGRITY, "previous-header hash");
    history_free(&other);
    /* A body that cannot be read: nothing of its batch is applied. */
    struct entry_view cut[] = {f->h.v[1], f->h.v[2]};
    cut[1].header.body_bytes--;
    must_fail(state_apply(f->s, cut, 2, &e), ERR_FORMAT, "apply after lsn 1: lsn 3: ");
    assert_int_equal(state_applied(f->s).lsn.v, 1);
    catch_up(f);
    assert_get(f, "a", "k", "3@3");
}

static void a_collection_is_there_while_it_has_records(void **state)
{
    struct kit_state *f = *state;
    struct state_snapshot *snap;
    struct state_totals totals;
    history_delete(&f->h, "never", "k");
    history_put(&f->h, "a", "k", "1");
    history_delete(&f->h, "a", "k");
    history_delete(&f->h, "a", "k");
    for (size_t i = 0; i < f->h.n; i++) {
        must(state_apply(f->s, f->h.v + i, 1, &e));
        must(state_snapshot_open(f->s, &snap, &e));
        must(state_totals(snap, &totals, &e));
        assert_int_equal(totals.collections, i == 1);
        assert_int_equal(totals.records, i == 1);
        must(state_verify(snap, &e));
        state_snapshot_close(snap);
    }
}

static void a_name_keeps_its_first_restore_point(void **state)
{
    struct kit_state *f = *state;
    struct state_snapshot *snap;
    struct restore_point p;
    history_put(&f->h, "a", "k", "1");
    history_point(&f->h, "audit-2031");
    history_put(&f->h, "a", "k", "2");
    history_point(&f->h, "audit-2031");
    catch_up(f);
    must(state_snapshot_open(f->s, &snap, &e));
    must(state_restore_point(snap, bytes_str("audit-2031"), &p, &e));
    assert_int_equal(p.lsn.v, 2);
    struct digest d =
        digest_record(bytes_str("a"), bytes_str("k"), (struct lsn){1}, bytes_str("1"));
    assert_true(digest_equal(p.digest, d));
    must_fail(state_restore_point(snap, bytes_str("other"), &p, &e), ERR_NOT_FOUND, "points");
    must_fail(state_restore_point(snap, (struct bytes){NULL, 0}, &p, &e), ERR_NOT_FOUND, "no such");
    state_snapshot_close(snap);
}

/* Far more results than are kept, in no order, some twice. */
static void the_highest_1024_results_are_kept(void **state)
{
    struct kit_state *f = *state;
    static const struct uuid id = {{9}}, unknown = {{8}};
    struct chance c = {5};
    struct model m;
    model_init(&m);
    history_txn(&f->h, &unknown, 1, NULL, 0);
    history_session(&f->h, &id, SESSION_OPEN, "app");
    for (unsigned i = 0; i < 4000; i++)
        history_txn(&f->h, &id, 1 + chance_below(&c, 3000), NULL, 0);
    history_session(&f->h, &id, SESSION_EXPIRE, "app");
    history_session(&f->h, &id, SESSION_OPEN, "app two");
    history_txn(&f->h, &id, 5, NULL, 0);
    for (size_t i = 0, n; i < f->h.n; i += n) {
        n = i < 1500 ? 1 + chance_below(&c, 20) : i < 3500 ? 1999 : 1 + chance_below(&c, 1200);
        n = n > f->h.n - i ? f->h.n - i : n;
        must(state_apply(f->s, f->h.v + i, n, &e));
        for (size_t k = 0; k < n; k++)
            model_apply(&m, &f->h.v[i + k]);
        if (i % 7 == 0 || i > 1500)
            model_compare(&m, f->s);
        assert_true(m.result_count <= 1024);
    }
    model_compare(&m, f->s);
    assert_int_equal(m.result_count, 1);
    struct state_snapshot *snap;
    struct session_info info;
    struct entry_position at;
    must(state_snapshot_open(f->s, &snap, &e));
    must(state_session(snap, &id, &info, &e));
    assert_bytes(info.client, bytes_str("app two"));
    must(state_result(snap, &id, 5, &at, &e));
    assert_int_equal(at.lsn.v, f->h.n);
    must_fail(state_result(snap, &id, 6, &at, &e), ERR_NOT_FOUND, "results");
    must_fail(state_session(snap, &unknown, &info, &e), ERR_NOT_FOUND, "sessions");
    state_snapshot_close(snap);
    model_free(&m);
}

/* ---- sizes ---- */

static void the_largest_record_fits(void **state)
{
    struct kit_state *f = *state;
    static uint8_t key[KEY_MAX_BYTES + 1];
    uint8_t *value = calloc(1, VALUE_MAX_BYTES);
    assert_non_null(value);
    memset(key, 'k', sizeof key);
    memset(value, 'v', VALUE_MAX_BYTES);
    char name[COLLECTION_MAX_BYTES + 1];
    memset(name, 'c', COLLECTION_MAX_BYTES);
    name[COLLECTION_MAX_BYTES] = '\0';
    struct op op = {OP_PUT, bytes_str(name), bytes_of(key, KEY_MAX_BYTES),
                    bytes_of(value, VALUE_MAX_BYTES)};
    history_txn(&f->h, NULL, 0, &op, 1);
    catch_up(f);
    struct state_snapshot *snap;
    struct record r;
    must(state_snapshot_open(f->s, &snap, &e));
    must(state_get(snap, op.collection, op.key, &r, &e));
    assert_bytes(r.value, op.value);
    must_fail(state_get(snap, op.collection, bytes_of(key, sizeof key), &r, &e), ERR_NOT_FOUND,
              "no such record");
    must_fail(state_get(snap, bytes_of(key, 65), op.key, &r, &e), ERR_NOT_FOUND, "no such record");
    must(state_verify(snap, &e));
    state_snapshot_close(snap);
    free(value);
}

/* More ops than one LMDB transaction takes, in small entries and in one of the largest. */
static void large_inputs_are_split(void **state)
{
    struct kit_state *f = *state;
    static struct op ops[TXN_MAX_OPS];
    static char key[TXN_MAX_OPS][16];
    struct chance c = {6};
    for (uint32_t i = 0; i < TXN_MAX_OPS; i++) {
        int n = snprintf(key[i], sizeof key[i], "%08x", (uint32_t)chance_u64(&c));
        ops[i] =
            (struct op){OP_PUT, bytes_str("big"), bytes_of(key[i], (size_t)n), bytes_str("value")};
    }
    for (uint32_t i = 0; i < TXN_MAX_OPS; i += 8192)
        history_txn(&f->h, NULL, 0, ops + i, 8192);
    history_txn(&f->h, NULL, 0, ops, TXN_MAX_OPS);
    history_put(&f->h, "a", "last", "1");
    catch_up(f);
    assert_int_equal(state_applied(f->s).lsn.v, 10);
    struct state_snapshot *snap;
    must(state_snapshot_open(f->s, &snap, &e));
    must(state_verify(snap, &e));
    struct record r;
    for (uint32_t i = 0; i < TXN_MAX_OPS; i += 13) {
        must(state_get(snap, ops[i].collection, ops[i].key, &r, &e));
        assert_int_equal(r.lsn.v, 9);
    }
    state_snapshot_close(snap);
    assert_true(state_file_bytes(f->s) > TXN_MAX_OPS * 60);
}

/* ---- snapshots ---- */

static void a_snapshot_does_not_move(void **state)
{
    struct kit_state *f = *state;
    struct state_snapshot *snap;
    struct record r;
    history_put(&f->h, "a", "k", "1");
    catch_up(f);
    must(state_snapshot_open(f->s, &snap, &e));
    for (unsigned i = 0; i < 50; i++) {
        history_put(&f->h, "a", "k", "later");
        catch_up(f);
        kit_publish(f);
    }
    must(state_get(snap, bytes_str("a"), bytes_str("k"), &r, &e));
    assert_bytes(r.value, bytes_str("1"));
    assert_int_equal(state_snapshot_position(snap).lsn.v, 1);
    must_fail(state_reset_to_checkpoint(f->s, &e), ERR_BUSY, "1 snapshots are open");
    state_snapshot_close(snap);
    must(state_snapshot_open(f->s, &snap, &e)); /* the same one, from the pool */
    must(state_get(snap, bytes_str("a"), bytes_str("k"), &r, &e));
    assert_int_equal(r.lsn.v, 51);
    state_snapshot_close(snap);
}

static void snapshots_are_limited(void **state)
{
    struct kit_state *f = *state;
    struct state_snapshot *snap[16], *more;
    for (unsigned i = 0; i < 16; i++)
        must(state_snapshot_open(f->s, &snap[i], &e));
    must_fail(state_snapshot_open(f->s, &more, &e), ERR_BUSY, "all 16 are in use");
    assert_null(more);
    kit_publish(f); /* the pins have their own places */
    state_snapshot_close(snap[3]);
    must(state_snapshot_open(f->s, &snap[3], &e));
    for (unsigned i = 0; i < 16; i++)
        state_snapshot_close(snap[i]);
}

struct readers {
    struct kit_state *f;
    const struct digest *digests;
    atomic_bool stop;
    atomic_uint read, wrong;
};

static void *read_on(void *arg)
{
    struct readers *r = arg;
    while (!atomic_load(&r->stop)) {
        struct state_snapshot *snap;
        struct state_totals totals;
        struct err e = ERR_NONE;
        if (state_snapshot_open(r->f->s, &snap, &e) != 0 || state_totals(snap, &totals, &e) != 0 ||
            state_verify(snap, &e) != 0 ||
            !digest_equal(totals.digest, r->digests[state_snapshot_position(snap).lsn.v])) {
            atomic_fetch_add(&r->wrong, 1);
            break;
        }
        state_snapshot_close(snap);
        atomic_fetch_add(&r->read, 1);
    }
    return NULL;
}

static void *finish(void *arg)
{
    struct err e = ERR_NONE;
    return state_checkpoint_finish(arg, &e) == 0 ? NULL : arg;
}

/* Readers on two threads, checkpoints on a third, while this one applies. */
static void threads_see_whole_states(void **state)
{
    struct kit_state *f = *state;
    struct chance c = {7};
    struct model m;
    history_random(&f->h, &c, 1500, 50, 300);
    struct digest *digests = calloc(f->h.n + 1, sizeof *digests);
    model_init(&m);
    for (size_t i = 0; i < f->h.n; i++) {
        model_apply(&m, &f->h.v[i]);
        digests[i + 1] = m.sum;
    }
    model_free(&m);
    struct readers r = {.f = f, .digests = digests};
    pthread_t reader[2], finisher;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&reader[i], NULL, read_on, &r), 0);
    for (size_t at = 0; at < f->h.n; at = state_applied(f->s).lsn.v) {
        struct entry_position begun;
        void *failed;
        must(state_checkpoint_begin(f->s, &begun, &e));
        assert_int_equal(pthread_create(&finisher, NULL, finish, f->s), 0);
        for (unsigned i = 0; i < 3 && at < f->h.n; i++, at = state_applied(f->s).lsn.v)
            must(state_apply(f->s, f->h.v + at, f->h.n - at < 9 ? f->h.n - at : 9, &e));
        assert_int_equal(pthread_join(finisher, &failed), 0);
        assert_null(failed);
        assert_int_equal(state_checkpoint(f->s).lsn.v, begun.lsn.v);
    }
    atomic_store(&r.stop, true);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(reader[i], NULL), 0);
    assert_int_equal(atomic_load(&r.wrong), 0);
    assert_true(atomic_load(&r.read) > 0);
    free(digests);
}

/* ---- who may open ---- */

static void a_second_open_is_told_who_is_here(void **state)
{
    struct kit_state *f = *state;
    struct state *s;
    char who[64];
    (void)snprintf(who, sizeof who, "another triveni runs on this directory (pid %ld)",
                   (long)getpid());
    must_fail(state_open(&s, &f->o, &e), ERR_BUSY, who);
    assert_null(s);
}

static void another_clusters_state_is_refused(void **state)
{
    struct kit_state *f = *state;
    struct state_options other = f->o;
    other.cluster_id.b[0]++;
    struct state *s;
    close_it(f);
    must_fail(state_open(&s, &other, &e), ERR_CONFIG, "another cluster");
    must(state_open(&f->s, &f->o, &e));
}

/* Tools that read one site's directory do not know its cluster yet. */
static void no_cluster_id_means_the_one_that_is_there(void **state)
{
    struct kit_state *f = *state;
    struct state_options any = f->o;
    memset(any.cluster_id.b, 0, sizeof any.cluster_id.b);
    history_put(&f->h, "a", "k", "1");
    catch_up(f);
    kit_publish(f);
    close_it(f);
    must(state_open(&f->s, &any, &e));
    assert_get(f, "a", "k", "1@1");
    catch_up(f);
    kit_publish(f);
    reopen(f); /* under its own id: that was kept */
    assert_get(f, "a", "k", "1@1");
    char empty[64];
    kit_dir_new(empty);
    struct state *s;
    any.dir = empty;
    must_fail(state_open(&s, &any, &e), ERR_NOT_FOUND, "there is no state here");
    kit_dir_remove(empty);
}

static void a_missing_parent_is_an_error(void **state)
{
    (void)state;
    struct state_options o = kit_options("/nonexistent/triveni/state");
    struct state *s;
    must_fail(state_open(&s, &o, &e), ERR_IO,
              "state in /nonexistent/triveni/state: mkdir: No such file");
}

/* ---- damage ---- */

/* Flip one bit where `text` stands in the data file; every place of it. */
static void damage(struct kit_state *f, const char *text)
{
    size_t n, length = strlen(text), found = 0;
    uint8_t *p = kit_read(f->dir, "data.mdb", &n);
    for (size_t i = 0; i + length <= n; i++)
        if (memcmp(p + i, text, length) == 0) {
            p[i + length / 2] ^= 4;
            found++;
        }
    assert_true(found > 0);
    kit_write(f->dir, "data.mdb", p, n);
    free(p);
}

static void a_flipped_bit_is_found_and_named(void **state)
{
    struct kit_state *f = *state;
    struct state_snapshot *snap;
    struct state_scan *scan;
    struct record r;
    history_put(&f->h, "titles", "plot-17", "belongs to Ada");
    history_put(&f->h, "titles", "plot-18", "belongs to Bob");
    catch_up(f);
    kit_publish(f);
    close_it(f);
    damage(f, "belongs to Bob");
    must(state_open(&f->s, &f->o, &e));
    assert_get(f, "titles", "plot-17", "belongs to Ada@1");
    must_fail(get(f, "titles", "plot-18", (char[64]){0}, &e), ERR_INTEGRITY,
              "record 'plot-18' of collection 'titles' is damaged: checksum mismatch");
    must(state_snapshot_open(f->s, &snap, &e));
    must(state_scan_open(snap, &(struct scan_options){.collection = bytes_str("titles")}, &scan,
                         &e));
    must(state_scan_next(scan, &r, &e));
    must_fail(state_scan_next(scan, &r, &e), ERR_INTEGRITY,
              "record 'plot-18' of collection 'titles'");
    state_scan_close(scan);
    must_fail(state_verify(snap, &e), ERR_INTEGRITY,
              "verify at lsn 2: record 'plot-18' of collection 'titles'");
    state_snapshot_close(snap);
}

static void a_damaged_row_is_found_and_named(void **state)
{
    struct kit_state *f = *state;
    struct state_snapshot *snap;
    static const struct uuid id = {{3}};
    struct session_info info;
    history_session(&f->h, &id, SESSION_OPEN, "registry-of-deeds");
    catch_up(f);
    kit_publish(f);
    close_it(f);
    damage(f, "registry-of-deeds");
    must(state_open(&f->s, &f->o, &e));
    must(state_snapshot_open(f->s, &snap, &e));
    must_fail(state_session(snap, &id, &info, &e), ERR_INTEGRITY, "of sessions: checksum mismatch");
    state_snapshot_close(snap);
}

static void damage_checkpoint(struct kit_state *f, bool both)
{
    size_t n;
    struct slot slot;
    uint8_t *p = kit_read(f->dir, "checkpoint", &n);
    must(slot_choose(p, &slot, &e));
    p[slot_offset(slot.sequence, 0) + 130] ^= 1;
    if (both)
        p[slot_offset(slot.sequence, 1) + 130] ^= 1;
    kit_write(f->dir, "checkpoint", p, n);
    free(p);
}

static void one_damaged_copy_of_a_slot_does_no_harm(void **state)
{
    struct kit_state *f = *state;
    for (unsigned i = 0; i < 5; i++) {
        history_put(&f->h, "a", "k", "1");
        catch_up(f);
        kit_publish(f);
        close_it(f);
        damage_checkpoint(f, false);
        must(state_open(&f->s, &f->o, &e));
        assert_int_equal(state_applied(f->s).lsn.v, i + 1);
        reopen(f); /* it was healed: the other copy may go now */
    }
}

static void two_damaged_copies_are_never_guessed_around(void **state)
{
    struct kit_state *f = *state;
    history_put(&f->h, "a", "k", "1");
    catch_up(f);
    kit_publish(f);
    kit_publish(f); /* nothing changed: nothing is written */
    close_it(f);
    damage_checkpoint(f, true);
    must_fail(state_open(&f->s, &f->o, &e), ERR_INTEGRITY,
              "checkpoint: both copies of slot 0 are damaged");
    must_fail(state_open(&f->s, &f->o, &e), ERR_INTEGRITY, "move the directory away");
    must_fail(state_open(&f->s, &f->o, &e), ERR_INTEGRITY, f->dir);
}

static void what_is_missing_is_told(void **state)
{
    struct kit_state *f = *state;
    char path[128];
    size_t n;
    history_put(&f->h, "a", "k", "1");
    catch_up(f);
    kit_publish(f);
    close_it(f);
    uint8_t *data = kit_read(f->dir, "data.mdb", &n);
    kit_write(f->dir, "data.mdb", data, n - 4096);
    must_fail(state_open(&f->s, &f->o, &e), ERR_INTEGRITY, "at its checkpoint");
    kit_path(path, f->dir, "data.mdb");
    assert_int_equal(unlink(path), 0);
    must_fail(state_open(&f->s, &f->o, &e), ERR_INTEGRITY, "data.mdb: it is missing");
    kit_write(f->dir, "data.mdb", data, n);
    free(data);
    kit_path(path, f->dir, "checkpoint");
    assert_int_equal(unlink(path), 0);
    must_fail(state_open(&f->s, &f->o, &e), ERR_INTEGRITY,
              "checkpoint, without which it cannot be trusted");
    /* What an interrupted creation leaves is no state yet. */
    kit_path(path, f->dir, "data.mdb");
    assert_int_equal(truncate(path, 8192), 0);
    must(state_open(&f->s, &f->o, &e));
    assert_int_equal(state_applied(f->s).lsn.v, 0);
}

static void a_slot_that_does_not_fit_its_data_is_refused(void **state)
{
    struct kit_state *f = *state;
    history_put(&f->h, "a", "k", "1");
    catch_up(f);
    kit_publish(f);
    close_it(f);
    size_t n;
    struct slot slot;
    uint8_t *p = kit_read(f->dir, "checkpoint", &n);
    must(slot_choose(p, &slot, &e));
    slot.at.lsn.v = 7;
    slot_encode(&slot, p + slot_offset(slot.sequence, 0));
    slot_encode(&slot, p + slot_offset(slot.sequence, 1));
    kit_write(f->dir, "checkpoint", p, n);
    free(p);
    must_fail(state_open(&f->s, &f->o, &e), ERR_INTEGRITY,
              "data.mdb is at lsn 1, its checkpoint says 7");
}

/* ---- writing fails ---- */

/* The state's descriptor of a file, so that a test can put another file under it. */
static int fd_of(struct kit_state *f, const char *file)
{
    char want[128], link[64], got[256];
    kit_path(want, f->dir, file);
    for (int fd = 3; fd < 256; fd++) {
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, got, sizeof got - 1);
        if (n > 0 && strncmp(got, want, (size_t)n) == 0 && strlen(want) == (size_t)n)
            return fd;
    }
    fail_msg("no descriptor of %s", want);
    return -1;
}

static void a_failed_checkpoint_stops_the_site(void **state)
{
    struct kit_state *f = *state;
    struct entry_position at;
    history_put(&f->h, "a", "k", "1");
    catch_up(f);
    kit_publish(f);
    history_put(&f->h, "a", "k", "2");
    catch_up(f);
    must(state_checkpoint_begin(f->s, &at, &e));
    must_fail(state_checkpoint_begin(f->s, &at, &e), ERR_BUSY, "begun already");
    must_fail(state_reset_to_checkpoint(f->s, &e), ERR_BUSY, "checkpoint is begun");
    int full = open("/dev/full", O_RDWR);
    assert_true(full >= 0);
    assert_true(dup2(full, fd_of(f, "checkpoint")) >= 0);
    (void)close(full);
    must_fail(state_checkpoint_finish(f->s, &e), ERR_NO_SPACE,
              "checkpoint at lsn 2 failed, the site must stop");
    assert_int_equal(state_checkpoint(f->s).lsn.v, 1);
    history_put(&f->h, "a", "k", "3");
    must_fail(state_apply(f->s, f->h.v + 2, 1, &e), ERR_IO, "restart the site");
    must_fail(state_checkpoint_begin(f->s, &at, &e), ERR_IO, "restart the site");
    assert_get(f, "a", "k", "2@2"); /* reads go on */
    reopen(f);
    assert_get(f, "a", "k", "1@1");
    catch_up(f);
    assert_get(f, "a", "k", "3@3");
}

/* Overwrite the same records until the file may not grow any more, then go on after a checkpoint. */
static void fill_and_go_on(struct kit_state *f, const char *how)
{
    struct model m;
    static char value[20000];
    memset(value, 'v', sizeof value - 1);
    model_init(&m);
    struct err e = ERR_NONE;
    unsigned checkpoints = 0;
    for (unsigned i = 0; i < 400; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i % 20);
        history_put(&f->h, "a", key, value);
        int rc = state_apply(f->s, f->h.v + i, 1, &e);
        if (rc != 0) {
            assert_int_equal(rc, ERR_NO_SPACE);
            assert_non_null(strstr(e.text, "apply again"));
            assert_int_equal(state_applied(f->s).lsn.v, i);
            model_compare(&m, f->s); /* the entry left no trace */
            /* Pages freed since the published checkpoint can be used again after this one. */
            kit_publish(f);
            checkpoints++;
            rc = state_apply(f->s, f->h.v + i, 1, &e);
        }
        if (rc != 0)
            fail_msg("%s, lsn %u, after a checkpoint: %s", how, i + 1, e.text);
        model_apply(&m, &f->h.v[i]);
    }
    print_message("%s: 400 puts, %u checkpoints to make room, %llu bytes\n", how, checkpoints,
                  (unsigned long long)state_file_bytes(f->s));
    assert_true(checkpoints > 0);
    model_compare(&m, f->s);
    reopen(f);
    catch_up(f);
    model_compare(&m, f->s);
    model_free(&m);
}

static void a_full_disk_is_waited_out(void **state)
{
    struct kit_state *f = *state;
    /* A limit on file sizes looks to the state like a full disk, everywhere and without privileges. */
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = 2 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    f->o.history_bytes = 100 << 10; /* a few of the old values */
    reopen(f);
    fill_and_go_on(f, "file size limit");
}

static void a_full_file_system_is_waited_out(void **state)
{
    (void)state;
    struct kit_state f = {.h = {.n = 0}};
    kit_dir_new(f.dir);
    if (mount("tmpfs", f.dir, "tmpfs", 0, "size=3m") != 0) {
        print_message("skipped: a tmpfs cannot be mounted here (%s)\n", strerrordesc_np(errno));
        kit_dir_remove(f.dir);
        skip();
    }
    f.o = kit_options(f.dir);
    f.o.history_bytes = 100 << 10;
    must(state_open(&f.s, &f.o, &e));
    fill_and_go_on(&f, "3 MiB tmpfs");
    state_close(f.s);
    history_free(&f.h);
    assert_int_equal(umount(f.dir), 0);
    kit_dir_remove(f.dir);
}

/* ---- building ---- */

static struct record a_record(const char *collection, const char *key)
{
    return (struct record){bytes_str(collection), bytes_str(key), bytes_str("v"), {5}, {50}};
}

static void a_build_takes_records_in_order_only(void **state)
{
    struct kit_state *f = *state;
    struct state_build *b;
    static const struct uuid id = {{3}};
    must(state_build_begin(f->s, &b, &e));
    struct record r = a_record("b", "k2");
    must(state_build_record(b, &r, &e));
    must_fail(state_build_record(b, &r, &e), ERR_INTEGRITY, "record 'k2' is out of order");
    r = a_record("b", "k1");
    must_fail(state_build_record(b, &r, &e), ERR_INTEGRITY, "out of order");
    r = a_record("a", "k3");
    must_fail(state_build_record(b, &r, &e), ERR_INTEGRITY, "out of order");
    r = a_record("b", "");
    must_fail(state_build_record(b, &r, &e), ERR_USAGE, "key of 0 bytes");
    must_fail(state_build_result(b, &id, 1, &(struct entry_position){{5}, {1}, {50}, {{0}}}, &e),
              ERR_INTEGRITY, "belongs to no session");
    must_fail(state_build_point(b, &(struct restore_point){.lsn = {1}}, &e), ERR_LIMIT,
              "name of 0 bytes");
    state_build_abandon(b);
    history_put(&f->h, "a", "k", "1");
    catch_up(f);
    must_fail(state_build_begin(f->s, &b, &e), ERR_EXISTS, "it must be new");
}

static void an_abandoned_build_leaves_an_empty_state(void **state)
{
    struct kit_state *f = *state;
    struct state_build *b;
    struct model m;
    model_init(&m);
    must(state_build_begin(f->s, &b, &e));
    for (unsigned i = 0; i < 40000; i++) { /* more than one LMDB transaction */
        char key[16];
        (void)snprintf(key, sizeof key, "%06u", i);
        struct record r = a_record("c", key);
        must(state_build_record(b, &r, &e));
    }
    state_build_abandon(b);
    model_compare(&m, f->s);
    history_put(&f->h, "a", "k", "1");
    catch_up(f);
    model_apply(&m, &f->h.v[0]);
    model_compare(&m, f->s);
    model_free(&m);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, kit_state_set_up, tear_down)
    const struct CMUnitTest tests[] = {
        t(a_new_state_is_empty),
        t(only_what_was_published_survives),
        t(a_put_of_the_same_bytes_is_a_change),
        t(only_the_next_entry_is_applied),
        t(a_collection_is_there_while_it_has_records),
        t(a_name_keeps_its_first_restore_point),
        t(the_highest_1024_results_are_kept),
        t(the_largest_record_fits),
        t(large_inputs_are_split),
        t(a_snapshot_does_not_move),
        t(snapshots_are_limited),
        t(threads_see_whole_states),
        t(a_second_open_is_told_who_is_here),
        t(another_clusters_state_is_refused),
        t(no_cluster_id_means_the_one_that_is_there),
        cmocka_unit_test(a_missing_parent_is_an_error),
        t(a_flipped_bit_is_found_and_named),
        t(a_damaged_row_is_found_and_named),
        t(one_damaged_copy_of_a_slot_does_no_harm),
        t(two_damaged_copies_are_never_guessed_around),
        t(what_is_missing_is_told),
        t(a_slot_that_does_not_fit_its_data_is_refused),
        t(a_failed_checkpoint_stops_the_site),
        t(a_full_disk_is_waited_out),
        cmocka_unit_test(a_full_file_system_is_waited_out),
        t(a_build_takes_records_in_order_only),
        t(an_abandoned_build_leaves_an_empty_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
