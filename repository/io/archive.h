/* Inside of the repository: what the files of this folder share. Not for others. */
#ifndef REPOSITORY_IO_ARCHIVE_H
#define REPOSITORY_IO_ARCHIVE_H

#include "repository/core/inventory.h"
#include "repository/core/snaprec.h"
#include "repository/io/container.h"
#include "repository/io/keyring.h"
#include "repository/io/meta.h"
#include "repository/repository.h"

struct repository {
    struct repo_backend *backend;
    bool read_only;
    bool keyless; /* opened without a key-encryption key: kek and kek_source mean nothing */
    repository_vouched_fn vouched; /* NULL: whoever signed */
    void *vouched_arg;
    struct repo_about about;
    char *where; /* as it was opened */
    char *kek_source;
    struct repo_kek kek;
    struct repo_keyring keys;
    unsigned writes;  /* generation that keys of new objects go to */
    unsigned awaited; /* a newer generation whose KEK we were not given yet; 0: none */
    bool unread;      /* opened to be verified, and not yet: `inv` holds nothing */
    struct repo_inventory inv;
    uint64_t unfinished;
    size_t starts_bytes;                /* of packs in `inv`, at most */
    struct err failed;                  /* a sync failed: nothing more is written */
    struct repo_tree *tree;             /* NULL: not opened */
    struct repo_operations *operations; /* the same */
    struct repo_recent *recent;         /* recent.h; NULL: nothing was sealed */
    struct utc opened;
};

/* ---- repository.c ---- */
int repo_about_load(struct repository *r, struct err *e);
/* Remove temporary files of keys that an interrupted writer left, unless somebody is writing keys. */
void repo_keys_clean(struct repository *r);

/* ---- scan.c: from files to an inventory ---- */
/* List the folders and read every meta; but what `known` (NULL: nothing) holds undamaged is taken from there, and `known` is only
 * to be released after that. Objects that cannot be used are in the inventory with their reason. *unfinished counts
 * objects and keys that have no meta. ERR_DENIED when the KEK opens none of the keys. */
int repo_scan(struct repository *r, struct repo_inventory *known, struct repo_inventory *out,
              uint64_t *unfinished, struct err *e);
void repo_inventory_release(struct repo_inventory *inv);
/* Indexes over something that was disposed of are none any more: their keys go with it, and where a place does not let go of a
 * file that lies in it, it says nothing. */
void repo_forget_indexes(struct repo_inventory *inv);
/* What has a key that is needed, sorted: the objects that have a meta, were not disposed of, are no index over what was, and are
 * in no other object of the inventory, and REPO_MARKS when any was disposed of. The caller releases them, also after an error. */
struct repo_names {
    char (*at)[REPO_NAME_BYTES];
    size_t n, cap;
};
int repo_list_keyed(struct repository *r, struct repo_names *out, struct err *e);
bool repo_names_have(const struct repo_names *l, const char *name);
void repo_names_release(struct repo_names *l);
/* The meta file of an object, whole; the caller frees it. */
int repo_meta_text(struct repository *r, const char *object, uint8_t **out, size_t *n,
                   struct err *e);
/* Identity that the seal of a text file is bound to. */
void repo_identity_of(const struct repository *r, const char *name, char out[REPO_IDENTITY_BYTES]);
struct utc repo_now(void);

/* ---- missing.c ---- */
/* How many entries the tree's checkpoint says that it has; nobody looked whether it is signed. 0: there is none. */
uint64_t repo_tree_claims(struct repository *r);
/* When the packs do not stand as they should, or end before a tree of `claimed` entries: put those that the signed operations
 * log names, and that are missing, to their places as damaged ones, and give all that are damaged the positions that are
 * proven. */
int repo_inventory_complete(struct repository *r, uint64_t claimed, struct repo_inventory *inv,
                            struct err *e);
/* ERR_NOT_FOUND when the operations log says that the object was disposed of, whether its mark is there or not. */
int repo_recorded_disposed(struct repository *r, const char *object, struct err *e);
/* Is this the entry that the signed tree has there? 0 also where it does not reach, or is not there; ERR_INTEGRITY. */
int repo_tree_agrees(struct repository *r, const struct entry_position *p, struct err *e);

