/* The decision table over all inputs, and the walk over an image with each kind of place in it. */
#include "store/core/recovery.h"

#include "store/core/hash.h"

#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* ---- the table ---- */

static void for_each_place(void (*act)(const struct place *))
{
    struct place p;
    for (int block = 0; block < PLACE_BLOCKS; block++)
        for (int proven = 0; proven < 2; proven++)
            for (int next = 0; next < NEXT_KINDS; next++)
                for (int below = 0; below < 2; below++)
                    for (int resume = 0; resume < RESUME_KINDS; resume++) {
                        p = (struct place){(enum place_block)block, proven == 1,
                                           (enum place_next)next, below == 1,
                                           (enum place_resume)resume};
                        act(&p);
                    }
}

static unsigned seen[RECOVERY_NEWER + 1];

static void holds(const struct place *p)
{
    const char *why = NULL;
    enum recovery_action a = recovery_decide(p, &why);
    const bool durable = p->proven || p->next == NEXT_AFTER || p->below;
    assert_non_null(why);
    seen[a]++;
    /* What is proven durable is never cut or ended before. */
    if (durable && p->next != NEXT_HERE)
        assert_true(a != RECOVERY_CUT && a != RECOVERY_END);
    /* Only a whole batch is accepted, and it is always, but where a later segment overrules. */
    assert_int_equal(a == RECOVERY_ACCEPT,
                     p->block == PLACE_WHOLE && p->next != NEXT_HERE && p->next != NEXT_CONFLICT);
    assert_int_equal(a == RECOVERY_JOIN, p->next == NEXT_HERE);
    /* Where a newer program wrote nothing is decided, and never is damage passed over. */
    assert_int_equal(a == RECOVERY_NEWER, p->block == PLACE_NEWER && p->next != NEXT_HERE);
    /* Damage is passed over when and only when there is a way on. */
    if (a == RECOVERY_SKIP)
        assert_true(p->resume != RESUME_NOWHERE);
    if (a == RECOVERY_DAMAGED)
        assert_true(p->resume == RESUME_NOWHERE);
    /* Another history is never taken. */
    if (p->next == NEXT_CONFLICT && p->block != PLACE_NEWER)
        assert_true(a == RECOVERY_DAMAGED || a == RECOVERY_SKIP);
    /* A torn write leaves no unreadable, misnumbered or unchained batch: those are never taken for
     * one. */
    if (a == RECOVERY_CUT)
        assert_int_equal(p->block, PLACE_TORN);
    if (a == RECOVERY_END)
        assert_int_equal(p->block, PLACE_NOTHING);
}

static void the_table_is_total_and_safe(void **state)
{
    (void)state;
    memset(seen, 0, sizeof seen);
    for_each_place(holds); /* a place without a row would stop the program */
    for (size_t i = 0; i <= RECOVERY_NEWER; i++)
        assert_true(seen[i] > 0);
}

/* ---- the walk ---- */

enum { BLOCKS = 8, BODY = 40, ENTRY = ENTRY_HEADER_BYTES + BODY };

static uint8_t image[BLOCKS * 4096];
static struct segment_header segment;
static struct entry_position positions[32];
static uint8_t entries[32][ENTRY];

static void make_entries(void)
{
    segment = (struct segment_header){.seq = 3, .nonce = 77};
    memset(segment.cluster_id.b, 9, 16);
    for (uint64_t lsn = 1; lsn < 32; lsn++) {
        struct entry_header h = {.kind = ENTRY_TXN,
                                 .cluster_id = segment.cluster_id,
                                 .term = {1},
                                 .lsn = {lsn},
                                 .prev_hash = positions[lsn - 1].hash};
        memset(entries[lsn] + ENTRY_HEADER_BYTES, (uint8_t)lsn, BODY);
        struct sha256 hash =
            entry_seal(&h, bytes_of(entries[lsn] + ENTRY_HEADER_BYTES, BODY), entries[lsn]);
        positions[lsn] = (struct entry_position){h.lsn, h.term, h.time, hash};
    }
}

static void put_batch(uint32_t block, uint32_t number, uint64_t first, uint32_t count)
{
    uint8_t *p = image + block * 4096;
    for (uint32_t i = 0; i < count; i++)
        memcpy(p + 64 + i * ENTRY, entries[first + i], ENTRY);
    struct batch_header h = {.seq = 3,
                             .nonce = 77,
                             .first_lsn = {first},
                             .block = block,
                             .number = number,
                             .durable = number - 1,
                             .entry_count = count,
                             .payload_bytes = (uint64_t)count * ENTRY,
                             .payload_crc32c =
                                 hash_crc32c(0, bytes_of(p + 64, (size_t)count * ENTRY))};
    batch_header_encode(&h, p);
}

