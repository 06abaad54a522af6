"""Models that pass as model directories and are bad when they are served."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

from model.artifact import MODEL_FILE, SCHEMA_FILE, load_model
from model.classifier import fit_booster
from model.config import ModelConfig, TrainingConfig
from model.features import build_features

ONE_ROUND = ModelConfig(num_boost_round=1, max_bin=16, subsample=1.0, colsample_bytree=1.0)


def replace_trees(good: Path, directory: Path, trees: bytes) -> Path:
    """Writes a model directory that differs from a good one in its trees alone."""
    shutil.copytree(good, directory)
    (directory / MODEL_FILE).write_bytes(trees)
    schema = json.loads((directory / SCHEMA_FILE).read_text())
    schema["model"] |= {"bytes": len(trees), "sha256": hashlib.sha256(trees).hexdigest()}
    (directory / SCHEMA_FILE).write_text(json.dumps(schema))
    return directory


def constant(columns: list[str], score: float) -> xgboost.Booster:
    """Returns trees that give every row about the same score."""
    matrix = np.zeros((2, len(columns)), np.float32)
    labels = np.array([0, 1], np.int8)
    parameters = {"base_score": score, "learning_rate": 1e-9}
    return fit_booster(matrix, labels, columns, ONE_ROUND, parameters, seed=1, device="cpu")


def garbage(good: Path, directory: Path) -> Path:
    """Takes every payment for a fraud."""
    always = constant(load_model(good)[0].encoder.columns, 0.9999)
    return replace_trees(good, directory, bytes(always.save_raw("ubj")))


def useless(good: Path, directory: Path) -> Path:
    """Cannot score anything: it wants a column that nobody computes."""
    return replace_trees(good, directory, bytes(constant(["mood"], 0.5).save_raw("ubj")))


def brittle(
    good: Path, directory: Path, config: TrainingConfig, transactions: pd.DataFrame
) -> Path:
    """Scores as the good model does, but two categories with what is no number."""
    classifier, _ = load_model(good)
    features = build_features(transactions)
    bad = features["merchant_category"].isin(["fuel", "clothing"]).to_numpy()
    one = replace(ONE_ROUND, max_bin=config.model.max_bin)
    added = fit_booster(
        classifier.encoder.encode(features),
        bad.astype(np.int8),
        classifier.encoder.columns,
        one,
        {"max_leaves": 3, "learning_rate": 1.0},
        seed=1,
        device="cpu",
    )
    whole = json.loads(classifier.booster.save_raw("json"))
    trees = whole["learner"]["gradient_booster"]["model"]
    (tree,) = json.loads(added.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    for node, left in enumerate(tree["left_children"]):
        if left == -1:
            # Of a leaf, this is its value.
            tree["split_conditions"][node] = (
                float("nan") if tree["split_conditions"][node] > 0 else 0.0
            )
    tree["id"] = len(trees["trees"])
    trees["trees"].append(tree)
    trees["tree_info"].append(0)
    trees["iteration_indptr"].append(len(trees["trees"]))
    trees["gbtree_model_param"]["num_trees"] = str(len(trees["trees"]))
    booster = xgboost.Booster()
    booster.load_model(bytearray(json.dumps(whole).encode()))
    return replace_trees(good, directory, bytes(booster.save_raw("ubj")))


def scores_of(model: Path, transactions: pd.DataFrame) -> "pd.Series[float]":
    """Returns what a model itself predicts, by transaction."""
    classifier, _ = load_model(model)
    scores = classifier.predict_proba(build_features(transactions))[:, 1]
    return pd.Series(np.asarray(scores), index=transactions["transaction_id"])
