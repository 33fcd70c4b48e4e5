/* The state's directory, its LMDB environment, and the steady checkpoint.
 *
 * FILES in the directory
 *   LOCK        flock'ed by the one process that runs here; holds its pid
 *   data.mdb    LMDB's file, written without syncs between checkpoints
 *   lock.mdb    LMDB's reader table; removed at each open, never to be opened by anything else
 *   checkpoint  the side slots
 *
 * INVARIANTS
 *   C1  While the environment is open a read transaction sits at the published checkpoint.
 *   C2  A slot is published only after the data file was synced with its transaction in it and pinned.
 *   C3  Nothing is written to LMDB between opening it and the pin at S.
 *   C4  The position inside transaction S equals the slot's.
 *   C5  The side file comes into being, holding a valid slot, before the first write transaction. So a directory
 *       without it has nothing but LMDB's two empty meta pages, or it is damaged.
 *
 * FAILURE MODES
 *   crash or power cut at any point   the next open goes back to the published checkpoint (checkpoint.h)
 *   a sync fails                      `failed` is set: no more writes; the site stops and opens again
 *   LMDB finds its own bug            its assertion ends in check_failed: the site stops */
#include "store/io/state_index.h"

#include "store/core/check.h"
#include "store/io/checkpoint.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    DEFAULT_READERS = 512,
    OWN_READERS = 4, /* two pins, and the ones that opening needs */
};
static const uint64_t default_map_bytes = 1ull << 40;
#define DIRECTORY_LOCK "LOCK"
#define REBUILD_ADVICE                                                                             \
    "; move the directory away and start again: the site refills from a peer's log or from the "   \
    "repository"

static int system_error(struct err *e, const char *what)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    return err_set(e, code, "%s: %s", what, strerrordesc_np(errno));
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* ---- the directory ---- */

/* The name of a directory is durable only when its parent is synced. Also when it was there: whoever made it may have been
 * killed before that. */
static int sync_parent(const char *dir, bool made, struct err *e)
{
    char *path = strdup(dir);
    if (path == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        slash[slash == path ? 1 : 0] = '\0';
    int fd = open(slash == NULL ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;
    if (fd < 0 ? made || errno != EACCES : fsync(fd) != 0) /* not ours to read: not made by us */
        rc = system_error(e, "sync of the parent directory");
    close_fd(&fd);
    free(path);
    return rc;
}

/* Locks and shared maps over a network do not keep what LMDB needs. FUSE is let through: it cannot be told whether the
 * other end is local. */
static int refuse_network(int dir_fd, struct err *e)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } network[] = {
        {NFS_SUPER_MAGIC, "NFS"},     {SMB_SUPER_MAGIC, "SMB"},     {CIFS_SUPER_MAGIC, "CIFS"},
        {SMB2_SUPER_MAGIC, "SMB2"},   {CEPH_SUPER_MAGIC, "CephFS"}, {AFS_SUPER_MAGIC, "AFS"},
        {AFS_FS_MAGIC, "AFS"},        {CODA_SUPER_MAGIC, "Coda"},   {V9FS_MAGIC, "9P"},
        {OCFS2_SUPER_MAGIC, "OCFS2"},
    };
    struct statfs fs;
    if (fstatfs(dir_fd, &fs) != 0)
        return system_error(e, "statfs");
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++)
        if ((uint32_t)fs.f_type == network[i].magic)
            return err_set(
                e, ERR_CONFIG,
                "it is on a network file system (%s), which cannot keep the promises that the "
                "state rests on; use a local disk",
                network[i].name);
    return 0;
}

