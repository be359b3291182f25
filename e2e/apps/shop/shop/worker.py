"""A process without a listener, such as a Celery worker or beat: python -m shop.worker [NAME].

It writes a line to the file $SHOP_JOURNAL when it starts and when it ends, and sends READY=1 if
configured to. On SIGTERM it finishes its task (SHOP_TASK_SECONDS) before it exits.
"""

import os
import signal
import socket
import sys
import time

from shop import release


def note(event):
    line = f"{time.time():.6f} {event} {sys.argv[1]} {release.NAME} {os.getpid()}\n"
    print(line, end="", flush=True)
    if path := os.environ.get("SHOP_JOURNAL"):
        # An append of less than a page is atomic.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(fd, line.encode())
        os.close(fd)


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    release.boot()
    note("start")
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect("\0" + path[1:] if path.startswith("@") else path)
            s.send(b"READY=1\nSTATUS=waiting for tasks")
    signal.sigwait({signal.SIGTERM})
    time.sleep(float(os.environ.get("SHOP_TASK_SECONDS", "0")))
    note("end")


main()
