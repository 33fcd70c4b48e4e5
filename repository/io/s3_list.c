/* ListObjectVersions, page by page.
 *
 * Versions come by key, and for each key the newest first. What counts is decided when all versions of a key have come
 * (s3_version_choose). A key has one version, or as many as somebody put on top of it: up to VERSIONS_MAX of them are looked
 * at. */
#include "repository/io/s3_list.h"

#include "repository/io/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSIONS_MAX = 20000 };

void s3_entries_release(struct s3_entries *l)
{
    free(l->at);
    *l = (struct s3_entries){0};
}

static int compare_name(const void *name, const void *entry)
{
    return strcmp(name, ((const struct s3_entry *)entry)->name);
}

struct s3_entry *s3_entries_find(const struct s3_entries *l, const char *name)
{
    return l->n == 0 ? NULL : bsearch(name, l->at, l->n, sizeof *l->at, compare_name);
}

struct listing {
    size_t skip;      /* bytes of the prefix */
    const char *only; /* NULL, or the one name that is wanted */
    int (*each)(void *arg, const char *name, const struct s3_version *v, size_t n, struct err *e);
    void *arg;
    struct err *e;
    /* the versions of one key, newest first */
    char name[REPO_NAME_BYTES];
    struct s3_version *v;
    size_t n, cap;
    /* the element that is being read, and where the next page begins */
    char key[S3_XML_TEXT_BYTES];
    struct s3_version one;
    bool more;
    char next_key[S3_XML_TEXT_BYTES], next_version[S3_VERSION_BYTES];
};

static int end_key(struct listing *l)
{
    int rc = l->n == 0 ? 0 : l->each(l->arg, l->name, l->v, l->n, l->e);
    l->n = 0;
    return rc;
}

static int end_version(struct listing *l)
{
    const char *name = l->key + l->skip;
    if (strlen(l->key) <= l->skip || strlen(name) >= REPO_NAME_BYTES || l->one.id[0] == '\0' ||
        (l->only != NULL && strcmp(l->only, name) != 0))
        return 0; /* longer names are none of ours */
    int rc = strcmp(name, l->name) != 0 ? end_key(l) : 0;
    if (rc != 0)
        return rc;
    (void)snprintf(l->name, sizeof l->name, "%s", name);
    if (l->n == VERSIONS_MAX)
        return err_set(l->e, ERR_LIMIT, "%s: more than %d versions: look who writes them", name,
                       VERSIONS_MAX);
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 16 : 2 * l->cap;
        struct s3_version *more = realloc(l->v, cap * sizeof *more);
        if (more == NULL)
            return err_set(l->e, ERR_NO_MEMORY, "no memory for the list of versions");
        l->v = more;
        l->cap = cap;
    }
    l->v[l->n++] = l->one;
    l->one = (struct s3_version){.bytes = 0};
    return 0;
}

static int on_element(void *arg, const char *path, const char *text)
{
    struct listing *l = arg;
    static const char root[] = "ListVersionsResult/";
    if (strncmp(path, root, sizeof root - 1) != 0)
        return 0;
    path += sizeof root - 1;
    if (strcmp(path, "Version/Key") == 0)
        (void)snprintf(l->key, sizeof l->key, "%s", text);
    else if (strcmp(path, "Version/VersionId") == 0)
        (void)snprintf(l->one.id, sizeof l->one.id, "%s",
                       strlen(text) < sizeof l->one.id ? text : "");
    else if (strcmp(path, "Version/ETag") == 0)
        (void)snprintf(l->one.etag, sizeof l->one.etag, "%.71s", text);
    else if (strcmp(path, "Version/Size") == 0)
        l->one.bytes = strtoull(text, NULL, 10);
    else if (strcmp(path, "Version") == 0)
        return end_version(l);
    else if (strcmp(path, "IsTruncated") == 0)
        l->more = strcmp(text, "true") == 0;
    else if (strcmp(path, "NextKeyMarker") == 0)
        (void)snprintf(l->next_key, sizeof l->next_key, "%s", text);
    else if (strcmp(path, "NextVersionIdMarker") == 0)
        (void)snprintf(l->next_version, sizeof l->next_version, "%.71s", text);
    return 0;
}

