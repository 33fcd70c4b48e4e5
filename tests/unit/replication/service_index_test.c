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

/* However long it is: the entry before a declaration is that of the audit trail. */
static void a_long_declaration_is_in_the_audit_trail(void **state)
{
    (void)state;
    struct running site;
    char pointers[4][252], arguments[2048];
    make_and_start("audited", &site);
    struct tvn *db = connect_with(NULL);
    for (unsigned i = 0; i < 4; i++) {
        memset(pointers[i], 'a' + (char)i, sizeof pointers[i] - 1);
        pointers[i][sizeof pointers[i] - 1] = '\0';
    }
    (void)snprintf(
        arguments, sizeof arguments,
        "{\"collection\":\"land\",\"name\":\"x\",\"on\":[\"/%s\",\"/%s\",\"/%s\",\"/%s\"]}",
        pointers[0], pointers[1], pointers[2], pointers[3]);
    const json_int_t before = done(db, "index-create", BY_OWNER, NULL);
    assert_int_equal(done(db, "index-create", arguments, NULL), before + 2);
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

/* ---- scans ---- */

enum { OWNED = 600, OWNERS = 7 };

/* Keys of a scan, in order, as one text; how many. */
static unsigned scan_keys(struct tvn *db, const struct tvn_scan_options *o,
                          const struct tvn_read *how, char *out, size_t cap)
{
    struct tvn_scan *scan;
    struct tvn_record r;
    struct tvn_error e;
    unsigned n = 0;
    size_t at = 0;
    int rc;
    if (tvn_scan_open(db, o, how, &scan, &e) != 0)
        fail_msg("%s", e.text);
    out[0] = '\0';
    while ((rc = tvn_scan_next(scan, &r, &e)) == 1) {
        at += (size_t)snprintf(out + at, cap - at, "%.*s ", (int)r.key.size,
                               (const char *)r.key.data);
        assert_true(at < cap);
        n++;
    }
    if (rc != 0)
        fail_msg("%s", e.text);
    tvn_scan_close(scan);
    return n;
}

static void write_owned(struct tvn *db)
{
    for (unsigned i = 0; i < OWNED; i++) {
        char key[16], value[64];
        (void)snprintf(key, sizeof key, "%04u", i);
        (void)snprintf(value, sizeof value, "{\"owner\":\"%c\",\"n\":%u}", (char)('a' + i % OWNERS),
                       i);
        put(db, key, value);
    }
}

/* From each record's token on, the rest comes, in both directions and with pages of any size. */
static void a_scan_goes_on_from_the_token_of_any_record(void **state)
{
    (void)state;
    struct running site;
    static char all[OWNED * 8], some[OWNED * 8];
    make_and_start("tokens", &site);
    struct tvn *db = connect_with(NULL);
    write_owned(db);
    (void)done(db, "index-create", BY_OWNER, NULL);
    wait_ready(db, 0);
    struct tvn_scan_options o = TVN_SCAN_INIT;
    o.collection = "land";
    o.index = "by-owner";
    for (int reverse = 0; reverse < 2; reverse++) {
        struct tvn_scan *scan;
        struct tvn_record r;
        struct tvn_error e;
        o.reverse = reverse;
        o.after = tvn_view(NULL, 0);
        o.page = 0;
        assert_int_equal(scan_keys(db, &o, NULL, all, sizeof all), OWNED);
        assert_memory_equal(all, reverse ? "0594 0587" : "0000 0007", 9);
        o.page = 17;
        assert_int_equal(tvn_scan_open(db, &o, NULL, &scan, &e), 0);
        for (unsigned i = 1; tvn_scan_next(scan, &r, &e) == 1; i++) {
            struct tvn_scan_options rest = o;
            if (i % 41 != 0 && i != OWNED)
                continue;
            rest.after = tvn_scan_token(scan);
            rest.page = i % 5;
            assert_int_equal(scan_keys(db, &rest, NULL, some, sizeof some), OWNED - i);
            assert_string_equal(some, all + (size_t)i * 5);
        }
        tvn_scan_close(scan);
    }
    /* Bounds. */
    o.reverse = 0;
    o.equal = tvn_str("\"c\"");
    o.limit = 2;
    assert_int_equal(scan_keys(db, &o, NULL, some, sizeof some), 2);
    assert_string_equal(some, "0002 0009 ");
    o.limit = 0;
    o.equal = tvn_view(NULL, 0);
    o.from = tvn_str("\"f\"");
    assert_int_equal(scan_keys(db, &o, NULL, some, sizeof some), OWNED / OWNERS + OWNED / OWNERS);
    o.to = tvn_str("[\"g\"]");
    assert_int_equal(scan_keys(db, &o, NULL, some, sizeof some), OWNED / OWNERS);
    o.from = o.to = tvn_view(NULL, 0);
    o.prefix = tvn_str("z");
    assert_int_equal(scan_keys(db, &o, NULL, some, sizeof some), 0);
    tvn_close(db);
    stop(&site);
}

static void a_snapshot_has_the_index_of_its_records(void **state)
{
    (void)state;
    struct running site;
    static char before[OWNED * 8], after[OWNED * 8];
    make_and_start("snapshot", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_snapshot *snapshot;
    struct tvn_error e;
    write_owned(db);
    (void)done(db, "index-create", BY_OWNER, NULL);
    wait_ready(db, 0);
    struct tvn_scan_options o = TVN_SCAN_INIT;
    struct tvn_read how = TVN_READ_INIT;
    o.collection = "land";
    o.index = "by-owner";
    o.equal = tvn_str("\"a\"");
    o.page = 3;
    assert_int_equal(tvn_snapshot_open(db, NULL, &snapshot, &e), 0);
    how.snapshot = snapshot;
    const unsigned n = scan_keys(db, &o, &how, before, sizeof before);
    for (unsigned i = 0; i < OWNED; i += 2) {
        char key[16];
        (void)snprintf(key, sizeof key, "%04u", i);
        put(db, key, "{\"owner\":\"a\"}");
    }
    assert_int_equal(scan_keys(db, &o, &how, after, sizeof after), n);
    assert_string_equal(before, after);
    assert_true(scan_keys(db, &o, NULL, after, sizeof after) > OWNED / 2);
    tvn_snapshot_close(snapshot);
    tvn_close(db);
    stop(&site);
}

static void what_cannot_be_scanned_says_why(void **state)
{
    (void)state;
    struct running site;
    make_and_start("no-scan", &site);
    struct tvn *db = connect_with(NULL);
    put(db, "k", "{\"owner\":1}");
    (void)done(db, "index-create", BY_OWNER, NULL);
    wait_ready(db, 0);
    const uint8_t byte[600] = {1};
    const struct {
        const char *index, *equal, *from;
        struct tvn_bytes after;
        uint64_t as_of;
        int code;
        const char *text;
    } cases[] = {
        {"by-onwer",
         NULL,
         NULL,
         {NULL, 0},
         0,
         TVN_NOT_FOUND,
         "index 'by-onwer' of collection 'land'"},
        {"by-owner", "Asha", NULL, {NULL, 0}, 0, TVN_USAGE, "equal"},
        {"by-owner", "[1,2]", NULL, {NULL, 0}, 0, TVN_USAGE, "2 values are given, the index has 1"},
        {"by-owner",
         NULL,
         "null",
         {NULL, 0},
         0,
         TVN_USAGE,
         "only strings, numbers, true and false"},
        {"by-owner", NULL, NULL, {NULL, 0}, 1, TVN_USAGE, "tells of the present only"},
        {"by-owner", NULL, NULL, {byte, 512}, 0, TVN_LIMIT, "token of 512 bytes"},
        {"by-owner", NULL, NULL, {byte, 511}, 0, TVN_USAGE, "is of another index"},
        {"by-owner", NULL, NULL, {byte, 8}, 0, TVN_USAGE, "of no index scan: 8 bytes"},
        {NULL, "1", NULL, {NULL, 0}, 0, TVN_USAGE, "'equal' is of scans by an index"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tvn_scan_options o = TVN_SCAN_INIT;
        struct tvn_read how = TVN_READ_INIT;
        struct tvn_scan *scan;
        struct tvn_record r;
        struct tvn_error e;
        o.collection = "land";
        o.index = cases[i].index;
        o.equal = tvn_str(cases[i].equal);
        o.from = tvn_str(cases[i].from);
        o.after = cases[i].after;
        how.as_of_lsn = cases[i].as_of;
        int rc = tvn_scan_open(db, &o, &how, &scan, &e);
        if (rc == 0)
            rc = tvn_scan_next(scan, &r, &e);
        assert_int_equal(rc, cases[i].code);
        if (strstr(e.text, cases[i].text) == NULL)
            fail_msg("'%s' does not say '%s'", e.text, cases[i].text);
        tvn_scan_close(scan);
    }
    tvn_close(db);
    stop(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_is_declared_built_and_dropped),
        cmocka_unit_test(a_long_declaration_is_in_the_audit_trail),
        cmocka_unit_test(what_is_no_declaration_is_refused),
        cmocka_unit_test(a_collection_has_eight_indexes_at_most),
        cmocka_unit_test(a_scan_goes_on_from_the_token_of_any_record),
        cmocka_unit_test(a_snapshot_has_the_index_of_its_records),
        cmocka_unit_test(what_cannot_be_scanned_says_why),
    };
    return cmocka_run_group_tests(tests, setup, kit_teardown);
}
