/* What the archive's site and its witnesses say to each other. What is accepted is given back byte for byte. */
#include "replication/core/cosign.h"

#include "store/core/check.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cosign_message m;
    struct err e = ERR_NONE;
    struct bytes in = bytes_of(data, size);
    if (cosign_read(in, &m, &e) != 0) {
        check(e.code == ERR_FORMAT);
        return 0;
    }
    uint8_t *out = malloc(size);
    check(out != NULL && cosign_bytes(&m) == size);
    struct writer w = writer_of(out, size);
    cosign_write(&w, &m);
    check(!w.bad && bytes_equal(bytes_of(out, w.at), in));
    free(out);
    return 0;
}
