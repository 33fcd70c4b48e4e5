/* archive damage: what is lost with the objects that are damaged, as the index of keys tells it. */
#include "tools/commands.h"

#include "repository/scrub.h"
#include "tools/output.h"
#include "tools/text.h"

#include <string.h>

struct damage_options {
    struct common common;
    const char *dir, *kek;
};
#define AT(member) offsetof(struct damage_options, member)
static const struct option damage_table[] = {
    {"repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",
     "the archive: its directory, or s3:https://HOST/BUCKET... (required)"},
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK", KEK_HELP},
    {0},
};
#undef AT

static void on_damage(void *arg, const char *object, const char *reason)
{
    (void)json_array_append_new(arg, json_pack("{s:s,s:s}", "object", object, "reason", reason));
}

struct listing {
    bool json;
    json_t *records;
    uint64_t count;
};

static json_t *text_json(struct bytes b)
{
    json_t *text = json_stringn((const char *)b.p, b.n);
    if (text != NULL)
        return text;
    char *hex = malloc(2 * b.n + 1);
    for (size_t i = 0; hex != NULL && i < b.n; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", b.p[i]);
    json_t *o = json_pack("{s:s}", "hex", hex != NULL ? hex : "");
    free(hex);
    return o;
}

static int on_record(void *arg, struct bytes collection, struct bytes key, struct lsn lsn)
{
    struct listing *l = arg;
    l->count++;
    if (l->json) {
        (void)json_array_append_new(l->records,
                                    json_pack("{s:o,s:o,s:I}", "collection", text_json(collection),
                                              "key", text_json(key), "lsn", (json_int_t)lsn.v));
        return 0;
    }
    (void)printf("  lsn %llu  ", (unsigned long long)lsn.v);
    output_text(stdout, collection, 0);
    (void)printf(" ");
    output_text(stdout, key, 0);
    (void)printf("\n");
    return 0;
}

static json_t *time_json(struct utc t)
{
    char text[UTC_TEXT_BYTES];
    return t.us != 0 ? json_string(utc_text(t, text)) : json_null();
}

/* One damaged object and what is in it. What no index covers is said so. */
static void tell(struct repository *r, json_t *o, bool json)
{
    const char *object = json_string_value(json_object_get(o, "object"));
    struct listing l = {.json = json, .records = json_array()};
    struct repository_extent x;
    struct err e = ERR_NONE;
    char from[UTC_TEXT_BYTES];
    char to[UTC_TEXT_BYTES];
    repository_extent(r, object, &x);
    if (!json)
        (void)printf("DAMAGED %s: %s\n", object, json_string_value(json_object_get(o, "reason")));
    if (!json && x.last.v != 0)
        (void)printf("  lsn %llu to %llu, committed from %s until %s\n",
                     (unsigned long long)x.first.v, (unsigned long long)x.last.v,
                     x.from.us != 0 ? utc_text(x.from, from) : "unknown",
                     x.to.us != 0 ? utc_text(x.to, to) : "unknown");
    const bool pack = strncmp(object, "packs/", 6) == 0;
    int rc = pack ? repository_affected(r, x.first, x.last, on_record, &l, &e) : 0;
    if (!json && rc != 0)
        (void)printf("  %s\n", e.text);
    (void)json_object_set_new(o, "first", json_integer((json_int_t)x.first.v));
    (void)json_object_set_new(o, "last", json_integer((json_int_t)x.last.v));
    (void)json_object_set_new(o, "from", time_json(x.from));
    (void)json_object_set_new(o, "to", time_json(x.to));
    (void)json_object_set_new(o, "records", pack && rc == 0 ? json_incref(l.records) : json_null());
    json_decref(l.records);
    if (json)
        output_json(json_incref(o));
}

static int run_archive_damage(struct invocation *in, struct err *e)
{
    const struct damage_options *o = in->options;
    struct repository *r = NULL;
    struct repository_report report;
    json_t *damaged = json_array();
    size_t i;
    json_t *one;
    int rc = o->dir == NULL || o->kek == NULL
                 ? err_set(e, ERR_USAGE, "--%s is needed", o->dir == NULL ? "repository" : "kek")
                 : 0;
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true, .to_verify = true};
    if (rc == 0)
        rc = repository_open(&r, &options, e);
    if (rc == 0)
        rc = repository_verify(r, REPOSITORY_READABLE, on_damage, NULL, damaged, &report, e);
    json_array_foreach(damaged, i, one) tell(r, one, o->common.format == OUTPUT_JSON);
    json_decref(damaged);
    repository_close(r);
    return rc;
}

const struct command command_archive_damage = {
    .name = "archive damage",
    .group = "Archive",
    .purpose = "list what is lost with damaged objects: transactions, times, records",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct damage_options),
    .tables = {damage_table, output_options},
    .about = "Verifies the archive at level readable, and lists for each damaged pack the lsns "
             "that it holds, when they were committed (the times\n"
             "of its neighbours when its own cannot be read), and every record that they wrote, "
             "as the index of keys has them.\n"
             "Exit code 7 when anything is damaged.",
    .examples = {{"which records are concerned?", "triveni archive damage -r /srv/archive -k kek"}},
    .exits = "378",
    .run = run_archive_damage,
};
