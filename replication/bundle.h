/* Divergence bundles as files: what a site had to undo, record by record (P4). docs/FORMATS.md has the format. Written by
 * replication/divergence.c; read here, by sites and by tools. Any thread. */
#ifndef REPLICATION_BUNDLE_H
#define REPLICATION_BUNDLE_H

#include "store/core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define BUNDLE_FORMAT "triveni divergence 2"
#define BUNDLE_FORMAT_1 "triveni divergence 1" /* of earlier versions: no counts, no checksum */

enum {
    BUNDLE_NAME_BYTES = 256,
    BUNDLE_PATH_BYTES = 4096 + BUNDLE_NAME_BYTES,
    /* A value of 16 MiB, every character of it escaped, or as base64; and what goes with it. */
    BUNDLE_LINE_MAX_BYTES = 34 << 20,
    BUNDLE_HEADER_MAX_BYTES = 4096,
};

/* What the first line says; of format 1 only names and positions, the counts are 0. */
struct bundle {
    unsigned format;
    char id[65]; /* hash of the newest entry in it: the same tail has the same id wherever it is */
    char cluster[65]; /* id of the cluster: 32 hex digits */
    char site[65];
    uint64_t term;        /* of the newest entry */
    uint64_t common;      /* lsn up to which the log agreed */
    uint64_t first, last; /* lsn of what is in it */
    uint64_t written_us;
    uint64_t entries, transactions, operations;
    uint64_t yes, possible, no;     /* operations, by what is known of their acknowledgement */
    uint64_t points, modes, audits; /* entries of these kinds */
    uint64_t bytes;                 /* of the file */
    char sha256
        [65]; /* of what the checksum covers (of format 1: of the file); "" before bundle_check */
};

/* Is there anything in it that somebody may miss? Beginnings of terms and sessions alone are nobody's loss. */
bool bundle_matters(const struct bundle *b);

/* "<term>-<first>-<last>.jsonl"; of a bundle that is still being written it ends otherwise. */
bool bundle_is_name(const char *name);
/* Read the first line. ERR_NOT_FOUND; ERR_INTEGRITY: it is none; ERR_NEWER; ERR_IO. */
int bundle_head(const char *path, struct bundle *out, struct err *e);
/* The same, and prove that the file is whole and as it was written: ERR_INTEGRITY otherwise, with what to do. */
int bundle_check(const char *path, struct bundle *out, struct err *e);

/* The lines between the first and the last, of a bundle that bundle_check found good. */
struct bundle_lines {
    FILE *in;
    char *text;
    size_t capacity;
    const char *path;
    uint64_t number; /* of the line that was read last, from 1 */
};
int bundle_open(struct bundle_lines *l, const char *path, struct err *e);
/* 1 with an object for the caller to json_decref; 0 at the end; or an error. */
int bundle_next(struct bundle_lines *l, json_t **out, struct err *e);
void bundle_close(struct bundle_lines *l);

/* ---- the decision about a bundle: a file beside it, <name>.decided ---- */
#define BUNDLE_DECIDED ".decided"
struct bundle_decision {
    char what[16]; /* "applied", "discarded"; "" none */
    char by[129];
    uint64_t time_us, lsn; /* of its entry in the audit trail */
    char sha256[65];       /* of the bundle that it is about */
    char reason[513];
};
/* what is "" when there is none. ERR_INTEGRITY: the file cannot be read as one. */
int bundle_decision_read(const char *path, struct bundle_decision *out, struct err *e);
/* Durable when it returns 0. Replaces an earlier one. */
int bundle_decision_write(const char *path, const struct bundle_decision *d, struct err *e);

#endif
