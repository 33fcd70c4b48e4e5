#include "replication/core/orders.h"

#include <stdio.h>
#include <string.h>

#define LIFE_MAX_US (UINT64_C(1000000) * ORDER_LIFE_MAX_S)

static int screen(const char *what, const struct order_terms *asked, struct utc now, struct err *e)
{
    if (!asked->has_term || asked->nonce.n == 0 || asked->expires.us == 0)
        return err_set(
            e, ERR_USAGE,
            "%s needs term, nonce and expires_us: an order says what it expects to find, "
            "and until when (triveni fills them in from the status)",
            what);
    bool fits = asked->nonce.n >= ORDER_NONCE_MIN_BYTES && asked->nonce.n <= ORDER_NONCE_MAX_BYTES;
    for (size_t i = 0; i < asked->nonce.n; i++)
        fits = fits && asked->nonce.p[i] > 0x20 && asked->nonce.p[i] < 0x7f;
    if (!fits)
        return err_set(e, ERR_USAGE, "%s: a nonce is %d to %d printable characters without blanks",
                       what, ORDER_NONCE_MIN_BYTES, ORDER_NONCE_MAX_BYTES);
    if (asked->expires.us > now.us && asked->expires.us - now.us > LIFE_MAX_US)
        return err_set(e, ERR_USAGE,
                       "%s may be valid for %d s at most, by this site's clock (time_us in its "
                       "status)",
                       what, ORDER_LIFE_MAX_S);
    return 0;
}

static int of_the_past(const char *what, const struct order_terms *asked, struct term term,
                       struct utc now, struct err *e)
{
    if (asked->expires.us <= now.us)
        return err_set(e, ERR_TIMEOUT,
                       "%s expired %llu s ago and was not carried out: look at triveni status and "
                       "order again",
                       what, (unsigned long long)((now.us - asked->expires.us) / 1000000));
    if (asked->term.v != term.v)
        return err_set(e, ERR_CONDITION,
                       "%s was ordered for term %llu, and this site is in term %llu: something has "
                       "changed since. Nothing was done; look at triveni status and order again",
                       what, (unsigned long long)asked->term.v, (unsigned long long)term.v);
    return 0;
}

int orders_admit(struct orders *o, const char *what, const struct order_terms *asked,
                 struct term term, struct utc now, struct order **out, struct err *e)
{
    struct order *free_one = NULL;
    int rc = screen(what, asked, now, e);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < ORDERS_KEPT; i++) {
        struct order *k = &o->all[i];
        if (k->state == ORDER_FREE)
            free_one = free_one == NULL ? k : free_one;
        else if (bytes_equal(asked->nonce, bytes_str(k->nonce))) {
            *out = k; /* first of all: the order itself may have changed the term */
            return k->state == ORDER_ANSWERED
                       ? 1
                       : err_set(e, ERR_BUSY, "this %s is being carried out; ask again", what);
        }
    }
    rc = of_the_past(what, asked, term, now, e);
    if (rc != 0)
        return rc;
    if (free_one == NULL)
        return err_set(e, ERR_BUSY, "%d orders are remembered, which is the limit: wait a minute",
                       ORDERS_KEPT);
    *free_one = (struct order){.state = ORDER_PENDING, .expires = asked->expires};
    memcpy(free_one->nonce, asked->nonce.p, asked->nonce.n);
    o->pending++;
    *out = free_one;
    return 0;
}

bool orders_answered(struct orders *o, const void *asker, uint64_t request, int code,
                     const char *answer)
{
    for (uint32_t i = 0; i < ORDERS_KEPT && o->pending > 0; i++) {
        struct order *k = &o->all[i];
        if (k->state != ORDER_PENDING || k->asker != asker || k->request != request)
            continue;
        k->state = code == ERR_NOT_PRIMARY || code == ERR_BUSY ? ORDER_FREE : ORDER_ANSWERED;
        k->code = code;
        (void)snprintf(k->answer, sizeof k->answer, "%s", answer);
        o->pending--;
        return true;
    }
    return false;
}

struct order orders_forget(struct orders *o, struct utc now)
{
    for (uint32_t i = 0; i < ORDERS_KEPT; i++) {
        struct order *k = &o->all[i];
        if (k->state == ORDER_FREE || k->expires.us > now.us)
            continue;
        struct order gone = *k;
        o->pending -= k->state == ORDER_PENDING;
        *k = (struct order){.state = ORDER_FREE};
        return gone;
    }
    return (struct order){.state = ORDER_FREE};
}
