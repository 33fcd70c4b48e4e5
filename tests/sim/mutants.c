/* Planted bugs: if the simulator does not find these, it would not find real ones either. */
#include "tests/sim/sim.h"

static const struct {
    const char *name, *what;
} mutants[MUTANTS] = {
    [MUTANT_NONE] = {"none", ""},
    [MUTANT_VOTE_NOT_SAVED] = {"vote-not-saved", "term and vote never reach the disk (R1)"},
    [MUTANT_VOTE_SAVED_LATE] = {"vote-saved-late", "replies do not wait for the vote file (R1)"},
    [MUTANT_ACK_BEFORE_SYNC] = {"ack-before-sync",
                                "entries are reported durable when they are queued (R2)"},
    [MUTANT_TORN_WRITE_KEPT] = {"torn-write-kept", "recovery keeps the torn end of the log"},
    [MUTANT_CUT_BEFORE_EXPORT] = {"cut-before-export",
                                  "a divergent tail is cut before its export is durable (R9)"},
    [MUTANT_CUT_NOT_DURABLE] = {"cut-not-durable", "a cut tail comes back after a crash"},
    [MUTANT_LEASE_FROM_RECEIPT] = {"lease-from-receipt",
                                   "the lease runs from the answer, not from the sending (R4)"},
    [MUTANT_NO_WAIT_AFTER_START] = {"no-wait-after-start", "a restarted voter votes at once (R4)"},
    [MUTANT_STICKINESS_OFF] = {"stickiness-off",
                               "voters forget their promise to a live primary (R4)"},
    [MUTANT_REBUILT_VOTES] = {"rebuilt-votes",
                              "a rebuilt site votes and acknowledges at once (R5)"},
    [MUTANT_LOG_NOT_COMPARED] = {"log-not-compared", "votes are given to logs that are behind"},
    [MUTANT_CLOCK_STOPS_IN_PAUSE] = {"clock-stops-in-pause",
                                     "the lease clock does not count suspend (R4)"},
    [MUTANT_CLOCK_DRIFTS_AWAY] = {"clock-drifts-away",
                                  "clock rates differ by more than the lease's margin (R4)"},
    [MUTANT_LATE_TAKE_OVER] = {"late-take-over",
                               "a hand-over is believed without the lease having been given up"},
    [MUTANT_PUBLISH_UNCOMMITTED] = {"publish-uncommitted",
                                    "a checkpoint above commit is published (M2)"},
    [MUTANT_RECYCLE_TOO_MUCH] = {"recycle-too-much",
                                 "the log is recycled above the checkpoint (M5)"},
    [MUTANT_ARCHIVE_UNCOMMITTED] = {"archive-uncommitted",
                                    "the archive gets what is only in the log (M4)"},
    [MUTANT_RESULT_OUTSIDE_TXN] = {"result-outside-txn",
                                   "results of sessions are kept apart from their effects (P6)"},
    [MUTANT_EXPIRED_RUNS] = {"expired-runs",
                             "a transaction of a session that has ended is run (P6)"},
    [MUTANT_SESSION_OPENED_TWICE] = {"session-opened-twice",
                                     "a new session has the name of one that has ended (P6)"},
    [MUTANT_EXPIRY_IN_FLIGHT] = {"expiry-in-flight",
                                 "a session ends while a transaction of it is not applied (P6)"},
    [MUTANT_EXPIRY_BELIEVES_THE_LOG] = {"expiry-believes-the-log",
                                        "a new primary ends sessions by times that another clock "
                                        "gave (P6)"},
    [MUTANT_RETRY_NOT_LOOKED_UP] = {"retry-not-looked-up",
                                    "a request asked again is done again (P6)"},
    [MUTANT_OVERLAY_IGNORED] = {"overlay-ignored",
                                "reads and conditions see only what is applied (P5)"},
    [MUTANT_READ_WITHOUT_LEASE] = {"read-without-lease", "a primary reads without a lease (R3)"},
    [MUTANT_READY_TOO_EARLY] = {"ready-too-early",
                                "a new primary decides before the past is applied (P5, P6)"},
    [MUTANT_APPLY_UNCOMMITTED] = {"apply-uncommitted", "entries beyond visible are applied (M1)"},
    [MUTANT_UNDO_FORGOTTEN] = {"undo-forgotten",
                               "the log is cut, the state keeps what it applied (P4)"},
    [MUTANT_OVERLAY_KEPT] = {"overlay-kept",
                             "what was cut from the log is still remembered as in flight"},
    [MUTANT_ANSWER_AT_NEW_MODE] = {"answer-at-new-mode",
                                   "who waits for a majority is answered when the mode becomes "
                                   "local (M6)"},
    [MUTANT_WALL_CLOCK_FOLLOWED] = {"wall-clock-followed",
                                    "commit time follows the wall clock, wherever it is set to"},
    [MUTANT_UNFIT_STANDS] = {"unfit-stands",
                             "a site whose state differs forgets it at a restart, and stands (P9)"},
    [MUTANT_NO_OP_OMITTED] = {"no-op-omitted",
                              "a new primary serves without an entry of its own (R3)"},
    [MUTANT_OLD_TERMS_COUNTED] = {"old-terms-counted",
                                  "entries of earlier terms are committed by counting (R3)"},
    [MUTANT_HASH_NOT_COMPARED] =
        {"hash-not-compared",
         "an entry damaged at one site is compared by lsn and term only (P10)"},
    [MUTANT_REBUILT_COUNTED] = {"rebuilt-counted",
                                "answers of a rebuilt site count before it is readmitted (R5)"},
    [MUTANT_READMITTED_BEHIND] = {"readmitted-behind",
                                  "a rebuilt site votes again before it has caught up (R5)"},
    [MUTANT_PREVOTE_IS_VOTE] = {"prevote-is-vote", "a pre-vote is counted as a vote (R1)"},
    [MUTANT_PAST_VOTES_COUNTED] = {"past-votes-counted", "votes of an earlier term are counted"},
    [MUTANT_VOTE_GIVEN_TWICE] = {"vote-given-twice", "a voter votes again in the same term"},
    [MUTANT_PAST_PRIMARY_OBEYED] = {"past-primary-obeyed",
                                    "entries of a primary of an earlier term are taken"},
    [MUTANT_ACK_NAMES_LSN_ONLY] =
        {"ack-names-lsn-only", "what is durable is acknowledged, whether it agrees or not (R2)"},
    [MUTANT_COMMIT_BEYOND_MATCH] = {"commit-beyond-match",
                                    "a follower commits what it does not know to agree"},
    [MUTANT_LEASE_TOO_LONG] = {"lease-too-long", "the lease is longer than the promise (R4)"},
    [MUTANT_PROMISE_TOO_SHORT] = {"promise-too-short",
                                  "a closed link ends the promise to the primary at once (R4)"},
    [MUTANT_LEASE_KEPT_IN_HANDOVER] = {"lease-kept-in-handover",
                                       "reads go on while another site is asked to take over (R4)"},
    [MUTANT_LEVEL_TOO_HIGH] = {"level-too-high",
                               "a majority is taken for every named site (P1, R6)"},
    [MUTANT_REFUSAL_NOT_AWAITED] =
        {"refusal-not-awaited", "a failed condition is told before what it rests on is committed"},
    [MUTANT_EXPORT_WITHOUT_DELETES] = {"export-without-deletes",
                                       "deletes of a divergent tail are not exported (P4)"},
    [MUTANT_REFILL_SAYS_LATER] = {"refill-says-later",
                                  "a refilled state claims a later lsn than it holds (P9)"},
    [MUTANT_RECYCLE_BEFORE_ARCHIVE] = {"recycle-before-archive",
                                       "the log is recycled before it is archived (M5)"},
    [MUTANT_ARCHIVE_BELIEVED] =
        {"archive-believed",
         "an archive that is ahead of what is known committed is believed (M4)"},
    [MUTANT_CUT_BELOW_APPLIED] = {"cut-below-applied",
                                  "after a cut less is visible than is applied (M1)"},
    [MUTANT_TIME_FALLS] = {"time-falls",
                           "commit time is the wall clock, also when it was set back"},
    [MUTANT_CHECK_QUORUM_OFF] = {"check-quorum-off",
                                 "a primary that nobody answers never steps down"},
    [MUTANT_MODE_BELIEVED_EARLY] =
        {"mode-believed-early", "a new primary is in local mode before the past is applied (R6)"},
    [MUTANT_LEVEL_OVERSTATED] = {"level-overstated",
                                 "an answer states a level that was not achieved (R6)"},
    [MUTANT_ORDER_OBEYED_TWICE] =
        {"order-obeyed-twice", "an operator's order that is sent again is carried out again (R7)"},
    [MUTANT_ORDER_OF_PAST_TERM] = {"order-of-past-term",
                                   "an order for an earlier term is carried out (R7)"},
    [MUTANT_ORDER_EXPIRED] = {"order-expired", "an order is carried out after its expiry (R7)"},
    [MUTANT_ORDER_BY_WALL_CLOCK] =
        {"order-by-wall-clock", "a clock that is set back brings a forgotten order to life (R7)"},
    [MUTANT_FETCH_OFF] = {"fetch-off",
                          "a candidate never fetches what its voters hold beyond its log"},
    [MUTANT_PREVOTE_OFF] = {"prevote-off", "a site stands whatever the pre-votes say"},
    [MUTANT_FETCH_FROM_ONE] = {"fetch-from-one",
                               "a candidate fetches again and again from who refuses first"},
    [MUTANT_AGE_OF_NEW_PRIMARY] = {"age-of-new-primary",
                                   "what a primary tells before it serves is taken for all (P5)"},
    [MUTANT_AGE_WITHOUT_LEASE] = {"age-without-lease",
                                  "a primary without a lease says that it knows all (P5)"},
    [MUTANT_AGE_OF_REBUILT] = {"age-of-rebuilt",
                               "a rebuilt site believes the age that any primary gives it (R5)"},
    [MUTANT_AGE_UNKNOWN_IS_FRESH] = {"age-unknown-is-fresh",
                                     "a site that does not know its age says that it is none (P5)"},
    [MUTANT_TOKEN_IGNORED] = {"token-ignored",
                              "a standby answers from before the caller's token (P5)"},
    [MUTANT_STANDBY_SAYS_LATER] = {"standby-says-later",
                                   "a standby's answer claims an lsn that is not applied (P5)"},
    [MUTANT_UNKNOWN_TOLD_REFUSED] =
        {"unknown-told-refused", "who loses the connection is told that nothing was done (R10)"},
    [MUTANT_FULL_STANDS] = {"full-stands", "a site stands though its log has no room for an entry"},
    [MUTANT_LOCAL_ANSWERS_FORGOTTEN] =
        {"local-answers-forgotten",
         "an export calls not acknowledged what was answered at local (P4)"},
    [MUTANT_GIVES_UNCOMMITTED] = {"gives-uncommitted",
                                  "a site is given what its giver does not know to be committed"},
    [MUTANT_PULL_COUNTED] = {"pull-counted",
                             "who asks for what is committed is taken to have it on its disk (R2)"},
    [MUTANT_RELAY_CUTS_TOO_MUCH] = {"relay-cuts-too-much",
                                    "what follows a given entry is cut, whether it differs or not"},
    [MUTANT_AGE_BY_ARRIVAL] =
        {"age-by-arrival", "what another site has heard is taken for said when it arrives (P5)"},
    [MUTANT_AGE_NOT_PASSED_ON] = {"age-not-passed-on",
                                  "who gives does not say how long ago he heard the primary (P5)"},
    [MUTANT_PULL_OFF] = {"pull-off", "a site that hears no primary asks nobody"},
    [MUTANT_ALWAYS_HEARS] = {"always-hears",
                             "who gives says that he hears a primary that he does not hear"},
    [MUTANT_ARCHIVE_NOT_READ] = {"archive-not-read",
                                 "what the log does not have any more is not taken from packs"},
    [MUTANT_STEPS_ASIDE_AGAIN] = {"steps-aside-again",
                                  "a primary with a slow disk hands over as often as it can"},
    [MUTANT_STEPS_ASIDE_BLINDLY] = {"steps-aside-blindly",
                                    "a primary with a slow disk hands over, however slow the "
                                    "others are"},
    [MUTANT_KEY_OUTSIDE_TXN] = {"key-outside-txn",
                                "a key is logged behind the transaction that came with it (P6)"},
    [MUTANT_KEY_WITHOUT_CONTENT] = {"key-without-content",
                                    "a key is compared without what it stands for (P6)"},
    [MUTANT_KEY_IN_FLIGHT_MISSED] = {"key-in-flight-missed",
                                     "of keys only those are known that are applied (P6)"},
    [MUTANT_KEY_GIVEN_UP_IN_MEMORY] = {"key-given-up-in-memory",
                                       "that a key was given up is not in the log (P6)"},
    [MUTANT_KEY_GIVEN_UP_EARLY] = {"key-given-up-early",
                                   "\"never\" is said before a majority has it (P6)"},
    [MUTANT_KEY_GIVEN_UP_BLINDLY] = {"key-given-up-blindly",
                                     "a key is given up though its transaction is logged (P6)"},
    [MUTANT_KEY_REPEAT_NOT_AWAITED] = {"key-repeat-not-awaited",
                                       "who asks again is answered before a majority has it (P6)"},
    [MUTANT_KEY_EXPIRY_BELIEVES_THE_LOG] =
        {"key-expiry-believes-log",
         "a new primary forgets keys by times that another clock gave (P6)"},
    [MUTANT_KEY_FORGOTTEN_AT_ONCE] = {"key-forgotten-at-once",
                                      "keys are forgotten before their time (P6)"},
    [MUTANT_LIST_AT_COMMIT] = {"list-at-commit",
                               "a list of members is in force only when it is committed"},
    [MUTANT_LIST_INITIAL] = {"list-initial", "majorities are counted by the initial list"},
    [MUTANT_LIST_TWO_AT_ONCE] = {"list-two-at-once",
                                 "a list is proposed before the one before is committed"},
    [MUTANT_LIST_BEFORE_NOOP] =
        {"list-before-noop",
         "a list is proposed before the first entry of the own term is committed"},
    [MUTANT_LIST_KEPT_IN_CUT] = {"list-kept-in-cut", "a list that was cut stays in force"},
    [MUTANT_LIST_LOST_AT_START] = {"list-lost-at-start",
                                   "a restart takes the initial list for the one in force"},
    [MUTANT_REPLICA_COUNTED] = {"replica-counted", "answers of sites without a vote count"},
    [MUTANT_REPLICA_STANDS] = {"replica-stands", "a site without a vote stands"},
    [MUTANT_REMOVED_STANDS] = {"removed-stands", "a removed site stands"},
    [MUTANT_JOINER_COUNTS_ITSELF] = {"joiner-counts-itself",
                                     "a site that joins begins with a list of its own"},
    [MUTANT_PROMOTED_BEHIND] =
        {"promoted-behind", "a rebuilt site is given a vote and counts before it has caught up"},
    [MUTANT_SOLO_WHILE_HEARD] = {"solo-while-heard",
                                 "a site goes on alone while others are heard (P3)"},
    [MUTANT_SOLO_BEFORE_DURABLE] = {"solo-before-durable",
                                    "a site serves alone before the list is on its disk (P1)"},
    [MUTANT_LOST_LISTENED_TO] = {"lost-listened-to",
                                 "sites that were declared lost are heard as before, and not told"},
    [MUTANT_LOST_GIVES_AND_TAKES] =
        {"lost-gives-and-takes", "what was declared lost is passed on among sites without a vote"},
    [MUTANT_HANDOVER_WAITS_ON] = {"handover-waits-on",
                                  "a primary waits for its successor for as long as it takes"},
    [MUTANT_HANDOVER_NEVER_WAITS] = {"handover-never-waits",
                                     "writes stop for a successor, however far behind it is"},
    [MUTANT_INHERITS_COMMITTED] = {"inherits-committed",
                                   "of what was logged before its term a new primary remembers "
                                   "what it knows to be committed (P5, P6)"},
    [MUTANT_DROPPED_ACKNOWLEDGED] =
        {"dropped-acknowledged",
         "what waits for a cut is acknowledged while the export is awaited (R2)"},
    [MUTANT_EXPORT_OF_ANOTHER_TAIL] = {"export-of-another-tail",
                                       "an export is believed to be of what is to be cut now (R9)"},
    [MUTANT_EXPORT_NOT_TOLD] = {"export-not-told", "that an export is done is not noticed"},
    [MUTANT_GONE_NOT_TOLD] = {"gone-not-told",
                              "that a site needs entries which are recycled is not noticed"},
    [MUTANT_PAST_TERM_NOT_TOLD] = {"past-term-not-told",
                                   "a primary of a past term is not told of the later one"},
};

