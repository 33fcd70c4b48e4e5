/* Profiles, and the options of libtriveni. What the command line and the environment leave open is taken from the profile,
 * whose strings live as long as the struct profile that the caller holds. */
#include "tools/connect.h"

#include "store/core/body.h"
#include "tools/files.h"
#include "tools/yaml.h"

#include <stdlib.h>
#include <string.h>

/* ---- profiles ---- */

struct profile_file {
    char *endpoints, *ca, *cert, *key, *crl, *cluster, *id, *ack, *timeout;
};

struct profile {
    struct yaml yaml;
    uint8_t *text;
    char paths[4][1024]; /* ca, cert, key, crl, from the folder of the file */
};

#define FIELD(name)                                                                                \
    CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct profile_file,   \
                           name, 1, 4096)
static const cyaml_schema_field_t profile_fields[] = {
    FIELD(endpoints), FIELD(ca), FIELD(cert), FIELD(key),     FIELD(crl),
    FIELD(cluster),   FIELD(id), FIELD(ack),  FIELD(timeout), CYAML_FIELD_END,
};
static const cyaml_schema_value_t profile_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct profile_file, profile_fields),
};

void profile_free(struct profile *p)
{
    if (p == NULL)
        return;
    yaml_release(&p->yaml);
    free(p->text);
    free(p);
}

static int take_path(struct profile *p, const char *key, const char *text, char out[1024],
                     const char **to, struct err *e)
{
    if (*to != NULL || text == NULL)
        return 0;
    const char *slash = strrchr(p->yaml.file, '/');
    bool relative = text[0] != '/' && slash != NULL;
    int n = snprintf(out, 1024, "%.*s%s%s", relative ? (int)(slash - p->yaml.file) : 0,
                     p->yaml.file, relative ? "/" : "", text);
    if (n < 0 || n >= 1024)
        return yaml_fault(&p->yaml, e, key, "'%s' is too long", key);
    *to = out;
    return 0;
}

/* What the command line and the environment left open. */
static int complete(struct profile *p, struct common *c, struct err *e)
{
    const struct profile_file *f = p->yaml.data;
    const struct {
        const char *text;
        const char **to;
    } plain[] = {{f->endpoints, &c->endpoints},
                 {f->cluster, &c->cluster},
                 {f->id, &c->id},
                 {f->ack, &c->ack}};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (*plain[i].to == NULL)
            *plain[i].to = plain[i].text;
    struct err why = ERR_NONE;
    if (!c->timeout.given && f->timeout != NULL) {
        if (parse_duration("'timeout'", f->timeout, &c->timeout.v, &why) != 0)
            return yaml_fault(&p->yaml, e, "timeout", "%s", why.text);
        c->timeout.given = true;
    }
    int rc = take_path(p, "ca", f->ca, p->paths[0], &c->ca, e);
    if (rc == 0)
        rc = take_path(p, "cert", f->cert, p->paths[1], &c->cert, e);
    if (rc == 0)
        rc = take_path(p, "key", f->key, p->paths[2], &c->key, e);
    return rc != 0 ? rc : take_path(p, "crl", f->crl, p->paths[3], &c->crl, e);
}

static int read_profile(struct common *c, struct profile **out, struct err *e)
{
    *out = NULL;
    if (c->profile == NULL)
        return 0;
    struct profile *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    size_t n = 0;
    int rc = file_read(c->profile, YAML_TEXT_MAX_BYTES, &p->text, &n, e);
    if (rc == 0)
        rc = yaml_read(&p->yaml, c->profile, bytes_of(p->text, n), &profile_schema, e);
    if (rc == 0)
        rc = complete(p, c, e);
    if (rc != 0)
        profile_free(p);
    else
        *out = p;
    return rc;
}

/* ---- client options ---- */

int connect_options(const struct common *given, struct tvn_options *out, struct profile **profile,
                    struct err *e)
{
    struct common completed = *given; /* not the caller's: its strings end with the profile */
    struct common *c = &completed;
    *out = (struct tvn_options)TVN_OPTIONS_INIT;
    int rc = read_profile(c, profile, e);
    if (rc != 0)
        return rc;
    const struct {
        const char *name, *value;
    } needed[] = {{"endpoints", c->endpoints},
                  {"ca", c->ca},
                  {"cert", c->cert},
                  {"key", c->key},
                  {"id", c->id}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (needed[i].value == NULL) {
            rc = err_set(e, ERR_USAGE,
                         "--%s is needed to reach a cluster: give it, set its environment "
                         "variable, or name a file that "
                         "has it with --profile",
                         needed[i].name);
            goto out;
        }
    enum level level = LEVEL_MODE;
    if (c->ack != NULL && (rc = level_parse(c->ack, &level, e)) != 0)
        goto out;
    if (c->timeout.given && (c->timeout.v == 0 || c->timeout.v > UINT32_MAX)) {
        rc = err_set(e, ERR_USAGE, "--timeout must be from 1ms to 49 days");
        goto out;
    }
    out->endpoints = c->endpoints;
    out->ca = c->ca;
    out->cert = c->cert;
    out->key = c->key;
    out->crl = c->crl;
    out->cluster = c->cluster;
    out->id = c->id;
    out->ack = (enum tvn_ack)level;
    out->target = c->standby ? TVN_TARGET_STANDBY : TVN_TARGET_PRIMARY;
    out->timeout_ms = c->timeout.given ? (uint32_t)c->timeout.v : 10000;
out:
    if (rc != 0) {
        profile_free(*profile);
        *profile = NULL;
    }
    return rc;
}

int connect_open(const struct common *c, struct tvn **out, struct err *e)
{
    struct profile *profile = NULL;
    struct tvn_options options;
    int rc = connect_options(c, &options, &profile, e);
    if (rc != 0)
        return rc;
    struct tvn_error error;
    if (tvn_open(NULL, &options, out, &error) != 0)
        rc = from_client(&error, e);
    profile_free(profile);
    return rc;
}

int from_client(const struct tvn_error *error, struct err *e)
{
    return err_set(e, error->code, "%s", error->text);
}

const char *ack_name(int ack)
{
    return ack >= 0 && ack <= TVN_ACK_ALL ? level_name((enum level)ack) : "unknown";
}
