#!/usr/bin/env bash
# The reserve beside the state: with its file system lower than store.reserve_mib writes are refused with a reason while the log, on
# another one, has room; reads go on, status shows it, and writes go on by themselves when there is space again.
#
# It needs root, or a kernel that lets a user be root in a namespace of his own, to mount a small file system.
#
# Usage: BUILD=build/gcc-release tests/integration/reserve.sh
# limit: 90 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
if [ "$(id -u)" != 0 ] && unshare -Urm true 2>/dev/null; then
    exec unshare -Urm -- "$0"
fi
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-reserve.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
MOUNTED=
finish() {
    local code=$?
    cluster_stop
    [ -z "$MOUNTED" ] || umount "$MOUNTED" || true
    [ "$code" -eq 0 ] || tail -n 12 "$DIR"/cluster/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
failed() { echo "reserve: $*"; exit 1; }

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

cluster_create "$DIR/cluster"
sed -i 's/reserve_mib: 64/reserve_mib: 32/' "$DIR"/cluster/*.yaml
mv "$DIR/cluster/dc/data/state" "$DIR/made"
mkdir "$DIR/cluster/dc/data/state"
mount -t tmpfs -o size=64m tmpfs "$DIR/cluster/dc/data/state" || {
    echo "NOT RUN: no small file system can be mounted here: run it as root"
    exit 77
}
MOUNTED=$DIR/cluster/dc/data/state
cp -a "$DIR/made/." "$MOUNTED"
sites_start
primary=$(wait_primary)
[ "$primary" = dc ] || op switchover --to dc >/dev/null
wait_primary dc >/dev/null
tv put land before 1 >/dev/null
wait_equal >/dev/null

is_refused() { ! tv put land "$1" 1 --timeout 5 >/dev/null 2>"$DIR/err"; }
is_taken() { tv put land "$1" 1 --timeout 5 >/dev/null 2>"$DIR/err"; }
fallocate -l 40M "$MOUNTED/others"
wait_for 20 is_refused filled || failed "writes go on with less than the reserve beside the state"
grep -q 'the state takes no more: .*/dc/data/state: [0-9]* MiB free, 32 MiB are held in reserve' "$DIR/err" || failed "it says: $(cat "$DIR/err")"
echo "ok: $(sed "s#$DIR#DIR#g" "$DIR/err" | head -n 1)"
[ "$(tv get land before)" = 1 ] || failed "reads do not go on"
wait_equal >/dev/null # what is logged is applied
tv status >"$DIR/status" 2>&1 || true
grep -q '^! site dc: the state takes no more: .*reserve' "$DIR/status" || { cat "$DIR/status"; failed "status does not show it"; }
rm "$MOUNTED/others"
wait_for 20 is_taken after || failed "writes do not go on when there is space again: $(cat "$DIR/err")"
wait_equal >/dev/null
echo "ok: with space again writes go on"
