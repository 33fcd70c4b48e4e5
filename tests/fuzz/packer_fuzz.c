/* Compressed bodies: whatever comes is refused or decompresses to exactly what it claims, within the limit; and what we
 * compress comes back. The first byte chooses: raw bytes, or a round trip with the level and the cut into pieces that it says. */
#include "replication/io/packer.h"

#include "store/core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 16 };

static void round_trip(struct packer *p, unsigned how, struct bytes plain)
{
    size_t cut = plain.n * (how % 8) / 8;
    struct bytes pieces[2] = {bytes_of(plain.p, cut), bytes_of(plain.p + cut, plain.n - cut)};
    struct bytes packed, back;
    check(packer_pack(p, 1 + (int)(how / 8 % 4), pieces, 2, &packed, NULL) == 0);
    check(packed.n < plain.n);
    if (packed.n == 0)
        return;
    check(packer_unpack(p, packed, (uint32_t)plain.n, &back, NULL) == 0 &&
          bytes_equal(back, plain));
    check(packer_unpack(p, packed, (uint32_t)plain.n - 1, &back, NULL) == ERR_LIMIT);
    check(packer_unpack(p, bytes_of(packed.p, packed.n - 1), LIMIT, &back, NULL) == ERR_FORMAT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct packer p;
    if (size == 0)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1), out;
    if ((data[0] & 1) != 0) {
        int rc = packer_unpack(&p, in, LIMIT, &out, NULL);
        check(rc == ERR_LIMIT || rc == ERR_FORMAT ||
              (rc == 0 && out.n <= LIMIT && out.n == get_le32(in.p)));
    } else if (in.n >= PACKER_MIN_BYTES && in.n <= LIMIT) {
        round_trip(&p, data[0] >> 1, in);
    }
    return 0;
}
