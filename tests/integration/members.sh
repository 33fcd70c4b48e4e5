#!/usr/bin/env bash
# The list of members: a site that counts others than it did is not started, sites that count differently do not talk to each other,
# two primaries are shown, and the list can be changed while all sites are stopped (P3).
#
# Usage: BUILD=build/gcc-release tests/integration/members.sh
# suite: drills
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-members.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
. "$(cd "$(dirname "$0")" && pwd)/../lib/expect.sh"
# logged SITE TEXT: within 5 s.
logged() {
    local i
    for i in $(seq 1 50); do
        grep -q -- "$2" "$1.log" && return 0
        sleep 0.1
    done
    die "$1 does not say '$2'"
}
without() { sed -i "/name: $1,/d" "$2.yaml"; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
cp dc.yaml dc.whole
sites_start
wait_primary >/dev/null
tv put land one 1 >/dev/null
wait_equal >/dev/null
for site in dc dr gsr; do site_kill $site TERM; done

# ---- the order means nothing; a site that counts others is not started ----
gsr_line=$(grep 'name: gsr,' dc.yaml)
without gsr dc
sed -i "s/^members:/members:\n$gsr_line/" dc.yaml
sites_start
wait_primary >/dev/null
tv put land two 2 >/dev/null
wait_equal >/dev/null
for site in dc dr gsr; do site_kill $site TERM; done
cp dc.whole dc.yaml
without dr dc
without gsr dc
expect 8 "counts the members dc data, dr data, gsr repository, the configuration has dc data:" "$TRIVENI" serve --config dc.yaml
expect 8 "only 1 of the members" "$TRIVENI" init --config dc.yaml --members-changed
echo "ok: a list that was cut down by hand is not started"

# ---- somebody insists, and forges the file: status shows two primaries in one term, or in two ----
sed -i 's/"members": "[^"]*"/"members": "dc data"/' dc/data/site.json
sites_start
site=
for i in $(seq 1 100); do
    [ "$(site_status dc | jq -r .role)" = primary ] && [ "$(site_status dr | jq -r .role)" = primary ] && site=both && break
    sleep 0.1
done
[ "$site" = both ] || die "the scenario did not happen"
op status >"$DIR/status"
grep -q '^! 2 sites say that they are primary: dc in term [0-9]*, dr in term [0-9]*: ' "$DIR/status" || die "no warning: $(cat "$DIR/status")"
[ "$(op status -o json | jq -c '[.primaries[].site]')" = '["dc","dr"]' ] || die "JSON: $(op status -o json)"
for site in dc dr gsr; do site_kill $site TERM; done
echo "ok: two primaries are shown"

# ---- two that count differently do not link: both say why ----
cluster_stop
rm -rf "$DIR/cluster"
cluster_create "$DIR/cluster"
cd "$DIR/cluster"
without gsr dc
sed -i 's/"members": "[^"]*"/"members": "dc data, dr data"/' dc/data/site.json
site_start dc
site_start dr
logged dr "link from a site refused: .*its configuration has the members dc data, dr data; that of dr has dc data, dr data, gsr repository"
logged dc "link to dr: .*refused us: .*its configuration has the members dc data, dr data; that of dr has dc data, dr data, gsr repository"
echo "ok: both sides say how their lists differ"
site_kill dc TERM
site_kill dr TERM

# ---- changed on purpose, with everything stopped ----
rm -rf "$DIR/cluster"
cluster_create "$DIR/cluster"
cd "$DIR/cluster"
sites_start
wait_primary >/dev/null
tv put land one 1 >/dev/null
wait_equal >/dev/null
for site in dc dr gsr; do site_kill $site TERM; done
sed -i 's/name: dr,/name: dr2,/; s/^site: dr$/site: dr2/' dc.yaml dr.yaml gsr.yaml
expect 8 "see triveni init --help" "$TRIVENI" serve --config gsr.yaml
for site in dc gsr; do
    expect 0 "from now on: dc data, dr2 data, gsr repository" "$TRIVENI" init --config $site.yaml --members-changed
done
"$TRIVENI" pki site dr2 --dir pki >/dev/null 2>&1
sed -i 's#pki/dr\.#pki/dr2.#g; s#data_dir: dr/data#data_dir: dr2/data#' dr.yaml
expect 0 "ready to catch up" "$TRIVENI" init --config dr.yaml --rebuilt
sites_start
wait_primary dc >/dev/null
tv put land two 2 --ack all >/dev/null
wait_equal >/dev/null
op switchover --to dr2 >/dev/null || die "dr2 does not take over"
[ "$(tv get land one)" = 1 ] && [ "$(tv get land two)" = 2 ] || die "a record is lost"
echo "ok: dr was replaced by dr2"
echo "members: all told"
