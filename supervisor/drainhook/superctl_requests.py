"""superctl's counting of requests: what every user of this worker got, in files that superctl reads (docs/requests.md).

sitecustomize loads it when a server is patched and SUPERCTL_REQUESTS names a directory. Each process has pages of its own there, mapped
into memory: nothing is lost when the process is killed, nothing blocks, and no two threads write to the same place.

What runs for every request is in native/hook.c as well, where the interpreter can load that. Both count the same.
"""

import errno
import os
from _thread import _local, allocate_lock  # bound now: gevent replaces them, and would give each greenlet a row
from time import perf_counter_ns as now  # CLOCK_MONOTONIC

MAGIC = 0x31717253  # "Srq1"
PAGE = 4096  # bytes of the head, and of each row
CELLS = PAGE // 8

# The cells of a row. 1 to 5 are the answers by the class of their status.
STARTED, BROKEN, ABORTED, DURATIONS = 0, 6, 7, 16
LONGEST = 399  # the last cell of the durations, from DURATIONS on

PROBER = "superctl/health"  # the User-Agent of superctl's health checks, which are not counted


def open_page(directory, rows, mapped):
    """Makes a page file, whole: a write to a hole of a full file system would end the process by SIGBUS.

    mapped maps the file, given its descriptor and its size. Returns the cells of the page.
    """
    path = os.path.join(directory, "%d-%d" % (os.getpid(), now()))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _allocate(fd, PAGE * (1 + rows))
        with open("/proc/self/stat", "rb") as stat:
            start = int(stat.read().rpartition(b")")[2].split()[19])
        memory = mapped(fd, PAGE * (1 + rows))
    except Exception:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
    cells = memoryview(memory).cast("B").cast("Q")
    cells[1], cells[2], cells[3] = os.getpid(), start, rows
    cells[0] = MAGIC  # last: a reader ignores a page without it
    return cells


def _allocate(fd, size):
    """Gives a new file its size, and its place on the disk."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        # The file system cannot do that, as that of NFS: glibc then writes to every block, musl fails.
        if os.write(fd, bytes(size)) < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Pages(object):
    """The pages of this process, and a row for each thread. It counts in Python."""

    def __init__(self, directory, complain):
        import mmap

        self.directory = directory
        self.complain = complain
        self.mapped = mmap.mmap
        self.kept = []  # mappings are never closed: Python would also close their descriptors, whose numbers may be the application's by then
        self.opened = []  # the rows of all pages
        self.reset()
        os.register_at_fork(after_in_child=self.forked)

    def forked(self):
        """Forgets all pages in a child. A request that its parent has begun is the parent's to count: here, its row is released."""
        for row in self.opened:
            row.release()
        self.opened = []
        self.reset()

    def reset(self):
        """Has the next request open a page: a child opens its own."""
        self.local = _local()
        self.lock = allocate_lock()  # a new one: the parent's may be held by a thread that the child does not have
        self.free = []  # rows that no thread has
        self.rows = 1  # of the next page

    def begin(self):
        """Counts a request that begins, and returns it for end and fail.

        Its row is the calling thread's. No other thread writes to it, so += needs no lock, with the GIL or without.
        """
        try:
            row = self.local.row
        except AttributeError:
            row = self.take()
        row[STARTED] += 1
        return row, now()

    @staticmethod
    def end(request, status):
        """Counts an answer that ended with its status, and how long the request took."""
        row, began = request
        units = (now() - began) >> 12  # 4.096 us
        kind = status // 100
        try:
            if not 0 < kind < 6:
                row[BROKEN] += 1
                return
            row[kind] += 1
            octave = units.bit_length() - 5
            cell = units if octave < 0 else (octave << 4) + (units >> octave)  # linear, then 16 cells an octave
            row[DURATIONS + (cell if cell < LONGEST else LONGEST)] += 1
        except ValueError:
            pass  # the row is the parent's

    @staticmethod
    def fail(request, cell):
        """Counts a request without a complete answer. cell is BROKEN or ABORTED."""
        try:
            request[0][cell] += 1
        except ValueError:
            pass  # the row is the parent's

    def here(self, request):
        """Returns a request for end and fail in the calling thread, where another one may have begun it."""
        row, began = request
        try:
            row[STARTED]
        except ValueError:
            return request  # the row is the parent's
        try:
            return self.local.row, began
        except AttributeError:
            return self.take(), began

    def take(self):
        """Gives the calling thread a row. Where none can be had, what it counts goes nowhere, and the application runs on."""
        row = None
        try:
            with self.lock:
                if not self.free:
                    self.free += self.open(self.rows)  # the same list: it is where threads give their rows back
                    self.rows = min(4 * self.rows, 255)
                row = self.free.pop()
            self.local.back = _Back(self, row)
        except Exception:
            self.complain("count requests")
        if row is None:
            row = memoryview(bytearray(PAGE)).cast("Q")
        self.local.row = row
        return row

    def open(self, rows):
        cells = open_page(self.directory, rows, self.mapped)
        self.kept.append(cells)
        opened = [cells[CELLS * n : CELLS * (n + 1)] for n in range(1, rows + 1)]
        self.opened += opened
        return opened


