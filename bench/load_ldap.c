/* Load on OpenLDAP: one connection and thread a client, each modification replaces the value of one attribute of one entry
 * at random. `--target` is an ldap:// URI. The entries (uid=<key>,dc=bench) are loaded with slapadd beforehand.
 * Operations: put, get; fill prints the entries as LDIF for slapadd instead of a result. */
#include "bench/bench.h"

#include <lber.h>
#include <ldap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DN_BYTES = 64 };
static const char admin[] = "cn=admin,dc=bench", password[] = "bench";

struct session {
    const struct bench_options *options;
    LDAP *ld;
};

static void expect(int rc, const char *what)
{
    if (rc != LDAP_SUCCESS)
        bench_fail("%s: %s", what, ldap_err2string(rc));
}

static void *session_open(const struct bench_options *o, unsigned client)
{
    (void)client;
    struct session *s = calloc(1, sizeof *s);
    char secret[sizeof password];
    int version = LDAP_VERSION3;
    if (s == NULL)
        bench_fail("out of memory");
    s->options = o;
    memcpy(secret, password, sizeof secret);
    struct berval credentials = {sizeof secret - 1, secret};
    expect(ldap_initialize(&s->ld, o->target), "initialize");
    expect(ldap_set_option(s->ld, LDAP_OPT_PROTOCOL_VERSION, &version), "set the version");
    expect(ldap_sasl_bind_s(s->ld, admin, LDAP_SASL_SIMPLE, &credentials, NULL, NULL, NULL),
           "bind");
    return s;
}

static void session_close(void *client)
{
    struct session *s = client;
    (void)ldap_unbind_ext_s(s->ld, NULL, NULL);
    free(s);
}

static void name_of(char dn[DN_BYTES], uint64_t n)
{
    char key[BENCH_KEY_BYTES + 1];
    bench_key(key, n);
    (void)snprintf(dn, DN_BYTES, "uid=%s,dc=bench", key);
}

/* Octets would have to be a photo or a certificate: a description is text. */
static void text_value(char *out, size_t n, struct bench_random *r)
{
    const uint8_t *p = bench_value(r, n);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('0' + p[i] % 64);
}

static void modify(struct session *s, const char *dn, struct bench_random *r)
{
    static _Thread_local char value[1 << 16];
    char description[] = "description";
    size_t n = s->options->value_bytes < sizeof value ? s->options->value_bytes : sizeof value;
    text_value(value, n, r);
    struct berval bytes = {n, value};
    struct berval *values[] = {&bytes, NULL};
    LDAPMod change = {LDAP_MOD_REPLACE | LDAP_MOD_BVALUES, description, {.modv_bvals = values}};
    LDAPMod *changes[] = {&change, NULL};
    expect(ldap_modify_ext_s(s->ld, dn, changes, NULL, NULL), dn);
}

static unsigned session_run(void *client, struct bench_random *r)
{
    struct session *s = client;
    char dn[DN_BYTES];
    name_of(dn, bench_random_next(r) % s->options->records);
    if (s->options->op == BENCH_PUT) {
        modify(s, dn, r);
        return 1;
    }
    LDAPMessage *found = NULL;
    expect(ldap_search_ext_s(s->ld, dn, LDAP_SCOPE_BASE, "(objectClass=*)", NULL, 0, NULL, NULL,
                             NULL, 1, &found),
           dn);
    (void)ldap_msgfree(found);
    return 1;
}

static void print_ldif(const struct bench_options *o)
{
    char *value = malloc((size_t)o->value_bytes + 1);
    struct bench_random r = bench_random_of(0);
    if (value == NULL)
        bench_fail("out of memory");
    (void)printf("dn: dc=bench\nobjectClass: domain\ndc: bench\n\n");
    for (unsigned i = 0; i < o->records; i++) {
        char dn[DN_BYTES], key[BENCH_KEY_BYTES + 1];
        name_of(dn, i);
        bench_key(key, i);
        text_value(value, o->value_bytes, &r);
        value[0] = 'v'; /* may not begin with ':' or '<' */
        value[o->value_bytes] = '\0';
        (void)printf("dn: %s\nobjectClass: account\nuid: %s\ndescription: %s\n\n", dn, key, value);
    }
    free(value);
}

int main(int argc, char **argv)
{
    struct bench_options o;
    struct bench_result result;
    bench_parse(argc, argv, &o);
    if (o.op == BENCH_FILL) {
        print_ldif(&o);
        return 0;
    }
    if (o.op != BENCH_PUT && o.op != BENCH_GET)
        bench_fail("--op %s is not one of put, get, fill", o.op_name);
    bench_run_threads(&o, &(struct bench_ops){session_open, session_run, session_close}, &result);
    bench_print(&o, &result);
    return 0;
}
