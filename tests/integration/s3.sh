#!/usr/bin/env bash
# Three real sites whose archive lies in a bucket of a real Ceph RADOS gateway with Object Lock, which this script installs (Debian
# packages, as root) and starts on the loopback by itself. Whoever holds the access key tries to remove, shorten, bypass, hide and
# overwrite; the bucket is slow, fails, hangs and is full; gsr is killed while it seals; a bucket without Object Lock is
# refused. In the end all sites are gone and the records come back from the bucket alone.
#
# Usage: make test-s3, or BUILD=build/gcc-release tests/integration/s3.sh
# suite: s3
# limit: 240 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
BUILD=$(realpath "$BUILD")
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-s3.XXXXXX")
here=$(dirname "$0")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"
. "$here/../lib/rgw.sh"
PROXY=
leave() {
    local code=$?
    [ -z "$PROXY" ] || kill "$PROXY" 2>/dev/null || true
    cluster_stop
    rgw_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    [ "$code" -eq 0 ] || [ -z "${KEEP:-}" ] || exit "$code"
    rm -rf "$DIR"
    exit "$code"
}
trap leave EXIT
checks=0
ok() {
    checks=$((checks + 1))
    printf '  ok  %5.1f s  %s\n' "$(bc_since)" "$*"
}
start_ns=$(date +%s%N)
bc_since() { awk -v a="$start_ns" -v b="$(date +%s%N)" 'BEGIN { print (b - a) / 1e9 }'; }
mode() { echo "$*" >"$DIR/mode"; }
# within SECONDS WHAT COMMAND...: until it succeeds
within() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || die "not within the time: $what"
        sleep 0.2
    done
}
trouble() { site_status gsr | jq -r '.archive.trouble // empty'; }
in_trouble() { trouble | grep -F -- "$1" >/dev/null; }
no_trouble() { [ -z "$(trouble)" ]; }
put() { tv put titles "$1" "$2" >/dev/null && echo "$1 $2" >>"$DIR/written"; }
seal() { op archive seal --timeout 60 >"$DIR/out" 2>"$DIR/err" || die "seal: $(cat "$DIR/err")"; }
archive() { "$TRIVENI" archive "$@" --repository "$WHERE" --kek "$DIR/cluster/kek"; }
keyless() { "$TRIVENI" archive verify --repository "$WHERE" >"$DIR/keyless" 2>&1; }
whole() { # with the key and, once gsr has signed, without it
    archive verify >"$DIR/out" 2>"$DIR/err" || die "verify: $(cat "$DIR/out" "$DIR/err")"
    within 30 "verify without a key, see $DIR/keyless" keyless
}
gsr_with() { sed -i "s|dir: .*, kek_file|dir: '${1//&/\\&}', kek_file|" "$DIR/cluster/gsr.yaml"; }

# ---- a gateway, a proxy before it, three sites ----
rgw_install >"$DIR/install" 2>&1 || die "the packages of Ceph are not installed: $(tail -n 3 "$DIR/install")"
rgw_start "$DIR/rgw" || die "no gateway: $(tail -n 3 "$DIR"/rgw/*.out)"
ok "a Ceph RADOS gateway serves"
rgw_must 200 PUT /locked -H 'x-amz-bucket-object-lock-enabled: true'
rgw_must 200 PUT /open
mode pass
port=$(rgw_free_port)
python3 "$here/../lib/s3_proxy.py" "$port" "${RGW_URL##*:}" "$DIR/mode" "$DIR/proxy.log" &
PROXY=$!
within 30 "the proxy listens" curl -s -o /dev/null --max-time 2 "http://127.0.0.1:$port/"
cluster_create "$DIR/cluster"
printf 'aws_access_key_id = %s\naws_secret_access_key = %s\n' "$RGW_KEY" "$RGW_SECRET" >"$DIR/access"
chmod 600 "$DIR/access"
options="credentials=$DIR/access&timeout=3&spool=$DIR"
for site in dc dr; do site_start "$site"; done

