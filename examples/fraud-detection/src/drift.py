"""Compares data with a baseline: PSI, KS and the shares of rare values, for each column.

PSI and KS come from SciPy. Libraries for whole drift reports, such as Evidently, compare two
tables; here the reference is a file of statistics, so that it can be reviewed in a pull request.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import AfterValidator, Field, model_validator
from scipy.stats import binomtest, ks_1samp

from drift_baseline import Baseline, NumericBaseline
from model.data import COLUMNS, DataError, read_transactions
from psi import population_stability_index
from strict_config import Glob, Location, MisfitError, config, read_config

DEFAULT_CONFIG = Path("configs/drift.yaml")
QUANTILES = np.linspace(0.0, 1.0, 201)
PSI_BINS = 10
DERIVED = ("hour",)  # see `read`


def known_column(name: str) -> str:
    """Returns the name of a column that drift can be looked for in."""
    known = [*COLUMNS, *DERIVED]
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.0)
        raise ValueError(f"is no column of the data: `{name}`; did you mean `{near[0]}`?")
    return name


Column = Annotated[str, AfterValidator(known_column)]
Limit = Annotated[float, Field(gt=0)]
Distance = Annotated[float, Field(gt=0, lt=1)]


@config
class ColumnLimits:
    """What counts for a column instead of the limits of all."""

    psi: Limit | None = None
    ks: Distance | None = None
    share_ratio: Annotated[float, Field(gt=1)] | None = None


@config
class Limits:
    """How far each file may be away from the baseline."""

    psi: Limit
    ks: Distance
    chance: Annotated[float, Field(gt=0, lt=1)]
    columns: dict[str, ColumnLimits] = Field(default_factory=dict)


@config
class DriftConfig:
    """The configuration file."""

    files: Glob
    numeric: list[Column]
    categorical: list[Column]
    limits: Limits

    @model_validator(mode="after")
    def _limits_are_of_compared_columns(self) -> "DriftConfig":
        compared = [*self.numeric, *self.categorical]
        faults: dict[Location, str] = {}
        for place, name in enumerate(self.numeric):
            if COLUMNS.get(name) == "str":
                faults["numeric", place] = f"is no column of numbers: `{name}`"
        for name, limits in self.limits.columns.items():
            key = "limits", "columns", name
            if name not in compared:
                near = get_close_matches(name, compared, n=1, cutoff=0.0)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                faults[key] = f"is no column of `numeric` or `categorical`{hint}"
            elif name in self.categorical and limits.ks is not None:
                faults[*key, "ks"] = "is for columns of `numeric`: categories have no `ks`"
            elif name in self.numeric and limits.share_ratio is not None:
                faults[*key, "share_ratio"] = "is for columns of `categorical`"
        if faults:
            raise MisfitError(faults)
        return self

    def max_psi(self, column: str) -> float:
        """Returns the limit of a column."""
        own = self.limits.columns.get(column)
        return self.limits.psi if own is None or own.psi is None else own.psi

    def max_ks(self, column: str) -> float:
        """Returns the limit of a column."""
        own = self.limits.columns.get(column)
        return self.limits.ks if own is None or own.ks is None else own.ks

    def max_share_ratio(self, column: str) -> float | None:
        """Returns the limit of a column, if its shares have one."""
        own = self.limits.columns.get(column)
        return None if own is None else own.share_ratio


@dataclass(frozen=True)
class Share:
    """The value of a column whose share moved by the largest factor."""

    value: str
    found: float
    expected: float
    ratio: float  # at least 1, whether the share grew or shrank
    chance: float  # how often a sample of the baseline differs as much

    def text(self) -> str:
        """Returns the share beside that of the baseline."""
        change = "times" if self.found >= self.expected else "times less than"
        return (
            f"share of `{self.value}` {self.found:.2%}, which is"
            f" {self.ratio:.2f} {change} the baseline's {self.expected:.2%}"
        )


@dataclass(frozen=True)
class Drift:
    """One column of one file beside the baseline.

    Only numbers have KS; only categories that have a limit for it have a share.
    """

    file: str
    column: str
    psi: float
    ks: float | None = None
    share: Share | None = None


def load_config(path: Path) -> DriftConfig:
    """Reads the configuration; raises `ConfigError` with all its faults."""
    return read_config(path, DriftConfig)


def read(path: Path) -> pd.DataFrame:
    """Reads a file of transactions, with the columns that drift is looked for in."""
    rows = read_transactions([path])
    return rows.assign(hour=rows["timestamp"].dt.hour + rows["timestamp"].dt.minute / 60.0)


def make_baseline(config: DriftConfig, paths: Sequence[Path]) -> Baseline:
    """Summarizes the files; whatever is not in the result is not compared later."""
    frames = {path.name: read(path) for path in paths}
    rows = pd.concat(frames.values(), ignore_index=True)
    return Baseline(
        files={name: len(frame) for name, frame in frames.items()},
        numeric={name: _numeric(rows[name].to_numpy(np.float64)) for name in config.numeric},
        categorical={
            name: {str(key): int(n) for key, n in rows[name].value_counts(sort=False).items()}
            for name in config.categorical
        },
    )


def check_columns(config: DriftConfig, baseline: Baseline) -> None:
    """Raises DataError unless the baseline is of the configured columns.

    A column that it lacks would not be compared, and no drift of it would ever be found.
    """
    for kind, wanted, known in (
        ("numeric", config.numeric, baseline.numeric),
        ("categorical", config.categorical, baseline.categorical),
    ):
        if set(wanted) != set(known):
            raise DataError(
                f"the baseline has the {kind} columns {', '.join(sorted(known))}, and the"
                f" configuration {', '.join(sorted(wanted))}; run src/make_baseline.py"
            )


def compare(config: DriftConfig, baseline: Baseline, path: Path) -> Iterator[Drift]:
    """Yields the drift of every column of a file; raises DataError if it cannot be used."""
    rows = read(path)
    if rows.empty:
        raise DataError(f"`{path}` has no rows")
    for name, numeric in baseline.numeric.items():
        values = rows[name].to_numpy(np.float64)
        yield Drift(
            path.as_posix(),
            name,
            psi=population_stability_index(numeric.counts, _counts(values, numeric.edges)),
            ks=_ks(values, numeric.quantiles),
        )
    for name, known in baseline.categorical.items():
        counts = rows[name].astype(str).value_counts()
        found = {str(key): int(n) for key, n in counts.items()}
        categories = sorted(known.keys() | found.keys())
        psi = population_stability_index(
            [known.get(key, 0) for key in categories],
            [found.get(key, 0) for key in categories],
        )
        share = None
        if config.max_share_ratio(name):
            share = largest_share(known, found, config.limits.chance)
        yield Drift(path.as_posix(), name, psi=psi, share=share)


def largest_share(known: Mapping[str, int], found: Mapping[str, int], chance: float) -> Share:
    """Returns the value whose share moved by the largest factor, and hardly by chance.

    Of a rare value, PSI sees little: frauds that go from 2 % to 12 % of the rows are 0.19.
    Half an observation in either sample keeps a new value from being infinitely surprising.
    """
    before, now = sum(known.values()), sum(found.values())
    shares = []
    for value in sorted(known.keys() | found.keys()):
        expected = (known.get(value, 0) + 0.5) / (before + 1)
        share = (found.get(value, 0) + 0.5) / (now + 1)
        shares.append(
            Share(
                value,
                found=found.get(value, 0) / now,
                expected=known.get(value, 0) / before,
                ratio=max(share / expected, expected / share),
                chance=float(binomtest(found.get(value, 0), now, expected).pvalue),
            )
        )
    return max(shares, key=lambda share: (share.chance < chance, share.ratio))


def exceeded(drift: Drift, config: DriftConfig) -> list[str]:
    """Returns the measures that moved beyond their limits: of `psi`, `ks` and `share`."""
    beyond = []
    if drift.psi > config.max_psi(drift.column):
        beyond.append("psi")
    if drift.ks is not None and drift.ks > config.max_ks(drift.column):
        beyond.append("ks")
    ratio = config.max_share_ratio(drift.column)
    if drift.share and ratio and drift.share.ratio > ratio:
        # By chance alone, the share of a rare value in a small file moves far.
        beyond += ["share"] if drift.share.chance < config.limits.chance else []
    return beyond


def is_too_far(drift: Drift, config: DriftConfig) -> bool:
    """Decides whether a column moved beyond a limit."""
    return bool(exceeded(drift, config))


def _numeric(values: npt.NDArray[np.float64]) -> NumericBaseline:
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, PSI_BINS + 1)[1:-1])).tolist()
    return NumericBaseline(
        edges=edges,
        counts=_counts(values, edges),
        quantiles=np.round(np.quantile(values, QUANTILES), 4).tolist(),
    )


def _counts(values: npt.NDArray[np.float64], edges: Sequence[float]) -> list[int]:
    bins = np.searchsorted(edges, values, side="right")
    return [int(count) for count in np.bincount(bins, minlength=len(edges) + 1)]


def _ks(values: npt.NDArray[np.float64], quantiles: Sequence[float]) -> float:
    """Returns the largest distance to the distribution with these quantiles."""
    # Of equal quantiles the last counts: a distribution function includes its own point.
    points, first = np.unique(np.asarray(quantiles)[::-1], return_index=True)
    shares = QUANTILES[::-1][first]
    return float(ks_1samp(values, lambda x: np.interp(x, points, shares)).statistic)
