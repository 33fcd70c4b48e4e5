/* Work that must not be in anybody's way. */
#ifndef TOOLS_BACKGROUND_H
#define TOOLS_BACKGROUND_H

/* This process, from now on: least priority for processor and disk, at most BACKGROUND_MEMORY_MIB of its own memory (so that it
 * fails before others do), and it ends when the process that began it does. What the system refuses is left out. */
enum { BACKGROUND_MEMORY_MIB = 2048 };
void background_begin(void);

#endif
