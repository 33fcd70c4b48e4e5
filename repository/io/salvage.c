/* A pack of which only the meta is lost or damaged is made again from its own file, which lies there unharmed: key, seek table
 * and every segment are authentic under the pack's name, so the entries are those that were sealed.
 *
 * They go the way of entries from any log (repository_heal_pack): into a new pack with a new meta, which they must lead to from
 * where the old one begins. So nothing is believed of the file but what the archive itself proves. */
#include "repository/scrub.h"

#include "repository/io/archive.h"
#include "repository/io/container.h"
#include "repository/io/keyring.h"

#include <stdio.h>
#include <stdlib.h>

/* All frames back to back. The caller frees *out, also after an error. */
static int read_frames(struct repo_reader *reader, uint64_t file_bytes, uint8_t **out, size_t *n,
                       struct err *e)
{
    size_t cap = 0;
    for (uint32_t i = 0; i < repo_reader_frames(reader); i++) {
        struct bytes frame;
        int rc = repo_reader_frame(reader, i, &frame, e);
        if (rc != 0)
            return rc;
        if (*out == NULL || *n + frame.n > cap) {
            cap = 2 * (*n + frame.n) + (size_t)file_bytes;
            uint8_t *larger = realloc(*out, cap);
            if (larger == NULL)
                return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of a pack", cap);
            *out = larger;
        }
        memcpy(*out + *n, frame.p, frame.n);
        *n += frame.n;
    }
    return 0;
}

static int read_entries(struct repository *r, const struct repo_object *o, uint8_t **out, size_t *n,
                        struct err *e)
{
    struct repo_blob file = REPO_BLOB_NONE;
    struct repo_reader *reader = NULL;
    struct repo_key key;
    char identity[REPO_IDENTITY_BYTES];
    repo_identity_of(r, o->name, identity);
    int rc = repo_object_key(r, o, &key, e);
    if (rc == 0)
        rc = repo_blob_open(&file, r->backend, o->name, e);
    const bool absent = rc == ERR_NOT_FOUND;
    if (rc == 0)
        rc = repo_reader_new(&reader, &file, &key, identity, e);
    if (rc == 0)
        rc = read_frames(reader, file.bytes, out, n, e);
    repo_wipe(&key, sizeof key);
    repo_reader_free(reader);
    repo_blob_close(&file);
    return rc == 0 || absent ? rc : repo_damage(e);
}

int repository_salvage_pack(struct repository *r, const char *object, char *named, struct err *e)
{
    const struct repo_pack *pack = repo_pack_named(&r->inv, object);
    uint8_t *entries = NULL;
    size_t n = 0;
    if (pack == NULL)
        return err_set(e, ERR_NOT_FOUND, "the archive has no pack named %s", object);
    int rc = read_entries(r, &pack->o, &entries, &n, e);
    if (rc == 0)
        rc = repository_heal_pack(r, object, bytes_of(entries, n), true, named, e);
    free(entries);
    return rc;
}

/* ---- all of them ---- */

static bool is_salvageable(struct repository *r, const struct repo_pack *p)
{
    return p->o.damaged && !p->o.closed && repo_is_there(r, p->o.name);
}

uint64_t repository_salvageable(struct repository *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->inv.pack_count; i++)
        n += is_salvageable(r, &r->inv.packs[i]);
    return n;
}

int repository_salvage(struct repository *r,
                       void (*told)(void *arg, const char *object, const char *what), void *arg,
                       uint64_t *made, struct err *e)
{
    const size_t n = r->inv.pack_count; /* with each that is made the inventory is another one */
    char(*names)[REPO_NAME_BYTES] = calloc(n + 1, sizeof *names);
    int rc = names == NULL ? err_set(e, ERR_NO_MEMORY, "no memory for names of packs") : 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (is_salvageable(r, &r->inv.packs[i]))
            memcpy(names[i], r->inv.packs[i].o.name, sizeof names[i]);
    *made = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char named[REPO_NAME_BYTES], what[ERR_TEXT_BYTES];
        struct err why = ERR_NONE;
        if (names[i][0] == '\0')
            continue;
        int done = repository_salvage_pack(r, names[i], named, &why);
        if (done == 0)
            (void)snprintf(what, sizeof what, "made again from its own file, as %s", named);
        else
            (void)snprintf(what, sizeof what, "not made again from its own file: %.400s", why.text);
        told(arg, names[i], what);
        *made += done == 0;
        if (done == ERR_NO_MEMORY || r->failed.code != 0)
            rc = err_set(e, done, "%s", why.text);
    }
    free(names);
    return rc;
}
