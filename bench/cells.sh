# What bench/run.sh and bench/replication.sh share: peers that are missing, a cell, a system's turn. Source it after bench/systems.sh;
# needs BUILD, MAKE, WORK, WARM_MIB, SYSTEMS, MISSING, LINES_FILE, SECONDS_PER_CELL, RECORDS and a function cells_of SYSTEM, which prints
# "op clients depth value [options]" for each cell.

# ---- peers: a package or a program that cannot be had costs its figures, not the run ----
need() { # SYSTEM PROGRAM PACKAGES...
    local system=$1 program=$2 log=$WORK/need.log no_start=
    shift 2
    [[ " $SYSTEMS " == *" $system "* ]] || return 0
    # Debian starts the services of new packages unless told not to; we start our own.
    if [ "$(id -u)" = 0 ] && [ ! -e /usr/sbin/policy-rc.d ]; then
        no_start=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >$no_start && chmod 755 $no_start
    fi
    if ! tests/build/deps.sh "$@" >"$log" 2>&1 || ! $MAKE --no-print-directory "$BUILD/bench/$program" >>"$log" 2>&1; then
        MISSING+=("$system: $(grep -m 1 -E "error|could not|Unable" "$log" || tail -n 1 "$log")")
        SYSTEMS=" $SYSTEMS "
        SYSTEMS=${SYSTEMS/" $system "/ }
    fi
    [ -z "$no_start" ] || rm -f $no_start
}
# ---- memory: WARM_MIB of it are used right before each measurement; bench/warm_memory.c says why ----
warm_memory() {
    local free
    free=$(awk '/^MemAvailable/ { print int($2 / 2048) }' /proc/meminfo) # half of it, MiB
    [ "$WARM_MIB" = 0 ] || "$BUILD/bench/warm_memory" $((WARM_MIB < free ? WARM_MIB : free))
}
# ---- cells ----
run_cell() { # OP CLIENTS DEPTH VALUE [MORE]: prints the line
    local op=$1 clients=$2 depth=$3 value=$4 pid pids=() program=$PROGRAM
    shift 4
    [ "$program $op" != "load_site floor" ] || program=load_triveni # what one caller of the library waits for
    for pid in "${PIDS[@]}"; do pids+=(--pid "$pid"); done
    warm_memory
    timeout 120 "$BUILD/bench/$program" --system "$SYSTEM" --op "$op" --target "$TARGET" --clients "$clients" --depth "$depth" \
        --value "$value" --seconds "$SECONDS_PER_CELL" --records "$RECORDS" --rep "$REP" "${pids[@]}" "${EXTRA[@]}" "$@"
}

measure() { # OP CLIENTS DEPTH VALUE: adds the line to the results
    local line
    if line=$(run_cell "$@" 2>"$WORK/cell.err"); then
        echo "$line" >>"$LINES_FILE"
        printf '  %s %-16s %-18s %9.0f/s\n' "$REP" "$SYSTEM" "$*" "$(jq .per_second <<<"$line")" >&2
    else
        MISSING+=("$SYSTEM, $*, repetition $REP: $(tail -n 1 "$WORK/cell.err")")
    fi
}

# The disk alone, right before each system: what the disk could do just then, whoever else used it.
probe_disk() {
    local line
    PROGRAM=load_disk TARGET=$WORK PIDS=() EXTRA=()
    if line=$(SYSTEM=disk SECONDS_PER_CELL=1 run_cell put 1 1 1024 2>"$WORK/cell.err"); then
        jq -c --arg before "$SYSTEM" '. + {before: $before}' <<<"$line" >>"$LINES_FILE"
    else
        MISSING+=("disk before $SYSTEM, repetition $REP: $(tail -n 1 "$WORK/cell.err")")
    fi
}

one_system() {
    local cell
    probe_disk
    PIDS=() EXTRA=()
    if ! "${SYSTEM//-/_}_start"; then
        MISSING+=("$SYSTEM, repetition $REP: it did not start: $(tail -n 1 "$WORK/$SYSTEM.log" 2>/dev/null)")
        system_stop
        return
    fi
    while read -r cell; do
        # shellcheck disable=SC2086 # four words
        measure $cell
    done < <(cells_of "$SYSTEM")
    system_stop
    sync -f "$WORK" # the next one finds a quiet disk
}
