/* Certificates that are replaced while a site runs: used from then on when they can be, and otherwise told, while the former ones
 * stay. */
#include "tests/unit/replication/parts_kit.h"
#include "tools/pki.h"

static struct pki_request request(const char *name)
{
    return (struct pki_request){.kind = WIRE_SITE, .name = name};
}

static void issue(struct parts *p, const char *name)
{
    char dir[80];
    const struct pki_request r = request(name);
    (void)snprintf(dir, sizeof dir, "%s/pki", p->dir);
    must(pki_issue(dir, &r, &e));
}

static int set_up(void **state)
{
    char dir[80];
    if (parts_setup(state) != 0)
        return -1;
    struct parts *p = *state;
    (void)snprintf(dir, sizeof dir, "%s/pki", p->dir);
    must(pki_init(dir, "gov", &e));
    issue(p, "dc");
    (void)snprintf(p->config.ca, SITE_PATH_BYTES, "%s/ca.crt", dir);
    (void)snprintf(p->config.cert, SITE_PATH_BYTES, "%s/dc.crt", dir);
    (void)snprintf(p->config.key, SITE_PATH_BYTES, "%s/dc.key", dir);
    must(certificates_open(&p->site, &e));
    assert_non_null(p->site.tls);
    return 0;
}

static int tear_down(void **state)
{
    struct parts *p = *state;
    SSL_CTX_free(p->site.tls);
    return parts_teardown(state);
}

static void files_that_are_as_they_were_are_not_read_again(void **state)
{
    struct parts *p = *state;
    const SSL_CTX *before = p->site.tls;
    certificates_look(&p->site, false);
    assert_ptr_equal(p->site.tls, before);
    assert_int_equal(parts_told(p, "certificates: "), 0);
    certificates_look(&p->site, true); /* unless somebody asks */
    assert_int_equal(parts_told(p, "certificates: read again, in use from now on, valid for "), 1);
}

static void new_files_are_used_and_told_once(void **state)
{
    struct parts *p = *state;
    assert_int_equal(unlink(p->config.cert), 0);
    assert_int_equal(unlink(p->config.key), 0);
    issue(p, "dc");
    for (int i = 0; i < 3; i++)
        certificates_look(&p->site, false);
    assert_int_equal(parts_told(p, "certificates: read again, in use from now on"), 1);
    assert_string_equal(p->site.certificates.trouble, "");
}

static void files_that_cannot_be_used_change_nothing_until_they_can(void **state)
{
    struct parts *p = *state;
    SSL_CTX *before = p->site.tls;
    char aside[SITE_PATH_BYTES + 8];
    (void)snprintf(aside, sizeof aside, "%s.aside", p->config.key);
    assert_int_equal(rename(p->config.key, aside), 0);
    for (int i = 0; i < 3; i++)
        certificates_look(&p->site, false);
    assert_ptr_equal(p->site.tls, before);
    assert_int_equal(parts_told(p, "the former ones stay in use"), 1);
    assert_non_null(strstr(p->site.certificates.trouble, "dc.key cannot be opened"));
    assert_int_equal(rename(aside, p->config.key), 0);
    certificates_look(&p->site, false);
    assert_string_equal(p->site.certificates.trouble, "");
    assert_int_equal(parts_told(p, "in use from now on"), 1);
}

static void the_certificate_of_another_site_is_not_ours(void **state)
{
    struct parts *p = *state;
    SSL_CTX *before = p->site.tls;
    struct site other = p->site;
    char cert[SITE_PATH_BYTES], key[SITE_PATH_BYTES];
    (void)snprintf(cert, sizeof cert, "%s", p->config.cert);
    (void)snprintf(key, sizeof key, "%s", p->config.key);
    issue(p, "dr");
    (void)snprintf(p->config.cert, SITE_PATH_BYTES, "%s/pki/dr.crt", p->dir);
    (void)snprintf(p->config.key, SITE_PATH_BYTES, "%s/pki/dr.key", p->dir);
    must_fail(certificates_open(&other, &e), ERR_DENIED,
              "is that of triveni://gov/site/dr, this is triveni://gov/site/dc");
    certificates_look(&p->site, false);
    assert_ptr_equal(p->site.tls, before);
    assert_non_null(strstr(p->site.certificates.trouble, "triveni://gov/site/dr"));
}

static void a_list_of_the_revoked_is_one_of_the_files(void **state)
{
    struct parts *p = *state;
    char dir[80];
    (void)snprintf(dir, sizeof dir, "%s/pki", p->dir);
    must(pki_revoke(dir, NULL, &e));
    (void)snprintf(p->config.crl, SITE_PATH_BYTES, "%s/ca.crl", dir);
    certificates_look(&p->site, false);
    assert_int_equal(parts_told(p, "in use from now on"), 1);
    must(pki_revoke(dir, p->config.cert, &e));
    certificates_look(&p->site, false);
    assert_non_null(strstr(p->site.certificates.trouble, "dc.crt was revoked"));
    assert_int_equal(unlink(p->config.crl), 0);
    certificates_look(&p->site, false);
    assert_non_null(strstr(p->site.certificates.trouble, "ca.crl cannot be opened"));
}

int main(void)
{
#define in_parts(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        in_parts(files_that_are_as_they_were_are_not_read_again),
        in_parts(new_files_are_used_and_told_once),
        in_parts(files_that_cannot_be_used_change_nothing_until_they_can),
        in_parts(the_certificate_of_another_site_is_not_ours),
        in_parts(a_list_of_the_revoked_is_one_of_the_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
