/* A verification counts everything again and believes no sum: rows that are wrong under a right checksum are found, each with
 * what it says and what there is. */
#include "tests/unit/store/io/state_tamper.h"

#include "store/io/state_rows.h"

struct place {
    char dir[64];
    struct history h;
    struct state *s;
};

static const char value[] = "VALUE";

static void place_make(struct place *p)
{
    *p = (struct place){.s = NULL};
    kit_dir_new(p->dir);
    struct state_options options = kit_options(p->dir);
    must(state_open(&p->s, &options, &e));
    for (unsigned i = 0; i < 20; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%02u", i);
        history_put(&p->h, i % 2 == 0 ? "deeds" : "titles", key, value);
    }
    history_put(&p->h, "deeds", "k00", value);
    history_delete(&p->h, "deeds", "k02");
    must(state_apply(p->s, p->h.v, p->h.n, &e));
}

static void place_drop(struct place *p)
{
    state_close(p->s);
    kit_dir_remove(p->dir);
    history_free(&p->h);
}

static void finds(struct place *p, const char *what)
{
    struct state_snapshot *snap;
    must(state_snapshot_open(p->s, &snap, &e));
    if (what == NULL)
        must(state_verify(snap, &e));
    else
        must_fail(state_verify(snap, &e), ERR_INTEGRITY, what);
    state_snapshot_close(snap);
}

/* A state that is right but for one byte of one row. */
static void wrong(struct bytes key, size_t row_bytes, size_t at, const char *what)
{
    struct place p;
    place_make(&p);
    tamper(p.dir, key, row_bytes, at, 1);
    finds(&p, what);
    place_drop(&p);
}

static void a_right_state_is_right(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    finds(&p, NULL);
    place_drop(&p);
}

static void sums_of_the_state_are_counted(void **state)
{
    (void)state;
    const struct bytes key = bytes_str("state");
    const size_t n = TAMPER_STATE_BYTES;
    wrong(key, n, TAMPER_STATE_RECORDS,
          "verify at lsn 22: 19 records in 2 collections, kept are 20 in 2, and LMDB holds 19");
    wrong(key, n, TAMPER_STATE_COLLECTIONS, "kept are 19 in 3");
    wrong(key, n, TAMPER_STATE_DIGEST, "all records: the records give digest ");
    wrong(key, n, TAMPER_STATE_HISTORY_ROWS, "kept are 23, ");
    wrong(key, n, TAMPER_STATE_HISTORY_BYTES, "the history has 22 rows of ");
}

static void sums_of_collections_and_buckets_are_counted(void **state)
{
    (void)state;
    const struct bytes key = bytes_str("deeds");
    const size_t n = TAMPER_COLLECTION_BYTES;
    wrong(key, n, TAMPER_COLLECTION_RECORDS,
          "collection 'deeds' has 9 records, its row says 10; this site must not be promoted");
    wrong(key, n, TAMPER_COLLECTION_DIGEST, "collection 'deeds': the records give digest ");
    wrong(key, n, TAMPER_COLLECTION_DELETED, "collection 'deeds' has 1 deleted records");
    wrong(bytes_str("titles"), n, TAMPER_COLLECTION_DELETED, "and 1 deleted records, kept are");
    const uint32_t bucket = digest_bucket(bytes_str("deeds"), bytes_str("k04"));
    const uint8_t number[] = {(uint8_t)(bucket >> 8), (uint8_t)bucket};
    char what[40];
    (void)snprintf(what, sizeof what, "bucket %u: the records give digest ", bucket);
    wrong(bytes_of(number, 2), TAMPER_BUCKET_BYTES, TAMPER_BUCKET_DIGEST, what);
}

static void a_record_is_what_its_digest_says(void **state)
{
    (void)state;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    const size_t n = TAMPER_RECORD_BYTES + sizeof value - 1;
    /* Collection ids are given as collections appear, from 1. */
    const struct bytes key = row_record_key(1, bytes_str("k04"), buffer);
    wrong(key, n, TAMPER_RECORD_DIGEST, "its kept digest is not its own");
    wrong(key, n, TAMPER_RECORD_LSN, "its kept digest is not its own");
    wrong(key, n, TAMPER_RECORD_BYTES, "its kept digest is not its own");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_state_is_right),
        cmocka_unit_test(sums_of_the_state_are_counted),
        cmocka_unit_test(sums_of_collections_and_buckets_are_counted),
        cmocka_unit_test(a_record_is_what_its_digest_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
