/* Text from and to the outside: UTF-8 and base64. */
#ifndef STORE_CORE_TEXT_H
#define STORE_CORE_TEXT_H

#include "store/core/bytes.h"

/* Bytes of the well-formed UTF-8 sequence (RFC 3629: no overlong forms, no surrogates) that `b` begins with; 0 when it begins
 * with none. */
size_t utf8_length(struct bytes b);
bool utf8_valid(struct bytes b, size_t *bad_at); /* bad_at may be NULL */

/* RFC 4648 with padding. out holds BASE64_BYTES(n). */
#define BASE64_BYTES(n) (((n) + 2) / 3 * 4 + 1)
size_t base64_encode(struct bytes b, char *out);
/* Strict; returns the decoded length (at most b.n / 4 * 3) or -1. */
long base64_decode(struct bytes b, uint8_t *out);

#endif
