/* One line of JSON Lines, TSV or a dump -> collection, key and value. Pure. */
#ifndef TOOLS_IMPORT_H
#define TOOLS_IMPORT_H

#include "store/core/bytes.h"
#include "store/core/err.h"

enum import_format { IMPORT_JSONL = 1, IMPORT_TSV = 2, IMPORT_DUMP = 3 };
enum { IMPORT_COLUMNS_MAX = 1024, IMPORT_LINE_MAX_BYTES = 24 << 20 };

struct import {
    enum import_format format;
    const char *
        key; /* jsonl: member or JSON pointer; tsv: column, a number from 1 or, with a header, a name */
    const char *
        value; /* tsv: column; NULL: the second, or with a header an object of all. jsonl: member or pointer; NULL:
                          * the whole line */
    bool header; /* tsv: the first line names the columns */

    char *header_text; /* owned: the header line */
    size_t header_bytes;
    size_t columns;                  /* of the header; 0: not seen yet */
    size_t key_column, value_column; /* from 0; SIZE_MAX: none */
    uint8_t *scratch;                /* owned */
    size_t scratch_bytes;
};

struct imported {
    struct bytes collection; /* IMPORT_DUMP only */
    struct bytes key, value;
};

/* From the options; column numbers are checked here. ERR_USAGE. */
int import_begin(struct import *im, struct err *e);
void import_end(struct import *im);

/* What the line says; views into the line or into the import's memory, until the next call. 1: a record; 0: none (empty line,
 * header); ERR_FORMAT with *column (bytes from 1) and what to do; ERR_USAGE when the header lacks a column; ERR_NO_MEMORY. */
int import_line(struct import *im, struct bytes line, struct imported *out, size_t *column,
                struct err *e);

#endif
