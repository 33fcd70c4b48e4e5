/* The deterministic simulator: three sites, or five, of the production core, their disks, clocks and network, clients and an
 * operator in one process, in virtual time, from one 64-bit seed.
 *
 * Everything random comes from streams split off the seed, one per concern, so that a draw more in one does not shift the others.
 * There are no threads, no real clock and no dependence on addresses: a seed replays exactly.
 *
 * sim_world.c    time, clocks, network, the fault classes    sim_site.c    one site: log disk and execution of actions
 * sim_state.c    what a site holds beside its log: state, checkpoint, archive, and what the marks order
 * sim_sessions.c sessions that are opened and expire
 * sim_service.c  the transaction path of the primary         sim_clients.c clients with sessions, who try again
 * sim_users.c    the operator, the repository, misfortune    sim_check.c   invariants
 * sim_history.c  exactly once, linearizable                  sim_run.c     one seed from start to verdict
 * sim_orders.c   orders of the operator, sent again   sim_standby.c reads that any site may answer
 * sim_relay.c    following through another site, and what the archive gives
 * sim_disk.c     disks that crawl                    sim_export.c  bundles of what is to be cut
 * sim_members.c  the list of members, and who changes it   sim_solo.c    the last site goes on alone
 * sim_keys.c     idempotency keys at the primary     sim_workers.c  processes of an application that share its keys
 * mutants.c      planted bugs that must be found             main.c        command line */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "replication/core/answered.h"
#include "replication/core/freshness.h"
#include "replication/core/marks.h"
#include "replication/core/messages.h"
#include "replication/core/orders.h"
#include "replication/core/repl_state.h"
#include "store/core/commit_time.h"
#include "store/core/idempotency.h"
#include "store/core/txn.h"
#include "store/overlay.h"
#include "tests/sim/sim_mutants.h"

#include <stdio.h>

enum {
    SIM_SITES = 5,    /* dc, dr, gsr, and in some worlds two that may join them: dr2, dr3 */
    SIM_FOUNDERS = 3, /* the initial members */
    SIM_DC = 0,
    SIM_DR = 1,
    SIM_GSR = 2,
    SIM_DATA = 27,          /* which are data sites, as a set */
    SIM_LOG_MAX = 2048,     /* entries of one log */
    SIM_ENTRIES_MAX = 4096, /* sealed in one run */
    SIM_TERMS_MAX = 1024,
    SIM_BATCH_MAX = 16,
    SIM_MESSAGES_MAX = 2048, /* in flight; more are lost */
    SIM_EVENTS_MAX = 4096,
    SIM_INBOX_MAX = 512, /* of which messages may fill three quarters */
    SIM_CLIENTS = 4,
    SIM_ASKERS = SIM_CLIENTS + 3, /* and processes of an application that gives keys */
    SIM_KEYS = 4,
    SIM_RESULTS = 4,     /* remembered of each session */
    SIM_SESSIONS = 16,   /* open at a time, beside those that the clients always had */
    SIM_MARKS = 32,      /* keys that are known at a time */
    SIM_FORGET_MAX = 4,  /* of them by one entry */
    SIM_OPS_MAX = 4096,  /* asked by clients in one run */
    SIM_PARKED_MAX = 16, /* requests that wait for a primary to be ready */
    SIM_ORDERS_MAX = 256,
    SIM_RAW_BYTES = ENTRY_HEADER_BYTES + 256,
    SIM_TRACE_LINES = 400,
    SIM_TRACE_BYTES = 256,
};
#define SIM_MS UINT64_C(1000)                   /* virtual time is microseconds */
#define SIM_EPOCH_US UINT64_C(1790000000000000) /* what time it is when a run begins */

struct rng {
    uint64_t s;
};
uint64_t sim_rng_next(struct rng *g);
uint64_t sim_rng_below(struct rng *g, uint64_t n);
uint64_t sim_rng_between(struct rng *g, uint64_t lo, uint64_t hi); /* both inclusive */
bool sim_rng_chance(struct rng *g, uint32_t per_million);

struct sim;
struct sim_site;
/* Where planted bugs are: in the core's memory at its start and around a step, in messages that go out and that come in. */
void sim_plant_start(const struct sim *s, struct sim_site *site);
void sim_plant_before(const struct sim *s, struct sim_site *site, const struct repl_event *e);
void sim_plant_after(const struct sim *s, struct sim_site *site, const struct repl_event *e);
struct repl_message sim_plant_out(const struct sim *s, const struct repl_message *message);
void sim_plant_in(const struct sim *s, const struct sim_site *site, struct repl_message *m,
                  struct repl_entry_meta *metas);

