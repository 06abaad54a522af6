"""Scores requests with a model directory, through the very code that computed its features."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from model.artifact import load_model
from model.data import COLUMNS, LABEL
from model.features import build_features
from serving.schemas import Payment, Prediction, PredictRequest

TYPES = {name: kind for name, kind in COLUMNS.items() if name != LABEL}


class Scorer:
    """A loaded model."""

    def __init__(self, model_dir: Path) -> None:
        self._classifier, self._threshold = load_model(model_dir)

    def predict(self, request: PredictRequest) -> list[Prediction]:
        """Returns the scores in the order of the request's payments."""
        rows = [*request.history, *request.payments]
        # Equal times are ordered by transaction, as in training.
        order = sorted(range(len(rows)), key=lambda n: (rows[n].timestamp, rows[n].transaction_id))
        # By columns: from rows, pandas takes twice as long.
        frame = pd.DataFrame(
            {
                name: pd.Series([getattr(rows[n], name) for n in order], dtype=kind).array
                for name, kind in TYPES.items()
            }
        )
        features = build_features(frame).set_axis(order)
        wanted = features.loc[list(range(len(request.history), len(rows)))]
        scores = self._classifier.predict_proba(wanted)[:, 1]
        return [
            Prediction(
                transaction_id=payment.transaction_id,
                score=float(score),
                alert=bool(score >= self._threshold),
            )
            for payment, score in zip(request.payments, scores, strict=True)
        ]


def warm_up_request() -> PredictRequest:
    """Returns a request that any usable model can answer."""
    payment = Payment(
        transaction_id=1,
        timestamp=datetime(2024, 1, 1, 12, tzinfo=UTC),
        account_id="A0001",
        account_age_days=100,
        merchant_category="grocery",
        amount=20.0,
        country="DE",
        channel="chip",
    )
    return PredictRequest(payments=[payment])