const char *sim_mutant_name(enum sim_mutant m)
{
    return mutants[m].name;
}

uint64_t sim_mutant_seed(enum sim_mutant m)
{
    static const uint64_t seeds[MUTANTS + 1] = {
        [MUTANT_MODE_BELIEVED_EARLY] = 10520,       [MUTANT_FETCH_FROM_ONE] = 106146,
        [MUTANT_CUT_BELOW_APPLIED] = 10300,         [MUTANT_AGE_OF_REBUILT] = 2160,
        [MUTANT_AGE_WITHOUT_LEASE] = 1435,          [MUTANT_OLD_TERMS_COUNTED] = 4305,
        [MUTANT_READMITTED_BEHIND] = 10252,         [MUTANT_PAST_VOTES_COUNTED] = 1848,
        [MUTANT_LEASE_KEPT_IN_HANDOVER] = 4481,     [MUTANT_KEY_GIVEN_UP_IN_MEMORY] = 1055,
        [MUTANT_LOST_GIVES_AND_TAKES] = 22117,      [MUTANT_KEY_GIVEN_UP_EARLY] = 1055,
        [MUTANT_KEY_EXPIRY_BELIEVES_THE_LOG] = 463,
    };
    return seeds[m];
}

const char *sim_mutant_what(enum sim_mutant m)
{
    return mutants[m].what;
}

