/* Growing the tree of the archive.
 *
 * The leaves come from the packs as they lie in the archive, decrypted and checked, and not from the entries as they were given
 * to be sealed: so what is signed is what can be shown. Of packs that this process has sealed their headers were noted when they
 * were read back from the disk (recent.h); others are read again.
 *
 * STATES of a tree: closed -> ready (checkpoint, right edge and last header read, root compared) -> growing -> ready. Any
 * error leads back to closed: what is in memory may be ahead of the disk, and what is on the disk is what counts.
 *
 * INVARIANTS
 *   I1  A checkpoint is signed, and then written, only when all tiles and bundles of its tree are durable.
 *   I2  A checkpoint is signed only if its tree begins with the tree of the checkpoint before: the edge that it grew from has
 *       the root of that checkpoint.
 *   I3  The leaves are one chain: each header names the hash of the header before it, also across a restart. So packs that
 *       were exchanged for others are found when the tree is to grow over them.
 *
 * FAILURE MODES
 *   Crash: full tiles beyond the checkpoint may be there; they are found equal when the same entries come again. Partial ones
 *     of a checkpoint that was never written are in nobody's way.
 *   Packs that end before the checkpoint: packs are missing, and nothing is signed.
 *   A checkpoint that somebody removed: the tree grows again from lsn 1, and that is told. Tiles that are there are compared, and
 *     so is the root that the operations log names (as behind a tree that was put back to an earlier state); the sites that
 *     cosigned compare the rest.
 *   An archive that does not begin with lsn 1 has no tree: its leaves are not all there. */
#include "repository/io/tree.h"

#include "repository/io/operations.h"
#include "repository/io/recent.h"
#include "repository/io/tiles.h"
#include "repository/operations.h"
#include "repository/proof.h"
#include "repository/witness.h"
#include "store/core/check.h"
#include "store/core/hash.h"
#include "store/core/hex.h"

#include <stdio.h>

#define LSN(x) ((unsigned long long)(x).v)

struct repo_tree {
    struct repo_signer *signer;
    bool ready;
    struct lsn signed_to; /* published */
    struct sha256 signed_root;
    bool changed;   /* the note is not on disk as it is here */
    uint64_t named; /* entries of the newest tree in the operations log; 0: none */
    struct sha256 named_root;
    char lost[ERR_TEXT_BYTES]; /* see repository_tree_lost */
    struct repo_tree_note note;
    struct sha256 last; /* SHA-256 of the header of the last leaf */
    struct tlog_edge edge;
    uint8_t bundle[TREE_BUNDLE_BYTES]; /* of the last, partial bundle */
    struct repo_tree_files files;
};

void repo_tree_origin(const struct uuid *cluster, char out[TLOG_NAME_BYTES])
{
    char id[UUID_TEXT_BYTES];
    (void)snprintf(out, TLOG_NAME_BYTES, "triveni/%s", uuid_text(cluster, id));
}

void repo_tree_free(struct repo_tree *t)
{
    if (t == NULL)
        return;
    repo_signer_free(t->signer);
    repo_tree_files_drop(&t->files);
    free(t);
}

struct lsn repo_tree_signed(const struct repo_tree *t)
{
    return t->signed_to;
}

struct sha256 repo_tree_signed_root(const struct repo_tree *t)
{
    return t->signed_root;
}

const struct tlog_key *repo_tree_key(const struct repo_tree *t)
{
    return repo_signer_key(t->signer);
}

/* ---- the key ---- */

static int count_key(void *arg, const struct tlog_key *key)
{
    unsigned *n = arg;
    *n += key->type == TLOG_KEY_LOG;
    return 0;
}

