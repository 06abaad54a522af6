"""Trains the fraud model and writes it into a directory.

python src/train.py --config configs/training_config.yaml
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import parallel_config
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from model.artifact import TrainedModel, save_model
from model.config import ConfigError, TrainingConfig, load_config
from model.data import LABEL, DataError, load_transactions, split_by_time
from model.evaluate import Floats, evaluate, threshold_for_alert_rate
from model.features import build_features
from model.pipeline import best_parameters, build_search


def train(config: TrainingConfig, transactions: pd.DataFrame, jobs: int) -> TrainedModel:
    """Finds parameters, fits, sets the threshold and evaluates, each on its own period."""
    features = build_features(transactions)
    labels = transactions[LABEL]
    split = split_by_time(
        transactions, config.split.validation_fraction, config.split.test_fraction
    )
    for name, rows in split._asdict().items():
        if labels[rows].nunique() < 2:
            raise DataError(f"the {name} period lacks frauds or honest payments")

    search = build_search(config, jobs)
    # One thread a fit: the pickle records the number of threads, and OpenMP threads that
    # wait for each other in a busy loop are slow where cores are shared.
    with parallel_config(inner_max_num_threads=1, backend="loky"), threadpool_limits(1):
        search.fit(features[split.train], labels[split.train])
    pipeline: Pipeline = search.best_estimator_

    validation_scores = _scores(pipeline, features[split.validation])
    threshold = threshold_for_alert_rate(validation_scores, config.alerts.rate)
    return TrainedModel(
        pipeline=pipeline,
        parameters=best_parameters(search),
        threshold=threshold,
        first_day=f"{transactions['timestamp'].iloc[0]:%Y-%m-%d}",
        last_day=f"{transactions['timestamp'].iloc[-1]:%Y-%m-%d}",
        train_rows=int(split.train.sum()),
        cross_validation_score=round(float(search.best_score_), 6),
        validation=evaluate(labels[split.validation].to_numpy(), validation_scores, threshold),
        test=evaluate(
            labels[split.test].to_numpy(), _scores(pipeline, features[split.test]), threshold
        ),
    )


def _scores(pipeline: Pipeline, features: pd.DataFrame) -> Floats:
    return np.asarray(pipeline.predict_proba(features)[:, 1], dtype=np.float64)


def main() -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the fraud model.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, default=Path("models"))
    parser.add_argument("--jobs", type=int, default=-1, help="processes; -1 for one per core")
    arguments = parser.parse_args()

    started = time.monotonic()
    try:
        config = load_config(arguments.config)
        transactions = load_transactions(Path(config.data.directory))
        frauds = int(transactions[LABEL].sum())
        print(f"training on {len(transactions)} payments, {frauds} fraudulent", flush=True)
        model = train(config, transactions, arguments.jobs)
    except (ConfigError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    save_model(model, arguments.output_dir)
    print(
        f"trained in {time.monotonic() - started:.1f} s: average precision"
        f" {model.test.average_precision:.3f}, ROC AUC {model.test.roc_auc:.3f} on the last"
        f" {model.test.rows} payments"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
