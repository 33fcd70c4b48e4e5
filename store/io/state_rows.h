/* The rows of the state's LMDB databases: their formats, and access to them with their checksums.
 *
 * LMDB checks nothing that it reads, so every row begins with the CRC32C of its key and of all that follows.
 *
 * FORMAT (little-endian unless in a key; str16 as in body.h)
 *   database     key                           row after the crc32c
 *   meta         "state"                       format u16, mode u8, lsn, term, time u64, hash 32, records u64,
 *                                              collections u64, next collection id u64, digest 16, history from
 *                                              lsn u64, history from time u64, history rows u64, history bytes u64
 *   meta         "doubt"                       lsn u64: the sums are to be counted again (state_recount.c)
 *   collections  name                          id u64, records u64, digest 16, deleted u64
 *   records      collection id be64, key       format u16, zero u16, lsn u64, time u64, digest 16, value
 *   buckets      number be16                   digest 16
 *   sessions     uuid                          opened lsn u64, last time u64, results u32, client str16
 *   results      session uuid, sequence be64   lsn u64, term u64, time u64
 *   points       name                          lsn u64, time u64, digest 16
 *   deleted      collection id be64, key       lsn u64, time u64, collection str16
 *   history      lsn be64, collection id be64, key
 *                                              flags u8, time u64, previous lsn u64, previous time u64, depth u32,
 *                                              jump lsn u64, value
 *   indexes      collection, '/', name, zero, id be64
 *                                              status u8, flags u8 (1 unique, 2 enforced), declared lsn u64, rows u64,
 *                                              duplicates u64, passed u64, place str16, pointers u8, each a str16
 *   index        id be64, value, record key    value's bytes u16, record key; index_key.h has the key's format
 * Collection ids are given as collections appear and differ between sites and after a restore: nothing that can be
 * observed depends on them. A collection without records has no row, unless rows of `deleted` need its id.
 *
 * A row of `history` tells what a record was BEFORE the entry of its key's lsn changed it (flags: HISTORY_*): whether it was
 * there, its version (the previous lsn and time), and its value. A record that is there is the newest version, the row of its
 * lsn leads to the version before it, and so on; a record that was deleted begins at its row of `deleted`. The depth and
 * the jump are those of store/core/jump.h. */
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
    DB_DELETED,
    DB_HISTORY,
    DB_INDEXES,
    DB_INDEX,
    DB_COUNT,
};
const char *state_db_name(enum state_db db);

enum {
    ROW_MAX_BYTES = 256,     /* all but records */
    RECORD_ROW_BYTES = 40,   /* before the value */
    COLLECTION_ID_BYTES = 8, /* before the key */
    RECORD_KEY_MAX_BYTES = COLLECTION_ID_BYTES + KEY_MAX_BYTES,
    RESULT_KEY_BYTES = 24,
    HISTORY_ROW_BYTES = 41, /* before the value */
    HISTORY_KEY_MAX_BYTES = 8 + RECORD_KEY_MAX_BYTES,
    SESSION_RESULTS_MAX = 1024,
    ROW_QUOTE_BYTES = 100,
};

struct state_row {
    struct entry_position at;
    enum commit_mode mode;
    uint64_t records, collections;
    uint64_t next_collection;
    struct digest digest;
    struct lsn
        history_from; /* the state as of an lsn can be read if and only if it is at least this */
    struct utc history_time;              /* of the entry there */
    uint64_t history_rows, history_bytes; /* of keys and rows */
    bool has_indexes; /* read: its format knows their databases; what is written always does */
};
struct collection_row {
    uint64_t id;
    uint64_t records;
    struct digest digest;
    uint64_t deleted; /* rows of `deleted` with its id */
};
struct session_row {
    struct session_info info; /* the client is a view of the row, or of what was encoded */
    uint32_t results;
};

