/* The scrub of a running store: a pass over what is whole finds nothing and reads everything once; a bit flipped in a record, in
 * the past, in the checkpoint file or in the log is found in the next pass, named, and only it. */
#include "tests/unit/store/io/state_kit.h"

#include "store/scrub.h"

#include <pthread.h>

enum { ENTRIES = 1200, STEP_BYTES = 64 << 10 };

static struct place {
    char dir[64], log_dir[80];
    struct history h;
    struct state *state;
    struct log *log;
    uint64_t durable;
    pthread_mutex_t lock;
    pthread_cond_t news;
} p;

static struct findings {
    unsigned n, kind[FINDING_KINDS];
    char text[ERR_TEXT_BYTES], key[64];
    struct lsn from, to;
} found;

static void on_found(void *arg, const struct finding *f)
{
    (void)arg;
    found.n++;
    found.kind[f->kind]++;
    found.from = f->from;
    found.to = f->to;
    (void)snprintf(found.text, sizeof found.text, "%s: %.400s", f->file != NULL ? f->file : "",
                   f->text);
    if (f->key.n > 0)
        (void)snprintf(found.key, sizeof found.key, "%.*s", (int)f->key.n, (const char *)f->key.p);
}

static int recount(void *arg, size_t max_bytes, const struct finding_sink *sink, size_t *bytes,
                   struct err *e)
{
    return state_recount_step(arg, max_bytes, sink, bytes, e);
}

static void on_durable(void *arg, struct entry_position last)
{
    (void)arg;
    (void)pthread_mutex_lock(&p.lock);
    p.durable = last.lsn.v;
    (void)pthread_cond_signal(&p.news);
    (void)pthread_mutex_unlock(&p.lock);
}

static int set_up(void **unused)
{
    (void)unused;
    struct chance c = {21};
    struct entry_position at, zero = {{0}, {0}, {0}, {{0}}};
    p = (struct place){.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
    found = (struct findings){0};
    kit_dir_new(p.dir);
    kit_dir_new(p.log_dir);
    history_put(&p.h, "deeds", "marked", "MARK-OF-THE-PAST");
    history_random(&p.h, &c, ENTRIES, 700, 3000);
    history_put(&p.h, "deeds", "marked", "MARK-OF-THE-RECORD");
    struct state_options options = kit_options(p.dir);
    must(state_open(&p.state, &options, &e));
    must(state_apply(p.state, p.h.v, p.h.n, &e));
    must(state_checkpoint_begin(p.state, &at, &e));
    must(state_checkpoint_finish(p.state, &e));
    must(log_open(&p.log,
                  &(struct log_options){.dir = p.log_dir,
                                        .cluster_id = {{7}},
                                        .segment_bytes = 1 << 20,
                                        .engine = LOG_ENGINE_PLAIN,
                                        .on_durable = on_durable},
                  &zero, &e));
    must(log_append(p.log, p.h.v, p.h.n, &e));
    (void)pthread_mutex_lock(&p.lock);
    while (p.durable < p.h.n)
        (void)pthread_cond_wait(&p.news, &p.lock);
    (void)pthread_mutex_unlock(&p.lock);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    must(log_close(p.log, &e));
    state_close(p.state);
    kit_dir_remove(p.dir);
    kit_dir_remove(p.log_dir);
    history_free(&p.h);
    return 0;
}

/* One pass in steps of so many bytes; how many steps it took. */
static unsigned pass(struct scrub *s, size_t step)
{
    const struct scrub_parts parts = {p.state, p.log, p.dir, recount, p.state};
    const struct finding_sink sink = {on_found, NULL, NULL};
    for (unsigned steps = 1; steps < 100000; steps++) {
        struct err e = ERR_NONE;
        int rc = scrub_step(s, &parts, step, &sink, &e);
        if (rc == ERR_NOT_FOUND)
            return steps;
        if (rc != 0)
            fail_msg("step %u of stage %d: %s", steps, (int)s->stage, e.text);
    }
    fail_msg("the pass does not end");
    return 0;
}

/* A bit at `offset` from each place where the text stands in the file: once in a page, wherever LMDB keeps copies. */
static void flip(const char *dir, const char *file, const char *text, long offset)
{
    char path[160];
    size_t n, places = 0;
    uint8_t *image = kit_read(dir, file, &n);
    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    for (size_t i = 0; i + strlen(text) <= n; i++)
        if (memcmp(image + i, text, strlen(text)) == 0) {
            const uint8_t byte = image[(long)i + offset] ^ 16;
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)i + offset), 1);
            places++;
        }
    assert_true(places > 0);
    (void)close(fd);
    free(image);
}

