/* OpenSSL between two byte buffers.
 *
 * OpenSSL reads from and writes to a BIO of our own instead of memory BIOs: input is read in place from the buffer of the
 * socket, output lands in the buffer that is written to the socket, and neither can grow by the peer's will.
 *
 * INVARIANTS
 *   I1  The error queue is empty before each SSL call, and SSL_get_error is asked right after it.
 *   I2  Any SSL call may leave output (alerts, key updates): the owner sends `out` after each.
 *   I3  After a fatal error nothing but deinit is done with the SSL object.
 *   I4  An end of the socket without close_notify is never taken for the end of the data: the owner sees it as a loss.
 *
 * AES-GCM may protect about 2^24.5 full records under one key (RFC 8446, 5.5), which a replication link passes in a day. OpenSSL
 * does not change keys by itself, so both directions are rekeyed every REKEY_BYTES. */
#include "replication/io/channel.h"

#include "store/core/check.h"

#include <openssl/err.h>
#include <pthread.h>

static const uint64_t REKEY_BYTES = 64ull << 30;

/* ---- the BIO ---- */

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static int bio_read(BIO *bio, char *p, size_t cap, size_t *got)
{
    struct channel *ch = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (ch->in.n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *got = ch->in.n < cap ? ch->in.n : cap;
    memcpy(p, ch->in.p, *got);
    ch->in = bytes_of(ch->in.p + *got, ch->in.n - *got);
    return 1;
}

static int bio_write(BIO *bio, const char *p, size_t n, size_t *put)
{
    struct channel *ch = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (buffer_size(&ch->out) + n > CHANNEL_OUT_MAX_BYTES ||
        !buffer_append(&ch->out, bytes_of(p, n)))
        return 0;
    *put = n;
    return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static void bio_method_init(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "triveni channel");
    check(bio_method != NULL && BIO_meth_set_read_ex(bio_method, bio_read) == 1 &&
          BIO_meth_set_write_ex(bio_method, bio_write) == 1 &&
          BIO_meth_set_ctrl(bio_method, bio_ctrl) == 1);
}

/* ---- errors as sentences ---- */

/* Keeps what OpenSSL knows only inside this callback: which certificate failed, and how. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
    if (ok == 1)
        return 1;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct channel *ch = SSL_get_app_data(ssl);
    tls_verdict_of(store, ch->verdict);
    return 0;
}

static const struct {
    int reason, code;
    const char *text;
} sentences[] = {
    /* alerts: what the peer says of us */
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, ERR_DENIED,
     "refused our certificate as expired: renew it with triveni pki, or compare the clocks"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, ERR_DENIED,
     "refused our certificate as revoked: have a new one issued"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, ERR_DENIED,
     "refused our certificate as bad (not yet valid, or damaged): compare the clocks, then issue "
     "it anew"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, ERR_DENIED,
     "refused our certificate as not meant for this side of a connection: issue it for the right "
     "kind"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, ERR_DENIED, "refused our certificate"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, ERR_DENIED,
     "does not trust the CA of our certificate: compare the ca files of both sides"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, ERR_DENIED, "denied us access"},
    {SSL_R_TLSV1_ALERT_DECRYPT_ERROR, ERR_DENIED,
     "found that our key and certificate do not belong together"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, ERR_DENIED,
     "requires a certificate and got none from us"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, ERR_DENIED,
     "refused the TLS handshake: no common cipher, signature or group"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, ERR_FORMAT,
     "does not accept TLS 1.3: is it a Triveni port, and has it a certificate?"},
    /* what we say of the peer */
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, ERR_DENIED,
     "showed no certificate: every peer and client needs one, see triveni pki"},
    {SSL_R_HTTP_REQUEST, ERR_FORMAT, "sent a plain HTTP request to a port for TLS"},
    {SSL_R_HTTPS_PROXY_REQUEST, ERR_FORMAT, "sent a proxy request to a port for TLS"},
    {SSL_R_WRONG_VERSION_NUMBER, ERR_FORMAT, "does not speak TLS: is it a Triveni port?"},
    {SSL_R_UNSUPPORTED_PROTOCOL, ERR_FORMAT, "offers only versions before TLS 1.3"},
    {SSL_R_NO_SHARED_CIPHER, ERR_FORMAT, "offers no cipher of TLS 1.3 that is accepted here"},
    {SSL_R_NO_SUITABLE_GROUPS, ERR_FORMAT,
     "offers no group for the key exchange that is accepted here: X25519, P-256 or P-384"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, ERR_FORMAT,
     "offers no group for the key exchange that is accepted here: X25519, P-256 or P-384"},
};

