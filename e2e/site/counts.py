"""Applications that answer /missing with 404, /error with 500, /stream in parts, /never not, and everything else with 200."""

import asyncio
import time

STATUS = {"/missing": "404 Not Found", "/error": "500 Internal Server Error"}


def parts(path):
    return [b"x" * 1000] * 20 if path == "/stream" else [b"x"]


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/never":
        time.sleep(3600)
    body = parts(path)
    start_response(STATUS.get(path, "200 OK"), [("Content-Length", str(sum(map(len, body))))])
    return iter(body)


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/never":
        await asyncio.sleep(3600)
    body = parts(scope["path"])
    headers = [(b"content-length", b"%d" % sum(map(len, body)))]
    status = int(STATUS.get(scope["path"], "200 OK")[:3])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in body:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})
