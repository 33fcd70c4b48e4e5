/* Files that make a context, or do not, and why; identities as text. */
#include "tests/unit/replication/io/fixture.h"

static void refuses(struct tls_files files, int code, const char *text)
{
    SSL_CTX *ctx = NULL;
    struct err e = ERR_NONE;
    int rc = tls_context(&files, &ctx, &e);
    assert_null(ctx);
    if (strstr(e.text, text) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, text);
    assert_int_equal(rc, code);
}

static struct tls_files files_of(const char *name)
{
    return (struct tls_files){pki_file("ca", ".crt"), pki_file(name, ".crt"),
                              pki_file(name, ".key"), NULL};
}

static void missing_files_are_named(void **state)
{
    (void)state;
    struct tls_files f = files_of("dc");
    f.ca = "/nonexistent/ca.crt";
    refuses(f, ERR_NOT_FOUND, "CA file /nonexistent/ca.crt cannot be opened: No such file");
    f = files_of("dc");
    f.cert = "/nonexistent/dc.crt";
    refuses(f, ERR_NOT_FOUND, "certificate /nonexistent/dc.crt cannot be opened: No such file");
    f = files_of("dc");
    f.key = "/nonexistent/dc.key";
    refuses(f, ERR_NOT_FOUND, "key /nonexistent/dc.key cannot be opened: No such file");
    f = files_of("dc");
    f.crl = "/nonexistent/ca.crl";
    refuses(f, ERR_NOT_FOUND, "revocation list /nonexistent/ca.crl cannot be opened: No such file");
}

static void files_of_the_wrong_kind_are_named(void **state)
{
    (void)state;
    struct tls_files f = files_of("dc");
    f.ca = f.key;
    refuses(f, ERR_CONFIG, "dc.key holds no PEM certificate");
    f = files_of("dc");
    f.cert = f.key;
    refuses(f, ERR_CONFIG, "dc.key holds no PEM certificate");
    f = files_of("dc");
    assert_int_equal(chmod(f.cert, 0600), 0);
    f.key = f.cert;
    refuses(f, ERR_CONFIG, "dc.crt holds no PEM private key");
    f = files_of("dc");
    f.crl = f.cert;
    refuses(f, ERR_CONFIG, "dc.crt holds no PEM revocation list");
    f = files_of("dc");
    f.key = pki_file("dr", ".key");
    refuses(f, ERR_CONFIG, "dr.key does not belong to the certificate");
}

static void a_key_for_everybody_is_no_key(void **state)
{
    (void)state;
    issue(WIRE_SITE, "open");
    static const mode_t modes[] = {0640, 0604, 0620, 0610};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_int_equal(chmod(pki_file("open", ".key"), modes[i]), 0);
        char text[64];
        (void)snprintf(text, sizeof text, "others than its owner (mode %04o): chmod 600",
                       (unsigned)modes[i]);
        refuses(files_of("open"), ERR_DENIED, text);
    }
    assert_int_equal(chmod(pki_file("open", ".key"), 0400), 0);
    SSL_CTX_free(context_of("open"));
}

static void an_own_certificate_that_nobody_would_accept_is_refused_at_once(void **state)
{
    (void)state;
    struct pki_request r = {.kind = WIRE_SITE,
                            .name = "old",
                            .not_before_s = -100 * PKI_DAY_S,
                            .not_after_s = -PKI_DAY_S - 5};
    assert_int_equal(pki_issue(pki_dir, &r, NULL), 0);
    refuses(files_of("old"), ERR_DENIED,
            "old.crt expired 1 day ago (triveni://gov/site/old): renew it with triveni pki");
    r = (struct pki_request){
        .kind = WIRE_SITE, .name = "soon", .not_before_s = 125, .not_after_s = PKI_DAY_S};
    assert_int_equal(pki_issue(pki_dir, &r, NULL), 0);
    refuses(files_of("soon"), ERR_DENIED, "soon.crt is not valid before 2 minutes from now");
    struct tls_files f = files_of("dc");
    f.ca = pki_file("dr", ".crt"); /* a certificate, and not of a CA that issued ours */
    refuses(f, ERR_DENIED, "dc.crt is not from a CA that is trusted here");
}

