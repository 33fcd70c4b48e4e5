#!/usr/bin/env bash
# The copies of the archive are read again all the time, as the archive itself is: what rots in one of them is told, with the place and the
# lsns, and put back from the archive; what is damaged in both stays told until it is put back; a place that cannot be read is trouble of
# that place alone; what was verified when outlives a restart.
#
# Usage: BUILD=build/gcc-release tests/integration/copies.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-copies.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
. "$(cd "$(dirname "$0")" && pwd)/../lib/expect.sh"

A=$DIR/cluster/gsr/archive
K=$DIR/cluster/kek
D=$DIR/cluster/gsr/data
ONE=$DIR/one
TWO=$DIR/two
archive() { site_status gsr | jq -r ".archive | $1"; }
so() { [ "$(archive "$1" 2>/dev/null)" = true ]; }
shown() { site_status gsr | jq -r '.trouble[]?' >"$DIR/trouble" && grep -qF -- "$1" "$DIR/trouble"; }
told() { grep -qF -- "$1" "$DIR/cluster/gsr.log"; }
unseen() { [ -n "$(site_status gsr)" ] && ! shown "$1"; }
# flip FILE: one bit in its middle; a second time it is as before.
flip() {
    local at=$(($(stat -c %s "$1") / 2)) byte
    byte=$(od -An -tu1 -j "$at" -N 1 "$1")
    chmod u+w "$1"
    printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}
# damage HOW FILE WHOLE: WHOLE has what was in it. The site stands meanwhile, or it may be healed before we have looked.
damage() {
    site_kill gsr STOP
    case $1 in
    flip) flip "$2" ;;
    cut) chmod u+w "$2" && truncate -s $(($(stat -c %s "$2") / 2)) "$2" ;;
    gone) rm -f "$2" ;;
    esac
    ! cmp -s "$2" "$3" || die "$2 was not damaged"
    site_kill gsr CONT
}
# lsns OBJECT: "A to B" as told; of a snapshot its lsn twice.
lsns() { basename "$1" | awk -F- '{ printf "%d to %d", $1, (NF > 2 ? $2 : $1) }'; }
nth() { find "$A/$1" -name "*.$2" | sort | sed -n "$3p"; } # FOLDER END N

cluster_create "$DIR/cluster"
sed -i 's/snapshot_entries: 10000/snapshot_entries: 1/' "$DIR/cluster/gsr.yaml"
cp "$DIR/cluster/gsr.yaml" "$DIR/gsr.yaml"
# gsr_with KEYS: gsr's configuration with more keys of its repository section.
gsr_with() { sed "s|kek_file:|$1, kek_file:|" "$DIR/gsr.yaml" >"$DIR/cluster/gsr.yaml"; }
sites_start
wait_primary >/dev/null
for pack in 1 2 3; do
    tv put "land$pack" plot value >/dev/null
    op archive seal >/dev/null
done
eventually "everything is signed and indexed" so '.archived == .proven and .archived == .indexed and .snapshots >= 3'
site_kill gsr TERM
gsr_with "scrub_seconds: 1, copies: ['$ONE', '$TWO']"
grep -q scrub_seconds "$DIR/cluster/gsr.yaml" || die "no place for keys in $(cat "$DIR/gsr.yaml")"
site_start gsr

# ---- every object of both copies is in a ledger, and is verified again ----
same='[.scrub.objects, .copies[].scrub.objects] | (.[0] >= 7 and all(. == $n))'
eventually "the copies are read" so "(.scrub.objects) as \$n | ${same}"
eventually "each is verified" so 'all(.copies[].scrub; .damaged == 0 and .bytes > 0 and .oldest_us / 1000000 > (now - 30))'
expect 0 "archive at gsr: copy $ONE: " "$TRIVENI" status --profile "$DIR/cluster/client.yaml"
for i in 0 1; do
    ledger=$D/$(archive ".copies[$i].scrub.ledger")
    case $ledger in *archive.copy-*.ledger) ;; *) die "copy $i has the ledger '$ledger'" ;; esac
