/* JSON of the archive, through jansson.
 *
 * Readers collect the first member that is missing or wrong in `struct fields` and go on, so that a decoder reads all its
 * members and asks once, as with struct reader of store/core/bytes.h. The seal is checked before the content is parsed
 * wherever the key is at hand.
 *
 * INVARIANTS
 *   I1  What a writer makes, the reader gives back, and no changed byte passes.
 *   I2  Numbers are whole and below 2^63 (JSON readers differ beyond); writers refuse larger ones.
 *   I3  A restore point's name is `name` when it is UTF-8 and `name_hex` otherwise. */
#include "repository/io/meta.h"

#include "repository/core/seektable.h"
#include "store/core/check.h"
#include "store/core/hash.h"
#include "store/core/hex.h"

#include <jansson.h>
#include <stdio.h>

enum { FORMAT = 1, SEAL_HEX_BYTES = 64 };

/* ---- seal ---- */

static int no_memory(struct err *e)
{
    err_set(e, ERR_NO_MEMORY, "no memory for a meta file");
    return ERR_NO_MEMORY;
}

/* {"mac":"..."} and a line end; returns its size. */
static size_t seal_line(const char *member, const uint8_t value[32], char out[SEAL_HEX_BYTES + 24])
{
    char hex[SEAL_HEX_BYTES + 1];
    hex_format(value, 32, hex);
    int n = snprintf(out, SEAL_HEX_BYTES + 24, "{\"%s\":\"%s\"}\n", member, hex);
    check(n > 0);
    return (size_t)n;
}

/* Seal of `line`: of the key when there is one, otherwise a plain hash. */
static int seal_of(struct bytes line, const struct repo_key *key, const char *identity,
                   char out[SEAL_HEX_BYTES + 24], size_t *n, struct err *e)
{
    struct sha256 value;
    int rc = 0;
    if (key == NULL)
        value = hash_sha256(line);
    else
        rc = repo_mac(key, identity, line, value.b, e);
    if (rc == 0)
        *n = seal_line(key == NULL ? "sha256" : "mac", value.b, out);
    return rc;
}

/* The first line with its line end; n is 0 when there is none. */
static struct bytes first_line(struct bytes text)
{
    const uint8_t *nl = text.n == 0 ? NULL : memchr(text.p, '\n', text.n);
    return bytes_of(text.p, nl == NULL ? 0 : (size_t)(nl - text.p) + 1);
}

int repo_seal_check(struct bytes text, const struct repo_key *key, const char *identity,
                    struct err *e)
{
    char expected[SEAL_HEX_BYTES + 24];
    size_t n = 0;
    struct bytes line = first_line(text);
    int rc = seal_of(line, key, identity, expected, &n, e);
    if (rc == 0 && !bytes_equal(bytes_of(expected, n), bytes_of(text.p + line.n, text.n - line.n)))
        rc = err_set(e, ERR_INTEGRITY,
                     "the text is not the one that was sealed (its last line does not fit)");
    return rc;
}

int repo_seal_write(struct bytes line, const struct repo_key *key, const char *identity,
                    uint8_t **out, size_t *n, struct err *e)
{
    size_t seal_bytes = 0;
    char seal[SEAL_HEX_BYTES + 24];
    *out = NULL;
    uint8_t *text = malloc(line.n + 1 + sizeof seal);
    if (text == NULL)
        return no_memory(e);
    memcpy(text, line.p, line.n);
    text[line.n] = '\n';
    int rc = seal_of(bytes_of(text, line.n + 1), key, identity, seal, &seal_bytes, e);
    if (rc != 0) {
        free(text);
        return rc;
    }
    memcpy(text + line.n + 1, seal, seal_bytes);
    *n = line.n + 1 + seal_bytes;
    *out = text;
    return 0;
}

/* Takes `root`. */
static int finish(json_t *root, const struct repo_key *key, const char *identity, uint8_t **out,
                  size_t *n, struct err *e)
{
    *out = NULL;
    char *line = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (line == NULL)
        return no_memory(e);
    int rc = repo_seal_write(bytes_str(line), key, identity, out, n, e);
    free(line);
    return rc;
}

