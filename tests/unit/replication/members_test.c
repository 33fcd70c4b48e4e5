/* The list of members as a site has it, over a real log and a real state: which list is found at the start, what becomes of names
 * and addresses when lists are read, taken and cut, and what an order makes of the list in force. */
#include "tests/unit/replication/parts_kit.h"

#include "replication/site_init.h"

static const char founded[] = "dc data, dr data, gsr repository";

static int set_up(void **state)
{
    static const char *const names[] = {"dc", "dr", "gsr"};
    if (parts_setup(state) != 0)
        return -1;
    struct parts *p = *state;
    struct site *s = &p->site;
    p->config.member_count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        struct site_member *m = &p->config.members[i];
        (void)snprintf(m->name, sizeof m->name, "%s", names[i]);
        m->kind = i == 2 ? SITE_REPOSITORY : SITE_DATA;
        (void)snprintf(m->peer, sizeof m->peer, "file-%s:1", names[i]);
        (void)snprintf(m->client, sizeof m->client, "file-%s:2", names[i]);
    }
    s->own_config = p->config;
    s->config = &s->own_config;
    memcpy(s->file_members, p->config.members, sizeof s->file_members);
    s->file_member_count = 3;
    (void)snprintf(s->members, sizeof s->members, "%s", founded);
    char text[256];
    (void)snprintf(text, sizeof text,
                   "{\"format\":%d,\"cluster\":\"gov\",\"cluster_id\":"
                   "\"07000000000000000000000000000000\",\"site\":\"dc\",\"incarnation\":1,"
                   "\"members\":\"%s\"}",
                   SITE_FORMAT, founded);
    kit_write(p->dir, "site.json", (const uint8_t *)text, strlen(text));
    return 0;
}

static int tear_down(void **state)
{
    site_snapshot_drop(&((struct parts *)*state)->site);
    return parts_teardown(state);
}

/* One entry: these names, the voters by bit, all at this host. */
static void list_entry(struct history *h, const char *names, unsigned voters, const char *host)
{
    uint8_t buffer[1024];
    char endpoints[MEMBERS_MAX][2][64], list[256];
    struct writer w = writer_of(buffer, sizeof buffer);
    struct body_members b = {
        .cluster_id = {{7}}, .by = bytes_str("ops"), .founded = bytes_str(founded)};
    (void)snprintf(list, sizeof list, "%s", names);
    char *rest;
    for (char *name = strtok_r(list, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        (void)snprintf(endpoints[b.count][0], 64, "%s-%s:1", host, name);
        (void)snprintf(endpoints[b.count][1], 64, "%s-%s:2", host, name);
        b.members[b.count] = (struct body_member){
            .name = bytes_str(name),
            .kind = strncmp(name, "gsr", 3) == 0 ? MEMBER_REPOSITORY : MEMBER_DATA,
            .votes = (voters >> b.count & 1) != 0,
            .peer = bytes_str(endpoints[b.count][0]),
            .client = bytes_str(endpoints[b.count][1])};
        b.count++;
    }
    body_write_members(&w, kit_salt, &b);
    assert_false(w.bad);
    history_add(h, ENTRY_MEMBERS, buffer, w.at);
}

static void found(struct parts *p, struct member_lists *lists)
{
    must(members_find(&p->site, lists, &e));
}

/* The core says that this list is in force. */
static void in_force(struct parts *p, const struct repl_member_list *l)
{
    p->site.view.list = *l;
    members_take_addresses(&p->site);
}

static void assert_at(struct parts *p, uint8_t slot, const char *name, const char *peer)
{
    assert_string_equal(p->site.config->members[slot].name, name);
    assert_string_equal(p->site.config->members[slot].peer, peer);
}

static void without_a_logged_list_the_file_is_it(void **state)
{
    struct parts *p = *state;
    struct member_lists l;
    history_put(&p->h, "land", "one", "1");
    parts_log(p);
    parts_apply(p, 1);
    found(p, &l);
    assert_int_equal(l.n, 1);
    assert_false(l.logged);
    assert_int_equal(l.v[0].lsn.v, 0);
    assert_int_equal(l.v[0].members.all, 7);
    assert_int_equal(l.v[0].members.voters, 7);
    assert_int_equal(l.v[0].members.electable, 3);
}

/* Killed behind the very first change, before a checkpoint: the list of the file is the one before it. */
static void the_first_logged_list_stands_beside_that_of_the_file(void **state)
{
    struct parts *p = *state;
    struct member_lists l;
    list_entry(&p->h, "dc dr dr2 gsr", 0xb, "log");
    parts_log(p);
    parts_apply(p, 0);
    found(p, &l);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.v[0].members.voters, 7);
    assert_int_equal(l.v[1].lsn.v, 1);
    assert_int_equal(l.v[1].members.all, 15); /* slots: dc, dr, gsr, dr2 */
    assert_int_equal(l.v[1].members.voters, 7);
    assert_int_equal(l.v[1].members.electable, 11);
}