done
[ "$(archive '[.scrub.ledger, .copies[].scrub.ledger] | unique | length')" = 3 ] || die "one ledger for two places"
echo "ok: each copy has its ledger, and is read"

# ---- each kind of damage to each kind of file of a copy ----
scene() { # HOW FOLDER END N
    local how=$1 folder=$2 end=$3 whole object damaged before
    case $folder in
    keys) object=$(nth packs pack "$4") && whole=$A/keys/1/$(basename "$object").key ;;
    *) object=$(nth "$folder" "${end/meta/pack}" "$4") && whole=${object%.*}.$end ;;
    esac
    [ -e "$whole" ] || die "there is no $whole"
    damaged=$ONE${whole#"$A"}
    cmp -s "$whole" "$damaged" || die "$damaged differs before"
    before=$(archive '.copies[0].scrub.healed')
    : >"$DIR/cluster/gsr.log"
    damage "$how" "$damaged" "$whole"
    if [ "$folder $how" = "indexes cut" ] || [ "$folder $how" = "indexes gone" ]; then
        # Each run of the copying looks at all indexes, and may be there first; it tells what was damaged.
        eventually "$how $damaged: put back" cmp -s "$whole" "$damaged"
        eventually "nothing is left of it" so '.copies[0].scrub.damaged == 0'
        [ $how = gone ] || eventually "$how $damaged: told" grep -qE "copy $ONE: (DAMAGED )?${object#"$A/"}" "$DIR/cluster/gsr.log"
        return 0
    fi
    eventually "$how $damaged: healed" so ".copies[0].scrub.healed == $((before + 1)) and .copies[0].scrub.damaged == 0"
    cmp -s "$whole" "$damaged" || die "$how: $damaged is not what it was"
    told "copy $ONE: DAMAGED $folder/$(basename "$object")" || told "copy $ONE: DAMAGED packs/$(basename "$object")" || die "$how $damaged: not told"
    told "(lsn $(lsns "$object")" || die "$how $damaged: not told which lsns: $(cat "$DIR/cluster/gsr.log")"
    told "copy $ONE: ${object#"$A/"} was healed from the archive" || die "$how $damaged: no word of healing"
    ! grep -q "DAMAGED" <(grep -v "copy $ONE: DAMAGED ${object#"$A/"}" "$DIR/cluster/gsr.log") || die "$how $damaged: told of another one"
}
for how in flip cut gone; do
    scene $how packs pack 1
    scene $how packs meta 2
    scene $how keys key 3
    scene $how indexes index 1
    scene $how snapshots snap 2
done
[ "$(archive '.scrub.healed + .copies[1].scrub.healed')" = 0 ] || die "what was whole was healed: $(archive .)"
expect 0 "" "$TRIVENI" archive verify -r "$ONE" -k "$K"
echo "ok: what is flipped, cut and gone in a copy is told and put back"
# ---- what is no object: repository.json, the files of the signed tree and of the operations log, there and in the archive itself ----
told_as() { grep -qE -- "$1" "$DIR/cluster/gsr.log"; }
# rests HOW FILE PART: damaged in a copy, then in the archive, it is told by the part that it belongs to, and is what it was.
rests() {
    local place whole=$DIR/whole copy
    cp "$A/$2" "$whole"
    for copy in true false; do
        [ $copy = true ] && place=$ONE || place=$A
        cmp -s "$whole" "$place/$2" || die "$place/$2 differs before"
        : >"$DIR/cluster/gsr.log"
        damage "$1" "$place/$2" "$whole"
        eventually "$1 $place/$2: put back" cmp -s "$whole" "$place/$2"
        eventually "$1 $place/$2: nothing is left of it" so '[.scrub.damaged, .copies[].scrub.damaged] | all(. == 0)'
        if [ $copy = true ]; then
            # Each run of the copying looks at the first two, and may be there first; it tells that, too.
            eventually "$1 $2 of the copy: told" told_as "archive scrub: copy $ONE: $3 was healed from the archive|archive: copy $ONE: $2 was (damaged|missing) there, and is put back"
            told "is put back" || told_as "archive scrub: copy $ONE: DAMAGED $3: .*no record is lost" || die "$1 $2 of the copy: not told"
        else
            eventually "$1 $2: told" told_as "archive scrub: $3 was healed from (what else lies there|$ONE|$TWO)"
            told_as "archive scrub: DAMAGED $3: .*no record is lost" || die "$1 $2: not told"
        fi
    done
}
stretch=tree/00000000000000000001-00000000000000065536
newest() { (cd "$A" && find "$1" -name '[0-9]*' -path '*.p/*' | sort -t/ -k "$2" -n | tail -n 1); } # of partial tiles FOLDER, by field
eventually "nothing waits" so '.archived == .proven'
for how in flip gone; do
    rests $how repository.json repository.json
    rests $how tree/checkpoint "(tree/checkpoint|$stretch)"
    rests $how "$(newest tree/tile/entries 5)" $stretch
    rests $how "$(newest tree/tile/0 5)" "(tree/checkpoint|$stretch)"
