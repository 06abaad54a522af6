"""The training configuration: read once, checked whole, immutable afterwards."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

GridValue = int | float | str


class ConfigError(ValueError):
    """The configuration file does not say what it has to say."""


@dataclass(frozen=True)
class DataConfig:
    """Where the transactions are, relative to the current directory."""

    directory: str


@dataclass(frozen=True)
class SplitConfig:
    """Shares of the rows, by time, that are kept away from fitting."""

    validation_fraction: float
    test_fraction: float


@dataclass(frozen=True)
class ModelConfig:
    """Parameters that the search does not vary."""

    max_iter: int
    max_bins: int


@dataclass(frozen=True)
class SearchConfig:
    """The grid, and how its candidates are compared."""

    folds: int
    scoring: str
    grid: dict[str, list[GridValue]]


@dataclass(frozen=True)
class AlertConfig:
    """The share of transactions that may be flagged."""

    rate: float


@dataclass(frozen=True)
class TrainingConfig:
    """The whole file."""

    seed: int
    data: DataConfig
    split: SplitConfig
    model: ModelConfig
    search: SearchConfig
    alerts: AlertConfig


def load_config(path: Path) -> TrainingConfig:
    """Reads and checks the file; a misspelt key is an error, not a default."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return _training_config(raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _training_config(raw: object) -> TrainingConfig:
    top = _table(raw, "the file", TrainingConfig)
    data = _table(top["data"], "data", DataConfig)
    split = _table(top["split"], "split", SplitConfig)
    model = _table(top["model"], "model", ModelConfig)
    search = _table(top["search"], "search", SearchConfig)
    alerts = _table(top["alerts"], "alerts", AlertConfig)

    config = TrainingConfig(
        seed=_whole(top["seed"], "seed", least=0),
        data=DataConfig(directory=_text(data["directory"], "data.directory")),
        split=SplitConfig(
            validation_fraction=_share(split["validation_fraction"], "split.validation_fraction"),
            test_fraction=_share(split["test_fraction"], "split.test_fraction"),
        ),
        model=ModelConfig(
            max_iter=_whole(model["max_iter"], "model.max_iter", least=1),
            max_bins=_whole(model["max_bins"], "model.max_bins", least=2),
        ),
        search=SearchConfig(
            folds=_whole(search["folds"], "search.folds", least=2),
            scoring=_text(search["scoring"], "search.scoring"),
            grid=_grid(search["grid"], "search.grid"),
        ),
        alerts=AlertConfig(rate=_share(alerts["rate"], "alerts.rate")),
    )
    if config.split.validation_fraction + config.split.test_fraction >= 1.0:
        raise ConfigError("`split` leaves no rows to fit on")
    return config


def _table(raw: object, name: str, shape: type) -> dict[str, Any]:
    """Returns `raw` as a mapping with exactly the keys of the dataclass `shape`."""
    wanted = {field.name for field in fields(shape)}
    if not isinstance(raw, dict):
        raise ConfigError(f"`{name}` must be a mapping with the keys {sorted(wanted)}")
    if missing := wanted - raw.keys():
        raise ConfigError(f"`{name}` lacks {sorted(missing)}")
    if unknown := raw.keys() - wanted:
        raise ConfigError(f"`{name}` has unknown keys {sorted(map(str, unknown))}")
    return raw


def _whole(raw: object, name: str, *, least: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < least:
        raise ConfigError(f"`{name}` must be a whole number of at least {least}, not {raw!r}")
    return raw


def _share(raw: object, name: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0.0 < raw < 1.0:
        raise ConfigError(f"`{name}` must be a number between 0 and 1, not {raw!r}")
    return float(raw)


def _text(raw: object, name: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise ConfigError(f"`{name}` must be a non-empty text, not {raw!r}")
    return raw


def _grid(raw: object, name: str) -> dict[str, list[GridValue]]:
    if not isinstance(raw, dict) or not raw:
        raise ConfigError(f"`{name}` must map parameter names to lists of values")
    for key, values in raw.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"`{name}.{key}` must be a list with at least one value")
    return raw