/* ---- in the core's memory ---- */

void sim_plant_start(const struct sim *s, struct sim_site *site)
{
    if (s->mutant == MUTANT_LEASE_TOO_LONG)
        site->r->options.lease_ms = 3 * site->r->options.election_ms;
}

/* What it dropped is acknowledged as if it had been appended. */
static void plant_acknowledged(struct sim_site *site, const struct repl_event *e)
{
    const struct repl_message *m = e->message;
    for (uint32_t i = 0; i < site->actions.n; i++) {
        struct repl_action *a = &site->actions.a[i];
        if (a->type != REPL_ACT_SEND || a->message.type != REPL_MSG_ACK || a->message.rejected)
            continue;
        a->message.lsn = e->metas[m->count - 1].lsn;
        a->message.lsn_term = e->metas[m->count - 1].term;
        a->message.hash = e->metas[m->count - 1].hash;
    }
}

static void plant_export(const struct sim *s, struct sim_site *site, const struct repl_event *e)
{
    struct repl *r = site->r;
    if (s->mutant == MUTANT_DROPPED_ACKNOWLEDGED && e->type == REPL_EV_MESSAGE &&
        e->message->type == REPL_MSG_ENTRIES && e->message->count > 0 &&
        repl_cut_awaited(r, r->matched))
        plant_acknowledged(site, e);
    if (s->mutant == MUTANT_EXPORT_OF_ANOTHER_TAIL && site->export.ever)
        r->cut.durable = r->cut.asked;
    if (s->mutant == MUTANT_EXPORT_NOT_TOLD)
        r->cut.durable = false;
}

