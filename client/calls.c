/* The calls that are one small request and its answer: outcome, session, restore point, command, ping, snapshots. */
#include "client/internal.h"

#include <stdio.h>

static int failed(struct tvn_error *error, int code, const char *text,
                  enum tvn_outcome_kind outcome)
{
    struct err e = ERR_NONE;
    err_set(&e, code, "%s", text);
    return client_error_set(error, &e, outcome);
}

/* ---- transactions and sessions ---- */

int tvn_outcome(struct tvn *db, const struct tvn_session_id *session, uint64_t sequence,
                uint32_t timeout_ms, struct tvn_result *result, struct tvn_error *error)
{
    struct tvn_result ignored;
    if (result == NULL)
        result = &ignored;
    *result = (struct tvn_result){0};
    struct wire_outcome_ask ask = {.sequence = sequence};
    memcpy(ask.session.b, session->bytes, sizeof ask.session.b);
    if (uuid_is_zero(&ask.session) || sequence == 0)
        return failed(error, ERR_USAGE, "a session and a sequence from 1 are required",
                      TVN_NOT_APPLICABLE);
    struct request *r = client_request_new(db, FRAME_OUTCOME, 16 + 8);
    if (r == NULL)
        return failed(error, ERR_NO_MEMORY, "out of memory", TVN_NOT_APPLICABLE);
    struct writer w = writer_of(r->body, r->size);
    wire_write_outcome_ask(&w, &ask);
    check(!w.bad);
    r->primary = true;
    int rc = client_call(db, r, timeout_ms, error);
    *result = r->result;
    result->session = *session;
    result->sequence = sequence;
    client_release(db, r);
    if (rc != 0 || result->repeated)
        return rc;
    return failed(error, ERR_NOT_FOUND, "the transaction was not committed", TVN_NOT_APPLICABLE);
}

int tvn_outcome_by_key(struct tvn *db, struct tvn_bytes key, int give_up, uint32_t timeout_ms,
                       struct tvn_result *result, struct tvn_error *error)
{
    const struct wire_key_ask ask = {bytes_of(key.data, key.data == NULL ? 0 : key.size),
                                     give_up != 0};
    struct err e = ERR_NONE;
    if (result != NULL)
        *result = (struct tvn_result){0};
    if (idempotency_key_check(ask.key, &e) != 0)
        return client_error_set(error, &e, TVN_NOT_APPLICABLE);
    struct request *r = client_request_new(db, FRAME_OUTCOME_BY_KEY, 2 + ask.key.n + 1);
    if (r == NULL)
        return failed(error, ERR_NO_MEMORY, "out of memory", TVN_NOT_APPLICABLE);
    struct writer w = writer_of(r->body, r->size);
    wire_write_key_ask(&w, &ask);
    check(!w.bad);
    r->primary = true;
    int rc = client_call(db, r, timeout_ms, error);
    const enum wire_key_state state = r->key_state;
    const struct tvn_result found = r->result;
    client_release(db, r);
    if (rc != 0)
        return rc;
    if (result != NULL)
        *result = found;
    if (state == WIRE_KEY_GIVEN_UP)
        return failed(error, ERR_NOT_FOUND,
                      "the transaction has not taken effect and never will: its key was given up",
                      TVN_NOT_DONE);
    if (state == WIRE_KEY_COMMITTED)
        return 0;
    err_set(&e, ERR_OUTCOME_UNKNOWN,
            "no transaction with this key is committed up to lsn %llu, but one may be under way: "
            "send it again with the same key, or give the key up",
            (unsigned long long)found.lsn);
    return client_error_set(error, &e, TVN_UNKNOWN);
}

int tvn_session(struct tvn *db, uint32_t timeout_ms, struct tvn_session_id *session,
                uint64_t *next_sequence, struct tvn_error *error)
{
    struct request *r = client_request_new(db, FRAME_SESSION_OPEN, 0);
    if (r == NULL)
        return failed(error, ERR_NO_MEMORY, "out of memory", TVN_NOT_APPLICABLE);
    r->primary = true;
    int rc = client_call(db, r, timeout_ms, error);
    *session = r->result.session;
    *next_sequence = r->result.sequence;
    client_release(db, r);
    return rc;
}

int tvn_point(struct tvn *db, const char *name, uint32_t timeout_ms, struct tvn_result *result,
              struct tvn_error *error)
{
    size_t n = name == NULL ? 0 : strlen(name);
    if (result != NULL)
        memset(result, 0, sizeof *result);
    if (n == 0 || n > POINT_NAME_MAX_BYTES)
        return failed(error, n == 0 ? ERR_USAGE : ERR_LIMIT,
                      "a restore point needs a name of 1 to 128 bytes", TVN_NOT_DONE);
    struct request *r = client_request_new(db, FRAME_POINT, 2 + n);
    if (r == NULL)
        return failed(error, ERR_NO_MEMORY, "out of memory", TVN_NOT_DONE);
    struct writer w = writer_of(r->body, r->size);
    wire_write_point(&w, &(struct wire_point){bytes_of(name, n)});
    check(!w.bad);
    r->primary = true;
    int rc = client_call(db, r, timeout_ms, error);
    if (result != NULL)
        *result = r->result;
    client_release(db, r);
    return rc;
}

