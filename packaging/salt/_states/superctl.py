"""The config and the live release of an app under superctl.

    /etc/superctl/shop.toml:
      superctl.config:
        - source: salt://shop.toml
        - template: jinja

    shop:
      superctl.live:
        - bundle: salt://shop-1.2.tar.zst
        - require:
          - superctl: /etc/superctl/shop.toml

With test=True each state compares with the host as superctl itself does, and changes nothing. What
only booting a release can find out is not known then.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import salt.utils.data
import salt.utils.templates
from salt.exceptions import CommandExecutionError

try:
    import tomllib
except ImportError:  # Python before 3.11
    tomllib = None

__virtualname__ = "superctl"

Return = dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def _ret(name: str, result: bool | None, comment: str, changes: dict[str, Any] | None = None) -> Return:
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def installed(name: str, bundle: str) -> Return:
    """A bundle is installed as a release of the app ``name``. Nothing that runs changes.

    bundle
        A file of the master (salt://), a path of the minion, or a URL.
    """
    try:
        done = __salt__["superctl.install"](name, bundle, __env__, test=__opts__["test"])
    except CommandExecutionError as e:
        return _ret(name, False, str(e))
    if "error" in done:
        return _ret(name, False, done["error"])
    release = done["release"]
    if not done["changed"]:
        return _ret(name, True, f"{release} is installed")
    changes = {"installed": {"old": "", "new": release}}
    if __opts__["test"]:
        return _ret(name, None, f"{release} would be installed", changes)
    return _ret(name, True, _warned(f"{release} was installed", done), changes)


def live(name: str, release: str = "", bundle: str = "", expect: str = "", force: bool = False) -> Return:
    """A release of the app ``name`` is live. One that is refused or reverted leaves the old one live.

    release
        An installed release.
    bundle
        Instead of a release: it is installed first. As for ``installed``.
    expect
        Refuse unless this release is live when the change begins; ``none`` for no live release.
    force
        Continue even if the database has migrations that the release does not know.
    """
    if bool(release) == bool(bundle):
        return _ret(name, False, "give either release or bundle")
    test = __opts__["test"]
    try:
        if test and not (now := __salt__["superctl.status"](name))["running"]:  # a state before this one would start it
            release = release or __salt__["superctl.install"](name, bundle, __env__, test=True)["release"]
            return _ret(name, None, f"{release} would become live: {now['why']}", _turn("", str(release)))
        if bundle:
            done = __salt__["superctl.deploy"](name, bundle, expect=expect, force=force, saltenv=__env__, test=test)
        else:
            done = __salt__["superctl.switch"](name, release, expect=expect, force=force, test=test)
    except CommandExecutionError as e:
        return _ret(name, False, str(e))
    if "error" in done:
        return _ret(name, False, "\n".join([done["error"], *done.get("log", [])]))
    if not done["changed"]:
        return _ret(name, True, f"{done['release']} is live")
    changes = _turn(done.get("previous", ""), done["release"])
    if test:
        return _ret(name, None, _warned(f"{done['release']} would become live", done), changes)
    return _ret(name, True, _warned(f"{done['release']} is live", done), changes)


def _turn(old: str, new: str) -> dict[str, Any]:
    return {"release": {"old": old, "new": new}}


def _warned(comment: str, done: dict[str, Any]) -> str:
    return "\n".join([comment, *("warning: " + w for w in done.get("warnings", []))])


def config(
    name: str,
    source: str = "",
    template: str = "",
    contents_pillar: str = "",
    context: dict[str, Any] | None = None,
    app: str = "",
    user: str = "root",
    group: str = "",
    mode: str = "0640",
) -> Return:
    """The config of an app is in the file ``name``, and in force by a reload, which loses no request.

    A config in which superctl finds an error is not written. One that the reload refuses is replaced
    by the one before, so that the next run is refused again. If the app's daemon does not run, the
    config takes effect when it starts. Changes name keys, never values.

    source
        A file of the master: salt://shop.toml.
    template
        The template engine of the source, such as jinja, which reads secrets from the pillar.
    contents_pillar
        Instead of a source: the pillar key that has the text.
    context
        Variables of the template.
    app
        The app; the file's name without .toml if not given.
    user, group, mode
        The owner of the file (root), its group (the app's name) and its mode (0640).
    """
    app = app or Path(name).stem
    owner = {"user": user, "group": group or app, "mode": str(mode)}
    before = _read(name)
    try:
        text = _text(source, template, contents_pillar, context)
        changes = _changes(name, app, before, text, owner)
        if not changes:
            return _ret(name, True, "the config is in force")
        if before != text:
            found = _check(name, text)
            if "error" in found:
                return _ret(name, False, found["error"])
        if __opts__["test"]:
            refused = (
                before == text and "in force" in changes and __salt__["superctl.reload"](app, test=True).get("error")
            )
            return _ret(name, False, refused) if refused else _ret(name, None, "the config would change", changes)
        _write(name, text, owner)
        if set(changes) <= set(owner):
            return _ret(name, True, "the config is in force", changes)
        return _reload(name, app, before, owner, changes)
    except (CommandExecutionError, OSError, LookupError) as e:
        return _ret(name, False, str(e))


def _reload(name: str, app: str, before: str | None, owner: dict[str, str], changes: dict[str, Any]) -> Return:
    """Puts a config in force that has been written. One that is refused is put back."""
    done = __salt__["superctl.reload"](app)
    if done.get("code") == 3:
        return _ret(name, True, f"the config was written, and takes effect when superctl@{app} starts", changes)
    if "error" not in done:
        return _ret(name, True, _warned("the config is in force", done), changes)
    if before is None:
        os.unlink(name)
    else:
        _write(name, before, owner)
    return _ret(name, False, "\n".join([done["error"], f"{name} is as it was before", *done.get("log", [])]))


def _check(name: str, text: str) -> dict[str, Any]:
    """Checks the text of a config before it is in place."""
    if __opts__["test"] and shutil.which("superctl") is None:
        return {}  # superctl would have been installed before this
    fd, temporary = tempfile.mkstemp(prefix="superctl-", suffix=".toml")  # mode 0600
    try:
        with os.fdopen(fd, "w") as f:
            f.write(text)
        found = __salt__["superctl.check"]("", config=temporary)
    finally:
        os.unlink(temporary)
    if "error" in found:
        found["error"] = found["error"].replace(temporary, name)
    return found


def _write(name: str, text: str, owner: dict[str, str]) -> None:
    """Replaces a config in one step. No other user can read it at any time."""
    fd, temporary = tempfile.mkstemp(prefix=".superctl-", dir=os.path.dirname(name))
    try:
        with os.fdopen(fd, "w") as f:
            shutil.chown(temporary, owner["user"], owner["group"])
            os.fchmod(f.fileno(), int(owner["mode"], 8))
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, name)
    except BaseException:
        os.unlink(temporary)
        raise


def _text(source: str, template: str, contents_pillar: str, context: dict[str, Any] | None) -> str:
    """Returns the text of the config. It is not written to any other file."""
    if bool(source) == bool(contents_pillar):
        raise CommandExecutionError("give either source or contents_pillar")
    if contents_pillar:
        # Not by pillar.get, which returns asterisks here (Salt 3008).
        text = salt.utils.data.traverse_dict_and_list(__pillar__, contents_pillar)
        return text or _missing(f"the pillar has no {contents_pillar}")
    path = __salt__["cp.cache_file"](source, __env__) or _missing(f"{source} is not on the file server")
    if not template:
        return Path(path).read_text()
    render = salt.utils.templates.TEMPLATE_REGISTRY.get(template)
    if render is None:
        raise CommandExecutionError(f"unknown template engine {template}")
    rendered = render(
        path,
        to_str=True,
        context=dict(context or {}),
        salt=__salt__,
        opts=__opts__,
        grains=__opts__["grains"],
        pillar=__pillar__,
        saltenv=__env__,
    )
    if not rendered["result"]:
        raise CommandExecutionError(f"{source}: {rendered['data'].strip().splitlines()[-1]}")
    text = rendered["data"]
    return text if text.endswith("\n") else text + "\n"  # jinja drops it


def _missing(why: str) -> str:
    raise CommandExecutionError(why)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return None


def _changes(name: str, app: str, before: str | None, after: str, owner: dict[str, str]) -> dict[str, Any]:
    """Returns what differs: keys of the config, the file's owner, group and mode, and what is in force."""
    if before is None:
        return {"config": "created"}
    changes = {}
    if before != after:
        changes["config"] = _keys(before, after)
    elif __salt__["superctl.status"](app).get("config_changed"):
        changes["in force"] = {"old": False, "new": True}
    for what, new in owner.items():
        old = __salt__[f"file.get_{what}"](name)
        if old.lstrip("0") != new.lstrip("0"):
            changes[what] = {"old": old, "new": new}
    return changes


def _keys(before: str, after: str) -> dict[str, str] | str:
    """Returns the keys that differ, without their values: each may be a secret."""
    try:
        old, new = dict(_flat(tomllib.loads(before))), dict(_flat(tomllib.loads(after)))
    except (AttributeError, ValueError):  # no tomllib, or no TOML: the check says where
        return "changed"
    changed = {key: "changed" for key in old.keys() & new.keys() if old[key] != new[key]}
    added = dict.fromkeys(new.keys() - old.keys(), "added")
    removed = dict.fromkeys(old.keys() - new.keys(), "removed")
    return dict(sorted({**changed, **added, **removed}.items())) or "changed in form only"


def _flat(table: dict[str, Any], prefix: str = ""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
