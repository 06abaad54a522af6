"""The model under test, and payments to try it on."""

from pathlib import Path

import pandas as pd
import pytest

from model.artifact import load_model
from model.classifier import Classifier
from model.features import build_features


@pytest.fixture(scope="session")
def loaded(model_dir: Path) -> tuple[Classifier, float]:
    """Loads the model under test."""
    return load_model(model_dir)


@pytest.fixture(scope="session")
def classifier(loaded: tuple[Classifier, float]) -> Classifier:
    """Returns the model's classifier."""
    return loaded[0]


@pytest.fixture(scope="session")
def threshold(loaded: tuple[Classifier, float]) -> float:
    """Returns the score from which on a payment is an alert."""
    return loaded[1]


@pytest.fixture(scope="session")
def features(transactions: pd.DataFrame) -> pd.DataFrame:
    """Returns the features of all payments."""
    return build_features(transactions)
