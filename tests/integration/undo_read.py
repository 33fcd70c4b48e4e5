#!/usr/bin/env python3
"""A read at one standby by somebody who has seen an lsn, through libtriveni: prints the lsn of the state that answered, or the error's name.

Usage: undo_read.py libtriveni.so CLIENT.yaml HOST:PORT COLLECTION KEY SEEN_LSN"""
import ctypes
import sys

library, profile, endpoint, collection, key, seen = sys.argv[1:]
p = dict(line.strip().split(": ", 1) for line in open(profile) if ": " in line and not line.startswith("#"))
lib = ctypes.CDLL(library)


class Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t)]


lib.tvn_code_name.restype = ctypes.c_char_p
lib.tvn_raise_token.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
lib.tvn_get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, Bytes, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
error = ctypes.create_string_buffer(4096)
db = ctypes.c_void_p()
uri = "triveni://%s/?id=%s&ca=%s&cert=%s&key=%s&target=standby&timeout_ms=3000" % (endpoint, p["id"], p["ca"], p["cert"], p["key"])
code = lib.tvn_open(uri.encode(), None, ctypes.byref(db), error)
if code == 0:
    lib.tvn_raise_token(db, int(seen))
    records = ctypes.POINTER(ctypes.c_uint64)()  # its first member is the lsn
    code = lib.tvn_get(db, collection.encode(), Bytes(key.encode(), len(key)), None, ctypes.byref(records), error)
print(records[0] if code == 0 else lib.tvn_code_name(code).decode())
