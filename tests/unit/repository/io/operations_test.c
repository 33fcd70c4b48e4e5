/* The operations log of an archive: it names what was sealed, takes what is handed in, survives crashes, and whatever it names
 * and is not there any more as it was is told; so is a log that was changed, cut or put back. */
#include "repository/operations.h"

#include "repository/io/archive.h"
#include "repository/io/tiles.h"
#include "repository/proof.h"
#include "repository/scrub.h"
#include "tests/unit/repository/fixture.h"

#include <errno.h>

struct box {
    struct place place;
    char key[120];
    struct repository *r;
    struct feed feed;
};

static void open_tree(struct box *b)
{
    char vkey[TLOG_VKEY_BYTES];
    struct err e = ERR_NONE;
    bool made;
    b->r = archive_open(&b->place, false);
    assert_ok(repository_tree_open(b->r, b->key, vkey, &made, &e), e);
}

static void reopen(struct box *b)
{
    repository_close(b->r);
    open_tree(b);
}

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    place_make(&b->place);
    (void)snprintf(b->key, sizeof b->key, "%s/checkpoint.key", b->place.root);
    open_tree(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    repository_close(b->r);
    feed_drop(&b->feed);
    place_drop(&b->place);
    free(b);
    return 0;
}

static void seal(struct box *b, unsigned entries)
{
    struct err e = ERR_NONE;
    feed_mixed(&b->feed, entries);
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
}

static void publish(struct box *b)
{
    struct err e = ERR_NONE;
    assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
}

/* ---- what the log says ---- */

struct seen {
    size_t n, pending;
    struct operation at[700];
};

static int see(void *arg, uint64_t index, const struct operation *o)
{
    struct seen *s = arg;
    assert_true(s->n < 700);
    if (index == UINT64_MAX)
        s->pending++;
    else
        assert_int_equal(index, s->n);
    s->at[s->n++] = *o;
    return 0;
}

/* As a stranger reads it, who has no KEK. */
static struct seen *read_log(const struct box *b)
{
    struct seen *s = calloc(1, sizeof *s);
    struct operations_summary sum;
    struct err e = ERR_NONE;
    assert_non_null(s);
    assert_ok(repository_operations(b->place.dir, see, s, &sum, &e), e);
    assert_int_equal(sum.leaves, s->n);
    return s;
}

static void assert_pack(const struct box *b, const struct operation *o, size_t i)
{
    const struct repo_pack *p = &b->r->inv.packs[i];
    assert_int_equal(o->kind, OPERATION_PACK);
    assert_string_equal(o->object, p->o.name);
    assert_true(o->bytes == p->o.bytes && sha256_equal(&o->sha256, &p->o.sha256));
    assert_true(o->first.v == p->first.v && o->last.v == p->o.end.lsn.v);
}

static int verify(struct box *b, enum repository_level level, struct damages *d,
                  struct repository_report *report)
{
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, true);
    *d = (struct damages){0};
    int rc = repository_verify(r, level, note_damage, NULL, d, report, &e);
    repository_close(r);
    return rc;
}

static void assert_whole(struct box *b, uint64_t leaves)
{
    struct damages d;
    struct repository_report report;
    for (int level = REPOSITORY_PRESENT; level <= REPOSITORY_READABLE; level++) {
        if (verify(b, (enum repository_level)level, &d, &report) != 0)
            fail_msg("level %d: %s", level, d.all);
        assert_int_equal(report.operations, leaves);
        assert_int_equal(report.unnamed, 0);
    }
}

/* At every level: the least one is enough to miss something. */
static void assert_told(struct box *b, const char *object, const char *reason)
{
    struct damages d;
    struct repository_report report;
    char line[400];
    for (int level = REPOSITORY_PRESENT; level <= REPOSITORY_READABLE; level++) {
        assert_int_equal(verify(b, (enum repository_level)level, &d, &report), ERR_INTEGRITY);
        (void)snprintf(line, sizeof line, "%s: %s", object, reason);
        if (strstr(d.all, line) == NULL)
            fail_msg("level %d: '%s' is not told in: %s", level, line, d.all);
    }
}