/* ---- draft.c: an object on its way into the archive ---- */
struct repo_draft {
    char name[REPO_NAME_BYTES];
    struct repo_key key;
    struct repo_temp temp;
    struct repo_writer *writer;
    struct repo_container_facts facts; /* after repo_draft_seal */
};
#define REPO_DRAFT_NONE                                                                            \
    {                                                                                              \
        .temp = REPO_TEMP_NONE                                                                     \
    }
/* Draw a key and begin to write. name->unique is drawn too. */
int repo_draft_begin(struct repository *r, struct repo_draft *d, struct repo_name *name,
                     struct err *e);
/* No more frames: sync, read everything back, compare with what was given. `each` (may be NULL) is shown the frames as decoded;
 * what it refuses was read back damaged. */
int repo_draft_seal(struct repository *r, struct repo_draft *d, repo_frame_fn each, void *arg,
                    struct err *e);
/* Key, object, meta: each under its name and durable before the next. */
int repo_draft_publish(struct repository *r, struct repo_draft *d, struct bytes meta,
                       struct err *e);
void repo_draft_drop(struct repo_draft *d);
/* Write a small file once, read it back, give it its name. repo_text_name leaves it to the caller to sync the folder. */
int repo_text_name(struct repository *r, const char *name, struct bytes text, struct err *e);
int repo_text_publish(struct repository *r, const char *name, struct bytes text, struct err *e);
/* Fill what every meta says. */
void repo_draft_object(const struct repo_draft *d, struct repo_object *out);

/* ---- pack.c ---- */
struct repo_pack_reader {
    const struct repository *r;
    const struct repo_pack *pack;
    struct repo_blob file;
    struct repo_frame_start *starts;
    struct repo_reader *reader;
};
#define REPO_PACK_READER_NONE                                                                      \
    {                                                                                              \
        .file = REPO_BLOB_NONE                                                                     \
    }
int repo_pack_open(struct repository *r, const struct repo_pack *pack, struct repo_pack_reader *out,
                   struct err *e);
/* Pack i of r->inv, by who will come back to it: what its meta says of frames is kept, up to 16 MiB of all packs, and its meta is
 * read once. Its key is read each time: it may have been destroyed. */
int repo_pack_open_again(struct repository *r, size_t i, struct repo_pack_reader *out,
                         struct err *e);
void repo_pack_close(struct repo_pack_reader *p);
/* Frame that holds lsn, which must be in the pack; last frame that begins at or before a time (0 when none does). */
uint32_t repo_pack_frame_of(const struct repo_pack_reader *p, struct lsn lsn);
uint32_t repo_pack_frame_at(const struct repo_pack_reader *p, struct utc time);
/* Entries from the start of `frame` on. Each is decoded and must continue the one before; the last must be the one that
 * the meta names. after_frame (may be NULL) is told the object's bytes read so far. Stops with the callback's non-zero
 * result. Damage is ERR_INTEGRITY with pack, frame, byte and lsns. */
int repo_pack_walk(struct repo_pack_reader *p, uint32_t frame,
                   int (*each)(void *arg, const struct entry_view *),
                   void (*after_frame)(void *arg, uint64_t bytes), void *arg, struct err *e);

/* ---- snapshot.c ---- */
/* Every record of a snapshot in order, header first, trailer last, checked for order, counts and digest. after_frame as
 * above. */
int repo_snapshot_walk(struct repository *r, const struct repo_snapshot *s,
                       int (*each)(void *arg, const struct repo_snap_record *),
                       void (*after_frame)(void *arg, uint64_t bytes), void *arg, struct err *e);

/* ---- restore.c ---- */
/* A directory with all that is in it, as far as it can be removed; symbolic links are not followed. */
void repo_remove_tree(const char *path);

/* ---- custody.c ---- */
struct repo_destroyed {
    uint64_t gone, stay; /* keys that are not there any more; that the place did not let go */
    struct utc until;    /* when it lets the first of these go; 0: not known */
};
/* In the archive or a copy of it: destroy the keys, in every generation, of what was disposed of, also those that an interrupted
 * writer left of the same entries, and those of a generation that was retired; and remove the indexes of keys that cover what was
 * disposed of. Durable when it returns 0; again and again is as once. Nothing to destroy: 0. ERR_BUSY while keys are rotated. */
int repo_keys_destroy(struct repository *r, struct repo_backend *where, struct repo_destroyed *out,
                      struct err *e);

/* Damage found in an object is ERR_INTEGRITY whatever the layer below called it; lack of memory or of access is not damage. */
int repo_damage(struct err *e);

#endif
