/* What the puppets of a cluster have in common: who is primary, the faults that a test has ordered, and one state, which applies
 * what reaches the primary. All of it is under the cluster's lock. */
#ifndef TESTS_UNIT_CLIENT_CLUSTER_STATE_H
#define TESTS_UNIT_CLIENT_CLUSTER_STATE_H

#include "replication/io/conn.h"
#include "store/core/check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Not every test uses all of it. */
#pragma GCC diagnostic ignored "-Wunused-function"

enum { SITES_MAX = 3, CONNS_MAX = 64, RECORDS_MAX = 4096, SEEN_MAX = 16384 };

struct cluster;

struct faults {      /* how many of the next transactions at a site ... */
    int lose_before; /* ... close the connection, unapplied */
    int lose_after;  /* ... are applied, and then close the connection */
    int mute;        /* ... are applied and never answered */
    int swallow;     /* ... are neither applied nor answered */
    int busy;        /* ... are answered BUSY */
    int unsure;      /* ... are applied and answered OUTCOME_UNKNOWN */
};

struct site {
    struct cluster *cluster;
    int index;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t async;
    struct listener *listener;
    SSL_CTX *tls;
    int port;
    char endpoint[32];
    struct conn *conns[CONNS_MAX];
    int conn_count;
    int accepted; /* ever */
    /* orders, carried out on the site's thread */
    bool stop, kill, announce;
    bool demote; /* closes its connections, as a primary does that has lost its role */
    bool frozen; /* takes frames and does nothing: a paused process */
    struct faults faults;
    uint64_t lag;                            /* how many transactions this site's state is behind */
    uint64_t next_snapshot, ended_snapshots; /* ids up to the latter are not known any more */
    int snapshots;
    bool hold_admin; /* admin commands are answered only after `announce` */
    struct conn *admin_conn;
    uint64_t admin_request;
};

struct stored {
    char key[64];
    uint8_t *value;
    size_t size;
    uint64_t lsn;
    bool exists;
};

struct seen { /* a transaction that arrived */
    int site;
    struct uuid session;
    uint64_t sequence;
};

struct cluster {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct site sites[SITES_MAX];
    int count;
    int primary; /* index, or -1 */
    uint64_t term, lsn;
    struct stored records[RECORDS_MAX];
    int record_count;
    struct as_of as_of; /* of the last read */
    struct uuid sessions[64];
    int session_count, closed_sessions;
    struct seen seen[SEEN_MAX];
    int seen_count;
    struct applied {
        struct uuid session;
        uint64_t sequence, lsn;
    } applied[SEEN_MAX];
    int applied_count;
    int duplicates; /* transactions applied although their number had been used: must stay 0 */
    enum level last_level;
    /* Before all else, under the lock; true: that is all that comes of the frame. NULL: none. */
    bool (*before)(struct site *s, struct conn *conn, const struct frame *f);
    /* Scans by an index; NULL: as by key, without tokens. */
    int (*on_index_scan)(struct site *s, struct conn *conn, const struct frame *f,
                         const struct wire_scan *m);
    /* Frames of watches; NULL: not expected. */
    int (*on_watch)(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                    struct err *why);
};

static struct stored *find_record(struct cluster *c, struct bytes collection, struct bytes key)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%.*s/%.*s", (int)collection.n, (const char *)collection.p,
                   (int)key.n, (const char *)key.p);
    for (int i = 0; i < c->record_count; i++)
        if (strcmp(c->records[i].key, name) == 0)
            return &c->records[i];
    check(c->record_count < RECORDS_MAX);
    struct stored *r = &c->records[c->record_count++];
    memcpy(r->key, name, sizeof name);
    return r;
}

static bool session_known(const struct cluster *c, const struct uuid *session)
{
    for (int i = 0; i < c->session_count; i++)
        if (uuid_equal(&c->sessions[i], session))
            return true;
    return false;
}

static const struct applied *find_applied(const struct cluster *c, const struct uuid *session,
                                          uint64_t sequence)
{
    for (int i = 0; i < c->applied_count; i++)
        if (c->applied[i].sequence == sequence && uuid_equal(&c->applied[i].session, session))
            return &c->applied[i];
    return NULL;
}

static int failed_condition(struct cluster *c, const struct wire_txn *m)
{
    struct reader r = m->conditions;
    for (uint32_t i = 0; i < m->condition_count; i++) {
        struct condition condition;
        check(wire_next_condition(&r, &condition, NULL) == 0);
        const struct stored *s = find_record(c, condition.collection, condition.key);
        struct fact fact = {s->exists, {s->lsn}};
        if (txn_decide(&condition, &fact, 1) != TXN_HOLDS)
            return (int)i;
    }
    return -1;
}

static void apply(struct cluster *c, const struct wire_txn *m)
{
    if (find_applied(c, &m->session, m->sequence) != NULL)
        c->duplicates++;
    uint64_t lsn = ++c->lsn;
    struct reader r = m->ops;
    for (uint32_t i = 0; i < m->op_count; i++) {
        struct op op;
        check(body_next_op(&r, &op, NULL) == 0);
        struct stored *s = find_record(c, op.collection, op.key);
        s->exists = op.kind == OP_PUT;
        s->lsn = lsn;
        free(s->value);
        s->value = malloc(op.value.n + 1);
        check(s->value != NULL);
        if (op.value.n != 0)
            memcpy(s->value, op.value.p, op.value.n);
        s->size = op.value.n;
    }
    check(c->applied_count < SEEN_MAX);
    c->applied[c->applied_count++] = (struct applied){m->session, m->sequence, lsn};
}

#endif
