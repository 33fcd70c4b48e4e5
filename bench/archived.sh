# What bench/restore.sh runs: for each system NAME_about and NAME_run, which adds lines to the results and fails when something
# did; and what only Triveni has. Source it after bench/systems.sh and bench/cells.sh; needs what those need, and of restore.sh: run, note, missed, bytes_in,
# REPS, BASE, TARGET_AT, TOTAL.
#
# All get the same versions of the same records (load_archive --op print), each a transaction of its own, in the same order.

ENTRY_BYTES=564 # of raw log, a version; near enough
archive() { # OP ARGS...: the load generator on our archive
    local op=$1
    shift
    "$BUILD/bench/load_archive" --system triveni --op "$op" --target "$WORK/archive" --records "$TOTAL" "$@"
}

# ---- Triveni ----
triveni_about() { echo "$("$BUILD/triveni" --version), AES-256-GCM, zstd, packs of 16 MiB, threads: as many as there are processors"; }

triveni_restore() { # PHASE VERSION: restore as it was after it, to $WORK/restored
    local time
    rm -rf "$WORK/restored"
    # Version n was committed n ms after this moment.
    time=$(awk -v n="$2" 'BEGIN { printf "%s.%03dZ", strftime("%Y-%m-%dT%H:%M:%S", 1700000000 + int(n / 1000), 1), n % 1000 }')
    run restore "$BUILD/triveni" restore -r "$WORK/archive" -k "$WORK/archive.kek" --to-time "$time" --into "$WORK/restored" -o json
    [ "$(jq .lsn "$WORK/restore.out")" = "$2" ]
    note --arg phase "$1" --argjson rep "$REP" --argjson wall "$WALL" --argjson cpu "$CPU" --argjson mb "$OWN_MB" \
        --slurpfile r "$WORK/restore.out" --argjson snapshot "$SNAPSHOT_PLAIN" --argjson log "$PLAIN" --argjson total "$TOTAL" \
        '$r[0] as $r | {system: "triveni", what: ("restore-" + $phase), rep: $rep, wall_s: $wall, cpu_s: $cpu, own_mb: $mb, records: $r.records,
          replayed: $r.entries, bytes: ($snapshot + $r.entries * ($log / $total))}'
}

triveni_verify() { # LEVEL, or keyless: intact, as who has no key sees it
    local with=(-k "$WORK/archive.kek" --level "$1")
    [ "$1" != keyless ] || with=(--level intact)
    run verify "$BUILD/triveni" archive verify -r "$WORK/archive" "${with[@]}" -o json
    [ "$(jq .damaged "$WORK/verify.out")" = 0 ]
    note --arg level "$1" --argjson rep "$REP" --argjson wall "$WALL" --argjson cpu "$CPU" --slurpfile r "$WORK/verify.out" \
        --argjson plain $((PLAIN + SNAPSHOT_PLAIN)) \
        '{system: "triveni", what: ("verify-" + $level), rep: $rep, wall_s: $wall, cpu_s: $cpu, stored_bytes: $r[0].bytes, raw_bytes: $plain}'
}

triveni_run() {
    local line
    # The snapshot stands where the peer's base backup does.
    archive archive --limit "$BASE" >"$WORK/fill1.json" 2>"$WORK/fill.err"
    line=$(archive base 2>"$WORK/fill.err")
    rm -rf "$WORK/archive.base"
    note --argjson b "$line" '{system: "triveni", what: "base", bytes: $b.plain_bytes, seconds: $b.seconds}'
    SNAPSHOT_PLAIN=$(jq .plain_bytes <<<"$line")
    archive archive >"$WORK/fill2.json" 2>"$WORK/fill.err"
    PLAIN=$(jq -s 'map(.plain_bytes) | add' "$WORK"/fill[12].json)
    note --slurpfile f <(cat "$WORK"/fill[12].json) --argjson stored "$(bytes_in "$WORK/archive")" \
        '($f | map(.plain_bytes) | add) as $n | ($f | map(.seal_s) | add) as $seal | ($f | map(.index_s) | add) as $index | ($f | map(.tree_s) | add) as $tree
         | {system: "triveni", what: "archive", raw_bytes: $n, pack_bytes: ($f | map(.pack_bytes) | add), stored_bytes: $stored, records: ($f | map(.versions) | add),
            seal_s: $seal, index_s: $index, tree_s: $tree, wall_s: ($seal + $index + $tree)}'
    for REP in $(seq 1 "$REPS"); do
        triveni_restore base "$BASE"
        triveni_restore time "$TARGET_AT"
        triveni_verify intact
        triveni_verify keyless
        triveni_verify readable
    done
    # What was restored, for the peer to be compared with.
    "$BUILD/triveni" dump --data-dir "$WORK/restored" passports 2>"$WORK/dump.err" | jq -j '.key, "\t", (.value | tojson), "\n"' | sha256sum >"$WORK/triveni.sum"
    rm -rf "$WORK/restored"
}

