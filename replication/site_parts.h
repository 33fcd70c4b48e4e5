/* Private to replication/: the parts of a running site and what they call of each other. Everything here runs on the
 * site's loop thread unless it says otherwise. */
#ifndef REPLICATION_SITE_PARTS_H
#define REPLICATION_SITE_PARTS_H

#include "replication/core/ages.h"
#include "replication/core/answered.h"
#include "replication/core/cosign.h"
#include "replication/core/custody.h"
#include "replication/core/freshness.h"
#include "replication/core/isolation.h"
#include "replication/core/marks.h"
#include "replication/core/messages.h"
#include "replication/core/quiet.h"
#include "replication/core/repl.h"
#include "replication/io/conn.h"
#include "replication/io/vote.h"
#include "replication/site.h"
#include "repository/operations.h"
#include "repository/repository.h"
#include "store/core/commit_time.h"
#include "store/io/salts.h"
#include "store/log.h"
#include "store/overlay.h"
#include "store/state.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

struct applier;
struct archiver;
struct care;
struct client;
struct collector;
struct cosigner;
struct drillmaster;
struct archive_scrub;
struct events;
struct ahead;
struct exporter;
struct packs;
struct past;
struct receipts;
struct scrubber;
struct service;

/* A link to another site: one connection a pair, opened by the site with the lower index. */
struct peer {
    struct site *site;
    uint8_t index;
    struct conn *conn; /* NULL: none */
    bool up;           /* ready, and the core has been told */
    uv_timer_t retry;
    uint32_t retry_ms;
    uint64_t up_since_ms;
    /* Why there is no link; empty: there is one, or there was no attempt yet. */
    char why[ERR_TEXT_BYTES];
};

/* Lists of members found at the start; the core needs the last two. */
struct member_lists {
    struct repl_member_list v[2];
    uint32_t n;
    bool logged; /* not only the file's */
};

struct site {
    const struct site_config *config;                /* of this site: own_config */
    struct site_config own_config;                   /* its members are slots: see members.c */
    struct site_member file_members[REPL_SITES_MAX]; /* as the file has them: the first slots */
    uint32_t file_member_count;
    bool
        list_moved; /* a list of members was appended, or the log was cut, since members_follow() */
    struct {        /* sites that are no members any more, and still linked */
        uint8_t slots;
        uint64_t since_ms;
    } let_go;
    uv_loop_t loop;
    uv_async_t wake; /* other threads have news */
    uv_timer_t tick;
    uv_prepare_t
        prepare; /* before the loop sleeps: parked requests; close the turn's read transaction */
    uv_check_t check; /* behind the events of a turn: what they appended goes to the disk */
    uv_signal_t sigterm, sigint, sighup;
    SSL_CTX *tls;
    struct {
        uint64_t stamp;               /* of the files that were read last */
        char trouble[ERR_TEXT_BYTES]; /* why they cannot be used; empty: they are in use */
    } certificates;
    struct listener *peer_listener, *client_listener;
    struct quiet refused_sites, refused_clients; /* connections to either */
    char refused_last[ERR_TEXT_BYTES]; /* of those to the port for sites; not told whose it was */
    uint64_t refused_last_ms;
    bool loop_begun, stopping;
    uint64_t began_ms; /* to listen */
    uint64_t
        leave_by_ms;  /* stop when the hand-over has an outcome, at the latest then; 0: not asked */
    struct err fatal; /* why the site stops; code 0: asked to */
    struct {          /* what the log's thread has told, until the loop takes it */
        pthread_mutex_t lock;
        struct entry_position durable;
        bool moved, failed;
        bool awaited; /* by the loop, at this very place: it need not be woken */
        struct err why;
    } news;
    int lock_fd;
    char members[SITE_MEMBERS_BYTES]; /* at lsn 0, as is said in HELLO; empty: this site joins */

    struct vote_file *vote_file;
    struct vote vote;
    struct log *log;
    struct state *state;
    struct repl *repl;
    struct repl_view view; /* as of the last step */
    struct marks marks;
    struct overlay *overlay;
    struct entry_position tail; /* last entry appended */
    struct lsn
        mode_after;    /* a change of the commit mode may be in the log up to here, none beyond */
    struct lsn urgent; /* somebody waits until this is applied */
    struct lsn term_start;     /* our no-op of the term in which we are primary */
    struct {                   /* inherit.c */
        struct term term;      /* in which the overlay has it; 0: in none */
        struct lsn declares;   /* the last of it that declares an index; 0: none does */
        struct lsn not_before; /* it is not tried again before this is applied */
    } inherited;
    struct answered answered;  /* what this process has told clients in that term */
    uint64_t primary_since_ms; /* ... was appended then */
    struct term answering;     /* the newest term in which this site has answered as primary */
    struct commit_clock clock;
    int64_t
        clock_jump_us; /* so far is the wall clock from what commit time follows; 0: it is followed */

