"""Measures a model the way its users feel it: what a limited number of alerts finds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """Figures of one period; all but the counts are rounded to six digits."""

    rows: int
    frauds: int
    average_precision: float
    roc_auc: float
    brier_score: float
    alert_rate: float
    precision: float
    recall: float


def threshold_for_alert_rate(scores: Floats, rate: float) -> float:
    """Returns the score from which on about the share `rate` of `scores` lies."""
    return round(float(np.quantile(scores, 1.0 - rate)), 6)


def evaluate(labels: npt.NDArray[np.int8], scores: Floats, threshold: float) -> Metrics:
    """Compares scores with labels; alerts are the scores of at least `threshold`."""
    alerts = scores >= threshold
    return Metrics(
        rows=len(labels),
        frauds=int(labels.sum()),
        average_precision=_rounded(average_precision_score(labels, scores)),
        roc_auc=_rounded(roc_auc_score(labels, scores)),
        brier_score=_rounded(brier_score_loss(labels, scores)),
        alert_rate=_rounded(alerts.mean()),
        precision=_rounded(precision_score(labels, alerts, zero_division=0.0)),
        recall=_rounded(recall_score(labels, alerts)),
    )


def _rounded(value: float) -> float:
    return round(float(value), 6)
