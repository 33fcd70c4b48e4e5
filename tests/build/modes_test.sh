#!/bin/bash
# `make MODE=x` knows its modes and refuses others: a misspelt sanitizer would build without one and find nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
unset MAKEFLAGS MAKELEVEL MODE
for mode in release debug asan tsan fuzz; do
    make -n MODE=$mode help >/dev/null || { echo "MODE=$mode is refused"; exit 1; }
done
said=$(make MODE=assan help 2>&1) && { echo "MODE=assan is accepted"; exit 1; }
grep -q "MODE=assan is unknown: one of release" <<<"$said" || { echo "not said what is wrong: $said"; exit 1; }
