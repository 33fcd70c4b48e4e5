/* Terms, votes, leases, append, hand-over and amnesia of three sites, for spin: every order in which things can happen, within
 * bounds. tests/model/model.sh searches it, also with each of the planted bugs (-DBUG_...), which have to be found, and for each
 * of the ends that have to be reachable (-DREACH_...), lest a claim holds because nothing happens.
 *
 * Sites 0 and 1 hold data and may stand; site 2 is the repository, which votes and stores and never stands. One step is one
 * decision of one site with what it makes durable before anybody hears of it (R1, R2).
 *
 * MESSAGES are facts that whoever may hear them uses later, more than once, or never: a network that loses, doubles, delays and
 * reorders, without queues.
 *   VOTE          a candidate's, as long as it is one: it asks again with the log that it has by then (repl_election.c, ask())
 *   vote-reply    granted[]: counted by the candidate at any time until it leaves its term
 *   ENTRIES       the first k of what a primary has logged (ruled[]), also when it is no longer primary
 *   ACK           acked[]: counted at any time as long as the primary is one
 *   FETCH, TAIL   a prefix of any log that a primary ever had: each site's log is one
 *   TAKE_OVER     given[]: also when the hand-over was taken back since
 *   readmit       bar: composed by the primary, acted on later, also when that primary is gone
 * A connection does not survive either of its processes, so what was said to a site before its disk was lost is not heard after.
 *
 * TIME is what leases need of it (repl_lease.c): the lease runs from the sending, the promise from the receipt and for longer, so
 * a promise ends at any time at which no lease rests on it, and a lease forms and ends at any time while the promise lasts. A
 * site that starts waits as long as it may have promised: its promise outlives the restart, and nobody can release it
 * (started[]).
 *
 * ENTRIES are their terms: a term has one primary (claimed), so (lsn, term) names one entry, as the hash does.
 *
 * CLAIMS
 *   P2  what was acknowledged at majority is in the log of every primary of a later term, whichever is first
 *   P3  a term has one primary; no two entries are ever acknowledged at one lsn; no two sites that serve have leases at once
 *   P5  who serves under a lease has committed, so reads, everything that was ever acknowledged by anybody
 *       and for all of them: terms never fall along a log
 * Each is an assertion whose line names it.
 *
 * MORE IS ALLOWED THAN THE CODE DOES, which cannot hide an error: a site stands, without asking first (pre-vote), whenever it has
 * promised nothing, so an operator's failover and every timer are in it; a primary may vote although its own lease runs, for
 * it ceases to be primary by that; it appends without a lease; an answer with a higher term makes nobody adopt it, but a primary
 * may step down at any time, and a candidate reaches that term by standing again; nobody votes for a candidate that is none any
 * more, which would only bind the voter; an amnesiac is heard by whom has not met it as if it were its former self.
 *
 * LEFT OUT: commit mode local (it may lose, and says so: P4), flow control and the log's retention, refill (it brings committed
 * entries only), the states' digests, damaged disks (hash and suspect), more than one hand-over by one primary, two sites that
 * are rebuilt at the same time (not promised). They decide when something is sent, or forbid more. */

#ifndef TERMS
#define TERMS 3
#endif
#ifndef ENTRIES
#define ENTRIES 3
#endif
#ifndef WIPES
#define WIPES 0 /* disks lost, in all */
#endif
#ifndef HANDOVERS
#define HANDOVERS 0 /* in all */
#endif
/* -DDISK: entries are durable some time after they are in the log, or lost by a restart; otherwise at once */

#define SITES 3
#define NONE 0 /* a site is named by its number plus one */

#define FOLLOWER 0
#define CANDIDATE 1
#define PRIMARY 2

#define ASKED 1 /* handing[]: the lease is given up */
#define RESUMED 2

/* durable at each site */
byte term[SITES], voted[SITES], size[SITES];
byte entry[SITES * ENTRIES];
#ifdef DISK
byte durable[SITES];
#define DURABLE(s) durable[s]
#else
#define DURABLE(s) size[s]
#endif
byte amnesiac; /* the site that was rebuilt and is not readmitted */

