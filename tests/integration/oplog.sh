#!/usr/bin/env bash
# The operations log of a real site's archive: it names what is sealed, takes what commands hand in, survives kill -9, and is read by a
# program that shares no line with ours. Whatever it names and is gone, exchanged or changed is told by name, and so is a log
# that was cut, put back or removed.
#
# Usage: BUILD=build/gcc-release tests/integration/oplog.sh
# limit: 240 s
# suite: drills
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
export TRIVENI=$BUILD/triveni PATH=$BUILD:$PATH
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-oplog.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"

cluster_create "$DIR/cluster"
archive=$DIR/cluster/gsr/archive
kek=$DIR/cluster/kek
operations() { triveni archive operations -r "$1" -o json 2>/dev/null; }
# Of an archive, by the key that signs its tree of entries.
stranger() { timeout 60 python3 "$here/../repository/verify_tree.py" operations "$1" "$(cat "$DIR/vkey")"; }
sealed() { tv put deeds "$1" x >/dev/null && op archive seal >/dev/null 2>"$DIR/seal.log"; }
# Wait until the signed log names every pack, the tree of entries is published up to the last one, and both other sites have
# cosigned all of it (unless with `unseen`: they refuse the log).
settled() {
    local i
    for i in $(seq 1 150); do
        if [ "$(operations "$archive" | jq -r 'select(.op == "pack") | .object' | sort)" = "$(cd "$archive" && ls packs/*.meta | sed s/meta$/pack/)" ] &&
            site_status gsr | jq -e --arg how "${1:-}" '.archive | .proven != null and .proven == .archived and
                ($how == "unseen" or ([.cosigners[].operations.cosigned] == [true, true]))' >/dev/null; then
            return 0
        fi
        sleep 0.1
    done
    die "not every pack is in the log, or it is not cosigned: $(triveni archive operations -r "$archive" 2>&1; site_status gsr | jq -c .archive.cosigners)"
}
has() { # OP COUNT: so many leaves of that kind, soon
    local i
    for i in $(seq 1 150); do
        [ "$(operations "$archive" | jq -s "[.[] | select(.op == \"$1\")] | length")" = "$2" ] && return 0
        sleep 0.1
    done
    die "not $2 operations '$1': $(triveni archive operations -r "$archive" 2>&1)"
}

# ---- what is sealed is named ----
expect 2 '--repository is needed' triveni archive operations
mkdir "$DIR/empty"
expect 3 '' triveni archive operations -r "$DIR/empty"
sites_start
wait_primary >/dev/null
sealed a
settled
triveni archive checkpoint -r "$archive" -o json 2>/dev/null | jq -r .key >"$DIR/vkey"
cp -a "$archive/operations" "$DIR/older"
for i in 1 2; do sealed "b$i"; done
settled
expect 0 'pack' triveni archive operations -r "$archive"
expect 0 'signed by verifier key triveni/' triveni archive operations -r "$archive" -n 1
[ "$(wc -l <"$DIR/out")" = 2 ] || die "-n 1 gives more than a head and a line: $(cat "$DIR/out")"
[ "$(operations "$archive" | jq -s -r '.[0] | .op, .signed, .number' | xargs)" = "pack true 0" ] || die "the first operation is none"
stranger "$archive" | grep '^operations ' >/dev/null
expect 0 'says what must be there' triveni archive verify -r "$archive" -k "$kek"
! grep -q unknown "$DIR/out" || die "objects are unknown: $(cat "$DIR/out")"
echo "ok: what is sealed is named, to our program and to another one"

# ---- what commands do is handed in, and signed by the running site ----
(umask 077 && openssl rand -hex 32 >"$DIR/kek2")
expect 0 '' triveni archive keys rotate -r "$archive" -k "$kek" --to "$DIR/kek2"
expect 0 'rotate' triveni archive operations -r "$archive" -k "$kek" # counts at once
has rotate 2
mv "$DIR/kek2" "$kek"
sealed c
expect 0 '' triveni archive keys retire 1 -r "$archive" -k "$kek"
has retire 1
settled
operations "$archive" | jq -e 'select(.op == "retire" and .generation == 1)' >/dev/null || die "the retired generation is not named"
[ -z "$(ls "$archive/operations/pending")" ] || die "what was taken is still there"
has verify 0 # nobody has asked for it so far
expect 0 ' 0 damaged' triveni archive verify -r "$archive" -k "$kek" --level intact --record
checked=$(sed -n 's/ objects, .*//p' "$DIR/out")
has verify 1
operations "$archive" | jq -e --argjson n "$checked" \
    'select(.op == "verify") | .checked == $n and .damaged == null and .detail == "intact" and .last > 0' >/dev/null ||
    die "the verification of $checked objects is not named: $(operations "$archive" | tail -n 1)"
stranger "$archive" >/dev/null
echo "ok: what commands hand in is signed"

# ---- kill -9 in the middle of sealing: nothing stays without its leaf ----
for i in 1 2 3; do
    for k in 1 2 3; do sealed "k$i-$k"; done &
    load=$!
    sleep "0.$((i * 3))"
    site_kill gsr KILL
    wait "$load" || true
    site_start gsr
    for k in $(seq 1 100); do op archive seal >/dev/null 2>&1 && break || sleep 0.1; done
done
wait_equal >/dev/null
op archive seal >/dev/null
settled
expect 0 ' 0 damaged' triveni archive verify -r "$archive" -k "$kek"
stranger "$archive" >/dev/null
for site in dc dr; do
    [ "$(site_status "$site" | jq '[.trouble[] | select(contains("cosign"))] | length')" = 0 ] ||
        die "$site takes a crash for a rollback: $(site_status "$site" | jq -c .trouble)"
done
echo "ok: killed while it seals, the site finds what its log lacks, and nobody takes it for a rollback"

# ---- a snapshot is an operation, and an archive without a log gets one ----
site_kill gsr TERM
rm -rf "$archive/operations" "$archive/tree" "$DIR/older"
expect 0 'no operations log' triveni archive verify -r "$archive" -k "$kek"
expect 3 'give the key-encryption key' triveni archive verify -r "$archive"
site_start gsr
settled unseen
# The others know the log that was, and refuse the new one until somebody has them begin anew.
for site in dc dr; do
    for i in $(seq 1 100); do
        site_status "$site" | grep "does not cosign the archive's operations log: " >/dev/null && break
        sleep 0.1
    done
    site_status "$site" | grep "does not cosign the archive's operations log: " >/dev/null || die "$site takes another log for the one that was"
    site_kill "$site" TERM
    rm -r "$DIR/cluster/$site/data/cosigner-operations" "$DIR/cluster/$site/data/cosigner-evidence"
    site_start "$site"
    wait_primary >/dev/null
done
settled
[ "$(operations "$archive" | jq -s 'all(.mended)')" = true ] || die "old packs are not marked: $(operations "$archive")"
cp -a "$archive/operations" "$DIR/older"
sealed d
settled
expect 0 ' 0 damaged' triveni archive verify -r "$archive" -k "$kek"
stranger "$archive" >/dev/null
site_kill gsr TERM

# ---- who has no key ----
expect 2 'Without the key, give --level present or intact' triveni archive verify -r "$archive" --level readable
expect 2 '--require goes with --key' triveni archive verify -r "$archive" --require 1
expect 0 'its headers are one chain and lead to the signed root' triveni archive verify -r "$archive"
grep -q '^NOT checked' "$DIR/out" || die "what was not checked is not said: $(cat "$DIR/out")"
triveni archive checkpoint -r "$archive" -o json 2>/dev/null | jq -r '.key, .cosigners[].key' >"$DIR/vkeys"
expect 0 '/dr at 20' triveni archive verify -r "$archive" --key "$DIR/vkeys"
expect 0 '' triveni archive verify -r "$archive" --key "$DIR/vkey" --level present -o json
jq -e '.keyless and .damaged == 0 and .proven > 0 and .operations > 0' "$DIR/out" >/dev/null || die "not this JSON: $(cat "$DIR/out")"
expect 2 'no key of that cosigner was given' triveni archive verify -r "$archive" --key "$DIR/vkeys" --require gsr
# A whole archive that somebody else signed: his own keys lie beside it, and only a key from elsewhere tells.
openssl genpkey -algorithm ed25519 -out "$DIR/other.key" 2>/dev/null
python3 - "$(cat "$DIR/vkey")" "$DIR/other.key" >"$DIR/other-vkey" <<'PY'
import base64, hashlib, subprocess, sys
name = sys.argv[1].split("+")[0].encode()
key = b"\1" + subprocess.run(["openssl", "pkey", "-in", sys.argv[2], "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout[-32:]
print(name.decode() + "+" + hashlib.sha256(name + b"\n" + key).hexdigest()[:8] + "+" + base64.b64encode(key).decode())
PY
expect 7 'DAMAGED tree/checkpoint: not signed by triveni/' triveni archive verify -r "$archive" --key "$DIR/other-vkey"
expect 7 'DAMAGED operations: not signed by triveni/' triveni archive verify -r "$archive" -k "$kek" --level intact --key "$DIR/other-vkey"
echo "ok: without the key everything that was signed is checked, and what is not is said"

# ---- what is wrong is told ----
# broken NAME COMMAND...: a copy of the archive in DIR/copy after the command; both programs refuse it, ours with the text.
broken() {
    local text=$1
    shift
    rm -rf "$DIR/copy"
    cp -a "$archive" "$DIR/copy"
    (cd "$DIR/copy" && "$@")
    expect 7 "$text" triveni archive verify -r "$DIR/copy" -k "$kek" --level intact
    expect 7 DAMAGED triveni archive verify -r "$DIR/copy"
    ! stranger "$DIR/copy" >/dev/null 2>&1 || die "the other program takes it: $*"
}
last=$(cd "$archive" && ls packs/*.pack | tail -n 1)
middle=$(cd "$archive" && ls packs/*.pack | sed -n 3p)
without() { rm -f "$1" "${1%.pack}.meta" keys/*/"${1#packs/}.key"; }
flip() { python3 -c 'import os, sys; d = bytearray(open(sys.argv[1], "rb").read()); d[len(d) // 2] ^= 1; os.unlink(sys.argv[1])
open(sys.argv[1], "wb").write(d)' "$1"; }
cut() { head -c -1 "$1" >"$1.new" && mv -f "$1.new" "$1"; }
swap() { mv "$1" x && mv "$2" "$1" && mv x "$2"; }
put_back() { rm -rf operations && cp -a "$DIR/older" operations; }
bundle=$(cd "$archive" && find operations/tile/entries -type f | sort -V | tail -n 1)
tile=$(cd "$archive" && find operations/tile/0 -type f | sort -V | tail -n 1)
broken "DAMAGED $last: the operations log names it, and it is missing" without "$last"
expect 7 'DAMAGED' triveni archive verify -r "$DIR/copy" -k "$kek" --level present --record # damage is recorded, too
expect 0 '' triveni archive operations -r "$DIR/copy" -k "$kek" -o json
tail -n 1 "$DIR/out" | jq -e '.op == "verify" and .damaged > 0 and .detail == "present" and (.signed | not)' >/dev/null ||
    die "damage is not recorded: $(tail -n 1 "$DIR/out")"
# What could not be read was not verified.
before=$(find "$DIR/copy/operations/pending" -type f | wc -l)
mv "$DIR/copy/packs" "$DIR/packs"
touch "$DIR/copy/packs"
expect 1 'cannot list' triveni archive verify -r "$DIR/copy" -k "$kek" --level present --record
[ "$(find "$DIR/copy/operations/pending" -type f | wc -l)" = "$before" ] || die "a verification that did not take place is recorded"
rm "$DIR/copy/packs"
mv "$DIR/packs" "$DIR/copy/packs"
broken "DAMAGED $middle: the operations log names it, and it is missing" without "$middle"
broken "DAMAGED $middle" flip "$middle"
broken "DAMAGED $middle" swap "$middle" "$last"
broken "DAMAGED operations" flip "$bundle"
broken "DAMAGED operations" cut "$bundle"
broken "DAMAGED operations" flip "$tile"
broken "DAMAGED operations" sed -i "2s/$/0/" operations/checkpoint # behind it are cosignatures, which no key is given for
broken "DAMAGED $last: its entries are in the signed tree, and the operations log does not name it" put_back
broken "DAMAGED operations/checkpoint: it is missing, though its key lies in tree/keys" rm -rf operations
echo "ok: objects that are gone, changed or exchanged are told by name, and a log that was changed, cut, put back or removed"
echo "oplog: all as expected"
