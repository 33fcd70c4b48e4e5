/* Snapshots that are not in use.
 *
 * Beginning an LMDB read transaction costs a reader place and memory, so closed snapshots are kept. A thread that reads record
 * after record closes one and opens one all the time: its last one lies in a spare place, which is taken and given with one
 * atomic exchange. It lies there WARM as long as nothing was committed since it began: then it sees what a new one would, and
 * neither LMDB nor the lock is asked. All others are reset, and are in the pool, behind the lock, or in a spare place too.
 *
 *   open (warm) --close, nothing committed--> spare, warm --open, nothing committed--> open
 *   open --close, otherwise--> spare or pool, reset --open--> renewed, open
 *
 * INVARIANTS
 *   W1  A snapshot that is opened sees everything that was committed before it was asked for. `newest` is the transaction that a
 *       warm one must be of. It is 0 from before a commit until after it, so nobody gets the old state from a spare place when
 *       somebody else had the new one from LMDB.
 *   W2  Between batches no snapshot that nobody uses keeps LMDB from using pages again: before a commit all warm ones are reset.
 *       Who puts a warm one into a place looks at `newest` again afterwards, and who commits looks into the places after he
 *       changed `newest`: one of the two sees the other (all of these are sequentially consistent).
 *   W3  Open are those that were made and are neither in the pool nor in a place. */
#include "store/io/state_internal.h"

#include "store/core/check.h"

/* A thread's own place, unless there are more threads than places. */
static struct spare *my_place(struct state *s)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned mine; /* 0: none yet */
    if (mine == 0)
        mine = atomic_fetch_add(&threads, 1) % SPARES + 1;
    return &s->spares[mine - 1];
}

static void cool(struct state_snapshot *snap)
{
    if (snap->warm)
        mdb_txn_reset(snap->t.txn);
    snap->warm = false;
}

/* With the lock held. */
static void put(struct state *s, struct state_snapshot *snap)
{
    cool(snap);
    snap->next = s->pool;
    s->pool = snap;
    s->pooled++;
}

/* With the lock held: all that lie in places. */
static void sweep(struct state *s)
{
    for (size_t i = 0; i < SPARES; i++) {
        struct state_snapshot *snap = atomic_exchange(&s->spares[i].snap, NULL);
        if (snap != NULL)
            put(s, snap);
    }
}

static void put_locked(struct state *s, struct state_snapshot *snap)
{
    (void)pthread_mutex_lock(&s->lock);
    put(s, snap);
    (void)pthread_mutex_unlock(&s->lock);
}

/* With the lock held. */
static int take(struct state *s, struct state_snapshot **out, struct err *e)
{
    if (s->pool == NULL && s->snapshots_made >= s->options.readers)
        sweep(s);
    struct state_snapshot *snap = s->pool;
    if (s->closed)
        return err_set(e, ERR_BUSY,
                       "snapshot: the state is being put back to its checkpoint; try again");
    if (snap != NULL) {
        s->pool = snap->next;
        s->pooled--;
    } else if (s->snapshots_made >= s->options.readers) {
        return err_set(e, ERR_BUSY, "snapshot: all %u are in use; try again", s->options.readers);
    } else if ((snap = calloc(1, sizeof *snap)) == NULL) {
        return err_set(e, ERR_NO_MEMORY, "snapshot: out of memory");
    } else {
        snap->state = s;
        snap->t.dbi = s->dbi;
        s->snapshots_made++;
    }
    *out = snap;
    return 0;
}

int state_pool_take(struct state *s, struct state_snapshot **out, struct err *e)
{
    struct state_snapshot *snap = atomic_exchange(&my_place(s)->snap, NULL);
    int rc = 0;
    if (snap == NULL) {
        (void)pthread_mutex_lock(&s->lock);
        rc = take(s, &snap, e);
        (void)pthread_mutex_unlock(&s->lock);
    } else if (snap->warm && snap->txn_id != atomic_load(&s->newest)) {
        cool(snap);
    }
    *out = snap;
    return rc;
}

void state_pool_give(struct state_snapshot *snap)
{
    struct state *s = snap->state;
    struct spare *place = my_place(s);
    if (snap->warm && snap->txn_id != atomic_load(&s->newest))
        cool(snap);
    const bool warm = snap->warm; /* once it lies there it is anybody's */
    const size_t txn_id = snap->txn_id;
    struct state_snapshot *other = atomic_exchange(&place->snap, snap);
    if (other != NULL)
        put_locked(s, other);
    if (warm && txn_id != atomic_load(&s->newest) &&
        (other = atomic_exchange(&place->snap, NULL)) != NULL)
        put_locked(s, other);
}

void state_pool_cool(struct state *s)
{
    atomic_store(&s->newest, 0);
    (void)pthread_mutex_lock(&s->lock);
    sweep(s);
    (void)pthread_mutex_unlock(&s->lock);
}

void state_pool_committed(struct state *s)
{
    MDB_envinfo info;
    check(mdb_env_info(s->env, &info) == 0);
    atomic_store(&s->newest, info.me_last_txnid);
}

int state_pool_clear(struct state *s, struct err *e)
{
    (void)pthread_mutex_lock(&s->lock);
    sweep(s);
    const uint32_t open = s->snapshots_made - s->pooled;
    struct state_snapshot *snap = open == 0 ? s->pool : NULL;
    if (open == 0) {
        atomic_store(&s->newest, 0);
        s->closed = true;
        s->pool = NULL;
        s->snapshots_made = s->pooled = 0;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (open != 0)
        return err_set(e, ERR_BUSY, "%u snapshots are open", open);
    while (snap != NULL) {
        struct state_snapshot *next = snap->next;
        if (snap->t.txn != NULL)
            mdb_txn_abort(snap->t.txn);
        free(snap);
        snap = next;
    }
    return 0;
}
