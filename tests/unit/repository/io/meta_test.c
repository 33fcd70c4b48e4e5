/* The text files of an archive: what is written is read, no changed byte passes, and what was sealed by a wrong program is
 * refused with the name of the member. */
#include "repository/io/meta.h"
#include "store/core/hash.h"
#include "store/core/hex.h"
#include "tests/unit/repository/fixture.h"

static const struct repo_key key = {{3, 1, 4}};
static const char identity[] = "meta";

struct text {
    uint8_t *p;
    size_t n;
};

static struct bytes bytes_of_text(const struct text *t)
{
    return bytes_of(t->p, t->n);
}

static struct repo_frame_start starts[] = {{{11}, {1000}}, {{13}, {1002}}, {{20}, {1010}}};

static void position(struct entry_position *p, uint64_t lsn)
{
    *p = (struct entry_position){.lsn = {lsn}, .term = {3}, .time = {1000 + lsn}};
    memset(p->hash.b, (int)lsn, sizeof p->hash.b);
}

static void object(struct repo_object *o, enum repo_kind kind)
{
    struct repo_name name = {.kind = kind, .last = {20}, .unique = 0xabc};
    if (kind != REPO_SNAPSHOT)
        name.first.v = 11;
    if (kind == REPO_PACK)
        name.term.v = 3;
    *o = (struct repo_object){.bytes = 5000, .plain_bytes = 9000, .created = {77}};
    repo_name_format(&name, o->name);
    memset(o->sha256.b, 0xaa, 32);
    memset(o->plain_sha256.b, 0xbb, 32);
    position(&o->end, 20);
    o->digest_known = true;
    o->digest = (struct digest){1, 2};
}

static struct repo_pack pack(struct repo_point *points)
{
    struct repo_pack p = {.first = {11}, .first_time = {1000}, .frames = 3, .point_count = 3};
    object(&p.o, REPO_PACK);
    position(&p.prev, 10);
    p.points = points;
    points[0] = (struct repo_point){bytes_str("before upgrade"), {12}, {1001}, true, {5, 6}};
    points[1] = (struct repo_point){bytes_of("\xff\0x", 3), {13}, {1002}, false, {0, 0}};
    points[2] = (struct repo_point){bytes_of("a\0b", 3), {20}, {1010}, false, {0, 0}};
    return p;
}

static struct text pack_text(void)
{
    struct repo_point points[3];
    struct repo_pack p = pack(points);
    struct text t;
    struct err e = ERR_NONE;
    assert_ok(repo_pack_write(&p, starts, &test_cluster, &key, identity, &t.p, &t.n, &e), e);
    return t;
}

static struct text snapshot_text(void)
{
    struct repo_snapshot s = {.records = 10, .sessions = 2, .results = 3, .points = 1};
    struct text t;
    struct err e = ERR_NONE;
    object(&s.o, REPO_SNAPSHOT);
    assert_ok(repo_snapshot_write(&s, &test_cluster, &key, identity, &t.p, &t.n, &e), e);
    return t;
}

static struct repo_index index_meta(void)
{
    struct repo_index x = {.first = {11}, .level = 2, .blocks = 4, .refs = 99, .sum = {7, 8}};
    object(&x.o, REPO_INDEX);
    position(&x.prev, 10);
    return x;
}

static struct text index_text(void)
{
    struct repo_index x = index_meta();
    struct text t;
    struct err e = ERR_NONE;
    assert_ok(repo_index_write(&x, &test_cluster, &key, identity, &t.p, &t.n, &e), e);
    return t;
}

static int read_index(const struct text *t, struct repo_index *out, struct err *e)
{
    struct repo_index x = index_meta();
    *e = (struct err)ERR_NONE;
    return repo_index_read(bytes_of_text(t), &test_cluster, x.o.name, &key, identity, out, e);
}

static int read_pack(const struct text *t, struct repo_pack *out, struct repo_frame_start **frames,
                     struct err *e)
{
    struct repo_point points[3];
    struct repo_pack p = pack(points);
    *e = (struct err)ERR_NONE;
    return repo_pack_read(bytes_of_text(t), &test_cluster, p.o.name, &key, identity, out, frames,
                          e);
}

static int read_snapshot(const struct text *t, struct repo_snapshot *out, struct err *e)
{
    struct repo_object o;
    object(&o, REPO_SNAPSHOT);
    *e = (struct err)ERR_NONE;
    return repo_snapshot_read(bytes_of_text(t), &test_cluster, o.name, &key, identity, out, e);
}

