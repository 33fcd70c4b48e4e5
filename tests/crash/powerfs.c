/* A file system in memory behind which the power can fail.
 *
 *   powerfs MOUNTPOINT      answers commands on stdin, one line each, with one line on stdout; ends at their end
 *
 *   cut SEED      the power fails now. Every operation gives EIO from here on
 *   arm N SEED    ... at the N-th change or sync from now, which fails already; then a line "cut ..." is printed by itself
 *   tell N        print a line "told" by itself at the N-th change or sync from now, which happens; 0: no more
 *   on            mount again what the disk holds after the cut (without a cut: nothing is lost, all caches are)
 *   lie NAME      plant a bug: syncs of files with NAME in their path are answered and not carried out; "dir": those of
 *                 directories; "tail": writes to *.seg take the block before along; "none"
 *   fail NAME     syncs of files that were made with NAME in their name give EIO, and nothing of theirs becomes durable; "none"
 *   bad NAME FROM reads of files that were made with NAME in their name give EIO from byte FROM on; "none"
 *   save DIR      write what reads now into an empty directory
 *   count         how many changes and syncs there were
 *
 * What a cut may leave is the model in disk.h. One thread serves requests and commands, so each request is one moment, and a
 * sync covers all that came before it. A write with O_DSYNC is followed by a sync, and O_DIRECT reads and
 * writes come through as they are; files opened with O_DIRECT bypass the page cache (direct_io), all others are
 * written through it. Writing through a shared mapping comes when the kernel likes. After a cut the file system is
 * mounted anew, so that no cache of the kernel survives.
 *
 * Not done: links, owners, modes, times (all are the same), locks (the kernel's own are used). */
#define FUSE_USE_VERSION 314
#include "tests/crash/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BLOCK = 4096, PATH_BYTES = 256 };
static const double cached_s = 60; /* names and sizes change through this mount only */

static struct {
    struct disk *disk;
    struct disk *image; /* what a cut left; NULL: there is power */
    uint64_t changes;
    uint64_t cut_at;  /* this change and all after it fail; 0: none */
    uint64_t tell_at; /* this change is told; 0: none */
    uint64_t seed;
    char lie[64], fail[64], bad[64];
    uint64_t bad_from;
} power;

/* ---- losing power ---- */

