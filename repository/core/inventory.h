/* What the archive holds, as its meta files say, and the decisions that need nothing else: is the chain of packs whole,
 * and what must be read to restore to a target.
 *
 * Arrays are sorted: packs by first lsn, snapshots by lsn, the points of a pack by lsn. An object whose meta, key or file is
 * unusable stays in the inventory with `damaged` set and what its name tells, and, unless it is `unplaced`, with where it
 * begins and ends. One whose key was destroyed by an order (repository/custody.h) has `disposed` set, and where it begins and
 * ends: the chain goes through it, and nothing in it can be read. */
#ifndef REPOSITORY_CORE_INVENTORY_H
#define REPOSITORY_CORE_INVENTORY_H

#include "repository/core/names.h"
#include "repository/core/order.h"
#include "store/core/body.h"
#include "store/core/digest.h"
#include "store/core/entry.h"

struct repo_point {
    struct bytes name;
    struct lsn lsn;
    struct utc time;
    bool digest_known;
    struct digest digest;
};

/* What both kinds of objects have. */
struct repo_object {
    char name[REPO_NAME_BYTES];
    bool damaged, disposed;
    bool unplaced;              /* damaged, and nothing proves where it begins and ends */
    bool closed;                /* "damaged": its key is there, but not under our KEK */
    char reason[160];           /* why, when damaged */
    struct repository_order by; /* by which its key was destroyed, when disposed */
    uint64_t bytes, plain_bytes;
    struct sha256 sha256,
        plain_sha256; /* of the object as it lies there; of the entries or records inside */
    struct utc created;
    struct entry_position end; /* last entry inside, or where the snapshot was taken */
    bool digest_known;
    struct digest digest; /* of the state at end */
};

struct repo_frame_start; /* io */

struct repo_pack {
    struct repo_object o;
    struct lsn first;
    struct entry_position prev; /* the entry before the first */
    struct utc first_time;
    uint32_t frames;
    size_t point_count;
    struct repo_point *points;
    struct repo_frame_start
        *starts; /* of its frames, kept for the next question; mostly NULL (repo_pack_open_again) */
};

struct repo_snapshot {
    struct repo_object o;
    uint64_t records, sessions, results, points;
};

struct repo_index_reader; /* io */

/* An index of keys over consecutive packs. */
struct repo_index {
    struct repo_object o; /* end: of the last pack */
    struct lsn first;
    struct entry_position prev;       /* before the first pack */
    uint32_t level;                   /* how often what is in it was merged */
    uint32_t blocks;                  /* frames that hold references; the others are the top */
    uint64_t refs;                    /* how many references */
    struct digest sum;                /* of all of them */
    bool used;                        /* repo_indexes_choose: lookups ask this one */
    struct repo_index_reader *reader; /* open, or NULL */
};

struct repo_inventory {
    struct repo_pack *packs;
    size_t pack_count;
    struct repo_snapshot *snapshots;
    size_t snapshot_count;
    struct repo_index *indexes; /* by first, then by last lsn */
    size_t index_count;
};

/* What is asked for was disposed of: ERR_NOT_FOUND, with object and order. */
int repo_disposed(const struct repo_object *o, struct err *e);
/* Does the archive hold lsn in a pack that can be read, if it is whole? */
bool repo_holds(const struct repo_inventory *inv, struct lsn lsn);
/* How many packs and snapshots were disposed of; was any pack that has an lsn of first..last? */
size_t repo_count_disposed(const struct repo_inventory *inv);
bool repo_covers_disposed(const struct repo_inventory *inv, struct lsn first, struct lsn last);

bool repo_position_equal(const struct entry_position *a, const struct entry_position *b);

/* Does pack i stand where it must: usable, and right behind pack i-1 (for the first pack: behind nothing, or behind a
 * snapshot)? 0, or ERR_INTEGRITY naming what is missing or broken. */
int repo_chain_check(const struct repo_inventory *inv, size_t i, struct err *e);

/* The same, though the entries of packs may be damaged or missing: is it proven where pack i begins and ends, and does it
 * continue pack i-1? So much is needed to seal behind it. */
int repo_chain_link(const struct repo_inventory *inv, size_t i, struct err *e);
/* The end of the last pack that is linked with all before it; zero when there is none. */
struct entry_position repo_chain_end(const struct repo_inventory *inv);
/* The position of the entry at lsn, as it is proven; ERR_NOT_FOUND: nothing proves it. */
typedef int (*repo_proven_fn)(void *arg, struct lsn lsn, struct entry_position *out);
/* Give packs that are unplaced their places: where something proves them, and else where their neighbours end and begin. */
void repo_inventory_place(struct repo_inventory *inv, repo_proven_fn proven, void *arg);

