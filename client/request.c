/* The life of a request: taken into the window, handed to the I/O thread, completed exactly once, released.
 *
 *   caller --client_submit--> inbox --(handle.c)--> waiting <--> sent --client_finish--> done? --deliver--> free
 *
 * INVARIANTS
 *   I1  in_flight counts every request from client_submit to client_release, so window and memory are bounded also when
 *       the application is slow to take answers.
 *   I2  The sequences of the transactions that have not been released span less than CLIENT_WINDOW. The sites remember that
 *       many results of a session: whatever is sent again is still recognised as a repetition.
 *   I3  client_finish happens once: it takes the request out of `slots`, and only what is in `slots` is finished. */
#include "client/internal.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* ---- lists ---- */

void client_list_push(struct list *l, struct request *r)
{
    r->in = l;
    r->next = NULL;
    r->prev = l->tail;
    *(l->tail == NULL ? &l->head : &l->tail->next) = r;
    l->tail = r;
}

void client_list_insert(struct list *l, struct request *r)
{
    struct request *after = l->head;
    while (after != NULL && after->order < r->order)
        after = after->next;
    if (after == NULL) {
        client_list_push(l, r);
        return;
    }
    r->in = l;
    r->next = after;
    r->prev = after->prev;
    *(after->prev == NULL ? &l->head : &after->prev->next) = r;
    after->prev = r;
}

void client_list_remove(struct request *r)
{
    struct list *l = r->in;
    if (l == NULL)
        return;
    *(r->prev == NULL ? &l->head : &r->prev->next) = r->next;
    *(r->next == NULL ? &l->tail : &r->next->prev) = r->prev;
    r->prev = r->next = NULL;
    r->in = NULL;
}

/* ---- requests ---- */

static struct request *take_spare(struct tvn *db)
{
    pthread_mutex_lock(&db->lock);
    struct request *r = db->spares;
    if (r != NULL) {
        db->spares = r->next;
        db->spare_count--;
    }
    pthread_mutex_unlock(&db->lock);
    return r;
}

struct request *client_request_new(struct tvn *db, enum frame_type type, size_t size)
{
    const bool large = size > CLIENT_SPARE_BODY_BYTES;
    struct request *r = large ? NULL : take_spare(db);
    if (r == NULL)
        r = malloc(sizeof *r + (large ? size : (size_t)CLIENT_SPARE_BODY_BYTES));
    if (r == NULL)
        return NULL;
    memset(r, 0, sizeof *r);
    r->type = type;
    r->size = size;
    r->large = large;
    client_error_none(&r->error);
    return r;
}

void client_request_free(struct tvn *db, struct request *r)
{
    if (r == NULL)
        return;
    tvn_records_free(r->records);
    free(r->json);
    pthread_mutex_lock(&db->lock);
    const bool keep = !r->large && db->spare_count < CLIENT_SPARES;
    if (keep) {
        r->next = db->spares;
        db->spares = r;
        db->spare_count++;
    }
    pthread_mutex_unlock(&db->lock);
    if (!keep)
        free(r);
}

void client_spares_free(struct tvn *db)
{
    while (db->spares != NULL) {
        struct request *next = db->spares->next;
        free(db->spares);
        db->spares = next;
    }
    db->spare_count = 0;
}

void client_request_unsend(struct tvn *db, struct request *r)
{
    if (r->sent_on != NULL && r->type == FRAME_TXN)
        db->session.sent--;
    r->sent_on = NULL;
    client_list_remove(r);
}

static bool is_write(const struct request *r)
{
    return r->type == FRAME_TXN || r->type == FRAME_POINT || r->type == FRAME_ADMIN;
}

/* ---- in ---- */

/* Under the lock. */
static bool room_for(const struct tvn *db, const struct request *r)
{
    if (db->in_flight >= db->config.window)
        return false;
    if (db->in_flight != 0 && db->in_flight_bytes + r->size > db->config.window_bytes)
        return false;
    return r->type != FRAME_TXN || db->oldest_txn == NULL ||
           db->session.next_sequence - db->oldest_txn->sequence < CLIENT_WINDOW;
}

