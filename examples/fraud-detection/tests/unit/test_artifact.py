"""Tests of the model directory: what is not exactly as it was written is not loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from broken import replace_trees
from model import artifact
from model.artifact import (
    FILES,
    METRICS_FILE,
    MODEL_FILE,
    SCHEMA_FILE,
    ModelError,
    load_model,
)


@pytest.fixture
def copy(small_model: Path, tmp_path: Path) -> Path:
    """Returns a model directory that a test may damage."""
    return shutil.copytree(small_model, tmp_path / "copy")


def change_schema(directory: Path, **values: Any) -> None:
    path = directory / SCHEMA_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(directory: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(directory)
    (message,) = str(caught.value).splitlines()
    return message


def test_the_files_are_those_and_hold_no_code(small_model: Path) -> None:
    assert {path.name for path in small_model.iterdir()} == set(FILES)
    # A pickle of protocol 2 or later, which joblib writes as well, begins with this byte.
    assert [path for path in small_model.iterdir() if path.read_bytes()[:1] == b"\x80"] == []


def test_the_metrics_are_flat_numbers(small_model: Path) -> None:
    metrics = json.loads((small_model / METRICS_FILE).read_text())
    assert {type(value) for value in metrics.values()} == {int, float}
    assert {"test.average_precision", "validation.brier_score", "train_rows"} <= metrics.keys()
    assert len(metrics) <= 64, "that many figures ml-cache takes"


def test_a_model_of_an_older_format_is_refused_with_a_remedy(copy: Path) -> None:
    (copy / MODEL_FILE).rename(copy / "model.joblib")
    (copy / SCHEMA_FILE).write_text('{"scikit_learn": "1.9.1", "threshold": 0.1, "features": []}')
    assert "is of an older format, and this code reads fraud-detector/v2: train" in refusal(copy)
    change_schema(copy, format="fraud-detector/v3")
    assert "is of the format 'fraud-detector/v3'" in refusal(copy)


def test_other_trees_are_refused(copy: Path) -> None:
    trees = copy / MODEL_FILE
    content = trees.read_bytes()
    trees.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "its SHA-256 is not the one in" in refusal(copy)
    trees.write_bytes(content + b" ")
    assert "is larger than" in refusal(copy)


def test_trees_that_are_none_are_refused(small_model: Path, tmp_path: Path) -> None:
    assert "is not a model" in refusal(replace_trees(small_model, tmp_path / "no", b"{L}"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"xgboost": "99.0.0"}, "the model needs XGBoost 99.0.0"),
        ({"features": [{"name": "mood", "kind": "numeric"}]}, "this code computes"),
        ({"threshold": "high"}, "is damaged: `threshold`"),
        ({"mood": 1}, "is damaged: `mood`"),
        ({"model": {"name": "../../x", "bytes": 1, "sha256": "0" * 64}}, "`model.name`"),
        ({"model": {"name": MODEL_FILE, "bytes": 2**40, "sha256": "0" * 64}}, "`model.bytes`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_schema_that_cannot_be_is_refused(
    copy: Path, values: dict[str, Any], message: str
) -> None:
    change_schema(copy, **values)
    assert message in refusal(copy)


def test_a_damaged_schema_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / SCHEMA_FILE).write_text("{")
    assert "is damaged: it is not JSON" in refusal(copy)
    monkeypatch.setattr(artifact, "MAX_SCHEMA_BYTES", 0)
    assert "is larger than 0 bytes" in refusal(copy)


def test_missing_files_are_told(copy: Path) -> None:
    (copy / MODEL_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=MODEL_FILE):
        load_model(copy)
