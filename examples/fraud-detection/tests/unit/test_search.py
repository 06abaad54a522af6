"""Tests of the search: again, resumed or parallel, it ends in the same bytes."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from model import search
from model.artifact import MODEL_FILE, save_model
from model.config import TrainingConfig
from train import train


def trained_bytes(
    config: TrainingConfig, rows: pd.DataFrame, directory: Path, jobs: int = 1
) -> bytes:
    model = train(config, rows, jobs=jobs, checkpoint_dir=directory / "checkpoints")
    save_model(model, directory / "models")
    return (directory / "models" / MODEL_FILE).read_bytes()


def test_the_number_of_processes_does_not_change_the_model(
    small_model: Path, small_config: TrainingConfig, transactions: pd.DataFrame, tmp_path: Path
) -> None:
    expected = (small_model / MODEL_FILE).read_bytes()
    assert trained_bytes(small_config, transactions, tmp_path, jobs=2) == expected


def test_an_interrupted_search_goes_on(
    small_model: Path,
    small_config: TrainingConfig,
    transactions: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fits, fit = [], search._score

    def interrupted(*arguments: object) -> float:
        fits.append(arguments)
        if len(fits) == 4:
            raise KeyboardInterrupt
        return fit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "_score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained_bytes(small_config, transactions, tmp_path)
    content = json.loads((tmp_path / "checkpoints" / search.CHECKPOINT_FILE).read_text())
    assert len(content["scores"]) == 1

    resumed = trained_bytes(small_config, transactions, tmp_path)
    assert resumed == (small_model / MODEL_FILE).read_bytes()
    assert len(fits) == 4 + 2, "only the second candidate's two folds were left"
    assert "1 of 2 candidates are known" in capsys.readouterr().out


def test_scores_of_other_inputs_do_not_count(tmp_path: Path) -> None:
    search.Checkpoint(tmp_path, "these").add("candidate", 0.5)
    assert search.Checkpoint(tmp_path, "these").scores == {"candidate": 0.5}
    assert search.Checkpoint(tmp_path, "others").scores == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"inputs": "these", "scores": {"a": "b"}}'])
def test_a_damaged_checkpoint_is_not_used(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / search.CHECKPOINT_FILE).write_text(content)
    assert search.Checkpoint(tmp_path, "these").scores == {}
    assert "search.json is not used" in capsys.readouterr().err


def test_the_inputs_are_rows_and_configuration(
    small_config: TrainingConfig, transactions: pd.DataFrame
) -> None:
    features, labels = transactions[["amount"]].head(9), transactions["is_fraud"].head(9)
    inputs = search._inputs(small_config, features, labels, "cpu")
    assert search._inputs(small_config, features, 1 - labels, "cpu") != inputs
    assert search._inputs(small_config, features + 1, labels, "cpu") != inputs
    assert search._inputs(small_config, features, labels, "cuda") != inputs
    assert search._inputs(replace(small_config, seed=8), features, labels, "cpu") != inputs
    assert search._inputs(small_config, features, labels, "cpu") == inputs
