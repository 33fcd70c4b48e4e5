#!/usr/bin/env bash
# suite: drills
# dc and dr cosign what gsr archives: published with both signatures, given to clients as receipts, checked by our program and by one that shares no line with it;
# one site away delays nothing and is made up for; a history that was rolled back, and one that the holder of gsr's key forged, are
# not cosigned, and told by status, with the evidence kept; a site that was made anew from a snapshot cosigns under a new key, after
# it has the headers of all that its own log does not have. The operations log is cosigned, too, and put back or gone on with
# otherwise it is refused and told, at dc and at dr.
#
# Usage: BUILD=build/gcc-release tests/integration/cosign.sh
# limit: 300 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-cosign.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"

stranger() { timeout 60 python3 "$here/../repository/verify_tree.py" "$@"; }
# until WHAT COMMAND...: for 60 s at most
until_true() {
    local what=$1 i
    shift
    for i in $(seq 1 300); do
        "$@" && return 0
        sleep 0.2
    done
    die "$what: $(site_status gsr | jq -c .archive)"
}
# cosigned FILTER: gsr's tree holds what is archived, and its cosigners are as the filter says.
cosigned() {
    [ "$(site_status gsr | jq ".archive | .proven != null and .proven == .archived and (.cosigners | $1)" 2>/dev/null)" = true ]
}
both='.dc.cosigned and .dr.cosigned'
operations='.dc.operations.cosigned and .dr.operations.cosigned'
# troubled SITE TEXT: its status tells that trouble.
troubled() { site_status "$1" | jq -r '.trouble[]' | grep -F -- "$2" >/dev/null; }
written() { tv put titles "$1" "$2" >/dev/null && op archive seal >/dev/null; }
keys() { "$TRIVENI" archive checkpoint -r "$archive" -o json 2>/dev/null | jq -r '.key, .cosigners[].key'; }

cluster_create "$DIR/cluster"
sites_start
wait_primary >/dev/null
archive=$DIR/cluster/gsr/archive
with=(-r "$archive" -k "$DIR/cluster/kek")

# ---- both sign ----
written AB-1 one
until_true "both sites cosign" cosigned "$both"
keys >"$DIR/vkeys"
grep -q '+.*/dc+\|/dc+' "$DIR/vkeys" && grep -q '/dr+' "$DIR/vkeys" || die "the keys are not those of dc and dr: $(cat "$DIR/vkeys")"
vkey=$(head -n 1 "$DIR/vkeys") dc=$(grep '/dc+' "$DIR/vkeys") dr=$(grep '/dr+' "$DIR/vkeys")
while read -r line; do grep -rqxF "$line" "$archive/tree/keys" || die "a key is not published: $line"; done <"$DIR/vkeys"
[ "$(stat -c %a "$DIR/cluster/dr/data/cosigner.key")" = 600 ] || die "the key of dr can be read by others"
expect 0 "" "$TRIVENI" archive prove titles AB-1 "${with[@]}" --to "$DIR/proof"
expect 0 "cosigned: by triveni/" "$TRIVENI" verify-proof "$DIR/proof" --key "$DIR/vkeys"
expect 0 "" "$TRIVENI" verify-proof "$DIR/proof" --key "$DIR/vkeys" --require dc,dr -o json
[ "$(jq '.cosigners | length' "$DIR/out")" = 2 ] || die "two cosigners are not told: $(cat "$DIR/out")"
expect 0 "not looked at" "$TRIVENI" verify-proof "$DIR/proof" --key "$vkey"
expect 2 "the log's is needed" "$TRIVENI" verify-proof "$DIR/proof" --key "$dc"
expect 2 "no key of that cosigner" "$TRIVENI" verify-proof "$DIR/proof" --key "$vkey" --key "$dc" --require dr
stranger inclusion "$DIR/proof" "$vkey" --cosigner "$dc" --cosigner "$dr" >/dev/null || die "the other program does not find the cosignatures"
stranger tree "$archive" "$vkey" --cosigner "$dc" --cosigner "$dr" >/dev/null || die "the other program does not take the tree"
cp "$archive/tree/checkpoint" "$DIR/early"
echo "ok: dc and dr cosign, and two programs verify it"

# ---- the operations log, too ----
until_true "both sites cosign the operations log" cosigned "$operations"
grep -q "begins with the archive's operations log as it is shown, with" "$DIR/cluster/dr.log" || die "dr does not tell its trust"
expect 0 "operations log cosigned: by triveni/" "$TRIVENI" archive verify -r "$archive" --key "$DIR/vkeys"
expect 0 "" "$TRIVENI" archive verify -r "$archive" --key "$DIR/vkeys" -o json
[ "$(jq '.operations_cosigners | length' "$DIR/out")" = 2 ] || die "not both cosigned the operations log: $(cat "$DIR/out")"
size=$(jq .operations "$DIR/out")
for site in dc dr; do
    [ "$(site_status $site | jq .cosigner.operations.size)" = "$size" ] || die "$site did not cosign $size operations"
    [ "$(site_status gsr | jq ".archive.cosigners.$site.operations.size")" = "$size" ] || die "gsr does not tell it of $site"