    struct applier *applier;
    struct archiver *archiver;           /* NULL: this site keeps no archive */
    struct packs *packs;                 /* NULL: this site keeps no archive */
    struct past *past;                   /* likewise */
    struct collector *collector;         /* likewise */
    struct receipts *receipts;           /* likewise */
    struct drillmaster *drills;          /* likewise */
    struct cosigner *cosigner;           /* NULL: this site keeps an archive */
    struct scrubber *scrubber;           /* NULL: switched off */
    struct archive_scrub *archive_scrub; /* NULL: keeps no archive, or it is switched off */
    struct ahead *ahead;
    struct exporter *exporter;
    struct care *care;
    struct events *events;
    struct service *service;
    struct peer peers[REPL_SITES_MAX];

    struct state_snapshot
        *turn_snapshot;         /* read transaction shared by the requests of one loop turn */
    struct freshness freshness; /* of a standby's state */
    struct timeline timeline;   /* of the log */
    struct isolation isolation; /* links 0: none */
    uint64_t isolation_saved_us;
    struct {            /* begun, and the links are still there: */
        struct lsn lsn; /* they are cut when this is committed, */
        uint64_t by_ms; /* and at the latest then; 0: they follow at once */
    } isolation_waits;
    struct refill {        /* takes many entries from another site than the primary */
        uint64_t began_ms; /* 0: it does not */
        uint64_t seen_ms, told_ms, mark_ms;
        struct lsn began, mark;
        uint64_t bytes, mark_bytes; /* of entries taken */
        uint64_t bytes_per_second, entries_per_second;
    } refill;

    uint8_t *read_buffer; /* for shipping: entries copied from the log */
    size_t read_capacity;
    uint8_t *seal_buffer; /* for building own entries */
    size_t seal_capacity;
    struct repl_actions *actions;
    struct salts salts;
    bool stepping;
    size_t unpushed_bytes; /* appended to the log, and not yet pushed */
    uint32_t unpushed;     /* entries of that */
    uint32_t single_turns; /* in a row that had one transaction in flight */
    bool unshipped;        /* proposed, and not yet sent to the other sites */
    struct {
        struct repl_event queue[256];
        uint32_t head, count;
    } feedback;
    struct { /* outcome of a hand-over, told when the step is done and the view is new */
        bool told, done;
        char why[REPL_TEXT_BYTES];
    } handover;
    /* the proposal that APPEND_OWN is to seal */
    struct {
        struct bytes body;
        enum entry_kind kind;
        struct lsn lsn;
        struct utc time;
        bool active;
        char refused[REPL_TEXT_BYTES];
    } proposal;
    /* why entries for this site could not be read from the log; "" they could, when it last asked */
    char unreadable[REPL_SITES_MAX][ERR_TEXT_BYTES];
    struct { /* bundles that await a decision, as of the folder's last change */
        int64_t changed_ns, looked_ns;
        uint64_t bundles, operations, acknowledged; /* the last: "yes" or "possible" */
        char first[256];
    } undecided;
    size_t log_refused_bytes;
    struct err log_refused;  /* why the last entries that came were not taken; code 0: they were */
    uint64_t log_refused_ms; /* since when */
    bool log_refused_told;
    struct lsn retain;
    struct {
        struct {
            struct lsn lsn;
            uint64_t bytes;
        } at[1024];
        uint32_t head, count;
        uint64_t bytes;
    } retained;
    struct {
        uint64_t at_ms, count; /* looked at not before; warrants that there were */
        struct lsn newest;     /* the last of them */
        struct lsn must;       /* to be applied before the state is believed; 0: to be set */
        uint64_t must_until_ms;
        bool told;
    } custody; /* custody.c: what the archive thread was told */
};

uint64_t site_now_ms(void);  /* CLOCK_BOOTTIME */
uint64_t site_boot_us(void); /* the same in microseconds */
uint64_t site_now_us(void);  /* CLOCK_REALTIME, microseconds: for commit time and for people */
enum { SITE_TIME_BYTES = 40 };
void site_time_text(uint64_t us, char out[SITE_TIME_BYTES]); /* "2026-11-24T03:18:21.123Z" */
/* The time of an entry that would be sealed now. */
struct utc site_commit_time(struct site *s);

/* Stop the site with this reason; returns at once, the loop ends soon. Nothing is acknowledged after it. */
void site_fail(struct site *s, const struct err *why);
void site_stop(struct site *s);

/* The calling thread does what can wait: where the processor is short, commits go first. Any thread. */
void site_background(void);
/* For the log's thread (struct log_options). */
void site_log_durable(void *arg, struct entry_position last);
void site_log_lend(struct site *s); /* log_lend(); take_log_news() is to follow */
void site_log_failed(void *arg, const struct err *why);

/* ---- site_open.c: in this order; on an error the site's stop releases what was opened ---- */
int site_open_promise(struct site *s, struct err *e);
int site_open_store(struct site *s, struct err *e);
int site_open_core(struct site *s, struct err *e);

/* ---- events.c: what happened, for people: to stderr and kept for `triveni events`. Any thread. ---- */
struct events *events_new(const char *site_name);
void events_drain(
    struct events *ev); /* write what is left, for a second at most; none is written later */
