/* Signed notes: the published example verifies, what this program signs verifies, and nothing else does. */
#include "repository/io/sign.h"
#include "tests/unit/repository/fixture.h"

/* signed-note.md of C2SP */
static const char vkey[] = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
static const char note[] = "This is an example message.\n\n"
                           "\xe2\x80\x94 example.com/foo "
                           "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3"
                           "mFXmRKuwHjG1Yu72IneyaQM=\n";

static int verify(const char *text, size_t n, const struct tlog_key *key, struct err *e)
{
    struct tlog_note parsed;
    int rc = tlog_note_parse(bytes_of(text, n), &parsed, e);
    return rc != 0 ? rc : repo_note_verify(&parsed, key, NULL, e);
}

static void the_published_note_verifies_and_no_changed_one(void **state)
{
    (void)state;
    struct tlog_key k;
    struct err e = ERR_NONE;
    char text[sizeof note];
    assert_ok(tlog_key_parse(bytes_str(vkey), &k, &e), e);
    assert_ok(verify(note, sizeof note - 1, &k, &e), e);
    for (size_t i = 0; i < 8 * (sizeof note - 1); i++) {
        memcpy(text, note, sizeof note);
        text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
        assert_int_not_equal(verify(text, sizeof note - 1, &k, NULL), 0);
    }
}

static void a_key_is_made_once_and_signs(void **state)
{
    (void)state;
    struct place p;
    struct repo_signer *s = NULL, *other = NULL;
    struct stat st;
    struct err e = ERR_NONE;
    char path[120], text[512];
    place_make(&p);
    (void)snprintf(path, sizeof path, "%s/key", p.root);
    assert_int_equal(repo_signer_load(path, "triveni/x", TLOG_KEY_LOG, &s, &e), ERR_NOT_FOUND);
    assert_ok(repo_signer_make(path, &e), e);
    assert_int_equal(repo_signer_make(path, &e), ERR_EXISTS);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_ok(repo_signer_load(path, "triveni/x", TLOG_KEY_LOG, &s, &e), e);
    assert_ok(repo_signer_load(path, "triveni/y", TLOG_KEY_LOG, &other, &e), e);
    struct writer w = writer_of(text, sizeof text);
    assert_ok(repo_note_sign(s, bytes_str("one\ntwo\n"), &w, &e), e);
    assert_ok(verify(text, w.at, repo_signer_key(s), &e), e);
    assert_int_equal(verify(text, w.at, repo_signer_key(other), &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "not signed by triveni/y"));
    /* Two signatures of one key: both must hold. */
    struct tlog_note parsed;
    struct tlog_signature signature;
    assert_int_equal(tlog_note_parse(bytes_of(text, w.at), &parsed, NULL), 0);
    assert_int_equal(tlog_note_signature(&parsed, repo_signer_key(s), 0, &signature, NULL), 0);
    signature.bytes[0] ^= 1;
    char line[256];
    struct writer l = writer_of(line, sizeof line);
    tlog_note_sign(&l, repo_signer_key(s), &signature);
    write_bytes(&w, bytes_of(line + 1, l.at - 1));
    assert_int_equal(verify(text, w.at, repo_signer_key(s), &e), ERR_INTEGRITY);
    repo_signer_free(s);
    repo_signer_free(other);
    place_drop(&p);
}

