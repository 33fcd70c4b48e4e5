/* Clients of registers, whose history is searched for a linear order: is the cluster, seen through libtriveni, one copy (P5)?
 *
 *   registers run   --uri URI --history FILE [--seconds N] [--threads T] [--rate N] [--keys K]
 *   registers check FILE...
 *
 * Each thread is a client with a handle, hence a session, of its own, and asks the primary for one thing at a time: read, put,
 * delete, or put if the version is the one that it saw last. After OPS_A_KEY requests a key is left for a fresh one, since
 * long histories take long to search. Whoever was not told in time asks tvn_outcome(), but for one in three, whose outcome
 * stays unknown.
 *
 * FORMAT of a history: a line "# offset N" (realtime minus monotonic clock, in microseconds), then a request a line,
 *   KEY CLIENT KIND VALUE EXPECTED INVOKED RETURNED OUTCOME TERM
 * KIND: r read, p put, d delete, c put if EXPECTED is there. VALUE and EXPECTED: 0 is "there is no record". Times are
 * nanoseconds of CLOCK_MONOTONIC. OUTCOME: o done, f condition failed, n definitely not done (also a read that failed),
 * u unknown. TERM: of a write that is done.
 *
 * `check` prints one JSON object; exit code 0 when each history has a linear order, 1 when one has none or was given up, 2
 * when a file is not of this format. */
#include "client/triveni.h"
#include "tests/lib/linear.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    THREADS_MAX = 32,
    KEYS_MAX = 16,
    OPS_A_KEY = 300,
    CALL_MS = 8000,
    OUTCOME_TRIES = 20,
    HISTORY_MAX = 4096, /* requests on one key: OPS_A_KEY and those that were under way */
    STEPS_MAX = 4000000,
};

struct options {
    const char *uri, *history;
    unsigned seconds, threads, rate, keys;
};

struct request {
    char key[32];
    unsigned client;
    char kind, outcome;
    uint64_t value, expected, invoked, returned, term;
};

static atomic_bool stop_now;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stop_now, true);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static _Noreturn void fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "registers: %s: %s\n", what, why);
    exit(2);
}

/* ---- run ---- */

struct shared {
    const struct options *options;
    FILE *history;
    pthread_mutex_t lock; /* of the file */
    uint64_t seed;        /* makes keys unlike those of other runs */
    atomic_uint asked[KEYS_MAX];
    uint64_t end_ns;
};

struct client {
    pthread_t thread;
    unsigned index;
    struct shared *shared;
    struct tvn *db;
    uint64_t random, puts;
    struct {
        bool known;
        unsigned key; /* which one of this place */
        uint64_t value, lsn;
    } seen[KEYS_MAX];
};

static uint64_t draw(struct client *c, uint64_t n)
{
    c->random ^= c->random << 13; /* xorshift64 (Marsaglia 2003) */
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random % n;
}

static void note(struct shared *s, const struct request *q)
{
    (void)pthread_mutex_lock(&s->lock);
    (void)fprintf(s->history,
                  "%s %u %c %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %c %" PRIu64 "\n",
                  q->key, q->client, q->kind, q->value, q->expected, q->invoked, q->returned,
                  q->outcome, q->term);
    (void)pthread_mutex_unlock(&s->lock);
}

/* What became of it? The library's rule: when nobody knows of it, ask once more after a second. */
static void resolve(struct client *c, struct request *q, struct tvn_result *done)
{
    struct tvn_result asked = *done;
    unsigned absent = 0;
    for (int tries = 0; tries < OUTCOME_TRIES; tries++) {
        int rc = tvn_outcome(c->db, &asked.session, asked.sequence, 2000, done, NULL);
        if (rc == 0)
            q->outcome = 'o';
        else if (rc == TVN_NOT_FOUND && ++absent == 2)
            q->outcome = 'n';
        if (q->outcome != 'u')
            return;
        (void)usleep(rc == TVN_NOT_FOUND ? 1000000 : 200000);
    }
}