/* Whoever hears of it passes it on to the primary, as if it were an acknowledgement. */
static void sim_plant_pull(const struct sim *s, const struct repl_message *m)
{
    for (uint8_t i = 0; i < s->sites_n; i++) {
        struct repl *r = s->sites[i].r;
        if (i == m->from || !s->sites[i].alive || r->role != REPL_PRIMARY ||
            m->lsn.v > r->log.last.v)
            continue;
        r->peers[m->from].match = lsn_max(r->peers[m->from].match, m->lsn);
        r->peers[m->from].counts = true;
        r->peers[m->from].answered = r->round;
        repl_lease_update(r);
    }
}

void sim_plant_before(const struct sim *s, struct sim_site *site, const struct repl_event *e)
{
    struct repl *r = site->r;
    const struct repl_message *m = e->type == REPL_EV_MESSAGE ? e->message : NULL;
    sim_plant_list_before(s, site, e);
    for (uint8_t i = 0;
         s->mutant == MUTANT_SOLO_WHILE_HEARD && e->type == REPL_EV_SOLO && i < s->sites_n; i++) {
        r->peers[i].up = false;
        r->heard_ms = r->start_ms = 0;
    }
    if (s->mutant == MUTANT_LOST_LISTENED_TO)
        r->list.members.lost = 0;
    if (s->mutant == MUTANT_LOST_GIVES_AND_TAKES && m != NULL && m->term.v <= r->term.v &&
        (m->type == REPL_MSG_GIVE || m->type == REPL_MSG_PULL)) {
        site->vote_hidden = !r->may_vote;
        r->may_vote = true;
    }
    if (s->mutant == MUTANT_OLD_TERMS_COUNTED && r->role == REPL_PRIMARY &&
        r->mode == COMMIT_MAJORITY && e->type == REPL_EV_MESSAGE) {
        site->real_term_start = r->term_start;
        r->term_start.v = 1;
    }
    if (s->mutant == MUTANT_VOTE_GIVEN_TWICE && m != NULL && m->type == REPL_MSG_VOTE &&
        r->role == REPL_STANDBY)
        r->voted_for = REPL_NOBODY;
    for (uint8_t i = 0; s->mutant == MUTANT_FETCH_FROM_ONE && i < s->sites_n; i++)
        r->peers[i].fetch_vain = false;
    if (s->mutant == MUTANT_HANDOVER_WAITS_ON && r->handover == REPL_HANDOVER_WAIT)
        r->handover_until_ms = e->now_ms + 1000;
    if (s->mutant == MUTANT_HANDOVER_NEVER_WAITS && r->handover == REPL_HANDOVER_WAIT)
        r->handover_until_ms = e->now_ms;
    if (s->mutant == MUTANT_CHECK_QUORUM_OFF)
        r->since_ms = e->now_ms;
    if (s->mutant == MUTANT_STEPS_ASIDE_AGAIN)
        r->stepped_ms = r->led_from_ms = 0;
    for (uint8_t i = 0; s->mutant == MUTANT_STEPS_ASIDE_BLINDLY && i < SIM_SITES; i++)
        r->disk.there_ms[i] = 1;
    if (s->mutant == MUTANT_MODE_BELIEVED_EARLY && r->role == REPL_PRIMARY)
        r->applied = lsn_max(r->applied, r->term_start);
    if (s->mutant == MUTANT_PULL_COUNTED && m != NULL && m->type == REPL_MSG_PULL)
        sim_plant_pull(s, m);
    if (s->mutant == MUTANT_PROMISE_TOO_SHORT && e->type == REPL_EV_PEER_DOWN)
        r->heard_from = REPL_NOBODY;
}

