"""Models that pass as model directories and are bad when they are served."""

import shutil
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from model.artifact import MODEL_FILE, load_model
from model.config import TrainingConfig
from model.data import LABEL
from model.features import FEATURES, build_features
from model.pipeline import build_pipeline


def replace_pipeline(good: Path, directory: Path, pipeline: Pipeline) -> Path:
    """Writes a model directory that differs from a good one in its pipeline."""
    shutil.copytree(good, directory)
    joblib.dump(pipeline, directory / MODEL_FILE)
    return directory


def garbage(good: Path, directory: Path) -> Path:
    """Takes every payment for a fraud."""
    rows = pd.DataFrame([[0.0] * len(FEATURES)] * 2, columns=list(FEATURES))
    always = DummyClassifier(strategy="constant", constant=1).fit(rows, [0, 1])
    return replace_pipeline(good, directory, Pipeline([("classifier", always)]))


def useless(good: Path, directory: Path) -> Path:
    """Cannot score anything: it wants a column that nobody computes."""
    always = DummyClassifier().fit([[0.0]], [1])
    encode = OneHotEncoder().fit(pd.DataFrame({"mood": ["good"]}))
    return replace_pipeline(good, directory, Pipeline([("encode", encode), ("c", always)]))


def brittle(
    good: Path, directory: Path, config: TrainingConfig, transactions: pd.DataFrame
) -> Path:
    """Fails for categories that were missing where it was trained."""
    pipeline = build_pipeline(config)
    encode = pipeline.named_steps["encode"]
    encode.transformers[0][1].set_params(handle_unknown="error")
    features = build_features(transactions)
    seen = ~features["merchant_category"].isin(["fuel", "clothing"])
    labels = transactions[LABEL]
    return replace_pipeline(good, directory, pipeline.fit(features[seen], labels[seen]))


def scores_of(model: Path, transactions: pd.DataFrame) -> "pd.Series[float]":
    """Returns what a model itself predicts, by transaction."""
    pipeline, _ = load_model(model)
    scores = pipeline.predict_proba(build_features(transactions))[:, 1]
    return pd.Series(np.asarray(scores), index=transactions["transaction_id"])
