/* The development CA.
 *
 * A certificate says who somebody is with one URI, triveni://<cluster>/<kind>/<name> (replication/io/identity.c), and what it
 * is for: sites are servers and clients, clients and operators only clients. The CA keeps no database: the cluster's name is in
 * its own subject, serial numbers are random, and revocation is a list of serial numbers.
 *
 * FAILURE MODES: a key is written before its certificate, both without overwriting and synced; after a crash in between the key
 * is in the way of the next attempt, which says so. */
#include "tools/pki.h"

#include "replication/io/tls.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 1024, SERIAL_BITS = 127, CN_MAX_BYTES = 64 };

struct ca {
    X509 *cert;
    EVP_PKEY *key;
    char cluster[64];
};

static void ca_deinit(struct ca *ca)
{
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
    *ca = (struct ca){0};
}

static int path_of(char out[PATH_BYTES], const char *dir, const char *name, const char *suffix,
                   struct err *e)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s%s", dir, name, suffix);
    return n > 0 && n < PATH_BYTES
               ? 0
               : err_set(e, ERR_USAGE, "the path of %s/%s%s is too long", dir, name, suffix);
}

static int crypto_error(const char *what, struct err *e)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    int rc =
        err_set(e, ERR_FAILED, "%s: %s", what, reason == NULL ? "OpenSSL gives no reason" : reason);
    ERR_clear_error();
    return rc;
}

/* ---- files ---- */

static int must_not_exist(const char *path, struct err *e)
{
    struct stat st;
    if (lstat(path, &st) != 0 && errno == ENOENT)
        return 0;
    return err_set(
        e, ERR_EXISTS,
        "%s exists and is not overwritten: choose another name or directory, or move it away",
        path);
}

/* A new file with the content of `pem`; nothing is left behind on failure. */
static int write_new(const char *path, BIO *pem, mode_t mode, struct err *e)
{
    char *bytes = NULL;
    long n = BIO_get_mem_data(pem, &bytes);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return errno == EEXIST ? must_not_exist(path, e)
                               : err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
                                         "%s cannot be created: %s", path, strerror(errno));
    int rc = 0;
    if (n <= 0 || write(fd, bytes, (size_t)n) != n || fsync(fd) != 0)
        rc = err_set(e, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, "%s cannot be written: %s", path,
                     strerror(errno));
    if (close(fd) != 0 && rc == 0)
        rc = err_set(e, ERR_IO, "%s cannot be written: %s", path, strerror(errno));
    if (rc != 0)
        (void)unlink(path);
    return rc;
}

static int save_pair(const char *dir, const char *name, X509 *cert, EVP_PKEY *key, struct err *e)
{
    char crt[PATH_BYTES], pem[PATH_BYTES];
    BIO *cert_pem = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_secmem());
    int rc = path_of(crt, dir, name, ".crt", e);
    if (rc == 0)
        rc = path_of(pem, dir, name, ".key", e);
    if (rc == 0)
        rc = must_not_exist(crt, e);
    if (rc == 0 &&
        (cert_pem == NULL || key_pem == NULL || PEM_write_bio_X509(cert_pem, cert) != 1 ||
         PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1))
        rc = crypto_error("the certificate cannot be encoded", e);
    if (rc == 0)
        rc = write_new(pem, key_pem, 0600, e);
    if (rc == 0) {
        rc = write_new(crt, cert_pem, 0644, e);
        if (rc != 0)
            (void)unlink(pem);
    }
    if (rc == 0)
        rc = file_sync_path(dir, e);
    BIO_free(cert_pem);
    BIO_free(key_pem);
    return rc;
}

/* ---- the CA on disk ---- */

static int read_cert(const char *path, X509 **out, struct err *e)
{
    BIO *in = BIO_new_file(path, "r");
    *out = in == NULL ? NULL : PEM_read_bio_X509(in, NULL, NULL, NULL);
    BIO_free(in);
    ERR_clear_error();
    if (in == NULL)
        return err_set(e, ERR_NOT_FOUND, "%s cannot be opened: %s", path, strerror(errno));
    return *out != NULL ? 0 : err_set(e, ERR_CONFIG, "%s holds no PEM certificate", path);
}

