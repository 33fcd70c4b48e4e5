#!/bin/bash
# The model of the protocol (triveni.pml), searched by spin in every order of its steps within the bounds that are printed. Then
# each planted bug, which must break a claim, and each thing that must be able to happen, lest the claims hold of nothing.
#
# Usage: model.sh [quick]      quick: smaller bounds and fewer bugs, less than a minute
#
# A search counts only when it has come to its end: states are kept whole (no hashing in their place), and one that meets the
# limit of depth, memory or time has failed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
model=$here/triveni.pml
work=$(mktemp -d "${TMPDIR:-/tmp}/triveni-model.XXXXXX")
trap 'rm -rf "$work"' EXIT
mode=${1:-full}
memory_mb=${MEMORY_MB:-6000}
depth=1000000
seconds_max=3600

# For a short search compiling takes longer than searching; a long one wants more slots (2^n) than it has states.
short=(-O0 22)
long=(-O2 25)
[ "$mode" = full ] || long=("${short[@]}")

claims=$(grep -c 'assert(.*/\* P[0-9]' "$model")
bad=0

# search BOUNDS [DEFINE]: 0 when no assertion failed, 1 when one did, and the script ends when neither is known. What it
# was is in $said.
search() {
    local what="$1${2:+ $2}" flags=() word began=$SECONDS errors
    for word in $what; do flags+=("-D$word"); done
    rm -rf "$work/run"
    mkdir "$work/run"
    cd "$work/run"
    spin "${flags[@]}" -a "$model" >out 2>&1 || give_up "$what"
    # No partial order reduction: there is one process, which does everything.
    gcc -w -DSAFETY -DNOREDUCE "-DMEMLIM=$memory_mb" "${effort[0]}" -o pan pan.c >>out 2>&1 || give_up "$what"
    timeout "$seconds_max" ./pan -m$depth "-w${effort[1]}" >out 2>&1 || give_up "$what"
    ! grep -qE 'search depth too small|out of memory|invalid array|hash-compact|Bit statespace' out || give_up "$what"
    errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' out)
    said="$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out) states, $((SECONDS - began)) s"
    case $errors in
    0)
        ! grep -q 'Search not completed' out || give_up "$what"
        ;;
    1)
        grep -q 'assertion violated' out || give_up "$what"
        spin "${flags[@]}" -k triveni.pml.trail -t "$model" >trail 2>&1 || true
        return 1
        ;;
    *)
        give_up "$what"
        ;;
    esac
}

give_up() {
    echo "model: the search ($1) did not come to its end:"
    tail -n 30 out
    exit 1
}

# The assertion that failed: the claim in the comment behind it, or what was reached.
broken_claim() {
    local line
    line=$(sed -n 's/^spin: .*triveni.pml:\([0-9]*\), Error: assertion violated.*/\1/p' trail | head -n 1)
    sed -n "${line:-1}{s|.*assert(.*/\* \(.*\) \*/.*|\1|p;s|.*REACHED(\([A-Z_]*\)).*|\1|p}" "$model"
}

# holds BOUNDS: no claim is broken.
holds() {
    effort=("${long[@]}")
    if search "$1"; then
        printf '  %-46s holds: %s\n' "$1" "$said"
    else
        printf '  %-46s BROKEN: %s; the way there:\n' "$1" "$(broken_claim)"
        grep -E '^ +(site|the) ' trail
        bad=$((bad + 1))
    fi
}

planted=0 found=0
# breaks BUG BOUNDS: the planted bug breaks a claim.
breaks() {
    effort=("${short[@]}")
    planted=$((planted + 1))
    if search "$2" "BUG_$1"; then
        printf '  %-22s %-32s NOT FOUND: %s\n' "$1" "$2" "$said"
        bad=$((bad + 1))
    else
        found=$((found + 1))
        printf '  %-22s %-32s breaks %s: %s\n' "$1" "$2" "$(broken_claim)" "$said"
    fi
}

