#include "repository/core/ledger.h"

#include "store/core/bytes.h"
#include "store/core/hash.h"
#include "store/core/hex.h"

#include <stdio.h>
#include <string.h>

const char repo_ledger_head[] = "triveni archive ledger 1\n";
static const char end_word[] = "crc32c ";
enum { END_BYTES = sizeof end_word - 1 + 8 + 1 };

/* ---- lines ---- */

/* Where the name is, or would be. */
static size_t place_of(const struct repo_ledger *l, const char *name)
{
    size_t low = 0, high = l->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(l->at[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct repo_ledger_line *repo_ledger_find(const struct repo_ledger *l, const char *name)
{
    size_t i = place_of(l, name);
    return i < l->n && strcmp(l->at[i].name, name) == 0 ? &l->at[i] : NULL;
}

struct repo_ledger_line *repo_ledger_add(struct repo_ledger *l, const char *name)
{
    size_t i = place_of(l, name);
    if (i < l->n && strcmp(l->at[i].name, name) == 0)
        return &l->at[i];
    if (l->n == l->cap)
        return NULL;
    memmove(&l->at[i + 1], &l->at[i], (l->n - i) * sizeof *l->at);
    l->n++;
    l->at[i] = (struct repo_ledger_line){.damaged = false};
    (void)snprintf(l->at[i].name, sizeof l->at[i].name, "%s", name);
    return &l->at[i];
}

/* ---- which one next ---- */

static uint64_t verified_us(const struct repo_ledger_line *x, struct utc now)
{
    return x->verified.us > now.us ? 0 : x->verified.us;
}

struct repo_ledger_line *repo_ledger_next(const struct repo_ledger *l, struct utc now,
                                          uint64_t rest_us, uint64_t again_us)
{
    struct repo_ledger_line *next = NULL;
    for (size_t i = 0; i < l->n; i++) {
        struct repo_ledger_line *x = &l->at[i];
        uint64_t at = verified_us(x, now);
        if (now.us - at >= (x->damaged ? again_us : rest_us) &&
            (next == NULL || at < verified_us(next, now)))
            next = x;
    }
    return next;
}

const struct repo_ledger_line *repo_ledger_oldest(const struct repo_ledger *l)
{
    const struct repo_ledger_line *oldest = NULL;
    for (size_t i = 0; i < l->n; i++)
        if (oldest == NULL || l->at[i].verified.us < oldest->verified.us)
            oldest = &l->at[i];
    return oldest;
}

/* ---- rounds ---- */

void repo_ledger_note(struct repo_ledger *l, struct repo_ledger_line *x, struct utc now,
                      bool damaged, bool still)
{
    if (x->verified.us < l->round.began.us) { /* the first time in this round */
        l->round.checked++;
        l->round.damaged += damaged;
    }
    x->verified = now;
    x->damaged = still;
}

bool repo_ledger_round_over(const struct repo_ledger *l, struct utc now)
{
    const struct repo_ledger_line *oldest = repo_ledger_oldest(l);
    return l->round.began.us != 0 && l->round.began.us <= now.us && oldest != NULL &&
           oldest->verified.us >= l->round.began.us;
}

/* ---- the file ---- */

void repo_ledger_file(const char *copy, char out[REPO_LEDGER_FILE_BYTES])
{
    enum { ENOUGH = 8 }; /* bytes of the hash: a handful of places */
    char hex[2 * ENOUGH + 1];
    if (copy == NULL) {
        (void)snprintf(out, REPO_LEDGER_FILE_BYTES, "archive.ledger");
        return;
    }
    const struct sha256 place = hash_sha256(bytes_of(copy, strcspn(copy, "?")));
    hex_format(place.b, ENOUGH, hex);
    (void)snprintf(out, REPO_LEDGER_FILE_BYTES, "archive.copy-%s.ledger", hex);
}

/* ---- the text ---- */

static const char round_word[] = "round ";

size_t repo_ledger_round_write(const struct repo_ledger_round *x, char out[REPO_LEDGER_LINE_BYTES])
{
    int n = snprintf(out, REPO_LEDGER_LINE_BYTES, "%s%llu %016llx %llu %llu\n", round_word,
                     (unsigned long long)x->began.us, (unsigned long long)x->id,
                     (unsigned long long)x->checked, (unsigned long long)x->damaged);
    return n < 0 ? 0 : (size_t)n;
}

size_t repo_ledger_line_write(const struct repo_ledger_line *x, char out[REPO_LEDGER_LINE_BYTES])
{
    int n = snprintf(out, REPO_LEDGER_LINE_BYTES, "%llu readable %s %s\n",
                     (unsigned long long)x->verified.us, x->damaged ? "damaged" : "whole", x->name);
    return n < 0 ? 0 : (size_t)n;
}

size_t repo_ledger_end_write(uint32_t crc32c, char out[REPO_LEDGER_LINE_BYTES])
{
    int n = snprintf(out, REPO_LEDGER_LINE_BYTES, "%s%08x\n", end_word, crc32c);
    return n < 0 ? 0 : (size_t)n;
}

int repo_ledger_lines(struct bytes text, struct bytes *out, struct err *e)
{
    const size_t head = strlen(repo_ledger_head);
    char end[REPO_LEDGER_LINE_BYTES];
    if (text.n < head + END_BYTES || memcmp(text.p, repo_ledger_head, head) != 0)
        return err_set(e, ERR_FORMAT, "it does not begin as a ledger does");
    const size_t body = text.n - END_BYTES;
    (void)repo_ledger_end_write(hash_crc32c(0, bytes_of(text.p, body)), end);
    if (memcmp(text.p + body, end, END_BYTES) != 0)
        return err_set(e, ERR_FORMAT, "its last line is not the checksum of those before");
    *out = bytes_of(text.p + head, body - head);
    return 0;
}

/* The word at *at up to `stop`, which is passed over; empty: there is none. */
static struct bytes word(struct bytes line, size_t *at, char stop)
{
    const uint8_t *from = line.p + *at;
    const uint8_t *end = *at < line.n ? memchr(from, stop, line.n - *at) : NULL;
    if (end == NULL)
        return (struct bytes){NULL, 0};
    *at += (size_t)(end - from) + 1;
    return bytes_of(from, (size_t)(end - from));
}

static bool number(struct bytes b, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] < '0' || b.p[i] > '9' || *out > (UINT64_MAX - 9) / 10)
            return false;
        *out = *out * 10 + (uint64_t)(b.p[i] - '0');
    }
    return b.n != 0;
}

