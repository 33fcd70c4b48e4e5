/* Isolation for drills: an operator cuts this live site off from the other sites, from clients, or from both, for a bounded time.
 *
 * What is cut is closed with the reason, and refused with it until the end; this site opens no link either. Operators keep
 * their connections, or a drill could neither be watched nor ended, but their requests for data are refused like everybody's. The
 * protocol core is told nothing but that its links are closed: what follows is what follows from a real partition, only sooner
 * noticed.
 *
 * A primary first lets the others have the entry of the order in the audit trail: cut off at once it would alone have it, and
 * undo it when it comes back.
 *
 * DURABLE. The end is in the file `isolation` before anything is cut, so a restart in between comes back isolated, with the same
 * end (replication/core/isolation.h). The file is written anew each minute, so that a machine that starts again and again with a
 * wrong clock prolongs it by no more than that. A file that cannot be read isolates nobody: a drill that ends too early does no
 * harm. */
#include "replication/service.h"

#include "store/core/check.h"
#include "store/core/hex.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ISOLATION_FILE "isolation"
enum {
    RENEW_US = 60 * 1000000,
    AUDIT_MS = 500, /* for the order itself to be committed, before a primary is cut off */
};

static struct isolation_now now_of(void)
{
    struct isolation_now now = {.boot_us = site_boot_us(), .wall = {site_now_us()}};
    char text[UUID_TEXT_BYTES] = {0};
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text - 1) == sizeof text - 1)
        (void)uuid_of_text(text, &now.boot);
    if (fd >= 0)
        (void)close(fd);
    return now;
}

/* ---- the file ---- */

static void path_of(const struct site *s, const char *suffix, char out[SITE_PATH_BYTES + 32])
{
    (void)snprintf(out, SITE_PATH_BYTES + 32, "%s/" ISOLATION_FILE "%s", s->config->data_dir,
                   suffix);
}

static int save(struct site *s, const struct isolation *i, struct err *e)
{
    uint8_t bytes[ISOLATION_BYTES];
    char path[SITE_PATH_BYTES + 32], fresh[SITE_PATH_BYTES + 32];
    path_of(s, "", path);
    path_of(s, ".new", fresh);
    isolation_encode(i, bytes);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = fd < 0 ? file_error(e, fresh, "create", errno)
                    : file_write_at(fd, fresh, bytes, sizeof bytes, 0, e);
    if (rc == 0 && fsync(fd) != 0)
        rc = file_error(e, fresh, "sync", errno);
    if (fd >= 0)
        (void)close(fd);
    if (rc == 0 && rename(fresh, path) != 0)
        rc = file_error(e, path, "replace", errno);
    s->isolation_saved_us = site_boot_us();
    return rc != 0 ? rc : file_sync_parent(path, e);
}

static void forget(struct site *s)
{
    char path[SITE_PATH_BYTES + 32];
    struct err e = ERR_NONE;
    path_of(s, "", path);
    int rc = unlink(path) != 0 && errno != ENOENT ? file_error(&e, path, "remove", errno) : 0;
    if (rc == 0)
        rc = file_sync_parent(path, &e);
    if (rc != 0)
        events_add(s->events,
                   "isolation: a restart before its end would begin it again: %s; remove the file",
                   e.text);
}

