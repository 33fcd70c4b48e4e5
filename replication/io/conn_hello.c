/* Who is at the other end, and does it agree? The way from TCP to on_ready.
 *
 * In TLS 1.3 a client has finished its handshake before the server has looked at its certificate. So the client speaks first
 * (HELLO), and the server answers with its own HELLO only when certificate, role, cluster and HELLO agree: on_ready means on
 * both sides that the other side agreed too. */
#include "replication/io/link.h"

#include "store/core/check.h"
#include "store/core/hex.h"

/* A client may not know the id of its cluster yet: it says zero, and learns it from the server. Sites know it. */
static int agree_on_cluster(struct conn *c, const struct uuid *theirs, struct err *why)
{
    bool both = uuid_equal(theirs, &c->cluster_id);
    bool client_learns =
        !c->server && c->shared->options.hello.kind != WIRE_SITE && uuid_is_zero(&c->cluster_id);
    bool client_asks = c->server && c->peer.kind != WIRE_SITE && uuid_is_zero(theirs);
    if (client_learns)
        c->cluster_id = *theirs;
    if (both || client_learns || client_asks)
        return 0;
    /* Read at both ends, so it says who is who, and nothing of "this" and "the other". */
    char a[UUID_TEXT_BYTES], b[UUID_TEXT_BYTES];
    const struct wire_hello *own = &c->shared->options.hello;
    bool sites = own->kind == WIRE_SITE && c->peer.kind == WIRE_SITE;
    return err_set(why, ERR_DENIED,
                   "%s %s has cluster id %s, %s %.*s has %s: two clusters of the name '%s'. %s",
                   identity_kind_name(c->peer.kind), c->peer.name, uuid_text(theirs, a),
                   identity_kind_name(own->kind), (int)own->name.n, (const char *)own->name.p,
                   uuid_text(&c->cluster_id, b), c->shared->cluster,
                   sites ? "Compare the ids in both configurations; a site that was made with the "
                           "wrong one is made anew with triveni init"
                         : "Compare the endpoints and the id that the client was given with what "
                           "triveni status shows");
}

/* Two sites that began with other members would find two majorities (P3). One that joins has not begun: it counts nobody. */
static int agree_on_members(const struct conn *c, const struct wire_hello *hello, struct err *why)
{
    struct bytes ours = c->shared->options.hello.members;
    if (c->shared->options.hello.kind != WIRE_SITE || hello->kind != WIRE_SITE ||
        bytes_equal(hello->members, ours) || ours.n == 0 || hello->members.n == 0)
        return 0;
    char theirs[WIRE_MEMBERS_MAX_BYTES + 1];
    link_copy_printable(theirs, sizeof theirs, hello->members);
    return err_set(why, ERR_DENIED,
                   "its configuration has the members %s; that of %s has %s: give all sites the "
                   "same list; one that is made anew after it was changed: triveni init --join",
                   theirs, c->shared->name, c->shared->members);
}

/* A voter keeps its promise for as long as its own configuration says; a primary whose lease is longer would outlive it (R4). */
static int agree_on_times(const struct conn *c, const struct wire_hello *hello, struct err *why)
{
    const struct wire_hello *own = &c->shared->options.hello;
    if (own->kind != WIRE_SITE || hello->kind != WIRE_SITE ||
        (own->election_ms == hello->election_ms && own->lease_ms == hello->lease_ms))
        return 0;
    return err_set(why, ERR_DENIED,
                   "its configuration has election_ms %u and lease_ms %u; that of %s has %u and "
                   "%u: give all sites the same, and start them again",
                   hello->election_ms, hello->lease_ms, c->shared->name, own->election_ms,
                   own->lease_ms);
}

int link_on_hello(struct conn *c, const struct frame *f, struct bytes body, struct err *why)
{
    struct wire_hello hello;
    if (f->type != FRAME_HELLO)
        return err_set(why, ERR_FORMAT, "expected a hello frame, got %s", frame_type_name(f->type));
    int rc = agree_on_cluster(c, &f->cluster_id, why);
    if (rc == 0)
        rc = wire_read_hello(body, &hello, why);
    if (rc != 0)
        return rc;
    if (hello.kind != c->peer.kind || !bytes_equal(hello.name, bytes_str(c->peer.name))) {
        char said[64];
        link_copy_printable(said, sizeof said, hello.name);
        return err_set(why, ERR_DENIED, "says that it is %s %s, its certificate says %s %s",
                       identity_kind_name(hello.kind), said, identity_kind_name(c->peer.kind),
                       c->peer.name);
    }
    rc = agree_on_members(c, &hello, why);
    if (rc == 0)
        rc = agree_on_times(c, &hello, why);
    if (rc == 0)
        rc = listener_admit(c, why);
    if (rc != 0)
        return rc;
    if (c->server)
        link_send_hello(c);
    if (c->state != LINK_HELLO)
        return 0;
    link_move(c, LINK_READY);
    link_watch(c);
    c->shared->options.callbacks->on_ready(c, &hello);
    return 0;
}

/* The handshake is over on this side: who is it, and is it welcome? */
static void on_secured(struct conn *c)
{
    const struct conn_options *o = &c->shared->options;
    struct err why = ERR_NONE;
    link_move(c, LINK_HELLO);
    int rc = tls_peer_identity(c->channel.ssl, o->cluster, &c->peer, &why);
    if (rc == 0 && (o->accept_kinds & 1u << c->peer.kind) == 0)
        rc = err_set(&why, ERR_DENIED, "%s %s is not welcome here: this %s is not for %ss",
                     identity_kind_name(c->peer.kind), c->peer.name,
                     c->server ? "port" : "connection", identity_kind_name(c->peer.kind));
    if (rc == 0 && c->expect[0] != '\0' && strcmp(c->expect, c->peer.name) != 0)
        rc = err_set(&why, ERR_DENIED,
                     "is %s %s where %s was expected: compare the endpoints in the configuration",
                     identity_kind_name(c->peer.kind), c->peer.name, c->expect);
    if (rc != 0)
        link_fail(c, &why);
    else if (!c->server)
        link_send_hello(c);
}

void link_handshake(struct conn *c)
{
    struct err why = ERR_NONE;
    bool done = false;
    int rc = channel_handshake(&c->channel, &done, &why);
    if (rc != 0)
        link_fail(c, &why);
    else if (done)
        on_secured(c);
    link_wake(c); /* whatever TLS has to say */
}

void link_secure(struct conn *c)
{
    struct err why = ERR_NONE;
    link_move(c, LINK_HANDSHAKE);
    (void)uv_tcp_nodelay(&c->tcp, 1);
    (void)uv_tcp_keepalive(&c->tcp, 1, 15);
    int rc = channel_open(&c->channel, c->shared->options.tls, c->server, &why);
    int status = rc != 0 ? 0 : link_read_start(c);
    if (rc != 0)
        link_destroy(c, &why);
    else if (status != 0)
        link_lost(c, status);
    else if (!c->server)
        link_handshake(c);
}
