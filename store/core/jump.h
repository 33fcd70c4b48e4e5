/* Where the jump pointers of a growing list lead: the skew-binary scheme of Myers, "An applicative random-access stack"
 * (Information Processing Letters 17, 1983). Each element keeps one pointer beside the one to its predecessor, and any element
 * is found from the newest in O(log n) steps; nothing that was written is ever changed. */
#ifndef STORE_CORE_JUMP_H
#define STORE_CORE_JUMP_H

#include <stdint.h>

/* Depth of the element that the pointer of an element at `depth` leads to. The oldest has depth 0, and is its own target. */
uint32_t jump_depth(uint32_t depth);

#endif
