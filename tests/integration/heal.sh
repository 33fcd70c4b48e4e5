#!/usr/bin/env bash
# A gsr that is started with a damaged archive: it starts, says which pack is missing or damaged (with its lsns), goes on archiving
# behind it, and makes it whole from its own log or that of another site (drill.sh: from a copy); what can be healed from nowhere
# stays said until somebody puts it back.
#
# Usage: BUILD=build/gcc-release tests/integration/heal.sh
# suite: drills
# limit: 240 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-heal.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 25 "$DIR"/cluster/gsr.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
fail() { echo "FAILED: $*"; exit 1; }

archive() { site_status gsr | jq -r ".archive | $1"; }
# until_so SECONDS WHAT FILTER: the filter says true of gsr's archive.
until_so() {
    local until=$((SECONDS + $1))
    while [ "$SECONDS" -lt "$until" ]; do
        [ "$(archive "$3" 2>/dev/null)" = true ] && return 0
        sleep 0.2
    done
    fail "not within $1 s: $2; $(archive .) $(site_status gsr | jq -c .trouble)"
}
shown() { # TEXT: a line of trouble at gsr
    local i
    for i in $(seq 1 150); do
        site_status gsr | jq -r '.trouble[]' >"$DIR/trouble" || true
        grep -qF -- "$1" "$DIR/trouble" && return 0
        sleep 0.2
    done
    fail "trouble does not say '$1': $(cat "$DIR/trouble")"
}
# lsns PACK: "A to B" as told.
lsns() { basename "$1" | awk -F- '{ printf "%d to %d", $1, $2 }'; }
verified() { "$TRIVENI" archive verify -r "$A" -k "$K" >"$DIR/verify" 2>&1 || fail "verify: $(cat "$DIR/verify")"; }

cluster_create "$DIR/cluster"
A=$DIR/cluster/gsr/archive
K=$DIR/cluster/kek
sed -i "s|kek_file:|scrub_seconds: 1, kek_file:|" "$DIR/cluster/gsr.yaml"
sed -i 's/segment_mib: 32/segment_mib: 1, log_retain_mib: 64, checkpoint_mib: 2, checkpoint_seconds: 1/' "$DIR"/cluster/*.yaml
sites_start
wait_primary >/dev/null
written=0
sealed() { # SEAL so many packs: each is signed before the next
    local i
    for i in $(seq 1 "$1"); do
        written=$((written + 1))
        tv put land "plot-$written" "value-$written" >/dev/null
        op archive seal >/dev/null
        until_so 30 "what is sealed is signed" '.archived == .proven'
    done
}
sealed 4
packs() { find "$A/packs" -name '*.pack' | sort; }

# damage HOW PACK: the file is gone, cut short, without its key, with a broken meta, or gone with all its files.
damage() {
    chmod -R u+w "$A/packs" "$A/keys"
    case $1 in
    missing) rm "$2" ;;
    cut) truncate -s 100 "$2" ;;
    key) rm "$A"/keys/*/"$(basename "$2").key" ;;
    meta) printf x | dd of="${2%.pack}.meta" bs=1 seek=60 conv=notrunc status=none ;;
    nometa) rm "${2%.pack}.meta" ;;
    gone) rm "$2" "${2%.pack}.meta" "$A"/keys/*/"$(basename "$2").key" ;;
    esac
}

# ---- each kind of damage, in the middle and at the end, is made whole at the start: from its own file, or from the log ----
for how in missing cut key meta nometa gone; do
    for which in 2 last; do
        [ $which = 2 ] && victim=$(packs | sed -n 2p) || victim=$(packs | tail -n 1)
        site_kill gsr TERM
        damage "$how" "$victim"
        rm -f "$DIR/cluster/gsr/data/archive.ledger" # nothing but what was signed names it
        : >"$DIR/cluster/gsr.log"
        site_start gsr
        until_so 60 "$how, $which: healed" '.scrub.healed >= 1 and .scrub.damaged == 0'
        grep -q "DAMAGED packs/$(basename "$victim").*lsn $(lsns "$victim")" "$DIR/cluster/gsr.log" || fail "$how, $which: not told"
        [[ $how = *meta ]] && from="its own file" || from="the log"
        grep -q "$(basename "$victim") was healed from $from, as packs/" "$DIR/cluster/gsr.log" || fail "$how, $which: no word of healing"
        sealed 1
        verified
        # What is left of the old one is in nobody's way; the next scene is to meet one pack for each lsn.
        chmod -R u+w "$A/packs" "$A/keys"
        rm -f "$victim" "${victim%.pack}.meta" "$A"/keys/*/"$(basename "$victim").key"
    done
    echo "ok: started with a pack that is $how: told, healed from $from"
