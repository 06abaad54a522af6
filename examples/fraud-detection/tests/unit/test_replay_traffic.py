"""Tests of the traffic that stands for users."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest

import replay_traffic
from example import EXAMPLE
from serving.schemas import PredictRequest


class Server(ThreadingHTTPServer):
    """Fails for every payment online, and remembers all requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.marks: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_POST(self) -> None:
        """Answers with 500 or 200."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.marks.add(self.headers[replay_traffic.MARK])
        online = body["payments"][0]["channel"] == "online"
        self.send_response(500 if online else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def replay(url: str) -> int:
    data = str(EXAMPLE / "data" / "training")
    config = str(EXAMPLE / "configs" / "training_config.yaml")
    command = ["--base-url", url, "--requests", "50", "--data", data, "--config", config]
    return replay_traffic.main(command)


def test_failures_are_counted_and_left_to_others(
    server: Server, transactions: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(f"http://127.0.0.1:{server.server_port}/") == 0
    online = int((transactions["channel"].tail(50) == "online").sum())
    told = "sent 50 held-out payments, marked as replayed"
    expected = f"{told}: {50 - online} x 200, {online} x 500\n"
    assert capsys.readouterr().out == expected
    sent = {body["payments"][0]["transaction_id"] for body in server.bodies}
    assert sent == set(transactions["transaction_id"].tail(50))
    assert server.marks == {"1"}


def test_a_request_has_the_accounts_own_past(transactions: pd.DataFrame) -> None:
    for body in replay_traffic.requests_from(transactions, 50):
        request = PredictRequest.model_validate(body)
        (payment,) = request.payments
        assert len(request.history) <= replay_traffic.HISTORY
        for earlier in request.history:
            assert earlier.account_id == payment.account_id
            assert earlier.timestamp <= payment.timestamp


def test_a_server_that_never_answers_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("http://127.0.0.1:9") == 1
    assert "50 x no answer" in capsys.readouterr().out


def test_only_what_no_training_fitted_is_sent(transactions: pd.DataFrame) -> None:
    config = EXAMPLE / "configs" / "training_config.yaml"
    chosen = replay_traffic.held_out(transactions, config)
    count = int(chosen.sum())
    assert 0 < count < 0.21 * len(transactions)
    bodies = list(replay_traffic.requests_from(transactions, count + 10, chosen))
    ids = [body["payments"][0]["transaction_id"] for body in bodies]
    assert set(ids) == set(transactions.loc[chosen, "transaction_id"])
    assert ids[count:] == ids[:10], "it begins again"


def test_requests_are_spread_over_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    at = [now[0] for _ in replay_traffic.spread([{}] * 4, 600.0)]
    assert at == [100.0, 250.0, 400.0, 550.0]