static void ask_read(struct client *c, struct request *q, unsigned place)
{
    struct tvn_records *records = NULL;
    struct tvn_read how = TVN_READ_INIT;
    how.timeout_ms = CALL_MS;
    int rc = tvn_get(c->db, "registers", tvn_str(q->key), &how, &records, NULL);
    q->outcome = rc == 0 || rc == TVN_NOT_FOUND ? 'o' : 'n';
    if (rc == 0) {
        char text[32] = "";
        const struct tvn_record *r = &records->records[0];
        memcpy(text, r->value.data, r->value.size < 31 ? r->value.size : 31);
        q->value = strtoull(text, NULL, 10);
        c->seen[place].lsn = r->lsn;
    }
    c->seen[place].value = q->value;
    c->seen[place].known = q->outcome == 'o';
    tvn_records_free(records);
}

static void ask_write(struct client *c, struct request *q, unsigned place, struct tvn_txn *txn)
{
    struct tvn_result done = {0};
    struct tvn_error error;
    char text[32];
    (void)snprintf(text, sizeof text, "%" PRIu64, q->value);
    tvn_txn_reset(txn);
    (void)tvn_txn_set(txn, TVN_ACK_DEFAULT, CALL_MS);
    if (q->kind == 'c' && q->expected == 0)
        (void)tvn_txn_if_absent(txn, "registers", tvn_str(q->key));
    else if (q->kind == 'c')
        (void)tvn_txn_if_version(txn, "registers", tvn_str(q->key), c->seen[place].lsn);
    if (q->kind == 'd')
        (void)tvn_txn_del(txn, "registers", tvn_str(q->key));
    else
        (void)tvn_txn_put(txn, "registers", tvn_str(q->key), tvn_str(text));
    int rc = tvn_txn_commit(c->db, txn, &done, &error);
    q->outcome = rc == 0                         ? 'o'
                 : rc == TVN_CONDITION           ? 'f'
                 : error.outcome == TVN_NOT_DONE ? 'n'
                                                 : 'u';
    if (q->outcome == 'u' && draw(c, 3) != 0)
        resolve(c, q, &done);
    c->seen[place].known = q->outcome == 'o';
    c->seen[place].value = q->value;
    c->seen[place].lsn = done.lsn;
    q->term = q->outcome == 'o' ? done.term : 0;
    if (q->outcome == 'n') {
        (void)fprintf(stderr, "registers: %s: %s\n", tvn_code_name(rc), error.text);
        (void)usleep(100000);
    }
}

static void ask(struct client *c, struct tvn_txn *txn)
{
    static const char kinds[] = "rrrrrrrppppccccccccd"; /* 35 % reads, ... */
    struct shared *s = c->shared;
    unsigned place = (unsigned)draw(c, s->options->keys);
    unsigned key = atomic_fetch_add(&s->asked[place], 1) / OPS_A_KEY;
    struct request q = {.client = c->index, .kind = kinds[draw(c, sizeof kinds - 1)]};
    (void)snprintf(q.key, sizeof q.key, "%" PRIx64 "-%u-%u", s->seed, place, key);
    if (c->seen[place].key != key)
        c->seen[place].known = false;
    c->seen[place].key = key;
    if (q.kind == 'c' && !c->seen[place].known)
        q.kind = 'r';
    if (q.kind == 'c')
        q.expected = c->seen[place].value;
    if (q.kind == 'p' || q.kind == 'c')
        q.value = (uint64_t)(c->index + 1) << 40 | ++c->puts;
    q.invoked = now_ns(CLOCK_MONOTONIC);
    if (q.kind == 'r')
        ask_read(c, &q, place);
    else
        ask_write(c, &q, place, txn);
    q.returned = now_ns(CLOCK_MONOTONIC);
    note(s, &q);
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    const struct options *o = c->shared->options;
    struct tvn_txn *txn = tvn_txn_new();
    if (txn == NULL)
        fail("memory", "there is none");
    while (now_ns(CLOCK_MONOTONIC) < c->shared->end_ns && !atomic_load(&stop_now)) {
        ask(c, txn);
        if (o->rate !=
            0) /* between nothing and twice the mean, so that clients meet in every way */
            (void)usleep((useconds_t)draw(c, 2000000u * o->threads / o->rate));
    }
    tvn_txn_free(txn);
    return NULL;
}

