/* A witness beside a real archive and a history of entries: what it cosigns, what it refuses and keeps as evidence, and what
 * it remembers. */
#include "repository/witness.h"

#include "repository/io/sign.h"
#include "repository/operations.h"
#include "repository/proof.h"
#include "tests/unit/repository/fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

struct archive { /* one archive of one history, signed with the key that all here share */
    char dir[96];
    struct repository *r;
    struct feed feed;
    size_t sealed;
};

struct box {
    struct place place;
    char key[120], data[120], vkey[TLOG_VKEY_BYTES];
    struct archive is, other;
    struct witness *w;
};

static void archive_begin(struct box *b, struct archive *a, const char *name)
{
    struct err e = ERR_NONE;
    bool made;
    (void)snprintf(a->dir, sizeof a->dir, "%s/%s", b->place.root, name);
    assert_ok(repository_open(&a->r,
                              &(struct repository_options){.dir = a->dir,
                                                           .kek_file = b->place.kek,
                                                           .cluster_id = test_cluster,
                                                           .cluster = "gov",
                                                           .create = true},
                              &e),
              e);
    assert_ok(repository_tree_open(a->r, b->key, b->vkey, &made, &e), e);
}

static void archive_grow(struct archive *a, unsigned n, const char *value)
{
    struct err e = ERR_NONE;
    for (unsigned i = 0; i < n; i++)
        feed_put(&a->feed, "deeds", "k", value, strlen(value));
    assert_ok(feed_seal(&a->feed, a->r, NULL, NULL, &e), e);
    assert_ok(repository_tree_extend(a->r, UINT64_MAX, &e), e);
}

static size_t note_of(const struct archive *a, char out[4096])
{
    struct repository_tree *t = NULL;
    struct err e = ERR_NONE;
    assert_ok(repository_tree_read(&t, a->dir, &e), e);
    struct bytes note = repository_tree_note(t);
    assert_true(note.n < 4096);
    memcpy(out, note.p, note.n);
    repository_tree_close(t);
    return note.n;
}

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    struct err e = ERR_NONE;
    bool made = false;
    assert_non_null(b);
    place_make(&b->place);
    (void)snprintf(b->key, sizeof b->key, "%s/checkpoint.key", b->place.root);
    (void)snprintf(b->data, sizeof b->data, "%s/data", b->place.root);
    assert_int_equal(mkdir(b->data, 0700), 0);
    archive_begin(b, &b->is, "archive");
    archive_grow(&b->is, 10, "one");
    assert_ok(witness_open(&b->w, b->data, &test_cluster, "dr", &made, &e), e);
    assert_true(made);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    struct archive *const all[] = {&b->is, &b->other};
    witness_close(b->w);
    for (size_t i = 0; i < 2; i++) {
        repository_close(all[i]->r);
        feed_drop(&all[i]->feed);
    }
    place_drop(&b->place);
    free(b);
    return 0;
}

static void reopen(struct box *b)
{
    struct err e = ERR_NONE;
    bool made = true;
    witness_close(b->w);
    b->w = NULL;
    assert_ok(witness_open(&b->w, b->data, &test_cluster, "dr", &made, &e), e);
    assert_false(made);
}

/* The header of that lsn in a history. */
static struct bytes header_of(const struct feed *f, uint64_t lsn)
{
    size_t at = 0, used = 0;
    struct entry_view v;
    for (; lsn > 0; lsn--, at += used)
        assert_int_equal(entry_decode(bytes_of(f->p + at, f->n - at), &v, &used, NULL), 0);
    return bytes_of(f->p + at - used, ENTRY_HEADER_BYTES);
}

static void follow(struct box *b, const struct archive *a, uint64_t to)
{
    struct err e = ERR_NONE;
    while (witness_size(b->w) < to)
        assert_ok(witness_follow(b->w, header_of(&a->feed, witness_size(b->w) + 1), true, &e), e);
}

