/* OpenSSL 3.0 behind the few operations that the archive needs.
 *
 * Why one key per object and HKDF on top: the data key is drawn at random for one object and used once, so segment
 * numbers can be counters without any state that must survive a crash or a roll-back of a virtual machine; the salt drawn
 * per sealing makes the AES key fresh even if a random generator repeated itself after such a roll-back with other
 * contents, as long as one of the two differs. The identity (cluster and object name) goes into the derivation, so a
 * segment of one object authenticates nowhere else.
 *
 * INVARIANTS
 *   I1  Plaintext of a segment leaves this file only when its tag held.
 *   I2  Key bytes are wiped when they are not needed any more, on every path.
 *
 * FAILURE MODES: OpenSSL failing (out of memory, algorithm not provided) is ERR_FAILED with its own reason and ends the
 * operation; the caller writes nothing. */
#include "repository/io/crypto.h"

#include "repository/core/names.h"
#include "repository/io/token.h"
#include "store/core/check.h"
#include "store/core/hash.h"
#include "store/core/hex.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

static int openssl_failed(const char *what, struct err *e)
{
    char text[160] = "no reason given";
    unsigned long code = ERR_peek_last_error();
    if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return err_set(e, ERR_FAILED, "OpenSSL cannot do %s: %s", what, text);
}

void repo_wipe(void *p, size_t n)
{
    OPENSSL_cleanse(p, n);
}

int repo_random(void *p, size_t n, struct err *e)
{
    check(n <= 1024);
    return RAND_bytes(p, (int)n) == 1 ? 0 : openssl_failed("random bytes", e);
}

/* ---- key-encryption key ---- */

static int kek_check_access(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_FORMAT, "%s: the key must be a regular file", path);
    if ((st.st_mode & 077) != 0)
        return err_set(e, ERR_DENIED,
                       "%s: group or others can access the key (mode %04o); run chmod 600 on it",
                       path, (unsigned)st.st_mode & 07777);
    return 0;
}

int repo_kek_of_text(char *text, size_t n, struct repo_kek *out, struct err *e)
{
    static const struct repo_key zero;
    uint8_t wrapped[REPO_WRAPPED_BYTES];
    memset(out, 0, sizeof *out);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    char digits[2 * REPO_KEY_BYTES + 1] = "";
    if (n < sizeof digits)
        memcpy(digits, text, n);
    repo_wipe(text, n);
    int rc = n + 1 == sizeof digits ? hex_parse(digits, out->key, sizeof out->key) : ERR_FORMAT;
    repo_wipe(digits, sizeof digits);
    if (rc != 0)
        return err_set(e, ERR_FORMAT, "64 lower-case hex digits on one line are expected");
    struct sha256 id = hash_sha256_2(bytes_str("triveni kek"), bytes_of(out->key, sizeof out->key));
    memcpy(out->id, id.b, sizeof out->id);
    rc = repo_key_wrap(out, &zero, wrapped, e);
    id = hash_sha256_2(bytes_str("triveni kek"), bytes_of(wrapped, sizeof wrapped));
    memcpy(out->token_id, id.b, sizeof out->token_id);
    return rc;
}

int repo_kek_load(const char *path, struct repo_kek *out, struct err *e)
{
    char text[2 * REPO_KEY_BYTES + 4] = {0};
    int rc = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_set(e,
                       errno == ENOENT   ? ERR_NOT_FOUND
                       : errno == EACCES ? ERR_DENIED
                                         : ERR_IO,
                       "key file %s: %s", path, strerror(errno));
    rc = kek_check_access(fd, path, e);
    if (rc != 0)
        goto out;
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n < 0) {
        rc = err_set(e, ERR_IO, "key file %s: %s", path, strerror(errno));
        goto out;
    }
    rc = repo_kek_of_text(text, (size_t)n, out, e);
    if (rc != 0)
        err_wrap(e, "key file %s", path);
out:
    repo_wipe(text, sizeof text);
    (void)close(fd);
    return rc;
}

/* ---- AES-KWP ---- */

