/* State of the two sides of PULL and GIVE; the body of struct repl, like repl_state.h, which includes this. repl_relay.c is the
 * side that asks, repl_give.c the one that gives; repl_relay.c has the essay. */
#ifndef REPLICATION_CORE_REPL_RELAY_H
#define REPLICATION_CORE_REPL_RELAY_H

#include "replication/core/repl.h"

enum {
    REPL_GIVE_WINDOW =
        8, /* frames in flight to one that asks: with the frame's size, the most that a slow one keeps waiting */
    /* A primary that was not heard for so long is silent here; and whoever heard it for the last time so long ago does not say
     * that he hears it. */
    REPL_SILENT_HEARTBEATS = 4,
};

/* What another site has asked for. */
struct repl_give {
    uint64_t until_ms; /* it is forgotten then; 0: it asks for nothing */
    uint64_t round;    /* of its newest PULL */
    struct lsn next;   /* to be given next */
    bool filling;      /* SEND_ENTRIES is out, SENT or GONE will follow */
    bool owes;         /* its newest PULL has no answer yet */
    uint64_t again_ms; /* nothing could be sent: try again then; 0: no */
    uint32_t n;
    struct lsn sent[REPL_GIVE_WINDOW]; /* ends of the frames that it has not told to have */
    struct lsn gone_told;
};

/* What this site asks another one for. */
struct repl_relay {
    uint8_t from; /* who is asked, or REPL_NOBODY */
    uint8_t last; /* who was asked last */
    uint32_t
        vain; /* bit per site: could not give it, since a primary was heard or all were asked */
    uint64_t vain_ms;  /* when the first of them was */
    uint32_t failures; /* how often somebody could not, or was not believed, since entries came */
    bool lacks;        /* somebody could not give it, and nothing has come since */
    bool hears;        /* the one that is asked hears a primary */
    bool told;         /* ... and this was told, once in each silence */
    /* the primary is heard, but does not serve: its log has no more what is needed, or nothing of it comes */
    bool refill;
    uint64_t stalled_ms; /* nothing that is missing has come since; 0: nothing is missing */
    bool begins;         /* no answer since the asking began anew, at `at` */
    struct lsn at;       /* agreed with who is asked up to here */
    struct lsn of;       /* committed, as far as is known: for progress */
    uint64_t round;      /* of the newest PULL */
    uint64_t began;      /* answers to older ones are of an asking that is over */
    uint64_t began_ms;
    uint64_t came_ms;         /* entries, the last time */
    uint64_t ask_ms;          /* next PULL, at the latest */
    uint64_t answered_ms;     /* newest answer, or when this one was first asked */
    uint64_t timed, timed_ms; /* a PULL that is not answered yet, and when it was sent; 0: none */

    /* the newest word of the primary itself, for those who ask this site */
    struct lsn word;
    uint64_t word_ms;
};

#endif
