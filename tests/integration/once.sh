#!/usr/bin/env bash
# Once, by a key of the application: the same write again, by other processes, after the primary was killed, after all sites were
# stopped, and after a restore from the archive, takes effect once and is answered as the first time; what was given up never happens;
# and a writer that knows nothing but its keys, and runs through kills of the primary, leaves neither loss nor duplicate.
#
# Usage: BUILD=build/gcc-release tests/integration/once.sh
# limit: 180 s
# suite: drills
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-once.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
writer=
finish() {
    local code=$?
    touch "$DIR/enough"
    [ -z "$writer" ] || kill "$writer" 2>/dev/null || true
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/err "$DIR"/writer 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
fail() { echo "once: $*"; exit 1; }
# answer CODE ARGS...: the client's triveni ends with the code; its output is in DIR/out and DIR/err
answer() {
    local wanted=$1 code=0
    shift
    tv "$@" --timeout 20 >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    [ "$code" = "$wanted" ] || fail "triveni $*: exit $code, expected $wanted: $(cat "$DIR/err")"
}
says() { grep -qF -- "$1" "$DIR/err" || fail "expected on stderr: $1; got: $(cat "$DIR/err")"; }
# repeated KEY VALUE LSN: the write with that key is answered as the one at LSN, and nothing is changed
repeated() {
    answer 0 put cases 1 "$2" --idempotency-key "$1" -o json
    [ "$(jq -r '"\(.repeated) \(.lsn)"' "$DIR/out")" = "true $3" ] || fail "not the first outcome: $(cat "$DIR/out"), lsn $3"
    [ "$(tv get cases 1)" = now ] || fail "the record changed: $(tv get cases 1)"
}

cluster_create "$DIR/cluster"
sites_start
first=$(wait_primary)

answer 0 put cases 1 first --idempotency-key deed-1 -o json
lsn=$(jq -r .lsn "$DIR/out")
[ "$(jq -r .repeated "$DIR/out")" = false ] || fail "the first is no repetition"
answer 0 put cases 1 now
repeated deed-1 first "$lsn"
answer 5 put cases 1 second --idempotency-key deed-1 && says "was used at lsn $lsn"
answer 5 del cases 1 --idempotency-key deed-1 && says "was used at lsn $lsn"
answer 0 outcome --idempotency-key deed-1 -o json
[ "$(jq -r '"\(.committed) \(.lsn)"' "$DIR/out")" = "true $lsn" ] || fail "outcome: $(cat "$DIR/out")"
[ "$(jq -r .ack "$DIR/out")" != null ] || fail "the outcome states no durability"
answer 9 outcome --idempotency-key deed-2 && says "may be under way"
answer 3 outcome --idempotency-key deed-2 --give-up && says "never will"
answer 5 put cases 1 late --idempotency-key deed-2 && says "was given up at lsn"
answer 2 outcome --give-up && says "give either"
answer 2 outcome deed-1 && says "give either"
answer 2 put cases 1 x --idempotency-key "$(printf '%065d' 0)" && says "65 bytes: 1 to 64"
answer 2 put cases 1 x --idempotency-key '' && says "0 bytes"
printf 'if-exists cases 1\nput cases 2 two\n' >"$DIR/txn"
answer 0 txn "$DIR/txn" --idempotency-key deed-3
answer 0 txn "$DIR/txn" --idempotency-key deed-3 -o json && [ "$(jq -r .repeated "$DIR/out")" = true ] || fail "txn"
# the operator is another client: the key is not the application's
op outcome --idempotency-key deed-1 >/dev/null 2>&1 && fail "keys of another client answer"

# A level that waits for a site which is down: the outcome is unknown in time, the message says for what, and asking says committed.
site_kill gsr KILL
code=0
tv put cases 3 x --ack gsr --idempotency-key waits --timeout 1 >"$DIR/out" 2>"$DIR/err" || code=$?
[ "$code" = 9 ] || fail "a put that waits for gsr ends with $code: $(cat "$DIR/err")"
says "answered only when every site that --ack names has it" && says "triveni outcome --idempotency-key 'waits'"
answer 0 outcome --idempotency-key waits -o json
[ "$(jq -r .ack "$DIR/out")" = majority ] || fail "outcome: $(cat "$DIR/out")"
site_start gsr
wait_equal >/dev/null
# the primary dies
site_kill "$first" KILL
wait_primary >/dev/null
repeated deed-1 first "$lsn"
answer 0 outcome --idempotency-key deed-1
answer 5 put cases 1 late --idempotency-key deed-2 && says "was given up at lsn"

# all sites stop
site_start "$first"
wait_equal >/dev/null
for site in dc dr gsr; do site_kill $site TERM; done
sites_start
wait_primary >/dev/null
repeated deed-1 first "$lsn"
answer 3 outcome --idempotency-key deed-2

# A writer whose every try is a new process, is killed after 10 to 90 ms, and knows nothing but its keys, while the primary is killed, too. The version of
# each round's record must be the lsn that was acknowledged: a later one would say that the round took effect twice.
cat >"$DIR/writer.sh" <<'WRITER'
set -euo pipefail
round=0
while [ ! -e "$1/enough" ] || [ "$round" -lt 40 ]; do
    round=$((round + 1))
    printf 'put ledger %06d %s\n' "$round" "$round" >"$1/ledger"
    until out=$(timeout -s KILL 0.0$((1 + RANDOM % 9)) "$TRIVENI" txn "$1/ledger" --profile "$1/cluster/client.yaml" --idempotency-key "round-$round" -o json 2>>"$1/errors"); do
        echo again >>"$1/again"
    done
    echo "$round $(jq -r .lsn <<<"$out")" >>"$1/acknowledged"
    # whatever was answered, the same again is answered the same
    again=$("$TRIVENI" txn "$1/ledger" --profile "$1/cluster/client.yaml" --idempotency-key "round-$round" --timeout 20 -o json)
    [ "$(jq -r '"\(.repeated) \(.lsn)"' <<<"$again")" = "true $(jq -r .lsn <<<"$out")" ]
done
WRITER
bash "$DIR/writer.sh" "$DIR" >"$DIR/writer" 2>&1 &
writer=$!
for _ in 1 2 3; do
    sleep 0.7
    was=$(wait_primary)
    site_kill "$was" KILL
    wait_primary >/dev/null
    site_start "$was"
    wait_caught_up
done
touch "$DIR/enough"
wait "$writer" || fail "the writer: $(cat "$DIR/writer")"
writer=
rounds=$(wc -l <"$DIR/acknowledged") tries=$(wc -l <"$DIR/again")
[ "$tries" -gt 3 ] || fail "only $tries tries were killed: nothing was tested"
tv scan ledger -o json >"$DIR/ledger.out"
[ "$(jq -r '"\(.key | tonumber) \(.lsn)"' "$DIR/ledger.out")" = "$(cat "$DIR/acknowledged")" ] ||
    fail "a round was lost, or took effect twice: $(diff <(jq -r '"\(.key | tonumber) \(.lsn)"' "$DIR/ledger.out") "$DIR/acknowledged" || true)"

# The archive has the keys, and a cluster that is built from it answers as before.
op archive seal >/dev/null
archive=(--repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek")
last=$(wait_equal | cut -d' ' -f1)
for _ in $(seq 1 300); do
    sealed=$("$TRIVENI" restore "${archive[@]}" --preview -o json 2>/dev/null | jq .lsn || echo 0)
    [ "${sealed:-0}" -ge "$last" ] && break
    op archive seal >/dev/null
    sleep 0.1
done
for site in dc dr gsr; do site_kill $site KILL; done
for site in dc dr gsr; do
    rm -rf "$DIR/cluster/$site/data"
    "$TRIVENI" restore "${archive[@]}" --into "$DIR/cluster/$site/data" --yes >/dev/null 2>"$DIR/err" || fail "restore: $(cat "$DIR/err")"
    "$TRIVENI" init --config "$DIR/cluster/$site.yaml" --all-lost >/dev/null 2>"$DIR/err" || fail "init: $(cat "$DIR/err")"
done
sites_start
wait_primary >/dev/null
repeated deed-1 first "$lsn"
answer 5 put cases 1 late --idempotency-key deed-2 && says "was given up at lsn"

echo "once: $rounds rounds through 3 kills of the primary, $tries killed tries of the writer: each took effect once;" \
    "after failover, restart of all sites and restore from the archive each key is answered as the first time"
