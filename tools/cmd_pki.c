/* pki: the development CA. */
#include "tools/commands.h"

#include "replication/io/tls.h"
#include "store/io/file.h"
#include "tools/pki.h"
#include "tools/table.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pki_options {
    struct common common;
    const char *dir, *cluster, *addresses;
    struct option_number days;
};
#define AT(member) offsetof(struct pki_options, member)
#define DIR_OPTION                                                                                 \
    {                                                                                              \
        "dir", 'd', OPTION_TEXT, AT(dir), "DIR", NULL, "directory of the CA (required)"            \
    }
static const struct option init_table[] = {
    DIR_OPTION,
    {"cluster", 0, OPTION_TEXT, AT(cluster), "NAME", NULL, "name of the cluster (required)"},
    {0},
};
static const struct option issue_table[] = {
    DIR_OPTION,
    {"days", 0, OPTION_NUMBER, AT(days), "N", NULL, "valid for N days, up to 3650; default 90"},
    {"address", 0, OPTION_TEXT, AT(addresses), "HOST,...", NULL,
     "DNS names and IP addresses to put in, for other tools"},
    {0},
};
static const struct option dir_table[] = {DIR_OPTION, {0}};
#undef AT

static int need(const char *value, const char *option, struct err *e)
{
    return value != NULL ? 0 : err_set(e, ERR_USAGE, "--%s is needed", option);
}

static int run_pki_init(struct invocation *in, struct err *e)
{
    const struct pki_options *o = in->options;
    int rc = need(o->dir, "dir", e);
    if (rc == 0)
        rc = need(o->cluster, "cluster", e);
    if (rc == 0)
        rc = pki_init(o->dir, o->cluster, e);
    if (rc == 0)
        say("made %s/ca.crt and %s/ca.key; keep the key off the sites", o->dir, o->dir);
    return rc;
}