/* ---- writing members: jansson's setters take what they are given, NULL included, and report it ---- */

static bool set_u64(json_t *o, const char *name, uint64_t v)
{
    return v <= INT64_MAX && json_object_set_new(o, name, json_integer((json_int_t)v)) == 0;
}

static bool set_text(json_t *o, const char *name, const char *text)
{
    return json_object_set_new(o, name, json_string(text)) == 0;
}

static bool set_hex(json_t *o, const char *name, const uint8_t *p, size_t n)
{
    char hex[2 * 64 + 1];
    check(n <= 64);
    hex_format(p, n, hex);
    return set_text(o, name, hex);
}

static bool set_uuid(json_t *o, const char *name, const struct uuid *u)
{
    char text[UUID_TEXT_BYTES];
    (void)uuid_text(u, text);
    return set_text(o, name, text);
}

static bool set_digest(json_t *o, bool known, struct digest d)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(d, hex);
    return !known || set_text(o, "digest", hex);
}

static bool set_position(json_t *o, const char *name, const struct entry_position *p)
{
    json_t *at = json_object();
    bool ok = set_u64(at, "lsn", p->lsn.v) && set_u64(at, "term", p->term.v) &&
              set_u64(at, "time_us", p->time.us) &&
              set_hex(at, "hash", p->hash.b, sizeof p->hash.b);
    return json_object_set_new(o, name, at) == 0 && ok;
}

static bool set_order(json_t *root, const struct repository_order *by)
{
    json_t *o = json_object();
    bool ok = set_hex(o, "nonce", by->nonce, sizeof by->nonce) && set_u64(o, "lsn", by->lsn.v) &&
              set_u64(o, "time_us", by->time.us) &&
              set_hex(o, "warrant_sha256", by->warrant.b, sizeof by->warrant.b);
    return json_object_set_new(root, "disposed", o) == 0 && ok;
}

/* What every object's meta says. */
static json_t *object_json(const struct repo_object *o, enum repo_kind kind,
                           const struct uuid *cluster, bool *ok)
{
    json_t *root = json_object();
    *ok = set_u64(root, "format", FORMAT) && set_text(root, "kind", repo_kind_name(kind)) &&
          set_text(root, "object", o->name) && set_uuid(root, "cluster_id", cluster) &&
          set_u64(root, "created_us", o->created.us) && set_u64(root, "bytes", o->bytes) &&
          set_hex(root, "sha256", o->sha256.b, 32) &&
          set_u64(root, "plain_bytes", o->plain_bytes) &&
          set_hex(root, "plain_sha256", o->plain_sha256.b, 32) &&
          set_position(root, "end", &o->end) && set_digest(root, o->digest_known, o->digest) &&
          (!o->disposed || set_order(root, &o->by));
    return root;
}

static int finish_checked(json_t *root, bool ok, const struct repo_key *key, const char *identity,
                          uint8_t **out, size_t *n, struct err *e)
{
    if (ok)
        return finish(root, key, identity, out, n, e);
    json_decref(root);
    *out = NULL;
    return err_set(e, ERR_LIMIT,
                   "a number is beyond 2^63, or there is no memory: no meta can be written");
}

int repo_about_write(const struct repo_about *a, uint8_t **out, size_t *n, struct err *e)
{
    json_t *root = json_object();
    bool ok = set_u64(root, "format", FORMAT) && set_text(root, "cluster", a->cluster) &&
              set_uuid(root, "cluster_id", &a->cluster_id) &&
              set_u64(root, "created_us", a->created.us);
    return finish_checked(root, ok, NULL, NULL, out, n, e);
}

int repo_wrapped_write(const struct repo_wrapped *k, const struct repo_key *key,
                       const char *identity, uint8_t **out, size_t *n, struct err *e)
{
    json_t *root = json_object();
    bool ok = set_u64(root, "format", FORMAT) &&
              set_hex(root, "kek_id", k->kek_id, sizeof k->kek_id) &&
              set_hex(root, "wrapped", k->wrapped, sizeof k->wrapped) &&
              set_u64(root, "created_us", k->created.us);
    return finish_checked(root, ok, key, identity, out, n, e);
}

