/* The bundle of what is about to be undone: complete, in order, told apart by who may have been told, with the version that
 * each record had below the cut, and whole before anything goes. Log and state are real ones; the site is no more than what the
 * export reads. */
#include "replication/bundle.h"
#include "replication/site_parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];
static struct site_config config;
static struct site site;
static json_t *lines[16];
static size_t line_count;
static struct {
    struct entry_view v;
    uint8_t raw[ENTRY_HEADER_BYTES];
    uint8_t *body;
} entries[32]; /* as they were appended, to be applied */
static size_t entry_count;

static void open_state(uint64_t history_us)
{
    struct err e = ERR_NONE;
    char dir[100];
    (void)snprintf(dir, sizeof dir, "%s/state", root);
    if (state_open(&site.state,
                   &(struct state_options){.dir = dir,
                                           .cluster_id = {{7}},
                                           .map_bytes = 64 << 20,
                                           .history_us = history_us,
                                           .history_bytes = history_us != 0 ? 1 << 20 : 0},
                   &e) != 0)
        fail_msg("%s", e.text);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct entry_position zero = {{0}, {0}, {0}, {{0}}};
    char dir[100];
    (void)snprintf(root, sizeof root, "/tmp/triveni-divergence-XXXXXX");
    assert_non_null(mkdtemp(root));
    config = (struct site_config){.cluster = "gov",
                                  .cluster_id = {{7}},
                                  .member_count = 2,
                                  .members = {{.name = "dc"}, {.name = "dr"}},
                                  .self = 1};
    (void)snprintf(config.data_dir, sizeof config.data_dir, "%s", root);
    (void)snprintf(dir, sizeof dir, "%s/log", root);
    site = (struct site){.config = &config, .events = events_new("dr")};
    assert_int_equal(log_open(&site.log,
                              &(struct log_options){.dir = dir,
                                                    .cluster_id = {{7}},
                                                    .segment_bytes = 32 << 20,
                                                    .engine = LOG_ENGINE_PLAIN},
                              &zero, &e),
                     0);
    open_state(3600 * UINT64_C(1000000));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    while (line_count > 0)
        json_decref(lines[--line_count]);
    while (entry_count > 0)
        free(entries[--entry_count].body);
    state_close(site.state);
    assert_int_equal(log_close(site.log, &e), 0);
    events_free(site.events);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void append(enum entry_kind kind, uint64_t term, struct bytes body)
{
    struct err e = ERR_NONE;
    uint8_t *header = entries[entry_count].raw;
    uint8_t *kept = malloc(body.n);
    memcpy(kept, body.p, body.n);
    body.p = kept;
    struct entry_view v = {.header = {.kind = kind,
                                      .cluster_id = {{7}},
                                      .term = {term},
                                      .lsn = {site.tail.lsn.v + 1},
                                      .time = {1000000 + site.tail.lsn.v},
                                      .prev_hash = site.tail.hash},
                           .raw = header,
                           .body = body.p};
    v.hash = entry_seal(&v.header, body, header);
    assert_int_equal(log_append(site.log, &v, 1, &e), 0);
    site.tail = entry_position_of(&v);
    entries[entry_count].v = v;
    entries[entry_count++].body = kept;
}

/* Let the state have everything up to lsn. */
static void apply(uint64_t lsn)
{
    struct err e = ERR_NONE;
    for (uint64_t at = state_applied(site.state).lsn.v; at < lsn; at++)
        if (state_apply(site.state, &entries[at].v, 1, &e) != 0)
            fail_msg("%s", e.text);
}

static void append_txn(uint64_t term, enum level level, const struct op *ops, uint32_t n)
{
    const size_t cap = body_txn_bytes(ops, n, 8);
    struct writer w = writer_of(malloc(cap), cap);
    static const uint8_t salt[ENTRY_SALT_BYTES] = {7};
    body_write_txn(
        &w, salt,
        &(struct body_txn){.level = level, .client = bytes_str("registry"), .op_count = n}, ops);
    assert_false(w.bad);
    append(ENTRY_TXN, term, bytes_of(w.p, w.at));
    free(w.p);
}

static void append_noop(uint64_t term)
{
    uint8_t space[64];
    struct writer w = writer_of(space, sizeof space);
    static const uint8_t salt[ENTRY_SALT_BYTES] = {9};
    body_write_noop(&w, salt, &(struct body_noop){bytes_str("dr")});
    append(ENTRY_NOOP, term, bytes_of(w.p, w.at));
}

static const struct op two_ops[] = {
    {OP_PUT,
     {(const uint8_t *)"deeds", 5},
     {(const uint8_t *)"k1", 2},
     {(const uint8_t *)"\xff\x01", 2}},
    {OP_DELETE, {(const uint8_t *)"deeds", 5}, {(const uint8_t *)"k\0z", 3}, {NULL, 0}},
};

/* Written, and given its name. */
static int export_after(uint64_t keep, struct err *e)
{
    struct divergence d;
    divergence_begin(&d, &site, (struct lsn){keep});
    int rc = divergence_export(&d, e);
    if (rc == 0)
        rc = divergence_name(&d, e);
    divergence_end(&d);
    return rc;
}

/* Export, and read the one bundle that must be there. */
static void export_and_read(uint64_t keep, const char *name)
{
    struct err e = ERR_NONE;
    char path[200];
    if (export_after(keep, &e) != 0)
        fail_msg("%s", e.text);
    (void)snprintf(path, sizeof path, "%s/divergence/%s", root, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    json_error_t why;
    json_t *line;
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, &why)) != NULL)
        lines[line_count++] = line;
    (void)fclose(f);
    struct bundle head;
    if (bundle_check(path, &head, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(head.yes + head.possible + head.no, head.operations);
    json_decref(lines[--line_count]); /* the checksum */
    (void)snprintf(path, sizeof path, "%s/divergence", root);
    DIR *dir = opendir(path);
    const struct dirent *d;
    while ((d = readdir(dir)) != NULL)
        assert_true(d->d_name[0] == '.' ||
                    strcmp(d->d_name, name) == 0); /* nothing half-written is left */
    (void)closedir(dir);
}

static const char *text(size_t line, const char *member)
{
    const char *s = json_string_value(json_object_get(lines[line], member));
    return s != NULL ? s : "";
}

static void every_operation_is_there_with_who_wrote_it(void **state)
{
    (void)state;
    append_noop(1);
    append_txn(1, LEVEL_MAJORITY, two_ops, 2); /* lsn 2: is kept */
    append_noop(3);
    append_txn(3, LEVEL_MAJORITY, two_ops, 2);
    export_and_read(2, "3-3-4.jsonl");
    assert_int_equal(line_count, 4);
    assert_string_equal(text(0, "bundle"), "triveni divergence 2");
    assert_string_equal(text(0, "cluster"), "gov");
    assert_string_equal(text(0, "site"), "dr");
    assert_int_equal(json_integer_value(json_object_get(lines[0], "first")), 3);
    assert_int_equal(json_integer_value(json_object_get(lines[0], "last")), 4);
    assert_string_equal(text(1, "entry"), entry_kind_name(ENTRY_NOOP));
    for (size_t i = 2; i < 4; i++) {
        assert_int_equal(json_integer_value(json_object_get(lines[i], "lsn")), 4);
        assert_int_equal(json_integer_value(json_object_get(lines[i], "term")), 3);
        assert_string_equal(text(i, "client"), "registry");
        assert_string_equal(text(i, "collection"), "deeds");
    }
    assert_string_equal(text(2, "op"), "put");
    assert_string_equal(text(2, "key"), "k1");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(lines[2], "value"), "base64")), "/wE=");
    assert_string_equal(text(3, "op"), "del");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(lines[3], "key"), "base64")), "awB6");
    assert_null(json_object_get(lines[3], "value"));
}

