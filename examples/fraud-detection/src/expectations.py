"""The expectations of the data: the shape of configs/data_expectations.yaml."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pandera.engines.pandas_engine import Engine
from pandera.io.pandas_io import from_yaml
from pandera.pandas import DataFrameSchema
from pydantic import AfterValidator, Field, model_validator

from strict_config import Glob, Location, MisfitError, config, read_config

NEWEST_FILE = "newest-file"
TODAY = "today"
TYPES = ["int8", "int16", "int32", "int64", "float32", "float64", "bool", "str", "category"]
TYPES += ["datetime64[ns, UTC]", "datetime64[ns]"]

Number = int | float
Value = int | float | str | bool


def _known_type(name: str) -> str:
    try:
        Engine.dtype(name)
    except TypeError:
        near = get_close_matches(name, TYPES, n=1, cutoff=0.0)
        raise ValueError(f"is no type: `{name}`; did you mean `{near[0]}`?") from None
    return name


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: `{text}`: {error}") from None
    return text


def _dated_name(pattern: str) -> str:
    if not all(part in pattern for part in ("%Y", "%m")):
        raise ValueError(f"must have `%Y` and `%m`, the year and the month, not `{pattern}`")
    return pattern


def read_as_of(text: str) -> str:
    """Returns a day that freshness is measured at, or raises ValueError."""
    if text not in (NEWEST_FILE, TODAY):
        try:
            date.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"must be `{NEWEST_FILE}`, `{TODAY}` or a day such as 2024-07-01, not `{text}`"
            ) from None
    return text


def _check_order(low: str, least: float, high: str, most: float) -> None:
    if least > most:
        raise MisfitError({(low,): f"must not be above `{high}`: {least:g} is above {most:g}"})


Text = Annotated[str, Field(min_length=1)]
Pattern = Annotated[str, AfterValidator(_regular_expression)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


@config
class Between:
    """Limits of a number."""

    min_value: Number
    max_value: Number
    include_min: bool = True
    include_max: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_order("min_value", self.min_value, "max_value", self.max_value)
        return self


@config
class Length:
    """Limits of the length of a text."""

    min_value: int | None = None
    max_value: int | None = None
    exact_value: int | None = None


@config
class Checks:
    """The checks that pandera has for the values of a column."""

    equal_to: Value | None = None
    not_equal_to: Value | None = None
    greater_than: Value | None = None
    greater_than_or_equal_to: Value | None = None
    less_than: Value | None = None
    less_than_or_equal_to: Value | None = None
    in_range: Between | None = None
    isin: Annotated[list[Value], Field(min_length=1)] | None = None
    notin: list[Value] | None = None
    str_matches: Pattern | None = None
    str_contains: Pattern | None = None
    str_startswith: str | None = None
    str_endswith: str | None = None
    str_length: Length | None = None
    unique_values_eq: list[Value] | None = None


@config
class Column:
    """A column; what is absent is as in pandera."""

    dtype: Annotated[str, AfterValidator(_known_type)]
    checks: Checks | None = None
    nullable: bool | None = None
    unique: bool | None = None
    coerce: bool | None = None
    required: bool | None = None
    title: str | None = None
    description: str | None = None


@config
class Table:
    """The schema of each file."""

    strict: bool
    ordered: bool
    coerce: bool
    columns: Annotated[dict[str, Column], Field(min_length=1)]

    def to_pandera(self) -> DataFrameSchema:
        """Returns the schema as pandera has it."""
        content = asdict(self, dict_factory=_present)
        schema: DataFrameSchema = from_yaml(yaml.safe_dump(content, sort_keys=False))
        return schema


@config
class FraudShare:
    """Limits of the share of frauds."""

    min: Share
    max: Share

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_order("min", self.min, "max", self.max)
        return self


@config
class RowsPerFile:
    """Limits of the number of rows: at least `min`, and near a usual file of the baseline."""

    min: Annotated[int, Field(ge=1)]
    min_of_baseline: Positive
    max_of_baseline: Positive

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.min_of_baseline, self.max_of_baseline
        _check_order("min_of_baseline", low, "max_of_baseline", high)
        return self


@config
class Months:
    """How the files follow each other."""

    file_name: Annotated[str, AfterValidator(_dated_name)]
    timestamp: Text
    max_gap_hours: Positive


@config
class Freshness:
    """How old the newest row may be."""

    as_of: Annotated[str, AfterValidator(read_as_of)]
    max_age_days: Positive


@config
class Repeats:
    """How many rows, or runs of rows, may be those of before, apart from some columns."""

    rows: Annotated[int, Field(ge=1, le=100)]
    ignoring: Annotated[list[str], Field(min_length=1)]
    max_share: Share


@config
class Together:
    """Columns that depend on each other, at least by this share of the other files' strength."""

    min_of_others: Annotated[float, Field(gt=0, lt=1)]
    pairs: list[tuple[Text, Text]]


@config
class Dataset:
    """What a schema of rows cannot say."""

    unique: Text
    fraud_share: FraudShare
    rows_per_file: RowsPerFile
    months: Months
    freshness: Freshness
    repeats: list[Repeats]
    together: Together
    max_share_of_a_value: dict[str, Annotated[float, Field(gt=0, lt=1)]]


@config
class Expectations:
    """The configuration file."""

    files: Glob
    baseline: Text
    schema: Table
    dataset: Dataset

    @model_validator(mode="after")
    def _columns_exist(self) -> "Expectations":
        known = list(self.schema.columns)
        faults: dict[Location, str] = {}
        for key, column in self._named_columns():
            if column not in known:
                near = get_close_matches(column, known, n=1, cutoff=0.0)
                text = f"is no column of `schema`: `{column}`; did you mean `{near[0]}`?"
                faults["dataset", *key] = text
        when = self.dataset.months.timestamp
        if when in known and not self.schema.columns[when].dtype.startswith("datetime"):
            faults["dataset", "months", "timestamp"] = f"is no column of times: `{when}`"
        for place, rule in enumerate(self.dataset.repeats):
            if self.dataset.unique not in rule.ignoring:
                key = "dataset", "repeats", place, "ignoring"
                faults[key] = f"must have `{self.dataset.unique}`, which never repeats"
        for place, (one, other) in enumerate(self.dataset.together.pairs):
            if one == other:
                faults["dataset", "together", "pairs", place] = f"must be two columns, not `{one}`"
        if faults:
            raise MisfitError(faults)
        return self

    def _named_columns(self) -> Iterator[tuple[Location, str]]:
        yield ("unique",), self.dataset.unique
        yield ("months", "timestamp"), self.dataset.months.timestamp
        for place, rule in enumerate(self.dataset.repeats):
            for number, column in enumerate(rule.ignoring):
                yield ("repeats", place, "ignoring", number), column
        for place, pair in enumerate(self.dataset.together.pairs):
            for number, column in enumerate(pair):
                yield ("together", "pairs", place, number), column
        for column in self.dataset.max_share_of_a_value:
            yield ("max_share_of_a_value", column), column


def load_expectations(path: Path) -> Expectations:
    """Reads the configuration; raises `ConfigError` with all its faults."""
    return read_config(path, Expectations)


def month_of(name: str, pattern: str) -> datetime | None:
    """Returns the month that the name of a file states, or nothing for another kind of name."""
    try:
        month = datetime.strptime(name, pattern)
    except ValueError:
        return None
    return month if month.strftime(pattern) == name else None


def _present(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}