static int read_key(const char *path, EVP_PKEY **out, struct err *e)
{
    char no_password[] = "";
    BIO *in = BIO_new_file(path, "r");
    *out = in == NULL ? NULL : PEM_read_bio_PrivateKey(in, NULL, NULL, no_password);
    BIO_free(in);
    ERR_clear_error();
    if (in == NULL)
        return err_set(e, ERR_NOT_FOUND, "%s cannot be opened: %s", path, strerror(errno));
    return *out != NULL
               ? 0
               : err_set(e, ERR_CONFIG, "%s holds no PEM private key without a password", path);
}

static int ca_load(const char *dir, bool with_key, struct ca *ca, struct err *e)
{
    char path[PATH_BYTES];
    int rc = path_of(path, dir, "ca", ".crt", e);
    if (rc == 0)
        rc = read_cert(path, &ca->cert, e);
    if (rc == ERR_NOT_FOUND)
        rc = err_set(e, ERR_NOT_FOUND, "%s holds no CA (ca.crt): make one with triveni pki init",
                     dir);
    if (rc != 0)
        return rc;
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(ca->cert), NID_organizationName,
                                      ca->cluster, sizeof ca->cluster);
    if (n <= 0 || !identity_part_ok(bytes_str(ca->cluster), sizeof ca->cluster - 1))
        return err_set(e, ERR_CONFIG,
                       "%s was not made by triveni pki: its subject names no cluster", path);
    if (!with_key)
        return 0;
    rc = path_of(path, dir, "ca", ".key", e);
    if (rc == 0)
        rc = read_key(path, &ca->key, e);
    if (rc == 0 && X509_check_private_key(ca->cert, ca->key) != 1)
        rc = err_set(e, ERR_CONFIG, "%s/ca.key does not belong to %s/ca.crt", dir, dir);
    return rc;
}

int pki_cluster(const char *dir, char out[64], struct err *e)
{
    struct ca ca = {0};
    int rc = ca_load(dir, false, &ca, e);
    memcpy(out, ca.cluster, sizeof ca.cluster);
    ca_deinit(&ca);
    return rc;
}

/* ---- certificates ---- */

static bool set_random_serial(X509 *cert)
{
    BIGNUM *n = BN_new();
    bool ok = n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
    BN_free(n);
    return ok;
}

static bool add_name(X509_NAME *name, const char *field, const char *text, size_t max)
{
    size_t n = strlen(text);
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC, (const unsigned char *)text,
                                      (int)(n < max ? n : max), -1, 0) == 1;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool push_name(GENERAL_NAMES *names, int type, ASN1_STRING *value)
{
    GENERAL_NAME *name = value == NULL ? NULL : GENERAL_NAME_new();
    if (name == NULL) {
        ASN1_STRING_free(value);
        return false;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) > 0)
        return true;
    GENERAL_NAME_free(name);
    return false;
}

static bool push_text(GENERAL_NAMES *names, int type, const char *text)
{
    ASN1_STRING *s = ASN1_IA5STRING_new();
    if (s != NULL && ASN1_STRING_set(s, text, -1) != 1) {
        ASN1_STRING_free(s);
        s = NULL;
    }
    return push_name(names, type, s);
}

/* An address is an IP when it reads as one, else a DNS name. */
static bool add_alternative_names(X509 *cert, const char *uri, const struct pki_request *r)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool ok = names != NULL && push_text(names, GEN_URI, uri);
    for (size_t i = 0; ok && i < r->address_count; i++) {
        ASN1_OCTET_STRING *ip = a2i_IPADDRESS(r->addresses[i]);
        ok = ip != NULL ? push_name(names, GEN_IPADD, ip)
                        : push_text(names, GEN_DNS, r->addresses[i]);
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return ok;
}

/* Version, serial number, key, validity and subject: what all certificates have. */
static X509 *cert_new(EVP_PKEY *key, const char *cluster, const char *unit, const char *cn,
                      int64_t from_s, int64_t to_s)
{
    X509 *cert = X509_new();
    if (cert == NULL)
        return NULL;
    time_t now = time(NULL);
    bool ok = X509_set_version(cert, X509_VERSION_3) == 1 && set_random_serial(cert) &&
              X509_set_pubkey(cert, key) == 1 &&
              X509_time_adj_ex(X509_getm_notBefore(cert), (int)(from_s / PKI_DAY_S),
                               (long)(from_s % PKI_DAY_S), &now) != NULL &&
              X509_time_adj_ex(X509_getm_notAfter(cert), (int)(to_s / PKI_DAY_S),
                               (long)(to_s % PKI_DAY_S), &now) != NULL;
    X509_NAME *subject = X509_get_subject_name(cert);
    ok = ok && add_name(subject, "O", cluster, CN_MAX_BYTES) &&
         add_name(subject, "OU", unit, CN_MAX_BYTES) && add_name(subject, "CN", cn, CN_MAX_BYTES);
    if (ok)
        return cert;
    X509_free(cert);
    return NULL;
}