/* volatile */
byte role[SITES];
byte promise[SITES]; /* the term whose primary was heard; 0: none, or it is over */
bit counts[SITES];   /* as a voter it was heard */
bit started[SITES];  /* since */
bit back[SITES];     /* heard a round above the one at which the lease was given up */
/* of a candidate */
bit granted[2], successor[2];
/* of a primary */
byte commit[2], lease[2], handing[2];
byte acked[2 * SITES];

/* said, by term */
byte ruler[TERMS + 1], ruled_len[TERMS + 1], given[TERMS + 1];
byte ruled[(TERMS + 1) * ENTRIES];

/* R5: which primary has met the rebuilt site, was confirmed since by the third, and named what must be there */
byte met, bar;
bit confirmed;

/* the world */
byte acknowledged[ENTRIES];    /* the entry's term; 0: not */
byte acknowledged_in[ENTRIES]; /* the first term that did */
byte wipes, handovers;

hidden byte i, n, fine;

#define E(s, at) entry[(s) * ENTRIES + (at)]
#define R(t, at) ruled[(t) * ENTRIES + (at)]
#define LAST(s) (size[s] == 0 -> 0 : E(s, size[s] - 1))
#define MAY_VOTE(s) (amnesiac != (s) + 1)
#define LEADS(p, t) (role[p] == PRIMARY && term[p] == (t))
#define OTHER(p) (1 - (p))
#define IS_BEHIND(b, a) (LAST(b) < LAST(a) || (LAST(b) == LAST(a) && size[b] < size[a]))
#define ACKED(p, s) acked[(p) * SITES + (s)]
#define HAS(s, k) (DURABLE(s) >= (k) -> 1 : 0)
#define SAYS(p, s, k) (ACKED(p, s) >= (k) -> 1 : 0)
#define COPIES(p, k) (HAS(p, k) + SAYS(p, OTHER(p), k) + SAYS(p, 2, k))

/* ---- what the planted bugs change ---- */

#ifdef BUG_TWO_VOTES
#define VOTE_IS_FREE(a, b) 1
#else
#define VOTE_IS_FREE(a, b) (voted[a] == NONE || voted[a] == (b) + 1)
#endif
#ifdef BUG_LOG_NOT_COMPARED
#define LOG_MAY_WIN(b, a) 1
#else
#define LOG_MAY_WIN(b, a) (!IS_BEHIND(b, a))
#endif
#ifdef BUG_LEASE_FROM_RECEIPT
#define PROMISE_MAY_END(s) 1
#else
#define PROMISE_MAY_END(s) (lease[0] != (s) + 1 && lease[1] != (s) + 1)
#endif
#ifdef BUG_PROMISE_IGNORED
#define PROMISED(a, b) 0
#else
#define PROMISED(a, b) (promise[a] != 0 && (started[a] || ruler[promise[a]] != (b) + 1))
#endif
#ifdef BUG_LATE_HAND_OVER
#define TAKEN_BACK(s) 0
#else
#define TAKEN_BACK(s) back[s]
#endif
#ifdef BUG_RESUMED_LEASE
#define ROUND_GIVES_LEASE(a, s) 1
#else
#define ROUND_GIVES_LEASE(a, s) (given[term[a]] == 0 || back[s])
#endif
#ifdef BUG_HAND_OVER_KEEPS_LEASE
#define MAY_HOLD_LEASE(a) 1
#else
#define MAY_HOLD_LEASE(a) (handing[a] != ASKED)
#endif
#ifdef BUG_OLD_TERM_COMMITS
#define MAY_COMMIT(p, k) 1
#else
#define MAY_COMMIT(p, k) (E(p, (k) - 1) == term[p])
#endif
#ifdef BUG_NO_NOOP
#define SERVES(p) (role[p] == PRIMARY)
#else
#define SERVES(p) (role[p] == PRIMARY && commit[p] > 0 && E(p, commit[p] - 1) == term[p])
#endif
#ifdef BUG_ACK_BEFORE_DURABLE
#define ACKABLE(s, k) (k)
#else
#define ACKABLE(s, k) ((k) <= DURABLE(s) -> (k) : DURABLE(s))
#endif
#ifdef BUG_PAST_PRIMARY_HEARD
#define NOT_PAST(s, t) ((t) + 1 >= term[s])
#else
#define NOT_PAST(s, t) ((t) >= term[s])
#endif
#ifdef BUG_FETCH_CUTS_NEWER
#define FETCH_HELPS(s, t, k) 1
#else
#define FETCH_HELPS(s, t, k) ((t) > LAST(s) || ((t) == LAST(s) && (k) > size[s]))
#endif
#ifdef BUG_FETCH_BEYOND_TERM
#define FETCH_IS_PAST(s, t) 1
#else
#define FETCH_IS_PAST(s, t) ((t) <= term[s])
#endif
#ifdef BUG_READMITTED_UNCONFIRMED
#define CONFIRMED 1
#else
#define CONFIRMED confirmed
#endif

