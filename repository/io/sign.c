/* Signing notes.
 *
 * OpenSSL 3 verifies Ed25519 as RFC 8032 says, without randomness on either side, so the same text under the same key is
 * always the same signature. The key never leaves OpenSSL but into its file. */
#include "repository/io/sign.h"

#include "repository/io/crypto.h"
#include "store/core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_FILE_MAX = 4096 };

struct repo_signer {
    EVP_PKEY *pkey;
    struct tlog_key key;
};

static int failed(const char *path, int code, struct err *e)
{
    return err_set(e,
                   code == ENOENT                     ? ERR_NOT_FOUND
                   : code == EACCES || code == EPERM  ? ERR_DENIED
                   : code == EEXIST                   ? ERR_EXISTS
                   : code == ENOSPC || code == EDQUOT ? ERR_NO_SPACE
                                                      : ERR_IO,
                   "checkpoint key %s: %s", path, strerror(code));
}

/* ---- the key file ---- */

static int read_key_file(const char *path, char out[KEY_FILE_MAX], size_t *n, struct err *e)
{
    struct stat st;
    int rc = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return failed(path, errno, e);
    ssize_t got = 0;
    if (fstat(fd, &st) != 0)
        rc = failed(path, errno, e);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "checkpoint key %s: not a regular file", path);
    else if ((st.st_mode & 077) != 0)
        rc = err_set(e, ERR_DENIED,
                     "checkpoint key %s: group or others can access it (mode %04o); run chmod 600 "
                     "on it",
                     path, (unsigned)st.st_mode & 07777);
    else if ((got = read(fd, out, KEY_FILE_MAX)) < 0)
        rc = failed(path, errno, e);
    (void)close(fd);
    *n = got > 0 ? (size_t)got : 0;
    return rc;
}

int repo_signer_load(const char *path, const char *name, enum tlog_key_type type,
                     struct repo_signer **out, struct err *e)
{
    char text[KEY_FILE_MAX];
    uint8_t public_key[TLOG_PUBLIC_KEY_BYTES];
    size_t n = 0, size = sizeof public_key;
    *out = NULL;
    int rc = read_key_file(path, text, &n, e);
    if (rc != 0)
        return rc;
    struct repo_signer *s = calloc(1, sizeof *s);
    BIO *bio = BIO_new_mem_buf(text, (int)n);
    if (s == NULL || bio == NULL) {
        rc = err_set(e, ERR_NO_MEMORY, "no memory for the checkpoint key");
    } else if ((s->pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)) == NULL ||
               EVP_PKEY_get_id(s->pkey) != EVP_PKEY_ED25519 ||
               EVP_PKEY_get_raw_public_key(s->pkey, public_key, &size) != 1 ||
               size != sizeof public_key) {
        rc = err_set(e, ERR_FORMAT,
                     "checkpoint key %s: not an Ed25519 key in PEM; 'openssl genpkey -algorithm "
                     "ed25519' makes one",
                     path);
        ERR_clear_error();
    } else {
        tlog_key_make(name, type, public_key, &s->key);
    }
    BIO_free(bio);
    repo_wipe(text, sizeof text);
    if (rc == 0)
        *out = s;
    else
        repo_signer_free(s);
    return rc;
}

void repo_signer_free(struct repo_signer *s)
{
    if (s == NULL)
        return;
    EVP_PKEY_free(s->pkey);
    free(s);
}

const struct tlog_key *repo_signer_key(const struct repo_signer *s)
{
    return &s->key;
}

static int sync_folder_of(const char *path, struct err *e)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a path");
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? failed(path, errno, e) : 0;
    if (fd >= 0)
        (void)close(fd);
    free(copy);
    return rc;
}

int repo_signer_make(const char *path, struct err *e)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (pkey == NULL || bio == NULL ||
        PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1) {
        ERR_clear_error();
        EVP_PKEY_free(pkey);
        BIO_free(bio);
        return err_set(e, ERR_FAILED, "OpenSSL cannot make an Ed25519 key");
    }
    size_t n = (size_t)BIO_get_mem_data(bio, &text);
    int rc = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        rc = failed(path, errno, e);
    else if (write(fd, text, n) != (ssize_t)n || fsync(fd) != 0)
        rc = failed(path, errno == 0 ? EIO : errno, e);
    if (fd >= 0)
        (void)close(fd);
    if (rc != 0 && fd >= 0)
        (void)unlink(path); /* half a key is worse than none */
    if (rc == 0)
        rc = sync_folder_of(path, e);
    repo_wipe(text, n);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    return rc;
}