/* Who was primary when, and what it had seen committed, decides what "no" may be said of. */
static void only_what_this_process_would_have_answered_is_surely_not_acknowledged(void **state)
{
    (void)state;
    append_noop(2);                            /* 1 */
    append_txn(2, LEVEL_MAJORITY, two_ops, 1); /* 2: of a term that another one led */
    append_noop(5);                            /* 3: this process leads from here on */
    append_txn(5, LEVEL_MAJORITY, two_ops, 1); /* 4: seen committed */
    append_txn(5, LEVEL_MAJORITY, two_ops, 1); /* 5 */
    append_txn(5, LEVEL_LOCAL, two_ops, 1);    /* 6: was answered by this disk */
    append_txn(5, LEVEL_ALL, two_ops, 1);      /* 7 */
    append_txn(5, LEVEL_LOCAL, two_ops, 1);    /* 8: not answered any more */
    append_noop(6);                            /* 9: another one leads again, */
    append_txn(6, LEVEL_MAJORITY, two_ops, 1); /* 10: and was to answer this */
    answered_begin(&site.answered, (struct term){5});
    answered_local(&site.answered, (struct lsn){6}, true);
    site.marks.commit.v = 4;
    export_and_read(0, "6-1-10.jsonl");
    static const char *const expected[] = {"",    "",   "possible", "", "possible", "no",
                                           "yes", "no", "no",       "", "possible"};
    assert_int_equal(line_count, 11);
    for (size_t i = 1; i < 11; i++)
        assert_string_equal(text(i, "acknowledged"), expected[i]);
    json_t *counts = json_object_get(lines[0], "acknowledged");
    assert_int_equal(json_integer_value(json_object_get(counts, "yes")), 1);
    assert_int_equal(json_integer_value(json_object_get(counts, "possible")), 3);
    assert_int_equal(json_integer_value(json_object_get(counts, "no")), 3);
}

