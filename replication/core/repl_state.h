/* The machine's body, for the files of the core and for tests. Each file repl_*.c owns the part named after it and is
 * entered only through the functions listed here. */
#ifndef REPLICATION_CORE_REPL_STATE_H
#define REPLICATION_CORE_REPL_STATE_H

#include "replication/core/repl.h"
#include "replication/core/repl_log.h"
#include "replication/core/repl_relay.h"
#include "replication/core/slow_disk.h"

enum {
    REPL_ROUND_MARKS = 128, /* remembered sending times: two leases of them */
    /* their grain; a sending inside a grain counts as of its beginning */
    REPL_MARKS_PER_LEASE = 64,
    REPL_RESEND_HEARTBEATS = 4, /* shortest time after which a frame may be thought lost */
    /* unanswered questions (votes, fetches, TAKE_OVER) are repeated this often */
    REPL_ASK_HEARTBEATS = 2,
};
/* Terms, positions and rounds beyond this are not believed: no history gets there, and adding 1 must stay safe. */
#define REPL_NUMBER_MAX (UINT64_C(1) << 62)

#define U(x) ((unsigned long long)(x)) /* for %llu */

enum repl_flow {
    REPL_FLOW_PROBE = 1, /* where its log agrees is not known: one frame at a time */
    REPL_FLOW_STREAM,    /* pipelined */
    REPL_FLOW_REFILL,    /* needs entries that are not in the log any more: heartbeats only */
};

struct repl_frame { /* of entries after `before` up to `last`, in flight */
    struct lsn before, last;
    uint32_t bytes;
    uint64_t round;
    uint64_t sent_ms;
};

struct repl_peer {
    bool up;
    uint64_t incarnation; /* highest seen: older ones are not listened to */
    uint64_t sent_ms;  /* last ENTRIES to it that did go out: who hears nothing gets a heartbeat */
    uint64_t heard_ms; /* last answer of this term, 0 none */
    bool vote_granted, vote_refused;
    bool fetch_vain; /* it had nothing for this site, in this attempt */

    /* the primary's view of its log */
    enum repl_flow flow;
    bool filling; /* SEND_ENTRIES is out, SENT or GONE will follow */
    bool counts;
    bool unfit;          /* its state differs (P9); this site's own entry: of this site */
    struct lsn match;    /* durable there and equal to ours */
    struct lsn next;     /* to be sent next */
    struct lsn received; /* end of its log as of its newest answer */
    struct lsn gone;     /* REFILL: what it needed and we no longer have */
    /* not counted until its hash agrees at or above this position; 0: trusted */
    struct lsn suspect_to;
    uint64_t answered; /* newest round it answered */
    uint64_t word_ms;  /* ... was sent then; 0: it answered none in this term */
    /* answers to rounds up to this are from before the last change of `next` */
    uint64_t reset_round;
    uint64_t met_round;          /* R5: round when it first answered in this incarnation */
    uint32_t rtt_ms, rtt_var_ms; /* smoothed, RFC 6298; rtt 0: not measured */
    uint32_t window_first, window_n, window_bytes;
    struct repl_frame window[REPL_WINDOW];
    struct lsn applied, archived;
};

struct repl_mark {
    uint64_t round, sent_ms;
};

/* What follows `keep` is to be cut when it is exported (repl_cut.c). */
struct repl_cut {
    bool asked;            /* EXPORT is out, or done */
    bool durable;          /* it is done: whoever has other entries there may have it cut */
    struct lsn keep, last; /* `last`, `last_term`: the end of the log that it is of */
    struct term last_term;
    struct term of; /* in which the primary's history was last found to part from ours at `keep` */
};

struct repl {
    struct repl_options options;
    uint64_t now_ms, start_ms;
    uint64_t random;

    /* promises */
    struct term term;
    uint8_t voted_for;
    uint64_t incarnation;
    bool may_vote;
    bool vote_dirty; /* term, voted_for or may_vote are not in a SAVE_VOTE yet */
    bool broken;
    bool lost; /* was declared lost by the others; as long as it has no vote */
    bool full; /* as of the last tick: the log takes no entry, so this site does not stand */

