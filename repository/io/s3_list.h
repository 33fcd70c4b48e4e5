/* What lies in a bucket, and which version of it counts. */
#ifndef REPOSITORY_IO_S3_LIST_H
#define REPOSITORY_IO_S3_LIST_H

#include "repository/io/s3_http.h"

struct s3_entry {
    char name[REPO_NAME_BYTES]; /* relative to the prefix */
    struct s3_version version;
};
struct s3_entries {
    struct s3_entry *at; /* by name; allocated */
    size_t n, cap;
};
void s3_entries_release(struct s3_entries *l);
struct s3_entry *s3_entries_find(const struct s3_entries *l, const char *name);

/* The objects in `folder` (not below), each with the version that counts. Delete markers hide nothing. */
int s3_list(struct s3_client *c, const char *prefix, const char *folder, struct s3_entries *out,
            struct err *e);
/* The version of one object that counts, or, with `newest`, the newest one but `older`. ERR_NOT_FOUND. */
int s3_locate(struct s3_client *c, const char *prefix, const char *name, bool newest,
              unsigned older, struct s3_version *out, struct err *e);

/* All versions of one object, newest first, into *out (allocated; NULL: none). Delete markers are passed over. */
int s3_versions(struct s3_client *c, const char *prefix, const char *name, struct s3_version **out,
                size_t *n, struct err *e);

#endif
