/* Sudden ends: SIGKILL at any moment, and power cuts.
 *
 * A power cut is emulated from pictures of data.mdb. Since the last sync the disk may hold any version of any sector that was
 * written in between, so an image takes each 4 KiB page from a random picture since then, and tears some pages at
 * 512 bytes. The state must come back at its checkpoint, replay, and equal the model. The control uses the same
 * images but trusts the meta page that LMDB would: it must fail, or the emulation proves nothing. */
#include "store/core/slot.h"
#include "tests/unit/rounds.h"
#include "tests/unit/store/io/state_kit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGE = 4096, SECTOR = 512, PICTURES = 12 };

/* Random entries, and among them documents in one of their collections, with indexes that are declared, changed and dropped. */
static void history_with_indexes(struct history *h, struct chance *c, size_t n, uint32_t keys,
                                 uint32_t value_max)
{
    static const char *const on[] = {"{\"on\":[\"/n\"]}", "{\"on\":[\"/s\"],\"unique\":true}"};
    for (size_t end = h->n + n; h->n < end;) {
        history_random(h, c, 20, keys, value_max);
        for (unsigned i = 0; i < 10; i++) {
            char key[16], value[64];
            (void)snprintf(key, sizeof key, "k%u", chance_below(c, keys));
            (void)snprintf(value, sizeof value, "{\"n\":%u,\"s\":\"%u\"}", chance_below(c, 50),
                           chance_below(c, 1000));
            history_put(h, "titles", key, value);
        }
        const char *name = chance_below(c, 2) != 0 ? "titles/i0" : "titles/i1";
        if (chance_below(c, 12) == 0)
            history_delete(h, INDEXES_COLLECTION, name);
        else if (chance_below(c, 3) == 0)
            history_put(h, INDEXES_COLLECTION, name, on[chance_below(c, 8) == 0]);
    }
}

static int index_step(struct state *s, struct err *e)
{
    int rc = state_index_step(s, 20, NULL, e);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* Digest of the model after each lsn. */
static struct digest *digests_of(const struct history *h)
{
    struct digest *d = calloc(h->n + 1, sizeof *d);
    struct model m;
    assert_non_null(d);
    model_init(&m);
    for (size_t i = 0; i < h->n; i++) {
        model_apply(&m, &h->v[i]);
        d[i + 1] = m.sum;
    }
    model_free(&m);
    return d;
}

/* 0 when the state is whole and has the digest; no cmocka inside, so that a child may call it. */
static int whole(struct state *s, struct digest want, struct err *e)
{
    struct state_snapshot *snap;
    struct state_totals totals = {.records = 0};
    int rc = state_snapshot_open(s, &snap, e);
    if (rc != 0)
        return rc;
    rc = state_totals(snap, &totals, e);
    if (rc == 0)
        rc = state_verify(snap, e);
    state_snapshot_close(snap);
    if (rc == 0 && !digest_equal(totals.digest, want))
        rc = err_set(e, ERR_INTEGRITY, "the digest is not the model's");
    return rc;
}

static void checkpoint(struct state *s)
{
    struct entry_position at;
    must(state_checkpoint_begin(s, &at, &e));
    must(state_checkpoint_finish(s, &e));
}

/* ---- power cuts ---- */

struct picture {
    uint8_t *p;
    size_t n;
    struct entry_position at;
};

struct album {
    struct picture since_sync[PICTURES];
    size_t n;
};

static void album_add(struct album *a, const char *dir, struct state *s)
{
    assert_true(a->n < PICTURES);
    struct picture *p = &a->since_sync[a->n++];
    p->p = kit_read(dir, "data.mdb", &p->n);
    p->at = state_applied(s);
}

static void album_clear(struct album *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->since_sync[i].p);
    a->n = 0;
}

static uint8_t *cut_image(const struct album *a, struct chance *c, size_t *n)
{
    *n = a->since_sync[a->n - 1].n; /* files only grow */
    uint8_t *image = calloc(1, *n);
    assert_non_null(image);
    for (size_t page = 0; page < *n; page += PAGE) {
        bool torn = chance_below(c, 10) == 0;
        size_t from = chance_below(c, (uint32_t)a->n);
        for (size_t at = page; at < page + PAGE && at < *n; at += SECTOR) {
            if (torn)
                from = chance_below(c, (uint32_t)a->n);
            const struct picture *p = &a->since_sync[from];
            if (at + SECTOR <= p->n)
                memcpy(image + at, p->p + at, SECTOR);
        }
    }
    return image;
}