static void after_a_restart_nothing_is_sure(void **state)
{
    (void)state;
    append_noop(5);
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    export_and_read(0, "5-1-2.jsonl"); /* another process led */
    assert_int_equal(line_count, 3);
    assert_string_equal(text(2, "acknowledged"), "possible");
}

static int64_t number(size_t line, const char *member)
{
    return json_integer_value(json_object_get(lines[line], member));
}

/* Whether the state is behind the cut, at it or beyond it: the base is what the record was in the common history. */
static void each_operation_has_the_version_below_the_cut(void **state)
{
    const uint64_t applied = *(const uint64_t *)*state;
    static const struct op gone = {
        OP_DELETE, {(const uint8_t *)"deeds", 5}, {(const uint8_t *)"k2", 2}, {NULL, 0}};
    static const struct op kept = {OP_PUT,
                                   {(const uint8_t *)"deeds", 5},
                                   {(const uint8_t *)"k2", 2},
                                   {(const uint8_t *)"v", 1}};
    append_noop(1);                            /* 1 */
    append_txn(1, LEVEL_MAJORITY, two_ops, 1); /* 2: k1 */
    append_txn(1, LEVEL_MAJORITY, &kept, 1);   /* 3: k2 ... */
    append_txn(1, LEVEL_MAJORITY, two_ops, 1); /* 4: k1 */
    append_txn(1, LEVEL_MAJORITY, &gone, 1);   /* 5: ... is gone again */
    append_txn(3, LEVEL_LOCAL, two_ops, 2);    /* 6: from here on divergent */
    append_txn(3, LEVEL_LOCAL, &kept, 1);      /* 7 */
    append_txn(3, LEVEL_LOCAL, two_ops, 1);    /* 8 */
    apply(applied);
    export_and_read(5, "3-6-8.jsonl");
    assert_int_equal(line_count, 5);
    assert_int_equal(number(0, "common"), 5);
    assert_int_equal(number(1, "base"), 4);
    assert_string_equal(text(2, "base"), "absent");
    assert_string_equal(text(3, "base"), "absent");
    assert_int_equal(number(4, "base"), 4); /* not what the tail itself has made of it */
    for (size_t i = 1; i < 5; i++)
        assert_int_equal(number(i, "operation"), i);
}

