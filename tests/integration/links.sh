#!/usr/bin/env bash
# Links between sites that cannot come about (P10): each end's log says why and what to do, `status` shows it, and it is
# told when the reason changes, not with every attempt.
#
# Usage: BUILD=build/gcc-release tests/integration/links.sh
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD")/triveni
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-links.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
for site in dc dr gsr; do sed -i 's/^store: {/store: {client_idle_seconds: 30, max_clients: 6, /' $site.yaml; done
grep -q client_idle_seconds dc.yaml
cp gsr.yaml gsr.right
sites_start
wait_primary >/dev/null
wait_equal >/dev/null

declare -A READ=([dc]=0 [dr]=0 [gsr]=0) # lines of each log before the case at hand
mark() { for site in dc dr gsr; do READ[$site]=$(wc -l <"$site.log"); done; }
since() { tail -n +$((READ[$1] + 1)) "$1.log"; }
# told SITE "PART"...: the site's log says it, soon
told() {
    local site=$1 part i
    shift
    for part in "$@"; do
        for i in $(seq 1 60); do
            grep -qF -- "$part" <<<"$(since "$site")" && continue 2
            sleep 0.1
        done
        echo "$site does not tell: $part"
        since "$site"
        exit 1
    done
}
shown() { # PART: a line of status that begins with !
    local i
    for i in $(seq 1 60); do
        tv status --timeout 2 >"$DIR/status" 2>&1 || true
        grep '^!' "$DIR/status" | grep -F -- "$1" >/dev/null && return 0
        sleep 0.1
    done
    echo "status does not show: $1"
    cat "$DIR/status"
    exit 1
}
told_once() { # SITE PART: while it is tried again and again
    sleep 2.5
    local n
    n=$(since "$1" | grep -cF -- "$2" || true)
    [ "$n" = 1 ] || { echo "$1 tells $n times: $2"; since "$1"; exit 1; }
}
heal() {
    site_kill gsr TERM
    cp gsr.right gsr.yaml
    site_start gsr
    wait_equal 300 >/dev/null
    local i
    for i in $(seq 1 60); do
        tv status --timeout 2 >"$DIR/status" 2>&1 && ! grep -q '^!.*link to' "$DIR/status" && return 0
        sleep 0.1
    done
    echo "a link that is up is shown as trouble"
    cat "$DIR/status"
    exit 1
}

# ---- another cluster of the same name, with the same CA ----
site_kill gsr TERM
sed 's/, id: ff/, id: ee/; t next; s/, id: ../, id: ff/; :next; s#gsr/\(data\|archive\)#foreign/\1#' gsr.right >gsr.yaml
cmp -s gsr.yaml gsr.right && { echo "the cluster id was not changed"; exit 1; }
"$TRIVENI" init --new-cluster --config gsr.yaml 2>"$DIR/err" || { cat "$DIR/err"; exit 1; }
foreign=$(sed -n 's/.*, id: \(..\).*/\1/p' gsr.yaml)
mark
site_start gsr
told dc "link to gsr: " "site gsr has $foreign" "two clusters of the name 'demo'" "Compare the ids in both configurations"
told dr "site gsr has $foreign"
told gsr "link from a site refused: " "two clusters of the name 'demo'"
shown "link to gsr: 127.0.0.1:$(peer_port gsr): "
told_once dc "two clusters of the name"
heal
echo "ok: a foreign cluster id is told at both ends, and shown"

# ---- a certificate of another CA ----
"$TRIVENI" pki init --dir stranger --cluster demo >/dev/null 2>&1
"$TRIVENI" pki site gsr --dir stranger >/dev/null 2>&1
site_kill gsr TERM
sed 's#pki/#stranger/#g' gsr.right >gsr.yaml
mark
site_start gsr
told dc "is not from a CA that is trusted here" "compare the ca files"
told dr "is not from a CA that is trusted here"
told gsr "link from a site refused: "
shown "link to gsr: "
told_once dr "is not from a CA"
heal
echo "ok: a certificate of another CA is told at both ends, and shown"

# ---- a certificate that expires while the site runs: links stay, new ones are refused ----
cat >ca.cnf <<'CNF'
[ca]
default_ca = d
[d]
new_certs_dir = .
database = index.txt
serial = serial
default_md = sha256
policy = p
[p]
commonName = optional
[ext]
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = URI:triveni://demo/site/gsr
CNF
: >index.txt
echo 01 >serial
openssl req -new -key pki/gsr.key -subj /CN=gsr -out gsr.csr 2>/dev/null
site_kill gsr TERM
openssl ca -batch -config ca.cnf -extensions ext -cert pki/ca.crt -keyfile pki/ca.key -in gsr.csr -out short.crt -notext \
    -startdate 20200101000000Z -enddate "$(date -u -d '+5 seconds' +%Y%m%d%H%M%SZ)" 2>"$DIR/err" || { cat "$DIR/err"; exit 1; }
