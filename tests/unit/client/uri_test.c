/* What a handle is opened with: URIs and options, right and wrong. */
#include "client/internal.h"

#include <setjmp.h>

#include <cmocka.h>

#define ID "10020304-0506-0708-090a-0b0c0d0e0f10"
#define FILES "ca=/c&cert=/d&key=/k"

static void a_whole_uri_is_read(void **state)
{
    (void)state;
    struct config c;
    struct err e = ERR_NONE;
    assert_int_equal(
        client_config_init(
            &c,
            "triveni://dc.gov:7400,[fd00::1]:7401,10.0.0.1:1/?ca=%2Fa%20b&cert=/d&key=/k"
            "&crl=/r&cluster=gov&id=" ID "&target=standby&ack=gsr&timeout_ms=2500",
            NULL, &e),
        0);
    assert_int_equal(c.endpoint_count, 3);
    assert_string_equal(c.endpoints[0], "dc.gov:7400");
    assert_string_equal(c.endpoints[1], "[fd00::1]:7401");
    assert_string_equal(c.ca, "/a b");
    assert_string_equal(c.crl, "/r");
    assert_string_equal(c.cluster, "gov");
    assert_int_equal(c.id.b[0], 0x10);
    assert_int_equal(c.id.b[15], 0x10);
    assert_int_equal(c.target, TVN_TARGET_STANDBY);
    assert_int_equal(c.level, LEVEL_GSR);
    assert_int_equal(c.timeout_ms, 2500);
    client_config_deinit(&c);
}

static void options_win_and_defaults_fill(void **state)
{
    (void)state;
    struct config c;
    struct err e = ERR_NONE;
    struct tvn_options o = TVN_OPTIONS_INIT;
    o.endpoints = "b:2";
    o.ack = TVN_ACK_ALL;
    o.cert = "/other";
    assert_int_equal(client_config_init(&c, "triveni://a:1/?" FILES "&ack=local&id=" ID, &o, &e),
                     0);
    assert_int_equal(c.endpoint_count, 1);
    assert_string_equal(c.endpoints[0], "b:2");
    assert_string_equal(c.cert, "/other");
    assert_int_equal(c.level, LEVEL_ALL);
    assert_int_equal(c.target, TVN_TARGET_PRIMARY);
    assert_int_equal(c.timeout_ms, 10000);
    assert_int_equal(c.window, 1024);
    assert_int_equal(c.window_bytes, 64 << 20);
    client_config_deinit(&c);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *says;
    } wrong[] = {
        {"http://a:1/", "triveni://"},
        {"triveni:///var/lib", "endpoint ''"},
        {"triveni://a/?" FILES, "endpoint 'a'"},
        {"triveni://a:0/?" FILES, "endpoint 'a:0'"},
        {"triveni://a:65536/?" FILES, "endpoint"},
        {"triveni://a:99999999999999999999/?" FILES, "endpoint"},
        {"triveni://a:1,/?" FILES, "endpoint ''"},
        {"triveni://fd00::1:7400/?" FILES, "endpoint"},
        {"triveni://[:1/?" FILES,
         "endpoint '[:1': host:port is expected, with an IPv6 address in []"},
        {"triveni://[]:1/?" FILES, "endpoint '[]:1'"},
        {"triveni://a:1,[::1:2/?" FILES, "endpoint '[::1:2'"},
        {"triveni://me@a:1/?" FILES, "endpoint"},
        {"triveni://a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1/", "more than 8"},
        {"triveni://a:1/x", "after the endpoints"},
        {"triveni://a:1/?" FILES, "id is not given"},
        {"triveni://a:1/?id=" ID "&ca=/c&key=/k", "cert is not given"},
        {"triveni://a:1/?" FILES "&id=" ID "&acks=all", "'acks' is unknown"},
        {"triveni://a:1/?" FILES "&id=" ID "&ack=al", "'al' is unknown"},
        {"triveni://a:1/?" FILES "&id=" ID "&ack", "'ack' has no value"},
        {"triveni://a:1/?" FILES "&id=" ID "&ack=all&ack=all", "given twice"},
        {"triveni://a:1/?" FILES "&id=" ID "&crl=%2", "percent-escape"},
        {"triveni://a:1/?" FILES "&id=" ID "&crl=%00", "percent-escape"},
        {"triveni://a:1/?" FILES "&id=" ID "&target=any", "target=any"},
        {"triveni://a:1/?" FILES "&id=" ID "&timeout_ms=0", "timeout_ms=0"},
        {"triveni://a:1/?" FILES "&id=" ID "&timeout_ms=1s", "timeout_ms=1s"},
        {"triveni://a:1/?" FILES "&id=" ID "&warm=1", "warm=1"},
        {"triveni://a:1/?" FILES "&id=1234", "id=1234"},
        {"triveni://a:1/?" FILES "&id=00000000-0000-0000-0000-000000000000", "UUID"},
        {"triveni://a:1/?" FILES "&id=1002030405-06-0708-090a-0b0c0d0e0f10", "UUID"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct config c;
        struct err e = ERR_NONE;
        int rc = client_config_init(&c, wrong[i].uri, NULL, &e);
        if (rc != ERR_USAGE || strstr(e.text, wrong[i].says) == NULL)
            fail_msg("%s: %d: %s", wrong[i].uri, rc, e.text);
        client_config_deinit(&c);
    }
}