int repo_retired_write(const struct repo_retired *x, uint8_t **out, size_t *n, struct err *e)
{
    json_t *root = json_object();
    bool ok = set_u64(root, "format", FORMAT) && set_u64(root, "generation", x->generation) &&
              set_u64(root, "after", x->after) &&
              set_hex(root, "kek_id", x->kek_id, sizeof x->kek_id) &&
              set_u64(root, "retired_us", x->when.us);
    return finish_checked(root, ok, NULL, NULL, out, n, e);
}

static json_t *points_json(const struct repo_pack *p, bool *ok)
{
    json_t *list = json_array();
    for (size_t i = 0; *ok && i < p->point_count; i++) {
        const struct repo_point *at = &p->points[i];
        json_t *o = json_object();
        json_t *name = json_stringn((const char *)at->name.p, at->name.n);
        char hex[2 * POINT_NAME_MAX_BYTES + 1];
        hex_format(at->name.p, at->name.n, hex);
        if (name != NULL)
            *ok = json_object_set_new(o, "name", name) == 0;
        else
            *ok = set_text(o, "name_hex", hex);
        *ok = *ok && set_u64(o, "lsn", at->lsn.v) && set_u64(o, "time_us", at->time.us) &&
              set_digest(o, at->digest_known, at->digest);
        *ok = json_array_append_new(list, o) == 0 && *ok;
    }
    return list;
}

static json_t *frames_json(const struct repo_frame_start *frames, uint32_t n, bool *ok)
{
    json_t *list = json_array();
    for (uint32_t i = 0; *ok && i < n; i++)
        *ok = frames[i].lsn.v <= INT64_MAX && frames[i].time.us <= INT64_MAX &&
              json_array_append_new(list, json_pack("[I,I]", (json_int_t)frames[i].lsn.v,
                                                    (json_int_t)frames[i].time.us)) == 0;
    return list;
}

int repo_pack_write(const struct repo_pack *p, const struct repo_frame_start *frames,
                    const struct uuid *cluster, const struct repo_key *key, const char *identity,
                    uint8_t **out, size_t *n, struct err *e)
{
    bool ok;
    json_t *root = object_json(&p->o, REPO_PACK, cluster, &ok);
    ok = ok && set_position(root, "prev", &p->prev) &&
         set_u64(root, "first_time_us", p->first_time.us);
    ok = json_object_set_new(root, "frames", frames_json(frames, p->frames, &ok)) == 0 && ok;
    ok = json_object_set_new(root, "points", points_json(p, &ok)) == 0 && ok;
    return finish_checked(root, ok, key, identity, out, n, e);
}

int repo_snapshot_write(const struct repo_snapshot *s, const struct uuid *cluster,
                        const struct repo_key *key, const char *identity, uint8_t **out, size_t *n,
                        struct err *e)
{
    bool ok;
    json_t *root = object_json(&s->o, REPO_SNAPSHOT, cluster, &ok);
    ok = ok && set_u64(root, "records", s->records) && set_u64(root, "sessions", s->sessions) &&
         set_u64(root, "results", s->results) && set_u64(root, "points", s->points);
    return finish_checked(root, ok, key, identity, out, n, e);
}

int repo_index_write(const struct repo_index *x, const struct uuid *cluster,
                     const struct repo_key *key, const char *identity, uint8_t **out, size_t *n,
                     struct err *e)
{
    bool ok;
    char sum[DIGEST_HEX_BYTES];
    digest_hex(x->sum, sum);
    json_t *root = object_json(&x->o, REPO_INDEX, cluster, &ok);
    ok = ok && set_position(root, "prev", &x->prev) && set_u64(root, "level", x->level) &&
         set_u64(root, "blocks", x->blocks) && set_u64(root, "references", x->refs) &&
         set_text(root, "sum", sum);
    return finish_checked(root, ok, key, identity, out, n, e);
}

/* ---- reading members ---- */

struct fields {
    json_t *root;
    const char *wrong; /* first member that is missing or not what it must be */
    uint64_t counted;  /* frames that load_counted() left out; 0: none */
};

static void wrong(struct fields *f, const char *name)
{
    f->wrong = f->wrong == NULL ? name : f->wrong;
}

