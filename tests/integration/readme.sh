#!/usr/bin/env bash
# The README's ten minutes, typed as they stand there, in one go: what a newcomer copies must work.
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
section() { awk -v wanted="## $1" '$0 == wanted { on = 1 } on && /^## / && $0 != wanted { exit } on' "$README"; }
fenced() { awk -v fence="\`\`\`$1" '/^```/ { if (inside) exit; if ($0 == fence) { inside = 1; next } other = !other } inside && !other'; }
block() {
    section "$1" | sed '/^```c$/,/^```$/d' | fenced "" |
        sed "s#/tmp/three#$DIR/three#g; s#/tmp/past#$DIR/past#g; s#quickstart $DIR/three#& --base-port $PORT#; s#\$PWD/build/gcc-release#$BUILD#"
}
{
    echo 'set -e'
    block "Ten minutes for a platform engineer"
    echo "cat >$DIR/three/app.c <<'END'"
    section "Ten minutes for an application developer" | fenced c
    echo END
    block "Ten minutes for an application developer"
    block "Ten minutes for an archivist"
} >"$DIR/commands"
[ "$(grep -c triveni "$DIR/commands")" -gt 20 ] || { echo "the README's blocks were not found"; exit 1; }
(cd "$(dirname "$README")" && bash "$DIR/commands" >"$DIR/out" 2>&1)
grep -q '"owner":"Asha"' "$DIR/out" || { echo "the record was not read back"; exit 1; }
grep -q '^durable, as transaction [0-9]' "$DIR/out" || { echo "the application did not write"; exit 1; }
grep -q '^cluster .*, primary dc, ' "$DIR/out" || { echo "dc did not take over"; exit 1; }
[ "$(grep -c ' equal$' "$DIR/out")" -ge 3 ] || { echo "dr did not catch up"; exit 1; }
tail -n 2 "$DIR/out" | grep '"Asha"' >/dev/null || { echo "the restored past is not the past"; exit 1; }
echo "readme: $(grep -c triveni "$DIR/commands") commands of the README did what it says"
