#include "replication/site_init.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char root[64];
static struct site_config config;
static struct err e;

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/tvn-site-init-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    config = (struct site_config){.cluster = "gov",
                                  .cluster_id = {{1, 2, 3}},
                                  .member_count = 2,
                                  .members = {{.name = "dc"}, {.name = "dr"}}};
    (void)snprintf(config.data_dir, sizeof config.data_dir, "%s/a/b/data", root);
    e = (struct err)ERR_NONE;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[80];
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static void path_of(const char *name, char out[256])
{
    (void)snprintf(out, 256, "%s/a/b/data/%s", root, name);
}

static void write_file(const char *name, const char *text)
{
    char path[256];
    path_of(name, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void open_vote(struct vote *vote)
{
    char path[256];
    struct vote_file *file;
    path_of("vote", path);
    assert_int_equal(vote_open(&file, path, vote, &e), 0);
    vote_close(file);
}

static void a_new_site_knows_who_it_is(void **state)
{
    (void)state;
    struct vote vote;
    assert_int_equal(site_check_identity(&config, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "triveni init --rebuilt"));
    assert_non_null(strstr(e.text, "triveni init --new-cluster"));
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    assert_int_equal(site_check_identity(&config, &e), 0);
    open_vote(&vote);
    assert_int_equal(vote.incarnation, 1);
    assert_true(vote.may_vote);
    assert_true(uuid_equal(&vote.cluster_id, &config.cluster_id));
    assert_int_equal(vote.term.v, 0);
}

static void a_rebuilt_one_is_somebody_else_and_does_not_vote(void **state)
{
    (void)state;
    struct vote vote;
    assert_int_equal(site_init(&config, SITE_REBUILT, &e), 0);
    open_vote(&vote);
    assert_true(vote.incarnation > 1);
    assert_false(vote.may_vote);
}

static void nothing_is_made_over_a_site(void **state)
{
    (void)state;
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    assert_int_equal(site_init(&config, SITE_REBUILT, &e), ERR_EXISTS);
    struct vote vote;
    open_vote(&vote);
    assert_true(vote.may_vote);
}

/* R1, R5: a log whose promises are lost would let a site vote twice in a term. */
static void nothing_is_made_over_a_log_without_its_vote(void **state)
{
    (void)state;
    char path[256];
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    path_of("log", path);
    assert_true(site_log_is_gone(path));
    write_file("log/spare-1.seg", "nothing");
    write_file("log/000000000000000g.seg", "no number");
    assert_true(site_log_is_gone(path));
    write_file("log/0000000000000001.seg", "entries");
    assert_false(site_log_is_gone(path));
    path_of("vote", path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "--rebuilt"));
    assert_int_not_equal(access(path, F_OK), 0);
}

/* R5: a restored or copied state has a history, so its site may have promised and acknowledged something. */
static void nothing_that_has_a_history_becomes_a_voter_at_once(void **state)
{
    (void)state;
    static const char *const parts[][2] = {{"state", "state/data.mdb"}, {"log", "log/left-over"}};
    struct vote vote;
    char path[256];
    for (size_t i = 0; i < 2; i++) {
        char command[256];
        (void)snprintf(command, sizeof command, "rm -rf %s/a; mkdir -p %s/a/b/data/%s", root, root,
                       parts[i][0]);
        assert_int_equal(system(command), 0);
        write_file(parts[i][1], "data");
        assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), ERR_EXISTS);
        assert_non_null(strstr(e.text, "--rebuilt"));
        path_of("vote", path);
        assert_int_not_equal(access(path, F_OK), 0);
        assert_int_equal(site_init(&config, SITE_REBUILT, &e), 0);
        open_vote(&vote);
        assert_false(vote.may_vote);
    }
}

static void an_interrupted_init_is_repeated(void **state)
{
    (void)state;
    char path[256];
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    path_of("vote", path);
    assert_int_equal(unlink(path), 0); /* it is made last */
    write_file("site.json", "{");
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    assert_int_equal(site_check_identity(&config, &e), 0);
}

static void a_directory_of_somebody_else_is_refused(void **state)
{
    (void)state;
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    config.self = 1;
    assert_int_equal(site_check_identity(&config, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "belongs to site 'dc'"));
    config.self = 0;
    config.cluster_id.b[15] = 9;
    assert_int_equal(site_check_identity(&config, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "belongs to cluster "));
    char dashed[37] = "........-....-....-....-............";
    const char *said = strstr(e.text, "the configuration says ");
    assert_non_null(said);
    for (size_t i = 0; i < 36; i++)
        assert_true((dashed[i] == '-') == (said[23 + i] == '-'));
    assert_non_null(strstr(e.text, ": correct data_dir"));
}

static void an_identity_that_cannot_be_read_is_damage(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"site\": \"dc\"}",
                                      "{\"site\": 1, \"cluster_id\": 2}",
                                      "{\"site\": \"dc\", \"cluster_id\": \"none\"}"};
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file("site.json", bad[i]);
        assert_int_equal(site_check_identity(&config, &e), ERR_INTEGRITY);
        assert_non_null(strstr(e.text, "site.json"));
    }
}