/* Cosign what the archive shows now, as far as `a` has it. */
static int cosign(struct box *b, const struct archive *shown, const struct archive *own,
                  struct err *e)
{
    char note[4096], line[TLOG_SIGNATURE_LINE_BYTES];
    size_t n = note_of(shown, note);
    struct tlog_checkpoint c;
    struct tlog_note parsed;
    uint64_t time_s;
    int rc = witness_look(b->w, bytes_of(note, n), bytes_str(b->vkey), &c, e);
    if (rc != 0)
        return rc;
    follow(b, own, c.size);
    struct writer w = writer_of(line, sizeof line);
    rc = witness_cosign(b->w, bytes_of(note, n), &c, 1700000000, &w, e);
    if (rc != 0)
        return rc;
    assert_true(n + w.at < sizeof note);
    memcpy(note + n, line, w.at);
    assert_int_equal(tlog_note_parse(bytes_of(note, n + w.at), &parsed, NULL), 0);
    assert_int_equal(repo_note_verify(&parsed, witness_key(b->w), &time_s, NULL), 0);
    assert_int_equal(time_s, 1700000000);
    return 0;
}

static unsigned evidence(struct box *b)
{
    char name[96];
    return witness_evidence(b->data, name);
}

static void what_follows_from_the_own_log_is_cosigned(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char name[TLOG_NAME_BYTES];
    witness_name(&test_cluster, "dr", name);
    assert_string_equal(witness_key(b->w)->name, name);
    assert_int_equal(witness_key(b->w)->type, TLOG_KEY_COSIGNER);
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    assert_int_equal(witness_cosigned(b->w), 10);
    assert_ok(cosign(b, &b->is, &b->is, &e), e); /* asked again */
    archive_grow(&b->is, 25, "more");
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    const struct tlog_key before = *witness_key(b->w);
    reopen(b);
    assert_int_equal(witness_cosigned(b->w), 35);
    assert_memory_equal(witness_key(b->w), &before, sizeof before);
    archive_grow(&b->is, 5, "x");
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    assert_int_equal(evidence(b), 0);
}

static void a_history_that_shrank_is_refused_and_kept(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char early[4096], name[96];
    struct tlog_checkpoint c;
    size_t n = note_of(&b->is, early);
    archive_grow(&b->is, 7, "more");
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    reopen(b); /* remembered */
    assert_int_equal(witness_look(b->w, bytes_of(early, n), bytes_str(b->vkey), &c, &e), ERR_STALE);
    assert_non_null(strstr(e.text, "ROLLBACK"));
    assert_int_equal(witness_evidence(b->data, name), 1);
    /* Both are kept, byte for byte as they were signed. */
    char path[256], late[4096];
    size_t kept = 0, m = note_of(&b->is, late);
    (void)snprintf(path, sizeof path, "%s/%s", b->data, name);
    uint8_t *p = slurp(path, &kept);
    assert_true(bytes_equal(bytes_of(p, kept), bytes_of(early, n)));
    free(p);
    (void)snprintf(strrchr(path, '.'), 16, ".cosigned");
    p = slurp(path, &kept);
    assert_true(bytes_equal(bytes_of(p, kept), bytes_of(late, m)));
    free(p);
    assert_ok(cosign(b, &b->is, &b->is, &e), e); /* what it is again is cosigned again */
    assert_int_equal(evidence(b), 1);            /* and the evidence stays */
}

static void another_history_is_refused_and_kept(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    archive_begin(b, &b->other, "other");
    archive_grow(&b->other, 10, "two");
    assert_int_equal(cosign(b, &b->other, &b->is, &e), ERR_INTEGRITY); /* of the same size */
    assert_non_null(strstr(e.text, "SPLIT VIEW"));
    archive_grow(&b->other, 3, "two");
    archive_grow(&b->is, 3, "one");
    assert_int_equal(cosign(b, &b->other, &b->is, &e), ERR_INTEGRITY); /* a larger one */
    assert_int_equal(evidence(b), 2);
    assert_int_equal(witness_cosigned(b->w), 10);
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    assert_int_equal(witness_cosigned(b->w), 13);
}

