/* Two channels back to back, with real certificates and no socket: what passes between them is cut, held back and changed. */
#include "tests/unit/replication/io/fixture.h"

struct ends {
    SSL_CTX *tls[2];
    struct channel ch[2]; /* [0] the server */
};

static int setup(void **state)
{
    struct ends *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->tls[0] = context_of("dc");
    t->tls[1] = context_of("dr");
    for (int i = 0; i < 2; i++)
        assert_int_equal(channel_open(&t->ch[i], t->tls[i], i == 0, NULL), 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct ends *t = *state;
    for (int i = 0; i < 2; i++) {
        channel_deinit(&t->ch[i]);
        SSL_CTX_free(t->tls[i]);
    }
    free(t);
    return 0;
}

/* Gives what `from` has to say to the handshake of `to`, in pieces of at most `piece` bytes. */
static int shake(struct channel *from, struct channel *to, size_t piece, bool *done, struct err *e)
{
    struct bytes out = buffer_content(&from->out);
    int rc = 0;
    for (size_t at = 0; at < out.n && rc == 0; at += piece) {
        size_t n = out.n - at < piece ? out.n - at : piece;
        channel_feed(to, bytes_of(out.p + at, n));
        if (!*done)
            rc = channel_handshake(to, done, e);
    }
    buffer_consume(&from->out, out.n);
    return rc;
}

static void shake_hands(struct ends *t, size_t piece)
{
    bool done[2] = {false, false};
    struct err e = ERR_NONE;
    assert_int_equal(channel_handshake(&t->ch[1], &done[1], &e), 0);
    for (int turn = 0; turn < 6 && !(done[0] && done[1]); turn++)
        if (shake(&t->ch[turn % 2 == 0], &t->ch[turn % 2 != 0], piece, &done[turn % 2 != 0], &e))
            fail_msg("%s", e.text);
    assert_true(done[0] && done[1]);
}

static size_t read_some(struct channel *ch, struct bytes ciphertext, uint8_t *out, size_t cap,
                        bool *closed)
{
    size_t got = 0;
    struct err e = ERR_NONE;
    channel_feed(ch, ciphertext);
    if (channel_read(ch, out, cap, &got, closed, &e) != 0)
        fail_msg("%s", e.text);
    return got;
}

static void a_handshake_in_single_bytes_is_a_handshake(void **state)
{
    struct ends *t = *state;
    shake_hands(t, 1);
    struct identity id;
    assert_int_equal(tls_peer_identity(t->ch[0].ssl, "gov", &id, NULL), 0);
    assert_string_equal(id.name, "dr");
}

static void half_a_record_gives_nothing_and_is_known_to_be_half(void **state)
{
    struct ends *t = *state;
    shake_hands(t, SIZE_MAX / 2);
    uint8_t said[100], heard[CHANNEL_READ_MIN_BYTES];
    memset(said, 'x', sizeof said);
    assert_int_equal(channel_write(&t->ch[1], bytes_of(said, sizeof said), NULL), 0);
    struct bytes out = buffer_content(&t->ch[1].out);
    bool closed = true;
    assert_false(channel_has_part_of_record(&t->ch[0]));
    for (size_t i = 0; i + 1 < out.n; i++) {
        assert_int_equal(read_some(&t->ch[0], bytes_of(out.p + i, 1), heard, sizeof heard, &closed),
                         0);
        assert_true(channel_has_part_of_record(&t->ch[0]));
        assert_false(closed);
    }
    struct bytes last = bytes_of(out.p + out.n - 1, 1);
    assert_int_equal(read_some(&t->ch[0], last, heard, sizeof heard, &closed), sizeof said);
    assert_memory_equal(heard, said, sizeof said);
    assert_false(channel_has_part_of_record(&t->ch[0]));
}

static void only_a_goodbye_is_the_end(void **state)
{
    struct ends *t = *state;
    channel_shutdown(&t->ch[1]); /* before the handshake there is nothing to take leave of */
    assert_int_equal(buffer_size(&t->ch[1].out), 0);
    shake_hands(t, SIZE_MAX / 2);
    uint8_t heard[CHANNEL_READ_MIN_BYTES];
    bool closed = true;
    assert_int_equal(read_some(&t->ch[0], bytes_of(NULL, 0), heard, sizeof heard, &closed), 0);
    assert_false(closed);
    channel_shutdown(&t->ch[1]);
    struct bytes out = buffer_content(&t->ch[1].out);
    assert_true(out.n != 0);
    assert_int_equal(read_some(&t->ch[0], out, heard, sizeof heard, &closed), 0);
    assert_true(closed);
    assert_false(t->ch[0].broken);
}

static void every_changed_byte_of_a_record_breaks_the_channel(void **state)
{
    struct ends *t = *state;
    uint8_t record[64], heard[CHANNEL_READ_MIN_BYTES];
    for (size_t at = 0;; at++) {
        shake_hands(t, SIZE_MAX / 2);
        assert_int_equal(channel_write(&t->ch[1], bytes_of("deed", 4), NULL), 0);
        struct bytes out = buffer_content(&t->ch[1].out);
        assert_true(out.n <= sizeof record);
        bool whole = at == out.n, closed;
        memcpy(record, out.p, out.n);
        if (!whole)
            record[at] ^= 0x40;
        size_t got = 0;
        struct err e = ERR_NONE;
        channel_feed(&t->ch[0], bytes_of(record, out.n));
        int rc = channel_read(&t->ch[0], heard, sizeof heard, &got, &closed, &e);
        assert_false(closed);
        if (whole) {
            assert_int_equal(rc, 0);
            assert_int_equal(got, 4);
            return;
        }
        assert_int_equal(got, 0);
        /* a length that is changed may ask for bytes that are not there: nothing is given then either */
        if (rc == 0)
            assert_true(channel_has_part_of_record(&t->ch[0]));
        else
            assert_true(rc == ERR_FORMAT && t->ch[0].broken && e.text[0] != '\0');
        for (int i = 0; i < 2; i++) {
            channel_deinit(&t->ch[i]);
            assert_int_equal(channel_open(&t->ch[i], t->tls[i], i == 0, NULL), 0);
        }
    }
}

static void what_nobody_takes_away_is_bounded(void **state)
{
    struct ends *t = *state;
    shake_hands(t, SIZE_MAX / 2);
    static uint8_t chunk[64 << 10];
    struct err e = ERR_NONE;
    int rc = 0;
    unsigned written = 0;
    while (rc == 0 && written < 32) {
        rc = channel_write(&t->ch[1], bytes_of(chunk, sizeof chunk), &e);
        written += rc == 0;
    }
    assert_int_equal(rc, ERR_FORMAT);
    assert_non_null(strstr(e.text, "TLS failed: "));
    assert_int_equal(written, 15);
    assert_true(buffer_size(&t->ch[1].out) <= CHANNEL_OUT_MAX_BYTES);
    assert_true(t->ch[1].broken);
    size_t before = buffer_size(&t->ch[1].out);
    channel_shutdown(&t->ch[1]); /* nothing more is done with it */
    assert_int_equal(buffer_size(&t->ch[1].out), before);
}

/* ---- who does not get as far as that ---- */

static void says(struct channel *ch, struct bytes first, int code, const char *why)
{
    bool done = false;
    struct err e = ERR_NONE;
    channel_feed(ch, first);
    assert_int_equal(channel_handshake(ch, &done, &e), code);
    assert_true(ch->broken && !done);
    if (strstr(e.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, why);
}

static void strangers_are_told_apart(void **state)
{
    struct ends *t = *state;
    static const struct {
        const char *first, *why;
    } strangers[] = {
        {"GET / HTTP/1.1\r\nHost: dc\r\n", "plain HTTP request"},
        {"CONNECT dc:7400 HTTP/1.1\r\n", "sent a proxy request"},
        {"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"},
    };
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        says(&t->ch[0], bytes_str(strangers[i].first), ERR_FORMAT, strangers[i].why);
        channel_deinit(&t->ch[0]);
        assert_int_equal(channel_open(&t->ch[0], t->tls[0], true, NULL), 0);
    }
    says(&t->ch[1], bytes_str("HTTP/1.1 400 Bad Request\r\n"), ERR_FORMAT, "does not speak TLS");
}

/* Both ends give up: the server with `here`, and the client, when it hears of it, with `there`. */
static void no_agreement(struct ends *t, int code, const char *here, int peer_code,
                         const char *there)
{
    bool done = false;
    assert_int_equal(channel_handshake(&t->ch[1], &done, NULL), 0);
    says(&t->ch[0], buffer_content(&t->ch[1].out), code, here);
    says(&t->ch[1], buffer_content(&t->ch[0].out), peer_code, there);
}

static void who_offers_nothing_acceptable_is_told_on_both_sides(void **state)
{
    struct ends *t = *state;
    assert_int_equal(SSL_set_min_proto_version(t->ch[1].ssl, TLS1_2_VERSION), 1);
    assert_int_equal(SSL_set_max_proto_version(t->ch[1].ssl, TLS1_2_VERSION), 1);
    no_agreement(t, ERR_FORMAT, "only versions before TLS 1.3", ERR_FORMAT,
                 "does not accept TLS 1.3: is it a Triveni port");
    for (int i = 0; i < 2; i++) {
        channel_deinit(&t->ch[i]);
        assert_int_equal(channel_open(&t->ch[i], t->tls[i], i == 0, NULL), 0);
    }
    assert_int_equal(SSL_set_ciphersuites(t->ch[1].ssl, "TLS_AES_128_CCM_SHA256"), 1);
    no_agreement(t, ERR_FORMAT, "no cipher of TLS 1.3 that is accepted here", ERR_DENIED,
                 "refused the TLS handshake: no common cipher");
    for (int i = 0; i < 2; i++) {
        channel_deinit(&t->ch[i]);
        assert_int_equal(channel_open(&t->ch[i], t->tls[i], i == 0, NULL), 0);
    }
    char weak[] = "P-521:ffdhe2048";
    assert_int_equal(SSL_set1_groups_list(t->ch[1].ssl, weak), 1);
    no_agreement(t, ERR_FORMAT, "no group for the key exchange that is accepted here", ERR_DENIED,
                 "refused the TLS handshake: no common cipher, signature or group");
}

int main(void)
{
#define with_ends(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_ends(a_handshake_in_single_bytes_is_a_handshake),
        with_ends(half_a_record_gives_nothing_and_is_known_to_be_half),
        with_ends(only_a_goodbye_is_the_end),
        with_ends(every_changed_byte_of_a_record_breaks_the_channel),
        with_ends(what_nobody_takes_away_is_bounded),
        with_ends(strangers_are_told_apart),
        with_ends(who_offers_nothing_acceptable_is_told_on_both_sides),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
