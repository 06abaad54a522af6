"""Tests of the requirements: exact, and the same in all files."""

import re

from example import EXAMPLE

FILES = sorted(EXAMPLE.glob("requirements*.txt"))


def test_every_version_is_exact_and_the_same_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for path in FILES:
        for line in path.read_text().splitlines():
            if not line or line.startswith(("#", "-r ", "-c ")):
                continue
            pinned = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
            assert pinned, f"{path.name}: {line}"
            name = re.sub("[._-]+", "-", pinned[1]).lower()
            versions.setdefault(name, set()).add(pinned[2])
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_every_job_has_the_trainings_versions() -> None:
    for path in FILES:
        if path.name not in ("requirements.txt", "requirements-test.txt"):
            assert re.search("^-[rc] requirements", path.read_text(), re.MULTILINE), path.name