/* ---- right ---- */

static void a_pack_comes_back_as_it_was(void **state)
{
    (void)state;
    struct text t = pack_text();
    struct repo_point points[3];
    struct repo_pack p = pack(points), got;
    struct repo_frame_start *frames;
    struct err e;
    assert_ok(read_pack(&t, &got, &frames, &e), e);
    assert_string_equal(got.o.name, p.o.name);
    assert_int_equal(got.o.bytes, 5000);
    assert_int_equal(got.o.plain_bytes, 9000);
    assert_true(got.o.digest_known && digest_equal(got.o.digest, p.o.digest));
    assert_true(repo_position_equal(&got.o.end, &p.o.end));
    assert_true(repo_position_equal(&got.prev, &p.prev));
    assert_int_equal(got.first.v, 11);
    assert_int_equal(got.frames, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(frames[i].lsn.v, starts[i].lsn.v);
        assert_int_equal(frames[i].time.us, starts[i].time.us);
        assert_true(bytes_equal(got.points[i].name, points[i].name));
        assert_int_equal(got.points[i].lsn.v, points[i].lsn.v);
        assert_int_equal(got.points[i].digest_known, points[i].digest_known);
    }
    repo_pack_release(&got);
    assert_null(got.points);
    free(frames);
    free(t.p);
}

static void an_index_comes_back_as_it_was(void **state)
{
    (void)state;
    struct text t = index_text();
    struct repo_index x = index_meta(), got;
    struct err e;
    assert_ok(read_index(&t, &got, &e), e);
    assert_string_equal(got.o.name, x.o.name);
    assert_true(repo_position_equal(&got.o.end, &x.o.end));
    assert_true(repo_position_equal(&got.prev, &x.prev));
    assert_int_equal(got.first.v, 11);
    assert_int_equal(got.level, 2);
    assert_int_equal(got.blocks, 4);
    assert_int_equal(got.refs, 99);
    assert_true(digest_equal(got.sum, x.sum));
    assert_false(got.used || got.reader != NULL);
    for (size_t i = 0; i < t.n; i++) {
        t.p[i] ^= 4;
        assert_int_equal(read_index(&t, &got, &e), ERR_INTEGRITY);
        t.p[i] ^= 4;
    }
    free(t.p);
}

static void every_changed_byte_is_found(void **state)
{
    (void)state;
    struct text t[2] = {pack_text(), snapshot_text()};
    for (int kind = 0; kind < 2; kind++) {
        struct repo_pack p;
        struct repo_snapshot s;
        struct err e;
        for (size_t i = 0; i < t[kind].n; i++) {
            t[kind].p[i] ^= 4;
            assert_int_equal(kind == 0 ? read_pack(&t[0], &p, NULL, &e)
                                       : read_snapshot(&t[1], &s, &e),
                             ERR_INTEGRITY);
            t[kind].p[i] ^= 4;
        }
        while (t[kind].n-- > 0) /* and every cut */
            assert_int_equal(kind == 0 ? read_pack(&t[0], &p, NULL, &e)
                                       : read_snapshot(&t[1], &s, &e),
                             ERR_INTEGRITY);
        free(t[kind].p);
    }
}

static void what_json_cannot_hold_is_not_written(void **state)
{
    (void)state;
    struct repo_point points[3];
    struct repo_pack p = pack(points);
    struct text t = {(uint8_t *)&p, 0};
    struct err e = ERR_NONE;
    p.o.bytes = (uint64_t)INT64_MAX + 1;
    assert_int_equal(repo_pack_write(&p, starts, &test_cluster, &key, identity, &t.p, &t.n, &e),
                     ERR_LIMIT);
    assert_null(t.p);
    p.o.bytes = INT64_MAX;
    points[2].time.us = UINT64_MAX;
    assert_int_equal(repo_pack_write(&p, starts, &test_cluster, &key, identity, &t.p, &t.n, &e),
                     ERR_LIMIT);
    points[2].time.us = 1;
    starts[1].time.us = UINT64_MAX;
    assert_int_equal(repo_pack_write(&p, starts, &test_cluster, &key, identity, &t.p, &t.n, &e),
                     ERR_LIMIT);
    starts[1].time.us = 1002;
    struct repo_snapshot s = {.results = UINT64_MAX};
    object(&s.o, REPO_SNAPSHOT);
    assert_int_equal(repo_snapshot_write(&s, &test_cluster, &key, identity, &t.p, &t.n, &e),
                     ERR_LIMIT);
}

