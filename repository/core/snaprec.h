/* Records of a snapshot: the whole state as a sequence that is read from front to end.
 *
 * FORMAT (little-endian; str16/str32 are a u16/u32 length and that many bytes). Each record is u8 type, u32 size of the
 * rest, and the rest:
 *   1 header    magic u32 "TVNS" (0x534e5654), format u16 (1), commit mode u8 (1 majority, 2 local), reserved u8 (0),
 *               cluster uuid, lsn u64, term u64, time u64 (us), hash 32 (of the header of that entry),
 *               records u64, collections u64, digest lo u64, digest hi u64
 *   2 record    collection str16, key str16, version lsn u64, time u64, value str32
 *   3 session   session uuid, opened lsn u64, last time u64, client str16
 *   4 result    session uuid, sequence u64, lsn u64, term u64, time u64, hash 32
 *   5 point     name str16, lsn u64, time u64, digest lo u64, digest hi u64
 *   6 trailer   records u64, sessions u64, results u64, points u64, digest lo u64, digest hi u64 (counted while writing)
 * The header comes first and the trailer last; between them types never go down. Records are in memcmp order of
 * (collection, key). */
#ifndef REPOSITORY_CORE_SNAPREC_H
#define REPOSITORY_CORE_SNAPREC_H

#include "store/core/body.h"
#include "store/core/digest.h"

enum {
    REPO_SNAP_MAGIC = 0x534e5654,
    REPO_SNAP_FORMAT = 1,
    REPO_SNAP_PREFIX_BYTES = 5,
    /* Largest record besides its value. */
    REPO_SNAP_HEAD_MAX_BYTES = 1024,
};

enum repo_snap_type {
    REPO_SNAP_HEADER = 1,
    REPO_SNAP_ROW = 2,
    REPO_SNAP_SESSION = 3,
    REPO_SNAP_RESULT = 4,
    REPO_SNAP_POINT = 5,
    REPO_SNAP_TRAILER = 6,
};

struct repo_snap_header {
    enum commit_mode mode;
    struct uuid cluster_id;
    struct entry_position at;
    uint64_t records, collections;
    struct digest digest;
};
struct repo_snap_row {
    struct bytes collection, key, value;
    struct lsn lsn; /* its version */
    struct utc time;
};
struct repo_snap_session {
    struct uuid id;
    struct bytes client;
    struct lsn opened;
    struct utc last;
};
struct repo_snap_result {
    struct uuid id;
    uint64_t sequence;
    struct entry_position at;
};
struct repo_snap_point {
    struct bytes name;
    struct lsn lsn;
    struct utc time;
    struct digest digest;
};
struct repo_snap_trailer {
    uint64_t records, sessions, results, points;
    struct digest digest;
};

/* A decoded record; views into the input. */
struct repo_snap_record {
    enum repo_snap_type type;
    union {
        struct repo_snap_header header;
        struct repo_snap_row row;
        struct repo_snap_session session;
        struct repo_snap_result result;
        struct repo_snap_point point;
        struct repo_snap_trailer trailer;
    } u;
};

/* Encoders; of a row (a record of the store) only what stands before the value's bytes is written, the value follows as it is. */
void repo_snap_write_header(struct writer *w, const struct repo_snap_header *h);
void repo_snap_write_row(struct writer *w, const struct repo_snap_row *r);
void repo_snap_write_session(struct writer *w, const struct repo_snap_session *s);
void repo_snap_write_result(struct writer *w, const struct repo_snap_result *r);
void repo_snap_write_point(struct writer *w, const struct repo_snap_point *p);
void repo_snap_write_trailer(struct writer *w, const struct repo_snap_trailer *t);

/* The next record of `in`. 0, or ERR_FORMAT with offset and reason. */
int repo_snap_read(struct reader *in, struct repo_snap_record *out, struct err *e);

#endif
