#!/bin/bash
# Runs tests and says what came of them: a line per failure with its output, then a table, then one line to read by eye or
# by machine: "check: 212 passed, 0 failed".
#
#   run.sh check            what a change must pass, in less than 10 minutes; builds what it needs, each mode below build/
#   run.sh long             what takes longer, a bounded portion of each: clang, drills, power cuts, the model. DRILLS= an
#                           expression: only the drills whose name matches
#   run.sh PART...          some parts: see the functions named part_...
#   run.sh unit BUILD T     the unit tests that are built in BUILD, those with T in their name
#
# A test program passes when it exits with 0 in time. A cmocka program counts as many tests as it has cases, any other one
# as one. A script may ask for more time than others with a line "# limit: 300 s", and has a line "# suite: drills" when it is
# run with those. One that exits with 77 could not run here, or not all of it: it says "NOT RUN: why", which is shown, and is
# no pass.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# Unit tests of what has threads: they run again under ThreadSanitizer.
threaded='/client/|/replication/exporter|/store/io/log|/store/io/state_test|/replication/packs|/repository/io/belt|/repository/io/beside'
unit_limit=300
script_limit=180

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
logs=build/logs
mkdir -p "$logs"
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# The sanitizers of this gcc and clang die now and then when the kernel randomises many address bits: without it they are
# steady, where we are allowed to ask.
fixed_addresses=$(setarch -R true 2>/dev/null && echo setarch -R)

# count FILE TAG: cases of a cmocka program.
count() {
    sed -n "s/^\[  $2  \] \([0-9]*\) test.*/\1/p" "$1" | awk '{ n += $1 } END { print n + 0 }'
}

# show WHAT LOG: all at once, since others may be talking too.
show() {
    printf '%s; the end of %s:\n%s\n' "$1" "$2" "$(tail -n 40 "$2" | sed 's/^/    /')"
}

# try LIMIT NAME COMMAND...: one test. Its outcome is a line "passed failed not-run seconds name" of $results.
try() {
    local limit=$1 name=$2 log why good bad=0 none=0 rc start=$SECONDS
    shift 2
    log=$logs/${name//\//-}.log
    timeout -k 5 "$limit" "$@" >"$log" 2>&1 </dev/null
    rc=$?
    good=$(count "$log" PASSED)
    case $rc in
    0)
        good=$((good > 0 ? good : 1))
        ;;
    77)
        none=1
        why=$(sed -n "s/^NOT RUN: //p" "$log" | tail -n 1)
        echo "NOT RUN $name: ${why:-$(head -n 1 "$log")}"
        ;;
    *)
        bad=$(count "$log" FAILED)
        bad=$((bad > 0 ? bad : 1))
        show "FAILED $name: $([ $rc = 124 ] && echo "not done after $limit s" || echo "exit $rc")" "$log"
        ;;
    esac
    echo "$good $bad $none $((SECONDS - start)) $name" >>"$results"
}

# build NAME MAKE-ARGUMENT...: quiet, unless it fails; a failed build is a failed test.
build() {
    local log=$logs/build-$1.log
    shift
    MAKEFLAGS='' make --no-print-directory -j"$(nproc)" "$@" >"$log" 2>&1 && return 0
    show "FAILED make $*" "$log"
    echo "0 1 0 0 make $*" >>"$results"
    return 1
}

# turn [MORE]: wait until fewer tests run than there are processors, and MORE. Most unit tests and scripts wait, for a disk or
# for a moment to come, about as long as they compute.
turn() {
    while [ "$(jobs -rp | wc -l)" -ge $(($(nproc) + ${1:-0})) ]; do wait -n; done
}

