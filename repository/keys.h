/* Generations of the archive's wrapped keys: each object has a data key of its own, and each generation has all of them under one
 * key-encryption key. Rotation adds a generation and rewrites no object; retiring removes one, in a second step.
 *
 * For a process of its own beside a site that archives; the site follows (docs/OPERATIONS.md). An archive is given as opened with
 * read_only. Progress and damage as in repository_verify. */
#ifndef REPOSITORY_KEYS_H
#define REPOSITORY_KEYS_H

#include "repository/repository.h"

enum { REPOSITORY_KEK_ID_BYTES = 17 };

struct repository_generation {
    unsigned number;
    char kek_id[REPOSITORY_KEK_ID_BYTES]; /* of the KEK; empty: not known */
    struct utc made, retired;             /* zero: not known, because it is old; not retired */
    uint64_t keys, objects;               /* how many of the archive's objects have a key in it */
    bool damaged;                         /* the file that says so is */
};
/* What generations there are, oldest first. No KEK is needed. */
int repository_generations(const char *dir,
                           int (*each)(void *arg, const struct repository_generation *), void *arg,
                           struct err *e);

struct repository_keys_work {
    void (*damage)(void *arg, const char *object, const char *reason);
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};
struct repository_keys_report {
    unsigned generation;
    char kek_id[REPOSITORY_KEK_ID_BYTES];
    uint64_t added, compared, failed;
    bool begun;    /* rotate: it was begun now, not continued */
    uint64_t gone; /* retire: keys that were removed */
};
/* Wrap every data key also under the KEK from `kek` (as in struct repository_options): in the newest generation when it is
 * of that KEK, otherwise in a new one. Can be stopped at any moment and called again, and again when objects were added
 * meanwhile. ERR_INTEGRITY when a data key cannot be had or differs; the others are done all the same. */
int repository_keys_rotate(struct repository *r, const char *kek,
                           const struct repository_keys_work *work,
                           struct repository_keys_report *out, struct err *e);
/* Unwrap every key of a generation (0: the newest that the archive's KEK opens) and hold it against its own seal and that of its
 * object's meta. ERR_INTEGRITY when one is missing or fails. */
int repository_keys_check(struct repository *r, unsigned generation,
                          const struct repository_keys_work *work,
                          struct repository_keys_report *out, struct err *e);
/* Give up a generation: when all keys of the newest one that the archive's KEK opens are checked, which must be another one, its
 * keys are removed. Can be called again after a crash. ERR_CONDITION when an object has its key there only, ERR_BUSY when keys
 * are being written. */
int repository_keys_retire(struct repository *r, unsigned generation,
                           const struct repository_keys_work *work,
                           struct repository_keys_report *out, struct err *e);

#endif
