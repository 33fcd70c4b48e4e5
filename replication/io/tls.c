/* TLS contexts: what both ends of every connection insist on.
 *
 * TLS 1.3 only; both sides show a certificate that chains to a trusted CA and is meant for its side (extended key usage). There
 * is no resumption in any form (tickets, cache, early data): a resumed session would skip the check of the
 * certificate, so that a revoked peer stayed, and early data can be replayed.
 *
 * A context is proven before it is handed out: key and certificate belong together, and the own certificate would pass our own
 * verification now. A site that nobody would accept must say so when it starts or reloads, not in its peers'
 * logs. */
#include "replication/io/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

/* Intermediate CAs between a leaf and a trusted root. */
enum { CHAIN_DEPTH = 2, WHO_BYTES = 224 };

/* "3 days", "5 hours": one unit is enough to see whether it is a clock or a calendar that is wrong. */
static void span_text(int64_t seconds, char out[32])
{
    int64_t s = seconds < 0 ? -seconds : seconds;
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
    size_t u = 0;
    while (u < 3 && s < units[u].seconds)
        u++;
    long long n = (long long)(s / units[u].seconds);
    (void)snprintf(out, 32, "%lld %s%s", n, units[u].name, n == 1 ? "" : "s");
}

/* The URI name when there is a good one, else the subject's common name, for people to recognise. */
static void cert_text(X509 *cert, char out[WHO_BYTES])
{
    struct identity id;
    if (identity_of_cert(cert, &id, NULL) == 0) {
        (void)snprintf(out, WHO_BYTES, "triveni://%s/%s/%s", id.cluster,
                       identity_kind_name(id.kind), id.name);
        return;
    }
    char cn[64] = "";
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof cn);
    for (char *c = cn; *c != '\0'; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    (void)snprintf(out, WHO_BYTES, "CN %s", cn[0] == '\0' ? "(none)" : cn);
}

void tls_verdict(int verify_error, X509 *cert, char out[TLS_TEXT_BYTES])
{
    char who[WHO_BYTES] = "not shown", span[32] = "";
    if (cert != NULL)
        cert_text(cert, who);
    switch (verify_error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        span_text(cert == NULL ? 0 : tls_seconds_until(X509_get0_notAfter(cert)), span);
        (void)snprintf(
            out, TLS_TEXT_BYTES,
            "expired %s ago (%s): renew it with triveni pki, or set this machine's clock", span,
            who);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        span_text(cert == NULL ? 0 : tls_seconds_until(X509_get0_notBefore(cert)), span);
        (void)snprintf(out, TLS_TEXT_BYTES,
                       "is not valid before %s from now (%s): compare the clocks", span, who);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: /* its CA came along, and is a stranger here */
        (void)snprintf(out, TLS_TEXT_BYTES,
                       "is not from a CA that is trusted here (%s): compare the ca files, and "
                       "reissue it or add its CA",
                       who);
        return;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        (void)snprintf(out, TLS_TEXT_BYTES,
                       "is self-signed by nobody that is trusted here (%s): issue one with the CA",
                       who);
        return;
    case X509_V_ERR_CERT_REVOKED:
        (void)snprintf(out, TLS_TEXT_BYTES, "was revoked (%s)", who);
        return;
    case X509_V_ERR_INVALID_PURPOSE:
        (void)snprintf(out, TLS_TEXT_BYTES,
                       "is not meant for this side of a connection (%s): sites need serverAuth and "
                       "clientAuth, others "
                       "clientAuth",
                       who);
        return;
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        (void)snprintf(
            out, TLS_TEXT_BYTES,
            "cannot be checked against the revocation list, which is %s (%s): publish a fresh one",
            verify_error == X509_V_ERR_CRL_HAS_EXPIRED ? "too old" : "missing for its CA", who);
        return;
    default:
        (void)snprintf(out, TLS_TEXT_BYTES, "failed verification: %s (%s)",
                       X509_verify_cert_error_string(verify_error), who);
    }
}

