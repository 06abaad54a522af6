"""The search for parameters, which goes on where an interrupted one stopped."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sklearn
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import ParameterGrid, TimeSeriesSplit
from sklearn.pipeline import Pipeline

from model.config import GridValue, TrainingConfig
from model.pipeline import build_pipeline, set_parameters

CHECKPOINT_FILE = "search.json"
Fold = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True)
class SearchResult:
    """The winner, fitted on all rows, and its mean score in cross-validation."""

    pipeline: Pipeline
    parameters: dict[str, GridValue]
    score: float


class Checkpoint:
    """The scores of finished candidates, kept in a file.

    They count only for the same rows, configuration, code and scikit-learn; whatever else
    the file holds is dropped. Scores come back exactly, so a resumed search ends as an
    uninterrupted one does.
    """

    def __init__(self, directory: Path | None, inputs: str) -> None:
        self._path = directory / CHECKPOINT_FILE if directory else None
        self._inputs = inputs
        self.scores: dict[str, float] = {}
        if self._path and self._path.is_file():
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["inputs"] == inputs:
                self.scores = content["scores"]

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
    checkpoint_dir: Path | None = None,
) -> SearchResult:
    """Compares all candidates by cross-validation over time and fits the best one.

    `jobs` changes the speed and not the result. Of equally good candidates the first wins.
    """
    candidates: list[dict[str, GridValue]] = list(ParameterGrid(config.search.grid))
    checkpoint = Checkpoint(checkpoint_dir, _inputs(config, features, labels))
    missing = [item for item in candidates if _name(item) not in checkpoint.scores]
    if known := len(candidates) - len(missing):
        print(f"checkpoint: {known} of {len(candidates)} candidates are known", flush=True)

    unfitted = build_pipeline(config)
    folds = list(TimeSeriesSplit(n_splits=config.search.folds).split(features))
    fits = (
        delayed(_score)(
            set_parameters(clone(unfitted), item), features, labels, fold, config.search.scoring
        )
        for item in missing
        for fold in folds
    )
    # A generator in order: a candidate is kept as soon as its last fold is known.
    scores = Parallel(n_jobs=jobs, return_as="generator")(fits) if missing else iter(())
    for item in missing:
        checkpoint.add(_name(item), float(np.mean([next(scores) for _ in folds])))

    best = max(candidates, key=lambda item: checkpoint.scores[_name(item)])
    return SearchResult(
        pipeline=set_parameters(clone(unfitted), best).fit(features, labels),
        parameters=best,
        score=checkpoint.scores[_name(best)],
    )


def _score(
    pipeline: Pipeline,
    features: pd.DataFrame,
    labels: "pd.Series[int]",
    fold: Fold,
    scoring: str,
) -> float:
    train, test = fold
    pipeline.fit(features.iloc[train], labels.iloc[train])
    return float(get_scorer(scoring)(pipeline, features.iloc[test], labels.iloc[test]))


def _name(candidate: dict[str, GridValue]) -> str:
    return json.dumps(candidate, sort_keys=True)


def _inputs(config: TrainingConfig, features: pd.DataFrame, labels: "pd.Series[int]") -> str:
    """Returns a digest of all that a candidate's score depends on."""
    digest = hashlib.sha256(f"{config!r} scikit-learn {sklearn.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    rows: Any = pd.util.hash_pandas_object(features.assign(label=labels))
    digest.update(rows.to_numpy().tobytes())
    return digest.hexdigest()
