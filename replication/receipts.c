/* Receipts: at the archive's site, proofs of single transactions for clients, made from the files of the archive as anybody could
 * make them (repository/proof.h), and from the log while it still has the entry.
 *
 * A client asks until it is told "ready" (the admin command "receipt"): the loop never waits for a disk. The first question is
 * taken into a place; a thread makes the proof, or finds why there is none yet; the next question is answered from the place and
 * frees it. There are RECEIPTS_MAX places; what nobody fetches for RECEIPT_KEEP_MS gives way. While a receipt is waited for, what
 * waits to be archived is sealed after pack_seconds, however little it is.
 *
 * A receipt is given when the published checkpoint holds the transaction and has as many cosignatures as were asked for (of
 * all data sites, when nothing was said). What makes it wait is told, so that whoever waits can say it.
 *
 * LIMIT. An entry of more than RECEIPT_ENTRY_BYTES gets no receipt here: `triveni archive prove` makes it from the archive. */
#include "replication/site_parts.h"
#include "replication/worker.h"

#include "repository/proof.h"
#include "store/core/check.h"

#include <stdlib.h>

enum {
    RECEIPTS_MAX = 16,
    RECEIPT_KEEP_MS = 10000,
    RECEIPT_WAIT_MS = 500,
    RECEIPT_ENTRY_BYTES = 4 << 20,
};

struct place {
    enum { PLACE_FREE, PLACE_ASKED, PLACE_DONE } state;
    struct lsn lsn;
    unsigned cosigners;
    uint64_t at_ms; /* asked for, or done */
    uint8_t *proof; /* PLACE_DONE: allocated; NULL: there is none, `why` says why */
    size_t bytes;
    struct err why;
};

struct receipts {
    struct site *site;
    struct worker worker;
    struct place places[RECEIPTS_MAX];
};

/* ---- making one: the thread ---- */

static int count_cosigner(void *arg, const struct tlog_key *key, uint64_t time_s)
{
    (void)key, (void)time_s;
    (*(unsigned *)arg)++;
    return 0;
}

/* The newest checkpoint, when it is good enough. ERR_NOT_READY: not yet. */
static int open_tree(struct receipts *r, const struct place *p, struct repository_tree **out,
                     struct err *e)
{
    unsigned cosigners = 0;
    int rc = repository_tree_read(out, r->site->config->archive_dir, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_NOT_READY, "the archive has no signed tree yet");
    if (rc != 0)
        return rc;
    uint64_t size = repository_tree_checkpoint(*out)->size;
    if (size < p->lsn.v)
        return err_set(e, ERR_NOT_READY, "the signed tree ends at lsn %llu",
                       (unsigned long long)size);
    rc = repository_tree_cosigners(*out, count_cosigner, &cosigners, e);
    if (rc == 0 && cosigners < p->cosigners)
        rc = err_set(e, ERR_NOT_READY, "cosigned by %u of %u sites", cosigners, p->cosigners);
    return rc;
}

struct copy {
    uint8_t *bytes;
    size_t n;
    struct err *e;
};

static int copy_entry(void *arg, const struct entry_view *v)
{
    struct copy *c = arg;
    c->n = ENTRY_HEADER_BYTES + (size_t)v->header.body_bytes;
    if (c->n > RECEIPT_ENTRY_BYTES)
        return err_set(
            c->e, ERR_LIMIT,
            "the transaction has %zu bytes, at most %d are given: 'triveni archive prove' "
            "makes a proof of it",
            c->n, RECEIPT_ENTRY_BYTES);
    c->bytes = malloc(c->n);
    if (c->bytes == NULL)
        return err_set(c->e, ERR_NO_MEMORY, "out of memory for an entry of %zu bytes", c->n);
    memcpy(c->bytes, v->raw, ENTRY_HEADER_BYTES);
    memcpy(c->bytes + ENTRY_HEADER_BYTES, v->body, v->header.body_bytes);
    return 0;
}

