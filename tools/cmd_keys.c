/* archive keys: generations of the archive's keys, beside a site that may go on archiving. */
#include "tools/commands.h"

#include "repository/keys.h"
#include "tools/progress.h"
#include "tools/table.h"
#include "tools/text.h"

#include <string.h>
#include <unistd.h>

struct keys_options {
    struct common common;
    const char *dir, *kek, *to;
    bool yes;
};
#define AT(member) offsetof(struct keys_options, member)
static const struct option keys_table[] = {
    {"repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",
     "directory of the archive (required)"},
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK",
     "key that the archive is encrypted under: a file, 'command:/PATH WORD...', or a PKCS #11 URI; "
     "not needed to list"},
    {"to", 0, OPTION_TEXT, AT(to), "SOURCE", NULL, "rotate: the new key"},
    {"yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL, "retire, on a terminal: do not ask"},
    {0},
};
#undef AT

/* ---- list ---- */

struct listing {
    bool json;
    struct table table;
};

static int on_generation(void *arg, const struct repository_generation *g)
{
    struct listing *l = arg;
    char made[UTC_TEXT_BYTES] = "";
    char retired[UTC_TEXT_BYTES] = "";
    bool gone = g->retired.us != 0;
    const char *state = g->damaged             ? "damaged"
                        : gone                 ? "retired"
                        : g->keys < g->objects ? "partial"
                                               : "whole";
    if (g->made.us != 0)
        (void)utc_text(g->made, made);
    if (gone)
        (void)utc_text(g->retired, retired);
    if (l->json) {
        output_json(json_pack("{s:i,s:s,s:s?,s:I,s:I,s:s?,s:s?}", "generation", (int)g->number,
                              "state", state, "kek_id", g->kek_id[0] != '\0' ? g->kek_id : NULL,
                              "keys", (json_int_t)g->keys, "objects", (json_int_t)g->objects,
                              "made", made[0] != '\0' ? made : NULL, "retired",
                              gone ? retired : NULL));
        return 0;
    }
    table_cell(&l->table, STYLE_NONE, "%u", g->number);
    table_cell(&l->table, STYLE_NONE, "%s", state);
    table_cell(&l->table, STYLE_NONE, "%s", g->kek_id[0] != '\0' ? g->kek_id : "?");
    table_cell(&l->table, STYLE_NONE, "%llu", (unsigned long long)g->keys);
    table_cell(&l->table, STYLE_NONE, "%llu", (unsigned long long)g->objects);
    table_cell(&l->table, STYLE_NONE, "%s", made[0] != '\0' ? made : "?");
    table_cell(&l->table, STYLE_NONE, "%s", gone ? retired : "-");
    return 0;
}

static int run_list(const struct keys_options *o, struct err *e)
{
    static const char *const heads[] = {">GENERATION", "STATE", "KEK",    ">KEYS",
                                        ">OBJECTS",    "MADE",  "RETIRED"};
    struct listing l = {.json = o->common.format == OUTPUT_JSON};
    table_init(&l.table, heads, 7);
    int rc = repository_generations(o->dir, on_generation, &l, e);
    if (rc == 0 && !l.json)
        table_print(&l.table, stdout);
    table_free(&l.table);
    return rc;
}

/* ---- rotate, check, retire ---- */

struct working {
    bool json;
    struct progress bar;
    json_t *damaged;
};

static void on_damage(void *arg, const char *object, const char *reason)
{
    struct working *w = arg;
    progress_end(&w->bar);
    if (w->json)
        (void)json_array_append_new(w->damaged,
                                    json_pack("{s:s,s:s}", "object", object, "reason", reason));
    else
        (void)printf("DAMAGED %s: %s\n", object, reason);
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct working *w = arg;
    progress_show(&w->bar, done, total, 0);
}

static void print_report(const char *act, const struct repository_keys_report *x,
                         const struct working *w, unsigned retired)
{
    if (w->json) {
        output_json(json_pack("{s:s,s:i,s:s,s:b,s:I,s:I,s:I,s:I,s:O}", "act", act, "generation",
                              (int)x->generation, "kek_id", x->kek_id, "begun", x->begun, "added",
                              (json_int_t)x->added, "compared", (json_int_t)x->compared, "failed",
                              (json_int_t)x->failed, "removed", (json_int_t)x->gone, "damage",
                              w->damaged));
        return;
    }
    if (retired != 0)
        (void)printf("generation %u is retired: %llu keys removed\n", retired,
                     (unsigned long long)x->gone);
    else if (x->generation != 0)
        (void)printf("generation %u, KEK id %s: %llu keys added, %llu compared, %llu failed\n",
                     x->generation, x->kek_id, (unsigned long long)x->added,
                     (unsigned long long)x->compared, (unsigned long long)x->failed);
    if (x->begun)
        say("next: give the site the new key, run this again, check, and only then retire the "
            "older generation");
}

