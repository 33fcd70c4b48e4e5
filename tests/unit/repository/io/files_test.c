/* The directory of an archive: written once, read with limits, and what lies there that should not. */
#include "repository/io/files.h"
#include "tests/unit/repository/fixture.h"

#include <sys/stat.h>

struct box {
    struct place place;
    struct repo_backend *backend;
};

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    place_make(&b->place);
    assert_int_equal(repo_backend_open(b->place.dir, true, true, &b->backend, NULL), 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    repo_backend_close(b->backend);
    place_drop(&b->place);
    free(b);
    return 0;
}

static const char *path_of(const struct box *b, const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, name);
    return path;
}

static int count(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return 0;
}

static int files_in(const struct box *b, const char *folder)
{
    int n = 0;
    assert_int_equal(repo_backend_list(b->backend, folder, count, &n, NULL), 0);
    return n;
}

/* ---- the directory ---- */

static void an_archive_that_cannot_be_opened_says_why(void **state)
{
    struct box *b = *state;
    char path[200];
    struct err e = ERR_NONE;
    struct repo_backend *other = b->backend;
    (void)snprintf(path, sizeof path, "%s/none/archive", b->place.root);
    assert_int_equal(repo_backend_open(path, true, true, &other, &e), ERR_NOT_FOUND);
    assert_null(other);
    assert_non_null(strstr(e.text, "none/archive: cannot create the archive's directory"));
    assert_int_equal(repo_backend_open(path, false, false, &other, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "cannot open the archive's directory"));
    assert_int_equal(repo_backend_open(b->place.kek, true, false, &other, &e), ERR_IO);
    assert_non_null(strstr(e.text, "Not a directory"));
}

static void an_archive_has_one_writer_and_many_readers(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repo_backend *other;
    assert_int_equal(repo_backend_open(b->place.dir, true, true, &other, &e), ERR_BUSY);
    assert_null(other);
    assert_non_null(strstr(e.text, "another process writes to this archive"));
    assert_int_equal(repo_backend_open(b->place.dir, false, false, &other, &e), 0);
    repo_backend_close(other);
    repo_backend_close(b->backend);
    assert_int_equal(repo_backend_open(b->place.dir, true, true, &b->backend, &e), 0);
}

static void a_folder_that_is_a_file_is_no_folder(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repo_backend *other;
    int n = 0;
    assert_int_equal(rmdir(path_of(b, "keys/1")), 0);
    assert_int_equal(files_in(b, "keys/1"), 0); /* none is as good as empty */
    assert_int_equal(rmdir(path_of(b, "keys")), 0);
    write_file(path_of(b, "keys"), "x", 1, 0600);
    assert_int_equal(repo_backend_list(b->backend, "keys", count, &n, &e), ERR_IO);
    assert_non_null(strstr(e.text, "keys: cannot list"));
    repo_backend_close(b->backend);
    assert_int_equal(repo_backend_open(b->place.dir, true, true, &other, &e), ERR_IO);
    assert_null(other);
    b->backend = NULL;
}

static int stop_at_first(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return ERR_CANCELLED;
}

static void only_files_with_names_of_our_length_are_listed(void **state)
{
    struct box *b = *state;
    char name[REPO_NAME_BYTES + 8];
    write_file(path_of(b, "packs/a"), "", 0, 0600);
    write_file(path_of(b, "packs/b"), "", 0, 0600);
    assert_int_equal(mkdir(path_of(b, "packs/folder"), 0700), 0);
    int n = snprintf(name, sizeof name, "packs/%0*d", REPO_NAME_BYTES - 1 - 6, 1);
    assert_int_equal(n, REPO_NAME_BYTES - 1);
    write_file(path_of(b, name), "", 0, 0600);
    assert_int_equal(files_in(b, "packs"), 3);
    (void)snprintf(name, sizeof name, "packs/%0*d", REPO_NAME_BYTES - 6, 1);
    write_file(path_of(b, name), "", 0, 0600);
    assert_int_equal(files_in(b, "packs"), 3);
    n = 0;
    assert_int_equal(repo_backend_list(b->backend, "packs", stop_at_first, &n, NULL),
                     ERR_CANCELLED);
    assert_int_equal(n, 1);
}

