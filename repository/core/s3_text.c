/* Texts of S3. The calendar is Howard Hinnant's days_from_civil, "chrono-Compatible Low-Level Date Algorithms". */
#include "repository/core/s3_text.h"

#include <stdio.h>
#include <string.h>

static const char scheme[] = "s3:";

bool s3_text_is(const char *where)
{
    return strncmp(where, scheme, sizeof scheme - 1) == 0;
}

/* ---- the place ---- */

/* What SigV4 of libcurl 7.88 and every server agree about: a raw = + : or @ in a key is signed in two ways. */
static bool safe_text(const char *p, const char *more)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    for (; *p != '\0'; p++)
        if (strchr(letters, *p) == NULL && strchr(more, *p) == NULL)
            return false;
    return true;
}

static int copy(char *out, size_t cap, struct bytes in, const char *what, struct err *e)
{
    if (in.n >= cap)
        return err_set(e, ERR_USAGE, "%s has %zu bytes, at most %zu are taken", what, in.n,
                       cap - 1);
    memcpy(out, in.p, in.n);
    out[in.n] = '\0';
    return 0;
}

static bool loopback(const char *endpoint)
{
    static const char *const hosts[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        size_t n = strlen(hosts[i]);
        if (strncmp(endpoint, hosts[i], n) == 0 && (endpoint[n] == '\0' || endpoint[n] == ':'))
            return true;
    }
    return false;
}

static int parse_number(struct bytes in, uint32_t most, uint32_t *out, const char *what,
                        struct err *e)
{
    uint32_t n = 0;
    bool good = in.n != 0 && in.n <= 6;
    for (size_t i = 0; good && i < in.n; i++) {
        good = in.p[i] >= '0' && in.p[i] <= '9';
        n = n * 10 + (uint32_t)(in.p[i] - '0');
    }
    if (!good || n == 0 || n > most)
        return err_set(e, ERR_USAGE, "%s must be a whole number from 1 to %u", what, most);
    *out = n;
    return 0;
}

static int parse_choice(struct bytes in, const char *no, const char *yes, bool *out,
                        const char *what, struct err *e)
{
    *out = bytes_equal(in, bytes_str(yes));
    if (*out || bytes_equal(in, bytes_str(no)))
        return 0;
    return err_set(e, ERR_USAGE, "%s must be %s or %s", what, no, yes);
}

