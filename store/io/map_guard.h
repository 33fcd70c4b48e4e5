/* What becomes of a fault in the mapped file of the state. LMDB reads data.mdb through a mapping, so a block that the disk
 * cannot read is no error code but SIGBUS, and a damaged page that LMDB follows may be SIGSEGV. The process dies of it; but
 * it says of which file, and leaves a marker in the state's directory, so that the next start verifies all of the state
 * before it serves. */
#ifndef STORE_IO_MAP_GUARD_H
#define STORE_IO_MAP_GUARD_H

#include "store/core/err.h"

#include <stdbool.h>
#include <stdint.h>

#define MAP_GUARD_MARKER "VERIFY"

/* From now on, in all threads. `dir` is the state's, made when it is not there. One per process; a second call replaces the
 * directory. A signal that has a handler already (a sanitizer's) keeps it. */
int map_guard_arm(const char *dir, struct err *e);

/* Was the marker left in `dir`? */
bool map_guard_marked(const char *dir);
/* Verify the state in `dir`, which nobody has open, without mapping it, and take the marker away. Damaged records are counted
 * and left to the scrub, which has them repaired from another site; anything else that is damaged is ERR_INTEGRITY, and the
 * marker stays. */
int map_guard_verify(const char *dir, uint64_t *records, uint64_t *damaged, struct err *e);

#endif