static int kwp(bool wrap, const struct repo_kek *kek, const uint8_t *in, int in_bytes, uint8_t *out,
               int out_bytes)
{
    /* Room for a whole block more than is given back: the cipher may write one while it checks. */
    uint8_t block[REPO_WRAPPED_BYTES + 16];
    int n = 0, done = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL)
        return ERR_FAILED;
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    int rc = EVP_CipherInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, kek->key, NULL, wrap) == 1
                 ? 0
                 : ERR_FAILED;
    if (rc == 0 && (EVP_CipherUpdate(ctx, block, &n, in, in_bytes) != 1 ||
                    EVP_CipherFinal_ex(ctx, block + n, &done) != 1 || n + done != out_bytes))
        rc = ERR_DENIED;
    if (rc == 0)
        memcpy(out, block, (size_t)out_bytes);
    EVP_CIPHER_CTX_free(ctx);
    repo_wipe(block, sizeof block);
    return rc;
}

int repo_key_wrap(const struct repo_kek *kek, const struct repo_key *key,
                  uint8_t out[REPO_WRAPPED_BYTES], struct err *e)
{
    if (kek->token != NULL)
        return repo_token_wrap(kek->token, key, out, e);
    int rc = kwp(true, kek, key->b, REPO_KEY_BYTES, out, REPO_WRAPPED_BYTES);
    return rc == 0 ? 0 : openssl_failed("AES-KWP", e);
}

int repo_key_unwrap(const struct repo_kek *kek, const uint8_t wrapped[REPO_WRAPPED_BYTES],
                    struct repo_key *out, struct err *e)
{
    if (kek->token != NULL)
        return repo_token_unwrap(kek->token, wrapped, out, e);
    int rc = kwp(false, kek, wrapped, REPO_WRAPPED_BYTES, out->b, REPO_KEY_BYTES);
    if (rc == ERR_FAILED)
        return openssl_failed("AES-KWP", e);
    ERR_clear_error();
    return rc == 0 ? 0
                   : err_set(e, ERR_DENIED,
                             "the wrapped key is damaged or was wrapped under another KEK");
}

/* ---- HKDF and HMAC ---- */

static int hkdf(const struct repo_key *key, struct bytes salt, const char *info,
                uint8_t out[REPO_KEY_BYTES], struct err *e)
{
    char hash[] = "SHA256";
    uint8_t ikm[REPO_KEY_BYTES], salt_copy[REPO_SALT_BYTES];
    char info_copy[REPO_IDENTITY_BYTES];
    size_t info_bytes = strlen(info);
    check(salt.n <= sizeof salt_copy && info_bytes < sizeof info_copy);
    memcpy(ikm, key->b, sizeof ikm);
    memcpy(info_copy, info, info_bytes);
    OSSL_PARAM params[5], *p = params;
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, hash, 0);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, ikm, sizeof ikm);
    if (salt.n != 0) {
        memcpy(salt_copy, salt.p, salt.n);
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt_copy, salt.n);
    }
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info_copy, info_bytes);
    *p = OSSL_PARAM_construct_end();

    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    int rc = 0;
    if (ctx == NULL || EVP_KDF_derive(ctx, out, REPO_KEY_BYTES, params) != 1)
        rc = openssl_failed("HKDF-SHA256", e);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    repo_wipe(ikm, sizeof ikm);
    return rc;
}

int repo_mac(const struct repo_key *key, const char *identity, struct bytes text,
             uint8_t out[REPO_MAC_BYTES], struct err *e)
{
    uint8_t mac_key[REPO_KEY_BYTES];
    size_t n = 0;
    int rc = hkdf(key, (struct bytes){NULL, 0}, identity, mac_key, e);
    if (rc == 0 && (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, mac_key, sizeof mac_key, text.p,
                              text.n, out, REPO_MAC_BYTES, &n) == NULL ||
                    n != REPO_MAC_BYTES))
        rc = openssl_failed("HMAC-SHA256", e);
    repo_wipe(mac_key, sizeof mac_key);
    return rc;
}

/* ---- segments ---- */

struct repo_cipher {
    EVP_CIPHER_CTX *ctx;
    bool seal;
    uint8_t prefix[REPO_NONCE_PREFIX_BYTES];
};

void repo_cipher_free(struct repo_cipher *c)
{
    if (c == NULL)
        return;
    EVP_CIPHER_CTX_free(c->ctx); /* wipes the key schedule */
    free(c);
}

