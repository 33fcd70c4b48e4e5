/* What is wrong at this site now (P10): one sentence each, with the reason that the part itself gave, for `status`. An empty list
 * says that nothing is wrong that a site can know of itself; what only a comparison of sites shows is found by whoever asks
 * them. */
#include "replication/service.h"

enum { PROBE_BYTES = 4096 }; /* a small transaction: is there room for one? */
enum {
    LINK_GRACE_MS = 3000
}; /* after the start, before a link that another site opens is missed */

static void __attribute__((format(printf, 2, 3))) add(json_t *list, const char *fmt, ...)
{
    char text[2 * ERR_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_t *line = json_string(text);
    (void)json_array_append_new(list, line != NULL ? line : json_string("(not UTF-8)"));
}

static void add_line(void *arg, const char *text)
{
    add(arg, "%s", text);
}

static void add_disks(struct site *s, json_t *list)
{
    struct err why = ERR_NONE;
    if (log_room(s->log, PROBE_BYTES, &why) == ERR_NO_SPACE)
        add(list, "the log takes no more: %s", why.text);
    else if (s->log_refused_told)
        add(list, "entries from the primary are not taken: %s", s->log_refused.text);
    if (applier_disk_full(s->applier, &why) || applier_disk_low(s->applier, &why))
        add(list, "the state takes no more: %s", why.text);
    char trouble[ERR_TEXT_BYTES];
    if (scrubber_trouble(s->scrubber, trouble))
        add(list, "%s", trouble);
    if (s->archiver == NULL)
        return;
    struct repository_status archive;
    archiver_status(s->archiver, &archive, trouble);
    if (trouble[0] != '\0')
        add(list, "%s", trouble);
    archiver_tree_trouble(s->archiver, trouble);
    if (trouble[0] != '\0')
        add(list, "%s", trouble);
    for (size_t i = 0; copies_trouble(archiver_copies(s->archiver), i, trouble); i++)
        if (trouble[0] != '\0')
            add(list, "%s", trouble);
    archiver_index_trouble(s->archiver, trouble);
    if (trouble[0] != '\0')
        add(list, "%s", trouble);
    drills_trouble(s->drills, add_line, list);
    archive_scrub_trouble(s->archive_scrub, add_line, list);
    disposer_trouble(archiver_disposer(s->archiver), trouble);
    if (trouble[0] != '\0')
        add(list, "%s", trouble);
    if (archive.damaged > 0 && s->archive_scrub == NULL) /* which names them */
        add(list, "archive: %llu objects are damaged: triveni archive verify names them",
            (unsigned long long)archive.damaged);
}

static void add_clock(struct site *s, json_t *list)
{
    long long seconds = s->clock_jump_us / 1000000;
    if (seconds > 0)
        add(list,
            "its clock is %lld s ahead of commit time, which does not follow it: if the clock is "
            "right, "
            "start the site again; if not, set it",
            seconds);
    else if (s->clock_jump_us < 0)
        add(list,
            "its clock is %lld s behind commit time, which does not go back: set it if it is "
            "wrong; if it "
            "is right, another site's was wrong",
            -seconds);
}

static void add_state(struct site *s, json_t *list)
{
    struct state_doubt doubt;
    state_doubt(s->state, &doubt);
    if (doubt.doubted)
        add(list,
            "the sums of its records are in doubt since lsn %llu, where a damaged one was "
            "overwritten, "
            "and are counted again",
            (unsigned long long)doubt.since.v);
    struct err why = ERR_NONE;
    if (applier_index_trouble(s->applier, &why))
        add(list, "%s", why.text);
    care_trouble(s, add_line, list);
}

static void add_role(struct site *s, json_t *list)
{
    char isolated[ERR_TEXT_BYTES];
    if (isolation_trouble(s, isolated, sizeof isolated))
        add(list, "%s", isolated);
    const struct repl_members *m = &s->view.list.members;
    if (members_alone(s))
        add(list,
            "RUNS ALONE since lsn %llu, the other sites were declared lost: whatever is written is "
            "on the disk of %s only. Add sites (triveni member add)",
            (unsigned long long)s->view.list.lsn.v, s->config->members[s->config->self].name);
    if (s->view.lost)
        add(list,
            "was declared lost by two operators and has no vote: when it is not broken, add it "
            "(triveni member add); else see triveni divergence list, and make it anew with triveni "
            "init --join");
    if (m->all == 0)
        add(list, "joins: waits until it is added (triveni member add) and has the list");
    else if ((m->all >> s->config->self & 1) == 0)
        add(list,
            "is no member, as of the list at lsn %llu: stop it, or add it (triveni member add)",
            (unsigned long long)s->view.list.lsn.v);
    char how[ERR_TEXT_BYTES / 2];
    if (members_file_differs(s, how, sizeof how))
        add(list,
            "its configuration file %s: bring 'members' in line with 'triveni member list' "
            "(nothing "
            "waits for that)",
            how);
    if (s->view.broken)
        add(list,
            "met a history that contradicts what is committed here: it neither votes, acknowledges "
            "nor stands; "
            "compare triveni events, then make the wrong site anew with triveni init --rebuilt");
    if (s->certificates.trouble[0] != '\0')
        add(list, "the certificate files have changed and cannot be used: %s",
            s->certificates.trouble);
    if (s->view.disk_slow)
        add(list,
            "the disk of its log is slow: a batch takes %u ms, usually %u ms: look for what else "
            "uses it, or for errors in the kernel's log",
            s->view.disk_ms, s->view.disk_usual_ms);
    if (!s->view.may_vote && !s->view.lost)
        add(list, "was rebuilt or declared lost, and does not vote before it has caught up");
    if (s->view.role != REPL_PRIMARY)
        return;
    if (s->view.handover <= REPL_HANDOVER_WAIT && !repl_lease_valid(s->repl, site_now_ms()))
        add(list, "is primary, but no majority confirms it: it answers nothing until one does");
    if (s->service->paused)
        add(list, "clients are paused: more than %llu MiB are in flight to the state",
            (unsigned long long)(s->config->memory_bytes >> 20));
}

/* A site that opens the link to us has given no reason that we know of; but perhaps somebody was refused just now. */
static void add_link(struct site *s, json_t *list, uint8_t i)
{
    const char *name = s->config->members[i].name;
    uint64_t now = site_now_ms();
    if (s->peers[i].why[0] != '\0')
        add(list, "link to %s: %s", name, s->peers[i].why);
    else if (!peers_opens(s, i) && now >= s->began_ms + LINK_GRACE_MS)
        add(list, "link to %s: none, %s opens it%s%s", name, name,
            s->refused_last_ms != 0 && now - s->refused_last_ms < QUIET_MS ? "; refused last: "
                                                                           : "",
            s->refused_last_ms != 0 && now - s->refused_last_ms < QUIET_MS ? s->refused_last : "");
}

static void add_relay(struct site *s, json_t *list)
{
    char text[ERR_TEXT_BYTES];
    if (refill_trouble(s, text))
        add(list, "%s", text);
    if (packs_trouble(s->packs, text))
        add(list,
            "the archive cannot give what another site needs: %s. That site can be brought back by "
            "hand (triveni init --help)",
            text);
}

/* Told, and not adapted to: replication/core/repl.h says why. */
static void add_slow_answers(struct site *s, json_t *list, uint8_t i)
{
    const struct site_config *c = s->config;
    uint32_t election = c->election_ms, lease = c->lease_ms, takes = s->view.peers[i].answer_ms;
    if (s->view.role != REPL_PRIMARY || takes == 0 || !s->peers[i].up ||
        repl_times_fit(takes, c->heartbeat_ms, &election, &lease))
        return;
    add(list,
        "answers of %s take %u ms, too long for lease_ms %u with heartbeat_ms %u: writes may stop "
        "and "
        "elections fail without need. Raise lease_ms to %u and election_ms to %u at all sites, "
        "while "
        "all are stopped",
        c->members[i].name, takes, c->lease_ms, c->heartbeat_ms, lease, election);
}

static void add_peers(struct site *s, json_t *list)
{
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        const struct repl_peer_view *p = &s->view.peers[i];
        const char *name = s->config->members[i].name;
        if (i == s->config->self || (s->view.list.members.all >> i & 1) == 0)
            continue;
        if (!s->peers[i].up)
            add_link(s, list, i);
        add_slow_answers(s, list, i);
        if (s->unreadable[i][0] != '\0')
            add(list,
                "the log is damaged where %s needs it: %s. %s takes it from another site; then "
                "bring this site back (triveni init --help)",
                name, s->unreadable[i], name);
        else if (p->needs_refill)
            add(list,
                "%s is behind the log that is kept here: it refills from the repository, see what "
                "it says itself",
                name);
        if (p->suspect)
            add(list,
                "%s acknowledged something else than was sent, or lost what it acknowledged: it is "
                "not counted",
                name);
    }
}

json_t *trouble_json(struct site *s)
{
    json_t *list = json_array();
    add_disks(s, list);
    add_clock(s, list);
    add_role(s, list);
    add_peers(s, list);
    add_relay(s, list);
    add_state(s, list);
    char exporting[ERR_TEXT_BYTES];
    if (exporter_trouble(s->exporter, exporting))
        add(list, "%s", exporting);
    divergence_trouble(s, add_line, list);
    collector_trouble(s, add_line, list);
    cosigner_trouble(s, add_line, list);
    return list;
}
