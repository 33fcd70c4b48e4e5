/* The replication protocol of one site as a pure state machine: step(state, event) -> ordered actions.
 *
 * Terms, votes and the log rule follow Raft (Ongaro, "Consensus: Bridging Theory and Practice", 2014: sections
 * 3.4-3.6 election and replication, 3.10 leadership transfer, 6.2 check quorum, 6.4 read-only queries, 9.6
 * pre-vote). As in Viewstamped Replication a candidate first fetches from a voter what that voter's log holds
 * beyond its own, so that the majority of dc's loss {dr, gsr} elects dr although gsr, which never stands, has
 * the longer log.
 *
 * Nothing here reads a clock, allocates or sends. The driver (replication/site.c in production, tests/sim in the
 * simulator) feeds events one at a time and executes the actions in order; nothing after a REPL_ACT_SAVE_VOTE or
 * REPL_ACT_TRUNCATE may begin before it is complete on stable storage, and no event may be fed until all actions of
 * the last one are done. The outcomes of APPEND_OWN (APPENDED) and of SEND_ENTRIES (SENT, GONE) are fed next, in the order
 * of their actions, before any other event. Entries themselves never pass through: actions name ranges of the
 * log, the driver moves the bytes.
 *
 * Time is milliseconds of a monotonic clock that counts suspend (CLOCK_BOOTTIME). docs/PROTOCOL.md has the tables of
 * messages and states, and where each of the rules R1 to R10 is kept. */
#ifndef REPLICATION_CORE_REPL_H
#define REPLICATION_CORE_REPL_H

#include "store/core/body.h"
#include "store/core/entry.h"
#include "store/core/err.h"
#include "store/core/ids.h"

enum {
    REPL_SITES_MAX = 8,
    REPL_NOBODY = 0xff,
    REPL_RUNS_MAX = 256,        /* term changes remembered, the oldest are forgotten */
    REPL_WINDOW = 32,           /* frames of entries in flight to one site */
    REPL_ACTIONS_MAX = 64,      /* bound of the actions of one step, checked */
    REPL_BATCH_BYTES = 1 << 20, /* most bytes of entries in a message, but always one entry */
    REPL_BATCH_ENTRIES_MAX = 4096,
    REPL_WINDOW_BYTES = 16 << 20, /* and no further frame while this much is in flight */
    /* Who may not wait does not hand over to a site further behind: writes would stand still too long. */
    REPL_HANDOVER_LAG_MAX = 4096,
    REPL_TEXT_BYTES = 200,   /* one sentence, cut when longer */
    REPL_TEXTS_BYTES = 4096, /* all sentences of one step */
};

enum repl_role { REPL_STANDBY = 1, REPL_PRE_CANDIDATE = 2, REPL_CANDIDATE = 3, REPL_PRIMARY = 4 };
enum repl_policy { REPL_AUTOMATIC = 1, REPL_OBSERVE = 2, REPL_MANUAL = 3 };
/* In this order (repl_switchover.c). Beyond WAIT nothing is accepted here. */
enum repl_handover {
    REPL_HANDOVER_NONE,
    REPL_HANDOVER_WAIT,
    REPL_HANDOVER_DRAIN,
    REPL_HANDOVER_ASKED,
    REPL_HANDOVER_LEFT
};

struct repl_options {
    /* Of the sites by slot, for the traces; must outlive the machine. Each site numbers the sites for itself: links know
     * who is at the other end, and no slot is in a message or an entry. One slot is one site as long as the machine lives. */
    const char *names[REPL_SITES_MAX];
    uint8_t self;                   /* slot of this site */
    uint8_t sites;                  /* how many slots there are */
    bool electable[REPL_SITES_MAX]; /* gsr is not; of the initial list, where the start has none */
    enum repl_policy policy;
    uint32_t heartbeat_ms; /* default 50 */
    uint32_t election_ms;  /* silence before standing: election_ms..2*election_ms; default 500 */
    uint32_t lease_ms;     /* default 400 */
    uint64_t seed;         /* of the election jitter */
};

