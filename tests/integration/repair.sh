#!/usr/bin/env bash
# Damage at running sites is repaired from a peer, or told; and states that differ are found, named, and bar from promotion: with
# three real sites, damage done to their files while they run.
#
# Usage: BUILD=build/gcc-release tests/integration/repair.sh
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
WRONG=$(realpath "$BUILD/tests/writers/wrong_value")
export TRIVENI
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
HERE=$(cd "$(dirname "$0")/.." && pwd)
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-repair.XXXXXX")
. "$HERE/lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 25 "$DIR"/cluster/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
die() {
    echo "FAILED: $*"
    exit 1
}

# flip FILE TEXT [OFFSET]: a bit at OFFSET from each place where the text stands in the file.
flip() {
    local at byte
    for at in $(grep -abo -- "$2" "$1" | cut -d : -f 1); do
        at=$((at + ${3:-0}))
        byte=$(od -An -tu1 -j "$at" -N 1 "$1")
        printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$at" conv=notrunc 2>/dev/null
    done
    [ -n "${at:-}" ] || die "$2 is not in $1"
}
# wait_for SITE FILTER TEXT: until what the site says of itself fits.
wait_for() {
    local until=$((SECONDS + 20))
    while site_alive "$1" && [ "$SECONDS" -lt "$until" ]; do
        [ "$(site_status "$1" | jq "$2" 2>/dev/null)" = true ] && return 0
        sleep 0.1
    done
    die "$3: $(site_alive "$1" && site_status "$1" | jq -c '[.care, .scrub, .trouble]' || echo "$1 does not run")"
}
events_of() { op events -n 300 --endpoints "127.0.0.1:$(client_port "$1")"; }
# says SITE TEXT: an event of the site has it.
says() {
    grep -qF -- "$2" <<<"$(events_of "$1")" || die "no event of $1 says '$2'"
}
# What this very site has of the record in deeds; the value alone.
value_at() {
    if [ "$1" = "$primary" ]; then
        tv get deeds "$2" --raw --endpoints "127.0.0.1:$(client_port "$1")"
    else
        tv get deeds "$2" --raw --standby --endpoints "127.0.0.1:$(client_port "$1")"
    fi
}

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
sed -i 's/^store: {/store: {checkpoint_seconds: 2, scrub_mib_per_second: 16, /; s/segment_mib: 32/segment_mib: 20/' ./*.yaml
sites_start
primary=$(wait_primary)
standby=$([ "$primary" = dc ] && echo dr || echo dc)
seq 1 3000 | awk '{ printf "{\"id\":\"r%05d\",\"owner\":\"owner of title %d\"}\n", $1, $1 }' >titles.jsonl
tv load titles titles.jsonl --key id >/dev/null 2>&1
for i in 1 2 3 4 5 6; do tv put deeds "marked-$i" "MARK-OF-RECORD-$i-HERE" >/dev/null; done
before=$(wait_equal)
for site in dc dr gsr; do wait_for "$site" '.scrub.passes >= 1' "no pass of the scrub"; done

# ---- a record that a reader meets: at a standby, at the primary, and both in one row's head and in its value ----
n=0
for place in "$standby:1:3" "$primary:2:3" "$standby:3:-40" "$primary:4:-16" "gsr:5:-32"; do
    IFS=: read -r site record offset <<<"$place"
    flip "$site/data/state/data.mdb" "MARK-OF-RECORD-$record-HERE" "$offset"
    n=$((n + 1))
    value_at "$site" "marked-$record" >"$DIR/out" 2>"$DIR/err" || true
    for i in $(seq 1 100); do
        grep -qF "record 'marked-$record' of collection 'deeds' was repaired from" <<<"$(events_of "$site")" && break
        sleep 0.1
    done
    says "$site" "record 'marked-$record' of collection 'deeds' was repaired from"
    got=$(value_at "$site" "marked-$record")
    [ "$got" = "MARK-OF-RECORD-$record-HERE" ] || die "$site gives '$got' for marked-$record"
done
[ "$(wait_equal)" = "$before" ] || die "the digests changed"
echo "ok: $n records were repaired while the sites ran"

# ---- a damaged record is overwritten: the sums are counted again, and stay equal ----
flip "$standby/data/state/data.mdb" "MARK-OF-RECORD-6-HERE" -16
flip "$primary/data/state/data.mdb" "MARK-OF-RECORD-6-HERE" 2
tv put deeds marked-6 new >/dev/null
for site in "$primary" "$standby"; do
    for i in $(seq 1 100); do
        grep -qF "the sums were counted again and are right" <<<"$(events_of "$site")" && break
        sleep 0.1
    done
    says "$site" "the sums were counted again and are right"
done
wait_equal >/dev/null
echo "ok: a rotten record was overwritten, and the digests are equal"

# ---- the log: a bit in a segment that is full. The primary keeps it, because the standby is away; gsr has the entries, too. ----
site_kill "$standby" TERM
head -c 9000000 /dev/urandom | base64 -w 0 >large
for i in 1 2 3 4; do tv put deeds "large-$i" --file large --timeout 60s >/dev/null; done
for i in $(seq 1 150); do # until gsr has it, also in its state
    [ "$(site_status gsr | jq .applied)" = "$(site_status "$primary" | jq .last)" ] && break
    sleep 0.1
done
site_kill "$primary" TERM
# A pass begins soon, wherever the one under way is.
sed -i 's/scrub_mib_per_second: 16/scrub_mib_per_second: 64, scrub_seconds: 2/' "$primary.yaml"
site_start "$primary"
# What is read to be applied must be whole: it is the scrub that is to find the damage.
wait_for "$primary" '.scrub != null and .applied == .last' "the primary does not start"
[ "$(ls "$primary"/data/log/0*.seg | wc -l)" -ge 3 ] || die "the log has too few segments"
segment=$(ls "$primary"/data/log/0*.seg | head -n 2 | tail -n 1)
byte=$(od -An -tu1 -j 5000000 -N 1 "$segment") # in the middle of a large value
printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$segment" bs=1 seek=5000000 conv=notrunc 2>/dev/null
wait_for "$primary" '.care.mended_segments >= 1' "the segment was not mended"
says "$primary" "of the log, lsn"
ls "$primary"/data/log/*.damaged >/dev/null || die "the damaged file was not kept"
wait_for "$primary" '.scrub.passes >= 1 and .scrub.damaged == 0' "damage is left"
site_start "$standby" # is fed from the mended segment
wait_equal 300 >/dev/null
site_kill "$primary" TERM
"$TRIVENI" check "$primary/data" >"$DIR/out" 2>&1 || die "the mended log is not clean: $(cat "$DIR/out")"
sed -i 's/scrub_mib_per_second: 64, scrub_seconds: 2/scrub_mib_per_second: 16/' "$primary.yaml"
site_start "$primary"
wait_equal >/dev/null
primary=$(wait_primary)
standby=$([ "$primary" = dc ] && echo dr || echo dc)
echo "ok: a damaged segment was mended, is clean, and another site was fed from it"

# ---- states that differ: a value changed behind all checksums ----
site_kill "$standby" TERM
"$WRONG" "$standby/data/state" titles r00042 "this was never written" || die "wrong_value"
began=$(date +%s%N)
site_start "$standby"
for i in $(seq 1 200); do
    [ "$(site_status "$standby" | jq '.care.differs')" = true ] && break
    sleep 0.05
done
[ "$(site_status "$standby" | jq '.care.differs')" = true ] || die "the difference was not found"
echo "ok: the difference was found $((($(date +%s%N) - began) / 1000000)) ms after the start"
for i in $(seq 1 100); do
    grep -qF "'r00042' of 'titles'" <<<"$(events_of "$primary")" && break
    sleep 0.1
done
says "$primary" "$standby differs from this site in 1 of 4096 buckets"
says "$primary" "records 'r00042' of 'titles' (another value)"
says "$standby" "this site is not promoted"
grep -q "^! .*'r00042' of 'titles'" <<<"$(op status)" || die "status does not name the record: $(op status)"
if op switchover --to "$standby" >"$DIR/out" 2>"$DIR/err"; then
    die "a site that differs was promoted"
fi
grep -q "differs" "$DIR/err" || die "the switchover was refused without the reason: $(cat "$DIR/err")"
echo "ok: the record is named, and the site is not promoted"

# It is not elected either, also right after a restart, when nobody has compared yet.
site_kill "$standby" TERM
site_kill "$primary" KILL
site_start "$standby"
wait_for "$standby" '.care.differs' "the verdict did not outlive the restart"
sleep 3
[ -z "$(current_primary || true)" ] || die "a site that differs became primary"
says "$standby" "not standing, the state of this site differs"
site_start "$primary"
wait_primary "$primary" >/dev/null
echo "ok: it does not stand"

# The way out: make it anew, from the archive, because the primary's log does not reach back any more.
timeout 30 "$TRIVENI" archive seal --profile operator.yaml >"$DIR/out" 2>&1 || die "archive seal: $(cat "$DIR/out")"
site_kill "$standby" TERM
mv "$standby/data" "$standby/data.old"
timeout 60 "$TRIVENI" restore -r gsr/archive -k kek --into "$standby/data" --yes >"$DIR/out" 2>&1 || die "restore: $(cat "$DIR/out")"
"$TRIVENI" init --config "$standby.yaml" --rebuilt >"$DIR/out" 2>&1 || die "init --rebuilt: $(cat "$DIR/out")"
site_start "$standby"
wait_equal 300 >/dev/null
wait_for "$standby" '.care.differs == false' "the new state is not found equal"
for i in $(seq 1 100); do
    [ -z "$(site_status "$primary" | jq -r '.care.compared[]? | select(.equal == false) | .name')" ] && break
    sleep 0.1
done
op switchover --to "$standby" >/dev/null || die "the site that was made anew is not promoted"
wait_primary "$standby" >/dev/null
echo "ok: made anew, it is equal and promoted"
echo "repair: all damage was repaired or told"
