#!/usr/bin/env bash
# A former primary comes back with a tail that the others do not have, and to write the divergence bundle takes long. Meanwhile the site goes
# on: it answers whoever asks how it is, says what it is at, and confirms its new primary, which serves reads by that alone when the third
# site is lost. Nothing is undone before the bundle is durable (R9): a kill in the midst of it leaves the log whole, and no bundle. Then it is
# exported, undone, and the site follows; what was written while it was pending is acknowledged from then on.
#
# Usage: BUILD=build/gcc-release tests/integration/undo.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
LIBRARY=$(realpath "$BUILD/libtriveni.so")
HERE=$(cd "$(dirname "$0")" && pwd)
PRELOAD=$(realpath "$BUILD/tests/lib/slow_disk.so")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-undo.XXXXXX")
. "$HERE/../lib/cluster.sh"
. "$HERE/../lib/expect.sh"

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
# A lease of 4 s: so long the primary goes on alone in mode local.
times() { for site in dc dr gsr; do sed -i '/^replication:/d' $site.yaml && echo "replication: {$1}" >>$site.yaml; done; }
times 'election_ms: 5000, lease_ms: 4000'
sites_start
old=$(wait_primary)
new=$([ "$old" = dc ] && echo dr || echo dc)
op mode local >/dev/null
for key in 1 2 3; do tv put land common-$key '"common"' --ack all >/dev/null; done
wait_equal 300 >/dev/null
kill -KILL "${SITE_PID[$new]}" "${SITE_PID[gsr]}"
seq -f '{"id":"R-%05g","v":1}' 1 2000 >"$DIR/many.jsonl"
tv load land "$DIR/many.jsonl" --key id --endpoints "127.0.0.1:$(client_port "$old")" --timeout 3s >/dev/null
for site in "$old" "$new" gsr; do site_kill $site KILL; done

times 'election_ms: 1000, lease_ms: 800'
site_start "$new"
site_start gsr
wait_primary "$new" >/dev/null
tv put land since '"since"' >/dev/null

# ---- while it is being written ----
pending() { [ "$(site_status "$old" | jq '[.trouble[] | select(contains("being written to a divergence bundle"))] | length')" = 1 ]; }
echo 600000 >"$DIR/slow"
LD_PRELOAD=$PRELOAD SLOW_DISK_FILE=$DIR/slow SLOW_DISK_OF=.jsonl.part site_start "$old"
eventually "the former primary tells what it is at" pending >/dev/null
before=$(site_status "$old" | jq -c '[.last, .commit]')
cut=$(site_status "$old" | jq .last)
worst=0
for i in $(seq 1 30); do
    from=$(date +%s%3N)
    status=$(site_status "$old")
    took=$(($(date +%s%3N) - from))
    [ -n "$status" ] || die "$old does not answer while it exports"
    [ "$took" -le "$worst" ] || worst=$took
    sleep 0.1
done
heard=$(tv status -o json --endpoints "127.0.0.1:$(client_port "$new")" | jq --arg old "$old" --arg new "$new" '.sites[] | select(.name == $old) | .heard_ms_ago')
[ -n "$heard" ] || die "the primary does not say when it heard $old"
echo "ok: while the bundle is written the site answers, after $worst ms at most"

site_kill gsr KILL
sleep 4 # longer than a primary believes in itself that nobody confirms
[ "$(site_status "$new" | jq -r .role)" = primary ] || die "$new is primary no more: $old does not confirm it"
[ "$(tv get land since --timeout 1s)" = '"since"' ] || die "no read by the word of $old alone"
! tv put land more '"more"' --ack majority --timeout 1s >/dev/null 2>&1 || die "acknowledged at majority though $old cannot take it"
[ "$(site_status "$old" | jq .last)" = "$cut" ] || die "the log of $old has changed: it was $before"
[ "$(site_status "$new" | jq -r .role)" = primary ] || die "$new is primary no more"
echo "ok: it confirms its primary by itself, and acknowledges nothing that it cannot take"

