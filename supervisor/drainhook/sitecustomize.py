"""superctl's drain hook. It makes a Python web server finish its persistent connections without losing a request.

A server that stops closes its idle connections. A client that sends its next request on one at that moment loses the request.
With this hook, a worker that drains answers with "Connection: close" (RFC 9112, section 9.6). Each client then closes its
connection, and superctl sends the stop signal when none is left. A worker drains while superctl keeps a certain file in place.

Python imports the module sitecustomize when it starts, and superctl puts this directory first on PYTHONPATH. The module patches
a server when the server is imported, removes itself from sys.path, and imports the sitecustomize that it has hidden. If
something in it fails, it prints one line to stderr, and the application runs without the hook.
"""

import os
import sys
from time import monotonic


def _complain(what):
    if not _complain.silent:
        _complain.silent = True
        try:
            error = sys.exc_info()[1]
            sys.stderr.write("superctl: the drain hook fails, the application runs without it: %s: %r\n" % (what, error))
        except Exception:
            pass


_complain.silent = False


def _flag(path):
    """Returns a function that reports whether this worker drains. It looks for a file by name, so a changed file cannot break it.

    It looks at most once in a millisecond: many answers are made in that time, and the clock is read without a system call.
    """
    os.stat(path)  # the flag exists from the start; without it, superctl cannot tell this worker to drain
    until = value = 0

    def drains(now=monotonic, access=os.access, raised=path + ".raised", exists=os.F_OK):
        nonlocal until, value
        time = now()
        if time >= until:
            value, until = access(raised, exists), time + 0.001
        return value

    return drains


def _hold(path):
    """Returns a mapping of the flag. It is never read, so a changed file cannot break it.

    superctl sees the mapping and so knows that a server has the hook. A mapping survives forks, and needs no descriptor, which
    an application might close.
    """
    import mmap

    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        return mmap.mmap(fd, 1, mmap.MAP_SHARED, mmap.PROT_READ)
    finally:
        os.close(fd)


class _Finder(object):
    """Patches a module after it has been executed. Other finders and loaders find and load it."""

    def __init__(self, patches, others):
        self.patches, self.others = patches, others

    def find_spec(self, name, path=None, target=None):
        patch = self.patches.get(name) or self.others(name)
        if patch is None:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                try:
                    self.afterwards(spec.loader, name, patch)
                except Exception:
                    _complain("patch " + name)
                return spec
        return None

    def afterwards(self, loader, name, patch):
        execute = loader.exec_module

        def exec_module(module):
            execute(module)
            if module.__name__ == name:  # the loader of an archive serves other modules too
                patch(module)

        loader.exec_module = exec_module  # of this one instance, so that the module's loader is what it would be


def _load(name):
    """Imports a module from this directory, which is in sys.path no more when it is needed."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, os.path.join(os.path.dirname(__file__), name + ".py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _native():
    """Returns what of the hook is in C, or None where this interpreter cannot load it: then the same is done in Python.

    It is of the stable ABI of CPython, which builds without the interpreter's lock and with Py_TRACE_REFS do not have.
    """
    from importlib.machinery import EXTENSION_SUFFIXES

    if os.environ.get("DRAIN_HOOK") == "python" or sys.implementation.name != "cpython" or sys.version_info < (3, 8):
        return None
    if ".abi3.so" not in EXTENSION_SUFFIXES or "t" in sys.abiflags or hasattr(sys, "getobjects"):
        return None
    path = os.path.join(os.path.dirname(__file__), "superctl_native.abi3.so")
    try:
        if _processor(path) != _processor("/proc/self/exe"):
            return None
        try:
            return _extension(path)
        except ImportError:  # of /run, which may be mounted so that nothing in it can be executed
            fd = os.memfd_create("superctl_native")
            try:
                with open(path, "rb") as file:
                    os.write(fd, file.read())
                # not by /proc/self: the C library would take another library that is loaded by this number for the same one
                return _extension("/proc/%d/fd/%d" % (os.getpid(), fd))
            finally:
                os.close(fd)
    except Exception:
        return None


def _processor(path):
    """Returns what an ELF file says of its processor. The loader of musl does not look at it, and so would run code of another one."""
    with open(path, "rb") as file:
        head = file.read(20)
    return head[4:6], head[18:]  # 32 or 64 bits, the order of bytes; the machine


def _extension(path):
    from importlib.machinery import ExtensionFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("superctl_native", path, loader=ExtensionFileLoader("superctl_native", path))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _counting(native):
    """Returns what counts the requests of this process, or None where superctl does not ask for it."""
    directory = os.environ.get("SUPERCTL_REQUESTS")
    if not directory:
        return None
    return _load("superctl_requests").Counting(directory, os.environ.get("SUPERCTL_PROBES", "").split("\n"), _complain, native)


def _in_uwsgi():
    """Reports whether this interpreter is uWSGI's, whose module uwsgi comes later, and which may have changed the name of the process."""
    with open("/proc/self/cmdline", "rb") as command:
        words = command.read().split(b"\0")[:2]
    return any(b"uwsgi" in os.path.basename(word).lower() for word in [os.readlink(b"/proc/self/exe")] + words)


