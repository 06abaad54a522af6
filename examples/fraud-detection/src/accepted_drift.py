"""The drift that people accepted: for columns of a file, by its digest, with a reason."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from drift import Column
from strict_config import config, read_config

DEFAULT_PATH = Path("configs/accepted_drift.yaml")

HEADER = """\
# Drift that is expected. src/accept_drift.py adds entries, and a pull request reviews them.
# An entry counts for these columns of this file only, and only while the file has this SHA-256.
"""

Text = Annotated[str, Field(pattern=r"\S")]


@config
class Entry:
    """One acceptance."""

    file: Text
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    columns: Annotated[list[Column], Field(min_length=1)]
    reason: Text


@config
class AcceptedDrift:
    """The file."""

    accepted: list[Entry]

    def entry_for(self, file: str, column: str, sha256: str) -> Entry | None:
        """Returns the entry that accepts the drift of a column of a file with this digest."""
        found = (entry for entry in self.of(file, column) if entry.sha256 == sha256)
        return next(found, None)

    def of(self, file: str, column: str) -> list[Entry]:
        """Returns the entries of a column of a file, whatever their digest."""
        return [it for it in self.accepted if same_file(it.file, file) and column in it.columns]


def load_accepted(path: Path) -> AcceptedDrift:
    """Reads the file; raises `ConfigError` with all its faults."""
    return read_config(path, AcceptedDrift)


def write_accepted(path: Path, entries: Sequence[Entry]) -> None:
    """Writes the file, ordered by the files of data."""
    ordered = sorted(entries, key=lambda entry: (entry.file, entry.columns))
    # Text as JSON is text in YAML, too; so a digest without letters never becomes a number.
    entries_text = "".join(
        f"  - file: {json.dumps(entry.file, ensure_ascii=False)}\n"
        f"    sha256: {json.dumps(entry.sha256)}\n"
        f"    columns: [{', '.join(entry.columns)}]\n"
        f"    reason: {json.dumps(entry.reason, ensure_ascii=False)}\n"
        for entry in ordered
    )
    text = f"accepted:\n{entries_text}" if ordered else "accepted: []\n"
    path.write_text(HEADER + text, encoding="utf-8", newline="\n")


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same_file(one: str, other: str) -> bool:
    """Tells whether two paths, relative to the current directory or not, name the same place."""
    return Path(one).resolve() == Path(other).resolve()
