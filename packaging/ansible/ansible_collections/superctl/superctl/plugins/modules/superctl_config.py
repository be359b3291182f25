#!/usr/bin/python
# Copyright the superctl maintainers
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: superctl_config
short_description: The config of an app under superctl
version_added: "0.1.0"
description:
  - Writes C(/etc/superctl/APP.toml) and puts it in force by C(superctl reload), which loses no request.
  - A config in which C(superctl check) finds an error is not written. A config that the reload refuses is
    replaced by the one before, so that the file is always the config in force, and the next run is refused again.
  - If the app's daemon does not run, the config is written and takes effect when the daemon starts.
options:
  app:
    description: The app, as C(superctl --app) takes it.
    type: str
    required: true
  content:
    description:
      - The text of the config. Use P(ansible.builtin.file#lookup) or P(ansible.builtin.template#lookup);
        both decrypt a file of Ansible Vault.
      - It is not logged, and the diff shows no value that could be a secret.
    type: str
    required: true
  path:
    description: The file, if it is not C(/etc/superctl/APP.toml).
    type: path
  owner:
    description: The owner of the file.
    type: str
    default: root
  group:
    description: The group of the file, by which the daemon reads it. The app's name if not given.
    type: str
  mode:
    description: The mode of the file.
    type: raw
    default: "0640"
attributes:
  check_mode:
    description: Checks the config, and reports whether it would change. What only a reload finds out is not known.
    support: full
  diff_mode:
    description: The changed lines, without values that could be secrets.
    support: full
author:
  - superctl maintainers (@superctl)
"""

EXAMPLES = r"""
- name: The config
  superctl.superctl.superctl_config:
    app: shop
    content: "{{ lookup('ansible.builtin.template', 'shop.toml.j2') }}"
"""

RETURN = r"""
path:
  description: The config's file.
  returned: always
  type: str
  sample: /etc/superctl/shop.toml
reloaded:
  description: Whether the config was put in force by a reload.
  returned: success
  type: bool
warnings:
  description: What superctl warns of.
  returned: when it does
  type: list
  elements: str
reason:
  description: V(refused), V(reverted), V(busy), V(usage) or V(unreachable), as the exit code says.
  returned: failure
  type: str
log:
  description: The last lines of the program that failed.
  returned: when one failed
  type: list
  elements: str
"""

import os
import re
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible_collections.superctl.superctl.plugins.module_utils.superctl import Superctl

# Values that cannot be secrets: truth values, numbers and durations.
PLAIN = re.compile(r'^\s*(true|false|[0-9]{1,6}|"[0-9]+(ms|s|m|h|d)")\s*(#.*)?$')
TABLE = re.compile(r"^\s*\[")
KEY = re.compile(r"^(\s*[A-Za-z0-9_.\"-]+\s*=)(.*)$", re.DOTALL)


def masked(text):
    """Returns a config without the values that could be secrets. A comment can be one, too."""
    lines, env = [], False
    for line in text.splitlines():
        if TABLE.match(line):
            env = "env" in line or "notify" in line
            lines.append(line.split("#")[0].rstrip())
            continue
        key = KEY.match(line)
        if key and not env and PLAIN.match(key.group(2)):
            lines.append(line.split("#")[0].rstrip())
        elif key:
            lines.append(key.group(1) + " (hidden)")
        elif line.strip():
            lines.append("(hidden)")
    return lines


def difference(before, after):
    """Returns the diff of two configs. A line whose hidden value has changed says so."""
    was, now = masked(before), masked(after)
    old, new = set(before.splitlines()), set(after.splitlines())
    changed = any(line not in old for line in after.splitlines()) or any(line not in new for line in before.splitlines())
    if was == now and changed:
        now = now + ["(a hidden value has changed)"]
    return {"before": "\n".join(was) + "\n", "after": "\n".join(now) + "\n"}


def read(path):
    try:
        with open(path, "rb") as f:
            return to_text(f.read(), errors="surrogate_or_strict")
    except FileNotFoundError:
        return None


class Config(object):
    """The file of one app's config, and the daemon that has it in force."""

    def __init__(self, module):
        self.module = module
        self.superctl = Superctl(module)
        self.path = module.params["path"] or "/etc/superctl/%s.toml" % self.superctl.app
        self.after = module.params["content"]
        self.before = read(self.path)
        self.result = {"path": self.path, "changed": False, "reloaded": False}

    def write(self, text):
        """Replaces the file in one step. No other user can read it at any time."""
        fd, temporary = tempfile.mkstemp(prefix=".superctl-", dir=os.path.dirname(self.path))
        with os.fdopen(fd, "wb") as f:
            f.write(to_bytes(text))
            f.flush()
            os.fsync(f.fileno())
        self.attributes(temporary)
        os.replace(temporary, self.path)  # atomic_move would give it the mode of the old file first

    def attributes(self, path):
        """Sets owner, group and mode. Returns whether one of them was another."""
        given = dict(self.module.params, path=path, group=self.module.params["group"] or self.superctl.app)
        arguments = self.module.load_file_common_arguments(given, path=path)
        return self.module.set_fs_attributes_if_different(arguments, False)

    def check(self):
        """Fails the module if superctl finds an error in the config."""
        if self.superctl.path is None and self.module.check_mode:
            return  # superctl would have been installed before this
        fd, temporary = tempfile.mkstemp(prefix="superctl-", suffix=".toml", dir=self.module.tmpdir)
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(to_bytes(self.after))
            code, out, err = self.superctl.run("--config", temporary, "check")
        finally:
            os.unlink(temporary)
        if code:
            said = self.failures(out) or err
            self.superctl.fail(code, {}, said.replace(temporary, self.path), **self.result)

    @staticmethod
    def failures(report):
        return "; ".join(line["text"] for line in report.get("findings", []) if line["status"] == "fail")

    def reload(self):
        """Puts the config in force. One that is refused leaves the file as it was."""
        code, outcome, err = self.superctl.run("reload")
        if code == 3:
            return  # the daemon reads it when it starts
        if code:
            if self.before is not None:
                self.write(self.before)
                self.result["changed"] = False
                self.result.pop("diff", None)
            self.superctl.fail(code, outcome, err, **self.result)
        self.result["reloaded"] = True
        if outcome.get("warnings"):
            self.result["warnings"] = outcome["warnings"]

    def in_force(self):
        """Reports whether the daemon runs with the file as it is."""
        code, status = self.superctl.run("status")[:2]
        return code != 0 or not status.get("config_changed")


def main():
    module = AnsibleModule(
        argument_spec=dict(
            app=dict(type="str", required=True),
            content=dict(type="str", required=True, no_log=True),
            path=dict(type="path"),
            owner=dict(type="str", default="root"),
            group=dict(type="str"),
            mode=dict(type="raw", default="0640"),
        ),
        supports_check_mode=True,
    )
    config = Config(module)
    same = config.before == config.after
    if not same:
        config.check()
        config.result["changed"] = True
        config.result["diff"] = difference(config.before or "", config.after)
    elif config.superctl.path is not None and not config.in_force():
        config.result["changed"] = True
    if not module.check_mode:
        if not same:
            config.write(config.after)
        if config.result["changed"]:
            config.reload()
    if same and os.path.exists(config.path) and config.attributes(config.path):
        config.result["changed"] = True
    module.exit_json(**config.result)


if __name__ == "__main__":
    main()
