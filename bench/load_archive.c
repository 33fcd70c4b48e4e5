/* Load on an archive in this process, without sites: `--target` is its directory, made when missing.
 *
 *   fill      --records versions, of a tenth as many records at random, one a transaction, JSON of about --value bytes; sealed in
 *             packs of 16 MiB and indexed as a site does. Prints rate, bytes of packs and indexes.
 *   history   one record's whole history, a record at random, --clients 1: the time from the question to the last version
 *             decoded, from an archive that is open. --limit: the newest so many.
 *
 * On a machine that has other work, too, the time of the processor tells more (cpu_p50_us, cpu_p99_us).
 *
 * The entries are those of the log: headers, hashes, salts; only the disk of the sites is missing. */
#include "bench/bench.h"

#include "repository/history.h"
#include "store/core/body.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PACK_BYTES = 16 << 20, VERSIONS_A_RECORD = 10 };

static struct {
    const struct bench_options *options;
    struct repository *repository;
    uint64_t records, versions;
    uint8_t *buffer;
    size_t used;
    struct entry_position at;
    struct err why;
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

/* ---- fill ---- */

static void seal(void)
{
    bool more = true;
    if (archive.used == 0)
        return;
    expect(repository_seal(archive.repository, archive.buffer, archive.used, NULL, NULL,
                           &archive.why));
    archive.used = 0;
    while (more)
        expect(repository_index_extend(archive.repository, &more, &archive.why));
}

static void add_entry(struct bench_random *r)
{
    static const char *const offices[] = {"Delhi", "Mumbai", "Chennai", "Kolkata", "Kochi"};
    char key[BENCH_KEY_BYTES + 1], value[1024];
    uint8_t salt[ENTRY_SALT_BYTES];
    uint64_t x = bench_random_next(r);
    bench_key(key, x % archive.records);
    for (size_t i = 0; i < sizeof salt; i += sizeof x) {
        uint64_t word = bench_random_next(r);
        memcpy(salt + i, &word, sizeof word);
    }
    int n =
        snprintf(value, sizeof value,
                 "{\"application\":\"%s\",\"born\":\"19%02u-%02u-%02u\",\"office\":\"%s\","
                 "\"state\":\"police-check\",\"fee_paid\":true,\"biometrics\":\"%016llx%016llx\","
                 "\"remarks\":\"Submitted in person with two proofs of address at %s\"}",
                 key, (unsigned)(x >> 10) % 100, 1 + (unsigned)(x >> 20) % 12,
                 1 + (unsigned)(x >> 30) % 28, offices[(x >> 40) % 5], (unsigned long long)x,
                 (unsigned long long)bench_random_next(r), offices[(x >> 50) % 5]);
    struct op op = {OP_PUT, bytes_str("passports"), bytes_str(key), bytes_of(value, (size_t)n)};
    struct body_txn t = {.level = LEVEL_MAJORITY, .client = bytes_str("app"), .op_count = 1};
    struct entry_header h = {.kind = ENTRY_TXN,
                             .cluster_id = cluster,
                             .term = {1},
                             .lsn = {archive.at.lsn.v + 1},
                             .time = {archive.at.time.us + 1000},
                             .prev_hash = archive.at.hash};
    size_t need = ENTRY_HEADER_BYTES + body_txn_bytes(&op, 1, t.client.n);
    if (archive.used + need > PACK_BYTES)
        seal();
    uint8_t *out = archive.buffer + archive.used;
    struct writer w = writer_of(out + ENTRY_HEADER_BYTES, need - ENTRY_HEADER_BYTES);
    body_write_txn(&w, salt, &t, &op);
    archive.at.hash = entry_seal(&h, bytes_of(out + ENTRY_HEADER_BYTES, w.at), out);
    archive.at = (struct entry_position){h.lsn, h.term, h.time, archive.at.hash};
    archive.used += ENTRY_HEADER_BYTES + w.at;
}

static void fill(void)
{
    struct bench_random r = bench_random_of(1);
    struct repository_status s;
    uint64_t begin = bench_now_ns();
    archive.buffer = malloc(PACK_BYTES);
    if (archive.buffer == NULL)
        bench_fail("no memory for a pack");
    archive.at.time.us = 1700000000000000;
    open_archive(false);
    repository_status(archive.repository, &s);
    if (s.packs != 0)
        bench_fail("%s holds packs already: fill a new one", archive.options->target);
    for (uint64_t i = 0; i < archive.options->records; i++)
        add_entry(&r);
    seal();
    repository_status(archive.repository, &s);
    double seconds = (double)(bench_now_ns() - begin) / 1e9;
    (void)printf(
        "{\"system\":\"%s\",\"op\":\"fill\",\"versions\":%u,\"packs\":%llu,\"indexes\":%llu,"
        "\"plain_bytes\":%llu,\"pack_bytes\":%llu,\"ratio\":%.4f,\"seconds\":%.1f,"
        "\"mib_per_s\":%.1f}\n",
        archive.options->system, archive.options->records, (unsigned long long)s.packs,
        (unsigned long long)s.indexes, (unsigned long long)s.plain_bytes,
        (unsigned long long)s.pack_bytes, (double)s.pack_bytes / (double)s.plain_bytes, seconds,
        (double)s.plain_bytes / seconds / (1 << 20));
    repository_close(archive.repository);
    free(archive.buffer);
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
    if (options.op == BENCH_FILL)
        fill();
    else if (strcmp(options.op_name, "history") == 0)
        history();
    else
        bench_fail("--op: fill or history");
    return 0;
}
