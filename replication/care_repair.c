/* Repairing what is damaged here from what other sites have. What cannot be repaired now is tried again, with growing pauses;
 * why it could not stands in the status until then. */
#include "replication/care_parts.h"

#include "store/core/check.h"
#include "store/io/state_rows.h"

/* ---- a record ---- */

struct offer {
    struct state *state;
    struct record record;
};

static int take_offer(void *arg, struct err *e)
{
    const struct offer *o = arg;
    return state_repair_record(o->state, &o->record, e);
}

/* 0: repaired from that site. ERR_NOT_FOUND: there is nothing to repair. Otherwise why not, in `e`. */
static int repair_from(struct care *c, uint8_t site, const struct damage *d, struct err *e)
{
    const char *name = c->site->config->members[site].name;
    struct care_message m, question = {.kind = CARE_RECORD,
                                       .collection = bytes_of(d->collection, d->collection_bytes),
                                       .key = bytes_of(d->key, d->key_bytes)};
    int rc = care_call(c, site, &question, &m, e);
    if (rc != 0)
        return rc == ERR_NOT_FOUND ? ERR_FAILED : rc;
    /* Without it there, the applier still has to say whether it is still damaged here. */
    struct offer o = {c->site->state,
                      {.collection = question.collection,
                       .key = question.key,
                       .value = m.payload,
                       .lsn = m.lsn,
                       .time = m.time}};
    rc = applier_run(c->site->applier, take_offer, &o, e);
    if (rc != 0 && rc != ERR_NOT_FOUND && !m.found)
        return err_set(e, rc, "%s has no such record", name);
    return rc == 0 || rc == ERR_NOT_FOUND ? rc : err_wrap(e, "what %s has is not taken", name);
}

static int repair_record(struct care *c, const struct damage *d, struct err *why)
{
    struct site *s = c->site;
    char key[ROW_QUOTE_BYTES], collection[ROW_QUOTE_BYTES];
    (void)row_quote(bytes_of(d->key, d->key_bytes), key);
    (void)row_quote(bytes_of(d->collection, d->collection_bytes), collection);
    (void)err_set(why, ERR_UNREACHABLE, "no other site can be reached");
    for (uint8_t i = 0; i < care_slots(); i++) {
        struct err e = ERR_NONE;
        if (!care_reaches(c, i))
            continue;
        int rc = repair_from(c, i, d, &e);
        if (rc == 0) {
            events_add(s->events, "repair: record '%s' of collection '%s' was repaired from %s",
                       key, collection, s->config->members[i].name);
            scrubber_repaired(s->scrubber);
            worker_lock(&c->worker);
            c->repaired++;
            worker_unlock(&c->worker);
        }
        if (rc == ERR_NOT_FOUND)
            events_add(s->events, "repair: record '%s' of collection '%s' needs none any more: %s",
                       key, collection, e.text);
        if (rc == 0 || rc == ERR_NOT_FOUND || rc == ERR_CANCELLED)
            return rc == ERR_NOT_FOUND ? 0 : rc;
        *why = e;
    }
    return err_wrap(why, "record '%s' of collection '%s'", key, collection);
}

/* ---- the log ---- */

/* log_fetch_fn */
static int fetch_entries(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                         size_t *used, size_t *count, struct err *e)
{
    struct care *c = arg;
    int rc = err_set(e, ERR_UNREACHABLE, "no other site can be reached");
    *used = *count = 0;
    for (uint8_t i = 0; i < care_slots(); i++) {
        if (!care_reaches(c, i))
            continue;
        rc = care_entries(c, &c->calls[i], i, from, to, buf, cap, used, count, e);
        if (rc == 0 || rc == ERR_CANCELLED || rc == ERR_LIMIT)
            return rc;
    }
    return rc;
}

/* Other places in the segment were mended with it. */
static void forget_mended(struct care *c, const struct log_mended *done)
{
    worker_lock(&c->worker);
    c->mended++;
    for (size_t i = 0; i < c->damage_count;) {
        const struct damage *d = &c->damages[i];
        if (d->in_log && d->lsn.v > done->from.v && d->lsn.v <= done->to.v)
            c->damages[i] = c->damages[--c->damage_count];
        else
            i++;
    }
    worker_unlock(&c->worker);
}

static int repair_log(struct care *c, const struct damage *d, struct err *why)
{
    struct site *s = c->site;
    struct log_mended done;
    worker_lock(&c->worker);
    const struct lsn commit = c->commit;
    worker_unlock(&c->worker);
    /* Above a checkpoint damage does not stop the next start. */
    applier_checkpoint_now(s->applier);
    int rc = log_mend(s->log, d->lsn, commit, fetch_entries, c, &done, why);
    if (rc == 0) {
        events_add(s->events,
                   "repair: segment %016llx of the log, lsn %llu to %llu, was written anew, %llu "
                   "entries of it from another site; the damaged file is kept beside it",
                   (unsigned long long)done.segment, (unsigned long long)done.from.v + 1,
                   (unsigned long long)done.to.v, (unsigned long long)done.fetched);
        forget_mended(c, &done);
        scrubber_repaired(s->scrubber);
    }
    return rc == ERR_GAP && d->lsn.v <= state_checkpoint(s->state).lsn.v ? 0 : rc;
}

/* ---- what is due ---- */

static bool take_due(struct care *c, struct damage *out)
{
    const uint64_t now = site_now_ms();
    bool found = false;
    worker_lock(&c->worker);
    for (size_t i = 0; !found && i < c->damage_count; i++) {
        found = c->damages[i].due_ms <= now;
        if (found) { /* to the end, so that each gets its turn */
            *out = c->damages[i];
            memmove(&c->damages[i], &c->damages[i + 1],
                    (c->damage_count - i - 1) * sizeof c->damages[0]);
            c->damages[c->damage_count - 1] = *out;
        }
    }
    worker_unlock(&c->worker);
    return found;
}

/* The one taken last. */
static void put_off(struct care *c, const struct damage *was, bool done, const struct err *why)
{
    worker_lock(&c->worker);
    for (size_t i = 0; i < c->damage_count; i++) {
        struct damage *d = &c->damages[i];
        if (d->in_log != was->in_log || d->lsn.v != was->lsn.v || d->key_bytes != was->key_bytes ||
            memcmp(d->key, was->key, was->key_bytes) != 0 ||
            d->collection_bytes != was->collection_bytes ||
            memcmp(d->collection, was->collection, was->collection_bytes) != 0)
            continue;
        if (done) {
            c->damages[i] = c->damages[--c->damage_count];
        } else {
            (void)snprintf(d->why, sizeof d->why, "%.*s", (int)sizeof d->why - 1, why->text);
            d->due_ms = site_now_ms() + d->wait_ms;
            d->wait_ms = d->wait_ms * 2 < RETRY_MAX_MS ? d->wait_ms * 2 : RETRY_MAX_MS;
        }
        break;
    }
    worker_unlock(&c->worker);
}

void care_repair(struct care *c)
{
    struct damage d;
    while (!care_is_ending(c) && take_due(c, &d)) {
        struct err why = ERR_NONE;
        int rc = d.in_log ? repair_log(c, &d, &why) : repair_record(c, &d, &why);
        if (rc == ERR_CANCELLED)
            return;
        if (rc != 0 && strncmp(why.text, d.why, sizeof d.why - 1) != 0)
            events_add(c->site->events, "repair: not yet: %s", why.text);
        put_off(c, &d, rc == 0, &why);
    }
}
