/* Warrants at a site: are they signed as they must be, may they be carried out here and now, and were they already?
 *
 * USED ONCE. A warrant that is carried out is logged, whole, as the record of its nonce in a system collection, in a
 * transaction of the site's own. So it is in the log, the state and the archive of every site, for whoever asks later who ordered
 * what, and a warrant whose record is there is refused: after a restart, by another primary, in a restored copy. It is logged
 * before what it orders, or with it; a crash between the two has used it up, and nothing was done twice. An act that consists of
 * many transactions goes on with a used one (warrants_open_again), and sees to it by itself that none is done twice. */
#include "replication/service.h"

#include "store/core/hex.h"

/* Where it was carried out; 0: nowhere yet. ERR_EXISTS: another warrant with its nonce was. */
static int find_use(struct site *s, const struct site_warrant *w, struct lsn *used, struct err *e)
{
    struct record r;
    struct err why = ERR_NONE;
    char nonce[WARRANT_NONCE_TEXT];
    hex_format(w->says.nonce, sizeof w->says.nonce, nonce);
    used->v = 0;
    int rc = service_newest(s, bytes_str(WARRANTS_COLLECTION), bytes_str(nonce), &r, &why);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc != 0)
        return err_set(e, rc, "whether the warrant was used cannot be told: %s", why.text);
    *used = r.lsn;
    return bytes_equal(r.value, w->file)
               ? 0
               : err_set(e, ERR_EXISTS,
                         "the warrant was carried out already, at lsn %llu, with other signatures: "
                         "make a new one",
                         (unsigned long long)r.lsn.v);
}

static int check_signed(struct site *s, const char *act, struct site_warrant *w, struct err *e)
{
    const struct warrant_place here = {act, s->config->cluster, s->config->cluster_id};
    const char *names[COSIGN_SIGNERS_MAX];
    int rc = 0;
    for (uint32_t i = 0; i < w->by.count && rc == 0; i++) {
        names[i] = w->by.who[i].name;
        if (strcmp(w->by.who[i].cluster, s->config->cluster) != 0)
            rc = err_set(e, ERR_DENIED, "the warrant is signed by operator '%s' of cluster %s",
                         names[i], w->by.who[i].cluster);
    }
    if (rc == 0)
        rc = warrant_read(bytes_of(w->by.text, w->by.bytes), &w->says, e);
    return rc != 0 ? rc
                   : warrant_admit(&w->says, &here, names, w->by.count, site_commit_time(s), e);
}

int warrants_open_again(struct site *s, struct bytes file, const char *act,
                        struct site_warrant *out, struct lsn *used, struct err *e)
{
    *out = (struct site_warrant){.file = file};
    int rc = cosign_open(file, s->tls, &out->by, e);
    if (rc != 0)
        return err_wrap(e, "the warrant");
    rc = check_signed(s, act, out, e);
    if (rc == 0)
        rc = find_use(s, out, used, e);
    if (rc != 0)
        warrants_close(out);
    return rc;
}

int warrants_open(struct site *s, struct bytes file, const char *act, struct site_warrant *out,
                  struct err *e)
{
    struct lsn used;
    int rc = warrants_open_again(s, file, act, out, &used, e);
    if (rc != 0 || used.v == 0)
        return rc;
    warrants_close(out);
    return err_set(e, ERR_EXISTS,
                   "the warrant was carried out already, at lsn %llu: each is used once. See "
                   "'triveni status', and make a new one if need be",
                   (unsigned long long)used.v);
}

void warrants_names(const struct site_warrant *w, char *out, size_t n)
{
    out[0] = '\0';
    for (uint32_t i = 0; i < w->by.count; i++) {
        const size_t at = strlen(out);
        (void)snprintf(out + at, n - at, "%s%s", i > 0 ? " and " : "", w->by.who[i].name);
    }
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
