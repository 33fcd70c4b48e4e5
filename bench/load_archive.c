/* Load on an archive in this process, without sites: `--target` is its directory, made when missing. There are --records versions
 * of a tenth as many records at random, each a transaction of its own: JSON of about 350 bytes, invented passport applications.
 * The same number is the same version, in each run.
 *
 *   fill      the versions after those that are there, --limit: up to this one. Sealed in packs of 16 MiB and indexed as a site
 *             does. Prints bytes, and the time that it took without that of making the versions. Version n has lsn n and was
 *             committed n ms after 2023-11-14T22:13:20Z.
 *   archive   the same, and they are taken into the signed tree, too: all that the archiver of a site does.
 *   base      a snapshot of the state at the archive's end, which is restored for it into TARGET.base.
 *   print     the versions as lines "n TAB key TAB value", for peers; --limit: up to this one.
 *   history   one record's whole history, a record at random, --clients 1: the time from the question to the last version
 *             decoded, from an archive that is open. --limit: the newest so many.
 *
 * On a machine that has other work, too, the time of the processor tells more (cpu_p50_us, cpu_p99_us).
 *
 * The entries are those of the log: headers, hashes, salts; only the disk of the sites is missing. */
#include "bench/bench.h"

#include "repository/history.h"
#include "repository/proof.h"
#include "repository/repository.h"
#include "store/core/body.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    PACK_BYTES = 16 << 20,
    VERSIONS_A_RECORD = 10,
    STEP_US = 1000, /* between two versions */
    TREE_PORTION_ENTRIES = 16384,
};
static const uint64_t BEGIN_US = UINT64_C(1700000000000000);

static struct {
    const struct bench_options *options;
    struct repository *repository;
    uint64_t records, versions;
    uint8_t *buffer;
    size_t used;
    struct entry_position at;
    struct err why;
    bool tree; /* the entries are taken into it */
    uint64_t seal_ns, index_ns, tree_ns;
} archive;

static void expect(int rc)
{
    if (rc != 0)
        bench_fail("%s", archive.why.text);
}

static const struct uuid cluster = {
    {'b', 'e', 'n', 'c', 'h', 0x41, 6, 7, 0x80, 9, 1, 1, 1, 1, 1, 1}};

/* A KEK beside the archive, as any key file: only its owner reads it. */
static void key_file(char out[4096])
{
    static const char key[] = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
    if (snprintf(out, 4096, "%s.kek", archive.options->target) >= 4096)
        bench_fail("--target is too long");
    int fd = open(out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && (write(fd, key, sizeof key - 1) != (ssize_t)sizeof key - 1 || close(fd) != 0))
        bench_fail("%s: cannot be written", out);
}

static void open_archive(bool read_only)
{
    char kek[4096];
    key_file(kek);
    const struct repository_options o = {.dir = archive.options->target,
                                         .kek_file = kek,
                                         .cluster_id = cluster,
                                         .cluster = "bench",
                                         .create = !read_only,
                                         .read_only = read_only};
    expect(repository_open(&archive.repository, &o, &archive.why));
}

/* ---- versions ---- */

struct version {
    char key[BENCH_KEY_BYTES + 1], value[512];
    size_t bytes; /* of value */
    uint8_t salt[ENTRY_SALT_BYTES];
};

/* A good mixer between numbers that follow each other (splitmix64, Steele, Lea and Flood 2014). */
static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void make_version(uint64_t n, struct version *v)
{
    static const char *const names[] = {"Asha",   "Ravi",   "Meera",  "Arjun", "Lakshmi", "Imran",
                                        "Fatima", "Joseph", "Tenzin", "Kavya", "Suresh",  "Neha"};
    static const char *const offices[] = {"Delhi", "Mumbai",    "Chennai", "Kolkata",
                                          "Kochi", "Bengaluru", "Jaipur",  "Lucknow"};
    static const char *const states[] = {"received", "verified", "police-check",
                                         "approved", "printed",  "dispatched"};
    struct bench_random r = {mixed(n + 1) | 1};
    const uint64_t x = bench_random_next(&r), y = bench_random_next(&r),
                   record = x % archive.records;
    const uint64_t who = mixed(record + UINT64_C(0x9e3779b97f4a7c15)); /* what does not change */
    bench_key(v->key, record);
    for (size_t i = 0; i < sizeof v->salt; i += sizeof x) {
        const uint64_t word = bench_random_next(&r);
        memcpy(v->salt + i, &word, sizeof word);
    }
    const char *office = offices[(who >> 40) % 8];
    v->bytes = (size_t)snprintf(
        v->value, sizeof v->value,
        "{\"application\":\"%s\",\"given_name\":\"%s\",\"family_name\":\"%s\","
        "\"born\":\"%04u-%02u-%02u\",\"office\":\"%s\",\"state\":\"%s\",\"fee_paid\":%s,"
        "\"address\":\"House %u, Ward %u, near the post office, %s\","
        "\"biometrics\":\"%016llx%016llx\","
        "\"remarks\":\"File %llu of the %s office, submitted in person with two proofs of "
        "address\"}",
        v->key, names[who % 12], names[(who >> 8) % 12], 1940 + (unsigned)(who >> 16) % 80,
        1 + (unsigned)(who >> 24) % 12, 1 + (unsigned)(who >> 32) % 28, office, states[y % 6],
        (y >> 8) % 32 != 0 ? "true" : "false", (unsigned)(who >> 20) % 400,
        (unsigned)(who >> 30) % 60, office, (unsigned long long)who, (unsigned long long)mixed(who),
        (unsigned long long)record, office);
}

