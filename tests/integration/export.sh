#!/usr/bin/env bash
# Records of a real archive as a bag: it is one by the rules of RFC 8493 (checked by a program that knows nothing of ours), its
# verify.sh proves each record with nothing but coreutils, awk and openssl, and names the file in which anything was changed, also when the
# manifests were made to agree. Keys that are paths, line feeds or no text at all are harmless.
#
# Usage: BUILD=build/gcc-release tests/integration/export.sh
# installs: libxml2-utils mawk
# suite: drills
# limit: 240 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT TRIVENI_REPOSITORY TRIVENI_KEK
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-export.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"
command -v xmllint >/dev/null && command -v mawk >/dev/null || bash "$here/../build/deps.sh" libxml2-utils mawk

cluster_create "$DIR/cluster"
sites_start
wait_primary >/dev/null
archive=$DIR/cluster/gsr/archive
with=(-r "$archive" -k "$DIR/cluster/kek")
t=("$TRIVENI" archive export)

# What a stranger has: a shell, coreutils, awk, openssl.
mkdir "$DIR/bin"
dpkg -L coreutils | grep -E '/s?bin/[^/]+$' | xargs -I{} ln -sf {} "$DIR/bin/"
ln -sf "$(command -v openssl)" "$DIR/bin/openssl"
ln -sf "$(command -v mawk)" "$DIR/bin/awk"
ln -sf "$(command -v dash)" "$DIR/bin/sh"
# stranger CODE TEXT BAG [VKEY]
stranger() { expect "$1" "$2" env -i PATH="$DIR/bin" TMPDIR="$DIR" sh "$3/verify.sh" "${@:4}"; }
is() { [ "$1" = "$2" ] || die "'$1' where '$2' was expected: $(cat "$DIR/out" "$DIR/err")"; }
# signed LSN: the signed tree reaches it, and both other sites have cosigned.
signed() {
    for _ in $(seq 150); do
        "$TRIVENI" archive checkpoint -r "$archive" -o json >"$DIR/checkpoint" 2>/dev/null || true
        [ "$(jq --argjson lsn "$1" '.size >= $lsn and (.cosigners | length) == 2' "$DIR/checkpoint" 2>/dev/null)" = true ] && return
        sleep 0.2
    done
    die "lsn $1 is not signed: $(cat "$DIR/checkpoint")"
}

# ---- records of every shape ----
first=$(tv put titles AB-1 '{"owner":"Asha"}' -o json | jq .lsn)
op point before >/dev/null
tv put titles AB-1 '{"owner":"Ravi \"R\" \\ Δ"}' >/dev/null
gone=$(tv del titles AB-1 -o json | jq .lsn)
tv put titles AB-1 '{"owner":"Neha"}' >/dev/null
tv put titles ../../../escaped 'a path' >/dev/null
tv put titles $'line\nfeed\r%0A' $'two\nlines\ttab \x01 \x1f \x7f end' >/dev/null
tv put titles "quote\"back\\slash<&>" '"a JSON string"' >/dev/null
tv put titles /v8A --base64 /v8AAQ== >/dev/null
tv put titles v-empty '' >/dev/null
printf %s -12.5e+3 >"$DIR/number"
tv put titles v-number --file "$DIR/number" >/dev/null
tv put titles v-spaced $' \t[1,\n  {"a" : "x]\\"}"}, null]\r\n ' >/dev/null
tv put titles v-coded '{"base64":"QUJD"}' >/dev/null
tv put titles v-disguised '{"b\u0061se64":"QUJD"}' >/dev/null
tv put titles v-two '{"base64":"QUJD","n":1}' >/dev/null
tv put titles v-true true >/dev/null
tv put titles v-words 'true false' >/dev/null
tv put titles v-twice '{"a":1},"value":{"a":2}' >/dev/null
head -c 300000 /dev/urandom >"$DIR/large"
tv put titles v-large --file "$DIR/large" >/dev/null
printf 'put titles T-1 1\nput titles T-2 2\nput titles T-1 3\ndel titles T-2\n' | tv txn >/dev/null
seq 1 6 | sed 's/.*/many-&\t{"n":&}/' >"$DIR/many.tsv"
tv load titles "$DIR/many.tsv" --batch 3 >/dev/null 2>"$DIR/err"
tv put other X y >/dev/null
last=$(tv put titles zz end -o json | jq .lsn)
op archive seal >/dev/null
signed "$last"
vkey=$(jq -r .key "$DIR/checkpoint")

