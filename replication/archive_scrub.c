/* The archive and its copies are read again, part by part (objects, stretches of the signed tree, the files on which
 * everything rests), in each place the one that was longest not verified first, within one budget of bytes a second for all of
 * them; so each is decrypted, decoded and compared with what its meta says while another place still has what was lost.
 *
 * One thread does it, so that the budget is one; the places take turns, object by object, and who cannot be read has no turn.
 * What is done at a place is in archive_scrub_place.c. When it has gone once round the archive itself, that is one operation
 * in the archive's log (repository/operations.h). */
#include "replication/archive_scrub_parts.h"

enum { SCRUB_WAIT_MS = 500, SCRUB_REST_MS = 20 };

/* ---- the budget ---- */

static void wait_ms(struct archive_scrub *c, uint64_t ms)
{
    const uint64_t until = site_now_ms() + ms;
    worker_lock(&c->worker);
    for (uint64_t now = site_now_ms(); !c->worker.stop && now < until; now = site_now_ms())
        worker_wait(&c->worker, until - now);
    worker_unlock(&c->worker);
}

bool archive_scrub_stopped(struct archive_scrub *c)
{
    worker_lock(&c->worker);
    bool stop = c->worker.stop;
    worker_unlock(&c->worker);
    return stop;
}

void archive_scrub_begin(struct archive_scrub *c)
{
    c->object_bytes = 0;
}

/* Rest as long as that may take. Small objects are paid for together. */
void archive_scrub_read(struct scrub_place *p, uint64_t bytes)
{
    struct archive_scrub *c = p->scrub;
    const uint64_t more = bytes > c->object_bytes ? bytes - c->object_bytes : 0;
    c->object_bytes += more;
    c->unpaid_bytes += more;
    worker_lock(&c->worker);
    p->shown.bytes += more;
    worker_unlock(&c->worker);
    const uint64_t ms = c->unpaid_bytes * 1000 / c->site->config->archive_scrub_bytes;
    if (ms < SCRUB_REST_MS)
        return;
    c->unpaid_bytes = 0;
    wait_ms(c, ms);
}

/* ---- the thread ---- */

/* True: there was something to read. */
static bool step(struct archive_scrub *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct scrub_place *p = &c->at[(c->turn + i) % c->n];
        if (scrub_place_step(p)) {
            c->turn = (size_t)(p - c->at) + 1;
            return true;
        }
    }
    return false;
}

static void *scrub_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "archive-scrub");
    site_background();
    struct archive_scrub *c = arg;
    while (!archive_scrub_stopped(c))
        if (!step(c))
            wait_ms(c, SCRUB_WAIT_MS);
    for (size_t i = 0; i < c->n; i++)
        scrub_place_save(&c->at[i]);
    return NULL;
}

static void release(struct archive_scrub *c)
{
    for (size_t i = 0; i < c->n; i++)
        scrub_place_deinit(&c->at[i]);
    free(c);
}

int archive_scrub_start(struct site *s, struct archive_scrub **out, struct err *e)
{
    *out = NULL;
    if (s->config->archive_scrub_bytes == 0)
        return 0;
    struct archive_scrub *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->site = s;
    int rc = 0;
    for (; rc == 0 && c->n < 1 + s->config->copy_count; c->n++)
        rc = scrub_place_init(&c->at[c->n], c, (int)c->n + SCRUB_ARCHIVE, e);
    if (rc == 0)
        rc = worker_start(&c->worker, scrub_main, c, "reads the archive again", e);
    if (rc == 0)
        *out = c;
    else
        release(c);
    return rc;
}

void archive_scrub_stop(struct archive_scrub *c)
{
    if (c == NULL)
        return;
    worker_end(&c->worker);
    worker_deinit(&c->worker);
    release(c);
}

/* ---- the loop ---- */

json_t *archive_scrub_json(struct archive_scrub *c, int copy)
{
    json_t *o = NULL;
    if (c == NULL)
        return json_null();
    const struct scrub_place *p = &c->at[copy - SCRUB_ARCHIVE];
    worker_lock(&c->worker);
    if (p->shown.known)
        o = json_pack(
            "{s:I,s:o,s:I,s:I,s:I,s:s}", "objects", (json_int_t)p->shown.objects, "oldest_us",
            p->shown.oldest.us != 0 ? json_integer((json_int_t)p->shown.oldest.us) : json_null(),
            "bytes", (json_int_t)p->shown.bytes, "damaged", (json_int_t)p->shown.damaged, "healed",
            (json_int_t)p->shown.healed, "ledger", p->file);
    worker_unlock(&c->worker);
    return o != NULL ? o : json_null();
}

/* With the lock held. */
static void add_trouble(const struct scrub_place *p, void (*add)(void *arg, const char *text),
                        void *arg)
{
    char text[sizeof p->title + ERR_TEXT_BYTES + 64];
    for (size_t i = 0; i < SCRUB_NAMED && i < p->shown.damaged; i++) {
        (void)snprintf(text, sizeof text, "archive: %sdamaged: %s", p->title, p->shown.named[i]);
        if (p->shown.named[i][0] != '\0')
            add(arg, text);
    }
    if (p->shown.damaged > SCRUB_NAMED) {
        (void)snprintf(text, sizeof text,
                       "archive: %s%llu objects are damaged: triveni archive verify names them",
                       p->title, (unsigned long long)p->shown.damaged);
        add(arg, text);
    }
    if (p->shown.why[0] != '\0') {
        (void)snprintf(text, sizeof text, "archive: %sit cannot be read again: %s", p->title,
                       p->shown.why);
        add(arg, text);
    }
}

void archive_scrub_trouble(struct archive_scrub *c, void (*add)(void *arg, const char *text),
                           void *arg)
{
    if (c == NULL)
        return;
    worker_lock(&c->worker);
    for (size_t i = 0; i < c->n; i++)
        add_trouble(&c->at[i], add, arg);
    worker_unlock(&c->worker);
}
