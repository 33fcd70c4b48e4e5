/* Accepting connections, and not more of them than the site can carry.
 *
 * Ready connections have a limit, and so have those of one identity; the one too many is told so after it has proven who it is.
 * Handshakes in progress have another: a stranger who opens connections and says nothing must not keep peers out, so
 * when LINK_HALF_OPEN_MAX handshakes are in progress the oldest gives way. An honest one takes milliseconds and is never the
 * oldest for long. */
#include "replication/io/link.h"

#include "store/core/check.h"

struct listener {
    uv_tcp_t tcp;
    struct link_shared *shared;
    void *arg;
    unsigned max_ready;
    struct link_list half_open, ready;
    unsigned conns;         /* all that point here, closing ones too */
    bool closed;            /* its handle is gone */
    unsigned refused_kinds; /* bits 1u << enum wire_kind */
    struct err refused_why;
};

static void free_when_alone(struct listener *l)
{
    if (!l->closed || l->conns != 0)
        return;
    link_shared_release(l->shared);
    free(l);
}

static void list_add(struct link_list *list, struct conn *c)
{
    check(c->list == NULL);
    c->older = list->newest;
    *(list->newest == NULL ? &list->oldest : &list->newest->newer) = c;
    list->newest = c;
    list->count++;
    c->list = list;
}

static void list_remove(struct conn *c)
{
    struct link_list *list = c->list;
    if (list == NULL)
        return;
    *(c->older == NULL ? &list->oldest : &c->older->newer) = c->newer;
    *(c->newer == NULL ? &list->newest : &c->newer->older) = c->older;
    c->older = c->newer = NULL;
    c->list = NULL;
    list->count--;
}

static unsigned places_for(const struct listener *l, enum wire_kind kind)
{
    return l->max_ready + (kind == WIRE_OPERATOR ? l->shared->options.more_for_operators : 0);
}

int listener_admit(struct conn *c, struct err *e)
{
    struct listener *l = c->listener;
    if (l == NULL)
        return 0;
    if ((l->refused_kinds & 1u << c->peer.kind) != 0)
        return err_set(e, l->refused_why.code, "%s", l->refused_why.text);
    if (l->shared->options.admit != NULL && l->shared->options.admit(c, e) != 0)
        return e->code;
    unsigned same = 0, most = l->shared->options.max_per_identity;
    for (const struct conn *o = l->ready.oldest; o != NULL && most != 0; o = o->newer)
        same += o->peer.kind == c->peer.kind && strcmp(o->peer.name, c->peer.name) == 0;
    if (most != 0 && same >= most)
        return err_set(
            e, ERR_BUSY,
            "%s %s has %u connections already, which is its limit: close some or raise it",
            identity_kind_name(c->peer.kind), c->peer.name, same);
    if (l->ready.count >= places_for(l, c->peer.kind))
        return err_set(
            e, ERR_BUSY,
            "%u connections are served already, which is the limit: try another site or raise it",
            l->ready.count);
    list_remove(c);
    list_add(&l->ready, c);
    return 0;
}

void listener_on_end(struct conn *c)
{
    list_remove(c);
}

void listener_on_freed(struct conn *c)
{
    struct listener *l = c->listener;
    if (l == NULL)
        return;
    check(c->list == NULL && l->conns > 0);
    l->conns--;
    free_when_alone(l);
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *l = stream->data;
    /* Out of file descriptors: libuv closes what it cannot accept, and the client sees that. */
    struct conn *c = status != 0 ? NULL : link_new(l->shared, true, l->arg);
    if (c == NULL)
        return;
    c->listener = l;
    l->conns++;
    (void)snprintf(c->remote, sizeof c->remote, "(unknown)");
    status = uv_accept(stream, (uv_stream_t *)&c->tcp);
    struct sockaddr_storage address;
    int size = sizeof address;
    if (status == 0)
        status = uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &size);
    struct err why = ERR_NONE;
    if (status != 0) {
        (void)err_set(&why, ERR_UNREACHABLE, "cannot be accepted: %s", uv_strerror(status));
        link_destroy(c, &why);
        return;
    }
    link_address_text((const struct sockaddr *)&address, c->remote);
    if (l->half_open.count >= LINK_HALF_OPEN_MAX) {
        (void)err_set(&why, ERR_LIMIT,
                      "gave way to a newer connection: %d handshakes are in progress",
                      LINK_HALF_OPEN_MAX);
        link_destroy(l->half_open.oldest, &why);
    }
    list_add(&l->half_open, c);
    link_secure(c);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    l->closed = true;
    free_when_alone(l);
}

