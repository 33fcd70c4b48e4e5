#include "repository/core/witness.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum { OFF_HASHES = 72, CRC_BYTES = 4 };
_Static_assert(OFF_HASHES + WITNESS_LEVELS * TLOG_HASH_BYTES + WITNESS_NOTE_MAX_BYTES + CRC_BYTES <=
                   WITNESS_RECORD_BYTES,
               "the largest record fits");

void witness_add(struct witness_range *r, struct bytes header, const struct sha256 *header_hash)
{
    struct sha256 hash = tlog_leaf_hash(header);
    unsigned level = 0;
    check(r->size < TLOG_SIZE_MAX);
    for (; (r->size >> level & 1) != 0; level++)
        hash = tlog_node_hash(&r->node[level], &hash);
    r->node[level] = hash;
    r->last = *header_hash;
    r->size++;
}

struct sha256 witness_root(const struct witness_range *r)
{
    struct sha256 root = hash_sha256(bytes_of(NULL, 0));
    bool first = true;
    for (unsigned level = 0; level < WITNESS_LEVELS; level++) {
        if ((r->size >> level & 1) == 0)
            continue;
        root = first ? r->node[level] : tlog_node_hash(&r->node[level], &root);
        first = false;
    }
    return root;
}

void witness_record_write(const struct witness_record *r, uint64_t sequence,
                          uint8_t out[WITNESS_RECORD_BYTES])
{
    struct writer w = writer_of(out, WITNESS_RECORD_BYTES);
    check(r->note_bytes <= WITNESS_NOTE_MAX_BYTES && r->range.size <= TLOG_SIZE_MAX);
    memset(out, 0, WITNESS_RECORD_BYTES);
    write_u32(&w, WITNESS_MAGIC);
    write_u16(&w, WITNESS_FORMAT);
    write_u16(&w, r->note_bytes);
    write_u64(&w, sequence);
    write_uuid(&w, &r->cluster_id);
    write_u64(&w, r->range.size);
    write_sha256(&w, &r->range.last);
    for (unsigned level = WITNESS_LEVELS; level-- > 0;)
        if ((r->range.size >> level & 1) != 0)
            write_sha256(&w, &r->range.node[level]);
    write_bytes(&w, bytes_of(r->note, r->note_bytes));
    write_u32(&w, hash_crc32c(0, bytes_of(out, w.at)));
    check(!w.bad);
}

int witness_record_read(const uint8_t in[WITNESS_RECORD_BYTES], struct witness_record *out,
                        uint64_t *sequence, struct err *e)
{
    struct reader r = reader_of(bytes_of(in, WITNESS_RECORD_BYTES));
    memset(out, 0, sizeof *out);
    uint32_t magic = read_u32(&r);
    uint16_t format = read_u16(&r);
    out->note_bytes = read_u16(&r);
    *sequence = read_u64(&r);
    out->cluster_id = read_uuid(&r);
    out->range.size = read_u64(&r);
    out->range.last = read_sha256(&r);
    if (magic != WITNESS_MAGIC)
        return err_set(e, ERR_FORMAT, "no record of a cosigner");
    if (format > WITNESS_FORMAT)
        return err_newer(e, "the record of the cosigner", format, WITNESS_FORMAT);
    if (out->note_bytes > WITNESS_NOTE_MAX_BYTES || out->range.size > TLOG_SIZE_MAX)
        return err_set(e, ERR_FORMAT, "the record of the cosigner is damaged");
    for (unsigned level = WITNESS_LEVELS; level-- > 0;)
        if ((out->range.size >> level & 1) != 0)
            out->range.node[level] = read_sha256(&r);
    struct bytes note = read_bytes(&r, out->note_bytes);
    const size_t n = r.at;
    if (r.bad || read_u32(&r) != hash_crc32c(0, bytes_of(in, n)) || r.bad)
        return err_set(e, ERR_FORMAT,
                       "the record of the cosigner is damaged: its checksum differs");
    memcpy(out->note, note.p, note.n);
    return 0;
}

enum witness_verdict witness_judge(uint64_t cosigned, const struct witness_range *own,
                                   const struct tlog_checkpoint *c)
{
    if (c->size < cosigned)
        return WITNESS_ROLLBACK;
    check(own->size == c->size);
    struct sha256 root = witness_root(own);
    return sha256_equal(&root, &c->root) ? WITNESS_SIGN : WITNESS_SPLIT;
}

enum witness_verdict witness_judge_proof(const struct tlog_checkpoint *before,
                                         const struct tlog_checkpoint *c, uint64_t from,
                                         const struct tlog_proof *proof)
{
    const struct sha256 root = before == NULL ? hash_sha256(bytes_of(NULL, 0)) : before->root;
    const uint64_t cosigned = before == NULL ? 0 : before->size;
    if (c->size < cosigned)
        return WITNESS_ROLLBACK;
    if (c->size == cosigned) /* no proof is needed, wherever one begins */
        return sha256_equal(&root, &c->root) ? WITNESS_SIGN : WITNESS_SPLIT;
    if (from != cosigned)
        return WITNESS_ELSEWHERE;
    return tlog_check_consistency(cosigned, &root, c->size, &c->root, proof, NULL) == 0
               ? WITNESS_SIGN
               : WITNESS_SPLIT;
}
