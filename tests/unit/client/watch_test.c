/* Watches against sites that follow a script: a history of transactions, told in pushes of a given size, with lines that are cut,
 * histories that have holes or have lost their beginning, and callers that are slow. */
#include "tests/unit/client/cluster.h"

enum { OPENS_MAX = 512, VALUE_MAX = 1 << 20 };

/* What the sites do; under the cluster's lock. */
static struct script {
    uint64_t first, last; /* lsns there are; lsn n has 1 + n % 3 changes */
    unsigned per_push;    /* changes */
    size_t value_bytes;   /* of each change */
    unsigned cut_after;   /* pushes until the connection is cut, each time; 0: never */
    uint64_t hole_at;     /* pass over this one, once */
    uint64_t end_at;      /* WATCH_END with GAP instead of this one */
    bool only_empty;      /* nothing matches */
    int refuse_opens;     /* with BUSY */
    bool mute;            /* opening is not answered */
    /* what they saw */
    unsigned opens, closes, credits;
    uint64_t froms[OPENS_MAX];
    /* the watch that is open */
    int64_t window, credit, most_on_its_way;
    uint64_t id, next, told;
    unsigned done, pushes;
} script;

static unsigned changes_of(uint64_t lsn)
{
    return 1 + (unsigned)(lsn % 3);
}

static void change_text(uint64_t lsn, unsigned i, char out[32])
{
    (void)snprintf(out, 32, "k-%llu-%u", (unsigned long long)lsn, i);
}

static uint8_t big_value[VALUE_MAX];

/* One push from where the script is; false: it may not go now. */
static bool push_one(struct site *s, struct conn *conn)
{
    struct script *x = &script;
    struct writer w = writer_for(s);
    struct wire_watch_data d = {.id = x->id, .from = {x->told + 1}, .newest = {x->last}};
    w.at = WIRE_WATCH_DATA_BYTES;
    if (x->next == x->hole_at) {
        x->hole_at = 0;
        x->next++;
        d.from.v++;
    }
    while (!x->only_empty && x->next <= x->last && d.count < x->per_push) {
        char key[32];
        change_text(x->next, x->done, key);
        bool put = x->done != 1;
        wire_write_change(&w, &(struct wire_change){{x->next},
                                                    {x->next * 1000},
                                                    put ? OP_PUT : OP_DELETE,
                                                    bytes_str("titles"),
                                                    bytes_str(key),
                                                    bytes_of(big_value, put ? x->value_bytes : 0)});
        d.count++;
        if (++x->done == changes_of(x->next)) {
            x->done = 0;
            x->next++;
        }
    }
    if (x->only_empty)
        x->next = x->last + 1;
    d.up_to.v = x->next - 1;
    d.continued = x->done > 0 && d.count > 0;
    if ((int64_t)w.at > x->credit && x->credit < x->window / 2)
        return false;
    x->credit -= (int64_t)w.at;
    if (x->window - x->credit > x->most_on_its_way)
        x->most_on_its_way = x->window - x->credit;
    x->told = d.up_to.v;
    struct writer head = writer_of(w.p, WIRE_WATCH_DATA_BYTES);
    wire_write_watch_data(&head, &d);
    send_body(conn, FRAME_WATCH_DATA, 0, &w);
    x->pushes++;
    return true;
}

static int push_all(struct site *s, struct conn *conn, struct err *why)
{
    struct script *x = &script;
    for (;;) {
        uint64_t next = x->next;
        unsigned done = x->done;
        if (x->cut_after != 0 && x->pushes == x->cut_after)
            return err_set(why, ERR_UNREACHABLE, "a fault");
        if (x->end_at != 0 && next >= x->end_at) {
            struct writer w = writer_for(s);
            wire_write_watch_end(
                &w, &(struct wire_watch_end){x->id, ERR_GAP, bytes_str("recycled"), {777}});
            send_body(conn, FRAME_WATCH_END, 0, &w);
            return 0;
        }
        if (next > x->last)
            return 0;
        if (!push_one(s, conn)) {
            x->next = next;
            x->done = done;
            return 0;
        }
    }
}