void sim_plant_after(const struct sim *s, struct sim_site *site, const struct repl_event *e)
{
    struct repl *r = site->r;
    const struct repl_message *m = e->type == REPL_EV_MESSAGE ? e->message : NULL;
    sim_plant_list_after(s, site, e);
    plant_export(s, site, e);
    if (site->vote_hidden)
        site->vote_hidden = r->may_vote = false;
    if (s->mutant == MUTANT_SOLO_BEFORE_DURABLE && e->type == REPL_EV_SOLO) {
        r->log.durable = r->log.last;
        repl_update_commit(r, &site->actions);
        repl_tell_commit(r, &site->actions);
    }
    if (s->mutant == MUTANT_OLD_TERMS_COUNTED && r->role == REPL_PRIMARY && r->term_start.v == 1 &&
        site->real_term_start.v != 0)
        r->term_start = site->real_term_start;
    if (s->mutant == MUTANT_NO_OP_OMITTED && r->role == REPL_PRIMARY)
        r->term_start.v = 1;
    if (s->mutant == MUTANT_READMITTED_BEHIND && r->readmit_known)
        r->readmit_at.v = 0;
    if (s->mutant == MUTANT_REBUILT_COUNTED && m != NULL && m->type == REPL_MSG_ACK)
        r->peers[m->from].counts = s->sites[m->from].disk_may_vote;
    if (s->mutant == MUTANT_RELAY_CUTS_TOO_MUCH && m != NULL && m->type == REPL_MSG_GIVE &&
        m->count > 0 && m->lsn.v + m->count < r->log.last.v && r->relay.from == m->from) {
        struct lsn last = {m->lsn.v + m->count};
        sim_export_at_once(s, site, last.v);
        repl_act(r, &site->actions, REPL_ACT_TRUNCATE)->lsn = last;
        repl_log_truncate(&r->log, last);
        r->visible = lsn_max(lsn_min(r->visible, last), r->commit);
        r->matched = lsn_min(r->matched, last);
    }
    if (s->mutant == MUTANT_COMMIT_BEYOND_MATCH && m != NULL && m->type == REPL_MSG_ENTRIES &&
        r->role == REPL_STANDBY && m->term.v == r->term.v) {
        r->matched = r->log.last;
        r->primary_commit = lsn_max(r->primary_commit, m->commit);
        repl_update_commit(r, &site->actions);
        repl_tell_commit(r, &site->actions);
    }
}

