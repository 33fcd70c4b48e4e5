/* A token for tests: SoftHSM, with a directory of its own in a test's place. */
#ifndef TESTS_UNIT_REPOSITORY_SOFTHSM_H
#define TESTS_UNIT_REPOSITORY_SOFTHSM_H

#include "repository/io/crypto.h"
#include "tests/unit/repository/fixture.h"

#include <stdlib.h>

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"

static void softhsm_run(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void softhsm_make(const struct place *p)
{
    char path[200], text[400];
    (void)snprintf(path, sizeof path, "%s/tokens", p->root);
    assert_int_equal(mkdir(path, 0700), 0);
    int n = snprintf(text, sizeof text, "directories.tokendir = %s\nlog.level = ERROR\n", path);
    (void)snprintf(path, sizeof path, "%s/softhsm2.conf", p->root);
    write_file(path, text, (size_t)n, 0600);
    assert_int_equal(setenv("SOFTHSM2_CONF", path, 1), 0);
    softhsm_run("softhsm2-util --init-token --free --label archive --so-pin 87654321 --pin 123456 "
                ">/dev/null");
    (void)snprintf(path, sizeof path, "%s/pin", p->root);
    write_file(path, "123456\n", 7, 0600);
}

/* Put an AES key (hex) into the token, under a label and an id of two hex digits. */
static void softhsm_import(const struct place *p, const char *hex, const char *label,
                           const char *id)
{
    char path[100], command[500];
    uint8_t key[REPO_KEY_BYTES];
    for (size_t i = 0; i < sizeof key; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        key[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    (void)snprintf(path, sizeof path, "%s/raw", p->root);
    write_file(path, key, sizeof key, 0600);
    (void)snprintf(command, sizeof command,
                   "pkcs11-tool --module " SOFTHSM_MODULE
                   " --token-label archive --login --pin 123456 --write-object %s --type secrkey "
                   "--key-type AES:32 --usage-wrap --label %s --id %s >/dev/null 2>&1",
                   path, label, id);
    softhsm_run(command);
    assert_int_equal(unlink(path), 0);
}

static const char *softhsm_uri(const struct place *p, const char *object)
{
    static char uri[400];
    (void)snprintf(uri, sizeof uri,
                   "pkcs11:token=archive;%s?module-path=" SOFTHSM_MODULE "&pin-source=file:%s/pin",
                   object, p->root);
    return uri;
}

#endif
