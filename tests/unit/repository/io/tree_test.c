/* The signed tree of an archive: it grows with the packs, survives crashes, is verified against the packs, and every change
 * of tiles, checkpoint, headers or packs is found. */
#include "repository/io/archive.h"
#include "repository/io/tree.h"
#include "repository/proof.h"
#include "repository/witness.h"
#include "store/core/hash.h"
#include "tests/unit/repository/fixture.h"

struct box {
    struct place place;
    char key[120];
    struct repository *r;
    struct feed feed;
    struct tlog_key vkey;
};

static int open_tree(struct box *b, bool *made, struct err *e)
{
    char vkey[TLOG_VKEY_BYTES];
    b->r = archive_open(&b->place, false);
    int rc = repository_tree_open(b->r, b->key, vkey, made, e);
    if (rc == 0)
        assert_int_equal(tlog_key_parse(bytes_str(vkey), &b->vkey, NULL), 0);
    return rc;
}

static void reopen(struct box *b)
{
    struct err e = ERR_NONE;
    bool made;
    repository_close(b->r);
    assert_ok(open_tree(b, &made, &e), e);
}

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    struct err e = ERR_NONE;
    bool made = false;
    assert_non_null(b);
    place_make(&b->place);
    (void)snprintf(b->key, sizeof b->key, "%s/checkpoint.key", b->place.root);
    assert_ok(open_tree(b, &made, &e), e);
    assert_true(made);
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
    for (unsigned i = 0; i < entries; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "%llu", (unsigned long long)b->feed.at.lsn.v % 50);
        feed_put(&b->feed, "deeds", key, "value", 5);
    }
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
}

static void extend(struct box *b)
{
    struct err e = ERR_NONE;
    assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
}

static void grow(struct box *b, unsigned entries)
{
    seal(b, entries);
    extend(b);
}

static struct repository_tree *read_tree(struct box *b)
{
    struct repository_tree *t = NULL;
    struct err e = ERR_NONE;
    assert_ok(repository_tree_read(&t, b->place.dir, &e), e);
    return t;
}

/* Root over the feed's headers by a second way: pairs, and the odd one goes up as it is. */
static struct sha256 root_of(const struct feed *f, uint64_t n)
{
    struct sha256 *level = calloc(n, sizeof *level);
    size_t at = 0;
    assert_non_null(level);
    for (uint64_t i = 0; i < n; i++) {
        struct entry_view v;
        size_t used;
        assert_int_equal(entry_decode(bytes_of(f->p + at, f->n - at), &v, &used, NULL), 0);
        uint8_t zero = 0;
        level[i] = hash_sha256_2(bytes_of(&zero, 1), bytes_of(v.raw, ENTRY_HEADER_BYTES));
        at += used;
    }
    while (n > 1) {
        for (uint64_t i = 0; i < n / 2; i++)
            level[i] = tlog_node_hash(&level[2 * i], &level[2 * i + 1]);
        if (n % 2 != 0)
            level[n / 2] = level[n - 1];
        n = (n + 1) / 2;
    }
    struct sha256 root = level[0];
    free(level);
    return root;
}

static void assert_whole(struct box *b)
{
    struct damages d = {0};
    struct repository_report report;
    struct err e = ERR_NONE;
    for (int level = REPOSITORY_PRESENT; level <= REPOSITORY_READABLE; level++) {
        if (repository_verify(b->r, (enum repository_level)level, note_damage, NULL, &d, &report,
                              &e) != 0)
            fail_msg("level %d: %s", level, d.all);
        assert_int_equal(report.proven, b->feed.at.lsn.v);
    }
}

static bool exists(struct box *b, const char *name)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, name);
    return access(path, F_OK) == 0;
}

static void the_tree_follows_the_packs(void **state)
{
    struct box *b = *state;
    static const unsigned steps[] = {1, 2, 252, 1, 1, 255, 300, 1700};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        grow(b, steps[i]);
        struct repository_tree *t = read_tree(b);
        const struct tlog_checkpoint *c = repository_tree_checkpoint(t);
        struct tlog_checkpoint verified;
        struct err e = ERR_NONE;
        assert_int_equal(c->size, b->feed.at.lsn.v);
        struct sha256 root = root_of(&b->feed, c->size);
        assert_memory_equal(&root, &c->root, sizeof root);
        assert_ok(tree_checkpoint(repository_tree_note(t), &b->vkey, &verified, &e), e);
        repository_tree_close(t);
        if (i % 2 == 1)
            reopen(b);
        struct repository_status s;
        extend(b);
        repository_status(b->r, &s);
        assert_int_equal(s.proven.v, b->feed.at.lsn.v);
    }
    assert_whole(b);
    /* Partial tiles go when the full one is there. */
    assert_true(exists(b, "tree/tile/0/000"));
    assert_false(exists(b, "tree/tile/0/000.p"));
    assert_false(exists(b, "tree/tile/entries/000.p"));
}