/* Batches of two entries in blocks 1, 2, 3: lsn 1..6. */
static int set_up(void **state)
{
    (void)state;
    make_entries();
    memset(image, 0xee, sizeof image);
    put_batch(1, 1, 1, 2);
    put_batch(2, 2, 3, 2);
    put_batch(3, 3, 5, 2);
    return 0;
}

static struct recovery_scan scan_from(uint64_t checkpoint)
{
    struct recovery_scan s = {.image = bytes_of(image, sizeof image),
                              .segment = segment,
                              .checkpoint = positions[checkpoint]};
    recovery_begin(&s);
    return s;
}

/* Walk until something other than ACCEPT, or a skip to a later batch. */
static enum recovery_action walk(struct recovery_scan *s, struct place *p, struct err *e)
{
    struct recovery_batch b;
    enum recovery_action a;
    do
        a = recovery_next(s, p, &b, e);
    while (a == RECOVERY_ACCEPT || (a == RECOVERY_SKIP && p->resume == RESUME_BATCH));
    return a;
}

static void expect(uint64_t checkpoint, enum recovery_action action, enum place_block block,
                   uint64_t last)
{
    struct recovery_scan s = scan_from(checkpoint);
    struct place p;
    struct err e = ERR_NONE;
    assert_int_equal(walk(&s, &p, &e), action);
    assert_int_equal(p.block, block);
    assert_int_equal(s.at.lsn.v, last);
}

static void a_whole_segment_is_walked_to_its_end(void **state)
{
    (void)state;
    expect(0, RECOVERY_END, PLACE_NOTHING, 6);
    expect(6, RECOVERY_END, PLACE_NOTHING, 6);
    expect(7, RECOVERY_DAMAGED, PLACE_NOTHING, 6); /* the state has seen more */
}

static void harm_is_recognised(void **state)
{
    (void)state;
    image[3 * 4096 + 100] ^= 1;
    expect(0, RECOVERY_CUT, PLACE_TORN, 4);
    expect(5, RECOVERY_DAMAGED, PLACE_TORN, 4);
    image[3 * 4096 + 3] ^= 1;
    expect(0, RECOVERY_END, PLACE_NOTHING, 4);
    put_batch(3, 3, 5, 2);
    image[2 * 4096 + 3] ^= 1;
    expect(0, RECOVERY_DAMAGED, PLACE_NOTHING, 2);
    put_batch(2, 3, 3, 2);
    expect(0, RECOVERY_DAMAGED, PLACE_MISNUMBERED, 2);
    put_batch(2, 2, 4, 2);
    expect(0, RECOVERY_DAMAGED, PLACE_UNCHAINED, 2);
    put_batch(2, 2, 3, 2);
    entries[5][ENTRY_HEADER_BYTES + 3] ^=
        1; /* sound batch, damaged entry: was damaged before it was written */
    put_batch(3, 3, 5, 2);
    expect(0, RECOVERY_DAMAGED, PLACE_UNCHAINED, 4);
}

static void a_batch_that_claims_too_much_is_torn(void **state)
{
    (void)state;
    struct batch_header h;
    assert_true(batch_header_decode(image + 3 * 4096, &segment, 3, &h));
    h.payload_bytes = UINT64_MAX - 10;
    batch_header_encode(&h, image + 3 * 4096);
    expect(0, RECOVERY_CUT, PLACE_TORN, 4);
    h.payload_bytes = 2 * ENTRY;
    h.entry_count = UINT32_MAX;
    batch_header_encode(&h, image + 3 * 4096);
    expect(0, RECOVERY_DAMAGED, PLACE_UNCHAINED, 4);
}

static void what_the_disk_refuses_to_read_is_damage(void **state)
{
    (void)state;
    memset(image + 3 * 4096, 0, 4096);
    struct recovery_scan s = scan_from(0);
    struct place p;
    struct err e = ERR_NONE;
    s.bad_from = 3 * 4096;
    s.bad_to = 4 * 4096;
    assert_int_equal(walk(&s, &p, &e), RECOVERY_DAMAGED);
    assert_int_equal(p.block, PLACE_UNREADABLE);
    assert_non_null(strstr(e.text, "byte 12288, after lsn 4: the disk refuses"));
}

