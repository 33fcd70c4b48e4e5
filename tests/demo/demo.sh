#!/usr/bin/env bash
# The demonstration: three real sites on loopback with TLS, real records, the loss of the primary, its return, and the past
# restored from the repository. Ends with "demo: N passed, 0 failed". KEEP=1 leaves the sites running.
#
# Usage: BUILD=build/gcc-release tests/demo/demo.sh
set -euo pipefail

: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
WRITERS=$BUILD/tests/writers/writers
HERE=$(dirname "$0")
KEEP=${KEEP:-}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-demo.XXXXXX")
# shellcheck source=tests/lib/cluster.sh
. "$HERE/../lib/cluster.sh"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else
    BOLD='' GREEN='' RED='' DIM='' PLAIN=''
fi
PASSED=0
FAILED=0
STARTED=$(date +%s)
chapter() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
say() { printf '  %s\n' "$*"; }
ok() {
    PASSED=$((PASSED + 1))
    printf '  %s✓%s %s\n' "$GREEN" "$PLAIN" "$*"
}
bad() {
    FAILED=$((FAILED + 1))
    printf '  %s✗ %s%s\n' "$RED" "$*" "$PLAIN"
}
check() { # check "what" command...: passes when the command does
    local what=$1
    shift
    if "$@"; then ok "$what"; else bad "$what"; fi
}
same() { # same "what" A B
    if [ "$2" = "$3" ]; then ok "$1: $2"; else bad "$1: $2, expected $3"; fi
}

