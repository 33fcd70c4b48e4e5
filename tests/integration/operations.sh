#!/usr/bin/env bash
# docs/OPERATIONS.md as it is written: damage is refused with the way back, the way back works with and without a restore, after the loss
# of all sites too, and certificates are changed one site at a time.
#
# Usage: BUILD=build/gcc-release tests/integration/operations.sh
# suite: drills
# limit: 240 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-operations.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
. "$(cd "$(dirname "$0")" && pwd)/../lib/expect.sh"

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
archive=(--repository gsr/archive --kek kek)
sed -i 's/^store: {/store: {checkpoint_seconds: 1, /' ./*.yaml
sites_start
wait_primary >/dev/null
tv put land one 1 >/dev/null
# whole SITE: it votes and has nothing to complain of.
whole() {
    local i
    for i in $(seq 1 150); do
        [ "$(site_status "$1" | jq -c '[.votes, .trouble]')" = '[true,[]]' ] && break
        sleep 0.1
    done
    [ "$(site_status "$1" | jq -c '[.votes, .trouble]')" = '[true,[]]' ] || die "$1 is not whole: $(site_status "$1")"
    wait_equal >/dev/null
}
whole dr
lsn=$(site_status dr | jq .last)
for i in $(seq 1 100); do
    [ "$(site_status dr | jq .checkpoint)" = "$lsn" ] && break
    sleep 0.1
done
site_kill dr KILL

# ---- every kind of damage is refused with the one way back ----
cp -a --sparse=always dr/data dr/before
back="triveni init --help, 'Bringing back a damaged site'"
damage() { # WHAT COMMAND...
    local what=$1
    shift
    rm -rf dr/data
    cp -a --sparse=always dr/before dr/data
    "$@"
    expect 7 "$back" "$TRIVENI" serve --config dr.yaml
    expect 7 "init --help: 'Bringing back a damaged site'" "$TRIVENI" check dr/data
    echo "ok: $what: $(tail -n 1 "$DIR/err" | cut -c 1-120)"
}
damage "no vote file" rm dr/data/vote
damage "no identity that can be read" truncate -s 0 dr/data/site.json
damage "no log" rm -rf dr/data/log
damage "a vote file of zeros" dd if=/dev/zero of=dr/data/vote bs=4096 count=2 conv=notrunc status=none
damage "an empty data.mdb" truncate -s 0 dr/data/state/data.mdb
damage "no checkpoint that can be read" dd if=/dev/zero of=dr/data/state/checkpoint bs=4096 count=4 conv=notrunc status=none
"$TRIVENI" init --help | grep "^ *Bringing back a damaged site" >/dev/null || die "init --help does not tell it"

# ---- brought back from the others ----
rm -rf dr/data
expect 0 "ready to catch up" "$TRIVENI" init --config dr.yaml --rebuilt
site_start dr
whole dr
op archive seal >/dev/null
tv put land two 2 --ack all >/dev/null
echo "ok: brought back from the others"

# ---- brought back with a restore ----
site_kill dr KILL
mv dr/data dr/old
expect 0 "restored" "$TRIVENI" restore "${archive[@]}" --into dr/data --yes
expect 0 "ready to catch up" "$TRIVENI" init --config dr.yaml --rebuilt
site_start dr
whole dr
grep -q "state at lsn [1-9]" dr.log || die "the restored state was not used"
echo "ok: brought back with a restore"

# ---- an old entry that the primary cannot read: it goes on, and the site that needs it takes it from gsr ----
primary=$(wait_primary)
other=$([ "$primary" = dc ] && echo dr || echo dc)
site_kill "$other" KILL
tv put land cold MARK-OF-THE-COLD-ENTRY >/dev/null
op archive seal >/dev/null
site_kill gsr TERM
site_kill "$primary" TERM
sed -i 's/^store: {/store: {scrub_mib_per_second: 0, /' "$primary.yaml" # or it is mended from gsr before it is needed
segment=$(grep -l MARK-OF-THE-COLD-ENTRY "$primary"/data/log/0*.seg | head -n 1)
at=$(grep -abo MARK-OF-THE-COLD-ENTRY "$segment" | head -n 1 | cut -d : -f 1)
site_start "$primary" # what was in memory is forgotten
sleep 0.5             # and recovery has read it whole
printf 'm' | dd of="$segment" bs=1 seek="$at" conv=notrunc,fsync status=none
site_start "$other" # without gsr, so that only the primary could give it
for i in $(seq 1 100); do
    grep -q "what $other needs cannot be read here" "$primary.log" && break
    sleep 0.1
done
grep -q "what $other needs cannot be read here" "$primary.log" || die "the damage was not met"
sleep 1
site_alive "$primary" || die "the primary stopped for an entry that another site needs"
op status >"$DIR/status" 2>&1 || true
grep -q "^! site $primary: the log is damaged where $other needs it" "$DIR/status" || die "status does not show it: $(cat "$DIR/status")"
site_start gsr
wait_primary "$primary" >/dev/null
tv put land while-damaged 1 >/dev/null
for i in $(seq 1 150); do
    [ "$(site_status "$other" | jq '.applied == .last and .trouble == []')" = true ] && tv get land cold --standby \
        --endpoints "127.0.0.1:$(client_port "$other")" >/dev/null 2>&1 && break
    sleep 0.1
done
[ "$(tv get land cold --raw --standby --endpoints "127.0.0.1:$(client_port "$other")" 2>/dev/null)" = MARK-OF-THE-COLD-ENTRY ] ||
    die "$other did not take the entry from gsr: $(site_status "$other")"
wait_equal >/dev/null
op switchover --to "$other" >/dev/null || die "$other does not take over"
op archive seal >/dev/null
site_kill "$primary" KILL
rm -rf "$primary/data"
# The log of a site that was restored begins where the restore ends: what is older comes from the archive.
expect 0 "restored" "$TRIVENI" restore "${archive[@]}" --into "$primary/data" --yes
expect 0 "ready to catch up" "$TRIVENI" init --config "$primary.yaml" --rebuilt
site_start "$primary"
whole "$primary"
echo "ok: a damaged old entry did not stop the primary"

# ---- certificates, one site at a time ----
for site in gsr dr dc; do
    mv pki/$site.crt pki/$site.key "$DIR/"
    "$TRIVENI" pki site $site --dir pki >/dev/null 2>&1 || die "no new certificate for $site"
    site_kill $site TERM
    site_start $site
    wait_primary >/dev/null
    whole $site
done
tv put land three 3 --ack all >/dev/null
echo "ok: certificates changed"

# ---- all lost ----
op archive seal >/dev/null
wait_equal >/dev/null
sleep 1
last=$("$TRIVENI" restore "${archive[@]}" --preview -o json | jq .lsn)
for site in dc dr gsr; do
    site_kill $site KILL
done
for site in dc dr gsr; do
    rm -rf $site/data
    expect 0 "restored" "$TRIVENI" restore "${archive[@]}" --to-lsn "$last" --into $site/data --yes
    expect 1 "is no first start" "$TRIVENI" init --config $site.yaml --new-cluster
    expect 0 "is ready" "$TRIVENI" init --config $site.yaml --all-lost
done
sites_start
wait_primary >/dev/null
for key in one two three; do tv get land $key >/dev/null || die "$key is lost"; done
tv put land four 4 --ack all >/dev/null
op archive seal >/dev/null
for site in dc dr gsr; do whole $site; done
echo "ok: all sites begun again from the archive up to lsn $last"
echo "operations: all played"
