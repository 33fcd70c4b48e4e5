/* The operations log: read, and what others hand in.
 *
 * A leaf that is handed in waits as a file of its own until the archive's site takes it into the log. It is sealed like a meta,
 * under the data key of a pack, so that only who has a KEK can hand in anything, and whoever has one, of any generation, can
 * tell. Its name is its id, so that two who hand in at once never meet, and nothing is taken twice where files cannot be
 * removed. */
#include "repository/io/operations.h"

#include "repository/operations.h"
#include "store/core/check.h"
#include "store/core/hex.h"

#include <stdio.h>

void repo_operations_origin(const struct uuid *cluster, char out[TLOG_NAME_BYTES])
{
    char id[UUID_TEXT_BYTES];
    (void)snprintf(out, TLOG_NAME_BYTES, "triveni/%s/operations", uuid_text(cluster, id));
}

/* ---- the signed log ---- */

static int keep(struct repo_operations_read *x, const uint8_t *p, size_t n, struct err *e)
{
    if (n > x->cap - x->bytes) {
        size_t cap = 2 * x->cap + n;
        uint8_t *more = realloc(x->leaves, cap);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
        x->leaves = more;
        x->cap = cap;
    }
    memcpy(x->leaves + x->bytes, p, n);
    x->bytes += n;
    return 0;
}

struct building {
    struct repo_backend *backend;
    struct err *e;
};

/* The tile that follows from the leaves is the one that is there. */
static int compare(const struct building *b, const struct tlog_tile *t, const struct sha256 *hashes)
{
    uint8_t there[TLOG_TILE_BYTES];
    char name[REPO_TILE_NAME_BYTES];
    int rc = repo_tile_read(b->backend, REPO_OPERATIONS, t, false, there, b->e);
    repo_tile_name(REPO_OPERATIONS, t, false, name);
    if (rc == 0 && memcmp(there, hashes, (size_t)TLOG_HASH_BYTES * t->width) != 0)
        rc = err_set(b->e, ERR_INTEGRITY, "%s: its hashes do not follow from the leaves", name);
    return rc;
}

static int compare_full(void *arg, const struct tlog_tile *t, const struct sha256 *hashes)
{
    return compare(arg, t, hashes);
}

static int read_bundle(struct repo_operations_read *x, const struct building *b,
                       const struct tlog_tile *t)
{
    uint8_t *leaves = NULL;
    size_t n = 0;
    int rc = repo_bundle_read(b->backend, REPO_OPERATIONS, t, &leaves, &n, b->e);
    x->partial = x->bytes;
    if (rc == 0)
        rc = keep(x, leaves, n, b->e);
    for (size_t at = 0; rc == 0 && at < n;) {
        size_t size = (size_t)(leaves[at] << 8 | leaves[at + 1]);
        struct sha256 hash = tlog_leaf_hash(bytes_of(leaves + at + 2, size));
        struct building mine = *b;
        rc = tlog_edge_add(&x->edge, &hash, compare_full, &mine);
        at += 2 + size;
    }
    free(leaves);
    return rc;
}

static int build(struct repo_operations_read *x, const struct building *b)
{
    const uint64_t size = x->checkpoint.size;
    struct tlog_tile t;
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && at < size; at += TLOG_TILE_WIDTH) {
        t = tlog_tile_of(0, at, size);
        rc = read_bundle(x, b, &t);
    }
    if (size % TLOG_TILE_WIDTH == 0)
        x->partial = x->bytes;
    for (unsigned level = 0; rc == 0 && level < TLOG_LEVELS; level++)
        if (tlog_tile_partial(level, size, &t))
            rc = compare(b, &t, x->edge.row[level]);
    struct sha256 root = tlog_edge_root(&x->edge);
    if (rc == 0 && !sha256_equal(&root, &x->checkpoint.root))
        rc = err_set(b->e, ERR_INTEGRITY,
                     "operations/checkpoint: the leaves do not lead to the root that was signed");
    return rc;
}

