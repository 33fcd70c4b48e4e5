/* UTF-8, base64 and times; see text.h. */
#include "tools/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

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

/* ---- times ---- */

const char *utc_text(struct utc t, char out[UTC_TEXT_BYTES])
{
    time_t seconds = (time_t)(t.us / 1000000);
    struct tm tm;
    if (t.us / 1000000 > (uint64_t)253402300799 || gmtime_r(&seconds, &tm) == NULL) {
        (void)snprintf(out, UTC_TEXT_BYTES, "after-9999");
        return out;
    }
    (void)snprintf(out, UTC_TEXT_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   (unsigned)(t.us % 1000000));
    return out;
}

const char *local_text(struct utc t, char out[LOCAL_TEXT_BYTES])
{
    time_t seconds = (time_t)(t.us / 1000000);
    struct tm tm;
    if (t.us / 1000000 > (uint64_t)253402300799 || localtime_r(&seconds, &tm) == NULL) {
        (void)snprintf(out, LOCAL_TEXT_BYTES, "after-9999");
        return out;
    }
    char zone[24] = "";
    (void)strftime(zone, sizeof zone, "%z (%Z)", &tm);
    (void)snprintf(out, LOCAL_TEXT_BYTES, "%04d-%02d-%02d %02d:%02d:%02d.%06u %s",
                   tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   (unsigned)(t.us % 1000000), zone);
    return out;
}

/* Exactly n digits; -1 otherwise. */
static int digits(const char **p, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++, ++*p) {
        if (**p < '0' || **p > '9')
            return -1;
        v = v * 10 + (**p - '0');
    }
    return v;
}

static bool expect(const char **p, char c)
{
    if (**p != c)
        return false;
    ++*p;
    return true;
}

static bool leap_year(int y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int days_in_month(int y, int m)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return m == 2 && leap_year(y) ? 29 : days[m - 1];
}

/* Days from 1970-01-01 to y-m-d of the proleptic Gregorian calendar, y >= 1970. */
static int64_t days_from_epoch(int y, int m, int d)
{
    int64_t days = 0;
    for (int i = 1970; i < y; i++)
        days += leap_year(i) ? 366 : 365;
    for (int i = 1; i < m; i++)
        days += days_in_month(y, i);
    return days + d - 1;
}

/* "Z", "+05:30", "+0530", "+05" -> minutes east of UTC. */
static bool parse_offset(const char **p, int *minutes)
{
    *minutes = 0;
    if (expect(p, 'Z') || expect(p, 'z'))
        return true;
    int sign = **p == '+' ? 1 : **p == '-' ? -1 : 0;
    if (sign == 0)
        return false;
    ++*p;
    int h = digits(p, 2);
    int m = 0;
    if (expect(p, ':') || **p != '\0')
        m = digits(p, 2);
    if (h < 0 || h > 14 || m < 0 || m > 59)
        return false;
    *minutes = sign * (h * 60 + m);
    return true;
}

static bool parse_clock(const char **p, int *seconds, int *us)
{
    int h = digits(p, 2);
    if (h < 0 || h > 23 || !expect(p, ':'))
        return false;
    int m = digits(p, 2);
    if (m < 0 || m > 59)
        return false;
    int s = 0;
    *us = 0;
    if (expect(p, ':')) {
        s = digits(p, 2);
        if (s < 0 || s > 59)
            return false;
        if (expect(p, '.') || expect(p, ',')) {
            int scale = 100000;
            if (**p < '0' || **p > '9')
                return false;
            for (; **p >= '0' && **p <= '9'; ++*p, scale /= 10) {
                if (scale == 0)
                    return false;
                *us += (**p - '0') * scale;
            }
        }
    }
    *seconds = h * 3600 + m * 60 + s;
    return true;
}

int utc_parse(const char *text, struct utc *out, struct err *e)
{
    const char *p = text;
    int y = digits(&p, 4);
    bool good = y >= 1970 && expect(&p, '-');
    int mo = good ? digits(&p, 2) : -1;
    good = mo >= 1 && mo <= 12 && expect(&p, '-');
    int d = good ? digits(&p, 2) : -1;
    good = d >= 1 && d <= days_in_month(y, mo) && (expect(&p, 'T') || expect(&p, ' '));
    int seconds = 0;
    int us = 0;
    if (!good || !parse_clock(&p, &seconds, &us))
        return err_set(
            e, ERR_USAGE,
            "time '%.40s' is not understood at character %zu: write 2026-11-24T08:48:21Z or "
            "2026-11-24T14:18:21+05:30",
            text, (size_t)(p - text) + 1);
    if (*p == '\0')
        return err_set(e, ERR_USAGE,
                       "time '%.40s' has no offset: the same words mean different instants in "
                       "different places; "
                       "append Z for UTC or an offset such as +05:30",
                       text);
    if (*p == ' ')
        p++;
    int offset;
    if (!parse_offset(&p, &offset) || *p != '\0')
        return err_set(e, ERR_USAGE,
                       "time '%.40s' is not understood at character %zu: it must end with Z or an "
                       "offset such as "
                       "+05:30",
                       text, (size_t)(p - text) + 1);
    int64_t total = days_from_epoch(y, mo, d) * 86400 + seconds - offset * 60;
    if (total < 0)
        return err_set(e, ERR_USAGE, "time '%.40s' is before 1970", text);
    out->us = (uint64_t)total * 1000000 + (uint64_t)us;
    return 0;
}
