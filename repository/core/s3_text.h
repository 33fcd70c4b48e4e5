/* What can be decided about an archive in an S3 bucket without talking to it: the text that names it, which version of an object
 * counts, dates, and what to advise.
 *
 * The text: s3:https://HOST[:PORT]/BUCKET[/PREFIX][?OPTION&...], path style. Options:
 *   region=TEXT       default us-east-1
 *   credentials=FILE  access key, as of the AWS tools; default the environment (AWS_ACCESS_KEY_ID and so on)
 *   ca=FILE           certificates that the service's is checked with; default those of the system
 *   retention=DAYS    asked for with each object; default what the bucket's own rule says
 *   mode=compliance   or governance, which whoever holds a certain permission can bypass
 *   lock=off          a bucket without Object Lock is not refused
 *   timeout=SECONDS   without progress, before an attempt is given up; default 15
 *   spool=DIR         where an object lies on its way in; default $TMPDIR or /var/tmp */
#ifndef REPOSITORY_CORE_S3_TEXT_H
#define REPOSITORY_CORE_S3_TEXT_H

#include "repository/core/names.h"
#include "store/core/bytes.h"
#include "store/core/err.h"

#include <stdbool.h>

enum {
    S3_TEXT_BYTES = 256,
    S3_VERSION_BYTES = 72, /* RGW and AWS have 32, MinIO 36 */
    S3_DATE_BYTES = 40,
    S3_RETENTION_DAYS_MAX = 36500,
};

struct s3_place {
    char endpoint[S3_TEXT_BYTES]; /* https://HOST[:PORT] */
    char bucket[64];
    char prefix[128]; /* empty, or ends with a slash */
    char region[64];
    char credentials[S3_TEXT_BYTES], ca[S3_TEXT_BYTES],
        spool[S3_TEXT_BYTES]; /* empty: the default */
    uint32_t retention_days;  /* 0: the bucket's */
    uint32_t timeout_s;
    bool governance; /* is enough */
    bool unlocked;   /* a bucket without Object Lock may be used */
};
bool s3_text_is(const char *where);
/* ERR_USAGE with what is wrong. Plain http is for the loopback alone. */
int s3_text_parse(const char *where, struct s3_place *out, struct err *e);

/* A version of an object as ListObjectVersions has it. */
struct s3_version {
    char id[S3_VERSION_BYTES];
    char etag[S3_VERSION_BYTES];
    uint64_t bytes;
};
/* Which of them counts, given newest first, without delete markers: the oldest one decides what the object is, because its
 * name was given once and nobody can remove it before its date; of all versions with the same size and ETag (MD5) the newest
 * is read, so that bytes which rotted can be put again. n is not 0. */
size_t s3_version_choose(const struct s3_version *v, size_t n);

/* Percent-encoded for a query; false when it does not fit. */
bool s3_encode(const char *in, char *out, size_t cap);

/* 2026-11-27T11:46:33Z; and back, of which only the seconds are read. ERR_FORMAT. */
void s3_date_format(uint64_t unix_s, char out[S3_DATE_BYTES]);
int s3_date_parse(const char *text, uint64_t *unix_s);

/* Code of ours for an answer, and what to do about it (NULL: nothing that is known). `code` is S3's own, may be empty. */
int s3_trouble(unsigned status, const char *code, const char **advice);
/* May the same request succeed a little later? */
bool s3_passing(unsigned status, const char *code);

#endif