int repo_operations_read(struct repo_backend *b, const struct uuid *cluster,
                         struct repo_operations_read *out, struct err *e)
{
    struct tlog_note note;
    char origin[TLOG_NAME_BYTES];
    int rc = repo_checkpoint_read(b, REPO_OPERATIONS, &out->note, &out->note_bytes,
                                  &out->checkpoint, &note, &out->by, e);
    repo_operations_origin(cluster, origin);
    if (rc == 0 && strcmp(out->checkpoint.origin, origin) != 0)
        rc = err_set(e, ERR_INTEGRITY, "operations/checkpoint: it is of another log: %.120s",
                     out->checkpoint.origin);
    return rc == 0 ? build(out, &(struct building){b, e}) : rc;
}

void repo_operations_release(struct repo_operations_read *x)
{
    free(x->leaves);
    free(x->note);
    x->leaves = x->note = NULL;
}

int repo_operations_each(const struct repo_operations_read *x,
                         int (*each)(void *arg, uint64_t index, const struct operation *),
                         void *arg, struct err *e)
{
    uint64_t index = 0;
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < x->bytes; index++) {
        struct operation o;
        size_t size = (size_t)(x->leaves[at] << 8 | x->leaves[at + 1]);
        rc = operation_read(bytes_of(x->leaves + at + 2, size), &o, e);
        if (rc != 0)
            return err_wrap(e, "leaf %llu of the operations log", (unsigned long long)index);
        rc = each(arg, index, &o);
        at += 2 + size;
    }
    return rc;
}