/* Which faults a seed has, and how much of them (swarm testing: Groce et al., ISSTA 2012). Rates are per million. */
struct swarm {
    uint32_t loss, duplicate, reorder;
    uint32_t delay_us, jitter_us;
    uint32_t short_batches; /* a message carries fewer entries than it could */
    uint32_t crash_at_action;
    uint32_t fault_every_ms; /* mean time between the faults below; 0: none */
    bool crash, pause, cut, isolate, reset, clog, slow_disk, wipe, drift, jump;
    bool sessions;    /* of clients are opened, and expire (a quarter of the seeds) */
    bool gives_up;    /* clients do not ask for ever */
    bool log_full;    /* logs have no room at times */
    bool strangers;   /* certificates are not accepted at times */
    bool crawl;       /* disks are a thousand times slower at times */
    bool unreadable;  /* entries of a log cannot be read at times */
    bool plots;       /* misfortunes that only together do harm */
    bool split;       /* the data sites lose each other for long, and the repository hears both */
    bool at_election; /* misfortune prefers the moments around an election */
    bool operator_acts, mode_changes;
    bool members; /* there are five sites, and an operator changes the list */
    bool keys;    /* an application gives keys to its transactions */
    bool solo;    /* in the end two sites are lost, and the third goes on alone */
    bool local;   /* begin in local mode */
    enum repl_policy policy;
    uint32_t think_ms;    /* of clients */
    uint32_t retain;      /* entries that the log keeps for sites that are behind */
    uint32_t checkpoints; /* chance that one is begun after a batch */
    uint32_t lost_answers;
    uint32_t apply_us; /* most that an applier needs for a batch */
    uint32_t bursts;   /* chance that a proposal is sent at the end of the loop's turn only */
};

/* What a site's database holds; it changes in one transaction. No padding: states are compared as bytes. */
struct sim_record {
    uint64_t value, version; /* version 0: absent */
};
struct sim_session {
    uint64_t session, client, last_us; /* session 0: none */
};
struct sim_mark {
    uint32_t name, id; /* of the key, 0: none; of the entry with the mark */
};
struct sim_state {
    uint64_t lsn, mode;
    uint64_t list; /* id of the entry that is the newest list of members; 0: none yet */
    struct sim_record records[SIM_KEYS];
    struct sim_session sessions[SIM_SESSIONS];
    struct sim_mark marks[SIM_MARKS];
    struct {
        uint64_t sequence, lsn;
    } results[SIM_CLIENTS + SIM_SESSIONS][SIM_RESULTS];
};

enum sim_op_kind {
    SIM_OP_READ,
    SIM_OP_PUT,
    SIM_OP_DELETE,
    SIM_OP_CAS,
    SIM_OP_OPEN,   /* a session */
    SIM_OP_EXPIRE, /* a session; the site's own */
    /* what is asked about another op, a job, that has a key */
    SIM_OP_TRY,
    SIM_OP_OUTCOME,
    SIM_OP_GIVE_UP,
    SIM_OP_MARK,  /* MUTANT_KEY_OUTSIDE_TXN */
    SIM_OP_FORGET /* keys that are old; the site's own */
};
/* What an asker is told of a key. */
enum sim_key_answer {
    SIM_KEY_DONE,
    SIM_KEY_FAILED,  /* the condition does not hold; nothing is logged with the key */
    SIM_KEY_REFUSED, /* it stands for something else, or was given up */
    SIM_KEY_COMMITTED,
    SIM_KEY_GIVEN_UP,
    SIM_KEY_NONE
};
enum sim_outcast { SIM_DEAD, SIM_CUT_OFF, SIM_FLAPPING };
enum sim_outcome { SIM_UNKNOWN, SIM_DONE, SIM_CONDITION_FAILED, SIM_REFUSED };

/* What a client wants, however often it has to ask. */
struct sim_op {
    enum sim_op_kind kind;
    enum level level;
    uint8_t client, key;
    uint32_t session;   /* 0: the one that the client always had */
    uint32_t name, job; /* key that the application gave; the op that is asked about */
    uint64_t asked_us;
    uint64_t sequence;
    uint64_t value;             /* to be put; read */
    struct sim_record expected; /* CAS */
    uint64_t floor;             /* acknowledged at majority when it was asked: a read must see it */
    uint64_t invoked, returned; /* order of events at clients; returned 0: never */
    enum sim_outcome outcome;
    bool majority;          /* the answer was given when a majority had it */
    uint64_t answered_lsn;  /* as the answer said */
    uint32_t answered_id;   /* which entry that was */
    uint64_t committed_lsn; /* where it is in the common history */
};

struct sim_entry {
    struct entry_header header;
    struct sha256 hash;
    uint32_t next_same_lsn;      /* id; 0 none */
    enum commit_mode mode;       /* of a configuration */
    struct repl_members members; /* of a list of members */
    uint32_t op;                 /* of a transaction */
    enum level level;            /* of a transaction: at which it is to be answered */
    bool exported;
    uint64_t sealed_us;
    bool denied; /* an export says that its client was not told that it was done */
};

