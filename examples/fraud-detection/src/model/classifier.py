"""The estimator: trees of XGBoost over the numbers and the encoded categories."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost

from model.config import ModelConfig
from model.device import DeviceError
from model.features import CATEGORICAL, NUMERIC

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Parameters = Mapping[str, int | float]


@dataclass(frozen=True)
class Encoder:
    """Gives every known category a column of its own; an unknown one is none of them."""

    categories: dict[str, list[str]]

    @classmethod
    def of(cls, features: pd.DataFrame) -> "Encoder":
        """Knows the categories of these rows."""
        return cls({name: sorted(map(str, features[name].unique())) for name in CATEGORICAL})

    @property
    def columns(self) -> list[str]:
        """The columns of `encode`, by name."""
        encoded = (f"{name}={value}" for name in CATEGORICAL for value in self.categories[name])
        return [*NUMERIC, *encoded]

    def encode(self, features: pd.DataFrame) -> Matrix:
        """Returns the trees' input; missing numbers stay missing, trees can split on that."""
        encoded = [
            features[name].to_numpy(object)[:, np.newaxis]
            == np.array(self.categories[name], object)
            for name in CATEGORICAL
        ]
        return np.column_stack([features[list(NUMERIC)].to_numpy(np.float64), *encoded]).astype(
            np.float32
        )


class Classifier:
    """Fitted trees and their encoder; several threads may ask it at once."""

    def __init__(self, encoder: Encoder, booster: xgboost.Booster) -> None:
        self.encoder = encoder
        self.booster = booster
        # Wherever it was fitted, it predicts as it does in the server. Requests run beside each
        # other; threads inside of each would only compete.
        booster.set_param({"device": "cpu", "nthread": 1})

    def predict_proba(self, features: pd.DataFrame) -> Floats:
        """Returns the probabilities of honest and fraudulent, in scikit-learn's form.

        The input has the columns of `build_features`.
        """
        scores = self.booster.inplace_predict(self.encoder.encode(features)).astype(np.float64)
        return np.column_stack([1.0 - scores, scores])


def fit_booster(
    matrix: Matrix,
    labels: npt.NDArray[np.int8],
    columns: list[str],
    config: ModelConfig,
    parameters: Parameters,
    *,
    seed: int,
    device: str,
) -> xgboost.Booster:
    """Fits trees; on the CPU, the same input gives the same bytes.

    One thread a fit: sums of floats depend on how rows are shared among threads.
    """
    rows = xgboost.QuantileDMatrix(
        matrix, labels, feature_names=columns, max_bin=config.max_bin, nthread=1
    )
    settings = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "grow_policy": "lossguide",  # so that max_leaves is what limits a tree
        "max_depth": 0,
        "max_bin": config.max_bin,
        "subsample": config.subsample,
        "colsample_bytree": config.colsample_bytree,
        "seed": seed,
        "nthread": 1,
        "device": device,
        "verbosity": 1,
    }
    booster = xgboost.train({**settings, **parameters}, rows, config.num_boost_round)
    used = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    if not used.startswith(device):
        # XGBoost itself only warns, and goes on.
        raise DeviceError(f"XGBoost was to train on `{device}` and took `{used}`")
    return booster