static void each_pack_is_named_and_bound_to_the_tree_before(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repository_tree *t = NULL;
    seal(b, 20);
    publish(b);
    assert_ok(repository_tree_read(&t, b->place.dir, &e), e);
    struct tlog_checkpoint first = *repository_tree_checkpoint(t);
    repository_tree_close(t);
    seal(b, 5);
    seal(b, 5);
    publish(b);
    publish(b); /* nothing new */
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_pack(b, &s->at[i], i);
        assert_false(s->at[i].mended);
    }
    assert_int_equal(s->at[0].tree_size, 0); /* nothing was published then */
    assert_int_equal(s->at[2].tree_size, first.size);
    assert_true(sha256_equal(&s->at[2].tree_root, &first.root));
    free(s);
    assert_whole(b, 3);
    reopen(b);
    seal(b, 1);
    publish(b);
    assert_whole(b, 4);
}

static void an_archive_that_is_older_than_its_log_gets_it(void **state)
{
    struct box *b = *state;
    struct damages d;
    struct repository_report report;
    char path[200];
    (void)snprintf(path, sizeof path, "%s/tree", b->place.dir);
    repository_close(b->r);
    tree_remove(path);
    assert_int_equal(unlink(b->key), 0);
    b->r = archive_open(&b->place, false); /* it signs nothing */
    for (unsigned i = 0; i < 70; i++)      /* more than one batch */
        seal(b, 1);
    if (verify(b, REPOSITORY_READABLE, &d, &report) != 0)
        fail_msg("%s", d.all);
    assert_int_equal(report.operations, 0); /* none yet, and that is no damage */
    reopen(b);
    publish(b);
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 70);
    for (size_t i = 0; i < 70; i++) {
        assert_pack(b, &s->at[i], i);
        assert_true(s->at[i].mended);
    }
    free(s);
    assert_whole(b, 70);
}

static void what_is_not_recorded_yet_is_counted_and_no_damage(void **state)
{
    struct box *b = *state;
    struct damages d;
    struct repository_report report;
    seal(b, 3);
    publish(b);
    seal(b, 3);
    if (verify(b, REPOSITORY_READABLE, &d, &report) != 0)
        fail_msg("%s", d.all);
    assert_int_equal(report.unnamed, 1);
    publish(b);
    assert_whole(b, 2);
}

/* ---- handed in ---- */

static void hand_in(struct box *b, enum operation_kind kind, uint64_t checked)
{
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, true); /* beside the site */
    struct operation o = {.kind = kind, .checked = checked, .detail = "readable"};
    assert_ok(repository_operations_add(r, &o, &e), e);
    assert_true(o.id != 0 && o.time.us != 0);
    repository_close(r);
}

static void what_is_handed_in_counts_at_once_and_is_signed_later(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct operations_summary sum;
    static struct seen all;
    seal(b, 3);
    publish(b);
    hand_in(b, OPERATION_VERIFY, 7);
    hand_in(b, OPERATION_DRILL, 8);
    all = (struct seen){0};
    assert_ok(repository_operations_of(b->r, see, &all, &sum, &e), e);
    assert_true(all.n == 3 && all.pending == 2 && sum.pending == 2 && sum.leaves == 1);
    assert_true(all.at[1].checked == 7 && all.at[2].checked == 8);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 3);
    assert_true(s->at[1].kind == OPERATION_VERIFY && s->at[1].id == all.at[1].id);
    assert_int_equal(s->at[2].tree_size, b->feed.at.lsn.v);
    free(s);
    assert_ok(repository_operations_of(b->r, see, &(struct seen){0}, &sum, &e), e);
    assert_int_equal(sum.pending, 0);
    assert_whole(b, 3);
    struct operation pack = {.kind = OPERATION_PACK};
    assert_int_equal(repository_operations_add(b->r, &pack, &e), ERR_USAGE);
}

