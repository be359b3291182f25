"""The site without Django, for tests that start it often: bare.wsgi and bare.asgi.

It imports in a few milliseconds, and serves the paths that most loads request.
"""

import hashlib
import json
import os
from urllib.parse import parse_qs

from shop import release

release.boot()

CHUNK = bytes(range(256)) * 256
STREAM_CHUNKS = 32  # of 64 KiB: 2 MiB


def head(content_type, length):
    return [
        ("Content-Type", content_type),
        ("Content-Length", str(length)),
        ("X-Release", release.NAME),
        ("X-Generation", release.GENERATION),
        ("X-Pid", str(os.getpid())),
    ]


def answer(path, body):
    """Return status, headers and body."""
    if path == "/stream":
        return 200, head("application/octet-stream", STREAM_CHUNKS * len(CHUNK)), [CHUNK] * STREAM_CHUNKS
    found = path in ("/", "/healthz/", "/slow", "/echo")
    text = json.dumps({"release": release.NAME, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    return 200 if found else 404, head("application/json", len(text)), [text]


def pauses(path, query):
    """Yield how long to wait, again and again, before the answer."""
    if path != "/slow":
        return
    query = parse_qs(query)
    yield float(query.get("s", ["1"])[0])
    while "until" in query and not os.path.exists(query["until"][0]):
        yield 0.02
