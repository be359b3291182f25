"""A release on several minions together, or on none.

    salt-run superctl.deploy shop 'web*' bundle=salt://shop-1.2.tar.zst
    salt-run superctl.deploy shop 'web*' release=2026-11-22

All minions prepare the release: each boots it and proves it. If one refuses, no minion turns.
Otherwise the canary minion cuts over and passes its probation, and then all others cut over at
once. If one of them reverts, or does not answer any more, all others go back.
"""

from __future__ import annotations

import getpass
import os
import secrets
import time
from typing import Any

from salt.exceptions import SaltInvocationError

__virtualname__ = "superctl"

# The exit codes of superctl @ENV.
REFUSED, UNREACHABLE, BUSY, REVERTED, BEHIND = 1, 3, 4, 5, 6

Results = dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


class Refusal(Exception):
    """A minion that ends the deploy, and superctl's exit code."""

    def __init__(self, minion: str, why: str, code: int = REFUSED) -> None:
        super().__init__(f"{minion}: {why}")
        self.code = code


def deploy(
    app: str,
    tgt: str,
    bundle: str = "",
    release: str = "",
    canary: str = "",
    by: str = "",
    limit: str = "10m",
    force: bool = False,
    tgt_type: str = "glob",
    saltenv: str = "base",
    timeout: int = 15,
) -> dict[str, Any]:
    """Makes a bundle or an installed release live on all minions or on none.

    bundle
        A file of the master (salt://), a path of the minions, or a URL.
    release
        Instead of a bundle: an installed release.
    canary
        The minion that cuts over first, and alone runs hooks with ``once = true``; the first by name
        if not given.
    by
        Who deploys, for the history and messages.
    limit
        How long a prepared release waits. It is abandoned if the master dies meanwhile.
    force
        Continue even if the database has migrations that the release does not know.
    timeout
        After how many seconds without an answer the master asks whether a minion still works.
    """
    if bool(bundle) == bool(release):
        raise SaltInvocationError("give either bundle or release")
    if isinstance(release, float):  # 1.10 is read as 1.1, which may be another release
        raise SaltInvocationError(f"""release {release} is a number here: write '"{release}"', with both quotes""")
    run = _Run(app, tgt, tgt_type, canary, timeout, by or os.environ.get("SUDO_USER") or getpass.getuser())
    result: dict[str, Any] = {"run": run.id, "retcode": 0}
    try:
        run.reach()
        release = run.install(bundle, saltenv) if bundle else str(release)
        run.lock(release)
        result["release"] = run.prepare(release, limit, force)
        run.turn()
        run.end("done")
    except Refusal as e:
        result["error"], result["retcode"] = str(e), e.code
        behind = run.undo()
        if behind:
            result["retcode"] = BEHIND
            result["behind"] = behind
        run.end("reverted" if run.told else "aborted", error=str(e), behind=",".join(behind))
    except BaseException:
        run.undo()
        run.end("reverted" if run.told else "aborted", error="the deploy was interrupted")
        raise
    result["changed"] = sorted(run.turned)
    __context__["retcode"] = result["retcode"]
    return result


