"""Judges a canary by what it and the stable version have exported."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import chi2

from psi import population_stability_index
from serving.metrics import LATENCY, MODEL, REQUESTS, SCORES


@dataclass(frozen=True)
class Limits:
    """How much worse a canary may be."""

    error_rate: float  # added to that of the stable version
    slowdown: float  # factor on its 95th percentile of the latency …
    slack_seconds: float  # … beyond this, below which a difference is noise
    score_psi: float
    min_requests: int
    min_scores: int
    accepts_shift: bool = False  # somebody has said why the scores should move

    def latency(self, stable: "Observed") -> float:
        """Returns the largest 95th percentile of the latency, in seconds."""
        return max(stable.p95 * self.slowdown, stable.p95 + self.slack_seconds)


@dataclass(frozen=True)
class Observed:
    """Counts of one or several processes of one version."""

    statuses: Counter[str] = field(default_factory=Counter)
    latency: Counter[float] = field(default_factory=Counter)  # by bucket's upper bound
    scores: Counter[float] = field(default_factory=Counter)
    manifests: frozenset[str] = frozenset()

    @property
    def requests(self) -> int:
        """Returns the number of answered requests."""
        return self.statuses.total()

    @property
    def error_rate(self) -> float:
        """Returns the share of answers that are no prediction, whoever is to blame.

        Both versions get the same requests: one that refuses more of them with 4xx does worse.
        """
        errors = sum(n for status, n in self.statuses.items() if not status.startswith("2"))
        return errors / self.requests if self.requests else 0.0

    @property
    def scored(self) -> int:
        """Returns the number of scores."""
        return self.scores.total()

    @property
    def p95(self) -> float:
        """Returns the 95th percentile of the latency, as Prometheus estimates it."""
        wanted = 0.95 * self.latency.total()
        lower, below = 0.0, 0
        for bound in sorted(self.latency):
            inside = self.latency[bound]
            if inside and below + inside >= wanted:
                if math.isinf(bound):
                    break
                return lower + (bound - lower) * (wanted - below) / inside
            lower, below = bound, below + inside
        return lower

    def since(self, earlier: "Observed") -> "Observed":
        """Returns what was added after `earlier`; a process that began anew counts from there."""
        if any(self.statuses[status] < n for status, n in earlier.statuses.items()):
            return self
        return Observed(
            self.statuses - earlier.statuses,
            self.latency - earlier.latency,
            self.scores - earlier.scores,
            self.manifests,
        )


def observe(exports: Iterable[str]) -> Observed:
    """Adds up what processes exported in Prometheus' text format."""
    total = Observed()
    manifests: set[str] = set()
    for text in exports:
        cumulative: dict[str, dict[float, int]] = {LATENCY: {}, SCORES: {}}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == MODEL:
                    manifests.add(sample.labels["manifest"])
                elif sample.name == f"{REQUESTS}_total":
                    total.statuses[sample.labels["status"]] += int(sample.value)
                elif sample.name in (f"{LATENCY}_bucket", f"{SCORES}_bucket"):
                    bound = float(sample.labels["le"])
                    cumulative[sample.name.removesuffix("_bucket")][bound] = int(sample.value)
        total.latency.update(_separate(cumulative[LATENCY]))
        total.scores.update(_separate(cumulative[SCORES]))
    return replace(total, manifests=frozenset(manifests))


def _separate(cumulative: dict[float, int]) -> dict[float, int]:
    """Turns counts of "at most this" into counts of each bucket."""
    counts, below = {}, 0
    for bound in sorted(cumulative):
        counts[bound] = cumulative[bound] - below
        below = cumulative[bound]
    return counts


def requests_to_judge(error_rate: float) -> int:
    """Returns how many requests it takes to judge a limit of the error rate.

    A healthy service has an error now and then. Among fewer requests than 1 / limit that one error
    would already be a refusal; among twice as many it is half of the limit, and it takes three.
    """
    return math.ceil(2 / error_rate)


def compare(stable: Observed | None, canary: Observed, limits: Limits) -> list[str]:
    """Returns why the canary must not go on; nothing when it may.

    Without a stable version, at the first deployment, only the error rate and the number of scores
    are judged. Too few requests or scores are a reason as well: silence is no sign of health.
    """
    faults = [
        f"{name} needs {limits.min_requests} requests to judge a threshold of"
        f" {limits.error_rate * 100:g}%, has {observed.requests}"
        for name, observed in (("canary", canary), ("stable", stable))
        if observed and observed.requests < limits.min_requests
    ]
    if faults:
        return faults
    base = stable.error_rate if stable else 0.0
    if canary.error_rate - base > limits.error_rate:
        faults.append(
            f"error rate {canary.error_rate:.2%} against {base:.2%},"
            f" more than {limits.error_rate:.2%} worse"
        )
    unscored = [
        f"{name} gave {observed.scored} scores, fewer than {limits.min_scores}"
        for name, observed in (("canary", canary), ("stable", stable))
        if observed and observed.scored < limits.min_scores
    ]
    faults += unscored
    if stable is None:
        return faults
    allowed = limits.latency(stable)
    if canary.p95 > allowed:
        faults.append(
            f"95th percentile of the latency {canary.p95 * 1000:.0f} ms"
            f" against {stable.p95 * 1000:.0f} ms, more than {allowed * 1000:.0f} ms"
        )
    if not unscored and not limits.accepts_shift and (moved := score_fault(stable, canary, limits)):
        faults.append(moved)
    return faults


def score_fault(stable: Observed, canary: Observed, limits: Limits) -> str | None:
    """Returns how far the scores moved, if that is more than they may."""
    shift, chance = score_shift(stable, canary)
    if shift <= max(limits.score_psi, chance):
        return None
    return (
        f"scores moved by a PSI of {shift:.2f}, more than {limits.score_psi:g}"
        f" and than the {chance:.2f} that may be chance"
    )


def fails_already(stable: Observed | None, canary: Observed, limits: Limits) -> bool:
    """Returns whether the errors alone condemn the canary, so that nobody has to wait longer."""
    seen = [canary, stable] if stable else [canary]
    base = stable.error_rate if stable else 0.0
    return (
        all(observed.requests >= limits.min_requests for observed in seen)
        and canary.error_rate - base > limits.error_rate
    )


def score_shift(stable: Observed, canary: Observed) -> tuple[float, float]:
    """Returns the PSI between the distributions of scores, and how large chance makes it.

    For equal distributions the PSI follows a chi-squared distribution, scaled by the numbers of
    scores; its 99th percentile matters where a canary has answered few requests.
    """
    bounds = sorted(stable.scores.keys() | canary.scores.keys())
    counts = [[observed.scores[bound] for bound in bounds] for observed in (stable, canary)]
    scores = [max(sum(count), 1) for count in counts]
    chance = float(chi2.ppf(0.99, len(bounds) - 1)) * sum(1 / n for n in scores)
    return population_stability_index(*counts), chance
