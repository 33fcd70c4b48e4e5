/* FORMAT: 256 bytes (little-endian)
 *   0 magic "TVNI" u32, 4 format u16 (1), 6 links u16 (1 sites, 2 clients), 8 boot 16, 24 until_boot_us u64, 32 until u64,
 *   40 left_us u64, 48 operator, padded with zeros 128, 176 zero 76, 252 CRC32C of bytes 0..251 u32 */
#include "replication/core/isolation.h"

#include "store/core/hash.h"

#include <stdio.h>
#include <string.h>

enum { MAGIC = 0x494e5654, FORMAT = 1, AT_OPERATOR = 48, AT_ZERO = 176, AT_CRC = 252 };
_Static_assert(AT_OPERATOR + CLIENT_NAME_MAX_BYTES == AT_ZERO, "the name has its place");

static const struct {
    const char *name;
    unsigned links;
} names[] = {{"sites", ISOLATE_SITES},
             {"clients", ISOLATE_CLIENTS},
             {"both", ISOLATE_SITES | ISOLATE_CLIENTS}};

unsigned isolation_links(const char *text)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i].name) == 0)
            return names[i].links;
    return 0;
}

const char *isolation_links_name(unsigned links)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (links == names[i].links)
            return names[i].name;
    return "none";
}

static void end_in(struct isolation *i, uint64_t left_us, const struct isolation_now *now)
{
    i->boot = now->boot;
    i->left_us = left_us;
    i->until_boot_us = now->boot_us + left_us;
    i->until.us = now->wall.us + left_us;
}

void isolation_begin(struct isolation *i, unsigned links, uint64_t for_us, const char *by,
                     const struct isolation_now *now)
{
    *i = (struct isolation){.links = links};
    (void)snprintf(i->by, sizeof i->by, "%s", by);
    end_in(i, for_us, now);
}

uint64_t isolation_left_us(const struct isolation *i, uint64_t boot_us)
{
    if (i->links == 0 || boot_us >= i->until_boot_us)
        return 0;
    return i->until_boot_us - boot_us;
}

void isolation_renew(struct isolation *i, const struct isolation_now *now)
{
    uint64_t left = 0;
    if (!uuid_is_zero(&now->boot) && uuid_equal(&i->boot, &now->boot))
        left = isolation_left_us(i, now->boot_us);
    else if (i->until.us > now->wall.us)
        left = i->until.us - now->wall.us;
    if (left > i->left_us)
        left = i->left_us;
    if (left == 0)
        i->links = 0;
    end_in(i, left, now);
}

void isolation_encode(const struct isolation *i, uint8_t out[ISOLATION_BYTES])
{
    memset(out, 0, ISOLATION_BYTES);
    put_le32(out, MAGIC);
    put_le16(out + 4, FORMAT);
    put_le16(out + 6, (uint16_t)i->links);
    memcpy(out + 8, i->boot.b, sizeof i->boot.b);
    put_le64(out + 24, i->until_boot_us);
    put_le64(out + 32, i->until.us);
    put_le64(out + 40, i->left_us);
    memcpy(out + AT_OPERATOR, i->by, strnlen(i->by, CLIENT_NAME_MAX_BYTES));
    put_le32(out + AT_CRC, hash_crc32c(0, bytes_of(out, AT_CRC)));
}

int isolation_decode(struct bytes in, struct isolation *i, struct err *e)
{
    static const uint8_t zero[AT_CRC - AT_ZERO] = {0};
    if (in.n != ISOLATION_BYTES)
        return err_set(e, ERR_FORMAT, "%zu bytes where %d are expected", in.n, ISOLATION_BYTES);
    if (get_le32(in.p) != MAGIC ||
        get_le32(in.p + AT_CRC) != hash_crc32c(0, bytes_of(in.p, AT_CRC)))
        return err_set(e, ERR_FORMAT, "magic or checksum do not fit");
    if (get_le16(in.p + 4) > FORMAT)
        return err_newer(e, "the record of an isolation", get_le16(in.p + 4), FORMAT);
    struct isolation found = {.links = get_le16(in.p + 6),
                              .until_boot_us = get_le64(in.p + 24),
                              .until = {get_le64(in.p + 32)},
                              .left_us = get_le64(in.p + 40)};
    if (get_le16(in.p + 4) != FORMAT || strcmp(isolation_links_name(found.links), "none") == 0 ||
        found.left_us > UINT64_C(1000) * ISOLATION_MAX_MS ||
        memcmp(in.p + AT_ZERO, zero, sizeof zero) != 0)
        return err_set(e, ERR_FORMAT, "format, links or duration are none that are written");
    memcpy(found.boot.b, in.p + 8, sizeof found.boot.b);
    memcpy(found.by, in.p + AT_OPERATOR, CLIENT_NAME_MAX_BYTES);
    *i = found;
    return 0;
}