static void a_file_that_was_changed_by_hand_is_refused_while_its_list_may_count(void **state)
{
    struct parts *p = *state;
    struct member_lists l;
    p->site.own_config.member_count = 2;
    list_entry(&p->h, "dc dr gsr", 7, "log");
    parts_log(p);
    parts_apply(p, 0);
    must_fail(members_find(&p->site, &l, &e), ERR_DENIED,
              "counts the members dc data, dr data, gsr");
}

static void of_many_lists_the_last_two_count_and_the_file_does_not(void **state)
{
    struct parts *p = *state;
    struct member_lists l;
    p->site.own_config.member_count = 2; /* brought in line with something, in the meantime */
    list_entry(&p->h, "dc dr dr2 gsr", 0xb, "log");
    list_entry(&p->h, "dc dr dr2 gsr", 0xf, "log");
    history_put(&p->h, "land", "one", "1");
    list_entry(&p->h, "dc dr2 gsr", 7, "log");
    parts_log(p);
    parts_apply(p, 0);
    found(p, &l);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.v[0].lsn.v, 2);
    assert_int_equal(l.v[1].lsn.v, 4);
    assert_int_equal(parts_told(p, "as of the list at lsn 4"), 1);
    assert_string_equal(p->site.members, founded);
}

/* The log may have been recycled behind it. */
static void what_the_state_has_needs_no_log(void **state)
{
    struct parts *p = *state;
    struct member_lists l;
    list_entry(&p->h, "dc dr2 gsr", 7, "log");
    history_put(&p->h, "land", "one", "1");
    parts_log(p);
    parts_apply(p, 2);
    found(p, &l);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.v[0].lsn.v, 1);
    in_force(p, &l.v[0]);
    assert_at(p, 3, "dr2", "log-dr2:1");
    assert_int_equal(l.v[0].members.all, 1 | 4 | 8);
}

static void a_site_that_joins_counts_nobody(void **state)
{
    struct parts *p = *state;
    struct member_lists l;
    p->site.members[0] = '\0';
    history_put(&p->h, "land", "one", "1");
    parts_log(p);
    parts_apply(p, 1);
    found(p, &l);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.v[0].members.all, 0);
}

