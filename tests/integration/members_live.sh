#!/usr/bin/env bash
# The list of members is changed while the cluster works: dr2 is added, promoted, and takes the place of dr, with a client that
# writes all the time and a primary that is killed in the middle; a restart with the files of before changes nothing (P2, P3).
#
# Usage: BUILD=build/gcc-release tests/integration/members_live.sh
# suite: drills
# limit: 240 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-members-live.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
WRITER=
finish() {
    local code=$?
    [ -z "$WRITER" ] || kill "$WRITER" 2>/dev/null || true
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
die() {
    echo "FAILED: $*"
    exit 1
}
# expect CODE TEXT COMMAND...: exit code and a piece of what it says.
expect() {
    local wanted=$1 text=$2 code=0
    shift 2
    timeout 90 "$@" >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    [ "$code" = "$wanted" ] || die "$*: exit $code, expected $wanted: $(cat "$DIR/out" "$DIR/err")"
    grep -q -- "$text" "$DIR/out" "$DIR/err" || die "$*: does not say '$text': $(cat "$DIR/out" "$DIR/err")"
}
ENDPOINTS=
client() { "$TRIVENI" "$@" --profile client.yaml --endpoints "$ENDPOINTS"; }
order() { expect "$1" "$2" "$TRIVENI" "${@:3}" --profile operator.yaml --endpoints "$ENDPOINTS"; }
votes() { client member list -o json | jq -r '[.members[] | select(.votes) | .name] | sort | join(" ")'; }
members() { client member list -o json | jq -r '[.members[].name] | sort | join(" ")'; }
# eventually WHAT COMMAND...: within 30 s.
eventually() {
    local what=$1 i
    shift
    for i in $(seq 1 150); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    die "$what does not happen"
}
# Writes n=1, 2, 3 ...; what was acknowledged is in the file.
writes() {
    local n=0
    while :; do
        n=$((n + 1))
        client put ledger "n$n" "$n" --timeout 20 >/dev/null 2>&1 && echo "$n" >>"$DIR/acknowledged"
    done
}
nothing_is_lost() {
    local n
    for n in $(tail -n 400 "$DIR/acknowledged"); do
        [ "$(client get ledger "n$n")" = "$n" ] || die "write $n was acknowledged and is lost"
    done
}

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
host=127.0.0.1
p2=$((CLUSTER_PORT + 6))
ENDPOINTS=$host:$(client_port dc),$host:$(client_port dr),$host:$(client_port gsr),$host:$p2
sites_start
wait_primary >/dev/null
client put ledger n0 0 >/dev/null
writes &
WRITER=$!

# ---- what is not allowed is refused, with the reason ----
order 3 "no member is called 'nobody'" member remove nobody
order 1 "is a member already" member add dr --peer $host:1 --client $host:2
expect 8 "needs an operator's certificate" "$TRIVENI" member demote gsr --profile client.yaml --endpoints "$ENDPOINTS"

# ---- dr2 joins as a replica ----
"$TRIVENI" pki site dr2 --dir pki >/dev/null 2>&1
line=$(grep 'name: dr,' dc.yaml)
sed "s/^site: dr$/site: dr2/; s#pki/dr\.#pki/dr2.#g; s#data_dir: dr/data#data_dir: dr2/data#" dr.yaml >dr2.yaml
printf '%s\n' "$line" | sed "s/name: dr,/name: dr2,/; s/:$(peer_port dr)/:$((p2 + 1))/; s/:$(client_port dr)/:$p2/" >line
sed -i "/^members:/r line" dr2.yaml
expect 0 "ready to catch up" "$TRIVENI" init --config dr2.yaml --join
site_start dr2
order 0 "dr2 is a replica from lsn" member add dr2 --peer $host:$((p2 + 1)) --client $host:$p2
[ "$(votes)" = "dc dr gsr" ] || die "votes: $(votes)"
order 0 "dr2 votes from lsn" member promote dr2
[ "$(votes)" = "dc dr dr2 gsr" ] || die "votes: $(votes)"
order 1 "hand over to another site first" member remove "$(wait_primary)"
echo "ok: dr2 was added and votes"

# ---- the primary is killed while the list changes ----
[ "$(wait_primary)" = dc ] || order 0 "switched over" switchover --to dc
("$TRIVENI" member demote dr --profile operator.yaml --endpoints "$ENDPOINTS" >/dev/null 2>&1 || true) &
sleep 0.05
site_kill dc KILL
eventually "a write without dc" client put ledger after-kill 1
site_start dc
eventually "dc following again" test "$(site_status dc | jq -r .role)" = standby
echo "ok: a primary was killed in the middle of a change"

# ---- dr goes ----
eventually "a member list" members
primary=$(client status -o json | jq -r .primary)
if [ "$primary" = dr ]; then order 0 "switched over" switchover --to dr2; fi
eventually "removing dr" "$TRIVENI" member remove dr --profile operator.yaml --endpoints "$ENDPOINTS"
[ "$(members)" = "dc dr2 gsr" ] || die "members: $(members)"
site_kill dr TERM
[ "$(votes)" = "dc dr2 gsr" ] || die "votes: $(votes)"
client put ledger without-dr 1 --ack all >/dev/null
nothing_is_lost
echo "ok: dr was replaced by dr2, nothing is lost"

# ---- all restart, with the files of before ----
for site in dc dr2 gsr; do site_kill $site TERM; done
for site in dc dr2 gsr; do site_start $site; done
eventually "a write after the restart" client put ledger after-restart 1
[ "$(votes)" = "dc dr2 gsr" ] || die "after the restart: $(votes)"
# The removed one, started again, is nobody's primary.
site_start dr
sleep 3
[ "$(site_status dr | jq -r .role)" != primary ] || die "a removed site became primary"
[ "$(client status -o json | jq -r '.primaries | length // 0')" -le 1 ] || die "two primaries"
site_kill dc KILL
eventually "dr2 as primary" client put ledger dr2-leads 1
nothing_is_lost
echo "ok: the list in the log rules, also after a restart"
echo "members_live: all told"