/* ---- sealed by a wrong program ---- */

/* `t` with `from` replaced by `to` in its first line, and sealed anew. */
static void forge(struct text *t, const char *from, const char *to, const struct repo_key *k)
{
    size_t line = (size_t)((uint8_t *)memchr(t->p, '\n', t->n) - t->p) + 1;
    const uint8_t *at = memmem(t->p, line, from, strlen(from));
    if (at == NULL)
        fail_msg("'%s' is not in '%.*s'", from, (int)line, (char *)t->p);
    struct text out = {malloc(line + strlen(to) + 100), 0};
    struct writer w = writer_of(out.p, line + strlen(to) + 100);
    uint8_t seal[32];
    char hex[65];
    write_bytes(&w, bytes_of(t->p, (size_t)(at - t->p)));
    write_bytes(&w, bytes_str(to));
    at += strlen(from);
    write_bytes(&w, bytes_of(at, line - (size_t)(at - t->p)));
    if (k != NULL) {
        assert_int_equal(repo_mac(k, identity, bytes_of(out.p, w.at), seal, NULL), 0);
    } else {
        struct sha256 h = hash_sha256(bytes_of(out.p, w.at));
        memcpy(seal, h.b, 32);
    }
    hex_format(seal, 32, hex);
    write_bytes(&w, bytes_str(k == NULL ? "{\"sha256\":\"" : "{\"mac\":\""));
    write_bytes(&w, bytes_str(hex));
    write_bytes(&w, bytes_str("\"}\n"));
    assert_false(w.bad);
    out.n = w.at;
    free(t->p);
    *t = out;
}

#define LSN12 "\"name\":\"before upgrade\",\"lsn\":12"

static void a_wrong_member_of_a_pack_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *why;
    } wrong[] = {
        {"\"format\":1", "\"format\":2", "format 2 is unknown, this program reads 1"},
        {"\"format\":1", "\"format\":\"1\"", "\"format\""},
        {"\"format\":1", "\"format\":1,\"format\":1", "no JSON: column"},
        {"{\"format\":1", "[{\"format\":1", "no JSON: column"},
        {"\"kind\":\"pack\"", "\"kind\":\"snapshot\"", "\"kind\""},
        {"\"object\":\"packs/", "\"object\":\"packs0/", "\"object\""},
        {"\"cluster_id\":\"c1", "\"cluster_id\":\"c2", "\"cluster_id\""},
        {"\"cluster_id\":\"c1", "\"cluster_id\":\"x1", "\"cluster_id\""},
        {"\"bytes\":5000", "\"bytes\":-1", "\"bytes\""},
        {"\"bytes\":5000", "\"bytes\":5000.0", "\"bytes\""},
        {"\"sha256\":\"aa", "\"sha256\":\"a", "\"sha256\""},
        {"\"sha256\":\"aa", "\"sha256\":\"AA", "\"sha256\""},
        {"\"plain_sha256\":\"bb", "\"plain_sha256\":\"bbb", "\"plain_sha256\""},
        {"\"digest\":\"", "\"digest\":\"0", "\"digest\""},
        {"\"end\":{", "\"end\":7,\"e\":{", "\"end\""},
        {"\"end\":{\"lsn\":20,\"term\":3", "\"end\":{\"lsn\":20,\"term\":4", "\"object\""},
        {"\"end\":{\"lsn\":20", "\"end\":{\"lsn\":21", "\"object\""},
        {"\"prev\":{\"lsn\":10", "\"prev\":{\"lsn\":9", "\"object\""},
        {"\"prev\":{", "\"prav\":{", "\"prev\""},
        {"\"frames\":[[11,1000]", "\"frames\":[[12,1000]", "\"frames\""},
        {"[13,1002]", "[11,1002]", "\"frames\""},
        {"[20,1010]", "[21,1010]", "\"frames\""},
        {"[13,1002]", "[13]", "\"frames\""},
        {"[13,1002]", "13", "\"frames\""},
        {"[[11,1000],[13,1002],[20,1010]]", "[]", "\"frames\""},
        {"\"frames\":", "\"frame\":", "\"frames\""},
        {"\"points\":", "\"point\":", "\"points\""},
        {"\"points\":", "\"points\":{},\"p\":", "\"points\""},
        {LSN12, "\"name\":\"\",\"lsn\":12", "\"points\""},
        {LSN12, "\"name\":12,\"lsn\":12", "\"points\""},
        {LSN12, "\"lsn\":12", "\"name_hex\""},
        {LSN12, "\"name_hex\":\"616\",\"lsn\":12", "\"name_hex\""},
        {LSN12, "\"name_hex\":\"6z\",\"lsn\":12", "\"name_hex\""},
        {LSN12, "\"name\":\"before upgrade\",\"lsn\":10", "\"points\""},
        {LSN12, "\"name\":\"before upgrade\",\"lsn\":13", "\"points\""},
        {"\"lsn\":20,\"time_us\":1010}", "\"lsn\":21,\"time_us\":1010}", "\"points\""},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct text t = pack_text();
        struct repo_pack p;
        struct repo_frame_start *frames;
        struct err e;
        forge(&t, wrong[i].from, wrong[i].to, &key);
        int rc = read_pack(&t, &p, &frames, &e);
        if (rc != ERR_FORMAT || strstr(e.text, wrong[i].why) == NULL)
            fail_msg("%s: %d '%s'", wrong[i].to, rc, e.text);
        assert_null(frames);
        assert_null(p.points);
        free(t.p);
    }
}