/* ---- notes ---- */

static int sign(const struct repo_signer *s, struct bytes text, struct tlog_signature *out,
                struct err *e)
{
    size_t n = sizeof out->bytes;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, s->pkey) == 1 &&
              EVP_DigestSign(ctx, out->bytes, &n, text.p, text.n) == 1 && n == sizeof out->bytes;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok ? 0 : err_set(e, ERR_FAILED, "OpenSSL cannot sign with the key of %s", s->key.name);
}

int repo_note_sign(const struct repo_signer *s, struct bytes text, struct writer *w, struct err *e)
{
    struct tlog_signature signature = {.time_s = 0};
    check(s->key.type == TLOG_KEY_LOG && text.n != 0 && text.p[text.n - 1] == '\n');
    int rc = sign(s, text, &signature, e);
    if (rc != 0)
        return rc;
    write_bytes(w, text);
    tlog_note_sign(w, &s->key, &signature);
    check(!w->bad);
    return 0;
}

/* What is signed under a cosigner's key, allocated. */
static uint8_t *cosigned(struct bytes text, uint64_t time_s, size_t *n, struct err *e)
{
    uint8_t *out = malloc(text.n + TLOG_COSIGNED_EXTRA_BYTES);
    if (out == NULL) {
        (void)err_set(e, ERR_NO_MEMORY, "no memory for a cosignature");
        return NULL;
    }
    struct writer w = writer_of(out, text.n + TLOG_COSIGNED_EXTRA_BYTES);
    tlog_cosigned_text(&w, time_s, text);
    check(!w.bad);
    *n = w.at;
    return out;
}

int repo_note_cosign(const struct repo_signer *s, struct bytes text, uint64_t time_s,
                     struct writer *w, struct err *e)
{
    struct tlog_signature signature = {.time_s = time_s};
    size_t n;
    check(s->key.type == TLOG_KEY_COSIGNER && time_s <= TLOG_SIZE_MAX && text.n != 0 &&
          text.p[text.n - 1] == '\n');
    uint8_t *message = cosigned(text, time_s, &n, e);
    if (message == NULL)
        return ERR_NO_MEMORY;
    int rc = sign(s, bytes_of(message, n), &signature, e);
    free(message);
    if (rc != 0)
        return rc;
    tlog_signature_line(w, &s->key, &signature);
    check(!w->bad);
    return 0;
}

static int verify_one(EVP_PKEY *pkey, const struct tlog_key *key, struct bytes text,
                      const struct tlog_signature *signature, struct err *e)
{
    uint8_t *message = NULL;
    int rc = 0;
    if (key->type == TLOG_KEY_COSIGNER) {
        message = cosigned(text, signature->time_s, &text.n, e);
        if (message == NULL)
            return ERR_NO_MEMORY;
        text.p = message;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) != 1)
        rc = err_set(e, ERR_NO_MEMORY, "OpenSSL cannot verify a signature");
    else if (EVP_DigestVerify(ctx, signature->bytes, sizeof signature->bytes, text.p, text.n) != 1)
        rc = err_set(e, ERR_INTEGRITY,
                     "the signature of %s (key id %08x) does not hold: the text was changed or "
                     "signed by somebody else",
                     key->name, key->id);
    EVP_MD_CTX_free(ctx);
    free(message);
    return rc;
}

int repo_note_verify(const struct tlog_note *n, const struct tlog_key *key, uint64_t *time_s,
                     struct err *e)
{
    struct tlog_signature signature;
    uint64_t newest = 0;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->public_key,
                                                 sizeof key->public_key);
    int rc = pkey == NULL ? err_set(e, ERR_FORMAT, "OpenSSL does not take the verifier key") : 0;
    unsigned count = 0;
    for (; rc == 0; count++) {
        rc = tlog_note_signature(n, key, count, &signature, e);
        if (rc != 0)
            break;
        rc = verify_one(pkey, key, n->text, &signature, e);
        if (signature.time_s > newest)
            newest = signature.time_s;
    }
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    if (time_s != NULL)
        *time_s = newest;
    if (rc == ERR_NOT_FOUND && count != 0)
        return 0;
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_INTEGRITY, "not signed by %s (key id %08x)", key->name, key->id);
    return rc == ERR_FORMAT ? err_set(e, ERR_INTEGRITY, "the signature of %s is none", key->name)
                            : rc;
}
