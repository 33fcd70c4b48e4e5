/* Notes, checkpoints and proof files, against the examples of the C2SP specifications and against what they forbid. */
#include "repository/core/tlog_text.h"

#include "store/core/hex.h"
#include "store/core/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* signed-note.md and tlog-checkpoint.md */
static const char vkey[] = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
static const char note[] = "This is an example message.\n\n"
                           "\xe2\x80\x94 example.com/foo "
                           "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3"
                           "mFXmRKuwHjG1Yu72IneyaQM=\n";
static const char checkpoint[] = "example.com/behind-the-sofa\n"
                                 "20852163\n"
                                 "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
                                 "\n"
                                 "\xe2\x80\x94 example.com/behind-the-sofa "
                                 "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
                                 "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
                                 "\xe2\x80\x94 witness.example.com/w1 "
                                 "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/"
                                 "zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIf"
                                 "Z+qnA==\n";

static void keys_come_back(void **state)
{
    (void)state;
    struct tlog_key k, again;
    char text[TLOG_VKEY_BYTES];
    struct err e = ERR_NONE;
    if (tlog_key_parse(bytes_str(vkey), &k, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(k.name, "example.com/foo");
    assert_int_equal(k.id, 0x530d903a);
    tlog_key_format(&k, text);
    assert_string_equal(text, vkey);
    tlog_key_make(k.name, TLOG_KEY_LOG, k.public_key, &again);
    assert_memory_equal(&again, &k, sizeof k);
}

static void every_changed_letter_of_a_key_is_refused(void **state)
{
    (void)state;
    struct tlog_key k;
    char text[sizeof vkey];
    for (size_t i = 0; i + 1 < sizeof vkey; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(text, vkey, sizeof vkey);
            text[i] = (char)(text[i] ^ 1 << bit);
            struct err e = ERR_NONE;
            assert_int_equal(tlog_key_parse(bytes_of(text, sizeof text - 1), &k, &e), ERR_FORMAT);
        }
    for (size_t n = 0; n + 1 < sizeof vkey; n++)
        assert_int_equal(tlog_key_parse(bytes_of(vkey, n), &k, NULL), ERR_FORMAT);
    /* The type is under the id; types that are not known are told. */
    struct err e = ERR_NONE;
    assert_int_equal(
        tlog_key_parse(
            bytes_str("example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"), &k,
            &e),
        ERR_FORMAT);
    assert_non_null(strstr(e.text, "not that of its key"));
    assert_int_equal(
        tlog_key_parse(
            bytes_str("example.com/foo+530d903a+BekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"), &k,
            &e),
        ERR_FORMAT);
    assert_non_null(strstr(e.text, "type 5"));
}

/* A checkpoint of a public log, and the key of one of its witnesses. */
static const char witness[] =
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
static const char witnessed[] =
    "arche2025h1.staging.ct.transparency.dev\n1432088532\n"
    "U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n"
    "\xe2\x80\x94 arche2025h1.staging.ct.transparency.dev "
    "ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ="
    "\n\xe2\x80\x94 remora.n621.de "
    "2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/"
    "KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n";

static void a_cosigners_key_and_signature_come_back(void **state)
{
    (void)state;
    struct tlog_key k, again;
    struct tlog_checkpoint c;
    struct tlog_note n;
    struct tlog_signature signature;
    char text[512];
    assert_int_equal(tlog_key_parse(bytes_str(witness), &k, NULL), 0);
    assert_int_equal(k.type, TLOG_KEY_COSIGNER);
    tlog_key_format(&k, text);
    assert_string_equal(text, witness);
    tlog_key_make(k.name, TLOG_KEY_COSIGNER, k.public_key, &again);
    assert_memory_equal(&again, &k, sizeof k);
    tlog_key_make(k.name, TLOG_KEY_LOG, k.public_key, &again);
    assert_int_not_equal(again.id, k.id);
    assert_int_equal(tlog_checkpoint_parse(bytes_str(witnessed), &c, &n, NULL), 0);
    assert_int_equal(tlog_note_signature(&n, &k, 0, &signature, NULL), 0);
    assert_int_equal(signature.time_s, 0x6a122120);
    assert_int_equal(tlog_note_signature(&n, &again, 0, &signature, NULL), ERR_NOT_FOUND);
    assert_int_equal(tlog_note_signature(&n, &k, 0, &signature, NULL), 0);
    struct writer w = writer_of(text, sizeof text);
    tlog_signature_line(&w, &k, &signature);
    assert_true(w.at <= TLOG_SIGNATURE_LINE_BYTES);
    assert_non_null(strstr(witnessed, "\xe2\x80\x94 remora"));
    assert_true(
        bytes_equal(bytes_of(text, w.at), bytes_str(strstr(witnessed, "\xe2\x80\x94 remora"))));
    w = writer_of(text, sizeof text);
    tlog_cosigned_text(&w, 1679315147, bytes_str("a\n"));
    assert_true(
        bytes_equal(bytes_of(text, w.at), bytes_str("cosignature/v1\ntime 1679315147\na\n")));
}

static void a_time_that_no_clock_has_is_refused(void **state)
{
    (void)state;
    struct tlog_key k;
    struct tlog_note n;
    struct tlog_signature signature = {.time_s = TLOG_SIZE_MAX}, again;
    char text[512];
    struct err e = ERR_NONE;
    assert_int_equal(tlog_key_parse(bytes_str(witness), &k, NULL), 0);
    for (int more = 0; more < 2; more++) {
        signature.time_s += (uint64_t)more;
        struct writer w = writer_of(text, sizeof text);
        write_bytes(&w, bytes_str("x\n"));
        tlog_note_sign(&w, &k, &signature);
        assert_int_equal(tlog_note_parse(bytes_of(text, w.at), &n, NULL), 0);
        assert_int_equal(tlog_note_signature(&n, &k, 0, &again, &e), more == 0 ? 0 : ERR_FORMAT);
    }
    assert_non_null(strstr(e.text, "time"));
}

static void a_note_falls_apart_and_is_put_together(void **state)
{
    (void)state;
    struct tlog_note n;
    struct tlog_key k, stranger;
    struct tlog_signature signature;
    char text[512];
    struct err e = ERR_NONE;
    assert_int_equal(tlog_key_parse(bytes_str(vkey), &k, NULL), 0);
    assert_int_equal(tlog_note_parse(bytes_str(note), &n, &e), 0);
    assert_true(bytes_equal(n.text, bytes_str("This is an example message.\n")));
    assert_int_equal(tlog_note_signature(&n, &k, 0, &signature, &e), 0);
    assert_int_equal(tlog_note_signature(&n, &k, 1, &signature, &e), ERR_NOT_FOUND);
    assert_int_equal(tlog_note_signature(&n, &k, 0, &signature, &e), 0);
    tlog_key_make("example.com/bar", TLOG_KEY_LOG, k.public_key, &stranger);
    assert_int_equal(tlog_note_signature(&n, &stranger, 0, &signature, &e), ERR_NOT_FOUND);
    struct writer w = writer_of(text, sizeof text);
    write_bytes(&w, n.text);
    tlog_note_sign(&w, &k, &signature);
    assert_false(w.bad);
    assert_true(bytes_equal(bytes_of(text, w.at), bytes_str(note)));
    /* It does not fit: told, not overrun. */
    w = writer_of(text, 20);
    tlog_note_sign(&w, &k, &signature);
    assert_true(w.bad);
}

static void a_checkpoint_with_a_cosignature_is_read(void **state)
{
    (void)state;
    struct tlog_checkpoint c;
    struct tlog_note n;
    char text[256];
    struct err e = ERR_NONE;
    if (tlog_checkpoint_parse(bytes_str(checkpoint), &c, &n, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(c.origin, "example.com/behind-the-sofa");
    assert_int_equal(c.size, 20852163);
    struct writer w = writer_of(text, sizeof text);
    tlog_checkpoint_write(&w, &c);
    assert_true(bytes_equal(bytes_of(text, w.at), n.text));
    /* A signature of a cosigner is none of a log: other size. */
    struct tlog_key k = {.name = "witness.example.com/w1", .id = 0x8d66cf3f, .type = TLOG_KEY_LOG};
    struct tlog_signature signature;
    assert_int_equal(tlog_note_signature(&n, &k, 0, &signature, &e), ERR_FORMAT);
    k.type = TLOG_KEY_COSIGNER;
    assert_int_equal(tlog_note_signature(&n, &k, 0, &signature, &e), 0);
    assert_int_equal(signature.time_s, 1679315147);
}

#define H "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
#define S "\xe2\x80\x94 x AAAAAAA=\n"

static void what_is_no_checkpoint_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\n",
        "\n\n",
        "x\n1\n" H "\n",                          /* no signatures */
        "x\n1\n" H "\n\n",                        /* none behind the empty line */
        "x\n1\n" H "\n" S,                        /* no empty line */
        "x\n1\n" H "\n\n" S "\n",                 /* nothing after the signatures */
        "x\n1\n" H "\n\nx AAAAAAA=\n",            /* no dash */
        "x\n1\n" H "\n\n\xe2\x80\x94 x AAAAAAA=", /* no line feed */
        "x\n1\n" H "\n\n\xe2\x80\x94 x AAAA\n",   /* no room for a key id */
        "x\n1\n" H "\n\n\xe2\x80\x94 x  AAAAAAA=\n",
        "x\n1\n" H "\n\n\xe2\x80\x94 x+y AAAAAAA=\n",
        "x\n1\n" H "\n\n\xe2\x80\x94 x AAAAAAB=\n", /* stray bits */
        "\n1\n" H "\n\n" S,
        "x\n01\n" H "\n\n" S,
        "x\n\n" H "\n\n" S,
        "x\n-1\n" H "\n\n" S,
        "x\n1 \n" H "\n\n" S,
        "x\n9223372036854775808\n" H "\n\n" S,
        "x\n99999999999999999999\n" H "\n\n" S,
        "x\n1\n" H "=\n\n" S,
        "x\n1\nAAAA\n\n" S,
        "x\n1\n\n" S,
        "x\n1\n" H "\n\nmore\n\n" S, /* an empty line inside */
        "x\r\n1\n" H "\n\n" S,
        "\xff\n1\n" H "\n\n" S,
    };
    struct tlog_checkpoint c;
    struct tlog_note n;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (tlog_checkpoint_parse(bytes_str(bad[i]), &c, &n, NULL) != ERR_FORMAT)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(tlog_checkpoint_parse(bytes_str("x\n0\n" H "\nmore\n\n" S), &c, &n, NULL), 0);
    assert_int_equal(
        tlog_checkpoint_parse(bytes_str("x\n9223372036854775807\n" H "\n\n" S S), &c, &n, NULL), 0);
}

static void proof_files_come_back(void **state)
{
    (void)state;
    static const char *const good[] = {
        "c2sp.org/tlog-proof@v1\nextra YWdl\nindex 73894\n" H "\n" H "\n\nx\n1\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n\nx\n1\n",
        "old 20852014\n" H "\n\nx\n1\n",
        "old 0\n\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct tlog_proof_text p;
        uint8_t extra[16];
        char text[512];
        struct err e = ERR_NONE;
        if (tlog_proof_parse(bytes_str(good[i]), &p, &e) != 0)
            fail_msg("%s: %s", good[i], e.text);
        assert_int_equal(p.consistency, i >= 2);
        long n = base64_decode(p.extra, extra);
        assert_true(n >= 0);
        struct writer w = writer_of(text, sizeof text);
        tlog_proof_write(&w, &p, bytes_of(extra, (size_t)n));
        assert_true(bytes_equal(bytes_of(text, w.at), bytes_str(good[i])));
        assert_true(w.at < tlog_proof_bytes(&p, (size_t)n));
    }
    static const char *const bad[] = {
        "",
        "c2sp.org/tlog-proof@v1",
        "c2sp.org/tlog-proof@v1\n",
        "c2sp.org/tlog-proof@v2\nindex 1\n\n",
        "c2sp.org/tlog-proof@v1\nextra \nindex 1\n\n",
        "c2sp.org/tlog-proof@v1\nextra YWdl\n",
        "c2sp.org/tlog-proof@v1\nindex 01\n\n",
        "c2sp.org/tlog-proof@v1\nindex\n\n",
        "c2sp.org/tlog-proof@v1\nindex 1\n" H "\n",
        "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\n",
        "c2sp.org/tlog-proof@v1\nindex 1\nextra YWdl\n\n",
        "old -1\n\n",
        "old  1\n\n",
        "Old 1\n\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tlog_proof_text p;
        if (tlog_proof_parse(bytes_str(bad[i]), &p, NULL) != ERR_FORMAT)
            fail_msg("taken: %s", bad[i]);
    }
    /* 64 hashes are the most that any proof has. */
    for (size_t n = TLOG_PROOF_MAX; n <= TLOG_PROOF_MAX + 1; n++) {
        char many[8192];
        struct tlog_proof_text p;
        struct writer w = writer_of(many, sizeof many);
        write_bytes(&w, bytes_str("old 1\n"));
        for (size_t i = 0; i < n; i++)
            write_bytes(&w, bytes_str(H "\n"));
        write_bytes(&w, bytes_str("\n"));
        assert_int_equal(tlog_proof_parse(bytes_of(many, w.at), &p, NULL),
                         n <= TLOG_PROOF_MAX ? 0 : ERR_FORMAT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_back),
        cmocka_unit_test(every_changed_letter_of_a_key_is_refused),
        cmocka_unit_test(a_cosigners_key_and_signature_come_back),
        cmocka_unit_test(a_time_that_no_clock_has_is_refused),
        cmocka_unit_test(a_note_falls_apart_and_is_put_together),
        cmocka_unit_test(a_checkpoint_with_a_cosignature_is_read),
        cmocka_unit_test(what_is_no_checkpoint_is_refused),
        cmocka_unit_test(proof_files_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