static int on_open(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                   struct err *why)
{
    struct script *x = &script;
    struct cluster *c = s->cluster;
    struct wire_watch_open m;
    int rc = wire_read_watch_open(body, &m, why);
    if (rc != 0 || x->mute)
        return rc;
    if ((m.flags & WIRE_READ_STANDBY) == 0 && c->primary != s->index) {
        refuse(s, conn, f->request, ERR_NOT_PRIMARY, -1);
        return 0;
    }
    if (take(&x->refuse_opens)) {
        refuse(s, conn, f->request, ERR_BUSY, -1);
        return 0;
    }
    check(x->opens < OPENS_MAX);
    x->froms[x->opens++] = m.from.v;
    struct writer w = writer_for(s);
    if (m.from.v != 0 && m.from.v < x->first) {
        wire_write_error(&w, &(struct wire_error){.code = ERR_GAP,
                                                  .text = bytes_str("recycled"),
                                                  .failed_condition = -1,
                                                  .lsn = {x->first}});
        send_body(conn, FRAME_ERROR, f->request, &w);
        return 0;
    }
    x->next = m.from.v != 0 ? m.from.v : x->last + 1;
    x->told = x->next - 1;
    x->done = x->pushes = 0;
    x->credit = x->window = m.credit;
    wire_write_watch(&w, &(struct wire_watch){++x->id, {x->next}, {x->last}});
    send_body(conn, FRAME_WATCH_OPEN | FRAME_REPLY, f->request, &w);
    pthread_cond_broadcast(&c->changed);
    return push_all(s, conn, why);
}

static int on_watch(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                    struct err *why)
{
    struct script *x = &script;
    struct wire_watch_credit credit;
    if (f->type == FRAME_WATCH_OPEN)
        return on_open(s, conn, f, body, why);
    if (f->type == FRAME_WATCH_CLOSE) {
        x->closes++;
        pthread_cond_broadcast(&s->cluster->changed);
        return 0;
    }
    int rc = wire_read_watch_credit(body, &credit, why);
    if (rc != 0 || credit.id != x->id)
        return rc;
    x->credits++;
    x->credit += credit.bytes;
    check(x->credit <= x->window); /* never more is given back than was taken */
    return push_all(s, conn, why);
}

static struct cluster *start(int sites, struct script with)
{
    struct cluster *c = cluster_start(sites);
    script = with;
    LOCKED(c, c->on_watch = on_watch);
    return c;
}

static struct tvn_watch *watch_from(struct tvn *db, uint64_t from, uint32_t buffer_bytes)
{
    struct tvn_watch_options o = TVN_WATCH_INIT;
    struct tvn_watch *w;
    struct tvn_error error;
    o.from = from;
    o.buffer_bytes = buffer_bytes;
    assert_ok(tvn_watch_open(db, &o, &w, &error), error);
    return w;
}

/* The next change is number i of this transaction, and the position says so. */
static void expect_change(struct tvn_watch *w, uint64_t lsn, unsigned i, size_t value_bytes)
{
    struct tvn_change c;
    struct tvn_error error;
    char key[32];
    int rc = tvn_watch_next(w, 5000, &c, &error);
    if (rc != 1)
        fail_msg("lsn %llu, change %u: %d: %s", (unsigned long long)lsn, i, rc, error.text);
    change_text(lsn, i, key);
    assert_int_equal(c.lsn, lsn);
    assert_int_equal(c.time_us, lsn * 1000);
    assert_int_equal(c.key.size, strlen(key));
    assert_memory_equal(c.key.data, key, c.key.size);
    assert_int_equal(c.op, i == 1 ? TVN_CHANGE_DELETE : TVN_CHANGE_PUT);
    assert_int_equal(c.value.size, i == 1 ? 0 : value_bytes);
    bool last = i + 1 == changes_of(lsn);
    assert_int_equal(c.more, !last);
    assert_int_equal(tvn_watch_position(w), last ? lsn + 1 : lsn);
}

static void expect_history(struct tvn_watch *w, uint64_t from, uint64_t to, size_t value_bytes)
{
    for (uint64_t lsn = from; lsn <= to; lsn++)
        for (unsigned i = 0; i < changes_of(lsn); i++)
            expect_change(w, lsn, i, value_bytes);
}