/* The rest of an entry; kept apart because it need not be cleared. */
struct sim_content {
    struct sim_state
        model; /* the state after it: what every site that applied up to it must hold */
    uint8_t raw[SIM_RAW_BYTES];
};

struct sim_message {
    uint8_t from, to;
    uint64_t sent_us;
    uint32_t epoch;                 /* of the connection */
    uint64_t word_us, word_sent_us; /* GIVE: of the primary's newest word at its sender */
    uint8_t fixed[MESSAGE_FIXED_BYTES];
    uint32_t n;
    uint32_t ids[SIM_BATCH_MAX];
};

enum sim_event_type {
    SIM_EV_MESSAGE, /* arg: message */
    SIM_EV_TICK,
    SIM_EV_DISK,   /* arg: generation */
    SIM_EV_RESUME, /* arg: boot; a barrier is complete */
    SIM_EV_UNPAUSE,
    SIM_EV_RESTART,
    SIM_EV_LINK_DOWN, /* site learns that its link to arg is closed */
    SIM_EV_CONNECT,   /* links are tried */
    SIM_EV_HEAL,      /* site, arg: the cut from site to arg ends */
    SIM_EV_DISK_FAST,
    SIM_EV_CLIENT, /* site: client */
    SIM_EV_FAULT,
    SIM_EV_CRASH,    /* arg: enum sim_crash */
    SIM_EV_APPLY,    /* arg: boot */
    SIM_EV_PUBLISH,  /* arg: boot; the checkpoint at hand is durable */
    SIM_EV_ARCHIVE,  /* arg: boot */
    SIM_EV_CLOCK,    /* somebody sets a wall clock */
    SIM_EV_COPY,     /* arg: op; what was asked of the site arrives once more, late */
    SIM_EV_ORDER,    /* arg: order, on its way to the site */
    SIM_EV_FLAP,     /* the outcast's network goes or comes */
    SIM_EV_HOLE,     /* arg: for so many ms no entries get out of the site */
    SIM_EV_EXPORTED, /* arg: which export of the site; its bundle is durable */
};

enum sim_crash {
    SIM_CRASH_PLAIN,
    SIM_CRASH_WITH_DISK, /* where that is within the promise */
    SIM_CRASH_QUICK,     /* back after a few milliseconds */
    SIM_CRASH_QUICK_WITH_DISK,
};

struct sim_event {
    uint64_t at_us, order;
    enum sim_event_type type;
    uint32_t site, arg;
};

struct sim_inbox {
    enum repl_event_type type;
    uint8_t site;
    uint32_t message; /* index + 1 */
    uint32_t op;      /* PROPOSE: what a client asks; 0: the operator's configuration */
    uint32_t attempt; /* of that op */
    uint32_t bytes;
    enum repl_message_type sent;
    uint32_t wait_ms; /* SWITCHOVER */
    enum commit_mode mode;
    struct repl_members members; /* PROPOSE of a list, where all is not 0; SOLO */
    struct term term;            /* SOLO */
    bool fit;
    struct entry_position position;
    struct lsn keep; /* EXPORTED */
};

struct sim_order {
    struct sim_inbox event; /* what it comes to when it is obeyed */
    uint8_t site;
    uint32_t sent, obeyed_boot;
    struct term term;
    struct utc expires;
    char nonce[ORDER_NONCE_MAX_BYTES + 1];
};

struct sim_site {
    struct repl *r;
    uint32_t boot;
    bool alive, paused;
    int64_t clock_offset_us, clock_ppm;
    uint64_t clock_stopped_us; /* total, MUTANT_CLOCK_STOPS_IN_PAUSE */
    uint64_t paused_at_us;
    int64_t wall_offset_us; /* of the wall clock, which can be set */

    /* on stable storage */
    struct term disk_term;
    uint8_t disk_voted;
    bool disk_may_vote;
    bool joins; /* has never been part of anything: counts nobody, and has no vote */
    struct repl_members initial; /* list at lsn 0, as its site.json has it */
    bool
        unfit; /* found to differ from the others (P9); kept over a restart, as the file `differs` is */
    bool barred; /* and its core has been told */
    uint64_t incarnation;
    uint64_t first;              /* entries up to it are recycled */
    uint64_t stable;             /* entries up to it are durable */
    struct sim_state checkpoint; /* published */
    /* the log: entry ids by lsn - 1, of which `n` are in memory or on disk */
    uint32_t ids[SIM_LOG_MAX];
    uint64_t n;
    uint32_t ghost[SIM_LOG_MAX]; /* MUTANT_CUT_NOT_DURABLE: what the disk still holds */
    uint64_t ghost_n;
    struct repl_member_list real_list; /* MUTANT_LIST_...: hidden during a step */
    bool list_hidden;
    bool vote_hidden;           /* MUTANT_LOST_GIVES_AND_TAKES: that it has none, during a step */
    struct lsn real_term_start; /* MUTANT_OLD_TERMS_COUNTED: hidden during a step */
    /* what the lost disk of a rebuilt site held, until it is readmitted */
    uint32_t former[SIM_LOG_MAX];
    uint64_t former_n;
    struct repl_action unsaved; /* MUTANT_VOTE_SAVED_LATE: written with the next one */

