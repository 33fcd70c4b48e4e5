# Sites in network namespaces of their own, on a bridge in another one, for tests that cut lines. Source it behind cluster.sh, with DIR
# set and as root; where namespaces cannot be had, `none` is called with the reason:
#
#   network_trap                  undo everything at the end; shows the logs of what failed
#   network_cluster               namespaces, a cluster in DIR/cluster that uses them, all sites started, a primary
#   cut_off SITE, heal SITE       all lines of a site
#   cut_line A B, mend_line A B   the line between two, both directions: nothing arrives
#   cut_one_way A B, heal_one_way A B   what A sends to B
#   site_endpoint SITE            where its clients go
#   write_during SECONDS          writers with a ledger, in the background
#   settle WHAT                   writers are done, sites are equal, nothing is lost; says so
#
# The application (tv, op, writers) has a namespace of its own. cluster.sh's site_start, tv and status functions are replaced.
TAG=tv$$
declare -A ADDRESS=([dc]=10.213.7.1 [dr]=10.213.7.2 [gsr]=10.213.7.3 [app]=10.213.7.4)

network_finish() {
    local code=$? ns
    cluster_stop
    for ns in dc dr gsr app hub; do ip netns del "$TAG-$ns" 2>/dev/null || true; done
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
network_trap() { trap network_finish EXIT; }

may_cut() { ip netns add "$TAG-hub" && ip netns exec "$TAG-hub" true && ip -n "$TAG-hub" link add bridge type bridge; }
network_create() {
    local ns
    may_cut 2>"$DIR/ip.err" || none "network namespaces cannot be used here ($(head -n 1 "$DIR/ip.err"))"
    ip -n "$TAG-hub" link set bridge up
    for ns in dc dr gsr app; do
        ip netns add "$TAG-$ns"
        ip -n "$TAG-hub" link add "to-$ns" type veth peer name eth0 netns "$TAG-$ns"
        ip -n "$TAG-hub" link set "to-$ns" master bridge up
        ip -n "$TAG-$ns" addr add "${ADDRESS[$ns]}/24" dev eth0
        ip -n "$TAG-$ns" link set eth0 up
        ip -n "$TAG-$ns" link set lo up
    done
}
cut_off() { ip -n "$TAG-hub" link set "to-$1" down; }
heal() { ip -n "$TAG-hub" link set "to-$1" up; }
# One way: what FROM sends to TO is dropped at TO; the other way goes on.
cut_one_way() { ip netns exec "$TAG-$2" ip route add blackhole "${ADDRESS[$1]}/32"; }
heal_one_way() { ip netns exec "$TAG-$2" ip route del blackhole "${ADDRESS[$1]}/32"; }
cut_line() { cut_one_way "$1" "$2" && cut_one_way "$2" "$1"; }
mend_line() { heal_one_way "$1" "$2" && heal_one_way "$2" "$1"; }

# Everything of the harness runs where the application lives.
site_start() {
    ip netns exec "$TAG-$1" "$TRIVENI" serve --config "$CLUSTER_DIR/$1.yaml" >>"$CLUSTER_DIR/$1.log" 2>&1 &
    SITE_PID[$1]=$!
    disown "${SITE_PID[$1]}"
}
tv() { ip netns exec "$TAG-app" "$TRIVENI" "$@" --profile "$CLUSTER_DIR/client.yaml"; }
op() { ip netns exec "$TAG-app" "$TRIVENI" "$@" --profile "$CLUSTER_DIR/operator.yaml"; }
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

network_cluster() {
    local file site
    network_create
    cluster_create "$DIR/cluster"
    for file in "$DIR"/cluster/*.yaml "$DIR/cluster/client.uri"; do
        for site in dc dr gsr; do
            sed -i "s/127\.0\.0\.1:$(client_port "$site")\b/${ADDRESS[$site]}:$(client_port "$site")/g
                    s/127\.0\.0\.1:$(peer_port "$site")\b/${ADDRESS[$site]}:$(peer_port "$site")/g" "$file"
        done
    done
    sites_start
    wait_primary >/dev/null
}

write_during() { # SECONDS: writers in the background
    ip netns exec "$TAG-app" "$BUILD/tests/writers/writers" run --uri "$(cat "$DIR/cluster/client.uri")" --ledger "$DIR/ledger" --seconds "$1" \
        --threads 4 >"$DIR/writers.json" 2>"$DIR/writers.log" &
    writers=$!
}
settle() { # WHAT
    wait "$writers" || { echo "$1: writers failed"; cat "$DIR/writers.log"; exit 1; }
    local equal
    equal=$(wait_equal 300)
    ip netns exec "$TAG-app" "$BUILD/tests/writers/writers" verify --uri "$(cat "$DIR/cluster/client.uri")" --ledger "$DIR/ledger" >"$DIR/verify.json"
    echo "$1: $(jq -c '{acknowledged, longest_gap_ms, resent}' "$DIR/writers.json"), $(jq -c '{lost, doubled}' "$DIR/verify.json"), equal at lsn ${equal% *}"
}
