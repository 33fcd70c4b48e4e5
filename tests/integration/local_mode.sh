#!/usr/bin/env bash
# Commit mode `local`: acknowledged after the primary's own disk. The primary dies with writes that only it has; dr takes over; the old primary comes back, exports what the common history lacks, undoes it and follows. What was lost is exactly what
# the bundle lists (P4).
#
# Usage: BUILD=build/gcc-release tests/integration/local_mode.sh
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-local.XXXXXX")
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
primary=$(wait_primary)
other=$([ "$primary" = dc ] && echo dr || echo dc)
op mode local >/dev/null
tv put land common-before '{"owner":"everybody"}' >/dev/null
wait_equal >/dev/null

# Writers, and both other sites die: for as long as its lease lasts, the primary goes on acknowledging what only its own disk has.
"$BUILD/tests/writers/writers" run --uri "$(cat "$DIR/cluster/client.uri")&timeout_ms=2000" --ledger "$DIR/ledger" --seconds 2 --threads 4 \
    >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
sleep 1
kill -KILL "${SITE_PID[gsr]}" "${SITE_PID[$other]}"
sleep 0.2
site_kill "$primary" KILL
site_kill gsr KILL
site_kill "$other" KILL
site_start gsr
site_start "$other"
wait_primary "$other" >/dev/null
tv put land common-after '{"owner":"everybody"}' >/dev/null
wait "$writers" || true # some of them end without knowing
site_start "$primary"
wait_equal 300 >/dev/null

cat "$DIR/cluster/$primary/data/divergence/"*.jsonl >"$DIR/bundle" 2>/dev/null || { echo "nothing was exported"; exit 1; }
"$BUILD/tests/writers/writers" verify --uri "$(cat "$DIR/cluster/client.uri")" --ledger "$DIR/ledger" >"$DIR/verify.json" 2>"$DIR/lost.log" || true
lost=$(jq .lost "$DIR/verify.json")
listed=$(grep -c '"acknowledged":"possible"' "$DIR/bundle")
missing=0
for key in $(sed -n 's/^writers: LOST \([^,]*\),.*/\1/p' "$DIR/lost.log"); do
    grep -q "\"key\":\"$key\"" "$DIR/bundle" || missing=$((missing + 1))
done
echo "local mode: $(wc -l <"$DIR/ledger") acknowledged, $lost of them not in the common history, $listed listed as possibly acknowledged, $missing lost and not listed"
[ "$lost" -gt 0 ] || { echo "the scenario did not happen: nothing was lost"; exit 1; }
[ "$missing" -eq 0 ] && [ "$(jq .doubled "$DIR/verify.json")" -eq 0 ]
tv get land common-before >/dev/null
tv get land common-after >/dev/null
"$TRIVENI" divergence list --config "$DIR/cluster/$primary.yaml" >/dev/null
