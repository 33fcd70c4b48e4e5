/* Requests to S3, over connections that libcurl keeps: one for PUTs and everything that is called by one thread, and as many as
 * there are threads that read at the same time, up to S3_READERS_MAX. A call takes a connection that nobody uses, the one
 * used last, for it is the most likely to be open still; another one is made only when all are in use.
 *
 * Why libcurl's SigV4 and no code of ours: it signs what it sends. It must be fed with care; each of these was met as HTTP 403
 * "SignatureDoesNotMatch" with libcurl 7.88:
 *   - x-amz-content-sha256 is not added by it: it is always passed;
 *   - a query name without a value signs wrong: "versions=";
 *   - the query must be sorted and percent-encoded by the caller;
 *   - a raw '=', '+', ':' or '@' in a key signs wrong: names of ours have none, a prefix is checked (core/s3_text.h);
 *   - an empty "Expect:" header is signed and not sent: it is left to libcurl.
 *
 * ATTEMPTS. Trouble that may pass (no connection, no progress, 5xx, 429) is tried again after 0.25, 0.5 and 1 s. A PUT may
 * be repeated: the same bytes under the same name, which core/s3_text.h takes for one.
 *
 * LIMITS. A connection is waited for `timeout` seconds, and so is each byte of progress. An answer's body is bounded.
 * Redirects are not followed: a signature is for one host. */
#include "repository/io/s3_http.h"

#include "repository/io/s3_credentials.h"
#include "repository/io/s3_xml.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* Of an empty body. */
static const char sha256_of_nothing[] =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct s3_client {
    struct s3_place place;
    struct s3_credentials credentials;
    char sign[80];
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t freed;
    struct connection *idle; /* a stack */
    unsigned connections;    /* there are, idle or not */
    bool put_under_way;      /* one at a time */
};

struct connection {
    struct connection *next;
    CURL *curl;
    char why[CURL_ERROR_SIZE];
};

static struct connection *connection_new(void)
{
    struct connection *l = calloc(1, sizeof *l);
    if (l != NULL && (l->curl = curl_easy_init()) == NULL) {
        free(l);
        l = NULL;
    }
    return l;
}

/* One for a request; when there are enough, or there is no memory for another, it is waited for. The client has one from the
 * beginning. */
