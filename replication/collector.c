/* The collector: at the archive's site, asks the data sites to cosign each signed checkpoint before it is published, and gives
 * them the headers that their own logs do not have any more (replication/core/cosign.h; cosigner.c is the other side).
 *
 * The loop asks every data site whose link is up, once for each checkpoint, and tells the archiver when all have answered or
 * COLLECT_MS are over; so a site that is gone delays nothing, and one that hangs only so long. Who did not answer, or could not,
 * is asked again: what comes late is added to the published checkpoint. What a site answers is checked by the archiver's thread.
 *
 * Headers are read from the archive's files by a thread of its own, a row at a time for each site. */
#include "replication/site_parts.h"

#include "repository/proof.h"
#include "store/core/check.h"
#include "store/io/cond.h"

#include <stdlib.h>

enum {
    COLLECT_MS = 5000,
    COLLECT_BUSY_MS = 200,   /* who is a little behind is asked again so soon */
    COLLECT_AGAIN_MS = 5000, /* who did not answer, or refused */
    COLLECT_WAIT_MS = 500,
};

struct asked {
    uint64_t generation; /* of the checkpoint that the site was asked about last */
    uint64_t again_ms;   /* when to ask again */
    bool answered;       /* with a cosignature */
    bool waited;         /* its answer is waited for */
    int32_t code;        /* why it did not; 0: it did, or was not asked yet */
    char why[COSIGN_TEXT_BYTES];
};

struct row {
    enum { ROW_FREE, ROW_ASKED, ROW_READY } state;
    uint64_t id;
    struct lsn lsn;
    size_t n;
    uint8_t *headers; /* allocated when it is first needed */
    struct err why;
};

struct collector {
    struct site *site;
    /* the loop's */
    struct archiver_draft draft;
    uint64_t since_ms;
    bool over;
    struct asked asked[REPL_SITES_MAX];
    /* shared with the thread */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool stop;
    struct row rows[REPL_SITES_MAX];
};

/* ---- headers: the thread ---- */

static struct row *row_asked(struct collector *c)
{
    for (size_t i = 0; i < REPL_SITES_MAX; i++)
        if (c->rows[i].state == ROW_ASKED)
            return &c->rows[i];
    return NULL;
}

/* With the lock held, which is given up while it reads. */
static void read_row(struct collector *c, struct row *r)
{
    struct err e = ERR_NONE;
    const struct lsn lsn = r->lsn;
    size_t n = 0;
    if (r->headers == NULL && (r->headers = malloc(COSIGN_ROW_MAX_BYTES)) == NULL) {
        (void)err_set(&e, ERR_NO_MEMORY, "out of memory for headers");
    } else {
        uint8_t *headers = r->headers;
        (void)pthread_mutex_unlock(&c->lock);
        (void)repository_tree_headers(c->site->config->archive_dir, lsn, COSIGN_ROW_MAX_HEADERS,
                                      headers, &n, &e);
        (void)pthread_mutex_lock(&c->lock);
    }
    if (r->lsn.v != lsn.v)
        return; /* asked anew meanwhile */
    r->n = n;
    r->why = e;
    r->state = ROW_READY;
    (void)uv_async_send(&c->site->wake);
}

static void *collector_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "collector");
    site_background();
    struct collector *c = arg;
    (void)pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        struct row *r = row_asked(c);
        if (r != NULL)
            read_row(c, r);
        else
            (void)cond_wait_ms(&c->news, &c->lock, COLLECT_WAIT_MS);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return NULL;
}

int collector_start(struct site *s, struct collector **out, struct err *e)
{
    struct collector *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->site = s;
    (void)pthread_mutex_init(&c->lock, NULL);
    cond_init(&c->news);
    if (pthread_create(&c->thread, NULL, collector_main, c) != 0) {
        (void)pthread_cond_destroy(&c->news);
        (void)pthread_mutex_destroy(&c->lock);
        free(c);
        return err_set(e, ERR_NO_MEMORY, "cannot start the thread that reads headers");
    }
    *out = c;
    return 0;
}

