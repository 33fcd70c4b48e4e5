#include "tools/progress.h"

#include "tools/output.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { BAR_COLUMNS = 24, TERMINAL_MS = 100, LINE_MS = 5000 };

uint64_t monotonic_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

const char *bytes_text(uint64_t bytes, char out[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    unsigned u = 0;
    while (v >= 1024 && u + 1 < sizeof units / sizeof units[0]) {
        v /= 1024;
        u++;
    }
    (void)snprintf(out, 24, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
    return out;
}

/* Interrupted with a bar on the line, the shell's prompt would stand behind it. The signal then does what it always does. */
static void leave_the_line(int number)
{
    ssize_t n = write(STDERR_FILENO, "\n", 1);
    (void)n;
    (void)raise(number); /* delivered when this returns; SA_RESETHAND has put the default back */
}

/* From the default to ours and back; whoever ignores the signal, or has a handler, keeps that. */
static void watch(int number, bool on)
{
    struct sigaction now;
    struct sigaction next = {.sa_handler = on ? leave_the_line : SIG_DFL,
                             .sa_flags = on ? (int)SA_RESETHAND : 0};
    if (sigaction(number, NULL, &now) == 0 && now.sa_handler == (on ? SIG_DFL : leave_the_line))
        (void)sigaction(number, &next, NULL);
}

void progress_begin(struct progress *p, const char *what, const char *unit, uint64_t first)
{
    *p = (struct progress){.what = what, .unit = unit, .first = first};
    p->terminal = isatty(STDERR_FILENO) == 1;
    if (p->terminal) {
        watch(SIGINT, true);
        watch(SIGTERM, true);
    }
    p->began_ms = p->shown_ms = monotonic_ms();
}

void progress_begin_count(struct progress *p, const char *what, const char *unit)
{
    progress_begin(p, what, unit, 0);
    p->counts = true;
}

/* "12.3 MiB", or "1234 records". */
static const char *amount_text(const struct progress *p, uint64_t amount, char out[64])
{
    if (!p->counts)
        return bytes_text(amount, out);
    (void)snprintf(out, 64, "%llu %s", (unsigned long long)amount, p->unit);
    return out;
}

double progress_seconds(const struct progress *p)
{
    return (double)(monotonic_ms() - p->began_ms) / 1000;
}

static void bar(double part)
{
    (void)fputc('[', stderr);
    for (int i = 0; i < BAR_COLUMNS; i++)
        (void)fputc(i < (int)(part * BAR_COLUMNS) ? '#' : '.', stderr);
    (void)fputs("] ", stderr);
}

void progress_show(struct progress *p, uint64_t done, uint64_t total, uint64_t items)
{
    uint64_t now = monotonic_ms();
    if (now - p->shown_ms < (p->terminal ? TERMINAL_MS : LINE_MS))
        return;
    p->shown_ms = now;
    double seconds = (double)(now - p->began_ms) / 1000;
    double rate = seconds > 0 && done >= p->first ? (double)(done - p->first) / seconds : 0;
    char a[64];
    (void)fputs(p->terminal ? "\r\033[K" : "triveni: ", stderr);
    (void)fprintf(stderr, "%s ", p->what);
    if (total > 0) {
        double part = done < total ? (double)done / (double)total : 1;
        if (p->terminal)
            bar(part);
        (void)fprintf(stderr, "%3.0f %% of %s, ", part * 100, amount_text(p, total, a));
    } else {
        (void)fprintf(stderr, "%s, ", amount_text(p, done, a));
    }
    if (p->unit != NULL && !p->counts)
        (void)fprintf(stderr, "%llu %s, ", (unsigned long long)items, p->unit);
    (void)fprintf(stderr, "%s/s", amount_text(p, (uint64_t)rate, a));
    if (total > done && rate > 0)
        (void)fprintf(stderr, ", %.0f s left", (double)(total - done) / rate);
    (void)fputs(p->terminal ? "" : "\n", stderr);
}

void progress_end(struct progress *p)
{
    if (!p->terminal)
        return;
    (void)fputs("\r\033[K", stderr);
    watch(SIGINT, false);
    watch(SIGTERM, false);
}
