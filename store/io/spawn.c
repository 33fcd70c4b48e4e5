#include "store/io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>

static int connect_ends(const struct spawn *s, posix_spawn_file_actions_t *actions)
{
    int rc = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, s->out, 1);
    if (rc != 0)
        return rc;
    return s->complaints < 0
               ? posix_spawn_file_actions_addopen(actions, 2, "/dev/null", O_WRONLY, 0)
               : posix_spawn_file_actions_adddup2(actions, s->complaints, 2);
}

static int reset_signals(const struct spawn *s, posix_spawnattr_t *attributes)
{
    const int group = s->leads ? POSIX_SPAWN_SETPGROUP : 0;
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int rc = posix_spawnattr_setflags(
        attributes, (short)(group | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attributes, &none);
    return rc != 0 ? rc : posix_spawnattr_setsigdefault(attributes, &all);
}

int spawn_start(const struct spawn *s, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ENOMEM;
    int rc = ENOMEM;
    if (posix_spawnattr_init(&attributes) == 0) {
        rc = connect_ends(s, &actions);
        if (rc == 0)
            rc = reset_signals(s, &attributes);
        if (rc == 0)
            rc = posix_spawn(pid, s->path, &actions, &attributes, s->words, s->env);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}
