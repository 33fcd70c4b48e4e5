/* Gets and scans: encode the question, decode the answer into one block of memory, page through a range.
 *
 * BLOCK of a struct tvn_records: the struct, its records, for scans by an index their tokens, a copy of the answer's body that
 * the values point into and, for gets, a copy of the question's body that collections and keys point into. One allocation, one
 * free. */
#include "client/internal.h"

enum {
    SCAN_PAGE_DEFAULT = 1024,
    FEW_KEYS = 16, /* of a get, that need no memory of their own while it is encoded */
};

/* ---- asking ---- */

/* The sized struct of the caller, or the defaults. */
static struct tvn_read how_of(const struct tvn_read *how)
{
    struct tvn_read h = TVN_READ_INIT;
    if (how != NULL)
        memcpy(&h, how, how->size < sizeof h ? how->size : sizeof h);
    return h;
}

struct read_head {
    uint32_t flags;
    uint64_t snapshot, link;
    struct lsn min_lsn;
};

static struct as_of as_of(const struct tvn_read *how)
{
    if (how->as_of_lsn != 0)
        return (struct as_of){AS_OF_LSN, how->as_of_lsn};
    return how->as_of_time_us != 0 ? (struct as_of){AS_OF_TIME, how->as_of_time_us}
                                   : (struct as_of){AS_OF_NONE, 0};
}

static int check_how(const struct tvn_read *how, struct err *e)
{
    return how->as_of_lsn == 0 || how->as_of_time_us == 0
               ? 0
               : err_set(e, ERR_USAGE, "as of an lsn and as of a time: give one of them");
}

static struct read_head head_of(struct tvn *db, const struct tvn_read *how)
{
    struct read_head h = {0, 0, 0, {how->min_lsn}};
    if (db->config.target != TVN_TARGET_PRIMARY) {
        uint64_t token = tvn_token(db);
        h.flags = WIRE_READ_STANDBY;
        h.min_lsn.v = token > h.min_lsn.v ? token : h.min_lsn.v;
    }
    if (how->snapshot != NULL) {
        h.min_lsn.v = 0; /* a snapshot is as old as it is */
        client_snapshot_place(how->snapshot, &h.snapshot, &h.link);
    }
    return h;
}

