"""Tasks that deploy with superctl: fab production deploy.

    # fabfile.py
    from superctl_fabric import back, deploy, environment, finish, history, logs, rollback, status, switch

    production = environment("production")
    staging = environment("staging")

Each task runs one command of superctl @ENV on this machine, shows its output as it comes, and ends
fab with its exit code.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from fabric import Connection, task
from invoke import Context, Exit, Task

__all__ = ["back", "deploy", "environment", "finish", "history", "logs", "rollback", "status", "switch"]

USAGE = 2  # the exit code of superctl for a wrong command


def environment(name: str) -> Task:
    """Returns the task that chooses the fleet for the tasks after it: [fleet.NAME] of superctl.fleet.toml."""

    @task(name=name, help={"only": "run the tasks only on these hosts, such as web1,web2"})
    def choose(c: Context, only: str = "") -> None:
        c["superctl_fleet"] = f"@{name}:{only}" if only else f"@{name}"

    choose.__doc__ = f"Choose the hosts of {name} for the tasks after this one."
    return choose


@task(
    iterable=["without"],
    help={
        "branch": "build this branch, tag or commit (default: the files as they are here)",
        "bundle": "deploy this bundle, and build none",
        "sign": "sign the bundle with this key file",
        "without": "leave out this host",
        "dry-run": "show what would be done on each host, and change nothing",
    },
)
def deploy(
    c: Context,
    branch: str = "",
    bundle: str = "",
    sign: str = "",
    without: list[str] | None = None,
    dry_run: bool = False,
) -> None:
    """Build a bundle of the project, and make it live on all hosts or on none."""
    fleet = _fleet(c)
    if branch and bundle:
        raise Exit("give either --branch or --bundle", code=USAGE)
    with nullcontext(bundle) if bundle else _built(c, branch, sign) as file:
        _run(c, "superctl", fleet, "deploy", file, *_options(without, dry_run))


@task(iterable=["without"])
def switch(c: Context, release: str, without: list[str] | None = None, dry_run: bool = False) -> None:
    """Make an installed release live on all hosts or on none."""
    _run(c, "superctl", _fleet(c), "switch", release, *_options(without, dry_run))


@task(iterable=["without"])
def rollback(c: Context, without: list[str] | None = None, dry_run: bool = False) -> None:
    """Go back to the previous release on all hosts or on none."""
    _run(c, "superctl", _fleet(c), "rollback", *_options(without, dry_run))


@task
def finish(c: Context) -> None:
    """End a mix of releases: bring the hosts that are behind to the newest."""
    _run(c, "superctl", _fleet(c), "finish")


@task
def back(c: Context) -> None:
    """End a mix of releases: take the newest back."""
    _run(c, "superctl", _fleet(c), "back")


@task
def status(c: Context) -> None:
    """Show what runs on each host."""
    _run(c, "superctl", _fleet(c), "status")


@task(help={"number": "show the newest changes, so many for each host; 0 = all"})
def history(c: Context, number: int = 5) -> None:
    """Show the newest changes of each host."""
    _run(c, "superctl", _fleet(c), "history", "-n", str(number))


@task(help={"follow": "also show new lines, until Ctrl-C", "lines": "show the newest lines, so many for each host"})
def logs(c: Context, follow: bool = False, lines: int = 50, process: str = "") -> None:
    """Show the output of the workers of all hosts."""
    options = [*(["-f"] if follow else []), *(["--process", process] if process else [])]
    _run(c, "superctl", _fleet(c), "logs", "-n", str(lines), *options)


def _fleet(c: Context) -> str:
    """Returns the fleet that a task before this one has chosen."""
    if isinstance(c, Connection):
        raise Exit("superctl reaches the hosts itself: leave out -H, and use fab ENV --only HOST", code=USAGE)
    fleet = c.get("superctl_fleet")
    if not fleet:
        raise Exit("which hosts? Name the environment first, as in: fab production deploy", code=USAGE)
    return fleet


def _options(without: list[str] | None, dry_run: bool) -> list[str]:
    words = [word for host in without or () for word in ("--without", host)]
    return [*words, "--dry-run"] if dry_run else words


def _run(c: Context, *words: str) -> None:
    """Runs a command with its output shown. Its failure ends fab with its exit code."""
    c.run(shlex.join(words), echo=True, echo_format="{command}", pty=sys.stdout.isatty(), in_stream=False)


def _read(c: Context, *words: str) -> str:
    """Returns what a command prints, or "" if it fails."""
    result = c.run(shlex.join(words), hide=True, warn=True, dry=False, in_stream=False)
    return result.stdout.strip() if result else ""


@contextmanager
def _built(c: Context, branch: str, sign: str) -> Iterator[str]:
    """Builds a bundle, which exists until the end of the context."""
    with TemporaryDirectory(prefix="superctl-") as directory:
        temporary = Path(directory)
        bundles = temporary / "bundles"
        bundles.mkdir()
        checkout = _checkout(c, branch, temporary) if branch else nullcontext(_project())
        with checkout as project:
            signed = ["--sign", str(Path(sign).expanduser().absolute())] if sign else []
            _run(c, "superctl", "build", str(project), "--output", str(bundles), *signed)
        yield str(next(bundles.glob("*.tar.zst"), bundles / "BUNDLE"))  # none with fab --dry


def _project() -> Path:
    """Returns the directory of the fabfile: the one that fab has found."""
    here = Path.cwd()
    return next((d for d in (here, *here.parents) if (d / "fabfile.py").exists() or (d / "fabfile").is_dir()), here)


@contextmanager
def _checkout(c: Context, branch: str, into: Path) -> Iterator[Path]:
    """Checks out a branch of the project into a directory, and leaves the working tree alone."""
    project = _project()
    git = ["git", "-C", str(project)]
    parse = [*git, "rev-parse", "--verify", "--quiet"]
    commit = _read(c, *parse, f"{branch}^{{commit}}") or _read(c, *parse, f"origin/{branch}^{{commit}}")
    if not commit:
        raise Exit(f"there is no branch, tag or commit {branch} here: git fetch?", code=USAGE)
    top = Path(_read(c, *git, "rev-parse", "--show-toplevel"))
    tree = into / top.name  # the directory's name may be the name of the bundle
    _run(c, *git, "worktree", "add", "--quiet", "--detach", str(tree), commit)
    try:
        yield tree / project.resolve().relative_to(top.resolve())
    finally:
        _run(c, *git, "worktree", "remove", "--force", str(tree))