static uint64_t get_u64(struct fields *f, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0) {
        wrong(f, name);
        return 0;
    }
    return (uint64_t)json_integer_value(v);
}

static const char *get_text(struct fields *f, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (json_is_string(v))
        return json_string_value(v);
    wrong(f, name);
    return "";
}

/* text[2n] is read only when everything before was a digit, so a shorter text ends it. */
static void get_hex(struct fields *f, const json_t *o, const char *name, uint8_t *out, size_t n)
{
    if (hex_parse(get_text(f, o, name), out, n) != 0)
        wrong(f, name);
}

static struct digest get_digest(struct fields *f, const json_t *o, bool *known)
{
    struct digest d = {0, 0};
    *known = json_object_get(o, "digest") != NULL;
    if (*known && digest_parse(get_text(f, o, "digest"), &d) != 0)
        wrong(f, "digest");
    return d;
}

static struct uuid get_uuid(struct fields *f, const json_t *o, const char *name)
{
    struct uuid u = {{0}};
    if (uuid_of_text(get_text(f, o, name), &u) != 0)
        wrong(f, name);
    return u;
}

static struct entry_position get_position(struct fields *f, const char *name)
{
    struct entry_position p = {{0}, {0}, {0}, {{0}}};
    const json_t *o = json_object_get(f->root, name);
    if (!json_is_object(o))
        wrong(f, name);
    p.lsn.v = get_u64(f, o, "lsn");
    p.term.v = get_u64(f, o, "term");
    p.time.us = get_u64(f, o, "time_us");
    get_hex(f, o, "hash", p.hash.b, sizeof p.hash.b);
    return p;
}

static json_t *load(struct bytes line, json_error_t *why)
{
    return json_loadb((const char *)line.p, line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, why);
}

/* Where a byte, or a number that jansson takes, ends; NULL when something else stands there, or p is NULL. */
static const uint8_t *skip_byte(const uint8_t *p, const uint8_t *end, uint8_t b)
{
    return p != NULL && p < end && *p == b ? p + 1 : NULL;
}

static const uint8_t *skip_number(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *from = p;
    while (p != NULL && p < end && *p >= '0' && *p <= '9')
        p++;
    return p == from || p - from > 18 || (*from == '0' && p - from > 1) ? NULL : p;
}

/* The end of [[1,2],[3,4]...], and how many pairs. */
static const uint8_t *skip_pairs(const uint8_t *p, const uint8_t *end, uint64_t *n)
{
    uint8_t before = '[';
    for (*n = 0; *n == 0 || (p != NULL && p < end && *p == ','); ++*n, before = ',') {
        p = skip_byte(skip_byte(p, end, before), end, '[');
        p = skip_byte(skip_number(p, end), end, ',');
        p = skip_byte(skip_number(p, end), end, ']');
    }
    return skip_byte(p, end, ']');
}

/* Nearly all of a pack's meta is `frames`, and to parse two numbers for each of them takes ten times as long as all else. Who
 * does not ask for them gets them counted: jansson sees their number in their place. Where they are not as they are written here,
 * f->root stays NULL, and parse() gives jansson all of it. */
static void load_counted(struct bytes text, struct fields *f)
{
    static const char member[] = "\"frames\":";
    const struct bytes line = first_line(text);
    const uint8_t *at = line.n == 0 ? NULL : memmem(line.p, line.n, member, sizeof member - 1);
    const uint8_t *list = at == NULL ? NULL : at + sizeof member - 1, *end = line.p + line.n;
    const uint8_t *rest = list == NULL ? NULL : skip_pairs(list, end, &f->counted);
    const bool once =
        rest != NULL && memmem(rest, (size_t)(end - rest), member, sizeof member - 1) == NULL;
    char *cut = once ? malloc(line.n + 24) : NULL;
    if (cut != NULL) {
        const size_t before = (size_t)(list - line.p), after = (size_t)(end - rest);
        json_error_t why;
        memcpy(cut, line.p, before);
        const size_t digits =
            (size_t)snprintf(cut + before, 24, "%llu", (unsigned long long)f->counted);
        memcpy(cut + before + digits, rest, after);
        f->root = load(bytes_of(cut, before + digits + after), &why);
    }
    free(cut);
    f->counted = f->root == NULL ? 0 : f->counted;
}

