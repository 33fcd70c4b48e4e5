/* Power cuts on the store, many and fast: log and state run for real in a directory in memory, every system call is noted
 * (record.c), and the notes are then played onto a disk that can lose power (disk.c), stopping wherever the power
 * is to fail. What the disk holds then is written out, opened by the store and compared with what was promised.
 *
 *   cuts chains  --cuts N [--seed S]     long lives: open, work, lose power or be killed, go on from there
 *   cuts all     --length L [--seed S] [--part I/N]
 *                                        all workloads of up to L operations, all images of each of their moments;
 *                                        with --part every N-th of them
 *   cuts kills   [--seed S]              a kill at every moment of a first run, another run, and then a cut
 *   cuts planted [--cuts N] [--seed S]   the same chains with a bug: each must be caught within N cuts
 *
 * CHAINS. A life begins with nothing. Each run opens the store, does some things, and is stopped at a moment of its
 * trace, recovery included: by a power cut, by a kill (the page cache survives, and what was not synced is still not),
 * or by both. Other moments of the same trace are sampled, most of them next to a sync or a change of a name.
 *
 * ALL. For each moment every combination of: each version of every unsynced sector of log and side slots, their sizes, and
 * every subset of unsynced changes of names. LMDB's own file, whose unsynced pages must not matter at all, and the files
 * that hold no data (LOCK, lock.mdb, probe.tmp) are drawn at random for each image. Images that were seen with the same
 * promise are not tried again. Two symmetries make it few enough:
 *   of a batch of the log, whose checksum covers all that is behind its header, recovery can tell no more than whether all of
 *   that is there; which sectors are missing makes no difference (store/core/batch.h), so of many only some such sets are tried;
 *   the moments before the last operation of a workload are those of the shorter one, and are tried there.
 * A moment with more than ALL_MAX combinations is sampled, and counted apart.
 *
 * KILLS. What a killed process left unsynced is read back by the next one as if it were durable. So after a kill at each
 * moment the next run works on, and then the power fails and everything that is not synced is lost, or any of it.
 *
 * Ends with "N power cuts, N transactions lost"; exit code 1 when a promise was broken. */
#include "tests/crash/lab.h"

#include "store/core/check.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RUNS_PER_LIFE = 14,
    ACTS_PER_RUN = 9,
    SAMPLES = 12,   /* of a run */
    ALL_MAX = 1024, /* images of a moment */
    ALL_DRAWN = 24, /* of a moment with more */
    DIGITS_MAX = 64,
};

struct totals {
    uint64_t cut_short; /* moments with too many images */
    uint64_t cuts, kills, runs, workloads, moments, sampled, broken;
};

struct options {
    uint64_t cuts, seed;
    unsigned length, part, parts;
    enum lie lie;
    bool quiet, on;
};

/* One life of a store. */
struct life {
    struct lab lab;
    struct disk *disk;
    struct trace trace;
    size_t last_act; /* of the trace: where the last act begins */
    uint64_t *moments;
    char scratch[64];
    struct totals *totals;
    const struct options *options;
};

static uint32_t roll(void *arg, uint32_t n)
{
    return chance_below(arg, n);
}

/* ---- a life ---- */

static void life_begin(struct life *f, const struct options *o, struct totals *t, uint64_t seed)
{
    *f = (struct life){.totals = t, .options = o};
    lab_init(&f->lab, seed);
    dir_new(f->lab.dir);
    dir_new(f->scratch);
    f->disk = disk_new();
    disk_bind(f->disk, f->lab.dir);
}

static void life_end(struct life *f)
{
    dir_clear(f->lab.dir);
    (void)rmdir(f->lab.dir);
    dir_clear(f->scratch);
    (void)rmdir(f->scratch);
    disk_free(f->disk);
    trace_clear(&f->trace);
    free(f->trace.v);
    free(f->moments);
    lab_free(&f->lab);
}

/* Record: open, do the acts, close. */
static int life_run(struct life *f, const enum act *acts, size_t n, struct err *e)
{
    trace_clear(&f->trace);
    record_into(&f->trace, f->options->lie);
    int rc = lab_open(&f->lab, e);
    f->last_act = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        f->last_act = i == 0 ? 0 : record_count();
        rc = lab_act(&f->lab, acts[i], e);
    }
    int closed = f->lab.log != NULL ? lab_close(&f->lab, rc == 0 ? e : NULL) : 0;
    record_into(NULL, LIE_NOT);
    f->moments = realloc(f->moments, (f->trace.n + 1) * sizeof *f->moments);
    check(f->moments != NULL);
    return rc != 0 ? rc : closed;
}

