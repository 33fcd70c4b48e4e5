/* The list of commands, in the order of help; commands of a group stand together. */
#include "tools/commands.h"

#include "client/triveni.h"

#include <stddef.h>

static int run_version(struct invocation *in, struct err *e)
{
    const struct common *c = in->options;
    (void)e;
    if (c->format == OUTPUT_JSON)
        output_json(json_pack("{s:s}", "version", tvn_version()));
    else
        (void)printf("triveni %s\n", tvn_version());
    return 0;
}

const struct command command_version = {
    .name = "version",
    .group = "Other",
    .purpose = "print the version",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct common),
    .tables = {output_options},
    .about = NULL,
    .examples = {{"the version", "triveni version"}},
    .exits = "",
    .run = run_version,
};

const struct command *const commands[] = {
    &command_quickstart,
    &command_init,
    &command_serve,
    &command_pki_init,
    &command_pki_site,
    &command_pki_client,
    &command_pki_operator,
    &command_pki_revoke,
    &command_pki_show,
    &command_get,
    &command_put,
    &command_del,
    &command_scan,
    &command_txn,
    &command_receipt,
    &command_load,
    &command_dump,
    &command_watch,
    &command_history,
    &command_diff,
    &command_outcome,
    &command_index_create,
    &command_index_drop,
    &command_index_list,
    &command_status,
    &command_events,
    &command_switchover,
    &command_failover,
    &command_mode,
    &command_member,
    &command_member_replace,
    &command_isolate,
    &command_digest,
    &command_session,
    &command_warrant_show,
    &command_warrant_sign,
    &command_divergence_list,
    &command_divergence_show,
    &command_divergence_export,
    &command_divergence_apply,
    &command_divergence_discard,
    &command_point,
    &command_point_list,
    &command_restore,
    &command_archive_list,
    &command_archive_verify,
    &command_archive_damage,
    &command_archive_points,
    &command_archive_snapshots,
    &command_archive_keys,
    &command_archive_seal,
    &command_archive_heal,
    &command_drill_restore,
    &command_archive_holds,
    &command_archive_hold,
    &command_archive_release,
    &command_archive_dispose,
    &command_archive_checkpoint,
    &command_archive_prove,
    &command_archive_consistency,
    &command_archive_operations,
    &command_archive_export,
    &command_verify_proof,
    &command_check,
    &command_dump_log,
    &command_version,
    NULL,
};