void events_free(struct events *ev);
void events_add(struct events *ev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
json_t *events_json(struct events *ev, size_t limit);

/* ---- driver.c: feeds the protocol core and executes its actions ---- */
void driver_step(struct site *s, const struct repl_event *event);
/* The same for a MESSAGE that carries entries, decoded: one view per meta. */
void driver_step_entries(struct site *s, const struct repl_event *event,
                         const struct entry_view *entries);
/* Propose an entry of this kind with this body. 0: *lsn and *time tell its place; ERR_NOT_PRIMARY (text says who is), ERR_BUSY,
 * ERR_NO_SPACE. */
int driver_propose(struct site *s, enum entry_kind kind, struct bytes body, struct lsn *lsn,
                   struct utc *time, struct err *e);
/* Feed the order (REPL_EV_SOLO), whose list of members is this body. The outcome is told as that of a failover. */
void driver_solo(struct site *s, const struct repl_event *order, struct bytes body);
void driver_tick(struct site *s);
void driver_watch_clock(struct site *s); /* about once a second */
/* A site whose log takes no more must not become primary: a term begins with an entry. The reason is in `e`. */
bool driver_may_stand(struct site *s, struct err *e);
/* The log has a segment: durable in the vote file before anybody hears of an entry in it, so that a log that vanishes is missed
 * (R5). */
int driver_log_begun(struct site *s, struct err *e);
/* The log holds this much from earlier runs: count it towards the retention limit. */
void driver_retain_from(struct site *s, const struct log_status *log);
/* Let the disk begin with what was appended. The end of each turn of the loop does so. True: it was written, and there is news of
 * it. */
bool driver_push(struct site *s);
/* Send what was proposed to the other sites; likewise. */
void driver_ship(struct site *s);
/* Position of the last of `count` whole, checked entries. Any thread. */
struct entry_position driver_last_position(const uint8_t *p, size_t count);
/* Marks moved: give the applier and the archiver their orders, and answer who can be answered. */
void driver_follow_marks(struct site *s);
void driver_give_orders(struct site *s); /* the first half */
/* The primary answers clients: it serves, and knows all that was logged before its term, from the state or from the overlay. */
bool site_is_ready(const struct site *s);
/* The same from the state alone: for whoever asks only that (walks, sums, limits, operators' orders). */
bool site_is_settled(const struct site *s);

/* ---- inherit.c ---- */
/* A new primary: remember in the overlay what is logged and not applied. Once a turn, outside of steps; cheap when there is
 * nothing to do. No view of the overlay outlives it. */
void inherit(struct site *s);
/* The last entry of that which declares an index; 0: none does. */
struct lsn inherited_declares(const struct site *s);

/* ---- members.c ---- */
/* Before the core is made: s->members is what site.json says. ERR_DENIED when the file's list is another and none was logged. */
int members_find(struct site *s, struct member_lists *out, struct err *e);
/* The body of an entry as sets of slots; names that are new here get one. ERR_FORMAT; ERR_LIMIT: only a restart helps. */
int members_read(struct site *s, struct bytes body, struct repl_members *out, struct err *e);
/* The body of the list that an operator's order ("member-add", ...) asks for; the core decides whether it may be. */
int members_order(struct site *s, const char *what, json_t *arguments, struct bytes by,
                  struct writer *w, struct err *e);
/* The list by which this site goes on alone: without all others that vote. Its body, by these operators, and for the core. */
int members_solo(struct site *s, struct bytes by, struct writer *w, struct repl_members *out,
                 struct err *e);
/* This site alone votes, because the others were declared lost. */
bool members_alone(const struct site *s);
json_t *members_json(const struct site *s);
/* Kinds and addresses of the slots become those of the list in force. */
void members_take_addresses(struct site *s);

/* ---- member_links.c ---- */
/* After each step, and with the ticks: what follows when another list is in force. */
void members_follow(struct site *s);
/* Is there to be a link to that site? `e` says why not. */
bool members_linked(const struct site *s, uint8_t slot, struct err *e);
/* Does the file of this site name others than the list in force? `out` says which. */
bool members_file_differs(const struct site *s, char *out, size_t n);

/* ---- certificates.c ---- */
int certificates_open(struct site *s, struct err *e); /* s->tls */
/* Read them again when the files have changed, or when asked to, and put them in use. Once a second. */
void certificates_look(struct site *s, bool asked);

/* ---- peers.c ---- */
int peers_start(struct site *s, struct err *e);
void peers_stop(struct site *s);
/* A slot has a name now: open a link to it, when that is for this site to do. */
void peers_added(struct site *s, uint8_t slot);
/* Of each pair the site with the lesser name opens the link. */
bool peers_opens(const struct site *s, uint8_t slot);
/* Send a message with entries (or none). False: the link is down or takes no more now; then the message is lost, as the
 * network may lose it, and the core sends again. */
bool peers_send(struct site *s, const struct repl_message *m, struct bytes entries);
/* The primary of that term said, not before as_of_ms, that this is its commit index: for how old this state is. */
void peers_heard(struct site *s, struct lsn commit, struct term term, uint64_t as_of_ms);
/* A connection to one of our ports ended before it was ready: told, with a limit. `why` as from on_closed. */
void peers_refused(struct site *s, struct quiet *q, const struct conn *c, const struct err *why);
/* Close every link with `why` and keep them closed; or open them again. */
void peers_isolate(struct site *s, bool isolated, const struct err *why);
/* Close the link to that site, with `why`. */
void peers_drop(struct site *s, uint8_t slot, const struct err *why);
/* Queue what the archive's site and its witnesses say to each other; false: there is no link. */
bool peers_send_cosign(struct site *s, uint8_t to, const struct cosign_message *m);
/* The same for a care_message, encoded. */
bool peers_send_care(struct site *s, uint8_t to, struct bytes body);
/* What is applied up to lsn is not about to be undone, as far as is known. */
bool site_common(const struct site *s, struct lsn lsn);
const struct site_member *site_member(const struct site *s,
                                      uint8_t index); /* NULL for REPL_NOBODY */

/* ---- forecast.c ---- */
/* What this site knows that a failover to it, or to another, depends on. */
json_t *forecast_json(struct site *s);

/* ---- divergence.c ---- */
/* Text when it is UTF-8 that JSON writes at most twice as long, {"base64": ...} otherwise. */
json_t *json_bytes(struct bytes b);
/* Entries that are to be exported as a divergence bundle (replication/bundle.h; R9, P4), and what was known of them when that was
 * ordered: nothing here changes afterwards but `unwanted`, so any thread may write it. */
struct divergence {
    struct site *site;
    struct lsn keep;
    struct entry_position end; /* those after `keep`, up to this */
    struct lsn commit;
    struct answered answered;
    atomic_bool unwanted; /* export: give up, ERR_CANCELLED */
    uint8_t *buffer;      /* of what is read */
    size_t capacity;
    bool before, named; /* a former process had written it, and given it its name */
    uint64_t operations, yes, possible;
};
/* Of all after `keep`, as it is now. Loop. */
void divergence_begin(struct divergence *d, struct site *s, struct lsn keep);
/* Write it, durable when this returns 0, but under a name that nobody looks for. One that is there already, of the same entries,
 * stays: it was written by a process that knew no less. Any thread, one at a time. */
int divergence_export(struct divergence *d, struct err *e);
/* Then: give it its name, durably, because now it is true; or remove it again. */
int divergence_name(struct divergence *d, struct err *e);
void divergence_forget(struct divergence *d);
void divergence_end(struct divergence *d);
/* What a process that stopped exported and did not cut (divergence_left.c): used, removed, or given its name. No export is under
 * way. Returns the lsn that those that were kept end with, to be called again when the log goes beyond it; 0: none. Loop. */
struct lsn divergence_sweep(struct site *s);
/* Every entry from `from` to `to`, decoded, in order; stops at the first result that is not 0, and returns it. */
int divergence_walk(struct divergence *d, struct lsn from, struct lsn to,
                    int (*each)(void *arg, const struct entry_view *v, struct err *e), void *arg,
                    struct err *e);

/* ---- exporter.c: a thread writes the divergence bundle of what is to be cut. Loop, all of it. ---- */
int exporter_open(struct site *s, struct exporter **out, struct err *e);
void exporter_close(struct exporter *x); /* NULL is fine; what is being written is given up */
/* Begin to export all after `keep`; what is under way is not wanted any more. `cut`: REPL_EV_EXPORTED is fed when it is durable,
 * and a failure stops the site. Else it gets its name at once, and a failure is told: nothing is lost. */
void exporter_begin(struct exporter *x, struct lsn keep, bool cut);
/* The log is about to be cut there: the bundle gets its name. It must have been exported. */
int exporter_name(struct exporter *x, struct lsn keep, struct err *e);
void exporter_follow(struct exporter *x);   /* after each step: is it still wanted? */
void exporter_progress(struct exporter *x); /* has the thread ended? */
/* Text of what is awaited; false: nothing. */
bool exporter_trouble(const struct exporter *x, char text[ERR_TEXT_BYTES]);

/* ---- divergence_base.c: which version records had below a cut ---- */
struct bases;                        /* of the records that a divergent tail changes */
enum { BASE_RECORDS_MAX = 1 << 20 }; /* of more than this it is unknown: 48 MiB */
enum base_kind { BASE_UNKNOWN = 1, BASE_ABSENT, BASE_VERSION };
struct base {
    enum base_kind kind;
    struct lsn version; /* BASE_VERSION */
};
/* From the state as it is now, or as it was at `keep` if it has gone beyond. Never fails: what cannot be found is unknown. */
struct bases *bases_open(struct divergence *d);
void bases_want(struct bases *b, struct bytes collection, struct bytes key);
/* Then what the log has between the state and `keep`. After it the state may be undone. */
void bases_end(struct bases *b);
struct base bases_find(const struct bases *b, struct bytes collection, struct bytes key);
void bases_free(struct bases *b); /* NULL is fine */

/* ---- divergence_open.c ---- */
/* Tell of bundles of this site that nobody has decided about (P10). */
void divergence_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg);

