# Copyright the superctl maintainers
# MIT License (see LICENSE)
"""Runs superctl on the host, and turns what it says into results of a module."""

from __future__ import annotations

import json

# What the exit codes of superctl mean (superctl --help).
REASONS = {
    1: "refused",
    2: "usage",
    3: "unreachable",
    4: "busy",
    5: "reverted",
}


class Superctl(object):
    """superctl's commands for one app. A module has one."""

    def __init__(self, module):
        self.module = module
        self.app = module.params["app"]
        self.path = module.get_bin_path("superctl")

    def run(self, *words):
        """Runs a command with --json. Returns its exit code, its object, and its words on stderr."""
        if self.path is None:
            self.module.fail_json(
                msg="superctl is not installed: no superctl in PATH", reason="not_installed"
            )
        code, out, err = self.module.run_command([self.path, "--app", self.app] + list(words) + ["--json"])
        return code, last_object(out), err.strip()

    def status(self):
        """Returns the daemon's status, or fails the module."""
        code, status, err = self.run("status")
        if code:
            self.fail(code, status, err)
        return status

    def fail(self, code, outcome, err, **more):
        """Fails the module with superctl's own reason first."""
        result = results(outcome)
        result.update(more)
        message = result.pop("error", None) or outcome.get("refused") or err or "superctl: exit code %d" % code
        self.module.fail_json(msg=message, reason=REASONS.get(code, "failed"), rc=code, **result)


def last_object(out):
    """Returns the last JSON object or list of an output; {} if it has none."""
    decoder, rest, last = json.JSONDecoder(), out.lstrip(), {}
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except ValueError:
            return last
        if isinstance(value, (dict, list)):
            last = value
        rest = rest[end:].lstrip()
    return last


def results(outcome):
    """Returns what a module says of an outcome: all but the steps, which are long."""
    return {
        key: outcome[key]
        for key in (
            "release", "commit", "previous", "outcome", "run", "seconds", "cutover_seconds", "warnings",
            "error", "failed_step", "culprit", "exit_code", "log",
        )
        if outcome.get(key) not in (None, "", [])
    }