/* ---- in messages ---- */

struct repl_message sim_plant_out(const struct sim *s, const struct repl_message *message)
{
    struct repl_message m = *message;
    bool asks = m.type == REPL_MSG_VOTE || m.type == REPL_MSG_PREVOTE;
    const struct sim_site *from = &s->sites[m.from];
    if (s->mutant == MUTANT_GIVES_UNCOMMITTED && m.type == REPL_MSG_GIVE && !m.rejected)
        m.last = m.commit = from->r->log.last;
    if (m.type == REPL_MSG_ENTRIES)
        m.granted |= s->mutant == MUTANT_AGE_OF_REPLACED ||
                     (s->mutant == MUTANT_AGE_OF_REBUILT && !s->sites[m.to].disk_may_vote) ||
                     (s->mutant == MUTANT_AGE_OF_NEW_PRIMARY &&
                      repl_lease_running(from->r, from->r->now_ms));
    if (s->mutant == MUTANT_AGE_NOT_PASSED_ON && m.type == REPL_MSG_GIVE)
        m.age_ms = 0;
    if (s->mutant == MUTANT_ALWAYS_HEARS && m.type == REPL_MSG_GIVE)
        m.granted = true;
    if (s->mutant == MUTANT_STICKINESS_OFF && m.type == REPL_MSG_VOTE) {
        m.transfer = true;
        m.round = REPL_NUMBER_MAX - 1;
    }
    if (s->mutant == MUTANT_STICKINESS_OFF && m.type == REPL_MSG_PREVOTE_REPLY && m.rejected) {
        m.granted = true;
        m.rejected = false;
        m.term.v++;
    }
    if (s->mutant == MUTANT_LOG_NOT_COMPARED && asks)
        m.lsn_term.v = REPL_NUMBER_MAX - 1;
    if (s->mutant == MUTANT_READMITTED_EARLY && m.type == REPL_MSG_ENTRIES)
        m.readmit = s->sites[m.to].incarnation;
    if (s->mutant == MUTANT_ACK_NAMES_LSN_ONLY && m.type == REPL_MSG_ACK && !m.rejected) {
        m.lsn = from->r->log.durable;
        m.hash = (struct sha256){{0}};
    }
    return m;
}

