/* Faults of the system under a program, one call site at a time.
 *
 * A program that links faults.c has the C library's calls for files, memory and threads replaced, for itself and for liblmdb and
 * with io_uring's submission. Each call is known by its site: the address that it returns to, in the program or in liblmdb; calls
 * from elsewhere pass. While counting is on, each site notes how often it was reached; when a fault is armed, the n-th call of
 * one site fails in the given way. The table lies in memory that is shared with children, so that a scenario runs in a process
 * of its own (it may die) and another goes on counting.
 *
 * Not with AddressSanitizer, which has its own allocator. */
#ifndef TESTS_LIB_FAULTS_H
#define TESTS_LIB_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_kind {
    FAULT_MEMORY, /* malloc, calloc, realloc, aligned_alloc, posix_memalign, strdup */
    FAULT_MAP,    /* mmap */
    FAULT_OPEN,   /* open, openat, fdopendir, mkdir */
    FAULT_READ,   /* pread, read */
    FAULT_WRITE,  /* pwrite, write, writev */
    FAULT_SYNC,   /* fsync, fdatasync */
    FAULT_NAME,   /* renameat, linkat, unlinkat */
    FAULT_SIZE,   /* ftruncate */
    FAULT_ASK,    /* fstatvfs, fstatfs, fstat, fstatat, getrandom */
    FAULT_LOCK,   /* flock */
    FAULT_THREAD, /* pthread_create */
    FAULT_RING,   /* io_uring_queue_init, io_uring_register */
    FAULT_SUBMIT, /* io_uring_submit: of a write or a sync */
    FAULT_KINDS
};

enum fault_mode {
    FAULT_ONCE,     /* an error */
    FAULT_FOR_EVER, /* ... and at this site from then on */
    FAULT_SHORT,    /* half of what was asked for, from then on */
    FAULT_NO_SPACE, /* ENOSPC, from then on */
    FAULT_MODES
};

const char *fault_kind_name(enum fault_kind kind);
const char *fault_mode_name(enum fault_mode mode);
/* Is there such a fault of such a call? */
bool fault_applies(enum fault_kind kind, enum fault_mode mode);

/* Before the first scenario; again for a table of one's own in a child. */
void faults_init(void);

/* Count the calls of this process and its threads, or let them pass. */
void faults_count(bool on);

/* For the scenario that begins now: all counters from zero, and the n-th call of the site fails; n = 0: none. */
void faults_arm(size_t site, enum fault_mode mode, uint32_t n);
/* How often the armed fault happened. */
uint32_t faults_fired(void);

/* Sites are numbered from 0 in the order in which they were reached first. */
size_t faults_sites(void);
enum fault_kind faults_kind(size_t site);
uint32_t faults_calls(size_t site);    /* since faults_arm */
uintptr_t faults_address(size_t site); /* the same in all children of one program */
/* "pwrite at triveni+0x1234", to be given to addr2line. */
void faults_describe(size_t site, char out[160]);

#endif
