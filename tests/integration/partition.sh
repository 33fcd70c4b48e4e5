#!/usr/bin/env bash
# Partitions with real processes, each site in a network namespace of its own. Cuts the primary off, cuts the standby off, cuts one
# direction only; under writers with a ledger. Needs root (for ip netns), or a kernel that lets a user be root in a namespace of his own;
# otherwise it says so and counts as not run.
#
# Usage: BUILD=build/gcc-release tests/integration/partition.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
. "$(dirname "$0")/../lib/cluster.sh"
. "$(dirname "$0")/../lib/net.sh"
net_enter "$0"
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-partition.XXXXXX")

finish() {
    local code=$?
    cluster_stop
    net_delete
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

net_create "$DIR"
net_cluster_create "$DIR/cluster"
sites_start
wait_primary >/dev/null

first=$(wait_primary)
other=$([ "$first" = dc ] && echo dr || echo dc)

write_during 8
sleep 2
net_unplug "$first"
wait_primary "$other" >/dev/null
sleep 2
net_plug "$first"
settle "the primary was cut off, $other took over"

write_during 6
sleep 1
net_unplug "$first" # now the standby: nothing may stop
sleep 2
net_plug "$first"
settle "the standby was cut off"
[ "$(jq .longest_gap_ms "$DIR/writers.json")" -lt 3000 ] || { echo "writers stopped although a majority was there"; exit 1; }

write_during 8
sleep 1
primary=$(wait_primary)
net_cut "$primary" gsr
sleep 3
net_heal
settle "gsr could not answer the primary"
echo "partition: 3 partitions, 0 lost, 0 doubled"
