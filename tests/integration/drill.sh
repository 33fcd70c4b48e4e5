#!/usr/bin/env bash
# The archive's care, with real sites: it is restored as a drill on a schedule, when an operator asks, and without any site; it is read
# again all the time, and what is damaged is found, named with its records, healed from a copy or the log, or told as long as it is not.
#
# Usage: BUILD=build/gcc-release tests/integration/drill.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-drill.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 20 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

fail() { echo "$*"; exit 1; }
# expect CODE ARGS...: as in cli.sh.
expect() {
    local wanted=$1 code=0
    shift
    "$TRIVENI" "$@" >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    [ "$code" = "$wanted" ] || fail "triveni $*: exit $code, expected $wanted: $(cat "$DIR/out" "$DIR/err")"
}
says() { grep -qF -- "$1" "$DIR/err" || fail "expected on stderr: $1; got: $(cat "$DIR/err")"; }
prints() { grep -qF -- "$1" "$DIR/out" || fail "expected: $1; got: $(cat "$DIR/out")"; }
# archive FILTER: what gsr says of its archive.
archive() { site_status gsr | jq -r ".archive | $1"; }
# until_so SECONDS WHAT FILTER: the filter says true of gsr's archive.
until_so() {
    local until=$((SECONDS + $1))
    while [ "$SECONDS" -lt "$until" ]; do
        [ "$(archive "$3")" = true ] && return 0
        sleep 0.2
    done
    fail "not within $1 s: $2; $(archive '{drill, scrub}')"
}
# flip FILE: one bit in its middle; a second time it is as before.
flip() {
    local at=$(($(stat -c %s "$1") / 2)) byte
    byte=$(od -An -tu1 -j "$at" -N 1 "$1")
    chmod u+w "$1"
    printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

cluster_create "$DIR/cluster"
A=$DIR/cluster/gsr/archive
D=$DIR/cluster/gsr/data
K=$DIR/cluster/kek
o=(--profile "$DIR/cluster/operator.yaml")
c=(--profile "$DIR/cluster/client.yaml")
# gsr_with KEYS: gsr's configuration with more keys of its repository section.
cp "$DIR/cluster/gsr.yaml" "$DIR/gsr.yaml"
gsr_with() { sed "s|kek_file:|$1, kek_file:|" "$DIR/gsr.yaml" >"$DIR/cluster/gsr.yaml"; }
gsr_with "scrub_seconds: 1, copies: ['$DIR/copy']"
grep -q scrub_seconds "$DIR/cluster/gsr.yaml" || fail "no place for keys in $(cat "$DIR/gsr.yaml")"
sites_start
wait_primary >/dev/null
for pack in 1 2 3; do
    for i in 1 2 3 4 5; do tv put "land$pack" "plot-$i" "$pack-$i" >/dev/null; done
    expect 0 archive seal "${o[@]}"
done

# ---- never, then one now ----
expect 5 drill restore "${c[@]}" && says "never restored as a drill"
tv status >"$DIR/out" && prints "last restore drill never"
expect 8 drill restore --now "${c[@]}" && says "drill needs an operator's certificate"
expect 0 drill restore --now "${o[@]}" && prints ", ok" && prints "equal to the digest that the sites had at lsn"
[ "$(wc -l <"$D/drills.jsonl")" = 1 ] || fail "no evidence: $(cat "$D/drills.jsonl")"
jq -e '.ok and .records == 15 and .compared_lsn > 0 and .asked and .seconds >= 0 and .bytes > 0' "$D/drills.jsonl" >/dev/null ||
    fail "evidence: $(cat "$D/drills.jsonl")"
for _ in $(seq 1 100); do
    "$TRIVENI" archive operations --repository "$DIR/cluster/gsr/archive" -o json 2>/dev/null | jq -e 'select(.op == "drill" and .detail == "restored, equal" and .last > 0)' >"$DIR/leaf" && break
    sleep 0.1
done
[ -s "$DIR/leaf" ] || fail "the operations log does not name the drill"
[ -z "$(ls "$D/drill" | grep -v lock || true)" ] || fail "a drill left $(ls "$D/drill")"
expect 0 drill restore "${c[@]}" && prints ", ok"
tv status >"$DIR/out" && prints ", ok"

# ---- without any site, and as a level of verification ----
expect 0 drill restore -r "$A" -k "$K" --scratch "$DIR/scratch" && prints "15 records"
expect 2 drill restore -r "$A" -k "$K" && says "--scratch is needed"
expect 0 archive verify -r "$A" -k "$K" --level restorable --scratch "$DIR/scratch" && prints "restored to lsn"
expect 0 archive list -r "$A" -k "$K" -o json
lsn=$(jq -r .last "$DIR/out" | head -n 1)
expect 0 archive verify -r "$A" -k "$K" --level restorable --scratch "$DIR/scratch" --to-lsn "$lsn" -o json
[ "$(jq .restored.lsn "$DIR/out")" = "$lsn" ] || fail "--to-lsn $lsn: $(cat "$DIR/out")"
expect 3 archive verify -r "$A" -k "$K" --level restorable --scratch "$DIR/scratch" --to-lsn 5 && says "no digest up to there"
expect 2 archive verify -r "$A" -k "$K" --level restorable && says "--scratch DIR is needed"
expect 2 archive verify -r "$A" -k "$K" --scratch "$DIR/scratch" && says "goes with --level restorable"
[ "$(ls "$DIR/scratch")" = triveni-drill.lock ] || fail "drills left $(ls "$DIR/scratch")"

# ---- the scrub: everything is in the ledger; damage is found and healed from the copy ----
until_so 30 "the copy is whole" '.copies[0].archived >= .archived'
until_so 30 "every object is verified" '.scrub.objects >= 6 and .scrub.damaged == 0 and .scrub.bytes > 0'
rounds() { "$TRIVENI" archive operations -r "$A" -o json 2>/dev/null | jq -s '[.[] | select(.op == "verify" and .detail == "readable, scrub" and .checked >= 6)] | length'; }
for _ in $(seq 1 200); do
    [ "$(rounds)" -gt 0 ] && break
    sleep 0.1
done
[ "$(rounds)" -gt 0 ] || fail "the operations log does not name a round of the scrub"
op events --site gsr >"$DIR/out" && prints "once round the archive"
lsn=$(tv get land2 plot-3 -o json | jq .lsn)
expect 0 archive list -r "$A" -k "$K" -o json
victim=$A/$(jq -r "select(.first <= $lsn and .last >= $lsn) | .name" "$DIR/out") # the pack that the later scenes ask for
before=$(sha256sum <"$victim")
flip "$victim"
until_so 40 "damage is healed" '.scrub.healed == 1'
[ "$(sha256sum <"$victim")" = "$before" ] || fail "$victim is not what it was"
op events --site gsr >"$DIR/out" && prints "DAMAGED packs/$(basename "$victim")" && prints "was healed from $DIR/copy"
prints "records were written there: land"
rm -f "${victim%.pack}.meta" "$victim"
until_so 60 "a pack that is gone comes back" '.scrub.healed >= 2 and .scrub.damaged == 0'
[ "$(sha256sum <"$victim")" = "$before" ] || fail "$victim is not what it was"
expect 0 archive verify -r "$A" -k "$K"

# ---- what the disk does not give any more is lost like what is damaged, and healed like it ----
site_kill gsr TERM
: >"$DIR/bad" # the inode of the file that lies on a bad spot
LD_PRELOAD=$(realpath "$BUILD/tests/lib/bad_disk.so") BAD_DISK_FILE=$DIR/bad site_start gsr
until_so 20 "gsr is back" '.scrub.objects >= 6'
stat -c %i "$victim" >"$DIR/bad"
until_so 60 "a pack that cannot be read is healed" '.scrub.healed == 1 and .scrub.damaged == 0'
op events --site gsr >"$DIR/out" && prints "DAMAGED packs/$(basename "$victim")" && prints "Input/output error"
[ "$(sha256sum <"$victim")" = "$before" ] && [ "$(stat -c %i "$victim")" != "$(cat "$DIR/bad")" ] || fail "$victim was not written anew"

# ---- damaged at the start, and nobody looks for it: it is told, a drill fails, and its records are named (heal.sh has what heals it) ----
site_kill gsr TERM
gsr_with "scrub_mib_per_second: 0"
mv "$victim" "$DIR/whole"
head -c 100 "$DIR/whole" >"$victim"
site_start gsr
until_so 40 "gsr is back" '.packs > 0'
tv status >"$DIR/out" && prints "archive: 1 objects are damaged: triveni archive verify names them"
expect 7 archive damage -r "$A" -k "$K" && prints "land2 plot-3" && prints "committed from"
expect 7 archive damage -r "$A" -k "$K" -o json
[ "$(jq -s '[.[].records[]? | select(.collection == "land2")] | length' "$DIR/out")" = 5 ] || fail "records: $(cat "$DIR/out")"
expect 7 archive verify -r "$A" -k "$K" --level restorable --scratch "$DIR/scratch" && says "drill"
expect 7 drill restore --now "${o[@]}" && says "the last restore drill at gsr failed" && says "packs/$(basename "$victim")"
tv status >"$DIR/out" && prints ", FAILED" && prints "! site gsr: restore drill of"
[ "$(tail -n 1 "$D/drills.jsonl" | jq -r '"\(.ok) \(.code)"')" = "false integrity" ] || fail "evidence: $(cat "$D/drills.jsonl")"
mv "$DIR/whole" "$victim"

# ---- what was the last one outlives a restart; the next is done on schedule, here a second after the failure ----
site_kill gsr TERM
gsr_with "scrub_seconds: 1, drill_hours: 1, drill_dir: '$DIR/elsewhere'"
site_start gsr
until_so 20 "the failed drill is remembered" '.drill.last.ok == false and .drill.next_us != null'
site_kill gsr TERM
# The outcomes as they would be an hour later.
jq -c '.ended_us -= 3600000000' "$D/drills.jsonl" >"$DIR/older" && cp "$DIR/older" "$D/drills.jsonl"
printf '{"ok":true,"ended_us":1' >>"$D/drills.jsonl" # torn by a power cut
site_start gsr
until_so 40 "a drill on schedule" '.drill.last.ok and .drill.last.asked == false'
[ -e "$DIR/elsewhere/triveni-drill.lock" ] || fail "not in drill_dir"
tail -n 1 "$D/drills.jsonl" | jq -e .ok >/dev/null || fail "evidence: $(cat "$D/drills.jsonl")"
tv status >"$DIR/out"
! grep -q "restore drill of" "$DIR/out" || fail "trouble that is over: $(cat "$DIR/out")"

# ---- a pack that no copy has is made again from the log: damaged, and then gone with all its files ----
# heal_is_signed PACK: the operations log says that it need not be there any more.
heal_is_signed() {
    for _ in $(seq 1 200); do
        "$TRIVENI" archive operations -r "$A" -o json >"$DIR/leaves" 2>/dev/null || true
        jq -se --arg name "packs/$(basename "$1")" 'any(.[]; .op == "heal" and .object == $name)' "$DIR/leaves" >/dev/null && return 0
        sleep 0.1
    done
    fail "no leaf says that $1 was healed: $(cat "$DIR/leaves")"
}
now_whole() {
    expect 0 archive verify -r "$A" -k "$K" --level restorable --scratch "$DIR/scratch"
    prints "restored to lsn"
    expect 0 archive verify -r "$A"
    python3 "$(dirname "$0")/../repository/verify_tree.py" operations "$A" "$(cat "$A"/tree/keys/* | grep "^triveni/[-0-9a-f]*+")" >"$DIR/out" 2>&1 ||
        fail "verify_tree.py: $(cat "$DIR/out")"
}
flip "$victim"
until_so 60 "a pack is made again" '.scrub.healed == 1 and .scrub.damaged == 0'
op events --site gsr >"$DIR/out" && prints "DAMAGED packs/$(basename "$victim")" && prints "$(basename "$victim") was healed from the log, as packs/"
heal_is_signed "$victim"
now_whole
again=$(ls "${victim%-*}"-*.pack | grep -v "$victim")
rm -f "$again" "${again%.pack}.meta" "$A/keys"/*/"$(basename "$again").key"
until_so 60 "a pack that is gone is made again" '.scrub.healed == 2 and .scrub.damaged == 0'
heal_is_signed "$again"
now_whole
tv put land9 plot-1 more >/dev/null
expect 0 archive seal "${o[@]}"
site_kill gsr TERM
site_start gsr
until_so 20 "it opens again" '.trouble == null or .trouble == ""'
expect 0 drill restore --now "${o[@]}" && prints ", ok"
tv status >"$DIR/out"
! grep -q "archive: " "$DIR/out" || fail "trouble that is over: $(cat "$DIR/out")"
echo "drills: asked for, scheduled, without a site, failed and over; damage found, named, healed from a copy or the log, and told without"
