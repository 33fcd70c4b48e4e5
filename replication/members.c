/* The list of members as a site has it: names and addresses by slot, lists in entries turned into the core's sets of slots, and
 * back.
 *
 * SLOTS. Each site numbers the names that it has met for itself: first those of its configuration file, then what lists in its
 * log add. A slot is never given to another name while the process lives, so nothing that the core, the links or the
 * comparison of states remember of one site is ever taken for another's; a restart begins anew, with the file and the lists that
 * still matter.
 *
 * ADDRESSES are those of the list in force: of its entry, or of the file while there is none. A list that is only read, is
 * refused, or is cut again has changed none of them.
 *
 * WHICH LIST. The newest one in the log is in force (replication/core/repl_members.c). The file's is the list at lsn 0, for as
 * long as there is no other; afterwards it only says where to look for the others. */
#include "replication/site_init.h"
#include "replication/site_parts.h"

#include "store/core/check.h"

static struct site_member *slot_of(struct site *s, struct bytes name, uint8_t *slot)
{
    struct site_config *c = &s->own_config;
    for (*slot = 0; *slot < c->member_count; (*slot)++)
        if (bytes_equal(bytes_str(c->members[*slot].name), name))
            return &c->members[*slot];
    if (c->member_count == REPL_SITES_MAX)
        return NULL;
    struct site_member *m = &c->members[*slot];
    (void)snprintf(m->name, sizeof m->name, "%.*s", (int)name.n, (const char *)name.p);
    return m;
}

static void copy(char *to, size_t n, struct bytes from)
{
    (void)snprintf(to, n, "%.*s", (int)from.n, (const char *)from.p);
}

static void note(struct site_member *m, const struct body_member *from)
{
    m->kind = from->kind == MEMBER_REPOSITORY ? SITE_REPOSITORY : SITE_DATA;
    copy(m->peer, sizeof m->peer, from->peer);
    copy(m->client, sizeof m->client, from->client);
}

static int to_slots(struct site *s, const struct body_members *b, struct repl_members *out,
                    struct err *e)
{
    struct site_config *c = &s->own_config;
    *out = (struct repl_members){0};
    for (uint32_t i = 0; i < b->count; i++) {
        const struct body_member *from = &b->members[i];
        uint8_t slot;
        struct site_member *m = slot_of(s, from->name, &slot);
        if (m == NULL)
            return err_set(e, ERR_LIMIT,
                           "this process has met %d names of sites, and there is no room for "
                           "'%.*s': start the site again",
                           REPL_SITES_MAX, (int)from->name.n, (const char *)from->name.p);
        if (slot == c->member_count) {
            note(m, from);
            c->member_count++;
        }
        if (from->lost) {
            out->lost |= (uint8_t)(1u << slot);
            continue;
        }
        out->all |= (uint8_t)(1u << slot);
        out->voters |= (uint8_t)((unsigned)from->votes << slot);
        out->electable |= (uint8_t)((unsigned)(from->kind == MEMBER_DATA) << slot);
    }
    return 0;
}

int members_read(struct site *s, struct bytes body, struct repl_members *out, struct err *e)
{
    struct body_members b;
    int rc = body_read_members(body, &b, e);
    if (rc == 0 && !uuid_equal(&b.cluster_id, &s->config->cluster_id))
        rc = err_set(e, ERR_FORMAT, "members body: it is of another cluster");
    return rc != 0 ? rc : to_slots(s, &b, out, e);
}

/* ---- what is found at the start ---- */

/* What this site says of the list at lsn 0: a logged list knows, else site.json does. */
static void founded_by(struct site *s, struct bytes body)
{
    struct body_members b;
    check(body_read_members(body, &b, NULL) == 0);
    copy(s->members, sizeof s->members, b.founded);
}

static int found(struct site *s, struct lsn lsn, struct bytes body, struct member_lists *out,
                 struct err *e)
{
    struct repl_members m;
    int rc = members_read(s, body, &m, e);
    if (rc != 0)
        return err_wrap(e, "the list of members at lsn %llu", (unsigned long long)lsn.v);
    if (out->n == 2) { /* two are enough, see repl_members.c */
        out->v[0] = out->v[1];
        out->n--;
    }
    out->v[out->n++] = (struct repl_member_list){lsn, m};
    out->logged = true;
    founded_by(s, body);
    return 0;
}

