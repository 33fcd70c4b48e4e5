/* One fault at a time, at each call site of log and state, and of liblmdb under them.
 *
 *   faults [--deep | --quick] [--engine plain|uring] [--list]
 *
 * Each site fails in each mode that there is for it at its first call, and at some of its later calls; with --quick at the first
 * only, with --deep at every one
 *
 * SCENARIO, each life in a process of its own
 *   1  a new log and a new state: append, apply, checkpoint, recycle, snapshot and scan, mend a segment, cut the log and go
 *      on otherwise, begin a checkpoint; then the process ends without closing anything (a kill)
 *   2  open again, replay, append, apply, checkpoint, scan, close
 *   3  open again without faults, replay, and judge
 * The fault happens in life 1 or 2. Then each call either does what it shall, or gives an error with words; an error ends the
 * life as a site would stop, everything is closed, and the next life follows. No life may die, hang, or take longer than
 * LIFE_SECONDS.
 *
 * JUDGED in life 3: every entry that was told to be durable is there (of those that were cut on purpose: the cut ones or not
 * them), no other, each with its hash, and the digest counted from the records is the model's at that lsn. */
#include "store/core/check.h"
#include "store/core/digest.h"
#include "store/io/log_private.h"
#include "store/replay.h"
#include "store/state.h"
#include "tests/lib/faults.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ENTRIES = 48,    /* of the first history */
    DECLARED_AT = 5, /* an index */
    CUT_AFTER = 30,  /* ... which is cut here, */
    CUT_AT = 33,     /* when it has come so far, and goes on as the second */
    KEYS = 9,
    LARGE = 180000, /* bytes of a large value: a few of them fill a segment */
    LIFE_SECONDS = 20,
    WAIT_MS = 4000, /* for durability: the keeper tries again each second */
    SEGMENT_BYTES = 1 << 20,
    WORKERS = 6,
};

static const struct uuid cluster = {{0xfa, 0x17}};

/* ---- two histories, the second one different after CUT_AFTER ---- */

static struct history {
    struct made {
        uint8_t *raw;
        size_t bytes;
        struct entry_position at;
        struct digest digest; /* of the state after it */
    } v[ENTRIES + 1];
} histories[2];

/* What the lives tell the judge; shared. */
static struct report {
    uint64_t durable;      /* told so, in the history that counts */
    unsigned first, other; /* histories that the log may be in */
    uint64_t at_least;
    bool done; /* the life came to its end by itself */
    int code;  /* first error of the life; 0: none */
    char text[ERR_TEXT_BYTES];
    bool judged;
    char verdict[ERR_TEXT_BYTES];
} * report;

static enum log_engine engine = LOG_ENGINE_PLAIN;
static char dir[64], log_dir[96], state_dir[96];

