/* The event log: one sentence per decision, to stderr for the journal and kept in a ring for `triveni events`. Control characters
 * are replaced, so that a name from outside cannot forge a line. */
#include "replication/site_parts.h"

#include <stdarg.h>

enum { EVENTS_KEPT = 2048, EVENT_TEXT_BYTES = 400 };

struct event {
    uint64_t time_us;
    char text[EVENT_TEXT_BYTES];
};

struct events {
    pthread_mutex_t lock;
    char site[SITE_NAME_MAX_BYTES + 1];
    uint64_t added;
    struct event ring[EVENTS_KEPT];
};

struct events *events_new(const char *site_name)
{
    struct events *ev = calloc(1, sizeof *ev);
    if (ev == NULL)
        return NULL;
    pthread_mutex_init(&ev->lock, NULL);
    (void)snprintf(ev->site, sizeof ev->site, "%s", site_name);
    return ev;
}

void events_free(struct events *ev)
{
    if (ev == NULL)
        return;
    pthread_mutex_destroy(&ev->lock);
    free(ev);
}

static void format_time(uint64_t us, char out[40])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    (void)gmtime_r(&seconds, &tm);
    size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, 40 - n, ".%03uZ", (unsigned)(us / 1000 % 1000));
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
    char when[40];
    format_time(now, when);
    (void)pthread_mutex_lock(&ev->lock);
    struct event *slot = &ev->ring[ev->added++ % EVENTS_KEPT];
    slot->time_us = now;
    memcpy(slot->text, text, sizeof text);
    (void)fprintf(stderr, "%s %s: %s\n", when, ev->site, text);
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
        char when[40];
        format_time(event->time_us, when);
        json_t *text = json_string(event->text); /* NULL when it is not UTF-8 */
        json_array_append_new(list, json_pack("{s:s, s:o}", "time", when, "text",
                                              text != NULL ? text : json_string("(not UTF-8)")));
    }
    (void)pthread_mutex_unlock(&ev->lock);
    return list;
}
