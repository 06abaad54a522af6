"""Trains the fraud model and writes it into a directory.

python src/train.py --config configs/training_config.yaml
python src/train.py --config configs/training_config.yaml --experiment-name fraud-detection
python src/train.py --config configs/training_config.yaml --device cuda

`--device auto` takes a GPU where there is one and says so; `cuda` fails where there is none.
An experiment is logged to MLflow, which `requirements-tracking.txt` installs; without a name
nothing is logged and MLflow is not needed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from model.artifact import TrainedModel, save_model
from model.classifier import Classifier
from model.config import ConfigError, TrainingConfig, load_config
from model.data import LABEL, DataError, load_transactions, split_by_time
from model.device import DEVICES, DeviceError, choose_device
from model.evaluate import Floats, evaluate, threshold_for_alert_rate
from model.features import build_features
from model.pyfunc import save_pyfunc
from model.search import search_parameters
from strict_config import USAGE

if TYPE_CHECKING:
    import tracking


def train(
    config: TrainingConfig,
    transactions: pd.DataFrame,
    *,
    jobs: int = 1,
    device: str = "cpu",
    checkpoint_dir: Path | None = None,
) -> TrainedModel:
    """Finds parameters, fits, sets the threshold and evaluates, each on its own period."""
    features = build_features(transactions)
    labels = transactions[LABEL]
    split = split_by_time(
        transactions, config.split.validation_fraction, config.split.test_fraction
    )
    for name, rows in split._asdict().items():
        if labels[rows].nunique() < 2:
            raise DataError(f"the {name} period lacks frauds or honest payments")

    found = search_parameters(
        config,
        features[split.train],
        labels[split.train],
        jobs=jobs,
        device=device,
        checkpoint_dir=checkpoint_dir,
    )
    validation_scores = _scores(found.classifier, features[split.validation])
    test_scores = _scores(found.classifier, features[split.test])
    threshold = threshold_for_alert_rate(validation_scores, config.alerts.rate)
    times = transactions["timestamp"]
    return TrainedModel(
        classifier=found.classifier,
        parameters=found.parameters,
        fixed_parameters=asdict(config.model),
        threshold=threshold,
        first_day=f"{times.iloc[0]:%Y-%m-%d}",
        last_day=f"{times.iloc[-1]:%Y-%m-%d}",
        fitted_until=times[split.train].iloc[-1].isoformat(),
        train_rows=int(split.train.sum()),
        cross_validation_score=round(found.score, 6),
        validation=evaluate(labels[split.validation].to_numpy(), validation_scores, threshold),
        test=evaluate(labels[split.test].to_numpy(), test_scores, threshold),
        test_ids=transactions.loc[split.test, "transaction_id"].to_numpy(np.int64),
        test_scores=test_scores,
        device=device,
    )


def _scores(classifier: Classifier, features: pd.DataFrame) -> Floats:
    return np.asarray(classifier.predict_proba(features)[:, 1], dtype=np.float64)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the fraud model.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, default=Path("models"))
    parser.add_argument("--jobs", type=int, default=-1, help="threads; -1 for one per core")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to fit")
    parser.add_argument(
        "--checkpoint-dir", type=Path, help="keep finished candidates here, and go on from them"
    )
    parser.add_argument("--experiment-name", help="log the training to MLflow under this name")
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    try:
        config = load_config(arguments.config)
        device = choose_device(arguments.device)
    except (ConfigError, DeviceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    print(f"device: {device.name} ({device.reason})", flush=True)
    try:
        transactions = load_transactions(Path(config.data.directory))
        frauds = int(transactions[LABEL].sum())
        print(f"training on {len(transactions)} payments, {frauds} fraudulent", flush=True)
        with _experiment(arguments.experiment_name) as run:
            model = train(
                config,
                transactions,
                jobs=arguments.jobs,
                device=device.name,
                checkpoint_dir=arguments.checkpoint_dir,
            )
            save_model(model, arguments.output_dir)
            save_pyfunc(arguments.output_dir, transactions)
            if run:
                run.log(arguments.config, model, arguments.output_dir)
    except (ConfigError, DataError, DeviceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"trained in {time.monotonic() - started:.1f} s: average precision"
        f" {model.test.average_precision:.3f}, ROC AUC {model.test.roc_auc:.3f} on the last"
        f" {model.test.rows} payments"
    )
    return 0


def _experiment(name: str | None) -> AbstractContextManager["tracking.Run | None"]:
    if not name:
        return nullcontext()
    # Only here: a training that logs nothing needs no MLflow.
    import tracking

    return tracking.start_run(name)


if __name__ == "__main__":
    sys.exit(main())
