# Replicated systems, as bench/systems.sh has single ones; and what is done to them. Source it after that.

# ---- Triveni: three sites, dc primary ----
SITES=(dc dr gsr) # PIDS has their processes in this order
trv() { timeout 40 "$BUILD/triveni" "$@" --profile "$CLUSTER/operator.yaml"; }
primary_now() { trv status -o json 2>/dev/null | jq -r '.primary // empty'; }
wait_sites() { trv status --wait "$1" >/dev/null 2>>"$WORK/triveni.log"; }
site_field() { # SITE JQ: of what that site says of itself
    local port
    port=$(sed -n "s/.*name: $1,.*client: '\([^']*\)'.*/\1/p" "$CLUSTER/dc.yaml")
    trv status -o json --endpoints "$port" --timeout 2s 2>/dev/null | jq -r --arg site "$1" ".sites[] | select(.name == \$site) | $2" 2>/dev/null
}
site_again() { # INDEX: start a site that was stopped
    launch "$(basename "$CLUSTER")" "$BUILD/triveni" serve --config "$CLUSTER/${SITES[$1]}.yaml"
    PIDS[$1]=${PIDS[-1]}
    unset 'PIDS[-1]'
}
process_gone() { # PID
    local i
    for i in $(seq 1 400); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.05
    done
    return 1
}
three_sites() { # NAME [MODE]
    CLUSTER=$WORK/$1
    triveni_cluster "$CLUSTER" dc dr gsr || return 1
    PROGRAM=load_site
    wait_sites primary || return 1
    if [ "$(primary_now)" != dc ]; then
        wait_sites equal && trv switchover --to dc >>"$WORK/$1.log" 2>&1
        wait_sites primary
    fi
    [ "${2:-majority}" = majority ] || trv mode "$2" >>"$WORK/$1.log" 2>&1 || return 1
    [ "$(primary_now)" = dc ] || { echo "bench: dc is not primary" >>"$WORK/$1.log"; return 1; }
}
triveni_majority_start() { three_sites triveni-majority; }
triveni_majority_about() { echo "$("$BUILD/triveni" --version), three sites, TLS 1.3, mode majority, archive included, defaults but for max_clients"; }
triveni_all_start() { three_sites triveni-all && EXTRA=(--level all); }
triveni_all_about() { echo "the same, each write at all three sites (--ack all)"; }
triveni_local_start() { three_sites triveni-local local; }
triveni_local_about() { echo "the same, mode local: on the primary's disk, shipped behind"; }
triveni_uncompressed_start() { REPLICATION='compression: 0' three_sites triveni-uncompressed; }
triveni_uncompressed_about() { echo "three sites, mode majority, links without compression (for the bytes on the links)"; }

# ---- Redis: a primary and a replica, both appendfsync always ----
redis_pair() { # NAME CLI-OPTIONS -- OPTIONS...
    local name=$1 cli=() i
    shift
    while [ "$1" != -- ]; do cli+=("$1") && shift; done
    shift
    redis_start_with "$name" "$@" || return 1
    local primary=$PORT target=$TARGET
    set -- "${@/#$primary/$((primary + 1))}"
    PORT=$((primary + 1))
    redis_start_with "$name-replica" "$@" --replicaof 127.0.0.1 "$primary" || return 1
    PORT=$primary TARGET=$target
    EXTRA+=(--wait 1)
    for i in $(seq 1 200); do
        redis-cli "${cli[@]}" -p "$primary" info replication 2>/dev/null | grep 'state=online' >/dev/null && return 0
        sleep 0.05
    done
    echo "bench: the replica does not connect" >>"$WORK/$name.log"
    return 1
}
redis_wait_start() { free_port; redis_pair redis-wait -- --port "$PORT"; }
redis_wait_about() { echo "$(redis-server --version | cut -d ' ' -f 1-3), appendfsync always at primary and replica, WAIT 1 after each write, plain TCP"; }
redis_wait_tls_start() {
    free_port
    server_certificate
    redis_pair redis-wait-tls --tls --cacert "$PKI/ca.crt" -- --port 0 --tls-port "$PORT" --tls-cert-file "$PKI/dc.crt" \
        --tls-key-file "$PKI/dc.key" --tls-ca-cert-file "$PKI/ca.crt" --tls-auth-clients no --tls-protocols TLSv1.3 --tls-replication yes
}
redis_wait_tls_about() { echo "the same over TLS 1.3, replication too"; }

