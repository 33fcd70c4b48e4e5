#!/usr/bin/env bash
# Secondary indexes of three real sites: built on existing records while others are written, the same at every site and as the
# records themselves say; a unique one is enforced once nothing stands in the way, and against writers that race; a failover while
# one is built; a restore from the archive, after which the indexes are there again.
#
# Usage: BUILD=build/gcc-release tests/integration/index.sh
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-index.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

# expect CODE ARGS...: run as the operator, output to out and err, and compare the exit code.
expect() {
    local want=$1 code=0
    shift
    op "$@" >"$DIR/out" 2>"$DIR/err" || code=$?
    [ "$code" = "$want" ] || { echo "triveni $*: exit $code where $want was expected: $(cat "$DIR/err")"; exit 1; }
}
says() { grep -qF -- "$1" "$DIR/err" || { echo "stderr lacks '$1': $(cat "$DIR/err")"; exit 1; }; }

# records FROM TO: JSON Lines of records; owners repeat, every seventh has none.
records() {
    awk -v from="$1" -v to="$2" 'BEGIN {
        for (i = from; i < to; i++)
            if (i % 7 == 0) printf "{\"id\":\"T-%06d\",\"number\":%d}\n", i, i
            else printf "{\"id\":\"T-%06d\",\"number\":%d,\"owner\":{\"name\":\"owner %d\"},\"area\":%d}\n", i, i, i * 7919 % 997, i % 50 - 25
    }'
}

records_now() { tv dump titles 2>/dev/null; }

# Keys in the order of the index by-owner (name, then area, then key), from the records alone.
truth() {
    records_now | jq -r 'select(.value.owner) | [.value.owner.name, .value.area + 2000, .key] | @tsv' | LC_ALL=C sort -t$'\t' |
        cut -f3
}

# Wait until the index is ready at a site.
ready_at() {
    local i
    for i in $(seq 1 300); do
        [ "$(op index list titles -o json --site "$1" 2>/dev/null |
            jq -r --arg name "$2" '.indexes[]? | select(.name == $name and .status != "dropping") | .status')" = ready ] && return 0
        sleep 0.1
    done
    echo "index $2 is not ready at $1: $(op index list titles --site "$1" 2>&1)"
    exit 1
}

# Every site that runs gives what the truth is, in both directions.
compare() {
    local site
    wait_equal 300 >/dev/null
    truth >"$DIR/truth"
    [ -s "$DIR/truth" ] || { echo "there is nothing to compare"; exit 1; }
    tac "$DIR/truth" >"$DIR/backward"
    for site in dc dr gsr; do
        site_alive "$site" || continue
        ready_at "$site" by-owner
        tv scan titles --index by-owner -k --standby --endpoints "127.0.0.1:$(client_port "$site")" >"$DIR/keys" 2>"$DIR/err"
        cmp "$DIR/truth" "$DIR/keys" || { echo "at $site the index differs from the records"; exit 1; }
        tv scan titles --index by-owner -k --reverse --standby --endpoints "127.0.0.1:$(client_port "$site")" >"$DIR/keys" 2>"$DIR/err"
        cmp "$DIR/backward" "$DIR/keys" || { echo "at $site the index differs backward"; exit 1; }
    done
}

cluster_create "$DIR/cluster"
sed -i 's/memory_mib: 64/memory_mib: 64, checkpoint_seconds: 1/' "$DIR"/cluster/{dc,dr,gsr}.yaml
sites_start
first=$(wait_primary)
case $first in dc) second=dr ;; *) second=dc ;; esac

# ---- built on what is there, while more comes ----
records 0 30000 >"$DIR/one.jsonl"
records 20000 60000 | sed 's/owner 1/owner x1/' >"$DIR/two.jsonl" # half of them are there already
tv load titles "$DIR/one.jsonl" --key id >/dev/null 2>&1
tv load titles "$DIR/two.jsonl" --key id >/dev/null 2>"$DIR/load.log" &
loading=$!
expect 0 index create titles by-owner /owner/name /area --wait
wait "$loading" || { cat "$DIR/load.log"; exit 1; }
compare
total=$(wc -l <"$DIR/truth")