static void step(struct state *s, const struct history *h, struct chance *c, uint32_t most)
{
    size_t at = state_applied(s).lsn.v, n = 1 + chance_below(c, most);
    must(state_apply(s, h->v + at, n > h->n - at ? h->n - at : n, &e));
    must(index_step(s, &e));
}

/* Open what the cut left, replay some steps (taking pictures, from which the next cut may come), compare. */
static void recover(const char *dir, const struct history *h, const struct digest *digests,
                    struct chance *c, struct lsn checkpointed, struct album *pictures)
{
    struct state_options o = kit_options(dir);
    struct state *s;
    must(state_open(&s, &o, &e));
    assert_int_equal(state_applied(s).lsn.v, checkpointed.v);
    must(whole(s, digests[checkpointed.v], &e));
    album_add(pictures, dir, s);
    for (unsigned i = 0; i < 4; i++) {
        step(s, h, c, 60);
        album_add(pictures, dir, s);
    }
    must(whole(s, digests[state_applied(s).lsn.v], &e));
    state_close(s);
}

static void put_image(const char *dir, const struct album *a, struct chance *c, const uint8_t *side,
                      size_t side_n)
{
    size_t n;
    uint8_t *image = cut_image(a, c, &n);
    kit_write(dir, "data.mdb", image, n);
    kit_write(dir, "checkpoint", side, side_n);
    free(image);
}

/* The slot that is being written: copy 0 torn, or whole with copy 1 torn. */
static void tear_next_slot(uint8_t *side, struct chance *c)
{
    struct slot now, next;
    uint8_t block[SLOT_BYTES];
    must(slot_choose(side, &now, &e));
    next = now;
    next.sequence++;
    next.at.lsn.v += 1000; /* would be noticed if it counted */
    slot_encode(&next, block);
    for (size_t at = 0; at < SLOT_BYTES; at += SECTOR)
        if (at == 0 ? chance_below(c, 2)
                    : at < SLOT_BYTES - SECTOR) /* never the checksum: a torn one */
            memcpy(side + slot_offset(next.sequence, 0) + at, block + at, SECTOR);
}

static void power_cuts_lose_nothing(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {11};
    struct album a = {.n = 0}, again = {.n = 0}, ignored = {.n = 0};
    char dir[64], cut[64];
    struct state *s;
    unsigned images = 0;
    history_with_indexes(&h, &c, 9000, 300, 2500);
    struct digest *digests = digests_of(&h);
    kit_dir_new(dir);
    kit_dir_new(cut);
    struct state_options o = kit_options(dir);
    must(state_open(&s, &o, &e));
    struct entry_position at;
    must(state_checkpoint_begin(s, &at, &e));
    for (unsigned round = 0; round < ROUNDS(5, 2); round++) {
        must(state_checkpoint_finish(s, &e));
        album_clear(&a);
        album_add(&a, dir, s);
        for (unsigned i = 1; i < PICTURES - 2; i++) {
            step(s, &h, &c, 60);
            if (i == 3) { /* one in flight must not weaken the published one */
                must(state_checkpoint_begin(s, &at, &e));
                state_checkpoint_abandon(s);
            }
            if (i == 5) /* and the writer goes on until it is finished, in the next round */
                must(state_checkpoint_begin(s, &at, &e));
            album_add(&a, dir, s);
        }
        size_t side_n;
        uint8_t *side = kit_read(dir, "checkpoint", &side_n);
        struct lsn checkpointed = state_checkpoint(s).lsn;
        for (unsigned i = 0; i < 9; i++, images += 3) {
            if (i % 3 == 0)
                tear_next_slot(side, &c);
            put_image(cut, &a, &c, side, side_n);
            album_clear(&again);
            recover(cut, &h, digests, &c, checkpointed, &again);
            /* The power fails again, twice, during the replay. Opening has synced the first picture. */
            for (unsigned k = 0; k < 2; k++) {
                put_image(cut, &again, &c, side, side_n);
                album_clear(&ignored);
                recover(cut, &h, digests, &c, checkpointed, &ignored);
            }
        }
        free(side);
    }
    print_message("%u power cuts\n", images);
    state_close(s);
    album_clear(&a);
    album_clear(&again);
    album_clear(&ignored);
    kit_dir_remove(dir);
    kit_dir_remove(cut);
    free(digests);
    history_free(&h);
}

