/* Bytes as text: hex, and identities as 8-4-4-4-12 hex digits (RFC 4122). What is written is lower case. */
#ifndef STORE_CORE_HEX_H
#define STORE_CORE_HEX_H

#include "store/core/ids.h"

#include <stddef.h>

/* 0 to 15, or -1 for what is no lower-case hex digit. */
int hex_digit(char c);

/* Lower-case hex of n bytes and a NUL to out[2n+1]; and back: exactly 2n lower-case digits, 0 or ERR_FORMAT. */
void hex_format(const uint8_t *p, size_t n, char *out);
int hex_parse(const char *text, uint8_t *out, size_t n);

enum { UUID_TEXT_BYTES = 37 };
const char *uuid_text(const struct uuid *id, char out[UUID_TEXT_BYTES]); /* returns out */
/* Digits of either case. 0, or ERR_FORMAT and *out is not touched. */
int uuid_of_text(const char *text, struct uuid *out);

#endif
