/* Is what clients saw of one register linearizable? Used by the simulator (tests/sim/sim_history.c) and on histories of real
 * sites (tests/nemesis/registers.c).
 *
 * Records are independent, so each has a history of its own (Herlihy and Wing 1990: linearizability is local). For each the
 * search of Wing and Gong (1993) looks for an order of all answered requests, and of some unanswered ones, that a single
 * register could have given and in which nothing comes before what had been answered when it was asked. As Lowe (2017) has
 * it, a configuration, which is the set of what is placed and the value, is looked at once: the same requests in another
 * order lead nowhere else. Configurations are known by a hash of 64 bits. */
#ifndef TESTS_LIB_LINEAR_H
#define TESTS_LIB_LINEAR_H

#include <stdbool.h>
#include <stdint.h>

enum linear_kind { LINEAR_READ, LINEAR_PUT, LINEAR_DELETE, LINEAR_CAS };

/* One request. Whoever puts something puts a value that nobody else puts; 0 is "there is no record". */
struct linear_op {
    enum linear_kind kind;
    bool refused;      /* a CAS that was told that its condition does not hold */
    uint64_t value;    /* put, or read */
    uint64_t expected; /* CAS: only if this is there */
    uint64_t invoked;  /* any clock that all clients share, or just their order */
    uint64_t returned; /* 0: nobody knows what became of it; reads of that kind are left out */
};

struct linear; /* the memory of a search; opaque; one thread at a time */

/* For histories of up to `ops_max` requests; a search is given up after `steps_max`. Ends the program when there is no memory. */
struct linear *linear_new(uint32_t ops_max, uint32_t steps_max);
void linear_free(struct linear *f); /* NULL is allowed */

enum linear_verdict { LINEAR_NO, LINEAR_YES, LINEAR_GIVEN_UP };

/* `ops` in the order of `invoked`, n of them, borrowed for the call. The register is empty in the beginning. */
enum linear_verdict linear_check(struct linear *f, const struct linear_op *ops, uint32_t n);

#endif
