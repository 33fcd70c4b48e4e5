#include "replication/io/vote.h"

#include "store/core/bytes.h"
#include "store/core/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

static char path[64];

/* Stands before the C library's in this program. */
static unsigned syncs, failing;
int fdatasync(int fd);
int fdatasync(int fd)
{
    syncs++;
    if (failing != 0) {
        errno = EIO;
        return -1;
    }
    return fsync(fd);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/vote_test.%d", (int)getpid());
    (void)unlink(path);
    struct vote v = {.term = {1}, .may_vote = true, .incarnation = 7};
    memset(v.cluster_id.b, 0x5a, sizeof v.cluster_id.b);
    return vote_create(path, &v, NULL);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void flip(off_t at)
{
    uint8_t b;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &b, 1, at), 1);
    b ^= 1;
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
    close(fd);
}

static void a_promise_is_kept_over_reopening(void **state)
{
    (void)state;
    struct vote_file *f;
    struct vote v;
    struct err e = ERR_NONE;
    for (uint64_t term = 2; term < 20; term++) {
        assert_int_equal(vote_open(&f, path, &v, &e), 0);
        assert_int_equal(v.term.v, term - 1);
        assert_int_equal(v.incarnation, 7);
        v.term.v = term;
        assert_int_equal(v.log_begun, term > 2 && (term - 1) % 2 == 1);
        assert_int_equal(v.may_vote, term > 2 ? (term - 1) % 3 == 0 : v.may_vote);
        v.log_begun = term % 2 == 1;
        v.may_vote = term % 3 == 0;
        static const char *const names[] = {"", "dc", "a-name-that-is-thirty-two-bytes"};
        if (term > 2)
            assert_string_equal(v.voted_for, names[(term - 1) % 3]);
        (void)snprintf(v.voted_for, sizeof v.voted_for, "%s", names[term % 3]);
        assert_int_equal(vote_save(f, &v, &e), 0);
        vote_close(f);
    }
}

/* After a downgrade: the newer program's promise counts, and this one cannot read it. The older slot must not stand in for it. */
static void a_vote_of_a_newer_program_is_no_damage(void **state)
{
    (void)state;
    struct vote_file *f;
    struct vote_slot slots[VOTE_SLOTS];
    struct vote v;
    struct err e = ERR_NONE;
    uint8_t raw[128];
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, raw, sizeof raw, 0), sizeof raw);
    put_le16(raw + 4, 3);
    assert_int_equal(pwrite(fd, raw, sizeof raw, 0), sizeof raw);
    assert_int_equal(vote_open(&f, path, &v, &e),
                     0); /* its checksum does not hold: rot, and the other slot is whole */
    vote_close(f);
    put_le32(raw + 124, hash_crc32c(0, bytes_of(raw, 124)));
    assert_int_equal(pwrite(fd, raw, sizeof raw, 0), sizeof raw);
    close(fd);
    assert_int_equal(vote_open(&f, path, &v, &e), ERR_NEWER);
    assert_non_null(strstr(e.text, "newer triveni (format 3, this one reads 2)"));
    assert_int_equal(vote_inspect(AT_FDCWD, path, slots, &e), ERR_NEWER);
}

static void a_torn_slot_leaves_the_promise_before_it(void **state)
{
    (void)state;
    for (off_t at = 0; at < 128; at++) {
        struct vote_file *f;
        struct vote v;
        assert_int_equal(vote_open(&f, path, &v, NULL), 0);
        assert_int_equal(v.term.v, 1);
        v.term.v = 2;
        assert_int_equal(vote_save(f, &v, NULL), 0); /* goes to slot 1 */
        vote_close(f);
        flip(4096 + at);
        assert_int_equal(vote_open(&f, path, &v, NULL), 0);
        assert_int_equal(v.term.v, 1);
        vote_close(f);
        flip(4096 + at);
        teardown(NULL);
        setup(NULL);
    }
}

static void two_damaged_slots_are_an_integrity_error(void **state)
{
    (void)state;
    struct vote_file *f;
    struct vote v;
    struct err e = ERR_NONE;
    flip(10);
    flip(4096 + 10);
    assert_int_equal(vote_open(&f, path, &v, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "cannot know what it promised"));
    assert_null(f);
}

static void a_second_create_changes_nothing(void **state)
{
    (void)state;
    struct vote other = {.term = {99}};
    assert_int_equal(vote_create(path, &other, NULL), ERR_EXISTS);
    struct vote_file *f;
    struct vote v;
    assert_int_equal(vote_open(&f, path, &v, NULL), 0);
    assert_int_equal(v.term.v, 1);
    vote_close(f);
}

static void what_a_killed_process_wrote_is_made_durable_before_it_counts(void **state)
{
    (void)state;
    struct vote_file *f;
    struct vote v;
    struct err e = ERR_NONE;
    syncs = 0;
    assert_int_equal(vote_open(&f, path, &v, &e), 0);
    assert_int_equal(syncs, 1);
    vote_close(f);
    failing = 1;
    int rc = vote_open(&f, path, &v, &e);
    failing = 0;
    assert_int_equal(rc, ERR_IO);
    assert_null(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_promise_is_kept_over_reopening, setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_a_killed_process_wrote_is_made_durable_before_it_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_slot_leaves_the_promise_before_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_vote_of_a_newer_program_is_no_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(two_damaged_slots_are_an_integrity_error, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_create_changes_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