/* The first one that is not wanted any more. */
static uint64_t end_of_versions(void)
{
    const struct bench_options *o = archive.options;
    return o->limit != 0 && o->limit < o->records ? o->limit : o->records;
}

static void print_versions(void)
{
    for (uint64_t n = 0; n < end_of_versions(); n++) {
        struct version v;
        make_version(n, &v);
        if (printf("%llu\t%s\t%s\n", (unsigned long long)n + 1, v.key, v.value) < 0)
            bench_fail("cannot be printed");
    }
}

/* ---- fill ---- */

static void seal(void)
{
    bool more = true;
    if (archive.used == 0)
        return;
    const uint64_t begin = bench_now_ns();
    expect(repository_seal(archive.repository, archive.buffer, archive.used, NULL, NULL,
                           &archive.why));
    const uint64_t sealed = bench_now_ns();
    while (more)
        expect(repository_index_extend(archive.repository, &more, &archive.why));
    const uint64_t indexed = bench_now_ns();
    struct repository_status s;
    repository_status(archive.repository, &s);
    while (archive.tree && s.proven.v < s.archived.lsn.v) {
        expect(repository_tree_extend(archive.repository, TREE_PORTION_ENTRIES, &archive.why));
        repository_status(archive.repository, &s);
    }
    archive.seal_ns += sealed - begin;
    archive.index_ns += indexed - sealed;
    archive.tree_ns += bench_now_ns() - indexed;
    archive.used = 0;
}

static void add_entry(uint64_t n)
{
    struct version v;
    make_version(n, &v);
    struct op op = {OP_PUT, bytes_str("passports"), bytes_str(v.key), bytes_of(v.value, v.bytes)};
    struct body_txn t = {.level = LEVEL_MAJORITY, .client = bytes_str("app"), .op_count = 1};
    struct entry_header h = {.kind = ENTRY_TXN,
                             .cluster_id = cluster,
                             .term = {1},
                             .lsn = {archive.at.lsn.v + 1},
                             .time = {BEGIN_US + (n + 1) * STEP_US},
                             .prev_hash = archive.at.hash};
    size_t need = ENTRY_HEADER_BYTES + body_txn_bytes(&op, 1, t.client.n);
    if (archive.used + need > PACK_BYTES)
        seal();
    uint8_t *out = archive.buffer + archive.used;
    struct writer w = writer_of(out + ENTRY_HEADER_BYTES, need - ENTRY_HEADER_BYTES);
    body_write_txn(&w, v.salt, &t, &op);
    archive.at.hash = entry_seal(&h, bytes_of(out + ENTRY_HEADER_BYTES, w.at), out);
    archive.at = (struct entry_position){h.lsn, h.term, h.time, archive.at.hash};
    archive.used += ENTRY_HEADER_BYTES + w.at;
}

/* The key that signs the tree, beside the archive. */
static void open_tree(void)
{
    char key[4096], vkey[TLOG_VKEY_BYTES];
    bool made;
    if (snprintf(key, sizeof key, "%s.checkpoint-key", archive.options->target) >= (int)sizeof key)
        bench_fail("--target is too long");
    expect(repository_tree_open(archive.repository, key, vkey, &made, &archive.why));
}

static void fill(void)
{
    struct repository_status before, s;
    archive.buffer = malloc(PACK_BYTES);
    if (archive.buffer == NULL)
        bench_fail("no memory for a pack");
    open_archive(false);
    if (archive.tree)
        open_tree();
    repository_status(archive.repository, &before);
    archive.at = before.archived;
    for (uint64_t n = before.archived.lsn.v; n < end_of_versions(); n++)
        add_entry(n);
    seal();
    repository_status(archive.repository, &s);
    const uint64_t plain = s.plain_bytes - before.plain_bytes;
    const double seconds = (double)(archive.seal_ns + archive.index_ns + archive.tree_ns) / 1e9;
    (void)printf("{\"system\":\"%s\",\"op\":\"%s\",\"versions\":%llu,\"packs\":%llu,"
                 "\"indexes\":%llu,\"plain_bytes\":%llu,\"pack_bytes\":%llu,\"ratio\":%.4f,"
                 "\"seal_s\":%.2f,\"index_s\":%.2f,\"tree_s\":%.2f,\"mb_per_s\":%.1f}\n",
                 archive.options->system, archive.options->op_name,
                 (unsigned long long)(s.archived.lsn.v - before.archived.lsn.v),
                 (unsigned long long)s.packs, (unsigned long long)s.indexes,
                 (unsigned long long)plain, (unsigned long long)(s.pack_bytes - before.pack_bytes),
                 (double)s.pack_bytes / (double)s.plain_bytes, (double)archive.seal_ns / 1e9,
                 (double)archive.index_ns / 1e9, (double)archive.tree_ns / 1e9,
                 (double)plain / seconds / 1e6);
    repository_close(archive.repository);
    free(archive.buffer);
}