done

# ---- an index and a snapshot's neighbour: derived, made again ----
site_kill gsr TERM
chmod -R u+w "$A/indexes"
find "$A/indexes" -name '*.index' | sort | head -n 1 | xargs truncate -s 10
rm -f "$(find "$A/indexes" -name '*.meta' | sort | tail -n 1)"
site_start gsr
sealed 1
until_so 60 "indexes are whole" '.scrub.damaged == 0 and .indexed == .archived'
verified
echo "ok: started with a damaged index and one without its meta"

# ---- from another site: the log of gsr does not have it any more, that of dc or dr has it ----
for site in gsr dc dr; do
    site_kill $site TERM
done
# recycled SITE...: their logs do not have the entries of $victim any more.
recycled() {
    local site i last
    last=$(basename "$victim" | awk -F- '{ print $2 + 0 }')
    for site in "$@"; do
        for i in $(seq 1 300); do
            [ "$(site_status "$site" | jq .first)" -gt "$last" ] && break
            [ "$i" != 300 ] || fail "the log of $site still begins at $(site_status "$site" | jq .first)"
            sleep 0.1
        done
    done
}
sed -i 's/log_retain_mib: 64/log_retain_mib: 2/' "$DIR/cluster/gsr.yaml"
sites_start
wait_primary >/dev/null
load() {
    seq 1 12000 | awk '{ printf "k%07d\t%s%01000d\n", $1, "v", $1 }' >"$DIR/lines.tsv"
    tv load land "$DIR/lines.tsv" --name "$1" --batch 20 >/dev/null 2>&1
}
victim=$(packs | sed -n 2p)
load fill
recycled gsr
for how in gone cut; do
    victim=$(packs | sed -n 2p)
    site_kill gsr TERM
    damage $how "$victim"
    : >"$DIR/cluster/gsr.log"
    site_start gsr
    until_so 60 "$how: healed from another site" '.scrub.healed >= 1 and .scrub.damaged == 0'
    grep -q "$(basename "$victim") was healed from the log of d[cr], as packs/" "$DIR/cluster/gsr.log" || fail "$how: from where? $(grep healed "$DIR/cluster/gsr.log")"
    sealed 1
    verified
    rm -f "$victim" "${victim%.pack}.meta" "$A"/keys/*/"$(basename "$victim").key"
done
echo "ok: healed from the log of another site"

# ---- from nowhere: no log has it any more, and there is no copy; archiving goes on behind it ----
for site in gsr dc dr; do
    site_kill $site TERM
done
sed -i 's/log_retain_mib: 64/log_retain_mib: 2/' "$DIR"/cluster/*.yaml
sites_start
wait_primary >/dev/null
victim=$(packs | sed -n 2p)
load more
recycled gsr dc dr
site_kill gsr TERM
mv "$victim" "$DIR/whole"
site_start gsr
shown "archive: damaged: packs/$(basename "$victim") (lsn $(lsns "$victim"))"
shown "from other sites: d" # when they are in reach
grep -q "not healed: there are no copies.*; from the log: .*is not in the log any more" "$DIR/trouble" || fail "no reason: $(cat "$DIR/trouble")"
grep -qF "triveni archive heal" "$DIR/trouble" || fail "no advice: $(cat "$DIR/trouble")"
"$TRIVENI" archive list -r "$A" -k "$K" --ledger "$DIR/cluster/gsr/data/archive.ledger" 2>&1 | grep "DAMAGED .*$(basename "$victim")" >/dev/null || fail "the ledger does not know it"
sealed 2
[ "$(archive .scrub.damaged)" = 1 ] || fail "it is not said any more"
"$TRIVENI" archive verify -r "$A" -k "$K" >"$DIR/verify" 2>&1 && fail "verify finds nothing"
grep -q "$(basename "$victim")" "$DIR/verify" || fail "verify: $(cat "$DIR/verify")"
spoilt=$(packs | sed -n 2p)
site_kill gsr TERM
damage nometa "$spoilt"
site_start gsr
until_so 60 "its own file is enough" '.scrub.healed >= 1 and .scrub.damaged == 1'
grep -q "$(basename "$spoilt") was healed from its own file, as packs/" "$DIR/cluster/gsr.log" || fail "no word of what was healed from its own file"
mv "$DIR/whole" "$victim"
until_so 60 "put back by hand" '.scrub.damaged == 0'
until_so 30 "and nothing is wrong" '.trouble == null or .trouble == ""'
verified
echo "ok: a pack without its meta is healed from its own file when no log goes back so far"
echo "ok: healed from nowhere: said, archived behind it, over when it was put back"
echo "heal: a gsr starts with a damaged archive, says so, goes on, and makes it whole"
