/* From an endpoint to a connection. The resolver of this program knows one name of its own, "sites.test", whose addresses a test
 * chooses: what a machine's real one says of a name with several addresses is nothing to rely on. */
#include "replication/io/link.h"
#include "tests/unit/replication/io/fixture.h"

#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>

/* ---- the resolver ---- */

static const char *addresses[4];
static atomic_uint asked; /* how often for sites.test; from the threads of libuv */

/* glibc's freeaddrinfo frees a list node by node, so lists can be joined. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name == NULL || strcmp(name, "sites.test") != 0)
        return real(name, service, hints, out);
    if ((hints->ai_flags & AI_NUMERICHOST) != 0)
        return EAI_NONAME;
    atomic_fetch_add(&asked, 1);
    int rc = 0;
    for (size_t i = 0; addresses[i] != NULL && rc == 0; i++) {
        rc = real(addresses[i], service, hints, out);
        while (rc == 0 && *out != NULL)
            out = &(*out)->ai_next;
    }
    return rc;
}

static void sites_are_at(const char *a, const char *b, const char *c)
{
    addresses[0] = a;
    addresses[1] = b;
    addresses[2] = c;
}

/* ---- a listener at 127.0.0.1, and an end that goes to the same port of sites.test ---- */

static void dial(struct pair *p)
{
    (void)snprintf(p->endpoint, sizeof p->endpoint, "sites.test:%d", listener_port(p->listener));
    pair_connect(p, "dc");
}

static void begin(struct pair *p)
{
    pair_init(p, "dc", WIRE_SITE, "dr");
    pair_listen(p, 10);
}

static void connects_to(const char *remote)
{
    struct pair p;
    char expected[64];
    begin(&p);
    dial(&p);
    if (!run_until(&p.loop, both_ready, p.ends))
        fail_msg("not ready: '%s'", p.ends[1].why.text);
    (void)snprintf(expected, sizeof expected, "%s:%d", remote, listener_port(p.listener));
    assert_string_equal(conn_remote(p.ends[1].conn), expected);
    pair_deinit(&p);
}

static void endpoints_are_taken_apart_at_the_last_colon(void **state)
{
    (void)state;
    char host[LINK_HOST_BYTES], port[6], text[LINK_HOST_BYTES + 16];
    static const char *const good[][3] = {{"dc:7400", "dc", "7400"},
                                          {"10.0.0.1:0", "10.0.0.1", "0"},
                                          {"[fd00::1]:65535", "fd00::1", "65535"},
                                          {"[dc]:007", "dc", "7"}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(link_endpoint(good[i][0], host, port, NULL), 0);
        assert_string_equal(host, good[i][1]);
        assert_string_equal(port, good[i][2]);
    }
    static const char *const bad[] = {
        "dc:65536", "dc:99999999999999999999", "dc:+1", "dc:7400 ", "fd00::1", "[fd00::1", "[]:1",
        "dc:7400:"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = ERR_NONE;
        if (link_endpoint(bad[i], host, port, &e) != ERR_USAGE)
            fail_msg("'%s' was taken for an endpoint", bad[i]);
        assert_non_null(strstr(e.text, bad[i]));
    }
    for (int n = LINK_HOST_BYTES - 1; n <= LINK_HOST_BYTES; n++) {
        memset(text, 'a', (size_t)n);
        (void)snprintf(text + n, 8, ":1");
        assert_int_equal(link_endpoint(text, host, port, NULL),
                         n < LINK_HOST_BYTES ? 0 : ERR_USAGE);
    }
    assert_int_equal(strlen(host), LINK_HOST_BYTES - 1);
}

static void addresses_are_written_as_endpoints(void **state)
{
    (void)state;
    char text[LINK_REMOTE_BYTES];
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    assert_int_equal(uv_ip4_addr("10.1.2.3", 7400, &v4), 0);
    link_address_text((struct sockaddr *)&v4, text);
    assert_string_equal(text, "10.1.2.3:7400");
    assert_int_equal(uv_ip6_addr("fd00::1", 7400, &v6), 0);
    link_address_text((struct sockaddr *)&v6, text);
    assert_string_equal(text, "[fd00::1]:7400");
}