static int take_directory(struct state *s, struct err *e)
{
    bool made = mkdir(s->options.dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return system_error(e, "mkdir");
    s->dir_fd = open(s->options.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0)
        return system_error(e, "open");
    int rc = sync_parent(s->options.dir, made, e);
    if (rc != 0 || (rc = refuse_network(s->dir_fd, e)) != 0)
        return rc;
    s->lock_fd = openat(s->dir_fd, DIRECTORY_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return system_error(e, DIRECTORY_LOCK);
    char pid[32] = "";
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return system_error(e, "flock of " DIRECTORY_LOCK);
        ssize_t n = pread(s->lock_fd, pid, sizeof pid - 1, 0);
        pid[n < 0 ? 0 : n] = '\0';
        return err_set(e, ERR_BUSY, "another triveni runs on this directory (pid %ld)",
                       strtol(pid, NULL, 10));
    }
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
        return system_error(e, "write of " DIRECTORY_LOCK);
    return 0;
}

/* ---- the environment ---- */

static void lmdb_asserts(MDB_env *env, const char *what)
{
    (void)env;
    check_failed("liblmdb", 0, what);
}

static int env_open(struct state *s, struct err *e)
{
    int rc = mdb_env_create(&s->env);
    if (rc != 0)
        return state_lmdb_error(e, NULL, rc, "mdb_env_create");
    check(mdb_env_set_assert(s->env, lmdb_asserts) == 0);
    check(mdb_env_set_maxdbs(s->env, DB_COUNT) == 0);
    check(mdb_env_set_maxreaders(s->env, s->options.readers + OWN_READERS) == 0);
    rc = mdb_env_set_mapsize(s->env, s->options.map_bytes);
    if (rc == 0)
        rc = mdb_env_open(s->env, s->options.dir, MDB_NOSYNC | MDB_NOTLS, 0600);
    return rc == 0 ? 0 : state_lmdb_error(e, NULL, rc, "mdb_env_open");
}

static mdb_filehandle_t data_fd(const struct state *s)
{
    mdb_filehandle_t fd;
    check(mdb_env_get_fd(s->env, &fd) == 0);
    return fd;
}

static int data_bytes(const struct state *s, uint64_t *out, struct err *e)
{
    struct stat st;
    if (fstat(data_fd(s), &st) != 0)
        return system_error(e, CHECKPOINT_DATA);
    *out = (uint64_t)st.st_size;
    return 0;
}

/* Put a pin where the state is now, and fill txn id and meta page of the slot. No writer runs meanwhile. */
static int pin_here(struct state *s, unsigned pin, struct slot *slot, struct err *e)
{
    int rc = s->pin[pin] == NULL ? mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->pin[pin])
                                 : mdb_txn_renew(s->pin[pin]);
    if (rc != 0)
        return state_lmdb_error(e, s->env, rc, "pin");
    slot->txn_id = mdb_txn_id(s->pin[pin]);
    MDB_stat st;
    check(mdb_env_stat(s->env, &st) == 0);
    uint8_t page[SLOT_META_BYTES];
    ssize_t n = pread(data_fd(s), page, sizeof page, (off_t)((slot->txn_id & 1) * st.ms_psize));
    if (n != (ssize_t)sizeof page)
        rc = n < 0 ? system_error(e, "read of the meta page")
                   : err_set(e, ERR_INTEGRITY, "the meta page is cut short");
    else if ((rc = slot_take_meta(slot, page, e)) != 0)
        err_wrap(e, CHECKPOINT_DATA);
    if (rc != 0)
        mdb_txn_reset(s->pin[pin]);
    return rc;
}

/* A directory without a side file (C5). */
static int create_new(struct state *s, struct err *e)
{
    struct stat st;
    const bool has_data = fstatat(s->dir_fd, CHECKPOINT_DATA, &st, 0) == 0;
    if (!has_data && errno != ENOENT) /* may be all there is: nothing is removed on a guess */
        return system_error(e, CHECKPOINT_DATA);
    if (has_data && st.st_size > 2 * SLOT_PAGE_MAX_BYTES)
        return err_set(e, ERR_INTEGRITY,
                       CHECKPOINT_DATA
                       " has %lld bytes, but the file " CHECKPOINT_FILE
                       ", without which it cannot be trusted, is missing" REBUILD_ADVICE,
                       (long long)st.st_size);
    static const char *const leftovers[] = {CHECKPOINT_DATA, CHECKPOINT_LOCK};
    for (size_t i = 0; i < sizeof leftovers / sizeof leftovers[0]; i++)
        if (unlinkat(s->dir_fd, leftovers[i], 0) != 0 && errno != ENOENT)
            return system_error(e, leftovers[i]);
    int rc = env_open(s, e);
    if (rc != 0)
        return rc;
    struct slot first = {.sequence = 1, .cluster_id = s->options.cluster_id, .boot_id = s->boot_id};
    if ((rc = mdb_env_sync(s->env, 1)) != 0)
        return state_lmdb_error(e, s->env, rc, "first sync of " CHECKPOINT_DATA);
    if (fsync(s->dir_fd) != 0)
        return system_error(e, "sync of the directory");
    if ((rc = pin_here(s, 0, &first, e)) != 0 || (rc = data_bytes(s, &first.file_bytes, e)) != 0)
        return rc;
    check(first.txn_id == 0);
    rc = checkpoint_create(s->dir_fd, &first, &s->slot_fd, e);
    s->published = first;
    return rc;
}

