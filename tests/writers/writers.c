/* Writers that keep a ledger of what they were told, for the demo and for the tests that kill, cut and switch sites.
 *
 *   writers run    --uri URI --ledger FILE --seconds N [--threads T] [--rate N] [--value BYTES]
 *   writers verify --uri URI --ledger FILE
 *
 * Each transaction puts one new record; when it is acknowledged, its key and lsn go into the ledger. `verify` reads every key of
 * the ledger back: a record that is not there is LOST; one whose version is not the acknowledged lsn took effect again after it
 * was acknowledged: DOUBLED. Writes that ended without an answer are resolved with tvn_outcome and must then be there or not, as
 * told.
 *
 * Prints one JSON object to stdout. `longest_gap_ms` is the longest time in which no writer was acknowledged: what a failover
 * costs, seen from outside. Exit code 0, or 1 when anything was lost or doubled. */
#include "client/triveni.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 64, KEY_BYTES = 64, UNKNOWN_MAX = 4096 };

struct options {
    const char *uri, *ledger;
    unsigned seconds, threads, rate, value_bytes;
};

struct totals {
    pthread_mutex_t lock;
    FILE *ledger;
    uint64_t acknowledged, failed, unknown_committed, unknown_absent, unresolved;
    uint64_t first_us, last_us, longest_gap_us, gap_began_us;
};

struct writer_thread {
    pthread_t thread;
    unsigned index;
    const struct options *options;
    struct tvn *db;
    struct totals *totals;
    uint64_t seed;
};

static atomic_bool stop_now;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stop_now, true);
}