finish() {
    local code=$?
    trap - EXIT
    if [ -n "$KEEP" ] && [ "$code" -eq 0 ]; then
        keep_note
        exit "$code"
    fi
    cluster_stop
    if [ "$code" -ne 0 ] && [ "$FAILED" -eq 0 ]; then
        printf '\n  %sThe demo stopped early; the ends of the sites'"'"' logs:%s\n' "$RED" "$PLAIN"
        tail -n 8 "$DIR"/cluster/*.log 2>/dev/null || true
        FAILED=1
    fi
    rm -rf "$DIR"
    chapter "Report"
    say "took $(($(date +%s) - STARTED)) s; nothing is left running, $DIR is removed"
    echo "demo: $PASSED passed, $FAILED failed"
    [ "$FAILED" -eq 0 ] && [ "$code" -eq 0 ]
}
keep_note() {
    chapter "The sites go on running (KEEP=1)"
    say "directory: $DIR/cluster    pids: ${SITE_PID[*]}"
    say "try:  $TRIVENI status --profile $DIR/cluster/client.yaml"
    say "      $TRIVENI get countries IN --profile $DIR/cluster/client.yaml"
    say "      $TRIVENI switchover --to dr --profile $DIR/cluster/operator.yaml"
    say "      $TRIVENI archive list --repository $DIR/cluster/gsr/archive --kek $DIR/cluster/kek"
    say "stop: kill ${SITE_PID[*]} && rm -rf $DIR"
    echo "demo: $PASSED passed, $FAILED failed"
}
trap finish EXIT


# ---------------------------------------------------------------------------------------------------------------
printf '%sTriveni: three sites keep one history%s\n' "$BOLD" "$PLAIN"

chapter "1. Three sites"
cluster_create "$DIR/cluster"
say "dc (data centre), dr (disaster recovery), gsr (secure repository), TLS 1.3, certificates made just now"
sites_start
URI=$(cat "$DIR/cluster/client.uri")
primary=$(wait_primary)
ok "three sites are up, primary: $primary"
if [ "$primary" != dc ]; then
    op switchover --to dc >/dev/null
    wait_primary dc >/dev/null
    say "moved the primary to dc, where this story begins"
fi
tv status | sed 's/^/  /'

chapter "2. Real records"
ISO=/usr/share/iso-codes/json
load_table() { # COLLECTION FILE JSON-KEY FIELD
    jq -c ".\"$3\"[]" "$ISO/$2" >"$DIR/$1.jsonl"
    tv load "$1" "$DIR/$1.jsonl" --key "$4" >/dev/null 2>"$DIR/load.log" || { cat "$DIR/load.log"; return 1; }
    printf '  %-14s %6d records\n' "$1" "$(wc -l <"$DIR/$1.jsonl")"
}
load_table countries iso_3166-1.json 3166-1 alpha_2
load_table subdivisions iso_3166-2.json 3166-2 code
load_table languages iso_639-3.json 639-3 alpha_3
load_table currencies iso_4217.json 4217 alpha_3
load_table scripts iso_15924.json 15924 alpha_4
tv point registers-loaded >/dev/null
lines=$(cat "$DIR"/{countries,subdivisions,languages,currencies,scripts}.jsonl | wc -l)
tv dump --all >"$DIR/registers.dump" 2>"$DIR/dump.log"
registers=$(grep -c -v '"collection":"load-progress"' "$DIR/registers.dump")
same "records in the store equal lines in the tables" "$registers" "$lines"
loads=$(grep -c '"collection":"load-progress"' "$DIR/registers.dump")
ok "restore point 'registers-loaded' is named"

awk -v n=20000 -v seed=7 -f "$HERE/passports.awk" </dev/null >"$DIR/passports.jsonl"
began=$(date +%s%N)
tv load passports "$DIR/passports.jsonl" --key application >/dev/null 2>"$DIR/load.log"
took=$((($(date +%s%N) - began) / 1000000))
say "passports       20000 records in $took ms ($((20000 * 1000 / took)) records/s), durable at two sites before each answer"
tv point passports-loaded >/dev/null

chapter "3. One history at three sites"
for site in dc dr gsr; do
    owner=$(tv get countries IN --standby --endpoints "127.0.0.1:$(client_port $site)" -o json 2>/dev/null | jq -r '.value.name // .value')
    same "read at $site: country IN" "$owner" "India"
done
equal=$(wait_equal) && ok "digests are equal at all three sites: lsn ${equal% *}, ${equal#* }" || bad "digests differ"

chapter "4. The primary dies"
say "8 writers through libtriveni, then SIGKILL to dc while they write"
"$WRITERS" run --uri "$URI" --ledger "$DIR/ledger" --seconds 8 --threads 8 >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
sleep 3
killed=$(date +%s%N)
site_kill dc KILL
wait_primary dr >/dev/null && ok "dr is primary $((($(date +%s%N) - killed) / 1000000)) ms after the kill (as polled from outside)"
wait "$writers" && written=ok || written=failed
[ "$written" = ok ] || sed 's/^/  /' "$DIR/writers.log"
gap=$(jq .longest_gap_ms "$DIR/writers.json")
say "acknowledged $(jq .acknowledged "$DIR/writers.json") writes, $(jq .per_second "$DIR/writers.json")/s over all; sent again after the failover: $(jq .resent "$DIR/writers.json")"
check "the writers went without an answer for $gap ms, no longer" test "$gap" -lt 5000
"$WRITERS" verify --uri "$URI" --ledger "$DIR/ledger" >"$DIR/verify.json" 2>"$DIR/verify.log" || sed 's/^/  /' "$DIR/verify.log"
same "acknowledged writes lost" "$(jq .lost "$DIR/verify.json")" 0
same "writes doubled" "$(jq .doubled "$DIR/verify.json")" 0
say "of $(jq .checked "$DIR/verify.json") checked one by one"

chapter "5. dc comes back"
began=$(date +%s%N)
site_start dc
equal=$(wait_equal) && ok "dc caught up in $((($(date +%s%N) - began) / 1000000)) ms; digests are equal again at lsn ${equal% *}" || bad "dc did not catch up"
answer=$(op switchover --to dc -o json)
wait_primary dc >/dev/null && ok "switched back to dc at lsn $(echo "$answer" | jq .lsn); pause $(echo "$answer" | jq .pause_ms) ms"

chapter "6. The past, from the repository alone"
"$TRIVENI" archive list --repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek" | sed 's/^/  /' | tail -n 5
began=$(date +%s%N)
"$TRIVENI" restore --repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek" --to-point registers-loaded \
    --into "$DIR/restored"  >"$DIR/restore.log" 2>&1 || sed 's/^/  /' "$DIR/restore.log"
took=$((($(date +%s%N) - began) / 1000000))
"$TRIVENI" dump --all --data-dir "$DIR/restored" >"$DIR/restored.dump" 2>>"$DIR/restore.log" || true
check "restored 'registers-loaded' in $took ms, digest compared" test -s "$DIR/restored.dump"
check "the restored records are byte for byte those dumped at that time ($registers, and $loads that say how far each load was)" \
    cmp -s "$DIR/registers.dump" "$DIR/restored.dump"
"$TRIVENI" archive verify --repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek" >"$DIR/verify.log" 2>&1 &&
    ok "archive verified: $(tail -n 1 "$DIR/verify.log")" || { bad "archive verify"; cat "$DIR/verify.log"; }

chapter "7. How it stands"
tv status | sed 's/^/  /'
if [ -z "$KEEP" ]; then
    cluster_stop
    leftover=$(pgrep -f "$DIR/cluster" || true)
    check "nothing is left running" test -z "$leftover"
fi
[ "$FAILED" -eq 0 ]