/* Go back to the published checkpoint. */
static int open_existing(struct state *s, const struct slot *slot, struct err *e)
{
    if (uuid_is_zero(&s->options.cluster_id))
        s->options.cluster_id = slot->cluster_id;
    if (!uuid_equal(&slot->cluster_id, &s->options.cluster_id))
        return err_set(e, ERR_CONFIG,
                       "it holds the state of another cluster; check the configured paths");
    /* Like the slot, the names may have been read back from a cache: a killed process had not synced them. */
    int rc = fsync(s->dir_fd) == 0 ? 0 : system_error(e, "sync of the directory");
    if (rc == 0)
        rc = checkpoint_write(s->slot_fd, slot, e);
    if (rc == 0)
        rc = checkpoint_put_back(s->dir_fd, slot, e);
    if (rc == 0)
        rc = env_open(s, e);
    struct slot found = *slot;
    if (rc == 0)
        rc = pin_here(s, 0, &found, e);
    if (rc != 0)
        return rc;
    if (found.txn_id != slot->txn_id)
        return err_set(e, ERR_INTEGRITY,
                       "LMDB opened at transaction %llu, its checkpoint is %llu" REBUILD_ADVICE,
                       (unsigned long long)found.txn_id, (unsigned long long)slot->txn_id);
    s->published = *slot;
    return 0;
}

/* Databases that were created after S vanish with it, so each open creates what is missing. */
static int open_databases(struct state *s, struct state_doubt *doubt, struct err *e)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return state_lmdb_error(e, s->env, rc, "open databases");
    struct state_txn t = {txn, s->dbi};
    for (enum state_db db = 0; rc == 0 && db < DB_COUNT; db++)
        if ((rc = mdb_dbi_open(txn, state_db_name(db), MDB_CREATE, &s->dbi[db])) != 0)
            rc = state_lmdb_error(e, s->env, rc, state_db_name(db));
    if (rc == 0)
        rc = row_get_state(&t, &s->row, e);
    if (rc == ERR_NOT_FOUND) {
        s->row = (struct state_row){.mode = COMMIT_MAJORITY, .next_collection = 1};
        rc = row_put_state(&t, &s->row, e);
        /* All at once and in order: full pages, and updates never split one. */
        for (uint32_t i = 0; rc == 0 && i < DIGEST_BUCKETS; i++)
            rc = row_put_bucket(&t, i, (struct digest){0, 0}, MDB_APPEND, e);
    }
    if (rc == 0) {
        rc = row_get_doubt(&t, &doubt->since, e);
        doubt->doubted = rc == 0;
        rc = rc == ERR_NOT_FOUND ? 0 : rc;
    }
    if (rc == 0)
        rc = index_begin(s, &t, e);
    const struct entry_position *at = &s->published.at;
    if (rc == 0 && (s->row.at.lsn.v != at->lsn.v || s->row.at.term.v != at->term.v ||
                    !sha256_equal(&s->row.at.hash, &at->hash)))
        rc = err_set(e, ERR_INTEGRITY,
                     "data.mdb is at lsn %llu, its checkpoint says %llu" REBUILD_ADVICE,
                     (unsigned long long)s->row.at.lsn.v, (unsigned long long)at->lsn.v);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    if ((rc = mdb_txn_commit(txn)) != 0)
        return state_lmdb_error(e, s->env, rc, "open databases");
    index_begun(s);
    return 0;
}

static void stop(struct state *s)
{
    for (unsigned i = 0; i < 2; i++)
        if (s->pin[i] != NULL) {
            mdb_txn_abort(s->pin[i]);
            s->pin[i] = NULL;
        }
    if (s->env != NULL)
        mdb_env_close(s->env);
    s->env = NULL;
    close_fd(&s->slot_fd);
}

