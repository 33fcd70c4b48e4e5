/* sim [--seed N] [--seeds N] [--steps N] [--mutant NAME | --mutants] [--trace]
 *
 * Runs the seeds in tests/sim/seeds.txt, then seeds from N on. A failing seed is run again with its trace kept, and the end of
 * the trace is printed. Every 100th seed is run twice and must give the same state hash. Exit code: 0 all held, 1 a check
 * failed, 2 usage. */
#include "tests/sim/sim.h"

#include <errno.h>
#include <time.h>

struct arguments {
    uint64_t seed, seeds, steps;
    enum sim_mutant mutant;
    bool mutants, trace;
};

static int usage(void)
{
    (void)fprintf(
        stderr,
        "usage: sim [--seed N] [--seeds N] [--steps N] [--trace] [--mutant NAME] [--mutants]\n");
    for (int m = MUTANT_NONE + 1; m < MUTANTS; m++)
        (void)fprintf(stderr, "  %-24s %s\n", sim_mutant_name((enum sim_mutant)m),
                      sim_mutant_what((enum sim_mutant)m));
    return 2;
}

static int parse_number(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-')
        return -1;
    *out = v;
    return 0;
}

static int parse_mutant(const char *text, enum sim_mutant *out)
{
    for (int m = MUTANT_NONE; m < MUTANTS; m++) {
        if (strcmp(text, sim_mutant_name((enum sim_mutant)m)) == 0) {
            *out = (enum sim_mutant)m;
            return 0;
        }
    }
    return -1;
}

static int parse(int argc, char **argv, struct arguments *a)
{
    for (int i = 1; i < argc; i++) {
        uint64_t *number = strcmp(argv[i], "--seed") == 0    ? &a->seed
                           : strcmp(argv[i], "--seeds") == 0 ? &a->seeds
                           : strcmp(argv[i], "--steps") == 0 ? &a->steps
                                                             : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            a->trace = true;
        } else if (strcmp(argv[i], "--mutants") == 0) {
            a->mutants = true;
        } else if (number != NULL && i + 1 < argc) {
            if (parse_number(argv[++i], number) != 0)
                return -1;
        } else if (strcmp(argv[i], "--mutant") == 0 && i + 1 < argc) {
            if (parse_mutant(argv[++i], &a->mutant) != 0)
                return -1;
        } else {
            return -1;
        }
    }
    return 0;
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_trace(const struct sim *s, uint64_t lines)
{
    uint64_t from = s->trace_n > lines ? s->trace_n - lines : 0;
    for (uint64_t i = from; i < s->trace_n; i++)
        (void)printf("%s\n", s->trace[i % SIM_TRACE_LINES]);
}

static int report(struct sim *s, const struct arguments *a, uint64_t seed)
{
    struct sim_verdict v = sim_seed(s, seed, a->steps, a->mutant, true);
    print_trace(s, a->trace ? SIM_TRACE_LINES : 60);
    (void)printf("seed %llu: %s\nreplay: make sim SEED=%llu STEPS=%llu\n", U(seed),
                 v.failed ? v.failure : "the failure did not come again", U(seed), U(a->steps));
    return 1;
}

/* Seeds that ever failed, kept in a file: "<seed> <why>" in each line, "#" begins a comment. They are run first. */
static int run_known(struct sim *s, const struct arguments *a)
{
    static const char path[] = "tests/sim/seeds.txt";
    char line[256];
    unsigned n = 0;
    int rc = 0;
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        (void)fprintf(stderr, "sim: there is no %s here; seeds that failed before are not run\n",
                      path);
        return 0;
    }
    while (rc == 0 && fgets(line, sizeof line, f) != NULL) {
        uint64_t seed;
        line[strcspn(line, " \n")] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        if (parse_number(line, &seed) != 0) {
            (void)fprintf(stderr, "sim: %s: \"%s\" is not a seed\n", path, line);
            rc = 2;
        } else if (sim_seed(s, seed, a->steps, MUTANT_NONE, false).failed) {
            rc = report(s, a, seed);
        }
        n++;
    }
    (void)fclose(f);
    if (rc == 0)
        (void)printf("%u seeds that failed before hold\n", n);
    return rc;
}

static void add(struct sim_truth *sum, const struct sim_truth *one)
{
    sum->acks += one->acks;
    sum->reads += one->reads;
    sum->standby_reads += one->standby_reads;
    sum->majorities += one->majorities;
    sum->stepped_aside += one->stepped_aside;
    sum->retries += one->retries;
    sum->elections += one->elections;
    sum->crashes += one->crashes;
    sum->cuts += one->cuts;
    sum->undone += one->undone;
    sum->lost += one->lost;
    sum->wipes += one->wipes;
    sum->fetches += one->fetches;
    sum->switchovers += one->switchovers;
    sum->published += one->published;
    sum->sealed += one->sealed;
    sum->recycled += one->recycled;
    sum->refills += one->refills;
    sum->gaps += one->gaps;
    sum->checked += one->checked;
    sum->unchecked += one->unchecked;
    sum->relayed += one->relayed;
    sum->given_old += one->given_old;
    sum->splits += one->splits;
    sum->sessions_opened += one->sessions_opened;
    sum->sessions_expired += one->sessions_expired;
    sum->lists += one->lists;
    sum->lists_cut += one->lists_cut;
    sum->newcomers += one->newcomers;
    sum->key_repeats += one->key_repeats;
    sum->key_refusals += one->key_refusals;
    sum->keys_given_up += one->keys_given_up;
    sum->keys_forgotten += one->keys_forgotten;
    sum->inherited += one->inherited;
}

