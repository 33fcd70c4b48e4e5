#!/usr/bin/env bash
# A site that comes back with less than it had: what an operator's hand can do to it must not cost an acknowledged transaction (P2, R5),
# and what a site undoes it calls "not acknowledged" only when it knows that (P4).
#
# Usage: BUILD=build/gcc-release tests/integration/comeback.sh
# suite: drills
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-comeback.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
. "$(cd "$(dirname "$0")" && pwd)/../lib/expect.sh"

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
archive=(--repository gsr/archive --kek kek)

# ---- a restored state is no new site: gsr is down, dc and dr acknowledge, all stop, dc comes back from the archive ----
sites_start
wait_primary >/dev/null
tv put land archived 1 >/dev/null
op archive seal >/dev/null
wait_equal >/dev/null
site_kill gsr TERM
tv put land acknowledged-by-dc-and-dr 1 >/dev/null
site_kill dr TERM
site_kill dc TERM
mv dc/data dc/lost
expect 0 "restored" "$TRIVENI" restore "${archive[@]}" --into dc/data --yes
expect 3 "triveni init --rebuilt" "$TRIVENI" serve --config dc.yaml
expect 2 "give one of --rebuilt and --new-cluster" "$TRIVENI" init --config dc.yaml
expect 1 "is made with --rebuilt" "$TRIVENI" init --config dc.yaml --new-cluster
expect 0 "ready to catch up" "$TRIVENI" init --config dc.yaml --rebuilt
expect 0 "no damage" "$TRIVENI" check dc/data
site_start dc
site_start gsr
for i in $(seq 1 30); do # six election times: without dr nobody may rule
    current_primary >/dev/null && die "a primary without what dr and dc had acknowledged"
    sleep 0.1
done
site_start dr
wait_primary dr >/dev/null
[ "$(tv get land acknowledged-by-dc-and-dr)" = 1 ] || die "an acknowledged record is lost"
for i in $(seq 1 100); do
    [ "$(site_status dc | jq .votes)" = true ] && break
    sleep 0.1
done
[ "$(site_status dc | jq .votes)" = true ] || die "dc does not vote again: $(site_status dc)"
wait_equal >/dev/null
echo "ok: a restored site catches up before it votes"

# ---- what is undone: "no" by the process that would have answered, "possible" after a restart ----
# undone NAME HOW: the primary takes a transaction that nobody else gets, and is only stopped for a while (STOP), or killed (KILL).
undone() {
    local primary other
    primary=$(wait_primary)
    other=$([ "$primary" = dc ] && echo dr || echo dc)
    wait_equal >/dev/null
    kill -KILL "${SITE_PID[$other]}" "${SITE_PID[gsr]}" # its lease still runs
    tv put land "$1" 1 --ack majority --timeout 1 --endpoints "127.0.0.1:$(client_port "$primary")" >/dev/null 2>&1 && die "$1 was acknowledged"
    site_kill "$primary" "$2"
    site_kill "$other" KILL
    site_kill gsr KILL
    site_start "$other"
    site_start gsr
    for i in $(seq 1 100); do # the stopped one is not asked: it would not answer
        [ "$(site_status "$other" | jq -r .role)" = primary ] && break
        sleep 0.1
    done
    if [ "$2" = KILL ]; then site_start "$primary"; else site_kill "$primary" CONT; fi
    wait_equal >/dev/null
    grep -h "\"key\":\"$1\"" "$primary"/data/divergence/*.jsonl >"$DIR/undone" || die "$1 was not exported"
}
op mode local >/dev/null # so that a session opens while nobody else is there
undone by-the-same-process STOP
grep -q '"acknowledged":"no"' "$DIR/undone" || die "known not to be acknowledged: $(cat "$DIR/undone")"
undone after-a-restart KILL
grep -q '"acknowledged":"possible"' "$DIR/undone" || die "nobody can know any more: $(cat "$DIR/undone")"
op mode majority >/dev/null
echo "ok: a bundle says 'no' only when that is certain"