/* splitmix64 (Steele, Lea, Flood, 2014). */
static uint32_t roll(void *arg, uint32_t n)
{
    uint64_t *s = arg;
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

static void lose_power(uint64_t seed, const char *at)
{
    struct disk_dice dice = {.choose = roll, .arg = &seed, .wild = true};
    power.image = disk_cut(power.disk, &dice);
    power.cut_at = 0;
    (void)printf("cut at change %" PRIu64 ": %s\n", power.changes, at);
}

/* Asked before each change or sync: does it still happen? */
static bool has_power(fuse_req_t req, const char *what, uint64_t ino)
{
    char at[128];
    power.changes++;
    if (power.image == NULL && power.changes == power.tell_at)
        (void)puts("told");
    if (power.image == NULL && power.cut_at != 0 && power.changes >= power.cut_at) {
        (void)snprintf(at, sizeof at, "%s %s", what, disk_born(power.disk, ino));
        lose_power(power.seed, at);
    }
    if (power.image == NULL)
        return true;
    (void)fuse_reply_err(req, EIO);
    return false;
}

/* The same for what changes nothing. */
static bool is_on(fuse_req_t req)
{
    if (power.image == NULL)
        return true;
    (void)fuse_reply_err(req, EIO);
    return false;
}

/* ---- requests ---- */

static struct stat stat_of(uint64_t ino)
{
    bool dir = disk_is_dir(power.disk, ino);
    uint64_t size = disk_size(power.disk, ino);
    return (struct stat){.st_ino = ino,
                         .st_mode = dir ? S_IFDIR | 0700 : S_IFREG | 0600,
                         .st_nlink = 1,
                         .st_uid = getuid(),
                         .st_gid = getgid(),
                         .st_size = (off_t)size,
                         .st_blocks = (blkcnt_t)(size / DISK_SECTOR),
                         .st_blksize = BLOCK};
}

static struct fuse_entry_param entry_of(uint64_t ino)
{
    return (struct fuse_entry_param){.ino = ino,
                                     .generation = 1,
                                     .attr = stat_of(ino),
                                     .attr_timeout = cached_s,
                                     .entry_timeout = cached_s};
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (!is_on(req))
        return;
    uint64_t ino = disk_find(power.disk, parent, name);
    struct fuse_entry_param found = {.ino = 0};
    if (ino == 0) {
        (void)fuse_reply_err(req, ENOENT);
        return;
    }
    found = entry_of(ino);
    (void)fuse_reply_entry(req, &found);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct stat st = stat_of(ino);
    if (is_on(req))
        (void)fuse_reply_attr(req, &st, cached_s);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int which,
                       struct fuse_file_info *fi)
{
    (void)fi;
    if ((which & FUSE_SET_ATTR_SIZE) != 0) {
        if (!has_power(req, "resize", ino))
            return;
        disk_resize(power.disk, ino, (uint64_t)to->st_size);
    } else if (!is_on(req)) {
        return;
    }
    struct stat st = stat_of(ino);
    (void)fuse_reply_attr(req, &st, cached_s);
}

static bool is_free(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    int errnum = strlen(name) >= DISK_NAME_BYTES            ? ENAMETOOLONG
                 : disk_find(power.disk, parent, name) != 0 ? EEXIST
                                                            : 0;
    if (errnum != 0)
        (void)fuse_reply_err(req, errnum);
    return errnum == 0;
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    (void)mode;
    if (!is_free(req, parent, name) || !has_power(req, "mkdir in", parent))
        return;
    struct fuse_entry_param made = entry_of(disk_create(power.disk, parent, name, true));
    (void)fuse_reply_entry(req, &made);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    (void)mode;
    if (!is_free(req, parent, name) || !has_power(req, "create in", parent))
        return;
    fi->direct_io = (fi->flags & O_DIRECT) != 0;
    struct fuse_entry_param made = entry_of(disk_create(power.disk, parent, name, false));
    (void)fuse_reply_create(req, &made, fi);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->direct_io = (fi->flags & O_DIRECT) != 0;
    if (is_on(req))
        (void)fuse_reply_open(req, fi);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, const char *what)
{
    uint64_t ino = disk_find(power.disk, parent, name), child;
    if (ino == 0) {
        (void)fuse_reply_err(req, ENOENT);
    } else if (disk_is_dir(power.disk, ino) && disk_entry(power.disk, ino, 0, &child) != NULL) {
        (void)fuse_reply_err(req, ENOTEMPTY);
    } else if (has_power(req, what, ino)) {
        disk_remove(power.disk, parent, name);
        (void)fuse_reply_err(req, 0);
    }
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, "unlink");
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, "rmdir");
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
                      const char *to, unsigned flags)
{
    uint64_t ino = disk_find(power.disk, parent, name);
    bool there = disk_find(power.disk, to_parent, to) != 0;
    int errnum = ino == 0                                   ? ENOENT
                 : strlen(to) >= DISK_NAME_BYTES            ? ENAMETOOLONG
                 : (flags & RENAME_EXCHANGE) != 0           ? EINVAL
                 : there && (flags & RENAME_NOREPLACE) != 0 ? EEXIST
                                                            : 0;
    if (errnum == 0 && !has_power(req, "rename", ino))
        return;
    if (errnum == 0)
        disk_rename(power.disk, parent, name, to_parent, to);
    (void)fuse_reply_err(req, errnum);
}