static void make(struct history *h, unsigned which, uint64_t lsn)
{
    static uint8_t value[LARGE], *space;
    static struct digest records[2][KEYS];
    struct made *m = &h->v[lsn];
    const struct made *before = &h->v[lsn - 1];
    char key[2][8];
    struct op ops[3];
    size_t size = lsn % 4 == 0 ? LARGE : 40 + lsn;
    if (space == NULL)
        space = malloc(ENTRY_HEADER_BYTES + LARGE + 4096);
    memset(value, 'a' + (int)(lsn + which) % 26, size);
    value[0] = '"'; /* JSON, for the index; the second one of a transaction is none */
    value[size - 1] = '"';
    if (which == 0 && lsn == CUT_AFTER + 1) /* the second history goes on from here */
        memcpy(records[1], records[0], sizeof records[1]);
    m->digest = before->digest;
    for (unsigned i = 0; i < 2; i++) {
        unsigned k = (unsigned)(lsn + i * 4) % KEYS;
        bool put = i == 0 || lsn % 3 != 0;
        (void)snprintf(key[i], sizeof key[i], "k%u", k);
        ops[i] = (struct op){put ? OP_PUT : OP_DELETE, bytes_str("c"), bytes_str(key[i]),
                             put ? bytes_of(value, i == 0 ? size : 30) : (struct bytes){NULL, 0}};
        struct digest now =
            put ? digest_record(ops[i].collection, ops[i].key, (struct lsn){lsn}, ops[i].value)
                : (struct digest){0, 0};
        m->digest = digest_add(digest_sub(m->digest, records[which][k]), now);
        records[which][k] = now;
    }
    if (lsn == DECLARED_AT) {
        ops[2] = (struct op){OP_PUT, bytes_str(INDEXES_COLLECTION), bytes_str("c/all"),
                             bytes_str("{\"on\":[\"\"],\"unique\":true}")};
        m->digest = digest_add(m->digest, digest_record(ops[2].collection, ops[2].key,
                                                        (struct lsn){lsn}, ops[2].value));
    }
    uint8_t salt[ENTRY_SALT_BYTES] = {(uint8_t)which};
    struct writer w = writer_of(space + ENTRY_HEADER_BYTES, LARGE + 4096);
    body_write_txn(&w, salt,
                   &(struct body_txn){.session = {{1}},
                                      .sequence = lsn,
                                      .client = bytes_str("faults"),
                                      .op_count = lsn == DECLARED_AT ? 3 : 2},
                   ops);
    check(!w.bad);
    struct entry_header head = {.kind = ENTRY_TXN,
                                .cluster_id = cluster,
                                .term = {1 + which},
                                .lsn = {lsn},
                                .time = {1000 + lsn},
                                .prev_hash = before->at.hash};
    (void)entry_seal(&head, bytes_of(space + ENTRY_HEADER_BYTES, w.at), space);
    m->bytes = ENTRY_HEADER_BYTES + w.at;
    m->raw = malloc(m->bytes);
    memcpy(m->raw, space, m->bytes);
    struct entry_view v;
    size_t used;
    check(entry_decode(bytes_of(m->raw, m->bytes), &v, &used, NULL) == 0);
    m->at = entry_position_of(&v);
}

static void make_histories(void)
{
    for (uint64_t lsn = 1; lsn <= ENTRIES; lsn++)
        make(&histories[0], 0, lsn);
    for (uint64_t lsn = 1; lsn <= CUT_AFTER; lsn++)
        histories[1].v[lsn] = histories[0].v[lsn];
    for (uint64_t lsn = CUT_AFTER + 1; lsn <= ENTRIES; lsn++)
        make(&histories[1], 1, lsn);
}

/* ---- a site's log and state ---- */

static struct log *log_now;
static struct state *state_now;
static struct replay *replay_now;
static pthread_mutex_t told_lock = PTHREAD_MUTEX_INITIALIZER;
static int told_failed;
static struct err told_why;

static void on_durable(void *arg, struct entry_position last)
{
    (void)arg;
    (void)pthread_mutex_lock(&told_lock);
    report->durable = last.lsn.v;
    (void)pthread_mutex_unlock(&told_lock);
}

static void on_failed(void *arg, const struct err *why)
{
    (void)arg;
    (void)pthread_mutex_lock(&told_lock);
    if (++told_failed > 1)
        abort(); /* it is told once */
    told_why = *why;
    (void)pthread_mutex_unlock(&told_lock);
}

/* An error of a life: the first one is kept. */
static int say(int rc, const struct err *e)
{
    if (rc == 0 || report->code != 0)
        return rc;
    report->code = rc;
    (void)snprintf(report->text, sizeof report->text, "%s", e->text);
    return rc;
}

