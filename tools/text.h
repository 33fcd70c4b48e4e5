/* Text from and to the outside, pure: UTF-8, base64, times. */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include "store/core/bytes.h"
#include "store/core/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the well-formed UTF-8 sequence (RFC 3629: no overlong forms, no surrogates) that `b` begins with; 0 when it begins
 * with none. */
size_t utf8_length(struct bytes b);
bool utf8_valid(struct bytes b, size_t *bad_at); /* bad_at may be NULL */

/* RFC 4648 with padding. out holds BASE64_BYTES(n). */
#define BASE64_BYTES(n) (((n) + 2) / 3 * 4 + 1)
size_t base64_encode(struct bytes b, char *out);
/* Strict; returns the decoded length (at most b.n / 4 * 3) or -1. */
long base64_decode(struct bytes b, uint8_t *out);

/* ---- times ---- */
enum { UTC_TEXT_BYTES = 96, LOCAL_TEXT_BYTES = 128 };
/* "2026-11-24T03:18:21.123456Z" */
const char *utc_text(struct utc t, char out[UTC_TEXT_BYTES]);
/* The same instant on this machine's clock: "2026-11-24 08:48:21.123456 +0530 (IST)" */
const char *local_text(struct utc t, char out[LOCAL_TEXT_BYTES]);
/* ISO 8601: date, 'T' or space, hours and minutes, optional seconds and fraction (up to 6 digits), then Z or an offset (+05:30,
 * +0530, +05). A text without an offset is refused with the reason: the same words mean another instant elsewhere. */
int utc_parse(const char *text, struct utc *out, struct err *e);

#endif
