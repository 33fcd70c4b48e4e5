/* failover --solo: the last site goes on alone, by a warrant that two operators have signed (replication/core/warrant.h).
 *
 * Both steps, making the warrant and carrying it out, look first whether somebody who would be declared lost can be heard: by the
 * site, at the endpoints that were given, and at the addresses where the site knows the lost ones to be. The site itself looks
 * again (replication/solo.c, replication/core/repl_solo.c). */
#include "tools/failover.h"
#include "tools/warrant_file.h"

#include "store/core/hex.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENDPOINTS_BYTES = 4096,
    VALID_S = 3600,
    FORECAST_LINES = 8,
    /* So many elections the lost sites would have to win, without ever hearing of this, to come to the term of the order: at one
     * each second 30 years. It shows in every term that is printed later. */
    TERMS_ABOVE = 1000000000,
};

/* The endpoints that the options name, and those of the sites that would be lost. */
static int all_endpoints(const struct failover_options *o, const struct views *views, char *out,
                         struct err *e)
{
    size_t i, at = 0;
    out[0] = '\0';
    for (size_t k = 0; k < views->count; k++)
        at += (size_t)snprintf(out + at, ENDPOINTS_BYTES - at, "%s%s", k > 0 ? "," : "",
                               views->v[k].endpoint);
    for (size_t k = 0; k < views->count; k++) {
        const json_t *status = views->v[k].status, *row;
        if (status == NULL || strcmp(json_text(status, "site", ""), o->site) != 0)
            continue;
        json_array_foreach(json_object_get(status, "sites"), i, row)
        {
            const char *client = json_text(row, "client", "");
            if (!forecast_row_is_lost(status, row) || client[0] == '\0' ||
                strstr(out, client) != NULL)
                continue;
            if (at + strlen(client) + 2 > ENDPOINTS_BYTES)
                return err_set(e, ERR_LIMIT, "there are too many endpoints to ask them all");
            at += (size_t)snprintf(out + at, ENDPOINTS_BYTES - at, ",%s", client);
        }
    }
    return 0;
}

static int look(const struct failover_options *o, struct views *views, struct forecast *f,
                const json_t **status, struct err *e)
{
    char endpoints[ENDPOINTS_BYTES];
    struct common wide = o->common;
    int rc = views_collect(&o->common, views, e);
    if (rc != 0)
        return rc;
    rc = all_endpoints(o, views, endpoints, e);
    views_free(views);
    wide.endpoints = endpoints;
    if (rc == 0)
        rc = views_collect(&wide, views, e);
    if (rc == 0)
        rc = forecast_make_alone(views, o->site, f, status, e);
    if (f->end != 0 && (rc == 0 || o->dry_run))
        failover_foretell(o, f);
    return rc;
}

/* ---- asking ---- */

