"""The smallest applications, and, as a program, the time that superctl's drain hook takes for one request."""

import sys
import timeit


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def gunicorn():
    from gunicorn.http.wsgi import Response
    from gunicorn.workers.gthread import ThreadWorker

    class Request:
        version, method, path = (1, 1), "GET", "/"

        def should_close(self):
            return False

    request = Request()
    response = Response(request, None, None)
    response.start_response("200 OK", [("Content-Length", "2")])
    plain = Response.default_headers
    while plain.__closure__:  # below what drains and what counts
        (plain,) = [c.cell_contents for c in plain.__closure__ if getattr(c.cell_contents, "__name__", "drains") != "drains"]
    hooked = Response.default_headers
    counting = ThreadWorker.handle_request
    (inner,) = [c for c in counting.__closure__ if getattr(c.cell_contents, "__name__", "") == "handle_request"]
    inner.cell_contents = lambda worker, request, connection: hooked(response)
    bare = lambda worker, request, connection: plain(response)
    return lambda: counting(None, request, None), lambda: bare(None, request, None)


def uvicorn():
    from uvicorn.config import Config

    config = Config(asgi)
    config.load()
    plain = Config(asgi)
    (load,) = [c.cell_contents for c in Config.load.__closure__ if getattr(c.cell_contents, "__name__", "") == "load"]
    load(plain)

    async def receive():
        return {"type": "http.request"}

    class Cycle:
        disconnected = False

        class transport:
            is_closing = staticmethod(lambda: False)

        async def send(self, message):
            pass

    send = Cycle().send

    scope = {"type": "http", "http_version": "1.1", "headers": [], "client": ("127.0.0.1", 1), "scheme": "http"}

    def once(app):
        def run():
            try:
                app(dict(scope), receive, send).send(None)
            except StopIteration:
                pass

        return run

    return once(config.loaded_app), once(plain.loaded_app)


if __name__ == "__main__":
    prepare = {"gunicorn": gunicorn, "uvicorn": uvicorn}.get(sys.argv[1])
    if prepare is None:
        sys.exit(0)
    with_hook, without = prepare()
    least = [1.0, 1.0]
    for _ in range(2000):  # in turns, and the least of all: the machine is not the same from second to second
        for i, f in enumerate((with_hook, without)):
            least[i] = min(least[i], timeit.timeit(f, number=100) / 100)
    print("%.2f µs" % ((least[0] - least[1]) * 1e6))
