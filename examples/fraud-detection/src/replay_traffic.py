"""Sends recent payments to a server, as live traffic would.

python src/replay_traffic.py --base-url http://127.0.0.1:8080 --requests 2500

For places without users: a canary is judged by requests that it answered. What goes wrong with
them is counted by the server and judged later; here only a server that never answers is an error.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from model.data import LABEL, DataError, load_transactions

HISTORY = 20  # earlier payments of the account that a request carries


def requests_from(transactions: pd.DataFrame, count: int) -> Iterator[dict[str, Any]]:
    """Yields requests for the last payments, each with the history of its account."""
    rows = transactions.drop(columns=LABEL).assign(
        timestamp=transactions["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    accounts = dict(iter(rows.groupby("account_id")))
    for index, account in rows["account_id"].tail(count).items():
        known = accounts[account].loc[:index].tail(HISTORY + 1).to_dict("records")
        yield {"payments": known[-1:], "history": known[:-1]}


def post(base_url: str, body: dict[str, Any]) -> int:
    """Sends a request; returns its HTTP status, or 0 when there was no answer."""
    request = urllib.request.Request(
        f"{base_url}/predict",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Send recent payments to a server.")
    parser.add_argument("--base-url", default=os.environ.get("BASE_URL"))
    parser.add_argument("--data", type=Path, default=Path("data/training"))
    parser.add_argument("--requests", type=int, default=2500)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args(argv)
    if not arguments.base_url:
        parser.error("give --base-url, or set BASE_URL")
    base_url = arguments.base_url.rstrip("/")

    try:
        bodies = list(requests_from(load_transactions(arguments.data), arguments.requests))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(arguments.workers) as pool:
        statuses = Counter(pool.map(lambda body: post(base_url, body), bodies))
    told = ", ".join(f"{n} x {status or 'no answer'}" for status, n in sorted(statuses.items()))
    print(f"sent {len(bodies)} requests: {told}")
    return 1 if statuses[0] == len(bodies) else 0


if __name__ == "__main__":
    sys.exit(main())
