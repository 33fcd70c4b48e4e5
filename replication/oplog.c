/* The archive's operations log (repository/operations.h), at the site that keeps the archive: the archive's thread adds to it
 * what it lacks, from time to time and after each checkpoint of the entries, and then what the other sites cosigned of it.
 *
 * Unlike a checkpoint of the entries, one of the operations is published first and cosigned after: a site that cosigned what a
 * crash then took back would call that a rollback for ever. So there is a second in which the newest operations are not cosigned.
 *
 * The loop's side is collector.c: it sees the size of the log, asks, and hands in the answers. */
#include "replication/site_parts.h"

#include "repository/operations.h"
#include "store/core/check.h"

#include <stdlib.h>

enum { OPLOG_MS = 5000 /* what was handed in waits no longer, when nothing is sealed meanwhile */ };

/* A cosignature that is to be added. */
struct arrival {
    bool waits;
    uint64_t size;
    size_t key_bytes, line_bytes;
    uint8_t key[COSIGN_KEY_MAX_BYTES], line[COSIGN_TEXT_BYTES];
};

struct oplog {
    struct site *site;
    pthread_mutex_t lock;
    uint64_t size;
    struct arrival arrivals[REPL_SITES_MAX];
    struct oplog_cosigned cosigned[REPL_SITES_MAX];
    /* the archive's thread */
    uint64_t at_ms;
    char trouble[ERR_TEXT_BYTES], lost[ERR_TEXT_BYTES]; /* as told last */
};

int oplog_new(struct site *s, struct oplog **out, struct err *e)
{
    struct oplog *o = calloc(1, sizeof *o);
    if (o == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    o->site = s;
    (void)pthread_mutex_init(&o->lock, NULL);
    *out = o;
    return 0;
}

void oplog_free(struct oplog *o)
{
    if (o == NULL)
        return;
    (void)pthread_mutex_destroy(&o->lock);
    free(o);
}

/* ---- the archive's thread ---- */

void oplog_soon(struct oplog *o)
{
    o->at_ms = 0;
}

bool oplog_due(struct oplog *o)
{
    bool came = site_now_ms() >= o->at_ms;
    (void)pthread_mutex_lock(&o->lock);
    for (size_t i = 0; i < REPL_SITES_MAX; i++)
        came |= o->arrivals[i].waits;
    (void)pthread_mutex_unlock(&o->lock);
    return came;
}

/* Add one. What is of an earlier size came too late: it is asked for again. */
static int add_arrival(struct oplog *o, struct repository *r, uint8_t i, const struct arrival *now)
{
    struct err e = ERR_NONE;
    uint64_t time_s = 0;
    int rc = repository_operations_cosigned(r, site_member(o->site, i)->name, now->size,
                                            bytes_of(now->key, now->key_bytes),
                                            bytes_of(now->line, now->line_bytes), &time_s, &e);
    (void)pthread_mutex_lock(&o->lock);
    struct oplog_cosigned *c = &o->cosigned[i];
    if (rc == 0)
        *c = (struct oplog_cosigned){.size = now->size, .time_s = time_s};
    else if (rc != ERR_STALE)
        (void)snprintf(c->why, sizeof c->why, "%s", e.text);
    (void)pthread_mutex_unlock(&o->lock);
    return rc;
}

static bool add_arrivals(struct oplog *o, struct repository *r)
{
    bool added = false;
    for (uint32_t i = 0; i < REPL_SITES_MAX; i++) {
        (void)pthread_mutex_lock(&o->lock);
        const struct arrival now = o->arrivals[i];
        o->arrivals[i].waits = false;
        (void)pthread_mutex_unlock(&o->lock);
        if (now.waits)
            added |= add_arrival(o, r, (uint8_t)i, &now) == 0;
    }
    return added;
}

static void tell_lost(struct oplog *o, const struct repository *r)
{
    const char *now = repository_operations_lost(r);
    if (now[0] == '\0' || strcmp(now, o->lost) == 0)
        return;
    (void)snprintf(o->lost, sizeof o->lost, "%s", now);
    events_add(o->site->events, "archive: operations log: %s", now);
}

int oplog_turn(struct oplog *o, struct repository *r, const struct repository_orders *orders,
               bool *cosigned)
{
    struct err e = ERR_NONE;
    int rc = repository_operations_settle(r, orders, &e);
    *cosigned = rc == 0 && add_arrivals(o, r);
    tell_lost(o, r);
    const char *now = rc != 0 ? e.text : "";
    if (strcmp(now, o->trouble) != 0)
        events_add(o->site->events, "archive: %s%s",
                   rc != 0 ? now : "trouble with its operations log is over",
                   rc != 0 ? "; trying again" : "");
    (void)snprintf(o->trouble, sizeof o->trouble, "%s", now);
    o->at_ms = site_now_ms() + OPLOG_MS;
    (void)pthread_mutex_lock(&o->lock);
    const uint64_t before = o->size;
    o->size = repository_operations_size(r);
    (void)pthread_mutex_unlock(&o->lock);
    if (o->size != before || *cosigned)
        (void)uv_async_send(&o->site->wake);
    return rc;
}

/* ---- any thread ---- */

uint64_t oplog_size(struct oplog *o)
{
    (void)pthread_mutex_lock(&o->lock);
    uint64_t size = o->size;
    (void)pthread_mutex_unlock(&o->lock);
    return size;
}

void oplog_cosign(struct oplog *o, uint8_t site, uint64_t size, struct bytes key, struct bytes line)
{
    struct arrival *it = &o->arrivals[site];
    check(key.n <= sizeof it->key && line.n <= sizeof it->line);
    (void)pthread_mutex_lock(&o->lock);
    it->waits = true;
    it->size = size;
    it->key_bytes = key.n;
    it->line_bytes = line.n;
    memcpy(it->key, key.p, key.n);
    memcpy(it->line, line.p, line.n);
    (void)pthread_mutex_unlock(&o->lock);
}

void oplog_cosigned(struct oplog *o, uint8_t site, struct oplog_cosigned *out)
{
    (void)pthread_mutex_lock(&o->lock);
    *out = o->cosigned[site];
    (void)pthread_mutex_unlock(&o->lock);
}
