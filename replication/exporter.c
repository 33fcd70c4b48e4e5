/* Exporting what is to be cut: a thread writes the divergence bundle, and the loop goes on meanwhile.
 *
 * A tail of a hundred thousand records takes seconds to write. So long the site must go on hearing heartbeats and answering them,
 * and those who ask how it is. What it does not do meanwhile is for the protocol to say (replication/core/repl_cut.c): the log
 * stays as it is, and nothing that contradicts it is taken.
 *
 * ORDERS. One thread for one export. An order that comes while another export is under way makes that one unwanted, and is
 * carried out when its thread has ended, which is soon: it looks before each entry. What was written and is not wanted any more,
 * because the log has grown since, is removed; so is what a former process left (divergence_left.c).
 *
 * FAILURE MODES. What has to be cut and cannot be exported stops the site: without the bundle nothing may be undone, and without
 * the cut the site cannot follow. It tries again when it is started. An export for people only (a site that was declared lost) is
 * told. */
#include "replication/site_parts.h"

#include "store/core/check.h"

struct order {
    bool given, cut;
    struct lsn keep;
};

struct exporter {
    struct site *site;
    pthread_t thread;
    bool running; /* the thread is to be joined */
    atomic_bool ended;
    uint64_t began_ms;
    bool cut;             /* the export at hand is of what is to be cut */
    bool ready;           /* it is durable, and has no name yet */
    struct divergence of; /* its; the thread's while it runs */
    int rc;               /* the thread's */
    struct err why;
    struct order next; /* when it has ended */
    struct lsn left;   /* bundles of a former process end there; 0: none */
};

static void *exporter_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "exporter");
    struct exporter *x = arg;
    err_init(&x->why);
    x->rc = divergence_export(&x->of, &x->why);
    atomic_store(&x->ended, true);
    (void)uv_async_send(&x->site->wake);
    return NULL;
}

int exporter_open(struct site *s, struct exporter **out, struct err *e)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    (*out)->site = s;
    (*out)->left = divergence_sweep(s);
    return 0;
}

void exporter_close(struct exporter *x)
{
    if (x == NULL)
        return;
    atomic_store(&x->of.unwanted, true);
    if (x->running)
        (void)pthread_join(x->thread, NULL);
    divergence_end(&x->of);
    free(x);
}

static void forget(struct exporter *x)
{
    if (x->ready)
        divergence_forget(&x->of);
    x->ready = false;
    divergence_end(&x->of);
}

static void failed(struct exporter *x, const struct err *why)
{
    struct err e = *why;
    if (x->cut) {
        err_wrap(&e, "exporting the log after lsn %llu, which is to be undone",
                 (unsigned long long)x->of.keep.v);
        site_fail(x->site, &e);
    } else {
        events_add(x->site->events, "entries after %llu are not exported: %s; they are in the log",
                   (unsigned long long)x->of.keep.v, e.text);
    }
}

static void start(struct exporter *x, struct order order)
{
    forget(x);
    divergence_begin(&x->of, x->site, order.keep);
    x->cut = order.cut;
    x->began_ms = site_now_ms();
    atomic_store(&x->ended, false);
    x->running = pthread_create(&x->thread, NULL, exporter_main, x) == 0;
    if (!x->running) {
        struct err e = ERR_NONE;
        (void)err_set(&e, ERR_NO_MEMORY, "cannot start the thread that writes the bundle");
        failed(x, &e);
    }
}

void exporter_begin(struct exporter *x, struct lsn keep, bool cut)
{
    const struct order order = {true, cut, keep};
    if (!x->running) {
        start(x, order);
        return;
    }
    atomic_store(&x->of.unwanted, true);
    x->next = order;
}

static bool is_wanted(const struct exporter *x)
{
    const struct repl_cut_view *v = &x->site->view.cut;
    return !x->cut ||
           (v->asked && v->keep.v == x->of.keep.v && x->site->tail.lsn.v == x->of.end.lsn.v &&
            x->site->tail.term.v == x->of.end.term.v);
}

void exporter_follow(struct exporter *x)
{
    if (!x->running && !x->ready && x->left.v != 0 && x->site->tail.lsn.v > x->left.v)
        x->left = divergence_sweep(x->site);
    if ((!x->running && !x->ready) || is_wanted(x))
        return;
    if (x->running)
        atomic_store(&x->of.unwanted, true);
    else
        forget(x);
}

void exporter_progress(struct exporter *x)
{
    if (!x->running || !atomic_load(&x->ended))
        return;
    (void)pthread_join(x->thread, NULL);
    x->running = false;
    const bool unwanted = atomic_load(&x->of.unwanted);
    const struct order next = x->next;
    x->next = (struct order){.given = false};
    x->ready = x->rc == 0;
    if (unwanted) {
        forget(x);
    } else if (x->rc != 0) {
        failed(x, &x->why);
    } else if (!x->cut) {
        if (divergence_name(&x->of, &x->why) != 0)
            failed(x, &x->why);
        x->ready = false;
    } else if (x->site->fatal.code == 0) {
        driver_step(x->site, &(struct repl_event){.type = REPL_EV_EXPORTED,
                                                  .now_ms = site_now_ms(),
                                                  .keep = x->of.keep,
                                                  .position = x->of.end});
    }
    const struct repl_cut_view *v = &x->site->view.cut;
    const bool still = !next.cut || (v->asked && v->keep.v == next.keep.v);
    if (next.given && still && x->site->fatal.code == 0)
        start(x, next);
}

int exporter_name(struct exporter *x, struct lsn keep, struct err *e)
{
    check(!x->running && x->ready && x->cut && x->of.keep.v == keep.v &&
          sha256_equal(&x->of.end.hash, &x->site->tail.hash));
    int rc = divergence_name(&x->of, e);
    x->ready = false;
    return rc;
}

bool exporter_trouble(const struct exporter *x, char text[ERR_TEXT_BYTES])
{
    if (x == NULL || !x->running || !x->cut)
        return false;
    (void)snprintf(text, ERR_TEXT_BYTES,
                   "entries %llu..%llu are not in the common history: they are being written to a "
                   "divergence bundle, for %llu s now, and undone then; until that is done this "
                   "site follows nobody beyond lsn %llu",
                   (unsigned long long)x->of.keep.v + 1, (unsigned long long)x->of.end.lsn.v,
                   (unsigned long long)(site_now_ms() - x->began_ms) / 1000,
                   (unsigned long long)x->of.keep.v);
    return true;
}