void collector_stop(struct collector *c)
{
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->stop = true;
    (void)pthread_cond_broadcast(&c->news);
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_join(c->thread, NULL);
    (void)pthread_cond_destroy(&c->news);
    (void)pthread_mutex_destroy(&c->lock);
    for (size_t i = 0; i < REPL_SITES_MAX; i++)
        free(c->rows[i].headers);
    free(c);
}

static void send_row(struct collector *c, uint8_t to, struct row *r)
{
    const bool failed = r->why.code != 0;
    char text[COSIGN_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%.*s", COSIGN_TEXT_BYTES - 1,
                   r->why.text[0] != '\0' ? r->why.text : "it failed");
    const struct cosign_message m = {
        .kind = COSIGN_ROW,
        .code = r->why.code,
        .id = r->id,
        .lsn = r->lsn,
        .payload = failed ? bytes_str(text) : bytes_of(r->headers, r->n * ENTRY_HEADER_BYTES)};
    (void)peers_send_cosign(c->site, to, &m);
    r->state = ROW_FREE;
}

/* ---- cosignatures: the loop ---- */

static bool is_witness(const struct site *s, uint8_t i)
{
    const struct repl_members *m = &s->view.list.members;
    return i != s->config->self && s->config->members[i].kind == SITE_DATA &&
           (m->all == 0 || (m->all >> i & 1) != 0);
}

static void ask(struct collector *c, uint8_t i, uint64_t now)
{
    struct asked *a = &c->asked[i];
    struct tlog_checkpoint checkpoint;
    struct tlog_note note;
    struct bytes text = bytes_of(c->draft.note, c->draft.note_bytes);
    if (tlog_checkpoint_parse(text, &checkpoint, &note, NULL) != 0)
        return;
    const struct cosign_message m = {.kind = COSIGN_ASK,
                                     .id = c->draft.generation,
                                     .lsn = {checkpoint.size},
                                     .key = bytes_str(c->draft.key),
                                     .payload = text};
    a->waited = peers_send_cosign(c->site, i, &m);
    a->generation = c->draft.generation;
    a->again_ms = now + COLLECT_AGAIN_MS;
}

/* Is an answer of the site still to come? It is asked when that is due. */
static bool waits_for(struct collector *c, uint8_t i, uint64_t now)
{
    struct asked *a = &c->asked[i];
    if (!c->site->peers[i].up)
        return false;
    if (a->generation != c->draft.generation) {
        a->answered = a->waited = false;
        ask(c, i, now);
    } else if (!a->answered && now >= a->again_ms) {
        ask(c, i, now);
    }
    return a->waited && !a->answered;
}

void collector_progress(struct site *s)
{
    struct collector *c = s->collector;
    if (c == NULL)
        return;
    const uint64_t now = site_now_ms();
    if (archiver_draft_generation(s->archiver) != c->draft.generation) {
        archiver_draft(s->archiver, &c->draft);
        c->since_ms = now;
        c->over = false;
    }
    bool waits = false;
    for (uint8_t i = 0; c->draft.generation != 0 && i < s->config->member_count; i++)
        waits |= is_witness(s, i) && waits_for(c, i, now);
    if (c->draft.generation != 0 && !c->over && (!waits || now >= c->since_ms + COLLECT_MS)) {
        c->over = true;
        archiver_draft_over(s->archiver, c->draft.generation);
    }
    (void)pthread_mutex_lock(&c->lock);
    for (uint8_t i = 0; i < s->config->member_count; i++)
        if (c->rows[i].state == ROW_READY)
            send_row(c, i, &c->rows[i]);
    (void)pthread_mutex_unlock(&c->lock);
}

