#include "tools/pki.h"

#include "replication/io/tls.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[256];

static const char *file(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    (void)snprintf(dir, sizeof dir, "%s/triveni-pki-XXXXXX", base == NULL ? "/tmp" : base);
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    if (d == NULL)
        return -1;
    for (struct dirent *one; (one = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), one->d_name, 0);
    (void)closedir(d);
    return rmdir(dir);
}

static void new_ca(void)
{
    struct err e = ERR_NONE;
    if (pki_init(dir, "land-registry", &e) != 0)
        fail_msg("%s", e.text);
}

static mode_t mode_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(file(name), &st), 0);
    return st.st_mode & 07777;
}

static X509 *load(const char *name)
{
    FILE *f = fopen(file(name), "r");
    assert_non_null(f);
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    assert_int_equal(fclose(f), 0);
    assert_non_null(cert);
    return cert;
}

static void a_ca_is_made_once(void **state)
{
    (void)state;
    new_ca();
    assert_int_equal(mode_of("ca.key"), 0600);
    assert_int_equal(mode_of("ca.crt"), 0644);
    char cluster[64];
    assert_int_equal(pki_cluster(dir, cluster, NULL), 0);
    assert_string_equal(cluster, "land-registry");
    struct err e = ERR_NONE;
    assert_int_equal(pki_init(dir, "other", &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "ca.crt exists and is not overwritten"));
    assert_int_equal(pki_cluster(dir, cluster, NULL), 0);
    assert_string_equal(cluster, "land-registry");
}

static void the_directory_is_made_and_its_parent_is_not(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    assert_int_equal(pki_init(file("a/b"), "gov", &e), ERR_NOT_FOUND);
    assert_int_equal(pki_init(file("ca"), "gov", &e), 0);
    struct stat st;
    assert_int_equal(stat(file("ca"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(unlink(file("ca/ca.crt")), 0);
    assert_int_equal(unlink(file("ca/ca.key")), 0);
    assert_int_equal(rmdir(file("ca")), 0);
}

static void certificates_are_for_their_side(void **state)
{
    (void)state;
    new_ca();
    static const struct {
        enum wire_kind kind;
        const char *name, *crt;
        int server;
    } kinds[] = {{WIRE_SITE, "dc", "dc.crt", 1},
                 {WIRE_CLIENT, "passport-desk", "passport-desk.crt", 0},
                 {WIRE_OPERATOR, "asha@noc", "asha@noc.crt", 0}};
    X509 *ca = load("ca.crt");
    EVP_PKEY *ca_key = X509_get0_pubkey(ca);
    assert_int_equal(X509_check_ca(ca), 1);
    for (size_t i = 0; i < 3; i++) {
        struct pki_request r = {.kind = kinds[i].kind, .name = kinds[i].name};
        struct err e = ERR_NONE;
        if (pki_issue(dir, &r, &e) != 0)
            fail_msg("%s", e.text);
        struct identity id;
        assert_int_equal(tls_own_identity(file(kinds[i].crt), &id, NULL), 0);
        assert_int_equal(id.kind, kinds[i].kind);
        assert_string_equal(id.name, kinds[i].name);
        assert_string_equal(id.cluster, "land-registry");
        X509 *cert = load(kinds[i].crt);
        assert_int_equal(X509_verify(cert, ca_key), 1);
        assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_CLIENT, 0), 1);
        assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0), kinds[i].server);
        assert_int_equal(X509_check_ca(cert), 0);
        X509_free(cert);
    }
    assert_int_equal(mode_of("dc.key"), 0600);
    X509_free(ca);
}

static void addresses_stand_beside_the_name(void **state)
{
    (void)state;
    new_ca();
    const char *const addresses[] = {"dc.example.gov", "10.1.2.3", "fd00::7"};
    struct pki_request r = {
        .kind = WIRE_SITE, .name = "dc", .addresses = addresses, .address_count = 3};
    assert_int_equal(pki_issue(dir, &r, NULL), 0);
    X509 *cert = load("dc.crt");
    assert_int_equal(X509_check_host(cert, "dc.example.gov", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(cert, "10.1.2.3", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "fd00::7", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "10.1.2.4", 0), 0);
    X509_free(cert);
    struct identity id;
    assert_int_equal(tls_own_identity(file("dc.crt"), &id, NULL), 0);
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    new_ca();
    struct pki_request r = {.kind = WIRE_SITE, .name = "dc"};
    assert_int_equal(pki_issue(dir, &r, NULL), 0);
    X509 *before = load("dc.crt");
    struct err e = ERR_NONE;
    assert_int_equal(pki_issue(dir, &r, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "dc.crt exists and is not overwritten"));
    assert_int_equal(unlink(file("dc.crt")), 0); /* the key alone is in the way, too */
    assert_int_equal(pki_issue(dir, &r, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "dc.key exists and is not overwritten"));
    assert_int_equal(access(file("dc.crt"), F_OK), -1);
    X509_free(before);
}

static void validity_is_as_asked(void **state)
{
    (void)state;
    new_ca();
    struct pki_request r = {.kind = WIRE_CLIENT,
                            .name = "old",
                            .not_before_s = -90 * PKI_DAY_S - 7,
                            .not_after_s = -61};
    assert_int_equal(pki_issue(dir, &r, NULL), 0);
    int64_t left;
    assert_int_equal(tls_seconds_left(file("old.crt"), &left, NULL), 0);
    assert_true(left <= -61 && left > -120);
    X509 *cert = load("old.crt");
    int64_t begun = tls_seconds_until(X509_get0_notBefore(cert));
    assert_true(begun <= -90 * PKI_DAY_S - 7 && begun > -90 * PKI_DAY_S - 70);
    X509_free(cert);
    r = (struct pki_request){.kind = WIRE_CLIENT, .name = "new"};
    assert_int_equal(pki_issue(dir, &r, NULL), 0);
    assert_int_equal(tls_seconds_left(file("new.crt"), &left, NULL), 0);
    assert_true(left > (PKI_LEAF_DAYS * PKI_DAY_S) - 60 && left <= PKI_LEAF_DAYS * PKI_DAY_S);
    r = (struct pki_request){
        .kind = WIRE_CLIENT, .name = "never", .not_before_s = 10, .not_after_s = 5};
    struct err e = ERR_NONE;
    assert_int_equal(pki_issue(dir, &r, &e), ERR_USAGE);
}

static void names_that_no_certificate_may_hold_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "a/b", "..", ".dc", "d c", "dc\n", "ca", "d*", "a,URI:triveni://x/site/y"};
    struct err e = ERR_NONE;
    assert_int_equal(pki_init(dir, "a/b", &e), ERR_USAGE);
    assert_int_equal(pki_init(dir, "", &e), ERR_USAGE);
    new_ca();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pki_request r = {.kind = WIRE_SITE, .name = bad[i]};
        assert_int_equal(pki_issue(dir, &r, &e), ERR_USAGE);
    }
    struct pki_request r = {.kind = WIRE_SITE, .name = "a-site-name-of-thirty-three-bytes"};
    assert_int_equal(pki_issue(dir, &r, &e), ERR_USAGE);
    r.kind = WIRE_CLIENT;
    assert_int_equal(pki_issue(dir, &r, &e), 0);
    const char *const evil[] = {"dc,URI:x"};
    r = (struct pki_request){
        .kind = WIRE_SITE, .name = "dc", .addresses = evil, .address_count = 1};
    assert_int_equal(pki_issue(dir, &r, &e), ERR_USAGE);
    assert_string_equal(e.text, "'dc,URI:x' is neither a DNS name nor an IP address");
}