static void frames_that_nobody_asks_for_are_counted_as_they_would_be_parsed(void **state)
{
    (void)state;
#define FRAMES "\"frames\":[[11,1000],[13,1002],[20,1010]]"
    static const struct {
        const char *to;
        uint32_t frames; /* 0: refused */
    } as[] = {
        {"\"frames\":[[11,1000]]", 1},
        {"\"frames\":[[11,1000],[13,0],[9,9],[0,0]]", 4},
        {"\"frames\":[[11,1000],[13]]", 2},
        {"\"frames\":[[11, 1000],[13,1002]]", 2},
        {"\"frames\" :[[11,1000],[13,1002]]", 2},
        {"\"x\":{\"frames\":[[1,2]]}," FRAMES, 3},
        {FRAMES ",\"x\":{\"frames\":[[1,2]]}", 3},
        {"\"frames\":1,\"x\":{\"frames\":[[1,2]]}", 0},
        {"\"x\":{\"frames\":[[1,2]]},\"frames\":1", 0},
        {"\"x\":{\"frames\":[[1,2]]}", 0},
        {"\"frames\":3", 0},
        {"\"frames\":[]", 0},
        {"\"frames\":[[11,1000],]", 0},
        {"\"frames\":[,[11,1000]]", 0},
        {"\"frames\":[[11,1000][13,1002]]", 0},
        {"\"frames\":[[11,1000]", 0},
        {"\"frames\":[[11,1000", 0},
        {"\"frames\":[[011,1000]]", 0},
        {"\"frames\":[[,1000]]", 0},
        {"\"frames\":[[11,]]", 0},
        {"\"frames\":[[11,99999999999999999999]]", 0},
        {"\"frames\":[[11,1000]]]", 0},
        {FRAMES "," FRAMES, 0},
    };
    for (size_t i = 0; i < sizeof as / sizeof as[0]; i++) {
        struct text t = pack_text();
        struct repo_pack p;
        struct err e;
        forge(&t, FRAMES, as[i].to, &key);
        int rc = read_pack(&t, &p, NULL, &e);
        if (rc != (as[i].frames == 0 ? ERR_FORMAT : 0) || (rc == 0 && p.frames != as[i].frames))
            fail_msg("%s: %d '%s', %u", as[i].to, rc, e.text, p.frames);
        if (rc == 0)
            assert_int_equal(p.point_count, 3);
        repo_pack_release(&p);
        free(t.p);
    }
#undef FRAMES
}

static void a_point_name_has_a_limit_in_either_spelling(void **state)
{
    (void)state;
    char name[2 * POINT_NAME_MAX_BYTES + 64];
    for (int hex = 0; hex < 2; hex++)
        for (int over = 0; over < 2; over++) {
            struct text t = pack_text();
            struct repo_pack p;
            struct err e;
            (void)snprintf(name, sizeof name, "\"%s\":\"%0*d\",\"lsn\":12",
                           hex ? "name_hex" : "name", (POINT_NAME_MAX_BYTES + over) * (1 + hex), 0);
            forge(&t, LSN12, name, &key);
            assert_int_equal(read_pack(&t, &p, NULL, &e), over ? ERR_FORMAT : 0);
            assert_true(over || p.points[0].name.n == POINT_NAME_MAX_BYTES);
            repo_pack_release(&p);
            free(t.p);
        }
}