static int read_request(struct tvn *db, const struct tvn_key *keys, size_t n,
                        const struct tvn_read *how, struct request **out, uint32_t *timeout_ms,
                        struct err *e)
{
    *out = NULL;
    if (n == 0 || n > TVN_GET_MAX_KEYS)
        return err_set(e, ERR_USAGE, "%zu keys: 1 to %u are allowed", n, TVN_GET_MAX_KEYS);
    const struct tvn_read h = how_of(how);
    int rc = check_how(&h, e);
    if (rc != 0)
        return rc;
    struct op few[FEW_KEYS], *many = n <= FEW_KEYS ? NULL : calloc(n, sizeof *many);
    struct op *const ops = n <= FEW_KEYS ? few : many;
    if (ops == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu keys", n);
    size_t size = 4 + 8 + 8 + 4 + (as_of(&h).kind == AS_OF_NONE ? 0 : 1 + 8);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const char *collection = keys[i].collection == NULL ? "" : keys[i].collection;
        ops[i] = (struct op){OP_DELETE,
                             bytes_str(collection),
                             bytes_of(keys[i].key.data, keys[i].key.size),
                             {NULL, 0}};
        size += 2 + ops[i].collection.n + 2 + ops[i].key.n;
        rc = op_check(&ops[i], true, e);
    }
    struct request *r = rc == 0 ? client_request_new(db, FRAME_GET, size) : NULL;
    if (rc == 0 && r == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory for %zu keys", n);
    if (rc == 0) {
        struct read_head head = head_of(db, &h);
        struct writer w = writer_of(r->body, r->size);
        wire_write_get(&w,
                       &(struct wire_get){.flags = head.flags,
                                          .snapshot = head.snapshot,
                                          .min_lsn = head.min_lsn,
                                          .count = (uint32_t)n,
                                          .as_of = as_of(&h)},
                       ops);
        check(!w.bad && w.at == size);
        r->link = head.link;
        *timeout_ms = h.timeout_ms;
        *out = r;
    }
    free(many);
    return rc;
}

/* ---- answers ---- */

struct block {
    struct tvn_records head;
    struct tvn_record records[];
};

void tvn_records_free(struct tvn_records *records)
{
    free(records); /* `head` is first in its block */
}

static struct tvn_bytes moved(struct bytes b, struct bytes from, const uint8_t *to)
{
    return tvn_view(b.n == 0 ? NULL : to + (b.p - from.p), b.n);
}

/* Fill the records from an answer whose copy is at `answer`, and for gets the question's at `question`. Tokens: NULL, or one for
 * each record. */
static int fill(struct request *r, struct block *b, struct tvn_bytes *tokens, struct reader *in,
                struct bytes body, const uint8_t *answer, const uint8_t *question, struct err *e)
{
    struct bytes asked = bytes_of(r->body, r->size);
    struct wire_get get = {0};
    int rc = r->type == FRAME_GET ? wire_read_get(asked, &get, e) : 0;
    for (size_t i = 0; i < b->head.count && rc == 0; i++) {
        struct wire_record m = {.found = true};
        rc = r->type == FRAME_GET ? wire_read_get_record(in, &m, e)
                                  : wire_read_scan_record(in, &m, e);
        if (rc != 0)
            return rc;
        struct bytes token;
        if (tokens != NULL && (rc = wire_read_scan_token(in, &token, e)) == 0)
            tokens[i] = moved(token, body, answer);
        struct tvn_record *to = &b->records[i];
        if (r->type == FRAME_GET) {
            struct bytes collection, key;
            rc = wire_next_key(&get.keys, &collection, &key, e);
            check(rc == 0); /* we wrote it */
            to->collection = moved(collection, asked, question);
            to->key = moved(key, asked, question);
        } else {
            to->collection = moved(m.collection, body, answer);
            to->key = moved(m.key, body, answer);
        }
        to->found = m.found;
        to->value = moved(m.value, body, answer);
        to->lsn = m.lsn.v;
        to->time_us = m.time.us;
    }
    return rc;
}

static uint32_t most_records(const struct request *r)
{
    struct wire_get get = {0};
    struct wire_scan scan = {0};
    struct bytes body = bytes_of(r->body, r->size);
    int rc =
        r->type == FRAME_GET ? wire_read_get(body, &get, NULL) : wire_read_scan(body, &scan, NULL);
    check(rc == 0); /* we wrote it */
    return r->type == FRAME_GET ? get.count : scan.limit;
}

int client_read_answer(struct request *r, struct bytes body, struct err *e)
{
    struct reader in = reader_of(body);
    struct wire_read_header head;
    int rc = wire_read_read_header(&in, &head, e);
    if (rc != 0)
        return rc;
    bool get = r->type == FRAME_GET;
    enum wire_more more = WIRE_MORE_NONE;
    if (!get && (rc = wire_read_scan_more(&in, &more, e)) != 0)
        return rc;
    if (more == WIRE_MORE_AFTER_LAST && head.count == 0)
        return err_set(e, ERR_FORMAT, "no record, and more after the last of them");
    r->more = more != WIRE_MORE_NONE;
    const uint32_t most = most_records(r);
    if (in.bad || head.count > most || (get && head.count != most))
        return err_set(e, ERR_FORMAT, "%u records where %u were asked for", head.count, most);
    const size_t tokens_at = sizeof(struct block) + head.count * sizeof(struct tvn_record);
    const size_t size = tokens_at + (r->by_index ? head.count * sizeof(struct tvn_bytes) : 0);
    struct block *b = malloc(size + body.n + (get ? r->size : 0));
    if (b == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for an answer of %zu bytes", body.n);
    b->head = (struct tvn_records){head.lsn.v, head.age_us, head.count, b->records};
    uint8_t *answer = (uint8_t *)b + size, *question = answer + body.n;
    memcpy(answer, body.p, body.n);
    if (get)
        memcpy(question, r->body, r->size);
    struct tvn_bytes *tokens =
        r->by_index ? (struct tvn_bytes *)(void *)((uint8_t *)b + tokens_at) : NULL;
    rc = fill(r, b, tokens, &in, body, answer, question, e);
    if (rc == 0 && more == WIRE_MORE_AFTER_KEY) {
        struct bytes key;
        rc = wire_read_scan_after(&in, &key, e);
        if (rc == 0)
            r->after = bytes_of(answer + (key.p - body.p), key.n);
    }
    if (rc == 0 && !reader_done(&in))
        rc = err_set(e, ERR_FORMAT, "records end at byte %zu of %zu", in.at, in.n);
    if (rc != 0) {
        free(b);
        return rc;
    }
    r->records = &b->head;
    r->tokens = tokens;
    r->records_bytes = size + body.n + (get ? r->size : 0);
    return 0;
}

/* ---- gets ---- */

static int read_failed(struct tvn_error *error, const struct err *e)
{
    return client_error_set(error, e, TVN_NOT_APPLICABLE);
}

int tvn_get_many(struct tvn *db, const struct tvn_key *keys, size_t n, const struct tvn_read *how,
                 struct tvn_records **out, struct tvn_error *error)
{
    struct err e = ERR_NONE;
    struct request *r;
    uint32_t timeout_ms;
    *out = NULL;
    if (read_request(db, keys, n, how, &r, &timeout_ms, &e) != 0)
        return read_failed(error, &e);
    int rc = client_call(db, r, timeout_ms, error);
    *out = r->records;
    r->records = NULL;
    client_release(db, r);
    return rc;
}

int tvn_get(struct tvn *db, const char *collection, struct tvn_bytes key,
            const struct tvn_read *how, struct tvn_records **out, struct tvn_error *error)
{
    const struct tvn_key one = {collection, key};
    int rc = tvn_get_many(db, &one, 1, how, out, error);
    if (rc != 0)
        return rc;
    check(*out != NULL);
    if ((*out)->records[0].found)
        return 0;
    struct err e = ERR_NONE;
    err_set(&e, ERR_NOT_FOUND, "no such record in '%s' at lsn %llu", collection,
            (unsigned long long)(*out)->lsn);
    tvn_records_free(*out);
    *out = NULL;
    return read_failed(error, &e);
}

int tvn_submit_get(struct tvn *db, const struct tvn_key *keys, size_t n, const struct tvn_read *how,
                   tvn_on_records callback, void *arg, struct tvn_error *error)
{
    struct err e = ERR_NONE;
    struct request *r = NULL;
    uint32_t timeout_ms = 0;
    int rc = callback == NULL ? err_set(&e, ERR_USAGE, "a callback is required")
                              : read_request(db, keys, n, how, &r, &timeout_ms, &e);
    if (rc == 0) {
        r->on_records = callback;
        r->arg = arg;
        rc = client_submit(db, r, timeout_ms, false, &e);
    }
    if (rc != 0) {
        client_request_free(db, r);
        return read_failed(error, &e);
    }
    client_error_none(error);
    return 0;
}

/* ---- scans ---- */

struct tvn_scan {
    struct tvn *db;
    struct tvn_read how;
    char collection[COLLECTION_MAX_BYTES + 1];
    char index[INDEX_NAME_MAX_BYTES + 1];        /* "": by keys */
    struct bytes from, to, prefix, equal, after; /* into `memory` */
    uint8_t after_key[WIRE_TOKEN_MAX_BYTES];     /* a key or a token */
    uint8_t next[KEY_MAX_BYTES]; /* the next page begins after it; empty: after the last record */
    size_t next_n;
    bool reverse, end;
    uint64_t left; /* records still wanted */
    uint32_t page;
    struct tvn_records *records; /* the present page */
    const struct tvn_bytes *tokens;
    size_t at; /* next record of it */
    uint64_t lsn, age_us;
    uint8_t memory[];
};

/* What stands in the place of keys in a scan by an index is understood by the site. */
static int check_bounds(const struct tvn_scan_options *o, struct err *e)
{
    const size_t sizes[] = {o->from.size, o->to.size, o->prefix.size, o->equal.size};
    const bool by_index = o->index != NULL && o->index[0] != '\0';
    const size_t most = by_index ? WIRE_BOUND_MAX_BYTES : KEY_MAX_BYTES;
    const size_t token = by_index ? WIRE_TOKEN_MAX_BYTES : KEY_MAX_BYTES;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] > most)
            return err_set(e, ERR_LIMIT, "%s of %zu bytes: up to %zu are allowed",
                           by_index ? "bound" : "key", sizes[i], most);
    if (o->after.size > token)
        return err_set(e, ERR_LIMIT, "%s of %zu bytes: up to %zu are allowed",
                       by_index ? "token" : "key", o->after.size, token);
    if (!by_index && o->equal.size != 0)
        return err_set(e, ERR_USAGE, "'equal' is of scans by an index: name one, or ask by key");
    if (by_index && strlen(o->index) > INDEX_NAME_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "index name of %zu bytes: up to %d are allowed",
                       strlen(o->index), INDEX_NAME_MAX_BYTES);
    return 0;
}

