/* Formats of the state's rows (state_rows.h) and access to single ones.
 *
 * Each row goes through the same two functions: row_seal() puts the checksum of key and contents in front, row_open() checks
 * it and hands a bounded reader to the decoder. So a flipped bit anywhere in a row, or a row found under
 * another key, is an error that names database and key, never a wrong answer. */
#include "store/io/state_rows.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { STATE_FORMAT = 3, STATE_FORMAT_OLDEST = 2, RECORD_FORMAT = 1, CRC_BYTES = 4 };
enum { WRITE_MAX_BYTES = VALUE_MAX_BYTES + (1 << 20) }; /* by LMDB at once: a value's pages */
enum { PREFETCH_STEP_BYTES = 64, PREFETCH_MAX_BYTES = 4096 };

static const char *const db_names[DB_COUNT] = {"meta",     "collections", "records", "buckets",
                                               "sessions", "results",     "points",  "deleted",
                                               "history",  "indexes",     "index"};
static const struct bytes state_key = {(const uint8_t *)"state", 5};
static const struct bytes doubt_key = {(const uint8_t *)"doubt", 5};

const char *state_db_name(enum state_db db)
{
    check((unsigned)db < DB_COUNT);
    return db_names[db];
}

/* ---- errors ---- */

/* LMDB answers EIO to a short write, which is what a full disk, a quota or a size limit gives first. The next write
 * tells: a page after the end of the file, where LMDB has nothing yet. But on a disk that others fill or empty just now, or whose
 * file system has kept some blocks back, one page may have room again where many had none: so less than LMDB writes at
 * once is full, too. Should it be a broken disk after all, it is told as a full one for as long as it is that full. */