# ---- buckets that are refused ----
refused() { # WHERE TEXT
    gsr_with "$1"
    site_start gsr
    for _ in {1..100}; do site_alive gsr || break; sleep 0.1; done
    ! site_alive gsr || die "gsr starts with $1"
    unset 'SITE_PID[gsr]'
    tail -n 1 "$DIR/cluster/gsr.log" | grep -F -- "$2" >/dev/null || die "does not say '$2': $(tail -n 1 "$DIR/cluster/gsr.log")"
    ok "refused: $2"
}
refused "s3:$RGW_URL/open?$options&retention=30" "bucket 'open' has no Object Lock"
refused "s3:$RGW_URL/locked?$options" "bucket 'locked' has no default retention, and none is asked for"
refused "s3:$RGW_URL/nowhere?$options" "HTTP 404 NoSuchBucket"
refused "s3:$RGW_URL/locked?credentials=$DIR/none" "No such file or directory"
rgw_must 200 PUT '/locked?object-lock=' -H 'Content-MD5: '"$(
    cat >"$DIR/rule" <<'XML'
<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>30</Days></DefaultRetention></Rule></ObjectLockConfiguration>
XML
    openssl md5 -binary "$DIR/rule" | base64
)" --data-binary "@$DIR/rule"
refused "s3:$RGW_URL/locked?$options" "locks in governance mode, which can be bypassed"

# ---- an archive ----
WHERE="s3:http://127.0.0.1:$port/locked/land?$options&retention=30"
gsr_with "$WHERE"
site_start gsr
wait_primary >/dev/null
for i in {1..20}; do put "k$i" "v$i"; done
seal
for i in {21..40}; do put "k$i" "v$i"; done
seal
whole
ok "sealed into the bucket, read back and verified: $(tail -n 1 "$DIR/out")"
n=0
while read -r key version; do
    body=$(rgw_curl GET "/locked/$key?retention=&versionId=$version")
    grep -qF '<Mode>COMPLIANCE</Mode>' <<<"$body" || die "$key is not locked: $body"
    n=$((n + 1))
done < <(rgw_versions locked land/)
[ "$n" -ge 12 ] || die "$n versions only"
ok "each of $n versions is locked in compliance mode"
read -r pack pack_version < <(rgw_versions locked land/packs/ | grep 'pack ')
read -r meta _ < <(rgw_versions locked "${pack%.pack}.meta")
curl -s --user "$RGW_KEY:$RGW_SECRET" --aws-sigv4 aws:amz:us-east-1:s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
    "$RGW_URL/locked/$meta" | head -n 1 | jq -r .sha256 >"$DIR/wanted"
curl -s --user "$RGW_KEY:$RGW_SECRET" --aws-sigv4 aws:amz:us-east-1:s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
    "$RGW_URL/locked/$pack" | sha256sum | cut -d' ' -f1 | cmp - "$DIR/wanted" || die "curl sees another pack"
ok "curl reads the same bytes"

tls="s3:$RGW_TLS_URL/locked/land?$options"
expect 4 "name the certificates that it is signed with" "$TRIVENI" archive list -r "$tls" -k "$DIR/cluster/kek"
expect 0 "" "$TRIVENI" archive verify -r "$tls&ca=$DIR/rgw/tls.crt" -k "$DIR/cluster/kek"
expect 8 "the secret key is not the one" "$TRIVENI" archive list -k "$DIR/cluster/kek" \
    -r "s3:$RGW_URL/locked/land?credentials=$(sed 's/^aws_secret.*/aws_secret_access_key = wrong/' "$DIR/access" >"$DIR/wrong"; chmod 600 "$DIR/wrong"; echo "$DIR/wrong")"
ok "over TLS with its certificate and not without; a wrong secret is told"

# ---- what the holder of the access key cannot do ----
at="/locked/$pack?versionId=$pack_version"
rgw_must 403 DELETE "$at"
rgw_must 403 DELETE "$at" -H 'x-amz-bypass-governance-retention: true'
ok "a version cannot be removed"
retention() { # MODE DATE
    printf '<Retention><Mode>%s</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>' "$1" "$2" >"$DIR/retention"
    rgw_status PUT "/locked/$pack?retention=&versionId=$pack_version" --data-binary "@$DIR/retention" \
        -H "Content-MD5: $(openssl md5 -binary "$DIR/retention" | base64)" -H 'x-amz-bypass-governance-retention: true'
}
[ "$(retention COMPLIANCE "$(date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ)")" = 403 ] || die "retention was shortened"
ok "retention cannot be shortened"
[ "$(retention GOVERNANCE "$(date -u -d '+60 days' +%Y-%m-%dT%H:%M:%SZ)")" = 403 ] || die "compliance became governance"
ok "compliance cannot become governance"
rgw_must 409 DELETE /locked
ok "the bucket cannot be removed"

