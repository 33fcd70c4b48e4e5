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
: "${BUILD:?set BUILD to the folder of the programs}"
CUTS=${1:-20}
SEED=${2:-$$}
CUTS_PER_LIFE=15
TRIVENI=$BUILD/triveni
LEDGER=$BUILD/tests/crash/ledger
RANDOM=$SEED

[ -c /dev/fuse ] && [ -w /dev/fuse ] || { echo "no /dev/fuse here: load the module fuse, and run as root"; exit 77; }
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-power.XXXXXX")
MOUNT=$DIR/disk
SERVER='' CLIENT='' FS_PID=''
cuts=0 lost=0 half=0 starting=0 serving=0 after_kill=0 acknowledged=0

# A process of ours and its whole end.
end() {
    [ -n "$1" ] || return 0
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

finish() {
    local code=$?
    end "$CLIENT"
    end "$SERVER"
    end "$FS_PID"
    umount -l "$MOUNT" 2>/dev/null
    if [ "$code" -eq 0 ] || [ "$code" -eq 77 ] || [ -z "${KEEP:-}" ]; then rm -rf "$DIR"; else echo "left in $DIR"; fi
    exit "$code"
}
trap finish EXIT

failed() {
    echo "power: seed $SEED, cut $cuts: $*" >&2
    tail -n 12 "$DIR/serve.log" "$DIR/verify.err" >&2 2>/dev/null
    echo "$cuts power cuts, $((lost > 0 ? lost : 1)) transactions lost, $half half applied"
    exit 1
}

# ---- the file system ----

fs_start() {
    mkdir -p "$MOUNT"
    coproc FS { exec "$BUILD/tests/crash/powerfs" "$MOUNT"; }
    FS_ID=$FS_PID FS_IN=${FS[1]} FS_OUT=${FS[0]}
    FS_PID=$FS_ID
    read -r -t 10 answer <&"$FS_OUT" || { echo "FUSE cannot be mounted here"; exit 77; }
    [ -z "${LIE:-}" ] || fs "lie $LIE"
}

# fs COMMAND: its answer is in $answer.
fs() {
    echo "$1" >&"$FS_IN"
    read -r -t 60 answer <&"$FS_OUT" || failed "powerfs does not answer '$1'"
    case $answer in error*) failed "powerfs: $answer" ;; esac
}

# Wait for the cut that was armed; SECONDS later it comes by command.
wait_cut() {
    if read -r -t "$1" answer <&"$FS_OUT"; then return; fi
    fs "cut $RANDOM"
    case $answer in 'cut already') read -r -t 5 answer <&"$FS_OUT" ;; esac
}

# ---- the site ----

free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$((port + 1))") 2>/dev/null || break
    done
    echo "$port"
}

# A site that has never been: on an empty disk.
site_new() {
    end "$SERVER"
    end "$FS_PID"
    umount -l "$MOUNT" 2>/dev/null
    SERVER=''
    : >"$DIR/ledger"
    fs_start
    "$TRIVENI" init --config "$DIR/site.yaml" --new-cluster >>"$DIR/serve.log" 2>&1 || failed "init"
}

site_start() {
    "$TRIVENI" serve --config "$DIR/site.yaml" >>"$DIR/serve.log" 2>&1 &
    SERVER=$!
}

clients_start() {
    "$LEDGER" run --uri "$URI&timeout_ms=2000" --ledger "$DIR/ledger" --name "k$cuts" --threads 4 >>"$DIR/serve.log" 2>&1 &
    CLIENT=$!
}

configure() {
    local port
    port=$(free_port)
    "$TRIVENI" quickstart "$DIR/q" --base-port "$port" >/dev/null || failed "quickstart"
    {
        grep -E '^(cluster|site|tls):' "$DIR/q/dc.yaml" | sed "s|pki/|q/pki/|g"
        echo 'members:'
        echo "  - {name: dc, kind: data, peer: '127.0.0.1:$((port + 1))', client: '127.0.0.1:$port'}"
        echo "data_dir: disk/site/data"
        echo "replication: {heartbeat_ms: 10, election_ms: 50, lease_ms: 40}"
        echo "store: {engine: ${ENGINE:-auto}, segment_mib: 1, log_limit_mib: 64, log_retain_mib: 0, reserve_mib: 0, checkpoint_mib: 1, checkpoint_seconds: 1}"
    } >"$DIR/site.yaml"
    URI=$(sed -E 's|//[^/]*/|//127.0.0.1:'"$port"'/|' "$DIR/q/client.uri")
    sed "s|^endpoints:.*|endpoints: '127.0.0.1:$port'|" "$DIR/q/operator.yaml" | sed "s|pki/|$DIR/q/pki/|g" >"$DIR/operator.yaml"
}

# ---- one cut ----

cut_while_serving() {
    [ -n "$SERVER" ] || site_start
    clients_start
    fs "arm $((1 + RANDOM % 2500)) $RANDOM"
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
    sleep "0.$((RANDOM % 6))$((RANDOM % 10))"
    end "$SERVER"
    fs "arm $((1 + RANDOM % 600)) $RANDOM"
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
    [ "$(jq -r 'select(.collection == "a") | "\(.key) \(.lsn)"' "$DIR/dump.jsonl" | md5sum)" = \
        "$(jq -r 'select(.collection == "b") | "\(.key) \(.lsn)"' "$DIR/dump.jsonl" | md5sum)" ]
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
done
echo "site: seed $SEED, $serving cuts while serving, $starting while starting, $after_kill after a kill; $acknowledged transactions acknowledged"
echo "$cuts power cuts, 0 transactions lost"
