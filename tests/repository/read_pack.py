#!/usr/bin/env python3
"""Read a pack of a Triveni archive without Triveni, from docs/REPOSITORY-FORMAT.md alone.

    read_pack.py ARCHIVE KEKFILE PACK          one line per entry: lsn term time_us kind body_sha256 header_sha256
    read_pack.py --raw ARCHIVE KEKFILE OBJECT  the decrypted, decompressed bytes of a pack or snapshot on stdout
    read_pack.py --index ARCHIVE KEKFILE INDEX one line per reference: lsn collection key (as Python writes bytes)
    read_pack.py --self-test                   published vectors: Tink's streaming format, HKDF (RFC 5869)

Needs nothing but Python's own modules (those of Debian's python3-minimal suffice) and the command line tools `openssl`
(AES in counter mode, key unwrap) and `zstd`. Keys are given to openssl on its command line, where other users of the machine
can see them: this is a proof that the format is open, for tests and for an emergency, and not a tool for every day.
"""
import ast
import glob
import hashlib
import os
import struct
import subprocess
import sys

KINDS = {1: "txn", 2: "noop", 3: "config", 4: "restore-point", 5: "session", 6: "audit"}


def run(args, data):
    return subprocess.run(args, input=data, stdout=subprocess.PIPE, check=True).stdout


def need(ok, what):
    if not ok:
        raise SystemExit("read_pack: " + what)


# ---- HMAC (RFC 2104) and HKDF (RFC 5869) ----

def hmac(name, key, data):
    block = hashlib.new(name).block_size
    key = (hashlib.new(name, key).digest() if len(key) > block else key).ljust(block, b"\0")
    inner = hashlib.new(name, bytes(b ^ 0x36 for b in key) + data).digest()
    return hashlib.new(name, bytes(b ^ 0x5C for b in key) + inner).digest()


def hkdf(name, ikm, salt, info, size):
    key = hmac(name, salt or b"\0" * hashlib.new(name).digest_size, ikm)
    out, last, n = b"", b"", 1
    while len(out) < size:
        last = hmac(name, key, last + info + bytes([n]))
        out, n = out + last, n + 1
    return out[:size]


# ---- AES-GCM (NIST SP 800-38D): counter mode by openssl, GHASH here ----

class Gcm:
    def __init__(self, key):
        self.key = key
        self.cipher = "-aes-%d-" % (8 * len(key))
        h = int.from_bytes(self.openssl("ecb", b"\0" * 16), "big")
        powers = []  # H times x^0 .. x^127 in GCM's reflected field
        for _ in range(128):
            powers.append(h)
            h = h >> 1 ^ (0xE1 << 120 if h & 1 else 0)
        self.table = []
        for byte in range(16):
            row = [0] * 256
            for bit in range(8):
                for v in range(256):
                    if v >> (7 - bit) & 1:
                        row[v] ^= powers[8 * byte + bit]
            self.table.append(row)

    def openssl(self, mode, data, iv=None):
        args = ["openssl", "enc", self.cipher + mode, "-K", self.key.hex(), "-nopad"]
        return run(args + (["-iv", iv.hex()] if iv else []), data)

    def ghash(self, data):
        z, table = 0, self.table
        for at in range(0, len(data), 16):
            x = (z ^ int.from_bytes(data[at:at + 16], "big")).to_bytes(16, "big")
            z = 0
            for i in range(16):
                z ^= table[i][x[i]]
        return z.to_bytes(16, "big")

    def open(self, nonce, sealed):
        text, tag = sealed[:-16], sealed[-16:]
        stream = self.openssl("ctr", b"\0" * 16 + text, nonce + b"\0\0\0\1")
        padded = text + b"\0" * (-len(text) % 16)
        lengths = struct.pack(">QQ", 0, 8 * len(text))
        seal = bytes(a ^ b for a, b in zip(self.ghash(padded + lengths), stream[:16]))
        need(seal == tag, "a segment is not authentic")
        return stream[16:]


# ---- the streaming format ----

def decrypt(key, data, identity, segment_size=65536, key_size=32, hash_name="sha256"):
    header = 1 + key_size + 7
    need(data[0] == header, "wrong header length")
    salt, prefix = data[1:1 + key_size], data[1 + key_size:header]
    gcm = Gcm(hkdf(hash_name, key, salt, identity, key_size))
    out, at, n = [], header, 0
    while at < len(data):
        end = min((n + 1) * segment_size, len(data))
        nonce = prefix + struct.pack(">IB", n, end == len(data))
        out.append(gcm.open(nonce, data[at:end]))
        at, n = end, n + 1
    return b"".join(out)


# ---- the archive ----

def load(path):
    with open(path, "rb") as f:
        return f.read()


def text_file(archive, name):
    """Both lines, and the first one as a dictionary. Such JSON (no true, false, null) is a Python literal as well."""
    lines = load(archive + "/" + name).split(b"\n")
    need(len(lines) == 3 and lines[2] == b"", name + " has not two lines")
    return lines[0] + b"\n", ast.literal_eval(lines[0].decode()), ast.literal_eval(lines[1].decode())


