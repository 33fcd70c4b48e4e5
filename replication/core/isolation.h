/* Isolation for drills: until when, and from whom, a site is cut off in software, and the bytes that keep it over a restart.
 *
 * It ends by itself. While the machine runs, the clock that counts suspend decides, so no step of the wall clock moves the end.
 * After the machine itself was started anew only the wall clock can tell how much time went by; it may have been set, so it is
 * believed only as far as it shortens what was left when the record was last written. */
#ifndef REPLICATION_CORE_ISOLATION_H
#define REPLICATION_CORE_ISOLATION_H

#include "store/core/body.h"
#include "store/core/bytes.h"
#include "store/core/err.h"

#include <stdbool.h>

enum { ISOLATE_SITES = 1u << 0, ISOLATE_CLIENTS = 1u << 1 };
enum {
    ISOLATION_BYTES = 256,
    ISOLATION_MIN_MS = 1000,
    ISOLATION_MAX_MS = 24 * 3600 * 1000,
};

struct isolation_now {
    struct uuid boot; /* of this run of the machine; zero: not known */
    uint64_t boot_us; /* CLOCK_BOOTTIME */
    struct utc wall;
};

struct isolation {
    unsigned links; /* 0: not isolated */
    struct uuid boot;
    uint64_t until_boot_us; /* the end, in that run of the machine */
    struct utc until;       /* the same moment by the wall clock, as it was when this was written */
    uint64_t left_us;       /* at that time */
    char by[CLIENT_NAME_MAX_BYTES + 1]; /* the operator */
};

/* "sites", "clients" or "both"; 0: none of them. */
unsigned isolation_links(const char *text);
const char *isolation_links_name(unsigned links); /* "none" for 0 */

void isolation_begin(struct isolation *i, unsigned links, uint64_t for_us, const char *by,
                     const struct isolation_now *now);
/* Microseconds until the end, in the same run of the machine; 0: it is over, or there is none. */
uint64_t isolation_left_us(const struct isolation *i, uint64_t boot_us);
/* What is to be written now: the same end, seen from `now`. Of a record that was read, this run of the machine may be another
 * one. Not isolated any more (links 0) when it is over. */
void isolation_renew(struct isolation *i, const struct isolation_now *now);

void isolation_encode(const struct isolation *i, uint8_t out[ISOLATION_BYTES]);
/* Strict. ERR_FORMAT, ERR_NEWER. */
int isolation_decode(struct bytes in, struct isolation *i, struct err *e);

#endif
