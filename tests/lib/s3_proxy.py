#!/usr/bin/env python3
"""A TCP proxy that stands between an S3 client and its service, and is as bad as the file MODE says at the moment:

  pass          nothing is done to what goes through
  slow SECONDS  each piece of a request waits as long
  503           each request is answered with 503 SlowDown, the service does not see it
  cut           each request reaches the service, its answer is cut off
  hang          nothing is answered any more
  flaky N       every Nth request is as with cut, the others pass

Usage: s3_proxy.py LISTEN-PORT SERVICE-PORT MODE-FILE LOG-FILE; a line a request goes to the log.
"""
import socket
import sys
import threading
import time

listen, service, mode_file, log_file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
BUSY = b"<Error><Code>SlowDown</Code><Message>by the proxy</Message></Error>"
count = 0
lock = threading.Lock()


def mode():
    with open(mode_file, encoding="ascii") as f:
        return f.read().split() or ["pass"]


def note(line, what):
    global count
    with lock:
        count += 1
        with open(log_file, "a", encoding="ascii") as f:
            f.write(f"{count} {what} {line}\n")
        return count


def back(server, client, state):
    try:
        while data := server.recv(65536):
            if state["cut"]:
                break
            client.sendall(data)
    except OSError:
        pass
    for s in (server, client):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client):
    server = socket.create_connection(("127.0.0.1", service))
    state = {"cut": False}
    threading.Thread(target=back, args=(server, client, state), daemon=True).start()
    try:
        while data := client.recv(65536):
            m = mode()
            if data[:4] in (b"GET ", b"PUT ", b"HEAD", b"DELE"):
                n = note(data.split(b"\r\n", 1)[0].decode("ascii", "replace"), " ".join(m))
                state["cut"] = m[0] == "cut" or (m[0] == "flaky" and n % int(m[1]) == 0)
                if m[0] == "503":
                    client.sendall(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BUSY) + BUSY)
                    break
            if m[0] == "slow":
                time.sleep(float(m[1]))
            while mode()[0] == "hang":
                time.sleep(0.2)
            server.sendall(data)
    except OSError:
        pass
    finally:
        server.close()
        client.close()


door = socket.create_server(("127.0.0.1", listen), backlog=64)
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
