/* See s3_credentials.h. Of a file with several profiles the first is taken. */
#include "repository/io/s3_credentials.h"

#include "repository/io/crypto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct name {
    const char *in_file, *in_environment;
    size_t at, cap;
} names[] = {
#define FIELD(member)                                                                              \
    offsetof(struct s3_credentials, member), sizeof((struct s3_credentials *)0)->member
    {"aws_access_key_id", "AWS_ACCESS_KEY_ID", FIELD(key)},
    {"aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", FIELD(secret)},
    {"aws_session_token", "AWS_SESSION_TOKEN", FIELD(token)},
};
enum { NAMES = sizeof names / sizeof names[0] };

void s3_credentials_wipe(struct s3_credentials *c)
{
    repo_wipe(c, sizeof *c);
}

static int set(struct s3_credentials *c, const struct name *name, const char *value, size_t n,
               struct err *e)
{
    char *out = (char *)c + name->at;
    if (out[0] != '\0')
        return 0; /* another profile's */
    if (n >= name->cap)
        return err_set(e, ERR_CONFIG, "%s has %zu bytes, at most %zu are taken", name->in_file, n,
                       name->cap - 1);
    memcpy(out, value, n);
    out[n] = '\0';
    return 0;
}

static int take_line(struct s3_credentials *c, char *line, struct err *e)
{
    static const char blank[] = " \t\r\n";
    char *name = line + strspn(line, blank), *equal = strchr(name, '=');
    if (equal == NULL || *name == '#' || *name == ';' || *name == '[')
        return 0;
    size_t n = (size_t)(equal - name);
    while (n > 0 && strchr(blank, name[n - 1]) != NULL)
        n--;
    const char *value = equal + 1 + strspn(equal + 1, blank);
    size_t length = strlen(value);
    while (length > 0 && strchr(blank, value[length - 1]) != NULL)
        length--;
    for (size_t i = 0; i < NAMES; i++)
        if (strlen(names[i].in_file) == n && memcmp(names[i].in_file, name, n) == 0)
            return set(c, &names[i], value, length, e);
    return 0;
}

static int read_file(const char *path, struct s3_credentials *out, struct err *e)
{
    char line[1024];
    struct stat st;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_DENIED, "credentials %s: %s", path,
                       strerror(errno));
    int rc = 0;
    if (fstat(fileno(f), &st) != 0 || (st.st_mode & 077) != 0)
        rc =
            err_set(e, ERR_DENIED, "credentials %s: others can access it (mode %03o): chmod 600 it",
                    path, (unsigned)st.st_mode & 0777);
    while (rc == 0 && fgets(line, sizeof line, f) != NULL)
        rc = take_line(out, line, e);
    (void)fclose(f);
    repo_wipe(line, sizeof line);
    if (rc == 0 && (out->key[0] == '\0' || out->secret[0] == '\0'))
        rc = err_set(e, ERR_CONFIG, "credentials %s: no %s in it", path,
                     names[out->key[0] == '\0' ? 0 : 1].in_file);
    return rc;
}

int s3_credentials_load(const char *file, struct s3_credentials *out, struct err *e)
{
    *out = (struct s3_credentials){.key = ""};
    const char *other = getenv("AWS_SHARED_CREDENTIALS_FILE"); /* NOLINT(concurrency-mt-unsafe) */
    int rc = 0;
    if (file[0] != '\0')
        return read_file(file, out, e);
    for (size_t i = 0; rc == 0 && i < NAMES; i++) {
        const char *v = getenv(names[i].in_environment); /* NOLINT(concurrency-mt-unsafe) */
        if (v != NULL)
            rc = set(out, &names[i], v, strlen(v), e);
    }
    if (rc != 0 || (out->key[0] != '\0' && out->secret[0] != '\0'))
        return rc;
    if (other != NULL)
        return read_file(other, out, e);
    return err_set(e, ERR_CONFIG,
                   "no access key: name a file (credentials=FILE), or set AWS_ACCESS_KEY_ID and "
                   "AWS_SECRET_ACCESS_KEY");
}
