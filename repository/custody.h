/* Retention, legal hold, disposal: what is archived is disposed of by destroying the keys of packs and snapshots, and by nothing
 * else. The objects stay, as ciphertext that nobody can read: so the chain of packs, their fixity and every proof over the signed
 * tree hold as before. Beside each lies a mark, sealed like a meta, that says by whose order.
 *
 * What is in force is decided elsewhere (replication/core/custody.h), from warrants of two operators in the log; here it is
 * carried out, again and again, until nothing is left to do. A disposal "before lsn N" takes every pack and snapshot that lies
 * before N as a whole, except
 *   held        an entry in it wrote a record that a hold selects. Of snapshots: it is the last to hold such a version
 *   needed      every moment from N on stays restorable: the newest snapshot before N, and the packs from it on
 *   retained    younger than the archive's retention
 *   unsigned    not in the signed tree yet: then nothing could ever be proven of it
 * What is held is read in the packs themselves, not in an index: destruction is for ever, and an index is derived.
 *
 * Threads: as repository.h; the archive thread carries out. */
#ifndef REPOSITORY_CUSTODY_H
#define REPOSITORY_CUSTODY_H

#include "repository/repository.h"

struct repository_hold {
    const char *name;
    struct repository_selection only;
};
struct repository_disposal {
    struct lsn before;
    struct repository_order by;
};
struct repository_custody {
    const struct repository_hold *holds;
    size_t hold_count;
    const struct repository_disposal
        *disposals; /* by `before`; an object goes by the first that takes it */
    size_t disposal_count;
    struct utc now;
    uint64_t retain_us; /* what is younger is not disposed of; 0: whatever its age */
    bool preview;       /* tell, and do nothing: also of an archive that was opened for reading */
    uint64_t most;      /* end after having read so many bytes (0: any number), and say `more` */
    /* Told of each object that a disposal takes: "disposed" (now; with preview: it would be), "held by NAME", "needed to restore
     * later moments", "retained until DATE", "not in the signed tree yet", "damaged: WHY". NULL is taken. */
    void (*told)(void *arg, const char *object, const char *what);
    void *arg;
};
struct repository_custody_report {
    uint64_t disposed; /* objects, in all; with preview also those that would be */
    uint64_t now;      /* of these, by this call */
    uint64_t held, needed, retained, unsigned_yet, damaged;
    uint64_t
        locked; /* keys that the place does not let go yet, as a bucket with Object Lock: disposal is not done */
    struct utc locked_until; /* when it lets the first of them go; 0: not known */
    bool more;
};
/* Mark, then destroy keys. After an error or a crash the next call goes on. ERR_IO after a failed sync: open the archive anew. */
int repository_dispose(struct repository *r, const struct repository_custody *c,
                       struct repository_custody_report *out, struct err *e);

/* The newest snapshot before `lsn` that can be restored from: what lies before it is all that a disposal before `lsn` could take.
 * ERR_NOT_FOUND: there is none. */
int repository_disposable(struct repository *r, struct lsn lsn, struct lsn *snapshot,
                          struct utc *time, struct err *e);

#endif
