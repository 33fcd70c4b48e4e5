/* A program that is asked for a secret: its stdout is the secret, its stderr goes into our message when it fails.
 *
 * Why no shell: whoever may write the configuration chooses the words, and nothing in them is expanded. Why a time limit: the
 * archive's thread waits for the answer; a key server that hangs must become trouble that is shown. The program leads a process
 * group of its own, so that what it started is killed with it.
 *
 * FAILURE MODES
 *   The program closes its output and goes on: waited for until the time limit, then killed and reported as too slow.
 *   It leaves a child that holds the pipe: the same.
 *   It fails after it wrote a key: the key is not used. */
#include "repository/io/program.h"

#include "repository/io/crypto.h"
#include "store/io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct run {
    const char *path;
    pid_t pid;
    int out, complaints; /* ours ends of its stdout and stderr */
    uint64_t deadline_ms;
    char said[240]; /* the end of its stderr */
    size_t said_bytes;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- words ---- */

static int split(const char *line, char *copy, char *words[REPO_PROGRAM_WORDS + 1], struct err *e)
{
    size_t count = 0;
    char *at = NULL;
    if (strlen(line) >= REPO_PROGRAM_BYTES)
        return err_set(e, ERR_CONFIG, "a command of %zu bytes: at most %d are allowed",
                       strlen(line), REPO_PROGRAM_BYTES - 1);
    (void)snprintf(copy, REPO_PROGRAM_BYTES, "%s", line);
    for (char *w = strtok_r(copy, " ", &at); w != NULL; w = strtok_r(NULL, " ", &at)) {
        if (count == REPO_PROGRAM_WORDS)
            return err_set(e, ERR_CONFIG, "the command has more than %d words", REPO_PROGRAM_WORDS);
        words[count++] = w;
    }
    words[count] = NULL;
    if (count == 0 || words[0][0] != '/')
        return err_set(e, ERR_CONFIG, "'%.80s': the command must begin with an absolute path",
                       count == 0 ? "" : words[0]);
    return 0;
}

/* ---- the process ---- */

/* The last bytes of what it complains of, without line ends. */
static void note_complaint(struct run *r, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (r->said_bytes == sizeof r->said - 1) {
            memmove(r->said, r->said + 1, r->said_bytes - 1);
            r->said_bytes--;
        }
        char c = p[i];
        r->said[r->said_bytes++] = c >= 0 && c < ' ' ? ' ' : c;
    }
    r->said[r->said_bytes] = '\0';
}

static int failed(const struct run *r, int code, const char *what, struct err *e)
{
    size_t n = r->said_bytes;
    while (n > 0 && r->said[n - 1] == ' ')
        n--;
    return err_set(e, code, "%s %s%s%.*s", r->path, what, n != 0 ? ": " : "", (int)n, r->said);
}

/* Its output until both ends are closed. */
static int collect(struct run *r, char *out, size_t room, size_t *n, struct err *e)
{
    while (r->out >= 0 || r->complaints >= 0) {
        char piece[512];
        struct pollfd ends[2] = {{.fd = r->out, .events = POLLIN},
                                 {.fd = r->complaints, .events = POLLIN}};
        uint64_t now = now_ms();
        int ready = now >= r->deadline_ms ? 0 : poll(ends, 2, (int)(r->deadline_ms - now));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return failed(r, ERR_IO, "takes too long and was ended", e);
        for (int i = 0; i < 2; i++) {
            if (ends[i].fd < 0 || ends[i].revents == 0)
                continue;
            ssize_t got = read(ends[i].fd, piece, sizeof piece);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0) {
                (void)close(ends[i].fd);
                *(i == 0 ? &r->out : &r->complaints) = -1;
            } else if (i == 1) {
                note_complaint(r, piece, (size_t)got);
            } else if ((size_t)got > room - *n) {
                repo_wipe(piece, sizeof piece);
                return failed(r, ERR_FORMAT, "writes more than is expected of it", e);
            } else {
                memcpy(out + *n, piece, (size_t)got);
                *n += (size_t)got;
            }
            repo_wipe(piece, sizeof piece);
        }
    }
    return 0;
}

/* Until it ended; ended by us when it must not go on. */
static int reap(struct run *r, bool end, int *status)
{
    static const struct timespec pause = {.tv_nsec = 5000000};
    for (;;) {
        if (end || now_ms() >= r->deadline_ms) {
            end = true;
            (void)kill(-r->pid, SIGKILL);
        }
        pid_t got = waitpid(r->pid, status, end ? 0 : WNOHANG);
        if (got == r->pid || (got < 0 && errno != EINTR))
            return end ? ERR_IO : 0;
        (void)nanosleep(&pause, NULL);
    }
}

static int outcome(struct run *r, char *out, size_t room, size_t *n, struct err *e)
{
    int status = 0;
    char what[60];
    int rc = collect(r, out, room, n, e);
    int ended = reap(r, rc != 0, &status);
    if (rc != 0)
        return rc;
    if (ended != 0)
        return failed(r, ERR_IO, "takes too long and was ended", e);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status))
        (void)snprintf(what, sizeof what, "failed with exit code %d", WEXITSTATUS(status));
    else
        (void)snprintf(what, sizeof what, "was ended by signal %d", WTERMSIG(status));
    return failed(r, ERR_IO, what, e);
}

int repo_program_run(const char *line, uint32_t timeout_ms, char *out, size_t room, size_t *n,
                     struct err *e)
{
    char copy[REPO_PROGRAM_BYTES];
    char *words[REPO_PROGRAM_WORDS + 1];
    int output[2], complaints[2];
    *n = 0;
    int rc = split(line, copy, words, e);
    if (rc != 0)
        return rc;
    if (pipe2(output, O_CLOEXEC) != 0)
        return err_set(e, ERR_IO, "%s: no pipe to it: %s", words[0], strerror(errno));
    if (pipe2(complaints, O_CLOEXEC) != 0) {
        rc = err_set(e, ERR_IO, "%s: no pipe to it: %s", words[0], strerror(errno));
        (void)close(output[0]);
        (void)close(output[1]);
        return rc;
    }
    struct run r = {.path = words[0],
                    .out = output[0],
                    .complaints = complaints[0],
                    .deadline_ms = now_ms() + timeout_ms};
    int code = spawn_start(&(struct spawn){.path = words[0],
                                           .words = words,
                                           .env = environ,
                                           .out = output[1],
                                           .complaints = complaints[1],
                                           .leads = true},
                           &r.pid);
    (void)close(output[1]);
    (void)close(complaints[1]);
    if (code == 0)
        rc = outcome(&r, out, room, n, e);
    else
        rc = err_set(e,
                     code == ENOENT   ? ERR_NOT_FOUND
                     : code == EACCES ? ERR_DENIED
                                      : ERR_IO,
                     "%s cannot be run: %s", words[0], strerror(code));
    if (r.out >= 0)
        (void)close(r.out);
    if (r.complaints >= 0)
        (void)close(r.complaints);
    if (rc != 0) {
        repo_wipe(out, *n);
        *n = 0;
    }
    return rc;
}
