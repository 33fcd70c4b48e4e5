#include "store/io/salts.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

int salts_next(struct salts *s, uint8_t out[ENTRY_SALT_BYTES], struct err *e)
{
    if (s->left == 0) {
        if (RAND_bytes(&s->drawn[0][0], sizeof s->drawn) != 1)
            return err_set(e, ERR_FAILED,
                           "the random number generator failed; nothing can be written");
        s->left = SALTS_DRAWN;
    }
    uint8_t *next = s->drawn[--s->left];
    memcpy(out, next, ENTRY_SALT_BYTES);
    OPENSSL_cleanse(next, ENTRY_SALT_BYTES);
    return 0;
}

void salts_wipe(struct salts *s)
{
    OPENSSL_cleanse(s, sizeof *s);
}
