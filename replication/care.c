/* Care of what is stored: damage that the scrub or a reader meets is repaired from another site, and the states of the sites are
 * compared, about once a second, at exactly the same lsn (P9).
 *
 * One thread does all of it, in order and without hurry; it may wait for disks and for other sites. The loop only carries
 * messages (core/care.h), and answers what can be answered at once: a record, entries of the log, sums that the applier has
 * kept. So no question of one site waits for a thread of another but that for the keys of a bucket, which only a primary asks.
 *
 * Nothing that comes from elsewhere is believed: a record proves itself by the digests here (state_repair_record), entries by
 * the hash chain (log_mend). A site that lies, or errs, can only fail to help.
 *
 * What is found to differ bars the site from promotion: the verdict goes to the protocol core (REPL_EV_FIT) and is kept in the
 * file `differs`, so that a restart does not forget it. It ends with the first comparison that finds the states equal.
 *
 * PAUSE. When a former primary undoes what it applied, the state is closed for a moment. The thread is then asked to let go of
 * it: every wait ends, and it rests until it is resumed. */
#include "replication/care_parts.h"

#include "store/core/check.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define VERDICT_FILE "differs"

/* ---- asking, from the thread ---- */

static void ask(struct care *c, struct call *call, struct care_message *question)
{
    worker_lock(&c->worker);
    question->id = ++c->next_id;
    struct writer w = writer_of(call->question, sizeof call->question);
    care_write(&w, question);
    check(!w.bad);
    call->bytes = w.at;
    call->id = question->id;
    free(call->answer);
    call->answer = NULL;
    call->rc = 0;
    call->state = CALL_TO_SEND;
    worker_unlock(&c->worker);
    (void)uv_async_send(&c->site->wake);
}

void care_ask(struct care *c, uint8_t site, struct care_message *question)
{
    ask(c, &c->calls[site], question);
}

static int answer(struct care *c, struct call *call, const char *name, enum care_kind kind,
                  uint64_t ms, struct care_message *m, struct err *e)
{
    const struct timespec until = cond_deadline(ms);
    worker_lock(&c->worker);
    while (call->state != CALL_DONE && !c->worker.stop && !c->paused &&
           worker_wait_until(&c->worker, &until)) {
    }
    int rc = call->state == CALL_DONE      ? call->rc
             : c->worker.stop || c->paused ? ERR_CANCELLED
                                           : ERR_TIMEOUT;
    call->state = CALL_NONE; /* a late answer finds nobody */
    worker_unlock(&c->worker);
    if (rc != 0)
        return err_set(e, rc, "%s %s", name,
                       rc == ERR_TIMEOUT     ? "does not answer"
                       : rc == ERR_CANCELLED ? "was not waited for"
                                             : "cannot be reached");
    if (care_read(bytes_of(call->answer, call->answer_bytes), m, e) != 0)
        return err_wrap(e, "%s", name);
    if (m->kind != kind)
        return err_set(e, ERR_FORMAT, "%s answers something else", name);
    if (m->refused)
        return err_set(e, ERR_FAILED, "%s: %.*s", name,
                       m->payload.n < CARE_TEXT_BYTES ? (int)m->payload.n : CARE_TEXT_BYTES,
                       (const char *)m->payload.p);
    return 0;
}

int care_answer(struct care *c, uint8_t site, enum care_kind kind, uint64_t ms,
                struct care_message *m, struct err *e)
{
    return answer(c, &c->calls[site], c->site->config->members[site].name, kind, ms, m, e);
}

int care_entries(struct care *c, struct call *call, uint8_t site, struct lsn from, struct lsn to,
                 uint8_t *buf, size_t cap, size_t *used, size_t *count, struct err *e)
{
    const char *name = c->site->config->members[site].name;
    struct care_message m, question = {.kind = CARE_ENTRIES, .lsn = from, .to = to};
    *used = *count = 0;
    ask(c, call, &question);
    int rc = answer(c, call, name, CARE_ENTRIES, ASK_MS, &m, e);
    if (rc != 0)
        return rc;
    *used = m.payload.n;
    *count = m.count;
    if (m.count == 0 || m.count > to.v - from.v + 1 || m.payload.n < ENTRY_HEADER_BYTES)
        return err_set(e, ERR_FORMAT, "%s answers without the entries", name);
    if (m.payload.n > cap)
        return err_set(e, ERR_LIMIT, "the answer does not fit");
    memcpy(buf, m.payload.p, m.payload.n);
    return 0;
}

