/* The thread that reads packs for another site, over a real archive: whole, in order, from anywhere; what is not there, what
 * cannot be opened, and whose turn it is. */
#include "tests/unit/replication/parts_kit.h"

enum { PATIENCE_MS = 20000, ENTRIES = 300, PACKS = 3 };

static const char kek[] = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

/* Entries of the history from..to, sealed as one pack. */
static void seal(struct parts *p, struct repository *r, size_t from, size_t to)
{
    size_t n = 0, used = 0;
    for (size_t i = from; i <= to; i++)
        n += ENTRY_HEADER_BYTES + p->h.v[i - 1].header.body_bytes;
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    for (size_t i = from; i <= to; i++) {
        const struct entry_view *v = &p->h.v[i - 1];
        memcpy(bytes + used, v->raw, ENTRY_HEADER_BYTES);
        memcpy(bytes + used + ENTRY_HEADER_BYTES, v->body, v->header.body_bytes);
        used += ENTRY_HEADER_BYTES + v->header.body_bytes;
    }
    must(repository_seal(r, bytes, used, NULL, NULL, &e));
    free(bytes);
}

static int set_up(void **state)
{
    if (parts_setup(state) != 0)
        return -1;
    struct parts *p = *state;
    struct site_config *c = &p->config;
    c->member_count = 3;
    (void)snprintf(c->members[1].name, sizeof c->members[1].name, "dr");
    (void)snprintf(c->members[2].name, sizeof c->members[2].name, "gsr");
    c->self = 2;
    (void)snprintf(c->archive_dir, sizeof c->archive_dir, "%s/archive", p->dir);
    (void)snprintf(c->kek_file, sizeof c->kek_file, "%s/kek", p->dir);
    kit_write(p->dir, "kek", (const uint8_t *)kek, sizeof kek - 1);
    static char value[40000];
    memset(value, 'v', sizeof value - 1);
    for (unsigned i = 0; i < ENTRIES; i++) { /* some frames of entries, and small ones between */
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i);
        history_put(&p->h, "deeds", key, i % 3 == 0 ? value : "small");
    }
    struct repository *r;
    must(repository_open(&r,
                         &(struct repository_options){.dir = c->archive_dir,
                                                      .kek_file = c->kek_file,
                                                      .cluster_id = c->cluster_id,
                                                      .cluster = c->cluster,
                                                      .create = true},
                         &e));
    for (size_t i = 0; i < PACKS; i++)
        seal(p, r, i * ENTRIES / PACKS + 1, (i + 1) * ENTRIES / PACKS);
    repository_close(r);
    must(packs_start(&p->site, &p->site.packs, &e));
    return 0;
}

static int tear_down(void **state)
{
    struct parts *p = *state;
    packs_stop(p->site.packs);
    return parts_teardown(state);
}

/* Until it is not "later" any more. */
static int borrow(struct parts *p, uint8_t to, uint64_t after, struct repl_message *m,
                  struct bytes *entries, struct entry_position *last, struct err *why)
{
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    int rc = ERR_BUSY;
    *m = (struct repl_message){.type = REPL_MSG_GIVE, .to = to, .lsn = {after}};
    while (rc == ERR_BUSY && site_now_ms() < end) {
        rc = packs_borrow(p->site.packs, m, entries, last, why);
        if (rc == ERR_BUSY)
            (void)usleep(1000);
    }
    return rc;
}

/* All that follows `after`, each entry the one of the history, each frame with its place. Returns how many frames. */
static unsigned read_all(struct parts *p, uint64_t after)
{
    unsigned frames = 0;
    uint64_t at = after;
    while (at < ENTRIES) {
        struct repl_message m;
        struct bytes in;
        struct entry_position last;
        struct err why = ERR_NONE;
        assert_int_equal(borrow(p, 1, at, &m, &in, &last, &why), 0);
        assert_true(m.count > 0 && m.count <= REPL_BATCH_ENTRIES_MAX);
        assert_true(in.n <= REPL_BATCH_BYTES || m.count == 1);
        if (at > 0) {
            assert_int_equal(m.lsn_term.v, p->h.v[at - 1].header.term.v);
            assert_true(sha256_equal(&m.hash, &p->h.v[at - 1].hash));
        }
        for (uint32_t i = 0; i < m.count; i++) {
            struct entry_view v;
            size_t used;
            assert_int_equal(entry_decode(in, &v, &used, &why), 0);
            assert_int_equal(v.header.lsn.v, ++at);
            assert_true(sha256_equal(&v.hash, &p->h.v[at - 1].hash));
            in = bytes_of(in.p + used, in.n - used);
        }
        assert_int_equal(in.n, 0);
        assert_int_equal(last.lsn.v, at);
        packs_return(p->site.packs, true);
        frames++;
    }
    return frames;
}

