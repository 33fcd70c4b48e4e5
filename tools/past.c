/* Records of the past: from the directory of an archive, or from the site that keeps one (its command "history").
 *
 * A site also answers for what it has not archived yet; a directory ends with its last pack. */
#include "tools/past.h"

#include "store/core/text.h"
#include "tools/admin.h"
#include "tools/progress.h"
#include "tools/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct past {
    struct repository *repository;
    struct tvn *db;
};

/* ---- moments ---- */

int when_parse(const char *text, struct restore_target *out, struct err *e)
{
    *out = (struct restore_target){.point = NULL};
    if (text == NULL)
        return 0;
    size_t digits = strspn(text, "0123456789");
    if (text[0] != '\0' && text[digits] == '\0') {
        errno = 0;
        out->lsn.v = strtoull(text, NULL, 10);
        return errno == 0 && out->lsn.v != 0
                   ? 0
                   : err_set(e, ERR_USAGE, "%s: the first transaction has lsn 1", text);
    }
    if (digits >= 4 && text[digits] == '-' && text[digits + 1] >= '0' && text[digits + 1] <= '9')
        return utc_parse(text, &out->time, e);
    out->point = text;
    return text[0] != '\0' ? 0 : err_set(e, ERR_USAGE, "an empty name: give %s", PAST_WHEN);
}

/* ---- open ---- */

/* A connection to the site that keeps the archive. */
static int open_keeper(const struct common *c, struct tvn **out, struct err *e)
{
    struct views views;
    char name[64] = "";
    int rc = views_collect(c, &views, e);
    for (size_t i = 0; i < views.count && rc == 0; i++) {
        size_t k;
        const json_t *row;
        json_array_foreach(json_object_get(views.v[i].status, "sites"), k, row)
        {
            if (strcmp(json_text(row, "kind", ""), "repository") == 0)
                (void)snprintf(name, sizeof name, "%s", json_text(row, "name", ""));
        }
    }
    views_free(&views);
    if (rc != 0)
        return rc;
    if (name[0] == '\0')
        return err_set(e, ERR_NOT_FOUND, "no site of this cluster keeps an archive");
    rc = open_site(c, name, out, e);
    return rc != 0 ? err_wrap(e, "the site that keeps the archive") : 0;
}

int past_open(struct past **out, const struct common *c, const char *dir, const char *kek,
              struct err *e)
{
    *out = NULL;
    if (dir != NULL && kek == NULL)
        return err_set(e, ERR_USAGE, "--kek is needed to read an archive's directory");
    struct past *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    const struct repository_options options = {.dir = dir, .kek_file = kek, .read_only = true};
    int rc = dir != NULL ? repository_open(&p->repository, &options, e) : open_keeper(c, &p->db, e);
    if (rc == 0)
        *out = p;
    else
        past_close(p);
    return rc;
}

void past_close(struct past *p)
{
    if (p == NULL)
        return;
    repository_close(p->repository);
    (void)tvn_close(p->db);
    free(p);
}

struct repository *past_repository(struct past *p)
{
    return p->repository;
}

/* ---- from a directory ---- */

struct local {
    const struct past_query *q;
    int (*each)(void *arg, const struct past_version *);
    void *arg;
    struct past_reach *reach;
    uint64_t count;
    bool limited;
};

static int take_local(void *arg, const struct evidence *v)
{
    struct local *l = arg;
    if (l->q->limit != 0 && l->count == l->q->limit) {
        l->reach->more = l->limited = true;
        return 1;
    }
    l->count++;
    const struct past_version x = {.lsn = v->entry.header.lsn.v,
                                   .time_us = v->entry.header.time.us,
                                   .put = v->op.kind == OP_PUT,
                                   .client = v->txn.client,
                                   .value = v->op.value,
                                   .bytes = v->op.value.n,
                                   .entry = &v->entry};
    return l->each(l->arg, &x);
}

static void on_read(void *arg, uint64_t done, uint64_t total)
{
    progress_show(arg, done, total, 0);
}

static void note_disposed(struct past_reach *reach, uint64_t last, const char *why)
{
    if (reach->disposed != 0 || last == 0)
        return;
    reach->disposed = last;
    (void)snprintf(reach->why, sizeof reach->why, "%s", why);
}

