/* Comparing the states of the sites (P9). The primary chooses an lsn, a little ahead while entries come; each site's applier
 * ends a batch exactly there and keeps its sums; equal totals end it, in constant time. Otherwise the 4,096 buckets say where,
 * and the keys and versions in the differing ones say which records.
 *
 * WHO IS WRONG. Whoever differs from what a majority of all sites has. When no majority agrees (two of three are there, say), it
 * cannot be told; then the site that is not primary counts as wrong, because it is the one that must not be promoted unseen.
 *
 * NAMING is done while records change, so a record counts as different only when two lists in a row say so, and when neither
 * site changed it after the lsn of the comparison. */
#include "replication/care_parts.h"

#include "store/core/check.h"
#include "store/io/state_rows.h"

#include <stdarg.h>
#include <unistd.h>

enum {
    SCAN_BYTES = 64 << 20,      /* of records looked at for one answer */
    LIST_MAX_BYTES = 256 << 20, /* of keys of one bucket */
    NAMES_MAX = 8,
    NAME_BYTES = 2 * ROW_QUOTE_BYTES + 40,
    BUCKETS_NAMED = 4, /* whose records are named */
    BUCKETS_TOLD = 8,
    NAME_AGAIN_MS = 60 * 1000,
    POLL_MS = 5,
};

/* ---- the keys of a bucket ---- */

struct list {
    uint8_t *p;
    size_t n, cap;
    uint32_t count;
    struct lsn lsn; /* of the state when it was begun */
    bool more;      /* go on after: */
    uint8_t collection[COLLECTION_MAX_BYTES], key[KEY_MAX_BYTES];
    size_t collection_bytes, key_bytes;
};

static int add_bytes(struct list *l, const void *p, size_t n, struct err *e)
{
    if (l->n + n > l->cap) {
        size_t cap = l->cap == 0 ? 64 << 10 : 2 * l->cap;
        while (cap < l->n + n)
            cap *= 2;
        uint8_t *more = cap > LIST_MAX_BYTES ? NULL : realloc(l->p, cap);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the keys of a bucket");
        l->p = more;
        l->cap = cap;
    }
    if (n != 0)
        memcpy(l->p + l->n, p, n);
    l->n += n;
    return 0;
}

static void set_place(struct list *l, struct bytes collection, struct bytes key)
{
    l->collection_bytes = collection.n;
    l->key_bytes = key.n;
    memcpy(l->collection, collection.p, collection.n);
    memcpy(l->key, key.p, key.n);
}

static int add_record(struct list *l, const struct record *r, bool damaged, struct err *e)
{
    uint8_t row[COLLECTION_MAX_BYTES + KEY_MAX_BYTES + 64];
    struct writer w = writer_of(row, sizeof row);
    struct care_row out = {.collection = r->collection, .key = r->key};
    if (!damaged) {
        out.lsn = r->lsn;
        out.digest = digest_record(r->collection, r->key, r->lsn, r->value);
    }
    care_write_row(&w, &out);
    check(!w.bad);
    l->count++;
    return add_bytes(l, row, w.at, e);
}

/* Records of the bucket from the place on: about max_bytes of rows, after at most SCAN_BYTES of records. */
static int list_some(struct care *c, uint32_t bucket, size_t max_bytes, struct list *l,
                     struct err *e)
{
    struct state_snapshot *snap;
    struct state_scan *scan = NULL;
    const struct scan_options o = {.after = bytes_of(l->key, l->key_bytes),
                                   .after_collection =
                                       bytes_of(l->collection, l->collection_bytes)};
    const size_t begin = l->n;
    int rc = state_snapshot_open(c->site->state, &snap, e);
    if (rc != 0)
        return rc;
    l->lsn = state_snapshot_position(snap).lsn;
    rc = state_scan_open(snap, &o, &scan, e);
    l->more = rc == 0;
    for (size_t seen = 0; rc == 0 && seen < SCAN_BYTES && l->n - begin < max_bytes;) {
        struct record r = {.lsn = {0}};
        int next = state_scan_next(scan, &r, e);
        l->more = next != ERR_NOT_FOUND;
        if (next != 0 && (next != ERR_INTEGRITY || r.key.n == 0 || r.key.n > KEY_MAX_BYTES)) {
            rc = next == ERR_NOT_FOUND ? 0 : next;
            break;
        }
        seen += r.key.n + (next == 0 ? r.value.n : 0);
        if (digest_bucket(r.collection, r.key) == bucket)
            rc = add_record(l, &r, next != 0, e);
        set_place(l, r.collection, r.key);
    }
    state_scan_close(scan);
    state_snapshot_close(snap);
    return rc;
}