/* What must hold between the three times; repl_init checks it, a configuration is refused by it. */
enum repl_times {
    REPL_TIMES_OK,
    REPL_TIMES_ELECTION_SHORT, /* election_ms < 3 * heartbeat_ms: one late message would be an election */
    REPL_TIMES_LEASE_SHORT, /* lease_ms < 2 * heartbeat_ms: it would end before the next round is answered */
    REPL_TIMES_LEASE_LONG, /* lease_ms >= 0.9 * election_ms: clocks differ in rate, and it must end before an election */
};
enum repl_times repl_times_check(uint32_t heartbeat_ms, uint32_t election_ms, uint32_t lease_ms);
/* A lease is renewed by answers: the next round is sent within a heartbeat, and its answer takes `answer_ms`. Does one such fit
 * twice into the lease, so that one may be lost? False: *lease_ms and *election_ms are changed to what it takes. They are not
 * changed by the machine itself: what a voter promises has to be as long at all sites, and a primary that guessed longer
 * than its voters would not be alone any more (R4). */
bool repl_times_fit(uint32_t answer_ms, uint32_t heartbeat_ms, uint32_t *election_ms,
                    uint32_t *lease_ms);

/* A list of members: sets of slots, bit i for slot i. Only voters count, for a majority, a lease or a vote; the other members are
 * replicas, which get the log. */
struct repl_members {
    uint8_t all;
    uint8_t voters;    /* part of all */
    uint8_t electable; /* part of all: those that may become primary, while they vote */
    uint8_t lost; /* no part of all: were declared lost, and are not listened to (repl_solo.c) */
};

/* A list and where it is in the log, from where on it is in force, committed or not; lsn 0: the initial one. */
struct repl_member_list {
    struct lsn lsn;
    struct repl_members members;
};

/* Entries from `from` on have `term`, up to the next run. */
struct repl_run {
    struct term term;
    struct lsn from;
};

/* What was found on disk, before the first event. */
struct repl_start {
    uint64_t now_ms;
    struct term term;     /* persisted promise */
    uint8_t voted_for;    /* or REPL_NOBODY */
    uint64_t incarnation; /* of this site's storage; a rebuilt one gets a new one */
    bool may_vote;        /* false for a site rebuilt from nothing until it has caught up (R5) */
    struct lsn first;     /* position before the first readable entry */
    struct entry_position last; /* last durable entry */
    /* terms of the log, ascending; only the newest REPL_RUNS_MAX are kept */
    const struct repl_run *runs;
    uint32_t run_count;
    struct lsn commit;     /* known committed: the checkpoint's lsn */
    enum commit_mode mode; /* as applied at the checkpoint */
    /* The list in force at the checkpoint and those in the log after it, ascending. None: all sites of the options vote. A
     * site that joins begins with an empty one. */
    const struct repl_member_list *lists;
    uint32_t list_count;
};

/* ---- messages: one struct for the fields of all, the codec and the table are in replication/core/messages.h ---- */
enum repl_message_type {
    REPL_MSG_PREVOTE = 1, /* would you vote for me? changes nothing */
    REPL_MSG_PREVOTE_REPLY = 2,
    REPL_MSG_VOTE = 3,
    REPL_MSG_VOTE_REPLY = 4,
    REPL_MSG_ENTRIES = 5, /* heartbeat and log shipping */
    REPL_MSG_ACK = 6,
    REPL_MSG_FETCH = 7,     /* candidate to voter: send me your log after this position */
    REPL_MSG_TAIL = 8,      /* its answer: entries */
    REPL_MSG_TAKE_OVER = 9, /* primary to its successor: stand now (leadership transfer) */
    REPL_MSG_PULL = 10, /* to any site, by one that no primary serves: give me what is committed */
    REPL_MSG_GIVE = 11, /* its answer: entries that are committed, and whether a primary is heard */
};

