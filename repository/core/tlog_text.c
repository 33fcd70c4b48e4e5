/* Reading and writing the texts of a transparency log.
 *
 * INVARIANTS
 *   I1  What a reader takes, the writer gives back byte for byte (base64 with stray bits, numbers with leading zeros and the
 *       like are refused): two texts that differ never mean the same, so a changed byte never goes unnoticed.
 *   I2  A note is valid UTF-8 without control characters but line feeds; its signatures begin after its last empty line. */
#include "repository/core/tlog_text.h"

#include "store/core/check.h"
#include "store/core/hash.h"
#include "store/core/hex.h"
#include "store/core/text.h"

#include <stdio.h>

static const char proof_line[] = "c2sp.org/tlog-proof@v1";
static const char em_dash[] = "\xe2\x80\x94 ";
enum {
    DASH_BYTES = sizeof em_dash - 1,
    KEY_ID_BYTES = 4,
    TIME_BYTES = 8,                            /* before a cosigner's signature, big-endian */
    HASH_TEXT = (TLOG_HASH_BYTES + 2) / 3 * 4, /* base64 of a hash */
};

/* ---- base64 ---- */

static void write_base64(struct writer *w, struct bytes b)
{
    uint8_t *out = write_reserve(w, BASE64_BYTES(b.n));
    if (out == NULL)
        return;
    (void)base64_encode(b, (char *)out);
    w->at--; /* the NUL, which what follows replaces */
}

static int hash_read(struct bytes text, struct sha256 *out)
{
    uint8_t raw[HASH_TEXT / 4 * 3];
    if (text.n != HASH_TEXT || base64_decode(text, raw) != TLOG_HASH_BYTES)
        return ERR_FORMAT;
    memcpy(out->b, raw, TLOG_HASH_BYTES);
    return 0;
}

/* ---- lines and numbers ---- */

static void write_text(struct writer *w, const char *text)
{
    write_bytes(w, bytes_str(text));
}

static void write_number(struct writer *w, uint64_t v)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    write_text(w, text);
}

/* The next line without its line feed; false when none is left that ends in one. */
static bool next_line(struct bytes *in, struct bytes *line)
{
    const uint8_t *end = in->n == 0 ? NULL : memchr(in->p, '\n', in->n);
    if (end == NULL)
        return false;
    *line = bytes_of(in->p, (size_t)(end - in->p));
    *in = bytes_of(end + 1, in->n - line->n - 1);
    return true;
}

static int number_read(struct bytes text, uint64_t *out)
{
    uint64_t v = 0;
    if (text.n == 0 || text.n > 19 || (text.p[0] == '0' && text.n > 1))
        return ERR_FORMAT;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return ERR_FORMAT;
        v = v * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = v;
    return v <= TLOG_SIZE_MAX ? 0 : ERR_FORMAT;
}

/* "<word> <rest>": is the line of this kind? */
static bool line_of(struct bytes line, const char *word, struct bytes *rest)
{
    size_t n = strlen(word);
    if (line.n < n + 1 || memcmp(line.p, word, n) != 0 || line.p[n] != ' ')
        return false;
    *rest = bytes_of(line.p + n + 1, line.n - n - 1);
    return true;
}

static bool is_note_text(struct bytes b)
{
    for (size_t i = 0; i < b.n;) {
        size_t n = utf8_length(bytes_of(b.p + i, b.n - i));
        if (n == 0 || (b.p[i] < 0x20 && b.p[i] != '\n'))
            return false;
        i += n;
    }
    return true;
}

/* Names of keys: without '+' and blanks. Of Unicode's blanks those that a name could hold by accident are in ASCII; the
 * others would only make a name that nobody can type. */
static bool is_name(struct bytes b)
{
    if (b.n == 0 || b.n >= TLOG_NAME_BYTES || !is_note_text(b))
        return false;
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] <= ' ' || b.p[i] == '+' || b.p[i] == 0x7f)
            return false;
    return true;
}

/* ---- keys ---- */

static uint32_t key_id(struct bytes name, enum tlog_key_type type,
                       const uint8_t public_key[TLOG_PUBLIC_KEY_BYTES])
{
    uint8_t tail[2 + TLOG_PUBLIC_KEY_BYTES] = {'\n', (uint8_t)type};
    memcpy(tail + 2, public_key, TLOG_PUBLIC_KEY_BYTES);
    struct sha256 h = hash_sha256_2(name, bytes_of(tail, sizeof tail));
    return get_be32(h.b);
}

