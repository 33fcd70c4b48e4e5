/* The parts of an archive that are no objects (core/names.h): are they what was signed, and what puts them right? What is
 * asked is always the signed checkpoint that lies there, and a copy is believed only as far as it says the same. */
#ifndef REPOSITORY_IO_PARTS_H
#define REPOSITORY_IO_PARTS_H

#include "repository/core/tlog_text.h"
#include "repository/io/archive.h"

/* So many bytes were read so far; `told` may be NULL. */
struct repo_advance {
    void (*told)(void *arg, uint64_t bytes);
    void *arg;
    uint64_t bytes;
};
void repo_advance(struct repo_advance *a, uint64_t bytes);

/* What a part may be put right from. */
struct repo_sources {
    struct repository *packs;           /* whose entries are read; NULL: none */
    struct repo_backend *const *others; /* further places of the archive */
    size_t n;
    size_t used;      /* 1 + the last of them that something was taken from; 0: of none */
    size_t files;     /* that were put */
    bool sync_failed; /* see repo_temp */
};

/* ---- tree_part.c ---- */
/* Does the tree's checkpoint, or a stretch, hold what was signed? With `from` (otherwise NULL), what does not is put right:
 * computed from what lies below it or from packs, or taken from others, and only what leads to the signed root. ERR_INTEGRITY
 * with the file; ERR_IO, ERR_NO_MEMORY. */
int repo_tree_part(struct repo_backend *b, const struct uuid *cluster, const struct repo_part *part,
                   struct repo_sources *from, struct repo_advance *a, struct err *e);

/* ---- keys_part.c ---- */
/* Are the file of a generation of keys, and the keys in it of objects that another generation of ours opens, what was written?
 * Of a generation that was retired only its file. With `from` (otherwise NULL) what is not is put right. ERR_INTEGRITY with the
 * first file that is not, or is not put right; ERR_NO_MEMORY, and what hinders everything. */
int repo_keys_part(struct repository *r, unsigned number, struct repo_sources *from,
                   struct repo_advance *a, struct err *e);
/* Does its file say how it is? */
bool repo_generation_whole(const struct repo_generation *g);

/* ---- parts.c ---- */
/* Each part that is no object, with its name, when it was written (0: not known), and whether a look shows already that it
 * is damaged. *tree: it is known how many stretches there are. */
int repo_parts_each(struct repository *r,
                    int (*add)(void *arg, const char *name, struct utc written, bool damaged),
                    void *arg, bool *tree);
/* How it is; no object. As repository_check. */
int repo_part_check(struct repository *r, const struct repo_part *part, struct repo_advance *a,
                    struct err *e);
/* Does every signature of a note of the archive hold, each by a key in tree/keys? So damage of a cosignature is found, too.
 * ERR_INTEGRITY. */
int repo_signatures_hold(struct repo_backend *b, const struct tlog_note *note, struct err *e);
/* A file with these bytes: put there, unless it has them. */
int repo_part_put(struct repo_backend *b, const char *name, struct bytes text,
                  struct repo_sources *from, struct err *e);

#endif
