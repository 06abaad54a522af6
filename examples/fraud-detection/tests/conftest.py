"""Options and models that several kinds of tests share.

A fixture imports what it needs itself: a smoke test is to start without the training's libraries.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example import EXAMPLE, SMALL_CONFIG

if TYPE_CHECKING:
    import pandas as pd

    from model.config import TrainingConfig


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what tests of a trained or served model must be told."""
    parser.addoption("--model-dir", type=Path, default=Path("models"))
    parser.addoption("--base-url", default=os.environ.get("BASE_URL"))


@pytest.fixture(scope="session")
def transactions() -> "pd.DataFrame":
    """Returns the whole of the training data."""
    from model.data import load_transactions

    return load_transactions(EXAMPLE / "data" / "training")


@pytest.fixture(scope="session")
def small_config() -> "TrainingConfig":
    """Returns a configuration that trains in a second or two."""
    from model.config import load_config

    return load_config(SMALL_CONFIG)


@pytest.fixture(scope="session")
def small_model(
    tmp_path_factory: pytest.TempPathFactory,
    small_config: "TrainingConfig",
    transactions: "pd.DataFrame",
) -> Path:
    """Returns the directory of a model that was trained with `small_config`."""
    from model.artifact import save_model
    from train import train

    directory = tmp_path_factory.mktemp("small") / "models"
    save_model(train(small_config, transactions), directory)
    return directory


@pytest.fixture(scope="session")
def model_dir(pytestconfig: pytest.Config) -> Path:
    """Returns the directory of the model under test."""
    directory: Path = pytestconfig.getoption("--model-dir")
    if not directory.is_dir():
        pytest.fail(f"there is no model in `{directory}`: train one, or give --model-dir")
    return directory


@pytest.fixture(scope="session")
def base_url(pytestconfig: pytest.Config) -> str:
    """Returns the address of the server under test."""
    url: str | None = pytestconfig.getoption("--base-url")
    if not url:
        pytest.fail("give --base-url, or set BASE_URL")
    return url.rstrip("/")
