# The systems that are measured: for each NAME, with `-` written `_`,
#
#   NAME_start   start it in $WORK/NAME, listening on loopback; sets TARGET, PROGRAM, PIDS and, where needed, EXTRA
#   NAME_about   one line: version and the settings that matter
#
# and system_stop, which stops what NAME_start started, by pid. Every wait is bounded. Source it; needs BUILD and WORK.

TARGET= PROGRAM= PIDS=() EXTRA=()
PORT=0

free_port() {
    local try
    for try in $(seq 1 50); do
        PORT=$((20000 + (RANDOM % 2000) * 6))
        (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null || return 0
    done
    echo "bench: no free port" >&2
    return 1
}

# A program in the background, its output in $WORK/NAME.log.
launch() {
    local name=$1
    shift
    "$@" >>"$WORK/$name.log" 2>&1 &
    PIDS+=($!)
    disown
}

wait_port() {
    local i
    for i in $(seq 1 200); do
        (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && return 0
        kill -0 "${PIDS[0]}" 2>/dev/null || break
        sleep 0.05
    done
    echo "bench: it does not listen on port $PORT" >&2
    return 1
}

system_stop() {
    local pid i
    for pid in "${PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]}"; do
        for i in $(seq 1 200); do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    PIDS=()
}

# ---- Triveni ----
triveni_embedded_start() { PROGRAM=load_embedded TARGET=$WORK/triveni-embedded; rm -rf "$TARGET"; mkdir "$TARGET"; }
triveni_embedded_about() { echo "log and state in the process, acknowledged when durable, applied behind; checkpoint every 256 MiB"; }

# DIR SITES...: fresh data, started; TARGET is the file with the URI. STORE and REPLICATION are more settings of these sections.
triveni_cluster() {
    local dir=$1 site
    shift
    rm -rf "$dir"
    free_port
    "$BUILD/triveni" quickstart "$dir" --base-port "$PORT" >>"$WORK/quickstart.log" 2>&1
    # The defaults, instead of what suits a demonstration: among it a snapshot in the archive every 10,000 transactions.
    sed -i -e "s/^store:.*/store: {max_clients: 1024${STORE:+, $STORE}}/" \
        -e 's/^repository:.*/repository: {dir: gsr\/archive, kek_file: kek}/' "$dir"/*.yaml
    [ -z "${REPLICATION:-}" ] || sed -i "\$a replication: {$REPLICATION}" "$dir"/{dc,dr,gsr}.yaml
    if [ $# = 1 ]; then # a cluster with one member
        sed -i '/name: dr,/d; /name: gsr,/d' "$dir/dc.yaml"
        sed -i 's/\(:[0-9]*\),[^/]*/\1/' "$dir/client.uri"
        rm -rf "$dir/dc"
        mkdir "$dir/dc"
        "$BUILD/triveni" init --config "$dir/dc.yaml" --new-cluster >>"$WORK/quickstart.log" 2>&1
    fi
    for site; do launch "$(basename "$dir")" "$BUILD/triveni" serve --config "$dir/$site.yaml"; done
    PROGRAM=load_triveni TARGET=$dir/client.uri
    wait_port
}
triveni_single_start() { triveni_cluster "$WORK/triveni-single" dc && PROGRAM=load_site; }
triveni_single_about() { echo "$("$BUILD/triveni" --version), one site, TLS 1.3, defaults but for max_clients"; }
triveni_library_start() { triveni_cluster "$WORK/triveni-library" dc; }
triveni_library_about() { echo "the same through libtriveni, a handle with a thread of its own for each client"; }
triveni_three_start() { triveni_cluster "$WORK/triveni-three" dc dr gsr; }
triveni_three_about() { echo "the same, three sites on this machine and this disk, mode majority, archive included"; }

# ---- Redis ----
redis_start_with() { # NAME OPTIONS...
    local name=$1 dir=$WORK/$1
    shift
    rm -rf "$dir"
    mkdir "$dir"
    launch "$name" redis-server --bind 127.0.0.1 --dir "$dir" --save '' --appendonly yes --appendfsync always \
        --auto-aof-rewrite-percentage 0 --loglevel warning "$@"
    PROGRAM=load_redis TARGET=127.0.0.1:$PORT
    wait_port
}
redis_start() { free_port; redis_start_with redis --port "$PORT"; }
redis_about() { echo "$(redis-server --version | cut -d ' ' -f 1-3), appendfsync always, no AOF rewrite, plain TCP"; }
server_certificate() { # in $PKI, the same for all
    PKI=$WORK/pki/pki
    [ -d "$PKI" ] || "$BUILD/triveni" quickstart "$WORK/pki" >>"$WORK/quickstart.log" 2>&1
    EXTRA=(--tls --ca "$PKI/ca.crt")
}
redis_tls_start() {
    free_port
    server_certificate
    redis_start_with redis-tls --port 0 --tls-port "$PORT" --tls-cert-file "$PKI/dc.crt" --tls-key-file "$PKI/dc.key" \
        --tls-ca-cert-file "$PKI/ca.crt" --tls-auth-clients no --tls-protocols TLSv1.3
}
redis_tls_about() { echo "the same over TLS 1.3, server certificate only"; }

# ---- what TLS and the disk take by themselves ----
bare_tls_start() {
    free_port
    server_certificate
    launch bare-tls "$BUILD/bench/bare_server" "$PORT" "$PKI/dc.crt" "$PKI/dc.key" "$WORK/bare"
    PROGRAM=load_redis TARGET=127.0.0.1:$PORT
    wait_port
}
bare_tls_about() { echo "no store: TLS 1.3, one write for each batch, an answer (bench/bare_server.c)"; }

# ---- PostgreSQL ----
PG_BIN=/usr/lib/postgresql/15/bin
as_postgres() { # it refuses to run as root
    if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --clear-groups "$@"; else "$@"; fi
}
postgres_start() {
    local dir=$WORK/postgres
    free_port
    if [ ! -d "$dir" ]; then
        mkdir "$dir"
        [ "$(id -u)" != 0 ] || chown postgres "$dir"
        as_postgres "$PG_BIN/initdb" -D "$dir" -A trust -U bench -E UTF8 --locale C >>"$WORK/postgres.log" 2>&1
    fi
    [ "$(id -u)" != 0 ] || set -- setpriv --reuid postgres --regid postgres --clear-groups
    launch postgres "$@" "$PG_BIN/postgres" -D "$dir" -p "$PORT" -h 127.0.0.1 -k '' -c max_connections=300 -c shared_buffers=1GB \
        -c max_wal_size=8GB -c fsync=on -c synchronous_commit=on -c wal_compression=off
    PROGRAM=load_postgres TARGET="host=127.0.0.1 port=$PORT user=bench dbname=postgres"
    wait_port
    sleep 0.5
    [ -e "$dir/bench-filled" ] || { run_cell fill 1 1 1024 >/dev/null; as_postgres touch "$dir/bench-filled"; }
}
postgres_about() { echo "$("$PG_BIN/postgres" --version), synchronous_commit on, shared_buffers 1 GB, max_wal_size 8 GB, prepared, plain TCP"; }

# ---- OpenLDAP ----
openldap_start() {
    local dir=$WORK/openldap
    free_port
    if [ ! -d "$dir" ]; then
        mkdir -p "$dir/db"
        cat >"$dir/slapd.conf" <<CONF
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile $dir/slapd.pid
argsfile $dir/slapd.args
threads 16
database mdb
maxsize 8589934592
suffix "dc=bench"
rootdn "cn=admin,dc=bench"
rootpw bench
directory $dir/db
index objectClass eq
CONF
        "$BUILD/bench/load_ldap" --system ldap --op fill --records "$LDAP_RECORDS" --value 1024 |
            slapadd -q -f "$dir/slapd.conf" >>"$WORK/openldap.log" 2>&1
    fi
    launch openldap slapd -d 0 -h "ldap://127.0.0.1:$PORT" -f "$dir/slapd.conf"
    PROGRAM=load_ldap TARGET=ldap://127.0.0.1:$PORT EXTRA=(--records "$LDAP_RECORDS")
    wait_port
}
openldap_about() { echo "$(slapd -VV 2>&1 | sed -n 's/.*\(slapd [0-9.+a-z]*\).*/\1/p' | head -n 1), back-mdb, synced, $LDAP_RECORDS entries, plain TCP"; }

# ---- engines in the process ----
rocksdb_start() { PROGRAM=load_rocksdb TARGET=$WORK/rocksdb; rm -rf "$TARGET"; }
rocksdb_about() { echo "RocksDB $(dpkg-query -W -f '${Version}' librocksdb-dev), WAL synced, no compression, bloom filter, 1 GiB block cache"; }
lmdb_start() { PROGRAM=load_lmdb TARGET=$WORK/lmdb; rm -rf "$TARGET"; mkdir "$TARGET"; }
lmdb_about() { echo "LMDB $(dpkg-query -W -f '${Version}' liblmdb-dev), synced commits"; }