static void an_old_archive_gets_its_tree_in_portions(void **state)
{
    struct box *b = *state;
    struct repository_status s;
    struct err e = ERR_NONE;
    seal(b, 700);
    seal(b, 300);
    for (unsigned i = 1; i <= 4; i++) {
        assert_ok(repository_tree_extend(b->r, 250, &e), e);
        repository_status(b->r, &s);
        assert_int_equal(s.proven.v, 250 * i);
        reopen(b);
    }
    extend(b);
    assert_whole(b);
}

static void tiles_of_an_interrupted_writer_are_taken(void **state)
{
    struct box *b = *state;
    char path[200], saved[200];
    grow(b, 100);
    (void)snprintf(path, sizeof path, "%s/tree/checkpoint", b->place.dir);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    assert_int_equal(link(path, saved), 0);
    grow(b, 900);
    /* As if the power had gone before the checkpoint. */
    assert_int_equal(rename(saved, path), 0);
    reopen(b);
    extend(b);
    assert_whole(b);
    /* And before the first one. */
    assert_int_equal(unlink(path), 0);
    reopen(b);
    extend(b);
    assert_whole(b);
}

/* ---- what is wrong is found ---- */

static void flip(const char *path, size_t at)
{
    size_t n;
    uint8_t *p = slurp(path, &n);
    p[at % n] ^= 1;
    assert_int_equal(unlink(path), 0);
    write_file(path, p, n, 0440);
    free(p);
}

static void assert_damaged(struct box *b, const char *name)
{
    struct damages d = {0};
    struct repository_report report;
    struct err e = ERR_NONE;
    assert_int_equal(
        repository_verify(b->r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e),
        ERR_INTEGRITY);
    if (strstr(d.all, name) == NULL)
        fail_msg("'%s' is not told in: %s", name, d.all);
    assert_int_equal(report.proven, 0);
}

static void a_changed_file_of_the_tree_is_found(void **state)
{
    struct box *b = *state;
    static const char *const names[] = {
        "tree/tile/0/000",     "tree/tile/entries/000",      "tree/tile/0/002.p/88",
        "tree/tile/1/000.p/2", "tree/tile/entries/002.p/88", "tree/checkpoint"};
    grow(b, 600);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[200], saved[200];
        (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, names[i]);
        (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
        assert_int_equal(link(path, saved), 0);
        for (size_t at = 0; at < 4; at++) {
            flip(path, 5 + 977 * at);
            assert_damaged(b, i == 5 ? "tree/checkpoint" : names[i]);
            assert_int_equal(rename(saved, path), 0);
            assert_int_equal(link(path, saved), 0);
        }
        assert_int_equal(unlink(path), 0);
        assert_damaged(b, names[i]);
        assert_int_equal(rename(saved, path), 0);
    }
    assert_whole(b);
}

