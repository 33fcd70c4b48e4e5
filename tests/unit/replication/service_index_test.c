/* Indexes at a whole site, as operators see them: what may be declared, what the list says, what is built while it is written. */
#include "tests/unit/replication/site_kit.h"

#include <jansson.h>

enum { PATIENCE_MS = 60000 };

/* A client's certificate, beside the operator's. */
static int setup(void **state)
{
    char dir[64];
    struct err e = ERR_NONE;
    int rc = kit_setup(state);
    (void)snprintf(dir, sizeof dir, "%s/pki", root);
    return rc != 0 ? rc
                   : pki_issue(dir, &(struct pki_request){.kind = WIRE_CLIENT, .name = "app"}, &e);
}

static struct tvn *connect_as_client(void)
{
    char uri[512];
    struct tvn_error e;
    struct tvn *db;
    (void)snprintf(uri, sizeof uri,
                   "triveni://%s/?id=" CLUSTER_ID
                   "&ca=%s/pki/ca.crt&cert=%s/pki/app.crt&key=%s/pki/app.key",
                   config.members[0].client, root, root, root);
    if (tvn_open(uri, NULL, &db, &e) != 0)
        fail_msg("%s", e.text);
    return db;
}

/* The answer, to be freed; NULL on an error, which is then in `e`. */
static json_t *command(struct tvn *db, const char *name, const char *arguments, struct tvn_error *e)
{
    char *reply;
    if (tvn_admin(db, name, arguments, 0, &reply, e) != 0)
        return NULL;
    json_t *o = json_loads(reply, 0, NULL);
    assert_non_null(o);
    tvn_free(reply);
    return o;
}

#define refused(db, name, arguments, expected, part)                                               \
    do {                                                                                           \
        struct tvn_error e;                                                                        \
        json_t *o = command(db, name, arguments, &e);                                              \
        assert_null(o);                                                                            \
        assert_int_equal(e.code, expected);                                                        \
        if (strstr(e.text, part) == NULL)                                                          \
            fail_msg("'%s' does not say '%s'", e.text, part);                                      \
    } while (0)

static json_int_t done(struct tvn *db, const char *name, const char *arguments, bool *created)
{
    struct tvn_error e;
    json_t *o = command(db, name, arguments, &e);
    if (o == NULL)
        fail_msg("%s", e.text);
    json_int_t lsn = json_integer_value(json_object_get(o, "lsn"));
    assert_true(lsn > 0);
    if (created != NULL)
        *created = json_is_true(json_object_get(o, "created"));
    json_decref(o);
    return lsn;
}

static json_t *list(struct tvn *db)
{
    struct tvn_error e;
    json_t *o = command(db, "index-list", NULL, &e);
    if (o == NULL)
        fail_msg("%s", e.text);
    return o;
}

static json_int_t number(json_t *of, size_t i, const char *what)
{
    return json_integer_value(
        json_object_get(json_array_get(json_object_get(of, "indexes"), i), what));
}

static const char *text(json_t *of, size_t i, const char *what)
{
    return json_string_value(
        json_object_get(json_array_get(json_object_get(of, "indexes"), i), what));
}

static void wait_ready(struct tvn *db, size_t i)
{
    for (unsigned ms = 0;; ms += 10) {
        json_t *l = list(db);
        const char *status = text(l, i, "status");
        const bool ready = status != NULL && strcmp(status, "ready") == 0;
        json_decref(l);
        if (ready)
            return;
        assert_true(ms < PATIENCE_MS);
        (void)usleep(10000);
    }
}

static void wait_gone(struct tvn *db)
{
    for (unsigned ms = 0;; ms += 10) {
        json_t *l = list(db);
        const size_t n = json_array_size(json_object_get(l, "indexes"));
        json_decref(l);
        if (n == 0)
            return;
        assert_true(ms < PATIENCE_MS);
        (void)usleep(10000);
    }
}

#define BY_OWNER "{\"collection\":\"land\",\"name\":\"by-owner\",\"on\":[\"/owner\"]}"

