/* The one binary: see tools/README.md. */
#include "tools/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
