#!/usr/bin/env bash
# Planned work: a switchover to a site that is behind waits for it while writes go on; a primary that is stopped with SIGTERM hands over first, so that writers do not wait for an election; and gsr, whose machine
# was lost but not its archive, is made anew beside it, catches up, votes again and goes on archiving where the archive ends.
#
# Usage: BUILD=build/gcc-release tests/integration/planned.sh
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-planned.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

cluster_create "$DIR/cluster"
sites_start
wait_primary >/dev/null
uri=$(cat "$DIR/cluster/client.uri")

# ---- the successor is behind ----
"$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/behind" --seconds 8 --threads 4 >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
sleep 1
primary=$(wait_primary)
successor=$([ "$primary" = dc ] && echo dr || echo dc)
site_kill "$successor" STOP
op switchover --to "$successor" -o json >"$DIR/switchover.json" 2>"$DIR/switchover.log" &
switchover=$!
for i in $(seq 1 100); do
    [ "$(site_status "$primary" | jq -c .handover)" = "{\"to\":\"$successor\",\"phase\":\"waiting\"}" ] && break
    sleep 0.05
done
before=$(site_status "$primary" | jq .commit)
sleep 0.3
during=$(site_status "$primary" | jq -c '[.commit, .handover.phase]')
site_kill "$successor" CONT
wait "$switchover" || { cat "$DIR/switchover.log"; exit 1; }
[ "$(jq -r '.[1]' <<<"$during")" = waiting ] || { echo "the phase is not told: $during"; exit 1; }
[ "$(jq '.[0]' <<<"$during")" -gt "$before" ] || { echo "writes do not go on while $successor is waited for: $before, $during"; exit 1; }
jq -e '.waited_ms >= 300 and .pause_ms < .waited_ms' "$DIR/switchover.json" >/dev/null || { cat "$DIR/switchover.json"; exit 1; }
grep -q "entries behind -> waiting for it at most" "$DIR/cluster/$primary.log" || { echo "the wait is not told"; exit 1; }
grep -q "entries behind, .* -> writes stop here" "$DIR/cluster/$primary.log" || { echo "the end of the wait is not told"; exit 1; }
wait "$writers" || { cat "$DIR/writers.log"; exit 1; }
[ "$(wait_primary)" = "$successor" ]
"$BUILD/tests/writers/writers" verify --uri "$uri" --ledger "$DIR/behind" >"$DIR/verify.json"
[ "$(jq '.lost + .doubled' "$DIR/verify.json")" -eq 0 ]
echo "switchover to $successor, which was behind: $(jq -c '{waited_ms, pause_ms}' "$DIR/switchover.json"), $(jq -c '{acknowledged, longest_gap_ms, resent}' "$DIR/writers.json"), 0 lost, 0 doubled"

# ---- a planned stop ----
"$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger" --seconds 4 --threads 4 >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
sleep 1.5
primary=$(wait_primary)
site_kill "$primary" TERM
wait "$writers" || { cat "$DIR/writers.log"; exit 1; }
grep -q "handing over, then stopping" "$DIR/cluster/$primary.log" || { echo "$primary did not hand over"; exit 1; }
grep -q "asked by $primary to take over" "$DIR"/cluster/*.log || { echo "nobody was asked to take over"; exit 1; }
grep -q "[1-9][0-9]* entries are remembered until they are applied -> answering, after" "$DIR/cluster/$(wait_primary).log" ||
    { echo "the successor does not say since when it answers, or has waited for its state"; exit 1; }
"$BUILD/tests/writers/writers" verify --uri "$uri" --ledger "$DIR/ledger" >"$DIR/verify.json"
[ "$(jq '.lost + .doubled' "$DIR/verify.json")" -eq 0 ]
site_start "$primary"
wait_equal 300 >/dev/null
echo "planned stop of $primary under load: $(jq -c '{acknowledged, longest_gap_ms, resent}' "$DIR/writers.json"), 0 lost, 0 doubled"

# ---- gsr made anew beside its archive ----
op archive seal >/dev/null
archived=0
for i in $(seq 1 100); do
    archived=$(site_status gsr | jq -r '.archived // 0')
    [ "$archived" -gt 1000 ] && break
    sleep 0.1
done
[ "$archived" -gt 1000 ] || { echo "nothing was archived"; exit 1; }
site_kill gsr KILL
mv "$DIR/cluster/gsr/data" "$DIR/cluster/gsr/lost"
"$TRIVENI" init --config "$DIR/cluster/gsr.yaml" --rebuilt 2>"$DIR/init.log" || { cat "$DIR/init.log"; exit 1; }
site_start gsr
tv put land after 1 --ack all >/dev/null # waits until it is counted again
for i in $(seq 1 100); do
    [ "$(site_status gsr | jq -c '[.votes, .trouble]')" = '[true,[]]' ] && break
    sleep 0.1
done
[ "$(site_status gsr | jq -c '[.votes, .trouble]')" = '[true,[]]' ] || { site_status gsr; exit 1; }
wait_equal 300 >/dev/null
op archive seal >/dev/null
last=$(site_status gsr | jq -r .commit)
for i in $(seq 1 100); do
    [ "$(site_status gsr | jq -r '.archived // 0')" -ge "$last" ] && break
    sleep 0.1
done
[ "$(site_status gsr | jq -r '.archived // 0')" -ge "$last" ] || { echo "it does not archive"; site_status gsr; exit 1; }
"$TRIVENI" archive verify --repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek" >/dev/null
echo "gsr rebuilt beside an archive up to lsn $archived: caught up, votes, archived up to lsn $last"