static void pending_path(struct box *b, char out[300])
{
    find_object(&b->place, "operations/pending", ".json", 0, out);
}

static void what_cannot_be_removed_is_taken_once(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[300], saved[200];
    seal(b, 3);
    hand_in(b, OPERATION_VERIFY, 7);
    pending_path(b, path);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    assert_int_equal(link(path, saved), 0);
    publish(b);
    for (int i = 0; i < 2; i++) {
        assert_true(link(saved, path) == 0 || errno == EEXIST); /* as if it were still there */
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_whole(b, 2);
        reopen(b);
    }
}

static void nothing_is_taken_whose_seal_does_not_hold(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[300];
    size_t n;
    seal(b, 3);
    publish(b);
    hand_in(b, OPERATION_DISPOSE, 1);
    pending_path(b, path);
    uint8_t *p = slurp(path, &n), *at = memmem(p, n, "\"checked\":1", 11);
    assert_non_null(at);
    at[10] = '2';
    assert_int_equal(unlink(path), 0);
    write_file(path, p, n, 0440);
    free(p);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e); /* the site goes on */
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 1);
    free(s);
    assert_told(b, path + strlen(b->place.dir) + 1, "it cannot be taken");
}

/* ---- crashes ---- */

static void an_interrupted_writer_is_finished_with_the_same_leaves(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[200], next[200], saved[200];
    (void)snprintf(path, sizeof path, "%s/operations/checkpoint", b->place.dir);
    (void)snprintf(next, sizeof next, "%s/operations/next", b->place.dir);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    seal(b, 3);
    publish(b);
    assert_int_equal(link(path, saved), 0);
    hand_in(b, OPERATION_VERIFY, 7);
    seal(b, 3);
    publish(b);
    struct seen *before = read_log(b);
    assert_int_equal(before->n, 3);
    /* As if the power had gone before the checkpoint: the tiles are there. */
    assert_int_equal(rename(saved, path), 0);
    reopen(b);
    seal(b, 3);
    publish(b);
    struct seen *after = read_log(b);
    assert_int_equal(after->n, 4);
    assert_memory_equal(after->at, before->at, 3 * sizeof before->at[0]);
    assert_whole(b, 4);
    free(before);
    free(after);
    /* Without what was written down before, other leaves do not get over the tiles: nothing is signed. */
    assert_int_equal(link(path, saved), 0);
    hand_in(b, OPERATION_VERIFY, 8);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    assert_int_equal(rename(saved, path), 0);
    assert_int_equal(unlink(next), 0);
    reopen(b);
    seal(b, 3);
    assert_int_equal(repository_operations_settle(b->r, NULL, &e), ERR_INTEGRITY);
}

static void the_log_grows_over_many_tiles(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[200];
    seal(b, 3);
    publish(b);
    for (unsigned i = 0; i < 530; i++)
        hand_in(b, OPERATION_DRILL, i + 1);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 531);
    free(s);
    assert_whole(b, 531);
    reopen(b);
    hand_in(b, OPERATION_DRILL, 1000);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    assert_whole(b, 532);
    (void)snprintf(path, sizeof path, "%s/operations/tile/entries/000.p", b->place.dir);
    assert_int_equal(access(path, F_OK), -1); /* partial ones go when the full one is there */
    (void)snprintf(path, sizeof path, "%s/operations/tile/entries/000", b->place.dir);
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- holds and releases ---- */

static struct repository_ordered ordered(bool release, uint8_t nonce, uint8_t ends, uint64_t lsn)
{
    return (struct repository_ordered){
        release, {{nonce}, {lsn}, {1700000000000000 + lsn}, {{nonce, 7}}}, {ends}};
}

