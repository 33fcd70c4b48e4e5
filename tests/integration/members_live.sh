#!/usr/bin/env bash
# The list of members is changed while the cluster works, under writers that keep a ledger: dr2 takes the place of dr by 'triveni
# member replace', which is killed, as the primary is, in the middle; nothing acknowledged is lost or doubled; who was removed is
# cut off, and both ends say why; a restart with the files of before changes nothing (P2, P3, P6).
#
# Usage: BUILD=build/gcc-release tests/integration/members_live.sh
# suite: drills
# limit: 240 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
WRITE=$(realpath "$BUILD/tests/writers/writers")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-members-live.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
. "$(cd "$(dirname "$0")" && pwd)/../lib/expect.sh"
WRITERS=
end() {
    local code=$?
    [ -z "$WRITERS" ] || kill "$WRITERS" 2>/dev/null || true
    set +e
    (exit "$code")
    finish
}
trap end EXIT

ENDPOINTS=
client() { "$TRIVENI" "$@" --profile client.yaml --endpoints "$ENDPOINTS"; }
order() { expect "$1" "$2" "$TRIVENI" "${@:3}" --profile operator.yaml --endpoints "$ENDPOINTS"; }
votes() { client member list -o json | jq -r '[.members[] | select(.votes) | .name] | sort | join(" ")'; }
members() { client member list -o json | jq -r '[.members[].name] | sort | join(" ")'; }
# linked A B: A has a link to B, as A says.
linked() {
    [ "$(tv status -o json --endpoints "$host:$(client_port "$1")" | jq -r --arg site "$2" '.sites[] | select(.name == $site) | .up')" = true ]
}
# begin_writing NAME: until end_writing, which has every acknowledged write read back.
begin_writing() {
    LEDGER=$DIR/ledger.$1
    "$WRITE" run --uri "$uri" --ledger "$LEDGER" --seconds 200 --threads 4 --rate 400 >"$DIR/writers.json" 2>"$DIR/writers.log" &
    WRITERS=$!
    eventually "a write" test -s "$LEDGER"
}
end_writing() {
    kill -TERM "$WRITERS"
    wait "$WRITERS" || die "the writers: $(cat "$DIR/writers.log")"
    WRITERS=
    "$WRITE" verify --uri "$uri" --ledger "$LEDGER" >"$DIR/verify.json" || die "$(cat "$DIR/verify.json")"
    echo "    $(jq -c '{acknowledged, longest_gap_ms, resent, unknown_committed, unknown_absent}' "$DIR/writers.json"): 0 lost, 0 doubled"
}

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
host=127.0.0.1
p2=$((CLUSTER_PORT + 6))
ENDPOINTS=$host:$(client_port dc),$host:$(client_port dr),$host:$(client_port gsr),$host:$p2
uri=$(sed "s#^triveni://[^/]*/#triveni://$ENDPOINTS/#" client.uri)
sites_start
wait_primary >/dev/null
begin_writing first

# ---- what is not allowed is refused, with the reason ----
order 3 "no member is called 'nobody'" member remove nobody
order 1 "is a member already" member add dr --peer $host:1 --client $host:2
expect 8 "needs an operator's certificate" "$TRIVENI" member demote gsr --profile client.yaml --endpoints "$ENDPOINTS"
order 1 "hand over to another site first" member remove "$(wait_primary)"
order 5 "'triveni member remove dr'" member replace dr dc
order 5 "dr is a data site and gsr a repository one" member replace dr gsr
order 2 "--peer and --client say where it is reached" member replace dr dr2
order 0 "gsr has no vote any more from lsn" member demote gsr
order 0 "gsr votes from lsn" member promote gsr
[ "$(votes)" = "dc dr gsr" ] || die "votes: $(votes)"

# ---- a site that does not come is waited for, and the list stays as it was ----
order 4 "has no link to dr2: is it started?; nothing has moved for 1 s" \
    member replace dr dr2 --peer $host:$((p2 + 1)) --client $host:$p2 --wait 1
