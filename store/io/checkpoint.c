/* Side slots and meta pages on disk; why and in which order is in checkpoint.h, the format in store/core/slot.h.
 *
 * FAILURE MODES
 *   power cut while a slot is written     that copy is torn, the other slot is the newest one and still pinned
 *   power cut between the two copies      one copy is new, the other old: the new one counts, its data is durable
 *   power cut while meta pages are put back   the slot is untouched, the next open does it again
 *   one copy damaged                      the other one serves; opening writes both again
 *   a sync fails                          reported; nothing is tried again in this process */
#include "store/io/checkpoint.h"

#include "store/core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY_FILE CHECKPOINT_FILE ".new"

static int io_error(struct err *e, const char *what, const char *file)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    return err_set(e, code, "%s: %s: %s", file, what, strerrordesc_np(errno));
}

static int write_all(int fd, const void *p, size_t n, uint64_t offset, const char *file,
                     struct err *e)
{
    const uint8_t *at = p;
    while (n != 0) {
        ssize_t done = pwrite(fd, at, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return io_error(e, "write", file);
        at += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

static int sync_data(int fd, const char *file, struct err *e)
{
    if (fdatasync(fd) != 0)
        return io_error(e, "fdatasync", file);
    return 0;
}

int checkpoint_open(int dir_fd, int *fd, struct slot *out, struct err *e)
{
    int f = openat(dir_fd, CHECKPOINT_FILE, O_RDWR | O_CLOEXEC);
    if (f < 0 && errno == ENOENT)
        return err_set(e, ERR_NOT_FOUND, CHECKPOINT_FILE ": there is none");
    if (f < 0)
        return io_error(e, "open", CHECKPOINT_FILE);
    /* A short file is a damaged one: what is missing reads as blocks that were never written. */
    uint8_t file[SLOT_FILE_BYTES] = {0};
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < sizeof file;) {
        ssize_t n = pread(f, file + at, sizeof file - at, (off_t)at);
        if (n == 0)
            break;
        if (n > 0)
            at += (size_t)n;
        else if (errno != EINTR)
            rc = io_error(e, "read", CHECKPOINT_FILE);
    }
    if (rc == 0 && (rc = slot_choose(file, out, e)) != 0)
        rc = err_wrap(e, CHECKPOINT_FILE);
    if (rc != 0) {
        (void)close(f);
        return rc;
    }
    *fd = f;
    return 0;
}

int checkpoint_create(int dir_fd, const struct slot *first, int *fd, struct err *e)
{
    int f = openat(dir_fd, TEMPORARY_FILE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (f < 0)
        return io_error(e, "create", TEMPORARY_FILE);
    static const uint8_t zero[SLOT_FILE_BYTES];
    int rc = write_all(f, zero, sizeof zero, 0, TEMPORARY_FILE, e);
    if (rc == 0)
        rc = checkpoint_write(f, first, e);
    if (rc == 0 && renameat(dir_fd, TEMPORARY_FILE, dir_fd, CHECKPOINT_FILE) != 0)
        rc = io_error(e, "rename to " CHECKPOINT_FILE, TEMPORARY_FILE);
    if (rc == 0 && fsync(dir_fd) != 0)
        rc = io_error(e, "fsync of its directory", CHECKPOINT_FILE);
    if (rc != 0) {
        (void)close(f);
        return rc;
    }
    *fd = f;
    return 0;
}

int checkpoint_write(int fd, const struct slot *slot, struct err *e)
{
    uint8_t block[SLOT_BYTES];
    slot_encode(slot, block);
    struct slot again;
    check(slot_decode(block, &again, NULL) == 0);
    for (unsigned copy = 0; copy < SLOT_COPIES; copy++) {
        int rc = write_all(fd, block, sizeof block, slot_offset(slot->sequence, copy),
                           CHECKPOINT_FILE, e);
        if (rc == 0)
            rc = sync_data(fd, CHECKPOINT_FILE, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int put_meta(int fd, const struct slot *slot, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return io_error(e, "fstat", CHECKPOINT_DATA);
    if ((uint64_t)st.st_size < slot->file_bytes)
        return err_set(e, ERR_INTEGRITY,
                       CHECKPOINT_DATA ": %lld bytes, but it had %llu at its checkpoint",
                       (long long)st.st_size, (unsigned long long)slot->file_bytes);
    uint8_t page[SLOT_PAGE_MAX_BYTES];
    size_t page_bytes = slot_page_bytes(slot);
    for (unsigned page_no = 0; page_no < 2; page_no++) {
        slot_meta_page(slot, page_no, page);
        int rc = write_all(fd, page, page_bytes, page_no * page_bytes, CHECKPOINT_DATA, e);
        if (rc != 0)
            return rc;
    }
    return sync_data(fd, CHECKPOINT_DATA, e);
}

int checkpoint_put_back(int dir_fd, const struct slot *slot, struct err *e)
{
    int fd = openat(dir_fd, CHECKPOINT_DATA, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, ERR_INTEGRITY, CHECKPOINT_DATA ": it is missing beside its checkpoint");
    if (fd < 0)
        return io_error(e, "open", CHECKPOINT_DATA);
    int rc = put_meta(fd, slot, e);
    if (close(fd) != 0 && rc == 0)
        rc = io_error(e, "close", CHECKPOINT_DATA);
    if (rc == 0 && unlinkat(dir_fd, CHECKPOINT_LOCK, 0) != 0 && errno != ENOENT)
        rc = io_error(e, "remove", CHECKPOINT_LOCK);
    return rc;
}

struct uuid checkpoint_boot_id(void)
{
    struct uuid id = {{0}};
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0)
        (void)close(fd);
    unsigned digits = 0;
    for (ssize_t i = 0; i < n && digits < 32; i++) {
        char c = text[i];
        unsigned v = c >= '0' && c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
        if (v > 15)
            continue; /* dashes and the end of line */
        id.b[digits / 2] = (uint8_t)((unsigned)id.b[digits / 2] << 4 | v);
        digits++;
    }
    return id;
}
