"""Compares a challenger with the champion: quality, slices, calibration, size and latency.

The samples of the bootstrap are drawn by account and are the same for both models, so what both
find easy or hard falls out of the difference.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from model.classifier import Classifier
from model.data import LABEL
from model.evaluate import evaluate
from strict_config import config

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]

BATCH = 20  # payments of a request
BATCHES = 60
BINS = 10

Share = Annotated[float, Field(gt=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


@config
class HeldOut:
    """The payments that both models are asked about."""

    directory: Annotated[str, Field(min_length=1)]
    fraction: Share
    min_frauds: Annotated[int, Field(ge=1)]


@config
class Bootstrap:
    """How the interval of a difference is found."""

    resamples: Annotated[int, Field(ge=100, le=100_000)]
    seed: Annotated[int, Field(ge=0)]
    confidence: Share


@config
class Drop:
    """How much lower the challenger may be, as measured and at the interval's lower end."""

    max_drop: BelowOne
    max_plausible_drop: BelowOne


@config
class Loss:
    """How much lower the challenger may be."""

    max_drop: BelowOne


@config
class Increase:
    """How much higher the challenger may be."""

    max_increase: NotNegative


@config
class Size:
    """How much larger the challenger may be."""

    max_ratio: Annotated[float, Field(ge=1)]
    slack_bytes: Annotated[int, Field(ge=0)]


@config
class Latency:
    """How much slower the challenger may be."""

    max_ratio: Annotated[float, Field(ge=1)]
    slack_ms: NotNegative


@config
class Limits:
    """What the challenger has to keep to as a whole."""

    average_precision: Drop
    recall: Loss
    precision: Loss
    brier_score: Increase
    calibration_error: Increase
    size: Size
    latency: Latency


@config
class Slices:
    """Which groups of payments are looked at by themselves."""

    columns: list[Literal["country", "channel", "merchant_category"]]
    min_rows: Annotated[int, Field(ge=1)]
    min_frauds: Annotated[int, Field(ge=1)]
    max_drop: BelowOne


@config
class PromotionConfig:
    """The whole file."""

    held_out: HeldOut
    bootstrap: Bootstrap
    limits: Limits
    slices: Slices


@dataclass(frozen=True)
class Candidate:
    """A model and its scores of the held-out payments; one of other code has only the latter."""

    directory: Path
    scores: Floats
    threshold: float
    classifier: Classifier | None = None

    @cached_property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Check:
    """A row of the verdict. `key` is where the configuration has the limit."""

    name: str
    champion: float
    challenger: float
    limit: str
    key: str
    passed: bool
    interval: tuple[float, float] | None = None
    unit: str = ""

    @property
    def difference(self) -> float:
        """Challenger minus champion."""
        return self.challenger - self.champion


class Ranking:
    """The average precision of fixed scores for many weights of their rows at once."""

    def __init__(self, labels: Labels, scores: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        # Rows of equal score are flagged together.
        self._ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
        self._labels = labels[self._order].astype(np.float64)

    def average_precision(self, weights: Floats) -> Floats:
        """Returns a figure for each line of `weights`; without frauds it is not a number."""
        weights = weights[:, self._order]
        flagged = np.cumsum(weights, axis=1)[:, self._ends]
        found = np.cumsum(weights * self._labels, axis=1)[:, self._ends]
        precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
        frauds = found[:, -1:]
        recall = np.divide(found, frauds, out=np.full_like(found, np.nan), where=frauds > 0)
        gained = np.diff(recall, axis=1, prepend=0.0)
        return np.asarray((precision * gained).sum(axis=1))


def calibration_error(labels: Labels, scores: Floats) -> float:
    """Returns the mean distance of scores and frauds over bins of equally many payments."""
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, min(BINS, len(order)))
    return float(sum(abs(scores[p].mean() - labels[p].mean()) * len(p) for p in parts) / len(order))