int repo_cipher_new(struct repo_cipher **out, bool seal, const struct repo_key *key,
                    const char *identity, uint8_t header[REPO_CIPHER_HEADER_BYTES], struct err *e)
{
    uint8_t derived[REPO_KEY_BYTES];
    struct repo_cipher *c = NULL;
    int rc = 0;
    *out = NULL;
    if (seal) {
        header[0] = REPO_CIPHER_HEADER_BYTES;
        rc = repo_random(header + 1, REPO_CIPHER_HEADER_BYTES - 1, e);
    } else if (header[0] != REPO_CIPHER_HEADER_BYTES) {
        rc = err_set(e, ERR_FORMAT, "byte 0 is %u where an encrypted object has %d", header[0],
                     REPO_CIPHER_HEADER_BYTES);
    }
    if (rc == 0)
        rc = hkdf(key, bytes_of(header + 1, REPO_SALT_BYTES), identity, derived, e);
    if (rc != 0)
        return rc;
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        rc = err_set(e, ERR_NO_MEMORY, "no memory for a cipher");
        goto out;
    }
    c->seal = seal;
    memcpy(c->prefix, header + 1 + REPO_SALT_BYTES, sizeof c->prefix);
    c->ctx = EVP_CIPHER_CTX_new();
    if (c->ctx == NULL ||
        EVP_CipherInit_ex(c->ctx, EVP_aes_256_gcm(), NULL, derived, NULL, seal) != 1) {
        rc = openssl_failed("AES-256-GCM", e);
        goto out;
    }
    *out = c;
    c = NULL;
out:
    repo_cipher_free(c);
    repo_wipe(derived, sizeof derived);
    return rc;
}

int repo_cipher_seal(struct repo_cipher *c, uint32_t index, bool last, struct bytes plain,
                     uint8_t *out, struct err *e)
{
    uint8_t nonce[REPO_NONCE_BYTES];
    int n = 0, more = 0;
    check(c->seal && plain.n <= REPO_SEGMENT_PLAIN_BYTES);
    repo_segment_nonce(c->prefix, index, last, nonce);
    if (EVP_CipherInit_ex(c->ctx, NULL, NULL, NULL, nonce, 1) != 1 ||
        EVP_CipherUpdate(c->ctx, out, &n, plain.p, (int)plain.n) != 1 ||
        EVP_CipherFinal_ex(c->ctx, out + n, &more) != 1 || (size_t)(n + more) != plain.n ||
        EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_GET_TAG, REPO_TAG_BYTES, out + plain.n) != 1)
        return openssl_failed("AES-256-GCM encryption", e);
    return 0;
}

int repo_cipher_open(struct repo_cipher *c, uint32_t index, bool last, struct bytes sealed,
                     uint8_t *out, struct err *e)
{
    uint8_t nonce[REPO_NONCE_BYTES], tag[REPO_TAG_BYTES];
    int n = 0, more = 0;
    check(!c->seal && sealed.n >= REPO_TAG_BYTES && sealed.n <= REPO_SEGMENT_BYTES);
    size_t plain = sealed.n - REPO_TAG_BYTES;
    memcpy(tag, sealed.p + plain, sizeof tag);
    repo_segment_nonce(c->prefix, index, last, nonce);
    if (EVP_CipherInit_ex(c->ctx, NULL, NULL, NULL, nonce, 0) != 1 ||
        EVP_CipherUpdate(c->ctx, out, &n, sealed.p, (int)plain) != 1 ||
        EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_SET_TAG, REPO_TAG_BYTES, tag) != 1)
        return openssl_failed("AES-256-GCM decryption", e);
    if (EVP_CipherFinal_ex(c->ctx, out + n, &more) != 1) {
        ERR_clear_error();
        memset(out, 0, plain);
        return err_set(e, ERR_INTEGRITY, "the bytes are not those that were sealed (tag mismatch)");
    }
    return 0;
}

/* ---- running SHA-256 ---- */

struct repo_sha {
    EVP_MD_CTX *ctx;
};

void repo_sha_free(struct repo_sha *s)
{
    if (s == NULL)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

int repo_sha_new(struct repo_sha **out, struct err *e)
{
    struct repo_sha *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a hash");
    s->ctx = EVP_MD_CTX_new();
    if (s->ctx != NULL && EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) == 1)
        return 0;
    repo_sha_free(s);
    *out = NULL;
    return openssl_failed("SHA-256", e);
}

void repo_sha_add(struct repo_sha *s, struct bytes b)
{
    /* Cannot fail after a successful init. */
    check(b.n == 0 || EVP_DigestUpdate(s->ctx, b.p, b.n) == 1);
}

struct sha256 repo_sha_end(struct repo_sha *s)
{
    struct sha256 out;
    check(EVP_DigestFinal_ex(s->ctx, out.b, NULL) == 1);
    check(EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) == 1);
    return out;
}
