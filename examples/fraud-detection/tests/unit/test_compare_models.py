"""Tests of the comparison: each limit stops what is beyond it, and an equal model passes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

import compare_models
import promotion
from broken import garbage
from example import EXAMPLE
from model.artifact import SCHEMA_FILE, load_model
from model.data import LABEL
from model.features import build_features
from promotion import Candidate, Check, Comparison, PromotionConfig, Ranking
from strict_config import read_config

CONFIG = EXAMPLE / "configs" / "promotion.yaml"


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLE)


@pytest.fixture(scope="module")
def settings() -> PromotionConfig:
    whole = read_config(CONFIG, PromotionConfig)
    return replace(whole, bootstrap=replace(whole.bootstrap, resamples=200))


@pytest.fixture(scope="module")
def held_out(transactions: pd.DataFrame) -> pd.DataFrame:
    return transactions.tail(4100)


@pytest.fixture(scope="module")
def features(transactions: pd.DataFrame) -> pd.DataFrame:
    return build_features(transactions).tail(4100)


@pytest.fixture(scope="module")
def champion(small_model: Path, features: pd.DataFrame) -> Candidate:
    classifier, threshold = load_model(small_model)
    scores = classifier.predict_proba(features)[:, 1]
    return Candidate(small_model, scores, threshold, classifier)


def compare(champion: Path | str, challenger: Path, directory: Path, *more: str) -> int:
    arguments = ["--champion", str(champion), "--challenger", str(challenger)]
    outputs = ["--summary", str(directory / "s.md"), "--report", str(directory / "r" / "r.json")]
    return compare_models.main([*arguments, *outputs, *more])


def changed(directory: Path, copy: Path, **schema: Any) -> Path:
    shutil.copytree(directory, copy)
    path = copy / SCHEMA_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | schema))
    return copy


def test_the_average_precision_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 200).astype(np.int8)
    scores = generator.random(200).round(1)  # with many ties
    weights = generator.integers(0, 3, (5, 200)).astype(np.float64)
    found = Ranking(labels, scores).average_precision(weights)
    expected = [average_precision_score(labels, scores, sample_weight=line) for line in weights]
    assert found == pytest.approx(expected)


def test_an_equal_model_passes(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(small_model, small_model, tmp_path, "--run-url", "https://mlflow/run") == 0
    assert "the challenger may be deployed" in capsys.readouterr().out
    summary = (tmp_path / "s.md").read_text()
    assert "### Champion and challenger: passed" in summary
    assert "[The challenger's training in MLflow](https://mlflow/run)" in summary
    for wanted in ("#### Model card", "13324 to fit on", "| num_boost_round | 30 |", "XGBoost 3"):
        assert wanted in summary
    report = json.loads((tmp_path / "r" / "r.json").read_text())
    assert report["outcome"] == "passed"
    assert report["models"]["champion"] == report["models"]["challenger"]
    assert report["configuration"]["limits"]["average_precision"]["max_drop"] == 0.02
    names = {check["name"] for check in report["checks"]}
    assert {"average precision, country DE", "average precision, channel online"} <= names
    assert all(check["passed"] for check in report["checks"])


def test_a_worse_model_is_refused_by_the_name_of_its_limit(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(small_model, garbage(small_model, tmp_path / "bad"), tmp_path) == 1
    errors = capsys.readouterr().err
    for key in ("average_precision.max_drop", "average_precision.max_plausible_drop"):
        assert f"promotion.yaml: limits.{key})" in errors
    assert "promotion.yaml: limits.brier_score.max_increase)" in errors
    summary = (tmp_path / "s.md").read_text()
    assert "### Champion and challenger: refused" in summary
    assert "**refused** |" in summary
    assert json.loads((tmp_path / "r" / "r.json").read_text())["outcome"] == "refused"


@pytest.mark.parametrize(("champion", "said"), [("none", "first of all"), ("lost", "no longer")])
def test_without_a_champion_the_reviewer_is_told_why(
    small_model: Path, tmp_path: Path, champion: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(champion, small_model, tmp_path) == 0
    assert said in capsys.readouterr().out
    summary = (tmp_path / "s.md").read_text()
    assert "### Champion and challenger: nothing to compare" in summary
    assert said in summary
    assert said in json.loads((tmp_path / "r" / "r.json").read_text())["without_champion"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_directory_without_a_model_is_no_champion(
    small_model: Path, tmp_path: Path, exists: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    champion = tmp_path / "production"
    if exists:
        champion.mkdir()
    assert compare(champion, small_model, tmp_path) == 1
    assert "where there is none, give --champion none" in capsys.readouterr().err


@pytest.mark.parametrize(("factor", "limit"), [(4.0, "recall"), (0.2, "precision")])
def test_a_threshold_that_finds_less_or_alarms_more_is_refused(
    small_model: Path, tmp_path: Path, factor: float, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    threshold = json.loads((small_model / SCHEMA_FILE).read_text())["threshold"]
    worse = changed(small_model, tmp_path / "worse", threshold=min(1.0, threshold * factor))
    assert compare(small_model, worse, tmp_path) == 1
    assert f"promotion.yaml: limits.{limit}.max_drop)" in capsys.readouterr().err


def test_a_champion_of_other_features_is_judged_by_its_recorded_scores(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = changed(small_model, tmp_path / "older", feature_code="0" * 64, features=[])
    assert compare(older, small_model, tmp_path) == 0
    assert "the scores that its training recorded count" in capsys.readouterr().out
    checks = json.loads((tmp_path / "r" / "r.json").read_text())["checks"]
    assert checks[0]["difference"] == pytest.approx(0.0, abs=1e-6)
    assert "latency" not in str(checks)
    (older / "held_out.csv").write_text("transaction_id,score\n1,2.0\n")
    assert compare(older, small_model, tmp_path) == 1
    assert "a score does not lie between 0 and 1" in capsys.readouterr().err
    (older / "held_out.csv").write_text("transaction_id\n1\n")
    assert compare(older, small_model, tmp_path) == 1
    assert "held_out.csv` is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("whose", "schema", "message"),
    [
        ("champion", {"format": None}, "the champion cannot be compared: the model in"),
        ("challenger", {"format": None}, "is of an older format"),
        ("challenger", {"feature_code": "0" * 64}, "was trained by other code than this"),
        ("champion", {"fitted_until": "2024-06-30T00:00:00+00:00"}, "there is no verdict"),
    ],
)
def test_without_two_comparable_models_there_is_no_verdict(
    small_model: Path,
    tmp_path: Path,
    whose: str,
    schema: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = changed(small_model, tmp_path / "other", **schema)
    pair = (other, small_model) if whose == "champion" else (small_model, other)
    assert compare(*pair, tmp_path) == 1
    assert message in capsys.readouterr().err
    assert "### Champion and challenger: no verdict" in (tmp_path / "s.md").read_text()


def test_a_directory_without_a_model_is_named(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(small_model, tmp_path / "nope", tmp_path) == 1
    error = capsys.readouterr().err
    assert f"the challenger `{tmp_path / 'nope'}` is no model: no `{SCHEMA_FILE}` there" in error
    assert "Errno" not in error


def test_faults_of_the_configuration_come_before_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "promotion.yaml"
    path.write_text(CONFIG.read_text().replace("max_plausible_drop", "max_plausible"))
    assert compare(tmp_path / "no", tmp_path / "no", tmp_path, "--config", str(path)) == 2
    assert "did you mean `max_plausible_drop`?" in capsys.readouterr().err


def test_a_model_that_lost_a_country_is_refused_for_that(
    champion: Candidate, held_out: pd.DataFrame, features: pd.DataFrame, settings: PromotionConfig
) -> None:
    blind = np.where(held_out["country"] == "PL", 0.0, champion.scores)
    failed = failed_checks(replace(champion, scores=blind), champion, held_out, features, settings)
    assert "average precision, country PL" in failed
    assert "average precision, country FR" not in failed


def test_a_model_that_exaggerates_is_refused_for_its_calibration(
    champion: Candidate, held_out: pd.DataFrame, features: pd.DataFrame, settings: PromotionConfig
) -> None:
    # In the same order, and with the same alerts.
    exaggerated = replace(
        champion, scores=np.sqrt(champion.scores), threshold=float(np.sqrt(champion.threshold))
    )
    failed = failed_checks(exaggerated, champion, held_out, features, settings)
    assert failed == ["Brier score", "calibration error"]


def test_a_larger_and_a_slower_model_are_refused(
    champion: Candidate,
    held_out: pd.DataFrame,
    features: pd.DataFrame,
    settings: PromotionConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "model.ubj").write_bytes(b"0" * 1_100_000)
    larger = replace(champion, directory=tmp_path)
    monkeypatch.setattr(promotion, "_latencies", lambda *_: (2.0, 6.5))
    failed = failed_checks(larger, champion, held_out, features, settings)
    assert failed == ["size of the files", "latency of 20 payments"]


def failed_checks(
    challenger: Candidate,
    champion: Candidate,
    rows: pd.DataFrame,
    features: pd.DataFrame,
    settings: PromotionConfig,
) -> list[str]:
    checks: list[Check] = list(Comparison(settings, rows, features, champion, challenger).checks())
    assert rows[LABEL].sum() > settings.held_out.min_frauds
    return [check.name for check in checks if not check.passed]
