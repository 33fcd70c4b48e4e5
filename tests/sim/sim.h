/* The deterministic simulator: three sites of the production core, their disks, clocks and network, clients and an operator in
 * one process, in virtual time, from one 64-bit seed.
 *
 * Everything random comes from streams split off the seed, one per concern, so that a draw more in one does not shift the others.
 * There are no threads, no real clock and no dependence on addresses: a seed replays exactly.
 *
 * sim_world.c  time, clocks, network, the fault classes     sim_site.c   one site: disk and execution of actions
 * sim_users.c  clients and the operator                     sim_check.c  invariants
 * sim_run.c    one seed from start to verdict               mutants.c    planted bugs that must be found
 * main.c       command line */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "replication/core/messages.h"
#include "replication/core/repl_state.h"

#include <stdio.h>

enum {
    SIM_SITES = 3, /* dc, dr, gsr */
    SIM_DC = 0,
    SIM_DR = 1,
    SIM_GSR = 2,
    SIM_LOG_MAX = 2048,     /* entries of one log */
    SIM_ENTRIES_MAX = 4096, /* sealed in one run */
    SIM_TERMS_MAX = 1024,
    SIM_BATCH_MAX = 16,
    SIM_MESSAGES_MAX = 2048, /* in flight; more are lost */
    SIM_EVENTS_MAX = 4096,
    SIM_INBOX_MAX = 512, /* of which messages may fill three quarters */
    SIM_CLIENTS = 4,
    SIM_TRACE_LINES = 400,
    SIM_TRACE_BYTES = 256,
};
#define SIM_MS UINT64_C(1000) /* virtual time is microseconds */

struct rng {
    uint64_t s;
};
uint64_t sim_rng_next(struct rng *g);
uint64_t sim_rng_below(struct rng *g, uint64_t n);
uint64_t sim_rng_between(struct rng *g, uint64_t lo, uint64_t hi); /* both inclusive */
bool sim_rng_chance(struct rng *g, uint32_t per_million);

/* Planted bugs, all of the driver: the core stays clean. */
enum sim_mutant {
    MUTANT_NONE,
    MUTANT_VOTE_NOT_SAVED,
    MUTANT_VOTE_SAVED_LATE,
    MUTANT_ACK_BEFORE_SYNC,
    MUTANT_TORN_WRITE_KEPT,
    MUTANT_CUT_BEFORE_EXPORT,
    MUTANT_CUT_NOT_DURABLE,
    MUTANT_LEASE_FROM_RECEIPT,
    MUTANT_NO_WAIT_AFTER_START,
    MUTANT_STICKINESS_OFF,
    MUTANT_REBUILT_VOTES,
    MUTANT_LOG_NOT_COMPARED,
    MUTANT_CLOCK_STOPS_IN_PAUSE,
    MUTANT_CLOCK_DRIFTS_AWAY,
    MUTANT_LATE_TAKE_OVER,
    MUTANTS,
    MUTANT_READMITTED_EARLY = MUTANTS, /* needs a played scenario: golden_test.c */
};
const char *sim_mutant_name(enum sim_mutant m);
const char *sim_mutant_what(enum sim_mutant m);

/* Which faults a seed has, and how much of them (swarm testing: Groce et al., ISSTA 2012). Rates are per million. */
struct swarm {
    uint32_t loss, duplicate, reorder;
    uint32_t delay_us, jitter_us;
    uint32_t short_batches; /* a message carries fewer entries than it could */
    uint32_t crash_at_action;
    uint32_t fault_every_ms; /* mean time between the faults below; 0: none */
    bool crash, pause, cut, isolate, reset, clog, slow_disk, wipe, recycle, drift;
    bool at_election; /* misfortune prefers the moments around an election */
    bool operator_acts, mode_changes;
    bool local; /* begin in local mode */
    enum repl_policy policy;
    uint32_t think_ms; /* of clients */
};

struct sim_entry {
    struct entry_header header;
    struct sha256 hash;
    uint32_t next_same_lsn; /* id; 0 none */
    enum commit_mode mode;  /* of a configuration */
    bool exported;
};

struct sim_message {
    uint8_t from, to;
    uint32_t epoch; /* of the connection */
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
    SIM_EV_CRASH, /* arg: enum sim_crash */
    SIM_EV_APPLY,
};

enum sim_crash {
    SIM_CRASH_PLAIN,
    SIM_CRASH_WITH_DISK, /* where that is within the promise */
    SIM_CRASH_QUICK,     /* back after a few milliseconds */
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
    uint32_t client;  /* PROPOSE: + 1; 0: the operator's configuration */
    uint32_t bytes;
    enum repl_message_type sent;
    enum commit_mode mode;
    struct entry_position position;
};

struct sim_site {
    struct repl *r;
    uint32_t boot;
    bool alive, paused;
    int64_t clock_offset_us, clock_ppm;
    uint64_t clock_stopped_us; /* total, MUTANT_CLOCK_STOPS_IN_PAUSE */
    uint64_t paused_at_us;

