/* Files of a bag, through a stream that hashes. One syncfs() makes all of them durable: a bag of a hundred thousand proofs would
 * wait for as many fsyncs. */
#include "tools/bag.h"

#include "repository/core/bag.h"
#include "store/core/hex.h"
#include "store/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHA256_BYTES = 32, SHA512_BYTES = 64, PATH_BYTES = 4096 };

struct bag_hashes {
    EVP_MD_CTX *sha256, *sha512;
};

struct bag {
    char into[PATH_BYTES], partial[PATH_BYTES];
    int dir; /* of partial; -1: it was not made, or is `into` now */
    struct bag_file manifest[2];
    FILE *tags[2]; /* tag manifests, which nothing lists */
    bool finished;
    uint64_t bytes, files;
};

static const char *const manifest_names[] = {"manifest-sha256.txt", "manifest-sha512.txt"};
static const char *const tag_names[] = {"tagmanifest-sha256.txt", "tagmanifest-sha512.txt"};
/* Innermost first. */
static const char *const folders[] = {"data/proofs", "data/keys", "data"};

static int fault(const struct bag *b, const char *name, const char *what, int error, struct err *e)
{
    return err_set(e, file_code(error), "%s/%s: %s: %s", b->partial, name, what, strerror(error));
}

/* ---- files ---- */

static ssize_t write_hashed(void *cookie, const char *p, size_t n)
{
    struct bag_file *f = cookie;
    for (size_t at = 0; at < n;) {
        ssize_t put = write(f->fd, p + at, n - at);
        if (put >= 0) {
            at += (size_t)put;
        } else if (errno != EINTR) {
            if (f->error == 0)
                f->error = errno;
            return 0;
        }
    }
    if (EVP_DigestUpdate(f->hashes->sha256, p, n) != 1 ||
        EVP_DigestUpdate(f->hashes->sha512, p, n) != 1) {
        f->error = EIO;
        return 0;
    }
    f->bytes += n;
    return (ssize_t)n;
}

static void free_hashes(struct bag_hashes *h)
{
    if (h != NULL) {
        EVP_MD_CTX_free(h->sha256);
        EVP_MD_CTX_free(h->sha512);
    }
    free(h);
}

static struct bag_hashes *make_hashes(void)
{
    struct bag_hashes *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->sha256 = EVP_MD_CTX_new();
    h->sha512 = EVP_MD_CTX_new();
    if (h->sha256 != NULL && h->sha512 != NULL &&
        EVP_DigestInit_ex(h->sha256, EVP_sha256(), NULL) == 1 &&
        EVP_DigestInit_ex(h->sha512, EVP_sha512(), NULL) == 1)
        return h;
    free_hashes(h);
    return NULL;
}