static int check_scan(const struct tvn_scan_options *o, struct err *e)
{
    const struct op key = {OP_DELETE,
                           bytes_str(o->collection == NULL ? "" : o->collection),
                           bytes_str("k"),
                           {NULL, 0}};
    int rc = op_check(&key, true, e);
    if (rc == 0)
        rc = check_bounds(o, e);
    if (rc == 0 && o->page > WIRE_SCAN_MAX_RECORDS)
        rc = err_set(e, ERR_LIMIT, "page of %u records: up to %d are allowed", o->page,
                     WIRE_SCAN_MAX_RECORDS);
    return rc;
}

static struct bytes keep(uint8_t **at, struct tvn_bytes b)
{
    struct bytes kept = bytes_of(*at, b.size);
    if (b.size != 0)
        memcpy(*at, b.data, b.size);
    *at += b.size;
    return kept;
}

int tvn_scan_open(struct tvn *db, const struct tvn_scan_options *options,
                  const struct tvn_read *how, struct tvn_scan **out, struct tvn_error *error)
{
    struct err e = ERR_NONE;
    struct tvn_scan_options o = TVN_SCAN_INIT;
    *out = NULL;
    client_error_none(error);
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    const struct tvn_read h = how_of(how);
    if (check_scan(&o, &e) != 0 || check_how(&h, &e) != 0)
        return read_failed(error, &e);
    struct tvn_scan *s = calloc(1, sizeof *s + o.from.size + o.to.size + o.prefix.size +
                                       o.equal.size + o.after.size);
    if (s == NULL) {
        err_set(&e, ERR_NO_MEMORY, "out of memory");
        return read_failed(error, &e);
    }
    uint8_t *at = s->memory;
    s->db = db;
    s->how = h;
    memcpy(s->collection, o.collection, strlen(o.collection) + 1);
    if (o.index != NULL)
        memcpy(s->index, o.index, strlen(o.index) + 1);
    s->from = keep(&at, o.from);
    s->to = keep(&at, o.to);
    s->prefix = keep(&at, o.prefix);
    s->equal = keep(&at, o.equal);
    s->after = keep(&at, o.after);
    s->reverse = o.reverse != 0;
    s->left = o.limit == 0 ? UINT64_MAX : o.limit;
    s->page = o.page == 0 ? SCAN_PAGE_DEFAULT : o.page;
    *out = s;
    return 0;
}

