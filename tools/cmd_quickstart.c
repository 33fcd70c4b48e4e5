/* quickstart: three sites on this machine, ready to serve: certificates, configurations, key, profiles, data directories. */
#include "tools/commands.h"

#include "tools/config.h"
#include "tools/files.h"
#include "tools/pki.h"

#include "replication/site.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct quickstart_options {
    struct common common;
    struct option_number port;
    const char *cluster;
};
#define AT(member) offsetof(struct quickstart_options, member)
static const struct option quickstart_table[] = {
    {"base-port", 0, OPTION_NUMBER, AT(port), "PORT", NULL,
     "first of six ports: PORT and PORT+1 are dc's for clients and for sites, then dr's, then "
     "gsr's; default 7400"},
    {"cluster", 0, OPTION_TEXT, AT(cluster), "NAME", NULL, "name of the cluster; default demo"},
    {0},
};
#undef AT

static const struct {
    const char *name, *kind;
} sites[] = {{"dc", "data"}, {"dr", "data"}, {"gsr", "repository"}};
enum { SITES = 3, PORTS = 2 * SITES, DEFAULT_PORT = 7400, TEXT_BYTES = 8192, PATH_BYTES = 1024 };

struct setup {
    const char *dir, *cluster;
    char *path; /* absolute */
    unsigned port;
    char id[UUID_TEXT_BYTES];
};

static int random_bytes(void *out, size_t n, struct err *e)
{
    if (getrandom(out, n, 0) != (ssize_t)n)
        return err_set(e, ERR_FAILED, "the system gave no random bytes");
    return 0;
}

static int path_of(const struct setup *s, const char *name, char out[PATH_BYTES], struct err *e)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", s->dir, name);
    return n > 0 && n < PATH_BYTES ? 0 : err_set(e, ERR_LIMIT, "%s: the path is too long", s->dir);
}

static int write_file(const struct setup *s, const char *name, unsigned mode, const char *text,
                      struct err *e)
{
    char path[PATH_BYTES];
    int rc = path_of(s, name, path, e);
    return rc != 0 ? rc : file_create(path, mode, bytes_str(text), e);
}

static unsigned client_port(const struct setup *s, unsigned site)
{
    return s->port + 2 * site;
}

static int write_config(const struct setup *s, size_t self, struct err *e)
{
    char text[TEXT_BYTES];
    char name[16];
    size_t at = (size_t)snprintf(
        text, sizeof text,
        "# Site %s of a demonstration on one machine; triveni.yaml(5) explains the keys.\n"
        "cluster: {name: %s, id: %s}\n"
        "site: %s\n"
        "members:\n",
        sites[self].name, s->cluster, s->id, sites[self].name);
    for (unsigned i = 0; i < SITES; i++)
        at += (size_t)snprintf(
            text + at, sizeof text - at,
            "  - {name: %s, kind: %s, peer: '127.0.0.1:%u', client: '127.0.0.1:%u'}\n",
            sites[i].name, sites[i].kind, client_port(s, i) + 1, client_port(s, i));
    at += (size_t)snprintf(
        text + at, sizeof text - at,
        "data_dir: %s/data\n"
        "tls: {ca: pki/ca.crt, cert: pki/%s.crt, key: pki/%s.key}\n"
        "store: {segment_mib: 32, log_limit_mib: 2048, reserve_mib: 64, memory_mib: 64}\n",
        sites[self].name, sites[self].name, sites[self].name);
    if (self == SITES - 1)
        (void)snprintf(text + at, sizeof text - at,
                       "repository: {dir: gsr/archive, kek_file: kek, pack_mib: 8, pack_seconds: "
                       "2, snapshot_entries: 10000}\n");
    (void)snprintf(name, sizeof name, "%s.yaml", sites[self].name);
    return write_file(s, name, 0644, text, e);
}

/* What `triveni init` does. */
static int make_data(const struct setup *s, size_t self, struct err *e)
{
    char path[PATH_BYTES];
    char name[16];
    struct site_config *config = calloc(1, sizeof *config);
    int rc = config == NULL ? err_set(e, ERR_NO_MEMORY, "no memory")
                            : path_of(s, sites[self].name, path, e);
    if (rc == 0)
        rc = directory_create(path, 0700, e);
    (void)snprintf(name, sizeof name, "%s.yaml", sites[self].name);
    if (rc == 0)
        rc = path_of(s, name, path, e);
    if (rc == 0)
        rc = config_load(path, config, e);
    if (rc == 0)
        rc = site_init(config, SITE_NEW_CLUSTER, e);
    free(config);
    return rc;
}

static int write_profile(const struct setup *s, const char *name, const char *who, struct err *e)
{
    char text[TEXT_BYTES];
    (void)snprintf(text, sizeof text,
                   "endpoints: '127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u'\n"
                   "cluster: %s\n"
                   "id: %s\n"
                   "ca: pki/ca.crt\n"
                   "cert: pki/%s.crt\n"
                   "key: pki/%s.key\n",
                   client_port(s, 0), client_port(s, 1), client_port(s, 2), s->cluster, s->id, who,
                   who);
    return write_file(s, name, 0644, text, e);
}

