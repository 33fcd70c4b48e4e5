/* Another program reads the archive: tests/repository/read_pack.py, which shares no line with the code under test, gives
 * the same entries, and refuses what was changed. Run from the root of the source tree, as `make unit` does. */
#include "tests/unit/repository/fixture.h"

#include "repository/core/keyref.h"
#include "repository/history.h"
#include "store/core/hash.h"

#include <sys/wait.h>

static const char reader[] = "python3 tests/repository/read_pack.py";

static void published_vectors_hold(void **state)
{
    (void)state;
    char command[200];
    (void)snprintf(command, sizeof command, "%s --self-test", reader);
    FILE *out = popen(command, "r");
    char line[64] = "";
    assert_non_null(out);
    assert_non_null(fgets(line, sizeof line, out));
    assert_string_equal(line, "ok\n");
    assert_int_equal(pclose(out), 0);
}

static void hex_of(const struct sha256 *h, char out[65])
{
    for (size_t i = 0; i < 32; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", h->b[i]);
}

static void assert_same(FILE *out, const struct feed *f, size_t from)
{
    char line[400], expected[400], body[65], header[65];
    struct err e = ERR_NONE;
    while (from < f->n) {
        struct entry_view v;
        size_t used;
        assert_ok(entry_decode(bytes_of(f->p + from, f->n - from), &v, &used, &e), e);
        hex_of(&v.header.body_hash, body);
        hex_of(&v.hash, header);
        (void)snprintf(expected, sizeof expected, "%llu %llu %llu %s %s %s\n",
                       (unsigned long long)v.header.lsn.v, (unsigned long long)v.header.term.v,
                       (unsigned long long)v.header.time.us, entry_kind_name(v.header.kind), body,
                       header);
        assert_non_null(fgets(line, sizeof line, out));
        assert_string_equal(line, expected);
        from += used;
    }
    assert_null(fgets(line, sizeof line, out));
}

static FILE *read_pack(const struct place *p, unsigned nth)
{
    char path[300], command[900];
    find_object(p, "packs", ".pack", nth, path);
    (void)snprintf(command, sizeof command, "%s %s %s packs/%s 2>&1", reader, p->dir, p->kek,
                   strrchr(path, '/') + 1);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    return out;
}

static void another_program_reads_the_same_entries(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    char path[300], line[400];
    static uint8_t noise[150000]; /* several segments, and one frame of its own */
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_noop(&f, 2);
    feed_mixed(&f, 20);
    feed_point(&f, "p\xc3\xa4ss \"quoted\"");
    feed_point(&f, "not utf-8 \xff");
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    size_t first = f.n;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(feed_random(&f) >> 40);
    feed_put(&f, "court-files", "scan", noise, sizeof noise);
    feed_mixed(&f, 1000);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    repository_close(r);

    struct feed head = f;
    head.n = first;
    FILE *out = read_pack(&p, 0);
    assert_same(out, &head, 0);
    assert_int_equal(pclose(out), 0);
    out = read_pack(&p, 1);
    assert_same(out, &f, first);
    assert_int_equal(pclose(out), 0);

    /* A changed byte it refuses as well. */
    find_object(&p, "packs", ".pack", 0, path);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR);
    uint8_t b;
    assert_int_equal(pread(fd, &b, 1, 200), 1);
    b ^= 1;
    assert_int_equal(pwrite(fd, &b, 1, 200), 1);
    close(fd);
    out = read_pack(&p, 0);
    assert_non_null(fgets(line, sizeof line, out));
    assert_non_null(strstr(line, "was changed"));
    assert_int_not_equal(pclose(out), 0);
    feed_drop(&f);
    place_drop(&p);
}

static int expect_ref(void *arg, const struct repo_keyref *ref)
{
    char expected[200];
    int n = snprintf(expected, sizeof expected, "%llu b'%.*s' b'%.*s'\n",
                     (unsigned long long)ref->lsn.v, (int)ref->collection.n, ref->collection.p,
                     (int)ref->key.n, ref->key.p);
    assert_true(n > 0 && strlen(arg) > (size_t)n);
    assert_non_null(strstr(arg, expected));
    return 0;
}

static void another_program_reads_the_same_references(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    bool more = true;
    char path[300], command[900];
    static char text[1 << 20];
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_mixed(&f, 2000); /* several blocks */
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    while (more)
        assert_ok(repository_index_extend(r, &more, &e), e);
    repository_close(r);
    find_object(&p, "indexes", ".index", 0, path);
    (void)snprintf(command, sizeof command, "%s --index %s %s indexes/%s", reader, p.dir, p.kek,
                   strrchr(path, '/') + 1);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    size_t bytes = fread(text + 1, 1, sizeof text - 2, out), lines = 0, refs = 0;
    assert_int_equal(pclose(out), 0);
    text[0] = '\n';
    for (size_t i = 1; i <= bytes; i++)
        lines += text[i] == '\n';
    for (size_t at = 0; at < f.n;) {
        struct entry_view v;
        struct body_txn txn;
        size_t used;
        assert_ok(entry_decode(bytes_of(f.p + at, f.n - at), &v, &used, &e), e);
        assert_ok(body_read_txn(bytes_of(v.body, v.header.body_bytes), &txn, &e), e);
        refs += txn.op_count;
        at += used;
        if (v.header.lsn.v % 50 == 0)
            assert_ok(repo_keyrefs_of(&v, expect_ref, text, &e), e);
    }
    assert_int_equal(lines, refs);
    feed_drop(&f);
    place_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_hold),
        cmocka_unit_test(another_program_reads_the_same_entries),
        cmocka_unit_test(another_program_reads_the_same_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
