/* The thread that writes divergence bundles, over a real log: what is ordered, what is not wanted any more, and what fails. */
#include "tests/unit/replication/parts_kit.h"

#include <dirent.h>

enum { PATIENCE_MS = 20000, ENTRIES = 3000 };

static void on_wake(uv_async_t *wake)
{
    (void)wake;
}

static int set_up(void **state)
{
    if (parts_setup(state) != 0)
        return -1;
    struct parts *p = *state;
    struct site *s = &p->site;
    assert_int_equal(uv_loop_init(&s->loop), 0);
    assert_int_equal(uv_async_init(&s->loop, &s->wake, on_wake), 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        history_put(&p->h, "deeds", "k", "value");
    parts_log(p);
    parts_apply(p, 10);
    must(exporter_open(s, &s->exporter, &e));
    return 0;
}

static int tear_down(void **state)
{
    struct parts *p = *state;
    exporter_close(p->site.exporter);
    uv_close((uv_handle_t *)&p->site.wake, NULL);
    while (uv_run(&p->site.loop, UV_RUN_DEFAULT) != 0) /* which a site that failed has stopped */
        ;
    assert_int_equal(uv_loop_close(&p->site.loop), 0);
    return parts_teardown(state);
}

/* Names of files in the folder of bundles, joined. */
static const char *files(const struct parts *p)
{
    static char names[400];
    char path[100];
    (void)snprintf(path, sizeof path, "%s/divergence", p->dir);
    names[0] = '\0';
    DIR *dir = opendir(path);
    const struct dirent *d;
    while (dir != NULL && (d = readdir(dir)) != NULL)
        if (d->d_name[0] != '.')
            (void)snprintf(names + strlen(names), sizeof names - strlen(names), "%s ", d->d_name);
    if (dir != NULL)
        (void)closedir(dir);
    return names;
}

/* The loop looks until the folder holds that, or the site has failed. */
static void wait_for(struct parts *p, const char *names)
{
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    while (strcmp(files(p), names) != 0 && p->site.fatal.code == 0 && site_now_ms() < end) {
        exporter_progress(p->site.exporter);
        (void)usleep(500);
    }
    assert_string_equal(files(p), names);
}

static void wants_a_cut_at(struct site *s, uint64_t keep)
{
    s->view.cut = (struct repl_cut_view){.asked = true, .keep = {keep}};
    exporter_begin(s->exporter, (struct lsn){keep}, true);
    exporter_follow(s->exporter);
}

static void what_is_for_people_gets_its_name_at_once(void **state)
{
    struct parts *p = *state;
    exporter_begin(p->site.exporter, (struct lsn){10}, false);
    exporter_follow(p->site.exporter);
    wait_for(p, "6-11-3000.jsonl ");
    assert_int_equal(p->site.fatal.code, 0);
}

static void the_last_order_counts(void **state)
{
    struct parts *p = *state;
    char text[ERR_TEXT_BYTES];
    wants_a_cut_at(&p->site, 10);
    assert_true(exporter_trouble(p->site.exporter, text));
    assert_non_null(strstr(text, "entries 11..3000 are not in the common history"));
    wants_a_cut_at(&p->site, 20);
    exporter_begin(p->site.exporter, (struct lsn){30}, false);
    wait_for(p, "6-31-3000.jsonl ");
    assert_int_equal(p->site.fatal.code, 0);
    assert_false(exporter_trouble(p->site.exporter, text));
}

static void what_the_log_does_not_end_with_any_more_is_given_up(void **state)
{
    struct parts *p = *state;
    struct site *s = &p->site;
    wants_a_cut_at(s, 10);
    s->view.cut.asked = false; /* another primary has these entries, and more */
    exporter_follow(s->exporter);
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    char text[ERR_TEXT_BYTES];
    while (exporter_trouble(s->exporter, text) && site_now_ms() < end) {
        exporter_progress(s->exporter);
        (void)usleep(500);
    }
    assert_false(exporter_trouble(s->exporter, text));
    assert_string_equal(files(p), "");
    assert_int_equal(s->fatal.code, 0);
}

/* A site that stopped before the cut, and then is asked for none: the primary has these entries. */
static void what_a_site_left_goes_when_its_log_goes_on(void **state)
{
    struct parts *p = *state;
    struct site *s = &p->site;
    wants_a_cut_at(s, 10);
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    while (strcmp(files(p), "6-11-3000.jsonl.uncut ") != 0 && site_now_ms() < end)
        (void)usleep(500);
    for (int start = 0; start < 2; start++) {
        exporter_close(s->exporter);
        must(exporter_open(s, &s->exporter, &e));
        exporter_follow(s->exporter);
        assert_string_equal(files(p), "6-11-3000.jsonl.uncut ");
    }
    history_put(&p->h, "deeds", "k", "value");
    parts_log(p);
    exporter_follow(s->exporter);
    assert_string_equal(files(p), "");
    assert_int_equal(parts_told(p, "its entries are in the log"), 1);
}

static void a_site_that_stops_does_not_wait_for_it(void **state)
{
    struct parts *p = *state;
    wants_a_cut_at(&p->site, 0); /* and tear_down() */
}

/* Without a bundle nothing may be undone, and without that the site cannot follow. */
static void what_cannot_be_exported_stops_the_site(void **state)
{
    struct parts *p = *state;
    struct site *s = &p->site;
    char path[100];
    (void)snprintf(path, sizeof path, "%s/divergence", p->dir);
    FILE *f = fopen(path, "w"); /* a file has the folder's name */
    assert_non_null(f);
    (void)fclose(f);
    exporter_begin(s->exporter, (struct lsn){10}, false);
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    for (int i = 0; i < 50; i++) {
        exporter_progress(s->exporter);
        (void)usleep(2000);
    }
    assert_int_equal(s->fatal.code, 0); /* for people only: it is in the log */
    wants_a_cut_at(s, 10);
    while (s->fatal.code == 0 && site_now_ms() < end) {
        exporter_progress(s->exporter);
        (void)usleep(500);
    }
    assert_int_equal(s->fatal.code, ERR_IO);
    assert_non_null(strstr(s->fatal.text, "exporting the log after lsn 10, which is to be undone"));
    assert_non_null(strstr(s->fatal.text, "6-11-3000.jsonl.part: Not a directory"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_for_people_gets_its_name_at_once),
        CASE(the_last_order_counts),
        CASE(what_the_log_does_not_end_with_any_more_is_given_up),
        CASE(what_a_site_left_goes_when_its_log_goes_on),
        CASE(a_site_that_stops_does_not_wait_for_it),
        CASE(what_cannot_be_exported_stops_the_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
