"""The model directory: what `train.py` writes and every consumer reads.

All files are written from the model alone, without times or host names, so that the
same inputs give the same directory. Loading it runs none of its content: the trees are in
XGBoost's binary JSON, all else is JSON, CSV and Markdown.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost
from pydantic import Field, TypeAdapter, ValidationError

from model.classifier import Classifier, Encoder
from model.data import COLUMNS, LABEL
from model.evaluate import Floats, Metrics
from model.features import CATEGORICAL, FEATURES
from strict_config import config

FORMAT = "fraud-detector/v2"
MODEL_FILE = "model.ubj"
METRICS_FILE = "metrics.json"
SCHEMA_FILE = "feature_schema.json"
CARD_FILE = "model_card.md"
HELD_OUT_FILE = "held_out.csv"
FILES = (MODEL_FILE, METRICS_FILE, SCHEMA_FILE, CARD_FILE, HELD_OUT_FILE)

MAX_MODEL_BYTES = 256 * 2**20
MAX_SCHEMA_BYTES = 2**20


class ModelError(RuntimeError):
    """The directory holds no model that this code can use; the message names the cause."""


@config
class ModelFile:
    """The trees' file, so that no other one is loaded in its place."""

    name: Literal["model.ubj"]
    bytes: Annotated[int, Field(ge=1, le=MAX_MODEL_BYTES)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@config
class Feature:
    """An input of the model, and the categories that it knows."""

    name: str
    kind: Literal["numeric", "categorical"]
    categories: list[str] = Field(default_factory=list)


@config
class Schema:
    """What a consumer has to know of a model."""

    format: Literal["fraud-detector/v2"]
    xgboost: str
    model: ModelFile
    threshold: Annotated[float, Field(ge=0, le=1)]
    feature_code: str  # a digest of the code that computes the features
    fitted_until: str  # the time of the last row that it was fitted on
    input_columns: dict[str, str]
    features: list[Feature]


@dataclass(frozen=True)
class TrainedModel:
    """A fitted classifier and what is known about it."""

    classifier: Classifier
    parameters: dict[str, int | float]
    fixed_parameters: dict[str, int | float]
    threshold: float
    first_day: str
    last_day: str
    fitted_until: str
    train_rows: int
    cross_validation_score: float
    validation: Metrics
    test: Metrics
    test_ids: npt.NDArray[np.int64]
    test_scores: Floats
    device: str = "cpu"


def save_model(model: TrainedModel, directory: Path) -> None:
    """Writes the files of a model directory."""
    directory.mkdir(parents=True, exist_ok=True)
    trees = bytes(model.classifier.booster.save_raw("ubj"))
    (directory / MODEL_FILE).write_bytes(trees)
    _write_json(directory / METRICS_FILE, flat_metrics(model))
    _write_json(directory / SCHEMA_FILE, _schema(model, trees))
    (directory / CARD_FILE).write_text(_card(model), encoding="utf-8", newline="\n")
    # What the model said of the rows that it never saw: a later code may not be able to ask it.
    scores = pd.DataFrame({"transaction_id": model.test_ids, "score": model.test_scores})
    scores.to_csv(directory / HELD_OUT_FILE, index=False, float_format="%.9g", lineterminator="\n")


def load_model(directory: Path) -> tuple[Classifier, float]:
    """Returns the classifier and its alert threshold.

    Raises `ModelError` for a directory that is not of this format, is damaged, or is of another
    code, and `OSError` for files that cannot be read.
    """
    schema = read_schema(directory)
    names = [feature.name for feature in schema.features]
    if names != list(FEATURES):
        raise ModelError(f"the model takes {names}, this code computes {list(FEATURES)}")
    if _release(schema.xgboost) > _release(xgboost.__version__):
        raise ModelError(f"the model needs XGBoost {schema.xgboost}, here is {xgboost.__version__}")
    encoder = Encoder(
        {item.name: item.categories for item in schema.features if item.kind == "categorical"}
    )
    if tuple(encoder.categories) != CATEGORICAL:
        raise ModelError(f"the model's categories are those of {list(encoder.categories)}")
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(_trees(directory, schema)))
    except xgboost.core.XGBoostError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"`{directory / MODEL_FILE}` is not a model: {reason}") from None
    if booster.feature_names != encoder.columns:
        raise ModelError(
            f"`{directory / MODEL_FILE}` takes other columns than `{SCHEMA_FILE}` says"
        )
    return Classifier(encoder, booster), schema.threshold


