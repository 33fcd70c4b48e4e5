#!/usr/bin/env bash
# Wall clocks that are set while sites run, and between two runs: time in the log never decreases and does not run away, status
# tells, and no session is lost to it.
#
# Usage: BUILD=build/gcc-release tests/integration/clock.sh
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
PRELOAD=$(realpath "$BUILD/tests/lib/set_clock.so")
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-clock.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
year=31557600

# set_clock SECONDS: of every site, off the true time; also of those that run.
set_clock() {
    echo "$1" >"$DIR/offset.new"
    mv "$DIR/offset.new" "$DIR/offset"
}

start_all() {
    local site
    for site in dc dr gsr; do LD_PRELOAD=$PRELOAD CLOCK_OFFSET_FILE=$DIR/offset site_start "$site"; done
}

# trouble WORD: the primary's status says it, within a few seconds.
trouble() {
    local i
    for i in $(seq 1 50); do
        if site_status "$(current_primary)" | jq -e --arg word "$1" '.trouble | any(contains($word))' >/dev/null; then
            return 0
        fi
        sleep 0.1
    done
    echo "status does not say '$1'" >&2
    return 1
}

# times: of all entries of one site's log.
times() { "$TRIVENI" dump-log "$DIR/cluster/$1/data" --running -o json | jq -r 'select(.lsn != null) | .time'; }

set_clock 0
cluster_create "$DIR/cluster"
start_all
wait_primary >/dev/null
tv put land k 1 >/dev/null
before=$(date -u +%Y-%m-%dT%H:%M)

# ---- a session that nobody holds any more: its client was killed ----
"$BUILD/tests/writers/writers" run --uri "$(cat "$DIR/cluster/client.uri")" --ledger "$DIR/ledger" --seconds 30 --threads 2 >/dev/null 2>&1 &
writers=$!
sleep 1
kill -KILL "$writers"
wait "$writers" 2>/dev/null || true
sessions=$(tv session -o json | jq '.sessions | length')
[ "$sessions" -ge 1 ]

# ---- while they run ----
# past CODE TIME: what a read of the record as of then ends with.
past() {
    local code=0
    tv get land k --as-of "$2" >"$DIR/out" 2>"$DIR/err" || code=$?
    [ "$code" = "$1" ] || { echo "as of $2: exit code $code, not $1: $(cat "$DIR/out" "$DIR/err")"; exit 1; }
}
tv put land k "before the clocks were set" >/dev/null
sleep 0.1
moment=$(date -u +%FT%T.%6NZ)
sleep 0.1
for offset in $((10 * year)) $((-40 * year)) 7200 -7200; do
    set_clock "$offset"
    tv put land k "set to $offset" >/dev/null
    sleep 1.2
    tv put land k "again $offset" >/dev/null
    trouble "commit time"
    past 0 "$moment" # it is over, whatever the clocks say, and what is not over is not
    grep -q "before the clocks were set" "$DIR/out"
    past 2 "$(date -u -d '+1 hour' +%FT%TZ)"
    grep -q "not over yet" "$DIR/err"
done
set_clock 0
sleep 1.2
tv put land k 2 >/dev/null
after=$(date -u +%Y-%m-%dT%H:%M)
wait_equal >/dev/null
primary=$(current_primary)
times "$primary" >"$DIR/times"
[ "$(wc -l <"$DIR/times")" -ge 10 ]
LC_ALL=C sort -c "$DIR/times" || { echo "time in the log decreased"; exit 1; }
first=$(head -c 16 "$DIR/times")
last=$(tail -n 1 "$DIR/times" | head -c 16)
[[ $first > $before || $first == "$before" || $(date -u -d "$before + 1 minute" +%Y-%m-%dT%H:%M) > $first ]]
[[ ! $last > $after ]] || { echo "commit time ran away: $last, and it is $after"; exit 1; }
site_status "$primary" | jq -e '.trouble == []' >/dev/null || { echo "the clock is right again, but status has trouble"; exit 1; }

# ---- between two runs: the process believes the clock with which it starts, and still no session is lost ----
for site in dc dr gsr; do site_kill "$site" TERM; done
set_clock $((10 * year))
start_all
wait_primary >/dev/null
tv put land k 3 >/dev/null
sleep 2.5 # it looks for idle sessions once a second until it has looked, then once a minute
now=$(tv session -o json | jq '.sessions | length')
[ "$now" -ge "$sessions" ] || { echo "$sessions sessions, and $now after the clock was wrong at a start"; exit 1; }
! grep -q "expired after" "$DIR"/cluster/*.log || { echo "a session expired"; exit 1; }

# ---- the damage is done, but time in the log goes on from there ----
for site in dc dr gsr; do site_kill "$site" TERM; done
set_clock 0
start_all
wait_primary >/dev/null
tv put land k 4 >/dev/null
trouble "behind commit time"
wait_equal >/dev/null
times "$(current_primary)" >"$DIR/times"
LC_ALL=C sort -c "$DIR/times" || { echo "time in the log decreased"; exit 1; }
echo "clock: $(wc -l <"$DIR/times") entries in order, from $first to $last before the wrong start, $sessions sessions kept"