/* Under the lock. */
static void take(struct tvn *db, struct request *r)
{
    db->in_flight++;
    db->in_flight_bytes += r->size;
    r->order = ++db->orders;
    r->older = db->newest;
    *(db->newest == NULL ? &db->oldest : &db->newest->newer) = r;
    db->newest = r;
    if (r->type == FRAME_TXN) {
        r->sequence = db->session.next_sequence++;
        if (db->oldest_txn == NULL)
            db->oldest_txn = r;
    }
    client_list_push(&db->inbox, r);
}

/* Under the lock; the condition uses the monotonic clock. */
static bool wait_room(struct tvn *db, uint64_t deadline_ms)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
                             .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    return pthread_cond_timedwait(&db->room, &db->lock, &until) != ETIMEDOUT;
}

int client_submit(struct tvn *db, struct request *r, uint32_t timeout_ms, bool wait, struct err *e)
{
    int rc = client_check(db, wait, e);
    if (rc != 0)
        return rc;
    if (r->size > FRAME_CLIENT_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "request of %zu bytes: at most %d (40 MiB) are allowed",
                       r->size, FRAME_CLIENT_MAX_BYTES);
    if (timeout_ms > CLIENT_TIMEOUT_MAX_MS)
        return err_set(e, ERR_USAGE, "timeout of %u ms: at most %d", timeout_ms,
                       CLIENT_TIMEOUT_MAX_MS);
    r->deadline_ms = client_now_ms() + (timeout_ms == 0 ? db->config.timeout_ms : timeout_ms);
    pthread_mutex_lock(&db->lock);
    while (rc == 0 && !db->closing && !room_for(db, r))
        if (!wait || !wait_room(db, r->deadline_ms))
            rc = err_set(
                e, ERR_BUSY,
                "the window is full: %u requests, %llu bytes in flight: wait for completions",
                db->in_flight, (unsigned long long)db->in_flight_bytes);
    if (rc == 0 && db->closing)
        rc = err_set(e, ERR_CANCELLED, "the handle is being closed");
    if (rc == 0)
        take(db, r);
    pthread_mutex_unlock(&db->lock);
    if (rc == 0)
        client_wake(db);
    return rc;
}

int client_call(struct tvn *db, struct request *r, uint32_t timeout_ms, struct tvn_error *error)
{
    struct err e = ERR_NONE;
    r->sync = true;
    pthread_cond_init(&r->wake, NULL);
    if (client_submit(db, r, timeout_ms, true, &e) == 0) {
        pthread_mutex_lock(&db->lock);
        while (!r->completed)
            pthread_cond_wait(&r->wake, &db->lock);
        pthread_mutex_unlock(&db->lock);
    } else {
        client_error_set(&r->error, &e, is_write(r) ? TVN_NOT_DONE : TVN_NOT_APPLICABLE);
    }
    pthread_cond_destroy(&r->wake);
    if (error != NULL)
        *error = r->error;
    return r->error.code;
}

/* ---- out ---- */

/* Run its callback and release it. */
static void deliver(struct tvn *db, struct request *r)
{
    if (r->on_done != NULL)
        r->on_done(r->arg, &r->result, &r->error);
    if (r->on_records != NULL) {
        struct tvn_records *records = r->records;
        r->records = NULL;
        r->on_records(r->arg, records, &r->error);
    }
    client_release(db, r);
}

void client_finish(struct tvn *db, struct request *r)
{
    uint64_t slot = r->number % CLIENT_WINDOW;
    check(db->slots[slot] == r);
    client_request_unsend(db, r);
    db->slots[slot] = NULL;
    db->free_slots[db->free_count++] = (uint16_t)slot;
    if (r->type == FRAME_TXN) {
        memcpy(r->result.session.bytes, r->session.b, sizeof r->session.b);
        r->result.sequence = r->sequence;
        db->session.in_doubt |= r->error.outcome == TVN_UNKNOWN;
    }
    bool sync = r->sync;
    pthread_mutex_lock(&db->lock);
    r->completed = true; /* from here on a request that somebody waits for may be gone */
    if (sync) {
        pthread_cond_signal(&r->wake);
    } else if (db->config.poll) {
        client_list_push(&db->done, r);
        db->done_bytes += r->records_bytes;
        uint64_t one = 1;
        if (db->done.head == r && write(db->fd, &one, sizeof one) < 0)
            check(errno == EAGAIN); /* then it is readable already */
        pthread_cond_broadcast(&db->room);
    }
    pthread_mutex_unlock(&db->lock);
    if (!sync && !db->config.poll)
        deliver(db, r);
}

