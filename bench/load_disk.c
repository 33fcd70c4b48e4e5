/* The raw disk alone (disk.h). Beside a store, alternating with it: load_embedded --op floor. */
#include "bench/disk.h"

int main(int argc, char **argv)
{
    struct bench_options o;
    struct bench_result result;
    bench_parse(argc, argv, &o);
    bench_run_threads(&o, &(struct bench_ops){disk_open, disk_run, disk_close}, &result);
    bench_print(&o, &result);
    return 0;
}
