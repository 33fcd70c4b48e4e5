/* Ed25519 signatures and cosignatures on notes, through OpenSSL. The private key is a PEM file (PKCS#8), as `openssl genpkey
 * -algorithm ed25519` writes it, accessible to its owner alone. */
#ifndef REPOSITORY_IO_SIGN_H
#define REPOSITORY_IO_SIGN_H

#include "repository/core/tlog_text.h"

struct repo_signer; /* opaque: a private key and its name */

/* ERR_NOT_FOUND, ERR_DENIED when group or others can access the file, ERR_FORMAT when it is no Ed25519 key. */
int repo_signer_load(const char *path, const char *name, enum tlog_key_type type,
                     struct repo_signer **out, struct err *e);
void repo_signer_free(struct repo_signer *s); /* NULL is taken */
const struct tlog_key *repo_signer_key(const struct repo_signer *s);
/* Draw a key and write it to a file that must not exist (ERR_EXISTS), mode 0600, durably. */
int repo_signer_make(const char *path, struct err *e);

/* The note: `text` (which ends in a line feed), empty line, signature. */
int repo_note_sign(const struct repo_signer *s, struct bytes text, struct writer *w, struct err *e);
/* The line of a cosignature on a note's text. Requires a cosigner's key and time_s <= TLOG_SIZE_MAX. */
int repo_note_cosign(const struct repo_signer *s, struct bytes text, uint64_t time_s,
                     struct writer *w, struct err *e);
/* ERR_INTEGRITY unless the key signed the note; every signature under its name and id must hold. *time_s (may be NULL): when,
 * the newest of its times, as a cosigner says; 0 for the log's key. */
int repo_note_verify(const struct tlog_note *n, const struct tlog_key *key, uint64_t *time_s,
                     struct err *e);

#endif