static void print_sum(const struct sim_truth *t)
{
    (void)printf(
        "%llu writes acknowledged, %llu reads, %llu found done already; %llu elections, %llu "
        "crashes, %llu rebuilt sites, %llu fetches, %llu switchovers and failovers done\n",
        U(t->acks), U(t->reads), U(t->retries), U(t->elections), U(t->crashes), U(t->wipes),
        U(t->fetches), U(t->switchovers));
    (void)printf(
        "%llu checkpoints, %llu packs, %llu entries recycled, %llu refills (%llu leave a gap "
        "in the archive); %llu cuts of a tail, %llu states undone, %llu writes lost in local "
        "mode and listed\n",
        U(t->published), U(t->sealed), U(t->recycled), U(t->refills), U(t->gaps), U(t->cuts),
        U(t->undone), U(t->lost));
    (void)printf(
        "%llu messages with entries from another site than the primary, %llu from packs; the "
        "data sites lost each other %llu times for long\n",
        U(t->relayed), U(t->given_old), U(t->splits));
    (void)printf("%llu reads at any site; %llu times two healthy sites were enough; %llu times a "
                 "primary stepped aside for its slow disk\n",
                 U(t->standby_reads), U(t->majorities), U(t->stepped_aside));
    (void)printf("%llu sessions opened; %llu times one had expired for who came with it\n",
                 U(t->sessions_opened), U(t->sessions_expired));
    (void)printf("%llu transactions found done by their key, %llu refused for it; %llu keys given "
                 "up, %llu forgotten\n",
                 U(t->key_repeats), U(t->key_refusals), U(t->keys_given_up), U(t->keys_forgotten));
    (void)printf("%llu lists of members committed, %llu cut; a site that joined was elected %llu "
                 "times; %llu "
                 "times a primary inherited what was not applied\n",
                 U(t->lists), U(t->lists_cut), U(t->newcomers), U(t->inherited));
    (void)printf("%llu histories are linearizable, %llu searches were given up; no invariant was "
                 "broken\n",
                 U(t->checked), U(t->unchecked));
}

static int run_seeds(struct sim *s, const struct arguments *a)
{
    double began = seconds();
    uint64_t steps = 0, virtual_us = 0;
    struct sim_truth sum = {.acks = 0};
    for (uint64_t i = 0; i < a->seeds; i++) {
        struct sim_verdict v = sim_seed(s, a->seed + i, a->steps, a->mutant, a->trace);
        if (v.failed)
            return report(s, a, a->seed + i);
        if (a->trace)
            print_trace(s, SIM_TRACE_LINES);
        steps += v.steps;
        virtual_us += v.virtual_us;
        add(&sum, v.truth);
        if ((a->seed + i) % 100 == 0 &&
            sim_seed(s, a->seed + i, a->steps, a->mutant, false).hash != v.hash) {
            (void)printf("seed %llu: two runs differ, the simulation is not deterministic\n",
                         U(a->seed + i));
            return 1;
        }
    }
    double took = seconds() - began;
    (void)printf("%llu seeds, %llu steps, %.0f s of virtual time in %.2f s: %.0f seeds/s, %.0f "
                 "steps/s, %.0fx real time\n",
                 U(a->seeds), U(steps), (double)virtual_us / 1e6, took, (double)a->seeds / took,
                 (double)steps / took, (double)virtual_us / 1e6 / took);
    print_sum(&sum);
    return 0;
}

static int run_mutants(struct sim *s, const struct arguments *a)
{
    int missed = 0;
    const double all_began = seconds();
    (void)printf("%-24s %-8s %-8s %s\n", "planted bug", "seeds", "seconds", "found as");
    for (int m = MUTANT_NONE + 1; m < MUTANTS; m++) {
        uint64_t n = 0;
        const double began = seconds();
        struct sim_verdict v = {.failed = false};
        uint64_t told = sim_mutant_seed((enum sim_mutant)m);
        if (told != 0) {
            v = sim_seed(s, told, a->steps, (enum sim_mutant)m, false);
            n++;
        }
        while (!v.failed && n < a->seeds)
            v = sim_seed(s, a->seed + n++, a->steps, (enum sim_mutant)m, false);
        missed += !v.failed;
        (void)printf("%-24s %-8llu %-8.2f %s\n", sim_mutant_name((enum sim_mutant)m), U(n),
                     seconds() - began, v.failed ? v.failure : "NOT FOUND");
        (void)fflush(stdout);
    }
    (void)printf("%.1f s for all\n", seconds() - all_began);
    (void)printf("%d of %d mutants caught\n", MUTANTS - 1 - missed, MUTANTS - 1);
    return missed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct arguments a = {.seed = 1, .seeds = 0, .steps = 2000};
    if (parse(argc, argv, &a) != 0)
        return usage();
    if (a.seeds == 0)
        a.seeds = a.mutants ? 5000 : 1;
    struct sim *s = malloc(sizeof *s);
    if (s == NULL) {
        (void)fprintf(stderr, "sim: no memory for %zu bytes\n", sizeof *s);
        return 1;
    }
    int rc = 0;
    if (a.mutants) {
        rc = run_mutants(s, &a);
    } else {
        if (a.mutant == MUTANT_NONE && !a.trace)
            rc = run_known(s, &a);
        if (rc == 0)
            rc = run_seeds(s, &a);
    }
    free(s);
    return rc;
}
