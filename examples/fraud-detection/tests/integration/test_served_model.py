"""The served model answers exactly as the model itself predicts, through everything in between."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pandas as pd
import pytest

from model.artifact import load_model
from model.features import build_features
from replay_traffic import requests_from

PAYMENTS = 40


@pytest.fixture(scope="module")
def server(base_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=base_url, timeout=30.0) as client:
        yield client


def test_answers_are_those_of_the_model(
    server: httpx2.Client, model_dir: Path, transactions: pd.DataFrame
) -> None:
    pipeline, threshold = load_model(model_dir)
    for body in requests_from(transactions, PAYMENTS):
        answer = server.post("/predict", json=body)
        assert answer.status_code == 200
        (prediction,) = answer.json()["predictions"]

        rows = pd.DataFrame([*body["history"], *body["payments"]])
        rows["timestamp"] = pd.to_datetime(rows["timestamp"])
        expected = float(pipeline.predict_proba(build_features(rows))[-1, 1])
        assert prediction["score"] == pytest.approx(expected, abs=1e-12)
        assert prediction["alert"] == (expected >= threshold)


def test_a_batch_is_answered_as_its_payments_are(
    server: httpx2.Client, transactions: pd.DataFrame
) -> None:
    bodies = list(requests_from(transactions, PAYMENTS))
    last = {body["payments"][0]["account_id"]: body for body in bodies}
    single = [server.post("/predict", json=body).json()["predictions"][0] for body in last.values()]
    batch = server.post(
        "/predict",
        json={
            "payments": [body["payments"][0] for body in last.values()],
            "history": [payment for body in last.values() for payment in body["history"]],
        },
    )
    assert batch.json()["predictions"] == single