static int parse_option(struct bytes name, struct bytes v, struct s3_place *p, struct err *e)
{
    const struct {
        const char *name;
        char *out;
        size_t cap;
    } texts[] = {{"region", p->region, sizeof p->region},
                 {"credentials", p->credentials, sizeof p->credentials},
                 {"ca", p->ca, sizeof p->ca},
                 {"spool", p->spool, sizeof p->spool}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (bytes_equal(name, bytes_str(texts[i].name)))
            return copy(texts[i].out, texts[i].cap, v, texts[i].name, e);
    if (bytes_equal(name, bytes_str("retention")))
        return parse_number(v, S3_RETENTION_DAYS_MAX, &p->retention_days, "retention (days)", e);
    if (bytes_equal(name, bytes_str("timeout")))
        return parse_number(v, 3600, &p->timeout_s, "timeout (seconds)", e);
    if (bytes_equal(name, bytes_str("mode")))
        return parse_choice(v, "compliance", "governance", &p->governance, "mode", e);
    if (bytes_equal(name, bytes_str("lock")))
        return parse_choice(v, "on", "off", &p->unlocked, "lock", e);
    return err_set(
        e, ERR_USAGE,
        "option '%.*s' is unknown: region, credentials, ca, retention, mode, lock, timeout "
        "or spool",
        (int)(name.n < 40 ? name.n : 40), (const char *)name.p);
}

static int parse_options(const char *at, struct s3_place *p, struct err *e)
{
    int rc = 0;
    while (rc == 0 && *at != '\0') {
        size_t n = strcspn(at, "&"), equal = strcspn(at, "=&");
        if (equal == n)
            return err_set(e, ERR_USAGE, "option '%.*s' has no value", (int)(n < 40 ? n : 40), at);
        rc = parse_option(bytes_of(at, equal), bytes_of(at + equal + 1, n - equal - 1), p, e);
        at += n + (at[n] == '&');
    }
    return rc;
}

static int parse_path(const char *at, size_t n, struct s3_place *p, struct err *e)
{
    size_t bucket = strcspn(at, "/?");
    int rc = copy(p->bucket, sizeof p->bucket, bytes_of(at, bucket), "the bucket's name", e);
    if (rc == 0 && (p->bucket[0] == '\0' || !safe_text(p->bucket, "")))
        rc = err_set(e, ERR_USAGE,
                     "the bucket's name is missing, or has other than letters, digits, "
                     "'.', '-' and '_'");
    if (rc != 0 || bucket >= n || bucket + 1 >= n)
        return rc;
    struct bytes prefix = bytes_of(at + bucket + 1, n - bucket - 1);
    rc = copy(p->prefix, sizeof p->prefix - 1, prefix, "the prefix", e);
    if (rc == 0 && !safe_text(p->prefix, "/"))
        rc = err_set(e, ERR_USAGE,
                     "the prefix has other than letters, digits, '.', '-', '_' and '/'");
    if (rc == 0 && p->prefix[prefix.n - 1] != '/')
        memcpy(p->prefix + prefix.n, "/", 2);
    return rc;
}

static int parse(const char *at, struct s3_place *p, struct err *e)
{
    size_t host = strncmp(at, "https://", 8) == 0 ? 8 : strncmp(at, "http://", 7) == 0 ? 7 : 0;
    size_t end = host + strcspn(at + host, "/?"), path = strcspn(at, "?");
    if (host == 0 || end == host)
        return err_set(e, ERR_USAGE, "it must be s3:https://HOST[:PORT]/BUCKET[/PREFIX][?OPTIONS]");
    int rc = copy(p->endpoint, sizeof p->endpoint, bytes_of(at, end), "the endpoint", e);
    if (rc == 0 && !safe_text(p->endpoint + host, ":[]"))
        rc = err_set(e, ERR_USAGE,
                     "the host has other than letters, digits, '.', '-' and '_'; "
                     "credentials do not belong here, name their file");
    if (rc == 0 && host == 7 && !loopback(p->endpoint))
        rc = err_set(e, ERR_USAGE, "plain http is for this machine alone (127.0.0.1): use https");
    if (rc == 0 && at[end] != '/')
        rc = err_set(e, ERR_USAGE, "it names no bucket: s3:%s/BUCKET", p->endpoint);
    if (rc == 0)
        rc = parse_path(at + end + 1, path - end - 1, p, e);
    return rc == 0 && at[path] == '?' ? parse_options(at + path + 1, p, e) : rc;
}

int s3_text_parse(const char *where, struct s3_place *out, struct err *e)
{
    *out = (struct s3_place){.region = "us-east-1", .timeout_s = 15};
    int rc = s3_text_is(where) ? parse(where + sizeof scheme - 1, out, e)
                               : err_set(e, ERR_USAGE, "it does not begin with %s", scheme);
    if (rc != 0)
        err_wrap(e, "%.200s", where);
    return rc;
}

/* ---- versions ---- */

size_t s3_version_choose(const struct s3_version *v, size_t n)
{
    const struct s3_version *oldest = &v[n - 1];
    for (size_t i = 0; i < n; i++)
        if (v[i].bytes == oldest->bytes && strcmp(v[i].etag, oldest->etag) == 0)
            return i;
    return n - 1;
}

bool s3_encode(const char *in, char *out, size_t cap)
{
    size_t at = 0;
    for (; *in != '\0'; in++) {
        char one[2] = {*in, '\0'};
        int n = snprintf(out + at, cap - at, safe_text(one, "~") ? "%c" : "%%%02X",
                         (int)(unsigned char)*in);
        if (n < 0 || (size_t)n >= cap - at)
            return false;
        at += (size_t)n;
    }
    if (at == 0 && cap != 0)
        out[0] = '\0';
    return at < cap;
}

/* ---- dates ---- */

void s3_date_format(uint64_t unix_s, char out[S3_DATE_BYTES])
{
    uint64_t days = unix_s / 86400 + 719468, in_day = unix_s % 86400;
    uint64_t era = days / 146097, doe = days % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    uint64_t month = mp < 10 ? mp + 3 : mp - 9, year = yoe + era * 400 + (month <= 2);
    (void)snprintf(out, S3_DATE_BYTES, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)(year % 10000),
                   (unsigned)month, (unsigned)(doy - (153 * mp + 2) / 5 + 1),
                   (unsigned)(in_day / 3600), (unsigned)(in_day / 60 % 60),
                   (unsigned)(in_day % 60));
}