static void a_site_name_that_no_site_can_have_is_refused_at_once(void **state)
{
    (void)state;
    struct pair p;
    begin(&p);
    char name[CLIENT_NAME_MAX_BYTES + 2] = {0};
    memset(name, 'x', sizeof name - 1);
    struct conn *c;
    struct err e = ERR_NONE;
    assert_int_equal(conn_connect(&c, &p.options[1], p.endpoint, name, &p.ends[1], &e), ERR_USAGE);
    assert_null(c);
    assert_non_null(strstr(e.text, "is too long"));
    pair_deinit(&p);
    assert_int_equal(p.ends[1].closed, 0);
}

static void the_next_address_is_tried_when_one_refuses(void **state)
{
    (void)state;
    sites_are_at("127.0.0.2", "127.0.0.3", "127.0.0.1");
    connects_to("127.0.0.1");
}

static void an_address_that_leads_nowhere_is_passed_over(void **state)
{
    (void)state;
    sites_are_at("255.255.255.255", "127.0.0.1", NULL);
    connects_to("127.0.0.1");
}

static void when_all_refuse_the_last_one_is_named(void **state)
{
    (void)state;
    static const char *const last[] = {"127.0.0.3", "255.255.255.255"};
    for (size_t i = 0; i < 2; i++) {
        struct pair p;
        char expected[96];
        begin(&p);
        sites_are_at("127.0.0.2", last[i], NULL);
        dial(&p);
        assert_true(run_until(&p.loop, is_closed, &p.ends[1]));
        (void)snprintf(expected, sizeof expected, "%s:%d: cannot connect: ", last[i],
                       listener_port(p.listener));
        if (strncmp(p.ends[1].why.text, expected, strlen(expected)) != 0)
            fail_msg("'%s' does not begin with '%s'", p.ends[1].why.text, expected);
        assert_int_equal(p.ends[1].why.code, ERR_UNREACHABLE);
        pair_deinit(&p);
        assert_int_equal(p.ends[1].closed, 1);
    }
}

/* ---- an address that takes nobody and says nothing: a listener that never accepts, and is full ---- */

struct deaf {
    int fd[32], n;
    bool full;
};