static void assert_ordered(const struct operation *o, enum operation_kind kind, uint64_t lsn,
                           const char *detail)
{
    assert_int_equal(o->kind, kind);
    assert_int_equal(o->last.v, lsn);
    assert_int_equal(o->time.us, 1700000000000000 + lsn);
    assert_string_equal(o->detail, detail);
    assert_true(o->has_reference && o->reference.b[1] == 7);
}

#define ZEROS "000000000000000000000000000000"
static void each_hold_and_release_has_one_leaf_however_often_it_is_told(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repository_ordered at[3] = {ordered(false, 0xa1, 0, 5), ordered(true, 0xa2, 0xa1, 6),
                                       ordered(false, 0xa3, 0, 7)};
    const struct repository_orders two = {at, 2}, three = {at, 3};
    seal(b, 8);
    assert_ok(repository_operations_settle(b->r, &two, &e), e);
    assert_ok(repository_operations_settle(b->r, &two, &e), e);
    publish(b);
    reopen(b); /* and all of them are told again */
    assert_ok(repository_operations_settle(b->r, &three, &e), e);
    reopen(b);
    assert_ok(repository_operations_settle(b->r, &three, &e), e);
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 4);
    assert_ordered(&s->at[0], OPERATION_HOLD, 5, "warrant a1" ZEROS);
    assert_ordered(&s->at[1], OPERATION_RELEASE, 6, "warrant a2" ZEROS " ends warrant a1" ZEROS);
    assert_ordered(&s->at[3], OPERATION_HOLD, 7, "warrant a3" ZEROS);
    free(s);
    assert_whole(b, 4);
}

static void a_hold_that_was_being_written_down_is_neither_lost_nor_doubled(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[200], next[200], saved[200];
    struct repository_ordered at[1] = {ordered(false, 0xa1, 0, 2)};
    const struct repository_orders orders = {at, 1};
    (void)snprintf(path, sizeof path, "%s/operations/checkpoint", b->place.dir);
    (void)snprintf(next, sizeof next, "%s/operations/next", b->place.dir);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    for (int written = 0; written < 2; written++) {
        seal(b, 3);
        publish(b);
        assert_int_equal(link(path, saved), 0);
        assert_ok(repository_operations_settle(b->r, &orders, &e), e);
        struct seen *before = read_log(b);
        assert_int_equal(rename(saved, path), 0); /* the power goes before the checkpoint */
        reopen(b);
        assert_ok(repository_operations_settle(b->r, &orders, &e), e);
        struct seen *after = read_log(b);
        assert_int_equal(after->n, before->n);
        assert_memory_equal(after->at, before->at, before->n * sizeof before->at[0]);
        free(before);
        free(after);
        at[0] = ordered(true, 0xa2, 0xa1, 3);
    }
    assert_whole(b, 4);
}

static void who_holds_is_said_by_the_site_alone(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct operation o = {
        .kind = OPERATION_HOLD, .last = {1}, .detail = "warrant a1" ZEROS, .has_reference = true};
    seal(b, 3);
    assert_int_equal(repository_operations_add(b->r, &o, &e), ERR_USAGE);
    o.kind = OPERATION_RELEASE;
    assert_int_equal(repository_operations_add(b->r, &o, &e), ERR_USAGE);
    o.kind = OPERATION_DRILL;
    assert_ok(repository_operations_add(b->r, &o, &e), e);
}

/* ---- what is wrong is found ---- */

static void changed(const char *path, size_t at, size_t cut)
{
    size_t n;
    uint8_t *p = slurp(path, &n);
    p[at % n] ^= cut == 0;
    assert_int_equal(unlink(path), 0);
    write_file(path, p, n - cut, 0440);
    free(p);
}

static void remove_pack(struct box *b, unsigned nth)
{
    char path[300];
    find_object(&b->place, "packs", ".pack", nth, path);
    assert_int_equal(unlink(path), 0);
    find_object(&b->place, "packs", ".meta", nth, path);
    assert_int_equal(unlink(path), 0);
    find_object(&b->place, "keys/1", ".pack.key", nth, path);
    assert_int_equal(unlink(path), 0);
}

