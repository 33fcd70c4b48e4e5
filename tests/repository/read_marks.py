#!/usr/bin/env python3
"""Read the marks of what a Triveni archive has disposed of, without Triveni, and hold them against its signed operations log.

    read_marks.py ARCHIVE KEKFILE VKEY     one line per mark: object nonce lsn warrant_sha256; then "marks" and how many

Written from docs/REPOSITORY-FORMAT.md alone. Each mark is sealed under the key of marks; its object lies there with the SHA-256 that it
names, and no generation has its key any more; the log has exactly one `dispose` leaf for it, which names the same warrant; and there is no
such leaf without a mark. Python's own modules and `openssl`. Exit code 1 with a reason when anything does not hold.
"""
import glob
import hashlib
import os
import re
import subprocess
import sys

from read_pack import hkdf, hmac, load, need, run, text_file
from verify_tree import checkpoint, leaf_hash, leaf_of, operations_key, tiles, tree_hash


def check_seal(key, archive, cluster, name):
    line, about, seal = text_file(archive, name)
    identity = ("triveni/1|%s|%s" % (cluster, name)).encode()
    need(seal == {"mac": hmac("sha256", hkdf("sha256", key, b"", identity, 32), line).hex()}, name + " was changed")
    need(about["format"] == 1, name + " has another format")
    return about


def marks_key(archive, cluster, kek):
    """Of the generations that have one, that which this KEK opens."""
    for path in sorted(glob.glob(archive + "/keys/[0-9]*/disposed.key"), reverse=True):
        name = os.path.relpath(path, archive)
        wrapped = bytes.fromhex(text_file(archive, name)[1]["wrapped"])
        try:
            key = run(["openssl", "enc", "-d", "-id-aes256-wrap-pad", "-K", kek.hex(), "-iv", "a65959a6"], wrapped)
        except subprocess.CalledProcessError:
            continue  # another KEK
        if len(key) == 32:
            check_seal(key, archive, cluster, name)
            return key
    raise SystemExit("read_marks: no key of marks that this KEK opens")


def disposals(archive, vkey):
    """What the signed log says was disposed of, by object."""
    root = archive + "/operations"
    size, signed = checkpoint(load(root + "/checkpoint"), operations_key(vkey))
    texts = list(tiles(root, "entries", size))
    need(tree_hash([leaf_hash(text) for text in texts]) == signed, "the leaves do not lead to the signed root")
    out = {}
    for number, text in enumerate(texts):
        leaf = leaf_of(text, number)
        if leaf["op"] == "dispose":
            need(leaf["object"] not in out, leaf["object"] + " is disposed of twice")
            out[leaf["object"]] = leaf
    return out


def check_mark(archive, mark, leaf):
    name, by = mark["object"], mark["disposed"]
    need(re.fullmatch("[0-9a-f]{32}", by["nonce"]) and re.fullmatch("[0-9a-f]{64}", by["warrant_sha256"]), name + ": no warrant")
    need(mark["kind"] == ("pack" if name.startswith("packs/") else "snapshot"), name + ": of another kind")
    need(not mark.get("frames") and not mark.get("points"), name + ": the mark says what was in it")
    data = load(archive + "/" + name)
    need(len(data) == mark["bytes"] and hashlib.sha256(data).hexdigest() == mark["sha256"], name + ": another object")
    need(not glob.glob(archive + "/keys/*/" + name.split("/")[1] + ".key"), name + ": its key is there")
    need(leaf["detail"] == "warrant " + by["nonce"] and leaf["reference"] == by["warrant_sha256"], name + ": another warrant in the log")
    need(leaf["last"] == mark["end"]["lsn"] and leaf["time_us"] >= by["time_us"], name + ": other entries in the log")
    print(name, by["nonce"], by["lsn"], by["warrant_sha256"])


def main(args):
    need(len(args) == 3, __doc__)
    archive, kek_file, vkey = args
    cluster = text_file(archive, "repository.json")[1]["cluster_id"]
    key = marks_key(archive, cluster, bytes.fromhex(load(kek_file).decode().strip()))
    leaves = disposals(archive, vkey)
    names = sorted(os.path.relpath(p, archive) for folder in ("packs", "snapshots") for p in glob.glob("%s/%s/*.disposed" % (archive, folder)))
    for name in names:
        mark = check_seal(key, archive, cluster, name)
        need(mark["object"].rsplit(".", 1)[0] + ".disposed" == name, name + " is the mark of another object")
        need(mark["object"] in leaves, name + ": the log does not name it")
        check_mark(archive, mark, leaves.pop(mark["object"]))
    need(not leaves, "the log names what has no mark: " + " ".join(leaves))
    print("marks", len(names))


if __name__ == "__main__":
    main(sys.argv[1:])
