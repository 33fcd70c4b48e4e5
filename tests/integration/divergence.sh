#!/usr/bin/env bash
# After a forced failover: what was undone, as docs/OPERATIONS.md has it. The former primary exports its tail with what each record was below
# the cut and whether its client was told; status names the bundle until it is decided about; what nobody has changed since is applied
# once, whoever is killed and whoever else applies; what was changed is refused and shown; the rest is signed off.
#
# Usage: BUILD=build/gcc-release tests/integration/divergence.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
TRIVENI=$(realpath "$BUILD/triveni")
export TRIVENI
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-divergence.XXXXXX")
. "$(cd "$(dirname "$0")" && pwd)/../lib/cluster.sh"
. "$(cd "$(dirname "$0")" && pwd)/../lib/expect.sh"
operator() { "$TRIVENI" "$@" --profile operator.yaml; }

cluster_create "$DIR/cluster"
cd "$DIR/cluster"
# A lease of 4 s: so long the primary goes on alone in mode local.
for site in dc dr gsr; do echo 'replication: {election_ms: 5000, lease_ms: 4000, failover: manual}' >>$site.yaml; done
sed -i 's/failover: manual/failover: automatic/' dc.yaml
sites_start
old=$(wait_primary)
new=$([ "$old" = dc ] && echo dr || echo dc)
operator mode local >/dev/null
for key in unchanged changed gone gone-too twice; do tv put land $key '"common"' >/dev/null; done
wait_equal 300 >/dev/null
below=$(tv get land unchanged -o json | jq .lsn)

# alone SIGNAL COMMAND...: the primary alone carries it out; then it gets the signal, and the others go on without it.
alone() {
    local signal=$1
    shift
    kill -KILL "${SITE_PID[$new]}" "${SITE_PID[gsr]}"
    "$@"
    site_kill "$old" "$signal"
    site_kill "$new" KILL
    site_kill gsr KILL
    site_start "$new"
    site_start gsr
    for i in $(seq 1 150); do
        operator failover --site "$new" --yes >/dev/null 2>&1 || true
        [ "$(site_status "$new" | jq -r .role)" = primary ] && break
        sleep 0.1
    done
    [ "$(site_status "$new" | jq -r .role)" = primary ] || die "$new does not become primary"
}
at_old=(--endpoints "127.0.0.1:$(client_port "$old")" --timeout 2s)
tail_of_all_kinds() {
    {
        echo 'put land new "tail"'
        echo 'put land unchanged "tail"'
    } | tv txn "${at_old[@]}" >/dev/null
    tv put land changed '"tail"' "${at_old[@]}" >/dev/null
    tv del land gone "${at_old[@]}" >/dev/null
    tv del land gone-too "${at_old[@]}" >/dev/null
    tv put land twice '"first"' "${at_old[@]}" >/dev/null
    tv put land twice '"second"' "${at_old[@]}" >/dev/null
    operator point lost-point "${at_old[@]}" >/dev/null
    tv put land repeated '"tail"' --idempotency-key case-1 "${at_old[@]}" >/dev/null
    tv put land keyed '"tail"' --idempotency-key case-2 "${at_old[@]}" >/dev/null
    tv put land asked-for-more 1 --ack majority "${at_old[@]}" --timeout 1s >/dev/null 2>&1 && die "acknowledged by nobody"
    return 0
}
alone STOP tail_of_all_kinds
tv put land changed '"since"' >/dev/null
tv del land gone-too >/dev/null
tv put land repeated '"tail"' --idempotency-key case-1 >/dev/null # its application does it again, ...
tv del land repeated >/dev/null                                 # ... and somebody deletes it later
site_kill "$old" CONT
wait_equal 300 >/dev/null

