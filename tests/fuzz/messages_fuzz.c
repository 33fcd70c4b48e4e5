/* What sites say to each other in the protocol. What is accepted is given back byte for byte, with the entries behind it. */
#include "replication/core/messages.h"

#include "store/core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct repl_message m;
    struct bytes entries;
    struct err e = ERR_NONE;
    if (message_read(bytes_of(data, size), &m, &entries, &e) != 0) {
        check(e.code == ERR_FORMAT && e.text[0] != '\0');
        return 0;
    }
    uint8_t again[MESSAGE_FIXED_BYTES];
    struct writer w = writer_of(again, sizeof again);
    message_write(&w, &m);
    check(!w.bad && w.at + entries.n == size && entries.p == data + w.at);
    check(bytes_equal(bytes_of(again, w.at), bytes_of(data, w.at)));
    return 0;
}
