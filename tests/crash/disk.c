/* The model itself; what it means is in disk.h.
 *
 * A sector is a chain of versions, newest first; the one at the end is on the disk for certain (none: zeros). Versions are shared
 * between a disk and the images of its cuts, hence counted. A directory has two lists of names: as it reads now, and as it
 * is on the disk for certain; `changes` leads from the second to the first. */
#include "tests/crash/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct version {
    struct version *older;
    uint64_t moment; /* 0: durable */
    uint32_t users;
    uint8_t bytes[DISK_SECTOR];
};

struct name {
    char text[DISK_NAME_BYTES];
    uint64_t ino;
};

struct names {
    struct name *v;
    size_t n, cap;
};

struct size {
    uint64_t moment, bytes;
};

struct inode {
    bool is_dir;
    char born[DISK_NAME_BYTES];
    uint64_t host;             /* number in the directory it is bound to */
    struct names now, durable; /* of a directory */
    struct version **sectors;
    size_t sector_count;
    size_t *dirty; /* sectors with more than one version, some of them twice */
    size_t dirty_count, dirty_cap;
    struct size *sizes; /* the first is durable, the last is how it reads now */
    size_t size_count, size_cap;
};

/* Of one name, or of two at once. */
struct change {
    uint64_t moment, ino;      /* the file that is named, renamed or removed */
    uint64_t from_dir, to_dir; /* 0: none */
    char from[DISK_NAME_BYTES], to[DISK_NAME_BYTES];
};

struct disk {
    struct inode **inodes; /* by number */
    size_t inode_count, inode_cap;
    struct change *changes;
    size_t change_count, change_cap;
    uint64_t moment;
};

/* ---- memory ---- */

static void die(const char *what)
{
    perror(what);
    exit(70);
}

/* Room for one more in a growing array. */
static void *room(void *p, size_t n, size_t *cap, size_t each)
{
    if (n < *cap)
        return p;
    *cap = *cap == 0 ? 16 : 2 * *cap;
    p = realloc(p, *cap * each);
    if (p == NULL)
        die("disk");
    return p;
}
#define ROOM(array, count, cap) ((array) = room((array), (count), &(cap), sizeof *(array)))

static void version_release(struct version *v)
{
    while (v != NULL && --v->users == 0) {
        struct version *older = v->older;
        free(v);
        v = older;
    }
}

static struct version *version_new(struct version *older, uint64_t moment)
{
    struct version *v = malloc(sizeof *v);
    if (v == NULL)
        die("disk");
    v->older = older;
    v->moment = moment;
    v->users = 1;
    return v;
}

static struct inode *at(const struct disk *d, uint64_t ino)
{
    if (ino == 0 || ino >= d->inode_count)
        abort();
    return d->inodes[ino];
}

static uint64_t add_inode(struct disk *d, bool is_dir)
{
    struct inode *i = calloc(1, sizeof *i);
    ROOM(d->inodes, d->inode_count, d->inode_cap);
    if (i == NULL)
        die("disk");
    i->is_dir = is_dir;
    ROOM(i->sizes, 0, i->size_cap);
    i->sizes[i->size_count++] = (struct size){0, 0};
    d->inodes[d->inode_count] = i;
    return d->inode_count++;
}

struct disk *disk_new(void)
{
    struct disk *d = calloc(1, sizeof *d);
    if (d == NULL)
        die("disk");
    ROOM(d->inodes, d->inode_count, d->inode_cap);
    d->inodes[d->inode_count++] = NULL; /* number 0 */
    (void)add_inode(d, true);
    return d;
}

void disk_free(struct disk *d)
{
    if (d == NULL)
        return;
    for (size_t k = 1; k < d->inode_count; k++) {
        struct inode *i = d->inodes[k];
        for (size_t s = 0; s < i->sector_count; s++)
            version_release(i->sectors[s]);
        free(i->sectors);
        free(i->dirty);
        free(i->sizes);
        free(i->now.v);
        free(i->durable.v);
        free(i);
    }
    free(d->inodes);
    free(d->changes);
    free(d);
}

/* ---- names ---- */

static struct name *names_find(const struct names *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i].text, name) == 0)
            return &l->v[i];
    return NULL;
}

