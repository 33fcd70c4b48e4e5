/* How a state is checked without being opened.
 *
 * Opening a state puts LMDB's meta page back to the checkpoint (checkpoint.h), which writes; and liblmdb believes its file, so
 * that one wrong bit in a page may stop the process. So the tree of the checkpoint is walked here page by page (lmdb_walk.h),
 * from the picture of the meta page that the side slot holds. That needs no copy, no lock file and no writable directory.
 *
 * What is compared: the slots with each other and with data.mdb; pages with their place; each row's and record's checksum; each
 * record's digest; number and digest of each collection, each bucket, the totals, the position of the state row; number and size
 * of the rows of the history, and that the chains of old versions are whole (past_sum); the number of each index's rows. Sums
 * are compared only where nothing is known to be damaged below them: otherwise they would only say the same again. */
#include "store/io/state_check.h"

#include "store/io/checkpoint.h"
#include "store/io/file.h"
#include "store/io/lmdb_walk.h"
#include "store/io/state_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct counted {
    uint64_t id;
    uint8_t name[COLLECTION_MAX_BYTES];
    size_t name_bytes;
    uint64_t records, kept_records;
    uint64_t deleted, kept_deleted;
    struct digest digest, kept;
    bool damaged;
};

struct check {
    const struct finding_sink *sink;
    struct state_check_totals *out;
    struct lmdb_file *file;
    struct lmdb_tree trees[DB_COUNT];
    bool there[DB_COUNT];
    enum state_db db; /* being walked */
    struct state_row row;
    bool row_known;
    struct lsn
        doubt; /* not 0: the site itself does not trust the sums since then, and counts them again */
    struct counted *collections; /* by id, once all are read */
    size_t count, cap;
    bool records_damaged, collections_damaged;
    bool past_damaged; /* of `deleted` or of the history */
    bool indexes_damaged;
    struct index_tally indexes;
    struct past_sum past;
    struct digest bucket[DIGEST_BUCKETS];
    struct err *e;
};

static void found(const struct check *c, enum finding_kind kind, const char *file, uint64_t offset,
                  const char *text)
{
    c->sink->found(c->sink->arg,
                   &(struct finding){.kind = kind, .file = file, .offset = offset, .text = text});
}

static uint64_t page_offset(const struct check *c, uint64_t page)
{
    return page * slot_page_bytes(&c->out->slot);
}

/* ---- the checkpoint file ---- */

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* A power cut while a slot is written tears one copy, since the other is written before or after with a sync between. Both are
 * never its work, and then the slot is lost. */
static void check_copies(const struct check *c, const uint8_t *file)
{
    for (unsigned slot = 0; slot < 2; slot++) {
        struct err why[SLOT_COPIES] = {ERR_NONE, ERR_NONE};
        bool bad[SLOT_COPIES];
        struct slot s;
        for (unsigned copy = 0; copy < SLOT_COPIES; copy++) {
            const uint8_t *block = file + slot_offset(slot, copy);
            bad[copy] = !is_zero(block, SLOT_BYTES) && slot_decode(block, &s, &why[copy]) != 0 &&
                        why[copy].code != ERR_NEWER;
        }
        for (unsigned copy = 0; copy < SLOT_COPIES; copy++) {
            char text[ERR_TEXT_BYTES];
            if (!bad[copy])
                continue;
            (void)snprintf(
                text, sizeof text, "slot %u, copy %u: %.200s%s", slot, copy, why[copy].text,
                bad[1 - copy] ? "" : " (as a power cut leaves it; the other copy is not damaged)");
            found(c, bad[1 - copy] ? FINDING_CHECKPOINT : FINDING_NOTE, CHECKPOINT_FILE,
                  slot_offset(slot, copy), text);
        }
    }
}

