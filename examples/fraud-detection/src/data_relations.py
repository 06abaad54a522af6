"""Columns that depend on each other: in rows that were shuffled or joined wrongly, they do not."""

import math
from collections.abc import Iterator, Sequence
from statistics import median

import pandas as pd
from scipy.stats import chi2_contingency

from data_file import Fault, File
from expectations import Expectations

TENTHS = 10


def check_relations(expectations: Expectations, files: Sequence[File]) -> Iterator[Fault]:
    """Compares each pair of columns of a file with the same pair in the other files.

    Other rules tell columns that are missing, and columns with a single value.
    """
    share = expectations.dataset.together.min_of_others
    for one, other in expectations.dataset.together.pairs:
        pairs = {
            file.path: file.content[[one, other]].dropna()
            for file in files
            if {one, other} <= set(file.frame)
        }
        varied = {path: pair for path, pair in pairs.items() if pair.nunique().min() > 1}
        strengths = {path: strength(pair) for path, pair in varied.items()}
        for path, found in strengths.items():
            others = [value for of, value in strengths.items() if of != path]
            if others and found < share * median(others):
                yield Fault(
                    str(path),
                    f"`{one}` and `{other}` depend on each other by {found:.2f},"
                    f" and in the other files by {median(others):.2f} (Cramér's V)",
                    "look for values that were shuffled or joined to other rows; if the columns"
                    " are independent now, remove the pair",
                    "dataset.together.min_of_others",
                    f"demands {share:g} of that",
                )


def strength(pair: pd.DataFrame) -> float:
    """Returns Cramér's V of two columns: 0 if they are independent, 1 if one tells the other.

    In a small sample, columns seem to depend on each other by chance. The correction for that is
    of W. Bergsma, "A bias-correction for Cramér's V and Tschuprow's T", 2013.
    """
    one, other = (_in_tenths(pair[name]) for name in pair.columns)
    table = pd.crosstab(one, other).to_numpy()
    rows, (height, width) = len(pair), table.shape
    by_chance = (height - 1) * (width - 1) / (rows - 1)
    found = chi2_contingency(table, correction=False).statistic / rows - by_chance
    freedom = min(side - 1 - (side - 1) ** 2 / (rows - 1) for side in (height, width))
    return math.sqrt(max(0.0, found) / freedom) if freedom > 0 else 0.0


def _in_tenths(values: pd.Series) -> pd.Series:
    """Puts numbers into ten classes by their rank, so that other units change nothing."""
    if values.dtype != "float64" or values.nunique() <= TENTHS:
        return values
    return (values.rank(pct=True) * TENTHS).map(math.ceil)