/* A checkpoint of a public log as two of its keys signed it: the log's, and a witness's. */
static void a_published_cosignature_verifies_and_no_changed_one(void **state)
{
    (void)state;
    static const char *const vkeys[] = {
        "arche2025h1.staging.ct.transparency.dev+ba2f06c0+"
        "AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f",
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"};
    static const char cosigned[] =
        "arche2025h1.staging.ct.transparency.dev\n1432088532\n"
        "U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n"
        "\xe2\x80\x94 arche2025h1.staging.ct.transparency.dev "
        "ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZF"
        "WwQ=\n\xe2\x80\x94 remora.n621.de "
        "2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/"
        "KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n";
    struct tlog_note parsed;
    struct err e = ERR_NONE;
    char text[sizeof cosigned];
    uint64_t time_s[2];
    for (size_t i = 0; i < 2; i++) {
        struct tlog_key k;
        assert_ok(tlog_key_parse(bytes_str(vkeys[i]), &k, &e), e);
        assert_ok(tlog_note_parse(bytes_of(cosigned, sizeof cosigned - 1), &parsed, &e), e);
        assert_ok(repo_note_verify(&parsed, &k, &time_s[i], &e), e);
        const char *own = strstr(cosigned, i == 0 ? "\xe2\x80\x94 arche" : "\xe2\x80\x94 remora");
        size_t line = (size_t)(own - cosigned);
        for (size_t at = 0; at < sizeof cosigned - 1; at++) {
            memcpy(text, cosigned, sizeof cosigned);
            text[at] = (char)(text[at] ^ 1);
            bool mine = at < parsed.text.n || (at >= line && at < line + strcspn(own, "\n"));
            if (mine)
                assert_int_not_equal(verify(text, sizeof cosigned - 1, &k, NULL), 0);
        }
    }
    assert_int_equal(time_s[0], 0);
    assert_int_equal(time_s[1], 0x6a122120);
}

static void a_cosigner_signs_beside_the_log(void **state)
{
    (void)state;
    struct place p;
    struct repo_signer *log = NULL, *witness = NULL;
    struct tlog_note parsed;
    struct err e = ERR_NONE;
    char path[120], text[1024];
    uint64_t time_s = 0;
    place_make(&p);
    (void)snprintf(path, sizeof path, "%s/key", p.root);
    assert_ok(repo_signer_make(path, &e), e);
    assert_ok(repo_signer_load(path, "log", TLOG_KEY_LOG, &log, &e), e);
    assert_ok(repo_signer_load(path, "log/dr", TLOG_KEY_COSIGNER, &witness, &e), e);
    struct writer w = writer_of(text, sizeof text);
    assert_ok(repo_note_sign(log, bytes_str("log\n1\n"), &w, &e), e);
    assert_ok(repo_note_cosign(witness, bytes_str("log\n1\n"), 1700000000, &w, &e), e);
    assert_ok(repo_note_cosign(witness, bytes_str("log\n1\n"), 1600000000, &w, &e), e);
    assert_ok(verify(text, w.at, repo_signer_key(log), &e), e);
    assert_ok(tlog_note_parse(bytes_of(text, w.at), &parsed, &e), e);
    assert_ok(repo_note_verify(&parsed, repo_signer_key(witness), &time_s, &e), e);
    assert_int_equal(time_s, 1700000000);
    repo_signer_free(log);
    repo_signer_free(witness);
    place_drop(&p);
}

static void files_that_are_no_key_of_ours_alone_are_refused(void **state)
{
    (void)state;
    static const char rsa_like[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    struct place p;
    struct repo_signer *s;
    struct err e = ERR_NONE;
    char path[120];
    place_make(&p);
    (void)snprintf(path, sizeof path, "%s/key", p.root);
    write_file(path, rsa_like, sizeof rsa_like - 1, 0600);
    assert_int_equal(repo_signer_load(path, "x", TLOG_KEY_LOG, &s, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "openssl genpkey"));
    write_file(path, "", 0, 0600);
    assert_int_equal(repo_signer_load(path, "x", TLOG_KEY_LOG, &s, &e), ERR_FORMAT);
    assert_int_equal(unlink(path), 0);
    assert_ok(repo_signer_make(path, &e), e);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(repo_signer_load(path, "x", TLOG_KEY_LOG, &s, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "chmod 600"));
    assert_int_equal(repo_signer_load(p.root, "x", TLOG_KEY_LOG, &s, &e), ERR_FORMAT);
    place_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_note_verifies_and_no_changed_one),
        cmocka_unit_test(a_published_cosignature_verifies_and_no_changed_one),
        cmocka_unit_test(a_cosigner_signs_beside_the_log),
        cmocka_unit_test(a_key_is_made_once_and_signs),
        cmocka_unit_test(files_that_are_no_key_of_ours_alone_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
