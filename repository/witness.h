/* A site as a witness of the archive's two logs (repository/core/witness.h has the judgement). Of the tree of entries it cosigns
 * the checkpoints that follow from its own log, and no others; of the operations log, whose leaves it does not have, those that
 * continue what it cosigned before, as a proof shows (C2SP tlog-witness). The first one of those it takes on trust.
 *
 * FILES in the site's data directory
 *   cosigner.key       Ed25519 key (PEM), made when the first checkpoint comes; its name is triveni/<cluster id>/<site>
 *   cosigner           two slots of WITNESS_RECORD_BYTES: the newest checkpoint that was cosigned, written in turn
 *   cosigner-operations  the same of the operations log; who removes it has the site begin anew, on trust
 *   cosigner-evidence/ a checkpoint that contradicts it, and the cosigned one, both signed by the log: <size>-<root>.shown and
 *                      .cosigned. They stay until somebody has looked at them and takes them away
 *
 * RULES. W1 nothing is signed before it is durable in the record. W2 what is smaller than the record, or has another root than
 * follows from the own log, or does not continue the record, is refused, kept as evidence, and told. W3 a tree that was begun
 * from headers of elsewhere counts only when the own log's next entry names the last of them: then the chain of hashes says
 * that it is the own log's past.
 *
 * One thread at a time. */
#ifndef REPOSITORY_WITNESS_H
#define REPOSITORY_WITNESS_H

#include "repository/core/tlog_text.h"
#include "store/core/ids.h"

struct witness; /* opaque */

/* ERR_IO, ERR_DENIED, ERR_FORMAT; ERR_INTEGRITY when the record is damaged, or the key is gone while there is a record: a
 * witness that has lost either cannot know what it signed. *made tells that the key is new. */
int witness_open(struct witness **out, const char *data_dir, const struct uuid *cluster,
                 const char *site, bool *made, struct err *e);
void witness_close(struct witness *w); /* NULL is taken */

const struct tlog_key *witness_key(const struct witness *w);
uint64_t witness_cosigned(const struct witness *w); /* size of the record; 0: nothing yet */
/* Leaves of the tree as it is computed now: the next header wanted is that of lsn size + 1. */
uint64_t witness_size(const struct witness *w);
/* Some of its leaves came from elsewhere, and no entry of the own log has confirmed them yet. */
bool witness_is_foreign(const struct witness *w);
/* Forget what was computed beyond the record. */
void witness_reset(struct witness *w);

/* The header of the next entry: `own`, from this site's log, or as the archive's site has it. ERR_INTEGRITY when it does not
 * follow: the chain is broken (nothing is taken), or the own log is another history than the record or the headers from
 * elsewhere. */
int witness_follow(struct witness *w, struct bytes header, bool own, struct err *e);

/* The header of the entry after the last one, from the own log: it names it, or ERR_INTEGRITY. */
int witness_confirm(struct witness *w, struct bytes header, struct err *e);

/* A checkpoint that is to be cosigned: its signature by `vkey`, its origin, its size. ERR_FORMAT, ERR_INTEGRITY; ERR_STALE: it
 * is smaller than the record; that is kept as evidence. */
int witness_look(struct witness *w, struct bytes note, struct bytes vkey, struct tlog_checkpoint *c,
                 struct err *e);
/* Cosign it. Requires witness_look() of the same note, witness_size() == c->size and that nothing is foreign. `line` (of
 * TLOG_SIGNATURE_LINE_BYTES) gets the signature. ERR_INTEGRITY: another tree, kept as evidence; ERR_IO: the record could not be
 * written, and nothing is signed until the witness is opened anew. */
int witness_cosign(struct witness *w, struct bytes note, const struct tlog_checkpoint *c,
                   uint64_t time_s, struct writer *line, struct err *e);

/* Size of the operations log's record; 0: nothing yet. */
uint64_t witness_operations(const struct witness *w);
/* A checkpoint of the operations log, with the proof that leads to it, as the body of tlog-witness' add-checkpoint; cosigned
 * when it holds. ERR_FORMAT, ERR_INTEGRITY; ERR_CONDITION: the proof begins elsewhere than at witness_operations(), make another;
 * ERR_STALE: the log shrank; ERR_INTEGRITY: it is another one; both kept as evidence. ERR_IO as above. */
int witness_cosign_operations(struct witness *w, struct bytes proof, struct bytes vkey,
                              uint64_t time_s, struct writer *line, struct err *e);

/* How many pieces of evidence lie in the data directory of a site, and the name of one. Any thread. */
unsigned witness_evidence(const char *data_dir, char name[96]);
/* Name of the key of a site: "triveni/<cluster id>/<site>". */
void witness_name(const struct uuid *cluster, const char *site, char out[TLOG_NAME_BYTES]);

#endif
