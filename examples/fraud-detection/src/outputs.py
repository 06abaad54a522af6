"""Hands results to GitHub Actions: step outputs and the job summary."""

import os
from pathlib import Path


def set_output(name: str, value: str) -> None:
    """Sets an output of the step, when there is one."""
    if path := os.environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{name}={value}\n")


def append_summary(path: Path | None, markdown: str) -> None:
    """Appends to a summary such as that of `$GITHUB_STEP_SUMMARY`."""
    if path:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown)