#ifdef REACH
#define REACHED(what) assert(REACH != what)
#define NOTE(flag, s) flag = (s) + 1
byte readmitted, fetched; /* sites */
#else
#define REACHED(what) skip
#define NOTE(flag, s) skip
#define readmitted NONE
#define fetched NONE
#endif
#define SECOND_ACKNOWLEDGES 1 /* a primary acknowledges, and one of an earlier term had */
#define AMNESIAC_ELECTS 2     /* a site that was rebuilt and readmitted votes again, and that vote elects */
#define SUCCESSOR_LEADS 3     /* a hand-over ends in the successor's election while its voter's promise lasts */
#define TAKEN_BACK_SERVES 4   /* a hand-over came to nothing, and the primary has a lease again */
#define FETCHED_SERVES 5      /* who has fetched what its voter holds is elected and serves */
#define TWO_PRIMARIES 6       /* one serves, and one of an earlier term still believes to be primary */
#define TAIL_LOST 7           /* a restart loses entries that were not durable */
#define NEW_HAS_LEASE 8       /* a lease in a second term */
#define CUT 9                 /* a follower's entries are cut */

/* ---- claims ---- */

inline claim_complete(s) /* becoming primary: everything acknowledged in terms before */
{
    i = 0;
    do
    :: i < ENTRIES ->
        assert(acknowledged[i] == 0 || acknowledged_in[i] >= term[s] || (size[s] > i && E(s, i) == acknowledged[i])); /* P2 */
        i++
    :: else -> break
    od
}

inline claim_leases()
{
    assert(!(SERVES(0) && lease[0] != NONE && SERVES(1) && lease[1] != NONE)) /* P3, one lease */
}

inline claim_reads(p)
{
    i = 0;
    do
    :: i < ENTRIES && SERVES(p) && lease[p] != NONE ->
        assert(acknowledged[i] == 0 || (commit[p] > i && E(p, i) == acknowledged[i])); /* P5 */
        i++
    :: else -> break
    od
}

/* ---- */

/* What cannot be heard any more is forgotten, so that states that differ only in it are one. */
inline done()
{
    n = 1;
    do
    :: n < TERMS && term[0] > n && term[1] > n && term[2] > n ->
        given[n] = 0;
        i = 0;
        do
        :: i < ENTRIES ->
            if
            :: acknowledged_in[i] == n -> acknowledged_in[i] = 1
            :: else
            fi;
            if
            :: LAST(0) != n && LAST(1) != n && LAST(2) != n -> R(n, i) = 0
            :: else
            fi;
            i++
        :: else -> break
        od;
        if
        :: LAST(0) != n && LAST(1) != n && LAST(2) != n ->
            ruler[n] = NONE;
            ruled_len[n] = 0
        :: else
        fi;
        n++
    :: else -> break
    od
}

inline leave_role(s)
{
    if
    :: role[s] != FOLLOWER ->
        role[s] = FOLLOWER;
        granted[s] = 0;
        successor[s] = 0;
        commit[s] = 0;
        lease[s] = NONE;
        handing[s] = 0;
        ACKED(s, 0) = 0;
        ACKED(s, 1) = 0;
        ACKED(s, 2) = 0
    :: else
    fi
}

inline end_promise(s)
{
    promise[s] = 0;
    counts[s] = 0;
    started[s] = 0;
    back[s] = 0
}

/* Cut at the first of the primary's k entries of term t that differs, and append the rest (repl_merge). */
inline merge(s, t, k)
{
    i = 0;
    do
    :: i < k && i < size[s] && E(s, i) == R(t, i) -> i++
    :: else -> break
    od;
    if
    :: i < k ->
#ifdef DISK
        if
        :: durable[s] > i -> durable[s] = i
        :: else
        fi;
#endif
        if
        :: size[s] > i -> REACHED(CUT)
        :: else
        fi;
        size[s] = k;
        do
        :: i < ENTRIES ->
            E(s, i) = (i < k -> R(t, i) : 0);
            i++
        :: else -> break
        od
    :: else
    fi
}

