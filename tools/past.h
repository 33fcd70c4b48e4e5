/* Where commands ask for records of the past: an archive's directory with its key, or the running site that keeps the archive. */
#ifndef TOOLS_PAST_H
#define TOOLS_PAST_H

#include "client/triveni.h"
#include "repository/history.h"
#include "tools/cli.h"

/* Options, with the members of the command's struct that they fill. */
#define PAST_OPTIONS(type)                                                                         \
    {"repository",                                                                                 \
     'r',                                                                                          \
     OPTION_TEXT,                                                                                  \
     offsetof(type, dir),                                                                          \
     "DIR",                                                                                        \
     "TRIVENI_REPOSITORY",                                                                         \
     "directory of the archive: read there, no site is asked"},                                    \
    {                                                                                              \
        "kek", 'k', OPTION_TEXT, offsetof(type, kek), "SOURCE", "TRIVENI_KEK",                     \
            "with --repository: key that the archive is encrypted under, as for archive verify"    \
    }
#define PAST_WHEN "LSN, TIME with its offset, or restore point"

/* A moment as people name it: digits are an lsn, what begins like 2026-11- is a time (with its offset), anything else the name of
 * a restore point. NULL: unset. ERR_USAGE. */
int when_parse(const char *text, struct restore_target *out, struct err *e);

struct past; /* opaque */
/* `dir` NULL: the site of kind repository is asked. ERR_USAGE when the key is missing. */
int past_open(struct past **out, const struct common *c, const char *dir, const char *kek,
              struct err *e);
void past_close(struct past *p);
/* NULL when a site is asked. */
struct repository *past_repository(struct past *p);

struct past_version {
    uint64_t lsn, time_us;
    bool put;
    struct bytes client, value;     /* value: when it was asked for, and it is a put */
    uint64_t bytes;                 /* of the value */
    const struct entry_view *entry; /* NULL when a site was asked */
};
struct past_query {
    struct bytes collection, key;
    struct restore_target from, to; /* unset: from the beginning; up to the end */
    uint64_t limit;                 /* newest; 0: all */
    bool values;
};
struct past_reach {
    uint64_t begin, to; /* lsns: where what can be answered begins; up to which was asked */
    bool open_end;      /* a time that what is known does not reach */
    bool more;          /* the limit ended it */
    /* The newest lsn in the range that was disposed of, and by whose order; 0: none was. Versions up to it may have been. */
    uint64_t disposed;
    char why[ERR_TEXT_BYTES];
};
/* Newest first; non-zero results of `each` end it and are returned. */
int past_history(struct past *p, const struct past_query *q,
                 int (*each)(void *arg, const struct past_version *), void *arg,
                 struct past_reach *reach, struct err *e);

/* Records as of a moment: records[i] gets what keys[i] was. Release with past_records_free, on errors too. */
int past_records(struct past *p, struct bytes collection, const struct tvn_key *keys, size_t count,
                 const struct restore_target *at, struct tvn_record *records,
                 struct past_reach *reach, struct err *e);
void past_records_free(struct tvn_record *records, size_t count);

/* What an open end means, on stderr. */
void say_reach(const struct past_reach *reach);

#endif