# ---- PostgreSQL: a primary and a synchronous standby ----
pg_sync() { # SQL: one answer
    psql -X -A -t -h 127.0.0.1 -p "$PORT" -U bench -d postgres -c "$1" 2>>"$WORK/postgres-sync.log"
}
pg_launch() { # DIR PORT
    local user=()
    [ "$(id -u)" != 0 ] || user=(setpriv --reuid postgres --regid postgres --clear-groups)
    launch postgres-sync "${user[@]}" "$PG_BIN/postgres" -D "$1" -p "$2" -h 127.0.0.1 -k '' -c max_connections=300 -c shared_buffers=512MB \
        -c max_wal_size=8GB -c fsync=on -c synchronous_commit=on -c wal_compression=off -c wal_keep_size=1GB
}
postgres_sync_start() {
    local dir=$WORK/postgres-sync standby=$WORK/postgres-standby i
    free_port
    if [ ! -d "$dir" ]; then
        mkdir "$dir" "$standby"
        [ "$(id -u)" != 0 ] || chown postgres "$dir" "$standby"
        chmod 700 "$standby"
        as_postgres "$PG_BIN/initdb" -D "$dir" -A trust -U bench -E UTF8 --locale C >>"$WORK/postgres-sync.log" 2>&1 || return 1
    fi
    pg_launch "$dir" "$PORT"
    PROGRAM=load_postgres TARGET="host=127.0.0.1 port=$PORT user=bench dbname=postgres"
    wait_port || return 1
    sleep 0.5
    if [ ! -e "$dir/bench-filled" ]; then
        run_cell fill 1 1 1024 >/dev/null 2>>"$WORK/postgres-sync.log" || return 1
        as_postgres touch "$dir/bench-filled"
        as_postgres "$PG_BIN/pg_basebackup" -D "$standby" -c fast -h 127.0.0.1 -p "$PORT" -U bench >>"$WORK/postgres-sync.log" 2>&1 || return 1
        as_postgres touch "$standby/standby.signal"
    fi
    pg_sync "ALTER SYSTEM SET synchronous_standby_names = 'bench'" >/dev/null # -c of the standby's connection names it so
    echo "primary_conninfo = 'host=127.0.0.1 port=$PORT user=bench application_name=bench'" >>"$standby/postgresql.auto.conf"
    pg_launch "$standby" $((PORT + 1))
    pg_sync "SELECT pg_reload_conf()" >/dev/null
    for i in $(seq 1 200); do
        [ "$(pg_sync "SELECT sync_state FROM pg_stat_replication")" = sync ] && return 0
        sleep 0.05
    done
    echo "bench: the standby is not synchronous" >>"$WORK/postgres-sync.log"
    return 1
}
postgres_sync_about() { echo "$("$PG_BIN/postgres" --version), synchronous_commit on, one synchronous standby (streaming), shared_buffers 512 MB, prepared, plain TCP"; }

# ---- etcd: three nodes; the load goes to the leader, as is best for it ----
etcd_node() { # INDEX new|existing
    local base=$((PORT + 2 * $1)) k all=
    for k in 0 1 2; do all+=${all:+,}e$k=http://127.0.0.1:$((PORT + 2 * k + 1)); done
    launch etcd etcd --name "e$1" --data-dir "$WORK/etcd/$1" --initial-cluster-state "$2" --initial-cluster "$all" \
        --listen-client-urls "http://127.0.0.1:$base" --advertise-client-urls "http://127.0.0.1:$base" \
        --listen-peer-urls "http://127.0.0.1:$((base + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((base + 1))" \
        --quota-backend-bytes 8589934592 --logger zap --log-level error
}
etcd_leader() { # prints its index
    ETCDCTL_API=3 timeout 10 etcdctl --endpoints "$ETCD_ALL" endpoint status -w json 2>/dev/null |
        jq -r 'map(select(.Status.leader != 0 and .Status.leader == .Status.header.member_id))[0].Endpoint // empty' |
        sed 's/.*://' | awk -v base="$PORT" 'NF { print ($1 - base) / 2 }'
}
etcd_start() {
    local k i leader
    free_port
    rm -rf "$WORK/etcd"
    mkdir "$WORK/etcd"
    for k in 0 1 2; do etcd_node $k new; done
    ETCD_ALL=127.0.0.1:$PORT,127.0.0.1:$((PORT + 2)),127.0.0.1:$((PORT + 4))
    PROGRAM=load_etcd
    for i in $(seq 1 100); do
        leader=$(etcd_leader)
        [ -z "$leader" ] || break
        sleep 0.1
    done
    [ -n "$leader" ] || { echo "bench: no leader" >>"$WORK/etcd.log"; return 1; }
    TARGET=127.0.0.1:$((PORT + 2 * leader))
}
etcd_about() { echo "$(etcd --version | head -n 1), three nodes, gRPC to the leader, plain TCP"; }

# ---- bytes between the servers: what TCP has sent on connections that have servers at both ends ----
link_bytes() {
    local all
    all=$(for pid in "${PIDS[@]}"; do echo "$pid" && pgrep -P "$pid"; done | sort -u | tr '\n' ' ')
    ss -tinpHO state established 2>/dev/null | awk -v pids="$all" '
        BEGIN { n = split(pids, list, " "); for (i = 1; i <= n; i++) ours[list[i]] = 1 }
        match($0, /pid=[0-9]+/) && ours[substr($0, RSTART + 4, RLENGTH - 4)] {
            if (match($0, /bytes_sent:[0-9]+/)) sent[$3 " " $4] = substr($0, RSTART + 11, RLENGTH - 11)
        }
        END { for (s in sent) { split(s, end, " "); if ((end[2] " " end[1]) in sent) sum += sent[s] } printf "%.0f\n", sum }'
}