static void play(struct life *f, size_t k)
{
    trace_play(&f->trace, k, f->disk, f->moments);
    if (f->trace.v[k].type == EVENT_NOTE)
        lab_note(&f->lab, &f->trace.v[k]);
}

static void broken(struct life *f, size_t k, const char *why)
{
    f->totals->broken++;
    if (f->options->quiet)
        return;
    static const char *const types[] = {"create", "remove", "rename", "write",
                                        "resize", "sync",   "note"};
    (void)fprintf(stderr, "crash: seed %" PRIu64 ", run %" PRIu64 ", cut %" PRIu64 ": %s\n",
                  f->options->seed, f->totals->runs, f->totals->cuts, why);
    for (size_t i = k < 12 ? 0 : k - 12; i <= k && k < f->trace.n; i++) {
        const struct event *e = &f->trace.v[i];
        uint64_t ino = e->ino == 0 ? 0 : disk_bound(f->disk, e->ino);
        (void)fprintf(stderr, "  event %zu: %s %s%s%s %s at %" PRIu64 ", %" PRIu64 " bytes\n", i,
                      types[e->type], e->name, e->to[0] == '\0' ? "" : " to ", e->to,
                      ino == 0 ? "" : disk_born(f->disk, ino), e->offset, e->n);
    }
}

/* The power fails now; what the disk holds is opened and judged. */
static bool survives(struct life *f, size_t k, const struct disk *image)
{
    char why[ERR_TEXT_BYTES];
    size_t tip;
    dir_clear(f->scratch);
    disk_save(image, f->scratch);
    f->totals->cuts++;
    if (lab_verify(&f->lab, f->scratch, &tip, why) == 0)
        return true;
    broken(f, k, why);
    return false;
}

/* Go on from what the disk holds; `image` NULL: the process alone was killed. */
static void life_restart(struct life *f, struct disk *image)
{
    if (image != NULL) {
        disk_free(f->disk);
        f->disk = image;
    }
    dir_clear(f->lab.dir);
    disk_save(f->disk, f->lab.dir);
    disk_bind(f->disk, f->lab.dir);
}

/* ---- chains ---- */

/* Where order matters: next to anything but a plain write. */
static bool near_order(const struct trace *t, size_t k)
{
    for (size_t i = k < 2 ? 0 : k - 2; i <= k + 2 && i < t->n; i++)
        if (t->v[i].type != EVENT_WRITE && t->v[i].type != EVENT_RESIZE)
            return true;
    return false;
}

/* A third are anywhere, a third where order matters, a third when all is written and the sync is still to come. */
static size_t pick_moment(struct life *f)
{
    const struct trace *t = &f->trace;
    uint32_t kind = chance_below(&f->lab.chance, 3);
    size_t k = 0;
    for (unsigned tries = 0; tries < 200; tries++) {
        k = chance_below(&f->lab.chance, (uint32_t)t->n);
        if (kind == 0 || (kind == 1 && near_order(t, k)) ||
            (kind == 2 && k + 1 < t->n && t->v[k + 1].type == EVENT_SYNC))
            break;
    }
    return k;
}

