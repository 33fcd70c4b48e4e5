/* divergence: bundles of what a site had to undo when it rejoined: one JSON Lines file each, in DATA/divergence. */
#include "tools/commands.h"

#include "replication/site.h"
#include "store/io/file.h"
#include "tools/config.h"
#include "tools/lines.h"
#include "tools/table.h"
#include "tools/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct divergence_options {
    struct common common;
    const char *config, *data_dir;
};
#define AT(member) offsetof(struct divergence_options, member)
static const struct option divergence_table[] = {
    {"config", 'c', OPTION_TEXT, AT(config), "FILE", "TRIVENI_CONFIG", "configuration of the site"},
    {"data-dir", 0, OPTION_TEXT, AT(data_dir), "DIR", NULL,
     "its data directory, instead of --config"},
    {0},
};
#undef AT

enum { PATH_BYTES = 4096, BUNDLE_LINE_MAX_BYTES = 48 << 20 };

static int bundle_dir(const struct divergence_options *o, char out[PATH_BYTES], struct err *e)
{
    struct site_config *config = NULL;
    const char *dir = o->data_dir;
    int rc = 0;
    if (dir == NULL && o->config == NULL)
        return err_set(e, ERR_USAGE, "--config or --data-dir is needed");
    if (dir == NULL) {
        config = calloc(1, sizeof *config);
        rc = config == NULL ? err_set(e, ERR_NO_MEMORY, "no memory")
                            : config_load(o->config, config, e);
        dir = config != NULL ? config->data_dir : "";
    }
    int n = snprintf(out, PATH_BYTES, "%s/divergence", dir);
    if (rc == 0 && (n < 0 || n >= PATH_BYTES))
        rc = err_set(e, ERR_LIMIT, "the path of the data directory is too long");
    free(config);
    return rc;
}

static int is_bundle(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name); /* one that is still being written has another end */
    return n > 6 && strcmp(entry->d_name + n - 6, ".jsonl") == 0;
}

static int count_lines(const char *path, uint64_t *out, struct err *e)
{
    struct lines lines;
    struct line line;
    int rc = lines_open(&lines, path, BUNDLE_LINE_MAX_BYTES, e);
    if (rc != 0)
        return rc;
    while ((rc = lines_next(&lines, &line, e)) == 1)
        *out = line.number;
    lines_close(&lines);
    return rc;
}

static int list_one(const struct divergence_options *o, struct table *t, const char *dir,
                    const char *name, struct err *e)
{
    char path[PATH_BYTES + 300];
    char time[UTC_TEXT_BYTES];
    uint64_t count = 0;
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (stat(path, &st) != 0)
        return err_set(e, file_code(errno), "%s: %s", path, strerror(errno));
    int rc = count_lines(path, &count, e);
    if (rc != 0)
        return rc;
    (void)utc_text(
        (struct utc){(uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)st.st_mtim.tv_nsec / 1000},
        time);
    if (o->common.format == OUTPUT_JSON) {
        output_json(json_pack("{s:s,s:s,s:I,s:I}", "name", name, "written", time, "lines",
                              (json_int_t)count, "bytes", (json_int_t)st.st_size));
        return 0;
    }
    table_bytes(t, bytes_str(name));
    table_cell(t, STYLE_NONE, "%s", time);
    table_cell(t, STYLE_NONE, "%llu", (unsigned long long)count);
    table_cell(t, STYLE_NONE, "%lld", (long long)st.st_size);
    return 0;
}

static int run_divergence_list(struct invocation *in, struct err *e)
{
    const struct divergence_options *o = in->options;
    static const char *const heads[] = {"BUNDLE", "WRITTEN", ">LINES", ">BYTES"};
    char dir[PATH_BYTES];
    int rc = bundle_dir(o, dir, e);
    if (rc != 0)
        return rc;
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, is_bundle, alphasort);
    if (n < 0 && errno != ENOENT)
        return err_set(e, file_code(errno), "%s: %s", dir, strerror(errno));
    struct table t;
    table_init(&t, heads, 4);
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = list_one(o, &t, dir, entries[i]->d_name, e);
        free(entries[i]);
    }
    free(entries);
    if (rc == 0 && o->common.format == OUTPUT_TABLE && n > 0)
        table_print(&t, stdout);
    else if (rc == 0 && o->common.format == OUTPUT_TABLE)
        say("this site never had to undo anything");
    table_free(&t);
    return rc;
}

static int run_divergence_show(struct invocation *in, struct err *e)
{
    const char *name = in->operands[0];
    char dir[PATH_BYTES];
    char path[PATH_BYTES + 300];
    struct lines lines;
    struct line line;
    if (name[0] == '.' || strchr(name, '/') != NULL || strlen(name) > 255)
        return err_set(e, ERR_USAGE,
                       "'%.60s' is not the name of a bundle: 'triveni divergence list' shows them",
                       name);
    int rc = bundle_dir(in->options, dir, e);
    if (rc != 0)
        return rc;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    rc = lines_open(&lines, path, BUNDLE_LINE_MAX_BYTES, e);
    if (rc != 0)
        return rc;
    while ((rc = lines_next(&lines, &line, e)) == 1) {
        (void)fwrite(line.text.p, 1, line.text.n, stdout);
        (void)putchar('\n');
    }
    lines_close(&lines);
    return rc;
}

const struct command command_divergence_list = {
    .name = "divergence list",
    .group = "Cluster",
    .purpose = "list what this site had to undo when it rejoined",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct divergence_options),
    .tables = {divergence_table, output_options},
    .about = "A former primary may hold transactions that are not in the common history. Before it "
             "undoes them it writes them into a\n"
             "bundle: one JSON Lines file in DATA/divergence. Run this on that site's machine.",
    .examples = {{"of this site", "triveni divergence list --config /etc/triveni/triveni.yaml"}},
    .exits = "38",
    .run = run_divergence_list,
};

const struct command command_divergence_show = {
    .name = "divergence show",
    .group = "Cluster",
    .purpose = "print a bundle, one JSON object in a line",
    .operands = "BUNDLE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct divergence_options),
    .tables = {divergence_table},
    .about = NULL,
    .examples = {{"the records",
                  "triveni divergence show NAME --config /etc/triveni/triveni.yaml | jq ."}},
    .exits = "38",
    .run = run_divergence_show,
};