static void names_set(struct names *l, const char *name, uint64_t ino)
{
    struct name *e = names_find(l, name);
    if (ino == 0) {
        if (e != NULL)
            *e = l->v[--l->n];
        return;
    }
    if (e == NULL) {
        ROOM(l->v, l->n, l->cap);
        e = &l->v[l->n++];
        (void)snprintf(e->text, sizeof e->text, "%s", name);
    }
    e->ino = ino;
}

uint64_t disk_find(const struct disk *d, uint64_t dir, const char *name)
{
    const struct name *e = names_find(&at(d, dir)->now, name);
    return e == NULL ? 0 : e->ino;
}

const char *disk_entry(const struct disk *d, uint64_t dir, size_t i, uint64_t *ino)
{
    const struct names *l = &at(d, dir)->now;
    if (i >= l->n)
        return NULL;
    *ino = l->v[i].ino;
    return l->v[i].text;
}

/* Take the change into the lists as they read now, or as they are on the disk. */
static void carry_out(struct disk *d, const struct change *c, size_t which)
{
    struct inode *from = c->from_dir == 0 ? NULL : at(d, c->from_dir);
    struct inode *to = c->to_dir == 0 ? NULL : at(d, c->to_dir);
    if (from != NULL)
        names_set(which == 0 ? &from->now : &from->durable, c->from, 0);
    if (to != NULL)
        names_set(which == 0 ? &to->now : &to->durable, c->to, c->ino);
}

static void change(struct disk *d, uint64_t ino, uint64_t from_dir, const char *from,
                   uint64_t to_dir, const char *to)
{
    ROOM(d->changes, d->change_count, d->change_cap);
    struct change *c = &d->changes[d->change_count++];
    *c = (struct change){.moment = ++d->moment, .ino = ino, .from_dir = from_dir, .to_dir = to_dir};
    (void)snprintf(c->from, sizeof c->from, "%s", from);
    (void)snprintf(c->to, sizeof c->to, "%s", to);
    carry_out(d, c, 0);
}

uint64_t disk_create(struct disk *d, uint64_t dir, const char *name, bool is_dir)
{
    uint64_t ino = add_inode(d, is_dir);
    (void)snprintf(at(d, ino)->born, DISK_NAME_BYTES, "%s", name);
    change(d, ino, 0, "", dir, name);
    return ino;
}

void disk_remove(struct disk *d, uint64_t dir, const char *name)
{
    change(d, disk_find(d, dir, name), dir, name, 0, "");
}

void disk_rename(struct disk *d, uint64_t dir, const char *name, uint64_t to_dir, const char *to)
{
    change(d, disk_find(d, dir, name), dir, name, to_dir, to);
}

static void sync_names(struct disk *d, uint64_t dir, uint64_t mark)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->change_count; i++) {
        struct change *c = &d->changes[i];
        if ((c->from_dir == dir || c->to_dir == dir) && c->moment <= mark)
            carry_out(d, c, 1);
        else
            d->changes[kept++] = *c;
    }
    d->change_count = kept;
}

/* ---- bytes ---- */

const char *disk_born(const struct disk *d, uint64_t ino)
{
    return at(d, ino)->born;
}

uint64_t disk_files(const struct disk *d)
{
    return d->inode_count;
}

bool disk_is_dir(const struct disk *d, uint64_t ino)
{
    return at(d, ino)->is_dir;
}

static uint64_t size_now(const struct inode *i)
{
    return i->sizes[i->size_count - 1].bytes;
}

uint64_t disk_size(const struct disk *d, uint64_t ino)
{
    return size_now(at(d, ino));
}

size_t disk_read(const struct disk *d, uint64_t ino, void *p, size_t n, uint64_t offset)
{
    const struct inode *i = at(d, ino);
    uint64_t size = size_now(i);
    if (offset >= size)
        return 0;
    n = n < size - offset ? n : (size_t)(size - offset);
    for (size_t done = 0; done < n;) {
        size_t sector = (size_t)((offset + done) / DISK_SECTOR), in = (offset + done) % DISK_SECTOR;
        size_t step = DISK_SECTOR - in < n - done ? DISK_SECTOR - in : n - done;
        const struct version *v = sector < i->sector_count ? i->sectors[sector] : NULL;
        if (v == NULL)
            memset((uint8_t *)p + done, 0, step);
        else
            memcpy((uint8_t *)p + done, v->bytes + in, step);
        done += step;
    }
    return n;
}

