/* The archive's foreign bytes: names, seek tables, snapshot records, references of indexes, the sealed JSON files, whole objects.
 * Seals and tags are made here, because no fuzzer would guess them: what is tested is what lies behind them. The first byte
 * chooses. */
#include "repository/core/keyref.h"
#include "repository/core/snaprec.h"
#include "repository/io/container.h"
#include "repository/io/meta.h"

#include "store/core/check.h"
#include "store/core/hash.h"
#include "store/core/hex.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct repo_key key = {{1, 2, 3}};
static const struct uuid cluster = {{4, 5, 6}};
static const char identity[] = "triveni/1|fuzz";

static void names(struct bytes in)
{
    char text[REPO_NAME_BYTES + 20], again[REPO_NAME_BYTES], object[REPO_NAME_BYTES];
    struct repo_name n;
    if (in.n >= sizeof text)
        return;
    memcpy(text, in.p, in.n);
    text[in.n] = '\0';
    if (repo_name_parse(text, &n) == 0) {
        repo_name_format(&n, again);
        check(strcmp(text, again) == 0);
    }
    if (repo_name_of_meta(text, again) == 0)
        check(repo_name_parse(again, &n) == 0);
    unsigned generation;
    bool retired;
    if (repo_name_of_key(text, object, &generation) == 0) {
        check(repo_name_parse(object, &n) == 0);
        repo_name_key(object, generation, again);
        check(strcmp(text, again) == 0);
    }
    if (repo_name_of_generation(text, &generation, &retired) == 0) {
        repo_name_generation(generation, retired, again);
        check(strcmp(text, again) == 0);
    }
}

static void table(struct bytes in)
{
    struct repo_frame frames[256];
    uint32_t n;
    uint64_t stream = in.n + 1000;
    if (in.n < repo_seek_bytes(0) ||
        repo_seek_count(in.p + in.n - REPO_SEEK_FOOTER_BYTES, stream, &n, NULL) != 0 || n > 256)
        return;
    if (repo_seek_decode(in, n, stream, frames, NULL) == 0)
        for (uint32_t i = 0; i < n; i++)
            check(frames[i].offset + frames[i].bytes <= stream - in.n);
}

/* What was decoded is encoded to the same bytes. */
static void references(struct bytes in)
{
    struct reader r = reader_of(in);
    struct repo_keyref x;
    uint8_t again[REPO_KEYREF_MAX_BYTES];
    for (size_t at = 0; r.at < r.n && repo_keyref_read(&r, &x, NULL) == 0; at = r.at) {
        struct writer w = writer_of(again, sizeof again);
        repo_keyref_write(&w, &x);
        check(!w.bad && bytes_equal(bytes_of(again, w.at), bytes_of(in.p + at, r.at - at)));
    }
}

static void records(struct bytes in)
{
    struct reader r = reader_of(in);
    struct repo_snap_record x;
    while (r.at < r.n && repo_snap_read(&r, &x, NULL) == 0)
        ;
}

/* `in` as the first line of a text file, sealed. */
static void text(struct bytes in, unsigned kind)
{
    static const char pack[] = "packs/00000000000000000001-00000000000000000002-1-00000000.pack";
    static const char snapshot[] = "snapshots/00000000000000000002-00000000.snap";
    static const char index[] = "indexes/00000000000000000001-00000000000000000002-00000000.index";
    struct repo_index x;
    struct sha256 seal;
    struct repo_about about;
    struct repo_wrapped wrapped;
    struct repo_pack p, counted;
    struct repo_snapshot s;
    struct repo_frame_start *frames = NULL;
    uint8_t *again = NULL;
    size_t n = 0;
    char hex[65];
    char *file = malloc(in.n + 120);
    check(file != NULL);
    memcpy(file, in.p, in.n);
    file[in.n] = '\n';
    struct bytes line = bytes_of(file, in.n + 1);
    if (kind == 0)
        seal = hash_sha256(line);
    else
        check(repo_mac(&key, identity, line, seal.b, NULL) == 0);
    hex_format(seal.b, 32, hex);
    int tail = snprintf(file + line.n, 119, "{\"%s\":\"%s\"}\n", kind == 0 ? "sha256" : "mac", hex);
    struct bytes all = bytes_of(file, line.n + (size_t)tail);
    switch (kind) {
    case 0:
        (void)repo_about_read(all, &about, NULL);
        break;
    case 1:
        (void)repo_wrapped_read(all, &wrapped, NULL);
        break;
    case 2:
        if (repo_snapshot_read(all, &cluster, snapshot, &key, identity, &s, NULL) == 0)
            check(repo_snapshot_write(&s, &cluster, &key, identity, &again, &n, NULL) == 0);
        break;
    case 5:
        if (repo_index_read(all, &cluster, index, &key, identity, &x, NULL) == 0)
            check(repo_index_write(&x, &cluster, &key, identity, &again, &n, NULL) == 0);
        break;
    default:
        if (repo_pack_read(all, &cluster, pack, &key, identity, &p, &frames, NULL) == 0) {
            check(repo_pack_write(&p, frames, &cluster, &key, identity, &again, &n, NULL) == 0);
            check(repo_pack_read(all, &cluster, pack, &key, identity, &counted, NULL, NULL) == 0);
            check(counted.frames == p.frames);
            repo_pack_release(&counted);
            repo_pack_release(&p);
        } else if (repo_pack_read(all, &cluster, pack, &key, identity, &counted, NULL, NULL) == 0) {
            repo_pack_release(&counted);
        }
        free(frames);
    }
    free(again);
    free(file);
}

/* `in` as the compressed stream of an object with good tags; then `in` as the object itself. */
static void object(struct bytes in)
{
    uint8_t header[REPO_CIPHER_HEADER_BYTES], *out = malloc(in.n + sizeof header + REPO_TAG_BYTES);
    struct repo_container_facts facts;
    struct repo_cipher *c;
    if (in.n > REPO_FIRST_PLAIN_BYTES) {
        free(out);
        return;
    }
    check(out != NULL && repo_cipher_new(&c, true, &key, identity, header, NULL) == 0);
    memcpy(out, header, sizeof header);
    check(repo_cipher_seal(c, 0, true, in, out + sizeof header, NULL) == 0);
    repo_cipher_free(c);
    size_t n = in.n + sizeof header + REPO_TAG_BYTES;
    int fd = memfd_create("object", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, out, n) == (ssize_t)n);
    struct repo_blob blob = {.fd = fd, .bytes = n};
    (void)repo_reader_facts(&blob, &key, identity, NULL, NULL, &facts, NULL);
    check(ftruncate(fd, 0) == 0 && pwrite(fd, in.p, in.n, 0) == (ssize_t)in.n);
    blob.bytes = in.n;
    check(repo_reader_facts(&blob, &key, identity, NULL, NULL, &facts, NULL) != 0);
    (void)close(fd);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    switch (data[0] % 10) {
    case 0:
        names(in);
        break;
    case 1:
        table(in);
        break;
    case 2:
        records(in);
        break;
    case 3:
        object(in);
        break;
    case 8:
        references(in);
        break;
    default: /* 4 to 7, and 9 */
        text(in, data[0] % 10 - 4);
    }
    return 0;
}