/* ---- operators ---- */

int tvn_admin(struct tvn *db, const char *command, const char *arguments, uint32_t timeout_ms,
              char **reply, struct tvn_error *error)
{
    *reply = NULL;
    struct wire_admin m = {bytes_str(command == NULL ? "" : command),
                           bytes_str(arguments == NULL ? "" : arguments)};
    if (m.command.n == 0 || m.command.n > 64)
        return failed(error, ERR_USAGE, "a command of 1 to 64 bytes is required", TVN_NOT_DONE);
    struct request *r = client_request_new(db, FRAME_ADMIN, 2 + m.command.n + 4 + m.arguments.n);
    if (r == NULL)
        return failed(error, ERR_NO_MEMORY, "out of memory", TVN_NOT_DONE);
    struct writer w = writer_of(r->body, r->size);
    wire_write_admin(&w, &m);
    check(!w.bad);
    r->size = w.at;
    int rc = client_call(db, r, timeout_ms, error);
    *reply = r->json;
    r->json = NULL;
    client_release(db, r);
    return rc;
}

void tvn_free(void *memory)
{
    free(memory);
}

int tvn_ping(struct tvn *db, uint32_t timeout_ms, uint64_t *round_trip_us, struct tvn_error *error)
{
    /* A read is the one request that a site answers only when it serves; this record never exists. */
    const struct tvn_key key = {"_ping", tvn_str("0")};
    struct tvn_records *records;
    struct tvn_read how = TVN_READ_INIT;
    how.timeout_ms = timeout_ms;
    uint64_t begun = uv_hrtime();
    int rc = tvn_get_many(db, &key, 1, &how, &records, error);
    tvn_records_free(records);
    if (rc == 0 && round_trip_us != NULL)
        *round_trip_us = (uv_hrtime() - begun) / 1000;
    return rc;
}

/* ---- snapshots ---- */

struct tvn_snapshot {
    struct tvn *db;
    uint64_t id, link, lsn, time_us;
};

int tvn_snapshot_open(struct tvn *db, const struct tvn_read *how, struct tvn_snapshot **out,
                      struct tvn_error *error)
{
    struct tvn_read h = TVN_READ_INIT;
    if (how != NULL)
        memcpy(&h, how, how->size < sizeof h ? how->size : sizeof h);
    *out = NULL;
    if (h.as_of_lsn != 0 || h.as_of_time_us != 0)
        return failed(error, ERR_USAGE,
                      "a snapshot is of the present; give the past with each read of it",
                      TVN_NOT_APPLICABLE);
    bool standby = db->config.target != TVN_TARGET_PRIMARY;
    uint64_t token = standby ? tvn_token(db) : 0;
    struct wire_snapshot_open m = {standby ? WIRE_READ_STANDBY : 0,
                                   {token > h.min_lsn ? token : h.min_lsn}};
    struct tvn_snapshot *s = calloc(1, sizeof *s);
    struct request *r = client_request_new(db, FRAME_SNAPSHOT_OPEN, 4 + 8);
    if (s == NULL || r == NULL) {
        free(s);
        client_request_free(db, r);
        return failed(error, ERR_NO_MEMORY, "out of memory", TVN_NOT_APPLICABLE);
    }
    struct writer w = writer_of(r->body, r->size);
    wire_write_snapshot_open(&w, &m);
    check(!w.bad);
    int rc = client_call(db, r, h.timeout_ms, error);
    *s = (struct tvn_snapshot){db, r->snapshot, r->snapshot_link, r->result.lsn, r->result.time_us};
    client_release(db, r);
    if (rc == 0)
        *out = s;
    else
        free(s);
    return rc;
}

void client_snapshot_place(const struct tvn_snapshot *s, uint64_t *id, uint64_t *link)
{
    *id = s->id;
    *link = s->link;
}

uint64_t tvn_snapshot_lsn(const struct tvn_snapshot *s)
{
    return s->lsn;
}

uint64_t tvn_snapshot_time_us(const struct tvn_snapshot *s)
{
    return s->time_us;
}

static void closed(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    (void)arg, (void)result, (void)error; /* sites end snapshots that are not closed */
}

void tvn_snapshot_close(struct tvn_snapshot *s)
{
    if (s == NULL)
        return;
    struct request *r = client_request_new(s->db, FRAME_SNAPSHOT_CLOSE, 8);
    if (r != NULL) {
        struct writer w = writer_of(r->body, r->size);
        wire_write_snapshot_close(&w, &(struct wire_snapshot_close){s->id});
        check(!w.bad);
        r->link = s->link;
        r->on_done = closed;
        if (client_submit(s->db, r, 0, false, NULL) != 0)
            client_request_free(s->db,
                                r); /* the window is full or the handle closes: the site ends it */
    }
    free(s);
}
