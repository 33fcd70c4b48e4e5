#!/usr/bin/env bash
# How far the archive lags behind three real sites that are written to as fast as they take it: `status` tells it all the time,
# truly, never more than the age of a pack and a slack, and 0 when nothing is written any more and all is sealed.
#
# Usage: BUILD=build/gcc-release tests/integration/lag.sh
#
#   LOAD_SECONDS=30   how long they are written to
#   PACK_SECONDS=4    repository.pack_seconds
#   SLACK_SECONDS=8   for the sealing of a pack and what else the archiver does between two, on a machine with other work
#
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
here=$(cd "$(dirname "$0")" && pwd)
export TRIVENI=$BUILD/triveni
unset TRIVENI_PROFILE TRIVENI_ENDPOINTS TRIVENI_CONFIG TRIVENI_OUTPUT
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-lag.XXXXXX")
. "$here/../lib/cluster.sh"
. "$here/../lib/expect.sh"
LOAD_SECONDS=${LOAD_SECONDS:-30} PACK_SECONDS=${PACK_SECONDS:-4} SLACK_SECONDS=${SLACK_SECONDS:-8}

cluster_create "$DIR/cluster"
# The defaults of the archive, not those of a demonstration.
sed -i "s|^repository:.*|repository: {dir: gsr/archive, kek_file: kek, pack_seconds: $PACK_SECONDS}|" "$DIR/cluster/gsr.yaml"
sites_start
wait_primary >/dev/null

# One sample a line: when, the last transaction, the archived one, the age of the archive in ms ("null": unknown), transactions behind.
samples=$DIR/samples
sample() {
    local answer asked=$EPOCHREALTIME
    answer=$(tv status -o json --timeout 5 2>/dev/null | jq -r '(.sites | map(.last // 0) | max) as $last | .sites[] | select(.name == "gsr")
        | [$last, .archived // 0, .ages.archived.ms, .ages.archived.entries] | map(tostring) | join(" ")' 2>/dev/null) || return 0
    [ -z "$answer" ] || echo "$asked $EPOCHREALTIME $answer" >>"$samples"
}

"$BUILD/tests/writers/writers" run --uri "$(cat "$DIR/cluster/client.uri")" --ledger "$DIR/ledger" --seconds "$LOAD_SECONDS" --threads 48 --value 350 \
    >"$DIR/writers.json" 2>"$DIR/err" &
writers=$!
while kill -0 "$writers" 2>/dev/null; do
    sample
    sleep 0.1
done
wait "$writers" || die "the writers: $(cat "$DIR/err")"
ended=$EPOCHREALTIME
answered=$(jq .acknowledged "$DIR/writers.json")
during=$(wc -l <"$samples")
[ "$during" -ge $((LOAD_SECONDS / 4)) ] || die "status answered only $during times in $LOAD_SECONDS s"
[ "$answered" -gt $((LOAD_SECONDS * 100)) ] || die "only $answered writes: that is no load"

# It is shown to people, too: the row of gsr has the age, and how many are missing.
expect 0 ARCHIVED "${TRIVENI}" status --profile "$DIR/cluster/client.yaml"

# Then it ends: what little is left is sealed after six times the age at the latest.
reached=
while [ -z "$reached" ]; do
    sample
    read -r _ now last archived ms entries < <(tail -n 1 "$samples")
    [ "$archived" != "$last" ] || [ "$entries" != 0 ] || [ "$ms" = null ] || [ "$ms" -ge 1000 ] || reached=$now
    awk -v a="$ended" -v b="$EPOCHREALTIME" -v most=$((PACK_SECONDS * 6 + SLACK_SECONDS * 2)) 'BEGIN { exit b - a <= most ? 0 : 1 }' ||
        die "the archive has not reached the end: $(tail -n 1 "$samples")"
    sleep 0.1
done
[ "$last" -gt "$answered" ] || die "$answered writes were answered, the log ends at $last"

# Most and truth. A sample that says "archived up to A, age a" is asked at t and answered at u: the first transaction after A was
# not there at the last sample j before that shows a newer one, so the true age is at least t - u(j), and what is told no less
# than that but for a quarter of a second.
awk -v during="$during" -v slack="$SLACK_SECONDS" -v pack="$PACK_SECONDS" '
    { t[NR] = $1; u[NR] = $2; last[NR] = $3; at[NR] = $4; ms[NR] = $5; behind[NR] = $6 }
    NR <= during && $5 == "null" { unknown++ }
    NR <= during && $5 != "null" && $5 > most { most = $5 }
    NR <= during && $6 != "null" && $6 > 0 { waited++ }
    END {
        j = 1
        for (i = 1; i <= NR; i++) {
            if (ms[i] == "null") continue
            while (j <= NR && last[j] <= at[i]) j++ # the first sample that shows what is missing
            if (j <= i && t[i] - u[j] > ms[i] / 1000 + 0.25) {
                printf "the age told is %.1f s, but lsn %d was there %.1f s before\n", ms[i] / 1000, last[j], t[i] - u[j]
                exit 1
            }
        }
        if (unknown > during / 4) { printf "the age was unknown in %d of %d samples\n", unknown, during; exit 1 }
        if (waited < during / 2) { printf "something waited in %d of %d samples: that was no load\n", waited, during; exit 1 }
        if (most > (pack + slack) * 1000) { printf "the archive was %.1f s behind, more than %d + %d s\n", most / 1000, pack, slack; exit 1 }
        printf "%.1f\n", most / 1000
    }' "$samples" >"$DIR/most" || die "$(cat "$DIR/most")"
jq -n -c --argjson most "$(cat "$DIR/most")" --argjson pack "$PACK_SECONDS" --argjson slack "$SLACK_SECONDS" --argjson n "$answered" --argjson s "$LOAD_SECONDS" \
    --argjson samples "$during" --argjson after "$(awk -v a="$ended" -v b="$reached" 'BEGIN { printf "%.1f", b - a }')" \
    '"lag: figures: \({pack_seconds: $pack, slack_s: $slack, most_s: $most, after_s: $after, answered_per_s: ($n / $s | floor), samples: $samples} | tojson)"' | jq -r .
echo "lag: $answered writes in $LOAD_SECONDS s, the archive at most $(cat "$DIR/most") s behind in $during samples, and then not at all"