static int entry_from_packs(struct receipts *r, struct lsn lsn, struct copy *c)
{
    const struct site_config *config = r->site->config;
    struct repository *repository = NULL;
    int rc = repository_open(&repository,
                             &(struct repository_options){.dir = config->archive_dir,
                                                          .kek_file = config->kek_file,
                                                          .cluster_id = config->cluster_id,
                                                          .read_only = true},
                             c->e);
    if (rc == 0)
        rc = repository_entries(repository, lsn, lsn, copy_entry, c, c->e);
    repository_close(repository);
    if (rc == 0 && c->bytes == NULL)
        rc = err_set(c->e, ERR_NOT_FOUND, "the archive has no lsn %llu", (unsigned long long)lsn.v);
    return rc;
}

static int find_entry(struct receipts *r, struct lsn lsn, struct copy *c)
{
    size_t count;
    struct err gone = ERR_NONE;
    c->bytes = malloc(RECEIPT_ENTRY_BYTES);
    if (c->bytes == NULL)
        return err_set(c->e, ERR_NO_MEMORY, "out of memory for an entry");
    int rc = log_read(r->site->log, lsn, lsn, c->bytes, RECEIPT_ENTRY_BYTES, &c->n, &count, &gone);
    if (rc == 0)
        return 0;
    free(c->bytes);
    c->bytes = NULL;
    return entry_from_packs(r, lsn, c);
}

static int make(struct receipts *r, const struct place *p, uint8_t **proof, size_t *n,
                struct err *e)
{
    struct repository_tree *t = NULL;
    struct entry_view v;
    struct copy c = {.e = e};
    size_t used;
    int rc = open_tree(r, p, &t, e);
    if (rc == 0)
        rc = find_entry(r, p->lsn, &c);
    if (rc == 0)
        rc = entry_decode(bytes_of(c.bytes, c.n), &v, &used, e);
    if (rc == 0 && v.header.kind != ENTRY_TXN)
        rc = err_set(e, ERR_NOT_FOUND, "lsn %llu is no transaction but of kind %s",
                     (unsigned long long)p->lsn.v, entry_kind_name(v.header.kind));
    if (rc == 0)
        rc = repository_tree_prove(t, &v, bytes_of(NULL, 0), bytes_of(NULL, 0), proof, n, e);
    free(c.bytes);
    repository_tree_close(t);
    return rc;
}

/* With the lock held, which is given up while it works. */
static void serve(struct receipts *r, struct place *p)
{
    struct place now = *p;
    struct err e = ERR_NONE;
    worker_unlock(&r->worker);
    int rc = make(r, &now, &now.proof, &now.bytes, &e);
    worker_lock(&r->worker);
    p->state = PLACE_DONE;
    p->proof = rc == 0 ? now.proof : NULL;
    p->bytes = now.bytes;
    p->why = e;
    p->at_ms = site_now_ms();
}

static void free_place(struct place *p)
{
    free(p->proof);
    *p = (struct place){.state = PLACE_FREE};
}

static void *receipts_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "receipts");
    site_background();
    struct receipts *r = arg;
    worker_lock(&r->worker);
    while (!r->worker.stop) {
        struct place *next = NULL;
        for (size_t i = 0; i < RECEIPTS_MAX; i++) {
            struct place *p = &r->places[i];
            if (p->state == PLACE_DONE && site_now_ms() > p->at_ms + RECEIPT_KEEP_MS)
                free_place(p);
            if (p->state == PLACE_ASKED && (next == NULL || p->at_ms < next->at_ms))
                next = p;
        }
        if (next != NULL)
            serve(r, next);
        else
            worker_wait(&r->worker, RECEIPT_WAIT_MS);
    }
    worker_unlock(&r->worker);
    return NULL;
}