def _install(drains, hold, path):
    held, counting, native = [], [], []

    # Threads may import servers at the same time. Each list gets what a thread has made, whole, and all use the first: there is no
    # lock, which a child could find held after a fork.

    def load():
        """Loads what is in C when the first server is patched: a program that is no server needs none of it."""
        nonlocal drains
        if not native:
            native.append(_native())
            if native[0] is not None:
                drains = native[0].flag(os.fsencode(path + ".raised")).drains

    def counter():
        load()
        if not counting:
            try:
                made = _counting(native[0])
            except Exception:
                counting.append(None)  # it is not tried again
                raise
            counting.append(made)
        return counting[0]

    def patched(drain, count):
        """Patches a module for draining, if there is something to patch, and then for counting."""

        def apply(module):
            try:
                load()
                if drain is not None:
                    drain(module)
                    if not held:
                        held.append(hold())
                if count is not None and counter() is not None:
                    count(counter(), module)
            except Exception:
                _complain("patch " + module.__name__)

        return apply

    BYTES, TEXT = (b"connection", b"close", b"keep-alive"), ("connection", "close", "keep-alive")

    def closing_headers(headers, words=BYTES):
        """Headers with the close option."""
        connection, close, keep = words
        kept = []
        for name, value in headers:
            if name.lower() == connection:
                option = value.strip().lower()
                if option == close:
                    return headers
                if option == keep:
                    continue
            kept.append((name, value))
        kept.append((connection, close))
        return kept

    def gunicorn_wsgi(module):
        """Every worker class for WSGI: the head of an answer is made here, and what it promises is kept."""
        default_headers = module.Response.default_headers

        def closing(self):
            try:
                if drains() and self.status and not self.upgrade:  # without a status it raises, and is to
                    self.must_close = True  # as force_close does
            except Exception:
                _complain("gunicorn")
            return default_headers(self)

        module.Response.default_headers = closing

    def gunicorn_asgi(module):
        protocol = module.ASGIProtocol
        will_close = getattr(protocol, "_will_close", None)  # from 27 on: asked when the head is made, and again at the end
        send_response_start = protocol._send_response_start

        def closing(self, request, *args):
            try:
                if drains():
                    request.must_close = True
            except Exception:
                _complain("gunicorn")
            return will_close(self, request, *args)

        def closing_start(self, status, headers, request, *args, **kwargs):
            try:
                if drains():
                    request.must_close = True
                    headers = closing_headers(list(headers))  # what the application says of the connection would be sent as it is
            except Exception:
                _complain("gunicorn")
            return send_response_start(self, status, headers, request, *args, **kwargs)

        if will_close is not None:
            protocol._will_close = closing
        protocol._send_response_start = closing_start

    def closing_start(message):
        """The message that starts an answer, with the close option. What cannot be read in it is passed on for the server to refuse."""
        headers = list(message.get("headers", ()))
        message = dict(message, headers=headers)
        message["headers"] = closing_headers(headers)
        return message

    def closing_answer(scope, message):
        if scope["type"] == "http" and scope["http_version"].startswith("1"):
            message = closing_start(message)
        return message

    def around(app, server, gone, **counted):
        """Around a whole application, by the documented ASGI. gone reports for the server's send whether the client has left."""
        if counter() is not None:
            return counter().asgi(app, gone, drains, closing_answer, **counted)

        def closing(send):
            async def send_closing(message):
                if drains():
                    try:
                        if message["type"] == "http.response.start":
                            message = closing_start(message)
                    except Exception:
                        _complain(server)
                return await send(message)

            return send_closing

        def application(scope, receive, send):
            try:
                if scope["type"] == "http" and scope["http_version"].startswith("1"):  # granian says "1" for 1.0
                    send = closing(send)
            except Exception:
                _complain(server)
            return app(scope, receive, send)

        return application

    def uvicorn(module):
        """It closes when the application says so."""
        load = module.Config.load

        def gone(send):
            try:
                cycle = send.__self__
                return cycle.disconnected or cycle.transport.is_closing()
            except AttributeError:  # the protocol of a WebSocket, or a function of a middleware
                transport = getattr(getattr(send, "__self__", None), "transport", None)
                return transport is not None and transport.is_closing()

        def load_closing(self, *args, **kwargs):
            result = load(self, *args, **kwargs)
            try:
                self.loaded_app = around(self.loaded_app, "uvicorn", gone, told=(None, "disconnected", "transport"))
            except Exception:
                _complain("uvicorn")
            return result

        module.Config.load = load_closing

    def hypercorn(module):
        import dataclasses

        stream_send = module.H11Protocol.stream_send

        async def closing(self, event):
            if drains():
                try:
                    if type(event) is module.Response and event.status_code >= 200:
                        event = dataclasses.replace(event, headers=closing_headers(list(event.headers)))
                except Exception:
                    _complain("hypercorn")
            return await stream_send(self, event)

        module.H11Protocol.stream_send = closing

    def waitress(module):
        build_response_header = module.Task.build_response_header

        def closing(self):
            try:
                if drains():
                    self.set_close_on_finish()
            except Exception:
                _complain("waitress")
            return build_response_header(self)

        module.Task.build_response_header = closing

    def cheroot(module):
        """The head of an answer is made here. That it closes must not be known before: then the rest of a body would not be read, and a
        close with something unread takes the answer away from the client."""
        send_headers = module.HTTPRequest.send_headers

        def closing(self):
            closes = False
            try:
                if drains():
                    self.outheaders = closing_headers(self.outheaders)
                    closes = True
            except Exception:
                _complain("cheroot")
            result = send_headers(self)
            if closes:
                self.close_connection = True
            return result

        module.HTTPRequest.send_headers = closing

    def daphne(module):
        """What the application sends comes here. Twisted closes by what it knows of the channel, whatever the header says."""
        handle_reply = module.WebRequest.handle_reply

        def closing(self, message):
            try:
                if drains() and message["type"] == "http.response.start" and not self._response_started and self.clientproto.startswith(b"HTTP/1"):
                    message = closing_start(message)
                    self.channel.persistent = False
            except Exception:
                _complain("daphne")
            return handle_reply(self, message)

        module.WebRequest.handle_reply = closing

    def granian_asgi(module):
        """Its HTTP, in Rust, closes when the application says so, and takes the header out of HTTP/2."""
        callback_wrapper = module._callback_wrapper
        module._callback_wrapper = lambda app, *args, **kwargs: callback_wrapper(
            around(app, "granian", lambda send: False, eager=False), *args, **kwargs
        )

    def granian_wsgi(module):
        class Response(module.Response):
            """What is given to the application as start_response."""

            __slots__ = ()

            def __call__(self, *args, **kwargs):
                super().__call__(*args, **kwargs)
                if drains():
                    try:
                        self.headers = closing_headers(self.headers, TEXT)
                    except Exception:
                        _complain("granian")

        module.Response = Response

    def granian_rsgi(module):
        callback_wrapper = module._callback_wrapper

        class Protocol(object):
            def __init__(self, inner):
                self.inner = inner

            def __call__(self):
                return self.inner()

            def __aiter__(self):
                return self.inner.__aiter__()

            def __getattr__(self, name):
                attribute = getattr(self.inner, name)
                if not name.startswith("response_"):
                    return attribute

                def respond(status, headers, *args, **kwargs):
                    try:
                        headers = list(headers)
                        headers = closing_headers(headers, TEXT)
                    except Exception:
                        _complain("granian")
                    return attribute(status, headers, *args, **kwargs)

                return respond

        def around_rsgi(app):
            def application(scope, protocol):
                if drains() and scope.proto == "http":
                    protocol = Protocol(protocol)
                return app(scope, protocol)

            return application

        module._callback_wrapper = lambda app, *args, **kwargs: callback_wrapper(around_rsgi(app), *args, **kwargs)

    finder = _Finder(
        {
            "gunicorn.http.wsgi": patched(gunicorn_wsgi, lambda c, module: c.gunicorn_response(module)),
            "gunicorn.workers.base": patched(None, lambda c, module: c.gunicorn_errors(module)),
            "gunicorn.workers.sync": patched(None, lambda c, module: c.gunicorn_worker(module.SyncWorker, 1)),
            "gunicorn.workers.gthread": patched(None, lambda c, module: c.gunicorn_worker(module.ThreadWorker, 0)),
            "gunicorn.workers.base_async": patched(None, lambda c, module: c.gunicorn_worker(module.AsyncWorker, 1)),
            "gunicorn.asgi.protocol": patched(gunicorn_asgi, lambda c, module: c.gunicorn_asgi(module)),
            "uvicorn.config": patched(uvicorn, None),
            "uvicorn.protocols.http.h11_impl": patched(None, lambda c, module: c.uvicorn(module.H11Protocol, module)),
            "uvicorn.protocols.http.httptools_impl": patched(None, lambda c, module: c.uvicorn(module.HttpToolsProtocol, module)),
            "hypercorn.protocol.h11": patched(hypercorn, lambda c, module: c.hypercorn_refusals(module)),
            "hypercorn.app_wrappers": patched(None, lambda c, module: c.hypercorn(module)),
            "waitress.task": patched(waitress, lambda c, module: c.waitress(module)),
            "cheroot.server": patched(cheroot, lambda c, module: c.cheroot(module)),
            "daphne.http_protocol": patched(daphne, lambda c, module: c.daphne(module)),
            "daphne.ws_protocol": patched(None, lambda c, module: c.daphne_websocket(module)),
            "granian.asgi": patched(granian_asgi, None),
            "granian.rsgi": patched(granian_rsgi, lambda c, module: c.granian_rsgi(module)),
            "granian.wsgi": patched(granian_wsgi, lambda c, module: c.granian_wsgi(module)),
        },
        _load("superctl_uwsgi").Applications(counter, _complain).patch if _in_uwsgi() else lambda name: None,
    )
    sys.meta_path.insert(0, finder)
    for name, patch in finder.patches.items():
        if name in sys.modules:
            patch(sys.modules[name])


def _start():
    path = os.environ.get("SUPERCTL_DRAIN")
    if not path:
        return
    try:
        _install(_flag(path), lambda: _hold(path), path)
    except Exception:
        _complain("start")


def _step_aside():
    """Imports the sitecustomize that this one has hidden, as if this one had never been."""
    here = os.path.dirname(__file__)
    sys.path[:] = [entry for entry in sys.path if entry != here]
    ours = sys.modules.pop(__name__, None)
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize":
            raise
        if ours is not None:
            sys.modules[__name__] = ours


if __name__ == "sitecustomize":
    _start()
    _step_aside()