/* Byte where each pack's entries begin, and the end. */
static void seal_three(struct box *b, size_t at[4])
{
    for (size_t i = 0; i < 3; i++) {
        at[i] = b->feed.n;
        seal(b, 10);
    }
    at[3] = b->feed.n;
    publish(b);
}

static void a_pack_that_was_made_again_is_named_and_the_one_before_is_not_missed(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char old[REPO_NAME_BYTES], named[REPO_NAME_BYTES];
    size_t at[4];
    seal_three(b, at);
    for (unsigned i = 1; i <= 2; i++) { /* the middle one, and then the last */
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[i].o.name);
        remove_pack(b, i);
        assert_ok(repository_heal_pack(b->r, old, bytes_of(b->feed.p + at[i], at[i + 1] - at[i]),
                                       false, named, &e),
                  e);
        if (i == 2)
            reopen(b); /* a crash before it is recorded */
        assert_told(b, old, "the operations log names it, and it is missing");
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_whole(b, 3 + 2ull * i);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e); /* once */
        struct seen *s = read_log(b);
        assert_int_equal(s->n, 3 + 2 * i);
        const struct operation *pack = &s->at[s->n - 2], *heal = &s->at[s->n - 1];
        assert_pack(b, pack, i);
        assert_string_equal(pack->object, named);
        assert_int_equal(heal->kind, OPERATION_HEAL);
        assert_string_equal(heal->object, old);
        assert_string_equal(heal->detail, named);
        free(s);
    }
    reopen(b);
    seal(b, 3);
    publish(b);
    assert_whole(b, 8);
}

static int heal(struct box *b, const char *old, size_t from, size_t to, bool own, struct err *e)
{
    char named[REPO_NAME_BYTES];
    *e = (struct err)ERR_NONE;
    return repository_heal_pack(b->r, old, bytes_of(b->feed.p + from, to - from), own, named, e);
}

/* At the start: nothing of it is there, and the site seals behind it, at the entry that was signed. */
static void a_pack_that_is_gone_has_its_name_and_its_place_again(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char old[REPO_NAME_BYTES];
    size_t at[4];
    for (unsigned i = 0, packs = 0; i < 3; i++) { /* the first, the middle and the last of three */
        seal_three(b, at);
        packs += 3;
        const unsigned gone = packs - 3 + i;
        const struct entry_position end = b->r->inv.packs[gone].o.end;
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[gone].o.name);
        remove_pack(b, gone);
        reopen(b);
        assert_int_equal(b->r->inv.pack_count, packs);
        const struct repo_object *o = &b->r->inv.packs[gone].o;
        assert_string_equal(o->name, old);
        assert_true(o->damaged && !o->unplaced && repo_position_equal(&o->end, &end));
        struct repository_status s;
        repository_status(b->r, &s);
        assert_int_equal(s.archived.lsn.v, b->feed.at.lsn.v);
        assert_int_equal(s.damaged, 1);
        seal(b, 2);
        publish(b);
        packs++;
        assert_told(b, old, "the operations log names it, and it is missing");
        assert_int_not_equal(heal(b, old, at[(i + 1) % 3], at[(i + 1) % 3 + 1], true, &e), 0);
        assert_ok(heal(b, old, at[i], at[i + 1], false, &e), e);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_whole(
            b, 6u * (i + 1)); /* four packs, the new one, and that the old one need not be there */
    }
}