static void an_index_is_declared_built_and_dropped(void **state)
{
    (void)state;
    struct running site;
    bool created;
    make_and_start("declare", &site);
    struct tvn *db = connect_with(NULL), *app = connect_as_client();
    put_many(db, "land", 20000);
    for (unsigned i = 0; i < 100; i++) {
        char key[16], value[64];
        (void)snprintf(key, sizeof key, "%06u", i * 7);
        (void)snprintf(value, sizeof value, "{\"owner\":\"owner %u\"}", i % 10);
        put(db, key, value);
    }
    const json_int_t lsn = done(db, "index-create", BY_OWNER, &created);
    assert_true(created);
    put(app, "000001", "{\"owner\":\"who writes meanwhile\"}");
    wait_ready(app, 0);
    json_t *l = list(app);
    assert_string_equal(text(l, 0, "collection"), "land");
    assert_string_equal(text(l, 0, "name"), "by-owner");
    assert_int_equal(number(l, 0, "rows"), 101);
    assert_int_equal(number(l, 0, "records"), 20000);
    assert_int_equal(number(l, 0, "declared"), lsn);
    json_decref(l);
    /* Again is no error, otherwise it is. */
    assert_int_equal(done(db, "index-create", BY_OWNER, &created), lsn);
    assert_false(created);
    refused(db, "index-create",
            "{\"collection\":\"land\",\"name\":\"by-owner\",\"on\":[\"/owner\"],\"unique\":true}",
            TVN_EXISTS, "is declared already, as {\"on\":[\"/owner\"]");
    (void)done(db, "index-drop", "{\"collection\":\"land\",\"name\":\"by-owner\"}", NULL);
    wait_gone(db);
    refused(db, "index-drop", "{\"collection\":\"land\",\"name\":\"by-owner\"}", TVN_NOT_FOUND,
            "no index 'by-owner' is declared on collection 'land'");
    tvn_close(app);
    tvn_close(db);
    stop(&site);
}

static void what_is_no_declaration_is_refused(void **state)
{
    (void)state;
    struct running site;
    make_and_start("refused", &site);
    struct tvn *db = connect_with(NULL), *app = connect_as_client();
    refused(app, "index-create", BY_OWNER, TVN_DENIED, "needs an operator's certificate");
    refused(app, "index-drop", BY_OWNER, TVN_DENIED, "needs an operator's certificate");
    refused(db, "index-create", "{}", TVN_USAGE, "");
    refused(db, "index-create", "{\"collection\":\"_indexes\",\"name\":\"x\",\"on\":[\"/a\"]}",
            TVN_USAGE, "");
    refused(db, "index-create", "{\"collection\":\"land\",\"name\":\"a/b\",\"on\":[\"/a\"]}",
            TVN_USAGE, "");
    refused(db, "index-create", "{\"collection\":\"land\",\"name\":\"x\"}", TVN_USAGE, "on");
    refused(db, "index-create", "{\"collection\":\"land\",\"name\":\"x\",\"on\":[]}", TVN_LIMIT,
            "");
    refused(db, "index-create", "{\"collection\":\"land\",\"name\":\"x\",\"on\":[\"owner\"]}",
            TVN_USAGE, "");
    refused(db, "index-create", "{\"collection\":\"land\",\"name\":\"x\",\"on\":[\"/a\",\"/a\"]}",
            TVN_USAGE, "");
    refused(db, "index-create",
            "{\"collection\":\"land\",\"name\":\"x\",\"on\":[\"/a\"],\"unique\":1}", TVN_USAGE,
            "unique");
    refused(db, "index-drop", "{}", TVN_USAGE, "A collection and a name are needed");
    refused(db, "index-frobnicate", "{}", TVN_USAGE, "is unknown");
    /* Nobody declares one past the command. */
    struct tvn_error e;
    assert_int_equal(
        tvn_put(db, "_indexes", tvn_str("land/x"), tvn_str("{\"on\":[\"/a\"]}"), NULL, &e),
        TVN_USAGE);
    json_t *l = list(db);
    assert_int_equal(json_array_size(json_object_get(l, "indexes")), 0);
    json_decref(l);
    tvn_close(app);
    tvn_close(db);
    stop(&site);
}

/* One after the other, faster than they are applied. */
static void a_collection_has_eight_indexes_at_most(void **state)
{
    (void)state;
    struct running site;
    char arguments[128];
    make_and_start("eight", &site);
    struct tvn *db = connect_with(NULL);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 8; i++) {
            (void)snprintf(
                arguments, sizeof arguments,
                "{\"collection\":\"land-%u\",\"name\":\"x%u\",\"on\":[\"/a\",\"/b/%u\"]}", round, i,
                i);
            (void)done(db, "index-create", arguments, NULL);
        }
        (void)snprintf(arguments, sizeof arguments,
                       "{\"collection\":\"land-%u\",\"name\":\"x8\",\"on\":[\"/a\"]}", round);
        refused(db, "index-create", arguments, TVN_LIMIT, "has 8 indexes, 8 are allowed");
    }
    wait_ready(db, 23);
    (void)done(db, "index-drop", "{\"collection\":\"land-0\",\"name\":\"x3\"}", NULL);
    for (unsigned ms = 0;; ms += 10) { /* when the drop is applied */
        struct tvn_error e;
        json_t *o = command(db, "index-create",
                            "{\"collection\":\"land-0\",\"name\":\"x8\",\"on\":[\"/a\"]}", &e);
        json_decref(o);
        if (o != NULL)
            break;
        assert_true(e.code == TVN_LIMIT && ms < PATIENCE_MS);
        (void)usleep(10000);
    }
    tvn_close(db);
    stop(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_is_declared_built_and_dropped),
        cmocka_unit_test(what_is_no_declaration_is_refused),
        cmocka_unit_test(a_collection_has_eight_indexes_at_most),
    };
    return cmocka_run_group_tests(tests, setup, kit_teardown);
}
