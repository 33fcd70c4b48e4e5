/* Leaves of the operations log: written, read, and added up.
 *
 * INVARIANTS
 *   I1  The reader takes what the writer gives, byte for byte, and nothing else: it writes what it understood once more and
 *       compares. So two leaves that differ never mean the same.
 *   I2  The inventory is sorted, and each object is in it once. */
#include "repository/core/operations.h"

#include "store/core/check.h"
#include "store/core/hex.h"

#include <stdio.h>

static const char *const names[] = {
    [OPERATION_PACK] = "pack",       [OPERATION_SNAPSHOT] = "snapshot",
    [OPERATION_ROTATE] = "rotate",   [OPERATION_RETIRE] = "retire",
    [OPERATION_VERIFY] = "verify",   [OPERATION_DRILL] = "drill",
    [OPERATION_HEAL] = "heal",       [OPERATION_HOLD] = "hold",
    [OPERATION_RELEASE] = "release", [OPERATION_DISPOSE] = "dispose",
};
#define NAMES (sizeof names / sizeof names[0])
enum { NUMBER_DIGITS = 19 };

const char *operation_name(enum operation_kind kind)
{
    return kind >= OPERATION_PACK && (size_t)kind < NAMES ? names[kind] : "unknown";
}

/* ---- writing ---- */

static void put(struct writer *w, const char *text)
{
    write_bytes(w, bytes_str(text));
}

static void put_number(struct writer *w, const char *member, uint64_t v)
{
    char text[48];
    if (v > INT64_MAX)
        w->bad = true;
    if (v == 0)
        return;
    (void)snprintf(text, sizeof text, ",\"%s\":%llu", member, (unsigned long long)v);
    put(w, text);
}

static void put_text(struct writer *w, const char *member, const char *text)
{
    if (text[0] == '\0')
        return;
    for (const char *c = text; *c != '\0'; c++)
        if (*c < 0x20 || *c > 0x7e || *c == '"' || *c == '\\')
            w->bad = true;
    put(w, ",\"");
    put(w, member);
    put(w, "\":\"");
    put(w, text);
    put(w, "\"");
}

static void put_hash(struct writer *w, const char *member, const struct sha256 *h)
{
    char hex[2 * sizeof h->b + 1];
    hex_format(h->b, sizeof h->b, hex);
    put_text(w, member, hex);
}

/* Does it say what one of its kind must say? */
static bool complete(const struct operation *o)
{
    struct repo_name name;
    if (o->kind == OPERATION_PACK || o->kind == OPERATION_SNAPSHOT) {
        enum repo_kind kind = o->kind == OPERATION_PACK ? REPO_PACK : REPO_SNAPSHOT;
        return o->bytes != 0 && repo_name_parse(o->object, &name) == 0 && name.kind == kind &&
               name.first.v == o->first.v && name.last.v == o->last.v;
    }
    if (o->kind == OPERATION_HOLD || o->kind == OPERATION_RELEASE)
        return o->has_reference && o->last.v != 0 && o->detail[0] != '\0';
    return o->kind > OPERATION_SNAPSHOT && (size_t)o->kind < NAMES;
}

int operation_write(struct writer *w, const struct operation *o, struct err *e)
{
    char text[96];
    size_t at = w->at;
    if (!complete(o) || o->time.us > INT64_MAX)
        return err_set(e, ERR_USAGE, "a %s of %s lacks what its leaf must say",
                       operation_name(o->kind), o->object[0] == '\0' ? "nothing" : o->object);
    (void)snprintf(text, sizeof text, "{\"op\":\"%s\",\"id\":\"%016llx\",\"time_us\":%llu",
                   operation_name(o->kind), (unsigned long long)o->id,
                   (unsigned long long)o->time.us);
    put(w, text);
    put_number(w, "tree_size", o->tree_size);
    if (o->tree_size != 0)
        put_hash(w, "tree_root", &o->tree_root);
    put_text(w, "object", o->object);
    put_number(w, "bytes", o->bytes);
    if (o->bytes != 0)
        put_hash(w, "sha256", &o->sha256);
    put_number(w, "first", o->first.v);
    put_number(w, "last", o->last.v);
    put_number(w, "generation", o->generation);
    put_number(w, "checked", o->checked);
    put_number(w, "damaged", o->damaged);
    put_text(w, "detail", o->detail);
    if (o->has_reference)
        put_hash(w, "reference", &o->reference);
    put(w, o->mended ? ",\"mended\":true}" : "}");
    if (w->bad || w->at - at > OPERATION_MAX_BYTES)
        return err_set(e, ERR_USAGE, "a %s says what no leaf can say", operation_name(o->kind));
    return 0;
}