static int ascending(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Play a run to its end; sample it on the way, and end it there. */
static bool chain_run(struct life *f)
{
    struct disk_dice dice = {.choose = roll, .arg = &f->lab.chance, .wild = true};
    size_t at[SAMPLES];
    for (unsigned i = 0; i < SAMPLES; i++)
        at[i] = pick_moment(f);
    qsort(at, SAMPLES, sizeof at[0], ascending);
    size_t end = chance_below(&f->lab.chance, 4) == 0 ? f->trace.n - 1 : at[SAMPLES - 1];
    bool kill = chance_below(&f->lab.chance, 3) == 0;
    unsigned next = 0;
    for (size_t k = 0; k <= end; k++) {
        play(f, k);
        for (; next < SAMPLES && at[next] == k; next++) {
            if (f->totals->cuts >= f->options->cuts)
                return true;
            struct disk *image = disk_cut(f->disk, &dice);
            bool whole = survives(f, k, image);
            bool last = k == end && next == SAMPLES - 1 && !kill;
            if (last && whole)
                life_restart(f, image);
            else
                disk_free(image);
            if (!whole)
                return false;
            if (last)
                return true;
        }
    }
    life_restart(f, NULL); /* the trace ended, or a kill */
    f->totals->kills++;
    return true;
}

/* One life, until it or the cuts end; false when a promise was broken. */
static bool chain(struct life *f)
{
    for (unsigned run = 0; run < RUNS_PER_LIFE && f->totals->cuts < f->options->cuts; run++) {
        enum act acts[ACTS_PER_RUN];
        struct err e = ERR_NONE;
        size_t n = chance_below(&f->lab.chance, ACTS_PER_RUN + 1);
        for (size_t i = 0; i < n; i++)
            acts[i] = (enum act)chance_below(&f->lab.chance, ACTS);
        f->totals->runs++;
        if (life_run(f, acts, n, &e) != 0) {
            broken(f, f->trace.n, e.text);
            return false;
        }
        if (!chain_run(f))
            return false;
    }
    return true;
}

static void chains(const struct options *o, struct totals *t)
{
    for (uint64_t life = 0; t->cuts < o->cuts && t->broken == 0; life++) {
        struct life f;
        life_begin(&f, o, t, o->seed * 1000003 + life);
        (void)chain(&f);
        life_end(&f);
    }
}

/* ---- all ---- */

/* Tries all answers to all questions, in any order that the questions come. */
struct odometer {
    uint32_t digit[DIGITS_MAX], radix[DIGITS_MAX];
    unsigned count, at;
    bool overflow;
    struct chance chance;
};

static uint32_t next_digit(void *arg, uint32_t n)
{
    struct odometer *o = arg;
    if (o->at == DIGITS_MAX) {
        o->overflow = true;
        return 0;
    }
    if (o->at == o->count) {
        o->digit[o->count] = 0;
        o->radix[o->count++] = n;
    }
    return o->digit[o->at++];
}

static uint32_t draw(void *arg, uint32_t n)
{
    return chance_below(&((struct odometer *)arg)->chance, n);
}

/* The next combination; false after the last. */
static bool turn(struct odometer *o)
{
    o->at = 0;
    while (o->count > 0 && o->digit[o->count - 1] + 1 == o->radix[o->count - 1])
        o->count--;
    if (o->count == 0)
        return false;
    o->digit[o->count - 1]++;
    return true;
}

/* Open addressing; grows. */
struct seen {
    uint64_t *v;
    size_t n, cap;
};

static bool seen_add(struct seen *s, uint64_t x)
{
    x |= 1;
    if (2 * s->n >= s->cap) {
        struct seen more = {.cap = s->cap == 0 ? 1024 : 2 * s->cap};
        more.v = calloc(more.cap, sizeof *more.v);
        check(more.v != NULL);
        for (size_t i = 0; i < s->cap; i++)
            if (s->v[i] != 0)
                (void)seen_add(&more, s->v[i]);
        free(s->v);
        *s = more;
    }
    size_t i = (size_t)(x >> 1) & (s->cap - 1);
    while (s->v[i] != 0 && s->v[i] != x)
        i = (i + 1) & (s->cap - 1);
    if (s->v[i] == x)
        return false;
    s->v[i] = x;
    s->n++;
    return true;
}

static bool is_log(const char *born)
{
    return strncmp(born, "spare-", 6) == 0;
}

static bool holds_data(const char *born)
{
    return is_log(born) || strncmp(born, "checkpoint", 10) == 0;
}

/* All images of this moment. */
static bool try_all(struct life *f, size_t k, struct seen *seen, struct odometer *o)
{
    bool drawn[256] = {false}, alike[256] = {false};
    check(disk_files(f->disk) <= sizeof drawn);
    for (uint64_t ino = DISK_ROOT; ino < disk_files(f->disk); ino++) {
        drawn[ino] = !disk_is_dir(f->disk, ino) && !holds_data(disk_born(f->disk, ino));
        alike[ino] = is_log(disk_born(f->disk, ino));
    }
    struct disk_dice dice = {
        .choose = next_digit, .arg = o, .drawn = drawn, .draw = draw, .alike = alike};
    o->count = o->at = 0;
    o->overflow = false;
    uint64_t product = 1;
    disk_free(disk_cut(f->disk, &dice)); /* to hear the questions */
    for (unsigned i = 0; i < o->count && product <= ALL_MAX; i++)
        product *= o->radix[i];
    bool sample = product > ALL_MAX || o->overflow;
    if (sample)
        dice = (struct disk_dice){.choose = draw, .arg = o, .wild = true};
    f->totals->moments++;
    f->totals->cut_short += sample;
    o->count = o->at = 0;
    bool good = true;
    for (unsigned i = 0; good && (!sample || i < ALL_DRAWN); i++) {
        struct disk *image = disk_cut(f->disk, &dice);
        /* LMDB's file is another in each image: without it. */
        uint64_t print = disk_fingerprint(image, sample ? NULL : drawn);
        if (seen_add(seen, print * 31 + f->lab.required)) {
            f->totals->sampled += sample;
            good = survives(f, k, image);
        }
        disk_free(image);
        if (!sample && !turn(o))
            break;
    }
    return good;
}

static const enum act alphabet[] = {ACT_APPEND, ACT_PAUSE, ACT_CHECKPOINT, ACT_CUT,
                                    ACT_REOPEN, ACT_APPLY, ACT_BURST};
enum { LETTERS = sizeof alphabet / sizeof alphabet[0] };

/* A store with some history, cleanly closed: every workload begins with it. */
static int make_base(struct life *f)
{
    static const enum act acts[] = {ACT_APPEND, ACT_CHECKPOINT, ACT_APPEND};
    struct err e = ERR_NONE;
    int rc = life_run(f, acts, sizeof acts / sizeof acts[0], &e);
    for (size_t k = 0; rc == 0 && k < f->trace.n; k++)
        play(f, k);
    if (rc != 0)
        (void)fprintf(stderr, "crash: %s\n", e.text);
    return rc;
}

static bool workload(const struct options *o, struct totals *t, const enum act *acts, unsigned n)
{
    struct life f;
    struct seen seen = {.n = 0};
    struct err e = ERR_NONE;
    uint64_t code = n;
    for (unsigned i = 0; i < n; i++)
        code = code * 16 + acts[i];
    struct odometer odometer = {.chance = {o->seed + code}};
    life_begin(&f, o, t, o->seed);
    f.lab.chance.s += code;
    t->workloads++;
    bool good = make_base(&f) == 0;
    if (good) {
        life_restart(&f, NULL);
        good = life_run(&f, acts, n, &e) == 0;
    }
    if (!good)
        broken(&f, f.trace.n, e.text);
    for (size_t k = 0; good && k < f.trace.n; k++) {
        play(&f, k);
        good = k < f.last_act || try_all(&f, k, &seen, &odometer);
    }
    free(seen.v);
    life_end(&f);
    return good;
}

static void all(const struct options *o, struct totals *t)
{
    for (unsigned n = 1; n <= o->length; n++) {
        unsigned words = 1;
        for (unsigned i = 0; i < n; i++)
            words *= LETTERS;
        for (unsigned word = 0; word < words && t->broken == 0; word++) {
            if ((word + n) % o->parts != o->part)
                continue;
            enum act acts[8];
            unsigned rest = word;
            for (unsigned i = 0; i < n; i++, rest /= LETTERS)
                acts[i] = alphabet[rest % LETTERS];
            (void)workload(o, t, acts, n);
        }
    }
}

/* ---- kills ---- */

static uint32_t oldest(void *arg, uint32_t n)
{
    (void)arg;
    return n - 1;
}

/* The second run, cut here and there and at its end. */
static bool cut_after_kill(struct life *f)
{
    const struct disk_dice dice[] = {{.choose = oldest},
                                     {.choose = roll, .arg = &f->lab.chance, .wild = true}};
    bool good = true;
    for (size_t k = 0; good && k < f->trace.n; k++) {
        play(f, k);
        bool last = k + 1 == f->trace.n;
        if (!last && (f->trace.v[k].type != EVENT_NOTE || chance_below(&f->lab.chance, 3) != 0))
            continue;
        for (unsigned i = 0; good && i < (last ? 2 : 1); i++) {
            struct disk *image = disk_cut(f->disk, &dice[i]);
            good = survives(f, k, image);
            disk_free(image);
        }
    }
    return good;
}

/* False when a promise was broken; *more when the first run has moments beyond k. */
static bool kill_at(const struct options *o, struct totals *t, size_t k, bool *more)
{
    static const enum act first[] = {ACT_APPEND, ACT_CHECKPOINT, ACT_APPEND};
    static const enum act second[] = {ACT_APPEND, ACT_APPLY, ACT_CHECKPOINT, ACT_APPEND};
    struct life f;
    struct err e = ERR_NONE;
    life_begin(&f, o, t, o->seed);
    bool good = life_run(&f, first, sizeof first / sizeof first[0], &e) == 0;
    *more = k + 1 < f.trace.n;
    for (size_t i = 0; good && i <= k && i < f.trace.n; i++)
        play(&f, i);
    if (good) {
        t->kills++;
        life_restart(&f, NULL);
        good = life_run(&f, second, sizeof second / sizeof second[0], &e) == 0;
    }
    if (!good)
        broken(&f, f.trace.n, e.text);
    else
        good = cut_after_kill(&f);
    life_end(&f);
    return good;
}

static void kills(const struct options *o, struct totals *t)
{
    bool more = true;
    for (size_t k = 0; more && (t->broken == 0 || o->on); k++)
        (void)kill_at(o, t, k, &more);
}

/* ---- planted bugs ---- */

/* In a child: damage may end it in any way. It tells its totals when it can. */
static bool is_caught(const struct options *o, enum lie lie)
{
    struct options with = *o;
    with.lie = lie;
    with.quiet = lie != LIE_NOT;
    (void)fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        struct totals t = {0};
        if (lie != LIE_NOT && freopen("/dev/null", "w", stderr) == NULL)
            _exit(3);
        chains(&with, &t);
        (void)printf("planted %-24s %s after %" PRIu64 " cuts\n", lie_name(lie),
                     t.broken > 0 ? "caught" : "not caught", t.cuts);
        (void)fflush(stdout);
        _exit(t.broken > 0 ? 1 : 0);
    }
    int status;
    check(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status))
        (void)printf("planted %-24s caught: the store died of it (%s)\n", lie_name(lie),
                     strsignal(WTERMSIG(status)));
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static int planted(const struct options *o)
{
    int missed = 0;
    for (int lie = LIE_NOT + 1; lie < LIES; lie++)
        missed += !is_caught(o, (enum lie)lie);
    (void)printf("planted: %d of %d caught\n", LIES - 1 - missed, LIES - 1);
    return missed == 0 ? 0 : 1;
}

