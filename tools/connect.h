/* From the common options to a handle of libtriveni. */
#ifndef TOOLS_CONNECT_H
#define TOOLS_CONNECT_H

#include "client/triveni.h"
#include "tools/cli.h"

struct profile; /* what a profile file says */

/* The common options, completed from the profile, as options of the client. Strings belong to the common options and to
 * *profile, which the caller frees with profile_free() after the last use. ERR_USAGE names what is missing. */
int connect_options(const struct common *c, struct tvn_options *out, struct profile **profile,
                    struct err *e);
void profile_free(struct profile *p);

/* connect_options() and tvn_open(). Close with tvn_close(). */
int connect_open(const struct common *c, struct tvn **out, struct err *e);

/* tvn_error -> err; the codes are the same. Returns the code. */
int from_client(const struct tvn_error *error, struct err *e);

const char *ack_name(int ack); /* of enum tvn_ack */

#endif
