#!/usr/bin/env python3
"""Is a directory a bag? Written from RFC 8493 alone, for version 1.0.

Usage: check_bag.py DIRECTORY
Every sentence of the RFC that is checked is named; prints what is broken, and exits with 1, or "valid" with the counts.
"""
import hashlib
import os
import re
import sys

bag = sys.argv[1]
broken = []


def text(name):
    with open(os.path.join(bag, name), encoding="utf-8", newline="") as f:
        return f.read()


def files(folder):
    for path, _, names in os.walk(os.path.join(bag, folder)):
        for name in names:
            yield os.path.relpath(os.path.join(path, name), bag)


def manifest(name, algorithm):
    """2.1.3: lines of checksum, white space, and a path in which only CR, LF and '%' are percent-encoded."""
    listed = {}
    for line in text(name).split("\n")[:-1]:
        found = re.fullmatch(r"([0-9a-fA-F]+)[ \t]+\*?(.+)", line)
        if not found:
            broken.append(f"{name}: {line!r} is no line of a manifest")
            continue
        path = re.sub("%(0[aAdD]|25)", lambda m: chr(int(m[1], 16)), found[2])
        if path.startswith(("/", "~")) or ".." in path.split("/"):
            broken.append(f"{name}: {path} leads out of the bag")
        if path in listed:
            broken.append(f"{name}: {path} is there twice")
        listed[path] = found[1].lower()
    for path, wanted in listed.items():
        h = hashlib.new(algorithm)
        try:
            with open(os.path.join(bag, path), "rb") as f:
                for part in iter(lambda: f.read(1 << 20), b""):
                    h.update(part)
        except OSError as e:
            broken.append(f"{name}: {path}: {e.strerror}")
            continue
        if h.hexdigest() != wanted:
            broken.append(f"{name}: {path} has another {algorithm}")
    return set(listed)


# 2.1.1: exactly these two lines, no byte order mark.
if text("bagit.txt") != "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n":
    broken.append("bagit.txt: not the two lines of version 1.0 in UTF-8")

payload = set(files("data"))
tags = {name for name in os.listdir(bag) if os.path.isfile(os.path.join(bag, name))}
if set(os.listdir(bag)) - tags != {"data"}:
    broken.append("there are folders beside data")
for algorithm in ("sha256", "sha512"):
    # 3: every payload file is listed in every payload manifest, and the other way round.
    listed = manifest(f"manifest-{algorithm}.txt", algorithm)
    for path in listed ^ payload:
        broken.append(f"manifest-{algorithm}.txt: {path} is listed and not there, or the other way round")
    # 2.2.1: tag manifests list the payload manifests and no tag manifest.
    listed = manifest(f"tagmanifest-{algorithm}.txt", algorithm)
    for path in listed ^ {t for t in tags if not t.startswith("tagmanifest-")}:
        broken.append(f"tagmanifest-{algorithm}.txt: {path} is listed and not there, or the other way round")

# 2.2.2: "label: value" lines; Payload-Oxum is the octets and the number of payload files.
info = {}
for line in text("bag-info.txt").split("\n")[:-1]:
    label, colon, value = line.partition(": ")
    if not colon or not value or label != label.strip():
        broken.append(f"bag-info.txt: {line!r} is no label and value")
    info[label] = value
octets = sum(os.path.getsize(os.path.join(bag, path)) for path in payload)
if info.get("Payload-Oxum") != f"{octets}.{len(payload)}":
    broken.append(f"bag-info.txt: Payload-Oxum is {info.get('Payload-Oxum')}, and not {octets}.{len(payload)}")
if not re.fullmatch(r"\d{4}-\d\d-\d\d", info.get("Bagging-Date", "")):
    broken.append("bag-info.txt: Bagging-Date is no date")

if broken:
    print("\n".join(broken))
    sys.exit(1)
print(f"valid: {len(payload)} payload files, {octets} octets")