static void set_members(const char *const names[], uint32_t n)
{
    config.member_count = n;
    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(config.members[i].name, sizeof config.members[i].name, "%s", names[i]);
        config.members[i].kind = strcmp(names[i], "gsr") == 0 ? SITE_REPOSITORY : SITE_DATA;
        if (strcmp(names[i], "dc") == 0)
            config.self = i;
    }
}
#define MEMBERS(...)                                                                               \
    set_members((const char *const[]){__VA_ARGS__},                                                \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* P3: a site that counts others finds another majority. */
static void other_members_are_refused_and_their_order_is_nothing(void **state)
{
    (void)state;
    char before[SITE_MEMBERS_BYTES];
    MEMBERS("dc", "dr", "gsr");
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    MEMBERS("gsr", "dc", "dr");
    site_members_text(&config, before);
    assert_string_equal(before, "dc data, dr data, gsr repository");
    assert_int_equal(site_check_identity(&config, &e), 0);
    MEMBERS("dc");
    assert_int_equal(site_check_identity(&config, &e), ERR_DENIED);
    assert_non_null(strstr(
        e.text, "counts the members dc data, dr data, gsr repository, the configuration has dc "
                "data:"));
    MEMBERS("dc", "dr", "gsr");
    config.members[2].kind = SITE_DATA;
    assert_int_equal(site_check_identity(&config, &e), ERR_DENIED);
}

static void members_change_only_with_a_majority_of_both_lists(void **state)
{
    (void)state;
    char before[SITE_MEMBERS_BYTES];
    struct vote vote;
    MEMBERS("dc", "dr", "gsr");
    assert_int_equal(site_init(&config, SITE_REBUILT, &e), 0);
    open_vote(&vote);
    MEMBERS("dc");
    assert_int_equal(site_change_members(&config, before, &e), ERR_DENIED);
    MEMBERS("dc", "b", "c");
    assert_int_equal(site_change_members(&config, before, &e), ERR_DENIED);
    MEMBERS("dc", "dr", "x", "y");
    assert_int_equal(site_change_members(&config, before, &e), ERR_DENIED);
    MEMBERS("dc", "dr", "other");
    int lock;
    assert_int_equal(site_lock(&config, &lock, &e), 0);
    assert_int_equal(site_change_members(&config, before, &e), ERR_BUSY);
    close(lock);
    assert_int_equal(site_change_members(&config, before, &e), 0);
    assert_string_equal(before, "dc data, dr data, gsr repository");
    assert_int_equal(site_check_identity(&config, &e), 0);
    char command[160], number[40];
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)vote.incarnation);
    (void)snprintf(command, sizeof command, "grep -q %s %s/a/b/data/site.json", number, root);
    assert_int_equal(system(command), 0); /* the incarnation stays */
    MEMBERS("dc", "other");
    assert_int_equal(site_change_members(&config, before, &e), 0);
    MEMBERS("dc", "dr", "gsr");
    assert_int_equal(site_check_identity(&config, &e), ERR_DENIED);
}

/* It counts nobody, whatever its file says, until the log has told it; and it does not vote. */
static void a_site_that_joins_counts_nobody(void **state)
{
    (void)state;
    char members[SITE_MEMBERS_BYTES];
    struct vote vote;
    MEMBERS("dc", "dr", "gsr");
    assert_int_equal(site_init(&config, SITE_JOINS, &e), 0);
    open_vote(&vote);
    assert_false(vote.may_vote);
    assert_true(vote.incarnation > 1);
    assert_int_equal(site_read_identity(&config, members, &e), 0);
    assert_string_equal(members, "");
    char before[SITE_MEMBERS_BYTES];
    assert_int_equal(site_change_members(&config, before, &e), ERR_DENIED);
}

static void one_process_at_a_time(void **state)
{
    (void)state;
    int first, second;
    char pid[32];
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    assert_int_equal(site_lock(&config, &first, &e), 0);
    assert_int_equal(site_lock(&config, &second, &e), ERR_BUSY);
    assert_int_equal(second, -1);
    (void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_non_null(strstr(e.text, pid));
    close(first);
    assert_int_equal(site_lock(&config, &second, &e), 0);
    close(second);
}

static void a_path_that_cannot_be_made_is_named(void **state)
{
    (void)state;
    char file[80];
    (void)snprintf(file, sizeof file, "%s/a", root);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), ERR_IO);
    assert_non_null(strstr(e.text, "/a"));
}

static void an_identity_of_a_newer_program_is_no_damage(void **state)
{
    (void)state;
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    write_file("site.json", "{\"format\": 2, \"names\": [\"gov\", \"dc\"]}");
    assert_int_equal(site_check_identity(&config, &e), ERR_NEWER);
    assert_non_null(strstr(e.text, "newer triveni (format 2, this one reads 1)"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_new_site_knows_who_it_is),
        T(a_rebuilt_one_is_somebody_else_and_does_not_vote),
        T(nothing_is_made_over_a_site),
        T(nothing_is_made_over_a_log_without_its_vote),
        T(nothing_that_has_a_history_becomes_a_voter_at_once),
        T(an_interrupted_init_is_repeated),
        T(a_directory_of_somebody_else_is_refused),
        T(an_identity_that_cannot_be_read_is_damage),
        T(an_identity_of_a_newer_program_is_no_damage),
        T(other_members_are_refused_and_their_order_is_nothing),
        T(members_change_only_with_a_majority_of_both_lists),
        T(a_site_that_joins_counts_nobody),
        T(one_process_at_a_time),
        T(a_path_that_cannot_be_made_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