struct repl_message {
    enum repl_message_type type;
    uint8_t from, to;
    struct term term;     /* sender's term (pre-vote: the term it would stand in) */
    uint64_t incarnation; /* sender's */
    /* position of the sender's log: last entry (votes, replies, TAKE_OVER), last entry that may agree (FETCH), entry before
     * the first one sent (ENTRIES, TAIL), last durable entry that agrees with the primary (ACK; R2: lsn, term, hash; the
     * hash is zero when it is not at hand) */
    struct lsn lsn;
    struct term lsn_term;
    struct sha256 hash;
    /* ENTRIES, ACK, TAIL: end of the sender's log, durable or not; GIVE: what is committed, as far as the sender's log goes */
    struct lsn last;
    struct term last_term;
    /* replies to votes; ENTRIES: the sender has its lease, so nobody else has acknowledged anything until now; GIVE: the sender
     * hears the primary of its term, which has its lease */
    bool granted;
    bool transfer; /* VOTE: asked by the primary, stickiness does not apply */
    /* ACK, TAIL: the entries did not fit, lsn/lsn_term hint where to go on from; replies to votes: refused
     * because a primary is alive, or may be (R4); ENTRIES: what the receiver needs is not in the log any more; PULL: begins
     * anew at this position; GIVE: the sender does not have what follows it, or disagrees */
    bool rejected;
    /* ACK: the sender is a full voter; otherwise its acknowledgement is only information (R5) */
    bool counts;
    /* ENTRIES: the receiver was declared lost: it gives up its vote until it is a member again (repl_solo.c) */
    bool lost;
    struct lsn
        commit; /* ENTRIES: primary's commit index; GIVE: the same, as the sender has heard it */
    /* ENTRIES: number of this sending; ACK: the newest one answered; TAKE_OVER and VOTE with transfer: the
     * primary's last round before it gave up its lease; PREVOTE, FETCH and their answers: number of the attempt; PULL: its
     * number, GIVE: of the newest PULL */
    uint64_t round;
    uint64_t age_ms; /* GIVE, granted: since the sender heard `commit` from the primary */
    /* ENTRIES: a site of this incarnation votes again once it has everything up to commit (R5) */
    uint64_t readmit;
    struct lsn applied; /* ACK: sender's applied, and archived (gsr), for status */
    struct lsn archived;
    uint32_t count; /* ENTRIES, TAIL, GIVE: number of entries carried */
};

/* What the core must know of each carried entry. */
struct repl_entry_meta {
    struct lsn lsn;
    struct term term;
    enum entry_kind kind;
    struct sha256 hash;          /* of its header */
    struct sha256 prev_hash;     /* in its header */
    struct repl_members members; /* of a list of members (ENTRY_MEMBERS) */
};

/* ---- events ---- */
enum repl_event_type {
    REPL_EV_TICK = 1,  /* full: the log takes no entry now, so this site does not stand */
    REPL_EV_MESSAGE,   /* message, metas[message->count] */
    REPL_EV_PEER_UP,   /* site: link established and identity checked */
    REPL_EV_PEER_DOWN, /* site: link closed */
    REPL_EV_DURABLE,   /* position: log is durable up to it */
    REPL_EV_PROPOSE, /* kind, more, members: a client's entry, or a list of members, at the primary */
    REPL_EV_SHIP,    /* no PROPOSE follows for now: what was proposed with `more` is sent */
    REPL_EV_SENT, /* site, sent, position, bytes: outcome of SEND_ENTRIES; bytes 0: nothing was sent */
    REPL_EV_GONE,     /* site, sent: outcome of SEND_ENTRIES: the log no longer has what it needs */
    REPL_EV_MODE,     /* mode: a configuration entry was applied (or undone) */
    REPL_EV_PROGRESS, /* applied, archived lsn of this site, for acknowledgements */
    /* site: hand over to it (or REPL_NOBODY: to the best); wait_ms: go on serving for at most so long until it is near. To
     * the best while another is waited for: that one, at most so long */
    REPL_EV_SWITCHOVER,
    REPL_EV_FAILOVER, /* operator: stand as soon as this site's promise to the primary is over, whatever the policy */
    /* position, term, members: two operators' order that this site goes on alone (repl_solo.c): only while its log ends at
     * position; in that term; by that list, whose only voter it is */
    REPL_EV_SOLO,
    REPL_EV_APPENDED, /* position: the entry of APPEND_OWN has been sealed and queued */
    REPL_EV_FIT, /* site (or this one), fit: whether its state is equal to the others'; at the start it is taken to be (P9) */
    /* keep, position: the entries after `keep`, up to `position`, which was the end of the log at EXPORT, are exported, and that
     * is durable */
    REPL_EV_EXPORTED,
};

