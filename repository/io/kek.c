/* From the text that names a source to a key-encryption key. */
#include "repository/io/kek.h"

#include "repository/io/program.h"
#include "repository/io/token.h"
#include "store/core/hash.h"
#include "store/core/hex.h"

static const char command_prefix[] = "command:", token_prefix[] = "pkcs11:";

static int of_command(const char *line, struct repo_kek *out, struct err *e)
{
    char text[2 * REPO_KEY_BYTES + 4];
    size_t n = 0;
    int rc = repo_program_run(line, REPO_PROGRAM_MS, text, sizeof text, &n, e);
    if (rc == 0)
        rc = repo_kek_of_text(text, n, out, e);
    return rc == 0 ? 0 : err_wrap(e, "key command '%s'", line);
}

static int of_token(const char *uri, struct repo_kek *out, struct err *e)
{
    static const struct repo_key zero;
    uint8_t wrapped[REPO_WRAPPED_BYTES];
    int rc = repo_token_open(uri, &out->token, e);
    if (rc == 0)
        rc = repo_token_wrap(out->token, &zero, wrapped, e);
    if (rc != 0) {
        repo_kek_close(out);
        return err_wrap(e, "key in token %s", uri);
    }
    struct sha256 id = hash_sha256_2(bytes_str("triveni kek"), bytes_of(wrapped, sizeof wrapped));
    memcpy(out->id, id.b, sizeof out->id);
    memcpy(out->token_id, id.b, sizeof out->token_id);
    return 0;
}

int repo_kek_open(const char *source, struct repo_kek *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    if (strncmp(source, command_prefix, sizeof command_prefix - 1) == 0)
        return of_command(source + sizeof command_prefix - 1, out, e);
    if (strncmp(source, token_prefix, sizeof token_prefix - 1) == 0)
        return of_token(source, out, e);
    return repo_kek_load(source, out, e);
}

void repo_kek_close(struct repo_kek *kek)
{
    repo_token_close(kek->token);
    repo_wipe(kek, sizeof *kek);
}

bool repo_kek_is(const struct repo_kek *kek, const uint8_t id[REPO_KEK_ID_BYTES])
{
    return memcmp(id, kek->id, sizeof kek->id) == 0 ||
           memcmp(id, kek->token_id, sizeof kek->token_id) == 0;
}

void repo_kek_hex(const uint8_t id[REPO_KEK_ID_BYTES], char out[REPO_KEK_HEX_BYTES])
{
    hex_format(id, REPO_KEK_ID_BYTES, out);
}