static bool is_named(fuse_ino_t ino, const char *part)
{
    return part[0] != '\0' && strstr(disk_born(power.disk, ino), part) != NULL;
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t n, off_t offset,
                    struct fuse_file_info *fi)
{
    (void)fi;
    char *p = malloc(n);
    if (p == NULL)
        (void)fuse_reply_err(req, ENOMEM);
    else if (is_named(ino, power.bad) && (uint64_t)offset + n > power.bad_from)
        (void)fuse_reply_err(req, EIO);
    else if (is_on(req))
        (void)fuse_reply_buf(req, p, disk_read(power.disk, ino, p, n, (uint64_t)offset));
    free(p);
}

/* False: there is an error, and it was answered. */
static bool sync_data(fuse_req_t req, fuse_ino_t ino)
{
    if (is_named(ino, power.fail)) {
        (void)fuse_reply_err(req, EIO);
        return false;
    }
    if (!has_power(req, "sync", ino))
        return false;
    if (!is_named(ino, power.lie))
        disk_sync(power.disk, ino, disk_moment(power.disk));
    return true;
}

/* With O_DSYNC a write is a write and a sync, between which the power may fail: the kernel sends that sync only for files that it
 * caches. */
static void on_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t n, off_t offset,
                     struct fuse_file_info *fi)
{
    uint8_t before[BLOCK];
    if (!has_power(req, "write", ino))
        return;
    if (strcmp(power.lie, "tail") == 0 && offset >= BLOCK &&
        strncmp(disk_born(power.disk, ino), "spare-", 6) == 0 &&
        disk_read(power.disk, ino, before, BLOCK, (uint64_t)offset - BLOCK) == BLOCK)
        disk_write(power.disk, ino, before, BLOCK, (uint64_t)offset - BLOCK);
    disk_write(power.disk, ino, p, n, (uint64_t)offset);
    if ((fi->flags & O_DSYNC) == 0 || sync_data(req, ino))
        (void)fuse_reply_write(req, n);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    (void)data_only;
    (void)fi;
    if (sync_data(req, ino))
        (void)fuse_reply_err(req, 0);
}

static void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    (void)data_only;
    (void)fi;
    if (!has_power(req, "sync", ino))
        return;
    if (strcmp(power.lie, "dir") != 0)
        disk_sync(power.disk, ino, disk_moment(power.disk));
    (void)fuse_reply_err(req, 0);
}

static void on_readdir(fuse_req_t req, fuse_ino_t dir, size_t n, off_t offset,
                       struct fuse_file_info *fi)
{
    (void)fi;
    if (!is_on(req))
        return;
    char *p = malloc(n);
    size_t used = 0;
    uint64_t ino;
    const char *name;
    for (size_t i = (size_t)offset; p != NULL && (name = disk_entry(power.disk, dir, i, &ino));
         i++) {
        struct stat st = stat_of(ino);
        size_t step = fuse_add_direntry(req, p + used, n - used, name, &st, (off_t)(i + 1));
        if (step > n - used)
            break;
        used += step;
    }
    (void)fuse_reply_buf(req, p, used);
    free(p);
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
    (void)ino;
    const struct statvfs room = {.f_bsize = BLOCK,
                                 .f_frsize = BLOCK,
                                 .f_blocks = 1u << 24,
                                 .f_bfree = 1u << 23,
                                 .f_bavail = 1u << 23,
                                 .f_files = 1u << 20,
                                 .f_ffree = 1u << 20,
                                 .f_namemax = DISK_NAME_BYTES - 1};
    (void)fuse_reply_statfs(req, &room);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = on_lookup,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .mkdir = on_mkdir,
    .create = on_create,
    .open = on_open,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .rename = on_rename,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .fsyncdir = on_fsyncdir,
    .readdir = on_readdir,
    .statfs = on_statfs,
};

/* ---- mounting, and commands ---- */

