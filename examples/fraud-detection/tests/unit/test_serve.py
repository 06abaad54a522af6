"""Tests of the server, without a network but for its socket."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import uvicorn
from fastapi.testclient import TestClient

import serve
from broken import brittle, scores_of, useless
from canary import observe
from example import make_pointer, pointer_text
from model.artifact import ModelError
from model.config import TrainingConfig
from pointer import read_pointer
from replay_traffic import requests_from
from serve import create_app
from serving.schemas import Prediction

POINTER = read_pointer(pointer_text("a"))


@pytest.fixture(scope="module")
def client(small_model: Path) -> Iterator[TestClient]:
    with TestClient(create_app(small_model, POINTER)) as client:
        yield client


@pytest.fixture(scope="module")
def requests(transactions: pd.DataFrame) -> list[dict[str, Any]]:
    return list(requests_from(transactions, 30))


def whole_request(transactions: pd.DataFrame, account: str) -> dict[str, Any]:
    """Returns a request with all payments of an account, none of them as history."""
    rows = transactions[transactions["account_id"] == account].drop(columns="is_fraud")
    rows = rows.assign(timestamp=rows["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return {"payments": rows.to_dict("records")}


def test_answers_are_what_the_model_predicts(
    client: TestClient, small_model: Path, transactions: pd.DataFrame
) -> None:
    account = transactions["account_id"].iloc[-1]
    body = whole_request(transactions, account)
    expected = scores_of(small_model, transactions)
    for order in (1, -1):
        sent = body["payments"][::order]
        answer = client.post("/predict", json={"payments": sent})
        assert answer.status_code == 200
        predictions = answer.json()["predictions"]
        assert [p["transaction_id"] for p in predictions] == [p["transaction_id"] for p in sent]
        assert [p["score"] for p in predictions] == pytest.approx(
            expected[[p["transaction_id"] for p in sent]].to_list(), abs=1e-12
        )


def test_history_is_looked_at_and_not_scored(
    client: TestClient, transactions: pd.DataFrame
) -> None:
    account = transactions["account_id"].iloc[-1]
    payments = whole_request(transactions, account)["payments"]
    whole = client.post("/predict", json={"payments": payments}).json()["predictions"]
    last = client.post("/predict", json={"payments": payments[-1:], "history": payments[:-1]})
    assert last.json()["predictions"] == whole[-1:]


def test_the_model_that_answers_is_named(
    client: TestClient, requests: list[dict[str, Any]]
) -> None:
    pointer = make_pointer("a")
    identity = {"manifest": pointer["manifest"]["digest"], "fingerprint": pointer["fingerprint"]}
    assert client.get("/readyz").json() == identity
    assert client.post("/predict", json=requests[0]).json()["model"] == identity
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"amount": -1},
        {"amount": "much"},
        {"country": "Germany"},
        {"timestamp": "2024-06-01T10:00:00"},
        {"timestamp": None},
        {"is_fraud": 1},
    ],
    ids=str,
)
def test_unusable_requests_are_refused(
    client: TestClient, requests: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    payment = requests[0]["payments"][0] | change
    assert client.post("/predict", json={"payments": [payment]}).status_code == 422
    assert client.post("/predict", json={"payments": []}).status_code == 422


def test_requests_latencies_and_scores_are_exported(
    small_model: Path, requests: list[dict[str, Any]]
) -> None:
    with TestClient(create_app(small_model, POINTER)) as client:
        for body in requests:
            client.post("/predict", json=body)
        client.post("/predict", json={"payments": []})
        client.get("/healthz")
        text = client.get("/metrics").text
    observed = observe([text])
    assert observed.statuses == {"200": len(requests), "422": 1}
    assert observed.latency.total() == len(requests) + 1
    assert observed.scores.total() == len(requests)
    assert observed.error_rate == 1 / (len(requests) + 1), "a refused request is no prediction"
    assert observed.p95 > 0.0
    assert set(re.findall('manifest="([^"]*)"', text)) == {POINTER.manifest}


def test_a_prediction_that_fails_is_an_error_and_counted(
    small_model: Path,
    small_config: TrainingConfig,
    transactions: pd.DataFrame,
    requests: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    model = brittle(small_model, tmp_path / "brittle", small_config, transactions)
    with TestClient(create_app(model, None)) as client:
        statuses = [client.post("/predict", json=body).status_code for body in requests]
        answers = {body["payments"][0]["merchant_category"] for body in requests}
        observed = observe([client.get("/metrics").text])
    assert {"fuel", "clothing"} & answers, "the test needs such a payment"
    assert 500 in statuses
    assert observed.error_rate == statuses.count(500) / len(requests)


@pytest.mark.parametrize("fault", ["a score that is no number", "an answer that cannot be made"])
def test_whatever_goes_wrong_is_an_error_and_counted(
    small_model: Path,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(fault)

    app = create_app(small_model, POINTER)
    with TestClient(app, raise_server_exceptions=False) as client:
        if fault.startswith("a score"):
            nothing = Prediction(transaction_id=1, score=float("nan"), alert=False)
            monkeypatch.setattr("serve.Scorer.predict", lambda *_: [nothing])
        else:
            monkeypatch.setattr("serve.Metrics.observe_scores", fail)
        assert client.post("/predict", json=requests[0]).status_code == 500
        observed = observe([client.get("/metrics").text])
    assert observed.statuses == {"500": 1}
    assert observed.error_rate == 1.0


def test_a_model_that_cannot_predict_is_never_ready(small_model: Path, tmp_path: Path) -> None:
    model = useless(small_model, tmp_path / "useless")
    with pytest.raises(ModelError, match="other columns"), TestClient(create_app(model, None)):
        pass


def test_without_a_model_nothing_is_ready(small_model: Path) -> None:
    # Without its context the client never starts the application.
    assert TestClient(create_app(small_model, None)).get("/readyz").status_code == 503


def test_an_unusable_pointer_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--pointer", '{"manifest": 1}']) == 1
    assert "not a pointer of ml-cache" in capsys.readouterr().err


def test_a_model_of_another_format_ends_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "feature_schema.json").write_text("{}")
    assert serve.main(["--model-dir", str(tmp_path)]) == 1
    assert "is of an older format" in capsys.readouterr().err
    assert serve.main(["--model-dir", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_no_answer_waits_for_an_acknowledgement() -> None:
    config = uvicorn.Config("serve:app", host="127.0.0.1", port=0)
    with serve.listen(config) as listener:
        listener.listen()
        with (
            socket.create_connection(listener.getsockname()),
            listener.accept()[0] as connection,
        ):
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
