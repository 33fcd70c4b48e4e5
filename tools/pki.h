/* A development CA and the certificates of sites, clients and operators: the functions behind `triveni pki`. For production use
 * the organisation's own CA; what a certificate needs is in replication/io/README.md.
 *
 * Everything is a file in one directory: ca.crt, ca.key, ca.crl (after the first revocation), <name>.crt, <name>.key.
 * Keys are EC P-256, files of mode 0600. Nothing is ever overwritten, except ca.crl, which is replaced as a whole. */
#ifndef TOOLS_PKI_H
#define TOOLS_PKI_H

#include "replication/core/wire.h"
#include "store/core/err.h"

enum {
    PKI_ADDRESSES_MAX = 16,
    PKI_CA_DAYS = 3650,
    PKI_LEAF_DAYS = 90,
    PKI_CRL_DAYS = 365, /* an overdue list refuses everybody */
    PKI_DAY_S = 86400,
    PKI_SKEW_S = 3600, /* certificates begin this long ago, for clocks that are behind */
};

/* Make the CA of a cluster; `dir` is made when it is not there (its parent must be). ERR_EXISTS when it holds one. */
int pki_init(const char *dir, const char *cluster, struct err *e);

struct pki_request {
    enum wire_kind kind;
    const char *name;
    const char *const
        *addresses; /* DNS names and IP addresses, for other tools: Triveni looks only at the URI */
    size_t address_count;
    int64_t not_before_s,
        not_after_s; /* from now, may be negative; both 0: PKI_SKEW_S ago, in PKI_LEAF_DAYS */
};
/* Issue <name>.crt and <name>.key. ERR_EXISTS when one is there, ERR_USAGE for names that no certificate may hold. */
int pki_issue(const char *dir, const struct pki_request *r, struct err *e);

/* Put the certificate in the file on the CA's revocation list; NULL: only sign the list anew. ERR_DENIED when it is not of
 * this CA. Sites read the list when they load their TLS files. */
int pki_revoke(const char *dir, const char *cert_file, struct err *e);

/* Cluster of the CA in `dir`. */
int pki_cluster(const char *dir, char out[64], struct err *e);

#endif
