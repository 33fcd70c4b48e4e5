/* Key-encryption keys from a file, a command and a token (SoftHSM): the same key is the same key wherever it lies. */
#include "tests/unit/repository/softhsm.h"

#include "repository/io/kek.h"
#include "repository/io/token.h"

static const char other_key[] = "ff112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

static void setup(struct place *p)
{
    place_make(p);
    softhsm_make(p);
}

static int open_fails(const char *source, const char *says)
{
    struct repo_kek kek;
    struct err e = ERR_NONE;
    int rc = repo_kek_open(source, &kek, &e);
    if (rc == 0 || strstr(e.text, says) == NULL)
        fail_msg("%s: %d, expected '%s', got '%s'", source, rc, says, e.text);
    assert_null(strstr(e.text, test_kek));
    assert_null(strstr(e.text, "123456"));
    return rc;
}

static void one_key_in_a_file_a_command_and_a_token_is_one(void **state)
{
    (void)state;
    struct place p;
    struct repo_kek file, command, token;
    struct err e = ERR_NONE;
    char line[260];
    setup(&p);
    softhsm_import(&p, test_kek, "kek", "01");
    (void)snprintf(line, sizeof line, "command:/bin/cat %s", p.kek);
    assert_ok(repo_kek_open(p.kek, &file, &e), e);
    assert_ok(repo_kek_open(line, &command, &e), e);
    assert_ok(repo_kek_open(softhsm_uri(&p, "object=kek"), &token, &e), e);
    assert_memory_equal(&file, &command, sizeof file);
    assert_non_null(token.token);
    static const struct repo_key zero;
    assert_memory_equal(token.key, zero.b, sizeof token.key); /* it stayed there */
    assert_true(repo_kek_is(&file, token.id));
    assert_true(repo_kek_is(&file, file.id));
    assert_false(repo_kek_is(&token, file.id)); /* a token cannot know it */
    const struct repo_kek *const both[] = {&file, &token};
    for (int i = 0; i < 2; i++) {
        struct repo_key key = {{(uint8_t)i, 1, 2}}, back;
        uint8_t wrapped[REPO_WRAPPED_BYTES], again[REPO_WRAPPED_BYTES];
        assert_ok(repo_key_wrap(both[i], &key, wrapped, &e), e);
        assert_ok(repo_key_wrap(both[!i], &key, again, &e), e);
        assert_memory_equal(wrapped, again, sizeof again);
        assert_ok(repo_key_unwrap(both[!i], wrapped, &back, &e), e);
        assert_memory_equal(&back, &key, sizeof key);
    }
    repo_kek_close(&file);
    repo_kek_close(&command);
    repo_kek_close(&token);
    assert_null(token.token);
    place_drop(&p);
}

static void a_token_tells_foreign_and_damaged_bytes(void **state)
{
    (void)state;
    struct place p;
    struct repo_kek kek, other;
    struct err e = ERR_NONE;
    struct repo_key key = {{7}}, back;
    uint8_t wrapped[REPO_WRAPPED_BYTES];
    setup(&p);
    softhsm_import(&p, test_kek, "kek", "01");
    softhsm_import(&p, other_key, "next", "02");
    assert_ok(repo_kek_open(softhsm_uri(&p, "object=kek;type=secret-key"), &kek, &e), e);
    assert_ok(repo_kek_open(softhsm_uri(&p, "id=%02"), &other, &e), e); /* both at once */
    assert_false(repo_kek_is(&kek, other.id));
    assert_ok(repo_key_wrap(&kek, &key, wrapped, &e), e);
    assert_int_equal(repo_key_unwrap(&other, wrapped, &back, &e), ERR_DENIED);
    for (size_t i = 0; i < sizeof wrapped; i++) {
        wrapped[i] ^= 1;
        assert_int_equal(repo_key_unwrap(&kek, wrapped, &back, &e), ERR_DENIED);
        wrapped[i] ^= 1;
    }
    assert_ok(repo_key_unwrap(&kek, wrapped, &back, &e), e);
    repo_kek_close(&other); /* does not log the first one out */
    assert_ok(repo_key_unwrap(&kek, wrapped, &back, &e), e);
    repo_kek_close(&kek);
    place_drop(&p);
}

