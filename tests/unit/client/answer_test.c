/* Answers that no site gives: of another kind, damaged, or to nothing. The connection ends, nothing is believed, and what was
 * asked is asked again where that is safe. */
#include "client/internal.h"
#include "tests/unit/client/cluster.h"

static enum frame_type at; /* frames of this type ... */
static int times;          /* ... so many of them */
static void (*answer)(struct site *s, struct conn *conn, const struct frame *f); /* ... get this */
static bool applied_first; /* and what they ask for is done all the same */

static bool answer_wrongly(struct site *s, struct conn *conn, const struct frame *f)
{
    if (f->type != at || times == 0)
        return false;
    times--;
    if (applied_first)
        s->faults.mute = 1;
    answer(s, conn, f);
    return !applied_first;
}

/* Right for a restore point, to the byte. */
static void as_another_kind(struct site *s, struct conn *conn, const struct frame *f)
{
    done(s, conn, &(struct frame){.type = FRAME_POINT, .request = f->request}, 1, false);
}

static void with_too_few_bytes(struct site *s, struct conn *conn, const struct frame *f)
{
    struct writer w = writer_for(s);
    write_u16(&w, 7);
    send_body(conn, (enum frame_type)((unsigned)f->type | FRAME_REPLY), f->request, &w);
}

static void with_a_damaged_error(struct site *s, struct conn *conn, const struct frame *f)
{
    struct writer w = writer_for(s);
    write_u16(&w, 7);
    send_body(conn, FRAME_ERROR, f->request, &w);
}

static void to_nothing(struct site *s, struct conn *conn, const struct frame *f)
{
    (void)f;
    done(s, conn, &(struct frame){.type = FRAME_TXN, .request = 0}, 1, false);
}

/* For a request that had the same place before, and whose deadline has passed. */
static void to_a_stranger(struct site *s, struct conn *conn, const struct frame *f)
{
    done(s, conn, &(struct frame){.type = f->type, .request = f->request + CLIENT_WINDOW}, 99,
         false);
}

static struct cluster *cluster_that_answers(void (*how)(struct site *s, struct conn *conn,
                                                        const struct frame *f),
                                            enum frame_type type, bool applies)
{
    struct cluster *c = cluster_start(1);
    cluster_lock(c);
    c->before = answer_wrongly;
    answer = how;
    at = type;
    applied_first = applies;
    times = 1;
    cluster_unlock(c);
    return c;
}

static void a_wrong_answer_to_a_write_leaves_its_outcome_unknown(void **state)
{
    (void)state;
    static void (*const answers[])(struct site *, struct conn *,
                                   const struct frame *) = {as_another_kind, with_too_few_bytes};
    for (size_t i = 0; i < 2; i++) {
        struct cluster *c = cluster_that_answers(answers[i], FRAME_TXN, true);
        struct tvn *db = open_client(c);
        struct tvn_error error;
        struct tvn_result result;
        assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &result, &error), TVN_FORMAT);
        assert_int_equal(error.outcome, TVN_UNKNOWN);
        assert_int_equal(locked_int(c, &c->applied_count), 1);
        /* on a connection of its own the next one is right */
        assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), &result, &error), error);
        assert_int_equal(locked_int(c, &c->sites[0].accepted), 2);
        assert_int_equal(tvn_close(db), 0);
        cluster_stop(c);
    }
}

static void a_wrong_answer_to_a_read_is_not_taken_for_a_record(void **state)
{
    (void)state;
    static void (*const answers[])(struct site *, struct conn *,
                                   const struct frame *) = {as_another_kind, with_too_few_bytes};
    for (size_t i = 0; i < 2; i++) {
        struct cluster *c = cluster_that_answers(answers[i], FRAME_GET, false);
        struct tvn *db = open_client(c);
        struct tvn_error error;
        struct tvn_records *records;
        assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
        assert_int_equal(tvn_get(db, "n", tvn_str("k"), NULL, &records, &error), TVN_FORMAT);
        assert_null(records);
        assert_ok(tvn_get(db, "n", tvn_str("k"), NULL, &records, &error), error);
        tvn_records_free(records);
        assert_int_equal(tvn_close(db), 0);
        cluster_stop(c);
    }
}

/* What ends the connection without answering anybody: the write is sent again, and is run once. */
static void frames_that_answer_nothing_end_the_connection(void **state)
{
    (void)state;
    static void (*const answers[])(struct site *, struct conn *,
                                   const struct frame *) = {to_nothing, with_a_damaged_error};
    for (size_t i = 0; i < 2; i++) {
        struct cluster *c = cluster_that_answers(answers[i], FRAME_TXN, true);
        struct tvn *db = open_client(c);
        struct tvn_error error;
        struct tvn_result result;
        assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &result, &error), error);
        assert_int_equal(result.repeated, 1);
        assert_int_equal(locked_int(c, &c->applied_count), 1);
        assert_int_equal(locked_int(c, &c->sites[0].accepted), 2);
        assert_int_equal(tvn_close(db), 0);
        cluster_stop(c);
    }
}

static void an_answer_that_comes_too_late_is_nobodys(void **state)
{
    (void)state;
    struct cluster *c = cluster_that_answers(to_a_stranger, FRAME_GET, false);
    struct tvn_options o;
    struct tvn_error error;
    struct tvn_records *records;
    test_options(c, &o, "app");
    o.timeout_ms = 800;
    struct tvn *db = open_with(&o);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
    assert_int_equal(tvn_get(db, "n", tvn_str("k"), NULL, &records, &error), TVN_TIMEOUT);
    assert_ok(tvn_get(db, "n", tvn_str("k"), NULL, &records, &error), error);
    assert_true(tvn_token(db) < 99);
    tvn_records_free(records);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_answer_to_a_write_leaves_its_outcome_unknown),
        cmocka_unit_test(a_wrong_answer_to_a_read_is_not_taken_for_a_record),
        cmocka_unit_test(frames_that_answer_nothing_end_the_connection),
        cmocka_unit_test(an_answer_that_comes_too_late_is_nobodys),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
