/* Load on PostgreSQL: prepared upserts and look-ups by primary key in binary, one libpq connection and thread a client.
 * `--target` is a connection string. Operations: put, get, fill. A depth above 1 puts that many upserts into one pipeline
 * (libpq's pipeline mode), each a transaction of its own. */
#include "bench/bench.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char upsert[] = "INSERT INTO bench (k, v) VALUES ($1, $2) "
                             "ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v";
static const char lookup[] = "SELECT v FROM bench WHERE k = $1";

struct session {
    const struct bench_options *options;
    PGconn *pg;
};

static void expect(PGconn *pg, PGresult *r, ExecStatusType wanted)
{
    if (PQresultStatus(r) != wanted)
        bench_fail("%s", PQerrorMessage(pg));
    PQclear(r);
}

static void *session_open(const struct bench_options *o, unsigned client)
{
    (void)client;
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL)
        bench_fail("out of memory");
    s->options = o;
    s->pg = PQconnectdb(o->target == NULL ? "" : o->target);
    if (PQstatus(s->pg) != CONNECTION_OK)
        bench_fail("%s", PQerrorMessage(s->pg));
    expect(s->pg, PQprepare(s->pg, "put", upsert, 2, NULL), PGRES_COMMAND_OK);
    expect(s->pg, PQprepare(s->pg, "get", lookup, 1, NULL), PGRES_COMMAND_OK);
    if (o->depth > 1 && PQenterPipelineMode(s->pg) != 1)
        bench_fail("%s", PQerrorMessage(s->pg));
    return s;
}

static void session_close(void *client)
{
    struct session *s = client;
    PQfinish(s->pg);
    free(s);
}

/* Key and value as parameters of a statement. */
struct parameters {
    char key[BENCH_KEY_BYTES + 1];
    const char *values[2];
    int lengths[2], formats[2];
};

static void parameters_of(struct parameters *p, const struct bench_options *o,
                          struct bench_random *r, uint64_t n)
{
    bench_key(p->key, n);
    *p = (struct parameters){.values = {p->key, (const char *)bench_value(r, o->value_bytes)},
                             .lengths = {BENCH_KEY_BYTES, (int)o->value_bytes},
                             .formats = {0, 1}};
    bench_key(p->key, n);
}

static unsigned put_many(struct session *s, struct bench_random *r)
{
    const struct bench_options *o = s->options;
    struct parameters p;
    for (unsigned i = 0; i < o->depth; i++) {
        parameters_of(&p, o, r, bench_random_next(r) % o->records);
        if (PQsendQueryPrepared(s->pg, "put", 2, p.values, p.lengths, p.formats, 1) != 1 ||
            PQpipelineSync(s->pg) != 1)
            bench_fail("%s", PQerrorMessage(s->pg));
    }
    for (unsigned i = 0; i < o->depth; i++) {
        expect(s->pg, PQgetResult(s->pg), PGRES_COMMAND_OK);
        PQclear(PQgetResult(s->pg)); /* the end of that statement */
        expect(s->pg, PQgetResult(s->pg), PGRES_PIPELINE_SYNC);
    }
    return o->depth;
}

static unsigned session_run(void *client, struct bench_random *r)
{
    struct session *s = client;
    const struct bench_options *o = s->options;
    struct parameters p;
    if (o->op == BENCH_PUT && o->depth > 1)
        return put_many(s, r);
    parameters_of(&p, o, r, bench_random_next(r) % o->records);
    if (o->op == BENCH_PUT) {
        expect(s->pg, PQexecPrepared(s->pg, "put", 2, p.values, p.lengths, p.formats, 1),
               PGRES_COMMAND_OK);
        return 1;
    }
    PGresult *found = PQexecPrepared(s->pg, "get", 1, p.values, p.lengths, p.formats, 1);
    if (PQresultStatus(found) == PGRES_TUPLES_OK && PQntuples(found) != 1)
        bench_fail("a record is missing; was the system filled?");
    expect(s->pg, found, PGRES_TUPLES_OK);
    return 1;
}

/* The table anew, with every key once. */
static void fill(const struct bench_options *o, struct bench_result *out)
{
    struct bench_random r = bench_random_of(0);
    PGconn *pg = PQconnectdb(o->target == NULL ? "" : o->target);
    if (PQstatus(pg) != CONNECTION_OK)
        bench_fail("%s", PQerrorMessage(pg));
    uint64_t began = bench_now_ns();
    expect(pg, PQexec(pg, "DROP TABLE IF EXISTS bench"), PGRES_COMMAND_OK);
    expect(pg, PQexec(pg, "CREATE TABLE bench (k text PRIMARY KEY, v bytea NOT NULL)"),
           PGRES_COMMAND_OK);
    expect(pg, PQexec(pg, "ALTER TABLE bench ALTER v SET STORAGE EXTERNAL"), PGRES_COMMAND_OK);
    expect(pg, PQprepare(pg, "put", upsert, 2, NULL), PGRES_COMMAND_OK);
    expect(pg, PQexec(pg, "BEGIN"), PGRES_COMMAND_OK);
    *out = (struct bench_result){.operations = o->records, .drain_s = -1};
    for (unsigned i = 0; i < o->records; i++) {
        struct parameters p;
        uint64_t start = bench_now_ns();
        parameters_of(&p, o, &r, i);
        expect(pg, PQexecPrepared(pg, "put", 2, p.values, p.lengths, p.formats, 1),
               PGRES_COMMAND_OK);
        histogram_add(&out->latency, bench_now_ns() - start);
    }
    expect(pg, PQexec(pg, "COMMIT"), PGRES_COMMAND_OK);
    expect(pg, PQexec(pg, "CHECKPOINT"), PGRES_COMMAND_OK);
    out->seconds = (double)(bench_now_ns() - began) / 1e9;
    PQfinish(pg);
}

int main(int argc, char **argv)
{
    struct bench_options o;
    struct bench_result result;
    bench_parse(argc, argv, &o);
    if (o.op == BENCH_FILL)
        fill(&o, &result);
    else if (o.op == BENCH_PUT || o.op == BENCH_GET)
        bench_run_threads(&o, &(struct bench_ops){session_open, session_run, session_close},
                          &result);
    else
        bench_fail("--op %s is not one of put, get, fill", o.op_name);
    bench_print(&o, &result);
    return 0;
}