static int of_state(struct site *s, struct member_lists *out, struct err *e)
{
    struct state_snapshot *snap;
    struct record r;
    struct body_members b;
    int rc = site_snapshot(s, &snap, e);
    if (rc == 0)
        rc = state_get(snap, bytes_str(MEMBERS_COLLECTION), bytes_str(MEMBERS_KEY), &r, e);
    if (rc == ERR_NOT_FOUND) {
        *e = (struct err)ERR_NONE;
        return 0;
    }
    if (rc == 0)
        rc = body_read_members(r.value, &b, e);
    if (rc != 0)
        return err_wrap(e, "the list of members in the state");
    if (!uuid_equal(&b.cluster_id, &s->config->cluster_id))
        return 0; /* came with a restored state */
    out->n = 0;   /* it is never cut: what was before it does not matter */
    return found(s, r.lsn, r.value, out, e);
}

/* The lists in the log behind the state. */
static int of_log(struct site *s, struct member_lists *out, struct err *e)
{
    struct lsn from = {state_applied(s->state).lsn.v + 1};
    while (from.v <= s->tail.lsn.v) {
        size_t used = 0, count = 0;
        struct lsn to = {from.v + REPL_BATCH_ENTRIES_MAX};
        int rc = log_read(s->log, from, to, s->read_buffer, s->read_capacity, &used, &count, e);
        if (rc == ERR_LIMIT) {
            uint8_t *p = realloc(s->read_buffer, used);
            if (p == NULL)
                return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of entries", used);
            s->read_buffer = p;
            s->read_capacity = used;
            continue;
        }
        if (rc != 0)
            return rc;
        const uint8_t *p = s->read_buffer;
        for (size_t i = 0; i < count; i++, from.v++) {
            struct entry_header h;
            rc = entry_header_decode(p, &h, e);
            p += ENTRY_HEADER_BYTES;
            if (rc == 0 && h.kind == ENTRY_MEMBERS)
                rc = found(s, h.lsn, bytes_of(p, h.body_bytes), out, e);
            if (rc != 0)
                return rc;
            p += h.body_bytes;
        }
    }
    return 0;
}

/* The list at lsn 0 is the file's, and site.json remembers it: one that was cut down by hand would make a second primary. A
 * site that joins has none. */
static void of_file(struct site *s, struct member_lists *out)
{
    const struct site_config *c = s->config;
    struct repl_member_list first = {.lsn = {0}};
    for (uint8_t i = 0; s->members[0] != '\0' && i < c->member_count; i++) {
        first.members.all |= (uint8_t)(1u << i);
        first.members.electable |= (uint8_t)((unsigned)(c->members[i].kind == SITE_DATA) << i);
    }
    first.members.voters = first.members.all;
    out->v[out->n++] = first;
}

int members_find(struct site *s, struct member_lists *out, struct err *e)
{
    struct err differs = ERR_NONE;
    *out = (struct member_lists){.n = 0};
    if (s->members[0] != '\0')
        (void)site_check_identity(s->config, &differs); /* now: lists in the log bring more names */
    of_file(s, out);
    int rc = of_state(s, out, e);
    if (rc == 0)
        rc = of_log(s, out, e);
    /* The first list may still be the one in force, or the one before. */
    if (rc == 0 && out->v[0].lsn.v == 0 && differs.code != 0) {
        *e = differs;
        rc = differs.code;
    }
    if (rc != 0 || !out->logged)
        return rc;
    events_add(s->events, "members: as of the list at lsn %llu",
               (unsigned long long)out->v[out->n - 1].lsn.v);
    return 0;
}

/* ---- the list in force ---- */

/* The body of the list at that lsn, lent until the log is read again; empty: neither log nor state has it. */
static struct bytes body_at(struct site *s, struct lsn lsn)
{
    struct state_snapshot *snap;
    struct record r;
    struct entry_header h;
    size_t used = 0, count = 0;
    if (log_read(s->log, lsn, lsn, s->read_buffer, s->read_capacity, &used, &count, NULL) == 0 &&
        count == 1 && entry_header_decode(s->read_buffer, &h, NULL) == 0 && h.kind == ENTRY_MEMBERS)
        return bytes_of(s->read_buffer + ENTRY_HEADER_BYTES, h.body_bytes);
    if (site_snapshot(s, &snap, NULL) == 0 &&
        state_get(snap, bytes_str(MEMBERS_COLLECTION), bytes_str(MEMBERS_KEY), &r, NULL) == 0 &&
        r.lsn.v == lsn.v)
        return r.value;
    return (struct bytes){NULL, 0};
}

