/* Every command's table entry; the list in order of help is commands.c. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "tools/cli.h"

/* What --kek SOURCE says, in every command that reads the archive. */
#define KEK_HELP                                                                                   \
    "key that the archive is encrypted under (required): a file, 'command:/PATH WORD...', or a "   \
    "PKCS #11 URI"

extern const struct command command_quickstart, command_init, command_serve;
extern const struct command command_pki_init, command_pki_site, command_pki_client,
    command_pki_operator, command_pki_revoke, command_pki_show;
extern const struct command command_get, command_put, command_del, command_scan, command_txn,
    command_load, command_dump, command_watch, command_history, command_diff;
extern const struct command command_session, command_outcome;
extern const struct command command_index_create, command_index_drop, command_index_list;
extern const struct command command_status, command_events, command_switchover, command_failover,
    command_mode, command_member, command_member_replace, command_isolate, command_digest;
extern const struct command command_warrant_show, command_warrant_sign;
extern const struct command command_divergence_list, command_divergence_show,
    command_divergence_export, command_divergence_apply, command_divergence_discard;
extern const struct command command_point, command_point_list;
extern const struct command command_restore, command_archive_list, command_archive_verify,
    command_archive_points, command_archive_snapshots, command_archive_keys, command_archive_seal,
    command_archive_heal, command_archive_holds, command_archive_hold, command_archive_release,
    command_archive_dispose, command_archive_checkpoint, command_archive_prove,
    command_archive_consistency, command_archive_operations, command_verify_proof;
extern const struct command command_drill_restore, command_archive_damage;
extern const struct command command_check, command_dump_log;
extern const struct command command_version;
extern const struct command command_receipt;
extern const struct command command_archive_export;

#endif