static bool digits(const char *text, size_t n, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(text[i] - '0');
    }
    return true;
}

int s3_date_parse(const char *text, uint64_t *unix_s)
{
    uint64_t year, month, day, hour, minute, second;
    if (strnlen(text, 20) < 20 || !digits(text, 4, &year) || text[4] != '-' ||
        !digits(text + 5, 2, &month) || text[7] != '-' || !digits(text + 8, 2, &day) ||
        text[10] != 'T' || !digits(text + 11, 2, &hour) || text[13] != ':' ||
        !digits(text + 14, 2, &minute) || text[16] != ':' || !digits(text + 17, 2, &second) ||
        year < 1970 || month < 1 || month > 12 || day < 1 || day > 31)
        return ERR_FORMAT;
    uint64_t y = year - (month <= 2), era = y / 400, yoe = y % 400;
    uint64_t doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    uint64_t days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    *unix_s = ((days * 24 + hour) * 60 + minute) * 60 + second;
    return 0;
}

/* ---- trouble ---- */

static const struct trouble {
    const char *code;
    int ours;
    const char *advice;
} troubles[] = {
    {"AccessDenied", ERR_DENIED,
     "its access key lacks the permission: it needs PutObject, PutObjectRetention, GetObject, "
     "GetObjectVersion, GetObjectRetention, ListBucketVersions and "
     "GetBucketObjectLockConfiguration"},
    {"InvalidAccessKeyId", ERR_DENIED,
     "the service does not know the access key: check the credentials"},
    {"SignatureDoesNotMatch", ERR_DENIED,
     "the secret key is not the one of the access key, or the region is another"},
    {"RequestTimeTooSkewed", ERR_DENIED,
     "this machine's clock and the service's differ: set the clock"},
    {"NoSuchBucket", ERR_CONFIG, "make the bucket, with Object Lock, before it is used"},
    {"QuotaExceeded", ERR_NO_SPACE, "the bucket's or the user's quota is used up: raise it"},
    {"InsufficientCapacity", ERR_NO_SPACE, "the service has no space left"},
    {"EntityTooLarge", ERR_LIMIT, "the service takes no object of that size in one piece"},
};

int s3_trouble(unsigned status, const char *code, const char **advice)
{
    *advice = NULL;
    for (size_t i = 0; i < sizeof troubles / sizeof troubles[0]; i++)
        if (strcmp(code, troubles[i].code) == 0) {
            *advice = troubles[i].advice;
            return troubles[i].ours;
        }
    if (status == 404)
        return ERR_NOT_FOUND;
    if (status == 401 || status == 403) {
        *advice = troubles[0].advice;
        return ERR_DENIED;
    }
    if (status == 507)
        return ERR_NO_SPACE;
    *advice = "ask whoever runs the service";
    return ERR_IO;
}

bool s3_passing(unsigned status, const char *code)
{
    return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 507) ||
           strcmp(code, "SlowDown") == 0 || strcmp(code, "RequestTimeout") == 0;
}