static uint64_t now_us(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void note_acknowledged(struct totals *t, const char *key, uint64_t lsn)
{
    (void)pthread_mutex_lock(&t->lock);
    uint64_t now = now_us(CLOCK_MONOTONIC); /* under the lock, so that it never goes back */
    if (t->first_us == 0)
        t->first_us = now;
    else if (now - t->last_us > t->longest_gap_us) {
        t->longest_gap_us = now - t->last_us;
        t->gap_began_us = t->last_us;
    }
    t->last_us = now;
    t->acknowledged++;
    (void)fprintf(t->ledger, "%s %" PRIu64 "\n", key, lsn);
    (void)pthread_mutex_unlock(&t->lock);
}

/* Nobody told us in time: ask what became of it until somebody knows. */
static void resolve(struct writer_thread *w, const char *key, const struct tvn_result *attempt)
{
    struct tvn_result found;
    struct tvn_error error;
    for (int tries = 0; tries < 20; tries++) {
        int rc = tvn_outcome(w->db, &attempt->session, attempt->sequence, 2000, &found, &error);
        if (rc == 0) {
            note_acknowledged(w->totals, key, found.lsn);
            (void)pthread_mutex_lock(&w->totals->lock);
            w->totals->unknown_committed++;
            (void)pthread_mutex_unlock(&w->totals->lock);
            return;
        }
        if (rc == TVN_NOT_FOUND) {
            (void)pthread_mutex_lock(&w->totals->lock);
            w->totals->unknown_absent++;
            (void)fprintf(w->totals->ledger, "%s absent\n", key);
            (void)pthread_mutex_unlock(&w->totals->lock);
            return;
        }
        (void)usleep(200000);
    }
    (void)pthread_mutex_lock(&w->totals->lock);
    w->totals->unresolved++;
    (void)pthread_mutex_unlock(&w->totals->lock);
}

static void *write_main(void *arg)
{
    struct writer_thread *w = arg;
    const struct options *o = w->options;
    char *value = malloc(o->value_bytes + 1);
    struct tvn_txn *txn = tvn_txn_new();
    uint64_t end = now_us(CLOCK_MONOTONIC) + (uint64_t)o->seconds * 1000000;
    if (value == NULL || txn == NULL)
        abort();
    memset(value, 'x', o->value_bytes);
    for (uint64_t n = 0; now_us(CLOCK_MONOTONIC) < end && !atomic_load(&stop_now); n++) {
        char key[KEY_BYTES];
        struct tvn_result result;
        struct tvn_error error;
        (void)snprintf(key, sizeof key, "w%016" PRIx64 "-%02u-%08" PRIu64, w->seed, w->index, n);
        size_t head = (size_t)snprintf(value, o->value_bytes + 1,
                                       "{\"writer\":%u,\"n\":%" PRIu64 ",\"pad\":\"", w->index, n);
        if (head < o->value_bytes)
            memset(value + head, 'x', o->value_bytes - head);
        if (o->value_bytes > head + 2)
            memcpy(value + o->value_bytes - 2, "\"}", 2);
        tvn_txn_reset(txn);
        (void)tvn_txn_put(txn, "writers", tvn_str(key), tvn_view(value, o->value_bytes));
        int rc = tvn_txn_commit(w->db, txn, &result, &error);
        if (rc == 0) {
            note_acknowledged(w->totals, key, result.lsn);
        } else if (error.outcome == TVN_UNKNOWN) {
            resolve(w, key, &result);
        } else {
            (void)pthread_mutex_lock(&w->totals->lock);
            w->totals->failed++;
            (void)fprintf(w->totals->ledger, "%s absent\n", key);
            (void)pthread_mutex_unlock(&w->totals->lock);
            (void)fprintf(stderr, "writers: %s: %s\n", tvn_code_name(rc), error.text);
            (void)usleep(100000);
        }
        if (o->rate != 0)
            (void)usleep(1000000u * o->threads / o->rate);
    }
    tvn_txn_free(txn);
    free(value);
    return NULL;
}

static int run(const struct options *o)
{
    static struct writer_thread threads[THREADS_MAX];
    struct totals totals = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct tvn *db;
    struct tvn_error error;
    totals.ledger = fopen(o->ledger, "w");
    if (totals.ledger == NULL) {
        perror(o->ledger);
        return 1;
    }
    if (tvn_open(o->uri, NULL, &db, &error) != 0) {
        (void)fprintf(stderr, "writers: %s\n", error.text);
        return 1;
    }
    uint64_t seed = now_us(CLOCK_REALTIME);
    for (unsigned i = 0; i < o->threads; i++) {
        threads[i] = (struct writer_thread){
            .index = i, .options = o, .db = db, .totals = &totals, .seed = seed};
        if (pthread_create(&threads[i].thread, NULL, write_main, &threads[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < o->threads; i++)
        (void)pthread_join(threads[i].thread, NULL);
    struct tvn_info info = {.size = sizeof info};
    tvn_describe(db, &info);
    (void)tvn_close(db);
    bool written = fflush(totals.ledger) == 0 && fclose(totals.ledger) == 0;
    double seconds = (double)(totals.last_us - totals.first_us) / 1e6;
    (void)printf("{\"acknowledged\":%" PRIu64 ",\"per_second\":%.0f,\"longest_gap_ms\":%" PRIu64
                 ",\"failed\":%" PRIu64 ",\"unknown_committed\":%" PRIu64
                 ",\"unknown_absent\":%" PRIu64 ",\"unresolved\":%" PRIu64 ",\"connects\":%" PRIu64
                 ",\"resent\":%" PRIu64 "}\n",
                 totals.acknowledged, seconds > 0 ? (double)totals.acknowledged / seconds : 0.0,
                 totals.longest_gap_us / 1000, totals.failed, totals.unknown_committed,
                 totals.unknown_absent, totals.unresolved, info.connects, info.resent);
    return written && totals.acknowledged > 0 && totals.unresolved == 0 ? 0 : 1;
}

/* ---- verify ---- */

struct check_totals {
    uint64_t checked, lost, doubled, resurrected;
};

static void check_line(struct tvn *db, const char *key, const char *expected,
                       struct check_totals *t)
{
    struct tvn_records *records = NULL;
    struct tvn_error error;
    int rc = tvn_get(db, "writers", tvn_str(key), NULL, &records, &error);
    bool absent = strcmp(expected, "absent") == 0;
    t->checked++;
    if (rc == TVN_NOT_FOUND && !absent) {
        t->lost++;
        (void)fprintf(stderr, "writers: LOST %s, acknowledged at lsn %s\n", key, expected);
    } else if (rc == 0 && absent) {
        t->resurrected++;
        (void)fprintf(stderr,
                      "writers: %s was reported as not done and is there at lsn %" PRIu64 "\n", key,
                      records->records[0].lsn);
    } else if (rc == 0 && records->records[0].lsn != strtoull(expected, NULL, 10)) {
        t->doubled++;
        (void)fprintf(stderr, "writers: DOUBLED %s, acknowledged at lsn %s, now at %" PRIu64 "\n",
                      key, expected, records->records[0].lsn);
    } else if (rc != 0 && rc != TVN_NOT_FOUND) {
        (void)fprintf(stderr, "writers: reading %s: %s\n", key, error.text);
        exit(1);
    }
    tvn_records_free(records);
}

static int verify(const struct options *o)
{
    struct check_totals t = {0};
    struct tvn *db;
    struct tvn_error error;
    FILE *ledger = fopen(o->ledger, "r");
    if (ledger == NULL) {
        perror(o->ledger);
        return 1;
    }
    if (tvn_open(o->uri, NULL, &db, &error) != 0) {
        (void)fprintf(stderr, "writers: %s\n", error.text);
        return 1;
    }
    char key[KEY_BYTES], expected[32];
    while (fscanf(ledger, "%63s %31s", key, expected) == 2)
        check_line(db, key, expected, &t);
    (void)fclose(ledger);
    (void)tvn_close(db);
    (void)printf("{\"checked\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"doubled\":%" PRIu64
                 ",\"resurrected\":%" PRIu64 "}\n",
                 t.checked, t.lost, t.doubled, t.resurrected);
    return t.checked > 0 && t.lost + t.doubled + t.resurrected == 0 ? 0 : 1;
}

static unsigned number(const char *text, unsigned most)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || v > most) {
        (void)fprintf(stderr, "writers: '%s' is not a number up to %u\n", text, most);
        exit(2);
    }
    return (unsigned)v;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"uri", 1, NULL, 'u'},     {"ledger", 1, NULL, 'l'},
                                          {"seconds", 1, NULL, 's'}, {"threads", 1, NULL, 't'},
                                          {"rate", 1, NULL, 'r'},    {"value", 1, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.seconds = 5, .threads = 4, .value_bytes = 200};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1)
        switch (c) {
        case 'u':
            o.uri = optarg;
            break;
        case 'l':
            o.ledger = optarg;
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
        case 'v':
            o.value_bytes = number(optarg, 1 << 20);
            break;
        default:
            return 2;
        }
    if (optind + 1 != argc || o.uri == NULL || o.ledger == NULL || o.threads == 0 ||
        o.value_bytes < 64) {
        (void)fprintf(
            stderr, "usage: writers run|verify --uri URI --ledger FILE [--seconds N] [--threads T] "
                    "[--rate N] [--value BYTES (64 and more)]\n");
        return 2;
    }
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
    return strcmp(argv[optind], "verify") == 0 ? verify(&o) : run(&o);
}
