#!/usr/bin/env bash
# Proofs from three real sites: what gsr archives is signed; record versions, also past and deleted ones, are proven to somebody
# who has a file and a verifier key, by our program and by one that shares no line with it; that the history only grew is proven
# between checkpoints; every changed bit, another key, a rolled back and a forked history are refused.
#
# Usage: BUILD=build/gcc-release tests/integration/proof.sh
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-proof.XXXXXX")
. "$here/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

checks=0
# expect CODE ARGS...: runs triveni; its output is in DIR/out and DIR/err.
expect() {
    local wanted=$1 code=0
    shift
    "$TRIVENI" "$@" >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    checks=$((checks + 1))
    [ "$code" = "$wanted" ] && return 0
    echo "triveni $*: exit $code, expected $wanted: $(cat "$DIR/err")"
    exit 1
}
says() { grep -qF -- "$1" "$DIR/err" || { echo "expected on stderr: $1; got: $(cat "$DIR/err")"; exit 1; }; }
prints() { grep -qF -- "$1" "$DIR/out" || { echo "expected on stdout: $1; got: $(cat "$DIR/out")"; exit 1; }; }
stranger() { timeout 60 python3 "$here/../repository/verify_tree.py" "$@"; }
# The signed tree reaches what is archived, and the two other sites have cosigned it.
signed() {
    local i row
    for i in $(seq 1 100); do
        row=$(site_status gsr | jq -c .archive)
        [ "$(jq '.proven != null and .proven == .archived and .cosigners.dc.cosigned and .cosigners.dr.cosigned' <<<"$row")" = true ] &&
            return 0
        sleep 0.1
    done
    echo "gsr does not sign what it archived: $row"
    exit 1
}

# ---- without an archive ----
expect 2 archive prove titles AB-1 --repository "$DIR" && says "--kek is needed"
expect 2 verify-proof "$DIR/none" && says "--key is needed"
expect 2 verify-proof "$DIR/none" --key no-key && says "neither a verifier key nor a file"
mkdir "$DIR/empty"
expect 3 archive checkpoint -r "$DIR/empty" && says "has no signed tree"

cluster_create "$DIR/cluster"
sites_start
wait_primary >/dev/null
archive=$DIR/cluster/gsr/archive
with=(-r "$archive" -k "$DIR/cluster/kek")

# ---- a record and its life ----
first=$(tv put titles AB-1 '{"owner":"Asha"}' -o json | jq .lsn)
op archive seal >/dev/null
signed
expect 0 archive checkpoint -r "$archive" -o json
jq -r .key "$DIR/out" >"$DIR/vkey"
jq -r '.key, .cosigners[].key' "$DIR/out" >"$DIR/vkeys"
jq -r .checkpoint "$DIR/out" | head -c -1 >"$DIR/early"
key=(--key "$DIR/vkeys")
[ "$(wc -l <"$DIR/vkeys")" = 3 ] || { echo "not cosigned by two sites: $(cat "$DIR/out")"; exit 1; }
[ "$(stat -c %a "$DIR/cluster/checkpoint.key")" = 600 ] || { echo "the checkpoint key can be read by others"; exit 1; }
grep -rqxF "$(cat "$DIR/vkey")" "$archive/tree/keys" || { echo "the verifier key does not lie in the archive"; exit 1; }

second=$(tv put titles AB-1 '{"owner":"Ravi"}' -o json | jq .lsn)
time=$(tv get titles AB-1 -o json | jq -r .time)
seq 1 280 | sed 's/.*/T-&\t{"n":&}/' >"$DIR/many.tsv"
tv load titles "$DIR/many.tsv" --batch 1 >/dev/null 2>"$DIR/err"
gone=$(tv del titles AB-1 -o json | jq .lsn)
op archive seal >/dev/null
signed

