#!/usr/bin/env bash
# `triveni load` is killed again and again, once together with the primary, and started again each time: every line is there, loaded once and
# in order; bad lines are put aside once.
#
# Usage: BUILD=build/gcc-release tests/integration/load.sh
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-load.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
LINES_TOTAL=200000
BAD=17

cluster_create "$DIR/cluster"
sites_start
primary=$(wait_primary)
awk -v n="$LINES_TOTAL" -v bad="$BAD" 'BEGIN {
    for (i = 1; i <= n; i++) {
        if (i % int(n / bad) == 0 && ++b <= bad) print "{\"id\":broken " i
        else printf "{\"id\":\"P%07d\",\"name\":\"Person %d\"}\n", i, i
    }
}' >"$DIR/people.jsonl"

arguments=(load people "$DIR/people.jsonl" --key id --batch 200 --skip-bad --profile "$DIR/cluster/client.yaml")
load() { "$TRIVENI" "${arguments[@]}" "$@"; }
kills=0
for round in $(seq 1 8); do
    "$TRIVENI" "${arguments[@]}" >"$DIR/load.log" 2>&1 & # the program itself: a function would be killed without its child
    loader=$!
    sleep 0.0$((RANDOM % 9 + 1))
    if [ "$round" = 4 ]; then
        site_kill "$primary" KILL
    fi
    sleep 0.$((RANDOM % 2))$((RANDOM % 10))
    if kill -KILL "$loader" 2>/dev/null; then
        kills=$((kills + 1))
    fi
    wait "$loader" 2>/dev/null || true
    if [ "$round" = 4 ]; then
        site_start "$primary"
    fi
done
load -o json >"$DIR/load.json" 2>"$DIR/load.log"
[ "$kills" -gt 0 ] || { echo "no load was interrupted"; exit 1; }
[ "$(jq -r .lines "$DIR/load.json")" = "$LINES_TOTAL" ]
[ "$(jq -r .rejected "$DIR/load.json")" = "$BAD" ]
[ "$(jq -r .records "$DIR/load.json")" = $((LINES_TOTAL - BAD)) ]

# Bad lines: each once, in order, as they were.
grep broken "$DIR/people.jsonl" | cmp - "$DIR/people.jsonl.rejects"
# Every good line is there as it was; versions never go back along the file, so no part of it was loaded again later.
for try in 1 2 3; do # a held state ends when the primary moves, which it may do once more on a machine that is short of time
    tv dump people >"$DIR/dump" 2>"$DIR/dump.log" && break
    [ "$try" -lt 3 ]
done
jq -r '.lsn' "$DIR/dump" | awk '$1 < last { print "line " NR " has an earlier version than the one before"; exit 1 } { last = $1 }'
jq -c '.value' "$DIR/dump" | cmp - <(grep -v broken "$DIR/people.jsonl")

# Once more: nothing to do. A file that has grown: only what is new. A changed one: refused.
grep -q 'nothing to do' <<<"$(load)"
echo '{"id":"Q1"}' >>"$DIR/people.jsonl"
[ "$(load -o json | jq -r .records)" = $((LINES_TOTAL - BAD + 1)) ]
sed -i '1s/Person 1/Person X/' "$DIR/people.jsonl"
code=0
load >"$DIR/load.log" 2>&1 || code=$?
[ "$code" = 5 ]
grep -q 'are not those that were loaded' "$DIR/load.log"
echo "load: $LINES_TOTAL lines, $kills times killed, every line once"
