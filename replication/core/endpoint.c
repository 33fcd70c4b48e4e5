#include "replication/core/endpoint.h"

enum { PORT_DIGITS = 5, PORT_MAX = 65535 };

static bool parse_port(struct bytes digits, uint16_t *out)
{
    uint32_t port = 0;
    if (digits.n == 0 || digits.n > PORT_DIGITS)
        return false;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9')
            return false;
        port = port * 10 + (uint32_t)(digits.p[i] - '0');
    }
    *out = (uint16_t)port;
    return port <= PORT_MAX;
}

/* A bracket is not half of anything: with one that is open or within, the host would be another than whoever wrote it meant. */
static bool host_valid(struct bytes host, bool in_brackets)
{
    for (size_t i = 0; i < host.n; i++) {
        const uint8_t c = host.p[i];
        if (c <= ' ' || c == 0x7f || c == '[' || c == ']' || c == '/' || c == '@' || c == ',' ||
            (c == ':' && !in_brackets))
            return false;
    }
    return host.n != 0;
}

bool endpoint_parse(struct bytes text, struct bytes *host, uint16_t *port)
{
    size_t colon = text.n;
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon < 2)
        return false;
    *host = bytes_of(text.p, colon - 1);
    const bool in_brackets = host->p[0] == '[';
    if (in_brackets && (host->n < 2 || host->p[host->n - 1] != ']'))
        return false;
    if (in_brackets)
        *host = bytes_of(host->p + 1, host->n - 2);
    return host_valid(*host, in_brackets) &&
           parse_port(bytes_of(text.p + colon, text.n - colon), port);
}