/* Load the key; make it when nothing was ever signed here. */
static int have_key(struct repository *r, struct repo_tree *t, const char *key_file, bool *made,
                    struct err *e)
{
    char origin[TLOG_NAME_BYTES];
    unsigned keys = 0;
    repo_tree_origin(&r->about.cluster_id, origin);
    int rc = repo_signer_load(key_file, origin, TLOG_KEY_LOG, &t->signer, e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    if ((rc = repo_tree_keys(r->backend, count_key, &keys, e)) != 0)
        return rc;
    if (keys != 0)
        return err_set(
            e, ERR_NOT_FOUND,
            "checkpoint key %s is missing: put it back from its copy, or, when it is "
            "lost, make another with 'openssl genpkey -algorithm ed25519' and tell those "
            "who verify",
            key_file);
    *made = true;
    if ((rc = repo_signer_make(key_file, e)) != 0) {
        err_advise(
            e, "make it with 'openssl genpkey -algorithm ed25519 -out FILE', mode 0600, and name "
               "it in repository.checkpoint_key_file");
        return rc;
    }
    return repo_signer_load(key_file, origin, TLOG_KEY_LOG, &t->signer, e);
}

/* A verifier key, beside the tree. */
static int publish_key(struct repo_tree_files *files, const struct tlog_key *key, struct err *e)
{
    int rc = repo_tree_key_add(files, key, e);
    return rc == 0 ? repo_tree_files_flush(files, e) : rc;
}

int repository_tree_open(struct repository *r, const char *key_file, char vkey[TLOG_VKEY_BYTES],
                         bool *made, struct err *e)
{
    *made = false;
    vkey[0] = '\0';
    check(!r->read_only && r->tree == NULL);
    struct repo_tree *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the tree");
    t->files.backend = r->backend;
    int rc = have_key(r, t, key_file, made, e);
    if (rc == 0)
        rc = publish_key(&t->files, repo_signer_key(t->signer), e);
    if (rc == 0)
        rc = repo_operations_open(r, key_file, e);
    if (rc == 0) {
        tlog_key_format(repo_signer_key(t->signer), vkey);
        r->tree = t;
    } else {
        repo_tree_free(t);
    }
    return rc;
}

/* ---- from disk ---- */

int repo_tree_load_edge(struct repo_backend *b, uint64_t size, struct tlog_edge *edge,
                        uint8_t *bundle, struct err *e)
{
    struct tlog_tile tile;
    int rc = 0;
    edge->size = size;
    for (unsigned level = 0; rc == 0 && level < TLOG_LEVELS; level++)
        if (tlog_tile_partial(level, size, &tile))
            rc = repo_tile_read(b, REPO_TREE, &tile, false, edge->row[level][0].b, e);
    if (rc == 0 && tlog_tile_partial(0, size, &tile))
        rc = repo_tile_read(b, REPO_TREE, &tile, true, bundle, e);
    for (size_t i = 0; rc == 0 && i < size % TLOG_TILE_WIDTH; i++) {
        struct bytes header = bytes_of(bundle + i * TREE_LEAF_BYTES + 2, ENTRY_HEADER_BYTES);
        struct sha256 leaf = tlog_leaf_hash(header);
        if (!sha256_equal(&leaf, &edge->row[0][i]))
            rc = err_set(e, ERR_INTEGRITY,
                         "the header of lsn %llu in the tree is not the one that its tile names",
                         (unsigned long long)(size - size % TLOG_TILE_WIDTH + i + 1));
    }
    return rc;
}

static int load_last(struct repository *r, struct repo_tree *t, struct err *e)
{
    uint8_t header[ENTRY_HEADER_BYTES];
    struct entry_position archived = repo_archived(&r->inv);
    int rc = repo_tree_header(r->backend, t->edge.size - 1, t->edge.size, header, e);
    if (rc != 0)
        return rc;
    t->last = hash_sha256(bytes_of(header, sizeof header));
    if (t->edge.size > archived.lsn.v)
        return err_set(e, ERR_INTEGRITY,
                       "its checkpoint has %llu entries, the packs end at lsn %llu: packs are "
                       "missing",
                       (unsigned long long)t->edge.size, LSN(archived.lsn));
    if (t->edge.size == archived.lsn.v && !sha256_equal(&t->last, &archived.hash))
        return err_set(e, ERR_INTEGRITY,
                       "lsn %llu in the packs is not the entry that was signed: the history was "
                       "changed",
                       LSN(archived.lsn));
    return 0;
}

static int find_cosigner(void *arg, const struct tlog_key *key)
{
    bool *found = arg;
    *found |= key->type == TLOG_KEY_COSIGNER;
    return 0;
}

/* No checkpoint is there. Was there one? Tiles and the site's own key say nothing: they come before the first. */
static int begin_anew(struct repository *r, struct repo_tree *t, struct err *e)
{
    char why[160];
    bool cosigned = false;
    const uint64_t archived = repo_archived(&r->inv).lsn.v;
    if (t->named > archived)
        return err_set(e, ERR_INTEGRITY,
                       "its checkpoint is missing, the operations log names one of %llu entries, "
                       "and the packs end at lsn %llu: packs are missing",
                       (unsigned long long)t->named, (unsigned long long)archived);
    (void)repo_tree_keys(r->backend, find_cosigner, &cosigned, NULL);
    if (t->named != 0)
        (void)snprintf(why, sizeof why, "the operations log names a signed tree of %llu entries",
                       (unsigned long long)t->named);
    else if (cosigned)
        (void)snprintf(why, sizeof why, "keys of sites that cosigned one lie in tree/keys");
    else if (!repo_is_there(r, REPO_OPERATIONS_CHECKPOINT) && repo_operations_key_lies(r))
        (void)snprintf(why, sizeof why, "the operations log was signed, and is missing, too");
    else
        return 0;
    (void)snprintf(
        t->lost, sizeof t->lost,
        "LOST " REPO_TREE_CHECKPOINT ": %s. The tree grows again from lsn 1, compared "
        "with that and with what other sites cosigned; compare it with a kept "
        "checkpoint (triveni archive consistency) or a copy, then triveni archive verify",
        why);
    return 0;
}

static int load(struct repository *r, struct repo_tree *t, struct err *e)
{
    struct tlog_checkpoint c;
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    memset(&t->edge, 0, sizeof t->edge);
    memset(&t->last, 0, sizeof t->last);
    t->note.n = 0;
    t->changed = false;
    int rc = repo_operations_tree(r, &t->named, &t->named_root, e);
    if (rc != 0)
        return rc;
    rc = repo_checkpoint_read(r->backend, REPO_TREE, &text, &n, &c, &note, &by, e);
    if (rc == ERR_NOT_FOUND) {
        rc = begin_anew(r, t, e);
        t->ready = rc == 0;
        t->signed_to.v = 0;
        return rc;
    }
    if (rc == 0 && n <= sizeof t->note.text) {
        memcpy(t->note.text, text, n);
        t->note.n = n;
    }
    free(text);
    if (rc == 0 && strcmp(c.origin, repo_signer_key(t->signer)->name) != 0)
        rc = err_set(e, ERR_INTEGRITY, "its checkpoint is of another log, %s", c.origin);
    if (rc == 0)
        rc = repo_tree_load_edge(r->backend, c.size, &t->edge, t->bundle, e);
    if (rc != 0)
        return rc;
    struct sha256 root = tlog_edge_root(&t->edge);
    if (!sha256_equal(&root, &c.root))
        return err_set(
            e, ERR_INTEGRITY,
            "its tiles do not lead to the root of its checkpoint: they are damaged; bring "
            "the folder back from a copy");
    if (c.size != 0)
        rc = load_last(r, t, e);
    if (rc == 0) {
        t->ready = true;
        t->signed_to.v = c.size;
        t->signed_root = c.root;
    }
    return rc;
}

/* ---- growing ---- */

void repo_tree_leaf(uint8_t *bundle, uint64_t index, const uint8_t header[ENTRY_HEADER_BYTES])
{
    uint8_t *slot = bundle + index % TLOG_TILE_WIDTH * TREE_LEAF_BYTES;
    slot[0] = ENTRY_HEADER_BYTES >> 8; /* big-endian, as the specification wants it */
    slot[1] = ENTRY_HEADER_BYTES & 0xff;
    memcpy(slot + 2, header, ENTRY_HEADER_BYTES);
}

struct growth {
    struct repo_tree *t;
    struct err *e;
};

static int write_tile(struct repo_tree *t, const struct tlog_tile *tile, bool entries,
                      const void *bytes, struct err *e)
{
    char name[REPO_TILE_NAME_BYTES];
    size_t each = entries ? TREE_LEAF_BYTES : TLOG_HASH_BYTES;
    repo_tile_name(REPO_TREE, tile, entries, name);
    return repo_tree_files_add(&t->files, name, bytes_of(bytes, each * tile->width), e);
}

static int tile_full(void *arg, const struct tlog_tile *tile, const struct sha256 *hashes)
{
    struct growth *g = arg;
    int rc = write_tile(g->t, tile, false, hashes, g->e);
    if (rc == 0 && tile->level == 0)
        rc = write_tile(g->t, tile, true, g->t->bundle, g->e);
    return rc;
}

/* Where the operations log names a tree, it is this one. */
static int check_named(struct repo_tree *t, struct err *e)
{
    if (t->edge.size != t->named)
        return 0;
    struct sha256 root = tlog_edge_root(&t->edge);
    if (sha256_equal(&root, &t->named_root))
        return 0;
    return err_set(e, ERR_INTEGRITY,
                   "what the packs hold up to lsn %llu is not what was signed: the operations log "
                   "names another root. The history was changed: keep this archive, and compare it "
                   "with a copy",
                   (unsigned long long)t->named);
}

static int grow_entry(void *arg, const struct entry_view *v)
{
    struct growth *g = arg;
    struct repo_tree *t = g->t;
    if (!sha256_equal(&v->header.prev_hash, &t->last))
        return err_set(g->e, ERR_INTEGRITY,
                       "lsn %llu in the packs does not follow the entry that was signed as lsn "
                       "%llu: the history was changed",
                       LSN(v->header.lsn), (unsigned long long)t->edge.size);
    check(v->header.lsn.v == t->edge.size + 1);
    repo_tree_leaf(t->bundle, t->edge.size, v->raw);
    struct sha256 leaf = tlog_leaf_hash(bytes_of(v->raw, ENTRY_HEADER_BYTES));
    t->last = v->hash;
    int rc = tlog_edge_add(&t->edge, &leaf, tile_full, g);
    return rc == 0 ? check_named(t, g->e) : rc;
}

static int write_partial(struct repo_tree *t, struct err *e)
{
    struct tlog_tile tile;
    int rc = 0;
    for (unsigned level = 0; rc == 0 && level < TLOG_LEVELS; level++)
        if (tlog_tile_partial(level, t->edge.size, &tile))
            rc = write_tile(t, &tile, false, t->edge.row[level], e);
    if (rc == 0 && tlog_tile_partial(0, t->edge.size, &tile))
        rc = write_tile(t, &tile, true, t->bundle, e);
    return rc == 0 ? repo_tree_files_flush(&t->files, e) : rc;
}

static int sign(struct repository *r, struct repo_tree *t, struct err *e)
{
    struct tlog_checkpoint c = {.size = t->edge.size, .root = tlog_edge_root(&t->edge)};
    char text[TLOG_CHECKPOINT_BYTES];
    struct writer w = writer_of(text, sizeof text),
                  note = writer_of(t->note.text, sizeof t->note.text);
    repo_tree_origin(&r->about.cluster_id, c.origin);
    tlog_checkpoint_write(&w, &c);
    check(!w.bad);
    int rc = repo_note_sign(t->signer, bytes_of(text, w.at), &note, e);
    t->note.n = rc == 0 ? note.at : 0;
    t->changed = rc == 0;
    return rc;
}

/* From the packs, and what is known of them from their sealing from there. */
static int grow_to(struct repository *r, struct repo_tree *t, struct lsn last, struct err *e)
{
    struct growth g = {t, e};
    const uint64_t next = t->edge.size + 1, noted = repo_recent_first(r->recent).v;
    const uint64_t from_here = noted == 0 || noted > last.v ? last.v + 1
                               : noted > next               ? noted
                                                            : next;
    int rc = 0;
    if (next < from_here)
        rc = repository_entries(r, (struct lsn){next}, (struct lsn){from_here - 1}, grow_entry, &g,
                                e);
    for (uint64_t lsn = from_here; rc == 0 && lsn <= last.v; lsn++) {
        struct entry_view v;
        rc = repo_recent_entry(r->recent, (struct lsn){lsn}, &v, e);
        if (rc == 0)
            rc = grow_entry(&g, &v);
    }
    return rc;
}

static int grow(struct repository *r, struct repo_tree *t, uint64_t most, struct err *e)
{
    uint64_t old = t->edge.size, last = repo_archived(&r->inv).lsn.v;
    if (last == old)
        return 0;
    if (last - old > most)
        last = old + most;
    int rc = grow_to(r, t, (struct lsn){last}, e);
    if (rc == 0)
        rc = write_partial(t, e);
    if (rc == 0)
        rc = sign(r, t, e);
    if (rc == 0)
        repo_recent_used(r->recent, (struct lsn){last});
    else
        repo_recent_forget(r->recent); /* the next attempt looks at the packs */
    return rc;
}

static int publish(struct repository *r, struct repo_tree *t, struct err *e)
{
    if (!t->changed)
        return 0;
    /* First the operations: no entry is published whose pack their log does not name. */
    int rc = repository_operations_settle(r, NULL, e);
    if (rc == 0)
        rc = repo_tree_replace(r->backend, "tree/checkpoint", bytes_of(t->note.text, t->note.n),
                               &t->files.sync_failed, e);
    if (rc != 0)
        return rc;
    repo_tree_tidy(r->backend, REPO_TREE, t->signed_to.v, t->edge.size);
    t->signed_to.v = t->edge.size;
    t->signed_root = tlog_edge_root(&t->edge);
    t->changed = false;
    return 0;
}

/* Publish, or grow by up to `most` when that is not 0. */
static int step(struct repository *r, uint64_t most, struct err *e)
{
    struct repo_tree *t = r->tree;
    check(t != NULL);
    if (r->failed.code != 0)
        return err_set(e, r->failed.code, "nothing is written any more after: %.400s",
                       r->failed.text);
    if (r->inv.pack_count != 0 && r->inv.packs[0].first.v != 1)
        return err_set(e, ERR_GAP,
                       "the archive begins with lsn %llu and not with the first one: it has no "
                       "tree, and nothing in it can be proven",
                       LSN(r->inv.packs[0].first));
    int rc = t->ready ? 0 : load(r, t, e);
    if (rc == 0)
        rc = most != 0 ? grow(r, t, most, e) : publish(r, t, e);
    if (rc != 0) {
        t->ready = false;
        repo_tree_files_drop(&t->files);
        err_wrap(e, "tree");
    }
    if (t->files.sync_failed) {
        r->failed = (struct err)ERR_NONE;
        err_set(&r->failed, ERR_IO, "%s", e == NULL ? "a sync failed" : e->text);
    }
    return rc;
}

int repository_tree_grow(struct repository *r, uint64_t most, struct err *e)
{
    check(most != 0);
    return step(r, most, e);
}

int repository_tree_publish(struct repository *r, struct err *e)
{
    return step(r, 0, e);
}

int repo_tree_again(struct repository *r, struct err *e)
{
    struct repo_tree *t = r->tree;
    if (!t->ready || t->note.n == 0)
        return err_set(e, ERR_NOT_READY, "the checkpoint of the tree is not known here");
    t->changed = true;
    return repository_tree_publish(r, e);
}

int repository_tree_extend(struct repository *r, uint64_t most, struct err *e)
{
    int rc = repository_tree_grow(r, most, e);
    return rc == 0 ? repository_tree_publish(r, e) : rc;
}

const char *repository_tree_lost(const struct repository *r)
{
    return r->tree == NULL ? "" : r->tree->lost;
}

/* ---- cosignatures ---- */

struct bytes repository_tree_draft(const struct repository *r)
{
    const struct repo_tree *t = r->tree;
    return t == NULL || !t->ready ? bytes_of(NULL, 0) : bytes_of(t->note.text, t->note.n);
}

int repo_tree_note_cosigned(struct repo_tree_note *note, struct repo_tree_files *files,
                            const struct uuid *cluster, const char *site, struct bytes vkey,
                            struct bytes line, bool *added, uint64_t *time_s, struct err *e)
{
    struct tlog_key key;
    struct tlog_note parsed;
    struct tlog_signature there;
    char name[TLOG_NAME_BYTES];
    *time_s = 0;
    *added = false;
    if (note->n == 0 || line.n > sizeof note->text - note->n)
        return err_set(e, ERR_STALE, "there is no checkpoint that it could be added to");
    witness_name(cluster, site, name);
    int rc = tlog_key_parse(vkey, &key, e);
    if (rc == 0 && (key.type != TLOG_KEY_COSIGNER || strcmp(key.name, name) != 0))
        rc = err_set(e, ERR_INTEGRITY, "%s is not the cosigner's key of %s", key.name, site);
    if (rc != 0)
        return rc;
    check(tlog_note_parse(bytes_of(note->text, note->n), &parsed, NULL) == 0);
    bool is_there = tlog_note_signature(&parsed, &key, 0, &there, NULL) == 0;
    memcpy(note->text + note->n, line.p, line.n);
    rc = tlog_note_parse(bytes_of(note->text, note->n + line.n), &parsed, e);
    if (rc == 0)
        rc = repo_note_verify(&parsed, &key, time_s, e);
    if (rc != 0 || is_there)
        return rc;
    rc = publish_key(files, &key, e);
    if (rc != 0)
        return rc;
    note->n += line.n;
    *added = true;
    return 0;
}

int repository_tree_cosigned(struct repository *r, const char *site, struct bytes vkey,
                             struct bytes line, uint64_t *time_s, struct err *e)
{
    struct repo_tree *t = r->tree;
    bool added = false;
    check(t != NULL);
    if (!t->ready)
        t->note.n = 0; /* it is read again */
    int rc = repo_tree_note_cosigned(&t->note, &t->files, &r->about.cluster_id, site, vkey, line,
                                     &added, time_s, e);
    t->changed |= added;
    return rc;
}
