/* Index keys: order-preserving bytes of JSON scalars, ranges of them, and the keys of the rows.
 *
 * Why prefix-free: rows of one value are then exactly those that begin with its bytes, whatever record keys follow; and a
 * range over the first parts of a composite is a range of bytes. A cut key keeps that: 0x00 0x02 stands where a part or a
 * character could begin, and neither begins so.
 *
 * Why bounds are shorter than any cut: a bound B of at most INDEX_BOUND_MAX_BYTES and a cut key that keeps at least
 * INDEX_KEY_CUT_BYTES - 9 bytes of its value differ, if at all, before the cut; so to compare B with the cut key is to compare it
 * with the value. (A cut falls back at most 9 bytes: before a number that would be split.) */
#include "store/core/index_key.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum {
    NUMBER_BYTES = 9,
    HASH_KEPT_BYTES = 16,
    RECORD_CUT_BYTES = INDEX_RECORD_WHOLE_BYTES + 1 - HASH_KEPT_BYTES
};

_Static_assert(INDEX_ROW_KEY_MAX_BYTES == 511, "LMDB takes no longer key");
_Static_assert(INDEX_KEY_CUT_BYTES + 2 + HASH_KEPT_BYTES == INDEX_KEY_MAX_BYTES, "a cut key fits");

/* ---- declarations ---- */

bool index_declaration_same_rows(const struct index_declaration *a,
                                 const struct index_declaration *b)
{
    if (a->pointers != b->pointers || a->unique != b->unique)
        return false;
    for (uint32_t i = 0; i < a->pointers; i++)
        if (!bytes_equal(index_pointer(a, i), index_pointer(b, i)))
            return false;
    return true;
}

int index_pointer_check(struct bytes pointer, struct err *e)
{
    if (pointer.n > INDEX_POINTER_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "a JSON pointer of %zu bytes, at most %d are allowed",
                       pointer.n, INDEX_POINTER_MAX_BYTES);
    if (pointer.n != 0 && pointer.p[0] != '/')
        return err_set(e, ERR_USAGE,
                       "a JSON pointer begins with '/', like /owner/name (RFC 6901), or is empty");
    for (size_t i = 0; i < pointer.n; i++) {
        if (pointer.p[i] == '\0')
            return err_set(e, ERR_USAGE, "a JSON pointer has a zero byte at %zu", i);
        if (pointer.p[i] == '~' &&
            (i + 1 == pointer.n || (pointer.p[i + 1] != '0' && pointer.p[i + 1] != '1')))
            return err_set(e, ERR_USAGE,
                           "in a JSON pointer '~' is written ~0, and '/' within a name ~1 "
                           "(RFC 6901): byte %zu is neither",
                           i);
    }
    return 0;
}

bool index_pointer_next(struct bytes pointer, size_t *at, uint8_t out[INDEX_POINTER_MAX_BYTES],
                        struct bytes *token)
{
    check(pointer.n <= INDEX_POINTER_MAX_BYTES);
    if (*at >= pointer.n)
        return false;
    size_t n = 0, i = *at + 1; /* behind the '/' */
    for (; i < pointer.n && pointer.p[i] != '/'; i++) {
        uint8_t c = pointer.p[i];
        if (c == '~' && i + 1 < pointer.n)
            c = pointer.p[++i] == '0' ? '~' : '/';
        out[n++] = c;
    }
    *at = i;
    *token = bytes_of(out, n);
    return true;
}

int index_names_check(struct bytes collection, struct bytes name, struct err *e)
{
    const struct op of = {OP_DELETE, collection, bytes_str("k"), {NULL, 0}};
    const struct op named = {OP_DELETE, name, bytes_str("k"), {NULL, 0}};
    struct err why = ERR_NONE;
    if (op_check(&of, false, &why) != 0)
        return err_set(e, ERR_USAGE, "the index's %.400s", why.text);
    if (op_check(&named, false, &why) != 0)
        return err_set(e, ERR_USAGE, "the index's name is made as those of collections: %.400s",
                       why.text);
    return 0;
}

struct bytes index_declared_key(struct bytes collection, struct bytes name,
                                uint8_t out[INDEX_DECLARED_KEY_MAX_BYTES])
{
    struct writer w = writer_of(out, INDEX_DECLARED_KEY_MAX_BYTES);
    write_bytes(&w, collection);
    write_u8(&w, '/');
    write_bytes(&w, name);
    check(!w.bad);
    return bytes_of(out, w.at);
}