/* ---- applier.c: a thread applies, another publishes checkpoints ---- */
int applier_start(struct site *s, struct applier **out, struct err *e);
void applier_stop(struct applier *a); /* waits for the batch at hand; frees */
/* Apply up to `apply_to` when it pays, up to `urgent_to` at once; checkpoints up to `may_publish_to` may be published. */
void applier_orders(struct applier *a, struct lsn apply_to, struct lsn may_publish_to,
                    struct lsn urgent_to);
struct lsn applier_applied(struct applier *a);
/* Begin a checkpoint as soon as it can be. */
void applier_checkpoint_now(struct applier *a);
/* Fills the reason when it had to stop. */
bool applier_failed(struct applier *a, struct err *why);
/* The disk of the state is full; `why` says so. It goes on by itself when there is space. */
bool applier_disk_full(struct applier *a, struct err *why);
/* There is less space than reserve_bytes beside the state: what is in the log is applied, and nothing more should be logged. */
bool applier_disk_low(struct applier *a, struct err *why);

/* A row of the index is damaged, or lies: build it anew, soon. 0 and NULL are fine. Any thread. */
void applier_rebuild_index(struct applier *a, uint64_t id);
/* What keeps the building of indexes from going on; false: nothing. */
bool applier_index_trouble(struct applier *a, struct err *why);

