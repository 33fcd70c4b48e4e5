/* Salts of entries, drawn from the system's generator many at a time: asking it for sixteen bytes costs more than sealing a small
 * entry does (it locks, and asks for its process id, each time). What was given out is wiped, so that each salt is in one place:
 * its entry.
 *
 * One owner, one thread; all zeros is a good beginning. A process that forks must not go on with it in both halves. */
#ifndef STORE_IO_SALTS_H
#define STORE_IO_SALTS_H

#include "store/core/entry.h"
#include "store/core/err.h"

enum {
    SALTS_DRAWN = 256
}; /* at once: 4 KiB, and the generator's own cost is a small part of what remains */

struct salts {
    uint32_t left;
    uint8_t drawn[SALTS_DRAWN][ENTRY_SALT_BYTES];
};

/* 0, or ERR_FAILED when the generator failed; then nothing may be written. */
int salts_next(struct salts *s, uint8_t out[ENTRY_SALT_BYTES], struct err *e);
void salts_wipe(struct salts *s);

#endif