class _Back(object):
    """Gives a row back when its thread has ended."""

    def __init__(self, pages, row):
        self.free, self.row = pages.free, row

    def __del__(self):
        self.free.append(self.row)


class NativePages(object):
    """The pages of this process, for the part in C, which holds the interpreter's lock: one row is enough for all threads."""

    def __init__(self, directory, complain, native):
        def opened():
            try:
                open_page(directory, 1, lambda fd, size: self.counter.map(fd))
            except Exception:
                complain("count requests")

        async def awaits(awaitable):
            return await awaitable

        coroutine = awaits(None)
        coroutine.close()
        self.counter = native.counter(opened, awaits, type(coroutine))
        self.begin, self.end, self.fail = self.counter.begin, self.counter.end, self.counter.fail
        self.here = lambda request: request
        os.register_at_fork(after_in_child=self.counter.reset)


_PROBE = object()  # a request that is not counted, or not any more
_LEFT = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)  # how a write fails when the client has left


_NO_CLASS = 600  # stands for a status that HTTP does not have


def _known(status):
    """Returns the status of a message of ASGI, or _NO_CLASS: 0 and less mean something else where it is kept."""
    status = int(status)
    return status if status > 0 else _NO_CLASS


def _status(line):
    """Returns the number of a status line such as "404 Not Found", or 0."""
    try:
        return int(line[:3])
    except (TypeError, ValueError):
        return 0


def _uncounted():
    """Returns a request whose end is counted nowhere."""
    return bytearray(CELLS), now()


