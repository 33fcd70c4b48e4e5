/* How often a test repeats what it does with other random numbers: `few` times under a sanitizer, where each round costs several
 * times as much and the first ones have run all code; `all` in the programs without, as `make check-long` runs them. */
#ifndef TESTS_UNIT_ROUNDS_H
#define TESTS_UNIT_ROUNDS_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS(all, few) (few)
#else
#define ROUNDS(all, few) (all)
#endif

#endif
