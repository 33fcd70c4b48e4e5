# Three real sites on loopback, for the demo and the integration tests. Source it, then:
#
#   cluster_create DIR [EXTRA YAML LINES]   certificates, configurations, empty data directories
#   operators_create NAME...                certificates of further operators, and profiles DIR/NAME.yaml
#   site_start NAME [MORE ARGS]             start one site; its log is DIR/NAME.log
#   site_kill NAME SIGNAL                   send a signal to it, and wait until it is gone (KILL, TERM)
#   wait_primary [NAME]                     wait until a primary serves (that one, when named); prints its name
#   wait_equal                              wait until all running sites have the same lsn and digest; prints "LSN DIGEST".
#                                           Nobody may write meanwhile: the sites are asked one after the other
#   wait_caught_up                          wait until all running sites have applied what one of them has now
#   tv ARGS...                              the triveni binary with the client's profile
#   op ARGS...                              ... with the operator's profile
#   cluster_stop                            stop whatever was started; always call it from a trap
#
# Only processes that were started here are ever stopped, by their pid. Every wait is bounded.

TRIVENI=${TRIVENI:?set TRIVENI to the binary}
declare -A SITE_PID=()
CLUSTER_DIR=
CLUSTER_PORT=

# A base port with room for the sites (+0 to +5), all free just now.
free_base_port() {
    local try base port
    for try in $(seq 1 50); do
        base=$((20000 + (RANDOM % 500) * 20))
        for port in $(seq "$base" $((base + 5))); do
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
                continue 2
            fi
        done
        echo "$base"
        return 0
    done
    echo "no free ports found" >&2
    return 1
}

cluster_create() {
    CLUSTER_DIR=$1
    CLUSTER_PORT=$(free_base_port)
    "$TRIVENI" quickstart "$CLUSTER_DIR" --base-port "$CLUSTER_PORT" >"$CLUSTER_DIR.quickstart.log" 2>&1 || {
        cat "$CLUSTER_DIR.quickstart.log" >&2
        return 1
    }
    rm -f "$CLUSTER_DIR.quickstart.log"
}

operators_create() {
    local name
    for name; do
        "$TRIVENI" pki operator "$name" --dir "$CLUSTER_DIR/pki" >/dev/null 2>&1
        sed "s#pki/admin\.#pki/$name.#" "$CLUSTER_DIR/operator.yaml" >"$CLUSTER_DIR/$name.yaml"
    done
}

site_start() {
    local site=$1
    shift
    "$TRIVENI" serve --config "$CLUSTER_DIR/$site.yaml" "$@" >>"$CLUSTER_DIR/$site.log" 2>&1 &
    SITE_PID[$site]=$!
    disown "${SITE_PID[$site]}" # no word from the shell when it is killed
}

sites_start() {
    local site
    for site in dc dr gsr; do site_start "$site"; done
}

site_alive() {
    [ -n "${SITE_PID[$1]:-}" ] && kill -0 "${SITE_PID[$1]}" 2>/dev/null
}

site_kill() {
    local site=$1 signal=$2 pid=${SITE_PID[$1]:-} i
    [ -n "$pid" ] || return 0
    kill -"$signal" "$pid" 2>/dev/null || true
    case $signal in STOP | CONT) return 0 ;; esac
    for i in $(seq 1 200); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    if kill -0 "$pid" 2>/dev/null; then
        echo "site $site (pid $pid) did not stop after $signal" >&2
        kill -KILL "$pid" 2>/dev/null || true
    fi
    unset "SITE_PID[$site]"
}

cluster_stop() {
    local site
    for site in "${!SITE_PID[@]}"; do
        kill -CONT "${SITE_PID[$site]}" 2>/dev/null || true
        site_kill "$site" TERM
    done
}

tv() { "$TRIVENI" "$@" --profile "$CLUSTER_DIR/client.yaml"; }
op() { "$TRIVENI" "$@" --profile "$CLUSTER_DIR/operator.yaml"; }

client_port() {
    case $1 in dc) echo "$CLUSTER_PORT" ;; dr) echo $((CLUSTER_PORT + 2)) ;; gsr) echo $((CLUSTER_PORT + 4)) ;; esac
}
peer_port() { echo $(($(client_port "$1") + 1)); }

# What one site says of itself, as JSON; empty when it does not answer.
site_status() {
    tv status -o json --endpoints "127.0.0.1:$(client_port "$1")" --timeout 2 2>/dev/null |
        jq -c --arg site "$1" '.sites[]? | select(.name == $site)' 2>/dev/null || true
}

# The name of the site that serves as primary; fails when there is none.
current_primary() {
    local site answer
    for site in dc dr; do
        site_alive "$site" || continue
        answer=$(tv status -o json --endpoints "127.0.0.1:$(client_port "$site")" --timeout 2 2>/dev/null |
            jq -r --arg site "$site" '[.sites[]? | select(.name == $site and .role == "primary" and .serving != false)] | length' 2>/dev/null || echo 0)
        if [ "${answer:-0}" = 1 ]; then
            echo "$site"
            return 0
        fi
    done
    return 1
}

wait_primary() {
    local wanted=${1:-} i found
    for i in $(seq 1 150); do
        found=$(current_primary || true)
        if [ -n "$found" ] && { [ -z "$wanted" ] || [ "$wanted" = "$found" ]; }; then
            echo "$found"
            return 0
        fi
        sleep 0.1
    done
    echo "no primary ${wanted:+$wanted }within 15 s; logs are in $CLUSTER_DIR" >&2
    return 1
}

# digests: "LSN DIGEST" of every running site; "SITE is silent" for one that does not answer.
digests() {
    local site
    for site in dc dr gsr; do
        site_alive "$site" || continue
        site_status "$site" | jq -er '"\(.digest_lsn) \(.digest)"' || echo "$site is silent"
    done
}

# Sites that are running agree on lsn and digest, with nothing left to apply.
wait_equal() {
    local i all=
    for i in $(seq 1 "${1:-150}"); do
        all=$(digests | sort -u)
        if [ -n "$all" ] && [ "$(wc -l <<<"$all")" = 1 ] && [[ "$all" != *silent ]]; then
            echo "$all"
            return 0
        fi
        sleep 0.1
    done
    echo "the sites do not become equal: $(tr '\n' '|' <<<"$all")" >&2
    return 1
}

wait_caught_up() {
    local i wanted all=
    wanted=$(digests | sort -n | tail -n 1)
    for i in $(seq 1 "${1:-150}"); do
        all=$(digests | sort -n)
        [[ "$all" != *silent* ]] && [ "$(head -n 1 <<<"$all" | cut -d' ' -f1)" -ge "${wanted%% *}" ] && return 0
        sleep 0.1
    done
    echo "the sites do not reach lsn ${wanted%% *}: $(tr '\n' '|' <<<"$all")" >&2
    return 1
}
