/* YAML with good errors.
 *
 * libcyaml checks a file against a schema and fills structs, but of what it logs only the names can be used: the position is
 * that of the value before (libcyaml 1.3.1: an unknown key in line 2 is "line: 1"), and a number may carry a tail
 * ("64MiB" is read as 64). So schemas here have strings only, the names and the path are taken from libcyaml's
 * log, and the position is looked up in the document tree of libyaml, which libcyaml is built on. The same lookup
 * gives the position for checks across fields, which a schema cannot express.
 *
 * Bounds: a file has at most 1 MiB; nesting is bounded; aliases are refused, so nothing expands; nothing here
 * recurses on the file. */
#include "tools/yaml.h"

#include "tools/options.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 6, NAME_BYTES = 64, KEYS_MAX = 64 };

/* ---- positions ---- */

/* The value and, in a mapping, the key node of one step down; NULL when the file has none. */
static yaml_node_t *member(yaml_document_t *d, const yaml_node_t *map, const char *name, size_t n,
                           const yaml_node_t **key)
{
    if (map->type != YAML_MAPPING_NODE)
        return NULL;
    const yaml_node_pair_t *last = map->data.mapping.pairs.top;
    yaml_node_t *found = NULL;
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < last; p++) {
        const yaml_node_t *k = yaml_document_get_node(d, p->key);
        if (k == NULL || k->type != YAML_SCALAR_NODE || k->data.scalar.length != n ||
            memcmp(k->data.scalar.value, name, n) != 0)
            continue;
        *key = k; /* of a key that is given twice the later one is at fault */
        found = yaml_document_get_node(d, p->value);
    }
    return found;
}

static yaml_node_t *element(yaml_document_t *d, const yaml_node_t *list, size_t index)
{
    if (list->type != YAML_SEQUENCE_NODE)
        return NULL;
    const yaml_node_item_t *start = list->data.sequence.items.start;
    const yaml_node_item_t *top = list->data.sequence.items.top;
    return (size_t)(top - start) > index ? yaml_document_get_node(d, start[index]) : NULL;
}

static yaml_mark_t locate(const struct yaml *y, const char *path)
{
    yaml_mark_t at = {0, 0, 0};
    yaml_document_t d = y->document; /* libyaml's getters want it not const */
    yaml_node_t *node = y->parsed ? yaml_document_get_root_node(&d) : NULL;
    while (node != NULL && *path != '\0') {
        if (*path == '.')
            path++;
        if (*path == '[') {
            size_t index = 0;
            for (path++; *path >= '0' && *path <= '9'; path++)
                index = index * 10 + (size_t)(*path - '0');
            path += *path == ']';
            node = element(&d, node, index);
            if (node != NULL)
                at = node->start_mark;
            continue;
        }
        size_t n = strcspn(path, ".[");
        const yaml_node_t *key = NULL;
        node = member(&d, node, path, n, &key);
        if (key != NULL)
            at = key->start_mark;
        path += n;
    }
    return at;
}

int yaml_fault(const struct yaml *y, struct err *e, const char *path, const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    yaml_mark_t at = locate(y, path);
    return err_set(e, ERR_CONFIG, "%s:%zu:%zu: %s", y->file, at.line + 1, at.column + 1, text);
}

/* ---- syntax ---- */

static int check_scalars(struct yaml *y, struct err *e)
{
    for (yaml_node_t *n = y->document.nodes.start; n < y->document.nodes.top; n++) {
        if (n->type != YAML_SCALAR_NODE)
            continue;
        for (size_t i = 0; i < n->data.scalar.length; i++)
            if (n->data.scalar.value[i] < 0x20)
                return err_set(e, ERR_CONFIG, "%s:%zu:%zu: control character 0x%02x in a value",
                               y->file, n->start_mark.line + 1, n->start_mark.column + 1,
                               n->data.scalar.value[i]);
    }
    return 0;
}

static int syntax_fault(const struct yaml *y, const yaml_parser_t *p, struct err *e)
{
    if (p->error == YAML_MEMORY_ERROR)
        return err_set(e, ERR_NO_MEMORY, "%s: no memory", y->file);
    if (p->error == YAML_READER_ERROR)
        return err_set(e, ERR_CONFIG, "%s: byte %zu: %s", y->file, p->problem_offset, p->problem);
    return err_set(e, ERR_CONFIG, "%s:%zu:%zu: %s", y->file, p->problem_mark.line + 1,
                   p->problem_mark.column + 1, p->problem != NULL ? p->problem : "not YAML");
}

/* libyaml's time is the square of the depth: a megabyte of '[' would take it an hour. So the events are read first, and what
 * nests deeper than any schema is refused where it does. Whatever else is wrong the loader reports. */
