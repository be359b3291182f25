"""superctl on a minion: its releases, its config and its changes.

Each function runs one command of superctl and returns what it reports. A failed command sets the
return code of the job to superctl's exit code. With ``test=True`` a function changes nothing.

    salt 'web*' superctl.status shop
    salt 'web*' superctl.switch shop 2026-11-23
    salt 'web*' superctl.rollback shop leave=2026-11-23
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

__virtualname__ = "superctl"

# What the exit codes of superctl mean (superctl --help).
REASONS = {1: "refused", 2: "usage", 3: "unreachable", 4: "busy", 5: "reverted"}

# What a function returns of an outcome: all but the steps, which are long.
SHOWN = (
    "release",
    "previous",
    "outcome",
    "commit",
    "bundle",
    "tree",
    "run",
    "seconds",
    "cutover_seconds",
    "warnings",
    "failed_step",
    "log",
)


def __virtual__() -> str:
    return __virtualname__


def _run(app: str, *words: str, config: str = "", json_output: bool = True) -> tuple[int, Any, str]:
    """Runs a command. Returns its exit code, the value that it prints, and its words on stderr."""
    command = [_program(), *(["--config", config] if config else ["--app", app]), *words]
    ended = __salt__["cmd.run_all"](
        [*command, "--json"] if json_output else command,
        python_shell=False,
        ignore_retcode=True,
        output_loglevel="quiet",
    )
    return ended["retcode"], _last_value(ended["stdout"]), ended["stderr"].strip()


def _program() -> str:
    path = shutil.which("superctl")
    if path is None:
        raise CommandExecutionError("superctl is not installed: no superctl in PATH")
    return path


def _last_value(out: str) -> Any:
    """Returns the last JSON object or list of an output; {} if it has none."""
    decoder, rest, last = json.JSONDecoder(), out.lstrip(), {}
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except ValueError:
            break
        if isinstance(value, (dict, list)):
            last = value
        rest = rest[end:].lstrip()
    return last


def _result(code: int, outcome: Any, err: str) -> dict[str, Any]:
    """Returns the result of a command that changes something."""
    outcome = outcome if isinstance(outcome, dict) else {}
    result = {key: outcome[key] for key in SHOWN if outcome.get(key) not in (None, "", [])}
    result["changed"] = not code and bool(outcome.get("changed"))
    if code:
        result["code"] = code
        result["reason"] = REASONS.get(code, "failed")
        result["error"] = outcome.get("error") or err or f"superctl: exit code {code}"
        __context__["retcode"] = code
    return result


def _options(**options: str | bool) -> list[str]:
    """Returns the options that are set: --name value, or --name for True."""
    words = []
    for name, value in options.items():
        if value:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def _name(release: str | int) -> str:
    """Returns the name of a release. Salt reads 1.10 as the number 1.1, which may be another one."""
    if isinstance(release, float):
        raise CommandExecutionError(f"""release {release} is a number here: write '"{release}"', with both quotes""")
    return str(release)


def status(app: str) -> dict[str, Any]:
    """Returns the live release of an app and its health.

    ``running`` is False, with the reason in ``why``, if superctl is not installed or the app's
    daemon does not answer. That is not a failure.
    """
    try:
        code, value, err = _run(app, "status")
    except CommandExecutionError as e:
        return {"running": False, "why": str(e)}
    if code in (2, 3):  # no config, or no daemon
        return {"running": False, "why": err}
    if code:
        raise CommandExecutionError(err)
    shown = ("release", "commit", "previous", "health", "reason", "run", "host")
    return {
        "running": True,
        **{key: value.get(key, "") for key in shown},
        "changing": value.get("changing") or {},
        "config_changed": bool(value.get("config_changed")),
    }


def releases(app: str) -> list[dict[str, Any]]:
    """Returns the installed releases of an app, the newest first."""
    code, value, err = _run(app, "releases")
    if code:
        raise CommandExecutionError(err)
    return value


def check(app: str, release: str = "", config: str = "") -> dict[str, Any]:
    """Checks the config, the releases and the addresses, or boots a release on a private socket.

    ``config`` is the path of another config file, such as one that is not in place yet.
    """
    code, report, err = _run(app, "check", *([release] if release else []), config=config)
    found = report.get("findings", []) if isinstance(report, dict) else []
    failed = [f["text"] for f in found if f.get("status") == "fail"]
    if code:
        __context__["retcode"] = code
        return {"ok": False, "code": code, "error": "; ".join(failed) or err}
    return {"ok": True, "warnings": [f["text"] for f in found if f.get("status") == "warn"]}


def _local_bundle(bundle: str, saltenv: str) -> str:
    """Returns what superctl calls a bundle: the path of the copy of a salt:// file, or the argument.

    The signature next to a bundle is copied, too.
    """
    if not bundle.startswith("salt://"):
        return bundle
    signature = bundle + ".minisig"
    if __salt__["cp.hash_file"](signature, saltenv):
        __salt__["cp.cache_file"](signature, saltenv)
    path = __salt__["cp.cache_file"](bundle, saltenv)
    if not path:
        raise CommandExecutionError(f"{bundle} is not on the file server")
    return path


def install(app: str, bundle: str, saltenv: str = "base", test: bool = False) -> dict[str, Any]:
    """Installs a bundle (salt://, a path or a URL), and changes nothing that runs.

    With ``test=True`` the release is the one that the bundle's name says: APP-RELEASE.tar.zst.
    """
    path = _local_bundle(bundle, saltenv)
    if not test:
        return _result(*_run(app, "install", path))
    release = Path(bundle).name.removesuffix(".tar.zst").removeprefix(f"{app}-")
    has = [r["name"] for r in releases(app)] if status(app)["running"] else []
    return {"release": release, "changed": release not in has}


def switch(
    app: str,
    release: str,
    expect: str = "",
    run: str = "",
    by: str = "",
    force: bool = False,
    test: bool = False,
) -> dict[str, Any]:
    """Makes an installed release live. It is refused unless the release ``expect`` is live, if given."""
    options = _options(expect=_name(expect), run=run, by=by, force=force, **{"dry-run": test})
    return _result(*_run(app, "switch", _name(release), *options))


def deploy(
    app: str,
    bundle: str,
    expect: str = "",
    run: str = "",
    by: str = "",
    force: bool = False,
    saltenv: str = "base",
    test: bool = False,
) -> dict[str, Any]:
    """Installs a bundle (salt://, a path or a URL) and makes it live."""
    options = _options(expect=_name(expect), run=run, by=by, force=force, **{"dry-run": test})
    return _result(*_run(app, "deploy", _local_bundle(bundle, saltenv), *options))


def rollback(
    app: str,
    leave: str = "",
    run: str = "",
    by: str = "",
    follower: bool = False,
    force: bool = False,
    test: bool = False,
) -> dict[str, Any]:
    """Goes back to the previous release. With ``leave``, only if that release is live.

    Without ``leave``, a second rollback cancels the first.
    """
    options = _options(run=run, by=by, follower=follower, force=force, **{"from": _name(leave), "dry-run": test})
    return _result(*_run(app, "rollback", *options))


def reload(app: str, test: bool = False) -> dict[str, Any]:
    """Applies the config to the live release."""
    return _result(*_run(app, "reload", *_options(**{"dry-run": test})))


# A prepared change and a lock outlive the job that has begun them: superctl runs on, and reads its
# word from a FIFO. Both end by themselves after their limit.
DIRECTORY = Path("/run/superctl-salt")

# Runs superctl, and leaves its exit code in a file that exists only once superctl has ended.
BACKGROUND = 'dir=$1; shift; "$@"; echo $? >"$dir/code.part"; mv "$dir/code.part" "$dir/code"'


def _directory(app: str, run: str, kind: str = "change") -> Path:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", run) or "/" in app:
        raise CommandExecutionError(f"invalid run {run!r} of {app!r}: use letters, digits and . _ -")
    return DIRECTORY / f"{app}.{run}.{kind}"


def prepare(
    app: str, release: str, run: str, by: str = "", limit: str = "10m", follower: bool = False, force: bool = False
) -> dict[str, Any]:
    """Boots and proves a release, and returns once it is ready: ``go`` or ``abandon`` decide.

    After ``limit`` it is abandoned. A ``follower`` leaves hooks with ``once = true`` and the messages to
    another host of the run, which prepares first.
    """
    options = _options(run=run, by=by, follower=follower, force=force)
    begun = _begin(_directory(app, run), "ready", app, "switch", _name(release), f"--prepare={limit}", *options)
    return {"ready": True, "release": begun["release"]} if "error" not in begun else {"ready": False, **begun}


def lock(app: str, run: str, why: str, by: str = "", limit: str = "30m") -> dict[str, Any]:
    """Has the app accept only changes of this run, until ``unlock`` or the end of ``limit``."""
    options = _options(run=run, why=why, by=by, heartbeat=limit)
    begun = _begin(_directory(app, run, "lock"), "locked", app, "lock", *options)
    return {"locked": "error" not in begun, **begun}


def unlock(app: str, run: str) -> bool:
    """Ends the lock of a run. Returns whether there was one."""
    return _end(_directory(app, run, "lock"))


def notify(app: str, run: str, outcome: str, hosts: list[str], release: str = "", **more: Any) -> dict[str, Any]:
    """Sends one message for all hosts of a run: superctl notify explains ``more``."""
    options = _options(run=run, outcome=outcome, release=release, hosts=",".join(hosts))
    options += _options(**{key: " ".join(str(v).split()) for key, v in more.items() if not key.startswith("__")})
    return _result(*_run(app, "notify", *options, json_output=False))


def _begin(directory: Path, event: str, app: str, *words: str) -> dict[str, Any]:
    """Begins a command, and waits until it reports the event, or ends."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    os.mkfifo(directory / "word", 0o600)
    # Opened for both, so that it has no end while nothing writes to it.
    word = os.open(directory / "word", os.O_RDWR)
    try:
        with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
            subprocess.Popen(
                ["/bin/sh", "-c", BACKGROUND, "sh", str(directory), _program(), "--app", app, *words, "--json"],
                stdin=word,
                stdout=out,
                stderr=err,
                start_new_session=True,
                cwd="/",
            )
    finally:
        os.close(word)
    while not (found := _find(directory / "out", event)):  # superctl limits the time
        if (directory / "code").exists():
            return _ended(directory)
        time.sleep(0.02)
    return found


def _find(out: Path, event: str) -> dict[str, Any]:
    """Returns the line that reports an event; {} if there is none yet."""
    for line in out.read_text().splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and value.get(event):
            return value
    return {}


def go(app: str, run: str) -> dict[str, Any]:
    """Cuts a prepared release over, and returns the outcome after its probation."""
    directory = _directory(app, run)
    if not directory.exists():
        raise CommandExecutionError(f"{app}: nothing is prepared under the run {run}")
    _say(directory, "go\n")
    return _ended(directory)


def abandon(app: str, run: str) -> bool:
    """Ends a prepared change before its cutover. Returns whether there was one."""
    return _end(_directory(app, run))


def _end(directory: Path) -> bool:
    if not directory.exists():
        return False
    _say(directory, "end\n")
    _ended(directory)
    __context__.pop("retcode", None)  # the end was asked for
    return True


def _say(directory: Path, word: str) -> bool:
    """Writes a word for superctl. Returns whether superctl still runs."""
    try:
        fifo = os.open(directory / "word", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as e:
        if e.errno == errno.ENXIO:
            return False
        raise
    os.write(fifo, word.encode())
    os.close(fifo)
    return True


def _ended(directory: Path) -> dict[str, Any]:
    """Waits until a command that runs on ends. Returns its result."""
    try:
        while not (directory / "code").exists():
            if not _say(directory, "") and not (directory / "code").exists():
                return _result(1, {}, "superctl was killed before it could report how the change ended")
            time.sleep(0.02)
        out, err = (directory / "out").read_text(), (directory / "err").read_text()
        return _result(int((directory / "code").read_text()), _last_value(out), err.strip())
    finally:
        shutil.rmtree(directory, ignore_errors=True)