static void deaf_open(struct deaf *d, const char *ip, int port)
{
    struct sockaddr_in at;
    int on = 1;
    *d = (struct deaf){.fd = {socket(AF_INET, SOCK_STREAM, 0)}, .n = 1};
    assert_int_equal(uv_ip4_addr(ip, port, &at), 0);
    assert_int_equal(setsockopt(d->fd[0], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(d->fd[0], (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(d->fd[0], 0), 0);
    while (d->n < 32 && !d->full) {
        int fd = d->fd[d->n++] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        d->full = connect(fd, (struct sockaddr *)&at, sizeof at) != 0 && poll(&p, 1, 100) == 0;
    }
}

static void deaf_close(struct deaf *d)
{
    while (d->n > 0)
        (void)close(d->fd[--d->n]);
}

static void an_address_that_does_not_answer_has_its_share_of_the_time(void **state)
{
    (void)state;
    struct pair p;
    struct deaf deaf;
    begin(&p);
    deaf_open(&deaf, "127.0.0.9", listener_port(p.listener));
    if (!deaf.full) { /* this kernel has room for everybody */
        deaf_close(&deaf);
        pair_deinit(&p);
        skip();
    }
    p.options[1].handshake_ms =
        2000; /* much longer than a busy machine keeps this process waiting */
    sites_are_at("127.0.0.9", "127.0.0.1", NULL);
    (void)snprintf(p.endpoint, sizeof p.endpoint, "sites.test:%d", listener_port(p.listener));
    struct conn *c;
    assert_int_equal(conn_connect(&c, &p.options[1], p.endpoint, "dc", &p.ends[1], NULL), 0);
    while (p.ends[1].closed == 0 && strncmp(conn_remote(c), "127.0.0.9:", 10) != 0)
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    assert_int_equal(p.ends[1].closed, 0);
    assert_true(uv_timer_get_due_in(&c->timer) <= 1000);
    if (!run_until(&p.loop, both_ready, p.ends))
        fail_msg("not ready: '%s'", p.ends[1].why.text);
    conn_close(p.ends[1].conn, NULL);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    p.ends[0] = p.ends[1] = (struct end){0};
    sites_are_at("127.0.0.9", NULL, NULL);
    dial(&p);
    assert_true(run_until(&p.loop, is_closed, &p.ends[1]));
    assert_int_equal(p.ends[1].why.code, ERR_TIMEOUT);
    assert_non_null(strstr(p.ends[1].why.text, "127.0.0.9:"));
    assert_non_null(strstr(p.ends[1].why.text, "no answer to connecting within 2000 ms"));
    pair_deinit(&p);
    deaf_close(&deaf);
}

/* ---- giving up between two addresses ---- */

struct watcher {
    uv_check_t check;
    struct conn *conn;
};

/* After the sockets and before the close callbacks: the handle of the first attempt is on its way out. */
static void close_between(uv_check_t *check)
{
    struct watcher *w = check->data;
    if (w->conn == NULL || !uv_is_closing((uv_handle_t *)&w->conn->tcp))
        return;
    conn_close(w->conn, NULL);
    w->conn = NULL;
    uv_close((uv_handle_t *)check, NULL);
}

static void closing_between_two_addresses_is_reported_once(void **state)
{
    (void)state;
    struct pair p;
    struct watcher w;
    begin(&p);
    sites_are_at("127.0.0.2", "127.0.0.1", NULL);
    (void)snprintf(p.endpoint, sizeof p.endpoint, "sites.test:%d", listener_port(p.listener));
    assert_int_equal(conn_connect(&w.conn, &p.options[1], p.endpoint, "dc", &p.ends[1], NULL), 0);
    assert_int_equal(uv_check_init(&p.loop, &w.check), 0);
    w.check.data = &w;
    assert_int_equal(uv_check_start(&w.check, close_between), 0);
    assert_true(run_until(&p.loop, is_closed, &p.ends[1]));
    assert_false(p.ends[1].has_why);
    pair_deinit(&p);
    assert_int_equal(p.ends[1].closed, 1);
    assert_int_equal(p.ends[0].ready + p.ends[0].closed, 0);
}

/* A look-up that a thread has begun cannot be cancelled: it succeeds after the end, and an answer that nobody waits for must
 * leave nothing behind (LeakSanitizer counts). */
static void closing_during_a_look_up_is_reported_once(void **state)
{
    (void)state;
    struct pair p;
    struct conn *c;
    begin(&p);
    sites_are_at("127.0.0.1", NULL, NULL);
    (void)snprintf(p.endpoint, sizeof p.endpoint, "sites.test:%d", listener_port(p.listener));
    unsigned before = atomic_load(&asked);
    assert_int_equal(conn_connect(&c, &p.options[1], p.endpoint, "dc", &p.ends[1], NULL), 0);
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (atomic_load(&asked) == before && uv_hrtime() < end)
        (void)sched_yield();
    assert_int_equal(atomic_load(&asked), before + 1);
    conn_close(c, NULL);
    assert_true(run_until(&p.loop, is_closed, &p.ends[1]));
    assert_false(p.ends[1].has_why);
    pair_deinit(&p);
    assert_int_equal(p.ends[1].closed, 1);
    assert_int_equal(p.ends[0].ready + p.ends[0].closed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_taken_apart_at_the_last_colon),
        cmocka_unit_test(addresses_are_written_as_endpoints),
        cmocka_unit_test(a_site_name_that_no_site_can_have_is_refused_at_once),
        cmocka_unit_test(the_next_address_is_tried_when_one_refuses),
        cmocka_unit_test(an_address_that_leads_nowhere_is_passed_over),
        cmocka_unit_test(when_all_refuse_the_last_one_is_named),
        cmocka_unit_test(an_address_that_does_not_answer_has_its_share_of_the_time),
        cmocka_unit_test(closing_between_two_addresses_is_reported_once),
        cmocka_unit_test(closing_during_a_look_up_is_reported_once),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