int care_fetch(void *source, struct lsn from, struct lsn to, uint8_t *buf, size_t cap, size_t *used,
               size_t *count, struct err *e)
{
    const struct care_source *x = source;
    return care_entries(x->care, &x->care->fetches[x->site], x->site, from, to, buf, cap, used,
                        count, e);
}

int care_call(struct care *c, uint8_t site, struct care_message *question, struct care_message *m,
              struct err *e)
{
    care_ask(c, site, question);
    return care_answer(c, site, question->kind, ASK_MS, m, e);
}

uint8_t care_members(struct care *c)
{
    worker_lock(&c->worker);
    const uint8_t members = c->members;
    worker_unlock(&c->worker);
    return members;
}

bool care_reaches(struct care *c, uint8_t site)
{
    worker_lock(&c->worker);
    bool up = site != c->site->config->self && c->up[site];
    worker_unlock(&c->worker);
    return up;
}

bool care_is_ending(struct care *c)
{
    worker_lock(&c->worker);
    bool ending = c->worker.stop || c->paused;
    worker_unlock(&c->worker);
    return ending;
}

/* ---- the verdict ---- */

static void verdict_path(const struct site *s, char out[SITE_PATH_BYTES + 32])
{
    (void)snprintf(out, SITE_PATH_BYTES + 32, "%s/" VERDICT_FILE, s->config->data_dir);
}

/* For a restart only: without it the site is told again within seconds. So a failure is an event, no more. */
static void keep_verdict(struct site *s, bool differs, const char *what)
{
    char path[SITE_PATH_BYTES + 32];
    struct err e = ERR_NONE;
    int rc = 0;
    verdict_path(s, path);
    if (differs) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        rc = fd < 0 ? file_error(&e, path, "create", errno)
                    : file_write_at(fd, path, what, strlen(what), 0, &e);
        if (rc == 0 && fsync(fd) != 0)
            rc = file_error(&e, path, "sync", errno);
        if (fd >= 0)
            (void)close(fd);
    } else if (unlink(path) != 0 && errno != ENOENT) {
        rc = file_error(&e, path, "remove", errno);
    }
    if (rc == 0)
        rc = file_sync_parent(path, &e);
    if (rc != 0)
        events_add(s->events, "state: whether it differs is not kept over a restart: %s", e.text);
}

static void load_verdict(struct care *c)
{
    char path[SITE_PATH_BYTES + 32];
    size_t n = 0;
    verdict_path(c->site, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)file_read_at(fd, path, c->verdict.what, sizeof c->verdict.what - 1, 0, &n, NULL);
    (void)close(fd);
    c->verdict.what[n < sizeof c->verdict.what ? n : 0] = '\0';
    c->verdict.differs = true;
    c->verdict.changed = true;
}

