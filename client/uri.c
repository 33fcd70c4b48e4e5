/* What a handle is opened with: the URI, then the options, which win, then checks and defaults.
 *
 *   triveni://HOST:PORT[,HOST:PORT...]/?name=value[&name=value...]
 *
 * Strict: an unknown or repeated parameter, a bad percent-escape or a host without a port is an error that names it,
 * because a mistyped `ack` that is silently ignored would be a durability that nobody asked for. */
#include "client/internal.h"

#include "replication/core/endpoint.h"

#include <stdio.h>

static const char scheme[] = "triveni://";

/* ---- values ---- */

static int parse_number(const char *name, const char *text, uint64_t min, uint64_t max,
                        uint64_t *out, struct err *e)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; text[i] >= '0' && text[i] <= '9' && v <= max; i++)
        v = v * 10 + (uint64_t)(text[i] - '0');
    if (i == 0 || i > 12 || text[i] != '\0' || v < min || v > max)
        return err_set(e, ERR_USAGE, "%s=%.40s: a number from %llu to %llu is expected", name, text,
                       (unsigned long long)min, (unsigned long long)max);
    *out = v;
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 8-4-4-4-12 hex digits, or 32 without hyphens. */
static int parse_uuid(const char *text, struct uuid *out, struct err *e)
{
    size_t digits = 0, n = strlen(text);
    bool bad = n != 32 && n != 36;
    for (size_t i = 0; i < n && !bad; i++) {
        bool hyphen = n == 36 && (i == 8 || i == 13 || i == 18 || i == 23);
        int v = hex_digit(text[i]);
        if (hyphen) {
            bad = text[i] != '-';
        } else if (v < 0) {
            bad = true;
        } else {
            uint8_t *b = &out->b[digits / 2];
            *b = (uint8_t)(digits % 2 == 0 ? v << 4 : *b | v);
            digits++;
        }
    }
    if (bad || uuid_is_zero(out))
        return err_set(e, ERR_USAGE,
                       "id=%.40s: the cluster's UUID is expected, which `triveni status` shows",
                       text);
    return 0;
}

static int parse_target(const char *text, enum tvn_target *out, struct err *e)
{
    static const char *const names[] = {"primary", "nearest", "standby"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum tvn_target)(TVN_TARGET_PRIMARY + (int)i);
            return 0;
        }
    return err_set(e, ERR_USAGE, "target=%.40s: primary, nearest or standby is expected", text);
}

static int parse_warm(const char *text, bool *out, struct err *e)
{
    *out = strcmp(text, "yes") == 0;
    return *out || strcmp(text, "no") == 0
               ? 0
               : err_set(e, ERR_USAGE, "warm=%.40s: yes or no is expected", text);
}

/* ---- endpoints ---- */

static bool endpoint_valid(const char *s, size_t n)
{
    struct bytes host;
    uint16_t port;
    return n < CLIENT_ENDPOINT_BYTES && endpoint_parse(bytes_of(s, n), &host, &port) && port != 0;
}

static int add_endpoints(struct config *c, const char *s, size_t n, struct err *e)
{
    c->endpoint_count = 0;
    for (size_t at = 0; at <= n;) {
        const char *comma = at < n ? memchr(s + at, ',', n - at) : NULL;
        size_t part = comma == NULL ? n - at : (size_t)(comma - (s + at));
        if (!endpoint_valid(s + at, part))
            return err_set(e, ERR_USAGE,
                           "endpoint '%.*s': host:port is expected, with an IPv6 address in []",
                           (int)(part < 80 ? part : 80), s + at);
        if (c->endpoint_count == TVN_ENDPOINTS_MAX)
            return err_set(e, ERR_USAGE, "more than %d endpoints", TVN_ENDPOINTS_MAX);
        char *to = c->endpoints[c->endpoint_count++];
        memcpy(to, s + at, part);
        to[part] = '\0';
        at += part + 1;
    }
    return 0;
}

/* ---- parameters ---- */

