/* Counts what this program allocates, in all threads and in each: stands before the C library's malloc, or hooks into the
 * sanitizer's. */
#ifndef TESTS_UNIT_COUNT_MALLOCS_H
#define TESTS_UNIT_COUNT_MALLOCS_H

#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

enum { MALLOC_THREADS_MAX = 64 }; /* those after them share the last place */

static atomic_ulong mallocs, large_mallocs;      /* large: of 64 KiB and more, by malloc */
static _Thread_local unsigned long mallocs_here; /* of them, by this thread */
/* The same where another thread can read it, by threads in the order of their first allocation. */
static struct malloc_thread {
    pid_t tid;
    atomic_ulong made;
} malloc_threads[MALLOC_THREADS_MAX];
static atomic_uint malloc_thread_count;
static _Thread_local struct malloc_thread *malloc_thread; /* NULL before the first */

static inline void malloc_count(size_t n)
{
    if (malloc_thread == NULL) {
        const unsigned i = atomic_fetch_add(&malloc_thread_count, 1);
        malloc_thread = &malloc_threads[i < MALLOC_THREADS_MAX ? i : MALLOC_THREADS_MAX - 1];
        malloc_thread->tid = gettid();
    }
    atomic_fetch_add(&malloc_thread->made, 1);
    atomic_fetch_add(&mallocs, 1);
    mallocs_here++;
    atomic_fetch_add(&large_mallocs, n >= 65536);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void __sanitizer_malloc_hook(const volatile void *p, size_t n);
void __sanitizer_malloc_hook(const volatile void *p, size_t n)
{
    (void)p;
    malloc_count(n);
}
#else
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n)
{
    malloc_count(n);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t each)
{
    malloc_count(0);
    return __libc_calloc(n, each);
}
void *realloc(void *p, size_t n)
{
    malloc_count(0);
    return __libc_realloc(p, n);
}
#endif

#endif
