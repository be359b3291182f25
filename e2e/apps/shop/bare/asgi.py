import asyncio

from bare import answer


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # the answer of an application without lifespan support
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    status, headers, chunks, wait = answer(scope["path"], body)
    await asyncio.sleep(wait)
    headers = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
