#include "store/core/jump.h"

/* Written as a sum of terms 2^k - 1, the largest ones first, a depth ends in the length of its jump: 1 -> 0, 2 = 1 + 1 -> 1,
 * 3 -> 0, 4 = 3 + 1 -> 3, 6 = 3 + 3 -> 3, 7 -> 0. */
uint32_t jump_depth(uint32_t depth)
{
    uint32_t rest = depth, term = UINT32_MAX;
    while (rest != 0) {
        while (term > rest)
            term >>= 1;
        rest -= term;
    }
    return depth == 0 ? 0 : depth - term;
}
