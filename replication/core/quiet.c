#include "replication/core/quiet.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool quiet_same(const char *a, const char *b)
{
    for (;;) {
        while (is_digit(*a))
            a++;
        while (is_digit(*b))
            b++;
        if (*a != *b)
            return false;
        if (*a == '\0')
            return true;
        a++;
        b++;
    }
}

/* FNV-1a: a collision hides one line for a minute. */
static uint64_t hash_of(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *text != '\0'; text++)
        if (!is_digit(*text))
            h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return h | 1; /* 0 is a free place */
}

bool quiet_tell(struct quiet *q, const char *text, uint64_t now_ms, uint32_t *silent)
{
    uint64_t what = hash_of(text);
    if (now_ms - q->window_ms >= QUIET_MS) {
        q->window_ms = now_ms;
        q->lines = 0;
    }
    uint32_t at = 0;
    while (at < QUIET_KNOWN && q->known[at].what != what)
        at++;
    bool known = at < QUIET_KNOWN;
    if (q->lines >= QUIET_LINES || (known && now_ms - q->known[at].told_ms < QUIET_MS)) {
        q->silent++;
        return false;
    }
    if (!known) {
        at = q->next;
        q->next = (q->next + 1) % QUIET_KNOWN;
    }
    q->known[at].what = what;
    q->known[at].told_ms = now_ms;
    q->lines++;
    *silent = q->silent;
    q->silent = 0;
    return true;
}
