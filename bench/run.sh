#!/bin/bash
# Usage: run.sh store|quick: measures all systems in turn on one disk, and reports. See bench/README.md for what the cells are.
#
#   REPS=3       repetitions, interleaved: all systems once, then all again
#   SECONDS_PER_CELL=2   RECORDS=100000   LDAP_RECORDS=10000
#   MINUTES=1    length of the run that watches memory and files (0: left out)
#   SYSTEMS=     only these, e.g. "triveni-single redis-tls"
#   CELLS=       only cells whose "op clients depth value" match this extended regular expression
#   MILLION=1000000  records of the cell that watches a site's memory (0: left out)
#   RECOVER_MIB=256 512   lengths of log to recover
#   BENCH_DIR=   where the data lies: default build/bench, the disk of this tree
#   PEERS=no     without peers
#   WARM_MIB=2048  memory that is used right before each measurement (0: as it is); bench/README.md says why
set -euo pipefail
cd "$(dirname "$0")/.."
: "${BUILD:?set BUILD to the folder of the programs}"
kind=${1:?store or quick}
MAKE=${MAKE:-make}
OUT=build/bench
mkdir -p "$OUT" "${BENCH_DIR:-$OUT}"
# Another user (postgres) must be able to pass through.
WORK=$(mktemp -d "$(realpath "${BENCH_DIR:-$OUT}")/work.XXXXXX")
chmod 711 "$WORK"
export BUILD
. bench/systems.sh
. bench/cells.sh
finish() {
    local code=$?
    system_stop
    [ "$code" = 0 ] || tail -n 5 "$WORK"/*.log >&2 2>/dev/null || true
    rm -rf "$WORK"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ "$kind" = quick ]; then
    REPS=${REPS:-1} SECONDS_PER_CELL=${SECONDS_PER_CELL:-1} MINUTES=${MINUTES:-0} MILLION=${MILLION:-0} RECOVER_MIB=${RECOVER_MIB-64} WARM_MIB=${WARM_MIB-512} PEERS=no
    SYSTEMS=${SYSTEMS:-triveni-embedded triveni-single triveni-three lmdb}
    CELLS=${CELLS:-'^(floor .*|put (1|64) 1 1024|put 64 16 1024|fill .*|get (1|64) 1 .*|scan .*)$'}
else
    REPS=${REPS:-3} SECONDS_PER_CELL=${SECONDS_PER_CELL:-2} MINUTES=${MINUTES:-1} MILLION=${MILLION:-1000000} RECOVER_MIB=${RECOVER_MIB-256 512} WARM_MIB=${WARM_MIB-2048}
    SYSTEMS=${SYSTEMS:-triveni-embedded rocksdb lmdb triveni-single redis-tls bare-tls redis triveni-library triveni-three postgres openldap}
    CELLS=${CELLS:-.}
fi
RECORDS=${RECORDS:-100000} LDAP_RECORDS=${LDAP_RECORDS:-10000}
LINES_FILE=$OUT/cells.jsonl
: >"$LINES_FILE"
MISSING=()

if [ "${PEERS:-yes}" = no ]; then
    for s in rocksdb redis redis-tls bare-tls postgres openldap; do SYSTEMS=" $SYSTEMS "; SYSTEMS=${SYSTEMS/" $s "/ }; done
else
    need redis load_redis redis-server
    need redis-tls load_redis redis-server
    need postgres load_postgres postgresql-15 libpq-dev
    need rocksdb load_rocksdb librocksdb-dev
    need openldap load_ldap slapd libldap-dev
fi

# ---- cells: op, clients, depth, bytes of value ----
puts() {
    local c v
    for v in 1024 100; do
        for c in 1 16 64 256; do echo "put $c 1 $v"; done
    done
}
pipelined() {
    local c v
    for v in 1024 100; do
        for c in 1 16 64 256; do echo "put $c 16 $v"; done
    done
}
network_reads() { printf '%s\n' "fill 64 16 1024" "get 1 1 1024" "get 64 1 1024" "get 64 16 1024"; }
local_reads() { printf '%s\n' "fill 1 1 1024" "get 1 1 1024" "get 2 1 1024" "scan 1 1 1024"; }
cells_of() {
    case $1 in
    triveni-embedded) echo "floor 1 1 1024"; puts; pipelined; local_reads; echo "mixed 16 1 1024" ;;
    rocksdb | lmdb) puts; pipelined; local_reads ;;
    triveni-single) echo "floor 1 1 1024"; puts; pipelined; network_reads ;;
    triveni-library) printf '%s\n' "put 1 1 1024" "put 64 1 1024" "put 256 1 1024" "put 64 16 1024" "put 256 16 1024"; network_reads ;;
    triveni-three | redis | redis-tls) puts; pipelined; network_reads ;;
    postgres) puts; pipelined ;;
    bare-tls) puts; pipelined ;;
    openldap) puts ;;
    esac | grep -E "$CELLS" || true
}
# What a system has no cells for, and why: said with the figures, so that nobody takes a gap for an oversight.
left_out_of() {
    case $1 in
    triveni-library) echo "16 clients and values of 100 B: it is here for what libtriveni takes, which triveni-single's cells do not show" ;;
    postgres) echo "reads: it is here for its synced writes" ;;
    openldap) echo "reads, and 16 in flight: it is here for its modifications, and each client of the load generator waits for one at a time" ;;
    bare-tls) echo "reads: it keeps nothing" ;;
    triveni-single | triveni-three | redis | redis-tls) echo "scans: a server's are its protocol's, and compare with no other" ;;
    esac
}

began=$SECONDS
load_before=$(cut -d ' ' -f 1-3 /proc/loadavg)
for s in $SYSTEMS; do printf '%-17s %s\n' "$s" "$("${s//-/_}_about" 2>&1)"; done | tee "$WORK/about" >&2
for REP in $(seq 1 "$REPS"); do
    for SYSTEM in $SYSTEMS; do one_system; done
    SYSTEM=triveni-embedded
    for mib in $RECOVER_MIB; do
        triveni_embedded_start
        measure recover 1 1 1024 --limit "$mib"
        rm -rf "$TARGET"
    done
done
REP=1
if [ "$MILLION" != 0 ]; then # how much memory a site takes with so many records, and under load on them
    SYSTEM=triveni-single records=$RECORDS RECORDS=$MILLION PIDS=() EXTRA=()
    if triveni_single_start; then
        for cell in "fill 64 16 1024" "put 64 16 1024"; do
            # shellcheck disable=SC2086 # four words
            if line=$(run_cell $cell 2>"$WORK/cell.err"); then
                jq -c --arg n "$MILLION" '. + {million: ($n | tonumber)}' <<<"$line" >>"$LINES_FILE"
            else
                MISSING+=("memory with $MILLION records, $cell: $(tail -n 1 "$WORK/cell.err")")
            fi
        done
    else
        MISSING+=("memory with $MILLION records: the site did not start")
    fi
    system_stop
    RECORDS=$records
fi
if [ "$MINUTES" != 0 ]; then
    triveni_embedded_start
    SECONDS_PER_CELL=$((MINUTES * 60))
    timeout $((MINUTES * 60 + 120)) "$BUILD/bench/load_embedded" --system triveni-embedded --op grow --target "$TARGET" --clients 64 \
        --value 1024 --seconds "$SECONDS_PER_CELL" --records "$RECORDS" >>"$LINES_FILE" 2>"$WORK/growth" ||
        MISSING+=("growth: $(tail -n 1 "$WORK/growth")")
    jq -e .samples "$WORK/growth" >/dev/null 2>&1 || : >"$WORK/growth"
fi
printf '%s\n' "${MISSING[@]}" >"$WORK/missing"
for s in $SYSTEMS; do left_out_of "$s" | sed "s/^/$s: /"; done >"$WORK/left_out"
[ "$CELLS" = . ] || echo "all systems: cells that CELLS='$CELLS' does not select" >>"$WORK/left_out"

disk=$(df --output=source,fstype "$WORK" | tail -n 1)
jq -n -L bench --arg kind "$kind" --arg kernel "$(uname -srm)" --arg cores "$(nproc)" \
    --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --arg memory "$(sed -n 's/^MemTotal: *//p' /proc/meminfo)" \
    --arg disk "$disk" --arg load_before "$load_before" --arg load_after "$(cut -d ' ' -f 1-3 /proc/loadavg)" \
    --arg date "$(date -u +%FT%TZ)" --arg commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" \
    --arg minutes "$MINUTES" --arg million "$MILLION" --arg reps "$REPS" --arg warm "$WARM_MIB" --arg records "$RECORDS" --arg took "$((SECONDS - began))" --rawfile about "$WORK/about" --rawfile missing "$WORK/missing" \
    --rawfile left_out "$WORK/left_out" \
    --slurpfile growth <(cat "$WORK/growth" 2>/dev/null || true) --slurpfile cells "$LINES_FILE" -f bench/report.jq >"$OUT/$kind.json"
jq -r '.table[] | @tsv' "$OUT/$kind.json" | awk -F '\t' '
    { printf "%-8s %5s %6s %6s  %-17s %10s %10s %10s %9s %9s %9s %7s\n", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 }'
jq -r '.growth[]? | "after \(.at_s) s: resident \(.resident_mb) MB, of it private \(.private_mb) MB; log \(.log_mb) MB, written \(.log_written_mb) MB; state \(.state_mb) MB; \(.unapplied) not yet applied, \(.checkpoints) checkpoints"' "$OUT/$kind.json"
jq -r '.goals[] | "goal: \(.goal): \(.measured) (\(.verdict))"' "$OUT/$kind.json"
jq -r '(.left_out[] | "left out: \(.)"), (.missing[] | "missing: \(.)")' "$OUT/$kind.json"
echo "bench: $((SECONDS - began)) s; load average $load_before before, $(cut -d ' ' -f 1-3 /proc/loadavg) after; figures: $OUT/$kind.json"
