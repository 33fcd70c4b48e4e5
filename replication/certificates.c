/* Certificates, keys and lists are read again when the files change, or on SIGHUP: a renewal needs no restart.
 *
 * What cannot be used is told, stays in `status` as trouble, and changes nothing: the former ones stay in use. So files may be
 * replaced one after the other. New handshakes use the new context; established links and clients are only rechecked against
 * trust and revocation, and go on. */
#include "replication/site_parts.h"

#include <sys/stat.h>

/* Of all files together: a file that was replaced has another inode, one that was rewritten another time. */
static uint64_t stamp_of(const struct site_config *c)
{
    const char *const files[] = {c->ca, c->cert, c->key, c->crl};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct stat st;
        if (files[i][0] == '\0' || stat(files[i], &st) != 0)
            continue;
        sum = sum * 31 + (uint64_t)st.st_ino;
        sum = sum * 31 + (uint64_t)st.st_size;
        sum = sum * 31 + (uint64_t)st.st_mtim.tv_sec;
        sum = sum * 31 + (uint64_t)st.st_mtim.tv_nsec;
    }
    return sum;
}

int certificates_open(struct site *s, struct err *e)
{
    const struct site_config *c = s->config;
    s->certificates.stamp = stamp_of(c); /* before: a change while they are read is seen later */
    SSL_CTX *tls;
    int rc = tls_context(
        &(struct tls_files){c->ca, c->cert, c->key, c->crl[0] != '\0' ? c->crl : NULL}, &tls, e);
    if (rc != 0)
        return rc;
    rc = tls_check_site(c->cert, c->cluster, c->members[c->self].name, e);
    if (rc == 0)
        s->tls = tls;
    else
        SSL_CTX_free(tls);
    return rc;
}

static void put_in_use(struct site *s, SSL_CTX *tls)
{
    SSL_CTX_free(s->tls);
    s->tls = tls;
    if (s->client_listener != NULL)
        listener_set_tls(s->client_listener, tls);
    if (s->peer_listener != NULL)
        listener_set_tls(s->peer_listener, tls);
    for (uint8_t i = 0; i < s->config->member_count; i++)
        if (s->peers[i].conn != NULL &&
            peers_opens(s, i)) /* links that this site opened are in no listener */
            conn_recheck(s->peers[i].conn, tls);
}

void certificates_look(struct site *s, bool asked)
{
    uint64_t before = s->certificates.stamp;
    if (!asked && stamp_of(s->config) == before)
        return;
    SSL_CTX *former = s->tls;
    struct err e = ERR_NONE;
    int64_t seconds = 0;
    int rc = certificates_open(s, &e);
    if (rc != 0) {
        events_add(s->events,
                   "certificates: the files have changed and cannot be used: %s; the former ones "
                   "stay in use",
                   e.text);
        (void)snprintf(s->certificates.trouble, sizeof s->certificates.trouble, "%s", e.text);
        return;
    }
    SSL_CTX *fresh = s->tls;
    s->tls = former;
    put_in_use(s, fresh);
    s->certificates.trouble[0] = '\0';
    (void)tls_seconds_left(s->config->cert, &seconds, NULL);
    events_add(s->events, "certificates: read again, in use from now on, valid for %lld days",
               (long long)(seconds / 86400));
}