static struct fuse_session *mount_at(const char *where)
{
    char *argv[] = {(char *)(uintptr_t) "powerfs", (char *)(uintptr_t) "-ofsname=powerfs"};
    struct fuse_args args = FUSE_ARGS_INIT(2, argv);
    struct fuse_session *s = fuse_session_new(&args, &operations, sizeof operations, NULL);
    if (s != NULL && fuse_session_mount(s, where) != 0) {
        fuse_session_destroy(s);
        s = NULL;
    }
    fuse_opt_free_args(&args);
    return s;
}

static void unmount(struct fuse_session *s)
{
    fuse_session_unmount(s);
    fuse_session_destroy(s);
}

static bool turn_on(struct fuse_session **s, const char *where)
{
    unmount(*s);
    if (power.image != NULL) {
        disk_free(power.disk);
        power.disk = power.image;
        power.image = NULL;
    }
    power.cut_at = 0;
    *s = mount_at(where);
    return *s != NULL;
}

/* False: the end. */
static bool obey(const char *line, struct fuse_session **s, const char *where)
{
    char word[PATH_BYTES] = "";
    uint64_t n = 0;
    if (sscanf(line, "cut %" SCNu64, &n) == 1) {
        if (power.image == NULL)
            lose_power(n, "by command");
        else
            (void)puts("cut already");
    } else if (sscanf(line, "arm %" SCNu64 " %" SCNu64, &n, &power.seed) == 2) {
        power.cut_at = power.changes + n;
        (void)puts("armed");
    } else if (sscanf(line, "tell %" SCNu64, &n) == 1) {
        power.tell_at = n == 0 ? 0 : power.changes + n;
        (void)puts("telling");
    } else if (strcmp(line, "on\n") == 0) {
        bool done = turn_on(s, where);
        (void)puts(done ? "on" : "error: cannot mount");
        return done;
    } else if (sscanf(line, "lie %63s", word) == 1) {
        (void)snprintf(power.lie, sizeof power.lie, "%s", strcmp(word, "none") == 0 ? "" : word);
        (void)puts("lying");
    } else if (sscanf(line, "fail %63s", word) == 1) {
        (void)snprintf(power.fail, sizeof power.fail, "%s", strcmp(word, "none") == 0 ? "" : word);
        (void)puts("failing");
    } else if (sscanf(line, "bad %63s %" SCNu64, word, &power.bad_from) == 2) {
        (void)snprintf(power.bad, sizeof power.bad, "%s", strcmp(word, "none") == 0 ? "" : word);
        (void)puts("bad");
    } else if (sscanf(line, "save %255s", word) == 1) {
        disk_save(power.disk, word);
        (void)puts("saved");
    } else if (strcmp(line, "count\n") == 0) {
        (void)printf("%" PRIu64 "\n", power.changes);
    } else {
        (void)puts("error: unknown command");
    }
    return true;
}

static bool serve_one(struct fuse_session *s, struct fuse_buf *buffer)
{
    int n = fuse_session_receive_buf(s, buffer);
    if (n > 0)
        fuse_session_process_buf(s, buffer);
    return n > 0 || n == -EINTR || n == -EAGAIN;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: powerfs MOUNTPOINT\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    power.disk = disk_new();
    struct fuse_session *s = mount_at(argv[1]);
    if (s == NULL)
        return 77;
    (void)puts("on");
    struct fuse_buf buffer = {.mem = NULL};
    char line[2 * PATH_BYTES];
    bool go_on = true;
    while (go_on) {
        struct pollfd p[2] = {{.fd = fuse_session_fd(s), .events = POLLIN},
                              {.fd = STDIN_FILENO, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents != 0)
            go_on = serve_one(s, &buffer);
        /* The commander waits for each answer, so there is never more than one line. */
        if (go_on && p[1].revents != 0)
            go_on = fgets(line, sizeof line, stdin) != NULL && obey(line, &s, argv[1]);
    }
    if (s != NULL)
        unmount(s);
    free(buffer.mem);
    disk_free(power.disk);
    disk_free(power.image);
    return 0;
}