void care_set_verdict(struct care *c, bool differs, struct lsn lsn, struct bytes what,
                      const char *who)
{
    struct site *s = c->site;
    worker_lock(&c->worker);
    const bool changed = differs != c->verdict.differs;
    c->verdict.lsn = lsn;
    c->verdict.differs = differs;
    c->verdict.changed |= changed;
    const bool new_text = differs && !bytes_equal(bytes_str(c->verdict.what), what);
    char text[CARE_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%.*s", (int)what.n, what.n != 0 ? (const char *)what.p : "");
    if (differs)
        memcpy(c->verdict.what, text, sizeof text);
    worker_unlock(&c->worker);
    if (changed || new_text)
        keep_verdict(s, differs, text);
    if (changed && differs)
        events_add(s->events,
                   "state: at lsn %llu it differs, says %s: %s -> this site is not promoted",
                   (unsigned long long)lsn.v, who, text);
    else if (changed)
        events_add(s->events, "state: at lsn %llu it is equal again, says %s",
                   (unsigned long long)lsn.v, who);
    if (changed)
        (void)uv_async_send(&s->wake);
}

/* ---- answering, on the loop ---- */

static void send_message(struct site *s, uint8_t to, const struct care_message *m)
{
    const size_t n = care_bytes(m);
    uint8_t *p = malloc(n);
    if (p == NULL)
        return; /* who asked gives up after a while */
    struct writer w = writer_of(p, n);
    care_write(&w, m);
    check(!w.bad);
    (void)peers_send_care(s, to, bytes_of(p, w.at));
    free(p);
}

static void refuse(struct site *s, uint8_t to, const struct care_message *question, const char *why)
{
    send_message(s, to,
                 &(struct care_message){.kind = question->kind,
                                        .answer = true,
                                        .refused = true,
                                        .id = question->id,
                                        .payload = bytes_str(why)});
}

static void answer_sums(struct care *c, uint8_t to, enum applier_mark how)
{
    struct care_message m = {.kind = CARE_SUMS,
                             .answer = true,
                             .id = c->marks[to].id,
                             .lsn = c->marks[to].lsn,
                             .found = how == MARK_MET && site_common(c->site, c->marks[to].lsn)};
    if (m.found) {
        m.known = c->scratch.known;
        m.records = c->scratch.records;
        m.digest = c->scratch.digest;
    }
    c->marks[to].id = 0;
    send_message(c->site, to, &m);
}

static void on_sums(struct care *c, uint8_t from, const struct care_message *m)
{
    c->marks[from].id = m->id;
    c->marks[from].lsn = m->lsn;
    c->marks[from].until_ms = site_now_ms() + COMPARE_WAIT_MS;
    applier_mark(c->site->applier, m->lsn);
}

static void on_buckets(struct care *c, uint8_t from, const struct care_message *m)
{
    static uint8_t digests[CARE_BUCKETS_BYTES]; /* the loop's */
    struct care_message a = {.kind = CARE_BUCKETS, .answer = true, .id = m->id, .lsn = m->lsn};
    a.found = applier_marked(c->site->applier, m->lsn, &c->scratch) == MARK_MET;
    struct writer w = writer_of(digests, sizeof digests);
    for (uint32_t i = 0; a.found && i < DIGEST_BUCKETS; i++)
        write_digest(&w, c->scratch.bucket[i]);
    a.payload = bytes_of(digests, w.at);
    send_message(c->site, from, &a);
}

static void on_record(struct care *c, uint8_t from, const struct care_message *m)
{
    struct state_snapshot *snap;
    struct record r;
    struct err e = ERR_NONE;
    int rc = site_snapshot(c->site, &snap, &e);
    if (rc == 0)
        rc = state_get(snap, m->collection, m->key, &r, &e);
    if (rc != 0 && rc != ERR_NOT_FOUND) {
        if (rc == ERR_INTEGRITY)
            care_suspect(c->site, m->collection, m->key);
        refuse(c->site, from, m, rc == ERR_INTEGRITY ? "it is damaged there, too" : e.text);
        return;
    }
    struct care_message a = {.kind = CARE_RECORD,
                             .answer = true,
                             .id = m->id,
                             .found = rc == 0,
                             .collection = m->collection,
                             .key = m->key};
    if (rc == 0) {
        a.lsn = r.lsn;
        a.time = r.time;
        a.payload = r.value;
    }
    send_message(c->site, from, &a);
}

static void on_entries(struct care *c, uint8_t from, const struct care_message *m)
{
    struct err e = ERR_NONE;
    size_t used = CARE_ENTRIES_BYTES, count = 0;
    uint8_t *p = malloc(used);
    int rc = p == NULL ? err_set(&e, ERR_NO_MEMORY, "out of memory")
                       : log_read(c->site->log, m->lsn, m->to, p, used, &used, &count, &e);
    if (rc == ERR_LIMIT && used < FRAME_PEER_MAX_BYTES - CARE_FIXED_BYTES - 8) {
        free(p);
        p = malloc(used);
        rc = p == NULL ? err_set(&e, ERR_NO_MEMORY, "out of memory")
                       : log_read(c->site->log, m->lsn, m->lsn, p, used, &used, &count, &e);
    }
    if (rc != 0)
        refuse(c->site, from, m, e.text);
    else
        send_message(c->site, from,
                     &(struct care_message){.kind = CARE_ENTRIES,
                                            .answer = true,
                                            .id = m->id,
                                            .lsn = m->lsn,
                                            .count = (uint32_t)count,
                                            .payload = bytes_of(p, used)});
    free(p);
}

/* With the lock held. */
static void on_keys(struct care *c, uint8_t from, const struct care_message *m)
{
    if (c->keys[from].id != 0 && c->keys[from].answer == NULL)
        return; /* given up by who asked; the new one is asked again */
    free(c->keys[from].answer);
    c->keys[from].answer = NULL;
    c->keys[from].id = m->id;
    c->keys[from].bucket = m->bucket;
    c->keys[from].collection_bytes = m->collection.n;
    c->keys[from].key_bytes = m->key.n;
    if (m->collection.n != 0)
        memcpy(c->keys[from].collection, m->collection.p, m->collection.n);
    if (m->key.n != 0)
        memcpy(c->keys[from].key, m->key.p, m->key.n);
    worker_wake(&c->worker);
}

/* With the lock held. */
static void on_answer(struct care *c, uint8_t from, uint64_t id, struct bytes body)
{
    struct call *call = c->calls[from].id == id ? &c->calls[from] : &c->fetches[from];
    if (call->state != CALL_SENT || call->id != id)
        return;
    call->answer = malloc(body.n);
    call->answer_bytes = body.n;
    call->rc = call->answer == NULL ? ERR_NO_MEMORY : 0;
    if (call->answer != NULL)
        memcpy(call->answer, body.p, body.n);
    call->state = CALL_DONE;
    worker_wake(&c->worker);
}

static void on_verdict(struct care *c, uint8_t from, const struct care_message *m)
{
    const size_t n = m->payload.n < CARE_TEXT_BYTES ? m->payload.n : CARE_TEXT_BYTES - 1;
    care_set_verdict(c, m->found, m->lsn, bytes_of(m->payload.p, n),
                     c->site->config->members[from].name);
    send_message(c->site, from,
                 &(struct care_message){.kind = CARE_VERDICT, .answer = true, .id = m->id});
}

int care_frame(struct site *s, uint8_t from, struct bytes body, struct err *why)
{
    struct care *c = s->care;
    struct care_message m;
    int rc = care_read(body, &m, why);
    if (rc != 0)
        return rc;
    if (m.answer || m.kind == CARE_KEYS) {
        worker_lock(&c->worker);
        if (m.answer)
            on_answer(c, from, m.id, body);
        else
            on_keys(c, from, &m);
        worker_unlock(&c->worker);
        return 0;
    }
    switch (m.kind) {
    case CARE_SUMS:
        on_sums(c, from, &m);
        break;
    case CARE_BUCKETS:
        on_buckets(c, from, &m);
        break;
    case CARE_RECORD:
        on_record(c, from, &m);
        break;
    case CARE_ENTRIES:
        on_entries(c, from, &m);
        break;
    case CARE_VERDICT:
        on_verdict(c, from, &m);
        break;
    case CARE_KEYS:
        break;
    }
    return 0;
}

/* ---- carrying, on the loop ---- */

/* With the lock held. */
static void carry_call(struct care *c, struct call *call, uint8_t i)
{
    if (call->state == CALL_TO_SEND)
        call->state = peers_send_care(c->site, i, bytes_of(call->question, call->bytes))
                          ? CALL_SENT
                          : CALL_DONE;
    else if (call->state == CALL_SENT && !c->up[i])
        call->state = CALL_DONE;
    else
        return;
    if (call->state == CALL_DONE)
        call->rc = ERR_UNREACHABLE;
    worker_wake(&c->worker);
}

/* With the lock held. */
static void carry_keys(struct care *c, uint8_t i)
{
    if (c->keys[i].answer == NULL)
        return;
    (void)peers_send_care(c->site, i, bytes_of(c->keys[i].answer, c->keys[i].answer_bytes));
    free(c->keys[i].answer);
    c->keys[i].answer = NULL;
    c->keys[i].id = 0;
}

static void tell_core(struct care *c)
{
    struct site *s = c->site;
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        worker_lock(&c->worker);
        const bool self = i == s->config->self;
        bool changed = self ? c->verdict.changed : c->fit_changed[i];
        bool fit = self ? !c->verdict.differs : !c->compared[i].wrong;
        c->fit_changed[i] = false;
        if (self)
            c->verdict.changed = false;
        worker_unlock(&c->worker);
        if (changed && s->fatal.code == 0)
            driver_step(s,
                        &(struct repl_event){
                            .type = REPL_EV_FIT, .now_ms = site_now_ms(), .site = i, .fit = fit});
    }
}