static void a_whole_store_is_found_whole_and_read_once(void **unused)
{
    (void)unused;
    struct scrub small = {.bytes = 0}, large = {.bytes = 0};
    const unsigned steps = pass(&small, STEP_BYTES);
    assert_int_equal(found.n, 0);
    assert_int_equal(small.damaged, 0);
    uint64_t entries = 0;
    for (size_t i = 0; i < p.h.n; i++)
        entries += ENTRY_HEADER_BYTES + p.h.v[i].header.body_bytes;
    assert_true(small.bytes > entries); /* the log whole, and the state beside it */
    assert_true(steps > small.bytes / STEP_BYTES / 2);
    assert_true(pass(&large, 1 << 30) < steps / 2);
    assert_int_equal(large.bytes, small.bytes);
}

static void a_damaged_record_is_named(void **unused)
{
    (void)unused;
    struct scrub s = {.bytes = 0};
    flip(p.dir, "data.mdb", "MARK-OF-THE-RECORD", 3);
    (void)pass(&s, STEP_BYTES);
    assert_int_equal(found.kind[FINDING_RECORD], 1);
    assert_string_equal(found.key, "marked");
    assert_true(s.damaged >= 1);
    assert_int_equal(found.n, found.kind[FINDING_RECORD] +
                                  found.kind[FINDING_SUM]); /* and that sums differ by it */
}

static void a_damaged_row_of_the_past_is_found(void **unused)
{
    (void)unused;
    struct scrub s = {.bytes = 0};
    flip(p.dir, "data.mdb", "MARK-OF-THE-PAST", 3);
    (void)pass(&s, STEP_BYTES);
    assert_int_equal(found.kind[FINDING_ROW], 1);
    assert_int_equal(found.n, 1);
    assert_int_equal(s.damaged, 1);
}

static void a_damaged_slot_of_the_checkpoint_is_found(void **unused)
{
    (void)unused;
    struct scrub s = {.bytes = 0};
    size_t n;
    uint8_t *image = kit_read(p.dir, "checkpoint", &n);
    for (size_t at = 0; at < n; at += 4096)
        image[at + 40] ^= 1;
    kit_write(p.dir, "checkpoint", image, n);
    free(image);
    (void)pass(&s, STEP_BYTES);
    assert_true(found.kind[FINDING_CHECKPOINT] >= 1);
    assert_int_equal(found.n, found.kind[FINDING_CHECKPOINT]);
    assert_int_equal(s.damaged, found.n);
}

static void a_checkpoint_file_that_is_gone_is_found(void **unused)
{
    (void)unused;
    struct scrub s = {.bytes = 0};
    char path[128];
    kit_path(path, p.dir, "checkpoint");
    assert_int_equal(unlink(path), 0);
    (void)pass(&s, STEP_BYTES);
    assert_int_equal(found.kind[FINDING_CHECKPOINT], 1);
    assert_int_equal(found.n, 1);
    assert_int_equal(s.damaged, 1);
}

static void a_damaged_place_in_the_log_is_told_with_the_entries_that_are_lost(void **unused)
{
    (void)unused;
    struct scrub s = {.bytes = 0};
    DIR *dir = opendir(p.log_dir);
    const struct dirent *d;
    char first[64] = "";
    while ((d = readdir(dir)) != NULL)
        if (strstr(d->d_name, ".seg") != NULL && strncmp(d->d_name, "spare", 5) != 0 &&
            (first[0] == '\0' || strcmp(d->d_name, first) < 0))
            (void)snprintf(first, sizeof first, "%.63s", d->d_name);
    (void)closedir(dir);
    flip(p.log_dir, first, "MARK-OF-THE-PAST", 2); /* in lsn 1 */
    (void)pass(&s, STEP_BYTES);
    assert_true(found.kind[FINDING_BATCH] >= 1);
    assert_int_equal(found.n, found.kind[FINDING_BATCH]);
    assert_int_equal(found.from.v, 1);
    assert_true(found.to.v >= 1 && found.to.v <= p.h.n);
    assert_int_equal(s.damaged, found.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_store_is_found_whole_and_read_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_record_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_row_of_the_past_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_slot_of_the_checkpoint_is_found, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_checkpoint_file_that_is_gone_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_damaged_place_in_the_log_is_told_with_the_entries_that_are_lost, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