/* ---- reading ---- */

static void a_file_is_read_whole_or_not_at_all(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    uint8_t *p;
    size_t n;
    write_file(path_of(b, "packs/a"), "12345", 5, 0600);
    assert_int_equal(repo_backend_read(b->backend, "packs/a", 5, &p, &n, &e), 0);
    assert_int_equal(n, 5);
    assert_memory_equal(p, "12345", 5);
    free(p);
    assert_int_equal(repo_backend_read(b->backend, "packs/a", 4, &p, &n, &e), ERR_LIMIT);
    assert_null(p);
    assert_non_null(strstr(e.text, "packs/a: 5 bytes, at most 4 are expected"));
    write_file(path_of(b, "packs/a"), "", 0, 0600);
    assert_int_equal(repo_backend_read(b->backend, "packs/a", 0, &p, &n, &e), 0);
    assert_int_equal(n, 0);
    free(p);
    assert_int_equal(repo_backend_read(b->backend, "packs/b", 9, &p, &n, &e), ERR_NOT_FOUND);
    assert_null(p);
}

static void what_is_no_file_is_not_read_and_not_waited_for(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repo_blob f = REPO_BLOB_NONE;
    assert_int_equal(mkfifo(path_of(b, "packs/a"), 0600), 0);
    assert_int_equal(repo_blob_open(&f, b->backend, "packs/a", &e), ERR_FORMAT);
    assert_int_equal(f.fd, -1);
    assert_non_null(strstr(e.text, "packs/a: not a regular file"));
    assert_int_equal(repo_blob_open(&f, b->backend, "packs", &e), ERR_FORMAT);
}

static void a_file_that_ends_too_early_says_where(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repo_blob f = REPO_BLOB_NONE;
    uint8_t p[10];
    write_file(path_of(b, "packs/a"), "12345", 5, 0600);
    assert_int_equal(repo_blob_open(&f, b->backend, "packs/a", &e), 0);
    assert_int_equal(f.bytes, 5);
    assert_int_equal(repo_blob_read(&f, 2, p, 3, &e), 0);
    assert_memory_equal(p, "345", 3);
    assert_int_equal(repo_blob_read(&f, 2, p, 4, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "the file ends at byte 5, 1 bytes too early"));
    repo_blob_close(&f);
    f.fd = open(b->place.dir, O_RDONLY | O_CLOEXEC);
    assert_int_equal(repo_blob_read(&f, 0, p, 4, &e), ERR_IO);
    (void)close(f.fd);
    assert_non_null(strstr(e.text, "cannot read 4 bytes at byte 0"));
}

/* ---- writing ---- */

static void a_directory_keeps_no_older_state_of_a_file(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    uint8_t *p;
    size_t n;
    write_file(path_of(b, "tree/checkpoint"), "now", 3, 0600);
    assert_int_equal(repo_backend_read_older(b->backend, "tree/checkpoint", 0, 9, &p, &n, &e), 0);
    assert_int_equal(n, 3);
    free(p);
    assert_int_equal(repo_backend_read_older(b->backend, "tree/checkpoint", 1, 9, &p, &n, &e),
                     ERR_NOT_FOUND);
    assert_null(p);
}

static void a_name_is_given_once(void **state)
{
    struct box *b = *state;
    struct repo_temp first, second;
    struct err e = ERR_NONE;
    uint8_t *p;
    size_t n;
    assert_int_equal(repo_temp_create(&first, b->backend, "packs/a", &e), 0);
    assert_int_equal(repo_temp_create(&second, b->backend, "packs/a", &e), 0);
    assert_int_equal(repo_temp_write(&first, "first", 5, &e), 0);
    assert_int_equal(repo_temp_write(&second, "second", 6, &e), 0);
    assert_int_equal(repo_temp_sync(&first, &e), 0);
    assert_int_equal(repo_temp_publish(&first, &e), 0);
    assert_int_equal(repo_temp_publish(&second, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "packs/a: is there already; objects are written once"));
    assert_false(second.sync_failed);
    repo_temp_drop(&first);
    repo_temp_drop(&second);
    assert_int_equal(files_in(b, "packs"), 1);
    assert_int_equal(repo_backend_read(b->backend, "packs/a", 99, &p, &n, &e), 0);
    assert_int_equal(n, 5);
    free(p);
}