static void everything_comes_in_order_over_the_borders_of_packs(void **state)
{
    assert_true(read_all(*state, 0) >= 4); /* 4 MB in frames of 1 MiB at most */
}

static void it_begins_anywhere_and_begins_again(void **state)
{
    struct parts *p = *state;
    (void)read_all(p, 137);
    (void)read_all(p, ENTRIES / PACKS); /* where a pack begins */
    (void)read_all(p, 5);
}

/* A link that took nothing is given the same frame again. */
static void what_was_not_sent_is_lent_again(void **state)
{
    struct parts *p = *state;
    struct repl_message m, again;
    struct bytes in, same;
    struct entry_position last;
    struct err why = ERR_NONE;
    assert_int_equal(borrow(p, 1, 10, &m, &in, &last, &why), 0);
    packs_return(p->site.packs, false);
    assert_int_equal(borrow(p, 1, 10, &again, &same, &last, &why), 0);
    packs_return(p->site.packs, false);
    assert_int_equal(m.count, again.count);
    assert_ptr_equal(in.p, same.p);
}

static void what_the_archive_does_not_have_is_not_waited_for(void **state)
{
    struct repl_message m;
    struct bytes in;
    struct entry_position last;
    struct err why = ERR_NONE;
    assert_int_equal(borrow(*state, 1, ENTRIES, &m, &in, &last, &why), ERR_NOT_FOUND);
    assert_int_equal(borrow(*state, 1, ENTRIES + 50, &m, &in, &last, &why), ERR_NOT_FOUND);
    (void)read_all(*state, 250);
}

static void one_site_is_served_at_a_time(void **state)
{
    struct parts *p = *state;
    struct repl_message m;
    struct bytes in;
    struct entry_position last;
    struct err why = ERR_NONE;
    assert_int_equal(borrow(p, 1, 0, &m, &in, &last, &why), 0);
    packs_return(p->site.packs, false);
    m = (struct repl_message){.type = REPL_MSG_GIVE, .to = 0, .lsn = {7}};
    assert_int_equal(packs_borrow(p->site.packs, &m, &in, &last, &why), ERR_BUSY);
    m = (struct repl_message){.type = REPL_MSG_GIVE, .to = 1, .lsn = {0}};
    assert_int_equal(packs_borrow(p->site.packs, &m, &in, &last, &why), 0); /* untouched */
    packs_return(p->site.packs, false);
    assert_int_equal(borrow(p, 0, 7, &m, &in, &last, &why), 0); /* when the first asks no more */
    assert_int_equal(m.lsn.v, 7);
    packs_return(p->site.packs, false);
}

static void a_key_that_is_gone_is_told_and_tried_again(void **state)
{
    struct parts *p = *state;
    char text[ERR_TEXT_BYTES], from[600], to[600];
    struct repl_message m;
    struct bytes in;
    struct entry_position last;
    struct err why = ERR_NONE;
    (void)snprintf(from, sizeof from, "%s/keys", p->config.archive_dir);
    (void)snprintf(to, sizeof to, "%s/hidden", p->config.archive_dir);
    assert_int_equal(rename(from, to), 0);
    int rc = borrow(p, 1, 0, &m, &in, &last, &why);
    assert_true(rc != 0 && rc != ERR_BUSY && rc != ERR_NOT_FOUND);
    assert_true(packs_trouble(p->site.packs, text));
    assert_string_equal(text, why.text);
    assert_int_equal(parts_told(p, "archive: what dr needs cannot be read: "), 1);
    assert_int_equal(rename(to, from), 0);
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    while (rc != 0 && site_now_ms() < end)
        rc = borrow(p, 1, 0, &m, &in, &last, &why);
    assert_int_equal(rc, 0);
    packs_return(p->site.packs, false);
    (void)read_all(p, 0);
    const uint64_t gone = site_now_ms() + PATIENCE_MS;
    while (packs_trouble(p->site.packs, text) && site_now_ms() < gone)
        (void)usleep(1000);
    assert_false(packs_trouble(p->site.packs, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_comes_in_order_over_the_borders_of_packs, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(it_begins_anywhere_and_begins_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_not_sent_is_lent_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_archive_does_not_have_is_not_waited_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_site_is_served_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_is_gone_is_told_and_tried_again, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("packs", tests, NULL, NULL);
}