struct repl_event {
    enum repl_event_type type;
    uint64_t now_ms;
    uint8_t site;
    const struct repl_message *message;
    const struct repl_entry_meta *metas;
    struct entry_position position;
    uint32_t bytes;
    uint32_t wait_ms;
    enum entry_kind kind;
    bool full;
    bool more; /* PROPOSE: another one, or SHIP, follows at once; entries are sent with that */
    enum repl_message_type sent; /* SENT, GONE: type of the message that was to be filled */
    enum commit_mode mode;
    struct repl_members members;
    struct term term;
    bool fit;
    struct lsn applied, archived;
    struct lsn keep;
};

/* ---- actions, to be executed in order ---- */
enum repl_action_type {
    /* term, site (voted for), granted (may_vote): durable before anything later */
    REPL_ACT_SAVE_VOTE = 1,
    /* lsn: give the divergence bundle of the entries after it, which EXPORTED has told of, its name (R9); undo the state if it
     * applied beyond; cut the log; all before anything later */
    REPL_ACT_TRUNCATE,
    /* lsn: begin to export the entries after it, up to the end of the log, as a divergence bundle; it takes its time, and the log
     * may grow meanwhile. granted: to be cut by TRUNCATE, perhaps: feed EXPORTED when the bundle is durable, and give it no name
     * yet; an export that is under way for another cut is not wanted any more. Else nothing will be cut: it gets its name */
    REPL_ACT_EXPORT,
    REPL_ACT_APPEND_OWN, /* lsn, term, kind: seal and queue this entry now, then feed APPENDED */
    REPL_ACT_APPEND,     /* first, count: queue these entries of the message being handled */
    REPL_ACT_SEND,       /* message */
    /* message (ENTRIES, TAIL or GIVE; its lsn names the entry before the first): fill in lsn_term and hash of that
     * entry, count, and the entries after it, at most REPL_BATCH_BYTES and REPL_BATCH_ENTRIES_MAX but at least one; of GIVE
     * none after message.last, and from the archive what the log does not have; send; then feed SENT (last position sent;
     * bytes 0: the link takes no more now, or the archive is still being read) or GONE */
    REPL_ACT_SEND_ENTRIES,
    REPL_ACT_COMMIT, /* lsn: commit index (majority); visible: what may be applied, read and answered */
    REPL_ACT_ROLE, /* role, term, site: role changed, or the known primary did (site, or REPL_NOBODY) */
    REPL_ACT_REFUSED, /* PROPOSE refused: text says why */
    REPL_ACT_SWITCHOVER, /* outcome of SWITCHOVER, FAILOVER or SOLO: granted says whether, text says why not */
    /* lsn, term, as_of_ms: at that time, or later, the primary of that term said through another site that this is its commit
     * index (freshness_told) */
    REPL_ACT_HEARD,
    REPL_ACT_TRACE, /* text: one sentence for the log */
};

/* Only the fields named for the type are set; `message` is not cleared for types that have none. */
struct repl_action {
    enum repl_action_type type;
    enum repl_role role;
    enum entry_kind kind;
    uint8_t site;
    bool granted;
    uint16_t text; /* ask repl_text() */
    uint32_t first, count;
    struct term term;
    struct lsn lsn;
    struct lsn visible;
    uint64_t as_of_ms;
    struct repl_message message;
};

struct repl_actions {
    uint32_t n;
    uint32_t texts_bytes;
    struct repl_action a[REPL_ACTIONS_MAX];
    char texts[REPL_TEXTS_BYTES];
};
/* The action's sentence, "" when it has none. */
static inline const char *repl_text(const struct repl_actions *all, const struct repl_action *a)
{
    return a->text == 0 ? "" : all->texts + a->text - 1;
}

/* ---- the machine ---- */
struct
    repl; /* its body is in replication/core/repl_state.h, for the files of the core and for tests */