triveni_history() {
    TOTAL=$VERSIONS
    rm -rf "$WORK/archive" "$WORK"/archive.*
    note --argjson f "$(archive fill 2>"$WORK/history.err")" '{system: "triveni", what: "history-archive"} + $f'
    for REP in $(seq 1 "$REPS"); do
        note --argjson h "$(archive history --seconds "${HISTORY_SECONDS:-5}" 2>"$WORK/history.err")" --argjson rep "$REP" \
            '{system: "triveni", what: "history", rep: $rep} + ($h | del(.op, .system))'
    done
    rm -rf "$WORK/archive" "$WORK"/archive.*
}

# Three real sites under full load.
triveni_lag() {
    LOAD_SECONDS=$LAG_SECONDS PACK_SECONDS=10 SLACK_SECONDS=5 TMPDIR=$WORK tests/integration/lag.sh >"$WORK/lag.out" 2>"$WORK/lag.err" || {
        { grep -h '^FAILED' "$WORK/lag.out" || tail -n 3 "$WORK/lag.out"; } >>"$WORK/lag.err"
        return 1
    }
    note --argjson l "$(sed -n 's/^lag: figures: //p' "$WORK/lag.out")" '{system: "triveni", what: "lag"} + $l'
}

# ---- PostgreSQL with pgBackRest ----
pgbackrest_about() {
    echo "$(pgbackrest version), aes-256-cbc, zst, archive-async, process-max $(nproc); $("$PG_BIN/postgres" --version)," \
        "shared_buffers 1 GB, max_wal_size 8 GB, synchronous_commit off while it is filled"
}
pg() { psql -X -q -A -t -h 127.0.0.1 -p "$PORT" -U bench -d postgres -v ON_ERROR_STOP=1 "$@"; }
pgbr() { # COMMAND ARGS...
    as_postgres pgbackrest --config="$WORK/pg/pgbackrest.conf" --stanza=bench "$@"
}
pg_directory() {
    mkdir "$WORK/pg"
    mkdir "$WORK/pg"/{repo,log,lock,spool,socket}
    cat >"$WORK/pg/pgbackrest.conf" <<CONF
[global]
repo1-path=$WORK/pg/repo
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=a-pass-phrase-for-a-benchmark
repo1-retention-full=2
compress-type=zst
process-max=$(nproc)
archive-async=y
spool-path=$WORK/pg/spool
lock-path=$WORK/pg/lock
log-path=$WORK/pg/log
log-level-console=warn
start-fast=y
[bench]
pg1-path=$WORK/pg/data
pg1-port=$PORT
pg1-socket-path=$WORK/pg/socket
pg1-user=bench
pg1-database=postgres
CONF
    [ "$(id -u)" != 0 ] || chown -R postgres "$WORK/pg"
    as_postgres "$PG_BIN/initdb" -D "$WORK/pg/data" -A trust -U bench -E UTF8 --locale C >>"$WORK/pg.log" 2>&1
}
AS_POSTGRES=()
[ "$(id -u)" != 0 ] || AS_POSTGRES=(setpriv --reuid postgres --regid postgres --clear-groups)
pg_begin() { # DIR OPTIONS...: in the background, its log in $WORK/pg-server.log
    local dir=$1
    shift
    : >"$WORK/pg-server.log"
    launch pg-server "${AS_POSTGRES[@]}" "$PG_BIN/postgres" -D "$dir" -p "$PORT" -h 127.0.0.1 -k "$WORK/pg/socket" -c shared_buffers=1GB \
        -c max_wal_size=8GB -c synchronous_commit=off -c wal_level=replica -c log_checkpoints=off "$@"
}
pg_ready() { # SECONDS: until it takes writes
    local i
    for i in $(seq 1 $(($1 * 100))); do
        ! grep -q 'ready to accept connections' "$WORK/pg-server.log" || return 0
        kill -0 "${PIDS[-1]}" 2>/dev/null || break
        sleep 0.01
    done
    tail -n 3 "$WORK/pg-server.log" >"$WORK/pg.err"
    return 1
}
pg_archive() { # on|off: while it is off, segments wait
    local command=
    [ "$1" = off ] || command="pgbackrest --config=$WORK/pg/pgbackrest.conf --stanza=bench archive-push %p"
    pg -c "ALTER SYSTEM SET archive_command = '$command'" -c "SELECT pg_reload_conf()" >/dev/null
}
# All that waits is archived, as fast as it goes.
pg_archive_all() {
    local i last begin bytes
    bytes=$(pg -c "SELECT pg_current_wal_lsn() - '$1'")
    last=$(pg -c "SELECT pg_walfile_name(pg_switch_wal())")
    begin=$EPOCHREALTIME
    pg_archive on
    for i in $(seq 1 6000); do
        [[ "$(pg -c 'SELECT last_archived_wal FROM pg_stat_archiver')" < "$last" ]] || break
        sleep 0.05
    done
    note --arg from "$begin" --arg to "$EPOCHREALTIME" --argjson bytes "$bytes" --argjson n "$2" \
        '{system: "pgbackrest", what: "archive", raw_bytes: $bytes, records: $n, wall_s: (($to | tonumber) - ($from | tonumber))}'
}

