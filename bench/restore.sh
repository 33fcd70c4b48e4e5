#!/bin/bash
# Usage: restore.sh: archive, restore to a time, history of a record and verification, beside pgBackRest and restic on the same records and
# the same disk. See bench/README.md. About 12 minutes, and 12 GB of disk at the most; QUICK=1: half a minute, 300 MB.
#
#   MIB=1024           raw log; a quarter of it is in the snapshot and in the peer's base backup, the target is at three quarters
#   VERSIONS=5000000   versions in the archive that histories are read from (0: left out)
#   REPS=3             repetitions of what reads: restore, verify
#   LAG_SECONDS=30     how long three sites are written to for the lag of the archive (0: left out)
#   SYSTEMS='triveni pgbackrest restic'   PEERS=no: without peers
#   WARM_MIB=2048      memory that is used right before each measurement (0: as it is); bench/README.md says why
#   BENCH_DIR= where the data lies   BENCH_OUT= where the figures go: default build/bench for both
#   QUICK=1            a few MiB of each, one repetition: that it works, not how fast it is
set -euo pipefail
cd "$(dirname "$0")/.."
: "${BUILD:?set BUILD to the folder of the programs}"
MAKE=${MAKE:-make} OUT=${BENCH_OUT:-build/bench}
mkdir -p "$OUT" "${BENCH_DIR:-$OUT}"
WORK=$(mktemp -d "$(realpath "${BENCH_DIR:-$OUT}")/work.XXXXXX")
chmod 711 "$WORK"
export BUILD
. bench/systems.sh
. bench/cells.sh
. bench/archived.sh
finish() {
    local code=$?
    system_stop
    [ "$code" = 0 ] || tail -n 5 "$WORK"/*.log "$WORK"/*.err >&2 2>/dev/null || true
    rm -rf "$WORK"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ -n "${QUICK:-}" ]; then
    MIB=${MIB:-8} VERSIONS=${VERSIONS:-40000} REPS=${REPS:-1} LAG_SECONDS=${LAG_SECONDS:-0} WARM_MIB=${WARM_MIB-16}
fi
MIB=${MIB:-1024} VERSIONS=${VERSIONS:-5000000} REPS=${REPS:-3} LAG_SECONDS=${LAG_SECONDS:-30} WARM_MIB=${WARM_MIB-2048} SYSTEMS=${SYSTEMS:-triveni pgbackrest restic}
[ "${PEERS:-yes}" != no ] || SYSTEMS=triveni
LINES_FILE=$OUT/restore-lines.jsonl
: >"$LINES_FILE"
MISSING=()
need triveni load_archive
need pgbackrest load_archive postgresql-15 pgbackrest
need restic load_archive postgresql-15 restic # what it keeps is PostgreSQL's directory
has() { [[ " $SYSTEMS " == *" $1 "* ]]; }
note() { # JQ ARGS...: one line of results
    jq -n -c "$@" | tee -a "$LINES_FILE" >&2
}
missed() {
    MISSING+=("$*")
    echo "  missing: $*" >&2
}
# A failure costs the figures that come after it, not the run. In a subshell of its own, where it ends at the first command that fails.
part() { # FUNCTION
    local rc
    set +e
    (
        trap system_stop EXIT
        set -e
        "$1"
    )
    rc=$?
    set -e
    # shellcheck disable=SC2012 # names of our own
    [ $rc = 0 ] || missed "$1: $(tail -n 1 "$(ls -t "$WORK"/*.err | head -n 1)")"
}
# Run a program, its output in $WORK/NAME.out and .err: WALL and CPU seconds, and the most memory of its own, not of the page
# cache, in MB: sampled, 20 times a second.
run() { # NAME COMMAND...
    local name=$1 pid watcher begin before rc=0
    shift
    warm_memory
    echo 0 >"$WORK/own_mb"
    children_cpu
    before=$CHILDREN_CPU
    begin=$EPOCHREALTIME
    "$@" >"$WORK/$name.out" 2>"$WORK/$name.err" </dev/null &
    pid=$!
    watch_memory "$pid" &
    watcher=$!
    wait "$pid" || rc=$?
    WALL=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }')
    children_cpu # without the watcher, who has not ended
    CPU=$(awk -v a="$before" -v b="$CHILDREN_CPU" 'BEGIN { printf "%.3f", b - a }')
    wait "$watcher" || true
    OWN_MB=$(cat "$WORK/own_mb")
    return $rc
}
# The most that the process has of its own, beside the page cache.
watch_memory() { # PID
    local most=0 key value rest
    while kill -0 "$1" 2>/dev/null; do
        while read -r key value rest; do
            [ "$key" != RssAnon: ] || most=$((value / 1024 > most ? value / 1024 : most))
        done 2>/dev/null <"/proc/$1/status" || true
        echo "$most" >"$WORK/own_mb"
        sleep 0.05
    done
}
# Of this shell's children that have ended: not asked in a subshell, which has none.
children_cpu() {
    times >"$WORK/times"
    CHILDREN_CPU=$(awk -F '[ms ]' 'NR == 2 { print $1 * 60 + $2 + $4 * 60 + $5 }' "$WORK/times")
}
bytes_in() { du -sb "$@" | awk '{ n += $1 } END { print n }'; }

TOTAL=$((MIB * 1048576 / ENTRY_BYTES)) BASE=$((MIB * 1048576 / ENTRY_BYTES / 4)) TARGET_AT=$((MIB * 1048576 / ENTRY_BYTES / 4 * 3))
began=$SECONDS
load_before=$(cut -d ' ' -f 1-3 /proc/loadavg)
for s in $SYSTEMS; do printf '%-11s %s\n' "$s" "$("${s}_about" 2>&1)"; done | tee "$WORK/about" >&2
REP=1 SECONDS_PER_CELL=1 RECORDS=1000 # of the disk before each
for SYSTEM in $SYSTEMS; do
    probe_disk
    part "${SYSTEM}_run"
    sync -f "$WORK"
done
if has triveni; then
    [ "$VERSIONS" = 0 ] || part triveni_history
    [ "$LAG_SECONDS" = 0 ] || part triveni_lag
fi
printf '%s\n' "${MISSING[@]}" >"$WORK/missing"

jq -n -L bench --arg kernel "$(uname -srm)" --arg cores "$(nproc)" \
    --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --arg memory "$(sed -n 's/^MemTotal: *//p' /proc/meminfo)" \
    --arg disk "$(df --output=source,fstype "$WORK" | tail -n 1)" --arg load_before "$load_before" --arg load_after "$(cut -d ' ' -f 1-3 /proc/loadavg)" \
    --arg date "$(date -u +%FT%TZ)" --arg commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" --arg took "$((SECONDS - began))" \
    --arg mib "$MIB" --arg warm "$WARM_MIB" --arg versions "$VERSIONS" --arg reps "$REPS" --arg total "$TOTAL" --arg base "$BASE" --arg target "$TARGET_AT" \
    --rawfile about "$WORK/about" --rawfile missing "$WORK/missing" --slurpfile lines "$LINES_FILE" -f bench/restore.jq >"$OUT/restore.json"
jq -r '.table[] | @tsv' "$OUT/restore.json" | awk -F '\t' '{ printf "%-58s %12s %12s %12s\n", $1, $2, $3, $4 }'
jq -r '.notes[]' "$OUT/restore.json"
jq -r '.goals[] | "goal: \(.goal): \(.measured) (\(.verdict))"' "$OUT/restore.json"
jq -r '.missing[] | "missing: \(.)"' "$OUT/restore.json"
echo "bench: $((SECONDS - began)) s; load average $load_before before, $(cut -d ' ' -f 1-3 /proc/loadavg) after; figures: $OUT/restore.json"
[ "${#MISSING[@]}" = 0 ] || [ -z "${QUICK:-}" ] || exit 1
