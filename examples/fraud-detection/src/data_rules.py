"""What must be true of the files together: rows, months, freshness, labels and values."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pandas as pd

from data_file import SHOWN, Fault, File, counted, listed
from data_relations import check_relations
from data_repeats import check_repeats, check_unique
from drift_baseline import COMMAND, Baseline
from expectations import NEWEST_FILE, TODAY, Expectations
from model.data import LABEL

A_FEW = 10  # rows in which a value may stand, however small the file is


def check(
    expectations: Expectations, baseline: Baseline, files: Sequence[File], as_of: str
) -> Iterator[Fault]:
    """Yields the faults of all rules; `as_of` is as in the configuration."""
    yield from check_rows(expectations, baseline, files)
    yield from check_months(expectations, baseline, files)
    yield from check_freshness(expectations, files, as_of)
    yield from check_labels(expectations, files)
    yield from check_variety(expectations, files)
    yield from check_piles(expectations, files)
    yield from check_relations(expectations, files)
    yield from check_unique(expectations, files)
    yield from check_repeats(expectations, files)


def check_variety(expectations: Expectations, files: Sequence[File]) -> Iterator[Fault]:
    """Looks for columns that have a single value in a file, and several in another."""
    values = [file.frame.nunique() for file in files]
    varied = set().union(*(found.index[found > 1] for found in values))
    varied -= expectations.dataset.max_share_of_a_value.keys()  # see `check_piles`
    for file, found in zip(files, values, strict=True):
        for name in found.index[(found == 1) & found.index.isin(varied)]:
            if len(file.frame) > 1:
                yield Fault(
                    str(file.path),
                    f"column `{name}`: every row has {file.frame[name].dropna().iloc[0]!r}",
                    "deliver the values; in other files they differ",
                )


def check_piles(expectations: Expectations, files: Sequence[File]) -> Iterator[Fault]:
    """Looks for values in too many rows: those that were cut off at a limit, or filled in."""
    for name, limit in expectations.dataset.max_share_of_a_value.items():
        for file in files:
            values = file.content.get(name, pd.Series([], dtype=str))
            counts = values.value_counts()
            most = int(counts.max()) if len(counts) else 0
            if most > max(limit * len(file.frame), A_FEW):
                text = file.frame[name][values == counts.index[0]].iloc[0]
                yield Fault(
                    str(file.path),
                    f"column `{name}`: {most / len(file.frame):.1%} of the rows have {text!r}",
                    "deliver the values as they were before they were cut off or filled in;"
                    " if so many are right, raise the limit",
                    f"dataset.max_share_of_a_value.{name}",
                    f"allows {limit:.1%}",
                )


def check_rows(
    expectations: Expectations, baseline: Baseline, files: Sequence[File]
) -> Iterator[Fault]:
    """Compares the rows of each file with those of a usual file of the baseline."""
    limits = expectations.dataset.rows_per_file
    usual = baseline.rows_per_file
    low = max(limits.min, math.ceil(limits.min_of_baseline * usual))
    high = math.floor(limits.max_of_baseline * usual)
    for file in files:
        rows = len(file.frame)
        if low <= rows <= high or not file.readable:
            continue
        if rows < low:
            remedy = "deliver the file again, whole"
        else:
            remedy = "look for rows that were delivered twice"
        yield Fault(
            str(file.path),
            f"{rows:,} rows",
            f"{remedy}; if so many rows are usual now, renew the baseline"
            f" with `{COMMAND} {expectations.baseline}`",
            "dataset.rows_per_file",
            f"allows {low:,} to {high:,}, because a usual file of the baseline has {usual:,.0f}",
        )


def check_months(
    expectations: Expectations, baseline: Baseline, files: Sequence[File]
) -> Iterator[Fault]:
    """Looks for months without a file, files without a month, and months with holes."""
    months = expectations.dataset.months
    for file in files:
        if file.month is None:
            yield Fault(
                str(file.path),
                "its name has no month",
                "rename or remove the file",
                "dataset.months.file_name",
                f"demands {months.file_name}",
            )
    dated = sorted((file for file in files if file.month), key=lambda file: file.path.name)
    missing: set[str] = set()
    for before, after in pairwise(dated):
        names = list(_names_between(before, after, months.file_name))
        missing.update(names)
        if names:
            span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
            yield Fault(
                str(after.path),
                f"{counted(len(names), 'month')} missing before it: {span}",
                "deliver the missing files, or correct the date of this file",
                "dataset.months",
                "allows no month without a file",
            )
    present = {file.path.name for file in files}
    for name in sorted(baseline.files.keys() - present - missing):
        yield Fault(
            str(Path(expectations.files).parent / name),
            "the file is missing",
            "deliver it again; if it is gone for good, renew the baseline"
            f" with `{COMMAND} {expectations.baseline}`",
            "baseline",
            f"has it in {expectations.baseline}",
        )
    for file in dated:
        yield from _outside(file)
        yield from _holes(file, months.max_gap_hours, is_newest=file is dated[-1])


def _names_between(before: File, after: File, pattern: str) -> Iterator[str]:
    assert before.month
    assert after.month
    month = _next_month(before.month)
    while month < after.month:
        yield month.strftime(pattern)
        month = _next_month(month)


def _next_month(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)


def _in_month(file: File) -> "pd.Series[bool]":
    assert file.month
    return (file.times >= file.month) & (file.times < _next_month(file.month))


def _outside(file: File) -> Iterator[Fault]:
    """Yields a fault if rows are of other months than the file's name."""
    assert file.month
    outside = file.times[~_in_month(file) & file.times.notna()]
    if len(outside):
        lines = pd.Series(outside.index + 2).astype(str)
        yield Fault(
            str(file.path),
            f"{counted(len(outside), 'row')} of other months,"
            f" from {_minute(outside.min())} to {_minute(outside.max())},"
            f" on line{'s'[: len(outside) != 1]} {listed(lines)}",
            "correct the timestamps at their source, or move the rows to the file of their month",
            "dataset.months.file_name",
            f"demands rows of {file.month:%Y-%m}",
        )


