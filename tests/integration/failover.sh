#!/usr/bin/env bash
# A failover that an operator orders says first what it would lose and afterwards what it lost; what it says is what the former primary then
# lists; and it is refused, with what to do instead, where it is unsafe or not needed.
#
# Usage: BUILD=build/gcc-release tests/integration/failover.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-failover.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
. "$(cd "$(dirname "$0")" && pwd)/../lib/expect.sh"
operator() { "$TRIVENI" "$@" --profile operator.yaml; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
# Nobody stands by himself but the first one (dr says when it would); and a primary goes on alone for 4 s in mode local.
for site in dc dr gsr; do echo 'replication: {election_ms: 5000, lease_ms: 4000, failover: manual}' >>$site.yaml; done
sed -i 's/failover: manual/failover: automatic/' dc.yaml
sed -i 's/failover: manual/failover: observe/' dr.yaml
sites_start
wait_primary dc >/dev/null
sed -i 's/failover: automatic/failover: manual/' dc.yaml
tv put land one 1 >/dev/null
wait_equal 300 >/dev/null
ports=(--endpoints "127.0.0.1:$(client_port dr),127.0.0.1:$(client_port gsr)")

# ---- refused ----
expect 5 "triveni switchover --to dr" "$TRIVENI" failover --site dr --yes --profile operator.yaml
expect 5 "dc is primary and alive" "$TRIVENI" failover --site dr --dry-run --profile operator.yaml
expect 5 "dc is primary and alive" "$TRIVENI" failover --site dr --yes --profile operator.yaml "${ports[@]}" # only dr hears it
expect 2 "never becomes primary" "$TRIVENI" failover --site gsr --yes --profile operator.yaml
expect 2 "primary already" "$TRIVENI" failover --site dc --yes --profile operator.yaml
expect 3 "no site is called" "$TRIVENI" failover --site dx --yes --profile operator.yaml
[ "$(current_primary)" = dc ] || die "something was done"
echo "ok: refused where it is not needed, or not possible"

# ---- policy observe: it says what it would do, and does nothing ----
site_kill dc KILL
for i in $(seq 1 300); do
    grep -q "term 1: .* -> would stand, but the policy is observe" dr.log && break # not at the start, when dc was the later one
    sleep 0.1
done
grep -q "term 1: .*dc.* -> would stand, but the policy is observe" dr.log || die "dr does not say what it would do: $(tail -n 5 dr.log)"
sleep 6 # longer than an election takes
[ "$(grep -c "term 1: .* -> would stand, but the policy is observe" dr.log)" = 1 ] || die "it says so more than once in one silence"
[ "$(site_status dr | jq -r .role)" = standby ] || die "dr did more than watch: $(site_status dr | jq -c .)"
operator events --site dr | grep "would stand, but the policy is observe" >/dev/null || die "triveni events does not show it"
grep -q "term [2-9]\|asking who would vote\|standing by" dr.log && die "dr stood: $(tail -n 5 dr.log)"
echo "ok: who observes says once what it would do, and does nothing"

# ---- mode majority: nothing is lost ----
expect 0 "loss: nothing: everything that was ever acknowledged is here" "$TRIVENI" failover --site dr --dry-run --profile operator.yaml
grep -q "primary dc in term 1: heard .* s ago" "$DIR/out" || die "does not say of the primary what is known: $(cat "$DIR/out")"
expect 4 "does not answer here" "$TRIVENI" failover --site dc --yes --profile operator.yaml
expect 2 "not confirmed" "$TRIVENI" failover --site dr --profile operator.yaml
expect 0 "lost: nothing that dc had" "$TRIVENI" failover --site dr --yes --profile operator.yaml
[ "$(wait_primary dr)" = dr ]
site_start dc
wait_equal 300 >/dev/null
echo "ok: in mode majority nothing is lost, and that is said"

# ---- deposed: alive, but whoever orders it has a reason ----
expect 0 "failed over from dr to dc" "$TRIVENI" failover --site dc --yes --depose --profile operator.yaml
[ "$(wait_primary dc)" = dc ]
wait_equal 300 >/dev/null
echo "ok: with --depose a living primary is deposed"

# ---- mode local: what only the primary had, as far as the others heard of it ----
operator mode local >/dev/null
wait_equal 300 >/dev/null
head -c 3000000 /dev/zero | tr '\0' x >"$DIR/value"
kill -KILL "${SITE_PID[dr]}" "${SITE_PID[gsr]}"
# Not longer than its lease: after lease and election it would be primary no more.
seq 1 30 | timeout 3 xargs -P 4 -I{} timeout 2 "$TRIVENI" put big "{}" --file "$DIR/value" --profile client.yaml \
    --endpoints "127.0.0.1:$(client_port dc)" --timeout 2s >/dev/null 2>&1 || true
site_kill dr KILL
site_kill gsr KILL
: >dr.log
: >gsr.log
site_start dr
site_start gsr
for i in $(seq 1 2000); do
    grep -q "following dc" dr.log && grep -q "following dc" gsr.log && break
    sleep 0.005
done
site_kill dc KILL # while they catch up
expect 0 "acknowledged at local only" "$TRIVENI" failover --site dr --dry-run --profile operator.yaml
cp "$DIR/out" "$DIR/forecast"
expect 0 '"loss":"local"' "$TRIVENI" failover --site dr --dry-run --profile operator.yaml -o json
first=$(jq .first "$DIR/out")
last=$(jq .last "$DIR/out")
[ "$(jq .records "$DIR/out")" = null ] && [ "$(jq .transactions "$DIR/out")" = $((last - first + 1)) ] || die "$(cat "$DIR/out")"
grep -q "lsn $first to $last" "$DIR/forecast" || die "both forms differ: $(cat "$DIR/forecast")"
expect 0 '"lost":{"transactions":' "$TRIVENI" failover --site dr --yes --profile operator.yaml -o json
[ "$(jq -c '[.from, .to, .lost.transactions, .lost.kept_last, .lost.former_last, .lsn]' "$DIR/out")" = "[\"dc\",\"dr\",$((last - first + 1)),$((first - 1)),$last,$first]" ] ||
    die "lost otherwise than forecast ($first to $last): $(cat "$DIR/out")"
site_start dc
for i in $(seq 1 300); do
    grep -q "operations exported to" dc.log && break
    sleep 0.1
done
wait_equal 600 >/dev/null
listed=$("$TRIVENI" divergence list --config dc.yaml -o json | jq -c 'select(.state == "open") | [.first, .last]')
[ "$(jq '.[0]' <<<"$listed")" = "$first" ] && [ "$(jq '.[1]' <<<"$listed")" -ge "$last" ] || die "forecast $first to $last, listed $listed"
echo "ok: in mode local lsn $first to $last were forecast, lost, and listed as $listed"

# ---- what nobody has heard is unknown; and without a majority there is none ----
site_kill dr KILL
site_kill gsr KILL
site_kill dc KILL
site_start dc
expect 4 "triveni failover --solo" "$TRIVENI" failover --site dc --yes --profile operator.yaml
: >gsr.log
site_start gsr
for i in $(seq 1 100); do
    grep -q "link to dc: up" gsr.log && break
    sleep 0.1
done
sleep 0.5
expect 0 "loss: unknown, because no site that answers has heard" "$TRIVENI" failover --site dc --dry-run --profile operator.yaml
site_kill dc KILL
mv dc/data dc/lost
"$TRIVENI" init --config dc.yaml --rebuilt >/dev/null 2>&1
site_start dc
for i in $(seq 1 100); do
    [ -n "$(site_status dc)" ] && break
    sleep 0.1
done
expect 1 "was rebuilt and has not caught up" "$TRIVENI" failover --site dc --yes --profile operator.yaml
echo "ok: unknown is said to be unknown; without a majority, and to a rebuilt site, it is refused"
