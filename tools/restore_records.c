/* restore --collection: some records as they were, as lines of JSON, the way 'triveni dump' writes them and 'triveni load
 * --format dump' reads them.
 *
 * A file has its name only when it is whole and on disk: it is written as FILE.new and linked to its name, which fails where
 * there is something. FILE.new is nobody's but ours, and written anew by the next try; what was read from the archive, which is
 * the long part, is kept in FILE.partial and not read again. */
#include "tools/restore.h"

#include "repository/history.h"
#include "store/core/body.h"
#include "store/io/file.h"
#include "tools/json.h"
#include "tools/record.h"
#include "tools/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LSN(x) ((unsigned long long)(x).v)

/* ---- what is selected ---- */

int restore_selection(const struct restore_options *o, struct repository_selection *out,
                      struct err *e)
{
    static const struct {
        const char *name;
        size_t at;
    } narrow[] = {{"from", offsetof(struct restore_options, from)},
                  {"to", offsetof(struct restore_options, to)},
                  {"prefix", offsetof(struct restore_options, prefix)},
                  {"key", offsetof(struct restore_options, key)},
                  {"scratch", offsetof(struct restore_options, scratch)}};
    *out = (struct repository_selection){.collection = {NULL, 0}};
    for (size_t i = 0; i < sizeof narrow / sizeof narrow[0]; i++) {
        const char *text = *(const char *const *)((const char *)o + narrow[i].at);
        if (text != NULL && o->collection == NULL)
            return err_set(e, ERR_USAGE, "--%s goes with --collection", narrow[i].name);
        if (text != NULL && text[0] == '\0')
            return err_set(e, ERR_USAGE, "--%s is empty", narrow[i].name);
    }
    if (o->collection == NULL)
        return 0;
    if (o->key != NULL && (o->from != NULL || o->to != NULL || o->prefix != NULL))
        return err_set(e, ERR_USAGE, "--key names one record: not with --from, --to or --prefix");
    const size_t n = strlen(o->collection);
    if (n == 0 || n > COLLECTION_MAX_BYTES)
        return err_set(e, ERR_USAGE, "--collection: a name has 1 to %d bytes",
                       COLLECTION_MAX_BYTES);
    *out = (struct repository_selection){
        bytes_str(o->collection), bytes_str(o->from != NULL ? o->from : ""),
        bytes_str(o->to != NULL ? o->to : ""), bytes_str(o->prefix != NULL ? o->prefix : ""),
        bytes_str(o->key != NULL ? o->key : "")};
    if (out->to.n != 0 && bytes_compare(out->from, out->to) >= 0)
        return err_set(e, ERR_USAGE, "--from must come before --to, which is exclusive");
    return 0;
}

char *restore_selection_text(const struct repository_selection *s)
{
    const struct {
        const char *name;
        struct bytes text;
    } parts[] = {{", key ", s->key},
                 {", prefix ", s->prefix},
                 {", from ", s->from},
                 {", to before ", s->to}};
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (f == NULL)
        return NULL;
    json_put_text(f, s->collection);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].text.n != 0) {
            (void)fputs(parts[i].name, f);
            json_put_text(f, parts[i].text);
        }
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

/* ---- a record that was not there ---- */

enum { VERSIONS_LOOKED_AT = 1000 };

struct near {
    struct lsn lsn;
    struct utc time;
    bool put;
    unsigned seen;
};

static int take_newest(void *arg, const struct evidence *v)
{
    struct near *x = arg;
    *x = (struct near){v->entry.header.lsn, v->entry.header.time, v->op.kind == OP_PUT, 1};
    return 1;
}

static int take_oldest_put(void *arg, const struct evidence *v)
{
    struct near *x = arg;
    if (v->op.kind == OP_PUT)
        *x = (struct near){v->entry.header.lsn, v->entry.header.time, true, x->seen};
    return ++x->seen > VERSIONS_LOOKED_AT;
}