static void answer_keys(struct care *c, uint8_t i, struct list *l, uint32_t bucket, uint64_t id)
{
    struct err e = ERR_NONE;
    int rc = list_some(c, bucket, CARE_KEYS_MAX_BYTES, l, &e);
    struct care_message m = {.kind = CARE_KEYS,
                             .answer = true,
                             .refused = rc != 0,
                             .id = id,
                             .payload = bytes_str(e.text)};
    if (rc == 0) {
        m.bucket = bucket;
        m.lsn = l->lsn;
        m.count = l->count;
        m.more = l->more;
        m.payload = bytes_of(l->p, l->n);
        if (l->more) {
            m.collection = bytes_of(l->collection, l->collection_bytes);
            m.key = bytes_of(l->key, l->key_bytes);
        }
    }
    const size_t n = care_bytes(&m);
    uint8_t *p = malloc(n);
    if (p == NULL)
        return;
    struct writer w = writer_of(p, n);
    care_write(&w, &m);
    worker_lock(&c->worker);
    c->keys[i].answer = p;
    c->keys[i].answer_bytes = n;
    worker_unlock(&c->worker);
    (void)uv_async_send(&c->site->wake);
}

void care_serve_keys(struct care *c)
{
    for (uint8_t i = 0; i < care_slots(); i++) {
        struct list l = {.p = NULL};
        worker_lock(&c->worker);
        const uint64_t id = c->keys[i].answer == NULL ? c->keys[i].id : 0;
        const uint32_t bucket = c->keys[i].bucket;
        set_place(&l, bytes_of(c->keys[i].collection, c->keys[i].collection_bytes),
                  bytes_of(c->keys[i].key, c->keys[i].key_bytes));
        worker_unlock(&c->worker);
        if (id != 0)
            answer_keys(c, i, &l, bucket, id);
        free(l.p);
    }
}

static int list_own(struct care *c, uint32_t bucket, struct list *l, struct err *e)
{
    int rc = 0;
    l->more = true;
    while (rc == 0 && l->more && !care_is_ending(c))
        rc = list_some(c, bucket, LIST_MAX_BYTES, l, e);
    return rc;
}

static int list_theirs(struct care *c, uint8_t site, uint32_t bucket, struct list *l, struct err *e)
{
    struct care_message m = {.more = true};
    int rc = 0;
    while (rc == 0 && m.more) {
        struct care_message question = {.kind = CARE_KEYS,
                                        .bucket = bucket,
                                        .collection = bytes_of(l->collection, l->collection_bytes),
                                        .key = bytes_of(l->key, l->key_bytes)};
        rc = care_call(c, site, &question, &m, e);
        if (rc == 0)
            rc = add_bytes(l, m.payload.p, m.payload.n, e);
        if (rc == 0 && m.more)
            set_place(l, m.collection, m.key);
    }
    return rc;
}

/* ---- which records differ ---- */

struct names {
    char name[NAMES_MAX][NAME_BYTES];
    size_t n;
    uint64_t all;
};

static void add_name(struct names *names, const struct care_row *row, const char *how)
{
    char key[ROW_QUOTE_BYTES], collection[ROW_QUOTE_BYTES];
    names->all++;
    if (names->n == NAMES_MAX)
        return;
    (void)snprintf(names->name[names->n++], NAME_BYTES, "'%s' of '%s' %s", row_quote(row->key, key),
                   row_quote(row->collection, collection), how);
}

