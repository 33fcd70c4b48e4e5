/* Outgoing connections: from "host:port" to a TCP connection.
 *
 * A name may have several addresses (IPv6 first on a machine whose IPv6 leads nowhere is the usual case), so each is tried in
 * turn and each has its share of the time; the error names the last one that failed. libuv cannot reuse a handle after a
 * failed connect, so it is closed and made anew between two attempts.
 *
 * INVARIANT: while a look-up runs it holds a pin on the connection, as libuv may call back long after the connection has
 * ended. */
#include "replication/io/link.h"

#include "store/core/check.h"

#include <netdb.h>

struct link_dial {
    uv_getaddrinfo_t lookup;
    uv_connect_t connect;
    bool looking;
    struct addrinfo *found, *next;
    uint64_t share_ms; /* of the time for one address */
    struct err last;
};

static void attempt(struct conn *c);

int link_endpoint(const char *endpoint, char host[LINK_HOST_BYTES], char port[6], struct err *e)
{
    const char *colon = strrchr(endpoint, ':');
    const char *from = endpoint, *to = colon;
    if (colon != NULL && endpoint[0] == '[' && colon[-1] == ']') {
        from = endpoint + 1;
        to = colon - 1;
    } else if (colon != NULL && memchr(endpoint, ':', (size_t)(colon - endpoint)) != NULL) {
        colon = NULL; /* an IPv6 address without brackets: which colon? */
    }
    char *end = NULL;
    long number =
        colon == NULL || colon[1] < '0' || colon[1] > '9' ? -1 : strtol(colon + 1, &end, 10);
    if (number < 0 || number > 65535 || *end != '\0' || to <= from || to - from >= LINK_HOST_BYTES)
        return err_set(
            e, ERR_USAGE,
            "'%.80s' is not an endpoint: write host:port, 10.0.0.1:7400 or [fd00::1]:7400",
            endpoint);
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    (void)snprintf(port, 6, "%u", (unsigned)(uint16_t)number);
    return 0;
}

void link_address_text(const struct sockaddr *a, char out[LINK_REMOTE_BYTES])
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, a, sizeof v6);
        (void)uv_ip6_name(&v6, ip, sizeof ip);
        (void)snprintf(out, LINK_REMOTE_BYTES, "[%s]:%u", ip, ntohs(v6.sin6_port));
    } else {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        (void)uv_ip4_name(&v4, ip, sizeof ip);
        (void)snprintf(out, LINK_REMOTE_BYTES, "%s:%u", ip, ntohs(v4.sin_port));
    }
}

static void on_retry_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    if (c->state == LINK_CLOSED) {
        link_unpin(c);
        return;
    }
    check(uv_tcp_init(c->shared->options.loop, &c->tcp) == 0);
    c->tcp.data = c;
    attempt(c);
}

static void failed(struct conn *c, int status)
{
    struct link_dial *d = c->dial;
    const char *advice = status == UV_ECONNREFUSED ? ": is it running, and is this its port?" : "";
    (void)err_set(&d->last, ERR_UNREACHABLE, "cannot connect: %s%s",
                  status == UV_ETIMEDOUT ? "no answer in time" : uv_strerror(status), advice);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct conn *c = connect->data;
    if (c->state != LINK_CONNECTING || uv_is_closing((uv_handle_t *)&c->tcp) != 0)
        return; /* the close callback goes on */
    if (status == 0) {
        link_deadline(c, c->shared->options.handshake_ms);
        link_secure(c);
        return;
    }
    failed(c, status);
    if (c->dial->next == NULL)
        link_destroy(c, &c->dial->last);
    else
        uv_close((uv_handle_t *)&c->tcp, on_retry_closed);
}

static void attempt(struct conn *c)
{
    struct link_dial *d = c->dial;
    while (d->next != NULL) {
        const struct sockaddr *address = d->next->ai_addr;
        d->next = d->next->ai_next;
        link_address_text(address, c->remote);
        int status = uv_tcp_connect(&d->connect, &c->tcp, address, on_connected);
        if (status == 0) {
            link_deadline(c, d->share_ms);
            return;
        }
        failed(c, status);
    }
    link_destroy(c, &d->last);
}