static int check_slots(struct check *c, int dir_fd, struct err *e)
{
    uint8_t file[SLOT_FILE_BYTES] = {0};
    struct err why = ERR_NONE;
    struct stat st;
    size_t got = 0;
    int fd = openat(dir_fd, CHECKPOINT_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        if (fstatat(dir_fd, CHECKPOINT_DATA, &st, 0) != 0)
            return errno == ENOENT ? err_set(e, ERR_NOT_FOUND, "there is no state here")
                                   : file_error(e, CHECKPOINT_DATA, "look at", errno);
        found(c, FINDING_CHECKPOINT, CHECKPOINT_FILE, 0,
              "it is missing, and without it " CHECKPOINT_DATA " cannot be trusted");
        return 0;
    }
    int rc = fd < 0 ? file_error(e, CHECKPOINT_FILE, "open", errno)
                    : file_read_at(fd, CHECKPOINT_FILE, file, sizeof file, 0, &got, e);
    if (fd >= 0)
        (void)close(fd);
    if (rc != 0)
        return rc;
    if (got < sizeof file)
        found(c, FINDING_CHECKPOINT, CHECKPOINT_FILE, got, "the file is cut short");
    check_copies(c, file);
    rc = slot_choose(file, &c->out->slot, &why);
    if (rc == ERR_NEWER)
        return err_set(e, rc, CHECKPOINT_FILE ": %s", why.text);
    c->out->known = rc == 0;
    if (!c->out->known)
        found(c, FINDING_CHECKPOINT, CHECKPOINT_FILE, 0, why.text);
    return 0;
}

/* ---- collections ---- */

static int by_id(const void *a, const void *b)
{
    const struct counted *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static struct counted *find(const struct check *c, uint64_t id)
{
    struct counted key = {.id = id};
    return c->count == 0 ? NULL
                         : bsearch(&key, c->collections, c->count, sizeof *c->collections, by_id);
}

static int add_collection(struct check *c, struct bytes name, const struct collection_row *row)
{
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 64 : 2 * c->cap;
        struct counted *more = realloc(c->collections, cap * sizeof *more);
        if (more == NULL)
            return err_set(c->e, ERR_NO_MEMORY, "no memory for the list of collections");
        c->collections = more;
        c->cap = cap;
    }
    struct counted *n = &c->collections[c->count++];
    *n = (struct counted){.id = row->id,
                          .name_bytes =
                              name.n < sizeof n->name ? name.n : (size_t)COLLECTION_MAX_BYTES,
                          .kept_records = row->records,
                          .kept_deleted = row->deleted,
                          .kept = row->digest};
    memcpy(n->name, name.p, n->name_bytes);
    return 0;
}

static struct bytes name_of(const struct counted *n)
{
    return n != NULL ? bytes_of(n->name, n->name_bytes) : (struct bytes){NULL, 0};
}

/* ---- rows ---- */

static void record_damaged(struct check *c, struct counted *in, struct bytes key, uint64_t page,
                           const char *why)
{
    c->records_damaged = true;
    if (in != NULL)
        in->damaged = true;
    c->sink->found(c->sink->arg, &(struct finding){.kind = FINDING_RECORD,
                                                   .file = CHECKPOINT_DATA,
                                                   .offset = page_offset(c, page),
                                                   .collection = name_of(in),
                                                   .key = key,
                                                   .text = why});
}

static int check_record(struct check *c, struct bytes row_key, struct bytes row, uint64_t page)
{
    struct record r;
    struct digest kept;
    struct err why = ERR_NONE;
    if (row_key.n <= COLLECTION_ID_BYTES) {
        record_damaged(c, NULL, row_key, page, "its key is too short");
        return 0;
    }
    const struct bytes key =
        bytes_of(row_key.p + COLLECTION_ID_BYTES, row_key.n - COLLECTION_ID_BYTES);
    struct counted *in = find(c, get_be64(row_key.p));
    int rc = row_read_record(row_key, row, true, &r, &kept, &why);
    if (rc == ERR_NEWER)
        return state_record_damaged(c->e, name_of(in), key, &why);
    if (rc != 0) {
        record_damaged(c, in, key, page, why.text);
        return 0;
    }
    if (in == NULL) {
        if (!c->collections_damaged)
            record_damaged(c, NULL, key, page, "it belongs to no collection");
        c->records_damaged = true;
        return 0;
    }
    const struct digest d = digest_record(name_of(in), key, r.lsn, r.value);
    if (!digest_equal(d, kept)) {
        record_damaged(c, in, key, page, "its kept digest is not its own");
        return 0;
    }
    const uint32_t bucket = digest_bucket(name_of(in), key);
    c->bucket[bucket] = digest_add(c->bucket[bucket], d);
    in->digest = digest_add(in->digest, d);
    in->records++;
    past_sum_newest(&c->past, r.lsn, row_key);
    c->out->digest = digest_add(c->out->digest, d);
    c->out->records++;
    return 0;
}