static void a_changed_right_edge_is_never_signed_over(void **state)
{
    struct box *b = *state;
    static const char *const names[] = {"tree/tile/0/002.p/88", "tree/tile/1/000.p/2",
                                        "tree/tile/entries/002.p/88", "tree/checkpoint"};
    grow(b, 600);
    for (size_t i = 0; i < 4; i++) {
        char path[200], saved[200];
        struct err e = ERR_NONE;
        (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, names[i]);
        (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
        assert_int_equal(link(path, saved), 0);
        flip(path, 40);
        reopen(b);
        assert_int_equal(repository_tree_extend(b->r, UINT64_MAX, &e), ERR_INTEGRITY);
        assert_int_equal(rename(saved, path), 0);
        /* What was wrong is over when the file is back. */
        assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
    }
}

static void another_history_is_not_signed(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct feed fork = {.random = 4711};
    char command[600];
    grow(b, 300);
    repository_close(b->r);
    /* The packs are exchanged for others of the same length, which are whole in themselves. */
    (void)snprintf(command, sizeof command,
                   "mkdir %s/t && mv %s/tree %s/t/ && mv %s/repository.json %s/t/ && rm -r %s",
                   b->place.root, b->place.dir, b->place.root, b->place.dir, b->place.root,
                   b->place.dir);
    assert_int_equal(system(command), 0);
    b->r = archive_open(&b->place, false);
    for (unsigned i = 0; i < 300; i++)
        feed_put(&fork, "deeds", "1", "forged", 6);
    assert_ok(feed_seal(&fork, b->r, NULL, NULL, &e), e);
    repository_close(b->r);
    (void)snprintf(command, sizeof command, "rm -rf %s/tree && mv %s/t/tree %s/", b->place.dir,
                   b->place.root, b->place.dir);
    assert_int_equal(system(command), 0);
    reopen((b->r = NULL, b));
    assert_int_equal(repository_tree_extend(b->r, UINT64_MAX, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "the history was changed"));
    assert_damaged(b, "tree/tile/0/000");
    /* Also when it went on since. */
    feed_put(&fork, "deeds", "1", "forged", 6);
    assert_ok(feed_seal(&fork, b->r, NULL, NULL, &e), e);
    assert_int_equal(repository_tree_extend(b->r, UINT64_MAX, &e), ERR_INTEGRITY);
    feed_drop(&fork);
}

static void remove_of(struct box *b, const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, name);
    tree_remove(path);
}

static void a_checkpoint_that_was_removed_is_told_and_made_again(void **state)
{
    struct box *b = *state;
    static const char *const gone[] = {"tree/checkpoint", "tree/tile", "operations"};
    static const char *const told[] = {"the operations log names a signed tree of 300 entries",
                                       "the operations log names a signed tree of 300 entries",
                                       "the operations log was signed, and is missing, too"};
    grow(b, 300);
    grow(b, 10);
    assert_string_equal(repository_tree_lost(b->r), "");
    struct sha256 root = root_of(&b->feed, 310);
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
        struct repository_tree *t;
        struct err e = ERR_NONE;
        remove_of(b, gone[0]);
        remove_of(b, gone[i]);
        reopen(b);
        extend(b);
        const char *lost = repository_tree_lost(b->r);
        if (strstr(lost, "LOST tree/checkpoint: ") != lost || strstr(lost, told[i]) == NULL ||
            strstr(lost, "triveni archive verify") == NULL)
            fail_msg("%zu: '%s'", i, lost);
        t = read_tree(b);
        assert_int_equal(repository_tree_checkpoint(t)->size, 310);
        assert_memory_equal(&root, &repository_tree_checkpoint(t)->root, sizeof root);
        repository_tree_close(t);
        assert_whole(b);
        reopen(b);
        assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
        assert_string_equal(repository_tree_lost(b->r), ""); /* it is there again */
    }
}

/* With packs of another history of the same length, whole in themselves, and no tile. */
static void another_history_is_not_signed_when_the_tree_was_removed(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct feed fork = {.random = 4711};
    char command[800];
    grow(b, 300);
    grow(b, 10);
    repository_close(b->r);
    (void)snprintf(
        command, sizeof command,
        "mkdir %s/t && mv %s/operations %s/tree/keys %s/repository.json %s/t/ && rm -r %s",
        b->place.root, b->place.dir, b->place.dir, b->place.dir, b->place.root, b->place.dir);
    assert_int_equal(system(command), 0);
    b->r = archive_open(&b->place, false);
    for (unsigned i = 0; i < 310; i++)
        feed_put(&fork, "deeds", "1", "forged", 6);
    assert_ok(feed_seal(&fork, b->r, NULL, NULL, &e), e);
    repository_close(b->r);
    (void)snprintf(command, sizeof command,
                   "rm -rf %s/tree %s/operations && mkdir %s/tree && mv %s/t/keys %s/tree/ && mv "
                   "%s/t/operations %s/",
                   b->place.dir, b->place.dir, b->place.dir, b->place.root, b->place.dir,
                   b->place.root, b->place.dir);
    assert_int_equal(system(command), 0);
    reopen((b->r = NULL, b));
    assert_int_equal(repository_tree_extend(b->r, UINT64_MAX, &e), ERR_INTEGRITY);
    if (strstr(e.text, "The history was changed") == NULL)
        fail_msg("%s", e.text);
    assert_false(exists(b, "tree/checkpoint"));
    feed_drop(&fork);
}