void care_progress(struct site *s)
{
    struct care *c = s->care;
    if (c == NULL)
        return;
    worker_lock(&c->worker);
    c->primary = site_is_settled(s);
    c->commit = s->marks.commit;
    c->members = s->view.list.members.all;
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        if (i == s->config->self)
            continue;
        c->up[i] = s->peers[i].up;
        carry_call(c, &c->calls[i], i);
        carry_call(c, &c->fetches[i], i);
        carry_keys(c, i);
    }
    worker_unlock(&c->worker);
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        if (c->marks[i].id == 0)
            continue;
        enum applier_mark how = applier_marked(s->applier, c->marks[i].lsn, &c->scratch);
        if (how != MARK_AHEAD || site_now_ms() >= c->marks[i].until_ms)
            answer_sums(c, i, how);
    }
    tell_core(c);
}

/* ---- what was found ---- */

static void add_damage(struct care *c, const struct damage *d)
{
    worker_lock(&c->worker);
    bool known = false;
    for (size_t i = 0; !known && i < c->damage_count; i++) {
        const struct damage *o = &c->damages[i];
        known = o->in_log == d->in_log && o->lsn.v == d->lsn.v &&
                bytes_equal(bytes_of(o->collection, o->collection_bytes),
                            bytes_of(d->collection, d->collection_bytes)) &&
                bytes_equal(bytes_of(o->key, o->key_bytes), bytes_of(d->key, d->key_bytes));
    }
    if (!known && c->damage_count < DAMAGES_MAX)
        c->damages[c->damage_count++] = *d;
    worker_wake(&c->worker);
    worker_unlock(&c->worker);
}