# A page at a time, by token, gives the same as at once.
pages() {
    local after=() page
    : >"$DIR/paged"
    for page in $(seq 1 1000); do
        tv scan titles --index by-owner --equal '"owner 5"' --limit 7 -o json "$@" "${after[@]}" 2>"$DIR/err" >"$DIR/page"
        [ -s "$DIR/page" ] || break
        jq -r .key "$DIR/page" >>"$DIR/paged"
        after=(--after "$(tail -n 1 "$DIR/page" | jq -r .token)")
        [ "$(wc -l <"$DIR/page")" -lt 7 ] || says "${after[*]}" # a full page says how to go on
    done
    tv scan titles --index by-owner --equal '"owner 5"' -k "$@" >"$DIR/keys"
    cmp "$DIR/keys" "$DIR/paged"
}
pages --reverse
pages
[ "$(wc -l <"$DIR/keys")" -ge 50 ] || { echo "too few records to page through: $(wc -l <"$DIR/keys")"; exit 1; }
[ "$(tv scan titles --index by-owner --prefix 'owner x1' -k | wc -l)" = "$(grep -cF 'owner x1' <(records_now))" ]
tv scan titles --index by-owner --equal '"owner 5"' --from '["owner 5", 0]' -k >"$DIR/some"
cmp <(records_now | jq -r 'select(.value.owner.name == "owner 5" and .value.area >= 0) | [.value.area + 2000, .key] | @tsv' |
    LC_ALL=C sort | cut -f2) "$DIR/some"
echo "index: $total rows built while 40,000 records were written; the same at three sites, both ways, at once and by pages"

# ---- unique ----
expect 0 put titles T-000003 '{"number":4}'
expect 5 index create titles by-number /number --unique --wait
says "'T-000003' and 'T-000004'"
expect 0 put titles T-000005 '{"number":4}' # not enforced, so not refused
expect 0 put titles T-000003 '{"number":3}'
expect 0 put titles T-000005 '{"number":5}'
expect 0 index create titles by-number /number --unique --wait # by itself, once nothing stands in the way
expect 5 put titles T-000003 '{"number":4}'
says "record 'T-000004' has the value already that 'T-000003' would get"
printf 'put titles N-1 {"number":"n"}\nput titles N-2 {"number":"n"}\n' >"$DIR/twice.txn"
expect 5 txn "$DIR/twice.txn"
says "index 'by-number'"
wins=0
race() { for i in $(seq 1 16); do tv put titles "R-$1-$i" "{\"number\":\"race $i\"}" >/dev/null 2>&1 && echo "$i" || true; done >"$DIR/race.$1"; }
race a &
one=$!
race b &
two=$!
wait "$one" "$two"
wins=$(cat "$DIR"/race.[ab] | sort -n | uniq -c | awk '$1 == 1' | wc -l)
[ "$wins" = 16 ] || { echo "of 16 values that two writers raced for $wins have one winner"; exit 1; }
echo "index: a unique one names what stands in the way, is enforced by itself when it is gone, and each of 16 races has one winner"

# ---- a failover while one is built ----
expect 0 index create titles by-area /area
site_kill "$first" KILL
wait_primary "$second" >/dev/null
ready_at "$second" by-area
expect 5 put titles T-000003 '{"number":4}'
expect 0 put titles T-000003 '{"number":"after the failover","owner":{"name":"owner 1"},"area":1}'
[ "$(tv scan titles --index by-area -k | wc -l)" = "$(records_now | jq 'select(.value.area) | .key' | wc -l)" ]
site_start "$first"
compare
ready_at "$first" by-area
echo "index: built on after a failover, and still unique; the killed site's are right when it is back"

# ---- stopped sites are whole; from the archive ----
expect 0 index drop titles by-area
for i in $(seq 1 100); do
    [ "$(op index list titles -o json | jq '.indexes | length')" = 2 ] && break
    sleep 0.1
done
expect 4 index list titles --endpoints 127.0.0.1:1 --timeout 1
expect 3 scan titles --index by-area
wait_equal >/dev/null
expect 0 point before-the-fire
for i in $(seq 1 300); do
    "$TRIVENI" archive points --repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek" -o json 2>/dev/null |
        grep -q before-the-fire && break
    sleep 0.1
done
truth >"$DIR/truth.before"
cluster_stop
for site in dc dr gsr; do
    "$TRIVENI" check "$DIR/cluster/$site/data" >"$DIR/out" 2>"$DIR/err" ||
        { echo "check of $site: $(cat "$DIR/out" "$DIR/err")"; exit 1; }
    rm -rf "$DIR/cluster/$site/data"
    "$TRIVENI" restore --repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek" --to-point before-the-fire \
        --into "$DIR/cluster/$site/data" --yes >"$DIR/out" 2>"$DIR/err"
    "$TRIVENI" init --config "$DIR/cluster/$site.yaml" --all-lost >"$DIR/out" 2>"$DIR/err"
done
sites_start
wait_primary >/dev/null
compare
cmp "$DIR/truth.before" "$DIR/truth"
ready_at "$(current_primary)" by-number
expect 5 put titles T-000005 '{"number":4}'
echo "index: restored from the archive, the indexes are built again, and unique is what was"
