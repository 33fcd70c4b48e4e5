/* What a site says to another about what it has stored, and the rows in it. What is accepted is given back byte for byte. */
#include "replication/core/care.h"

#include "store/core/check.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct care_message m;
    struct err e = ERR_NONE;
    struct bytes in = bytes_of(data, size);
    if (care_read(in, &m, &e) != 0) {
        check(e.code == ERR_FORMAT);
        return 0;
    }
    uint8_t *out = malloc(size);
    check(out != NULL && care_bytes(&m) == size);
    struct writer w = writer_of(out, size);
    care_write(&w, &m);
    check(!w.bad && bytes_equal(bytes_of(out, w.at), in));
    free(out);
    struct reader rows = reader_of(m.payload);
    struct care_row row, before = {.lsn = {0}};
    while (rows.at < rows.n && care_next_row(&rows, &before, &row, &e) == 0) {
        check(before.key.n == 0 || care_compare_rows(&before, &row) < 0);
        before = row;
    }
    return 0;
}