void tlog_key_make(const char *name, enum tlog_key_type type,
                   const uint8_t public_key[TLOG_PUBLIC_KEY_BYTES], struct tlog_key *out)
{
    check(is_name(bytes_str(name)));
    *out = (struct tlog_key){.id = key_id(bytes_str(name), type, public_key), .type = type};
    memcpy(out->name, name, strlen(name));
    memcpy(out->public_key, public_key, TLOG_PUBLIC_KEY_BYTES);
}

void tlog_key_format(const struct tlog_key *k, char out[TLOG_VKEY_BYTES])
{
    uint8_t typed[1 + TLOG_PUBLIC_KEY_BYTES] = {(uint8_t)k->type};
    struct writer w = writer_of(out, TLOG_VKEY_BYTES - 1);
    char id[12];
    memcpy(typed + 1, k->public_key, TLOG_PUBLIC_KEY_BYTES);
    (void)snprintf(id, sizeof id, "+%08x+", k->id);
    write_text(&w, k->name);
    write_text(&w, id);
    write_base64(&w, bytes_of(typed, sizeof typed));
    check(!w.bad);
    out[w.at] = '\0';
}

int tlog_key_parse(struct bytes text, struct tlog_key *out, struct err *e)
{
    enum { ID_DIGITS = 2 * KEY_ID_BYTES, KEY_TEXT = (1 + TLOG_PUBLIC_KEY_BYTES) / 3 * 4 };
    uint8_t typed[1 + TLOG_PUBLIC_KEY_BYTES], id[KEY_ID_BYTES];
    char hex[ID_DIGITS + 1];
    if (text.n != 0 && text.p[text.n - 1] == '\n')
        text.n--;
    if (text.n < 1 + ID_DIGITS + 2 + KEY_TEXT)
        return err_set(e, ERR_FORMAT, "too short for a verifier key <name>+<id>+<base64>");
    struct bytes name = bytes_of(text.p, text.n - KEY_TEXT - ID_DIGITS - 2);
    const uint8_t *at = text.p + name.n;
    if (!is_name(name) || at[0] != '+' || at[1 + ID_DIGITS] != '+')
        return err_set(e, ERR_FORMAT, "not a verifier key <name>+<8 hex digits>+<base64>");
    memcpy(hex, at + 1, ID_DIGITS);
    hex[ID_DIGITS] = '\0';
    if (hex_parse(hex, id, sizeof id) != 0 ||
        base64_decode(bytes_of(at + 2 + ID_DIGITS, KEY_TEXT), typed) != (long)sizeof typed)
        return err_set(e, ERR_FORMAT, "not a verifier key <name>+<8 hex digits>+<base64>");
    if (typed[0] != TLOG_KEY_LOG && typed[0] != TLOG_KEY_COSIGNER)
        return err_set(e, ERR_FORMAT,
                       "a verifier key of type %u; 1 (Ed25519) and 4 (Ed25519, cosigner) are known",
                       typed[0]);
    enum tlog_key_type type = (enum tlog_key_type)typed[0];
    if (get_be32(id) != key_id(name, type, typed + 1))
        return err_set(e, ERR_FORMAT,
                       "the id of the verifier key is not that of its key: it was "
                       "changed or mistyped");
    *out = (struct tlog_key){.id = get_be32(id), .type = type};
    memcpy(out->name, name.p, name.n);
    memcpy(out->public_key, typed + 1, TLOG_PUBLIC_KEY_BYTES);
    return 0;
}

/* ---- notes ---- */

/* One line of a signature, taken apart; *blob is base64. */
static bool signature_parts(struct bytes line, struct bytes *name, struct bytes *blob)
{
    if (line.n < DASH_BYTES || memcmp(line.p, em_dash, DASH_BYTES) != 0)
        return false;
    struct bytes rest = bytes_of(line.p + DASH_BYTES, line.n - DASH_BYTES);
    const uint8_t *blank = rest.n == 0 ? NULL : memchr(rest.p, ' ', rest.n);
    if (blank == NULL)
        return false;
    *name = bytes_of(rest.p, (size_t)(blank - rest.p));
    *blob = bytes_of(blank + 1, rest.n - name->n - 1);
    return is_name(*name);
}

/* Is it base64 of a key id and at least a byte of signature? Decoded in pieces: signatures have any size. */
static bool is_signature(struct bytes blob)
{
    enum { PIECE = 64 };
    uint8_t piece[PIECE / 4 * 3];
    long all = 0;
    for (size_t at = 0; at < blob.n; at += PIECE) {
        struct bytes part = bytes_of(blob.p + at, blob.n - at < PIECE ? blob.n - at : PIECE);
        long n = base64_decode(part, piece);
        /* Padding only ends the last piece. */
        if (n < 0 || (n < (long)sizeof piece && at + PIECE < blob.n))
            return false;
        all += n;
    }
    return all > KEY_ID_BYTES;
}