/* ---- elections ---- */

inline stand(s, asked)
{
    leave_role(s);
    end_promise(s);
    term[s]++;
    voted[s] = s + 1;
    role[s] = CANDIDATE;
    successor[s] = asked
}

/* b's question at a: repl_on_vote(). */
#define RELEASED(a, b)                                                                                       \
    (successor[b] && !started[a] && (promise[a] + 1 < term[b] || (promise[a] + 1 == term[b] && !TAKEN_BACK(a))))
#define MAY_ANSWER(a, b)                                                                                     \
    (role[b] == CANDIDATE && term[b] >= term[a] && (!PROMISED(a, b) || RELEASED(a, b)))

inline answer(a, b)
{
    fine = (promise[a] != 0 && successor[b]);
    if
    :: term[b] > term[a] ->
        if
        :: a < 2 -> leave_role(a)
        :: else
        fi;
        end_promise(a);
        term[a] = term[b];
        voted[a] = NONE
    :: else
    fi;
    if
    :: MAY_VOTE(a) && VOTE_IS_FREE(a, b) && LOG_MAY_WIN(b, a) ->
        voted[a] = b + 1;
        granted[b] = 1;
        if
        :: fine -> REACHED(SUCCESSOR_LEADS)
        :: else
        fi;
        if
        :: readmitted == a + 1 -> REACHED(AMNESIAC_ELECTS)
        :: else
        fi
    :: else
    fi
}

inline append_own(p)
{
    assert(LAST(p) <= term[p]); /* P2, terms never fall */
    E(p, size[p]) = term[p];
    size[p]++;
    R(term[p], size[p] - 1) = term[p];
    ruled_len[term[p]] = size[p]
}

inline become_primary(p)
{
    assert(ruler[term[p]] == NONE); /* P3, one primary */
    claim_complete(p);
    role[p] = PRIMARY;
    granted[p] = 0;
    successor[p] = 0;
    ruler[term[p]] = p + 1;
    ruled_len[term[p]] = size[p];
    i = 0;
    do
    :: i < size[p] -> R(term[p], i) = E(p, i); i++
    :: else -> break
    od;
#ifndef BUG_NO_NOOP
    append_own(p)
#endif
}

/* ---- the log ---- */

/* s hears the first k entries of the primary of term t, or, with k = 0, that it is alive: repl_on_entries(). `newest`: the
 * message is of a round after the lease was taken back. */
#define MAY_HEAR(s, t, k)                                                                                    \
    (ruler[t] != NONE && ruler[t] != (s) + 1 && NOT_PAST(s, t) && k <= ruled_len[t] && !LEADS(s, t))
#define IS_RESUMED(p, t) (LEADS(p, t) && handing[p] == RESUMED)

inline hear(s, t, k, newest)
{
    if
    :: s < 2 -> leave_role(s)
    :: else
    fi;
    if
    :: t > term[s] ->
        term[s] = t;
        voted[s] = NONE
    :: else
    fi;
    if
    :: promise[s] != t -> back[s] = 0
    :: else
    fi;
    promise[s] = t;
    counts[s] = MAY_VOTE(s);
    if
    :: newest -> back[s] = 1
    :: else
    fi;
    merge(s, t, k);
    n = ruler[t] - 1;
    if
    :: LEADS(n, t) && MAY_VOTE(s) ->
        if
        :: ACKED(n, s) < ACKABLE(s, k) -> ACKED(n, s) = ACKABLE(s, k)
        :: else
        fi;
        if
        :: amnesiac != NONE && met == t -> confirmed = 1
        :: else
        fi
    :: else
    fi
}

