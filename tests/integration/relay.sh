#!/usr/bin/env bash
# The line between dc and dr is cut, and gsr hears both: under writers the standby follows through gsr, says so, and how old its answers are; the
# line comes back, and it follows directly; then the primary is lost while the line is cut, and the standby takes over with gsr's vote.
# Each site is in a network namespace of its own. Needs root (for ip netns), or a kernel that lets a user be root in a namespace of
# his own; otherwise it says so and counts as not run.
#
# Usage: BUILD=build/gcc-release tests/integration/relay.sh
# suite: drills
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
. "$(dirname "$0")/../lib/cluster.sh"
. "$(dirname "$0")/../lib/net.sh"
net_enter "$0"
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-relay.XXXXXX")
finish() {
    local code=$?
    cluster_stop
    net_delete
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
die() { echo "FAILED: $*"; exit 1; }

cut_line() { net_cut "$1" "$2" && net_cut "$2" "$1"; }

net_create "$DIR"
net_cluster_create "$DIR/cluster"
sites_start
first=$(wait_primary)
other=$([ "$first" = dc ] && echo dr || echo dc)

applied() { site_status "$1" | jq "${2:-.applied}"; }
told() { # SITE TEXT: an event, soon
    local i
    for i in $(seq 1 50); do
        grep -q -- "$2" "$DIR/cluster/$1.log" && return 0
        sleep 0.1
    done
    die "$1 does not tell: $2"
}
age_ms() { # how old the answer of the standby may be; -1: it does not know
    tv get people "$1" --standby --endpoints "$(site_endpoint "$other")" --timeout 3 2>&1 >/dev/null |
        awk '/at most [0-9.]* s old/ { sub(/.*at most /, ""); ms = $1 * 1000; known = 1 } END { print known ? int(ms) : -1 }'
}

tv put people p1 1 --ack all >/dev/null
# ---- the line is cut: the standby keeps up ----
write_during 10
sleep 1
cut_line "$first" "$other"
told "$other" "$first is not reachable from here -> following through gsr"
status=$(site_status "$other")
grep -q '"from":"gsr"' <<<"$status" || die "status of $other does not show that it follows through gsr: $status"
grep -q "followed through gsr" <<<"$(tv status --endpoints "$(site_endpoint "$other")" || true)" || die "status does not warn"
worst_lag=0 worst_age=0
for i in 1 2 3 4 5 6 7 8; do
    before=$(site_status "$first" | jq .commit)
    sleep 0.25
    lag=$((before - $(applied "$other")))
    age=$(age_ms p1)
    [ "$age" -ge 0 ] || die "$other does not know how old its answer is"
    [ "$lag" -le "$worst_lag" ] || worst_lag=$lag
    [ "$age" -le "$worst_age" ] || worst_age=$age
done
[ "$worst_lag" -le 0 ] || die "$other has not applied what $first had committed a quarter of a second before: $worst_lag entries"
[ "$worst_age" -le 1000 ] || die "$other says that its answers may be $worst_age ms old"
elections=$(grep -c "standing at" "$DIR/cluster/$other.log" || true)
[ "$(site_status "$first" | jq -r .role)" = primary ] || die "$first is not the primary any more"
net_heal
told "$other" "$first is heard again -> following it directly"
settle "the line was cut, $other followed through gsr, at most $worst_age ms old"
[ "$(jq .longest_gap_ms "$DIR/writers.json")" -lt 3000 ] || die "writers stopped although a majority was there"
[ "$(grep -c "standing at" "$DIR/cluster/$other.log" || true)" = "$elections" ] || die "$other stood for election"

# ---- the primary is lost while the line is cut ----
write_during 8
sleep 1
cut_line "$first" "$other"
sleep 2
site_kill "$first" KILL
wait_primary "$other" >/dev/null
sleep 1
net_heal
site_start "$first"
settle "$first was lost behind the cut line, $other took over"
echo "relay: 0 lost, 0 doubled"