    /* volatile */
    struct orders orders;
    uint32_t ordered; /* the one that is being carried out, or 0 */
    struct freshness freshness;
    /* when the words were sent whose arrival it knows: the newest, the one that it waits for, and the one of which it has all */
    uint64_t told_sent_us, waits_sent_us, known_sent_us;
    uint64_t word_us, word_sent_us; /* when the newest word of a primary came here, and was sent */
    uint64_t quorum_us; /* as primary: since when, at least, answers of others are needed */
    uint64_t answered_us[SIM_SITES]; /* ... and when each last answered in this term */
    uint64_t writing_to;             /* 0: the disk is idle */
    uint32_t disk_generation;
    bool disk_slow;
    uint64_t crawls_until_us; /* the disk, for what is begun until then */
    struct {                  /* S24 */
        uint32_t boot;        /* 0: not yet */
        uint64_t at_us;
    } stepped, handed;
    struct { /* S28: of the hand-over under way */
        enum repl_handover phase;
        uint64_t until_ms;
    } waits;
    struct marks marks;
    struct repl_view view; /* as of the last step */
    struct lsn term_start; /* our no-op of the term in which we are primary */
    struct term inherited; /* in which the overlay has what was logged before */
    uint64_t primary_since_ms, expired_ms, forgot_ms;
    uint32_t old[SIM_FORGET_MAX], old_n; /* names, of the proposal at hand */
    uint32_t given_up[SIM_MARKS];        /* MUTANT_KEY_GIVEN_UP_IN_MEMORY */
    struct answered answered;
    struct sim_export {  /* the bundle that is being written, or was, and has no name yet */
        uint32_t number; /* of all that this site ever began; 0 in a new process */
        bool running, durable, ever;
        uint64_t keep;             /* what follows this, */
        struct entry_position end; /* up to this */
        struct answered answered;  /* as it was when it was begun */
        struct lsn commit;
    } export;
    struct commit_clock commit_clock;
    struct {         /* the last entry that this start sealed */
        uint32_t id; /* 0: none yet */
        uint64_t time_us, at_us;
    } sealed;
    struct overlay *overlay;
    struct sim_state state, begun; /* begun: a checkpoint that is not published yet */
    bool checkpoint_begun, checkpoint_finishing;
    bool apply_due, archive_due, news;         /* threads at work, and what they have to tell */
    uint64_t apply_to, publish_to, archive_to; /* orders to the threads */
    struct {
        uint32_t op, attempt;
    } parked[SIM_PARKED_MAX];
    uint32_t parked_n;
    bool knows_it_is_full;
    uint64_t log_full_until_us, unreadable_until_us;
    uint64_t stranger_until_us; /* its certificate is not accepted */
    uint64_t full_until_us;     /* the state cannot grow until then */
    uint64_t parked_applied;    /* as of the last time that parked requests were tried */
    bool parked_ready;
    uint64_t tick_at_us;
    bool blocked;
    bool unshipped; /* proposed in this turn of the loop, and not sent yet */
    struct repl_actions actions;
    uint32_t action;
    struct sim_inbox current;
    struct sim_inbox inbox[SIM_INBOX_MAX];
    uint32_t in_first, in_n;
    struct sim_inbox outcomes[REPL_ACTIONS_MAX];
    uint32_t out_first, out_n;
};

struct sim_link {
    bool connected;
    uint32_t epoch;
    bool side_up[2]; /* what the sites have been told */
};

struct sim_client {
    uint8_t site;
    uint32_t op, attempt; /* at hand; op 0: none */
    bool waiting;
    uint64_t give_up_us;
    uint32_t session, last_session; /* 0: it has to open one */
    uint64_t sequence;
    uint64_t token;                    /* the highest lsn that an answer told */
    struct sim_record known[SIM_KEYS]; /* as last read or written by it */
    /* at the primary: waits until this lsn reaches that level; 0: not logged yet */
    uint64_t lsn;
    enum level level;
    bool failed;              /* the answer is that the condition does not hold */
    enum sim_key_answer told; /* when that lsn is covered, to who asked with a key */
};

