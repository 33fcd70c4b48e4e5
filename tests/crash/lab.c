/* What a site does with its log and state, without replication: entries are appended, called committed when they are
 * durable, applied behind that, checkpoints published, the log recycled and sometimes cut.
 *
 * Every entry puts or deletes several of a few keys, and the digest that the whole state must have after it is
 * computed beside it from nothing but the model. So a transaction that took effect in half, or one too many, shows in
 * the digest at the lsn that recovery arrives at. */
#include "tests/crash/lab.h"

#include "store/core/body.h"
#include "store/core/check.h"
#include "store/io/log_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SEGMENT_BYTES = 1 << 20, /* the smallest: the log switches often */
    VALUE_MAX = 200 << 10,
    INDEX_STEPS = 2,
    INDEX_WORK = 4, /* records: so that builds are cut, too */
    READ_BYTES = 2 << 20,
    CHILD_SECONDS = 20,
};
static const struct uuid cluster = {{7}};

/* splitmix64 (Steele, Lea, Flood, 2014). */
static uint64_t mix(uint64_t *s)
{
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t chance_below(struct chance *c, uint32_t n)
{
    return (uint32_t)(mix(&c->s) % n);
}

/* ---- directories ---- */

void dir_new(char out[64])
{
    (void)snprintf(out, 64, "%s/triveni-cuts-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(out) == NULL) {
        perror(out);
        exit(70);
    }
}

/* What is below it; not itself. */
void dir_clear(const char *path) // NOLINT(misc-no-recursion)
{
    DIR *d = opendir(path);
    const struct dirent *entry;
    char below[512];
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (unlink(below) != 0) {
            dir_clear(below);
            (void)rmdir(below);
        }
    }
    if (d != NULL)
        (void)closedir(d);
}

/* ---- the model ---- */

void lab_init(struct lab *l, uint64_t seed)
{
    *l = (struct lab){.chance = {seed}, .nodes = calloc(NODES_MAX, sizeof *l->nodes)};
    check(l->nodes != NULL && pthread_mutex_init(&l->lock, NULL) == 0);
    l->node_count = 1;
}

void lab_free(struct lab *l)
{
    (void)pthread_mutex_destroy(&l->lock);
    free(l->nodes);
}

static struct bytes key_of(unsigned key, char out[16])
{
    (void)snprintf(out, 16, "key-%02u", key);
    return bytes_str(out);
}

static struct bytes collection_of(unsigned key)
{
    return bytes_str(key % 2 == 0 ? "even" : "odd");
}

/* A value is told by its record's key and lsn. It is JSON, a text, so that it is in the index. */
static struct bytes value_of(unsigned key, const struct cell *c, uint8_t *buffer)
{
    uint64_t s = c->lsn * 64 + key;
    for (uint32_t i = 0; i < c->bytes; i += 8) {
        uint64_t v = mix(&s);
        for (uint32_t k = i; k < c->bytes && k < i + 8; k++, v >>= 8)
            buffer[k] = (uint8_t)('a' + v % 16);
    }
    buffer[0] = buffer[c->bytes - 1] = '"';
    return bytes_of(buffer, c->bytes);
}

/* The first entry of every history declares an index of one collection: over the whole value. */
static const char declared_key[] = "odd/all", declared[] = "{\"on\":[\"\"]}";

static struct digest digest_of_cell(unsigned key, const struct cell *c)
{
    static uint8_t value[VALUE_MAX];
    char text[16];
    return c->lsn == 0 ? (struct digest){0, 0}
                       : digest_record(collection_of(key), key_of(key, text), (struct lsn){c->lsn},
                                       value_of(key, c, value));
}

static void set_cell(struct node *n, unsigned key, struct cell to)
{
    n->digest = digest_sub(n->digest, digest_of_cell(key, &n->cells[key]));
    n->cells[key] = to;
    n->digest = digest_add(n->digest, digest_of_cell(key, &to));
}

static bool is_below(const struct lab *l, size_t ancestor, size_t n)
{
    while (n != 0 && n != ancestor && l->nodes[n].at.lsn.v > l->nodes[ancestor].at.lsn.v)
        n = l->nodes[n].parent;
    return n == ancestor;
}

static size_t find(struct lab *l, const struct entry_position *at)
{
    size_t found = SIZE_MAX;
    (void)pthread_mutex_lock(&l->lock);
    for (size_t i = l->node_count; found == SIZE_MAX && i-- > 0;)
        if (l->nodes[i].at.lsn.v == at->lsn.v && sha256_equal(&l->nodes[i].at.hash, &at->hash))
            found = i;
    (void)pthread_mutex_unlock(&l->lock);
    return found;
}