static void structs_of_other_versions_are_understood(void **state)
{
    (void)state;
    struct {
        struct tvn_options o;
        uint64_t added;
    } newer = {.o = TVN_OPTIONS_INIT};
    newer.o.size = sizeof newer;
    const char *uri = "triveni://a:1/?" FILES "&id=" ID;
    struct config c;
    struct err e = ERR_NONE;
    assert_int_equal(client_config_init(&c, uri, &newer.o, &e), 0);
    client_config_deinit(&c);
    newer.added = 1;
    assert_int_equal(client_config_init(&c, uri, &newer.o, &e), ERR_USAGE);
    client_config_deinit(&c);
    /* An older, shorter one: what lies behind it is not ours to read. */
    struct tvn_options older;
    memset(&older, 0xee, sizeof older);
    older.size = offsetof(struct tvn_options, ca);
    older.endpoints = NULL;
    assert_int_equal(client_config_init(&c, uri, &older, &e), 0);
    assert_string_equal(c.ca, "/c");
    client_config_deinit(&c);
    older.size = 1;
    assert_int_equal(client_config_init(&c, uri, &older, &e), ERR_USAGE);
    client_config_deinit(&c);
}

static void a_session_needs_its_number(void **state)
{
    (void)state;
    struct tvn_options o = TVN_OPTIONS_INIT;
    struct config c;
    struct err e = ERR_NONE;
    o.session.bytes[3] = 1;
    assert_int_equal(client_config_init(&c, "triveni://a:1/?" FILES "&id=" ID, &o, &e), ERR_USAGE);
    client_config_deinit(&c);
    o.next_sequence = 5;
    assert_int_equal(client_config_init(&c, "triveni://a:1/?" FILES "&id=" ID, &o, &e), 0);
    client_config_deinit(&c);
}

static void codes_have_names_texts_and_exit_codes(void **state)
{
    (void)state;
    for (int code = 0; code >= TVN_KEY_USED; code--) {
        assert_string_not_equal(tvn_strerror(code), "unknown code");
        assert_true(tvn_exit_code(code) >= 0 && tvn_exit_code(code) <= 9);
    }
    assert_string_equal(tvn_strerror(-999), "unknown code");
    assert_string_equal(tvn_strerror(1), "unknown code");
    assert_string_equal(tvn_code_name(TVN_NOT_PRIMARY), "not-primary");
    assert_int_equal(tvn_exit_code(TVN_OUTCOME_UNKNOWN), 9);
    assert_string_equal(tvn_version(), "0.1.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_uri_is_read),
        cmocka_unit_test(options_win_and_defaults_fill),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(structs_of_other_versions_are_understood),
        cmocka_unit_test(a_session_needs_its_number),
        cmocka_unit_test(codes_have_names_texts_and_exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