static void what_is_wrong_with_a_token_is_said(void **state)
{
    (void)state;
    struct place p;
    char uri[400], pin[120];
    setup(&p);
    softhsm_import(&p, test_kek, "kek", "01");
    (void)snprintf(pin, sizeof pin, "%s/pin", p.root);
    assert_int_equal(open_fails(softhsm_uri(&p, "object=none"), "no secret key"), ERR_NOT_FOUND);
    assert_int_equal(open_fails(softhsm_uri(&p, "model=SoftHSM%20v2"), "names no key"), ERR_CONFIG);
    assert_int_equal(open_fails("pkcs11:object=kek", "module-path"), ERR_CONFIG);
    assert_int_equal(open_fails("pkcs11:object=%zz", "RFC 7512"), ERR_CONFIG);
    assert_int_equal(open_fails("pkcs11:object=kek?module-path=/no/such.so", "/no/such.so"),
                     ERR_CONFIG);
    assert_int_equal(
        open_fails("pkcs11:object=kek?module-path=" SOFTHSM_MODULE "&pin-value=9999", "pin-source"),
        ERR_CONFIG);
    assert_int_equal(
        open_fails("pkcs11:token=archive;object=kek?module-path=" SOFTHSM_MODULE, "wants a PIN"),
        ERR_CONFIG);
    assert_int_equal(
        open_fails("pkcs11:token=lost;object=kek?module-path=" SOFTHSM_MODULE, "it has 'archive'"),
        ERR_IO);
    softhsm_import(&p, other_key, "kek", "02");
    assert_int_equal(open_fails(softhsm_uri(&p, "object=kek"), "more than one"), ERR_CONFIG);
    assert_int_equal(chmod(pin, 0640), 0);
    assert_int_equal(open_fails(softhsm_uri(&p, "id=%01"), "chmod 600"), ERR_DENIED);
    assert_int_equal(unlink(pin), 0);
    assert_int_equal(open_fails(softhsm_uri(&p, "id=%01"), "PIN file"), ERR_NOT_FOUND);
    write_file(pin, "\n", 1, 0600);
    assert_int_equal(open_fails(softhsm_uri(&p, "id=%01"), "1 to 255"), ERR_FORMAT);
    (void)snprintf(uri, sizeof uri,
                   "pkcs11:token=archive;id=%%01?module-path=" SOFTHSM_MODULE
                   "&pin-source=%%7c/bin/false");
    assert_int_equal(open_fails(uri, "/bin/false failed with exit code 1"), ERR_IO);
    place_drop(&p);
}

/* Tokens lock after a few wrong PINs, and a site tries again for ever. */
static void a_refused_pin_is_offered_once(void **state)
{
    (void)state;
    struct place p;
    struct repo_kek kek;
    struct err e = ERR_NONE;
    char pin[120];
    setup(&p);
    softhsm_import(&p, test_kek, "kek", "01");
    (void)snprintf(pin, sizeof pin, "%s/pin", p.root);
    write_file(pin, "wrong-one", 9, 0600);
    assert_int_equal(open_fails(softhsm_uri(&p, "object=kek"), "refuses the PIN"), ERR_DENIED);
    for (int i = 0; i < 5; i++)
        assert_int_equal(open_fails(softhsm_uri(&p, "object=kek"), "not offered again"),
                         ERR_DENIED);
    write_file(pin, "123456", 6, 0600);
    assert_ok(repo_kek_open(softhsm_uri(&p, "object=kek"), &kek, &e), e);
    repo_kek_close(&kek);
    place_drop(&p);
}

static void a_pin_may_come_from_a_command(void **state)
{
    (void)state;
    struct place p;
    struct repo_kek kek;
    struct err e = ERR_NONE;
    char uri[400];
    setup(&p);
    softhsm_import(&p, test_kek, "kek", "01");
    (void)snprintf(uri, sizeof uri,
                   "pkcs11:token=archive;object=kek?module-path=" SOFTHSM_MODULE
                   "&pin-source=%%7c/bin/cat%%20%s/pin",
                   p.root);
    assert_ok(repo_kek_open(uri, &kek, &e), e);
    repo_kek_close(&kek);
    place_drop(&p);
}

static void what_is_wrong_with_a_command_is_said(void **state)
{
    (void)state;
    struct place p;
    char line[260];
    place_make(&p);
    assert_int_equal(open_fails("command:/bin/ls /nonexistent-file", "/bin/ls /nonexistent-file"),
                     ERR_IO);
    assert_int_equal(open_fails("command:/bin/ls /nonexistent-file", "No such file"), ERR_IO);
    assert_int_equal(open_fails("command:/nonexistent/key", "cannot be run"), ERR_NOT_FOUND);
    assert_int_equal(open_fails("command:cat kek", "absolute path"), ERR_CONFIG);
    assert_int_equal(open_fails("command:/bin/echo short", "64 lower-case hex digits"), ERR_FORMAT);
    write_file(p.kek, test_kek, sizeof test_kek - 1, 0600);
    (void)snprintf(line, sizeof line, "command:/bin/cat %s %s", p.kek, p.kek);
    assert_int_equal(open_fails(line, "more than is expected"), ERR_FORMAT);
    assert_int_equal(open_fails("/nonexistent/kek", "key file /nonexistent/kek"), ERR_NOT_FOUND);
    place_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_key_in_a_file_a_command_and_a_token_is_one),
        cmocka_unit_test(a_token_tells_foreign_and_damaged_bytes),
        cmocka_unit_test(what_is_wrong_with_a_token_is_said),
        cmocka_unit_test(a_refused_pin_is_offered_once),
        cmocka_unit_test(a_pin_may_come_from_a_command),
        cmocka_unit_test(what_is_wrong_with_a_command_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
