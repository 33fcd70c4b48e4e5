/* Emitting actions: the one door, which keeps R1 for everybody. */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static struct repl_action *push(struct repl_actions *out, enum repl_action_type type)
{
    check(out->n < REPL_ACTIONS_MAX);
    struct repl_action *a = &out->a[out->n++];
    memset(a, 0, offsetof(struct repl_action, message));
    a->type = type;
    return a;
}

void repl_save_vote(struct repl *r, struct repl_actions *out)
{
    if (!r->vote_dirty)
        return;
    r->vote_dirty = false;
    struct repl_action *a = push(out, REPL_ACT_SAVE_VOTE);
    a->term = r->term;
    a->site = r->voted_for;
    a->granted = r->may_vote;
}

struct repl_action *repl_act(struct repl *r, struct repl_actions *out, enum repl_action_type type)
{
    repl_save_vote(r, out);
    return push(out, type);
}

/* Offset + 1 of the sentence in the texts; 0 when there is no room left. */
static uint16_t __attribute__((format(printf, 2, 0)))
put_text(struct repl_actions *out, const char *fmt, va_list ap)
{
    size_t room = sizeof out->texts - out->texts_bytes;
    if (room < 2)
        return 0;
    if (room > REPL_TEXT_BYTES)
        room = REPL_TEXT_BYTES;
    char *at = out->texts + out->texts_bytes;
    int n = vsnprintf(at, room, fmt, ap);
    check(n >= 0);
    uint16_t text = (uint16_t)(out->texts_bytes + 1);
    out->texts_bytes += (uint32_t)strlen(at) + 1;
    return text;
}

void repl_trace(struct repl *r, struct repl_actions *out, const char *fmt, ...)
{
    (void)r;
    va_list ap;
    va_start(ap, fmt);
    /* A trace promises nothing, so it need not wait for a vote to be saved. */
    push(out, REPL_ACT_TRACE)->text = put_text(out, fmt, ap);
    va_end(ap);
}

void repl_act_text(struct repl *r, struct repl_actions *out, enum repl_action_type type,
                   bool granted, const char *fmt, ...)
{
    struct repl_action *a = repl_act(r, out, type);
    a->granted = granted;
    va_list ap;
    va_start(ap, fmt);
    a->text = put_text(out, fmt, ap);
    va_end(ap);
}

struct repl_message *repl_send(struct repl *r, struct repl_actions *out,
                               enum repl_action_type action, enum repl_message_type type,
                               uint8_t to)
{
    check(to < r->options.sites);
    struct repl_message *m = &repl_act(r, out, action)->message;
    memset(m, 0, sizeof *m);
    m->type = type;
    m->from = r->options.self;
    m->to = to;
    m->term = r->term;
    m->incarnation = r->incarnation;
    return m;
}

void repl_message_at(const struct repl *r, struct repl_message *m, struct lsn lsn)
{
    m->lsn = lsn;
    m->lsn_term = repl_log_term(&r->log, lsn);
    const struct sha256 *hash = repl_log_hash(&r->log, lsn);
    if (hash != NULL)
        m->hash = *hash;
}

const char *repl_site_name(const struct repl *r, uint8_t site)
{
    if (site >= r->options.sites)
        return "nobody";
    return r->options.names[site];
}