static void what_another_key_signed_is_not_looked_at(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char note[4096];
    struct tlog_checkpoint c;
    struct tlog_key log, stranger;
    char vkey[TLOG_VKEY_BYTES];
    size_t n = note_of(&b->is, note);
    uint8_t public_key[TLOG_PUBLIC_KEY_BYTES] = {1};
    assert_int_equal(tlog_key_parse(bytes_str(b->vkey), &log, NULL), 0);
    tlog_key_make(log.name, TLOG_KEY_LOG, public_key, &stranger);
    tlog_key_format(&stranger, vkey);
    assert_int_equal(witness_look(b->w, bytes_of(note, n), bytes_str(vkey), &c, &e), ERR_INTEGRITY);
    tlog_key_make("another", TLOG_KEY_LOG, public_key, &stranger);
    tlog_key_format(&stranger, vkey);
    assert_int_equal(witness_look(b->w, bytes_of(note, n), bytes_str(vkey), &c, &e), ERR_INTEGRITY);
    tlog_key_format(witness_key(b->w), vkey);
    assert_int_equal(witness_look(b->w, bytes_of(note, n), bytes_str(vkey), &c, &e), ERR_INTEGRITY);
    note[n / 2] ^= 1;
    assert_int_not_equal(witness_look(b->w, bytes_of(note, n), bytes_str(b->vkey), &c, NULL), 0);
    assert_int_equal(evidence(b), 0);
}

static void headers_from_elsewhere_count_when_the_own_log_names_them(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    for (uint64_t lsn = 1; lsn <= 6; lsn++)
        assert_ok(witness_follow(b->w, header_of(&b->is.feed, lsn), false, &e), e);
    assert_true(witness_is_foreign(b->w));
    assert_ok(witness_confirm(b->w, header_of(&b->is.feed, 7), &e), e);
    assert_false(witness_is_foreign(b->w));
    assert_int_equal(witness_size(b->w), 6);
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    /* A chain that is whole, and not the past of the own log; and one that is none. */
    archive_begin(b, &b->other, "other");
    archive_grow(&b->other, 20, "two");
    witness_close(b->w);
    b->w = NULL;
    bool made;
    (void)snprintf(b->data + strlen(b->data), 8, "/new");
    assert_int_equal(mkdir(b->data, 0700), 0);
    assert_ok(witness_open(&b->w, b->data, &test_cluster, "dc", &made, &e), e);
    for (uint64_t lsn = 1; lsn <= 6; lsn++)
        assert_ok(witness_follow(b->w, header_of(&b->other.feed, lsn), false, &e), e);
    assert_int_equal(witness_confirm(b->w, header_of(&b->is.feed, 7), &e), ERR_INTEGRITY);
    assert_true(witness_is_foreign(b->w));
    assert_int_equal(witness_follow(b->w, header_of(&b->is.feed, 7), true, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "not the past of this site's log"));
    assert_int_equal(witness_follow(b->w, header_of(&b->is.feed, 7), false, &e), ERR_INTEGRITY);
    assert_int_equal(witness_follow(b->w, header_of(&b->other.feed, 9), false, &e), ERR_INTEGRITY);
    assert_int_equal(witness_size(b->w), 6);
    witness_reset(b->w);
    assert_int_equal(witness_size(b->w), 0);
}

static int open_again(struct box *b, struct err *e)
{
    bool made;
    witness_close(b->w);
    b->w = NULL;
    return witness_open(&b->w, b->data, &test_cluster, "dr", &made, e);
}