bool link_dial_next(struct conn *c)
{
    struct link_dial *d = c->dial;
    if (d->looking || uv_is_closing((uv_handle_t *)&c->tcp) != 0)
        return uv_is_closing((uv_handle_t *)&c->tcp) != 0;
    failed(c, UV_ETIMEDOUT);
    if (d->next == NULL)
        return false;
    uv_close((uv_handle_t *)&c->tcp, on_retry_closed);
    return true;
}

static void resolved(struct conn *c, struct addrinfo *found)
{
    struct link_dial *d = c->dial;
    unsigned count = 0;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next)
        count++;
    d->found = d->next = found;
    d->share_ms = c->shared->options.handshake_ms / (count == 0 ? 1 : count);
    attempt(c);
}

static void on_resolved(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
    struct conn *c = lookup->data;
    c->dial->looking = false;
    if (c->state != LINK_CONNECTING) {
        uv_freeaddrinfo(found); /* closed meanwhile; there is no error to tell */
    } else if (status == 0) {
        resolved(c, found);
    } else {
        struct err why = ERR_NONE;
        (void)err_set(&why, ERR_UNREACHABLE, "the name cannot be resolved: %s",
                      uv_strerror(status));
        link_destroy(c, &why);
    }
    link_unpin(c);
}

void link_dial_end(struct conn *c)
{
    if (c->dial != NULL && c->dial->looking)
        (void)uv_cancel((uv_req_t *)&c->dial->lookup);
}

void link_dial_free(struct conn *c)
{
    if (c->dial == NULL)
        return;
    check(!c->dial->looking);
    uv_freeaddrinfo(c->dial->found);
    free(c->dial);
    c->dial = NULL;
}

/* Numbers need no thread and no resolver; names do. */
static int begin(struct conn *c, const char *host, const char *port, struct err *e)
{
    struct link_dial *d = c->dial;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    uv_loop_t *loop = c->shared->options.loop;
    d->lookup.data = d->connect.data = c;
    if (uv_getaddrinfo(loop, &d->lookup, NULL, host, port, &hints) == 0) {
        resolved(c, d->lookup.addrinfo);
        return 0;
    }
    hints.ai_flags = AI_NUMERICSERV;
    int status = uv_getaddrinfo(loop, &d->lookup, on_resolved, host, port, &hints);
    if (status != 0)
        return err_set(e, ERR_UNREACHABLE, "%s: the name cannot be looked up: %s", c->remote,
                       uv_strerror(status));
    d->looking = true;
    c->pins++;
    return 0;
}

int conn_connect(struct conn **out, const struct conn_options *options, const char *endpoint,
                 const char *expect, void *arg, struct err *e)
{
    char host[LINK_HOST_BYTES], port[6];
    *out = NULL;
    int rc = link_endpoint(endpoint, host, port, e);
    if (rc != 0)
        return rc;
    if (expect != NULL && strlen(expect) > CLIENT_NAME_MAX_BYTES)
        return err_set(e, ERR_USAGE, "site name '%.40s...' is too long", expect);
    struct link_shared *shared;
    rc = link_shared_new(&shared, options, e);
    if (rc != 0)
        return rc;
    struct link_dial *d = calloc(1, sizeof *d);
    struct conn *c = d == NULL ? NULL : link_new(shared, false, arg);
    link_shared_release(shared);
    if (c == NULL) {
        free(d);
        return err_set(e, ERR_NO_MEMORY, "no memory to connect to %s", endpoint);
    }
    c->dial = d;
    (void)snprintf(c->remote, sizeof c->remote, "%.150s", endpoint);
    (void)snprintf(c->expect, sizeof c->expect, "%s", expect == NULL ? "" : expect);
    *out = c;
    struct err why = ERR_NONE;
    if (begin(c, host, port, &why) != 0)
        link_destroy(c, &why); /* like every later failure: told by on_closed */
    return 0;
}
