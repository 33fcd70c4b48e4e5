/* Signatures of operators on a text, as a file that public tools read: CMS SignedData (RFC 5652) in PEM, with the text inside and
 * a SignerInfo and the certificate of each who signed.
 *
 *   openssl cms -verify -inform PEM -in FILE -CAfile ca.crt -purpose sslclient
 *
 * shows the text and checks the signatures. What the text is, and whose signatures suffice, is not decided here
 * (replication/core/warrant.h). */
#ifndef REPLICATION_IO_COSIGN_H
#define REPLICATION_IO_COSIGN_H

#include "replication/io/tls.h"

enum { COSIGN_MAX_BYTES = 64 << 10, COSIGN_SIGNERS_MAX = 4 };

struct cosigned {
    uint8_t *text; /* owned */
    size_t bytes;
    uint32_t count;
    struct identity who[COSIGN_SIGNERS_MAX]; /* operators of one cluster, each another person */
};

/* Sign with the certificate and the key of `own` (tls_context), which must be an operator's: a new file around `text`, or one
 * more signature on a file. *pem is malloc'ed. ERR_DENIED: no operator's, or has signed already. ERR_FORMAT, ERR_INTEGRITY,
 * ERR_DENIED as cosign_open, which looks first at what is to be signed. ERR_FAILED: the key cannot sign. */
int cosign_new(struct bytes text, SSL_CTX *own, char **pem, size_t *n, struct err *e);
int cosign_add(struct bytes file, SSL_CTX *own, char **pem, size_t *n, struct err *e);

/* The text and who signed it. ERR_FORMAT: no such file, or an algorithm that is not taken. ERR_INTEGRITY: a signature does not
 * hold. ERR_DENIED: a certificate that `trust` (tls_context) does not accept now, expired and revoked ones among them, is no
 * operator's, or two that are one person: of one name, or with one key. Release with cosign_close, on success. */
int cosign_open(struct bytes file, SSL_CTX *trust, struct cosigned *out, struct err *e);
/* The same of what was looked at with cosign_open when it was logged: that a certificate has expired or was revoked since changes
 * nothing. */
int cosign_open_logged(struct bytes file, SSL_CTX *trust, struct cosigned *out, struct err *e);
void cosign_close(struct cosigned *c);

#endif