static void packs_that_were_removed_are_missed(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[300];
    grow(b, 300);
    grow(b, 10);
    for (unsigned i = 0; i < 2; i++) {
        find_object(&b->place, "packs", i == 0 ? ".pack" : ".meta", 1, path);
        assert_int_equal(unlink(path), 0);
    }
    find_object(&b->place, "keys/1", ".key", 1, path);
    assert_int_equal(unlink(path), 0);
    reopen(b); /* the operations log names it, and the tree says where it ended */
    assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
    assert_damaged(b, "the operations log names it, and it is missing");
    char operations[200];
    (void)snprintf(operations, sizeof operations, "%s/operations", b->place.dir);
    tree_remove(operations);
    reopen(b);
    assert_int_equal(repository_tree_extend(b->r, UINT64_MAX, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "packs are missing"));
    assert_damaged(b, "packs are missing");
}

static void a_lost_key_is_not_replaced_in_silence(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    bool made;
    grow(b, 20);
    repository_close(b->r);
    assert_int_equal(unlink(b->key), 0);
    assert_int_equal(open_tree(b, &made, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "put it back"));
    repository_close(b->r);
    /* Another one that somebody made on purpose is taken; what the old one signed stays verifiable. */
    char command[300];
    (void)snprintf(command, sizeof command,
                   "umask 077; openssl genpkey -algorithm ed25519 -out %s 2>/dev/null", b->key);
    assert_int_equal(system(command), 0);
    assert_ok(open_tree(b, &made, &e), e);
    assert_false(made);
    extend(b);
    assert_whole(b);
    grow(b, 5);
    assert_whole(b);
}

static void an_archive_that_begins_later_has_no_tree(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    /* Nothing seals such an archive but a site that begins anew behind a snapshot; the inventory is what counts. */
    seal(b, 3);
    b->r->inv.packs[0].first.v = 2;
    assert_int_equal(repository_tree_extend(b->r, UINT64_MAX, &e), ERR_GAP);
    b->r->inv.packs[0].first.v = 1;
}

static void headers_are_given_as_the_tree_has_them(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    static uint8_t out[700 * ENTRY_HEADER_BYTES];
    static const struct {
        uint64_t from;
        size_t most, wanted;
    } asked[] = {{1, 700, 600}, {1, 10, 10}, {250, 300, 300}, {257, 256, 256}, {600, 5, 1}};
    size_t n = 7;
    grow(b, 600);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        assert_ok(repository_tree_headers(b->place.dir, (struct lsn){asked[i].from}, asked[i].most,
                                          out, &n, &e),
                  e);
        assert_int_equal(n, asked[i].wanted);
        for (size_t k = 0; k < n; k++) {
            struct entry_header h;
            assert_int_equal(entry_header_decode(out + k * ENTRY_HEADER_BYTES, &h, NULL), 0);
            assert_int_equal(h.lsn.v, asked[i].from + k);
        }
    }
    assert_int_equal(repository_tree_headers(b->place.dir, (struct lsn){601}, 1, out, &n, &e),
                     ERR_NOT_FOUND);
    assert_int_equal(repository_tree_headers(b->place.dir, (struct lsn){0}, 1, out, &n, &e),
                     ERR_NOT_FOUND);
}

/* A cosigner of the archive's draft: "dc" of the cluster. */
static size_t cosign(struct box *b, const char *name, char vkey[TLOG_VKEY_BYTES],
                     char line[TLOG_SIGNATURE_LINE_BYTES])
{
    struct repo_signer *s = NULL;
    struct tlog_note note;
    struct err e = ERR_NONE;
    char path[160];
    (void)snprintf(path, sizeof path, "%s/cosigner.key", b->place.root);
    if (access(path, F_OK) != 0)
        assert_ok(repo_signer_make(path, &e), e);
    assert_ok(repo_signer_load(path, name, TLOG_KEY_COSIGNER, &s, &e), e);
    tlog_key_format(repo_signer_key(s), vkey);
    assert_ok(tlog_note_parse(repository_tree_draft(b->r), &note, &e), e);
    struct writer w = writer_of(line, TLOG_SIGNATURE_LINE_BYTES);
    assert_ok(repo_note_cosign(s, note.text, 1700000000, &w, &e), e);
    repo_signer_free(s);
    return w.at;
}