/* Packs that are not needed: a writer that got no answer from a bucket, or died, seals the same entries again under another
 * name, and what it had sent may still arrive; and a pack that was damaged is made again under another name. Each begins
 * where one of the chain begins that leads furthest, and ends at or before its end; of those that lead equally far the one
 * that was made last is of the chain. What is damaged is not needed when a whole pack of the chain has its lsns; of several
 * that are damaged and have the same lsns one is. `marks`, pack_count of them, says which; returns how many are doubled. They
 * are to be taken out of the inventory. */
enum repo_mark { REPO_MARK_CHAIN = 1, REPO_MARK_DOUBLED = 2 };
size_t repo_doubled(const struct repo_inventory *inv, uint8_t *marks);

/* Last entry of the archive: the end of the last pack, or with no packs zero. */
struct entry_position repo_archived(const struct repo_inventory *inv);

/* The pack or snapshot of that name; NULL when there is none. */
const struct repo_object *repo_inventory_find(const struct repo_inventory *inv, const char *name);
/* The other pack that has the lsns of this one and is whole; NULL when there is none. */
const struct repo_pack *repo_pack_instead(const struct repo_inventory *inv, const char *name);
/* The pack of that name, or the one that was made of it; NULL when there is none. */
const struct repo_pack *repo_pack_named(const struct repo_inventory *inv, const char *name);
/* The pack that holds lsn; NULL when none does. */
const struct repo_pack *repo_pack_of(const struct repo_inventory *inv, struct lsn lsn);
/* Newest usable snapshot at or below lsn; NULL when there is none. */
const struct repo_snapshot *repo_snapshot_below(const struct repo_inventory *inv, struct lsn lsn);

/* Which indexes lookups ask: of those that belong to this chain of packs, each the widest that begins where it does and none
 * within another. What they leave out is looked up in the packs themselves. */
void repo_indexes_choose(struct repo_inventory *inv);
/* The chosen index that covers lsn; NULL: none. */
struct repo_index *repo_index_of(const struct repo_inventory *inv, struct lsn lsn);
/* The first pack that no chosen index covers, and could be covered; pack_count: none. */
size_t repo_index_missing(const struct repo_inventory *inv);
/* The first of `want` chosen indexes of one level that stand side by side and hold at most `most` references together;
 * index_count: there are none. */
size_t repo_indexes_alike(const struct repo_inventory *inv, size_t want, uint64_t most);

/* ---- targets ---- */
/* The last lsn that can be restored to (ERR_NOT_FOUND: the archive is empty). */
int repo_target_end(const struct repo_inventory *inv, struct lsn *out, struct err *e);
/* lsn of a restore point. ERR_NOT_FOUND names the most similar ones, ERR_USAGE when the name was given twice. */
int repo_target_point(const struct repo_inventory *inv, const char *name, struct lsn *out,
                      struct err *e);
/* The pack in which the last entry at or before `time` lies. ERR_NOT_FOUND with the range that can be asked for, or with the
 * order by which it was disposed of, ERR_INTEGRITY when a damaged or missing pack could hold it. */
int repo_target_time(const struct repo_inventory *inv, struct utc time,
                     const struct repo_pack **out, struct err *e);

/* ---- plan ---- */
struct repo_plan {
    struct lsn lsn;
    const struct repo_snapshot *snapshot; /* NULL: from nothing */
    size_t pack_begin, pack_end;          /* packs [begin, end) are read */
    uint64_t bytes;                       /* of all that is read */
    bool digest_known;
    struct digest digest;           /* that the archive holds for exactly this lsn */
    const struct repo_point *point; /* at exactly this lsn; NULL: none */
    /* The newest digest that the archive holds at or below this lsn, no older than the snapshot, and who says so; lsn 0: none. */
    struct lsn compared;
    struct digest compared_digest;
    const char *compared_in;
};
/* What must be read to restore to lsn. ERR_NOT_FOUND when the archive does not reach it or it was disposed of, ERR_INTEGRITY
 * naming the missing or damaged pack in between. */
int repo_plan_lsn(const struct repo_inventory *inv, struct lsn lsn, struct repo_plan *out,
                  struct err *e);

#endif
