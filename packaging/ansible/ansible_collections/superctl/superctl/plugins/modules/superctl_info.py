#!/usr/bin/python
# Copyright the superctl maintainers
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: superctl_info
short_description: What superctl runs on a host
version_added: "0.1.0"
description:
  - Returns the live release of an app and how well it is. It changes nothing.
  - A host without superctl, or whose daemon does not run, is not a failure.
options:
  app:
    description: The app, as C(superctl --app) takes it.
    type: str
    required: true
attributes:
  check_mode:
    description: Runs as it does otherwise, because it changes nothing.
    support: full
  diff_mode:
    description: Has nothing to compare.
    support: none
author:
  - superctl maintainers (@superctl)
"""

EXAMPLES = r"""
- name: What runs
  superctl.superctl.superctl_info:
    app: shop
  register: site

- name: It is well
  ansible.builtin.assert:
    that: site.health == 'ok'
    fail_msg: "{{ site.reason }}"
"""

RETURN = r"""
running:
  description: Whether the app's daemon answers.
  returned: always
  type: bool
why:
  description: Why the daemon does not answer.
  returned: when it does not
  type: str
release:
  description: The live release, empty if none is live.
  returned: when the daemon answers
  type: str
  sample: "1.2"
commit:
  description: The commit of the live release, if it is known.
  returned: when the daemon answers
  type: str
previous:
  description: The release that a rollback goes to, empty if there is none.
  returned: when the daemon answers
  type: str
health:
  description: V(ok), V(degraded) or V(down).
  returned: when the daemon answers
  type: str
reason:
  description: Why the health is not V(ok).
  returned: when the daemon answers
  type: str
changing:
  description: The change in progress, empty if there is none.
  returned: when the daemon answers
  type: dict
status:
  description: All that C(superctl status --json) prints.
  returned: when the daemon answers
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.superctl.superctl.plugins.module_utils.superctl import Superctl


def main():
    module = AnsibleModule(argument_spec=dict(app=dict(type="str", required=True)), supports_check_mode=True)
    superctl = Superctl(module)
    if superctl.path is None:
        module.exit_json(changed=False, running=False, why="superctl is not installed: no superctl in PATH")
    code, status, err = superctl.run("status")
    if code in (2, 3):  # no config, or no daemon
        module.exit_json(changed=False, running=False, why=err)
    if code:
        superctl.fail(code, status, err)
    module.exit_json(
        changed=False,
        running=True,
        release=status.get("release", ""),
        commit=status.get("commit", ""),
        previous=status.get("previous", ""),
        health=status.get("health", ""),
        reason=status.get("reason", ""),
        changing=status.get("changing") or {},
        status=status,
    )


if __name__ == "__main__":
    main()
