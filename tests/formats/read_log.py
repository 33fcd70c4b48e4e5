#!/usr/bin/env python3
"""Read the log of a Triveni site without Triveni, from docs/FORMATS.md alone.

    read_log.py DIRECTORY      the entries of the log in it, in order:
        LSN TERM TIME_US KIND BODY_BYTES HEADER_SHA256 SESSION SEQUENCE CLIENT WHAT     ("-": none)
          put|del COLLECTION KEY                                                        one line per operation

Checks what the format allows to check: checksums, hashes, the chain. Needs nothing but Python's own modules (those of Debian's
python3-minimal suffice). Exit 1 with the place and the reason at the first damage.
"""
import hashlib
import os
import re
import struct
import sys

BLOCK = 4096
KINDS = {1: "txn", 2: "noop", 3: "config", 4: "restore-point", 5: "session", 6: "audit", 7: "members"}
MODES = {1: "majority", 2: "local"}
ACTS = {1: "open", 2: "close", 3: "expire"}
NONE16 = b"\0" * 16


class Damage(Exception):
    pass


def need(ok, what):
    if not ok:
        raise Damage(what)


# ---- CRC32C (RFC 3720 B.4), eight bytes at a time ----

def crc_tables():
    tables = [[0] * 256 for _ in range(8)]
    for n in range(256):
        c = n
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
        tables[0][n] = c
    for n in range(256):
        for t in range(1, 8):
            c = tables[t - 1][n]
            tables[t][n] = c >> 8 ^ tables[0][c & 255]
    return tables


TABLES = crc_tables()


def crc32c(data):
    t0, t1, t2, t3, t4, t5, t6, t7 = TABLES
    crc = 0xFFFFFFFF
    whole = len(data) // 8 * 8
    for low, high in struct.iter_unpack("<II", data[:whole]):
        low ^= crc
        crc = (t7[low & 255] ^ t6[low >> 8 & 255] ^ t5[low >> 16 & 255] ^ t4[low >> 24]
               ^ t3[high & 255] ^ t2[high >> 8 & 255] ^ t1[high >> 16 & 255] ^ t0[high >> 24])
    for b in data[whole:]:
        crc = crc >> 8 ^ t0[(crc ^ b) & 255]
    return crc ^ 0xFFFFFFFF


def crc_without(data, at):
    """CRC32C with the four bytes at `at` taken as zero."""
    return crc32c(data[:at] + b"\0\0\0\0" + data[at + 4:])


# ---- bodies ----

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(self.at + n <= len(self.data), "a body ends early")
        self.at += n
        return self.data[self.at - n:self.at]

    def u(self, n):
        return int.from_bytes(self.take(n), "little")

    def text(self, n=2):
        return self.take(self.u(n)).decode("utf-8", "backslashreplace")


def read_body(kind, body):
    """Session, sequence, client, what, operations."""
    r = Reader(body)
    r.take(16)  # salt
    session, sequence, client, what, ops = NONE16, None, None, None, []
    if kind == 1:
        session, sequence, _level, client = r.take(16), r.u(8), r.u(1), r.text()
        for _ in range(r.u(4)):
            op, collection, key = r.u(1), r.text(), r.text()
            need(op in (1, 2), "an operation of kind %d" % op)
            if op == 1:
                r.take(r.u(4))
            ops.append("%s %s %s" % ("put" if op == 1 else "del", collection, key))
    elif kind == 2:
        what = r.text()
    elif kind == 3:
        what, client = MODES[r.u(1)], r.text()
    elif kind == 4:
        what, client = r.text(), r.text()
    elif kind == 5:
        what, session, client = ACTS[r.u(1)], r.take(16), r.text()
    elif kind == 6:
        client, what = r.text(), r.text()
        r.take(r.u(4))
    elif kind == 7:
        _cluster, client, _founded = r.take(16), r.text(), r.text()
        for _ in range(r.u(1)):
            _name, member, votes, _peer, _client = r.text(), r.u(1), r.u(1), r.text(), r.text()
            need(member in (1, 2) and votes in (0, 1, 2), "a member that is none")
    need(r.at == len(body), "bytes follow a body")
    if session == NONE16:
        session = sequence = None
    return session.hex() if session else None, sequence, client, what, ops


# ---- entries ----

class Position:
    """After the entry lsn: what the next one must follow."""

    def __init__(self, lsn, term, time, digest):
        self.lsn, self.term, self.time, self.hash = lsn, term, time, digest