struct side {
    struct reader rows;
    struct care_row row;
    bool there;
};

static int advance(struct side *s, struct err *e)
{
    const struct care_row before = s->there ? s->row : (struct care_row){.lsn = {0}};
    s->there = s->rows.at < s->rows.n;
    return s->there ? care_next_row(&s->rows, &before, &s->row, e) : 0;
}

static int compare_lists(const struct list *own, const struct list *theirs, struct lsn at,
                         const char *site, struct names *names, struct err *e)
{
    struct side a = {.rows = reader_of(bytes_of(own->p, own->n))},
                b = {.rows = reader_of(bytes_of(theirs->p, theirs->n))};
    char not_there[80];
    (void)snprintf(not_there, sizeof not_there, "(not at %s)", site);
    int rc = advance(&a, e);
    if (rc == 0)
        rc = advance(&b, e);
    while (rc == 0 && (a.there || b.there)) {
        int c = !a.there ? 1 : !b.there ? -1 : care_compare_rows(&a.row, &b.row);
        const bool settled = (c > 0 || a.row.lsn.v <= at.v) &&
                             (c < 0 || b.row.lsn.v <= at.v); /* not changed since */
        if (settled && c < 0)
            add_name(names, &a.row, not_there);
        else if (settled && c > 0)
            add_name(names, &b.row, "(only there)");
        else if (settled && !digest_equal(a.row.digest, b.row.digest))
            add_name(names, &a.row,
                     a.row.lsn.v == b.row.lsn.v ? "(another value)" : "(another version)");
        if (c <= 0)
            rc = advance(&a, e);
        if (rc == 0 && c >= 0)
            rc = advance(&b, e);
    }
    return rc;
}

static int compare_keys(struct care *c, uint8_t site, uint32_t bucket, struct lsn at,
                        struct names *names, struct err *e)
{
    struct list own = {.p = NULL}, theirs = {.p = NULL};
    int rc = list_own(c, bucket, &own, e);
    if (rc == 0)
        rc = list_theirs(c, site, bucket, &theirs, e);
    if (rc == 0)
        rc = compare_lists(&own, &theirs, at, c->site->config->members[site].name, names, e);
    free(own.p);
    free(theirs.p);
    return rc;
}

/* Those that two lists in a row name. */
static int name_records(struct care *c, uint8_t site, const uint32_t *buckets, size_t n,
                        struct lsn at, struct names *out, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct names first = {.n = 0}, second = {.n = 0};
        rc = compare_keys(c, site, buckets[i], at, &first, e);
        if (rc == 0)
            rc = compare_keys(c, site, buckets[i], at, &second, e);
        for (size_t j = 0; rc == 0 && j < second.n && out->n < NAMES_MAX; j++)
            for (size_t k = 0; k < first.n; k++)
                if (strcmp(first.name[k], second.name[j]) == 0) {
                    memcpy(out->name[out->n++], second.name[j], NAME_BYTES);
                    break;
                }
        out->all += second.all < first.all ? second.all : first.all;
    }
    return rc;
}

/* ---- one comparison ---- */

struct found {
    bool known[REPL_SITES_MAX];
    struct digest digest[REPL_SITES_MAX];
    struct lsn lsn;
    unsigned members; /* of whom a majority is believed */
};

static void put(char *text, size_t room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void put(char *text, size_t room, const char *fmt, ...)
{
    const size_t n = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text + n, room - n, fmt, ap);
    va_end(ap);
}

