#!/usr/bin/env python3
"""Check the signed tree of a Triveni archive, and proofs from it, without Triveni.

    verify_tree.py tree ARCHIVE VKEY                    checkpoint, every tile, every header, up to the signed root
    verify_tree.py operations ARCHIVE VKEY              the operations log, every leaf, and every object that they name
    verify_tree.py inclusion FILE VKEY                  a proof of `triveni archive prove`, or a receipt
    verify_tree.py consistency FILE EARLIER VKEY        a proof of `triveni archive consistency --to`
    verify_tree.py --self-test                          published vectors
    ... --cosigner VKEY ...                             with any of them: that cosigner must have signed the checkpoint, too

Written from the published texts alone: RFC 6962 and RFC 9162 (Merkle trees), C2SP signed-note, tlog-checkpoint, tlog-tiles,
tlog-cosignature, tlog-proof and tlog-witness, and docs/REPOSITORY-FORMAT.md for what a leaf is. VKEY is a verifier key; that of the
operations log may be given as the tree's. Python's own modules, and `openssl` for Ed25519. Exit code 1 with a reason when anything does not hold.
"""
import base64
import hashlib
import json
import re
import os
import struct
import subprocess
import sys
import tempfile


def need(ok, what):
    if not ok:
        raise SystemExit("verify_tree: " + what)


def sha(data):
    return hashlib.sha256(data).digest()


def leaf_hash(data):
    return sha(b"\0" + data)


def node_hash(left, right):
    return sha(b"\1" + left + right)


def b64(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise SystemExit("verify_tree: no base64")
    need(base64.b64encode(raw) == text, "base64 in more than one way")
    return raw


# ---- RFC 6962, 2.1: a tree over its leaves' hashes; RFC 9162, 2.1.3.2 and 2.1.4.2: proofs ----

def tree_hash(hashes):
    if not hashes:
        return sha(b"")
    while len(hashes) > 1:  # pairs from the left; an odd one goes up as it is
        odd = hashes[len(hashes) & ~1:]
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)] + odd
    return hashes[0]