static struct request *page_request(struct tvn_scan *s)
{
    struct read_head head = head_of(s->db, &s->how);
    struct wire_scan m = {
        .flags = head.flags,
        .snapshot = head.snapshot,
        .min_lsn = head.min_lsn,
        .collection = bytes_str(s->collection),
        .from = s->from,
        .to = s->to,
        .prefix = s->prefix,
        .after = s->after,
        .reverse = s->reverse,
        .limit = s->left < s->page ? (uint32_t)s->left : s->page,
        .as_of = as_of(&s->how),
        .index = bytes_str(s->index),
        .equal = s->equal,
    };
    const bool by_index = m.index.n != 0;
    const size_t size = 4 + 8 + 8 + 5 * 2 + m.collection.n + m.from.n + m.to.n + m.prefix.n +
                        m.after.n + 1 + 4 + (by_index || m.as_of.kind != AS_OF_NONE ? 1 + 8 : 0) +
                        (by_index ? 2 + m.index.n + 2 + m.equal.n : 0);
    struct request *r = client_request_new(s->db, FRAME_SCAN, size);
    if (r == NULL)
        return NULL;
    struct writer w = writer_of(r->body, r->size);
    wire_write_scan(&w, &m);
    check(!w.bad && w.at == size);
    r->link = head.link;
    r->by_index = by_index;
    return r;
}