/* In a child: damaged trees may make LMDB crash or loop. */
static bool survives(const char *dir, const struct digest *digests)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
        for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
            (void)signal(fatal[i], SIG_DFL); /* cmocka would go on with the tests */
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDERR_FILENO);
        (void)alarm(10);
        struct state_options o = kit_options(dir);
        struct state *s;
        struct err e = ERR_NONE;
        if (state_open(&s, &o, &e) != 0 || whole(s, digests[state_applied(s).lsn.v], &e) != 0)
            _exit(1);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static uint64_t meta_txn(const uint8_t *page)
{
    return get_le64(page + SLOT_META_BYTES - 8);
}

/* What opening without going back to the checkpoint would believe: the newest meta page in the image. */
static bool trust_newest_meta(const char *dir, const struct album *a)
{
    size_t n, side_n;
    uint8_t *image = kit_read(dir, "data.mdb", &n), *side = kit_read(dir, "checkpoint", &side_n);
    const uint8_t *page = meta_txn(image) > meta_txn(image + PAGE) ? image : image + PAGE;
    struct slot slot;
    must(slot_choose(side, &slot, &e));
    slot.txn_id = meta_txn(page);
    slot.sequence++;
    bool known = false;
    for (size_t i = 0; i < a->n; i++) { /* which position that transaction has */
        const uint8_t *p = a->since_sync[i].p;
        uint64_t newest = meta_txn(p) > meta_txn(p + PAGE) ? meta_txn(p) : meta_txn(p + PAGE);
        if (newest == slot.txn_id) {
            slot.at = a->since_sync[i].at;
            known = true;
        }
    }
    if (known) {
        must(slot_take_meta(&slot, page, &e));
        slot_encode(&slot, side + slot_offset(slot.sequence, 0));
        slot_encode(&slot, side + slot_offset(slot.sequence, 1));
        kit_write(dir, "checkpoint", side, side_n);
    }
    free(image);
    free(side);
    return known;
}

static void without_going_back_the_same_cuts_destroy(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {12};
    struct album a = {.n = 0};
    char dir[64], cut[64];
    struct state *s;
    unsigned tried = 0, broken = 0;
    history_random(&h, &c, 3000, 300, 2500);
    struct digest *digests = digests_of(&h);
    kit_dir_new(dir);
    kit_dir_new(cut);
    struct state_options o = kit_options(dir);
    must(state_open(&s, &o, &e));
    step(s, &h, &c, 500);
    checkpoint(s);
    size_t side_n;
    uint8_t *side = kit_read(dir, "checkpoint", &side_n);
    for (unsigned i = 0; i < PICTURES; i++) {
        album_add(&a, dir, s);
        step(s, &h, &c, 60);
    }
    state_close(s);
    for (unsigned i = 0; i < 40; i++) {
        put_image(cut, &a, &c, side, side_n);
        assert_true(survives(cut, digests)); /* with the slot as it was */
        put_image(cut, &a, &c, side, side_n);
        if (!trust_newest_meta(cut, &a))
            continue;
        tried++;
        broken += !survives(cut, digests);
    }
    print_message("without putting the meta page back %u of %u images are broken\n", broken, tried);
    assert_true(tried >= 20);
    assert_true(broken * 10 >= tried * 7);
    free(side);
    album_clear(&a);
    kit_dir_remove(dir);
    kit_dir_remove(cut);
    free(digests);
    history_free(&h);
}

/* ---- the order of syncs, and syncs that fail ---- */

