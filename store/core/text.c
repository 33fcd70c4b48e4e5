/* UTF-8 and base64; see text.h. */
#include "store/core/text.h"

#include <string.h>

/* ---- UTF-8 ---- */

size_t utf8_length(struct bytes b)
{
    if (b.n == 0)
        return 0;
    uint8_t c = b.p[0];
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || b.n < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((b.p[i] & 0xc0) != 0x80)
            return 0;
    uint8_t d = b.p[1];
    if ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) ||
        (c == 0xf4 && d > 0x8f))
        return 0;
    return n;
}

bool utf8_valid(struct bytes b, size_t *bad_at)
{
    for (size_t i = 0; i < b.n;) {
        size_t n = utf8_length(bytes_of(b.p + i, b.n - i));
        if (n == 0) {
            if (bad_at != NULL)
                *bad_at = i;
            return false;
        }
        i += n;
    }
    return true;
}

/* ---- base64 ---- */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_encode(struct bytes b, char *out)
{
    size_t at = 0;
    for (size_t i = 0; i < b.n; i += 3) {
        size_t left = b.n - i;
        uint32_t v = (uint32_t)b.p[i] << 16 | (uint32_t)(left > 1 ? b.p[i + 1] : 0) << 8 |
                     (uint32_t)(left > 2 ? b.p[i + 2] : 0);
        out[at++] = base64_digits[v >> 18];
        out[at++] = base64_digits[v >> 12 & 63];
        out[at++] = left > 1 ? base64_digits[v >> 6 & 63] : '=';
        out[at++] = left > 2 ? base64_digits[v & 63] : '=';
    }
    out[at] = '\0';
    return at;
}

static int base64_value(uint8_t c)
{
    const char *p = c != 0 ? strchr(base64_digits, c) : NULL;
    return p == NULL ? -1 : (int)(p - base64_digits);
}

long base64_decode(struct bytes b, uint8_t *out)
{
    if (b.n % 4 != 0)
        return -1;
    long n = 0;
    for (size_t i = 0; i < b.n; i += 4) {
        int pad = i + 4 == b.n ? (b.p[i + 3] == '=') + (b.p[i + 2] == '=' && b.p[i + 3] == '=') : 0;
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            int d = k >= (size_t)(4 - pad) ? 0 : base64_value(b.p[i + k]);
            if (d < 0)
                return -1;
            v = v << 6 | (uint32_t)d;
        }
        if ((pad == 1 && (v & 0xff) != 0) || (pad == 2 && (v & 0xffff) != 0))
            return -1; /* one text for each value, so that dumps can be compared */
        for (int k = 0; k < 3 - pad; k++)
            out[n++] = (uint8_t)(v >> (16 - 8 * k));
    }
    return n;
}