void members_take_addresses(struct site *s)
{
    struct site_config *c = &s->own_config;
    struct body_members b;
    if (s->view.list.lsn.v == 0) {
        memcpy(c->members, s->file_members, s->file_member_count * sizeof c->members[0]);
        return;
    }
    if (body_read_members(body_at(s, s->view.list.lsn), &b, NULL) != 0)
        return; /* they stay as they were */
    for (uint32_t i = 0; i < b.count; i++) {
        uint8_t slot;
        struct site_member *m = slot_of(s, b.members[i].name, &slot);
        if (m != NULL)
            note(m, &b.members[i]);
    }
}

/* ---- a new list ---- */

static void write_list(struct site *s, const struct repl_members *m, struct bytes by,
                       const uint8_t *salt, struct writer *w)
{
    const struct site_config *c = s->config;
    struct body_members b = {
        .cluster_id = c->cluster_id, .by = by, .founded = bytes_str(s->members)};
    for (const char *last = NULL;;) {
        const struct site_member *next = NULL; /* the least name after `last` */
        uint8_t slot = 0;
        for (uint8_t i = 0; i < c->member_count; i++) {
            const struct site_member *x = &c->members[i];
            if (((m->all | m->lost) >> i & 1) != 0 && (last == NULL || strcmp(x->name, last) > 0) &&
                (next == NULL || strcmp(x->name, next->name) < 0)) {
                next = x;
                slot = i;
            }
        }
        if (next == NULL)
            break;
        last = next->name;
        b.members[b.count++] = (struct body_member){
            .name = bytes_str(next->name),
            .kind = next->kind == SITE_REPOSITORY ? MEMBER_REPOSITORY : MEMBER_DATA,
            .votes = (m->voters >> slot & 1) != 0,
            .lost = (m->lost >> slot & 1) != 0,
            .peer = bytes_str(next->peer),
            .client = bytes_str(next->client)};
    }
    body_write_members(w, salt, &b);
}

static bool is_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return n > 0 && n <= SITE_NAME_MAX_BYTES && name[n] == '\0';
}

static bool is_endpoint(const char *text)
{
    const char *colon = text != NULL ? strrchr(text, ':') : NULL;
    return colon != NULL && colon != text && colon[1] != '\0' && strlen(text) < SITE_ENDPOINT_BYTES;
}

static int add(struct site *s, const char *name, json_t *arguments, struct repl_members *m,
               struct err *e)
{
    const char *kind = json_string_value(json_object_get(arguments, "kind"));
    const char *peer = json_string_value(json_object_get(arguments, "peer"));
    const char *client = json_string_value(json_object_get(arguments, "client"));
    bool repository = kind != NULL && strcmp(kind, "repository") == 0;
    if (!repository && (kind == NULL || strcmp(kind, "data") != 0))
        return err_set(e, ERR_USAGE, "kind must be data or repository");
    if (!is_name(name) || !is_endpoint(peer) || !is_endpoint(client))
        return err_set(e, ERR_USAGE,
                       "a member has a name of letters, digits, '-' and '_', and host:port for "
                       "sites and for clients");
    struct body_members b = {.count = 1};
    b.members[0] = (struct body_member){.name = bytes_str(name),
                                        .kind = repository ? MEMBER_REPOSITORY : MEMBER_DATA,
                                        .peer = bytes_str(peer),
                                        .client = bytes_str(client)};
    struct repl_members one;
    uint8_t slot;
    int rc = to_slots(s, &b, &one, e);
    if (rc == 0) /* it is no member: nobody looks for it yet where it was before */
        note(slot_of(s, bytes_str(name), &slot), &b.members[0]);
    m->all |= one.all;
    m->lost &= (uint8_t)~one.all;
    m->electable |= one.electable;
    return rc;
}