int tlog_note_parse(struct bytes in, struct tlog_note *out, struct err *e)
{
    struct bytes line, name, blob;
    unsigned count = 0;
    if (in.n > TLOG_CHECKPOINT_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "a signed note of %zu bytes, at most %d are taken", in.n,
                       TLOG_CHECKPOINT_MAX_BYTES);
    if (!is_note_text(in))
        return err_set(e, ERR_FORMAT, "a signed note is UTF-8 without control characters");
    size_t end = in.n; /* of the text: its last line feed is at end - 1, the empty line's at end */
    while (end >= 2 && !(in.p[end - 1] == '\n' && in.p[end - 2] == '\n'))
        end--;
    if (end < 2)
        return err_set(e, ERR_FORMAT, "a signed note has an empty line before its signatures");
    out->text = bytes_of(in.p, end - 1);
    out->signatures = bytes_of(in.p + end, in.n - end);
    for (struct bytes rest = out->signatures; rest.n != 0; count++)
        if (!next_line(&rest, &line) || !signature_parts(line, &name, &blob) ||
            !is_signature(blob) || count >= TLOG_SIGNATURES_MAX)
            return err_set(e, ERR_FORMAT, "line %u of the note's signatures is none", count + 1);
    return count != 0 ? 0 : err_set(e, ERR_FORMAT, "the note has no signature");
}

/* Bytes of a key's signatures, key id included. */
static size_t signature_bytes(const struct tlog_key *key)
{
    return KEY_ID_BYTES + (key->type == TLOG_KEY_COSIGNER ? TIME_BYTES : 0u) + TLOG_SIGNATURE_BYTES;
}

enum { SIGNATURE_MAX_BYTES = KEY_ID_BYTES + TIME_BYTES + TLOG_SIGNATURE_BYTES };

static int signature_read(struct bytes blob, const struct tlog_key *key, struct tlog_signature *out,
                          struct err *e)
{
    uint8_t raw[SIGNATURE_MAX_BYTES + 2];
    const size_t n = signature_bytes(key);
    out->time_s = 0;
    if (blob.n != (n + 2) / 3 * 4 || base64_decode(blob, raw) != (long)n)
        return err_set(e, ERR_FORMAT, "the signature of %s has not the size of one", key->name);
    if (key->type == TLOG_KEY_COSIGNER)
        out->time_s = get_be64(raw + KEY_ID_BYTES);
    if (out->time_s > TLOG_SIZE_MAX)
        return err_set(e, ERR_FORMAT, "the time of the cosignature of %s is none", key->name);
    memcpy(out->bytes, raw + n - TLOG_SIGNATURE_BYTES, TLOG_SIGNATURE_BYTES);
    return 0;
}

int tlog_note_signature(const struct tlog_note *n, const struct tlog_key *key, unsigned nth,
                        struct tlog_signature *out, struct err *e)
{
    enum { ID_TEXT = 8 };
    struct bytes line, name, blob;
    uint8_t raw[ID_TEXT / 4 * 3];
    for (struct bytes rest = n->signatures; next_line(&rest, &line);)
        if (signature_parts(line, &name, &blob) && bytes_equal(name, bytes_str(key->name)) &&
            blob.n >= ID_TEXT && base64_decode(bytes_of(blob.p, ID_TEXT), raw) >= KEY_ID_BYTES &&
            get_be32(raw) == key->id && nth-- == 0)
            return signature_read(blob, key, out, e);
    return err_set(e, ERR_NOT_FOUND, "no signature of %s with key id %08x", key->name, key->id);
}

void tlog_signature_line(struct writer *w, const struct tlog_key *key,
                         const struct tlog_signature *signature)
{
    uint8_t raw[SIGNATURE_MAX_BYTES];
    const size_t n = signature_bytes(key);
    put_be32(raw, key->id);
    put_be64(raw + KEY_ID_BYTES, signature->time_s); /* written over where there is none */
    memcpy(raw + n - TLOG_SIGNATURE_BYTES, signature->bytes, TLOG_SIGNATURE_BYTES);
    write_text(w, em_dash);
    write_text(w, key->name);
    write_text(w, " ");
    write_base64(w, bytes_of(raw, n));
    write_text(w, "\n");
}

