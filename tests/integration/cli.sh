#!/usr/bin/env bash
# The command line as people and scripts meet it: exit codes, suggestions, data on standard output and messages on standard error, and
# the way of data through put, txn, load, dump, archive and restore.
#
# Usage: BUILD=build/gcc-release tests/integration/cli.sh
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-cli.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

checks=0
# expect CODE ARGS...: runs triveni; its output is in DIR/out and DIR/err. Ends the test itself: "set -e" does not see what fails before "&&".
expect() {
    local wanted=$1 code=0
    shift
    "$TRIVENI" "$@" >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    checks=$((checks + 1))
    [ "$code" = "$wanted" ] && return 0
    echo "triveni $*: exit $code, expected $wanted: $(cat "$DIR/err")"
    exit 1
}
says() { grep -qF -- "$1" "$DIR/err" || { echo "expected on stderr: $1; got: $(cat "$DIR/err")"; return 1; }; }
prints() { [ "$(cat "$DIR/out")" = "$1" ] || { echo "expected on stdout: $1; got: $(cat "$DIR/out")"; return 1; }; }

# ---- without a cluster ----
expect 2
expect 2 statsu && says "unknown command 'statsu': did you mean 'status'?"
expect 2 archive lst && says "unknown command 'archive lst': did you mean 'archive list'?"
expect 2 put titles && says "put: an operand is missing"
expect 2 put titles k v --if-absnt && says "unknown option '--if-absnt': did you mean '--if-absent'?"
expect 2 get titles k && says "--endpoints is needed"
expect 2 index create titles by-owner /owner $'/\xff' && says "the names and pointers must be UTF-8"
expect 2 scan titles --equal '"Asha"' && says "--equal needs --index"
expect 2 scan titles --index '' && says "--index needs a name"
for option in --equal --from --to; do
    expect 2 scan titles --index by-owner $option Asha && says "$option: 'Asha' is no JSON"
    says "$option '\"Asha\"'"
    expect 2 scan titles --index by-number $option 100000000000000000000 && says "--endpoints is needed" # so it is JSON
done
for token in '' 0 0g $(printf '%01026d' 0); do
    expect 2 scan titles --index by-owner --after "$token" && says "is no token of a scan by an index"
done
expect 2 history titles k --limit 0 && says "--limit must be at least 1"
expect 2 history titles k --values && says "--values goes with -o json"
expect 2 history titles k --to 2026-01-01T00:00:00 && says "--to"
expect 2 archive hold case && says "give one of --ask"
expect 2 archive hold case --ask f --reason r && says "--collection are needed"
expect 2 archive release --ask f --reason r && says "the NAME of the hold is needed"
expect 2 archive dispose --ask f --reason r && says "--before is needed"
expect 2 archive dispose --preview --before 7 && says "--repository is needed"
expect 2 archive dispose --preview --ask f && says "give one of --ask"
expect 2 archive dispose --warrant f --valid 2h && says "--valid goes with --ask"
expect 2 archive holds x
expect 2 diff titles --from 1 && says "--repository is needed"
expect 2 diff titles --from 1 -r "$DIR" && says "--kek is needed"
expect 2 diff titles k --from 1 -r "$DIR" -k kek --prefix k && says "give a KEY or --prefix, not both"
expect 2 get titles k --as-of 0 && says "the first transaction has lsn 1"
expect 2 archive export && says "operands are missing"
expect 2 archive export titles -r "$DIR" -k kek && says "--into is needed"
expect 2 archive export titles -r "$DIR" -k kek --into "$DIR/bag" --to-lsn 0 && says "the first transaction has lsn 1"
expect 2 archive export titles -r "$DIR" -k kek --into "$DIR/bag" --to-lsn 1 --to-point p && says "give one of --to-lsn"
expect 2 archive export titles k -r "$DIR" -k kek --into "$DIR/bag" --prefix k && says "give KEYs or --prefix, not both"
expect 2 archive export titles -r "$DIR" -k kek --into "$DIR/bag" --organization $'a\nb' && says "without line ends"
expect 3 archive export titles -r "$DIR" -k kek --into "$DIR/bag" && says "has no signed tree"
expect 2 status -o xml && says "output format 'xml' is unknown"
expect 2 serve && says "--config FILE is needed"
expect 3 serve --config "$DIR/missing.yaml"
expect 0 version && grep -q '^triveni [0-9]' "$DIR/out"
expect 0 help
"$TRIVENI" help | sed -n 's/^  \([a-z][a-z ]*[a-z]\)   *.*/\1/p' >"$DIR/commands"
[ "$(wc -l <"$DIR/commands")" -gt 25 ]
while read -r name; do
    expect 0 help $name # two words are two arguments
    [ ! -s "$DIR/err" ]
    grep -q '^Exit codes:' "$DIR/out"
    grep -q '^Examples:' "$DIR/out"