proven() { rm -f "$DIR/proof" && expect "$1" archive prove titles AB-1 "${with[@]}" --to "$DIR/proof" "${@:2}"; }
proven 0 && prints "transaction $gone of"
expect 0 verify-proof "$DIR/proof" "${key[@]}" && prints "transaction $gone deleted record titles/AB-1"
prints "not said: that no later transaction changed the record"
prints "cosigned: by triveni/"
[ "$(stranger inclusion "$DIR/proof" "$(cat "$DIR/vkey")")" = "$gone titles AB-1 -" ]
proven 0 --as-of "$time"
expect 0 verify-proof "$DIR/proof" --key "$(cat "$DIR/vkey")" -o json
[ "$(jq -c '[.act, .key, .lsn, .value.owner, .client]' "$DIR/out")" = "[\"put\",\"AB-1\",$second,\"Ravi\",\"app\"]" ] || { cat "$DIR/out"; exit 1; }
proven 0 --as-of "$first"
[ "$(stranger inclusion "$DIR/proof" "$(cat "$DIR/vkey")")" = "$first titles AB-1 {\"owner\":\"Asha\"}" ]
expect 1 archive prove titles AB-1 "${with[@]}" --to "$DIR/proof" && says "File exists" # never over something
rm "$DIR/proof"
proven 3 --as-of $((first - 1)) && says "writes that record"
proven 3 --as-of 999999 && says "not in the signed tree yet"
proven 3 --as-of 2100-01-01T00:00:00Z && says "does not reach that time"
expect 3 archive prove titles AB-2 "${with[@]}" --to "$DIR/proof" && says "no archived entry"
echo "ok: versions of a record are proven, to our program and to another one"

# ---- the history only grew ----
expect 0 archive consistency "$DIR/early" -r "$archive" "${key[@]}" --to "$DIR/grew" && prints "proven: the history of"
expect 0 verify-proof "$DIR/grew" --earlier "$DIR/early" "${key[@]}"
stranger consistency "$DIR/grew" "$DIR/early" "$(cat "$DIR/vkey")" | grep '^consistent ' >/dev/null
stranger tree "$archive" "$(cat "$DIR/vkey")" | grep '^tree ' >/dev/null
expect 2 verify-proof "$DIR/grew" "${key[@]}" && says "--earlier CHECKPOINT is needed"
expect 0 archive verify "${with[@]}" && prints "follows from the packs"
expect 0 archive verify "${with[@]}" --level present && prints "its right edge has the signed root"
"$TRIVENI" archive checkpoint -r "$archive" >"$DIR/late" 2>/dev/null
expect 7 archive consistency "$DIR/late" "$DIR/early" -r "$archive" "${key[@]}" && says "the history was rolled back"
echo "ok: that the history only grew is proven"

# ---- whatever is changed is refused ----
proven 0 --as-of "$second"
# flipped FILE BYTE BIT: a copy with that bit turned over is DIR/flipped.
flipped() {
    python3 -c 'import sys; d = bytearray(open(sys.argv[1], "rb").read()); d[int(sys.argv[2]) % len(d)] ^= 1 << int(sys.argv[3])
open(sys.argv[4], "wb").write(d)' "$1" "$2" "$3" "$DIR/flipped"
}
for at in $(seq 0 59 "$(stat -c %s "$DIR/proof")"); do
    flipped "$DIR/proof" "$at" $((at % 8))
    expect 7 verify-proof "$DIR/flipped" "${key[@]}" && says "NOT proven"
done
for at in $(seq 0 59 "$(stat -c %s "$DIR/grew")"); do
    flipped "$DIR/grew" "$at" $((at % 8))
    expect 7 verify-proof "$DIR/flipped" --earlier "$DIR/early" "${key[@]}" && says "NOT proven"
done
for at in 1 100 150; do
    flipped "$DIR/early" "$at" 0
    expect 7 archive consistency "$DIR/flipped" -r "$archive" "${key[@]}"