static int issue(struct invocation *in, enum wire_kind kind, struct err *e)
{
    const struct pki_options *o = in->options;
    int rc = need(o->dir, "dir", e);
    if (rc != 0)
        return rc;
    if (o->days.given && (o->days.v == 0 || o->days.v > PKI_CA_DAYS))
        return err_set(e, ERR_USAGE, "--days must be from 1 to %d", PKI_CA_DAYS);
    char *copy = strdup(o->addresses != NULL ? o->addresses : "");
    if (copy == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    const char *addresses[PKI_ADDRESSES_MAX];
    size_t count = 0;
    char *rest = NULL;
    for (char *a = strtok_r(copy, ",", &rest); a != NULL && rc == 0; a = strtok_r(NULL, ",", &rest))
        if (count == PKI_ADDRESSES_MAX)
            rc = err_set(e, ERR_USAGE, "more than %d addresses", PKI_ADDRESSES_MAX);
        else
            addresses[count++] = a;
    const struct pki_request request = {
        .kind = kind,
        .name = in->operands[0],
        .addresses = addresses,
        .address_count = count,
        .not_before_s = o->days.given ? -PKI_SKEW_S : 0,
        .not_after_s = o->days.given ? (int64_t)o->days.v * PKI_DAY_S : 0,
    };
    if (rc == 0)
        rc = pki_issue(o->dir, &request, e);
    free(copy);
    if (rc == 0)
        say("made %s/%s.crt and %s/%s.key", o->dir, request.name, o->dir, request.name);
    return rc;
}

static int run_pki_site(struct invocation *in, struct err *e)
{
    return issue(in, WIRE_SITE, e);
}
static int run_pki_client(struct invocation *in, struct err *e)
{
    return issue(in, WIRE_CLIENT, e);
}
static int run_pki_operator(struct invocation *in, struct err *e)
{
    return issue(in, WIRE_OPERATOR, e);
}

static int run_pki_revoke(struct invocation *in, struct err *e)
{
    const struct pki_options *o = in->options;
    int rc = need(o->dir, "dir", e);
    if (rc == 0)
        rc = pki_revoke(o->dir, in->count == 1 ? in->operands[0] : NULL, e);
    if (rc == 0)
        say("signed %s/ca.crl; bring it to the sites (tls.crl)", o->dir);
    return rc;
}

/* ---- show ---- */

static const char *kind_name(enum wire_kind kind)
{
    return kind == WIRE_SITE ? "site" : kind == WIRE_CLIENT ? "client" : "operator";
}

static void show_one(const struct pki_options *o, struct table *t, const char *dir,
                     const char *file)
{
    char path[4096];
    struct identity id;
    struct err why = ERR_NONE;
    int64_t seconds = 0;
    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    bool ca = strcmp(file, "ca.crt") == 0;
    bool known = !ca && tls_own_identity(path, &id, &why) == 0;
    bool dated = tls_seconds_left(path, &seconds, &why) == 0;
    int64_t days = seconds >= 0 ? seconds / PKI_DAY_S : -((-seconds + PKI_DAY_S - 1) / PKI_DAY_S);
    const char *kind = ca ? "authority" : known ? kind_name(id.kind) : "unknown";
    if (o->common.format == OUTPUT_JSON) {
        output_json(json_pack("{s:s,s:s,s:s?,s:s?,s:o}", "file", path, "kind", kind, "name",
                              known ? id.name : NULL, "cluster", known ? id.cluster : NULL,
                              "days_left", dated ? json_integer(days) : json_null()));
        return;
    }
    table_bytes(t, bytes_str(file));
    table_cell(t, STYLE_NONE, "%s", kind);
    table_cell(t, STYLE_NONE, "%s", known ? id.name : "-");
    if (dated)
        table_cell(t,
                   days < 7    ? STYLE_BAD
                   : days < 30 ? STYLE_WARN
                               : STYLE_NONE,
                   "%lld", (long long)days);
    else
        table_cell(t, STYLE_BAD, "unknown");
}

static int is_certificate(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 4 && strcmp(entry->d_name + n - 4, ".crt") == 0;
}

static int run_pki_show(struct invocation *in, struct err *e)
{
    const struct pki_options *o = in->options;
    static const char *const heads[] = {"FILE", "KIND", "NAME", ">DAYS LEFT"};
    char cluster[64];
    int rc = need(o->dir, "dir", e);
    if (rc == 0)
        rc = pki_cluster(o->dir, cluster, e);
    if (rc != 0)
        return rc;
    struct dirent **entries = NULL;
    int n = scandir(o->dir, &entries, is_certificate, alphasort);
    if (n < 0)
        return err_set(e, file_code(errno), "%s: %s", o->dir, strerror(errno));
    struct table t;
    table_init(&t, heads, 4);
    for (int i = 0; i < n; i++) {
        show_one(o, &t, o->dir, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (o->common.format == OUTPUT_TABLE) {
        (void)printf("cluster %s\n\n", cluster);
        table_print(&t, stdout);
    }
    table_free(&t);
    return 0;
}

#define PKI(member, word, text, ops, low, high, table, words, sample, line)                        \
    const struct command command_pki_##member = {                                                  \
        .name = "pki " word,                                                                       \
        .group = "Certificates",                                                                   \
        .purpose = text,                                                                           \
        .operands = ops,                                                                           \
        .least = low,                                                                              \
        .most = high,                                                                              \
        .options_bytes = sizeof(struct pki_options),                                               \
        .tables = {table},                                                                         \
        .about = words,                                                                            \
        .examples = {{sample, line}},                                                              \
        .exits = "38",                                                                             \
        .run = run_pki_##member,                                                                   \
    }

PKI(init, "init", "make a certificate authority for development", "", 0, 0, init_table,
    "Writes ca.crt and ca.key. In production the organisation's own authority issues the "
    "certificates; each names who it is\n"
    "for in one URI: triveni://CLUSTER/site/NAME, .../client/NAME or .../operator/NAME.",
    "an authority", "triveni pki init --dir pki --cluster land-registry");
PKI(site, "site", "issue the certificate of a site", "NAME", 1, 1, issue_table,
    "Writes NAME.crt and NAME.key; NAME is the site's name in the configuration.", "for dc",
    "triveni pki site dc --dir pki --address dc.example,10.0.0.5");
PKI(client, "client", "issue the certificate of an application", "NAME", 1, 1, issue_table,
    "Clients read and write records. Transactions carry NAME into the log.", "for an application",
    "triveni pki client passport-office --dir pki --days 30");
PKI(operator, "operator", "issue the certificate of a person who operates the cluster", "NAME", 1,
    1, issue_table,
    "Operators may do what clients may, and switchover, failover, mode and the like.",
    "for a person", "triveni pki operator asha --dir pki --days 30");
PKI(revoke, "revoke", "revoke a certificate", "[FILE]", 0, 1, dir_table,
    "Writes ca.crl anew; without FILE it is only signed anew. A list that is overdue refuses "
    "everybody: sign it again within\n"
    "a year.",
    "a lost laptop", "triveni pki revoke pki/asha.crt --dir pki");

const struct command command_pki_show = {
    .name = "pki show",
    .group = "Certificates",
    .purpose = "list the certificates of an authority and the days they have left",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct pki_options),
    .tables = {dir_table, output_options},
    .about = NULL,
    .examples = {{"all", "triveni pki show --dir pki"},
                 {"what expires within two weeks",
                  "triveni pki show --dir pki -o json | jq 'select(.days_left < 14)'"}},
    .exits = "38",
    .run = run_pki_show,
};
