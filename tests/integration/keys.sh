#!/usr/bin/env bash
# Keys of the archive with three real sites: from a file, a command and a token (SoftHSM); rotation beside a site that archives under
# load, killed and taken up again; a site that follows without a restart and one that needs it; a wrong, a lost and a retired key; a
# reader that shares no line with us.
#
# Usage: BUILD=build/gcc-release tests/integration/keys.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT TRIVENI_KEK TRIVENI_REPOSITORY
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-keys.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"
PATH=$(cd "$(dirname "$TRIVENI")" && pwd):$PATH

cluster_create "$DIR/cluster"
archive=$DIR/cluster/gsr/archive
kek=$DIR/cluster/kek
keys=(triveni archive keys -r "$archive")
keys() { "${keys[@]}" "$@"; }
new_key() { (umask 077 && openssl rand -hex 32 >"$1"); }
sealed() { tv put seals "$1" x >/dev/null && op archive seal >/dev/null; }
packs() { (cd "$archive" && sha256sum packs/*.pack | sort -k2); }
state_of() { keys list -o json | jq -r "select(.generation == $1) | .state"; }

# ---- a token, and two AES keys in it ----
module=/usr/lib/softhsm/libsofthsm2.so
mkdir "$DIR/tokens"
printf 'directories.tokendir = %s\nlog.level = ERROR\n' "$DIR/tokens" >"$DIR/softhsm2.conf"
export SOFTHSM2_CONF=$DIR/softhsm2.conf
softhsm2-util --init-token --free --label archive --so-pin 87654321 --pin 4711 >/dev/null
token_key() {
    pkcs11-tool --module "$module" --token-label archive --login --pin 4711 --keygen --key-type AES:32 --usage-wrap --label "$1" \
        --id "$2" >/dev/null 2>&1
}
(umask 077 && echo 4711 >"$DIR/pin")
token_key first 01
token_key second 02
uri() { echo "pkcs11:token=archive;object=$1?module-path=$module&pin-source=file:$DIR/pin"; }

# ---- from a command: the site asks a program ----
printf '#!/bin/sh\ncat "$1"\n' >"$DIR/get-kek" && chmod 700 "$DIR/get-kek"
cp "$DIR/cluster/gsr.yaml" "$DIR/gsr.yaml"
gsr_key() {
    sed "s|kek_file: kek|checkpoint_key_file: checkpoint.key, kek: {${1//&/\\&}}|" "$DIR/gsr.yaml" >"$DIR/cluster/gsr.yaml"
}
gsr_key "command: [$DIR/get-kek, $kek]"
grep -q 'command: ' "$DIR/cluster/gsr.yaml" || die "gsr.yaml was not changed: $(cat "$DIR/cluster/gsr.yaml")"
sites_start
wait_primary >/dev/null
sealed a
[ "$(state_of 1)" = whole ] || die "generation 1: $(keys list)"
expect 0 'readable' triveni archive verify -r "$archive" -k "command:$DIR/get-kek $kek"
expect 1 "$DIR/get-kek failed with exit code 1: cat: $DIR/none" triveni archive list -r "$archive" -k "command:$DIR/get-kek $DIR/none"
expect 2 '--kek is needed' "${keys[@]}" check
expect 2 '--to is needed' "${keys[@]}" rotate -k "$kek"
expect 2 "'turn' is unknown" "${keys[@]}" turn -k "$kek"

# ---- rotation under load, killed; the site follows what its command gives ----
new_key "$DIR/kek2"
expect 8 'is not the one of this archive' triveni archive list -r "$archive" -k "$DIR/kek2"
expect 8 "from $DIR/kek2" triveni archive list -r "$archive" -k "$DIR/kek2"
expect 8 'generation 1 is under KEK id' triveni archive list -r "$archive" -k "$DIR/kek2"
"$BUILD/tests/writers/writers" run --uri "$(cat "$DIR/cluster/client.uri")" --ledger "$DIR/ledger" --seconds 12 --threads 2 \
    >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
for i in $(seq 1 12); do sealed "load-$i"; done
before=$(packs)
killed=0
for i in $(seq 1 12); do
    keys rotate -k "$kek" --to "$DIR/kek2" >"$DIR/rotate.log" 2>&1 &
    rotate=$!
    sleep "0.0$((i % 10))"
    kill -KILL "$rotate" 2>/dev/null && killed=$((killed + 1))
    wait "$rotate" 2>/dev/null || true
done
[ "$killed" -gt 0 ] || die "no rotation was killed"
expect 0 '' "${keys[@]}" rotate -k "$kek" --to "$DIR/kek2"
[ "$(keys list -o json | jq -s length)" = 2 ] || die "a killed rotation began a second generation: $(keys list)"
diff <(echo "$before") <(packs | head -n "$(wc -l <<<"$before")") >/dev/null || die "rotation changed a pack"
sealed during
for i in $(seq 1 50); do
    site_status gsr | jq -e '.archive.awaited_generation == 2' >/dev/null && break
    sleep 0.1
done
site_status gsr | jq -e '.archive | .key_generation == 1 and .awaited_generation == 2' >/dev/null || die "gsr does not see the rotation"
expect 7 'no key in this generation' "${keys[@]}" check 2 -k "$DIR/kek2"
expect 7 'is not retired' "${keys[@]}" retire 1 -k "$DIR/kek2"
cp "$kek" "$DIR/kek1" && mv "$DIR/kek2" "$kek" && cp -p "$kek" "$DIR/kek2"
sealed after
for i in $(seq 1 50); do
    site_status gsr | jq -e '.archive | .key_generation == 2 and .awaited_generation == null and .trouble == null' >/dev/null && break
    sleep 0.1
done
expect 0 'keys are written to generation 2 now' triveni events -n 200 --site gsr --profile "$DIR/cluster/operator.yaml"
site_kill gsr KILL
site_start gsr
wait "$writers" || die "writers: $(cat "$DIR/writers.log")"
wait_equal >/dev/null
sealed again
expect 0 ' 0 failed' "${keys[@]}" check 2 -k "$kek"
expect 0 ' 0 damaged' triveni archive verify -r "$archive" -k "$kek"
expect 0 '' triveni restore -r "$archive" -k "$kek" --into "$DIR/restored"
pack=$(cd "$archive" && ls packs/*.pack | tail -n 1)
python3 "$here/../repository/read_pack.py" "$archive" "$kek" "$pack" >"$DIR/entries" && [ -s "$DIR/entries" ]
old=$(cd "$archive" && ls packs/*.pack | head -n 1)
python3 "$here/../repository/read_pack.py" "$archive" "$DIR/kek1" "$old" >"$DIR/one"
python3 "$here/../repository/read_pack.py" "$archive" "$kek" "$old" | cmp - "$DIR/one" || die "two generations give two contents"

# ---- retired ----
expect 0 'generation 1 is retired' "${keys[@]}" retire 1 -k "$kek"
[ "$(state_of 1) $(state_of 2)" = "retired whole" ] || die "$(keys list)"
expect 8 'generation 1 was retired' triveni archive list -r "$archive" -k "$DIR/kek1"
sealed retired
expect 0 ' 0 damaged' triveni archive verify -r "$archive" -k "$kek"
expect 0 'transaction' triveni archive prove seals a -r "$archive" -k "$kek" --to "$DIR/proof"

# ---- to a token: the site is restarted with it; a key that it has alone is not enough until all are under it ----
expect 0 '' "${keys[@]}" rotate -k "$kek" --to "$(uri first)"
sealed late
site_kill gsr TERM
gsr_key "token: '$(uri first)'"
site_start gsr
closed() { site_status gsr | jq -r '.trouble[]' | grep 'its key is in generation 2 only.*finish .triveni archive keys rotate' >/dev/null; }
for i in $(seq 1 200); do
    ! closed || break
    sleep 0.1
done
closed || die "gsr says: $(site_status gsr | jq .trouble)"
! grep -q 'was healed from' "$DIR/cluster/gsr.log" || die "what is not damaged was made again: $(grep 'was healed' "$DIR/cluster/gsr.log")"
[ "$(site_status gsr | jq .votes)" = true ] || die "a site without its key does not vote"
expect 0 'keys added' "${keys[@]}" rotate -k "$kek" --to "$(uri first)" # one or more: as packs are sealed by age, too
! grep -q ' 0 keys added' "$DIR/out" || die "the key of the late pack is not under the token: $(cat "$DIR/out")"
sealed token
expect 0 ' 0 failed' "${keys[@]}" check 3 -k "$(uri first)"
expect 0 'generation 2 is retired' "${keys[@]}" retire 2 -k "$(uri first)"
expect 0 ' 0 damaged' triveni archive verify -r "$archive" -k "$(uri first)"
expect 8 'is not the one of this archive' triveni archive verify -r "$archive" -k "$(uri second)"
expect 3 'no secret key that fits the URI' triveni archive list -r "$archive" -k "$(uri lost)"
expect 0 '' "${keys[@]}" rotate -k "$(uri first)" --to "$(uri second)"
expect 0 ' 0 failed' "${keys[@]}" check 4 -k "$(uri second)"
if grep -rqF -e 4711 "$DIR/cluster/gsr.log"; then die "the PIN is in the log of gsr"; fi

# ---- the token is gone: trouble that is told, the site goes on, and so does the archive when it is back ----
site_kill gsr KILL
mv "$DIR/tokens" "$DIR/tokens.away" && mkdir "$DIR/tokens"
site_start gsr
for i in $(seq 1 100); do
    site_status gsr | jq -e '.archive.trouble != null' >/dev/null && break
    sleep 0.1
done
site_status gsr | jq -r .archive.trouble | grep 'no token of the module fits the URI' >/dev/null || die "gsr says: $(site_status gsr | jq .archive)"
tv put seals meanwhile x >/dev/null
rmdir "$DIR/tokens" && mv "$DIR/tokens.away" "$DIR/tokens"
sealed back
expect 0 ' 0 damaged' triveni archive verify -r "$archive" -k "$(uri first)"
echo "ok: file, command and token; $killed rotations killed; $(packs | wc -l) packs, $(keys list -o json | jq -s length) generations"