done
echo "ok: what is no object is told and put back as well"

# An object with all its files, so that nothing there names it but the ledger.
victim=$(basename "$(nth snapshots snap 1)" .snap)
before=$(archive '.copies[1].scrub.healed')
rm -f "$TWO/snapshots/$victim".* "$TWO/keys/1/$victim.snap.key"
eventually "gone with all its files" so ".copies[1].scrub.healed == $((before + 1)) and .copies[1].scrub.damaged == 0"
expect 0 "" "$TRIVENI" archive verify -r "$TWO" -k "$K"
echo "ok: what is gone with all its files is missed and put back"

# ---- the ledger outlives a restart, also when the list of copies is another one ----
ledger=$D/$(archive '.copies[1].scrub.ledger')
site_kill gsr TERM
gsr_with "scrub_seconds: 86400, copies: ['$TWO', '$ONE']"
verified=$(awk '$2 == "readable" { print $1 }' "$ledger" | sort -n | head -n 1)
[ $((verified / 1000000)) -gt $(($(date +%s) - 60)) ] || die "the ledger: $(cat "$ledger")"
site_start gsr
eventually "the ledger is read again" so ".copies[0].scrub.ledger == \"$(basename "$ledger")\" and .copies[0].scrub.oldest_us == $verified"
site_kill gsr TERM
gsr_with "scrub_seconds: 1, copies: ['$ONE', '$TWO']"
site_start gsr
eventually "the copies are read" so "(.scrub.objects) as \$n | ${same}"
echo "ok: what was verified when outlives a restart, and stays with its place"

# ---- damaged in the archive and in both copies, and nobody has its entries: told of each, and over when one of them is put back ----
object=$(nth snapshots snap 2)
name=snapshots/$(basename "$object")
site_kill gsr STOP # or one is healed before the next is damaged
for place in "$ONE" "$TWO" "$A"; do flip "$place/$name"; done
site_kill gsr CONT
for place in "copy $ONE: " "copy $TWO: " ""; do
    eventually "damage is told of '$place'" shown "archive: ${place}damaged: $name (lsn $(lsns "$object")): "
    grep -F -- "archive: ${place}damaged: $name" "$DIR/trouble" | grep "not healed: .*triveni archive heal" >/dev/null || die "no advice: $(cat "$DIR/trouble")"
done
expect 0 "1 DAMAGED" "$TRIVENI" status --profile "$DIR/cluster/client.yaml"
flip "$ONE/$name"
eventually "healed in all places" so '[.scrub.damaged, .copies[].scrub.damaged] | all(. == 0)'
eventually "and nothing is wrong" unseen "damaged"
for place in "$ONE" "$TWO" "$A"; do expect 0 "" "$TRIVENI" archive verify -r "$place" -k "$K"; done
echo "ok: damaged everywhere: told of each place, over when one was put right"

