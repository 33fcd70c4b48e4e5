#!/usr/bin/env bash
# Three real sites, each in a network namespace and on a file system of its own, under a checked workload, and a nemesis that does
# them harm at random: it kills, pauses, cuts off, slows down, fills disks, sets clocks, takes certificates away and gives orders at
# bad moments. tests/README.md tells what is checked and how to read the output.
#
# Usage: BUILD=build/gcc-release [SEED=N] [MINUTES=N] [KILLS=N] tests/nemesis/nemesis.sh
#
#   MINUTES   how long it goes on; 5, and with KILLS no limit
#   KILLS     until so many kill -9 were done: only kills then, in short rounds
#   SEED      which faults there are, in which order and for how long; printed. The moments are real ones and never quite the same.
#
# INVARIANTS, each of which fails the run:
#   1 When all is healed a write is acknowledged within SERVE_S, and all three sites have been compared and found equal at an lsn
#     behind that write within EQUAL_S (with KILLS: have it, and are compared in every tenth round); when clients rest, all three show one digest at one lsn.
#   2 What writers were told is so, in the end too: nothing acknowledged is lost, doubled, or there against what was said.
#   3 What clients of registers saw has a linear order, key by key.
#   4 No site ends by itself, but for one whose disk was filled to the last block: it must have said why, and comes back.
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
cd "$(dirname "$0")/../.."
BUILD=$(realpath "$BUILD")
KILLS=${KILLS:-0} SEED=${SEED:-$((SRANDOM % 1000000))}
[[ ${MINUTES:-0}/$KILLS/$SEED =~ ^[0-9]{1,9}/[0-9]{1,9}/[0-9]{1,9}$ ]] || {
    echo "nemesis: MINUTES, KILLS and SEED are whole numbers" >&2
    exit 2
}
MINUTES=${MINUTES:-$((KILLS > 0 ? 0 : 5))}
export BUILD MINUTES KILLS SEED TRIVENI=$BUILD/triveni
SERVE_S=30 EQUAL_S=90
. tests/lib/cluster.sh
. tests/lib/net.sh
net_enter tests/nemesis/nemesis.sh
. tests/nemesis/faults.sh
. tests/nemesis/report.sh

DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-nemesis.XXXXXX")
OUT=build/nemesis
mkdir -p "$OUT"
rm -rf "$OUT/failed"
MOUNTED=() ORDERS=() CLIENTS=() WHY=
finish() {
    local code=$? pid dir
    trap - EXIT
    for pid in "${CLIENTS[@]}" "${ORDERS[@]}"; do kill "$pid" 2>/dev/null || true; done
    [ "$code" = 0 ] || [ "$code" = 77 ] || failed
    cluster_stop
    net_delete
    for dir in "${MOUNTED[@]}"; do umount "$dir" || umount -l "$dir" || true; done
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT
trap 'fail "it was stopped"' INT TERM HUP
fail() {
    WHY=$*
    exit 1
}

limits() { echo "SEED=$SEED$([ "$KILLS" = 0 ] || echo " KILLS=$KILLS")$([ "$MINUTES" = 0 ] || echo " MINUTES=$MINUTES")"; }
now() { echo "${EPOCHREALTIME/./}"; } # microseconds
BEGAN=$(now)
# say TEXT: a line of the timeline.
say() {
    local t=$(($(now) - BEGAN))
    printf '%6d.%03d  %s\n' $((t / 1000000)) $((t / 1000 % 1000)) "$*" | tee -a "$DIR/timeline"
}

# ---- the cluster ----
# A small file system for each site: ext4 on a loop device, or a tmpfs where there are none.
disk_create() { # SITE
    local dir=$CLUSTER_DIR/$1 image=$DIR/disk-$1
    mv "$dir" "$dir.made"
    mkdir "$dir"
    truncate -s 4G "$image"
    if mkfs.ext4 -q -m 0 "$image" 2>/dev/null && mount -o loop "$image" "$dir" 2>/dev/null; then
        DISKS="ext4 on loop devices"
    else
        rm -f "$image"
        mount -t tmpfs -o size=2g tmpfs "$dir" || net_none "no file system can be mounted here"
        DISKS="tmpfs"
    fi
    MOUNTED+=("$dir")
    cp -a "$dir.made/." "$dir"
    rm -rf "$dir.made"
}
sites_create() {
    local site
    net_cluster_create "$DIR/cluster"
    "$TRIVENI" pki revoke --dir "$CLUSTER_DIR/pki" >/dev/null 2>&1 # signs an empty list
    sed -i 's#^tls: {#&crl: pki/ca.crl, #; s/reserve_mib: 64/reserve_mib: 32/' "$CLUSTER_DIR"/*r.yaml \
        "$CLUSTER_DIR/dc.yaml"
    SITE_ENV=("LD_PRELOAD=$BUILD/tests/lib/set_clock.so" "CLOCK_OFFSET_FILE=$DIR/clock-\${SITE}")
    for site in dc dr gsr; do
        clock_set "$site" 0
        disk_create "$site"
    done
    ca_create
    sites_start
    URI=$(cat "$CLUSTER_DIR/client.uri")
}

site_up() { site_alive "$1" || site_start "$1"; }

# What the sites say: PRIMARY, OTHER (the data site that is not) and TERM. Fails when there is no primary.
observe() {
    local end=$((SECONDS + SERVE_S))
    while [ $SECONDS -lt $end ]; do
        tv status -o json --timeout 2 >"$DIR/status" 2>"$DIR/status.log" || true
        read -r PRIMARY TERM < <(jq -r '[.sites[]? | select(.role == "primary")][0].name // "none", .term' "$DIR/status" 2>/dev/null | tr '\n' ' ') || true
        case ${PRIMARY:-none} in
        dc) OTHER=dr && return 0 ;;
        dr) OTHER=dc && return 0 ;;
        esac
        sleep 0.2
    done
    fail "no primary within $SERVE_S s"
}

# ---- the workload ----
CHAPTER=0
clients_start() {
    CHAPTER=$((CHAPTER + 1))
    CHAPTER_END=$((SECONDS + CHAPTER_S))
    # Not through a function: the shell that ran it would get the signal.
    ip netns exec "$NET_TAG-app" "$BUILD/tests/writers/writers" run --uri "$URI" --ledger "$DIR/ledger.$CHAPTER" --seconds 3600 --threads 4 --rate 80 \
        >"$DIR/writers.json" 2>"$DIR/writers.log" &
    CLIENTS=($!)
    ip netns exec "$NET_TAG-app" "$BUILD/tests/nemesis/registers" run --uri "$URI" --history "$DIR/history.$CHAPTER" --seconds 3600 --threads 6 --rate 160 \
        2>"$DIR/registers.log" &
    CLIENTS+=($!)
}
# All come to rest, are equal, and what they were told in this chapter is checked.
clients_check() {
    local pid
    for pid in "${CLIENTS[@]}"; do kill -TERM "$pid"; done
    wait "${CLIENTS[0]}" || fail "writers: $(tail -n 3 "$DIR/writers.log" "$DIR/writers.json")"
    wait "${CLIENTS[1]}" || fail "registers: $(tail -n 3 "$DIR/registers.log")"
    CLIENTS=()
    wait_equal $((EQUAL_S * 5)) >"$DIR/equal" 2>"$DIR/equal.log" || fail "$(cat "$DIR/equal.log")"
    ledger_verify "$CHAPTER"
    "$BUILD/tests/nemesis/registers" check "$DIR/history.$CHAPTER" >"$DIR/registers.json" 2>"$DIR/registers.bad" ||
        fail "registers: $(head -n 1 "$DIR/registers.bad")"
    report_chapter
    say "chapter $CHAPTER: $(jq -c '{acknowledged, longest_gap_ms, resent, unknown_committed, unknown_absent}' "$DIR/writers.json")," \
        "$(jq -c '{histories, linearizable, acknowledged, unknown}' "$DIR/registers.json"), equal at lsn $(cut -d' ' -f1 "$DIR/equal")"
}
ledger_verify() { # CHAPTER
    in_app "$BUILD/tests/writers/writers" verify --uri "$URI" --ledger "$DIR/ledger.$1" >"$DIR/verify.json" 2>"$DIR/verify.log" ||
        fail "ledger $1: $(cat "$DIR/verify.json"); $(head -n 3 "$DIR/verify.log")"
}

# ---- the plan ----
# Everything is drawn before a round begins, so that a seed stands for the same plan whatever comes of it.
draw() { REPLY=$(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1 + 1))); } # LOW HIGH
choose() { # WORD...
    draw 1 $#
    REPLY=${!REPLY}
}
draw_site() { choose primary primary primary other other gsr gsr; }

KINDS=(kill kill kill kill kill kill stop pause pause pause cut cut unplug link link oneway oneway mute slow lossy disk full clock clock expire revoke)
SECOND=(kill kill pause pause cut link oneway mute slow disk full clock)

# draw_fault KIND: F_KIND, F_ROLE (or two of a link), F_NUMBER, F_HOLD (ms).
draw_fault() {
    F_KIND=$1 F_NUMBER=0
    draw_site && F_ROLE=$REPLY
    draw 300 4000 && F_HOLD=$REPLY
    case $1 in
    kill | stop)
        choose 0 0 "$F_HOLD" && F_HOLD=$REPLY
        ;;
    pause) # shorter than a lease, about an election's time, longer
        draw 100 350 && F_HOLD=$REPLY
        draw 400 1200 && choose "$F_HOLD" "$REPLY" && F_HOLD=$REPLY
        draw 1500 5000 && choose "$F_HOLD" "$F_HOLD" "$REPLY" && F_HOLD=$REPLY
        ;;
    link | oneway)
        choose "${FAULT_PAIRS[@]}" && F_ROLE=$REPLY
        choose straight turned && [ "$REPLY" = straight ] || F_ROLE="${F_ROLE#* } ${F_ROLE% *}"
        ;;
    slow) draw 20 300 && F_NUMBER=$REPLY ;;
    lossy) draw 20 300 && F_NUMBER=$REPLY ;;
    disk | full) draw 1500 4000 && F_HOLD=$REPLY ;;
    clock) choose -172800 -7200 -3 -1 1 3 7200 172800 864000 && F_NUMBER=$REPLY ;;
    esac
}
# Fault I of the round: kind, role, number, hold.
plan_fault() { # I KIND
    draw_fault "$2"
    P_KIND[$1]=$F_KIND P_ROLE[$1]=$F_ROLE P_NUMBER[$1]=$F_NUMBER P_HOLD[$1]=$F_HOLD
}
plan() {
    local i
    P_KIND=() P_ROLE=() P_NUMBER=() P_HOLD=() P_ORDER=
    draw 0 1000 && P_WAIT=$REPLY
    draw 0 900 && P_BETWEEN=$REPLY
    draw 0 300 && P_ORDER_AFTER=$REPLY
    draw 0 700 && P_HEAL_APART=$REPLY
    draw 1 100 && P_LUCK=$REPLY
    if [ "$KILLS" -gt 0 ]; then # one to three
        P_WAIT=$((P_WAIT / 4))
        for ((i = 0; i < 1 + (P_LUCK > 35) + (P_LUCK > 80); i++)); do
            plan_fault "$i" kill
            P_HOLD[$i]=$((P_HOLD[i] / 4))
        done
        return 0
    fi
    choose "${KINDS[@]}" && plan_fault 0 "$REPLY"
    case ${P_KIND[0]} in expire | revoke) P_LUCK=100 ;; esac # who is dead then cannot start again
    choose "${SECOND[@]}" && plan_fault 1 "$REPLY"
    if [ "$P_LUCK" -le 30 ]; then
        [ "${P_ROLE[0]}" != "${P_ROLE[1]}" ] || P_ROLE[1]=$([ "${P_ROLE[0]}" = gsr ] && echo primary || echo gsr)
    else
        unset "P_KIND[1]"
    fi
    choose switchover failover && F_KIND=$REPLY
    choose dc dr && F_ROLE=$REPLY
    [ "$P_LUCK" -gt 20 ] && [ "$P_LUCK" -le 50 ] && P_ORDER="$F_KIND $F_ROLE"
    return 0
}

# ---- a round ----
nap() { sleep "$(($1 / 1000)).$(printf '%03d' $(($1 % 1000)))"; } # milliseconds
FAULTS=0 KILLED=0 ROUNDS=0
declare -A COUNT=()
begin_fault() { # I
    local site=${P_ROLE[$1]} kind=${P_KIND[$1]}
    case $site in primary) site=$PRIMARY ;; other) site=$OTHER ;; esac
    P_SITE[$1]=$site
    case $kind in kill | stop | pause) site_alive "$site" || return 0 ;; esac # it is dead already
    FAULTS=$((FAULTS + 1)) COUNT[$kind]=$((${COUNT[$kind]:-0} + 1))
    say "$kind $site$([ "${P_NUMBER[$1]}" = 0 ] || echo " ${P_NUMBER[$1]}")$([ "$site" != "$PRIMARY" ] || echo ', the primary')," \
        "for ${P_HOLD[$1]} ms"
    if [ "$kind" = kill ]; then
        KILLED=$((KILLED + 1))
        # To be timed: the primary, in a round that has no other fault.
        [ "$site" != "$PRIMARY" ] || [ ${#P_KIND[@]} != 1 ] || [ -n "$P_ORDER" ] || echo "$(now) $TERM" >>"$DIR/kills.$CHAPTER"
    fi
    "begin_$kind" $site "${P_NUMBER[$1]}" # a link is two words
    [ "${P_HOLD[$1]}" != 0 ] || end_fault "$1" # so that it may be killed again while it starts
}
end_fault() { # I
    nap "${P_HOLD[$1]}"
    "end_${P_KIND[$1]}" ${P_SITE[$1]} "${P_NUMBER[$1]}"
}
round() {
    local i site
    plan
    observe
    P_SITE=() MAY_END=()
    nap "$P_WAIT"
    begin_fault 0
    [ -z "$P_ORDER" ] || {
        nap "$P_ORDER_AFTER"
        say "order: $P_ORDER"
        FAULTS=$((FAULTS + 1)) COUNT[${P_ORDER% *}]=$((${COUNT[${P_ORDER% *}]:-0} + 1))
        order $P_ORDER
    }
    for ((i = 1; i < ${#P_KIND[@]}; i++)); do
        nap "$P_BETWEEN"
        begin_fault "$i"
    done
    for i in "${!P_KIND[@]}"; do
        end_fault "$i"
        [ "$((i + 1))" = ${#P_KIND[@]} ] || nap "$P_HEAL_APART"
    done
    net_heal
    for i in "${ORDERS[@]}"; do wait "$i" || true; done
    ORDERS=()
    settle
}
everywhere() { # LSN: all three have it in their states
    tv status -o json --timeout 2 >"$DIR/status" 2>"$DIR/status.log" &&
        [ "$(jq --argjson lsn "$1" '[.sites[] | select(.up and .applied >= $lsn)] | length' "$DIR/status")" = 3 ]
}
may_have_ended() { # for want of space, and it must have said so
    [ -n "${MAY_END[$1]:-}" ] || return 1
    say "$1 had ended: $(tail -n 1 "$CLUSTER_DIR/$1.log" | cut -c1-160)"
    site_start "$1"
}
# All is healed: they must serve, and become equal.
settle() {
    local site lsn began=$SECONDS said start
    for site in dc dr gsr; do
        site_alive "$site" || may_have_ended "$site" || fail "$site ended by itself"
    done
    start=$(now)
    until said=$(tv put nemesis round "$FAULTS" --timeout $SERVE_S 2>&1); do
        [ $((SECONDS - began)) -lt $SERVE_S ] || fail "no write was acknowledged within $SERVE_S s after all was healed: $said"
    done
    lsn=$(sed -n 's/^committed at lsn \([0-9]*\),.*/\1/p' <<<"$said")
    [ -n "$lsn" ] || fail "a put says: $said"
    report_most served $(($(now) - start))
    ROUNDS=$((ROUNDS + 1))
    until everywhere "$lsn"; do
        [ $((SECONDS - began)) -lt $EQUAL_S ] || fail "lsn $lsn is not at all sites within $EQUAL_S s"
        sleep 0.1
    done
    [ "$KILLS" = 0 ] || [ $((ROUNDS % 10)) = 0 ] || return 0 # a comparison takes a second or two
    while true; do
        tv status -o json --timeout 2 >"$DIR/status" 2>"$DIR/status.log" || true
        case $(jq -r --argjson lsn "$lsn" '[.sites[]? | select(.role == "primary") | .care] | if length != 1 then "wait"
            elif .[0].differs then "differs" elif ([.[0].compared[] | select(.equal and .lsn >= $lsn)] | length) == 2 then "equal"
            else "wait" end' "$DIR/status" 2>/dev/null || echo wait) in
        equal) break ;;
        differs) fail "the states of the sites differ: $(jq -c '[.sites[].care.difference]' "$DIR/status")" ;;
        esac
        [ $((SECONDS - began)) -lt $EQUAL_S ] || fail "the sites are not equal at lsn $lsn within $EQUAL_S s"
        sleep 0.1
    done
    report_most equal $(($(now) - start))
}