/* Fills what can be said of the difference; how many buckets differ. */
static uint32_t say_buckets(const struct care *c, struct bytes theirs, uint32_t *first, size_t *n,
                            char what[CARE_TEXT_BYTES])
{
    struct reader r = reader_of(theirs);
    uint32_t differ = 0;
    *n = 0;
    for (uint32_t i = 0; i < DIGEST_BUCKETS; i++) {
        struct digest d = read_digest(&r);
        if (digest_equal(d, c->own.bucket[i]))
            continue;
        if (*n < BUCKETS_TOLD)
            first[(*n)++] = i;
        differ++;
    }
    put(what, CARE_TEXT_BYTES, "%u of %d buckets:", differ, DIGEST_BUCKETS);
    for (size_t i = 0; i < *n; i++)
        put(what, CARE_TEXT_BYTES, "%s %u", i == 0 ? "" : ",", first[i]);
    if (differ > *n)
        put(what, CARE_TEXT_BYTES, ", ...");
    return differ;
}

static void say_names(const struct names *names, char what[CARE_TEXT_BYTES])
{
    for (size_t i = 0; i < names->n; i++)
        put(what, CARE_TEXT_BYTES, "%s%s", i == 0 ? "; records " : ", ", names->name[i]);
    if (names->all > names->n)
        put(what, CARE_TEXT_BYTES, " and %llu more", (unsigned long long)(names->all - names->n));
}

/* Where do they differ? Found once is enough, until it changes or a while has passed. */
static void look_closer(struct care *c, uint8_t site, struct lsn at)
{
    struct comparison *x =
        &c->compared[site]; /* written by this thread only; read under the lock */
    struct care_message m, question = {.kind = CARE_BUCKETS, .lsn = at};
    struct names names = {.n = 0};
    struct err e = ERR_NONE;
    uint32_t first[BUCKETS_TOLD], differ = 0;
    size_t n = 0;
    char what[CARE_TEXT_BYTES] = "";
    int rc = care_call(c, site, &question, &m, &e);
    if (rc == 0 && m.found)
        differ = say_buckets(c, m.payload, first, &n, what);
    if (n == 0)
        return;
    if (differ == x->buckets && site_now_ms() - x->named_ms < NAME_AGAIN_MS)
        return;
    const bool new = !x->differs || differ != x->buckets;
    if (new)
        events_add(c->site->events, "state: at lsn %llu %s differs from this site in %s",
                   (unsigned long long)at.v, c->site->config->members[site].name, what);
    worker_lock(&c->worker);
    x->buckets = differ;
    (void)snprintf(x->what, sizeof x->what, "%s", what);
    worker_unlock(&c->worker);
    rc =
        name_records(c, site, first, n < BUCKETS_NAMED ? n : (size_t)BUCKETS_NAMED, at, &names, &e);
    if (rc != 0) {
        events_add(c->site->events, "state: the records that differ cannot be named now: %s",
                   e.text);
        return;
    }
    say_names(&names, what);
    if (new &&names.n != 0)
        events_add(c->site->events, "state: %s differs from this site in %s",
                   c->site->config->members[site].name, what);
    worker_lock(&c->worker);
    x->named_ms = site_now_ms();
    (void)snprintf(x->what, sizeof x->what, "%s", what);
    worker_unlock(&c->worker);
}

static unsigned agree_with(const struct found *f, uint8_t site)
{
    unsigned n = 0;
    for (uint8_t i = 0; f->known[site] && i < care_slots(); i++)
        n += f->known[i] && digest_equal(f->digest[i], f->digest[site]);
    return n;
}

/* The site whose digest is believed: one that a majority agrees with, else this one. */
static uint8_t believed(const struct care *c, const struct found *f)
{
    for (uint8_t i = 0; i < care_slots(); i++)
        if (agree_with(f, i) >= f->members / 2 + 1)
            return i;
    return (uint8_t)c->site->config->self;
}

static void note(struct care *c, const struct found *f, uint8_t site, uint8_t right)
{
    struct comparison *x = &c->compared[site];
    const uint8_t self = (uint8_t)c->site->config->self;
    const bool differs = !digest_equal(f->digest[site], f->digest[self]);
    const bool wrong = !digest_equal(f->digest[site], f->digest[right]);
    const bool equal_again = x->differs && !differs;
    worker_lock(&c->worker);
    c->fit_changed[site] |= wrong != x->wrong;
    x->known = true;
    x->lsn = f->lsn;
    x->at_ms = site_now_ms();
    x->wrong = wrong;
    if (!differs)
        x->buckets = 0;
    worker_unlock(&c->worker);
    if (differs)
        look_closer(c, site, f->lsn);
    worker_lock(&c->worker);
    x->differs = differs;
    worker_unlock(&c->worker);
    if (equal_again)
        events_add(c->site->events, "state: at lsn %llu %s is equal again",
                   (unsigned long long)f->lsn.v, c->site->config->members[site].name);
}

