# A Ceph RADOS gateway on the loopback: one monitor, one store in memory, one gateway, as ordinary processes of whoever sources
# this file. No cephx, no manager, no root device, no systemd.
#
#   rgw_start DIR       sets RGW_URL, RGW_TLS_URL (its certificate is DIR/tls.crt), RGW_KEY and RGW_SECRET; all files are in DIR
#   rgw_stop            stops the three, by pid; the caller's trap calls it
#   rgw_admin ARG...    radosgw-admin of this gateway
# installs: curl ceph-mon ceph-osd radosgw ceph-common ceph-base
#
#   rgw_install         installs the Debian packages when they are missing
#   rgw_curl METHOD PATH[?query=] [curl's options]   the service, signed: the answer's body, status on the last line
#   rgw_status ...                                   the status alone
#   rgw_must STATUS ...                              or die (expect.sh)
#   rgw_versions BUCKET [PREFIX]                     "KEY VERSION" of each version there is, newest first for a key
#
# `ms mon client mode = crc`: the gateway forces "secure", which cannot be without cephx, and then waits for ever.

RGW_PIDS=()

rgw_install() {
    command -v radosgw >/dev/null && command -v ceph-osd >/dev/null && command -v ceph-mon >/dev/null && return 0
    bash "$(dirname "${BASH_SOURCE[0]}")/../build/deps.sh" curl ceph-mon ceph-osd radosgw ceph-common
}

rgw_free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

rgw_conf() {
    local dir=$1 mon=$2 http=$3 tls=$4
    cat <<CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$mon]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms bind msgr1 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = $dir
admin socket = $dir/\$name.asok
log file = $dir/\$name.log
mon data = $dir/mon
mon allow pool size one = true
mon warn on pool no redundancy = false
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = true
rgw frontends = beast endpoint=127.0.0.1:$http ssl_endpoint=127.0.0.1:$tls ssl_certificate=$dir/tls.crt ssl_private_key=$dir/tls.key
rgw data = $dir/rgw
rgw dynamic resharding = false
rgw bucket quota ttl = 0
rgw user quota bucket sync interval = 1
[client.rgw]
ms mon client mode = crc
CONF
}

rgw_admin() {
    radosgw-admin -c "$RGW_DIR/ceph.conf" -n client.rgw "$@" 2>>"$RGW_DIR/admin.log"
}

rgw_run() { # NAME COMMAND...
    local name=$1
    shift
    "$@" >"$RGW_DIR/$name.out" 2>&1 &
    RGW_PIDS+=($!)
}

rgw_start() {
    RGW_DIR=$1
    local conf=$RGW_DIR/ceph.conf mon http tls uuid i
    mkdir -p "$RGW_DIR"/{mon,osd,rgw}
    mon=$(rgw_free_port)
    http=$(rgw_free_port)
    tls=$(rgw_free_port)
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$RGW_DIR/tls.key" -out "$RGW_DIR/tls.crt" -days 2 -subj /CN=rgw \
        -addext subjectAltName=IP:127.0.0.1 2>/dev/null || return 1
    rgw_conf "$RGW_DIR" "$mon" "$http" "$tls" >"$conf"
    monmaptool --create --addv a "[v2:127.0.0.1:$mon]" --fsid "$(sed -n 's/^fsid = //p' "$conf")" "$RGW_DIR/monmap" >/dev/null || return 1
    ceph-mon -c "$conf" --mkfs -i a --monmap "$RGW_DIR/monmap" >"$RGW_DIR/mkfs.out" 2>&1 || return 1
    rgw_run mon ceph-mon -c "$conf" -i a -f
    uuid=$(cat /proc/sys/kernel/random/uuid)
    timeout 60 ceph -c "$conf" osd new "$uuid" >"$RGW_DIR/osd-new.out" 2>&1 || return 1
    ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$uuid" >>"$RGW_DIR/mkfs.out" 2>&1 || return 1
    rgw_run osd ceph-osd -c "$conf" -i 0 -f
    rgw_run rgw radosgw -c "$conf" -n client.rgw -f
    RGW_URL=http://127.0.0.1:$http
    RGW_TLS_URL=https://127.0.0.1:$tls
    for ((i = 0; i < 600; i++)); do
        curl -s -o /dev/null --max-time 2 "$RGW_URL/" && break
        sleep 0.1
    done
    rgw_admin user create --uid=archive --display-name=archive >"$RGW_DIR/user.json" || return 1
    RGW_KEY=$(jq -r '.keys[0].access_key' "$RGW_DIR/user.json")
    RGW_SECRET=$(jq -r '.keys[0].secret_key' "$RGW_DIR/user.json")
    [ -n "$RGW_KEY" ] && [ "$RGW_KEY" != null ]
}

rgw_stop() {
    local pid
    for pid in "${RGW_PIDS[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${RGW_PIDS[@]}"; do
        for _ in {1..50}; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    RGW_PIDS=()
}

rgw_curl() {
    local method=$1 path=$2
    shift 2
    curl -s --max-time 30 -X "$method" --user "$RGW_KEY:$RGW_SECRET" --aws-sigv4 aws:amz:us-east-1:s3 -w '\n%{http_code}\n' \
        -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@" "$RGW_URL$path"
}
rgw_status() { rgw_curl "$@" | tail -n 1; }
rgw_must() {
    local wanted=$1 got
    shift
    got=$(rgw_status "$@")
    [ "$got" = "$wanted" ] || die "$1 $2: HTTP $got where $wanted was expected"
}
rgw_versions() {
    rgw_curl GET "/$1?prefix=$(jq -rn --arg p "${2:-}" '$p | @uri')&versions=" | python3 -c '
import re, sys
for body in re.findall("<Version>(.*?)</Version>", sys.stdin.read()):
    print(re.search("<Key>(.*?)</Key>", body)[1], re.search("<VersionId>(.*?)</VersionId>", body)[1])'
}