static void a_wrong_member_of_a_snapshot_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *why;
    } wrong[] = {
        {"\"kind\":\"snapshot\"", "\"kind\":\"pack\"", "\"kind\""},
        {"\"end\":{\"lsn\":20", "\"end\":{\"lsn\":19", "\"object\""},
        {"\"digest\":", "\"dijest\":", "\"digest\""},
        {"\"records\":10", "\"records\":null", "\"records\""},
        {"\"results\":3", "\"result\":3", "\"results\""},
    };
    struct text t = snapshot_text();
    struct repo_snapshot s;
    struct err e;
    assert_ok(read_snapshot(&t, &s, &e), e);
    assert_int_equal(s.records * 1000 + s.sessions * 100 + s.results * 10 + s.points, 10231);
    free(t.p);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        t = snapshot_text();
        forge(&t, wrong[i].from, wrong[i].to, &key);
        int rc = read_snapshot(&t, &s, &e);
        if (rc != ERR_FORMAT || strstr(e.text, wrong[i].why) == NULL)
            fail_msg("%s: %d '%s'", wrong[i].to, rc, e.text);
        free(t.p);
    }
}

/* ---- repository.json and wrapped keys ---- */

static void the_name_of_a_cluster_has_a_limit(void **state)
{
    (void)state;
    struct repo_about a = {.cluster_id = test_cluster, .cluster = "gov", .created = {5}}, got;
    struct err e = ERR_NONE;
    char name[100];
    for (int over = 0; over < 2; over++) {
        struct text t;
        assert_ok(repo_about_write(&a, &t.p, &t.n, &e), e);
        assert_ok(repo_about_read(bytes_of_text(&t), &got, &e), e);
        assert_string_equal(got.cluster, "gov");
        (void)snprintf(name, sizeof name, "\"%0*d\"", (int)sizeof a.cluster - 1 + over, 0);
        forge(&t, "\"gov\"", name, NULL);
        assert_int_equal(repo_about_read(bytes_of_text(&t), &got, &e), over ? ERR_FORMAT : 0);
        assert_true(!over || strstr(e.text, "\"cluster\"") != NULL);
        forge(&t, "\"format\":1", "\"format\":3", NULL);
        assert_int_equal(repo_about_read(bytes_of_text(&t), &got, &e), ERR_FORMAT);
        assert_non_null(strstr(e.text, "format 3 is unknown"));
        t.p[3] ^= 1;
        assert_int_equal(repo_about_read(bytes_of_text(&t), &got, &e), ERR_INTEGRITY);
        free(t.p);
    }
    assert_int_equal(repo_about_read(bytes_of("", 0), &got, &e), ERR_INTEGRITY);
}

static void a_wrapped_key_is_read_before_its_seal_can_be(void **state)
{
    (void)state;
    struct repo_wrapped k = {.kek_id = {1, 2}, .wrapped = {3, 4}, .created = {6}}, got;
    struct err e = ERR_NONE;
    struct text t;
    assert_ok(repo_wrapped_write(&k, &key, identity, &t.p, &t.n, &e), e);
    assert_ok(repo_wrapped_read(bytes_of_text(&t), &got, &e), e);
    assert_memory_equal(got.kek_id, k.kek_id, sizeof k.kek_id);
    assert_memory_equal(got.wrapped, k.wrapped, sizeof k.wrapped);
    assert_ok(repo_seal_check(bytes_of_text(&t), &key, identity, &e), e);
    assert_int_equal(repo_seal_check(bytes_of_text(&t), &key, "beta", &e), ERR_INTEGRITY);
    forge(&t, "\"wrapped\":\"03", "\"wrapped\":\"0", &key);
    assert_int_equal(repo_wrapped_read(bytes_of_text(&t), &got, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "\"wrapped\""));
    assert_int_equal(repo_wrapped_read(bytes_of("{}", 2), &got, &e), ERR_INTEGRITY);
    free(t.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pack_comes_back_as_it_was),
        cmocka_unit_test(an_index_comes_back_as_it_was),
        cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(what_json_cannot_hold_is_not_written),
        cmocka_unit_test(a_wrong_member_of_a_pack_is_named),
        cmocka_unit_test(frames_that_nobody_asks_for_are_counted_as_they_would_be_parsed),
        cmocka_unit_test(a_point_name_has_a_limit_in_either_spelling),
        cmocka_unit_test(a_wrong_member_of_a_snapshot_is_named),
        cmocka_unit_test(the_name_of_a_cluster_has_a_limit),
        cmocka_unit_test(a_wrapped_key_is_read_before_its_seal_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