void care_suspect(struct site *s, struct bytes collection, struct bytes key)
{
    struct damage d = {.in_log = false, .wait_ms = RETRY_MIN_MS};
    if (s->care == NULL || collection.n == 0 || collection.n > sizeof d.collection || key.n == 0 ||
        key.n > sizeof d.key)
        return;
    memcpy(d.collection, collection.p, collection.n);
    memcpy(d.key, key.p, key.n);
    d.collection_bytes = collection.n;
    d.key_bytes = key.n;
    add_damage(s->care, &d);
}

void care_found(struct site *s, const struct finding *f)
{
    if (f->kind == FINDING_RECORD)
        care_suspect(s, f->collection, f->key);
    else if (f->kind == FINDING_ROW)
        applier_rebuild_index(s->applier, state_index_of_row(f->collection, f->key));
    else if (f->kind == FINDING_BATCH && s->care != NULL)
        add_damage(s->care,
                   &(struct damage){.in_log = true, .lsn = f->from, .wait_ms = RETRY_MIN_MS});
}

/* ---- for status ---- */

static json_t *comparison_json(const struct site *s, uint8_t i, const struct comparison *x)
{
    return json_pack("{s:s, s:o, s:I, s:I, s:I, s:o}", "name", s->config->members[i].name, "equal",
                     json_boolean(!x->differs), "lsn", (json_int_t)x->lsn.v, "ms_ago",
                     (json_int_t)(site_now_ms() - x->at_ms), "buckets", (json_int_t)x->buckets,
                     "what", x->differs ? json_string(x->what) : json_null());
}