static void write_sector(struct disk *d, struct inode *i, size_t sector, size_t in,
                         const uint8_t *p, size_t n)
{
    static const uint8_t zeros[DISK_SECTOR];
    if (sector >= i->sector_count) {
        size_t count = sector + 1 > 2 * i->sector_count ? sector + 1 : 2 * i->sector_count;
        i->sectors = realloc(i->sectors, count * sizeof *i->sectors);
        if (i->sectors == NULL)
            die("disk");
        memset(i->sectors + i->sector_count, 0, (count - i->sector_count) * sizeof *i->sectors);
        i->sector_count = count;
    }
    struct version *old = i->sectors[sector];
    if (old == NULL && memcmp(p, zeros, n) == 0)
        return; /* zeros that were never written read the same */
    struct version *v = version_new(old, d->moment);
    memcpy(v->bytes, old == NULL ? zeros : old->bytes, DISK_SECTOR);
    memcpy(v->bytes + in, p, n);
    i->sectors[sector] = v;
    ROOM(i->dirty, i->dirty_count, i->dirty_cap);
    i->dirty[i->dirty_count++] = sector;
}

static void set_size(struct disk *d, struct inode *i, uint64_t size)
{
    ROOM(i->sizes, i->size_count, i->size_cap);
    i->sizes[i->size_count++] = (struct size){d->moment, size};
}

static void write_bytes(struct disk *d, struct inode *i, const uint8_t *p, size_t n,
                        uint64_t offset)
{
    for (size_t done = 0; done < n;) {
        size_t in = (offset + done) % DISK_SECTOR;
        size_t step = DISK_SECTOR - in < n - done ? DISK_SECTOR - in : n - done;
        write_sector(d, i, (size_t)((offset + done) / DISK_SECTOR), in, p + done, step);
        done += step;
    }
}

void disk_write(struct disk *d, uint64_t ino, const void *p, size_t n, uint64_t offset)
{
    struct inode *i = at(d, ino);
    d->moment++;
    write_bytes(d, i, p, n, offset);
    if (offset + n > size_now(i))
        set_size(d, i, offset + n);
}

void disk_resize(struct disk *d, uint64_t ino, uint64_t size)
{
    struct inode *i = at(d, ino);
    uint64_t old = size_now(i);
    d->moment++;
    static const uint8_t zeros[DISK_SECTOR];
    while (size < old) { /* what is cut off reads as zeros should the file grow again */
        uint64_t from = (old - 1) / DISK_SECTOR * DISK_SECTOR;
        from = from > size ? from : size;
        write_bytes(d, i, zeros, (size_t)(old - from), from);
        old = from;
    }
    set_size(d, i, size);
}

uint64_t disk_moment(const struct disk *d)
{
    return d->moment;
}

/* The newest version up to the mark is on the disk now; older ones are gone. True when newer ones are not. */
static bool settle(struct version *v, uint64_t mark)
{
    bool newer = false;
    while (v != NULL && v->moment > mark) {
        newer = true;
        v = v->older;
    }
    if (v != NULL) {
        version_release(v->older);
        v->older = NULL;
        v->moment = 0;
    }
    return newer;
}

void disk_sync(struct disk *d, uint64_t ino, uint64_t mark)
{
    struct inode *i = at(d, ino);
    size_t kept = 0;
    if (i->is_dir)
        sync_names(d, ino, mark);
    for (size_t k = 0; k < i->dirty_count; k++)
        if (settle(i->sectors[i->dirty[k]], mark))
            i->dirty[kept++] = i->dirty[k];
    i->dirty_count = kept;
    size_t last = 0;
    while (last + 1 < i->size_count && i->sizes[last + 1].moment <= mark)
        last++;
    i->size_count -= last;
    memmove(i->sizes, i->sizes + last, i->size_count * sizeof *i->sizes);
    i->sizes[0].moment = 0;
}

/* ---- losing power ---- */

/* Shorter writes have all their combinations tried, even where their sectors are alike. */
enum { ALIKE_MIN = 4 };

enum order { ORDER_ANY, ORDER_PREFIX, ORDER_ALL, ORDER_NONE };

