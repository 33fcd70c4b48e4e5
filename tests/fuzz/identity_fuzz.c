/* The URI in a certificate, and a certificate as a whole (DER): what is accepted is spelled in exactly one way. */
#include "replication/io/tls.h"

#include "store/core/check.h"

#include <openssl/err.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void uri(struct bytes in)
{
    struct identity id;
    int rc = identity_parse(in, &id, NULL);
    check(rc == 0 || rc == ERR_DENIED);
    if (rc != 0)
        return;
    char again[512];
    int n = snprintf(again, sizeof again, "triveni://%s/%s/%s", id.cluster,
                     identity_kind_name(id.kind), id.name);
    check(n > 0 && bytes_equal(bytes_of(again, (size_t)n), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    if ((data[0] & 1) == 0) {
        uri(in);
        return 0;
    }
    const unsigned char *p = in.p;
    X509 *cert = d2i_X509(NULL, &p, (long)in.n);
    struct identity id;
    char verdict[TLS_TEXT_BYTES];
    if (cert != NULL) {
        (void)identity_of_cert(cert, &id, NULL);
        tls_verdict((int)(data[0] >> 1), cert, verdict);
        X509_free(cert);
    }
    ERR_clear_error();
    return 0;
}
