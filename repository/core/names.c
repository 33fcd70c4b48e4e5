/* Formatting and parsing of names, identities, hex and times.
 *
 * Parsing is by formatting: numbers are read leniently, the name is formatted again and must be the same text. So there
 * is exactly one name for an object, and what lies in the folders besides (editor backups, lost+found) is never taken
 * for one. */
#include "repository/core/names.h"

#include "store/core/check.h"
#include "store/core/err.h"
#include "store/core/hex.h"

#include <stdio.h>
#include <string.h>

/* ---- objects ---- */

struct kind {
    const char *name, *folder, *extension;
};
static const struct kind kinds[] = {
    [REPO_PACK] = {"pack", "packs/", ".pack"},
    [REPO_SNAPSHOT] = {"snapshot", "snapshots/", ".snap"},
    [REPO_INDEX] = {"index", "indexes/", ".index"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

const char *repo_kind_name(enum repo_kind kind)
{
    return kinds[kind].name;
}

void repo_name_format(const struct repo_name *n, char out[REPO_NAME_BYTES])
{
    if (n->kind == REPO_PACK)
        (void)snprintf(out, REPO_NAME_BYTES, "packs/%020llu-%020llu-%llu-%08x.pack",
                       (unsigned long long)n->first.v, (unsigned long long)n->last.v,
                       (unsigned long long)n->term.v, n->unique);
    else if (n->kind == REPO_INDEX)
        (void)snprintf(out, REPO_NAME_BYTES, "indexes/%020llu-%020llu-%08x.index",
                       (unsigned long long)n->first.v, (unsigned long long)n->last.v, n->unique);
    else
        (void)snprintf(out, REPO_NAME_BYTES, "snapshots/%020llu-%08x.snap",
                       (unsigned long long)n->last.v, n->unique);
}

/* Digits up to `end`; leaves *p behind it. Overflow wraps: the caller compares with the text again. */
static uint64_t number_until(const char **p, char end, unsigned base)
{
    uint64_t v = 0;
    for (; **p != '\0' && **p != end; (*p)++) {
        int d = hex_digit(**p);
        v = v * base + (d < 0 ? 0 : (uint64_t)d);
    }
    if (**p == end)
        (*p)++;
    return v;
}

int repo_name_parse(const char *name, struct repo_name *out)
{
    *out = (struct repo_name){.kind = REPO_PACK};
    const char *p = name;
    if (strncmp(p, "packs/", 6) == 0) {
        p += 6;
        out->first.v = number_until(&p, '-', 10);
        out->last.v = number_until(&p, '-', 10);
        out->term.v = number_until(&p, '-', 10);
    } else if (strncmp(p, "snapshots/", 10) == 0) {
        p += 10;
        out->kind = REPO_SNAPSHOT;
        out->last.v = number_until(&p, '-', 10);
    } else if (strncmp(p, "indexes/", 8) == 0) {
        p += 8;
        out->kind = REPO_INDEX;
        out->first.v = number_until(&p, '-', 10);
        out->last.v = number_until(&p, '-', 10);
    } else {
        return ERR_FORMAT;
    }
    out->unique = (uint32_t)number_until(&p, '.', 16);
    char again[REPO_NAME_BYTES];
    repo_name_format(out, again);
    if (strcmp(again, name) != 0 || out->last.v == 0)
        return ERR_FORMAT;
    if (out->kind != REPO_SNAPSHOT && (out->first.v == 0 || out->first.v > out->last.v))
        return ERR_FORMAT;
    if (out->kind == REPO_PACK && out->term.v == 0)
        return ERR_FORMAT;
    return 0;
}

bool repo_is_index(const char *object)
{
    struct repo_name n;
    return repo_name_parse(object, &n) == 0 && n.kind == REPO_INDEX;
}

/* ---- generations of keys ---- */

void repo_name_keys_folder(unsigned generation, char out[REPO_NAME_BYTES])
{
    (void)snprintf(out, REPO_NAME_BYTES, "keys/%u", generation);
}

/* "keys/<generation>" and what stands behind it; NULL when the name does not begin so. */
static const char *generation_of(const char *name, unsigned *generation)
{
    char again[REPO_NAME_BYTES];
    if (strncmp(name, "keys/", 5) != 0)
        return NULL;
    *generation = 0;
    for (const char *p = name + 5; *p >= '0' && *p <= '9' && *generation <= REPO_GENERATION_MAX;
         p++)
        *generation = *generation * 10 + (unsigned)(*p - '0');
    if (*generation == 0 || *generation > REPO_GENERATION_MAX)
        return NULL;
    repo_name_keys_folder(*generation, again);
    size_t n = strlen(again);
    return strncmp(name, again, n) == 0 ? name + n : NULL;
}

/* ---- parts ---- */

void repo_part_stretch(uint64_t number, char out[REPO_NAME_BYTES])
{
    const uint64_t first = number * REPO_STRETCH_ENTRIES + 1;
    (void)snprintf(out, REPO_NAME_BYTES, "tree/%020llu-%020llu", (unsigned long long)first,
                   (unsigned long long)(first + REPO_STRETCH_ENTRIES - 1));
}

static int parse_stretch(const char *name, struct repo_part *out)
{
    char again[REPO_NAME_BYTES];
    const char *p = name + 5;
    if (strncmp(name, "tree/", 5) != 0)
        return ERR_FORMAT;
    const uint64_t first = number_until(&p, '-', 10);
    out->kind = REPO_PART_STRETCH;
    out->stretch = first / REPO_STRETCH_ENTRIES;
    out->first.v = out->stretch * REPO_STRETCH_ENTRIES + 1;
    out->last.v = out->first.v + REPO_STRETCH_ENTRIES - 1;
    repo_part_stretch(out->stretch, again);
    return strcmp(again, name) == 0 ? 0 : ERR_FORMAT;
}

int repo_part_parse(const char *name, struct repo_part *out)
{
    static const struct {
        const char *name;
        enum repo_part_kind kind;
    } files[] = {{REPO_ABOUT_FILE, REPO_PART_ABOUT},
                 {REPO_TREE_CHECKPOINT, REPO_PART_TREE},
                 {REPO_OPERATIONS_CHECKPOINT, REPO_PART_OPERATIONS}};
    struct repo_name object;
    *out = (struct repo_part){.kind = REPO_PART_OBJECT};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (strcmp(name, files[i].name) == 0) {
            out->kind = files[i].kind;
            return 0;
        }
    const char *behind = generation_of(name, &out->generation);
    if (behind != NULL) {
        out->kind = REPO_PART_KEYS;
        return *behind == '\0' ? 0 : ERR_FORMAT;
    }
    if (repo_name_parse(name, &object) != 0)
        return parse_stretch(name, out);
    out->first = object.kind == REPO_SNAPSHOT ? object.last : object.first;
    out->last = object.last;
    return 0;
}

/* ---- what belongs to an object ---- */

static size_t stem_bytes(const char *object)
{
    const char *dot = strrchr(object, '.');
    check(dot != NULL);
    return (size_t)(dot - object);
}

void repo_name_meta(const char *object, char out[REPO_NAME_BYTES])
{
    (void)snprintf(out, REPO_NAME_BYTES, "%.*s.meta", (int)stem_bytes(object), object);
}

void repo_name_mark(const char *object, char out[REPO_NAME_BYTES])
{
    (void)snprintf(out, REPO_NAME_BYTES, "%.*s.disposed", (int)stem_bytes(object), object);
}

void repo_name_key(const char *object, unsigned generation, char out[REPO_NAME_BYTES])
{
    const char *slash = strchr(object, '/');
    check(slash != NULL && generation <= REPO_GENERATION_MAX);
    (void)snprintf(out, REPO_NAME_BYTES, "keys/%u/%s.key", generation, slash + 1);
}

void repo_name_generation(unsigned generation, bool retired, char out[REPO_NAME_BYTES])
{
    (void)snprintf(out, REPO_NAME_BYTES, "keys/%u.%s", generation, retired ? "retired" : "key");
}

int repo_name_of_generation(const char *name, unsigned *generation, bool *retired)
{
    const char *end = generation_of(name, generation);
    if (end == NULL || (strcmp(end, ".key") != 0 && strcmp(end, ".retired") != 0))
        return ERR_FORMAT;
    *retired = end[1] == 'r';
    return 0;
}

/* The object beside which a file of that ending lies. */
static int beside(const char *name, const char *ending, char out[REPO_NAME_BYTES])
{
    size_t n = strlen(name), end = strlen(ending);
    if (n < end || n >= REPO_NAME_BYTES - 1 || strcmp(name + n - end, ending) != 0)
        return ERR_FORMAT;
    struct repo_name parsed;
    for (size_t i = 1; i < KINDS; i++) {
        if (strncmp(name, kinds[i].folder, strlen(kinds[i].folder)) != 0)
            continue;
        int bytes =
            snprintf(out, REPO_NAME_BYTES, "%.*s%s", (int)(n - end), name, kinds[i].extension);
        return bytes > 0 && bytes < REPO_NAME_BYTES ? repo_name_parse(out, &parsed) : ERR_FORMAT;
    }
    return ERR_FORMAT;
}

int repo_name_of_meta(const char *meta, char out[REPO_NAME_BYTES])
{
    return beside(meta, ".meta", out);
}

int repo_name_of_mark(const char *mark, char out[REPO_NAME_BYTES])
{
    return strncmp(mark, kinds[REPO_INDEX].folder, 8) == 0 ? ERR_FORMAT
                                                           : beside(mark, ".disposed", out);
}

int repo_name_of_key(const char *key, char out[REPO_NAME_BYTES], unsigned *generation)
{
    const char *base = generation_of(key, generation);
    size_t n = base == NULL ? 0 : strlen(base);
    if (n < 6 || n >= REPO_NAME_BYTES - 6 || base[0] != '/' || strcmp(base + n - 4, ".key") != 0)
        return ERR_FORMAT;
    if (strcmp(base, "/disposed.key") == 0) {
        (void)snprintf(out, REPO_NAME_BYTES, "%s", REPO_MARKS);
        return 0;
    }
    struct repo_name parsed;
    for (size_t i = 1; i < KINDS; i++) {
        size_t end = strlen(kinds[i].extension), stem = n - 4; /* without ".key" */
        if (stem <= end || memcmp(base + stem - end, kinds[i].extension, end) != 0)
            continue;
        int bytes =
            snprintf(out, REPO_NAME_BYTES, "%s%.*s", kinds[i].folder, (int)stem - 1, base + 1);
        return bytes > 0 && bytes < REPO_NAME_BYTES ? repo_name_parse(out, &parsed) : ERR_FORMAT;
    }
    return ERR_FORMAT;
}

void repo_identity(const struct uuid *cluster, const char *object, char out[REPO_IDENTITY_BYTES])
{
    char uuid[UUID_TEXT_BYTES];
    (void)uuid_text(cluster, uuid);
    (void)snprintf(out, REPO_IDENTITY_BYTES, "triveni/1|%s|%s", uuid, object);
}

/* ---- time ---- */

/* Days since 1970-01-01 to a civil date: Howard Hinnant, "chrono-compatible low-level date algorithms",
 * civil_from_days; proleptic Gregorian calendar. */
void repo_utc_format(struct utc t, char out[REPO_UTC_TEXT_BYTES])
{
    uint64_t seconds = t.us / 1000000, days = seconds / 86400, rest = seconds % 86400;
    uint64_t z = days + 719468, era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    uint64_t day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
    uint64_t year = yoe + era * 400 + (month <= 2);
    (void)snprintf(out, REPO_UTC_TEXT_BYTES, "%04llu-%02llu-%02lluT%02llu:%02llu:%02llu.%06lluZ",
                   (unsigned long long)year, (unsigned long long)month, (unsigned long long)day,
                   (unsigned long long)(rest / 3600), (unsigned long long)(rest / 60 % 60),
                   (unsigned long long)(rest % 60), (unsigned long long)(t.us % 1000000));
}