# ---- nothing is undone before ----
! ls "$old"/data/divergence/*.jsonl >/dev/null 2>&1 || die "there is a bundle of what was not undone"
site_kill "$old" KILL
expect 0 "" "$TRIVENI" divergence list --config "$old.yaml" -o json
[ ! -s "$DIR/out" ] || die "a bundle that was not finished is listed"
LD_PRELOAD=$PRELOAD SLOW_DISK_FILE=$DIR/slow SLOW_DISK_OF=.jsonl.part site_start "$old"
eventually "it begins anew after a kill" pending >/dev/null
[ "$(site_status "$old" | jq .last)" = "$cut" ] || die "$old has undone something before it was exported"
echo "ok: killed in the midst of it, its log is whole and it begins anew"

site_kill "$old" KILL
echo 0 >"$DIR/slow"
LD_PRELOAD=$PRELOAD SLOW_DISK_FILE=$DIR/slow SLOW_DISK_OF=.jsonl.part site_start "$old"
eventually "what was written meanwhile is acknowledged" tv put land last '"last"' --ack majority --timeout 2s >/dev/null
site_start gsr
wait_equal 300 >/dev/null
bundle=$("$TRIVENI" divergence list --config "$old.yaml" -o json | jq -r .name)
[ "$("$TRIVENI" divergence show "$bundle" --config "$old.yaml" | jq -s '[.[] | select(.collection == "land")] | length')" = 2000 ] || die "not all is in the bundle"
[ "$(find "$old/data/divergence" -type f | wc -l)" = 1 ] || die "more is left than the bundle: $(ls "$old/data/divergence")"
tv get land R-00001 >/dev/null 2>&1 && die "what was undone is there"
echo "ok: exported, undone, and the site follows"

# ---- a state that holds what is to be undone ----
op switchover --to "$old" >/dev/null 2>&1 || [ "$(wait_primary)" = "$old" ] || die "$old does not become primary"
wait_equal 300 >/dev/null
kill -KILL "${SITE_PID[$new]}" "${SITE_PID[gsr]}"
echo 600000 >"$DIR/slow"
for i in $(seq 1 8); do tv put land tail-$i '"tail"' --endpoints "127.0.0.1:$(client_port "$old")" --timeout 1s >/dev/null 2>&1 || break; done
[ "$i" -gt 4 ] || die "$old wrote nothing alone"
site_kill "$old" STOP
site_kill "$new" KILL
site_kill gsr KILL
site_start "$new"
site_start gsr
wait_primary "$new" >/dev/null
tv put land first '"first"' >/dev/null
site_kill "$old" CONT
eventually "the former primary tells what it is at" pending >/dev/null
applied=$(site_status "$old" | jq .applied)
# A put is three entries, with its session; a restore point one.
for i in $(seq 1 60); do
    left=$((applied - $(site_status "$new" | jq .last)))
    [ "$left" -gt 0 ] || break
    if [ "$left" -ge 3 ]; then tv put land more '"more"' >/dev/null; else op point "p$i" >/dev/null; fi
done
[ "$(site_status "$new" | jq .last)" = "$applied" ] || die "$new is at $(site_status "$new" | jq .last), $old has applied $applied"
sleep 4 # states are compared once a second, when nobody writes at this very lsn
! site_status "$new" | jq -r '.trouble[]' | grep -F "differs" || die "what is to be undone at $old is taken for damage"
read_at() { "$HERE/undo_read.py" "$LIBRARY" client.yaml "127.0.0.1:$(client_port "$old")" land common-1 "$1"; }
common=$(site_status "$old" | jq .commit)
[ "$(read_at "$common")" = "$applied" ] || die "who has seen what all have is not answered: $(read_at "$common")"
[ "$(read_at "$applied")" = timeout ] || die "who has seen more is answered from what is to be undone: $(read_at "$applied")"
pending || die "it was exported too soon for this test"
echo "ok: the state of a site that has to undo is not compared, nor shown to who has seen what it has not"
site_kill "$old" KILL
site_start "$old"
wait_equal 300 >/dev/null
tv get land tail-1 >/dev/null 2>&1 && die "what was undone is there"
echo "ok: and is undone after a kill, too"
