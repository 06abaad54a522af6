"""Tests of the list of alerts."""

import re
from pathlib import Path

import pytest

import predict


def test_alerts_are_listed(
    generated: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    june = str(generated / "transactions-2024-06.csv")
    arguments = ["--model-dir", str(small_model), "--input", june, "--top", "3"]
    assert predict.main(arguments) == 0
    first, header, *rows = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d+ of 3377 payments are suspicious; the first 3:", first)
    assert header.split()[-1] == "score"
    scores = [float(row.split()[-1]) for row in rows]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def test_a_missing_model_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main(["--model-dir", str(tmp_path), "--input", "unread.csv"]) == 1
    assert "feature_schema.json" in capsys.readouterr().err
