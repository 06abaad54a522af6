"""The search for parameters, which goes on where an interrupted one stopped."""

import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import TimeSeriesSplit

from model.classifier import Classifier, Encoder, Matrix, fit_booster
from model.config import GridValue, TrainingConfig

CHECKPOINT_FILE = "search.json"
SCORINGS = {"average_precision": average_precision_score, "roc_auc": roc_auc_score}
Labels = npt.NDArray[np.int8]
Fold = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True)
class SearchResult:
    """The winner, fitted on all rows, and its mean score in cross-validation."""

    classifier: Classifier
    parameters: dict[str, GridValue]
    score: float


@dataclass(frozen=True)
class Rows:
    """What all candidates are fitted on, and how."""

    config: TrainingConfig
    matrix: Matrix
    labels: Labels
    columns: list[str]
    device: str

    def fit(self, parameters: dict[str, GridValue], rows: Any = slice(None)) -> xgboost.Booster:
        """Fits a candidate on some of the rows."""
        return fit_booster(
            self.matrix[rows],
            self.labels[rows],
            self.columns,
            self.config.model,
            parameters,
            seed=self.config.seed,
            device=self.device,
        )


class Checkpoint:
    """The scores of finished candidates, kept in a file.

    They count only for the same rows, configuration, code, XGBoost and device; whatever else
    the file holds is dropped. Scores come back exactly, so a resumed search ends as an
    uninterrupted one does.
    """

    def __init__(self, directory: Path | None, inputs: str) -> None:
        self._path = directory / CHECKPOINT_FILE if directory else None
        self._inputs = inputs
        self.scores: dict[str, float] = {}
        if self._path and self._path.is_file():
            self.scores = _known_scores(self._path, inputs)

    def add(self, candidate: str, score: float) -> None:
        """Keeps a score; a reader never sees half a file."""
        self.scores[candidate] = score
        if not self._path:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".tmp")
        content = {"inputs": self._inputs, "scores": self.scores}
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(self._path)


def search_parameters(
    config: TrainingConfig,
    features: pd.DataFrame,
    labels: "pd.Series[int]",
    *,
    jobs: int,
    device: str = "cpu",
    checkpoint_dir: Path | None = None,
) -> SearchResult:
    """Compares all candidates by cross-validation over time and fits the best one.

    `jobs` changes the speed and not the result. Of equally good candidates the first wins.
    """
    candidates = list(_candidates(config))
    checkpoint = Checkpoint(checkpoint_dir, _inputs(config, features, labels, device))
    missing = [item for item in candidates if _name(item) not in checkpoint.scores]
    if known := len(candidates) - len(missing):
        print(f"checkpoint: {known} of {len(candidates)} candidates are known", flush=True)

    encoder = Encoder.of(features)
    rows = Rows(
        config, encoder.encode(features), labels.to_numpy().astype(np.int8), encoder.columns, device
    )
    folds = list(TimeSeriesSplit(n_splits=config.search.folds).split(features))
    work = [(rows, item, fold) for item in missing for fold in folds]
    # In order: a candidate is kept as soon as its last fold is known.
    with _scores(work, jobs) as scores:
        for item in missing:
            checkpoint.add(_name(item), float(np.mean([next(scores) for _ in folds])))

    best = max(candidates, key=lambda item: checkpoint.scores[_name(item)])
    return SearchResult(
        classifier=Classifier(encoder, rows.fit(best)),
        parameters=best,
        score=checkpoint.scores[_name(best)],
    )


@contextmanager
def _scores(work: list[tuple[Rows, dict[str, GridValue], Fold]], jobs: int) -> Iterator[Any]:
    """Gives the scores in the order of the work; XGBoost computes outside of Python's lock."""
    if jobs == 1:
        yield itertools.starmap(_score, work)
        return
    pool = ThreadPoolExecutor(jobs if jobs > 0 else os.cpu_count())
    try:
        yield pool.map(lambda item: _score(*item), work)
    finally:
        pool.shutdown(cancel_futures=True)


def _score(rows: Rows, parameters: dict[str, GridValue], fold: Fold) -> float:
    train, test = fold
    booster = rows.fit(parameters, train)
    booster.set_param({"device": "cpu"})
    predicted = booster.inplace_predict(rows.matrix[test])
    return float(SCORINGS[rows.config.search.scoring](rows.labels[test], predicted))


def _candidates(config: TrainingConfig) -> Iterator[dict[str, GridValue]]:
    grid = asdict(config.search.grid)
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _known_scores(path: Path, inputs: str) -> dict[str, float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["inputs"] != inputs:
            return {}
        return {str(name): float(score) for name, score in content["scores"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        print(f"note: {path} is not used: {error!r}", file=sys.stderr)
        return {}


def _name(candidate: dict[str, GridValue]) -> str:
    return json.dumps(candidate, sort_keys=True)


def _inputs(
    config: TrainingConfig, features: pd.DataFrame, labels: "pd.Series[int]", device: str
) -> str:
    """Returns a digest of all that a candidate's score depends on."""
    digest = hashlib.sha256(f"{config!r} xgboost {xgboost.__version__} {device}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    rows: Any = pd.util.hash_pandas_object(features.assign(label=labels))
    digest.update(rows.to_numpy().tobytes())
    return digest.hexdigest()
