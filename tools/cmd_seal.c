/* archive seal: archive now what waits, and wait until it is. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/progress.h"

#include <string.h>
#include <unistd.h>

struct seal_options {
    struct common common;
    const char *site;
};
static const struct option site_table[] = {
    {"site", 0, OPTION_TEXT, offsetof(struct seal_options, site), "NAME", NULL,
     "the site; default: the one of kind repository"},
    {0},
};

/* Asked to seal, a site in trouble tries again at once; what is still wrong after SEAL_TROUBLE_MS is not waited for. */
enum { SEAL_WAIT_MS = 60000, SEAL_POLL_MS = 100, SEAL_TROUBLE_MS = 1000, SEAL_TELL_MS = 2000 };
/* And after that so long until it is signed, too. */
enum { SEAL_SIGNED_MS = 15000 };

int archive_site(const struct common *c, char out[64], int64_t *newest, struct err *e)
{
    struct views views;
    int rc = views_collect(c, &views, e);
    out[0] = '\0';
    for (size_t i = 0; i < views.count && rc == 0; i++) {
        size_t k;
        const json_t *row;
        json_array_foreach(json_object_get(views.v[i].status, "sites"), k, row)
        {
            int64_t visible;
            if (strcmp(json_text(row, "kind", ""), "repository") == 0)
                (void)snprintf(out, 64, "%s", json_text(row, "name", ""));
            if (newest != NULL && json_number(row, "visible", &visible) && visible > *newest)
                *newest = visible;
        }
    }
    views_free(&views);
    return rc != 0 || out[0] != '\0'
               ? rc
               : err_set(e, ERR_NOT_FOUND, "no site of this cluster keeps an archive");
}

/* How far the archive is, whether all of it is signed, if it can be, and what is wrong with it, in the site's own words; empty:
 * nothing. */
static void read_archive(const json_t *status, const char *site, int64_t *archived, bool *is_signed,
                         char trouble[ERR_TEXT_BYTES])
{
    size_t i;
    const json_t *row;
    trouble[0] = '\0';
    json_array_foreach(json_object_get(status, "sites"), i, row)
    {
        if (strcmp(json_text(row, "name", ""), site) != 0)
            continue;
        (void)json_number(row, "archived", archived);
        const json_t *archive = json_object_get(row, "archive");
        int64_t proven = 0;
        (void)json_number(archive, "proven", &proven);
        *is_signed = proven >= *archived || !json_is_true(json_object_get(archive, "signs"));
        (void)snprintf(trouble, ERR_TEXT_BYTES, "%s", json_text(archive, "trouble", ""));
    }
}

/* Until what was applied is archived; *archived as last heard. */
static int seal_up_to(struct tvn *db, const char *site, int64_t wanted, int64_t *archived,
                      struct err *e)
{
    uint64_t began = monotonic_ms(), told = began;
    uint64_t archived_ms = 0; /* when all that was wanted was */
    char trouble[ERR_TEXT_BYTES];
    bool is_signed = false;
    for (*archived = 0;;) {
        json_t *status = NULL;
        json_t *reply = NULL;
        int rc = archived_ms != 0
                     ? 0
                     : admin_call(db, "seal", NULL, &reply, e); /* it seals what is applied */
        json_decref(reply);
        if (rc == 0)
            rc = admin_call(db, "status", NULL, &status, e);
        read_archive(status, site, archived, &is_signed, trouble);
        json_decref(status);
        uint64_t now = monotonic_ms();
        if (archived_ms == 0 && *archived >= wanted)
            archived_ms = now;
        if (rc != 0 || (archived_ms != 0 && (is_signed || now - archived_ms >= SEAL_SIGNED_MS)))
            return rc;
        if (trouble[0] != '\0' && now - began >= SEAL_TROUBLE_MS)
            return err_set(e, ERR_FAILED,
                           "lsn %lld is not archived, only %lld, and site %s cannot go on: %.350s",
                           (long long)wanted, (long long)*archived, site, trouble);
        if (now - told >= SEAL_TELL_MS) {
            told = now;
            (void)fprintf(stderr, "triveni: archive seal: lsn %lld of %lld is archived\n",
                          (long long)*archived, (long long)wanted);
        }
        if (now - began > SEAL_WAIT_MS)
            return err_set(e, ERR_TIMEOUT,
                           "lsn %lld is not archived after %d s, only %lld: see 'triveni status'",
                           (long long)wanted, SEAL_WAIT_MS / 1000, (long long)*archived);
        (void)usleep(SEAL_POLL_MS * 1000);
    }
}

static int run_archive_seal(struct invocation *in, struct err *e)
{
    struct seal_options *o = in->options;
    char site[64];
    struct tvn *db = NULL;
    int64_t newest = 0;
    int64_t archived = 0;
    int rc = archive_site(&o->common, site, &newest, e);
    if (o->site != NULL)
        (void)snprintf(site, sizeof site, "%.63s", o->site);
    if (rc == 0)
        rc = open_site(&o->common, site, &db, e);
    if (rc == 0)
        rc = seal_up_to(db, site, newest, &archived, e);
    (void)tvn_close(db);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        output_json(json_pack("{s:s,s:I}", "site", site, "archived", (json_int_t)archived));
    else if (rc == 0)
        (void)printf("everything up to lsn %lld is archived at %s\n", (long long)archived, site);
    return rc;
}

const struct command command_archive_seal = {
    .name = "archive seal",
    .group = "Archive",
    .purpose = "archive now what waits to be archived",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct seal_options),
    .tables = {site_table, output_options, connection_options},
    .about = "The archive is written when a pack is full or its oldest transaction has waited for "
             "pack_seconds, or six times as\n"
             "long while little waits. This writes what\n"
             "there is and waits until it is archived and signed.",
    .examples = {{"before a restore of the present", "triveni archive seal"}},
    .exits = "3468",
    .run = run_archive_seal,
};