static void what_was_cosigned_is_never_forgotten_in_silence(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char record[160], key[160], aside[160];
    (void)snprintf(record, sizeof record, "%s/cosigner", b->data);
    (void)snprintf(key, sizeof key, "%s/cosigner.key", b->data);
    (void)snprintf(aside, sizeof aside, "%s/aside", b->data);
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    assert_int_equal(rename(key, aside), 0);
    assert_int_equal(open_again(b, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "cosigner.key is missing"));
    assert_int_equal(rename(aside, key), 0);
    assert_int_equal(rename(record, aside), 0);
    assert_int_equal(open_again(b, &e), ERR_INTEGRITY);
    assert_int_equal(rename(aside, record), 0);
    /* A torn write takes one slot: the other one, the checkpoint before, still counts. */
    assert_ok(open_again(b, &e), e);
    archive_grow(&b->is, 5, "x");
    assert_ok(cosign(b, &b->is, &b->is, &e), e);
    size_t n = 0;
    uint8_t *raw = slurp(record, &n);
    assert_int_equal(n, 8192);
    /* Three records were written: two of nothing, 10, 15. The last is in the second slot again. */
    for (size_t slot = 0; slot < 2; slot++) {
        uint8_t was = raw[slot * 4096 + 40];
        raw[slot * 4096 + 40] ^= 1;
        write_file(record, raw, n, 0600);
        assert_ok(open_again(b, &e), e);
        assert_int_equal(witness_cosigned(b->w), slot == 0 ? 15 : 10);
        raw[slot * 4096 + 40] = was;
    }
    raw[40] ^= 1;
    raw[4096 + 40] ^= 1;
    write_file(record, raw, n, 0600);
    assert_int_equal(open_again(b, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "neither slot"));
    free(raw);
}

/* ---- the operations log ---- */

/* What a witness is asked with: the log as it is published, and the proof that it continues that of `from`. */
struct shown {
    char vkey[TLOG_VKEY_BYTES], line[TLOG_SIGNATURE_LINE_BYTES];
    uint64_t size;
    uint8_t *proof;
    size_t n, line_bytes;
};

static struct shown show(const struct archive *a, uint64_t from)
{
    struct shown s = {.n = 0};
    struct err e = ERR_NONE;
    assert_ok(repository_operations_proof(a->dir, from, s.vkey, &s.size, &s.proof, &s.n, &e), e);
    return s;
}

static int ask(struct box *b, struct shown *s, struct err *e)
{
    struct writer w = writer_of(s->line, sizeof s->line);
    int rc = witness_cosign_operations(b->w, bytes_of(s->proof, s->n), bytes_str(s->vkey),
                                       1700000000, &w, e);
    s->line_bytes = w.at;
    return rc;
}

static int show_and_ask(struct box *b, const struct archive *a, uint64_t from, struct err *e)
{
    struct shown s = show(a, from);
    int rc = ask(b, &s, e);
    free(s.proof);
    return rc;
}

/* One more leaf, which is told by its number. */
static void operate(struct archive *a, uint64_t number)
{
    struct err e = ERR_NONE;
    struct operation o = {.kind = OPERATION_VERIFY, .checked = number, .detail = "readable"};
    assert_ok(repository_operations_add(a->r, &o, &e), e);
    assert_ok(repository_operations_settle(a->r, NULL, &e), e);
}