# units BUILD WANTED: the unit tests whose name matches the expression.
units() {
    local test name
    while read -r test; do
        name=${test#"$1"/tests/unit/}
        [ -z "$verbose" ] || echo "  TEST  $name"
        turn 1
        try "$unit_limit" "${1#build/}/$name" $fixed_addresses "$test" &
    done < <(find "$1/tests/unit" -name '*_test' -type f 2>/dev/null | sort | grep -E "$2")
    wait
}

limit_of() {
    local own
    own=$(sed -n 's/^# limit: \([0-9]*\) s$/\1/p' "$1" | head -n 1)
    echo "${own:-$script_limit}"
}

# scripts FOLDER END [SUITE [WANTED]]: those whose name matches; they find the programs in BUILD. What may take long begins first, so that it is not waited for
# alone at the end.
scripts() {
    local script
    for script in $(for script in "tests/$1"/*"$2"; do
        [ "$(sed -n 's/^# suite: //p' "$script" | head -n 1)" = "${3:-}" ] && echo "$(limit_of "$script") $script"
    done | sort -k1,1nr -k2 | cut -d' ' -f2 | grep -E "${4:-.}"); do
        [ -z "$verbose" ] || echo "  TEST  ${script#tests/}"
        turn 1
        BUILD=$PWD/build/gcc-release try "$(limit_of "$script")" "${script#tests/}" "$script" &
    done
    wait
}

part_asan() { # unit tests, gcc, ASan + UBSan
    build asan MODE=asan unit-programs && units build/gcc-asan .
}
part_clang() { # unit tests, clang, release
    build clang CC=clang unit-programs && units build/clang-release .
}
part_tsan() { # unit tests with threads, gcc, TSan
    build tsan MODE=tsan T="$threaded" unit-programs && units build/gcc-tsan "$threaded"
}
part_build() { # the build itself: layers, install, documents
    build release all && scripts build _test.sh
}
part_sim() { # simulated clusters, gcc, release and ASan
    build sim-asan MODE=asan build/gcc-asan/tests/sim/main && try 120 sim-asan build/gcc-asan/tests/sim/main --seed 1 --seeds 100 &
    if build sim build/gcc-release/tests/sim/main; then
        try 120 sim-mutants build/gcc-release/tests/sim/main --mutants &
        turn
        try 120 sim build/gcc-release/tests/sim/main --seed 1000 --seeds 5000 &
    fi
    wait
}
part_fuzz() { # every decoder of foreign bytes, clang, libFuzzer
    local program name corpus seconds=${FUZZ_SECONDS:-10}
    build fuzz CC=clang MODE=fuzz fuzz-programs || return 1
    for program in build/clang-fuzz/tests/fuzz/*_fuzz; do
        [ -x "$program" ] || continue
        name=$(basename "$program" _fuzz)
        corpus=build/fuzz/$name
        mkdir -p "$corpus"
        turn
        try $((seconds + 60)) "fuzz/$name" $fixed_addresses "$program" -max_total_time="$seconds" -timeout=10 \
            -rss_limit_mb=2048 -artifact_prefix="$corpus-" "$corpus" $(ls -d "tests/fuzz/corpus/$name" 2>/dev/null) &
    done
    wait
}
part_integration() { # real processes, gcc, release
    build release integration-programs && scripts integration .sh
}
part_drills() { # real processes: sites lost, cut off, replaced, brought back; the model, small bounds
    try 300 model tests/model/model.sh quick &
    build release integration-programs && scripts integration .sh drills "${DRILLS:-.}"
    wait
}
part_crash() { # power cuts under a real site and under the store; planted bugs; failing disks
    build crash crash-programs || return 1
    local cuts=build/gcc-release/tests/crash/cuts
    local -x BUILD=$PWD/build/gcc-release
    try 180 crash/site tests/crash/site.sh 60 &
    turn
    try 240 crash/faults build/gcc-release/tests/crash/faults --quick &
    turn
    try 120 crash/chains "$cuts" chains --cuts 400 --seed "$RANDOM" &
    turn
    try 120 crash/kills "$cuts" kills &
    turn
    try 120 crash/all "$cuts" all --length 2 &
    turn
    try 300 crash/planted "$cuts" planted --cuts 6000 &
    turn
    try 120 crash/stops tests/crash/stops.sh &
    wait
}

# total COLUMN: of all results so far.
total() {
    awk -v column="$1" '{ n += $column } END { print n + 0 }' "$results"
}

# run PART: with its time, and a row of the table.
run() {
    local label start=$SECONDS passed failed
    passed=$(total 1) failed=$(total 2)
    label=$(sed -n "s/^part_$1() { # //p" tests/run.sh)
    echo "== $label"
    "part_$1"
    table+=$(printf '%-52s %7d %7d %6d s' "$label" $(($(total 1) - passed)) $(($(total 2) - failed)) $((SECONDS - start)))$'\n'
}

verbose='' table=''
command=$1
case $command in
unit)
    verbose=1
    units "$2" "${3:-.}"
    ;;
check)
    FUZZ_SECONDS=${FUZZ_SECONDS:-2}
    for p in asan tsan sim build; do run $p; done
    # The scripts wait most of their time: what is fuzzed is compiled meanwhile.
    MAKEFLAGS='' nice make -j"$(nproc)" CC=clang MODE=fuzz fuzz-programs >/dev/null 2>&1 &
    for p in integration fuzz; do run $p; done
    ;;
long)
    for p in clang drills crash; do run $p; done
    ;;
*)
    for p in "$@"; do run "$p"; done
    ;;
esac
if [ -n "$table" ]; then
    printf '\n%-52s %7s %7s %8s\n%s\n' part passed failed time "$table"
    echo "slowest: $(sort -k4,4nr "$results" | head -n 5 | awk '{ printf "%s%s %d s", (NR > 1 ? ", " : ""), $5, $4 }')"
fi
[ "$(total 3)" = 0 ] || echo "$command: $(total 3) could not run here, see above"
echo "$command: $(total 1) passed, $(total 2) failed"
[ "$(total 2)" = 0 ] && [ "$(total 1)" -gt 0 ]
