/* archive operations: what was done with the archive, as its site signed it. */
#include "tools/commands.h"

#include "repository/operations.h"
#include "store/core/hex.h"
#include "tools/table.h"
#include "tools/text.h"

#include <stdlib.h>

struct operations_options {
    struct common common;
    const char *dir, *kek;
    struct option_number from, limit;
};
#define AT(member) offsetof(struct operations_options, member)
static const struct option operations_table[] = {
    {"repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",
     "the archive: its directory, or s3:https://HOST/BUCKET... (required)"},
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK",
     "with the key that the archive is encrypted under, what was handed in and is not signed yet "
     "is "
     "listed too"},
    {"from", 0, OPTION_NUMBER, AT(from), "NUMBER", NULL,
     "begin with this operation; the first one is 0"},
    {"limit", 'n', OPTION_NUMBER, AT(limit), "N", NULL, "the newest N"},
    {0},
};
#undef AT

/* All of them, since the newest are known only at the end: half a KiB each. */
struct operations_list {
    struct operation *at;
    size_t n, cap;
};

static int keep(void *arg, uint64_t index, const struct operation *o)
{
    struct operations_list *l = arg;
    (void)index; /* the signed ones come first, in order */
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 256 : 2 * l->cap;
        struct operation *more = realloc(l->at, cap * sizeof *more);
        if (more == NULL)
            return ERR_NO_MEMORY;
        l->at = more;
        l->cap = cap;
    }
    l->at[l->n++] = *o;
    return 0;
}

static void set_number(json_t *row, const char *name, uint64_t v)
{
    if (v != 0)
        (void)json_object_set_new(row, name, json_integer((json_int_t)v));
}

static void set_text(json_t *row, const char *name, const char *text)
{
    if (text[0] != '\0')
        (void)json_object_set_new(row, name, json_string(text));
}

static void set_hash(json_t *row, const char *name, bool known, const struct sha256 *h)
{
    char hex[2 * sizeof h->b + 1];
    hex_format(h->b, sizeof h->b, hex);
    if (known)
        (void)json_object_set_new(row, name, json_string(hex));
}

/* As in the leaf, with its number, and a time that people read. */
static void print_json(const struct operation *o, uint64_t number, bool is_signed)
{
    char time[UTC_TEXT_BYTES];
    char id[17];
    (void)snprintf(id, sizeof id, "%016llx", (unsigned long long)o->id);
    json_t *row =
        json_pack("{s:o,s:b,s:s,s:s,s:s}", "number",
                  is_signed ? json_integer((json_int_t)number) : json_null(), "signed", is_signed,
                  "op", operation_name(o->kind), "id", id, "time", utc_text(o->time, time));
    set_number(row, "tree_size", o->tree_size);
    set_hash(row, "tree_root", o->tree_size != 0, &o->tree_root);
    set_text(row, "object", o->object);
    set_number(row, "bytes", o->bytes);
    set_hash(row, "sha256", o->bytes != 0, &o->sha256);
    set_number(row, "first", o->first.v);
    set_number(row, "last", o->last.v);
    set_number(row, "generation", o->generation);
    set_number(row, "checked", o->checked);
    set_number(row, "damaged", o->damaged);
    set_text(row, "detail", o->detail);
    set_hash(row, "reference", o->has_reference, &o->reference);
    if (o->mended)
        (void)json_object_set_new(row, "mended", json_true());
    output_json(row);
}

/* What is said beside the object, in words. */
static void about(const struct operation *o, char *out, size_t room)
{
    size_t n = 0;
    out[0] = '\0';
    if (o->detail[0] != '\0')
        n += (size_t)snprintf(out + n, room - n, "%s", o->detail);
    if (o->generation != 0)
        n += (size_t)snprintf(out + n, room - n, "%sgeneration %u", n == 0 ? "" : ", ",
                              o->generation);
    if (o->checked != 0)
        n += (size_t)snprintf(out + n, room - n, "%s%llu checked, %llu damaged", n == 0 ? "" : ", ",
                              (unsigned long long)o->checked, (unsigned long long)o->damaged);
    if (o->mended)
        (void)snprintf(out + n, room - n, "%srecorded later", n == 0 ? "" : ", ");
}

