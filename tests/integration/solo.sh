#!/usr/bin/env bash
# Two of three sites are lost for good, and the last one goes on alone, by a warrant that two operators have signed (P12): refused while
# a lost site is heard, with the wrong signatures, too late, a second time, and when the site has moved on. What it serves is one
# disk, and it says so (P10, R6). A lost site that comes back with a history of its own has no vote, keeps it in a bundle and is made
# anew; one without is added as it is; in the end there are three again (P3, P4).
#
# Usage: BUILD=build/gcc-release tests/integration/solo.sh
# suite: drills
# limit: 300 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-solo.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
. "$(cd "$(dirname "$0")" && pwd)/../lib/expect.sh"
by() { # by CODE TEXT WHO COMMAND...
    expect "$1" "$2" "$TRIVENI" "${@:4}" --profile "$3.yaml"
}
solo() { # solo CODE TEXT WHO OPTIONS...
    expect "$1" "$2" "$TRIVENI" failover --site dr --solo "${@:4}" --profile "$3.yaml"
}
trouble() { [[ "$(site_status "$1" | jq -r '.trouble[]?')" == *"$2"* ]]; }

leads() { [ "$(current_primary)" = "$1" ]; }
bundled() { grep -q second-history dc/data/divergence/*.jsonl; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
operators_create asha ravi meena
echo 'replication: {failover: manual}' >>dr.yaml # so that it does not lead as soon as gsr is there
sites_start
[ "$(wait_primary)" = dc ] || op switchover --to dc >/dev/null
for i in 1 2 3; do tv put land "k$i" "$i" >/dev/null; done
wait_equal >/dev/null

# ---- refused: not lost ----
solo 5 "dc lives: it answers here" asha --dry-run
solo 5 "dc" asha --ask early.warrant
[ ! -e early.warrant ] || die "a warrant was made while dc lives"
solo 2 "--solo goes with one of" asha --ask x --dry-run
expect 2 "go with --solo" "$TRIVENI" failover --site dr --ask x --profile asha.yaml

# ---- a history of dc and gsr that dr does not have ----
site_kill dr KILL
tv put land late 1 --ack majority >/dev/null
site_kill dc KILL
site_kill gsr KILL
site_start dr
sleep 2
solo 0 "loss: " asha --dry-run
solo 0 "another operator signs" asha --ask solo.warrant
grep -q 'BEGIN CMS' solo.warrant || die "the warrant is no CMS file"
openssl cms -verify -inform PEM -in solo.warrant -CAfile pki/ca.crt -purpose sslclient 2>/dev/null >text
for fact in "act failover-solo" "site dr" "lost dc" "lost gsr" "last-hash " "forecast loss: " "means the lost sites are switched off"; do
    grep -q "^$fact" text || die "the warrant does not say '$fact': $(cat text)"
done
echo "ok: the warrant says what it rests on, to openssl, too"

# ---- refused: signatures, time, cluster ----
solo 8 "signed by 1, and two different operators are needed" asha --warrant solo.warrant --yes
by 8 "has signed this already" asha warrant sign solo.warrant --yes
expect 8 "only operators may sign" "$TRIVENI" warrant sign solo.warrant --yes --profile client.yaml
by 2 "not confirmed" ravi warrant sign solo.warrant
cp solo.warrant first.warrant
sed -i '3s/.\{8\}/AAAAAAAA/' first.warrant
"$TRIVENI" warrant sign first.warrant --yes --profile ravi.yaml >"$DIR/out" 2>&1 && die "a changed warrant was signed"
solo 0 "" asha --ask short.warrant --valid 15s
by 0 "signed by operator ravi" ravi warrant sign short.warrant --yes
asked=$SECONDS
by 0 "signed by operator ravi" ravi warrant sign solo.warrant --yes
expect 8 "needs an operator's certificate" "$TRIVENI" failover --site dr --solo --warrant solo.warrant --yes --profile client.yaml
by 2 "not confirmed" asha failover --site dr --solo --warrant solo.warrant
by 0 "signed by operator" meena warrant show solo.warrant
while [ $((SECONDS - asked)) -le 15 ]; do sleep 1; done
solo 4 "expired" asha --warrant short.warrant --yes
by 4 "has expired" meena warrant sign short.warrant --yes
# A third signature is one too many.
cp solo.warrant three.warrant
by 0 "" meena warrant sign three.warrant --yes
solo 8 "two different operators are needed" asha --warrant three.warrant --yes
echo "ok: one signature, the same twice, a client's, a changed text, too late, three: refused"

# ---- refused: somebody is heard ----
site_start gsr
sleep 1
solo 5 "gsr lives" asha --warrant solo.warrant --yes
# The site itself says so, too, to who goes around the command.
request=$(jq -n --rawfile w solo.warrant '{warrant: $w}')
site_kill gsr KILL
[ -n "$request" ]
eventually "no link to gsr" solo 0 "loss: " asha --dry-run

# ---- carried out, once ----
if site_status dr | jq -e '.last' >"$DIR/last" && ! grep -q "^last-lsn $(cat "$DIR/last")$" text; then # gsr gave it something
    solo 1 "the order says" asha --warrant solo.warrant --yes
    rm solo.warrant
    solo 0 "" asha --ask solo.warrant
    by 0 "" ravi warrant sign solo.warrant --yes
    echo "ok: a warrant for another position is void"
fi
by 0 "" asha isolate dr --for 60s --links sites --yes
solo 5 "is isolated by an order" asha --warrant solo.warrant --yes
by 0 "" asha isolate dr --end --yes
solo 0 "failed over" ravi --warrant solo.warrant --yes
wait_primary dr >/dev/null
tv put land alone 1 -o json >"$DIR/out"
jq -e '.ack == "local"' "$DIR/out" >/dev/null || die "what is on one disk is not called local: $(cat "$DIR/out")"
for level in majority dr gsr all; do
    expect 1 "the cluster runs alone" "$TRIVENI" put land more 1 --ack $level --profile client.yaml
done
expect 0 "durability: local" "$TRIVENI" put land alone 2 --ack local --profile client.yaml
trouble dr "RUNS ALONE" || die "dr does not say that it runs alone"
solo 2 "primary already" asha --warrant solo.warrant --yes

tv events --site dr -n 200 >"$DIR/out"
grep -q "by a warrant of .* and " "$DIR/out" || die "the events do not name both operators"
site_kill dr KILL
sed -i '/^replication:/d' dr.yaml
site_start dr
wait_primary dr >/dev/null
[ "$(tv get land alone)" = 2 ] || die "what was written alone is lost"
solo 2 "primary already" asha --warrant solo.warrant --yes
echo "ok: dr serves alone and says so, also after a restart"

# ---- the lost ones come back with their disks: first both without dr, as nobody should ----
site_kill dr KILL
site_start dc
site_start gsr
eventually "dc as a second primary" tv put land second-history 1
site_start dr
eventually "dr alone leads" leads dr
eventually "dc knows that it was declared lost" trouble dc "was declared lost"
eventually "gsr knows that it was declared lost" trouble gsr "was declared lost"
[ "$(tv get land alone)" = 2 ] || die "the second history has prevailed"
expect 3 "" "$TRIVENI" get land second-history --profile client.yaml
eventually "a bundle at dc of what was acknowledged there" bundled
trouble dc "history that contradicts" || die "dc follows, although its history is another"
by 1 "was declared lost and does not follow" asha member add dc --peer "127.0.0.1:$(peer_port dc)" --client "127.0.0.1:$(client_port dc)"
# dr goes away: the other two cannot.
site_kill dr STOP
sleep 4
"$TRIVENI" put land third-history 1 --timeout 3 --profile client.yaml >/dev/null 2>&1 && die "dc and gsr have a majority"
site_kill dr CONT
wait_primary dr >/dev/null
echo "ok: they are fenced, and what they had is in bundles"

# ---- and are made anew ----
for site in dc gsr; do
    site_kill $site TERM
    mv $site/data $site/data.old
    [ $site = dc ] || mv $site/archive $site/archive.old 2>/dev/null || true
    expect 0 "" "$TRIVENI" init --config $site.yaml --join
    site_start $site
    kind=data
    [ $site = dc ] || kind=repository
    eventually "adding $site" op member add $site --kind $kind --peer "127.0.0.1:$(peer_port $site)" --client "127.0.0.1:$(client_port $site)"
    by 0 "votes from lsn" asha member promote $site
done
wait_equal 300 >/dev/null
tv put land three-again 1 --ack all -o json | jq -e '.ack == "all"' >/dev/null || die "there are not three again"
! trouble dr "RUNS ALONE" || die "dr still says that it is alone"
op switchover --to dc >/dev/null
[ "$(wait_primary dc)" = dc ]
[ "$(tv get land alone)" = 2 ]
echo "ok: three sites again, one history"
echo "solo: all told"