/* A site does not cosign. Told when the reason is a new one, and one that does not pass by itself. */
static void note_refusal(struct collector *c, uint8_t from, const struct cosign_message *m)
{
    struct asked *a = &c->asked[from];
    char why[COSIGN_TEXT_BYTES];
    const bool busy = m->code == ERR_BUSY;
    (void)snprintf(why, sizeof why, "%.*s", (int)m->payload.n, (const char *)m->payload.p);
    const bool told = a->code == m->code && strcmp(a->why, why) == 0;
    a->waited = busy;
    a->again_ms = site_now_ms() + (busy ? COLLECT_BUSY_MS : COLLECT_AGAIN_MS);
    if (busy)
        return;
    a->code = m->code;
    memcpy(a->why, why, sizeof why);
    if (!told)
        events_add(c->site->events,
                   "archive: %s does not cosign its checkpoint of %llu entries: %s",
                   c->site->config->members[from].name, (unsigned long long)m->lsn.v, why);
}

static void take_answer(struct collector *c, uint8_t from, const struct cosign_message *m)
{
    struct asked *a = &c->asked[from];
    if (m->id != c->draft.generation || a->generation != m->id)
        return; /* of an earlier checkpoint */
    if (m->code != 0) {
        note_refusal(c, from, m);
        return;
    }
    if (a->code != 0)
        events_add(c->site->events, "archive: %s cosigns its checkpoints again",
                   c->site->config->members[from].name);
    a->code = 0;
    a->why[0] = '\0';
    a->answered = true;
    archiver_cosign(c->site->archiver, from, m->id, m->key, m->payload);
}

void collector_message(struct collector *c, uint8_t from, const struct cosign_message *m)
{
    if (m->kind == COSIGN_ANSWER) {
        take_answer(c, from, m);
        collector_progress(c->site);
        return;
    }
    (void)pthread_mutex_lock(&c->lock);
    struct row *r = &c->rows[from];
    r->id = m->id;
    if (r->state != ROW_ASKED || r->lsn.v != m->lsn.v)
        r->state = ROW_ASKED;
    r->lsn = m->lsn;
    (void)pthread_cond_signal(&c->news);
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- for people ---- */

void collector_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg)
{
    struct collector *c = s->collector;
    char text[ERR_TEXT_BYTES + COSIGN_TEXT_BYTES];
    for (uint8_t i = 0; c != NULL && i < s->config->member_count; i++) {
        const struct asked *a = &c->asked[i];
        struct archiver_cosigned it;
        if (!is_witness(s, i))
            continue;
        archiver_cosigned(s->archiver, i, &it);
        const bool passes = a->code == ERR_NOT_READY || a->code == ERR_TIMEOUT ||
                            a->code == ERR_UNREACHABLE || a->code == ERR_CANCELLED ||
                            a->code == ERR_NOT_FOUND;
        if (a->code != 0 && !passes)
            (void)snprintf(text, sizeof text, "archive: %s does not cosign its checkpoints: %s",
                           s->config->members[i].name, a->why);
        else if (it.why[0] != '\0')
            (void)snprintf(text, sizeof text, "archive: a cosignature of %s is not good: %s",
                           s->config->members[i].name, it.why);
        else
            continue;
        tell(arg, text);
    }
}

json_t *collector_json(struct site *s)
{
    struct collector *c = s->collector;
    json_t *all = json_object();
    for (uint8_t i = 0; c != NULL && i < s->config->member_count; i++) {
        const struct asked *a = &c->asked[i];
        struct archiver_cosigned it;
        if (!is_witness(s, i))
            continue;
        archiver_cosigned(s->archiver, i, &it);
        json_object_set_new(
            all, s->config->members[i].name,
            json_pack("{s:b, s:o, s:o}", "cosigned",
                      it.generation != 0 && it.generation == c->draft.generation, "time_us",
                      it.time_s != 0 ? json_integer((json_int_t)it.time_s * 1000000) : json_null(),
                      "why", a->code != 0 ? json_string(a->why) : json_null()));
    }
    return all;
}
