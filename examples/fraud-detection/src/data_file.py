"""A file of the training data as it was delivered, and what may be wrong with it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pandas as pd

from expectations import Expectations, month_of
from model.data import read_times

_WHOLE = r"-?(0|[1-9]\d*)"
_NUMBER = rf"{_WHOLE}(\.\d+)?([eE][-+]?\d+)?"

SHOWN = 5  # rows and values that a message names before it only counts


@dataclass(frozen=True)
class Fault:
    """Something that must not be, and what removes it."""

    where: str
    found: str
    remedy: str
    rule: str = ""  # the key of the configuration, where `found` does not tell the check
    limit: str = ""

    def text(self) -> str:
        """Returns where the fault is, what it is, and what the rule allows."""
        rule = f"; `{self.rule}` {self.limit}" if self.rule else ""
        return f"{self.where}: {self.found}{rule}"


@dataclass(frozen=True)
class File:
    """A file as text; what cannot be converted is missing in `times` and `content`.

    A file that cannot be read has no rows, but its month is not missing.
    """

    path: Path
    frame: pd.DataFrame
    expectations: Expectations
    readable: bool = True

    @cached_property
    def month(self) -> datetime | None:
        """The month of its name, if it has one."""
        month = month_of(self.path.name, self.expectations.dataset.months.file_name)
        return month.replace(tzinfo=UTC) if month else None

    @cached_property
    def times(self) -> pd.Series:
        """When each row happened."""
        column = self.expectations.dataset.months.timestamp
        values = self.frame[column] if column in self.frame else pd.Series([], dtype=str)
        return read_times(values)

    @cached_property
    def converted(self) -> pd.DataFrame:
        """The values as text, but with `times`."""
        name = self.expectations.dataset.months.timestamp
        return self.frame.assign(**{name: self.times}) if name in self.frame else self.frame

    @cached_property
    def no_times(self) -> "pd.Series[str]":
        """The values that should be times and cannot be read."""
        column = self.expectations.dataset.months.timestamp
        values = self.frame.get(column, pd.Series([], dtype=str))
        return values[values.notna() & self.times.isna()]

    @cached_property
    def odd_numbers(self) -> "dict[str, pd.Series[str]]":
        """The values of each column of numbers that only some readers take for numbers.

        Such are 1_000 and 0100001, which is the same id as 100001 only to some.
        """
        found = {}
        for name, column in self.expectations.schema.columns.items():
            if name in self.frame and column.dtype.startswith(("int", "float")):
                plain = re.compile(_WHOLE if column.dtype.startswith("int") else _NUMBER)
                values = self.frame[name].dropna()
                odd = [not plain.fullmatch(value) and _is_number(value) for value in values]
                found[name] = values[pd.Series(odd, values.index, dtype=bool)]
        return found

    @cached_property
    def content(self) -> pd.DataFrame:
        """The values, so that `12.5` and `12.50` are the same."""
        frame = self.frame.copy()
        for name, column in self.expectations.schema.columns.items():
            if name in frame and column.dtype.startswith(("int", "float")):
                frame[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64")
        if (name := self.expectations.dataset.months.timestamp) in frame:
            frame[name] = self.times
        return frame


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def counted(number: int, name: str) -> str:
    """Returns a number with the name of what it counts."""
    return f"{number:,} {name}{'s'[: number != 1]}"


def listed(items: "pd.Series[str]") -> str:
    """Joins the first distinct items and counts the rest."""
    distinct = items.drop_duplicates()
    text = ", ".join(distinct.head(SHOWN))
    return text if len(distinct) <= SHOWN else f"{text} and {len(distinct) - SHOWN:,} more"