/* Of `f` that is zero, or that load_counted() was tried on. */
static int parse(struct bytes text, struct fields *f, struct err *e)
{
    json_error_t why;
    if (f->root == NULL)
        f->root = load(first_line(text), &why);
    if (f->root == NULL)
        return err_set(e, ERR_FORMAT, "the first line is no JSON: column %d: %.80s", why.column,
                       why.text);
    uint64_t format = get_u64(f, f->root, "format");
    if (f->wrong == NULL && format != FORMAT)
        return err_set(e, ERR_FORMAT, "format %llu is unknown, this program reads %d",
                       (unsigned long long)format, FORMAT);
    return 0;
}

static int parsed(struct fields *f, struct err *e)
{
    int rc = f->wrong == NULL
                 ? 0
                 : err_set(e, ERR_FORMAT, "member \"%s\" is missing or is not what it must be",
                           f->wrong);
    json_decref(f->root);
    f->root = NULL;
    return rc;
}

/* Who has no key can tell a cut text, and that is all. */
static int check_sealed(struct bytes text, const struct repo_key *key, const char *identity,
                        struct err *e)
{
    static const uint8_t any[32];
    char seal[SEAL_HEX_BYTES + 24];
    if (key != NULL)
        return repo_seal_check(text, key, identity, e);
    return text.n - first_line(text).n == seal_line("mac", any, seal)
               ? 0
               : err_set(e, ERR_INTEGRITY, "it was cut, or has more than its two lines");
}

int repo_about_read(struct bytes text, struct repo_about *out, struct err *e)
{
    struct fields f = {0};
    int rc = repo_seal_check(text, NULL, NULL, e);
    if (rc != 0)
        return rc;
    rc = parse(text, &f, e);
    if (rc == 0) {
        const char *name = get_text(&f, f.root, "cluster");
        if (strlen(name) >= sizeof out->cluster)
            wrong(&f, "cluster");
        (void)snprintf(out->cluster, sizeof out->cluster, "%s", name);
        out->cluster_id = get_uuid(&f, f.root, "cluster_id");
        out->created.us = get_u64(&f, f.root, "created_us");
        return parsed(&f, e);
    }
    json_decref(f.root);
    return rc;
}

int repo_retired_read(struct bytes text, struct repo_retired *out, struct err *e)
{
    struct fields f = {0};
    int rc = repo_seal_check(text, NULL, NULL, e);
    if (rc == 0)
        rc = parse(text, &f, e);
    if (rc == 0) {
        out->generation = (unsigned)get_u64(&f, f.root, "generation");
        out->after = (unsigned)get_u64(&f, f.root, "after");
        get_hex(&f, f.root, "kek_id", out->kek_id, sizeof out->kek_id);
        out->when.us = get_u64(&f, f.root, "retired_us");
        return parsed(&f, e);
    }
    json_decref(f.root);
    return rc;
}

int repo_wrapped_read(struct bytes text, struct repo_wrapped *out, struct err *e)
{
    struct fields f = {0};
    int rc = check_sealed(text, NULL, NULL, e);
    if (rc == 0)
        rc = parse(text, &f, e);
    if (rc == 0) {
        get_hex(&f, f.root, "kek_id", out->kek_id, sizeof out->kek_id);
        get_hex(&f, f.root, "wrapped", out->wrapped, sizeof out->wrapped);
        out->created.us = get_u64(&f, f.root, "created_us");
        return parsed(&f, e);
    }
    json_decref(f.root);
    return rc;
}

static void get_order(struct fields *f, struct repo_object *out)
{
    const json_t *o = json_object_get(f->root, "disposed");
    out->disposed = o != NULL;
    if (o == NULL)
        return;
    get_hex(f, o, "nonce", out->by.nonce, sizeof out->by.nonce);
    out->by.lsn.v = get_u64(f, o, "lsn");
    out->by.time.us = get_u64(f, o, "time_us");
    get_hex(f, o, "warrant_sha256", out->by.warrant.b, sizeof out->by.warrant.b);
}

