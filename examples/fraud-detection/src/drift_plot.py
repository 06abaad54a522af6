"""Draws the drift of every column of every file."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from drift import Drift, DriftConfig

mpl.use("Agg")  # no display is needed


def plot(drifts: Sequence[Drift], config: DriftConfig, path: Path) -> None:
    """Writes one map for PSI and one for KS; figures beyond the limit are bold."""
    files = list(dict.fromkeys(drift.file for drift in drifts))
    columns = list(dict.fromkeys(drift.column for drift in drifts))
    figure = Figure(figsize=(12, 1.8 + 0.45 * len(columns)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    psi = {(drift.column, drift.file): drift.psi for drift in drifts}
    ks = {(drift.column, drift.file): drift.ks for drift in drifts}
    _map(left, f"PSI (limit {config.max_psi:g})", files, columns, psi, config.max_psi)
    _map(right, f"KS distance (limit {config.max_ks:g})", files, columns, ks, config.max_ks)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _map(
    axes: Axes,
    title: str,
    files: list[str],
    columns: list[str],
    values: dict[tuple[str, str], float] | dict[tuple[str, str], float | None],
    limit: float,
) -> None:
    table = np.array(
        [[values[column, file] for file in files] for column in columns], dtype=np.float64
    )
    # Twice the limit is as dark as it gets, so that the limit itself is in the middle.
    axes.imshow(table / limit, cmap="YlOrRd", vmin=0.0, vmax=2.0, aspect="auto")
    axes.set_title(title)
    names = [file.removesuffix(".csv").removeprefix("transactions-") for file in files]
    axes.set_xticks(range(len(files)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(columns)), columns)
    for (row, column), value in np.ndenumerate(table):
        text = "-" if np.isnan(value) else f"{value:.3f}"
        weight = "bold" if value > limit else "normal"
        color = "white" if value > 1.5 * limit else "black"  # to be read on the darkest fields
        axes.text(
            column, row, text, ha="center", va="center", fontsize=9, fontweight=weight, color=color
        )
