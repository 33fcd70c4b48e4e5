/* Keys and ciphers of the archive: what opens only where it was sealed, and key files that are none. That the bytes are the
 * standards' is for foreign_test.c. */
#include "repository/io/crypto.h"
#include "store/core/hash.h"
#include "tests/unit/repository/fixture.h"

#include <sys/stat.h>

static const struct repo_key key = {{1, 2, 3}};
static const struct repo_kek kek = {.key = {9, 8, 7}};

/* ---- the key file ---- */

static void loads(const struct place *p, const char *text, int code, const char *why)
{
    struct repo_kek got;
    struct err e = ERR_NONE;
    write_file(p->kek, text, strlen(text), 0600);
    int rc = repo_kek_load(p->kek, &got, &e);
    if (rc != code || (rc != 0 && strstr(e.text, why) == NULL))
        fail_msg("'%s': %d '%s'", text, rc, e.text);
    assert_null(strstr(e.text, "0011")); /* nothing of the contents */
    if (rc == 0) {
        assert_int_equal(got.key[1], 0x11);
        assert_int_equal(got.key[31], 0xef);
        struct sha256 id = hash_sha256_2(bytes_str("triveni kek"), bytes_of(got.key, 32));
        assert_memory_equal(got.id, id.b, sizeof got.id);
    }
}

static void a_key_file_is_64_digits_and_a_line_end(void **state)
{
    (void)state;
    static const char *const around[][2] = {{"", ""}, {"", "\n"}, {"", "\r\n"}};
    static const char *const wrong[][2] = {{"", "0"}, {" ", ""}, {"", " "}, {"0x", ""}, {"\n", ""}};
    struct place p;
    char text[100];
    place_make(&p);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof text, "%s%s%s", around[i][0], test_kek, around[i][1]);
        loads(&p, text, 0, "");
    }
    for (size_t i = 0; i < 5; i++) {
        (void)snprintf(text, sizeof text, "%s%s%s", wrong[i][0], test_kek, wrong[i][1]);
        loads(&p, text, ERR_FORMAT, "64 lower-case hex digits");
    }
    (void)snprintf(text, sizeof text, "%.63s", test_kek);
    loads(&p, text, ERR_FORMAT, "64 lower-case hex digits");
    (void)snprintf(text, sizeof text, "%.63sF", test_kek);
    loads(&p, text, ERR_FORMAT, "64 lower-case hex digits");
    loads(&p, "", ERR_FORMAT, "64 lower-case hex digits");
    place_drop(&p);
}

static void a_key_that_others_can_read_is_no_key(void **state)
{
    (void)state;
    static const mode_t modes[] = {0640, 0620, 0610, 0604, 0602, 0601, 0644};
    struct place p;
    struct repo_kek got;
    place_make(&p);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        char text[64];
        struct err e = ERR_NONE;
        assert_int_equal(chmod(p.kek, modes[i]), 0);
        assert_int_equal(repo_kek_load(p.kek, &got, &e), ERR_DENIED);
        (void)snprintf(text, sizeof text, "(mode %04o); run chmod 600", (unsigned)modes[i]);
        assert_non_null(strstr(e.text, text));
    }
    assert_int_equal(chmod(p.kek, 0400), 0);
    assert_int_equal(repo_kek_load(p.kek, &got, NULL), 0);
    place_drop(&p);
}

static void what_is_no_file_is_no_key_file_and_is_not_waited_for(void **state)
{
    (void)state;
    struct place p;
    struct repo_kek got;
    struct err e = ERR_NONE;
    place_make(&p);
    assert_int_equal(unlink(p.kek), 0);
    assert_int_equal(repo_kek_load(p.kek, &got, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, p.kek));
    assert_int_equal(mkfifo(p.kek, 0600), 0);
    assert_int_equal(repo_kek_load(p.kek, &got, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "must be a regular file"));
    assert_int_equal(repo_kek_load(p.root, &got, &e), ERR_FORMAT);
    assert_int_equal(unlink(p.kek), 0);
    assert_int_equal(symlink(p.kek, p.kek), 0);
    assert_int_equal(repo_kek_load(p.kek, &got, &e), ERR_IO);
    place_drop(&p);
}

/* ---- wrapped keys, seals ---- */