static struct connection *take_connection(struct s3_client *c, bool put)
{
    struct connection *l = NULL;
    (void)pthread_mutex_lock(&c->lock);
    while (put && c->put_under_way)
        (void)pthread_cond_wait(&c->freed, &c->lock);
    c->put_under_way = c->put_under_way || put;
    while (c->idle == NULL && l == NULL) {
        if (c->connections < S3_READERS_MAX && (l = connection_new()) != NULL)
            c->connections++;
        else
            (void)pthread_cond_wait(&c->freed, &c->lock);
    }
    if (l == NULL) {
        l = c->idle;
        c->idle = l->next;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return l;
}

static void give_connection(struct s3_client *c, struct connection *l, bool put)
{
    (void)pthread_mutex_lock(&c->lock);
    l->next = c->idle;
    c->idle = l;
    if (put)
        c->put_under_way = false;
    (void)pthread_cond_broadcast(&c->freed);
    (void)pthread_mutex_unlock(&c->lock);
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void init_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int s3_client_open(const struct s3_place *p, struct s3_client **out, struct err *e)
{
    *out = NULL;
    (void)pthread_once(&curl_once, init_curl);
    struct s3_client *c = calloc(1, sizeof *c);
    if (c == NULL || curl_ready != CURLE_OK || (c->idle = connection_new()) == NULL) {
        free(c);
        return err_set(e, ERR_NO_MEMORY, "no memory for a connection to S3");
    }
    c->connections = 1;
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->freed, NULL);
    c->place = *p;
    (void)snprintf(c->sign, sizeof c->sign, "aws:amz:%s:s3", p->region);
    int rc = s3_credentials_load(p->credentials, &c->credentials, e);
    if (rc == 0)
        *out = c;
    else
        s3_client_close(c);
    return rc;
}

void s3_client_close(struct s3_client *c)
{
    if (c == NULL)
        return;
    for (struct connection *l = c->idle, *next; l != NULL; l = next) {
        next = l->next;
        curl_easy_cleanup(l->curl);
        free(l);
    }
    (void)pthread_cond_destroy(&c->freed);
    (void)pthread_mutex_destroy(&c->lock);
    s3_credentials_wipe(&c->credentials);
    free(c);
}

void s3_answer_release(struct s3_answer *a)
{
    free(a->body);
    *a = (struct s3_answer){0};
}

/* ---- one attempt ---- */

struct attempt {
    const struct s3_request *r;
    struct s3_answer *out;
    uint64_t sent; /* of the file */
    long status;
    bool too_large;
};

static size_t on_body(char *p, size_t one, size_t n, void *arg)
{
    struct attempt *t = arg;
    struct s3_answer *a = t->out;
    (void)one;
    if (n > S3_ANSWER_MAX_BYTES - a->n) {
        t->too_large = true;
        return 0;
    }
    if (a->n + n + 1 > a->cap) {
        size_t cap = a->n + n + 1 > 2 * a->cap ? a->n + n + 4096 : 2 * a->cap;
        uint8_t *more = realloc(a->body, cap);
        if (more == NULL)
            return 0;
        a->body = more;
        a->cap = cap;
    }
    memcpy(a->body + a->n, p, n);
    a->n += n;
    return n;
}

static void take_header(const char *line, size_t n, const char *name, char *out, size_t cap)
{
    size_t skip = strlen(name);
    if (n <= skip || strncasecmp(line, name, skip) != 0)
        return;
    while (skip < n && line[skip] == ' ')
        skip++;
    while (n > skip && (line[n - 1] == '\r' || line[n - 1] == '\n'))
        n--;
    (void)snprintf(out, cap, "%.*s", (int)(n - skip), line + skip);
}

static size_t on_header(char *p, size_t one, size_t n, void *arg)
{
    const struct attempt *t = arg;
    struct s3_answer *a = t->out;
    (void)one;
    take_header(p, n, "x-amz-version-id:", a->version, sizeof a->version);
    take_header(p, n, "x-amz-object-lock-mode:", a->lock_mode, sizeof a->lock_mode);
    take_header(p, n, "x-amz-object-lock-retain-until-date:", a->lock_until, sizeof a->lock_until);
    return n;
}

static size_t on_send(char *p, size_t one, size_t n, void *arg)
{
    struct attempt *t = arg;
    ssize_t got = pread(t->r->fd, p, one * n, (off_t)t->sent);
    if (got < 0)
        return CURL_READFUNC_ABORT;
    t->sent += (uint64_t)got;
    return (size_t)got;
}

static int on_rewind(void *arg, curl_off_t offset, int origin)
{
    struct attempt *t = arg;
    if (origin != SEEK_SET || offset < 0)
        return CURL_SEEKFUNC_CANTSEEK;
    t->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static struct curl_slist *header(struct curl_slist *list, bool *ok, const char *name,
                                 const char *value)
{
    char line[768];
    int n = snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more =
        n < 0 || (size_t)n >= sizeof line ? NULL : curl_slist_append(list, line);
    *ok = *ok && more != NULL;
    return more != NULL ? more : list;
}

static struct curl_slist *headers(const struct s3_client *c, const struct s3_request *r, bool *ok)
{
    struct curl_slist *list = NULL;
    list = header(list, ok, "x-amz-content-sha256", r->put ? r->sha256 : sha256_of_nothing);
    if (c->credentials.token[0] != '\0')
        list = header(list, ok, "x-amz-security-token", c->credentials.token);
    if (!r->put)
        return list;
    list = header(list, ok, "Content-Type", "application/octet-stream");
    list = header(list, ok, "Content-MD5", r->md5); /* AWS wants it with a lock */
    if (r->lock_until != NULL) {
        list = header(list, ok, "x-amz-object-lock-mode", r->lock_mode);
        list = header(list, ok, "x-amz-object-lock-retain-until-date", r->lock_until);
    }
    return list;
}

static bool url_of(const struct s3_client *c, const struct s3_request *r, char *out, size_t cap)
{
    const struct s3_place *p = &c->place;
    int n = snprintf(out, cap, "%s/%s%s%s%s%s%s", p->endpoint, p->bucket, r->key != NULL ? "/" : "",
                     r->key != NULL ? p->prefix : "", r->key != NULL ? r->key : "",
                     r->query != NULL ? "?" : "", r->query != NULL ? r->query : "");
    return n > 0 && (size_t)n < cap;
}

/* Everything that is asked of libcurl; true when it took all of it. */
static bool prepare(const struct s3_client *c, struct connection *l, struct attempt *t,
                    const char *url, struct curl_slist *list)
{
    CURL *h = l->curl;
    const struct s3_request *r = t->r;
    char range[64];
    curl_easy_reset(h);
    bool ok = curl_easy_setopt(h, CURLOPT_URL, url) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_AWS_SIGV4, c->sign) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_USERNAME, c->credentials.key) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_PASSWORD, c->credentials.secret) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_HTTPHEADER, list) == CURLE_OK;
    (void)curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(h, CURLOPT_ERRORBUFFER, l->why);
    (void)curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)c->place.timeout_s);
    (void)curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)c->place.timeout_s);
    (void)curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
    if (c->place.ca[0] != '\0')
        ok = ok && curl_easy_setopt(h, CURLOPT_CAINFO, c->place.ca) == CURLE_OK;
    if (r->range_bytes != 0) {
        (void)snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)r->range_from,
                       (unsigned long long)(r->range_from + r->range_bytes - 1));
        ok = ok && curl_easy_setopt(h, CURLOPT_RANGE, range) == CURLE_OK;
    }
    if (r->remove)
        ok = ok && curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, "DELETE") == CURLE_OK;
    if (r->put) {
        (void)curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->bytes);
        (void)curl_easy_setopt(h, CURLOPT_READFUNCTION, on_send);
        (void)curl_easy_setopt(h, CURLOPT_READDATA, t);
        (void)curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, on_rewind);
        (void)curl_easy_setopt(h, CURLOPT_SEEKDATA, t);
    }
    return ok;
}

