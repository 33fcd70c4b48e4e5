/* A site of which only some parts run: its log, its state, its events, in a directory of the test's own. */
#ifndef TESTS_UNIT_REPLICATION_PARTS_KIT_H
#define TESTS_UNIT_REPLICATION_PARTS_KIT_H

#include "replication/site_parts.h"
#include "tests/unit/store/io/state_kit.h"

#include <ftw.h>
#include <time.h>

struct parts {
    char dir[64];
    struct site_config config;
    struct site site;
    struct history h;
    size_t logged, applied; /* of the history */
};

static inline int parts_setup(void **state)
{
    struct parts *p = calloc(1, sizeof *p);
    assert_non_null(p);
    kit_dir_new(p->dir);
    p->config = (struct site_config){
        .cluster = "gov", .cluster_id = {{7}}, .member_count = 1, .members = {{.name = "dc"}}};
    (void)snprintf(p->config.data_dir, SITE_PATH_BYTES, "%s", p->dir);
    p->site.config = &p->config;
    p->site.events = events_new("dc");
    assert_non_null(p->site.events);
    p->site.read_capacity = 4096;
    p->site.read_buffer = malloc(p->site.read_capacity);
    *state = p;
    return 0;
}

static inline int parts_unlink(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st, (void)flag, (void)at;
    return remove(path);
}

static inline int parts_teardown(void **state)
{
    struct parts *p = *state;
    if (p->site.log != NULL)
        must(log_close(p->site.log, &e));
    if (p->site.state != NULL)
        state_close(p->site.state);
    events_drain(p->site.events);
    events_free(p->site.events);
    free(p->site.read_buffer);
    history_free(&p->h);
    (void)nftw(p->dir, parts_unlink, 16, FTW_DEPTH | FTW_PHYS);
    free(p);
    return 0;
}

static inline void parts_durable(void *arg, struct entry_position last)
{
    (void)arg, (void)last;
}

static inline void parts_failed(void *arg, const struct err *why)
{
    (void)arg;
    print_error("the log failed: %s\n", why->text);
    abort();
}

/* What the history has more than the log goes into it. */
static inline void parts_log(struct parts *p)
{
    static char dir[80];
    static const struct entry_position nothing;
    (void)snprintf(dir, sizeof dir, "%s/log", p->dir);
    const struct log_options options = {.dir = dir,
                                        .cluster_id = {{7}},
                                        .segment_bytes = 1 << 20,
                                        .engine = LOG_ENGINE_PLAIN,
                                        .on_durable = parts_durable,
                                        .on_failed = parts_failed,
                                        .arg = p};
    if (p->site.log == NULL)
        must(log_open(&p->site.log, &options, &nothing, &e));
    must(log_append(p->site.log, p->h.v + p->logged, p->h.n - p->logged, &e));
    p->logged = p->h.n;
    p->site.tail = p->h.at;
}

/* Up to and with the n-th entry of the history. */
static inline void parts_apply(struct parts *p, size_t n)
{
    static char dir[80];
    (void)snprintf(dir, sizeof dir, "%s/state", p->dir);
    const struct state_options options = kit_options(dir);
    if (p->site.state == NULL)
        must(state_open(&p->site.state, &options, &e));
    must(state_apply(p->site.state, p->h.v + p->applied, n - p->applied, &e));
    p->applied = n;
}

/* How many of the events hold this text. */
static inline unsigned parts_told(struct parts *p, const char *text)
{
    unsigned n = 0;
    json_t *list = events_json(p->site.events, 1000);
    for (size_t i = 0; i < json_array_size(list); i++)
        n += strstr(json_string_value(json_object_get(json_array_get(list, i), "text")), text) !=
             NULL;
    json_decref(list);
    return n;
}

#endif
