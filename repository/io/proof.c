/* Proofs: made from the tree's files alone, and checked with nothing but a key.
 *
 * Whoever makes a proof reads tiles that may be damaged, so what was made is checked before it is given out: a file that does
 * not verify must never leave the archive as a proof. The checking is the same code that a stranger runs. */
#include "repository/proof.h"

#include "repository/io/tiles.h"
#include "repository/operations.h"
#include "store/core/check.h"
#include "store/core/text.h"

#include <stdlib.h>

struct repository_tree {
    struct repo_backend *backend;
    uint8_t *text;
    size_t bytes;
    struct tlog_note note;
    struct tlog_checkpoint checkpoint;
    struct tlog_key key;
    struct repo_tiles tiles;
};

static int read_tree(struct repository_tree **out, const char *dir, const char *root, struct err *e)
{
    *out = NULL;
    struct repository_tree *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a tree");
    int rc = repo_backend_open(dir, false, false, &t->backend, e);
    if (rc == 0) {
        rc = repo_checkpoint_read(t->backend, root, &t->text, &t->bytes, &t->checkpoint, &t->note,
                                  &t->key, e);
        if (rc == ERR_NOT_FOUND)
            err_set(e, rc,
                    "%s has no signed tree: the archive is empty, or its site has not written one "
                    "yet",
                    dir);
    }
    if (rc != 0) {
        repository_tree_close(t);
        return rc;
    }
    t->tiles = (struct repo_tiles){.backend = t->backend, .root = root, .size = t->checkpoint.size};
    *out = t;
    return 0;
}

int repository_tree_read(struct repository_tree **out, const char *dir, struct err *e)
{
    return read_tree(out, dir, REPO_TREE, e);
}

void repository_tree_close(struct repository_tree *t)
{
    if (t == NULL)
        return;
    repo_backend_close(t->backend);
    free(t->text);
    free(t);
}

const struct tlog_checkpoint *repository_tree_checkpoint(const struct repository_tree *t)
{
    return &t->checkpoint;
}

struct bytes repository_tree_note(const struct repository_tree *t)
{
    return bytes_of(t->text, t->bytes);
}

const struct tlog_key *repository_tree_key(const struct repository_tree *t)
{
    return &t->key;
}

struct cosigner_walk {
    struct repository_tree *t;
    int (*each)(void *arg, const struct tlog_key *, uint64_t time_s);
    void *arg;
};

static int walk_cosigner(void *arg, const struct tlog_key *key)
{
    const struct cosigner_walk *w = arg;
    uint64_t time_s;
    if (key->type != TLOG_KEY_COSIGNER ||
        tree_cosigned(repository_tree_note(w->t), key, &time_s, NULL) != 0)
        return 0;
    return w->each(w->arg, key, time_s);
}

int repository_tree_cosigners(struct repository_tree *t,
                              int (*each)(void *arg, const struct tlog_key *, uint64_t time_s),
                              void *arg, struct err *e)
{
    struct cosigner_walk w = {t, each, arg};
    return repo_tree_keys(t->backend, walk_cosigner, &w, e);
}

