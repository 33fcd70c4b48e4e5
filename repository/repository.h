/* The repository: the archive at gsr. Packs of consecutive entries, snapshots of the state, keys; restore from them
 * alone. It lies in a local directory or in an S3 bucket (repository/core/s3_text.h).
 *
 * Layout of the directory (every object is written once under a unique name: temporary name, fdatasync, read back and
 * compared, link without replacing, directory sync; the order is key, object, meta, and without a meta an object does not
 * exist). docs/REPOSITORY-FORMAT.md has every byte.
 *   repository.json                              format version, cluster name and id, created
 *   packs/<first>-<last>-<term>-<unique>.pack    20-digit decimal lsns; sealed, encrypted entries
 *   packs/<first>-<last>-<term>-<unique>.meta    JSON: sizes, SHA-256 of the pack, position before the first and of the last
 *                                                entry, where each frame begins, restore points inside with the digest
 *                                                of the state at each, digest at `last`
 *   snapshots/<lsn>-<unique>.snap and .meta      the state at an lsn, same container; its digest, counts, position
 *   indexes/<first>-<last>-<unique>.index and .meta   which entries wrote a record, derived from packs: history.h
 *   packs/….disposed, snapshots/….disposed       the key was destroyed, and by whose order: custody.h
 *   keys/<generation>/<object>.key               JSON: AES-KWP(KEK, data key of the object), KEK id; outside the objects, so
 *                                                that another generation rewraps keys and rewrites no object: keys.h
 *   tree/                                        the signed Merkle tree over the entries: proof.h
 *
 * Threads: one archive thread calls the archive functions; restore is for a process of its own. */
#ifndef REPOSITORY_REPOSITORY_H
#define REPOSITORY_REPOSITORY_H

#include "repository/core/order.h"
#include "store/core/digest.h"
#include "store/core/entry.h"
#include "store/core/err.h"
#include "store/log.h"
#include "store/state.h"

struct repository; /* opaque */

struct repository_options {
    const char *dir; /* or "s3:..." */
    /* Where the key-encryption key comes from: a file of 64 hex digits that only its owner can access, "command:/PATH WORD...",
     * which writes the same, or the RFC 7512 URI of an AES-256 key that stays in a PKCS #11 token ("pkcs11:...").
     * NULL, with read_only: keyless, for repository_verify up to REPOSITORY_INTACT and for nothing else; what else needs a
     * key is ERR_DENIED then. */
    const char *kek_file;
    struct uuid cluster_id; /* zero for restore: taken from the repository */
    const char *cluster;    /* name; NULL for restore */
    bool create;            /* make it when missing (gsr); otherwise ERR_NOT_FOUND */
    bool read_only;
    /* With read_only: what is in it is not read at opening, but by repository_verify(), which must be asked first and reads it
     * all (and tells what opening would have told of it). When that was not refused everything may be asked. */
    bool to_verify;
};
/* ERR_DENIED when the KEK is wrong (its id differs), or its file accessible to others, or the token refuses the PIN; ERR_IO
 * when its command or token fails; ERR_BUSY when another process has the archive open for writing, ERR_CONFIG when it is
 * another cluster's. A broken archive opens, is used as far as it is whole, and repository_status counts the damage; whether it
 * can be sealed into then says repository_ready. */
int repository_open(struct repository **out, const struct repository_options *options,
                    struct err *e);
void repository_close(struct repository *r);