void tlog_note_sign(struct writer *w, const struct tlog_key *key,
                    const struct tlog_signature *signature)
{
    write_text(w, "\n");
    tlog_signature_line(w, key, signature);
}

void tlog_cosigned_text(struct writer *w, uint64_t time_s, struct bytes text)
{
    write_text(w, "cosignature/v1\ntime ");
    write_number(w, time_s);
    write_text(w, "\n");
    write_bytes(w, text);
}

/* ---- checkpoints ---- */

static void write_hash_line(struct writer *w, const struct sha256 *h)
{
    write_base64(w, bytes_of(h->b, sizeof h->b));
    write_text(w, "\n");
}

void tlog_checkpoint_write(struct writer *w, const struct tlog_checkpoint *c)
{
    write_text(w, c->origin);
    write_text(w, "\n");
    write_number(w, c->size);
    write_text(w, "\n");
    write_hash_line(w, &c->root);
}

int tlog_checkpoint_parse(struct bytes in, struct tlog_checkpoint *out, struct tlog_note *note,
                          struct err *e)
{
    struct bytes origin, size, root, more;
    int rc = tlog_note_parse(in, note, e);
    if (rc != 0) {
        err_wrap(e, "checkpoint");
        return rc;
    }
    struct bytes rest = note->text;
    *out = (struct tlog_checkpoint){.size = 0};
    if (!next_line(&rest, &origin) || origin.n == 0 || origin.n >= sizeof out->origin)
        return err_set(e, ERR_FORMAT, "checkpoint: its first line is no origin");
    memcpy(out->origin, origin.p, origin.n);
    if (!next_line(&rest, &size) || number_read(size, &out->size) != 0)
        return err_set(e, ERR_FORMAT, "checkpoint: its second line is no size of a tree");
    if (!next_line(&rest, &root) || hash_read(root, &out->root) != 0)
        return err_set(e, ERR_FORMAT, "checkpoint: its third line is no root of a tree");
    while (next_line(&rest, &more))
        if (more.n == 0)
            return err_set(e, ERR_FORMAT, "checkpoint: an empty line in its text");
    return 0;
}

/* ---- files with proofs ---- */

int tlog_proof_parse(struct bytes in, struct tlog_proof_text *out, struct err *e)
{
    struct bytes rest = in, line, number;
    *out = (struct tlog_proof_text){.consistency = false};
    if (!next_line(&rest, &line))
        return err_set(e, ERR_FORMAT, "neither a proof of inclusion nor one of consistency");
    out->consistency = line_of(line, "old", &number);
    if (!out->consistency) {
        if (!bytes_equal(line, bytes_str(proof_line)))
            return err_set(e, ERR_FORMAT, "begins neither with '%s' nor with 'old <size>'",
                           proof_line);
        bool more = next_line(&rest, &line);
        if (more && line_of(line, "extra", &out->extra))
            more = out->extra.n != 0 && next_line(&rest, &line);
        if (!more || !line_of(line, "index", &number))
            return err_set(e, ERR_FORMAT, "the line 'index <number>' of the proof is missing");
    }
    if (number_read(number, &out->number) != 0)
        return err_set(e, ERR_FORMAT, "the proof's index or old size is no number");
    for (;; out->proof.n++) {
        if (!next_line(&rest, &line))
            return err_set(e, ERR_FORMAT, "the proof ends before its checkpoint");
        if (line.n == 0)
            break;
        if (out->proof.n >= TLOG_PROOF_MAX || hash_read(line, &out->proof.hash[out->proof.n]) != 0)
            return err_set(e, ERR_FORMAT, "hash %zu of the proof is none", out->proof.n + 1);
    }
    out->checkpoint = rest;
    return 0;
}

void tlog_proof_write(struct writer *w, const struct tlog_proof_text *p, struct bytes extra)
{
    if (!p->consistency) {
        write_text(w, proof_line);
        write_text(w, "\n");
    }
    if (!p->consistency && extra.n != 0) {
        write_text(w, "extra ");
        write_base64(w, extra);
        write_text(w, "\n");
    }
    write_text(w, p->consistency ? "old " : "index ");
    write_number(w, p->number);
    write_text(w, "\n");
    for (size_t i = 0; i < p->proof.n; i++)
        write_hash_line(w, &p->proof.hash[i]);
    write_text(w, "\n");
    write_bytes(w, p->checkpoint);
}

size_t tlog_proof_bytes(const struct tlog_proof_text *p, size_t extra_bytes)
{
    return 128 + BASE64_BYTES(extra_bytes) + p->proof.n * (HASH_TEXT + 1) + p->checkpoint.n;
}
