#!/usr/bin/env bash
# Legal hold, release and disposal with three real sites (P12): by two operators and never by one; a hold stops a disposal, its release lets
# it go; what is disposed of is gone from the archive and its copy, by the name of who ordered it, also after kill -9; a proof made
# before holds after, the archive verifies, and everything later is restored.
#
# The operations log names hold, release and disposal once each, and a program that shares no line with ours checks them.
#
# Usage: BUILD=build/gcc-release tests/integration/custody.sh
# suite: drills
# limit: 240 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT TRIVENI_KEK TRIVENI_REPOSITORY
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-custody.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"
by() { # by CODE TEXT WHO COMMAND...
    expect "$1" "$2" "$TRIVENI" "${@:4}" --profile "$3.yaml"
}
custody() { op archive holds -o json | jq -r "$1"; }
is() {
    [ "$(custody "$1")" = "$2" ] && return 0
    op archive holds
    return 1
}
keys_of() { find "$1/keys" -name "*.$2.key" | wc -l; }
both() { # both ACT FILE: the second operator signs, the first carries it out
    by 0 "signed by operator ravi" ravi warrant sign "$2" --yes
    by 0 "from lsn" asha archive "$1" --warrant "$2" --yes
}
leaves() { "$TRIVENI" archive operations -r gsr/archive -o json 2>/dev/null | jq -c "select(.op == \"$1\")"; }
named() { [ "$(leaves "$1" | wc -l)" = "$2" ]; } # so many leaves of that kind
# A pack of its own, heavy enough that a snapshot follows.
chapter() {
    local i
    for i in 1 2 3; do tv put filler x "$(head -c 3000 /dev/urandom | base64 -w 0)" >/dev/null; done
    op archive seal >/dev/null
}
newest_snapshot() { "$TRIVENI" archive snapshots "${archive[@]}" -o json | jq -s 'map(select(.disposed | not) | .lsn) | max // 0'; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
archive=(-r gsr/archive -k kek)
operators_create asha ravi
sed -i 's#snapshot_entries: 10000#snapshot_entries: 1, copies: [copy]#' gsr.yaml
grep -q 'copies: \[copy\]' gsr.yaml || die "gsr.yaml was not changed: $(cat gsr.yaml)"
sites_start
wait_primary >/dev/null

# ---- a history: packs, with snapshots between them ----
tv put land old secret-old >/dev/null
chapter
tv put court case secret-case >/dev/null
chapter
chapter
boundary=$(newest_snapshot)
[ "$boundary" -gt 0 ] || die "no snapshot: $("$TRIVENI" archive list "${archive[@]}")"
tv put land new '{"later":1}' >/dev/null
chapter
chapter
expect 0 "" "$TRIVENI" archive checkpoint -r gsr/archive -o json
jq -r '.key, .cosigners[].key' "$DIR/out" >vkeys
expect 0 "" "$TRIVENI" archive prove land old "${archive[@]}" --to old.proof
expect 0 "wrote record land/old" "$TRIVENI" verify-proof old.proof --key vkeys
tv history court case -o json | jq -s '.[0].lsn' >case.lsn
before=$((boundary + 1))
take=(--before "$before" "${archive[@]}")

# ---- refused: one person, wrong words ----
by 2 "--collection are needed" asha archive hold case-7 --reason r --ask hold.warrant
by 2 "--reason is needed" asha archive hold case-7 --collection court --ask hold.warrant
by 2 "give one of --ask" asha archive hold case-7 --collection court --reason r
by 0 "another operator signs" asha archive hold case-7 --collection court --reason 'order 7/2026' --ask hold.warrant
by 8 "two different operators are needed" asha archive hold --warrant hold.warrant --yes
by 8 "has signed this already" asha warrant sign hold.warrant --yes
by 2 "stands in the warrant" asha archive hold other --warrant hold.warrant --yes
expect 8 "" "$TRIVENI" archive hold --warrant hold.warrant --yes --profile client.yaml
by 0 "signed by operator ravi" ravi warrant sign hold.warrant --yes
by 2 "" asha archive release --warrant hold.warrant --yes
by 2 "not confirmed" asha archive hold --warrant hold.warrant
by 0 "the hold is in force, from lsn" asha archive hold --warrant hold.warrant --yes
by 1 "carried out already" ravi archive hold --warrant hold.warrant --yes
eventually "the hold at gsr" is '.archive.holds' 1
by 0 "court" asha archive holds
eventually "the leaf of the hold" named hold 1
nonce_of() { openssl cms -verify -inform PEM -in "$1" -CAfile pki/ca.crt -purpose sslclient 2>/dev/null | sed -n 's/^nonce //p'; }
hold=$(nonce_of hold.warrant)
leaves hold | jq -e --arg w "warrant $hold" --arg h "$(sha256sum <hold.warrant | cut -d' ' -f1)" \
    '.detail == $w and .reference == $h and .last > 0' >/dev/null || die "the leaf of the hold: $(leaves hold)"
! leaves hold | grep 'case\|court' >/dev/null || die "a leaf tells a stranger what is held: $(leaves hold)"
by 0 "" asha archive hold case-7 --collection land --reason again --ask twice.warrant
by 0 "" ravi warrant sign twice.warrant --yes
by 1 "a hold 'case-7' is in force" asha archive hold --warrant twice.warrant --yes
by 0 "" asha archive release none --reason r --ask none.warrant
by 0 "" ravi warrant sign none.warrant --yes
by 3 "no hold 'none' is in force" asha archive release --warrant none.warrant --yes
echo "ok: one operator, the same twice, a client, another act, a second time: refused"

# ---- a disposal takes what is not held ----
packs=$(keys_of gsr/archive pack)
by 0 "held by case-7" asha archive dispose "${take[@]}" --preview
by 3 "no snapshot before lsn 1" asha archive dispose --before 1 "${archive[@]}" --preview
[ "$(keys_of gsr/archive pack)" = "$packs" ] || die "a preview has destroyed keys"
by 0 "another operator signs" asha archive dispose "${take[@]}" --reason 'retention law' --ask dispose.warrant
openssl cms -verify -inform PEM -in dispose.warrant -CAfile pki/ca.crt -purpose sslclient 2>/dev/null >text
grep -q "^before-lsn $before$" text || die "the warrant does not say 'before-lsn $before': $(cat text)"
by 8 "two different operators are needed" asha archive dispose --warrant dispose.warrant --yes
[ "$(keys_of gsr/archive pack)" = "$packs" ] || die "one operator alone has destroyed keys"
both dispose dispose.warrant
eventually "disposal, but for what is held" is '.archive.held' 1
[ "$(custody '.archive.disposed')" -ge 2 ] || die "too little is disposed of: $(op archive holds)"
expect 0 "secret-case" "$TRIVENI" get court case --as-of "$(cat case.lsn)" "${archive[@]}"
nonce=$(grep '^nonce ' text | cut -d' ' -f2)
expect 3 "disposed of by warrant $nonce" "$TRIVENI" history land old "${archive[@]}"
expect 3 "disposed of by warrant $nonce" "$TRIVENI" history land old --profile client.yaml
expect 3 "disposed of by warrant $nonce" "$TRIVENI" get land old --as-of 3 "${archive[@]}"
expect 0 "" "$TRIVENI" archive verify "${archive[@]}"
op status >"$DIR/out"
grep -q "archive at gsr: 1 holds and 1 disposals in force; $(custody .archive.disposed) objects disposed of, 1 held, the keys of 0 locked$" "$DIR/out" ||
    die "status does not say what is in force: $(cat "$DIR/out")"
echo "ok: a hold keeps what it names, and nothing else"

# ---- released; in the middle of it gsr is killed ----
by 0 "" asha archive release case-7 --reason closed --ask release.warrant
both release release.warrant
site_kill gsr KILL
site_start gsr
eventually "the leaf of the release" named release 1
leaves release | jq -e --arg w "warrant $(nonce_of release.warrant) ends warrant $hold" '.detail == $w' >/dev/null ||
    die "the leaf of the release: $(leaves release)"
eventually "disposal of what was held" is '[.archive.holds, .archive.held, .archive.disposals] | tostring' '[0,0,1]'
expect 3 "disposed of by warrant $nonce" "$TRIVENI" get court case --as-of "$(cat case.lsn)" "${archive[@]}"
gone() { [ "$(keys_of "$1" pack)" = "$(find "$1/packs" -name '*.pack' | while read -r p; do [ -e "${p%.pack}.disposed" ] || echo x; done | wc -l)" ]; }
gone gsr/archive || die "keys of what is disposed of are there: $(ls gsr/archive/packs gsr/archive/keys/1)"
lost=$(find gsr/archive/packs gsr/archive/snapshots -name '*.disposed' | wc -l)
[ "$lost" -ge 4 ] || die "only $lost objects are disposed of"
echo "ok: released, it goes; kill -9 does not keep it"

# ---- nothing else is lost ----
expect 0 "wrote record land/old" "$TRIVENI" verify-proof old.proof --key vkeys
expect 0 "$lost of them were disposed of" "$TRIVENI" archive verify "${archive[@]}"
expect 0 "follows from the packs" "$TRIVENI" archive verify "${archive[@]}"
expect 3 "disposed of by warrant $nonce" "$TRIVENI" restore --to-lsn 3 --into "$DIR/never" "${archive[@]}" --yes
expect 0 "" "$TRIVENI" restore --into "$DIR/restored" "${archive[@]}" --yes
[ "$(tv get land old -o json | jq -r .value)" = secret-old ] || die "the present has lost a record"
chapter
copied() {
    [ "$(find copy/packs copy/snapshots -name '*.disposed' | wc -l)" = "$lost" ] && gone copy &&
        [ "$(find copy/packs -name '*.meta' | wc -l)" = "$(find gsr/archive/packs -name '*.meta' | wc -l)" ]
}
eventually "the copy without the keys" copied
expect 0 "$lost of them were disposed of" "$TRIVENI" archive verify -r copy -k kek
expect 0 "" "$TRIVENI" archive keys check "${archive[@]}"
[ "$(site_status gsr | jq -c '.trouble')" = '[]' ] || die "gsr tells trouble: $(site_status gsr | jq -c .trouble)"
for _ in $(seq 1 100); do
    "$TRIVENI" archive operations -r gsr/archive -o json 2>/dev/null | jq -r 'select(.op == "dispose") | .object' | sort -u >leaves
    [ "$(wc -l <leaves)" = "$lost" ] && break
    sleep 0.2
done
unset TRIVENI_KEK
expect 0 "$lost of them were disposed of" "$TRIVENI" archive verify -r gsr/archive # who has no key, by the signed leaves
[ "$(wc -l <leaves)" = "$lost" ] || die "the operations log names $(wc -l <leaves) of $lost objects that are disposed of"
marks() { timeout 60 python3 "$here/../repository/read_marks.py" "$1" kek "$(cat vkey)"; }
expect 0 "" "$TRIVENI" archive checkpoint -r gsr/archive -o json
jq -r .key "$DIR/out" >vkey
marks gsr/archive >read || die "the other program reads other marks: $(cat read)"
{ grep -q "^marks $lost$" read && grep -q " $nonce " read; } || die "not $lost marks by warrant $nonce: $(cat read)"
mark=$(cd gsr/archive && find packs -name '*.disposed' | head -n 1)
cp -a gsr/archive "$DIR/changed"
sed -i 's/"lsn":/"lsn": /' "$DIR/changed/$mark"
! marks "$DIR/changed" >/dev/null 2>&1 || die "the other program takes a changed mark"
rm -f "$DIR/changed/$mark"
! marks "$DIR/changed" >/dev/null 2>&1 || die "the other program does not miss a mark"
op events --site gsr -o json | grep "is disposed of" >/dev/null || die "gsr's events do not tell of it"
site_kill gsr KILL # and everything is looked at once more
site_start gsr
chapter
eventually "the log behind the last pack" sh -c '"$TRIVENI" archive operations -r gsr/archive -o json | grep "$(ls gsr/archive/packs/*.pack | tail -n 1 | cut -d/ -f3-)" >/dev/null'
sleep 6 # twice the turn in which the site looks what its log lacks
{ named hold 1 && named release 1; } || die "not one hold and one release: $("$TRIVENI" archive operations -r gsr/archive)"
timeout 60 python3 "$here/../repository/verify_tree.py" operations gsr/archive "$(cat vkey)" >stranger
grep -q "^holds $(leaves hold | jq .last)-$(leaves release | jq .last)$" stranger || die "the other program reads: $(cat stranger)"
wait_equal >/dev/null
echo "ok: proof, tree, copy, the present and every later moment are whole"