int receipts_start(struct site *s, struct receipts **out, struct err *e)
{
    struct receipts *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    r->site = s;
    int rc = worker_start(&r->worker, receipts_main, r, "makes receipts", e);
    if (rc != 0) {
        free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void receipts_stop(struct receipts *r)
{
    if (r == NULL)
        return;
    worker_end(&r->worker);
    worker_deinit(&r->worker);
    for (size_t i = 0; i < RECEIPTS_MAX; i++)
        free_place(&r->places[i]);
    free(r);
}

/* ---- the loop ---- */

/* All data sites of the list in force. */
static unsigned all_cosigners(const struct site *s)
{
    const struct repl_members *m = &s->view.list.members;
    unsigned n = 0;
    for (uint8_t i = 0; i < s->config->member_count; i++)
        n += i != s->config->self && s->config->members[i].kind == SITE_DATA &&
             (m->all == 0 || (m->all >> i & 1) != 0);
    return n;
}

/* With the lock held. The place of that question, or a free one for it; NULL: all are taken. */
static struct place *place_of(struct receipts *r, struct lsn lsn, unsigned cosigners)
{
    struct place *empty = NULL;
    for (size_t i = 0; i < RECEIPTS_MAX; i++) {
        struct place *p = &r->places[i];
        if (p->state != PLACE_FREE && p->lsn.v == lsn.v && p->cosigners == cosigners)
            return p;
        if (p->state == PLACE_FREE)
            empty = p;
    }
    if (empty != NULL)
        *empty = (struct place){
            .state = PLACE_ASKED, .lsn = lsn, .cosigners = cosigners, .at_ms = site_now_ms()};
    return empty;
}

static json_t *waits(const char *why)
{
    return json_pack("{s:s, s:s}", "state", "waits", "why", why);
}

/* With the lock held. A place that is done is read once. */
static int answer(struct receipts *r, struct place *p, json_t **reply, struct err *e)
{
    int rc = 0;
    if (p->state == PLACE_ASKED) {
        *reply = waits("it is being made");
        worker_wake(&r->worker);
        return 0;
    }
    if (p->proof != NULL)
        *reply =
            json_pack("{s:s, s:s%}", "state", "ready", "proof", (const char *)p->proof, p->bytes);
    else if (p->why.code == ERR_NOT_READY)
        *reply = waits(p->why.text);
    else
        rc = err_set(e, p->why.code, "%s", p->why.text);
    free_place(p);
    return rc;
}

int receipts_command(struct site *s, json_t *arguments, json_t **reply, struct err *e)
{
    const json_int_t lsn = json_integer_value(json_object_get(arguments, "lsn"));
    const json_t *wanted = json_object_get(arguments, "cosigners");
    const unsigned all = all_cosigners(s);
    const json_int_t cosigners = json_is_integer(wanted) ? json_integer_value(wanted) : all;
    if (s->receipts == NULL)
        return err_set(e, ERR_USAGE, "%s keeps no archive: ask a repository site",
                       s->config->members[s->config->self].name);
    if (lsn <= 0 || cosigners < 0 || cosigners > all)
        return err_set(e, ERR_USAGE, "a receipt needs an lsn, and at most %u cosigners", all);
    if ((uint64_t)lsn > s->marks.commit.v) {
        *reply = waits("this site has not heard that it is committed");
        return *reply != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory for the answer");
    }
    if ((uint64_t)lsn > s->marks.archived.v)
        archiver_hurry(s->archiver);
    struct receipts *r = s->receipts;
    worker_lock(&r->worker);
    struct place *p = place_of(r, (struct lsn){(uint64_t)lsn}, (unsigned)cosigners);
    int rc = 0;
    if (p == NULL)
        *reply = waits("many others are being made");
    else
        rc = answer(r, p, reply, e);
    worker_unlock(&r->worker);
    return rc != 0 || *reply != NULL ? rc
                                     : err_set(e, ERR_NO_MEMORY, "out of memory for the answer");
}