/* ---- reading ---- */

/* These bytes are next: pass over them. */
static bool next_is(struct reader *r, const char *text)
{
    size_t n = strlen(text);
    if (r->bad || n > r->n - r->at || memcmp(r->p + r->at, text, n) != 0)
        return false;
    r->at += n;
    return true;
}

static bool member_is(struct reader *r, const char *member)
{
    char text[24];
    (void)snprintf(text, sizeof text, ",\"%s\":", member);
    return next_is(r, text);
}

static uint64_t take_digits(struct reader *r)
{
    uint64_t v = 0;
    size_t from = r->at;
    while (r->at < r->n && r->p[r->at] >= '0' && r->p[r->at] <= '9' && r->at - from < NUMBER_DIGITS)
        v = v * 10 + (uint64_t)(r->p[r->at++] - '0');
    r->bad |= r->at == from;
    return v;
}

static uint64_t take_number(struct reader *r, const char *member)
{
    return member_is(r, member) ? take_digits(r) : 0;
}

/* Between quotation marks, to out[room]; the writer says which characters are allowed. */
static void take_quoted(struct reader *r, char *out, size_t room)
{
    size_t n = 0;
    r->bad |= !next_is(r, "\"");
    while (!r->bad && r->at < r->n && r->p[r->at] != '"' && n + 1 < room)
        out[n++] = (char)r->p[r->at++];
    out[n] = '\0';
    r->bad |= !next_is(r, "\"") || memchr(out, 0, n) != NULL;
}

static void take_text(struct reader *r, const char *member, char *out, size_t room)
{
    if (member_is(r, member))
        take_quoted(r, out, room);
}

static bool take_hash(struct reader *r, const char *member, struct sha256 *out)
{
    char hex[2 * sizeof out->b + 1] = "";
    if (!member_is(r, member))
        return false;
    take_quoted(r, hex, sizeof hex);
    r->bad |= hex_parse(hex, out->b, sizeof out->b) != 0;
    return true;
}

static void take_kind_and_id(struct reader *r, struct operation *o)
{
    char text[24] = "";
    uint8_t id[8] = {0};
    r->bad |= !next_is(r, "{\"op\":");
    take_quoted(r, text, sizeof text);
    for (unsigned kind = OPERATION_PACK; kind < NAMES; kind++)
        if (strcmp(names[kind], text) == 0)
            o->kind = (enum operation_kind)kind;
    r->bad |= o->kind == 0;
    take_text(r, "id", text, sizeof text);
    r->bad |= hex_parse(text, id, sizeof id) != 0;
    o->id = get_be64(id);
}

int operation_read(struct bytes leaf, struct operation *out, struct err *e)
{
    uint8_t text[OPERATION_MAX_BYTES];
    struct reader r = reader_of(leaf);
    struct writer again = writer_of(text, sizeof text);
    struct operation o = {0};
    take_kind_and_id(&r, &o);
    o.time.us = take_number(&r, "time_us");
    o.tree_size = take_number(&r, "tree_size");
    (void)take_hash(&r, "tree_root", &o.tree_root);
    take_text(&r, "object", o.object, sizeof o.object);
    o.bytes = take_number(&r, "bytes");
    (void)take_hash(&r, "sha256", &o.sha256);
    o.first.v = take_number(&r, "first");
    o.last.v = take_number(&r, "last");
    uint64_t generation = take_number(&r, "generation");
    o.checked = take_number(&r, "checked");
    o.damaged = take_number(&r, "damaged");
    take_text(&r, "detail", o.detail, sizeof o.detail);
    o.has_reference = take_hash(&r, "reference", &o.reference);
    o.mended = next_is(&r, ",\"mended\":true");
    o.generation = generation <= REPO_GENERATION_MAX ? (unsigned)generation : 0;
    r.bad |= !next_is(&r, "}") || r.at != r.n;
    if (r.bad || operation_write(&again, &o, NULL) != 0 ||
        !bytes_equal(bytes_of(text, again.at), leaf))
        return err_set(e, ERR_FORMAT, "no operation: it is not understood at byte %zu of %zu", r.at,
                       leaf.n);
    *out = o;
    return 0;
}