/* A key or a token. */
static void continue_after(struct tvn_scan *s, struct bytes place)
{
    size_t n = place.n < sizeof s->after_key ? place.n : sizeof s->after_key;
    memcpy(s->after_key, place.p, n);
    s->after = bytes_of(s->after_key, n);
}

static int fetch_page(struct tvn_scan *s, struct tvn_error *error)
{
    struct request *r = page_request(s);
    if (r == NULL) {
        struct err e = ERR_NONE;
        err_set(&e, ERR_NO_MEMORY, "out of memory");
        return read_failed(error, &e);
    }
    int rc = client_call(s->db, r, s->how.timeout_ms, error);
    if (rc == 0) {
        tvn_records_free(s->records);
        s->records = r->records;
        s->tokens = r->tokens;
        r->records = NULL;
        s->at = 0;
        s->lsn = s->records->lsn;
        s->age_us = s->records->age_us;
        if (s->how.snapshot == NULL && s->lsn > s->how.min_lsn)
            s->how.min_lsn = s->lsn;
        s->next_n = r->after.n;
        if (r->after.n != 0)
            memcpy(s->next, r->after.p, r->after.n);
        s->end = !r->more;
    }
    client_release(s->db, r);
    return rc;
}

int tvn_scan_next(struct tvn_scan *s, struct tvn_record *record, struct tvn_error *error)
{
    client_error_none(error);
    if (s->left == 0)
        return 0;
    while (s->records == NULL || s->at == s->records->count) {
        if (s->end)
            return 0;
        if (s->next_n != 0)
            continue_after(s, bytes_of(s->next, s->next_n));
        int rc = fetch_page(s, error);
        if (rc != 0)
            return rc;
    }
    *record = s->records->records[s->at];
    const struct tvn_bytes *place = s->tokens != NULL ? &s->tokens[s->at] : &record->key;
    continue_after(s, bytes_of(place->data, place->size));
    s->at++;
    s->left--;
    return 1;
}

struct tvn_bytes tvn_scan_token(const struct tvn_scan *s)
{
    return tvn_view(s->after.n == 0 ? NULL : s->after.p, s->after.n);
}

uint64_t tvn_scan_lsn(const struct tvn_scan *s)
{
    return s->lsn;
}

uint64_t tvn_scan_age_us(const struct tvn_scan *s)
{
    return s->age_us;
}

void tvn_scan_close(struct tvn_scan *s)
{
    if (s == NULL)
        return;
    tvn_records_free(s->records);
    free(s);
}
