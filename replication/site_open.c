/* What a site finds on its disk, opened in the order in which one part needs the other: the promise (vote), the state, put back
 * to its last checkpoint, the log, recovered from there, and the protocol core, which is told all of it. */
#include "replication/site_init.h"
#include "replication/site_parts.h"

#include "store/core/hex.h"
#include "store/io/map_guard.h"

int site_open_promise(struct site *s, struct err *e)
{
    char path[SITE_PATH_BYTES + 32], found[UUID_TEXT_BYTES], wanted[UUID_TEXT_BYTES];
    (void)snprintf(path, sizeof path, "%s/vote", s->config->data_dir);
    int rc = vote_open(&s->vote_file, path, &s->vote, e);
    if (rc == ERR_NOT_FOUND)
        rc = err_set(e, ERR_INTEGRITY, "%s is missing: this site cannot know what it promised",
                     path);
    if (rc == 0 && !uuid_equal(&s->vote.cluster_id, &s->config->cluster_id))
        rc = err_set(
            e, ERR_DENIED,
            "%s belongs to cluster %s, the configuration says %s: it was not made with the "
            "rest of this directory; put the right one back",
            path, uuid_text(&s->vote.cluster_id, found), uuid_text(&s->config->cluster_id, wanted));
    return rc;
}

/* A process died of a fault in the state's file: nothing of it is believed before all was read. */
static int verify_marked(struct site *s, const char *dir, struct err *e)
{
    uint64_t records, damaged;
    if (!map_guard_marked(dir))
        return 0;
    events_add(s->events, "state: the last process died of a fault in its file, all of it is "
                          "verified before it is served");
    int rc = map_guard_verify(dir, &records, &damaged, e);
    if (rc != 0)
        return err_wrap(e, "verifying the state in %s after a fault in its file", dir);
    events_add(s->events, "state: verified, %llu records, %llu of them damaged%s",
               (unsigned long long)records, (unsigned long long)damaged,
               damaged == 0 ? "" : ": the scrub has them repaired by another site");
    return 0;
}

static void tell_log(const struct site *s, const struct log_status *log, struct lsn applied)
{
    char held[64];
    if (log->last.lsn.v > log->first.lsn.v)
        (void)snprintf(held, sizeof held, "lsn %llu..%llu",
                       (unsigned long long)log->first.lsn.v + 1,
                       (unsigned long long)log->last.lsn.v);
    else
        (void)snprintf(held, sizeof held, "no entries, the next is lsn %llu",
                       (unsigned long long)log->last.lsn.v + 1);
    events_add(s->events, "log: %s, %llu segments, engine %s (%s); state at lsn %llu", held,
               (unsigned long long)log->segments, log_engine_name(log->engine), log->engine_reason,
               (unsigned long long)applied.v);
    if (log->note[0] != '\0')
        events_add(s->events, "log: %s", log->note);
}

int site_open_store(struct site *s, struct err *e)
{
    const struct site_config *c = s->config;
    char dir[SITE_PATH_BYTES + 32];
    (void)snprintf(dir, sizeof dir, "%s/state", c->data_dir);
    int rc = map_guard_arm(dir, e);
    if (rc == 0)
        rc = verify_marked(s, dir, e);
    if (rc != 0)
        return rc;
    rc = state_open(&s->state,
                    &(struct state_options){.dir = dir,
                                            .cluster_id = c->cluster_id,
                                            .history_us = c->history_us,
                                            .history_bytes = c->history_bytes},
                    e);
    if (rc != 0)
        return err_wrap(e, "opening the state");
    struct entry_position start = state_applied(s->state);
    (void)snprintf(dir, sizeof dir, "%s/log", c->data_dir);
    if (s->vote.log_begun && site_log_is_gone(dir))
        return err_set(e, ERR_INTEGRITY,
                       "%s holds no segment, but this site had a log in term %llu; its state is "
                       "at lsn %llu, and what it acknowledged since may be gone (R5)",
                       dir, (unsigned long long)s->vote.term.v, (unsigned long long)start.lsn.v);
    rc = log_open(&s->log,
                  &(struct log_options){.dir = dir,
                                        .cluster_id = c->cluster_id,
                                        .segment_bytes = c->segment_bytes,
                                        .limit_bytes = c->log_limit_bytes,
                                        .reserve_bytes = c->reserve_bytes,
                                        .engine = c->engine,
                                        .held = true,
                                        .lent = c->member_count == 1, /* driver_push() */
                                        .on_durable = site_log_durable,
                                        .on_failed = site_log_failed,
                                        .arg = s},
                  &start, e);
    if (rc != 0)
        return err_wrap(e, "opening the log");
    struct log_status log;
    log_status(s->log, &log);
    s->tail = log.last;
    s->mode_after = log.last.lsn; /* what is in it is not known: nothing was read of it yet */
    if (log.last.lsn.v > 0)       /* how old what comes before it is can be found in the log only */
        timeline_note(&s->timeline, log.last.lsn, log.last.time, 0);
    (void)site_commit_time(s); /* what the wall clock says now is what commit time begins with */
    if (log.segments > 0)
        rc = driver_log_begun(s, e);
    if (rc != 0)
        return rc;
    marks_start(&s->marks, log.last.lsn, start.lsn, c->members[c->self].kind == SITE_REPOSITORY);
    driver_retain_from(s, &log);
    tell_log(s, &log, start.lsn);
    return 0;
}