/* The same for libtriveni, usable from any folder. */
static int write_uri(const struct setup *s, const char *name, const char *who, struct err *e)
{
    char text[TEXT_BYTES];
    char folder[3 * PATH_BYTES];
    size_t at = 0;
    for (const char *p = s->path; *p != '\0' && at + 4 < sizeof folder; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("/._-~", *p) != NULL;
        at += (size_t)snprintf(folder + at, sizeof folder - at, plain ? "%c" : "%%%02X",
                               (unsigned char)*p);
    }
    folder[at] = '\0';
    int n = snprintf(text, sizeof text,
                     "triveni://127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u/?cluster=%s&id=%s&ca=%s/pki/"
                     "ca.crt&cert=%s/pki/%s.crt"
                     "&key=%s/pki/%s.key\n",
                     client_port(s, 0), client_port(s, 1), client_port(s, 2), s->cluster, s->id,
                     folder, folder, who, folder, who);
    if (n < 0 || (size_t)n >= sizeof text)
        return err_set(e, ERR_LIMIT, "%s: the path is too long", s->dir);
    return write_file(s, name, 0644, text, e);
}

static int write_kek(const struct setup *s, struct err *e)
{
    uint8_t raw[32];
    char text[2 * sizeof raw + 2];
    int rc = random_bytes(raw, sizeof raw, e);
    hex_format(raw, sizeof raw, text);
    text[2 * sizeof raw] = '\n';
    text[2 * sizeof raw + 1] = '\0';
    return rc != 0 ? rc : write_file(s, "kek", 0600, text, e);
}

static int write_pki(const struct setup *s, struct err *e)
{
    static const char *const loopback[] = {"localhost", "127.0.0.1"};
    char dir[PATH_BYTES];
    int n = snprintf(dir, sizeof dir, "%s/pki", s->dir);
    if (n < 0 || (size_t)n >= sizeof dir)
        return err_set(e, ERR_LIMIT, "%s: the path is too long", s->dir);
    int rc = pki_init(dir, s->cluster, e);
    for (size_t i = 0; i < SITES && rc == 0; i++)
        rc = pki_issue(dir, &(struct pki_request){WIRE_SITE, sites[i].name, loopback, 2, 0, 0}, e);
    if (rc == 0)
        rc = pki_issue(dir, &(struct pki_request){WIRE_CLIENT, "app", NULL, 0, 0, 0}, e);
    if (rc == 0)
        rc = pki_issue(dir, &(struct pki_request){WIRE_OPERATOR, "admin", NULL, 0, 0, 0}, e);
    return rc;
}

static void print_next(const struct setup *s)
{
    (void)printf("%s holds three sites on 127.0.0.1: dc, dr and gsr.\n\nStart them, each in a "
                 "terminal of its own:\n",
                 s->dir);
    for (size_t i = 0; i < SITES; i++)
        (void)printf("  triveni serve --config %s/%s.yaml\n", s->dir, sites[i].name);
    (void)printf("\nThen:\n"
                 "  export TRIVENI_PROFILE=%s/operator.yaml\n"
                 "  triveni status\n"
                 "  triveni put titles AB-12 '{\"owner\":\"Asha\"}'\n"
                 "  triveni get titles AB-12\n"
                 "  triveni switchover --to dr\n",
                 s->dir);
}

static int run_quickstart(struct invocation *in, struct err *e)
{
    const struct quickstart_options *o = in->options;
    struct setup s = {.dir = in->operands[0], .cluster = o->cluster != NULL ? o->cluster : "demo"};
    struct uuid id;
    uint64_t port = o->port.given ? o->port.v : DEFAULT_PORT;
    if (port == 0 || port > 65536 - PORTS)
        return err_set(e, ERR_USAGE, "--base-port must be from 1 to %d", 65536 - PORTS);
    s.port = (unsigned)port;
    int rc = random_bytes(&id, sizeof id, e);
    id.b[6] = (uint8_t)((id.b[6] & 0x0f) | 0x40); /* RFC 9562: version 4, variant 10 */
    id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
    (void)uuid_text(&id, s.id);
    if (rc == 0)
        rc = directory_create(s.dir, 0700, e);
    if (rc == 0 && (s.path = realpath(s.dir, NULL)) == NULL)
        rc = err_set(e, ERR_IO, "%s: its path cannot be resolved", s.dir);
    if (rc == 0)
        rc = write_pki(&s, e);
    for (size_t i = 0; i < SITES && rc == 0; i++)
        rc = write_config(&s, i, e);
    if (rc == 0)
        rc = write_kek(&s, e);
    if (rc == 0)
        rc = write_profile(&s, "client.yaml", "app", e);
    if (rc == 0)
        rc = write_profile(&s, "operator.yaml", "admin", e);
    if (rc == 0)
        rc = write_uri(&s, "client.uri", "app", e);
    for (size_t i = 0; i < SITES && rc == 0; i++)
        rc = make_data(&s, i, e);
    if (rc == 0)
        print_next(&s);
    free(s.path);
    return rc;
}

const struct command command_quickstart = {
    .name = "quickstart",
    .group = "Sites",
    .purpose = "write a complete setup of three sites on this machine",
    .operands = "DIR",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct quickstart_options),
    .tables = {quickstart_table},
    .about = "Writes into the new directory DIR: pki/ (an authority and all certificates), "
             "dc.yaml, dr.yaml and gsr.yaml, kek (the key\n"
             "that the archive is encrypted under), client.yaml and operator.yaml (profiles for "
             "--profile), client.uri (the same\n"
             "for libtriveni), and the sites' data directories below dc/, dr/ and gsr/. Prints "
             "what to do next.\n"
             "For learning and tests: in production each site has its own machine, and the "
             "authority's key lies on none of them.",
    .examples = {{"look around", "triveni quickstart /tmp/demo"},
                 {"beside another one", "triveni quickstart /tmp/demo2 --base-port 7500"}},
    .exits = "",
    .run = run_quickstart,
};