void tls_verdict_of(X509_STORE_CTX *store, char out[TLS_TEXT_BYTES])
{
    int error = X509_STORE_CTX_get_error(store);
    X509 *cert = error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
                     ? X509_STORE_CTX_get0_cert(store)
                     : X509_STORE_CTX_get_current_cert(store);
    tls_verdict(error, cert, out);
}

/* ---- files ---- */

/* OpenSSL would ask the terminal for the password of an encrypted key. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag, (void)arg;
    return -1;
}

static int load_key(SSL_CTX *ctx, const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno == EACCES ? ERR_DENIED : ERR_NOT_FOUND,
                       "key %s cannot be opened: %s", path, strerror(errno));
    BIO *in = NULL;
    EVP_PKEY *key = NULL;
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) != 0)
        rc = err_set(e, ERR_IO, "key %s: %s", path, strerror(errno));
    else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        rc = err_set(e, ERR_DENIED,
                     "key %s can be used by others than its owner (mode %04o): chmod 600 %s", path,
                     (unsigned)st.st_mode & 07777, path);
    if (rc != 0)
        goto out;
    in = BIO_new_fd(fd, BIO_NOCLOSE);
    if (in != NULL)
        key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
    if (key == NULL)
        rc = err_set(e, ERR_CONFIG, "%s holds no PEM private key without a password", path);
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
        rc = err_set(e, ERR_CONFIG, "key %s does not belong to the certificate: issue both anew",
                     path);
out:
    EVP_PKEY_free(key);
    BIO_free(in);
    (void)close(fd);
    return rc;
}

static int load_chain(SSL_CTX *ctx, const char *path, struct err *e)
{
    if (access(path, R_OK) != 0)
        return err_set(e, errno == EACCES ? ERR_DENIED : ERR_NOT_FOUND,
                       "certificate %s cannot be opened: %s", path, strerror(errno));
    if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1)
        return err_set(e, ERR_CONFIG, "%s holds no PEM certificate that OpenSSL accepts: %s", path,
                       ERR_reason_error_string(ERR_peek_last_error()));
    return 0;
}

static int load_ca(SSL_CTX *ctx, const char *path, struct err *e)
{
    if (access(path, R_OK) != 0)
        return err_set(e, errno == EACCES ? ERR_DENIED : ERR_NOT_FOUND,
                       "CA file %s cannot be opened: %s", path, strerror(errno));
    if (SSL_CTX_load_verify_file(ctx, path) != 1)
        return err_set(e, ERR_CONFIG, "CA file %s holds no PEM certificate", path);
    return 0;
}

static int load_crl(SSL_CTX *ctx, const char *path, struct err *e)
{
    BIO *in = BIO_new_file(path, "r");
    if (in == NULL)
        return err_set(e, ERR_NOT_FOUND, "revocation list %s cannot be opened: %s", path,
                       strerror(errno));
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_CRL *crl;
    int lists = 0, rc = 0;
    while (rc == 0 && (crl = PEM_read_bio_X509_CRL(in, NULL, NULL, NULL)) != NULL) {
        const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
        char span[32];
        span_text(next == NULL ? 0 : tls_seconds_until(next), span);
        if (next != NULL && tls_seconds_until(next) < 0)
            rc = err_set(e, ERR_CONFIG,
                         "revocation list %s was to be replaced %s ago, every peer would be "
                         "refused: publish a fresh one",
                         path, span);
        else if (X509_STORE_add_crl(store, crl) != 1)
            rc = err_set(e, ERR_CONFIG, "revocation list %s cannot be used", path);
        X509_CRL_free(crl);
        lists++;
    }
    BIO_free(in);
    if (rc == 0 && lists == 0)
        rc = err_set(e, ERR_CONFIG, "%s holds no PEM revocation list", path);
    if (rc == 0 && X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) != 1)
        rc = err_set(e, ERR_NO_MEMORY, "revocation list %s cannot be used", path);
    return rc;
}

/* ---- verification ---- */

