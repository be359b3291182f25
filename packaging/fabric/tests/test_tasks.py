"""The tasks as fab runs them, with a superctl that only notes its arguments."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

FABFILE = """
from superctl_fabric import back, deploy, environment, finish, history, logs, rollback, status, switch
production = environment("production")
staging = environment("staging")
"""

# Notes its arguments, builds an empty bundle, and fails as it is told.
SUPERCTL = """#!/bin/sh
echo "$@" >>"$NOTES"
if [ "$1" = build ]; then cat "$2/version" >>"$NOTES"; : >"$4/shop-1.tar.zst"; exit; fi
if [ "$2" = deploy ]; then test -e "$3" || exit 99; fi
exit "${FAILS:-0}"
"""


class Tasks(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.project = Path(directory.name).resolve() / "shop"
        self.project.mkdir()
        (self.project / "fabfile.py").write_text(FABFILE)
        (self.project / "version").write_text("main\n")
        self.notes = self.project.parent / "notes"
        self.notes.touch()
        superctl = self.project.parent / "bin" / "superctl"
        superctl.parent.mkdir()
        superctl.write_text(SUPERCTL)
        superctl.chmod(0o755)

    def fab(self, *words: str, where: str = ".", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fabric", *words],
            cwd=self.project / where,
            env={
                **os.environ,
                "PATH": f"{self.project.parent}/bin:{os.environ['PATH']}",
                "NOTES": str(self.notes),
                **env,
            },
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def ran(self) -> list[str]:
        """Returns the commands of superctl, without the names of temporary directories."""
        lines = self.notes.read_text().splitlines()
        return [" ".join(Path(w).name if w.startswith("/") else w for w in line.split()) for line in lines]

    def git(self, *words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words],
            cwd=self.project,
            check=True,
            capture_output=True,
        )

    def test_each_task_is_a_command_for_the_environment(self) -> None:
        tasks = "status history -n 3 logs --process web rollback --without web2 finish back switch 1.1 --dry-run"
        done = self.fab("production", *tasks.split())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            self.ran(),
            [
                "@production status",
                "@production history -n 3",
                "@production logs -n 50 --process web",
                "@production rollback --without web2",
                "@production finish",
                "@production back",
                "@production switch 1.1 --dry-run",
            ],
        )

    def test_a_second_environment_is_for_the_tasks_after_it(self) -> None:
        self.fab("production", "status", "staging", "--only", "web1,web2", "status")
        self.assertEqual(self.ran(), ["@production status", "@staging:web1,web2 status"])

    def test_a_task_without_an_environment_is_refused(self) -> None:
        done = self.fab("deploy")
        self.assertEqual((done.returncode, self.ran()), (2, []))
        self.assertIn("fab production deploy", done.stderr)

    def test_hosts_of_fab_are_refused(self) -> None:
        done = self.fab("-H", "web1", "production", "status")
        self.assertEqual((done.returncode, self.ran()), (2, []))

    def test_the_exit_code_is_that_of_superctl(self) -> None:
        self.assertEqual(self.fab("production", "rollback", "status", FAILS="5").returncode, 5)
        self.assertEqual(self.ran(), ["@production rollback"])

    def test_a_deploy_builds_the_project_of_the_fabfile(self) -> None:
        (self.project / "docs").mkdir()
        done = self.fab("production", "deploy", where="docs")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.ran(), ["build shop --output bundles", "main", "@production deploy shop-1.tar.zst"])

    def test_a_branch_is_built_and_the_working_tree_left_alone(self) -> None:
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", "one")
        self.git("checkout", "--quiet", "-b", "my-branch")
        (self.project / "version").write_text("my-branch\n")
        self.git("commit", "--quiet", "-am", "two")
        self.git("checkout", "--quiet", "main")
        (self.project / "version").write_text("edited\n")
        done = self.fab("staging", "deploy", "--branch", "my-branch")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.ran(), ["build shop --output bundles", "my-branch", "@staging deploy shop-1.tar.zst"])
        self.assertEqual((self.project / "version").read_text(), "edited\n")
        self.assertEqual(list((self.project / ".git").glob("worktrees/*")), [])

    def test_an_unknown_branch_is_refused(self) -> None:
        self.git("init", "--quiet")
        done = self.fab("staging", "deploy", "--branch", "nothing")
        self.assertEqual((done.returncode, self.ran()), (2, []))
        self.assertIn("nothing", done.stderr)


if __name__ == "__main__":
    unittest.main()
