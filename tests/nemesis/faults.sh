# What the nemesis can do: for each kind begin_KIND and end_KIND, with the site (or two sites of a link) and a number that was drawn
# for it. Source it after net.sh. Ends are repeatable, and bring back what the fault took.

declare -A MAY_END=() # sites that may have ended by themselves in this round
FAULT_PAIRS=("dc dr" "dc gsr" "dr gsr")

begin_kill() { site_kill "$1" KILL; }
end_kill() { site_up "$1"; }
begin_stop() { site_kill "$1" TERM; }
end_stop() { site_up "$1"; }
begin_pause() { site_kill "$1" STOP; }
end_pause() { site_kill "$1" CONT; }

# A site cut off from everybody, or a link, both ways or one way. Ends: see heal_links.
begin_cut() {
    local other
    for other in "${NET_NAMES[@]}"; do
        [ "$other" = "$1" ] || { net_cut "$1" "$other"; net_cut "$other" "$1"; }
    done
}
begin_unplug() { net_unplug "$1"; }
end_unplug() { net_plug "$1"; }
begin_link() { net_cut "$1" "$2" && net_cut "$2" "$1"; }
begin_oneway() { net_cut "$1" "$2"; }
begin_mute() { # it hears, and is not heard
    local other
    for other in "${NET_NAMES[@]}"; do [ "$other" = "$1" ] || net_cut "$1" "$other"; done
}
begin_slow() { # NUMBER: milliseconds
    local other
    for other in "${NET_NAMES[@]}"; do
        [ "$other" = "$1" ] || { net_link "$1" "$other" "$2" "$(($2 / 2))" 0; net_link "$other" "$1" "$2" "$(($2 / 2))" 0; }
    done
}
begin_lossy() { # NUMBER: in 1000
    local other
    for other in "${NET_NAMES[@]}"; do
        [ "$other" = "$1" ] || { net_link "$1" "$other" 1 2 "$2"; net_link "$other" "$1" 1 2 "$2"; }
    done
}
end_cut() { net_heal; }
end_link() { net_heal; }
end_oneway() { net_heal; }
end_mute() { net_heal; }
end_slow() { net_heal; }
end_lossy() { net_heal; }

# A disk that others have filled: below the reserve (32 MiB), which a site lives with; or to the last block, where it may have to
# end, says so, and comes back when there is space again.
begin_disk() { fallocate -l "$(($(room "$1") - 16384))K" "$CLUSTER_DIR/$1/filler"; }
begin_full() {
    MAY_END[$1]=1
    fallocate -l "$(($(room "$1") * 19 / 20))K" "$CLUSTER_DIR/$1/filler" 2>/dev/null || true
    cat /dev/zero >>"$CLUSTER_DIR/$1/filler-rest" 2>/dev/null || true
}
room() { df --output=avail -k "$CLUSTER_DIR/$1" | tail -n 1; }
end_disk() { rm -f "$CLUSTER_DIR/$1/filler"; }
end_full() { rm -f "$CLUSTER_DIR/$1/filler" "$CLUSTER_DIR/$1/filler-rest"; }

clock_set() { echo "$2" >"$DIR/clock.new" && mv "$DIR/clock.new" "$DIR/clock-$1"; }
begin_clock() { clock_set "$1" "$2"; } # NUMBER: seconds off
end_clock() { clock_set "$1" 0; }

# ---- certificates: one that runs out in two seconds, or is revoked, under a site that goes on with it ----
ca_create() {
    mkdir "$DIR/ca"
    : >"$DIR/ca/index.txt"
    echo 01 >"$DIR/ca/serial"
    cat >"$DIR/ca/cnf" <<CNF
[ca]
default_ca = d
[d]
new_certs_dir = $DIR/ca
database = $DIR/ca/index.txt
serial = $DIR/ca/serial
default_md = sha256
unique_subject = no
policy = p
[p]
organizationName = optional
organizationalUnitName = optional
commonName = optional
[ext]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = \$ENV::NAME
CNF
}
begin_expire() {
    local pki=$CLUSTER_DIR/pki
    openssl req -new -key "$pki/$1.key" -subj "/O=demo/OU=site/CN=$1" -out "$DIR/ca/csr" 2>"$DIR/ca/log"
    NAME=URI:triveni://demo/site/$1 openssl ca -batch -config "$DIR/ca/cnf" -extensions ext -cert "$pki/ca.crt" -keyfile "$pki/ca.key" \
        -in "$DIR/ca/csr" -out "$DIR/ca/$1.crt" -notext -startdate "$(date -u -d '-1 hour' +%Y%m%d%H%M%SZ)" \
        -enddate "$(date -u -d '+3 seconds' +%Y%m%d%H%M%SZ)" 2>>"$DIR/ca/log" || fail "no certificate: $(cat "$DIR/ca/log")"
    mv "$DIR/ca/$1.crt" "$pki/$1.crt"
    certificate_after "$1" 3.2
}
begin_revoke() {
    "$TRIVENI" pki revoke "$CLUSTER_DIR/pki/$1.crt" --dir "$CLUSTER_DIR/pki" >"$DIR/ca/log" 2>&1 || fail "not revoked: $(cat "$DIR/ca/log")"
    certificate_after "$1" 1.2
}
# When it is not good any more its links are broken, so that they must be made anew.
certificate_after() {
    sleep "$2"
    begin_cut "$1"
    sleep 1.6
    net_heal
}
end_expire() {
    rm -f "$CLUSTER_DIR/pki/$1.crt" "$CLUSTER_DIR/pki/$1.key"
    "$TRIVENI" pki site "$1" --dir "$CLUSTER_DIR/pki" >"$DIR/ca/log" 2>&1 || fail "no new certificate: $(cat "$DIR/ca/log")"
}
end_revoke() { end_expire "$1"; }

# ---- orders of an operator: given, and not waited for ----
order() { # switchover|failover SITE
    local words=(switchover --to "$2" --timeout 4)
    [ "$1" = switchover ] || words=(failover --site "$2" --yes --timeout 4)
    op "${words[@]}" >>"$DIR/orders.log" 2>&1 &
    ORDERS+=($!)
}
