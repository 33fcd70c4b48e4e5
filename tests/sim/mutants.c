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
                                  "a divergent tail is cut without an export (R9)"},
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
};

const char *sim_mutant_name(enum sim_mutant m)
{
    return mutants[m].name;
}

const char *sim_mutant_what(enum sim_mutant m)
{
    return mutants[m].what;
}
