/* Keys in a bucket with Object Lock: they stay until their date, and are gone behind it, in every version, generation and
 * copy. The service is tests/lib/s3_small.py, whose clock can be set. */
#include "repository/custody.h"
#include "repository/io/archive.h"
#include "repository/io/s3_list.h"
#include "repository/keys.h"
#include "repository/proof.h"
#include "tests/unit/repository/fixture.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { PACK = 5, PACKS = 3, DAYS = 30 };
#define DAY_US (UINT64_C(86400) * 1000000)

struct bench {
    struct place place;
    pid_t service;
    char where[300], copy[300], kek2[120], clock[120];
    struct s3_client *client;
    struct repository *r;
    struct state *state;
    struct feed feed;
    size_t applied;
};

/* ---- the service ---- */

static void set_clock(struct bench *b, unsigned days)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%llu", 86400ull * days);
    write_file(b->clock, text, (size_t)n, 0600);
}

static unsigned start_service(struct bench *b)
{
    int out[2];
    char port[16] = "";
    size_t n = 0;
    assert_int_equal(pipe(out), 0);
    b->service = fork();
    assert_true(b->service >= 0);
    if (b->service == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test is stopped */
        (void)dup2(out[1], 1);
        (void)execlp("python3", "python3", "tests/lib/s3_small.py", b->clock, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    for (ssize_t got;
         n < sizeof port - 1 && (got = read(out[0], port + n, 1)) == 1 && port[n] != '\n';)
        n++;
    close(out[0]);
    const unsigned long number = strtoul(port, NULL, 10);
    assert_true(number != 0 && number < 65536);
    return (unsigned)number;
}

static void open_client(struct bench *b)
{
    static struct s3_place place; /* the client has a copy */
    struct err e = ERR_NONE;
    assert_ok(s3_text_parse(b->where, &place, &e), e);
    assert_ok(s3_client_open(&place, &b->client, &e), e);
}

/* Of all names in a folder that end so: how many versions there are, delete markers aside. */
static unsigned versions(struct bench *b, const char *prefix, const char *folder, const char *end)
{
    struct s3_entries l;
    struct err e = ERR_NONE;
    unsigned all = 0;
    assert_ok(s3_list(b->client, prefix, folder, &l, &e), e);
    for (size_t i = 0; i < l.n; i++) {
        struct s3_version *v;
        size_t n, length = strlen(l.at[i].name), want = strlen(end);
        if (length < want || strcmp(l.at[i].name + length - want, end) != 0)
            continue;
        assert_ok(s3_versions(b->client, prefix, l.at[i].name, &v, &n, &e), e);
        free(v);
        all += (unsigned)n;
    }
    s3_entries_release(&l);
    return all;
}

static unsigned keys(struct bench *b, const char *folder)
{
    return versions(b, "land/", folder, ".key");
}

/* The same bytes on top of what there is, as whoever has the access key can put them; and a delete marker. */
static void put_again(struct bench *b, const char *name)
{
    struct repo_backend *s3 = NULL;
    struct err e = ERR_NONE;
    struct s3_answer a;
    uint8_t *p = NULL;
    size_t n = 0;
    FILE *f = tmpfile();
    assert_ok(repo_backend_open(b->where, false, false, &s3, &e), e);
    assert_ok(repo_backend_read(s3, name, 4096, &p, &n, &e), e);
    repo_backend_close(s3);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fflush(f), 0);
    free(p);
    const struct s3_request put = {
        .key = name, .put = true, .fd = fileno(f), .bytes = n, .sha256 = "00", .md5 = "AA=="};
    assert_ok(s3_call(b->client, &put, &a, &e), e);
    s3_answer_release(&a);
    fclose(f);
    assert_ok(s3_call(b->client, &(struct s3_request){.key = name, .remove = true}, &a, &e), e);
    s3_answer_release(&a);
}

/* ---- the archive ---- */

/* Packs of five entries, a snapshot behind each, and the tree over them. */
static void grow(struct bench *b)
{
    struct err e = ERR_NONE;
    char key[120], vkey[TLOG_VKEY_BYTES];
    bool made;
    for (unsigned i = 0; i < PACKS; i++) {
        struct state_snapshot *snap;
        for (int k = 0; k < PACK; k++)
            feed_put(&b->feed, "deeds", "common", "value", 5);
        feed_apply(&b->feed, &b->applied, b->state);
        assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
        assert_ok(state_snapshot_open(b->state, &snap, &e), e);
        assert_ok(repository_snapshot(b->r, snap, &e), e);
        state_snapshot_close(snap);
    }
    (void)snprintf(key, sizeof key, "%s/checkpoint.key", b->place.root);
    assert_ok(repository_tree_open(b->r, key, vkey, &made, &e), e);
    assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
}

static int setup(void **state)
{
    static const char access[] = "aws_access_key_id = a\naws_secret_access_key = b\n";
    struct bench *b = calloc(1, sizeof *b);
    char path[150];
    struct err e = ERR_NONE;
    assert_non_null(b);
    place_make(&b->place);
    (void)snprintf(b->kek2, sizeof b->kek2, "%s/kek2", b->place.root);
    write_file(b->kek2, "ff112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef", 64,
               0600);
    (void)snprintf(b->clock, sizeof b->clock, "%s/clock", b->place.root);
    set_clock(b, 0);
    (void)snprintf(path, sizeof path, "%s/access", b->place.root);
    write_file(path, access, sizeof access - 1, 0600);
    const unsigned port = start_service(b);
    (void)snprintf(b->where, sizeof b->where,
                   "s3:http://127.0.0.1:%u/bucket/land?credentials=%s&retention=%d", port, path,
                   DAYS);
    (void)snprintf(b->copy, sizeof b->copy,
                   "s3:http://127.0.0.1:%u/bucket/copy?credentials=%s&retention=%d", port, path,
                   DAYS);
    open_client(b);
    (void)snprintf(path, sizeof path, "%s/state", b->place.root);
    assert_ok(
        state_open(&b->state, &(struct state_options){.dir = path, .cluster_id = test_cluster}, &e),
        e);
    b->r = archive_open_at(b->where, b->place.kek, false);
    grow(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    repository_close(b->r);
    state_close(b->state);
    s3_client_close(b->client);
    (void)kill(b->service, SIGKILL);
    (void)waitpid(b->service, NULL, 0);
    feed_drop(&b->feed);
    place_drop(&b->place);
    free(b);
    return 0;
}

static const struct repository_order by = {
    .nonce = {0xab, 1}, .lsn = {9}, .time = {1700000000000000}, .warrant = {{7}}};

static struct repository_custody_report turn(struct bench *b, uint64_t before)
{
    const struct repository_disposal d = {{before}, by};
    const struct repository_custody c = {.disposals = &d, .disposal_count = before != 0};
    struct repository_custody_report out;
    struct err e = ERR_NONE;
    assert_ok(repository_dispose(b->r, &c, &out, &e), e);
    return out;
}

static void assert_whole(struct bench *b, const char *kek, uint64_t disposed)
{
    struct damages d = {0};
    struct repository_report report;
    struct err e = ERR_NONE;
    struct repository *r = archive_open_at(b->where, kek, true);
    if (repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e) != 0)
        fail_msg("%s", d.all);
    repository_close(r);
    assert_int_equal(report.disposed, disposed);
}

/* In thirty days, a minute more or less. */
static void assert_locked_until(struct utc until)
{
    const uint64_t wanted = (uint64_t)time(NULL) * 1000000 + DAYS * DAY_US, minute = 60000000;
    assert_true(until.us > wanted - 2 * minute && until.us < wanted + minute);
}

static void rotate(struct bench *b)
{
    struct repository_keys_report out;
    struct damages d = {0};
    struct err e = ERR_NONE;
    const struct repository_keys_work work = {.damage = note_damage, .arg = &d};
    struct repository *beside = archive_open_at(b->where, b->place.kek, true);
    assert_ok(repository_keys_rotate(beside, b->kek2, &work, &out, &e), e);
    repository_close(beside);
}

/* ---- */

static void what_is_disposed_of_keeps_its_keys_until_their_date_and_not_longer(void **state)
{
    struct bench *b = *state;
    char extra[REPO_NAME_BYTES];
    repo_name_key(b->r->inv.packs[0].o.name, 1, extra);
    put_again(b, extra);
    const unsigned before = keys(b, "keys/1"); /* of three packs and snapshots, one twice */
    assert_int_equal(before, 2 * PACKS + 1);
    struct repository_custody_report out = turn(b, 2 * PACK + 1);
    assert_int_equal(out.now, 3); /* two packs, one snapshot */
    assert_int_equal(out.locked, 3);
    assert_locked_until(out.locked_until);
    /* What was put on top had no lock; the marks have a key of their own. */
    assert_int_equal(keys(b, "keys/1"), before - 1 + 1);
    assert_whole(b, b->place.kek, 3);
    set_clock(b, DAYS - 1);
    assert_int_equal(turn(b, 2 * PACK + 1).locked, 3);
    set_clock(b, DAYS + 1);
    for (int again = 0; again < 2; again++) {
        out = turn(b, 2 * PACK + 1);
        assert_true(out.locked == 0 && out.locked_until.us == 0);
        assert_int_equal(keys(b, "keys/1"), 2 * PACKS - 3 + 1);
    }
    assert_int_equal(versions(b, "land/", "keys/1", extra + strlen("keys/1/")), 0);
    assert_whole(b, b->place.kek, 3);
}

static void every_generation_and_every_copy_loses_them(void **state)
{
    struct bench *b = *state;
    struct repository_copy *copy = NULL;
    struct repository_copy_report out;
    struct err e = ERR_NONE;
    rotate(b);
    assert_ok(repository_copy_open(&copy, b->copy, &e), e);
    assert_int_equal(turn(b, 2 * PACK + 1).locked, 6);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &out, &e), e);
    const unsigned there = versions(b, "copy/", "keys/1", ".key");
    assert_true(there >= PACKS); /* what had gone before it was made never came */
    set_clock(b, DAYS + 1);
    assert_int_equal(turn(b, 2 * PACK + 1).locked, 0);
    static const char *const folders[] = {"keys/1", "keys/2"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(versions(b, "land/", folders[i], ".pack.key"), PACKS - 2);
        assert_int_equal(versions(b, "land/", folders[i], ".snap.key"), PACKS - 1);
    }
    repository_copy_close(copy);
}

