#!/usr/bin/env bash
# Every certificate that is wrong, at every port of a running site, and of a site that is none, at the client: nobody gets in, the end that
# refuses says why, and the end that is refused learns it. And what TLS of another kind is offered is refused: older versions,
# weak groups, sessions that were kept, data before the handshake is done, other questions in the middle of a connection.
#
# Usage: BUILD=build/gcc-release tests/integration/certificates.sh
# suite: drills
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
BUILD=$(realpath "$BUILD")
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-certificates.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
server=
finish() {
    local code=$?
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 12 "$DIR"/cluster/dc.log "$DIR/out" "$DIR/err" 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
die() { echo "certificates: $*"; exit 1; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
for site in dc dr gsr; do sed -i "s|^tls: {|tls: {crl: pki/ca.crl, |" "$site.yaml"; done

# ---- certificates that are wrong, each in one way ----
mkdir bad
cat >ca.cnf <<'CNF'
[ca]
default_ca = d
[d]
new_certs_dir = .
database = index.txt
serial = serial
default_md = sha256
policy = p
unique_subject = no
[p]
commonName = optional
CNF
: >index.txt
echo 1001 >serial
# made NAME URI FROM TO [CA]: bad/NAME.crt and .key; times as date understands them
made() {
    local ca=${5:-pki/ca}
    openssl ecparam -name prime256v1 -genkey -noout -out "bad/$1.key" 2>/dev/null
    chmod 600 "bad/$1.key"
    openssl req -new -key "bad/$1.key" -subj "/CN=$1" -out "bad/$1.csr" 2>/dev/null
    printf 'extendedKeyUsage = serverAuth,clientAuth\nsubjectAltName = URI:%s\n' "$2" >"bad/$1.ext"
    openssl ca -batch -config ca.cnf -extfile "bad/$1.ext" -cert "$ca.crt" -keyfile "$ca.key" -in "bad/$1.csr" -out "bad/$1.crt" -notext \
        -startdate "$(date -u -d "$3" +%Y%m%d%H%M%SZ)" -enddate "$(date -u -d "$4" +%Y%m%d%H%M%SZ)" 2>"$DIR/err" || die "$(cat "$DIR/err")"
}
"$TRIVENI" pki init --dir stranger --cluster demo >/dev/null 2>&1
for kind in site client; do
    name=$([ $kind = site ] && echo dr || echo app)
    made expired-$kind "triveni://demo/$kind/$name" '-9 days' '-2 days'
    made early-$kind "triveni://demo/$kind/$name" '+1 day' '+9 days'
    made stranger-$kind "triveni://demo/$kind/$name" '-1 day' '+9 days' stranger/ca
    made abroad-$kind "triveni://elsewhere/$kind/$name" '-1 day' '+9 days'
    made revoked-$kind "triveni://demo/$kind/$name" '-1 day' '+9 days'
    made nobody-$kind "https://demo/$kind/$name" '-1 day' '+9 days'
    made right-$kind "triveni://demo/$kind/$name" '-1 day' '+9 days'
    "$TRIVENI" pki revoke "bad/revoked-$kind.crt" --dir pki >/dev/null 2>"$DIR/err" || die "$(cat "$DIR/err")"
    openssl req -x509 -new -key "bad/right-$kind.key" -subj "/CN=self" -days 9 -out "bad/selfmade-$kind.crt" \
        -addext "subjectAltName = URI:triveni://demo/$kind/$name" -addext 'extendedKeyUsage = serverAuth,clientAuth' 2>/dev/null
    cp "bad/right-$kind.key" "bad/selfmade-$kind.key"
done

sites_start
wait_primary >/dev/null
wait_equal >/dev/null

cells=0
# knock PORT ARGS...: one connection by openssl, which checks nothing of its own; what comes is in DIR/out
knock() {
    local port=$1
    shift
    timeout 2 openssl s_client -ign_eof -connect "127.0.0.1:$port" -CAfile pki/ca.crt "$@" </dev/null >"$DIR/out" 2>&1 || true
}
# refused PORT LOG-WORDS REASON LEARNS ARGS...: the site tells the reason once more, and the other end learns it
refused() {
    local port=$1 words=$2 reason=$3 learns=$4 before i
    shift 4
    before=$(wc -l <dc.log)
    knock "$port" "$@"
    grep -aqF -- "$learns" "$DIR/out" || die "$words, $*: the other end does not learn '$learns': $(tail -n 5 "$DIR/out" | tr -cd '[:print:]\n')"
    for i in $(seq 1 50); do
        if tail -n +$((before + 1)) dc.log | grep -F -- "$words" | grep -F -- "$reason" >/dev/null; then
            cells=$((cells + 1))
            return 0
        fi
        sleep 0.1
    done
    die "$words, $*: dc does not tell '$reason': $(tail -n 3 dc.log)"
}
# A site tells only so many refusals a minute (replication/core/quiet.h); one that has just begun tells all of the next few.
afresh() {
    site_kill dc TERM
    site_start dc
    for _ in $(seq 1 100); do
        (exec 3<>"/dev/tcp/127.0.0.1/$(client_port dc)") 2>/dev/null && break
        sleep 0.05
    done
    sleep 0.3
}
# Each kind of certificate at each of the two ports.
for kind in client site; do
    port=$([ $kind = client ] && client_port dc || peer_port dc)
    afresh
    words=$([ $kind = client ] && echo "connection from a client refused" || echo "link from a site refused")
    with() { echo "-cert bad/$1-$kind.crt -key bad/$1-$kind.key"; }
    # shellcheck disable=SC2046 # two options of two words each
    {
        refused "$port" "$words" "expired 2 days ago" "alert certificate expired" $(with expired)
        refused "$port" "$words" "is not valid before" "alert bad certificate" $(with early)
        refused "$port" "$words" "is not from a CA that is trusted here" "alert unknown ca" $(with stranger)
        refused "$port" "$words" "is self-signed by nobody" "alert unknown ca" $(with selfmade)
        refused "$port" "$words" "was revoked" "alert certificate revoked" $(with revoked)
        refused "$port" "$words" "its certificate is of cluster elsewhere, this is demo" "its certificate is of cluster elsewhere" $(with abroad)
        refused "$port" "$words" "its URI name does not begin with triveni://" "its certificate is not one of Triveni" $(with nobody)
        refused "$port" "$words" "showed no certificate" "alert certificate required"
    }
    afresh
    other=$([ $kind = client ] && echo site || echo client)
    knock "$port" -cert "bad/right-$other.crt" -key "bad/right-$other.key"
    grep -aqF "not welcome here" "$DIR/out" || die "a $other at the port for ${kind}s: $(tr -cd '[:print:]\n' <"$DIR/out" | tail -n 5)"
    cells=$((cells + 1))
    # ---- TLS of another kind ----
    afresh
    # shellcheck disable=SC2046
    {
        refused "$port" "$words" "only versions before TLS 1.3" "alert protocol version" -tls1_2 $(with right)
        refused "$port" "$words" "offers no group for the key exchange" "alert handshake failure" -groups P-521 $(with right)
        afresh
        refused "$port" "$words" "offers no group for the key exchange" "alert handshake failure" -groups ffdhe2048 $(with right)
        knock "$port" -sess_out "$DIR/session" $(with right)
    }
    ! grep -aq "New Session Ticket arrived\|Reused, TLS" "$DIR/out" || die "a session can be resumed"
    [ ! -s "$DIR/session" ] || die "a session can be kept"
    grep -aq "Early data was not sent" "$DIR/out" || die "early data: $(grep -a -i early "$DIR/out")"
    cells=$((cells + 1))
done
tv put t k v >/dev/null || die "the right ones are refused, too"

# ---- a site that is none, seen by the client ----
fake=$(free_base_port)
# met NAME REASON: a server with that certificate is refused by the client, with exit code 8 and the reason
met() {
    local code=0
    openssl s_server -quiet -accept "127.0.0.1:$fake" -cert "$1.crt" -key "$1.key" -CAfile pki/ca.crt -Verify 1 -tls1_3 -num_tickets 0 >"$DIR/server" 2>&1 <> <(sleep 8) &
    server=$!
    for _ in $(seq 1 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$fake") 2>/dev/null && break
        sleep 0.1
    done
    "$TRIVENI" get t k --profile client.yaml --endpoints "127.0.0.1:$fake" --timeout 4 >"$DIR/out" 2>"$DIR/err" || code=$?
    kill "$server" && wait "$server" 2>/dev/null || true
    server=
    [ "$code" = 8 ] && grep -qF -- "$2" "$DIR/err" || die "a server with $1: exit $code, expected '$2': $(cat "$DIR/err")"
    cells=$((cells + 1))
}
met bad/expired-site "expired 2 days ago"
met bad/early-site "is not valid before"
met bad/stranger-site "is not from a CA that is trusted here"
met bad/selfmade-site "is self-signed by nobody"
met bad/abroad-site "its certificate is of cluster elsewhere, this is demo"
met bad/nobody-site "its URI name does not begin with triveni://"
met bad/right-client "not welcome here"
sed 's|^ca:|crl: pki/ca.crl\nca:|' client.yaml >with-crl.yaml
mv with-crl.yaml client.yaml
met bad/revoked-site "was revoked"

echo "certificates: $cells cells of the matrix are refused, each told at both ends"