int repo_operations_replay(struct operation_inventory *inv, const struct operation *o,
                           struct err *e)
{
    int rc = operation_replay(inv, o, e);
    if (rc != ERR_LIMIT)
        return rc;
    size_t cap = inv->cap == 0 ? 64 : 2 * inv->cap;
    struct operation_object *more = realloc(inv->at, cap * sizeof *more);
    if (more == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for what the operations log names");
    inv->at = more;
    inv->cap = cap;
    return operation_replay(inv, o, e);
}

struct adding {
    struct operation_inventory *inv;
    struct err *e;
};

static int add_one(void *arg, uint64_t index, const struct operation *o)
{
    const struct adding *a = arg;
    int rc = repo_operations_replay(a->inv, o, a->e);
    return rc == 0 ? 0 : err_wrap(a->e, "leaf %llu", (unsigned long long)index);
}

int repo_operations_inventory(const struct repo_operations_read *x, struct operation_inventory *inv,
                              struct err *e)
{
    return repo_operations_each(x, add_one, &(struct adding){inv, e}, e);
}

struct key_search {
    char origin[TLOG_NAME_BYTES];
    bool found;
};

static int find_key(void *arg, const struct tlog_key *key)
{
    struct key_search *s = arg;
    s->found |= key->type == TLOG_KEY_LOG && strcmp(key->name, s->origin) == 0;
    return 0;
}

bool repo_operations_key_lies(struct repository *r)
{
    struct key_search key = {.found = false};
    repo_operations_origin(&r->about.cluster_id, key.origin);
    return repo_tree_keys(r->backend, find_key, &key, NULL) == 0 && key.found;
}

int repo_operations_tree(struct repository *r, uint64_t *size, struct sha256 *root, struct err *e)
{
    struct operation_inventory inv = {0};
    struct repo_operations_read *log = calloc(1, sizeof *log);
    if (log == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
    int rc = repo_operations_read(r->backend, &r->about.cluster_id, log, e);
    if (rc == 0)
        rc = repo_operations_inventory(log, &inv, e);
    *size = rc == 0 ? inv.tree_size : 0;
    *root = inv.tree_root;
    free(inv.at);
    repo_operations_release(log);
    free(log);
    return rc == ERR_NO_MEMORY ? rc : 0;
}

/* ---- handing in ---- */

static void pending_name(uint64_t id, char out[REPO_NAME_BYTES])
{
    (void)snprintf(out, REPO_NAME_BYTES, "%s/%016llx.json", OPERATIONS_PENDING,
                   (unsigned long long)id);
}

static bool pending_parse(const char *name, uint64_t *id)
{
    static const char folder[] = OPERATIONS_PENDING "/";
    char again[REPO_NAME_BYTES], hex[17] = "";
    uint8_t b[8];
    if (strncmp(name, folder, sizeof folder - 1) != 0)
        return false;
    (void)snprintf(hex, sizeof hex, "%.16s", name + sizeof folder - 1);
    if (hex_parse(hex, b, sizeof b) != 0)
        return false;
    *id = get_be64(b);
    pending_name(*id, again);
    return strcmp(again, name) == 0;
}

/* The newest pack that is whole: its key seals what is handed in. */
static const char *sealing_pack(const struct repository *r)
{
    for (size_t i = r->inv.pack_count; i > 0; i--)
        if (!r->inv.packs[i - 1].o.damaged && !r->inv.packs[i - 1].o.disposed)
            return r->inv.packs[i - 1].o.name;
    return NULL;
}

/* What follows from the archive or from the log of entries, and from nobody's word. */
static bool of_the_site(enum operation_kind kind)
{
    return kind == OPERATION_PACK || kind == OPERATION_SNAPSHOT || kind == OPERATION_HOLD ||
           kind == OPERATION_RELEASE;
}

static const char before_pack[] = "{\"sealed_as\":\"", before_leaf[] = "\",\"operation\":";
enum { PENDING_LINE_BYTES = OPERATION_MAX_BYTES + REPO_NAME_BYTES + 64 };

/* The line of a file that is handed in. */
static int pending_line(const char *pack, const struct operation *o, struct writer *w,
                        struct err *e)
{
    write_bytes(w, bytes_str(before_pack));
    write_bytes(w, bytes_str(pack));
    write_bytes(w, bytes_str(before_leaf));
    int rc = operation_write(w, o, e);
    write_u8(w, '}');
    return rc;
}

/* The pack and the leaf in it. What is not as pending_line writes it is found when it is written again. */
static int pending_read(struct bytes line, char pack[REPO_NAME_BYTES], struct operation *o,
                        struct err *e)
{
    uint8_t text[PENDING_LINE_BYTES];
    struct writer w = writer_of(text, sizeof text);
    const size_t at = sizeof before_pack - 1;
    const uint8_t *end = line.n <= at ? NULL : memchr(line.p + at, '"', line.n - at);
    size_t n = end == NULL ? 0 : (size_t)(end - line.p) - at;
    size_t leaf = at + n + sizeof before_leaf - 1;
    if (n == 0 || n >= REPO_NAME_BYTES || line.n < leaf + 2)
        return err_set(e, ERR_FORMAT, "it is no operation that was handed in");
    memcpy(pack, line.p + at, n);
    pack[n] = '\0';
    int rc = operation_read(bytes_of(line.p + leaf, line.n - leaf - 1), o, e);
    if (rc == 0 &&
        (pending_line(pack, o, &w, NULL) != 0 || w.bad || !bytes_equal(bytes_of(text, w.at), line)))
        rc = err_set(e, ERR_FORMAT, "it is no operation that was handed in");
    return rc;
}

int repository_operations_add(struct repository *r, struct operation *o, struct err *e)
{
    const char *pack = sealing_pack(r);
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    uint8_t line[PENDING_LINE_BYTES], *text = NULL;
    struct writer w = writer_of(line, sizeof line);
    struct repo_key key = {{0}};
    size_t n = 0;
    int lock = -1;
    if (of_the_site(o->kind))
        return err_set(e, ERR_USAGE, "a %s is not handed in", operation_name(o->kind));
    if (pack == NULL)
        return err_set(e, ERR_CONDITION, "the archive holds no pack: nothing in it is recorded");
    o->tree_size = 0; /* the site says that */
    if (o->time.us == 0)
        o->time = repo_now();
    int rc = o->id == 0 ? repo_random(&o->id, sizeof o->id, e) : 0;
    if (rc == 0)
        rc = pending_line(pack, o, &w, e);
    if (rc == 0)
        rc = repo_key_of(r, pack, &key, e);
    pending_name(o->id, name);
    repo_identity_of(r, name, identity);
    if (rc == 0)
        rc = repo_seal_write(bytes_of(line, w.at), &key, identity, &text, &n, e);
    if (rc == 0)
        rc = repo_keys_lock(r, false, true, &lock, e); /* nobody removes what we are writing */
    if (rc == 0)
        rc = repo_text_publish(r, name, bytes_of(text, n), e);
    repo_keys_unlock(lock);
    repo_wipe(&key, sizeof key);
    free(text);
    return rc == 0 ? 0 : err_wrap(e, "recording the operation '%s'", operation_name(o->kind));
}

static int list_one(void *arg, const char *name)
{
    struct repo_pending *l = arg;
    uint64_t id;
    if (!pending_parse(name, &id))
        return 0;
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 16 : 2 * l->cap;
        struct repo_handed_in *more = realloc(l->at, cap * sizeof *more);
        if (more == NULL)
            return ERR_NO_MEMORY;
        l->at = more;
        l->cap = cap;
    }
    l->at[l->n] = (struct repo_handed_in){.o = {.id = id}};
    (void)snprintf(l->at[l->n++].name, REPO_NAME_BYTES, "%s", name);
    return 0;
}

int repo_pending_list(struct repo_backend *b, struct repo_pending *out, struct err *e)
{
    *out = (struct repo_pending){0};
    int rc = repo_backend_list(b, OPERATIONS_PENDING, list_one, out, e);
    return rc == ERR_NO_MEMORY ? err_set(e, rc, "no memory for what was handed in") : rc;
}

void repo_pending_release(struct repo_pending *l)
{
    free(l->at);
    *l = (struct repo_pending){0};
}

void repo_pending_taken(struct repo_pending *l, uint64_t id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->at[i].o.id == id)
            l->at[i] = l->at[--l->n];
}