def read_entry(data, cluster, after):
    need(len(data) >= 128, "an entry is cut short")
    (magic, form, kind, size, header_crc, body_crc, flags, cluster_id, term, lsn, time, prev,
     body_hash) = struct.unpack("<IHHIIII16sQQQ32s32s", data[:128])
    need(magic == 0x454E5654 and form == 1 and flags == 0 and kind in KINDS, "no entry here")
    need(header_crc == crc_without(data[:128], 12), "an entry's header checksum")
    body = data[128:128 + size]
    need(16 <= size <= 48 << 20 and len(body) == size, "an entry's size")
    need(body_crc == crc32c(body), "a body's checksum")
    need(body_hash == hashlib.sha256(body).digest(), "a body's hash")
    need(cluster_id == cluster, "an entry of another cluster")
    need(lsn == after.lsn + 1 and prev == after.hash, "lsn %d does not follow %d" % (lsn, after.lsn))
    need(term >= after.term and time >= after.time, "term or time of lsn %d go back" % lsn)
    here = Position(lsn, term, time, hashlib.sha256(data[:128]).digest())
    return here, kind, body, 128 + size


def show(entry, kind, body):
    session, sequence, client, what, ops = read_body(kind, body)
    fields = [entry.lsn, entry.term, entry.time, KINDS[kind], len(body), entry.hash.hex(), session, sequence, client,
              what]
    print(" ".join("-" if f is None else str(f) for f in fields))
    for op in ops:
        print("  " + op)


# ---- segments ----

class Segment:
    def __init__(self, path):
        self.name = os.path.basename(path)
        with open(path, "rb") as f:
            self.data = f.read()
        h = self.data[:128]
        need(len(h) == 128, "%s: no segment header" % self.name)
        magic, form, zero, crc, _, self.cluster, self.seq, self.nonce, lsn, term, time, digest = struct.unpack(
            "<IHHII16sQQQQQ32s", h[:104])
        need(magic == 0x534E5654 and form == 1 and zero == 0, "%s: no segment header" % self.name)
        need(crc == crc_without(h, 8), "%s: header checksum" % self.name)
        need("%016x.seg" % self.seq == self.name, "%s says it is segment %x" % (self.name, self.seq))
        self.start = Position(lsn, term, time, digest)

    def batch(self, offset):
        """(number, durable, first lsn, entries, payload, payload's checksum) of the batch header there, or None."""
        h = self.data[offset:offset + 64]
        if len(h) < 64:
            return None
        magic, form, zero, crc, payload_crc, seq, nonce, first, block, number, durable, count, size = struct.unpack(
            "<IHHIIQQQIIIIQ", h)
        if (magic != 0x424E5654 or form != 1 or zero != 0 or crc != crc_without(h, 8) or seq != self.seq
                or nonce != self.nonce or block != offset // BLOCK or first == 0 or number <= durable):
            return None
        return number, durable, first, count, self.data[offset + 64:offset + 64 + size], payload_crc, size

    def proven(self, offset, number):
        """Does a later batch say that this number was durable?"""
        later = (self.batch(o) for o in range(offset, len(self.data), BLOCK))
        return any(b is not None and b[0] > number and b[1] >= number for b in later)

    def walk(self, after):
        """Show the entries; `after` is the segment that follows, or None."""
        at, offset, number = self.start, BLOCK, 1
        while True:
            if after is not None and at.lsn == after.start.lsn:
                need(at.hash == after.start.hash, "another history goes on in " + after.name)
                return at
            b = self.batch(offset)
            whole = b is not None and b[0] == number and len(b[4]) == b[6] and crc32c(b[4]) == b[5]
            if not whole:
                need(b is None or b[0] == number, "batch %d is not here" % number)
                need(not self.proven(offset, number), "batch %d is damaged" % number)
                need(after is None, "entries after lsn %d are missing" % at.lsn)
                return at  # the end, or a torn tail that was never acknowledged
            need(b[2] == at.lsn + 1, "batch %d begins at lsn %d" % (number, b[2]))
            rest = b[4]
            for _ in range(b[3]):
                if after is not None and at.lsn == after.start.lsn:
                    break
                at, kind, body, used = read_entry(rest, self.cluster, at)
                show(at, kind, body)
                rest = rest[used:]
            offset += (64 + b[6] + BLOCK - 1) // BLOCK * BLOCK
            number += 1


def main(directory):
    names = sorted(n for n in os.listdir(directory) if re.fullmatch("[0-9a-f]{16}[.]seg", n))
    counts = []
    for name in reversed(names):  # a later segment voids what earlier ones hold from its start on
        segment = Segment(os.path.join(directory, name))
        if not counts or segment.start.lsn < counts[0].start.lsn:
            counts.insert(0, segment)
    for i, segment in enumerate(counts):
        try:
            segment.walk(counts[i + 1] if i + 1 < len(counts) else None)
        except Damage as why:
            raise Damage("%s: %s" % (segment.name, why))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    try:
        assert crc32c(b"123456789") == 0xE3069283
        main(sys.argv[1])
    except Damage as why:
        raise SystemExit("read_log: %s" % why)
