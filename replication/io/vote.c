/* FORMAT: two slots of 4,096 bytes, of which 128 are used (little-endian)
 *   0 magic "TVNV" u32, 4 format u16 (2), 6 zero, 7 flags u8 (1 may_vote, 2 log_begun), 8 sequence u64, 16 cluster uuid,
 *   32 term u64, 40 incarnation u64, 48 voted_for, name padded with zeros 32, 80 zero 44, 124 CRC32C of bytes 0..123 u32
 * The valid slot with the higher sequence counts; the next save goes to the other one.
 *
 * FAILURE MODES: a power cut tears at most the slot that was being written, whose promise had not been answered to anybody. A
 * failed sync is fatal: the page cache may now differ from the disk, and a retry would lie. */
#include "replication/io/vote.h"

#include "store/core/bytes.h"
#include "store/core/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { FLAG_MAY_VOTE = 1u << 0, FLAG_LOG_BEGUN = 1u << 1 };
enum { SLOT_USED = 128, VOTE_MAGIC = 0x564e5654, VOTE_FORMAT = 2 };

struct vote_file {
    int fd;
    uint64_t sequence;
    unsigned next; /* slot to write */
};

static void encode(const struct vote *v, uint64_t sequence, uint8_t out[SLOT_USED])
{
    memset(out, 0, SLOT_USED);
    put_le32(out, VOTE_MAGIC);
    put_le16(out + 4, VOTE_FORMAT);
    out[7] = (uint8_t)((v->may_vote ? FLAG_MAY_VOTE : 0) | (v->log_begun ? FLAG_LOG_BEGUN : 0));
    put_le64(out + 8, sequence);
    memcpy(out + 16, v->cluster_id.b, 16);
    put_le64(out + 32, v->term.v);
    put_le64(out + 40, v->incarnation);
    memcpy(out + 48, v->voted_for, strnlen(v->voted_for, VOTE_NAME_BYTES));
    put_le32(out + 124, hash_crc32c(0, bytes_of(out, 124)));
}

static bool decode(const uint8_t in[SLOT_USED], struct vote *v, uint64_t *sequence, uint16_t *newer)
{
    uint16_t format = get_le16(in + 4);
    if (get_le32(in) != VOTE_MAGIC || get_le32(in + 124) != hash_crc32c(0, bytes_of(in, 124)))
        return false;
    if (format > VOTE_FORMAT)
        *newer = format;
    if (format != VOTE_FORMAT)
        return false;
    memcpy(v->voted_for, in + 48, VOTE_NAME_BYTES);
    v->voted_for[VOTE_NAME_BYTES] = '\0';
    v->may_vote = (in[7] & FLAG_MAY_VOTE) != 0;
    v->log_begun = (in[7] & FLAG_LOG_BEGUN) != 0;
    *sequence = get_le64(in + 8);
    memcpy(v->cluster_id.b, in + 16, 16);
    v->term.v = get_le64(in + 32);
    v->incarnation = get_le64(in + 40);
    return true;
}

static int write_slot(int fd, unsigned slot, const struct vote *v, uint64_t sequence, struct err *e)
{
    uint8_t block[VOTE_SLOT_BYTES] = {0};
    encode(v, sequence, block);
    ssize_t n = pwrite(fd, block, sizeof block, (off_t)slot * VOTE_SLOT_BYTES);
    if (n != (ssize_t)sizeof block)
        return err_set(e, ERR_IO, "vote file: write failed: %s",
                       n < 0 ? strerror(errno) : "short write");
    if (fdatasync(fd) != 0)
        return err_set(
            e, ERR_IO,
            "vote file: sync failed: %s; the disk can no longer be trusted: check it, then "
            "start the site again",
            strerror(errno));
    return 0;
}

int vote_create(const char *path, const struct vote *v, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, errno == EEXIST ? ERR_EXISTS : ERR_IO, "%s: %s", path, strerror(errno));
    int rc = write_slot(fd, 1, v, 0, e);
    if (rc == 0)
        rc = write_slot(fd, 0, v, 1, e);
    close(fd);
    return rc;
}

/* 0 or ERR_NEWER. */
static int read_slots(int fd, struct vote_slot out[VOTE_SLOTS], struct err *e)
{
    uint16_t newer = 0;
    for (unsigned slot = 0; slot < VOTE_SLOTS; slot++) {
        uint8_t raw[SLOT_USED];
        struct vote_slot *s = &out[slot];
        s->valid =
            pread(fd, raw, sizeof raw, (off_t)slot * VOTE_SLOT_BYTES) == (ssize_t)sizeof raw &&
            decode(raw, &s->vote, &s->sequence, &newer);
    }
    return newer == 0 ? 0 : err_newer(e, "the vote file", newer, VOTE_FORMAT);
}

int vote_inspect(int dir_fd, const char *name, struct vote_slot out[VOTE_SLOTS], struct err *e)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", name,
                       strerror(errno));
    int rc = read_slots(fd, out, e);
    close(fd);
    return rc;
}

int vote_open(struct vote_file **out, const char *path, struct vote *v, struct err *e)
{
    int rc = 0;
    struct vote_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    f->fd = open(path, O_RDWR | O_CLOEXEC);
    if (f->fd < 0) {
        rc = err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    bool found = false;
    struct vote_slot slots[VOTE_SLOTS];
    rc = read_slots(f->fd, slots, e);
    if (rc != 0) {
        err_wrap(e, "%s", path);
        goto out;
    }
    for (unsigned slot = 0; slot < VOTE_SLOTS; slot++) {
        if (slots[slot].valid && (!found || slots[slot].sequence > f->sequence)) {
            *v = slots[slot].vote;
            f->sequence = slots[slot].sequence;
            f->next = 1 - slot;
            found = true;
        }
    }
    if (!found)
        rc = err_set(e, ERR_INTEGRITY,
                     "%s: neither slot is valid, so this site cannot know what it promised", path);
    /* A process that was killed may have written a promise and not synced it; it is read back from the page cache, and may be
     * answered again without being saved again. */
    else if (fdatasync(f->fd) != 0)
        rc = err_set(e, ERR_IO,
                     "%s: sync failed: %s; the disk can no longer be trusted: check it, then "
                     "start the site again",
                     path, strerror(errno));
out:
    if (rc != 0) {
        vote_close(f);
        f = NULL;
    }
    *out = f;
    return rc;
}

int vote_save(struct vote_file *f, const struct vote *v, struct err *e)
{
    int rc = write_slot(f->fd, f->next, v, f->sequence + 1, e);
    if (rc == 0) {
        f->sequence++;
        f->next = 1 - f->next;
    }
    return rc;
}

void vote_close(struct vote_file *f)
{
    if (f == NULL)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}