int index_read_declared_key(struct bytes key, struct bytes *collection, struct bytes *name,
                            struct err *e)
{
    const uint8_t *slash = key.n == 0 ? NULL : memchr(key.p, '/', key.n);
    struct err why = ERR_NONE;
    if (slash == NULL)
        return err_set(e, ERR_FORMAT, "its key is not <collection>/<name>");
    *collection = bytes_of(key.p, (size_t)(slash - key.p));
    *name = bytes_of(slash + 1, key.n - collection->n - 1);
    return index_names_check(*collection, *name, &why) == 0
               ? 0
               : err_set(e, ERR_FORMAT, "%.480s", why.text);
}

/* ---- keys ---- */

/* Bytes go into the key while there is room. `cut` is the last place before the limit where a part or a character began. */
struct encoder {
    struct index_key *out;
    size_t cut;
    bool over;
};

static void at_boundary(struct encoder *w)
{
    if (w->out->n <= INDEX_KEY_CUT_BYTES)
        w->cut = w->out->n;
}

static void add(struct encoder *w, const uint8_t *p, size_t n)
{
    const size_t room = INDEX_KEY_WHOLE_BYTES - w->out->n, fits = n < room ? n : room;
    w->over |= fits < n;
    memcpy(w->out->b + w->out->n, p, fits);
    w->out->n += fits;
}

static void add_number(struct encoder *w, double number)
{
    uint8_t b[NUMBER_BYTES - 1];
    uint64_t bits;
    if (number == 0)
        number = 0; /* -0 */
    _Static_assert(sizeof bits == sizeof number, "IEEE 754 double");
    memcpy(&bits, &number, sizeof bits);
    put_be64(b, bits >> 63 != 0 ? ~bits : bits | 1ull << 63);
    add(w, b, sizeof b);
}

static void add_text(struct encoder *w, struct bytes text)
{
    static const uint8_t zero[] = {0x00, 0xff};
    for (size_t i = 0; i < text.n && !w->over; i++) {
        at_boundary(w);
        if (text.p[i] == 0)
            add(w, zero, sizeof zero);
        else
            add(w, text.p + i, 1);
    }
}

static void end_text(struct encoder *w)
{
    static const uint8_t end[] = {0x00, 0x01};
    at_boundary(w);
    add(w, end, sizeof end);
}

static void add_part(struct encoder *w, const struct index_part *part)
{
    const uint8_t tag = (uint8_t)part->kind;
    at_boundary(w);
    add(w, &tag, 1);
    if (part->kind == INDEX_NUMBER)
        add_number(w, part->number);
    if (part->kind == INDEX_STRING) {
        add_text(w, part->text);
        end_text(w);
    }
}

static void add_hash(struct index_key *out, const struct index_part *parts, size_t n)
{
    struct sha256 h = {{0}};
    for (size_t i = 0; i < n; i++) {
        struct index_key raw = {.n = 0};
        struct encoder number = {.out = &raw};
        uint8_t front[sizeof h.b + 1];
        memcpy(front, h.b, sizeof h.b);
        front[sizeof h.b] = (uint8_t)parts[i].kind;
        if (parts[i].kind == INDEX_NUMBER)
            add_number(&number, parts[i].number);
        h = hash_sha256_2(bytes_of(front, sizeof front),
                          parts[i].kind == INDEX_STRING ? parts[i].text : index_key_bytes(&raw));
    }
    out->b[out->n++] = 0x00;
    out->b[out->n++] = 0x02;
    memcpy(out->b + out->n, h.b, HASH_KEPT_BYTES);
    out->n += HASH_KEPT_BYTES;
}

void index_key_encode(struct index_key *out, const struct index_part *parts, size_t n)
{
    check(n <= INDEX_POINTERS_MAX);
    struct encoder w = {.out = out};
    out->n = 0;
    for (size_t i = 0; i < n; i++)
        add_part(&w, &parts[i]);
    out->is_cut = w.over;
    if (!w.over)
        return;
    check(w.cut >= INDEX_KEY_CUT_BYTES - NUMBER_BYTES);
    out->n = w.cut;
    add_hash(out, parts, n);
}

/* ---- ranges ---- */