    enum repl_role role;
    uint8_t primary; /* or REPL_NOBODY */
    enum commit_mode mode;
    struct repl_log log;
    struct repl_member_list list;        /* in force: the last one in the log */
    struct repl_member_list list_before; /* in force again when that one is cut */
    struct lsn commit, visible;
    struct lsn told_commit, told_visible; /* as of the last COMMIT */
    struct lsn applied, archived;
    struct repl_peer peers[REPL_SITES_MAX];

    /* standby (repl_follow.c) */
    uint8_t heard_from; /* the last primary that was heard, or REPL_NOBODY */
    uint64_t heard_ms;
    struct term seen_term; /* term and newest round of that primary */
    uint64_t seen_round;
    struct lsn matched; /* agrees with the log of this term's primary up to here */
    bool
        agrees; /* ... and that what is committed here does was seen in this term, not only taken for granted */
    struct lsn primary_commit;
    struct lsn primary_last; /* end of that primary's log, as it told in seen_term */
    /* R5: the primary told what must be durable here before this rebuilt site votes */
    bool readmit_known;
    struct lsn readmit_at;
    struct lsn acked; /* as named by the last ACK */
    uint64_t acked_ms;
    struct repl_cut cut; /* repl_cut.c */

    /* standing (repl_election.c) */
    uint64_t deadline_ms; /* standby: stand then; candidates: give up then */
    uint64_t ask_ms;      /* candidates: repeat questions then */
    uint64_t attempt;
    uint64_t led_until_ms; /* this site was primary itself until then; 0 never */
    bool link_lost;        /* the deadline was brought forward because the primary's link closed */
    bool waiting_told;     /* a policy's inaction was traced, once per silence */
    uint64_t forced_until_ms; /* operator's failover is being tried; 0 no */
    bool transfer;            /* standing on the primary's request */
    uint64_t transfer_round;
    /* the refused attempt that was met last, and how many since one was granted or a primary was known: a site that cannot
     * be elected asks for ever, and is told of ever more rarely (repl_worth_telling) */
    uint64_t refused_attempt[REPL_SITES_MAX];
    uint32_t refusals[REPL_SITES_MAX];
    uint32_t vain;         /* own attempts that found no majority, since a primary was known */
    struct term role_term; /* of the last ROLE */

    /* fetching (repl_fetch.c) */
    uint8_t fetch_from;  /* or REPL_NOBODY */
    struct lsn fetch_at; /* asked for what follows this */
    uint64_t fetch_ms;   /* repeat then */
    uint64_t fetch_until_ms;

    struct repl_relay relay;                /* repl_relay.c */
    struct repl_give gives[REPL_SITES_MAX]; /* repl_give.c */

    /* primary (repl_shipping.c, repl_lease.c, repl_switchover.c) */
    struct lsn term_start; /* the no-op of its term */
    uint64_t since_ms;     /* primary since, or resumed */
    uint64_t round;
    uint64_t lease_floor;   /* rounds up to this give no lease: it was given up */
    uint64_t lease_from_ms; /* the lease runs from here; 0: none */
    uint32_t mark_first, mark_n;
    struct repl_mark marks[REPL_ROUND_MARKS];
    enum repl_handover handover;
    uint8_t successor;
    uint64_t handover_until_ms;
    struct repl_catch_up { /* WAIT: rounds of it */
        struct lsn goal;   /* the log's end when this round began */
        uint64_t began_ms; /* this round */
        uint64_t took_ms;  /* the round before */
        uint32_t wait_ms;  /* all of it, at most; 0: at once, whatever it was last heard to have */
        uint64_t asked;    /* the newest round when it began: only answers to later ones count */
    } catch_up;
    uint64_t handover_ask_ms;
    struct term handover_term;

    /* a slow disk (repl_step_aside.c) */
    struct slow_disk disk;
    uint64_t stepped_ms;   /* when this site last stepped aside; 0 never */
    uint64_t led_from_ms;  /* primary since */
    bool let_others_stand; /* in this silence, once */
};