size_t repl_size(void); /* bytes to give to repl_init */
void repl_init(struct repl *r, const struct repl_options *options, const struct repl_start *start);
/* `out` is emptied first. Never fails: bad messages are ignored with a TRACE. */
void repl_step(struct repl *r, const struct repl_event *event, struct repl_actions *out);
/* When the next TICK is due. */
uint64_t repl_next_tick_ms(const struct repl *r);

/* ---- questions ---- */
struct repl_peer_view {
    bool up;
    bool needs_refill; /* the log no longer has what it needs */
    /* acknowledged something else than was sent, or lost what it acknowledged: not counted */
    bool suspect;
    bool unfit;         /* its state differs: it is not handed over to */
    bool counts;        /* not rebuilt, or readmitted, by its own word: where it votes, it counts */
    struct lsn durable; /* acknowledged on its stable storage; 0 unknown */
    struct lsn applied, archived;
    struct lsn received; /* of it, durable or not; 0 unknown */
    uint32_t answer_ms;  /* how long its answers take, smoothed; 0 not known */
    uint64_t word_ms;    /* these positions were true then, or later; 0 never */
    /* when it last answered, at a standby: when this primary was last heard; 0 never */
    uint64_t heard_ms;
};
/* The last primary that was heard, as it was then: what is known of it when it is lost. */
struct repl_heard {
    uint8_t site; /* REPL_NOBODY: none was since the start, and the rest means nothing */
    struct term term;
    uint64_t ms;       /* when */
    struct lsn last;   /* end of its log, durable there or not */
    struct lsn commit; /* what it knew to be committed */
};
struct repl_view {
    enum repl_role role;
    struct term term;
    uint8_t primary; /* or REPL_NOBODY */
    uint8_t voted_for;
    struct entry_position last; /* appended (own term, hash may be zero when not yet sealed) */
    struct lsn durable, commit, visible;
    /* primary whose no-op is committed, and that does not hand over, or waits only: proposals are accepted */
    bool serving;
    bool lease_valid; /* at the time of the last event; see repl_lease_valid */
    bool may_vote;
    /* met a history that contradicts what is committed here: neither votes, acknowledges nor stands */
    bool broken;
    bool lost; /* a primary says that it was declared lost; it has no vote */
    bool
        unfit; /* its state differs from the others': it votes and acknowledges, but does not stand (P9) */
    enum repl_handover handover;
    uint8_t handing_over_to; /* or REPL_NOBODY */
    /* no primary serves this site, which asks another one for what is committed (repl_relay.c) */
    struct repl_relay_view {
        uint8_t from;  /* or REPL_NOBODY */
        bool hears;    /* that one hears the primary: this site follows through it */
        bool refill;   /* the primary is heard here, but its log does not have what is needed */
        bool vain;     /* nobody who was asked can give it */
        struct lsn of; /* committed, as far as is known here */
    } relay;
    enum commit_mode mode;
    bool disk_slow; /* the log's: a batch takes so long, against the usual (slow_disk.h) */
    uint32_t disk_ms, disk_usual_ms; /* usual 0: not known */
    struct repl_heard heard;
    struct repl_cut_view {
        bool asked;   /* what follows `keep` is to be cut, if whoever wants that still does ... */
        bool durable; /* ... and is exported; else that is awaited */
        struct lsn keep; /* what is applied beyond may not be in the common history */
    } cut;
    struct repl_member_list list; /* in force */
    struct repl_peer_view peers[REPL_SITES_MAX];
};
void repl_view(const struct repl *r, struct repl_view *out);
/* May the primary answer a linearizable read or acknowledge now (R3, R4)? The lease runs from the sending of the
 * rounds that a majority answered. */
bool repl_lease_valid(const struct repl *r, uint64_t now_ms);
/* Highest lsn that the level covers now: LOCAL own durable, MAJORITY commit index, DR/GSR both that site and here (site
 * slots given), ALL every site that votes. MODE: the visible index. */
struct lsn repl_level_lsn(const struct repl *r, enum level level, uint8_t dr, uint8_t gsr);

const char *
repl_role_name(enum repl_role role); /* "standby", "pre-candidate", "candidate", "primary" */
const char *
repl_handover_name(enum repl_handover phase); /* "none", "waiting", "draining", "asked", "left" */

#endif
