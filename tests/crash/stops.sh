#!/usr/bin/env bash
# A disk that does not sync, under a real site: the site stops with exit code 1 and says what failed and what to do next; started
# again, once at once and once after a power cut, it holds everything that was acknowledged. Each of the log (with both of its
# engines), LMDB's file, the checkpoint and the vote. And blocks of LMDB's file that cannot be read: the site dies of SIGBUS, says
# so, and does not serve before it could read all of its state.
#
# Usage: BUILD=build/gcc-release tests/crash/stops.sh [SEED]
# limit: 180 s
set -uo pipefail
SEED=${1:-$$}
. "$(dirname "$0")/rig.sh"
what=start rounds=0

failed() {
    echo "stops: seed $SEED, $what: $*" >&2
    tail -n 12 "$DIR/serve.log" "$DIR/clients.log" "$DIR/verify.err" >&2 2>/dev/null
    exit 1
}

# Wait for the end of the site; it must be its own, in time, with code 1 and these words, and with what to do next.
stops() {
    local words=$1 i
    for ((i = 0; i < 200; i++)); do
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.1
    done
    kill -0 "$SERVER" 2>/dev/null && failed "the site goes on"
    wait "$SERVER"
    local code=$?
    SERVER=''
    [ "$code" = 1 ] || failed "exit code $code instead of 1"
    tail -n 1 "$DIR/serve.log" >"$DIR/last"
    for word in "$words" 'Input/output error' 'start the site again'; do
        grep -qF -- "$word" "$DIR/last" || failed "its last words lack '$word': $(cat "$DIR/last")"
    done
    grep -q 'triveni serve\|check it' "$DIR/last" || failed "its last words do not tell the next command: $(cat "$DIR/last")"
    echo "ok: $what: $(sed "s#$DIR/##g" "$DIR/last" | head -c 300)"
}

holds_everything() {
    site_start
    "$LEDGER" verify --uri "$URI" --ledger "$DIR/ledger" >"$DIR/verify.out" 2>"$DIR/verify.err" ||
        failed "after the restart: $(cat "$DIR/verify.out")"
    local found kept
    found=$(cut -d ' ' -f 4 "$DIR/verify.out")
    kept=$("$TRIVENI" digest -o json --profile "$DIR/operator.yaml" 2>>"$DIR/verify.err" | jq -r .digest)
    [ "$found" = "$kept" ] || failed "the site's digest is $kept, its records give $found"
}

# one FILE WORDS: syncs of files born with this name fail while clients write.
one() {
    local round
    for round in "at once" "after a power cut"; do
        rounds=$((rounds + 1))
        what="$1 ($ENGINE), restarted $round"
        [ -n "$SERVER" ] || site_start
        "$LEDGER" run --uri "$URI&timeout_ms=2000" --ledger "$DIR/ledger" --name "r$rounds" --threads 4 >>"$DIR/clients.log" 2>&1 &
        CLIENT=$!
        sleep 1
        fs "fail $1"
        stops "$2"
        end "$CLIENT"
        CLIENT=''
        fs "fail none"
        [ "$round" = "at once" ] || { fs "cut $RANDOM" && fs on; }
        holds_everything
    done
}

# gone: wait until the site has ended by itself; its exit code is in $code.
gone() {
    local i
    for ((i = 0; i < 200; i++)); do
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.1
    done
    kill -0 "$SERVER" 2>/dev/null && failed "the site goes on"
    wait "$SERVER" 2>/dev/null
    code=$?
    SERVER=''
}

cannot_be_read() {
    what="blocks of data.mdb that cannot be read"
    end "$SERVER"
    fs on
    fs "bad data.mdb 8192"
    site_start
    gone
    [ "$code" = $((128 + $(kill -l BUS))) ] || failed "exit code $code instead of SIGBUS"
    grep -a 'SIGBUS' "$DIR/serve.log" | tail -n 1 >"$DIR/last"
    grep -q 'triveni: SIGBUS at byte [0-9]* of .*/data.mdb: .*triveni serve' "$DIR/last" || failed "it says: $(cat "$DIR/last")"
    echo "ok: $what: $(sed "s#$DIR/##g" "$DIR/last")"
    site_start
    gone
    [ "$code" -lt 128 ] || failed "started again it dies again ($code)"
    tail -n 1 "$DIR/serve.log" >"$DIR/last"
    grep -q 'after a fault in its file: .*Input/output error' "$DIR/last" || failed "started again it says: $(cat "$DIR/last")"
    echo "ok: $what, started again: $(sed "s#$DIR/##g" "$DIR/last" | head -c 300)"
    fs "bad none 0"
    holds_everything
    grep -q 'state: verified, [1-9][0-9]* records, 0 of them damaged' "$DIR/serve.log" || failed "it serves without having verified"
    end "$SERVER"
    SERVER=''
}

for ENGINE in plain uring; do
    configure
    site_new
    one spare- "/site/data/log: "
    [ "$ENGINE" = plain ] || continue
    one data.mdb "sync of data.mdb"
    one checkpoint "checkpoint: "
    end "$SERVER"
    what=vote
    fs "fail vote"
    site_start
    stops "vote"
    fs "fail none"
    holds_everything
    cannot_be_read
done
[ "$(wc -l <"$DIR/ledger")" -gt 20 ] || failed "clients had no time to write anything"
echo "stops: all with a reason, nothing lost"
