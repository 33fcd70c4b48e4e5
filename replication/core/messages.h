/* Codec of repl_message: the body of FRAME_PEER is the message's fixed part followed by its entries, each header and body
 * back to back as on disk.
 *
 * FORMAT of the fixed part (little-endian). A field that docs/PROTOCOL.md does not list for the type must be zero.
 *   offset size field
 *        0    1 type         enum repl_message_type
 *        1    1 flags        bit 0 granted, 1 transfer, 2 rejected, 3 counts, 4 lost; the others must be zero
 *        2    2 reserved     must be zero
 *        4    4 count        entries that follow
 *        8    8 term
 *       16    8 incarnation
 *       24    8 lsn
 *       32    8 lsn_term
 *       40   32 hash
 *       72    8 last
 *       80    8 last_term
 *       88    8 commit
 *       96    8 round
 *      104    8 readmit, of give: age_ms
 *      112    8 applied
 *      120    8 archived */
#ifndef REPLICATION_CORE_MESSAGES_H
#define REPLICATION_CORE_MESSAGES_H

#include "replication/core/repl.h"
#include "store/core/bytes.h"

enum { MESSAGE_FIXED_BYTES = 128 };

void message_write(struct writer *w, const struct repl_message *m);
/* Decodes the fixed part; *entries is what follows it, a view into `body`. Strict; 0 or ERR_FORMAT with offset and reason.
 * from/to are not on the wire (both become REPL_NOBODY): the link knows them. Whether the entries are `count` whole
 * ones is for the caller, who decodes them. */
int message_read(struct bytes body, struct repl_message *m, struct bytes *entries, struct err *e);

#endif
