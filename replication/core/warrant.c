/* The text of a warrant, and whether it may be carried out.
 *
 * Reading is strict by construction: what was read is written again and must give the same bytes. So a text has one meaning, and
 * two programs that accept it have read the same.
 *
 * INVARIANTS
 *   W1  warrant_read(text) succeeds only if warrant_write of its result is text.
 *   W2  warrant_admit is 0 only for two different names, of which one is asked_by. */
#include "replication/core/warrant.h"

#include "store/core/hex.h"
#include "store/core/text.h"

#include <stdio.h>

#define FIRST_LINE "triveni warrant 1"
#define LIFE_MAX_US (UINT64_C(1000000) * WARRANT_LIFE_MAX_S)

/* ---- time: Howard Hinnant, "chrono-compatible low-level date algorithms", days_from_civil and civil_from_days ---- */

void warrant_time_text(struct utc t, char out[WARRANT_TIME_BYTES])
{
    uint64_t seconds = t.us / 1000000, rest = seconds % 86400;
    uint64_t z = seconds / 86400 + 719468, era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    unsigned day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    unsigned year = (unsigned)((yoe + era * 400 + (month <= 2)) % 10000);
    (void)snprintf(out, WARRANT_TIME_BYTES, "%04u-%02u-%02uT%02u:%02u:%02uZ", year, month, day,
                   (unsigned)(rest / 3600), (unsigned)(rest / 60 % 60), (unsigned)(rest % 60));
}

