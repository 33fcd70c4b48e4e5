/* CMS through OpenSSL.
 *
 * CMS_verify checks every signature against the certificates in the file, and none of those: whom a certificate belongs to, and
 * whether it counts now, is asked of the same function that judges peers (tls_verify_cert), so that an operator whose
 * certificate was revoked can sign as little as he can connect.
 *
 * Refused although CMS allows it: digests other than SHA-2, a text that is not in the file, signers without a certificate.
 * Ed25519 keys cannot sign CMS in OpenSSL 3.0; those of `triveni pki` are P-256. */
#include "replication/io/cosign.h"

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>

static int out_of_memory(struct err *e)
{
    ERR_clear_error();
    return err_set(e, ERR_NO_MEMORY, "out of memory for a signature");
}

/* ---- reading ---- */

static CMS_ContentInfo *parse(struct bytes file, struct err *e)
{
    if (file.n == 0 || file.n > COSIGN_MAX_BYTES) {
        (void)err_set(e, ERR_FORMAT, "a signed text of %zu bytes: 1 to %d are allowed", file.n,
                      COSIGN_MAX_BYTES);
        return NULL;
    }
    BIO *in = BIO_new_mem_buf(file.p, (int)file.n);
    CMS_ContentInfo *cms = in == NULL ? NULL : PEM_read_bio_CMS(in, NULL, NULL, NULL);
    BIO_free(in);
    ERR_clear_error();
    if (cms != NULL && OBJ_obj2nid(CMS_get0_type(cms)) == NID_pkcs7_signed &&
        OBJ_obj2nid(CMS_get0_eContentType(cms)) == NID_pkcs7_data && !CMS_is_detached(cms))
        return cms;
    CMS_ContentInfo_free(cms);
    (void)err_set(e, ERR_FORMAT,
                  "no signed text: a file that begins with -----BEGIN CMS----- and "
                  "holds text and signatures is needed");
    return NULL;
}

static bool digest_ok(CMS_SignerInfo *si)
{
    X509_ALGOR *digest = NULL;
    CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, NULL);
    const int nid = digest == NULL ? NID_undef : OBJ_obj2nid(digest->algorithm);
    return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512;
}

/* The text, when every signature holds. */
static int read_text(CMS_ContentInfo *cms, struct cosigned *out, struct err *e)
{
    STACK_OF(CMS_SignerInfo) *all = CMS_get0_SignerInfos(cms);
    const int n = sk_CMS_SignerInfo_num(all);
    if (n < 1 || n > COSIGN_SIGNERS_MAX)
        return err_set(e, ERR_FORMAT, "a text with %d signatures: 1 to %d are allowed",
                       n < 0 ? 0 : n, COSIGN_SIGNERS_MAX);
    for (int i = 0; i < n; i++)
        if (!digest_ok(sk_CMS_SignerInfo_value(all, i)))
            return err_set(e, ERR_FORMAT, "signature %d does not use SHA-256, -384 or -512", i + 1);
    BIO *text = BIO_new(BIO_s_mem());
    if (text == NULL)
        return out_of_memory(e);
    int rc = 0;
    uint8_t *p = NULL;
    if (CMS_verify(cms, NULL, NULL, NULL, text, CMS_NO_SIGNER_CERT_VERIFY | CMS_BINARY) != 1)
        rc = err_set(e, ERR_INTEGRITY,
                     "the signatures do not hold: the text was changed after it was signed, or a "
                     "certificate is missing");
    const long bytes = BIO_get_mem_data(text, &p);
    if (rc == 0 && (out->text = malloc((size_t)bytes + 1)) == NULL)
        rc = out_of_memory(e);
    if (rc == 0) {
        memcpy(out->text, p, (size_t)bytes);
        out->text[bytes] = '\0';
        out->bytes = (size_t)bytes;
    }
    BIO_free(text);
    ERR_clear_error();
    return rc;
}

