/* Configurations: whatever the text, an answer, and for a bad one a message that names the file. What is accepted keeps what the
 * checks promise. */
#include "tools/config.h"

#include "store/core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct site_config c;
    struct err e = ERR_NONE;
    int rc = config_parse("/f.yaml", bytes_of(data, size), &c, &e);
    if (rc != 0) {
        check(rc == ERR_CONFIG || rc == ERR_LIMIT);
        check(strncmp(e.text, "/f.yaml", 7) == 0);
        return 0;
    }
    check(c.member_count >= 1 && c.member_count <= REPL_SITES_MAX && c.self < c.member_count);
    /* What repl_init insists on. */
    check(c.heartbeat_ms > 0 &&
          repl_times_check(c.heartbeat_ms, c.election_ms, c.lease_ms) == REPL_TIMES_OK);
    check(c.log_limit_bytes >= 4 * c.segment_bytes && c.segment_bytes % 4096 == 0);
    check((c.members[c.self].kind == SITE_REPOSITORY) == (c.archive_dir[0] != '\0'));
    check(!uuid_is_zero(&c.cluster_id) && c.cluster[0] != '\0' && c.data_dir[0] != '\0');
    return 0;
}
