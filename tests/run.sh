#!/bin/bash
# Runs tests and says what came of them: a line per failure with its output, then a table, then one line to read by eye or
# by machine: "check: 212 passed, 0 failed".
#
#   run.sh check            everything; builds what it needs, each mode in its own folder below build/
#   run.sh PART...          some parts: see the functions named part_...
#   run.sh unit BUILD T     the unit tests that are built in BUILD, those with T in their name
#
# A test program passes when it exits with 0 in time. A cmocka program counts as many tests as it has cases, any other one
# as one. A script may ask for more time than others with a line "# limit: 300 s", and one that exits with 77 could not run
# here: that is shown, and is no pass.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# Unit tests of what has threads: they run again under ThreadSanitizer.
threaded='log_test|state_test|client_test'
unit_limit=120
script_limit=180

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
logs=build/logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0 table=

# The sanitizers of this gcc and clang die now and then when the kernel randomises many address bits: without it they are
# steady, where we are allowed to ask.
fixed_addresses=$(setarch -R true 2>/dev/null && echo setarch -R)

# try LIMIT NAME COMMAND...: one test.
try() {
    local limit=$1 name=$2 log good bad rc
    shift 2
    log=$logs/${name//\//-}.log
    timeout -k 5 "$limit" "$@" >"$log" 2>&1 </dev/null
    rc=$?
    good=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    if [ $rc = 77 ]; then
        echo "NOT RUN $name: $(head -n 1 "$log")"
        skipped=$((skipped + 1))
        return 0
    fi
    if [ $rc = 0 ]; then
        passed=$((passed + (good > 0 ? good : 1)))
        return 0
    fi
    bad=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    passed=$((passed + good)) failed=$((failed + (bad > 0 ? bad : 1)))
    echo "FAILED $name: $([ $rc = 124 ] && echo "not done after $limit s" || echo "exit $rc"); the end of $log:"
    tail -n 40 "$log" | sed 's/^/    /'
    return 1
}

# build NAME MAKE-ARGUMENT...: quiet, unless it fails; a failed build is a failed test.
build() {
    local log=$logs/build-${1//[^a-z0-9]/-}.log
    shift
    MAKEFLAGS='' make --no-print-directory -j"$(nproc)" "$@" >"$log" 2>&1 && return 0
    failed=$((failed + 1))
    echo "FAILED make $*; the end of $log:"
    tail -n 40 "$log" | sed 's/^/    /'
    return 1
}

# units BUILD WANTED: the unit tests whose name matches the expression.
units() {
    local test name
    while read -r test; do
        name=${test#"$1"/tests/unit/}
        [ -z "$verbose" ] || echo "  TEST  $name"
        try "$unit_limit" "${1#build/}/$name" $fixed_addresses "$test"
    done < <(find "$1/tests/unit" -name '*_test' -type f 2>/dev/null | sort | grep -E "$2")
}

limit_of() {
    local own
    own=$(sed -n 's/^# limit: \([0-9]*\) s$/\1/p' "$1" | head -n 1)
    echo "${own:-$script_limit}"
}

# scripts FOLDER: they find the programs in BUILD.
scripts() {
    local script
    for script in "tests/$1"/*"$2"; do
        [ -f "$script" ] || continue
        [ -z "$verbose" ] || echo "  TEST  ${script#tests/}"
        BUILD=$PWD/build/gcc-release try "$(limit_of "$script")" "${script#tests/}" "$script"
    done
}

part_asan() { # unit tests, gcc, ASan + UBSan
    build asan MODE=asan unit-programs && units build/gcc-asan .
}
part_clang() { # unit tests, clang, release
    build clang CC=clang unit-programs && units build/clang-release .
}
part_tsan() { # unit tests with threads, gcc, TSan
    build tsan MODE=tsan unit-programs && units build/gcc-tsan "$threaded"
}
part_build() { # the build itself: layers, install, documents
    build release all && scripts build _test.sh
}
part_fuzz() { # every decoder of foreign bytes, clang, libFuzzer
    local program name corpus seconds=${FUZZ_SECONDS:-10}
    build fuzz CC=clang MODE=fuzz fuzz-programs || return 1
    for program in build/clang-fuzz/tests/fuzz/*_fuzz; do
        [ -x "$program" ] || continue
        name=$(basename "$program" _fuzz)
        corpus=build/fuzz/$name
        mkdir -p "$corpus"
        try $((seconds + 60)) "fuzz/$name" $fixed_addresses "$program" -max_total_time="$seconds" -timeout=10 \
            -rss_limit_mb=2048 -artifact_prefix="$corpus-" "$corpus" $(ls -d "tests/fuzz/corpus/$name" 2>/dev/null)
    done
}
part_integration() { # real processes, gcc, release
    build release integration-programs && scripts integration .sh
}

# run PART: with its time, and a row of the table.
run() {
    local label before_passed=$passed before_failed=$failed start=$SECONDS
    label=$(sed -n "s/^part_$1() { # //p" tests/run.sh)
    echo "== $label"
    "part_$1"
    table+=$(printf '%-52s %7d %7d %6d s' "$label" $((passed - before_passed)) $((failed - before_failed)) \
        $((SECONDS - start)))$'\n'
}

verbose=
command=$1
case $command in
unit)
    verbose=1
    units "$2" "${3:-.}"
    ;;
check)
    FUZZ_SECONDS=${FUZZ_SECONDS:-2}
    for p in asan clang tsan build fuzz integration; do run $p; done
    ;;
*)
    for p in "$@"; do run "$p"; done
    ;;
esac
[ -z "$table" ] || printf '\n%-52s %7s %7s %8s\n%s\n' part passed failed time "$table"
[ $skipped = 0 ] || echo "$command: $skipped could not run here, see above"
echo "$command: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
