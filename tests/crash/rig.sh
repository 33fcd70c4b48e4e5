# A real site of one member on powerfs, for the scripts beside this one. Source it with BUILD and SEED set; it makes $DIR, which
# is gone when the script ends (KEEP=1 leaves it when it failed). Every wait is bounded, and only processes started here are
# ever stopped.
#
#   configure                $DIR/site.yaml, $URI, $DIR/operator.yaml, certificates; STORE: more keys of the store
#   fs_start                 mount an empty powerfs on $MOUNT
#   fs COMMAND               a command of powerfs.c; its answer is in $answer
#   site_new                 an empty disk with an empty site on it
#   site_start, end "$SERVER"
#   failed WORDS             the end: what failed, and the ends of the logs

: "${BUILD:?set BUILD to the folder of the programs}" "${SEED:?set SEED}"
TRIVENI=$BUILD/triveni
LEDGER=$BUILD/tests/crash/ledger
RANDOM=$SEED

[ -c /dev/fuse ] && [ -w /dev/fuse ] || { echo "no /dev/fuse here: load the module fuse, and run as root"; exit 77; }
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-power.XXXXXX")
MOUNT=$DIR/disk
SERVER="" CLIENT="" FS_PID=""

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
    end "${FS_ID:-}"
    umount -l "$MOUNT" 2>/dev/null
    if [ "$code" -eq 0 ] || [ "$code" -eq 77 ] || [ -z "${KEEP:-}" ]; then rm -rf "$DIR"; else echo "left in $DIR"; fi
    exit "$code"
}
trap finish EXIT

# ---- the file system ----

fs_start() {
    mkdir -p "$MOUNT"
    coproc FS { exec "$BUILD/tests/crash/powerfs" "$MOUNT"; }
    FS_ID=$FS_PID FS_IN=${FS[1]} FS_OUT=${FS[0]}
    FS_PID=$FS_ID
    read -r -t 10 answer <&"$FS_OUT" || { echo "FUSE cannot be mounted here"; exit 77; }
    [ -z "${LIE:-}" ] || fs "lie $LIE"
}

# fs COMMAND: its answer is in $answer. What `tell` says by itself may come before it.
fs() {
    echo "$1" >&"$FS_IN"
    answer=told
    while [ "$answer" = told ]; do
        read -r -t 60 answer <&"$FS_OUT" || failed "powerfs does not answer '$1'"
    done
    case $answer in error*) failed "powerfs: $answer" ;; esac
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
    end "${FS_ID:-}"
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

configure() {
    local port
    port=$(free_port)
    rm -rf "$DIR/q"
    "$TRIVENI" quickstart "$DIR/q" --base-port "$port" >/dev/null || failed "quickstart"
    {
        grep -E '^(cluster|site|tls):' "$DIR/q/dc.yaml" | sed "s|pki/|q/pki/|g"
        echo 'members:'
        echo "  - {name: dc, kind: data, peer: '127.0.0.1:$((port + 1))', client: '127.0.0.1:$port'}"
        echo "data_dir: disk/site/data"
        echo "replication: {heartbeat_ms: 10, election_ms: 50, lease_ms: 40}"
        echo "store: {engine: ${ENGINE:-auto}, segment_mib: 1, log_limit_mib: 64, log_retain_mib: 0, reserve_mib: 0, checkpoint_mib: 1, checkpoint_seconds: 1${STORE:+, $STORE}}"
    } >"$DIR/site.yaml"
    URI=$(sed -E 's|//[^/]*/|//127.0.0.1:'"$port"'/|' "$DIR/q/client.uri")
    sed "s|^endpoints:.*|endpoints: '127.0.0.1:$port'|" "$DIR/q/operator.yaml" | sed "s|pki/|$DIR/q/pki/|g" >"$DIR/operator.yaml"
}