static void what_the_past_cannot_tell_is_unknown(void **state)
{
    (void)state;
    state_close(site.state);
    open_state(0); /* no past is kept */
    append_txn(1, LEVEL_LOCAL, two_ops, 1);
    append_txn(1, LEVEL_LOCAL, two_ops, 1);
    apply(2);
    export_and_read(1, "1-2-2.jsonl");
    assert_string_equal(text(1, "base"), "unknown");
}

/* A crash between the export and the cut: the process that comes then knows less of who was answered. */
static void a_bundle_that_is_there_stays(void **state)
{
    (void)state;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    answered_begin(&site.answered, (struct term){5});
    export_and_read(0, "5-1-1.jsonl");
    assert_string_equal(text(1, "acknowledged"), "no");
    while (line_count > 0)
        json_decref(lines[--line_count]);
    site.answered = (struct answered){0};
    export_and_read(0, "5-1-1.jsonl");
    assert_string_equal(text(1, "acknowledged"), "no");
}

static void told_of(void *arg, const char *words)
{
    (void)snprintf(arg, ERR_TEXT_BYTES, "%s", words);
}

static bool is_file(const char *name)
{
    char path[200];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/divergence/%s", root, name);
    return stat(path, &st) == 0;
}

/* The log is whole until it is cut, so no bundle may say that something was undone (P4). */
static void what_is_exported_is_listed_only_when_it_has_its_name(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct divergence d;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    divergence_begin(&d, &site, (struct lsn){0});
    assert_int_equal(divergence_export(&d, &e), 0);
    assert_true(is_file("5-1-1.jsonl.uncut") && !is_file("5-1-1.jsonl"));
    assert_false(bundle_is_name("5-1-1.jsonl.uncut"));
    char said[ERR_TEXT_BYTES] = "";
    divergence_trouble(&site, told_of, said);
    assert_string_equal(said, "");
    divergence_forget(&d); /* the log has grown instead */
    assert_false(is_file("5-1-1.jsonl.uncut"));
    assert_int_equal(divergence_name(&d, &e), ERR_IO);
    e = (struct err)ERR_NONE;
    assert_int_equal(divergence_export(&d, &e), 0);
    assert_int_equal(divergence_name(&d, &e), 0);
    divergence_forget(&d); /* not any more */
    divergence_end(&d);
    assert_true(is_file("5-1-1.jsonl") && !is_file("5-1-1.jsonl.uncut"));
}

/* Whoever comes after a restart knows less of who was told. */
static void what_was_exported_and_not_cut_is_used_by_the_next_process(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct divergence d;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    answered_begin(&site.answered, (struct term){5});
    divergence_begin(&d, &site, (struct lsn){0});
    assert_int_equal(divergence_export(&d, &e), 0);
    divergence_end(&d);
    site.answered = (struct answered){0};
    export_and_read(0, "5-1-1.jsonl");
    assert_string_equal(text(1, "acknowledged"), "no");
}

/* ---- what a process that stopped has left ---- */

static void leave(uint64_t keep)
{
    struct err e = ERR_NONE;
    struct divergence d;
    divergence_begin(&d, &site, (struct lsn){keep});
    assert_int_equal(divergence_export(&d, &e), 0);
    divergence_end(&d);
}

static void cut_after(uint64_t keep)
{
    struct err e = ERR_NONE;
    assert_int_equal(log_truncate(site.log, (struct lsn){keep}, &e), 0);
    assert_int_equal(log_position(site.log, (struct lsn){keep}, &site.tail, &e), 0);
}

static void what_was_left_is_kept_while_the_log_ends_with_it(void **state)
{
    (void)state;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    leave(0);
    assert_int_equal(divergence_sweep(&site).v, 1);
    assert_true(is_file("5-1-1.jsonl.uncut") && !is_file("5-1-1.jsonl"));
    append_noop(6); /* the primary had that entry: nothing was undone */
    assert_int_equal(divergence_sweep(&site).v, 0);
    assert_false(is_file("5-1-1.jsonl.uncut") || is_file("5-1-1.jsonl"));
}

