#!/usr/bin/python
# Copyright the superctl maintainers
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: superctl_release
short_description: The live release of an app under superctl
version_added: "0.1.0"
description:
  - Makes a release live without losing a request, installs one, or goes back to the one before.
  - A release that is refused, or that fails its probation, fails the task with the reason. The previous
    release is live then.
  - The role P(superctl.superctl.deploy#role) turns several hosts together or not at all.
options:
  app:
    description: The app, as C(superctl --app) takes it.
    type: str
    required: true
  release:
    description: The name of an installed release, for the states V(live) and V(prepared).
    type: str
  bundle:
    description: The path of a bundle on the host, or its URL, as C(superctl deploy) takes it.
    type: str
  state:
    description:
      - V(live) makes O(release) live, or installs O(bundle) and makes that live. A release that is prepared under
        the same O(run) cuts over at once.
      - V(installed) installs O(bundle) and changes nothing that runs.
      - V(prepared) boots O(release) and proves it, and leaves the cutover to V(live) or V(abandoned) with the same
        O(run). After O(limit) it is abandoned by itself.
      - V(abandoned) ends what is prepared under O(run).
      - V(locked) accepts only changes of O(run) until V(unlocked), or until O(limit) is over, and waits for nothing. It fails
        if another run or change has the app.
      - V(unlocked) ends that.
      - V(back) goes back to the release before, if O(from) is live, and otherwise does nothing.
    type: str
    choices: [live, installed, prepared, abandoned, back, locked, unlocked]
    default: live
  expect:
    description: Refuse unless this release is live when the change begins; V(none) for no live release.
    type: str
  from:
    description: The release that V(back) leaves.
    type: str
  run:
    description: A name that the changes of one deploy have in common on all hosts. C(superctl history) shows it.
    type: str
  by:
    description: Who deploys, for C(superctl history) and messages.
    type: str
  follower:
    description:
      - Another host of the run runs the hooks with C(once = true), such as migrations, and notifies the team.
      - Prepare that host first.
    type: bool
    default: false
  why:
    description: What others are told while the app is V(locked).
    type: str
    default: a deploy by Ansible
  limit:
    description: How long a prepared release waits, or a lock holds, such as V(5m).
    type: str
    default: 10m
  force:
    description: Continue even if the database has migrations that the release does not know.
    type: bool
    default: false
attributes:
  check_mode:
    description: Compares with the status and the releases of the host. What only booting the release finds out is not known.
    support: full
  diff_mode:
    description: The live release before and after.
    support: full
author:
  - superctl maintainers (@superctl)
"""

EXAMPLES = r"""
- name: A release is live
  superctl.superctl.superctl_release:
    app: shop
    release: "2026-11-23"

- name: A bundle is live
  superctl.superctl.superctl_release:
    app: shop
    bundle: /srv/shop/shop-1.2.tar.zst

- name: Back to the release before 1.2, where 1.2 is live
  superctl.superctl.superctl_release:
    app: shop
    state: back
    from: "1.2"
"""

RETURN = r"""
release:
  description: The release that was asked for.
  returned: always
  type: str
  sample: "1.2"
previous:
  description: The release that was live before.
  returned: always
  type: str
  sample: "1.1"
outcome:
  description: V(done), V(aborted) (the live release is untouched) or V(reverted) (it was live, and failed its probation).
  returned: when a change was made or failed
  type: str
reason:
  description: V(refused), V(reverted), V(busy), V(usage) or V(unreachable), as the exit code says.
  returned: failure
  type: str
rc:
  description: The exit code of superctl.
  returned: failure
  type: int
failed_step:
  description: The step that failed, such as V(prove).
  returned: failure
  type: str
log:
  description: The last lines of the program that failed.
  returned: when one failed
  type: list
  elements: str
warnings:
  description: What superctl warns of.
  returned: when it does
  type: list
  elements: str
seconds:
  description: How long the change took.
  returned: when a change was made
  type: float
cutover_seconds:
  description: How long the turn of the traffic took.
  returned: when a change was made
  type: float
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.superctl.superctl.plugins.module_utils.prepared import Prepared
from ansible_collections.superctl.superctl.plugins.module_utils.superctl import Superctl, results


class Release(object):
    """One run of the module."""

    def __init__(self, module):
        self.module = module
        self.params = module.params
        self.superctl = Superctl(module)

    def words(self):
        """Returns the command and its options."""
        p = self.params
        if p["state"] == "back":
            words = ["rollback", "--from", p["from"]]
        elif p["state"] == "installed":
            return ["install", p["bundle"]]
        elif p["bundle"]:
            words = ["deploy", p["bundle"]]
        else:
            words = ["switch", p["release"]]
        if p["follower"]:
            words.append("--follower")
        if p["force"]:
            words.append("--force")
        for option in ("expect", "run", "by"):
            if p[option] and not (option == "expect" and p["state"] == "back"):
                words += ["--" + option, p[option]]
        return words

    def foretold(self):
        """Returns the result of check mode."""
        p, status = self.params, self.superctl.status()
        live = status.get("release", "")
        if p["state"] == "back":
            return self.difference(live == p["from"], status.get("previous", ""), live)
        # What is not on the host yet, a task before this would have put there.
        release = p["release"] or self.of_bundle()
        if not p["bundle"] or p["state"] == "installed":
            installed = self.installed()
            if p["state"] == "installed":
                return dict(changed=release not in installed, release=release)
            if release not in installed:
                self.refuse("there is no release %s" % release, live)
            if installed[release].get("broken"):
                self.refuse("%s: %s" % (release, installed[release]["broken"]), live)
        if p["expect"] and live not in (release, "" if p["expect"] == "none" else p["expect"]):
            self.refuse("%s is live, not %s" % (live or "no release", p["expect"]), live)
        return self.difference(live != release, release, live)

    def of_bundle(self):
        """Returns the release of a bundle, which is called APP-RELEASE.tar.zst."""
        name = os.path.basename(self.params["bundle"])[: -len(".tar.zst")]
        return name[len(self.params["app"]) + 1:]

    def installed(self):
        """Returns the releases of the host by their names."""
        code, listed, err = self.superctl.run("releases")
        if code:
            self.superctl.fail(code, listed, err)
        return {r["name"]: r for r in listed}

    def refuse(self, why, live):
        self.module.fail_json(msg=why, reason="refused", rc=1, previous=live)

    def difference(self, changed, release, live):
        """Returns the result of a change of the live release, with its diff."""
        result = dict(changed=changed, release=release, previous=live)
        if changed and self.params["state"] in ("live", "back"):
            result["diff"] = {"before": "%s\n" % live, "after": "%s\n" % release}
        return result

    def outcome(self, code, outcome, err):
        """Returns the result of a change, or fails the module if it failed."""
        if code:
            self.superctl.fail(code, outcome, err, changed=False)
        result = results(outcome)
        result.update(
            self.difference(bool(outcome.get("changed")), outcome.get("release", ""), outcome.get("previous", ""))
        )
        return result

    def prepared(self):
        """Returns the result of a state that concerns a prepared change."""
        p = self.params
        prepared = Prepared(self.superctl.path, p["app"], p["run"])
        if p["state"] == "abandoned":
            return dict(changed=prepared.abandon())
        if p["state"] == "prepared":
            code, outcome, err = prepared.begin(self.words() + ["--prepare=" + p["limit"]])
            if code is None:
                return dict(changed=True, release=p["release"])
            return self.outcome(code, outcome, err)
        return self.outcome(*prepared.go())

    def locked(self):
        """Returns the result of a state that concerns the lock."""
        p = self.params
        lock = Prepared(self.superctl.path, p["app"], p["run"], kind=".lock")
        if p["state"] == "unlocked":
            return dict(changed=lock.abandon())
        words = ["lock", "--run", p["run"], "--why", p["why"], "--heartbeat", p["limit"]]
        code, outcome, err = lock.begin(words + (["--by", p["by"]] if p["by"] else []))
        if code is not None:
            self.superctl.fail(code, outcome, err, changed=False)
        return dict(changed=True)

    def result(self):
        """Does what is asked for, and returns the module's result."""
        if self.module.check_mode:
            return self.foretold() if self.params["state"] in ("live", "installed", "prepared", "back") else dict(changed=False)
        run = self.params["run"]
        if self.params["state"] in ("locked", "unlocked"):
            return self.locked()
        if self.params["state"] in ("prepared", "abandoned"):
            return self.prepared()
        if self.params["state"] == "live" and run and Prepared(self.superctl.path, self.params["app"], run).exists():
            return self.prepared()
        return self.outcome(*self.superctl.run(*self.words()))


def main():
    module = AnsibleModule(
        argument_spec=dict(
            app=dict(type="str", required=True),
            release=dict(type="str"),
            bundle=dict(type="str"),
            state=dict(
                type="str", default="live",
                choices=["live", "installed", "prepared", "abandoned", "back", "locked", "unlocked"],
            ),
            expect=dict(type="str"),
            run=dict(type="str"),
            by=dict(type="str"),
            follower=dict(type="bool", default=False),
            why=dict(type="str", default="a deploy by Ansible"),
            limit=dict(type="str", default="10m"),
            force=dict(type="bool", default=False),
            **{"from": dict(type="str")}
        ),
        mutually_exclusive=[("release", "bundle")],
        required_if=[
            ("state", "live", ("release", "bundle"), True),
            ("state", "installed", ("bundle",)),
            ("state", "prepared", ("release", "run")),
            ("state", "abandoned", ("run",)),
            ("state", "locked", ("run",)),
            ("state", "unlocked", ("run",)),
            ("state", "back", ("from",)),
        ],
        supports_check_mode=True,
    )
    module.exit_json(**Release(module).result())


if __name__ == "__main__":
    main()
