#!/usr/bin/env bash
# Revocation under load: a client, an operator and a site are revoked while they are connected. Each is cut off at once, without a restart of
# anything, and is told why, at both ends; what others do goes on: writers with a ledger lose no transaction and no connection, and a watch
# of another client misses nothing. A list that is only made anew cuts nobody, one that cannot be read changes nothing; and a site that
# gets a new certificate is back.
#
# Usage: BUILD=build/gcc-release tests/integration/revocation.sh
# suite: drills
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
BUILD=$(realpath "$BUILD")
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-revocation.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
. "$(dirname "$0")/../lib/expect.sh"

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
for site in dc dr gsr; do sed -i "s|^tls: {|tls: {crl: pki/ca.crl, |" "$site.yaml"; done
expect 0 "" "$TRIVENI" pki client victim --dir pki
expect 0 "" "$TRIVENI" pki operator asha --dir pki
expect 0 "" "$TRIVENI" pki revoke --dir pki # a list of nobody
sites_start
primary=$(wait_primary)
standby=$([ "$primary" = dc ] && echo dr || echo dc)
wait_equal >/dev/null

# told FILE TEXT: within 10 s; prints after how many ms
told() {
    local began
    began=$(date +%s%3N)
    while ! grep -qF -- "$2" "$1"; do
        [ $(($(date +%s%3N) - began)) -lt 10000 ] || die "$1 does not tell: $2: $(tail -n 5 "$1")"
        sleep 0.02
    done
    echo $(($(date +%s%3N) - began))
}
used() { cat dc.log dr.log gsr.log | grep -cF "certificates: read again, in use from now on" || true; }
watching() { # NAME: a connection that stays; it sees all there ever was
    "$TRIVENI" watch --from 1 --profile client.yaml --endpoints "127.0.0.1:$(client_port "$primary")" --cert "pki/$1.crt" --key "pki/$1.key" -o json \
        >"$DIR/$1.seen" 2>"$DIR/$1.err" &
    watcher=$!
    for _ in $(seq 1 100); do
        [ -s "$DIR/$1.seen" ] && return 0
        sleep 0.05
    done
    die "$1 sees nothing: $(cat "$DIR/$1.err")"
}
# cut KIND NAME PID: it ends with 8, and both ends say why; how long after the list was there is in CUT
cut() {
    local code=0
    CUT=$(told "$primary.log" "connection of $1 $2 is cut off: ")
    grep -F "connection of $1 $2 is cut off: " "$primary.log" | grep "its certificate was revoked" >/dev/null || die "$primary does not say why"
    told "$DIR/$2.err" "revoked" >/dev/null
    wait "$3" || code=$?
    [ "$code" = 8 ] || die "$2 ends with $code: $(cat "$DIR/$2.err")"
}

"$BUILD/tests/writers/writers" run --uri "$(cat client.uri)" --ledger "$DIR/ledger" --seconds 12 --threads 4 \
    >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
watching app && witness=$watcher
watching victim && victim=$watcher
watching asha && asha=$watcher

# ---- a list that is only made anew ----
expect 0 "" "$TRIVENI" pki revoke --dir pki
for _ in $(seq 1 100); do
    [ "$(used)" -ge 3 ] && break
    sleep 0.1
done
[ "$(used)" -ge 3 ] || die "the sites do not read the new list"
for pid in $witness $victim $asha; do kill -0 "$pid" || die "a new list cut somebody off"; done
# ---- one that cannot be read ----
cp pki/ca.crl right.crl
echo "no list" >pki/ca.crl.tmp && mv pki/ca.crl.tmp pki/ca.crl
told "$primary.log" "certificates: the files have changed and cannot be used" >/dev/null
for pid in $witness $victim $asha; do kill -0 "$pid" || die "a list that cannot be read cut somebody off"; done
expect 0 "the certificate files have changed and cannot be used" "$TRIVENI" status --profile operator.yaml
mv right.crl pki/ca.crl

# ---- a client, then an operator ----
expect 0 "" "$TRIVENI" pki revoke pki/victim.crt --dir pki
cut client victim "$victim"
client_ms=$CUT
kill -0 "$asha" || die "the operator was cut off with the client"
expect 0 "" "$TRIVENI" pki revoke pki/asha.crt --dir pki
cut operator asha "$asha"
operator_ms=$CUT
expect 8 "revoked" "$TRIVENI" get t k --profile client.yaml --cert pki/asha.crt --key pki/asha.key --timeout 5
kill -0 "$witness" || die "another client was cut off: $(cat "$DIR/app.err")"

# ---- a site ----
expect 0 "" "$TRIVENI" pki revoke "pki/$standby.crt" --dir pki
site_ms=$(told "$primary.log" "its certificate was revoked (triveni://demo/site/$standby)")
told "$standby.log" "was revoked" >/dev/null
kill -0 "$witness" || die "a client was cut off with the site"
[ "$(wait_primary)" = "$primary" ] || die "the primary changed"
"$TRIVENI" status --profile operator.yaml >"$DIR/out" 2>&1 || true
grep "^!" "$DIR/out" | grep -F "link to $standby" >/dev/null || die "status does not show it: $(cat "$DIR/out")"
rm "pki/$standby.crt" "pki/$standby.key"
expect 0 "" "$TRIVENI" pki site "$standby" --dir pki

wait "$writers" || die "writers failed: $(cat "$DIR/writers.log")"
wait_equal 300 >/dev/null
last=$(tv put t last one -o json | jq .lsn)
told "$DIR/app.seen" "\"lsn\":$last," >/dev/null
kill "$witness" && wait "$witness" 2>/dev/null || true
[ "$(wc -l <"$DIR/app.seen")" -gt "$(jq .acknowledged "$DIR/writers.json")" ] || die "the watch missed something: $(wc -l <"$DIR/app.seen") lines"
"$BUILD/tests/writers/writers" verify --uri "$(cat client.uri)" --ledger "$DIR/ledger" >"$DIR/verify.json"
[ "$(jq -c '[.failed, .unknown_committed, .unknown_absent, .unresolved, .resent]' "$DIR/writers.json")" = "[0,0,0,0,0]" ] ||
    die "others were disturbed: $(cat "$DIR/writers.json")"
[ "$(jq -c '[.lost, .doubled]' "$DIR/verify.json")" = "[0,0]" ] || die "lost or doubled: $(cat "$DIR/verify.json")"
echo "revocation: cut off and told after $client_ms ms (client), $operator_ms ms (operator), $site_ms ms (site);" \
    "others: $(jq -c '{acknowledged, failed, longest_gap_ms, connects, resent}' "$DIR/writers.json"), $(jq -c '{lost, doubled}' "$DIR/verify.json")"
