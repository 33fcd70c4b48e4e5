/* The ledger's file: read whole, written whole beside its place and renamed, so that there is always one whole one. */
#include "repository/scrub.h"

#include "store/core/hash.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEDGER_MAX_BYTES = 256 << 20 }; /* three million objects */

void repository_ledger_release(struct repo_ledger *l)
{
    free(l->at);
    *l = (struct repo_ledger){.n = 0};
}

static int parse(struct bytes text, struct repo_ledger *out, struct err *e)
{
    struct bytes lines;
    struct repo_ledger_line x;
    size_t at = 0, n = 0;
    int rc = repo_ledger_lines(text, &lines, e);
    if (rc == 0 && repo_ledger_round_read(&lines, &out->round) != 0)
        rc = err_set(e, ERR_FORMAT, "its round is none");
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < lines.n; i++)
        n += lines.p[i] == '\n';
    out->at = calloc(n + 1, sizeof *out->at);
    out->cap = n + 1;
    if (out->at == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the ledger");
    while ((rc = repo_ledger_line_read(lines, &at, &x)) == 0 && out->n < n)
        *repo_ledger_add(out, x.name) = x;
    if (rc == ERR_NOT_FOUND)
        return 0;
    repository_ledger_release(out);
    return err_set(e, ERR_FORMAT, "its line at byte %zu is none of a ledger", at);
}

int repository_ledger_load(const char *path, struct repo_ledger *out, bool *whole, struct err *e)
{
    struct stat st;
    *out = (struct repo_ledger){.n = 0};
    *whole = true;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : file_error(e, path, "be opened", errno);
    uint64_t size = fstat(fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
    size = size > LEDGER_MAX_BYTES ? LEDGER_MAX_BYTES : size;
    uint8_t *text = malloc((size_t)size + 1);
    size_t n = 0;
    int rc = text == NULL ? err_set(e, ERR_NO_MEMORY, "no memory for the ledger")
                          : file_read_at(fd, path, text, (size_t)size, 0, &n, e);
    if (rc == 0)
        rc = parse(bytes_of(text, n), out, e);
    *whole = rc == 0;
    free(text);
    (void)close(fd);
    return rc == ERR_FORMAT ? 0 : rc;
}

static int write_all(int fd, const char *path, const struct repo_ledger *l, struct err *e)
{
    char line[REPO_LEDGER_LINE_BYTES];
    const size_t head = strlen(repo_ledger_head);
    uint8_t *text = malloc(head + (l->n + 2) * REPO_LEDGER_LINE_BYTES);
    size_t n = head;
    if (text == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the ledger");
    memcpy(text, repo_ledger_head, head);
    size_t length = l->round.began.us != 0 ? repo_ledger_round_write(&l->round, line) : 0;
    memcpy(text + n, line, length);
    n += length;
    for (size_t i = 0; i < l->n; i++) {
        length = repo_ledger_line_write(&l->at[i], line);
        memcpy(text + n, line, length);
        n += length;
    }
    length = repo_ledger_end_write(hash_crc32c(0, bytes_of(text, n)), line);
    memcpy(text + n, line, length);
    int rc = file_write_at(fd, path, text, n + length, 0, e);
    free(text);
    return rc == 0 && fdatasync(fd) != 0 ? file_error(e, path, "be synced", errno) : rc;
}

int repository_ledger_save(const char *path, const struct repo_ledger *l, struct err *e)
{
    char beside[PATH_MAX];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
        return err_set(e, ERR_USAGE, "%.200s...: the path is too long", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_error(e, beside, "be opened", errno);
    int rc = write_all(fd, beside, l, e);
    (void)close(fd);
    if (rc == 0 && rename(beside, path) != 0)
        rc = file_error(e, path, "be replaced", errno);
    if (rc == 0)
        return file_sync_parent(path, e);
    (void)unlink(beside);
    return rc;
}
