/* The small text files of the archive: repository.json, the wrapped keys, and the meta of packs and snapshots.
 *
 * FORMAT: two lines, each a JSON object. The first is the content. The second is a seal over the first line with its
 * line end: {"mac":"<HMAC-SHA256, 64 hex digits>"} under the data key of the object for keys and metas, and
 * {"sha256":"<64 hex digits>"} for repository.json. So every changed byte is found, and without the KEK nobody makes up a
 * restore point or a digest. Members: docs/REPOSITORY-FORMAT.md. */
#ifndef REPOSITORY_IO_META_H
#define REPOSITORY_IO_META_H

#include "repository/core/inventory.h"
#include "repository/io/crypto.h"

enum {
    REPO_TEXT_MAX_BYTES = 256 << 20, /* a pack of nothing but restore points */
    REPO_SMALL_TEXT_MAX_BYTES = 64 << 10,
};

/* Where a frame of a pack begins in the log. */
struct repo_frame_start {
    struct lsn lsn;
    struct utc time;
};

struct repo_about { /* repository.json */
    struct uuid cluster_id;
    char cluster[64];
    struct utc created;
};

struct repo_wrapped { /* keys/<generation>/<object>.key, keys/<generation>.key */
    uint8_t kek_id[REPO_KEK_ID_BYTES];
    uint8_t wrapped[REPO_WRAPPED_BYTES];
    struct utc created;
};

struct repo_retired {           /* keys/<generation>.retired */
    unsigned generation, after; /* the one that is given up; the one that was checked before */
    uint8_t kek_id[REPO_KEK_ID_BYTES]; /* of the one that is given up; zero: not known */
    struct utc when;
};

/* Of an object that was disposed of they write and read its mark: the same members, no frames and points, and "disposed".
 * Writers: *out is the whole file, allocated; the caller frees it. Identity is that of the text file's own name. */
int repo_about_write(const struct repo_about *a, uint8_t **out, size_t *n, struct err *e);
int repo_wrapped_write(const struct repo_wrapped *k, const struct repo_key *key,
                       const char *identity, uint8_t **out, size_t *n, struct err *e);
int repo_retired_write(const struct repo_retired *x, uint8_t **out, size_t *n, struct err *e);
int repo_pack_write(const struct repo_pack *p, const struct repo_frame_start *frames,
                    const struct uuid *cluster, const struct repo_key *key, const char *identity,
                    uint8_t **out, size_t *n, struct err *e);
int repo_snapshot_write(const struct repo_snapshot *s, const struct uuid *cluster,
                        const struct repo_key *key, const char *identity, uint8_t **out, size_t *n,
                        struct err *e);
int repo_index_write(const struct repo_index *x, const struct uuid *cluster,
                     const struct repo_key *key, const char *identity, uint8_t **out, size_t *n,
                     struct err *e);

/* A line of another kind, which has no line end, and its seal. */
int repo_seal_write(struct bytes line, const struct repo_key *key, const char *identity,
                    uint8_t **out, size_t *n, struct err *e);

/* Readers: 0, ERR_FORMAT with what is wrong, ERR_INTEGRITY when the seal does not hold. */
int repo_about_read(struct bytes text, struct repo_about *out, struct err *e);
int repo_retired_read(struct bytes text, struct repo_retired *out, struct err *e);
/* The seal of a wrapped key can be checked only when it is unwrapped: repo_seal_check. */
int repo_wrapped_read(struct bytes text, struct repo_wrapped *out, struct err *e);
int repo_seal_check(struct bytes text, const struct repo_key *key, const char *identity,
                    struct err *e);
/* Seal (key NULL: only that there is one) and content; the object named in the text must be `object` and its cluster `cluster`.
 * out->points (and *frames when not NULL, out->frames of them) are allocated: repo_pack_release, free. */
int repo_pack_read(struct bytes text, const struct uuid *cluster, const char *object,
                   const struct repo_key *key, const char *identity, struct repo_pack *out,
                   struct repo_frame_start **frames, struct err *e);
void repo_pack_release(struct repo_pack *p);
int repo_snapshot_read(struct bytes text, const struct uuid *cluster, const char *object,
                       const struct repo_key *key, const char *identity, struct repo_snapshot *out,
                       struct err *e);
int repo_index_read(struct bytes text, const struct uuid *cluster, const char *object,
                    const struct repo_key *key, const char *identity, struct repo_index *out,
                    struct err *e);

#endif
