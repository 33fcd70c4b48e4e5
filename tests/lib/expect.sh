# What scripts with a cluster in DIR/cluster share. Source it behind cluster.sh, with DIR set:
#
#   expect CODE TEXT COMMAND...   exit code, and a piece of what it says; '' asks for none. Its output is in DIR/out and DIR/err
#   eventually WHAT COMMAND...    it succeeds within 40 s; what it prints the last time is shown when it does not
#   die WHAT                      the test has failed
#
# At the end the sites are stopped, the ends of their logs shown if it failed, and DIR is removed.

finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

die() {
    echo "FAILED: $*"
    exit 1
}

expect() {
    local wanted=$1 text=$2 code=0
    shift 2
    timeout 60 "$@" >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    [ "$code" = "$wanted" ] || die "$*: exit $code, expected $wanted: $(cat "$DIR/out" "$DIR/err")"
    [ -z "$text" ] || grep -qF -- "$text" "$DIR/out" "$DIR/err" || die "$*: does not say '$text': $(cat "$DIR/out" "$DIR/err")"
}

eventually() {
    local what=$1 i
    shift
    for i in $(seq 1 200); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    "$@" || true
    die "$what does not happen"
}
