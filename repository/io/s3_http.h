/* Requests to an S3 service: signed (SigV4, by libcurl), bounded in time, repeated when trouble may pass. */
#ifndef REPOSITORY_IO_S3_HTTP_H
#define REPOSITORY_IO_S3_HTTP_H

#include "repository/core/s3_text.h"
#include "store/core/bytes.h"
#include "store/core/err.h"

enum { S3_ANSWER_MAX_BYTES = 8 << 20, S3_HEADER_BYTES = 72 };
enum {
    S3_READERS_MAX = 8
}; /* as many as there are threads of a restore; more would only wait for them */

/* Opaque. Any thread may call: each request has a connection of its own meanwhile, PUTs one after the other. */
struct s3_client;
int s3_client_open(const struct s3_place *p, struct s3_client **out, struct err *e);
void s3_client_close(struct s3_client *c); /* NULL is taken */

struct s3_request {
    const char *key;   /* relative to the prefix; NULL: the bucket */
    const char *query; /* sorted and encoded, a value after each name ("versions="); NULL: none */
    /* A PUT of a file: bytes of it, its hashes; with a date it is asked to be locked until then. */
    bool put;
    int fd;
    uint64_t bytes;
    const char *sha256, *md5; /* hex; base64 */
    const char *lock_mode, *lock_until;
    bool remove; /* a DELETE, of the version that `query` names */
    /* A GET of a range, when range_bytes is not 0. */
    uint64_t range_from, range_bytes;
};
struct s3_answer {
    uint8_t *body; /* allocated; s3_answer_release */
    size_t n, cap;
    char version[S3_VERSION_BYTES];
    char lock_mode[S3_HEADER_BYTES], lock_until[S3_HEADER_BYTES];
};
/* 0 for a 2xx. Otherwise a code of s3_trouble, ERR_UNREACHABLE (nothing was answered), ERR_TIMEOUT (nothing came any more; a PUT
 * may have taken effect) or ERR_IO, after up to S3_ATTEMPTS attempts, and a message with request, status, S3's code and
 * advice. */
enum { S3_ATTEMPTS = 4 };
int s3_call(struct s3_client *c, const struct s3_request *r, struct s3_answer *out, struct err *e);
void s3_answer_release(struct s3_answer *a);

#endif