/* The last pack is named by nobody and is not in the tree, or what the tree says of it does not lead to what was signed. */
static void where_nothing_proves_the_place_nothing_is_sealed(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repository_status s;
    char path[300], old[REPO_NAME_BYTES];
    size_t at[4];
    seal_three(b, at);
    const size_t begin = b->feed.n;
    seal(b, 4);
    const size_t end = b->feed.n;
    (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[3].o.name);
    find_object(&b->place, "packs", ".meta", 3, path);
    changed(path, 100, 0);
    for (int forged = 0; forged <= 1; forged++) {
        reopen(b);
        assert_true(b->r->inv.packs[3].o.unplaced);
        /* Of two that are damaged and have the same lsns, one stands for both. */
        assert_int_equal(b->r->inv.pack_count, 4);
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[3].o.name);
        repository_status(b->r, &s);
        assert_int_equal(s.archived.lsn.v, 30);
        assert_int_equal(repository_ready(b->r, &e), ERR_INTEGRITY);
        assert_non_null(strstr(e.text, old));
        feed_put(&b->feed, "land", "plot", "x", 1);
        assert_int_equal(feed_seal(&b->feed, b->r, NULL, NULL, &e), ERR_INTEGRITY);
        assert_int_equal(heal(b, old, begin, end, false, &e), ERR_INTEGRITY);
        assert_non_null(strstr(e.text, "say where it begins and ends"));
        assert_int_not_equal(heal(b, old, at[2], at[3], true, &e), 0);
        if (forged != 0) {
            assert_int_equal(heal(b, old, begin, end, true, &e), ERR_INTEGRITY);
            assert_non_null(strstr(e.text, "does not lead to the root"));
            break;
        }
        assert_ok(heal(b, old, begin, end, true, &e), e); /* as it might be sealed */
        assert_ok(repository_ready(b->r, &e), e);
        /* Once more, now in the tree, whose header of its last entry is not the one that was signed. */
        publish(b);
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[3].o.name);
        (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, old);
        memcpy(strrchr(path, '.'), ".meta", 6);
        changed(path, 100, 0);
        (void)snprintf(path, sizeof path, "%s/tree/tile/entries/000.p/34", b->place.dir);
        changed(path, 33 * TREE_LEAF_BYTES + 2 + 60, 0);
    }
}

static void what_was_disposed_of_does_not_come_back_when_its_mark_is_lost(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    size_t at[4];
    struct operation o = {.kind = OPERATION_DISPOSE, .has_reference = true};
    seal_three(b, at);
    (void)snprintf(o.object, sizeof o.object, "%s", b->r->inv.packs[1].o.name);
    o.last = b->r->inv.packs[1].o.end.lsn;
    assert_ok(repository_operations_add(b->r, &o, &e), e);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    char path[300];
    find_object(&b->place, "keys/1", ".pack.key", 1, path);
    assert_int_equal(unlink(path), 0);
    reopen(b);
    assert_int_equal(heal(b, o.object, at[1], at[2], true, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "its mark is missing"));
}

/* The old one is still there, and only its content is damaged: with the new one gone it stands in the chain again. */
static void a_pack_that_was_made_again_and_is_lost_is_made_once_more(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char old[REPO_NAME_BYTES], named[REPO_NAME_BYTES], path[300];
    size_t at[4];
    for (int restart = 0; restart <= 1; restart++) {
        seal_three(b, at);
        const size_t i = b->r->inv.pack_count - 2;
        const struct bytes entries = bytes_of(b->feed.p + at[1], at[2] - at[1]);
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[i].o.name);
        assert_ok(repository_heal_pack(b->r, old, entries, false, named, &e), e);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, named);
        assert_int_equal(unlink(path), 0);
        memcpy(strrchr(path, '.'), ".meta", 6);
        assert_int_equal(unlink(path), 0);
        assert_told(b, named, "the operations log names it, and it is missing");
        if (restart != 0)
            reopen(b);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_told(b, named, "the operations log names it, and it is missing");
        assert_ok(repository_heal_pack(b->r, old, entries, false, named, &e), e);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_whole(b, 7u * (unsigned)(restart + 1));
    }
    reopen(b);
    seal(b, 1);
    publish(b);
    assert_whole(b, 15);
}

