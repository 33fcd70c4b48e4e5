#!/usr/bin/env bash
# A site's certificate is renewed under load: read again without a restart, no write fails, and new connections see the new one. Files that
# do not belong together change nothing, are told and shown; and SIGHUP asks for it.
#
# Usage: BUILD=build/gcc-release tests/integration/renewal.sh
# suite: drills
# limit: 90 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
BUILD=$(realpath "$BUILD")
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-renewal.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/writers.* 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
die() { echo "renewal: $*"; exit 1; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
sites_start
primary=$(wait_primary)
told() { # SITE TEXT TIMES
    local i
    for i in $(seq 1 60); do
        [ "$(grep -cF -- "$2" "$1.log")" -ge "$3" ] && return 0
        sleep 0.1
    done
    die "$1 does not tell '$2' $3 times"
}
serial() { # what the site shows to who connects
    timeout 5 openssl s_client -connect "127.0.0.1:$(client_port "$1")" -cert pki/app.crt -key pki/app.key -CAfile pki/ca.crt </dev/null \
        2>/dev/null | openssl x509 -noout -serial
}

"$BUILD/tests/writers/writers" run --uri "$(cat client.uri)" --ledger "$DIR/ledger" --seconds 8 --threads 4 \
    >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
sleep 1
before=$(serial "$primary")
cp "pki/$primary.key" former.key
rm "pki/$primary.crt" "pki/$primary.key"
"$TRIVENI" pki site "$primary" --dir pki >"$DIR/pki.log" 2>&1 || { cat "$DIR/pki.log"; die "no new certificate"; }
told "$primary" "certificates: read again, in use from now on" 1
[ "$(serial "$primary")" != "$before" ] || die "the former certificate is still shown"
echo "ok: the renewed certificate is in use without a restart"

# ---- a key that does not belong to the certificate ----
cp "pki/$primary.key" right.key
cp former.key "pki/$primary.key"
told "$primary" "certificates: the files have changed and cannot be used" 1
now=$(serial "$primary")
[ "$now" != "" ] || die "nobody can connect any more"
tv status >"$DIR/status" 2>&1 || true
grep -q "^! site $primary: the certificate files have changed and cannot be used: .*does not belong" "$DIR/status" || { cat "$DIR/status"; die "status does not show it"; }
cp right.key "pki/$primary.key"
told "$primary" "certificates: read again, in use from now on" 2
tv status >"$DIR/status" 2>&1 || true
! grep -q "certificate files" "$DIR/status" || die "trouble that is over is shown"
# ---- another site's certificate and key, which do belong together ----
cp "pki/$primary.crt" right.crt
other=$([ "$primary" = dc ] && echo dr || echo dc)
cp "pki/$other.crt" "pki/$primary.crt"
cp "pki/$other.key" "pki/$primary.key"
kill -HUP "${SITE_PID[$primary]}"
told "$primary" "certificates: the files have changed and cannot be used" 2
sleep 1.5 # the files may have been looked at between the two copies
[ "$(serial "$primary")" = "$now" ] || die "another site's certificate is in use"
cp right.crt "pki/$primary.crt"
cp right.key "pki/$primary.key"
sleep 1.5
seen=$(grep -cF "certificates: read again, in use from now on" "$primary.log")
kill -HUP "${SITE_PID[$primary]}"
told "$primary" "certificates: read again, in use from now on" $((seen + 1))
echo "ok: files that do not belong together change nothing, and are told; SIGHUP reads them again"

# ---- the links: the other sites are linked again under the new certificate ----
wait "$writers" || die "writers failed: $(cat "$DIR/writers.log")"
other=$([ "$primary" = dc ] && echo dr || echo dc)
site_kill "$other" TERM
site_start "$other"
wait_equal 300 >/dev/null
"$BUILD/tests/writers/writers" verify --uri "$(cat client.uri)" --ledger "$DIR/ledger" >"$DIR/verify.json"
[ "$(jq .longest_gap_ms "$DIR/writers.json")" -lt 2000 ] || die "writers stopped: $(cat "$DIR/writers.json")"
echo "renewal: $(jq -c '{acknowledged, longest_gap_ms, resent}' "$DIR/writers.json"), $(jq -c '{lost, doubled}' "$DIR/verify.json")"