json_t *care_json(struct care *c)
{
    if (c == NULL)
        return json_null();
    json_t *sites = json_array();
    worker_lock(&c->worker);
    for (uint8_t i = 0; i < c->site->config->member_count; i++)
        if (c->primary && c->compared[i].known)
            json_array_append_new(sites, comparison_json(c->site, i, &c->compared[i]));
    const char *why = NULL;
    for (size_t i = 0; why == NULL && i < c->damage_count; i++)
        why = c->damages[i].why[0] != '\0' ? c->damages[i].why : NULL;
    json_t *o =
        json_pack("{s:I, s:I, s:I, s:s?, s:b, s:s?, s:o}", "repaired_records",
                  (json_int_t)c->repaired, "mended_segments", (json_int_t)c->mended, "unrepaired",
                  (json_int_t)c->damage_count, "why", why, "differs", c->verdict.differs,
                  "difference", c->verdict.differs ? c->verdict.what : NULL, "compared", sites);
    worker_unlock(&c->worker);
    return o;
}

void care_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg)
{
    struct care *c = s->care;
    char text[ERR_TEXT_BYTES + 64];
    if (c == NULL)
        return;
    worker_lock(&c->worker);
    if (c->verdict.differs) {
        (void)snprintf(
            text, sizeof text,
            "its state differs from the others': %.300s: it is not promoted; move its data "
            "directory away, triveni restore --into a new one, then triveni init --rebuilt",
            c->verdict.what);
        tell(arg, text);
    }
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        const struct comparison *x = &c->compared[i];
        if (!c->primary || !x->known || !x->differs)
            continue;
        (void)snprintf(text, sizeof text, "at lsn %llu the state of %s differs from this one: %s%s",
                       (unsigned long long)x->lsn.v, s->config->members[i].name, x->what,
                       x->wrong ? ": it is not promoted" : "");
        tell(arg, text);
    }
    for (size_t i = 0; i < c->damage_count; i++) {
        if (c->damages[i].why[0] == '\0')
            continue;
        (void)snprintf(text, sizeof text, "%zu damaged and not repaired yet: %s", c->damage_count,
                       c->damages[i].why);
        tell(arg, text);
        break;
    }
    worker_unlock(&c->worker);
}

/* ---- the thread ---- */

static void *care_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "care");
    struct care *c = arg;
    worker_lock(&c->worker);
    while (!c->worker.stop) {
        c->resting = true;
        worker_wake(&c->worker);
        worker_wait(&c->worker, CARE_IDLE_MS);
        if (c->paused || c->worker.stop)
            continue;
        c->resting = false;
        worker_unlock(&c->worker);
        care_serve_keys(c);
        care_repair(c);
        care_compare(c);
        worker_lock(&c->worker);
    }
    worker_unlock(&c->worker);
    return NULL;
}

void care_pause(struct care *c)
{
    if (c == NULL)
        return;
    worker_lock(&c->worker);
    c->paused = true;
    worker_wake(&c->worker);
    while (!c->resting)
        (void)pthread_cond_wait(&c->worker.news, &c->worker.lock);
    worker_unlock(&c->worker);
}

void care_resume(struct care *c)
{
    if (c == NULL)
        return;
    worker_lock(&c->worker);
    c->paused = false;
    worker_unlock(&c->worker);
}

int care_start(struct site *s, struct care **out, struct err *e)
{
    struct care *c = calloc(1, sizeof *c);
    *out = NULL;
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->site = s;
    load_verdict(c);
    int rc = worker_start(&c->worker, care_main, c, "cares for what is stored", e);
    if (rc != 0) {
        free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void care_stop(struct care *c)
{
    if (c == NULL)
        return;
    worker_end(&c->worker);
}

void care_free(struct care *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < REPL_SITES_MAX; i++) {
        free(c->calls[i].answer);
        free(c->fetches[i].answer);
        free(c->keys[i].answer);
    }
    worker_deinit(&c->worker);
    free(c);
}