/* A copy has all but the new pack when it comes, and the old one besides. */
static void a_copy_gets_the_pack_that_was_made_again(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct place other;
    struct repository_copy *copy;
    struct repository_copy_report report;
    struct repository_report found;
    char old[REPO_NAME_BYTES], named[REPO_NAME_BYTES];
    struct damages d = {0};
    size_t at[4];
    place_make(&other);
    seal_three(b, at);
    assert_ok(repository_copy_open(&copy, other.dir, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &report, &e), e);
    (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[1].o.name);
    assert_ok(repository_heal_pack(b->r, old, bytes_of(b->feed.p + at[1], at[2] - at[1]), false,
                                   named, &e),
              e);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &report, &e), e);
    repository_copy_close(copy);
    struct repository *r = archive_open(&other, true);
    assert_string_equal(r->inv.packs[1].o.name, named);
    if (repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &d, &found, &e) != 0)
        fail_msg("%s", d.all);
    assert_int_equal(found.operations, 5);
    repository_close(r);
    place_drop(&other);
}

static void an_object_that_is_gone_with_all_its_files_is_missed_by_name(void **state)
{
    struct box *b = *state;
    for (int i = 0; i < 3; i++)
        seal(b, 3);
    publish(b);
    char last[REPO_NAME_BYTES], middle[REPO_NAME_BYTES];
    memcpy(last, b->r->inv.packs[2].o.name, sizeof last);
    memcpy(middle, b->r->inv.packs[1].o.name, sizeof middle);
    remove_pack(b, 2);
    assert_told(b, last, "the operations log names it, and it is missing");
    remove_pack(b, 1);
    assert_told(b, middle, "the operations log names it, and it is missing");
}

static void objects_that_were_exchanged_are_told(void **state)
{
    struct box *b = *state;
    char a[300], z[300], x[200];
    struct damages d;
    struct repository_report report;
    for (int i = 0; i < 2; i++)
        seal(b, 3);
    publish(b);
    find_object(&b->place, "packs", ".pack", 0, a);
    find_object(&b->place, "packs", ".pack", 1, z);
    (void)snprintf(x, sizeof x, "%s/exchanged", b->place.root);
    assert_int_equal(rename(a, x), 0);
    assert_int_equal(rename(z, a), 0);
    assert_int_equal(rename(x, z), 0);
    assert_int_equal(verify(b, REPOSITORY_INTACT, &d, &report), ERR_INTEGRITY);
    assert_int_equal(report.damaged >= 2, true);
    assert_non_null(strstr(d.all, b->r->inv.packs[0].o.name));
    assert_non_null(strstr(d.all, b->r->inv.packs[1].o.name));
}

static void an_object_that_was_sealed_anew_is_not_the_recorded_one(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    seal(b, 3);
    seal(b, 3);
    publish(b);
    /* Whoever has the KEK seals other bytes of the same entries: everything fits but the log. */
    char name[REPO_NAME_BYTES], log[200], saved[200];
    memcpy(name, b->r->inv.packs[1].o.name, sizeof name);
    (void)snprintf(log, sizeof log, "%s/operations", b->place.dir);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    remove_pack(b, 1);
    assert_int_equal(rename(log, saved), 0); /* or it would be missed */
    reopen(b);
    tree_remove(log);
    assert_int_equal(rename(saved, log), 0);
    b->feed.mark = 0;
    for (size_t at = 0; b->feed.mark == 0;) {
        struct entry_view v;
        size_t used;
        assert_int_equal(entry_decode(bytes_of(b->feed.p + at, b->feed.n - at), &v, &used, NULL),
                         0);
        at += used;
        if (v.header.lsn.v == b->r->inv.packs[0].o.end.lsn.v)
            b->feed.mark = at;
    }
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
    assert_told(b, name, "the operations log names it, and it is missing");
    assert_told(b, b->r->inv.packs[1].o.name, "its entries are in the signed tree");
}