/* The index of whom this site voted for. A name that is no member's any more is nobody that could be met: the vote of its term
 * is given away. */
static uint8_t voted_for(const struct site *s)
{
    const struct site_config *c = s->config;
    if (s->vote.voted_for[0] == '\0')
        return REPL_NOBODY;
    for (uint8_t i = 0; i < c->member_count; i++)
        if (strcmp(c->members[i].name, s->vote.voted_for) == 0)
            return i;
    return REPL_SITES_MAX;
}

int site_open_core(struct site *s, struct err *e)
{
    const struct site_config *c = s->config;
    struct log_status log;
    struct log_run log_runs_found[REPL_RUNS_MAX];
    struct repl_run runs[REPL_RUNS_MAX];
    log_status(s->log, &log);
    size_t n = log_runs(s->log, log_runs_found, REPL_RUNS_MAX);
    for (size_t i = 0; i < n; i++)
        runs[i] = (struct repl_run){log_runs_found[i].term, log_runs_found[i].from};

    struct state_snapshot *snap;
    struct state_totals totals;
    int rc = site_snapshot(s, &snap, e);
    if (rc == 0)
        rc = state_totals(snap, &totals, e);
    if (rc != 0)
        return rc;
    uint64_t seed;
    uint8_t salt[ENTRY_SALT_BYTES];
    rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    memcpy(&seed, salt, sizeof seed);
    s->read_capacity = REPL_BATCH_BYTES;
    s->read_buffer = malloc(s->read_capacity);
    struct member_lists lists;
    rc = s->read_buffer != NULL ? members_find(s, &lists, e)
                                : err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc != 0)
        return rc;
    struct repl_options options = {.self = (uint8_t)c->self,
                                   .sites = REPL_SITES_MAX,
                                   .policy = c->policy,
                                   .heartbeat_ms = c->heartbeat_ms,
                                   .election_ms = c->election_ms,
                                   .lease_ms = c->lease_ms,
                                   .seed = seed};
    for (uint32_t i = 0; i < REPL_SITES_MAX; i++)
        options.names[i] = c->members[i].name;
    s->repl = calloc(1, repl_size());
    s->actions = calloc(1, sizeof *s->actions);
    s->overlay = overlay_new(seed);
    if (s->repl == NULL || s->actions == NULL || s->overlay == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    repl_init(s->repl, &options,
              &(struct repl_start){.now_ms = site_now_ms(),
                                   .term = s->vote.term,
                                   .voted_for = voted_for(s),
                                   .incarnation = s->vote.incarnation,
                                   .may_vote = s->vote.may_vote,
                                   .first = log.first.lsn,
                                   .last = log.last,
                                   .runs = runs,
                                   .run_count = (uint32_t)n,
                                   .commit = s->marks.commit,
                                   .mode = totals.mode,
                                   .lists = lists.v,
                                   .list_count = lists.n});
    repl_view(s->repl, &s->view);
    s->list_moved = true;
    members_follow(s);
    return 0;
}
