/* The configuration file as read: strings only, by section; and the table of its numbers. */
#ifndef TOOLS_CONFIG_SCHEMA_H
#define TOOLS_CONFIG_SCHEMA_H

#include "replication/site.h"

#include <cyaml/cyaml.h>

struct config_member {
    char *name, *kind, *peer, *client;
};

struct config_kek {
    char *file, *token;
    char **command;
    unsigned command_count;
};

struct config_file {
    struct {
        char *name, *id;
    } cluster;
    char *site;
    struct config_member *members;
    unsigned members_count;
    char *data_dir;
    struct {
        char *ca, *cert, *key, *crl;
    } tls;
    struct {
        char *failover, *heartbeat_ms, *election_ms, *lease_ms, *compression;
    } replication;
    struct {
        char *engine, *segment_mib, *log_limit_mib, *log_retain_mib, *reserve_mib, *checkpoint_mib;
        char *checkpoint_seconds, *memory_mib, *scrub_mib_per_second, *scrub_seconds,
            *session_hours, *idempotency_hours, *idempotency_keys, *snapshot_seconds, *max_clients,
            *client_idle_seconds, *max_per_identity, *receive_mib;
        char *history_hours, *history_mib;
    } store;
    struct {
        char **copies;
        unsigned copies_count;
        char *archived_at;
        char *dir, *kek_file, *checkpoint_key_file, *pack_mib, *pack_seconds, *snapshot_entries;
        char *snapshot_hours, *drill_hours, *drill_dir, *retain_days, *scrub_mib_per_second,
            *scrub_seconds;
        struct config_kek kek;
    } repository;
};

extern const cyaml_schema_value_t config_schema;

/* X(section, key, member of site_config, type of it, bytes or ms per unit, least, most, default) */
#define CONFIG_NUMBERS(X)                                                                          \
    X(replication, heartbeat_ms, heartbeat_ms, uint32_t, 1, 5, 10000, 50)                          \
    X(replication, election_ms, election_ms, uint32_t, 1, 50, 60000, 500)                          \
    X(replication, lease_ms, lease_ms, uint32_t, 1, 20, 60000, 400)                                \
    X(replication, compression, zstd_level, int, 1, 0, 19, 1)                                      \
    X(store, segment_mib, segment_bytes, uint64_t, 1 << 20, LOG_SEGMENT_MIN_BYTES >> 20,           \
      LOG_SEGMENT_MAX_BYTES >> 20, 64)                                                             \
    X(store, log_limit_mib, log_limit_bytes, uint64_t, 1 << 20, 16, 16777216, 16384)               \
    X(store, log_retain_mib, log_retain_bytes, uint64_t, 1 << 20, 0, 16777216, 1024)               \
    X(store, reserve_mib, reserve_bytes, uint64_t, 1 << 20, 0, 1048576, 512)                       \
    X(store, checkpoint_mib, checkpoint_bytes, uint64_t, 1 << 20, 1, 1048576, 256)                 \
    X(store, checkpoint_seconds, checkpoint_ms, uint32_t, 1000, 1, 86400, 60)                      \
    X(store, memory_mib, memory_bytes, uint64_t, 1 << 20, 16, 1048576, 128)                        \
    X(store, receive_mib, receive_bytes, uint64_t, 1 << 20, 1, 1048576, 64)                        \
    X(store, scrub_mib_per_second, scrub_bytes, uint64_t, 1 << 20, 0, 1024, 4)                     \
    X(store, scrub_seconds, scrub_ms, uint32_t, 1000, 1, 2592000, 3600)                            \
    X(store, history_hours, history_us, uint64_t, 3600000000, 0, 87600, 24)                        \
    X(store, history_mib, history_bytes, uint64_t, 1 << 20, 0, 16777216, 4096)                     \
    X(store, session_hours, session_hours, uint32_t, 1, 1, 8760, 24)                               \
    X(store, idempotency_hours, idempotency_us, uint64_t, 3600000000, 1, 8760, 24)                 \
    X(store, idempotency_keys, idempotency_keys, uint32_t, 1, 1, 100000000, 1000000)               \
    X(store, snapshot_seconds, snapshot_ms, uint32_t, 1000, 1, 86400, 600)                         \
    X(store, max_clients, max_clients, uint32_t, 1, 1, 65536, 256)                                 \
    X(store, client_idle_seconds, client_idle_ms, uint32_t, 1000, 30, 86400, 60)                   \
    X(store, max_per_identity, max_per_identity, uint32_t, 1, 0, 65536, 0)                         \
    X(repository, pack_mib, pack_bytes, uint64_t, 1 << 20, 1, 64, 16)                              \
    X(repository, pack_seconds, pack_seconds, uint32_t, 1, 1, 86400, 10)                           \
    X(repository, snapshot_entries, snapshot_entries, uint32_t, 1, 0, 4294967295, 100000)          \
    X(repository, snapshot_hours, snapshot_us, uint64_t, 3600000000, 0, 87600, 168)                \
    X(repository, scrub_mib_per_second, archive_scrub_bytes, uint64_t, 1 << 20, 0, 1024, 4)        \
    X(repository, scrub_seconds, archive_scrub_us, uint64_t, 1000000, 1, 31536000, 86400)          \
    X(repository, drill_hours, drill_us, uint64_t, 3600000000, 0, 87600, 168)                      \
    X(repository, retain_days, retain_us, uint64_t, 86400000000, 0, 36500, 0)

struct config_number {
    const char *path; /* "store.segment_mib" */
    size_t from;      /* of the char * in struct config_file */
    size_t to, width; /* of the member of struct site_config */
    uint64_t unit, least, most, standard;
};
extern const struct config_number config_numbers[];
extern const size_t config_number_count;

#endif