static void tell_site(struct care *c, const struct found *f, uint8_t site)
{
    char what[CARE_TEXT_BYTES];
    struct care_message m,
        question = {.kind = CARE_VERDICT, .lsn = f->lsn, .found = c->compared[site].wrong};
    if (question.found) {
        (void)snprintf(what, sizeof what, "%s", c->compared[site].what);
        question.payload = bytes_str(what);
    }
    (void)care_call(c, site, &question, &m, NULL); /* told again by the next comparison */
}

static void judge(struct care *c, const struct found *f)
{
    const uint8_t self = (uint8_t)c->site->config->self, right = believed(c, f);
    const bool self_wrong = !digest_equal(f->digest[self], f->digest[right]);
    unsigned others = 0;
    for (uint8_t i = 0; i < care_slots(); i++) {
        if (!f->known[i] || i == self)
            continue;
        others++;
        note(c, f, i, right);
        tell_site(c, f, i);
    }
    if (others == 0)
        return; /* alone nothing can be said */
    char what[CARE_TEXT_BYTES];
    (void)snprintf(what, sizeof what, "%s", self_wrong ? c->compared[right].what : "");
    care_set_verdict(c, self_wrong, f->lsn, bytes_str(what), "the majority of the sites");
}

/* Sums of this site at the lsn, as soon as it is there. */
static bool wait_own(struct care *c, struct lsn at)
{
    for (unsigned i = 0; i < COMPARE_WAIT_MS / POLL_MS && !care_is_ending(c); i++) {
        enum applier_mark how = applier_marked(c->site->applier, at, &c->own);
        if (how != MARK_AHEAD)
            return how == MARK_MET && c->own.known;
        (void)usleep(POLL_MS * 1000);
    }
    return false;
}

static struct lsn choose_lsn(struct care *c, uint64_t elapsed_ms)
{
    const struct lsn applied = applier_applied(c->site->applier), before = c->applied_before;
    c->applied_before = applied;
    return care_compare_at(before, applied, elapsed_ms, COMPARE_MS);
}

void care_compare(struct care *c)
{
    const uint64_t now = site_now_ms();
    worker_lock(&c->worker);
    const bool primary = c->primary;
    worker_unlock(&c->worker);
    if (!primary || now - c->compared_ms < COMPARE_MS)
        return;
    struct found f = {.lsn = choose_lsn(c, now - c->compared_ms)};
    c->compared_ms = now;
    bool asked[REPL_SITES_MAX] = {false};
    applier_mark(c->site->applier, f.lsn);
    const uint8_t members = care_members(c);
    for (uint8_t i = 0; i < care_slots(); i++) {
        struct care_message question = {.kind = CARE_SUMS, .lsn = f.lsn};
        const bool is_member = (members >> i & 1) != 0;
        f.members += is_member;
        asked[i] = is_member && care_reaches(c, i);
        if (asked[i])
            care_ask(c, i, &question);
    }
    const uint8_t self = (uint8_t)c->site->config->self;
    f.known[self] = wait_own(c, f.lsn);
    f.digest[self] = c->own.digest;
    for (uint8_t i = 0; i < care_slots(); i++) {
        struct care_message m;
        struct err e = ERR_NONE;
        if (!asked[i] || care_answer(c, i, CARE_SUMS, COMPARE_WAIT_MS + 500, &m, &e) != 0)
            continue;
        f.known[i] = m.found && m.known;
        f.digest[i] = m.digest;
    }
    if (f.known[self] && !care_is_ending(c))
        judge(c, &f);
}
