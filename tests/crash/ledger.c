/* Clients of a site whose power fails, and the judge of what it has afterwards.
 *
 *   ledger run    --uri URI --ledger FILE --name NAME [--threads T]     until SIGTERM or SIGKILL
 *   ledger verify --uri URI --ledger FILE
 *
 * Each transaction puts one new record with the same key into the collections `a` and `b`, and overwrites its thread's one
 * record in `hot`, whose value is that key. When it is acknowledged, the key, the thread's record and the lsn are
 * appended to the ledger. `verify` reads all three collections and says of
 *   LOST      an acknowledged key that is not there at exactly its lsn; a hot record older than its last acknowledgement
 *   HALF      a key that is in one collection and not in the other, or with another lsn; a hot record whose key is not there
 * and prints "KEYS LOST HALF DIGEST": how many keys there are, how many are lost and half, and the digest of
 * the three collections counted from the records that were read. Exit code 1 when anything is lost or half. */
#include "client/triveni.h"
#include "store/core/digest.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS_MAX = 16, KEY_BYTES = 48, VALUE_MAX = 24000 };

static const char *const collections[] = {"a", "b", "hot"};
enum { IN_A, IN_B, IN_HOT, COLLECTIONS };

struct options {
    const char *uri, *ledger, *name;
    unsigned threads;
};

static atomic_bool stop_now;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stop_now, true);
}

/* ---- run ---- */

struct client {
    pthread_t thread;
    unsigned index;
    int ledger; /* each acknowledgement is one write at its end: a kill leaves whole lines */
    const struct options *options;
    struct tvn *db;
};

static void fill(char *value, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        value[i] = (char)(seed >> 56);
    }
}

static void *client_main(void *arg)
{
    const struct client *c = arg;
    static _Thread_local char value[VALUE_MAX];
    struct tvn_txn *txn = tvn_txn_new();
    if (txn == NULL)
        abort();
    for (unsigned n = 0; !atomic_load(&stop_now); n++) {
        char key[KEY_BYTES], hot[KEY_BYTES], line[2 * KEY_BYTES + 32];
        struct tvn_result result;
        struct tvn_error error;
        (void)snprintf(key, sizeof key, "%s-%02u-%07u", c->options->name, c->index, n);
        (void)snprintf(hot, sizeof hot, "hot-%02u", c->index);
        size_t size = n % 16 == 0 ? VALUE_MAX : 100 + (n * 97u) % 2000;
        fill(value, size, n + c->index);
        tvn_txn_reset(txn);
        (void)tvn_txn_put(txn, "a", tvn_str(key), tvn_view(value, size));
        (void)tvn_txn_put(txn, "b", tvn_str(key), tvn_view(value, size / 2));
        (void)tvn_txn_put(txn, "hot", tvn_str(hot), tvn_str(key));
        if (tvn_txn_commit(c->db, txn, &result, &error) != 0)
            continue; /* in doubt or not done: verify finds out which, all or nothing */
        int bytes = snprintf(line, sizeof line, "%s %s %" PRIu64 "\n", key, hot, result.lsn);
        if (write(c->ledger, line, (size_t)bytes) != bytes)
            abort();
    }
    tvn_txn_free(txn);
    return NULL;
}