int bag_begin(struct bag *b, const char *name, unsigned mode, struct bag_file *out, struct err *e)
{
    static const cookie_io_functions_t functions = {.write = write_hashed};
    *out = (struct bag_file){.bag = b, .fd = -1, .hashes = make_hashes()};
    (void)snprintf(out->name, sizeof out->name, "%s", name);
    int rc = 0;
    if (out->hashes == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory for the hashes of %s", name);
    if (rc == 0) {
        out->fd = openat(b->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
        if (out->fd < 0)
            rc = fault(b, name, "cannot be created", errno, e);
    }
    if (rc == 0 && (out->f = fopencookie(out, "w", functions)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory for a stream to %s", name);
    if (rc != 0) {
        if (out->fd >= 0)
            (void)close(out->fd);
        free_hashes(out->hashes);
        *out = (struct bag_file){.fd = -1};
    }
    return rc;
}

static void list(struct bag *b, const struct bag_file *f, const struct bag_sums *sums)
{
    const char *const hex[] = {sums->sha256, sums->sha512};
    bool payload = strncmp(f->name, "data/", 5) == 0;
    for (int i = 0; i < 2; i++) {
        char line[256];
        struct writer w = writer_of(line, sizeof line);
        bag_manifest_line(&w, hex[i], bytes_str(f->name));
        (void)fwrite(line, 1, w.at, payload ? b->manifest[i].f : b->tags[i]);
    }
    if (payload) {
        b->bytes += f->bytes;
        b->files++;
    }
}

int bag_end(struct bag_file *f, struct bag_sums *sums, struct err *e)
{
    struct bag_sums own = {.bytes = 0};
    uint8_t short_hash[SHA256_BYTES];
    uint8_t long_hash[SHA512_BYTES];
    int rc = 0;
    if (f->f == NULL)
        return 0;
    errno = 0;
    if (fclose(f->f) != 0 && f->error == 0)
        f->error = errno != 0 ? errno : EIO;
    if (close(f->fd) != 0 && f->error == 0)
        f->error = errno;
    if (f->error != 0)
        rc = fault(f->bag, f->name, "cannot be written", f->error, e);
    if (rc == 0 && (EVP_DigestFinal_ex(f->hashes->sha256, short_hash, NULL) != 1 ||
                    EVP_DigestFinal_ex(f->hashes->sha512, long_hash, NULL) != 1))
        rc = err_set(e, ERR_NO_MEMORY, "%s: OpenSSL makes no hash of it", f->name);
    if (rc == 0) {
        hex_format(short_hash, SHA256_BYTES, own.sha256);
        hex_format(long_hash, SHA512_BYTES, own.sha512);
        own.bytes = f->bytes;
        list(f->bag, f, &own);
        if (sums != NULL)
            *sums = own;
    }
    free_hashes(f->hashes);
    f->f = NULL;
    return rc;
}

int bag_put(struct bag *b, const char *name, unsigned mode, struct bytes text,
            struct bag_sums *sums, struct err *e)
{
    struct bag_file f;
    int rc = bag_begin(b, name, mode, &f, e);
    if (rc != 0)
        return rc;
    (void)fwrite(text.p, 1, text.n, f.f);
    return bag_end(&f, sums, e);
}

void bag_payload(const struct bag *b, uint64_t *bytes, uint64_t *files)
{
    *bytes = b->bytes;
    *files = b->files;
}

FILE *bag_scratch(struct bag *b, struct err *e)
{
    int fd = openat(b->dir, ".scratch", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        (void)fault(b, ".scratch", "cannot be created", errno, e);
        return NULL;
    }
    (void)unlinkat(b->dir, ".scratch", 0);
    FILE *f = fdopen(fd, "w+");
    if (f == NULL) {
        (void)err_set(e, ERR_NO_MEMORY, "no memory for a stream");
        (void)close(fd);
    }
    return f;
}

/* ---- the whole ---- */

static int make_folders(struct bag *b, struct err *e)
{
    if (mkdir(b->partial, 0755) != 0 && errno == EEXIST)
        return err_set(e, ERR_EXISTS,
                       "%s was left by an export that was killed, or one works in it: remove it "
                       "when none does",
                       b->partial);
    b->dir = open(b->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->dir < 0)
        return file_error(e, b->partial, "be created", errno);
    for (size_t i = sizeof folders / sizeof folders[0]; i-- > 0;)
        if (mkdirat(b->dir, folders[i], 0755) != 0)
            return fault(b, folders[i], "cannot be created", errno, e);
    return 0;
}

static int open_manifests(struct bag *b, struct err *e)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < 2; i++) {
        int fd = openat(b->dir, tag_names[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
            return fault(b, tag_names[i], "cannot be created", errno, e);
        if ((b->tags[i] = fdopen(fd, "w")) == NULL) {
            (void)close(fd);
            return err_set(e, ERR_NO_MEMORY, "no memory for a stream");
        }
        rc = bag_begin(b, manifest_names[i], 0644, &b->manifest[i], e);
    }
    return rc;
}

int bag_create(struct bag **out, const char *into, struct err *e)
{
    struct stat st;
    size_t n = strlen(into);
    *out = NULL;
    while (n > 1 && into[n - 1] == '/')
        n--;
    if (n == 0 || n >= PATH_BYTES - sizeof ".partial")
        return err_set(e, ERR_USAGE, "--into: a name of %zu bytes", n);
    struct bag *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a bag");
    b->dir = -1;
    (void)snprintf(b->into, sizeof b->into, "%.*s", (int)n, into);
    (void)snprintf(b->partial, sizeof b->partial, "%.*s.partial", (int)n, into);
    int rc = lstat(b->into, &st) == 0
                 ? err_set(e, ERR_EXISTS, "%s is there: name a new directory", b->into)
                 : make_folders(b, e);
    if (rc == 0)
        rc = open_manifests(b, e);
    if (rc == 0)
        *out = b;
    else
        bag_close(b);
    return rc;
}

/* Never over something; where the file system cannot promise that, bag_create has looked. */
static int take_name(const struct bag *b)
{
    if (renameat2(AT_FDCWD, b->partial, AT_FDCWD, b->into, RENAME_NOREPLACE) == 0)
        return 0;
    return errno == EINVAL ? rename(b->partial, b->into) : -1;
}

int bag_finish(struct bag *b, struct err *e)
{
    int rc =
        bag_put(b, "bagit.txt", 0644,
                bytes_str("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"), NULL, e);
    for (int i = 0; i < 2; i++)
        if (rc == 0)
            rc = bag_end(&b->manifest[i], NULL, e);
    for (int i = 0; i < 2; i++) {
        bool lost = ferror(b->tags[i]) != 0;
        errno = 0;
        if ((fclose(b->tags[i]) != 0 || lost) && rc == 0)
            rc = fault(b, tag_names[i], "cannot be written", errno != 0 ? errno : EIO, e);
        b->tags[i] = NULL;
    }
    if (rc == 0 && syncfs(b->dir) != 0)
        rc = file_error(e, b->partial, "be synced", errno);
    if (rc == 0 && take_name(b) != 0)
        rc = file_error(e, b->into, "get its name", errno);
    if (rc != 0)
        return rc;
    b->finished = true;
    return file_sync_parent(b->into, e);
}

/* The files of a folder of our own making. */
static void empty(int dir, const char *folder)
{
    int fd = openat(dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    if (d == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while ((entry = readdir(d)) != NULL)
        (void)unlinkat(fd, entry->d_name, 0); /* folders stay */
    (void)closedir(d);
}

void bag_close(struct bag *b)
{
    if (b == NULL)
        return;
    for (int i = 0; i < 2; i++) {
        if (b->tags[i] != NULL)
            (void)fclose(b->tags[i]);
        b->tags[i] = NULL;
    }
    for (int i = 0; i < 2; i++)
        if (b->manifest[i].f != NULL) {
            (void)fclose(b->manifest[i].f);
            (void)close(b->manifest[i].fd);
            free_hashes(b->manifest[i].hashes);
        }
    if (b->dir >= 0 && !b->finished) {
        for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
            empty(b->dir, folders[i]);
            (void)unlinkat(b->dir, folders[i], AT_REMOVEDIR);
        }
        empty(b->dir, ".");
        (void)rmdir(b->partial);
    }
    if (b->dir >= 0)
        (void)close(b->dir);
    free(b);
}