static void a_copy_with_locked_keys_loses_them_at_their_date(void **state)
{
    struct bench *b = *state;
    struct repository_copy *copy = NULL;
    struct repository_copy_report out;
    struct err e = ERR_NONE;
    assert_ok(repository_copy_open(&copy, b->copy, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &out, &e), e);
    assert_int_equal(versions(b, "copy/", "keys/1", ".key"), 2 * PACKS);
    (void)turn(b, 2 * PACK + 1);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &out, &e), e);
    assert_int_equal(out.locked, 3);
    assert_locked_until(out.locked_until);
    set_clock(b, DAYS + 1);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &out, &e), e);
    assert_true(out.locked == 0 && out.destroyed == 3);
    assert_int_equal(versions(b, "copy/", "keys/1", ".pack.key"), PACKS - 2);
    assert_int_equal(versions(b, "copy/", "keys/1", ".snap.key"), PACKS - 1);
    repository_copy_close(copy);
}

static void a_retired_generation_goes_at_its_date_too(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report out;
    struct repository_copy *copy = NULL;
    struct repository_copy_report copied;
    struct damages d = {0};
    struct err e = ERR_NONE;
    const struct repository_keys_work work = {.damage = note_damage, .arg = &d};
    assert_ok(repository_copy_open(&copy, b->copy, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &copied, &e), e);
    rotate(b);
    struct repository *beside = archive_open_at(b->where, b->kek2, true);
    assert_int_equal(repository_keys_retire(beside, 1, &work, &out, &e), ERR_DENIED);
    repository_close(beside);
    assert_non_null(strstr(e.text, "cannot be removed before 20"));
    assert_int_equal(keys(b, "keys/1"), 2 * PACKS);
    repository_close(b->r);
    b->r = archive_open_at(b->where, b->kek2, false);
    struct repository_custody_report report = turn(b, 0); /* nothing is to be disposed of */
    assert_int_equal(report.locked, 2 * PACKS);
    assert_locked_until(report.locked_until);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &copied, &e), e);
    assert_int_equal(copied.locked, 2 * PACKS);
    set_clock(b, DAYS + 1);
    assert_int_equal(turn(b, 0).locked, 0);
    assert_int_equal(keys(b, "keys/1"), 0);
    assert_int_equal(keys(b, "keys/2"), 2 * PACKS);
    assert_whole(b, b->kek2, 0);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &copied, &e), e);
    assert_int_equal(copied.locked, 0);
    assert_int_equal(versions(b, "copy/", "keys/1", ".key"), 0);
    assert_int_equal(versions(b, "copy/", "keys/2", ".key"), 2 * PACKS);
    repository_copy_close(copy);
}

