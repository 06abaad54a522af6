"""Tests of the data: the generator's promise, the reader's checks and the split."""

from pathlib import Path

import pandas as pd
import pytest

import generate
from model.config import ConfigError, load_config
from model.data import DataError, read_transactions, split_by_time

EXAMPLE = Path(__file__).parents[2]
JANUARY = EXAMPLE / "data" / "training" / "transactions-2024-01.csv"


def test_the_shipped_files_are_what_the_generator_writes() -> None:
    shipped = {path.name: path.read_bytes() for path in JANUARY.parent.glob("*.csv")}
    assert generate.render() == shipped


def test_periods_follow_each_other_and_hold_every_row_once() -> None:
    rows = read_transactions([JANUARY])
    split = split_by_time(rows, validation_fraction=0.2, test_fraction=0.3)
    assert (pd.concat(split, axis=1).sum(axis=1) == 1).all()
    times = rows["timestamp"]
    assert times[split.train].max() < times[split.validation].min()
    assert times[split.validation].max() < times[split.test].min()
    assert split.test.mean() == pytest.approx(0.3, abs=0.01)


def test_a_file_given_twice_is_refused() -> None:
    with pytest.raises(DataError, match="occurs twice"):
        read_transactions([JANUARY, JANUARY])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("amount", "price", "has the columns"), ("4.98", "", "empty"), ("4.98", "much", "much")],
)
def test_unusable_files_are_refused_by_name(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(JANUARY.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message) as caught:
        read_transactions([path])
    assert "broken.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 7", "sead: 7", r"lacks \['seed'\]"),
        ("rate: 0.02", "rate: 2", "between 0 and 1"),
        ("validation_fraction: 0.15", "validation_fraction: 0.9", "leaves no rows"),
        ("folds: 3", "folds: yes", "whole number"),
    ],
)
def test_mistakes_in_the_configuration_are_errors(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = (EXAMPLE / "configs" / "training_config.yaml").read_text()
    assert old in text
    path = tmp_path / "config.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_config(path)
