/* The texts of a transparency log, as the C2SP specifications have them: signed-note, tlog-checkpoint, tlog-cosignature,
 * tlog-proof, and the body of tlog-witness' add-checkpoint for proofs of consistency.
 *
 *   verifier key   <name>+<key id, 8 hex digits>+<base64 of the type and the Ed25519 key>
 *   signed note    text, empty line, then one or more "<em dash> <name> <base64 of key id and signature>"
 *   cosignature    such a line of a witness: before the signature a time, and what is signed is "cosignature/v1", a line feed,
 *                  "time <seconds since 1970>", a line feed, and the text
 *   checkpoint     a note with the text: origin, size of the tree, base64 of its root, a line each
 *   proof          "c2sp.org/tlog-proof@v1", may be "extra <base64>", "index <n>", base64 hashes, empty line, checkpoint
 *   consistency    "old <size>", base64 hashes, empty line, checkpoint
 *
 * Readers are strict (no second way to write the same thing is taken) and give views into their input. Other keys'
 * signatures are passed over, so a note may carry cosignatures. Signing and verifying: repository/io/sign.h. */
#ifndef REPOSITORY_CORE_TLOG_TEXT_H
#define REPOSITORY_CORE_TLOG_TEXT_H

#include "repository/core/tlog.h"

enum tlog_key_type {
    TLOG_KEY_LOG = 1,      /* signs the text: whose log it is */
    TLOG_KEY_COSIGNER = 4, /* signs the text and a time: a witness */
};

enum {
    TLOG_NAME_BYTES = 128, /* key names and origins, with the NUL */
    TLOG_PUBLIC_KEY_BYTES = 32,
    TLOG_SIGNATURE_BYTES = 64,
    TLOG_VKEY_BYTES = TLOG_NAME_BYTES + 64,
    TLOG_CHECKPOINT_MAX_BYTES = 64 << 10, /* room for a dozen post-quantum signatures */
    TLOG_CHECKPOINT_BYTES =
        2 * TLOG_NAME_BYTES + 192, /* of one with one signature; more than is ever needed */
    TLOG_SIGNATURES_MAX = 64,
    TLOG_SIGNATURE_LINE_BYTES = TLOG_NAME_BYTES + 112,
    TLOG_COSIGNED_EXTRA_BYTES =
        48, /* tlog_cosigned_text writes at most so much more than the text */
};

/* ---- keys and notes ---- */

struct tlog_key { /* Ed25519 */
    char name[TLOG_NAME_BYTES];
    uint32_t id;
    enum tlog_key_type type;
    uint8_t public_key[TLOG_PUBLIC_KEY_BYTES];
};
/* Requires a name of up to 127 bytes without blanks, '+' and control characters. */
void tlog_key_make(const char *name, enum tlog_key_type type,
                   const uint8_t public_key[TLOG_PUBLIC_KEY_BYTES], struct tlog_key *out);
void tlog_key_format(const struct tlog_key *k, char out[TLOG_VKEY_BYTES]);
/* ERR_FORMAT with what is wrong; also when the key id is not the one of the key. A line feed at the end is taken. */
int tlog_key_parse(struct bytes text, struct tlog_key *out, struct err *e);

struct tlog_note {
    struct bytes text;       /* what is signed, with its last line feed */
    struct bytes signatures; /* well-formed lines */
};
int tlog_note_parse(struct bytes in, struct tlog_note *out, struct err *e);
struct tlog_signature {
    uint64_t time_s; /* of a cosigner's, up to 2^63 - 1; 0 for the log's */
    uint8_t bytes[TLOG_SIGNATURE_BYTES];
};
/* The nth (from 0) signature with the key's name and id. ERR_NOT_FOUND when there are not so many, ERR_FORMAT when it has not
 * the size of one, or its time is none. */
int tlog_note_signature(const struct tlog_note *n, const struct tlog_key *key, unsigned nth,
                        struct tlog_signature *out, struct err *e);
/* Empty line, and one signature. */
void tlog_note_sign(struct writer *w, const struct tlog_key *key,
                    const struct tlog_signature *signature);
/* The line of a signature alone: what is added to a note that has one. */
void tlog_signature_line(struct writer *w, const struct tlog_key *key,
                         const struct tlog_signature *signature);
/* What a cosigner signs. Requires time_s <= TLOG_SIZE_MAX. */
void tlog_cosigned_text(struct writer *w, uint64_t time_s, struct bytes text);

/* ---- checkpoints ---- */

struct tlog_checkpoint {
    char origin[TLOG_NAME_BYTES];
    uint64_t size; /* up to TLOG_SIZE_MAX */
    struct sha256 root;
};
void tlog_checkpoint_write(struct writer *w, const struct tlog_checkpoint *c); /* the text */
/* A whole note whose text is a checkpoint. Extension lines are passed over. Signatures are not looked at. */
int tlog_checkpoint_parse(struct bytes in, struct tlog_checkpoint *out, struct tlog_note *note,
                          struct err *e);

/* ---- files with proofs ---- */

struct tlog_proof_text {
    bool consistency;   /* otherwise of inclusion */
    uint64_t number;    /* index of the leaf, or old size */
    struct bytes extra; /* base64; empty: none */
    struct tlog_proof proof;
    struct bytes checkpoint; /* the note, verbatim */
};
/* Either kind; the first line tells. */
int tlog_proof_parse(struct bytes in, struct tlog_proof_text *out, struct err *e);
/* `extra` is given as bytes here, p->extra is not looked at. */
void tlog_proof_write(struct writer *w, const struct tlog_proof_text *p, struct bytes extra);
/* No less than tlog_proof_write needs. */
size_t tlog_proof_bytes(const struct tlog_proof_text *p, size_t extra_bytes);

#endif