static int judge(X509 *cert, STACK_OF(X509) * others, SSL_CTX *trust, bool logged,
                 struct identity *who, struct err *e)
{
    char verdict[TLS_TEXT_BYTES];
    if (tls_verify_cert(SSL_CTX_get_cert_store(trust), cert, others, X509_PURPOSE_SSL_CLIENT,
                        logged ? TLS_AS_OF_THEN : 0, verdict) != 0)
        return err_set(e, ERR_DENIED, "the certificate of a signer %s", verdict);
    int rc = identity_of_cert(cert, who, e);
    if (rc != 0)
        return err_wrap(e, "the certificate of a signer");
    if (who->kind != WIRE_OPERATOR)
        return err_set(e, ERR_DENIED,
                       "signed by %s '%s', and only operators may: sign with an operator's "
                       "certificate ('triveni pki operator')",
                       identity_kind_name(who->kind), who->name);
    return 0;
}

static int different(const struct cosigned *c, X509 *const *certs, struct err *e)
{
    const uint32_t last = c->count;
    for (uint32_t i = 0; i < last; i++) {
        if (strcmp(c->who[i].cluster, c->who[last].cluster) != 0)
            return err_set(e, ERR_DENIED, "signed by operators of two clusters, %s and %s",
                           c->who[i].cluster, c->who[last].cluster);
        if (strcmp(c->who[i].name, c->who[last].name) == 0)
            return err_set(e, ERR_DENIED,
                           "signed twice by operator '%s': another operator has to sign",
                           c->who[i].name);
        if (EVP_PKEY_eq(X509_get0_pubkey(certs[i]), X509_get0_pubkey(certs[last])) == 1)
            return err_set(e, ERR_DENIED,
                           "operators '%s' and '%s' signed with one and the same key: each needs "
                           "their own",
                           c->who[i].name, c->who[last].name);
    }
    return 0;
}

/* After CMS_verify each signer info knows its certificate. */
static int read_signers(CMS_ContentInfo *cms, SSL_CTX *trust, bool logged, struct cosigned *out,
                        struct err *e)
{
    STACK_OF(CMS_SignerInfo) *all = CMS_get0_SignerInfos(cms);
    STACK_OF(X509) *others = CMS_get1_certs(cms);
    X509 *certs[COSIGN_SIGNERS_MAX] = {NULL};
    int rc = 0;
    for (int i = 0; i < sk_CMS_SignerInfo_num(all) && rc == 0; i++) {
        CMS_SignerInfo_get0_algs(sk_CMS_SignerInfo_value(all, i), NULL, &certs[i], NULL, NULL);
        rc = judge(certs[i], others, trust, logged, &out->who[i], e);
        if (rc == 0)
            rc = different(out, certs, e);
        out->count++;
    }
    sk_X509_pop_free(others, X509_free);
    ERR_clear_error();
    return rc;
}

static int open_cms(CMS_ContentInfo *cms, SSL_CTX *trust, bool logged, struct cosigned *out,
                    struct err *e)
{
    *out = (struct cosigned){.text = NULL};
    int rc = read_text(cms, out, e);
    if (rc == 0)
        rc = read_signers(cms, trust, logged, out, e);
    if (rc != 0)
        cosign_close(out);
    return rc;
}

static int open_file(struct bytes file, SSL_CTX *trust, bool logged, struct cosigned *out,
                     struct err *e)
{
    *out = (struct cosigned){.text = NULL};
    CMS_ContentInfo *cms = parse(file, e);
    int rc = cms == NULL ? ERR_FORMAT : open_cms(cms, trust, logged, out, e);
    CMS_ContentInfo_free(cms);
    return rc;
}

int cosign_open(struct bytes file, SSL_CTX *trust, struct cosigned *out, struct err *e)
{
    return open_file(file, trust, false, out, e);
}

int cosign_open_logged(struct bytes file, SSL_CTX *trust, struct cosigned *out, struct err *e)
{
    return open_file(file, trust, true, out, e);
}

void cosign_close(struct cosigned *c)
{
    free(c->text);
    *c = (struct cosigned){.text = NULL};
}

/* ---- signing ---- */

static int own_operator(SSL_CTX *own, struct identity *who, struct err *e)
{
    int rc = identity_of_cert(SSL_CTX_get0_certificate(own), who, e);
    if (rc != 0)
        return err_wrap(e, "own certificate");
    if (who->kind != WIRE_OPERATOR)
        return err_set(e, ERR_DENIED,
                       "your certificate is that of %s '%s', and only operators may sign this",
                       identity_kind_name(who->kind), who->name);
    return 0;
}

