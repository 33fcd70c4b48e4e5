/* Bodies of frames between clients and sites: the first byte chooses the kind, the rest is the body. What a reader accepts, its
 * writer gives back byte for byte. */
#include "tests/fuzz/wire_again.h"

#include "store/core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[1 << 16];
    if (size == 0 || size > sizeof out)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    struct writer w = writer_of(out, sizeof out);
    struct err e = ERR_NONE;
    int rc = wire_again((enum wire_body)(data[0] % WIRE_BODIES), in, &w, &e);
    check(rc != ERR_INTEGRITY);
    check(rc == 0 || rc == ERR_LIMIT || rc == ERR_FORMAT);
    check(rc != 0 || (!w.bad && bytes_equal(bytes_of(out, w.at), in)));
    return 0;
}
