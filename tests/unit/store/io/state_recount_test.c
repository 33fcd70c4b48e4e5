/* Counting again beside a state in use tells sums that are wrong under a right checksum: once each, with what was counted and
 * what is kept. What it does to sums in doubt is in state_repair_test.c. */
#include "tests/unit/store/io/state_tamper.h"

#include "store/finding.h"
#include "store/io/state_rows.h"

struct findings {
    unsigned n, kind[FINDING_KINDS];
    char text[ERR_TEXT_BYTES];
};

static void on_found(void *arg, const struct finding *f)
{
    struct findings *all = arg;
    all->n++;
    all->kind[f->kind]++;
    assert_string_equal(f->file, "data.mdb");
    (void)snprintf(all->text, sizeof all->text, "%s", f->text);
}

static const char value[] = "VALUE";
static char dir[64];

static struct state *make(void)
{
    struct history h = {.n = 0};
    struct state *s;
    kit_dir_new(dir);
    struct state_options options = kit_options(dir);
    must(state_open(&s, &options, &e));
    for (unsigned i = 0; i < 20; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%02u", i);
        history_put(&h, i % 2 == 0 ? "deeds" : "titles", key, value);
    }
    must(state_apply(s, h.v, h.n, &e));
    history_free(&h);
    return s;
}

static struct findings count(struct state *s)
{
    struct findings all = {.n = 0};
    const struct finding_sink sink = {on_found, NULL, &all};
    for (unsigned i = 0; i < 1000; i++) {
        size_t bytes;
        struct err e = ERR_NONE;
        int rc = state_recount_step(s, 200, &sink, &bytes, &e);
        if (rc == ERR_NOT_FOUND)
            return all;
        if (rc != 0)
            fail_msg("%s", e.text);
    }
    fail_msg("the count does not end");
    return all;
}

/* A state that is right but for one byte of one row: what a count tells, in this pass and in the next. */
static void wrong(struct bytes key, size_t row_bytes, size_t at, enum finding_kind kind,
                  const char *text)
{
    struct state *s = make();
    tamper(dir, key, row_bytes, at, 1);
    for (int i = 0; i < 2; i++) {
        struct findings all = count(s);
        if (strstr(all.text, text) == NULL)
            fail_msg("'%s' does not say '%s'", all.text, text);
        assert_int_equal(all.n, 1);
        assert_int_equal(all.kind[kind], 1);
    }
    state_close(s);
    kit_dir_remove(dir);
}

static void right_sums_are_right(void **state)
{
    (void)state;
    struct state *s = make();
    assert_int_equal(count(s).n, 0);
    assert_int_equal(count(s).n, 0);
    state_close(s);
    kit_dir_remove(dir);
}

static void a_wrong_sum_is_told_with_what_was_counted(void **state)
{
    (void)state;
    const uint32_t bucket = digest_bucket(bytes_str("deeds"), bytes_str("k04"));
    const uint8_t number[] = {(uint8_t)(bucket >> 8), (uint8_t)bucket};
    char text[60];
    (void)snprintf(text, sizeof text, "bucket %u: counted are ", bucket);
    wrong(bytes_of(number, 2), TAMPER_BUCKET_BYTES, TAMPER_BUCKET_DIGEST, FINDING_SUM, text);
    wrong(bytes_str("deeds"), TAMPER_COLLECTION_BYTES, TAMPER_COLLECTION_DIGEST, FINDING_SUM,
          "collection 'deeds': counted are 10 records with digest ");
    wrong(bytes_str("titles"), TAMPER_COLLECTION_BYTES, TAMPER_COLLECTION_RECORDS, FINDING_SUM,
          "kept are 11 with ");
    wrong(bytes_str("state"), TAMPER_STATE_BYTES, TAMPER_STATE_DIGEST, FINDING_SUM,
          "all records: counted are 20 records with digest ");
    wrong(bytes_str("state"), TAMPER_STATE_BYTES, TAMPER_STATE_RECORDS, FINDING_SUM,
          "kept are 21 with ");
}

static void a_record_whose_digest_is_another_s_is_told_and_blamed_on_no_sum(void **state)
{
    (void)state;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    const struct bytes key = row_record_key(1, bytes_str("k04"), buffer);
    const size_t n = TAMPER_RECORD_BYTES + sizeof value - 1;
    wrong(key, n, TAMPER_RECORD_DIGEST, FINDING_RECORD, "its kept digest is not its own");
    wrong(key, n, TAMPER_RECORD_BYTES, FINDING_RECORD, "its kept digest is not its own");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_sums_are_right),
        cmocka_unit_test(a_wrong_sum_is_told_with_what_was_counted),
        cmocka_unit_test(a_record_whose_digest_is_another_s_is_told_and_blamed_on_no_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
