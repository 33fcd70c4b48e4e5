/* Texts that operators have signed: who is taken for whom, and what is refused. */
#include "replication/io/cosign.h"

#include "tests/unit/replication/io/fixture.h"

#include <openssl/cms.h>
#include <openssl/pem.h>

static const char text[] = "triveni warrant 1\nact test\n\nsite dr\n";
static struct err e;

static SSL_CTX *of(const char *name, const char *crl)
{
    SSL_CTX *ctx = NULL;
    e = (struct err)ERR_NONE;
    const struct tls_files files = {pki_file("ca", ".crt"), pki_file(name, ".crt"),
                                    pki_file(name, ".key"), crl};
    if (tls_context(&files, &ctx, &e) != 0)
        fail_msg("%s: %s", name, e.text);
    return ctx;
}

static struct bytes first_of(const char *name)
{
    static char *pem;
    size_t n = 0;
    SSL_CTX *own = of(name, NULL);
    free(pem);
    if (cosign_new(bytes_str(text), own, &pem, &n, &e) != 0)
        fail_msg("%s", e.text);
    SSL_CTX_free(own);
    return bytes_of(pem, n);
}

static int add(struct bytes file, const char *name, struct bytes *out)
{
    static char *pem;
    size_t n = 0;
    SSL_CTX *own = of(name, NULL);
    free(pem);
    int rc = cosign_add(file, own, &pem, &n, &e);
    SSL_CTX_free(own);
    *out = bytes_of(pem, n);
    return rc;
}

static int look(struct bytes file, const char *as, const char *crl, struct cosigned *out)
{
    SSL_CTX *trust = of(as, crl);
    int rc = cosign_open(file, trust, out, &e);
    SSL_CTX_free(trust);
    return rc;
}

static int setup(void **state)
{
    int rc = pki_setup(state);
    issue(WIRE_OPERATOR, "ravi");
    issue(WIRE_OPERATOR, "meena");
    return rc;
}

static void the_text_and_both_names_come_out(void **state)
{
    (void)state;
    struct cosigned c;
    struct bytes both;
    assert_int_equal(add(first_of("olga"), "ravi", &both), 0);
    assert_int_equal(look(both, "dr", NULL, &c), 0);
    assert_string_equal((const char *)c.text, text);
    assert_int_equal(c.bytes, sizeof text - 1);
    assert_int_equal(c.count, 2);
    assert_true(strcmp(c.who[0].name, c.who[1].name) != 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(c.who[i].kind, WIRE_OPERATOR);
        assert_string_equal(c.who[i].cluster, "gov");
        assert_true(strcmp(c.who[i].name, "olga") == 0 || strcmp(c.who[i].name, "ravi") == 0);
    }
    cosign_close(&c);
    assert_int_equal(look(first_of("olga"), "dr", NULL, &c), 0);
    assert_int_equal(c.count, 1);
    cosign_close(&c);
}

static void openssl_verifies_it_without_us(void **state)
{
    (void)state;
    struct bytes both;
    char command[2048];
    assert_int_equal(add(first_of("olga"), "ravi", &both), 0);
    FILE *f = fopen(pki_file("act", ".warrant"), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(both.p, 1, both.n, f), both.n);
    assert_int_equal(fclose(f), 0);
    (void)snprintf(
        command, sizeof command,
        "openssl cms -verify -inform PEM -in %s -CAfile %s -purpose sslclient 2>/dev/null "
        "| cmp - %s",
        pki_file("act", ".warrant"), pki_file("ca", ".crt"), pki_file("act", ".text"));
    f = fopen(pki_file("act", ".text"), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, sizeof text - 1, f), sizeof text - 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(system(command),
                     0); /* NOLINT(cert-env33-c): that program is what is tested with */
}

static void nobody_signs_twice(void **state)
{
    (void)state;
    struct bytes again;
    assert_int_equal(add(first_of("olga"), "olga", &again), ERR_DENIED);
    assert_non_null(strstr(e.text, "operator 'olga' has signed this already"));
}

static void only_operators_sign(void **state)
{
    (void)state;
    struct bytes out;
    char *pem;
    size_t n;
    static const char *const others[] = {"alice", "dc"};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(add(first_of("olga"), others[i], &out), ERR_DENIED);
        assert_non_null(strstr(e.text, "only operators may sign"));
        SSL_CTX *own = of(others[i], NULL);
        assert_int_equal(cosign_new(bytes_str(text), own, &pem, &n, &e), ERR_DENIED);
        SSL_CTX_free(own);
    }
}