# happens WHAT BOUNDS: there is a way to it.
happens() {
    effort=("${short[@]}")
    if search "$2" "REACH=$1"; then
        printf '  %-22s %-32s CANNOT HAPPEN: %s\n' "$1" "$2" "$said"
        bad=$((bad + 1))
    elif [ "$(broken_claim)" = "$1" ]; then
        printf '  %-22s %-32s happens: %s\n' "$1" "$2" "$said"
    else
        printf '  %-22s %-32s BROKEN before: %s\n' "$1" "$2" "$(broken_claim)"
        bad=$((bad + 1))
    fi
}

# Too long for the quick one.
full() {
    [ "$mode" = quick ] || "$@"
}

echo "claims, in every order of:"
if [ "$mode" = quick ]; then
    holds "TERMS=3 ENTRIES=2"
    holds "TERMS=2 ENTRIES=2 HANDOVERS=1"
    holds "TERMS=2 ENTRIES=2 WIPES=1"
    holds "TERMS=2 ENTRIES=2 DISK"
else
    holds "TERMS=4 ENTRIES=4"
    holds "TERMS=4 ENTRIES=3 HANDOVERS=2"
    holds "TERMS=3 ENTRIES=3 WIPES=1"
    holds "TERMS=3 ENTRIES=2 WIPES=2"
    holds "TERMS=3 ENTRIES=2 WIPES=1 HANDOVERS=1"
    holds "TERMS=3 ENTRIES=3 DISK"
    holds "TERMS=2 ENTRIES=2 WIPES=1 HANDOVERS=1 DISK"
fi

echo "what can happen:"
happens SECOND_ACKNOWLEDGES "TERMS=2 ENTRIES=3"
happens AMNESIAC_ELECTS "TERMS=2 ENTRIES=2 WIPES=1"
happens SUCCESSOR_LEADS "TERMS=2 ENTRIES=2 HANDOVERS=1"
happens FETCHED_SERVES "TERMS=3 ENTRIES=3"
full happens TWO_PRIMARIES "TERMS=2 ENTRIES=2"
full happens NEW_HAS_LEASE "TERMS=2 ENTRIES=2"
full happens CUT "TERMS=3 ENTRIES=2"
full happens TAKEN_BACK_SERVES "TERMS=2 ENTRIES=2 HANDOVERS=1"
full happens TAIL_LOST "TERMS=2 ENTRIES=2 DISK"

echo "planted bugs:"
breaks TWO_VOTES "TERMS=2 ENTRIES=2"
breaks VOTE_NOT_DURABLE "TERMS=2 ENTRIES=2"
breaks LOG_NOT_COMPARED "TERMS=2 ENTRIES=2"
breaks LEASE_FROM_RECEIPT "TERMS=2 ENTRIES=2"
breaks NO_WAIT_AFTER_START "TERMS=2 ENTRIES=2"
breaks NO_NOOP "TERMS=2 ENTRIES=2"
breaks ACK_BEFORE_DURABLE "TERMS=2 ENTRIES=2 DISK"
breaks LATE_HAND_OVER "TERMS=2 ENTRIES=2 HANDOVERS=1"
breaks AMNESIAC_VOTES "TERMS=2 ENTRIES=2 WIPES=1"
breaks READMITTED_UNCONFIRMED "TERMS=2 ENTRIES=2 WIPES=1"
breaks FETCH_BEYOND_TERM "TERMS=2 ENTRIES=3"
full breaks TERM_NOT_DURABLE "TERMS=2 ENTRIES=2"
full breaks PROMISE_IGNORED "TERMS=2 ENTRIES=2"
full breaks PAST_PRIMARY_HEARD "TERMS=2 ENTRIES=2"
full breaks OLD_TERM_COMMITS "TERMS=4 ENTRIES=2"
full breaks FETCH_CUTS_NEWER "TERMS=3 ENTRIES=2"
full breaks HAND_OVER_KEEPS_LEASE "TERMS=2 ENTRIES=2 HANDOVERS=1"
full breaks RESUMED_LEASE "TERMS=2 ENTRIES=2 HANDOVERS=1"
full breaks READMITTED_BEHIND "TERMS=2 ENTRIES=2 WIPES=1"
full breaks FORMER_SELF_COUNTS "TERMS=2 ENTRIES=2 WIPES=1"

if [ "$bad" != 0 ]; then
    echo "model: $bad of the above are not as they must be; $found of $planted planted bugs found"
    exit 1
fi
echo "model: $claims claims hold; $found of $planted planted bugs found"
