/* The access key of an S3 archive: from a file or the environment, never from a command line. */
#ifndef REPOSITORY_IO_S3_CREDENTIALS_H
#define REPOSITORY_IO_S3_CREDENTIALS_H

#include "store/core/err.h"

struct s3_credentials {
    char key[160], secret[160], token[560]; /* token: empty when there is none */
};
/* From `file` (aws_access_key_id, aws_secret_access_key, aws_session_token, each NAME = VALUE; accessible to its owner
 * alone), or, when that is empty, from AWS_SHARED_CREDENTIALS_FILE, or from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN. ERR_DENIED, ERR_NOT_FOUND, ERR_CONFIG. */
int s3_credentials_load(const char *file, struct s3_credentials *out, struct err *e);
void s3_credentials_wipe(struct s3_credentials *c);

#endif