/* Stands before the C library's in this program, for LMDB's calls as well. */
static struct {
    const char *dir; /* NULL: nothing is watched */
    char order
        [64]; /* d: data file, c: side file; each with the newest sequence the side file has then */
    unsigned fail_at; /* this call fails; 0: none */
    unsigned calls;
} syncs;

int fdatasync(int fd)
{
    if (syncs.dir == NULL)
        return (int)syscall(SYS_fdatasync, fd);
    if (++syncs.calls == syncs.fail_at) {
        errno = EIO;
        return -1;
    }
    char link[64], name[256];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof name - 1);
    name[n < 0 ? 0 : n] = '\0';
    struct slot newest = {.sequence = 0};
    char path[128];
    kit_path(path, syncs.dir, "checkpoint");
    if (access(path, F_OK) == 0) {
        size_t side_n;
        uint8_t *side = kit_read(syncs.dir, "checkpoint", &side_n);
        (void)slot_choose(side, &newest, NULL);
        free(side);
    }
    size_t used = strlen(syncs.order);
    (void)snprintf(syncs.order + used, sizeof syncs.order - used, " %c%llu",
                   strstr(name, "data.mdb") != NULL ? 'd' : 'c',
                   (unsigned long long)newest.sequence);
    return (int)syscall(SYS_fdatasync, fd);
}

static void watch_syncs(const char *dir, unsigned fail_at)
{
    syncs.dir = dir;
    syncs.order[0] = '\0';
    syncs.calls = 0;
    syncs.fail_at = fail_at;
}

static void syncs_come_in_the_one_right_order(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    char dir[64];
    struct state *s;
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    history_put(&h, "a", "k", "1");
    watch_syncs(dir, 0);
    must(state_open(&s, &o, &e));
    assert_string_equal(syncs.order, " d0 c0 c0"); /* data, then a side file under another name */
    watch_syncs(dir, 0);
    must(state_apply(s, h.v, 1, &e));
    assert_string_equal(syncs.order, ""); /* what all this is for */
    checkpoint(s);
    assert_string_equal(syncs.order,
                        " d1 c2 c2"); /* nothing is told of S' before its data is durable */
    watch_syncs(dir, 0);
    checkpoint(s);
    assert_string_equal(syncs.order, "");
    state_close(s);
    watch_syncs(dir, 0);
    must(state_open(&s, &o, &e));
    assert_string_equal(syncs.order,
                        " c2 c2 d2"); /* the slot is durable before the file is put back to it */
    syncs.dir = NULL;
    state_close(s);
    kit_dir_remove(dir);
    history_free(&h);
}

/* Open, apply, publish, with the k-th sync failing. Returns the lsn that was published. */
static uint64_t run_once(struct state_options *o, const struct history *h, unsigned k, bool *failed)
{
    struct state *s;
    struct err why = ERR_NONE;
    struct entry_position at;
    watch_syncs(o->dir, k);
    int rc = state_open(&s, o, &why);
    if (rc == 0) {
        size_t from = state_applied(s).lsn.v;
        must(state_apply(s, h->v + from, 10, &e));
        must(state_checkpoint_begin(s, &at, &e));
        rc = state_checkpoint_finish(s, &why);
        if (rc != 0)
            must_fail(state_apply(s, h->v + from + 10, 1, &e), ERR_IO, "restart the site");
    }
    syncs.dir = NULL;
    *failed = rc != 0;
    if (rc != 0) {
        assert_int_equal(rc, ERR_IO);
        assert_non_null(strstr(why.text, strerrordesc_np(EIO)));
    }
    uint64_t lsn = s == NULL ? 0 : state_checkpoint(s).lsn.v;
    state_close(s);
    return lsn;
}

