#!/usr/bin/env python3
"""The truth of the visa history, by the simplest means: apply the changes of each update in turn, and after each write down the
whole table. Knows nothing of Triveni.

usage: visa_truth.py HISTORY.tsv OUT-DIR
Writes OUT-DIR/<update time>.tsv (key TAB value, sorted by key bytes) and prints the update times in order."""
import sys

history, out_dir = sys.argv[1], sys.argv[2]
table, current = {}, None


def write_down(time):
    with open(f"{out_dir}/{time}.tsv", "w", encoding="utf-8", newline="\n") as f:
        for key in sorted(table, key=lambda k: k.encode()):
            f.write(f"{key}\t{table[key]}\n")
    print(time)


with open(history, encoding="utf-8", newline="\n") as f:
    for line in f:
        time, act, key, *value = line.rstrip("\n").split("\t")
        if current is not None and time != current:
            write_down(current)
        current = time
        if act == "put":
            table[key] = value[0]
        elif act == "del":
            table.pop(key, None)
        else:
            sys.exit(f"unknown act {act!r}")
if current is not None:
    write_down(current)
