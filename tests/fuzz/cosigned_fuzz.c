/* A text that operators have signed (CMS), as a site gets it in a file. The input is a whole file, or changes to one that
 * two operators have signed: whatever is changed, it is refused, or it says what they signed and names nobody else. */
#include "replication/io/cosign.h"

#include "store/core/check.h"
#include "tools/pki.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] = "triveni warrant 1\nact test\n\nsite dr\n";
static const char *const names[] = {"asha", "meena"};
static SSL_CTX *trust;
static uint8_t *signed_der;
static size_t signed_bytes;

static SSL_CTX *issued(const char *dir, const char *name)
{
    char ca[64], cert[64], key[64];
    SSL_CTX *ctx = NULL;
    const struct pki_request r = {.kind = WIRE_OPERATOR, .name = name};
    (void)snprintf(ca, sizeof ca, "%s/ca.crt", dir);
    (void)snprintf(cert, sizeof cert, "%s/%s.crt", dir, name);
    (void)snprintf(key, sizeof key, "%s/%s.key", dir, name);
    check(pki_issue(dir, &r, NULL) == 0);
    check(tls_context(&(struct tls_files){ca, cert, key, NULL}, &ctx, NULL) == 0);
    check(unlink(cert) == 0 && unlink(key) == 0);
    return ctx;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    char dir[] = "/tmp/tvn-cosigned-XXXXXX", ca[64], *one, *both, *name, *header;
    size_t n;
    check(mkdtemp(dir) != NULL && pki_init(dir, "gov", NULL) == 0);
    SSL_CTX *first = issued(dir, names[0]), *second = issued(dir, names[1]);
    check(cosign_new(bytes_str(text), first, &one, &n, NULL) == 0);
    check(cosign_add(bytes_of(one, n), second, &both, &n, NULL) == 0);
    BIO *in = BIO_new_mem_buf(both, (int)n);
    long bytes = 0;
    check(PEM_read_bio(in, &name, &header, &signed_der, &bytes) == 1);
    signed_bytes = (size_t)bytes;
    BIO_free(in);
    OPENSSL_free(name);
    OPENSSL_free(header);
    free(one);
    free(both);
    SSL_CTX_free(second);
    trust = first;
    (void)snprintf(ca, sizeof ca, "%s/ca.crt", dir);
    check(unlink(ca) == 0);
    (void)snprintf(ca, sizeof ca, "%s/ca.key", dir);
    check(unlink(ca) == 0);
    (void)rmdir(dir);
    return 0;
}

static void look(const uint8_t *der, size_t n, bool changed)
{
    struct cosigned c;
    struct err e = ERR_NONE;
    char *pem;
    BIO *out = BIO_new(BIO_s_mem());
    check(out != NULL && PEM_write_bio(out, "CMS", "", der, (long)n) > 0);
    const long size = BIO_get_mem_data(out, &pem);
    const int rc = cosign_open(bytes_of(pem, (size_t)size), trust, &c, &e);
    BIO_free(out);
    check(rc == 0 ||
          ((rc == ERR_FORMAT || rc == ERR_INTEGRITY || rc == ERR_DENIED) && e.text[0] != '\0'));
    check(changed || rc == 0);
    if (rc != 0)
        return;
    check(bytes_equal(bytes_of(c.text, c.bytes), bytes_str(text)) && c.count >= 1 && c.count <= 2);
    for (uint32_t i = 0; i < c.count; i++)
        check(strcmp(c.who[i].name, names[0]) == 0 || strcmp(c.who[i].name, names[1]) == 0);
    cosign_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        look(signed_der, signed_bytes, false);
        return 0;
    }
    if ((data[0] & 1) != 0) {
        if (size > 1)
            look(data + 1, size - 1, true);
        return 0;
    }
    uint8_t *copy = malloc(signed_bytes);
    check(copy != NULL);
    memcpy(copy, signed_der, signed_bytes);
    for (size_t at = 1; at + 3 <= size; at += 3)
        copy[get_le16(data + at) % signed_bytes] = data[at + 2];
    look(copy, signed_bytes, true);
    free(copy);
    return 0;
}
