#!/usr/bin/env bash
# A new certificate authority under load, in the order that docs/OPERATIONS.md gives: both authorities are trusted everywhere, then each
# site and the application get certificates of the new one, then the old one is taken out. Writers with a ledger go on all the time: no
# transaction fails, is lost, doubled, or left unknown. What the old authority issued is refused afterwards, at either port and by the
# client, and told at both ends.
#
# Usage: BUILD=build/gcc-release tests/integration/authority.sh
# suite: drills
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
BUILD=$(realpath "$BUILD")
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-authority.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 25 "$DIR"/cluster/*.log "$DIR"/writers.* 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
die() { echo "authority: $*"; exit 1; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
# Each has a file of authorities of its own, as sites on different machines do.
for who in dc dr gsr app; do cp pki/ca.crt "pki/ca-$who.crt"; done
for site in dc dr gsr; do sed -i "s|ca: pki/ca.crt|ca: pki/ca-$site.crt|" "$site.yaml"; done
sed -i "s|pki/ca.crt|pki/ca-app.crt|" client.uri client.yaml
"$TRIVENI" pki init --dir new --cluster demo >"$DIR/pki.log" 2>&1 || die "$(cat "$DIR/pki.log")"
for site in dc dr gsr; do "$TRIVENI" pki site $site --dir new --address 127.0.0.1,localhost >>"$DIR/pki.log" 2>&1; done
"$TRIVENI" pki client app --dir new >>"$DIR/pki.log" 2>&1
sites_start
wait_primary >/dev/null

replace() { cp "$1" "$2.tmp" && chmod --reference="$1" "$2.tmp" && mv "$2.tmp" "$2"; }
in_use() { grep -cF "certificates: read again, in use from now on" "$1.log" || true; }
# after SITE ACTION...: the site says that it has read its files again since
after() {
    local site=$1 before i
    shift
    before=$(in_use "$site")
    "$@"
    kill -HUP "${SITE_PID[$site]}"
    for i in $(seq 1 100); do
        [ "$(in_use "$site")" -gt "$before" ] && return 0
        sleep 0.1
    done
    die "$site does not use its new files: $(tail -n 3 "$site.log")"
}
issuer() { # of what the site shows
    timeout 5 openssl s_client -connect "127.0.0.1:$(client_port "$1")" -cert pki/app.crt -key pki/app.key -CAfile pki/ca-app.crt </dev/null \
        2>/dev/null | openssl x509 -noout -ext authorityKeyIdentifier
}

"$BUILD/tests/writers/writers" run --uri "$(cat client.uri)" --ledger "$DIR/ledger" --seconds 25 --threads 4 \
    >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
sleep 1

# ---- both are trusted ----
cat pki/ca.crt new/ca.crt >both.crt
replace both.crt pki/ca-app.crt
for site in dc dr gsr; do after $site replace both.crt "pki/ca-$site.crt"; done
# ---- certificates of the new one, site by site ----
pair() { replace "new/$1.crt" "pki/$1.crt.next" && replace "new/$1.key" "pki/$1.key.next" && mv "pki/$1.key.next" "pki/$1.key" && mv "pki/$1.crt.next" "pki/$1.crt"; }
mkdir old
cp pki/app.crt pki/app.key old/
for site in dc dr gsr; do
    was=$(issuer $site)
    after $site pair $site
    [ "$(issuer $site)" != "$was" ] || die "$site still shows a certificate of the old authority"
done
pair app
# ---- the old one is taken out ----
for site in dc dr gsr; do after $site replace new/ca.crt "pki/ca-$site.crt"; done
replace new/ca.crt pki/ca-app.crt
for site in dc dr gsr; do
    [ "$(site_status $site | jq -r '.role')" != "" ] || die "$site does not answer after the rotation"
done
wait_primary >/dev/null

# ---- what the old one issued ----
refused() { # FILE OF THE LOG, TEXT: told within seconds
    for _ in $(seq 1 50); do
        grep -qF -- "$2" "$1" && return 0
        sleep 0.1
    done
    die "$1 does not tell: $2"
}
# A client that goes by the book does not even come with it; another one is refused, at either port.
code=0
"$TRIVENI" get t k --profile client.yaml --cert old/app.crt --key old/app.key --timeout 5 >"$DIR/out" 2>"$DIR/err" || code=$?
[ "$code" = 8 ] && grep -q "own certificate old/app.crt is not from a CA that is trusted here" "$DIR/err" ||
    die "a client of the old authority ends with $code: $(cat "$DIR/err")"
knock() { # PORT: with the old certificate, what the site answers
    timeout 5 openssl s_client -connect "127.0.0.1:$1" -cert old/app.crt -key old/app.key -CAfile new/ca.crt -ign_eof </dev/null 2>&1 || true
}
knock "$(client_port dc)" | grep "alert unknown ca" >/dev/null || die "the client's port does not tell who has a certificate of the old authority"
refused dc.log "connection from a client refused: 127.0.0.1:"
refused dc.log "its certificate is not from a CA that is trusted here (triveni://demo/client/app): compare the ca files"
knock "$(peer_port dc)" | grep "alert unknown ca" >/dev/null || die "the sites' port does not tell who has a certificate of the old authority"
refused dc.log "link from a site refused: 127.0.0.1:"
# Who trusts only the old authority does not take a site of the new one for a site.
code=0
"$TRIVENI" get t k --profile client.yaml --ca pki/ca.crt --cert old/app.crt --key old/app.key --timeout 5 >"$DIR/out" 2>"$DIR/err" || code=$?
[ "$code" = 8 ] && grep -q "is not from a CA that is trusted here (triveni://demo/site/" "$DIR/err" ||
    die "a client that knows only the old authority ends with $code: $(cat "$DIR/err")"

wait "$writers" || die "writers failed: $(cat "$DIR/writers.log")"
wait_equal 300 >/dev/null
"$BUILD/tests/writers/writers" verify --uri "$(cat client.uri)" --ledger "$DIR/ledger" >"$DIR/verify.json"
[ "$(jq -c '[.failed, .unknown_committed, .unknown_absent, .unresolved]' "$DIR/writers.json")" = "[0,0,0,0]" ] ||
    die "transactions failed or were left unknown: $(cat "$DIR/writers.json")"
[ "$(jq -c '[.lost, .doubled]' "$DIR/verify.json")" = "[0,0]" ] || die "lost or doubled: $(cat "$DIR/verify.json")"
[ "$(jq .acknowledged "$DIR/writers.json")" -gt 500 ] || die "the writers hardly wrote: $(cat "$DIR/writers.json")"
echo "authority: rotated under load: $(jq -c '{acknowledged, failed, unknown_committed, unknown_absent, unresolved, longest_gap_ms, connects, resent}' \
    "$DIR/writers.json"), $(jq -c '{lost, doubled}' "$DIR/verify.json")"