static void print_row(struct table *t, const struct operation *o, uint64_t number, bool is_signed)
{
    char text[TABLE_CELL_BYTES];
    if (is_signed)
        table_cell(t, STYLE_NONE, "%llu", (unsigned long long)number);
    else
        table_cell(t, STYLE_NONE, "not yet");
    table_cell(t, STYLE_NONE, "%s", utc_text(o->time, text));
    table_cell(t, STYLE_NONE, "%s", operation_name(o->kind));
    if (o->last.v == 0)
        table_cell(t, STYLE_NONE, "%s", "");
    else if (o->first.v == 0)
        table_cell(t, STYLE_NONE, "%llu", (unsigned long long)o->last.v);
    else
        table_cell(t, STYLE_NONE, "%llu-%llu", (unsigned long long)o->first.v,
                   (unsigned long long)o->last.v);
    table_cell(t, STYLE_NONE, "%s", o->object);
    about(o, text, sizeof text);
    table_cell(t, STYLE_NONE, "%s", text);
}

static void print(const struct operations_options *o, const struct operations_list *l,
                  const struct operations_summary *sum)
{
    static const char *const heads[] = {">NUMBER", "TIME", "OPERATION", ">LSNS", "OBJECT", "ABOUT"};
    struct table t;
    size_t first = o->from.given ? (o->from.v < l->n ? (size_t)o->from.v : l->n) : 0;
    if (o->limit.given && l->n - first > o->limit.v)
        first = l->n - (size_t)o->limit.v;
    table_init(&t, heads, sizeof heads / sizeof heads[0]);
    for (size_t i = first; i < l->n; i++) {
        if (o->common.format == OUTPUT_JSON)
            print_json(&l->at[i], i, i < sum->leaves);
        else
            print_row(&t, &l->at[i], i, i < sum->leaves);
    }
    if (o->common.format != OUTPUT_JSON)
        table_print(&t, stdout);
    table_free(&t);
    say("%llu operations, signed by verifier key %s", (unsigned long long)sum->leaves, sum->key);
    if (sum->pending != 0)
        say("%llu more were handed in and are not signed yet", (unsigned long long)sum->pending);
}

static int run_archive_operations(struct invocation *in, struct err *e)
{
    const struct operations_options *o = in->options;
    struct operations_list l = {0};
    struct operations_summary sum;
    struct repository *r = NULL;
    int rc = o->dir == NULL ? err_set(e, ERR_USAGE, "--repository is needed") : 0;
    if (rc == 0 && o->kek != NULL) {
        const struct repository_options options = {
            .dir = o->dir, .kek_file = o->kek, .read_only = true};
        rc = repository_open(&r, &options, e);
        if (rc == 0)
            rc = repository_operations_of(r, keep, &l, &sum, e);
    } else if (rc == 0) {
        rc = repository_operations(o->dir, keep, &l, &sum, e);
    }
    if (rc == ERR_NO_MEMORY)
        err_set(e, rc, "no memory for the list of operations");
    if (rc == 0)
        print(o, &l, &sum);
    free(l.at);
    repository_close(r);
    return rc;
}

const struct command command_archive_operations = {
    .name = "archive operations",
    .group = "Archive",
    .purpose = "list what was done with the archive, as its site signed it",
    .operands = "",
    .options_bytes = sizeof(struct operations_options),
    .tables = {operations_table, output_options},
    .about =
        "Packs sealed, snapshots taken, keys rotated and given up, verifications, drills, healing, "
        "holds and disposals. Signature and hashes of the log are checked before anything is "
        "listed. What must be in the archive follows from it: see 'triveni archive verify'.",
    .examples = {{"all", "triveni archive operations --repository /srv/archive"},
                 {"the newest ten", "triveni archive operations -r /srv/archive -n 10"},
                 {"for a program", "triveni archive operations -r /srv/archive -o json"}},
    .exits = "37",
    .run = run_archive_operations,
};
