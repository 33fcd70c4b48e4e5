#!/usr/bin/env bash
# A site that is behind the log that the others keep comes back by itself: what the logs do not have any more comes from gsr's packs. A standby that
# was away; one that was made anew after its disk was lost, with init --rebuilt and serve alone; and one whose pack gsr cannot open:
# both sites say so, and it goes on when the key is back.
#
# Usage: BUILD=build/gcc-release tests/integration/refill.sh
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-refill.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 20 "$DIR"/cluster/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
die() { echo "FAILED: $*"; exit 1; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
# Logs of some MiB, packs sealed at once: what is older than a few seconds is in packs alone.
sed -i 's/segment_mib: 32/segment_mib: 1, log_retain_mib: 2, checkpoint_mib: 2, checkpoint_seconds: 1/; s/pack_seconds: 2/pack_seconds: 1/' ./*.yaml
sites_start
primary=$(wait_primary)
behind=$([ "$primary" = dc ] && echo dr || echo dc)

lines=0
load() { # N records of about 1 KiB
    seq "$lines" $((lines + $1 - 1)) | awk '{ printf "k%07d\t%s%01000d\n", $1, "v", $1 }' >"$DIR/lines.tsv"
    lines=$((lines + $1))
    tv load land "$DIR/lines.tsv" --name "upto$lines" --batch 20 >/dev/null 2>"$DIR/load.log" || { cat "$DIR/load.log"; die "load"; }
}
first_kept() { site_status "$1" | jq .first; }
recycled() { # SITE LSN: its log does not have the entry any more
    local i
    for i in $(seq 1 300); do
        [ "$(first_kept "$1")" -gt "$2" ] && return 0
        sleep 0.1
    done
    die "$1 still has lsn $2: its log begins at $(first_kept "$1")"
}
told() { # SITE TEXT
    local i
    for i in $(seq 1 300); do
        grep -q -- "$2" "$1.log" && return 0
        sleep 0.1
    done
    die "$1 does not tell: $2"
}
whole() { # SITE: equal, and nothing to complain of. Just after its start it may not know yet that something is wrong.
    local i
    wait_equal 300 >/dev/null
    for i in $(seq 1 300); do
        [ "$(site_status "$1" | jq -c '[.votes, .trouble]')" = '[true,[]]' ] && break
        [ "$i" != 300 ] || die "$1 is not whole: $(site_status "$1")"
        sleep 0.1
    done
    [ "$(tv get land k0000000 --standby --endpoints "127.0.0.1:$(client_port "$1")" --raw 2>/dev/null | wc -c)" = 1001 ] || die "$1 has lost the first record"
}

# ---- away for longer than the log reaches ----
load 2000
wait_equal >/dev/null
last=$(site_status "$behind" | jq .last)
site_kill "$behind" TERM
load 30000
recycled "$primary" $((last + 1))
recycled gsr $((last + 1))
sed -i 's/log_limit_mib: 2048/log_limit_mib: 16/' "$behind.yaml" # what comes is more than its log may hold: it is applied on the way
site_start "$behind"
whole "$behind" # whether it asks gsr before it hears the primary, or because that has it not, is a matter of milliseconds
echo "ok: $behind was away from lsn $last on: $(grep -o 'refilled up to.*' "$behind.log" | tail -n 1)"

# ---- its disk is lost ----
site_kill "$behind" KILL
rm -rf "$behind/data"
"$TRIVENI" init --config "$behind.yaml" --rebuilt >/dev/null 2>&1
: >"$behind.log"
site_start "$behind"
whole "$behind"
told "$behind" "caught up: this rebuilt site votes from now on"
[ "$(site_status "$behind" | jq .records)" = "$(site_status "$primary" | jq .records)" ] || die "$behind has not all records"
echo "ok: $behind was made anew: $(grep -o 'refilled up to.*' "$behind.log" | tail -n 1)"

# ---- a key of the archive is gone ----
last=$(site_status "$behind" | jq .last)
site_kill "$behind" TERM
load 8000
recycled "$primary" $((last + 1))
recycled gsr $((last + 1))
key=$(find gsr/archive/keys -name '*.pack.key' | sort | awk -F/ -v want="$last" '{ split($NF, p, "-"); if (p[1] + 0 <= want + 1 && want + 1 <= p[2] + 0) print }')
[ -n "$key" ] || die "no pack holds lsn $((last + 1))"
mv "$key" "$DIR/key"
: >gsr.log
site_start "$behind"
told gsr "archive: what $behind needs cannot be read: .*$(basename "$key")"
told "$behind" "gsr cannot give what follows $last"
shown() { # TEXT: a line of status that begins with !, soon
    local i
    for i in $(seq 1 100); do
        op status >"$DIR/status" || true
        grep -q "^! site $1" "$DIR/status" && return 0
        sleep 0.1
    done
    die "status does not show '$1': $(cat "$DIR/status")"
}
shown "gsr: the archive cannot give what another site needs: .*$(basename "$key" .key)"
shown "$behind: needs what follows lsn $last, which no site in reach can give"
mv "$DIR/key" "$key"
whole "$behind"
echo "ok: a key of the archive was missing, and is back"
echo "refill: all came back by themselves"