static void get_object(struct fields *f, enum repo_kind kind, const struct uuid *cluster,
                       const char *object, struct repo_object *out)
{
    *out = (struct repo_object){.bytes = get_u64(f, f->root, "bytes")};
    (void)snprintf(out->name, sizeof out->name, "%s", object);
    if (strcmp(get_text(f, f->root, "kind"), repo_kind_name(kind)) != 0)
        wrong(f, "kind");
    if (strcmp(get_text(f, f->root, "object"), object) != 0)
        wrong(f, "object");
    struct uuid id = get_uuid(f, f->root, "cluster_id");
    if (!uuid_equal(&id, cluster))
        wrong(f, "cluster_id");
    out->created.us = get_u64(f, f->root, "created_us");
    out->plain_bytes = get_u64(f, f->root, "plain_bytes");
    get_hex(f, f->root, "sha256", out->sha256.b, 32);
    get_hex(f, f->root, "plain_sha256", out->plain_sha256.b, 32);
    out->end = get_position(f, "end");
    out->digest = get_digest(f, f->root, &out->digest_known);
    get_order(f, out);
}

/* Points and their names in one allocation: the names lie behind the array. */
static int get_points(struct fields *f, struct repo_pack *out, struct err *e)
{
    const json_t *list = json_object_get(f->root, "points");
    size_t n = json_array_size(list);
    if (!json_is_array(list)) {
        wrong(f, "points");
        return 0;
    }
    if (n == 0)
        return 0;
    out->points = calloc(n, sizeof *out->points + POINT_NAME_MAX_BYTES);
    if (out->points == NULL)
        return no_memory(e);
    out->point_count = n;
    uint8_t *names = (uint8_t *)(out->points + n);
    for (size_t i = 0; i < n; i++, names += POINT_NAME_MAX_BYTES) {
        const json_t *o = json_array_get(list, i), *name = json_object_get(o, "name");
        struct repo_point *p = &out->points[i];
        size_t bytes = json_string_length(name);
        if (name == NULL) {
            const char *hex = get_text(f, o, "name_hex");
            bytes = strlen(hex) / 2;
            if (bytes <= POINT_NAME_MAX_BYTES)
                get_hex(f, o, "name_hex", names, bytes);
        } else if (bytes <= POINT_NAME_MAX_BYTES && json_is_string(name)) {
            memcpy(names, json_string_value(name), bytes);
        }
        if (bytes == 0 || bytes > POINT_NAME_MAX_BYTES)
            wrong(f, "points");
        p->name = bytes_of(names, bytes);
        p->lsn.v = get_u64(f, o, "lsn");
        p->time.us = get_u64(f, o, "time_us");
        p->digest = get_digest(f, o, &p->digest_known);
        if (p->lsn.v < out->first.v || p->lsn.v > out->o.end.lsn.v ||
            (i > 0 && p->lsn.v <= out->points[i - 1].lsn.v))
            wrong(f, "points");
    }
    return 0;
}

static int get_frames(struct fields *f, struct repo_pack *out, struct repo_frame_start **frames,
                      struct err *e)
{
    const json_t *list = json_object_get(f->root, "frames");
    size_t n = json_array_size(list);
    if (f->counted != 0 && (uint64_t)json_integer_value(list) == f->counted)
        n = f->counted;
    if (out->o.disposed && n == 0)
        return 0;
    if (n == 0 || n > UINT32_MAX) {
        wrong(f, "frames");
        return 0;
    }
    out->frames = (uint32_t)n;
    if (frames == NULL)
        return 0;
    *frames = calloc(n, sizeof **frames);
    if (*frames == NULL)
        return no_memory(e);
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(list, i);
        const json_t *lsn = json_array_get(pair, 0), *time = json_array_get(pair, 1);
        struct repo_frame_start *s = &(*frames)[i];
        s->lsn.v = (uint64_t)json_integer_value(lsn);
        s->time.us = (uint64_t)json_integer_value(time);
        if (!json_is_integer(lsn) || !json_is_integer(time) ||
            (i == 0 ? s->lsn.v != out->first.v : s->lsn.v <= (s - 1)->lsn.v) ||
            s->lsn.v > out->o.end.lsn.v)
            wrong(f, "frames");
    }
    return 0;
}

