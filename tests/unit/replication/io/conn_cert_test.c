/* Every bad certificate, on either side of a connection: nobody becomes ready, the end that refuses says why, and the end that is
 * refused learns it. */
#include "tests/unit/replication/io/fixture.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* ---- certificates that triveni pki would not issue ---- */

struct uri {
    const char *p;
    int n; /* -1: up to the NUL */
};

static void save(const char *name, X509 *cert, EVP_PKEY *key)
{
    FILE *f = fopen(pki_file(name, ".crt"), "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, cert), 1);
    assert_int_equal(fclose(f), 0);
    f = fopen(pki_file(name, ".key"), "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(pki_file(name, ".key"), 0600), 0);
}

static void craft(const char *name, const struct uri *uris, size_t count, bool self_signed)
{
    FILE *f = fopen(pki_file("ca", ".crt"), "r");
    X509 *ca = PEM_read_X509(f, NULL, NULL, NULL);
    assert_int_equal(fclose(f), 0);
    f = fopen(pki_file("ca", ".key"), "r");
    EVP_PKEY *ca_key = PEM_read_PrivateKey(f, NULL, NULL, NULL), *key = EVP_EC_gen("P-256");
    assert_int_equal(fclose(f), 0);
    X509 *cert = X509_new();
    assert_true(X509_set_version(cert, X509_VERSION_3) == 1 && X509_set_pubkey(cert, key) == 1);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(cert), 4711);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), -100);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_NAME *subject = X509_get_subject_name(cert);
    (void)X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                     -1, 0);
    assert_int_equal(X509_set_issuer_name(cert, self_signed ? subject : X509_get_subject_name(ca)),
                     1);
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    for (size_t i = 0; i < count; i++) {
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        assert_int_equal(ASN1_STRING_set(text, uris[i].p, uris[i].n), 1);
        GENERAL_NAME *one = GENERAL_NAME_new();
        GENERAL_NAME_set0_value(one, GEN_URI, text);
        assert_true(sk_GENERAL_NAME_push(names, one) > 0);
    }
    if (count != 0)
        assert_int_equal(
            X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT), 1);
    GENERAL_NAMES_free(names);
    assert_true(X509_sign(cert, self_signed ? key : ca_key, EVP_sha256()) != 0);
    save(name, cert, key);
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
}

static void craft_one(const char *name, const char *uri)
{
    craft(name, &(struct uri){uri, -1}, 1, false);
}

/* A context that shows this pair although tls_context would refuse it. */
static SSL_CTX *context_showing(const char *name)
{
    SSL_CTX *ctx = context_of("dr");
    assert_int_equal(SSL_CTX_use_certificate_file(ctx, pki_file(name, ".crt"), SSL_FILETYPE_PEM),
                     1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, pki_file(name, ".key"), SSL_FILETYPE_PEM), 1);
    return ctx;
}

static void show(struct pair *p, int side, const char *name)
{
    SSL_CTX_free(p->tls[side]);
    p->tls[side] = context_showing(name);
    p->options[side].tls = p->tls[side];
}

/* ---- refusals ---- */

static void says(const struct end *end, int code, const char *text)
{
    assert_int_equal(end->ready, 0);
    assert_int_equal(end->closed, 1);
    if (strstr(end->why.text, text) == NULL)
        fail_msg("'%s' does not say '%s'", end->why.text, text);
    assert_int_equal(end->why.code, code);
}

/* The end with the certificate `name` is refused as a client of dc, and as a server by a client. What the good end says, what the
 * refused client and the refused server learn. */
static void refused(const char *name, const char *good_says, const char *client_learns,
                    const char *server_learns)
{
    for (int bad = 1; bad >= 0; bad--) {
        struct pair p;
        pair_init(&p, "dc", WIRE_SITE, "dr");
        show(&p, bad, name);
        pair_listen(&p, 10);
        pair_connect(&p, NULL);
        assert_true(run_until(&p.loop, both_closed, p.ends));
        says(&p.ends[1 - bad], ERR_DENIED, good_says);
        says(&p.ends[bad], ERR_DENIED, bad == 1 ? client_learns : server_learns);
        assert_non_null(strstr(p.ends[1 - bad].why.text, "127.0.0.1:"));
        pair_deinit(&p);
    }
}

static void issue_for(const char *name, int64_t from, int64_t to)
{
    struct err e = ERR_NONE;
    struct pki_request r = {
        .kind = WIRE_SITE, .name = name, .not_before_s = from, .not_after_s = to};
    if (pki_issue(pki_dir, &r, &e) != 0)
        fail_msg("%s", e.text);
}

