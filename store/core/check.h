/* Assertions. Our own bugs stop the process; foreign bytes and operating errors never come here.
 *
 * check() stays on in release builds: a site that has lost its invariants must not answer.
 * check_slow() is for whole-structure walks and is compiled in with -DTVN_CHECK_SLOW (debug, sanitizer
 * and simulation builds). */
#ifndef STORE_CORE_CHECK_H
#define STORE_CORE_CHECK_H

/* Prints file, line and expression to stderr and aborts. Implemented outside the pure folders. */
_Noreturn void check_failed(const char *file, int line, const char *expr);

#define check(expr) ((expr) ? (void)0 : check_failed(__FILE__, __LINE__, #expr))

#ifdef TVN_CHECK_SLOW
#define check_slow(expr) check(expr)
#else
#define check_slow(expr) ((void)sizeof((expr) ? 1 : 0))
#endif

#endif
