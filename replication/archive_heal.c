/* A pack that no copy has whole is made again: from its own file when only its meta is damaged, from this site's log while the
 * log still has its entries, and else from the log of another site.
 *
 * The entries are the same or the archive refuses them: they must lead from where the pack begins to exactly where it ends. So it
 * does not matter who gives them, and each site that is in reach is asked. */
#include "replication/site_parts.h"

#include "repository/scrub.h"

enum { PACK_MAX_BYTES = 256 << 20 }; /* of entries: four times the largest that is sealed */

/* log_fetch_fn, of the site's own log */
static int read_log(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                    size_t *used, size_t *count, struct err *e)
{
    struct site *s = arg;
    return log_read(s->log, from, to, buf, cap, used, count, e);
}

/* Every entry of first..last, back to back; the caller frees *out, also after an error. */
int archive_read_entries(log_fetch_fn read, void *arg, size_t cap, const struct repo_name *pack,
                         uint8_t **out, size_t *bytes, struct err *e)
{
    const struct lsn first = pack->first, last = pack->last;
    size_t used = 0, count = 0;
    *bytes = 0;
    *out = malloc(cap);
    for (struct lsn at = first; at.v <= last.v; at.v += count) {
        if (*out == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of a pack", cap);
        int rc = read(arg, at, last, *out + *bytes, cap - *bytes, &used, &count, e);
        if (rc != 0 && rc != ERR_LIMIT)
            return rc;
        if (rc == 0) {
            *bytes += used;
            continue;
        }
        cap = *bytes + used + cap; /* the next entry did not fit; it has `used` bytes */
        if (cap > PACK_MAX_BYTES)
            return err_set(e, ERR_LIMIT, "no pack has so many bytes");
        uint8_t *larger = realloc(*out, cap);
        if (larger == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of a pack", cap);
        *out = larger;
        count = 0;
    }
    return 0;
}

/* 0: made again of what `read` gives, as `named`. */
static int heal_with(struct site *s, struct repository *r, const char *object,
                     const struct repo_name *name, log_fetch_fn read, void *arg, bool own,
                     char named[REPO_NAME_BYTES], struct err *e)
{
    uint8_t *entries = NULL;
    size_t bytes = 0;
    int rc = archive_read_entries(read, arg, s->config->pack_bytes + ENTRY_HEADER_BYTES, name,
                                  &entries, &bytes, e);
    if (rc == 0)
        rc = repository_heal_pack(r, object, bytes_of(entries, bytes), own, named, e);
    free(entries);
    return rc;
}

/* From the log of any other site. Otherwise ERR_UNREACHABLE when none was in reach, and why the last one could not. */
static int heal_from_sites(struct site *s, struct repository *r, const char *object,
                           const struct repo_name *name, char named[REPO_NAME_BYTES],
                           char where[SITE_PATH_BYTES], struct err *e)
{
    int rc = err_set(e, ERR_UNREACHABLE, "no other site can be reached");
    for (uint8_t i = 0; rc != 0 && i < REPL_SITES_MAX; i++) {
        struct care_source source = {s->care, i};
        struct err why = ERR_NONE;
        if (!care_reaches(s->care, i))
            continue;
        rc = heal_with(s, r, object, name, care_fetch, &source, false, named, &why);
        if (rc != 0)
            *e = why;
        (void)snprintf(where, SITE_PATH_BYTES, "the log of %s, as %s", s->config->members[i].name,
                       named);
    }
    return rc;
}

/* Without the name of the object, which who is told knows. */
static const char *reason_of(const char *object, const char *text)
{
    const size_t n = strlen(object);
    const bool named = strncmp(text, object, n) == 0 && text[n] == ':';
    return named ? text + n + 1 + strspn(text + n + 1, " ") : text;
}

int archive_heal_by_entries(struct site *s, struct repository *r, const char *object,
                            struct lsn committed, char where[SITE_PATH_BYTES], struct err *e)
{
    const struct err copies = *e;
    struct err file = ERR_NONE, own = ERR_NONE, others = ERR_NONE;
    struct repo_name name;
    char named[REPO_NAME_BYTES] = "";
    if (repo_name_parse(object, &name) != 0 || name.kind != REPO_PACK)
        return copies.code;
    if (r == NULL)
        return err_set(e, ERR_NOT_READY,
                       "%.200s; the archive is not open for writing, see its trouble", copies.text);
    int rc = repository_salvage_pack(r, object, named, &file);
    if (rc == 0) {
        (void)snprintf(where, SITE_PATH_BYTES, "its own file, as %s", named);
        *e = (struct err)ERR_NONE;
        return 0;
    }
    rc = heal_with(s, r, object, &name, read_log, s, name.last.v <= committed.v, named, &own);
    if (rc == 0)
        (void)snprintf(where, SITE_PATH_BYTES, "the log, as %s", named);
    else
        rc = heal_from_sites(s, r, object, &name, named, where, &others);
    const char *why = reason_of(object, file.text);
    if (rc != 0)
        return err_set(e, rc,
                       "%.130s; from its own file: %.100s; from the log: %.90s; from other sites: "
                       "%.90s",
                       copies.text, why, own.text, others.text);
    if (file.code != ERR_NOT_FOUND) /* otherwise that it is missing is what was told */
        events_add(s->events,
                   "archive: %s was not made again from its own file: %.300s; its entries came "
                   "from %s; nothing need be done, but look at the disk that it lies on",
                   object, why, where);
    *e = (struct err)ERR_NONE;
    return 0;
}