/* A list that is read, or in force and cut again, leaves no address behind. */
static void addresses_are_those_of_the_list_in_force(void **state)
{
    struct parts *p = *state;
    struct repl_members m;
    list_entry(&p->h, "dc dr gsr", 7, "one");
    list_entry(&p->h, "dc dr2 gsr", 7, "two");
    parts_log(p);
    parts_apply(p, 0);
    const struct repl_member_list file = {.lsn = {0}};
    for (size_t i = 0; i < 2; i++)
        must(members_read(&p->site, bytes_of(p->h.v[i].body, p->h.v[i].header.body_bytes), &m, &e));
    assert_at(p, 0, "dc", "file-dc:1");
    in_force(p, &(struct repl_member_list){.lsn = {1}});
    assert_at(p, 0, "dc", "one-dc:1");
    in_force(p, &(struct repl_member_list){.lsn = {2}});
    assert_at(p, 0, "dc", "two-dc:1");
    assert_at(p, 1, "dr", "one-dr:1"); /* no member now */
    assert_at(p, 3, "dr2", "two-dr2:1");
    in_force(p, &(struct repl_member_list){.lsn = {1}});
    assert_at(p, 0, "dc", "one-dc:1");
    in_force(p, &file);
    assert_at(p, 0, "dc", "file-dc:1");
    assert_at(p, 1, "dr", "file-dr:1");
}

static void lists_of_others_and_too_many_names_are_refused(void **state)
{
    struct parts *p = *state;
    struct repl_members m;
    list_entry(&p->h, "a b c d e f", 7, "x");
    must_fail(members_read(&p->site, bytes_of(p->h.v[0].body, p->h.v[0].header.body_bytes), &m, &e),
              ERR_LIMIT, "start the site again");
    p->site.own_config.cluster_id.b[0] = 8;
    must_fail(members_read(&p->site, bytes_of(p->h.v[0].body, p->h.v[0].header.body_bytes), &m, &e),
              ERR_FORMAT, "another cluster");
    must_fail(members_read(&p->site, bytes_of(p->h.v[0].body, 3), &m, &e), ERR_FORMAT, "members");
}

/* ---- orders ---- */

/* The list that this order makes of dc, dr, gsr: "dc! dr gsr!", with ! for a vote. */
static const char *ordered(struct parts *p, const char *what, json_t *arguments, struct err *e)
{
    static char out[256];
    uint8_t buffer[4096];
    struct writer w = writer_of(buffer, sizeof buffer);
    struct body_members b;
    p->site.view.list.members = (struct repl_members){.all = 7, .voters = 7, .electable = 3};
    *e = (struct err)ERR_NONE;
    int rc = members_order(&p->site, what, arguments, bytes_str("ops"), &w, e);
    json_decref(arguments);
    if (rc != 0)
        return NULL;
    assert_int_equal(body_read_members(bytes_of(buffer, w.at), &b, NULL), 0);
    assert_true(bytes_equal(b.founded, bytes_str(founded)));
    out[0] = '\0';
    for (uint32_t i = 0, at = 0; i < b.count; i++)
        at += (uint32_t)snprintf(out + at, sizeof out - at, "%s%.*s%s", i > 0 ? " " : "",
                                 (int)b.members[i].name.n, (const char *)b.members[i].name.p,
                                 b.members[i].votes ? "!" : "");
    return out;
}

static json_t *named(const char *name)
{
    return json_pack("{s:s}", "name", name);
}

static json_t *new_site(const char *name, const char *kind, const char *peer)
{
    return json_pack("{s:s, s:s?, s:s?, s:s}", "name", name, "kind", kind, "peer", peer, "client",
                     "h:2");
}

static void an_order_makes_the_whole_list_in_the_order_of_the_names(void **state)
{
    struct parts *p = *state;
    struct err e;
    assert_string_equal(ordered(p, "member-add", new_site("aa", "data", "h:1"), &e),
                        "aa dc! dr! gsr!");
    assert_string_equal(ordered(p, "member-demote", named("dr"), &e), "dc! dr gsr!");
    assert_string_equal(ordered(p, "member-remove", named("dr"), &e), "dc! gsr!");
    /* refused, and given again with another address */
    assert_non_null(ordered(p, "member-add", new_site("aa", "data", "h:7"), &e));
    assert_at(p, 3, "aa", "h:7");
}

