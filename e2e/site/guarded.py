"""An application that answers 500 to half of its users in a release with a file "bad", and in each release while the file of HICCUP is there.

With a file "raises" it raises an exception instead. With a file "slow" each page takes a while longer, and with a
file "hangs" the ASGI application answers nothing.
"""

import asyncio
import os
import random
import time

BAD = os.path.exists("bad")
SLOW = os.path.exists("slow")
HICCUP = os.environ.get("HICCUP", "/nonexistent")
HEADERS = [
    ("X-Generation", os.environ["SUPERCTL_GENERATION"]),
    ("X-Release", os.environ["SUPERCTL_RELEASE"]),
    ("Content-Length", "0"),
]


def fail():
    raise ValueError("no such template")


def wsgi(environ, start_response):
    if SLOW and environ["PATH_INFO"] != "/healthz/":
        time.sleep(0.06)
    if environ["PATH_INFO"] != "/healthz/" and os.path.exists("raises") and random.random() < 0.5:
        fail()
    status = "200 OK"
    if environ["PATH_INFO"] != "/healthz/" and (BAD or os.path.exists(HICCUP)) and random.random() < 0.5:
        if BAD:
            try:
                fail()
            except ValueError:
                import traceback

                traceback.print_exc()
        status = "500 Internal Server Error"
    start_response(status, HEADERS)
    return []


async def asgi(scope, receive, send):
    if os.path.exists("hangs") and scope["path"] != "/healthz/":
        await asyncio.sleep(3600)
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