static void expired(void **state)
{
    (void)state;
    issue_for("expired", -10 * PKI_DAY_S, -3 * PKI_DAY_S - 10);
    refused("expired",
            "its certificate expired 3 days ago (triveni://gov/site/expired): renew it with "
            "triveni pki",
            "refused our certificate as expired: renew it",
            "refused our certificate as expired: renew it");
}

static void not_yet_valid(void **state)
{
    (void)state;
    issue_for("early", 2 * 3600 + 60, 10 * PKI_DAY_S);
    refused("early",
            "is not valid before 2 hours from now (triveni://gov/site/early): compare the clocks",
            "refused our certificate as bad (not yet valid",
            "refused our certificate as bad (not yet valid");
}

static void of_another_ca(void **state)
{
    (void)state;
    char home[FIXTURE_PATH_BYTES], other[FIXTURE_PATH_BYTES];
    memcpy(home, pki_dir, sizeof home);
    (void)snprintf(other, sizeof other, "%.500s/other", home);
    assert_int_equal(pki_init(other, "gov", NULL), 0);
    struct pki_request r = {.kind = WIRE_SITE, .name = "stranger"};
    assert_int_equal(pki_issue(other, &r, NULL), 0);
    static const char *const moves[] = {"stranger.crt", "stranger.key"};
    for (size_t i = 0; i < 2; i++) {
        char from[FIXTURE_PATH_BYTES + 32], to[FIXTURE_PATH_BYTES + 32];
        (void)snprintf(from, sizeof from, "%s/%s", other, moves[i]);
        (void)snprintf(to, sizeof to, "%s/%s", home, moves[i]);
        assert_int_equal(rename(from, to), 0);
    }
    memcpy(pki_dir, other, sizeof pki_dir);
    assert_int_equal(pki_teardown(state), 0);
    memcpy(pki_dir, home, sizeof pki_dir);
    refused("stranger", "is not from a CA that is trusted here (triveni://gov/site/stranger)",
            "does not trust the CA", "does not trust the CA");
}

static void self_signed(void **state)
{
    (void)state;
    craft("selfmade", &(struct uri){"triveni://gov/site/selfmade", -1}, 1, true);
    refused("selfmade", "is self-signed by nobody that is trusted here", "does not trust the CA",
            "does not trust the CA");
}

static void of_another_cluster(void **state)
{
    (void)state;
    craft_one("abroad", "triveni://gov2/site/dr");
    refused("abroad", "its certificate is of cluster gov2, this is gov",
            "refused us: its certificate is of cluster gov2",
            "refused us: its certificate is of cluster gov2");
}

/* Nothing is wrong with its certificate, but it would find other majorities (P3). */
static void that_counts_other_members(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    p.options[0].hello.members = bytes_str("dc data, dr data, gsr repository");
    p.options[1].hello.members = bytes_str("dc data, dr data");
    pair_listen(&p, 10);
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    for (int i = 0; i < 2; i++)
        says(&p.ends[i], ERR_DENIED,
             "its configuration has the members dc data, dr data; that of dc has dc data, dr data, "
             "gsr repository: give all sites the same list");
    pair_deinit(&p);
}

/* A lease that outlives the promise it rests on (R4). */
static void that_has_other_times(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    p.options[0].hello.election_ms = p.options[1].hello.election_ms = 500;
    p.options[0].hello.lease_ms = 400;
    p.options[1].hello.lease_ms = 300;
    pair_listen(&p, 10);
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    for (int i = 0; i < 2; i++)
        says(&p.ends[i], ERR_DENIED,
             "its configuration has election_ms 500 and lease_ms 300; that of dc has 500 and 400: "
             "give all sites the same");
    pair_deinit(&p);
}

static void without_a_uri(void **state)
{
    (void)state;
    craft("nameless", NULL, 0, false);
    refused("nameless", "it has no subject alternative name",
            "refused us: its certificate is not one of Triveni",
            "refused us: its certificate is not one of Triveni");
}

static void with_two_uris(void **state)
{
    (void)state;
    const struct uri two[] = {{"triveni://gov/site/dr", -1}, {"triveni://gov/site/dc", -1}};
    craft("twofold", two, 2, false);
    refused("twofold", "it has 2 URI names where exactly one is needed",
            "refused us: ", "refused us: ");
}

