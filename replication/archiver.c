/* The archiver: a thread of a repository site that seals committed, applied entries into packs and takes snapshots.
 *
 * A pack is sealed when pack_bytes wait, when the oldest waiting entry has waited pack_seconds (six times as long while little
 * waits, see marks_seal_due), or on demand; so the archive's lag is bounded and shown. Trouble (a full, failing or damaged
 * backend, also at the start) never stops the site or its vote: it is told in `status` and in the events, sealing is tried
 * again, and the log keeps what is not archived. Only what a configuration got wrong (a key, a directory) stops the start.
 *
 * What is sealed is taken into the signed tree (repository/proof.h) in portions, between packs; an archive that has none yet,
 * because it is older, gets it so in the background. So does the index of keys (repository/history.h), by which records of the
 * past are found. Trouble with either stops neither the site nor the sealing.
 *
 * A checkpoint that was signed is a *draft* first: the loop has the other sites cosign it (collector.c), and says when that is
 * over; then it is published with what came. Nothing waits longer than DRAFT_MS for that. A cosignature that comes later is
 * added to what is published.
 *
 * Before that the operations log (repository/operations.h) gets what it lacks; and from time to time it is looked whether a
 * command handed in an operation (oplog.c). */
#include "replication/site_parts.h"
#include "replication/worker.h"

#include "repository/history.h"
#include "repository/proof.h"
#include "repository/scrub.h"
#include "store/core/check.h"

enum {
    ARCHIVE_WAIT_MS = 200,
    ARCHIVE_RETRY_MS = 2000,
    /* Taken into the signed tree at once: 128 files, a second on a busy disk; between two portions packs are sealed. */
    TREE_PORTION_ENTRIES = 16384,
    TREE_RETRY_MS = 10000,
    INDEX_RETRY_MS = 10000,
    DRAFT_MS = 7000,
};

/* A cosignature that is to be added to the draft. */
struct arrival {
    bool waits;
    size_t key_bytes, line_bytes;
    uint8_t key[COSIGN_KEY_MAX_BYTES], line[COSIGN_TEXT_BYTES];
};

struct archiver {
    struct site *site;
    struct repository *repository;
    struct copies *copies;
    struct disposer *disposer;
    struct oplog *oplog;
    struct worker worker;
    bool seal_now;
    bool hurry; /* somebody waits for what waits: pack_seconds, however little it is */
    uint64_t reading_since_ms; /* a snapshot of the state is open; 0: none */
    struct lsn archive_to;
    uint64_t appended_bytes; /* to the log: how much waits, near enough */
    struct repository_status status;
    char trouble[ERR_TEXT_BYTES], tree_trouble[ERR_TEXT_BYTES],
        index_trouble[ERR_TEXT_BYTES]; /* empty: none */
    char tree_lost[ERR_TEXT_BYTES];    /* signed and gone; until the site starts again */
    bool check_index;                  /* a reader found one damaged */
    struct {                           /* an object that somebody waits for to be healed */
        const char *object;            /* NULL: none */
        int copy;                      /* that it is in; -1: the archive */
        char where[SITE_PATH_BYTES];
        struct err outcome;
        bool done;
    } heal;
    bool look_again; /* what was damaged when it was opened is whole now */
    struct archiver_draft draft;
    bool draft_open, draft_over; /* not published yet; nobody is waited for any more */
    uint64_t draft_ms;           /* since when it is open */
    struct arrival arrivals[REPL_SITES_MAX];
    struct archiver_cosigned cosigned[REPL_SITES_MAX];
    /* archive thread only */
    unsigned generation, awaited; /* of keys, as told last */
    uint8_t *buffer;
    size_t capacity;
    uint64_t waiting_since_ms;  /* 0: nothing waits */
    uint64_t sealed_at_bytes;   /* appended_bytes when the last pack was begun */
    bool tree_open, tree_never; /* this archive can have no tree */
    uint64_t tree_at_ms;        /* not tried before */
    bool index_more;            /* indexes wait to be merged */
    uint64_t index_at_ms;       /* not tried before */
};

static void note_reading(struct archiver *a, bool reads)
{
    worker_lock(&a->worker);
    a->reading_since_ms = reads ? site_now_ms() : 0;
    worker_unlock(&a->worker);
}