static int check_depth(const struct yaml *y, struct bytes text, struct err *e)
{
    yaml_parser_t p;
    if (!yaml_parser_initialize(&p))
        return err_set(e, ERR_NO_MEMORY, "%s: no memory", y->file);
    yaml_parser_set_input_string(&p, text.p, text.n);
    int rc = 0, depth = 0;
    bool end = false;
    yaml_event_t event;
    while (rc == 0 && !end && yaml_parser_parse(&p, &event)) {
        end = event.type == YAML_STREAM_END_EVENT;
        depth += event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT;
        depth -= event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        if (depth > DEPTH_MAX)
            rc = err_set(e, ERR_CONFIG, "%s:%zu:%zu: nested deeper than %d levels", y->file,
                         event.start_mark.line + 1, event.start_mark.column + 1, DEPTH_MAX);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&p);
    return rc;
}

static int parse(struct yaml *y, struct bytes text, struct err *e)
{
    int rc = check_depth(y, text, e);
    if (rc != 0)
        return rc;
    yaml_parser_t p;
    if (!yaml_parser_initialize(&p))
        return err_set(e, ERR_NO_MEMORY, "%s: no memory", y->file);
    yaml_parser_set_input_string(&p, text.p, text.n);
    if (!yaml_parser_load(&p, &y->document)) {
        rc = syntax_fault(y, &p, e);
        goto out;
    }
    y->parsed = true;
    if (yaml_document_get_root_node(&y->document) == NULL) {
        rc = err_set(e, ERR_CONFIG, "%s:1:1: the file holds no keys", y->file);
        goto out;
    }
    yaml_document_t next;
    if (!yaml_parser_load(&p, &next)) {
        rc = syntax_fault(y, &p, e);
        goto out;
    }
    if (yaml_document_get_root_node(&next) != NULL)
        rc = err_set(e, ERR_CONFIG, "%s:%zu:1: a second document begins here; one is allowed",
                     y->file, next.start_mark.line + 1);
    yaml_document_delete(&next);
    if (rc == 0)
        rc = check_scalars(y, e);
out:
    yaml_parser_delete(&p);
    return rc;
}

/* ---- schema ---- */

/* What libcyaml logged: its sentence, and the path, innermost part first. */
struct report {
    char sentence[200];
    char parts[DEPTH_MAX][NAME_BYTES];
    size_t depth;
};

static void on_log(cyaml_log_t level, void *arg, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void on_log(cyaml_log_t level, void *arg, const char *fmt, va_list ap)
{
    struct report *r = arg;
    char line[256];
    (void)level;
    if (vsnprintf(line, sizeof line, fmt, ap) < 0)
        return;
    line[strcspn(line, "\n")] = '\0';
    const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
    const char *quote = strchr(text, '\'');
    bool field = strncmp(text, "  in mapping field '", 20) == 0;
    bool entry = strncmp(text, "  in sequence entry '", 21) == 0;
    if (r->sentence[0] == '\0')
        (void)snprintf(r->sentence, sizeof r->sentence, "%.190s", text);
    else if ((field || entry) && quote != NULL && r->depth < DEPTH_MAX) {
        uint64_t index = 0;
        char name[NAME_BYTES];
        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(quote + 1, "'"), quote + 1);
        if (entry && parse_number("", name, 1000000, &index, NULL) == 0)
            (void)snprintf(name, sizeof name, "[%llu]",
                           (unsigned long long)(index > 0 ? index - 1 : 0));
        memcpy(r->parts[r->depth++], name, sizeof name);
    }
}

/* The path without its `drop` innermost parts. */
static void path_of(const struct report *r, size_t drop, char out[YAML_PATH_BYTES])
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = r->depth; i > drop; i--) {
        const char *part = r->parts[i - 1];
        int n = snprintf(out + at, YAML_PATH_BYTES - at, "%s%s",
                         at > 0 && part[0] != '[' ? "." : "", part);
        if (n < 0 || (size_t)n >= YAML_PATH_BYTES - at)
            return;
        at += (size_t)n;
    }
}

/* Keys that the schema knows where the report's path (without `drop` parts) ends. */
static size_t known_keys(const struct yaml *y, const struct report *r, size_t drop,
                         const char *out[KEYS_MAX])
{
    const cyaml_schema_value_t *at = y->schema;
    for (size_t i = r->depth; i > drop && at != NULL; i--) {
        if (r->parts[i - 1][0] == '[') {
            at = at->type == CYAML_SEQUENCE ? at->sequence.entry : NULL;
            continue;
        }
        const cyaml_schema_field_t *f = at->type == CYAML_MAPPING ? at->mapping.fields : NULL;
        at = NULL;
        for (; f != NULL && f->key != NULL; f++)
            if (strcmp(f->key, r->parts[i - 1]) == 0)
                at = &f->value;
    }
    size_t n = 0;
    if (at != NULL && at->type == CYAML_MAPPING)
        for (const cyaml_schema_field_t *f = at->mapping.fields; f->key != NULL && n < KEYS_MAX;
             f++)
            out[n++] = f->key;
    return n;
}

/* Last word of libcyaml's sentence, which is the name that it is about. */
static const char *subject(const struct report *r)
{
    const char *colon = strstr(r->sentence, ": ");
    return colon != NULL ? colon + 2 : r->sentence;
}

