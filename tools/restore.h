/* What 'triveni restore' does with an archive beside a whole state: some records, to a file or back into the cluster. */
#ifndef TOOLS_RESTORE_H
#define TOOLS_RESTORE_H

#include "repository/repository.h"
#include "tools/cli.h"
#include "tools/progress.h"

struct restore_options {
    struct common common;
    const char *dir, *kek, *point, *time, *into;
    const char *collection, *from, *to, *prefix, *key, *scratch; /* a selection */
    const char *ask, *warrant;                                   /* --apply */
    struct option_number lsn, valid;
    bool or_end, preview, yes, apply, delete_newer, verbose;
};

/* ---- cmd_restore.c ---- */
/* What a long call is at, for people; restore_stages_show is a repository_stage_fn. */
struct restore_stages {
    struct progress bar;
    enum repository_stage stage;
    uint64_t began_ms;
    bool quiet_build; /* the records themselves go to the terminal meanwhile */
};
void restore_stages_begin(struct restore_stages *s, bool quiet_build);
void restore_stages_show(void *arg, enum repository_stage stage, uint64_t done, uint64_t total);
double restore_stages_end(struct restore_stages *s); /* seconds since it began */
json_t *restore_plan_json(const struct restore_plan *p, const struct repository_estimate *x);
/* "estimated 12 s, took 10.4 s" */
const char *restore_took(const struct repository_estimate *x, double seconds, char out[64]);

/* ---- restore_records.c ---- */
/* ERR_USAGE when --from and the like make no sense; *out has views of the options. Without --collection nothing is selected:
 * out->collection.p is NULL. */
int restore_selection(const struct restore_options *o, struct repository_selection *out,
                      struct err *e);
/* As people write it: "titles", "titles, key AB-12", ... JSON strings where it is not plain; the caller frees it, NULL: no memory. */
char *restore_selection_text(const struct repository_selection *s);
/* Read the selected records of the plan's lsn, giving each to `each`; what is read is kept meanwhile in --scratch, or `beside`
 * (NULL: in a new directory for temporary files, of which an error tells). ERR_NOT_FOUND when there was none, with when the
 * record was there, if an index tells. */
int restore_read(struct repository *r, const struct restore_options *o,
                 const struct restore_plan *plan, const struct repository_selection *s,
                 const char *beside, int (*each)(void *arg, const struct record *), void *arg,
                 struct restore_stages *stages, struct restore_result *out, struct err *e);
/* To stdout, or to the file --into, as 'triveni dump' writes. */
int restore_records(struct repository *r, const struct restore_options *o,
                    const struct restore_plan *plan, const struct repository_estimate *x,
                    const struct repository_selection *s, struct err *e);

/* ---- restore_apply.c, restore_carry.c ---- */
/* Show what putting the records back would change, and with --ask make the warrant for it. */
int restore_apply(struct repository *r, const struct restore_options *o,
                  const struct restore_plan *plan, const struct repository_selection *s,
                  struct err *e);
/* Carry out the warrant --warrant. */
int restore_carry_out(struct restore_options *o, struct err *e);

#endif
