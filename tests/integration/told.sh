#!/usr/bin/env bash
# What clients and operators are told when a primary cannot act: one without a majority says so, sends nobody to itself, and goes on
# with who waits once there is one again; one that is stopped while an operator's order waits answers it first.
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

# stop_while JQ ORDER...: the operator's order begins; when a jq of the primary's status is true, the primary is stopped.
# CODE is what the order ends with, its messages are in DIR/ORDER.err.
stop_while() {
    local waits=$1 operator i
    shift
    op "$@" >"$DIR/$1.out" 2>"$DIR/$1.err" &
    operator=$!
    for i in $(seq 1 100); do
        [ "$(site_status "$primary" | jq "$waits")" = true ] && break
        sleep 0.02
    done
    site_kill "$primary" TERM
    CODE=0
    wait "$operator" || CODE=$?
    site_kill "$other" CONT
    site_kill gsr CONT
}

# ---- stopped while a switchover waits for a successor that does not move ----
primary=$(wait_primary)
other=$([ "$primary" = dc ] && echo dr || echo dc)
wait_equal >/dev/null
site_kill "$other" STOP
for i in $(seq 1 50); do tv put land "behind$i" 1 >/dev/null; done
stop_while '.handover.phase == "waiting"' switchover --to "$other"
[ "$CODE" = 1 ] || { echo "the operator of the switchover: exit code $CODE instead of 1"; exit 1; }
grep -q "$other did not answer in [0-9]* ms" "$DIR/switchover.err" || { echo "the operator of the switchover is not told why"; exit 1; }
grep -q "ordered -> waiting for $other 500 ms more" "$DIR/cluster/$primary.log" || { echo "$primary does not hurry"; exit 1; }
wait_primary "$other" >/dev/null
site_start "$primary"
wait_equal >/dev/null

# ---- stopped while a list of members waits for a majority ----
primary=$(wait_primary)
other=$([ "$primary" = dc ] && echo dr || echo dc)
site_kill "$other" STOP
site_kill gsr STOP
stop_while '.last > .commit' member demote "$other"
[ "$CODE" = 9 ] || { echo "the operator of the list of members: exit code $CODE instead of 9"; exit 1; }
grep -q "the order is in its log at lsn [0-9]*" "$DIR/member.err" || { echo "the operator of the list of members is not told how far it is"; exit 1; }
echo "stopped while orders wait: answered"
