#!/usr/bin/env bash
# Disposal in a bucket of a real Ceph RADOS gateway: keys that the bucket has locked stay until their date, which is told; then they go, in
# every version, and with them what they opened. Nothing else does.
#
# The date is some seconds away, where Triveni itself asks for days: so the objects are put unlocked, and locked by hand.
#
# Usage: make test-s3, or BUILD=build/gcc-release tests/integration/s3_disposal.sh
# suite: s3
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT TRIVENI_KEK TRIVENI_REPOSITORY
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-s3-disposal.XXXXXX")
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"
. "$here/../lib/rgw.sh"
leave() {
    local code=$?
    cluster_stop
    rgw_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/out "$DIR"/err 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap leave EXIT
LOCK_S=30 # longer than a disposal takes

custody() { op archive holds -o json | jq -r ".archive.$1"; }
at_least() { [ "$(custody "$1")" -ge "$2" ] || { op archive holds && return 1; }; }
none() { [ "$(custody "$1")" = 0 ] || { op archive holds && return 1; }; }
chapter() { # a pack of its own, heavy enough that a snapshot follows
    local i
    for i in 1 2 3; do tv put filler x "$(head -c 3000 /dev/urandom | base64 -w 0)" >/dev/null; done
    op archive seal >/dev/null
}
archive() { "$TRIVENI" archive "$@" --repository "$WHERE" --kek "$DIR/cluster/kek"; }
left() { # of the keys that were locked
    rgw_versions timed land/keys/ | sort >"$DIR/there"
    sort "$DIR/versions" | comm -12 - "$DIR/there" | wc -l
}
lock() { # KEY VERSION UNTIL
    printf '<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>' "$3" >"$DIR/retention"
    rgw_must 200 PUT "/timed/$1?retention=&versionId=$2" --data-binary "@$DIR/retention" \
        -H "Content-MD5: $(openssl md5 -binary "$DIR/retention" | base64)"
}

# ---- a gateway, a bucket, three sites, two operators ----
rgw_install >"$DIR/install" 2>&1 || die "the packages of Ceph are not installed: $(tail -n 3 "$DIR/install")"
rgw_start "$DIR/rgw" || die "no gateway: $(tail -n 3 "$DIR"/rgw/*.out)"
rgw_must 200 PUT /timed -H 'x-amz-bucket-object-lock-enabled: true'
cluster_create "$DIR/cluster"
cd "$DIR/cluster"
printf 'aws_access_key_id = %s\naws_secret_access_key = %s\n' "$RGW_KEY" "$RGW_SECRET" >"$DIR/access"
chmod 600 "$DIR/access"
WHERE="s3:$RGW_URL/timed/land?credentials=$DIR/access&timeout=5&spool=$DIR&lock=off"
sed -i "s|dir: [^,]*, kek_file|dir: '${WHERE//&/\\&}', kek_file|; s|snapshot_entries: 10000|snapshot_entries: 1|" gsr.yaml
grep -q "snapshot_entries: 1[,}]" gsr.yaml && grep -q "lock=off" gsr.yaml || die "gsr.yaml was not changed: $(cat gsr.yaml)"
operators_create asha ravi
sites_start
wait_primary >/dev/null
tv put land old secret-old >/dev/null
chapter
chapter
boundary=$(archive snapshots -o json | jq -s 'map(.lsn) | max // 0')
[ "$boundary" -gt 0 ] || die "no snapshot: $(archive list)"
tv put land new '{"later":1}' >/dev/null
chapter
chapter
archive list -o json >"$DIR/packs"

# ---- locked: it stays, and until when is told ----
until_s=$(($(date +%s) + LOCK_S))
rgw_versions timed land/keys/ >"$DIR/versions"
all=$(wc -l <"$DIR/versions")
while read -r key version; do lock "$key" "$version" "$(date -u -d "@$until_s" +%Y-%m-%dT%H:%M:%SZ)"; done <"$DIR/versions"
expect 0 "another operator signs" "$TRIVENI" archive dispose --before $((boundary + 1)) -r "$WHERE" -k kek --reason 'retention law' \
    --ask dispose.warrant --profile asha.yaml
expect 0 "signed by operator ravi" "$TRIVENI" warrant sign dispose.warrant --yes --profile ravi.yaml
expect 0 "from lsn" "$TRIVENI" archive dispose --warrant dispose.warrant --yes --profile asha.yaml
eventually "the disposal" at_least disposed 2
disposed=$(custody disposed)
eventually "that the keys are locked is told" at_least locked "$disposed"
locked=$(custody locked) # those of indexes over what is disposed of go with them
expect 0 "stays until $(date -u -d "@$until_s" +%Y-%m-%dT%H:%M:%S)" "$TRIVENI" archive holds --profile operator.yaml
[ "$(date +%s)" -lt "$until_s" ] || die "this machine is too slow: the lock has ended before it was looked at"
[ "$(left)" = "$all" ] || die "$(left) of $all keys are left while all are locked"
expect 0 "$disposed of them were disposed of" "$TRIVENI" archive verify -r "$WHERE" -k kek
echo "ok: $disposed objects are disposed of, the $locked keys that the bucket has locked stay, and their date is told"

# ---- the date has come ----
sleep $((until_s > $(date +%s) ? until_s - $(date +%s) + 2 : 1))
site_kill gsr TERM
site_start gsr # which looks at once; a site at work looks every hour
eventually "the end of the keys" none locked
[ "$(left)" = $((all - locked)) ] || die "$(left) of $all keys are left, $locked were to go: $(cat "$DIR/there")"
expect 3 "disposed of by warrant" "$TRIVENI" history land old -r "$WHERE" -k kek
expect 0 "$disposed of them were disposed of" "$TRIVENI" archive verify -r "$WHERE" -k kek
expect 0 "" "$TRIVENI" archive keys check -r "$WHERE" -k kek
chapter
expect 0 "" "$TRIVENI" restore --into "$DIR/restored" -r "$WHERE" -k kek --yes
"$TRIVENI" dump --data-dir "$DIR/restored" --all 2>/dev/null | grep '"later' >/dev/null || die "what is later than the disposal is not restored"
[ "$(site_status gsr | jq -c '.trouble')" = '[]' ] || die "gsr tells trouble: $(site_status gsr | jq -c .trouble)"
echo "ok: at their date the $locked keys are gone from the bucket, in every version; everything later is there"
echo "s3_disposal: a bucket's locks are waited for, and no longer"
