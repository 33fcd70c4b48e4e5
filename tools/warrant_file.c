/* Files of warrants. What is signed, and what it is worth, is decided in replication/core/warrant.c and replication/io/cosign.c;
 * here are the file, the certificates of the options, and what is shown. */
#include "tools/warrant_file.h"

#include "tools/files.h"

#include "store/core/check.h"
#include "store/core/hex.h"
#include "store/io/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static int tls_of(const struct common *c, SSL_CTX **out, struct err *e)
{
    struct profile *profile = NULL;
    struct tvn_options o;
    *out = NULL;
    int rc = connect_options(c, &o, &profile, e);
    if (rc != 0)
        return rc;
    rc = tls_context(&(struct tls_files){o.ca, o.cert, o.key, o.crl}, out, e);
    profile_free(profile);
    return rc;
}

/* ---- making ---- */

static int write_text(const struct warrant *x, uint8_t text[WARRANT_TEXT_MAX], size_t *n,
                      struct err *e)
{
    struct warrant again;
    struct writer w = writer_of(text, WARRANT_TEXT_MAX);
    warrant_write(&w, x);
    if (w.bad)
        return err_set(e, ERR_LIMIT, "the warrant takes more than %d bytes", WARRANT_TEXT_MAX);
    *n = w.at;
    return warrant_read(bytes_of(text, w.at), &again, e);
}

int warrant_file_make(const struct common *c, struct warrant *x, struct utc now, uint64_t life_s,
                      const char *path, struct err *e)
{
    SSL_CTX *own = NULL;
    struct identity who = {.name = ""};
    uint8_t text[WARRANT_TEXT_MAX];
    char *pem = NULL;
    size_t bytes = 0, n = 0;
    int rc = tls_of(c, &own, e);
    if (rc == 0)
        rc = identity_of_cert(SSL_CTX_get0_certificate(own), &who, e);
    if (rc == 0 && getrandom(x->nonce, sizeof x->nonce, 0) != (ssize_t)sizeof x->nonce)
        rc = err_set(e, ERR_IO, "no random bytes: %s", strerror(errno));
    x->asked_by = bytes_str(who.name);
    x->made.us = now.us / 1000000 * 1000000;
    x->expires.us = x->made.us + life_s * 1000000;
    if (rc == 0)
        rc = write_text(x, text, &bytes, e);
    if (rc == 0)
        rc = cosign_new(bytes_of(text, bytes), own, &pem, &n, e);
    if (rc == 0)
        rc = file_create(path, 0644, bytes_of(pem, n), e);
    x->asked_by = (struct bytes){NULL, 0};
    free(pem);
    SSL_CTX_free(own);
    return rc;
}

/* ---- reading ---- */

int warrant_file_open(const struct common *c, const char *path, struct warrant_file *out,
                      struct err *e)
{
    SSL_CTX *trust = NULL;
    *out = (struct warrant_file){.file = NULL};
    int rc = tls_of(c, &trust, e);
    if (rc != 0)
        return rc;
    rc = file_read(path, COSIGN_MAX_BYTES, &out->file, &out->bytes, e);
    if (rc == 0)
        rc = cosign_open(bytes_of(out->file, out->bytes), trust, &out->by, e);
    if (rc == 0)
        rc = warrant_read(bytes_of(out->by.text, out->by.bytes), &out->says, e);
    SSL_CTX_free(trust);
    if (rc == 0)
        return 0;
    warrant_file_close(out);
    return err_wrap(e, "%s", path);
}

int warrant_file_admit(const struct warrant_file *f, const struct warrant_place *here,
                       struct utc now, struct err *e)
{
    const char *names[COSIGN_SIGNERS_MAX];
    for (uint32_t i = 0; i < f->by.count; i++) {
        names[i] = f->by.who[i].name;
        if (strcmp(f->by.who[i].cluster, here->cluster) != 0)
            return err_set(e, ERR_DENIED, "operator '%s', who signed, is of cluster %s, this is %s",
                           names[i], f->by.who[i].cluster, here->cluster);
    }
    return warrant_admit(&f->says, here, names, f->by.count, now, e);
}

void warrant_file_close(struct warrant_file *f)
{
    cosign_close(&f->by);
    free(f->file);
    *f = (struct warrant_file){.file = NULL};
}

int warrant_file_sign(const struct common *c, const char *path, const struct warrant_file *f,
                      struct err *e)
{
    char fresh[4096];
    SSL_CTX *own = NULL;
    char *pem = NULL;
    size_t n = 0;
    int rc = tls_of(c, &own, e);
    if (rc == 0)
        rc = cosign_add(bytes_of(f->file, f->bytes), own, &pem, &n, e);
    if (rc == 0 && (size_t)snprintf(fresh, sizeof fresh, "%s.new", path) >= sizeof fresh)
        rc = err_set(e, ERR_USAGE, "the name of the file is too long");
    if (rc == 0) {
        (void)unlink(fresh); /* left by a crash */
        rc = file_create(fresh, 0644, bytes_of(pem, n), e);
    }
    if (rc == 0 && rename(fresh, path) != 0)
        rc = err_set(e, ERR_IO, "%s cannot be replaced: %s", path, strerror(errno));
    free(pem);
    SSL_CTX_free(own);
    return rc;
}

/* ---- showing ---- */

void warrant_file_print(FILE *out, const struct warrant_file *f)
{
    /* warrant_read has seen to it that nothing in it steers a terminal */
    (void)fwrite(f->by.text, 1, f->by.bytes, out);
    (void)fprintf(out, "\n");
    for (uint32_t i = 0; i < f->by.count; i++)
        (void)fprintf(out, "signed by operator %s of %s\n", f->by.who[i].name,
                      f->by.who[i].cluster);
    if (f->by.count < WARRANT_SIGNERS)
        (void)fprintf(out, "not valid yet: another operator has to sign it\n");
}

static json_t *text_json(struct bytes b)
{
    return json_stringn((const char *)b.p, b.n);
}

static json_t *file_json(const struct warrant_file *f)
{
    char nonce[WARRANT_NONCE_TEXT], id[UUID_TEXT_BYTES];
    json_t *facts = json_array(), *signers = json_array();
    for (uint32_t i = 0; i < f->says.count; i++)
        json_array_append_new(facts, json_pack("[o, o]", text_json(f->says.facts[i].name),
                                               text_json(f->says.facts[i].value)));
    for (uint32_t i = 0; i < f->by.count; i++)
        json_array_append_new(signers, json_string(f->by.who[i].name));
    hex_format(f->says.nonce, sizeof f->says.nonce, nonce);
    return json_pack("{s:o, s:o, s:s, s:o, s:s, s:I, s:I, s:o, s:o}", "act", text_json(f->says.act),
                     "cluster", text_json(f->says.cluster), "id",
                     uuid_text(&f->says.cluster_id, id), "asked_by", text_json(f->says.asked_by),
                     "nonce", nonce, "made_us", (json_int_t)f->says.made.us, "expires_us",
                     (json_int_t)f->says.expires.us, "facts", facts, "signed_by", signers);
}

int warrant_file_show(const struct common *c, const char *path, struct err *e)
{
    struct warrant_file f;
    int rc = warrant_file_open(c, path, &f, e);
    if (rc != 0)
        return rc;
    if (c->format == OUTPUT_JSON)
        output_json(file_json(&f));
    else
        warrant_file_print(stdout, &f);
    warrant_file_close(&f);
    return 0;
}
