# A network of its own for three sites and an application: each in a network namespace, with a link to a process that carries the
# frames (tests/nemesis/wire.c) and can lose and delay them. Source it after cluster.sh, some of which it replaces:
#
#   net_enter SCRIPT [ARGS...]     be root, here or in a namespace of one's own; otherwise say NOT RUN and exit with 77
#   net_create DIR                 namespaces and wire; net_delete undoes it, always call it from a trap
#   net_cluster_create DIR         cluster_create, with the sites at their own addresses
#   net_cut FROM TO                what FROM sends to TO is lost from now on, and nobody is told
#   net_link FROM TO DELAY_MS JITTER_MS LOSS    ... is late, and lost LOSS times in 1000
#   net_heal                       all links are good again
#   net_unplug SITE, net_plug SITE the cable itself: the far end sees no carrier
#   in_app COMMAND...              run it where the application lives
#   write_during SECONDS           writers with a ledger, in the background; settle WHAT: they are done, the sites equal, nothing is lost
#
# SITE_ENV, an array, is what sites get into their environment; ${SITE} in it is the site.

NET_TAG=tv$$
NET_NAMES=(dc dr gsr app)
declare -A ADDRESS=([dc]=10.213.7.1 [dr]=10.213.7.2 [gsr]=10.213.7.3 [app]=10.213.7.4)
declare -A NET_PORT=([dc]=1 [dr]=2 [gsr]=3 [app]=4)
SITE_ENV=()
NET_WIRE=

net_none() {
    echo "NOT RUN: $*: run it as root"
    exit 77
}

net_enter() {
    if [ "$(id -u)" != 0 ]; then
        unshare -Urnm true 2>/dev/null || net_none "network namespaces need root, or user namespaces, which this kernel forbids"
        exec unshare -Urnm -- env OWN_NAMESPACE=1 "$@"
    fi
    # Where `ip netns` keeps its names belongs to somebody else.
    [ -z "${OWN_NAMESPACE:-}" ] || mount -t tmpfs none /run || net_none "nothing can be mounted in a user namespace"
}

net_create() {
    local name err=$1/ip.err
    { ip netns add "$NET_TAG-hub" && ip netns exec "$NET_TAG-hub" true; } 2>"$err" ||
        net_none "network namespaces cannot be used here ($(head -n 1 "$err"))"
    for name in "${NET_NAMES[@]}"; do
        ip netns add "$NET_TAG-$name"
        ip -n "$NET_TAG-hub" link add "to-$name" type veth peer name eth0 netns "$NET_TAG-$name" \
            address "02:00:00:00:00:0${NET_PORT[$name]}" 2>"$err" || net_none "this kernel has no veth ($(head -n 1 "$err"))"
        ip -n "$NET_TAG-hub" link set "to-$name" addrgenmode none up
        ip -n "$NET_TAG-$name" link set eth0 addrgenmode none
        ip -n "$NET_TAG-$name" addr add "${ADDRESS[$name]}/24" dev eth0
        ip -n "$NET_TAG-$name" link set eth0 up
        ip -n "$NET_TAG-$name" link set lo up
    done
    mkfifo "$1/orders"
    ip netns exec "$NET_TAG-hub" "$BUILD/tests/nemesis/wire" "${NET_NAMES[@]/#/to-}" <"$1/orders" 2>"$1/wire.log" &
    NET_WIRE=$!
    exec {NET_ORDERS}>"$1/orders"
    sleep 0.2
    kill -0 "$NET_WIRE" 2>/dev/null || net_none "no packet sockets here ($(cat "$1/wire.log"))"
}

net_delete() {
    local name
    [ -z "$NET_WIRE" ] || kill "$NET_WIRE" 2>/dev/null || true
    for name in "${NET_NAMES[@]}" hub; do ip netns del "$NET_TAG-$name" 2>/dev/null || true; done
}

net_cluster_create() {
    local file site
    cluster_create "$1"
    for file in "$1"/*.yaml "$1/client.uri"; do
        for site in dc dr gsr; do
            sed -i "s/127\.0\.0\.1:$(client_port "$site")\b/${ADDRESS[$site]}:$(client_port "$site")/g
                    s/127\.0\.0\.1:$(peer_port "$site")\b/${ADDRESS[$site]}:$(peer_port "$site")/g" "$file"
        done
    done
}

net_cut() { echo "link ${NET_PORT[$1]} ${NET_PORT[$2]} cut" >&"$NET_ORDERS"; }
net_link() { echo "link ${NET_PORT[$1]} ${NET_PORT[$2]} $(($3 * 1000)) $(($4 * 1000)) $5" >&"$NET_ORDERS"; }
net_heal() { echo heal >&"$NET_ORDERS"; }
net_unplug() { ip -n "$NET_TAG-hub" link set "to-$1" down; }
net_plug() { ip -n "$NET_TAG-hub" link set "to-$1" up; }
in_app() { ip netns exec "$NET_TAG-app" "$@"; }

# ---- what cluster.sh has for loopback ----
site_start() {
    local site=$1
    ip netns exec "$NET_TAG-$site" env "${SITE_ENV[@]//\$\{SITE\}/$site}" "$TRIVENI" serve --config "$CLUSTER_DIR/$site.yaml" \
        >>"$CLUSTER_DIR/$site.log" 2>&1 &
    SITE_PID[$site]=$!
    disown "${SITE_PID[$site]}" # no word from the shell when it is killed
}
tv() { in_app "$TRIVENI" "$@" --profile "$CLUSTER_DIR/client.yaml"; }
op() { in_app "$TRIVENI" "$@" --profile "$CLUSTER_DIR/operator.yaml"; }
site_endpoint() { echo "${ADDRESS[$1]}:$(client_port "$1")"; }
site_status() {
    tv status -o json --endpoints "$(site_endpoint "$1")" --timeout 2 2>/dev/null |
        jq -c --arg site "$1" '.sites[]? | select(.name == $site)' 2>/dev/null || true
}
current_primary() {
    local site role
    for site in dc dr; do
        role=$(tv status -o json --endpoints "$(site_endpoint "$site")" --timeout 1 2>/dev/null |
            jq -r --arg site "$site" '[.sites[]? | select(.name == $site and .role == "primary")] | length' 2>/dev/null || echo 0)
        [ "${role:-0}" = 1 ] && { echo "$site"; return 0; }
    done
    return 1
}

# ---- writers; the caller has DIR ----
write_during() {
    ip netns exec "$NET_TAG-app" "$BUILD/tests/writers/writers" run --uri "$(cat "$CLUSTER_DIR/client.uri")" --ledger "$DIR/ledger" --seconds "$1" \
        --threads 4 >"$DIR/writers.json" 2>"$DIR/writers.log" &
    writers=$!
}
settle() {
    local equal
    wait "$writers" || { echo "$1: writers failed"; cat "$DIR/writers.log"; exit 1; }
    equal=$(wait_equal 300)
    in_app "$BUILD/tests/writers/writers" verify --uri "$(cat "$CLUSTER_DIR/client.uri")" --ledger "$DIR/ledger" >"$DIR/verify.json"
    echo "$1: $(jq -c '{acknowledged, longest_gap_ms, resent}' "$DIR/writers.json"), $(jq -c '{lost, doubled}' "$DIR/verify.json"), equal at lsn ${equal% *}"
}
