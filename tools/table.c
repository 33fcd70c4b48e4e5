/* Tables: cells of a fixed size in one growing array, row by row; the widths are known when the rows are printed. A page of a
 * long listing is printed and forgotten; its columns keep their widths for the next. */
#include "tools/table.h"

#include "store/core/check.h"
#include "tools/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct table_cell {
    char text[TABLE_CELL_BYTES];
    enum style style;
};

void table_init(struct table *t, const char *const *heads, size_t columns)
{
    check(columns > 0 && columns <= TABLE_COLUMNS_MAX);
    *t = (struct table){.heads = heads, .columns = columns};
}

/* Columns that well-formed text takes: one for each code point (combining marks and wide characters are not told
 * apart; a crooked column is the worst that follows). */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static bool right_aligned(const char *head)
{
    return head[0] == '>';
}

static const char *head_text(const char *head)
{
    return right_aligned(head) ? head + 1 : head;
}

/* Escape into a cell, never cutting inside a code point. */
static void fill(char out[TABLE_CELL_BYTES], struct bytes b)
{
    static const char dots[] = "...";
    size_t at = 0;
    for (size_t i = 0; i < b.n;) {
        size_t n = utf8_length(bytes_of(b.p + i, b.n - i));
        bool control =
            n == 0 || b.p[i] < 0x20 || b.p[i] == 0x7f || (b.p[i] == 0xc2 && b.p[i + 1] < 0xa0);
        if (n == 0)
            n = 1;
        size_t need = control ? 4 * n : n;
        if (at + need + sizeof dots > TABLE_CELL_BYTES) {
            memcpy(out + at, dots, sizeof dots);
            return;
        }
        for (size_t k = 0; k < n; k++)
            if (control)
                at += (size_t)snprintf(out + at, 5, "\\x%02x", b.p[i + k]);
            else
                out[at++] = (char)b.p[i + k];
        i += n;
    }
    out[at] = '\0';
}

static void add(struct table *t, enum style style, struct bytes b)
{
    if (t->count == t->capacity) {
        size_t capacity = t->capacity == 0 ? 64 : t->capacity * 2;
        struct table_cell *cells = realloc(t->cells, capacity * sizeof *cells);
        if (cells == NULL)
            return;
        t->cells = cells;
        t->capacity = capacity;
    }
    struct table_cell *cell = &t->cells[t->count];
    cell->style = style;
    fill(cell->text, b);
    size_t *width = &t->widths[t->count % t->columns];
    size_t w = width_of(cell->text);
    if (w > *width)
        *width = w;
    t->count++;
}

void table_cell(struct table *t, enum style style, const char *fmt, ...)
{
    char text[4 * TABLE_CELL_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    add(t, style, n < 0 ? bytes_str("") : bytes_str(text));
}

void table_bytes(struct table *t, struct bytes b)
{
    add(t, STYLE_NONE, b);
}

static void pad(FILE *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)fputc(' ', f);
}

static void print_cell(const struct table *t, FILE *f, size_t column, const char *text,
                       enum style style, bool colour)
{
    size_t room = t->widths[column] - width_of(text);
    bool last = column + 1 == t->columns;
    if (right_aligned(t->heads[column]))
        pad(f, room);
    if (colour && style != STYLE_NONE)
        (void)fputs(style_on(style), f);
    (void)fputs(text, f);
    if (colour && style != STYLE_NONE)
        (void)fputs(style_off(), f);
    if (!right_aligned(t->heads[column]) && !last)
        pad(f, room);
    (void)fputs(last ? "\n" : "  ", f);
}

void table_print(struct table *t, FILE *f)
{
    bool colour = output_colour(f);
    check(t->columns > 0);
    for (size_t c = 0; c < t->columns; c++) {
        size_t w = width_of(head_text(t->heads[c]));
        if (w > t->widths[c])
            t->widths[c] = w;
    }
    for (size_t c = 0; c < t->columns && !t->headed; c++)
        print_cell(t, f, c, head_text(t->heads[c]), STYLE_HEAD, colour);
    t->headed = true;
    for (size_t i = 0; i < t->count; i++)
        print_cell(t, f, i % t->columns, t->cells[i].text, t->cells[i].style, colour);
    t->count = 0;
}

void table_free(struct table *t)
{
    free(t->cells);
    t->cells = NULL;
    t->count = t->capacity = 0;
}
