import asyncio

from bare import answer, pauses


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # the answer of an application without lifespan support
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    for pause in pauses(scope["path"], scope["query_string"].decode()):
        await asyncio.sleep(pause)
    status, headers, chunks = answer(scope["path"], body)
    headers = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