def read_schema(directory: Path) -> Schema:
    """Returns what the directory says of its model, without loading that."""
    path = directory / SCHEMA_FILE
    text = _read(path, MAX_SCHEMA_BYTES)
    try:
        content = json.loads(text)
    except ValueError:
        raise ModelError(f"`{path}` is damaged: it is not JSON") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        older = "an older format" if found is None else f"the format {found!r}"
        raise ModelError(
            f"the model in `{directory}` is of {older}, and this code reads {FORMAT}:"
            " train it again with this code, or use it with the code that trained it"
        )
    try:
        return TypeAdapter(Schema).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelError(f"`{path}` is damaged: `{place}`: {first['msg']}") from None


def feature_code() -> str:
    """Returns a digest of the code between a row of the data and the model's input."""
    digest = hashlib.sha256()
    for name in ("data.py", "features.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()


def flat_metrics(model: TrainedModel) -> dict[str, int | float]:
    """Returns the figures under names such as `test.average_precision`."""
    return {
        "train_rows": model.train_rows,
        "threshold": model.threshold,
        "cross_validation_score": model.cross_validation_score,
        **{f"parameters.{name}": value for name, value in model.parameters.items()},
        **{
            f"{period}.{name}": value
            for period in ("validation", "test")
            for name, value in asdict(getattr(model, period)).items()
        },
    }


def _trees(directory: Path, schema: Schema) -> bytes:
    """Returns the trees' file, if it is the one that the schema was written with."""
    path = directory / MODEL_FILE
    content = _read(path, schema.model.bytes)
    if hashlib.sha256(content).hexdigest() != schema.model.sha256:
        raise ModelError(f"`{path}` is damaged: its SHA-256 is not the one in `{SCHEMA_FILE}`")
    return content


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ModelError(f"`{path}` is larger than {limit} bytes")
    return content


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _schema(model: TrainedModel, trees: bytes) -> dict[str, Any]:
    categories = model.classifier.encoder.categories
    features: list[dict[str, Any]] = [
        {"name": name, "kind": "categorical", "categories": categories[name]}
        if name in categories
        else {"name": name, "kind": "numeric"}
        for name in FEATURES
    ]
    return {
        "format": FORMAT,
        "xgboost": xgboost.__version__,
        "model": {
            "name": MODEL_FILE,
            "bytes": len(trees),
            "sha256": hashlib.sha256(trees).hexdigest(),
        },
        "threshold": model.threshold,
        "feature_code": feature_code(),
        "fitted_until": model.fitted_until,
        "input_columns": {name: kind for name, kind in COLUMNS.items() if name != LABEL},
        "features": features,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def _card(model: TrainedModel) -> str:
    shown = {**model.fixed_parameters, **model.parameters}
    parameters = "\n".join(f"| {name} | {value:g} |" for name, value in shown.items())
    test, validation = model.test, model.validation
    return f"""# Model card: fraud detector

Scores card payments by the probability that they are fraudulent; a score of at least
{model.threshold} is an alert for the review team.

- Kind: gradient-boosted trees, {len(FEATURES)} features, in XGBoost's own format ({MODEL_FILE})
- Data: synthetic card payments from {model.first_day} to {model.last_day}, split by time
- Rows: {model.train_rows} to fit on, until {model.fitted_until}; {validation.rows} to set the
  threshold; {test.rows} held out
- Versions: XGBoost {xgboost.__version__}, pandas {pd.__version__}, NumPy {np.__version__};
  fitted on {model.device}
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
| Brier score | {test.brier_score:.4f} |
| share flagged | {test.alert_rate:.3f} |
| precision of the flagged | {test.precision:.3f} |
| recall of the flagged | {test.recall:.3f} |

## Parameters

| parameter | value |
|---|---|
{parameters}
"""
