/* The access key: from a file that nobody else can read, or the environment. */
#include "repository/io/s3_credentials.h"
#include "tests/unit/repository/fixture.h"

static void clear_environment(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(unsetenv(names[i]), 0);
}

static void a_file_of_the_aws_tools_is_read(void **state)
{
    (void)state;
    struct place p;
    struct s3_credentials c;
    struct err e = ERR_NONE;
    char path[300];
    static const char text[] = "# keys\n[default]\naws_access_key_id = AKIA\n"
                               "aws_secret_access_key=s/+= x \nregion = eu\n[other]\n"
                               "aws_access_key_id = OTHER\naws_session_token = t\n";
    place_make(&p);
    (void)snprintf(path, sizeof path, "%s/credentials", p.root);
    write_file(path, text, sizeof text - 1, 0600);
    assert_ok(s3_credentials_load(path, &c, &e), e);
    assert_string_equal(c.key, "AKIA");
    assert_string_equal(c.secret, "s/+= x");
    assert_string_equal(c.token, "t");
    s3_credentials_wipe(&c);
    assert_string_equal(c.secret, "");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(s3_credentials_load(path, &c, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "others can access it (mode 640): chmod 600 it"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(s3_credentials_load(path, &c, &e), ERR_NOT_FOUND);
    write_file(path, "aws_access_key_id = AKIA\n", 25, 0600);
    assert_int_equal(s3_credentials_load(path, &c, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "no aws_secret_access_key in it"));
    place_drop(&p);
}

static void the_environment_serves_when_no_file_is_named(void **state)
{
    (void)state;
    struct s3_credentials c;
    struct err e = ERR_NONE;
    clear_environment();
    assert_int_equal(s3_credentials_load("", &c, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "no access key: name a file"));
    assert_int_equal(setenv("AWS_ACCESS_KEY_ID", "k", 1), 0);
    assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "s", 1), 0);
    assert_ok(s3_credentials_load("", &c, &e), e);
    assert_string_equal(c.key, "k");
    assert_string_equal(c.secret, "s");
    assert_string_equal(c.token, "");
    clear_environment();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_the_aws_tools_is_read),
        cmocka_unit_test(the_environment_serves_when_no_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
