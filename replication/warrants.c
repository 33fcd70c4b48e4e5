/* Warrants at a site: are they signed as they must be, may they be carried out here and now, and were they already?
 *
 * USED ONCE. A warrant that is carried out is logged, whole, as the record of its nonce in a system collection, in a
 * transaction of the site's own. So it is in the log, the state and the archive of every site, for whoever asks later who ordered
 * what, and a warrant whose record is there is refused: after a restart, by another primary, in a restored copy. It is logged
 * before what it orders, or with it; a crash between the two has used it up, and nothing was done twice. */
#include "replication/service.h"

#include "store/core/hex.h"

static int find(struct site *s, const char *nonce, struct record *out, struct err *e)
{
    struct state_snapshot *snap;
    switch (overlay_get(s->overlay, bytes_str(WARRANTS_COLLECTION), bytes_str(nonce),
                        SERVICE_NEWEST, out)) {
    case OVERLAY_THERE:
        return 0;
    case OVERLAY_GONE:
        return ERR_NOT_FOUND;
    case OVERLAY_UNKNOWN:
        break;
    }
    int rc = site_snapshot(s, &snap, e);
    return rc != 0 ? rc : state_get(snap, bytes_str(WARRANTS_COLLECTION), bytes_str(nonce), out, e);
}

static int unused(struct site *s, const struct warrant *w, struct err *e)
{
    struct record r;
    struct err why = ERR_NONE;
    char nonce[WARRANT_NONCE_TEXT];
    hex_format(w->nonce, sizeof w->nonce, nonce);
    int rc = find(s, nonce, &r, &why);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc != 0)
        return err_set(e, rc, "whether the warrant was used cannot be told: %s", why.text);
    return err_set(e, ERR_EXISTS,
                   "the warrant was carried out already, at lsn %llu: each is used once. See "
                   "'triveni status', and make a new one if need be",
                   (unsigned long long)r.lsn.v);
}

int warrants_open(struct site *s, struct bytes file, const char *act, struct site_warrant *out,
                  struct err *e)
{
    const struct warrant_place here = {act, s->config->cluster, s->config->cluster_id};
    const char *names[COSIGN_SIGNERS_MAX];
    *out = (struct site_warrant){.file = file};
    int rc = cosign_open(file, s->tls, &out->by, e);
    if (rc != 0)
        return err_wrap(e, "the warrant");
    for (uint32_t i = 0; i < out->by.count && rc == 0; i++) {
        names[i] = out->by.who[i].name;
        if (strcmp(out->by.who[i].cluster, s->config->cluster) != 0)
            rc = err_set(e, ERR_DENIED, "the warrant is signed by operator '%s' of cluster %s",
                         names[i], out->by.who[i].cluster);
    }
    if (rc == 0)
        rc = warrant_read(bytes_of(out->by.text, out->by.bytes), &out->says, e);
    if (rc == 0)
        rc = warrant_admit(&out->says, &here, names, out->by.count, site_commit_time(s), e);
    if (rc == 0)
        rc = unused(s, &out->says, e);
    if (rc != 0)
        warrants_close(out);
    return rc;
}

void warrants_close(struct site_warrant *w)
{
    cosign_close(&w->by);
}

int warrants_spend(struct site *s, const struct site_warrant *w, struct waiter *out, struct err *e)
{
    char nonce[WARRANT_NONCE_TEXT];
    uint8_t salt[ENTRY_SALT_BYTES];
    hex_format(w->says.nonce, sizeof w->says.nonce, nonce);
    const struct op op = {OP_PUT, bytes_str(WARRANTS_COLLECTION), bytes_str(nonce), w->file};
    int rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    const struct body_txn txn = {
        .level = LEVEL_MAJORITY, .client = w->says.asked_by, .op_count = 1};
    const size_t size = ENTRY_SALT_BYTES + body_txn_bytes(&op, 1, txn.client.n);
    uint8_t *body = malloc(size);
    if (body == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for a warrant");
    struct writer writer = writer_of(body, size);
    body_write_txn(&writer, salt, &txn, &op);
    rc = service_propose(s, ENTRY_TXN, &writer, out, e);
    free(body);
    return rc;
}
