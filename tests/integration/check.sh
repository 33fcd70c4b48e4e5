#!/usr/bin/env bash
# triveni check and dump-log on what a real site keeps on disk: a whole one is clean; each kind of damage is named, with exit code
# 7; neither command changes a byte; and another program, written from docs/FORMATS.md alone, reads the same log.
#
# Usage: BUILD=build/gcc-release tests/integration/check.sh
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
HERE=$(cd "$(dirname "$0")/.." && pwd)
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-check.XXXXXX")
. "$HERE/lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 20 "$DIR"/out "$DIR"/err "$DIR"/cluster/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
die() {
    echo "FAILED: $*"
    exit 1
}

# expect CODE ARGS...: runs triveni; its output is in DIR/out and DIR/err.
expect() {
    local wanted=$1 code=0
    shift
    timeout 60 "$TRIVENI" "$@" >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    [ "$code" = "$wanted" ] || die "triveni $*: exit $code, expected $wanted: $(cat "$DIR/out" "$DIR/err")"
}
says() {
    grep -qE -- "$1" "$DIR/out" || die "the output lacks '$1': $(cat "$DIR/out")"
}
# flip FILE OFFSET: one bit of one byte.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

# ---- a site's data ----
cluster_create "$DIR/cluster"
cd "$DIR/cluster"
sed -i 's/^store: {/store: {checkpoint_seconds: 1, /' ./*.yaml
sites_start
primary=$(wait_primary)
seq 1 2000 | awk '{ printf "{\"id\":\"r%05d\",\"owner\":\"owner of title %d\"}\n", $1, $1 }' >titles.jsonl
tv load titles titles.jsonl --key id >/dev/null 2>&1
head -c 30000 /dev/urandom | base64 -w 0 >deed
tv put deeds large --file deed >/dev/null
tv put deeds marked MARK-OF-THE-DAMAGED-RECORD >/dev/null
tv del titles r00007 >/dev/null
op point before >/dev/null
# An entry of each kind that there is.
op mode local >/dev/null
op mode majority >/dev/null
op member add later --peer 127.0.0.1:1 --client 127.0.0.1:2 >/dev/null
op member remove later >/dev/null
wait_equal >/dev/null
lsn=$(site_status "$primary" | jq .last)
for i in $(seq 1 100); do # until the checkpoint holds all of it
    [ "$(site_status "$primary" | jq .checkpoint)" = "$lsn" ] && break
    sleep 0.1
done
expect 1 check "$primary/data"
grep -q "stop the site first" "$DIR/err" || die "the running site was not refused"
expect 1 dump-log "$primary/data"
expect 0 dump-log "$primary/data" --running
tv put deeds after 1 >/dev/null
wait_equal >/dev/null
site_kill "$primary" KILL
whole=$DIR/cluster/$primary/data

# ---- whole: clean, and nothing is changed ----
sums "$whole" >"$DIR/before"
expect 0 check "$whole"
says "^no damage$"
says "^state  at lsn [1-9]"
expect 0 check "$whole" -o json
[ "$(jq -c '[.clean, .damaged, (.findings | length)]' "$DIR/out")" = '[true,0,0]' ] || die "JSON of a clean check"
[ "$(jq -r .state.records "$DIR/out")" -ge 2001 ] || die "records were not counted"
expect 0 check "$whole/log"
expect 0 check "$whole/state"
expect 3 check "$DIR/cluster/pki"
expect 0 dump-log "$whole" --ops
says "del titles r00007"
expect 0 dump-log "$whole" --from 3 --to 5 -o json
[ "$(jq -sc 'map(select(.type == "entry") | .lsn)' "$DIR/out")" = '[3,4,5]' ] || die "--from and --to"
sums "$whole" | cmp - "$DIR/before" || die "the directory was changed"

# ---- another program reads the same ----
python3 "$HERE/formats/read_log.py" "$whole/log" >"$DIR/theirs" || die "read_log.py failed"
expect 0 dump-log "$whole" --ops -o json
jq -r 'select(.type == "entry") |
    "\(.lsn) \(.term) \(.time_us) \(.kind) \(.bytes) \(.hash) \(.session // "-") \(.sequence // "-") \(.client // "-") \(.what // "-")",
    (.ops[]? | "  \(.op) \(.collection) \(.key)")' "$DIR/out" >"$DIR/ours"
cmp "$DIR/ours" "$DIR/theirs" || die "read_log.py and dump-log differ: $(diff "$DIR/ours" "$DIR/theirs" | head -n 5)"
[ "$(grep -vc '^  ' "$DIR/ours")" = "$(jq -s 'map(select(.type == "entry")) | length' "$DIR/out")" ]
[ "$(grep -c '^  put titles r' "$DIR/ours")" = 2000 ] || die "the comparison saw too few operations"
for kind in txn noop config restore-point session audit members; do
    grep -q "^[0-9]* [0-9]* [0-9]* $kind " "$DIR/theirs" || die "the comparison saw no entry of kind $kind"
done
echo "ok: $(grep -vc '^  ' "$DIR/ours") entries read alike by two programs"

# ---- damage: each in a copy; check names it, ends with 7 and changes nothing ----
# damaged NAME FILE OFFSET PATTERN...: the bit at that place; every pattern must be in the output.
damaged() {
    local name=$1 file=$2 offset=$3 copy=$DIR/copy pattern
    shift 3
    rm -rf "$copy"
    cp -a --sparse=always "$whole" "$copy"
    flip "$copy/$file" "$offset"
    cmp -s "$copy/$file" "$whole/$file" && die "$name: nothing was damaged"
    sums "$copy" >"$DIR/before"
    expect 7 check "$copy"
    for pattern in "$@"; do says "$pattern"; done
    sums "$copy" | cmp - "$DIR/before" || die "$name: check changed something"
    cp "$DIR/out" "$DIR/table"
    expect 7 check "$copy" -o json
    [ "$(jq .damaged "$DIR/out")" = "$(grep -c '^DAMAGED' "$DIR/table")" ] || die "$name: table and JSON differ"
    echo "ok: $name: $(grep -m 1 '^DAMAGED' "$DIR/table" | cut -c 1-150)"
}
segment=$(basename "$(ls "$whole"/log/0*.seg | head -n 1)")
expect 0 dump-log "$whole" -o json
entry=$(jq -s 'map(select(.type == "entry"))[4] | .offset' "$DIR/out")
entry_lsn=$(jq -s 'map(select(.type == "entry"))[4] | .lsn' "$DIR/out")
damaged "a log entry" "log/$segment" $((entry + 130)) "^DAMAGED log/$segment, byte [0-9]+, lsn [0-9]+ to [0-9]+" "lsn $entry_lsn to|lsn [0-9]+ to $entry_lsn:"
damaged "an entry's batch header" "log/$segment" $((entry - 40)) "^DAMAGED log/$segment, byte"
damaged "a segment header" "log/$segment" 50 "^DAMAGED log/$segment, byte 0.*header checksum"
mark=$(grep -abo MARK-OF-THE-DAMAGED-RECORD "$whole/state/data.mdb" | cut -d : -f 1)
[ -n "$mark" ] || die "the marked record is not in data.mdb"
for m in $mark; do # pages of the past may hold it too; the damage counts where the checkpoint looks
    rm -rf "$DIR/copy"
    cp -a --sparse=always "$whole" "$DIR/copy"
    flip "$DIR/copy/state/data.mdb" "$m"
    "$TRIVENI" check "$DIR/copy" >/dev/null 2>&1 || at=$m
done
[ -n "${at:-}" ] || die "no damage to the record's value is seen"
damaged "a record's value" state/data.mdb "$at" "^DAMAGED state/data.mdb, byte [0-9]+, collection deeds, key marked: checksum"
damaged "a page of LMDB" state/data.mdb $((at / 4096 * 4096 + 13)) "^DAMAGED state/data.mdb, byte $((at / 4096 * 4096)): page $((at / 4096)) of database records"
damaged "the identity" site.json 4 "^DAMAGED (site.json|vote)"

# What a power cut leaves: one torn copy of a checkpoint slot, one torn slot of the vote. It is noted, and the site starts with it.
# noted NAME FILE OFFSET PATTERN
noted() {
    rm -rf "$DIR/copy"
    cp -a --sparse=always "$whole" "$DIR/copy"
    flip "$DIR/copy/$2" "$3"
    expect 0 check "$DIR/copy"
    says "$4"
    says "^no damage"
    expect 0 check "$DIR/copy" -o json
    [ "$(jq '[.damaged, (.findings[] | select(.kind == "note" and .file == "'"$2"'") | 1)] | add' "$DIR/out")" = 1 ] || die "$1: $(cat "$DIR/out")"
    echo "ok: noted: $1"
}
for block in 0 1 2 3; do
    noted "copy $((block % 2)) of checkpoint slot $((block / 2))" state/checkpoint $((block * 4096 + 100)) \
        "^note: state/checkpoint, byte $((block * 4096)): slot $((block / 2)), copy $((block % 2)): checksum"
done
# The older slot of the vote is noted. Without the newer one the promise is older than what the log holds, which no power cut does.
codes=''
for slot in 0 1; do
    rm -rf "$DIR/copy"
    cp -a --sparse=always "$whole" "$DIR/copy"
    flip "$DIR/copy/vote" $((slot * 4096 + 33))
    code=0
    "$TRIVENI" check "$DIR/copy" >"$DIR/out" 2>"$DIR/err" || code=$?
    says "^note: vote, byte $((slot * 4096)): slot $slot is not valid"
    [ "$code" = 0 ] || says "^DAMAGED vote, byte 0: its term is [0-9]+, but the log has entries of term [0-9]+"
    codes="$codes $code"
done
[ "$codes" = " 0 7" ] || [ "$codes" = " 7 0" ] || die "a slot of the vote: exit codes$codes"
echo "ok: noted: the older slot of the vote"
rm -rf "$DIR/copy"
cp -a --sparse=always "$whole" "$DIR/copy"
flip "$DIR/copy/vote" 33
flip "$DIR/copy/vote" $((4096 + 33))
expect 7 check "$DIR/copy"
says "^DAMAGED vote, byte 0: slot 0 is not valid$"
says "^DAMAGED vote, byte 4096: slot 1 is not valid$"

# Both copies of a slot: the state cannot be believed; the log is still read.
rm -rf "$DIR/copy"
cp -a --sparse=always "$whole" "$DIR/copy"
flip "$DIR/copy/state/checkpoint" 100
flip "$DIR/copy/state/checkpoint" $((4096 + 100))
expect 7 check "$DIR/copy"
says "both copies of slot 0 are damaged"
says "^DAMAGED state/checkpoint, byte 0: slot 0, copy 0: checksum"
says "^log    lsn 1 to"

# No segments at all is how a site begins that was restored; not one that had a log. A file that is none is in the way.
rm -rf "$DIR/copy"
cp -a --sparse=always "$whole" "$DIR/copy"
rm "$DIR/copy"/log/0*.seg
ls "$DIR/copy"/log/spare-*.seg >/dev/null || die "there should be spares left"
expect 7 check "$DIR/copy"
says "^log    empty"
says "^DAMAGED log, byte 0: there is no segment"
sed "s#^data_dir: .*#data_dir: $DIR/copy#" "$primary.yaml" >copy.yaml
expect 7 serve --config copy.yaml
grep -q "holds no segment, but this site had a log" "$DIR/err" || die "serve did not miss the log: $(cat "$DIR/err")"
mv "$DIR/copy/log" "$DIR/copy/elsewhere"
expect 7 check "$DIR/copy"
says "^DAMAGED log, byte 0: there is no segment"
expect 7 serve --config copy.yaml
rm -rf "$DIR/copy/log"
mv "$DIR/copy/elsewhere" "$DIR/copy/log"
cp "$whole/log/$segment" "$DIR/copy/log/"
printf 'x' >"$DIR/copy/log/other.seg"
expect 7 check "$DIR/copy"
says "other.seg.*has not the name of a segment"

# ---- the scrub: a running site finds a damaged record by itself, says so, and has it repaired by another site ----
flip "$whole/state/data.mdb" "$at"
site_start "$primary"
for i in $(seq 1 100); do
    [ "$(site_status "$primary" | jq '.scrub.passes == 1 and .care.repaired_records == 1')" = true ] && break
    sleep 0.1
done
status=$(site_status "$primary")
[ "$(jq .care.repaired_records <<<"$status")" = 1 ] || die "the record was not repaired: $(jq -c '[.scrub, .care]' <<<"$status")"
[ "$(jq .scrub.last_pass_bytes <<<"$status")" -gt 50000 ] || die "the scrub read too little: $(jq -c .scrub <<<"$status")"
events=$(op events -n 100 --endpoints "127.0.0.1:$(client_port "$primary")")
grep -q "scrub: record 'marked' of collection 'deeds' is damaged" <<<"$events" || die "no event names the record"
grep -q "repair: record 'marked' of collection 'deeds' was repaired from" <<<"$events" || die "no event tells of the repair"
for other in dc dr gsr; do
    [ "$(site_status "$other" | jq .scrub.damaged)" = 0 ] || die "damage at $other"
done
echo "ok: the scrub named the record, and another site gave it"

# ---- no state at all is how a site begins, too: the whole log makes it. Not where the log begins later. ----
site_kill "$primary" TERM
rm -rf "$DIR/copy"
cp -a --sparse=always "$whole" "$DIR/copy"
rm -r "$DIR/copy/state"
expect 0 check "$DIR/copy"
rm "$DIR/copy/log/$segment"
expect 7 check "$DIR/copy"
says "^DAMAGED state/checkpoint, byte 0: there is no state, and the log begins after lsn [1-9]"
mkdir "$DIR/copy/state"
expect 7 check "$DIR/copy"
says "^note: state/checkpoint, byte 0: there is no state"
says "^DAMAGED state/checkpoint, byte 0: there is no state, and the log begins after lsn [1-9]"
expect 1 serve --config copy.yaml
grep -q "the log begins at lsn [0-9]*, but the state ends at lsn 0" "$DIR/err" || die "serve: $(cat "$DIR/err")"
echo "ok: a state that is gone is missed where the log cannot make it anew"
echo "check: all damage was named"
