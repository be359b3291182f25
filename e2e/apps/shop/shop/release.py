"""Which release this is, and how it misbehaves.

All releases of the tests have the same code. They differ in release.json, next to manage.py:

  import_seconds      the import sleeps that long
  import_cpu_seconds  the import computes that long
  fault               one of FAULTS
  instance            only this instance of a process has the fault
  seconds             the duration of a fault that takes time
  marker              a file outside the release that fault "dies-after-cutover" leaves behind. Once it
                      exists, the release exits at its start, as a program with damaged data does
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
    "import-error",  # a missing dependency
    "error-500",  # every answer is 500
    "slow",  # every answer takes `seconds`
    "hang",  # accepts and never answers
    "sometimes",  # every third answer is 500, counted over all processes
    "dies-after-cutover",  # `seconds` after its first request other than a health check
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
    """Run during the import, as the slow and fragile part of a real project does."""
    marker = BEHAVIOUR.get("marker")
    if marker and Path(marker).exists():
        die("fatal: the spool is damaged")
    time.sleep(BEHAVIOUR.get("import_seconds", 0))
    until = time.process_time() + BEHAVIOUR.get("import_cpu_seconds", 0)
    while time.process_time() < until:
        pass
    if FAULT == "import-error":
        import shop_payments  # noqa: F401


def die(reason):
    """Kill the whole server, master and workers, as the kernel's OOM killer does."""
    print(reason, file=sys.stderr, flush=True)
    os.killpg(os.getpgrp(), 9)


def answers():
    """Count the requests of all processes of the server: the file offset after this one's append."""
    with open(DIRECTORY / "answers", "ab", buffering=0) as counter:
        counter.write(b".")
        return counter.tell()


class Misbehaving:
    """Middleware that answers according to the fault."""

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
    """Middleware that adds the release, generation and pid to every answer."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response["X-Release"] = NAME
        response["X-Generation"] = GENERATION
        response["X-Pid"] = str(os.getpid())
        return response
