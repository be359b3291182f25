"""The runner with minions that answer as they are told, and note what they are called for."""

from __future__ import annotations

import importlib.util
import unittest
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).parent.parent / "_runners" / "superctl.py"

WELL = {"running": True, "changing": {}, "release": "1", "health": "ok"}
ANSWERS = {
    "status": WELL,
    "install": {"release": "2", "bundle": "sha256:2", "changed": True},
    "lock": {"locked": True},
    "prepare": {"ready": True, "release": "2"},
    "go": {"release": "2", "changed": True},
    "rollback": {"release": "1", "changed": True},
    "abandon": True,
    "notify": {"changed": True},
    "unlock": True,
}
DEAD = False  # what Salt returns of a minion that does not answer


def refused(code: int = 1) -> dict[str, Any]:
    return {"error": "it does not start", "code": code, "changed": False}


class Deploy(unittest.TestCase):
    def setUp(self) -> None:
        spec = importlib.util.spec_from_file_location("superctl_runner", RUNNER)
        assert spec and spec.loader
        self.runner = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.runner)
        self.answers: dict[tuple[str, str], Any] = {}  # by minion and function
        self.calls: list[str] = []
        self.runs: set[str] = set()
        self.outcome = ""
        self.runner.__salt__ = {"salt.execute": self.execute}
        self.runner.__context__ = {}

    def execute(self, tgt: str | list[str], function: str, kwarg: dict[str, Any], **_: Any) -> dict[str, Any]:
        function = function.removeprefix("superctl.")
        self.assertEqual(kwarg["app"], "shop")
        self.runs.update([kwarg["run"]] if "run" in kwarg else [])
        if function == "rollback":
            self.assertEqual(kwarg["leave"], "2")
        if function == "notify":
            self.outcome = kwarg["outcome"]
        minions = ["a", "b", "c"] if tgt == "web*" else tgt
        leader = " follower" if kwarg.get("follower") else ""
        self.calls.append(f"{function} {' '.join(minions)}{leader}")
        return {m: self.answers.get((m, function), ANSWERS[function]) for m in minions}

    def deploy(self, **arguments: Any) -> dict[str, Any]:
        result = self.runner.deploy("shop", "web*", **({"release": "2"} | arguments))
        self.assertEqual(self.runner.__context__["retcode"], result["retcode"])
        self.assertLessEqual(len(self.runs), 1)
        return result

    def test_the_canary_is_first_and_the_others_follow_together(self) -> None:
        result = self.deploy(release="", bundle="salt://shop-2.tar.zst", canary="b")
        self.assertEqual((result["retcode"], result["changed"], self.outcome), (0, ["a", "b", "c"], "done"))
        self.assertEqual(
            self.calls,
            [
                "status a b c",
                "install a b c",
                "lock a b c",
                "prepare b",
                "prepare a c follower",
                "go b",
                "go a c",
                "notify b",
                "unlock a b c",
            ],
        )

    def test_a_minion_that_is_down_unwell_or_busy_ends_it_before_it_begins(self) -> None:
        for status, code in (
            (DEAD, 3),
            ({"running": False, "why": "no daemon"}, 3),
            (WELL | {"health": "down", "reason": "no worker"}, 1),
            (WELL | {"changing": {"kind": "switch", "who": "anna"}}, 4),
            ("Traceback", 1),
        ):
            self.calls.clear()
            self.answers["b", "status"] = status
            result = self.deploy()
            self.assertEqual((result["retcode"], self.calls), (code, ["status a b c"]))
            self.assertIn("b: ", result["error"])

    def test_a_refused_lock_unlocks_all(self) -> None:
        self.answers["b", "lock"] = refused(4)
        self.assertEqual(self.deploy()["retcode"], 4)
        self.assertEqual(self.calls, ["status a b c", "lock a b c", "unlock a b c"])

    def test_a_refusal_abandons_all_and_no_minion_turns(self) -> None:
        self.answers["c", "prepare"] = refused()
        self.assertEqual(self.deploy()["retcode"], 1)
        self.assertEqual(self.calls[4:], ["abandon a b c", "notify a", "unlock a b c"])
        self.assertEqual(self.outcome, "aborted")

    def test_a_canary_that_reverts_leaves_the_others_alone(self) -> None:
        self.answers["a", "go"] = refused(5)
        result = self.deploy()
        self.assertEqual((result["retcode"], result["changed"]), (5, []))
        self.assertEqual(self.calls[4:], ["go a", "abandon b c", "notify a", "unlock a b c"])

    def test_a_revert_takes_back_those_that_have_turned(self) -> None:
        self.answers["b", "go"] = refused(5)
        result = self.deploy()
        self.assertEqual((result["retcode"], result["changed"], self.outcome), (5, [], "reverted"))
        self.assertEqual(
            self.calls[4:], ["go a", "go b c", "rollback a", "rollback c follower", "notify a", "unlock a b c"]
        )

    def test_a_minion_that_had_the_release_before_keeps_it(self) -> None:
        self.answers["a", "status"] = WELL | {"release": "2"}
        self.answers["a", "go"] = {"release": "2", "changed": False}
        self.answers["b", "go"] = refused(5)
        self.deploy()
        self.assertEqual(self.calls[6:], ["rollback c follower", "notify a", "unlock a b c"])

    def test_a_minion_lost_after_the_word_is_behind(self) -> None:
        self.answers["c", "go"] = self.answers["c", "rollback"] = DEAD
        result = self.deploy()
        self.assertEqual((result["retcode"], result["behind"]), (6, ["c"]))
        self.assertIn("rollback b c follower", self.calls)

    def test_other_bundles_of_one_name_are_refused(self) -> None:
        self.answers["b", "install"] = ANSWERS["install"] | {"bundle": "sha256:3"}
        self.assertEqual(self.deploy(release="", bundle="shop-2.tar.zst")["retcode"], 1)
        self.assertEqual(self.calls, ["status a b c", "install a b c"])

    def test_an_interrupt_before_the_word_abandons_all(self) -> None:
        def interrupted(*args: Any, **kwargs: Any) -> dict[str, Any]:
            if args[1] == "superctl.prepare" and args[0] != ["a"]:
                raise KeyboardInterrupt
            return self.execute(*args, **kwargs)

        self.runner.__salt__["salt.execute"] = interrupted
        with self.assertRaises(KeyboardInterrupt):
            self.deploy()
        self.assertEqual(self.calls[-3:], ["abandon a b c", "notify a", "unlock a b c"])

    def test_a_number_is_no_name_of_a_release(self) -> None:
        with self.assertRaisesRegex(Exception, "is a number"):
            self.deploy(release=1.1)


if __name__ == "__main__":
    unittest.main()
