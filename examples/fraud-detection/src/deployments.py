"""Keeps the record of production: which model was deployed when, by which run, and why.

python src/deployments.py record --version V --action deploy <history >new-history
python src/deployments.py before [--to WHICH] <history
python src/deployments.py versions <history
python src/deployments.py show <history

The record is lines of JSON, the oldest first. `scripts/deploy` calls this and keeps the lines.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pointer import PointerError, read_pointer

KEPT = 20  # entries; a Deployment's annotations have to stay small
DEPLOY, ROLLBACK = "deploy", "rollback"


@dataclass(frozen=True)
class Entry:
    """A change of what production serves."""

    at: str
    action: str
    version: str
    """The release, or the hash of the pods' template: what `scripts/deploy` goes back to."""
    manifest: str
    order: str
    reason: str
    run: str


class NoSuchVersionError(ValueError):
    """There is nothing to go back to."""


def read(lines: Iterable[str]) -> list[Entry]:
    """Returns the entries of a record."""
    return [Entry(**json.loads(line)) for line in lines if line.strip()]


def served(history: Sequence[Entry]) -> list[Entry]:
    """Returns the deployments that led to what is served now, the current one last.

    A rollback takes away what came after the version that it went back to: it is not what anybody
    wants to go back to once more.
    """
    stack: list[Entry] = []
    for entry in history:
        if entry.action == ROLLBACK:
            kept = [n for n, each in enumerate(stack) if each.version == entry.version]
            stack = stack[: kept[-1] + 1] if kept else [*stack, entry]
        else:
            stack.append(entry)
    return stack


def before(history: Sequence[Entry], which: str = "") -> Entry:
    """Returns the deployment to go back to: the last one with another model, or the one named.

    `which` is a run's number, a release, or the beginning of a manifest's digest.
    """
    if not history:
        raise NoSuchVersionError("there is no record of any deployment")
    *earlier, current = served(history)
    for entry in reversed(earlier):
        names = (entry.order, entry.version, entry.manifest)
        if which and (which in names or entry.manifest.startswith(which)):
            return entry
        if not which and entry.manifest != current.manifest:
            return entry
    if which:
        raise NoSuchVersionError(f"`{which}` was not deployed before what production serves now")
    raise NoSuchVersionError("no other model was deployed before")


def table(history: Sequence[Entry]) -> str:
    """Returns the record as Markdown, the newest first."""
    lines = ["| when | what | model | version | run | reason |", "|---|---|---|---|---|---|"]
    for entry in reversed(history):
        reason = entry.reason.replace("|", "\\|").replace("\n", " ")
        model = f"`{entry.manifest[:19]}`"
        cells = (entry.at, entry.action, model, entry.version, entry.order, reason)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def run_url() -> str:
    """Returns the address of this run of GitHub Actions, or nothing elsewhere."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (os.environ.get(name, "") for name in names)
    return f"{server}/{repository}/actions/runs/{run}" if server and repository and run else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Read or extend a record of deployments.")
    parser.add_argument("command", choices=["record", "before", "versions", "show"])
    parser.add_argument("--version", default="")
    parser.add_argument("--pointer", default="", help="pointer of what is served now")
    parser.add_argument("--action", choices=[DEPLOY, ROLLBACK], default=DEPLOY)
    parser.add_argument("--order", default="", help="number of the run that deployed it")
    parser.add_argument("--reason", default="")
    parser.add_argument("--to", default="", help="a run, a version, or the digest of a manifest")
    arguments = parser.parse_args(argv)
    history = read(sys.stdin)
    try:
        match arguments.command:
            case "record":
                manifest = read_pointer(arguments.pointer).manifest if arguments.pointer else ""
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                entry = Entry(
                    at=now,
                    action=arguments.action,
                    version=arguments.version,
                    manifest=manifest,
                    order=arguments.order,
                    reason=arguments.reason,
                    run=run_url(),
                )
                for each in [*history, entry][-KEPT:]:
                    print(json.dumps(asdict(each), separators=(",", ":")))
            case "before":
                print(before(history, arguments.to).version)
            case "versions":
                print(*(entry.version for entry in served(history)[-5:]), sep="\n")
            case _:
                print(table(history))
    except (NoSuchVersionError, PointerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