static int check_bucket(struct check *c, struct bytes key, struct bytes row, struct err *why)
{
    uint32_t bucket;
    struct digest kept;
    char text[160], a[DIGEST_HEX_BYTES], b[DIGEST_HEX_BYTES];
    int rc = row_read_bucket(key, row, &bucket, &kept, why);
    if (rc != 0 || c->records_damaged || c->doubt.v != 0 || digest_equal(kept, c->bucket[bucket]))
        return rc;
    digest_hex(c->bucket[bucket], a);
    digest_hex(kept, b);
    (void)snprintf(text, sizeof text, "bucket %u: the records give digest %s, kept is %s", bucket,
                   a, b);
    found(c, FINDING_SUM, CHECKPOINT_DATA, 0, text);
    return 0;
}

static int check_deleted(struct check *c, struct bytes key, struct bytes row, struct err *why)
{
    struct deleted_row deleted;
    int rc = row_read_deleted(key, row, &deleted, why);
    c->past_damaged |= rc != 0;
    if (rc != 0)
        return rc;
    struct counted *in = find(c, get_be64(key.p));
    if (in != NULL)
        in->deleted++;
    if ((in == NULL || !bytes_equal(name_of(in), deleted.collection)) && !c->collections_damaged)
        return err_set(why, ERR_INTEGRITY, "a deleted record belongs to no collection");
    past_sum_newest(&c->past, deleted.lsn, key);
    return 0;
}

static int check_history(struct check *c, struct bytes key, struct bytes row, struct err *why)
{
    struct history_row h;
    int rc = row_read_history(key, row, &h, why);
    c->past_damaged |= rc != 0;
    if (rc == 0)
        past_sum_row(&c->past, &h, bytes_of(key.p + 8, key.n - 8));
    return rc;
}

static int check_catalog(struct check *c, struct bytes key, struct bytes row, struct err *why)
{
    struct index x;
    int rc = row_read_catalog(key, row, &x, why);
    c->indexes_damaged |= rc != 0;
    return rc != 0 ? rc : index_tally_catalog(&c->indexes, &x, why);
}

static int check_index(struct check *c, struct bytes key, struct bytes row, struct err *why)
{
    struct index_row x;
    int rc = row_read_index(key, row, &x, why);
    c->indexes_damaged |= rc != 0;
    if (rc == 0)
        index_tally_row(&c->indexes, x.id, x.value);
    return rc;
}

static int on_row(void *arg, struct bytes key, struct bytes row, bool is_tree, uint64_t page)
{
    struct check *c = arg;
    struct err why = ERR_NONE;
    struct collection_row collection = {.id = 0};
    struct session_row session;
    struct entry_position at;
    struct restore_point point;
    int rc = is_tree ? err_set(&why, ERR_FORMAT, "a tree where a row should be") : 0;
    switch (rc != 0 ? DB_COUNT : c->db) {
    case DB_META:
        if (row_is_doubt(key)) {
            rc = row_read_doubt(key, row, &c->doubt, &why);
            break;
        }
        rc = row_read_state(key, row, &c->row, &why);
        if (rc == ERR_NEWER)
            return err_set(c->e, rc, CHECKPOINT_DATA ": %s", why.text);
        c->row_known |= rc == 0;
        c->past.from = c->row.history_from;
        break;
    case DB_COLLECTIONS:
        rc = row_read_collection(key, row, &collection, &why);
        if (rc == 0)
            return add_collection(c, key, &collection);
        c->collections_damaged = true;
        break;
    case DB_RECORDS:
        return check_record(c, key, row, page);
    case DB_BUCKETS:
        rc = check_bucket(c, key, row, &why);
        break;
    case DB_SESSIONS:
        rc = row_read_session(key, row, &session, &why);
        break;
    case DB_RESULTS:
        rc = row_read_result(key, row, &at, &why);
        break;
    case DB_POINTS:
        rc = row_read_point(key, row, &point, &why);
        break;
    case DB_DELETED:
        rc = check_deleted(c, key, row, &why);
        break;
    case DB_HISTORY:
        rc = check_history(c, key, row, &why);
        break;
    case DB_INDEXES:
        rc = check_catalog(c, key, row, &why);
        break;
    case DB_INDEX:
        rc = check_index(c, key, row, &why);
        break;
    case DB_COUNT:
        break;
    }
    if (rc != 0)
        c->sink->found(c->sink->arg,
                       &(struct finding){.kind = FINDING_ROW,
                                         .file = CHECKPOINT_DATA,
                                         .offset = page_offset(c, page),
                                         .collection = bytes_str(state_db_name(c->db)),
                                         .key = key,
                                         .text = why.text});
    return 0;
}