class Counting(object):
    """Counts the requests of each server at the place that its patch names."""

    def __init__(self, directory, probes, complain, native=None):
        try:
            os.close(os.open(os.path.join(directory, ".counts"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError:
            pass  # superctl learns from the first page as well that this worker counts
        pages = Pages(directory, complain) if native is None else NativePages(directory, complain, native)
        self.begin, self.end, self.fail, self.here = pages.begin, pages.end, pages.fail, pages.here
        self.native = getattr(pages, "counter", None)
        self.probes = frozenset(filter(None, probes))

    def probe(self, scope):
        """Reports whether a request for the path of a health check is superctl's own."""
        return any(bytes(name).lower() == b"user-agent" and bytes(value) == PROBER.encode() for name, value in scope["headers"])

    def asgi(self, app, gone, drains=None, closing=None, eager=True, told=(None, None, None)):
        """Around an ASGI application: from the server's call until it has taken the last message of the answer.

        gone reports, for the server's send, whether the client has left. closing is what the drain hook makes of the message that
        starts an answer while it drains. A server that is not eager sends the head with the first part of the body, and answers 500 if none comes.
        told says the same as gone, in names that C can look up: an object, or None for that of the server's send; its attribute that is
        true when the client has left; and that of its transport, which may be closing already.
        """
        if self.native is not None:
            flag = getattr(drains, "__self__", None)
            return self.native.asgi(app, self.probes, self.probe, gone, *told, flag, closing, eager)
        begin, end, fail, probes = self.begin, self.end, self.fail, self.probes

        async def application(scope, receive, send, *rest):
            kind = scope["type"]
            if kind != "http" and kind != "websocket":
                return await app(scope, receive, send, *rest)
            request = _uncounted() if scope.get("path") in probes and self.probe(scope) else begin()
            status = 0  # of the answer that is being sent; -1: it has ended
            left = False  # the client had, when the server was given the newest part of the body
            sent = eager  # something of the answer

            async def last(message):
                nonlocal left, status
                if status < 0:  # the application sends two last messages at once
                    return await send(message)
                answered, status = status, -1
                if message.get("body"):
                    left = gone(send)
                try:
                    result = await send(message)
                except BaseException:
                    fail(request, ABORTED if left else BROKEN)
                    raise
                if left:
                    fail(request, ABORTED)
                else:
                    end(request, answered)
                return result

            def counting(message):
                nonlocal left, sent, status
                try:
                    name = message["type"]
                    if name == "http.response.start":
                        if not status:
                            status = _known(message["status"])
                        if drains is not None and drains():
                            message = closing(scope, message)
                    elif name == "http.response.body" or name == "http.response.pathsend" or name == "websocket.http.response.body":
                        if status > 0 and not message.get("more_body", False):
                            return last(message)
                        left, sent = gone(send), True
                    elif kind == "websocket" and not status:
                        if name == "websocket.accept":
                            status = 101
                            return last(message)
                        if name == "websocket.close":
                            status = 403
                            return last(message)
                        if name == "websocket.http.response.start":
                            status = _known(message["status"])
                except Exception:
                    pass  # what cannot be read in a message is the server's to refuse
                return send(message)

            def returned(unanswered):
                """Counts a request whose answer has not ended. unanswered is the status that the server answers by itself."""
                if status < 0:
                    return
                if gone(send):
                    fail(request, ABORTED)
                elif status and sent:
                    fail(request, BROKEN)
                else:
                    end(request, unanswered)

            try:
                result = await app(scope, receive, counting, *rest)
            except Exception:
                returned(500)
                raise
            except BaseException:  # the server cancels it
                returned(0)
                raise
            returned(500)
            return result

        return application

    def refusals(self, owner, name, status, alone):
        """Counts what a method of a connection answers by itself, such as 400 for a head that it cannot parse.

        status returns that of the answer by the method's arguments, and alone reports whether no request is in progress: else that is counted.
        """
        answer, begin, end = getattr(owner, name), self.begin, self.end

        def counting(self, *args, **kwargs):
            request = begin() if alone(self) else None
            result = answer(self, *args, **kwargs)
            if request is not None:
                end(request, status(*args))
            return result

        setattr(owner, name, counting)

    def uvicorn(self, protocol, module):
        """What uvicorn answers by itself: a head that it cannot parse, and --limit-concurrency."""
        self.refusals(protocol, "send_400_response", lambda *args: 400, lambda self: self.cycle is None or self.cycle.response_complete)
        gone = lambda send: send.__self__.disconnected
        module.service_unavailable = self.asgi(module.service_unavailable, gone, told=(None, "disconnected", None))

    def hypercorn_refusals(self, module):
        # The method is a coroutine function: the answer counts when the coroutine is made, which is at once awaited.
        self.refusals(module.H11Protocol, "_send_error_response", lambda status: status, lambda self: self.stream is None)

    def gunicorn_response(self, module):
        """The status is known where the head is made. The request carries it: greenlets share a thread."""
        default_headers = module.Response.default_headers

        def noting(response):
            response.req.superctl_status = getattr(response, "status_code", None)  # there is none before start_response
            return default_headers(response)

        module.Response.default_headers = noting

    def gunicorn_worker(self, worker, at):
        """From the parsed head until the last byte is in the socket's buffer and close() of the body has returned.

        at is the request's place among the arguments of handle_request.
        """
        handle_request = worker.handle_request
        begin, end, fail, probes = self.begin, self.end, self.fail, self.probes

        def counting(self, *args):
            req = args[at]
            if req.path in probes and ("USER-AGENT", PROBER) in req.headers:
                req.superctl = _PROBE
                return handle_request(self, *args)
            request = begin()
            try:
                result = handle_request(self, *args)
            except OSError as error:
                fail(request, ABORTED if error.errno in _LEFT else BROKEN)  # gunicorn closes the connection without an answer
                raise
            except StopIteration as stop:
                if stop.__context__ is not None:  # the application has failed after the head
                    fail(request, BROKEN)
                else:
                    end(request, getattr(req, "superctl_status", None) or 0)
                raise
            except BaseException:
                req.superctl = request  # handle_error answers it
                raise
            end(request, getattr(req, "superctl_status", 101) or 0)  # without a head: the application has taken the connection over
            return result

        worker.handle_request = counting

    def gunicorn_errors(self, module):
        """What gunicorn answers by itself: a head that it cannot parse, an application that fails before its answer."""
        handle_error, write_error = module.Worker.handle_error, module.util.write_error
        begin, end, fail = self.begin, self.end, self.fail
        pending = {}  # by the client's socket

        def counting(self, req, client, *args):
            request = getattr(req, "superctl", None)
            if request is None:  # it has never come to handle_request
                request = begin()
            if request is not _PROBE:
                pending[client] = request
            try:
                return handle_error(self, req, client, *args)
            finally:
                if pending.pop(client, None) is not None:
                    fail(request, ABORTED)

        def answered(sock, status, *args):
            result = write_error(sock, status, *args)
            request = pending.pop(sock, None)
            if request is not None:
                end(request, status)
            return result

        module.Worker.handle_error = counting
        module.util.write_error = answered

    def gunicorn_asgi(self, module):
        init = module.ASGIProtocol.__init__
        asgi = self.asgi

        def counting(self, *args, **kwargs):
            init(self, *args, **kwargs)
            self.app = asgi(self.app, lambda send: self._closed or self.transport.is_closing(), told=(self, "_closed", "transport"))

        module.ASGIProtocol.__init__ = counting
        if hasattr(module.ASGIProtocol, "_send_error_response"):
            alone = lambda self: self._current_request is None
            self.refusals(module.ASGIProtocol, "_send_error_response", lambda status, *args: status, alone)

    def hypercorn(self, module):
        """Both wrappers send the messages of ASGI."""

        def gone(send):
            return send.__self__.closed

        for wrapper in module.ASGIWrapper, module.WSGIWrapper:
            wrapper.__call__ = self._method(wrapper.__call__, gone)

    def _method(self, call, gone):
        """A method that is an ASGI application."""
        asgi = self.asgi

        def counting(self, *args):
            return asgi(lambda *args: call(self, *args), gone, told=(None, "closed", None))(*args)

        return counting

    def waitress(self, module):
        """From the parsed request until its answer is in waitress's buffers."""
        service, finish = module.Task.service, module.Task.finish
        begin, end, fail, probes = self.begin, self.end, self.fail, self.probes

        def counting(self):
            if getattr(self.request, "path", None) in probes and self.request.headers.get("USER_AGENT") == PROBER:
                return service(self)
            channel = self.channel
            request = channel.__dict__.pop("superctl", None)  # what failed before its answer; this is the task that says so
            if request is None:
                request = begin()
            self.superctl_finished = False
            try:
                result = service(self)
            except Exception:
                if not channel.connected:
                    fail(request, ABORTED)
                elif self.wrote_header:
                    fail(request, BROKEN)
                else:
                    channel.superctl = request
                raise
            if self.superctl_finished:
                end(request, _status(self.status))
            else:  # waitress has ignored an OSError
                fail(request, BROKEN if channel.connected else ABORTED)
            return result

        def finished(self):
            finish(self)
            self.superctl_finished = True

        module.Task.service, module.Task.finish = counting, finished

    def cheroot(self, module):
        """From the parsed head until the answer is in the socket's buffer."""
        respond, simple_response = module.HTTPRequest.respond, module.HTTPRequest.simple_response
        begin, end, fail, probes = self.begin, self.end, self.fail, self.probes
        left = module.errors.socket_errors_to_ignore

        def counting(self):
            if bytes(self.path or b"").decode("latin-1") in probes and self.inheaders.get(b"User-Agent") == PROBER.encode():
                self.superctl = _PROBE
                return respond(self)
            request = self.superctl = begin()
            try:
                result = respond(self)
            except BaseException as error:
                gone = isinstance(error, OSError) and error.args and error.args[0] in left
                if (gone or self.sent_headers) and self.superctl is not _PROBE:
                    fail(request, ABORTED if gone else BROKEN)
                    self.superctl = _PROBE
                raise
            if self.superctl is not _PROBE:  # simple_response has not counted it
                end(request, _status(self.status))
            return result

        def answered(self, status, *args):
            request = self.__dict__.get("superctl")
            if request is None:  # a head that cannot be parsed
                request = begin()
            if request is not _PROBE:
                end(request, _status(status))
            self.superctl = _PROBE
            return simple_response(self, status, *args)

        module.HTTPRequest.respond, module.HTTPRequest.simple_response = counting, answered

    def daphne(self, module):
        """From the parsed request until Twisted has its last byte."""
        process, finish, lost = (getattr(module.WebRequest, name) for name in ("process", "finish", "connectionLost"))
        begin, end, fail, probes = self.begin, self.end, self.fail, self.probes

        def counting(self):
            headers = self.requestHeaders
            probe = self.path.decode("latin-1") in probes and headers.getRawHeaders(b"user-agent") == [PROBER.encode()]
            if not probe and headers.getRawHeaders(b"upgrade", [b""])[0].lower() != b"websocket":  # which become another protocol's
                self.superctl = begin()
            return process(self)

        def finished(self):
            finish(self)
            request = self.__dict__.pop("superctl", None)
            if request is not None:
                end(request, self.code)

        def aborted(self, *args):
            request = self.__dict__.pop("superctl", None)
            if request is not None:
                fail(request, ABORTED)
            return lost(self, *args)

        module.WebRequest.process, module.WebRequest.finish, module.WebRequest.connectionLost = counting, finished, aborted

    def daphne_websocket(self, module):
        """From the parsed request until the application has accepted or refused it."""
        protocol = module.WebSocketProtocol
        connect, closed = protocol.onConnect, protocol.onClose
        begin, end, fail = self.begin, self.end, self.fail

        def connecting(self, request):
            self.superctl = begin()
            return connect(self, request)

        def answering(answer, status):
            def answered(self, *args, **kwargs):
                result = answer(self, *args, **kwargs)
                request = self.__dict__.pop("superctl", None)
                if request is not None:
                    end(request, status)
                return result

            return answered

        def left(self, *args, **kwargs):
            request = self.__dict__.pop("superctl", None)
            if request is not None:
                fail(request, ABORTED)
            return closed(self, *args, **kwargs)

        protocol.onConnect, protocol.onClose = connecting, left
        for name, status in ("serverAccept", 101), ("serverReject", 403), ("handle_exception", 500):
            setattr(protocol, name, answering(getattr(protocol, name), status))

    def granian_wsgi(self, module):
        """From granian's call until the body has been given to it. It does not tell whether the client has left."""
        callback_wrapper = module._callback_wrapper
        begin, end, fail, here, probes = self.begin, self.end, self.fail, self.here, self.probes

        def parts(body, status, request):
            try:
                for part in body:
                    yield part
            except Exception:
                fail(here(request), BROKEN)
                raise
            except GeneratorExit:
                fail(here(request), ABORTED)
                raise
            else:
                end(here(request), status)
            finally:
                if hasattr(body, "close"):
                    body.close()

        def around(app):
            def application(environ, start_response):
                if environ["PATH_INFO"] in probes and environ.get("HTTP_USER_AGENT") == PROBER:
                    return app(environ, start_response)
                request = begin()
                try:
                    body = app(environ, start_response)
                except BaseException:
                    end(request, 500)
                    raise
                if not isinstance(body, list):
                    return parts(body, start_response.status, request)
                end(request, start_response.status)
                return body

            return application

        module._callback_wrapper = lambda app, *args, **kwargs: callback_wrapper(around(app), *args, **kwargs)

    def granian_rsgi(self, module):
        """From granian's call until the application returns, or accepts or refuses a WebSocket."""
        callback_wrapper = module._callback_wrapper
        begin, end, fail, probes = self.begin, self.end, self.fail, self.probes

        class Protocol(object):
            """Notes the status of the answer."""

            __slots__ = ("inner", "status")

            def __init__(self, inner):
                self.inner, self.status = inner, 0

            def __call__(self, *args):
                return self.inner(*args)

            def __aiter__(self):
                return self.inner.__aiter__()

            def __getattr__(self, name):
                attribute = getattr(self.inner, name)
                if not name.startswith("response_"):
                    return attribute

                def respond(status, *args, **kwargs):
                    self.status = status
                    return attribute(status, *args, **kwargs)

                return respond

        class WebSocket(object):
            """Counts a WebSocket when it is accepted, or else when the application ends."""

            __slots__ = ("inner", "request", "status")

            def __init__(self, inner):
                self.inner, self.request, self.status = inner, begin(), 0

            async def accept(self, *args):
                transport = await self.inner.accept(*args)
                self.end(101)
                return transport

            def close(self, *args):
                self.end(args and args[0] or 403)
                return self.inner.close(*args)

            def __getattr__(self, name):
                return getattr(self.inner, name)

            def end(self, status):
                if not self.status:
                    self.status = status
                    end(self.request, status)

        async def connect(app, scope, protocol):
            try:
                return await app(scope, protocol)
            finally:
                protocol.end(500)  # where it has not been accepted or refused

        def around(app):
            async def application(scope, protocol):
                probe = scope.path in probes and scope.headers.get("user-agent") == PROBER
                if not probe and scope.proto == "ws":
                    return await connect(app, scope, WebSocket(protocol))
                if probe or scope.proto != "http":
                    return await app(scope, protocol)
                request = begin()
                protocol = Protocol(protocol)
                try:
                    result = await app(scope, protocol)
                except BaseException:
                    if protocol.status:
                        fail(request, BROKEN)
                    else:
                        end(request, 500)
                    raise
                end(request, protocol.status or 500)
                return result

            return application

        module._callback_wrapper = lambda app, *args, **kwargs: callback_wrapper(around(app), *args, **kwargs)

    def uwsgi(self, app, options):
        """From uWSGI's call until it has closed the body, and so has given its last byte to the socket.

        superctl_uwsgi puts this in the place of an application. options are uWSGI's own.
        """
        probes = self.probes
        catches, builtin = bool(options.get("catch-exceptions")), type(len)

        def application(environ, start_response):
            if type(start_response) is not builtin:  # another application calls this one, and counts the request
                return app(environ, start_response)
            if environ.get("PATH_INFO") in probes and environ.get("HTTP_USER_AGENT") == PROBER:
                return app(environ, start_response)
            answer = _Answer(self)

            def start(*args):
                write = start_response(*args)
                answer.status = _status(args[0])
                return write

            send_file = environ.get("wsgi.file_wrapper")
            if send_file is not None:
                environ["wsgi.file_wrapper"] = lambda file, *size: send_file(_File(file, answer), *size)
            try:
                body = app(environ, start)
            except BaseException as error:
                answer.fails(error, catches and not answer.status)
                answer.end()
                raise
            if type(body) is _File:  # uWSGI knows it by its identity, and sends it without asking for its parts
                answer.whole = True
                return body
            if isinstance(body, (bytes, bytearray, memoryview)):  # uWSGI sends it as it is
                answer.whole = True
                answer.end()
                return body
            answer.body, answer.catches = body, catches
            return answer

        return application


class _Answer(object):
    """An answer of an application in uWSGI, and its body."""

    __slots__ = ("counting", "request", "status", "body", "catches", "whole", "failed")

    def __init__(self, counting):
        self.counting, self.request = counting, counting.begin()
        self.status = self.failed = 0
        self.whole = False

    def __iter__(self):
        return self.parts(iter(self.body))

    def parts(self, body):
        """Yields the body. Where uWSGI cannot write, it does not ask for the next part."""
        try:
            for part in body:
                yield part
                if part:
                    self.catches = False  # uWSGI answers 500 only before the head is sent
        except Exception as error:
            self.fails(error, self.catches)
            raise
        self.whole = True

    def fails(self, error, caught):
        """Notes how the request ends that an exception ends: with 500 where uWSGI catches it."""
        if isinstance(error, OSError) and error.args == ("write error",):  # of write(): the client has left
            self.failed = ABORTED
        else:
            self.failed = 5 if caught else BROKEN

    def close(self):
        try:
            if hasattr(self.body, "close"):
                self.body.close()
        finally:
            self.end()

    def end(self):
        request, self.request = self.request, None
        if request is None:
            return
        if self.whole:
            self.counting.end(request, self.status)
        elif self.failed == 5:
            self.counting.end(request, 500)
        else:
            self.counting.fail(request, self.failed or ABORTED)


class _File(object):
    """A file that the application has given to wsgi.file_wrapper. uWSGI closes it when it is sent."""

    def __init__(self, file, answer):
        self.file, self.answer = file, answer

    def __iter__(self):
        return iter(self.file)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def close(self):
        try:
            if hasattr(self.file, "close"):
                self.file.close()
        finally:
            if self.answer.whole:
                self.answer.end()
