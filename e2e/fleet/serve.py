"""The site of the fleet's hosts: it answers with its release, and misbehaves where a file of the
host says so. It needs nothing but the standard library."""

import os
import signal
import socket
import socketserver
import threading
import time
import wsgiref.simple_server

RELEASE = os.path.basename(os.path.realpath("."))
FAULT = f"/srv/shop/fault-{RELEASE}"
served = threading.Event()


def fault():
    try:
        with open(FAULT) as f:
            return f.read().strip()
    except FileNotFoundError:
        return ""


def application(environ, start_response):
    status = "200 OK"
    if environ["PATH_INFO"] != "/healthz":
        served.set()
    elif served.is_set() and fault() == "fade":
        status = "503 Service Unavailable"
    body = RELEASE.encode()
    start_response(status, [("Content-Length", str(len(body))), ("X-Release", RELEASE)])
    return [body]


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = False  # so that server_close waits for the requests in progress

    def server_bind(self):
        self.socket = socket.socket(fileno=3)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass


if fault() == "refuse":
    raise SystemExit(f"{RELEASE} refuses to start on {socket.gethostname()}")
while fault() == "hang":
    time.sleep(0.05)
with Server(("", 0), Handler) as server:
    server.set_app(application)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