# ---- the collection, as it is ----
before=$(find "$DIR" -maxdepth 1 | sort)
expect 0 'each with its proof' "${t[@]}" titles "${with[@]}" --into "$DIR/bag" --organization 'Land & Registry'
stranger 0 'whole: 23 records are proven' "$DIR/bag" "$vkey"
is "$(grep -c '^proven ' "$DIR/out")" 23
is "$(grep -c '^cosigned ' "$DIR/out")" 2
stranger 0 'compare the key of the log' "$DIR/bag"
tv dump titles >"$DIR/dump" 2>"$DIR/err"
cmp "$DIR/dump" "$DIR/bag/data/records.jsonl" || die "the records are not those of a dump"
python3 "$here/../repository/check_bag.py" "$DIR/bag" >"$DIR/out" || die "no bag by RFC 8493: $(cat "$DIR/out")"
grep -q 'Source-Organization: Land & Registry' "$DIR/bag/bag-info.txt" || die "bag-info.txt names no organization"
xmllint --noout "$DIR/bag/data/premis.xml" || die "premis.xml is not well-formed"
is "$(xmllint --xpath 'count(//*[local-name()="eventType"][.="ingestion"])' "$DIR/bag/data/premis.xml")" 23
is "$(xmllint --xpath 'string(//*[local-name()="agentType"][.="organization"]/../*[local-name()="agentName"])' "$DIR/bag/data/premis.xml")" 'Land & Registry'
[ "$(find "$DIR/bag" -type f | grep -cvE '^[A-Za-z0-9./-]+$')" = 0 ] || die "a name of a file has something of a record"
is "$(find "$DIR" -maxdepth 1 | sort | grep -v '/bag$\|/dump$\|/out$\|/err$')" "$(grep -v '/out$\|/err$' <<<"$before")"
for proof in 0000000001 0000000023; do
    expect 0 proven "$TRIVENI" verify-proof "$DIR/bag/data/proofs/$proof"-* --key "$vkey"
done
stranger 1 'FAILED data/keys/log: it is not the verifier key that was given' "$DIR/bag" "${vkey%?}"
echo "ok: a collection as a bag: the files of RFC 8493, the records of a dump, each proven with a shell, awk and openssl"

# ---- the past ----
expect 0 '4 versions' "${t[@]}" titles AB-1 --history "${with[@]}" --into "$DIR/past"
stranger 0 'whole: 4 records' "$DIR/past" "$vkey"
is "$(jq -sc 'map(.value.owner)' "$DIR/past/data/records.jsonl")" '["Neha",null,"Ravi \"R\" \\ Δ","Asha"]'
is "$(jq -sc 'map(.deleted)' "$DIR/past/data/records.jsonl")" '[null,true,null,null]'
expect 0 '1 records as of' "${t[@]}" titles --prefix AB- --to-point before "${with[@]}" --into "$DIR/point"
is "$(jq -c '[.lsn, .value.owner]' "$DIR/point/data/records.jsonl")" "[$first,\"Asha\"]"
expect 0 '' "${t[@]}" titles AB-1 --to-lsn "$first" "${with[@]}" --into "$DIR/lsn" -o json
is "$(jq -c '[.records, .lsn]' "$DIR/out")" "[1,$first]"
expect 0 '' "${t[@]}" titles /v8A --base64 "${with[@]}" --into "$DIR/coded"
stranger 0 '"key":{"base64":"/v8A"}' "$DIR/coded" "$vkey"

# ---- what is refused leaves nothing behind ----
expect 3 'there was no record AB-1 at lsn' "${t[@]}" titles AB-1 --to-lsn "$gone" "${with[@]}" --into "$DIR/none"
expect 3 'there was no record AB-9' "${t[@]}" titles AB-1 AB-9 "${with[@]}" --into "$DIR/none"
expect 3 'no such record' "${t[@]}" nothing "${with[@]}" --into "$DIR/none"
expect 3 'does not reach that time' "${t[@]}" titles --to-time 2100-01-01T00:00:00Z "${with[@]}" --into "$DIR/none"
expect 1 'is there: name a new directory' "${t[@]}" titles "${with[@]}" --into "$DIR/bag"
mkdir "$DIR/none.partial"
expect 1 'was left by an export' "${t[@]}" titles "${with[@]}" --into "$DIR/none"
rmdir "$DIR/none.partial"
[ ! -e "$DIR/none" ] || die "a bag was made although it was refused"
if [ "$(id -u)" = 0 ] && mkdir "$DIR/small" && mount -t tmpfs -o size=200k none "$DIR/small" 2>/dev/null; then
    expect 1 'No space left' "${t[@]}" titles "${with[@]}" --into "$DIR/small/bag"
    left=$(ls -A "$DIR/small")
    umount "$DIR/small"
    is "$left" ''
