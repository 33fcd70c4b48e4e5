/* How far a load is: the record that it commits together with each batch. */
#ifndef TOOLS_LOAD_PROGRESS_H
#define TOOLS_LOAD_PROGRESS_H

#include "store/core/bytes.h"
#include "store/core/err.h"

#include <stdbool.h>
#include <stdint.h>

#define LOAD_PROGRESS_COLLECTION "load-progress"

struct load_progress {
    uint64_t lines, offset;     /* of the input, all committed */
    uint32_t crc;               /* CRC32C of the input before offset */
    bool open_end;              /* the last line had no line end */
    uint64_t records, rejected; /* of these lines */
    uint64_t rejects_bytes;     /* size of the reject file then */
    bool done;
};

enum { LOAD_PROGRESS_BYTES = 512 };
/* JSON text; returns its length. */
size_t load_progress_write(const struct load_progress *p, char out[LOAD_PROGRESS_BYTES]);
int load_progress_read(struct bytes json, struct load_progress *out,
                       struct err *e); /* 0 or ERR_FORMAT */

#endif
