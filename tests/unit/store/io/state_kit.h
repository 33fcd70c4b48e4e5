/* What the tests of the state share: a history of sealed entries, a naive model of what a state must hold after them, and
 * directories to work in. */
#ifndef TESTS_STATE_KIT_H
#define TESTS_STATE_KIT_H

#include "store/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- chance ---- */

struct chance {
    uint64_t s;
};

/* splitmix64 (Steele, Lea, Flood, 2014). */
static inline uint64_t chance_u64(struct chance *c)
{
    uint64_t z = c->s += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint32_t chance_below(struct chance *c, uint32_t n)
{
    return (uint32_t)(chance_u64(c) % n);
}

/* ---- directories ---- */

/* In memory where that is possible: the tests sync thousands of times. */
static inline void kit_dir_new(char out[64])
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(out, 64, "%s/triveni-state-XXXXXX", base);
    assert_non_null(mkdtemp(out));
}

static inline void kit_dir_remove(const char *dir)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), entry->d_name, 0);
    (void)closedir(d);
    (void)rmdir(dir);
}

static inline void kit_path(char out[128], const char *dir, const char *file)
{
    (void)snprintf(out, 128, "%s/%s", dir, file);
}

/* A whole file in memory; the caller frees it. */
static inline uint8_t *kit_read(const char *dir, const char *file, size_t *n)
{
    char path[128];
    kit_path(path, dir, file);
    int fd = open(path, O_RDONLY);
    struct stat st;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *p = malloc((size_t)st.st_size + 1);
    assert_non_null(p);
    *n = (size_t)st.st_size;
    assert_int_equal(read(fd, p, *n), st.st_size);
    (void)close(fd);
    return p;
}

static inline void kit_write(const char *dir, const char *file, const uint8_t *p, size_t n)
{
    char path[128];
    kit_path(path, dir, file);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    (void)close(fd);
}

/* A small map: some sanitizers cannot place LMDB's default of 1 TiB. */
static inline struct state_options kit_options(const char *dir)
{
    return (struct state_options){.dir = dir,
                                  .cluster_id = {{7}},
                                  .map_bytes = 1u << 30,
                                  .readers = 16,
                                  .history_us = 1ull << 40,
                                  .history_bytes = 1u << 28};
}