struct cut {
    const struct disk *d;
    const struct disk_dice *dice;
    enum order order;
    uint64_t until; /* ORDER_PREFIX: what is newer is lost */
    uint64_t ino;   /* of which file it is */
};

static uint32_t choose(const struct cut *c, size_t n)
{
    const struct disk_dice *dice = c->dice;
    if (n <= 1)
        return 0;
    return dice->drawn != NULL && dice->drawn[c->ino] ? dice->draw(dice->arg, (uint32_t)n)
                                                      : dice->choose(dice->arg, (uint32_t)n);
}

/* Is what happened at this moment on the disk? Only asked when one answer decides for all (not ORDER_ANY). */
static bool survives(const struct cut *c, uint64_t moment)
{
    return moment == 0 || c->order == ORDER_ALL || (c->order == ORDER_PREFIX && moment <= c->until);
}

static struct version *pick(const struct cut *c, struct version *newest)
{
    size_t n = 1;
    if (c->order != ORDER_ANY) {
        while (newest != NULL && !survives(c, newest->moment))
            newest = newest->older;
        return newest;
    }
    for (const struct version *v = newest; v != NULL && v->moment != 0; v = v->older)
        n++;
    for (uint32_t k = choose(c, n); k > 0; k--)
        newest = newest->older;
    return newest;
}

/* A sector that was being written: first bytes of one version, the rest of another or noise. */
static struct version *tear(const struct cut *c, const struct version *v)
{
    struct version *torn = version_new(NULL, 0);
    const struct version *rest = v->older;
    size_t whole = choose(c, DISK_SECTOR);
    memcpy(torn->bytes, v->bytes, DISK_SECTOR);
    if (choose(c, 2) == 0)
        for (size_t k = whole; k < DISK_SECTOR; k++)
            torn->bytes[k] = (uint8_t)choose(c, 256);
    else if (rest != NULL)
        memcpy(torn->bytes + whole, rest->bytes + whole, DISK_SECTOR - whole);
    else
        memset(torn->bytes + whole, 0, DISK_SECTOR - whole);
    return torn;
}

/* The image's sector is this version, or none; unsynced ones as a copy that is durable. */
static void put_version(struct inode *to, size_t sector, struct version *v)
{
    struct version *put = v;
    if (v != NULL && v->moment == 0) {
        v->users++;
    } else if (v != NULL) {
        put = version_new(NULL, 0);
        memcpy(put->bytes, v->bytes, DISK_SECTOR);
    }
    version_release(to->sectors[sector]);
    to->sectors[sector] = put;
}

static void cut_sector(const struct cut *c, struct inode *to, size_t sector, struct version *newest)
{
    struct version *v = pick(c, newest);
    if (v == newest && v->moment != 0 && c->dice->wild && c->order == ORDER_ANY &&
        choose(c, 8) == 0) {
        version_release(to->sectors[sector]);
        to->sectors[sector] = tear(c, v);
    } else {
        put_version(to, sector, v);
    }
}

/* What lies behind the end is not there any more should the file grow again. */
static void cut_off(struct inode *i, uint64_t size)
{
    for (size_t s = (size_t)((size + DISK_SECTOR - 1) / DISK_SECTOR); s < i->sector_count; s++) {
        version_release(i->sectors[s]);
        i->sectors[s] = NULL;
    }
    size_t last = (size_t)(size / DISK_SECTOR), in = size % DISK_SECTOR;
    if (in == 0 || last >= i->sector_count || i->sectors[last] == NULL)
        return;
    struct version *v = version_new(NULL, 0);
    memcpy(v->bytes, i->sectors[last]->bytes, in);
    memset(v->bytes + in, 0, DISK_SECTOR - in);
    version_release(i->sectors[last]);
    i->sectors[last] = v;
}

/* How many sectors from here on hold nothing unsynced but what one write left there. */
static size_t one_write(const struct inode *i, size_t s)
{
    const uint64_t moment = i->sectors[s]->moment;
    size_t n = 0;
    for (const struct version *v; s + n < i->sector_count; n++) {
        v = i->sectors[s + n];
        if (v == NULL || v->moment != moment || (v->older != NULL && v->older->moment != 0))
            break;
    }
    return n;
}