done
id=$(sed -n 1p "$DIR/early")
python3 - "$id" >"$DIR/other-vkey" <<'PY'
import base64, hashlib, sys
name, key = sys.argv[1].encode(), b"\1" + bytes(range(32))
print(name.decode() + "+" + hashlib.sha256(name + b"\n" + key).hexdigest()[:8] + "+" + base64.b64encode(key).decode())
PY
expect 7 verify-proof "$DIR/proof" --key "$DIR/other-vkey" && says "not signed by $id"

site_kill gsr TERM
for file in tree/tile/0/000 tree/tile/entries/000 tree/checkpoint; do
    cp -a "$archive/$file" "$DIR/kept"
    flipped "$archive/$file" 60 0
    mv -f "$DIR/flipped" "$archive/$file"
    expect 7 archive verify "${with[@]}" && prints "DAMAGED $file"
    if stranger tree "$archive" "$(cat "$DIR/vkey")" 2>/dev/null; then
        echo "the other program takes a changed $file"
        exit 1
    fi
    mv -f "$DIR/kept" "$archive/$file"
done
echo "ok: no changed bit is taken"

# ---- without its key gsr archives and does not sign, and says so; with it again it catches up ----
mv "$DIR/cluster/checkpoint.key" "$DIR/kept.key"
site_start gsr
wait_equal >/dev/null
tv put titles AB-8 unsigned >/dev/null
op archive seal >/dev/null
expect 0 status --profile "$DIR/cluster/client.yaml" && grep -q "checkpoint key .* is missing" "$DIR/out" "$DIR/err"
expect 3 archive prove titles AB-8 "${with[@]}" --to "$DIR/none"
site_kill gsr TERM
mv "$DIR/kept.key" "$DIR/cluster/checkpoint.key"
echo "ok: a lost key stops the signing alone, and is told"

# ---- a history that was rolled back, and one that was forked ----
# The whole archive of an earlier day, with its own valid checkpoint: it verifies, but not against a checkpoint that was kept.
cp -a "$archive" "$DIR/yesterday"
site_start gsr
wait_equal >/dev/null
tv put titles AB-9 kept >/dev/null
op archive seal >/dev/null
signed
"$TRIVENI" archive checkpoint -r "$archive" >"$DIR/kept" 2>/dev/null
expect 0 archive verify -r "$DIR/yesterday" -k "$DIR/cluster/kek"
expect 7 archive consistency "$DIR/kept" -r "$DIR/yesterday" "${key[@]}" && says "rolled back"
# Its last pack alone taken away: the checkpoint tells.
site_kill gsr TERM
cp -a "$archive" "$DIR/cut"
last=$(find "$DIR/cut/packs" -name '*.pack' -printf '%f\n' | sort | tail -n 1)
rm -f "$DIR/cut/packs/$last" "$DIR/cut/packs/${last%.pack}.meta" "$DIR/cut/keys/1/$last.key"
expect 7 archive verify -r "$DIR/cut" -k "$DIR/cluster/kek" --level present && prints "$last: the operations log names it, and it is missing"
# The holder of key and archive signs another history of the same length: two checkpoints convict him.
forged=$(sed -n 1,2p "$DIR/kept"; head -c 32 /dev/zero | base64)
printf '%s\n' "$forged" >"$DIR/text"
openssl pkeyutl -sign -inkey "$DIR/cluster/checkpoint.key" -rawin -in "$DIR/text" -out "$DIR/sig"
{
    cat "$DIR/text"
    printf '\n\xe2\x80\x94 %s ' "$id"
    { printf '%b' "$(sed -E 's/.*\+([0-9a-f]{8})\+.*/\1/; s/../\\x&/g' "$DIR/vkey")"; cat "$DIR/sig"; } | base64 -w 0
    echo
} >"$DIR/forged"
expect 7 archive consistency "$DIR/forged" -r "$archive" "${key[@]}" && says "the history was changed"
expect 7 archive consistency "$DIR/early" "$DIR/forged" -r "$archive" "${key[@]}" && says "the history was changed"
echo "ok: a rolled back and a forked history are found"
echo "proof: $checks commands, all as expected"
