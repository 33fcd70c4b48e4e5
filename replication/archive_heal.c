/* A pack that no copy has whole is made again from this site's log, when the log still has its entries.
 *
 * The entries are the same or the archive refuses them: they must lead from where the pack begins to exactly where it ends. */
#include "replication/site_parts.h"

#include "repository/scrub.h"

/* Every entry of first..last, back to back; the caller frees *out, also after an error. */
static int read_all(struct site *s, struct lsn first, struct lsn last, uint8_t **out, size_t *bytes,
                    struct err *e)
{
    size_t cap = s->config->pack_bytes + ENTRY_HEADER_BYTES, used = 0, count = 0;
    *bytes = 0;
    *out = malloc(cap);
    for (struct lsn at = first; at.v <= last.v; at.v += count) {
        if (*out == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of a pack", cap);
        int rc = log_read(s->log, at, last, *out + *bytes, cap - *bytes, &used, &count, e);
        if (rc != 0 && rc != ERR_LIMIT)
            return rc;
        if (rc == 0) {
            *bytes += used;
            continue;
        }
        cap = *bytes + used + cap; /* the next entry did not fit; it has `used` bytes */
        uint8_t *larger = realloc(*out, cap);
        if (larger == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of a pack", cap);
        *out = larger;
        count = 0;
    }
    return 0;
}

int archive_heal_from_log(struct site *s, struct repository *r, const char *object,
                          struct lsn committed, char where[SITE_PATH_BYTES], struct err *e)
{
    const struct err copies = *e;
    struct err why = ERR_NONE;
    struct repo_name name;
    char named[REPO_NAME_BYTES];
    uint8_t *entries = NULL;
    size_t bytes = 0;
    int rc = 0;
    if (repo_name_parse(object, &name) != 0 || name.kind != REPO_PACK)
        return copies.code;
    if (r == NULL)
        rc = err_set(&why, ERR_NOT_READY, "the archive is not open for writing, see its trouble");
    if (rc == 0)
        rc = read_all(s, name.first, name.last, &entries, &bytes, &why);
    if (rc == 0)
        rc = repository_heal_pack(r, object, bytes_of(entries, bytes), name.last.v <= committed.v,
                                  named, &why);
    free(entries);
    if (rc != 0)
        return err_set(e, rc, "%.200s; from the log: %.250s", copies.text, why.text);
    *e = (struct err)ERR_NONE;
    (void)snprintf(where, SITE_PATH_BYTES, "the log, as %s", named);
    return 0;
}
