"""Serves requests through the hook's part in C, and looks whether something of them stays: leaks.py HOOK REQUESTS.

REQUESTS are served by each of some applications, good and bad ones.
"""

import asyncio
import gc
import importlib.util
import os
import sys
import tempfile
import warnings

START = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
PART = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST = {"type": "http.response.body", "body": b"x"}
WAITS = dict(LAST, waits=True)
FAILS = dict(LAST, fails=True)


class Own(Exception):
    pass


class Server:
    disconnected = False

    def is_closing(self):
        return False

    @property
    def transport(self):
        return self

    async def send(self, message):
        if message.get("fails"):
            raise Own("send")
        if message.get("waits"):
            await asyncio.sleep(0)


async def answers(scope, receive, send):
    await send(START)
    await send(message=PART)
    await send(LAST)


async def waits(scope, receive, send):
    await send(START)
    await send(WAITS)
    await asyncio.sleep(0)


async def fails(scope, receive, send):
    await send(START)
    raise Own("app")


async def cannot_send(scope, receive, send):
    await send(START)
    await send(FAILS)


async def sends_again(scope, receive, send):
    await send(START)
    send(LAST).close()
    sending = send(LAST)
    await sending
    try:
        await sending
    except RuntimeError:
        pass


async def has_tasks(scope, receive, send):
    await send(START)
    cancelled = asyncio.ensure_future(send(LAST))
    cancelled.cancel()
    await asyncio.gather(cancelled, asyncio.ensure_future(send(WAITS)), return_exceptions=True)


async def is_a_cycle(scope, receive, send):
    scope["send"], scope["last"] = send, send(LAST)
    await send(START)


async def sends_nonsense(scope, receive, send):
    for message in {"type": 7}, {"type": "http.response.start", "status": "x"}, {}, dict(START, status=2**70):
        await send(message)


def at_once(scope, receive, send):
    raise Own("at once")


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def serve(app, requests):
    for _ in range(requests):
        try:
            await app({"type": "http", "path": "/"}, None, Server().send)
        except Own:
            pass


def look(shared):
    """Returns how many objects of the part in C there are, and how often each shared object is referred to."""
    gc.collect()
    kinds = [type(o).__name__ for o in gc.get_objects()]
    return [kinds.count("Run"), kinds.count("Request")] + [sys.getrefcount(o) for o in shared]


hook, requests = sys.argv[1], int(sys.argv[2])
warnings.simplefilter("ignore")  # of coroutines that were never awaited
native = load("hook", os.path.join(hook, "sitecustomize.py"))._native()
if native is None:
    sys.exit("the part in C cannot be loaded")
directory = tempfile.mkdtemp()
counting = load("superctl_requests", os.path.join(hook, "superctl_requests.py")).Counting(directory, ["/probe"], print, native)
drains = native.flag(os.fsencode(os.path.join(directory, "flag"))).drains
leaks = 0
for app in answers, waits, fails, cannot_send, sends_again, has_tasks, is_a_cycle, sends_nonsense, at_once:
    inside = counting.asgi(app, lambda send: False, drains, lambda scope, message: message, True, (None, "disconnected", "transport"))
    request = inside({"type": "http", "path": "/"}, None, Server().send) if app is not at_once else None
    shared = [START, PART, LAST, WAITS, FAILS, Own, Server, app, inside, counting.native, type(inside), type(request)]
    if request is not None:
        request.close()
    asyncio.run(serve(inside, 1))  # asyncio keeps the types of coroutines that it has met
    before = look(shared)
    asyncio.run(serve(inside, requests))
    after = look(shared)
    if before != after:
        leaks += 1
        print(app.__name__, "leaves something:", before, after)
print("served")
sys.exit(leaks > 0)
