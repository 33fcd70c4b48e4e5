#include "tools/background.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/ioprio.h: class 3 (idle) for this process. Few schedulers heed it; those that do not are none the worse. */
enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_IDLE = 3 << 13 };

void background_begin(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setpriority(PRIO_PROCESS, 0, 19);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    const struct rlimit limit = {(rlim_t)BACKGROUND_MEMORY_MIB << 20,
                                 (rlim_t)BACKGROUND_MEMORY_MIB << 20};
    (void)setrlimit(RLIMIT_DATA, &limit);
#endif
}
