/* Indexes: what is declared, documents, bounds and tokens that a client gives, and rows from a disk. The first byte chooses.
 * What is accepted is given back: a declaration by its text, a row by its key. */
#include "store/io/state_index.h"

#include "store/core/check.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void declaration(struct bytes in)
{
    struct index_declaration d, again;
    struct err e = ERR_NONE;
    char *text;
    size_t n;
    int rc = index_declaration_parse(in, &d, &e);
    if (rc != 0) {
        check(rc == ERR_FORMAT || rc == ERR_USAGE || rc == ERR_LIMIT);
        return;
    }
    check(index_declaration_write(&d, &text, &n, &e) == 0);
    check(index_declaration_parse(bytes_of(text, n), &again, &e) == 0);
    check(index_declaration_same_rows(&d, &again) && d.enforced == again.enforced);
    free(text);
}

static const struct index_declaration two = {
    .pointers = 2, .pointer_bytes = {2, 5}, .pointer = {"/a", "/b/~0"}};
static const struct index_declaration whole = {.pointers = 1};

static void document(struct bytes in)
{
    struct index_key k;
    uint8_t row[INDEX_ROW_KEY_MAX_BYTES];
    struct index_document *doc;
    check(index_document_open(in, &doc, NULL) == 0);
    if (index_document_key(doc, &two, &k))
        check(index_row_key(1, index_key_bytes(&k), in.n <= KEY_MAX_BYTES ? in : bytes_of("k", 1),
                            row)
                  .n <= INDEX_ROW_KEY_MAX_BYTES);
    /* A scalar is within the range that it is the bound of. */
    struct index_range r;
    if (index_document_key(doc, &whole, &k) &&
        index_range_parse(&r, &whole, &(struct index_bounds){.equal = in}, NULL) == 0)
        check(bytes_compare(index_key_bytes(&r.low), index_key_bytes(&k)) <= 0 &&
              bytes_compare(index_key_bytes(&k), index_key_bytes(&r.high)) < 0);
    index_document_close(doc);
}

static void bounds(struct bytes in, uint8_t which)
{
    struct index_range r;
    const struct bytes none = {NULL, 0};
    const size_t half = in.n / 2;
    const struct bytes a = bytes_of(in.p, half), b = bytes_of(in.p + half, in.n - half);
    const struct index_bounds o = {(which & 1) != 0 ? a : none, (which & 2) != 0 ? b : none,
                                   (which & 4) != 0 ? a : none, (which & 8) != 0 ? b : none};
    int rc = index_range_parse(&r, &two, &o, NULL);
    check(rc == 0 || rc == ERR_USAGE || rc == ERR_LIMIT);
}

/* With a checksum that holds: else hardly a row would be read. */
static void row(struct bytes in, enum state_db db)
{
    const size_t key_bytes = in.n == 0 ? 0 : in.p[0] % in.n;
    const struct bytes key = bytes_of(in.p + (in.n != 0), key_bytes);
    const size_t n = in.n - key_bytes - (in.n != 0);
    struct index x;
    struct index_row of;
    uint8_t again[INDEX_ROW_KEY_MAX_BYTES];
    if (n < 4)
        return;
    uint8_t *copy = malloc(n);
    check(copy != NULL);
    memcpy(copy, key.p + key_bytes, n);
    struct writer w = {.p = copy, .cap = n, .at = n};
    const struct bytes sealed = row_seal(key, &w);
    if (db == DB_INDEXES && row_read_catalog(key, sealed, &x, NULL) == 0)
        check(bytes_equal(row_catalog_key(index_collection(&x), index_name(&x), x.id, again), key));
    if (db == DB_INDEX && row_read_index(key, sealed, &of, NULL) == 0)
        check(bytes_equal(index_row_key(of.id, of.value, of.record_key, again), key));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct bytes in = bytes_of(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        declaration(in);
        break;
    case 1:
        document(in);
        break;
    case 2:
        bounds(in, data[0] / 5);
        break;
    case 3:
        row(in, DB_INDEXES);
        break;
    default:
        row(in, DB_INDEX);
        break;
    }
    return 0;
}