static int set_string(char **to, const char *value, struct err *e)
{
    char *copy = strdup(value);
    if (copy == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    free(*to);
    *to = copy;
    return 0;
}

static int set_cluster(struct config *c, const char *value, struct err *e)
{
    size_t n = strlen(value);
    if (n == 0 || n >= sizeof c->cluster)
        return err_set(e, ERR_USAGE, "cluster: a name of 1 to %zu bytes is expected",
                       sizeof c->cluster - 1);
    memcpy(c->cluster, value, n + 1);
    return 0;
}

static const char *const parameters[] = {"ca", "cert",   "key", "crl",        "cluster",
                                         "id", "target", "ack", "timeout_ms", "warm"};
enum { PARAMETERS = sizeof parameters / sizeof parameters[0] };

static int set_parameter(struct config *c, unsigned which, const char *value, struct err *e)
{
    uint64_t n = 0;
    int rc;
    switch (which) {
    case 0:
        return set_string(&c->ca, value, e);
    case 1:
        return set_string(&c->cert, value, e);
    case 2:
        return set_string(&c->key, value, e);
    case 3:
        return set_string(&c->crl, value, e);
    case 4:
        return set_cluster(c, value, e);
    case 5:
        memset(&c->id, 0, sizeof c->id);
        return parse_uuid(value, &c->id, e);
    case 6:
        return parse_target(value, &c->target, e);
    case 7:
        return level_parse(value, &c->level, e);
    case 9:
        return parse_warm(value, &c->warm, e);
    default:
        rc = parse_number("timeout_ms", value, 1, CLIENT_TIMEOUT_MAX_MS, &n, e);
        c->timeout_ms = rc == 0 ? (uint32_t)n : 0;
        return rc;
    }
}

static int percent_decode(char *s, struct err *e)
{
    char *to = s;
    for (const char *p = s; *p != '\0'; p++) {
        if (*p != '%') {
            *to++ = *p;
            continue;
        }
        int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);
        if (low < 0 || (high == 0 && low == 0))
            return err_set(e, ERR_USAGE, "'%.3s' is not a percent-escape", p);
        *to++ = (char)(high << 4 | low);
        p += 2;
    }
    *to = '\0';
    return 0;
}