def check_inclusion(leaf, index, size, path, root):
    need(index < size, "the leaf is beyond the tree")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        need(sn != 0, "the path is too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and r == root, "the path does not lead to the root")


def check_consistency(first, first_root, second, second_root, path):
    need(first <= second, "the tree shrank")
    if first == second:
        need(not path and first_root == second_root, "two trees of the same size")
        return
    if first == 0:
        need(not path and first_root == sha(b""), "the empty tree")
        return
    path = list(path)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    need(path, "no path")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        need(sn != 0, "the path is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and fr == first_root and sr == second_root, "the later tree does not begin with the earlier")


# ---- signed notes and checkpoints ----

def ed25519(public, signature, message):
    der = bytes.fromhex("302a300506032b6570032100") + public  # RFC 8410
    with tempfile.TemporaryDirectory() as d:
        for name, data in (("key", der), ("sig", signature), ("msg", message)):
            with open(os.path.join(d, name), "wb") as f:
                f.write(data)
        return subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", d + "/key", "-rawin",
             "-in", d + "/msg", "-sigfile", d + "/sig"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def key_of(vkey):
    name, key_id, blob = vkey.strip().split("+", 2)
    blob = b64(blob.encode())
    need(blob[:1] in (b"\1", b"\4") and len(blob) == 33, "no Ed25519 verifier key")
    need(sha(name.encode() + b"\n" + blob)[:4].hex() == key_id, "the key id is not that of the key")
    return name, bytes.fromhex(key_id), blob[1:], blob[0]


def open_note(note, vkey):
    name, key_id, public, kind = key_of(vkey)
    at = note.rfind(b"\n\n")
    need(at >= 0, "no signed note")
    text, good = note[:at + 1], 0
    need(note.endswith(b"\n"), "the note ends without a line feed")
    for line in note[at + 2:].split(b"\n")[:-1]:
        dash, who, blob = line.split(b" ", 2)
        need(dash == "\u2014".encode(), "no signature line")
        blob = b64(blob)
        if who == name.encode() and blob[:4] == key_id:
            signed, blob = text, blob[4:]
            if kind == 4:  # a cosigner: a time stands before the signature, and is signed with the text
                time, = struct.unpack(">Q", blob[:8])
                signed, blob = b"cosignature/v1\ntime %d\n" % time + text, blob[8:]
            need(ed25519(public, blob, signed), "the signature does not hold")
            good += 1
    need(good, "not signed with the key")
    return text


COSIGNERS = []  # keys of those who must have signed, too


def checkpoint(note, vkey, cosigners=()):
    need(key_of(vkey)[3] == 1, "no key of a log")
    for cosigner in cosigners:
        need(key_of(cosigner)[3] == 4, "no key of a cosigner")
        open_note(note, cosigner)
    origin, size, root = open_note(note, vkey).split(b"\n")[:3]
    need(origin.decode() == key_of(vkey)[0], "of another log")
    need(str(int(size)).encode() == size, "no size")
    root = b64(root)
    need(len(root) == 32, "no root")
    return int(size), root


# ---- tlog-tiles ----

def tile_path(level, index, width):
    digits = "%03d" % (index % 1000)
    while index >= 1000:
        index //= 1000
        digits = "x%03d/" % (index % 1000) + digits
    return "tile/%s/%s%s" % (level, digits, "" if width == 256 else ".p/%d" % width)


def read_tile(root, level, index, width):
    for w in (width, 256):
        try:
            with open(os.path.join(root, tile_path(level, index, w)), "rb") as f:
                return f.read()
        except FileNotFoundError:
            continue
    raise SystemExit("verify_tree: tile %s %d is missing" % (level, index))


def tiles(root, level, count):
    """The parts of a level's tiles: hashes, or with "entries" leaves, each after its size (big-endian)."""
    for index in range((count + 255) // 256):
        width = min(256, count - 256 * index)
        data, at = read_tile(root, level, index, width), 0
        for _ in range(width):
            n = 32
            if level == "entries":
                need(at + 2 <= len(data), "bundle %d ends too early" % index)
                n, at = struct.unpack_from(">H", data, at)[0], at + 2
            need(n and at + n <= len(data), "tile %s %d ends too early" % (level, index))
            yield data[at:at + n]
            at += n


def check_levels(root, hashes):
    """Every tile is the one that follows from the leaves' hashes."""
    level = 0
    while hashes:
        for i, h in enumerate(tiles(root, level, len(hashes))):
            need(h == hashes[i], "hash %d of level %d" % (i, level))
        hashes = [tree_hash(hashes[i:i + 256]) for i in range(0, len(hashes) & ~255, 256)]
        level += 1


def check_tree(archive, vkey):
    with open(os.path.join(archive, "tree/checkpoint"), "rb") as f:
        size, root = checkpoint(f.read(), vkey, COSIGNERS)
    hashes, last = [], bytes(32)
    for i, header in enumerate(tiles(os.path.join(archive, "tree"), "entries", size)):
        need(len(header) == 128, "leaf %d has no 128 bytes" % i)
        lsn, = struct.unpack_from("<Q", header, 48)
        need(header[:4] == b"TVNE" and lsn == i + 1, "leaf %d is not the header of lsn %d" % (i, i + 1))
        need(header[64:96] == last, "leaf %d does not name the header before it" % i)
        last = sha(header)
        hashes.append(leaf_hash(header))
    need(tree_hash(hashes) == root, "the headers do not lead to the signed root")
    check_levels(os.path.join(archive, "tree"), hashes)
    print("tree", size, base64.b64encode(root).decode())
    return hashes


# ---- the operations log ----

LEAF = ["op", "id", "time_us", "tree_size", "tree_root", "object", "bytes", "sha256", "first", "last", "generation", "checked",
        "damaged", "detail", "reference", "mended"]
OPERATIONS = ["pack", "snapshot", "rotate", "retire", "verify", "drill", "heal", "hold", "release", "dispose"]


def operations_key(vkey):
    """The same key under the name of the operations log."""
    name, _, public, kind = key_of(vkey)
    if not name.endswith("/operations"):
        name += "/operations"
    blob = bytes([kind]) + public
    return "%s+%s+%s" % (name, sha(name.encode() + b"\n" + blob)[:4].hex(), base64.b64encode(blob).decode())


def leaf_of(text, number):
    leaf = json.loads(text)
    what = "leaf %d " % number
    need(isinstance(leaf, dict) and json.dumps(leaf, separators=(",", ":")).encode() == text, what + "is not canonical")
    need(list(leaf) == [m for m in LEAF if m in leaf] and all(m in leaf for m in LEAF[:3]), what + "has other members")
    need(all(leaf[m] or m == "time_us" for m in leaf), what + "says nothing in a member")
    need(leaf["op"] in OPERATIONS, what + "is of an unknown kind")
    for hashed in ("tree_root", "sha256", "reference"):
        need(len(bytes.fromhex(leaf.get(hashed, "00" * 32))) == 32, what + "has no SHA-256")
    return leaf


def check_hold(leaf, holds, what):
    """Each warrant is named once, and a release ends a hold that is in force. `holds`: by warrant, the lsns where it began and ended."""
    words = re.fullmatch("warrant ([0-9a-f]{32})( ends warrant ([0-9a-f]{32}))?", leaf.get("detail", ""))
    need(words and "reference" in leaf and "last" in leaf and (words[2] is None) == (leaf["op"] == "hold"), what + "has no warrant")
    need(words[1] not in holds, what + "was there before")
    holds[words[1]] = [leaf["last"], None if leaf["op"] == "hold" else leaf["last"]]
    if leaf["op"] == "release":
        hold = holds.get(words[3], [0, 0])
        need(hold[1] is None and hold[0] < leaf["last"], what + "ends no hold that is in force")
        hold[1] = leaf["last"]


def file_hash(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for part in iter(lambda: f.read(1 << 20), b""):
            h.update(part)
    return h.hexdigest()


def check_operations(archive, vkey):
    root = os.path.join(archive, "operations")
    with open(os.path.join(root, "checkpoint"), "rb") as f:
        size, signed_root = checkpoint(f.read(), operations_key(vkey), COSIGNERS)
    hashes, objects, ids, holds, tree = [], {}, set(), {}, (0, "")
    for i, text in enumerate(tiles(root, "entries", size)):
        leaf = leaf_of(text, i)
        hashes.append(leaf_hash(text))
        need(leaf["id"] not in ids, "leaf %d was there before" % i)
        ids.add(leaf["id"])
        if "tree_size" in leaf:
            now = leaf["tree_size"], leaf["tree_root"]
            need(now == tree or now[0] > tree[0], "leaf %d names a tree that shrank" % i)
            tree = now
        if leaf["op"] in ("pack", "snapshot"):
            objects[leaf["object"]] = leaf
        elif leaf["op"] == "dispose":
            objects.pop(leaf.get("object"), None)
        elif leaf["op"] in ("hold", "release"):
            check_hold(leaf, holds, "leaf %d " % i)
        elif leaf["op"] == "heal" and "object" in leaf:
            entries = leaf["object"].rpartition("-")[0]
            need(leaf["object"] in objects, "leaf %d heals what was never there" % i)
            del objects[leaf["object"]]
            need(any(name.rpartition("-")[0] == entries for name in objects),
                 "leaf %d: no other pack has the entries of what was healed" % i)
    need(tree_hash(hashes) == signed_root, "the leaves do not lead to the signed root")
    check_levels(root, hashes)
    for name, leaf in objects.items():
        path = os.path.join(archive, name)
        need(os.path.exists(path), "%s is missing" % name)
        need(os.path.getsize(path) == leaf["bytes"] and file_hash(path) == leaf["sha256"], "%s is another one" % name)
    if os.path.exists(os.path.join(archive, "tree/checkpoint")) and not key_of(vkey)[0].endswith("/operations"):
        entries = check_tree(archive, vkey)
        need(len(entries) >= tree[0] and (not tree[0] or tree_hash(entries[:tree[0]]).hex() == tree[1]),
             "the tree of entries does not begin with the one that the log names")
        last = max((o["last"] for o in objects.values() if o["op"] == "pack"), default=0)
        need(last >= len(entries), "the log ends before the tree of entries")
    print("holds", *("%d-%s" % (began, ended or "") for began, ended in holds.values() if began != ended))
    print("operations", size, len(objects), base64.b64encode(signed_root).decode())


# ---- proofs ----

def hash_lines(lines):
    out = []
    while lines and lines[0]:
        out.append(b64(lines.pop(0)))
        need(len(out[-1]) == 32, "no hash")
    need(lines and lines.pop(0) == b"", "no empty line before the checkpoint")
    return out


def str16(data, at):
    n, = struct.unpack_from("<H", data, at)
    need(at + 2 + n <= len(data), "the entry ends too early")
    return data[at + 2:at + 2 + n], at + 2 + n


def operations(body):
    at = 16 + 16 + 8 + 1  # salt, session, sequence, durability
    _, at = str16(body, at)
    count, = struct.unpack_from("<I", body, at)
    at += 4
    for _ in range(count):
        kind = body[at]
        collection, at = str16(body, at + 1)
        key, at = str16(body, at)
        value = None
        if kind == 1:
            n, = struct.unpack_from("<I", body, at)
            value, at = body[at + 4:at + 4 + n], at + 4 + n
        yield collection, key, value
    need(at == len(body), "bytes after the last operation")


def check_inclusion_file(data, vkey):
    lines = data.split(b"\n")
    need(lines.pop(0) == b"c2sp.org/tlog-proof@v1", "no tlog-proof")
    need(lines[0].startswith(b"extra "), "no entry")
    extra = b64(lines.pop(0)[6:])
    need(lines[0].startswith(b"index "), "no index")
    index = int(lines.pop(0)[6:])
    path = hash_lines(lines)
    size, root = checkpoint(b"\n".join(lines), vkey, COSIGNERS)
    need(extra[:6] == b"TVNP\1\0", "no entry of Triveni")
    collection, at = str16(extra, 6)
    key, at = str16(extra, at)
    header, body = extra[at:at + 128], extra[at + 128:]
    check_inclusion(leaf_hash(header), index, size, path, root)
    kind, body_bytes = struct.unpack_from("<HI", header, 6)
    lsn, = struct.unpack_from("<Q", header, 48)
    need(kind == 1 and lsn == index + 1, "not the transaction of that leaf")
    need(body_bytes == len(body) and sha(body) == header[96:], "the body is not the one of the header")
    if not collection and not key:  # a receipt: the transaction as a whole
        for c, k, v in operations(body):
            sys.stdout.buffer.write(b"%d %s %s " % (lsn, c, k) + (b"-" if v is None else v) + b"\n")
        return
    found = [v for c, k, v in operations(body) if (c, k) == (collection, key)]
    need(found, "the transaction does not write the record")
    sys.stdout.buffer.write(b"%d %s %s " % (lsn, collection, key) + (b"-" if found[-1] is None else found[-1]) + b"\n")


def check_consistency_file(data, earlier, vkey):
    lines = data.split(b"\n")
    need(lines[0].startswith(b"old "), "no proof of consistency")
    old = int(lines.pop(0)[4:])
    path = hash_lines(lines)
    second, second_root = checkpoint(b"\n".join(lines), vkey, COSIGNERS)
    first, first_root = checkpoint(earlier, vkey)
    need(old == first, "a proof from another tree")
    check_consistency(first, first_root, second, second_root, path)
    print("consistent", first, second)


def self_test():
    leaves = [bytes.fromhex(x) for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                         "606162636465666768696a6b6c6d6e6f")]  # of Certificate Transparency
    hashes = [leaf_hash(x) for x in leaves]
    need(tree_hash([]).hex()[:8] == "e3b0c442" and tree_hash(hashes[:3]).hex()[:8] == "aeb6bcfe" and
         tree_hash(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328", "tree")
    path = [bytes.fromhex(x) for x in ("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                                       "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                                       "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7")]
    check_inclusion(hashes[5], 5, 8, path, tree_hash(hashes))
    path[0] = bytes.fromhex("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a")
    check_consistency(6, tree_hash(hashes[:6]), 8, tree_hash(hashes), path)
    need(tile_path(0, 1234067, 256) == "tile/0/x001/x234/067" and tile_path(1, 0, 17) == "tile/1/000.p/17", "paths")
    text = open_note("This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg"
                     "1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n".encode(),
                     "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    need(text == b"This is an example message.\n", "note")
    note = ("arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n"
            "\u2014 remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU"
            "/zZ0WBxtqB0DrAWfBw==\n").encode()  # of a public log
    open_note(note, "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2")
    print("ok")


def read(path):
    with open(path, "rb") as f:
        return f.read()


def main(args):
    while "--cosigner" in args:
        at = args.index("--cosigner")
        COSIGNERS.append(args[at + 1])
        del args[at:at + 2]
    if args == ["--self-test"]:
        self_test()
    elif args[:1] == ["tree"] and len(args) == 3:
        check_tree(args[1], args[2])
    elif args[:1] == ["operations"] and len(args) == 3:
        check_operations(args[1], args[2])
    elif args[:1] == ["inclusion"] and len(args) == 3:
        check_inclusion_file(read(args[1]), args[2])
    elif args[:1] == ["consistency"] and len(args) == 4:
        check_consistency_file(read(args[1]), read(args[2]), args[3])
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (IndexError, ValueError, struct.error) as e:  # foreign bytes that are not even of the form
        raise SystemExit("verify_tree: %s" % e)
