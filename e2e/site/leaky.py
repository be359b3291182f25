"""An application that keeps 384 KiB of each request for ever, except of health checks."""

import os

KEPT = []
HEADERS = [
    ("X-Generation", os.environ["SUPERCTL_GENERATION"]),
    ("X-Release", os.environ["SUPERCTL_RELEASE"]),
    ("Content-Length", "2"),
]


def wsgi(environ, start_response):
    environ["wsgi.input"].read()
    if environ["PATH_INFO"] != "/healthz/":
        KEPT.append(b"x" * (384 << 10))
    start_response("200 OK", HEADERS)
    return [b"ok"]
