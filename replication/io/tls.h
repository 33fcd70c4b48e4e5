/* TLS contexts and identities. TLS 1.3 only, mutual, no resumption, no tickets, no early data. */
#ifndef REPLICATION_IO_TLS_H
#define REPLICATION_IO_TLS_H

#include "replication/core/wire.h"
#include "store/core/err.h"

#include <limits.h>
#include <openssl/ssl.h>

struct tls_files {
    const char *ca;   /* PEM: one or more trusted CAs */
    const char *cert; /* PEM: leaf first, then intermediates */
    const char *key;  /* PEM; must not be readable by group or others */
    const char *crl;  /* PEM, or NULL */
};

/* A context that serves both directions. Errors name the file and what to do (missing, key does not match, expired since
 * ..., key file readable by others). Owned by the caller: SSL_CTX_free. */
int tls_context(const struct tls_files *files, SSL_CTX **out, struct err *e);

/* Who a verified certificate is: exactly one URI SAN "triveni://<cluster>/site/<name>", ".../client/<name>" or
 * ".../operator/<name>". */
struct identity {
    enum wire_kind kind;
    char cluster[64];
    char name[CLIENT_NAME_MAX_BYTES + 1];
};
/* "triveni://..." to its parts, byte by byte; 0 or ERR_DENIED with the reason. */
int identity_parse(struct bytes uri, struct identity *out, struct err *e);
int identity_of_cert(X509 *cert, struct identity *out, struct err *e);
/* May this be a cluster or name: 1..max_bytes of letters, digits, '.', '_', '-' and '@'? */
bool identity_part_ok(struct bytes part, size_t max_bytes);
const char *
identity_kind_name(enum wire_kind kind); /* "site", "client", "operator"; "nobody" otherwise */
/* From the peer of a finished handshake. 0 or ERR_DENIED with the reason (no or several URI SANs, other cluster). */
int tls_peer_identity(SSL *ssl, const char *cluster, struct identity *out, struct err *e);
/* Would `ctx` still accept the peer of an established connection? Trust and revocation only, not time: a clock that jumps must
 * not cut all links at once. 0 or ERR_DENIED. */
int tls_recheck(SSL *ssl, SSL_CTX *ctx, struct err *e);
/* Own identity, from the certificate file. */
int tls_own_identity(const char *cert_file, struct identity *out, struct err *e);
/* Is the own certificate that of this site? 0, or ERR_DENIED with whose it is: otherwise only the others would say so. */
int tls_check_site(const char *cert_file, const char *cluster, const char *site, struct err *e);
/* Seconds until the certificate expires (negative: since). */
int tls_seconds_left(const char *cert_file, int64_t *out, struct err *e);
int64_t tls_seconds_until(const ASN1_TIME *when);

/* What is wrong with a certificate that failed verification with X509_V_ERR_..., and what to do: "expired 3 days ago
 * (triveni://gov/site/dr): renew it ...". `cert` may be NULL. */
enum { TLS_TEXT_BYTES = 416 };
void tls_verdict(int verify_error, X509 *cert, char out[TLS_TEXT_BYTES]);
/* The same of a verification that failed. Names whose certificate it is, also where it is his CA that is not trusted. */
void tls_verdict_of(X509_STORE_CTX *store, char out[TLS_TEXT_BYTES]);
/* In place of flags: neither the time nor revocations count. */
#define TLS_AS_OF_THEN ULONG_MAX
/* Does the store accept the certificate for this purpose now? 0, or ERR_DENIED and the verdict. `chain` may be NULL. */
int tls_verify_cert(X509_STORE *store, X509 *leaf, STACK_OF(X509) * chain, int purpose,
                    unsigned long flags, char verdict[TLS_TEXT_BYTES]);

#endif