static void with_strange_uris(void **state)
{
    (void)state;
    static const struct uri strange[] = {
        {"triveni://gov/site/dr\0.evil", 27}, {"triveni://gov/site/*", -1},
        {"triveni://gov/site/", -1},          {"triveni://gov/root/dr", -1},
        {"triveni://gov/site/a/b", -1},       {"triveni:///site/dr", -1},
        {"triveni://GOV/site/dr", -1}};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        craft("strange", &strange[i], 1, false);
        refused("strange",
                i == 6 ? "is of cluster GOV, this is gov"
                       : "its URI name is not triveni://<cluster>/",
                "refused us: ", "refused us: ");
    }
    craft_one("https", "https://gov/site/dr");
    refused("https", "does not begin with triveni://", "refused us: ", "refused us: ");
}

static void of_the_wrong_use(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    show(&p, 0, "alice"); /* a client's certificate cannot serve */
    pair_listen(&p, 10);
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    says(&p.ends[1], ERR_DENIED,
         "is not meant for this side of a connection (triveni://gov/client/alice)");
    says(&p.ends[0], ERR_DENIED, "as not meant for this side");
    pair_deinit(&p);
}

static void of_the_wrong_role(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[0].accept_kinds = SITES;
    pair_listen(&p, 10);
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    says(&p.ends[0], ERR_DENIED, "client alice is not welcome here: this port is not for clients");
    says(&p.ends[1], ERR_DENIED, "refused us: client alice is not welcome here");
    pair_deinit(&p);
}

static void of_the_wrong_site(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_listen(&p, 10);
    pair_connect(&p, "gsr");
    assert_true(run_until(&p.loop, both_closed, p.ends));
    says(&p.ends[1], ERR_DENIED, "is site dc where gsr was expected");
    says(&p.ends[0], ERR_DENIED, "refused us: is site dc where gsr was expected");
    pair_deinit(&p);
}

static void none_at_all(void **state)
{
    (void)state;
    for (int bad = 1; bad >= 0; bad--) {
        struct pair p;
        pair_init(&p, "dc", WIRE_SITE, "dr");
        SSL_CTX *bare = SSL_CTX_new(TLS_method());
        assert_int_equal(SSL_CTX_load_verify_file(bare, pki_file("ca", ".crt")), 1);
        SSL_CTX_free(p.tls[bad]);
        p.tls[bad] = p.options[bad].tls = bare;
        pair_listen(&p, 10);
        pair_connect(&p, NULL);
        assert_true(run_until(&p.loop, both_closed, p.ends));
        if (bad == 1) {
            says(&p.ends[0], ERR_DENIED, "showed no certificate: every peer and client needs one");
            says(&p.ends[1], ERR_DENIED, "requires a certificate and got none from us");
        } else {
            says(&p.ends[1], ERR_FORMAT,
                 "does not accept TLS 1.3: is it a Triveni port, and has it a certificate?");
        }
        pair_deinit(&p);
    }
}

static void revoked(void **state)
{
    (void)state;
    issue(WIRE_SITE, "stolen");
    issue(WIRE_SITE, "kept");
    assert_int_equal(pki_revoke(pki_dir, pki_file("stolen", ".crt"), NULL), 0);
    for (int bad = 1; bad >= 0; bad--) {
        struct pair p;
        pair_init(&p, "dc", WIRE_SITE, "dr");
        struct tls_files files = {pki_file("ca", ".crt"), pki_file("kept", ".crt"),
                                  pki_file("kept", ".key"), pki_file("ca", ".crl")};
        SSL_CTX_free(p.tls[1 - bad]);
        assert_int_equal(tls_context(&files, &p.tls[1 - bad], NULL), 0);
        p.options[1 - bad].tls = p.tls[1 - bad];
        show(&p, bad, "stolen");
        pair_listen(&p, 10);
        pair_connect(&p, NULL);
        assert_true(run_until(&p.loop, both_closed, p.ends));
        says(&p.ends[1 - bad], ERR_DENIED,
             "its certificate was revoked (triveni://gov/site/stolen)");
        says(&p.ends[bad], ERR_DENIED, "refused our certificate as revoked");
        pair_deinit(&p);
    }
}

