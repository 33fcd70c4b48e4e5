#!/usr/bin/env bash
# A watcher follows writers through kill -9 of the primary and a switchover: what it prints has every acknowledged change exactly
# once, in the order of the log, and folded it is what the sites hold. A snapshot and a watch from the lsn after it are the
# same. Filters, standbys, a slow reader, and a gap after the log was recycled.
#
# Usage: BUILD=build/gcc-release tests/integration/watch.sh
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-watch.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
CHECK=$(dirname "$0")/watch_check.py
WATCHERS=()
finish() {
    local code=$? pid
    for pid in "${WATCHERS[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

# watcher NAME ARGS...: a watch in the background; its pid is in $watcher. (Not through tv: the signal is for the program.)
watcher() {
    local name=$1
    shift
    "$TRIVENI" watch "$@" -o json --profile "$DIR/cluster/client.yaml" >"$DIR/$name.json" 2>"$DIR/$name.err" &
    watcher=$!
    WATCHERS+=("$watcher")
}
# ended PID: its exit code must be 0.
ended() {
    local code=0
    wait "$1" || code=$?
    [ "$code" = 0 ] || { echo "a watcher ended with $code"; exit 1; }
}
# reached NAME LSN: wait until that change is printed.
reached() {
    local i
    for i in $(seq 1 150); do
        ! grep -q "\"lsn\":$2," "$DIR/$1.json" || return 0
        sleep 0.1
    done
    echo "$1 did not print lsn $2"
    return 1
}
position() { sed -n 's/.*--from \([0-9]*\)$/\1/p' "$DIR/$1.err"; }
heap_kib() { awk '/^RssAnon/ { print $2 }' "/proc/$1/status"; }

cluster_create "$DIR/cluster"
# Small segments and little retention: the log is recycled within this test.
sed -i 's/segment_mib: 32/segment_mib: 1, log_retain_mib: 8, checkpoint_mib: 2, checkpoint_seconds: 1/' "$DIR"/cluster/{dc,dr,gsr}.yaml
sites_start
wait_primary >/dev/null
uri=$(cat "$DIR/cluster/client.uri")

# ---- filters, and what a transaction looks like ----
printf 'put titles AB-1 1\nput titles AC-1 {"n":2}\nput other AB-1 3\n' | tv txn >/dev/null
tv del titles AB-1 >/dev/null
tv watch --from 1 --until-caught-up -o json 2>/dev/null >"$DIR/all.json"
[ "$(jq -c '[.op, .collection, .key, .value, .more]' "$DIR/all.json")" = \
    '["put","titles","AB-1",1,true]
["put","titles","AC-1",{"n":2},true]
["put","other","AB-1",3,null]
["del","titles","AB-1",null,null]' ]
[ "$(tv watch titles --prefix AB- --from 1 --until-caught-up -o json 2>/dev/null | jq -c '[.op, .key, .more]')" = \
    '["put","AB-1",null]
["del","AB-1",null]' ]
[ "$(tv watch other --keys-only --from 1 --until-caught-up -o json 2>/dev/null | jq -c 'has("value")')" = false ]
[ "$(tv watch --from 1 --count 1 -o json 2>/dev/null | wc -l)" = 3 ] # the whole transaction
tv watch --standby --from 1 --until-caught-up -o json 2>/dev/null | cmp - "$DIR/all.json"
first=$(jq -s '.[0].lsn' "$DIR/all.json")
code=0
tv watch --from 1000000 2>"$DIR/beyond.err" || code=$?
[ "$code" = 3 ] && grep -q "is not written yet" "$DIR/beyond.err"

# ---- through a kill and a switchover ----
watcher primary --from 1
follower=$watcher
watcher standby --from 1 --standby
standby=$watcher
"$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger" --seconds 12 --threads 4 --rate 400 >"$DIR/writers.json" &
writers=$!
sleep 2
victim=$(wait_primary)
site_kill "$victim" KILL
sleep 2
tv dump --all >"$DIR/snapshot.json" 2>"$DIR/snapshot.err" # a state, in the middle of it all
begin=$(($(sed -n 's/.*as of lsn \([0-9]*\).*/\1/p' "$DIR/snapshot.err") + 1))
watcher late --from "$begin"
late=$watcher
site_start "$victim"
sleep 3
wait_equal 300 >/dev/null
op switchover --to "$victim" >/dev/null
wait "$writers"
sleep 0.5
last=$(tv put ends here 1 -o json | jq .lsn)
for name in primary standby late; do reached "$name" "$last"; done
for pid in "$follower" "$standby" "$late"; do
    kill -INT "$pid"
    ended "$pid"
done
tv dump --all >"$DIR/final.json" 2>/dev/null
python3 "$CHECK" "$DIR/primary.json" --ledger "$DIR/ledger" --final "$DIR/final.json"
python3 "$CHECK" "$DIR/standby.json" --ledger "$DIR/ledger" --final "$DIR/final.json"
# What was in the snapshot, and what happened after it: together everything, nothing twice.
python3 "$CHECK" "$DIR/late.json" --snapshot "$DIR/snapshot.json" --ledger "$DIR/ledger" --final "$DIR/final.json"
[ "$(position primary)" -gt "$last" ]
# A watcher that was ended goes on where it said.
tv put ends again 2 >/dev/null
[ "$(tv watch --from "$(position primary)" --until-caught-up -o json 2>/dev/null | jq -r .key)" = again ]
echo "watch: $(wc -l <"$DIR/primary.json") changes through a kill and a switchover, each once; $(jq -c '{acknowledged, longest_gap_ms}' "$DIR/writers.json")"

# ---- a slow reader costs nobody memory ----
primary=$(wait_primary)
# Once without a reader, so that the site's own buffers are full.
"$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger.2" --seconds 4 --threads 16 --value 4000 >/dev/null
tv watch --until-caught-up 2>"$DIR/mark.err"
mark=$(position mark)
before=$(heap_kib "${SITE_PID[$primary]}")
mkfifo "$DIR/fifo"
sleep 60 <"$DIR/fifo" & # holds it open, reads nothing
reader=$!
WATCHERS+=("$reader")
"$TRIVENI" watch writers --from "$mark" -o json --profile "$DIR/cluster/client.yaml" >"$DIR/fifo" 2>"$DIR/slow.err" &
slow=$!
WATCHERS+=("$slow")
"$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger.2" --seconds 5 --threads 16 --value 4000 >"$DIR/writers.json"
written=$(($(jq .acknowledged "$DIR/writers.json") * 4)) # KiB
grown=$(($(heap_kib "${SITE_PID[$primary]}") - before))
own=$(heap_kib "$slow")
echo "watch: a reader that stopped, $written KiB written: it holds $own KiB; the site grew by $grown KiB"
[ "$own" -lt 20000 ]
[ "$grown" -lt 40000 ]
kill -KILL "$reader" # the pipe closes: an error that is told, not a silent end
code=0
wait "$slow" || code=$?
[ "$code" = 1 ]

# ---- a gap is an error ----
for i in $(seq 1 60); do
    code=0
    tv watch --from "$first" --until-caught-up >"$DIR/gap.json" 2>"$DIR/gap.err" || code=$?
    [ "$code" = 0 ] || break
    "$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger.3" --seconds 1 --threads 16 --value 4000 >/dev/null
done
[ "$code" = 1 ]
[ ! -s "$DIR/gap.json" ]
grep -q "lsn $first is not in the log of .* any more, which begins at lsn [0-9]*: read the records" "$DIR/gap.err"
# What it names is there, and everything after it.
for i in $(seq 1 20); do
    begins=$(sed -n 's/.*begins at lsn \([0-9]*\).*/\1/p' "$DIR/gap.err")
    code=0
    tv watch writers --from "$begins" --until-caught-up -o json >"$DIR/rest.json" 2>"$DIR/gap.err" || code=$?
    [ "$code" = 1 ] || break # recycled further meanwhile
    sleep 0.5
done
[ "$code" = 0 ] && [ "$begins" -gt "$first" ]
[ "$(jq -s '.[0].lsn' "$DIR/rest.json")" -ge "$begins" ]
[ "$(jq -s 'length == ([.[].lsn] | unique | length)' "$DIR/rest.json")" = true ]
echo "watch: from lsn $first: a gap; the log begins at $begins, $(wc -l <"$DIR/rest.json") changes from there"