static int run(const struct options *o)
{
    static struct client clients[THREADS_MAX];
    struct tvn *db;
    struct tvn_error error;
    int ledger = open(o->ledger, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (ledger < 0) {
        perror(o->ledger);
        return 1;
    }
    if (tvn_open(o->uri, NULL, &db, &error) != 0) {
        (void)fprintf(stderr, "ledger: %s\n", error.text);
        return 1;
    }
    for (unsigned i = 0; i < o->threads; i++) {
        clients[i] = (struct client){.index = i, .ledger = ledger, .options = o, .db = db};
        if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < o->threads; i++)
        (void)pthread_join(clients[i].thread, NULL);
    (void)close(ledger);
    (void)tvn_close(db);
    return 0;
}

/* ---- verify ---- */

struct found {
    char key[KEY_BYTES];
    char value[KEY_BYTES]; /* of a hot record */
    uint64_t lsn;
};

struct table {
    struct found *v;
    size_t n, cap;
};

struct totals {
    uint64_t lost, half;
    struct digest digest;
};

static struct bytes view(struct tvn_bytes b)
{
    return bytes_of(b.data, b.size);
}

/* A collection comes in the order of its keys, so the table can be searched. */
static int read_collection(struct tvn *db, const char *name, struct table *t, struct digest *digest)
{
    struct tvn_scan_options options = TVN_SCAN_INIT;
    struct tvn_scan *scan;
    struct tvn_record r;
    struct tvn_error error;
    options.collection = name;
    options.page = 256;
    int rc = tvn_scan_open(db, &options, NULL, &scan, &error);
    if (rc != 0)
        return rc;
    while ((rc = tvn_scan_next(scan, &r, &error)) == 1) {
        if (t->n == t->cap) {
            t->cap = t->cap == 0 ? 1024 : 2 * t->cap;
            t->v = realloc(t->v, t->cap * sizeof *t->v);
            if (t->v == NULL)
                abort();
        }
        struct found *f = &t->v[t->n++];
        *f = (struct found){.lsn = r.lsn};
        (void)snprintf(f->key, sizeof f->key, "%.*s", (int)r.key.size, (const char *)r.key.data);
        if (strcmp(name, "hot") == 0)
            (void)snprintf(f->value, sizeof f->value, "%.*s", (int)r.value.size,
                           (const char *)r.value.data);
        *digest = digest_add(*digest, digest_record(bytes_str(name), view(r.key),
                                                    (struct lsn){r.lsn}, view(r.value)));
    }
    tvn_scan_close(scan);
    if (rc != 0)
        (void)fprintf(stderr, "ledger: reading %s: %s\n", name, error.text);
    return rc;
}

static int by_key(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static const struct found *look_up(const struct table *t, const char *key)
{
    struct found wanted = {.lsn = 0};
    (void)snprintf(wanted.key, sizeof wanted.key, "%s", key);
    return t->n == 0 ? NULL : bsearch(&wanted, t->v, t->n, sizeof *t->v, by_key);
}

static void check_pairs(const struct table *t, struct totals *sum)
{
    for (int side = IN_A; side <= IN_B; side++)
        for (size_t i = 0; i < t[side].n; i++) {
            const struct found *f = &t[side].v[i], *other = look_up(&t[1 - side], f->key);
            if (other != NULL && other->lsn == f->lsn)
                continue;
            sum->half++;
            (void)fprintf(
                stderr, "ledger: HALF %s: at lsn %" PRIu64 " in %s, at %" PRIu64 " in %s\n", f->key,
                f->lsn, collections[side], other == NULL ? 0 : other->lsn, collections[1 - side]);
        }
    for (size_t i = 0; i < t[IN_HOT].n; i++) {
        const struct found *f = &t[IN_HOT].v[i], *other = look_up(&t[IN_A], f->value);
        if (other != NULL && other->lsn == f->lsn)
            continue;
        sum->half++;
        (void)fprintf(stderr, "ledger: HALF %s at lsn %" PRIu64 " without %s\n", f->key, f->lsn,
                      f->value);
    }
}

static int check_ledger(const struct options *o, const struct table *t, struct totals *sum)
{
    char key[KEY_BYTES], hot[KEY_BYTES];
    uint64_t lsn;
    FILE *ledger = fopen(o->ledger, "r");
    if (ledger == NULL) {
        perror(o->ledger);
        return 1;
    }
    while (fscanf(ledger, "%47s %47s %" SCNu64, key, hot, &lsn) == 3) {
        const struct found *f = look_up(&t[IN_A], key), *h = look_up(&t[IN_HOT], hot);
        if (f != NULL && f->lsn == lsn && h != NULL && h->lsn >= lsn)
            continue;
        sum->lost++;
        (void)fprintf(stderr, "ledger: LOST %s, acknowledged at lsn %" PRIu64 ", %s\n", key, lsn,
                      f == NULL       ? "is not there"
                      : f->lsn == lsn ? "but its hot record is older"
                                      : "is at another");
    }
    (void)fclose(ledger);
    return 0;
}

static int verify(const struct options *o)
{
    struct table t[COLLECTIONS] = {{.n = 0}};
    struct totals sum = {.lost = 0};
    struct tvn *db;
    struct tvn_error error;
    char hex[DIGEST_HEX_BYTES];
    int rc = tvn_open(o->uri, NULL, &db, &error);
    if (rc != 0) {
        (void)fprintf(stderr, "ledger: %s\n", error.text);
        return 2;
    }
    for (int i = 0; rc == 0 && i < COLLECTIONS; i++)
        rc = read_collection(db, collections[i], &t[i], &sum.digest);
    (void)tvn_close(db);
    if (rc == 0)
        check_pairs(t, &sum);
    if (rc == 0)
        rc = check_ledger(o, t, &sum);
    digest_hex(sum.digest, hex);
    if (rc == 0)
        (void)printf("%zu %" PRIu64 " %" PRIu64 " %s\n", t[IN_A].n, sum.lost, sum.half, hex);
    for (int i = 0; i < COLLECTIONS; i++)
        free(t[i].v);
    return rc != 0 ? 2 : sum.lost + sum.half > 0;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"uri", 1, NULL, 'u'},
                                          {"ledger", 1, NULL, 'l'},
                                          {"name", 1, NULL, 'n'},
                                          {"threads", 1, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.name = "k", .threads = 4};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'u')
            o.uri = optarg;
        else if (c == 'l')
            o.ledger = optarg;
        else if (c == 'n')
            o.name = optarg;
        else if (c == 't')
            o.threads = (unsigned)strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (optind + 1 != argc || o.uri == NULL || o.ledger == NULL || o.threads == 0 ||
        o.threads > THREADS_MAX || strlen(o.name) > 20) {
        (void)fprintf(stderr, "usage: ledger run|verify --uri URI --ledger FILE [--name NAME] "
                              "[--threads T]\n");
        return 2;
    }
    (void)signal(SIGTERM, on_signal);
    return strcmp(argv[optind], "verify") == 0 ? verify(&o) : run(&o);
}