/* What forecast_print() says, a fact a line; the text is `all`, and the caller's to free. */
static int say_forecast(struct warrant *w, const struct forecast *f, char **all, struct err *e)
{
    size_t n = 0;
    FILE *out = open_memstream(all, &n);
    if (out == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    forecast_print(out, f);
    if (fclose(out) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    char *line = *all;
    for (int i = 0; i < FORECAST_LINES && *line != '\0'; i++) {
        const size_t length = strcspn(line, "\n");
        warrant_say(w, "forecast", bytes_of(line, length));
        line += length + (line[length] == '\n');
    }
    return 0;
}

static void say_meaning(struct warrant *w)
{
    static const char *const means[] = {
        "the lost sites are switched off, and are not started before this site can reach them",
        "if they live and reach each other but not this site, there are two histories",
        "what they had and this site has not is no part of the history any more",
        "from now on every transaction is on one disk, until sites are added",
    };
    for (size_t i = 0; i < sizeof means / sizeof means[0]; i++)
        warrant_say(w, "means", bytes_str(means[i]));
}

static int ask(const struct failover_options *o, const struct forecast *f, const json_t *status,
               struct err *e)
{
    char term[24], lsn[24], last_term[24], *forecast = NULL;
    int64_t now = 0, at = 0, of = 0;
    const json_t *row, *own = NULL;
    size_t i;
    json_array_foreach(json_object_get(status, "sites"), i,
                       row) if (strcmp(json_text(row, "name", ""), o->site) == 0) own = row;
    const json_t *failover = json_object_get(own, "failover");
    struct warrant w = {.act = bytes_str("failover-solo"),
                        .cluster = bytes_str(json_text(status, "cluster", ""))};
    if (uuid_of_text(json_text(status, "id", ""), &w.cluster_id) != 0 ||
        !json_number(status, "time_us", &now) || !json_number(status, "term", &of) ||
        !json_number(own, "last", &at) || json_text(failover, "last_hash", NULL) == NULL)
        return err_set(e, ERR_FORMAT, "%s does not tell where it is: is it of an earlier version?",
                       o->site);
    (void)snprintf(term, sizeof term, "%lld", (long long)of + TERMS_ABOVE);
    (void)snprintf(lsn, sizeof lsn, "%lld", (long long)at);
    warrant_say(&w, "site", bytes_str(o->site));
    warrant_say(&w, "term", bytes_str(term));
    warrant_say(&w, "last-lsn", bytes_str(lsn));
    warrant_say(&w, "last-term",
                bytes_str(field_text(failover, "last_term", last_term, sizeof last_term)));
    warrant_say(&w, "last-hash", bytes_str(json_text(failover, "last_hash", "")));
    json_array_foreach(json_object_get(status, "sites"), i,
                       row) if (forecast_row_is_lost(status, row))
        warrant_say(&w, "lost", bytes_str(json_text(row, "name", "")));
    int rc = say_forecast(&w, f, &forecast, e);
    say_meaning(&w);
    if (rc == 0)
        rc = warrant_file_make(&o->common, &w, (struct utc){(uint64_t)now},
                               o->valid.given ? o->valid.v / 1000 : VALID_S, o->ask, e);
    free(forecast);
    return rc;
}

static int show_asked(const struct failover_options *o, struct err *e)
{
    int rc = warrant_file_show(&o->common, o->ask, e);
    if (rc != 0)
        return rc;
    say("another operator signs %s with 'triveni warrant sign', then: triveni failover --site %s "
        "--solo --warrant %s",
        o->ask, o->site, o->ask);
    return 0;
}

/* ---- carrying out ---- */

static int carry_out(const struct failover_options *o, const struct forecast *f,
                     const json_t *status, struct err *e)
{
    struct warrant_file file;
    struct warrant_place here = {.act = "failover-solo",
                                 .cluster = json_text(status, "cluster", "")};
    json_t *reply = NULL;
    int64_t now = 0;
    int rc = warrant_file_open(&o->common, o->warrant, &file, e);
    if (rc != 0)
        return rc;
    if (uuid_of_text(json_text(status, "id", ""), &here.cluster_id) != 0 ||
        !json_number(status, "time_us", &now))
        rc = err_set(e, ERR_FORMAT, "%s does not say of which cluster it is", o->site);
    if (rc == 0)
        rc = warrant_file_admit(&file, &here, (struct utc){(uint64_t)now}, e);
    if (rc == 0 && !o->yes) {
        warrant_file_print(stderr, &file);
        if (!confirm(
                "From now on the history is what this one site has. The lost sites have to stay "
                "off until it can reach them."))
            rc = err_set(e, ERR_USAGE,
                         "not confirmed: nothing was done (--yes confirms without a question)");
    }
    if (rc == 0)
        rc = admin_give(
            &o->common, o->site, "solo",
            json_pack("{s:o}", "warrant", json_stringn((const char *)file.file, file.bytes)),
            &reply, e);
    warrant_file_close(&file);
    if (rc == 0)
        rc = failover_tell(o, f, reply, e);
    if (rc == 0)
        say("%s runs alone: add sites (triveni member add), and keep the lost ones off until it "
            "can "
            "reach them",
            o->site);
    json_decref(reply);
    return rc;
}

int failover_solo(const struct failover_options *o, struct err *e)
{
    struct views views = {.count = 0};
    struct forecast f = {.end = 0};
    const json_t *status = NULL;
    if (o->depose || (o->ask != NULL) + (o->warrant != NULL) + o->dry_run != 1)
        return err_set(e, ERR_USAGE,
                       "--solo goes with one of --dry-run, --ask FILE (to make the warrant) and "
                       "--warrant FILE (to carry it out), and not with --depose");
    if (o->valid.given &&
        (o->ask == NULL || o->valid.v < 1000 || o->valid.v > 1000 * (uint64_t)WARRANT_LIFE_MAX_S))
        return err_set(e, ERR_USAGE, "--valid goes with --ask, and is from 1s to 24h");
    int rc = look(o, &views, &f, &status, e);
    if (rc == 0 && o->ask != NULL)
        rc = ask(o, &f, status, e);
    if (rc == 0 && o->ask != NULL)
        rc = show_asked(o, e);
    if (rc == 0 && o->warrant != NULL)
        rc = carry_out(o, &f, status, e);
    views_free(&views);
    return rc;
}
