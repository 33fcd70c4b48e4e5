/* Configurations good and bad: whole messages, so that a wrong line or column is seen. */
#include "tools/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define HEAD                                                                                       \
    "cluster: {name: reg, id: 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42}\n"                             \
    "site: dc\n"                                                                                   \
    "members:\n"                                                                                   \
    "  - {name: dc, kind: data, peer: 'h:1', client: 'h:2'}\n"                                     \
    "  - {name: gsr, kind: repository, peer: '[::1]:3', client: 'h:4'}\n"                          \
    "data_dir: data\n"                                                                             \
    "tls: {ca: ca.pem, cert: dc.pem, key: /abs/dc.key}\n"

static int parse(const char *text, struct site_config *c, struct err *e)
{
    return config_parse("/etc/t/dc.yaml", bytes_str(text), c, e);
}

static void assert_bad(const char *text, const char *message)
{
    struct site_config c;
    struct err e = ERR_NONE;
    assert_int_equal(parse(text, &c, &e), ERR_CONFIG);
    assert_string_equal(e.text, message);
}

/* The index of a site must not hang on the order in its own file. */
static void members_are_sorted_by_name(void **state)
{
    (void)state;
    struct site_config c;
    struct err e = ERR_NONE;
    const char *text = "cluster: {name: reg, id: 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42}\n"
                       "site: dr\n"
                       "members:\n"
                       "  - {name: gsr, kind: repository, peer: 'h:5', client: 'h:6'}\n"
                       "  - {name: dr, kind: data, peer: 'h:3', client: 'h:4'}\n"
                       "  - {name: dc, kind: data, peer: 'h:1', client: 'h:2'}\n"
                       "data_dir: data\n"
                       "tls: {ca: ca.pem, cert: dc.pem, key: /abs/dc.key}\n";
    if (parse(text, &c, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(c.members[0].name, "dc");
    assert_string_equal(c.members[1].name, "dr");
    assert_string_equal(c.members[2].name, "gsr");
    assert_string_equal(c.members[0].peer, "h:1");
    assert_int_equal(c.self, 1);
}

static void good_with_defaults(void **state)
{
    (void)state;
    struct site_config c;
    struct err e = ERR_NONE;
    if (parse(HEAD, &c, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(c.cluster, "reg");
    assert_int_equal(c.cluster_id.b[0], 0x6f);
    assert_int_equal(c.cluster_id.b[15], 0x42);
    assert_int_equal(c.member_count, 2);
    assert_int_equal(c.self, 0);
    assert_string_equal(c.members[1].name, "gsr");
    assert_int_equal(c.members[1].kind, SITE_REPOSITORY);
    assert_string_equal(c.members[1].peer, "[::1]:3");
    assert_string_equal(c.data_dir, "/etc/t/data");
    assert_string_equal(c.ca, "/etc/t/ca.pem");
    assert_string_equal(c.key, "/abs/dc.key");
    assert_string_equal(c.crl, "");
    assert_int_equal(c.policy, REPL_AUTOMATIC);
    assert_int_equal(c.heartbeat_ms, 50);
    assert_int_equal(c.election_ms, 500);
    assert_int_equal(c.lease_ms, 400);
    assert_int_equal(c.zstd_level, 1);
    assert_int_equal(c.engine, LOG_ENGINE_AUTO);
    assert_int_equal(c.segment_bytes, 64 << 20);
    assert_int_equal(c.log_limit_bytes, (uint64_t)16 << 30);
    assert_int_equal(c.checkpoint_ms, 60000);
    assert_int_equal(c.session_hours, 24);
    assert_int_equal(c.history_us, 24 * 3600000000ull);
    assert_int_equal(c.history_bytes, (uint64_t)4 << 30);
    assert_int_equal(c.snapshot_ms, 600000);
    assert_int_equal(c.client_idle_ms, 60000);
    assert_int_equal(c.receive_bytes, 64 << 20);
    assert_int_equal(c.pack_bytes, 16 << 20);
    assert_int_equal(c.snapshot_entries, 100000);
}

static void good_all_given(void **state)
{
    (void)state;
    struct site_config c;
    struct err e = ERR_NONE;
    static const char text[] =
        HEAD "replication: {failover: observe, heartbeat_ms: 20, election_ms: 200, lease_ms: 100, "
             "compression: 0}\n"
             "store:\n"
             "  engine: plain\n"
             "  segment_mib: 1\n"
             "  log_limit_mib: 100\n"
             "  log_retain_mib: 0\n"
             "  reserve_mib: 3\n"
             "  checkpoint_mib: 4\n"
             "  checkpoint_seconds: 5\n"
             "  memory_mib: 16\n"
             "  receive_mib: 2\n"
             "  session_hours: 7\n"
             "  history_hours: 0\n"
             "  history_mib: 3\n"
             "  snapshot_seconds: 3\n"
             "  max_clients: 8\n"
             "  client_idle_seconds: 31\n"
             "  max_per_identity: 3\n";
    if (parse(text, &c, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(c.policy, REPL_OBSERVE);
    assert_int_equal(c.heartbeat_ms, 20);
    assert_int_equal(c.zstd_level, 0);
    assert_int_equal(c.engine, LOG_ENGINE_PLAIN);
    assert_int_equal(c.segment_bytes, 1 << 20);
    assert_int_equal(c.log_limit_bytes, 100 << 20);
    assert_int_equal(c.log_retain_bytes, 0);
    assert_int_equal(c.reserve_bytes, 3 << 20);
    assert_int_equal(c.checkpoint_bytes, 4 << 20);
    assert_int_equal(c.checkpoint_ms, 5000);
    assert_int_equal(c.memory_bytes, 16 << 20);
    assert_int_equal(c.receive_bytes, 2 << 20);
    assert_int_equal(c.session_hours, 7);
    assert_int_equal(c.history_us, 0);
    assert_int_equal(c.history_bytes, 3 << 20);
    assert_int_equal(c.snapshot_ms, 3000);
    assert_int_equal(c.max_clients, 8);
    assert_int_equal(c.client_idle_ms, 31000);
    assert_int_equal(c.max_per_identity, 3);
}

static void example_parses(void **state)
{
    (void)state;
    struct site_config c;
    struct err e = ERR_NONE;
    if (parse(config_example, &c, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(c.archive_dir, "/var/lib/triveni-archive");
    assert_int_equal(c.self, 2);
}

static void the_archive_may_lie_in_several_places(void **state)
{
    (void)state;
    struct site_config c;
    struct err e = ERR_NONE;
    char text[4000];
    (void)snprintf(text, sizeof text,
                   "%s  archived_at: all\n  copies: [archive, 's3:https://rgw.example/land']\n",
                   config_example);
    if (parse(text, &c, &e) != 0)
        fail_msg("%s", e.text);
    assert_true(c.archived_at_all);
    assert_int_equal(c.copy_count, 2);
    assert_non_null(strstr(c.copies[0], "/archive"));
    assert_string_equal(c.copies[1], "s3:https://rgw.example/land");
    (void)snprintf(text, sizeof text, "%s  copies: [/var/lib/triveni-archive]\n", config_example);
    assert_int_not_equal(parse(text, &c, &e), 0);
    assert_non_null(strstr(e.text, "names the place of 'repository.dir'"));
    (void)snprintf(text, sizeof text, "%s  archived_at: some\n", config_example);
    assert_int_not_equal(parse(text, &c, &e), 0);
}

static void unknown_keys(void **state)
{
    (void)state;
    assert_bad(HEAD "stroe: {}\n",
               "/etc/t/dc.yaml:8:1: unknown key 'stroe': did you mean 'store'?");
    assert_bad(
        HEAD "replication:\n  lease_ms: 100\n  heartbeat: 5\n",
        "/etc/t/dc.yaml:10:3: unknown key 'replication.heartbeat': did you mean 'heartbeat_ms'?");
    assert_bad(HEAD "zebra: 1\n", "/etc/t/dc.yaml:8:1: unknown key 'zebra': known here are "
                                  "cluster, site, members, data_dir, tls, "
                                  "replication, store, repository");
    assert_bad("members:\n  - {name: dc, kid: data}\n",
               "/etc/t/dc.yaml:2:16: unknown key 'members[0].kid': did you mean 'kind'?");
}

static void missing_keys(void **state)
{
    (void)state;
    assert_bad("site: dc\n", "/etc/t/dc.yaml:1:1: required key 'cluster' is missing");
    assert_bad("cluster: {name: x}\n", "/etc/t/dc.yaml:1:1: required key 'cluster.id' is missing");
    assert_bad("cluster: {name: reg, id: x}\nsite: a\nmembers:\n  - {name: a, kind: data, peer: "
               "'h:1', client: 'h:1'}\n"
               "  - {name: b, kind: data, peer: 'h:1'}\n",
               "/etc/t/dc.yaml:5:5: required key 'members[1].client' is missing");
    assert_bad("", "/etc/t/dc.yaml:1:1: the file holds no keys");
    assert_bad("# nothing\n", "/etc/t/dc.yaml:1:1: the file holds no keys");
}

static void wrong_shapes(void **state)
{
    (void)state;
    assert_bad("- a\n", "/etc/t/dc.yaml:1:1: the file must hold keys of its own");
    assert_bad("site: [a]\n", "/etc/t/dc.yaml:1:1: 'site' must be one value");
    assert_bad("site: a\nmembers: 7\n", "/etc/t/dc.yaml:2:1: 'members' must be a list");
    assert_bad("site: a\ntls:\n", "/etc/t/dc.yaml:2:1: 'tls' must hold keys of its own");
    assert_bad("site: a\nsite: b\n", "/etc/t/dc.yaml:2:1: 'site' is given twice");
    assert_bad("site: &a x\ndata_dir: *a\n",
               "/etc/t/dc.yaml:2:1: aliases and anchors are not allowed: write the value out");
    assert_bad("members: []\n", "/etc/t/dc.yaml:1:1: 'members' has too few entries");
    assert_bad("site: a\n\tb: c\n",
               "/etc/t/dc.yaml:2:1: found a tab character that violates indentation");
    assert_bad("site: a\n---\nsite: b\n",
               "/etc/t/dc.yaml:2:1: a second document begins here; one is allowed");
    assert_bad("site: \"a\\0b\"\n", "/etc/t/dc.yaml:1:7: control character 0x00 in a value");
    assert_bad("site: ''\n", "/etc/t/dc.yaml:1:1: 'site' is empty");
}

static void wrong_values(void **state)
{
    (void)state;
    assert_bad(HEAD "store:\n  segment_mib: 64MiB\n",
               "/etc/t/dc.yaml:9:3: 'store.segment_mib' is '64MiB': it must be a whole number, "
               "without a unit");
    assert_bad(HEAD "store: {segment_mib: -1}\n",
               "/etc/t/dc.yaml:8:9: 'store.segment_mib' is '-1': it must be a whole number, "
               "without a unit");
    assert_bad(HEAD "store: {segment_mib: 99999999999999999999}\n",
               "/etc/t/dc.yaml:8:9: 'store.segment_mib' is '99999999999999999999': it must be a "
               "whole number, without a "
               "unit");
    assert_bad(HEAD "store: {segment_mib: 0}\n",
               "/etc/t/dc.yaml:8:9: 'store.segment_mib' is 0: 1 to 1024 are allowed");
    /* The log's own limit: what is accepted here the log can open. */
    assert_bad(HEAD "store: {segment_mib: 1025, log_limit_mib: 8192}\n",
               "/etc/t/dc.yaml:8:9: 'store.segment_mib' is 1025: 1 to 1024 are allowed");
    assert_bad(
        HEAD "replication: {failover: auto}\n",
        "/etc/t/dc.yaml:8:15: 'replication.failover' is 'auto': use automatic, observe or manual");
    assert_bad("cluster: {name: reg, id: 6f1c}\nsite: a\nmembers:\n  - {name: a, kind: data, peer: "
               "'h:1', client: 'h:1'}\n"
               "data_dir: d\ntls: {ca: a, cert: b, key: c}\n",
               "/etc/t/dc.yaml:1:22: 'cluster.id': '6f1c' is not a UUID such as "
               "6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42");
}

#define CLUSTER "cluster: {name: reg, id: 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42}\n"
#define TAIL "data_dir: d\ntls: {ca: a, cert: b, key: c}\n"

static void wrong_members(void **state)
{
    (void)state;
    assert_bad(CLUSTER
               "site: dcc\nmembers:\n  - {name: dc, kind: data, peer: 'h:1', client: 'h:1'}\n" TAIL,
               "/etc/t/dc.yaml:2:1: site 'dcc' is not among the members: did you mean 'dc'?");
    assert_bad(CLUSTER "site: a\nmembers:\n  - {name: a, kind: data, peer: 'h:1', client: 'h:1'}\n"
                       "  - {name: a, kind: data, peer: 'h:1', client: 'h:1'}\n" TAIL,
               "/etc/t/dc.yaml:5:6: two members have the name 'a'");
    assert_bad(CLUSTER
               "site: a\nmembers:\n  - {name: a, kind: dada, peer: 'h:1', client: 'h:1'}\n" TAIL,
               "/etc/t/dc.yaml:4:15: 'members[0].kind' is 'dada': use data or repository");
    assert_bad(CLUSTER
               "site: a\nmembers:\n  - {name: a, kind: data, peer: h, client: 'h:1'}\n" TAIL,
               "/etc/t/dc.yaml:4:27: 'members[0].peer' is 'h': it must be host:port, an IPv6 "
               "address in []");
    assert_bad(CLUSTER
               "site: a\nmembers:\n  - {name: a, kind: data, peer: '::1:5', client: 'h:1'}\n" TAIL,
               "/etc/t/dc.yaml:4:27: 'members[0].peer' is '::1:5': it must be host:port, an IPv6 "
               "address in []");
    assert_bad(CLUSTER
               "site: a\nmembers:\n  - {name: a, kind: data, peer: '[:1', client: 'h:1'}\n" TAIL,
               "/etc/t/dc.yaml:4:27: 'members[0].peer' is '[:1': it must be host:port, an IPv6 "
               "address in []");
    assert_bad(CLUSTER
               "site: a\nmembers:\n  - {name: a, kind: data, peer: '[]:1', client: 'h:1'}\n" TAIL,
               "/etc/t/dc.yaml:4:27: 'members[0].peer' is '[]:1': it must be host:port, an IPv6 "
               "address in []");
    assert_bad(
        CLUSTER
        "site: a\nmembers:\n  - {name: a, kind: data, peer: 'h:1', client: 'h:70000'}\n" TAIL,
        "/etc/t/dc.yaml:4:40: 'members[0].client' is 'h:70000': it must be host:port, an IPv6 "
        "address in []");
    assert_bad(
        CLUSTER
        "site: a\nmembers:\n  - {name: a, kind: repository, peer: 'h:1', client: 'h:1'}\n" TAIL,
        "/etc/t/dc.yaml:3:1: no member is of kind data: nobody could become primary");
    assert_bad(
        CLUSTER "site: a\nmembers:\n  - {name: A_b, kind: data, peer: 'h:1', client: 'h:1'}\n" TAIL,
        "/etc/t/dc.yaml:4:6: 'members[0].name' is 'A_b': use lower-case letters, digits and '-'");
    assert_bad(CLUSTER "site: a\nmembers:\n  - {name: aaaaaaaaaabbbbbbbbbbccccccccccddd, kind: "
                       "data, peer: 'h:1', client: 'h:1'}\n" TAIL,
               "/etc/t/dc.yaml:4:6: 'members[0].name' has 33 bytes: at most 32 are allowed");
}

static void across_fields(void **state)
{
    (void)state;
    assert_bad(HEAD "replication:\n  election_ms: 100\n  lease_ms: 90\n  heartbeat_ms: 30\n",
               "/etc/t/dc.yaml:10:3: 'replication.lease_ms' is 90: it must be below 9/10 of "
               "election_ms (100), so that it "
               "ends before another site may be elected, also when clocks drift");
    assert_bad(HEAD "replication: {election_ms: 100, lease_ms: 80}\n",
               "/etc/t/dc.yaml:8:15: 'replication.election_ms' is 100: with a heartbeat of 50 ms "
               "it must be at least 150, "
               "so that one late message is not an election");
    assert_bad(HEAD "replication: {lease_ms: 50}\n",
               "/etc/t/dc.yaml:8:15: 'replication.lease_ms' is 50: with a heartbeat of 50 ms it "
               "must be at least 100, or it ends before the next heartbeat is answered");
    assert_bad(HEAD "replication: {heartbeat_ms: 100, election_ms: 300, lease_ms: 150}\n",
               "/etc/t/dc.yaml:8:52: 'replication.lease_ms' is 150: with a heartbeat of 100 ms it "
               "must be at least 200, or it ends before the next heartbeat is answered");
    assert_bad(HEAD "repository: {dir: a, kek_file: b}\n",
               "/etc/t/dc.yaml:8:1: site 'dc' is of kind data: only a site of kind repository has "
               "an archive");
    assert_bad(HEAD "store: {log_limit_mib: 128}\n",
               "/etc/t/dc.yaml:8:9: 'store.log_limit_mib' is 128: it must hold at least 4 segments "
               "of 64 MiB");
    assert_bad(HEAD "store: {log_limit_mib: 256, log_retain_mib: 300}\n",
               "/etc/t/dc.yaml:8:29: 'store.log_retain_mib' is 300: it must not be above "
               "log_limit_mib (256)");
    assert_bad(HEAD "store: {log_limit_mib: 500, log_retain_mib: 0}\n",
               "/etc/t/dc.yaml:8:1: 'store.checkpoint_mib' is 256: log_limit_mib (500) must hold "
               "two of them, or the log "
               "fills before it may be recycled");
    assert_bad(CLUSTER "site: g\nmembers:\n  - {name: a, kind: data, peer: 'h:1', client: 'h:1'}\n"
                       "  - {name: g, kind: repository, peer: 'h:1', client: 'h:1'}\n" TAIL
                       "repository:\n  dir: x\n",
               "/etc/t/dc.yaml:8:1: site 'g' is of kind repository: it needs "
               "'repository.kek' (or 'repository.kek_file'), the key that its "
               "archive is encrypted under");
}

#define GSR                                                                                        \
    CLUSTER "site: g\nmembers:\n  - {name: a, kind: data, peer: 'h:1', client: 'h:1'}\n"           \
            "  - {name: g, kind: repository, peer: 'h:1', client: 'h:1'}\n" TAIL                   \
            "repository:\n  dir: x\n"

static void assert_kek(const char *text, const char *kek)
{
    struct site_config c;
    struct err e = ERR_NONE;
    if (config_parse("/etc/t/g.yaml", bytes_str(text), &c, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(c.kek_file, kek);
}

static void the_key_of_the_archive_comes_from_one_of_three(void **state)
{
    (void)state;
    assert_kek(GSR "  kek_file: kek\n", "/etc/t/kek");
    assert_kek(GSR "  kek: {file: kek}\n", "/etc/t/kek");
    assert_kek(GSR "  checkpoint_key_file: c\n  kek: {command: [/bin/get, -v, 'x:y']}\n",
               "command:/bin/get -v x:y");
    assert_kek(
        GSR "  checkpoint_key_file: c\n  kek: {token: 'pkcs11:token=a;object=k?module-path=/m'}\n",
        "pkcs11:token=a;object=k?module-path=/m");
    assert_bad(
        GSR "  kek_file: kek\n  kek: {file: kek}\n",
        "/etc/t/dc.yaml:11:3: give one of 'repository.kek_file' and in 'repository.kek' file, "
        "command and token");
    assert_bad(
        GSR "  kek: {command: [get, key]}\n",
        "/etc/t/dc.yaml:10:9: 'repository.kek.command' is a list of words without blanks, the "
        "first an absolute path: put more into a script");
    assert_bad(
        GSR "  kek: {command: [/bin/get, 'a key']}\n",
        "/etc/t/dc.yaml:10:9: 'repository.kek.command' is a list of words without blanks, the "
        "first an absolute path: put more into a script");
    assert_bad(
        GSR "  kek: {token: kek}\n",
        "/etc/t/dc.yaml:10:9: 'repository.kek.token' must be a PKCS #11 URI (RFC 7512) such as "
        "pkcs11:token=archive;object=kek?module-path=/path/of/module.so");
    assert_bad(GSR "  kek: {command: [/bin/get]}\n",
               "/etc/t/dc.yaml:8:1: the key of the archive is in no file, so "
               "'repository.checkpoint_key_file' must say where the key that signs checkpoints is");
}

/* Deep nesting must neither recurse nor take long. */
static void deep_nesting(void **state)
{
    (void)state;
    static char text[1 << 20]; /* the most that is read at all */
    memset(text, '[', sizeof text);
    struct site_config c;
    struct err e = ERR_NONE;
    assert_int_equal(config_parse("f", bytes_of(text, sizeof text), &c, &e), ERR_CONFIG);
    assert_string_equal(e.text, "f:1:7: nested deeper than 6 levels");
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "- ", 2);
    assert_int_equal(config_parse("f", bytes_of(text, sizeof text), &c, &e), ERR_CONFIG);
    assert_string_equal(e.text, "f:1:13: nested deeper than 6 levels");
}

static void too_large(void **state)
{
    (void)state;
    static char text[(1 << 20) + 1];
    memset(text, '#', sizeof text);
    struct site_config c;
    struct err e = ERR_NONE;
    assert_int_equal(config_parse("f", bytes_of(text, sizeof text), &c, &e), ERR_LIMIT);
    assert_string_equal(e.text, "f: 1048577 bytes, at most 1048576 are allowed");
}

static void uuids(void **state)
{
    (void)state;
    struct uuid id;
    char text[UUID_TEXT_BYTES];
    struct err e = ERR_NONE;
    assert_int_equal(uuid_parse("6F1C2A34-8f0e-4a57-9a51-7d2f6c1b0e42", &id, &e), 0);
    assert_string_equal(uuid_text(&id, text), "6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42");
    assert_int_equal(uuid_parse("6f1c2a348f0e-4a57-9a51-7d2f6c1b0e42", &id, &e), ERR_USAGE);
    assert_int_equal(uuid_parse("6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e4g", &id, &e), ERR_USAGE);
    assert_int_equal(uuid_parse("", &id, &e), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_with_defaults),
        cmocka_unit_test(good_all_given),
        cmocka_unit_test(example_parses),
        cmocka_unit_test(the_archive_may_lie_in_several_places),
        cmocka_unit_test(unknown_keys),
        cmocka_unit_test(missing_keys),
        cmocka_unit_test(wrong_shapes),
        cmocka_unit_test(members_are_sorted_by_name),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(wrong_members),
        cmocka_unit_test(across_fields),
        cmocka_unit_test(the_key_of_the_archive_comes_from_one_of_three),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(too_large),
        cmocka_unit_test(uuids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