/* ---- base ---- */

static void base(void)
{
    char into[4096], state_dir[4096 + 8];
    const struct restore_target end = {.lsn = {0}};
    struct restore_plan plan;
    struct restore_result result;
    struct state *state;
    struct state_snapshot *snap;
    struct repository_status s;
    if (snprintf(into, sizeof into, "%s.base", archive.options->target) >= (int)sizeof into)
        bench_fail("--target is too long");
    (void)snprintf(state_dir, sizeof state_dir, "%s/state", into);
    open_archive(false);
    expect(repository_plan(archive.repository, &end, &plan, &archive.why));
    expect(repository_restore(archive.repository, &plan, into, NULL, NULL, &result, &archive.why));
    expect(state_open(&state, &(struct state_options){.dir = state_dir}, &archive.why));
    expect(state_snapshot_open(state, &snap, &archive.why));
    const uint64_t begin = bench_now_ns();
    expect(repository_snapshot(archive.repository, snap, &archive.why));
    const double seconds = (double)(bench_now_ns() - begin) / 1e9;
    repository_status(archive.repository, &s);
    (void)printf("{\"system\":\"%s\",\"op\":\"base\",\"lsn\":%llu,\"records\":%llu,"
                 "\"plain_bytes\":%llu,\"seconds\":%.2f,\"mb_per_s\":%.1f}\n",
                 archive.options->system, (unsigned long long)plan.lsn.v,
                 (unsigned long long)result.records, (unsigned long long)s.snapshot_plain_bytes,
                 seconds, (double)s.snapshot_plain_bytes / seconds / 1e6);
    state_snapshot_close(snap);
    state_close(state);
    repository_close(archive.repository);
}

/* ---- history ---- */

static int count_version(void *arg, const struct evidence *v)
{
    uint64_t *left = arg;
    archive.versions += v->op.value.n != 0;
    return --*left == 0;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
        bench_fail("no clock for the time of the processor");
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void history(void)
{
    static struct histogram h, cpu;
    struct bench_random r = bench_random_of(2);
    struct repository_status s;
    uint64_t begin = bench_now_ns(), asked = 0, until;
    open_archive(true);
    repository_status(archive.repository, &s);
    double open_ms = (double)(bench_now_ns() - begin) / 1e6;
    begin = bench_now_ns();
    until = begin + archive.options->seconds * UINT64_C(1000000000);
    for (uint64_t now = begin; now < until; asked++) {
        char key[BENCH_KEY_BYTES + 1];
        uint64_t left = archive.options->limit != 0 ? archive.options->limit : UINT64_MAX;
        bench_key(key, bench_random_next(&r) % archive.records);
        const struct repository_query q = {
            .collection = bytes_str("passports"), .key = bytes_str(key), .to = s.archived.lsn};
        uint64_t cpu_before = cpu_ns();
        int rc = repository_history(archive.repository, &q, count_version, &left, &archive.why);
        expect(rc < 0 ? rc : 0);
        uint64_t after = bench_now_ns();
        histogram_add(&h, after - now);
        histogram_add(&cpu, cpu_ns() - cpu_before);
        now = after;
    }
    (void)printf("{\"system\":\"%s\",\"op\":\"history\",\"asked\":%llu,\"versions\":%llu,"
                 "\"packs\":%llu,\"indexes\":%llu,\"open_ms\":%.1f,\"p50_us\":%.0f,\"p99_us\":%.0f,"
                 "\"p999_us\":%.0f,\"cpu_p50_us\":%.0f,\"cpu_p99_us\":%.0f}\n",
                 archive.options->system, (unsigned long long)asked,
                 (unsigned long long)archive.versions, (unsigned long long)s.packs,
                 (unsigned long long)s.indexes, open_ms, (double)histogram_at(&h, 500) / 1e3,
                 (double)histogram_at(&h, 990) / 1e3, (double)histogram_at(&h, 999) / 1e3,
                 (double)histogram_at(&cpu, 500) / 1e3, (double)histogram_at(&cpu, 990) / 1e3);
    repository_close(archive.repository);
}

int main(int argc, char **argv)
{
    static struct bench_options options;
    bench_parse(argc, argv, &options);
    archive.options = &options;
    archive.records = options.records < VERSIONS_A_RECORD ? 1 : options.records / VERSIONS_A_RECORD;
    archive.tree = strcmp(options.op_name, "archive") == 0;
    if (options.op == BENCH_FILL || archive.tree)
        fill();
    else if (strcmp(options.op_name, "base") == 0)
        base();
    else if (strcmp(options.op_name, "print") == 0)
        print_versions();
    else if (strcmp(options.op_name, "history") == 0)
        history();
    else
        bench_fail("--op: fill, archive, base, print or history");
    return 0;
}