/* ---- what became of it ---- */

struct complaint {
    char code[64], message[160];
};

static int note_complaint(void *arg, const char *path, const char *text)
{
    struct complaint *c = arg;
    if (strcmp(path, "Error/Code") == 0)
        (void)snprintf(c->code, sizeof c->code, "%.63s", text);
    if (strcmp(path, "Error/Message") == 0)
        (void)snprintf(c->message, sizeof c->message, "%.159s", text);
    return 0;
}

static int refused(const struct attempt *t, bool *passing, struct err *e)
{
    struct complaint c = {.code = ""};
    const char *advice;
    if (t->out->n != 0)
        (void)s3_xml_read(bytes_of(t->out->body, t->out->n), note_complaint, &c, NULL);
    int rc = s3_trouble((unsigned)t->status, c.code, &advice);
    *passing = s3_passing((unsigned)t->status, c.code);
    err_set(e, rc, "HTTP %ld%s%s%s%s%s", t->status, c.code[0] != '\0' ? " " : "", c.code,
            c.message[0] != '\0' ? " (" : "", c.message, c.message[0] != '\0' ? ")" : "");
    if (advice != NULL)
        err_advise(e, advice);
    return rc;
}

static int no_answer(const struct s3_client *c, const struct connection *l, const struct attempt *t,
                     CURLcode code, bool *passing, struct err *e)
{
    const char *why = l->why[0] != '\0' ? l->why : curl_easy_strerror(code);
    *passing = true;
    if (t->too_large)
        return *passing = false,
               err_set(e, ERR_FORMAT, "the answer has more than %d bytes", S3_ANSWER_MAX_BYTES);
    if (code == CURLE_OUT_OF_MEMORY || code == CURLE_ABORTED_BY_CALLBACK)
        return *passing = false, err_set(e, ERR_NO_MEMORY, "%s", why);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(e, ERR_TIMEOUT, "no progress for %u s: %.120s", c->place.timeout_s, why);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return *passing = false,
               err_set(e, ERR_UNREACHABLE,
                       "%.160s; name the certificates that it is signed with (ca=FILE)", why);
    return err_set(e, ERR_UNREACHABLE, "%.160s", why);
}

static int attempt_once(const struct s3_client *c, struct connection *l, const struct s3_request *r,
                        struct s3_answer *out, bool *passing, struct err *e)
{
    char url[1024];
    struct attempt t = {.r = r, .out = out};
    bool ok = url_of(c, r, url, sizeof url);
    struct curl_slist *list = headers(c, r, &ok);
    out->n = 0;
    out->version[0] = out->lock_mode[0] = out->lock_until[0] = '\0';
    l->why[0] = '\0';
    *passing = false;
    ok = prepare(c, l, &t, url, list) && ok;
    CURLcode code = ok ? curl_easy_perform(l->curl) : CURLE_OK;
    curl_slist_free_all(list);
    if (!ok)
        return err_set(e, ERR_FAILED, "libcurl does not take the request");
    (void)curl_easy_getinfo(l->curl, CURLINFO_RESPONSE_CODE, &t.status);
    /* An answer before the body was sent whole ends the sending, and is what counts. */
    if (code != CURLE_OK && (code != CURLE_SEND_ERROR || t.status < 400))
        return no_answer(c, l, &t, code, passing, e);
    return t.status >= 200 && t.status < 300 ? 0 : refused(&t, passing, e);
}

int s3_call(struct s3_client *c, const struct s3_request *r, struct s3_answer *out, struct err *e)
{
    struct err why = ERR_NONE;
    bool passing = true;
    int rc = 0, attempts = 0;
    *out = (struct s3_answer){0};
    while (attempts < S3_ATTEMPTS && passing) {
        if (attempts != 0) {
            long wait_ms = 250L << (attempts - 1);
            (void)nanosleep(&(struct timespec){wait_ms / 1000, wait_ms % 1000 * 1000000}, NULL);
        }
        attempts++;
        why = (struct err)ERR_NONE;
        struct connection *l = take_connection(c, r->put);
        rc = attempt_once(c, l, r, out, &passing, &why);
        give_connection(c, l, r->put);
        if (rc == 0)
            return 0;
    }
    s3_answer_release(out);
    if (e != NULL)
        *e = why;
    if (attempts > 1)
        err_wrap(e, "%d attempts", attempts);
    err_wrap(e, "%s %s/%s/%s%s",
             r->put      ? "PUT"
             : r->remove ? "DELETE"
                         : "GET",
             c->place.endpoint, c->place.bucket, r->key != NULL ? c->place.prefix : "",
             r->key != NULL ? r->key : "");
    return rc;
}
