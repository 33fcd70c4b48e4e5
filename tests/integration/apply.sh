#!/usr/bin/env bash
# Records of the past are put back into three running sites (P12): what would change is shown and signed by two operators, one alone is
# refused, so are a changed list and a record that has changed since it was shown; what was done is not done twice; in the end the
# records are those of the past, and the log says who ordered it.
#
# Usage: BUILD=build/gcc-release tests/integration/apply.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT TRIVENI_REPOSITORY TRIVENI_KEK
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-apply.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"
apply() { # apply CODE TEXT WHO OPTIONS...
    expect "$1" "$2" "$TRIVENI" restore --apply "${@:4}" --profile "$3.yaml"
}
past=(-r gsr/archive -k kek)
sign() { expect 0 "signed by operator ravi" "$TRIVENI" warrant sign "$1" --yes --profile ravi.yaml; }
is() { [ "$1" = "$2" ] || die "'$1' where '$2' was expected: $(cat "$DIR/out" "$DIR/err")"; }
put() { tv put "$1" "$2" "$3" -o json | jq .lsn; }
lines() { jq -sc "$1" "$DIR/out"; }
values() { tv dump titles 2>/dev/null | jq -c '[.key, .value]'; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
operators_create asha ravi
sites_start
wait_primary >/dev/null

# ---- a past, and what became of it ----
seq 1 600 | sed 's/.*/K-&\t{"n":&}/' >many.tsv
tv load titles many.tsv >/dev/null 2>&1
printf '{ "spaces":1,\n "n":2 }' >spaces
tv put titles EXACT --file spaces >/dev/null
printf '\000\001\377' >bytes
tv put titles /wA= --base64 --file bytes >/dev/null
put other K-1 '"untouched"' >/dev/null
longest=$(printf 'K%.0s' {1..480})
put long "$longest" 1 >/dev/null
tv point before >/dev/null
values >then
then=$(tv get titles EXACT -o json | jq .lsn)
put titles EXACT '"lost"' >/dev/null
tv put titles /wA= --base64 lost >/dev/null
for i in 1 2 3; do put titles K-$i '"wrong"' >/dev/null; done
gone=$(tv del titles K-4 -o json | jq .lsn)
tv del titles K-5 >/dev/null
put titles NEWER '"came later"' >/dev/null
put other K-1 '"changed"' >/dev/null
tv del long "$longest" >/dev/null
put long Z 1 >/dev/null
op archive seal >/dev/null

# ---- what would change ----
apply 0 "create     2 records" asha "${past[@]}" --to-point before --collection titles --preview
for text in "replace    5 records" "same       595 records" "keep       1 records" "delete     0 records"; do
    grep -qF "$text" "$DIR/out" || die "does not say '$text': $(cat "$DIR/out")"
done
grep -qE "^create +K-4 +[0-9]+ +2[^ ]+Z +absent" "$DIR/out" || die "no row of K-4: $(cat "$DIR/out")"
grep -qE "^replace +K-1 +[0-9]+ +2[^ ]+Z +[0-9]+ +2[^ ]+Z" "$DIR/out" || die "no row of K-1: $(cat "$DIR/out")"
grep -qE "^keep +NEWER +absent +[0-9]+ +2" "$DIR/out" || die "no row of NEWER: $(cat "$DIR/out")"
apply 0 "" asha "${past[@]}" --to-point before --collection titles --preview -o json
is "$(lines '.[-1] | [.creates, .replaces, .deletes, .same, .kept]')" "[2,5,0,595,1]"
is "$(head -n -1 "$DIR/out" | sha256sum | cut -d' ' -f1)" "$(lines '.[-1].changes_sha256' | tr -d '"')"
is "$(lines 'map(select(.key == "EXACT")) | .[0] | [.change, .then.lsn, .value]')" "[\"replace\",$then,\"{ \\\"spaces\\\":1,\\n \\\"n\\\":2 }\"]"
is "$(lines 'map(select(.key == "K-4")) | .[0] | [.change, .now]')" '["create",null]'
is "$(lines 'map(select(.key == {"base64":"/wA="})) | .[0].value')" '{"base64":"AAH/"}'
is "$(values | grep -c wrong)" 3
apply 0 "create     0 records" asha "${past[@]}" --to-point before --collection titles --key K-1 --preview
grep -q "replace    1 records" "$DIR/out" || die "one record is not one: $(cat "$DIR/out")"
apply 0 "create     1 records" asha "${past[@]}" --to-point before --collection long --key "$longest" --delete-newer --preview
grep -q "delete     0 records" "$DIR/out" || die "its neighbour is taken for it: $(cat "$DIR/out")"
apply 3 "no record of collection" asha "${past[@]}" --to-point before --collection nothing --preview
echo "ok: what would change is shown, and changes nothing"

# ---- refused: what makes no sense, one operator alone, another list ----
apply 2 "goes with one of" asha "${past[@]}" --collection titles
apply 2 "goes with one of" asha "${past[@]}" --collection titles --preview --ask x
apply 2 "which records" asha "${past[@]}" --preview
apply 2 "the cluster's own" asha "${past[@]}" --collection _members --preview
apply 2 "not with --into" asha "${past[@]}" --collection titles --preview --into x
expect 2 "--ask goes with --apply" "$TRIVENI" restore "${past[@]}" --collection titles --ask x
apply 5 "there is nothing to change" asha "${past[@]}" --to-point before --collection titles --key K-9 --ask x
[ -z "$(ls x* 2>/dev/null)" ] || die "left over: $(ls x*)"
ask() { # ask NAME OPTIONS...
    apply 0 "another operator looks at" asha "${past[@]}" --to-point before --collection titles --ask "$@"
}
ask one.warrant
apply 1 "one.warrant is there already" asha "${past[@]}" --to-point before --collection titles --ask one.warrant
openssl cms -verify -inform PEM -in one.warrant -CAfile pki/ca.crt -purpose sslclient 2>/dev/null >text
for fact in "act restore-records" "archive-hash " 'selection "titles"' "creates 2" "replaces 5" "deletes 0" "same 595" "kept 1" \
    "changes-sha256 $(sha256sum one.warrant.changes | cut -d' ' -f1)"; do
    grep -q "^$fact" text || die "the warrant does not say '$fact': $(cat text)"
done
apply 8 "signed by 1, and two different operators are needed" asha --warrant one.warrant --yes
expect 8 "has signed this already" "$TRIVENI" warrant sign one.warrant --yes --profile asha.yaml
sign one.warrant
apply 8 "needs an operator's certificate" client --warrant one.warrant --yes
apply 2 "not confirmed" asha --warrant one.warrant
cp one.warrant.changes kept
sed -i 's/"spaces/"blanks/' one.warrant.changes
apply 7 "is not the list that was signed" asha --warrant one.warrant --yes
mv kept one.warrant.changes
is "$(values | grep -c wrong)" 3
ask short.warrant --valid 10s
asked=$SECONDS
sign short.warrant
while [ $((SECONDS - asked)) -le 11 ]; do sleep 0.5; done
apply 4 "expired" asha --warrant short.warrant --yes
echo "ok: one operator alone, another list, too late: refused, and nothing was changed"

# ---- carried out, but for what has changed since ----
since=$(put titles K-2 '"changed since"')
put titles K-5 '"made since"' >/dev/null
apply 5 "2 records are refused" asha --warrant one.warrant --yes
grep -q "5 records put back, 0 already put back by this warrant, 0 so already, 2 refused" "$DIR/out" || die "$(cat "$DIR/out")"
grep -A2 "refused: titles K-2: it has changed since" "$DIR/out" | grep -E "cluster: lsn $since, 2" >/dev/null || die "not both versions: $(cat "$DIR/out")"
grep -A1 "refused: titles K-5" "$DIR/out" | grep -E "shown:   absent" >/dev/null || die "not both versions: $(cat "$DIR/out")"
is "$(tv get titles K-2)" '"changed since"'
is "$(tv get titles K-5)" '"made since"'
tv get titles EXACT --raw | cmp - spaces || die "not the bytes that were there"
tv get titles /wA= --base64 --raw | cmp - bytes || die "not the bytes that were there"
is "$(tv get titles NEWER)" '"came later"'
is "$(tv get other K-1)" '"changed"'
echo "ok: put back, but for what has changed since, with both versions"

# ---- repeated ----
put titles K-1 '"changed again"' >/dev/null
tv del titles K-4 >/dev/null
apply 5 "" ravi --warrant one.warrant --yes -o json
is "$(lines '.[-1] | [.applied, .already_applied, .same, .refused]')" "[0,5,0,2]"
is "$(lines 'map(select(.key)) | map([.key, .shown.lsn != null])')" '[["K-2",true],["K-5",false]]'
expect 3 "" "$TRIVENI" get titles K-4 --profile client.yaml
is "$(tv get titles K-1)" '"changed again"'
echo "ok: the same command again does nothing, also where somebody has changed things since"

# ---- after a kill of the primary, by a second warrant: everything, and what came later goes ----
ask all.warrant --delete-newer
is "$(grep -c '"change":"delete"' all.warrant.changes)" 1
sign all.warrant
site_kill "$(current_primary)" KILL
apply 0 "records put back" asha --warrant all.warrant --yes
values | cmp - then || die "not the records of the past: $(values | diff - then)"
is "$(tv get other K-1)" '"changed"'
apply 0 "0 records put back, 5 already" asha --warrant all.warrant --yes
for site in dc dr; do site_alive $site || site_start $site; done
wait_equal >/dev/null
echo "ok: the records are those of the past, and a second run does nothing"

# ---- who ordered it ----
tv scan restore-applied -o json >"$DIR/out" 2>/dev/null
is "$(lines 'length')" 2
is "$(lines '.[0].value | keys')" '["settled","sha256"]'
op archive seal >/dev/null
for site in dc dr gsr; do site_kill $site TERM; done
expect 0 "" "$TRIVENI" restore "${past[@]}" --collection _warrants
is "$(lines 'length')" 2
lines '.[0].value' | jq -r . | openssl cms -verify -inform PEM -CAfile pki/ca.crt -purpose sslclient 2>/dev/null | grep "^act restore-records" >/dev/null ||
    die "the warrant is not in the archive"
"$TRIVENI" dump-log dc/data >log || die "dump-log: $(tail -n 3 log)"
is "$(grep -c 'audit.*asha *restore-records' log)" 2
is "$(cat dc.log dr.log | grep -cE 'operator asha: restore-records .*"signed_by":"(asha and ravi|ravi and asha)"')" 2
echo "apply: all told"
