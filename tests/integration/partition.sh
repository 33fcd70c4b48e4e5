#!/usr/bin/env bash
# Partitions with real processes: each site in a network namespace of its own, on a bridge in a fourth one. Cuts the primary off, cuts the
# standby off, cuts one direction only; under writers with a ledger. Needs root (for ip netns), or a kernel that lets a user be root in a
# namespace of his own; otherwise it says so and counts as not run.
#
# Usage: BUILD=build/gcc-release tests/integration/partition.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
none() { echo "NOT RUN: $*: run it as root, BUILD=$BUILD $0"; exit 77; }
if [ "$(id -u)" != 0 ]; then
    unshare -Urnm true 2>/dev/null || none "network namespaces need root, or user namespaces, which this kernel forbids"
    exec unshare -Urnm -- env OWN_NAMESPACE=1 "$0"
fi
# Where `ip netns` keeps its names belongs to somebody else.
[ -z "${OWN_NAMESPACE:-}" ] || mount -t tmpfs none /run || none "nothing can be mounted in a user namespace"
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-partition.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
TAG=tv$$
declare -A ADDRESS=([dc]=10.213.7.1 [dr]=10.213.7.2 [gsr]=10.213.7.3 [app]=10.213.7.4)

finish() {
    local code=$? ns
    cluster_stop
    for ns in dc dr gsr app hub; do ip netns del "$TAG-$ns" 2>/dev/null || true; done
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

may_cut() { ip netns add "$TAG-hub" && ip netns exec "$TAG-hub" true && ip -n "$TAG-hub" link add bridge type bridge; }
net_create() {
    local ns
    may_cut 2>"$DIR/ip.err" || none "network namespaces cannot be used here ($(head -n 1 "$DIR/ip.err"))"
    ip -n "$TAG-hub" link set bridge up
    for ns in dc dr gsr app; do
        ip netns add "$TAG-$ns"
        ip -n "$TAG-hub" link add "to-$ns" type veth peer name eth0 netns "$TAG-$ns"
        ip -n "$TAG-hub" link set "to-$ns" master bridge up
        ip -n "$TAG-$ns" addr add "${ADDRESS[$ns]}/24" dev eth0
        ip -n "$TAG-$ns" link set eth0 up
        ip -n "$TAG-$ns" link set lo up
    done
}
cut_off() { ip -n "$TAG-hub" link set "to-$1" down; }
heal() { ip -n "$TAG-hub" link set "to-$1" up; }
# One way: what FROM sends to TO is dropped at TO; the other way goes on.
cut_one_way() { ip netns exec "$TAG-$2" ip route add blackhole "${ADDRESS[$1]}/32"; }
heal_one_way() { ip netns exec "$TAG-$2" ip route del blackhole "${ADDRESS[$1]}/32"; }

# Everything of the harness runs where the application lives.
site_start() {
    ip netns exec "$TAG-$1" "$TRIVENI" serve --config "$CLUSTER_DIR/$1.yaml" >>"$CLUSTER_DIR/$1.log" 2>&1 &
    SITE_PID[$1]=$!
}
tv() { ip netns exec "$TAG-app" "$TRIVENI" "$@" --profile "$CLUSTER_DIR/client.yaml"; }
site_endpoint() { echo "${ADDRESS[$1]}:$(client_port "$1")"; }
site_status() {
    tv status -o json --endpoints "$(site_endpoint "$1")" --timeout 2 2>/dev/null |
        jq -c --arg site "$1" '.sites[]? | select(.name == $site)' 2>/dev/null || true
}
current_primary() {
    local site role
    for site in dc dr; do
        role=$(tv status -o json --endpoints "$(site_endpoint "$site")" --timeout 1 2>/dev/null |
            jq -r --arg site "$site" '[.sites[]? | select(.name == $site and .role == "primary")] | length' 2>/dev/null || echo 0)
        [ "${role:-0}" = 1 ] && { echo "$site"; return 0; }
    done
    return 1
}

net_create
cluster_create "$DIR/cluster"
for file in "$DIR"/cluster/*.yaml "$DIR/cluster/client.uri"; do
    for site in dc dr gsr; do
        sed -i "s/127\.0\.0\.1:$(client_port "$site")\b/${ADDRESS[$site]}:$(client_port "$site")/g
                s/127\.0\.0\.1:$(peer_port "$site")\b/${ADDRESS[$site]}:$(peer_port "$site")/g" "$file"
    done
done
uri=$(cat "$DIR/cluster/client.uri")
sites_start
wait_primary >/dev/null

write_during() { # SECONDS: writers in the background
    ip netns exec "$TAG-app" "$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger" --seconds "$1" --threads 4 \
        >"$DIR/writers.json" 2>"$DIR/writers.log" &
    writers=$!
}
settle() { # WHAT
    wait "$writers" || { echo "$1: writers failed"; cat "$DIR/writers.log"; exit 1; }
    equal=$(wait_equal 300)
    ip netns exec "$TAG-app" "$BUILD/tests/writers/writers" verify --uri "$uri" --ledger "$DIR/ledger" >"$DIR/verify.json"
    echo "$1: $(jq -c '{acknowledged, longest_gap_ms, resent}' "$DIR/writers.json"), $(jq -c '{lost, doubled}' "$DIR/verify.json"), equal at lsn ${equal% *}"
}

first=$(wait_primary)
other=$([ "$first" = dc ] && echo dr || echo dc)

write_during 8
sleep 2
cut_off "$first"
wait_primary "$other" >/dev/null
sleep 2
heal "$first"
settle "the primary was cut off, $other took over"

write_during 6
sleep 1
cut_off "$first" # now the standby: nothing may stop
sleep 2
heal "$first"
settle "the standby was cut off"
[ "$(jq .longest_gap_ms "$DIR/writers.json")" -lt 3000 ] || { echo "writers stopped although a majority was there"; exit 1; }

write_during 8
sleep 1
primary=$(wait_primary)
cut_one_way "$primary" gsr
sleep 3
heal_one_way "$primary" gsr
settle "gsr could not answer the primary"
echo "partition: 3 partitions, 0 lost, 0 doubled"
