#!/usr/bin/env python3
"""What a watch printed, against what writers were told and what the sites hold in the end.

Usage: watch_check.py WATCH.json --ledger LEDGER --final DUMP.json [--snapshot DUMP.json]

The ledger has lines "KEY LSN" (acknowledged) and "KEY absent" (reported as not done). With a snapshot, the watch began with the
lsn after it: then snapshot and watch together must have everything once."""
import argparse
import json
import sys


def records(path):
    found = {}
    for line in open(path):
        r = json.loads(line)
        found[r["collection"], r["key"]] = (r["lsn"], json.dumps(r["value"], sort_keys=True))
    return found


parser = argparse.ArgumentParser()
parser.add_argument("watch")
parser.add_argument("--ledger", required=True)
parser.add_argument("--final", required=True)
parser.add_argument("--snapshot")
a = parser.parse_args()

state = records(a.snapshot) if a.snapshot else {}
times_seen = {key: 1 for key in state}
versions = dict((key, lsn) for key, (lsn, _) in state.items())
wrong = []
last = max((lsn for lsn, _ in state.values()), default=0)
more = False
count = 0
for line in open(a.watch):
    c = json.loads(line)
    key = c["collection"], c["key"]
    count += 1
    if c["lsn"] < last or (c["lsn"] == last and not more):
        wrong.append(f"lsn {c['lsn']} after {last}")
    if more and c["lsn"] != last:
        wrong.append(f"lsn {last} was not whole")
    last, more = c["lsn"], c.get("more", False)
    times_seen[key] = times_seen.get(key, 0) + 1
    versions[key] = c["lsn"]
    if c["op"] == "put":
        state[key] = (c["lsn"], json.dumps(c["value"], sort_keys=True))
    else:
        state.pop(key, None)

acknowledged = 0
for line in open(a.ledger):
    name, lsn = line.split()
    key = "writers", name
    if lsn == "absent":
        if key in times_seen:
            wrong.append(f"{name} was reported as not done")
        continue
    acknowledged += 1
    if times_seen.get(key, 0) != 1:
        wrong.append(f"{name} was seen {times_seen.get(key, 0)} times")
    elif versions[key] != int(lsn):
        wrong.append(f"{name} was acknowledged at {lsn}, told at {versions[key]}")

final = records(a.final)
for key in sorted(set(final) | set(state)):
    if final.get(key) != state.get(key):
        wrong.append(f"{key}: folded {state.get(key)}, held {final.get(key)}")

for text in wrong[:10]:
    print(text, file=sys.stderr)
print(f"{count} changes, {acknowledged} acknowledged, {len(final)} records, {len(wrong)} wrong")
sys.exit(1 if wrong or acknowledged == 0 or not final else 0)
