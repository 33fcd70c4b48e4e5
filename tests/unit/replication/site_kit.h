/* A whole site in this process: real log, state, TLS and client library, in a cluster of one member, and what tests of sites have
 * in common. The data lie in a directory of the test's own. */
#ifndef TESTS_UNIT_REPLICATION_SITE_KIT_H
#define TESTS_UNIT_REPLICATION_SITE_KIT_H

#include "client/triveni.h"
#include "replication/site.h"
#include "replication/site_init.h"
#include "store/core/check.h"
#include "tools/pki.h"

#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CLUSTER_ID "10020304-0506-0708-090a-0b0c0d0e0f10"

static char root[] = "/tmp/tvn-site-test-XXXXXX";
static struct site_config config;

struct running {
    struct site_config config; /* its own: the next one is being made while it runs */
    pthread_t thread;
    int rc;
    struct err why;
};

/* ---- the site ---- */

/* Below the ports that the kernel gives to those who connect, so that none of them takes it before the site does; the test of
 * another process begins to look elsewhere. */
static inline int free_port(void)
{
    static unsigned next;
    for (unsigned tries = 0; tries < 1000; tries++) {
        const unsigned port = 10000 + ((unsigned)getpid() * 16 + next++) % 10000;
        const struct sockaddr_in a = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)port),
                                      .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        check(fd >= 0);
        const bool is_free = bind(fd, (const struct sockaddr *)&a, sizeof a) == 0;
        close(fd);
        if (is_free)
            return (int)port;
    }
    check_failed(__FILE__, __LINE__, "there is a free port");
}