done <"$DIR/commands"
expect 0 help --bash && bash -n "$DIR/out"
expect 0 help --scdoc && scdoc <"$DIR/out" >/dev/null
code=0
"$TRIVENI" help >/dev/full 2>"$DIR/err" || code=$?
[ "$code" = 1 ] # what was printed was lost, and that is said

# ---- a cluster ----
cluster_create "$DIR/cluster"
expect 1 quickstart "$DIR/cluster" && says "is not empty"
expect 0 serve --config "$DIR/cluster/dc.yaml" --check
c=(--profile "$DIR/cluster/client.yaml")
o=(--profile "$DIR/cluster/operator.yaml")
expect 4 get titles k "${c[@]}" --timeout 300ms
expect 4 status "${c[@]}" --timeout 300ms
sites_start
wait_primary >/dev/null

expect 0 put titles AB-12 '{"owner":"Asha"}' --if-absent "${c[@]}" -o json
lsn=$(jq -r .lsn "$DIR/out")
expect 5 put titles AB-12 x --if-absent "${c[@]}" && prints ''
expect 5 put titles AB-12 x --if-version 1 "${c[@]}"
expect 0 get titles AB-12 "${c[@]}" && prints '{"owner":"Asha"}'
expect 0 get titles AB-12 "${c[@]}" -o json && [ "$(jq -r '.value.owner + " " + (.lsn|tostring)' "$DIR/out")" = "Asha $lsn" ]
expect 3 get titles nothing "${c[@]}" && prints ''
expect 3 get titles AB-12 nothing "${c[@]}"
expect 0 put titles AB-12 '{"owner":"Ravi"}' --if-version "$lsn" "${c[@]}"
expect 8 mode local "${c[@]}" # a client is not an operator
expect 8 member demote gsr "${c[@]}"
expect 2 member promote "${c[@]}"
expect 2 member replace dr "${c[@]}"
expect 5 member replace dr dr "${c[@]}" && says "a site is not replaced by itself"
expect 0 member list "${c[@]}"
expect 8 isolate dr --for 30s --yes "${c[@]}"
expect 2 isolate dr --yes "${o[@]}" && says "--for is needed: how long, such as --for 30s"
printf '\000\001\377' >"$DIR/bytes"
expect 0 put bin /wA= --base64 --file "$DIR/bytes" "${c[@]}"
expect 0 get bin /wA= --base64 --raw "${c[@]}" && cmp "$DIR/bytes" "$DIR/out"
printf 'put titles X 1\nput titles "Y Z" 2\nif-exists titles AB-12\n' | "$TRIVENI" txn "${c[@]}" >/dev/null
expect 0 scan titles --keys-only "${c[@]}" && prints $'AB-12\nX\nY Z'
expect 0 scan titles --reverse --limit 1 -o json "${c[@]}" && [ "$(jq -c '[.key, .value]' "$DIR/out")" = '["Y Z",2]' ]
expect 0 del titles X --if-exists "${c[@]}"
expect 5 del titles X --if-exists "${c[@]}"
expect 0 point "before the end" "${o[@]}"
expect 1 point "before the end" "${o[@]}"

