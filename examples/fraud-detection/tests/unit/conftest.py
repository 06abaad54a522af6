"""Data of known content: what these tests say must not depend on the data that is trained on."""

from pathlib import Path

import pytest

import generate


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a directory with the six months that the generator writes."""
    directory = tmp_path_factory.mktemp("generated") / "data" / "training"
    directory.mkdir(parents=True)
    for name, content in generate.render().items():
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def data(generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a copy that a test may change, below the current directory."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "data" / "training"
    copy.mkdir(parents=True)
    for path in generated.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy
