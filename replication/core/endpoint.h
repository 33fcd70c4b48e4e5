/* Where a site is reached: "host:port", with an IPv6 address in brackets: 10.0.0.1:7400, dc.example:7400, [fd00::1]:7400. */
#ifndef REPLICATION_CORE_ENDPOINT_H
#define REPLICATION_CORE_ENDPOINT_H

#include "store/core/bytes.h"

/* False: it is not one. *host is a view of `text` without the brackets, never empty; *port may be 0, which is for who
 * listens only. Whether the name exists is not asked. */
bool endpoint_parse(struct bytes text, struct bytes *host, uint16_t *port);

#endif