static bool disk_is_full(MDB_env *env)
{
    static const uint8_t page[4096];
    mdb_filehandle_t fd;
    struct stat st;
    struct statvfs room;
    if (env == NULL || mdb_env_get_fd(env, &fd) != 0 || fstat(fd, &st) != 0)
        return false;
    ssize_t n = pwrite(fd, page, sizeof page, st.st_size);
    if (n >= 0 ? n < (ssize_t)sizeof page : errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
        return true;
    return fstatvfs(fd, &room) == 0 && room.f_bavail < WRITE_MAX_BYTES / room.f_frsize;
}

int state_lmdb_error(struct err *e, MDB_env *env, int rc, const char *what)
{
    switch (rc) {
    case EIO:
        if (!disk_is_full(env))
            break;
        __attribute__((fallthrough));
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return err_set(
            e, ERR_NO_SPACE,
            "%s: no space is left for data.mdb; nothing was lost: free space, or finish a "
            "checkpoint so that old pages can be used again, and apply again",
            what);
    case MDB_MAP_FULL:
        return err_set(e, ERR_NO_SPACE,
                       "%s: the map of the state is full; restart with a larger map_bytes", what);
    case MDB_NOTFOUND:
        return err_set(e, ERR_NOT_FOUND, "%s: not found", what);
    case MDB_READERS_FULL:
        return err_set(e, ERR_BUSY, "%s: all reader places are taken", what);
    case ENOMEM:
        return err_set(e, ERR_NO_MEMORY, "%s: out of memory", what);
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
        return err_set(
            e, ERR_INTEGRITY,
            "%s: data.mdb is damaged (%s); stop the site, move its state directory away and "
            "restore the state from the repository",
            what, mdb_strerror(rc));
    case MDB_PANIC:
        return err_set(
            e, ERR_IO,
            "%s: an earlier write to data.mdb failed; restart the site, it goes on from its "
            "checkpoint",
            what);
    default:
        break;
    }
    return err_set(e, rc > 0 ? ERR_IO : ERR_FAILED, "%s: %s", what, mdb_strerror(rc));
}

const char *row_quote(struct bytes b, char out[ROW_QUOTE_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < b.n; i++) {
        if (at + 4 + 4 > ROW_QUOTE_BYTES) { /* room for "\xNN" and for "..." and the end */
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        uint8_t c = b.p[i];
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            out[at++] = (char)c;
        } else {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = hex[c >> 4];
            out[at++] = hex[c & 15];
        }
    }
    out[at] = '\0';
    return out;
}

/* ---- any row ---- */

static struct writer row_begin(uint8_t out[ROW_MAX_BYTES])
{
    struct writer w = writer_of(out, ROW_MAX_BYTES);
    write_u32(&w, 0);
    return w;
}

static uint32_t row_crc(struct bytes key, struct bytes row)
{
    return hash_crc32c(hash_crc32c(0, key), bytes_of(row.p + CRC_BYTES, row.n - CRC_BYTES));
}

struct bytes row_seal(struct bytes key, struct writer *w)
{
    check(!w->bad);
    struct bytes row = bytes_of(w->p, w->at);
    put_le32(w->p, row_crc(key, row));
    return row;
}

int row_damaged(enum state_db db, struct bytes key, const char *why, struct err *e)
{
    char quoted[ROW_QUOTE_BYTES];
    return err_set(e, ERR_INTEGRITY,
                   "state: row '%s' of %s: %s; verify the state and rebuild it from the repository",
                   row_quote(key, quoted), db_names[db], why);
}

int row_open(enum state_db db, struct bytes key, struct bytes row, struct reader *out,
             struct err *e)
{
    if (row.n < CRC_BYTES || get_le32(row.p) != row_crc(key, row))
        return row_damaged(db, key, "checksum mismatch", e);
    *out = reader_of(row);
    out->at = CRC_BYTES;
    return 0;
}

int row_close(enum state_db db, struct bytes key, const struct reader *r, struct err *e)
{
    return reader_done(r) ? 0 : row_damaged(db, key, "its size is wrong", e);
}

int row_find(const struct state_txn *t, enum state_db db, struct bytes key, struct bytes *out,
             struct err *e)
{
    MDB_val k = val_of(key), v;
    int rc = mdb_get(t->txn, t->dbi[db], &k, &v);
    if (rc != 0)
        return state_lmdb_error(e, mdb_txn_env(t->txn), rc, db_names[db]);
    *out = bytes_of_val(v);
    return 0;
}

int row_put(const struct state_txn *t, enum state_db db, struct bytes key, struct writer *w,
            struct err *e)
{
    MDB_val k = val_of(key), v = val_of(row_seal(key, w));
    int rc = mdb_put(t->txn, t->dbi[db], &k, &v, 0);
    return rc == 0 ? 0 : state_lmdb_error(e, mdb_txn_env(t->txn), rc, db_names[db]);
}

/* *added is false when the key is there already. */
static int add_row(const struct state_txn *t, enum state_db db, struct bytes key, struct writer *w,
                   bool *added, struct err *e)
{
    MDB_val k = val_of(key), v = val_of(row_seal(key, w));
    int rc = mdb_put(t->txn, t->dbi[db], &k, &v, MDB_NOOVERWRITE);
    *added = rc == 0;
    return rc == 0 || rc == MDB_KEYEXIST
               ? 0
               : state_lmdb_error(e, mdb_txn_env(t->txn), rc, db_names[db]);
}

int row_delete(const struct state_txn *t, enum state_db db, struct bytes key, struct err *e)
{
    MDB_val k = val_of(key);
    int rc = mdb_del(t->txn, t->dbi[db], &k, NULL);
    return rc == 0 ? 0 : state_lmdb_error(e, mdb_txn_env(t->txn), rc, db_names[db]);
}

/* ---- meta ---- */

int row_get_state(const struct state_txn *t, struct state_row *out, struct err *e)
{
    struct bytes row;
    int rc = row_find(t, DB_META, state_key, &row, e);
    return rc != 0 ? rc : row_read_state(state_key, row, out, e);
}

int row_read_state(struct bytes key, struct bytes row, struct state_row *out, struct err *e)
{
    struct reader r;
    int rc = row_open(DB_META, key, row, &r, e);
    if (rc != 0)
        return rc;
    if (!bytes_equal(key, state_key))
        return row_damaged(DB_META, key, "it is unknown to this program", e);
    uint16_t format = read_u16(&r);
    if (format > STATE_FORMAT)
        return err_newer(e, "the state", format, STATE_FORMAT);
    if (format < STATE_FORMAT_OLDEST)
        return err_set(e, ERR_FORMAT,
                       "the state is of format %u, which is older than this program's %d: move the "
                       "state directory away and start again, the site refills from a peer's log "
                       "or from the repository",
                       format, STATE_FORMAT);
    out->has_indexes = format >= 3;
    uint8_t mode = read_u8(&r);
    out->at.lsn.v = read_u64(&r);
    out->at.term.v = read_u64(&r);
    out->at.time.us = read_u64(&r);
    out->at.hash = read_sha256(&r);
    out->records = read_u64(&r);
    out->collections = read_u64(&r);
    out->next_collection = read_u64(&r);
    out->digest = read_digest(&r);
    out->history_from.v = read_u64(&r);
    out->history_time.us = read_u64(&r);
    out->history_rows = read_u64(&r);
    out->history_bytes = read_u64(&r);
    if (mode != COMMIT_MAJORITY && mode != COMMIT_LOCAL)
        return row_damaged(DB_META, state_key, "its commit mode is unknown", e);
    out->mode = (enum commit_mode)mode;
    return row_close(DB_META, state_key, &r, e);
}

int row_put_state(const struct state_txn *t, const struct state_row *row, struct err *e)
{
    uint8_t b[ROW_MAX_BYTES];
    struct writer w = row_begin(b);
    write_u16(&w, STATE_FORMAT);
    write_u8(&w, (uint8_t)row->mode);
    write_u64(&w, row->at.lsn.v);
    write_u64(&w, row->at.term.v);
    write_u64(&w, row->at.time.us);
    write_sha256(&w, &row->at.hash);
    write_u64(&w, row->records);
    write_u64(&w, row->collections);
    write_u64(&w, row->next_collection);
    write_digest(&w, row->digest);
    write_u64(&w, row->history_from.v);
    write_u64(&w, row->history_time.us);
    write_u64(&w, row->history_rows);
    write_u64(&w, row->history_bytes);
    return row_put(t, DB_META, state_key, &w, e);
}

bool row_is_doubt(struct bytes key)
{
    return bytes_equal(key, doubt_key);
}

int row_read_doubt(struct bytes key, struct bytes row, struct lsn *since, struct err *e)
{
    struct reader r;
    int rc = row_open(DB_META, key, row, &r, e);
    if (rc != 0)
        return rc;
    since->v = read_u64(&r);
    return row_close(DB_META, key, &r, e);
}

int row_get_doubt(const struct state_txn *t, struct lsn *since, struct err *e)
{
    struct bytes row;
    int rc = row_find(t, DB_META, doubt_key, &row, e);
    return rc != 0 ? rc : row_read_doubt(doubt_key, row, since, e);
}

int row_put_doubt(const struct state_txn *t, struct lsn since, struct err *e)
{
    uint8_t b[ROW_MAX_BYTES];
    struct writer w = row_begin(b);
    write_u64(&w, since.v);
    return row_put(t, DB_META, doubt_key, &w, e);
}

int row_delete_doubt(const struct state_txn *t, struct err *e)
{
    return row_delete(t, DB_META, doubt_key, e);
}

/* ---- collections and buckets ---- */

int row_read_collection(struct bytes key, struct bytes row, struct collection_row *out,
                        struct err *e)
{
    struct reader r;
    int rc = row_open(DB_COLLECTIONS, key, row, &r, e);
    if (rc != 0)
        return rc;
    out->id = read_u64(&r);
    out->records = read_u64(&r);
    out->digest = read_digest(&r);
    out->deleted = read_u64(&r);
    return row_close(DB_COLLECTIONS, key, &r, e);
}

int row_get_collection(const struct state_txn *t, struct bytes name, struct collection_row *out,
                       struct err *e)
{
    struct bytes row;
    int rc = row_find(t, DB_COLLECTIONS, name, &row, e);
    return rc != 0 ? rc : row_read_collection(name, row, out, e);
}

int row_put_collection(const struct state_txn *t, struct bytes name,
                       const struct collection_row *row, struct err *e)
{
    uint8_t b[ROW_MAX_BYTES];
    struct writer w = row_begin(b);
    write_u64(&w, row->id);
    write_u64(&w, row->records);
    write_digest(&w, row->digest);
    write_u64(&w, row->deleted);
    return row_put(t, DB_COLLECTIONS, name, &w, e);
}

static struct bytes bucket_key(uint32_t bucket, uint8_t out[2])
{
    check(bucket < DIGEST_BUCKETS);
    out[0] = (uint8_t)(bucket >> 8);
    out[1] = (uint8_t)bucket;
    return bytes_of(out, 2);
}

int row_get_bucket(const struct state_txn *t, uint32_t bucket, struct digest *out, struct err *e)
{
    uint8_t k[2];
    struct bytes key = bucket_key(bucket, k), row;
    int rc = row_find(t, DB_BUCKETS, key, &row, e);
    if (rc == ERR_NOT_FOUND) /* all were made when the state was */
        return row_damaged(DB_BUCKETS, key, "it is missing", e);
    return rc != 0 ? rc : row_read_bucket(key, row, &bucket, out, e);
}

int row_read_bucket(struct bytes key, struct bytes row, uint32_t *bucket, struct digest *out,
                    struct err *e)
{
    struct reader r;
    int rc = row_open(DB_BUCKETS, key, row, &r, e);
    if (rc != 0)
        return rc;
    *bucket = key.n == 2 ? (uint32_t)key.p[0] << 8 | key.p[1] : DIGEST_BUCKETS;
    if (*bucket >= DIGEST_BUCKETS)
        return row_damaged(DB_BUCKETS, key, "there is no such bucket", e);
    *out = read_digest(&r);
    return row_close(DB_BUCKETS, key, &r, e);
}

int row_put_bucket(const struct state_txn *t, uint32_t bucket, struct digest digest, unsigned flags,
                   struct err *e)
{
    uint8_t k[2], b[ROW_MAX_BYTES];
    struct bytes key = bucket_key(bucket, k);
    struct writer w = row_begin(b);
    write_digest(&w, digest);
    MDB_val kv = val_of(key), v = val_of(row_seal(key, &w));
    int rc = mdb_put(t->txn, t->dbi[DB_BUCKETS], &kv, &v, flags);
    return rc == 0 ? 0 : state_lmdb_error(e, mdb_txn_env(t->txn), rc, db_names[DB_BUCKETS]);
}

/* ---- sessions and their results ---- */

int row_read_session(struct bytes key, struct bytes row, struct session_row *out, struct err *e)
{
    struct reader r;
    int rc = row_open(DB_SESSIONS, key, row, &r, e);
    if (rc != 0)
        return rc;
    if (key.n != sizeof(struct uuid))
        return row_damaged(DB_SESSIONS, key, "its key is no uuid", e);
    out->info.opened.v = read_u64(&r);
    out->info.last.us = read_u64(&r);
    out->results = read_u32(&r);
    out->info.client = read_bytes16(&r);
    return row_close(DB_SESSIONS, key, &r, e);
}

int row_get_session(const struct state_txn *t, const struct uuid *id, struct session_row *out,
                    struct err *e)
{
    struct bytes key = bytes_of(id->b, sizeof id->b), row;
    int rc = row_find(t, DB_SESSIONS, key, &row, e);
    return rc != 0 ? rc : row_read_session(key, row, out, e);
}

int row_put_session(const struct state_txn *t, const struct uuid *id, const struct session_row *row,
                    struct err *e)
{
    uint8_t b[ROW_MAX_BYTES];
    struct writer w = row_begin(b);
    write_u64(&w, row->info.opened.v);
    write_u64(&w, row->info.last.us);
    write_u32(&w, row->results);
    write_bytes16(&w, row->info.client);
    return row_put(t, DB_SESSIONS, bytes_of(id->b, sizeof id->b), &w, e);
}

static struct bytes result_key(const struct uuid *id, uint64_t sequence,
                               uint8_t out[RESULT_KEY_BYTES])
{
    memcpy(out, id->b, sizeof id->b);
    put_be64(out + sizeof id->b, sequence);
    return bytes_of(out, RESULT_KEY_BYTES);
}

int row_read_result(struct bytes key, struct bytes row, struct entry_position *out, struct err *e)
{
    struct reader r;
    int rc = row_open(DB_RESULTS, key, row, &r, e);
    if (rc != 0)
        return rc;
    if (key.n != RESULT_KEY_BYTES)
        return row_damaged(DB_RESULTS, key, "its key has a wrong size", e);
    *out = (struct entry_position){.lsn = {0}};
    out->lsn.v = read_u64(&r);
    out->term.v = read_u64(&r);
    out->time.us = read_u64(&r);
    return row_close(DB_RESULTS, key, &r, e);
}

int row_get_result(const struct state_txn *t, const struct uuid *id, uint64_t sequence,
                   struct entry_position *out, struct err *e)
{
    uint8_t k[RESULT_KEY_BYTES];
    struct bytes key = result_key(id, sequence, k), row;
    int rc = row_find(t, DB_RESULTS, key, &row, e);
    return rc != 0 ? rc : row_read_result(key, row, out, e);
}

int row_newest_result(const struct state_txn *t, const struct uuid *id, uint64_t *sequence,
                      struct err *e)
{
    uint8_t k[RESULT_KEY_BYTES];
    MDB_val key = val_of(result_key(id, UINT64_MAX, k)), row;
    MDB_cursor *cursor;
    *sequence = 0;
    int rc = mdb_cursor_open(t->txn, t->dbi[DB_RESULTS], &cursor);
    if (rc != 0)
        return state_lmdb_error(e, mdb_txn_env(t->txn), rc, "look for the newest result");
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    bool exact = rc == 0 && bytes_equal(bytes_of_val(key), bytes_of(k, sizeof k));
    if (rc == MDB_NOTFOUND || (rc == 0 && !exact)) /* the one before */
        rc = mdb_cursor_get(cursor, &key, &row, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
    mdb_cursor_close(cursor);
    if (rc == 0 && key.mv_size == sizeof k && memcmp(key.mv_data, id->b, sizeof id->b) == 0)
        *sequence = get_be64((const uint8_t *)key.mv_data + sizeof id->b);
    return rc == 0 || rc == MDB_NOTFOUND
               ? 0
               : state_lmdb_error(e, mdb_txn_env(t->txn), rc, "look for the newest result");
}

int row_add_result(const struct state_txn *t, const struct uuid *id, uint64_t sequence,
                   const struct entry_position *at, bool *added, struct err *e)
{
    uint8_t k[RESULT_KEY_BYTES], b[ROW_MAX_BYTES];
    struct writer w = row_begin(b);
    write_u64(&w, at->lsn.v);
    write_u64(&w, at->term.v);
    write_u64(&w, at->time.us);
    return add_row(t, DB_RESULTS, result_key(id, sequence, k), &w, added, e);
}

/* ---- restore points ---- */

int row_read_point(struct bytes key, struct bytes row, struct restore_point *out, struct err *e)
{
    struct reader r;
    int rc = row_open(DB_POINTS, key, row, &r, e);
    if (rc != 0)
        return rc;
    out->name = key;
    out->lsn.v = read_u64(&r);
    out->time.us = read_u64(&r);
    out->digest = read_digest(&r);
    return row_close(DB_POINTS, key, &r, e);
}

int row_get_point(const struct state_txn *t, struct bytes name, struct restore_point *out,
                  struct err *e)
{
    struct bytes row;
    int rc = row_find(t, DB_POINTS, name, &row, e);
    return rc != 0 ? rc : row_read_point(name, row, out, e);
}

int row_add_point(const struct state_txn *t, const struct restore_point *p, struct err *e)
{
    uint8_t b[ROW_MAX_BYTES];
    struct writer w = row_begin(b);
    write_u64(&w, p->lsn.v);
    write_u64(&w, p->time.us);
    write_digest(&w, p->digest);
    bool added;
    return add_row(t, DB_POINTS, p->name, &w, &added, e);
}

/* ---- records ---- */

struct bytes row_record_key(uint64_t collection, struct bytes key,
                            uint8_t out[RECORD_KEY_MAX_BYTES])
{
    check(key.n <= KEY_MAX_BYTES);
    put_be64(out, collection);
    if (key.n != 0)
        memcpy(out + COLLECTION_ID_BYTES, key.p, key.n);
    return bytes_of(out, COLLECTION_ID_BYTES + key.n);
}

void row_write_record(struct bytes row_key, const struct record *r, struct digest digest,
                      uint8_t *row)
{
    struct writer w = writer_of(row, RECORD_ROW_BYTES + r->value.n);
    write_u32(&w, 0);
    write_u16(&w, RECORD_FORMAT);
    write_u16(&w, 0);
    write_u64(&w, r->lsn.v);
    write_u64(&w, r->time.us);
    write_digest(&w, digest);
    check(w.at == RECORD_ROW_BYTES);
    write_bytes(&w, r->value);
    (void)row_seal(row_key, &w);
}

bool row_read_rotten(struct bytes row, struct lsn *lsn, struct bytes *value, struct digest *digest)
{
    *digest = (struct digest){0, 0};
    if (row.n < RECORD_ROW_BYTES)
        return false;
    struct reader r = reader_of(row);
    (void)read_bytes(&r, CRC_BYTES + 4); /* checksum, format, zero */
    lsn->v = read_u64(&r);
    (void)read_u64(&r);
    *digest = read_digest(&r);
    *value = read_bytes(&r, row.n - RECORD_ROW_BYTES);
    return true;
}

/* A record is read once, from one end to the other, and mostly from memory, not from a cache: asked for at once its lines
 * come together. Of larger ones the processor sees by itself that it goes straight on. */
void row_prefetch(struct bytes row)
{
    const size_t n = row.n < PREFETCH_MAX_BYTES ? row.n : PREFETCH_MAX_BYTES;
    for (size_t at = 0; at < n; at += PREFETCH_STEP_BYTES)
        __builtin_prefetch(row.p + at);
}

int row_read_record(struct bytes row_key, struct bytes row, bool checked, struct record *out,
                    struct digest *digest, struct err *e)
{
    row_prefetch(row);
    if (row.n < RECORD_ROW_BYTES)
        return err_set(e, ERR_FORMAT, "it has %zu bytes, at least %d are needed", row.n,
                       RECORD_ROW_BYTES);
    if (checked && get_le32(row.p) != row_crc(row_key, row))
        return err_set(e, ERR_FORMAT, "checksum mismatch");
    struct reader r = reader_of(row);
    r.at = CRC_BYTES;
    uint16_t format = read_u16(&r), zero = read_u16(&r);
    if (format > RECORD_FORMAT && get_le32(row.p) == row_crc(row_key, row))
        return err_newer(e, "the record", format, RECORD_FORMAT);
    if (format != RECORD_FORMAT || zero != 0)
        return err_set(e, ERR_FORMAT, "its format %u is unknown", format);
    out->lsn.v = read_u64(&r);
    out->time.us = read_u64(&r);
    *digest = read_digest(&r);
    out->value = read_bytes(&r, row.n - RECORD_ROW_BYTES);
    out->key = bytes_of(row_key.p + COLLECTION_ID_BYTES, row_key.n - COLLECTION_ID_BYTES);
    check(reader_done(&r));
    return 0;
}

/* ---- the past ---- */

int row_read_deleted(struct bytes key, struct bytes row, struct deleted_row *out, struct err *e)
{
    struct reader r;
    int rc = row_open(DB_DELETED, key, row, &r, e);
    if (rc != 0)
        return rc;
    if (key.n <= COLLECTION_ID_BYTES || key.n > RECORD_KEY_MAX_BYTES)
        return row_damaged(DB_DELETED, key, "its key has a wrong size", e);
    out->lsn.v = read_u64(&r);
    out->time.us = read_u64(&r);
    out->collection = read_bytes16(&r);
    if (out->collection.n > COLLECTION_MAX_BYTES)
        return row_damaged(DB_DELETED, key, "its collection's name is too long", e);
    return row_close(DB_DELETED, key, &r, e);
}

int row_get_deleted(const struct state_txn *t, struct bytes record_key, struct deleted_row *out,
                    struct err *e)
{
    struct bytes row;
    int rc = row_find(t, DB_DELETED, record_key, &row, e);
    return rc != 0 ? rc : row_read_deleted(record_key, row, out, e);
}

int row_put_deleted(const struct state_txn *t, struct bytes record_key,
                    const struct deleted_row *row, struct err *e)
{
    uint8_t b[ROW_MAX_BYTES];
    struct writer w = row_begin(b);
    write_u64(&w, row->lsn.v);
    write_u64(&w, row->time.us);
    write_bytes16(&w, row->collection);
    return row_put(t, DB_DELETED, record_key, &w, e);
}

struct bytes row_history_key(struct lsn lsn, struct bytes record_key,
                             uint8_t out[HISTORY_KEY_MAX_BYTES])
{
    check(record_key.n <= RECORD_KEY_MAX_BYTES);
    put_be64(out, lsn.v);
    memcpy(out + 8, record_key.p, record_key.n);
    return bytes_of(out, 8 + record_key.n);
}

int row_read_history(struct bytes key, struct bytes row, struct history_row *out, struct err *e)
{
    struct reader r;
    int rc = row_open(DB_HISTORY, key, row, &r, e);
    if (rc != 0)
        return rc;
    if (key.n <= 8 + COLLECTION_ID_BYTES || key.n > HISTORY_KEY_MAX_BYTES)
        return row_damaged(DB_HISTORY, key, "its key has a wrong size", e);
    if (row.n < HISTORY_ROW_BYTES)
        return row_damaged(DB_HISTORY, key, "its size is wrong", e);
    out->lsn.v = get_be64(key.p);
    out->flags = read_u8(&r);
    out->time.us = read_u64(&r);
    out->previous.v = read_u64(&r);
    out->previous_time.us = read_u64(&r);
    out->depth = read_u32(&r);
    out->jump.v = read_u64(&r);
    out->value = read_bytes(&r, row.n - HISTORY_ROW_BYTES);
    const uint32_t known = HISTORY_WAS_THERE | HISTORY_IS_DELETE | HISTORY_DAMAGED;
    if ((out->flags & ~known) != 0)
        return row_damaged(DB_HISTORY, key, "its flags are unknown to this program", e);
    if (out->previous.v >= out->lsn.v || out->previous_time.us > out->time.us ||
        out->jump.v >= out->lsn.v)
        return row_damaged(DB_HISTORY, key, "what it leads to is not older than itself", e);
    return row_close(DB_HISTORY, key, &r, e);
}

int row_get_history(const struct state_txn *t, struct lsn lsn, struct bytes record_key,
                    struct history_row *out, struct err *e)
{
    uint8_t buffer[HISTORY_KEY_MAX_BYTES];
    struct bytes key = row_history_key(lsn, record_key, buffer), row;
    int rc = row_find(t, DB_HISTORY, key, &row, e);
    return rc != 0 ? rc : row_read_history(key, row, out, e);
}

int row_append_history(const struct state_txn *t, struct bytes record_key,
                       const struct history_row *row, struct err *e)
{
    uint8_t buffer[HISTORY_KEY_MAX_BYTES];
    struct bytes key = row_history_key(row->lsn, record_key, buffer);
    MDB_val k = val_of(key), v = {HISTORY_ROW_BYTES + row->value.n, NULL};
    int rc = mdb_put(t->txn, t->dbi[DB_HISTORY], &k, &v, MDB_APPEND | MDB_RESERVE);
    if (rc != 0)
        return state_lmdb_error(e, mdb_txn_env(t->txn), rc, db_names[DB_HISTORY]);
    struct writer w = writer_of(v.mv_data, v.mv_size);
    write_u32(&w, 0);
    write_u8(&w, (uint8_t)row->flags);
    write_u64(&w, row->time.us);
    write_u64(&w, row->previous.v);
    write_u64(&w, row->previous_time.us);
    write_u32(&w, row->depth);
    write_u64(&w, row->jump.v);
    check(w.at == HISTORY_ROW_BYTES);
    write_bytes(&w, row->value);
    (void)row_seal(key, &w);
    return 0;
}

struct digest row_version_digest(struct lsn lsn, struct bytes record_key)
{
    uint8_t version[8];
    put_be64(version, lsn.v);
    const struct bytes pieces[] = {bytes_of(version, sizeof version), record_key};
    return hash_xxh128(pieces, 2);
}