#define must(call)                                                                                 \
    do {                                                                                           \
        struct err e = ERR_NONE;                                                                   \
        int must_rc = (call);                                                                      \
        if (must_rc != 0)                                                                          \
            fail_msg("%s: %s: %s", #call, err_name(must_rc), e.text);                              \
    } while (0)

#define must_fail(call, code, part)                                                                \
    do {                                                                                           \
        struct err e = ERR_NONE;                                                                   \
        int must_rc = (call);                                                                      \
        assert_string_equal(err_name(must_rc), err_name(code));                                    \
        if (strstr(e.text, part) == NULL)                                                          \
            fail_msg("%s: the message lacks '%s': %s", #call, part, e.text);                       \
    } while (0)

/* ---- a history ---- */

struct history {
    struct entry_view *v;
    size_t n, capacity;
    struct entry_position at;
};

static inline void history_add(struct history *h, enum entry_kind kind, const uint8_t *body,
                               size_t n)
{
    if (h->n == h->capacity) {
        h->capacity = h->capacity == 0 ? 64 : h->capacity * 2;
        h->v = realloc(h->v, h->capacity * sizeof *h->v);
        assert_non_null(h->v);
    }
    uint8_t *block = malloc(ENTRY_HEADER_BYTES + n);
    assert_non_null(block);
    memcpy(block + ENTRY_HEADER_BYTES, body, n);
    struct entry_header header = {.kind = kind,
                                  .cluster_id = {{7}},
                                  .term = {1 + h->n / 500},
                                  .lsn = {h->at.lsn.v + 1},
                                  .time = {1000000 + h->at.lsn.v * 10},
                                  .prev_hash = h->at.hash};
    if (header.term.v < h->at.term.v)
        header.term = h->at.term;
    (void)entry_seal(&header, bytes_of(block + ENTRY_HEADER_BYTES, n), block);
    size_t used;
    must(entry_decode(bytes_of(block, ENTRY_HEADER_BYTES + n), &h->v[h->n], &used, &e));
    h->at = entry_position_of(&h->v[h->n]);
    h->n++;
}

static const uint8_t kit_salt[ENTRY_SALT_BYTES] = {1, 2, 3};

static inline void history_txn(struct history *h, const struct uuid *session, uint64_t sequence,
                               const struct op *ops, uint32_t n)
{
    size_t cap = body_txn_bytes(ops, n, 3);
    uint8_t *buffer = malloc(cap);
    assert_non_null(buffer);
    struct writer w = writer_of(buffer, cap);
    struct body_txn txn = {.sequence = sequence, .client = bytes_str("app"), .op_count = n};
    if (session != NULL)
        txn.session = *session;
    body_write_txn(&w, kit_salt, &txn, ops);
    assert_false(w.bad);
    history_add(h, ENTRY_TXN, buffer, w.at);
    free(buffer);
}

static inline void history_put(struct history *h, const char *collection, const char *key,
                               const char *value)
{
    struct op op = {OP_PUT, bytes_str(collection), bytes_str(key), bytes_str(value)};
    history_txn(h, NULL, 0, &op, 1);
}

static inline void history_delete(struct history *h, const char *collection, const char *key)
{
    struct op op = {OP_DELETE, bytes_str(collection), bytes_str(key), {NULL, 0}};
    history_txn(h, NULL, 0, &op, 1);
}

static inline void history_session(struct history *h, const struct uuid *id, enum session_act act,
                                   const char *client)
{
    uint8_t buffer[512];
    struct writer w = writer_of(buffer, sizeof buffer);
    body_write_session(&w, kit_salt, &(struct body_session){act, *id, bytes_str(client)});
    history_add(h, ENTRY_SESSION, buffer, w.at);
}

static inline void history_point(struct history *h, const char *name)
{
    uint8_t buffer[512];
    struct writer w = writer_of(buffer, sizeof buffer);
    body_write_restore_point(&w, kit_salt,
                             &(struct body_restore_point){bytes_str(name), bytes_str("op")});
    history_add(h, ENTRY_RESTORE_POINT, buffer, w.at);
}

static inline void history_config(struct history *h, enum commit_mode mode)
{
    uint8_t buffer[512];
    struct writer w = writer_of(buffer, sizeof buffer);
    body_write_config(&w, kit_salt, &(struct body_config){mode, bytes_str("op")});
    history_add(h, ENTRY_CONFIG, buffer, w.at);
}

/* `n` members, by turns voters and replicas. */
static inline void history_members(struct history *h, uint32_t n)
{
    static const char *const names[] = {"dc", "dr", "dr2", "gsr"};
    uint8_t buffer[512];
    struct writer w = writer_of(buffer, sizeof buffer);
    struct body_members b = {.by = bytes_str("op"), .founded = bytes_str("dc data"), .count = n};
    for (uint32_t i = 0; i < n; i++)
        b.members[i] = (struct body_member){.name = bytes_str(names[i]),
                                            .kind = MEMBER_DATA,
                                            .votes = i % 2 == 0,
                                            .peer = bytes_str("h:1"),
                                            .client = bytes_str("h:2")};
    body_write_members(&w, kit_salt, &b);
    history_add(h, ENTRY_MEMBERS, buffer, w.at);
}

static inline void history_noop(struct history *h)
{
    uint8_t buffer[512];
    struct writer w = writer_of(buffer, sizeof buffer);
    body_write_noop(&w, kit_salt, &(struct body_noop){bytes_str("dc")});
    history_add(h, ENTRY_NOOP, buffer, w.at);
}

static inline void history_free(struct history *h)
{
    for (size_t i = 0; i < h->n; i++)
        free((uint8_t *)(uintptr_t)h->v[i].raw);
    free(h->v);
    *h = (struct history){.n = 0};
}

/* Random entries of all kinds, over few enough names that they meet again. */
static inline void history_random(struct history *h, struct chance *c, size_t n, uint32_t keys,
                                  uint32_t value_max)
{
    static const char *const collections[] = {"a", "titles", "passports", "court.files", "zz-9"};
    static uint8_t value[64 << 10];
    for (size_t i = 0; i < n; i++) {
        struct uuid session = {{(uint8_t)(1 + chance_below(c, 5))}};
        uint32_t what = chance_below(c, 100);
        char name[32];
        if (what < 4) {
            history_session(h, &session, SESSION_OPEN, "app");
        } else if (what < 5) {
            history_session(h, &session, chance_below(c, 2) ? SESSION_CLOSE : SESSION_EXPIRE,
                            "app");
        } else if (what < 7) {
            (void)snprintf(name, sizeof name, "point-%u", chance_below(c, 30));
            history_point(h, name);
        } else if (what < 8) {
            if (chance_below(c, 2))
                history_members(h, 1 + chance_below(c, 4));
            else
                history_config(h, chance_below(c, 2) ? COMMIT_LOCAL : COMMIT_MAJORITY);
        } else if (what < 10) {
            history_noop(h);
        } else {
            struct op ops[8];
            char key[8][24];
            uint32_t count = chance_below(c, 8);
            for (uint32_t k = 0; k < count; k++) {
                /* Some keys are prefixes of others, some end in 0xff. */
                uint32_t number = chance_below(c, keys);
                int len = snprintf(key[k], sizeof key[k], number % 3 ? "k%u" : "%u/x", number);
                if (number % 7 == 0)
                    key[k][len++] = (char)0xff;
                size_t bytes = chance_below(c, value_max);
                for (size_t b = 0; b < bytes; b += 97)
                    value[b] = (uint8_t)chance_u64(c);
                ops[k] = (struct op){chance_below(c, 3) ? OP_PUT : OP_DELETE,
                                     bytes_str(collections[chance_below(c, 5)]),
                                     bytes_of(key[k], (size_t)len),
                                     {NULL, 0}};
                if (ops[k].kind == OP_PUT)
                    ops[k].value = bytes_of(value, bytes);
            }
            bool with_session = chance_below(c, 2);
            history_txn(h, with_session ? &session : NULL, with_session ? chance_below(c, 4000) : 0,
                        ops, count);
        }
    }
}

/* ---- the model: plain arrays, searched from end to end ---- */

struct model_record {
    struct record r; /* owns nothing: views into the history */
};
struct model_session {
    struct uuid id;
    struct session_info info;
};
struct model_result {
    struct uuid id;
    uint64_t sequence;
    struct entry_position at;
};
struct model_point {
    struct restore_point p;
};

struct model {
    struct model_record *records;
    size_t record_count;
    struct model_session sessions[64];
    size_t session_count;
    struct model_result *results;
    size_t result_count;
    struct model_point points[64];
    size_t point_count;
    enum commit_mode mode;
    struct entry_position at;
    struct digest
        sum; /* of the records, kept along; compared with a full count wherever models are compared */
};

enum { MODEL_RECORDS = 4096, MODEL_RESULTS = 65536 };

static inline void model_init(struct model *m)
{
    *m = (struct model){.mode = COMMIT_MAJORITY};
    m->records = calloc(MODEL_RECORDS, sizeof *m->records);
    m->results = calloc(MODEL_RESULTS, sizeof *m->results);
    assert_non_null(m->records);
    assert_non_null(m->results);
}

static inline void model_free(struct model *m)
{
    free(m->records);
    free(m->results);
}

static inline struct digest model_digest(const struct model *m)
{
    struct digest sum = {0, 0};
    for (size_t i = 0; i < m->record_count; i++) {
        const struct record *r = &m->records[i].r;
        sum = digest_add(sum, digest_record(r->collection, r->key, r->lsn, r->value));
    }
    return sum;
}

static inline void model_op(struct model *m, const struct op *op, const struct entry_view *v)
{
    size_t i = 0;
    while (i < m->record_count && !(bytes_equal(m->records[i].r.collection, op->collection) &&
                                    bytes_equal(m->records[i].r.key, op->key)))
        i++;
    if (i < m->record_count) {
        const struct record *old = &m->records[i].r;
        m->sum = digest_sub(m->sum, digest_record(old->collection, old->key, old->lsn, old->value));
    }
    if (op->kind == OP_PUT) {
        assert_true(i < MODEL_RECORDS);
        m->records[i].r =
            (struct record){op->collection, op->key, op->value, v->header.lsn, v->header.time};
        m->record_count += i == m->record_count;
        m->sum =
            digest_add(m->sum, digest_record(op->collection, op->key, v->header.lsn, op->value));
    } else if (i < m->record_count) {
        m->records[i] = m->records[--m->record_count];
    }
}

static inline struct model_session *model_session(struct model *m, const struct uuid *id)
{
    for (size_t i = 0; i < m->session_count; i++)
        if (uuid_equal(&m->sessions[i].id, id))
            return &m->sessions[i];
    return NULL;
}

/* One result at a time: add it unless its sequence is there, then push the lowest out beyond 1,024. */
static inline void model_result(struct model *m, const struct uuid *id, uint64_t sequence,
                                struct entry_position at)
{
    size_t count = 0, lowest = 0;
    for (size_t i = 0; i < m->result_count; i++) {
        if (!uuid_equal(&m->results[i].id, id))
            continue;
        if (m->results[i].sequence == sequence)
            return;
        if (count++ == 0 || m->results[i].sequence < m->results[lowest].sequence)
            lowest = i;
    }
    assert_true(m->result_count < MODEL_RESULTS);
    if (count == 1024 && sequence < m->results[lowest].sequence)
        return;
    size_t place = count == 1024 ? lowest : m->result_count++;
    m->results[place] = (struct model_result){*id, sequence, at};
}

static inline void model_act(struct model *m, const struct body_session *b,
                             const struct entry_view *v)
{
    struct model_session *s = model_session(m, &b->session);
    if (b->act == SESSION_OPEN && s == NULL) {
        assert_true(m->session_count < 64);
        m->sessions[m->session_count++] =
            (struct model_session){b->session, {b->client, v->header.lsn, v->header.time}};
    } else if (b->act == SESSION_OPEN) {
        s->info.last = v->header.time;
    } else if (s != NULL) {
        *s = m->sessions[--m->session_count];
        size_t kept = 0;
        for (size_t i = 0; i < m->result_count; i++)
            if (!uuid_equal(&m->results[i].id, &b->session))
                m->results[kept++] = m->results[i];
        m->result_count = kept;
    }
}

static inline void model_apply(struct model *m, const struct entry_view *v)
{
    struct bytes body = bytes_of(v->body, v->header.body_bytes);
    m->at = entry_position_of(v);
    if (v->header.kind == ENTRY_TXN) {
        struct body_txn txn;
        must(body_read_txn(body, &txn, &e));
        for (uint32_t i = 0; i < txn.op_count; i++) {
            struct op op;
            must(body_next_op(&txn.ops, &op, &e));
            model_op(m, &op, v);
        }
        struct model_session *s = model_session(m, &txn.session);
        if (s != NULL) {
            s->info.last = v->header.time;
            if (txn.sequence != 0)
                model_result(m, &txn.session, txn.sequence, m->at);
        }
    } else if (v->header.kind == ENTRY_SESSION) {
        struct body_session b;
        must(body_read_session(body, &b, &e));
        model_act(m, &b, v);
    } else if (v->header.kind == ENTRY_CONFIG) {
        struct body_config b;
        must(body_read_config(body, &b, &e));
        m->mode = b.mode;
    } else if (v->header.kind == ENTRY_MEMBERS) {
        struct op op = {OP_PUT, bytes_str(MEMBERS_COLLECTION), bytes_str(MEMBERS_KEY), body};
        model_op(m, &op, v);
    } else if (v->header.kind == ENTRY_RESTORE_POINT) {
        struct body_restore_point b;
        must(body_read_restore_point(body, &b, &e));
        for (size_t i = 0; i < m->point_count; i++)
            if (bytes_equal(m->points[i].p.name, b.name))
                return;
        assert_true(m->point_count < 64);
        m->points[m->point_count++].p =
            (struct restore_point){b.name, v->header.lsn, v->header.time, model_digest(m)};
    }
}

/* ---- comparing ---- */

static inline int model_order(const void *pa, const void *pb)
{
    const struct record *a = pa, *b = pb; /* the first member of model_record */
    int c = bytes_compare(a->collection, b->collection);
    return c != 0 ? c : bytes_compare(a->key, b->key);
}

static inline void assert_bytes(struct bytes a, struct bytes b)
{
    if (!bytes_equal(a, b))
        fail_msg("'%.*s' where '%.*s' was expected", (int)a.n, (const char *)a.p, (int)b.n,
                 (const char *)b.p);
}

static inline void assert_record(const struct record *got, const struct record *want)
{
    assert_bytes(got->collection, want->collection);
    assert_bytes(got->key, want->key);
    assert_bytes(got->value, want->value);
    assert_int_equal(got->lsn.v, want->lsn.v);
    assert_int_equal(got->time.us, want->time.us);
}

struct model_check {
    struct model *m;
    size_t seen;
};

static inline int check_collection(void *arg, const struct collection_info *info)
{
    struct model_check *c = arg;
    uint64_t records = 0;
    struct digest sum = {0, 0};
    for (size_t i = 0; i < c->m->record_count; i++) {
        const struct record *r = &c->m->records[i].r;
        if (!bytes_equal(r->collection, info->name))
            continue;
        records++;
        sum = digest_add(sum, digest_record(r->collection, r->key, r->lsn, r->value));
    }
    assert_int_equal(records, info->records);
    assert_true(records > 0);
    assert_true(digest_equal(sum, info->digest));
    c->seen += records;
    return 0;
}

static inline int check_session(void *arg, const struct uuid *id, const struct session_info *info)
{
    struct model_check *c = arg;
    struct model_session *s = model_session(c->m, id);
    assert_non_null(s);
    assert_bytes(info->client, s->info.client);
    assert_int_equal(info->opened.v, s->info.opened.v);
    assert_int_equal(info->last.us, s->info.last.us);
    c->seen++;
    return 0;
}

static inline int check_result(void *arg, const struct uuid *id, uint64_t sequence,
                               const struct entry_position *at)
{
    struct model_check *c = arg;
    for (size_t i = 0; i < c->m->result_count; i++) {
        const struct model_result *r = &c->m->results[i];
        if (uuid_equal(&r->id, id) && r->sequence == sequence) {
            assert_int_equal(at->lsn.v, r->at.lsn.v);
            assert_int_equal(at->term.v, r->at.term.v);
            assert_int_equal(at->time.us, r->at.time.us);
            c->seen++;
            return 0;
        }
    }
    fail_msg("result %llu is not in the model", (unsigned long long)sequence);
    return 0;
}

static inline int check_point(void *arg, const struct restore_point *p)
{
    struct model_check *c = arg;
    for (size_t i = 0; i < c->m->point_count; i++) {
        const struct restore_point *want = &c->m->points[i].p;
        if (bytes_equal(want->name, p->name)) {
            assert_int_equal(p->lsn.v, want->lsn.v);
            assert_int_equal(p->time.us, want->time.us);
            assert_true(digest_equal(p->digest, want->digest));
            c->seen++;
            return 0;
        }
    }
    fail_msg("restore point '%.*s' is not in the model", (int)p->name.n, (const char *)p->name.p);
    return 0;
}

static inline void model_compare_buckets(const struct model *m, struct state_snapshot *snap)
{
    struct digest *bucket = calloc(DIGEST_BUCKETS, sizeof *bucket);
    struct state_sums *sums = malloc(sizeof *sums);
    assert_true(bucket != NULL && sums != NULL);
    for (size_t i = 0; i < m->record_count; i++) {
        const struct record *r = &m->records[i].r;
        uint32_t b = digest_bucket(r->collection, r->key);
        bucket[b] = digest_add(bucket[b], digest_record(r->collection, r->key, r->lsn, r->value));
    }
    must(state_sums(snap, sums, &e));
    for (uint32_t i = 0; i < DIGEST_BUCKETS; i++)
        assert_true(digest_equal(sums->bucket[i], bucket[i]));
    free(sums);
    free(bucket);
}

/* Everything that can be seen of the state, but for scans with options. Sorts the model's records. */
static inline void model_compare(struct model *m, struct state *s)
{
    struct state_snapshot *snap;
    must(state_snapshot_open(s, &snap, &e));
    struct entry_position at = state_snapshot_position(snap);
    assert_int_equal(at.lsn.v, m->at.lsn.v);
    assert_int_equal(at.term.v, m->at.term.v);
    assert_true(sha256_equal(&at.hash, &m->at.hash));

    struct state_totals totals;
    must(state_totals(snap, &totals, &e));
    assert_int_equal(totals.records, m->record_count);
    assert_int_equal(totals.mode, m->mode);
    assert_true(digest_equal(totals.digest, model_digest(m)));
    assert_true(digest_equal(totals.digest, m->sum));

    qsort(m->records, m->record_count, sizeof *m->records, model_order);
    struct state_scan *scan;
    struct record r;
    struct err end = ERR_NONE;
    size_t collections = 0;
    must(state_scan_open(snap, &(struct scan_options){.reverse = false}, &scan, &e));
    for (size_t i = 0; i < m->record_count; i++) {
        must(state_scan_next(scan, &r, &e));
        assert_record(&r, &m->records[i].r);
        collections += i == 0 || !bytes_equal(r.collection, m->records[i - 1].r.collection);
    }
    assert_int_equal(state_scan_next(scan, &r, &end), ERR_NOT_FOUND);
    state_scan_close(scan);
    assert_int_equal(totals.collections, collections);

    struct model_check c = {m, 0};
    must(state_collections(snap, check_collection, &c, &e));
    assert_int_equal(c.seen, m->record_count);
    c.seen = 0;
    must(state_sessions(snap, check_session, &c, &e));
    assert_int_equal(c.seen, m->session_count);
    c.seen = 0;
    must(state_results(snap, check_result, &c, &e));
    assert_int_equal(c.seen, m->result_count);
    c.seen = 0;
    must(state_restore_points(snap, check_point, &c, &e));
    assert_int_equal(c.seen, m->point_count);
    model_compare_buckets(m, snap);
    must(state_verify(snap, &e));
    state_snapshot_close(snap);
}

/* ---- one state in a new directory, and a history to feed it ---- */

struct kit_state {
    char dir[64];
    struct state_options o;
    struct state *s;
    struct history h;
};

static inline int kit_state_set_up(void **state)
{
    struct kit_state *f = calloc(1, sizeof *f);
    assert_non_null(f);
    kit_dir_new(f->dir);
    f->o = kit_options(f->dir);
    must(state_open(&f->s, &f->o, &e));
    *state = f;
    return 0;
}

static inline int kit_state_tear_down(void **state)
{
    struct kit_state *f = *state;
    state_close(f->s);
    history_free(&f->h);
    kit_dir_remove(f->dir);
    free(f);
    return 0;
}

static inline void kit_publish(struct kit_state *f)
{
    struct entry_position at;
    must(state_checkpoint_begin(f->s, &at, &e));
    must(state_checkpoint_finish(f->s, &e));
}

#endif