/* Run something on the applier's thread, between two batches, and wait for it: 0, its error, or ERR_CANCELLED: the applier
 * stops. Not from the loop. */
int applier_run(struct applier *a, int (*run)(void *arg, struct err *e), void *arg, struct err *e);
/* Keep the sums of the state exactly at `lsn`; a later call replaces it. */
void applier_mark(struct applier *a, struct lsn lsn);
enum applier_mark {
    MARK_AHEAD,  /* not there yet */
    MARK_MET,    /* *out has them */
    MARK_MISSED, /* the state was beyond it already, or something else was asked since */
};
enum applier_mark applier_marked(struct applier *a, struct lsn lsn, struct state_sums *out);

/* ---- custody.c: holds and disposals that are in force; disposer.c: the archive thread carries them out ---- */
/* At the archive's site, once a turn: what is in force has changed? Then tell the archive thread. */
void custody_turn(struct site *s);

struct disposer; /* opaque */
int disposer_new(struct site *s, struct disposer **out, struct err *e);
void disposer_free(struct disposer *d);
bool disposer_due(struct disposer *d);
/* A portion of it. ERR_IO: open the archive anew. */
int disposer_turn(struct disposer *d, struct repository *r);
/* Any thread. `trouble` (empty: none): why not all that is ordered can be known or done; then nothing is disposed of, or
 * recorded; otherwise `orders`, all holds and releases that ever came into force, is taken over (its array is allocated). */
void disposer_orders(struct disposer *d, const struct custody *in_force,
                     struct repository_orders *orders, const char *trouble);
/* Archive thread: those that are to be in the operations log; valid until the next call. */
struct repository_orders disposer_recorded(struct disposer *d);
/* What is in force may not be known here at present: rest, until the next orders. */
void disposer_pause(struct disposer *d);
void disposer_resume(struct disposer *d); /* nothing else is in force */
json_t *disposer_json(struct disposer *d);
void disposer_trouble(struct disposer *d, char trouble[ERR_TEXT_BYTES]);
struct disposer *archiver_disposer(struct archiver *a);

/* ---- archiver.c: a thread seals packs and takes snapshots ---- */
int archiver_start(struct site *s, struct archiver **out, struct err *e);
void archiver_stop(struct archiver *a);
/* `appended_bytes`: written to the log so far. */
void archiver_orders(struct archiver *a, struct lsn archive_to, uint64_t appended_bytes);
void archiver_seal_now(struct archiver *a);
/* Somebody waits for what waits to be archived: seal it after pack_seconds, however little it is. */
void archiver_hurry(struct archiver *a);
/* What is archived is taken into the signed tree, sooner or later. */
bool archiver_signs(struct archiver *a);
void archiver_status(struct archiver *a, struct repository_status *out,
                     char trouble[ERR_TEXT_BYTES]);
/* What keeps it from signing what is archived; empty: nothing. Sealing goes on. */
void archiver_tree_trouble(struct archiver *a, char trouble[ERR_TEXT_BYTES]);
/* The same of the index of keys. */
void archiver_index_trouble(struct archiver *a, char trouble[ERR_TEXT_BYTES]);
/* An index was found damaged: find it, and make it again. Any thread. */
void archiver_check_index(struct archiver *a);

/* The newest signed checkpoint. Each has a number of its own, which is not 0; one that was published before this process began
 * is the first. */
struct archiver_draft {
    uint64_t generation; /* 0: none yet */
    char key[192];       /* verifier key of the log */
    size_t note_bytes;
    uint8_t note[8192];
};
uint64_t archiver_draft_generation(struct archiver *a);
void archiver_draft(struct archiver *a, struct archiver_draft *out);
/* Nobody is waited for any more: publish it with what came. */
void archiver_draft_over(struct archiver *a, uint64_t generation);
/* A site cosigned it, it says. */
void archiver_cosign(struct archiver *a, uint8_t site, uint64_t generation, struct bytes key,
                     struct bytes line);