    /* on stable storage */
    struct term disk_term;
    uint8_t disk_voted;
    bool disk_may_vote;
    uint64_t incarnation;
    uint64_t first;      /* entries up to it are recycled */
    uint64_t stable;     /* entries up to it are durable */
    uint64_t checkpoint; /* state is durable up to it */
    /* the log: entry ids by lsn - 1, of which `n` are in memory or on disk */
    uint32_t ids[SIM_LOG_MAX];
    uint64_t n;
    uint32_t ghost[SIM_LOG_MAX]; /* MUTANT_CUT_NOT_DURABLE: what the disk still holds */
    uint64_t ghost_n;
    /* what the lost disk of a rebuilt site held, until it is readmitted */
    uint32_t former[SIM_LOG_MAX];
    uint64_t former_n;
    struct repl_action unsaved; /* MUTANT_VOTE_SAVED_LATE: written with the next one */

    /* volatile */
    uint64_t writing_to; /* 0: the disk is idle */
    uint32_t disk_generation;
    bool disk_slow;
    uint64_t applied, commit, visible;
    bool apply_due;
    enum commit_mode mode;
    uint64_t tick_at_us;
    bool blocked;
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
    uint64_t token;
    bool waiting;
    enum level level;
    uint64_t lsn; /* 0: not appended yet */
    struct term term;
    uint32_t id;
    uint64_t give_up_us;
};

/* What the checker knows of the whole. */
struct sim_truth {
    uint32_t committed[SIM_LOG_MAX];
    uint64_t committed_n;
    struct term committed_in[SIM_LOG_MAX]; /* term of the site that first knew it */
    uint64_t acked_majority;               /* highest lsn acknowledged at majority or stronger */
    uint32_t acked_local[SIM_ENTRIES_MAX];
    uint32_t acked_local_n;
    uint8_t primary_of[SIM_TERMS_MAX];
    uint32_t primary_boot[SIM_TERMS_MAX];
    uint32_t by_lsn[SIM_LOG_MAX + 1];
    uint64_t acks, refusals, elections, cuts, cut_entries, wipes, crashes, switchovers, fetches;
};

struct sim {
    uint64_t seed;
    enum sim_mutant mutant;
    struct swarm swarm;
    struct rng net, disk, crash, client, fault, clock;
    uint64_t now_us, order;
    uint64_t steps;
    uint64_t hash; /* of everything that happened */
    bool calm;     /* the liveness phase: no more faults */
    bool clients_stop;
    struct sim_event heap[SIM_EVENTS_MAX];
    uint32_t heap_n;
    struct sim_message messages[SIM_MESSAGES_MAX];
    uint32_t free_message[SIM_MESSAGES_MAX];
    uint32_t free_messages;
    struct sim_link links[SIM_SITES][SIM_SITES]; /* [low][high] */
    bool cut[SIM_SITES][SIM_SITES];
    uint64_t clogged_until_us[SIM_SITES][SIM_SITES]; /* what is sent until then arrives then */
    struct repl_options options;
    struct sim_site sites[SIM_SITES];
    struct sim_client clients[SIM_CLIENTS];
    uint64_t tokens;
    struct sim_entry entries[SIM_ENTRIES_MAX]; /* by id, from 1 */
    uint32_t entries_n;
    struct sim_truth truth;
    struct sim_message late_take_over;
    uint8_t wiped; /* rebuilt and not readmitted yet, or REPL_NOBODY */

    bool failed;
    char failure[SIM_TRACE_BYTES];
    bool keep_trace;
    char trace[SIM_TRACE_LINES][SIM_TRACE_BYTES];
    uint64_t trace_n;
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
void sim_calm(struct sim *s); /* heal everything, no more faults */
uint64_t sim_clock_ms(const struct sim *s, const struct sim_site *site);
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
void sim_site_apply(struct sim *s, uint8_t i);
void sim_site_tick(struct sim *s, uint8_t i);

/* ---- sim_users.c ---- */
void sim_client_wake(struct sim *s, uint8_t c);
void sim_client_refused(struct sim *s, uint8_t c);
void sim_client_appended(struct sim *s, uint8_t c, uint8_t site, uint64_t lsn, struct term term,
                         uint32_t id);
void sim_clients_answer(struct sim *s, uint8_t site);
void sim_fault(struct sim *s);
void sim_crash_some(struct sim *s, uint8_t site, enum sim_crash how);
void sim_election_fault(struct sim *s, uint8_t site); /* it has just become primary */
void sim_repository_serves(struct sim *s);            /* refills who is behind the retained log */
uint8_t sim_primary(const struct sim *s);             /* serving with a lease, or REPL_NOBODY */

/* ---- sim_check.c ---- */
void sim_check_sealed(struct sim *s, uint8_t site, uint32_t id);
void sim_check_role(struct sim *s, uint8_t site, struct term term);
void sim_check_commit(struct sim *s, uint8_t site, uint64_t commit, uint64_t visible);
void sim_check_cut(struct sim *s, uint8_t site, uint64_t last);
void sim_check_ack(struct sim *s, uint8_t site, const struct sim_client *c);
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

#endif