static void what_was_left_and_is_in_no_log_is_listed(void **state)
{
    (void)state;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    leave(0);
    cut_after(0); /* by nobody who exported it: a power cut, a backup */
    for (int grown = 0; grown < 2; grown++) {
        assert_int_equal(divergence_sweep(&site).v, 0);
        assert_true(!is_file("5-1-1.jsonl.uncut") && is_file("5-1-1.jsonl"));
        append_noop(6);
    }
    char said[ERR_TEXT_BYTES] = "";
    divergence_trouble(&site, told_of, said);
    assert_non_null(strstr(said, "5-1-1.jsonl"));
}

static void what_was_left_of_another_cut_of_the_same_log_is_removed(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    leave(0);
    assert_int_equal(export_after(1, &e), 0);
    cut_after(1);
    append_noop(6);
    append_noop(6);
    assert_int_equal(divergence_sweep(&site).v, 0);
    assert_true(is_file("5-2-2.jsonl"));
    assert_false(is_file("5-1-2.jsonl.uncut") || is_file("5-1-2.jsonl"));
}

static void what_was_left_and_is_damaged_stays_and_is_told(void **state)
{
    (void)state;
    char path[200];
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    leave(0);
    (void)snprintf(path, sizeof path, "%s/divergence/5-1-1.jsonl.uncut", root);
    assert_int_equal(truncate(path, 400), 0);
    cut_after(0);
    assert_int_equal(divergence_sweep(&site).v, 0);
    assert_true(is_file("5-1-1.jsonl.uncut") && !is_file("5-1-1.jsonl"));
    json_t *told = events_json(site.events, 10);
    const char *last =
        json_string_value(json_object_get(json_array_get(told, json_array_size(told) - 1), "text"));
    assert_non_null(strstr(last, "whether its entries were undone cannot be told"));
    json_decref(told);
}

static void what_was_known_when_it_was_ordered_counts(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct divergence d;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    answered_begin(&site.answered, (struct term){5});
    divergence_begin(&d, &site, (struct lsn){0});
    site.answered = (struct answered){0};
    append_noop(6); /* and the log as it was */
    assert_int_equal(divergence_export(&d, &e), 0);
    assert_int_equal(d.operations, 1);
    assert_int_equal(d.possible, 0);
    assert_true(is_file("5-1-1.jsonl.uncut"));
    divergence_end(&d);
}

static void one_that_is_not_wanted_any_more_gives_up_and_leaves_nothing(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct divergence d;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    divergence_begin(&d, &site, (struct lsn){0});
    atomic_store(&d.unwanted, true);
    assert_int_equal(divergence_export(&d, &e), ERR_CANCELLED);
    divergence_end(&d);
    assert_false(is_file("5-1-1.jsonl.part") || is_file("5-1-1.jsonl.uncut"));
}