done
stranger operations "$archive" "$vkey" --cosigner "$dc" --cosigner "$dr" >/dev/null || die "the other program does not take the log"
cp -a "$archive" "$DIR/uncosigned"
sed -i '/\/dr /d' "$DIR/uncosigned/operations/checkpoint"
expect 7 "DAMAGED operations: not cosigned by triveni/" "$TRIVENI" archive verify -r "$DIR/uncosigned" --key "$DIR/vkeys"
if stranger operations "$DIR/uncosigned" "$vkey" --cosigner "$dr" 2>/dev/null; then die "the other program takes what dr did not sign"; fi
echo "ok: the operations log is cosigned, and two programs verify it"

# ---- receipts: from the service, for who wrote ----
as=(--profile "$DIR/cluster/client.yaml")
expect 0 "receipt of transaction" "$TRIVENI" put titles R-1 '{"owner":"Asha"}' --receipt "$DIR/r1" -o json "${as[@]}"
lsn=$(jq .lsn "$DIR/out")
expect 0 "transaction $lsn is in the history, with 1 changes" "$TRIVENI" verify-proof "$DIR/r1" --key "$DIR/vkeys"
[ "$(stranger inclusion "$DIR/r1" "$vkey" --cosigner "$dc" --cosigner "$dr")" = "$lsn titles R-1 {\"owner\":\"Asha\"}" ] ||
    die "the other program reads something else in the receipt"
printf 'put titles R-2 two\nput titles R-3 three\ndel titles R-1\n' >"$DIR/steps"
expect 0 "" "$TRIVENI" txn "$DIR/steps" --receipt "$DIR/r2" "${as[@]}"
expect 0 "deleted record titles/R-1" "$TRIVENI" verify-proof "$DIR/r2" --key "$DIR/vkeys"
expect 0 "" "$TRIVENI" verify-proof "$DIR/r2" --key "$DIR/vkeys" -o json
[ "$(jq -c '[.changes[].key]' "$DIR/out")" = '["R-2","R-3","R-1"]' ] || die "not all changes: $(cat "$DIR/out")"
expect 0 "" "$TRIVENI" receipt "$lsn" --to "$DIR/r3" "${as[@]}" # an older one, asked for later
expect 0 "transaction $lsn " "$TRIVENI" verify-proof "$DIR/r3" --key "$DIR/vkeys"
# Nothing is committed when the receipt has no place; no receipt of what is no transaction, or was never committed.
before=$(site_status dc | jq .last)
expect 1 "it is there already" "$TRIVENI" put titles R-4 four --receipt "$DIR/r1" "${as[@]}"
expect 3 "no such record" "$TRIVENI" get titles R-4 "${as[@]}"
expect 3 "no transaction" "$TRIVENI" receipt 1 --to "$DIR/none" "${as[@]}"
expect 1 "has not heard that it is committed" "$TRIVENI" receipt $((before + 1000)) --to "$DIR/none" --wait 1s "${as[@]}"
[ ! -e "$DIR/none" ] || die "a file without a receipt"
echo "ok: receipts"

# ---- one is away: it is done without, and made up for ----
site_kill dr KILL
written AB-2 two
until_true "dc cosigns alone" cosigned '.dc.cosigned and (.dr.cosigned | not)'
expect 0 "" "$TRIVENI" archive prove titles AB-2 "${with[@]}" --to "$DIR/alone"
expect 7 "not cosigned by" "$TRIVENI" verify-proof "$DIR/alone" --key "$DIR/vkeys"
expect 7 "1 cosigners signed, 2 are required" "$TRIVENI" verify-proof "$DIR/alone" --key "$DIR/vkeys" --require 2
expect 0 "NOT by" "$TRIVENI" verify-proof "$DIR/alone" --key "$DIR/vkeys" --require dc
lsn=$(tv get titles AB-2 -o json | jq .lsn)
expect 1 "cosigned by 1 of 2 sites" "$TRIVENI" receipt "$lsn" --to "$DIR/r4" --wait 15s "${as[@]}"
expect 0 "" "$TRIVENI" receipt "$lsn" --to "$DIR/r4" --cosigners 1 "${as[@]}"
if stranger inclusion "$DIR/alone" "$vkey" --cosigner "$dr" 2>/dev/null; then die "the other program takes what dr did not sign"; fi
site_start dr
until_true "dr cosigns what it missed" cosigned "$both"
[ "$(keys | sort)" = "$(sort "$DIR/vkeys")" ] || die "a restart changed the keys"
expect 0 "" "$TRIVENI" archive consistency "$DIR/early" -r "$archive" --key "$DIR/vkeys"
echo "ok: a site that was away is made up for"