static void every_changed_bit_of_a_wrapped_key_is_found(void **state)
{
    (void)state;
    uint8_t wrapped[REPO_WRAPPED_BYTES];
    struct repo_key got;
    struct repo_kek other = kek;
    other.key[31] ^= 1;
    assert_int_equal(repo_key_wrap(&kek, &key, wrapped, NULL), 0);
    assert_int_equal(repo_key_unwrap(&kek, wrapped, &got, NULL), 0);
    assert_memory_equal(&got, &key, sizeof key);
    assert_int_equal(repo_key_unwrap(&other, wrapped, &got, NULL), ERR_DENIED);
    for (size_t bit = 0; bit < 8 * sizeof wrapped; bit++) {
        struct err e = ERR_NONE;
        wrapped[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(repo_key_unwrap(&kek, wrapped, &got, &e), ERR_DENIED);
        assert_non_null(strstr(e.text, "damaged or was wrapped under another KEK"));
        wrapped[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(repo_key_unwrap(&kek, wrapped, &got, NULL), 0);
}

static void a_mac_is_of_key_identity_and_text(void **state)
{
    (void)state;
    uint8_t first[REPO_MAC_BYTES], next[REPO_MAC_BYTES];
    struct repo_key other = key;
    other.b[31] ^= 1;
    assert_int_equal(repo_mac(&key, "a", bytes_str("text"), first, NULL), 0);
    assert_int_equal(repo_mac(&key, "a", bytes_str("text"), next, NULL), 0);
    assert_memory_equal(first, next, sizeof next);
    assert_int_equal(repo_mac(&other, "a", bytes_str("text"), next, NULL), 0);
    assert_memory_not_equal(first, next, sizeof next);
    assert_int_equal(repo_mac(&key, "b", bytes_str("text"), next, NULL), 0);
    assert_memory_not_equal(first, next, sizeof next);
    assert_int_equal(repo_mac(&key, "a", bytes_str("texu"), next, NULL), 0);
    assert_memory_not_equal(first, next, sizeof next);
}

/* ---- segments ---- */

struct sealed {
    uint8_t header[REPO_CIPHER_HEADER_BYTES];
    uint8_t bytes[100 + REPO_TAG_BYTES];
};

static void seal(struct sealed *s, const char *identity)
{
    struct repo_cipher *c;
    uint8_t plain[100];
    memset(plain, 'p', sizeof plain);
    *s = (struct sealed){.header = ""};
    assert_int_equal(repo_cipher_new(&c, true, &key, identity, s->header, NULL), 0);
    assert_int_equal(repo_cipher_seal(c, 5, false, bytes_of(plain, 100), s->bytes, NULL), 0);
    repo_cipher_free(c);
}

/* What comes of opening it so; plaintext leaves only with 0. */
static int opens(struct sealed *s, const struct repo_key *k, const char *identity, uint32_t index,
                 bool last)
{
    struct repo_cipher *c;
    uint8_t plain[100];
    memset(plain, 'x', sizeof plain);
    int rc = repo_cipher_new(&c, false, k, identity, s->header, NULL);
    if (rc != 0) {
        assert_null(c);
        return rc;
    }
    rc = repo_cipher_open(c, index, last, bytes_of(s->bytes, sizeof s->bytes), plain, NULL);
    for (size_t i = 0; i < sizeof plain; i++)
        assert_int_equal(plain[i], rc == 0 ? 'p' : 0);
    repo_cipher_free(c);
    return rc;
}

static void a_segment_opens_only_where_it_was_sealed(void **state)
{
    (void)state;
    struct sealed s;
    struct repo_key other = key;
    other.b[0] ^= 0x80;
    seal(&s, "object");
    assert_int_equal(opens(&s, &key, "object", 5, false), 0);
    assert_int_equal(opens(&s, &key, "object", 4, false), ERR_INTEGRITY);
    assert_int_equal(opens(&s, &key, "object", 5, true), ERR_INTEGRITY);
    assert_int_equal(opens(&s, &key, "objecs", 5, false), ERR_INTEGRITY);
    assert_int_equal(opens(&s, &other, "object", 5, false), ERR_INTEGRITY);
    struct sealed again;
    seal(&again, "object");
    memcpy(again.bytes, s.bytes, sizeof s.bytes); /* under the header of another sealing */
    assert_int_equal(opens(&again, &key, "object", 5, false), ERR_INTEGRITY);
}

static void every_changed_bit_of_a_segment_is_found(void **state)
{
    (void)state;
    struct sealed s;
    uint8_t *raw = (uint8_t *)&s;
    seal(&s, "object");
    for (size_t bit = 0; bit < 8 * sizeof s; bit++) {
        raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(opens(&s, &key, "object", 5, false), bit < 8 ? ERR_FORMAT : ERR_INTEGRITY);
        raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(opens(&s, &key, "object", 5, false), 0);
}

static void sealing_twice_gives_other_bytes(void **state)
{
    (void)state;
    struct sealed a, b;
    seal(&a, "object");
    seal(&b, "object");
    assert_memory_not_equal(a.header + 1, b.header + 1, REPO_SALT_BYTES);
    assert_memory_not_equal(a.bytes, b.bytes, sizeof a.bytes);
}

/* ---- running hash ---- */

static void a_running_hash_is_the_hash_of_the_whole_and_begins_anew(void **state)
{
    (void)state;
    struct repo_sha *s;
    uint8_t text[1000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7);
    struct sha256 whole = hash_sha256(bytes_of(text, sizeof text)), got;
    assert_int_equal(repo_sha_new(&s, NULL), 0);
    for (size_t step = 1; step < 1500; step += 333) {
        for (size_t at = 0; at < sizeof text; at += step)
            repo_sha_add(s, bytes_of(text + at, sizeof text - at < step ? sizeof text - at : step));
        repo_sha_add(s, bytes_of(NULL, 0));
        got = repo_sha_end(s);
        assert_true(sha256_equal(&got, &whole));
    }
    got = repo_sha_end(s);
    whole = hash_sha256(bytes_of(NULL, 0));
    assert_true(sha256_equal(&got, &whole));
    repo_sha_free(s);
    repo_sha_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_file_is_64_digits_and_a_line_end),
        cmocka_unit_test(a_key_that_others_can_read_is_no_key),
        cmocka_unit_test(what_is_no_file_is_no_key_file_and_is_not_waited_for),
        cmocka_unit_test(every_changed_bit_of_a_wrapped_key_is_found),
        cmocka_unit_test(a_mac_is_of_key_identity_and_text),
        cmocka_unit_test(a_segment_opens_only_where_it_was_sealed),
        cmocka_unit_test(every_changed_bit_of_a_segment_is_found),
        cmocka_unit_test(sealing_twice_gives_other_bytes),
        cmocka_unit_test(a_running_hash_is_the_hash_of_the_whole_and_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