static int build_indexes(unsigned steps, struct err *e)
{
    int rc = 0;
    for (unsigned i = 0, tries = 0; rc == 0 && i < steps; i++) {
        rc = state_index_step(state_now, 3, NULL, e);
        if (rc == ERR_NO_SPACE && tries++ < 3)
            rc = 0; /* the applier tries again, too */
    }
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int apply_to(uint64_t lsn, struct err *e)
{
    int64_t n = 0;
    for (unsigned tries = 0; n >= 0 && state_applied(state_now).lsn.v < lsn;) {
        n = replay_step(replay_now, (struct lsn){lsn}, e);
        if (n == ERR_NO_SPACE && tries++ < 3)
            n = 0; /* the applier tries again, too */
    }
    return n < 0 ? (int)n : build_indexes(2, e);
}

static int open_all(struct err *e)
{
    int rc = state_open(
        &state_now,
        &(struct state_options){
            .dir = state_dir, .cluster_id = cluster, .map_bytes = 1u << 30, .readers = 8},
        e);
    if (rc != 0)
        return rc;
    struct entry_position start = state_applied(state_now);
    rc = log_open_seam(&log_now,
                       &(struct log_options){.dir = log_dir,
                                             .cluster_id = cluster,
                                             .segment_bytes = SEGMENT_BYTES,
                                             .reserve_bytes = 4096,
                                             .memory_bytes = 128 << 10,
                                             .engine = engine,
                                             .on_durable = on_durable,
                                             .on_failed = on_failed},
                       &start, &(struct log_seam){.idle_ms = 2}, e);
    if (rc == 0)
        rc = replay_open(&replay_now, log_now, state_now, e);
    struct log_status st;
    if (rc == 0) {
        log_status(log_now, &st);
        rc = apply_to(st.last.lsn.v, e);
    }
    return rc;
}

static int close_all(struct err *e)
{
    replay_close(replay_now);
    int rc = log_close(log_now, e);
    state_close(state_now);
    replay_now = NULL;
    log_now = NULL;
    state_now = NULL;
    return rc;
}

static bool has_failed(struct err *e)
{
    (void)pthread_mutex_lock(&told_lock);
    bool failed = told_failed > 0;
    if (failed)
        *e = told_why;
    (void)pthread_mutex_unlock(&told_lock);
    return failed;
}

static int wait_durable(uint64_t lsn, struct err *e)
{
    struct log_status st;
    for (unsigned i = 0; i < WAIT_MS * 10; i++) {
        log_status(log_now, &st);
        if (st.durable.v >= lsn)
            return 0;
        if (has_failed(e))
            return e->code;
        (void)usleep(100);
    }
    int rc = log_room(log_now, SEGMENT_BYTES / 2, e);
    return rc != 0 ? rc : err_set(e, ERR_TIMEOUT, "HANGS: lsn %" PRIu64 " is not durable", lsn);
}

static int append(unsigned which, uint64_t from, uint64_t to, struct err *e)
{
    int rc = 0;
    for (uint64_t lsn = from; rc == 0 && lsn <= to; lsn++) {
        struct entry_view v;
        size_t used;
        const struct made *m = &histories[which].v[lsn];
        check(entry_decode(bytes_of(m->raw, m->bytes), &v, &used, NULL) == 0);
        rc = log_append(log_now, &v, 1, e);
    }
    return rc != 0 ? rc : wait_durable(to, e);
}

static int publish(struct err *e)
{
    struct entry_position at;
    int rc = state_checkpoint_begin(state_now, &at, e);
    if (rc == 0)
        rc = state_checkpoint_finish(state_now, e);
    return rc != 0 ? rc : log_recycle(log_now, at.lsn, e);
}

static int look_by_index(struct state_snapshot *snap, struct err *e)
{
    struct state_index_scan *scan;
    struct record r;
    const struct index_options o = {.collection = bytes_str("c"), .name = bytes_str("all")};
    int rc = state_index_open(snap, &o, &scan, e);
    if (rc == ERR_NOT_READY || rc == ERR_NOT_FOUND)
        return 0;
    if (rc != 0)
        return rc;
    while ((rc = state_index_next(scan, &r, e)) == 0)
        ;
    state_index_close(scan);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int look(struct err *e)
{
    struct state_snapshot *snap;
    struct state_scan *scan;
    struct record r;
    int rc = state_snapshot_open(state_now, &snap, e);
    if (rc != 0)
        return rc;
    rc = state_get(snap, bytes_str("c"), bytes_str("k1"), &r, e);
    if (rc == ERR_NOT_FOUND)
        rc = 0;
    if (rc == 0)
        rc = state_scan_open(snap, &(struct scan_options){.collection = bytes_str("c")}, &scan, e);
    if (rc == 0) {
        while ((rc = state_scan_next(scan, &r, e)) == 0)
            ;
        state_scan_close(scan);
        rc = rc == ERR_NOT_FOUND ? 0 : rc;
    }
    if (rc == 0)
        rc = look_by_index(snap, e);
    if (rc == 0)
        rc = state_verify(snap, e);
    state_snapshot_close(snap);
    return rc;
}

/* ---- lives ---- */

static int cut(struct err *e)
{
    /* From here on the log may be in either. */
    report->other = 1;
    report->at_least = CUT_AFTER;
    int rc = log_truncate(log_now, (struct lsn){CUT_AFTER}, e);
    if (rc == 0) {
        report->first = 1;
        report->durable = CUT_AFTER;
    }
    return rc;
}

static int fetch_none(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                      size_t *used, size_t *count, struct err *e)
{
    (void)arg, (void)to, (void)buf, (void)cap;
    *used = *count = 0;
    return err_set(e, ERR_GAP, "no other site has lsn %" PRIu64, from.v);
}

/* Its segment is written anew, though it is not damaged. */
static int mend(uint64_t lsn, uint64_t committed, struct err *e)
{
    struct log_mended done;
    return log_mend(log_now, (struct lsn){lsn}, (struct lsn){committed}, fetch_none, NULL, &done,
                    e);
}

static int first_life(struct err *e)
{
    struct entry_position at;
    int rc = open_all(e);
    if (rc == 0)
        rc = append(0, 1, 12, e);
    if (rc == 0)
        rc = apply_to(12, e);
    if (rc == 0)
        rc = publish(e);
    if (rc == 0)
        rc = append(0, 13, 24, e);
    if (rc == 0)
        rc = apply_to(24, e);
    if (rc == 0)
        rc = look(e);
    if (rc == 0)
        rc = mend(13, 24, e);
    if (rc == 0)
        rc = publish(e);
    if (rc == 0)
        rc = append(0, 25, CUT_AT, e);
    if (rc == 0)
        rc = apply_to(CUT_AFTER - 2, e);
    if (rc == 0)
        rc = cut(e);
    if (rc == 0)
        rc = append(1, CUT_AFTER + 1, 36, e);
    if (rc == 0)
        rc = apply_to(35, e);
    if (rc == 0)
        rc = state_reset_to_checkpoint(state_now, e);
    if (rc == 0)
        rc = apply_to(36, e);
    return rc != 0 ? rc : state_checkpoint_begin(state_now, &at, e);
}

/* Where the log ends: in which history, and at which lsn. False: in none. */
static bool end_of_log(unsigned *which, uint64_t *lsn)
{
    struct log_status st;
    log_status(log_now, &st);
    *lsn = st.last.lsn.v;
    for (*which = 0; *which < 2; (*which)++)
        if (*lsn == 0 ||
            (*lsn <= ENTRIES && sha256_equal(&st.last.hash, &histories[*which].v[*lsn].at.hash)))
            return true;
    return false;
}

static int second_life(struct err *e)
{
    unsigned which;
    uint64_t last;
    int rc = open_all(e);
    if (rc != 0)
        return rc;
    if (!end_of_log(&which, &last))
        return err_set(e, ERR_INTEGRITY, "WRONG: the log ends in an entry that nobody wrote");
    const uint64_t to = last + 5 < ENTRIES ? last + 5 : ENTRIES;
    if (last <= CUT_AFTER) /* in both histories: the log goes on in the one that counts */
        which = report->first;
    if (which == 1)
        report->first = 1;
    report->durable = last;
    rc = append(which, last + 1, to, e);
    if (rc == 0)
        rc = apply_to(to, e);
    if (rc == 0)
        rc = publish(e);
    return rc != 0 ? rc : look(e);
}

static void live(int (*life)(struct err *), bool killed)
{
    struct err e = ERR_NONE, why = ERR_NONE;
    int rc = say(life(&e), &e);
    if (rc != 0 || !killed)
        (void)say(close_all(&why), &why);
    /* A thread of the log may be about to tell. */
    for (unsigned i = 0; i < 100 && faults_fired() > 0 && report->code == 0 && !has_failed(&why);
         i++)
        (void)usleep(killed ? 1000 : 0);
    if (has_failed(&why))
        (void)say(why.code, &why);
    faults_count(false);
    report->done = true;
    _exit(0);
}

/* ---- the judge ---- */

static bool is_there(unsigned which, uint64_t last, struct err *e)
{
    struct log_status st;
    log_status(log_now, &st);
    for (uint64_t lsn = st.first.lsn.v + 1; lsn <= last; lsn++) {
        struct entry_position at;
        if (log_position(log_now, (struct lsn){lsn}, &at, e) != 0)
            return false;
        if (!sha256_equal(&at.hash, &histories[which].v[lsn].at.hash)) {
            (void)err_set(e, ERR_INTEGRITY, "lsn %" PRIu64 " is another entry", lsn);
            return false;
        }
    }
    return true;
}

static int judge(struct err *e)
{
    unsigned which;
    uint64_t last, need = report->durable;
    struct state_snapshot *snap;
    struct state_totals totals;
    int rc = open_all(e);
    if (rc != 0)
        return rc;
    if (!end_of_log(&which, &last))
        return err_set(e, ERR_INTEGRITY, "the log ends at lsn %" PRIu64 ", which nobody wrote",
                       last);
    if (which != report->first && last > CUT_AFTER && which != report->other)
        return err_set(e, ERR_INTEGRITY, "what was cut came back");
    if (which != report->first && last > CUT_AFTER)
        need = report->at_least;
    if (report->other != report->first)
        need = report->at_least; /* the cut was asked for, and may have happened */
    if (last < need)
        return err_set(e, ERR_INTEGRITY, "LOST: durable up to lsn %" PRIu64 ", %" PRIu64 " is left",
                       need, last);
    if (!is_there(which, last, e))
        return e->code;
    rc = build_indexes(100, e);
    if (rc == 0)
        rc = state_snapshot_open(state_now, &snap, e);
    if (rc == 0) {
        rc = state_totals(snap, &totals, e);
        if (rc == 0)
            rc = state_verify(snap, e);
        state_snapshot_close(snap);
    }
    if (rc == 0 && !digest_equal(totals.digest, histories[which].v[last].digest))
        rc = err_set(e, ERR_INTEGRITY, "HALF: the digest at lsn %" PRIu64 " is another", last);
    return rc != 0 ? rc : close_all(e);
}

static void judge_it(void)
{
    struct err e = ERR_NONE;
    report->judged = judge(&e) == 0;
    (void)snprintf(report->verdict, sizeof report->verdict, "%s", e.text);
    _exit(0);
}

/* ---- one case ---- */

static char trouble[2 * ERR_TEXT_BYTES];

static void clear_dirs(void)
{
    char command[256];
    (void)snprintf(command, sizeof command, "rm -rf %s/log %s/state", dir, dir);
    check(system(command) == 0); // NOLINT(cert-env33-c)
}

/* Run in a child. False: it died or did not end; `trouble` says how. */
static bool in_child(const char *what, int (*life)(struct err *), bool killed)
{
    report->done = false;
    report->code = 0;
    report->text[0] = '\0';
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        (void)alarm(LIFE_SECONDS);
        if (life == NULL)
            judge_it();
        faults_count(true);
        live(life, killed);
    }
    int status = 0;
    check(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) {
        (void)snprintf(trouble, sizeof trouble, "%s: %s", what,
                       WTERMSIG(status) == SIGALRM ? "HANGS" : strsignal(WTERMSIG(status)));
        return false;
    }
    if (life == NULL)
        return true;
    if (!report->done || WEXITSTATUS(status) != 0)
        (void)snprintf(trouble, sizeof trouble, "%s: exit %d", what, WEXITSTATUS(status));
    else if (report->code != 0 && strlen(report->text) < 12)
        (void)snprintf(trouble, sizeof trouble, "%s: code %d without words: '%s'", what,
                       report->code, report->text);
    else if (strstr(report->text, "HANGS") != NULL || strstr(report->text, "WRONG") != NULL)
        (void)snprintf(trouble, sizeof trouble, "%s: %s", what, report->text);
    else
        return true;
    return false;
}

static char said[2][ERR_TEXT_BYTES];

/* A failed sync is never passed over. */
static bool is_told(size_t site, enum fault_mode mode)
{
    if (faults_fired() == 0 || faults_kind(site) != FAULT_SYNC || mode == FAULT_NO_SPACE ||
        said[0][0] != '\0' || said[1][0] != '\0')
        return true;
    (void)snprintf(trouble, sizeof trouble, "SILENT: a sync failed, and nobody was told");
    return false;
}

/* All lives with what is armed. */
static bool run_case(void)
{
    clear_dirs();
    *report = (struct report){.first = 0};
    if (!in_child("first life", first_life, true))
        return false;
    memcpy(said[0], report->text, sizeof said[0]);
    if (!in_child("second life", second_life, false))
        return false;
    memcpy(said[1], report->text, sizeof said[1]);
    if (!in_child("after the restart", NULL, false))
        return false;
    if (!report->judged)
        (void)snprintf(trouble, sizeof trouble, "after the restart: %s", report->verdict);
    return report->judged;
}

/* ---- all cases ---- */

static struct tally {
    _Atomic unsigned cases, fired, bad, sites, behind, unfired;
} * tally; /* of all workers */

static void one(size_t site, enum fault_mode mode, uint32_t n, bool list, uint32_t *fired)
{
    char what[160];
    faults_arm(site, mode, n);
    bool good = run_case() && is_told(site, mode);
    *fired = faults_fired();
    faults_describe(site, what);
    tally->cases++;
    tally->fired += *fired > 0;
    if (!good) {
        tally->bad++;
        (void)printf("BAD: call %u of %s, %s: %s\n     first life: %s\n     second life: %s\n", n,
                     what, fault_mode_name(mode), trouble, said[0], said[1]);
    } else if (list && *fired > 0) {
        (void)printf("call %u of %s, %s: %s | %s\n", n, what, fault_mode_name(mode), said[0],
                     said[1]);
    }
}

enum depth { QUICK, SOME, DEEP };

/* The n-th calls to try of a site that is called `calls` times: the first, some and the last, or all. */
static uint32_t next_call(uint32_t n, uint32_t calls, enum depth depth)
{
    if (depth == DEEP || n == 0)
        return n + 1;
    if (depth == QUICK)
        return UINT32_MAX;
    return n < calls && n * 8 >= calls ? calls : n * 8;
}

/* All modes and calls of one site. */
static void try_site(size_t i, uint32_t calls, bool on_path, enum depth depth, bool list)
{
    /* The keeper syncs on its own: only a later call is one that nobody waits for. */
    if (depth == QUICK && faults_kind(i) == FAULT_SYNC)
        depth = SOME;
    for (enum fault_mode mode = 0; mode < FAULT_MODES; mode++) {
        if (!fault_applies(faults_kind(i), mode))
            continue;
        unsigned times = 0;
        uint32_t fired = 1;
        for (uint32_t n = next_call(0, calls, depth); fired > 0 && n <= calls + 1;
             n = next_call(n, calls, depth)) {
            one(i, mode, n, list, &fired);
            times += fired > 0;
        }
        /* What the threads do in which order is chance: a site may not be reached each time. */
        for (unsigned again = 0; on_path && times == 0 && again < 50; again++) {
            one(i, mode, 1, list, &fired);
            times += fired > 0;
        }
        if (times == 0 && on_path) {
            char what[160];
            faults_describe(i, what);
            (void)printf("NOT FIRED: %s, %s\n", what, fault_mode_name(mode));
            tally->unfired++;
        }
    }
}

/* One of WORKERS processes, each with a directory and a table of its own: most of a scenario is waiting. */
static int work(unsigned worker, enum depth depth, bool list)
{
    (void)snprintf(dir, sizeof dir, "%s/triveni-faults-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    check(mkdtemp(dir) != NULL);
    (void)snprintf(log_dir, sizeof log_dir, "%s/log", dir);
    (void)snprintf(state_dir, sizeof state_dir, "%s/state", dir);
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(report != MAP_FAILED);
    faults_init();
    static uint32_t calls[1024];
    bool good = true;
    size_t on_path = 0;
    /* Some calls hang on which thread is quicker: on the path is what each of a few lives reaches. */
    for (unsigned round = 0; good && round < 4; round++) {
        faults_arm(0, FAULT_ONCE, 0);
        good = run_case() && said[0][0] == '\0' && said[1][0] == '\0';
        on_path = faults_sites();
        for (size_t i = 0; i < on_path; i++)
            calls[i] = round == 0 || faults_calls(i) < calls[i] ? faults_calls(i) : calls[i];
    }
    if (!good)
        (void)printf("faults: without a fault: %s %s %s\n", trouble, said[0], said[1]);
    /* Sites that only a fault leads to come behind, and get their turn. */
    for (size_t i = 0; good && i < faults_sites(); i++) {
        if (faults_address(i) / 4 % WORKERS != worker)
            continue;
        const bool reached = i < on_path && calls[i] > 0;
        tally->sites += reached;
        tally->behind += !reached;
        try_site(i, calls[i], reached, depth, list);
    }
    clear_dirs();
    (void)rmdir(dir);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"deep", 0, NULL, 'd'},
                                          {"quick", 0, NULL, 'q'},
                                          {"engine", 1, NULL, 'e'},
                                          {"list", 0, NULL, 'l'},
                                          {0}};
    enum depth depth = SOME;
    bool list = false;
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (c == 'd')
            depth = DEEP;
        else if (c == 'q')
            depth = QUICK;
        else if (c == 'l')
            list = true;
        else if (c == 'e')
            engine = strcmp(optarg, "uring") == 0 ? LOG_ENGINE_AUTO : LOG_ENGINE_PLAIN;
        else
            return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(tally != MAP_FAILED);
    make_histories();
    faults_init();
    for (unsigned w = 0; w < WORKERS; w++) {
        pid_t pid = fork();
        check(pid >= 0);
        if (pid == 0)
            _exit(work(w, depth, list));
    }
    int status, bad = 0;
    for (unsigned w = 0; w < WORKERS; w++)
        bad |= wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    (void)printf("faults: %u call sites on the path, %u only behind a fault or by chance; %u "
                 "faults fired in %u "
                 "scenarios, %u sites and modes not fired, %u bad\n",
                 tally->sites, tally->behind, tally->fired, tally->cases, tally->unfired,
                 tally->bad);
    return bad != 0 || tally->bad != 0 || tally->unfired != 0 || tally->fired == 0;
}
