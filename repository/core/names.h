/* Names of the archive's objects, and nothing but names: which file holds what follows from its name and from no listing
 * order, time stamp or other attribute of a file.
 *
 *   packs/<first>-<last>-<term>-<unique>.pack   first and last lsn with 20 digits, term as short as it is, 8 hex digits
 *   snapshots/<lsn>-<unique>.snap
 *   indexes/<first>-<last>-<unique>.index       of keys; first and last lsn of the packs that it covers
 *   <stem>.meta                                 beside the object, its extension replaced
 *   <stem>.disposed                             beside a pack or snapshot whose key was destroyed: the mark
 *   keys/<generation>/<base name>.key           base name with its extension: <...>.pack.key
 *   keys/<generation>.key, keys/<generation>.retired    of a generation as a whole
 *   keys/<generation>/disposed.key              that marks are sealed with; in the place of an object it is called REPO_MARKS
 *
 * <unique> is random, so that a range whose sealing was interrupted is sealed again without a clash and no name is ever
 * used twice. Names sort by lsn. */
#ifndef REPOSITORY_CORE_NAMES_H
#define REPOSITORY_CORE_NAMES_H

#include "store/core/ids.h"

#include <stdbool.h>
#include <stddef.h>

enum { REPO_NAME_BYTES = 96, REPO_GENERATION_MAX = 9999 };

#define REPO_MARKS "marks/disposed"

enum repo_kind { REPO_PACK = 1, REPO_SNAPSHOT = 2, REPO_INDEX = 3 };

struct repo_name {
    enum repo_kind kind;
    struct lsn first; /* of a snapshot: zero */
    struct lsn last;
    struct term term; /* of a pack; otherwise zero */
    uint32_t unique;
};

/* Object name with its folder; always fits. */
void repo_name_format(const struct repo_name *n, char out[REPO_NAME_BYTES]);
/* `name` with its folder. Only what repo_name_format gives is accepted. 0 or ERR_FORMAT. */
int repo_name_parse(const char *name, struct repo_name *out);

bool repo_is_index(const char *object);

/* Name of the meta file and of the wrapped key that belong to an object. */
void repo_name_meta(const char *object, char out[REPO_NAME_BYTES]);
void repo_name_key(const char *object, unsigned generation, char out[REPO_NAME_BYTES]);
void repo_name_mark(const char *object, char out[REPO_NAME_BYTES]);
/* The object that a meta, mark or key file belongs to. 0 or ERR_FORMAT. */
int repo_name_of_meta(const char *meta, char out[REPO_NAME_BYTES]);
int repo_name_of_mark(const char *mark, char out[REPO_NAME_BYTES]);
int repo_name_of_key(const char *key, char out[REPO_NAME_BYTES], unsigned *generation);

/* A generation of keys: its folder ("keys/2"), and the file with its own key or with the word that it is given up. */
void repo_name_keys_folder(unsigned generation, char out[REPO_NAME_BYTES]);
void repo_name_generation(unsigned generation, bool retired, char out[REPO_NAME_BYTES]);
int repo_name_of_generation(const char *name, unsigned *generation, bool *retired);

const char *repo_kind_name(enum repo_kind kind); /* "pack", "snapshot", "index" */

/* What is read again as one: an object with its meta and key, or one of these, which stand for files that are none:
 *
 *   repository.json
 *   tree/checkpoint            with its keys, its partial tiles and those above the stretches
 *   tree/<first>-<last>        a stretch, no file: the tile of level 1 over so many lsns, and the tiles and bundles below it
 *   operations/checkpoint      the whole operations log, with its tiles, and what was handed in
 *   keys/<generation>          keys/<generation>.key or .retired, and the keys in it of objects that another generation opens */
#define REPO_ABOUT_FILE "repository.json"
#define REPO_TREE_CHECKPOINT "tree/checkpoint"
#define REPO_OPERATIONS_CHECKPOINT "operations/checkpoint"
enum { REPO_STRETCH_ENTRIES = 65536 };
enum repo_part_kind {
    REPO_PART_OBJECT,
    REPO_PART_ABOUT,
    REPO_PART_TREE,
    REPO_PART_STRETCH,
    REPO_PART_OPERATIONS,
    REPO_PART_KEYS
};
struct repo_part {
    enum repo_part_kind kind;
    uint64_t stretch;       /* its number, from 0 */
    unsigned generation;    /* of keys */
    struct lsn first, last; /* of a stretch; of an object as its name says; otherwise zero */
};
/* 0 or ERR_FORMAT. */
int repo_part_parse(const char *name, struct repo_part *out);
void repo_part_stretch(uint64_t number, char out[REPO_NAME_BYTES]);

/* "triveni/1|<cluster uuid>|<object name>": what the encryption of an object is bound to, so that no object can stand in
 * for another. */
enum { REPO_IDENTITY_BYTES = 160 };
void repo_identity(const struct uuid *cluster, const char *object, char out[REPO_IDENTITY_BYTES]);

/* "2026-11-24T02:54:01.123456Z"; years beyond 9999 are given with as many digits as they have. */
enum { REPO_UTC_TEXT_BYTES = 80 };
void repo_utc_format(struct utc t, char out[REPO_UTC_TEXT_BYTES]);

#endif
