/* Warrants (replication/core/warrant.h) as files that operators make, look at and sign. */
#ifndef TOOLS_WARRANT_FILE_H
#define TOOLS_WARRANT_FILE_H

#include "replication/core/warrant.h"
#include "replication/io/cosign.h"
#include "tools/connect.h"

/* A file, read: its bytes, who signed, what it says. */
struct warrant_file {
    uint8_t *file; /* as it is, for whoever carries it out */
    size_t bytes;
    struct cosigned by;
    struct warrant says; /* views into by.text */
};

/* Make the file of a warrant and sign it: act, cluster, id and facts are given in `x`; the asker is whose certificate the options
 * name, the nonce is drawn, it lives `life_s` seconds from `now`. ERR_EXISTS: the file is there. */
int warrant_file_make(const struct common *c, struct warrant *x, struct utc now, uint64_t life_s,
                      const char *path, struct err *e);
/* Read one, and check the signatures by the CA and the revocations that the options name; however many have signed. Whether it
 * may be carried out says warrant_file_admit. Release with warrant_file_close, on success. */
int warrant_file_open(const struct common *c, const char *path, struct warrant_file *out,
                      struct err *e);
/* warrant_admit() with those who signed. */
int warrant_file_admit(const struct warrant_file *f, const struct warrant_place *here,
                       struct utc now, struct err *e);
void warrant_file_close(struct warrant_file *f);
/* Sign it as one more operator, in place: the file is replaced as a whole. */
int warrant_file_sign(const struct common *c, const char *path, const struct warrant_file *f,
                      struct err *e);

/* The text, and who signed, for people. */
void warrant_file_print(FILE *out, const struct warrant_file *f);
/* Read one, and print that or its JSON to stdout. */
int warrant_file_show(const struct common *c, const char *path, struct err *e);

#endif