static int act_on(const struct keys_options *o, const char *act, unsigned generation, struct err *e)
{
    struct repository *r = NULL;
    struct repository_keys_report report = {0};
    struct working w = {.json = o->common.format == OUTPUT_JSON, .damaged = json_array()};
    const struct repository_keys_work work = {on_damage, on_progress, &w};
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true};
    bool retires = strcmp(act, "retire") == 0;
    int rc = repository_open(&r, &options, e);
    if (rc == 0 && retires && !o->yes && isatty(STDIN_FILENO) == 1 &&
        !confirm("Remove the keys of this generation for good?"))
        rc = err_set(e, ERR_CANCELLED, "not confirmed: nothing was removed");
    if (rc == 0) {
        progress_begin(&w.bar, act, NULL, 0);
        if (strcmp(act, "rotate") == 0)
            rc = repository_keys_rotate(r, o->to, &work, &report, e);
        else if (retires)
            rc = repository_keys_retire(r, generation, &work, &report, e);
        else
            rc = repository_keys_check(r, generation, &work, &report, e);
        progress_end(&w.bar);
        if (rc == 0 || report.failed != 0)
            print_report(act, &report, &w, rc == 0 && retires ? generation : 0);
    }
    json_decref(w.damaged);
    repository_close(r);
    return rc;
}

static int run_keys(struct invocation *in, struct err *e)
{
    const struct keys_options *o = in->options;
    const char *act = in->operands[0];
    uint64_t generation = 0;
    bool rotate = strcmp(act, "rotate") == 0;
    bool check = strcmp(act, "check") == 0;
    bool retire = strcmp(act, "retire") == 0;
    bool list = strcmp(act, "list") == 0;
    if (!rotate && !check && !retire && !list)
        return err_set(e, ERR_USAGE, "'%.40s' is unknown: use list, rotate, check or retire", act);
    if (o->dir == NULL || (o->kek == NULL && !list))
        return err_set(e, ERR_USAGE, "--%s is needed", o->dir == NULL ? "repository" : "kek");
    if (rotate != (o->to != NULL))
        return err_set(e, ERR_USAGE,
                       rotate ? "--to is needed: the new key" : "--to goes with rotate");
    if (in->count == 2 ? list || rotate : retire)
        return err_set(e, ERR_USAGE, "a GENERATION goes with check, and retire needs it");
    int rc = 0;
    if (in->count == 2)
        rc = parse_number("GENERATION", in->operands[1], 9999, &generation, e);
    if (rc == 0 && in->count == 2 && generation == 0)
        rc = err_set(e, ERR_USAGE, "the first generation is 1");
    if (rc != 0)
        return rc;
    return list ? run_list(o, e) : act_on(o, act, (unsigned)generation, e);
}

const struct command command_archive_keys = {
    .name = "archive keys",
    .group = "Archive",
    .purpose = "list, rotate, check and retire the keys of the archive",
    .operands = "list|rotate|check|retire [GENERATION]",
    .least = 1,
    .most = 2,
    .options_bytes = sizeof(struct keys_options),
    .tables = {keys_table, output_options},
    .about =
        "Each pack and snapshot has a key of its own; a generation is all of those keys, wrapped "
        "under one key-encryption key (KEK).\n"
        "rotate wraps them under a new KEK as well, in a new generation beside the old one. It "
        "rewrites no pack, may be stopped at any moment and run again, and the site may go on "
        "archiving. Then give the site the new KEK: it follows by itself when the file or command "
        "gives it, otherwise with a restart. Run rotate once more for what was archived "
        "meanwhile.\n"
        "check unwraps every key of a generation and holds it against the seal of its object.\n"
        "retire removes the keys of a generation, after it has checked the newest one that --kek "
        "opens. It is refused while an object has its key in the old one only. It does not help "
        "when somebody has a copy of the old keys and of their KEK.",
    .examples = {{"which generations there are (needs no key)",
                  "triveni archive keys list -r /srv/archive"},
                 {"a new key", "triveni archive keys rotate -r /srv/archive -k kek --to kek.new"},
                 {"is all of it under the new key?",
                  "triveni archive keys check -r /srv/archive -k kek.new"},
                 {"give up the old one",
                  "triveni archive keys retire 1 -r /srv/archive -k kek.new"}},
    .exits = "3578",
    .run = run_keys,
};
