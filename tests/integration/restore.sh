#!/usr/bin/env bash
# Some records out of the archive of three real sites, as they were: a collection, a range, a prefix, one record; to the terminal or
# to a file, in the format of dump and load; what was not there is said to be so, and when it was there; nothing is written over;
# an interrupted one goes on with what it has read.
#
# Usage: BUILD=build/gcc-release tests/integration/restore.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT TRIVENI_REPOSITORY TRIVENI_KEK
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-restore.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"

cluster_create "$DIR/cluster"
cd "$DIR"
archive=$DIR/cluster/gsr/archive
restore() { # restore CODE TEXT OPTIONS...
    expect "$1" "$2" env TMPDIR="$DIR/tmp" "$TRIVENI" restore -r "$archive" -k "$DIR/cluster/kek" "${@:3}"
}
is() { [ "$1" = "$2" ] || die "'$1' where '$2' was expected: $(cat "$DIR/out" "$DIR/err")"; }
put() { tv put "$1" "$2" "$3" -o json | jq .lsn; }
indexed() { # until the index reaches what is archived
    for _ in $(seq 150); do
        [ "$(site_status gsr | jq '.archive | .archived == .indexed and .archived != null')" = true ] && return
        sleep 0.2
    done
    die "the index does not reach what is archived"
}
mkdir tmp
sites_start
wait_primary >/dev/null

# ---- a past ----
put deeds D-1 '"other"' >/dev/null
for key in AB-1 AB-2 BC-1 CD-1; do put titles $key "{\"owner\":\"Asha of $key\"}" >/dev/null; done
tv put titles "$(printf 'Z\303\244\n')" 'umlaut, line' >/dev/null
tv put titles /wA= --base64 bytes >/dev/null
op archive seal >/dev/null
tv dump titles >then.jsonl 2>/dev/null
at=$(put titles BC-1 '{"owner":"Ravi"}')
then=$((at - 1))
gone=$(tv del titles AB-1 -o json | jq .lsn)
again=$(put titles AB-1 '{"owner":"Neha"}')
late=$(put titles NEW-1 '{"owner":"Meena"}')
op archive seal >/dev/null
indexed

# ---- selections ----
restore 0 "6 records as of lsn $then" --to-lsn $then --collection titles
cmp out then.jsonl || die "not as dump wrote it then: $(diff out then.jsonl)"
keys() { jq -r .key out | tr '\n' ' '; }
restore 0 "" --to-lsn $then --collection titles --from AB-2 --to CD-1
is "$(keys)" "AB-2 BC-1 "
restore 0 "" --to-lsn $then --collection titles --prefix AB-
is "$(keys)" "AB-1 AB-2 "
restore 0 "" --to-lsn $then --collection titles --prefix AB- --from AB-1x
is "$(keys)" "AB-2 "
restore 0 "" --to-lsn $then --collection titles --key BC-1
is "$(jq -r .value.owner out)" "Asha of BC-1"
restore 0 "" --collection titles --key BC-1
is "$(jq -r .value.owner out)" "Ravi"
[ -z "$(ls tmp)" ] || die "left over: $(ls tmp)"
echo "ok: a collection, a range, a prefix and a record, as they were"

# ---- what it means, and how long it would take ----
restore 0 "takes      about " --to-lsn $then --collection titles --preview
grep -q "^reads      .* packs, .*, which hold " out || die "does not say how much: $(cat out)"
restore 0 "" --preview -o json
is "$(jq '.estimated_seconds > 0 and .estimated_seconds < 60 and .plain_bytes > 1000' out)" true
[ -z "$(ls -A tmp)" ] || die "a preview has left something: $(ls -A tmp)"
restore 0 "" --to-lsn $then --into whole
grep -qE "transactions replayed; estimated [0-9.]+ s, took [0-9.]+ s" out || die "does not compare: $(cat out)"
echo "ok: a preview says how long it would take, the result how long it took"

# ---- what was not there ----
restore 3 "no record of collection \"titles\", key \"NEW-1\" at lsn $then" --to-lsn $then --collection titles --key NEW-1
grep -q "it was written at lsn $late, 2" err || die "does not say when it came: $(cat err)"
restore 3 "no record of collection \"titles\", key \"AB-1\" at lsn $gone" --to-lsn $gone --collection titles --key AB-1
grep -q "it was deleted at lsn $gone, .*--to-lsn $((gone - 1)) is the last moment that has it" err || die "does not say when it went: $(cat err)"
grep -q "it was written at lsn $again, 2" err || die "does not say when it came again: $(cat err)"
restore 3 "the archive knows no version of it at all" --collection titles --key NEVER
restore 3 "no record of collection \"nothing\" at lsn $then" --to-lsn $then --collection nothing
restore 3 "prefix \"X\"" --collection titles --prefix X --into x.jsonl
restore 3 "lsn 999999 is not in the archive" --to-lsn 999999 --collection titles
[ ! -s out ] || die "something on stdout: $(cat out)"
[ -z "$(ls -d x.jsonl* tmp/* 2>/dev/null)" ] || die "left over: $(ls -d x.jsonl* tmp/*)"
echo "ok: what was not there, and when it was"