static void a_failed_sync_is_told_and_nothing_is_lost(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {14};
    history_random(&h, &c, 300, 30, 500);
    struct digest *digests = digests_of(&h);
    for (unsigned fresh = 0; fresh < 2; fresh++) {
        bool failed = true;
        unsigned k = 0;
        while (failed) {
            char dir[64];
            kit_dir_new(dir);
            struct state_options o = kit_options(dir);
            struct state *s;
            bool ignored;
            uint64_t before = fresh ? 0 : run_once(&o, &h, 0, &ignored);
            uint64_t lsn = run_once(&o, &h, ++k, &failed);
            must(state_open(&s, &o, &e));
            /* Told as published: there. Not told: the slot may be there all the same. */
            assert_true(state_applied(s).lsn.v >= lsn && state_applied(s).lsn.v >= before);
            assert_int_equal(state_applied(s).lsn.v, state_checkpoint(s).lsn.v);
            must(whole(s, digests[state_applied(s).lsn.v], &e));
            state_close(s);
            kit_dir_remove(dir);
        }
        assert_int_equal(k, 7); /* each of the six syncs failed once */
    }
    free(digests);
    history_free(&h);
}

/* ---- SIGKILL ---- */

static void *finish_checkpoint(void *arg)
{
    struct err e = ERR_NONE;
    if (state_checkpoint_finish(arg, &e) != 0)
        _exit(3);
    return NULL;
}

/* Apply and publish on two threads, as the site does; tell each published lsn. Does not return. */
static void run_until_killed(const char *dir, const struct history *h, struct chance c, int told)
{
    struct state_options o = kit_options(dir);
    struct state *s;
    struct err e = ERR_NONE;
    struct entry_position at;
    if (state_open(&s, &o, &e) != 0)
        _exit(1);
    while (state_applied(s).lsn.v < h->n) {
        pthread_t thread;
        if (state_checkpoint_begin(s, &at, &e) != 0 ||
            pthread_create(&thread, NULL, finish_checkpoint, s) != 0)
            _exit(2);
        for (unsigned i = 0; i < 5; i++) {
            size_t from = state_applied(s).lsn.v, n = 1 + chance_below(&c, 6);
            n = n > h->n - from ? h->n - from : n;
            if (state_apply(s, h->v + from, n, &e) != 0 || index_step(s, &e) != 0)
                _exit(4);
        }
        (void)pthread_join(thread, NULL);
        uint64_t lsn = state_checkpoint(s).lsn.v;
        if (lsn != at.lsn.v || write(told, &lsn, sizeof lsn) != sizeof lsn)
            _exit(5);
    }
    (void)close(told);
    for (;;)
        (void)pause();
}

static void kills_lose_nothing_published(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {13};
    char dir[64];
    history_with_indexes(&h, &c, 9000, 300, 1000);
    struct digest *digests = digests_of(&h);
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    uint64_t published = 0;
    unsigned moved = 0;
    for (unsigned round = 0; round < 24; round++) {
        int told[2];
        assert_int_equal(pipe(told), 0);
        struct chance child = {chance_u64(&c)};
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            run_until_killed(dir, &h, child, told[1]);
        (void)close(told[1]);
        /* At any moment after some publications: so slow machines come forward as well. */
        uint64_t lsn, before = published;
        for (uint32_t wait = chance_below(&c, 4);
             wait > 0 && read(told[0], &lsn, sizeof lsn) == sizeof lsn; wait--)
            published = lsn;
        (void)usleep(chance_below(&c, 5000));
        assert_int_equal(kill(pid, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSIGNALED(status))
            fail_msg("the child ended with %d", WEXITSTATUS(status));
        while (read(told[0], &lsn, sizeof lsn) == (ssize_t)sizeof lsn)
            published = lsn;
        (void)close(told[0]);
        moved += published > before;

        struct state *s;
        must(state_open(&s, &o, &e));
        lsn = state_applied(s).lsn.v;
        assert_true(lsn >= published);
        assert_int_equal(state_checkpoint(s).lsn.v, lsn);
        must(whole(s, digests[lsn], &e));
        state_close(s);
        published = lsn;
    }
    print_message("24 kills, lsn %llu reached, %u rounds published\n",
                  (unsigned long long)published, moved);
    assert_true(moved > 5);
    kit_dir_remove(dir);
    free(digests);
    history_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cuts_lose_nothing),
        cmocka_unit_test(without_going_back_the_same_cuts_destroy),
        cmocka_unit_test(syncs_come_in_the_one_right_order),
        cmocka_unit_test(a_failed_sync_is_told_and_nothing_is_lost),
        cmocka_unit_test(kills_lose_nothing_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