/* Says nothing when that would mean to read packs through. */
static void say_near(struct repository *r, const struct restore_plan *plan,
                     const struct repository_selection *s)
{
    char time[UTC_TEXT_BYTES];
    struct repository_status status;
    struct near before = {.seen = 0}, after = {.seen = 0};
    repository_status(r, &status);
    if (s->key.n == 0 || status.indexed.v < status.archived.lsn.v)
        return;
    struct repository_query q = {
        .collection = s->collection, .key = s->key, .from = {1}, .to = plan->lsn};
    if (repository_history(r, &q, take_newest, &before, NULL) < 0)
        return;
    q.from.v = plan->lsn.v + 1;
    q.to = status.archived.lsn;
    if (q.from.v <= q.to.v && repository_history(r, &q, take_oldest_put, &after, NULL) < 0)
        return;
    if (before.seen != 0)
        say("it was deleted at lsn %llu, %s; --to-lsn %llu is the last moment that has it",
            LSN(before.lsn), utc_text(before.time, time), LSN(before.lsn) - 1);
    if (after.lsn.v != 0)
        say("it was written %sat lsn %llu, %s",
            after.seen > VERSIONS_LOOKED_AT ? "later, also " : "", LSN(after.lsn),
            utc_text(after.time, time));
    if (before.seen == 0 && after.lsn.v == 0)
        say("the archive knows no version of it at all");
}

static int none(struct repository *r, const struct restore_plan *plan,
                const struct repository_selection *s, struct err *e)
{
    char time[UTC_TEXT_BYTES];
    char *text = restore_selection_text(s);
    say_near(r, plan, s);
    int rc = err_set(e, ERR_NOT_FOUND, "no record of collection %.300s at lsn %llu, %s",
                     text != NULL ? text : "?", LSN(plan->lsn), utc_text(plan->time, time));
    free(text);
    return rc;
}

/* ---- reading ---- */

/* Where what is read is kept. */
static int choose_scratch(const struct restore_options *o, const char *beside, char out[PATH_MAX],
                          struct err *e)
{
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): nothing here sets it */
    int n;
    if (o->scratch != NULL)
        n = snprintf(out, PATH_MAX, "%s", o->scratch);
    else if (beside != NULL)
        n = snprintf(out, PATH_MAX, "%s.partial", beside);
    else
        n = snprintf(out, PATH_MAX, "%s/triveni-restore-XXXXXX",
                     tmp != NULL && tmp[0] != '\0' ? tmp : "/var/tmp");
    if (n < 0 || n >= PATH_MAX)
        return err_set(e, ERR_USAGE, "the path for what is read meanwhile is too long");
    if (o->scratch == NULL && beside == NULL && mkdtemp(out) == NULL)
        return err_set(e, file_code(errno), "%s cannot be made (TMPDIR, or --scratch DIR): %s", out,
                       strerror(errno));
    return 0;
}

int restore_read(struct repository *r, const struct restore_options *o,
                 const struct restore_plan *plan, const struct repository_selection *s,
                 const char *beside, int (*each)(void *arg, const struct record *), void *arg,
                 struct restore_stages *stages, struct restore_result *out, struct err *e)
{
    char scratch[PATH_MAX];
    int rc = choose_scratch(o, beside, scratch, e);
    if (rc != 0)
        return rc;
    rc = repository_records(r, plan, s, scratch, each, arg, restore_stages_show, stages, out, e);
    if (rc != 0 && o->scratch == NULL && beside == NULL && access(scratch, F_OK) == 0)
        err_wrap(e, "give it with --scratch %s", scratch);
    return rc == 0 && out->records == 0 ? none(r, plan, s, e) : rc;
}

/* ---- writing ---- */

struct sink {
    FILE *f;
    const char *name; /* in messages */
    struct err *e;
};

