/* The options of a client: what the command line says, then the environment, then a profile; and what is missing or wrong, with
 * the place in the profile. */
#include "tools/connect.h"
#include "temp_dir.h"

static const char whole[] = "endpoints: dc:7401,dr:7401\n"
                            "ca: pki/ca.crt\n"
                            "cert: /etc/t/alice.crt\n"
                            "key: alice.key\n"
                            "id: 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42\n"
                            "cluster: gov\n"
                            "ack: all\n"
                            "timeout: 3s\n";

static void a_profile_fills_what_is_left_open(void **state)
{
    (void)state;
    struct common c = {.profile = temp_file("p.yaml", bytes_str(whole)), .id = "given"};
    struct tvn_options o;
    struct profile *profile;
    struct err e = ERR_NONE;
    char path[256];
    if (connect_options(&c, &o, &profile, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(o.endpoints, "dc:7401,dr:7401");
    (void)snprintf(path, sizeof path, "%s/pki/ca.crt", temp_dir); /* from the folder of the file */
    assert_string_equal(o.ca, path);
    assert_string_equal(o.cert, "/etc/t/alice.crt");
    (void)snprintf(path, sizeof path, "%s/alice.key", temp_dir);
    assert_string_equal(o.key, path);
    assert_null(o.crl);
    assert_string_equal(o.id, "given");
    assert_string_equal(o.cluster, "gov");
    assert_int_equal(o.ack, TVN_ACK_ALL);
    assert_int_equal(o.timeout_ms, 3000);
    assert_int_equal(o.target, TVN_TARGET_PRIMARY);
    assert_null(c.endpoints); /* the caller's are as they were: the profile's strings end with it */
    profile_free(profile);
    c.timeout = (struct option_number){.v = 77, .given = true};
    c.ca = "own.crt";
    c.standby = true;
    assert_int_equal(connect_options(&c, &o, &profile, &e), 0);
    assert_string_equal(o.ca, "own.crt");
    assert_int_equal(o.timeout_ms, 77);
    assert_int_equal(o.target, TVN_TARGET_STANDBY);
    profile_free(profile);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    static const char *const names[] = {"endpoints", "ca", "cert", "key", "id"};
    const char *values[5] = {"e", "a", "c", "k", "i"};
    for (size_t i = 0; i <= 5; i++) {
        const char *keep = i < 5 ? values[i] : NULL;
        if (i < 5)
            values[i] = NULL;
        struct common c = {.endpoints = values[0],
                           .ca = values[1],
                           .cert = values[2],
                           .key = values[3],
                           .id = values[4]};
        struct tvn_options o;
        struct profile *profile;
        struct err e = ERR_NONE;
        assert_int_equal(connect_options(&c, &o, &profile, &e), i < 5 ? ERR_USAGE : 0);
        assert_null(profile);
        if (i < 5) {
            char text[60];
            (void)snprintf(text, sizeof text, "--%s is needed to reach a cluster: ", names[i]);
            assert_int_equal(strncmp(e.text, text, strlen(text)), 0);
            values[i] = keep;
        } else {
            assert_int_equal(o.timeout_ms, 10000);
            assert_int_equal(o.ack, TVN_ACK_DEFAULT);
        }
    }
}

static void wrong(const char *text, int code, const char *why)
{
    struct common c = {.profile = temp_file("p.yaml", bytes_str(text)),
                       .endpoints = "e",
                       .ca = "a",
                       .cert = "c",
                       .key = "k",
                       .id = "i"};
    struct tvn_options o;
    struct profile *profile;
    assert_fails(connect_options(&c, &o, &profile, &e), code, why);
    assert_null(profile);
}

static void what_is_wrong_in_a_profile_has_its_place(void **state)
{
    (void)state;
    wrong("ack: all\nendpoint: dc:1\n", ERR_CONFIG, "p.yaml:2:1: unknown key 'endpoint': did you");
    wrong("ack: all\ntimeout: 3parsecs\n", ERR_CONFIG, "p.yaml:2:1: 'timeout'");
    wrong("", ERR_CONFIG, "the file holds no keys");
    wrong("ack: most\n", ERR_USAGE, "most");
    wrong("timeout: 0s\n", ERR_USAGE, "--timeout must be from 1ms to 49 days");
    wrong("timeout: 1200h\n", ERR_USAGE, "--timeout must be from 1ms to 49 days");
    char text[1200] = "crl: ";
    memset(text + 5, 'x', 1100);
    wrong(text, ERR_CONFIG, "p.yaml:1:1: 'crl' is too long");
    struct common c = {.profile = temp_path("none.yaml")};
    struct tvn_options o;
    struct profile *profile;
    assert_fails(connect_options(&c, &o, &profile, &e), ERR_NOT_FOUND,
                 "none.yaml: cannot be opened");
}

static void names_of_levels_are_known_and_others_are_not(void **state)
{
    (void)state;
    assert_string_equal(ack_name(TVN_ACK_ALL), "all");
    assert_string_equal(ack_name(TVN_ACK_ALL + 1), "unknown");
    assert_string_equal(ack_name(-1), "unknown");
}

int main(void)
{
#define in_dir(f) cmocka_unit_test_setup_teardown(f, temp_dir_set_up, temp_dir_tear_down)
    const struct CMUnitTest tests[] = {
        in_dir(a_profile_fills_what_is_left_open),
        in_dir(what_is_missing_is_named),
        in_dir(what_is_wrong_in_a_profile_has_its_place),
        in_dir(names_of_levels_are_known_and_others_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