static void a_checkpoint_is_published_with_the_cosignatures_that_came(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char name[TLOG_NAME_BYTES], vkey[TLOG_VKEY_BYTES], line[TLOG_SIGNATURE_LINE_BYTES];
    struct tlog_key key;
    struct tlog_note note;
    struct tlog_signature signature;
    uint64_t time_s;
    grow(b, 300);
    seal(b, 20);
    assert_ok(repository_tree_grow(b->r, UINT64_MAX, &e), e);
    struct repository_tree *t = read_tree(b);
    assert_int_equal(repository_tree_checkpoint(t)->size, 300); /* not yet */
    repository_tree_close(t);
    witness_name(&test_cluster, "dc", name);
    size_t n = cosign(b, name, vkey, line);
    struct bytes by = bytes_str(vkey), text = bytes_of(line, n);
    assert_int_equal(repository_tree_cosigned(b->r, "dr", by, text, &time_s, &e), ERR_INTEGRITY);
    line[n - 5] = line[n - 5] == 'A' ? 'B' : 'A';
    assert_int_not_equal(repository_tree_cosigned(b->r, "dc", by, text, &time_s, &e), 0);
    n = cosign(b, name, vkey, line);
    assert_ok(repository_tree_cosigned(b->r, "dc", by, text, &time_s, &e), e);
    assert_int_equal(time_s, 1700000000);
    assert_ok(repository_tree_cosigned(b->r, "dc", by, text, &time_s, &e), e); /* once */
    assert_ok(repository_tree_publish(b->r, &e), e);
    assert_int_equal(tlog_key_parse(by, &key, NULL), 0);
    for (int again = 0; again < 2; again++) {
        t = read_tree(b);
        assert_int_equal(repository_tree_checkpoint(t)->size, 320);
        assert_int_equal(repository_tree_key(t)->type, TLOG_KEY_LOG);
        assert_int_equal(tlog_note_parse(repository_tree_note(t), &note, NULL), 0);
        assert_int_equal(tlog_note_signature(&note, &key, 0, &signature, NULL), 0);
        assert_int_equal(tlog_note_signature(&note, &key, 1, &signature, NULL), ERR_NOT_FOUND);
        repository_tree_close(t);
        reopen(b); /* and it stays */
        assert_ok(repository_tree_publish(b->r, &e), e);
    }
    assert_whole(b);
    /* A later one is added to what is published already. */
    witness_name(&test_cluster, "dr", name);
    n = cosign(b, name, vkey, line);
    text = bytes_of(line, n);
    assert_ok(repository_tree_cosigned(b->r, "dr", by, text, &time_s, &e), e);
    assert_ok(repository_tree_publish(b->r, &e), e);
    t = read_tree(b);
    assert_int_equal(tlog_note_parse(repository_tree_note(t), &note, NULL), 0);
    assert_int_equal(tlog_note_signature(&note, &key, 0, &signature, NULL), 0);
    assert_int_equal(tlog_key_parse(by, &key, NULL), 0);
    assert_int_equal(tlog_note_signature(&note, &key, 0, &signature, NULL), 0);
    repository_tree_close(t);
    assert_ok(tree_cosigned(repository_tree_draft(b->r), &key, &time_s, &e), e);
    assert_int_equal(time_s, 1700000000);
    struct tlog_key stranger = key;
    stranger.id ^= 1;
    struct bytes draft = repository_tree_draft(b->r);
    assert_int_equal(tree_cosigned(draft, &stranger, &time_s, &e), ERR_NOT_FOUND);
    assert_int_equal(tree_cosigned(bytes_of(draft.p, draft.n - 1), &key, &time_s, &e), ERR_FORMAT);
    seal(b, 5); /* the next one is another text */
    extend(b);
    assert_int_equal(repository_tree_cosigned(b->r, "dr", by, text, &time_s, &e), ERR_INTEGRITY);
    assert_whole(b);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(headers_are_given_as_the_tree_has_them, setup, teardown),
        cmocka_unit_test_setup_teardown(a_checkpoint_is_published_with_the_cosignatures_that_came,
                                        setup, teardown),
        CASE(the_tree_follows_the_packs),
        CASE(an_old_archive_gets_its_tree_in_portions),
        CASE(tiles_of_an_interrupted_writer_are_taken),
        CASE(a_changed_file_of_the_tree_is_found),
        CASE(a_changed_right_edge_is_never_signed_over),
        CASE(another_history_is_not_signed),
        CASE(a_checkpoint_that_was_removed_is_told_and_made_again),
        CASE(another_history_is_not_signed_when_the_tree_was_removed),
        CASE(packs_that_were_removed_are_missed),
        CASE(a_lost_key_is_not_replaced_in_silence),
        CASE(an_archive_that_begins_later_has_no_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