# What was dumped can be loaded again, restored, and compared.
wait_equal >/dev/null
expect 0 dump --all "${c[@]}" && cp "$DIR/out" "$DIR/dump" && says "records as of lsn"
expect 0 dump --all --standby "${c[@]}" && cmp "$DIR/out" "$DIR/dump"
expect 0 archive seal "${o[@]}"
archive=(--repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek")
expect 0 archive verify "${archive[@]}"
for i in $(seq 1 100); do "$TRIVENI" archive operations "${archive[@]}" >/dev/null 2>&1 && break || sleep 0.1; done
expect 0 archive operations --repository "$DIR/cluster/gsr/archive" -o json && [ "$(jq -r -s ".[0].op" "$DIR/out")" = pack ]
expect 2 archive operations
expect 0 archive verify "${archive[@]}" --level restorable --scratch "$DIR/scratch" -o json && [ "$(jq .restored.records "$DIR/out")" -gt 0 ]
expect 2 archive verify "${archive[@]}" --level best && says "use present, intact, readable or restorable"
expect 0 archive damage "${archive[@]}" && [ ! -s "$DIR/out" ]
expect 3 archive list "${archive[@]}" --ledger "$DIR/none" && says "there is no such ledger"
expect 0 drill restore "${archive[@]}" --scratch "$DIR/scratch" -o json && [ "$(jq .ok "$DIR/out")" = true ]
expect 2 drill restore "${archive[@]}" --scratch "$DIR/scratch" --follow && says "--follow goes with -o json"
expect 5 drill restore "${c[@]}" && says "never restored as a drill"
expect 8 drill restore --now "${c[@]}"
expect 0 archive keys check "${archive[@]}"
expect 0 archive holds "${o[@]}" -o json && [ "$(jq -c '[.holds, .disposals, .doubt]' "$DIR/out")" = '[[],[],null]' ]
expect 3 archive dispose --before 1 --preview "${archive[@]}" "${o[@]}" && says "no snapshot before lsn 1"
expect 0 archive keys list --repository "$DIR/cluster/gsr/archive" -o json && [ "$(jq -r .state "$DIR/out")" = whole ]
expect 0 archive points "${archive[@]}" -o json && [ "$(jq -r .name "$DIR/out")" = "before the end" ]
expect 2 restore "${archive[@]}" --to-time 2026-11-24T08:48:21 --preview && says "has no offset"
expect 0 restore "${archive[@]}" --to-point "before the end" --preview -o json && [ "$(jq -r .point "$DIR/out")" = "before the end" ]
expect 3 restore "${archive[@]}" --to-point "no such" --preview
expect 0 restore "${archive[@]}" --to-point "before the end" --into "$DIR/restored"
expect 0 dump --all --data-dir "$DIR/restored" && cmp "$DIR/out" "$DIR/dump"
expect 1 restore "${archive[@]}" --into "$DIR/restored" # never over data
expect 0 restore "${archive[@]}" --to-point "before the end" --collection titles && cmp "$DIR/out" <(grep '"collection":"titles"' "$DIR/dump")
expect 0 restore "${archive[@]}" --collection titles --key AB-12 --into "$DIR/one.jsonl"
expect 1 restore "${archive[@]}" --collection titles --key AB-12 --into "$DIR/one.jsonl" && says "a restore never goes over data"
expect 3 restore "${archive[@]}" --collection titles --key nothing && prints ''
expect 0 restore "${archive[@]}" --to-point "before the end" --collection titles --apply --preview "${c[@]}" && grep -q "^same " "$DIR/out"
expect 5 restore "${archive[@]}" --collection titles --apply --ask "$DIR/no.warrant" "${o[@]}" && says "nothing to change"
expect 2 restore "${archive[@]}" --collection titles --apply && says "--apply goes with one of"
expect 2 restore "${archive[@]}" --warrant "$DIR/none" && says "--warrant goes with --apply"
expect 3 restore --apply --warrant "$DIR/none" --yes "${o[@]}"
expect 2 restore "${archive[@]}" --key AB-12 && says "--into DIR is needed"
# What is said about a restore is true: the end of the archive is not "the last transaction before" a later time, and a digest of
# another lsn is not that of the result.
expect 3 restore "${archive[@]}" --to-time 2100-01-01T00:00:00Z --into "$DIR/late" && says "does not reach that time"
[ ! -e "$DIR/late" ]
expect 0 restore "${archive[@]}" --to-time 2100-01-01T00:00:00Z --preview
grep -q "the archive ends at" "$DIR/out"
[ "$(grep -c "the last transaction at or before" "$DIR/out")" = 0 ]
expect 3 restore "${archive[@]}" --to-time 1990-01-01T00:00:00Z --or-end --into "$DIR/late" && says "before the first archived entry"
expect 2 restore "${archive[@]}" --to-lsn 5 --or-end --into "$DIR/late"
expect 0 restore "${archive[@]}" --to-time 2100-01-01T00:00:00Z --or-end --into "$DIR/late" && grep -q "^equal to the digest that the sites had at lsn" "$DIR/out"
between=0
for lsn in $(seq 1 20); do # one whose digest the archive does not hold
    expect 0 restore "${archive[@]}" --to-lsn "$lsn" --preview -o json
    [ "$(jq .digest "$DIR/out")" = null ] && between=$lsn
done
[ "$between" -gt 0 ]
expect 0 restore "${archive[@]}" --to-lsn "$between" --into "$DIR/between" &&
    grep -qE "^equal at lsn [0-9]+ to the digest that the sites had there|NOT compared: the archive holds no digest up to lsn $between" "$DIR/out"
expect 0 load all "$DIR/dump" --format dump "${c[@]}"
expect 0 dump titles "${c[@]}" && [ "$(jq -c '[.key,.value]' "$DIR/out")" = "$(jq -c 'select(.collection=="titles") | [.key,.value]' "$DIR/dump")" ]

expect 0 status -o json "${c[@]}" && [ "$(jq '.sites | length' "$DIR/out")" = 3 ]
site_kill gsr TERM
expect 0 status "${c[@]}" && grep -q '^! .*unreachable' "$DIR/out"
echo "cli: $checks calls gave the exit codes that were expected"