/* The k-th entry counts as committed, and clients are told: repl_update_commit(). */
inline acknowledge(p, k)
{
    commit[p] = k;
    i = 0;
    do
    :: i < k ->
        assert(acknowledged[i] == 0 || acknowledged[i] == E(p, i)); /* P3, one entry */
        if
        :: acknowledged[i] == 0 || acknowledged_in[i] > term[p] ->
            if
            :: i > 0 && acknowledged[i] == 0 && acknowledged[0] != 0 && acknowledged_in[0] < term[p] ->
                REACHED(SECOND_ACKNOWLEDGES)
            :: else
            fi;
            acknowledged[i] = E(p, i);
            acknowledged_in[i] = term[p]
        :: else
        fi;
        i++
    :: else -> break
    od;
    n = term[p] + 1; /* P2, of who was elected in the meantime */
    do
    :: n <= TERMS ->
        i = 0;
        do
        :: i < k ->
            assert(ruler[n] == NONE || R(n, i) == E(p, i)); /* P2, late */
            i++
        :: else -> break
        od;
        n++
    :: else -> break
    od;
    if
    :: role[OTHER(p)] == PRIMARY && term[OTHER(p)] < term[p] -> REACHED(TWO_PRIMARIES)
    :: else
    fi;
    if
    :: fetched == p + 1 -> REACHED(FETCHED_SERVES)
    :: else
    fi;
    claim_leases();
    claim_reads(p);
    claim_reads(OTHER(p))
}

inline answered(p, s)
{
    lease[p] = s + 1;
    if
    :: handing[p] == RESUMED -> REACHED(TAKEN_BACK_SERVES)
    :: else
    fi;
    if
    :: term[p] > 1 && SERVES(p) -> REACHED(NEW_HAS_LEASE)
    :: else
    fi;
    claim_leases();
    claim_reads(p)
}

inline hand_over(p)
{
    handovers++;
    given[term[p]] = size[p];
    handing[p] = ASKED;
#ifndef BUG_HAND_OVER_KEEPS_LEASE
    lease[p] = NONE
#endif
}

/* ---- faults ---- */

inline restart(s, loses)
{
    if
    :: s < 2 -> leave_role(s)
    :: else
    fi;
    started[s] = (promise[s] != 0 -> 1 : 0);
#ifdef DISK
    if
    :: loses && durable[s] < size[s] ->
        REACHED(TAIL_LOST);
        size[s] = durable[s];
        i = size[s];
        do
        :: i < ENTRIES -> E(s, i) = 0; i++
        :: else -> break
        od
    :: else
    fi;
#endif
#ifdef BUG_VOTE_NOT_DURABLE
    voted[s] = NONE;
#endif
#ifdef BUG_TERM_NOT_DURABLE
    term[s] = LAST(s);
#endif
#ifdef BUG_NO_WAIT_AFTER_START
    end_promise(s);
#endif
    skip
}

inline wipe(s)
{
    restart(s, 0);
    i = 0;
    do
    :: i < ENTRIES -> E(s, i) = 0; i++
    :: else -> break
    od;
    size[s] = 0;
#ifdef DISK
    durable[s] = 0;
#endif
    term[s] = 0;
    voted[s] = NONE;
#ifndef BUG_AMNESIAC_VOTES
    amnesiac = s + 1;
#endif
    met = 0;
    bar = 0;
    confirmed = 0;
    wipes++
}

/* The primary hears of the new incarnation: what the former one has said to it is void (repl_peer_renewed). */
inline meet(p, s)
{
    met = term[p];
    bar = 0;
    confirmed = 0;
#ifndef BUG_FORMER_SELF_COUNTS
    ACKED(p, s) = 0;
#endif
    if
    :: lease[p] == s + 1 -> lease[p] = NONE
    :: else
    fi
}

/* Does the log of s agree with the primary's up to the bar, durably? */
inline is_there(s)
{
    fine = (DURABLE(s) >= bar);
    i = 0;
    do
    :: i < bar && E(s, i) == R(met, i) -> i++
    :: i < bar && E(s, i) != R(met, i) -> fine = 0; break
    :: else -> break
    od
#ifdef BUG_READMITTED_BEHIND
    ;
    fine = 1
#endif
}

inline readmit(s)
{
    is_there(s);
    if
    :: fine ->
        amnesiac = NONE;
        voted[s] = ruler[met];
        met = 0;
        bar = 0;
        confirmed = 0;
        NOTE(readmitted, s)
    :: else
    fi
}

/* ---- what may happen ----
 * STEP(when, what is said of it in a trace, what is done) */

#define STEP(when, said, what)                                                                               \
    ::d_step { when -> printf said; what; skip }

