/* Divergence bundles: what a site had in its log and the common history does not have (P4, R9).
 *
 * One JSON Lines file per undo under <data>/divergence/, named <term>-<first>-<last>.jsonl after the entries in it. The first
 * line is a header; then one line per operation of each entry, deletes too, with who wrote it and whether its client had been
 * told that it was done:
 *   "acknowledged": "no"       certain: its client was to be answered at `majority` or more by this very process, as primary, and
 *                              it has not seen the majority
 *                   "possible" everything else: answered once the entry was on this site's disk; or another process, here before
 *                              a restart or at another site, was the one to answer, and what that one did is not known here. That
 *                              nothing committed is ever cut holds only as long as no site lost its disk or was set back
 * The file is written under a temporary name, synced, renamed, and the directory synced, before anything is undone. */
#include "replication/site_parts.h"

#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct bundle {
    FILE *out;
    struct site *site;
    uint64_t operations;
};

/* What holds a NUL is no text, though UTF-8 allows it: as JSON it would be six times as long. */
json_t *json_bytes(struct bytes b)
{
    bool nul = b.n != 0 && memchr(b.p, '\0', b.n) != NULL;
    json_t *text = nul ? NULL : json_stringn(b.n != 0 ? (const char *)b.p : "", b.n);
    if (text != NULL)
        return text;
    size_t cap = 4 * ((b.n + 2) / 3) + 1;
    char *encoded = malloc(cap);
    if (encoded == NULL)
        return json_null();
    (void)EVP_EncodeBlock((unsigned char *)encoded, b.p, (int)b.n);
    json_t *object = json_pack("{s:s}", "base64", encoded);
    free(encoded);
    return object;
}

static int write_line(struct bundle *b, json_t *line, struct err *e)
{
    int rc =
        line != NULL && json_dumpf(line, b->out, JSON_COMPACT) == 0 && fputc('\n', b->out) != EOF
            ? 0
            : err_set(e, ERR_IO, "divergence bundle: %s", strerror(errno));
    json_decref(line);
    return rc;
}

/* Is it certain that nobody was told that this transaction was done? */
static bool surely_not_acknowledged(const struct site *s, const struct entry_header *h,
                                    enum level level)
{
    return level > LEVEL_LOCAL && h->term.v == s->term_led.v && h->lsn.v > s->marks.commit.v;
}

static int write_txn(struct bundle *b, const struct entry_view *v, struct err *e)
{
    struct body_txn txn;
    int rc = body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, e);
    struct reader ops = rc == 0 ? txn.ops : (struct reader){0};
    for (uint32_t i = 0; rc == 0 && i < txn.op_count; i++) {
        struct op op;
        rc = body_next_op(&ops, &op, e);
        if (rc != 0)
            break;
        b->operations++;
        json_t *line = json_pack(
            "{s:I, s:I, s:I, s:o, s:s, s:s, s:o, s:o}", "lsn", (json_int_t)v->header.lsn.v, "term",
            (json_int_t)v->header.term.v, "time_us", (json_int_t)v->header.time.us, "client",
            json_bytes(txn.client), "acknowledged",
            surely_not_acknowledged(b->site, &v->header, txn.level) ? "no" : "possible", "op",
            op.kind == OP_PUT ? "put" : "del", "collection", json_bytes(op.collection), "key",
            json_bytes(op.key));
        if (line != NULL && op.kind == OP_PUT)
            json_object_set_new(line, "value", json_bytes(op.value));
        rc = write_line(b, line, e);
    }
    return rc;
}

static int write_entry(struct bundle *b, const struct entry_view *v, struct err *e)
{
    if (v->header.kind == ENTRY_TXN)
        return write_txn(b, v, e);
    return write_line(b,
                      json_pack("{s:I, s:I, s:I, s:s}", "lsn", (json_int_t)v->header.lsn.v, "term",
                                (json_int_t)v->header.term.v, "time_us",
                                (json_int_t)v->header.time.us, "entry",
                                entry_kind_name(v->header.kind)),
                      e);
}

static int write_entries(struct bundle *b, struct lsn from, struct lsn to, struct err *e)
{
    struct site *s = b->site;
    while (from.v <= to.v) {
        size_t used, count;
        int rc = log_read(s->log, from, to, s->read_buffer, s->read_capacity, &used, &count, e);
        if (rc == ERR_LIMIT) {
            uint8_t *larger = realloc(s->read_buffer, used);
            if (larger == NULL)
                return err_set(e, ERR_NO_MEMORY, "out of memory");
            s->read_buffer = larger;
            s->read_capacity = used;
            continue;
        }
        if (rc != 0)
            return rc;
        struct bytes in = bytes_of(s->read_buffer, used);
        for (size_t i = 0; i < count; i++) {
            struct entry_view v;
            size_t taken;
            rc = entry_decode(in, &v, &taken, e);
            if (rc == 0)
                rc = write_entry(b, &v, e);
            if (rc != 0)
                return rc;
            in = bytes_of(in.p + taken, in.n - taken);
        }
        from.v += count;
    }
    return 0;
}

int divergence_export(struct site *s, struct lsn keep, struct err *e)
{
    char dir[SITE_PATH_BYTES + 16], name[SITE_PATH_BYTES + 128], temporary[SITE_PATH_BYTES + 136];
    (void)snprintf(dir, sizeof dir, "%s/divergence", s->config->data_dir);
    (void)snprintf(name, sizeof name, "%s/%llu-%llu-%llu.jsonl", dir,
                   (unsigned long long)s->tail.term.v, (unsigned long long)keep.v + 1,
                   (unsigned long long)s->tail.lsn.v);
    (void)snprintf(temporary, sizeof temporary, "%s.part", name);
    (void)mkdir(dir, 0700);

    struct bundle b = {.site = s};
    int rc = 0;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    b.out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (b.out == NULL) {
        rc = err_set(e, ERR_IO, "%s: %s", temporary, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    rc = write_line(&b,
                    json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "bundle", "triveni divergence 1",
                              "cluster", s->config->cluster, "site",
                              s->config->members[s->config->self].name, "term",
                              (json_int_t)s->tail.term.v, "first", (json_int_t)keep.v + 1, "last",
                              (json_int_t)s->tail.lsn.v),
                    e);
    if (rc == 0)
        rc = write_entries(&b, (struct lsn){keep.v + 1}, s->tail.lsn, e);
    if (rc == 0 && (fflush(b.out) != 0 || fsync(fd) != 0))
        rc = err_set(e, ERR_IO, "%s: %s", temporary, strerror(errno));
    if (fclose(b.out) != 0 && rc == 0)
        rc = err_set(e, ERR_IO, "%s: %s", temporary, strerror(errno));
    if (rc == 0 && rename(temporary, name) != 0)
        rc = err_set(e, ERR_IO, "%s: %s", name, strerror(errno));
    if (rc == 0)
        rc = file_sync_path(dir, e);
    if (rc == 0)
        events_add(s->events,
                   "divergence: %llu operations exported to %s; see triveni divergence list",
                   (unsigned long long)b.operations, name);
    return rc;
}
