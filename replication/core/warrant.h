/* Warrants: an act that one person alone may not order (P12). A warrant is a text that says what is to be done, to which cluster,
 * on which facts it rests, and until when; two different operators sign that very text, and whoever carries the act out checks
 * both signatures (replication/io/cosign.h), then this, then the facts.
 *
 * FORMAT, each line ended by a line feed, one blank between name and value; there is no second way to write the same warrant:
 *   triveni warrant 1
 *   act <name of the act>              of the letters a-z, digits and '-'
 *   cluster <name> <id>                of the cluster that it is for
 *   asked-by <operator>                must be one of those who signed
 *   nonce <32 hex digits>              by which it is known: carried out once
 *   made <time>                        2026-11-24T03:18:21Z, UTC, whole seconds
 *   expires <time>                     at most WARRANT_LIFE_MAX_S later
 *                                      (an empty line)
 *   <name> <value>                     facts, 0 to WARRANT_FACTS_MAX, in the order of the act; a name may come again
 *
 * It is for people to read: what is signed is what is shown. A value is UTF-8 without control characters, and may hold blanks. */
#ifndef REPLICATION_CORE_WARRANT_H
#define REPLICATION_CORE_WARRANT_H

#include "store/core/bytes.h"
#include "store/core/err.h"
#include "store/core/ids.h"

enum {
    WARRANT_TEXT_MAX = 16 << 10,
    WARRANT_FACTS_MAX = 64,
    WARRANT_NAME_MAX_BYTES = 32, /* of acts and facts */
    WARRANT_VALUE_MAX_BYTES = 1024,
    WARRANT_NONCE_BYTES = 16,
    WARRANT_NONCE_TEXT = 2 * WARRANT_NONCE_BYTES + 1,
    WARRANT_LIFE_MAX_S = 24 * 3600, /* two people, who may have to travel to their keys */
    WARRANT_TIME_BYTES = 40,
    WARRANT_SIGNERS = 2,
};

struct warrant_fact {
    struct bytes name, value;
};
struct warrant {
    struct bytes act, cluster, asked_by;
    struct uuid cluster_id;
    uint8_t nonce[WARRANT_NONCE_BYTES];
    struct utc made, expires; /* whole seconds */
    uint32_t count;
    struct warrant_fact facts[WARRANT_FACTS_MAX];
};

/* The text; what it points to must be as FORMAT says (checked by reading it back: warrant_read). w->bad: it did not fit. */
void warrant_write(struct writer *w, const struct warrant *x);
/* The whole text; views into it. ERR_FORMAT with the line and what is wrong with it; foreign bytes are expected. */
int warrant_read(struct bytes text, struct warrant *out, struct err *e);

/* Add a fact; requires that there is room. */
void warrant_say(struct warrant *x, const char *name, struct bytes value);
/* The nth (from 0) fact of that name; p is NULL when there is none. */
struct bytes warrant_fact(const struct warrant *x, const char *name, uint32_t nth);
/* The only fact of that name, a decimal number. ERR_FORMAT: it is missing, there twice, or none. */
int warrant_number(const struct warrant *x, const char *name, uint64_t *out, struct err *e);
/* All facts have names on the list (NULL ends it): what is not understood is not carried out. ERR_FORMAT. */
int warrant_only(const struct warrant *x, const char *const *names, struct err *e);

/* For whom it is to be carried out. */
struct warrant_place {
    const char *act, *cluster;
    struct uuid cluster_id;
};
/* May it be carried out here and now, as signed by these operators (names from certificates that were verified)? ERR_USAGE:
 * another act, or it lives too long. ERR_CONDITION: of another cluster. ERR_TIMEOUT: expired. ERR_DENIED: not signed by
 * two different operators, or not by the one who asked. Whether its nonce was used is for the caller to remember. */
int warrant_admit(const struct warrant *x, const struct warrant_place *here,
                  const char *const *signers, uint32_t n, struct utc now, struct err *e);

void warrant_time_text(struct utc t, char out[WARRANT_TIME_BYTES]); /* as in FORMAT */

#endif