/* ---- pages ---- */

/* "'key' of collection 'x'", or of another database its key. */
static void say_key(const struct check *c, struct bytes key, char *out, size_t room)
{
    char quoted[ROW_QUOTE_BYTES], name[ROW_QUOTE_BYTES];
    if (c->db != DB_RECORDS || key.n < COLLECTION_ID_BYTES) {
        (void)snprintf(out, room, "'%s'", row_quote(key, quoted));
        return;
    }
    const struct counted *in = find(c, get_be64(key.p));
    (void)row_quote(bytes_of(key.p + COLLECTION_ID_BYTES, key.n - COLLECTION_ID_BYTES), quoted);
    (void)snprintf(out, room, "'%s' of collection '%s'", quoted, row_quote(name_of(in), name));
}

static int on_damaged(void *arg, uint64_t page, struct bytes low, struct bytes high,
                      const char *why)
{
    struct check *c = arg;
    char text[2 * ERR_TEXT_BYTES], a[2 * ROW_QUOTE_BYTES + 40] = "the first",
                                                           b[2 * ROW_QUOTE_BYTES + 40] = "the end";
    c->records_damaged |= c->db == DB_RECORDS;
    c->collections_damaged |= c->db == DB_COLLECTIONS;
    c->past_damaged |= c->db == DB_DELETED || c->db == DB_HISTORY;
    c->indexes_damaged |= c->db == DB_INDEXES || c->db == DB_INDEX;
    if (c->db == DB_RECORDS && low.n > COLLECTION_ID_BYTES && bytes_equal(low, high)) {
        record_damaged(c, find(c, get_be64(low.p)),
                       bytes_of(low.p + COLLECTION_ID_BYTES, low.n - COLLECTION_ID_BYTES), page,
                       why);
        return 0;
    }
    if (low.n != 0)
        say_key(c, low, a, sizeof a);
    if (high.n != 0)
        say_key(c, high, b, sizeof b);
    (void)snprintf(text, sizeof text,
                   "page %llu of database %s: %s; it leads to keys from %s to %s",
                   (unsigned long long)page, state_db_name(c->db), why, a, b);
    found(c, FINDING_PAGE, CHECKPOINT_DATA, page_offset(c, page), text);
    return 0;
}

static void on_progress(void *arg, uint64_t bytes)
{
    const struct check *c = arg;
    if (c->sink->progress != NULL)
        c->sink->progress(c->sink->arg, bytes);
}

/* A row of the main tree: the name of a database and its tree. */
static int on_database(void *arg, struct bytes key, struct bytes data, bool is_tree, uint64_t page)
{
    struct check *c = arg;
    struct err why = ERR_NONE;
    char text[ERR_TEXT_BYTES], quoted[ROW_QUOTE_BYTES];
    int rc = is_tree ? 0 : err_set(&why, ERR_FORMAT, "it is no database");
    enum state_db db = 0;
    while (db < DB_COUNT && !bytes_equal(key, bytes_str(state_db_name(db))))
        db++;
    if (rc == 0 && db == DB_COUNT)
        rc = err_set(&why, ERR_FORMAT, "its name is unknown to this program");
    if (rc == 0)
        rc = lmdb_tree_decode(data, &c->trees[db], &why);
    if (rc == 0) {
        c->there[db] = true;
        return 0;
    }
    (void)snprintf(text, sizeof text, "database '%s': %.300s", row_quote(key, quoted), why.text);
    found(c, FINDING_PAGE, CHECKPOINT_DATA, page_offset(c, page), text);
    return 0;
}

