/* Codec of repl_message: the body of FRAME_PEER is the message's fixed part followed by its entries, each header and body
 * back to back as on disk. */
#ifndef REPLICATION_CORE_MESSAGES_H
#define REPLICATION_CORE_MESSAGES_H

#include "replication/core/repl.h"
#include "store/core/bytes.h"

enum { MESSAGE_FIXED_BYTES_MAX = 160 };

void message_write(struct writer *w, const struct repl_message *m);
/* Decodes the fixed part; *entries is what follows it. Strict; 0 or ERR_FORMAT. from/to are not on the wire: the link
 * knows them. */
int message_read(struct bytes body, struct repl_message *m, struct bytes *entries, struct err *e);
const char *message_name(enum repl_message_type type); /* "prevote", "entries", ... */

#endif