uint64_t archiver_reading_since_ms(struct archiver *a)
{
    worker_lock(&a->worker);
    uint64_t since = a->reading_since_ms;
    worker_unlock(&a->worker);
    return since;
}

static int read_entries(struct archiver *a, struct lsn from, struct lsn to, size_t *used,
                        struct err *e)
{
    size_t count;
    int rc = log_read(a->site->log, from, to, a->buffer, a->capacity, used, &count, e);
    if (rc != ERR_LIMIT)
        return rc;
    uint8_t *larger =
        realloc(a->buffer, *used); /* one entry larger than a pack: it becomes a pack of its own */
    if (larger == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for an entry of %zu bytes", *used);
    a->buffer = larger;
    a->capacity = *used;
    return log_read(a->site->log, from, to, a->buffer, a->capacity, used, &count, e);
}

/* Up to `to`, or up to where the state stands: then the digest at the end of the pack is known and goes into it. */
static int seal(struct archiver *a, struct lsn from, struct lsn to, struct err *e)
{
    struct state_snapshot *snap;
    size_t used = 0;
    int rc = state_snapshot_open(a->site->state, &snap, e);
    if (rc != 0)
        return rc;
    note_reading(a, true);
    struct lsn stands = state_snapshot_position(snap).lsn;
    rc = read_entries(a, from, stands.v < to.v ? stands : to, &used, e);
    if (rc == 0)
        rc = repository_seal(a->repository, a->buffer, used, archive_digest_at, snap, e);
    state_snapshot_close(snap);
    note_reading(a, false);
    return rc;
}

static int snapshot_when_due(struct archiver *a, const struct repository_status *now, struct err *e)
{
    uint64_t entries = now->archived.lsn.v - now->newest_snapshot.v;
    const struct site_config *c = a->site->config;
    const struct utc last =
        now->newest_snapshot.v != 0 ? now->newest_snapshot_time : now->first_time;
    if (now->archived.lsn.v < now->newest_snapshot.v)
        return 0;
    if (!marks_snapshot_due(entries, c->snapshot_entries, now->behind_plain_bytes,
                            now->snapshot_plain_bytes) &&
        !marks_snapshot_old(entries, c->snapshot_us, now->archived.time, last))
        return 0;
    struct state_snapshot *snap;
    int rc = state_snapshot_open(a->site->state, &snap, e);
    if (rc != 0)
        return rc;
    note_reading(a, true);
    rc = repository_snapshot(a->repository, snap, e);
    state_snapshot_close(snap);
    note_reading(a, false);
    return rc == ERR_EXISTS ? 0 : rc;
}

/* Is it time to seal what waits after `archived`? With the lock held. */
static bool seal_due(const struct archiver *a, uint64_t now)
{
    const uint64_t waited = now - a->waiting_since_ms;
    return a->seal_now || (a->hurry && waited >= (uint64_t)a->site->config->pack_seconds * 1000) ||
           marks_seal_due(a->appended_bytes - a->sealed_at_bytes, waited,
                          a->site->config->pack_bytes,
                          (uint64_t)a->site->config->pack_seconds * 1000);
}

static int open_repository(struct archiver *a, struct err *e)
{
    const struct site_config *c = a->site->config;
    int rc = repository_open(&a->repository,
                             &(struct repository_options){.dir = c->archive_dir,
                                                          .kek_file = c->kek_file,
                                                          .cluster_id = c->cluster_id,
                                                          .cluster = c->cluster,
                                                          .create = true},
                             e);
    if (rc == 0)
        rc = repository_ready(a->repository, e); /* if not, it is open all the same, to be healed */
    return rc != 0 ? err_wrap(e, "archive") : 0;
}

/* Another generation of keys is written to, or there is one that we cannot write to: once per change. */
static void tell_generation(struct archiver *a, const struct repository_status *now)
{
    if (a->generation != 0 && now->generation != a->generation)
        events_add(a->site->events, "archive: keys are written to generation %u now, not %u",
                   now->generation, a->generation);
    if (now->awaited_generation != 0 && now->awaited_generation != a->awaited)
        events_add(
            a->site->events,
            "archive: generation %u of its keys was begun under another KEK; this site has that "
            "of generation %u and goes on with it: give it the new one, and run 'triveni "
            "archive keys rotate' again",
            now->awaited_generation, now->generation);
    a->generation = now->generation;
    a->awaited = now->awaited_generation;
}

/* One turn, without the lock. */
static int archive_some(struct archiver *a, struct lsn from, struct lsn to, struct err *e)
{
    if (a->repository == NULL)
        return open_repository(a, e); /* what it holds decides where the next turn begins */
    int rc = repository_ready(a->repository, e);
    if (rc != 0)
        return err_wrap(e, "archive");
    rc = seal(a, from, to, e);
    if (rc != 0)
        return err_wrap(e, "archive: sealing from lsn %llu", (unsigned long long)from.v);
    struct repository_status now;
    repository_status(a->repository, &now);
    tell_generation(a, &now);
    events_add(a->site->events, "archive: sealed up to lsn %llu (%llu packs)",
               (unsigned long long)now.archived.lsn.v, (unsigned long long)now.packs);
    rc = snapshot_when_due(a, &now, e);
    return rc != 0 ? err_wrap(e, "archive: snapshot") : 0;
}

/* What a turn came to. With the lock held. */
static void note_outcome(struct archiver *a, int rc, const struct err *e)
{
    const char *now = rc != 0 ? e->text : "";
    if (strcmp(now, a->trouble) != 0) /* told once, not with every attempt */
        events_add(a->site->events, "%s%s", rc != 0 ? now : "archive: trouble is over",
                   rc != 0 ? "; trying again" : "");
    (void)snprintf(a->trouble, sizeof a->trouble, "%s", now);
    if (a->repository != NULL)
        repository_status(a->repository, &a->status);
}

/* A handle that met a failed sync writes no more: begin again from what is on disk. */
static void drop_repository(struct archiver *a)
{
    repository_close(a->repository);
    a->repository = NULL;
    a->tree_open = a->draft_open = false;
}

/* Seal what is due, once. With the lock held, which is given up while it works. */
static void turn(struct archiver *a, struct lsn from, struct lsn to)
{
    uint64_t appended = a->appended_bytes;
    worker_unlock(&a->worker);
    struct err e = ERR_NONE;
    int rc = archive_some(a, from, to, &e);
    worker_lock(&a->worker);
    note_outcome(a, rc, &e);
    if (rc == ERR_IO && a->repository != NULL)
        drop_repository(a);
    if (rc == 0 && a->status.archived.lsn.v >= to.v) { /* otherwise what is left is due at once */
        a->sealed_at_bytes = appended;
        a->waiting_since_ms = 0;
        a->seal_now = a->hurry = false;
    }
    (void)uv_async_send(&a->site->wake);
    if (rc != 0 && !a->worker.stop)
        worker_wait(&a->worker, ARCHIVE_RETRY_MS);
}

/* ---- the signed tree over what is archived ---- */

/* Where the key that signs checkpoints lies. */
static void key_file(const struct site_config *c, char out[SITE_PATH_BYTES])
{
    static const char name[] = "checkpoint.key";
    const char *slash = strrchr(c->kek_file, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - c->kek_file) + 1;
    if (c->checkpoint_key_file[0] != '\0')
        (void)snprintf(out, SITE_PATH_BYTES, "%s", c->checkpoint_key_file);
    else if (folder + sizeof name <= SITE_PATH_BYTES)
        (void)snprintf(out, SITE_PATH_BYTES, "%.*s%s", (int)folder, c->kek_file, name);
    else
        out[0] = '\0';
}

/* A portion of the tree, without the lock. */
static int grow_tree(struct archiver *a, struct err *e)
{
    char file[SITE_PATH_BYTES], vkey[TLOG_VKEY_BYTES];
    bool made = false;
    if (!a->tree_open) {
        key_file(a->site->config, file);
        int rc = repository_tree_open(a->repository, file, vkey, &made, e);
        worker_lock(&a->worker);
        memcpy(a->draft.key, vkey, sizeof vkey);
        worker_unlock(&a->worker);
        if (rc != 0) {
            err_wrap(e, "archive: tree");
            return rc;
        }
        a->tree_open = true;
        events_add(a->site->events,
                   "archive: checkpoints are signed with %s key %s; verifier key %s",
                   made ? "the new" : "the", file, vkey);
    }
    int rc = repository_tree_grow(a->repository, TREE_PORTION_ENTRIES, e);
    if (rc != 0)
        err_wrap(e, "archive");
    return rc;
}

/* What was signed, to be cosigned. With the lock held. */
static void open_draft(struct archiver *a)
{
    struct bytes note = repository_tree_draft(a->repository);
    if (note.n == 0 || note.n > sizeof a->draft.note)
        return;
    memcpy(a->draft.note, note.p, note.n);
    a->draft.note_bytes = note.n;
    a->draft.generation++;
    a->draft_open = true;
    a->draft_over = false;
    a->draft_ms = site_now_ms();
    (void)uv_async_send(&a->site->wake);
}

/* Entries are archived that the tree does not hold. With the lock held. */
static bool tree_due(const struct archiver *a)
{
    return a->repository != NULL && !a->tree_never && !a->draft_open &&
           site_now_ms() >= a->tree_at_ms && a->status.proven.v < a->status.archived.lsn.v;
}

/* Told once. With the lock held. */
static void note_lost(struct archiver *a)
{
    const char *now = repository_tree_lost(a->repository);
    if (now[0] == '\0' || strstr(a->tree_lost, now) != NULL)
        return;
    (void)snprintf(a->tree_lost, sizeof a->tree_lost, "archive: tree: %.480s", now);
    events_add(a->site->events, "%s", a->tree_lost);
}

/* With the lock held. */
static void note_tree(struct archiver *a, int rc, const struct err *e)
{
    a->tree_never = rc == ERR_GAP;
    const char *now = rc != 0 ? e->text : "";
    if (strcmp(now, a->tree_trouble) != 0)
        events_add(a->site->events, "%s%s",
                   rc != 0 ? now : "archive: trouble with its tree is over",
                   rc != 0 && !a->tree_never ? "; trying again" : "");
    /* That an archive has none, because it begins later, is told once and is no trouble that would ever end. */
    (void)snprintf(a->tree_trouble, sizeof a->tree_trouble, "%s", a->tree_never ? "" : now);
    note_lost(a);
    repository_status(a->repository, &a->status);
    if (rc != 0)
        a->tree_at_ms = site_now_ms() + TREE_RETRY_MS;
    if (rc == ERR_IO)
        drop_repository(a);
}

/* With the lock held, which is given up while it works. */
static void tree_turn(struct archiver *a)
{
    worker_unlock(&a->worker);
    struct err e = ERR_NONE;
    int rc = grow_tree(a, &e);
    worker_lock(&a->worker);
    if (rc == 0)
        open_draft(a);
    note_tree(a, rc, &e);
}

/* ---- cosignatures ---- */

/* Add those that came. With the lock held, which is given up for each. */
static void add_arrivals(struct archiver *a)
{
    for (uint32_t i = 0; i < REPL_SITES_MAX; i++) {
        if (!a->arrivals[i].waits)
            continue;
        const struct arrival now = a->arrivals[i];
        const uint64_t generation = a->draft.generation;
        struct err e = ERR_NONE;
        uint64_t time_s = 0;
        a->arrivals[i].waits = false;
        worker_unlock(&a->worker);
        int rc = repository_tree_cosigned(a->repository, site_member(a->site, (uint8_t)i)->name,
                                          bytes_of(now.key, now.key_bytes),
                                          bytes_of(now.line, now.line_bytes), &time_s, &e);
        worker_lock(&a->worker);
        struct archiver_cosigned *c = &a->cosigned[i];
        if (rc == 0)
            *c = (struct archiver_cosigned){
                .added = generation, .generation = c->generation, .time_s = time_s};
        else
            (void)snprintf(c->why, sizeof c->why, "%s", e.text);
    }
}

/* The draft can be published, or something came for what is published. With the lock held. */
static bool publish_due(const struct archiver *a)
{
    bool came = false;
    for (size_t i = 0; i < REPL_SITES_MAX; i++)
        came |= a->arrivals[i].waits;
    return a->repository != NULL && a->tree_open &&
           (a->draft_open ? a->draft_over || site_now_ms() >= a->draft_ms + DRAFT_MS : came);
}

/* With the lock held, which is given up while it works. */
static void publish_turn(struct archiver *a)
{
    struct err e = ERR_NONE;
    add_arrivals(a);
    worker_unlock(&a->worker);
    int rc = repository_tree_publish(a->repository, &e);
    oplog_soon(a->oplog); /* it may have grown */
    worker_lock(&a->worker);
    a->draft_open = false;
    for (size_t i = 0; rc == 0 && i < REPL_SITES_MAX; i++)
        a->cosigned[i].generation = a->cosigned[i].added;
    if (rc != 0)
        err_wrap(&e, "archive");
    note_tree(a, rc, &e);
    (void)uv_async_send(&a->site->wake);
}

/* With the lock held, which is given up while it works. */
static void operations_turn(struct archiver *a)
{
    bool cosigned = false;
    if (a->repository == NULL || !a->tree_open || !oplog_due(a->oplog))
        return;
    worker_unlock(&a->worker);
    const struct repository_orders orders = disposer_recorded(a->disposer);
    int rc = oplog_turn(a->oplog, a->repository, &orders, &cosigned);
    if (cosigned)
        copies_again(a->copies);
    worker_lock(&a->worker);
    if (rc == ERR_IO)
        drop_repository(a);
}

/* With the lock held, which is given up while it works. */
static void copies_due_turn(struct archiver *a)
{
    const struct repository_status now = a->status;
    worker_unlock(&a->worker);
    if (a->repository != NULL && copies_due(a->copies, &now)) {
        copies_turn(a->copies, a->repository, &now);
        (void)uv_async_send(&a->site->wake);
    }
    worker_lock(&a->worker);
}

/* Holds and disposals. With the lock held, which is given up while it works. */
static void disposal_turn(struct archiver *a)
{
    worker_unlock(&a->worker);
    int rc = disposer_turn(a->disposer, a->repository);
    worker_lock(&a->worker);
    const uint64_t before = a->status.disposed;
    repository_status(a->repository, &a->status);
    a->index_more |= a->status.disposed != before; /* indexes over what is gone are gone */
    if (rc == ERR_IO)
        drop_repository(a);
}

/* ---- the index of keys over what is archived ---- */

/* With the lock held. */
static bool index_due(const struct archiver *a)
{
    return a->repository != NULL && site_now_ms() >= a->index_at_ms &&
           (a->index_more || a->check_index || a->status.indexed.v < a->status.archived.lsn.v);
}

/* One portion. With the lock held, which is given up while it works. */
static void index_turn(struct archiver *a)
{
    bool check_first = a->check_index, more = false;
    worker_unlock(&a->worker);
    struct err e = ERR_NONE;
    int rc = check_first ? repository_index_check(a->repository, &e) : 0;
    if (rc == 0)
        rc = repository_index_extend(a->repository, &more, &e);
    if (rc != 0)
        err_wrap(&e, "archive");
    worker_lock(&a->worker);
    if (rc == 0 && check_first)
        a->check_index = false;
    a->index_more = more;
    const char *now = rc != 0 ? e.text : "";
    if (strcmp(now, a->index_trouble) != 0)
        events_add(a->site->events, "%s%s",
                   rc != 0 ? now : "archive: trouble with its index of keys is over",
                   rc != 0 ? "; records of the past are found, more slowly; trying again" : "");
    (void)snprintf(a->index_trouble, sizeof a->index_trouble, "%s", now);
    repository_status(a->repository, &a->status);
    if (rc != 0)
        a->index_at_ms = site_now_ms() + INDEX_RETRY_MS;
    if (rc == ERR_IO)
        drop_repository(a);
}

/* ---- healing ---- */

/* Copies are put into the archive by the calls that make copies, so it is closed meanwhile, and opened anew behind it, as
 * it then is. */
static int heal_from_copies(struct archiver *a, const char *object, char where[SITE_PATH_BYTES],
                            struct err *e)
{
    if (!repository_is_object(object))
        return copies_heal_part(a->copies, a->repository, object, where, e);
    int rc = copies_have(a->copies, object, e);
    if (rc != 0)
        return rc;
    worker_lock(&a->worker);
    drop_repository(a);
    worker_unlock(&a->worker);
    return copies_heal(a->copies, object, where, e);
}

/* With the lock held, which is given up while it works. */
static void heal_turn(struct archiver *a)
{
    struct err e = ERR_NONE;
    const char *object = a->heal.object;
    const int copy = a->heal.copy;
    const struct lsn committed = a->archive_to;
    char where[SITE_PATH_BYTES] = "the archive";
    worker_unlock(&a->worker);
    int rc = copy >= 0 ? copies_put_back(a->copies, (uint32_t)copy, a->repository, object, &e)
                       : heal_from_copies(a, object, where, &e);
    if (rc != 0 && copy < 0)
        rc = archive_heal_by_entries(a->site, a->repository, object, committed, where, &e);
    worker_lock(&a->worker);
    oplog_soon(a->oplog); /* what was done is signed at once */
    memcpy(a->heal.where, where, sizeof where);
    a->heal.outcome = rc == 0 ? (struct err)ERR_NONE : e;
    a->heal.object = NULL;
    a->heal.done = true;
    if (a->repository != NULL) {
        struct err why = ERR_NONE;
        rc = repository_ready(a->repository, &why);
        note_outcome(a, rc != 0 ? err_wrap(&why, "archive") : 0, &why);
    }
    worker_wake(&a->worker);
}

static void *archive_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "archiver");
    site_background();
    struct archiver *a = arg;
    worker_lock(&a->worker);
    while (!a->worker.stop) {
        if (a->heal.object != NULL)
            heal_turn(a);
        if (a->look_again)
            drop_repository(a);
        a->look_again = false;
        if (publish_due(a))
            publish_turn(a);
        if (tree_due(a))
            tree_turn(a);
        operations_turn(a);
        if (a->repository != NULL && disposer_due(a->disposer))
            disposal_turn(a);
        copies_due_turn(a);
        if (index_due(a))
            index_turn(a);
        struct lsn from = {a->status.archived.lsn.v + 1}, to = a->archive_to;
        uint64_t now = site_now_ms();
        if (a->repository != NULL && to.v < from.v) {
            a->waiting_since_ms = 0;
            a->seal_now = a->hurry = false;
            worker_wait(&a->worker, ARCHIVE_WAIT_MS);
            continue;
        }
        if (a->waiting_since_ms == 0)
            a->waiting_since_ms = now;
        if (a->repository == NULL || seal_due(a, now))
            turn(a, from, to);
        else
            worker_wait(&a->worker, ARCHIVE_WAIT_MS);
    }
    worker_unlock(&a->worker);
    return NULL;
}