static void finish(struct cluster *c, struct tvn *db, struct tvn_watch *w)
{
    tvn_watch_close(w);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* ---- the tests ---- */

static void changes_come_in_order_and_the_position_follows(void **state)
{
    (void)state;
    struct cluster *c =
        start(1, (struct script){.first = 1, .last = 40, .per_push = 7, .value_bytes = 10});
    struct tvn *db = open_client(c);
    struct tvn_watch *w = watch_from(db, 5, 0);
    struct tvn_change change;
    struct tvn_error error;
    assert_int_equal(tvn_watch_position(w), 5);
    expect_history(w, 5, 40, 10);
    assert_int_equal(tvn_watch_newest(w), 40);
    assert_int_equal(tvn_watch_next(w, 10, &change, &error), 0);
    assert_int_equal(tvn_token(db), 40);
    finish(c, db, w);
}

/* Whatever is cut where, also within a transaction: the stream is the same. */
static void a_cut_line_neither_loses_nor_repeats(void **state)
{
    (void)state;
    const uint64_t last = 30;
    for (unsigned cut = 1; cut <= 3; cut++)
        for (unsigned per_push = 1; per_push <= 5; per_push++) {
            if (cut * per_push < 3)
                continue; /* less than a transaction between two cuts never gets on */
            struct cluster *c = start(1, (struct script){.first = 1,
                                                         .last = last,
                                                         .per_push = per_push,
                                                         .value_bytes = 4,
                                                         .cut_after = cut});
            struct tvn *db = open_client(c);
            struct tvn_watch *w = watch_from(db, 1, 0);
            expect_history(w, 1, last, 4);
            assert_true(locked_int(c, &c->sites[0].accepted) > 2);
            LOCKED(c, for (unsigned i = 1; i < script.opens; i++)
                          assert_true(script.froms[i] >= script.froms[i - 1]));
            finish(c, db, w);
        }
}

static void a_gap_is_told_with_the_first_that_there_is(void **state)
{
    (void)state;
    struct cluster *c =
        start(1, (struct script){.first = 100, .last = 120, .per_push = 1, .end_at = 110});
    struct tvn *db = open_client(c);
    struct tvn_watch_options o = TVN_WATCH_INIT;
    struct tvn_watch *w;
    struct tvn_change change;
    struct tvn_error error;
    o.from = 99;
    assert_int_equal(tvn_watch_open(db, &o, &w, &error), TVN_GAP);
    assert_null(w);
    assert_int_equal(error.lsn, 100);
    assert_non_null(strstr(error.text, "recycled"));
    /* ... and when it comes later, after everything that was received, again and again. */
    w = watch_from(db, 100, 0);
    expect_history(w, 100, 109, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tvn_watch_next(w, 5000, &change, &error), TVN_GAP);
        assert_int_equal(error.lsn, 777);
        assert_int_equal(tvn_watch_position(w), 110);
    }
    finish(c, db, w);
}

static void a_hole_is_never_passed_over(void **state)
{
    (void)state;
    struct cluster *c =
        start(1, (struct script){.first = 1, .last = 20, .per_push = 1, .hole_at = 9});
    struct tvn *db = open_client(c);
    struct tvn_watch *w = watch_from(db, 1, 0);
    expect_history(w, 1, 20, 0);
    LOCKED(c, {
        assert_int_equal(script.opens, 2);
        assert_int_equal(script.froms[1], 9); /* asked again for what was missing */
    });
    finish(c, db, w);
}

static void a_slow_caller_holds_no_more_than_its_buffer(void **state)
{
    (void)state;
    struct cluster *c =
        start(1, (struct script){.first = 1, .last = 600, .per_push = 4, .value_bytes = 4000});
    struct tvn *db = open_client(c);
    struct tvn_watch *w = watch_from(db, 1, 64 << 10);
    uint64_t before = 0, now = 1;
    while (now != before) { /* until nothing moves any more */
        before = now;
        (void)usleep(100000);
        LOCKED(c, now = script.next);
    }
    assert_true(now < 20); /* about 64 KiB of it */
    expect_history(w, 1, 600, 4000);
    LOCKED(c, {
        assert_true(script.most_on_its_way <= (64 << 10));
        assert_true(script.credits >= 800 * 4000 / (64 << 10)); /* it has 800 values */
        assert_int_equal(script.opens, 1);
    });
    finish(c, db, w);
}