struct archiver_cosigned {
    uint64_t added; /* the newest checkpoint that a cosignature of the site was added to; 0: none */
    uint64_t generation; /* the newest that was published with it */
    uint64_t time_s;
    char why[ERR_TEXT_BYTES]; /* a later one was no good; empty: none such */
};
void archiver_cosigned(struct archiver *a, uint8_t site, struct archiver_cosigned *out);

/* ---- oplog.c: the archive's operations log, and who cosigned it ---- */
struct oplog;
struct repository_orders;
int oplog_new(struct site *s, struct oplog **out, struct err *e);
void oplog_free(struct oplog *o); /* NULL is taken */
/* The archive's thread: is there anything to be added, or is it to be looked whether there is? */
bool oplog_due(struct oplog *o);
void oplog_soon(struct oplog *o);
/* As repository_operations_settle; *cosigned: cosignatures were added. */
int oplog_turn(struct oplog *o, struct repository *r, const struct repository_orders *orders,
               bool *cosigned);
/* Any thread. */
uint64_t oplog_size(struct oplog *o); /* leaves that are published; 0: not known */
/* A site cosigned the checkpoint of `size` leaves, it says. */
void oplog_cosign(struct oplog *o, uint8_t site, uint64_t size, struct bytes key,
                  struct bytes line);
struct oplog_cosigned {
    uint64_t
        size; /* of the newest checkpoint that was published with the site's cosignature; 0: none */
    uint64_t time_s;
    char why[ERR_TEXT_BYTES]; /* a later one was no good; empty: none such */
};
void oplog_cosigned(struct oplog *o, uint8_t site, struct oplog_cosigned *out);
struct oplog *archiver_oplog(struct archiver *a);

/* Since when it reads one state without a break (site_now_ms); 0: it does not. A snapshot of a large state takes minutes. */
uint64_t archiver_reading_since_ms(struct archiver *a);

/* Heal one part: with `copy` -1 of the archive, from its copies, a pack from the log, what is no object from what else lies
 * in it; else
 * of that copy, from the archive. Waits until that was tried. *where, when 0 is returned: the place, or "the log, as" ("the log of dc, as") and the pack that stands in
 * its place. Otherwise what hindered it; ERR_CANCELLED: the site stops; ERR_NOT_READY: one of the places is not open for writing
 * now. Not from the loop. */
int archiver_heal(struct archiver *a, int copy, const char *object, char where[SITE_PATH_BYTES],
                  struct err *e);

/* What was damaged in the archive when the archiver opened it is whole now: it opens it anew. */
void archiver_look_again(struct archiver *a);

/* ---- archive_digest.c ---- */
/* A repository_digest_fn with a struct state_snapshot. */
int archive_digest_at(void *arg, struct lsn lsn, struct digest *out);

/* ---- archive_heal.c ---- */
/* What no copy has whole, as *e says: make it again from what its own file, the log or that of another site has of its
 * entries, in the archive `r` (NULL: it is not open). Up to `committed` the own log's entries might be sealed. *where as of
 * archiver_heal; otherwise *e says all of it; ERR_UNREACHABLE: no other site could be asked. The archive thread. */
int archive_heal_by_entries(struct site *s, struct repository *r, const char *object,
                            struct lsn committed, char where[SITE_PATH_BYTES], struct err *e);
/* Every entry of a pack, back to back, in memory that begins with `cap` bytes; the caller frees *out, also after an error. */
int archive_read_entries(log_fetch_fn read, void *arg, size_t cap, const struct repo_name *pack,
                         uint8_t **out, size_t *bytes, struct err *e);

/* ---- copies.c: the archive in further places; called by the archive thread ---- */
struct copies;
int copies_new(struct site *s, struct copies **out, struct err *e);
void copies_free(struct copies *c); /* NULL is taken */
/* Is there a copy that lacks something that `now` has, and is it to be tried? */
bool copies_due(struct copies *c, const struct repository_status *now);
void copies_again(struct copies *c); /* something changed that `now` does not tell */
/* Bring those that are due a portion further. */
void copies_turn(struct copies *c, struct repository *r, const struct repository_status *now);
/* Any thread. */
struct lsn copies_reached(struct copies *c); /* what all of them hold; without any, all there is */
json_t *copies_json(struct copies *c);       /* a list; null without any */
/* How often copy i was brought up to what the archive had, as far as that went, since the start; 0: not yet, it is not known what
 * it should have. */
uint64_t copies_turns(struct copies *c, uint32_t i);
/* The archive thread; `r` is the archive, open for writing (NULL: it is not). Put an object back into copy i. ERR_NOT_READY when
 * either is not open; otherwise as repository_copy_object. */
int copies_put_back(struct copies *c, uint32_t i, struct repository *r, const char *object,
                    struct err *e);
