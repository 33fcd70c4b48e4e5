/* The backend that is a bucket of an S3 service with Object Lock, named as in core/s3_text.h. */
#ifndef REPOSITORY_IO_S3_H
#define REPOSITORY_IO_S3_H

#include "repository/io/backend.h"

/* repo_backend_open of a bucket. Nothing is made: the bucket is there. With `write`, ERR_CONFIG when it has no Object Lock
 * and that is not allowed, or when nothing says until when objects are locked. The bucket has no lock of a writer's: unique
 * names, which hold the term, keep two writers apart. */
int repo_s3_open(const char *where, bool write, struct repo_backend **out, struct err *e);

#endif
