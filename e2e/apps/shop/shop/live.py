"""A raw ASGI application with long-lived connections: uvicorn shop.live:application.

/ws is a WebSocket that sends the name of the release and then echoes. /events sends ten server-sent events a second
until the client disconnects. Every other path answers with the name of the release.
"""

import asyncio

from shop import release

release.boot()
NAME = release.NAME.encode()


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/events":
        await events(send)
    elif scope["type"] == "http":
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(NAME)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": NAME})
    else:
        raise NotImplementedError(scope["type"])  # the answer of an application without lifespan support


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": NAME})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message.get("bytes") or message["text"].encode()})


async def events(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while True:
        await send({"type": "http.response.body", "body": b"data: " + NAME + b"\n\n", "more_body": True})
        await asyncio.sleep(0.1)