/* The archive thread. Does any copy have it whole? It is read. ERR_NOT_FOUND, or what ails it there. */
int copies_have(struct copies *c, const char *object, struct err *e);
/* The archive thread; the archive itself must not be open for writing. *where: the copy. */
int copies_heal(struct copies *c, const char *object, char where[SITE_PATH_BYTES], struct err *e);
/* The archive thread; `r` is the archive, open for writing (NULL: it is not). As repository_heal_part, with every copy. *where is
 * left as it is when nothing of a copy was needed. */
int copies_heal_part(struct copies *c, struct repository *r, const char *part,
                     char where[SITE_PATH_BYTES], struct err *e);
/* What ails copy i, with its place; false when there is no such copy. */
bool copies_trouble(struct copies *c, size_t i, char trouble[ERR_TEXT_BYTES]);
struct copies *archiver_copies(struct archiver *a);

/* ---- drills.c: the archive's site restores its archive as a drill, in a child process ---- */
int drills_start(struct site *s, struct drillmaster **out, struct err *e); /* after the archiver */
void drills_stop(struct drillmaster *d); /* ends a drill that runs; NULL is fine, as below */
/* One now, or the one that runs: it is over when status has this count. */
uint64_t drills_ask(struct drillmaster *d);
json_t *drills_json(struct drillmaster *d);
void drills_trouble(struct drillmaster *d, void (*add)(void *arg, const char *text), void *arg);

/* ---- archive_scrub.c: a thread of the archive's site reads its archive and the copies again and again, slowly ---- */
int archive_scrub_start(struct site *s, struct archive_scrub **out,
                        struct err *e);           /* after the archiver; *out NULL: switched off */
void archive_scrub_stop(struct archive_scrub *c); /* before the archiver; NULL is fine, as below */
/* Of the archive (-1) or of a copy; null: switched off, or not known yet. */
json_t *archive_scrub_json(struct archive_scrub *c, int copy);
void archive_scrub_trouble(struct archive_scrub *c, void (*add)(void *arg, const char *text),
                           void *arg);

/* ---- ahead.c: a thread reads old log for sites that are behind. Loop. ---- */
struct ahead_piece { /* a message's worth */
    struct entry_position before, last;
    uint8_t *bytes;
    size_t used;
    uint32_t count;
};
int ahead_start(struct site *s, struct ahead **out, struct err *e);
void ahead_stop(struct ahead *a); /* NULL is fine */
/* What follows `after`, for that site: *out is lent until the next call for it. 0; or nothing is lent: ERR_BUSY: not read yet,
 * ahead_news() tells when; others: what log_read() says. */
int ahead_borrow(struct ahead *a, uint8_t site, struct lsn after, const struct ahead_piece **out,
                 struct err *e);
void ahead_sent(struct ahead *a, uint8_t site); /* what was lent: read what follows it */
void ahead_done(struct ahead *a,
                uint8_t site);      /* the site needs no old log: give its memory back */
void ahead_forget(struct ahead *a); /* before the log is cut; NULL is fine */
bool ahead_news(struct ahead *a);   /* something was read since the last call */

/* ---- packs.c: a thread of a repository site reads the archive for others. Loop. ---- */
int packs_start(struct site *s, struct packs **out, struct err *e);
void packs_stop(struct packs *p); /* NULL is fine, as below */
/* What follows m->lsn, for m->to: fills lsn_term, hash and count of `m`; *entries is lent until packs_return(), which has to be
 * called. 0; or nothing is lent: ERR_BUSY: not read yet, ask again soon; ERR_NOT_FOUND: the archive does not have it; others:
 * it cannot be read. */
int packs_borrow(struct packs *p, struct repl_message *m, struct bytes *entries,
                 struct entry_position *last, struct err *e);
void packs_return(struct packs *p, bool sent);                  /* false: it is lent again */
bool packs_trouble(struct packs *p, char text[ERR_TEXT_BYTES]); /* the archive cannot be read */

/* ---- collector.c: the archive's site has its checkpoints cosigned, and gives headers and proofs to those who cosign ---- */
int collector_start(struct site *s, struct collector **out, struct err *e);
void collector_stop(struct collector *c); /* NULL is fine, as below */
void collector_message(struct collector *c, uint8_t from, const struct cosign_message *m);
void collector_progress(struct site *s); /* ask, and carry answers: with every wake and tick */
void collector_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg);
json_t *collector_json(struct site *s); /* who cosigned what, by name */

/* ---- cosigner.c: a data site cosigns the archive's checkpoints ---- */
int cosigner_start(struct site *s, struct cosigner **out, struct err *e);
void cosigner_stop(struct cosigner *c); /* NULL is fine, as below */
void cosigner_message(struct cosigner *c, uint8_t from, const struct cosign_message *m);
void cosigner_progress(struct site *s);
void cosigner_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg);
json_t *cosigner_json(struct cosigner *c);

/* ---- past.c: a thread of a repository site answers for records of the past. Loop. ---- */
int past_start(struct site *s, struct past **out, struct err *e);
void past_stop(struct past *p);   /* after the connections; NULL is fine */
void past_answer(struct past *p); /* send what is ready; when woken */