/* What is behind the first sector of a write. */
static void cut_alike(const struct cut *c, const struct inode *from, struct inode *to, size_t first,
                      size_t n)
{
    enum { WHOLE, ALL_BUT_ONE, SOME, NONE, ANSWERS };
    const struct disk_dice *dice = c->dice;
    uint32_t answer = choose(c, ANSWERS), odd = dice->draw(dice->arg, (uint32_t)n);
    for (size_t k = 0; k < n; k++) {
        struct version *v = from->sectors[first + k];
        bool there = answer == WHOLE || (answer == ALL_BUT_ONE && k != odd) ||
                     (answer == SOME && dice->draw(dice->arg, 2) == 0);
        put_version(to, first + k, there ? v : v->older);
    }
}

static void cut_file(const struct cut *c, const struct inode *from, struct inode *to)
{
    to->sectors = calloc(from->sector_count + 1, sizeof *to->sectors);
    if (to->sectors == NULL)
        die("disk");
    to->sector_count = from->sector_count;
    for (size_t s = 0; s < from->sector_count; s++) {
        struct version *v = from->sectors[s];
        if (v == NULL)
            continue;
        size_t alike = v->moment != 0 && c->dice->alike != NULL && c->dice->alike[c->ino]
                           ? one_write(from, s)
                           : 0;
        if (v->moment != 0) {
            cut_sector(c, to, s, v);
            if (alike > ALIKE_MIN) {
                cut_alike(c, from, to, s + 1, alike - 1);
                s += alike - 1;
            }
        } else {
            v->users++;
            to->sectors[s] = v;
        }
    }
    size_t k = 0;
    if (c->order == ORDER_ANY)
        k = from->size_count - 1 - choose(c, from->size_count);
    else
        while (k + 1 < from->size_count && survives(c, from->sizes[k + 1].moment))
            k++;
    to->sizes[0].bytes = from->sizes[k].bytes;
    cut_off(to, to->sizes[0].bytes);
}

/* Is the file lost already, so that what was done to it later is lost too? */
static bool is_lost(const uint64_t *lost, size_t n, uint64_t ino)
{
    for (size_t i = 0; i < n; i++)
        if (lost[i] == ino)
            return true;
    return false;
}

static void cut_names(struct cut *c, struct disk *to)
{
    const struct disk *d = c->d;
    uint64_t *lost = calloc(d->change_count + 1, sizeof *lost);
    size_t n = 0;
    if (lost == NULL)
        die("disk");
    c->ino = 0;
    bool journal = c->dice->wild && choose(c, 2) == 0;
    size_t first = journal ? choose(c, d->change_count + 1) : d->change_count;
    for (size_t k = 0; k < d->change_count; k++) {
        const struct change *x = &d->changes[k];
        c->ino = x->ino;
        bool keep = journal                 ? k < first
                    : c->order == ORDER_ANY ? choose(c, 2) == 0
                                            : survives(c, x->moment);
        if (!keep || is_lost(lost, n, x->ino))
            lost[n++] = x->ino;
        else
            carry_out(to, x, 1);
    }
    free(lost);
}

static void names_copy(struct names *to, const struct names *from)
{
    for (size_t k = 0; k < from->n; k++)
        names_set(to, from->v[k].text, from->v[k].ino);
}

struct disk *disk_cut(const struct disk *d, const struct disk_dice *dice)
{
    struct cut c = {.d = d, .dice = dice, .order = ORDER_ANY};
    if (dice->wild) {
        static const enum order orders[] = {ORDER_ANY,    ORDER_ANY, ORDER_ANY, ORDER_PREFIX,
                                            ORDER_PREFIX, ORDER_ALL, ORDER_NONE};
        c.order = orders[choose(&c, sizeof orders / sizeof orders[0])];
        uint64_t back = choose(&c, 64);
        c.until = d->moment > back ? d->moment - back : 0;
    }
    struct disk *image = disk_new();
    image->moment = d->moment;
    for (uint64_t ino = DISK_ROOT; ino < d->inode_count; ino++) {
        const struct inode *from = at(d, ino);
        c.ino = ino;
        if (ino != DISK_ROOT)
            (void)add_inode(image, from->is_dir);
        memcpy(at(image, ino)->born, from->born, DISK_NAME_BYTES);
        names_copy(&at(image, ino)->durable, &from->durable);
        if (!from->is_dir)
            cut_file(&c, from, at(image, ino));
    }
    cut_names(&c, image);
    for (uint64_t ino = DISK_ROOT; ino < image->inode_count; ino++)
        names_copy(&at(image, ino)->now, &at(image, ino)->durable);
    return image;
}

