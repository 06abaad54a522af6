"""Logs trainings to MLflow.

`MLFLOW_TRACKING_URI` names the server; without it a SQLite database in the current directory
serves. The log explains a model; its bytes are kept by ml-cache alone, once.
`MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, are
MLflow's own variables; to MLflow, an empty one is one that is not set.
"""

import hashlib
import os
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# MLflow reads this when it is imported, so everything else imports it through this module.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.exceptions import MlflowException as MlflowException
from mlflow.types import Schema

from model.artifact import CARD_FILE, METRICS_FILE, TrainedModel
from model.config import TrainingConfig, load_config
from model.pyfunc import schema
from outputs import set_output

LOCAL_DATABASE = "sqlite:///mlflow.db"

# What a run is found by: GitHub's variables that tell where a training ran, and the fingerprint.
ORIGIN = {
    "ml-cache.fingerprint": "ML_CACHE_FINGERPRINT",
    "git.commit": "GITHUB_SHA",
    "git.ref": "GITHUB_REF",
    "github.repository": "GITHUB_REPOSITORY",
    "github.run_id": "GITHUB_RUN_ID",
    "github.run_attempt": "GITHUB_RUN_ATTEMPT",
}


class TrackingError(OSError):
    """What MLflow failed at, in one line and without credentials."""


class Run:
    """A training's entry in MLflow."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def log(self, config_path: Path, model: TrainedModel, model_dir: Path) -> None:
        """Logs the data, parameters, figures, and the files that people read."""
        config = load_config(config_path)
        log_data(Path(config.data.directory))
        mlflow.log_params(flatten(config) | {f"best.{k}": v for k, v in model.parameters.items()})
        mlflow.log_metrics(figures(model))
        for path in (config_path, model_dir / METRICS_FILE, model_dir / CARD_FILE):
            mlflow.log_artifact(str(path))


def log_data(directory: Path) -> None:
    """Logs which data the model is trained on, by the hash that ml-cache knows it by."""
    digest = data_hash(directory)
    source = CodeDatasetSource(
        {
            "path": str(directory),
            **{tag: os.environ[name] for tag, name in ORIGIN.items() if os.environ.get(name)},
        }
    )
    # MLflow has room for 36 characters; the tag has all of them.
    dataset = MetaDataset(  # type: ignore[abstract] # at run time it is not
        source, name=directory.name, digest=digest[:32], schema=Schema.from_json(schema())
    )
    mlflow.log_input(dataset, "training", tags={"ml-cache.data-hash": f"sha256:{digest}"})
    mlflow.set_tag("ml-cache.data-hash", f"sha256:{digest}")


def data_hash(directory: Path) -> str:
    """Returns the output `data-hash` of ml-cache for the pattern `DIRECTORY/**`, in digits alone.

    Its documentation has the format: a line for each file, in the order of the bytes of the paths.
    """
    digest = hashlib.sha256(b"ml-cache/inputs/v1\n")
    paths = [path for path in directory.rglob("*") if path.is_file()]
    for path in sorted(paths, key=lambda path: path.as_posix().encode()):
        content = path.read_bytes()
        line = f"sha256:{hashlib.sha256(content).hexdigest()} {len(content)} {path.as_posix()}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def connect() -> mlflow.MlflowClient:
    """Returns a client of the MLflow server, or of the local database."""
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or LOCAL_DATABASE)
    return mlflow.MlflowClient()


def run_page(client: mlflow.MlflowClient, run_id: str) -> str:
    """Returns the address of a run's page without credentials; empty where there is no server."""
    server = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", "").strip())
    if server.scheme not in ("http", "https"):
        return ""
    experiment = client.get_run(run_id).info.experiment_id
    host = server.netloc.rpartition("@")[2]
    root = f"{server.scheme}://{host}{server.path.rstrip('/')}"
    return f"{root}/#/experiments/{experiment}/runs/{run_id}"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turns MLflow's errors into a `TrackingError`."""
    try:
        yield
    except MlflowException as error:
        text = str(error)
        for secret in secrets():
            text = text.replace(secret, "***")
        text = " ".join(text.split())[:1000]
        if error.error_code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            names = "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD"
            text = f"MLflow refuses the credentials ({names}): {text}"
        # Without its cause, whose text has all that was taken out here.
        raise TrackingError(text) from None


def secrets() -> Iterator[str]:
    """Yields what no message may show, in the forms in which MLflow sends it."""
    user, password, token, uri = (
        os.environ.get(f"MLFLOW_TRACKING_{name}", "")
        for name in ("USERNAME", "PASSWORD", "TOKEN", "URI")
    )
    basic = b64encode(f"{user}:{password}".encode()).decode() if password else ""
    # Stripped, because a line break that was pasted with a token is escaped in messages.
    known = (basic, token.strip(), password.strip(), urlsplit(uri).password)
    yield from (secret for secret in known if secret)


@contextmanager
def start_run(experiment: str) -> Iterator[Run]:
    """Starts a run, tells its id, and marks it as failed should the training fail."""
    tags = {tag: os.environ[name] for tag, name in ORIGIN.items() if os.environ.get(name)}
    with errors_in_one_line():
        connect()
        mlflow.set_experiment(experiment)
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
