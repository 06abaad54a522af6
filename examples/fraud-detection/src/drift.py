"""Compares data with a baseline: what is kept of the baseline, and PSI and KS for each column.

PSI and KS come from SciPy. Libraries for whole drift reports, such as Evidently, compare two
tables; here the reference is a file of statistics, so that it can be reviewed in a pull request.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from scipy.stats import ks_1samp

from model.data import DataError, read_transactions
from psi import population_stability_index

QUANTILES = np.linspace(0.0, 1.0, 201)
PSI_BINS = 10


@dataclass(frozen=True)
class DriftConfig:
    """The configuration file."""

    files: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    max_psi: float
    max_ks: float


@dataclass(frozen=True)
class NumericBaseline:
    """A distribution: counts between inner edges for PSI, quantiles for KS."""

    edges: list[float]
    counts: list[int]
    quantiles: list[float]


@dataclass(frozen=True)
class Baseline:
    """What is known of the data that was accepted."""

    files: list[str]
    rows: int
    numeric: dict[str, NumericBaseline]
    categorical: dict[str, dict[str, int]]

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the baseline file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Baseline":
        """Reads the content of a baseline file."""
        numeric = {name: NumericBaseline(**item) for name, item in content["numeric"].items()}
        return cls(**(content | {"numeric": numeric}))


@dataclass(frozen=True)
class Drift:
    """One column of one file beside the baseline; categories have no KS."""

    file: str
    column: str
    psi: float
    ks: float | None


def load_config(path: Path) -> DriftConfig:
    """Reads the configuration; a missing key is an error."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return DriftConfig(
        files=content["files"],
        numeric=tuple(content["numeric"]),
        categorical=tuple(content["categorical"]),
        max_psi=float(content["limits"]["psi"]),
        max_ks=float(content["limits"]["ks"]),
    )


def read(path: Path) -> pd.DataFrame:
    """Reads a file of transactions, with the columns that drift is looked for in."""
    rows = read_transactions([path])
    return rows.assign(hour=rows["timestamp"].dt.hour + rows["timestamp"].dt.minute / 60.0)


def make_baseline(config: DriftConfig, paths: Sequence[Path]) -> Baseline:
    """Summarizes the files; whatever is not in the result is not compared later."""
    rows = pd.concat([read(path) for path in paths], ignore_index=True)
    return Baseline(
        files=[path.name for path in paths],
        rows=len(rows),
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


def compare(baseline: Baseline, path: Path) -> Iterator[Drift]:
    """Yields the drift of every column of a file."""
    rows = read(path)
    for name, numeric in baseline.numeric.items():
        values = rows[name].to_numpy(np.float64)
        yield Drift(
            path.name,
            name,
            psi=population_stability_index(numeric.counts, _counts(values, numeric.edges)),
            ks=_ks(values, numeric.quantiles),
        )
    for name, known in baseline.categorical.items():
        found = rows[name].astype(str).value_counts()
        categories = sorted(known.keys() | set(found.index))
        psi = population_stability_index(
            [known.get(key, 0) for key in categories],
            [int(found.get(key, 0)) for key in categories],
        )
        yield Drift(path.name, name, psi=psi, ks=None)


def is_too_far(drift: Drift, config: DriftConfig) -> bool:
    """Decides whether a column moved beyond a limit."""
    return drift.psi > config.max_psi or (drift.ks or 0.0) > config.max_ks


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