def open_object(archive, kek, name):
    line, about, seal = text_file(archive, "repository.json")
    need(seal == {"sha256": hashlib.sha256(line).hexdigest()}, "repository.json was changed")

    def identity(of):
        return ("triveni/1|%s|%s" % (about["cluster_id"], of)).encode()

    zero = run(["openssl", "enc", "-id-aes256-wrap-pad", "-K", kek.hex(), "-iv", "a65959a6"], b"\0" * 32)
    ids = [hashlib.sha256(b"triveni kek" + of).hexdigest()[:16] for of in (kek, zero)]
    # The generation of keys that is under this KEK; every file of keys names its KEK.
    key_names = ["keys/%s/%s.key" % (path.split("/")[-2], name.split("/")[1])
                 for path in glob.glob(archive + "/keys/[0-9]*/")]
    key_names = [n for n in key_names if os.path.exists(archive + "/" + n)]
    need(key_names, "no key of " + name)
    key_names = [n for n in key_names if text_file(archive, n)[1]["kek_id"] in ids]
    need(key_names, "another KEK")
    key_name = key_names[-1]
    meta_name = name.rsplit(".", 1)[0] + ".meta"
    key_line, wrapped, key_seal = text_file(archive, key_name)
    key = run(["openssl", "enc", "-d", "-id-aes256-wrap-pad", "-K", kek.hex(), "-iv", "a65959a6"],
              bytes.fromhex(wrapped["wrapped"]))
    need(len(key) == 32, "the key does not unwrap")
    meta_line, meta, meta_seal = text_file(archive, meta_name)
    for of, text, given in (key_name, key_line, key_seal), (meta_name, meta_line, meta_seal):
        mac_key = hkdf("sha256", key, b"", identity(of), 32)
        need(given == {"mac": hmac("sha256", mac_key, text).hex()}, of + " was changed")

    data = load(archive + "/" + name)
    need(hashlib.sha256(data).hexdigest() == meta["sha256"], name + " was changed")
    plain = run(["zstd", "-d", "-q", "-c"], decrypt(key, data, identity(name)))
    need(hashlib.sha256(plain).hexdigest() == meta["plain_sha256"], name + " holds something else")
    return meta, plain


def entries(meta, plain):
    prev, at = bytes.fromhex(meta["prev"]["hash"]), 0
    while at < len(plain):
        raw = plain[at:at + 128]
        (magic, form, kind, size, _, _, flags, _, term, lsn, time_us, prev_hash,
         body_hash) = struct.unpack("<IHHIIII16sQQQ32s32s", raw)
        body = plain[at + 128:at + 128 + size]
        need(magic == 0x454E5654 and form == 1 and flags == 0, "no entry at byte %d" % at)
        need(hashlib.sha256(body).digest() == body_hash, "the body of lsn %d was changed" % lsn)
        need(prev_hash == prev, "lsn %d does not continue the entry before" % lsn)
        prev, at = hashlib.sha256(raw).digest(), at + 128 + size
        yield lsn, term, time_us, KINDS[kind], body_hash.hex(), prev.hex()
    need(prev.hex() == meta["end"]["hash"], "the last entry is not the one that the meta names")


def references(meta, plain):
    """The blocks in order; then the top must say how each begins."""
    refs, at = [], 0
    while at < len(plain):
        start, fields = at, []
        for _ in range(2):
            (size,) = struct.unpack_from("<H", plain, at)
            fields.append(plain[at + 2:at + 2 + size])
            at += 2 + size
        (lsn,) = struct.unpack_from("<Q", plain, at)
        at += 8
        refs.append((fields[0], fields[1], lsn))
        need(at - start == 12 + len(fields[0]) + len(fields[1]), "no reference at byte %d" % start)
    refs, top = refs[:meta["references"]], refs[meta["references"]:]
    need(refs == sorted(refs), "references are out of order")
    need(len(top) == meta["blocks"] and all(ref in refs for ref in top), "the top is of another index")
    return refs


def self_test():
    # RFC 5869, test case 1.
    okm = hkdf("sha256", b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    need(okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865", "HKDF")
    # The vector that Tink publishes beside its documentation of AES-GCM-HKDF streaming (tink-cross-lang-tests,
    # aes_gcm_hkdf_streaming_key_test.py): 64-byte segments, 16-byte keys, SHA-1.
    sealed = bytes.fromhex(
        "1893b3af5e14ab378d065addfc8484da642c0862877baea8"
        "db92d9c77406a406168478821c4298eab3e6d531277f4c1a051714faebcaefcbca7b7be05e9445ea"
        "a0bb2904153398a25084dd80ae0edcd1c3079fcea2cd3770630ee36f7539207b8ec9d754956d486b"
        "71cdf989f0ed6fba6779b63558be0a66e668df14e1603cd2"
        "af8944844078345286d0b292e772e7190775c51a0f83e40c0b75821027e7e538e111")
    text = decrypt(bytes.fromhex("6eb56cdc726dfbe5d57f2fcdc6e9345b"), sealed, b"aad", 64, 16, "sha1")
    need(text == b"This is a fairly long plaintext. It is of the exact length to create three output blocks. ", "Tink")
    print("ok")


def main(args):
    if args == ["--self-test"]:
        return self_test()
    raw, index = args[:1] == ["--raw"], args[:1] == ["--index"]
    args = args[raw or index:]
    need(len(args) == 3, __doc__)
    archive, kek_file, name = args
    meta, plain = open_object(archive, bytes.fromhex(load(kek_file).decode().strip()), name)
    if raw:
        sys.stdout.buffer.write(plain)
        return
    if index:
        for collection, key, lsn in references(meta, plain):
            print(lsn, collection, key)
        return
    for entry in entries(meta, plain):
        print(*entry)


if __name__ == "__main__":
    main(sys.argv[1:])