int pki_init(const char *dir, const char *cluster, struct err *e)
{
    if (!identity_part_ok(bytes_str(cluster), 63))
        return err_set(
            e, ERR_USAGE,
            "cluster name '%.80s': 1 to 63 letters, digits, '.', '_', '-' and '@' are allowed",
            cluster);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
                       "directory %s cannot be made: %s", dir, strerror(errno));
    int rc = 0;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key == NULL ? NULL
                             : cert_new(key, cluster, "ca", "Triveni development CA", -PKI_SKEW_S,
                                        (int64_t)PKI_CA_DAYS * PKI_DAY_S);
    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
        X509_sign(cert, key, EVP_sha256()) == 0)
        rc = crypto_error("the CA cannot be made", e);
    if (rc == 0)
        rc = save_pair(dir, "ca", cert, key, e);
    X509_free(cert);
    EVP_PKEY_free(key);
    return rc;
}

static int check_request(const struct pki_request *r, struct err *e)
{
    size_t longest = r->kind == WIRE_SITE ? 32 : CLIENT_NAME_MAX_BYTES;
    if (!identity_part_ok(bytes_str(r->name), longest) || strcmp(r->name, "ca") == 0 ||
        r->name[0] == '.')
        return err_set(e, ERR_USAGE,
                       "%s name '%.140s': 1 to %zu letters, digits, '.', '_', '-' and '@' are "
                       "allowed, not 'ca' and no dot "
                       "in front",
                       identity_kind_name(r->kind), r->name, longest);
    if (r->address_count > PKI_ADDRESSES_MAX)
        return err_set(e, ERR_USAGE, "%zu addresses, at most %d are allowed", r->address_count,
                       PKI_ADDRESSES_MAX);
    for (size_t i = 0; i < r->address_count; i++) {
        const char *a = r->addresses[i];
        size_t n = strlen(a);
        if (n == 0 || n > 253 ||
            strspn(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") != n)
            return err_set(e, ERR_USAGE, "'%.80s' is neither a DNS name nor an IP address", a);
    }
    if (r->not_before_s > r->not_after_s)
        return err_set(e, ERR_USAGE, "the certificate would end before it begins");
    return 0;
}

static X509 *leaf_new(const struct ca *ca, EVP_PKEY *key, const struct pki_request *r)
{
    bool defaults = r->not_before_s == 0 && r->not_after_s == 0;
    int64_t from = defaults ? -PKI_SKEW_S : r->not_before_s;
    int64_t to = defaults ? (int64_t)PKI_LEAF_DAYS * PKI_DAY_S : r->not_after_s;
    X509 *cert = cert_new(key, ca->cluster, identity_kind_name(r->kind), r->name, from, to);
    char uri[256];
    (void)snprintf(uri, sizeof uri, "triveni://%s/%s/%s", ca->cluster, identity_kind_name(r->kind),
                   r->name);
    const char *use = r->kind == WIRE_SITE ? "serverAuth,clientAuth" : "clientAuth";
    if (cert != NULL && X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1 &&
        add_extension(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(cert, ca->cert, NID_key_usage, "critical,digitalSignature") &&
        add_extension(cert, ca->cert, NID_ext_key_usage, use) &&
        add_extension(cert, ca->cert, NID_subject_key_identifier, "hash") &&
        add_extension(cert, ca->cert, NID_authority_key_identifier, "keyid") &&
        add_alternative_names(cert, uri, r) && X509_sign(cert, ca->key, EVP_sha256()) != 0)
        return cert;
    X509_free(cert);
    return NULL;
}

int pki_issue(const char *dir, const struct pki_request *r, struct err *e)
{
    struct ca ca = {0};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    int rc = check_request(r, e);
    if (rc == 0)
        rc = ca_load(dir, true, &ca, e);
    if (rc != 0)
        goto out;
    key = EVP_EC_gen("P-256");
    cert = key == NULL ? NULL : leaf_new(&ca, key, r);
    rc = cert == NULL ? crypto_error("the certificate cannot be made", e)
                      : save_pair(dir, r->name, cert, key, e);
out:
    X509_free(cert);
    EVP_PKEY_free(key);
    ca_deinit(&ca);
    return rc;
}

/* ---- revocation ---- */

static X509_CRL *crl_load(const char *path)
{
    BIO *in = BIO_new_file(path, "r");
    X509_CRL *crl = in == NULL ? NULL : PEM_read_bio_X509_CRL(in, NULL, NULL, NULL);
    BIO_free(in);
    ERR_clear_error();
    return crl;
}

static bool crl_add(X509_CRL *crl, const X509 *cert, const ASN1_TIME *now)
{
    X509_REVOKED *present = NULL;
    if (X509_CRL_get0_by_serial(crl, &present, X509_get0_serialNumber(cert)) == 1)
        return true;
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_INTEGER *serial = ASN1_INTEGER_dup(X509_get0_serialNumber(cert));
    bool ok = entry != NULL && serial != NULL &&
              X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
              X509_REVOKED_set_revocationDate(entry, (ASN1_TIME *)(uintptr_t)now) == 1 &&
              X509_CRL_add0_revoked(crl, entry) == 1;
    if (!ok)
        X509_REVOKED_free(entry);
    ASN1_INTEGER_free(serial);
    return ok;
}

static bool crl_sign(X509_CRL *crl, const struct ca *ca, const ASN1_TIME *now)
{
    ASN1_TIME *next = ASN1_TIME_adj(NULL, time(NULL), PKI_CRL_DAYS, 0);
    bool ok = next != NULL && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
              X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) == 1 &&
              X509_CRL_set1_lastUpdate(crl, now) == 1 && X509_CRL_set1_nextUpdate(crl, next) == 1 &&
              X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, ca->key, EVP_sha256()) != 0;
    ASN1_TIME_free(next);
    return ok;
}

/* Readers see the old list or the new one. */
static int crl_save(const char *dir, const char *path, X509_CRL *crl, struct err *e)
{
    char temporary[PATH_BYTES];
    BIO *pem = BIO_new(BIO_s_mem());
    int rc = path_of(temporary, dir, "ca", ".crl.new", e);
    if (rc == 0 && (pem == NULL || PEM_write_bio_X509_CRL(pem, crl) != 1))
        rc = crypto_error("the revocation list cannot be encoded", e);
    if (rc == 0) {
        (void)unlink(temporary); /* left by a crash */
        rc = write_new(temporary, pem, 0644, e);
    }
    if (rc == 0 && rename(temporary, path) != 0)
        rc = err_set(e, ERR_IO, "%s cannot be replaced: %s", path, strerror(errno));
    if (rc == 0)
        rc = file_sync_path(dir, e);
    BIO_free(pem);
    return rc;
}

int pki_revoke(const char *dir, const char *cert_file, struct err *e)
{
    struct ca ca = {0};
    char path[PATH_BYTES];
    X509 *cert = NULL;
    X509_CRL *crl = NULL;
    ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL));
    int rc = ca_load(dir, true, &ca, e);
    if (rc == 0)
        rc = path_of(path, dir, "ca", ".crl", e);
    if (rc == 0 && cert_file != NULL)
        rc = read_cert(cert_file, &cert, e);
    if (rc == 0 && cert != NULL && X509_verify(cert, ca.key) != 1)
        rc = err_set(e, ERR_DENIED, "%s was not issued by the CA in %s: only that CA can revoke it",
                     cert_file, dir);
    if (rc != 0)
        goto out;
    crl = crl_load(path);
    if (crl == NULL && access(path, F_OK) == 0)
        rc = err_set(e, ERR_CONFIG,
                     "%s holds no PEM revocation list: restore it, or nobody knows who was revoked",
                     path);
    else if (crl == NULL)
        crl = X509_CRL_new();
    if (rc == 0 && (crl == NULL || now == NULL || (cert != NULL && !crl_add(crl, cert, now)) ||
                    !crl_sign(crl, &ca, now)))
        rc = crypto_error("the revocation list cannot be made", e);
    if (rc == 0)
        rc = crl_save(dir, path, crl, e);
out:
    ERR_clear_error();
    ASN1_TIME_free(now);
    X509_CRL_free(crl);
    X509_free(cert);
    ca_deinit(&ca);
    return rc;
}