int repo_ledger_line_read(struct bytes lines, size_t *at, struct repo_ledger_line *out)
{
    struct repo_part parsed;
    if (*at == lines.n)
        return ERR_NOT_FOUND;
    *out = (struct repo_ledger_line){.damaged = false};
    struct bytes time = word(lines, at, ' '), level = word(lines, at, ' '),
                 state = word(lines, at, ' '), name = word(lines, at, '\n');
    out->damaged = bytes_equal(state, bytes_str("damaged"));
    if (!number(time, &out->verified.us) || !bytes_equal(level, bytes_str("readable")) ||
        !(out->damaged || bytes_equal(state, bytes_str("whole"))) || name.n == 0 ||
        name.n >= sizeof out->name)
        return ERR_FORMAT;
    memcpy(out->name, name.p, name.n);
    return repo_part_parse(out->name, &parsed) == 0 ? 0 : ERR_FORMAT;
}

int repo_ledger_round_read(struct bytes *lines, struct repo_ledger_round *out)
{
    const size_t head = sizeof round_word - 1;
    char hex[2 * sizeof out->id + 1] = "";
    uint8_t id[sizeof out->id];
    size_t at = head;
    *out = (struct repo_ledger_round){.id = 0};
    if (lines->n < head || memcmp(lines->p, round_word, head) != 0)
        return 0;
    struct bytes began = word(*lines, &at, ' '), name = word(*lines, &at, ' '),
                 checked = word(*lines, &at, ' '), damaged = word(*lines, &at, '\n');
    if (!number(began, &out->began.us) || name.n != sizeof hex - 1 ||
        !number(checked, &out->checked) || !number(damaged, &out->damaged))
        return ERR_FORMAT;
    memcpy(hex, name.p, name.n);
    if (hex_parse(hex, id, sizeof id) != 0)
        return ERR_FORMAT;
    out->id = get_be64(id);
    *lines = bytes_of(lines->p + at, lines->n - at);
    return 0;
}