static int on_main_damaged(void *arg, uint64_t page, struct bytes low, struct bytes high,
                           const char *why)
{
    const struct check *c = arg;
    char text[ERR_TEXT_BYTES];
    (void)low;
    (void)high;
    (void)snprintf(text, sizeof text, "page %llu, the list of databases: %.300s",
                   (unsigned long long)page, why);
    found(c, FINDING_PAGE, CHECKPOINT_DATA, page_offset(c, page), text);
    return 0;
}

/* ---- sums ---- */

static void check_sum(const struct check *c, const char *what, uint64_t records, uint64_t kept,
                      struct digest digest, struct digest kept_digest)
{
    char text[ERR_TEXT_BYTES], a[DIGEST_HEX_BYTES], b[DIGEST_HEX_BYTES];
    if (records == kept && digest_equal(digest, kept_digest))
        return;
    digest_hex(digest, a);
    digest_hex(kept_digest, b);
    (void)snprintf(text, sizeof text,
                   "%.200s: counted are %llu records with digest %s, kept are %llu with %s", what,
                   (unsigned long long)records, a, (unsigned long long)kept, b);
    found(c, FINDING_SUM, CHECKPOINT_DATA, 0, text);
}

static void check_position(const struct check *c)
{
    const struct entry_position *slot = &c->out->slot.at, *row = &c->row.at;
    char text[ERR_TEXT_BYTES];
    if (slot->lsn.v == row->lsn.v && slot->term.v == row->term.v &&
        sha256_equal(&slot->hash, &row->hash))
        return;
    (void)snprintf(text, sizeof text, "it is at lsn %llu, its checkpoint says %llu",
                   (unsigned long long)row->lsn.v, (unsigned long long)slot->lsn.v);
    found(c, FINDING_SUM, CHECKPOINT_DATA, 0, text);
}

static void check_sums(const struct check *c)
{
    char what[2 * ROW_QUOTE_BYTES], name[ROW_QUOTE_BYTES];
    if (!c->row_known)
        found(c, FINDING_ROW, CHECKPOINT_DATA, 0, "the row of the state cannot be read");
    else
        check_position(c);
    if (c->doubt.v != 0)
        found(c, FINDING_NOTE, CHECKPOINT_DATA, 0,
              "the sums are not trusted since a damaged record was overwritten; a running site "
              "counts "
              "them again by itself");
    for (size_t i = 0; i < c->count && !c->records_damaged && c->doubt.v == 0; i++) {
        const struct counted *n = &c->collections[i];
        (void)snprintf(what, sizeof what, "collection '%s'", row_quote(name_of(n), name));
        check_sum(c, what, n->records, n->kept_records, n->digest, n->kept);
    }
    if (c->row_known && !c->records_damaged && !c->collections_damaged && c->doubt.v == 0) {
        check_sum(c, "all collections", c->out->records, c->row.records, c->out->digest,
                  c->row.digest);
        uint64_t shown = 0;
        for (size_t i = 0; i < c->count; i++)
            shown += c->collections[i].kept_records != 0;
        if (shown != c->row.collections)
            found(c, FINDING_SUM, CHECKPOINT_DATA, 0,
                  "the number of collections is not the one that is kept");
    }
}

static void check_past(const struct check *c)
{
    const struct past_sum *p = &c->past;
    char text[ERR_TEXT_BYTES];
    if (!c->row_known || c->past_damaged || c->records_damaged || c->collections_damaged)
        return;
    if (p->count != c->row.history_rows || p->bytes != c->row.history_bytes) {
        (void)snprintf(
            text, sizeof text, "the history has %llu rows of %llu bytes, kept are %llu of %llu",
            (unsigned long long)p->count, (unsigned long long)p->bytes,
            (unsigned long long)c->row.history_rows, (unsigned long long)c->row.history_bytes);
        found(c, FINDING_SUM, CHECKPOINT_DATA, 0, text);
    }
    for (size_t i = 0; i < c->count; i++)
        if (c->collections[i].deleted != c->collections[i].kept_deleted)
            found(c, FINDING_SUM, CHECKPOINT_DATA, 0,
                  "the number of deleted records of a collection is not the one that is kept");
    if (!past_sum_is_whole(p))
        found(c, FINDING_SUM, CHECKPOINT_DATA, 0,
              "a version of a record is missing in the history: the past of this site cannot be "
              "trusted, its present can");
}

