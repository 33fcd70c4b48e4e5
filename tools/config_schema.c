/* Keys of triveni.yaml: one libcyaml schema of strings, one table of numbers, one example. triveni.yaml(5) explains
 * them. */
#include "tools/config_schema.h"

#include "tools/config.h"

#include <stddef.h>

enum {
    KEK_WORDS_MAX = 32, /* as repository/io/program.h takes them */
    TEXT_MAX = 4096
}; /* longest text; the members of site_config have limits of their own, checked by config.c */

#define NEEDED(name, structure, member)                                                            \
    CYAML_FIELD_STRING_PTR(name, CYAML_FLAG_POINTER, structure, member, 1, TEXT_MAX)

/* Fields of a section are written with offsets from the whole file's struct; libcyaml wants them from the section. */
#define IN(section, name, needed)                                                                  \
    {                                                                                              \
        .key = #name,                                                                              \
        .data_offset =                                                                             \
            offsetof(struct config_file, section.name) - offsetof(struct config_file, section),    \
        .value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER | ((needed) ? 0 : CYAML_FLAG_OPTIONAL),    \
                                     char *, (needed) ? 1 : 0, TEXT_MAX)},                         \
    }
#define SECTION(name, needed)                                                                      \
    CYAML_FIELD_MAPPING(#name, (needed) ? CYAML_FLAG_DEFAULT : CYAML_FLAG_OPTIONAL,                \
                        struct config_file, name, name##_fields)

static const cyaml_schema_field_t cluster_fields[] = {
    IN(cluster, name, 1),
    IN(cluster, id, 1),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t member_fields[] = {
    NEEDED("name", struct config_member, name),
    NEEDED("kind", struct config_member, kind),
    NEEDED("peer", struct config_member, peer),
    NEEDED("client", struct config_member, client),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t member_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_member, member_fields),
};

static const cyaml_schema_field_t tls_fields[] = {
    IN(tls, ca, 1), IN(tls, cert, 1), IN(tls, key, 1), IN(tls, crl, 0), CYAML_FIELD_END,
};

static const cyaml_schema_field_t replication_fields[] = {
    IN(replication, failover, 0), IN(replication, heartbeat_ms, 0), IN(replication, election_ms, 0),
    IN(replication, lease_ms, 0), IN(replication, compression, 0),  CYAML_FIELD_END,
};

static const cyaml_schema_field_t store_fields[] = {
    IN(store, engine, 0),
    IN(store, segment_mib, 0),
    IN(store, log_limit_mib, 0),
    IN(store, log_retain_mib, 0),
    IN(store, reserve_mib, 0),
    IN(store, checkpoint_mib, 0),
    IN(store, checkpoint_seconds, 0),
    IN(store, memory_mib, 0),
    IN(store, receive_mib, 0),
    IN(store, scrub_mib_per_second, 0),
    IN(store, scrub_seconds, 0),
    IN(store, history_hours, 0),
    IN(store, history_mib, 0),
    IN(store, session_hours, 0),
    IN(store, idempotency_hours, 0),
    IN(store, idempotency_keys, 0),
    IN(store, snapshot_seconds, 0),
    IN(store, max_clients, 0),
    IN(store, client_idle_seconds, 0),
    IN(store, max_per_identity, 0),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t word_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, TEXT_MAX),
};
static const cyaml_schema_field_t kek_fields[] = {
    CYAML_FIELD_STRING_PTR("file", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_kek,
                           file, 1, TEXT_MAX),
    CYAML_FIELD_STRING_PTR("token", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_kek,
                           token, 1, TEXT_MAX),
    CYAML_FIELD_SEQUENCE("command", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_kek,
                         command, &word_schema, 1, KEK_WORDS_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t repository_fields[] = {
    {
        .key = "copies",
        .data_offset = offsetof(struct config_file, repository.copies) -
                       offsetof(struct config_file, repository),
        .count_offset = offsetof(struct config_file, repository.copies_count) -
                        offsetof(struct config_file, repository),
        .count_size = sizeof((struct config_file *)0)->repository.copies_count,
        .value = {CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *,
                                       &word_schema, 0, SITE_COPIES_MAX)},
    },
    IN(repository, archived_at, 0),
    IN(repository, dir, 0),
    {
        .key = "kek",
        .data_offset =
            offsetof(struct config_file, repository.kek) - offsetof(struct config_file, repository),
        .value = {CYAML_VALUE_MAPPING(CYAML_FLAG_OPTIONAL, struct config_kek, kek_fields)},
    },
    IN(repository, kek_file, 0),
    IN(repository, checkpoint_key_file, 0),
    IN(repository, pack_mib, 0),
    IN(repository, pack_seconds, 0),
    IN(repository, snapshot_entries, 0),
    IN(repository, snapshot_hours, 0),
    IN(repository, drill_hours, 0),
    IN(repository, scrub_mib_per_second, 0),
    IN(repository, scrub_seconds, 0),
    IN(repository, drill_dir, 0),
    IN(repository, retain_days, 0),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t file_fields[] = {
    SECTION(cluster, 1),
    NEEDED("site", struct config_file, site),
    CYAML_FIELD_SEQUENCE("members", CYAML_FLAG_POINTER, struct config_file, members, &member_schema,
                         1, REPL_SITES_MAX),
    NEEDED("data_dir", struct config_file, data_dir),
    SECTION(tls, 1),
    SECTION(replication, 0),
    SECTION(store, 0),
    SECTION(repository, 0),
    CYAML_FIELD_END,
};

const cyaml_schema_value_t config_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config_file, file_fields),
};

#define NUMBER(section, key, member, type, unit, least, most, standard)                            \
    {#section "." #key,                                                                            \
     offsetof(struct config_file, section.key),                                                    \
     offsetof(struct site_config, member),                                                         \
     sizeof(type),                                                                                 \
     unit,                                                                                         \
     least,                                                                                        \
     most,                                                                                         \
     standard},
const struct config_number config_numbers[] = {CONFIG_NUMBERS(NUMBER)};
const size_t config_number_count = sizeof config_numbers / sizeof config_numbers[0];

const char config_example[] =
    "cluster:\n"
    "  name: land-registry\n"
    "  id: 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42   # the same at all sites\n"
    "site: gsr                                   # which of the members this one is\n"
    "members:\n"
    "  - {name: dc, kind: data, peer: 'dc.example:7401', client: 'dc.example:7400'}\n"
    "  - {name: dr, kind: data, peer: 'dr.example:7401', client: 'dr.example:7400'}\n"
    "  - {name: gsr, kind: repository, peer: 'gsr.example:7401', client: 'gsr.example:7400'}\n"
    "data_dir: /var/lib/triveni\n"
    "tls:\n"
    "  ca: tls/ca.crt                             # relative to the folder of this file\n"
    "  cert: tls/gsr.crt\n"
    "  key: tls/gsr.key\n"
    "replication:\n"
    "  failover: automatic\n"
    "repository:                                  # of kind repository only\n"
    "  dir: /var/lib/triveni-archive\n"
    "  kek_file: /etc/triveni/kek\n";
