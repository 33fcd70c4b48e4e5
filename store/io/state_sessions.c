/* Sessions and their results: what makes a retried transaction take effect once.
 *
 * RULES, each a function of the entries alone (A1 in state_apply.c)
 *   open    an unknown session begins; for a known one only its time changes
 *   txn     of a known session: its time changes and (session, sequence) gets a result, unless it has one. Of an unknown
 *           session, or with sequence 0: no result
 *   end     (closed or expired) the session and its results go
 *   limit   of each session the 1,024 results with the highest sequences are kept. The highest of a set do not depend on the
 *           order in which its members came, so neither on batches
 *
 * A batch's events are sorted by session, so each session's row is read and written once, and results that
 * the same batch would push out again are never written. */
#include "store/io/state_internal.h"

#include "store/core/check.h"

static int by_session(const void *pa, const void *pb)
{
    const struct state_session_event *a = pa, *b = pb;
    int c = memcmp(a->session.b, b->session.b, sizeof a->session.b);
    return c != 0 ? c : (a->order > b->order) - (a->order < b->order);
}

static int by_sequence(const void *pa, const void *pb)
{
    const struct state_session_event *a = pa, *b = pb;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

/* Remove the `n` results with the lowest sequences. Keys are gathered first and deleted one by one: no cursor lives through
 * a delete. */
static int remove_results(const struct state_txn *t, const struct uuid *id, uint32_t n,
                          struct err *e)
{
    if (n == 0)
        return 0;
    check(n <= SESSION_RESULTS_MAX);
    uint8_t keys[SESSION_RESULTS_MAX][RESULT_KEY_BYTES];
    uint32_t found = 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(t->txn, t->dbi[DB_RESULTS], &cursor);
    if (rc != 0)
        return state_lmdb_error(e, mdb_txn_env(t->txn), rc, "results of a session");
    MDB_val k = {sizeof id->b, (void *)(uintptr_t)id->b}, v;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && found < n && k.mv_size == RESULT_KEY_BYTES &&
           memcmp(k.mv_data, id->b, sizeof id->b) == 0) {
        memcpy(keys[found++], k.mv_data, RESULT_KEY_BYTES);
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return state_lmdb_error(e, mdb_txn_env(t->txn), rc, "results of a session");
    if (found != n)
        return err_set(
            e, ERR_INTEGRITY,
            "state: a session has %u results where its row says %u; verify the state and rebuild "
            "it from the repository",
            found, n);
    for (uint32_t i = 0; i < n; i++)
        if ((rc = row_delete(t, DB_RESULTS, bytes_of(keys[i], RESULT_KEY_BYTES), e)) != 0)
            return rc;
    return 0;
}

/* Keep the first event of each sequence, and of those the highest SESSION_RESULTS_MAX; they are moved to the front. */
static size_t newest_results(struct state_session_event *events, size_t n)
{
    qsort(events, n, sizeof *events, by_sequence);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || events[kept - 1].sequence != events[i].sequence)
            events[kept++] = events[i];
    if (kept > SESSION_RESULTS_MAX) {
        memmove(events, events + kept - SESSION_RESULTS_MAX, SESSION_RESULTS_MAX * sizeof *events);
        kept = SESSION_RESULTS_MAX;
    }
    return kept;
}

static int add_results(const struct state_txn *t, struct session_row *row,
                       struct state_session_event *events, size_t n, struct err *e)
{
    n = newest_results(events, n);
    for (size_t i = 0; i < n; i++) {
        bool added;
        int rc =
            row_add_result(t, &events[i].session, events[i].sequence, &events[i].at, &added, e);
        if (rc != 0)
            return rc;
        row->results += added;
    }
    if (row->results <= SESSION_RESULTS_MAX)
        return 0;
    uint32_t surplus = row->results - SESSION_RESULTS_MAX;
    row->results = SESSION_RESULTS_MAX;
    return remove_results(t, &events[0].session, surplus, e);
}

/* The events of one session, in order. */
static int apply_session(const struct state_txn *t, struct state_session_event *events, size_t n,
                         struct err *e)
{
    const struct uuid id = events[0].session;
    uint8_t client[CLIENT_NAME_MAX_BYTES];
    struct session_row row = {.results = 0};
    int rc = row_get_session(t, &id, &row, e);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    bool stored = rc == 0, open = stored, ended = false;
    uint32_t stored_results = row.results;
    if (stored) { /* the view ends with the first write */
        check(row.info.client.n <= sizeof client);
        memcpy(client, row.info.client.p, row.info.client.n);
        row.info.client.p = client;
    }

    size_t results = 0; /* of the session as it is open now, moved to the front of the array */
    for (size_t i = 0; i < n; i++) {
        const struct state_session_event event = events[i];
        if (event.kind == SESSION_EVENT_END) {
            ended = true; /* even if opened again: what was stored belongs to the past */
            open = false;
            results = 0;
            row = (struct session_row){.results = 0};
        } else if (event.kind == SESSION_EVENT_OPEN && !open) {
            open = true;
            row.info = (struct session_info){event.client, event.at.lsn, event.at.time};
        } else if (open) {
            row.info.last = event.at.time;
            if (event.kind == SESSION_EVENT_TXN && event.sequence != 0)
                events[results++] = event;
        }
    }
    rc = ended ? remove_results(t, &id, stored_results, e) : 0;
    if (rc == 0 && open)
        rc = add_results(t, &row, events, results, e);
    if (rc == 0 && open)
        rc = row_put_session(t, &id, &row, e);
    if (rc == 0 && !open && stored)
        rc = row_delete(t, DB_SESSIONS, bytes_of(id.b, sizeof id.b), e);
    return rc;
}

int state_apply_sessions(const struct state_txn *t, struct state_session_event *events, size_t n,
                         struct err *e)
{
    if (n == 0)
        return 0;
    qsort(events, n, sizeof *events, by_session);
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && uuid_equal(&events[end].session, &events[i].session))
            end++;
        int rc = apply_session(t, events + i, end - i, e);
        if (rc != 0)
            return rc;
        i = end;
    }
    return 0;
}
