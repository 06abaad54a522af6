"""A way to call scripts/deploy."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from example import EXAMPLE


@dataclass(frozen=True)
class Deployment:
    """Calls scripts/deploy with a state of its own."""

    environment: dict[str, str]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the script and returns how it ended."""
        return subprocess.run(
            [EXAMPLE / "scripts" / "deploy", *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def __call__(self, *arguments: str) -> str:
        """Runs the script, which has to succeed, and returns its standard output."""
        ended = self.call(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def given(self, **variables: str) -> "Deployment":
        """Returns the same deployment with further variables of the environment."""
        return replace(self, environment=self.environment | variables)

    def rollback(self) -> tuple[int, str]:
        """Rolls back; returns the exit code and the last thing said of it."""
        ended = self.call("rollback")
        return ended.returncode, ended.stderr.splitlines()[-1].removeprefix("deploy: ")

    def step_output(self) -> str:
        """Returns the last output of a step that has been set."""
        return Path(self.environment["GITHUB_OUTPUT"]).read_text().splitlines()[-1]

    def run(self, environment: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs one of the example's Python programs against what is deployed."""
        return self.call("exec", environment, sys.executable, *command)