static bool digits(struct bytes b, size_t at, size_t n, uint64_t *out)
{
    *out = 0;
    for (size_t i = at; i < at + n; i++) {
        if (i >= b.n || b.p[i] < '0' || b.p[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(b.p[i] - '0');
    }
    return true;
}

/* What no calendar has is found by writing it again. */
static bool time_of(struct bytes b, struct utc *out)
{
    uint64_t y, m, d, hour, minute, second;
    if (!digits(b, 0, 4, &y) || !digits(b, 5, 2, &m) || !digits(b, 8, 2, &d) ||
        !digits(b, 11, 2, &hour) || !digits(b, 14, 2, &minute) || !digits(b, 17, 2, &second) ||
        y < 1970 || m == 0)
        return false;
    y -= m <= 2;
    uint64_t era = y / 400, yoe = y % 400;
    uint64_t doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    uint64_t days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    out->us = (days * 86400 + hour * 3600 + minute * 60 + second) * 1000000;
    return true;
}

/* ---- the text ---- */

static void write_line(struct writer *w, struct bytes name, struct bytes value)
{
    write_bytes(w, name);
    write_u8(w, ' ');
    write_bytes(w, value);
    write_u8(w, '\n');
}

static void write_field(struct writer *w, const char *name, const char *value)
{
    write_line(w, bytes_str(name), bytes_str(value));
}

void warrant_write(struct writer *w, const struct warrant *x)
{
    char id[UUID_TEXT_BYTES], nonce[WARRANT_NONCE_TEXT], time[WARRANT_TIME_BYTES];
    write_bytes(w, bytes_str(FIRST_LINE "\n"));
    write_line(w, bytes_str("act"), x->act);
    write_bytes(w, bytes_str("cluster "));
    write_line(w, x->cluster, bytes_str(uuid_text(&x->cluster_id, id)));
    write_line(w, bytes_str("asked-by"), x->asked_by);
    hex_format(x->nonce, sizeof x->nonce, nonce);
    write_field(w, "nonce", nonce);
    warrant_time_text(x->made, time);
    write_field(w, "made", time);
    warrant_time_text(x->expires, time);
    write_field(w, "expires", time);
    write_u8(w, '\n');
    for (uint32_t i = 0; i < x->count; i++)
        write_line(w, x->facts[i].name, x->facts[i].value);
}

/* The line that begins at *at, without its line feed; false: there is none. */
static bool next_line(struct bytes text, size_t *at, struct bytes *out)
{
    const uint8_t *end = *at < text.n ? memchr(text.p + *at, '\n', text.n - *at) : NULL;
    if (end == NULL)
        return false;
    *out = bytes_of(text.p + *at, (size_t)(end - (text.p + *at)));
    *at += out->n + 1;
    return true;
}

static bool split(struct bytes line, struct bytes *name, struct bytes *value)
{
    const uint8_t *blank = line.n == 0 ? NULL : memchr(line.p, ' ', line.n);
    if (blank == NULL)
        return false;
    *name = bytes_of(line.p, (size_t)(blank - line.p));
    *value = bytes_of(blank + 1, line.n - name->n - 1);
    return true;
}

static bool name_ok(struct bytes b)
{
    bool ok = b.n > 0 && b.n <= WARRANT_NAME_MAX_BYTES;
    for (size_t i = 0; ok && i < b.n; i++)
        ok = (b.p[i] >= 'a' && b.p[i] <= 'z') || (b.p[i] >= '0' && b.p[i] <= '9') || b.p[i] == '-';
    return ok;
}

static bool value_ok(struct bytes b)
{
    bool ok = b.n > 0 && b.n <= WARRANT_VALUE_MAX_BYTES && utf8_valid(b, NULL);
    for (size_t i = 0; ok && i < b.n;
         i++) /* C0, DEL, and C1 as UTF-8 has it: they steer terminals */
        ok = b.p[i] >= 0x20 && b.p[i] != 0x7f &&
             !(b.p[i] == 0xc2 && i + 1 < b.n && b.p[i + 1] < 0xa0);
    return ok;
}

static bool cluster_of(struct bytes value, struct warrant *out)
{
    char id[UUID_TEXT_BYTES] = "";
    struct bytes text;
    if (!split(value, &out->cluster, &text) || text.n != sizeof id - 1 || out->cluster.n == 0)
        return false;
    memcpy(id, text.p, text.n);
    return uuid_of_text(id, &out->cluster_id) == 0;
}

static bool nonce_of(struct bytes value, struct warrant *out)
{
    char text[WARRANT_NONCE_TEXT] = "";
    if (value.n != sizeof text - 1)
        return false;
    memcpy(text, value.p, value.n);
    return hex_parse(text, out->nonce, sizeof out->nonce) == 0;
}

static bool field_of(unsigned i, struct bytes value, struct warrant *out)
{
    switch (i) {
    case 0:
        out->act = value;
        return name_ok(value);
    case 1:
        return cluster_of(value, out);
    case 2:
        out->asked_by = value;
        return true;
    case 3:
        return nonce_of(value, out);
    case 4:
        return time_of(value, &out->made);
    default:
        return time_of(value, &out->expires);
    }
}

static int bad_line(unsigned line, const char *why, struct err *e)
{
    return err_set(e, ERR_FORMAT, "warrant: line %u %s", line, why);
}

static int read_fields(struct bytes text, size_t *at, struct warrant *out, struct err *e)
{
    static const char *const names[] = {"act", "cluster", "asked-by", "nonce", "made", "expires"};
    struct bytes line, name, value;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!next_line(text, at, &line) || !split(line, &name, &value) ||
            !bytes_equal(name, bytes_str(names[i])))
            return err_set(e, ERR_FORMAT, "warrant: line %u is not '%s ...'", i + 2, names[i]);
        if (!value_ok(value) || !field_of(i, value, out))
            return err_set(e, ERR_FORMAT, "warrant: line %u: that is no value for '%s'", i + 2,
                           names[i]);
    }
    return next_line(text, at, &line) && line.n == 0 ? 0 : bad_line(8, "is not empty", e);
}

static int read_facts(struct bytes text, size_t *at, struct warrant *out, struct err *e)
{
    struct bytes line;
    while (next_line(text, at, &line)) {
        unsigned number = 9 + out->count;
        if (out->count == WARRANT_FACTS_MAX)
            return bad_line(number, "is one fact too many", e);
        struct warrant_fact *f = &out->facts[out->count++];
        if (!split(line, &f->name, &f->value) || !name_ok(f->name) || !value_ok(f->value))
            return bad_line(number, "is no fact: a name, a blank, a value", e);
    }
    return *at == text.n ? 0 : bad_line(9 + out->count, "has no end", e);
}

int warrant_read(struct bytes text, struct warrant *out, struct err *e)
{
    uint8_t again[WARRANT_TEXT_MAX];
    struct writer w = writer_of(again, sizeof again);
    struct bytes line;
    size_t at = 0;
    *out = (struct warrant){.count = 0};
    if (text.n > WARRANT_TEXT_MAX)
        return err_set(e, ERR_FORMAT, "warrant: it has %zu bytes, at most %d are allowed", text.n,
                       WARRANT_TEXT_MAX);
    if (!next_line(text, &at, &line) || !bytes_equal(line, bytes_str(FIRST_LINE)))
        return bad_line(1, "is not '" FIRST_LINE "'", e);
    int rc = read_fields(text, &at, out, e);
    if (rc == 0)
        rc = read_facts(text, &at, out, e);
    if (rc != 0)
        return rc;
    if (out->expires.us <= out->made.us || out->expires.us - out->made.us > LIFE_MAX_US)
        return err_set(e, ERR_FORMAT, "warrant: it lives for less than 1 or more than %d seconds",
                       WARRANT_LIFE_MAX_S);
    warrant_write(&w, out);
    if (w.bad || !bytes_equal(bytes_of(again, w.at), text)) /* W1 */
        return err_set(e, ERR_FORMAT, "warrant: it is not written as a warrant is written");
    return 0;
}