struct repository_status {
    struct uuid cluster_id;
    /* Last entry in a sealed pack; opened for writing, of those that are linked with all before (repository_ready). */
    struct entry_position archived;
    struct lsn first; /* first entry in the archive, normally 1 */
    uint64_t packs, snapshots, points;
    uint64_t disposed; /* of these packs and snapshots: their keys were destroyed (custody.h) */
    uint64_t pack_bytes, plain_bytes;
    struct utc first_time; /* of the first entry; 0: the archive is empty */
    struct lsn newest_snapshot;
    struct utc newest_snapshot_time; /* of the entry that it stands at */
    uint64_t snapshot_plain_bytes;   /* of that one */
    uint64_t behind_plain_bytes; /* of the packs after it: what a restore of the end reads again */
    struct lsn
        proven; /* the signed tree holds the entries up to here; 0: none yet, or it was not opened (proof.h) */
    struct lsn indexed; /* indexes of keys (history.h) cover every pack up to here */
    uint64_t indexes;   /* that a lookup asks */
    uint64_t
        indexes_damaged; /* that were found so: packs are read instead, until the site has made them again */
    unsigned
        generation; /* of keys: which one is written to (keys.h); 0 when opened with read_only */
    unsigned
        awaited_generation; /* a newer one, whose KEK this process was not given yet; 0: none */
    /* Objects that cannot be used, gaps and breaks of the chain: call repository_verify. */
    uint64_t damaged;
    /* Objects or keys without a meta, and packs whose entries are in another one, left by interrupted writers; in nobody's
     * way. */
    uint64_t unfinished;
};
void repository_status(const struct repository *r, struct repository_status *out);

/* ---- writing, at gsr ---- */
/* Digest of the state at a restore point or at the end of the pack, as the state knows it; 0, or ERR_NOT_FOUND when unknown. */
typedef int (*repository_digest_fn)(void *arg, struct lsn lsn, struct digest *out);

/* Is it proven where the archive goes on? Packs that are damaged or missing do not hinder that when the signed tree, or the packs
 * beside them, say where they begin and end. 0, or ERR_INTEGRITY naming the first pack whose place is not proven. */
int repository_ready(const struct repository *r, struct err *e);
/* Seal consecutive entries (each header and body, back to back), beginning right after repository_status().archived, into
 * one pack. R8: ERR_STALE when their term is below that of the last archived entry; ERR_INTEGRITY as repository_ready. Durable,
 * read back, decrypted, decoded and compared when it returns 0. */
int repository_seal(struct repository *r, const uint8_t *entries, size_t bytes,
                    repository_digest_fn digest, void *arg, struct err *e);
/* Write a snapshot of the state. Returns ERR_EXISTS when one at that lsn is there. */
int repository_snapshot(struct repository *r, struct state_snapshot *snap, struct err *e);

/* ---- reading ---- */
struct repository_pack {
    char name[96];
    struct lsn first, last;
    struct term term;
    struct utc first_time, last_time;
    uint64_t bytes, plain_bytes;
    bool damaged;  /* then only name, first, last and term are known */
    bool disposed; /* nothing in it can be read, by the order `by` (custody.h) */
    struct repository_order by;
};
int repository_packs(struct repository *r, int (*each)(void *arg, const struct repository_pack *),
                     void *arg, struct err *e);
/* A digest of zero: the archive does not know it (digests of non-empty states are never zero but by chance of 2^-128). */
int repository_points(struct repository *r, int (*each)(void *arg, const struct restore_point *),
                      void *arg, struct err *e);
struct repository_snapshot_info {
    char name[96];
    struct lsn lsn;
    struct utc time;
    uint64_t records, bytes;
    struct digest digest;
    bool damaged;  /* then only name and lsn are known */
    bool disposed; /* as of a pack */
    struct repository_order by;
};
int repository_snapshots(struct repository *r,
                         int (*each)(void *arg, const struct repository_snapshot_info *), void *arg,
                         struct err *e);
/* Entries with lsn in [from, to] in order, as far as the archive goes (ERR_NOT_FOUND when it does not hold `from`, or entries
 * were disposed of); the callback's non-zero result stops and is returned. Each pack is authenticated, each entry checked, the
 * chain verified. */
int repository_entries(struct repository *r, struct lsn from, struct lsn to,
                       int (*each)(void *arg, const struct entry_view *), void *arg, struct err *e);