/* A file as somebody makes it who does not use our functions: signed with these keys under these certificates. */
static struct bytes forged(const char *const *certs, const char *const *keys, int n,
                           const EVP_MD *md, unsigned flags)
{
    static char pem[COSIGN_MAX_BYTES];
    BIO *in = BIO_new_mem_buf(text, -1), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_BINARY | flags);
    for (int i = 0; i < n; i++) {
        BIO *c = BIO_new_file(pki_file(certs[i], ".crt"), "r"),
            *k = BIO_new_file(pki_file(keys[i], ".key"), "r");
        X509 *cert = PEM_read_bio_X509(c, NULL, NULL, NULL);
        EVP_PKEY *key = PEM_read_bio_PrivateKey(k, NULL, NULL, NULL);
        const bool there =
            i > 0 && strcmp(certs[i], certs[i - 1]) == 0; /* OpenSSL adds none twice */
        assert_non_null(
            CMS_add1_signer(cms, cert, key, md, CMS_BINARY | flags | (there ? CMS_NOCERTS : 0)));
        X509_free(cert);
        EVP_PKEY_free(key);
        BIO_free(c);
        BIO_free(k);
    }
    assert_int_equal(CMS_final(cms, in, NULL, CMS_BINARY | flags), 1);
    assert_int_equal(PEM_write_bio_CMS(out, cms), 1);
    char *p;
    const long bytes = BIO_get_mem_data(out, &p);
    assert_true(bytes > 0 && (size_t)bytes < sizeof pem);
    memcpy(pem, p, (size_t)bytes);
    BIO_free(out);
    BIO_free(in);
    CMS_ContentInfo_free(cms);
    return bytes_of(pem, (size_t)bytes);
}

static void a_signature_by_one_who_may_not_is_refused(void **state)
{
    (void)state;
    struct cosigned c;
    static const char *const with_client[] = {"olga", "alice"}, *const with_site[] = {"dr", "olga"},
                             *const twice[] = {"olga", "olga"};
    assert_int_equal(look(forged(with_client, with_client, 2, EVP_sha256(), 0), "dc", NULL, &c),
                     ERR_DENIED);
    assert_non_null(strstr(e.text, "signed by client 'alice'"));
    assert_int_equal(look(forged(with_site, with_site, 2, EVP_sha256(), 0), "dc", NULL, &c),
                     ERR_DENIED);
    assert_int_equal(look(forged(twice, twice, 2, EVP_sha256(), 0), "dc", NULL, &c), ERR_DENIED);
    assert_non_null(strstr(e.text, "signed twice by operator 'olga'"));
}

static void one_person_with_two_names_and_one_key_is_one_person(void **state)
{
    (void)state;
    /* a certificate for another name on olga's key: made by the CA with openssl */
    char command[4096];
    (void)snprintf(
        command, sizeof command,
        "cd %s && printf 'subjectAltName=URI:triveni://gov/operator/olga2\\nextendedKeyUsage="
        "clientAuth\\nkeyUsage=critical,digitalSignature\\n' >ext && openssl req -new -key "
        "olga.key "
        "-subj /CN=olga2 -out olga2.csr 2>/dev/null && openssl x509 -req -in olga2.csr -CA ca.crt "
        "-CAkey ca.key -CAcreateserial -days 1 -extfile ext -out olga2.crt 2>/dev/null && cp "
        "olga.key "
        "olga2.key && chmod 600 olga2.key",
        pki_dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): as above */
    struct cosigned c;
    static const char *const both[] = {"olga", "olga2"};
    assert_int_equal(look(forged(both, both, 2, EVP_sha256(), 0), "dc", NULL, &c), ERR_DENIED);
    assert_non_null(strstr(e.text, "one and the same key"));
}