pg_fill() {
    pg -c "CREATE TABLE passports(key text PRIMARY KEY, value text NOT NULL)" \
        -c "CREATE UNLOGGED TABLE versions(n bigint PRIMARY KEY, key text NOT NULL, value text NOT NULL)" -f - <<'SQL'
CREATE PROCEDURE apply(first bigint, last bigint) LANGUAGE plpgsql AS $$
DECLARE k text; v text;
BEGIN
    FOR i IN first..last LOOP
        SELECT key, value INTO k, v FROM versions WHERE n = i;
        INSERT INTO passports VALUES (k, v) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value;
        COMMIT;
    END LOOP;
END $$;
SQL
    archive print | pg -c "COPY versions FROM STDIN"
}

# Base backup, replay up to the moment, and until it takes writes again.
pg_restore() {
    local copied began_at wal i
    as_postgres rm -rf "$WORK/pg/restored"
    as_postgres mkdir -m 700 "$WORK/pg/restored"
    run copy pgbr --pg1-path="$WORK/pg/restored" --type=time --target="$MOMENT" --target-action=promote restore
    copied=$WALL
    began_at=$EPOCHREALTIME
    pg_begin "$WORK/pg/restored" -c archive_mode=off
    pg_ready 600
    WALL=$(awk -v a="$began_at" -v b="$EPOCHREALTIME" -v c="$copied" 'BEGIN { printf "%.3f", c + b - a }')
    # "redo starts at X", "redo done at Y system usage: ... elapsed: N s"
    wal=$(pg -c "SELECT pg_lsn '$(sed -n 's/.*redo done at \([0-9A-F/]*\).*/\1/p' "$WORK/pg-server.log")' - '$(sed -n 's/.*redo starts at \([0-9A-F/]*\).*/\1/p' "$WORK/pg-server.log")'")
    note --argjson rep "$REP" --argjson wall "$WALL" --argjson copy "$copied" --argjson wal "$wal" --argjson base "$BASE_BYTES" --argjson n $((TARGET_AT - BASE)) \
        --argjson cpu "$(sed -n 's/.*redo done at .* user: \([0-9.]*\) s, system: \([0-9.]*\) s.*/\1 \2/p' "$WORK/pg-server.log" | awk '{ print $1 + $2 }')" \
        --argjson redo "$(sed -n 's/.*redo done at .* elapsed: \([0-9.]*\) s.*/\1/p' "$WORK/pg-server.log")" \
        '{system: "pgbackrest", what: "restore-time", rep: $rep, wall_s: $wall, copy_s: $copy, replay_s: $redo, replay_cpu_s: $cpu, base_bytes: $base, wal_bytes: $wal,
          bytes: ($base + $wal), replayed: $n}'
}

# The records of both are the same, byte by byte.
pg_compare() {
    local ours
    pg -c "COPY (SELECT key || E'\t' || value FROM passports ORDER BY key COLLATE \"C\") TO STDOUT WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')" | sha256sum >"$WORK/pg.sum"
    [ -e "$WORK/triveni.sum" ] || return 0
    ours=$(cat "$WORK/triveni.sum")
    [ "$ours" = "$(cat "$WORK/pg.sum")" ] || { echo "the restored records differ from those that Triveni restored" >"$WORK/pg.err"; return 1; }
    note '{system: "pgbackrest", what: "equal"}'
}