static int read_sealed(struct repository *r, struct repo_handed_in *x, struct err *e)
{
    char identity[REPO_IDENTITY_BYTES], pack[REPO_NAME_BYTES];
    const uint64_t id = x->o.id;
    struct repo_key key;
    struct repo_name name;
    uint8_t *text = NULL;
    size_t n = 0;
    repo_identity_of(r, x->name, identity);
    int rc = repo_backend_read(r->backend, x->name, 2 * PENDING_LINE_BYTES, &text, &n, e);
    if (rc != 0)
        return rc;
    const uint8_t *end = n == 0 ? NULL : memchr(text, '\n', n);
    rc = pending_read(bytes_of(text, end == NULL ? 0 : (size_t)(end - text)), pack, &x->o, e);
    if (rc == 0 && (repo_name_parse(pack, &name) != 0 || name.kind != REPO_PACK || x->o.id != id ||
                    of_the_site(x->o.kind)))
        rc = err_set(e, ERR_INTEGRITY, "it is not what its name says");
    if (rc == 0)
        rc = repo_key_of(r, pack, &key, e);
    if (rc == 0)
        rc = repo_seal_check(bytes_of(text, n), &key, identity, e);
    free(text);
    repo_wipe(&key, sizeof key);
    if (rc == 0)
        return 0;
    err_wrap(e, "it cannot be taken");
    return repo_damage(e);
}