static void a_changed_log_is_told(void **state)
{
    struct box *b = *state;
    static const char *const names[] = {"operations/checkpoint", "operations/tile/0/000.p/3",
                                        "operations/tile/entries/000.p/3"};
    for (int i = 0; i < 3; i++)
        seal(b, 3);
    publish(b);
    for (size_t i = 0; i < 3; i++)
        for (size_t cut = 0; cut < 2; cut++) {
            char path[200], saved[200];
            (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, names[i]);
            (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
            assert_int_equal(link(path, saved), 0);
            changed(path, 60, cut);
            assert_told(b, "operations", "operations/");
            struct err e = ERR_NONE;
            reopen(b);
            assert_int_equal(repository_operations_settle(b->r, NULL, &e), ERR_INTEGRITY);
            assert_int_equal(rename(saved, path), 0);
        }
    assert_whole(b, 3);
}

static void copy_file(const char *from, const char *to)
{
    size_t n;
    uint8_t *p = slurp(from, &n);
    (void)unlink(to);
    write_file(to, p, n, 0440);
    free(p);
}

static void a_log_that_was_put_back_is_told(void **state)
{
    struct box *b = *state;
    static const char *const names[] = {"checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"};
    char from[200], to[200];
    seal(b, 3);
    publish(b);
    for (int back = 0; back < 2; back++) {
        for (size_t i = 0; i < 3; i++) {
            (void)snprintf(from, sizeof from, "%s/operations/%s", b->place.dir, names[i]);
            (void)snprintf(to, sizeof to, "%s/kept-%zu", b->place.root, i);
            copy_file(back ? to : from, back ? from : to);
        }
        if (!back) {
            seal(b, 3);
            publish(b);
            assert_whole(b, 2);
        }
    }
    assert_told(b, b->r->inv.packs[1].o.name,
                "its entries are in the signed tree, and the operations");
}

static void a_log_that_is_gone_is_told(void **state)
{
    struct box *b = *state;
    char path[200];
    seal(b, 3);
    publish(b);
    (void)snprintf(path, sizeof path, "%s/operations", b->place.dir);
    tree_remove(path);
    assert_told(b, "operations/checkpoint", "it is missing, though its key lies in tree/keys");
}

static void a_tree_that_was_put_back_is_behind_its_log(void **state)
{
    struct box *b = *state;
    char from[200], to[200];
    seal(b, 3);
    publish(b);
    (void)snprintf(from, sizeof from, "%s/tree/checkpoint", b->place.dir);
    (void)snprintf(to, sizeof to, "%s/kept", b->place.root);
    copy_file(from, to);
    seal(b, 3);
    publish(b);
    seal(b, 3);
    publish(b);
    copy_file(to, from);
    assert_told(b, "tree/checkpoint", "the operations log names a signed tree of");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_pack_is_named_and_bound_to_the_tree_before, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_archive_that_is_older_than_its_log_gets_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_not_recorded_yet_is_counted_and_no_damage, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_handed_in_counts_at_once_and_is_signed_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_removed_is_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_taken_whose_seal_does_not_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(an_interrupted_writer_is_finished_with_the_same_leaves,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(each_hold_and_release_has_one_leaf_however_often_it_is_told,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_hold_that_was_being_written_down_is_neither_lost_nor_doubled, setup, teardown),
        cmocka_unit_test_setup_teardown(who_holds_is_said_by_the_site_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(the_log_grows_over_many_tiles, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_pack_that_was_made_again_is_named_and_the_one_before_is_not_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pack_that_is_gone_has_its_name_and_its_place_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(where_nothing_proves_the_place_nothing_is_sealed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            what_was_disposed_of_does_not_come_back_when_its_mark_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pack_that_was_made_again_and_is_lost_is_made_once_more,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_gets_the_pack_that_was_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_object_that_is_gone_with_all_its_files_is_missed_by_name,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(objects_that_were_exchanged_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(an_object_that_was_sealed_anew_is_not_the_recorded_one,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_log_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_that_was_put_back_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_that_is_gone_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tree_that_was_put_back_is_behind_its_log, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
