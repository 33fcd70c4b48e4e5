/* What the log does with what it finds on disk when it is opened: a decision table, and the walk
 * through the image of one segment that gathers the facts for it. Pure: it reads the image and
 * changes nothing.
 *
 * The walk stands at a place: an offset in the segment where the next batch should begin, after a
 * known position of the log. The facts about the place give one action. */
#ifndef STORE_CORE_RECOVERY_H
#define STORE_CORE_RECOVERY_H

#include "store/core/batch.h"

/* What the place holds. */
enum place_block {
    PLACE_NOTHING,     /* no header of this use of the segment */
    PLACE_UNREADABLE,  /* the disk refused to read it */
    PLACE_MISNUMBERED, /* a valid header, but of a batch with another number */
    PLACE_TORN,        /* a valid header, but the payload's checksum is wrong */
    PLACE_UNCHAINED,   /* header and checksum hold, but the entries do not follow what is before */
    PLACE_WHOLE,       /* the expected batch */
    PLACE_NEWER,       /* a batch, here or later in this use of the segment, of a later format */
    PLACE_BLOCKS,
};
/* Where the next segment that counts begins. */
enum place_next {
    NEXT_NONE,     /* this is the last segment */
    NEXT_AFTER,    /* after this place's position, so more was durable here */
    NEXT_HERE,     /* exactly here: the rest of this segment is void */
    NEXT_CONFLICT, /* here by lsn, but with another history */
    NEXT_KINDS,
};
/* Where reading can go on so that all that is passed over is at or below the checkpoint. */
enum place_resume {
    RESUME_NOWHERE,
    RESUME_BATCH,      /* a later batch of this segment */
    RESUME_SEGMENT,    /* the next segment */
    RESUME_CHECKPOINT, /* the checkpoint: the log is empty after it */
    RESUME_KINDS,
};

struct place {
    enum place_block block;
    bool proven; /* a later batch of this use says that the batch of this number was durable */
    enum place_next next;
    bool below; /* the position is below the checkpoint: at least one more entry was durable */
    enum place_resume resume;
};

enum recovery_action {
    RECOVERY_ACCEPT, /* the batch counts, go on after it */
    RECOVERY_JOIN,   /* go on in the next segment */
    RECOVERY_END,    /* the log ends here, nothing was being written */
    RECOVERY_CUT,    /* the log ends here, a batch that was never acknowledged is cut */
    RECOVERY_SKIP,   /* damage at or below the checkpoint: go on where `resume` says, what is before
                        is lost */
    RECOVERY_DAMAGED, /* something durable is missing: stop, change nothing */
    RECOVERY_NEWER,   /* a newer program wrote this: stop, change nothing */
};

/* The table. *why (static text) tells what was found, for the message. */
enum recovery_action recovery_decide(const struct place *place, const char **why);

/* The walk through one segment. The caller sets the first part; recovery_begin the second. */
struct recovery_scan {
    struct bytes image; /* of the whole segment; borrowed */
    size_t bad_from,
        bad_to; /* bytes the disk refused to read (zeros in the image); none when equal */
    struct segment_header segment;
    struct entry_position checkpoint; /* the log below it is not needed */
    bool has_next;
    struct entry_position next; /* where the next segment that counts begins */

    struct entry_position first; /* before the first entry that counts */
    struct entry_position at;    /* position of the place */
    bool anchored;               /* `at` is known whole; otherwise only its lsn is (after a skip) */
    size_t offset;               /* the place */
    uint32_t number;             /* batch number expected there */
};

/* The batch of an ACCEPT or a CUT. */
struct recovery_batch {
    size_t offset;
    size_t bytes;     /* in whole blocks */
    struct lsn first; /* of its first entry */
    uint32_t count;   /* entries that count (up to where the next segment begins) */
    struct bytes entries;
    struct entry_position last;
};

void recovery_begin(struct recovery_scan *s);

/* Decide about the place and move on: after ACCEPT and after SKIP to a batch (resume RESUME_BATCH)
 * call again; the others end the walk. *place tells the facts. With DAMAGED and SKIP `e` has
 * ERR_INTEGRITY, byte offset, lsn and reason, with NEWER ERR_NEWER. */
enum recovery_action recovery_next(struct recovery_scan *s, struct place *place,
                                   struct recovery_batch *batch, struct err *e);

/* For programs that list all damage: after DAMAGED, or a SKIP that ends the walk, go on at the next
 * batch of this segment that can be found, as if all before it were not needed. False: there is none. */
bool recovery_resume(struct recovery_scan *s);

#endif