sed 's#pki/gsr.crt#short.crt#' gsr.right >gsr.yaml
site_start gsr
wait_equal 300 >/dev/null
sleep 6 # until it has expired
site_alive gsr || { echo "gsr stopped when its certificate expired"; exit 1; }
mark
site_kill dr TERM
site_start dr
told dr "link to gsr: " "expired" "renew it"
shown "link to gsr: "
told_once dr "link to gsr: "
heal
echo "ok: an expired certificate is told by who refuses it, and shown"

# ---- a client at the port for sites ----
mark
"$TRIVENI" get a b --profile client.yaml --endpoints "127.0.0.1:$(peer_port dc)" --timeout 3 2>"$DIR/err" && exit 1
told dc "link from a site refused: 127.0.0.1:" "client app is not welcome here: this port is not for clients"
grep -q "not welcome here" "$DIR/err" || { echo "the client is not told"; cat "$DIR/err"; exit 1; }
told_once dc "client app is not welcome"
# ---- a stranger at the port for clients ----
"$TRIVENI" pki client mallory --dir stranger >/dev/null 2>&1
cat pki/ca.crt stranger/ca.crt >both.crt
mark
"$TRIVENI" get a b --profile client.yaml --endpoints "127.0.0.1:$(client_port dc)" --ca both.crt --cert stranger/mallory.crt \
    --key stranger/mallory.key --timeout 3 2>"$DIR/err" && exit 1
told dc "connection from a client refused: 127.0.0.1:" "triveni://demo/client/mallory"
echo "ok: who knocks at the wrong port, or with the wrong certificate, is told of"

# ---- clients that have nothing to say: one lives, one has been stopped ----
watching() { # NAME
    "$TRIVENI" watch --profile client.yaml --endpoints "127.0.0.1:$(client_port dc)" -o json >"$DIR/$1.seen" 2>"$DIR/$1.err" &
    WATCHER=$!
    disown
    for _ in $(seq 1 60); do
        [ -s "$DIR/$1.seen" ] && return 0
        tv put land seen-by "$1" >/dev/null
        sleep 0.1
    done
    echo "$1 sees nothing: $(cat "$DIR/$1.err")"
    exit 1
}
watching living && living=$WATCHER
watching stopped && stopped=$WATCHER
links=$(grep -c "link to .*: up" dr.log)
mark
kill -STOP "$stopped"
for _ in $(seq 1 40); do
    since dc | grep "connection of client app is cut off" >/dev/null && break
    sleep 1
done
kill -CONT "$stopped"
told dc "connection of client app is cut off: 127.0.0.1:" "said nothing for 30"
kill -0 "$living" || { echo "who lives ended: $(cat "$DIR/living.err")"; exit 1; }
[ "$(since dc | grep -c "is cut off")" = 1 ] || { echo "who lives was cut off"; since dc; exit 1; }
[ "$(grep -c "link to .*: up" dr.log)" = "$links" ] || { echo "a link between sites was made anew"; tail -n 5 dr.log; exit 1; }
tv put land seen-by both-again >/dev/null
for who in living stopped; do # it comes back by itself, and misses nothing
    for _ in $(seq 1 60); do
        grep -q both-again "$DIR/$who.seen" && continue 2
        sleep 0.1
    done
    echo "$who does not see what was written since: $(cat "$DIR/$who.err")"
    exit 1
done
kill "$living" "$stopped"
echo "ok: a client that says nothing for 30 s is cut off, one that lives is not, nor are links on which nothing is said"

# ---- an application has taken every place: operators come in all the same ----
at_dc=(--endpoints "127.0.0.1:$(client_port dc)" --timeout 2)
full=()
for _ in $(seq 1 6); do # each stays, or tries again and again
    "$TRIVENI" watch --profile client.yaml --endpoints "127.0.0.1:$(client_port dc)" >/dev/null 2>&1 &
    full+=($!)
    disown
done
for _ in $(seq 1 60); do
    tv status "${at_dc[@]}" >/dev/null 2>"$DIR/err" || ! grep -q "connections are served already" "$DIR/err" || break
    sleep 0.1
done
grep -q "6 connections are served already, which is the limit" "$DIR/err" || { echo "the one too many is not told: $(cat "$DIR/err")"; exit 1; }
op events "${at_dc[@]}" >"$DIR/out" 2>"$DIR/err" || { echo "an operator does not come in: $(cat "$DIR/err")"; exit 1; }
grep -q "6 connections are served already" "$DIR/out" || { echo "an operator does not see why: $(tail -n 5 "$DIR/out")"; exit 1; }
kill "${full[@]}"
echo "ok: when clients have taken every place, an operator comes in and sees it"
echo "links: all told"
