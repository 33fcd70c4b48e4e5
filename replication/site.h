/* A site: the process that `triveni serve` runs. Composes log, state, replication, repository and the client service on one
 * libuv loop. See replication/README.md for the way of a commit through the files. */
#ifndef REPLICATION_SITE_H
#define REPLICATION_SITE_H

#include "replication/core/repl.h"
#include "replication/io/tls.h"
#include "store/core/err.h"
#include "store/log.h"

#define TRIVENI_VERSION "0.1.0"

enum { SITE_FORMAT = 1 }; /* of site.json */
enum {
    SITE_NAME_MAX_BYTES = 32,
    SITE_PATH_BYTES = 512,
    SITE_ENDPOINT_BYTES = 128,
    SITE_COPIES_MAX = 4
};

enum site_kind {
    SITE_DATA = 1,
    SITE_REPOSITORY = 2
}; /* may become primary; votes and archives only */

struct site_member {
    char name[SITE_NAME_MAX_BYTES + 1];
    enum site_kind kind;
    char peer[SITE_ENDPOINT_BYTES];   /* host:port that other sites connect to */
    char client[SITE_ENDPOINT_BYTES]; /* host:port that clients connect to */
};

/* One site's whole configuration, as tools/config.c reads it from YAML. Strings are stored inside. */
struct site_config {
    char cluster[64];
    struct uuid cluster_id;
    uint32_t member_count;
    struct site_member members[REPL_SITES_MAX];
    uint32_t self; /* index into members */

    char data_dir[SITE_PATH_BYTES];
    char ca[SITE_PATH_BYTES], cert[SITE_PATH_BYTES], key[SITE_PATH_BYTES], crl[SITE_PATH_BYTES];

    /* replication */
    enum repl_policy policy; /* failover: automatic | observe | manual */
    uint32_t heartbeat_ms, election_ms, lease_ms;
    int zstd_level; /* link compression, 0: none */

    /* store */
    enum log_engine engine;
    uint64_t segment_bytes, log_limit_bytes, log_retain_bytes, reserve_bytes;
    uint64_t checkpoint_bytes; /* of log between checkpoints */
    uint32_t checkpoint_ms;    /* and at least this often when something changed */
    uint64_t memory_bytes;     /* in-flight overlay and queues; beyond it clients are paused */
    uint64_t scrub_bytes;      /* a second, read to find damage; 0: no scrub */
    uint32_t scrub_ms;         /* a pass of the scrub begins as often as this */
    uint64_t history_us, history_bytes; /* the past that can be read; either 0: none */
    uint32_t session_hours;             /* idle sessions expire */
    uint64_t idempotency_us;            /* keys are remembered for so long; 0: for ever */
    uint32_t idempotency_keys;          /* ... at most so many of one client; 0: any number */
    uint32_t snapshot_ms;               /* clients' snapshots are closed when they are as old */
    uint32_t max_clients;
    uint32_t client_idle_ms;   /* who says nothing for so long is cut off; 0: nobody is */
    uint64_t receive_bytes;    /* of large requests that are being received, all together */
    uint32_t max_per_identity; /* connections of one client's name; 0: no limit of their own */

    /* repository (kind: repository) */
    char archive_dir[SITE_PATH_BYTES];
    char kek_file[SITE_PATH_BYTES]; /* or command:... or pkcs11:...: where the KEK comes from */
    char checkpoint_key_file[SITE_PATH_BYTES];     /* empty: checkpoint.key beside the KEK's file */
    char copies[SITE_COPIES_MAX][SITE_PATH_BYTES]; /* further places that hold the archive */
    uint32_t copy_count;
    bool archived_at_all;      /* what is archived is what all of them hold */
    uint64_t pack_bytes;       /* seal when this many bytes wait */
    uint32_t pack_seconds;     /* or when the oldest has waited this long */
    uint32_t snapshot_entries; /* a snapshot after this many entries; 0: never */
    uint64_t retain_us;        /* what is younger is not disposed of; 0: whatever its age */
    uint64_t snapshot_us;      /* ... and after this time; 0: not by time */
    uint64_t drill_us;         /* a restore drill this often; 0: only when asked */

    char drill_dir[SITE_PATH_BYTES]; /* empty: "drill" in data_dir */

    uint64_t archive_scrub_bytes; /* of the archive read again in a second; 0: none */
    uint64_t archive_scrub_us;    /* an object is not read again before this time is over */
};

/* Names and kinds of the members in the order of the names: "dc data, dr data, gsr repository". What all sites must agree on. */
enum { SITE_MEMBERS_BYTES = REPL_SITES_MAX * (SITE_NAME_MAX_BYTES + 16) };
void site_members_text(const struct site_config *config, char out[SITE_MEMBERS_BYTES]);

/* Create the data directory of a site: identity, vote file, empty log and state. ERR_EXISTS when it holds one.
 *   SITE_REBUILT      the cluster has a history, and this site may have had a part in it: new incarnation, does not vote until it
 *                     has caught up (R5); a restored state is taken as it is
 *   SITE_NEW_CLUSTER  nobody has a history: votes at once; ERR_EXISTS as well when there is a state or a log
 *   SITE_JOINS        as SITE_REBUILT, and it counts no members before the log has told it which there are: a site that is added,
 *                     or made anew, to a cluster whose members have changed
 *   SITE_ALL_LOST     no site has anything left but what was restored: votes at once, with the restored state */
enum site_init_how {
    SITE_NEW_CLUSTER = 0,
    SITE_REBUILT = 1,
    SITE_ALL_LOST = 2,
    SITE_JOINS = 3,
};
int site_init(const struct site_config *config, enum site_init_how how, struct err *e);

/* The list of members was changed at all sites, which are all stopped and equal: accept it here. `before` is what it was.
 * ERR_DENIED when no majority of the old and of the new list are members of both; ERR_BUSY when the site runs. */
int site_change_members(const struct site_config *config, char before[SITE_MEMBERS_BYTES],
                        struct err *e);

/* Run until SIGTERM or SIGINT (then 0) or a fatal error. Logs to stderr. */
int site_run(const struct site_config *config, struct err *e);

#endif