enum history_flags {
    HISTORY_WAS_THERE = 1u << 0, /* before */
    HISTORY_IS_DELETE = 1u << 1, /* the change deleted it */
    HISTORY_DAMAGED = 1u << 2,   /* what was there could not be read when it was replaced */
};
struct history_row {
    uint32_t flags;
    struct lsn lsn; /* of the change */
    struct utc time;
    struct lsn previous; /* version before it; 0: none in the window */
    struct utc previous_time;
    uint32_t depth;
    struct lsn jump; /* 0: nowhere */
    struct bytes value;
};
struct deleted_row {
    struct lsn lsn;
    struct utc time;
    struct bytes collection;
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

/* ---- any row: what the functions below, and those of other files, are made of ---- */
/* Puts the checksum of key and contents over the first four bytes, and gives the row. */
struct bytes row_seal(struct bytes key, struct writer *w);
/* Checks it; the reader stands behind it. */
int row_open(enum state_db db, struct bytes key, struct bytes row, struct reader *out,
             struct err *e);
/* ERR_INTEGRITY unless all of the row was read. */
int row_close(enum state_db db, struct bytes key, const struct reader *r, struct err *e);
int row_damaged(enum state_db db, struct bytes key, const char *why, struct err *e);
int row_find(const struct state_txn *t, enum state_db db, struct bytes key, struct bytes *out,
             struct err *e);
int row_put(const struct state_txn *t, enum state_db db, struct bytes key, struct writer *w,
            struct err *e);

/* Get functions: 0, ERR_NOT_FOUND, ERR_INTEGRITY naming database and key; of the state's row also ERR_NEWER. Put functions
 * replace. */
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
/* The highest sequence that has one, by its key alone; 0: none has. */
int row_newest_result(const struct state_txn *t, const struct uuid *id, uint64_t *sequence,
                      struct err *e);
/* *added is false, and the older row stays, when there is one. */
int row_add_result(const struct state_txn *t, const struct uuid *id, uint64_t sequence,
                   const struct entry_position *at, bool *added, struct err *e);
int row_get_point(const struct state_txn *t, struct bytes name, struct restore_point *out,
                  struct err *e);
/* Does nothing when there is one with that name. */
int row_add_point(const struct state_txn *t, const struct restore_point *p, struct err *e);
/* The mark that the sums cannot be trusted since `since`. */
int row_get_doubt(const struct state_txn *t, struct lsn *since, struct err *e);
int row_put_doubt(const struct state_txn *t, struct lsn since, struct err *e);
int row_delete_doubt(const struct state_txn *t, struct err *e);
/* Delete by key; ERR_NOT_FOUND when it is not there. */
int row_delete(const struct state_txn *t, enum state_db db, struct bytes key, struct err *e);

/* Decode what a cursor found. */
int row_read_state(struct bytes key, struct bytes row, struct state_row *out, struct err *e);
bool row_is_doubt(struct bytes key); /* of meta */
int row_read_doubt(struct bytes key, struct bytes row, struct lsn *since, struct err *e);
int row_read_bucket(struct bytes key, struct bytes row, uint32_t *bucket, struct digest *out,
                    struct err *e);
int row_read_collection(struct bytes key, struct bytes row, struct collection_row *out,
                        struct err *e);
int row_read_session(struct bytes key, struct bytes row, struct session_row *out, struct err *e);
int row_read_result(struct bytes key, struct bytes row, struct entry_position *out, struct err *e);
int row_read_point(struct bytes key, struct bytes row, struct restore_point *out, struct err *e);
int row_read_deleted(struct bytes key, struct bytes row, struct deleted_row *out, struct err *e);
/* Checks that what it leads to is older than itself, too. */
int row_read_history(struct bytes key, struct bytes row, struct history_row *out, struct err *e);

/* ---- records ---- */
/* The row will be read soon. */
void row_prefetch(struct bytes row);
/* Key of a record; its size is COLLECTION_ID_BYTES + key.n. The key is at most KEY_MAX_BYTES. */
struct bytes row_record_key(uint64_t collection, struct bytes key,
                            uint8_t out[RECORD_KEY_MAX_BYTES]);
/* Fill a row of RECORD_ROW_BYTES + r->value.n bytes. */
void row_write_record(struct bytes row_key, const struct record *r, struct digest digest,
                      uint8_t *row);
/* Lsn, time and value (views) and digest of a record's row, with or without its checksum checked. 0, ERR_FORMAT with
 * the reason, or ERR_NEWER; the caller names collection and key. */
int row_read_record(struct bytes row_key, struct bytes row, bool checked, struct record *out,
                    struct digest *digest, struct err *e);
/* What a damaged row says, believed in nothing. False, and a digest of zero: it is too short to say anything. */
bool row_read_rotten(struct bytes row, struct lsn *lsn, struct bytes *value, struct digest *digest);

/* ---- the past: `record_key` is what row_record_key gave ---- */
int row_get_deleted(const struct state_txn *t, struct bytes record_key, struct deleted_row *out,
                    struct err *e);
int row_put_deleted(const struct state_txn *t, struct bytes record_key,
                    const struct deleted_row *row, struct err *e);
struct bytes row_history_key(struct lsn lsn, struct bytes record_key,
                             uint8_t out[HISTORY_KEY_MAX_BYTES]);
int row_get_history(const struct state_txn *t, struct lsn lsn, struct bytes record_key,
                    struct history_row *out, struct err *e);
/* After every row that is there. */
int row_append_history(const struct state_txn *t, struct bytes record_key,
                       const struct history_row *row, struct err *e);
/* Term of a version in the sums by which chains are checked (state_past.c). */
struct digest row_version_digest(struct lsn lsn, struct bytes record_key);

#endif
