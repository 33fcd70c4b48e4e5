#!/usr/bin/env bash
# Power cuts under a real site: one member, its data directory on powerfs, clients that keep a ledger. The power fails at a
# random change or sync: while it serves, while it starts and recovers, and again after a kill -9. Each time the image of the cut is
# mounted, the site is started on it, and everything acknowledged must be there, whole, with its lsn, and the digest
# that the site keeps must equal the one counted from all its records.
#
# Usage: BUILD=build/gcc-release tests/crash/site.sh [CUTS [SEED]]
# LIE=NAME plants a bug (see powerfs.c). KEEP=1 leaves the directory with the last image.
# limit: 3600 s
set -uo pipefail
CUTS=${1:-20}
SEED=${2:-$$}
CUTS_PER_LIFE=15
. "$(dirname "$0")/rig.sh"
cuts=0 lost=0 half=0 starting=0 serving=0 after_kill=0 acknowledged=0 uring=0 plain=0

failed() {
    echo "power: seed $SEED, cut $cuts: $*" >&2
    tail -n 12 "$DIR/serve.log" "$DIR/verify.err" >&2 2>/dev/null
    echo "$cuts power cuts, $((lost > 0 ? lost : 1)) transactions lost, $half half applied"
    exit 1
}

# Wait for the cut that was armed; SECONDS later it comes by command.
wait_cut() {
    if read -r -t "$1" answer <&"$FS_OUT"; then return; fi
    fs "cut $RANDOM"
    case $answer in 'cut already') read -r -t 5 answer <&"$FS_OUT" ;; esac
}

# How many changes from now, into $far: mostly below $1, so that a life stays short, and now and then enough for checkpoints and
# recycled segments.
pick_far() {
    far=$((1 + RANDOM % (RANDOM % 8 == 0 ? 3000 : $1)))
}

clients_start() {
    "$LEDGER" run --uri "$URI&timeout_ms=2000" --ledger "$DIR/ledger" --name "k$cuts" --threads 4 >>"$DIR/serve.log" 2>&1 &
    CLIENT=$!
}

# ---- one cut ----

cut_while_serving() {
    [ -n "$SERVER" ] || site_start
    clients_start
    pick_far 500
    fs "arm $far $RANDOM"
    wait_cut 4
    serving=$((serving + 1))
}

# The image of the last cut is what recovery works on, and it loses power again.
cut_while_starting() {
    end "$SERVER"
    fs "arm $((1 + RANDOM % 90)) $RANDOM"
    site_start
    clients_start
    wait_cut 3
    starting=$((starting + 1))
}

# Killed first: what was not synced is read back by the next process, and still not synced.
cut_after_kill() {
    [ -n "$SERVER" ] || site_start
    clients_start
    pick_far 300
    fs "tell $far"
    read -r -t 4 answer <&"$FS_OUT" || fs 'tell 0'
    end "$SERVER"
    pick_far 300
    fs "arm $far $RANDOM"
    site_start
    wait_cut 4
    after_kill=$((after_kill + 1))
}

# The state alone, as of its checkpoint: what both collections hold must be the same keys at the same lsn.
dump_is_whole() {
    "$TRIVENI" dump --all --data-dir "$MOUNT/site/data" >"$DIR/dump.jsonl" 2>"$DIR/verify.err" || {
        grep -q 'holds no state\|there is no state' "$DIR/verify.err" && return 0
        return 1
    }
    jq -r 'select(.collection != "hot") | "\(.collection) \(.key) \(.lsn)"' "$DIR/dump.jsonl" |
        awk '$1 == "a" { a[$2] = $3; n++ } $1 == "b" { b++; if (a[$2] != $3) bad = 1 } END { exit bad || n != b }'
}

judge() {
    local found kept
    "$LEDGER" verify --uri "$URI" --ledger "$DIR/ledger" >"$DIR/verify.out" 2>"$DIR/verify.err"
    case $? in
    0) ;;
    1)
        read -r _ lost half _ <"$DIR/verify.out"
        failed "$lost lost, $half half applied"
        ;;
    *) failed "the site does not serve again" ;;
    esac
    found=$(cut -d ' ' -f 4 "$DIR/verify.out")
    kept=$("$TRIVENI" digest -o json --profile "$DIR/operator.yaml" 2>>"$DIR/verify.err" | jq -r .digest)
    [ "$found" = "$kept" ] || failed "the site's digest is $kept, its records give $found"
}

one_cut() {
    cuts=$((cuts + 1))
    case $((RANDOM % 4)) in
    0) cut_while_starting ;;
    1) cut_after_kill ;;
    *) cut_while_serving ;;
    esac
    [ -z "${VERBOSE:-}" ] || echo "$cuts: $answer"
    end "$CLIENT"
    end "$SERVER"
    CLIENT='' SERVER=''
    fs on
    if [ -n "${KEEP:-}" ]; then
        rm -rf "$DIR/image" && mkdir "$DIR/image" && fs "save $DIR/image"
    fi
    [ $((RANDOM % 4)) -ne 0 ] || dump_is_whole || failed "a dump of the data directory is not whole"
    site_start
    judge
}

configure
for ((life = 0; cuts < CUTS; life++)); do
    site_new
    # Whoever was told that the site is there finds it there.
    [ $((life % 2)) -eq 0 ] || { fs "cut $RANDOM" && fs on; }
    for ((i = 0; i < CUTS_PER_LIFE && cuts < CUTS; i++)); do one_cut; done
    acknowledged=$((acknowledged + $(wc -l <"$DIR/ledger")))
    uring=$((uring + $(grep -c 'log: .* engine io_uring' "$DIR/serve.log")))
    plain=$((plain + $(grep -c 'log: .* engine pwrite' "$DIR/serve.log")))
    : >"$DIR/serve.log"
done
echo "site: seed $SEED, $serving cuts while serving, $starting while starting, $after_kill after a kill; $acknowledged transactions acknowledged, \
$uring starts with io_uring, $plain with plain writes"
echo "$cuts power cuts, 0 transactions lost"
