#include "store/core/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *expr)
{
    (void)fprintf(stderr,
                  "%s:%d: invariant broken: %s. This is a bug in triveni; the site stops.\n", file,
                  line, expr);
    abort();
}