/* The primary's own word for what is at that position. */
static void agree(const struct repl *r, struct repl_message *m)
{
    m->lsn = lsn_min(m->lsn, r->log.last);
    m->lsn_term = repl_log_term(&r->log, m->lsn);
}

static void plant_in_answer(const struct sim *s, const struct repl *r, struct repl_message *m)
{
    if (s->mutant == MUTANT_LEASE_FROM_RECEIPT && m->term.v == r->term.v)
        m->round = r->round;
    if (s->mutant == MUTANT_REBUILT_COUNTED)
        m->counts = true;
    if (s->mutant == MUTANT_ACK_NAMES_LSN_ONLY && !m->rejected)
        agree(r, m);
}

void sim_plant_in(const struct sim *s, const struct sim_site *site, struct repl_message *m,
                  struct repl_entry_meta *metas)
{
    const struct repl *r = site->r;
    if (m->type == REPL_MSG_ACK)
        plant_in_answer(s, r, m);
    if (s->mutant == MUTANT_PAST_VOTES_COUNTED && m->type == REPL_MSG_VOTE_REPLY && m->granted)
        m->term = r->term;
    if (s->mutant == MUTANT_PREVOTE_OFF && m->type == REPL_MSG_PREVOTE_REPLY && !m->granted) {
        m->granted = true;
        m->rejected = false;
        m->term.v = r->term.v + 1;
    }
    if (s->mutant == MUTANT_PREVOTE_IS_VOTE && m->type == REPL_MSG_PREVOTE_REPLY && m->granted &&
        r->role == REPL_CANDIDATE) {
        m->type = REPL_MSG_VOTE_REPLY;
        m->term = r->term;
    }
    if (s->mutant == MUTANT_PAST_PRIMARY_OBEYED && m->type == REPL_MSG_ENTRIES &&
        r->role != REPL_PRIMARY && m->term.v < r->term.v)
        m->term = r->term;
    if (s->mutant == MUTANT_HASH_NOT_COMPARED) {
        m->hash = (struct sha256){{0}};
        for (uint32_t k = 0; k < m->count; k++) {
            const struct sha256 *ours = repl_log_hash(&r->log, metas[k].lsn);
            if (ours != NULL && repl_log_term(&r->log, metas[k].lsn).v == metas[k].term.v)
                metas[k].hash = *ours;
            const struct sha256 *before = repl_log_hash(&r->log, (struct lsn){metas[k].lsn.v - 1});
            if (k > 0)
                metas[k].prev_hash = metas[k - 1].hash;
            else if (before != NULL)
                metas[k].prev_hash = *before;
        }
    }
}
