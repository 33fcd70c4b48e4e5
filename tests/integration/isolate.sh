#!/usr/bin/env bash
# Drills in software: the primary is isolated under writers, is restarted in the middle with its clock set back by a day, heals by
# itself at the end that it had, and takes its role back; a standby is cut off from clients alone, and an operator ends it.
#
# Usage: BUILD=build/gcc-release tests/integration/isolate.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
PRELOAD=$(realpath "$BUILD/tests/lib/set_clock.so")
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-isolate.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 20 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

fail() { echo "$*"; exit 1; }
# expect CODE ARGS...: as in cli.sh.
expect() {
    local wanted=$1 code=0
    shift
    "$TRIVENI" "$@" >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    [ "$code" = "$wanted" ] || fail "triveni $*: exit $code, expected $wanted: $(cat "$DIR/err")"
}
says() { grep -qF -- "$1" "$DIR/err" || fail "expected on stderr: $1; got: $(cat "$DIR/err")"; }
at() { echo "127.0.0.1:$(client_port "$1")"; }
# own SITE FILTER: what the site says of itself, asked by an operator.
own() {
    op status -o json --endpoints "$(at "$1")" --timeout 2 2>/dev/null |
        jq -r --arg site "$1" ".sites[] | select(.name == \$site) | $2" 2>/dev/null || true
}
now_ms() { date +%s%3N; }

cluster_create "$DIR/cluster"
sites_start
old=$(wait_primary)
c=(--profile "$DIR/cluster/client.yaml")
o=(--profile "$DIR/cluster/operator.yaml")
uri=$(cat "$DIR/cluster/client.uri")
tv put land before 1 --ack all >/dev/null

# ---- ages: what is known of an idle cluster is young ----
# ages SITE: its four ages in ms, as the merged status has them; "null" where one is not known.
ages() { op status -o json --timeout 2 2>/dev/null | jq -c --arg site "$1" '.sites[] | select(.name == $site).ages | [.received.ms, .durable.ms, .applied.ms, .archived.ms]'; }
# young SITE: received, durable and applied; a heartbeat or two where the machine is at rest, and less than nothing was written for.
young() { [ "$(ages "$1" | jq '.[:3] | all(. != null and . < 2000)')" = true ]; }
sleep 3
for site in dc dr gsr; do young $site || fail "$site has written nothing for 3 s and is $(ages $site) old"; done
for i in $(seq 1 150); do # the pack in which the last entry lies is closed by its age
    [ "$(ages gsr | jq '.[3] != null and .[3] < 2000')" = true ] && break
    sleep 0.2
done
[ "$(ages gsr | jq '.[3] != null and .[3] < 2000')" = true ] || fail "everything is archived, and gsr is $(ages gsr) old"
[ "$(ages "$old" | jq '.[3]')" = null ] || fail "a data site archives nothing: $(ages "$old")"

# ---- what is not an order ----
expect 8 isolate dr --for 5s --yes "${c[@]}" && says "isolate needs an operator's certificate"
expect 2 isolate dr "${o[@]}" && says "--for is needed"
expect 2 isolate dr --for 5s "${o[@]}" && says "not confirmed: nothing was done"
expect 2 isolate dr --for 25h --yes "${o[@]}" && says "--for must be from 1s to 24h"
expect 2 isolate dr --for 5s --links some --yes "${o[@]}" && says "none of sites, clients, both"
expect 2 isolate dr --end --for 5s "${o[@]}" && says "--end goes with neither"
expect 4 isolate nowhere --for 5s --yes "${o[@]}"
expect 0 isolate dr --end "${o[@]}" && grep -qx "dr is not isolated" "$DIR/out"

# ---- the primary, under writers ----
"$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger" --seconds 100 --rate 500 --threads 4 >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
sleep 1
began=$(now_ms)
expect 0 isolate "$old" --for 30s --yes -o json "${o[@]}"
[ "$(jq -c '[.isolated.links, .audited, .isolated.left_ms > 25000]' "$DIR/out")" = '["both",true,true]' ] || fail "answer: $(cat "$DIR/out")"
new=$(wait_primary)
[ "$new" != "$old" ] || fail "$old is isolated and still primary"
failover=$(($(now_ms) - began))
expect 4 get land before "${c[@]}" --endpoints "$(at "$old")" --timeout 1 && says "$old is isolated until"
expect 4 get land before "${o[@]}" --endpoints "$(at "$old")" --standby --timeout 1 && says "$old refused"
[ "$(own "$old" '[.role != "primary", .isolated.links] | @csv')" = 'true,"both"' ] || fail "$old: $(own "$old" .)"
own "$old" '.trouble[]' | grep "is isolated from the other sites and clients for a drill, by operator" >/dev/null || fail "no trouble at $old"
site_status "$new" | jq -r '.trouble[]' | grep "link to $old: .*$old is isolated until" >/dev/null || fail "no word of it at $new"

