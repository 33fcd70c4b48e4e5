/* A child process of this program. It dies with the thread that began it if it asks for that itself (PR_SET_PDEATHSIG), which
 * only it can. */
#include "replication/io/helper.h"

#include "store/io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { WORDS_MAX = 16 };

/* Where each is looked up, the first of two of the same name counts. */
static char **environment(const char *const extra[])
{
    size_t n = 0, k = 0;
    while (environ[n] != NULL)
        n++;
    char **out = calloc(n + HELPER_EXTRA_MAX + 1, sizeof *out);
    for (; out != NULL && k < HELPER_EXTRA_MAX && extra[k] != NULL; k++)
        out[k] = (char *)(uintptr_t)extra[k];
    if (out != NULL && n != 0)
        memcpy(out + k, environ, n * sizeof *out);
    return out;
}

int helper_start(struct helper *h, const char *const words[], const char *const extra[],
                 struct err *e)
{
    char *all[WORDS_MAX + 2] = {(char *)(uintptr_t) "triveni"};
    int ends[2];
    *h = (struct helper){.out = -1};
    for (size_t i = 0; words[i] != NULL; i++) {
        if (i == WORDS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d words for a child process", WORDS_MAX);
        all[i + 1] = (char *)(uintptr_t)words[i];
    }
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(e, ERR_IO, "no pipe for a child process: %s", strerror(errno));
    char **env = environment(extra);
    int rc = env == NULL ? ENOMEM
                         : spawn_start(&(struct spawn){.path = "/proc/self/exe",
                                                       .words = all,
                                                       .env = env,
                                                       .out = ends[1],
                                                       .complaints = -1},
                                       &h->pid);
    free(env);
    (void)close(ends[1]);
    h->out = ends[0];
    if (rc == 0)
        return 0;
    (void)close(h->out);
    *h = (struct helper){.out = -1};
    return err_set(e, rc == ENOMEM ? ERR_NO_MEMORY : ERR_IO,
                   "a child process cannot be started: %s", strerror(rc));
}

/* The line that is in the buffer; NULL: only its beginning is. */
static const char *take(struct helper *h)
{
    char *end = memchr(h->line, '\n', h->used);
    if (end == NULL && h->used < sizeof h->line - 1 && !(h->over && h->used > 0))
        return NULL;
    h->taken = end != NULL ? (size_t)(end - h->line) + 1 : h->used;
    h->line[end != NULL ? h->taken - 1 : h->used] = '\0';
    return h->line;
}

const char *helper_line(struct helper *h, int ms)
{
    if (h->taken != 0)
        memmove(h->line, h->line + h->taken, h->used - h->taken);
    h->used -= h->taken;
    h->taken = 0;
    const char *line = take(h);
    struct pollfd p = {.fd = h->out, .events = POLLIN};
    if (line != NULL || h->over || poll(&p, 1, ms) <= 0)
        return line;
    ssize_t n = read(h->out, h->line + h->used, sizeof h->line - 1 - h->used);
    h->over = n == 0 || (n < 0 && errno != EINTR);
    h->used += n > 0 ? (size_t)n : 0;
    return take(h);
}

void helper_end(struct helper *h, bool kill_it, char how[64])
{
    int status = 0;
    (void)snprintf(how, 64, "none");
    if (h->pid == 0)
        return;
    if (kill_it)
        (void)kill(h->pid, SIGKILL);
    while (waitpid(h->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status))
        (void)snprintf(how, 64, "signal %d", WTERMSIG(status));
    else
        (void)snprintf(how, 64, "exit code %d", WEXITSTATUS(status));
    (void)close(h->out);
    *h = (struct helper){.out = -1};
}
