#!/usr/bin/env bash
# The past of records from the archive of three real sites: versions of a record, records as they were, what changed between two
# moments; asked of the running site that keeps the archive, and of its directory when no site runs. Found through the index of
# keys, which the site makes, keeps current, and makes again when it is damaged; each version is proven.
#
# Usage: BUILD=build/gcc-release tests/integration/history.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT TRIVENI_REPOSITORY TRIVENI_KEK
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-history.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"

cluster_create "$DIR/cluster"
sed -i 's/memory_mib: 64/memory_mib: 64, history_mib: 1, checkpoint_seconds: 1/' "$DIR"/cluster/{dc,dr,gsr}.yaml
sites_start
wait_primary >/dev/null
archive=$DIR/cluster/gsr/archive
client=(--profile "$DIR/cluster/client.yaml")
with=(-r "$archive" -k "$DIR/cluster/kek")
t=("$TRIVENI")

put() { tv put titles "$1" "$2" -o json | jq .lsn; }
# versions FILTER OF THE JSON LINES IN DIR/out: what jq makes of them, in one line
versions() { jq -sc "$1" "$DIR/out"; }
is() { [ "$1" = "$2" ] || die "'$1' where '$2' was expected: $(cat "$DIR/out" "$DIR/err")"; }
# Until the index reaches what is archived.
indexed() {
    local row=
    for _ in $(seq 150); do
        row=$(site_status gsr | jq -c '.archive | [.archived, .indexed]')
        [ "$(jq '.[0] == .[1] and .[0] != null' <<<"$row")" = true ] && return
        sleep 0.2
    done
    die "the index does not reach what is archived: $row"
}

# ---- a record's life, in several packs ----
first=$(put AB-1 '{"owner":"Asha"}')
put AB-2 '{"owner":"Mary"}' >/dev/null
op archive seal >/dev/null
tv point before >/dev/null
second=$(put AB-1 '{"owner":"Ravi"}')
time=$(tv get titles AB-1 -o json | jq -r .time)
op archive seal >/dev/null
gone=$(tv del titles AB-1 -o json | jq .lsn)
seq 1 400 | sed 's/.*/T-&\t{"n":&}/' >"$DIR/many.tsv"
tv load titles "$DIR/many.tsv" --batch 100 >/dev/null 2>"$DIR/err"
op archive seal >/dev/null
indexed
again=$(put AB-1 '{"owner":"Neha"}') # not archived yet

all="[$again,$gone,$second,$first]"
expect 0 '' "${t[@]}" history titles AB-1 "${client[@]}" -o json --values
is "$(versions 'map(.lsn)')" "$all"
is "$(versions 'map([.act, .client, .bytes, .value.owner])')" '[["put","app",16,"Neha"],["delete","app",0,null],["put","app",16,"Ravi"],["put","app",16,"Asha"]]'
is "$(versions 'map(.time | endswith("Z")) | unique')" '[true]'
expect 0 'delete' "${t[@]}" history titles AB-1 "${client[@]}"
expect 0 'only the newest 2' "${t[@]}" history titles AB-1 "${client[@]}" -o json --limit 2
is "$(versions 'map(.lsn)')" "[$again,$gone]"
expect 0 '' "${t[@]}" history titles AB-1 "${client[@]}" -o json --from before --to "$time"
is "$(versions 'map(.lsn)')" "[$second]"
expect 3 'wrote that record' "${t[@]}" history titles AB-9 "${client[@]}"
expect 2 'offset' "${t[@]}" history titles AB-1 "${client[@]}" --to 2026-01-01T00:00:00
expect 3 "no restore point 'never'" "${t[@]}" history titles AB-1 "${client[@]}" --to never
expect 3 'not known here yet' "${t[@]}" history titles AB-1 "${client[@]}" --to 99999999
expect 2 'needs --repository' "${t[@]}" history titles AB-1 "${client[@]}" --proof "$DIR/none"
echo "ok: the running site answers, up to the present"

# ---- the same from the directory, up to its end ----
op archive seal >/dev/null
indexed
expect 0 '' "${t[@]}" history titles AB-1 "${with[@]}" -o json
is "$(versions 'map(.lsn)')" "$all"
expect 0 '' "${t[@]}" get titles AB-1 AB-2 --as-of before "${client[@]}" -o json
is "$(versions 'map([.key, .value.owner])')" '[["AB-1","Asha"],["AB-2","Mary"]]'
expect 0 '' "${t[@]}" get titles AB-1 --as-of "$time" "${with[@]}"
is "$(cat "$DIR/out")" '{"owner":"Ravi"}'
expect 3 'no such record' "${t[@]}" get titles AB-1 --as-of "$gone" "${with[@]}"
expect 3 'the archive ends at' "${t[@]}" get titles AB-1 --as-of 2100-01-01T00:00:00Z "${with[@]}"
expect 2 '--kek is needed' "${t[@]}" get titles AB-1 --as-of "$gone" -r "$archive"

