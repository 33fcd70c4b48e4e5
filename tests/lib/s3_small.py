#!/usr/bin/env python3
"""A small S3 service on the loopback, with versions and Object Lock in compliance mode, and a clock that can be set: what a real gateway
does in thirty days, in a second. `make test-s3` has the real one.

What it knows: PUT of an object, GET of a version (with a range), DELETE of a version, which is refused before its date, or of a name,
which puts a delete marker on top; ListObjectVersions; GET ?versioning and ?object-lock. Signatures are not checked.

Usage: s3_small.py CLOCK-FILE; the port goes to stdout. CLOCK-FILE holds by how many seconds its clock is ahead.
"""
import calendar
import hashlib
import http.server
import sys
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

LOCK = threading.Lock()
OBJECTS = {}  # name: versions, oldest first: (id, bytes or None for a delete marker, date or 0)
NEXT = [0]


def now():
    with open(sys.argv[1], encoding="ascii") as f:
        return time.time() + float(f.read() or 0)


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def handle_expect_100(self):
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, code):
        self.answer(status, b"<Error><Code>%s</Code></Error>" % code.encode())

    def asked(self):
        url = urllib.parse.urlsplit(self.path)
        name = urllib.parse.unquote(url.path)[1:].partition("/")[2]  # behind the bucket
        return name, dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))

    def do_PUT(self):
        name, _ = self.asked()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        date = self.headers.get("x-amz-object-lock-retain-until-date")
        until = calendar.timegm(time.strptime(date, "%Y-%m-%dT%H:%M:%SZ")) if date else 0
        with LOCK:
            NEXT[0] += 1
            OBJECTS.setdefault(name, []).append(("v%d" % NEXT[0], body, until))
            version = OBJECTS[name][-1][0]
        self.answer(200, x_amz_version_id=version)

    def do_DELETE(self):
        name, query = self.asked()
        with LOCK:
            versions = OBJECTS.get(name, [])
            if "versionId" not in query:
                NEXT[0] += 1
                OBJECTS.setdefault(name, []).append(("v%d" % NEXT[0], None, 0))
                return self.answer(204)
            for v in versions:
                if v[0] == query["versionId"]:
                    if v[2] > now():
                        return self.error(403, "AccessDenied")
                    versions.remove(v)
        return self.answer(204)

    def do_GET(self):
        name, query = self.asked()
        if "versioning" in query:
            return self.answer(200, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        if "object-lock" in query:
            return self.answer(200, b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>")
        if "versions" in query:
            return self.list(query["prefix"])
        with LOCK:
            found = [v for v in OBJECTS.get(name, []) if v[0] == query.get("versionId") and v[1] is not None]
        if not found:
            return self.error(404, "NoSuchVersion")
        version, body, until = found[0]
        headers = {"x_amz_version_id": version}
        if until:
            headers["x_amz_object_lock_mode"] = "COMPLIANCE"
            headers["x_amz_object_lock_retain_until_date"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
        if "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            return self.answer(206, body[int(first):int(last) + 1], **headers)
        return self.answer(200, body, **headers)

    def list(self, prefix):
        rows = []
        with LOCK:
            for name in sorted(OBJECTS):
                if not name.startswith(prefix) or "/" in name[len(prefix):]:
                    continue
                for version, body, _ in reversed(OBJECTS[name]):
                    if body is None:
                        rows.append("<DeleteMarker><Key>%s</Key><VersionId>%s</VersionId></DeleteMarker>" % (escape(name), version))
                    else:
                        rows.append("<Version><Key>%s</Key><VersionId>%s</VersionId><ETag>&quot;%s&quot;</ETag><Size>%d</Size></Version>" % (
                            escape(name), version, hashlib.md5(body).hexdigest(), len(body)))
        self.answer(200, ("<ListVersionsResult>%s<IsTruncated>false</IsTruncated></ListVersionsResult>" % "".join(rows)).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
