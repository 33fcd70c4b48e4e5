/* The text of a warrant: what is read is written again as the same bytes. */
#include "replication/core/warrant.h"

#include "store/core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct warrant w;
    static uint8_t again[WARRANT_TEXT_MAX];
    const struct bytes in = bytes_of(data, size);
    int rc = warrant_read(in, &w, NULL);
    check(rc == 0 || rc == ERR_FORMAT);
    if (rc != 0)
        return 0;
    struct writer out = writer_of(again, sizeof again);
    warrant_write(&out, &w);
    check(!out.bad && bytes_equal(bytes_of(again, out.at), in));
    return 0;
}