static void raise_low(struct index_range *r, const struct index_key *k)
{
    if (bytes_compare(index_key_bytes(k), index_key_bytes(&r->low)) > 0)
        r->low = *k;
}

static void lower_high(struct index_range *r, const struct index_key *k)
{
    if (r->high.n == 0 || bytes_compare(index_key_bytes(k), index_key_bytes(&r->high)) < 0)
        r->high = *k;
}

/* All that begin with `k`; no key begins with 0xff, so there always is an end. */
static void narrow_to(struct index_range *r, const struct index_key *k)
{
    struct index_key end = *k;
    if (k->n == 0)
        return;
    raise_low(r, k);
    while (end.b[end.n - 1] == 0xff)
        end.n--;
    end.b[end.n - 1]++;
    lower_high(r, &end);
}

static int too_long(struct err *e)
{
    return err_set(e, ERR_LIMIT,
                   "a bound of an index scan is at most %d bytes as it is encoded; give a shorter "
                   "one",
                   INDEX_BOUND_MAX_BYTES);
}

int index_range_equal(struct index_range *r, const struct index_part *parts, size_t n,
                      uint32_t pointers, struct err *e)
{
    struct index_key k;
    index_key_encode(&k, parts, n);
    if (n < pointers && k.n > INDEX_BOUND_MAX_BYTES)
        return too_long(e);
    narrow_to(r, &k);
    return 0;
}

int index_range_from(struct index_range *r, const struct index_part *parts, size_t n, struct err *e)
{
    struct index_key k;
    index_key_encode(&k, parts, n);
    if (k.n > INDEX_BOUND_MAX_BYTES)
        return too_long(e);
    raise_low(r, &k);
    return 0;
}

int index_range_to(struct index_range *r, const struct index_part *parts, size_t n, struct err *e)
{
    struct index_key k;
    index_key_encode(&k, parts, n);
    if (k.n > INDEX_BOUND_MAX_BYTES)
        return too_long(e);
    lower_high(r, &k);
    return 0;
}

int index_range_prefix(struct index_range *r, const struct index_part *parts, size_t n,
                       struct bytes prefix, struct err *e)
{
    check(n < INDEX_POINTERS_MAX);
    struct index_key k;
    const uint8_t tag = INDEX_STRING;
    index_key_encode(&k, parts, n);
    struct encoder w = {.out = &k, .over = k.is_cut};
    if (!w.over) {
        add(&w, &tag, 1);
        add_text(&w, prefix);
    }
    if (w.over || k.n > INDEX_BOUND_MAX_BYTES)
        return too_long(e);
    narrow_to(r, &k);
    return 0;
}

/* ---- tokens ---- */

void index_token_tag(struct bytes collection, struct bytes name, const struct index_declaration *d,
                     uint8_t out[INDEX_TOKEN_TAG_BYTES])
{
    uint8_t key[INDEX_DECLARED_KEY_MAX_BYTES], length[INDEX_POINTERS_MAX][2];
    struct bytes pieces[2 + 2 * INDEX_POINTERS_MAX];
    size_t n = 0;
    pieces[n++] = index_declared_key(collection, name, key);
    pieces[n++] = bytes_of("", 1);
    for (uint32_t i = 0; i < d->pointers; i++) {
        const struct bytes pointer = index_pointer(d, i);
        put_le16(length[i], (uint16_t)pointer.n);
        pieces[n++] = bytes_of(length[i], sizeof length[i]);
        pieces[n++] = pointer;
    }
    put_be64(out, hash_xxh128(pieces, n).lo);
}

/* ---- rows ---- */

struct bytes index_row_key(uint64_t id, struct bytes value, struct bytes record_key,
                           uint8_t out[INDEX_ROW_KEY_MAX_BYTES])
{
    struct writer w = writer_of(out, INDEX_ROW_KEY_MAX_BYTES);
    put_be64(out, id);
    (void)write_reserve(&w, 8);
    write_bytes(&w, value);
    if (record_key.n <= INDEX_RECORD_WHOLE_BYTES) {
        write_bytes(&w, record_key);
    } else {
        const struct sha256 h = hash_sha256(record_key);
        write_bytes(&w, bytes_of(record_key.p, RECORD_CUT_BYTES));
        write_bytes(&w, bytes_of(h.b, HASH_KEPT_BYTES));
    }
    check(!w.bad);
    return bytes_of(out, w.at);
}