int repository_tree_headers(const char *dir, struct lsn lsn, size_t most, uint8_t *out, size_t *n,
                            struct err *e)
{
    struct repository_tree *t = NULL;
    uint8_t *bundle = NULL;
    *n = 0;
    int rc = repository_tree_read(&t, dir, e);
    if (rc == 0 && (lsn.v == 0 || lsn.v > t->checkpoint.size))
        rc = err_set(e, ERR_NOT_FOUND, "the archive's tree ends at lsn %llu",
                     (unsigned long long)t->checkpoint.size);
    if (rc == 0 && (bundle = malloc(TREE_BUNDLE_BYTES)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory for a bundle of headers");
    for (uint64_t i = lsn.v - 1; rc == 0 && i < t->checkpoint.size && *n < most; i++) {
        size_t at = i % TLOG_TILE_WIDTH;
        if (at == 0 || *n == 0) {
            struct tlog_tile tile = tlog_tile_of(0, i, t->checkpoint.size);
            rc = repo_tile_read(t->backend, REPO_TREE, &tile, true, bundle, e);
        }
        if (rc == 0)
            memcpy(out + (*n)++ * ENTRY_HEADER_BYTES, bundle + at * TREE_LEAF_BYTES + 2,
                   ENTRY_HEADER_BYTES);
    }
    free(bundle);
    repository_tree_close(t);
    return rc;
}

/* ---- making ---- */

/* The text of a proof, allocated. */
static int write_out(const struct tlog_proof_text *p, struct bytes extra, uint8_t **out, size_t *n,
                     struct err *e)
{
    size_t cap = tlog_proof_bytes(p, extra.n);
    *out = malloc(cap);
    if (*out == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a proof of %zu bytes", cap);
    struct writer w = writer_of(*out, cap);
    tlog_proof_write(&w, p, extra);
    check(!w.bad);
    *n = w.at;
    return 0;
}

int repository_tree_prove(struct repository_tree *t, const struct entry_view *v,
                          struct bytes collection, struct bytes key, uint8_t **out, size_t *n,
                          struct err *e)
{
    struct tlog_proof_text p = {.number = v->header.lsn.v - 1,
                                .checkpoint = repository_tree_note(t)};
    struct tlog_checkpoint c;
    struct evidence found;
    uint8_t *again = NULL;
    size_t bytes = evidence_bytes(collection, key, v);
    *out = NULL;
    if (v->header.lsn.v == 0 || v->header.lsn.v > t->checkpoint.size)
        return err_set(e, ERR_NOT_FOUND,
                       "lsn %llu is not in the signed tree, which ends at lsn %llu",
                       (unsigned long long)v->header.lsn.v, (unsigned long long)t->checkpoint.size);
    int rc =
        tlog_prove_inclusion(p.number, t->checkpoint.size, repo_tiles_node, &t->tiles, &p.proof, e);
    uint8_t *extra = rc == 0 ? malloc(bytes) : NULL;
    if (rc == 0 && extra == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory for a proof of %zu bytes", bytes);
    if (rc == 0) {
        struct writer w = writer_of(extra, bytes);
        evidence_write(&w, collection, key, v);
        check(!w.bad);
        rc = write_out(&p, bytes_of(extra, w.at), out, n, e);
    }
    if (rc == 0 && (rc = tree_inclusion(bytes_of(*out, *n), &t->key, &c, &found, &again, e)) != 0) {
        err_wrap(e, "the tree and the packs contradict each other at lsn %llu",
                 (unsigned long long)v->header.lsn.v);
        free(*out);
        *out = NULL;
    }
    free(extra);
    free(again);
    return rc;
}

int repository_tree_consistency(struct repository_tree *t, struct bytes earlier, struct bytes later,
                                uint8_t **out, size_t *n, struct err *e)
{
    struct tlog_checkpoint first = {.size = 0}, second = {.size = 0};
    struct tlog_note note;
    struct tlog_proof_text p = {.consistency = true,
                                .checkpoint = later.n != 0 ? later : repository_tree_note(t)};
    *out = NULL;
    int rc = tlog_checkpoint_parse(earlier, &first, &note, e);
    if (rc == 0)
        rc = tlog_checkpoint_parse(p.checkpoint, &second, &note, e);
    if (rc == 0 && second.size > t->checkpoint.size)
        rc = err_set(e, ERR_INTEGRITY,
                     "the archive's tree has %llu entries, a checkpoint of %llu was signed: the "
                     "history was rolled back",
                     (unsigned long long)t->checkpoint.size, (unsigned long long)second.size);
    if (rc == 0 && first.size > second.size)
        rc = err_set(e, ERR_INTEGRITY,
                     "the tree shrank from %llu to %llu entries: the history was rolled back",
                     (unsigned long long)first.size, (unsigned long long)second.size);
    p.number = first.size;
    if (rc == 0) {
        /* Tiles of the newest tree also hold the nodes of every earlier one. */
        rc = tlog_prove_consistency(first.size, second.size, repo_tiles_node, &t->tiles, &p.proof,
                                    e);
    }
    return rc == 0 ? write_out(&p, bytes_of(NULL, 0), out, n, e) : rc;
}

int repository_operations_proof(const char *dir, uint64_t from, char vkey[TLOG_VKEY_BYTES],
                                uint64_t *size, uint8_t **out, size_t *n, struct err *e)
{
    struct repository_tree *t = NULL;
    *out = NULL;
    *size = 0;
    int rc = read_tree(&t, dir, REPO_OPERATIONS, e);
    if (rc != 0)
        return rc;
    const uint64_t to = t->checkpoint.size;
    struct tlog_proof_text p = {.consistency = true,
                                .number = from < to ? from : to,
                                .checkpoint = repository_tree_note(t)};
    rc = tlog_prove_consistency(p.number, to, repo_tiles_node, &t->tiles, &p.proof, e);
    if (rc == 0)
        rc = write_out(&p, bytes_of(NULL, 0), out, n, e);
    tlog_key_format(&t->key, vkey);
    *size = to;
    repository_tree_close(t);
    return rc;
}

/* ---- checking ---- */

int tree_checkpoint(struct bytes note, const struct tlog_key *key, struct tlog_checkpoint *out,
                    struct err *e)
{
    struct tlog_note parsed;
    int rc = tlog_checkpoint_parse(note, out, &parsed, e);
    if (rc == 0 && key->type != TLOG_KEY_LOG)
        rc = err_set(e, ERR_INTEGRITY, "%s is the key of a cosigner, and not the log's", key->name);
    if (rc == 0)
        rc = repo_note_verify(&parsed, key, NULL, e);
    if (rc == 0 && strcmp(out->origin, key->name) != 0)
        rc = err_set(e, ERR_INTEGRITY, "the checkpoint is of %s, the key of %s", out->origin,
                     key->name);
    if (rc == 0 && out->size == 0) {
        struct sha256 empty;
        check(tlog_root(0, NULL, NULL, &empty, NULL) == 0);
        if (!sha256_equal(&empty, &out->root))
            rc = err_set(e, ERR_INTEGRITY, "the checkpoint's empty tree has not the empty root");
    }
    return rc;
}

int tree_cosigned(struct bytes note, const struct tlog_key *cosigner, uint64_t *time_s,
                  struct err *e)
{
    struct tlog_note parsed;
    struct tlog_signature signature;
    *time_s = 0;
    int rc = tlog_note_parse(note, &parsed, e);
    if (rc != 0)
        return rc;
    rc = tlog_note_signature(&parsed, cosigner, 0, &signature, e);
    return rc == ERR_NOT_FOUND ? rc : repo_note_verify(&parsed, cosigner, time_s, e);
}

static int parse_proof(struct bytes file, bool consistency, struct tlog_proof_text *p,
                       struct err *e)
{
    int rc = tlog_proof_parse(file, p, e);
    if (rc == 0 && p->consistency != consistency)
        rc = err_set(e, ERR_FORMAT, "a proof of %s where one of %s is expected",
                     p->consistency ? "consistency" : "inclusion",
                     consistency ? "consistency" : "inclusion");
    return rc;
}

int tree_inclusion(struct bytes file, const struct tlog_key *key, struct tlog_checkpoint *c,
                   struct evidence *evidence, uint8_t **extra, struct err *e)
{
    struct tlog_proof_text p;
    *extra = NULL;
    int rc = parse_proof(file, false, &p, e);
    if (rc == 0)
        rc = tree_checkpoint(p.checkpoint, key, c, e);
    if (rc == 0 && (*extra = malloc(p.extra.n + 1)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory for the entry of a proof");
    long n = rc == 0 ? base64_decode(p.extra, *extra) : 0;
    if (rc == 0 && n < 0)
        rc = err_set(e, ERR_FORMAT, "the line 'extra' of the proof is no base64");
    if (rc == 0)
        rc = evidence_read(bytes_of(*extra, (size_t)n), evidence, e);
    if (rc == 0) {
        struct sha256 leaf = tlog_leaf_hash(bytes_of(evidence->entry.raw, ENTRY_HEADER_BYTES));
        rc = tlog_check_inclusion(&leaf, p.number, c->size, &p.proof, &c->root, e);
    }
    if (rc == 0 && evidence->entry.header.lsn.v != p.number + 1)
        rc =
            err_set(e, ERR_INTEGRITY, "leaf %llu of the tree is the entry with lsn %llu",
                    (unsigned long long)p.number, (unsigned long long)evidence->entry.header.lsn.v);
    if (rc != 0) {
        free(*extra);
        *extra = NULL;
    }
    return rc;
}

int tree_consistency(struct bytes file, struct bytes earlier, const struct tlog_key *key,
                     struct tlog_checkpoint *first, struct tlog_checkpoint *second, struct err *e)
{
    struct tlog_proof_text p;
    int rc = parse_proof(file, true, &p, e);
    if (rc == 0 && (rc = tree_checkpoint(earlier, key, first, e)) != 0)
        err_wrap(e, "the earlier checkpoint");
    if (rc == 0)
        rc = tree_checkpoint(p.checkpoint, key, second, e);
    if (rc == 0 && p.number != first->size)
        rc = err_set(e, ERR_INTEGRITY,
                     "the proof begins with a tree of %llu entries, the earlier checkpoint has "
                     "%llu",
                     (unsigned long long)p.number, (unsigned long long)first->size);
    if (rc == 0)
        rc = tlog_check_consistency(first->size, &first->root, second->size, &second->root,
                                    &p.proof, e);
    return rc;
}