/* ---- receipts.c: the archive's site gives clients proofs of their transactions ---- */
int receipts_start(struct site *s, struct receipts **out, struct err *e);
void receipts_stop(struct receipts *r); /* NULL is fine */
/* Answers "receipt": {"lsn": N, "cosigners": N} with {"state": "ready", "proof"} or {"state": "waits", "why"}. */
int receipts_command(struct site *s, json_t *arguments, json_t **reply, struct err *e);

/* ---- refill.c: taking from another site than the primary, for people ---- */
void refill_progress(struct site *s); /* with the ticks */
json_t *refill_json(const struct site *s);
bool refill_trouble(struct site *s, char text[ERR_TEXT_BYTES]);

/* ---- scrubber.c: a thread reads all that is stored, slowly, to find damage before it is needed ---- */
int scrubber_start(struct site *s, struct scrubber **out,
                   struct err *e);         /* *out NULL: switched off */
void scrubber_stop(struct scrubber *c);    /* frees; NULL is fine */
json_t *scrubber_json(struct scrubber *c); /* for status; null when it is switched off */
bool scrubber_trouble(struct scrubber *c, char text[ERR_TEXT_BYTES]);
/* Something that was found is whole again. Any thread; NULL is fine. */
void scrubber_repaired(struct scrubber *c);

/* ---- care.c: a thread repairs what is damaged from other sites, and compares the sites' states ---- */
struct finding;
int care_start(struct site *s, struct care **out, struct err *e);
void care_stop(struct care *c); /* ends the thread; what it knew stays; NULL is fine, as below */
void care_free(struct care *c);
/* Entries of another site's log, for the archive thread alone: a log_fetch_fn. They prove nothing by themselves. */
struct care_source {
    struct care *care;
    uint8_t site;
};
int care_fetch(void *source, struct lsn from, struct lsn to, uint8_t *buf, size_t cap, size_t *used,
               size_t *count, struct err *e);
bool care_reaches(struct care *c, uint8_t site); /* false also of this site */
/* Let go of state and applier, and keep off them until resumed. */
void care_pause(struct care *c);
void care_resume(struct care *c);
/* Damage was met: it is repaired, if it is of a kind that can be. Any thread. */
void care_found(struct site *s, const struct finding *f);
void care_suspect(struct site *s, struct bytes collection, struct bytes key);
/* A FRAME_CARE from another site. */
int care_frame(struct site *s, uint8_t from, struct bytes body, struct err *why);
/* Carry what is to be sent or told. Often: whenever something moved, and with the ticks. */
void care_progress(struct site *s);
json_t *care_json(struct care *c);
void care_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg);

/* ---- service.c: clients ---- */
int service_start(struct site *s, struct err *e);
void service_stop(struct site *s);
/* Something moved (visible, applied, acknowledgements, lease): answer who can be answered now. */
void service_progress(struct site *s);
/* Once per turn of the loop, after all events: try the parked requests that may now be answered. */
void service_turn(struct site *s);
/* The role or the known primary changed. */
void service_role_changed(struct site *s, bool demoted);
void service_handover_stops_writes(struct site *s); /* the waiting for the successor is over */
/* Outcome of an operator's switchover or failover. A failover is done when the site serves. */
void service_handover_done(struct site *s, bool done, const char *why);
void service_isolate(struct site *s, const struct err *why); /* close all clients but operators */
void service_undo(struct site *s); /* close every snapshot: the state is about to be reopened */

/* The read transaction of this loop turn, opened on first use. */
int site_snapshot(struct site *s, struct state_snapshot **out, struct err *e);
void site_snapshot_drop(struct site *s);

/* ---- isolation.c: drills ---- */
/* What the last run of this site left; before anything listens. */
void isolation_open(struct site *s);
/* Let listeners and links follow; once both listen, and after each change. */
void isolation_apply(struct site *s);
void isolation_tick(struct site *s); /* ends it when it is time */
bool isolation_cuts(const struct site *s, unsigned links);
int isolation_refuse(const struct site *s, struct err *e); /* why, for who asked */
json_t *isolation_json(const struct site *s);              /* null: not isolated */
bool isolation_trouble(const struct site *s, char *out, size_t n);
/* An operator's order: {"site", "for_ms", "links"} or {"site", "end": true}. */
int isolation_command(struct site *s, const struct client *c, json_t *arguments, json_t **reply,
                      struct err *e);

/* ---- site_ages.c ---- */
/* How far that site is behind at each stage, as far as this one knows; null: not at all. */
json_t *ages_json(struct site *s, uint8_t i);

/* ---- trouble.c ---- */
json_t *trouble_json(struct site *s); /* an array of sentences, empty when nothing is wrong */

/* ---- admin.c ---- */
/* Answers one operator command. 0 with *reply set; SERVICE_LATER when the answer comes later through `c` and `request`. */
int admin_command(struct site *s, struct client *c, uint64_t request, struct bytes command,
                  json_t *arguments, json_t **reply, struct err *e);

#endif
