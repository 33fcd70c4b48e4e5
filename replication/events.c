/* The event log: one sentence per decision, to stderr for the journal and kept in a ring for `triveni events`. Control
 * characters are replaced, so that a name from outside cannot forge a line.
 *
 * Whoever adds an event only puts it into the ring. A thread of its own writes to stderr: a pipe that nobody empties, or a disk
 * that hangs, must not stop the loop that keeps the lease. What the ring has lost meanwhile is counted, and the count
 * written. */
#include "replication/site_parts.h"

#include "store/io/cond.h"

#include <poll.h>
#include <stdarg.h>
#include <unistd.h>

enum {
    EVENTS_KEPT = 2048,
    EVENT_TEXT_BYTES = 400,
    EVENT_LINE_BYTES = 512, /* below PIPE_BUF: where poll sees room, the whole line goes */
    EVENTS_POLL_MS = 100,
    EVENTS_LAST_MS = 1000, /* for what is left at the end */
};

struct event {
    uint64_t time_us;
    char text[EVENT_TEXT_BYTES];
};

struct events {
    pthread_mutex_t lock;
    char site[SITE_NAME_MAX_BYTES + 1];
    uint64_t added;
    struct event ring[EVENTS_KEPT];
    /* the writer's */
    pthread_t thread;
    pthread_cond_t news;
    bool running, stop;
    uint64_t written; /* of added; lost ones count too */
};

/* A line is lost with its reader, or when there is none to write to; it is still in the ring. */
static void write_line(const char *line, size_t n)
{
    while (n > 0) {
        ssize_t put = write(STDERR_FILENO, line, n);
        if (put < 0 && errno != EINTR)
            return;
        line += put > 0 ? put : 0;
        n -= put > 0 ? (size_t)put : 0;
    }
}

/* The next line, or false: all are written. With the lock held. */
static bool next_line(struct events *ev, char line[EVENT_LINE_BYTES])
{
    char when[SITE_TIME_BYTES];
    uint64_t oldest = ev->added > EVENTS_KEPT ? ev->added - EVENTS_KEPT : 0;
    if (ev->written >= ev->added)
        return false;
    if (ev->written < oldest) {
        site_time_text(site_now_us(), when);
        (void)snprintf(line, EVENT_LINE_BYTES,
                       "%s %s: %llu events could not be written here in time: whoever reads this "
                       "is too slow\n",
                       when, ev->site, (unsigned long long)(oldest - ev->written));
        ev->written = oldest;
        return true;
    }
    const struct event *event = &ev->ring[ev->written++ % EVENTS_KEPT];
    site_time_text(event->time_us, when);
    (void)snprintf(line, EVENT_LINE_BYTES, "%s %s: %s\n", when, ev->site, event->text);
    return true;
}

static void *write_events(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "events");
    struct events *ev = arg;
    char line[EVENT_LINE_BYTES];
    uint64_t end_ms = 0;
    (void)pthread_mutex_lock(&ev->lock);
    for (;;) {
        if (ev->stop && end_ms == 0)
            end_ms = site_now_ms() + EVENTS_LAST_MS;
        if (ev->written >= ev->added && ev->stop)
            break;
        if (ev->written >= ev->added) {
            (void)pthread_cond_wait(&ev->news, &ev->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&ev->lock);
        /* The line is chosen when it can be written, so that the count of the lost is the newest. */
        struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
        bool room = poll(&fd, 1, EVENTS_POLL_MS) > 0;
        (void)pthread_mutex_lock(&ev->lock);
        if (room && next_line(ev, line)) {
            (void)pthread_mutex_unlock(&ev->lock);
            write_line(line, strlen(line));
            (void)pthread_mutex_lock(&ev->lock);
        } else if (!room && end_ms != 0 && site_now_ms() >= end_ms) {
            break;
        }
    }
    (void)pthread_mutex_unlock(&ev->lock);
    return NULL;
}

struct events *events_new(const char *site_name)
{
    struct events *ev = calloc(1, sizeof *ev);
    if (ev == NULL)
        return NULL;
    pthread_mutex_init(&ev->lock, NULL);
    cond_init(&ev->news);
    (void)snprintf(ev->site, sizeof ev->site, "%s", site_name);
    ev->running = pthread_create(&ev->thread, NULL, write_events, ev) == 0;
    if (ev->running)
        return ev;
    events_free(ev);
    return NULL;
}

void events_drain(struct events *ev)
{
    if (!ev->running)
        return;
    (void)pthread_mutex_lock(&ev->lock);
    ev->stop = true;
    (void)pthread_cond_signal(&ev->news);
    (void)pthread_mutex_unlock(&ev->lock);
    (void)pthread_join(ev->thread, NULL);
    ev->running = false;
}

void events_free(struct events *ev)
{
    if (ev == NULL)
        return;
    events_drain(ev);
    (void)pthread_cond_destroy(&ev->news);
    pthread_mutex_destroy(&ev->lock);
    free(ev);
}

void site_time_text(uint64_t us, char out[SITE_TIME_BYTES])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    (void)gmtime_r(&seconds, &tm);
    size_t n = strftime(out, SITE_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, SITE_TIME_BYTES - n, ".%03uZ", (unsigned)(us / 1000 % 1000));
}

/* A sentence that was cut in the middle of a character loses all of it: what is not UTF-8 could not be shown. */
static void cut_whole(char *text)
{
    size_t n = strlen(text), begin = n;
    while (begin > 0 && ((unsigned char)text[begin - 1] & 0xc0) == 0x80)
        begin--;
    if (begin == 0 || (unsigned char)text[begin - 1] < 0xc0)
        return; /* no character of several bytes is at the end */
    unsigned char lead = (unsigned char)text[begin - 1];
    size_t whole = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (n - (begin - 1) < whole)
        text[begin - 1] = '\0';
}

void events_add(struct events *ev, const char *fmt, ...)
{
    char text[EVENT_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof text)
        cut_whole(text);
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';

    uint64_t now = site_now_us();
    (void)pthread_mutex_lock(&ev->lock);
    struct event *slot = &ev->ring[ev->added++ % EVENTS_KEPT];
    slot->time_us = now;
    memcpy(slot->text, text, sizeof text);
    (void)pthread_cond_signal(&ev->news);
    (void)pthread_mutex_unlock(&ev->lock);
}

json_t *events_json(struct events *ev, size_t limit)
{
    json_t *list = json_array();
    (void)pthread_mutex_lock(&ev->lock);
    uint64_t kept = ev->added < EVENTS_KEPT ? ev->added : EVENTS_KEPT;
    if (limit > kept)
        limit = kept;
    for (uint64_t i = ev->added - limit; i < ev->added; i++) {
        const struct event *event = &ev->ring[i % EVENTS_KEPT];
        char when[SITE_TIME_BYTES];
        site_time_text(event->time_us, when);
        json_t *text = json_string(event->text); /* NULL when it is not UTF-8 */
        json_array_append_new(list, json_pack("{s:s, s:o}", "time", when, "text",
                                              text != NULL ? text : json_string("(not UTF-8)")));
    }
    (void)pthread_mutex_unlock(&ev->lock);
    return list;
}