static void the_only_key_of_an_object_is_not_destroyed_with_its_generation(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report out;
    struct damages d = {0};
    struct err e = ERR_NONE;
    char name[REPO_NAME_BYTES];
    struct s3_answer a;
    struct s3_version *v;
    size_t n;
    const struct repository_keys_work work = {.damage = note_damage, .arg = &d};
    rotate(b);
    struct repository *beside = archive_open_at(b->where, b->kek2, true);
    assert_int_equal(repository_keys_retire(beside, 1, &work, &out, &e), ERR_DENIED);
    repository_close(beside);
    set_clock(b, DAYS + 1);
    repo_name_key(b->r->inv.packs[1].o.name, 2, name); /* somebody removes it, now that he can */
    assert_ok(s3_versions(b->client, "land/", name, &v, &n, &e), e);
    char query[120];
    (void)snprintf(query, sizeof query, "versionId=%s", v[0].id);
    free(v);
    assert_ok(s3_call(b->client, &(struct s3_request){.key = name, .query = query, .remove = true},
                      &a, &e),
              e);
    s3_answer_release(&a);
    (void)turn(b, 0);
    assert_int_equal(keys(b, "keys/1"), 1);
}

int main(void)
{
#define bucket(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        bucket(what_is_disposed_of_keeps_its_keys_until_their_date_and_not_longer),
        bucket(every_generation_and_every_copy_loses_them),
        bucket(a_copy_with_locked_keys_loses_them_at_their_date),
        bucket(a_retired_generation_goes_at_its_date_too),
        bucket(the_only_key_of_an_object_is_not_destroyed_with_its_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
