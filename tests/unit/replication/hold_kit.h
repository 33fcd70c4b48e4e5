/* An applier that stands still for as long as a test likes: another process holds the write lock of the site's state, as a disk
 * or a scheduler might. It has to be forked before the test has threads. */
#ifndef TESTS_UNIT_REPLICATION_HOLD_KIT_H
#define TESTS_UNIT_REPLICATION_HOLD_KIT_H

#include "tests/unit/replication/site_kit.h"

#include <lmdb.h>
#include <sys/wait.h>

struct holder {
    pid_t pid;
    int orders, answers;
};

/* The child: 'h' holds, 'r' releases, the end of its input ends it. */
static inline void hold_main(const char *dir, int orders, int answers)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    for (char order; read(orders, &order, 1) == 1;) {
        if (env == NULL && (mdb_env_create(&env) != 0 ||
                            mdb_env_open(env, dir, MDB_NOSYNC | MDB_NOTLS, 0600) != 0))
            _exit(1);
        if (order == 'h' && mdb_txn_begin(env, NULL, 0, &txn) != 0)
            _exit(2);
        if (order == 'r')
            mdb_txn_abort(txn);
        if (write(answers, &order, 1) != 1)
            _exit(3);
    }
    _exit(0);
}

/* Of the site whose data are in this directory of the test's. */
static inline void hold_begin(struct holder *h, const char *data)
{
    char dir[SITE_PATH_BYTES];
    int down[2], up[2];
    (void)snprintf(dir, sizeof dir, "%s/%s/state", root, data);
    check(pipe(down) == 0 && pipe(up) == 0);
    h->pid = fork();
    check(h->pid >= 0);
    if (h->pid == 0) {
        close(down[1]);
        close(up[0]);
        hold_main(dir, down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    h->orders = down[1];
    h->answers = up[0];
}

static inline void hold_order(struct holder *h, char order)
{
    char answer = 0;
    assert_int_equal(write(h->orders, &order, 1), 1);
    assert_int_equal(read(h->answers, &answer, 1), 1);
    assert_int_equal(answer, order);
}

static inline void hold_end(struct holder *h)
{
    int status;
    close(h->orders);
    close(h->answers);
    check(waitpid(h->pid, &status, 0) == h->pid);
}

/* Start the site again, and hold its state before it is primary. */
static inline void start_held(struct running *site, struct holder *h)
{
    config.election_ms = 1500; /* so long after a start nobody is primary */
    config.lease_ms = 1000;
    start(site);
    struct sockaddr_in a = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(strrchr(config.members[0].client, ':') + 1, NULL, 10)),
        .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (unsigned ms = 0;; ms += 5) { /* its ports open last, when the state is there */
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const bool there = connect(fd, (const struct sockaddr *)&a, sizeof a) == 0;
        close(fd);
        if (there)
            break;
        assert_true(ms < 60000);
        (void)usleep(5000);
    }
    hold_order(h, 'h');
}

static inline json_int_t held_status(struct tvn *db, const char *what)
{
    char *reply;
    struct tvn_error e;
    assert_int_equal(tvn_admin(db, "status", NULL, 0, &reply, &e), 0);
    json_t *status = json_loads(reply, 0, NULL);
    tvn_free(reply);
    const json_int_t n = json_integer_value(
        json_object_get(json_array_get(json_object_get(status, "sites"), 0), what));
    json_decref(status);
    return n;
}

#endif