static void revocation_reaches_the_own_certificate_too(void **state)
{
    (void)state;
    issue(WIRE_OPERATOR, "former");
    struct tls_files f = files_of("former");
    assert_int_equal(pki_revoke(pki_dir, NULL, NULL), 0);
    f.crl = pki_file("ca", ".crl");
    SSL_CTX *ctx = NULL;
    assert_int_equal(tls_context(&f, &ctx, NULL), 0);
    SSL_CTX_free(ctx);
    assert_int_equal(pki_revoke(pki_dir, f.cert, NULL), 0);
    refuses(f, ERR_DENIED, "former.crt was revoked (triveni://gov/operator/former)");
}

static void the_own_identity_is_in_the_file(void **state)
{
    (void)state;
    struct identity id;
    struct err e = ERR_NONE;
    assert_int_equal(tls_own_identity(pki_file("olga", ".crt"), &id, &e), 0);
    assert_int_equal(id.kind, WIRE_OPERATOR);
    assert_string_equal(id.cluster, "gov");
    assert_string_equal(id.name, "olga");
    assert_int_equal(tls_own_identity(pki_file("ca", ".crt"), &id, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "ca.crt: it has no subject alternative name"));
    assert_int_equal(tls_own_identity("/nonexistent", &id, &e), ERR_NOT_FOUND);
    int64_t left = 0;
    assert_int_equal(tls_seconds_left(pki_file("olga", ".crt"), &left, &e), 0);
    assert_in_range(left, (int64_t)PKI_LEAF_DAYS * PKI_DAY_S - 60,
                    (int64_t)PKI_LEAF_DAYS * PKI_DAY_S);
    assert_int_equal(tls_seconds_left(pki_file("olga", ".key"), &left, &e), ERR_CONFIG);
}

static void a_site_shows_its_own_certificate_only(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    issue(WIRE_SITE, "here");
    assert_int_equal(tls_check_site(pki_file("here", ".crt"), "gov", "here", &e), 0);
    assert_int_equal(tls_check_site(pki_file("here", ".crt"), "gov", "there", &e), ERR_DENIED);
    assert_non_null(strstr(
        e.text, "here.crt is that of triveni://gov/site/here, this is triveni://gov/site/there"));
    assert_int_equal(tls_check_site(pki_file("here", ".crt"), "gov2", "here", &e), ERR_DENIED);
    assert_int_equal(tls_check_site(pki_file("olga", ".crt"), "gov", "olga", &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "triveni://gov/operator/olga"));
}

static void identities_are_read_byte_by_byte(void **state)
{
    (void)state;
    struct identity id;
    assert_int_equal(
        identity_parse(bytes_str("triveni://gov/client/land-office@east.1"), &id, NULL), 0);
    assert_string_equal(id.name, "land-office@east.1");
    assert_int_equal(id.kind, WIRE_CLIENT);
    static const char *const bad[] = {
        "",
        "triveni:/",
        "triveni://",
        "triveni://gov",
        "triveni://gov/",
        "triveni://gov/site",
        "triveni://gov/site/",
        "triveni://gov/Site/dc",
        "triveni://gov/nobody/dc",
        "triveni://gov/site/dc/",
        "triveni://gov//site/dc",
        "Triveni://gov/site/dc",
        "triveni://gov/site/dc?x",
        "triveni://gov/site/d c",
        "triveni://gov/site/d%63",
        "triveni://a234567890123456789012345678901234567890123456789012345678901234/site/dc",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(identity_parse(bytes_str(bad[i]), &id, NULL), ERR_DENIED);
    char uri[256] = "triveni://gov/client/";
    size_t at = strlen(uri);
    memset(uri + at, 'n', CLIENT_NAME_MAX_BYTES + 1);
    assert_int_equal(identity_parse(bytes_of(uri, at + CLIENT_NAME_MAX_BYTES), &id, NULL), 0);
    assert_int_equal(strlen(id.name), CLIENT_NAME_MAX_BYTES);
    assert_int_equal(identity_parse(bytes_of(uri, at + CLIENT_NAME_MAX_BYTES + 1), &id, NULL),
                     ERR_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(files_of_the_wrong_kind_are_named),
        cmocka_unit_test(a_key_for_everybody_is_no_key),
        cmocka_unit_test(an_own_certificate_that_nobody_would_accept_is_refused_at_once),
        cmocka_unit_test(revocation_reaches_the_own_certificate_too),
        cmocka_unit_test(the_own_identity_is_in_the_file),
        cmocka_unit_test(a_site_shows_its_own_certificate_only),
        cmocka_unit_test(identities_are_read_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