static int bind_error(const char *endpoint, const char *port, int status, struct err *e)
{
    if (status == UV_EADDRINUSE)
        return err_set(e, ERR_EXISTS,
                       "%s is in use by another process: stop it (ss -ltnp 'sport = :%s' names it) "
                       "or choose another port",
                       endpoint, port);
    if (status == UV_EACCES)
        return err_set(e, ERR_DENIED,
                       "%s: this user may not listen there: choose a port above 1023", endpoint);
    if (status == UV_EADDRNOTAVAIL)
        return err_set(e, ERR_CONFIG, "%s: no interface of this machine has that address",
                       endpoint);
    return err_set(e, ERR_IO, "%s: cannot listen: %s", endpoint, uv_strerror(status));
}

/* Once, at start: waiting for the resolver is all right here. */
static int bind_to(struct listener *l, const char *endpoint, struct err *e)
{
    char host[LINK_HOST_BYTES], port[6];
    int rc = link_endpoint(endpoint, host, port, e);
    if (rc != 0)
        return rc;
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t lookup;
    int status = uv_getaddrinfo(l->tcp.loop, &lookup, NULL, host, port, &hints);
    if (status != 0)
        return err_set(e, ERR_CONFIG, "%s: the name cannot be resolved: %s", endpoint,
                       uv_strerror(status));
    status = uv_tcp_bind(&l->tcp, lookup.addrinfo->ai_addr, 0);
    uv_freeaddrinfo(lookup.addrinfo);
    if (status == 0)
        status = uv_listen((uv_stream_t *)&l->tcp, SOMAXCONN, on_connection);
    return status == 0 ? 0 : bind_error(endpoint, port, status, e);
}

int conn_listen(struct listener **out, const struct conn_options *options, const char *endpoint,
                unsigned max_connections, void *arg, struct err *e)
{
    *out = NULL;
    check(max_connections > 0);
    struct link_shared *shared;
    int rc = link_shared_new(&shared, options, e);
    if (rc != 0)
        return rc;
    struct listener *l = calloc(1, sizeof *l);
    if (l == NULL) {
        link_shared_release(shared);
        return err_set(e, ERR_NO_MEMORY, "no memory to listen on %s", endpoint);
    }
    l->shared = shared;
    l->arg = arg;
    l->max_ready = max_connections;
    check(uv_tcp_init(options->loop, &l->tcp) == 0);
    l->tcp.data = l;
    rc = bind_to(l, endpoint, e);
    if (rc != 0)
        uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
    else
        *out = l;
    return rc;
}

int listener_port(const struct listener *l)
{
    struct sockaddr_storage address;
    struct sockaddr_in6 in; /* the port is at the same place for IPv4 */
    int size = sizeof address;
    _Static_assert(offsetof(struct sockaddr_in, sin_port) ==
                       offsetof(struct sockaddr_in6, sin6_port),
                   "same place");
    check(uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&address, &size) == 0);
    memcpy(&in, &address, sizeof in);
    return ntohs(in.sin6_port);
}

uint64_t listener_receiving_bytes(const struct listener *l)
{
    return l->shared->room_taken;
}

unsigned listener_waiting(const struct listener *l)
{
    unsigned n = 0;
    for (const struct conn *c = l->shared->waits_first; c != NULL; c = c->waits_next)
        n++;
    return n;
}

void listener_set_tls(struct listener *l, SSL_CTX *tls)
{
    (void)SSL_CTX_up_ref(tls);
    SSL_CTX_free(l->shared->options.tls);
    l->shared->options.tls = tls;
    for (struct conn *c = l->ready.oldest, *next; c != NULL; c = next) {
        next = c->newer;
        conn_recheck(c, tls);
    }
}

void listener_refuse(struct listener *l, unsigned kinds, const struct err *why)
{
    l->refused_kinds = kinds;
    l->refused_why = *why;
}

void listener_close(struct listener *l)
{
    struct err why = ERR_NONE;
    (void)err_set(&why, ERR_CANCELLED, "the listener was closed during the handshake");
    while (l->half_open.oldest != NULL)
        link_destroy(l->half_open.oldest, &why);
    uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
}
