/* What follows from the list of members beside the core: addresses, links, and a word to who keeps the configuration.
 *
 * LINKS are kept to the members, and to nobody else: at both ends, for each closes what its own list does not have, and says why
 * to the other. A site that was removed is let go when it knows: when it has applied the list without it, as the primary sees,
 * or some seconds after that list is committed, for one that is behind, or asked another site. It is no member any more when it
 * comes back, and is refused with that word. A site that is in no list (it joins, or was removed itself) goes on knocking at all
 * that it knows: it may be added. A site that was declared lost keeps its links: so it is told that it was
 * (replication/core/repl_solo.c). */
#include "replication/site_parts.h"

enum { LET_GO_MS = 5000 };

static bool in(uint8_t set, uint8_t slot)
{
    return ((unsigned)set >> slot & 1u) != 0;
}

/* With whom the list in force has links. */
static uint8_t linked(const struct site *s)
{
    return s->view.list.members.all | s->view.list.members.lost;
}

bool members_linked(const struct site *s, uint8_t slot, struct err *e)
{
    const struct repl_member_list *l = &s->view.list;
    if (!in(l->members.all, (uint8_t)s->config->self) || in(linked(s) | s->let_go.slots, slot))
        return true;
    (void)err_set(e, ERR_DENIED,
                  "%s is no member of the cluster, as of the list at lsn %llu: stop it, or add it "
                  "(triveni member add)",
                  s->config->members[slot].name, (unsigned long long)l->lsn.v);
    return false;
}

/* Has the removed site heard of it, or had time enough? */
static bool may_go(const struct site *s, uint8_t slot)
{
    const struct repl_member_list *l = &s->view.list;
    if (s->view.commit.v < l->lsn.v)
        return false;
    bool knows = s->view.role == REPL_PRIMARY && s->view.peers[slot].applied.v >= l->lsn.v;
    return knows || !s->peers[slot].up || site_now_ms() >= s->let_go.since_ms + LET_GO_MS;
}

static void let_go(struct site *s)
{
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        if (!in(s->let_go.slots, i) || !may_go(s, i))
            continue;
        struct err why = ERR_NONE;
        s->let_go.slots &= (uint8_t) ~(1u << i);
        if (!members_linked(s, i, &why))
            peers_drop(s, i, &why);
    }
}

bool members_file_differs(const struct site *s, char *out, size_t n)
{
    const uint8_t all = s->view.list.members.all;
    size_t at = 0;
    out[0] = '\0';
    for (uint8_t i = 0; i < s->config->member_count && in(all, (uint8_t)s->config->self); i++) {
        const bool in_file = i < s->file_member_count;
        if (in_file == in(all, i) || at >= n)
            continue;
        at += (size_t)snprintf(out + at, n - at, "%s%s %s", at == 0 ? "" : ", ",
                               in_file ? "names" : "lacks", s->config->members[i].name);
    }
    return at != 0;
}

static void say_what_the_file_lacks(struct site *s)
{
    char how[ERR_TEXT_BYTES / 2];
    if (members_file_differs(s, how, sizeof how))
        events_add(
            s->events,
            "members: the configuration file of this site %s: bring its 'members' in line with "
            "'triveni member list' (nothing waits for that)",
            how);
}

void members_follow(struct site *s)
{
    if (s->list_moved) {
        const uint8_t all = s->view.list.members.all;
        s->list_moved = false;
        members_take_addresses(s);
        s->let_go.slots = 0;
        s->let_go.since_ms = site_now_ms();
        for (uint8_t i = 0; i < s->config->member_count; i++) {
            if (in(linked(s), i))
                peers_added(s, i);
            else if (in(all, (uint8_t)s->config->self) && s->peers[i].site != NULL)
                s->let_go.slots |= (uint8_t)(1u << i);
        }
        if (s->view.list.lsn.v != 0)
            say_what_the_file_lacks(s);
    }
    if (s->let_go.slots != 0)
        let_go(s);
}