void lab_note(struct lab *l, const struct event *e)
{
    l->required = e->n;
    for (size_t i = 0; i < e->limit; i++) {
        struct node *n = &l->nodes[i];
        if (e->what == NOTE_OPENED)
            n->dead = n->dead || !is_below(l, i, e->n);
        else if (e->what == NOTE_CUT && i != e->n)
            n->dead = n->dead || is_below(l, e->n, i);
    }
}

/* ---- open and close ---- */

static void on_durable(void *arg, struct entry_position last)
{
    struct lab *l = arg;
    size_t n = find(l, &last);
    check(n != SIZE_MAX);
    record_note(NOTE_DURABLE, n, 0);
}

static void on_failed(void *arg, const struct err *why)
{
    (void)arg;
    (void)fprintf(stderr, "crash: the log failed: %s\n", why->text);
    exit(1);
}

static struct lsn durable(struct lab *l)
{
    struct log_status st;
    log_status(l->log, &st);
    return st.durable;
}

static void wait_durable(struct lab *l)
{
    while (durable(l).v < l->nodes[l->tip].at.lsn.v)
        (void)usleep(20);
}

/* Apply up to the lsn. */
static int apply(struct lab *l, struct lsn to, struct err *e)
{
    static uint8_t buffer[READ_BYTES];
    struct entry_view views[256];
    int rc = 0;
    while (rc == 0 && state_applied(l->state).lsn.v < to.v) {
        size_t used, count, at = 0;
        struct lsn from = {state_applied(l->state).lsn.v + 1}, until = {from.v + 255};
        rc = log_read(l->log, from, until.v < to.v ? until : to, buffer, sizeof buffer, &used,
                      &count, e);
        for (size_t i = 0; rc == 0 && i < count; i++) {
            size_t step = 0;
            rc = entry_decode(bytes_of(buffer + at, used - at), &views[i], &step, e);
            at += step;
        }
        if (rc == 0)
            rc = state_apply(l->state, views, count, e);
    }
    for (unsigned step = 0; rc == 0 && step < INDEX_STEPS; step++) /* it may stay half built */
        rc = state_index_step(l->state, INDEX_WORK, NULL, e);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int open_store(struct lab *l, const char *dir, struct err *e)
{
    char path[96];
    struct log_status st;
    struct entry_position start, last = {.lsn = {0}};
    (void)snprintf(path, sizeof path, "%s/state", dir);
    int rc =
        state_open(&l->state,
                   &(struct state_options){
                       .dir = path, .cluster_id = cluster, .map_bytes = 1u << 30, .readers = 8},
                   e);
    record_opening(false);
    if (rc != 0)
        return rc;
    start = state_applied(l->state);
    (void)snprintf(path, sizeof path, "%s/log", dir);
    rc = log_open_seam(&l->log,
                       &(struct log_options){.dir = path,
                                             .cluster_id = cluster,
                                             .segment_bytes = SEGMENT_BYTES,
                                             .engine = LOG_ENGINE_PLAIN,
                                             .on_durable = on_durable,
                                             .on_failed = on_failed,
                                             .arg = l},
                       &start, &(struct log_seam){.idle_ms = 2}, e);
    if (rc != 0)
        return rc;
    log_status(l->log, &st);
    last = st.last;
    l->tip = last.lsn.v == 0 ? 0 : find(l, &last);
    if (l->tip == SIZE_MAX)
        return err_set(e, ERR_INTEGRITY,
                       "the log ends at lsn %" PRIu64 " with an entry nobody wrote", last.lsn.v);
    return apply(l, last.lsn, e);
}

int lab_open(struct lab *l, struct err *e)
{
    record_opening(true);
    int rc = open_store(l, l->dir, e);
    if (rc == 0)
        record_note(NOTE_OPENED, l->tip, l->node_count);
    return rc;
}

static int join(struct lab *l)
{
    void *failed = NULL;
    if (l->finishing && pthread_join(l->finisher, &failed) != 0)
        abort();
    l->finishing = false;
    return failed == NULL ? 0 : ERR_IO;
}

int lab_close(struct lab *l, struct err *e)
{
    int joined = join(l), rc = log_close(l->log, e);
    state_close(l->state);
    l->log = NULL;
    l->state = NULL;
    return joined != 0 ? err_set(e, joined, "a checkpoint failed") : rc;
}

/* ---- what a site does ---- */

/* A transaction of a few keys, as the next node. Returns its sealed bytes in `out`. */
static size_t make_entry(struct lab *l, size_t value_max, uint8_t *out)
{
    static uint8_t values[3][VALUE_MAX];
    char keys[3][16];
    struct op ops[4];
    uint32_t op_count = 3;
    (void)pthread_mutex_lock(&l->lock);
    check(l->node_count < NODES_MAX);
    struct node *n = &l->nodes[l->node_count];
    const struct node *p = &l->nodes[l->tip];
    *n = *p;
    n->dead = false;
    n->parent = l->tip;
    const uint64_t lsn = p->at.lsn.v + 1;
    unsigned first = chance_below(&l->chance, KEYS - 2);
    for (unsigned i = 0; i < 3; i++) {
        unsigned key = first + i;
        struct cell c = {lsn, (uint32_t)(8 + chance_below(&l->chance, (uint32_t)value_max))};
        ops[i] = (struct op){OP_PUT, collection_of(key), key_of(key, keys[i]), {NULL, 0}};
        if (i == 2 && chance_below(&l->chance, 4) == 0 && n->cells[key].lsn != 0) {
            ops[i].kind = OP_DELETE;
            c = (struct cell){0, 0};
        } else {
            ops[i].value = value_of(key, &c, values[i]);
        }
        set_cell(n, key, c);
    }
    if (lsn == 1) {
        ops[op_count++] = (struct op){OP_PUT, bytes_str(INDEXES_COLLECTION),
                                      bytes_str(declared_key), bytes_str(declared)};
        n->digest = digest_add(n->digest, digest_record(ops[3].collection, ops[3].key,
                                                        (struct lsn){lsn}, ops[3].value));
    }
    /* A history that was cut must differ from the one that took its place: the salt does. */
    uint8_t salt[ENTRY_SALT_BYTES] = {0};
    memcpy(salt, &l->node_count, sizeof l->node_count);
    struct writer w = writer_of(out + ENTRY_HEADER_BYTES, 3 * VALUE_MAX + 4096);
    struct body_txn txn = {.client = bytes_str("crash"), .op_count = op_count};
    body_write_txn(&w, salt, &txn, ops);
    check(!w.bad);
    struct entry_header h = {.kind = ENTRY_TXN,
                             .cluster_id = cluster,
                             .term = {1},
                             .lsn = {lsn},
                             .time = {1000000 + lsn},
                             .prev_hash = p->at.hash};
    (void)entry_seal(&h, bytes_of(out + ENTRY_HEADER_BYTES, w.at), out);
    struct entry_view v;
    size_t used;
    check(entry_decode(bytes_of(out, ENTRY_HEADER_BYTES + w.at), &v, &used, NULL) == 0);
    n->at = entry_position_of(&v);
    l->tip = l->node_count++;
    (void)pthread_mutex_unlock(&l->lock);
    return used;
}

static int append(struct lab *l, size_t value_max, struct err *e)
{
    static uint8_t buffer[ENTRY_HEADER_BYTES + 3 * VALUE_MAX + 4096];
    struct entry_view v;
    size_t used, before = l->tip, n = make_entry(l, value_max, buffer);
    check(entry_decode(bytes_of(buffer, n), &v, &used, NULL) == 0);
    int rc = log_append(l->log, &v, 1, e);
    if (rc != 0)
        l->tip = before;
    return rc;
}

static void *finish(void *arg)
{
    struct lab *l = arg;
    struct err e = ERR_NONE;
    if (state_checkpoint_finish(l->state, &e) == 0)
        return NULL;
    (void)fprintf(stderr, "crash: %s\n", e.text);
    return l;
}

static int publish(struct lab *l, bool aside, struct err *e)
{
    struct entry_position at;
    int rc = join(l);
    if (rc == 0)
        rc = state_checkpoint_begin(l->state, &at, e);
    if (rc == 0 && aside) {
        l->finishing = pthread_create(&l->finisher, NULL, finish, l) == 0;
        return 0;
    }
    if (rc == 0)
        rc = state_checkpoint_finish(l->state, e);
    return rc != 0 ? rc : log_recycle(l->log, at.lsn, e);
}

static int cut(struct lab *l, struct err *e)
{
    const uint64_t applied = state_applied(l->state).lsn.v, last = l->nodes[l->tip].at.lsn.v;
    size_t to = l->tip;
    if (last == applied)
        return 0;
    for (uint32_t back = 1 + chance_below(&l->chance, (uint32_t)(last - applied)); back > 0; back--)
        to = l->nodes[to].parent;
    wait_durable(l);
    record_note(NOTE_CUTTING, to, 0);
    int rc = log_truncate(l->log, l->nodes[to].at.lsn, e);
    if (rc == 0) {
        l->tip = to;
        record_note(NOTE_CUT, to, l->node_count);
    }
    return rc;
}

int lab_act(struct lab *l, enum act act, struct err *e)
{
    int rc = 0;
    switch (act) {
    case ACT_APPEND:
        rc = append(l, 60, e);
        break;
    case ACT_BURST:
        for (uint32_t n = 1 + chance_below(&l->chance, 6); rc == 0 && n > 0; n--) {
            rc = append(l, chance_below(&l->chance, 3) == 0 ? 6000 : 300, e);
            if (chance_below(&l->chance, 2) == 0)
                (void)usleep(chance_below(&l->chance, 150));
        }
        break;
    case ACT_LARGE:
        rc = append(l, VALUE_MAX - 8, e);
        break;
    case ACT_PAUSE:
        (void)usleep(4000);
        break;
    case ACT_CUT:
        rc = cut(l, e);
        break;
    case ACT_REOPEN:
        rc = lab_close(l, e);
        return rc != 0 ? rc : lab_open(l, e);
    case ACT_APPLY:
    case ACT_CHECKPOINT:
    case ACT_WHILE:
        wait_durable(l);
        rc = apply(l, l->nodes[l->tip].at.lsn, e);
        if (rc == 0 && act != ACT_APPLY)
            rc = publish(l, act == ACT_WHILE, e);
        return rc;
    case ACT_RESET:
        rc = join(l);
        wait_durable(l);
        /* A checkpoint that the thread has finished stays begun for nobody. */
        if (rc == 0)
            rc = state_reset_to_checkpoint(l->state, e);
        return rc != 0 ? rc : apply(l, l->nodes[l->tip].at.lsn, e);
    case ACTS:
        break;
    }
    if (rc == 0)
        wait_durable(l);
    return rc;
}

/* ---- verifying ---- */

static int check_log(struct lab *l, struct err *e)
{
    struct log_status st;
    log_status(l->log, &st);
    if (l->nodes[l->tip].dead)
        return err_set(e, ERR_INTEGRITY, "lsn %" PRIu64 " came back although it was cut",
                       st.last.lsn.v);
    if (!is_below(l, l->required, l->tip))
        return err_set(e, ERR_INTEGRITY,
                       "LOST: acknowledged up to lsn %" PRIu64 ", recovered up to %" PRIu64,
                       l->nodes[l->required].at.lsn.v, st.last.lsn.v);
    for (size_t n = l->tip; n != 0 && l->nodes[n].at.lsn.v > st.first.lsn.v;
         n = l->nodes[n].parent) {
        struct entry_position at;
        int rc = log_position(l->log, l->nodes[n].at.lsn, &at, e);
        if (rc != 0)
            return rc;
        if (!sha256_equal(&at.hash, &l->nodes[n].at.hash))
            return err_set(e, ERR_INTEGRITY, "lsn %" PRIu64 " is another entry", at.lsn.v);
    }
    return 0;
}

/* Records and indexes, however far these are built. */
static int verify_snapshot(struct lab *l, struct err *e)
{
    struct state_snapshot *snap;
    int rc = state_snapshot_open(l->state, &snap, e);
    if (rc != 0)
        return rc;
    rc = state_verify(snap, e);
    state_snapshot_close(snap);
    return rc;
}

static int check_state(struct lab *l, struct err *e)
{
    struct state_snapshot *snap;
    struct state_totals totals;
    int rc = verify_snapshot(l, e);
    while (rc == 0)
        rc = state_index_step(l->state, 100, NULL, e);
    if (rc != ERR_NOT_FOUND || (rc = verify_snapshot(l, e)) != 0 ||
        (rc = state_snapshot_open(l->state, &snap, e)) != 0)
        return rc;
    rc = state_totals(snap, &totals, e);
    state_snapshot_close(snap);
    if (rc == 0 && !digest_equal(totals.digest, l->nodes[l->tip].digest))
        rc = err_set(e, ERR_INTEGRITY,
                     "HALF APPLIED: the digest at lsn %" PRIu64 " is not the model's",
                     l->nodes[l->tip].at.lsn.v);
    return rc;
}

struct verdict {
    size_t tip;
    bool kept;
    char why[ERR_TEXT_BYTES];
};

static void judge(struct lab *l, const char *dir, struct verdict *v)
{
    struct err e = ERR_NONE;
    l->log = NULL;
    l->state = NULL;
    int rc = open_store(l, dir, &e);
    if (rc == 0)
        rc = check_log(l, &e);
    if (rc == 0)
        rc = check_state(l, &e);
    if (rc == 0)
        rc = lab_close(l, &e);
    v->tip = l->tip;
    v->kept = rc == 0;
    (void)snprintf(v->why, sizeof v->why, "%s", e.text);
}

int lab_verify(struct lab *l, const char *dir, size_t *tip, char why[ERR_TEXT_BYTES])
{
    static struct verdict *v;
    if (v == NULL)
        v = mmap(NULL, sizeof *v, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(v != MAP_FAILED);
    *v = (struct verdict){.kept = false};
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        (void)alarm(CHILD_SECONDS);
        judge(l, dir, v);
        _exit(0);
    }
    int status = 0;
    check(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) {
        v->kept = false;
        (void)snprintf(v->why, sizeof v->why, "recovery died: %s", strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
        v->kept = false;
    }
    *tip = v->tip;
    (void)snprintf(why, ERR_TEXT_BYTES, "%s", v->why);
    return v->kept ? 0 : 1;
}