# ---- what they can do, and what it comes to ----
archive list -o json >"$DIR/list"
"$TRIVENI" restore --repository "$WHERE" --kek "$DIR/cluster/kek" --into "$DIR/before" >/dev/null 2>&1
"$TRIVENI" dump --data-dir "$DIR/before" --all >"$DIR/dump" 2>/dev/null
rgw_versions locked land/ | cut -d' ' -f1 | sort -u | while read -r key; do
    case $key in
    */tree/checkpoint) rgw_must 200 PUT "/locked/$key" --data-binary 'no checkpoint' ;;
    *.pack | *.key | */tree/*) rgw_must 200 PUT "/locked/$key" --data-binary 'something else' ;;
    esac
    case $key in *.meta | *.json | *.pack) rgw_must 204 DELETE "/locked/$key" ;; esac
done
archive list -o json | cmp - "$DIR/list" || die "the list is another"
whole
"$TRIVENI" restore --repository "$WHERE" --kek "$DIR/cluster/kek" --into "$DIR/after" >/dev/null 2>&1
"$TRIVENI" dump --data-dir "$DIR/after" --all 2>/dev/null | cmp - "$DIR/dump" || die "the records are others"
ok "delete markers and newer versions on top of everything hide nothing"
put k41 v41
seal
whole
ok "and the archive goes on"

# ---- a bucket that is slow, fails, hangs, is full ----
mode slow 0.1
put slow yes
seal
ok "slow: sealed"
mode flaky 5
put flaky yes
seal
ok "every fifth answer cut off: sealed"
for trouble in '503 SlowDown' 'cut Empty' 'hang no progress'; do
    mode "${trouble%% *}"
    put "during-${trouble%% *}" yes
    [ "${trouble%% *}" = cut ] || within 60 "${trouble%% *} is told" in_trouble "${trouble#* }"
    put "still-${trouble%% *}" yes
    mode pass
    within 60 "no trouble after ${trouble%% *}" no_trouble
    seal
    ok "${trouble%% *}: told in status, writes go on, over by itself"
done
whole
rgw_admin quota set --quota-scope=user --uid=archive --max-objects=5 >/dev/null
rgw_admin quota enable --quota-scope=user --uid=archive >/dev/null
put full yes
within 60 "a full bucket is told" in_trouble "QuotaExceeded"
put still-full yes
rgw_admin quota disable --quota-scope=user --uid=archive >/dev/null
within 60 "no trouble with room again" no_trouble
seal
whole
ok "full: told in status, writes go on, over by itself"

# ---- kill -9 while it seals ----
for i in 1 2 3 4; do
    mode slow 0.$((i % 2 + 1))
    put "kill-$i" yes
    op archive seal --timeout 10 >/dev/null 2>&1 &
    order=$!
    sleep "0.$((i * 2))"
    site_kill gsr KILL
    mode pass
    wait "$order" || true
    site_start gsr
    within 30 "gsr is back" eval '[ -n "$(site_status gsr)" ]'
done
seal
whole
ok "killed 4 times while it sealed: $(tail -n 1 "$DIR/out")"

# ---- a gsr that starts while the bucket is out of reach ----
mode hang
site_kill gsr TERM
site_start gsr
within 60 "gsr votes while its bucket is out of reach" in_trouble "no progress"
mode pass
within 60 "no trouble when the bucket is back" no_trouble
put late yes
seal
ok "a site starts, and votes, while its bucket does not answer"

# ---- several places at once, and healing one from another ----
site_kill gsr TERM
second="s3:$RGW_URL/locked/second?$options&retention=30"
sed -i "s|\(kek_file: [^,}]*\)|\1, archived_at: all, copies: ['$DIR/copy', '${second//&/\\&}']|" "$DIR/cluster/gsr.yaml"
mkdir "$DIR/copy"
flock -F "$DIR/copy" sleep 60 &
holder=$!
site_start gsr
within 30 "a copy that cannot be written is told" eval '[[ "$(site_status gsr | jq -c .archive.copies)" == *"another process writes"* ]]'
[ "$(site_status gsr | jq .archived)" = null ] || die "archived at all, and one of them has nothing"
kill "$holder"
put copies yes
seal
for at in "$DIR/copy" "$second"; do
    "$TRIVENI" archive verify -r "$at" -k "$DIR/cluster/kek" >"$DIR/out" 2>"$DIR/err" || die "verify $at: $(cat "$DIR/out" "$DIR/err")"
    "$TRIVENI" archive list -r "$at" -k "$DIR/cluster/kek" -o json | cmp - <(archive list -o json) || die "$at has other packs"
done
ok "three places: archived is what all hold; one that cannot be written is told, and catches up"
site_kill gsr TERM
mapfile -t packs < <(ls "$DIR"/copy/packs/*.pack)
printf X | dd of="${packs[0]}" bs=1 seek=100 conv=notrunc status=none
rm "${packs[1]}" "${packs[2]%.pack}.meta" "$DIR/copy/tree/checkpoint"
expect 7 DAMAGED "$TRIVENI" archive verify -r "$DIR/copy" -k "$DIR/cluster/kek"
expect 0 "3 files copied, 1 healed" "$TRIVENI" archive heal -r "$DIR/copy" --from "$WHERE" -k "$DIR/cluster/kek"
expect 0 "" "$TRIVENI" archive verify -r "$DIR/copy" -k "$DIR/cluster/kek"
ok "a directory is healed from the bucket"
third="s3:$RGW_URL/open/third?$options&lock=off"
expect 0 "" "$TRIVENI" archive heal -r "$third" --from "$DIR/copy" -k "$DIR/cluster/kek"
rgw_must 204 DELETE "/open/third/packs/$(basename "${packs[0]}")"
rgw_must 200 PUT "/open/third/packs/$(basename "${packs[1]}")" --data-binary rot
expect 7 DAMAGED "$TRIVENI" archive verify -r "$third" -k "$DIR/cluster/kek"
expect 7 "2 damaged" "$TRIVENI" archive verify -r "$third"
expect 0 "1 files copied, 1 healed" "$TRIVENI" archive heal -r "$third" --from "$DIR/copy" -k "$DIR/cluster/kek"
expect 0 "" "$TRIVENI" archive verify -r "$third" -k "$DIR/cluster/kek"
ok "a bucket without Object Lock is a copy when it is told so, and is healed from a directory"
printf X | dd of="${packs[0]}" bs=1 seek=100 conv=notrunc status=none
rgw_must 204 DELETE "/open/third/packs/$(basename "${packs[0]}")"
expect 7 "left as they are" "$TRIVENI" archive heal -r "$third" --from "$DIR/copy" -k "$DIR/cluster/kek"
rgw_must 404 GET "/open/third/packs/$(basename "${packs[0]}")"
ok "what is damaged is not copied"

# ---- everything is lost but the bucket and the key ----
cluster_stop
cp "$DIR/cluster/kek" "$DIR/kek"
rm -rf "$DIR"/cluster/{dc,dr,gsr}
"$TRIVENI" restore --repository "$WHERE" --kek "$DIR/kek" --into "$DIR/past" >"$DIR/out" 2>"$DIR/err" || die "restore: $(cat "$DIR/err")"
"$TRIVENI" dump --data-dir "$DIR/past" --all 2>/dev/null | jq -r '"\(.key) \(.value)"' | sort >"$DIR/restored"
sort "$DIR/written" | cmp - "$DIR/restored" || die "not what was written: $(diff <(sort "$DIR/written") "$DIR/restored" | head -n 5)"
ok "restored from the bucket alone: $(wc -l <"$DIR/restored") records, each that was acknowledged"

echo "test-s3: $checks checks, 0 failed"