pgbackrest_run() {
    local before
    free_port
    pg_directory
    pg_begin "$WORK/pg/data" -c archive_mode=on
    pg_ready 30
    pg_archive off
    pgbr stanza-create >"$WORK/pg.out" 2>"$WORK/pg.err"
    before=$(pg -c "SELECT pg_current_wal_lsn()")
    pg_fill
    pg -c "CALL apply(1, $BASE)"
    pg_archive_all "$before" "$BASE"
    run backup pgbr --type=full backup
    pgbr --output=json info >"$WORK/info.json" 2>"$WORK/pg.err"
    # The size of the files, and of the backup in the repository.
    BASE_BYTES=$(jq '.[0].backup[-1].info.size' "$WORK/info.json")
    note --argjson wall "$WALL" --slurpfile i "$WORK/info.json" '$i[0][0].backup[-1].info as $b
        | {system: "pgbackrest", what: "base", bytes: $b.size, stored_bytes: $b.repository.size, seconds: $wall}'
    pg_archive off
    before=$(pg -c "SELECT pg_current_wal_lsn()")
    pg -c "CALL apply($((BASE + 1)), $TARGET_AT)"
    sleep 0.2
    MOMENT=$(pg -c "SELECT clock_timestamp()")
    sleep 0.2
    pg -c "CALL apply($((TARGET_AT + 1)), $TOTAL)"
    pg_archive_all "$before" $((TOTAL - BASE))
    note --argjson stored "$(bytes_in "$WORK/pg/repo")" --argjson wal "$(bytes_in "$WORK/pg/repo/archive")" \
        '{system: "pgbackrest", what: "stored", stored_bytes: $stored, wal_bytes: $wal}'
    # restic keeps what is left here: without the table that is no part of any backup.
    pg -c "DROP TABLE versions"
    system_stop
    for REP in $(seq 1 "$REPS"); do
        pg_restore
        [ "$REP" != 1 ] || pg_compare
        system_stop
        run verify pgbr verify
        note --argjson rep "$REP" --argjson wall "$WALL" --argjson cpu "$CPU" --argjson stored "$(bytes_in "$WORK/pg/repo")" \
            '{system: "pgbackrest", what: "verify-readable", rep: $rep, wall_s: $wall, cpu_s: $cpu, stored_bytes: $stored}'
    done
    as_postgres rm -rf "$WORK/pg/restored"
}

# ---- restic: a directory of files, as it is now; no point in time between two backups ----
restic_about() { echo "$(restic version | cut -d ' ' -f 1-2), encrypted, compressed (repository version 2): the stopped directory of PostgreSQL; it has no point in time"; }
rst() { RESTIC_PASSWORD=bench restic --no-cache -q -r "$WORK/restic" "$@"; }
restic_run() {
    local raw
    [ -d "$WORK/pg/data/base" ] || { echo "there is no directory to keep: it is that of pgbackrest" >"$WORK/restic.err"; return 1; }
    raw=$(bytes_in "$WORK/pg/data")
    rst init --repository-version 2 >"$WORK/restic.out" 2>"$WORK/restic.err"
    run restic rst backup "$WORK/pg/data"
    note --argjson wall "$WALL" --argjson raw "$raw" --argjson stored "$(bytes_in "$WORK/restic")" \
        '{system: "restic", what: "archive", raw_bytes: $raw, stored_bytes: $stored, wall_s: $wall}'
    for REP in $(seq 1 "$REPS"); do
        rm -rf "$WORK/restic-restored"
        run restic rst restore latest --target "$WORK/restic-restored"
        note --argjson rep "$REP" --argjson wall "$WALL" --argjson raw "$raw" --argjson mb "$OWN_MB" \
            '{system: "restic", what: "restore", rep: $rep, wall_s: $wall, bytes: $raw}'
        rm -rf "$WORK/restic-restored"
        run restic rst check --read-data
        note --argjson rep "$REP" --argjson wall "$WALL" --argjson cpu "$CPU" --argjson stored "$(bytes_in "$WORK/restic")" --argjson raw "$raw" \
            '{system: "restic", what: "verify-readable", rep: $rep, wall_s: $wall, cpu_s: $cpu, stored_bytes: $stored, raw_bytes: $raw}'
    done
}