static void the_next_segment_overrules(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    for (uint64_t at = 0; at <= 8; at++) {
        struct recovery_scan s = scan_from(0);
        struct place p;
        s.has_next = true;
        s.next = positions[at];
        enum recovery_action a = walk(&s, &p, &e);
        assert_int_equal(a, at <= 6 ? RECOVERY_JOIN : RECOVERY_DAMAGED);
        assert_int_equal(s.at.lsn.v, at <= 6 ? at : 6);
        if (at == 0 || at > 6)
            continue;
        s = scan_from(0);
        s.has_next = true;
        s.next = positions[at];
        s.next.hash.b[5] ^= 1;
        assert_int_equal(walk(&s, &p, &e), RECOVERY_DAMAGED);
        assert_int_equal(p.next, NEXT_CONFLICT);
    }
}

static void damage_below_the_checkpoint_is_passed_over(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct place p;
    image[2 * 4096 + 100] ^= 1;
    expect(3, RECOVERY_DAMAGED, PLACE_TORN, 2);
    struct recovery_scan s =
        scan_from(4); /* all that is lost is below: lsn 5 follows the checkpoint */
    assert_int_equal(walk(&s, &p, &e), RECOVERY_END);
    assert_int_equal(s.first.lsn.v, 4);
    assert_int_equal(s.at.lsn.v, 6);
    s = scan_from(6); /* lsn 5 gives the position, since that of 4 is not known */
    assert_int_equal(walk(&s, &p, &e), RECOVERY_END);
    assert_int_equal(s.first.lsn.v, 5);
    assert_memory_equal(&s.at, &positions[6], sizeof s.at);
    image[3 * 4096 + 100] ^=
        1; /* nothing readable is left: the log begins anew at the checkpoint */
    s = scan_from(6);
    assert_int_equal(walk(&s, &p, &e), RECOVERY_SKIP);
    assert_int_equal(p.resume, RESUME_CHECKPOINT);
    s = scan_from(5);
    assert_int_equal(walk(&s, &p, &e), RECOVERY_DAMAGED);
}

static void the_state_must_have_the_same_history(void **state)
{
    (void)state;
    struct recovery_scan s = scan_from(5);
    struct place p;
    struct err e = ERR_NONE;
    s.checkpoint.hash.b[0] ^= 1;
    assert_int_equal(walk(&s, &p, &e), RECOVERY_DAMAGED);
    assert_non_null(strstr(e.text, "lsn 5 is not the entry that the state has applied"));
}

static void an_empty_batch_is_a_proof(void **state)
{
    (void)state;
    put_batch(4, 4, 7, 0);
    expect(0, RECOVERY_END, PLACE_NOTHING, 6);
    image[3 * 4096 + 100] ^= 1;
    expect(0, RECOVERY_DAMAGED, PLACE_TORN, 4);
}

/* Any bytes at all: the walk ends, within the image (the sanitizers watch), and accepts nothing but
 * what was written. */
static void random_harm_never_invents_entries(void **state)
{
    (void)state;
    uint8_t whole[sizeof image];
    struct err e = ERR_NONE;
    uint32_t r = 1;
    memcpy(whole, image, sizeof image);
    for (int round = 0; round < 3000; round++) {
        memcpy(image, whole, sizeof image);
        for (int n = round % 4; n >= 0; n--) {
            r = r * 1664525u + 1013904223u;
            image[(r >> 8) % sizeof image] ^= (uint8_t)(1u << (r >> 29));
        }
        struct recovery_scan s = scan_from((uint64_t)round % 7);
        struct place p;
        (void)walk(&s, &p, &e);
        assert_true(s.at.lsn.v <= 6);
        if (s.anchored)
            assert_memory_equal(&s.at.hash, &positions[s.at.lsn.v].hash, 32);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        T(the_table_is_total_and_safe),
        T(a_whole_segment_is_walked_to_its_end),
        T(harm_is_recognised),
        T(a_batch_that_claims_too_much_is_torn),
        T(what_the_disk_refuses_to_read_is_damage),
        T(the_next_segment_overrules),
        T(damage_below_the_checkpoint_is_passed_over),
        T(the_state_must_have_the_same_history),
        T(an_empty_batch_is_a_proof),
        T(random_harm_never_invents_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
