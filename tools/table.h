/* A table for people: columns as wide as their widest cell. Cells hold escaped text, so that data cannot steer a terminal. */
#ifndef TOOLS_TABLE_H
#define TOOLS_TABLE_H

#include "tools/output.h"

enum { TABLE_COLUMNS_MAX = 20, TABLE_CELL_BYTES = 256 };

struct table_cell;

struct table {
    const char *const *heads; /* borrowed; an entry that begins with '>' is right-aligned */
    size_t columns;
    struct table_cell *cells;
    size_t count, capacity; /* cells */
    size_t widths[TABLE_COLUMNS_MAX];
    bool headed; /* the heads have been printed */
};

void table_init(struct table *t, const char *const *heads, size_t columns);
/* The next cell, row by row. Text longer than TABLE_CELL_BYTES is cut with "...". When memory is short the table stops
 * growing and table_print says so. */
void table_cell(struct table *t, enum style style, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void table_bytes(struct table *t, struct bytes b); /* foreign bytes, escaped */
/* Print heads (once) and rows, then forget the rows: a long listing is printed a page at a time, its columns never get
 * narrower. */
void table_print(struct table *t, FILE *f);
void table_free(struct table *t);

#endif