/* The repository's packs: survive everything. */
struct sim_archive {
    uint32_t ids[SIM_LOG_MAX];
    uint64_t n;
};

/* What the common history says of a session. */
struct sim_session_truth {
    bool opened, ended;
    uint64_t last_us;
};

/* What the common history says of a key, and what askers were told. */
struct sim_key_truth {
    enum { SIM_NAME_FREE, SIM_NAME_DONE, SIM_NAME_GIVEN_UP } state;
    uint64_t lsn, sealed_us; /* of the mark */
    uint32_t told_id;        /* entry that somebody was told of, for good */
    bool never;              /* somebody was told that it never happens */
};

/* What the checker knows of the whole. */
struct sim_truth {
    uint32_t committed[SIM_LOG_MAX];
    uint64_t committed_n;
    struct term committed_in[SIM_LOG_MAX]; /* term of the site that first knew it */
    uint64_t acked_us[SIM_LOG_MAX + 1];    /* when lsn was first acknowledged at majority; 0: not */
    uint64_t acked_majority;               /* highest lsn acknowledged at majority or stronger */
    uint8_t primary_of[SIM_TERMS_MAX];
    uint32_t primary_boot[SIM_TERMS_MAX];
    uint32_t by_lsn[SIM_LOG_MAX + 1];
    uint64_t acks, refusals, elections, cuts, cut_entries, wipes, crashes, switchovers, fetches;
    uint64_t majorities, standby_reads, reads, retries, undone, published, sealed, gaps, lost,
        sessions_opened, sessions_expired, recycled, refills, checked, unchecked, relayed,
        given_old, splits, stepped_aside, lists, lists_cut, newcomers, key_repeats, key_refusals,
        keys_given_up, keys_forgotten, inherited;
    uint32_t list_of[SIM_TERMS_MAX]; /* the newest list that was sealed in this term, an id */
};

struct sim {
    uint64_t seed;
    enum sim_mutant mutant;
    struct swarm swarm;
    struct rng net, disk, crash, client, fault, clock, state, wall, plot, relay, crawl, session,
        list, keys, solos, exports;
    uint8_t sites_n;
    uint64_t now_us, order;
    uint64_t steps;
    uint64_t hash;   /* of everything that happened */
    bool calm;       /* the liveness phase: no more faults, save for the outcast */
    uint8_t outcast; /* the site that is not healed yet, or REPL_NOBODY */
    enum sim_outcast outcast_is;
    bool clients_stop;
    struct sim_event heap[SIM_EVENTS_MAX];
    uint32_t heap_n;
    struct sim_message messages[SIM_MESSAGES_MAX];
    uint32_t free_message[SIM_MESSAGES_MAX];
    uint32_t free_messages;
    struct sim_link links[SIM_SITES][SIM_SITES]; /* [low][high] */
    bool cut[SIM_SITES][SIM_SITES];
    uint64_t clogged_until_us[SIM_SITES][SIM_SITES]; /* what is sent until then arrives then */
    uint64_t hole_until_us[SIM_SITES]
                          [SIM_SITES]; /* most frames with entries are lost, others pass */
    uint64_t one_by_one_until_us;      /* no message has more than one entry */
    struct {                           /* plot_three_terms() */
        uint32_t stage;
        uint8_t first;
    } three_terms;
    struct repl_options options;
    struct sim_site sites[SIM_SITES];
    struct sim_client clients[SIM_ASKERS];
    struct sim_op ops[SIM_OPS_MAX]; /* from 1 */
    uint32_t ops_n;
    struct sim_order orders[SIM_ORDERS_MAX]; /* from 1 */
    uint32_t orders_n;
    uint64_t tokens;     /* values written */
    uint64_t history;    /* of what clients saw */
    uint32_t sessions_n; /* numbers given to sessions */
    uint64_t session_limit_us;
    struct sim_session_truth session_truth[SIM_OPS_MAX];
    uint32_t names_n;  /* keys that were given */
    uint32_t jobs[16]; /* the newest ops that have one */
    uint32_t jobs_n;
    uint64_t key_limit_us;
    struct sim_key_truth key_truth[SIM_OPS_MAX];
    struct sim_archive archive;
    struct sim_entry entries[SIM_ENTRIES_MAX]; /* by id, from 1 */
    uint32_t entries_n;
    struct sim_truth truth;
    struct sim_message late_take_over;
    uint8_t wiped;        /* rebuilt and not readmitted yet, or REPL_NOBODY */
    struct {              /* sim_solo.c */
        struct term term; /* ordered; 0: not */
        uint8_t site;
        bool granted, loss; /* it was done; what was committed is lost, and was declared to be */
        bool alone;         /* until there are three again */
        uint8_t
            off; /* those that are lost, as a set: a restart that was under way does not happen */
    } solo;

