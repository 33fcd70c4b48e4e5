/* An object on its way into the archive.
 *
 * STATES: writing -> sealed (synced, read back, decrypted, decoded, compared) -> published key -> published object ->
 * published meta. The meta is what makes the object exist. A crash before it leaves a temporary file, a key, or a key and
 * an object that nobody refers to; the range is sealed again under another name with another key.
 *
 * Why everything is read back: a bit that flips between the caller's memory and the disk would otherwise be sealed, and
 * faithfully protected, for ever. The comparison is by XXH3-128 of the plaintext as given and of the plaintext as decoded. The
 * two SHA-256 of the meta are counted then, over what was read: every byte of the file is under the key, so what decrypts is
 * what was written. What a kind of object can prove besides, it proves of the decoded frames (pack.c). */
#include "repository/io/archive.h"

#include "store/core/check.h"

#include <stdio.h>

/* A failed sync makes this repository refuse all that follows. */
static int note_sync(struct repository *r, const struct repo_temp *t, const struct err *e, int rc)
{
    if (t->sync_failed) {
        r->failed = (struct err)ERR_NONE;
        err_set(&r->failed, ERR_IO, "%s", e == NULL ? "a sync failed" : e->text);
    }
    return rc;
}

int repo_text_name(struct repository *r, const char *name, struct bytes text, struct err *e)
{
    struct repo_temp t = REPO_TEMP_NONE;
    uint8_t *again = malloc(text.n);
    if (again == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: no memory to read it back", name);
    int rc = repo_temp_create(&t, r->backend, name, e);
    if (rc == 0)
        rc = repo_temp_write(&t, text.p, text.n, e);
    if (rc == 0)
        rc = repo_temp_sync(&t, e);
    struct repo_blob f = repo_temp_blob(&t);
    if (rc == 0 && (rc = repo_blob_read(&f, 0, again, text.n, e)) != 0)
        err_wrap(e, "%s", name);
    if (rc == 0 && memcmp(again, text.p, text.n) != 0)
        rc = err_set(e, ERR_INTEGRITY,
                     "%s: reads back otherwise than it was written; check the disk", name);
    if (rc == 0)
        rc = repo_temp_name(&t, e);
    rc = note_sync(r, &t, e, rc);
    repo_temp_drop(&t);
    free(again);
    return rc;
}

int repo_text_publish(struct repository *r, const char *name, struct bytes text, struct err *e)
{
    int rc = repo_text_name(r, name, text, e);
    if (rc != 0)
        return rc;
    struct repo_temp folder = REPO_TEMP_NONE;
    rc = repo_backend_settle(r->backend, &name, 1, e);
    folder.sync_failed = rc != 0;
    return note_sync(r, &folder, e, rc);
}

int repo_draft_begin(struct repository *r, struct repo_draft *d, struct repo_name *name,
                     struct err *e)
{
    char identity[REPO_IDENTITY_BYTES];
    int rc = repo_random(&name->unique, sizeof name->unique, e);
    if (rc == 0)
        rc = repo_random(d->key.b, sizeof d->key.b, e);
    if (rc != 0)
        return rc;
    repo_name_format(name, d->name);
    repo_identity_of(r, d->name, identity);
    rc = repo_temp_create(&d->temp, r->backend, d->name, e);
    if (rc == 0)
        rc = repo_writer_new(&d->writer, &d->temp, &d->key, identity, e);
    return rc;
}

static int read_back(struct repository *r, struct repo_draft *d, repo_frame_fn each, void *arg,
                     struct err *e)
{
    char identity[REPO_IDENTITY_BYTES];
    struct repo_container_facts again;
    repo_identity_of(r, d->name, identity);
    struct repo_blob f = repo_temp_blob(&d->temp);
    int rc = repo_reader_facts(&f, &d->key, identity, each, arg, &again, e);
    if (rc == 0 && (again.bytes != d->facts.bytes || again.plain_bytes != d->facts.plain_bytes ||
                    again.frames != d->facts.frames || again.content.lo != d->facts.content.lo ||
                    again.content.hi != d->facts.content.hi))
        rc = err_set(e, ERR_INTEGRITY, "what was decoded is not what was given");
    if (rc != 0) {
        err_wrap(e, "%s: reading back what was just written, check disk and memory of this machine",
                 d->name);
        return repo_damage(e);
    }
    d->facts = again;
    return 0;
}

int repo_draft_seal(struct repository *r, struct repo_draft *d, repo_frame_fn each, void *arg,
                    struct err *e)
{
    int rc = repo_writer_end(d->writer, &d->facts, e);
    repo_writer_free(d->writer);
    d->writer = NULL;
    if (rc == 0)
        rc = note_sync(r, &d->temp, e, repo_temp_sync(&d->temp, e));
    return rc == 0 ? read_back(r, d, each, arg, e) : rc;
}

int repo_draft_publish(struct repository *r, struct repo_draft *d, struct bytes meta, struct err *e)
{
    char name[REPO_NAME_BYTES];
    int lock = -1;
    int rc = repo_keys_lock(r, false, true, &lock, e);
    if (rc == 0)
        rc = repo_keyring_follow(r, e);
    if (rc == 0)
        rc = repo_key_write(r, r->writes, &r->kek, d->name, &d->key, true, e);
    if (rc == 0)
        rc = note_sync(r, &d->temp, e, repo_temp_publish(&d->temp, e));
    repo_name_meta(d->name, name);
    if (rc == 0)
        rc = repo_text_publish(r, name, meta, e);
    repo_keys_unlock(lock);
    return rc;
}

void repo_draft_object(const struct repo_draft *d, struct repo_object *out)
{
    (void)snprintf(out->name, sizeof out->name, "%s", d->name);
    out->bytes = d->facts.bytes;
    out->plain_bytes = d->facts.plain_bytes;
    out->sha256 = d->facts.sha256;
    out->plain_sha256 = d->facts.plain_sha256;
    out->created = repo_now();
}

void repo_draft_drop(struct repo_draft *d)
{
    repo_writer_free(d->writer);
    d->writer = NULL;
    repo_temp_drop(&d->temp);
    repo_wipe(&d->key, sizeof d->key);
}