class _Run:
    """One deploy: where it is, and what undoes it."""

    def __init__(self, app: str, tgt: str, tgt_type: str, canary: str, timeout: int, by: str) -> None:
        self.app, self.tgt, self.tgt_type, self.canary, self.timeout, self.by = app, tgt, tgt_type, canary, timeout, by
        self.id = f"salt-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        self.began = time.monotonic()
        self.minions: list[str] = []
        self.before: dict[str, str] = {}  # the live releases
        self.wanted = ""  # the release, as the operator calls it
        self.release = ""  # its full name
        self.locked: set[str] = set()  # perhaps
        self.prepared: set[str] = set()  # perhaps
        self.told: set[str] = set()  # those that have the word
        self.ended: set[str] = set()  # those of which the outcome is known
        self.turned: set[str] = set()  # those that the run has made run the release

    def call(self, minions: list[str], function: str, **arguments: Any) -> Results:
        """Runs a function on minions, all at once. A minion that does not answer has the result False."""
        if not minions:
            return {}
        return self.execute(minions, "list", function, **arguments)

    def execute(self, tgt: str | list[str], tgt_type: str, function: str, **arguments: Any) -> Results:
        return __salt__["salt.execute"](
            tgt, f"superctl.{function}", kwarg={"app": self.app, **arguments}, tgt_type=tgt_type, timeout=self.timeout
        )

    def reach(self) -> None:
        """Ends the deploy unless all minions are well and idle."""
        found = self.execute(self.tgt, self.tgt_type, "status")
        self.minions = sorted(found)
        if not found:
            raise Refusal(str(self.tgt), "no minion has this name", UNREACHABLE)
        self.canary = self.canary or self.minions[0]
        if self.canary not in found:
            raise Refusal(self.canary, "the canary is not one of the minions")
        for minion in self.minions:
            self._well(minion, found[minion])
            self.before[minion] = found[minion]["release"]

    def _well(self, minion: str, status: Any) -> None:
        _answered(minion, status)
        if not status["running"]:
            raise Refusal(minion, status["why"], UNREACHABLE)
        if status["changing"]:
            raise Refusal(minion, f"{status['changing']['kind']} by {status['changing']['who']} is in progress", BUSY)
        if status["release"] and status["health"] != "ok":
            raise Refusal(minion, f"{status['health']}: {status['reason']}")

    def install(self, bundle: str, saltenv: str) -> str:
        """Installs the bundle on all minions. Returns its release."""
        done = self.call(self.minions, "install", bundle=bundle, saltenv=saltenv)
        for minion in self.minions:
            _succeeded(minion, done.get(minion))
        first = done[self.canary]
        for minion in self.minions:
            if (done[minion]["release"], done[minion].get("bundle")) != (first["release"], first.get("bundle")):
                raise Refusal(minion, f"another bundle of {done[minion]['release']} than on {self.canary} is installed")
        return first["release"]

    def lock(self, release: str) -> None:
        """Keeps other changes away from all minions, whose operators are told why."""
        self.wanted = release
        self.locked.update(self.minions)
        done = self.call(self.minions, "lock", run=self.id, why=f"deploy of {release} by Salt", by=self.by)
        for minion in self.minions:
            _succeeded(minion, done.get(minion))

    def prepare(self, release: str, limit: str, force: bool) -> str:
        """Prepares the release, and returns its full name.

        The canary is the first, because its hooks with once = true run for all.
        """
        others = [m for m in self.minions if m != self.canary]
        for minions, follower in ([self.canary], False), (others, True):
            self.prepared.update(minions)
            done = self.call(
                minions,
                "prepare",
                release=release,
                run=self.id,
                by=self.by,
                limit=limit,
                follower=follower,
                force=force,
            )
            for minion in minions:
                _succeeded(minion, done.get(minion))
                self.release = self.release or done[minion]["release"]
                if done[minion]["release"] != self.release:
                    raise Refusal(
                        minion, f"{release} is {done[minion]['release']} here, and {self.release} on {self.canary}"
                    )
        return self.release

    def turn(self) -> None:
        """Gives the word: to the canary, and after its probation to all others at once."""
        others = [m for m in self.minions if m != self.canary]
        for minions in [self.canary], others:
            self.told.update(minions)
            done = self.call(minions, "go", run=self.id)
            for minion in minions:
                if isinstance(done.get(minion), dict):
                    self.ended.add(minion)
                    if done[minion]["changed"]:
                        self.turned.add(minion)
            for minion in minions:
                _succeeded(minion, done.get(minion))

    def undo(self) -> list[str]:
        """Abandons what is prepared, and takes back what has turned. Returns the minions where that failed."""
        self.call(sorted(self.prepared - self.told), "abandon", run=self.id)
        # A minion on which the release was live before must keep it.
        unknown = {m for m in self.told - self.ended if self.before[m] != self.release}
        back = sorted(self.turned | unknown)
        how = {"leave": self.release, "run": self.id, "by": self.by}
        done = self.call([m for m in back if m == self.canary], "rollback", **how)
        done |= self.call([m for m in back if m != self.canary], "rollback", follower=True, **how)
        failed = [m for m in back if not isinstance(done.get(m), dict) or "error" in done[m]]
        self.turned.intersection_update(failed)
        return failed

    def end(self, outcome: str, **more: str) -> None:
        """Notifies the team once, through the canary, if it has begun a change, and unlocks the minions."""
        if self.prepared and (self.turned or outcome != "done"):
            self.call(
                [self.canary],
                "notify",
                run=self.id,
                outcome=outcome,
                hosts=self.minions,
                by=self.by,
                release=self.release or self.wanted,
                previous=self.before[self.canary],
                seconds=round(time.monotonic() - self.began, 1),
                **{key: value for key, value in more.items() if value},
            )
        self.call(sorted(self.locked), "unlock", run=self.id)


def _answered(minion: str, result: Any) -> None:
    if result is False or result is None:
        raise Refusal(minion, "the minion does not answer", UNREACHABLE)
    if not isinstance(result, dict):
        raise Refusal(minion, str(result).strip() or "the minion failed")


def _succeeded(minion: str, result: Any) -> None:
    _answered(minion, result)
    if "error" in result:
        raise Refusal(minion, "\n".join([result["error"], *result.get("log", [])]), result["code"])