/* ---- facts ---- */

void warrant_say(struct warrant *x, const char *name, struct bytes value)
{
    x->facts[x->count++] = (struct warrant_fact){bytes_str(name), value};
}

struct bytes warrant_fact(const struct warrant *x, const char *name, uint32_t nth)
{
    for (uint32_t i = 0; i < x->count; i++)
        if (bytes_equal(x->facts[i].name, bytes_str(name)) && nth-- == 0)
            return x->facts[i].value;
    return (struct bytes){NULL, 0};
}

int warrant_number(const struct warrant *x, const char *name, uint64_t *out, struct err *e)
{
    struct bytes v = warrant_fact(x, name, 0);
    if (v.p == NULL || warrant_fact(x, name, 1).p != NULL)
        return err_set(e, ERR_FORMAT, "warrant: it does not say '%s', or not once", name);
    if (v.n > 19 || !digits(v, 0, v.n, out)) /* 19 digits fit 64 bits */
        return err_set(e, ERR_FORMAT, "warrant: '%s' is not a number", name);
    return 0;
}

int warrant_only(const struct warrant *x, const char *const *names, struct err *e)
{
    for (uint32_t i = 0; i < x->count; i++) {
        const char *const *n = names;
        while (*n != NULL && !bytes_equal(x->facts[i].name, bytes_str(*n)))
            n++;
        if (*n == NULL)
            return err_set(e, ERR_FORMAT, "warrant: '%.*s' is not understood by this program",
                           (int)x->facts[i].name.n, (const char *)x->facts[i].name.p);
    }
    return 0;
}

/* ---- may it be carried out? ---- */

static int check_signers(const struct warrant *x, const char *const *signers, uint32_t n,
                         struct err *e)
{
    bool asked = false;
    for (uint32_t i = 0; i < n; i++)
        asked = asked || bytes_equal(x->asked_by, bytes_str(signers[i]));
    if (n != WARRANT_SIGNERS)
        return err_set(e, ERR_DENIED,
                       "the warrant is signed by %u, and two different operators are needed: the "
                       "second one signs it with 'triveni warrant sign'",
                       n);
    if (strcmp(signers[0], signers[1]) == 0)
        return err_set(e, ERR_DENIED,
                       "the warrant is signed twice by operator '%s': another operator has to sign",
                       signers[0]);
    if (!asked) /* W2 */
        return err_set(e, ERR_DENIED, "the warrant was asked for by '%.*s', who did not sign it",
                       (int)x->asked_by.n, (const char *)x->asked_by.p);
    return 0;
}

int warrant_admit(const struct warrant *x, const struct warrant_place *here,
                  const char *const *signers, uint32_t n, struct utc now, struct err *e)
{
    if (!bytes_equal(x->act, bytes_str(here->act)))
        return err_set(e, ERR_USAGE, "the warrant is for '%.*s', not for '%s'", (int)x->act.n,
                       (const char *)x->act.p, here->act);
    if (!bytes_equal(x->cluster, bytes_str(here->cluster)) ||
        !uuid_equal(&x->cluster_id, &here->cluster_id))
        return err_set(e, ERR_CONDITION,
                       "the warrant is for cluster '%.*s', or another of that "
                       "name; this is '%s'",
                       (int)x->cluster.n, (const char *)x->cluster.p, here->cluster);
    if (x->expires.us <= now.us)
        return err_set(e, ERR_TIMEOUT,
                       "the warrant expired %llu s ago: look at what it says again, and make a new "
                       "one",
                       (unsigned long long)((now.us - x->expires.us) / 1000000));
    if (x->expires.us - now.us > LIFE_MAX_US)
        return err_set(e, ERR_USAGE,
                       "the warrant would be valid for more than %d s, by this clock: compare the "
                       "clocks, and make a new one",
                       WARRANT_LIFE_MAX_S);
    return check_signers(x, signers, n, e);
}