static void a_long_name_is_whole_in_the_uri(void **state)
{
    (void)state;
    new_ca();
    char name[CLIENT_NAME_MAX_BYTES + 1];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct pki_request r = {.kind = WIRE_CLIENT, .name = name};
    assert_int_equal(pki_issue(dir, &r, NULL), 0);
    char crt[CLIENT_NAME_MAX_BYTES + 8];
    (void)snprintf(crt, sizeof crt, "%s.crt", name);
    struct identity id;
    assert_int_equal(tls_own_identity(file(crt), &id, NULL), 0);
    assert_string_equal(id.name, name);
}

static void without_a_ca_the_way_to_one_is_told(void **state)
{
    (void)state;
    struct pki_request r = {.kind = WIRE_SITE, .name = "dc"};
    struct err e = ERR_NONE;
    assert_int_equal(pki_issue(dir, &r, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "make one with triveni pki init"));
    new_ca();
    assert_int_equal(unlink(file("ca.key")), 0);
    assert_int_equal(pki_issue(dir, &r, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "ca.key cannot be opened"));
}

static X509_CRL *crl(void)
{
    FILE *f = fopen(file("ca.crl"), "r");
    assert_non_null(f);
    X509_CRL *list = PEM_read_X509_CRL(f, NULL, NULL, NULL);
    assert_int_equal(fclose(f), 0);
    assert_non_null(list);
    return list;
}

static void revocations_add_up(void **state)
{
    (void)state;
    new_ca();
    static const char *const names[] = {"a", "b"};
    static const char *const crts[] = {"a.crt", "b.crt"};
    for (int i = 0; i < 2; i++) {
        struct pki_request r = {.kind = WIRE_CLIENT, .name = names[i]};
        assert_int_equal(pki_issue(dir, &r, NULL), 0);
        assert_int_equal(pki_revoke(dir, file(crts[i]), NULL), 0);
    }
    assert_int_equal(pki_revoke(dir, file("a.crt"), NULL), 0); /* again changes nothing */
    X509_CRL *list = crl();
    X509 *ca = load("ca.crt");
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(list)), 2);
    assert_int_equal(X509_CRL_verify(list, X509_get0_pubkey(ca)), 1);
    X509_CRL_free(list);
    X509_free(ca);
    struct err e = ERR_NONE;
    assert_int_equal(pki_revoke(dir, file("c.crt"), &e), ERR_NOT_FOUND);
    FILE *f = fopen(file("ca.crl"), "w");
    assert_true(f != NULL && fputs("damaged", f) >= 0 && fclose(f) == 0);
    assert_int_equal(pki_revoke(dir, file("a.crt"), &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "ca.crl holds no PEM revocation list"));
}

static void only_its_own_certificates_are_revoked(void **state)
{
    (void)state;
    new_ca();
    assert_int_equal(rename(file("ca.crt"), file("first.crt")), 0);
    assert_int_equal(unlink(file("ca.key")), 0);
    new_ca();
    struct err e = ERR_NONE;
    assert_int_equal(pki_revoke(dir, file("first.crt"), &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "first.crt was not issued by the CA in"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_ca_is_made_once),
        T(the_directory_is_made_and_its_parent_is_not),
        T(certificates_are_for_their_side),
        T(addresses_stand_beside_the_name),
        T(nothing_is_overwritten),
        T(validity_is_as_asked),
        T(names_that_no_certificate_may_hold_are_refused),
        T(a_long_name_is_whole_in_the_uri),
        T(without_a_ca_the_way_to_one_is_told),
        T(revocations_add_up),
        T(only_its_own_certificates_are_revoked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