static void what_is_not_published_leaves_nothing(void **state)
{
    struct box *b = *state;
    struct repo_temp t, nowhere = REPO_TEMP_NONE;
    struct err e = ERR_NONE;
    assert_int_equal(repo_temp_create(&t, b->backend, "packs/a", &e), 0);
    assert_int_equal(files_in(b, "packs"), 1);
    repo_temp_drop(&t);
    repo_temp_drop(&nowhere);
    assert_int_equal(files_in(b, "packs"), 0);
    assert_int_equal(repo_temp_create(&t, b->backend, "none/a", &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "none/a: cannot create"));
    repo_temp_drop(&t);
}

static void a_full_disk_is_told_apart(void **state)
{
    (void)state;
    struct repo_temp t = REPO_TEMP_NONE;
    struct err e = ERR_NONE;
    t.fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(t.fd >= 0);
    (void)snprintf(t.name, sizeof t.name, "packs/a");
    assert_int_equal(repo_temp_write(&t, "x", 1, &e), ERR_NO_SPACE);
    assert_non_null(strstr(e.text, "packs/a: cannot write: No space left"));
    (void)close(t.fd);
    t.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(repo_temp_write(&t, "x", 1, &e), ERR_IO);
    (void)close(t.fd);
}

static void a_sync_that_failed_is_fatal(void **state)
{
    (void)state;
    struct repo_temp t = REPO_TEMP_NONE;
    struct err e = ERR_NONE;
    int ends[2];
    assert_int_equal(pipe(ends), 0); /* cannot be synced */
    t.fd = ends[1];
    (void)snprintf(t.name, sizeof t.name, "packs/a");
    assert_int_equal(repo_temp_sync(&t, &e), ERR_IO);
    assert_true(t.sync_failed);
    assert_non_null(strstr(e.text, "packs/a: sync failed"));
    assert_non_null(strstr(e.text, "this is fatal and is not tried again"));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void cleaning_takes_temporary_files_and_nothing_else(void **state)
{
    struct box *b = *state;
    struct repo_temp t;
    assert_int_equal(repo_temp_create(&t, b->backend, "snapshots/a", NULL), 0);
    (void)close(t.fd); /* as a process that died */
    write_file(path_of(b, "packs/.tmp-12345678"), "x", 1, 0600);
    write_file(path_of(b, "keys/1/a.tmp-1"), "x", 1, 0600);
    write_file(path_of(b, "keys/1/.tmpfs"), "x", 1, 0600);
    assert_int_equal(mkdir(path_of(b, "packs/.tmp-folder"), 0700), 0);
    repo_backend_close(b->backend);
    assert_int_equal(repo_backend_open(b->place.dir, false, true, &b->backend, NULL), 0);
    assert_int_equal(files_in(b, "snapshots") + files_in(b, "packs"), 0);
    assert_int_equal(files_in(b, "keys/1"), 2);
    assert_int_equal(access(path_of(b, "packs/.tmp-folder"), F_OK), 0);
}

int main(void)
{
#define in_a_box(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_a_box(an_archive_that_cannot_be_opened_says_why),
        in_a_box(an_archive_has_one_writer_and_many_readers),
        in_a_box(a_folder_that_is_a_file_is_no_folder),
        in_a_box(only_files_with_names_of_our_length_are_listed),
        in_a_box(a_file_is_read_whole_or_not_at_all),
        in_a_box(what_is_no_file_is_not_read_and_not_waited_for),
        in_a_box(a_file_that_ends_too_early_says_where),
        in_a_box(a_directory_keeps_no_older_state_of_a_file),
        in_a_box(a_name_is_given_once),
        in_a_box(what_is_not_published_leaves_nothing),
        in_a_box(a_full_disk_is_told_apart),
        in_a_box(a_sync_that_failed_is_fatal),
        in_a_box(cleaning_takes_temporary_files_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