int archiver_start(struct site *s, struct archiver **out, struct err *e)
{
    struct archiver *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->site = s;
    a->sealed_at_bytes = a->appended_bytes = s->retained.bytes;
    a->capacity = s->config->pack_bytes + ENTRY_HEADER_BYTES;
    a->buffer = malloc(a->capacity);
    int rc = a->buffer != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0)
        rc = copies_new(s, &a->copies, e);
    if (rc == 0)
        rc = disposer_new(s, &a->disposer, e);
    if (rc == 0)
        rc = oplog_new(s, &a->oplog, e);
    if (rc == 0)
        rc = open_repository(a, e);
    if (rc == 0 || rc == ERR_IO || rc == ERR_NO_SPACE || rc == ERR_INTEGRITY ||
        rc == ERR_UNREACHABLE || rc == ERR_TIMEOUT) {
        note_outcome(a, rc, e);
        *e = (struct err)ERR_NONE;
        rc = worker_start(&a->worker, archive_main, a, "archives", e);
    }
    if (rc != 0) {
        repository_close(a->repository);
        copies_free(a->copies);
        disposer_free(a->disposer);
        oplog_free(a->oplog);
        free(a->buffer);
        free(a);
        return rc;
    }
    *out = a;
    return 0;
}

void archiver_stop(struct archiver *a)
{
    if (a == NULL)
        return;
    worker_end(&a->worker);
    repository_close(a->repository);
    copies_free(a->copies);
    disposer_free(a->disposer);
    oplog_free(a->oplog);
    worker_deinit(&a->worker);
    free(a->buffer);
    free(a);
}

