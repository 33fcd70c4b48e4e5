/* Usage: warm_memory MIB: use so much memory once, and give it back.
 *
 * A virtual machine gets its memory from the host when a page is first used, and may give it back when it lies idle: then the
 * next first use costs ten times and more what the page itself does (bench/README.md). Who writes many pages would be measured
 * with that, and who comes after him not. So before each measurement the memory that it may take was just in use. */
#include "bench/bench.h"

#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
    enum { PAGE = 4096 };
    const size_t bytes = argc == 2 ? (size_t)strtoul(argv[1], NULL, 10) << 20 : 0;
    if (bytes == 0)
        bench_fail("usage: warm_memory MIB");
    uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bench_fail("%s MiB of memory cannot be had", argv[1]);
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes; i += PAGE)
        ((volatile uint8_t *)p)[i] = 1;
    return 0;
}