# ---- differences ----
expect 0 '1 added, 0 removed, 1 changed' "${t[@]}" diff titles --from "$first" --to "$second" "${with[@]}" -o json
is "$(versions 'map([.key, .change, .before.value.owner, .after.value.owner])')" '[["AB-1","changed","Asha","Ravi"],["AB-2","added",null,"Mary"]]'
expect 0 '1 removed' "${t[@]}" diff titles AB-1 --from "$second" --to "$gone" "${with[@]}"
grep -q '^- AB-1.*Ravi' "$DIR/out" || die "diff shows not what was removed"
expect 0 '0 added, 0 removed, 1 changed' "${t[@]}" diff titles --prefix AB- --from before "${with[@]}"
expect 0 '400 added, 0 removed, 0 changed' "${t[@]}" diff titles --prefix T- --from before "${with[@]}" --keys-only
is "$(wc -l <"$DIR/out")" 400
expect 2 'after --to' "${t[@]}" diff titles --from "$gone" --to "$first" "${with[@]}"
echo "ok: records as they were and what changed, from the directory"

# ---- proofs ----
for _ in $(seq 150); do
    [ "$("$TRIVENI" archive checkpoint -r "$archive" -o json 2>/dev/null | jq .size)" -ge "$again" ] && break
    sleep 0.2
done
"$TRIVENI" archive checkpoint -r "$archive" -o json 2>/dev/null | jq -r .key >"$DIR/vkey"
expect 0 '' "${t[@]}" history titles AB-1 "${with[@]}" --proof "$DIR/proofs"
for lsn in "$first" "$second" "$gone" "$again"; do
    expect 0 "transaction $lsn" "${t[@]}" verify-proof "$DIR/proofs/$lsn.tlog-proof" --key "$DIR/vkey"
done
is "$(find "$DIR/proofs" -type f | wc -l)" 4
echo "ok: each version is proven"

# ---- a damaged index: told, no answer missing, and made again by the site ----
site_kill gsr TERM
index=$(find "$archive/indexes" -name '*.index' | sort | head -n 1)
chmod u+w "$index"
printf 'x' | dd of="$index" bs=1 seek=60 conv=notrunc 2>/dev/null
expect 7 '' "${t[@]}" archive verify "${with[@]}"
grep -q "indexes/.*made again\|indexes/.*makes it again" "$DIR/out" "$DIR/err" || die "verify does not name the index"
expect 0 '' "${t[@]}" history titles AB-1 "${with[@]}" -o json
is "$(versions 'map(.lsn)')" "$all"
# An archive of an older program has none at all.
cp -a "$archive" "$DIR/older"
rm -r "$DIR/older/indexes"
find "$DIR/older/keys/1" -name '*.index.key' -delete
expect 0 '' "${t[@]}" history titles AB-1 -r "$DIR/older" -k "$DIR/cluster/kek" -o json
is "$(versions 'map(.lsn)')" "$all"
site_start gsr
wait_equal >/dev/null
expect 0 '' "${t[@]}" history titles AB-1 "${client[@]}" -o json # meets the damage, has it made again
is "$(versions 'map(.lsn)')" "$all"
for _ in $(seq 100); do
    "$TRIVENI" archive verify "${with[@]}" >"$DIR/out" 2>&1 && break
    sleep 0.2
done
expect 0 '' "${t[@]}" archive verify "${with[@]}"
echo "ok: a damaged index is made again"

# ---- the sites' window of history ends: the archive goes on ----
for i in 1 2 3 4; do
    seq 1 3000 | sed "s/.*/W-&\t{\"n\":$i,\"pad\":\"$(printf 'x%.0s' $(seq 150))\"}/" >"$DIR/many-$i.tsv"
    tv load titles "$DIR/many-$i.tsv" --batch 100 >/dev/null 2>"$DIR/err"
done
op archive seal >/dev/null
expect 0 '' "${t[@]}" get titles AB-1 --as-of "$first" "${client[@]}"
is "$(cat "$DIR/out")" '{"owner":"Asha"}'
expect 0 '' "${t[@]}" get titles AB-1 --as-of "$time" "${client[@]}"
is "$(cat "$DIR/out")" '{"owner":"Ravi"}'
"$TRIVENI" scan titles --as-of "$first" "${client[@]}" >/dev/null 2>"$DIR/err" && die "the window still reaches lsn $first: the test shows nothing"
echo "ok: get --as-of goes on in the archive where the sites' window ends"

cluster_stop
expect 0 '' "${t[@]}" history titles AB-1 "${with[@]}" -o json
is "$(versions 'map(.lsn)')" "$all"
expect 0 '' "${t[@]}" get titles AB-1 --as-of before "${with[@]}"
is "$(cat "$DIR/out")" '{"owner":"Asha"}'
echo "history: all as expected"