/* `query` is ours and is cut up. */
static int read_query(struct config *c, char *query, struct err *e)
{
    unsigned seen = 0;
    for (char *next = query; next != NULL && *next != '\0';) {
        char *item = next, *amp = strchr(item, '&');
        next = amp == NULL ? NULL : amp + 1;
        if (amp != NULL)
            *amp = '\0';
        char *value = strchr(item, '=');
        if (value != NULL)
            *value++ = '\0';
        unsigned which = 0;
        while (which < PARAMETERS && strcmp(parameters[which], item) != 0)
            which++;
        if (which == PARAMETERS || value == NULL || *value == '\0')
            return err_set(e, ERR_USAGE,
                           "parameter '%.40s' %s: ca, cert, key, crl, cluster, id, target, ack, "
                           "timeout_ms and warm are known",
                           item, which == PARAMETERS ? "is unknown" : "has no value");
        if ((seen & 1u << which) != 0)
            return err_set(e, ERR_USAGE, "parameter '%s' is given twice", item);
        seen |= 1u << which;
        int rc = percent_decode(value, e);
        if (rc == 0)
            rc = set_parameter(c, which, value, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int read_uri(struct config *c, const char *uri, struct err *e)
{
    size_t head = sizeof scheme - 1;
    if (strncmp(uri, scheme, head) != 0)
        return err_set(e, ERR_USAGE, "'%.40s' does not begin with %s", uri, scheme);
    size_t hosts = strcspn(uri + head, "/?#");
    int rc = add_endpoints(c, uri + head, hosts, e);
    if (rc != 0)
        return rc;
    const char *rest = uri + head + hosts;
    rest += *rest == '/';
    if (*rest == '\0')
        return 0;
    if (*rest != '?')
        return err_set(e, ERR_USAGE, "'%.40s' after the endpoints: /?name=value is expected", rest);
    char *query = strdup(rest + 1);
    if (query == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    rc = read_query(c, query, e);
    free(query);
    return rc;
}

/* ---- options ---- */

/* The caller's struct may be older (shorter) or newer (longer: then what we do not know must be zero). */
static int copy_options(const struct tvn_options *given, struct tvn_options *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    if (given == NULL)
        return 0;
    if (given->size < sizeof given->size)
        return err_set(e, ERR_USAGE, "options.size is %zu: use TVN_OPTIONS_INIT", given->size);
    const uint8_t *raw = (const uint8_t *)given;
    for (size_t i = sizeof *out; i < given->size; i++)
        if (raw[i] != 0)
            return err_set(e, ERR_USAGE, "options ask for more than version %s of libtriveni knows",
                           tvn_version());
    memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
    return 0;
}

static int read_options(struct config *c, const struct tvn_options *o, struct err *e)
{
    const char *const values[] = {o->ca, o->cert, o->key, o->crl, o->cluster, o->id};
    int rc = o->endpoints == NULL ? 0 : add_endpoints(c, o->endpoints, strlen(o->endpoints), e);
    for (unsigned i = 0; i < sizeof values / sizeof values[0] && rc == 0; i++)
        if (values[i] != NULL)
            rc = set_parameter(c, i, values[i], e);
    if (rc != 0)
        return rc;
    if ((unsigned)o->target > TVN_TARGET_STANDBY || (unsigned)o->ack > TVN_ACK_ALL)
        return err_set(e, ERR_USAGE, "options: target %d or ack %d is unknown", (int)o->target,
                       (int)o->ack);
    if (o->timeout_ms > CLIENT_TIMEOUT_MAX_MS)
        return err_set(e, ERR_USAGE, "options: timeout_ms %u: at most %d", o->timeout_ms,
                       CLIENT_TIMEOUT_MAX_MS);
    if (o->target != TVN_TARGET_DEFAULT)
        c->target = o->target;
    if (o->ack != TVN_ACK_DEFAULT)
        c->level = (enum level)o->ack;
    if (o->timeout_ms != 0)
        c->timeout_ms = o->timeout_ms;
    c->window = o->max_in_flight;
    c->window_bytes = o->max_in_flight_bytes;
    memcpy(c->session.b, o->session.bytes, sizeof c->session.b);
    c->next_sequence = o->next_sequence;
    c->poll = o->poll != 0;
    c->on_event = o->on_event;
    c->on_event_arg = o->on_event_arg;
    return 0;
}

static int check_config(const struct config *c, struct err *e)
{
    if (c->endpoint_count == 0)
        return err_set(e, ERR_USAGE, "no endpoint is given: triveni://host:port/ is expected");
    if (c->ca == NULL || c->cert == NULL || c->key == NULL)
        return err_set(e, ERR_USAGE, "%s is not given: ca, cert and key are required",
                       c->ca == NULL     ? "ca"
                       : c->cert == NULL ? "cert"
                                         : "key");
    if (uuid_is_zero(&c->id))
        return err_set(e, ERR_USAGE,
                       "id is not given: the cluster's UUID, which `triveni status` shows");
    if (uuid_is_zero(&c->session) != (c->next_sequence == 0))
        return err_set(e, ERR_USAGE, "options: session and next_sequence (from 1) belong together");
    return 0;
}

int client_config_init(struct config *c, const char *uri, const struct tvn_options *options,
                       struct err *e)
{
    memset(c, 0, sizeof *c);
    c->warm = true;
    struct tvn_options o;
    int rc = copy_options(options, &o, e);
    if (rc == 0 && uri != NULL && (rc = read_uri(c, uri, e)) != 0)
        err_wrap(e, "URI");
    if (rc == 0)
        rc = read_options(c, &o, e);
    if (rc == 0)
        rc = check_config(c, e);
    if (c->target == TVN_TARGET_DEFAULT)
        c->target = TVN_TARGET_PRIMARY;
    if (c->timeout_ms == 0)
        c->timeout_ms = CLIENT_TIMEOUT_MS;
    if (c->window == 0 || c->window > CLIENT_WINDOW)
        c->window = CLIENT_WINDOW;
    if (c->window_bytes == 0)
        c->window_bytes = CLIENT_WINDOW_BYTES;
    return rc;
}

void client_config_deinit(struct config *c)
{
    free(c->ca);
    free(c->cert);
    free(c->key);
    free(c->crl);
    memset(c, 0, sizeof *c);
}