static int load(struct site *s, struct isolation *i, struct err *e)
{
    uint8_t bytes[ISOLATION_BYTES + 1];
    char path[SITE_PATH_BYTES + 32];
    size_t n = 0;
    path_of(s, "", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_error(e, path, "open", errno);
    int rc = file_read_at(fd, path, bytes, sizeof bytes, 0, &n, e);
    (void)close(fd);
    if (rc == 0)
        rc = isolation_decode(bytes_of(bytes, n), i, e);
    return rc != 0 && rc != ERR_IO ? err_wrap(e, "%s", path) : rc;
}

/* ---- cutting and healing ---- */

static const char *whom(unsigned links)
{
    return links == ISOLATE_SITES     ? "the other sites"
           : links == ISOLATE_CLIENTS ? "clients"
                                      : "the other sites and clients";
}

/* For who is refused. The code says that another site may be tried. */
static struct err refusal(const struct site *s)
{
    struct err why = ERR_NONE;
    char until[SITE_TIME_BYTES];
    site_time_text(s->isolation.until.us, until);
    (void)err_set(&why, ERR_UNREACHABLE,
                  "%s is isolated until %s for a drill (triveni isolate, by %.64s)",
                  s->config->members[s->config->self].name, until, s->isolation.by);
    return why;
}

bool isolation_cuts(const struct site *s, unsigned links)
{
    return (s->isolation.links & links) != 0;
}

int isolation_refuse(const struct site *s, struct err *e)
{
    struct err why = refusal(s);
    return err_set(e, why.code, "%s", why.text);
}

/* Make it so. What was cut before and is still cut is told the new end when it knocks. */
void isolation_apply(struct site *s)
{
    unsigned links = s->isolation.links;
    struct err why = refusal(s);
    listener_refuse(s->peer_listener, (links & ISOLATE_SITES) != 0 ? 1u << WIRE_SITE : 0, &why);
    listener_refuse(s->client_listener, (links & ISOLATE_CLIENTS) != 0 ? 1u << WIRE_CLIENT : 0,
                    &why);
    peers_isolate(s, (links & ISOLATE_SITES) != 0, &why);
    if ((links & ISOLATE_CLIENTS) != 0)
        service_isolate(s, &why);
}

static void end(struct site *s, const char *why)
{
    s->isolation_waits.by_ms = 0;
    events_add(s->events, "isolation from %s: ended %s", whom(s->isolation.links), why);
    forget(s);
    s->isolation.links = 0;
    isolation_apply(s);
}

void isolation_open(struct site *s)
{
    struct err e = ERR_NONE;
    struct isolation_now now = now_of();
    int rc = load(s, &s->isolation, &e);
    if (rc == ERR_NOT_FOUND)
        return;
    if (rc != 0) {
        s->isolation = (struct isolation){.links = 0};
        events_add(s->events, "isolation: this site is not isolated, whatever it was before: %s",
                   e.text);
        return;
    }
    unsigned links = s->isolation.links;
    isolation_renew(&s->isolation, &now);
    if (s->isolation.links == 0) {
        events_add(s->events, "isolation from %s: it ended while this site did not run",
                   whom(links));
        forget(s);
        return;
    }
    events_add(s->events,
               "isolation from %s: ordered by operator %s before the restart, goes on for "
               "%llu ms",
               whom(links), s->isolation.by, (unsigned long long)(s->isolation.left_us / 1000));
    if (save(s, &s->isolation, &e) != 0)
        events_add(s->events, "isolation: its end is not renewed: %s", e.text);
}

void isolation_tick(struct site *s)
{
    uint64_t now_us = s->isolation.links != 0 ? site_boot_us() : 0;
    if (s->isolation.links == 0)
        return;
    if (s->isolation_waits.by_ms != 0 && (s->marks.commit.v >= s->isolation_waits.lsn.v ||
                                          site_now_ms() >= s->isolation_waits.by_ms)) {
        s->isolation_waits.by_ms = 0;
        isolation_apply(s);
    }
    if (isolation_left_us(&s->isolation, now_us) == 0) {
        end(s, "by itself: its time is up");
    } else if (now_us - s->isolation_saved_us >= RENEW_US) {
        struct isolation_now now = now_of();
        struct err e = ERR_NONE;
        isolation_renew(&s->isolation, &now);
        if (save(s, &s->isolation, &e) != 0)
            events_add(s->events, "isolation: its end is not renewed: %s", e.text);
    }
}

/* ---- what operators see and order ---- */

json_t *isolation_json(const struct site *s)
{
    const struct isolation *i = &s->isolation;
    if (i->links == 0)
        return json_null();
    return json_pack("{s:s, s:s, s:I, s:I}", "links", isolation_links_name(i->links), "by", i->by,
                     "until_us", (json_int_t)i->until.us, "left_ms",
                     (json_int_t)(isolation_left_us(i, site_boot_us()) / 1000));
}

bool isolation_trouble(const struct site *s, char *out, size_t n)
{
    if (s->isolation.links == 0)
        return false;
    (void)snprintf(out, n,
                   "is isolated from %s for a drill, by operator %s, for another %llu s; triveni "
                   "isolate %s --end ends it",
                   whom(s->isolation.links), s->isolation.by,
                   (unsigned long long)(isolation_left_us(&s->isolation, site_boot_us()) / 1000000),
                   s->config->members[s->config->self].name);
    return true;
}

static json_t *answer(const struct site *s, bool audited)
{
    return json_pack("{s:s, s:o, s:b}", "site", s->config->members[s->config->self].name,
                     "isolated", isolation_json(s), "audited", audited);
}

/* The act goes into the audit trail where that is written: at the primary, before it is cut off. Any other site says that it
 * did not, and the tool gives the same order to the primary for that. */
static bool audit(struct site *s, const struct client *c, const char *site, bool ends,
                  uint64_t for_ms, unsigned links)
{
    bool can = site_is_ready(s);
    json_t *details = ends ? json_pack("{s:s, s:b}", "site", site, "end", true)
                           : json_pack("{s:s, s:I, s:s}", "site", site, "for_ms",
                                       (json_int_t)for_ms, "links", isolation_links_name(links));
    if (can)
        service_audit(s, c, "isolate", details);
    else
        json_decref(details);
    return can;
}

static int for_another(struct site *s, const struct client *c, const char *site, bool ends,
                       uint64_t for_ms, unsigned links, json_t **reply, struct err *e)
{
    bool known = false;
    for (uint32_t i = 0; i < s->config->member_count; i++)
        known = known || strcmp(site, s->config->members[i].name) == 0;
    if (!known)
        return err_set(e, ERR_NOT_FOUND, "no site is called '%.40s'", site);
    int rc = admin_require_serving(s, e);
    if (rc == 0)
        *reply = json_pack("{s:s, s:b}", "site", site, "audited",
                           audit(s, c, site, ends, for_ms, links));
    return rc;
}

int isolation_command(struct site *s, const struct client *c, json_t *arguments, json_t **reply,
                      struct err *e)
{
    const char *self = s->config->members[s->config->self].name;
    const char *site = json_string_value(json_object_get(arguments, "site"));
    const char *text = json_string_value(json_object_get(arguments, "links"));
    json_int_t for_ms = json_integer_value(json_object_get(arguments, "for_ms"));
    bool ends = json_is_true(json_object_get(arguments, "end"));
    unsigned links = isolation_links(text != NULL ? text : "both");
    if (site == NULL)
        return err_set(e, ERR_USAGE, "isolate needs site");
    if (!ends && links == 0)
        return err_set(e, ERR_USAGE, "links must be sites, clients or both");
    if (!ends && (for_ms < ISOLATION_MIN_MS || for_ms > ISOLATION_MAX_MS))
        return err_set(e, ERR_USAGE, "for_ms must be from %d (a second) to %d (a day)",
                       ISOLATION_MIN_MS, ISOLATION_MAX_MS);
    if (strcmp(site, self) != 0)
        return for_another(s, c, site, ends, (uint64_t)for_ms, links, reply, e);
    if (ends && s->isolation.links == 0) {
        *reply = answer(s, true); /* it is as the operator wants it */
        return 0;
    }
    bool audited = audit(s, c, site, ends, (uint64_t)for_ms, links);
    if (ends) {
        char why[CLIENT_NAME_MAX_BYTES + 32];
        (void)snprintf(why, sizeof why, "by operator %s", c->name);
        end(s, why);
    } else {
        struct isolation_now now = now_of();
        struct isolation asked;
        isolation_begin(&asked, links, (uint64_t)for_ms * 1000, c->name, &now);
        int rc = save(s, &asked, e);
        if (rc != 0 && s->isolation.links == 0)
            forget(s);
        if (rc != 0)
            return err_wrap(e, "the end of the isolation cannot be kept, so it does not begin");
        s->isolation = asked;
        events_add(s->events, "isolation from %s: begun by operator %s, for %lld ms", whom(links),
                   c->name, (long long)for_ms);
        s->isolation_waits.lsn = s->tail.lsn;
        s->isolation_waits.by_ms = audited ? site_now_ms() + AUDIT_MS : 0;
        if (!audited)
            isolation_apply(s);
    }
    *reply = answer(s, audited);
    return 0;
}