static int run(const struct options *o)
{
    static struct client clients[THREADS_MAX];
    static struct shared s;
    struct tvn_error error;
    uint64_t real = now_ns(CLOCK_REALTIME), mono = now_ns(CLOCK_MONOTONIC);
    s = (struct shared){.options = o,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .seed = real / 1000,
                        .end_ns = mono + (uint64_t)o->seconds * 1000000000};
    s.history = fopen(o->history, "w");
    if (s.history == NULL)
        fail(o->history, "cannot be written");
    (void)fprintf(s.history, "# offset %" PRIu64 "\n", (real - mono) / 1000);
    for (unsigned i = 0; i < o->threads; i++) {
        clients[i] = (struct client){.index = i, .shared = &s, .random = s.seed * (i + 1) | 1};
        if (tvn_open(o->uri, NULL, &clients[i].db, &error) != 0)
            fail("tvn_open", error.text);
        if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
            fail("pthread_create", "failed");
    }
    for (unsigned i = 0; i < o->threads; i++) {
        (void)pthread_join(clients[i].thread, NULL);
        (void)tvn_close(clients[i].db);
    }
    return fflush(s.history) == 0 && fclose(s.history) == 0 ? 0 : 1;
}

/* ---- check ---- */

struct verdicts {
    uint64_t histories, linearizable, given_up, requests, acknowledged, unknown, not_done;
};

static struct request *read_file(const char *path, struct request *all, size_t *n, size_t *room)
{
    FILE *in = fopen(path, "r");
    char line[256], junk;
    unsigned number = 0;
    if (in == NULL)
        fail(path, "cannot be read");
    while (fgets(line, sizeof line, in) != NULL) {
        struct request q = {.key = ""};
        number++;
        if (line[0] == '#')
            continue;
        if (*n == *room) {
            *room = *room == 0 ? 65536 : *room * 2;
            all = realloc(all, *room * sizeof *all);
            if (all == NULL)
                fail("memory", "there is none");
        }
        if (sscanf(line,
                   "%31s %u %c %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %c %" SCNu64 " %c",
                   q.key, &q.client, &q.kind, &q.value, &q.expected, &q.invoked, &q.returned,
                   &q.outcome, &q.term, &junk) != 9 ||
            strchr("rpdc", q.kind) == NULL || strchr("ofnu", q.outcome) == NULL ||
            q.returned < q.invoked || q.invoked == 0) {
            (void)fprintf(stderr, "registers: %s:%u is not a request\n", path, number);
            exit(2);
        }
        all[(*n)++] = q;
    }
    (void)fclose(in);
    return all;
}

static int by_key_and_time(const void *a, const void *b)
{
    const struct request *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order != 0 ? order : (x->invoked > y->invoked) - (x->invoked < y->invoked);
}

static struct linear_op op_of(const struct request *q)
{
    return (struct linear_op){.kind = q->kind == 'r'   ? LINEAR_READ
                                      : q->kind == 'p' ? LINEAR_PUT
                                      : q->kind == 'd' ? LINEAR_DELETE
                                                       : LINEAR_CAS,
                              .refused = q->outcome == 'f',
                              .value = q->value,
                              .expected = q->expected,
                              .invoked = q->invoked,
                              .returned = q->outcome == 'u' ? 0 : q->returned};
}

static void show(const struct request *all, size_t from, size_t to)
{
    uint64_t start = all[from].invoked;
    for (size_t i = from; i < to; i++)
        (void)fprintf(
            stderr, "  client %u %c value %" PRIu64 " expected %" PRIu64 " at %.3f to %.3f ms %c\n",
            all[i].client, all[i].kind, all[i].value, all[i].expected,
            (double)(all[i].invoked - start) / 1e6, (double)(all[i].returned - start) / 1e6,
            all[i].outcome);
}

