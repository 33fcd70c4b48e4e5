#include "store/core/hex.h"

#include "store/core/err.h"

static const char digits[] = "0123456789abcdef";

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void hex_format(const uint8_t *p, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

int hex_parse(const char *text, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(text[2 * i]);
        int low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0)
            return ERR_FORMAT;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * n] == '\0' ? 0 : ERR_FORMAT;
}

static bool dash_at(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

const char *uuid_text(const struct uuid *id, char out[UUID_TEXT_BYTES])
{
    char plain[2 * sizeof id->b + 1];
    hex_format(id->b, sizeof id->b, plain);
    for (size_t i = 0, n = 0; i < UUID_TEXT_BYTES; i++)
        out[i] = dash_at(i) ? '-' : plain[n++];
    return out;
}

int uuid_of_text(const char *text, struct uuid *out)
{
    struct uuid id;
    char plain[2 * sizeof id.b + 1];
    size_t n = 0;
    if (strnlen(text, UUID_TEXT_BYTES) != UUID_TEXT_BYTES - 1)
        return ERR_FORMAT;
    for (size_t i = 0; i < UUID_TEXT_BYTES; i++) {
        char c = text[i];
        if (!dash_at(i))
            plain[n++] = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
        else if (c != '-')
            return ERR_FORMAT;
    }
    if (hex_parse(plain, id.b, sizeof id.b) != 0)
        return ERR_FORMAT;
    *out = id;
    return 0;
}
