/* Counts what this program allocates, in all threads: stands before the C library's malloc, or hooks into the sanitizer's. */
#ifndef TESTS_UNIT_COUNT_MALLOCS_H
#define TESTS_UNIT_COUNT_MALLOCS_H

#include <stdatomic.h>
#include <stddef.h>

static atomic_ulong mallocs, large_mallocs;      /* large: of 64 KiB and more, by malloc */
static _Thread_local unsigned long mallocs_here; /* of them, by this thread */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void __sanitizer_malloc_hook(const volatile void *p, size_t n);
void __sanitizer_malloc_hook(const volatile void *p, size_t n)
{
    (void)p;
    atomic_fetch_add(&mallocs, 1);
    mallocs_here++;
    atomic_fetch_add(&large_mallocs, n >= 65536);
}
#else
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n)
{
    atomic_fetch_add(&mallocs, 1);
    mallocs_here++;
    atomic_fetch_add(&large_mallocs, n >= 65536);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t each)
{
    atomic_fetch_add(&mallocs, 1);
    mallocs_here++;
    return __libc_calloc(n, each);
}
void *realloc(void *p, size_t n)
{
    atomic_fetch_add(&mallocs, 1);
    mallocs_here++;
    return __libc_realloc(p, n);
}
#endif

#endif