enum repository_level { REPOSITORY_PRESENT = 1, REPOSITORY_INTACT = 2, REPOSITORY_READABLE = 3 };
struct repository_report {
    uint64_t objects, bytes, entries, damaged, unfinished;
    uint64_t
        disposed; /* of these objects: fixity and the tree were checked, there is nothing to read */
    uint64_t
        proven; /* entries in the signed tree (proof.h), when it is whole; 0: there is none, or it is damaged */
    uint64_t operations; /* leaves in the signed operations log (operations.h); 0: there is none,
                            or it is damaged, and what must be there follows from the metas alone */
    uint64_t pending;    /* operations that were handed in, and are not signed yet */
    uint64_t unnamed;    /* packs and snapshots that it does not name (yet) */
};
/* Check every object at that level, and that every one is there that the operations log names; each damaged one is told to
 * `damage` (name and reason), and the check goes on.
 * 0, or ERR_INTEGRITY when any was damaged. Of an archive that was opened keyless: up to REPOSITORY_INTACT (ERR_DENIED);
 * ERR_NOT_FOUND when it has no operations log; the signed tree is followed from header to header, and the metas, whose seals
 * nobody can check then, are believed only as far as log and tree say the same. */
int repository_verify(struct repository *r, enum repository_level level,
                      void (*damage)(void *arg, const char *object, const char *reason),
                      void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                      struct repository_report *out, struct err *e);

/* Who signed? Before a verification: `vouched` is given the notes that it rests on ("tree/checkpoint" and "operations/checkpoint"),
 * each signed by a key that lies beside it. What it refuses, by ERR_INTEGRITY with the reason, is damage. NULL: any is taken. */
typedef int (*repository_vouched_fn)(void *arg, const char *file, struct bytes note, struct err *e);
void repository_vouch(struct repository *r, repository_vouched_fn vouched, void *arg);

/* ---- copies in other places ---- */
struct repository_copy; /* opaque: another place, open for writing */
/* The place is made when it is a directory that is missing. ERR_BUSY, ERR_CONFIG, ... as when an archive is opened. */
int repository_copy_open(struct repository_copy **out, const char *where, struct err *e);
void repository_copy_close(struct repository_copy *c); /* NULL is taken */
/* Does anything of an archive lie at the place? Nothing is made there. Errors of a place that does not answer. */
int repository_copy_is_there(const char *where, bool *there, struct err *e);
struct repository_copy_report {
    uint64_t objects, bytes; /* looked at */
    uint64_t copied, healed; /* files that were missing there; that were damaged there */
    uint64_t damaged;        /* objects that are damaged here: left as they are there */
    struct lsn reached;      /* the copy holds every pack up to here */
    uint64_t destroyed;      /* keys of what was disposed of (custody.h) */
    uint64_t locked;         /* and such that the place does not let go yet */
    struct utc locked_until; /* when it lets the first of them go; 0: not known */
    bool more;               /* it ended at `most` */
};
/* Put what `r` holds, verified on the way, where it is missing. With `deep` everything there is read and compared, and what
 * is damaged is put once more; otherwise only what came since the last run is looked at. `told` (may be NULL) gets each file
 * and what was done, or why not. Ends early when `most` bytes were put (0: any number). ERR_CONFIG when it is another
 * cluster's; after an error the next run begins where it was. */
int repository_copy_run(struct repository_copy *c, struct repository *r, bool deep, uint64_t most,
                        void (*told)(void *arg, const char *object, const char *what), void *arg,
                        struct repository_copy_report *out, struct err *e);

/* ---- restore ---- */
struct restore_target {
    struct lsn lsn;    /* 0: not by lsn */
    const char *point; /* NULL: not by restore point */
    struct utc time;   /* 0: not by time: the last entry at or before it */
};                     /* all unset: the end of the archive */
struct restore_plan {
    struct lsn lsn;
    struct utc time;                      /* of the entry at lsn */
    struct lsn snapshot;                  /* begins from this snapshot, 0: from nothing */
    uint64_t packs, bytes;                /* to be read */
    char point[POINT_NAME_MAX_BYTES + 1]; /* name, when the lsn has one */
    bool digest_known;                    /* the archive holds the digest at exactly this lsn */
    struct digest digest;
    struct utc archive_ends; /* time of the last archived entry */
    /* The asked time is not before the archive's end: transactions up to it may exist that are not archived yet. */
    bool open_end;
};
/* ERR_NOT_FOUND with the range or the nearest names when the archive does not hold the target, and with the order when what it
 * needs was disposed of; ERR_INTEGRITY naming the pack when damage lies between the nearest snapshot and the target. A time
 * after the last entry gives the last entry, and open_end. */