# ---- its restart does not end it, nor does a clock that was set ----
left=$(own "$old" .isolated.left_ms)
site_kill "$old" KILL
echo -86400 >"$DIR/offset"
LD_PRELOAD=$PRELOAD CLOCK_OFFSET_FILE=$DIR/offset site_start "$old"
for i in $(seq 1 50); do
    again=$(own "$old" .isolated.left_ms)
    [ -n "$again" ] && break
    sleep 0.1
done
[ "$again" -gt 0 ] && [ "$again" -lt "$left" ] || fail "$left ms were left before the restart, '$again' after it"
grep -q "isolation from the other sites and clients: ordered by operator .* before the restart" "$DIR/cluster/$old.log" || fail "no event"
expect 4 get land before "${c[@]}" --endpoints "$(at "$old")" --timeout 1 && says "$old is isolated until"

# ---- it heals by itself ----
for i in $(seq 1 400); do
    [ "$(own "$old" .isolated)" = null ] && break
    sleep 0.1
done
healed=$(($(now_ms) - began))
[ "$healed" -ge 29900 ] || fail "healed after $healed ms instead of 30000"
grep -q "isolation from the other sites and clients: ended by itself" "$DIR/cluster/$old.log" || fail "no event"
[ ! -e "$DIR/cluster/$old/data/isolation" ] || fail "its file is still there"
kill -TERM "$writers" # they end when it is over, however long that took
wait "$writers" || fail "$(cat "$DIR/writers.log")"
wait_equal 300 >/dev/null
# In the common history, not only in what the isolated primary had to undo.
"$TRIVENI" dump-log "$DIR/cluster/gsr/data" --running -o json | grep '"isolate"' >/dev/null || fail "the order is not in the audit trail"
"$BUILD/tests/writers/writers" verify --uri "$uri" --ledger "$DIR/ledger" >"$DIR/verify.json"
[ "$(jq '.lost + .doubled' "$DIR/verify.json")" -eq 0 ] || fail "$(cat "$DIR/verify.json")"
expect 0 switchover --to "$old" "${o[@]}"
wait_primary "$old" >/dev/null
site_kill "$old" TERM # its clock is wrong
site_start "$old"
wait_equal 300 >/dev/null
echo "isolated $old for 30 s under load: $new served after $failover ms, $old healed after $healed ms with a restart in between;" \
    "$(jq -c '{acknowledged, longest_gap_ms, resent}' "$DIR/writers.json"), 0 lost, 0 doubled"

# ---- clients alone, at a standby; ended by an operator ----
primary=$(wait_primary)
expect 0 isolate gsr --for 1h --links clients --yes "${o[@]}"
grep -q "gsr is isolated (links: clients) for 3600 s" "$DIR/out" || fail "answer: $(cat "$DIR/out")"
expect 4 status "${c[@]}" --endpoints "$(at gsr)" --timeout 1 && says "gsr is isolated until"
tv put land during 1 --ack all >/dev/null # its links to the sites are there
expect 0 isolate gsr --for 1h --links sites --yes "${o[@]}" # replaces the one before
expect 0 status "${c[@]}" --endpoints "$(at gsr)"
for i in $(seq 1 50); do
    [ "$(site_status "$primary" | jq '[.trouble[] | select(contains("link to gsr"))] | length')" = 1 ] && break
    sleep 0.1
done
sleep 1.5 # nothing is written: who is not heard grows old all the same
[ "$(ages gsr | jq 'all(. != null and . >= 1000)')" = true ] || fail "gsr is cut off and $(ages gsr) old"
tv put land without 1 >/dev/null
[ "$(op status -o json | jq '.sites[] | select(.name == "gsr").ages | [.durable.entries, .archived.entries] | min')" -ge 1 ] || fail "gsr lacks an entry"
young dr && young dc || fail "dc $(ages dc), dr $(ages dr)"
expect 0 isolate gsr --end -o json "${o[@]}"
[ "$(jq -c '[.isolated, .audited]' "$DIR/out")" = '[null,true]' ] || fail "answer: $(cat "$DIR/out")"
tv put land after 1 --ack all >/dev/null
wait_equal 300 >/dev/null
"$TRIVENI" dump-log "$DIR/cluster/gsr/data" --running -o json | grep '"isolate"' >"$DIR/audit"
[ "$(wc -l <"$DIR/audit")" -eq 4 ] || fail "audit trail: $(cat "$DIR/audit")"
site_kill "$primary" KILL
site_kill gsr KILL # nobody can be elected
other=$([ "$primary" = dc ] && echo dr || echo dc)
sleep 1
[ "$(ages "$other" | jq '.[:3] | all(. >= 1000)')" = true ] || fail "without a primary $other is $(ages "$other") old"
[ "$(ages gsr)$(ages "$primary")" = "[null,null,null,null][null,null,null,null]" ] || fail "who is dead is not known"
echo "isolated gsr from clients, then from sites; an operator ended it; 4 entries in the audit trail"
