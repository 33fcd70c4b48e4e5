#!/bin/bash
# Usage: replication.sh: three sites beside replicated peers, and what happens when one is lost. See bench/README.md.
#
#   REPS=3  SECONDS_PER_CELL=1  RECORDS=100000   of the cells of durable writes, all systems in turn
#   TIMES=10                how often the primary is switched over and killed
#   RATE=5000               writes a second meanwhile
#   TUNED='heartbeat_ms: 20, election_ms: 100, lease_ms: 80'   the shorter times of the second row of kills
#   CATCH_UP_MIB=1024       log that a stopped site has to fetch
#   DIVERGENT=100000        records that a former primary has to undo
#   REJOIN_RECORDS='100000 1000000'   size of the store then
#   SYSTEMS=   of the cells, e.g. "triveni-majority etcd"
#   CELLS=     only sections, or cells "put clients 1 1024", that match this extended regular expression; sections: put, links,
#              switchover, failover-default, failover-tuned, failover-etcd, catch-up, rejoin, lag
#   BENCH_DIR= where the data lies; PEERS=no: without peers
set -euo pipefail
cd "$(dirname "$0")/.."
: "${BUILD:?set BUILD to the folder of the programs}"
MAKE=${MAKE:-make} OUT=build/bench
mkdir -p "$OUT" "${BENCH_DIR:-$OUT}"
WORK=$(mktemp -d "$(realpath "${BENCH_DIR:-$OUT}")/work.XXXXXX")
chmod 711 "$WORK"
export BUILD
. bench/systems.sh
. bench/cells.sh
. bench/replicated.sh
finish() {
    local code=$?
    [ -z "${LOAD_PID:-}" ] || kill "$LOAD_PID" 2>/dev/null || true
    system_stop
    [ "$code" = 0 ] || tail -n 5 "$WORK"/*.log >&2 2>/dev/null || true
    # An outlier is explained by what the sites said, and only by that.
    mkdir -p "$OUT/logs" && cp "$WORK"/*.log "$OUT/logs/" 2>/dev/null || true
    rm -rf "$WORK"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

REPS=${REPS:-3} SECONDS_PER_CELL=${SECONDS_PER_CELL:-1} RECORDS=${RECORDS:-100000} TIMES=${TIMES:-10} RATE=${RATE:-5000} WARM_MIB=${WARM_MIB-2048}
TUNED=${TUNED:-heartbeat_ms: 20, election_ms: 100, lease_ms: 80}
CATCH_UP_MIB=${CATCH_UP_MIB:-1024} DIVERGENT=${DIVERGENT:-100000} REJOIN_RECORDS=${REJOIN_RECORDS-100000 1000000}
SYSTEMS=${SYSTEMS:-triveni-majority triveni-local triveni-all redis-wait-tls redis-wait postgres-sync etcd} CELLS=${CELLS:-.}
LINES_FILE=$OUT/replication-cells.jsonl
: >"$LINES_FILE"
MISSING=()
if [ "${PEERS:-yes}" = no ]; then
    for s in redis-wait-tls redis-wait postgres-sync etcd; do SYSTEMS=" $SYSTEMS "; SYSTEMS=${SYSTEMS/" $s "/ }; done
else
    need redis-wait-tls load_redis redis-server
    need redis-wait load_redis redis-server
    need postgres-sync load_postgres postgresql-15 libpq-dev
    need etcd load_etcd etcd-server etcd-client libnghttp2-dev
fi

cells_of() {
    local c
    for c in 1 16 64 256; do echo "put $c 1 1024"; done | grep -E "$CELLS" || true
}
wanted() { grep -q -E "$CELLS" <<<"$1"; }
has() { [[ " $SYSTEMS " == *" $1 "* ]]; }
note() { # JQ ARGS...: one line of results
    jq -n -c "$@" | tee -a "$LINES_FILE" >&2
}
missed() {
    MISSING+=("$*")
    echo "  missing: $*" >&2
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# ---- a load that goes on through what happens (bench/outage.h) ----
load_begin() { # PROGRAM TARGET CLIENTS
    coproc LOAD {
        exec "$BUILD/bench/$1" --system "$SYSTEM" --op outage --target "$2" --clients "$3" --rate "$RATE" --value 1024 --seconds 86400 \
            --records "$RECORDS" 2>>"$WORK/load.log"
    }
    sleep 2 # handles are open, and the rate is reached
}
tell() { # COMMAND: the answer is in REPLY
    REPLY=
    echo "$1" >&"${LOAD[1]}" 2>/dev/null && read -t 30 -r REPLY <&"${LOAD[0]}"
}
load_end() {
    local pid=${LOAD_PID:-} in=${LOAD[1]:-}
    [ -z "$in" ] || exec {in}>&-
    [ -z "$pid" ] || { process_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true; }
    LOAD_PID=
}
# Wait until writes are answered again, at most half a minute.
settle() {
    local i
    for i in $(seq 1 300); do
        sleep 0.1
        tell report || return 1
        [ "$(jq '.recovered_ms > 0' <<<"$REPLY")" != true ] || return 0
    done
    return 1
}

switchovers() {
    local i to answer
    SYSTEM=triveni-majority PIDS=() EXTRA=()
    three_sites switchover || { missed "switchover: the sites did not start"; return; }
    load_begin load_paced "$TARGET" 16
    for i in $(seq 1 "$TIMES"); do
        to=$([ "$(primary_now)" = dc ] && echo dr || echo dc)
        tell mark || { missed "switchover $i: $(tail -n 1 "$WORK/load.log")"; break; }
        answer=$(trv switchover --to "$to" -o json 2>"$WORK/cell.err") || { missed "switchover $i: $(tail -n 1 "$WORK/cell.err")"; continue; }
        sleep 0.7
        tell report || break
        note --argjson r "$REPLY" --argjson a "$answer" --argjson rate "$RATE" \
            '{what: "switchover", rate: $rate, pause_ms: $r.longest_ms, own_ms: $a.pause_ms, answered: $r.answered, failed: $r.failed}'
        wait_sites equal || true
    done
    load_end
    grep -h 'a write failed' "$WORK/load.log" | head -n 1 >&2 || true
    system_stop
}

kills() { # NAME TIMES-OF-REPLICATION
    local i k primary term before=0 elections=0
    SYSTEM=triveni-majority PIDS=() EXTRA=()
    REPLICATION=$2 three_sites "$1" || { missed "$1: the sites did not start"; return; }
    load_begin load_paced "$TARGET" 16
    before=$(trv status -o json | jq .term)
    for i in $(seq 1 "$TIMES"); do
        wait_sites primary || true
        primary=$(primary_now)
        case $primary in dc) k=0 ;; dr) k=1 ;; *) missed "$1, kill $i: nobody is primary"; sleep 1; continue ;; esac
        tell "kill ${PIDS[$k]}" && settle || { missed "$1, kill $i: $(tail -n 1 "$WORK/load.log")"; break; }
        elections=$((elections + 1))
        note --arg what "$1" --argjson r "$REPLY" --argjson rate "$RATE" --arg times "$2" \
            '{what: $what, rate: $rate, times: $times, recovered_ms: $r.recovered_ms, longest_ms: $r.longest_ms, answered: $r.answered, failed: $r.failed}'
        process_gone "${PIDS[$k]}"
        site_again $k
        wait_sites equal || missed "$1, kill $i: the sites are not equal again within half a minute"
    done
    term=$(trv status -o json | jq .term)
    note --arg what "$1" --argjson n $((term - before)) --argjson kills "$elections" '{what: ($what + "-terms"), terms: $n, kills: $kills}'
    load_end
    system_stop
}

etcd_kills() {
    local i leader
    SYSTEM=etcd PIDS=() EXTRA=()
    etcd_start || { missed "failover-etcd: it did not start"; return; }
    load_begin load_etcd "$ETCD_ALL" 16
    for i in $(seq 1 "$TIMES"); do
        leader=$(etcd_leader)
        [ -n "$leader" ] || { missed "failover-etcd, kill $i: no leader"; sleep 1; continue; }
        tell "kill ${PIDS[$leader]}" && settle || { missed "failover-etcd, kill $i: $(tail -n 1 "$WORK/load.log")"; break; }
        note --argjson r "$REPLY" '{what: "failover-etcd", recovered_ms: $r.recovered_ms, longest_ms: $r.longest_ms, answered: $r.answered, failed: $r.failed}'
        process_gone "${PIDS[$leader]}"
        etcd_node "$leader" existing
        PIDS[$leader]=${PIDS[-1]}
        unset 'PIDS[-1]'
        sleep 1.5
    done
    load_end
    system_stop
}

fill() { # RECORDS [SYSTEM'S PROGRAM]: each a transaction of its own
    SECONDS_PER_CELL=1 RECORDS=$1 run_cell fill 64 16 1024 >"$WORK/fill.json" 2>"$WORK/cell.err"
}
until_field() { # SECONDS SITE JQ LEAST: wait until it is at least that much
    local end=$(($(now_ms) + $1 * 1000)) v
    while [ "$(now_ms)" -lt "$end" ]; do
        v=$(site_field "$2" "$3 // 0")
        [ "${v:-0}" -lt "$4" ] || return 0
        sleep 0.02
    done
    return 1
}

catch_up() {
    local before after began first done bytes left try
    SYSTEM=triveni-majority PIDS=() EXTRA=()
    STORE='log_retain_mib: 8192' three_sites catch-up || { missed "catch-up: the sites did not start"; return; }
    fill 1000
    wait_sites equal || true
    kill -TERM "${PIDS[1]}"
    process_gone "${PIDS[1]}"
    before=$(site_field dc .durable)
    for left in $(seq "$((CATCH_UP_MIB * 1024 / 1200 * 1024))" -100000 1); do
        # With dr gone, and the machine busy, a moment without gsr is a moment without a majority: the same again.
        for try in 1 2 3 4 5; do
            ! fill "$((left < 100000 ? left : 100000))" || break
            wait_sites primary || true
        done
        [ ! -s "$WORK/cell.err" ] || { missed "catch-up: $(tail -n 1 "$WORK/cell.err")"; system_stop; return; }
    done
    after=$(site_field dc .durable)
    bytes=$(trv status -o json | jq '[.sites[] | select(.name == "dr") | .ages.durable.bytes // 0] | add')
    began=$(now_ms)
    site_again 1
    until_field 60 dr .durable $((before + 1)) || true
    first=$(now_ms)
    if until_field 120 dr .durable "$after"; then
        done=$(now_ms)
        note --argjson n $((after - before)) --argjson bytes "${bytes:-0}" --argjson all $((done - began)) --argjson stream $((done - first)) \
            '{what: "catch-up", entries: $n, log_mb: ($bytes / 1e6), from_start_ms: $all, since_first_entry_ms: $stream,
              mb_per_second: ($bytes / 1e3 / $all)}'
    else
        missed "catch-up: dr did not catch up within two minutes"
    fi
    system_stop
}

rejoin() { # RECORDS
    local after began following equal divergent
    SYSTEM=triveni-local PIDS=() EXTRA=()
    # A lease that lasts until the records are written: others wait for its end before they stand.
    REPLICATION='heartbeat_ms: 50, election_ms: 11500, lease_ms: 10000' three_sites rejoin local || { missed "rejoin: the sites did not start"; return; }
    fill "$1" && wait_sites equal || { missed "rejoin, $1 records: $(tail -n 1 "$WORK/cell.err")"; system_stop; return; }
    trv isolate dc --links sites --for 5m --yes >>"$WORK/rejoin.log" 2>&1 || { missed "rejoin: $(tail -n 1 "$WORK/rejoin.log")"; system_stop; return; }
    fill "$DIVERGENT" || echo "  rejoin: the lease ended first: $(tail -n 1 "$WORK/cell.err")" >&2
    for _ in $(seq 1 400); do
        [ "$(site_field dr .role)" != primary ] || break
        sleep 0.1
    done
    after=$(site_field dr .last)
    began=$(now_ms)
    trv isolate dc --end --yes --endpoints "$(sed -n "s/.*name: dc,.*client: '\([^']*\)'.*/\1/p" "$CLUSTER/dc.yaml")" >>"$WORK/rejoin.log" 2>&1 || true
    if until_field 120 dc .commit "$after"; then
        following=$(now_ms)
        wait_sites equal || missed "rejoin, $1 records: not equal within half a minute"
        equal=$(now_ms)
        divergent=$(cat "$CLUSTER"/dc/data/divergence/*.jsonl 2>/dev/null | grep -c '"key"' || true)
        note --argjson records "$1" --argjson divergent "${divergent:-0}" --argjson following $((following - began)) --argjson equal $((equal - began)) \
            '{what: "rejoin", records: $records, divergent: $divergent, following_ms: $following, equal_ms: $equal}'
    else
        missed "rejoin, $1 records: dc did not follow within two minutes"
    fi
    system_stop
}

links() { # SYSTEM noise|text
    local before after line
    SYSTEM=$1 REP=1 PIDS=() EXTRA=()
    "${SYSTEM//-/_}_start" || { missed "links, $1: it did not start"; system_stop; return; }
    [ "$2" = noise ] || EXTRA+=(--text)
    run_cell put 64 1 1024 >/dev/null 2>&1 || true
    sleep 0.5
    before=$(link_bytes)
    if line=$(run_cell put 64 1 1024 2>"$WORK/cell.err"); then
        sleep 1
        after=$(link_bytes)
        note --arg system "$1" --arg values "$2" --argjson n "$(jq .answered <<<"$line")" --argjson bytes $((after - before)) --argjson sites "${#PIDS[@]}" \
            '{what: "links", system: $system, values: $values, records: $n, copies: ($sites - 1), bytes_per_record: ($bytes / $n),
              per_copy: ($bytes / $n / ($sites - 1))}'
    else
        missed "links, $1: $(tail -n 1 "$WORK/cell.err")"
    fi
    system_stop
}

lag() {
    local half line
    SYSTEM=triveni-local REP=1 PIDS=() EXTRA=()
    three_sites lag local || { missed "lag: the sites did not start"; return; }
    fill "$RECORDS" && line=$(run_cell put 64 1 1024 2>"$WORK/cell.err") || { missed "lag: $(tail -n 1 "$WORK/cell.err")"; system_stop; return; }
    half=$(jq '.per_second / 2 | floor' <<<"$line")
    wait_sites equal || true
    if line=$(timeout 120 "$BUILD/bench/load_paced" --system "$SYSTEM" --op lag --target "$TARGET" --clients 16 --rate "$half" --value 1024 \
        --seconds $((SECONDS_PER_CELL * 5)) --records "$RECORDS" 2>"$WORK/cell.err"); then
        note --argjson l "$line" --argjson rate "$half" '$l + {what: "lag", rate: $rate}'
    else
        missed "lag: $(tail -n 1 "$WORK/cell.err")"
    fi
    system_stop
}

began=$SECONDS
load_before=$(cut -d ' ' -f 1-3 /proc/loadavg)
for s in $SYSTEMS; do printf '%-17s %s\n' "$s" "$("${s//-/_}_about" 2>&1)"; done | tee "$WORK/about" >&2
if [ -n "$(cells_of any)" ]; then
    for REP in $(seq 1 "$REPS"); do
        for SYSTEM in $SYSTEMS; do one_system; done
    done
fi
REP=1
if wanted links; then
    ! has triveni-majority || { links triveni-majority noise; links triveni-majority text; links triveni-uncompressed text; }
    for s in redis-wait postgres-sync etcd; do ! has $s || links $s text; done
fi
! wanted switchover || switchovers
! wanted failover-default || kills failover-default 'heartbeat_ms: 50'
! wanted failover-tuned || kills failover-tuned "$TUNED"
{ ! wanted failover-etcd || ! has etcd; } || etcd_kills
! wanted catch-up || catch_up
if wanted rejoin; then
    for n in $REJOIN_RECORDS; do rejoin "$n"; done
fi
! wanted lag || lag
printf '%s\n' "${MISSING[@]}" >"$WORK/missing"

jq -n -L bench --arg kernel "$(uname -srm)" --arg cores "$(nproc)" \
    --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --arg memory "$(sed -n 's/^MemTotal: *//p' /proc/meminfo)" \
    --arg disk "$(df --output=source,fstype "$WORK" | tail -n 1)" --arg load_before "$load_before" --arg load_after "$(cut -d ' ' -f 1-3 /proc/loadavg)" \
    --arg date "$(date -u +%FT%TZ)" --arg commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" --arg took "$((SECONDS - began))" \
    --arg reps "$REPS" --arg warm "$WARM_MIB" --arg seconds "$SECONDS_PER_CELL" --arg records "$RECORDS" --arg times "$TIMES" --arg rate "$RATE" --arg tuned "$TUNED" \
    --rawfile about "$WORK/about" --rawfile missing "$WORK/missing" --slurpfile lines "$LINES_FILE" -f bench/replication.jq >"$OUT/replication.json"
jq -r '.table[] | @tsv' "$OUT/replication.json" | awk -F '\t' '
    { printf "%7s  %-17s %10s %10s %10s %9s %9s %9s %7s\n", $1, $2, $3, $4, $5, $6, $7, $8, $9 }'
jq -r '.events[] | @tsv' "$OUT/replication.json" | awk -F '\t' '{ printf "%-50s %5s %9s %9s %9s %9s\n", $1, $2, $3, $4, $5, $6 }'
jq -r '.notes[]' "$OUT/replication.json"
jq -r '.goals[] | "goal: \(.goal): \(.measured) (\(.verdict))"' "$OUT/replication.json"
jq -r '.missing[] | "missing: \(.)"' "$OUT/replication.json"
echo "bench: $((SECONDS - began)) s; load average $load_before before, $(cut -d ' ' -f 1-3 /proc/loadavg) after; figures: $OUT/replication.json"