static int local_history(struct past *p, struct local *l, struct err *e)
{
    struct repository_gap gap = {.why = ERR_NONE};
    const struct past_query *q = l->q;
    struct repository_status s;
    struct progress bar;
    bool ignored;
    struct repository_query rq = {.collection = q->collection,
                                  .key = q->key,
                                  .progress = on_read,
                                  .progress_arg = &bar,
                                  .gap = &gap};
    bool from = q->from.lsn.v != 0 || q->from.time.us != 0 || q->from.point != NULL;
    repository_status(p->repository, &s);
    int rc = repository_resolve(p->repository, &q->to, &rq.to, &l->reach->open_end, e);
    if (rc == 0 && from)
        rc = repository_resolve(p->repository, &q->from, &rq.from, &ignored, e);
    if (rc != 0)
        return rc;
    l->reach->begin = s.first.v;
    l->reach->to = rq.to.v;
    progress_begin(&bar, "search", NULL, 0);
    rc = repository_history(p->repository, &rq, take_local, l, e);
    progress_end(&bar);
    note_disposed(l->reach, gap.last.v, gap.why.text);
    return l->limited ? 0 : rc;
}

/* ---- from a site ---- */

/* Text, or {"base64": …}; allocated. */
static int take_bytes(const json_t *v, uint8_t **out, size_t *n, struct err *e)
{
    const char *coded = json_string_value(json_object_get(v, "base64"));
    const char *text = coded != NULL ? coded : json_string_value(v);
    *n = coded != NULL ? strlen(coded) : json_string_length(v);
    *out = malloc(*n + 1);
    if (*out == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    if (text != NULL)
        memcpy(*out, text, *n);
    long size = coded != NULL ? base64_decode(bytes_of(*out, *n), *out) : (long)*n;
    if (text == NULL || size < 0)
        return err_set(e, ERR_FORMAT, "the site's answer holds no text where there must be one");
    *n = (size_t)size;
    return 0;
}

static json_t *give_bytes(struct bytes b)
{
    json_t *text = json_stringn((const char *)b.p, b.n);
    if (text != NULL)
        return text;
    char *coded = malloc(BASE64_BYTES(b.n));
    if (coded == NULL)
        return NULL;
    (void)base64_encode(b, coded);
    text = json_pack("{s:s}", "base64", coded);
    free(coded);
    return text;
}

static void add_target(json_t *o, const char *name, const struct restore_target *t)
{
    json_t *v = json_object();
    if (t->lsn.v != 0)
        (void)json_object_set_new(v, "lsn", json_integer((json_int_t)t->lsn.v));
    if (t->time.us != 0)
        (void)json_object_set_new(v, "time_us", json_integer((json_int_t)t->time.us));
    if (t->point != NULL)
        (void)json_object_set_new(v, "point", json_string(t->point));
    (void)json_object_set_new(o, name, v);
}

static int take_remote(const json_t *row, struct local *l, struct err *e)
{
    uint8_t *client = NULL;
    uint8_t *value = NULL;
    int64_t lsn = 0;
    int64_t time = 0;
    int64_t bytes = 0;
    struct past_version x = {.put = strcmp(json_text(row, "act", ""), "put") == 0};
    if (!json_number(row, "lsn", &lsn) || !json_number(row, "time_us", &time) ||
        !json_number(row, "bytes", &bytes))
        return err_set(e, ERR_FORMAT, "the site's answer names no lsn, time or size");
    int rc = take_bytes(json_object_get(row, "client"), &client, &x.client.n, e);
    const json_t *given = json_object_get(row, "value");
    if (rc == 0 && given != NULL)
        rc = take_bytes(given, &value, &x.value.n, e);
    x.client.p = client;
    x.value.p = value;
    x.lsn = (uint64_t)lsn;
    x.time_us = (uint64_t)time;
    x.bytes = (uint64_t)bytes;
    if (rc == 0)
        rc = l->each(l->arg, &x);
    free(client);
    free(value);
    return rc;
}

/* One page; *next is the lsn to go on at, 0: that was all. */
static int remote_page(struct past *p, struct local *l, uint64_t *next, struct err *e)
{
    const struct past_query *q = l->q;
    json_t *arguments = json_pack("{s:o, s:o, s:b, s:I}", "collection", give_bytes(q->collection),
                                  "key", give_bytes(q->key), "values", (int)q->values, "limit",
                                  (json_int_t)(q->limit != 0 ? q->limit - l->count : 0));
    struct restore_target to = q->to;
    if (*next != 0)
        to = (struct restore_target){.lsn = {*next}};
    json_t *reply = NULL;
    if (arguments == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    add_target(arguments, "from", &q->from);
    add_target(arguments, "to", &to);
    int rc = admin_call(p->db, "history", arguments, &reply, e);
    if (rc != 0)
        return rc;
    int64_t number = 0;
    if (*next == 0) {
        l->reach->open_end = json_is_true(json_object_get(reply, "open_end"));
        if (json_number(reply, "to", &number))
            l->reach->to = (uint64_t)number;
        if (json_number(reply, "begin", &number))
            l->reach->begin = (uint64_t)number;
    }
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(reply, "versions"), i, row)
    {
        l->count++;
        if (rc == 0)
            rc = take_remote(row, l, e);
    }
    *next = json_number(reply, "next", &number) ? (uint64_t)number : 0;
    const json_t *disposed = json_object_get(reply, "disposed");
    if (json_number(disposed, "last", &number))
        note_disposed(l->reach, (uint64_t)number, json_text(disposed, "why", ""));
    json_decref(reply);
    return rc;
}

static int remote_history(struct past *p, struct local *l, struct err *e)
{
    uint64_t next = 0;
    int rc;
    do
        rc = remote_page(p, l, &next, e);
    while (rc == 0 && next != 0 && (l->q->limit == 0 || l->count < l->q->limit));
    l->reach->more = next != 0;
    return rc;
}

int past_history(struct past *p, const struct past_query *q,
                 int (*each)(void *arg, const struct past_version *), void *arg,
                 struct past_reach *reach, struct err *e)
{
    struct local l = {.q = q, .each = each, .arg = arg, .reach = reach};
    *reach = (struct past_reach){.more = false};
    return p->repository != NULL ? local_history(p, &l, e) : remote_history(p, &l, e);
}

/* ---- as of a moment ---- */

struct keeping {
    struct tvn_record *record;
    struct err *e;
};

static int keep_version(void *arg, const struct past_version *v)
{
    const struct keeping *k = arg;
    struct tvn_record *r = k->record;
    r->found = v->put;
    r->lsn = v->lsn;
    r->time_us = v->time_us;
    if (!v->put)
        return 0;
    uint8_t *copy = malloc(v->value.n + 1);
    if (copy == NULL)
        return err_set(k->e, ERR_NO_MEMORY, "no memory for a value of %zu bytes", v->value.n);
    if (v->value.n != 0)
        memcpy(copy, v->value.p, v->value.n);
    r->value = (struct tvn_bytes){copy, v->value.n};
    /* cppcheck-suppress memleak ; it is the record's */
    return 0;
}

int past_records(struct past *p, struct bytes collection, const struct tvn_key *keys, size_t count,
                 const struct restore_target *at, struct tvn_record *records,
                 struct past_reach *reach, struct err *e)
{
    int rc = 0;
    struct restore_target to = *at;
    memset(records, 0, count * sizeof *records);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct past_query q = {.collection = collection,
                                     .key = bytes_of(keys[i].key.data, keys[i].key.size),
                                     .to = to,
                                     .limit = 1,
                                     .values = true};
        struct keeping k = {&records[i], e};
        records[i].collection = (struct tvn_bytes){collection.p, collection.n};
        records[i].key = keys[i].key;
        rc = past_history(p, &q, keep_version, &k, reach, e);
        if (rc == 0 && reach->disposed > records[i].lsn)
            rc = err_set(e, ERR_NOT_FOUND,
                         "what the record was up to lsn %llu cannot be told: %.330s. If it is the "
                         "same since, a restore of a later moment has it",
                         (unsigned long long)reach->to, reach->why);
        to = (struct restore_target){.lsn = {reach->to}}; /* all from one state */
    }
    if (rc == 0 && reach->open_end)
        rc = err_set(e, ERR_NOT_FOUND,
                     "the archive ends at lsn %llu, before that time: later transactions up to it "
                     "may exist. 'triveni archive seal' archives them",
                     (unsigned long long)reach->to);
    return rc;
}

void past_records_free(struct tvn_record *records, size_t count)
{
    for (size_t i = 0; records != NULL && i < count; i++) {
        union {
            const void *kept;
            void *p;
        } value = {records[i].value.data};
        free(value.p);
    }
    free(records);
}

void say_reach(const struct past_reach *reach)
{
    if (reach->begin > 1)
        say("what is known begins with lsn %llu: earlier versions may have been",
            (unsigned long long)reach->begin);
    if (reach->disposed != 0)
        say("versions up to lsn %llu may have been: %s", (unsigned long long)reach->disposed,
            reach->why);
    if (reach->open_end)
        say("what is known ends at lsn %llu, before that time: later transactions up to it may "
            "exist",
            (unsigned long long)reach->to);
}