void archiver_orders(struct archiver *a, struct lsn archive_to, uint64_t appended_bytes)
{
    worker_lock(&a->worker);
    a->appended_bytes = appended_bytes;
    if (archive_to.v > a->archive_to.v)
        a->archive_to = archive_to;
    /* Woken for a whole pack; what has waited long enough it finds itself. */
    if (appended_bytes - a->sealed_at_bytes >= a->site->config->pack_bytes)
        worker_wake(&a->worker);
    worker_unlock(&a->worker);
}

void archiver_seal_now(struct archiver *a)
{
    worker_lock(&a->worker);
    a->seal_now = true;
    worker_wake(&a->worker);
    worker_unlock(&a->worker);
}

void archiver_hurry(struct archiver *a)
{
    worker_lock(&a->worker);
    a->hurry = true;
    worker_unlock(&a->worker);
}

bool archiver_signs(struct archiver *a)
{
    worker_lock(&a->worker);
    bool signs = !a->tree_never && a->tree_trouble[0] == '\0';
    worker_unlock(&a->worker);
    return signs;
}

void archiver_status(struct archiver *a, struct repository_status *out,
                     char trouble[ERR_TEXT_BYTES])
{
    worker_lock(&a->worker);
    *out = a->status;
    memcpy(trouble, a->trouble, ERR_TEXT_BYTES);
    worker_unlock(&a->worker);
    if (a->site->config->archived_at_all) {
        const struct lsn all = copies_reached(a->copies);
        if (all.v < out->archived.lsn.v)
            out->archived.lsn = all;
    }
}