/* ---- the command line ---- */

static uint64_t number(const char *text)
{
    char *end;
    uint64_t v = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        (void)fprintf(stderr, "cuts: '%s' is not a number\n", text);
        exit(2);
    }
    return v;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"cuts", 1, NULL, 'c'},   {"seed", 1, NULL, 's'},
                                          {"length", 1, NULL, 'l'}, {"part", 1, NULL, 'p'},
                                          {"on", 0, NULL, 'o'},     {NULL, 0, NULL, 0}};
    struct options o = {.cuts = 1000, .seed = 1, .length = 2, .parts = 1};
    struct totals t = {0};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'c')
            o.cuts = number(optarg);
        else if (c == 's')
            o.seed = number(optarg);
        else if (c == 'l')
            o.length = (unsigned)number(optarg);
        else if (c == 'o')
            o.on = true;
        else if (c != 'p' || sscanf(optarg, "%u/%u", &o.part, &o.parts) != 2 || o.part >= o.parts)
            return 2;
    }
    const char *what = optind + 1 == argc ? argv[optind] : "";
    if (strcmp(what, "planted") == 0)
        return planted(&o);
    if (strcmp(what, "chains") == 0) {
        chains(&o, &t);
        (void)printf("chains: seed %" PRIu64 ", %" PRIu64 " runs, %" PRIu64 " ended by a kill\n",
                     o.seed, t.runs, t.kills);
    } else if (strcmp(what, "kills") == 0) {
        kills(&o, &t);
        (void)printf("kills: %" PRIu64 " kills\n", t.kills);
    } else if (strcmp(what, "all") == 0 && o.length <= 8) {
        all(&o, &t);
        (void)printf("all: %" PRIu64 " workloads, %" PRIu64 " moments, %" PRIu64
                     " different images; of %" PRIu64 " moments with more than %d images %" PRIu64
                     " were sampled\n",
                     t.workloads, t.moments, t.cuts, t.cut_short, ALL_MAX, t.sampled);
    } else {
        (void)fprintf(stderr,
                      "usage: cuts chains|all|kills|planted [--cuts N] [--length L] [--seed S]\n");
        return 2;
    }
    (void)printf("%" PRIu64 " power cuts, %" PRIu64 " transactions lost\n", t.cuts, t.broken);
    return t.broken == 0 ? 0 : 1;
}