class Comparison:
    """All checks of a challenger beside the champion, on the same rows."""

    def __init__(
        self,
        settings: PromotionConfig,
        rows: pd.DataFrame,
        features: pd.DataFrame,
        champion: Candidate,
        challenger: Candidate,
    ) -> None:
        self._settings = settings
        self._rows = rows
        self._features = features
        self._champion = champion
        self._challenger = challenger
        self._labels: Labels = rows[LABEL].to_numpy().astype(np.int8)
        self._weights = _samples(rows["account_id"], settings.bootstrap)
        self.too_small: list[str] = []

    def checks(self) -> Iterator[Check]:
        """Yields the rows of the verdict."""
        yield from self._quality()
        yield from self._alerts()
        yield from self._calibration()
        yield from self._slices()
        yield self._size()
        if latency := self._latency():
            yield latency

    def _quality(self) -> Iterator[Check]:
        limit = self._settings.limits.average_precision
        before, after, interval = self._average_precision(np.ones(len(self._labels), bool))
        yield Check(
            "average precision",
            before,
            after,
            f"at least {-limit.max_drop:+g}",
            "limits.average_precision.max_drop",
            passed=after - before >= -limit.max_drop,
            interval=interval,
        )
        yield Check(
            "average precision, lower end",
            before,
            before + interval[0],
            f"at least {-limit.max_plausible_drop:+g}",
            "limits.average_precision.max_plausible_drop",
            passed=interval[0] >= -limit.max_plausible_drop,
        )

    def _alerts(self) -> Iterator[Check]:
        """Yields what the review team would feel: each model's alerts at its own threshold."""
        limits = self._settings.limits
        old, new = (
            evaluate(self._labels, model.scores, model.threshold)
            for model in (self._champion, self._challenger)
        )
        for name, before, after, limit in (
            ("recall", old.recall, new.recall, limits.recall),
            ("precision", old.precision, new.precision, limits.precision),
        ):
            yield Check(
                f"{name} of the alerts",
                before,
                after,
                f"at least {-limit.max_drop:+g}",
                f"limits.{name}.max_drop",
                passed=after - before >= -limit.max_drop,
            )

    def _calibration(self) -> Iterator[Check]:
        limits = self._settings.limits
        measures: tuple[tuple[str, Callable[[Labels, Floats], float], Increase, str], ...] = (
            ("Brier score", _brier_score, limits.brier_score, "brier_score"),
            ("calibration error", calibration_error, limits.calibration_error, "calibration_error"),
        )
        for name, measure, limit, key in measures:
            before = measure(self._labels, self._champion.scores)
            after = measure(self._labels, self._challenger.scores)
            yield Check(
                name,
                before,
                after,
                f"at most {limit.max_increase:+g}",
                f"limits.{key}.max_increase",
                passed=after - before <= limit.max_increase,
            )

    def _slices(self) -> Iterator[Check]:
        settings = self._settings.slices
        for column in settings.columns:
            values = self._rows[column].to_numpy()
            for value in sorted(set(values)):
                within = values == value
                frauds = int(self._labels[within].sum())
                if within.sum() < settings.min_rows or frauds < settings.min_frauds:
                    self.too_small.append(f"{column} {value} ({within.sum()}, {frauds})")
                    continue
                before, after, interval = self._average_precision(within)
                yield Check(
                    f"average precision, {column} {value}",
                    before,
                    after,
                    f"at least {-settings.max_drop:+g}, unless the interval reaches 0",
                    "slices.max_drop",
                    passed=after - before >= -settings.max_drop or interval[1] >= 0,
                    interval=interval,
                )

    def _size(self) -> Check:
        limit = self._settings.limits.size
        before, after = self._champion.size, self._challenger.size
        most = max(before * limit.max_ratio, limit.slack_bytes)
        return Check(
            "size of the files",
            before / 1000,
            after / 1000,
            f"at most {most / 1000:,.0f} kB",
            "limits.size",
            passed=after <= most,
            unit=" kB",
        )

    def _latency(self) -> Check | None:
        old, new = self._champion.classifier, self._challenger.classifier
        if old is None or new is None:
            return None
        limit = self._settings.limits.latency
        before, after = _latencies(old, new, self._features)
        most = max(before * limit.max_ratio, limit.slack_ms)
        return Check(
            f"latency of {BATCH} payments",
            before,
            after,
            f"at most {most:.1f} ms",
            "limits.latency",
            passed=after <= most,
            unit=" ms",
        )

    def _average_precision(
        self, within: npt.NDArray[np.bool_]
    ) -> tuple[float, float, tuple[float, float]]:
        """Returns the figures of both models, and the interval of their difference."""
        # The first line of weights is the sample itself.
        weights = self._weights[:, within]
        before, after = (
            Ranking(self._labels[within], model.scores[within]).average_precision(weights)
            for model in (self._champion, self._challenger)
        )
        tail = (1.0 - self._settings.bootstrap.confidence) / 2
        low, high = np.nanquantile((after - before)[1:], [tail, 1.0 - tail])
        return float(before[0]), float(after[0]), (float(low), float(high))


def _samples(accounts: "pd.Series[str]", settings: Bootstrap) -> Floats:
    """Returns how often each row counts: once in the first line, then in each resample."""
    codes, names = pd.factorize(accounts)
    draws = np.random.default_rng(settings.seed).multinomial(
        len(names), np.full(len(names), 1.0 / len(names)), size=settings.resamples
    )
    return np.vstack([np.ones((1, len(codes))), draws[:, codes].astype(np.float64)])


def _brier_score(labels: Labels, scores: Floats) -> float:
    return float(np.mean((scores - labels) ** 2))


def _latencies(old: Classifier, new: Classifier, features: pd.DataFrame) -> tuple[float, float]:
    """Returns medians in milliseconds; measured in turns, so that a busy moment meets both."""
    spent: tuple[list[float], list[float]] = ([], [])
    for batch in range(BATCHES):
        first = batch * BATCH % max(1, len(features) - BATCH)
        rows = features.iloc[first : first + BATCH]
        for times, model in zip(spent, (old, new), strict=True):
            started = time.perf_counter()
            model.predict_proba(rows)
            times.append((time.perf_counter() - started) * 1000)
    return float(np.median(spent[0])), float(np.median(spent[1]))
