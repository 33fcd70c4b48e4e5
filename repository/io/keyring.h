/* Generations of wrapped keys. Generation N is the folder keys/N with a key of every object, all wrapped under one KEK, and
 * keys/N.key, a key of its own that protects nothing and tells whether a KEK is that of the generation. The first
 * generation of an older archive has none. keys/N.retired says that the generation is given up: nothing is read from it or
 * written to it.
 *
 * The newest generation that our KEK opens is written to: one whose own file is damaged is ours only perhaps. A key that is
 * missing there is looked for in the older ones.
 *
 * keys/N/disposed.key seals the marks of what was disposed of, and is in each generation once there are any. */
#ifndef REPOSITORY_IO_KEYRING_H
#define REPOSITORY_IO_KEYRING_H

#include "repository/core/names.h"
#include "repository/io/kek.h"

struct repository;
struct repo_inventory;
struct repo_object;
struct repo_backend;

struct repo_generation {
    unsigned number;
    bool retired;
    bool headed;      /* keys/N.key is there; without it only its keys can tell whose it is */
    bool ours;        /* our KEK opens it; of one that is not headed: perhaps */
    bool id_known;    /* kek_id is */
    char damage[160]; /* what is wrong with keys/N.key or keys/N.retired; empty: nothing */
    uint8_t kek_id[REPO_KEK_ID_BYTES];
    struct utc made, given_up; /* zero: not known; not retired */
};
struct repo_keyring {
    struct repo_generation *at; /* newest first */
    size_t count;
};

/* What generations there are, as `kek` (NULL: none) sees them. The caller releases *out, also after an error. */
int repo_keyring_read(struct repository *r, const struct repo_kek *kek, struct repo_keyring *out,
                      struct err *e);
void repo_keyring_release(struct repo_keyring *k);
/* The newest generation that is ours; NULL when there is none. */
const struct repo_generation *repo_keyring_ours(const struct repo_keyring *k);
/* The one that a writer writes to: the newest of ours that says so itself, and only where none does perhaps ours. */
const struct repo_generation *repo_keyring_written(const struct repo_keyring *k);
/* The newest that is not retired; never NULL but in an archive whose generations were all retired. */
const struct repo_generation *repo_keyring_newest(const struct repo_keyring *k);

/* Read the keyring into r->keys. ERR_DENIED with the ids of all generations when the KEK is of none. */
int repo_keyring_open(struct repository *r, struct err *e);
/* Begin a generation: write its own key. */
int repo_generation_begin(struct repository *r, unsigned number, const struct repo_kek *kek,
                          struct err *e);
/* What that key's file is to hold, with another key each time; the caller frees *text. */
int repo_generation_text(struct repository *r, unsigned number, const struct repo_kek *kek,
                         uint8_t **text, size_t *n, struct err *e);
/* For a writer, before it wraps a key, with the keys locked: has a newer generation been begun, or ours been retired? When
 * the source of the KEK gives the key of the newest one, the keys that are missing there are added and it becomes ours;
 * otherwise ours goes on, and r->awaited says which one waits for its KEK. ERR_DENIED when there is none left to write to. */
int repo_keyring_follow(struct repository *r, struct err *e);

/* Unwrap the data key of an object. ERR_DENIED when it is there under other KEKs only, or the archive was opened keyless;
 * ERR_INTEGRITY when it is missing or damaged; the file, generations and KEK ids are named. */
int repo_key_of(struct repository *r, const char *object, struct repo_key *out, struct err *e);
/* Without a KEK: is the key there, in any generation, and the file of a key? ERR_INTEGRITY. */
int repo_key_seen(struct repository *r, const char *object, struct err *e);
/* Of an object of the inventory; ERR_NOT_FOUND and by whose order when it was disposed of, since the archive was opened too. */
int repo_object_key(struct repository *r, const struct repo_object *o, struct repo_key *out,
                    struct err *e);
/* The same from one generation under one KEK; ERR_NOT_FOUND when the file is not there. */
int repo_key_in(struct repository *r, unsigned generation, const struct repo_kek *kek,
                const char *object, struct repo_key *out, struct err *e);
/* Wrap, unwrap again: the file; the caller frees *text. */
int repo_key_text(struct repository *r, unsigned generation, const struct repo_kek *kek,
                  const char *object, const struct repo_key *key, uint8_t **text, size_t *n,
                  struct err *e);
/* The same, written once. Without `durable` the name is not synced yet: see repo_folder_sync_of. */
int repo_key_write(struct repository *r, unsigned generation, const struct repo_kek *kek,
                   const char *object, const struct repo_key *key, bool durable, struct err *e);

/* Give generation `number`, of `kek`, the keys of all objects of an inventory that it does not have, and compare those that
 * it has. */
struct repo_fill {
    void (*damage)(void *arg, const char *object, const char *reason); /* NULL: nobody asks */
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    uint64_t added, present, failed; /* added to */
};
int repo_keyring_fill(struct repository *r, const struct repo_inventory *inv, unsigned number,
                      const struct repo_kek *kek, struct repo_fill *f, struct err *e);

/* Whoever writes keys holds the lock with others; whoever gives up a generation holds it alone, and so does who cleans up.
 * Without `wait` ERR_BUSY. -1, and no lock, where the archive is no local directory. */
int repo_keys_lock(const struct repository *r, bool alone, bool wait, int *fd, struct err *e);
void repo_keys_unlock(int fd);

/* Is there such a file, in the archive or elsewhere; is the object finished (or was it removed or disposed of meanwhile)? */
bool repo_is_at(struct repo_backend *b, const char *name);
bool repo_is_there(struct repository *r, const char *name);
bool repo_is_finished(struct repository *r, const char *object);

#endif
