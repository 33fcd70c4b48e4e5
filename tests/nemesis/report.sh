# What came of a run of the nemesis: figures by chapter, the table, build/nemesis/report.json, and what to look at after a failure.

declare -A MOST=([served]=0 [equal]=0 [gap]=0)
ACKNOWLEDGED=0 CHECKED=0 HISTORIES=0 LOST=0 DOUBLED=0 UNKNOWN=0

report_most() { # NAME MICROSECONDS
    [ "${MOST[$1]}" -ge "$2" ] || MOST[$1]=$2
}

# Of the chapter that has ended: what was acknowledged, the longest time without, and how long each killed primary was missed,
# which is until the first write that was acknowledged in a later term.
report_chapter() {
    local gap
    ACKNOWLEDGED=$((ACKNOWLEDGED + $(jq .acknowledged "$DIR/writers.json") + $(jq .acknowledged "$DIR/registers.json")))
    HISTORIES=$((HISTORIES + $(jq .linearizable "$DIR/registers.json")))
    UNKNOWN=$((UNKNOWN + $(jq .unknown "$DIR/registers.json") + $(jq '.unknown_committed + .unknown_absent' "$DIR/writers.json")))
    touch "$DIR/kills.$CHAPTER"
    awk '$8 == "o" && $3 != "r" { printf "%.0f %d\n", $7 / 1000, $9 }' "$DIR/history.$CHAPTER" | sort -n >"$DIR/acknowledged"
    gap=$(awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { printf "%.0f", most }' "$DIR/acknowledged")
    report_most gap "$gap"
    awk -v offset="$(sed -n 's/^# offset //p' "$DIR/history.$CHAPTER")" '
        NR == FNR { at[NR] = $1; term[NR] = $2; n = NR; next }
        { for (i = 1; i <= n; i++) if (at[i] > $1 - offset && term[i] > $2) { printf "%.0f\n", at[i] - $1 + offset; next } }
    ' "$DIR/acknowledged" "$DIR/kills.$CHAPTER" >>"$DIR/missed"
}

report_ledger() {
    CHECKED=$((CHECKED + $(jq .checked "$DIR/verify.json")))
    LOST=$((LOST + $(jq .lost "$DIR/verify.json")))
    DOUBLED=$((DOUBLED + $(jq '.doubled + .resurrected' "$DIR/verify.json")))
}

ms() { echo "$((($1 + 500) / 1000))"; }
# quantile PERCENT: of the times in $DIR/missed, in ms; "null" of none.
quantile() {
    sort -n "$DIR/missed" | awk -v p="$1" '{ v[NR] = $1 } END {
        if (NR == 0) { print "null"; exit }
        at = NR * p / 100; at = at > int(at) ? int(at) + 1 : int(at); printf "%.0f\n", v[at < 1 ? 1 : at] / 1000 }'
}

report() {
    local kind elections timed verdict
    touch "$DIR/missed"
    elections=$(cat "$CLUSTER_DIR"/*.log | sed -n 's/.*: term \([0-9]*\): this site is primary;.*/\1/p' | sort -u | wc -l)
    timed=$(wc -l <"$DIR/missed")
    for kind in "${!COUNT[@]}"; do printf '%s\t%d\n' "$kind" "${COUNT[$kind]}"; done | sort >"$DIR/counts"
    echo
    printf '%-52s %10s\n' "fault" "times"
    while read -r kind n; do printf '%-52s %10d\n' "$kind" "$n"; done <"$DIR/counts"
    printf '%-52s %10d\n' "elections" "$elections" "writes acknowledged" "$ACKNOWLEDGED" "writes looked for in the end" "$CHECKED" \
        "requests whose outcome was unknown at first" "$UNKNOWN" "chapters" "$CHAPTER"
    printf '%-52s %7d ms\n' "longest time without an acknowledged write" "$(ms "${MOST[gap]}")" \
        "longest from healed to an acknowledged write" "$(ms "${MOST[served]}")" "longest from healed to equal" "$(ms "${MOST[equal]}")"
    [ "$timed" = 0 ] || printf '%-52s p50 %s ms, p99 %s ms, max %s ms\n' "kill -9 of the primary to the first write ($timed timed)" \
        "$(quantile 50)" "$(quantile 99)" "$(quantile 100)"
    jq -n --arg seed "$SEED" --arg disks "$DISKS" --argjson seconds $((($(now) - BEGAN) / 1000000)) --argjson faults "$FAULTS" \
        --argjson kills "$KILLED" --argjson elections "$elections" --argjson acknowledged "$ACKNOWLEDGED" --argjson checked "$CHECKED" \
        --argjson lost "$LOST" --argjson doubled "$DOUBLED" --argjson histories "$HISTORIES" --argjson unknown "$UNKNOWN" \
        --argjson gap "$(ms "${MOST[gap]}")" --argjson served "$(ms "${MOST[served]}")" --argjson equal "$(ms "${MOST[equal]}")" \
        --argjson timed "$timed" --argjson p50 "$(quantile 50)" --argjson p99 "$(quantile 99)" --argjson max "$(quantile 100)" \
        --argjson kinds "$(jq -R 'split("\t") | {(.[0]): (.[1] | tonumber)}' "$DIR/counts" | jq -s 'add // {}')" '
        {seed: ($seed | tonumber), seconds: $seconds, disks: $disks, faults: $faults, kinds: $kinds, kills: $kills,
         elections: $elections, acknowledged: $acknowledged, checked: $checked, lost: $lost, doubled: $doubled,
         histories_linearizable: $histories, unknown_at_first: $unknown, longest_gap_ms: $gap, longest_to_serve_ms: $served,
         longest_to_equal_ms: $equal, primary_killed: {timed: $timed, p50_ms: $p50, p99_ms: $p99, max_ms: $max}}' >"$OUT/report.json"
    cp "$DIR/timeline" "$CLUSTER_DIR"/*.log "$OUT/"
    verdict="nemesis: $FAULTS faults, $KILLED kills, $ACKNOWLEDGED acknowledged, $LOST lost, $DOUBLED doubled, $HISTORIES histories linearizable"
    [ "$KILLED" -ge "$KILLS" ] || echo "the $MINUTES minutes were over before the $KILLS kills"
    echo "$verdict"
}

# Everything that tells why: shown in short, kept in build/nemesis/failed.
failed() {
    local file
    WHY=${WHY:-a command of the nemesis failed}
    mkdir -p "$OUT/failed"
    for file in "$DIR"/* "$DIR"/cluster/*.log; do
        [ ! -f "$file" ] || [[ $file == */disk-* ]] || cp "$file" "$OUT/failed/"
    done
    tv status >"$OUT/failed/status.txt" 2>&1 || true
    echo
    echo "nemesis: FAILED with SEED=$SEED: $WHY"
    echo "the timeline:"
    tail -n 60 "$DIR/timeline" 2>/dev/null | sed 's/^/    /'
    for file in "$DIR"/cluster/*.log; do
        echo "the end of $(basename "$file"):"
        tail -n 30 "$file" 2>/dev/null | sed 's/^/    /'
    done
    sed 's/^/    /' "$OUT/failed/status.txt"
    echo "kept in $OUT/failed: histories, ledgers, logs; again: make nemesis $(limits)"
}
