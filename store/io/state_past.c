/* Reading the past: which lsn answers, and a record as it was there.
 *
 * The versions of a record are a chain, from the newest (its row of `records` or `deleted`) to older and older ones by way of
 * the rows of the history. A record may have changed a hundred thousand times, so each row also has a jump far back
 * (store/core/jump.h); it is followed only while its target is still newer than what is asked for. What is at or before
 * history_from may be pruned; nothing leads there, because nobody may ask for it.
 *
 * A time is turned into an lsn first, by bisection: each lsn that changed a record has a row of the history with its time, and
 * times never decrease along the log. So there is one way to read, and an answer can say which lsn it is of. */
#include "store/io/state_internal.h"

#include "store/core/check.h"

#include <time.h>

enum { UTC_BYTES = 40 };

static void format_utc(struct utc t, char out[UTC_BYTES])
{
    time_t seconds = (time_t)(t.us / 1000000);
    struct tm tm;
    if (t.us / 1000000 > (uint64_t)253402300799 || gmtime_r(&seconds, &tm) == NULL)
        (void)snprintf(out, UTC_BYTES, "an absurd time");
    else
        (void)strftime(out, UTC_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

struct state_window state_window(const struct state_snapshot *snap)
{
    const struct state_row *row = &snap->row;
    return (struct state_window){row->history_from, row->history_time, row->history_rows,
                                 row->history_bytes};
}

static int before_window(const struct state_snapshot *snap, struct as_of as_of, struct err *e)
{
    const struct state_row *row = &snap->row;
    char from[UTC_BYTES], asked[UTC_BYTES];
    format_utc(row->history_time, from);
    if (as_of.kind == AS_OF_LSN)
        (void)snprintf(asked, sizeof asked, "lsn %llu", (unsigned long long)as_of.value);
    else
        format_utc((struct utc){as_of.value}, asked);
    return err_set(e, ERR_GAP,
                   "the past can be read here from lsn %llu (%s) on, and %s is before that: build "
                   "that state from the repository with triveni restore, option --to-%s",
                   (unsigned long long)row->history_from.v, from, asked,
                   as_of.kind == AS_OF_LSN ? "lsn" : "time");
}

/* The last lsn in the history at or before the time, which is within the window. */
static int last_change(struct state_snapshot *snap, struct utc time, struct lsn *out, struct err *e)
{
    uint64_t low = snap->row.history_from.v, high = snap->row.at.lsn.v;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(snap->t.txn, snap->t.dbi[DB_HISTORY], &cursor);
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, "look for a time");
    /* `low` is not after the time; a change at or after `high` is. */
    while (rc == 0 && high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        uint8_t key[8];
        struct history_row h;
        put_be64(key, middle);
        MDB_val k = {sizeof key, key}, v;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        snap->history_reads++;
        if (rc == MDB_NOTFOUND) {
            high = middle;
            rc = 0;
        } else if (rc != 0) {
            rc = state_lmdb_error(e, snap->state->env, rc, "look for a time");
        } else if ((rc = row_read_history(bytes_of_val(k), bytes_of_val(v), &h, e)) == 0) {
            if (h.lsn.v < high && h.time.us <= time.us)
                low = h.lsn.v;
            else
                high = middle;
        }
    }
    mdb_cursor_close(cursor);
    *out = (struct lsn){low};
    return rc;
}

int state_as_of(struct state_snapshot *snap, struct as_of as_of, struct lsn *out, struct err *e)
{
    const struct state_row *row = &snap->row;
    *out = row->at.lsn;
    switch (as_of.kind) {
    case AS_OF_NONE:
        return 0;
    case AS_OF_LSN:
        if (as_of.value > row->at.lsn.v)
            return err_set(e, ERR_USAGE, "lsn %llu is not here yet: the state is at lsn %llu",
                           (unsigned long long)as_of.value, (unsigned long long)row->at.lsn.v);
        if (as_of.value < row->history_from.v)
            return before_window(snap, as_of, e);
        out->v = as_of.value;
        return 0;
    case AS_OF_TIME:
        if (as_of.value < row->history_time.us)
            return before_window(snap, as_of, e);
        return as_of.value >= row->at.time.us
                   ? 0
                   : last_change(snap, (struct utc){as_of.value}, out, e);
    }
    check(false);
    return ERR_FAILED;
}

int past_find(struct state_snapshot *snap, struct bytes record_key, struct lsn newest,
              struct lsn as_of, struct record *out, struct err *e)
{
    struct history_row h = {.previous = newest};
    while (h.previous.v > as_of.v) {
        const struct lsn lsn = h.jump.v > as_of.v ? h.jump : h.previous;
        int rc = row_get_history(&snap->t, lsn, record_key, &h, e);
        snap->history_reads++;
        if (rc == ERR_NOT_FOUND)
            return err_set(e, ERR_INTEGRITY, "its change at lsn %llu is missing in the history",
                           (unsigned long long)lsn.v);
        if (rc != 0)
            return rc;
    }
    if ((h.flags & HISTORY_DAMAGED) != 0)
        return err_set(e, ERR_INTEGRITY, "it was damaged when it was replaced");
    if ((h.flags & HISTORY_WAS_THERE) == 0)
        return err_set(e, ERR_NOT_FOUND, "there was no such record");
    out->lsn = h.previous;
    out->time = h.previous_time;
    out->value = h.value;
    return 0;
}

/* ---- are all chains whole? ---- */

static void add_version(struct digest *sum, const struct past_sum *s, struct lsn lsn,
                        struct bytes record_key)
{
    if (lsn.v > s->from.v)
        *sum = digest_add(*sum, row_version_digest(lsn, record_key));
}

void past_sum_newest(struct past_sum *s, struct lsn lsn, struct bytes record_key)
{
    add_version(&s->versions, s, lsn, record_key);
}

void past_sum_row(struct past_sum *s, const struct history_row *row, struct bytes record_key)
{
    s->count++;
    s->bytes += sizeof row->lsn.v + record_key.n + HISTORY_ROW_BYTES + row->value.n;
    add_version(&s->rows, s, row->lsn, record_key);
    if (row->lsn.v > s->from.v)
        add_version(&s->versions, s, row->previous, record_key);
    s->unknown |= row->lsn.v > s->from.v && (row->flags & HISTORY_DAMAGED) != 0;
}

bool past_sum_is_whole(const struct past_sum *s)
{
    return s->unknown || digest_equal(s->rows, s->versions);
}

/* ---- reading all of it, a little at a time ---- */

static int to_next_row(MDB_cursor *cursor, const struct past_place *place, MDB_val *k, MDB_val *v)
{
    const struct bytes last = bytes_of(place->key, place->key_bytes);
    *k = val_of(last);
    int rc = mdb_cursor_get(cursor, k, v, last.n == 0 ? MDB_FIRST : MDB_SET_RANGE);
    return rc == 0 && last.n != 0 && bytes_equal(bytes_of_val(*k), last)
               ? mdb_cursor_get(cursor, k, v, MDB_NEXT)
               : rc;
}

static int check_row(enum state_db db, MDB_val k, MDB_val v, struct err *e)
{
    struct deleted_row deleted;
    struct history_row history;
    return db == DB_DELETED ? row_read_deleted(bytes_of_val(k), bytes_of_val(v), &deleted, e)
                            : row_read_history(bytes_of_val(k), bytes_of_val(v), &history, e);
}

int state_past_check(struct state_snapshot *snap, struct past_place *place, size_t max_bytes,
                     size_t *bytes, struct err *e)
{
    const enum state_db db = place->in_history ? DB_HISTORY : DB_DELETED;
    MDB_cursor *cursor;
    MDB_val k, v;
    int result = 0;
    *bytes = 0;
    int rc = mdb_cursor_open(snap->t.txn, snap->t.dbi[db], &cursor);
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, "check the past");
    rc = to_next_row(cursor, place, &k, &v);
    while (rc == 0 && result == 0 && *bytes < max_bytes) {
        check(k.mv_size <= sizeof place->key); /* LMDB's own limit is lower */
        memcpy(place->key, k.mv_data, k.mv_size);
        place->key_bytes = k.mv_size;
        *bytes += k.mv_size + v.mv_size;
        if ((result = check_row(db, k, v, e)) == 0)
            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return state_lmdb_error(e, snap->state->env, rc, "check the past");
    if (rc == 0 || result != 0)
        return result;
    if (place->in_history)
        return err_set(e, ERR_NOT_FOUND, "that was all of the past");
    *place = (struct past_place){.in_history = true};
    return 0;
}
