#!/usr/bin/env bash
# A fault in the mapped file of the state: the process dies of it, says which file and what to do next, and leaves a marker. The next
# start verifies the whole state before it serves: one that is whole it serves, and takes the marker away; one that is damaged it
# does not.
#
# Usage: BUILD=build/gcc-release tests/integration/mapped.sh
# limit: 90 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-mapped.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
failed() { echo "mapped: $*"; exit 1; }

# wait_for SECONDS COMMAND...
wait_for() {
    local i n=$(($1 * 20))
    shift
    for ((i = 0; i < n; i++)); do
        "$@" && return 0
        sleep 0.05
    done
    return 1
}
is_gone() { ! kill -0 "${SITE_PID[$1]}" 2>/dev/null; }
says() { grep -qF -- "$2" "$DIR/cluster/$1.log"; }

cluster_create "$DIR/cluster"
sed -i 's/^store: {/&checkpoint_seconds: 1, scrub_mib_per_second: 0, /' "$DIR"/cluster/*.yaml
sites_start
wait_primary >/dev/null
for i in $(seq 40); do tv put c "k$i" "$(printf '%0500d' "$i")" >/dev/null; done
wait_equal >/dev/null
other=$([ "$(wait_primary)" = dc ] && echo dr || echo dc)
state=$DIR/cluster/$other/data/state

# 1. A signal that somebody sent: there is nothing wrong with the state.
kill -BUS "${SITE_PID[$other]}"
wait_for 10 is_gone "$other" || failed "$other does not die of SIGBUS"
says "$other" 'triveni: SIGBUS' || failed "$other does not say what it died of"
[ -e "$state/VERIFY" ] || failed "no marker was left"
site_start "$other"
wait_for 20 says "$other" 'state: verified,' || failed "the next start does not verify"
wait_equal >/dev/null
[ ! -e "$state/VERIFY" ] || failed "the marker of a whole state stays"
grep -q 'state: verified, [1-9][0-9]* records, 0 of them damaged' "$DIR/cluster/$other.log" || failed "it found damage where there is none"
echo "ok: a whole state is served again: $(grep -o 'state: verified.*' "$DIR/cluster/$other.log")"

# 2. The file is shorter than what is mapped: the kernel answers with SIGBUS, as it does for a block that the disk cannot read.
truncate -s 8192 "$state/data.mdb"
# Who reads or writes there meets it; the site may do so by itself.
for i in 1 2 3 4; do is_gone "$other" || tv put c "more$i" x >/dev/null; done
wait_for 10 is_gone "$other" || failed "$other lives on with half a state"
grep -q "triveni: SIGBUS at byte [0-9]* of .*/$other/data/state/data.mdb: the disk could not read it.*triveni serve" "$DIR/cluster/$other.log" ||
    failed "it does not name file and next step"
[ -e "$state/VERIFY" ] || failed "no marker was left"
unset "SITE_PID[$other]"
code=0
timeout 30 "$TRIVENI" serve --config "$DIR/cluster/$other.yaml" >"$DIR/again" 2>&1 || code=$?
[ "$code" -ne 124 ] || failed "it serves half a state"
grep -q 'verifying the state in .* after a fault in its file: data.mdb at byte .*triveni check' "$DIR/again" || { cat "$DIR/again"; failed "no reason"; }
[ -e "$state/VERIFY" ] || failed "the marker of a damaged state is gone"
echo "ok: a damaged one is not: $(tail -n 1 "$DIR/again")"

# 3. What it says to do helps.
mv "$state" "$DIR/damaged"
site_start "$other"
wait_equal 300 >/dev/null
echo "ok: without it the site refills"