# ---- what is listed, and that it is said ----
expect 0 open "$TRIVENI" divergence list --config "$old.yaml"
[ "$("$TRIVENI" divergence list --config "$old.yaml" -o json | jq -s length)" = 1 ] || die "not one bundle"
bundle=$("$TRIVENI" divergence list --config "$old.yaml" -o json | jq -r .name)
"$TRIVENI" divergence show "$bundle" --config "$old.yaml" >"$DIR/bundle"
of() { jq -c "select(.key == \"$1\") | $2" "$DIR/bundle"; }
[ "$(of unchanged '[.base, .acknowledged, .client, .value]')" = "[$below,\"yes\",\"$(of changed .client | tr -d '"')\",\"\\\"tail\\\"\"]" ] ||
    die "of a record that was acknowledged: $(of unchanged .)"
[ "$(of new .base)" = '"absent"' ] || die "of a new record: $(of new .)"
[ "$(of asked-for-more .acknowledged)" = '"no"' ] || die "nobody was told: $(of asked-for-more .)"
[ "$(of gone '[.op, .acknowledged]')" = '["del","yes"]' ] || die "of a delete: $(of gone .)"
[ "$(jq -r 'select(.entry == "restore-point") | .name' "$DIR/bundle")" = lost-point ] || die "the restore point is not named"
[ "$(head -n 1 "$DIR/bundle" | jq -c '[.operations, .acknowledged.yes, .acknowledged.no]')" = '[12,11,1]' ] || die "$(head -n 1 "$DIR/bundle")"
[ "$(site_status "$old" | jq -r '.trouble[]' | grep -c "$bundle")" = 1 ] || die "status does not name it: $(site_status "$old" | jq .trouble)"
echo "ok: the bundle has everything, with versions and who was told; status names it"

# ---- whole or refused ----
expect 0 "" "$TRIVENI" divergence export "$bundle" --config "$old.yaml" --to "$DIR/copy"
cmp "$DIR/copy" "$old/data/divergence/$bundle"
expect 1 "exists" "$TRIVENI" divergence export "$bundle" --config "$old.yaml" --to "$DIR/copy"
expect 0 "lost-point" "$TRIVENI" divergence export "$bundle" --config "$old.yaml" -o table
mkdir -p "$DIR/other/divergence"
refused_everywhere() {
    expect 7 "not as the site wrote it" "$TRIVENI" divergence export "$bundle" --data-dir "$DIR/other"
    expect 7 "not as the site wrote it" "$TRIVENI" divergence apply "$bundle" --data-dir "$DIR/other" --yes --profile operator.yaml
    expect 7 "not as the site wrote it" "$TRIVENI" divergence discard "$bundle" --data-dir "$DIR/other" --yes --reason x --profile operator.yaml
    expect 7 damaged "$TRIVENI" divergence list --data-dir "$DIR/other"
    expect 7 "not as the site wrote it" "$TRIVENI" divergence show "$bundle" --data-dir "$DIR/other"
}
head -n -1 "$DIR/copy" >"$DIR/other/divergence/$bundle"
refused_everywhere
sed 's/"acknowledged":"no"/"acknowledged":"yes"/' "$DIR/copy" >"$DIR/other/divergence/$bundle"
refused_everywhere
grep -q asked-for-more "$DIR/out" || die "show does not show what is there"
echo "ok: cut short or edited, it is refused"

# ---- applied once, where nothing has changed ----
digest=$(wait_equal)
expect 5 "changed since" "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --dry-run --profile operator.yaml
[ "$(wait_equal)" = "$digest" ] || die "a dry run has changed something"
expect 2 "not confirmed" "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --profile operator.yaml
expect 8 "operator" "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes --profile client.yaml
[ "$(wait_equal)" = "$digest" ] || die "a client has applied something"
expect 0 "1 applied" "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes --only land/new --profile operator.yaml
[ "$(tv get land new)" = '"tail"' ] && [ "$(tv get land unchanged)" = '"common"' ] || die "--only is not obeyed"
expect 5 '"already_applied":3' "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes -o json --profile operator.yaml
jq -s -e '.[-1] | .applied == 5 and .already_applied == 3 and .resent == 1 and .refused == 1 and .superseded == 1 and .same == 1 and .left == 0' "$DIR/out" >/dev/null ||
    die "the summary is $(tail -n 1 "$DIR/out")"
jq -s -e '.[0] | .bundle.value == "\"tail\"" and .cluster.value == "\"since\"" and .cluster.lsn > 0' "$DIR/out" >/dev/null || die "both versions are not shown: $(cat "$DIR/out")"
tv get land repeated >/dev/null 2>&1 && die "what its client had done again was done twice"
[ "$(tv get land keyed)" = '"tail"' ] && [ "$(tv get land unchanged)" = '"tail"' ] && [ "$(tv get land changed)" = '"since"' ] && [ "$(tv get land twice)" = '"second"' ] || die "not as it should be"
tv get land gone >/dev/null 2>&1 && die "a delete was not applied"
versions() { tv scan land -o json | jq -c '[.key, .lsn]' | sort; }
before=$(versions)
expect 5 "10 already applied" "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes --profile operator.yaml
[ "$(versions)" = "$before" ] || die "something was applied twice"
expect 0 open "$TRIVENI" divergence list --config "$old.yaml"
echo "ok: applied once, where nobody had changed the record; refused where somebody had"

# ---- signed off ----
expect 2 "--reason is needed" "$TRIVENI" divergence discard "$bundle" --config "$old.yaml" --yes --profile operator.yaml
expect 8 "operator" "$TRIVENI" divergence discard "$bundle" --config "$old.yaml" --yes --reason 'put by hand' --profile client.yaml
expect 0 "is discarded" "$TRIVENI" divergence discard "$bundle" --config "$old.yaml" --yes --reason 'changed one put by hand' --profile operator.yaml
expect 0 "changed one put by hand" "$TRIVENI" divergence list --config "$old.yaml"
expect 1 "was discarded already" "$TRIVENI" divergence discard "$bundle" --config "$old.yaml" --yes --reason again --profile operator.yaml
expect 5 "was discarded by" "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes --profile operator.yaml
[ "$(site_status "$old" | jq -r '.trouble[]' | grep -c divergence)" = 0 ] || die "status still names it: $(site_status "$old" | jq .trouble)"
echo "ok: signed off"

# ---- many operations, and whoever applies them is killed again and again ----
seq -f '{"id":"R-%05g","v":1}' 1 12000 >"$DIR/many.jsonl"
operator switchover --to "$old" >/dev/null
wait_equal 300 >/dev/null
seq -f 'put large L-%g "tail"' 1 5000 >"$DIR/large"
many() {
    tv load many "$DIR/many.jsonl" --key id "${at_old[@]}" >/dev/null
    tv txn "$DIR/large" --idempotency-key case-3 "${at_old[@]}" >/dev/null
}
alone KILL many
tv txn "$DIR/large" --idempotency-key case-3 >/dev/null # again, more than is looked at together, and then deleted
sed 's/^put \(.*\) "tail"/del \1/' "$DIR/large" | tv txn >/dev/null
site_start "$old"
wait_equal 300 >/dev/null
bundle=$("$TRIVENI" divergence list --config "$old.yaml" -o json | jq -r 'select(.state == "open") | .name')
[ "$("$TRIVENI" divergence list --config "$old.yaml" -o json | jq 'select(.state == "open") | .acknowledged.possible')" -ge 12000 ] || die "not all are listed"
applied() { operator digest -o json | jq '[.collections[] | select(.name == "many") | .records] | add // 0'; }
killed=0 half=
for i in 1 2 3 4 5 6; do # each as soon as it has done something
    before=$(applied)
    "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes --profile operator.yaml >/dev/null 2>&1 &
    one=$!
    disown $one
    for _ in $(seq 1 200); do
        [ "$(applied)" = "$before" ] && kill -0 $one 2>/dev/null || break
        sleep 0.01
    done
    kill -KILL $one 2>/dev/null && killed=$((killed + 1))
    [ -n "$half" ] || half=$(tv scan many -o json | jq -c '[.key, .lsn]')
done
"$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes --profile operator.yaml >"$DIR/one" 2>&1 &
one=$!
"$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes --profile operator.yaml >"$DIR/two" 2>&1 || true
wait $one || true
expect 0 "applied" "$TRIVENI" divergence apply "$bundle" --config "$old.yaml" --yes --profile operator.yaml
[ "$(tv scan many -o json | wc -l)" = 12000 ] || die "not all of them are there"
[ "$(tv scan large -o json | wc -l)" = 0 ] || die "what its client had done again was done twice, where it is many records"
tv scan many -o json | jq -c '[.key, .lsn]' >"$DIR/whole"
[ -n "$half" ] || die "nothing was applied before the last"
! grep -vxFf "$DIR/whole" <<<"$half" || die "a record that was applied was applied again"
expect 0 "applied" "$TRIVENI" divergence list --config "$old.yaml"
[ "$("$TRIVENI" divergence list --config "$old.yaml" -o json | jq -r 'select(.state == "applied") | .decision.by')" != "" ] || die "who applied it is not shown"
wait_equal 300 >/dev/null
[ "$killed" -gt 0 ] || die "nobody was killed"
echo "ok: 12,000 operations applied once, though whoever did it was killed $killed times and two did it at once"