# ---- rolled back: gsr's directory of an earlier day, with its own valid checkpoint ----
site_kill gsr TERM
cp -a "$archive" "$DIR/yesterday"
site_start gsr
written AB-3 three
until_true "both cosign more" cosigned "$both"
site_kill gsr TERM
cp -a "$archive" "$DIR/today"
rm -rf "$archive"
cp -a "$DIR/yesterday" "$archive"
site_start gsr
until_true "dc tells the rollback" troubled dc "cosigner-evidence/"
until_true "dr tells the rollback" troubled dr "cosigner-evidence/"
grep -q "ROLLBACK: the archive shows a history of" "$DIR/cluster/dc.log" || die "the log of dc does not tell it"
until_true "gsr tells it" grep -q "dc does not cosign its checkpoint of .* ROLLBACK" "$DIR/cluster/gsr.log"
shown=$(grep -L '/operations$' "$DIR/cluster/dc/data/cosigner-evidence/"*.shown) # of the operations there is some, too
cmp -s "$shown" "$DIR/yesterday/tree/checkpoint" || die "what gsr showed was not kept"
# The two that were signed convict it: nothing leads from the later to the earlier.
expect 7 "rolled back" "$TRIVENI" archive consistency "${shown%.shown}.cosigned" "$shown" -r "$DIR/today" --key "$vkey"
site_kill gsr TERM
rm -rf "$archive"
mv "$DIR/today" "$archive"
site_start gsr
until_true "the true history is cosigned again" cosigned "$both"
troubled dc "cosigner-evidence/" || die "the evidence was forgotten"
rm -rf "$DIR/cluster"/{dc,dr}/data/cosigner-evidence
if troubled dc "cosigner"; then die "dc still tells: $(site_status dc | jq -c .trouble)"; fi
echo "ok: a rollback is refused, told and kept"

# ---- the checkpoint is removed: told, made again from the packs, and those who cosigned it find it the same ----
site_kill gsr TERM
before=$(head -n 3 "$archive/tree/checkpoint")
rm "$archive/tree/checkpoint"
site_start gsr
until_true "gsr tells that its checkpoint is lost" troubled gsr "LOST tree/checkpoint: the operations log names a signed tree of"
grep -q "archive: tree: LOST tree/checkpoint" "$DIR/cluster/gsr.log" || die "gsr's log does not tell it"
until_true "what was made again is cosigned" cosigned "$both"
[ "$(head -n 3 "$archive/tree/checkpoint")" = "$before" ] || die "another tree was made"
for site in dc dr; do
    if troubled $site "cosigner"; then die "$site takes it for another history: $(site_status $site | jq -c .trouble)"; fi
done
echo "ok: a checkpoint that was removed is told, and made again to be the same"

# ---- an old operations log in its place; and one that goes on otherwise ----
recorded() { # N: so many more leaves, which nothing but the log remembers
    local i
    for i in $(seq 1 "$1"); do expect 0 "" "$TRIVENI" archive verify "${with[@]}" --record; done
}
until_true "the operations log is cosigned" cosigned "$operations"
site_kill gsr TERM
cp -a "$archive/operations" "$DIR/old"
site_start gsr
recorded 3
taken() { [ -z "$(ls "$archive/operations/pending")" ] && cosigned "$operations"; }
until_true "what was recorded is cosigned" taken
size=$(site_status dc | jq .cosigner.operations.size)
site_kill gsr TERM
mv "$archive/operations" "$DIR/now"
cp -a "$DIR/old" "$archive/operations"
site_start gsr
for site in dc dr; do
    until_true "$site tells the rollback" troubled "$site" "operations log: ROLLBACK: the archive shows a log of"
    [ "$(site_status $site | jq .cosigner.operations.size)" = "$size" ] || die "$site forgot what it cosigned"
done
until_true "gsr tells it" troubled gsr "dr does not cosign its operations log: ROLLBACK"
shown=$(find "$DIR/cluster/dc/data/cosigner-evidence" -name '*.shown')
cmp -s "$shown" "$DIR/old/checkpoint" || die "what gsr showed was not kept"
stranger operations "$archive" "$vkey" >/dev/null || die "gsr's log is not whole" # in itself it is whole: nobody else could tell
recorded 4
for site in dc dr; do
    until_true "$site tells the other log" troubled "$site" "operations log: SPLIT VIEW: the archive shows a log of"