int tls_verify_cert(X509_STORE *store, X509 *leaf, STACK_OF(X509) * chain, int purpose,
                    unsigned long flags, char verdict[TLS_TEXT_BYTES])
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    int rc = 0;
    if (check == NULL || X509_STORE_CTX_init(check, store, leaf, chain) != 1) {
        tls_verdict(X509_V_ERR_OUT_OF_MEM, NULL, verdict);
        rc = ERR_DENIED;
    } else {
        X509_STORE_CTX_set_depth(check, CHAIN_DEPTH);
        X509_STORE_CTX_set_flags(check,
                                 flags == TLS_AS_OF_THEN ? X509_V_FLAG_NO_CHECK_TIME : flags);
        if (flags == TLS_AS_OF_THEN)
            (void)X509_VERIFY_PARAM_clear_flags(X509_STORE_CTX_get0_param(check),
                                                X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
        if (X509_STORE_CTX_set_purpose(check, purpose) != 1 || X509_verify_cert(check) != 1) {
            tls_verdict_of(check, verdict);
            rc = ERR_DENIED;
        }
    }
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return rc;
}

/* Would we accept ourselves? */
static int verify_own(SSL_CTX *ctx, const char *path, struct err *e)
{
    X509 *leaf = SSL_CTX_get0_certificate(ctx);
    STACK_OF(X509) *chain = NULL;
    char verdict[TLS_TEXT_BYTES];
    (void)SSL_CTX_get0_chain_certs(ctx, &chain);
    if (tls_verify_cert(SSL_CTX_get_cert_store(ctx), leaf, chain, X509_PURPOSE_SSL_CLIENT, 0,
                        verdict) != 0)
        return err_set(e, ERR_DENIED, "own certificate %s %s", path, verdict);
    struct identity id;
    if (identity_of_cert(leaf, &id, NULL) == 0 && id.kind == WIRE_SITE &&
        X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0) != 1)
        return err_set(e, ERR_DENIED,
                       "own certificate %s is a site's and lacks serverAuth: issue it anew", path);
    return 0;
}

int tls_recheck(SSL *ssl, SSL_CTX *ctx, struct err *e)
{
    X509 *peer = SSL_get0_peer_certificate(ssl);
    char verdict[TLS_TEXT_BYTES];
    if (peer == NULL)
        return err_set(e, ERR_DENIED, "it showed no certificate");
    int purpose = SSL_is_server(ssl) ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER;
    if (tls_verify_cert(SSL_CTX_get_cert_store(ctx), peer, SSL_get_peer_cert_chain(ssl), purpose,
                        X509_V_FLAG_NO_CHECK_TIME, verdict) != 0)
        return err_set(e, ERR_DENIED, "its certificate %s", verdict);
    return 0;
}

static int insist(SSL_CTX *ctx, struct err *e)
{
    char groups[] = "X25519:P-256:P-384"; /* OpenSSL's macro takes no const */
    bool ok =
        SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_ciphersuites(
            ctx, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256") ==
            1 &&
        SSL_CTX_set1_groups_list(ctx, groups) == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
        SSL_CTX_set_max_early_data(ctx, 0) == 1 && SSL_CTX_set_recv_max_early_data(ctx, 0) == 1;
    if (!ok)
        return err_set(e, ERR_FAILED, "OpenSSL refuses TLS 1.3: %s",
                       ERR_reason_error_string(ERR_peek_last_error()));
    (void)SSL_CTX_set_options(ctx,
                              SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH);
    return 0;
}

int tls_context(const struct tls_files *files, SSL_CTX **out, struct err *e)
{
    *out = NULL;
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    if (ctx == NULL)
        return err_set(e, ERR_NO_MEMORY, "no TLS context: %s",
                       ERR_reason_error_string(ERR_peek_last_error()));
    int rc = insist(ctx, e);
    if (rc == 0)
        rc = load_ca(ctx, files->ca, e);
    if (rc == 0 && files->crl != NULL)
        rc = load_crl(ctx, files->crl, e);
    if (rc == 0)
        rc = load_chain(ctx, files->cert, e);
    if (rc == 0)
        rc = load_key(ctx, files->key, e);
    if (rc == 0)
        rc = verify_own(ctx, files->cert, e);
    ERR_clear_error();
    if (rc != 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *out = ctx;
    return 0;
}
