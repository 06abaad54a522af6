"""Draws the drift of every column of every file."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from drift import Drift, DriftConfig, exceeded
from drift_report import Verdict

mpl.use("Agg")  # no display is needed


@dataclass(frozen=True)
class Measure:
    """A map: a column without the measure has neither value nor limit."""

    name: str
    title: str
    digits: int
    unmoved: float  # the value of data that did not move at all
    values: dict[tuple[str, str], float | None]  # by column and file
    limits: dict[str, float | None]


def plot(verdict: Verdict, config: DriftConfig, path: Path) -> None:
    """Writes one map for each measure; figures beyond the limit are bold."""
    columns = list(dict.fromkeys(drift.column for drift in verdict.drifts))
    measures = _measures(verdict, config, columns)
    size = (5.2 * len(measures), 1.8 + 0.45 * len(columns))
    figure = Figure(figsize=size, layout="constrained")
    for axes, measure in zip(figure.subplots(1, len(measures), sharey=True), measures, strict=True):
        _map(axes, measure, verdict, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _measures(verdict: Verdict, config: DriftConfig, columns: list[str]) -> list[Measure]:
    places = {(drift.column, drift.file): drift for drift in verdict.drifts}
    psi: dict[tuple[str, str], float | None] = {it: drift.psi for it, drift in places.items()}
    ks = {it: drift.ks for it, drift in places.items()}
    shares = {it: drift.share.ratio if drift.share else None for it, drift in places.items()}
    ratios = {column: config.max_share_ratio(column) for column in columns}
    title = f"PSI (limit {config.limits.psi:g})"
    measures = [Measure("psi", title, 3, 0.0, psi, {it: config.max_psi(it) for it in columns})]
    title = f"KS distance (limit {config.limits.ks:g})"
    measures.append(Measure("ks", title, 3, 0.0, ks, {it: config.max_ks(it) for it in columns}))
    if known := sorted({ratio for ratio in ratios.values() if ratio}):
        title = f"change of a share, times (limit {', '.join(f'{it:g}' for it in known)})"
        measures.append(Measure("share", title, 2, 1.0, shares, ratios))
    return measures


def _map(axes: Axes, measure: Measure, verdict: Verdict, config: DriftConfig) -> None:
    files = list(dict.fromkeys(drift.file for drift in verdict.drifts))
    columns = list(measure.limits)
    table = np.array(
        [[measure.values[column, file] for file in files] for column in columns], dtype=np.float64
    )
    limits = np.array([[measure.limits[column]] for column in columns], dtype=np.float64)
    shade = (table - measure.unmoved) / (limits - measure.unmoved)
    # Twice the limit is as dark as it gets, so that the limit itself is in the middle.
    axes.imshow(shade, cmap="YlOrRd", vmin=0.0, vmax=2.0, aspect="auto")
    axes.set_title(measure.title)
    names = [Path(file).stem.removeprefix("transactions-") for file in files]
    axes.set_xticks(range(len(files)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(columns)), columns)

    def beyond(drift: Drift) -> bool:
        return measure.name in exceeded(drift, config)

    bold = {(drift.column, drift.file) for drift in verdict.drifts if beyond(drift)}
    accepted = {(drift.column, drift.file) for drift, _ in verdict.accepted if beyond(drift)}
    for (row, column), value in np.ndenumerate(table):
        place = columns[row], files[column]
        text = "-" if np.isnan(value) else f"{value:.{measure.digits}f}"
        weight = "bold" if place in bold else "normal"
        color = "white" if shade[row, column] > 1.5 else "black"  # to be read on the darkest fields
        axes.text(
            column, row, text, ha="center", va="center", fontsize=9, fontweight=weight, color=color
        )
        if place in accepted:
            axes.text(
                column, row + 0.34, "accepted", ha="center", va="center", fontsize=7, color=color
            )