# ---- a file ----
restore 0 "restored past.jsonl: 6 records of \"titles\" as of lsn $then" --to-lsn $then --collection titles --into past.jsonl
cmp past.jsonl then.jsonl || die "not as dump wrote it then"
[ "$(ls -d past.jsonl*)" = past.jsonl ] || die "left over: $(ls -d past.jsonl*)"
restore 1 "past.jsonl is there: a restore never goes over data" --collection titles --into past.jsonl
cmp past.jsonl then.jsonl || die "something was written over"
sed 's/"titles"/"old-titles"/' past.jsonl >old.jsonl
expect 0 "" "$TRIVENI" load old-titles old.jsonl --format dump --profile "$DIR/cluster/client.yaml"
tv dump old-titles 2>/dev/null | jq -c '[.key, .value]' >loaded
jq -c '[.key, .value]' then.jsonl | cmp - loaded || die "what was restored is not loaded again"
restore 0 "" --to-lsn $then --collection titles --prefix AB- --into json.jsonl -o json
is "$(jq -c '[.records, .lsn, .plan.lsn, .selection, .into, .resumed]' out)" "[2,$then,$then,\"\\\"titles\\\", prefix \\\"AB-\\\"\",\"json.jsonl\",false]"
echo "ok: a file, never over another, which load takes"

# ---- what makes no sense ----
restore 2 "--key goes with --collection" --key x --into nowhere
restore 2 "--scratch goes with --collection" --scratch x --into nowhere
restore 2 "not with --from, --to or --prefix" --collection titles --key x --prefix x
restore 2 "--from must come before --to" --collection titles --from b --to b
restore 2 "--prefix is empty" --collection titles --prefix ''
restore 2 "--collection: a name has 1 to 64 bytes" --collection ''
restore 2 "--into DIR is needed" --to-lsn 1
restore 2 "no offset" --to-time 2026-11-24T08:48:21 --collection titles
restore 2 "'IST' is the name of a zone" --to-time '2026-11-24T08:48:21 IST' --collection titles
restore 2 "'Europe/Berlin' is the name of a zone" --to-time '2026-10-25T02:30:00 Europe/Berlin' --collection titles
echo "ok: what makes no sense is told"

# ---- interrupted ----
# Two runs: a small one of the first packs, and one of a pack that is larger than a run is meant to be. The process is killed, by a
# limit on its files, while it writes the second.
site_kill gsr TERM
head -c 27000000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2>/dev/null | base64 -w 40000 | awk '{ print "K-" NR "\t" $0 }' >many.tsv
tv load many many.tsv --batch 100 >/dev/null 2>err || die "load: $(cat err)"
sed -i 's/pack_mib: 8, pack_seconds: [0-9]*/pack_mib: 64, pack_seconds: 3600/' cluster/gsr.yaml # so that all of it is one pack
grep -q 'pack_seconds: 3600' cluster/gsr.yaml || die "the configuration is not as expected: $(cat cluster/gsr.yaml)"
site_start gsr
wait_caught_up 600
op archive seal --timeout 60 >/dev/null
tv dump many >many.jsonl 2>/dev/null
code=0
(ulimit -c 0 -f 16384 && exec "$TRIVENI" restore -r "$archive" -k cluster/kek --collection many --into many.out) >out 2>err || code=$?
[ $code = $((128 + $(kill -l XFSZ))) ] || die "exit $code: $(cat out err)"
[ -n "$(ls many.out.partial/runs)" ] || die "nothing is kept of what was read: $(cat out err)"
[ ! -e many.out ] || die "a part has the name of the whole"
restore 1 "is left from an interrupted restore" --collection many --prefix K --into many.out
restore 0 "" --collection many --into many.out -o json
is "$(jq .resumed out)" true
cmp many.out many.jsonl || die "not as it was"
[ "$(ls -d many.out*)" = many.out ] || die "left over: $(ls -d many.out*)"
echo "ok: an interrupted one goes on"
echo "restore: all told"