# ---- a place that cannot be read: trouble of that one alone, nothing is put there, the others go on ----
mv "$ONE" "$DIR/away"
mkdir "$ONE"
# What is open there stays open as on a mount that is still in use; damage makes the reader look where the place is now.
flip "$DIR/away/$name"
eventually "an empty place is trouble" shown "archive: copy $ONE: it cannot be read again: "
flip "$TWO/$name"
eventually "the other one is healed all the same" so '.copies[1].scrub.healed == 2 and .copies[1].scrub.damaged == 0'
[ -z "$(ls "$ONE")" ] || die "the empty place was filled: $(ls "$ONE")"
[ "$(archive '.copies[1].trouble')" = null ] || die "trouble of the other one: $(archive .copies)"
rmdir "$ONE"
mv "$DIR/away" "$ONE"
eventually "it is over when it is there again" unseen "it cannot be read again"
echo "ok: a place that cannot be read is trouble of that place"

# ---- lost while gsr was not running: put back, not in silence; and an empty place is filled anew only when somebody says so ----
site_kill gsr TERM
rm -f "$TWO/packs/$(basename "$(nth packs pack 2)")"
rm -rf "$ONE"
mkdir "$ONE"
: >"$DIR/cluster/gsr.log"
site_start gsr
eventually "an empty place is trouble" shown "archive: copy $ONE: it is empty, and "
shown "is it mounted? To fill it anew: triveni archive heal -r $ONE --from $A" || die "no advice: $(cat "$DIR/trouble")"
eventually "what was lost is told" told "archive: copy $TWO: packs/$(basename "$(nth packs pack 2)") was missing there, and is put back"
cmp "$(nth packs pack 2)" "$TWO/packs/$(basename "$(nth packs pack 2)")"
[ -z "$(ls "$ONE")" ] || die "the empty place was filled: $(ls "$ONE")"
expect 0 "" "$TRIVENI" archive heal -r "$ONE" --from "$A" -k "$K"
eventually "it is a copy again" so '.copies[0].trouble == null and .copies[0].scrub.damaged == 0 and .copies[0].archived >= .archived'
eventually "and nothing is wrong" unseen "archive: copy"
expect 0 "" "$TRIVENI" archive verify -r "$ONE" -k "$K"
echo "ok: lost while gsr was not running: told, and an empty place is not filled anew in silence"
# ---- offline, the meta of a pack is lost in both places: its own file is enough, and that is told; gsr then names it in its log ----
site_kill gsr TERM
victim=$(basename "$(nth packs pack 2)" .pack)
flip "$A/packs/$victim.meta"
flip "$ONE/packs/$victim.meta"
expect 7 "packs/$victim.pack: made again from its own file, as packs/" "$TRIVENI" archive heal -r "$A" --from "$ONE" -k "$K"
expect 0 "" "$TRIVENI" restore -r "$A" -k "$K" --into "$DIR/restored"
site_start gsr
eventually "gsr has nothing to heal, and its copies have it" so '[.scrub.damaged, .copies[].scrub.damaged] | all(. == 0)'
eventually "its log names it" sh -c "'$TRIVENI' archive verify -r '$A' -k '$K' >/dev/null"
echo "ok: offline, a pack whose meta is lost is made again from its own file"
# ---- keys of a generation that nothing reads any more ----
site_kill gsr TERM
(umask 077 && openssl rand -hex 32 >"$DIR/kek2")
expect 0 "" "$TRIVENI" archive keys rotate -r "$A" -k "$K" --to "$DIR/kek2"
cp "$DIR/kek2" "$K"
site_start gsr
old=keys/1/$(basename "$(nth packs pack 1)").key
eventually "gsr has the new KEK" so '.key_generation == 2 and .archived == .proven'
eventually "the copy has the new keys" cmp -s "$A/${old/1/2}" "$ONE/${old/1/2}"
rests flip "$old" keys/1
rests gone "$old" keys/1
rests cut keys/1.key keys/1
expect 0 "" "$TRIVENI" archive keys check 2 -r "$A" -k "$K"
echo "ok: what rots in an older generation of keys is told and put back"
echo "copies: what rots in a copy is told and put back from the archive"