/* ---- repl_actions.c: the only way to emit ---- */
/* SAVE_VOTE when term, voted_for or may_vote have changed since the last one. */
void repl_save_vote(struct repl *r, struct repl_actions *out);
/* Saves the vote first when it has changed (R1): no action can overtake it. */
struct repl_action *repl_act(struct repl *r, struct repl_actions *out, enum repl_action_type type);
void repl_trace(struct repl *r, struct repl_actions *out, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void repl_act_text(struct repl *r, struct repl_actions *out, enum repl_action_type type,
                   bool granted, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* An action with a message of this type to `to`: term, incarnation and end of the own log are filled in. */
struct repl_message *repl_send(struct repl *r, struct repl_actions *out,
                               enum repl_action_type action, enum repl_message_type type,
                               uint8_t to);
const char *repl_site_name(const struct repl *r, uint8_t site);
/* Set lsn, lsn_term and, when known, hash of the message to the entry at lsn. */
void repl_message_at(const struct repl *r, struct repl_message *m, struct lsn lsn);

/* ---- repl_election.c ---- */
void repl_set_role(struct repl *r, struct repl_actions *out, enum repl_role role, uint8_t primary);
void repl_adopt_term(struct repl *r, struct repl_actions *out, struct term term, uint8_t vote);
void repl_become_standby(struct repl *r, struct repl_actions *out, uint8_t primary);
void repl_rearm(struct repl *r); /* a new random deadline for the silence */
void repl_hurry(struct repl *r); /* stand when the own promise is over, not later */
void repl_stand_again(struct repl *r, struct repl_actions *out); /* after a fetch */
/* Primary of that term without a vote of anybody: its first entry is this list. */
void repl_lead_alone(struct repl *r, struct repl_actions *out, struct term term,
                     const struct repl_members *list);
bool repl_electable(const struct repl *r); /* this site, by the list in force */
void repl_election_tick(struct repl *r, struct repl_actions *out);
void repl_election_peer_up(struct repl *r, struct repl_actions *out, uint8_t site);
void repl_election_peer_down(struct repl *r, struct repl_actions *out, uint8_t site);
void repl_on_failover(struct repl *r, struct repl_actions *out);
void repl_on_prevote(struct repl *r, struct repl_actions *out, const struct repl_message *m);
void repl_on_prevote_reply(struct repl *r, struct repl_actions *out, const struct repl_message *m);
void repl_on_vote(struct repl *r, struct repl_actions *out, const struct repl_message *m);
void repl_on_vote_reply(struct repl *r, struct repl_actions *out, const struct repl_message *m);
void repl_on_take_over(struct repl *r, struct repl_actions *out, const struct repl_message *m);
/* Is the nth repetition of the same thing told? The 1st, 2nd, 4th ... 1024th, then each 1024th: two lines in ten minutes, and
 * the ring of events still holds how it began. */
static inline bool repl_worth_telling(uint32_t n)
{
    return n < 1024 ? (n & (n - 1)) == 0 : n % 1024 == 0;
}

/* ---- repl_members.c ---- */
void repl_members_init(struct repl *r, const struct repl_start *start);
bool repl_members_sound(const struct repl *r, const struct repl_members *m);
/* Why the list cannot become this one now; "" when it can. */
void repl_members_obstacle(const struct repl *r, const struct repl_members *next, char *why,
                           size_t n);
/* The entry at lsn, just put into the log, is this list: it is in force. */
void repl_members_append(struct repl *r, struct repl_actions *out, struct lsn lsn,
                         const struct repl_members *members);
/* The log was cut after `last`. */
void repl_members_cut(struct repl *r, struct repl_actions *out, struct lsn last);
bool repl_ships_to(const struct repl *r, uint8_t site);
static inline bool repl_in(uint8_t set, uint8_t site)
{
    return site < REPL_SITES_MAX && ((unsigned)set >> site & 1u) != 0;
}
static inline uint32_t repl_count(uint8_t set)
{
    uint32_t n = 0;
    for (; set != 0; set &= (uint8_t)(set - 1))
        n++;
    return n;
}
static inline bool repl_votes(const struct repl *r, uint8_t site)
{
    return repl_in(r->list.members.voters, site);
}
/* Of the sites that vote. An empty list has none that could be reached. */
static inline uint32_t repl_majority(const struct repl *r)
{
    return repl_count(r->list.members.voters) / 2u + 1;
}

/* ---- repl_follow.c ---- */
void repl_on_entries(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                     const struct repl_entry_meta *metas);
void repl_follow_durable(struct repl *r, struct repl_actions *out);
void repl_break(struct repl *r, struct repl_actions *out, const char *why);
enum repl_fit { REPL_FIT = 1, REPL_FIT_NOT, REPL_FIT_LATER, REPL_FIT_BROKEN };
/* Does the entry before the first one sent agree with ours? When it does not, *hint is where it may. */
enum repl_fit repl_fits(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                        struct lsn *hint);
/* Put the carried entries into the log where they fit. NOT: they do not follow anything here, or a conflicting
 * suffix would have to be cut and may not be; nothing was done. LATER: it has to be cut, and is not exported yet; the logs agree
 * up to cut.keep, and nothing was done. */
enum repl_fit repl_merge(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                         const struct repl_entry_meta *metas, bool may_cut);
void repl_follow_exported(struct repl *r,
                          struct repl_actions *out); /* what is in the way may be cut */

/* ---- repl_cut.c ---- */
/* What follows `keep` is not in the common history. True: it is cut. False: it has to be exported first, and that is ordered. */
bool repl_cut(struct repl *r, struct repl_actions *out, struct lsn keep);
/* Is it known that the history of this term's primary parts from ours at `agreed`? And is the export awaited that this takes? */
bool repl_cut_parts(const struct repl *r, struct lsn agreed);
bool repl_cut_awaited(const struct repl *r, struct lsn agreed);
void repl_cut_watch(struct repl *r); /* after each step: is it still wanted? */
void repl_on_exported(struct repl *r, struct repl_actions *out, const struct repl_event *e);

/* ---- repl_solo.c ---- */
void repl_on_solo(struct repl *r, struct repl_actions *out, const struct repl_event *e);
/* Is the message one of a site that was declared lost, and not to be listened to? */
bool repl_is_of_lost(struct repl *r, struct repl_actions *out, const struct repl_message *m);
/* ENTRIES, of this term or a later one, say whether this site was declared lost. */
void repl_declared_lost(struct repl *r, struct repl_actions *out, const struct repl_message *m);
/* Why the list cannot become this one, as far as sites are concerned that were declared lost; "" when it can. */
void repl_obstacle_of_lost(const struct repl *r, const struct repl_members *next, char *why,
                           size_t n);

/* ---- repl_fetch.c ---- */
void repl_fetch_begin(struct repl *r, struct repl_actions *out, uint8_t from);
void repl_fetch_tick(struct repl *r, struct repl_actions *out);
void repl_on_fetch(struct repl *r, struct repl_actions *out, const struct repl_message *m);
void repl_on_tail(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                  const struct repl_entry_meta *metas);
void repl_fetch_gone(struct repl *r, struct repl_actions *out, uint8_t site);
void repl_fetch_exported(struct repl *r, struct repl_actions *out);

/* ---- repl_relay.c ---- */
void repl_relay_heard(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                      bool newer); /* ENTRIES of the primary; newer: than what was heard before */
/* ... of which this came: does the primary serve this site? */
void repl_relay_served(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                       bool grew);
void repl_relay_tick(struct repl *r, struct repl_actions *out);
uint64_t repl_relay_next_ms(const struct repl *r);
void repl_relay_view(const struct repl *r, struct repl_relay_view *out);
void repl_on_give(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                  const struct repl_entry_meta *metas);
void repl_relay_exported(struct repl *r, struct repl_actions *out);
/* ---- repl_give.c ---- */
void repl_on_pull(struct repl *r, struct repl_actions *out, const struct repl_message *m);
void repl_give_sent(struct repl *r, struct repl_actions *out, const struct repl_event *e);
void repl_give_gone(struct repl *r, struct repl_actions *out, uint8_t site);
void repl_give_tick(struct repl *r, struct repl_actions *out);
void repl_give_all(struct repl *r, struct repl_actions *out); /* more is committed */
uint64_t repl_give_next_ms(const struct repl *r);

/* ---- repl_shipping.c ---- */
/* Became primary: the term begins with a no-op, or with this list of members. */
void repl_shipping_begin(struct repl *r, struct repl_actions *out, const struct repl_members *list);
void repl_ship(struct repl *r, struct repl_actions *out, uint8_t site);
void repl_ship_all(struct repl *r, struct repl_actions *out);
/* A heartbeat now: the answer tells how the site is. */
void repl_heartbeat(struct repl *r, struct repl_actions *out, uint8_t site);
void repl_shipping_tick(struct repl *r, struct repl_actions *out);
void repl_shipping_peer_up(struct repl *r, struct repl_actions *out, uint8_t site);
void repl_shipping_peer_down(struct repl *r, uint8_t site);
void repl_shipping_peer_added(struct repl *r, uint8_t site); /* to the list of members */
void repl_peer_renewed(struct repl *r, uint8_t site); /* it came back under a new incarnation */
void repl_on_sent(struct repl *r, struct repl_actions *out, const struct repl_event *e);
void repl_on_gone(struct repl *r, struct repl_actions *out, uint8_t site);
void repl_on_ack(struct repl *r, struct repl_actions *out, const struct repl_message *m);
void repl_on_propose(struct repl *r, struct repl_actions *out, const struct repl_event *e);

/* ---- repl_commit.c ---- */
void repl_update_commit(struct repl *r, struct repl_actions *out);
void repl_tell_commit(struct repl *r, struct repl_actions *out);

/* ---- repl_lease.c ---- */
void repl_lease_begin(struct repl *r);
uint64_t repl_round_begin(struct repl *r);
uint64_t repl_round_sent_ms(const struct repl *r, uint64_t round); /* 0: too old to know */
void repl_lease_update(struct repl *r);
bool repl_lease_running(const struct repl *r, uint64_t now_ms); /* the time alone, without R3 */
/* When this site's promise to the last primary it answered ends; `link_closed` is the shorter one. */
uint64_t repl_promise_end(const struct repl *r, bool link_closed);
bool repl_quorum_lost(const struct repl *r);
uint64_t repl_quorum_lost_ms(const struct repl *r);

/* ---- repl_switchover.c ---- */
void repl_on_fit(struct repl *r, struct repl_actions *out, uint8_t site, bool fit);
void repl_on_switchover(struct repl *r, struct repl_actions *out, const struct repl_event *e);
void repl_handover_progress(struct repl *r, struct repl_actions *out);
void repl_handover_tick(struct repl *r, struct repl_actions *out);
void repl_handover_left(struct repl *r, struct repl_actions *out); /* this primary steps down */
void repl_handover_seen(struct repl *r, struct repl_actions *out, uint8_t primary,
                        struct term term);

/* Could that site take over now, without waiting for it? Then let it. */
bool repl_may_hand_over(const struct repl *r, uint8_t site);
void repl_hand_over(struct repl *r, struct repl_actions *out, uint8_t site, uint32_t wait_ms);

/* ---- repl_step_aside.c ---- */
void repl_watch_disk(struct repl *r); /* with each step */
void repl_step_aside_tick(struct repl *r, struct repl_actions *out);
/* The deadline has come: does this site pass this once, because its disk is slow? */
bool repl_lets_others_stand(struct repl *r);

static inline struct lsn lsn_min(struct lsn a, struct lsn b)
{
    return a.v < b.v ? a : b;
}
static inline struct lsn lsn_max(struct lsn a, struct lsn b)
{
    return a.v > b.v ? a : b;
}

#endif
