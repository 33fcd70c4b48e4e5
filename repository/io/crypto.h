/* Keys and ciphers of the archive, through OpenSSL: the key-encryption key from its file, AES-KWP, HKDF-SHA256, HMAC-SHA256
 * and the segments of core/segment.h. Whatever is asked for and not available is an error; nothing is ever left
 * unencrypted. */
#ifndef REPOSITORY_IO_CRYPTO_H
#define REPOSITORY_IO_CRYPTO_H

#include "repository/core/segment.h"
#include "store/core/bytes.h"

enum {
    REPO_KEY_BYTES = 32,
    REPO_WRAPPED_BYTES = 40, /* RFC 5649: 32 bytes of key, 8 of integrity check */
    REPO_KEK_ID_BYTES = 8,
    REPO_MAC_BYTES = 32,
};

struct repo_token; /* token.h */
struct repo_kek {
    uint8_t key[REPO_KEY_BYTES];   /* zero when it stays in a token */
    struct repo_token *token;      /* NULL: it does not */
    uint8_t id[REPO_KEK_ID_BYTES]; /* first 8 bytes of SHA-256("triveni kek" || key) */
    /* What a token can tell of its key: first 8 bytes of SHA-256("triveni kek" || 32 zero bytes wrapped under it). A key that
     * lies in a token and on paper is known by both. */
    uint8_t token_id[REPO_KEK_ID_BYTES];
};
struct repo_key { /* data key of one object */
    uint8_t b[REPO_KEY_BYTES];
};

/* Read 64 hex digits (and at most a line end) from a regular file that group and others cannot access. ERR_DENIED when they
 * can, ERR_NOT_FOUND, ERR_FORMAT (tells nothing of the contents). Clear with repo_wipe. */
int repo_kek_load(const char *path, struct repo_kek *out, struct err *e);
/* The same from its n hex digits, at most 64 and a line end, which are wiped. ERR_FORMAT without a word of where they are
 * from. */
int repo_kek_of_text(char *text, size_t n, struct repo_kek *out, struct err *e);
void repo_wipe(void *p, size_t n);
int repo_random(void *p, size_t n, struct err *e);

/* RFC 5649, in the token when the KEK is there. unwrap gives ERR_DENIED when the wrapped bytes are not of this KEK or are
 * damaged. */
int repo_key_wrap(const struct repo_kek *kek, const struct repo_key *key,
                  uint8_t out[REPO_WRAPPED_BYTES], struct err *e);
int repo_key_unwrap(const struct repo_kek *kek, const uint8_t wrapped[REPO_WRAPPED_BYTES],
                    struct repo_key *out, struct err *e);

/* HMAC-SHA256 of `text` under HKDF-SHA256(ikm = data key, no salt, info = identity). */
int repo_mac(const struct repo_key *key, const char *identity, struct bytes text,
             uint8_t out[REPO_MAC_BYTES], struct err *e);

/* ---- segments ---- */
struct
    repo_cipher; /* opaque: one object's derived key and nonce prefix, either to seal or to open */
/* For sealing pass seal = true: salt and prefix are drawn and written to header. For opening header is what the object begins
 * with. ERR_FORMAT when its length byte is not 40. */
int repo_cipher_new(struct repo_cipher **out, bool seal, const struct repo_key *key,
                    const char *identity, uint8_t header[REPO_CIPHER_HEADER_BYTES], struct err *e);
void repo_cipher_free(struct repo_cipher *c);
/* plain.n bytes to out[plain.n + 16]. */
int repo_cipher_seal(struct repo_cipher *c, uint32_t index, bool last, struct bytes plain,
                     uint8_t *out, struct err *e);
/* sealed.n bytes to out[sealed.n - 16]. ERR_INTEGRITY when the segment is not authentic; then out holds zeros. */
int repo_cipher_open(struct repo_cipher *c, uint32_t index, bool last, struct bytes sealed,
                     uint8_t *out, struct err *e);

/* ---- running SHA-256, for objects that do not fit into memory ---- */
struct repo_sha; /* opaque */
int repo_sha_new(struct repo_sha **out, struct err *e);
void repo_sha_add(struct repo_sha *s, struct bytes b);
struct sha256 repo_sha_end(struct repo_sha *s); /* then begins anew */
void repo_sha_free(struct repo_sha *s);

#endif
