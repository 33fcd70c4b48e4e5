/* Calls that are too easy to get wrong; using one is a compile error. Included into every file by the Makefile. */
#ifndef STORE_CORE_BANNED_H
#define STORE_CORE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* clang with _FORTIFY_SOURCE has these two as macros. */
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok atoi atol atoll
#pragma GCC poison gmtime localtime ctime asctime mktemp tmpnam

#endif