int repository_plan(struct repository *r, const struct restore_target *target,
                    struct restore_plan *out, struct err *e);
struct repository_estimate {
    uint64_t plain_bytes;   /* of entries and records that are read */
    uint64_t sampled_bytes; /* of those were read to measure */
    double read_rate,
        write_rate; /* bytes a second: entries by one thread, the disk; 0: not known */
    double seconds;
};
/* How long it would take, `whole` or some records of it, from a bounded sample of what is read and of the disk of `dir`: about a
 * second of work, nothing is left behind. An estimate: it tells minutes from hours. Errors as of a restore that meets them. */
int repository_estimate(struct repository *r, const struct restore_plan *plan, bool whole,
                        const char *dir, struct repository_estimate *out, struct err *e);
struct restore_result {
    struct entry_position at;
    uint64_t records, entries;
    struct lsn compared; /* of the digest that was compared; 0: the archive holds none up to here */
    bool resumed;        /* some of it was there from an interrupted call */
    struct digest digest;
};
/* What a long call is at: bytes of packs that were read, then records that were put in order. */
enum repository_stage { REPOSITORY_STAGE_READ, REPOSITORY_STAGE_BUILD };
typedef void (*repository_stage_fn)(void *arg, enum repository_stage stage, uint64_t done,
                                    uint64_t total);
/* Build a data directory in `into`, which must not exist or be empty (ERR_EXISTS otherwise): "<into>/state". Built as
 * "<into>.partial" and renamed at the end, so that `into` is always whole. Ends by counting
 * the digest again from the records and comparing it with the newest digest that the archive holds up to the target;
 * ERR_INTEGRITY, and the directory is renamed to "<into>.rejected", when it differs. Reads with as many threads as there are
 * processors; repository/io/fold.h tells the memory. Interrupted, by a full disk
 * (ERR_NO_SPACE), an error of the disk (ERR_IO) or the end of the process, it leaves "<into>.partial": the same call again goes
 * on with what was read. ERR_EXISTS when that is of another target, ERR_BUSY when another process works in it. */
int repository_restore(struct repository *r, const struct restore_plan *plan, const char *into,
                       repository_stage_fn progress, void *arg, struct restore_result *out,
                       struct err *e);

/* ---- a restore as a drill ---- */
struct repository_drill {
    struct restore_plan plan;
    struct restore_result result;
    uint64_t bytes; /* of the archive that were read */
};
/* Can the archive be restored to the target? Restores by the calls above in the directory `scratch`, which is made when it is
 * missing, and removes what was restored; a state whose digest differs stays as "<scratch>/triveni-drill.rejected" until the
 * next drill there. 0: restored, and equal to a digest that the sites had. Errors as above, and ERR_NOT_FOUND when the
 * archive holds no digest to compare with; ERR_BUSY when another drill works in `scratch`. */
int repository_drill(struct repository *r, const struct restore_target *target, const char *scratch,
                     repository_stage_fn progress, void *arg, struct repository_drill *out,
                     struct err *e);

/* Some records, all of one collection: its name; and of its keys those from `from` (inclusive) to `to` (exclusive; empty:
 * no end), with the prefix, or this one. */
struct repository_selection {
    struct bytes collection, from, to, prefix, key;
};
/* The selected records as they were at the plan's lsn, in order. Entries are checked as in a restore; the digest of the
 * state cannot be compared, for it is one of all records. `scratch` is a directory that must not be there, or be left
 * from an interrupted call with the same arguments; it is removed at the end. A non-zero result of `each` stops, and is
 * returned. Errors else as above. */
int repository_records(struct repository *r, const struct restore_plan *plan,
                       const struct repository_selection *only, const char *scratch,
                       int (*each)(void *arg, const struct record *), void *each_arg,
                       repository_stage_fn progress, void *arg, struct restore_result *out,
                       struct err *e);

#endif
