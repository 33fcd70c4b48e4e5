/* A disk that can lose power: files and directories in memory, each write kept beside what it replaced until a sync
 * makes it durable. powerfs.c puts it behind a mount point, cuts.c plays recorded system calls onto it.
 *
 * THE MODEL, of what a power cut may leave
 *   data         A file is sectors of 512 bytes. Of an unsynced sector the disk may hold any version written since the last
 *                sync of the file, or what was there then. A sector may be torn: a part of the new bytes, and then either the
 *                old ones or noise; so rewriting a sector in place, even with the same bytes, may destroy it.
 *   size         is durable with the sync of the file; until then any size since the last sync. What is inside the
 *                size and never reached the disk reads as zeros.
 *   names        Creating, renaming and removing a name is durable only with the sync of its directory; syncing the file
 *                does not do it (ext4 often would, POSIX does not promise it). Until then: either the first few of all such
 *                changes in order, as the journal of ext4 leaves them, or any of them, except that a change of a file whose
 *                earlier change is lost is lost too. A rename is one change, never half done.
 *   order        One cut in several drops what is newer than a moment, keeps all, or loses all; the others take each sector
 *                for itself.
 *   sync         covers what was written before the sync was called, not what was written while it ran (`mark`).
 * Modes, owners and times are not modelled. A kill of the process alone is no cut: everything stays readable and what is not
 * synced stays so.
 *
 * Not thread-safe. Numbers of files are never used again. Memory running out ends the program. */
#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DISK_SECTOR = 512, DISK_NAME_BYTES = 64, DISK_ROOT = 1 };

struct disk; /* opaque */

struct disk *disk_new(void);
void disk_free(struct disk *d);

/* ---- what the file system is asked; numbers are of files and directories, 0: there is none ---- */
uint64_t disk_find(const struct disk *d, uint64_t dir, const char *name);
bool disk_is_dir(const struct disk *d, uint64_t ino);
uint64_t disk_size(const struct disk *d, uint64_t ino);
/* The i-th name of a directory, NULL at the end. */
const char *disk_entry(const struct disk *d, uint64_t dir, size_t i, uint64_t *ino);
size_t disk_read(const struct disk *d, uint64_t ino, void *p, size_t n, uint64_t offset);

/* The name it was created with. Numbers are below disk_files(). */
const char *disk_born(const struct disk *d, uint64_t ino);
uint64_t disk_files(const struct disk *d);

uint64_t disk_create(struct disk *d, uint64_t dir, const char *name, bool is_dir);
void disk_remove(struct disk *d, uint64_t dir, const char *name);
void disk_rename(struct disk *d, uint64_t dir, const char *name, uint64_t to_dir, const char *to);
void disk_write(struct disk *d, uint64_t ino, const void *p, size_t n, uint64_t offset);
void disk_resize(struct disk *d, uint64_t ino, uint64_t size);
/* Moments are counted in changes. A sync makes durable what was done up to the moment when it was called. */
uint64_t disk_moment(const struct disk *d);
void disk_sync(struct disk *d, uint64_t ino, uint64_t mark);

/* ---- losing power ---- */
struct disk_dice {
    /* One of 0..n-1; 0 is always the newest, n-1 what is on the disk for certain. */
    uint32_t (*choose)(void *arg, uint32_t n);
    void *arg;
    /* By number of file: its choices are taken from `draw` instead; NULL: of none. */
    const bool *drawn;
    uint32_t (*draw)(void *arg, uint32_t n);
    /* By number of file: where nothing but one write is unsynced, its sectors behind the first share one answer: all are there,
     * all but a drawn one, a drawn half, none. For files whose reader takes them all or not at all. NULL: of none. */
    const bool *alike;
    /* Tear sectors, and mix the kinds of order above. Without it every version of every sector, size and name is one
     * choice, so that whoever tries all answers sees all images. */
    bool wild;
};
/* What the disk holds after a cut at this moment: a new disk, all of it durable. */
struct disk *disk_cut(const struct disk *d, const struct disk_dice *dice);
/* Equal for disks that hold the same names and bytes; without those files, by number (NULL: with all). */
uint64_t disk_fingerprint(const struct disk *d, const bool *without);

/* ---- to and from real directories ---- */
/* Everything, as it reads now, into an existing empty directory. Both end the program when the system refuses. */
void disk_save(const struct disk *d, const char *path);
/* Remember for each file the number that the system gave it there, and find it by that. */
void disk_bind(struct disk *d, const char *path);
void disk_bind_one(struct disk *d, uint64_t ino, uint64_t host);
uint64_t disk_bound(const struct disk *d, uint64_t host);

#endif
