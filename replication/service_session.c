/* What a connection knows of the session that it holds, so that a transaction that is certainly new needs no looking up: neither
 * whether the session is open and its own, nor what became of the sequence number before. A retry asks overlay and state as ever.
 *
 * WHY IT IS CERTAIN. A session is used by one connection, the last that claimed it; the others are fenced and run nothing any
 * more. While this site is primary, entries of the session come from that connection alone. So the highest number that was
 * logged is the highest that this connection logged since it began to look, or the highest in the state, once that has everything
 * that was logged before. Whatever ends the session (close, expiry) is logged here, too, and makes who held it forget. Another
 * term begins anew.
 *
 *   nothing -> counting (looked up once, in this term) -> whole (the state has what was logged before) */
#include "replication/service.h"

#include "store/core/check.h"

void session_forget(struct service *v, const struct uuid *session)
{
    for (struct client *c = v->clients; c != NULL; c = c->next)
        if (uuid_equal(&c->session, session))
            c->known.term.v = 0;
}

bool session_is_new(const struct client *c, const struct uuid *session, uint64_t sequence)
{
    return c->known.whole && c->known.term.v == c->service->site->view.term.v &&
           sequence > c->known.newest && uuid_equal(&c->session, session);
}

int session_learn(struct client *c, struct err *e)
{
    struct site *s = c->service->site;
    struct state_snapshot *snap;
    uint64_t newest;
    if (c->known.term.v != s->view.term.v) {
        c->known.term = s->view.term;
        c->known.from = s->tail.lsn;
        c->known.newest = 0;
        c->known.whole = false;
    }
    if (c->known.whole || s->marks.applied.v < c->known.from.v)
        return 0;
    int rc = site_snapshot(s, &snap, e);
    if (rc == 0)
        rc = state_newest_result(snap, &c->session, &newest, e);
    if (rc != 0)
        return rc;
    if (newest > c->known.newest)
        c->known.newest = newest;
    c->known.whole = true;
    return 0;
}

void session_logged(struct client *c, const struct uuid *session, uint64_t sequence)
{
    if (uuid_equal(&c->session, session) && sequence > c->known.newest)
        c->known.newest = sequence;
}
