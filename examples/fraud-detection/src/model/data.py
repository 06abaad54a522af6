"""Reads transactions from CSV files and splits them by time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

LABEL = "is_fraud"

# Columns and their types, in the order of the files; the label is last.
COLUMNS = {
    "transaction_id": "int64",
    "timestamp": "datetime64[ns, UTC]",
    "account_id": "str",
    "account_age_days": "int64",
    "merchant_category": "str",
    "amount": "float64",
    "country": "str",
    "channel": "str",
    LABEL: "int8",
}

TIME = "2024-06-01T10:00:00Z"  # the form that messages ask for
_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"


class DataError(ValueError):
    """The transactions are not usable; training on them would hide the mistake."""


class Split(NamedTuple):
    """Row masks of three consecutive periods."""

    train: "pd.Series[bool]"
    validation: "pd.Series[bool]"
    test: "pd.Series[bool]"


def load_transactions(directory: Path) -> pd.DataFrame:
    """Reads all CSV files of a directory, in order of time."""
    paths = sorted(directory.glob("*.csv"))
    if not paths:
        raise DataError(f"no CSV file in `{directory}`")
    return read_transactions(paths)


def read_transactions(paths: Sequence[Path]) -> pd.DataFrame:
    """Reads CSV files and checks them; equal times are ordered by transaction."""
    frames = [_read(path) for path in paths]
    transactions = pd.concat(frames, ignore_index=True)
    if transactions["transaction_id"].duplicated().any():
        raise DataError("a transaction id occurs twice")
    return transactions.sort_values(["timestamp", "transaction_id"], ignore_index=True)


def read_times(values: "pd.Series[str]") -> "pd.Series[pd.Timestamp]":
    """Reads texts such as `TIME`; what is no such text, or no time, is missing.

    Without an offset, a time is UTC. pandas alone reads `04/06/2024` as a day of April, and `now`.
    """
    texts = values.where(values.str.fullmatch(_TIME, na=False))
    times = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601")
    first, last = pd.Timestamp.min.tz_localize("UTC"), pd.Timestamp.max.tz_localize("UTC")
    return times.where(times.between(first, last)).dt.as_unit("ns")


def read_table(path: Path, dtype: Any) -> pd.DataFrame:
    """Reads a CSV file; raises `OSError`, or `ValueError` if it is no table.

    Only an empty field is a missing value: "NA" is a country.
    """
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dtype)
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas takes the first fields for names of the rows, and moves all others to the left.
        raise ValueError(f"its rows have more fields than the {len(frame.columns)} of its header")
    return frame


def _read(path: Path) -> pd.DataFrame:
    try:
        frame = read_table(path, {"timestamp": str})
    except ValueError as error:
        raise DataError(f"`{path}` cannot be read: {error}") from error
    if list(frame.columns) != list(COLUMNS):
        raise DataError(f"`{path}` has the columns {list(frame.columns)}, not {list(COLUMNS)}")
    if frame.isna().any(axis=None):
        raise DataError(f"`{path}` has empty fields")
    times = read_times(frame["timestamp"])
    if len(unread := frame.loc[times.isna(), "timestamp"]):
        raise DataError(
            f"`{path}`: {len(unread):,} of {len(frame):,} timestamps are no times such as {TIME};"
            f" the first, on line {unread.index[0] + 2}, is {unread.iloc[0]!r}"
        )
    frame = frame.assign(timestamp=times)
    return frame.assign(**{name: _converted(path, frame, name) for name in COLUMNS})


def _converted(path: Path, frame: pd.DataFrame, name: str) -> pd.Series:
    """Returns a column as what it should be; a number that would change is refused."""
    fault = f"`{path}`: `{name}` has a value that is no {COLUMNS[name]}"
    try:
        converted = frame[[name]].astype({name: COLUMNS[name]})[name]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{fault}: {error}") from error
    changed = frame[name][converted != frame[name]]
    if COLUMNS[name].startswith("int") and len(changed):
        raise DataError(f"{fault}: {changed.iloc[0]}, on line {changed.index[0] + 2}")
    return converted


def split_by_time(
    transactions: pd.DataFrame, validation_fraction: float, test_fraction: float
) -> Split:
    """Cuts ordered rows into train, validation and test periods.

    A random split would put payments of one fraud burst on both sides and so
    measure memory. Rows of one instant stay on one side of a cut.
    """
    times = transactions["timestamp"]
    rows = len(times)
    validation_start = times.iloc[int(rows * (1.0 - validation_fraction - test_fraction))]
    test_start = times.iloc[int(rows * (1.0 - test_fraction))]
    return Split(
        train=times < validation_start,
        validation=(times >= validation_start) & (times < test_start),
        test=times >= test_start,
    )