/* silence, or an operator's failover; the data sites are alike, so the first that stands may be called 0 */
#define ANYBODY_BEGAN (term[0] > 0 || term[1] > 0 || wipes > 0)
#define STAND(s)                                                                                             \
    STEP(role[s] != PRIMARY && MAY_VOTE(s) && promise[s] == 0 && term[s] < TERMS && size[s] < ENTRIES &&     \
             (s == 0 || ANYBODY_BEGAN),                                                                      \
         ("site %d stands in term %d\n", s, term[s] + 1), stand(s, 0); done())
#define VOTE_FOR(b, a)                                                                                       \
    STEP(MAY_ANSWER(a, b), ("site %d is asked for its vote by %d in term %d\n", a, b, term[b]), answer(a, b); done())
#define ELECTED(s)                                                                                           \
    STEP(granted[s] && size[s] < ENTRIES, ("site %d is elected in term %d\n", s, term[s]), become_primary(s); done())
/* refused by a longer log: repl_on_tail() */
#define FETCH(s, t, k)                                                                                       \
    STEP(role[s] != PRIMARY && MAY_VOTE(s) && promise[s] == 0 && ruler[t] != NONE && ruler[t] != s + 1 &&    \
             k <= ruled_len[t] && FETCH_HELPS(s, t, k) && FETCH_IS_PAST(s, t),                               \
         ("site %d fetches the log of term %d up to %d\n", s, t, k), merge(s, t, k); NOTE(fetched, s); done())
#define APPEND(p)                                                                                            \
    STEP(SERVES(p) && size[p] < ENTRIES && handing[p] != ASKED, ("site %d appends %d\n", p, size[p] + 1), append_own(p))
#define HEAR(s, t, k)                                                                                        \
    STEP(MAY_HEAR(s, t, k), ("site %d hears the log of term %d up to %d\n", s, t, k), hear(s, t, k, 0); done()) \
    STEP(MAY_HEAR(s, t, k) && (IS_RESUMED(0, t) || IS_RESUMED(1, t)),                                        \
         ("site %d hears the log of term %d up to %d, taken back\n", s, t, k), hear(s, t, k, 1); done())
#define COMMIT(p, k)                                                                                         \
    STEP(role[p] == PRIMARY && k > commit[p] && k <= size[p] && COPIES(p, k) > 1 && MAY_COMMIT(p, k),        \
         ("site %d of term %d acknowledges up to %d\n", p, term[p], k), acknowledge(p, k); done())
/* a round is answered: the lease rests on the promise of s */
#define LEASE(p, s)                                                                                          \
    STEP(role[p] == PRIMARY && lease[p] != s + 1 && promise[s] == term[p] && counts[s] && MAY_HOLD_LEASE(p) && \
             ROUND_GIVES_LEASE(p, s),                                                                        \
         ("site %d of term %d has a lease by %d\n", p, term[p], s), answered(p, s))
#define LEASE_ENDS(p) STEP(lease[p] != NONE, ("the lease of site %d ends\n", p), lease[p] = NONE)
#define PROMISE_ENDS(s)                                                                                      \
    STEP(promise[s] != 0 && PROMISE_MAY_END(s), ("the promise of site %d ends\n", s), end_promise(s))
/* the successor has everything: the lease is given up, and the successor asked */
#define HAND_OVER(p)                                                                                         \
    STEP(SERVES(p) && handovers < HANDOVERS && given[term[p]] == 0 && ACKED(p, OTHER(p)) == size[p],         \
         ("site %d of term %d gives its lease up\n", p, term[p]), hand_over(p))
#define TAKE_OVER(s)                                                                                         \
    STEP(given[term[s]] != 0 && ruler[term[s]] != s + 1 && role[s] == FOLLOWER && MAY_VOTE(s) && !started[s] && \
             !(promise[s] == term[s] && TAKEN_BACK(s)) && size[s] == given[term[s]] && LAST(s) == term[s] && \
             term[s] < TERMS && size[s] < ENTRIES,                                                           \
         ("site %d stands in term %d as the successor\n", s, term[s] + 1), stand(s, 1); done())
#define TAKE_BACK(p) STEP(handing[p] == ASKED, ("site %d takes its hand-over back\n", p), handing[p] = RESUMED)
/* also: no majority answers a primary */
#define RESTART(s)                                                                                           \
    STEP(role[s] != FOLLOWER || (promise[s] != 0 && !started[s]), ("site %d starts again\n", s), restart(s, 0); done())
