/* A leaf of the operations log, as somebody else may have signed it: what is taken is written again byte for byte, and adding it
 * up keeps the inventory sorted. The input is leaves, a line each. */
#include "repository/core/operations.h"

#include "store/core/check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void leaf(struct bytes in, struct operation_inventory *inv)
{
    struct operation o;
    struct err e = ERR_NONE;
    uint8_t text[OPERATION_MAX_BYTES];
    struct writer w = writer_of(text, sizeof text);
    int rc = operation_read(in, &o, &e);
    if (rc != 0) {
        check(rc == ERR_FORMAT && e.code == ERR_FORMAT);
        return;
    }
    check(operation_write(&w, &o, &e) == 0 && bytes_equal(bytes_of(text, w.at), in));
    rc = operation_replay(inv, &o, &e);
    check(rc == 0 || rc == ERR_LIMIT || rc == ERR_INTEGRITY);
    for (size_t i = 1; i < inv->n; i++)
        check(strcmp(inv->at[i - 1].name, inv->at[i].name) < 0);
    if (rc == 0 && (o.kind == OPERATION_PACK || o.kind == OPERATION_SNAPSHOT))
        check(operation_find(inv, o.object) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct operation_object room[8];
    struct operation_inventory inv = {.at = room, .cap = 8};
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end == NULL ? size - at : (size_t)(end - data) - at;
        leaf(bytes_of(data + at, n), &inv);
        at += n + 1;
    }
    return 0;
}