/* A write of unknown fate is reported as such, whatever ended the waiting, except where the code says more. */
void client_fail(struct tvn *db, struct request *r, const struct err *why)
{
    struct err e = *why;
    enum tvn_outcome_kind outcome = TVN_NOT_APPLICABLE;
    if (is_write(r)) {
        bool unknown = r->doubtful && e.code != ERR_CONDITION && e.code != ERR_KEY_USED;
        outcome = unknown ? TVN_UNKNOWN : TVN_NOT_DONE;
        if (unknown && (e.code == ERR_TIMEOUT || e.code == ERR_UNREACHABLE || e.code == ERR_BUSY ||
                        e.code == ERR_NOT_PRIMARY)) {
            e.code = ERR_OUTCOME_UNKNOWN;
            if (r->keyed)
                err_wrap(&e, "the outcome is unknown: send the transaction again with the same "
                             "idempotency key, or ask what became of it");
            else if (r->type == FRAME_TXN)
                err_wrap(&e, "the outcome of sequence %llu is unknown, ask for it",
                         (unsigned long long)r->sequence);
            else
                err_wrap(&e, "the outcome is unknown");
        }
    }
    int condition = r->error.condition;
    uint64_t lsn = r->error.lsn;
    client_error_set(&r->error, &e, outcome);
    r->error.condition = condition;
    r->error.lsn = lsn;
    client_finish(db, r);
}

void client_release(struct tvn *db, struct request *r)
{
    if (r == NULL)
        return;
    if (r->order != 0) {
        pthread_mutex_lock(&db->lock);
        db->in_flight--;
        db->in_flight_bytes -= r->size;
        if (db->oldest_txn == r)
            do
                db->oldest_txn = db->oldest_txn->newer;
            while (db->oldest_txn != NULL && db->oldest_txn->type != FRAME_TXN);
        *(r->older == NULL ? &db->oldest : &r->older->newer) = r->newer;
        *(r->newer == NULL ? &db->newest : &r->newer->older) = r->older;
        pthread_cond_broadcast(&db->room);
        pthread_mutex_unlock(&db->lock);
    }
    client_request_free(db, r);
}

/* ---- waiting for others, and foreign loops ---- */

int tvn_flush(struct tvn *db, uint32_t timeout_ms, struct tvn_error *error)
{
    struct err e = ERR_NONE;
    client_error_none(error);
    if (client_check(db, true, &e) != 0)
        return client_error_set(error, &e, TVN_NOT_APPLICABLE);
    uint64_t deadline = client_now_ms() + (timeout_ms == 0 ? db->config.timeout_ms : timeout_ms);
    pthread_mutex_lock(&db->lock);
    uint64_t last = db->orders;
    bool late = false;
    while (db->oldest != NULL && db->oldest->order <= last && !late) {
        if (db->done.head == NULL) {
            late = !wait_room(db, deadline);
        } else {
            pthread_mutex_unlock(&db->lock);
            (void)client_drain(db, 0);
            pthread_mutex_lock(&db->lock);
        }
    }
    pthread_mutex_unlock(&db->lock);
    if (!late)
        return 0;
    err_set(&e, ERR_TIMEOUT, "requests are still in flight");
    return client_error_set(error, &e, TVN_NOT_APPLICABLE);
}

int tvn_fd(const struct tvn *db)
{
    return db->fd;
}

size_t client_drain(struct tvn *db, size_t max)
{
    size_t n = 0;
    uint64_t ignored;
    pthread_mutex_lock(&db->lock);
    db->polling++;
    while (db->done.head != NULL && (max == 0 || n < max)) {
        struct request *r = db->done.head;
        client_list_remove(r);
        db->done_bytes -= r->records_bytes;
        pthread_mutex_unlock(&db->lock);
        deliver(db, r);
        n++;
        pthread_mutex_lock(&db->lock);
    }
    if (db->done.head == NULL && db->fd >= 0 && read(db->fd, &ignored, sizeof ignored) < 0)
        check(errno == EAGAIN); /* it was not readable */
    db->polling--;
    /* The I/O thread may have stopped reading because of what waited here. */
    bool wake = n > 0 && !db->closing;
    pthread_mutex_unlock(&db->lock);
    if (wake)
        client_wake(db);
    return n;
}

size_t tvn_poll(struct tvn *db, size_t max)
{
    return client_check(db, false, NULL) == 0 ? client_drain(db, max) : 0;
}
