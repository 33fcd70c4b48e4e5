#!/usr/bin/env bash
# The bench of archive and restore works: a few MiB, without peers, all of its own figures there. What it measures here is worth nothing.
#
# Usage: BUILD=build/gcc-release tests/integration/bench_restore.sh
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
cd "$(dirname "$0")/../.."
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-bench.XXXXXX")
trap 'rm -rf "$DIR"' EXIT
# Its programs are built already.
MAKE=true QUICK=1 PEERS=no MIB=4 VERSIONS=20000 HISTORY_SECONDS=1 BENCH_DIR=$DIR BENCH_OUT=$DIR bench/restore.sh >"$DIR/out" 2>"$DIR/err" ||
    { cat "$DIR/out" "$DIR/err"; exit 1; }
# Restored, and behind the snapshot, is what was asked for; every goal that needs no peer and no sites was measured. Its
# memory is sampled, and a restore as short as this may be over before the first sample.
jq -e '.settings as $s | [.lines[] | select(.what == "restore-time")]
    | length == 1 and .[0].replayed == $s.target_at - $s.base_at and .[0].own_mb >= 0' "$DIR/restore.json" >/dev/null ||
    { cat "$DIR/restore.json"; jq '.lines[] | select(.what == "restore-time")' "$DIR/restore.json"; echo "not restored to what its settings ask for, or its memory was not looked at"; exit 1; }
measured=$(jq '[.goals[] | select(.measured != "not measured")] | length' "$DIR/restore.json")
[ "$measured" = 5 ] || { echo "$measured goals were measured, not 5:"; jq -c '.goals[]' "$DIR/restore.json"; exit 1; }
grep -q '^goal: ' "$DIR/out"
echo "bench of restore: $(wc -l <"$DIR/restore-lines.jsonl") lines of results, $measured goals measured"