/* A push may be larger than the whole buffer: then it comes alone. */
static void what_is_larger_than_the_buffer_comes_alone(void **state)
{
    (void)state;
    struct cluster *c =
        start(1, (struct script){.first = 1, .last = 20, .per_push = 3, .value_bytes = VALUE_MAX});
    struct tvn *db = open_client(c);
    struct tvn_watch *w = watch_from(db, 1, 64 << 10);
    expect_history(w, 1, 20, VALUE_MAX);
    LOCKED(c, assert_true(script.most_on_its_way <= (32 << 10) + 3 * (VALUE_MAX + 100)));
    finish(c, db, w);
}

static void it_goes_on_at_the_next_primary(void **state)
{
    (void)state;
    struct cluster *c = start(3, (struct script){.first = 1, .last = 10, .per_push = 2});
    struct tvn *db = open_client(c);
    LOCKED(c, script.refuse_opens = 2);
    struct tvn_watch *w = watch_from(db, 1, 0);
    expect_history(w, 1, 10, 0);
    elect(c, 2);
    LOCKED(c, script.last = 25);
    site_order(c, 0, &c->sites[0].kill);
    expect_history(w, 11, 25, 0);
    LOCKED(c, script.last = 30);
    elect(c, 1);
    site_order(c, 2, &c->sites[2].announce); /* it tells who is primary: the watch moves */
    expect_history(w, 26, 30, 0);
    LOCKED(c, assert_true(script.closes >= 1));
    finish(c, db, w);
}

static void silence_moves_the_position_and_takes_no_memory(void **state)
{
    (void)state;
    struct cluster *c =
        start(1, (struct script){.first = 1, .last = 9, .per_push = 1, .only_empty = true});
    struct tvn *db = open_client(c);
    struct tvn_watch *w = watch_from(db, 1, 0);
    struct tvn_change change;
    struct tvn_error error;
    assert_int_equal(tvn_watch_next(w, 200, &change, &error), 0);
    assert_int_equal(tvn_watch_position(w), 10);
    assert_true(tvn_watch_silent_ms(w) < 5000);
    /* "From now on" begins after what is there. */
    struct tvn_watch *now = watch_from(db, 0, 0);
    assert_int_equal(tvn_watch_position(now), 10);
    tvn_watch_close(now);
    finish(c, db, w);
}

static void opening_has_a_deadline_and_checks_its_arguments(void **state)
{
    (void)state;
    struct cluster *c =
        start(1, (struct script){.first = 1, .last = 1, .per_push = 1, .mute = true});
    struct tvn *db = open_client(c);
    struct tvn_watch_options o = TVN_WATCH_INIT;
    struct tvn_watch *w;
    struct tvn_error error;
    o.timeout_ms = 800; /* the site is reached in time, on a busy machine too */
    assert_int_equal(tvn_watch_open(db, &o, &w, &error), TVN_TIMEOUT);
    assert_null(w);
    o.buffer_bytes = 1;
    assert_int_equal(tvn_watch_open(db, &o, &w, &error), TVN_USAGE);
    o.buffer_bytes = 0;
    o.collection = "no/such";
    assert_int_equal(tvn_watch_open(db, &o, &w, &error), TVN_USAGE);
    o.collection = NULL;
    static const char long_prefix[TVN_KEY_MAX_BYTES + 1];
    o.prefix = tvn_view(long_prefix, sizeof long_prefix);
    assert_int_equal(tvn_watch_open(db, &o, &w, &error), TVN_LIMIT);
    o.prefix = tvn_view(NULL, 0);
    elect(c, -1);
    LOCKED(c, script.mute = false);
    assert_int_equal(tvn_watch_open(db, &o, &w, &error), TVN_NOT_PRIMARY);
    tvn_watch_close(NULL);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_come_in_order_and_the_position_follows),
        cmocka_unit_test(a_cut_line_neither_loses_nor_repeats),
        cmocka_unit_test(a_gap_is_told_with_the_first_that_there_is),
        cmocka_unit_test(a_hole_is_never_passed_over),
        cmocka_unit_test(a_slow_caller_holds_no_more_than_its_buffer),
        cmocka_unit_test(what_is_larger_than_the_buffer_comes_alone),
        cmocka_unit_test(it_goes_on_at_the_next_primary),
        cmocka_unit_test(silence_moves_the_position_and_takes_no_memory),
        cmocka_unit_test(opening_has_a_deadline_and_checks_its_arguments),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