static void orders_that_make_no_sense_are_refused_with_the_reason(void **state)
{
    struct parts *p = *state;
    struct err e;
    const struct {
        const char *what;
        json_t *arguments;
        int code;
        const char *why;
    } cases[] = {
        {"member-add", named("dr"), ERR_EXISTS, "'dr' is a member already"},
        {"member-add", new_site("a b", "data", "h:1"), ERR_USAGE, "a member has a name of letters"},
        {"member-add", new_site("aa", "data", "h"), ERR_USAGE, "host:port"},
        {"member-add", new_site("aa", "data", NULL), ERR_USAGE, "host:port"},
        {"member-add", new_site("aa", "witness", "h:1"), ERR_USAGE,
         "kind must be data or repository"},
        {"member-promote", named("dr"), ERR_EXISTS, "'dr' votes already"},
        {"member-promote", named("dx"), ERR_NOT_FOUND, "no member is called 'dx'"},
        {"member-remove", named("dx"), ERR_NOT_FOUND, "no member is called 'dx'"},
        {"member-remove", json_object(), ERR_USAGE, "the name of a member is needed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(ordered(p, cases[i].what, cases[i].arguments, &e));
        assert_int_equal(e.code, cases[i].code);
        assert_non_null(strstr(e.text, cases[i].why));
    }
    p->site.view.list.lsn.v = 9; /* in the log, and not committed */
    assert_null(ordered(p, "member-remove", named("dr"), &e));
    assert_int_equal(e.code, ERR_BUSY);
}

/* ---- what follows from it ---- */

static void who_is_no_member_is_not_linked_and_is_told_why(void **state)
{
    struct parts *p = *state;
    struct err why = ERR_NONE;
    struct site *s = &p->site;
    s->view.list = (struct repl_member_list){{4}, {.all = 5, .voters = 5, .electable = 1}};
    assert_true(members_linked(s, 2, &why));
    assert_false(members_linked(s, 1, &why));
    assert_int_equal(why.code, ERR_DENIED);
    assert_non_null(strstr(why.text, "dr is no member of the cluster, as of the list at lsn 4"));
    s->let_go.slots = 2; /* it is let go when it knows */
    assert_true(members_linked(s, 1, &why));
    s->let_go.slots = 0;
    s->view.list.members.all = 0; /* joins: it may be added */
    assert_true(members_linked(s, 1, &why));
    s->view.list.members.all = 6; /* was removed itself: the same */
    assert_true(members_linked(s, 1, &why));
}

static void a_file_that_lags_behind_the_list_is_told(void **state)
{
    struct parts *p = *state;
    struct site *s = &p->site;
    char how[200];
    struct member_lists l;
    list_entry(&p->h, "dc dr2 gsr", 7, "log");
    parts_log(p);
    parts_apply(p, 0);
    found(p, &l);
    s->view.list = l.v[0];
    assert_false(members_file_differs(s, how, sizeof how));
    s->view.list = l.v[1];
    assert_true(members_file_differs(s, how, sizeof how));
    assert_string_equal(how, "names dr, lacks dr2");
    s->list_moved = true;
    members_follow(s);
    members_follow(s); /* once for each list */
    assert_int_equal(parts_told(p, "configuration file of this site names dr, lacks dr2: bring"),
                     1);
}

int main(void)
{
#define PARTS(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PARTS(without_a_logged_list_the_file_is_it),
        PARTS(the_first_logged_list_stands_beside_that_of_the_file),
        PARTS(a_file_that_was_changed_by_hand_is_refused_while_its_list_may_count),
        PARTS(of_many_lists_the_last_two_count_and_the_file_does_not),
        PARTS(what_the_state_has_needs_no_log),
        PARTS(a_site_that_joins_counts_nobody),
        PARTS(addresses_are_those_of_the_list_in_force),
        PARTS(lists_of_others_and_too_many_names_are_refused),
        PARTS(an_order_makes_the_whole_list_in_the_order_of_the_names),
        PARTS(orders_that_make_no_sense_are_refused_with_the_reason),
        PARTS(who_is_no_member_is_not_linked_and_is_told_why),
        PARTS(a_file_that_lags_behind_the_list_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