static void an_operations_log_that_goes_on_is_cosigned_and_published_so(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct tlog_proof_text p;
    uint64_t time_s;
    assert_int_equal(witness_operations(b->w), 0);
    assert_ok(show_and_ask(b, &b->is, 0, &e), e); /* on trust */
    const uint64_t first = witness_operations(b->w);
    assert_int_equal(first, repository_operations_size(b->is.r));
    for (uint64_t i = 1; i < 6; i++)
        operate(&b->is, i);
    assert_int_equal(show_and_ask(b, &b->is, 0, &e), ERR_CONDITION);
    assert_int_equal(show_and_ask(b, &b->is, first + 1, &e), ERR_CONDITION);
    assert_int_equal(evidence(b), 0); /* that is none: another proof is needed */
    reopen(b);
    struct shown s = show(&b->is, first);
    assert_ok(ask(b, &s, &e), e);
    assert_ok(ask(b, &s, &e), e); /* asked again */
    assert_int_equal(witness_operations(b->w), first + 5);
    /* Published with it, and it stays. */
    char vkey[TLOG_VKEY_BYTES];
    tlog_key_format(witness_key(b->w), vkey);
    struct bytes by = bytes_str(vkey), line = bytes_of(s.line, s.line_bytes);
    struct repository *r = b->is.r;
    assert_int_equal(repository_operations_cosigned(r, "dc", first + 5, by, line, &time_s, &e),
                     ERR_INTEGRITY);
    assert_int_equal(repository_operations_cosigned(r, "dr", first, by, line, &time_s, &e),
                     ERR_STALE);
    s.line[s.line_bytes - 5] ^= 1;
    assert_int_not_equal(repository_operations_cosigned(r, "dr", first + 5, by, line, &time_s, &e),
                         0);
    s.line[s.line_bytes - 5] ^= 1;
    for (int twice = 0; twice < 2; twice++)
        assert_ok(repository_operations_cosigned(r, "dr", first + 5, by, line, &time_s, &e), e);
    assert_int_equal(time_s, 1700000000);
    free(s.proof);
    s = show(&b->is, first);
    assert_int_equal(tlog_proof_parse(bytes_of(s.proof, s.n), &p, &e), 0);
    assert_ok(tree_cosigned(p.checkpoint, witness_key(b->w), &time_s, &e), e);
    assert_ok(ask(b, &s, &e), e); /* cosignatures are in nobody's way */
    free(s.proof);
    operate(&b->is, 6); /* the next one is another text */
    assert_int_equal(repository_operations_cosigned(r, "dr", first + 5, by, line, &time_s, &e),
                     ERR_STALE);
    assert_int_equal(repository_operations_cosigned(r, "dr", first + 6, by, line, &time_s, &e),
                     ERR_INTEGRITY);
    assert_ok(show_and_ask(b, &b->is, first + 5, &e), e);
    assert_int_equal(evidence(b), 0);
}

static void an_operations_log_that_shrank_or_is_another_is_refused_and_kept(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    archive_begin(b, &b->other, "other");
    archive_grow(&b->other, 10, "one");
    for (uint64_t i = 1; i < 4; i++)
        operate(&b->is, i), operate(&b->other, i);
    struct shown old = show(&b->is, 0);
    operate(&b->is, 4), operate(&b->other, 4);
    assert_ok(show_and_ask(b, &b->is, 0, &e), e);
    const uint64_t was = witness_operations(b->w);
    reopen(b); /* remembered */
    assert_int_equal(ask(b, &old, &e), ERR_STALE);
    assert_non_null(strstr(e.text, "ROLLBACK"));
    assert_int_equal(evidence(b), 1);
    assert_int_equal(show_and_ask(b, &b->other, was, &e), ERR_INTEGRITY); /* of the same size */
    assert_non_null(strstr(e.text, "SPLIT VIEW"));
    operate(&b->is, 5), operate(&b->other, 5);
    assert_int_equal(show_and_ask(b, &b->other, was, &e), ERR_INTEGRITY); /* a larger one */
    assert_int_equal(evidence(b), 3);
    assert_int_equal(witness_operations(b->w), was);
    /* The true log with a proof that does not hold: each of its hashes is needed. */
    struct shown s = show(&b->is, was);
    uint8_t *hash = memchr(s.proof, '\n', s.n);
    assert_non_null(hash);
    hash[3] = hash[3] == 'A' ? 'B' : 'A';
    assert_int_equal(ask(b, &s, &e), ERR_INTEGRITY);
    free(s.proof);
    assert_ok(show_and_ask(b, &b->is, was, &e), e); /* what goes on is cosigned again */
    /* Nothing that the log's key did not sign is even looked at. */
    s = show(&b->is, was);
    s.proof[s.n - 9] ^= 1;
    assert_int_not_equal(ask(b, &s, &e), 0);
    s.proof[s.n - 9] ^= 1;
    (void)snprintf(s.vkey, sizeof s.vkey, "%s", b->vkey); /* that of the entries' tree */
    assert_int_equal(ask(b, &s, &e), ERR_INTEGRITY);
    assert_int_equal(evidence(b), 4);
    free(s.proof);
    free(old.proof);
}