static void check_key(struct linear *search, const struct request *all, size_t from, size_t to,
                      struct verdicts *v)
{
    static struct linear_op ops[HISTORY_MAX];
    uint32_t n = 0;
    if (to - from > HISTORY_MAX)
        fail(all[from].key, "the history is too long");
    for (size_t i = from; i < to; i++) {
        const struct request *q = &all[i];
        v->requests++;
        v->unknown += q->outcome == 'u';
        v->not_done += q->outcome == 'n';
        v->acknowledged += q->outcome == 'o' && q->kind != 'r';
        if (q->outcome != 'n')
            ops[n++] = op_of(q);
    }
    enum linear_verdict verdict = linear_check(search, ops, n);
    v->histories++;
    v->linearizable += verdict == LINEAR_YES;
    v->given_up += verdict == LINEAR_GIVEN_UP;
    if (verdict == LINEAR_YES)
        return;
    (void)fprintf(stderr, "registers: %s %s; all of it:\n", all[from].key,
                  verdict == LINEAR_NO ? "is NOT LINEARIZABLE" : "was not searched to the end");
    show(all, from, to);
}

static int check_files(char **paths, int count)
{
    struct request *all = NULL;
    struct verdicts v = {0};
    size_t n = 0, room = 0;
    for (int i = 0; i < count; i++)
        all = read_file(paths[i], all, &n, &room);
    if (n == 0)
        fail(paths[0], "there are no requests");
    qsort(all, n, sizeof *all, by_key_and_time);
    struct linear *search = linear_new(HISTORY_MAX, STEPS_MAX);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && strcmp(all[from].key, all[to].key) == 0;)
            to++;
        check_key(search, all, from, to, &v);
    }
    linear_free(search);
    free(all);
    (void)printf("{\"histories\":%" PRIu64 ",\"linearizable\":%" PRIu64 ",\"given_up\":%" PRIu64
                 ",\"requests\":%" PRIu64 ",\"acknowledged\":%" PRIu64 ",\"unknown\":%" PRIu64
                 ",\"not_done\":%" PRIu64 "}\n",
                 v.histories, v.linearizable, v.given_up, v.requests, v.acknowledged, v.unknown,
                 v.not_done);
    return v.linearizable == v.histories ? 0 : 1;
}

static unsigned number(const char *text, unsigned most)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || v == 0 || v > most) {
        (void)fprintf(stderr, "registers: '%s' is not a number from 1 to %u\n", text, most);
        exit(2);
    }
    return (unsigned)v;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"uri", 1, NULL, 'u'},     {"history", 1, NULL, 'h'},
                                          {"seconds", 1, NULL, 's'}, {"threads", 1, NULL, 't'},
                                          {"rate", 1, NULL, 'r'},    {"keys", 1, NULL, 'k'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.seconds = 5, .threads = 6, .keys = 4};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1)
        switch (c) {
        case 'u':
            o.uri = optarg;
            break;
        case 'h':
            o.history = optarg;
            break;
        case 's':
            o.seconds = number(optarg, 86400);
            break;
        case 't':
            o.threads = number(optarg, THREADS_MAX);
            break;
        case 'r':
            o.rate = number(optarg, 1000000);
            break;
        case 'k':
            o.keys = number(optarg, KEYS_MAX);
            break;
        default:
            return 2;
        }
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
    if (optind + 1 < argc && strcmp(argv[optind], "check") == 0)
        return check_files(argv + optind + 1, argc - optind - 1);
    if (optind + 1 == argc && strcmp(argv[optind], "run") == 0 && o.uri != NULL &&
        o.history != NULL)
        return run(&o);
    (void)fprintf(stderr,
                  "usage: registers run --uri URI --history FILE [--seconds N] [--threads T] "
                  "[--rate N] [--keys K]\n       registers check FILE...\n");
    return 2;
}
