"""The training configuration: read once, checked whole, immutable afterwards."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from strict_config import ConfigError as ConfigError
from strict_config import config, read_config

GridValue = int | float

Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


@config
class DataConfig:
    """Where the transactions are, relative to the current directory."""

    directory: Text


@config
class SplitConfig:
    """Shares of the rows, by time, that are kept away from fitting."""

    validation_fraction: Share
    test_fraction: Share

    @model_validator(mode="after")
    def _leaves_rows(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("leaves no rows to fit on")
        return self


@config
class ModelConfig:
    """Parameters of XGBoost that the search does not vary."""

    num_boost_round: Annotated[int, Field(ge=1, le=10_000)]
    max_bin: Annotated[int, Field(ge=2, le=1024)]
    subsample: Positive
    colsample_bytree: Positive


@config
class Grid:
    """Values of XGBoost's parameters that the search tries in all combinations."""

    learning_rate: Annotated[list[Positive], Field(min_length=1)]
    max_leaves: Annotated[list[Annotated[int, Field(ge=2, le=4096)]], Field(min_length=1)]
    min_child_weight: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]


@config
class SearchConfig:
    """The grid, and how its candidates are compared."""

    folds: Annotated[int, Field(ge=2, le=20)]
    scoring: Literal["average_precision", "roc_auc"]
    grid: Grid


@config
class AlertConfig:
    """The share of transactions that may be flagged."""

    rate: Share


@config
class TrainingConfig:
    """The whole file."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)]
    data: DataConfig
    split: SplitConfig
    model: ModelConfig
    search: SearchConfig
    alerts: AlertConfig


def load_config(path: Path) -> TrainingConfig:
    """Reads and checks the file; a misspelt key is an error, not a default."""
    return read_config(path, TrainingConfig)
