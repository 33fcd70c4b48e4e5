/* Proofs over the archive: a Merkle tree of the entries' headers (RFC 6962), published beside the packs as C2SP tlog-tiles with
 * signed checkpoints, and what follows from it for somebody who has nothing but a file and a verifier key.
 *
 * What a signature is worth: the key is the archive site's own. A signed checkpoint says that this site vouched for exactly
 * this history; two checkpoints that are not consistent convict it. It does not say that no other history was shown to
 * somebody else: that is what the cosignatures of other sites say (repository/witness.h), and checkpoints that are kept
 * outside of all sites and compared (tree_consistency). */
#ifndef REPOSITORY_PROOF_H
#define REPOSITORY_PROOF_H

#include "repository/core/evidence.h"
#include "repository/core/tlog_text.h"
#include "repository/repository.h"

/* ---- writing, at gsr; the archive thread ---- */

/* Begin to keep the tree of an archive that is open for writing. The key file is an Ed25519 key (PEM); when it is missing and
 * the archive has never been signed it is made. vkey tells the verifier key, *made whether the key is new. ERR_NOT_FOUND
 * when the key is gone, ERR_DENIED, ERR_FORMAT; ERR_GAP when the archive does not begin with lsn 1 (it has no tree). */
int repository_tree_open(struct repository *r, const char *key_file, char vkey[TLOG_VKEY_BYTES],
                         bool *made, struct err *e);
/* Take up to `most` more entries from the packs into the tree and sign it as it then is: tiles first, the checkpoint when they
 * are durable. Nothing to do: 0. ERR_INTEGRITY when packs and tree contradict each other; nothing is signed then. After an
 * error the next call begins again from what is on disk; ERR_IO after a failed sync: open the archive anew. */
int repository_tree_extend(struct repository *r, uint64_t most, struct err *e);
/* The same in its two halves, so that others cosign between them what then becomes public: the checkpoint is signed, but not
 * published; and it is published, with what was added since. The second may be called at any time. */
int repository_tree_grow(struct repository *r, uint64_t most, struct err *e);
int repository_tree_publish(struct repository *r, struct err *e);
/* Empty, or: the checkpoint was missing when the tree was read, though it had been signed before, and the tree is made
 * again; with what says so, and what to do. As long as the archive is open. */
const char *repository_tree_lost(const struct repository *r);
/* The signed checkpoint as it is or will be published; empty: none yet. Valid until the next call for the tree. */
struct bytes repository_tree_draft(const struct repository *r);
/* Add the cosignature of a site (a line of a note, by the key `vkey`) to it, and its key to those that are published. Once is
 * enough: a further one of the same key changes nothing. ERR_FORMAT, ERR_INTEGRITY: it is not the site's, or does not hold.
 * *time_s: when it was made. */
int repository_tree_cosigned(struct repository *r, const char *site, struct bytes vkey,
                             struct bytes line, uint64_t *time_s, struct err *e);

/* ---- the tree, without the key-encryption key ---- */

struct repository_tree; /* opaque: the directory of an archive, for its tree alone */
/* Reads the checkpoint, which must be signed by one of the keys that lie beside it. ERR_NOT_FOUND when there is no tree. */
int repository_tree_read(struct repository_tree **out, const char *dir, struct err *e);
void repository_tree_close(struct repository_tree *t);
const struct tlog_checkpoint *repository_tree_checkpoint(const struct repository_tree *t);
struct bytes repository_tree_note(const struct repository_tree *t);          /* the signed text */
const struct tlog_key *repository_tree_key(const struct repository_tree *t); /* that signed it */

/* Each cosigner whose key lies beside the checkpoint and who signed it, and when. Those keys are there for who wants to compare
 * them: they are no more to be trusted than the archive. */
int repository_tree_cosigners(struct repository_tree *t,
                              int (*each)(void *arg, const struct tlog_key *, uint64_t time_s),
                              void *arg, struct err *e);

/* Proof that the entry is leaf lsn - 1, with evidence for a record, as the text of a file: *out is allocated. The entry is
 * compared with the tree's. ERR_NOT_FOUND when the tree does not reach it, ERR_INTEGRITY. */
int repository_tree_prove(struct repository_tree *t, const struct entry_view *v,
                          struct bytes collection, struct bytes key, uint8_t **out, size_t *n,
                          struct err *e);
/* Proof that a tree of the newest checkpoint, or of `later` (NULL: the newest), begins with the one of `earlier`: both are
 * notes. The text of a file. Not checked here: tree_consistency does. */
int repository_tree_consistency(struct repository_tree *t, struct bytes earlier, struct bytes later,
                                uint8_t **out, size_t *n, struct err *e);

/* Headers of the entries from lsn on, as the tree of the archive in `dir` has them, 128 bytes each, as many as are asked for and
 * published: *n of them. ERR_NOT_FOUND when there is none. Any thread. */
int repository_tree_headers(const char *dir, struct lsn lsn, size_t most, uint8_t *out, size_t *n,
                            struct err *e);

/* ---- verifying, with nothing but a key ---- */

/* The note's checkpoint, after its signature by `key` held and its origin is the key's name. ERR_INTEGRITY, ERR_FORMAT. */
int tree_checkpoint(struct bytes note, const struct tlog_key *key, struct tlog_checkpoint *out,
                    struct err *e);
/* Did the cosigner sign the note, and when? ERR_NOT_FOUND: it did not; ERR_INTEGRITY: a signature of it does not hold. */
int tree_cosigned(struct bytes note, const struct tlog_key *cosigner, uint64_t *time_s,
                  struct err *e);
/* A proof of inclusion: signature, path, header, body, record. *extra is allocated and holds what *evidence points to. */
int tree_inclusion(struct bytes file, const struct tlog_key *key, struct tlog_checkpoint *c,
                   struct evidence *evidence, uint8_t **extra, struct err *e);
/* A proof of consistency, together with the earlier checkpoint. */
int tree_consistency(struct bytes file, struct bytes earlier, const struct tlog_key *key,
                     struct tlog_checkpoint *first, struct tlog_checkpoint *second, struct err *e);

#endif
