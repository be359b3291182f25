"""Runs a server whose command line takes no listening socket: python3 bridge.py SERVER ARGUMENTS...

superctl runs granian, waitress-serve and daphne with this program. The server parses its own
arguments as usual. The bridge gives it the sockets of LISTEN_FDS instead of its own address and, if
it has none, a graceful shutdown: on SIGTERM it stops accepting, answers its requests with
"Connection: close", and exits. The bridge imports only the standard library and the server.
"""

import os
import signal
import socket
import sys
import weakref

FIRST = 3


def listeners():
    """Return the inherited sockets. The kernel reports the family of each."""
    return [socket.socket(fileno=os.dup(FIRST + i)) for i in range(int(os.environ["LISTEN_FDS"]))]


def granian():
    """Granian binds in each worker. Its socket class takes a descriptor on Windows, or of a unix socket."""
    from granian import cli
    from granian.net import SocketHolder

    class Server(cli.Server):
        def _init_shared_socket(self):
            (self._sso,) = listeners()
            self._sso.listen(self.backlog)
            self._sso.set_inheritable(True)
            self._sfd = self._sso.fileno()
            self._shd = SocketHolder(self._sfd, self._sso.family == socket.AF_UNIX, self.backlog)

        def _drop_shared_socket(self):
            self._sso.close()

    cli.Server = Server
    cli.entrypoint()


def waitress():
    """Waitress takes sockets, but needs a loop that ends in an orderly way instead of by an exception."""
    from waitress import channel, runner, server, task, wasyncore

    terminated = []

    class Task(task.WSGITask):
        def build_response_header(self):
            if terminated:
                self.set_close_on_finish()
            return super().build_response_header()

    class Channel(channel.HTTPChannel):
        task_class = Task
        heard = False

        def handle_read(self):
            self.heard = True
            super().handle_read()

        def pending(self):
            closing = self.close_when_flushed or self.will_close
            return bool(self.requests or self.request or self.total_outbufs_len or closing)

    server.BaseWSGIServer.channel_class = Channel

    def serve(app, **settings):
        of_ours = {}
        everything = server.create_server(app, map=of_ours, sockets=listeners(), **settings)
        accepting = [s for s in of_ours.values() if isinstance(s, server.BaseWSGIServer)]

        def terminate(*_):
            terminated.append(True)
            accepting[0].pull_trigger()

        signal.signal(signal.SIGTERM, terminate)
        turn = lambda seconds: wasyncore.loop(seconds, everything.adj.asyncore_use_poll, of_ours, 1)  # noqa: E731
        while not terminated:
            turn(everything.adj.asyncore_loop_timeout)
        for s in accepting:
            s.accepting = False
        quiet = 0
        while quiet < 2:
            turn(0.1)
            channels = [c for c in of_ours.values() if isinstance(c, Channel)]
            quiet = 0 if any(c.pending() for c in channels) else quiet + 1
        everything.task_dispatcher.shutdown()

    sys.exit(runner.run(_serve=serve))


def daphne():
    """Daphne takes descriptors, but TERM makes it cancel its requests."""
    families = [listener.family for listener in listeners()]  # before Twisted removes LISTEN_FDS from the environment
    from daphne import cli, server
    from twisted.internet import defer, reactor, unix

    terminated = []
    # Otherwise Twisted changes the mode of a socket's path, and unlinks it at the end.
    unix._inFilesystemNamespace = lambda path: False

    class Factory(server.HTTPFactory):
        def __init__(self, server):
            super().__init__(server)
            self.channels = weakref.WeakSet()

        def buildProtocol(self, addr):
            proxy = super().buildProtocol(addr)
            channel = proxy._channel
            persists = channel.checkPersistence

            def check(request, version):
                if terminated:
                    request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
                return persists(request, version) and not terminated

            channel.checkPersistence = check
            self.channels.add(channel)
            return proxy

        def close(self):
            """Close open connections after their pending output, and return whether there were any."""
            protocols = [getattr(channel.transport, "protocol", None) for channel in list(self.channels)]
            http = [p for p in protocols if hasattr(p, "_channel")]  # the others are closed, or have become WebSockets
            for protocol in http:
                protocol._channel.loseConnection()
            return bool(http)

    class Server(server.Server):
        def kill_all_applications(self):
            terminated.append(True)
            for listener in self.listeners:
                listener.addCallback(lambda port: port.stopListening())
            drained = defer.Deferred()
            reactor.callLater(0, self.look, drained)
            return drained.addCallback(lambda _: super(Server, self).kill_all_applications())

        def look(self, drained):
            for protocol in list(self.connections):
                if getattr(protocol, "STATE_OPEN", None) == getattr(protocol, "state", ""):
                    protocol.sendCloseFrame(1012)  # a WebSocket; its sendClose does not take "service restart"
            busy = any("disconnected" not in state for state in self.connections.values())
            if busy or self.http_factory.close():
                reactor.callLater(0.05, self.look, drained)
            else:
                drained.callback(None)

    for i, family in enumerate(families):
        sys.argv += ["--endpoint", f"systemd:domain={family.name[3:]}:index={i}"]
    server.HTTPFactory, cli.CommandLineInterface.server_class = Factory, Server
    cli.CommandLineInterface.entrypoint()


if __name__ == "__main__":
    del sys.argv[0]
    sys.path[0] = ""  # the release's directory, as for a program of the virtualenv
    {"granian": granian, "waitress": waitress, "daphne": daphne}[os.path.basename(sys.argv[0])]()