static int start(struct state *s, struct err *e)
{
    struct slot slot;
    struct state_doubt doubt = {.doubted = false};
    int rc = checkpoint_open(s->dir_fd, &s->slot_fd, &slot, e);
    if (rc == ERR_INTEGRITY) {
        char why[ERR_TEXT_BYTES / 2];
        (void)snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, e == NULL ? "" : e->text);
        return err_set(e, rc, "%s" REBUILD_ADVICE, why);
    }
    if (rc == ERR_NOT_FOUND && uuid_is_zero(&s->options.cluster_id))
        return err_set(e, rc, "there is no state here");
    if (rc == ERR_NOT_FOUND)
        rc = create_new(s, e);
    else if (rc == 0)
        rc = open_existing(s, &slot, e);
    if (rc == 0)
        rc = open_databases(s, &doubt, e);
    if (rc != 0)
        return rc;
    state_pool_committed(s);
    state_recount_drop(s);
    s->pinned = 0;
    (void)pthread_mutex_lock(&s->lock);
    s->closed = s->is_begun = false;
    s->applied = s->row.at;
    s->doubt = doubt;
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

int state_open(struct state **out, const struct state_options *options, struct err *e)
{
    *out = NULL;
    struct err own = ERR_NONE;
    if (e == NULL)
        e = &own;
    struct state *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "state: out of memory");
    check(pthread_mutex_init(&s->lock, NULL) == 0);
    s->dir_fd = s->lock_fd = s->slot_fd = -1;
    s->options = *options;
    s->boot_id = checkpoint_boot_id();
    s->options.dir = strdup(options->dir);
    if (s->options.map_bytes == 0)
        s->options.map_bytes = default_map_bytes;
    if (s->options.readers == 0)
        s->options.readers = DEFAULT_READERS;
    int rc =
        s->options.dir == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory") : take_directory(s, e);
    if (rc == 0)
        rc = start(s, e);
    if (rc != 0) {
        err_wrap(e, "state in %s", options->dir);
        state_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void state_close(struct state *s)
{
    if (s == NULL)
        return;
    check(state_pool_clear(s, NULL) == 0); /* a snapshot left open is the caller's bug */
    stop(s);
    close_fd(&s->lock_fd);
    close_fd(&s->dir_fd);
    state_batch_free(s->batch);
    state_recount_drop(s);
    index_end(s);
    (void)pthread_mutex_destroy(&s->lock);
    free((char *)(uintptr_t)s->options.dir);
    free(s);
}

int state_reset_to_checkpoint(struct state *s, struct err *e)
{
    (void)pthread_mutex_lock(&s->lock);
    bool busy = s->is_begun;
    (void)pthread_mutex_unlock(&s->lock);
    if (busy)
        return err_set(e, ERR_BUSY,
                       "reset of the state: a checkpoint is begun; finish or abandon it first");
    int rc = state_pool_clear(s, e);
    if (rc != 0)
        return err_wrap(e, "reset of the state");
    stop(s);
    if ((rc = start(s, e)) != 0)
        stop(s);
    (void)pthread_mutex_lock(&s->lock);
    s->failed = rc != 0;
    (void)pthread_mutex_unlock(&s->lock);
    return rc == 0 ? 0 : err_wrap(e, "reset of the state to its checkpoint");
}

/* ---- writing ---- */

static bool has_failed(struct state *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool failed = s->failed;
    (void)pthread_mutex_unlock(&s->lock);
    return failed;
}

int state_write_begin(struct state *s, struct state_txn *t, struct err *e)
{
    if (has_failed(s))
        return err_set(e, ERR_IO, "the state stopped after a failed write; restart the site");
    t->dbi = s->dbi;
    int rc = mdb_txn_begin(s->env, NULL, 0, &t->txn);
    return rc == 0 ? 0 : state_lmdb_error(e, s->env, rc, "begin a transaction");
}

int state_write_commit(struct state *s, struct state_txn *t, const struct state_row *row,
                       struct err *e)
{
    int rc = row_put_state(t, row, e);
    if (rc != 0) {
        mdb_txn_abort(t->txn);
        return rc;
    }
    state_pool_cool(s);
    if ((rc = mdb_txn_commit(t->txn)) != 0)
        return state_lmdb_error(e, s->env, rc, "commit");
    state_pool_committed(s);
    s->row = *row;
    (void)pthread_mutex_lock(&s->lock);
    s->applied = row->at;
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

struct entry_position state_applied(struct state *s)
{
    (void)pthread_mutex_lock(&s->lock);
    struct entry_position at = s->applied;
    (void)pthread_mutex_unlock(&s->lock);
    return at;
}

uint64_t state_file_bytes(struct state *s)
{
    uint64_t bytes = 0;
    if (s->env != NULL)
        (void)data_bytes(s, &bytes, NULL);
    return bytes;
}

int state_room(const struct state *s, uint64_t reserve_bytes, struct err *e)
{
    uint64_t free_bytes;
    int rc = file_free_bytes(s->dir_fd, s->options.dir, &free_bytes, e);
    if (rc == 0 && free_bytes < reserve_bytes)
        rc = err_set(e, ERR_NO_SPACE,
                     "%s: %llu MiB free, %llu MiB are held in reserve: free space or make the file "
                     "system larger",
                     s->options.dir, (unsigned long long)free_bytes >> 20,
                     (unsigned long long)reserve_bytes >> 20);
    return rc;
}

/* ---- the checkpoint ---- */

int state_checkpoint_begin(struct state *s, struct entry_position *at, struct err *e)
{
    (void)pthread_mutex_lock(&s->lock);
    bool busy = s->is_begun, failed = s->failed;
    struct slot next = s->published;
    (void)pthread_mutex_unlock(&s->lock);
    if (failed)
        return err_set(e, ERR_IO, "checkpoint: an earlier one failed; restart the site");
    if (busy)
        return err_set(e, ERR_BUSY, "checkpoint: one is begun already");
    next.sequence++;
    next.boot_id = s->boot_id;
    unsigned pin = 1 - s->pinned;
    int rc = pin_here(s, pin, &next, e);
    if (rc != 0)
        return err_wrap(e, "checkpoint");
    struct state_row row;
    rc = row_get_state(&(struct state_txn){s->pin[pin], s->dbi}, &row, e);
    if (rc != 0) {
        mdb_txn_reset(s->pin[pin]);
        return err_wrap(e, "checkpoint");
    }
    next.at = *at = row.at;
    (void)pthread_mutex_lock(&s->lock);
    s->begun = next;
    s->is_begun = true;
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

static int make_durable(struct state *s, struct slot *slot, struct err *e)
{
    /* The size is taken first: then the sync covers it. */
    int rc = data_bytes(s, &slot->file_bytes, e);
    if (rc != 0)
        return rc;
    if ((rc = mdb_env_sync(s->env, 1)) != 0)
        return state_lmdb_error(e, NULL, rc, "sync of " CHECKPOINT_DATA);
    return checkpoint_write(s->slot_fd, slot, e);
}

int state_checkpoint_finish(struct state *s, struct err *e)
{
    (void)pthread_mutex_lock(&s->lock);
    check(s->is_begun);
    struct slot slot = s->begun;
    bool unchanged = slot.txn_id == s->published.txn_id;
    (void)pthread_mutex_unlock(&s->lock);

    int rc = unchanged ? 0 : make_durable(s, &slot, e);
    if (rc != 0) {
        (void)pthread_mutex_lock(&s->lock);
        s->failed = true; /* both pins stay: what was published remains whole */
        (void)pthread_mutex_unlock(&s->lock);
        err_wrap(e, "checkpoint at lsn %llu failed, the site must stop",
                 (unsigned long long)slot.at.lsn.v);
        (void)err_advise(e, "look at the disk (dmesg, smartctl, df), then start the site again "
                            "(triveni serve): it goes back to its last checkpoint and replays the "
                            "log");
        return rc;
    }
    mdb_txn_reset(s->pin[unchanged ? 1 - s->pinned : s->pinned]);
    (void)pthread_mutex_lock(&s->lock);
    if (!unchanged) {
        s->published = slot;
        s->pinned = 1 - s->pinned;
    }
    s->is_begun = false;
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

void state_checkpoint_abandon(struct state *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool begun = s->is_begun && !s->failed;
    (void)pthread_mutex_unlock(&s->lock);
    if (!begun)
        return;
    mdb_txn_reset(s->pin[1 - s->pinned]);
    (void)pthread_mutex_lock(&s->lock);
    s->is_begun = false;
    (void)pthread_mutex_unlock(&s->lock);
}

struct entry_position state_checkpoint(struct state *s)
{
    (void)pthread_mutex_lock(&s->lock);
    struct entry_position at = s->published.at;
    (void)pthread_mutex_unlock(&s->lock);
    return at;
}
