/* triveni.yaml -> struct site_config: reading, defaults, limits, and what must hold between fields.
 *
 * Every message is "file:line:column: what is wrong and what would be right". */
#include "tools/config.h"

#include "repository/core/s3_text.h"
#include "replication/core/endpoint.h"
#include "tools/config_schema.h"
#include "tools/files.h"
#include "tools/options.h"
#include "tools/yaml.h"

#include <stdlib.h>
#include <string.h>

/* ---- identities ---- */

int uuid_parse(const char *text, struct uuid *out, struct err *e)
{
    return uuid_of_text(text, out) == 0
               ? 0
               : err_set(e, ERR_USAGE,
                         "'%.48s' is not a UUID such as 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42",
                         text);
}

/* ---- single values ---- */

static int set_text(const struct yaml *y, const char *path, const char *text, char *out,
                    size_t room, struct err *e)
{
    size_t n = text == NULL ? 0 : strlen(text);
    if (n >= room)
        return yaml_fault(y, e, path, "'%s' has %zu bytes: at most %zu are allowed", path, n,
                          room - 1);
    if (n > 0)
        memcpy(out, text, n);
    out[n] = '\0';
    return 0;
}

/* A relative path becomes one from the file's folder. */
static int set_path(const struct yaml *y, const char *path, const char *text, char *out,
                    struct err *e)
{
    const char *slash = strrchr(y->file, '/');
    if (text == NULL || text[0] == '/' || text[0] == '\0' || slash == NULL || s3_text_is(text))
        return set_text(y, path, text, out, SITE_PATH_BYTES, e);
    int n = snprintf(out, SITE_PATH_BYTES, "%.*s/%s", (int)(slash - y->file), y->file, text);
    if (n < 0 || n >= SITE_PATH_BYTES)
        return yaml_fault(
            y, e, path,
            "'%s': with the folder of this file the path has %d bytes: at most %d are allowed",
            path, n, SITE_PATH_BYTES - 1);
    return 0;
}

struct choice {
    const char *name;
    int value;
};

static int choose(const struct yaml *y, const char *path, const char *text,
                  const struct choice *choices, size_t n, int *out, struct err *e)
{
    char list[120] = "";
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(choices[i].name, text) == 0) {
            *out = choices[i].value;
            return 0;
        }
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s",
                               i == 0       ? ""
                               : i + 1 == n ? " or "
                                            : ", ",
                               choices[i].name);
    }
    return yaml_fault(y, e, path, "'%s' is '%.40s': use %s", path, text, list);
}
#define CHOOSE(y, path, text, choices, out, e)                                                     \
    choose(y, path, text, choices, sizeof(choices) / sizeof((choices)[0]), out, e)

static int set_number(const struct yaml *y, const struct config_number *f, struct site_config *out,
                      struct err *e)
{
    char *text;
    memcpy(&text, (const char *)y->data + f->from, sizeof text);
    uint64_t v = f->standard;
    struct err why = ERR_NONE;
    if (text != NULL && parse_number("", text, UINT64_MAX, &v, &why) != 0)
        return yaml_fault(y, e, f->path,
                          "'%s' is '%.40s': it must be a whole number, without a unit", f->path,
                          text);
    if (v < f->least || v > f->most)
        return yaml_fault(y, e, f->path, "'%s' is %llu: %llu to %llu are allowed", f->path,
                          (unsigned long long)v, (unsigned long long)f->least,
                          (unsigned long long)f->most);
    v *= f->unit;
    uint32_t narrow = (uint32_t)v;
    if (f->width == sizeof v)
        memcpy((char *)out + f->to, &v, sizeof v);
    else
        memcpy((char *)out + f->to, &narrow, sizeof narrow);
    return 0;
}

static bool name_valid(const char *s)
{
    if (s[0] == '-' || s[0] == '\0')
        return false;
    for (; *s != '\0'; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '-'))
            return false;
    return true;
}

static bool endpoint_valid(const char *s)
{
    struct bytes host;
    uint16_t port;
    return endpoint_parse(bytes_str(s), &host, &port) && port != 0;
}

/* ---- sections ---- */