static int by_time(const void *a, const void *b)
{
    const struct operation *x = &((const struct repo_handed_in *)a)->o;
    const struct operation *y = &((const struct repo_handed_in *)b)->o;
    if (x->time.us != y->time.us)
        return x->time.us < y->time.us ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

int repo_pending_read(struct repository *r, struct repo_pending *l, repo_tree_damage_fn bad,
                      void *arg, struct err *e)
{
    size_t kept = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < l->n; i++) {
        struct err why = ERR_NONE;
        rc = read_sealed(r, &l->at[i], &why);
        if (rc == 0)
            l->at[kept++] = l->at[i];
        else if (rc == ERR_NO_MEMORY || rc == ERR_IO)
            err_set(e, rc, "%s", why.text);
        else if (rc != ERR_NOT_FOUND && bad != NULL) /* not found: the site took it meanwhile */
            bad(arg, l->at[i].name, why.text);
        rc = rc == ERR_NO_MEMORY || rc == ERR_IO ? rc : 0;
    }
    l->n = kept;
    if (kept != 0)
        qsort(l->at, kept, sizeof *l->at, by_time);
    return rc;
}

/* ---- for others ---- */

struct all {
    struct repo_pending pending;
    int (*each)(void *arg, uint64_t index, const struct operation *);
    void *arg;
    repo_tree_damage_fn bad;
    void *bad_arg;
};

static int signed_one(void *arg, uint64_t index, const struct operation *o)
{
    struct all *x = arg;
    repo_pending_taken(&x->pending, o->id);
    return x->each(x->arg, index, o);
}

static int each_leaf(struct repository *r, struct repo_operations_read *log, struct all *x,
                     struct operations_summary *out, struct err *e)
{
    /* First what was handed in: what the site takes meanwhile is then in the log. */
    int rc = repo_pending_list(r->backend, &x->pending, e);
    if (rc == 0)
        rc = repo_operations_read(r->backend, &r->about.cluster_id, log, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, rc,
                       "the archive has no operations log: its site has not signed one yet, or is "
                       "of an older version");
    if (rc != 0)
        return rc;
    if (r->vouched != NULL && (rc = r->vouched(r->vouched_arg, "operations/checkpoint",
                                               bytes_of(log->note, log->note_bytes), e)) != 0)
        return rc;
    out->leaves = log->checkpoint.size;
    tlog_key_format(&log->by, out->key);
    rc = repo_operations_each(log, signed_one, x, e);
    if (rc == 0 && !r->keyless)
        rc = repo_pending_read(r, &x->pending, x->bad, x->bad_arg, e);
    out->pending = x->pending.n;
    for (size_t i = 0; rc == 0 && !r->keyless && i < x->pending.n; i++)
        rc = x->each(x->arg, UINT64_MAX, &x->pending.at[i].o);
    return rc;
}

int repo_operations_all(struct repository *r,
                        int (*each)(void *arg, uint64_t index, const struct operation *), void *arg,
                        repo_tree_damage_fn bad, void *bad_arg, struct operations_summary *out,
                        struct err *e)
{
    struct repo_operations_read *log = calloc(1, sizeof *log);
    struct all x = {.each = each, .arg = arg, .bad = bad, .bad_arg = bad_arg};
    *out = (struct operations_summary){0};
    if (log == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
    int rc = each_leaf(r, log, &x, out, e);
    repo_pending_release(&x.pending);
    repo_operations_release(log);
    free(log);
    return rc;
}

int repository_operations_of(struct repository *r,
                             int (*each)(void *arg, uint64_t index, const struct operation *),
                             void *arg, struct operations_summary *out, struct err *e)
{
    return repo_operations_all(r, each, arg, NULL, NULL, out, e);
}

int repository_operations(const char *dir,
                          int (*each)(void *arg, uint64_t index, const struct operation *),
                          void *arg, struct operations_summary *out, struct err *e)
{
    struct repository r = {.read_only = true, .keyless = true};
    int rc = repo_backend_open(dir, false, false, &r.backend, e);
    if (rc == 0)
        rc = repo_about_load(&r, e);
    if (rc == 0)
        rc = repository_operations_of(&r, each, arg, out, e);
    repo_backend_close(r.backend);
    return rc;
}
