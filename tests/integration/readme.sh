#!/usr/bin/env bash
# The README's first ten minutes, typed as they stand there: what a newcomer copies must work.
#
# Usage: BUILD=build/gcc-release tests/integration/readme.sh
# limit: 90 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
BUILD=$(realpath "$BUILD")
README=$(realpath "$(dirname "$0")/../../README.md")
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-readme.XXXXXX")
finish() {
    local code=$? site
    for site in dc dr gsr; do
        kill "$(cat "$DIR/three/$site/data/LOCK" 2>/dev/null)" 2>/dev/null || true
    done
    sleep 0.5
    [ "$code" -eq 0 ] || tail -n 20 "$DIR/out" "$DIR"/three/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

# The blocks of commands below a heading, with places and ports of our own.
PORT=$((30000 + RANDOM % 250 * 10)) # beside those of tests/lib/cluster.sh, below what the kernel gives away
block() {
    awk -v wanted="## $1" '$0 == wanted { on = 1 } on && /^## / && $0 != wanted { exit } on' "$README" |
        awk '/^```$/ { if (inside) exit; inside = 1; next } /^```/ { skip = 1 } inside' |
        sed "s#/tmp/three#$DIR/three#g; s#/tmp/past#$DIR/past#g; s#quickstart $DIR/three#& --base-port $PORT#; s#\$PWD/build/gcc-release#$BUILD#"
}
wait_equal='for i in $(seq 1 100); do triveni status 2>/dev/null | grep -c " equal" | grep -qx 3 && break; sleep 0.1; done'
{
    echo 'set -e'
    # A person reads between the lines: give elections and catching up the time that reading takes.
    block "Ten minutes for a platform engineer" |
        sed "s#^triveni status .*#sleep 1.5; &#; s#^triveni put titles.*#for i in 1 2 3 4 5; do triveni status >/dev/null 2>\&1 \&\& break; sleep 1; done; &#"
    echo "$wait_equal"
    block "Ten minutes for an archivist"
} >"$DIR/commands"
[ "$(grep -c triveni "$DIR/commands")" -gt 15 ] || { echo "the README's blocks were not found"; exit 1; }
(cd "$(dirname "$README")" && bash "$DIR/commands" >"$DIR/out" 2>&1)
grep -q '"owner":"Asha"' "$DIR/out" || { echo "the record was not read back"; exit 1; }
tail -n 1 "$DIR/out" | grep -q '"Asha"' || { echo "the restored past is not the past"; exit 1; }
echo "readme: $(grep -c triveni "$DIR/commands") commands of the README did what it says"
