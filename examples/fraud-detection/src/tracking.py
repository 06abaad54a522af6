"""Logs trainings to MLflow.

`MLFLOW_TRACKING_URI` names the server; without it a SQLite database in the current directory
serves. The log explains a model; its bytes are kept by ml-cache alone, once.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

# MLflow reads this when it is imported, so everything else imports it through this module.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.exceptions import MlflowException

from model.artifact import CARD_FILE, METRICS_FILE, TrainedModel
from model.config import TrainingConfig, load_config
from outputs import set_output

TrackingError = MlflowException
LOCAL_DATABASE = "sqlite:///mlflow.db"

# GitHub's variables that tell where a training ran.
ORIGIN = {
    "git.commit": "GITHUB_SHA",
    "git.ref": "GITHUB_REF",
    "github.repository": "GITHUB_REPOSITORY",
    "github.run_id": "GITHUB_RUN_ID",
    "github.run_attempt": "GITHUB_RUN_ATTEMPT",
}


class Run:
    """A training's entry in MLflow."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def log(self, config_path: Path, model: TrainedModel, model_dir: Path) -> None:
        """Logs parameters, figures, and the files that people read."""
        config = load_config(config_path)
        mlflow.log_params(flatten(config) | {f"best.{k}": v for k, v in model.parameters.items()})
        mlflow.log_metrics(figures(model))
        for path in (config_path, model_dir / METRICS_FILE, model_dir / CARD_FILE):
            mlflow.log_artifact(str(path))


def connect() -> mlflow.MlflowClient:
    """Returns a client of the MLflow server, or of the local database."""
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or LOCAL_DATABASE)
    return mlflow.MlflowClient()


@contextmanager
def start_run(experiment: str) -> Iterator[Run]:
    """Starts a run, tells its id, and marks it as failed should the training fail."""
    connect()
    mlflow.set_experiment(experiment)
    tags = {tag: os.environ[name] for tag, name in ORIGIN.items() if os.environ.get(name)}
    with mlflow.start_run(tags=tags) as active:
        run_id: str = active.info.run_id
        print(f"MLflow run {run_id} in the experiment {experiment}", file=sys.stderr)
        set_output("run-id", run_id)
        yield Run(run_id)


def flatten(config: TrainingConfig) -> dict[str, Any]:
    """Returns the configuration under names such as `search.folds`."""
    flat: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            flat |= {f"{field.name}.{key}": item for key, item in asdict(value).items()}
        else:
            flat[field.name] = value
    return flat


def figures(model: TrainedModel) -> dict[str, float]:
    """Returns the figures of both held-out periods."""
    named = {
        f"{period}.{name}": float(value)
        for period in ("validation", "test")
        for name, value in asdict(getattr(model, period)).items()
    }
    return named | {
        "cross_validation_score": model.cross_validation_score,
        "threshold": model.threshold,
    }
