"""The model directory: what `train.py` writes and every consumer reads.

All files are written from the model alone, without times or host names, so that the
same inputs give the same directory.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import sklearn
from sklearn.pipeline import Pipeline

from model.data import COLUMNS, LABEL
from model.evaluate import Metrics
from model.features import CATEGORICAL, FEATURES

MODEL_FILE = "model.joblib"
METRICS_FILE = "metrics.json"
SCHEMA_FILE = "feature_schema.json"
CARD_FILE = "model_card.md"


@dataclass(frozen=True)
class TrainedModel:
    """A fitted pipeline and what is known about it."""

    pipeline: Pipeline
    parameters: dict[str, int | float | str]
    threshold: float
    first_day: str
    last_day: str
    train_rows: int
    cross_validation_score: float
    validation: Metrics
    test: Metrics


def save_model(model: TrainedModel, directory: Path) -> None:
    """Writes the four files of a model directory."""
    directory.mkdir(parents=True, exist_ok=True)
    joblib.dump(model.pipeline, directory / MODEL_FILE, compress=3)
    _write_json(directory / METRICS_FILE, _metrics(model))
    _write_json(directory / SCHEMA_FILE, _schema(model))
    (directory / CARD_FILE).write_text(_card(model), encoding="utf-8", newline="\n")


def load_model(directory: Path) -> tuple[Pipeline, float]:
    """Returns the pipeline and its alert threshold.

    A pickle runs code when it is loaded: load only directories that come from your own
    training, such as one restored and verified by ml-cache from a trusted store.
    """
    schema = json.loads((directory / SCHEMA_FILE).read_text(encoding="utf-8"))
    if schema["scikit_learn"] != sklearn.__version__:
        raise RuntimeError(
            f"the model needs scikit-learn {schema['scikit_learn']}, here is {sklearn.__version__}"
        )
    names = [feature["name"] for feature in schema["features"]]
    if names != list(FEATURES):
        raise RuntimeError(f"the model takes {names}, this code computes {list(FEATURES)}")
    return joblib.load(directory / MODEL_FILE), float(schema["threshold"])


def _metrics(model: TrainedModel) -> dict[str, Any]:
    return {
        "train_rows": model.train_rows,
        "parameters": model.parameters,
        "cross_validation_score": model.cross_validation_score,
        "threshold": model.threshold,
        "validation": asdict(model.validation),
        "test": asdict(model.test),
    }


def _schema(model: TrainedModel) -> dict[str, Any]:
    encoder = model.pipeline.named_steps["encode"].named_transformers_["categorical"]
    categories = dict(zip(CATEGORICAL, encoder.categories_, strict=True))
    features: list[dict[str, Any]] = []
    for name in FEATURES:
        if name in categories:
            known = [str(value) for value in categories[name]]
            features.append({"name": name, "kind": "categorical", "categories": known})
        else:
            features.append({"name": name, "kind": "numeric"})
    return {
        "scikit_learn": sklearn.__version__,
        "threshold": model.threshold,
        "input_columns": {name: kind for name, kind in COLUMNS.items() if name != LABEL},
        "features": features,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def _card(model: TrainedModel) -> str:
    parameters = "\n".join(f"| {name} | {value} |" for name, value in model.parameters.items())
    test = model.test
    return f"""# Model card: fraud detector

Scores card payments by the probability that they are fraudulent; a score of at least
{model.threshold} is an alert for the review team.

- Kind: gradient-boosted trees (scikit-learn {sklearn.__version__}), {len(FEATURES)} features
- Data: synthetic card payments from {model.first_day} to {model.last_day}, split by time
- Intended use: to demonstrate caching of trained models. Not for decisions about people.
- Limits: fraud that imitates the card holder is mostly missed; the first payments of an
  account have no history, so their scores say little.

## Held-out last period

| figure | value |
|---|---|
| payments | {test.rows} |
| of these fraudulent | {test.frauds} |
| average precision | {test.average_precision:.3f} |
| ROC AUC | {test.roc_auc:.3f} |
| share flagged | {test.alert_rate:.3f} |
| precision of the flagged | {test.precision:.3f} |
| recall of the flagged | {test.recall:.3f} |

## Parameters found

| parameter | value |
|---|---|
{parameters}
"""
