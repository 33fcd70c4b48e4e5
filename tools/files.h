/* Small whole files. */
#ifndef TOOLS_FILES_H
#define TOOLS_FILES_H

#include "store/core/bytes.h"
#include "store/core/err.h"

/* Read all of a file ("-": standard input) of at most `max` bytes; *out is malloc'ed with a NUL after its n bytes. ERR_NOT_FOUND,
 * ERR_DENIED, ERR_LIMIT, ERR_IO with the name. */
int file_read(const char *path, size_t max, uint8_t **out, size_t *n, struct err *e);

/* Create a file that must not exist (ERR_EXISTS) with that mode, whole and on stable storage. */
int file_create(const char *path, unsigned mode, struct bytes text, struct err *e);
/* Create a directory; one that exists and is empty is taken, otherwise ERR_EXISTS. */
int directory_create(const char *path, unsigned mode, struct err *e);

#endif