/* One page; the query's names are in order, and each has a value. */
static int page(struct s3_client *c, struct listing *l, const char *prefix, struct err *e)
{
    char key[3 * S3_XML_TEXT_BYTES], version[3 * S3_VERSION_BYTES], wanted[3 * S3_TEXT_BYTES];
    char query[sizeof key + sizeof version + sizeof wanted + 80];
    struct s3_answer a;
    bool next = l->next_key[0] != '\0';
    if (!s3_encode(l->next_key, key, sizeof key) || !s3_encode(prefix, wanted, sizeof wanted) ||
        !s3_encode(l->next_version, version, sizeof version))
        return err_set(e, ERR_LIMIT, "a name in the bucket is too long to go on behind it");
    bool by_version = next && version[0] != '\0';
    (void)snprintf(query, sizeof query,
                   "delimiter=%%2F%s%s&prefix=%s%s%s&versions=", next ? "&key-marker=" : "",
                   next ? key : "", wanted, by_version ? "&version-id-marker=" : "",
                   by_version ? version : "");
    int rc = s3_call(c, &(struct s3_request){.query = query}, &a, e);
    if (rc != 0)
        return rc;
    l->more = false;
    l->next_key[0] = l->next_version[0] = '\0';
    rc = s3_xml_read(bytes_of(a.body, a.n), on_element, l, e);
    s3_answer_release(&a);
    if (rc == 0 && l->more && l->next_key[0] == '\0')
        rc = err_set(e, ERR_FORMAT, "a list that is cut does not say where it goes on");
    return rc;
}

static int walk(struct s3_client *c, struct listing *l, const char *prefix, struct err *e)
{
    int rc;
    l->e = e;
    do
        rc = page(c, l, prefix, e);
    while (rc == 0 && l->more);
    if (rc == 0)
        rc = end_key(l);
    free(l->v);
    return rc;
}

static int add_entry(void *arg, const char *name, const struct s3_version *v, size_t n,
                     struct err *e)
{
    struct s3_entries *l = arg;
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 64 : 2 * l->cap;
        struct s3_entry *more = realloc(l->at, cap * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the list of objects");
        l->at = more;
        l->cap = cap;
    }
    struct s3_entry *x = &l->at[l->n++];
    (void)snprintf(x->name, sizeof x->name, "%s", name);
    x->version = v[s3_version_choose(v, n)];
    return 0;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct s3_entry *)a)->name, ((const struct s3_entry *)b)->name);
}

int s3_list(struct s3_client *c, const char *prefix, const char *folder, struct s3_entries *out,
            struct err *e)
{
    char wanted[S3_TEXT_BYTES];
    struct listing *l = calloc(1, sizeof *l);
    *out = (struct s3_entries){0};
    if (l == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of objects");
    l->skip = strlen(prefix);
    l->each = add_entry;
    l->arg = out;
    (void)snprintf(wanted, sizeof wanted, "%s%s/", prefix, folder);
    int rc = walk(c, l, wanted, e);
    free(l);
    if (rc != 0)
        s3_entries_release(out);
    else if (out->n != 0)
        qsort(out->at, out->n, sizeof *out->at, compare_entries);
    return rc;
}

struct location {
    bool newest, found;
    unsigned older;
    struct s3_version *out;
};

static int take_version(void *arg, const char *name, const struct s3_version *v, size_t n,
                        struct err *e)
{
    struct location *x = arg;
    (void)name;
    (void)e;
    size_t i = x->newest ? x->older : s3_version_choose(v, n);
    x->found = i < n;
    if (x->found)
        *x->out = v[i];
    return 0;
}

static int walk_one(struct s3_client *c, const char *prefix, const char *name,
                    int (*each)(void *arg, const char *name, const struct s3_version *v, size_t n,
                                struct err *e),
                    void *arg, struct err *e)
{
    char wanted[S3_TEXT_BYTES];
    struct listing *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of versions");
    l->skip = strlen(prefix);
    l->only = name;
    l->each = each;
    l->arg = arg;
    (void)snprintf(wanted, sizeof wanted, "%s%s", prefix, name);
    int rc = walk(c, l, wanted, e);
    free(l);
    return rc;
}

int s3_locate(struct s3_client *c, const char *prefix, const char *name, bool newest,
              unsigned older, struct s3_version *out, struct err *e)
{
    struct location x = {.newest = newest, .older = older, .out = out};
    int rc = walk_one(c, prefix, name, take_version, &x, e);
    if (rc == 0 && !x.found)
        rc = err_set(e, ERR_NOT_FOUND, "%s: is not in the bucket", name);
    return rc;
}

struct copied {
    struct s3_version **out;
    size_t *n;
};

static int copy_versions(void *arg, const char *name, const struct s3_version *v, size_t n,
                         struct err *e)
{
    const struct copied *x = arg;
    (void)name;
    *x->out = malloc(n * sizeof *v);
    if (*x->out == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of versions");
    memcpy(*x->out, v, n * sizeof *v);
    *x->n = n;
    return 0;
}

int s3_versions(struct s3_client *c, const char *prefix, const char *name, struct s3_version **out,
                size_t *n, struct err *e)
{
    *out = NULL;
    *n = 0;
    return walk_one(c, prefix, name, copy_versions, &(struct copied){out, n}, e);
}
