"""The model under test, and payments to try it on."""

from pathlib import Path

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from model.artifact import load_model
from model.features import build_features


@pytest.fixture(scope="session")
def loaded(model_dir: Path) -> tuple[Pipeline, float]:
    """Loads the model under test."""
    return load_model(model_dir)


@pytest.fixture(scope="session")
def pipeline(loaded: tuple[Pipeline, float]) -> Pipeline:
    """Returns the model's pipeline."""
    return loaded[0]


@pytest.fixture(scope="session")
def threshold(loaded: tuple[Pipeline, float]) -> float:
    """Returns the score from which on a payment is an alert."""
    return loaded[1]


@pytest.fixture(scope="session")
def features(transactions: pd.DataFrame) -> pd.DataFrame:
    """Returns the features of all payments."""
    return build_features(transactions)
