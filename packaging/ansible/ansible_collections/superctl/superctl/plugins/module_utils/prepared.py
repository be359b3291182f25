# Copyright the superctl maintainers
# MIT License (see LICENSE)
"""Keeps a prepared change, or a lock, between two tasks: superctl runs on, and reads its word from a FIFO."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time

from ansible_collections.superctl.superctl.plugins.module_utils.superctl import last_object

DIRECTORY = "/run/superctl-ansible"

# Runs superctl, and leaves its exit code in a file that is there only when superctl has ended.
RUN = 'dir=$1; shift; "$@"; echo $? >"$dir/code.part"; mv "$dir/code.part" "$dir/code"'


class Prepared(object):
    """The prepared change of one app and run, or the lock of the app for the run."""

    def __init__(self, superctl, app, run, kind=""):
        self.superctl = superctl
        self.app = app
        self.dir = os.path.join(DIRECTORY, "%s.%s%s" % (app, run, kind))

    def path(self, name):
        return os.path.join(self.dir, name)

    def exists(self):
        return os.path.exists(self.path("word"))

    def begin(self, words):
        """Begins the change or the lock, and waits until it is ready: (None, {}, "").

        Returns superctl's exit code, object and words on stderr if it ends before.
        """
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir, mode=0o700)
        os.mkfifo(self.path("word"), 0o600)
        # Opened for both, so that it has no end while nothing writes to it.
        word = os.open(self.path("word"), os.O_RDWR)
        with open(self.path("out"), "wb") as out, open(self.path("err"), "wb") as err:
            subprocess.Popen(
                ["/bin/sh", "-c", RUN, "sh", self.dir, self.superctl, "--app", self.app] + words + ["--json"],
                stdin=word, stdout=out, stderr=err, start_new_session=True, cwd="/",
            )
        os.close(word)
        # superctl limits the time.
        while not self.ready():
            if os.path.exists(self.path("code")):
                return self.end()
            time.sleep(0.02)
        return None, {}, ""

    def ready(self):
        for line in self.read("out").splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and (value.get("ready") or value.get("locked")):
                return True
        return False

    def go(self):
        """Gives the word to cut over. Returns superctl's exit code, object and words on stderr."""
        self.say("go\n")
        return self.end()

    def abandon(self):
        """Ends the change before its cutover. Returns whether there was one."""
        if not self.exists():
            return False
        self.say("abandon\n")
        self.end()
        return True

    def say(self, word):
        """Writes a word for superctl. Returns whether superctl still runs."""
        try:
            fifo = os.open(self.path("word"), os.O_WRONLY | os.O_NONBLOCK)
        except OSError as e:
            if e.errno == errno.ENXIO:
                return False
            raise
        os.write(fifo, word.encode())
        os.close(fifo)
        return True

    def end(self):
        """Waits until superctl ends. Returns its exit code, object and words on stderr."""
        while not os.path.exists(self.path("code")):
            if not self.say("") and not os.path.exists(self.path("code")):
                shutil.rmtree(self.dir, ignore_errors=True)
                return 1, {}, "superctl was killed before it could say how the change ended"
            time.sleep(0.02)
        code, out, err = int(self.read("code")), self.read("out"), self.read("err")
        shutil.rmtree(self.dir, ignore_errors=True)
        return code, last_object(out), err.strip()

    def read(self, name):
        with open(self.path(name), "r") as f:
            return f.read()