done
if stranger operations "$archive" "$vkey" --cosigner "$dc" 2>/dev/null; then die "dc cosigned the other log"; fi
site_kill gsr TERM
rm -rf "$archive/operations"
mv "$DIR/now" "$archive/operations"
site_start gsr
until_true "the true log is cosigned again" cosigned "$operations"
rm -rf "$DIR/cluster"/{dc,dr}/data/cosigner-evidence
for site in dc dr gsr; do
    if troubled $site "cosign"; then die "$site still tells: $(site_status $site | jq -c .trouble)"; fi
done
stranger operations "$archive" "$vkey" --cosigner "$dc" --cosigner "$dr" >/dev/null || die "the true log does not verify"
echo "ok: an operations log that was put back, or is another one, is refused, told and kept"

# ---- a split view: who holds gsr's key signs a history with another entry in its middle ----
site_kill gsr TERM
cp -a "$archive" "$DIR/true"
python3 - "$archive/tree" "$DIR/cluster/checkpoint.key" "$vkey" <<'PY'
import base64, glob, hashlib, os, subprocess, sys
tree, key, vkey = sys.argv[1:]
name, key_id, _ = vkey.split("+", 2)
sha = lambda b: hashlib.sha256(b).digest()
bundle = max(glob.glob(tree + "/tile/entries/000.p/*"), key=lambda path: int(path.rsplit("/", 1)[1]))
tile = bundle.replace("entries", "0")
data = bytearray(open(bundle, "rb").read())
data[130 + 2 + 100] ^= 1  # the hash of the second entry's body
leaves = [sha(b"\0" + bytes(data[at + 2:at + 130])) for at in range(0, len(data), 130)]
def root(h):
    while len(h) > 1:
        odd = h[len(h) & ~1:]
        h = [sha(b"\1" + h[i] + h[i + 1]) for i in range(0, len(h) - 1, 2)] + odd
    return h[0]
os.chmod(bundle, 0o644), os.chmod(tile, 0o644)
open(bundle, "wb").write(data), open(tile, "wb").write(b"".join(leaves))
text = "%s\n%d\n%s\n" % (name, len(leaves), base64.b64encode(root(list(leaves))).decode())
open(tree + "/text", "w").write(text)
subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", tree + "/text", "-out", tree + "/sig"], check=True)
signature = base64.b64encode(bytes.fromhex(key_id) + open(tree + "/sig", "rb").read()).decode()
os.remove(tree + "/text"), os.remove(tree + "/sig")
open(tree + "/checkpoint", "w").write("%s\n\u2014 %s %s\n" % (text, name, signature))
PY
expect 0 "" "$TRIVENI" archive checkpoint -r "$archive" # its own signature holds
site_start gsr
for site in dc dr; do
    until_true "$site tells the split view" troubled "$site" "SPLIT VIEW"
    [ -n "$(find "$DIR/cluster/$site/data/cosigner-evidence" -name '*.shown')" ] || die "$site kept no evidence"
done
until_true "gsr tells that nobody cosigns" troubled gsr "dr does not cosign its checkpoints: SPLIT VIEW"
expect 7 "the history was changed" "$TRIVENI" archive consistency "$DIR/early" -r "$archive" --key "$vkey"
site_kill gsr TERM
rm -rf "$archive"
mv "$DIR/true" "$archive"
site_start gsr
until_true "the true history is cosigned again" cosigned "$both"
echo "ok: a split view is refused, told and kept"

# ---- dr is made anew from the archive: its log begins behind most of the history ----
site_kill dr TERM
rm -rf "$DIR/cluster/dr/data"
expect 0 "restored" "$TRIVENI" restore "${with[@]}" --into "$DIR/cluster/dr/data" --yes
expect 0 "" "$TRIVENI" init --config "$DIR/cluster/dr.yaml" --rebuilt
: >"$DIR/cluster/dr.log"
site_start dr
written AB-4 four
until_true "the new dr cosigns" cosigned "$both"
grep -q "caught up: this rebuilt site votes from now on" "$DIR/cluster/dr.log" || die "dr cosigned before it had caught up"
keys | grep '/dr+' >"$DIR/new"
[ "$(cat "$DIR/new")" != "$dr" ] || die "a site that was made anew signs with the old key"
[ "$(site_status dr | jq .first)" -gt 5 ] || die "the log of the new dr reaches back to the beginning: nothing came from gsr"
expect 0 "" "$TRIVENI" archive prove titles AB-4 "${with[@]}" --to "$DIR/after"
stranger inclusion "$DIR/after" "$vkey" --cosigner "$dc" --cosigner "$(cat "$DIR/new")" >/dev/null || die "the new key does not verify"
until_true "the new dr cosigns the operations log" cosigned "$operations"
grep -q "begins with the archive's operations log as it is shown, with" "$DIR/cluster/dr.log" || die "the new dr does not tell its trust"
echo "ok: a site that was made anew has a new key, and cosigns when its tree is whole"
echo "cosign: all as expected"