static void expired_foreign_and_revoked_certificates_count_for_nothing(void **state)
{
    struct cosigned c;
    struct bytes both;
    static const char *const old[] = {"olga", "bygone"};
    (void)pki_issue(
        pki_dir,
        &(struct pki_request){
            .kind = WIRE_OPERATOR, .name = "bygone", .not_before_s = -7200, .not_after_s = -3600},
        &e);
    assert_int_equal(look(forged(old, old, 2, EVP_sha256(), 0), "dc", NULL, &c), ERR_DENIED);
    assert_non_null(strstr(e.text, "expired 1 hour ago"));

    assert_int_equal(add(first_of("olga"), "meena", &both), 0);
    assert_int_equal(pki_revoke(pki_dir, pki_file("meena", ".crt"), &e), 0);
    assert_int_equal(look(both, "dc", NULL, &c), 0); /* who has no list cannot know */
    cosign_close(&c);
    assert_int_equal(look(both, "dc", pki_file("ca", ".crl"), &c), ERR_DENIED);
    assert_non_null(strstr(e.text, "was revoked"));

    char mine[FIXTURE_PATH_BYTES], other[FIXTURE_PATH_BYTES + 8];
    (void)snprintf(mine, sizeof mine, "%s", pki_dir);
    (void)snprintf(other, sizeof other, "%s/other", mine);
    assert_int_equal(pki_init(other, "gov", &e), 0);
    (void)snprintf(pki_dir, sizeof pki_dir, "%.500s", other);
    issue(WIRE_OPERATOR, "olga");
    struct bytes foreign = first_of("olga");
    assert_int_equal(pki_teardown(state), 0);
    (void)snprintf(pki_dir, sizeof pki_dir, "%s", mine);
    assert_int_equal(look(foreign, "dc", NULL, &c), ERR_DENIED);
    assert_non_null(strstr(e.text, "is not from a CA that is trusted here"));
}

static void every_changed_byte_is_found_or_changes_nothing(void **state)
{
    (void)state;
    struct bytes both;
    assert_int_equal(add(first_of("olga"), "ravi", &both), 0);
    static uint8_t changed[COSIGN_MAX_BYTES];
    SSL_CTX *trust = of("dr", NULL);
    for (size_t at = 0; at < both.n; at++) {
        struct cosigned c;
        memcpy(changed, both.p, both.n);
        changed[at] = changed[at] == 'A' ? 'B' : 'A';
        e = (struct err)ERR_NONE;
        if (cosign_open(bytes_of(changed, both.n), trust, &c, &e) != 0) {
            assert_true(e.code == ERR_FORMAT || e.code == ERR_INTEGRITY || e.code == ERR_DENIED);
            assert_true(e.text[0] != '\0');
            continue;
        }
        /* an attribute of the file that nobody signs, such as padding: text and names are the same */
        assert_string_equal((const char *)c.text, text);
        assert_int_equal(c.count, 2);
        cosign_close(&c);
    }
    SSL_CTX_free(trust);
}

static void what_is_no_signed_text_is_refused(void **state)
{
    (void)state;
    struct cosigned c;
    static const char *const olga[] = {"olga", "olga", "olga", "olga", "olga"};
    static uint8_t large[COSIGN_MAX_BYTES + 1];
    assert_int_equal(look((struct bytes){NULL, 0}, "dc", NULL, &c), ERR_FORMAT);
    assert_int_equal(look(bytes_of(large, sizeof large), "dc", NULL, &c), ERR_FORMAT);
    assert_int_equal(look(bytes_str(text), "dc", NULL, &c), ERR_FORMAT);
    assert_int_equal(look(forged(olga, olga, 1, EVP_sha1(), 0), "dc", NULL, &c), ERR_FORMAT);
    assert_non_null(strstr(e.text, "does not use SHA-256"));
    assert_int_equal(look(forged(olga, olga, 1, EVP_sha256(), CMS_DETACHED), "dc", NULL, &c),
                     ERR_FORMAT);
    assert_int_equal(look(forged(olga, olga, 1, EVP_sha256(), CMS_NOCERTS), "dc", NULL, &c),
                     ERR_INTEGRITY);
    assert_int_equal(look(forged(olga, olga, 5, EVP_sha256(), 0), "dc", NULL, &c), ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_and_both_names_come_out),
        cmocka_unit_test(openssl_verifies_it_without_us),
        cmocka_unit_test(nobody_signs_twice),
        cmocka_unit_test(only_operators_sign),
        cmocka_unit_test(a_signature_by_one_who_may_not_is_refused),
        cmocka_unit_test(one_person_with_two_names_and_one_key_is_one_person),
        cmocka_unit_test(expired_foreign_and_revoked_certificates_count_for_nothing),
        cmocka_unit_test(every_changed_byte_is_found_or_changes_nothing),
        cmocka_unit_test(what_is_no_signed_text_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
