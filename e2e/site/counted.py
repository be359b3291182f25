"""Applications that answer as the path says: /404 and other statuses, /raise, /stream, /cut and /long."""


class Broken(Exception):
    pass


def parts(path):
    """Yields the body, in parts where it has no length. A cut body ends before its end."""
    if path == "/long":
        for _ in range(4096):
            yield b"x" * 65536
    elif path == "/stream" or path == "/cut":
        yield b"one "
        yield b"two "
        if path == "/cut":
            raise Broken
        yield b"three"
    else:
        yield b"ok"


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    environ["wsgi.input"].read()
    if path == "/raise":
        raise Broken
    status = int(path[1:]) if path[1:].isdigit() else 200
    length = [] if path in ("/stream", "/cut", "/long") else [("Content-Length", "2")]
    start_response("%d Status" % status, length)
    return parts(path)


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close" if scope["path"] == "/refused" else "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    while (await receive()).get("more_body"):
        pass
    path = scope["path"]
    if path == "/raise":
        raise Broken
    status = int(path[1:]) if path[1:].isdigit() else 200
    length = [] if path in ("/stream", "/cut", "/long") else [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": status, "headers": length})
    if not length:
        for part in parts(path):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok" if length else b""})


async def rsgi(scope, protocol):
    if scope.proto != "ws":
        protocol.response_str(200, [("content-length", "2")], "ok")
    elif scope.path == "/refused":
        return protocol.close(403)
    else:
        transport = await protocol.accept()
        while (await transport.receive()).kind:
            pass
        return protocol.close()
