"""Sends held-out payments to a server, where there is no real traffic yet.

python src/replay_traffic.py --base-url http://127.0.0.1:8080 --share 0.1 --minutes 10

A canary is judged by requests that it answered. These are payments that no training has fitted, and
each says that it is replayed, by the header `X-Replayed-Traffic`: so nobody takes it for a
customer's. They are spread over `--minutes`. What goes wrong with them is counted by the server and
judged later; here only a server that never answers is an error.
"""

import argparse
import itertools
import json
import math
import os
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from canary import requests_to_judge
from model.config import ConfigError, load_config
from model.data import LABEL, DataError, load_transactions, split_by_time

HISTORY = 20  # earlier payments of the account that a request carries
MARK = "X-Replayed-Traffic"


def held_out(transactions: pd.DataFrame, config: Path) -> "pd.Series[bool]":
    """Returns which payments the training only measures itself with."""
    split = load_config(config).split
    return split_by_time(transactions, split.validation_fraction, split.test_fraction).test


def requests_from(
    transactions: pd.DataFrame, count: int, chosen: "pd.Series[bool] | None" = None
) -> Iterator[dict[str, Any]]:
    """Yields requests for the last chosen payments, each with the history of its account.

    By default all are chosen. Where there are fewer payments than requests, it begins again.
    """
    rows = transactions.drop(columns=LABEL).assign(
        timestamp=transactions["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    accounts = dict(iter(rows.groupby("account_id")))
    last = (rows if chosen is None else rows[chosen])["account_id"].tail(count)
    for index, account in itertools.islice(itertools.cycle(last.items()), count):
        known = accounts[account].loc[:index].tail(HISTORY + 1).to_dict("records")
        yield {"payments": known[-1:], "history": known[:-1]}


def requests_for(share: float, threshold: float) -> int:
    """Returns how many requests there must be until a canary with this share can be judged.

    A balancer may choose at random: four standard deviations come on top.
    """
    needed = requests_to_judge(threshold)
    return math.ceil((needed + 4 * math.sqrt(needed) + 8) / share)


def post(base_url: str, body: dict[str, Any]) -> int:
    """Sends a request; returns its HTTP status, or 0 when there was no answer."""
    request = urllib.request.Request(
        f"{base_url}/predict",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", MARK: "1"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def spread(bodies: Sequence[dict[str, Any]], seconds: float) -> Iterator[dict[str, Any]]:
    """Yields the requests over so many seconds, the last one before their end."""
    begun = time.monotonic()
    for number, body in enumerate(bodies):
        due = begun + seconds * number / len(bodies)
        time.sleep(max(due - time.monotonic(), 0.0))
        yield body


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Send held-out payments to a server.")
    parser.add_argument("--base-url", default=os.environ.get("BASE_URL"))
    parser.add_argument("--data", type=Path, default=Path("data/training"))
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("configs/training_config.yaml"),
        help="says which payments are held out",
    )
    parser.add_argument("--requests", type=int, help="the number of them")
    parser.add_argument(
        "--share", type=float, help="in place of it: the share of the requests that a canary gets"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.01, help="and the threshold that judges it"
    )
    parser.add_argument("--minutes", type=float, default=0.0, help="over which to spread them")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args(argv)
    if not arguments.base_url:
        parser.error("give --base-url, or set BASE_URL")
    base_url = arguments.base_url.rstrip("/")
    if (arguments.requests is None) == (arguments.share is None):
        parser.error("give --requests or --share")
    if arguments.requests is None and not 0 < arguments.threshold <= 1:
        parser.error("--threshold must be above 0, and 1 at most")
    requests = arguments.requests or requests_for(arguments.share, arguments.threshold)

    try:
        transactions = load_transactions(arguments.data)
        chosen = held_out(transactions, arguments.config)
    except (DataError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    bodies = list(requests_from(transactions, requests, chosen))
    with ThreadPoolExecutor(arguments.workers) as pool:
        sent = [
            pool.submit(post, base_url, body) for body in spread(bodies, arguments.minutes * 60)
        ]
        statuses = Counter(each.result() for each in sent)
    told = ", ".join(f"{n} x {status or 'no answer'}" for status, n in sorted(statuses.items()))
    print(f"sent {len(bodies)} held-out payments, marked as replayed: {told}")
    return 1 if statuses[0] == len(bodies) else 0


if __name__ == "__main__":
    sys.exit(main())