static inline void make_config(const char *data)
{
    config = (struct site_config){
        .cluster = "gov",
        .cluster_id = {{0x10, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
        .member_count = 1,
        .members = {{.name = "dc", .kind = SITE_DATA}},
        .policy = REPL_AUTOMATIC,
        .heartbeat_ms = 20,
        .election_ms = 100,
        .lease_ms = 80,
        .segment_bytes = 4 << 20,
        .log_limit_bytes = 1 << 30,
        .log_retain_bytes = 16 << 20,
        .checkpoint_bytes = 64 << 20,
        .checkpoint_ms = 60000,
        .memory_bytes = 64 << 20,
        .history_us = 3600000000,
        .history_bytes = 64 << 20,
        .session_hours = 24,
        .snapshot_ms = 600000,
        .max_clients = 16,
        .pack_bytes = 1 << 20,
        .pack_seconds = 10,
    };
    (void)snprintf(config.members[0].peer, SITE_ENDPOINT_BYTES, "127.0.0.1:%d", free_port());
    (void)snprintf(config.members[0].client, SITE_ENDPOINT_BYTES, "127.0.0.1:%d", free_port());
    (void)snprintf(config.data_dir, SITE_PATH_BYTES, "%s/%s", root, data);
    (void)snprintf(config.ca, SITE_PATH_BYTES, "%s/pki/ca.crt", root);
    (void)snprintf(config.cert, SITE_PATH_BYTES, "%s/pki/dc.crt", root);
    (void)snprintf(config.key, SITE_PATH_BYTES, "%s/pki/dc.key", root);
}

static inline void *run(void *arg)
{
    struct running *r = arg;
    r->rc = site_run(&r->config, &r->why);
    return NULL;
}

static inline void start(struct running *r)
{
    *r = (struct running){.config = config};
    check(pthread_create(&r->thread, NULL, run, r) == 0);
}

static inline int wait_for(struct running *r)
{
    check(pthread_join(r->thread, NULL) == 0);
    return r->rc;
}

static inline void stop(struct running *r)
{
    check(kill(getpid(), SIGTERM) == 0);
    if (wait_for(r) != 0)
        fail_msg("%s", r->why.text);
}

static inline void make_and_start(const char *data, struct running *r)
{
    struct err e = ERR_NONE;
    make_config(data);
    if (site_init(&config, SITE_NEW_CLUSTER, &e) != 0)
        fail_msg("%s", e.text);
    start(r);
}

static inline struct tvn *connect_with(const struct tvn_options *more)
{
    char uri[512];
    struct tvn_options options = TVN_OPTIONS_INIT;
    struct tvn_error e;
    struct tvn *db;
    if (more != NULL)
        options = *more;
    (void)snprintf(uri, sizeof uri,
                   "triveni://%s/?id=" CLUSTER_ID
                   "&ca=%s/pki/ca.crt&cert=%s/pki/%s.crt&key=%s/pki/%s.key",
                   config.members[0].client, root, root, "ops", root, "ops");
    if (tvn_open(uri, &options, &db, &e) != 0)
        fail_msg("%s", e.text);
    return db;
}

static inline uint64_t put(struct tvn *db, const char *key, const char *value)
{
    struct tvn_result done;
    struct tvn_error e;
    if (tvn_put(db, "land", tvn_str(key), tvn_str(value), &done, &e) != 0)
        fail_msg("%s", e.text);
    return done.lsn;
}

static inline void kit_written(void *arg, const struct tvn_result *result,
                               const struct tvn_error *error)
{
    unsigned *failed = arg;
    (void)result;
    *failed += error->code != 0;
}

/* `n` records of one collection, a transaction each, without waiting for one another. */
static inline void put_many(struct tvn *db, const char *collection, unsigned n)
{
    unsigned failed = 0;
    struct tvn_txn *txn = tvn_txn_new();
    struct tvn_error e;
    for (unsigned i = 0; i < n; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%06u", i);
        tvn_txn_reset(txn);
        (void)tvn_txn_put(txn, collection, tvn_str(key), tvn_str("v"));
        int rc;
        while ((rc = tvn_submit(db, txn, kit_written, &failed, &e)) == TVN_BUSY)
            (void)usleep(100);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(tvn_flush(db, 0, &e), 0);
    assert_int_equal(failed, 0);
    tvn_txn_free(txn);
}

static inline void assert_value(struct tvn *db, const char *key, const char *value)
{
    struct tvn_records *found;
    struct tvn_error e;
    if (tvn_get(db, "land", tvn_str(key), NULL, &found, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(found->records[0].value.size, strlen(value));
    assert_memory_equal(found->records[0].value.data, value, strlen(value));
    tvn_records_free(found);
}

/* ---- the test's directory ---- */

static inline int kit_setup(void **state)
{
    (void)state;
    char dir[64];
    struct err e = ERR_NONE;
    if (mkdtemp(root) == NULL)
        return -1;
    (void)snprintf(dir, sizeof dir, "%s/pki", root);
    if (pki_init(dir, "gov", &e) != 0 ||
        pki_issue(dir, &(struct pki_request){.kind = WIRE_SITE, .name = "dc"}, &e) != 0 ||
        pki_issue(dir, &(struct pki_request){.kind = WIRE_OPERATOR, .name = "ops"}, &e) != 0) {
        print_error("%s\n", e.text);
        return -1;
    }
    return 0;
}

static inline int kit_teardown(void **state)
{
    (void)state;
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

/* An order as the tool gives it: with the site's term and time, and a nonce. `more` begins with a comma, or is empty. */
static inline void order_text(struct tvn *db, unsigned nonce, const char *more, char out[256])
{
    struct tvn_error e;
    char *reply;
    assert_int_equal(tvn_admin(db, "status", NULL, 0, &reply, &e), 0);
    json_t *status = json_loads(reply, 0, NULL);
    tvn_free(reply);
    (void)snprintf(out, 256,
                   "{\"term\":%" JSON_INTEGER_FORMAT ",\"nonce\":\"nonce-number-%06u\","
                   "\"expires_us\":%" JSON_INTEGER_FORMAT "%s}",
                   json_integer_value(json_object_get(status, "term")), nonce,
                   json_integer_value(json_object_get(status, "time_us")) + 30000000, more);
    json_decref(status);
}

#endif