#ifdef DISK
#define WRITTEN(s) STEP(durable[s] < size[s], ("site %d has written up to %d\n", s, size[s]), durable[s] = size[s])
#define POWER_CUT(s)                                                                                         \
    STEP(durable[s] < size[s], ("site %d starts again with %d entries\n", s, durable[s]), restart(s, 1); done())
#else
#define WRITTEN(s)
#define POWER_CUT(s)
#endif
#define WIPE(s) STEP(wipes < WIPES && amnesiac == NONE && term[s] > 0, ("site %d loses its disk\n", s), wipe(s))
#define MEET(p, s)                                                                                           \
    STEP(role[p] == PRIMARY && amnesiac == s + 1 && promise[s] == term[p] && !counts[s] && met != term[p],   \
         ("site %d of term %d meets the rebuilt %d\n", p, term[p], s), meet(p, s))
#define OFFER(p)                                                                                             \
    STEP(SERVES(p) && amnesiac != NONE && met == term[p] && CONFIRMED && bar == 0,                           \
         ("site %d readmits the rebuilt one at %d\n", p, commit[p]), bar = commit[p])
#define READMIT(s)                                                                                           \
    STEP(amnesiac == s + 1 && bar > 0 && term[s] == met, ("site %d, rebuilt, looks whether it votes again\n", s), readmit(s))

#define EACH_SITE(X) X(0) X(1) X(2)
#define EACH_DATA_SITE(X) X(0) X(1)
#define EACH_PAIR(X) X(0, 1) X(0, 2) X(1, 0) X(1, 2)

#if ENTRIES == 2
#define EACH_LENGTH(X, s, t) X(s, t, 1) X(s, t, 2)
#define EACH_COMMIT(p) COMMIT(p, 1) COMMIT(p, 2)
#elif ENTRIES == 3
#define EACH_LENGTH(X, s, t) X(s, t, 1) X(s, t, 2) X(s, t, 3)
#define EACH_COMMIT(p) COMMIT(p, 1) COMMIT(p, 2) COMMIT(p, 3)
#elif ENTRIES == 4
#define EACH_LENGTH(X, s, t) X(s, t, 1) X(s, t, 2) X(s, t, 3) X(s, t, 4)
#define EACH_COMMIT(p) COMMIT(p, 1) COMMIT(p, 2) COMMIT(p, 3) COMMIT(p, 4)
#endif
#if TERMS == 2
#define EACH_TERM(X, s) X(s, 1) X(s, 2)
#elif TERMS == 3
#define EACH_TERM(X, s) X(s, 1) X(s, 2) X(s, 3)
#elif TERMS == 4
#define EACH_TERM(X, s) X(s, 1) X(s, 2) X(s, 3) X(s, 4)
#endif
#define HEAR_ANY(s, t) HEAR(s, t, 0) EACH_LENGTH(HEAR, s, t)
#define HEAR_EACH(s) EACH_TERM(HEAR_ANY, s)
#define FETCH_ANY(s, t) EACH_LENGTH(FETCH, s, t)
#define FETCH_EACH(s) EACH_TERM(FETCH_ANY, s)

init {
end:
    do
    EACH_DATA_SITE(STAND)
    EACH_PAIR(VOTE_FOR)
    EACH_DATA_SITE(ELECTED)
    EACH_DATA_SITE(FETCH_EACH)
    EACH_DATA_SITE(APPEND)
    EACH_SITE(HEAR_EACH)
    EACH_DATA_SITE(EACH_COMMIT)
    EACH_PAIR(LEASE)
    EACH_DATA_SITE(LEASE_ENDS)
    EACH_SITE(PROMISE_ENDS)
    EACH_DATA_SITE(HAND_OVER)
    EACH_DATA_SITE(TAKE_OVER)
    EACH_DATA_SITE(TAKE_BACK)
    EACH_SITE(RESTART)
    EACH_SITE(WRITTEN)
    EACH_SITE(POWER_CUT)
    EACH_SITE(WIPE)
    EACH_PAIR(MEET)
    EACH_DATA_SITE(OFFER)
    EACH_SITE(READMIT)
    od
}
