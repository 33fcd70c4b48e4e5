/* Files that are no YAML, too much of it, or not of the schema: each is refused with its place. What configurations get wrong is
 * in config_test.c. */
#include "tools/yaml.h"
#include "temp_dir.h"

struct data {
    char *name;
    char **list;
    unsigned list_count;
};

static const cyaml_schema_value_t entry = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 8)};
static const cyaml_schema_field_t fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct data, name, 1, 8),
    CYAML_FIELD_SEQUENCE("list", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct data, list,
                         &entry, 1, 2),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct data, fields)};

static void wrong(const char *text, const char *why)
{
    struct yaml y;
    struct err e = ERR_NONE;
    int rc = yaml_read(&y, "f", bytes_str(text), &schema, &e);
    yaml_release(&y);
    if (rc != ERR_CONFIG || strncmp(e.text, why, strlen(why)) != 0)
        fail_msg("%d '%s' does not begin with '%s'", rc, e.text, why);
}

static void what_is_right_is_read_and_can_be_blamed_with_its_place(void **state)
{
    (void)state;
    struct yaml y;
    struct err e = ERR_NONE;
    if (yaml_read(&y, "f", bytes_str("name: ab\nlist:\n  - x\n  - y\n"), &schema, &e) != 0)
        fail_msg("%s", e.text);
    const struct data *d = y.data;
    assert_string_equal(d->name, "ab");
    assert_int_equal(d->list_count, 2);
    assert_string_equal(d->list[1], "y");
    static const char *const places[][2] = {
        {"", "f:1:1: no"},        {"name", "f:1:1: no"},       {"list", "f:2:1: no"},
        {"list[1]", "f:4:5: no"}, {"list[7]", "f:2:1: no"},    {"list[0].x", "f:3:5: no"},
        {"none", "f:1:1: no"},    {"list[0][0]", "f:3:5: no"}, {"name.x.y", "f:1:1: no"}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_int_equal(yaml_fault(&y, &e, places[i][0], "no"), ERR_CONFIG);
        assert_string_equal(e.text, places[i][1]);
    }
    yaml_release(&y);
    yaml_release(&y);
}

static void what_is_no_yaml_says_where(void **state)
{
    (void)state;
    wrong("name: \xff\n", "f: byte 6: ");
    wrong("name: a\n\tlist: b\n", "f:2:1: ");
    wrong("name: [a\n", "f:");
    wrong("name: \"a\\nb\"\n", "f:1:7: control character 0x0a in a value");
    wrong("name: a\n--- \nname: b\n", "f:2:1: a second document begins here");
    wrong("name: a\n--- [\n", "f:");
    wrong("", "f:1:1: the file holds no keys");
    wrong("# nothing\n", "f:1:1: the file holds no keys");
    wrong("~\n", "f:1:1: the file ");
}

static void depth_and_size_have_their_limits(void **state)
{
    (void)state;
    wrong("name: [[[[[[[[x]]]]]]]]\n", "f:1:12: nested deeper than 6 levels");
    static char large[YAML_TEXT_MAX_BYTES + 1];
    memset(large, ' ', sizeof large);
    struct yaml y;
    assert_fails(yaml_read(&y, "f", bytes_of(large, sizeof large), &schema, &e), ERR_LIMIT,
                 "f: 1048577 bytes, at most 1048576 are allowed");
    yaml_release(&y);
    memset(large, '[', sizeof large - 1); /* an hour, if libyaml had to nest them */
    assert_fails(yaml_read(&y, "f", bytes_of(large, sizeof large - 1), &schema, &e), ERR_CONFIG,
                 "nested deeper than 6 levels");
    yaml_release(&y);
}

static void the_schema_is_kept(void **state)
{
    (void)state;
    wrong("name: 123456789\n", "f:1:1: 'name' is too long: at most 8 bytes");
    wrong("name: ''\n", "f:1:1: 'name' is empty");
    wrong("name: a\nlist: [x, 123456789]\n", "f:2:11: 'list[1]' is too long: at most 8 bytes");
    wrong("name: a\nlist: []\n", "f:2:1: 'list' has too few entries");
    wrong("name: a\nlist: [a, b, c]\n", "f:2:1: 'list' has too many entries");
    wrong("name: a\nlist: b\n", "f:2:1: 'list' must be a list");
    wrong("name: {a: b}\n", "f:1:1: 'name' must be one value");
    wrong("- a\n", "f:1:1: the file must hold keys of its own");
    wrong("list: [a]\n", "f:1:1: required key 'name' is missing");
    wrong("name: a\nname: b\n", "f:2:1: 'name' is given twice");
    wrong("name: a\nnmae: b\n", "f:2:1: unknown key 'nmae': did you mean 'name'?");
    wrong("name: a\nfrobnicate: b\n", "f:2:1: unknown key 'frobnicate': known here are name, list");
    /* told where the value is written out */
    wrong("name: &a b\nlist: [*a]\n", "f:1:7: aliases and anchors are not allowed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_right_is_read_and_can_be_blamed_with_its_place),
        cmocka_unit_test(what_is_no_yaml_says_where),
        cmocka_unit_test(depth_and_size_have_their_limits),
        cmocka_unit_test(the_schema_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
