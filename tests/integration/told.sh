#!/usr/bin/env bash
# What clients are told when a primary cannot act: one without a majority says so, sends nobody to itself, and goes on with who waits
# once there is one again.
#
# Usage: BUILD=build/gcc-release tests/integration/told.sh
# suite: drills
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-told.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

# A primary that has lost the others stops answering after a second, and gives up six seconds later.
cluster_create "$DIR/cluster"
for site in dc dr gsr; do echo 'replication: {election_ms: 6000, lease_ms: 1000}' >>"$DIR/cluster/$site.yaml"; done
sites_start
primary=$(wait_primary)
other=$([ "$primary" = dc ] && echo dr || echo dc)
tv put land before 1 >/dev/null

# ---- no majority ----
site_kill "$other" STOP
site_kill gsr STOP
sleep 1.5
code=0
tv put land alone 1 --endpoints "127.0.0.1:$(client_port "$primary")" --timeout 1s >"$DIR/alone.out" 2>"$DIR/alone.err" || code=$?
[ "$code" = 6 ] || { echo "a primary without a majority: exit code $code instead of 6"; exit 1; }
grep -q "no majority at present" "$DIR/alone.err" || { echo "the client is not told why"; exit 1; }
# Asked with the other one in the list, which does not answer, too.
code=0
tv put land alone 1 --endpoints "127.0.0.1:$(client_port "$primary"),127.0.0.1:$(client_port "$other")" --timeout 1s >>"$DIR/alone.out" 2>"$DIR/both.err" ||
    code=$?
[ "$code" = 6 ] || { echo "a primary without a majority, and one that is silent: exit code $code instead of 6"; exit 1; }
code=0
op mode majority --endpoints "127.0.0.1:$(client_port "$primary")" --timeout 1s >"$DIR/mode.out" 2>"$DIR/mode.err" || code=$?
[ "$code" = 6 ] || { echo "an order to a primary without a majority: exit code $code instead of 6"; exit 1; }
grep -q "no majority at present; nothing was written" "$DIR/mode.err" || { echo "the operator is not told why"; exit 1; }
tv put land later 1 --timeout 20s >"$DIR/later.out" 2>"$DIR/later.err" &
writer=$!
sleep 0.3
site_kill "$other" CONT
site_kill gsr CONT
wait "$writer" || { echo "who waits is not served when there is a majority again"; exit 1; }
echo "no majority: told, and served when there is one again"
