/* What putting records of the past back would change, as a list that two operators sign by its SHA-256 (restore --apply).
 *
 * FORMAT: JSON Lines, members in this order and no others; equal lists are equal bytes:
 *   {"change":"create",  "collection":C, "key":K,                                "then":{"lsn":L,"time":T}, "value":V}
 *   {"change":"replace", "collection":C, "key":K, "now":{"lsn":L,"time":T}, "then":{"lsn":L,"time":T}, "value":V}
 *   {"change":"delete",  "collection":C, "key":K, "now":{"lsn":L,"time":T}}
 * without the blanks. "now" is the version that the record had in the cluster when the list was made, and has to have when it is
 * carried out (create: none); "then" is the one in the archive. K and V are text, or {"base64":...} when they are not UTF-8: the
 * bytes, exactly. T is UTC, microseconds since 1970. */
#ifndef TOOLS_CHANGES_H
#define TOOLS_CHANGES_H

#include "store/core/body.h"
#include "tools/lines.h"

#include <jansson.h>

enum change_kind { CHANGE_CREATE = 1, CHANGE_REPLACE = 2, CHANGE_DELETE = 3 };
struct change_version {
    uint64_t lsn, time_us; /* lsn 0: there is none */
};
struct change {
    enum change_kind kind;
    struct bytes collection, key, value;
    struct change_version now, then;
    /* of one that was read */
    uint64_t number; /* its line */
    json_t *line;    /* owned, with what the others point to */
    uint8_t *decoded[2];
};
const char *change_name(enum change_kind kind);

/* ---- making a list ---- */
struct changes_writer {
    FILE *f;   /* where the lines go; NULL: nowhere */
    void *sum; /* of what was written */
    uint64_t count[CHANGE_DELETE + 1];
};
int changes_begin(struct changes_writer *w, FILE *f, struct err *e);
int changes_add(struct changes_writer *w, const struct change *c, struct err *e);
/* Its SHA-256 in hex; also releases. ERR_IO when something was not written. */
int changes_end(struct changes_writer *w, char hex[65], struct err *e);
void changes_abandon(struct changes_writer *w);

/* ---- reading one ---- */
/* ERR_INTEGRITY when the file's SHA-256 is another. */
int changes_check(const char *path, const char *hex, struct err *e);
struct changes_reader {
    struct lines lines;
};
int changes_open(struct changes_reader *r, const char *path, struct err *e);
/* 1 with a change for change_free(); 0 at the end; ERR_FORMAT with the line. */
int changes_next(struct changes_reader *r, struct change *out, struct err *e);
void changes_close(struct changes_reader *r);
void change_free(struct change *c);

#endif