def _holes(file: File, max_hours: float, *, is_newest: bool) -> Iterator[Fault]:
    """Yields the times without a row; how the newest file ends is a matter of freshness."""
    assert file.month
    times = file.times[_in_month(file)].sort_values()
    if times.empty:
        return
    ends = [] if is_newest else [_next_month(file.month)]
    points = [file.month, *times, *ends]
    holes = [
        (start, end) for start, end in pairwise(points) if end - start > timedelta(hours=max_hours)
    ]
    for start, end in holes[:SHOWN]:
        more = f", and {len(holes) - SHOWN} more such times" if len(holes) > SHOWN else ""
        yield Fault(
            str(file.path),
            f"no row for {(end - start) / timedelta(hours=1):,.1f} hours,"
            f" from {_minute(start)} to {_minute(end)}{more}",
            "deliver the file again, whole",
            "dataset.months.max_gap_hours",
            f"allows {max_hours:g}",
        )


def check_freshness(
    expectations: Expectations, files: Sequence[File], as_of: str
) -> Iterator[Fault]:
    """Compares the newest row with the end of the newest file's month, or with a day."""
    limit = expectations.dataset.freshness.max_age_days
    dated = [file for file in files if file.month]
    newest = max(dated, key=lambda file: file.path.name, default=None)
    if newest is None or not _in_month(newest).any():
        return  # other rules say so
    assert newest.month
    if as_of == NEWEST_FILE:
        at, name = _next_month(newest.month), "the end of its month"
    else:
        day = _day(as_of)
        at, name = day + timedelta(days=1), f"the end of {day:%Y-%m-%d}"
        yield from _future(files, day)
    last = newest.times[_in_month(newest)].max()
    age = (at - last) / timedelta(days=1)
    if age > limit:
        yield Fault(
            str(newest.path),
            f"the newest row, of {_minute(last)}, is {age:.1f} days older than {name}",
            "deliver the newest rows",
            "dataset.freshness.max_age_days",
            f"allows {limit:g}",
        )


def _day(as_of: str) -> datetime:
    now = datetime.now(UTC) if as_of == TODAY else datetime.fromisoformat(as_of)
    return now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)


def _future(files: Sequence[File], day: datetime) -> Iterator[Fault]:
    for file in files:
        late = int((file.times >= day + timedelta(days=1)).sum())
        if late:
            yield Fault(
                str(file.path),
                f"{counted(late, 'row')} of the future, up to {_minute(file.times.max())}",
                "correct the timestamps at their source",
                "dataset.freshness.as_of",
                f"is {day:%Y-%m-%d}",
            )


def check_labels(expectations: Expectations, files: Sequence[File]) -> Iterator[Fault]:
    """Checks the share of frauds of each file, and of all."""
    labels = {str(file.path): file.frame[LABEL] for file in files if LABEL in file.frame}
    if not labels:
        return
    limits = expectations.dataset.fraud_share
    # Each file by itself as well: in the whole, a month that lost its labels does not show.
    for name, column in [*labels.items(), ("all files", pd.concat(labels.values()))]:
        share = float((column == "1").mean()) if len(column) else 0.0
        if len(column) and not limits.min <= share <= limits.max:
            yield Fault(
                name,
                f"{share:.2%} of the rows are frauds",
                "deliver the file with its labels, which may be lost, late or swapped",
                "dataset.fraud_share",
                f"allows {limits.min:.2%} to {limits.max:.2%}",
            )


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