# The checkers can fail: a read of what was replaced, and a ledger of what was never written.
checkers_prove() {
    printf '%s\n' 'k 0 p 7 0 10 20 o 1' 'k 0 p 8 0 30 40 o 1' 'k 1 r 7 0 50 60 o 0' >"$DIR/planted"
    ! "$BUILD/tests/nemesis/registers" check "$DIR/planted" >"$DIR/planted.json" 2>"$DIR/planted.log" &&
        grep -q "NOT LINEARIZABLE" "$DIR/planted.log" || fail "a planted stale read is not found: $(cat "$DIR/planted.log")"
    echo "never-written 1" >"$DIR/planted"
    ! in_app "$BUILD/tests/writers/writers" verify --uri "$URI" --ledger "$DIR/planted" >"$DIR/planted.json" 2>"$DIR/planted.log" &&
        [ "$(jq .lost "$DIR/planted.json")" = 1 ] || fail "a planted loss is not found: $(cat "$DIR/planted.log")"
}

# ---- from start to verdict ----
net_create "$DIR"
sites_create
RANDOM=$((SEED % 32768))
SEED_HIGH=$((SEED / 32768))
for ((i = 0; i < SEED_HIGH % 1000; i++)); do draw 0 1; done
CHAPTER_S=$([ "$KILLS" -gt 0 ] && echo 60 || echo 30)
END=$((MINUTES == 0 ? 1 << 40 : SECONDS + MINUTES * 60))
echo "nemesis: $(limits); disks: $DISKS; network: tests/nemesis/wire," \
    "which delays and loses frames by itself; sites: $TRIVENI"
observe
checkers_prove
more() { [ $SECONDS -lt "$END" ] && { [ "$KILLS" = 0 ] || [ "$KILLED" -lt "$KILLS" ]; }; }
while more; do
    clients_start
    while more && [ $SECONDS -lt $CHAPTER_END ]; do round; done
    clients_check
done
for ((i = 1; i <= CHAPTER; i++)); do
    ledger_verify "$i"
    report_ledger
done
report