/* ---- the tree ---- */

static uint64_t print_tree(const struct disk *d, uint64_t dir,
                           const bool *without) // NOLINT(misc-no-recursion)
{
    uint64_t sum = 0; /* the order of names does not count */
    const struct names *l = &at(d, dir)->now;
    for (size_t k = 0; k < l->n; k++) {
        const struct inode *i = at(d, l->v[k].ino);
        if (without != NULL && without[l->v[k].ino])
            continue;
        XXH64_hash_t h = XXH3_64bits(l->v[k].text, strlen(l->v[k].text));
        uint64_t size = size_now(i);
        h = XXH3_64bits_withSeed(&size, sizeof size, h);
        for (size_t s = 0; s < i->sector_count && s * DISK_SECTOR < size; s++)
            if (i->sectors[s] != NULL)
                h = XXH3_64bits_withSeed(i->sectors[s]->bytes, DISK_SECTOR, h + s);
        if (i->is_dir)
            h += 3 * print_tree(d, l->v[k].ino, without);
        sum += h * 0x9e3779b97f4a7c15u;
    }
    return sum;
}

uint64_t disk_fingerprint(const struct disk *d, const bool *without)
{
    return print_tree(d, DISK_ROOT, without);
}

static void save_file(const struct inode *i, int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    uint64_t size = size_now(i);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        die(name);
    uint8_t run[64 * DISK_SECTOR];
    for (size_t s = 0; s < i->sector_count && s * DISK_SECTOR < size;) {
        size_t n = 0, first = s;
        while (n < 64 && s < i->sector_count && s * DISK_SECTOR < size && i->sectors[s] != NULL)
            memcpy(run + DISK_SECTOR * n++, i->sectors[s++]->bytes, DISK_SECTOR);
        if (n == 0) {
            s++;
            continue;
        }
        size_t bytes = n * DISK_SECTOR;
        if (first * DISK_SECTOR + bytes > size)
            bytes = (size_t)(size - first * DISK_SECTOR);
        if (pwrite(fd, run, bytes, (off_t)(first * DISK_SECTOR)) != (ssize_t)bytes)
            die(name);
    }
    (void)close(fd);
}

static int open_dir(int above, const char *path)
{
    int fd = openat(above, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        die(path);
    return fd;
}

/* Walk the tree beside a real directory: save it there, or bind to what is there. Trees are two or three deep. */
static void walk(struct disk *d, uint64_t dir, int dir_fd, bool save) // NOLINT(misc-no-recursion)
{
    struct stat st;
    if (!save && fstat(dir_fd, &st) == 0)
        at(d, dir)->host = st.st_ino;
    const struct names *l = &at(d, dir)->now;
    for (size_t k = 0; k < l->n; k++) {
        const char *name = l->v[k].text;
        struct inode *i = at(d, l->v[k].ino);
        if (i->is_dir) {
            if (save && mkdirat(dir_fd, name, 0700) != 0)
                die(name);
            int fd = open_dir(dir_fd, name);
            walk(d, l->v[k].ino, fd, save);
            (void)close(fd);
        } else if (save) {
            save_file(i, dir_fd, name);
        } else if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            i->host = st.st_ino;
        } else {
            die(name);
        }
    }
}

void disk_save(const struct disk *d, const char *path)
{
    int fd = open_dir(AT_FDCWD, path);
    walk((struct disk *)(uintptr_t)d, DISK_ROOT, fd, true);
    (void)close(fd);
}

void disk_bind(struct disk *d, const char *path)
{
    for (uint64_t ino = DISK_ROOT; ino < d->inode_count; ino++)
        at(d, ino)->host = 0;
    int fd = open_dir(AT_FDCWD, path);
    walk(d, DISK_ROOT, fd, false);
    (void)close(fd);
}

void disk_bind_one(struct disk *d, uint64_t ino, uint64_t host)
{
    at(d, ino)->host = host;
}

uint64_t disk_bound(const struct disk *d, uint64_t host)
{
    for (uint64_t ino = d->inode_count; ino-- > DISK_ROOT;)
        if (at(d, ino)->host == host)
            return ino;
    return 0;
}