static int unknown_key(const struct yaml *y, const struct report *r, struct err *e)
{
    char path[YAML_PATH_BYTES];
    path_of(r, 0, path);
    const char *name = subject(r);
    char full[YAML_PATH_BYTES + 200];
    (void)snprintf(full, sizeof full, "%s%s%s", path, path[0] != '\0' ? "." : "", name);
    const char *keys[KEYS_MAX];
    size_t n = known_keys(y, r, 0, keys);
    const char *near = nearest(name, keys, n);
    if (near != NULL)
        return yaml_fault(y, e, full, "unknown key '%s': did you mean '%s'?", full, near);
    char list[200] = "";
    size_t at = 0;
    for (size_t i = 0; i < n && at + NAME_BYTES < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i > 0 ? ", " : "", keys[i]);
    return yaml_fault(y, e, full, "unknown key '%s': known here are %s", full, list);
}

static int shape_fault(const struct yaml *y, const struct report *r, const char *path,
                       struct err *e)
{
    if (strncmp(r->sentence, "Expecting MAPPING", 17) == 0)
        return yaml_fault(y, e, path, "%s%s%smust hold keys of its own",
                          path[0] != '\0' ? "'" : "the file", path, path[0] != '\0' ? "' " : " ");
    if (strncmp(r->sentence, "Expecting SEQUENCE", 18) == 0)
        return yaml_fault(y, e, path, "'%s' must be a list", path);
    if (strncmp(r->sentence, "Expecting STRING", 16) == 0)
        return yaml_fault(y, e, path, "'%s' must be one value", path);
    return yaml_fault(y, e, path, "'%s': %s", path, r->sentence);
}

static int schema_fault(const struct yaml *y, cyaml_err_t code, const struct report *r,
                        struct err *e)
{
    char path[YAML_PATH_BYTES];
    path_of(
        r, code == CYAML_ERR_MAPPING_FIELD_MISSING && r->depth > 0 && r->parts[0][0] != '[' ? 1 : 0,
        path);
    if (code == CYAML_ERR_INVALID_KEY)
        return unknown_key(y, r, e);
    if (code == CYAML_ERR_MAPPING_FIELD_MISSING)
        return yaml_fault(y, e, path, "required key '%s%s%s' is missing", path,
                          path[0] != '\0' ? "." : "", subject(r));
    if (code == CYAML_ERR_UNEXPECTED_EVENT && strstr(r->sentence, "already seen") != NULL)
        return yaml_fault(y, e, path, "'%s' is given twice", path);
    if (code == CYAML_ERR_ALIAS)
        return yaml_fault(y, e, path, "aliases and anchors are not allowed: write the value out");
    if (code == CYAML_ERR_SEQUENCE_ENTRIES_MIN || code == CYAML_ERR_SEQUENCE_ENTRIES_MAX) {
        path_of(r, r->depth > 0 && r->parts[0][0] == '[' ? 1 : 0, path);
        return yaml_fault(y, e, path, "'%s' has %s entries", path,
                          code == CYAML_ERR_SEQUENCE_ENTRIES_MIN ? "too few" : "too many");
    }
    if (code == CYAML_ERR_STRING_LENGTH_MIN)
        return yaml_fault(y, e, path, "'%s' is empty", path);
    if (code == CYAML_ERR_STRING_LENGTH_MAX) {
        uint64_t most = 0;
        const char *at = strchr(r->sentence, '>');
        char digits[24] = "";
        if (at != NULL)
            (void)snprintf(digits, sizeof digits, "%.*s", (int)strspn(at + 2, "0123456789"),
                           at + 2);
        (void)parse_number("", digits, UINT32_MAX, &most, NULL);
        return yaml_fault(y, e, path, "'%s' is too long: at most %llu bytes", path,
                          (unsigned long long)most);
    }
    if (code == CYAML_ERR_OOM)
        return err_set(e, ERR_NO_MEMORY, "%s: no memory", y->file);
    return shape_fault(y, r, path, e);
}

static cyaml_config_t settings(struct report *r)
{
    return (cyaml_config_t){.log_fn = on_log,
                            .log_ctx = r,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_NO_ALIAS};
}

int yaml_read(struct yaml *y, const char *file, struct bytes text,
              const cyaml_schema_value_t *schema, struct err *e)
{
    *y = (struct yaml){.file = file, .schema = schema};
    if (text.n > YAML_TEXT_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "%s: %zu bytes, at most %d are allowed", file, text.n,
                       YAML_TEXT_MAX_BYTES);
    int rc = parse(y, text, e);
    if (rc != 0)
        return rc;
    struct report report = {{0}, {{0}}, 0};
    const cyaml_config_t config = settings(&report);
    cyaml_err_t code = cyaml_load_data(text.p, text.n, &config, schema, &y->data, NULL);
    if (code != CYAML_OK)
        return schema_fault(y, code, &report, e);
    if (y->data == NULL)
        return yaml_fault(y, e, "", "the file holds no keys");
    return 0;
}

void yaml_release(struct yaml *y)
{
    struct report report = {{0}, {{0}}, 0};
    const cyaml_config_t config = settings(&report);
    if (y->data != NULL)
        (void)cyaml_free(&config, y->schema, y->data, 0);
    if (y->parsed)
        yaml_document_delete(&y->document);
    *y = (struct yaml)YAML_NONE;
}
