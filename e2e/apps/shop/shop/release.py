"""Which release this is, and how it misbehaves.

The same code is every release of the tests. What differs is release.json beside manage.py:

  import_seconds      sleeps so long while it is imported
  import_cpu_seconds  computes so long while it is imported
  fault               one of FAULTS
  instance            only this instance of a process has the fault
  seconds             how long the fault takes, where it takes time
  marker              a file outside the release that fault "dies-after-cutover" leaves behind: with it there, the release
                      exits as soon as it is started, as a program does that chokes on its own damaged data
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent.parent
NAME = DIRECTORY.name
GENERATION = os.environ.get("SUPERCTL_GENERATION", "")

FAULTS = (
    "import-error",  # a dependency that is not there
    "error-500",  # every answer is 500
    "slow",  # every answer takes `seconds`
    "hang",  # accepts and never answers
    "sometimes",  # two answers are right, the third is 500, and so on, whichever process gives them
    "dies-after-cutover",  # `seconds` after its first request that is no health check
)

try:
    BEHAVIOUR = json.loads((DIRECTORY / "release.json").read_text())
except FileNotFoundError:
    BEHAVIOUR = {}
FAULT = BEHAVIOUR.get("fault", "")
if BEHAVIOUR.get("instance") not in (None, os.environ.get("SUPERCTL_INSTANCE")):
    FAULT = ""
SECONDS = BEHAVIOUR.get("seconds", 3.0)


def boot():
    """Runs while the application is imported, as the slow and fragile part of a real project does."""
    marker = BEHAVIOUR.get("marker")
    if marker and Path(marker).exists():
        die("fatal: the spool is damaged")
    time.sleep(BEHAVIOUR.get("import_seconds", 0))
    until = time.process_time() + BEHAVIOUR.get("import_cpu_seconds", 0)
    while time.process_time() < until:
        pass
    if FAULT == "import-error":
        import shop_payments  # noqa: F401  (there is no such module: that is the fault)


def die(reason):
    """Ends the whole server, master and workers, as the kernel does when memory runs out."""
    print(reason, file=sys.stderr, flush=True)
    os.killpg(os.getpgrp(), 9)


def answers():
    """Counts the requests of all the server's processes together: the offset behind what this one appended."""
    with open(DIRECTORY / "answers", "ab", buffering=0) as counter:
        counter.write(b".")
        return counter.tell()


class Misbehaving:
    """Middleware that answers as the fault wants it."""

    def __init__(self, get_response):
        self.get_response = get_response
        self.lock = threading.Lock()
        self.dying = False

    def __call__(self, request):
        if FAULT == "error-500":
            raise RuntimeError("cannot reach the catalogue")
        if FAULT == "slow":
            time.sleep(SECONDS)
        if FAULT == "hang":
            time.sleep(3600)
        if FAULT == "sometimes":
            if answers() % 3 == 0:
                raise RuntimeError("the catalogue went away again")
        if FAULT == "dies-after-cutover" and not request.path.startswith("/healthz"):
            with self.lock:
                if not self.dying:
                    self.dying = True
                    threading.Timer(SECONDS, self.end).start()
        return self.get_response(request)

    def end(self):
        if "marker" in BEHAVIOUR:
            Path(BEHAVIOUR["marker"]).touch()
        die("fatal: the spool is damaged")


class Signature:
    """Middleware that says in every answer who gave it."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response["X-Release"] = NAME
        response["X-Generation"] = GENERATION
        response["X-Pid"] = str(os.getpid())
        return response
