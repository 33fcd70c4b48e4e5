/* Where a key-encryption key comes from. One text says it, in the configuration and on the command line:
 *
 *   PATH                           a file with 64 hex digits that only its owner can access
 *   command:/PATH WORD...          what a program writes: 64 hex digits (program.h: no shell, a time limit)
 *   pkcs11:…?module-path=…         an AES-256 key in a token, which never leaves it (token.h) */
#ifndef REPOSITORY_IO_KEK_H
#define REPOSITORY_IO_KEK_H

#include "repository/io/crypto.h"

/* The error names the source. See repo_kek_load, repo_program_run, repo_token_open for codes. */
int repo_kek_open(const char *source, struct repo_kek *out, struct err *e);
/* Closes the token, wipes the key. Of a zeroed one: nothing. */
void repo_kek_close(struct repo_kek *kek);

/* Is `id`, as a wrapped key names it, that of this KEK? */
bool repo_kek_is(const struct repo_kek *kek, const uint8_t id[REPO_KEK_ID_BYTES]);
/* What is written into wrapped keys, as hex. */
enum { REPO_KEK_HEX_BYTES = 2 * REPO_KEK_ID_BYTES + 1 };
void repo_kek_hex(const uint8_t id[REPO_KEK_ID_BYTES], char out[REPO_KEK_HEX_BYTES]);

#endif