static int write_record(void *arg, const struct record *r)
{
    const struct sink *s = arg;
    record_json(s->f, &(struct shown_record){
                          r->collection, r->key, r->value, r->lsn.v, r->time.us, {NULL, 0}});
    return ferror(s->f) ? file_error(s->e, s->name, "be written", errno) : 0;
}

static int open_new(const char *into, char name[PATH_MAX], FILE **out, struct err *e)
{
    if ((size_t)snprintf(name, PATH_MAX, "%s.new", into) >= PATH_MAX)
        return err_set(e, ERR_USAGE, "%.200s...: the path is too long", into);
    if (access(into, F_OK) == 0)
        return err_set(e, ERR_EXISTS,
                       "%s is there: a restore never goes over data; name a new file", into);
    (void)unlink(name);
    const int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_error(e, name, "be made", errno);
    if ((*out = fdopen(fd, "w")) == NULL) {
        (void)close(fd);
        return err_set(e, ERR_NO_MEMORY, "no memory");
    }
    return 0;
}

/* The file is whole: durable, and then it gets its name. */
static int publish(FILE *f, const char *name, const char *into, struct err *e)
{
    int rc = fflush(f) != 0          ? file_error(e, name, "be written", errno)
             : fsync(fileno(f)) != 0 ? file_error(e, name, "be synced", errno)
                                     : 0;
    if (fclose(f) != 0 && rc == 0)
        rc = file_error(e, name, "be closed", errno);
    if (rc == 0 && link(name, into) != 0)
        rc = errno == EEXIST
                 ? err_set(e, ERR_EXISTS, "%s: somebody else has made it meanwhile", into)
                 : file_error(e, into, "be named", errno);
    if (rc == 0 && unlink(name) != 0)
        rc = file_error(e, name, "be removed", errno);
    return rc == 0 ? file_sync_parent(into, e) : rc;
}

static void print_done(const struct restore_options *o, const struct restore_plan *plan,
                       const struct repository_estimate *x, const struct repository_selection *s,
                       const struct restore_result *r, double seconds)
{
    char took[64];
    char *text = restore_selection_text(s);
    if (o->into != NULL && o->common.format == OUTPUT_JSON)
        output_json(json_pack("{s:o,s:s?,s:s,s:I,s:I,s:I,s:b,s:f}", "plan",
                              restore_plan_json(plan, x), "selection", text, "into", o->into, "lsn",
                              (json_int_t)r->at.lsn.v, "records", (json_int_t)r->records, "entries",
                              (json_int_t)r->entries, "resumed", r->resumed, "seconds", seconds));
    else if (o->into != NULL)
        (void)printf("restored %s: %llu records of %s as of lsn %llu; %s\n", o->into,
                     (unsigned long long)r->records, text != NULL ? text : "?", LSN(r->at.lsn),
                     restore_took(x, seconds, took));
    else
        say("%llu records as of lsn %llu; %s", (unsigned long long)r->records, LSN(r->at.lsn),
            restore_took(x, seconds, took));
    free(text);
}

int restore_records(struct repository *r, const struct restore_options *o,
                    const struct restore_plan *plan, const struct repository_estimate *x,
                    const struct repository_selection *s, struct err *e)
{
    char name[PATH_MAX] = "stdout";
    struct sink sink = {stdout, name, e};
    struct restore_stages stages;
    struct restore_result result;
    int rc = o->into != NULL ? open_new(o->into, name, &sink.f, e) : 0;
    if (rc != 0)
        return rc;
    restore_stages_begin(&stages, o->into == NULL && isatty(STDOUT_FILENO) == 1);
    rc = restore_read(r, o, plan, s, o->into, write_record, &sink, &stages, &result, e);
    const double seconds = restore_stages_end(&stages);
    if (rc == 0 && o->into != NULL) {
        rc = publish(sink.f, name, o->into, e);
    } else if (o->into != NULL) {
        (void)fclose(sink.f);
        (void)unlink(name);
    }
    if (rc == 0)
        print_done(o, plan, x, s, &result, seconds);
    return rc;
}