else
    echo "NOT RUN: a full disk: run it as root"
fi
echo "ok: the past, keys that are no text, and what is refused"

# ---- one changed byte in any file is found, and the file is named ----
expect 0 '' "${t[@]}" titles AB-1 v-coded "${with[@]}" --into "$DIR/two"
# turn FILE BYTE
turn() {
    python3 -c 'import sys; d = bytearray(open(sys.argv[1], "rb").read()); d[int(sys.argv[2]) % len(d)] ^= 1; open(sys.argv[1], "wb").write(d)' "$@"
}
(cd "$DIR/two" && find . -type f -printf '%P\n' | sort) >"$DIR/files"
[ "$(wc -l <"$DIR/files")" = 15 ] || die "other files: $(cat "$DIR/files")"
while read -r file; do
    rm -rf "$DIR/turned"
    cp -a "$DIR/two" "$DIR/turned"
    turn "$DIR/turned/$file" 20
    case $file in # a tag manifest is listed nowhere: who differs from it is named with it
    tagmanifest-*) stranger 1 "$file" "$DIR/turned" "$vkey" ;;
    *) stranger 1 "FAILED $file" "$DIR/turned" "$vkey" ;;
    esac
    grep -q '^NOT whole' "$DIR/out" || die "$file: no verdict"
done <"$DIR/files"
rm "$DIR/turned/data/records.jsonl"
stranger 1 'FAILED data/records.jsonl' "$DIR/turned" "$vkey"
rm -rf "$DIR/turned"
cp -a "$DIR/two" "$DIR/turned"
echo >"$DIR/turned/data/proofs/extra"
stranger 1 'data/proofs/extra' "$DIR/turned" "$vkey"
echo "ok: every changed, missing or added file is named"

# ---- who makes the manifests agree is found by the proofs ----
# forged TEXT SED-EXPRESSION FILE: the file changed, and the manifests made anew
forged() {
    rm -rf "$DIR/forged"
    cp -a "$DIR/two" "$DIR/forged"
    (
        cd "$DIR/forged"
        sed -i -E "$2" $3
        for n in 256 512; do
            find data -type f | sort | xargs "sha${n}sum" >"manifest-sha$n.txt"
        done
        for n in 256 512; do
            find . -maxdepth 1 -type f -not -name 'tagmanifest*' -printf '%P\n' | sort | xargs "sha${n}sum" >"tagmanifest-sha$n.txt"
        done
    )
    stranger 1 "$1" "$DIR/forged" "$vkey"
}
forged 'does not prove line 1 of data/records.jsonl' '1s/Neha/Nena/' data/records.jsonl
forged 'does not prove line 1 of data/records.jsonl' '1s/T2/T0/;t;1s/T[01]/T2/' data/records.jsonl
forged 'does not prove line 2 of data/records.jsonl' '2s/"lsn":1/"lsn":2/;2s/"lsn":([0-9])/"lsn":1\1/' data/records.jsonl
forged 'does not prove line 2 of data/records.jsonl' '2s/"value":.*/"value":{"base64":"QUJD"}}/' data/records.jsonl
forged 'not all of it is proven' '$p' data/records.jsonl
forged 'does not prove line 2 of data/records.jsonl' '2d' data/records.jsonl
forged 'not in the tree of the checkpoint' '4s/^A/B/;t;4s/^./A/' 'data/proofs/0000000001-*'
forged 'its place in the tree' '3s/$/1/' 'data/proofs/0000000001-*'
forged 'its checkpoint is not data/checkpoint' '$d' 'data/proofs/0000000002-*'
forged 'is not signed by data/keys/log' '2s/$/0/' data/checkpoint
forged 'has not the hash that the header names' '2s/.(.{7})$/A\1/' 'data/proofs/0000000001-*'
# The record of another line, with its true proof in the wrong place.
forged 'does not prove line 1' '1{h;d};2{G}' data/records.jsonl
echo "ok: records that were changed together with the manifests are not proven"
echo "export: all as expected"