/* ---- adding up ---- */

/* Where the name is, or where it belongs. */
static size_t place_of(const struct operation_inventory *inv, const char *name, bool *there)
{
    size_t low = 0, high = inv->n;
    *there = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = strcmp(inv->at[mid].name, name);
        if (c == 0) {
            *there = true;
            return mid;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct operation_object *operation_find(const struct operation_inventory *inv,
                                              const char *name)
{
    bool there;
    size_t i = place_of(inv, name, &there);
    return there ? &inv->at[i] : NULL;
}

static int add(struct operation_inventory *inv, const struct operation *o, struct err *e)
{
    bool there;
    size_t i = place_of(inv, o->object, &there);
    if (there)
        return inv->at[i].bytes == o->bytes && sha256_equal(&inv->at[i].sha256, &o->sha256)
                   ? 0
                   : err_set(e, ERR_INTEGRITY, "%s is named twice, with other bytes", o->object);
    if (inv->n == inv->cap)
        return ERR_LIMIT;
    memmove(&inv->at[i + 1], &inv->at[i], (inv->n - i) * sizeof *inv->at);
    inv->at[i] = (struct operation_object){.bytes = o->bytes, .sha256 = o->sha256};
    memcpy(inv->at[i].name, o->object, sizeof o->object);
    inv->n++;
    return 0;
}

static int dispose(struct operation_inventory *inv, const struct operation *o, struct err *e)
{
    struct repo_name name;
    bool there;
    size_t i = place_of(inv, o->object, &there);
    if (there)
        inv->at[i].disposed = true;
    else if (repo_name_parse(o->object, &name) == 0 && name.kind != REPO_INDEX)
        return err_set(e, ERR_INTEGRITY, "%s is disposed of and was never there", o->object);
    return 0;
}

/* The part of a pack's name that tells its entries: all but what is unique. */
static size_t lsns_length(const char *name)
{
    const char *unique = strrchr(name, '-');
    return unique == NULL ? strlen(name) : (size_t)(unique - name) + 1;
}

/* Does another pack, that must be there, have the entries of that one? They stand side by side. */
static bool has_instead(const struct operation_inventory *inv, size_t i)
{
    const char *name = inv->at[i].name;
    const size_t n = lsns_length(name);
    size_t first = i;
    while (first > 0 && strncmp(inv->at[first - 1].name, name, n) == 0)
        first--;
    for (size_t k = first; k < inv->n && strncmp(inv->at[k].name, name, n) == 0; k++)
        if (k != i && !inv->at[k].healed)
            return true;
    return false;
}

static int heal(struct operation_inventory *inv, const struct operation *o, struct err *e)
{
    struct repo_name name;
    bool there;
    size_t i = place_of(inv, o->object, &there);
    if (!there || repo_name_parse(o->object, &name) != 0 || name.kind != REPO_PACK ||
        !has_instead(inv, i))
        return err_set(e, ERR_INTEGRITY,
                       "%s is said to be healed, and no other pack that was named has its entries",
                       o->object);
    inv->at[i].healed = true;
    return 0;
}

int operation_replay(struct operation_inventory *inv, const struct operation *o, struct err *e)
{
    int rc = 0;
    if (o->tree_size != 0 &&
        (o->tree_size < inv->tree_size ||
         (o->tree_size == inv->tree_size && !sha256_equal(&o->tree_root, &inv->tree_root))))
        return err_set(e, ERR_INTEGRITY,
                       "it names a tree of %llu entries after another one of %llu: the history was "
                       "changed",
                       (unsigned long long)o->tree_size, (unsigned long long)inv->tree_size);
    if (o->kind == OPERATION_PACK || o->kind == OPERATION_SNAPSHOT)
        rc = add(inv, o, e);
    if (o->kind == OPERATION_DISPOSE && o->object[0] != '\0')
        rc = dispose(inv, o, e);
    if (o->kind == OPERATION_HEAL && o->object[0] != '\0')
        rc = heal(inv, o, e);
    if (rc == 0 && o->tree_size != 0) {
        inv->tree_size = o->tree_size;
        inv->tree_root = o->tree_root;
    }
    return rc;
}
