"""Columns that depend on each other: in rows that were shuffled or joined wrongly, they do not."""

from collections.abc import Iterator, Sequence
from statistics import median

import pandas as pd
from scipy.stats.contingency import association

from data_file import Fault, File
from expectations import Expectations

TENTHS = 10


def check_relations(expectations: Expectations, files: Sequence[File]) -> Iterator[Fault]:
    """Compares how strongly columns depend on each other with the other files.

    Another rule tells a column with a single value.
    """
    share = expectations.dataset.together.min_of_others
    for one, other in expectations.dataset.together.pairs:
        strengths = {
            file.path: strength(file.content[one], file.content[other])
            for file in files
            if {one, other} <= set(file.frame)
            and file.content[[one, other]].dropna().nunique().min() > 1
        }
        for path, found in strengths.items():
            others = [value for of, value in strengths.items() if of != path]
            if others and found < share * median(others):
                yield Fault(
                    str(path),
                    f"`{one}` and `{other}` depend on each other by {found:.2f},"
                    f" and in the other files by {median(others):.2f} (Cramér's V)",
                    "deliver the file again, with each value in its own row",
                    "dataset.together.min_of_others",
                    f"demands {share * median(others):.2f}",
                )


def strength(one: pd.Series, other: pd.Series) -> float:
    """Returns Cramér's V of two columns that vary: from 0 for independent columns, to 1."""
    table = pd.crosstab(_in_tenths(one), _in_tenths(other))
    return float(association(table.to_numpy(), method="cramer"))


def _in_tenths(values: pd.Series) -> pd.Series:
    """Puts numbers into ten classes of as many rows each, so that other units change nothing."""
    if values.dtype != "float64" or values.nunique() <= TENTHS:
        return values
    return pd.qcut(values, TENTHS, labels=False, duplicates="drop")
