/* A key-encryption key that stays in a PKCS #11 token (an HSM, a smart card, SoftHSM): the token wraps and unwraps the
 * data keys.
 *
 * Which key is said by an RFC 7512 URI:
 *   pkcs11:token=archive;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/triveni/pin
 * pin-source is a file, or `|` and a command (repository/io/program.h); pin-value is refused, because the URI is no secret. */
#ifndef REPOSITORY_IO_TOKEN_H
#define REPOSITORY_IO_TOKEN_H

#include "repository/io/crypto.h"

struct repo_token; /* opaque: a session; one thread at a time */

/* ERR_CONFIG when the URI or the module is not what it must be, ERR_NOT_FOUND when the token has no such key, ERR_DENIED when it
 * refuses the PIN or the key may not wrap; ERR_IO when there is no such token or it fails. A PIN that was refused is not offered
 * again by this process: most tokens lock after a few. */
int repo_token_open(const char *uri, struct repo_token **out, struct err *e);
void repo_token_close(struct repo_token *t);

/* RFC 5649, in the token. unwrap: ERR_DENIED when the wrapped bytes are not of this KEK or are damaged, ERR_IO when the token
 * fails. */
int repo_token_wrap(struct repo_token *t, const struct repo_key *key,
                    uint8_t out[REPO_WRAPPED_BYTES], struct err *e);
int repo_token_unwrap(struct repo_token *t, const uint8_t wrapped[REPO_WRAPPED_BYTES],
                      struct repo_key *out, struct err *e);

#endif
