/* The rows of the state's LMDB databases: their formats, and access to them with their checksums.
 *
 * LMDB checks nothing that it reads, so every row begins with the CRC32C of its key and of all that follows.
 *
 * FORMAT (little-endian unless in a key; str16 as in body.h)
 *   database     key                           row after the crc32c
 *   meta         "state"                       format u16, mode u8, lsn, term, time u64, hash 32, records u64,
 *                                              collections u64, next collection id u64, digest 16
 *   collections  name                          id u64, records u64, digest 16
 *   records      collection id be64, key       format u16, zero u16, lsn u64, time u64, digest 16, value
 *   buckets      number be16                   digest 16
 *   sessions     uuid                          opened lsn u64, last time u64, results u32, client str16
 *   results      session uuid, sequence be64   lsn u64, term u64, time u64
 *   points       name                          lsn u64, time u64, digest 16
 * Collection ids are given as collections appear and differ between sites and after a restore: nothing that can be
 * observed depends on them. A collection without records has no row. */
#ifndef STORE_IO_STATE_ROWS_H
#define STORE_IO_STATE_ROWS_H

#include "store/state.h"

#include <lmdb.h>

enum state_db {
    DB_META,
    DB_COLLECTIONS,
    DB_RECORDS,
    DB_BUCKETS,
    DB_SESSIONS,
    DB_RESULTS,
    DB_POINTS,
    DB_COUNT,
};
const char *state_db_name(enum state_db db);

enum {
    ROW_MAX_BYTES = 256,     /* all but records */
    RECORD_ROW_BYTES = 40,   /* before the value */
    COLLECTION_ID_BYTES = 8, /* before the key */
    RECORD_KEY_MAX_BYTES = COLLECTION_ID_BYTES + KEY_MAX_BYTES,
    RESULT_KEY_BYTES = 24,
    SESSION_RESULTS_MAX = 1024,
    ROW_QUOTE_BYTES = 100,
};

struct state_row {
    struct entry_position at;
    enum commit_mode mode;
    uint64_t records, collections;
    uint64_t next_collection;
    struct digest digest;
};
struct collection_row {
    uint64_t id;
    uint64_t records;
    struct digest digest;
};
struct session_row {
    struct session_info info; /* the client is a view of the row, or of what was encoded */
    uint32_t results;
};

/* One LMDB transaction and the handles that it is used with. */
struct state_txn {
    MDB_txn *txn;
    const MDB_dbi *dbi; /* DB_COUNT */
};

static inline MDB_val val_of(struct bytes b)
{
    return (MDB_val){b.n, (void *)(uintptr_t)b.p};
}
static inline struct bytes bytes_of_val(MDB_val v)
{
    return bytes_of(v.mv_data, v.mv_size);
}

/* What LMDB's or the system's code means here: a code of ours, with what to do. `env` may be NULL. */
int state_lmdb_error(struct err *e, MDB_env *env, int rc, const char *what);

/* A name or key for a message: printable characters as they are, others as \xNN, cut with "...". */
const char *row_quote(struct bytes b, char out[ROW_QUOTE_BYTES]);

/* Get functions: 0, ERR_NOT_FOUND, ERR_INTEGRITY naming database and key. Put functions replace. */
int row_get_state(const struct state_txn *t, struct state_row *out, struct err *e);
int row_put_state(const struct state_txn *t, const struct state_row *row, struct err *e);

int row_get_collection(const struct state_txn *t, struct bytes name, struct collection_row *out,
                       struct err *e);
int row_put_collection(const struct state_txn *t, struct bytes name,
                       const struct collection_row *row, struct err *e);
int row_get_bucket(const struct state_txn *t, uint32_t bucket, struct digest *out, struct err *e);
int row_put_bucket(const struct state_txn *t, uint32_t bucket, struct digest digest, unsigned flags,
                   struct err *e);
int row_get_session(const struct state_txn *t, const struct uuid *id, struct session_row *out,
                    struct err *e);
int row_put_session(const struct state_txn *t, const struct uuid *id, const struct session_row *row,
                    struct err *e);
int row_get_result(const struct state_txn *t, const struct uuid *id, uint64_t sequence,
                   struct entry_position *out, struct err *e);
/* *added is false, and the older row stays, when there is one. */
int row_add_result(const struct state_txn *t, const struct uuid *id, uint64_t sequence,
                   const struct entry_position *at, bool *added, struct err *e);
int row_get_point(const struct state_txn *t, struct bytes name, struct restore_point *out,
                  struct err *e);
/* Does nothing when there is one with that name. */
int row_add_point(const struct state_txn *t, const struct restore_point *p, struct err *e);
/* Delete by key; ERR_NOT_FOUND when it is not there. */
int row_delete(const struct state_txn *t, enum state_db db, struct bytes key, struct err *e);

/* Decode what a cursor found. */
int row_read_state(struct bytes key, struct bytes row, struct state_row *out, struct err *e);
int row_read_bucket(struct bytes key, struct bytes row, uint32_t *bucket, struct digest *out,
                    struct err *e);
int row_read_collection(struct bytes key, struct bytes row, struct collection_row *out,
                        struct err *e);
int row_read_session(struct bytes key, struct bytes row, struct session_row *out, struct err *e);
int row_read_result(struct bytes key, struct bytes row, struct entry_position *out, struct err *e);
int row_read_point(struct bytes key, struct bytes row, struct restore_point *out, struct err *e);

/* ---- records ---- */
/* Key of a record; its size is COLLECTION_ID_BYTES + key.n. The key is at most KEY_MAX_BYTES. */
struct bytes row_record_key(uint64_t collection, struct bytes key,
                            uint8_t out[RECORD_KEY_MAX_BYTES]);
/* Fill a row of RECORD_ROW_BYTES + r->value.n bytes. */
void row_write_record(struct bytes row_key, const struct record *r, struct digest digest,
                      uint8_t *row);
/* Lsn, time and value (views) and digest of a record's row, with or without its checksum checked. 0 or ERR_FORMAT with
 * the reason; the caller names collection and key. */
int row_read_record(struct bytes row_key, struct bytes row, bool checked, struct record *out,
                    struct digest *digest, struct err *e);

#endif