static void no_operations_are_cosigned_before_they_are_on_the_disk(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct shown s = show(&b->is, 0);
    /* The disk takes nothing: no signature, also later, until the disk was looked at anew. */
    struct rlimit was, none;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = was.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int rc = ask(b, &s, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_not_equal(rc, 0);
    assert_int_equal(s.line_bytes, 0);
    assert_int_equal(ask(b, &s, &e), ERR_IO);
    assert_int_equal(s.line_bytes, 0);
    reopen(b);
    assert_int_equal(witness_operations(b->w), 0);
    /* Killed as it signs: the record is there. */
    void *dead = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(dead != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        struct writer w = writer_of(dead, 4096);
        (void)signal(SIGSEGV, SIG_DFL);
        (void)witness_cosign_operations(b->w, bytes_of(s.proof, s.n), bytes_str(s.vkey), 1, &w, &e);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    (void)munmap(dead, 4096);
    reopen(b);
    assert_int_equal(witness_operations(b->w), s.size);
    assert_ok(ask(b, &s, &e), e);
    free(s.proof);
}

static void the_record_of_the_operations_begins_anew_only_when_it_is_removed(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char record[160], key[160];
    (void)snprintf(record, sizeof record, "%s/cosigner-operations", b->data);
    (void)snprintf(key, sizeof key, "%s/cosigner.key", b->data);
    assert_ok(show_and_ask(b, &b->is, 0, &e), e);
    const uint64_t first = witness_operations(b->w);
    operate(&b->is, 1);
    assert_ok(show_and_ask(b, &b->is, first, &e), e);
    size_t n = 0;
    uint8_t *raw = slurp(record, &n);
    assert_int_equal(n, 8192);
    raw[4096 + 80] ^= 1; /* the newest: that before it counts */
    write_file(record, raw, n, 0600);
    assert_ok(open_again(b, &e), e);
    assert_int_equal(witness_operations(b->w), first);
    raw[80] ^= 1;
    write_file(record, raw, n, 0600);
    assert_int_equal(open_again(b, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "cosigner-operations: neither slot"));
    raw[80] ^= 1;
    write_file(record, raw, n, 0600);
    free(raw);
    raw = slurp(key, &n);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(open_again(b, &e), ERR_INTEGRITY); /* it signed with that */
    write_file(key, raw, n, 0600);
    free(raw);
    assert_int_equal(unlink(record), 0);
    assert_ok(open_again(b, &e), e);
    assert_int_equal(witness_operations(b->w), 0);
    assert_ok(show_and_ask(b, &b->is, 0, &e), e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_follows_from_the_own_log_is_cosigned, setup, teardown),
        cmocka_unit_test_setup_teardown(a_history_that_shrank_is_refused_and_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(another_history_is_refused_and_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(what_another_key_signed_is_not_looked_at, setup, teardown),
        cmocka_unit_test_setup_teardown(headers_from_elsewhere_count_when_the_own_log_names_them,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_cosigned_is_never_forgotten_in_silence, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_operations_log_that_goes_on_is_cosigned_and_published_so,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            an_operations_log_that_shrank_or_is_another_is_refused_and_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(no_operations_are_cosigned_before_they_are_on_the_disk,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            the_record_of_the_operations_begins_anew_only_when_it_is_removed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
