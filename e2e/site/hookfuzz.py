"""Applications that behave as /N says, well or badly: N is the seed of what they do."""

import random


class Broken(Exception):
    pass


def plan(path):
    r = random.Random(path)
    headers = [("X-Seed", path)]
    body = [bytes(r.choices(b"abc\r\n", k=r.choice([0, 1, 10, 5000]))) for _ in range(r.choice([0, 1, 1, 3]))]
    connection = r.choice([None, None, None, "close", "keep-alive", "Keep-Alive", "x-other"])
    if connection:
        headers.append((r.choice(["Connection", "connection"]), connection))
    length = r.choice(["right", "right", "none", "short"])
    size = sum(map(len, body))
    if length == "right" or (length == "short" and size < 2):
        headers.append(("Content-Length", str(size)))
    elif length == "short":
        headers.append(("Content-Length", str(size // 2)))
    status = r.choice([200, 200, 200, 201, 204, 304, 404, 500])
    if status in (204, 304):
        body, headers = [], [h for h in headers if h[0] != "Content-Length"]
    fault = r.choice([None] * 8 + ["at once", "after the start", "in the body", "no start", "two starts"])
    return status, headers, body, fault, r


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/healthz/":
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    status, headers, body, fault, r = plan(path)
    how = r.choice(["list", "generator", "write", "iterator"])
    if r.random() < 0.7:
        environ["wsgi.input"].read()
    if how == "write":
        if fault == "at once":
            raise Broken
        write = start_response("%d Status" % status, headers)
        for part in body:
            write(part)
        if fault:
            raise Broken
        return []

    def parts():
        for i, part in enumerate(body):
            if fault == "in the body" and i == len(body) - 1:
                raise Broken
            yield part

    if fault == "at once":
        raise Broken
    if fault != "no start":
        start_response("%d Status" % status, headers)
    if fault == "two starts":
        start_response("200 OK", [])
    if fault == "after the start":
        raise Broken
    if how == "list":
        return list(parts())
    return parts()


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    path = scope["path"]
    if scope["type"] == "websocket":
        await receive()
        if path == "/refused":
            return await send({"type": "websocket.close"})
        await send({"type": "websocket.accept", "headers": [(b"x-seed", b"ws")]})
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            await send({"type": "websocket.send", "text": "echo " + str(message.get("text"))})
    if path == "/healthz/":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        return await send({"type": "http.response.body", "body": b"ok"})
    status, headers, body, fault, r = plan(path)
    headers = [(k.lower().encode(), v.encode()) for k, v in headers]
    if r.random() < 0.7:
        while (await receive()).get("more_body"):
            pass
    if fault == "at once":
        raise Broken
    start = {"type": "http.response.start", "status": status}
    if headers or r.random() < 0.5:
        start["headers"] = r.choice([list, tuple, iter])(headers)
    if fault != "no start":
        await send(start)
    if fault == "two starts":
        await send(start)
    if fault == "after the start":
        raise Broken
    for i, part in enumerate(body):
        if fault == "in the body" and i == len(body) - 1:
            raise Broken
        await send({"type": "http.response.body", "body": part, "more_body": True})
    if r.random() < 0.95:
        await send({"type": "http.response.body", "body": b""})


async def ending_asgi(scope, receive, send):
    """The same for daphne, which leaves a client without an end when an application fails in the middle of an answer."""
    if scope["type"] != "http":
        return await asgi(scope, receive, send)
    started, missing = False, 0

    async def send_on(message):
        nonlocal started, missing
        if message["type"] == "http.response.start":
            if started:
                return
            message = dict(message, headers=list(message.get("headers", ())))
            missing = int(dict(message["headers"]).get(b"content-length", 0))
        elif not started or not message.get("more_body"):
            return
        started = True
        missing -= len(message.get("body", b""))
        await send(message)

    try:
        await asgi(scope, receive, send_on)
    except Broken:
        if not started:
            raise
    if not started:
        raise Broken
    await send({"type": "http.response.body", "body": b"." * missing})