/* The files are loaded anew with a fresher revocation list: links of the revoked end, the others stay, on either side. */
static void revoked_while_connected(void **state)
{
    (void)state;
    issue(WIRE_CLIENT, "thief");
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "thief");
    pair_ready(&p);
    assert_int_equal(pki_revoke(pki_dir, NULL, NULL), 0);
    struct tls_files files = {pki_file("ca", ".crt"), pki_file("dc", ".crt"),
                              pki_file("dc", ".key"), pki_file("ca", ".crl")};
    SSL_CTX *fresh = NULL;
    assert_int_equal(tls_context(&files, &fresh, NULL), 0);
    listener_set_tls(p.listener, fresh);
    conn_recheck(p.ends[1].conn, fresh); /* dc is not revoked */
    SSL_CTX_free(fresh);
    for (unsigned i = 0; i < 50; i++)
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    assert_int_equal(p.ends[0].closed + p.ends[1].closed, 0);
    assert_int_equal(pki_revoke(pki_dir, pki_file("thief", ".crt"), NULL), 0);
    assert_int_equal(tls_context(&files, &fresh, NULL), 0);
    listener_set_tls(p.listener, fresh);
    SSL_CTX_free(fresh);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    assert_int_equal(p.ends[0].why.code, ERR_DENIED);
    assert_non_null(
        strstr(p.ends[0].why.text, "its certificate was revoked (triveni://gov/client/thief)"));
    assert_non_null(strstr(p.ends[1].why.text, "closed: its certificate was revoked"));
    pair_deinit(&p);
}

/* Nor does a link end because time has passed or a clock has jumped. */
static void expired_while_connected(void **state)
{
    (void)state;
    struct pki_request r = {
        .kind = WIRE_CLIENT, .name = "brief", .not_before_s = -5, .not_after_s = 2};
    assert_int_equal(pki_issue(pki_dir, &r, NULL), 0);
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "brief");
    pair_ready(&p);
    uint64_t end = uv_hrtime() + 3100000000u;
    while (uv_hrtime() < end) {
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
        (void)usleep(1000);
    }
    listener_set_tls(p.listener, p.tls[0]);
    for (unsigned i = 0; i < 50; i++)
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    assert_int_equal(p.ends[0].closed + p.ends[1].closed, 0);
    struct end accepted = p.ends[0], late = {0};
    conn_set_arg(accepted.conn, &accepted);
    p.ends[0] = (struct end){0};
    struct conn *c;
    assert_int_equal(conn_connect(&c, &p.options[1], p.endpoint, NULL, &late, NULL), 0);
    assert_true(run_until(&p.loop, is_closed, &late)); /* but a new one is refused */
    assert_non_null(strstr(late.why.text, "refused our certificate as expired"));
    assert_true(run_until(&p.loop, is_closed, &p.ends[0]));
    assert_int_equal(accepted.closed, 0);
    conn_close(accepted.conn, NULL);
    assert_true(run_until(&p.loop, is_closed, &accepted));
    pair_deinit(&p);
}

static void sessions_are_never_resumed(void **state)
{
    (void)state;
    SSL_CTX *tls[2] = {context_of("dc"), context_of("dr")};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(SSL_CTX_get_session_cache_mode(tls[i]), SSL_SESS_CACHE_OFF);
        assert_int_equal(SSL_CTX_get_num_tickets(tls[i]), 0);
        assert_int_equal(SSL_CTX_get_max_early_data(tls[i]), 0);
        assert_int_equal(SSL_CTX_get_min_proto_version(tls[i]), TLS1_3_VERSION);
        assert_true((SSL_CTX_get_options(tls[i]) & SSL_OP_NO_TICKET) != 0);
        assert_int_equal(SSL_CTX_get_verify_mode(tls[i]),
                         SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
        SSL_CTX_free(tls[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expired),
        cmocka_unit_test(not_yet_valid),
        cmocka_unit_test(of_another_ca),
        cmocka_unit_test(self_signed),
        cmocka_unit_test(of_another_cluster),
        cmocka_unit_test(that_counts_other_members),
        cmocka_unit_test(that_has_other_times),
        cmocka_unit_test(without_a_uri),
        cmocka_unit_test(with_two_uris),
        cmocka_unit_test(with_strange_uris),
        cmocka_unit_test(of_the_wrong_use),
        cmocka_unit_test(of_the_wrong_role),
        cmocka_unit_test(of_the_wrong_site),
        cmocka_unit_test(none_at_all),
        cmocka_unit_test(revoked),
        cmocka_unit_test(revoked_while_connected),
        cmocka_unit_test(expired_while_connected),
        cmocka_unit_test(sessions_are_never_resumed),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
