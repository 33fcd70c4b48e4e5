/* Programs that hand over a secret: a key or a PIN. No shell has a part in it. */
#ifndef REPOSITORY_IO_PROGRAM_H
#define REPOSITORY_IO_PROGRAM_H

#include "store/core/err.h"

#include <stddef.h>
#include <stdint.h>

enum { REPO_PROGRAM_MS = 30000, REPO_PROGRAM_WORDS = 32, REPO_PROGRAM_BYTES = 1024 };

/* Run the words of `line` (apart by blanks, the first one an absolute path), with nothing on its stdin, and take what it
 * writes to stdout, at most room bytes. ERR_CONFIG when the line is not such, ERR_NOT_FOUND and ERR_DENIED when it cannot
 * be run, ERR_IO with the end of its stderr when it fails or takes longer than timeout_ms (then it is killed, with its
 * children), ERR_FORMAT when it writes more. What it wrote is in no message. Any thread. */
int repo_program_run(const char *line, uint32_t timeout_ms, char *out, size_t room, size_t *n,
                     struct err *e);

#endif
