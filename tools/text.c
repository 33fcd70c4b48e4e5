/* Times; see text.h. */
#include "tools/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

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

/* "IST", "Europe/Berlin", "[Europe/Berlin]": two letters or more. */
static bool is_zone_name(const char *p)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    return strspn(*p == '[' ? p + 1 : p, letters) > 1;
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
    if (is_zone_name(p))
        return err_set(
            e, ERR_USAGE,
            "time '%.40s': '%.40s' is the name of a zone, which means several offsets in "
            "different places and seasons; write the one that is meant, such as +05:30",
            text, p);
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
