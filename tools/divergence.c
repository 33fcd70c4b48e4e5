#include "tools/divergence.h"

#include "store/core/hex.h"
#include "tools/admin.h"
#include "tools/config.h"
#include "tools/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- where they are ---- */

int divergence_dir(const struct divergence_place *p, char out[BUNDLE_PATH_BYTES], struct err *e)
{
    struct site_config *config = NULL;
    const char *dir = p->data_dir;
    int rc = 0;
    if (dir == NULL && p->config == NULL)
        return err_set(e, ERR_USAGE, "--config or --data-dir is needed");
    if (dir == NULL) {
        config = calloc(1, sizeof *config);
        rc = config == NULL ? err_set(e, ERR_NO_MEMORY, "no memory")
                            : config_load(p->config, config, e);
        dir = config != NULL ? config->data_dir : "";
    }
    int n = snprintf(out, BUNDLE_PATH_BYTES, "%s/divergence", dir);
    if (rc == 0 && (n < 0 || n + BUNDLE_NAME_BYTES >= BUNDLE_PATH_BYTES))
        rc = err_set(e, ERR_LIMIT, "the path of the data directory is too long");
    free(config);
    return rc;
}

int divergence_path(const struct divergence_place *p, const char *name, char out[BUNDLE_PATH_BYTES],
                    struct err *e)
{
    char dir[BUNDLE_PATH_BYTES];
    if (!bundle_is_name(name))
        return err_set(e, ERR_USAGE,
                       "'%.60s' is not the name of a bundle: 'triveni divergence list' shows them",
                       name);
    int rc = divergence_dir(p, dir, e);
    if (rc == 0 && snprintf(out, BUNDLE_PATH_BYTES, "%s/%s", dir, name) >= BUNDLE_PATH_BYTES)
        rc = err_set(e, ERR_LIMIT, "the path of the data directory is too long");
    return rc;
}

/* ---- operations ---- */

/* A member as bytes: text, or {"base64": ...}, which is decoded into *decoded. */
static bool take_bytes(const json_t *line, const char *name, uint8_t **decoded, struct bytes *out)
{
    const json_t *v = json_object_get(line, name);
    if (json_is_string(v)) {
        *out = bytes_of(json_string_value(v), json_string_length(v));
        return true;
    }
    const json_t *base64 = json_object_get(v, "base64");
    if (!json_is_string(base64))
        return false;
    struct bytes text = bytes_of(json_string_value(base64), json_string_length(base64));
    *decoded = malloc(text.n / 4 * 3 + 1);
    long n = *decoded != NULL ? base64_decode(text, *decoded) : -1;
    *out = bytes_of(*decoded, n > 0 ? (size_t)n : 0);
    return n >= 0;
}

static bool take_number(const json_t *line, const char *name, uint64_t *out)
{
    const json_t *v = json_object_get(line, name);
    *out = json_is_integer(v) ? (uint64_t)json_integer_value(v) : 0;
    return json_is_integer(v) && json_integer_value(v) > 0;
}

static bool take_base(const json_t *line, struct bundle_op *op)
{
    const char *word = json_string_value(json_object_get(line, "base"));
    op->base = word == NULL                  ? OP_BASE_VERSION
               : strcmp(word, "absent") == 0 ? OP_BASE_ABSENT
                                             : OP_BASE_UNKNOWN;
    return word != NULL ? op->base == OP_BASE_ABSENT || strcmp(word, "unknown") == 0
                        : take_number(line, "base", &op->base_lsn);
}

static bool take_session(const json_t *line, struct bundle_op *op)
{
    const char *text = json_string_value(json_object_get(line, "session"));
    op->has_session = text != NULL;
    return text == NULL || (strlen(text) == 2 * sizeof op->session.bytes &&
                            hex_parse(text, op->session.bytes, sizeof op->session.bytes) == 0 &&
                            take_number(line, "sequence", &op->sequence));
}