[ "$(votes)" = "dc dr gsr" ] && [ "$(members)" = "dc dr dr2 gsr" ] || die "members: $(members), votes: $(votes)"
"$TRIVENI" pki site dr2 --dir pki >/dev/null 2>&1
line=$(grep 'name: dr,' dc.yaml)
sed "s/^site: dr$/site: dr2/; s#pki/dr\.#pki/dr2.#g; s#data_dir: dr/data#data_dir: dr2/data#" dr.yaml >dr2.yaml
printf '%s\n' "$line" | sed "s/name: dr,/name: dr2,/; s/:$(peer_port dr)/:$((p2 + 1))/; s/:$(client_port dr)/:$p2/" >line
sed -i "/^members:/r line" dr2.yaml
expect 0 "ready to catch up" "$TRIVENI" init --config dr2.yaml --join
echo "ok: what is unsafe is refused"

# ---- the command is killed in the middle, then the primary, and it goes on ----
[ "$(wait_primary)" = dc ] || order 0 "switched over" switchover --to dc
replace_dr() { # its process is the command itself
    "$TRIVENI" member replace dr dr2 --profile operator.yaml --endpoints "$ENDPOINTS" >"$DIR/replace" 2>&1 &
    replace=$!
}
replace_dr
disown "$replace"
sleep 0.7
kill -9 "$replace" 2>/dev/null || die "it was over before dr2 was started: $(cat "$DIR/replace")"
site_start dr2
replace_dr
eventually "dr2 following" linked gsr dr2
site_kill dc KILL
wait "$replace" || die "member replace: $(cat "$DIR/replace")"
grep -q "^dr was replaced by dr2: stop dr" "$DIR/replace" || die "member replace: $(cat "$DIR/replace")"
sed 's/^/    /' "$DIR/replace"
[ "$(votes)" = "dc dr2 gsr" ] && [ "$(members)" = "dc dr2 gsr" ] || die "members: $(members), votes: $(votes)"
order 0 "dr was replaced by dr2" member replace dr dr2
site_start dc
eventually "dc following again" linked gsr dc
client put ledger without-dr 1 --ack all >/dev/null
for site in gsr dr2; do eventually "$site letting dr go" grep -q "link to dr: dr is no member of the cluster, as of the list at lsn" $site.log; done
eventually "dr hearing why" grep -q "link to gsr: .*dr is no member of the cluster, as of the list at lsn" dr.log
grep -q "configuration file of this site names dr, lacks dr2: bring its 'members' in line" gsr.log || die "gsr does not tell of its file"
order 0 "! site gsr: its configuration file names dr, lacks dr2: bring 'members' in line" status
site_kill dr TERM
end_writing
echo "ok: dr was replaced by dr2, while the command and the primary were killed"

# ---- all restart, with the files of before ----
for site in dc dr2 gsr; do site_kill $site TERM; done
for site in dc dr2 gsr; do site_start $site; done
eventually "a write after the restart" client put ledger after-restart 1
[ "$(votes)" = "dc dr2 gsr" ] || die "after the restart: $(votes)"
begin_writing second
# The removed one, started again, is nobody's primary.
site_start dr
sleep 3
[ "$(site_status dr | jq -r .role)" != primary ] || die "a removed site became primary"
! linked gsr dr || die "a removed site is linked"
[ "$(client status -o json | jq -r '.primaries | length // 0')" -le 1 ] || die "two primaries"
[ "$(client status -o json | jq -r .primary)" = dc ] || order 0 "switched over" switchover --to dc
site_kill dc KILL
eventually "dr2 as primary" client put ledger dr2-leads 1
order 0 "of 3 votes (dr2, gsr" events --site dr2 -n 200
end_writing
echo "ok: the list in the log rules, also after a restart"
echo "members_live: all told"