    bool failed;
    char failure[SIM_TRACE_BYTES];
    bool keep_trace;
    char trace[SIM_TRACE_LINES][SIM_TRACE_BYTES];
    uint64_t trace_n;

    struct sim_content contents[SIM_ENTRIES_MAX]; /* by id; last, and not cleared */
};

extern const char *const sim_names[SIM_SITES];

/* ---- sim_world.c ---- */
void sim_init(struct sim *s, uint64_t seed, const struct swarm *swarm, enum sim_mutant mutant);
void sim_deinit(struct sim *s);
struct swarm sim_swarm_of_seed(uint64_t seed);
struct swarm sim_swarm_quiet(void); /* no faults, one millisecond each way */
void sim_at(struct sim *s, uint64_t at_us, enum sim_event_type type, uint32_t site, uint32_t arg);
bool sim_next(struct sim *s);                      /* handle the next event; false: there is none */
void sim_run_until(struct sim *s, uint64_t at_us); /* or until a check fails */
void sim_send(struct sim *s, const struct repl_message *m, const uint32_t *ids, uint32_t n);
void sim_link_close(struct sim *s, uint8_t a, uint8_t b, uint64_t notice_us);
void sim_cut(struct sim *s, uint8_t from, uint8_t to, bool on);
/* No more faults, and everything is healed but the outcast; that one by the second. */
void sim_calm(struct sim *s, uint8_t outcast);
void sim_calm_outcast(struct sim *s);
uint64_t sim_clock_ms(const struct sim *s, const struct sim_site *site);
uint64_t sim_wall_us(const struct sim *s, const struct sim_site *site);
uint64_t sim_commit_us(const struct sim *s, struct sim_site *site); /* commit time now */
uint64_t sim_election_seed(const struct sim *s, uint8_t i);
uint64_t sim_restart_delay_us(struct rng *g);
uint64_t sim_when_us(const struct sim *s, const struct sim_site *site, uint64_t clock_ms);
void sim_say(struct sim *s, uint8_t site, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_mix(struct sim *s, uint64_t v);

/* ---- sim_site.c ---- */
void sim_site_start(struct sim *s, uint8_t i);
void sim_site_crash(struct sim *s, uint8_t i);
void sim_site_wipe(struct sim *s, uint8_t i); /* while it is down */
void sim_site_refill(struct sim *s, uint8_t i, uint8_t from);
void sim_site_post(struct sim *s, uint8_t i, const struct sim_inbox *e);
void sim_site_run(struct sim *s, uint8_t i);
void sim_site_deliver(struct sim *s, uint32_t message);
void sim_site_disk_done(struct sim *s, uint8_t i, uint32_t generation);
void sim_site_resume(struct sim *s, uint8_t i, uint32_t boot);
void sim_site_tick(struct sim *s, uint8_t i);

/* ---- sim_export.c ---- */
void sim_export_begin(struct sim *s, uint8_t i, const struct repl_action *a);
/* MUTANT_RELAY_CUTS_TOO_MUCH */
void sim_export_at_once(const struct sim *s, struct sim_site *site, uint64_t keep);
void sim_export_done(struct sim *s, uint8_t i, uint32_t number);
void sim_export_named(struct sim *s, uint8_t i, uint64_t keep); /* the log is about to be cut */

/* ---- sim_state.c ---- */
struct sim_state sim_state_empty(const struct sim *s);
/* The state after the entry at lsn of this site's log. */
struct sim_state sim_model_at(const struct sim *s, const struct sim_site *site, uint64_t lsn);
void sim_state_apply(struct sim *s, struct sim_state *state, uint32_t id);
void sim_state_start(struct sim *s, uint8_t i);
void sim_state_stop(struct sim_site *site);
void sim_follow_marks(struct sim *s, uint8_t i);
void sim_take_progress(struct sim *s, uint8_t i);
void sim_apply(struct sim *s, uint8_t i, uint32_t boot);
void sim_publish(struct sim *s, uint8_t i, uint32_t boot);
void sim_archive(struct sim *s, uint8_t i, uint32_t boot);
/* The log is about to be cut; what the state holds then. */
uint64_t sim_undo(struct sim *s, uint8_t i, uint64_t keep);
void sim_site_refill(struct sim *s, uint8_t i, uint8_t from);

/* ---- sim_service.c ---- */
/* Handle the request at hand. True: it is to be proposed. */
bool sim_service_request(struct sim *s, uint8_t i);
struct sim_record sim_service_find(const struct sim *s, const struct sim_site *site, uint8_t key,
                                   struct lsn upto);
void sim_service_progress(struct sim *s, uint8_t i);
/* Its clients' connections are closed: they ask elsewhere, not knowing. */
void sim_service_closed(struct sim *s, uint8_t i);
void sim_service_demoted(struct sim *s, uint8_t i);

/* The answer waits until this lsn reaches that level; `c` may be NULL, when nobody waits for it any more. */
void sim_service_wait(struct sim_client *c, uint64_t lsn, enum level level);
/* The same where nothing is written: the answer is about the history so far. Without a lease the request is parked. */
void sim_service_wait_for_all(struct sim *s, uint8_t i, struct sim_client *c);
bool sim_service_holds(const struct sim *s, const struct sim_site *site, const struct sim_op *op);

/* ---- sim_clients.c ---- */
bool sim_has_room(const struct sim *s, const struct sim_site *site);
void sim_client_ask_elsewhere(const struct sim *s, struct sim_client *c);
uint32_t sim_op_new(struct sim *s, uint8_t client, enum sim_op_kind kind, uint8_t key);
void sim_client_wake(struct sim *s, uint8_t c);
/* The client that still waits for this attempt at this site, or NULL. */
struct sim_client *sim_client_of(struct sim *s, uint8_t site, uint32_t op, uint32_t attempt);
/* `sure`: the answer is that nothing was done. */
void sim_client_refused(struct sim *s, struct sim_client *c, bool sure);
/* `seen`: what the answer says of the record. */
void sim_client_answered(struct sim *s, struct sim_client *c, enum sim_outcome outcome,
                         struct sim_record seen);

/* ---- sim_history.c ---- */
void sim_check_committed_once(struct sim *s, uint32_t id);
void sim_check_history(struct sim *s);

/* ---- sim_users.c ---- */
void sim_fault(struct sim *s);
void sim_crash_some(struct sim *s, uint8_t site, enum sim_crash how);
void sim_plot_election(struct sim *s, uint8_t site);
void sim_election_fault(struct sim *s, uint8_t site); /* it has just become primary */
void sim_repository_serves(struct sim *s);            /* refills who is behind the retained log */
uint8_t sim_primary(const struct sim *s);
void sim_judge(struct sim *s, uint8_t site, bool fit); /* serving with a lease, or REPL_NOBODY */

/* ---- sim_standby.c ---- */
void sim_standby_told(struct sim *s, struct sim_site *site, const struct repl_message *m,
                      uint64_t sent_us);
void sim_standby_word(struct sim *s, struct sim_site *site, struct lsn commit, struct term term,
                      uint64_t as_of_ms, uint64_t sent_us);
void sim_standby_applied(struct sim *s, struct sim_site *site);
void sim_standby_read(struct sim *s, struct sim_client *c);

/* ---- sim_relay.c ---- */
/* The message is at hand, or was handled: what it says of when the primary spoke. */
void sim_relay_word(struct sim *s, uint8_t i, const struct repl_message *m, uint64_t sent_us,
                    struct term term, uint64_t round);
void sim_relay_heard(struct sim *s, uint8_t i, const struct repl_action *a);
/* A GIVE that begins below the log: 0 the archive has it: *ids and *n, SENT with nothing in it: not yet, GONE: no. */
enum sim_archive_says { SIM_ARCHIVE_HAS, SIM_ARCHIVE_READS, SIM_ARCHIVE_LACKS };
enum sim_archive_says sim_archive_gives(struct sim *s, uint8_t i, const struct repl_message *m,
                                        const uint32_t **ids, uint64_t *n);
void sim_split_some(struct sim *s);
/* Calm, and clients are served: the data sites lose each other, and the standby must keep up. */
void sim_relay_is_enough(struct sim *s);
/* ---- sim_members.c ---- */
/* The list in force by the log of the site, as everybody could read it there. */
struct repl_members sim_members(const struct sim *s, const struct sim_site *site);
struct repl_members sim_members_of(const struct sim *s, const struct sim_site *site, uint64_t id);
void sim_members_start(const struct sim *s, const struct sim_site *site, struct repl_start *start,
                       struct repl_member_list lists[SIM_LOG_MAX]);
void sim_change_members(struct sim *s);
/* Could the others go on without this site, by every list that a site may count by? REPL_NOBODY: without a disk of any. */
bool sim_members_suffice(const struct sim *s, uint8_t without);
void sim_plant_list_before(const struct sim *s, struct sim_site *site, const struct repl_event *e);
void sim_plant_list_after(const struct sim *s, struct sim_site *site, const struct repl_event *e);

/* ---- sim_solo.c ---- */
void sim_solo(struct sim *s); /* the story, when all is calm */
void sim_solo_granted(struct sim *s,
                      uint8_t i); /* it becomes primary alone: what is lost is declared so */

/* ---- sim_disk.c ---- */
void sim_crawl_some(struct sim *s);
uint64_t sim_disk_us(struct sim *s, const struct sim_site *site, uint64_t us);
void sim_check_stepped_aside(struct sim *s, uint8_t i);
void sim_note_handed(struct sim *s, uint8_t i); /* it has just become primary */

/* ---- sim_orders.c ---- */
/* The operator orders what the event says. */
void sim_order(struct sim *s, uint8_t site, const struct sim_inbox *e);
void sim_order_arrives(struct sim *s, uint8_t i, uint32_t id);
void sim_order_answered(struct sim *s, uint8_t i, bool done);

/* ---- sim_check.c ---- */
/* `known_us`: the moment up to which the answer claims to know everything, UINT64_MAX: none. */
void sim_check_standby_read(struct sim *s, uint8_t site, const struct sim_client *c, uint8_t key,
                            uint64_t lsn, struct sim_record r, uint64_t known_us);
void sim_check_quorum(struct sim *s, uint8_t site);
void sim_check_handover(struct sim *s, uint8_t site);
void sim_check_sealed(struct sim *s, uint8_t site, uint32_t id);
void sim_check_list(struct sim *s, uint8_t site);
void sim_check_time(struct sim *s, uint8_t site, const struct entry_header *h);
void sim_check_role(struct sim *s, uint8_t site, struct term term);
void sim_check_commit(struct sim *s, uint8_t site, uint64_t commit, uint64_t visible);
void sim_check_cut(struct sim *s, uint8_t site, uint64_t last);
/* `stated`: the level that the answer says is achieved. */
void sim_check_ack(struct sim *s, uint8_t site, const struct sim_client *c, enum level stated);
void sim_check_state(struct sim *s, uint8_t site);
void sim_check_marks(struct sim *s, uint8_t site);
void sim_check_published(struct sim *s, uint8_t site);
void sim_check_sealed_pack(struct sim *s, uint64_t from);
void sim_check_step(struct sim *s, uint8_t site);
void sim_check_end(struct sim *s);
bool sim_check_settled(
    const struct sim *s); /* one primary, all logs equal, durable and committed */

/* ---- sim_run.c ---- */
struct sim_verdict {
    bool failed;
    char failure[SIM_TRACE_BYTES];
    uint64_t steps, virtual_us, hash;
    struct sim_truth *truth; /* of the last run; valid until the next */
};
struct sim_verdict sim_seed(struct sim *s, uint64_t seed, uint64_t steps, enum sim_mutant mutant,
                            bool keep_trace);

/* sim_sessions.c */
void sim_sessions_init(struct sim *s, struct rng g);
struct uuid sim_session_id(uint8_t client, uint32_t session);
uint32_t sim_session_slot(const struct sim_op *op); /* of its results */
void sim_session_apply(struct sim_state *state, const struct sim_entry *e, const struct sim_op *op);
bool sim_session_is_open(const struct sim *s, const struct sim_site *site, const struct sim_op *op);
bool sim_session_has_room(const struct sim *s, const struct sim_site *site,
                          const struct sim_op *op);
bool sim_session_may_expire(struct sim *s, uint8_t i, const struct sim_session *at);
void sim_sessions_tick(struct sim *s, uint8_t i);
bool sim_session_wanted(struct sim *s, uint8_t client); /* it has none: now it opens one */
void sim_session_opened(struct sim *s, struct sim_client *c);
void sim_session_expired(struct sim *s, struct sim_client *c);
uint64_t sim_session_sleep_us(struct sim *s);
void sim_check_session(struct sim *s, uint32_t id); /* S25 */
void sim_sessions_cut(struct sim *s); /* the common history ends earlier: what it says now */

/* sim_keys.c */
void sim_keys_init(struct sim *s, struct rng g);
/* The op that is in the history when this one is carried out: a job, or itself. */
uint32_t sim_key_logged(const struct sim *s, uint32_t op);
bool sim_key_request(struct sim *s, uint8_t i, struct sim_client *c);
/* The operations on marks in the entry for an op that is asked for, behind its own; and how many they are. */
uint32_t sim_key_ops(const struct sim *s, const struct sim_site *site, uint32_t op);
void sim_key_write(const struct sim *s, const struct sim_site *site, uint32_t op, enum level level,
                   struct writer *w);
void sim_key_apply(const struct sim *s, struct sim_state *state, uint32_t id);
void sim_keys_tick(struct sim *s, uint8_t i);
void sim_check_keys(struct sim *s, uint32_t id); /* S27 */
void sim_keys_cut(struct sim *s);                /* as sim_sessions_cut() */

/* sim_workers.c */
void sim_worker_wake(struct sim *s, uint8_t k);
void sim_worker_answered(struct sim *s, uint8_t i, struct sim_client *c);
void sim_key_copy(struct sim *s, uint8_t site, uint32_t op);

#endif
