/* The texts and bytes of proofs, which strangers bring: keys, notes, checkpoints, proof files, evidence. What is taken must
 * come out again as it was. The first byte chooses. */
#include "repository/core/evidence.h"
#include "repository/core/tlog_text.h"
#include "store/core/check.h"
#include "store/core/text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void key(struct bytes in)
{
    struct tlog_key k;
    char text[TLOG_VKEY_BYTES];
    if (tlog_key_parse(in, &k, NULL) != 0)
        return;
    tlog_key_format(&k, text);
    if (in.p[in.n - 1] == '\n')
        in.n--;
    check(bytes_equal(bytes_str(text), in));
}

static void checkpoint(struct bytes in)
{
    static const struct tlog_key known = {.name = "x", .id = 0, .type = TLOG_KEY_LOG},
                                 cosigner = {.name = "x", .id = 0, .type = TLOG_KEY_COSIGNER};
    struct tlog_checkpoint c;
    struct tlog_note n;
    struct tlog_signature signature;
    char text[TLOG_CHECKPOINT_BYTES];
    if (tlog_checkpoint_parse(in, &c, &n, NULL) != 0)
        return;
    for (unsigned i = 0; tlog_note_signature(&n, &known, i, &signature, NULL) == 0; i++)
        check(i < TLOG_SIGNATURES_MAX && signature.time_s == 0);
    for (unsigned i = 0; tlog_note_signature(&n, &cosigner, i, &signature, NULL) == 0; i++)
        check(i < TLOG_SIGNATURES_MAX && signature.time_s <= TLOG_SIZE_MAX);
    struct writer w = writer_of(text, sizeof text);
    tlog_checkpoint_write(&w, &c);
    check(!w.bad && w.at <= n.text.n && memcmp(text, n.text.p, w.at) == 0);
}

static void proof(struct bytes in)
{
    struct tlog_proof_text p;
    struct sha256 root = {{1}};
    if (tlog_proof_parse(in, &p, NULL) != 0)
        return;
    uint64_t size = p.checkpoint.n;
    if (p.consistency)
        (void)tlog_check_consistency(p.number, &root, size, &root, &p.proof, NULL);
    else
        (void)tlog_check_inclusion(&root, p.number, size, &p.proof, &root, NULL);
    uint8_t *extra = malloc(p.extra.n + 1), *again = malloc(in.n + 1024);
    check(extra != NULL && again != NULL);
    long n = base64_decode(p.extra, extra);
    if (n >= 0) {
        struct writer w = writer_of(again, in.n + 1024);
        tlog_proof_write(&w, &p, bytes_of(extra, (size_t)n));
        check(!w.bad && bytes_equal(bytes_of(again, w.at), in));
        check(w.at <= tlog_proof_bytes(&p, (size_t)n));
    }
    free(extra);
    free(again);
}

static void evidence(struct bytes in)
{
    struct evidence v;
    if (evidence_read(in, &v, NULL) != 0)
        return;
    uint8_t *again = malloc(in.n);
    check(again != NULL && evidence_bytes(v.collection, v.key, &v.entry) == in.n);
    struct writer w = writer_of(again, in.n);
    evidence_write(&w, v.collection, v.key, &v.entry);
    check(!w.bad && bytes_equal(bytes_of(again, w.at), in));
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parts[])(struct bytes) = {key, checkpoint, proof, evidence};
    if (size == 0)
        return 0;
    parts[data[0] % 4](bytes_of(data + 1, size - 1));
    return 0;
}
