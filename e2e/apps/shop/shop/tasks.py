"""The Celery app: celery -A shop.tasks worker, celery -A shop.tasks beat.

Each event is a line in the file $SHOP_JOURNAL: EVENT RELEASE PID WHAT. The broker is $SHOP_BROKER.
`python -m shop.tasks` sends a task for each line NAME SECONDS of its standard input; a task of -1 s
waits for the file $SHOP_JOURNAL.go-on.
"""

import atexit
import os
import socket
import sys
import time

from celery import Celery
from celery.beat import PersistentScheduler
from celery.signals import beat_init, worker_ready

from shop import release


def note(event, what=""):
    line = f"{event} {release.NAME} {os.getpid()} {what}\n"
    # An append of less than a page is atomic.
    fd = os.open(os.environ["SHOP_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, line.encode())
    os.close(fd)


app = Celery("shop", broker=os.environ["SHOP_BROKER"])
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    beat_schedule={"tick": {"task": "shop.tick", "schedule": 1.0}},
)
if "SHOP_SOFT_SHUTDOWN" in os.environ:
    # For a site whose tasks take longer than it wants to wait: docs/celery.md.
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_soft_shutdown_timeout=float(os.environ["SHOP_SOFT_SHUTDOWN"]),
    )


@app.task(name="shop.work")
def work(name, seconds):
    note("begin", name)
    if seconds >= 0:
        time.sleep(seconds)
    while seconds < 0 and not os.path.exists(os.environ["SHOP_JOURNAL"] + ".go-on"):
        time.sleep(0.05)
    note("end", name)


@app.task(name="shop.tick", bind=True)
def tick(self):
    note("ticked", self.request.id)


class Noting(PersistentScheduler):
    """Celery's scheduler, which also records the time of each tick, and of the previous tick as beat remembers it."""

    def reserve(self, entry):
        new = super().reserve(entry)
        if new.name == "tick":
            note("tick", f"{entry.last_run_at.timestamp():.6f} {new.last_run_at.timestamp():.6f}")
        return new


@worker_ready.connect
@beat_init.connect
def ready(**_):
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect("\0" + path[1:] if path.startswith("@") else path)
            s.send(b"READY=1")


if os.environ.get("SUPERCTL_PROCESS") == "beat":
    release.boot()
    note("beat-start")
    atexit.register(note, "beat-end")

if __name__ == "__main__":
    for line in sys.stdin:
        name, seconds = line.split()
        app.send_task("shop.work", (name, float(seconds)))
        note("sent", name)