void repo_pack_release(struct repo_pack *p)
{
    free(p->points);
    free(p->starts);
    p->points = NULL;
    p->starts = NULL;
    p->point_count = 0;
}

int repo_pack_read(struct bytes text, const struct uuid *cluster, const char *object,
                   const struct repo_key *key, const char *identity, struct repo_pack *out,
                   struct repo_frame_start **frames, struct err *e)
{
    struct fields f = {0};
    struct repo_name name;
    memset(out, 0, sizeof *out);
    if (frames != NULL)
        *frames = NULL;
    check(repo_name_parse(object, &name) == 0);
    int rc = check_sealed(text, key, identity, e);
    if (rc == 0 && frames == NULL)
        load_counted(text, &f);
    if (rc == 0)
        rc = parse(text, &f, e);
    if (rc == 0) {
        get_object(&f, REPO_PACK, cluster, object, &out->o);
        out->prev = get_position(&f, "prev");
        out->first.v = out->prev.lsn.v + 1;
        out->first_time.us = get_u64(&f, f.root, "first_time_us");
        if (out->first.v != name.first.v || out->o.end.lsn.v != name.last.v ||
            out->o.end.term.v != name.term.v)
            wrong(&f, "object");
        rc = get_points(&f, out, e);
    }
    if (rc == 0)
        rc = get_frames(&f, out, frames, e);
    if (rc == 0)
        rc = parsed(&f, e);
    json_decref(f.root);
    if (rc != 0) {
        repo_pack_release(out);
        if (frames != NULL) {
            free(*frames);
            *frames = NULL;
        }
    }
    return rc;
}

int repo_snapshot_read(struct bytes text, const struct uuid *cluster, const char *object,
                       const struct repo_key *key, const char *identity, struct repo_snapshot *out,
                       struct err *e)
{
    struct fields f = {0};
    struct repo_name name;
    memset(out, 0, sizeof *out);
    check(repo_name_parse(object, &name) == 0);
    int rc = check_sealed(text, key, identity, e);
    if (rc == 0)
        rc = parse(text, &f, e);
    if (rc == 0) {
        get_object(&f, REPO_SNAPSHOT, cluster, object, &out->o);
        out->records = get_u64(&f, f.root, "records");
        out->sessions = get_u64(&f, f.root, "sessions");
        out->results = get_u64(&f, f.root, "results");
        out->points = get_u64(&f, f.root, "points");
        if (out->o.end.lsn.v != name.last.v)
            wrong(&f, "object");
        if (!out->o.digest_known)
            wrong(&f, "digest");
        rc = parsed(&f, e);
    }
    json_decref(f.root);
    return rc;
}

int repo_index_read(struct bytes text, const struct uuid *cluster, const char *object,
                    const struct repo_key *key, const char *identity, struct repo_index *out,
                    struct err *e)
{
    struct fields f = {0};
    struct repo_name name;
    memset(out, 0, sizeof *out);
    check(repo_name_parse(object, &name) == 0);
    int rc = check_sealed(text, key, identity, e);
    if (rc == 0)
        rc = parse(text, &f, e);
    if (rc == 0) {
        get_object(&f, REPO_INDEX, cluster, object, &out->o);
        out->prev = get_position(&f, "prev");
        out->first.v = out->prev.lsn.v + 1;
        uint64_t level = get_u64(&f, f.root, "level"), blocks = get_u64(&f, f.root, "blocks");
        out->refs = get_u64(&f, f.root, "references");
        if (digest_parse(get_text(&f, f.root, "sum"), &out->sum) != 0)
            wrong(&f, "sum");
        if (out->first.v != name.first.v || out->o.end.lsn.v != name.last.v)
            wrong(&f, "object");
        if (level > UINT32_MAX)
            wrong(&f, "level");
        if (blocks > REPO_SEEK_FRAMES_MAX || (blocks == 0) != (out->refs == 0))
            wrong(&f, "blocks");
        out->level = (uint32_t)level;
        out->blocks = (uint32_t)blocks;
        rc = parsed(&f, e);
    }
    json_decref(f.root);
    return rc;
}