static int set_member(const struct yaml *y, unsigned i, const struct config_member *m,
                      struct site_config *out, struct err *e)
{
    static const struct choice kinds[] = {{"data", SITE_DATA}, {"repository", SITE_REPOSITORY}};
    struct site_member *to = &out->members[i];
    char path[64];
    (void)snprintf(path, sizeof path, "members[%u].name", i);
    int rc = set_text(y, path, m->name, to->name, sizeof to->name, e);
    if (rc != 0)
        return rc;
    if (!name_valid(m->name))
        return yaml_fault(y, e, path, "'%s' is '%.40s': use lower-case letters, digits and '-'",
                          path, m->name);
    for (unsigned k = 0; k < i; k++)
        if (strcmp(out->members[k].name, m->name) == 0)
            return yaml_fault(y, e, path, "two members have the name '%s'", m->name);
    int kind = 0;
    (void)snprintf(path, sizeof path, "members[%u].kind", i);
    if ((rc = CHOOSE(y, path, m->kind, kinds, &kind, e)) != 0)
        return rc;
    to->kind = (enum site_kind)kind;
    const struct {
        const char *key, *text;
        char *to;
    } ends[] = {{"peer", m->peer, to->peer}, {"client", m->client, to->client}};
    for (size_t k = 0; k < 2; k++) {
        (void)snprintf(path, sizeof path, "members[%u].%s", i, ends[k].key);
        if ((rc = set_text(y, path, ends[k].text, ends[k].to, SITE_ENDPOINT_BYTES, e)) != 0)
            return rc;
        if (!endpoint_valid(ends[k].text))
            return yaml_fault(y, e, path,
                              "'%s' is '%.60s': it must be host:port, an IPv6 address in []", path,
                              ends[k].text);
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct site_member *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The order in the file means nothing: sites count each other in the order of the names. */
static int set_members(const struct yaml *y, const struct config_file *f, struct site_config *out,
                       struct err *e)
{
    out->member_count = f->members_count;
    out->self = UINT32_MAX;
    bool data = false;
    for (unsigned i = 0; i < f->members_count; i++) {
        int rc = set_member(y, i, &f->members[i], out, e);
        if (rc != 0)
            return rc;
        data = data || out->members[i].kind == SITE_DATA;
    }
    qsort(out->members, out->member_count, sizeof out->members[0], by_name);
    for (uint32_t i = 0; i < out->member_count; i++)
        if (strcmp(out->members[i].name, f->site) == 0)
            out->self = i;
    if (!data)
        return yaml_fault(y, e, "members",
                          "no member is of kind data: nobody could become primary");
    if (out->self != UINT32_MAX)
        return 0;
    const char *names[REPL_SITES_MAX];
    for (unsigned i = 0; i < f->members_count; i++)
        names[i] = out->members[i].name;
    const char *near = nearest(f->site, names, f->members_count);
    return yaml_fault(y, e, "site", "site '%.40s' is not among the members%s%s%s", f->site,
                      near != NULL ? ": did you mean '" : "", near != NULL ? near : "",
                      near != NULL ? "'?" : "");
}

static int set_texts(const struct yaml *y, const struct config_file *f, struct site_config *out,
                     struct err *e)
{
    int rc = set_text(y, "cluster.name", f->cluster.name, out->cluster, sizeof out->cluster, e);
    if (rc != 0)
        return rc;
    if (!name_valid(f->cluster.name))
        return yaml_fault(y, e, "cluster.name",
                          "'cluster.name' is '%.40s': use lower-case letters, digits and '-'",
                          f->cluster.name);
    struct err why = ERR_NONE;
    if (uuid_parse(f->cluster.id, &out->cluster_id, &why) != 0)
        return yaml_fault(y, e, "cluster.id", "'cluster.id': %s", why.text);
    if (uuid_is_zero(&out->cluster_id))
        return yaml_fault(y, e, "cluster.id", "'cluster.id' is all zero: make one with 'uuidgen'");
    const struct {
        const char *path, *text;
        char *to;
    } paths[] = {{"data_dir", f->data_dir, out->data_dir},
                 {"tls.ca", f->tls.ca, out->ca},
                 {"tls.cert", f->tls.cert, out->cert},
                 {"tls.key", f->tls.key, out->key},
                 {"tls.crl", f->tls.crl, out->crl},
                 {"repository.dir", f->repository.dir, out->archive_dir},
                 {"repository.kek_file", f->repository.kek_file, out->kek_file},
                 {"repository.drill_dir", f->repository.drill_dir, out->drill_dir},
                 {"repository.checkpoint_key_file", f->repository.checkpoint_key_file,
                  out->checkpoint_key_file}};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if ((rc = set_path(y, paths[i].path, paths[i].text, paths[i].to, e)) != 0)
            return rc;
    for (; rc == 0 && out->copy_count < f->repository.copies_count; out->copy_count++)
        rc = set_path(y, "repository.copies", f->repository.copies[out->copy_count],
                      out->copies[out->copy_count], e);
    return rc;
}

static int set_choices(const struct yaml *y, const struct config_file *f, struct site_config *out,
                       struct err *e)
{
    static const struct choice policies[] = {
        {"automatic", REPL_AUTOMATIC}, {"observe", REPL_OBSERVE}, {"manual", REPL_MANUAL}};
    static const struct choice engines[] = {
        {"auto", LOG_ENGINE_AUTO}, {"uring", LOG_ENGINE_URING}, {"plain", LOG_ENGINE_PLAIN}};
    int policy = REPL_AUTOMATIC;
    int engine = LOG_ENGINE_AUTO;
    int rc = 0;
    if (f->replication.failover != NULL)
        rc = CHOOSE(y, "replication.failover", f->replication.failover, policies, &policy, e);
    if (rc == 0 && f->store.engine != NULL)
        rc = CHOOSE(y, "store.engine", f->store.engine, engines, &engine, e);
    static const struct choice archived[] = {{"first", 0}, {"all", 1}};
    int all = 0;
    if (rc == 0 && f->repository.archived_at != NULL)
        rc = CHOOSE(y, "repository.archived_at", f->repository.archived_at, archived, &all, e);
    out->archived_at_all = all != 0;
    out->policy = (enum repl_policy)policy;
    out->engine = (enum log_engine)engine;
    return rc;
}

/* The key of the archive, as the text that repository.h takes: a path, command:..., or a PKCS #11 URI. */
static int set_kek(const struct yaml *y, const struct config_file *f, struct site_config *out,
                   struct err *e)
{
    const struct config_kek *kek = &f->repository.kek;
    char line[SITE_PATH_BYTES] = "command:";
    size_t used = strlen(line);
    int given = (f->repository.kek_file != NULL) + (kek->file != NULL) + (kek->token != NULL) +
                (kek->command != NULL);
    if (given > 1)
        return yaml_fault(y, e, "repository.kek",
                          "give one of 'repository.kek_file' and in 'repository.kek' file, command "
                          "and token");
    if (kek->file != NULL)
        return set_path(y, "repository.kek.file", kek->file, out->kek_file, e);
    if (kek->token != NULL && strncmp(kek->token, "pkcs11:", 7) != 0)
        return yaml_fault(y, e, "repository.kek.token",
                          "'repository.kek.token' must be a PKCS #11 URI (RFC 7512) such as "
                          "pkcs11:token=archive;object=kek?module-path=/path/of/module.so");
    if (kek->token != NULL)
        return set_text(y, "repository.kek.token", kek->token, out->kek_file, SITE_PATH_BYTES, e);
    for (unsigned i = 0; kek->command != NULL && i < kek->command_count; i++) {
        if (strchr(kek->command[i], ' ') != NULL || (i == 0 && kek->command[i][0] != '/'))
            return yaml_fault(y, e, "repository.kek.command",
                              "'repository.kek.command' is a list of words without blanks, the "
                              "first an absolute path: put more into a script");
        int n =
            snprintf(line + used, sizeof line - used, "%s%s", i == 0 ? "" : " ", kek->command[i]);
        if (n < 0 || (size_t)n >= sizeof line - used)
            return yaml_fault(y, e, "repository.kek.command",
                              "'repository.kek.command' is too long: put it into a script");
        used += (size_t)n;
    }
    if (kek->command != NULL)
        return set_text(y, "repository.kek.command", line, out->kek_file, SITE_PATH_BYTES, e);
    return 0;
}

/* ---- what must hold between fields ---- */

static int check_timing(const struct yaml *y, const struct site_config *c, struct err *e)
{
    switch (repl_times_check(c->heartbeat_ms, c->election_ms, c->lease_ms)) {
    case REPL_TIMES_OK:
        break;
    case REPL_TIMES_ELECTION_SHORT:
        return yaml_fault(y, e, "replication.election_ms",
                          "'replication.election_ms' is %u: with a heartbeat of %u ms it must be "
                          "at least %u, so that one "
                          "late message is not an election",
                          c->election_ms, c->heartbeat_ms, c->heartbeat_ms * 3);
    case REPL_TIMES_LEASE_SHORT:
        return yaml_fault(y, e, "replication.lease_ms",
                          "'replication.lease_ms' is %u: with a heartbeat of %u ms it must be at "
                          "least %u, or it ends before the next heartbeat is answered",
                          c->lease_ms, c->heartbeat_ms, c->heartbeat_ms * 2);
    case REPL_TIMES_LEASE_LONG:
        return yaml_fault(y, e, "replication.lease_ms",
                          "'replication.lease_ms' is %u: it must be below 9/10 of election_ms "
                          "(%u), so that it ends before "
                          "another site may be elected, also when clocks drift",
                          c->lease_ms, c->election_ms);
    }
    return 0;
}

static int check_repository(const struct yaml *y, const struct site_config *c, struct err *e)
{
    bool kind = c->members[c->self].kind == SITE_REPOSITORY;
    const char *name = c->members[c->self].name;
    if (kind && c->archive_dir[0] == '\0')
        return yaml_fault(y, e, "repository",
                          "site '%s' is of kind repository: it needs 'repository.dir'", name);
    if (kind && c->kek_file[0] == '\0')
        return yaml_fault(y, e, "repository",
                          "site '%s' is of kind repository: it needs 'repository.kek' (or "
                          "'repository.kek_file'), the key that its archive is encrypted under",
                          name);
    if (!kind && (c->archive_dir[0] != '\0' || c->kek_file[0] != '\0' || c->copy_count != 0))
        return yaml_fault(
            y, e, "repository",
            "site '%s' is of kind data: only a site of kind repository has an archive", name);
    for (uint32_t i = 0; i < c->copy_count; i++)
        if (strcmp(c->copies[i], c->archive_dir) == 0)
            return yaml_fault(y, e, "repository.copies",
                              "'repository.copies' names the place of 'repository.dir'");
    if (kind && c->checkpoint_key_file[0] == '\0' &&
        (strncmp(c->kek_file, "command:", 8) == 0 || strncmp(c->kek_file, "pkcs11:", 7) == 0))
        return yaml_fault(
            y, e, "repository",
            "the key of the archive is in no file, so 'repository.checkpoint_key_file' "
            "must say where the key that signs checkpoints is");
    if (kind && strcmp(c->archive_dir, c->data_dir) == 0)
        return yaml_fault(y, e, "repository.dir",
                          "'repository.dir' and 'data_dir' are the same directory");
    return 0;
}

static int check_store(const struct yaml *y, const struct site_config *c, struct err *e)
{
    if (c->log_limit_bytes < 4 * c->segment_bytes)
        return yaml_fault(
            y, e, "store.log_limit_mib",
            "'store.log_limit_mib' is %llu: it must hold at least 4 segments of %llu MiB",
            (unsigned long long)(c->log_limit_bytes >> 20),
            (unsigned long long)(c->segment_bytes >> 20));
    if (c->log_retain_bytes > c->log_limit_bytes)
        return yaml_fault(
            y, e, "store.log_retain_mib",
            "'store.log_retain_mib' is %llu: it must not be above log_limit_mib (%llu)",
            (unsigned long long)(c->log_retain_bytes >> 20),
            (unsigned long long)(c->log_limit_bytes >> 20));
    if (c->checkpoint_bytes * 2 > c->log_limit_bytes)
        return yaml_fault(y, e, "store.checkpoint_mib",
                          "'store.checkpoint_mib' is %llu: log_limit_mib (%llu) must hold two of "
                          "them, or the log fills "
                          "before it may be recycled",
                          (unsigned long long)(c->checkpoint_bytes >> 20),
                          (unsigned long long)(c->log_limit_bytes >> 20));
    return 0;
}

int config_parse(const char *file, struct bytes text, struct site_config *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    struct yaml y = YAML_NONE;
    int rc = yaml_read(&y, file, text, &config_schema, e);
    const struct config_file *f = y.data;
    if (rc == 0)
        rc = set_texts(&y, f, out, e);
    if (rc == 0)
        rc = set_kek(&y, f, out, e);
    if (rc == 0)
        rc = set_members(&y, f, out, e);
    if (rc == 0)
        rc = set_choices(&y, f, out, e);
    for (size_t i = 0; i < config_number_count && rc == 0; i++)
        rc = set_number(&y, &config_numbers[i], out, e);
    if (rc == 0)
        rc = check_timing(&y, out, e);
    if (rc == 0)
        rc = check_store(&y, out, e);
    if (rc == 0)
        rc = check_repository(&y, out, e);
    yaml_release(&y);
    return rc;
}

int config_load(const char *file, struct site_config *out, struct err *e)
{
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = file_read(file, YAML_TEXT_MAX_BYTES, &text, &n, e);
    if (rc == 0)
        rc = config_parse(file, bytes_of(text, n), out, e);
    free(text);
    return rc;
}
