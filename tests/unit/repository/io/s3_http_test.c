/* Requests to a service that answers nobody before as many have come as are waited for: GETs are under way together, PUTs are
 * not. */
#include "repository/io/s3_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { WAIT_S = 20 }; /* for those who are expected */

static struct service {
    int door;
    unsigned port, expected; /* nobody is answered before so many are under way */
    pthread_mutex_t lock;
    pthread_cond_t came;
    unsigned under_way, most, served;
} service = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};

static void await_others(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    (void)pthread_mutex_lock(&service.lock);
    service.under_way++;
    if (service.under_way > service.most)
        service.most = service.under_way;
    (void)pthread_cond_broadcast(&service.came);
    int rc = 0;
    while (rc == 0 && service.most < service.expected)
        rc = pthread_cond_timedwait(&service.came, &service.lock, &until);
    (void)pthread_mutex_unlock(&service.lock);
}

static void *serve_one(void *arg)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const int fd = *(int *)arg;
    char text[8192];
    size_t n = 0;
    ssize_t got;
    free(arg);
    while ((got = recv(fd, text + n, sizeof text - 1 - n, 0)) > 0) {
        n += (size_t)got;
        text[n] = '\0';
        if (strstr(text, "\r\n\r\n") == NULL)
            continue;
        await_others();
        (void)usleep(strncmp(text, "PUT", 3) == 0 ? 20000
                                                  : 0); /* so that another PUT would be seen */
        (void)pthread_mutex_lock(&service.lock);
        service.under_way--;
        service.served++;
        (void)pthread_mutex_unlock(&service.lock);
        (void)send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
        n = 0;
    }
    (void)close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    (void)arg;
    for (;;) {
        int *fd = malloc(sizeof *fd);
        pthread_t t;
        if (fd == NULL || (*fd = accept(service.door, NULL, NULL)) < 0) {
            free(fd);
            return NULL;
        }
        assert_int_equal(pthread_create(&t, NULL, serve_one, fd), 0);
        (void)pthread_detach(t);
    }
}

static struct s3_client *client(unsigned expected)
{
    static struct s3_place place; /* the client has a copy */
    struct s3_client *c;
    char credentials[] = "/tmp/triveni-s3-XXXXXX";
    static const char text[] = "aws_access_key_id = a\naws_secret_access_key = b\n";
    const int fd = mkstemp(credentials);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    (void)close(fd);
    char where[256];
    (void)snprintf(where, sizeof where, "s3:http://127.0.0.1:%u/bucket?credentials=%s&timeout=60",
                   service.port, credentials);
    assert_int_equal(s3_text_parse(where, &place, NULL), 0);
    assert_int_equal(s3_client_open(&place, &c, NULL), 0);
    (void)unlink(credentials);
    (void)pthread_mutex_lock(&service.lock);
    service.expected = expected;
    service.most = service.served = 0;
    (void)pthread_mutex_unlock(&service.lock);
    return c;
}

struct caller {
    struct s3_client *c;
    bool put;
    int rc;
};

static void *call(void *arg)
{
    struct caller *x = arg;
    struct s3_answer a;
    const struct s3_request r = {
        .key = "k", .put = x->put, .fd = -1, .sha256 = x->put ? "00" : NULL, .md5 = "AA=="};
    for (int i = 0; i < 3 && x->rc == 0; i++) {
        x->rc = s3_call(x->c, &r, &a, NULL);
        s3_answer_release(&a);
    }
    return NULL;
}

static void call_from(struct s3_client *c, unsigned n, bool put)
{
    struct caller callers[2 * S3_READERS_MAX];
    pthread_t threads[2 * S3_READERS_MAX];
    for (unsigned i = 0; i < n; i++) {
        callers[i] = (struct caller){c, put, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
    }
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(callers[i].rc, 0);
    }
}

static void as_many_gets_as_threads_are_under_way_together(void **state)
{
    (void)state;
    struct s3_client *c = client(S3_READERS_MAX);
    call_from(c, S3_READERS_MAX, false);
    assert_int_equal(service.most, S3_READERS_MAX);
    assert_int_equal(service.served, 3 * S3_READERS_MAX);
    s3_client_close(c);
}

static void more_threads_wait_for_a_connection(void **state)
{
    (void)state;
    struct s3_client *c = client(S3_READERS_MAX);
    call_from(c, 2 * S3_READERS_MAX, false);
    assert_int_equal(service.most, S3_READERS_MAX);
    assert_int_equal(service.served, 6 * S3_READERS_MAX);
    s3_client_close(c);
}

static void puts_go_one_after_the_other(void **state)
{
    (void)state;
    struct s3_client *c = client(0);
    call_from(c, 4, true);
    assert_int_equal(service.most, 1);
    assert_int_equal(service.served, 12);
    s3_client_close(c);
}

int main(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    pthread_t t;
    service.door = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(service.door, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(service.door, 64) != 0 ||
        getsockname(service.door, (struct sockaddr *)&at, &n) != 0 ||
        pthread_create(&t, NULL, serve, NULL) != 0)
        return 1;
    service.port = ntohs(at.sin_port);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_gets_as_threads_are_under_way_together),
        cmocka_unit_test(more_threads_wait_for_a_connection),
        cmocka_unit_test(puts_go_one_after_the_other),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)shutdown(service.door, SHUT_RDWR);
    (void)pthread_join(t, NULL);
    (void)close(service.door);
    return failed;
}