/* SSL_get_error() tells of this thread's queue, so it must be empty before each call. It nearly always is, and looking costs a
 * tenth of clearing. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

static int failure(struct channel *ch, struct err *e)
{
    ch->broken = true;
    unsigned long error = ERR_peek_error();
    int rc = 0;
    if (ch->verdict[0] != '\0')
        rc = err_set(e, ERR_DENIED, "its certificate %s", ch->verdict);
    for (size_t i = 0; rc == 0 && i < sizeof sentences / sizeof sentences[0]; i++)
        if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == sentences[i].reason)
            rc = err_set(e, sentences[i].code, "%s", sentences[i].text);
    if (rc == 0) {
        const char *reason = ERR_reason_error_string(error);
        rc = err_set(e, ERR_FORMAT, "TLS failed: %s", reason == NULL ? "no reason given" : reason);
    }
    ERR_clear_error();
    return rc;
}

/* ---- the channel ---- */

int channel_open(struct channel *ch, SSL_CTX *tls, bool server, struct err *e)
{
    (void)pthread_once(&bio_once, bio_method_init);
    ERR_clear_error();
    *ch = (struct channel){.ssl = SSL_new(tls), .rekey_bytes = REKEY_BYTES};
    BIO *bio = ch->ssl == NULL ? NULL : BIO_new(bio_method);
    if (bio == NULL) {
        SSL_free(ch->ssl);
        ch->ssl = NULL;
        return err_set(e, ERR_NO_MEMORY, "no memory for a TLS connection");
    }
    BIO_set_data(bio, ch);
    BIO_set_init(bio, 1);
    SSL_set_bio(ch->ssl, bio, bio);
    (void)SSL_set_app_data(ch->ssl, ch);
    SSL_set_verify(ch->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    if (server)
        SSL_set_accept_state(ch->ssl);
    else
        SSL_set_connect_state(ch->ssl);
    return 0;
}

void channel_deinit(struct channel *ch)
{
    SSL_free(ch->ssl);
    buffer_deinit(&ch->out);
    *ch = (struct channel){0};
}

void channel_feed(struct channel *ch, struct bytes ciphertext)
{
    check(ch->in.n == 0);
    ch->in = ciphertext;
    ch->drained = false;
}

int channel_handshake(struct channel *ch, bool *done, struct err *e)
{
    check(!ch->broken);
    ERR_clear_error();
    int rc = SSL_do_handshake(ch->ssl);
    *done = rc == 1;
    return rc == 1 || SSL_get_error(ch->ssl, rc) == SSL_ERROR_WANT_READ ? 0 : failure(ch, e);
}

int channel_read(struct channel *ch, uint8_t *p, size_t cap, size_t *got, bool *closed,
                 struct err *e)
{
    check(!ch->broken);
    *got = 0;
    *closed = false;
    forget_errors();
    int rc = SSL_read_ex(ch->ssl, p, cap, got);
    ch->drained = rc == 1 && ch->in.n == 0 && SSL_has_pending(ch->ssl) == 0;
    if (rc == 1)
        return 0;
    *got = 0;
    int error = SSL_get_error(ch->ssl, rc);
    *closed = error == SSL_ERROR_ZERO_RETURN;
    return *closed || error == SSL_ERROR_WANT_READ ? 0 : failure(ch, e);
}

int channel_write(struct channel *ch, struct bytes plain, struct err *e)
{
    check(!ch->broken && plain.n != 0);
    forget_errors();
    if (ch->sealed_bytes >= ch->rekey_bytes) {
        ch->sealed_bytes = 0;
        if (SSL_key_update(ch->ssl, SSL_KEY_UPDATE_REQUESTED) != 1)
            return failure(ch, e);
    }
    size_t put = 0;
    if (SSL_write_ex(ch->ssl, plain.p, plain.n, &put) != 1)
        return failure(ch, e);
    check(put == plain.n); /* the BIO takes all or fails */
    ch->sealed_bytes += put;
    return 0;
}

void channel_shutdown(struct channel *ch)
{
    ERR_clear_error();
    if (!ch->broken && SSL_is_init_finished(ch->ssl) == 1)
        (void)SSL_shutdown(ch->ssl);
    ERR_clear_error();
}

bool channel_has_part_of_record(const struct channel *ch)
{
    /* A header alone is not pending to OpenSSL, but its body is waited for. */
    return !ch->drained &&
           (SSL_has_pending(ch->ssl) == 1 || strcmp(SSL_rstate_string(ch->ssl), "RB") == 0);
}
