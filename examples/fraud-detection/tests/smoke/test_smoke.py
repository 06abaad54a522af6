"""A first look at a deployed server: it is up, it is the model that was meant, it answers.

BASE_URL or --base-url says where it is, and EXPECTED_MANIFEST which model it must be; if that is
empty, it may be any.
"""

import os
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

PAYMENT: dict[str, Any] = {
    "transaction_id": 1,
    "timestamp": "2024-06-30T12:00:00Z",
    "account_id": "A0001",
    "account_age_days": 400,
    "merchant_category": "grocery",
    "amount": 23.5,
    "country": "DE",
    "channel": "chip",
}


@pytest.fixture(scope="module")
def server(base_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=base_url, timeout=30.0) as client:
        yield client


def test_it_is_ready(server: httpx2.Client) -> None:
    assert server.get("/healthz").status_code == 200
    assert server.get("/readyz").status_code == 200


def test_it_serves_the_model_that_was_deployed(server: httpx2.Client) -> None:
    served = server.get("/readyz").json()["manifest"]
    assert served == (os.environ.get("EXPECTED_MANIFEST") or served)


def test_it_scores_a_payment(server: httpx2.Client) -> None:
    answer = server.post("/predict", json={"payments": [PAYMENT]})
    assert answer.status_code == 200
    (prediction,) = answer.json()["predictions"]
    assert prediction["transaction_id"] == PAYMENT["transaction_id"]
    assert 0.0 <= prediction["score"] <= 1.0


def test_it_refuses_what_is_no_payment(server: httpx2.Client) -> None:
    answer = server.post("/predict", json={"payments": [PAYMENT | {"amount": -1}]})
    assert answer.status_code == 422


def test_it_exports_metrics(server: httpx2.Client) -> None:
    assert "fraud_requests_total" in server.get("/metrics").text