struct disposer *archiver_disposer(struct archiver *a)
{
    return a->disposer;
}

struct oplog *archiver_oplog(struct archiver *a)
{
    return a->oplog;
}

struct copies *archiver_copies(struct archiver *a)
{
    return a->copies;
}

void archiver_tree_trouble(struct archiver *a, char trouble[ERR_TEXT_BYTES])
{
    worker_lock(&a->worker);
    memcpy(trouble, a->tree_trouble[0] != '\0' ? a->tree_trouble : a->tree_lost, ERR_TEXT_BYTES);
    worker_unlock(&a->worker);
}

uint64_t archiver_draft_generation(struct archiver *a)
{
    worker_lock(&a->worker);
    uint64_t generation = a->draft.generation;
    worker_unlock(&a->worker);
    return generation;
}

void archiver_draft(struct archiver *a, struct archiver_draft *out)
{
    worker_lock(&a->worker);
    *out = a->draft;
    worker_unlock(&a->worker);
}

void archiver_draft_over(struct archiver *a, uint64_t generation)
{
    worker_lock(&a->worker);
    if (a->draft.generation == generation) {
        a->draft_over = true;
        worker_wake(&a->worker);
    }
    worker_unlock(&a->worker);
}

void archiver_cosign(struct archiver *a, uint8_t site, uint64_t generation, struct bytes key,
                     struct bytes line)
{
    struct arrival *it = &a->arrivals[site];
    check(key.n <= sizeof it->key && line.n <= sizeof it->line);
    worker_lock(&a->worker);
    if (a->draft.generation == generation) { /* otherwise it is of another checkpoint */
        it->waits = true;
        it->key_bytes = key.n;
        it->line_bytes = line.n;
        memcpy(it->key, key.p, key.n);
        memcpy(it->line, line.p, line.n);
        worker_wake(&a->worker);
    }
    worker_unlock(&a->worker);
}

