/* Private to replication/: the data directory of a site. */
#ifndef REPLICATION_SITE_INIT_H
#define REPLICATION_SITE_INIT_H

#include "replication/io/vote.h"
#include "replication/site.h"

/* Does the directory belong to this cluster and site? ERR_NOT_FOUND: never initialised; ERR_DENIED: somebody else's, or
 * it counts other members. */
int site_check_identity(const struct site_config *c, struct err *e);
/* The same, but the list of members is not compared: `members` becomes what site.json says; empty: the site joins. */
int site_read_identity(const struct site_config *c, char members[SITE_MEMBERS_BYTES],
                       struct err *e);
/* No segment of a log is in the directory: never begun, or removed. */
bool site_log_is_gone(const char *dir);
/* ERR_BUSY, with the pid, when another process runs on it. The lock ends with the descriptor. */
int site_lock(const struct site_config *c, int *fd, struct err *e);

#endif