static bool take_op(const json_t *line, struct bundle_op *op)
{
    uint8_t *unused = NULL;
    struct bytes collection;
    const char *kind = json_string_value(json_object_get(line, "op"));
    op->acknowledged = json_string_value(json_object_get(line, "acknowledged"));
    op->kind = kind != NULL && strcmp(kind, "put") == 0 ? OP_PUT : OP_DELETE;
    bool good = kind != NULL && op->acknowledged != NULL &&
                take_number(line, "operation", &op->number) && take_number(line, "lsn", &op->lsn) &&
                take_number(line, "term", &op->term) &&
                take_number(line, "time_us", &op->time_us) && take_base(line, op) &&
                take_session(line, op) && take_bytes(line, "collection", &unused, &collection) &&
                collection.n < sizeof op->collection &&
                take_bytes(line, "key", &op->decoded[0], &op->key) &&
                (op->kind != OP_PUT || take_bytes(line, "value", &op->decoded[1], &op->value));
    if (good) {
        memcpy(op->collection, collection.p, collection.n);
        const char *client = json_string_value(json_object_get(line, "client"));
        op->client = bytes_str(client != NULL ? client : "");
    }
    free(unused);
    return good;
}

int bundle_op_read(json_t **line, struct bundle_op *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    if (json_object_get(*line, "op") == NULL)
        return 0;
    out->line = *line;
    *line = NULL;
    if (take_op(out->line, out))
        return 1;
    bundle_op_free(out);
    return err_set(e, ERR_INTEGRITY, "an operation lacks what an operation must have");
}

void bundle_op_free(struct bundle_op *op)
{
    json_decref(op->line);
    free(op->decoded[0]);
    free(op->decoded[1]);
    memset(op, 0, sizeof *op);
}

/* ---- the cluster ---- */

int divergence_same_cluster(struct tvn *db, const struct bundle *b, struct err *e)
{
    json_t *status;
    struct uuid id = {{0}};
    char text[2 * sizeof id.b + 1];
    int rc = admin_call(db, "status", NULL, &status, e);
    if (rc != 0)
        return rc;
    if (uuid_of_text(json_text(status, "id", ""), &id) != 0)
        rc = err_set(e, ERR_FORMAT, "the status of the cluster has no id");
    hex_format(id.b, sizeof id.b, text);
    if (rc == 0 && strcmp(text, b->cluster) != 0)
        rc = err_set(e, ERR_USAGE, "the bundle is of cluster %s, and the profile leads to %s",
                     b->cluster, text);
    json_decref(status);
    return rc;
}

int divergence_sign(struct tvn *db, const char *decision, const char *name, const struct bundle *b,
                    const char *reason, json_t *counts, struct bundle_decision *out, struct err *e)
{
    json_t *reply = NULL;
    json_t *arguments =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "decision", decision, "bundle", name,
                  "site", b->site, "sha256", b->sha256, "first", (json_int_t)b->first, "last",
                  (json_int_t)b->last, "operations", (json_int_t)b->operations, "acknowledged",
                  (json_int_t)(b->yes + b->possible));
    if (arguments != NULL && reason != NULL)
        (void)json_object_set_new(arguments, "reason", json_string(reason));
    if (arguments != NULL && counts != NULL)
        (void)json_object_update(arguments, counts);
    json_decref(counts);
    if (arguments == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    int rc = admin_call_primary(db, "divergence", arguments, &reply, e);
    int64_t lsn = 0, time_us = 0;
    if (rc == 0 && (!json_number(reply, "lsn", &lsn) || !json_number(reply, "time_us", &time_us)))
        rc = err_set(e, ERR_FORMAT, "the answer tells no lsn or no time_us");
    *out = (struct bundle_decision){.time_us = (uint64_t)time_us, .lsn = (uint64_t)lsn};
    (void)snprintf(out->by, sizeof out->by, "%.128s", json_text(reply, "operator", "unknown"));
    (void)snprintf(out->sha256, sizeof out->sha256, "%s", b->sha256);
    (void)snprintf(out->reason, sizeof out->reason, "%.512s", reason != NULL ? reason : "");
    json_decref(reply);
    return rc;
}