void archiver_cosigned(struct archiver *a, uint8_t site, struct archiver_cosigned *out)
{
    worker_lock(&a->worker);
    *out = a->cosigned[site];
    worker_unlock(&a->worker);
}

void archiver_index_trouble(struct archiver *a, char trouble[ERR_TEXT_BYTES])
{
    worker_lock(&a->worker);
    memcpy(trouble, a->index_trouble, ERR_TEXT_BYTES);
    worker_unlock(&a->worker);
}

void archiver_check_index(struct archiver *a)
{
    worker_lock(&a->worker);
    a->check_index = true;
    worker_wake(&a->worker);
    worker_unlock(&a->worker);
}

void archiver_look_again(struct archiver *a)
{
    worker_lock(&a->worker);
    a->look_again = true;
    worker_wake(&a->worker);
    worker_unlock(&a->worker);
}

int archiver_heal(struct archiver *a, int copy, const char *object, char where[SITE_PATH_BYTES],
                  struct err *e)
{
    worker_lock(&a->worker);
    a->heal.object = object;
    a->heal.copy = copy;
    a->heal.done = false;
    worker_wake(&a->worker);
    while (!a->heal.done && !a->worker.stop)
        worker_wait(&a->worker, ARCHIVE_WAIT_MS);
    if (a->heal.done)
        *e = a->heal.outcome;
    else
        (void)err_set(e, ERR_CANCELLED, "the site stops");
    a->heal.object = NULL;
    memcpy(where, a->heal.where, sizeof a->heal.where);
    worker_unlock(&a->worker);
    return e->code;
}