static bool is_lost(const struct site *s, const char *name)
{
    for (uint8_t i = 0; i < s->config->member_count; i++)
        if ((s->view.list.members.lost >> i & 1) != 0 &&
            strcmp(s->config->members[i].name, name) == 0)
            return true;
    return false;
}

/* What the list in force becomes by this order. */
static int changed(struct site *s, const char *what, const char *name, json_t *arguments,
                   struct repl_members *m, struct err *e)
{
    uint8_t slot = REPL_NOBODY;
    *m = s->view.list.members;
    for (uint8_t i = 0; i < s->config->member_count; i++)
        if ((m->all >> i & 1) != 0 && strcmp(s->config->members[i].name, name) == 0)
            slot = i;
    if (strcmp(what, "member-add") == 0)
        return slot == REPL_NOBODY ? add(s, name, arguments, m, e)
                                   : err_set(e, ERR_EXISTS, "'%s' is a member already", name);
    if (slot == REPL_NOBODY)
        return err_set(e, ERR_NOT_FOUND, "no member is called '%.40s'%s", name,
                       is_lost(s, name) ? ": it was declared lost, and can be added again" : "");
    uint8_t bit = (uint8_t)(1u << slot), votes = m->voters & bit;
    if (strcmp(what, "member-promote") == 0) {
        m->voters |= bit;
        return votes == 0 ? 0 : err_set(e, ERR_EXISTS, "'%s' votes already", name);
    }
    m->voters &= (uint8_t)~bit;
    if (strcmp(what, "member-demote") == 0)
        return votes != 0 ? 0 : err_set(e, ERR_EXISTS, "'%s' has no vote", name);
    m->all &= (uint8_t)~bit;
    m->electable &= (uint8_t)~bit;
    return 0;
}

int members_order(struct site *s, const char *what, json_t *arguments, struct bytes by,
                  struct writer *w, struct err *e)
{
    const char *name = json_string_value(json_object_get(arguments, "name"));
    struct repl_members m;
    uint8_t salt[ENTRY_SALT_BYTES];
    if (name == NULL)
        return err_set(e, ERR_USAGE, "the name of a member is needed");
    int rc = changed(s, what, name, arguments, &m, e);
    if (rc == 0 && s->view.commit.v < s->view.list.lsn.v)
        rc = err_set(e, ERR_BUSY, "a change of the members is under way: try again");
    if (rc == 0)
        rc = salts_next(&s->salts, salt, e);
    if (rc == 0)
        write_list(s, &m, by, salt, w);
    return rc;
}

int members_solo(struct site *s, struct bytes by, struct writer *w, struct repl_members *out,
                 struct err *e)
{
    const struct repl_members *now = &s->view.list.members;
    const uint8_t self = (uint8_t)(1u << s->config->self);
    const uint8_t lost = (uint8_t)((now->voters | now->lost) & ~self);
    uint8_t salt[ENTRY_SALT_BYTES];
    *out = (struct repl_members){.all = (uint8_t)(now->all & ~lost),
                                 .voters = self,
                                 .electable = (uint8_t)(now->electable & ~lost),
                                 .lost = lost};
    int rc = salts_next(&s->salts, salt, e);
    if (rc == 0)
        write_list(s, out, by, salt, w);
    return rc;
}

bool members_alone(const struct site *s)
{
    const struct repl_members *m = &s->view.list.members;
    return m->lost != 0 && (m->voters & (m->voters - 1)) == 0;
}

json_t *members_json(const struct site *s)
{
    const struct repl_member_list *l = &s->view.list;
    json_t *all = json_array(), *lost = json_array();
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        const struct site_member *m = &s->config->members[i];
        if ((l->members.all >> i & 1) != 0)
            json_array_append_new(all,
                                  json_pack("{s:s, s:s, s:b, s:s, s:s}", "name", m->name, "kind",
                                            m->kind == SITE_REPOSITORY ? "repository" : "data",
                                            "votes", (int)(l->members.voters >> i & 1), "peer",
                                            m->peer, "client", m->client));
        if ((l->members.lost >> i & 1) != 0)
            json_array_append_new(lost, json_string(m->name));
    }
    return json_pack("{s:I, s:b, s:o, s:o}", "lsn", (json_int_t)l->lsn.v, "committed",
                     (int)(s->view.commit.v >= l->lsn.v), "members", all, "lost", lost);
}
