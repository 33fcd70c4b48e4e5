/* Rows of a state that are wrong under a right checksum, as a bug of ours or of the machine would leave them: changed in the file
 * of a state that is open, where LMDB maps it. */
#ifndef TESTS_STATE_TAMPER_H
#define TESTS_STATE_TAMPER_H

#include "store/core/hash.h"
#include "tests/unit/store/io/state_kit.h"

/* Every row of `row_bytes` bytes under `key`, old copies of its page included: add `by` to byte `at` of it, and seal it anew. */
static inline void tamper(const char *dir, struct bytes key, size_t row_bytes, size_t at,
                          uint8_t by)
{
    char path[128];
    size_t n, changed = 0;
    uint8_t *p = kit_read(dir, "data.mdb", &n);
    const uint32_t crc = hash_crc32c(0, key);
    kit_path(path, dir, "data.mdb");
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (size_t i = 0; i + row_bytes <= n; i++) {
        /* A row lies right behind its key. */
        if (i < key.n || memcmp(p + i - key.n, key.p, key.n) != 0 ||
            hash_crc32c(crc, bytes_of(p + i + 4, row_bytes - 4)) != get_le32(p + i))
            continue;
        p[i + at] = (uint8_t)(p[i + at] + by);
        put_le32(p + i, hash_crc32c(crc, bytes_of(p + i + 4, row_bytes - 4)));
        assert_int_equal(pwrite(fd, p + i, row_bytes, (off_t)i), (ssize_t)row_bytes);
        changed++;
    }
    assert_true(changed > 0);
    (void)close(fd);
    free(p);
}

/* Where fields begin in rows of their size (store/io/state_rows.h). */
enum {
    TAMPER_STATE_BYTES = 135,
    TAMPER_STATE_RECORDS = 63,
    TAMPER_STATE_COLLECTIONS = 71,
    TAMPER_STATE_DIGEST = 87,
    TAMPER_STATE_HISTORY_ROWS = 119,
    TAMPER_STATE_HISTORY_BYTES = 127,
    TAMPER_COLLECTION_BYTES = 44,
    TAMPER_COLLECTION_RECORDS = 12,
    TAMPER_COLLECTION_DIGEST = 20,
    TAMPER_COLLECTION_DELETED = 36,
    TAMPER_BUCKET_BYTES = 20,
    TAMPER_BUCKET_DIGEST = 4,
    TAMPER_RECORD_BYTES = 40, /* and the value */
    TAMPER_RECORD_DIGEST = 24,
    TAMPER_RECORD_LSN = 8,
};

#endif