/* In the place of the C library's: folders are counted. */
static unsigned synced_root, synced_folder;
int fsync(int fd)
{
    struct stat st, own;
    char path[128];
    assert_int_equal(fstat(fd, &st), 0);
    if (S_ISDIR(st.st_mode) && stat(root, &own) == 0)
        synced_root += st.st_ino == own.st_ino;
    (void)snprintf(path, sizeof path, "%s/divergence", root);
    if (S_ISDIR(st.st_mode) && stat(path, &own) == 0)
        synced_folder += st.st_ino == own.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

/* It counts when it is durable, and not when it is seen: who renamed it may have ended before it synced the folder (R9). */
static void what_was_written_before_is_made_durable_before_it_counts(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    synced_root = synced_folder = 0;
    assert_int_equal(export_after(0, &e), 0);
    assert_int_equal(synced_root, 1);   /* the folder was made */
    assert_int_equal(synced_folder, 2); /* it is there, and has its name */
    assert_int_equal(export_after(0, &e), 0);
    assert_int_equal(synced_root, 1);
    assert_int_equal(synced_folder, 3);
}

static void one_that_was_edited_is_written_anew(void **state)
{
    (void)state;
    char path[200];
    append_txn(5, LEVEL_MAJORITY, two_ops, 1);
    export_and_read(0, "5-1-1.jsonl");
    while (line_count > 0)
        json_decref(lines[--line_count]);
    (void)snprintf(path, sizeof path, "%s/divergence/5-1-1.jsonl", root);
    FILE *f = fopen(path, "r+");
    assert_int_equal(fseek(f, 200, SEEK_SET), 0);
    (void)fputc('x', f);
    (void)fclose(f);
    export_and_read(0, "5-1-1.jsonl"); /* which checks it */
}

static void an_undecided_bundle_is_trouble_until_it_is_decided(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    char said[ERR_TEXT_BYTES] = "", path[200];
    divergence_trouble(&site, told_of, said);
    assert_string_equal(said, "");
    append_noop(4);
    export_and_read(0, "4-1-1.jsonl");
    divergence_trouble(&site, told_of, said);
    assert_string_equal(said, ""); /* the beginning of a term is nobody's loss */
    append_txn(5, LEVEL_LOCAL, two_ops, 2);
    while (line_count > 0)
        json_decref(lines[--line_count]);
    site.tail.lsn.v = 2;
    (void)snprintf(path, sizeof path, "%s/divergence/5-2-2.jsonl", root);
    assert_int_equal(export_after(1, &e), 0);
    divergence_trouble(&site, told_of, said);
    assert_non_null(strstr(said, "1 divergence bundle (5-2-2.jsonl): 2 operations"));
    struct bundle_decision d = {
        .what = "discarded", .by = "op", .sha256 = "00", .reason = "done by hand"};
    assert_int_equal(bundle_decision_write(path, &d, &e), 0);
    said[0] = '\0';
    divergence_trouble(&site, told_of, said);
    assert_string_equal(said, "");
}

static void restore_points_modes_sessions_and_audits_are_named(void **state)
{
    (void)state;
    uint8_t space[256];
    static const uint8_t salt[ENTRY_SALT_BYTES] = {9};
    struct writer w = writer_of(space, sizeof space);
    body_write_restore_point(
        &w, salt, &(struct body_restore_point){bytes_str("end of day"), bytes_str("op")});
    append(ENTRY_RESTORE_POINT, 1, bytes_of(w.p, w.at));
    w = writer_of(space, sizeof space);
    body_write_config(&w, salt, &(struct body_config){COMMIT_LOCAL, bytes_str("op")});
    append(ENTRY_CONFIG, 1, bytes_of(w.p, w.at));
    w = writer_of(space, sizeof space);
    body_write_session(&w, salt, &(struct body_session){SESSION_CLOSE, {{0xab}}, bytes_str("app")});
    append(ENTRY_SESSION, 1, bytes_of(w.p, w.at));
    w = writer_of(space, sizeof space);
    body_write_audit(&w, salt,
                     &(struct body_audit){bytes_str("op"), bytes_str("mode"), bytes_str("{}")});
    append(ENTRY_AUDIT, 1, bytes_of(w.p, w.at));
    export_and_read(0, "1-1-4.jsonl");
    assert_int_equal(line_count, 5);
    assert_string_equal(text(1, "name"), "end of day");
    assert_string_equal(text(2, "mode"), "local");
    assert_string_equal(text(3, "act"), "close");
    assert_string_equal(text(3, "session"), "ab000000000000000000000000000000");
    assert_string_equal(text(4, "act"), "mode");
    assert_int_equal(number(0, "points"), 1);
    assert_int_equal(number(0, "modes"), 1);
    assert_int_equal(number(0, "audits"), 1);
}

/* As JSON each of its bytes would take six. */
static void what_json_makes_long_is_base64(void **state)
{
    (void)state;
    json_t *plain = json_bytes(bytes_str("a\tb\n")), *control = json_bytes(bytes_str("a\x01"));
    assert_true(json_is_string(plain));
    assert_string_equal(json_string_value(json_object_get(control, "base64")), "YQE=");
    json_decref(plain);
    json_decref(control);
}

static void an_entry_larger_than_the_buffer_is_exported_whole(void **state)
{
    (void)state;
    const size_t n = 9 << 20;
    char *large = malloc(n);
    memset(large, 'x', n);
    const struct op op = {OP_PUT, bytes_str("deeds"), bytes_str("large"), bytes_of(large, n)};
    append_txn(1, LEVEL_MAJORITY, &op, 1);
    append_txn(1, LEVEL_MAJORITY, two_ops, 2);
    export_and_read(0, "1-1-2.jsonl");
    assert_int_equal(line_count, 4);
    assert_int_equal(strlen(text(1, "value")), n);
    free(large);
}

static void a_bundle_that_cannot_be_written_is_an_error_and_leaves_none(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    char path[200];
    append_noop(1);
    (void)snprintf(path, sizeof path, "%s/divergence", root);
    int fd = open(path, O_WRONLY | O_CREAT, 0600); /* a file has the directory's name */
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(export_after(0, &e), ERR_IO);
    assert_non_null(strstr(e.text, "divergence/1-1-1.jsonl.part: Not a directory"));
}

/* What cannot be read completely must not be undone. */
static void a_range_that_the_log_does_not_have_is_an_error_and_no_bundle(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    char path[200];
    struct stat st;
    append_noop(1);
    site.tail.lsn.v = 3; /* two that are not there */
    assert_int_not_equal(export_after(0, &e), 0);
    (void)snprintf(path, sizeof path, "%s/divergence/1-1-3.jsonl", root);
    assert_int_not_equal(stat(path, &st), 0);
}

static int set_up_at(void **state)
{
    return set_up(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static uint64_t behind = 3, at_it = 5, beyond = 8;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_operation_is_there_with_who_wrote_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            only_what_this_process_would_have_answered_is_surely_not_acknowledged, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(after_a_restart_nothing_is_sure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_larger_than_the_buffer_is_exported_whole, set_up,
                                        tear_down),
        cmocka_unit_test_prestate_setup_teardown(each_operation_has_the_version_below_the_cut,
                                                 set_up_at, tear_down, &behind),
        cmocka_unit_test_prestate_setup_teardown(each_operation_has_the_version_below_the_cut,
                                                 set_up_at, tear_down, &at_it),
        cmocka_unit_test_prestate_setup_teardown(each_operation_has_the_version_below_the_cut,
                                                 set_up_at, tear_down, &beyond),
        CASE(what_the_past_cannot_tell_is_unknown),
        CASE(a_bundle_that_is_there_stays),
        CASE(what_is_exported_is_listed_only_when_it_has_its_name),
        CASE(what_was_exported_and_not_cut_is_used_by_the_next_process),
        CASE(what_was_left_is_kept_while_the_log_ends_with_it),
        CASE(what_was_left_and_is_in_no_log_is_listed),
        CASE(what_was_left_of_another_cut_of_the_same_log_is_removed),
        CASE(what_was_left_and_is_damaged_stays_and_is_told),
        CASE(what_was_known_when_it_was_ordered_counts),
        CASE(one_that_is_not_wanted_any_more_gives_up_and_leaves_nothing),
        CASE(what_was_written_before_is_made_durable_before_it_counts),
        CASE(one_that_was_edited_is_written_anew),
        CASE(an_undecided_bundle_is_trouble_until_it_is_decided),
        CASE(restore_points_modes_sessions_and_audits_are_named),
        CASE(what_json_makes_long_is_base64),
        cmocka_unit_test_setup_teardown(a_bundle_that_cannot_be_written_is_an_error_and_leaves_none,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_range_that_the_log_does_not_have_is_an_error_and_no_bundle, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