static void index_differs(void *arg, const char *text)
{
    found(arg, FINDING_SUM, CHECKPOINT_DATA, 0, text);
}

/* ---- all ---- */

static int walk_databases(struct check *c, struct err *e)
{
    const struct lmdb_visitor v = {
        .row = on_row, .damaged = on_damaged, .progress = on_progress, .arg = c};
    int rc = 0;
    for (c->db = 0; rc == 0 && c->db < DB_COUNT; c->db++) {
        char text[100];
        const bool of_indexes = c->db == DB_INDEXES || c->db == DB_INDEX;
        if (c->there[c->db]) {
            rc = lmdb_walk(c->file, &c->trees[c->db], &v, e);
        } else if (!of_indexes || (c->row_known && c->row.has_indexes)) {
            (void)snprintf(text, sizeof text, "database %s is missing", state_db_name(c->db));
            found(c, FINDING_PAGE, CHECKPOINT_DATA, 0, text);
            c->records_damaged = true; /* no sums: whatever it was, they would say the same again */
        }
        if (c->db == DB_COLLECTIONS && c->count != 0)
            qsort(c->collections, c->count, sizeof *c->collections, by_id);
    }
    return rc;
}

static int check_data(struct check *c, int fd, struct err *e)
{
    const struct slot *slot = &c->out->slot;
    struct lmdb_tree main;
    uint64_t last_page;
    struct stat st;
    char text[160];
    if (fstat(fd, &st) != 0)
        return file_error(e, CHECKPOINT_DATA, "look at", errno);
    if ((uint64_t)st.st_size < slot->file_bytes) {
        (void)snprintf(text, sizeof text, "%lld bytes, but it had %llu at its checkpoint",
                       (long long)st.st_size, (unsigned long long)slot->file_bytes);
        found(c, FINDING_PAGE, CHECKPOINT_DATA, (uint64_t)st.st_size, text);
    }
    lmdb_meta(slot, &main, &last_page);
    if (main.depth == 0) /* nothing was ever applied */
        return 0;
    const struct lmdb_visitor v = {.row = on_database, .damaged = on_main_damaged, .arg = c};
    int rc = lmdb_file_open(&c->file, fd, slot, e);
    if (rc == 0 && main.depth > LMDB_DEPTH_MAX)
        found(c, FINDING_CHECKPOINT, CHECKPOINT_FILE, 0, "its picture of the meta page is absurd");
    else if (rc == 0)
        rc = lmdb_walk(c->file, &main, &v, e);
    if (rc == 0)
        rc = walk_databases(c, e);
    if (rc == 0) {
        check_sums(c);
        check_past(c);
        if (!c->indexes_damaged)
            index_tally_compare(&c->indexes, index_differs, c);
    }
    for (size_t i = 0; i < c->count; i++)
        c->out->collections += c->collections[i].kept_records != 0;
    lmdb_file_close(c->file);
    return rc;
}

int state_check_slots(int dir_fd, const struct finding_sink *sink, struct state_check_totals *out,
                      struct err *e)
{
    struct check c = {.sink = sink, .out = out};
    *out = (struct state_check_totals){.known = false};
    return check_slots(&c, dir_fd, e);
}

int state_check(int dir_fd, const struct finding_sink *sink, struct state_check_totals *out,
                struct err *e)
{
    int rc = state_check_slots(dir_fd, sink, out, e);
    if (rc != 0 || !out->known)
        return rc;
    struct check *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to check the state");
    c->sink = sink;
    c->out = out;
    c->e = e;
    int fd = openat(dir_fd, CHECKPOINT_DATA, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        rc = check_data(c, fd, e);
    else if (errno == ENOENT)
        found(c, FINDING_PAGE, CHECKPOINT_DATA, 0, "it is missing beside its checkpoint");
    else
        rc = file_error(e, CHECKPOINT_DATA, "open", errno);
    if (fd >= 0)
        (void)close(fd);
    index_tally_free(&c->indexes);
    free(c->collections);
    free(c);
    return rc;
}
