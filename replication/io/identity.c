/* Who a certificate is.
 *
 * The name of a site, client or operator is the one URI in the certificate's subject alternative names; the common name and
 * host names count for nothing. Exactly one URI: with two, what is checked in one place could differ from what is used in
 * another. The alphabet of the parts leaves no room for NUL, '/', wildcards or control characters, so that the text
 * can be compared byte for byte and written to logs as it is. */
#include "replication/io/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static const char scheme[] = "triveni://";
static const char *const kind_names[] = {"nobody", "site", "client", "operator"};

const char *identity_kind_name(enum wire_kind kind)
{
    unsigned k = (unsigned)kind;
    return kind_names[k <= WIRE_OPERATOR ? k : 0];
}

bool identity_part_ok(struct bytes part, size_t max_bytes)
{
    if (part.n == 0 || part.n > max_bytes)
        return false;
    for (size_t i = 0; i < part.n; i++) {
        uint8_t c = part.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == 0 || strchr("._-@", c) == NULL))
            return false;
    }
    return true;
}

static struct bytes until_slash(struct bytes b)
{
    const uint8_t *slash = b.n == 0 ? NULL : memchr(b.p, '/', b.n);
    return bytes_of(b.p, slash == NULL ? b.n : (size_t)(slash - b.p));
}

static struct bytes after(struct bytes whole, struct bytes part)
{
    size_t skip = part.n < whole.n ? part.n + 1 : part.n;
    return bytes_of(whole.p + skip, whole.n - skip);
}

int identity_parse(struct bytes uri, struct identity *out, struct err *e)
{
    size_t prefix = sizeof scheme - 1;
    if (uri.n < prefix || memcmp(uri.p, scheme, prefix) != 0)
        return err_set(e, ERR_DENIED, "its URI name does not begin with %s", scheme);
    struct bytes rest = bytes_of(uri.p + prefix, uri.n - prefix);
    struct bytes cluster = until_slash(rest);
    rest = after(rest, cluster);
    struct bytes kind = until_slash(rest);
    struct bytes name = after(rest, kind);
    *out = (struct identity){0};
    for (unsigned k = WIRE_SITE; k <= WIRE_OPERATOR; k++)
        if (bytes_equal(kind, bytes_str(kind_names[k])))
            out->kind = (enum wire_kind)k;
    if (out->kind == 0 || !identity_part_ok(cluster, sizeof out->cluster - 1) ||
        !identity_part_ok(name, sizeof out->name - 1))
        return err_set(
            e, ERR_DENIED,
            "its URI name is not triveni://<cluster>/site|client|operator/<name> with letters, "
            "digits, '.', '_', '-' and '@'");
    memcpy(out->cluster, cluster.p, cluster.n);
    memcpy(out->name, name.p, name.n);
    return 0;
}

int identity_of_cert(X509 *cert, struct identity *out, struct err *e)
{
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);
    if (names == NULL)
        return err_set(e, ERR_DENIED,
                       critical == -1 ? "it has no subject alternative name"
                                      : "its subject alternative names cannot be read");
    const ASN1_IA5STRING *uri = NULL;
    int uris = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI) {
            uri = name->d.uniformResourceIdentifier;
            uris++;
        }
    }
    int rc;
    if (uris != 1)
        rc = err_set(e, ERR_DENIED, "it has %d URI names where exactly one is needed", uris);
    else
        rc = identity_parse(bytes_of(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri)),
                            out, e);
    GENERAL_NAMES_free(names);
    return rc;
}

int tls_peer_identity(SSL *ssl, const char *cluster, struct identity *out, struct err *e)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    if (cert == NULL || SSL_get_verify_result(ssl) != X509_V_OK)
        return err_set(e, ERR_DENIED, "it showed no certificate that was verified");
    int rc = identity_of_cert(cert, out, e);
    if (rc != 0)
        (void)err_wrap(e, "its certificate is not one of Triveni");
    else if (strcmp(out->cluster, cluster) != 0)
        rc = err_set(e, ERR_DENIED, "its certificate is of cluster %s, this is %s", out->cluster,
                     cluster);
    return rc;
}

static X509 *cert_of_file(const char *path, struct err *e)
{
    ERR_clear_error();
    BIO *in = BIO_new_file(path, "r");
    X509 *cert = in == NULL ? NULL : PEM_read_bio_X509(in, NULL, NULL, NULL);
    if (in == NULL)
        (void)err_set(e, ERR_NOT_FOUND, "certificate %s cannot be opened: %s", path,
                      strerror(errno));
    else if (cert == NULL)
        (void)err_set(e, ERR_CONFIG, "%s holds no PEM certificate", path);
    BIO_free(in);
    ERR_clear_error();
    return cert;
}

int tls_own_identity(const char *cert_file, struct identity *out, struct err *e)
{
    struct err why = ERR_NONE;
    X509 *cert = cert_of_file(cert_file, &why);
    if (cert == NULL)
        return err_set(e, why.code, "%s", why.text);
    int rc = identity_of_cert(cert, out, e);
    if (rc != 0)
        (void)err_wrap(e, "certificate %s", cert_file);
    X509_free(cert);
    return rc;
}

int tls_check_site(const char *cert_file, const char *cluster, const char *site, struct err *e)
{
    struct identity id = {.name = ""};
    int rc = tls_own_identity(cert_file, &id, e);
    if (rc == 0 &&
        (id.kind != WIRE_SITE || strcmp(id.cluster, cluster) != 0 || strcmp(id.name, site) != 0))
        rc = err_set(e, ERR_DENIED,
                     "own certificate %s is that of triveni://%s/%s/%s, this is "
                     "triveni://%s/site/%s: compare tls.cert and site in the configuration",
                     cert_file, id.cluster, identity_kind_name(id.kind), id.name, cluster, site);
    return rc;
}

int64_t tls_seconds_until(const ASN1_TIME *when)
{
    int days = 0, seconds = 0;
    return ASN1_TIME_diff(&days, &seconds, NULL, when) == 1 ? (int64_t)days * 86400 + seconds : 0;
}

int tls_seconds_left(const char *cert_file, int64_t *out, struct err *e)
{
    struct err why = ERR_NONE;
    X509 *cert = cert_of_file(cert_file, &why);
    if (cert == NULL)
        return err_set(e, why.code, "%s", why.text);
    *out = tls_seconds_until(X509_get0_notAfter(cert));
    X509_free(cert);
    return 0;
}
