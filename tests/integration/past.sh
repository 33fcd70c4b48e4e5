#!/usr/bin/env bash
# The past of three real sites: records that are put, changed, deleted and made again are read as of every lsn and time, at the
# primary and at standbys, also after a failover and restarts; what is not over, and what has left the window, is refused with
# what to do. Status shows the window, check finds the stopped sites whole, and a directory can be dumped as of then.
#
# Usage: BUILD=build/gcc-release tests/integration/past.sh
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-past.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

# expect CODE ARGS...: run, output to out and err, and compare the exit code.
expect() {
    local want=$1 code=0
    shift
    tv "$@" >"$DIR/out" 2>"$DIR/err" || code=$?
    [ "$code" = "$want" ] || { echo "triveni $*: exit $code where $want was expected"; exit 1; }
}
prints() { [ "$(cat "$DIR/out")" = "$1" ] || { echo "'$1' was expected: $(cat "$DIR/out")"; exit 1; }; }
says() { grep -qF -- "$1" "$DIR/err" || { echo "stderr lacks '$1': $(cat "$DIR/err")"; exit 1; }; }
at() { echo "--endpoints 127.0.0.1:$(client_port "$1")"; }
lsn() { tv "$@" -o json | jq .lsn; }
time_of() { tv get titles "$1" -o json | jq -r .time; }

cluster_create "$DIR/cluster"
sed -i 's/memory_mib: 64/memory_mib: 64, history_mib: 1, checkpoint_seconds: 1/' "$DIR"/cluster/{dc,dr,gsr}.yaml
sites_start
first=$(wait_primary)
case $first in dc) second=dr ;; *) second=dc ;; esac

# ---- a life of a record, and what is beside it ----
lsn put titles other same >/dev/null
made=$(lsn put titles AB-1 one)
made_time=$(time_of AB-1)
changed=$(lsn put titles AB-1 '{"n":2}')
changed_time=$(time_of AB-1)
gone=$(lsn del titles AB-1)
again=$(lsn put titles AB-1 three)
other=$(lsn put other x y)
lsn del other x >/dev/null
wait_equal >/dev/null

# Every site answers the same; the standbys to who lets them.
asked() {
    local more=("$@")
    expect 0 get titles AB-1 --as-of "$made" "${more[@]}" && prints one
    expect 0 get titles AB-1 --as-of "$changed" "${more[@]}" && prints '{"n":2}' && says "as of lsn $changed"
    expect 3 get titles AB-1 --as-of "$gone" "${more[@]}"
    expect 3 get titles AB-1 --as-of $((made - 1)) "${more[@]}"
    expect 0 get titles AB-1 --as-of "$again" "${more[@]}" && prints three
    expect 0 get titles AB-1 --as-of "$made_time" "${more[@]}" && prints one && says "as of lsn $made"
    expect 0 get titles AB-1 --as-of "$changed_time" "${more[@]}" && prints '{"n":2}'
    expect 0 get titles AB-1 --as-of "${changed_time%Z}+00:00" "${more[@]}" && prints '{"n":2}'
    expect 0 get titles AB-1 -o json --as-of "$made" "${more[@]}"
    [ "$(jq -c '[.key, .lsn, .time, .value]' "$DIR/out")" = "[\"AB-1\",$made,\"$made_time\",\"one\"]" ]
    expect 0 scan titles -k --as-of "$changed" "${more[@]}" && prints $'AB-1\nother'
    expect 0 scan titles -k -r --as-of "$changed_time" "${more[@]}" && prints $'other\nAB-1'
    expect 0 scan titles -k --as-of "$gone" "${more[@]}" && prints other
    expect 0 scan other -k --as-of "$other" "${more[@]}" && prints x
    expect 3 get titles AB-1 other none --as-of "$made" -o json "${more[@]}" && [ "$(wc -l <"$DIR/out")" = 2 ]
}
# shellcheck disable=SC2046
{
    asked
    asked --standby $(at "$second")
    asked --standby $(at gsr)
}
expect 0 dump titles --as-of "$made" && [ "$(jq -c .value "$DIR/out")" = $'"one"\n"same"' ] && says "2 records as of lsn $made"

# ---- what cannot be asked ----
expect 2 get titles AB-1 --as-of 1000000 && says "is not written yet"
expect 2 get titles AB-1 --as-of 2999-01-01T00:00:00Z && says "not over yet"
expect 2 get titles AB-1 --as-of 2026-01-01T00:00:00 && says "--as-of"
expect 3 get titles AB-1 --as-of yesterday && says "no restore point 'yesterday'"
expect 2 get titles AB-1 --as-of 0
expect 2 get titles AB-1 --as-of 99999999999999999999
expect 2 scan titles --as-of -5
expect 2 dump --all --as-of "$made" && says "name one"
# The last transaction's own time: at the primary it is over; a standby cannot know what came after it.
now=$(date -u +%FT%T.%6NZ)
expect 0 get titles AB-1 --as-of "$now" && prints three
# shellcheck disable=SC2046
expect 6 get titles AB-1 --as-of "$now" --standby $(at "$second") --timeout 3s && says "ask the primary: 127.0.0.1:$(client_port "$first")"

# ---- restart and failover ----
site_kill "$second" TERM
site_start "$second"
wait_equal >/dev/null
# shellcheck disable=SC2046
asked --standby $(at "$second")
site_kill "$first" KILL
wait_primary "$second" >/dev/null
lsn put titles AB-2 new >/dev/null
asked
site_start "$first"
wait_equal >/dev/null
# shellcheck disable=SC2046
asked --standby $(at "$first")
[ "$(tv status -o json | jq -c '[.sites[].history.from] | unique')" = '[0]' ]
tv status >"$DIR/out" && grep -q "past at gsr: all of it" "$DIR/out"

# ---- out of the window: one MiB of old values ----
head -c 60000 /dev/zero | tr '\0' v >"$DIR/big"
for i in $(seq 1 40); do lsn put titles big --file "$DIR/big" >"$DIR/last"; done
last=$(cat "$DIR/last")
wait_equal >/dev/null
expect 0 get titles AB-1 --as-of "$made" && prints one # from the archive
expect 1 scan titles --as-of "$made" && says "the past can be read here from lsn" && says "triveni restore, option --to-lsn"
expect 1 scan titles --as-of "$made_time" && says "--to-time"
from=$(tv status -o json | jq '[.sites[].history.from] | max')
[ "$from" -gt "$again" ] && [ "$from" -lt "$last" ]
[ "$(tv status -o json | jq '[.sites[].history.bytes] | max')" -le $((1 << 20)) ]
expect 0 get titles AB-1 --as-of "$from" && prints three
expect 0 get titles big --raw --as-of $((last - 3)) && cmp "$DIR/out" "$DIR/big"
tv status >"$DIR/out" && grep -q "past at dc: from lsn" "$DIR/out"
site_kill gsr TERM
[ "$(tv status -o json | jq -c '.sites[] | select(.name == "gsr") | .history')" = null ]
tv status >"$DIR/out" && grep -q "past at gsr: unknown" "$DIR/out"

# ---- on disk ----
cluster_stop
for site in dc dr gsr; do
    "$TRIVENI" check "$DIR/cluster/$site/data" >"$DIR/out" 2>&1 || { cat "$DIR/out"; exit 1; }
done
"$TRIVENI" dump --all --data-dir "$DIR/cluster/dr/data" --as-of "$from" 2>"$DIR/err" >"$DIR/out"
[ "$(jq -r 'select(.key == "AB-1").value' "$DIR/out")" = three ] && says "as of lsn $from"

echo "past: as of lsns and times at all sites, in and out of the window, through a failover"
