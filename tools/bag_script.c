/* tools/bag_verify.sh, as bytes of the program. */
#include "tools/bag.h"

__asm__(".pushsection .rodata\n"
        ".globl bag_script_begin\n"
        ".globl bag_script_end\n"
        ".hidden bag_script_begin\n"
        ".hidden bag_script_end\n"
        "bag_script_begin:\n"
        ".incbin \"tools/bag_verify.sh\"\n"
        "bag_script_end:\n"
        ".byte 0\n"
        ".popsection\n");

extern const char bag_script_begin[];
extern const char bag_script_end[];

struct bytes bag_script(void)
{
    return bytes_of(bag_script_begin,
                    (size_t)((uintptr_t)bag_script_end - (uintptr_t)bag_script_begin));
}