static int write_pem(CMS_ContentInfo *cms, char **pem, size_t *n, struct err *e)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *p = NULL;
    int rc = 0;
    *pem = NULL;
    if (out == NULL || PEM_write_bio_CMS(out, cms) != 1)
        rc = out_of_memory(e);
    const long bytes = rc == 0 ? BIO_get_mem_data(out, &p) : 0;
    if (rc == 0 && bytes > COSIGN_MAX_BYTES)
        rc = err_set(e, ERR_LIMIT, "with the signature it has %ld bytes, at most %d are allowed",
                     bytes, COSIGN_MAX_BYTES);
    if (rc == 0 && (*pem = malloc((size_t)bytes + 1)) == NULL)
        rc = out_of_memory(e);
    if (rc == 0) {
        memcpy(*pem, p, (size_t)bytes);
        (*pem)[bytes] = '\0';
        *n = (size_t)bytes;
    }
    BIO_free(out);
    return rc;
}

/* With its intermediate certificates, so that whoever has the root can verify. */
static int sign(CMS_ContentInfo *cms, SSL_CTX *own, unsigned flags, struct err *e)
{
    STACK_OF(X509) *chain = NULL;
    bool ok = CMS_add1_signer(cms, SSL_CTX_get0_certificate(own), SSL_CTX_get0_privatekey(own),
                              EVP_sha256(), flags | CMS_NOSMIMECAP | CMS_BINARY) != NULL;
    if (ok && SSL_CTX_get0_chain_certs(own, &chain) == 1)
        for (int i = 0; i < sk_X509_num(chain); i++)
            (void)CMS_add1_cert(cms, sk_X509_value(chain, i)); /* it may be there already */
    if (ok)
        return 0;
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    int rc = err_set(e, ERR_FAILED,
                     "your key cannot sign this (%s): EC and RSA keys can, such as those of "
                     "'triveni pki operator'",
                     why != NULL ? why : "no reason given");
    ERR_clear_error();
    return rc;
}

int cosign_new(struct bytes text, SSL_CTX *own, char **pem, size_t *n, struct err *e)
{
    struct identity who;
    *pem = NULL;
    int rc = own_operator(own, &who, e);
    if (rc != 0)
        return rc;
    BIO *in = BIO_new_mem_buf(text.p, (int)text.n);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_BINARY);
    if (in == NULL || cms == NULL)
        rc = out_of_memory(e);
    if (rc == 0)
        rc = sign(cms, own, 0, e);
    if (rc == 0 && CMS_final(cms, in, NULL, CMS_BINARY) != 1)
        rc = err_set(e, ERR_FAILED, "OpenSSL cannot sign: %s",
                     ERR_reason_error_string(ERR_peek_last_error()));
    if (rc == 0)
        rc = write_pem(cms, pem, n, e);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    ERR_clear_error();
    return rc;
}

static int may_add(CMS_ContentInfo *cms, SSL_CTX *own, struct err *e)
{
    struct identity who;
    struct cosigned before;
    int rc = own_operator(own, &who, e);
    if (rc == 0)
        rc = open_cms(cms, own, false, &before, e);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < before.count && rc == 0; i++)
        if (strcmp(before.who[i].name, who.name) == 0)
            rc =
                err_set(e, ERR_DENIED,
                        "operator '%s' has signed this already: another operator has to", who.name);
    cosign_close(&before);
    return rc;
}

int cosign_add(struct bytes file, SSL_CTX *own, char **pem, size_t *n, struct err *e)
{
    *pem = NULL;
    CMS_ContentInfo *cms = parse(file, e);
    int rc = cms == NULL ? ERR_FORMAT : may_add(cms, own, e);
    if (rc == 0)
        rc = sign(cms, own, CMS_REUSE_DIGEST, e);
    if (rc == 0)
        rc = write_pem(cms, pem, n, e);
    CMS_ContentInfo_free(cms);
    ERR_clear_error();
    return rc;
}
