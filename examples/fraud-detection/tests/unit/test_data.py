"""Tests of the data: the reader's checks and the split."""

from pathlib import Path

import pandas as pd
import pytest

from example import SMALL_CONFIG
from model.config import ConfigError, load_config
from model.data import DataError, read_transactions, split_by_time


@pytest.fixture
def january(generated: Path) -> Path:
    return generated / "transactions-2024-01.csv"


def test_periods_follow_each_other_and_hold_every_row_once(january: Path) -> None:
    rows = read_transactions([january])
    split = split_by_time(rows, validation_fraction=0.2, test_fraction=0.3)
    assert (pd.concat(split, axis=1).sum(axis=1) == 1).all()
    times = rows["timestamp"]
    assert times[split.train].max() < times[split.validation].min()
    assert times[split.validation].max() < times[split.test].min()
    assert split.test.mean() == pytest.approx(0.3, abs=0.01)


def test_a_file_given_twice_is_refused(january: Path) -> None:
    with pytest.raises(DataError, match="occurs twice"):
        read_transactions([january, january])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("amount", "price", "has the columns"),
        ("4.98", "", "empty"),
        ("4.98", "much", "much"),
        ("2024-01-01T", "01/04/2024 ", "no times such as 2024.* on line 2, is '01/04/2024 "),
        ("2024-01-01T", "9999-01-01T", "1 of 3,453 timestamps are no times"),
        ("100001", "9" * 20, "`transaction_id` has a value that is no int64: Python int too large"),
        ("100001", "100001.5", "`transaction_id` has a value that is no int64: 100001.5, on line"),
        (",0\n", ",300\n", "`is_fraud` has a value that is no int8: 300, on line 2"),
    ],
)
def test_unusable_files_are_refused_by_name(
    january: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(january.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message) as caught:
        read_transactions([path])
    assert "broken.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 7", "sead: 7", "`sead` is not a known key; did you mean `seed`"),
        ("rate: 0.02", "rate: 2", "`alerts.rate` must be less than 1, not 2"),
        ("validation_fraction: 0.15", "validation_fraction: 0.9", "`split` leaves no rows"),
        ("folds: 2", "folds: yes", "`search.folds` must be a valid integer, not True"),
        ("learning_rate", "learning_rat", "`search.grid.learning_rat` is not a .* `learning_rate`"),
        ("[7]", "[]", "`search.grid.max_leaves` .* at least 1 item"),
        ("average_precision", "precision", "must be 'average_precision' or 'roc_auc', not"),
    ],
)
def test_mistakes_in_the_configuration_are_errors(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = SMALL_CONFIG.read_text()
    assert old in text
    path = tmp_path / "config.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_config(path)
